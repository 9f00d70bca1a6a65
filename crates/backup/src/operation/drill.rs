//! A drill: the code of a real restore rehearses one into a scratch folder; then the result is checked and probed.

use std::path::Path;

use serde::Serialize;

use super::look::Look;
use super::probe::{Probe, RestoredDatabase};
use super::restore::{self, Plan};
use super::session::{Recording, Session};
use crate::artifact::StoredFile;
use crate::catalog::Entry;
use crate::error::{ErrorKind, Result};
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Line, Outcome};
use crate::record::names;
use crate::record::relpath::RelPath;
use crate::record::selection::Selection;
use crate::source::Sources;

/// The result of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrillReport {
    /// The backup.
    pub id: BackupId,
    /// Whether the backup holds all that is configured, and every probe passed.
    pub passed: bool,
    /// Configured databases and sets of files that the backup doesn't hold.
    pub lacks: Vec<String>,
    /// The restored files, relative to the scratch folder.
    pub restored: Vec<RelPath>,
    /// Warnings in one line each, such as of a configured database that the backup doesn't hold.
    pub warnings: Vec<String>,
    /// All probes, in order.
    pub probes: Vec<Probe>,
    /// How long the restore alone took, in milliseconds: about as long as a real one.
    pub restore_ms: u64,
    /// How long the whole drill took, in milliseconds.
    pub duration_ms: u64,
    /// Whether the ledger got a line. It gets none if the store can't be written.
    pub recorded: bool,
    /// Why it got none, if that was an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<String>,
}

/// A probe that only the caller can run, such as a command. It gets the scratch folder, and returns `None` if there is
/// nothing to run.
pub type CallersProbe<'a> = &'a dyn Fn(&Path) -> Result<Option<Probe>>;

/// Restores `entry` into a scratch folder and probes it: opens each database, runs its configured SQL, then calls
/// `probe` with the folder. The ledger gets a line about the backup, unless the result says nothing about it, as when
/// the disk is full or SQLite can't prepare a probe.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if SQLite can't prepare a probe; then none is run. Errors that prevent the restore, such
/// as [`ErrorKind::Damaged`] or [`ErrorKind::NoSpace`]. An error of `probe` itself. A failed probe is no error but a
/// part of the report.
pub fn drill(session: &Session<'_>, entry: &Entry, sources: &Sources, probe: CallersProbe<'_>) -> Result<DrillReport> {
    let begun = session.elapsed_ms();
    let begin = session.record_begun(Command::Drill);
    let result = rehearse(session, entry, sources, probe).map_err(|error| session.with_sound_before(entry, error));
    let (outcome, error) = match &result {
        Ok(report) => outcome_of(report),
        Err(error) if error.kind() == ErrorKind::Damaged => (Outcome::Failed, Some(error.one_line())),
        Err(error) => {
            session.record_error(Command::Drill, error);
            return result;
        }
    };
    let damaged = result.as_ref().err().map(|error| error.damaged_file().and_then(names::id_of).unwrap_or(entry.id));
    let is_good = matches!(outcome, Outcome::Ok | Outcome::Partial);
    let lacks = result.as_ref().map(|report| report.lacks.as_slice()).unwrap_or_default();
    let is_proved = |name: &&str| is_good && !lacks.iter().any(|lacking| lacking == name);
    let proved = sources.names().filter(is_proved).map(Into::into).collect();
    let line = Line { id: Some(entry.id), error, damaged, proved, ..Line::new(session.now(), Command::Drill, outcome) };
    let Recording { recorded, unrecorded } = session.record(begin, begun, line);
    let duration_ms = session.elapsed_ms() - begun;
    result.map(|report| DrillReport { duration_ms, recorded, unrecorded, ..report })
}

/// The outcome of a drill that ran to its end, and what is wrong.
fn outcome_of(report: &DrillReport) -> (Outcome, Option<String>) {
    match report.probes.iter().find_map(|probe| probe.failure.as_ref()) {
        Some(failure) => (Outcome::Failed, Some(failure.clone())),
        None if report.lacks.is_empty() => (Outcome::Ok, None),
        None => (Outcome::Partial, Some(format!("it holds no {}", report.lacks.join(", ")))),
    }
}

fn rehearse(look: &Look<'_>, entry: &Entry, sources: &Sources, probe: CallersProbe<'_>) -> Result<DrillReport> {
    entry.require_usable()?;
    let files = look.stored_files(entry, Selection::ALL)?;
    let scratch = look.scratch(files.iter().map(StoredFile::most_bytes).fold(0, u64::saturating_add))?;
    let begun = look.elapsed_ms();
    let plan = restore::plan_for_empty_folder(look, entry, scratch.path(), Selection::ALL, sources)?;
    restore::rehearse(look, &plan)?;
    let restore_ms = look.elapsed_ms() - begun;
    restore::check_databases(look, &plan)?;
    let mut probes = probe_databases(look, &plan, sources)?;
    probes.extend(probe(scratch.path())?);
    look.check_stop()?;
    Ok(DrillReport { restore_ms, ..report(entry, sources, plan, probes) })
}

/// Runs the probes of all databases, after SQLite has prepared each of them once.
fn probe_databases(look: &Look<'_>, plan: &Plan, sources: &Sources) -> Result<Vec<Probe>> {
    let is_restored = |path: &RelPath| plan.items.iter().any(|item| item.path == *path);
    let databases = || sources.databases.iter().filter(|database| is_restored(&database.path));
    let open = |database| RestoredDatabase::open(database, &plan.target, look.busy_timeout(), look.progress());
    for database in databases() {
        open(database)?.require_prepared()?;
    }
    let mut probes = Vec::new();
    for database in databases() {
        probes.extend(open(database)?.probe()?);
    }
    Ok(probes)
}

/// What the plan and the probes say about the backup.
fn report(entry: &Entry, sources: &Sources, plan: Plan, probes: Vec<Probe>) -> DrillReport {
    let missing = plan.missing(entry, sources).into_iter();
    let missing = missing.map(|name| format!("backup {} holds no {name}", entry.id));
    let warnings = plan.warnings.iter().cloned().chain(missing).collect();
    let lacks = lacking(entry, sources, &plan);
    DrillReport {
        id: entry.id,
        passed: lacks.is_empty() && probes.iter().all(|probe| probe.failure.is_none()),
        lacks,
        restored: plan.items.into_iter().map(|item| item.path).collect(),
        warnings,
        probes,
        restore_ms: 0,
        duration_ms: 0,
        recorded: false,
        unrecorded: None,
    }
}

/// Configured databases and sets of files that the drill proves nothing about: the backup doesn't hold them, or holds
/// them at paths that the settings don't name.
fn lacking(entry: &Entry, sources: &Sources, plan: &Plan) -> Vec<String> {
    let is_restored = |path: &RelPath| plan.items.iter().any(|item| item.path == *path);
    let is_left_out =
        |name: &str| !plan.skipped.is_empty() && entry.holds(name) && !sources.paths_of(name).any(is_restored);
    sources.names().filter(|name| !entry.answers_for(name) || is_left_out(name)).map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Advice, Error};
    use crate::record::ledger::Ledger;
    use crate::store::{LocalStore, MemoryStore};
    use crate::testing::fixtures::{Site, id, publish, staged};

    const NOW: &str = "20251210_140000";

    /// A drill of a fresh backup with these probes.
    fn drilled(site: &Site, store: &dyn LocalStore, probes: &[&str], probe: CallersProbe<'_>) -> Result<DrillReport> {
        site.backup(store, NOW);
        let mut sources = site.sources.clone();
        sources.databases[0].probes = probes.iter().map(ToString::to_string).collect();
        let session = Session::from(site.begin(store, NOW));
        drill(&session, session.catalog()?.get(id(NOW))?, &sources, probe)
    }

    fn outcome(store: &dyn LocalStore) -> (Command, Outcome, Option<String>) {
        let line = Ledger::load(store).unwrap().lines().last().unwrap().clone();
        (line.command, line.outcome, line.error)
    }

    #[test]
    fn a_backup_of_a_database_that_the_settings_have_elsewhere_lacks_it() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        let mut sources = site.sources.clone();
        sources.databases[0].path = RelPath::new("moved.db").unwrap();
        let session = Session::from(site.begin(&store, NOW));
        let drill = drill(&session, session.catalog().unwrap().get(id(NOW)).unwrap(), &sources, &|_| Ok(None)).unwrap();
        assert_eq!((drill.passed, drill.lacks.as_slice()), (false, &["sessions_db".to_string()][..]));
        assert_eq!(drill.restored.iter().map(RelPath::as_str).collect::<Vec<_>>(), [".env"]);
    }

    #[test]
    fn a_drill_opens_what_it_restored_and_asks_every_probe() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let probes = ["SELECT count(*) = 3 FROM sessions", "SELECT 7"];
        let drill = drilled(&site, &store, &probes, &|_| Ok(None)).unwrap();
        assert!(drill.passed && drill.recorded);
        assert_eq!(drill.restored.iter().map(RelPath::as_str).collect::<Vec<_>>(), ["sessions.db", ".env"]);
        assert_eq!(drill.probes, probes.map(|text| Probe { text: text.into(), failure: None }));
        assert!(drill.duration_ms >= drill.restore_ms);
        assert_eq!(outcome(&store), (Command::Drill, Outcome::Ok, None));
    }

    #[test]
    fn a_probe_passes_on_one_true_answer_alone() {
        for (sql, failure) in [
            ("SELECT count(*) = 4 FROM sessions", "returned false (0)"),
            ("SELECT NULL", "returned NULL"),
            ("SELECT 1 WHERE 0", "returned no row"),
            ("SELECT 'yes'", "returned text"),
            ("SELECT 1.5", "returned a real number"),
            ("SELECT x'01'", "returned a blob"),
            ("SELECT json('{')", "SQLite error 1: SQL logic error"),
        ] {
            let (site, store) = (Site::new(), MemoryStore::new());
            let drill = drilled(&site, &store, &["SELECT 1", sql], &|_| Ok(None)).unwrap();
            assert!(!drill.passed, "{sql}");
            assert_eq!(drill.probes[0].failure, None, "the others are asked all the same");
            let failure = format!("{sql}: {failure}");
            assert_eq!(drill.probes[1].failure.as_ref(), Some(&failure));
            assert_eq!(outcome(&store), (Command::Drill, Outcome::Failed, Some(failure)));
        }
    }

    #[test]
    fn a_probe_that_can_not_be_prepared_says_nothing_about_the_backup() {
        for (sql, why) in [
            ("SELECT * FROM nowhere", "no such table: nowhere"),
            ("not SQL", "near \"not\": syntax error"),
            ("SELECT no_such_function(1)", "no such function: no_such_function"),
            ("", "it has no SQL"),
            ("-- later", "it has no SQL"),
            ("SELECT 1; SELECT 0", "Multiple statements provided"),
            ("SELECT ?1", "it has a parameter, but a probe has no value for it"),
            ("DELETE FROM sessions", "it is not a query: it returns no rows"),
        ] {
            let (site, store) = (Site::new(), MemoryStore::new());
            let ran = std::cell::Cell::new(false);
            let command = |_: &Path| {
                ran.set(true);
                Ok(None)
            };
            // The first probe would fail, but isn't run.
            let error = drilled(&site, &store, &["SELECT 0", sql], &command).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), format!("probe 2 of sessions_db can't be prepared: {sql:?}: {why}"));
            let advice = error.advice().map(Advice::text);
            assert!(advice.is_some_and(|hint| hint.contains("settings") && hint.contains("backup")), "{error:?}");
            assert_about_no_backup(&store);
            assert!(!Ledger::load(&store).unwrap().is_known_bad(id(NOW)) && !ran.get());
            assert_eq!(staged(&store), Vec::<String>::new());
        }
    }

    /// Asserts that the ledger says that a drill failed, but nothing about the backup.
    #[track_caller]
    fn assert_about_no_backup(store: &MemoryStore) {
        let line = Ledger::load(store).unwrap().lines().last().unwrap().clone();
        assert_eq!((line.command, line.outcome, line.id), (Command::Drill, Outcome::Failed, None));
    }

    #[test]
    fn no_value_is_in_what_a_drill_says() {
        const SECRET: &str = "hunter2-in-a-row";
        let (site, store) = (Site::new(), MemoryStore::new());
        site.execute(&format!(
            "CREATE TABLE secrets(text); INSERT INTO secrets VALUES ('{SECRET}');
             CREATE TRIGGER told AFTER DELETE ON secrets BEGIN SELECT RAISE(ABORT, 'it was ' || old.text); END;"
        ));
        let probes = [
            "SELECT text FROM secrets",
            "SELECT json(text) FROM secrets",
            "SELECT json_extract('{}', text) FROM secrets",
            "SELECT unhex(text) FROM secrets",
            "DELETE FROM secrets RETURNING 1",
        ];
        let drill = drilled(&site, &store, &probes, &|_| Ok(None)).unwrap();
        assert!(drill.probes.iter().all(|probe| probe.failure.is_some()), "{drill:?}");
        assert!(!format!("{drill:?}").contains(SECRET), "{drill:?}");
        assert!(!outcome(&store).2.unwrap().contains(SECRET));
    }

    #[test]
    fn what_keeps_the_callers_probe_from_being_made_says_nothing_about_the_backup() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let probe = |_: &Path| Err(Error::new(ErrorKind::InvalidInput, "no such program"));
        assert_eq!(drilled(&site, &store, &["SELECT 1"], &probe).unwrap_err().to_string(), "no such program");
        assert_about_no_backup(&store);
    }

    #[test]
    fn the_callers_probe_gets_the_restored_folder_which_goes_afterwards() {
        let site = Site::new();
        let store = site.local();
        let seen = std::cell::RefCell::new(None);
        let probe = |folder: &Path| {
            assert!(folder.join("sessions.db").exists() && folder.join(".env").exists());
            *seen.borrow_mut() = Some(folder.to_path_buf());
            Ok(Some(Probe { text: "boot".into(), failure: Some("boot: it burnt".into()) }))
        };
        let drill = drilled(&site, &store, &[], &probe).unwrap();
        assert!(!drill.passed);
        assert_eq!(outcome(&store), (Command::Drill, Outcome::Failed, Some("boot: it burnt".into())));
        assert!(!seen.borrow().as_ref().unwrap().exists());
        assert_eq!(staged(&store), Vec::<String>::new());
    }

    #[test]
    fn a_probe_may_write_and_nothing_live_changes() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let drill = drilled(&site, &store, &["DELETE FROM sessions RETURNING 1"], &|_| Ok(None)).unwrap();
        assert!(drill.passed, "{drill:?}");
        assert_eq!(site.sessions(), 3);
    }

    #[test]
    fn damage_is_an_error_and_in_the_ledger() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        publish(&store, "sessions_db_20251210_140000.db.zst", b"something else");
        let session = Session::from(site.begin(&store, NOW));
        let catalog = session.catalog().unwrap();
        let error = drill(&session, catalog.get(id(NOW)).unwrap(), &site.sources, &|_| Ok(None)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert_eq!(outcome(&store), (Command::Drill, Outcome::Failed, Some(error.one_line())));
    }
}
