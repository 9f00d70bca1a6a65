//! Overwriting an existing database through SQLite's backup API (<https://www.sqlite.org/c3ref/backup_finish.html>), as one
//! transaction: readers see the old or the new state, a crash rolls back, and no program has to reopen it.
//!
//! The hazard: what is committed between the pre-restore backup and the overwriting would be in neither. So others can't
//! write from before that backup until the new state is committed, and the lock is never released in between:
//!
//! * In WAL mode, the transaction of the backup API is begun early, by a step that copies nothing. Others can still read.
//! * In rollback mode, that would shut out readers for as long. So the connection is put into exclusive locking mode, in
//!   which it keeps the locks of a transaction (<https://www.sqlite.org/pragma.html#pragma_locking_mode>): after a BEGIN
//!   IMMEDIATE and a ROLLBACK it keeps RESERVED, beside which others can read. (COMMIT would take EXCLUSIVE.) Readers are
//!   shut out only for the overwriting itself.
//! * A WAL database with another page size has to leave WAL mode first, so nobody else may have it open. In exclusive
//!   locking mode a transaction of a WAL database takes EXCLUSIVE, and that is kept until the database is overwritten.
//!
//! A locked database is read through the connection that has locked it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::connection;
use super::journal_mode::{is_wal, set_mode};
use super::patience::{Patience, in_use};
use crate::disk::place::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Phase, Step};
use crate::source::sqlite;

/// How long SQLite tries to lock a busy database before a wish to stop is looked for.
const ATTEMPT: Duration = Duration::from_millis(100);

/// Locks a database for writing, in rollback mode. While it waits it locks nothing (decision 13): or it and a writer would
/// wait for each other.
const LOCK: &str = "BEGIN IMMEDIATE; PRAGMA main.locking_mode = exclusive; ROLLBACK";

/// Locks a WAL database, for reading too. While it waits it locks nothing.
pub(super) const LOCK_ALL_OF_WAL: &str = "PRAGMA main.locking_mode = exclusive; BEGIN IMMEDIATE; ROLLBACK";

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
    ///
    /// # Errors
    /// As [`connection::open`], and as SQLite says.
    pub fn open(decoded: &Place, place: &Place, busy_timeout: Duration) -> Result<Self> {
        let target = connection::open(place, |path| sqlite::open_to_replace(path, busy_timeout))?;
        let source = connection::open(decoded, |path| sqlite::open_read_only(path, Duration::ZERO))?;
        Ok(Self { path: place.path(), source, target })
    }

    /// Keeps others from writing to it.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if it stays locked, or has to leave WAL mode while it is in use; [`ErrorKind::Interrupted`].
    pub fn hold(&mut self, patience: Patience<'_>) -> Result<Overwrite<'_>> {
        let (is_wal, leaves_wal) = (self.is_wal()?, self.leaves_wal()?);
        self.configure(ATTEMPT)?;
        if leaves_wal {
            self.lock_all(patience.brief())?;
            return Ok(Overwrite::Locked(self));
        }
        if !is_wal {
            patience.lock(&self.target, &self.path, LOCK)?;
            return Ok(Overwrite::Locked(self));
        }
        let (backup, path) = self.begin()?;
        // This copies no page yet, but it locks.
        patience.until_free(path, || backup.step(0))?;
        Ok(Overwrite::Begun(backup, path))
    }

    /// Locks a WAL database for readers, too.
    fn lock_all(&self, patience: Patience<'_>) -> Result<()> {
        patience.lock(&self.target, &self.path, LOCK_ALL_OF_WAL).map_err(|error| match error.kind() {
            ErrorKind::Busy => {
                in_use(format!("{} has another page size than the backup, and it is in use", self.path.display()))
            }
            _ => error,
        })
    }

    /// Overwrites it while it is locked.
    fn overwrite(&mut self, patience: Patience<'_>) -> Result<()> {
        self.configure(patience.busy_timeout)?;
        let leaves_wal = self.leaves_wal()?;
        if leaves_wal {
            // Nobody else has it open, so nothing prevents this.
            set_mode(&self.target, "journal_mode", "delete").map_err(|e| self.failed(&e))?;
        }
        self.unlock_with_next()?;
        let overwritten = self.begin().and_then(|(backup, path)| copy_all(&backup, path, patience));
        if leaves_wal && overwritten.is_err() {
            // As it was, if possible. It is sound either way.
            let _ = set_mode(&self.target, "journal_mode", "wal");
        }
        overwritten
    }

    /// The locks are released at the end of the next transaction, which therefore has to be the one that overwrites it.
    fn unlock_with_next(&self) -> Result<()> {
        set_mode(&self.target, "locking_mode", "normal").map(drop).map_err(|e| self.failed(&e))
    }

    fn begin(&mut self) -> Result<(Backup<'_, '_>, &Path)> {
        let Self { path, source, target } = self;
        let backup = Backup::new(source, target).map_err(|e| Error::sqlite("restore into", path, &e))?;
        Ok((backup, path))
    }

    /// Makes the next transaction durable, and sets how long SQLite waits for a lock. In rollback mode, SQLite removes the
    /// journal and then cuts off the pages that a smaller database doesn't need, which are in no journal. If the removal
    /// were not durable before that, the journal would roll the shorter file back to a malformed one: `extra` makes it
    /// durable (<https://www.sqlite.org/pragma.html#pragma_synchronous>).
    fn configure(&self, busy_timeout: Duration) -> Result<()> {
        self.target.busy_timeout(busy_timeout).map_err(|e| self.failed(&e))?;
        self.target.pragma_update(None, "synchronous", "extra").map_err(|e| self.failed(&e))
    }

    fn is_wal(&self) -> Result<bool> {
        is_wal(&self.target).map_err(|e| self.failed(&e))
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
    /// The database and its connection, if it can be read through that one alone.
    pub fn locked(&self) -> Option<(&Path, &Connection)> {
        match self {
            Self::Begun(..) => None,
            Self::Locked(live) => Some((&live.path, &live.target)),
        }
    }

    /// Overwrites the live database.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if readers of a database in rollback mode don't end: it is as it was. Else as SQLite says.
    pub fn finish(self, patience: Patience<'_>) -> Result<()> {
        let path = match &self {
            Self::Begun(_, path) => path,
            Self::Locked(live) => live.path.as_path(),
        };
        let _step = Step::begin(patience.progress, Phase::Write, &path.display().to_string(), None);
        match self {
            Self::Begun(backup, path) => copy_all(&backup, path, patience),
            Self::Locked(live) => live.overwrite(patience),
        }
    }
}

/// Copies all pages in one step, which SQLite makes one transaction. There is no second attempt: the first gives up the
/// lock.
fn copy_all(backup: &Backup<'_, '_>, path: &Path, patience: Patience<'_>) -> Result<()> {
    match backup.step(-1) {
        Ok(StepResult::Done) => Ok(()),
        Ok(_) => Err(patience.stayed_locked(path)),
        Err(error) => Err(Error::sqlite("restore into", path, &error)),
    }
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
        let (decoded, place) = (Place::of(site.root(), "decoded.db"), Place::of(site.root(), "sessions.db"));
        Live::open(&decoded, &place, run.busy_timeout()).unwrap()
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
            let held = live.hold(Patience::of(&run)).unwrap();
            let locked = held.locked().map(|(_, connection)| connection);
            assert_eq!(locked.is_some(), (mode, page_size) != ("wal", 4096), "{mode} {page_size}");
            if let Some(connection) = locked {
                connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get::<_, i64>(0)).unwrap();
                let busy_timeout: u32 = sqlite::pragma(connection, "busy_timeout").unwrap();
                assert_eq!(u128::from(busy_timeout), ATTEMPT.as_millis(), "a wish to stop is noticed in between");
            }
            assert_eq!((can_be_written(&site), can_be_read(&site)), (false, readable), "{mode} {page_size}");
            if let Overwrite::Locked(live) = &held {
                live.configure(Duration::ZERO).unwrap();
                live.unlock_with_next().unwrap();
                assert_eq!((can_be_written(&site), can_be_read(&site)), (false, readable), "{mode} {page_size}");
            }
            held.finish(Patience::of(&run)).unwrap();
            assert_eq!((can_be_written(&site), site.sessions()), (true, 2), "{mode} {page_size}");
        }
    }

    #[test]
    fn a_hold_that_is_let_go_of_leaves_the_database_to_others_as_it_was() {
        for (mode, page_size) in [("wal", 4096), ("delete", 1024), ("wal", 1024)] {
            let (site, store) = (Site::new(), MemoryStore::new());
            let run = site.begin(&store, "20251210_140000");
            let mut live = live(&site, &run, mode, page_size);
            drop(live.hold(Patience::of(&run)).unwrap());
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
            let held = live.hold(Patience::of(&run)).unwrap();
            let decoded = Connection::open(site.root().join("decoded.db")).unwrap();
            decoded.execute_batch("BEGIN EXCLUSIVE").unwrap();
            assert_eq!(held.finish(Patience::of(&run)).unwrap_err().kind(), ErrorKind::Busy);
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
        let error = live.hold(Patience::of(&run)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().ends_with("another page size than the backup, and it is in use"), "{error}");
        assert_eq!(
            error.hint(),
            Some("stop the application, and a service that follows its database, then restore again")
        );
    }
}
