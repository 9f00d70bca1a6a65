//! Overwriting a database that is there, through SQLite's backup API (<https://www.sqlite.org/c3ref/backup_finish.html>),
//! as one transaction: readers see the old or the new state, a crash rolls back, and nobody has to reopen it.
//!
//! What is committed between the pre-restore backup and the overwriting would be in neither. So a WAL database's write
//! lock is taken before that backup and held until the new state is committed: readers, the backup among them, go on,
//! writers wait. In rollback mode the lock would shut the backup out as well, and a WAL database with another page
//! size has to leave WAL mode first: those are locked only once they are overwritten.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;

use crate::error::{Error, ErrorKind, Result};
use crate::manifest;
use crate::progress::{Phase, Silent, Step};
use crate::run::Run;
use crate::source::{integrity, sqlite};

/// How often a busy database is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// How long readers are waited for to empty the log into the database. Nothing depends on it.
const SETTLE: Duration = Duration::from_secs(1);

/// A live database and the decoded one that will overwrite it, both open.
pub(super) struct Live {
    path: PathBuf,
    source: Connection,
    target: Connection,
    busy_timeout: Duration,
}

/// A live database about to be overwritten.
pub(super) enum Overwrite<'a> {
    /// Nobody else can write to it until this is finished or dropped.
    Held(Backup<'a, 'a>, &'a Path, Duration),
    /// Others can write to it still.
    Free(&'a mut Live),
}

impl Live {
    /// Opens both.
    pub fn open(run: &Run<'_>, temp: &Path, path: &Path) -> Result<Self> {
        let target = sqlite::open_read_write(path, run.busy_timeout())?;
        target.pragma_update(None, "synchronous", "full").map_err(|e| Error::sqlite("restore into", path, &e))?;
        // If it turns out damaged it is moved aside with its log: that must not be emptied into it on closing.
        target
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(|e| Error::sqlite("restore into", path, &e))?;
        let source = sqlite::open_read_only(temp, Duration::ZERO)?;
        Ok(Self { path: path.to_path_buf(), source, target, busy_timeout: run.busy_timeout() })
    }

    /// Keeps others from writing to it, where that doesn't keep them from reading.
    pub fn hold(&mut self) -> Result<Overwrite<'_>> {
        if self.leaves_wal()? || self.journal_mode()? != "wal" {
            return Ok(Overwrite::Free(self));
        }
        let backup =
            Backup::new(&self.source, &mut self.target).map_err(|e| Error::sqlite("restore into", &self.path, &e))?;
        // No page yet, but the lock.
        step_until(&backup, 0, &self.path, self.busy_timeout)?;
        Ok(Overwrite::Held(backup, &self.path, self.busy_timeout))
    }

    fn journal_mode(&self) -> Result<String> {
        sqlite::pragma(&self.target, "journal_mode").map_err(|e| Error::sqlite("restore into", &self.path, &e))
    }

    /// A WAL database can't change its page size: it has to leave WAL mode first.
    fn leaves_wal(&self) -> Result<bool> {
        let page_size = |connection| {
            sqlite::pragma::<u32>(connection, "page_size").map_err(|e| Error::sqlite("restore into", &self.path, &e))
        };
        Ok(page_size(&self.source)? != page_size(&self.target)? && self.journal_mode()? == "wal")
    }
}

impl Overwrite<'_> {
    /// Overwrites the live database.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if it stays locked, or has to leave WAL mode while it is in use: it is as it was.
    pub fn finish(self, run: &Run<'_>) -> Result<()> {
        let (backup, path, busy_timeout) = match self {
            Self::Held(backup, path, busy_timeout) => (backup, path, busy_timeout),
            Self::Free(live) => {
                if live.leaves_wal()? && set_journal_mode(&live.target, "delete").ok().as_deref() != Some("delete") {
                    let message =
                        format!("{} has another page size than the backup, and it is in use", live.path.display());
                    return Err(
                        Error::new(ErrorKind::Busy, message).with_hint("stop the application, then restore again")
                    );
                }
                let backup = Backup::new(&live.source, &mut live.target)
                    .map_err(|e| Error::sqlite("restore into", &live.path, &e))?;
                (backup, live.path.as_path(), live.busy_timeout)
            }
        };
        let _step = Step::begin(run.progress(), Phase::Write, &path.display().to_string(), None);
        // All pages in one step: SQLite makes one transaction of it.
        step_until(&backup, -1, path, busy_timeout)
    }
}

fn step_until(backup: &Backup<'_, '_>, pages: i32, path: &Path, busy_timeout: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        match backup.step(pages).map_err(|e| Error::sqlite("restore into", path, &e))? {
            StepResult::Done | StepResult::More => return Ok(()),
            _ if begun.elapsed() < busy_timeout => thread::sleep(RETRY),
            _ => {
                let waited = format!("{} stayed locked for {} s", path.display(), busy_timeout.as_secs());
                return Err(Error::new(ErrorKind::Busy, waited)
                    .with_hint("a program holds it in a transaction: stop that, or allow more with --busy-timeout"));
            }
        }
    }
}

/// Leaves an overwritten database in the journal mode that was recorded, its log emptied into it, and checked. Readers
/// can keep the first two from happening now; the restored state is safe all the same, so that is only a warning.
///
/// # Errors
/// [`ErrorKind::Damaged`] if it is not sound.
pub(super) fn settle(run: &Run<'_>, path: &Path, recorded: Option<&manifest::Database>) -> Result<Option<String>> {
    let failed = |e| Error::sqlite("check database", path, &e);
    let connection = sqlite::open_read_write(path, run.busy_timeout())?;
    connection.busy_timeout(SETTLE).map_err(failed)?;
    let _ = connection.query_row("PRAGMA wal_checkpoint(truncate)", [], |row| row.get::<_, i64>(0));
    let found: String = sqlite::pragma(&connection, "journal_mode").map_err(failed)?;
    let wanted = recorded.map_or(found == "wal", |recorded| recorded.journal_mode == "wal");
    let wanted = if wanted { "wal" } else { "delete" };
    let warning = match set_journal_mode(&connection, wanted) {
        Ok(mode) if mode == wanted => None,
        _ => Some(format!("{} could not be put into journal mode {wanted} while it is in use", path.display())),
    };
    connection.busy_timeout(run.busy_timeout()).map_err(failed)?;
    // The new state is committed: whoever wants to stop waits for this last look.
    let problems = integrity::integrity_check(&connection, path, &Silent)?;
    match problems.first() {
        None => Ok(warning),
        Some(first) => Err(Error::new(ErrorKind::Damaged, format!("{} after the restore: {first}", path.display()))),
    }
}

/// Puts a closed database into WAL mode. A snapshot never is: `VACUUM INTO` writes rollback mode.
pub(super) fn set_wal(path: &Path) -> Result<()> {
    let connection = sqlite::open_read_write(path, Duration::ZERO)?;
    set_journal_mode(&connection, "wal").map_err(|e| Error::sqlite("set the journal mode of", path, &e))?;
    connection.close().map_err(|(_, e)| Error::sqlite("close", path, &e))
}

fn set_journal_mode(connection: &Connection, mode: &str) -> rusqlite::Result<String> {
    connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get(0))
}
