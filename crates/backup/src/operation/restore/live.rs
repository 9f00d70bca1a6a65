//! Overwriting a database that is there, through SQLite's backup API (<https://www.sqlite.org/c3ref/backup_finish.html>),
//! as one transaction: readers see the old or the new state, a crash rolls back, and nobody has to reopen it.
//!
//! What is committed between the pre-restore backup and the overwriting would be in neither. So others are kept from
//! writing from before that backup until the new state is committed, and the lock is never let go of in between:
//!
//! * In WAL mode, the backup API's transaction is begun early, by a step that copies nothing. Others read on.
//! * In rollback mode, that would shut readers out for as long. There the connection is put into exclusive locking mode,
//!   in which it keeps what a transaction has locked (<https://www.sqlite.org/pragma.html#pragma_locking_mode>): one that
//!   is begun and rolled back leaves it with RESERVED, beside which others read on. (COMMIT would take EXCLUSIVE.) Only
//!   to overwrite, readers are waited for and shut out.
//! * A WAL database with another page size has to leave WAL mode first, so nobody else may have it open. In exclusive
//!   locking mode a transaction of a WAL database takes EXCLUSIVE, and that is kept until it is overwritten.
//!
//! A locked database is read through the very connection that has locked it.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode};

use super::same;
use crate::disk::place::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::operation::look::Look;
use crate::progress::{Phase, Silent, Step};
use crate::record::manifest;
use crate::source::sqlite::{self, integrity};

/// How long SQLite tries to lock a busy database before the wish to stop is asked for.
const TRY: Duration = Duration::from_millis(100);

/// How often that is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// How long others are waited for where nothing depends on it, or it would be in vain: readers, to empty the log into
/// the database; who has it open, to close it.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// A live database and the decoded one that will overwrite it, both open.
pub(super) struct Live {
    path: PathBuf,
    source: Connection,
    target: Connection,
}

/// A live database about to be overwritten. Nobody else can write to it until this is finished or dropped.
pub(super) enum Overwrite<'a> {
    /// The transaction that overwrites it is begun.
    Begun(Backup<'a, 'a>, &'a Path),
    /// Its connection keeps it locked.
    Locked(&'a mut Live),
}

impl Live {
    /// Opens both.
    pub fn open(look: &Look<'_>, temp: &Place, place: &Place) -> Result<Self> {
        let target = same::open(place, |path| sqlite::open_to_replace(path, look.busy_timeout()))?;
        let source = same::open(temp, |path| sqlite::open_read_only(path, Duration::ZERO))?;
        Ok(Self { path: place.path(), source, target })
    }

    /// Keeps others from writing to it.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if it stays locked, or has to leave WAL mode while it is in use; [`ErrorKind::Interrupted`].
    pub fn hold(&mut self, look: &Look<'_>) -> Result<Overwrite<'_>> {
        let (is_wal, leaves_wal) = (self.is_wal()?, self.leaves_wal()?);
        self.configure(TRY)?;
        if leaves_wal {
            self.lock_alone(look)?;
            return Ok(Overwrite::Locked(self));
        }
        if !is_wal {
            self.lock(look)?;
            return Ok(Overwrite::Locked(self));
        }
        let (backup, path) = self.begin()?;
        // No page yet, but the lock.
        until_free(path, look.busy_timeout(), || look.check_stop(), || backup.step(0))?;
        Ok(Overwrite::Begun(backup, path))
    }

    /// Keeps it locked for writing, in rollback mode. As long as it waits it locks nothing, or a writer and this one
    /// would wait for each other.
    fn lock(&self, look: &Look<'_>) -> Result<()> {
        let lock = "BEGIN IMMEDIATE; PRAGMA main.locking_mode = exclusive; ROLLBACK";
        let lock = || self.target.execute_batch(lock).map(|()| StepResult::Done);
        until_free(&self.path, look.busy_timeout(), || look.check_stop(), lock)
    }

    /// Keeps a WAL database for itself. It doesn't wait for long: who has it open may have it open for ever.
    fn lock_alone(&self, look: &Look<'_>) -> Result<()> {
        let lock = "PRAGMA main.locking_mode = exclusive; BEGIN IMMEDIATE; ROLLBACK";
        let lock = || self.target.execute_batch(lock).map(|()| StepResult::Done);
        let locked = until_free(&self.path, look.busy_timeout().min(SETTLE), || look.check_stop(), lock);
        locked.map_err(|error| match error.kind() {
            ErrorKind::Busy => {
                let message =
                    format!("{} has another page size than the backup, and it is in use", self.path.display());
                Error::new(ErrorKind::Busy, message).with_hint("stop the application, then restore again")
            }
            _ => error,
        })
    }

    /// Overwrites it while it is locked.
    fn overwrite(&mut self, patience: Duration) -> Result<()> {
        self.configure(patience)?;
        let leaves_wal = self.leaves_wal()?;
        if leaves_wal {
            // Nobody else has it open, so nothing keeps it from that.
            set_mode(&self.target, "journal_mode", "delete").map_err(|e| self.failed(&e))?;
        }
        self.unlock_with_next()?;
        let overwritten = self.begin().and_then(|(backup, path)| copy_all(&backup, path, patience));
        if leaves_wal && overwritten.is_err() {
            // As it was, as far as it can be: it is sound either way.
            let _ = set_mode(&self.target, "journal_mode", "wal");
        }
        overwritten
    }

    /// Lets the end of the next transaction give back what is locked: so the next has to be the one that overwrites it.
    fn unlock_with_next(&self) -> Result<()> {
        set_mode(&self.target, "locking_mode", "normal").map(drop).map_err(|e| self.failed(&e))
    }

    fn begin(&mut self) -> Result<(Backup<'_, '_>, &Path)> {
        let Self { path, source, target } = self;
        let backup = Backup::new(source, target).map_err(|e| Error::sqlite("restore into", path, &e))?;
        Ok((backup, path))
    }

    /// Prepares it for a transaction that is durable, and for waiting so long at a time. In rollback mode, SQLite removes
    /// the journal and then cuts off what a smaller database doesn't need, which is in no journal. `extra` makes it durable
    /// in between that the journal is gone (<https://www.sqlite.org/pragma.html#pragma_synchronous>): with a shorter file, it
    /// would roll back to a malformed one.
    fn configure(&self, busy_timeout: Duration) -> Result<()> {
        self.target.busy_timeout(busy_timeout).map_err(|e| self.failed(&e))?;
        self.target.pragma_update(None, "synchronous", "extra").map_err(|e| self.failed(&e))
    }

    fn is_wal(&self) -> Result<bool> {
        let mode: String = sqlite::pragma(&self.target, "journal_mode").map_err(|e| self.failed(&e))?;
        Ok(mode == "wal")
    }

    /// A WAL database can't change its page size: it has to leave WAL mode first.
    fn leaves_wal(&self) -> Result<bool> {
        let page_size = |connection| sqlite::pragma::<u32>(connection, "page_size").map_err(|e| self.failed(&e));
        Ok(page_size(&self.source)? != page_size(&self.target)? && self.is_wal()?)
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        Error::sqlite("restore into", &self.path, error)
    }
}

impl Overwrite<'_> {
    /// The database and the connection that it has to be read through, as long as others can't.
    pub fn locked(&self) -> Option<(&Path, &Connection)> {
        match self {
            Self::Begun(..) => None,
            Self::Locked(live) => Some((&live.path, &live.target)),
        }
    }

    /// Overwrites the live database.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if readers of a database in rollback mode don't end: it is as it was.
    pub fn finish(self, look: &Look<'_>) -> Result<()> {
        let path = match &self {
            Self::Begun(_, path) => path,
            Self::Locked(live) => live.path.as_path(),
        };
        let _step = Step::begin(look.progress(), Phase::Write, &path.display().to_string(), None);
        match self {
            Self::Begun(backup, path) => copy_all(&backup, path, look.busy_timeout()),
            Self::Locked(live) => live.overwrite(look.busy_timeout()),
        }
    }
}

/// All pages in one step: SQLite makes one transaction of it. Not tried again, since the first try gives back what was
/// locked before.
fn copy_all(backup: &Backup<'_, '_>, path: &Path, patience: Duration) -> Result<()> {
    match backup.step(-1) {
        Ok(StepResult::Done) => Ok(()),
        Ok(_) => Err(stayed_locked(path, patience)),
        Err(error) => Err(Error::sqlite("restore into", path, &error)),
    }
}

/// Tries until the database at `path` is no longer busy, or `go_on` is against it.
pub(super) fn until_free(
    path: &Path,
    patience: Duration,
    mut go_on: impl FnMut() -> Result<()>,
    mut attempt: impl FnMut() -> rusqlite::Result<StepResult>,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(StepResult::Done | StepResult::More) => return Ok(()),
            Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => {
                return Err(Error::sqlite("restore into", path, &error));
            }
            _ if begun.elapsed() >= patience => return Err(stayed_locked(path, patience)),
            _ => go_on()?,
        }
        thread::sleep(RETRY);
    }
}

fn stayed_locked(path: &Path, patience: Duration) -> Error {
    Error::new(ErrorKind::Busy, format!("{} stayed locked for {} s", path.display(), patience.as_secs()))
        .with_hint("a program holds it in a transaction: stop that, or allow more with --busy-timeout")
}

/// Leaves an overwritten database in the journal mode that was recorded, its log emptied into it, and checked. Readers
/// can keep the first two from happening now; the restored state is safe all the same, so that is only a warning.
///
/// # Errors
/// [`ErrorKind::Damaged`] if it is not sound.
pub(super) fn settle(look: &Look<'_>, place: &Place, recorded: Option<&manifest::Database>) -> Result<Option<String>> {
    let path = &place.path();
    let failed = |e| Error::sqlite("check database", path, &e);
    // SQLite goes on if it can't make it durable that the journal is gone, which would undo the restore.
    place.sync()?;
    let connection = same::open(place, |path| sqlite::open_read_write(path, look.busy_timeout()))?;
    connection.busy_timeout(SETTLE).map_err(failed)?;
    let _ = connection.query_row("PRAGMA wal_checkpoint(truncate)", [], |row| row.get::<_, i64>(0));
    let found: String = sqlite::pragma(&connection, "journal_mode").map_err(failed)?;
    let wanted = recorded.map_or(found == "wal", |recorded| recorded.journal_mode == "wal");
    let wanted = if wanted { "wal" } else { "delete" };
    // Whoever holds it locks it in the middle of this, where SQLite doesn't wait.
    let set = || {
        let mode = set_mode(&connection, "journal_mode", wanted)?;
        Ok(if mode == wanted { StepResult::Done } else { StepResult::Busy })
    };
    let set = until_free(path, SETTLE, || Ok(()), set);
    let warning =
        set.err().map(|_| format!("{} could not be put into journal mode {wanted} while it is in use", path.display()));
    connection.busy_timeout(look.busy_timeout()).map_err(failed)?;
    // The new state is committed: whoever wants to stop waits for this last look.
    let problems = integrity::integrity_check(&connection, path, &Silent)?;
    match problems.first() {
        None => Ok(warning),
        Some(first) => Err(Error::new(ErrorKind::Damaged, format!("{} after the restore: {first}", path.display()))),
    }
}

/// Puts a closed database into WAL mode. A snapshot never is: `VACUUM INTO` writes rollback mode.
pub(super) fn set_wal(place: &Place) -> Result<()> {
    let path = &place.path();
    let connection = same::open(place, |path| sqlite::open_read_write(path, Duration::ZERO))?;
    set_mode(&connection, "journal_mode", "wal").map_err(|e| Error::sqlite("set the journal mode of", path, &e))?;
    connection.close().map_err(|(_, e)| Error::sqlite("close", path, &e))
}

/// Sets a mode that the file or its lock is in, and gives the one that it is in then.
pub(super) fn set_mode(connection: &Connection, pragma: &str, mode: &str) -> rusqlite::Result<String> {
    connection.query_row(&format!("PRAGMA main.{pragma} = {mode}"), [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::run::Run;
    use crate::store::MemoryStore;
    use crate::testing::fixtures::Site;
    use crate::testing::fixtures::Stop;

    /// A database in that mode with pages of that size, and the decoded one that will overwrite it.
    fn live(site: &Site, run: &Run<'_>, mode: &str, page_size: u32) -> Live {
        site.execute(&format!("PRAGMA journal_mode = delete; PRAGMA page_size = {page_size}; VACUUM"));
        site.execute(&format!("PRAGMA journal_mode = {mode}; DELETE FROM sessions"));
        let decoded = site.root().join("decoded.db");
        Connection::open(&decoded)
            .unwrap()
            .execute_batch("CREATE TABLE sessions(id INTEGER PRIMARY KEY); INSERT INTO sessions VALUES (1), (2)")
            .unwrap();
        Live::open(run, &Place::of(site.root(), "decoded.db"), &Place::of(site.root(), "sessions.db")).unwrap()
    }

    /// A run that waits for no lock: asked whether to go on, it says no.
    fn impatient<'a>(site: &Site, store: &'a MemoryStore) -> Run<'a> {
        let setup = site.setup(store, "20251210_140000");
        Run::begin(crate::Setup { busy_timeout: Duration::ZERO, progress: &Stop, ..setup }, &mut |_| {}).unwrap()
    }

    fn can_be(statement: &str, site: &Site) -> bool {
        let other = site.open();
        other.busy_timeout(Duration::ZERO).unwrap();
        other.execute_batch(statement).is_ok()
    }

    fn can_be_written(site: &Site) -> bool {
        can_be("BEGIN IMMEDIATE; ROLLBACK", site)
    }

    fn can_be_read(site: &Site) -> bool {
        can_be("SELECT count(*) FROM sessions", site)
    }

    #[test]
    fn from_the_hold_to_the_new_state_nobody_can_write_and_who_can_be_let_read_can_read() {
        for (mode, page_size, readable) in
            [("wal", 4096, true), ("delete", 4096, true), ("delete", 1024, true), ("wal", 1024, false)]
        {
            let (site, store) = (Site::new(), MemoryStore::new());
            let run = site.begin(&store, "20251210_140000");
            let mut live = live(&site, &run, mode, page_size);
            let held = live.hold(&run).unwrap();
            let locked = held.locked().map(|(_, connection)| connection);
            assert_eq!(locked.is_some(), (mode, page_size) != ("wal", 4096), "{mode} {page_size}");
            if let Some(connection) = locked {
                connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get::<_, i64>(0)).unwrap();
                let busy_timeout: u32 = sqlite::pragma(connection, "busy_timeout").unwrap();
                assert_eq!(u128::from(busy_timeout), TRY.as_millis(), "a wish to stop is heard in between");
            }
            assert_eq!((can_be_written(&site), can_be_read(&site)), (false, readable), "{mode} {page_size}");
            if let Overwrite::Locked(live) = &held {
                live.configure(Duration::ZERO).unwrap();
                live.unlock_with_next().unwrap();
                assert_eq!((can_be_written(&site), can_be_read(&site)), (false, readable), "{mode} {page_size}");
            }
            held.finish(&run).unwrap();
            assert_eq!((can_be_written(&site), site.sessions()), (true, 2), "{mode} {page_size}");
        }
    }

    #[test]
    fn a_hold_that_is_let_go_of_leaves_the_database_to_others_as_it_was() {
        for (mode, page_size) in [("wal", 4096), ("delete", 1024), ("wal", 1024)] {
            let (site, store) = (Site::new(), MemoryStore::new());
            let run = site.begin(&store, "20251210_140000");
            let mut live = live(&site, &run, mode, page_size);
            drop(live.hold(&run).unwrap());
            drop(live);
            let found: String = sqlite::pragma(&site.open(), "journal_mode").unwrap();
            assert_eq!((can_be_written(&site), site.sessions(), found.as_str()), (true, 0, mode));
        }
    }

    #[test]
    fn an_overwriting_that_fails_leaves_the_database_as_it_was() {
        for (mode, page_size) in [("wal", 4096), ("delete", 4096), ("wal", 1024)] {
            let (site, store) = (Site::new(), MemoryStore::new());
            let run = impatient(&site, &store);
            let mut live = live(&site, &run, mode, page_size);
            let held = live.hold(&run).unwrap();
            let decoded = Connection::open(site.root().join("decoded.db")).unwrap();
            decoded.execute_batch("BEGIN EXCLUSIVE").unwrap();
            assert_eq!(held.finish(&run).unwrap_err().kind(), ErrorKind::Busy);
            drop(live);
            let found: String = sqlite::pragma(&site.open(), "journal_mode").unwrap();
            assert_eq!((can_be_written(&site), site.sessions(), found.as_str()), (true, 0, mode));
        }
    }

    #[test]
    fn a_wal_database_of_another_page_size_that_somebody_has_open_is_busy() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let run = impatient(&site, &store);
        let mut live = live(&site, &run, "wal", 1024);
        let application = site.open();
        application.execute_batch("SELECT count(*) FROM sessions").unwrap();
        let error = live.hold(&run).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().ends_with("another page size than the backup, and it is in use"), "{error}");
        assert_eq!(error.hint(), Some("stop the application, then restore again"));
    }

    #[test]
    fn a_busy_database_is_tried_until_it_is_free_or_its_time_or_the_run_is_over() {
        let outcome = |patience, retries: usize, results: &[i32]| {
            let (mut results, mut retries) = (results.iter(), (0..retries).map(drop));
            let attempt = || match results.next() {
                Some(&code) => Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)),
                None => Ok(StepResult::Done),
            };
            let go_on = || retries.next().ok_or_else(Error::interrupted);
            until_free(Path::new("a.db"), patience, go_on, attempt).map_err(|error| error.kind())
        };
        let (busy, full) = (rusqlite::ffi::SQLITE_BUSY, rusqlite::ffi::SQLITE_FULL);
        assert_eq!(outcome(Duration::MAX, 2, &[busy, busy]), Ok(()));
        assert_eq!(outcome(Duration::MAX, 1, &[busy, busy]), Err(ErrorKind::Interrupted));
        assert_eq!(outcome(Duration::MAX, 1, &[busy, full]), Err(ErrorKind::NoSpace));
        assert_eq!(outcome(Duration::ZERO, 1, &[busy]), Err(ErrorKind::Busy));
    }

    #[test]
    fn a_journal_mode_that_nobody_recorded_stays() {
        for mode in ["wal", "delete"] {
            let (site, store) = (Site::new(), MemoryStore::new());
            site.execute(&format!("PRAGMA journal_mode = {mode}"));
            let run = site.begin(&store, "20251210_140000");
            assert_eq!(settle(&run, &Place::of(site.root(), "sessions.db"), None).unwrap(), None);
            let found: String = sqlite::pragma(&site.open(), "journal_mode").unwrap();
            assert_eq!(found, mode);
        }
    }
}
