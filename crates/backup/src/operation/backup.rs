//! The write path: source → codec → store → catalog.
//!
//! The order of the steps is what makes a backup appear whole or not at all. All artifacts are staged and synced;
//! then the manifest is; then the artifacts get their names; then, last, the manifest gets its own. Cut short before
//! that, the staged manifest tells the next run which artifacts belong to nothing ([`Run::sweep`]).

mod database;

use std::io::Write;
use std::path::Path;

use rusqlite::Connection;

use crate::artifact::codec::{Encoder, Encoding};
use crate::catalog::collapse;
use crate::catalog::owner;
use crate::catalog::{Catalog, ListedFile};
use crate::error::{Error, ErrorKind, Result, SALVAGE_HINT};
use crate::operation::check;
use crate::operation::run::Run;
use crate::record::checked::SoundDatabases;
use crate::record::digest::Hashing;
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Ledger, Line, Outcome};
use crate::record::manifest::{self, Artifact, Collapse, Content, FORMAT, Failure, Manifest, Status, Trigger, Warning};
use crate::record::names::{self, ArtifactName, Kind};
use crate::record::relpath::RelPath;
use crate::source::bytes::Descriptors;
use crate::source::files::{ArchiveWriter, ConfigFile};
use crate::source::{FilesSource, Sources};
use crate::store::Staged;

/// What to back up, and how.
#[derive(Debug, Clone)]
pub struct BackupRequest<'a> {
    /// The folder that all sources are below.
    pub root: &'a Path,
    /// What to take.
    pub sources: &'a Sources,
    /// How to encode it.
    pub encoding: Encoding,
    /// What caused it.
    pub trigger: Trigger,
    /// Whether rotation has to leave it alone.
    pub pinned: bool,
    /// What is asked about the integrity of databases.
    pub integrity: Integrity,
}

/// What a backup asks about the integrity of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// A damaged one is not saved.
    Required,
    /// A damaged one is saved all the same, as [`Snapshot::Bytes`](crate::record::manifest::Snapshot::Bytes), and marked so.
    Recorded,
    /// Nothing: it is left to whoever reads the backup.
    Unchecked,
}

/// A finished run: the manifest it published, and why what is not in it isn't.
#[derive(Debug)]
pub struct BackupReport {
    /// The published manifest; [`Status::Failed`] if nothing could be saved.
    pub manifest: Manifest,
    /// One error for each database or set of files that could not be saved, or is damaged, with its name, and one for the
    /// `ledger` if it can't be written.
    pub failures: Vec<(String, Error)>,
}

/// Makes a backup. What can't be saved doesn't keep the rest from being saved: see [`BackupReport`].
///
/// # Errors
/// [`ErrorKind::Interrupted`], with nothing published, if the run was asked to stop; whatever kept the manifest from
/// being published.
pub fn backup(run: &Run<'_>, request: &BackupRequest<'_>) -> Result<BackupReport> {
    // A ledger that can't be written keeps no backup from being made.
    let unrecorded = run.record_begun(Command::Backup).err().map(|error| Warning {
        code: "unrecorded".into(),
        message: format!("the ledger doesn't know that this run began: {}", error.one_line()),
    });
    let made = write(run, request, &[], &Descriptors::default(), Vec::from_iter(unrecorded));
    if let Err(error) = &made {
        run.record_error(Command::Backup, error);
    }
    made
}

/// The same, where connections of this process have locked databases: they are read through those, which it leaves with
/// `synchronous` turned off. The `descriptors` must be dropped after all connections of this process to the databases.
pub(crate) fn backup_locked(
    run: &Run<'_>,
    request: &BackupRequest<'_>,
    locked: &[(&Path, &Connection)],
    descriptors: &Descriptors,
) -> Result<BackupReport> {
    write(run, request, locked, descriptors, Vec::new())
}

fn write(
    run: &Run<'_>,
    request: &BackupRequest<'_>,
    locked: &[(&Path, &Connection)],
    descriptors: &Descriptors,
    warnings: Vec<Warning>,
) -> Result<BackupReport> {
    let catalog = run.catalog()?;
    let id = next_id(run, &catalog)?;
    owner::claim(run, &catalog)?;
    let (absent, vanished) = (Vec::new(), Vec::new());
    let result = Writer { run, request, locked, descriptors, catalog, id, warnings, absent, vanished }.write();
    if result.is_err() {
        // What was staged is of no use; if even this fails, the next run does it.
        let _ = run.sweep();
    }
    result
}

/// An id that no backup has, nor had: what the ledger says of one that was removed, such as that it undoes a restore,
/// must not be taken for another's. A ledger that can't be read keeps no backup from being made.
fn next_id(run: &Run<'_>, catalog: &Catalog) -> Result<BackupId> {
    let ledger = Ledger::load(run.store()).unwrap_or_default();
    catalog.next_id(run.now().to_utc(), |id| ledger.knows(id)).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "no id is left for a backup").with_hint("what does the clock say? (date)")
    })
}

struct Writer<'a> {
    run: &'a Run<'a>,
    request: &'a BackupRequest<'a>,
    locked: &'a [(&'a Path, &'a Connection)],
    descriptors: &'a Descriptors,
    catalog: Catalog,
    id: BackupId,
    warnings: Vec<Warning>,
    absent: Vec<String>,
    /// Configuration files that a backup holds and that are gone, each with the name of its set.
    vanished: Vec<(String, Error)>,
}

impl Writer<'_> {
    fn write(mut self) -> Result<BackupReport> {
        let sources = self.request.sources;
        let mut artifacts = Vec::new();
        let mut failures = Vec::new();
        let mut take = |name: &str, taken: Result<Vec<Artifact>>| match taken {
            Ok(taken) => {
                let damage = taken.iter().find_map(damage_of);
                failures.extend(damage.map(|error| (name.to_string(), error)));
                artifacts.extend(taken);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                failures.push((name.to_string(), error));
                Ok(())
            }
        };
        for database in &sources.databases {
            take(&database.name, self.store_database(database))?;
        }
        for files in &sources.files {
            take(&files.name, self.store_files(files).map(Vec::from_iter))?;
        }
        failures.append(&mut self.vanished);
        self.run.check_stop()?;
        let manifest = self.manifest(artifacts, &failures);
        self.publish(&manifest)?;
        if let Err(error) = self.record(&manifest, &failures) {
            failures.push(("ledger".to_string(), error.unrecorded(&format!("backup {} is published", self.id))));
        }
        self.catalog.add(&manifest);
        self.run.keep_catalog(self.catalog);
        Ok(BackupReport { manifest, failures })
    }

    /// What the newest artifact of that name took that still has its size; nothing is known of a first one.
    fn expected_bytes(&self, name: &str) -> u64 {
        let mut files = self.catalog.entries().iter().flat_map(|entry| &entry.files);
        let is_whole = |file: &ListedFile| file.recorded.is_some_and(|recorded| Some(recorded.bytes) == file.bytes);
        let is_it = |file: &&ListedFile| file.name == name && is_whole(file) && !file.kind.is_beside_database();
        files.rfind(is_it).and_then(|file| file.bytes).unwrap_or(0)
    }

    /// `None` if there is none of the files.
    fn store_files(&mut self, source: &FilesSource) -> Result<Option<Artifact>> {
        let root = self.request.root;
        let is_missing = |path: &&RelPath| {
            std::fs::metadata(path.under(root)).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
        };
        let (missing, present): (Vec<_>, Vec<_>) = source.paths.iter().partition(is_missing);
        for path in missing {
            self.note_missing(&source.name, path);
        }
        if present.is_empty() {
            self.absent.push(source.name.clone());
            return Ok(None);
        }
        let mut flaws = Vec::new();
        let stored = self.store(&source.name, Kind::Files, |artifact, name| {
            let mut archive = ArchiveWriter::new(artifact);
            let mut entries = Vec::new();
            for path in present {
                // One at a time: no more than one of them is in memory.
                let file = ConfigFile::read(root, path)?;
                flaws.extend(check::config_file(&file));
                archive.add(&file).map_err(|e| Error::io_named("store", name, e))?;
                entries.push(file.entry());
            }
            archive.finish().map_err(|e| Error::io_named("store", name, e))?;
            Ok(Content::Files { entries })
        })?;
        self.warnings.extend(flaws);
        Ok(Some(stored))
    }

    /// A file that was never saved may never have been there. One that a backup holds has vanished: its backups would
    /// be rotated away one by one, so a run without it is not complete.
    fn note_missing(&mut self, set: &str, path: &RelPath) {
        match self.catalog.newest_with_file(path) {
            Some(entry) => {
                let message = format!("{path} doesn't exist, but backup {} holds it", entry.id);
                let hint = "put it back from that backup; if it is meant to be gone, take it out of the settings";
                self.vanished.push((set.to_string(), Error::new(ErrorKind::MissingSource, message).with_hint(hint)));
            }
            None => self.warnings.push(Warning {
                code: "missing_file".into(),
                message: format!("{path} doesn't exist, so it is not in this backup"),
            }),
        }
    }

    /// Stages one artifact, hashing it before and after the codec as `fill` writes its plain bytes and says what they are.
    fn store(
        &self,
        name: &str,
        kind: Kind,
        fill: impl FnOnce(&mut dyn Write, &str) -> Result<Content>,
    ) -> Result<Artifact> {
        let codec = self.request.encoding.codec();
        let file = ArtifactName { name: name.to_string(), id: self.id, kind, codec }.to_string();
        let stored: Hashing<Box<dyn Staged>> = Hashing::new(self.run.store().stage(&file)?);
        let mut encoder = Encoder::new(self.request.encoding, stored);
        let content = fill(&mut encoder, &file)?;
        let (stored, plain) = encoder.finish().map_err(|e| Error::io_named("store", &file, e))?;
        let (staged, stored) = stored.finish();
        staged.finish()?;
        Ok(Artifact {
            name: name.to_string(),
            file,
            bytes: stored.bytes,
            sha256: stored.sha256,
            plain_bytes: plain.bytes,
            plain_sha256: plain.sha256,
            codec,
            content,
        })
    }

    fn manifest(&mut self, artifacts: Vec<Artifact>, failures: &[(String, Error)]) -> Manifest {
        let status = match (artifacts.is_empty(), failures.is_empty()) {
            (true, _) => Status::Failed,
            (false, false) => Status::Partial,
            (false, true) => Status::Complete,
        };
        let errors = failures.iter().map(|(name, error)| Failure { name: name.clone(), message: error.one_line() });
        let collapses = self.collapses(&artifacts);
        Manifest {
            format: FORMAT,
            id: self.id,
            created_at: self.run.now(),
            project: self.run.setup().project.clone(),
            host: self.run.setup().host.clone(),
            trigger: self.request.trigger,
            status,
            tool: self.run.tool(),
            duration_ms: self.run.elapsed_ms(),
            pinned: self.request.pinned,
            warnings: std::mem::take(&mut self.warnings),
            collapses,
            errors: errors.collect(),
            absent: std::mem::take(&mut self.absent),
            artifacts,
        }
    }

    /// Databases that have collapsed; the manifest warns of each. What a restore replaces is not compared: it is replaced
    /// because it is not as it should be.
    fn collapses(&mut self, artifacts: &[Artifact]) -> Vec<Collapse> {
        if self.request.trigger == Trigger::PreRestore {
            return Vec::new();
        }
        let found = collapse::find(&self.catalog, self.run.store(), artifacts, self.run.now().to_utc());
        let (collapses, warnings): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        self.warnings.extend(warnings);
        collapses
    }

    fn publish(&self, manifest: &Manifest) -> Result<()> {
        let store = self.run.store();
        stage_manifest(self.run, manifest)?;
        let artifacts: Vec<String> = manifest.artifacts.iter().map(|artifact| artifact.file.clone()).collect();
        store.publish(&artifacts)?;
        store.publish(&[names::manifest(self.id)])
    }

    fn record(&self, manifest: &Manifest, failures: &[(String, Error)]) -> Result<()> {
        let outcome = match manifest.status {
            Status::Complete => Outcome::Ok,
            Status::Partial => Outcome::Partial,
            Status::Failed => Outcome::Failed,
        };
        let error = failures.first().map(|(_, error)| error.one_line());
        let checked = SoundDatabases::by_backup(manifest);
        let line = Line::new(self.run.now(), Command::Backup, outcome);
        self.run.record(Line { id: Some(self.id), error, checked, ..line })
    }
}

/// The error that says of an artifact that it was saved damaged.
fn damage_of(artifact: &Artifact) -> Option<Error> {
    let problem = artifact.damage().first()?;
    let message = format!("database {} is damaged, and saved as it is: {problem}", artifact.name);
    Some(Error::new(ErrorKind::Damaged, message).with_hint(SALVAGE_HINT))
}

/// Writes a manifest to the staging area.
pub(crate) fn stage_manifest(run: &Run<'_>, manifest: &Manifest) -> Result<()> {
    let name = names::manifest(manifest.id);
    let json = manifest.to_json();
    if json.len() as u64 > manifest::MAX_BYTES || manifest.path_bytes() > manifest::MAX_PATHS {
        let message = format!("{name} would be too large, and could not be read");
        return Err(Error::new(ErrorKind::InvalidInput, message)
            .with_hint("it names every table and configuration file: are there so many?"));
    }
    let mut staged = run.store().stage(&name)?;
    staged.write_all(&json).map_err(|e| Error::io_named("write", &name, e))?;
    staged.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::names::LEDGER;
    use crate::store::{MemoryStore, Store};
    use crate::testing::faults::{Fault, Watched, assert_clean, fault_sweep};
    use crate::testing::fixtures::{Site, Stop, id, published, staged};

    const EARLIER: &str = "20251209_140000";
    const NOW: &str = "20251210_140000";

    #[test]
    fn a_failing_store_never_costs_an_earlier_backup_nor_leaves_half_of_the_new_one() {
        fault_sweep(
            |site, store| assert_eq!(site.backup(store, EARLIER), id(EARLIER)),
            |site, store| {
                let begun = crate::Run::begin(site.setup(store, NOW), &mut |_| {});
                if let Ok(made) = begun.and_then(|run| site.back_up(&run)) {
                    let complete = made.manifest.status == Status::Complete;
                    assert_eq!(complete, made.failures.iter().all(|(name, _)| name == "ledger"));
                }
            },
            |site, store, fault| assert_clean(site, store, &[id(EARLIER)], fault),
        );
    }

    #[test]
    fn a_backup_that_says_it_succeeded_is_there_whatever_fails_meanwhile() {
        for at in 0.. {
            let site = Site::new();
            let store = MemoryStore::new();
            let watched = Watched::failing(&store, at, Fault::Before);
            let made = crate::Run::begin(site.setup(&watched, NOW), &mut |_| {}).and_then(|run| site.back_up(&run));
            let catalog = Catalog::load(&store).unwrap();
            match made {
                Ok(made) => assert_eq!(catalog.get(id(NOW)).unwrap().read_manifest(&store).unwrap(), made.manifest),
                Err(_) => assert!(catalog.entries().is_empty(), "{at}"),
            }
            if !watched.has_failed() {
                break;
            }
        }
    }

    #[test]
    fn the_manifest_comes_last_at_each_step() {
        let site = Site::new();
        let store = MemoryStore::new();
        let watched = Watched::new(&store);
        site.backup(&watched, NOW);
        let [database, config] = ["sessions_db_20251210_140000.db.zst", "config_20251210_140000.tar.zst"];
        let manifest = "manifest_20251210_140000.json";
        let expected = [
            format!("append {LEDGER}"),
            "finish store.json".to_string(),
            "publish store.json".to_string(),
            format!("finish {database}"),
            format!("finish {config}"),
            format!("finish {manifest}"),
            format!("publish {database}"),
            format!("publish {config}"),
            format!("publish {manifest}"),
            format!("append {LEDGER}"),
        ];
        assert_eq!(watched.changes(), expected);
    }

    #[test]
    fn what_cannot_be_saved_does_not_keep_the_rest_from_being_saved() {
        let site = Site::new();
        std::fs::remove_file(site.root().join("sessions.db")).unwrap();
        let store = MemoryStore::new();
        let made = site.back_up(&site.begin(&store, NOW)).unwrap();
        assert_eq!(made.manifest.status, Status::Partial);
        assert_eq!(made.failures[0].0, "sessions_db");
        assert_eq!(made.failures[0].1.kind(), ErrorKind::MissingSource);
        assert_eq!(made.manifest.errors[0].name, "sessions_db");
        assert_eq!(published(&store), ["config_20251210_140000.tar.zst", "manifest_20251210_140000.json"]);
    }

    #[test]
    fn a_file_that_a_backup_holds_and_that_is_gone_makes_a_run_partial() {
        let (mut site, store) = (Site::new(), MemoryStore::new());
        site.sources.files[0].paths.push(RelPath::new("never.json").unwrap());
        let held = site.backup(&store, "20251208_140000");
        std::fs::remove_file(site.root().join(".env")).unwrap();
        for now in ["20251209_140000", "20251210_140000"] {
            let made = site.back_up(&site.begin(&store, now)).unwrap();
            assert_eq!(made.manifest.status, Status::Partial);
            let [(name, error)] = &made.failures[..] else { panic!("{:?}", made.failures) };
            assert_eq!((name.as_str(), error.kind()), ("config", ErrorKind::MissingSource));
            assert_eq!(error.to_string(), format!(".env doesn't exist, but backup {held} holds it"));
            assert_eq!(made.manifest.errors[0].message, error.to_string());
            assert_eq!(made.manifest.warnings.len(), 1, "of the one that never was there");
        }
        std::fs::write(site.root().join(".env"), "back").unwrap();
        site.backup(&store, "20251211_140000");
    }

    /// VACUUM leaves out a table whose statement doesn't begin with CREATE in capitals, without a word.
    #[test]
    fn a_copy_that_lacks_a_table_is_not_published() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.execute(
            "PRAGMA writable_schema = on; UPDATE sqlite_schema SET sql = 'create table sessions(id integer primary key, kwh)'",
        );
        let made = site.back_up(&site.begin(&store, NOW)).unwrap();
        assert_eq!((made.manifest.status, made.failures[0].1.kind()), (Status::Partial, ErrorKind::Damaged));
        let message = made.failures[0].1.to_string();
        assert!(message.ends_with("sessions.db isn't what was read: its schema differs"), "{message}");
        assert_eq!(published(&store), ["config_20251210_140000.tar.zst", "manifest_20251210_140000.json"]);
    }

    #[test]
    fn a_run_that_saved_nothing_leaves_its_record_alone() {
        let site = Site::new();
        std::fs::write(site.root().join("sessions.db"), "this is no database, whatever its name says").unwrap();
        std::fs::remove_file(site.root().join(".env")).unwrap();
        let store = MemoryStore::new();
        let made = site.back_up(&site.begin(&store, NOW)).unwrap();
        assert_eq!(made.manifest.status, Status::Failed);
        assert_eq!(made.failures[0].1.kind(), ErrorKind::NotADatabase);
        assert_eq!(published(&store), ["manifest_20251210_140000.json"]);
        let ledger = crate::Ledger::load(&store).unwrap();
        assert_eq!(ledger.lines()[1].outcome, Outcome::Failed);
    }

    #[test]
    fn a_stopped_run_leaves_nothing_behind() {
        let site = Site::new();
        let store = site.local();
        let setup = crate::Setup { progress: &Stop, ..site.setup(&store, NOW) };
        let run = crate::Run::begin(setup, &mut |_| {}).unwrap();
        assert_eq!(site.back_up(&run).unwrap_err().kind(), ErrorKind::Interrupted);
        assert_eq!((staged(&store), published(&store)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn ids_go_on_when_the_clock_stands_or_goes_back() {
        let site = Site::new();
        let store = MemoryStore::new();
        site.backup(&store, NOW);
        let next = |now: &str| site.back_up(&site.begin(&store, now)).unwrap().manifest.id;
        assert_eq!(next(NOW), id("20251210_140001"));
        assert_eq!(next(EARLIER), id("20251210_140002"));
    }

    #[test]
    fn an_id_that_a_removed_backup_had_is_not_given_again() {
        let site = Site::new();
        let store = MemoryStore::new();
        site.backup(&store, EARLIER);
        for file in published(&store) {
            store.remove(&file).unwrap();
        }
        let made = site.back_up(&site.begin(&store, EARLIER)).unwrap().manifest.id;
        assert_eq!(made, id("20251209_140001"));
    }
}
