//! A run: what every operation on a store needs, and the right to write to it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset, SecondsFormat};
use tempfile::TempDir;

use crate::artifact::StoredFile;
use crate::artifact::read::Reader;
use crate::catalog::owner;
use crate::catalog::{Catalog, Entry, read_bounded};
use crate::disk::fsutil;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::record::checked::{self, EarlierChecks};
use crate::record::digest::Hashing;
use crate::record::ledger::{Command, Ledger, Line, Outcome};
use crate::record::manifest::{Artifact, Manifest, Tool};
use crate::record::names;
use crate::source::sqlite;
use crate::store::Store;
use crate::store::lock::{Holder, Lock};

/// What the library takes from its caller, since it has no clock, environment or terminal of its own.
#[derive(Clone)]
pub struct Setup<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// Takes events, passes on the wish to stop.
    pub progress: &'a dyn Progress,
    /// When the run begins, with the offset of the host's local time.
    pub now: DateTime<FixedOffset>,
    /// Whose state this is.
    pub project: String,
    /// Its folder, absolute.
    pub root: PathBuf,
    /// The host's name.
    pub host: String,
    /// The program's version.
    pub version: String,
    /// The command, as others who wait for the lock should read it.
    pub command: String,
    /// How long to wait for the lock.
    pub lock_wait: Duration,
    /// How long to wait for a locked database.
    pub busy_timeout: Duration,
    /// The most bytes that a stored file may decode to of which no manifest says how many they are: a small one could
    /// fill the disk.
    pub max_foreign: u64,
    /// Where decoded databases go, if the caller wants a place of its own.
    pub scratch: Option<PathBuf>,
    /// Where they go if neither that nor the store has a place: the system's folder for temporary files.
    pub temp: PathBuf,
}

/// A run, with the store's lock unless it only looks.
pub struct Run<'a> {
    setup: Setup<'a>,
    begun: Instant,
    lock: Option<Lock>,
    /// A catalog that is known to be as the store is: under the lock nobody else changes it.
    catalog: Mutex<Option<Catalog>>,
}

impl<'a> Run<'a> {
    /// Prepares the store, takes its lock and clears up what an earlier run left unfinished. `waiting` is told who
    /// holds the lock, if the run has to wait.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`], [`ErrorKind::Interrupted`] if it is asked to stop while it waits,
    /// [`ErrorKind::ForeignStore`] if the store is another project's, [`ErrorKind::PermissionDenied`], or
    /// [`ErrorKind::InvalidInput`] if something else is in the store's place.
    pub fn begin(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        // Before anything is made there, or waited for.
        owner::require(&setup)?;
        let run = Self::lock(setup, waiting)?;
        // Another project may have begun in the meantime.
        owner::require(&run.setup)?;
        run.sweep()?;
        Ok(run)
    }

    /// The same, whoever the store belongs to.
    pub(crate) fn begin_on_any(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        let run = Self::lock(setup, waiting)?;
        run.sweep()?;
        Ok(run)
    }

    fn lock(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        sqlite::require_sound_library()?;
        setup.store.prepare()?;
        let holder = Holder {
            pid: std::process::id(),
            host: setup.host.clone(),
            command: setup.command.clone(),
            since: setup.now.to_rfc3339_opts(SecondsFormat::Secs, false),
        };
        let mut told = false;
        let lock = setup.store.lock(&holder, setup.lock_wait, &mut |who| {
            if !std::mem::replace(&mut told, true) {
                waiting(who);
            }
            if setup.progress.should_stop() { Err(Error::interrupted()) } else { Ok(()) }
        })?;
        Ok(Self { setup, begun: Instant::now(), lock: Some(lock), catalog: Mutex::default() })
    }

    /// A run that only looks: without the lock, so that it waits for nobody and nobody for it.
    ///
    /// # Errors
    /// [`ErrorKind::ForeignStore`] if the store is another project's; what keeps it from being read.
    pub fn look(setup: Setup<'a>) -> Result<Self> {
        owner::require(&setup)?;
        Ok(Self { setup, begun: Instant::now(), lock: None, catalog: Mutex::default() })
    }

    /// A run that proves something: with the lock and the ledger where the store can be written, else as
    /// [`Run::look`]. It doesn't make a store that isn't there.
    ///
    /// # Errors
    /// As [`Run::begin`], but for [`ErrorKind::PermissionDenied`].
    pub fn begin_reading(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        if setup.store.list()?.is_empty() {
            return Self::look(setup);
        }
        owner::require(&setup)?;
        let run = match Self::lock(setup.clone(), waiting) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Self::look(setup),
            other => other?,
        };
        owner::require(&run.setup)?;
        match run.sweep() {
            // In the sandbox of a drill, the lock and the ledger can be written alone. The next backup clears up.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(run),
            other => other.map(|()| run),
        }
    }

    /// Whether the run may write, and so leaves a line in the ledger.
    pub fn is_recorded(&self) -> bool {
        self.lock.is_some()
    }

    /// Adds a line to the ledger, with the time the run has taken so far.
    pub(crate) fn record(&self, line: Line) -> Result<()> {
        self.record_since(0, line)
    }

    /// The same of one step of the run, which began `begun` milliseconds after it.
    pub(crate) fn record_since(&self, begun: u64, line: Line) -> Result<()> {
        if self.lock.is_none() {
            return Ok(());
        }
        let (host, duration_ms) = (self.setup.host.clone(), self.elapsed_ms() - begun);
        Ledger::append(self.store(), &Line { duration_ms, host, ..line })
    }

    /// Writes down that `command` begins, so that others can tell if it is killed.
    pub(crate) fn record_begun(&self, command: Command) -> Result<()> {
        self.record(Line::new(self.now(), command, Outcome::Begun))
    }

    /// Writes down that an error ended `command`, as far as the ledger takes it: the error says more. Without an id, it says
    /// nothing about any backup.
    pub(crate) fn record_error(&self, command: Command, error: &Error) {
        let line = Line::new(self.now(), command, Outcome::of(error));
        let _ = self.record(Line { error: Some(error.one_line()), ..line });
    }

    /// Removes what is staged, and the published files of backups that were being written or removed: their manifest
    /// is staged and not published. The manifest goes last, so that a sweep that is cut short is begun again.
    pub(crate) fn sweep(&self) -> Result<()> {
        let staged = self.store().list_staged()?;
        if staged.is_empty() {
            return Ok(());
        }
        let published: BTreeMap<String, u64> =
            self.store().list()?.into_iter().map(|object| (object.name, object.bytes)).collect();
        let (manifests, others): (Vec<_>, Vec<_>) =
            staged.into_iter().partition(|object| names::parse_manifest(&object.name).is_some());
        others.iter().try_for_each(|object| self.store().discard(&object.name))?;
        for manifest in manifests.iter().map(|object| &object.name) {
            if !published.contains_key(manifest) {
                // What can't be read today, a later run may be able to remove: it keeps none from beginning.
                let Ok(left) = self.left_of(manifest, &published) else { continue };
                left.iter().try_for_each(|name| self.store().remove(name))?;
            }
            self.store().discard(manifest)?;
        }
        Ok(())
    }

    /// Published files of the backup whose manifest is staged. Anybody may have put that there, to have another tool's
    /// files removed by their names: so they are this program's only if the ledger knows the backup, which it does once
    /// that was whole, or if they are what the manifest says to the byte, as a backup is that was being written.
    fn left_of(&self, manifest: &str, published: &BTreeMap<String, u64>) -> Result<Vec<String>> {
        let Some(id) = names::parse_manifest(manifest) else { return Ok(Vec::new()) };
        let json = match self.store().read_staged(manifest) {
            Err(error) if error.is_not_plain() => return Ok(Vec::new()),
            staged => read_bounded(staged?, manifest)?,
        };
        // It is whole before any file is published.
        let Ok(recorded) = Manifest::parse(id, &json) else { return Ok(Vec::new()) };
        let is_known = Ledger::load(self.store()).unwrap_or_default().knows(id);
        let mut left = Vec::new();
        for artifact in recorded.artifacts {
            let Some(bytes) = published.get(&artifact.file) else { continue };
            if is_known || *bytes == artifact.bytes && self.is_stored(&artifact)? {
                left.push(artifact.file);
            }
        }
        Ok(left)
    }

    /// Whether the stored file is what is recorded of it, to the byte.
    fn is_stored(&self, artifact: &Artifact) -> Result<bool> {
        let mut reader = match self.store().read(&artifact.file) {
            Err(error) if error.is_not_plain() => return Ok(false),
            opened => Hashing::new(opened?),
        };
        io::copy(&mut reader, &mut io::sink()).map_err(|e| Error::io_named("read", &artifact.file, e))?;
        Ok(reader.finish().1.sha256 == artifact.sha256)
    }

    /// A folder of its own for decoded files, removed when dropped, with room for `bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`], with both figures; else as the operating system says.
    pub(crate) fn scratch(&self, bytes: u64) -> Result<TempDir> {
        let in_store = self.lock.as_ref().and_then(|_| self.store().scratch());
        let (place, name) = match (&self.setup.scratch, in_store) {
            (None, Some(staging)) => (staging, self.store().location()),
            (given, _) => {
                let place = given.as_ref().unwrap_or(&self.setup.temp).clone();
                let name = place.display().to_string();
                (place, name)
            }
        };
        fsutil::require_space(&place, &name, bytes)?;
        tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(&place)
            .map_err(|e| Error::io("create a folder in", &place, e))
    }

    /// Makes sure that the store has room for `bytes`, as far as it knows.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`], with both figures.
    pub(crate) fn require_room(&self, bytes: u64) -> Result<()> {
        match self.store().free_bytes()? {
            Some(free) => fsutil::require_free(free, &self.store().location(), bytes),
            None => Ok(()),
        }
    }

    /// All backups of the store.
    pub fn catalog(&self) -> Result<Catalog> {
        match self.kept_catalog().take() {
            Some(catalog) => Ok(catalog),
            None => Ok(Catalog::load(self.store())?.of(&self.setup.project, owner::hosts(&self.setup)?.as_ref())),
        }
    }

    /// Stored files of a backup, to be restored. That a database was checked before it was stored counts only where the
    /// ledger says so of this host, and nothing was found against that backup since: a manifest may come from anywhere.
    pub(crate) fn stored_files(&self, entry: &Entry) -> Result<Vec<StoredFile>> {
        let mut files = entry.stored_files(self.store())?;
        if files.iter().any(StoredFile::is_checked) {
            let ledger = Ledger::load(self.store()).unwrap_or_default();
            let sound = checked::on_host(&ledger, &self.setup.host);
            let is_sound = |digest| !ledger.is_known_bad(entry.id) && sound.contains(&digest);
            for file in &mut files {
                file.require_check_unless(is_sound);
            }
        }
        Ok(files)
    }

    /// Keeps a catalog that is as the store is, so that the next step of this run needn't load it again.
    pub(crate) fn keep_catalog(&self, catalog: Catalog) {
        *self.kept_catalog() = Some(catalog).filter(|_| self.lock.is_some());
    }

    fn kept_catalog(&self) -> MutexGuard<'_, Option<Catalog>> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store.
    pub fn store(&self) -> &'a dyn Store {
        self.setup.store
    }

    /// What reads the store's files.
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader { store: self.store(), progress: self.progress(), max_foreign: self.setup.max_foreign }
    }

    /// Takes the run's events.
    pub(crate) fn progress(&self) -> &'a dyn Progress {
        self.setup.progress
    }

    /// What the caller gave.
    pub(crate) fn setup(&self) -> &Setup<'a> {
        &self.setup
    }

    /// When the run began.
    pub fn now(&self) -> DateTime<FixedOffset> {
        self.setup.now
    }

    pub(crate) fn busy_timeout(&self) -> Duration {
        self.setup.busy_timeout
    }

    pub(crate) fn tool(&self) -> Tool {
        Tool { version: self.setup.version.clone(), sqlite: rusqlite::version().to_string() }
    }

    /// Databases that were checked before, as far as this run may rely on it.
    pub fn earlier_checks(&self, ledger: &Ledger) -> EarlierChecks {
        EarlierChecks::of(ledger, &self.tool(), &self.setup.host)
    }

    /// Milliseconds since the run began.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends the run if it was asked to stop.
    pub(crate) fn check_stop(&self) -> Result<()> {
        if self.progress().should_stop() { Err(Error::interrupted()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::record::digest::Digest;
    use crate::store::MemoryStore;
    use crate::testing::faults::{assert_clean, fault_sweep};
    use crate::testing::fixtures::{Site, id, publish, published, stage, staged};

    const EARLIER: &str = "20251209_140000";
    const DATABASE: &str = "sessions_db_20251210_140000.db.zst";
    const CONFIG: &str = "config_20251210_140000.tar.zst";
    const MANIFEST: &str = "manifest_20251210_140000.json";

    /// Beside a whole backup and files of others, what `setting` makes; then the next run begins. Gives what it left of
    /// it: staged, and published. Runs on both stores.
    fn swept(setting: impl Fn(&dyn Store)) -> (Vec<String>, Vec<String>) {
        let site = Site::new();
        let mut results = [&site.local() as &dyn Store, &MemoryStore::new()].map(|store| {
            let earlier = site.backup(store, EARLIER);
            publish(store, "sessions_db_20200101_000000.db.gz", b"another tool's");
            publish(store, "notes.txt", b"mine");
            let others = published(store);
            setting(store);
            let run = site.begin(store, "20251211_140000");
            let report = crate::operation::verify::verify(
                &run,
                run.catalog().unwrap().get(earlier).unwrap(),
                &EarlierChecks::none(),
            )
            .unwrap();
            assert_eq!(report.verdict, crate::Verdict::Ok);
            let mut left = published(store);
            assert!(others.iter().all(|other| left.contains(other)), "{left:?}");
            left.retain(|name| !others.contains(name));
            (staged(store), left)
        });
        assert_eq!(results[0], results[1], "both stores end up alike");
        std::mem::take(&mut results[0])
    }

    /// Stages files with an `x` in them, and a manifest that says so.
    fn stage_all(store: &dyn Store, names: &[&str]) {
        for name in names {
            stage(store, name, if *name == MANIFEST { manifest(store) } else { b"x".into() }.as_slice());
        }
    }

    /// Of a backup of [`DATABASE`] and [`CONFIG`].
    fn manifest(store: &dyn Store) -> Vec<u8> {
        let catalog = Catalog::load(store).unwrap();
        let mut manifest = catalog.get(id(EARLIER)).unwrap().read_manifest(store).unwrap();
        manifest.id = id("20251210_140000");
        for artifact in &mut manifest.artifacts {
            artifact.file = artifact.file.replace(EARLIER, "20251210_140000");
            (artifact.bytes, artifact.sha256) = (1, Digest::of(b"x"));
        }
        manifest.to_json()
    }

    const NOTHING: (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());

    #[test]
    fn staged_artifacts_alone_are_swept() {
        assert_eq!(swept(|store| stage_all(store, &[DATABASE, CONFIG])), NOTHING);
    }

    #[test]
    fn a_backup_cut_short_before_any_artifact_was_published_is_swept() {
        assert_eq!(swept(|store| stage_all(store, &[DATABASE, CONFIG, MANIFEST])), NOTHING);
    }

    #[test]
    fn a_backup_cut_short_between_its_artifacts_is_swept() {
        let cut = swept(|store| {
            stage_all(store, &[DATABASE, CONFIG, MANIFEST]);
            store.publish(&[DATABASE.into()]).unwrap();
            assert!(!lists(store, "20251210_140000"));
        });
        assert_eq!(cut, NOTHING);
    }

    #[test]
    fn a_backup_cut_short_before_its_manifest_was_published_is_swept() {
        let cut = swept(|store| {
            stage_all(store, &[DATABASE, CONFIG, MANIFEST]);
            store.publish(&[DATABASE.into(), CONFIG.into()]).unwrap();
            assert!(!lists(store, "20251210_140000"));
        });
        assert_eq!(cut, NOTHING);
    }

    #[test]
    fn a_removal_cut_short_is_finished() {
        for left in [&[DATABASE, CONFIG][..], &[CONFIG], &[]] {
            let cut = swept(|store| {
                stage_all(store, left);
                left.iter().try_for_each(|name| store.publish(&[(*name).into()])).unwrap();
                publish(store, MANIFEST, &manifest(store));
                store.withdraw(MANIFEST).unwrap();
                assert!(!lists(store, "20251210_140000"));
            });
            assert_eq!(cut, NOTHING, "{left:?}");
        }
    }

    #[test]
    fn what_a_staged_manifest_names_stays_unless_this_program_wrote_it() {
        let kept = swept(|store| {
            stage_all(store, &[MANIFEST]);
            publish(store, DATABASE, b"another tool's");
            publish(store, "logs_20251210_140000.tar.gz", b"another tool's");
        });
        assert_eq!(kept, (vec![], vec!["logs_20251210_140000.tar.gz".into(), DATABASE.into()]));
        // What the ledger knows as a backup of this program's goes, though it was damaged before it was removed.
        let removed = swept(|store| {
            stage_all(store, &[MANIFEST]);
            publish(store, DATABASE, b"damaged");
            let line = Line::new(id(EARLIER).time().fixed_offset(), Command::Backup, Outcome::Ok);
            Ledger::append(store, &Line { id: Some(id("20251210_140000")), ..line }).unwrap();
        });
        assert_eq!(removed, NOTHING);
        // So does what it knows as what a restore has kept.
        let removed = swept(|store| {
            stage_all(store, &[MANIFEST]);
            publish(store, DATABASE, b"damaged");
            let mut line = Line::new(id(EARLIER).time().fixed_offset(), Command::Restore, Outcome::Ok);
            line.restore = Some(crate::record::ledger::RestoreLine {
                target: "/p".into(),
                selection: None,
                kept: Some(id("20251210_140000")),
                unkept: false,
                written: vec![],
                moved_aside: vec![],
            });
            Ledger::append(store, &line).unwrap();
        });
        assert_eq!(removed, NOTHING);
        for torn in ["", "{", "{\"format\": 1}", "x"] {
            let kept = swept(|store| {
                stage(store, MANIFEST, torn.as_bytes());
                publish(store, DATABASE, b"x");
            });
            assert_eq!(kept, (vec![], vec![DATABASE.into()]), "{torn}");
        }
    }

    #[test]
    fn a_pin_cut_short_leaves_the_backup_as_it_was() {
        let cut = swept(|store| {
            stage_all(store, &[DATABASE, CONFIG, MANIFEST]);
            store.publish(&[DATABASE, CONFIG, MANIFEST].map(String::from)).unwrap();
            stage(store, MANIFEST, b"the new one");
            assert!(lists(store, "20251210_140000"));
        });
        assert_eq!(cut, (Vec::new(), [CONFIG, MANIFEST, DATABASE].map(String::from).to_vec()));
    }

    #[test]
    fn a_sweep_cut_short_is_begun_again() {
        let cut_short = |site: &Site, store: &dyn Store| {
            site.backup(store, EARLIER);
            stage_all(store, &[DATABASE, CONFIG, MANIFEST]);
            store.publish(&[CONFIG.into()]).unwrap();
        };
        fault_sweep(
            cut_short,
            |site, store| {
                let error = Run::begin(site.setup(store, "20251211_140000"), &mut |_| {}).err();
                let message = error.map(|error| error.to_string()).unwrap_or_default();
                let left = [format!("read {CONFIG}"), format!("read staged {MANIFEST}")];
                assert!(!left.iter().any(|read| message.contains(read)), "it keeps the run from beginning: {message}");
            },
            |site, store, fault| assert_clean(site, store, &[id(EARLIER)], fault),
        );
    }

    #[test]
    fn scratch_folders_of_a_killed_run_are_swept() {
        let site = Site::new();
        let store = site.local();
        site.backup(&store, EARLIER);
        let scratch = store.scratch().unwrap().join("scratch-abc");
        fs::create_dir(&scratch).unwrap();
        fs::write(scratch.join("snapshot.db"), "half").unwrap();
        site.begin(&store, "20251211_140000");
        assert!(!scratch.exists());
    }

    fn lists(store: &dyn Store, wanted: &str) -> bool {
        Catalog::load(store).unwrap().entries().iter().any(|entry| entry.id == id(wanted))
    }

    #[test]
    fn a_second_run_on_the_same_store_is_locked_out_until_the_first_is_dropped() {
        let site = Site::new();
        let store = site.local();
        let first = site.begin(&store, EARLIER);
        let error = Run::begin(site.setup(&store, EARLIER), &mut |_| {}).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Locked);
        drop(first);
        site.begin(&store, EARLIER);
    }

    #[test]
    fn a_scratch_folder_is_in_the_store_or_where_the_caller_wants_it_and_goes_when_dropped() {
        let site = Site::new();
        let store = site.local();
        let run = site.begin(&store, EARLIER);
        let scratch = run.scratch(1).unwrap();
        let path = scratch.path().to_path_buf();
        assert!(path.starts_with(store.scratch().unwrap()));
        drop(scratch);
        assert!(!path.exists());
        assert_eq!(run.scratch(u64::MAX).unwrap_err().kind(), ErrorKind::NoSpace);
        drop(run);

        let elsewhere = tempfile::tempdir().unwrap();
        let setup = Setup { scratch: Some(elsewhere.path().into()), ..site.setup(&store, EARLIER) };
        let run = Run::begin(setup, &mut |_| {}).unwrap();
        assert!(run.scratch(1).unwrap().path().starts_with(elsewhere.path()));
    }
}
