//! The write-ahead log as a hint: which pages it may have changed since a known position
//! (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>). No page's content is taken from it.
//!
//! Hazards. A commit is in the file before it is visible to readers, for as long as a sync takes, and if its writer dies
//! then, the next one overwrites it. So what is committed isn't read from the file: SQLite says how many frames are
//! visible. A log begins anew, over the old one, while it is read: then its header has other salts, so that is read
//! before and after. After a power failure the end of a log can be lost, and an older part of it be written again: so a
//! position counts only while at least as many frames are visible, and its frame has the same checksum, which depends on
//! all frames before it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};
use serde::{Deserialize, Serialize};

use crate::disk::file;
use crate::error::{Error, Result};

/// Bytes of the header of a log, and of that of a frame.
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// The first four bytes; the last bit says that checksums are of big-endian words.
const MAGIC: u32 = 0x377f_0682;

/// A point in a log at which a transaction had been committed, and was visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Of the log: the first grows by one and the second is random whenever it begins anew.
    salts: [u32; 2],
    /// The number of the last frame of that transaction; 0 before the first.
    frame: u64,
    /// The checksum of the log up to that frame.
    checksum: [u32; 2],
}

impl Position {
    /// Size of the log up to this frame, in bytes.
    pub fn bytes(&self, page_size: u32) -> u64 {
        HEADER as u64 + self.frame.saturating_mul(FRAME_HEADER as u64 + u64::from(page_size))
    }
}

/// The end of what is visible in the log at `wal`, which must be that of the database opened as `connection`. A
/// transaction that begins after this reads at least that much. `None` if there is no log, or its end isn't known: it
/// has just begun anew, or this user can't write it, and SQLite asks for that.
///
/// # Errors
/// As the operating system or SQLite say. The connection must not be in a transaction.
pub(crate) fn position(connection: &Connection, wal: &Path) -> Result<Option<Position>> {
    // In this order: if the log begins anew after its header was read, the last frame has other salts, or there is none.
    let Some(log) = Log::open(wal)? else { return Ok(None) };
    let Some(frame) = visible_frames(connection).map_err(|e| Error::sqlite("read the log of", wal, &e))? else {
        return Ok(None);
    };
    log.position_of(frame)
}

/// The number of frames that are visible to readers. `None` if the database has no log, or SQLite can't tell now.
/// `noop` checkpoints nothing (<https://www.sqlite.org/pragma.html#pragma_wal_checkpoint>).
fn visible_frames(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let told = connection.query_row("PRAGMA main.wal_checkpoint(noop)", [], |row| {
        let (is_busy, frames): (bool, i64) = (row.get(0)?, row.get(1)?);
        Ok(if is_busy { None } else { u64::try_from(frames).ok() })
    });
    match told {
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::ReadOnly) => Ok(None),
        told => told,
    }
}

/// What stands in for the snapshot that is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Its transaction may have ended.
    Ended,
    /// Its transaction lasts until after the log has been read.
    Open,
}

/// An opened log, and its header at that time.
pub(super) struct Log {
    file: File,
    path: PathBuf,
    header: Header,
}

impl Log {
    /// Opens the log at `wal`; `None` if there is none, it is empty, or its header isn't valid.
    pub fn open(wal: &Path) -> Result<Option<Self>> {
        let file = match file::open_plain(wal) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| Error::io("open", wal, e))?,
        };
        let header = read_header(&file).map_err(|e| Error::io("read", wal, e))?;
        Ok(header.map(|header| Self { file, path: wal.to_path_buf(), header }))
    }

    /// The first frame that can hold a change after `since`. `None` if that can't be said. `now` is the end of what was
    /// visible before the new snapshot began.
    pub fn first_after(&self, since: &Position, now: Option<&Position>, before: Before) -> Result<Option<u64>> {
        if self.header.salts == since.salts {
            let is_longer = now.is_some_and(|now| now.salts == since.salts && now.frame >= since.frame);
            let holds = is_longer && self.position_of(since.frame)?.as_ref() == Some(since);
            return Ok(holds.then(|| since.frame + 1));
        }
        // While a snapshot is open, its log can begin anew once at most: if the snapshot reads from the log, never. If it
        // doesn't, everything was in the database file, and nothing newer gets there; so all frames since are in this log.
        let is_next = self.header.salts[0] == since.salts[0].wrapping_add(1);
        Ok((before == Before::Open && is_next).then_some(1))
    }

    /// Page numbers of the frames from `first` on, committed or not, to the first place without a frame of this log.
    pub fn pages_from(&self, first: u64) -> Result<BTreeSet<u32>> {
        let mut pages = BTreeSet::new();
        for number in first.. {
            match self.frame(number)? {
                Some(frame) if frame.salts == self.header.salts => pages.insert(frame.page),
                _ => break,
            };
        }
        Ok(pages)
    }

    /// Whether the log hasn't begun anew since it was opened.
    pub fn is_unchanged(&self) -> Result<bool> {
        let header = read_header(&self.file).map_err(|e| Error::io("read", &self.path, e))?;
        Ok(header.as_ref() == Some(&self.header))
    }

    /// The position of this frame, if the log has it.
    pub fn position_of(&self, frame: u64) -> Result<Option<Position>> {
        let salts = self.header.salts;
        if frame == 0 {
            return Ok(Some(Position { salts, frame, checksum: self.header.checksum }));
        }
        let found = self.frame(frame)?.filter(|found| found.salts == salts);
        Ok(found.map(|found| Position { salts, frame, checksum: found.checksum }))
    }

    /// The header of the frame with this number, counted from 1; `None` beyond the end of the file.
    fn frame(&self, number: u64) -> Result<Option<Frame>> {
        let length = FRAME_HEADER as u64 + u64::from(self.header.page_size);
        let Some(at) = (number - 1).checked_mul(length).and_then(|at| at.checked_add(HEADER as u64)) else {
            return Ok(None);
        };
        let bytes = read_at(&self.file, at).map_err(|e| Error::io("read", &self.path, e))?;
        Ok(bytes.as_ref().map(Frame::of))
    }
}

/// The header of a log that is valid.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    page_size: u32,
    salts: [u32; 2],
    checksum: [u32; 2],
}

impl Header {
    /// `None` if SQLite would ignore the log.
    fn of(bytes: &[u8; HEADER]) -> Option<Self> {
        let number = |at| number(bytes, at);
        let (magic, page_size, checksum) = (number(0), number(8), [number(24), number(28)]);
        let is_valid = magic & !1 == MAGIC
            && page_size.is_power_of_two()
            && (512..=65_536).contains(&page_size)
            && checksum == checksum_of(&bytes[..24], magic & 1 == 1);
        is_valid.then(|| Self { page_size, salts: [number(16), number(20)], checksum })
    }
}

/// The header of a frame.
struct Frame {
    page: u32,
    salts: [u32; 2],
    checksum: [u32; 2],
}

impl Frame {
    fn of(bytes: &[u8; FRAME_HEADER]) -> Self {
        let number = |at| number(bytes, at);
        Self { page: number(0), salts: [number(8), number(12)], checksum: [number(16), number(20)] }
    }
}

/// The checksum of a log that begins with these bytes (section 4.2).
fn checksum_of(bytes: &[u8], is_big_endian: bool) -> [u32; 2] {
    let (mut one, mut two) = (0_u32, 0_u32);
    for pair in bytes.as_chunks::<8>().0 {
        let word = |at| if is_big_endian { number(pair, at) } else { number(pair, at).swap_bytes() };
        one = one.wrapping_add(word(0)).wrapping_add(two);
        two = two.wrapping_add(word(4)).wrapping_add(one);
    }
    [one, two]
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn read_header(file: &File) -> io::Result<Option<Header>> {
    Ok(read_at(file, 0)?.as_ref().and_then(Header::of))
}

/// These bytes of a file; `None` if it ends before.
fn read_at<const COUNT: usize>(file: &File, at: u64) -> io::Result<Option<[u8; COUNT]>> {
    let mut bytes = [0; COUNT];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::disk::paths::with_suffix;
    use crate::source::sqlite::open_read_only;

    /// A database with pages of 512 bytes, a writer and a reader.
    struct Site {
        _folder: TempDir,
        path: PathBuf,
        wal: PathBuf,
        writer: Connection,
        reader: Connection,
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.db");
            let writer = Connection::open(&path).unwrap();
            let setup = "PRAGMA page_size = 512; PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0;
                         PRAGMA synchronous = off; PRAGMA cache_size = 5; CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
            writer.execute_batch(setup).unwrap();
            let reader = open_read_only(&path, Duration::ZERO).unwrap();
            Self { _folder: folder, wal: with_suffix(&path, "-wal"), path, writer, reader }
        }

        fn execute(&self, sql: &str) {
            self.writer.execute_batch(sql).unwrap();
        }

        fn position(&self) -> Option<Position> {
            position(&self.reader, &self.wal).unwrap()
        }

        /// The candidates since a position.
        fn pages_since(&self, since: &Position, before: Before) -> Option<BTreeSet<u32>> {
            let log = Log::open(&self.wal).unwrap()?;
            let first = log.first_after(since, self.position().as_ref(), before).unwrap()?;
            Some(log.pages_from(first).unwrap())
        }

        /// Changes the file of the log.
        fn edit(&self, edit: impl FnOnce(&mut Vec<u8>)) {
            let mut bytes = fs::read(&self.wal).unwrap();
            edit(&mut bytes);
            fs::write(&self.wal, bytes).unwrap();
        }
    }

    const CHANGE: &str = "INSERT OR REPLACE INTO t VALUES (1, randomblob(100))";
    const SPILL: &str = "BEGIN; WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 50)
                         INSERT INTO t SELECT x + 10, zeroblob(500) FROM n";

    #[test]
    fn a_position_is_where_the_last_visible_transaction_ends() {
        let site = Site::new();
        let begin = site.position().unwrap();
        site.execute(CHANGE);
        let after = site.position().unwrap();
        assert!(after.frame > begin.frame && after.salts == begin.salts);
        assert_eq!(site.position(), Some(after.clone()));
        assert_eq!(site.pages_since(&begin, Before::Ended), Some([2].into()));
        assert_eq!(site.pages_since(&after, Before::Ended), Some(BTreeSet::new()));
        let stored = serde_json::to_string(&after).unwrap();
        assert_eq!(serde_json::from_str::<Position>(&stored).unwrap(), after);
    }

    #[test]
    fn pages_that_were_spilled_and_rolled_back_are_candidates_and_never_move_the_position() {
        let site = Site::new();
        let begin = site.position().unwrap();
        site.execute(SPILL);
        let spilled = site.pages_since(&begin, Before::Ended).unwrap();
        assert!(spilled.len() > 10, "{spilled:?}");
        assert_eq!(site.position(), Some(begin.clone()));
        site.execute("ROLLBACK");
        assert_eq!(site.position(), Some(begin.clone()));
        site.execute(CHANGE);
        assert_eq!(site.position().unwrap().frame, begin.frame + 1, "over the first that was spilled");
        assert!(site.pages_since(&begin, Before::Ended).unwrap().contains(&2));
    }

    #[test]
    fn a_log_that_began_anew_is_whole_for_a_snapshot_that_is_open_and_unknown_to_others() {
        let site = Site::new();
        let begin = site.position().unwrap();
        let begin_anew = || site.execute(&format!("PRAGMA wal_checkpoint(restart); {CHANGE}"));
        begin_anew();
        let next = site.position().unwrap();
        assert_eq!((next.frame, next.salts[0]), (1, begin.salts[0].wrapping_add(1)));
        assert_eq!(site.pages_since(&begin, Before::Ended), None);
        assert_eq!(site.pages_since(&begin, Before::Open), Some([2].into()));
        assert_eq!(site.pages_since(&next, Before::Ended), Some(BTreeSet::new()), "the rest is of the log before");
        begin_anew();
        assert_eq!(site.pages_since(&begin, Before::Open), None);
    }

    #[test]
    fn without_a_log_there_is_no_position() {
        let site = Site::new();
        let since = site.position().unwrap();
        site.execute("PRAGMA wal_checkpoint(truncate)");
        assert_eq!(fs::metadata(&site.wal).unwrap().len(), 0);
        assert_eq!((site.position(), site.pages_since(&since, Before::Open)), (None, None));
        let in_transaction = site.reader.unchecked_transaction().unwrap();
        in_transaction.execute_batch("PRAGMA data_version").unwrap();
        site.execute(CHANGE);
        assert!(position(&site.reader, &site.wal).is_err(), "it would be one of another snapshot");
        drop(in_transaction);
        let leave = "PRAGMA wal_checkpoint(full); PRAGMA journal_mode = delete";
        let Site { path, wal, writer, reader, _folder } = site;
        drop(reader);
        writer.execute_batch(leave).unwrap();
        let reader = open_read_only(&path, Duration::ZERO).unwrap();
        assert_eq!(position(&reader, &wal).unwrap(), None, "in rollback mode");
    }

    #[test]
    fn a_log_that_lost_its_end_or_has_another_is_not_the_one_that_was_seen() {
        let site = Site::new();
        site.execute(CHANGE);
        let since = site.position().unwrap();
        let whole = fs::read(&site.wal).unwrap();
        for (what, edit) in [
            ("the last frame is cut", (|log| log.truncate(log.len() - 513)) as fn(&mut Vec<u8>)),
            ("the file is empty", Vec::clear),
            ("the header is cut", |log| log.truncate(31)),
            ("the header is torn", |log| log[20] ^= 1),
            ("the magic is another", |log| log[3] ^= 4),
            ("the page size is none", |log| log[8..12].fill(0)),
            ("the last frame's checksum is another", |log| {
                let at = log.len() - 512 - 8;
                log[at] ^= 1;
            }),
            ("the last frame is of another log", |log| {
                let at = log.len() - 512 - 16;
                log[at] ^= 1;
            }),
        ] {
            site.edit(edit);
            assert_eq!(site.pages_since(&since, Before::Open), None, "{what}");
            fs::write(&site.wal, &whole).unwrap();
            assert_eq!(site.pages_since(&since, Before::Ended), Some(BTreeSet::new()), "{what}");
        }
        let earlier = Position { frame: since.frame - 1, ..since.clone() };
        let log = Log::open(&site.wal).unwrap().unwrap();
        assert_eq!(log.first_after(&since, Some(&earlier), Before::Ended).unwrap(), None, "less is visible than was");
        assert_eq!(log.first_after(&since, None, Before::Ended).unwrap(), None, "nobody knows what is visible");
        let other = Position { checksum: [0, 0], frame: 0, ..since };
        assert_eq!(site.pages_since(&other, Before::Ended), None, "another header");
    }

    #[test]
    fn checksums_of_both_byte_orders_are_known() {
        // A big-endian machine writes the second magic, and such checksums.
        let site = Site::new();
        let before = site.position().unwrap();
        site.edit(|log| {
            log[3] ^= 1;
            let [one, two] = checksum_of(&log[..24], log[3] & 1 == 1);
            assert_ne!([one, two], before.checksum);
            log[24..28].copy_from_slice(&one.to_be_bytes());
            log[28..32].copy_from_slice(&two.to_be_bytes());
        });
        assert_eq!(site.position(), Some(before), "no frame has changed");
        // Computed by hand from the rule of section 4.2, for the words 1, 2, 3, 4.
        let words = [1_u32, 2, 3, 4];
        let (big, little) = (words.map(u32::to_be_bytes).concat(), words.map(u32::to_le_bytes).concat());
        assert_eq!((checksum_of(&big, true), checksum_of(&little, false)), ([7, 14], [7, 14]));
    }

    #[test]
    fn a_log_that_begins_anew_while_it_is_read_is_noticed() {
        let site = Site::new();
        let log = Log::open(&site.wal).unwrap().unwrap();
        site.execute(CHANGE);
        assert!(log.is_unchanged().unwrap());
        site.execute(&format!("PRAGMA wal_checkpoint(restart); {CHANGE}"));
        assert!(!log.is_unchanged().unwrap());
    }
}
