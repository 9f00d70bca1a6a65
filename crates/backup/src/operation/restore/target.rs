//! Databases that are there and will be replaced: opened, then held, so that nobody else writes to them.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::StepResult;

use super::live::{Live, Overwrite, SETTLE, set_mode, until_free};
use super::staging::{StagedDatabase, Staging};
use super::{fault, same};
use crate::disk::place::{Place, exchanged};
use crate::error::{Error, ErrorKind, Result};
use crate::operation::look::Look;
use crate::record::names::Kind;
use crate::source::sqlite::{self, bytes};

/// A database that is there, open.
pub(super) enum Target {
    /// It will be overwritten through SQLite.
    Live(Live),
    /// A file takes its place that SQLite must not touch.
    Swap(Swap),
}

/// A database that nobody else can write to until this is dropped.
pub(super) enum Hold<'a> {
    Overwrite(Overwrite<'a>),
    Swap(&'a Swap),
}

/// Opens what is to be replaced, in the order of the staged files. Instead of one that SQLite can't overwrite, there is
/// `None`.
///
/// # Errors
/// What keeps one from being opened, if that is not its own fault.
pub(super) fn open_targets(look: &Look<'_>, staging: &Staging) -> Result<Vec<Option<Target>>> {
    let open = |staged: &StagedDatabase| {
        if staged.real_folder != Some(staged.place.real_folder()?) {
            return Err(exchanged(&staged.path));
        }
        if staged.is_bytes {
            Swap::open(look, &staged.place).map(Target::Swap)
        } else {
            Live::open(look, staged.temp.place(), &staged.place).map(Target::Live)
        }
    };
    staging.replaced().map(|staged| unless_its_own_fault(look, staged, open(staged))).collect()
}

/// Holds all of them, as long as what it gives lives.
///
/// # Errors
/// [`ErrorKind::Busy`] if one stays locked, or is in use where nobody may use it; [`ErrorKind::Interrupted`].
pub(super) fn hold_all<'a>(
    look: &Look<'_>,
    staging: &Staging,
    targets: &'a mut [Option<Target>],
) -> Result<Vec<Option<Hold<'a>>>> {
    let hold = |(staged, target): (&StagedDatabase, &'a mut Option<Target>)| {
        let held = match target {
            None => return Ok(None),
            Some(Target::Live(live)) => live.hold(look).map(Hold::Overwrite),
            Some(Target::Swap(swap)) => swap.hold(look).map(|()| Hold::Swap(swap)),
        };
        unless_its_own_fault(look, staged, held)
    };
    staging.replaced().zip(targets).map(hold).collect()
}

fn unless_its_own_fault<T>(look: &Look<'_>, staged: &StagedDatabase, result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if fault::is_the_databases(look, staged, false, &error) => Ok(None),
        other => other.map(Some),
    }
}

impl Hold<'_> {
    /// The database and the connection that it has to be read through, as long as others can't.
    pub fn locked(&self) -> Option<(&Path, &Connection)> {
        match self {
            Self::Overwrite(overwrite) => overwrite.locked(),
            Self::Swap(swap) => Some((&swap.path, &swap.connection)),
        }
    }
}

/// A database whose file will be another one. Whoever has it open would go on with the old one: so nobody may, as far as
/// SQLite's locks show it.
pub(super) struct Swap {
    path: PathBuf,
    place: Place,
    connection: Connection,
}

impl Swap {
    fn open(look: &Look<'_>, place: &Place) -> Result<Self> {
        let connection = same::open(place, |path| sqlite::open_to_replace(path, look.busy_timeout()))?;
        Ok(Self { path: place.path(), place: place.clone(), connection })
    }

    /// Keeps it for this connection. In rollback mode, who has it open and is idle doesn't show.
    fn hold(&self, look: &Look<'_>) -> Result<()> {
        // In this order each, what waits locks nothing (decision 13).
        let lock = if self.is_wal()? {
            "PRAGMA main.locking_mode = exclusive; BEGIN IMMEDIATE; ROLLBACK"
        } else {
            "BEGIN EXCLUSIVE; PRAGMA main.locking_mode = exclusive; ROLLBACK"
        };
        let lock = || self.connection.execute_batch(lock).map(|()| StepResult::Done);
        let locked = until_free(&self.path, look.busy_timeout().min(SETTLE), || look.check_stop(), lock);
        locked.map_err(|error| match error.kind() {
            ErrorKind::Busy => {
                let message = format!("{} is in use, and another file has to take its place", self.path.display());
                Error::new(ErrorKind::Busy, message).with_hint("stop the application, then restore again")
            }
            _ => error,
        })
    }

    /// Leaves nothing beside it that belongs to it.
    ///
    /// # Errors
    /// As SQLite says: it is as it was then.
    pub fn make_single_file(&self) -> Result<()> {
        let failed = |e| Error::sqlite("replace", &self.path, &e);
        if self.is_wal()? {
            self.connection.pragma_update(None, "synchronous", "extra").map_err(failed)?;
            let mode = set_mode(&self.connection, "journal_mode", "delete").map_err(failed)?;
            if mode == "wal" {
                let message = format!("the log of {} can't be emptied", self.path.display());
                return Err(Error::new(ErrorKind::Busy, message).with_hint("stop the application, then restore again"));
            }
        }
        // SQLite passes over a log that it can't remove; and in exclusive locking mode, a journal that is done with stays.
        self.place.with_suffix("-wal").remove()?;
        if bytes::beside(&self.path, Kind::Journal)?.is_none() {
            self.place.with_suffix("-journal").remove()?;
        }
        // A log that comes back after a crash would be taken for the new file's.
        self.place.sync()
    }

    fn is_wal(&self) -> Result<bool> {
        let mode: String =
            sqlite::pragma(&self.connection, "journal_mode").map_err(|e| Error::sqlite("replace", &self.path, &e))?;
        Ok(mode == "wal")
    }
}
