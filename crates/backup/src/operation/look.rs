//! A look at a store: all that an operation needs in order to read.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset};
use tempfile::TempDir;

use crate::artifact::StoredFile;
use crate::artifact::read::Reader;
use crate::catalog::owner::{self, Project};
use crate::catalog::{Catalog, Entry};
use crate::disk::space;
use crate::error::{Advice, Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::record::earlier_checks::{self, EarlierChecks};
use crate::record::id::BackupId;
use crate::record::ledger::Ledger;
use crate::record::manifest::Tool;
use crate::record::names;
use crate::record::selection::Selection;
use crate::store::{LocalStore, Store};

/// What the caller provides, since the library has no clock, environment or terminal of its own.
#[derive(Clone)]
pub struct Setup<'a> {
    /// This host's own store. New backups, safety copies and the ledger go there.
    pub store: &'a dyn LocalStore,
    /// The store that backups are read from; `None` means `store`.
    pub from: Option<&'a dyn Store>,
    /// Receives events, and says whether to stop.
    pub progress: &'a dyn Progress,
    /// The time at which the run begins, with the offset of the host's local time.
    pub now: DateTime<FixedOffset>,
    /// The project's name.
    pub project: String,
    /// The project's folder, absolute.
    pub root: PathBuf,
    /// The host's name.
    pub host: String,
    /// What tells this start of the machine from others, such as the kernel's boot id; empty if that isn't known. After a
    /// power failure, a log may not tell all that changed.
    pub boot: String,
    /// The program's version.
    pub version: String,
    /// The command, as other runs that wait for the lock show it.
    pub command: String,
    /// How long to wait for the store's lock.
    pub lock_wait: Duration,
    /// How long to wait for a locked database.
    pub busy_timeout: Duration,
    /// The most bytes that a stored file may decode to if no manifest says how many. Otherwise a small file could fill
    /// the disk.
    pub max_foreign: u64,
    /// A folder for decoded databases; `None` means one in the store.
    pub scratch: Option<PathBuf>,
    /// The system's folder for temporary files. Decoded databases go there if `scratch` is `None` and the store has no
    /// folder.
    pub temp: PathBuf,
}

impl Setup<'_> {
    /// The project, as its stores know it.
    pub(crate) fn project(&self) -> Project<'_> {
        Project { name: &self.project, root: &self.root, host: &self.host }
    }

    /// Makes sure that no store belongs to another project.
    ///
    /// # Errors
    /// [`crate::ErrorKind::ForeignStore`]; any error of reading a store.
    pub(crate) fn require_own(&self) -> Result<()> {
        owner::require(self.store, self.project())?;
        self.from.map_or(Ok(()), |from| owner::require(from, self.project()))
    }
}

/// Reads a store without its lock: it waits for no run, and no run waits for it.
pub struct Look<'a> {
    setup: Setup<'a>,
    begun: Instant,
    /// The folder for decoded files in the store, if it may be written to.
    staging: Option<PathBuf>,
    /// Catalog and ledger, loaded once. `None` without the lock, since others may change them.
    loaded: Option<Cache>,
}

#[derive(Default)]
struct Cache {
    catalog: Mutex<Option<Arc<Catalog>>>,
    ledger: Mutex<Option<Arc<Ledger>>>,
}

impl<'a> Look<'a> {
    /// Begins a look.
    ///
    /// # Errors
    /// [`crate::ErrorKind::ForeignStore`] if a store belongs to another project; any error of reading it.
    pub fn new(setup: Setup<'a>) -> Result<Self> {
        setup.require_own()?;
        Ok(Self { setup, begun: Instant::now(), staging: None, loaded: None })
    }

    /// A look by the holder of the lock: nobody else changes what it reads.
    pub(super) fn locked(setup: Setup<'a>) -> Self {
        let staging = setup.store.scratch();
        Self { setup, begun: Instant::now(), staging, loaded: Some(Cache::default()) }
    }

    /// The store that backups are read from.
    pub fn store(&self) -> &'a dyn Store {
        self.setup.from.unwrap_or(self.setup.store)
    }

    /// All backups in that store. Those of other projects and hosts are marked as
    /// [`Record::Another`](crate::Record::Another).
    ///
    /// # Errors
    /// Any error of listing the store. A manifest that can't be read is no error but an entry.
    pub fn catalog(&self) -> Result<Arc<Catalog>> {
        match self.setup.from {
            None => self.own_catalog(),
            Some(from) => self.for_project(Catalog::load_copy(from)?, from),
        }
    }

    /// All backups in this host's own store, marked the same way.
    ///
    /// # Errors
    /// As [`Look::catalog`].
    pub(crate) fn own_catalog(&self) -> Result<Arc<Catalog>> {
        let load = || self.for_project(Catalog::load(self.setup.store)?, self.setup.store);
        once(self.loaded.as_ref().map(|loaded| &loaded.catalog), load)
    }

    fn for_project(&self, catalog: Catalog, store: &dyn Store) -> Result<Arc<Catalog>> {
        let hosts = owner::hosts(store, self.setup.project())?;
        Ok(Arc::new(catalog.of(&self.setup.project, hosts.as_ref())))
    }

    /// The ledger of this host's own store; empty if there is none.
    ///
    /// # Errors
    /// Any error of reading it.
    pub fn ledger(&self) -> Result<Arc<Ledger>> {
        let load = || Ledger::load(self.setup.store).map(Arc::new);
        once(self.loaded.as_ref().map(|loaded| &loaded.ledger), load)
    }

    /// Makes the loaded catalog follow a change of the store.
    pub(super) fn update_catalog(&self, update: impl FnOnce(&mut Catalog)) {
        if let Some(loaded) = &self.loaded {
            update_loaded(&loaded.catalog, update);
        }
    }

    /// Drops the loaded catalog: the next caller loads it anew.
    pub(super) fn forget_catalog(&self) {
        if let Some(loaded) = &self.loaded {
            *held(&loaded.catalog) = None;
        }
    }

    /// Drops the loaded ledger: the next caller loads it anew.
    pub(super) fn forget_ledger(&self) {
        if let Some(loaded) = &self.loaded {
            *held(&loaded.ledger) = None;
        }
    }

    /// Makes the loaded ledger follow a change of the store's.
    pub(super) fn update_ledger(&self, update: impl FnOnce(&mut Ledger)) {
        if let Some(loaded) = &self.loaded {
            update_loaded(&loaded.ledger, update);
        }
    }

    /// The selected stored files of a backup, for a restore. A manifest may come from anywhere, so its word that a database
    /// was checked counts only if this host's ledger says so too, and no later check failed.
    pub(crate) fn files_to_restore(&self, entry: &Entry, selection: Selection) -> Result<Vec<StoredFile>> {
        let mut files = self.stored_files(entry, selection)?;
        if files.iter().any(StoredFile::is_checked) {
            let ledger = self.ledger().unwrap_or_default();
            let sound = earlier_checks::on_host(&ledger, &self.setup.host);
            let is_sound = |digest| !ledger.is_known_bad(entry.id) && sound.contains(&digest);
            for file in &mut files {
                file.require_check_unless(is_sound);
            }
        }
        Ok(files)
    }

    /// The stored files that a backup is read from, of an increment also those that it inherits and that are selected.
    ///
    /// # Errors
    /// As [`Catalog::stored_files`].
    pub(crate) fn stored_files(&self, entry: &Entry, selection: Selection) -> Result<Vec<StoredFile>> {
        match entry.parent() {
            Some(_) => self.catalog()?.stored_files(entry, self.store(), selection),
            None => Catalog::default().stored_files(entry, self.store(), selection),
        }
    }

    /// The ids of the chain that an increment is restored from, the full backup's first; none if it isn't an increment, or a
    /// part is missing.
    pub(crate) fn chain(&self, entry: &Entry) -> Vec<BackupId> {
        if entry.parent().is_none() {
            return Vec::new();
        }
        let ids = |catalog: Arc<Catalog>| Some(catalog.chain(entry).ok()?.iter().map(|part| part.id).collect());
        self.catalog().ok().and_then(ids).unwrap_or_default()
    }

    /// The newest sound backup before the backup `damaged`, if `entry` is an increment that needs that one.
    pub(crate) fn sound_before(&self, entry: &Entry, damaged: BackupId) -> Option<BackupId> {
        entry.parent()?;
        self.catalog().ok()?.sound_before(entry, damaged, &*self.ledger().ok()?)
    }

    /// The same error; if an increment can't be read for a damaged or missing part, it says which points before that can.
    pub(crate) fn with_sound_before(&self, entry: &Entry, error: Error) -> Error {
        if error.kind() != ErrorKind::Damaged {
            return error;
        }
        let damaged = error.damaged_file().and_then(names::id_of).unwrap_or(entry.id);
        match self.sound_before(entry, damaged) {
            Some(id) => error
                .with_hint(format!("points before it stay restorable, the newest is {id}"))
                .with_advice(Advice::RestoreEarlier),
            None => error,
        }
    }

    /// Earlier checks of databases that this run may rely on.
    pub fn earlier_checks(&self, ledger: &Ledger) -> EarlierChecks {
        EarlierChecks::of(ledger, &self.tool(), &self.setup.host)
    }

    /// A reader of the store's files.
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader { store: self.store(), progress: self.progress(), max_foreign: self.setup.max_foreign }
    }

    /// A new folder for decoded files, on a disk with room for `bytes`. It is removed when dropped.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoSpace`], with both figures; any error of creating it.
    pub(crate) fn scratch(&self, bytes: u64) -> Result<TempDir> {
        let (place, name) = match (&self.setup.scratch, &self.staging) {
            (None, Some(staging)) => (staging, self.setup.store.location()),
            (given, _) => {
                let place = given.as_ref().unwrap_or(&self.setup.temp);
                (place, place.display().to_string())
            }
        };
        space::require_space(place, &name, bytes)?;
        tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(place)
            .map_err(|e| Error::io("create a folder in", place, e))
    }

    /// The receiver of events.
    pub(crate) fn progress(&self) -> &'a dyn Progress {
        self.setup.progress
    }

    /// Fails with [`crate::ErrorKind::Interrupted`] if the run was asked to stop.
    pub(crate) fn check_stop(&self) -> Result<()> {
        if self.progress().should_stop() { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// What the caller provided.
    pub(super) fn setup(&self) -> &Setup<'a> {
        &self.setup
    }

    /// The time at which it began, with the offset of the host's local time.
    pub fn now(&self) -> DateTime<FixedOffset> {
        self.setup.now
    }

    /// Milliseconds since it began.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn busy_timeout(&self) -> Duration {
        self.setup.busy_timeout
    }

    pub(crate) fn tool(&self) -> Tool {
        Tool { version: self.setup.version.clone(), sqlite: rusqlite::version().to_string() }
    }
}

/// The loaded value. If there is none yet, loads it, and keeps it if there is a `place`.
fn once<T>(place: Option<&Mutex<Option<Arc<T>>>>, load: impl FnOnce() -> Result<Arc<T>>) -> Result<Arc<T>> {
    let Some(place) = place else { return load() };
    let mut place = held(place);
    if let Some(loaded) = &*place {
        return Ok(Arc::clone(loaded));
    }
    Ok(Arc::clone(place.insert(load()?)))
}

/// Changes the loaded value. If somebody still holds it, it is dropped instead, and loaded anew next time.
fn update_loaded<T>(place: &Mutex<Option<Arc<T>>>, update: impl FnOnce(&mut T)) {
    let mut place = held(place);
    if let Some(mut loaded) = place.take()
        && let Some(unshared) = Arc::get_mut(&mut loaded)
    {
        update(unshared);
        *place = Some(loaded);
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::drill::drill;
    use crate::operation::run::Run;
    use crate::operation::session::Session;
    use crate::record::ledger::Command;
    use crate::record::selection::Selection;
    use crate::store::MemoryStore;
    use crate::testing::fixtures::{Site, id, published};
    use crate::{Codec, Encoding, restore};

    const EARLIER: &str = "20251209_140000";
    const NOW: &str = "20251210_140000";

    #[test]
    fn a_restore_from_another_store_keeps_what_it_replaces_and_its_ledger_in_this_hosts_own() {
        let (site, elsewhere, own) = (Site::new(), MemoryStore::new(), MemoryStore::new());
        site.backup(&elsewhere, EARLIER);
        let before = (elsewhere.list("").unwrap(), Ledger::load(&elsewhere).unwrap().lines().len());
        site.execute("DELETE FROM sessions WHERE id > 1");
        let setup = Setup { from: Some(&elsewhere), ..site.setup(&own, NOW) };
        let session: Session<'_> = Run::begin(setup, &mut |_| {}).unwrap().into();
        let catalog = session.catalog().unwrap();
        let entry = catalog.get(id(EARLIER)).unwrap();
        let plan = restore::plan(&session, entry, site.root(), Selection::ALL, &site.sources).unwrap();
        let keep = Some(Encoding::new(Codec::None, 0).unwrap());
        let report = restore::restore(&session, &plan, keep, &mut || Ok(())).unwrap();
        assert_eq!((site.sessions(), report.kept), (3, Some(id(NOW))));
        assert!(published(&own).iter().all(|name| name.contains(NOW)) && !published(&own).is_empty());
        assert_eq!(Ledger::load(&own).unwrap().last(Command::Restore).unwrap().id, Some(id(EARLIER)));
        assert_eq!((elsewhere.list("").unwrap(), Ledger::load(&elsewhere).unwrap().lines().len()), before);
    }

    #[test]
    fn a_session_on_another_store_has_its_ledger_in_this_hosts_own_even_if_that_is_new() {
        let (site, elsewhere, own) = (Site::new(), MemoryStore::new(), MemoryStore::new());
        site.backup(&elsewhere, EARLIER);
        let setup = Setup { from: Some(&elsewhere), ..site.setup(&own, NOW) };
        let session = Session::begin(setup, &mut |_| {}).unwrap();
        let catalog = session.catalog().unwrap();
        drill(&session, catalog.get(id(EARLIER)).unwrap(), &site.sources, &|_| Ok(None)).unwrap();
        assert_eq!(Ledger::load(&own).unwrap().last(Command::Drill).unwrap().id, Some(id(EARLIER)));
        let nothing = MemoryStore::new();
        assert!(!Session::begin(site.setup(&nothing, NOW), &mut |_| {}).unwrap().is_recorded());
    }

    #[test]
    fn a_restore_that_cannot_keep_what_it_replaces_names_the_store_that_cannot_be_written() {
        let (site, elsewhere, own) = (Site::new(), MemoryStore::new(), crate::FolderStore::new("/nowhere/backups"));
        site.backup(&elsewhere, EARLIER);
        site.execute("DELETE FROM sessions WHERE id > 1");
        let setup = Setup { from: Some(&elsewhere), ..site.setup(&own, NOW) };
        let session = Session::Unrecorded(Look::new(setup).unwrap());
        let catalog = session.catalog().unwrap();
        let plan =
            restore::plan(&session, catalog.get(id(EARLIER)).unwrap(), site.root(), Selection::ALL, &site.sources);
        let keep = Some(Encoding::new(Codec::None, 0).unwrap());
        let error = restore::restore(&session, &plan.unwrap(), keep, &mut || Ok(())).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains(&own.location()), "{error}");
    }

    #[test]
    fn neither_store_may_be_another_projects() {
        let (site, elsewhere, own) = (Site::new(), MemoryStore::new(), MemoryStore::new());
        let other = Setup { project: "other".into(), root: "/srv/other".into(), ..site.setup(&elsewhere, EARLIER) };
        site.back_up(&Run::begin(other, &mut |_| {}).unwrap()).unwrap();
        let refused = |setup: Setup<'_>| Look::new(setup).err().map(|error| error.kind());
        assert_eq!(refused(site.setup(&own, NOW)), None);
        let from = Setup { from: Some(&elsewhere), ..site.setup(&own, NOW) };
        assert_eq!(refused(from), Some(crate::ErrorKind::ForeignStore));
    }

    #[test]
    fn a_run_loads_catalog_and_ledger_once() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let watched = crate::testing::faults::WatchedStore::new(&store);
        let run = site.begin(&watched, EARLIER);
        site.back_up(&run).unwrap();
        let policy = crate::retention::Policy::default();
        let plan = crate::rotate::plan(&run, &policy, Some(id(EARLIER))).unwrap();
        crate::rotate::apply(&run, &plan).unwrap();
        assert_eq!(watched.count("read history.jsonl"), 1);
        assert_eq!(run.catalog().unwrap().entries().len(), 1);
        assert_eq!(watched.count("read manifest_"), 0, "what the run has published is known");
    }
}
