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

/// The end of what is visible in the log at `wal`, which must be that of the database opened as `connection`. A
/// transaction that begins after this reads at least that much. `None` if there is no log, or its end isn't known: it
/// has just begun anew, or this user can't write it, and SQLite asks for that.
///
/// # Errors
/// As the operating system or SQLite say. The connection must not be in a transaction.
pub(crate) fn position(connection: &Connection, wal: &Path) -> Result<Option<Position>> {
    // The order matters: if the header is the same before and after, the number of frames is of this log; or it is 0
    // because the log is about to begin anew.
    let Some(log) = Log::open(wal)? else { return Ok(None) };
    let Some(frame) = visible_frames(connection).map_err(|e| Error::sqlite("read the log of", wal, &e))? else {
        return Ok(None);
    };
    let position = log.position_of(frame)?;
    Ok(if log.is_unchanged()? { position } else { None })
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
