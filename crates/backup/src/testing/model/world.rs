//! A real project and a real store in a folder, and the steps that happen there.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use proptest::sample::Index;
use rusqlite::Connection;

use super::expected::{Content, Expected};
use super::steps::{Action, Command, Cut, Harm, Step};
use crate::artifact::codec::Encoding;
use crate::artifact::read::Level;
use crate::catalog::retention::Policy;
use crate::catalog::{Catalog, Entry};
use crate::disk::file;
use crate::error::{Error, ErrorKind, Result};
use crate::operation::check::Verdict;
use crate::operation::look::Setup;
use crate::operation::restore;
use crate::operation::run::Run;
use crate::operation::session::Session;
use crate::operation::verify::verify;
use crate::operation::{marks, rotate};
use crate::progress::{Event, Progress};
use crate::record::codec::Codec;
use crate::record::digest::Digest;
use crate::record::id::BackupId;
use crate::record::selection::Selection;
use crate::store::FolderStore;
use crate::testing::faults::WatchedStore;
use crate::testing::fixtures::{Site, id, stage, staged};

/// The time at which the project's clock begins, and any time that nothing depends on.
pub(super) const SOME_DAY: &str = "20251210_140000";

pub(super) struct World {
    pub site: Site,
    pub store: FolderStore,
    pub now: DateTime<Utc>,
    pub expected: Expected,
    /// For each backup, the digest of all stored files when it was last restored.
    pub proved: BTreeMap<BackupId, Digest>,
    writes: u32,
}

impl World {
    pub fn new() -> Self {
        let site = Site::new();
        let expected = Expected { live: content(site.root()), ..Expected::default() };
        let (store, now) = (site.local(), id(SOME_DAY).time());
        Self { site, store, now, expected, proved: BTreeMap::new(), writes: 0 }
    }

    pub fn take(&mut self, step: Step) {
        match step {
            Step::Write => self.write(),
            Step::Lose => self.lose(),
            Step::Clock { hours } => self.now += TimeDelta::hours(hours),
            Step::Damage { backup, artifact, harm } => {
                if let Some(id) = self.pick(backup) {
                    self.damage(id, artifact, harm);
                }
            }
            Step::Run { action, cut } => {
                if let Some(command) = self.command(&action) {
                    self.run(&command, cut);
                }
            }
        }
    }

    fn write(&mut self) {
        self.writes += 1;
        let session = 100 + self.writes;
        self.site.execute(&format!(
            "PRAGMA synchronous = off; PRAGMA journal_mode = wal;
             CREATE TABLE IF NOT EXISTS sessions(id INTEGER PRIMARY KEY, kwh REAL);
             INSERT INTO sessions VALUES ({session}, 0.5);"
        ));
        fs::write(self.site.root().join(".env"), format!("PORT={session}\n")).unwrap();
        self.expected.live = content(self.site.root());
    }

    fn lose(&mut self) {
        for name in ["sessions.db", "sessions.db-wal", "sessions.db-shm", ".env"] {
            file::remove_file(&self.site.root().join(name)).unwrap();
        }
        self.expected.live = Content::default();
    }

    fn damage(&mut self, id: BackupId, artifact: Index, harm: Harm) {
        let backup = self.expected.backups.get_mut(&id).unwrap();
        // The same damage twice can undo itself.
        if backup.damaged || backup.holds.is_nothing() {
            return;
        }
        let catalog = Catalog::load(&self.store).unwrap();
        let path = self.store.folder().join(&artifact.get(&catalog.get(id).unwrap().files).file);
        let mut bytes = fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        match harm {
            Harm::Flip => bytes[half] ^= 1,
            Harm::Truncate => bytes.truncate(half),
            Harm::Remove => {}
        }
        fs::write(&path, bytes).unwrap();
        if matches!(harm, Harm::Remove) {
            fs::remove_file(&path).unwrap();
        }
        (backup.damaged, backup.doubted) = (true, !matches!(harm, Harm::Flip));
    }

    fn pick(&self, index: Index) -> Option<BackupId> {
        let ids: Vec<BackupId> = self.expected.backups.keys().copied().collect();
        (!ids.is_empty()).then(|| *index.get(&ids))
    }

    /// `None` if the action needs a backup and there is none.
    fn command(&self, action: &Action) -> Option<Command> {
        Some(match *action {
            Action::Backup => Command::Backup,
            Action::Pin(index, pinned) => Command::Pin(self.pick(index)?, pinned),
            Action::Rotate(policy) => Command::Rotate(policy),
            Action::Verify(index) => Command::Verify(self.pick(index)?),
            Action::Drill(index) => Command::Drill(self.pick(index)?),
            Action::Restore(index) => Command::Restore(self.pick(index)?),
            Action::Undo => Command::Undo,
        })
    }

    /// Runs a command, checks its result, and takes that over into the model.
    fn run(&mut self, command: &Command, cut: Option<Cut>) {
        let (watched, killer) = match cut {
            Some(Cut::Store(at, fault)) => (WatchedStore::failing(&self.store, at, fault), Killer::after(usize::MAX)),
            Some(Cut::Killed(at)) => (WatchedStore::new(&self.store), Killer::after(at)),
            None => (WatchedStore::new(&self.store), Killer::after(usize::MAX)),
        };
        let now = self.now.fixed_offset();
        let setup = Setup { progress: &killer, now, ..self.site.setup(&watched, SOME_DAY) };
        let attempt = || {
            Run::begin(setup, &mut |_| {}).and_then(|run| {
                // What can't be read is left to a later run.
                let left = staged(&self.store);
                assert!(left.is_empty() || watched.has_failed(), "a run begins with nothing unfinished: {left:?}");
                self.attempt(run, command)
            })
        };
        let was_cut = match catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(Err(_)) if watched.has_failed() => true,
            // A source that could not be saved doesn't stop the others.
            Ok(Ok(())) if watched.has_failed() && matches!(command, Command::Backup) => true,
            Ok(result) => {
                assert_eq!(result.map_err(|error| error.kind()), self.expected.outcome(command));
                false
            }
            Err(panic) if panic.is::<KillPanic>() => {
                self.leave_debris();
                true
            }
            Err(panic) => resume_unwind(panic),
        };
        drop(watched);
        self.take_over(command, was_cut);
    }

    /// Leaves what a killed process leaves; this one unwinds, which cleans up.
    fn leave_debris(&self) {
        stage(&self.store, "sessions_db_20990101_000000.db.zst", b"half");
        fs::create_dir_all(self.store.folder().join(".staging/scratch-killed")).unwrap();
        fs::write(self.site.root().join(".sessions.db.restoring"), "half").unwrap();
    }

    fn attempt(&self, run: Run<'_>, command: &Command) -> Result<()> {
        let catalog = run.catalog()?;
        match command {
            Command::Backup => self.site.back_up(&run).map(drop),
            Command::Pin(id, pinned) => marks::set_pinned(&run, *id, *pinned).map(drop),
            Command::Rotate(policy) => rotate(&run, policy),
            Command::Verify(id) => {
                let earlier = run.earlier_checks(&*run.ledger()?);
                match verify(&run.into(), catalog.get(*id)?, Level::Content, &earlier)?.verdict {
                    Verdict::Damaged => Err(Error::new(ErrorKind::Damaged, "")),
                    _ => Ok(()),
                }
            }
            Command::Drill(id) => self.drill(&run.into(), catalog.get(*id)?),
            Command::Restore(id) => self.restore(run, catalog.get(*id)?, self.site.root()),
            Command::Undo => {
                let kept = restore::undo(&*run.ledger()?, self.site.root())?;
                self.restore(run, catalog.get(kept)?, self.site.root())
            }
        }
    }

    /// Rehearses a restore, which must bring back what the backup holds.
    pub fn drill(&self, session: &Session<'_>, entry: &Entry) -> Result<()> {
        let restored = |folder: &Path| {
            assert_eq!(content(folder), self.expected.backups[&entry.id].holds, "{}", entry.id);
            Ok(None)
        };
        let drill = crate::operation::drill::drill(session, entry, &self.site.sources, &restored)?;
        let lacks_database = self.expected.backups[&entry.id].holds.database.is_none();
        assert_eq!(drill.lacks.contains(&"sessions_db".to_string()), lacks_database);
        assert_eq!(drill.passed, drill.lacks.is_empty());
        Ok(())
    }

    fn restore(&self, run: Run<'_>, entry: &Entry, target: &Path) -> Result<()> {
        let session = Session::from(run);
        let plan = restore::plan(&session, entry, target, Selection::ALL, &self.site.sources)?;
        restore::restore(&session, &plan, Some(Encoding::new(Codec::None, 0)?), &mut || Ok(())).map(drop)
    }
}

/// Rotates, and asserts that it removes exactly what was planned.
fn rotate(run: &Run<'_>, policy: &Policy) -> Result<()> {
    let plan = rotate::plan(run, policy, None)?;
    let planned: Vec<BackupId> = plan.removals().map(|decision| decision.id).collect();
    assert_eq!(rotate::apply(run, &plan)?.removed, planned);
    Ok(())
}

/// The content of a project's folder.
pub(super) fn content(folder: &Path) -> Content {
    let database = folder.join("sessions.db");
    let sessions = || {
        let connection = Connection::open(&database).unwrap();
        connection.query_row("SELECT group_concat(id) FROM (SELECT id FROM sessions ORDER BY id)", [], |row| row.get(0))
    };
    Content {
        database: database.exists().then(|| sessions().unwrap()),
        config: fs::read_to_string(folder.join(".env")).ok(),
    }
}

/// Kills the run at an event.
struct Killer {
    left: AtomicUsize,
}

impl Killer {
    /// Lets that many events pass first.
    fn after(events: usize) -> Self {
        Self { left: AtomicUsize::new(events) }
    }
}

/// The panic payload of a killed run.
struct KillPanic;

impl Progress for Killer {
    fn event(&self, _: Event<'_>) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            resume_unwind(Box::new(KillPanic));
        }
    }
}
