//! Putting decoded databases where none is, or where the one that is there can't be overwritten.
//!
//! SQLite takes any `-wal` and `-journal` beside a database for its own. So a database never gets its name while those of
//! another lie there: what is there is moved aside first; then what belongs beside the new one gets its name; then, last,
//! the database itself. Between two of these steps there may be no database, never one with what belongs to another.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::plan::Present;
use super::staging::{StagedDatabase, set_owner_and_mode};
use super::{DATABASE_FILES, Done, live};
use crate::error::{Error, ErrorKind, Result};
use crate::fsutil;
use crate::id::BackupId;
use crate::run::Run;

/// Makes the decoded file the database in its place. Leftover files there are moved aside, and so is a database that was
/// there when this was planned; one that has appeared in the meantime is an application's, and an error.
pub(super) fn place(run: &Run<'_>, staged: StagedDatabase, done: &mut Done) -> Result<()> {
    done.warnings.extend(make_ready(&staged)?);
    let path = &staged.path;
    if staged.present == Present::Absent && path.exists() {
        let message = format!("a database has appeared at {} in the meantime", path.display());
        return Err(Error::new(ErrorKind::Busy, message).with_hint("stop the application, then restore again"));
    }
    let files = if staged.present == Present::Absent { &DATABASE_FILES[1..] } else { &DATABASE_FILES[..] };
    set_aside(path, files, BackupId::at(run.now().to_utc()), done)?;
    put(staged, done)
}

/// The same where a sound database is one file, which nobody else has open and which is kept. If nothing belongs beside
/// the new one, there is a database at any moment.
pub(super) fn place_over(staged: StagedDatabase, now: BackupId, done: &mut Done) -> Result<()> {
    done.warnings.extend(make_ready(&staged)?);
    if !staged.beside.is_empty() {
        set_aside(&staged.path, &DATABASE_FILES[..1], now, done)?;
        return put(staged, done);
    }
    staged.temp.persist(&staged.path).map_err(|e| Error::io("replace", &staged.path, e.error))?;
    done.changed = true;
    fsutil::sync_parent(&staged.path)
}

fn put(staged: StagedDatabase, done: &mut Done) -> Result<()> {
    let StagedDatabase { temp, beside, path, .. } = staged;
    let is_alone = beside.is_empty();
    for (suffix, temp) in beside {
        put_file(temp, &fsutil::with_suffix(&path, suffix))?;
        done.changed = true;
    }
    if !is_alone {
        fsutil::sync_parent(&path)?;
    }
    put_file(temp, &path)?;
    done.changed = true;
    fsutil::sync_parent(&path)
}

fn put_file(temp: NamedTempFile, path: &Path) -> Result<()> {
    temp.persist_noclobber(path).map(drop).map_err(|e| Error::io("put a database at", path, e.error))
}

fn set_aside(path: &Path, files: &[&str], now: BackupId, done: &mut Done) -> Result<()> {
    let moved = move_aside(path, files, now, &mut done.moved_aside);
    done.changed |= !done.moved_aside.is_empty();
    moved
}

/// Renames those of the `files` that exist, suffixes of the database at `path`, so that SQLite still finds them to
/// belong together.
fn move_aside(path: &Path, files: &[&str], now: BackupId, moved: &mut Vec<PathBuf>) -> Result<()> {
    let aside = free_aside(path, now);
    for suffix in files {
        let (from, to) = (fsutil::with_suffix(path, suffix), fsutil::with_suffix(&aside, suffix));
        match renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => moved.push(to),
            Err(Errno::NOENT) => {}
            Err(e) => return Err(Error::io("move aside", &from, e.into())),
        }
    }
    fsutil::sync_parent(path)
}

/// A name for what is moved aside that no earlier restore has given to a file, even in the same second.
fn free_aside(path: &Path, now: BackupId) -> PathBuf {
    let named = |number: usize| if number == 1 { String::new() } else { format!("-{number}") };
    let aside = |number| fsutil::with_suffix(path, &format!(".aside-{now}{}", named(number)));
    let is_taken = |aside: &Path| DATABASE_FILES.iter().any(|suffix| fsutil::with_suffix(aside, suffix).is_file());
    let mut number = 1;
    while is_taken(&aside(number)) {
        number += 1;
    }
    aside(number)
}

/// Makes the decoded files all that the database has to be, before anything makes room for it.
fn make_ready(staged: &StagedDatabase) -> Result<Option<String>> {
    let mut warning = None;
    if let Some(recorded) = &staged.recorded {
        if recorded.journal_mode == "wal" && !staged.is_bytes {
            live::set_wal(staged.temp.path())?;
        }
        for temp in staged.temps() {
            warning = set_owner_and_mode(temp.path(), &staged.path, recorded.mode, recorded.uid, recorded.gid)?;
        }
    }
    staged.temps().try_for_each(|temp| temp.as_file().sync_all().map_err(|e| Error::io("sync", temp.path(), e)))?;
    Ok(warning)
}
