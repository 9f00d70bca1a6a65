//! Putting a decoded database into its place by a rename: where there is none, or where the existing one can't be
//! overwritten.
//!
//! The hazard: SQLite takes any `-wal` and `-journal` beside a database for its own. So a database never gets its name while
//! those of another lie there. First the existing files are moved aside; then the files that belong beside the new database
//! get their names; then, last, the database itself. Between two of these steps there may be no database, but never one
//! beside the files of another.

use std::path::PathBuf;

use chrono::{DateTime, FixedOffset};
use rustix::fs::FileType;

use super::changes::Changes;
use super::file_names::DATABASE_FILES;
use super::journal_mode;
use super::patience::in_use;
use super::plan::Occupant;
use super::staging::StagedDatabase;
use super::temp::RecordedAccess;
use crate::disk::place::Place;
use crate::error::Result;
use crate::record::id::BackupId;

/// The mode of a database if none is recorded.
const PRIVATE: u32 = 0o600;

/// Puts the decoded file into its place. Existing files are moved aside, under a name with the time `now`: leftovers, and a
/// database that the plan knew of. One that has appeared since belongs to a running application, and is an error.
pub(super) fn place(staged: StagedDatabase, now: DateTime<FixedOffset>, changes: &mut Changes) -> Result<()> {
    changes.warnings.extend(make_ready(&staged)?);
    let path = &staged.path;
    if staged.present == Occupant::Absent && path.exists() {
        return Err(in_use(format!("a database has appeared at {} in the meantime", path.display())));
    }
    let files = if staged.present == Occupant::Absent { &DATABASE_FILES[1..] } else { &DATABASE_FILES[..] };
    set_aside(&staged.place, files, now, changes)?;
    put(staged, changes)
}

/// The same over a sound database, which is one file, kept, and closed to others. If nothing belongs beside the new one,
/// there is a database at any moment.
pub(super) fn place_over(staged: StagedDatabase, now: DateTime<FixedOffset>, changes: &mut Changes) -> Result<()> {
    changes.warnings.extend(make_ready(&staged)?);
    if !staged.beside.is_empty() {
        set_aside(&staged.place, &DATABASE_FILES[..1], now, changes)?;
        return put(staged, changes);
    }
    staged.temp.replace(&staged.place)?;
    changes.any = true;
    staged.place.sync()
}

fn put(staged: StagedDatabase, changes: &mut Changes) -> Result<()> {
    let StagedDatabase { temp, beside, place, .. } = staged;
    let is_alone = beside.is_empty();
    for (suffix, temp) in beside {
        temp.put(&place.with_suffix(suffix))?;
        changes.any = true;
    }
    if !is_alone {
        place.sync()?;
    }
    temp.put(&place)?;
    changes.any = true;
    place.sync()
}

fn set_aside(place: &Place, files: &[&str], now: DateTime<FixedOffset>, changes: &mut Changes) -> Result<()> {
    let moved = move_aside(place, files, now, &mut changes.moved_aside);
    changes.any |= !changes.moved_aside.is_empty();
    moved
}

/// Renames those of the `files` that exist, which are suffixes of the database at `place`. Under their new names they still
/// belong together for SQLite.
fn move_aside(place: &Place, files: &[&str], now: DateTime<FixedOffset>, moved: &mut Vec<PathBuf>) -> Result<()> {
    let aside = free_aside(place, now)?;
    for suffix in files {
        let to = aside.with_suffix(suffix);
        if place.with_suffix(suffix).rename_new(&to, "move aside")? {
            moved.push(to.path());
        }
    }
    place.sync()
}

/// A name for the files to be moved aside that no earlier restore has used, not even in the same second.
fn free_aside(place: &Place, now: DateTime<FixedOffset>) -> Result<Place> {
    let now = BackupId::at(now.to_utc());
    let mut aside = place.with_suffix(&format!(".aside-{now}"));
    let mut number = 1;
    while is_taken(&aside)? {
        number += 1;
        aside = place.with_suffix(&format!(".aside-{now}-{number}"));
    }
    Ok(aside)
}

fn is_taken(aside: &Place) -> Result<bool> {
    for suffix in DATABASE_FILES {
        let there = aside.with_suffix(suffix).stat()?;
        if there.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives the decoded files their journal mode, mode and owner, and makes them durable.
fn make_ready(staged: &StagedDatabase) -> Result<Option<String>> {
    let recorded = staged.recorded.as_ref();
    if recorded.is_some_and(|recorded| recorded.journal_mode == "wal") && !staged.is_bytes {
        journal_mode::set_wal(staged.temp.place())?;
    }
    let (mode, owner) = recorded.map_or((PRIVATE, None), |it| (it.mode, Some((it.uid, it.gid))));
    let mut warning = None;
    for temp in staged.temps() {
        warning = temp.fit(&staged.place, RecordedAccess { mode, owner })?;
        temp.sync()?;
    }
    Ok(warning)
}
