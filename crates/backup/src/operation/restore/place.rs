//! Putting decoded databases where none is, or where the one that is there can't be overwritten.
//!
//! SQLite takes any `-wal` and `-journal` beside a database for its own. So a database never gets its name while those of
//! another lie there: what is there is moved aside first; then what belongs beside the new one gets its name; then, last,
//! the database itself. Between two of these steps there may be no database, never one with what belongs to another.

use std::path::PathBuf;

use rustix::fs::FileType;

use super::plan::Occupant;
use super::staging::StagedDatabase;
use super::temp::TempRecord;
use super::{Changes, DATABASE_FILES, live};
use crate::disk::place::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::operation::look::Look;
use crate::record::id::BackupId;

/// The mode of a database where nobody recorded one.
const PRIVATE: u32 = 0o600;

/// Makes the decoded file the database in its place. Leftover files there are moved aside, and so is a database that was
/// there when this was planned; one that has appeared in the meantime is an application's, and an error.
pub(super) fn place(look: &Look<'_>, staged: StagedDatabase, done: &mut Changes) -> Result<()> {
    done.warnings.extend(make_ready(&staged)?);
    let path = &staged.path;
    if staged.present == Occupant::Absent && path.exists() {
        let message = format!("a database has appeared at {} in the meantime", path.display());
        return Err(Error::new(ErrorKind::Busy, message).with_hint("stop the application, then restore again"));
    }
    let files = if staged.present == Occupant::Absent { &DATABASE_FILES[1..] } else { &DATABASE_FILES[..] };
    set_aside(&staged.place, files, BackupId::at(look.now().to_utc()), done)?;
    put(staged, done)
}

/// The same where a sound database is one file, which nobody else has open and which is kept. If nothing belongs beside
/// the new one, there is a database at any moment.
pub(super) fn place_over(staged: StagedDatabase, now: BackupId, done: &mut Changes) -> Result<()> {
    done.warnings.extend(make_ready(&staged)?);
    if !staged.beside.is_empty() {
        set_aside(&staged.place, &DATABASE_FILES[..1], now, done)?;
        return put(staged, done);
    }
    staged.temp.replace(&staged.place)?;
    done.changed = true;
    staged.place.sync()
}

fn put(staged: StagedDatabase, done: &mut Changes) -> Result<()> {
    let StagedDatabase { temp, beside, place, .. } = staged;
    let is_alone = beside.is_empty();
    for (suffix, temp) in beside {
        temp.put(&place.with_suffix(suffix))?;
        done.changed = true;
    }
    if !is_alone {
        place.sync()?;
    }
    temp.put(&place)?;
    done.changed = true;
    place.sync()
}

fn set_aside(place: &Place, files: &[&str], now: BackupId, done: &mut Changes) -> Result<()> {
    let moved = move_aside(place, files, now, &mut done.moved_aside);
    done.changed |= !done.moved_aside.is_empty();
    moved
}

/// Renames those of the `files` that exist, suffixes of the database at `place`, so that SQLite still finds them to
/// belong together.
fn move_aside(place: &Place, files: &[&str], now: BackupId, moved: &mut Vec<PathBuf>) -> Result<()> {
    let aside = free_aside(place, now)?;
    for suffix in files {
        let to = aside.with_suffix(suffix);
        if place.with_suffix(suffix).rename_new(&to, "move aside")? {
            moved.push(to.path());
        }
    }
    place.sync()
}

/// A name for what is moved aside that no earlier restore has given to a file, even in the same second.
fn free_aside(place: &Place, now: BackupId) -> Result<Place> {
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

/// Makes the decoded files all that the database has to be, before anything makes room for it.
fn make_ready(staged: &StagedDatabase) -> Result<Option<String>> {
    let recorded = staged.recorded.as_ref();
    if recorded.is_some_and(|recorded| recorded.journal_mode == "wal") && !staged.is_bytes {
        live::set_wal(staged.temp.place())?;
    }
    let (mode, owner) = recorded.map_or((PRIVATE, None), |it| (it.mode, Some((it.uid, it.gid))));
    let mut warning = None;
    for temp in staged.temps() {
        warning = temp.fit(&staged.place, TempRecord { mode, owner })?;
        temp.sync()?;
    }
    Ok(warning)
}
