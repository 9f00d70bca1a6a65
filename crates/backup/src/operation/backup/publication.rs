//! A backup, from its id to its line in the ledger.

use std::path::Path;

use rusqlite::Connection;

use super::assembly::Assembly;
use super::request::{BackupReport, BackupRequest};
use super::staging::Staging;
use super::state::{ChainState, KeptSnapshots};
use crate::catalog::{Catalog, owner};
use crate::error::{Error, ErrorKind, Result};
use crate::operation::run::Run;
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Line, Outcome};
use crate::record::manifest::{Status, Warning};
use crate::record::soundness::SoundDatabases;
use crate::source::sqlite::bytes::Descriptors;

/// Makes a backup. If a database or a set of files can't be saved, the others are saved all the same: see
/// [`BackupReport`].
///
/// # Errors
/// [`ErrorKind::Interrupted`] if the run was asked to stop; any error of publishing the manifest. Then no backup
/// exists. [`ErrorKind::InvalidInput`] if no id is left.
pub fn backup(run: &Run<'_>, request: &BackupRequest<'_>) -> Result<BackupReport> {
    // A ledger that can't be written must not prevent a backup.
    let unrecorded = run.record_begun(Command::Backup).err().map(|error| Warning {
        code: "unrecorded".into(),
        message: format!("can't record in the ledger that this run began: {}", error.one_line()),
    });
    let made = write(run, request, &[], &Descriptors::default(), Attempt::Asked(Vec::from_iter(unrecorded)));
    if let Err(error) = &made {
        run.record_error(Command::Backup, error);
    }
    made
}

/// The same if connections of this process have locked some databases: those are read through them, and `synchronous`
/// is off on them afterwards. Drop the `descriptors` after all connections of this process to the databases.
pub(crate) fn backup_locked(
    run: &Run<'_>,
    request: &BackupRequest<'_>,
    locked: &[(&Path, &Connection)],
    descriptors: &Descriptors,
) -> Result<BackupReport> {
    write(run, request, locked, descriptors, Attempt::Asked(Vec::new()))
}

/// Why a backup is attempted.
pub(super) enum Attempt {
    /// It was asked for, with these warnings. If nothing can be saved, its manifest says so.
    Asked(Vec<Warning>),
    /// No increment could be made. If nothing can be saved, it is an error.
    InPlaceOfIncrement,
}

/// Makes a backup, or leaves nothing of it.
pub(super) fn write(
    run: &Run<'_>,
    request: &BackupRequest<'_>,
    locked: &[(&Path, &Connection)],
    descriptors: &Descriptors,
    attempt: Attempt,
) -> Result<BackupReport> {
    let report = stage_and_publish(run, request, locked, descriptors, attempt);
    if report.is_err() {
        // Removes what was staged. If even that fails, the next run does it.
        let _ = run.recover();
    }
    report
}

fn stage_and_publish(
    run: &Run<'_>,
    request: &BackupRequest<'_>,
    locked: &[(&Path, &Connection)],
    descriptors: &Descriptors,
    attempt: Attempt,
) -> Result<BackupReport> {
    let catalog = run.own_catalog()?;
    let id = next_id(run, &catalog)?;
    owner::claim(run.locked_store(), run.setup().project(), run.now(), &catalog)?;
    let chain = request.tracked.then(|| ChainState::load_since(&**run.locked_store(), &run.setup().boot)).flatten();
    let chain = chain.as_ref();
    let kept = &KeptSnapshots::default();
    let staging = Staging { run, request, locked, descriptors, catalog: &catalog, id, chain, parent: None, kept };
    let (warnings, must_save) = match attempt {
        Attempt::Asked(warnings) => (warnings, false),
        Attempt::InPlaceOfIncrement => (Vec::new(), true),
    };
    let (manifest, mut failures, tracked) = Assembly::new(warnings).fill(&staging)?.finish(&staging);
    drop(catalog);
    if must_save && manifest.status == Status::Failed && !failures.is_empty() {
        return Err(failures.swap_remove(0).1);
    }
    run.check_stop()?;
    run.publish(&manifest, request.pinned)?;
    let line = line(run, id, manifest.status.into(), &failures);
    if let Err(error) = run.record(Line { checked: SoundDatabases::by_backup(&manifest), ..line }) {
        failures.push(("ledger".to_string(), error.unrecorded(&format!("backup {id} is published"))));
    }
    if request.tracked && manifest.status != Status::Failed {
        ChainState::leave(run, id, tracked, None, &mut failures);
    }
    Ok(BackupReport { manifest, failures })
}

/// The line of the ledger about a run that made a backup, or found it unchanged, and had these failures.
pub(super) fn line(run: &Run<'_>, id: BackupId, outcome: Outcome, failures: &[(String, Error)]) -> Line {
    let error = failures.first().map(|(_, error)| error.one_line());
    Line { id: Some(id), error, ..Line::new(run.now(), Command::Backup, outcome) }
}

/// An id that no backup has or had. Otherwise a line of the ledger about a removed backup, such as that it undoes a
/// restore, would be taken for this one's. A ledger that can't be read must not prevent a backup.
pub(super) fn next_id(run: &Run<'_>, catalog: &Catalog) -> Result<BackupId> {
    let ledger = run.ledger().unwrap_or_default();
    catalog.next_id(run.now().to_utc(), |id| ledger.knows(id)).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "no id is left for a backup").with_hint("check the clock: date")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ledger::Ledger;
    use crate::record::names::LEDGER;
    use crate::record::relpath::RelPath;
    use crate::store::{LocalStore, MemoryStore, Store};
    use crate::testing::faults::{Fault, WatchedStore, assert_clean, fault_sweep};
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
    fn a_backup_that_is_to_be_pinned_is_never_there_without_its_pin() {
        let is_pinned_if_listed = |store: &dyn LocalStore, fault: &str| {
            let catalog = Catalog::load(store).unwrap();
            assert!(catalog.get(id(NOW)).is_ok_and(|entry| entry.has_pin) || catalog.get(id(NOW)).is_err(), "{fault}");
        };
        fault_sweep(
            |site, store| assert_eq!(site.backup(store, EARLIER), id(EARLIER)),
            |site, store| {
                let begun = crate::Run::begin(site.setup(store, NOW), &mut |_| {});
                drop(begun.and_then(|run| backup(&run, &BackupRequest { pinned: true, ..site.request() })));
            },
            |site, store, fault| {
                is_pinned_if_listed(store, fault);
                assert_clean(site, store, &[id(EARLIER)], fault);
                is_pinned_if_listed(store, fault);
            },
        );
    }

    #[test]
    fn a_run_knows_what_its_store_holds_whatever_failed() {
        for fault in [Fault::Before, Fault::After] {
            for at in 0.. {
                let (site, store) = (Site::new(), MemoryStore::new());
                let watched = WatchedStore::failing(&store, at, fault);
                let Ok(run) = crate::Run::begin(site.setup(&watched, NOW), &mut |_| {}) else { continue };
                let first = site.back_up(&run);
                if !watched.has_failed() {
                    break;
                }
                let there = Catalog::load(&store).unwrap().entries().len();
                assert!(first.is_err() || there == 1);
                site.back_up(&run).unwrap();
                let (known, found) = (run.catalog().unwrap(), Catalog::load(&store).unwrap());
                let ids = |catalog: &Catalog| catalog.entries().iter().map(|entry| entry.id).collect::<Vec<_>>();
                assert_eq!((ids(&known), found.entries().len()), (ids(&found), there + 1), "{fault:?} at {at}");
                let (known, found) = (run.ledger().unwrap(), Ledger::load(&store).unwrap());
                assert_eq!(known.lines(), found.lines(), "{fault:?} at {at}");
            }
        }
    }

    #[test]
    fn a_backup_that_says_it_succeeded_is_there_whatever_fails_meanwhile() {
        for at in 0.. {
            let site = Site::new();
            let store = MemoryStore::new();
            let watched = WatchedStore::failing(&store, at, Fault::Before);
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
        let watched = WatchedStore::new(&store);
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
    fn a_file_that_is_gone_is_told_of_beside_one_that_cannot_be_read() {
        let (mut site, store) = (Site::new(), MemoryStore::new());
        let held = site.backup(&store, EARLIER);
        std::fs::remove_file(site.root().join(".env")).unwrap();
        std::fs::create_dir(site.root().join("folder.json")).unwrap();
        for path in ["folder.json", "never.json"] {
            site.sources.files[0].paths.push(RelPath::new(path).unwrap());
        }
        let made = site.back_up(&site.begin(&store, NOW)).unwrap();
        let [(_, unreadable), (set, gone)] = &made.failures[..] else { panic!("{:?}", made.failures) };
        assert_eq!(unreadable.kind(), ErrorKind::InvalidInput, "{unreadable}");
        assert_eq!((set.as_str(), gone.kind()), ("config", ErrorKind::MissingSource));
        assert_eq!(gone.to_string(), format!(".env doesn't exist, but backup {held} holds it"));
        let warnings: Vec<&str> = made.manifest.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(warnings, ["never.json doesn't exist, so it is not in this backup"]);
        assert!(made.manifest.absent.is_empty());
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

    /// VACUUM silently leaves out a table whose statement doesn't begin with CREATE in capitals.
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
