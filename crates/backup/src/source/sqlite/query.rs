//! Small questions that all parts ask, and how a long call is stopped.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{Connection, Row};

use crate::disk::paths::with_suffix;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// How often a long call of SQLite is interrupted if it should stop.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// Where SQLite keeps a file beside the database at `path`, such as its `-wal`: it follows a link first.
///
/// # Errors
/// As the operating system says.
pub(crate) fn beside(path: &Path, suffix: &str) -> Result<PathBuf> {
    let place = path.canonicalize().map_err(|e| Error::io("find", path, e))?;
    Ok(with_suffix(&place, suffix))
}

/// The value of `PRAGMA name`.
pub(crate) fn pragma<T: FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

/// Bytes of the database's pages.
pub(super) fn bytes(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(pragma::<u64>(connection, "page_count")? * pragma::<u64>(connection, "page_size")?)
}

/// Bytes of the pages that aren't free: the size of a compact copy.
pub(crate) fn bytes_in_use(connection: &Connection, path: &Path) -> Result<u64> {
    let number = |name| pragma::<u64>(connection, name).map_err(|e| Error::sqlite("read database", path, &e));
    Ok(number("page_count")?.saturating_sub(number("freelist_count")?).saturating_mul(number("page_size")?))
}

/// The first column as text. SQLite doesn't guarantee UTF-8; other bytes are shown as U+FFFD.
pub(super) fn text(row: &Row<'_>) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned())
}

/// A name quoted for SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Runs `work`, one long call of SQLite. Meanwhile another thread calls `tick` now and then, and interrupts the call if
/// `progress` says so. If there is no thread to be had, the call runs to its end.
pub(crate) fn stoppable<T>(
    connection: &Connection,
    progress: &dyn Progress,
    mut tick: impl FnMut() + Send,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    thread::scope(|scope| {
        let (working, ended) = mpsc::channel::<()>();
        let interrupt = connection.get_interrupt_handle();
        let watch = move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                tick();
                if progress.should_stop() {
                    interrupt.interrupt();
                }
            }
        };
        let _ = thread::Builder::new().spawn_scoped(scope, watch);
        let result = work(connection);
        drop(working);
        result
    })
}
