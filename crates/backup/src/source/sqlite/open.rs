//! Opening databases: live, damaged and restored ones.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::guard;
use super::header::Header;
use super::query::{TICK, beside};
use crate::disk::paths::{parent, with_suffix};
use crate::error::{Advice, Error, ErrorKind, Result};
use crate::progress::{Progress, Silent};

/// Opens an existing database for reading. Waits for locks up to `busy_timeout`.
///
/// # Errors
/// [`ErrorKind::MissingSource`], [`ErrorKind::NotADatabase`], [`ErrorKind::PermissionDenied`], [`ErrorKind::Busy`],
/// [`ErrorKind::HotJournal`].
pub(crate) fn open_read_only(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    open_stoppable(path, busy_timeout, &Silent)
}

/// As [`open_read_only`]; `progress` can stop the waiting.
///
/// # Errors
/// As [`open_read_only`], and [`ErrorKind::Interrupted`].
pub(crate) fn open_stoppable(path: &Path, busy_timeout: Duration, progress: &dyn Progress) -> Result<Connection> {
    require_harmless(path)?;
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY, busy_timeout, progress)
}

/// As [`open_stoppable`], after rolling back a transaction that a crash broke off, if there is one. Nothing can be read
/// before that.
pub(crate) fn open_recovered(path: &Path, busy_timeout: Duration, progress: &dyn Progress) -> Result<Connection> {
    match open_stoppable(path, busy_timeout, progress) {
        Err(error) if error.kind() == ErrorKind::HotJournal => {
            drop(open_read_write(path, busy_timeout)?);
            open_stoppable(path, busy_timeout, progress)
        }
        opened => opened,
    }
}

/// Opens an existing database that may be damaged, to read its pages as they are. It opens even if the schema can't be
/// read or the header claims more pages than there are (<https://www.sqlite.org/pragma.html#pragma_writable_schema>).
/// Checks through this connection don't find faults of the schema.
///
/// # Errors
/// As [`open_read_only`].
pub(crate) fn open_damaged(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    require_harmless(path)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, busy_timeout)?;
    guard::allow_damaged_schema(&connection).map_err(|e| Error::sqlite("open database", path, &e))?;
    Ok(connection)
}

/// Opens an existing database for writing; errors as [`open_read_only`].
pub(crate) fn open_read_write(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, busy_timeout, &Silent)
}

/// Opens a restored database as its application would: for writing, with its views and triggers.
///
/// # Errors
/// As [`open_read_only`].
pub(crate) fn open_restored(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    let connection = open_read_write(path, busy_timeout)?;
    guard::allow_views_and_triggers(&connection).map_err(|e| Error::sqlite("open database", path, &e))?;
    Ok(connection)
}

/// As [`open_read_write`], for a database that will be replaced. Closing it doesn't checkpoint its log: if it turns out to
/// be damaged, database and log are moved aside as they are.
pub(crate) fn open_to_replace(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    let failed = |e| Error::sqlite("open database", path, &e);
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, busy_timeout.min(TICK))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    let connection = wait_for_first_read(connection, path, busy_timeout, &Silent)?;
    // If SQLite can't write a file, it opens it for reading, and complains only when it has to write.
    if connection.is_readonly("main").map_err(failed)? {
        let refused = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY), None);
        return Err(Error::sqlite("restore into", path, &refused));
    }
    Ok(connection)
}

/// Reading a WAL database that nobody has open creates its `-shm` and `-wal`, and they stay. If a user other than the
/// owner creates them, the owner can no longer write to the database. So that is refused, unless new files inherit the
/// folder's group and the group may write. Root gives them to the owner.
fn require_harmless(path: &Path) -> Result<()> {
    let (Ok(place), Ok(found)) = (path.canonicalize(), fs::metadata(path)) else { return Ok(()) };
    if !found.is_file() {
        return Ok(());
    }
    let user = rustix::process::geteuid();
    let shared = fs::metadata(parent(&place))
        .is_ok_and(|folder| folder.mode() & 0o2000 != 0 && folder.gid() == found.gid() && found.mode() & 0o020 != 0);
    let in_use = with_suffix(&place, "-shm").exists();
    if user.is_root() || user.as_raw() == found.uid() || shared || in_use || !is_wal(&place) {
        return Ok(());
    }
    let message = format!(
        "database {} is idle; reading it would create -wal and -shm files that its owner can't write",
        path.display()
    );
    let hint = format!("run this as its owner, uid {}", found.uid());
    Err(Error::new(ErrorKind::PermissionDenied, message).with_hint(hint))
}

/// Whether the header says WAL mode. Only for a database that nobody has open in that mode: closing its file drops this
/// process's locks on it.
fn is_wal(path: &Path) -> bool {
    let mut start = [0; 20];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && Header::of(&start).is_wal()
}

fn open(path: &Path, access: OpenFlags, busy_timeout: Duration, progress: &dyn Progress) -> Result<Connection> {
    // A wait of SQLite can't be stopped: so it waits for a short time, again and again.
    let connection = connect(path, access, busy_timeout.min(TICK))?;
    wait_for_first_read(connection, path, busy_timeout, progress)
}

fn wait_for_first_read(
    connection: Connection,
    path: &Path,
    busy_timeout: Duration,
    progress: &dyn Progress,
) -> Result<Connection> {
    let begun = Instant::now();
    while let Err(error) = first_read(&connection, path) {
        if error.kind() != ErrorKind::Busy || begun.elapsed() >= busy_timeout {
            return Err(error);
        }
        if progress.should_stop() {
            return Err(Error::interrupted());
        }
    }
    let ready = guard::limit_cache(&connection).and_then(|()| connection.busy_timeout(busy_timeout));
    ready.map_err(|e| Error::sqlite("open database", path, &e))?;
    Ok(connection)
}

/// Opening is lazy: only the first read finds out whether this is a database, and whether its schema can be read.
fn first_read(connection: &Connection, path: &Path) -> Result<()> {
    match connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)) {
        Ok(_) => Ok(()),
        // SQLite has no error code for a schema format that it doesn't know. Nothing else can be unknown here.
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::Unknown) => {
            Err(Error::damaged_database(path, &e.to_string()))
        }
        Err(e) => Err(Error::sqlite("read database", path, &e)),
    }
}

fn connect(path: &Path, access: OpenFlags, busy_timeout: Duration) -> Result<Connection> {
    require_file(path)?;
    require_plain_beside(path)?;
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        guard::limit(&connection, path)?;
        connection.busy_timeout(busy_timeout)?;
        Ok(connection)
    });
    opened.map_err(|e| Error::sqlite("open database", path, &e))
}

fn require_file(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(Error::new(ErrorKind::NotADatabase, format!("database {} is not a file", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("database {} doesn't exist", path.display());
            Err(Error::new(ErrorKind::MissingSource, message).with_advice(Advice::RestoreMissing))
        }
        Err(e) => Err(Error::io("stat", path, e)),
    }
}

/// SQLite opens the files beside a database as well, and would wait for ever if one were a pipe.
fn require_plain_beside(path: &Path) -> Result<()> {
    for suffix in ["-journal", "-wal", "-shm"] {
        let beside = beside(path, suffix)?;
        if fs::metadata(&beside).is_ok_and(|found| !found.is_file()) {
            let message = format!("database {} can't be opened: {} is not a file", path.display(), beside.display());
            return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("move it away: SQLite creates its own"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_missing_database_stays_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.db");
        assert_eq!(open_read_only(&path, PATIENCE).unwrap_err().kind(), ErrorKind::MissingSource);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_database_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.db");
        fs::write(&path, "plain text, longer than a header, and nothing that SQLite could open. ".repeat(20)).unwrap();
        assert_eq!(open_read_only(&path, PATIENCE).unwrap_err().kind(), ErrorKind::NotADatabase);
        assert_eq!(open_read_only(folder.path(), PATIENCE).unwrap_err().kind(), ErrorKind::NotADatabase);
    }

    #[test]
    fn a_locked_database_is_an_error_after_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("CREATE TABLE t(x); PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE").unwrap();
        let error = open_read_only(&path, Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        let stopped = open_stoppable(&path, Duration::from_secs(3600), &crate::testing::fixtures::Stop).unwrap_err();
        assert_eq!(stopped.kind(), ErrorKind::Interrupted);
    }
}
