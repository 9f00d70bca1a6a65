//! The header of a database file (<https://www.sqlite.org/fileformat2.html>, section 1.3).

use std::ops::Range;

use crate::record::digest::Digest;
use crate::record::manifest::Facts;

/// Bytes of the header.
pub(crate) const HEADER: usize = 100;

/// Where it says how the file is written and read: 2 means WAL, 1 any other mode (section 1.3.3).
pub(super) const WAL_FLAGS: Range<usize> = 18..20;

/// The header of a database file.
pub(crate) struct Header([u8; HEADER]);

impl Header {
    /// The header of a file with this `start`. If that is too short, the rest counts as zeros.
    pub fn of(start: &[u8]) -> Self {
        let mut header = [0; HEADER];
        let count = start.len().min(HEADER);
        header[..count].copy_from_slice(&start[..count]);
        Self(header)
    }

    /// Whether the database is in WAL mode.
    pub fn is_wal(&self) -> bool {
        self.0[WAL_FLAGS] == [2, 2]
    }

    /// `wal` or `delete`: the header doesn't tell the other modes apart.
    pub fn journal_mode(&self) -> &'static str {
        if self.is_wal() { "wal" } else { "delete" }
    }

    /// What it says about a file of this many `bytes`.
    pub fn facts(&self, bytes: u64) -> Facts {
        let page_size = match u32::from(u16::from_be_bytes([self.0[16], self.0[17]])) {
            1 => 65_536,
            size if size.is_power_of_two() && size >= 512 => size,
            _ => 0,
        };
        let encoding = match self.number(56) {
            2 => "UTF-16le",
            3 => "UTF-16be",
            _ => "UTF-8",
        };
        Facts {
            page_size,
            page_count: if page_size == 0 { 0 } else { bytes.div_ceil(page_size.into()) },
            encoding: encoding.into(),
            user_version: self.number(60),
            application_id: self.number(68),
            schema_sha256: Digest::of(b""),
            tables: Vec::new(),
        }
    }

    fn number(&self, at: usize) -> i32 {
        i32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::source::sqlite::facts::facts;

    #[test]
    fn a_header_says_what_sqlite_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        for (page_size, encoding, mode) in
            [(512, "UTF-8", "delete"), (4096, "UTF-16le", "wal"), (65_536, "UTF-16be", "wal")]
        {
            let _ = std::fs::remove_file(&path);
            let made = Connection::open(&path).unwrap();
            let make = format!(
                "PRAGMA page_size = {page_size}; PRAGMA encoding = '{encoding}'; PRAGMA journal_mode = {mode};
                 PRAGMA user_version = -7; PRAGMA application_id = 42; CREATE TABLE t(x)"
            );
            made.execute_batch(&make).unwrap();
            let said = facts(&made, &path, &crate::progress::Silent).unwrap();
            drop(made);
            let bytes = std::fs::read(&path).unwrap();
            let header = Header::of(&bytes);
            let read = header.facts(bytes.len() as u64);
            assert_eq!(read, Facts { schema_sha256: Digest::of(b""), tables: Vec::new(), ..said });
            assert_eq!(header.journal_mode(), mode);
            assert_eq!(header.facts(bytes.len() as u64 + 1).page_count, read.page_count + 1, "a part of a page is one");
        }
    }

    #[test]
    fn a_header_that_is_none_says_nothing() {
        for bytes in [&b""[..], b"short", &[0xff; 200]] {
            let facts = Header::of(bytes).facts(bytes.len() as u64);
            assert_eq!((facts.page_size, facts.page_count, facts.encoding.as_str()), (0, 0, "UTF-8"));
        }
    }
}
