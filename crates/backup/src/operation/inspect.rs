//! Facts about a live database, read without any change to it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::progress::Progress;
pub use crate::source::sqlite::SqliteVersion;
use crate::source::sqlite::{self, integrity, pragma};

/// Facts about a live database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The journal mode as SQLite names it: `wal`, or a rollback mode such as `delete`.
    pub journal_mode: String,
    /// Size of a page in bytes: a power of two from 512 to 65536.
    pub page_size: u32,
    /// Size of the database in bytes.
    pub bytes: u64,
    /// Size of its `-wal` file in bytes; 0 if there is none.
    pub wal_bytes: u64,
    /// The version of SQLite that last wrote the first page: the application's, unless a restore wrote it. `None` if the
    /// SQLite in this program can't read pages, or the writer left no version.
    pub written_by: Option<SqliteVersion>,
}

/// Reads the facts about the database at `path`. Waits for locks up to `busy_timeout`.
///
/// # Errors
/// Those of a backup of it: [`MissingSource`](crate::ErrorKind::MissingSource),
/// [`NotADatabase`](crate::ErrorKind::NotADatabase), [`PermissionDenied`](crate::ErrorKind::PermissionDenied),
/// [`Busy`](crate::ErrorKind::Busy) if it stays locked for longer than `busy_timeout`,
/// [`Damaged`](crate::ErrorKind::Damaged).
pub fn inspect(path: &Path, busy_timeout: Duration) -> Result<Inspection> {
    let connection = sqlite::open_read_only(path, busy_timeout)?;
    let failed = |e| Error::sqlite("read database", path, &e);
    let page_size: u32 = pragma(&connection, "page_size").map_err(failed)?;
    let pages: u64 = pragma(&connection, "page_count").map_err(failed)?;
    // Reading its size doesn't open it.
    let wal = fs::metadata(sqlite::beside(path, "-wal")?);
    Ok(Inspection {
        journal_mode: pragma(&connection, "journal_mode").map_err(failed)?,
        page_size,
        bytes: pages * u64::from(page_size),
        wal_bytes: wal.map_or(0, |found| found.len()),
        written_by: written_by(&connection),
    })
}

/// The problems that `PRAGMA integrity_check` finds in the live database at `path`, at most ten lines; empty if there
/// are none. Waits for locks up to `busy_timeout`.
///
/// # Errors
/// As [`inspect`], and [`Interrupted`](crate::ErrorKind::Interrupted) if `progress` says to stop.
pub fn check_integrity(path: &Path, busy_timeout: Duration, progress: &dyn Progress) -> Result<Vec<String>> {
    let connection = sqlite::open_read_only(path, busy_timeout)?;
    integrity::integrity_check(&connection, path, progress)
}

/// The number at offset 96 of the database header (<https://www.sqlite.org/fileformat2.html#validfor>). It is read through
/// SQLite, since it can still be in the WAL, and a live database must not be opened by other means.
fn written_by(connection: &Connection) -> Option<SqliteVersion> {
    let number = "SELECT substr(data, 97, 4) FROM sqlite_dbpage WHERE pgno = 1";
    let bytes: Vec<u8> = connection.query_row(number, [], |row| row.get(0)).ok()?;
    let number = u32::from_be_bytes(bytes.try_into().ok()?);
    (number != 0).then_some(SqliteVersion(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::progress::Silent;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_live_database_shows_its_mode_its_size_and_who_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch(
                "PRAGMA page_size = 1024; PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0;
                 CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(5000))",
            )
            .unwrap();
        let found = inspect(&path, PATIENCE).unwrap();
        assert_eq!((found.journal_mode.as_str(), found.page_size, found.bytes % 1024), ("wal", 1024, 0));
        assert!(found.bytes > 5000 && found.wal_bytes > 5000, "{found:?}");
        assert_eq!(found.written_by.unwrap().to_string(), rusqlite::version());
        assert_eq!(check_integrity(&path, PATIENCE, &Silent).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn an_older_writer_is_seen_in_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[96..100].copy_from_slice(&3_040_001_u32.to_be_bytes());
        fs::write(&path, bytes).unwrap();
        let found = inspect(&path, PATIENCE).unwrap();
        assert_eq!(found.written_by.unwrap().to_string(), "3.40.1");
        assert_eq!(found.wal_bytes, 0);
    }

    #[test]
    fn what_is_no_database_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        assert_eq!(inspect(&path, PATIENCE).unwrap_err().kind(), ErrorKind::MissingSource);
        fs::write(&path, "no database".repeat(100)).unwrap();
        assert_eq!(inspect(&path, PATIENCE).unwrap_err().kind(), ErrorKind::NotADatabase);
    }
}
