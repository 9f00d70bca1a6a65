//! Databases on the write path: a snapshot of a sound database, the bytes of a damaged one.

use std::fs::{self, File, Metadata};
use std::io::{Read as _, Write};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::request::Integrity;
use super::staging::{StagedDatabase, Staging};
use super::state::{FileIdentity, identified};
use super::tracker::Tracker;
use crate::artifact::write::ArtifactWriter;
use crate::error::{Error, Result};
use crate::progress::{Background, Phase, Step};
use crate::record::manifest::{Artifact, Content, Database, Facts, Snapshot};
use crate::record::names::Kind;
use crate::source::sqlite::vacuum::{self, Live, RunningCheck, SourceCheck};
use crate::source::sqlite::{self, Contents, HEADER, Header, bytes, integrity};
use crate::source::{DatabaseSource, trusted_path};

/// The problem of a database that a restore has to save as bytes, although SQLite can read it.
const UNWRITABLE: &str = "SQLite can read it, but not write to it";

/// The connection that reads a database.
enum Source<'a> {
    Own(Connection),
    Locked(&'a Connection),
}

impl Deref for Source<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            Self::Own(connection) => connection,
            Self::Locked(connection) => connection,
        }
    }
}

impl Staging<'_> {
    /// Stores a snapshot of a database. If it is damaged, and the request allows that, stores its bytes and the files
    /// beside it that SQLite needs.
    pub fn stage_database(&self, source: &DatabaseSource) -> Result<StagedDatabase> {
        let path = trusted_path(self.request.root, &source.path)?;
        let mut damage = Vec::new();
        if source.snapshot == Snapshot::Bytes && self.request.integrity == Integrity::Recorded {
            return self.store_bytes(source, &path, vec![UNWRITABLE.into()]).map(StagedDatabase::untracked);
        }
        match self.store_snapshot(source, &path, &mut damage) {
            Err(error) if self.request.integrity == Integrity::Recorded && error.means_unreadable() => {
                if damage.is_empty() {
                    damage.push(error.detail());
                }
                self.store_bytes(source, &path, damage).map(StagedDatabase::untracked)
            }
            stored => stored,
        }
    }

    /// Stores a snapshot. If that fails because the database is damaged, `damage` gets the problems that the check
    /// found.
    fn store_snapshot(&self, source: &DatabaseSource, path: &Path, damage: &mut Vec<String>) -> Result<StagedDatabase> {
        source.validate()?;
        let source = &self.by_pages_if_needed(source);
        let (connection, identity) = identified(path, || self.open(path))?;
        let owner = metadata(path)?;
        let journal_mode: String =
            sqlite::pragma(&connection, "journal_mode").map_err(|e| Error::sqlite("read database", path, &e))?;
        let taken = |facts, read_ms, checked| Database {
            read_ms: Some(read_ms),
            checked,
            journal_mode,
            ..database(source, &owner, facts)
        };
        if source.snapshot == Snapshot::Pages {
            let tracker = self.tracker(&source.name, &connection, path, identity)?;
            return self.store_pages(&source.name, &connection, path, damage, tracker, taken);
        }
        let artifact = self.store_vacuumed(&source.name, connection, path, damage, taken)?;
        Ok(StagedDatabase::untracked(vec![artifact]))
    }

    /// Without a check, pages are copied instead: a VACUUM silently leaves out rows that it can't reach, and no later
    /// check can see that. Increments continue nothing but pages.
    fn by_pages_if_needed(&self, source: &DatabaseSource) -> DatabaseSource {
        let is_needed = self.request.tracked || !self.is_checking();
        let snapshot = if is_needed { Snapshot::Pages } else { source.snapshot };
        DatabaseSource { snapshot, ..source.clone() }
    }

    fn open(&self, path: &Path) -> Result<Source<'_>> {
        match self.locked(path) {
            Some(connection) => Ok(Source::Locked(connection)),
            None => Ok(Source::Own(sqlite::open_recovered(path, self.run.busy_timeout(), self.run.progress())?)),
        }
    }

    /// The connection of this process that has locked the database, if any.
    fn locked(&self, path: &Path) -> Option<&Connection> {
        self.locked.iter().find(|(locked, _)| *locked == path).map(|(_, connection)| *connection)
    }

    /// Makes a copy in scratch space while the database is checked, and stores it.
    fn store_vacuumed(
        &self,
        name: &str,
        connection: Source<'_>,
        path: &Path,
        damage: &mut Vec<String>,
        taken: impl FnOnce(Facts, u64, bool) -> Database,
    ) -> Result<Artifact> {
        let compact = sqlite::bytes_in_use(&connection, path)?;
        let scratch = self.run.scratch(compact.saturating_add(self.expected_bytes(name)))?;
        let copy = scratch.path().join("snapshot.db");
        let unseen = Background::beside(self.run.progress());
        thread::scope(|scope| {
            let begun = Instant::now();
            let stored = self.copy(scope, connection, path, &copy, &unseen, damage).and_then(|check| {
                let copied = Instant::now();
                self.stage(name, Kind::Database, |artifact, file| {
                    let (facts, contents) = self.store_copy(&copy, &unseen, artifact, file)?;
                    // Removing a large file takes time; meanwhile the last bytes are encoded and synced.
                    drop(scratch);
                    let checked = check.map(Check::finish).transpose()?;
                    let read = checked.as_ref().map_or(copied, |checked| checked.ended.max(copied)) - begun;
                    let is_same = checked.as_ref().is_some_and(SourceCheck::is_same);
                    if let Some(checked) = checked {
                        checked.compare(&contents, path)?;
                        require_none(path, checked.problems, damage)?;
                    }
                    Ok(Content::Database(taken(facts, millis(read), is_same)))
                })
            });
            if stored.is_err() {
                unseen.stop();
            }
            stored
        })
    }

    /// Makes a copy of the database and starts its check, which may take longer.
    fn copy<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        connection: Source<'_>,
        path: &'env Path,
        copy: &'env Path,
        unseen: &'env Background<'env>,
        damage: &mut Vec<String>,
    ) -> Result<Option<Check<'scope>>> {
        let (progress, busy_timeout) = (self.run.progress(), self.run.busy_timeout());
        let (copied, check) = match connection {
            Source::Own(connection) if self.is_checking() => {
                let live = Live { path, busy_timeout, progress };
                let (copied, checking) = vacuum::copy_and_check(scope, connection, live, copy, unseen)?;
                (copied, Some(Check::Running(checking)))
            }
            Source::Locked(connection) if self.is_checking() => {
                let checked = vacuum::check_locked(connection, path, progress)?;
                (vacuum::vacuum_into(connection, path, copy, progress), Some(Check::Done(checked)))
            }
            unchecked => (vacuum::vacuum_into(&unchecked, path, copy, progress), None),
        };
        match (copied, check) {
            (Ok(()), check) => Ok(check),
            // The check describes the damage better than the copying, which only met it.
            (Err(error), Some(check)) if error.means_unreadable() => {
                require_none(path, check.finish()?.problems, damage)?;
                Err(error)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Stores a copy; returns its facts and the artifact.
    fn store_copy(
        &self,
        copy: &Path,
        unseen: &Background<'_>,
        artifact: &mut ArtifactWriter,
        file: &str,
    ) -> Result<(Facts, Contents)> {
        let mut plain = File::open(copy).map_err(|e| Error::io("open", copy, e))?;
        let total = plain.metadata().map_err(|e| Error::io("stat", copy, e))?.len();
        let step = Step::begin(self.run.progress(), Phase::Store, file, Some(total));
        let store = || step.copy(&mut plain, artifact).map_err(|e| Error::io_named("store", file, e));
        beside(copy, || vacuum::describe(copy, unseen), store)?.1
    }

    /// What follows the pages, if increments will continue them.
    fn tracker(
        &self,
        name: &str,
        connection: &Connection,
        path: &Path,
        identity: Option<FileIdentity>,
    ) -> Result<Option<Tracker>> {
        if !self.request.tracked {
            return Ok(None);
        }
        let believed = self.chain.and_then(|chain| chain.database(&**self.run.locked_store(), name));
        Tracker::begin(connection, path, identity, believed).map(Some)
    }

    /// Stores the pages as they are read, while another connection checks them.
    fn store_pages(
        &self,
        name: &str,
        connection: &Connection,
        path: &Path,
        damage: &mut Vec<String>,
        mut tracker: Option<Tracker>,
        taken: impl FnOnce(Facts, u64, bool) -> Database,
    ) -> Result<StagedDatabase> {
        self.run.require_room(self.expected_bytes(name))?;
        let mut followed = None;
        let artifact = self.stage(name, Kind::Database, |artifact, file| {
            let begun = Instant::now();
            let (unseen, busy_timeout) = (Background::beside(self.run.progress()), self.run.busy_timeout());
            let checker = self.is_checking().then(|| sqlite::open_stoppable(path, busy_timeout, &unseen));
            let checker = checker.transpose()?;
            let (transaction, is_same) = match &checker {
                Some(checker) => sqlite::begin_reading_with(checker, connection, path, busy_timeout)?,
                None => (sqlite::begin_reading(connection, path)?, false),
            };
            tracker.as_mut().map_or(Ok(()), |tracker| tracker.snapshot_begun(path))?;
            let check = || match checker {
                Some(checker) => integrity::integrity_check(&checker, path, &unseen),
                None => Ok(Vec::new()),
            };
            let store = || {
                let stored = sqlite::pages(&transaction, path, self.run.progress(), |page| {
                    if let Some(tracker) = &mut tracker {
                        tracker.add(page);
                    }
                    artifact.write_all(page).map_err(|e| Error::io_named("store", file, e))
                });
                if stored.as_ref().is_err_and(|error| !error.means_unreadable()) {
                    unseen.stop();
                }
                Ok(stored)
            };
            let (stored, problems) = beside(path, check, store)?;
            // The check describes the damage better than the reading, which only met it.
            if stored.as_ref().map_or_else(Error::means_unreadable, |_| true) {
                require_none(path, problems?, damage)?;
            }
            let mut database = taken(stored?, millis(begun.elapsed()), is_same);
            followed = tracker.map(|tracker| tracker.finish(database.facts.page_size));
            database.pages_digest = followed.as_ref().map(|(tracked, _)| tracked.state.pages_digest);
            Ok(Content::Database(database))
        })?;
        let (tracked, missed_pages) = followed.map_or((None, 0), |(tracked, missed)| (Some(tracked), missed));
        Ok(StagedDatabase { artifacts: vec![artifact], tracked, missed_pages })
    }

    /// Stores the database file, its log and its journal as they are.
    fn store_bytes(&self, source: &DatabaseSource, path: &Path, damage: Vec<String>) -> Result<Vec<Artifact>> {
        self.run.require_room(self.expected_bytes(&source.name))?;
        let file = self.descriptors.open(path)?;
        let owner = file.metadata().map_err(|e| Error::io("stat", path, e))?;
        let held = if self.locked(path).is_some() { None } else { bytes::hold(path, self.run.busy_timeout())? };
        let mut artifacts = vec![self.stage(&source.name, Kind::Database, |artifact, name| {
            let failed = |e| Error::io_named("store", name, e);
            let mut start = Vec::new();
            (&*file).take(HEADER as u64).read_to_end(&mut start).map_err(failed)?;
            artifact.write_all(&start).map_err(failed)?;
            let step = Step::begin(self.run.progress(), Phase::Store, name, Some(owner.len()));
            let rest = step.copy(&mut &*file, artifact).map_err(failed)?;
            let header = Header::of(&start);
            let facts = header.facts(rest + start.len() as u64);
            let (snapshot, journal_mode) = (Snapshot::Bytes, header.journal_mode().to_string());
            Ok(Content::Database(Database { snapshot, damage, journal_mode, ..database(source, &owner, facts) }))
        })?];
        for (kind, content) in [(Kind::Wal, Content::Wal), (Kind::Journal, Content::Journal)] {
            let Some(mut beside) = bytes::beside(path, kind)? else { continue };
            artifacts.push(self.stage(&source.name, kind, |artifact, name| {
                let step = Step::begin(self.run.progress(), Phase::Store, name, None);
                step.copy(&mut beside, artifact).map_err(|e| Error::io_named("store", name, e))?;
                Ok(content)
            })?);
        }
        drop(held);
        Ok(artifacts)
    }

    fn is_checking(&self) -> bool {
        self.request.integrity != Integrity::Unchecked
    }
}

/// The check of a database that is being copied.
enum Check<'scope> {
    Done(SourceCheck),
    Running(RunningCheck<'scope>),
}

impl Check<'_> {
    fn finish(self) -> Result<SourceCheck> {
        match self {
            Self::Done(checked) => Ok(checked),
            Self::Running(checking) => vacuum::join(checking),
        }
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn metadata(path: &Path) -> Result<Metadata> {
    fs::metadata(path).map_err(|e| Error::io("stat", path, e))
}

/// What the manifest records of every database.
fn database(source: &DatabaseSource, owner: &Metadata, facts: Facts) -> Database {
    Database {
        source: source.path.clone(),
        mode: owner.mode() & 0o7777,
        uid: owner.uid(),
        gid: owner.gid(),
        snapshot: source.snapshot,
        read_ms: None,
        checked: false,
        damage: Vec::new(),
        journal_mode: String::new(),
        pages_digest: None,
        facts,
    }
}

/// Fails if there are `problems`, and adds them to `damage`.
fn require_none(path: &Path, problems: Vec<String>, damage: &mut Vec<String>) -> Result<()> {
    *damage = problems;
    damage.first().map_or(Ok(()), |first| Err(Error::damaged_database(path, first)))
}

/// Does `work` while another thread checks the database at `path`.
fn beside<W, C: Send>(
    path: &Path,
    check: impl FnOnce() -> Result<C> + Send,
    work: impl FnOnce() -> Result<W>,
) -> Result<(W, Result<C>)> {
    thread::scope(|scope| {
        let checked = thread::Builder::new().spawn_scoped(scope, check);
        let checked = checked.map_err(|e| Error::io("check database", path, e))?;
        let done = work()?;
        Ok((done, vacuum::join(checked)))
    })
}
