//! Existing databases that will be replaced: all of them are opened, then all are held, so that nobody else writes to them.

use std::path::Path;

use rusqlite::Connection;

use super::fault;
use super::live::{Live, Overwrite};
use super::patience::Patience;
use super::staging::{StagedDatabase, Staging};
use super::swap::Swap;
use crate::disk::place::exchanged;
use crate::error::Result;

/// An existing database, open.
pub(super) enum Target {
    /// SQLite will overwrite it.
    Live(Live),
    /// A file takes its place that SQLite must not touch.
    Swap(Swap),
}

/// A database that nobody else can write to until this is dropped.
pub(super) enum Hold<'a> {
    Overwrite(Overwrite<'a>),
    Swap(&'a Swap),
}

impl Hold<'_> {
    /// The database and its connection, if it can be read through that one alone.
    pub fn locked(&self) -> Option<(&Path, &Connection)> {
        match self {
            Self::Overwrite(overwrite) => overwrite.locked(),
            Self::Swap(swap) => Some(swap.locked()),
        }
    }
}

/// Opens the databases that will be replaced, in the order of the staged files. `None` stands for one that SQLite can't
/// overwrite.
///
/// # Errors
/// Any error of opening one, unless the cause is the database itself.
pub(super) fn open_targets(staging: &Staging, patience: Patience<'_>) -> Result<Vec<Option<Target>>> {
    let open = |staged| unless_its_own_fault(open_target(staged, patience), staged, patience);
    staging.replaced().map(open).collect()
}

fn open_target(staged: &StagedDatabase, patience: Patience<'_>) -> Result<Target> {
    if staged.real_folder != Some(staged.place.real_folder()?) {
        return Err(exchanged(&staged.path));
    }
    if staged.is_bytes {
        return Swap::open(&staged.place, patience.busy_timeout).map(Target::Swap);
    }
    Live::open(staged.temp.place(), &staged.place, patience.busy_timeout).map(Target::Live)
}

/// Holds all of them, until the result is dropped.
///
/// # Errors
/// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if one stays locked, or is in use where nobody may use it;
/// [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted).
pub(super) fn hold_all<'a>(
    targets: &'a mut [Option<Target>],
    staging: &Staging,
    patience: Patience<'_>,
) -> Result<Vec<Option<Hold<'a>>>> {
    let hold = |(staged, target): (_, &'a mut Option<Target>)| {
        let held = match target {
            None => return Ok(None),
            Some(Target::Live(live)) => live.hold(patience).map(Hold::Overwrite),
            Some(Target::Swap(swap)) => swap.hold(patience).map(|()| Hold::Swap(swap)),
        };
        unless_its_own_fault(held, staged, patience)
    };
    staging.replaced().zip(targets).map(hold).collect()
}

fn unless_its_own_fault<T>(result: Result<T>, staged: &StagedDatabase, patience: Patience<'_>) -> Result<Option<T>> {
    match result {
        Err(error) if fault::is_the_databases(&error, staged, false, patience) => Ok(None),
        other => other.map(Some),
    }
}
