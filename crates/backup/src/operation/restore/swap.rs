//! Taking the place of an existing database with a file that SQLite must not touch: the bytes of a damaged one.
//!
//! The hazards: a program that has the database open would go on writing into the replaced file, so nobody else may have it
//! open, as far as SQLite's locks show that; and a `-wal` or `-journal` of the old file would be taken for the new file's, so
//! the old database becomes a single file first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::connection;
use super::journal_mode::{is_wal, set_mode};
use super::live::LOCK_ALL_OF_WAL;
use super::patience::{Patience, in_use};
use crate::disk::place::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::record::names::Kind;
use crate::source::sqlite::{self, bytes};

/// Locks a database in rollback mode, for reading too. While it waits it locks nothing (decision 13).
const LOCK_ALL: &str = "BEGIN EXCLUSIVE; PRAGMA main.locking_mode = exclusive; ROLLBACK";

/// A database whose file will be replaced.
pub(super) struct Swap {
    path: PathBuf,
    place: Place,
    connection: Connection,
}

impl Swap {
    /// Opens it.
    ///
    /// # Errors
    /// As [`connection::open`], and as SQLite says.
    pub fn open(place: &Place, busy_timeout: Duration) -> Result<Self> {
        let connection = connection::open(place, |path| sqlite::open_to_replace(path, busy_timeout))?;
        Ok(Self { path: place.path(), place: place.clone(), connection })
    }

    /// Locks out all others. In rollback mode, a program that has it open and is idle doesn't show.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if it is in use; [`ErrorKind::Interrupted`].
    pub fn hold(&self, patience: Patience<'_>) -> Result<()> {
        let lock = if self.is_wal()? { LOCK_ALL_OF_WAL } else { LOCK_ALL };
        patience.brief().lock(&self.connection, &self.path, lock).map_err(|error| match error.kind() {
            ErrorKind::Busy => {
                in_use(format!("{} is in use, and another file has to take its place", self.path.display()))
            }
            _ => error,
        })
    }

    /// The database and its connection, the only one that can read it.
    pub fn locked(&self) -> (&Path, &Connection) {
        (&self.path, &self.connection)
    }

    /// Leaves nothing beside it that belongs to it.
    ///
    /// # Errors
    /// As SQLite says: the database is as it was.
    pub fn make_single_file(&self) -> Result<()> {
        if self.is_wal()? {
            self.leave_wal()?;
        }
        // SQLite ignores a log that it can't remove; and in exclusive locking mode it leaves a journal that is done with.
        self.place.with_suffix("-wal").remove()?;
        if bytes::beside(&self.path, Kind::Journal)?.is_none() {
            self.place.with_suffix("-journal").remove()?;
        }
        // A log that comes back after a crash would be taken for the new file's.
        self.place.sync()
    }

    fn leave_wal(&self) -> Result<()> {
        self.connection.pragma_update(None, "synchronous", "extra").map_err(|e| self.failed(&e))?;
        let mode = set_mode(&self.connection, "journal_mode", "delete").map_err(|e| self.failed(&e))?;
        if mode == "wal" {
            return Err(in_use(format!("the log of {} can't be emptied", self.path.display())));
        }
        Ok(())
    }

    fn is_wal(&self) -> Result<bool> {
        is_wal(&self.connection).map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        Error::sqlite("replace", &self.path, error)
    }
}
