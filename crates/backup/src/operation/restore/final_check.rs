//! The last check of overwritten databases, once no connection of the restore has them open.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::StepResult;

use super::changes::OverwrittenDatabase;
use super::connection;
use super::journal_mode::{is_wal, set_mode};
use super::patience::{BRIEF, Patience};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Silent;
use crate::source::sqlite::{self, integrity};

/// Leaves each database in its recorded journal mode, with its log emptied into it, and checks it. One that fails doesn't
/// keep the others from that. Returns warnings.
///
/// # Errors
/// [`ErrorKind::Damaged`] if one is not sound; any error of reading it.
pub(super) fn settle_all(databases: &[OverwrittenDatabase], busy_timeout: Duration) -> Result<Vec<String>> {
    let settled: Vec<_> = databases.iter().map(|database| settle(database, busy_timeout)).collect();
    settled.into_iter().filter_map(Result::transpose).collect()
}

/// Readers can prevent that the journal mode is set and the log emptied now. The restored state is safe all the same, so
/// that is only a warning.
fn settle(database: &OverwrittenDatabase, busy_timeout: Duration) -> Result<Option<String>> {
    let (place, path) = (&database.place, &database.place.path());
    let failed = |e| Error::sqlite("check database", path, &e);
    // SQLite ignores an error of making the journal's removal durable. After a crash, the journal would undo the
    // restore.
    place.sync()?;
    let connection = connection::open(place, |path| sqlite::open_read_write(path, busy_timeout))?;
    connection.busy_timeout(BRIEF).map_err(failed)?;
    let _ = connection.query_row("PRAGMA wal_checkpoint(truncate)", [], |row| row.get::<_, i64>(0));
    let found = is_wal(&connection).map_err(failed)?;
    let wanted = database.recorded.as_ref().map_or(found, |recorded| recorded.journal_mode == "wal");
    let warning = set_journal_mode(&connection, path, if wanted { "wal" } else { "delete" });
    connection.busy_timeout(busy_timeout).map_err(failed)?;
    require_sound(&connection, path)?;
    Ok(warning)
}

/// Gives a warning if it can't be set now.
fn set_journal_mode(connection: &Connection, path: &Path, wanted: &str) -> Option<String> {
    // A reader locks the database in the middle of this, where SQLite doesn't wait.
    let set = || {
        let mode = set_mode(connection, "journal_mode", wanted)?;
        Ok(if mode == wanted { StepResult::Done } else { StepResult::Busy })
    };
    let set = Patience { busy_timeout: BRIEF, progress: &Silent }.until_free(path, set);
    set.err().map(|_| format!("{} could not be put into journal mode {wanted} while it is in use", path.display()))
}

fn require_sound(connection: &Connection, path: &Path) -> Result<()> {
    // The new state is committed: a wish to stop waits for this last check.
    match integrity::integrity_check(connection, path, &Silent)?.first() {
        None => Ok(()),
        Some(first) => Err(Error::new(ErrorKind::Damaged, format!("{} after the restore: {first}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::place::Place;
    use crate::testing::fixtures::Site;

    #[test]
    fn a_journal_mode_that_nobody_recorded_stays() {
        for mode in ["wal", "delete"] {
            let site = Site::new();
            site.execute(&format!("PRAGMA journal_mode = {mode}"));
            let database = OverwrittenDatabase { place: Place::of(site.root(), "sessions.db"), recorded: None };
            assert_eq!(settle(&database, Duration::from_secs(5)).unwrap(), None);
            let found: String = sqlite::pragma(&site.open(), "journal_mode").unwrap();
            assert_eq!(found, mode);
        }
    }
}
