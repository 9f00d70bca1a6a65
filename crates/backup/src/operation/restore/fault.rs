//! Why SQLite can't overwrite a database. If the cause is the database itself, it is moved aside; if it is the disk, a
//! permission or another program, it stays where it is. SQLite's error doesn't tell them apart: a header that says
//! "read-only" gives the same error as a file of another user, and an impossible page count the same as a full disk. So
//! the file, the disk and the database are checked (decision 22).

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rustix::fs::{Access, AtFlags, CWD, FallocateFlags, accessat, fallocate};
use rustix::io::Errno;

use super::file_names::DATABASE_FILES;
use super::patience::Patience;
use super::staging::StagedDatabase;
use crate::disk::{paths, space};
use crate::error::{Error, ErrorKind};
use crate::source::sqlite::{self, integrity};

/// Whether the existing database is the cause of `error`. `is_damaged` if it is known to be damaged.
pub(super) fn is_the_databases(
    error: &Error,
    staged: &StagedDatabase,
    is_damaged: bool,
    patience: Patience<'_>,
) -> bool {
    match error.kind() {
        ErrorKind::Damaged | ErrorKind::NotADatabase => true,
        ErrorKind::PermissionDenied | ErrorKind::NoSpace => can_be_overwritten(staged),
        ErrorKind::Sqlite => is_damaged || is_unsound(&staged.path, patience),
        _ => false,
    }
}

/// Whether permissions and disk would allow it to be overwritten.
fn can_be_overwritten(staged: &StagedDatabase) -> bool {
    // SQLite keeps the journal beside the file that a link leads to.
    let Ok(place) = staged.path.canonicalize() else { return false };
    let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    let journal_and_growth = size(&place).saturating_add(size(staged.temp.path()));
    DATABASE_FILES.iter().all(|suffix| is_writable(&paths::with_suffix(&place, suffix)))
        && has_room(paths::parent(&place), journal_and_growth)
}

/// Whether this user can read and write it, or it doesn't exist.
fn is_writable(path: &Path) -> bool {
    let access = accessat(CWD, path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS);
    matches!(access, Ok(()) | Err(Errno::NOENT))
}

/// Whether this user can write that many bytes into a new file there.
fn has_room(folder: &Path, bytes: u64) -> bool {
    let Ok(file) = tempfile::tempfile_in(folder) else { return false };
    match fallocate(&file, FallocateFlags::empty(), 0, bytes.max(1)) {
        Ok(()) => true,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => space::free_bytes(folder).is_ok_and(|free| free >= bytes),
        Err(_) => false,
    }
}

/// Whether the database fails its check, or its header holds an impossible value. `false` if it can't be checked.
fn is_unsound(path: &Path, patience: Patience<'_>) -> bool {
    let connection = sqlite::open_stoppable(path, patience.busy_timeout, patience.progress);
    let checked = connection.and_then(|connection| {
        let problems = integrity::integrity_check(&connection, path, patience.progress)?;
        Ok(!problems.is_empty() || !has_known_encoding(&connection))
    });
    checked.unwrap_or_else(|error| error.means_damaged())
}

/// Whether the header has one of the three encodings (<https://www.sqlite.org/fileformat2.html>, section 1.3.13). SQLite reads
/// any other as UTF-8 the first time, and refuses it the second time.
fn has_known_encoding(connection: &Connection) -> bool {
    let number = "SELECT substr(data, 57, 4) FROM sqlite_dbpage WHERE pgno = 1";
    let number = connection.query_row(number, [], |row| row.get::<_, [u8; 4]>(0));
    number.is_ok_and(|number| (1..=3).contains(&u32::from_be_bytes(number)))
}
