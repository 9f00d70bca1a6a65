//! Whose fault it is that SQLite can't overwrite a database: its own, and it is moved aside; or that of the disk, of
//! permissions, of others who use it, and it stays where it is. SQLite's words don't tell: a header that says "read-only"
//! or a page count that can't be give the same errors as a file of somebody else's and a full disk. So the file, the disk
//! and the database are asked.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rustix::fs::{Access, AtFlags, CWD, FallocateFlags, accessat, fallocate};
use rustix::io::Errno;

use super::DATABASE_FILES;
use super::staging::StagedDatabase;
use crate::disk::{paths, space};
use crate::error::{Error, ErrorKind};
use crate::operation::look::Look;
use crate::source::sqlite::{self, integrity};

/// Whether the database in the place of the decoded one is the cause of `error`. `is_damaged` if that is known of it.
pub(super) fn is_the_databases(look: &Look<'_>, staged: &StagedDatabase, is_damaged: bool, error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Damaged | ErrorKind::NotADatabase => true,
        ErrorKind::PermissionDenied | ErrorKind::NoSpace => can_be_overwritten(staged),
        ErrorKind::Sqlite => is_damaged || is_unsound(look, &staged.path),
        _ => false,
    }
}

/// Whether nothing but the database itself keeps it from being overwritten.
fn can_be_overwritten(staged: &StagedDatabase) -> bool {
    // SQLite keeps its journal where a link leads.
    let Ok(place) = staged.path.canonicalize() else { return false };
    let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    let journal_and_growth = size(&place).saturating_add(size(staged.temp.path()));
    DATABASE_FILES.iter().all(|suffix| is_writable(&paths::with_suffix(&place, suffix)))
        && has_room(paths::parent(&place), journal_and_growth)
}

/// Whether this user can read and write it; what isn't there keeps nobody out.
fn is_writable(path: &Path) -> bool {
    let access = accessat(CWD, path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS);
    matches!(access, Ok(()) | Err(Errno::NOENT))
}

/// Whether this user can write so many bytes into a new file there.
fn has_room(folder: &Path, bytes: u64) -> bool {
    let Ok(file) = tempfile::tempfile_in(folder) else { return false };
    match fallocate(&file, FallocateFlags::empty(), 0, bytes.max(1)) {
        Ok(()) => true,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => space::free_bytes(folder).is_ok_and(|free| free >= bytes),
        Err(_) => false,
    }
}

/// Whether the database fails its check, or its header says what can't be. One that can't be checked is not known to be
/// unsound.
fn is_unsound(look: &Look<'_>, path: &Path) -> bool {
    let connection = sqlite::open_stoppable(path, look.busy_timeout(), look.progress());
    let checked = connection.and_then(|connection| {
        let problems = integrity::integrity_check(&connection, path, look.progress())?;
        Ok(!problems.is_empty() || !has_known_encoding(&connection))
    });
    checked.unwrap_or_else(|error| error.means_damaged())
}

/// Whether the header has one of the three encodings (<https://www.sqlite.org/fileformat2.html>, section 1.3.13). Others are
/// read as UTF-8 the first time, and refused the second.
fn has_known_encoding(connection: &Connection) -> bool {
    let number = "SELECT substr(data, 57, 4) FROM sqlite_dbpage WHERE pgno = 1";
    let number = connection.query_row(number, [], |row| row.get::<_, [u8; 4]>(0));
    number.is_ok_and(|number| (1..=3).contains(&u32::from_be_bytes(number)))
}
