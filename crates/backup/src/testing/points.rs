//! Points of a chain are verified, drilled and restored as full backups are.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rusqlite::Connection;

use crate::artifact::read::Level;
use crate::catalog::Catalog;
use crate::error::{Advice, ErrorKind, Result};
use crate::operation::check::Verdict;
use crate::operation::drill::drill;
use crate::operation::restore::{self, RestoreReport};
use crate::operation::session::Session;
use crate::operation::status::{self, StatusInputs};
use crate::operation::verify::{FilesRead, all_to_verify, verify, verify_next};
use crate::record::earlier_checks::EarlierChecks;
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Ledger, Outcome};
use crate::record::manifest::{Content, Manifest};
use crate::record::names;
use crate::record::selection::Selection;
use crate::record::soundness::Depth;
use crate::source::sqlite;
use crate::store::{LocalStore, MemoryStore, Store};
use crate::testing::fixtures::{Site, flip, id, publish};

const FULL: &str = "20251210_140000";
const FIRST: &str = "20251210_140100";
const SECOND: &str = "20251210_140200";
const THIRD: &str = "20251210_140300";
const LATER: &str = "20251210_150000";
const BASE_FILE: &str = "sessions_db_20251210_140000.db.zst";
const SECOND_DELTA: &str = "sessions_db_20251210_140200.db.rdiff.zst";

/// A full backup with 3 sessions, and increments with 4, 5 and 6; the second has another port as well.
fn chain(store: &dyn LocalStore) -> Site {
    let mut site = Site::new();
    site.base(store, FULL);
    for (at, kwh) in [(FIRST, 4), (SECOND, 5), (THIRD, 6)] {
        site.execute(&format!("INSERT INTO sessions(kwh) VALUES ({kwh})"));
        if at == SECOND {
            fs::write(site.root().join(".env"), "PORT=8081\n").unwrap();
        }
        site.increment(store, at);
    }
    site
}

fn edit(store: &MemoryStore, at: &str, edit: impl FnOnce(&mut Manifest)) {
    let mut manifest = Catalog::load(store).unwrap().get(id(at)).unwrap().read_manifest(store).unwrap();
    edit(&mut manifest);
    publish(store, &names::manifest(manifest.id), &manifest.to_json());
}

fn restored(site: &Site, session: &Session<'_>, at: &str, target: &Path) -> Result<RestoreReport> {
    let catalog = session.catalog()?;
    let plan = restore::plan(session, catalog.get(id(at))?, target, Selection::ALL, &site.sources)?;
    restore::restore(session, &plan, Some(site.request().encoding), &mut || Ok(()))
}

fn sessions(folder: &Path) -> i64 {
    let connection = Connection::open(folder.join("sessions.db")).unwrap();
    connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0)).unwrap()
}

#[test]
fn each_point_is_restored_as_it_was_into_an_empty_folder_and_over_the_live_one() {
    let store = MemoryStore::new();
    let site = chain(&store);
    let points =
        [(FULL, 3, "PORT=8080\n"), (FIRST, 4, "PORT=8080\n"), (SECOND, 5, "PORT=8081\n"), (THIRD, 6, "PORT=8081\n")];
    for (number, (at, rows, env)) in points.into_iter().rev().enumerate() {
        let session = site.session(&store, &format!("20251210_15000{number}"));
        let elsewhere = tempfile::tempdir().unwrap();
        for target in [elsewhere.path(), site.root()] {
            restored(&site, &session, at, target).unwrap();
            assert_eq!(
                (sessions(target), fs::read_to_string(target.join(".env")).unwrap()),
                (rows, env.into()),
                "{at}"
            );
        }
    }
}

#[test]
fn mode_and_journal_mode_are_those_of_the_point() {
    let store = MemoryStore::new();
    let site = chain(&store);
    edit(&store, SECOND, |manifest| {
        let Content::Increment(increment) = &mut manifest.artifacts[0].content else { panic!() };
        (increment.mode, increment.journal_mode) = (0o640, "delete".into());
    });
    let session = site.session(&store, LATER);
    for (at, mode, journal_mode) in [(FIRST, 0o600, "wal"), (SECOND, 0o640, "delete"), (THIRD, 0o600, "wal")] {
        let target = tempfile::tempdir().unwrap();
        restored(&site, &session, at, target.path()).unwrap();
        let path = target.path().join("sessions.db");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode, "{at}");
        let is: String = sqlite::pragma(&Connection::open(&path).unwrap(), "journal_mode").unwrap();
        assert_eq!(is, journal_mode, "{at}");
    }
}

#[test]
fn a_plan_names_its_chain() {
    let store = MemoryStore::new();
    let site = chain(&store);
    let session = site.session(&store, LATER);
    let chain = |at| {
        let catalog = session.catalog().unwrap();
        restore::plan(&session, catalog.get(id(at)).unwrap(), site.root(), Selection::ALL, &site.sources).unwrap().chain
    };
    assert_eq!(chain(SECOND), [FULL, FIRST, SECOND].map(id));
    assert_eq!(chain(FULL), []);
}

#[test]
fn a_damaged_increment_is_named_with_the_newest_point_before_it_and_noted() {
    let store = MemoryStore::new();
    let site = chain(&store);
    flip(&store, SECOND_DELTA);
    let session = site.session(&store, LATER);
    let target = tempfile::tempdir().unwrap();
    let error = restored(&site, &session, THIRD, target.path()).unwrap_err();
    assert_eq!((error.kind(), error.advice()), (ErrorKind::Damaged, Some(Advice::RestoreEarlier)));
    assert!(error.one_line().starts_with(&format!("{SECOND_DELTA} is damaged: ")), "{error:?}");
    assert_eq!(error.hint().unwrap(), format!("points before it stay restorable, the newest is {FIRST}"));
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    let line = session.ledger().unwrap().lines().last().unwrap().clone();
    assert_eq!((line.command, line.id, line.damaged), (Command::Verify, Some(id(THIRD)), Some(id(SECOND))));
    let wanted = ["sessions_db".to_string()];
    let (catalog, ledger) = (session.catalog().unwrap(), session.ledger().unwrap());
    let selected = catalog.select(&crate::Selector::Latest, &wanted, &ledger).unwrap();
    assert_eq!(selected.entry.id, id(FIRST), "what `latest` takes from then on");
    restored(&site, &session, FIRST, target.path()).unwrap();
    assert_eq!(sessions(target.path()), 4);
}

#[test]
fn a_point_with_a_missing_part_is_refused_with_the_newest_before_it() {
    let store = MemoryStore::new();
    let site = chain(&store);
    store.remove(&names::manifest(id(SECOND))).unwrap();
    store.remove(SECOND_DELTA).unwrap();
    let session = site.session(&store, LATER);
    let error = restored(&site, &session, THIRD, site.root()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("backup {THIRD} is an increment on {SECOND}, which is missing or can't be read")
    );
    assert_eq!(error.hint().unwrap(), format!("points before it stay restorable, the newest is {FIRST}"));
}

/// The image is as recorded, but not sound: the base was never checked in this state.
#[test]
fn what_increments_lead_to_is_checked_by_sqlite() {
    let store = MemoryStore::new();
    let mut site = Site::new();
    site.base(&store, FULL);
    // Rows that their index doesn't have.
    site.execute(
        "CREATE TABLE words(word); INSERT INTO words VALUES ('a'); CREATE INDEX by_word ON words(word);
                  PRAGMA writable_schema = on; UPDATE sqlite_schema SET rootpage = 2 WHERE name = 'by_word'",
    );
    site.increment(&store, FIRST);
    let session = site.session(&store, LATER);
    let target = tempfile::tempdir().unwrap();
    let error = restored(&site, &session, FIRST, target.path()).unwrap_err();
    assert_eq!(error.damaged_file(), Some("sessions_db_20251210_140100.db.rdiff.zst"));
    let report =
        verify(&session, session.catalog().unwrap().get(id(FIRST)).unwrap(), Level::Content, &EarlierChecks::none());
    assert_eq!(report.unwrap().verdict, Verdict::Damaged);
    let report = drill(&session, session.catalog().unwrap().get(id(FIRST)).unwrap(), &site.sources, &|_| Ok(None));
    assert_eq!(report.unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn a_point_is_verified_by_its_chain_and_not_checked_twice() {
    let store = MemoryStore::new();
    let site = chain(&store);
    let session = site.session(&store, LATER);
    let catalog = session.catalog().unwrap();
    let verify = |level| {
        let earlier = session.earlier_checks(&session.ledger().unwrap());
        verify(&session, catalog.get(id(THIRD)).unwrap(), level, &earlier).unwrap()
    };
    let report = verify(Level::Stored);
    assert_eq!((report.verdict, report.depth), (Verdict::Ok, Depth::Stored));
    let report = verify(Level::Content);
    assert_eq!((report.verdict, report.depth), (Verdict::Ok, Depth::Whole), "{report:?}");
    assert_eq!(report.read_from, [FULL, FIRST, SECOND].map(id));
    assert!(report.checks.iter().any(|check| check.detail == "integrity_check ok"), "{report:?}");
    let report = verify(Level::Content);
    assert_eq!((report.verdict, report.depth), (Verdict::Ok, Depth::Content), "the same image was checked whole");
}

#[test]
fn a_damaged_part_of_a_chain_is_what_the_verdict_is_about() {
    let store = MemoryStore::new();
    let site = chain(&store);
    flip(&store, SECOND_DELTA);
    let session = site.session(&store, LATER);
    let catalog = session.catalog().unwrap();
    for level in [Level::Content, Level::Stored] {
        let report = verify(&session, catalog.get(id(THIRD)).unwrap(), level, &EarlierChecks::none()).unwrap();
        assert_eq!((report.verdict, report.sound_before), (Verdict::Damaged, Some(id(FIRST))));
        let damaged = report.checks.iter().filter(|check| check.verdict == Verdict::Damaged);
        assert_eq!(damaged.map(|check| check.file.as_str()).collect::<Vec<_>>(), [SECOND_DELTA]);
        let line = session.ledger().unwrap().lines().last().unwrap().clone();
        assert_eq!((line.outcome, line.id, line.damaged), (Outcome::Failed, Some(id(THIRD)), Some(id(SECOND))));
    }
}

#[test]
fn a_delta_without_a_manifest_is_never_called_sound() {
    let store = MemoryStore::new();
    let site = chain(&store);
    store.remove(&names::manifest(id(THIRD))).unwrap();
    let session = site.session(&store, LATER);
    let catalog = session.catalog().unwrap();
    let entry = catalog.get(id(THIRD)).unwrap();
    let error = verify(&session, entry, Level::Content, &EarlierChecks::none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadManifest, "{error:?}");
    assert!(Ledger::load(&store).unwrap().last_proved(id(THIRD)).is_none());
}

#[test]
fn page_size_and_count_of_an_image_are_compared() {
    let store = MemoryStore::new();
    let site = chain(&store);
    edit(&store, THIRD, |manifest| {
        let Content::Increment(increment) = &mut manifest.artifacts[0].content else { panic!() };
        increment.page_count += 1;
    });
    let session = site.session(&store, LATER);
    let catalog = session.catalog().unwrap();
    let report = verify(&session, catalog.get(id(THIRD)).unwrap(), Level::Content, &EarlierChecks::none()).unwrap();
    assert_eq!((report.verdict, report.sound_before), (Verdict::Damaged, Some(id(SECOND))));
}

#[test]
fn to_verify_all_reads_a_base_once_if_sqlite_has_checked_it_before() {
    let store = MemoryStore::new();
    let site = chain(&store);
    verify_full(&site, &store);
    let watched = crate::testing::faults::WatchedStore::new(&store);
    let session = site.session(&watched, LATER);
    let (catalog, ledger) = (session.catalog().unwrap(), session.ledger().unwrap());
    let entries = all_to_verify(&catalog, &ledger);
    assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [THIRD, FULL].map(id));
    let mut read = FilesRead::default();
    let earlier = session.earlier_checks(&ledger);
    for entry in entries {
        let report = verify_next(&session, entry, Level::Content, &earlier, &mut read).unwrap();
        assert_eq!(report.verdict, Verdict::Ok, "{report:?}");
    }
    let reads = |file: &str| watched.count(&format!("read {file}"));
    assert_eq!((reads(BASE_FILE), reads(SECOND_DELTA)), (1, 1));
    drop(session);
    // One line for each of the two that were verified.
    let ledger = Ledger::load(&store).unwrap();
    let verified: Vec<_> =
        ledger.lines().iter().filter(|line| line.command == Command::Verify).map(|it| it.id).collect();
    assert_eq!(verified[1..], [THIRD, FULL].map(|at| Some(id(at))));
    assert!(ledger.last_proved(id(SECOND)).is_none(), "nobody read that point");
}

fn verify_full(site: &Site, store: &MemoryStore) {
    let session = site.session(store, "20251210_143000");
    let catalog = session.catalog().unwrap();
    let report = verify(&session, catalog.get(id(FULL)).unwrap(), Level::Content, &EarlierChecks::none()).unwrap();
    assert_eq!(report.verdict, Verdict::Ok);
}

#[test]
fn what_was_found_damaged_is_verified_by_itself() {
    let store = MemoryStore::new();
    let site = chain(&store);
    flip(&store, SECOND_DELTA);
    let session = site.session(&store, LATER);
    let catalog = session.catalog().unwrap();
    verify(&session, catalog.get(id(THIRD)).unwrap(), Level::Content, &EarlierChecks::none()).unwrap();
    let ids = |ledger: &Ledger| all_to_verify(&catalog, ledger).iter().map(|entry| entry.id).collect::<Vec<BackupId>>();
    assert_eq!(ids(&session.ledger().unwrap()), [THIRD, SECOND, FULL].map(id));
    flip(&store, SECOND_DELTA);
    for entry in all_to_verify(&catalog, &session.ledger().unwrap()) {
        verify(&session, entry, Level::Content, &EarlierChecks::none()).unwrap();
    }
    let ledger = session.ledger().unwrap();
    assert_eq!(ids(&ledger), [THIRD, FULL].map(id));
    let objections = catalog.objections(&ledger);
    assert!(catalog.entries().iter().all(|entry| objections.seems_sound(entry)));
}

#[test]
fn a_point_is_drilled_and_makes_every_source_fresh() {
    let store = MemoryStore::new();
    let mut site = chain(&store);
    site.sources.databases[0].probes = vec!["SELECT count(*) = 6 FROM sessions".into()];
    let session = site.session(&store, LATER);
    let catalog = session.catalog().unwrap();
    let report = drill(&session, catalog.get(id(THIRD)).unwrap(), &site.sources, &|_| Ok(None)).unwrap();
    assert!(report.passed && report.lacks.is_empty() && report.warnings.is_empty(), "{report:?}");
    let ledger = session.ledger().unwrap();
    let status = status::status(&StatusInputs {
        catalog: &catalog,
        ledger: &ledger,
        sources: &site.sources,
        root: site.root(),
        now: session.now(),
        last_look: None,
        max_age: std::time::Duration::from_secs(7200),
        max_drill_age: std::time::Duration::from_secs(7200),
        free_bytes: Some(1 << 40),
        locked_since: None,
    });
    assert!(status.fresh && status.concerns.is_empty(), "{status:?}");
    assert_eq!(status.last_success.as_ref().and_then(|at| at.id), Some(id(THIRD)));
    assert_eq!(status.newest_bytes, Some(catalog.get(id(FULL)).unwrap().stored_bytes()));
    assert!(status.sources.iter().all(|source| source.id == Some(id(THIRD)) && source.drilled.is_some()), "{status:?}");
}
