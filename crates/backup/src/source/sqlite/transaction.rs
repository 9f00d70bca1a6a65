//! Read transactions: they read one state of a database, whatever others commit meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction};

use super::query::pragma;
use crate::error::{Error, ErrorKind, Result};

/// How often two connections begin again until both read the same state.
pub(super) const TRIES: u32 = 20;

/// Begins a transaction that reads what is committed now. It lasts until the connection is closed.
///
/// # Errors
/// [`ErrorKind::Busy`], [`ErrorKind::Damaged`] and the like.
pub(super) fn begin(connection: &Connection, path: &Path) -> Result<()> {
    // It begins with the first statement that reads.
    connection.execute_batch("BEGIN; PRAGMA data_version").map_err(|e| failed(path, &e))
}

/// As [`begin`]; the transaction ends when it is dropped.
///
/// # Errors
/// As [`begin`].
pub(crate) fn begin_reading<'a>(connection: &'a Connection, path: &Path) -> Result<Transaction<'a>> {
    let transaction = connection.unchecked_transaction().map_err(|e| failed(path, &e))?;
    // It begins with the first statement that reads.
    transaction.execute_batch("PRAGMA data_version").map_err(|e| failed(path, &e))?;
    Ok(transaction)
}

/// Begins a transaction on `connection` and one on `other`, which lasts until that is closed. Both read the same state,
/// unless there are commits without a pause: the second value says whether they do. Waits for locks up to
/// `busy_timeout`, the timeout of both connections.
///
/// # Errors
/// As [`begin`].
pub(crate) fn begin_reading_with<'a>(
    other: &Connection,
    connection: &'a Connection,
    path: &Path,
    busy_timeout: Duration,
) -> Result<(Transaction<'a>, bool)> {
    let (begun, mut tries) = (Instant::now(), TRIES);
    loop {
        let before = data_version(connection, path)?;
        begin(other, path)?;
        match begin_at_once(connection, path, busy_timeout) {
            Ok(transaction) => {
                tries -= 1;
                let is_same = data_version(&transaction, path)? == before;
                if is_same || tries == 0 {
                    return Ok((transaction, is_same));
                }
            }
            Err(error) if error.kind() != ErrorKind::Busy || begun.elapsed() >= busy_timeout => return Err(error),
            Err(_) => {}
        }
        other.execute_batch("ROLLBACK").map_err(|e| failed(path, &e))?;
    }
}

/// Begins without waiting for locks, while another connection reads. In rollback mode a writer that is about to commit
/// keeps new readers out and waits for the others to end: waiting for it would be a deadlock.
fn begin_at_once<'a>(connection: &'a Connection, path: &Path, busy_timeout: Duration) -> Result<Transaction<'a>> {
    let wait = |time| connection.busy_timeout(time).map_err(|e| failed(path, &e));
    wait(Duration::ZERO)?;
    let begun = begin_reading(connection, path);
    wait(busy_timeout)?;
    begun
}

/// Changes with each commit of another connection (<https://www.sqlite.org/pragma.html#pragma_data_version>).
fn data_version(connection: &Connection, path: &Path) -> Result<i64> {
    pragma(connection, "data_version").map_err(|e| failed(path, &e))
}

fn failed(path: &Path, e: &rusqlite::Error) -> Error {
    Error::sqlite("read database", path, e)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::source::sqlite::open_read_only;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn two_that_begin_together_read_the_same_whatever_is_committed_meanwhile() {
        for (mode, rounds) in [("wal", 200), ("delete", 20)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.db");
            let writer = Connection::open(&path).unwrap();
            writer.busy_timeout(PATIENCE).unwrap();
            let setup = format!("PRAGMA journal_mode = {mode}; PRAGMA synchronous = off; CREATE TABLE t(x)");
            writer.execute_batch(&setup).unwrap();
            let (stop, stopped) = mpsc::channel::<()>();
            let commits = thread::spawn(move || {
                while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
                }
            });
            let rows = |connection: &Connection| -> u64 {
                connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
            };
            let one = open_read_only(&path, PATIENCE).unwrap();
            let mut same = 0;
            for _ in 0..rounds {
                let other = open_read_only(&path, PATIENCE).unwrap();
                let (transaction, is_same) = begin_reading_with(&other, &one, &path, PATIENCE).unwrap();
                assert!(!is_same || rows(&transaction) == rows(&other), "{mode}");
                same += u32::from(is_same);
            }
            drop(stop);
            commits.join().unwrap();
            assert!(same > 0, "{mode}");
        }
    }
}
