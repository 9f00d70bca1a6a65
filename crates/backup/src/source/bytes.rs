//! A damaged database as its bytes: the file to its last byte, its `-wal` and its `-journal`. SQLite would leave out what
//! it can't make sense of, and that may be what somebody wants back.
//!
//! The hazards: a log that is reset, or a transaction that is committed, between the reading of two files makes them of
//! two states; and to close a file drops all locks that SQLite has on it in this process. So the database is read before
//! its log, in a read transaction if SQLite can open it: that keeps the log from being reset and, in rollback mode,
//! others from committing. And its file stays open for longer than SQLite's connections to it ([`Descriptors`]).

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rusqlite::Connection;

use super::sqlite;
use crate::disk::fsutil;
use crate::error::{Error, ErrorKind, Result};
use crate::record::digest::Digest;
use crate::record::manifest::Facts;
use crate::record::names::Kind;

/// Open files of databases. It has to be dropped after all connections of this process to them: `close` drops the locks
/// that SQLite has on a file, whichever descriptor is closed (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).
#[derive(Default)]
pub(crate) struct Descriptors(RefCell<Vec<Rc<File>>>);

impl Descriptors {
    /// Opens a database for reading.
    ///
    /// # Errors
    /// As the operating system says, or if it is no plain file.
    pub fn open(&self, path: &Path) -> Result<Rc<File>> {
        let file = Rc::new(fsutil::open_plain(path).map_err(|e| Error::io("open", path, e))?);
        self.0.borrow_mut().push(Rc::clone(&file));
        Ok(file)
    }
}

/// A connection in a read transaction, as long as which the files of the database are of one state; none if SQLite can't
/// open it.
///
/// # Errors
/// [`ErrorKind::Busy`], [`ErrorKind::PermissionDenied`] and the like: it could be opened at another time.
pub(crate) fn hold(path: &Path, busy_timeout: Duration) -> Result<Option<Connection>> {
    let held = sqlite::open_damaged(path, busy_timeout)
        .and_then(|connection| sqlite::begin(&connection, path).map(|()| connection));
    match held {
        Err(error) if error.means_unreadable() || error.kind() == ErrorKind::HotJournal => Ok(None),
        held => held.map(Some),
    }
}

/// What SQLite needs beside the database at `path`: its log, and a journal that could be rolled back.
///
/// # Errors
/// As [`Descriptors::open`].
pub(crate) fn beside(path: &Path, kind: Kind) -> Result<Option<File>> {
    let suffix = if kind == Kind::Wal { "-wal" } else { "-journal" };
    // SQLite keeps it where a link leads.
    let place = path.canonicalize().map_err(|e| Error::io("find", path, e))?;
    let place = fsutil::with_suffix(&place, suffix);
    let opened = fsutil::open_plain(&place).and_then(|file| {
        // A journal that is done with is empty or begins with zeros (https://www.sqlite.org/fileformat2.html, section 3).
        let mut first = [0];
        let is_used = file.read_at(&mut first, 0)? == 1 && (kind == Kind::Wal || first != [0]);
        Ok(is_used.then_some(file))
    });
    match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map_err(|e| Error::io("open", &place, e)),
    }
}

/// Bytes of the header of a database file (<https://www.sqlite.org/fileformat2.html>, section 1.3).
pub(crate) const HEADER: usize = 100;

/// The header of a database file, as far as there is one.
pub(crate) struct Header([u8; HEADER]);

impl Header {
    /// The one that a file begins with; what is missing of it is taken for zeros.
    pub fn of(start: &[u8]) -> Self {
        let mut header = [0; HEADER];
        let count = start.len().min(HEADER);
        header[..count].copy_from_slice(&start[..count]);
        Self(header)
    }

    /// `wal` or `delete`: the header doesn't tell the other modes apart.
    pub fn journal_mode(&self) -> &'static str {
        if self.0[sqlite::WAL_FLAGS] == [2, 2] { "wal" } else { "delete" }
    }

    /// What it says of a file of so many `bytes`.
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
    use super::*;

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
            let said = sqlite::facts(&made, &path, &crate::progress::Silent).unwrap();
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

    #[test]
    fn a_log_is_kept_and_a_journal_that_could_be_rolled_back() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a.db"), folder.path().join("link.db"));
        std::fs::write(&path, "").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let is_kept = |kind: Kind, content: &[u8]| {
            let suffix = if kind == Kind::Wal { "-wal" } else { "-journal" };
            std::fs::write(fsutil::with_suffix(&path, suffix), content).unwrap();
            beside(&link, kind).unwrap().is_some()
        };
        assert!(beside(&link, Kind::Wal).unwrap().is_none() && beside(&link, Kind::Journal).unwrap().is_none());
        assert!(!is_kept(Kind::Wal, b"") && is_kept(Kind::Wal, b"\0log"));
        assert!(!is_kept(Kind::Journal, b"") && !is_kept(Kind::Journal, b"\0done") && is_kept(Kind::Journal, b"hot"));
    }

    #[test]
    fn a_file_that_is_read_beside_sqlite_drops_none_of_its_locks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        let others = |sql: &str| {
            // Another process: locks of one process don't exclude each other.
            let sqlite3 = std::process::Command::new("sqlite3").arg(&path).arg(sql).output().unwrap();
            sqlite3.status.success()
        };
        let descriptors = Descriptors::default();
        let held = hold(&path, Duration::ZERO).unwrap().unwrap();
        drop(descriptors.open(&path).unwrap());
        assert!(!others("INSERT INTO t VALUES (1)"), "kept out by the read transaction");
        drop(held);
        assert!(others("INSERT INTO t VALUES (1)"));
    }
}
