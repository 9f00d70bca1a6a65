//! An increment: what changed since the newest point, or a full backup if there is nothing to continue.
//!
//! The state that the last run left says what the sources were like at that point ([`super::state`]); which pages of a
//! database changed since is found by `source::sqlite::changes`. In doubt, a full backup is made: an increment is never
//! a guess.

use super::assembly::Assembly;
use super::change::Stop;
use super::publication::{Attempt, line, next_id, write};
use super::request::{BackupReport, BackupRequest, FullReason, IncrementalReport};
use super::staging::{Parent, Staging};
use super::state::{ChainState, KeptSnapshots};
use crate::catalog::{Catalog, Entry, Summary, owner};
use crate::error::{Error, Result};
use crate::operation::run::Run;
use crate::record::ledger::{Command, Line, Outcome};
use crate::record::manifest::{Status, Trigger};
use crate::source::sqlite::bytes::Descriptors;

/// Backs up what changed since the newest point. If that can't be told, or more than half of all databases changed, makes a
/// full backup, and says why. If nothing changed, nothing is written.
///
/// # Errors
/// As [`backup()`](super::backup). If a source can't be read and nothing else has changed, the error of that source.
pub fn backup_incremental(run: &Run<'_>, request: &BackupRequest<'_>) -> Result<IncrementalReport> {
    backup_changes(run, request, &KeptSnapshots::default()).map(|(report, _)| report)
}

/// As [`backup_incremental`], with snapshots of the newest point that are still open. Returns those of the new one.
pub(super) fn backup_changes(
    run: &Run<'_>,
    request: &BackupRequest<'_>,
    kept: &KeptSnapshots,
) -> Result<(IncrementalReport, KeptSnapshots)> {
    let request = &BackupRequest { tracked: true, ..request.clone() };
    match continue_chain(run, request, kept) {
        Ok(made) => Ok(made),
        Err(Stop::Full(reason)) => {
            run.recover()?;
            let report = backup_instead(run, request)?;
            Ok((IncrementalReport::Full(report, reason), KeptSnapshots::default()))
        }
        Err(Stop::Error(error)) => {
            // Removes what was staged. If even that fails, the next run does it.
            let _ = run.recover();
            record_error(run, &error);
            Err(error)
        }
    }
}

/// A full backup in place of an increment. The next attempt may come in a minute, so one that saves nothing leaves neither
/// a manifest nor more than one line in the ledger.
fn backup_instead(run: &Run<'_>, request: &BackupRequest<'_>) -> Result<BackupReport> {
    write(run, request, &[], &Descriptors::default(), Attempt::InPlaceOfIncrement)
        .inspect_err(|error| record_error(run, error))
}

fn continue_chain(
    run: &Run<'_>,
    request: &BackupRequest<'_>,
    kept: &KeptSnapshots,
) -> Result<(IncrementalReport, KeptSnapshots), Stop> {
    let catalog = run.own_catalog()?;
    let parent = find_parent(run, &catalog)?;
    let id = next_id(run, &catalog)?;
    owner::claim(run.locked_store(), run.setup().project(), run.now(), &catalog)?;
    let descriptors = Descriptors::default();
    let staging = Staging {
        run,
        request,
        locked: &[],
        descriptors: &descriptors,
        catalog: &catalog,
        id,
        chain: None,
        parent: Some(&parent),
        kept,
    };
    let assembly = Assembly::default().fill_with_changes(&staging, &parent)?;
    run.check_stop()?;
    Ok(publish(&staging, &parent, assembly)?)
}

/// The newest point, if its chain is whole and the state is of it.
fn find_parent(run: &Run<'_>, catalog: &Catalog) -> Result<Parent, Stop> {
    let store = &**run.locked_store();
    let state = ChainState::load_since(store, &run.setup().boot);
    let Some(state) = state else { return Err(Stop::Full(FullReason::NoState)) };
    let Ok(entry) = catalog.get(state.point) else { return Err(Stop::Full(FullReason::PointGone(state.point))) };
    if entry.manifest().is_none() {
        return Err(Stop::Full(FullReason::PointGone(state.point)));
    }
    if !state.is_of(store) {
        return Err(Stop::Full(FullReason::AnotherStore(state.point)));
    }
    let ledger = run.ledger().unwrap_or_default();
    if catalog.objections(&ledger).against(entry, &[]).is_some() {
        return Err(Stop::Full(FullReason::Unsound(state.point)));
    }
    let saves = |it: &Summary| it.trigger != Trigger::PreRestore && it.status != Status::Failed;
    let is_other = |other: &&Entry| other.manifest().is_some_and(saves);
    if let Some(newer) = catalog.entries().iter().rfind(is_other).filter(|newer| newer.id != state.point) {
        return Err(Stop::Full(FullReason::Newer(newer.id)));
    }
    Ok(Parent { manifest: entry.read_manifest(store)?, state })
}

/// Publishes the increment, unless nothing changed.
fn publish(staging: &Staging<'_>, parent: &Parent, assembly: Assembly) -> Result<(IncrementalReport, KeptSnapshots)> {
    let run = staging.run;
    if assembly.is_empty() {
        return unchanged(run, parent, assembly);
    }
    let (manifest, mut failures, tracked) = assembly.finish(staging);
    run.publish(&manifest, staging.request.pinned)?;
    if let Err(error) = record(run, line(run, manifest.id, manifest.status.into(), &failures)) {
        failures.push(("ledger".to_string(), error.unrecorded(&format!("backup {} is published", manifest.id))));
    }
    let kept = ChainState::leave(run, manifest.id, tracked, Some(&parent.state), &mut failures);
    Ok((IncrementalReport::Increment(BackupReport { manifest, failures }), kept))
}

/// Remembers that everything is as at the newest point. What that one lacks is still lacking.
fn unchanged(run: &Run<'_>, parent: &Parent, assembly: Assembly) -> Result<(IncrementalReport, KeptSnapshots)> {
    let (mut failures, tracked) = assembly.into_unchanged()?;
    let point = parent.manifest.id;
    let kept = ChainState::leave(run, point, tracked, Some(&parent.state), &mut failures);
    let outcome = if failures.is_empty() { Outcome::Ok } else { Outcome::Partial };
    record(run, line(run, point, outcome, &failures))?;
    Ok((IncrementalReport::Unchanged { point, failures }, kept))
}

fn record_error(run: &Run<'_>, error: &Error) {
    let line = Line::new(run.now(), Command::Backup, Outcome::of(error));
    // The caller's own error matters more.
    let _ = record(run, Line { error: Some(error.one_line()), ..line });
}

/// Adds a line to the ledger if it is news. A line for each minute would make the ledger too long to be read, and the
/// manifests say when increments were made.
fn record(run: &Run<'_>, line: Line) -> Result<()> {
    let ledger = run.ledger().unwrap_or_default();
    let is_news = match ledger.last(Command::Backup) {
        Some(last) => (last.outcome, &last.error) != (line.outcome, &line.error),
        None => true,
    };
    if is_news { run.record(line) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::artifact::read::Level;
    use crate::error::ErrorKind;
    use crate::operation::check::Verdict;
    use crate::operation::verify::verify;
    use crate::record::earlier_checks::EarlierChecks;
    use crate::record::ledger::Ledger;
    use crate::record::manifest::{BackupType, Content, Manifest};
    use crate::store::{LocalStore, MemoryStore, Store as _};
    use crate::testing::faults::{Fault, WatchedStore};
    use crate::testing::fixtures::{Site, id, published, staged};

    const FULL: &str = "20251209_140000";
    const FIRST: &str = "20251209_140100";
    const SECOND: &str = "20251209_140200";

    /// A site whose rows fill pages, and its full backup.
    fn begun(store: &dyn LocalStore) -> Site {
        let site = Site::new();
        site.execute(
            "WITH RECURSIVE n(x) AS (SELECT 10 UNION ALL SELECT x + 1 FROM n WHERE x < 5000)
             INSERT INTO sessions SELECT x, x FROM n",
        );
        let IncrementalReport::Full(report, FullReason::NoState) = incremental(&site, store, FULL).unwrap() else {
            panic!("there is nothing to continue")
        };
        assert_eq!((report.manifest.id, report.manifest.backup_type), (id(FULL), BackupType::Full));
        site
    }

    fn incremental(site: &Site, store: &dyn LocalStore, now: &str) -> Result<IncrementalReport> {
        backup_incremental(&site.begin(store, now), &site.request())
    }

    #[track_caller]
    fn increment(site: &Site, store: &dyn LocalStore, now: &str) -> Manifest {
        match incremental(site, store, now).unwrap() {
            IncrementalReport::Increment(report) => report.manifest,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn full_because(site: &Site, store: &dyn LocalStore, now: &str) -> FullReason {
        match incremental(site, store, now).unwrap() {
            IncrementalReport::Full(report, reason) => {
                assert_eq!((report.manifest.parent, staged(store)), (None, Vec::new()));
                reason
            }
            other => panic!("{other:?}"),
        }
    }

    fn commit(site: &Site) {
        site.execute("UPDATE sessions SET kwh = kwh + 1 WHERE id = 3");
    }

    #[test]
    fn an_increment_holds_the_pages_that_changed() {
        let store = MemoryStore::new();
        let site = begun(&store);
        commit(&site);
        let manifest = increment(&site, &store, FIRST);
        assert_eq!((manifest.parent, manifest.unchanged.as_slice()), (Some(id(FULL)), &["config".to_string()][..]));
        let [artifact] = &manifest.artifacts[..] else { panic!("{manifest:?}") };
        let Content::Increment(increment) = &artifact.content else { panic!("{artifact:?}") };
        assert_eq!(artifact.file, format!("sessions_db_{FIRST}.db.rdiff.zst"));
        assert!((1..=2).contains(&increment.changed_pages), "{increment:?}");
        assert!(artifact.plain_bytes < 3 * 4096, "{artifact:?}");
        assert_eq!(Manifest::parse(manifest.id, &manifest.to_json()).unwrap(), manifest);
    }

    #[test]
    fn nothing_is_written_if_nothing_changed_and_that_is_remembered() {
        let store = MemoryStore::new();
        let site = begun(&store);
        let before = (published(&store), Ledger::load(&store).unwrap().lines().len());
        for now in [FIRST, SECOND] {
            let report = incremental(&site, &store, now).unwrap();
            let IncrementalReport::Unchanged { point, failures } = report else { panic!("{report:?}") };
            assert_eq!((point, failures.len()), (id(FULL), 0));
        }
        assert_eq!((published(&store), Ledger::load(&store).unwrap().lines().len()), before);
        assert_eq!(ChainState::load(&store).unwrap().looked_at.to_utc(), id(SECOND).time());
    }

    #[test]
    fn a_file_that_changed_comes_with_the_increment() {
        let store = MemoryStore::new();
        let site = begun(&store);
        fs::write(site.root().join(".env"), "PORT=9090\n").unwrap();
        let manifest = increment(&site, &store, FIRST);
        assert_eq!(manifest.unchanged, ["sessions_db"]);
        assert_eq!(manifest.artifacts[0].file, format!("config_{FIRST}.tar.zst"));
        fs::remove_file(site.root().join(".env")).unwrap();
        let error = incremental(&site, &store, SECOND).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MissingSource);
        commit(&site);
        let manifest = increment(&site, &store, "20251209_140300");
        assert_eq!((manifest.status, manifest.absent.as_slice()), (Status::Partial, &["config".to_string()][..]));
    }

    #[test]
    fn what_the_parent_lacks_its_increments_lack() {
        let store = MemoryStore::new();
        let mut site = begun(&store);
        site.sources.files[0].paths.push(crate::RelPath::new("station.json").unwrap());
        fs::write(site.root().join("station.json"), "{}").unwrap();
        increment(&site, &store, FIRST);
        fs::remove_file(site.root().join("station.json")).unwrap();
        assert_eq!(increment(&site, &store, SECOND).status, Status::Partial);
        let report = incremental(&site, &store, "20251209_140300").unwrap();
        let IncrementalReport::Unchanged { failures, .. } = report else { panic!("{report:?}") };
        assert_eq!(failures.len(), 1);
        commit(&site);
        let manifest = increment(&site, &store, "20251209_140400");
        assert_eq!((manifest.status, manifest.unchanged.as_slice()), (Status::Partial, &["config".to_string()][..]));
    }

    #[test]
    fn a_source_that_is_new_comes_whole() {
        let store = MemoryStore::new();
        let mut site = begun(&store);
        let mut other = site.sources.databases[0].clone();
        (other.name, other.path) = ("other_db".into(), crate::RelPath::new("other.db").unwrap());
        rusqlite::Connection::open(site.root().join("other.db")).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        site.sources.databases.push(other);
        let manifest = increment(&site, &store, FIRST);
        let [artifact] = &manifest.artifacts[..] else { panic!("{manifest:?}") };
        assert_eq!(artifact.file, format!("other_db_{FIRST}.db.zst"));
    }

    #[test]
    fn a_database_that_is_small_beside_the_rest_may_change_wholly() {
        let store = MemoryStore::new();
        let mut site = begun(&store);
        let mut other = site.sources.databases[0].clone();
        (other.name, other.path) = ("other_db".into(), crate::RelPath::new("other.db").unwrap());
        site.sources.databases.push(other);
        let other = rusqlite::Connection::open(site.root().join("other.db")).unwrap();
        other.execute_batch("CREATE TABLE t(x)").unwrap();
        increment(&site, &store, FIRST);
        other.execute_batch("CREATE TABLE u(x); CREATE TABLE v(x); DROP TABLE t").unwrap();
        let manifest = increment(&site, &store, SECOND);
        assert!(matches!(manifest.artifacts[0].content, Content::Increment(_)), "{manifest:?}");
        other.execute_batch("INSERT INTO u VALUES (randomblob(4000000))").unwrap();
        let reason = full_because(&site, &store, "20251209_140300");
        assert!(matches!(reason, FullReason::MuchChanged { .. }), "{reason:?}");
        site.execute("INSERT INTO sessions(kwh) VALUES (zeroblob(20000000))");
        full_because(&site, &store, "20251209_140400");
        other.execute_batch("UPDATE u SET x = randomblob(4000000)").unwrap();
        assert_eq!(increment(&site, &store, "20251209_140500").parent, Some(id("20251209_140400")));
    }

    #[test]
    fn in_doubt_a_full_backup_is_made() {
        type Doubt = (&'static str, fn(&Site, &MemoryStore), fn(&FullReason) -> bool);
        let doubts: [Doubt; 7] = [
            ("the state is torn", |_, store| tear(store, "chain.json"), |it| *it == FullReason::NoState),
            (
                "the digests are torn",
                |_, store| tear(store, "sessions_db.pages"),
                |it| matches!(it, FullReason::InDoubt(_)),
            ),
            (
                "the state is old",
                |site, store| {
                    let old = store.read_state("chain.json", u64::MAX).unwrap().unwrap();
                    commit(site);
                    increment(site, store, FIRST);
                    store.write_state("chain.json", &old).unwrap();
                },
                |it| *it == FullReason::Newer(id(FIRST)),
            ),
            (
                "the point is gone",
                |_, store| store.remove(&format!("manifest_{FULL}.json")).unwrap(),
                |it| *it == FullReason::PointGone(id(FULL)),
            ),
            (
                "a part is missing",
                |_, store| store.remove(&format!("sessions_db_{FULL}.db.zst")).unwrap(),
                |it| *it == FullReason::Unsound(id(FULL)),
            ),
            (
                "another backup is newer",
                |site, store| assert_eq!(site.backup(store, FIRST), id(FIRST)),
                |it| *it == FullReason::Newer(id(FIRST)),
            ),
            (
                "the pages have another size",
                |site, _| site.execute("PRAGMA journal_mode = delete; PRAGMA page_size = 1024; VACUUM"),
                |it| matches!(it, FullReason::PageSize(_)),
            ),
        ];
        for (what, doubt, is_expected) in doubts {
            let store = MemoryStore::new();
            let site = begun(&store);
            doubt(&site, &store);
            let reason = full_because(&site, &store, SECOND);
            assert!(is_expected(&reason), "{what}: {reason:?}");
            commit(&site);
            assert_eq!(increment(&site, &store, "20251209_140300").parent, Some(id(SECOND)), "{what}");
        }
    }

    #[test]
    fn a_database_that_moved_or_has_another_mode_is_restored_as_it_is_now() {
        let store = MemoryStore::new();
        let mut site = begun(&store);
        site.execute("PRAGMA journal_mode = delete");
        increment(&site, &store, FIRST);
        let moved = crate::RelPath::new("moved.db").unwrap();
        fs::rename(site.root().join("sessions.db"), site.root().join("moved.db")).unwrap();
        site.sources.databases[0].path = moved.clone();
        let manifest = increment(&site, &store, SECOND);
        let Content::Increment(increment) = &manifest.artifacts[0].content else { panic!("{manifest:?}") };
        assert_eq!(
            (&increment.source, increment.changed_pages, increment.journal_mode.as_str()),
            (&moved, 0, "delete")
        );
        let session = site.session(&store, "20251209_150000");
        let catalog = session.catalog().unwrap();
        let report =
            verify(&session, catalog.get(id(SECOND)).unwrap(), Level::Content, &EarlierChecks::none()).unwrap();
        assert_eq!(report.verdict, Verdict::Ok, "{report:?}");
    }

    #[test]
    fn what_could_not_be_saved_comes_whole_the_next_time() {
        let store = MemoryStore::new();
        let site = begun(&store);
        site.execute("PRAGMA journal_mode = delete");
        let (database, away) = (site.root().join("sessions.db"), site.root().join("away.db"));
        fs::rename(&database, &away).unwrap();
        fs::write(site.root().join(".env"), "PORT=9090\n").unwrap();
        let manifest = increment(&site, &store, FIRST);
        assert_eq!((manifest.status, manifest.errors.len()), (Status::Partial, 1));
        fs::rename(&away, &database).unwrap();
        let manifest = increment(&site, &store, SECOND);
        assert_eq!((manifest.parent, manifest.status), (Some(id(FIRST)), Status::Complete));
        assert!(matches!(manifest.artifacts[0].content, Content::Database(_)), "{manifest:?}");
        commit(&site);
        let manifest = increment(&site, &store, "20251209_140300");
        assert!(matches!(manifest.artifacts[0].content, Content::Increment(_)), "{manifest:?}");
        let session = site.session(&store, "20251209_150000");
        let catalog = session.catalog().unwrap();
        for at in [SECOND, "20251209_140300"] {
            let report =
                verify(&session, catalog.get(id(at)).unwrap(), Level::Content, &EarlierChecks::none()).unwrap();
            assert_eq!(report.verdict, Verdict::Ok, "{report:?}");
        }
    }

    #[test]
    fn what_the_settings_left_out_for_a_while_comes_whole_again() {
        let store = MemoryStore::new();
        let mut site = begun(&store);
        let all = site.sources.clone();
        site.sources.databases.clear();
        fs::write(site.root().join(".env"), "PORT=9090\n").unwrap();
        increment(&site, &store, FIRST);
        site.sources = crate::Sources { files: Vec::new(), ..all.clone() };
        let manifest = increment(&site, &store, SECOND);
        assert!(matches!(manifest.artifacts[0].content, Content::Database(_)), "{manifest:?}");
        site.sources = all;
        let manifest = increment(&site, &store, "20251209_140300");
        assert_eq!(manifest.artifacts[0].name, "config");
        let session = site.session(&store, "20251209_150000");
        let catalog = session.catalog().unwrap();
        let ledger = session.ledger().unwrap();
        for at in [FIRST, SECOND, "20251209_140300"] {
            assert_eq!(catalog.objections(&ledger).against(catalog.get(id(at)).unwrap(), &[]), None, "{at}");
        }
    }

    #[test]
    fn a_state_that_can_not_be_left_is_told() {
        let (site, memory) = (Site::new(), MemoryStore::new());
        let watched = WatchedStore::new(&memory);
        incremental(&site, &watched, FULL).unwrap();
        let at = watched.position("write state chain.json");
        let memory = MemoryStore::new();
        let failing = WatchedStore::failing(&memory, at, Fault::Before);
        let IncrementalReport::Full(report, _) = incremental(&site, &failing, FULL).unwrap() else { panic!() };
        let told: Vec<&str> = report.failures.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((told, report.manifest.status), (vec!["state"], Status::Complete));
    }

    fn tear(store: &MemoryStore, name: &str) {
        let mut content = store.read_state(name, u64::MAX).unwrap().unwrap();
        content.truncate(content.len() - 16);
        store.write_state(name, &content).unwrap();
    }

    #[test]
    fn a_full_backup_that_saves_nothing_leaves_nothing_however_often_it_is_attempted() {
        let (site, store) = (Site::new(), MemoryStore::new());
        fs::write(site.root().join("sessions.db"), "this is no database, whatever its name says").unwrap();
        fs::remove_file(site.root().join(".env")).unwrap();
        for now in [FULL, FIRST, SECOND] {
            assert_eq!(incremental(&site, &store, now).unwrap_err().kind(), ErrorKind::NotADatabase);
        }
        assert_eq!((published(&store), staged(&store)), (Vec::new(), Vec::new()));
        let ledger = Ledger::load(&store).unwrap();
        assert_eq!(ledger.lines().iter().map(|line| line.outcome).collect::<Vec<_>>(), [Outcome::Failed]);
    }

    #[test]
    fn a_nightly_backup_that_saves_nothing_ends_no_chain() {
        let store = MemoryStore::new();
        let site = begun(&store);
        let none = crate::Sources::default();
        let run = site.begin(&store, FIRST);
        let failed = super::super::backup(&run, &BackupRequest { sources: &none, ..site.request() }).unwrap();
        assert_eq!(failed.manifest.status, Status::Failed);
        drop(run);
        commit(&site);
        assert_eq!(increment(&site, &store, SECOND).parent, Some(id(FULL)));
    }

    #[test]
    fn a_failure_is_recorded_once_and_so_is_its_end() {
        let store = MemoryStore::new();
        let site = begun(&store);
        let database = site.root().join("sessions.db");
        let away = site.root().join("away.db");
        site.execute("PRAGMA journal_mode = delete");
        fs::rename(&database, &away).unwrap();
        for now in [FIRST, SECOND] {
            assert_eq!(incremental(&site, &store, now).unwrap_err().kind(), ErrorKind::MissingSource);
        }
        fs::rename(&away, &database).unwrap();
        commit(&site);
        increment(&site, &store, "20251209_140300");
        commit(&site);
        increment(&site, &store, "20251209_140400");
        let ledger = Ledger::load(&store).unwrap();
        let outcomes: Vec<Outcome> = ledger.lines().iter().map(|line| line.outcome).collect();
        assert_eq!(outcomes, [Outcome::Ok, Outcome::Failed, Outcome::Ok]);
    }
}
