//! A snapshot that is kept open until the next one has begun, so that the log can't begin anew twice in between.
//!
//! The hazard: as long as a snapshot reads from the log, the log can't begin anew, and grows. So once it is long, a
//! snapshot of the same state is taken that doesn't read from the log ([`KeptSnapshot::settle`]). If commits come too fast
//! for that, the snapshot has to be let go, and the next look compares all pages.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::changes::{Since, position};
use super::log::Position;
use super::open::{open_read_only, open_read_write};
use super::transaction;
use crate::error::{Error, Result};

/// A snapshot of a live database in WAL mode that is kept open.
pub(crate) struct KeptSnapshot {
    /// In its read transaction.
    connection: Connection,
    path: PathBuf,
    position: Position,
    page_size: u32,
    /// Whether it doesn't need the log, so that the next writer begins it anew.
    is_settled: bool,
}

impl KeptSnapshot {
    /// Keeps the snapshot that was left open on `connection` at this position, of the database at `path`.
    pub fn new(connection: Connection, path: PathBuf, position: Position, page_size: u32) -> Self {
        Self { connection, path, position, page_size, is_settled: false }
    }

    /// What to compare the next snapshot with, if the one before had this position.
    pub fn since(&self, position: &Position) -> Option<Since<'_>> {
        (*position == self.position).then_some(Since::Open(&self.connection, &self.position))
    }

    /// Size in bytes of the log that it keeps from beginning anew.
    pub fn log_bytes(&self) -> u64 {
        if self.is_settled { 0 } else { self.position.bytes(self.page_size) }
    }

    /// Moves the log into the database file, and replaces the snapshot by one of the same state, unless somebody commits
    /// meanwhile. If everything was moved, that one doesn't read from the log, so the next writer begins it anew.
    ///
    /// # Errors
    /// As SQLite says. The snapshot is as it was then.
    pub fn settle(&mut self, busy_timeout: Duration) -> Result<()> {
        let (writer, is_whole) = checkpoint(&self.path, busy_timeout)?;
        let next = open_read_only(&self.path, busy_timeout)?;
        transaction::begin(&next, &self.path)?;
        // Nobody had committed since before the snapshot began. So the next one, which has begun already, is the same.
        if position(&writer, &self.path)?.as_ref() == Some(&self.position) {
            (self.connection, self.is_settled) = (next, is_whole);
        }
        Ok(())
    }

    /// Ends the snapshot, and moves the log into the database file, so that a writer can begin it anew.
    ///
    /// # Errors
    /// As SQLite says. The snapshot has ended all the same.
    pub fn let_go(self, busy_timeout: Duration) -> Result<()> {
        drop(self.connection);
        checkpoint(&self.path, busy_timeout).map(drop)
    }
}

/// Moves as much of the log into the database file as can be done without waiting for anybody, or making anybody wait
/// (<https://www.sqlite.org/pragma.html#pragma_wal_checkpoint>). Returns the connection, and whether that was all.
fn checkpoint(path: &Path, busy_timeout: Duration) -> Result<(Connection, bool)> {
    let writer = open_read_write(path, busy_timeout)?;
    let moved = writer.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (is_busy, frames, moved): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(!is_busy && frames == moved)
    });
    moved.map(|is_whole| (writer, is_whole)).map_err(|e| Error::sqlite("checkpoint", path, &e))
}
