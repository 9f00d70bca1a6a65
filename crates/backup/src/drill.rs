//! A drill: a restore that is rehearsed into a scratch folder, with the very code of restore, then checked and probed.

use std::path::Path;

use rusqlite::types::Value;
use serde::Serialize;

use crate::catalog::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::history::{Command, Line, Outcome};
use crate::id::BackupId;
use crate::relpath::RelPath;
use crate::restore::{self, Selection};
use crate::run::Run;
use crate::source::{Sources, sqlite};
use crate::verify::plain_bytes;

/// What a drill found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drill {
    /// The backup.
    pub id: BackupId,
    /// Whether every probe passed.
    pub passed: bool,
    /// What was restored, relative to the scratch folder.
    pub restored: Vec<RelPath>,
    /// What a person should know, such as configured databases that this backup doesn't hold.
    pub warnings: Vec<String>,
    /// All probes, in order.
    pub probes: Vec<Probe>,
    /// How long the restore alone took, in milliseconds: what a real one would take.
    pub restore_ms: u64,
    /// How long all of it took, in milliseconds.
    pub duration_ms: u64,
    /// Whether the ledger has a line of it: not if the store can't be written.
    pub recorded: bool,
    /// Why it has none, if it should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<String>,
}

/// A question put to a restored copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// The SQL, or the command.
    pub text: String,
    /// What came of it, if it did not pass.
    pub failure: Option<String>,
}

/// Restores `entry` into a scratch folder and probes it: opens each database, runs its configured SQL, then calls
/// `probe` with the folder, for what only the caller can do. The ledger gets a line if that says anything about the
/// backup: a disk without room doesn't.
///
/// # Errors
/// What keeps the restore from being made, [`ErrorKind::Damaged`] among it. A probe that doesn't pass is no error.
pub fn drill(run: &Run<'_>, entry: &Entry, sources: &Sources, probe: &dyn Fn(&Path) -> Option<Probe>) -> Result<Drill> {
    let begun = run.elapsed_ms();
    let result = rehearse(run, entry, sources, probe);
    let (outcome, error) = match &result {
        Ok(drill) => match drill.probes.iter().find_map(|probe| probe.failure.as_ref()) {
            None => (Outcome::Ok, None),
            Some(failure) => (Outcome::Failed, Some(failure.clone())),
        },
        Err(error) if error.kind() == ErrorKind::Damaged => (Outcome::Failed, Some(error.one_line())),
        Err(_) => return result,
    };
    let line = Line::new(run.now(), Command::Drill, outcome);
    let unrecorded = run.record(Line { id: Some(entry.id), error, ..line }).err().map(|error| error.one_line());
    let recorded = run.is_recorded() && unrecorded.is_none();
    let duration_ms = run.elapsed_ms() - begun;
    result.map(|drill| Drill { duration_ms, recorded, unrecorded, ..drill })
}

fn rehearse(run: &Run<'_>, entry: &Entry, sources: &Sources, probe: &dyn Fn(&Path) -> Option<Probe>) -> Result<Drill> {
    entry.require_usable()?;
    let scratch = run.scratch(entry.files.iter().map(plain_bytes).fold(0, u64::saturating_add))?;
    let begun = run.elapsed_ms();
    let plan = restore::plan(run, entry, scratch.path(), Selection::ALL, sources)?;
    restore::rehearse(run, &plan)?;
    let restore_ms = run.elapsed_ms() - begun;
    restore::prove(run, &plan)?;

    let restored: Vec<RelPath> = plan.items.iter().map(|item| item.path.clone()).collect();
    let mut probes = Vec::new();
    for database in sources.databases.iter().filter(|database| restored.contains(&database.path)) {
        run.check_stop()?;
        probes.extend(probe_database(run, &database.path.under(scratch.path()), &database.probes)?);
    }
    probes.extend(probe(scratch.path()));
    run.check_stop()?;
    let passed = probes.iter().all(|probe| probe.failure.is_none());
    let warnings = plan.warnings;
    Ok(Drill {
        id: entry.id,
        passed,
        restored,
        warnings,
        probes,
        restore_ms,
        duration_ms: 0,
        recorded: false,
        unrecorded: None,
    })
}

fn probe_database(run: &Run<'_>, path: &Path, sql: &[String]) -> Result<Vec<Probe>> {
    // As the application would open it: for writing.
    let connection = sqlite::open_read_write(path, run.busy_timeout())?;
    let ask = |text: &String| {
        let answer = connection.query_row(text, [], |row| row.get::<_, Value>(0));
        let failure = match answer {
            Ok(Value::Integer(value)) if value != 0 => None,
            Ok(value) => Some(format!("{text}: the answer is {}, not true", literal(&value))),
            Err(rusqlite::Error::QueryReturnedNoRows) => Some(format!("{text}: no answer")),
            Err(error) => Some(format!("{text}: {error}")),
        };
        Probe { text: text.clone(), failure }
    };
    let probes = sql.iter().map(ask).collect();
    connection.close().map_err(|(_, e)| Error::sqlite("close", path, &e))?;
    Ok(probes)
}

/// A value as SQL writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => format!("'{text}'"),
        Value::Blob(bytes) => format!("a blob of {} bytes", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::run::tests::{Site, id, publish, staged};
    use crate::store::{MemoryStore, Store};

    const NOW: &str = "20251210_140000";

    /// A drill of a fresh backup with these probes.
    fn drilled(
        site: &Site,
        store: &dyn Store,
        probes: &[&str],
        probe: &dyn Fn(&Path) -> Option<Probe>,
    ) -> Result<Drill> {
        site.backup(store, NOW);
        let mut sources = site.sources.clone();
        sources.databases[0].probes = probes.iter().map(ToString::to_string).collect();
        let run = site.begin(store, NOW);
        drill(&run, run.catalog()?.get(id(NOW))?, &sources, probe)
    }

    fn outcome(store: &dyn Store) -> (Command, Outcome, Option<String>) {
        let line = History::load(store).unwrap().lines().last().unwrap().clone();
        (line.command, line.outcome, line.error)
    }

    #[test]
    fn a_drill_opens_what_it_restored_and_asks_every_probe() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let probes = ["SELECT count(*) = 3 FROM sessions", "SELECT 7"];
        let drill = drilled(&site, &store, &probes, &|_| None).unwrap();
        assert!(drill.passed && drill.recorded);
        assert_eq!(drill.restored.iter().map(RelPath::as_str).collect::<Vec<_>>(), ["sessions.db", ".env"]);
        assert_eq!(drill.probes, probes.map(|text| Probe { text: text.into(), failure: None }));
        assert!(drill.duration_ms >= drill.restore_ms);
        assert_eq!(outcome(&store), (Command::Drill, Outcome::Ok, None));
    }

    #[test]
    fn a_probe_passes_on_one_true_answer_alone() {
        for sql in [
            "SELECT count(*) = 4 FROM sessions",
            "SELECT NULL",
            "SELECT 1 WHERE 0",
            "SELECT 'yes'",
            "SELECT * FROM nowhere",
            "not SQL",
            "",
        ] {
            let (site, store) = (Site::new(), MemoryStore::new());
            let drill = drilled(&site, &store, &["SELECT 1", sql], &|_| None).unwrap();
            assert!(!drill.passed, "{sql}");
            assert_eq!(drill.probes[0].failure, None, "the others are asked all the same");
            let failure = drill.probes[1].failure.clone().unwrap();
            assert!(failure.starts_with(&format!("{sql}: ")), "{failure}");
            assert_eq!(outcome(&store), (Command::Drill, Outcome::Failed, Some(failure)));
        }
    }

    #[test]
    fn the_callers_probe_gets_the_restored_folder_which_goes_afterwards() {
        let site = Site::new();
        let store = site.local();
        let seen = std::cell::RefCell::new(None);
        let probe = |folder: &Path| {
            assert!(folder.join("sessions.db").exists() && folder.join(".env").exists());
            *seen.borrow_mut() = Some(folder.to_path_buf());
            Some(Probe { text: "boot".into(), failure: Some("boot: it burnt".into()) })
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
        let drill = drilled(&site, &store, &["DELETE FROM sessions RETURNING 1"], &|_| None).unwrap();
        assert!(drill.passed, "{drill:?}");
        assert_eq!(site.sessions(), 3);
    }

    #[test]
    fn damage_is_an_error_and_in_the_ledger() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        publish(&store, "sessions_db_20251210_140000.db.zst", b"something else");
        let run = site.begin(&store, NOW);
        let catalog = run.catalog().unwrap();
        let error = drill(&run, catalog.get(id(NOW)).unwrap(), &site.sources, &|_| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert_eq!(outcome(&store), (Command::Drill, Outcome::Failed, Some(error.one_line())));
    }
}
