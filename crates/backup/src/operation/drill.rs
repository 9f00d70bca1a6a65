//! A drill: a restore that is rehearsed into a scratch folder, with the very code of restore, then checked and probed.
//!
//! A probe reads rows, and what it says is printed, logged and recorded. So no value leaves this module: a probe that
//! fails says which one it is and what kind of answer it gave. SQLite's own messages may quote values (a trigger's
//! `RAISE`, a JSON path), so of an error at run time only the code is told.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, ffi};
use serde::Serialize;

use super::look::Look;
use super::session::{Recording, Session};
use crate::catalog::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::operation::restore;
use crate::operation::verify::plain_bytes;
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Line, Outcome};
use crate::record::relpath::RelPath;
use crate::record::selection::Selection;
use crate::source::{DatabaseSource, Sources, sqlite};

/// What a drill found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrillReport {
    /// The backup.
    pub id: BackupId,
    /// Whether it holds all that is configured, and every probe passed.
    pub passed: bool,
    /// Configured databases and sets of files that it doesn't hold.
    pub lacks: Vec<String>,
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
    /// Why it did not pass; none if it did. Never has a value of a row or of a file in it.
    pub failure: Option<String>,
}

/// A probe that only the caller can make, in the folder that it gets; none if there is none to make.
pub type CallersProbe<'a> = &'a dyn Fn(&Path) -> Result<Option<Probe>>;

/// Restores `entry` into a scratch folder and probes it: opens each database, runs its configured SQL, then calls
/// `probe` with the folder, for what only the caller can do. The ledger gets a line if that says anything about the
/// backup: a disk without room doesn't, nor does a probe that SQLite can't prepare.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if a probe can't be prepared: then none is look. What keeps the restore from being made,
/// [`ErrorKind::Damaged`] among it. What `probe` says. A probe that doesn't pass is no error.
pub fn drill(session: &Session<'_>, entry: &Entry, sources: &Sources, probe: CallersProbe<'_>) -> Result<DrillReport> {
    let begun = session.elapsed_ms();
    let begin = session.record_begun(Command::Drill);
    let result = rehearse(session, entry, sources, probe);
    let (outcome, error) = match &result {
        Ok(drill) => outcome_of(drill),
        Err(error) if error.kind() == ErrorKind::Damaged => (Outcome::Failed, Some(error.one_line())),
        Err(error) => {
            session.record_error(Command::Drill, error);
            return result;
        }
    };
    let is_good = matches!(outcome, Outcome::Ok | Outcome::Partial);
    let lacks = result.as_ref().map(|drill| drill.lacks.as_slice()).unwrap_or_default();
    let is_proved = |name: &&str| is_good && !lacks.iter().any(|lacking| lacking == name);
    let proved = sources.names().filter(is_proved).map(Into::into).collect();
    let line = Line { id: Some(entry.id), error, proved, ..Line::new(session.now(), Command::Drill, outcome) };
    let Recording { recorded, unrecorded } = session.record(begin, begun, line);
    let duration_ms = session.elapsed_ms() - begun;
    result.map(|drill| DrillReport { duration_ms, recorded, unrecorded, ..drill })
}

/// How a rehearsal ended that came to its end, and why not well.
fn outcome_of(drill: &DrillReport) -> (Outcome, Option<String>) {
    match drill.probes.iter().find_map(|probe| probe.failure.as_ref()) {
        Some(failure) => (Outcome::Failed, Some(failure.clone())),
        None if drill.lacks.is_empty() => (Outcome::Ok, None),
        None => (Outcome::Partial, Some(format!("it holds no {}", drill.lacks.join(", ")))),
    }
}

fn rehearse(look: &Look<'_>, entry: &Entry, sources: &Sources, probe: CallersProbe<'_>) -> Result<DrillReport> {
    entry.require_usable()?;
    let files = entry.stored_files(look.store())?;
    let scratch = look.scratch(files.iter().map(plain_bytes).fold(0, u64::saturating_add))?;
    let begun = look.elapsed_ms();
    let plan = restore::plan_for_nothing(look, entry, scratch.path(), Selection::ALL, sources)?;
    restore::rehearse(look, &plan)?;
    let restore_ms = look.elapsed_ms() - begun;
    restore::prove(look, &plan)?;

    let restored: Vec<RelPath> = plan.items.iter().map(|item| item.path.clone()).collect();
    let databases = sources.databases.iter().filter(|database| restored.contains(&database.path));
    let databases: Vec<&DatabaseSource> = databases.collect();
    for database in &databases {
        require_prepared(look, database, &open(look, database, scratch.path())?)?;
    }
    let mut probes = Vec::new();
    for database in databases {
        let connection = open(look, database, scratch.path())?;
        for sql in &database.probes {
            look.check_stop()?;
            probes.push(ask(look, database, &connection, sql)?);
        }
    }
    probes.extend(probe(scratch.path())?);
    look.check_stop()?;
    // What lies elsewhere than the settings say is left out, and nothing of it is proved.
    let is_left_out = |name: &str| {
        let is_held = entry.files.iter().any(|file| file.name == name);
        !plan.skipped.is_empty() && is_held && !sources.paths_of(name).any(|path| restored.contains(path))
    };
    let lacking = sources.names().filter(|name| !entry.answers_for(name) || is_left_out(name));
    let lacks: Vec<String> = lacking.map(Into::into).collect();
    let passed = lacks.is_empty() && probes.iter().all(|probe| probe.failure.is_none());
    let missing = plan.missing(entry, sources).into_iter();
    let missing = missing.map(|name| format!("backup {} holds no {name}", entry.id));
    let warnings = plan.warnings.iter().cloned().chain(missing).collect();
    Ok(DrillReport {
        id: entry.id,
        passed,
        lacks,
        restored,
        warnings,
        probes,
        restore_ms,
        duration_ms: 0,
        recorded: false,
        unrecorded: None,
    })
}

/// Opens a restored database as the application would: for writing.
fn open(look: &Look<'_>, database: &DatabaseSource, folder: &Path) -> Result<Connection> {
    sqlite::open_restored(&database.path.under(folder), look.busy_timeout())
}

/// Makes sure that SQLite can prepare every probe of a restored database.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] with the first that it can't: that says something about the settings, not the backup.
fn require_prepared(look: &Look<'_>, database: &DatabaseSource, connection: &Connection) -> Result<()> {
    for (at, sql) in database.probes.iter().enumerate() {
        look.check_stop()?;
        let prepared = |connection: &Connection| {
            let statement = connection.prepare(sql)?;
            Ok((statement.column_count(), statement.parameter_count()))
        };
        let why = match sqlite::stoppable(connection, look.progress(), || (), prepared) {
            Ok((0, _)) => "it is no question: it gives no row".into(),
            Ok((_, 0)) => continue,
            Ok(_) => "it has a parameter, and nothing to put there".into(),
            Err(error) => why_not_prepared(database, &error)?,
        };
        let message = format!("probe {} of {} can't be prepared: {sql:?}: {why}", at + 1, database.name);
        let hint = "fix `probes` in the settings; if the backup should have what it asks for, compare the schemas: \
                    `restore --from latest --to DIR`";
        return Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint));
    }
    Ok(())
}

/// What SQLite has against the text of a probe.
///
/// # Errors
/// What isn't about its text: no memory, a disk that fails, a schema that is damaged.
fn why_not_prepared(database: &DatabaseSource, error: &rusqlite::Error) -> Result<String> {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => Ok(msg.clone()),
        rusqlite::Error::SqliteFailure(ffi::Error { code: ErrorCode::Unknown, .. }, Some(message)) => {
            Ok(message.clone())
        }
        rusqlite::Error::SqliteFailure(..) => Err(failed(database, error)),
        rusqlite::Error::Empty => Ok("there is no SQL in it".into()),
        other => Ok(other.to_string()),
    }
}

/// Asks a restored database a probe.
///
/// # Errors
/// What keeps it from being answered and isn't about the database: the wish to stop, no room, a disk that fails.
fn ask(look: &Look<'_>, database: &DatabaseSource, connection: &Connection, sql: &str) -> Result<Probe> {
    let answer = sqlite::stoppable(
        connection,
        look.progress(),
        || (),
        |connection| connection.query_row(sql, [], |row| Ok(wrong_answer(row.get_ref(0)?))),
    );
    let failure = match answer {
        Ok(wrong) => wrong.map(|wrong| format!("gave {wrong}")),
        Err(rusqlite::Error::QueryReturnedNoRows) => Some("gave no row".into()),
        Err(error) => Some(code_of(database, &error)?),
    };
    Ok(Probe { text: sql.into(), failure: failure.map(|failure| format!("{sql}: {failure}")) })
}

/// What kind of answer it is, if it isn't a true one.
fn wrong_answer(value: ValueRef<'_>) -> Option<&'static str> {
    match value {
        ValueRef::Integer(0) => Some("false (0)"),
        ValueRef::Integer(_) => None,
        ValueRef::Null => Some("NULL"),
        ValueRef::Real(_) => Some("a real number"),
        ValueRef::Text(_) => Some("text"),
        ValueRef::Blob(_) => Some("a blob"),
    }
}

/// The code of an error that a probe ended in, without SQLite's message.
fn code_of(database: &DatabaseSource, error: &rusqlite::Error) -> Result<String> {
    let (rusqlite::Error::SqliteFailure(code, _) | rusqlite::Error::SqlInputError { error: code, .. }) = error else {
        return Ok("can't be asked".into());
    };
    match code.code {
        ErrorCode::OperationInterrupted
        | ErrorCode::DiskFull
        | ErrorCode::SystemIoFailure
        | ErrorCode::OutOfMemory
        | ErrorCode::CannotOpen => Err(failed(database, error)),
        _ => Ok(format!("SQLite error {}: {}", code.extended_code, ffi::code_to_str(code.extended_code))),
    }
}

fn failed(database: &DatabaseSource, error: &rusqlite::Error) -> Error {
    Error::sqlite("probe the restored", Path::new(database.path.as_str()), error)
}

#[cfg(test)]
mod tests {
    use super::*;
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
            ("SELECT count(*) = 4 FROM sessions", "gave false (0)"),
            ("SELECT NULL", "gave NULL"),
            ("SELECT 1 WHERE 0", "gave no row"),
            ("SELECT 'yes'", "gave text"),
            ("SELECT 1.5", "gave a real number"),
            ("SELECT x'01'", "gave a blob"),
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
            ("", "there is no SQL in it"),
            ("-- later", "there is no SQL in it"),
            ("SELECT 1; SELECT 0", "Multiple statements provided"),
            ("SELECT ?1", "it has a parameter, and nothing to put there"),
            ("DELETE FROM sessions", "it is no question: it gives no row"),
        ] {
            let (site, store) = (Site::new(), MemoryStore::new());
            let ran = std::cell::Cell::new(false);
            let command = |_: &Path| {
                ran.set(true);
                Ok(None)
            };
            // The first would fail, and is not even run.
            let error = drilled(&site, &store, &["SELECT 0", sql], &command).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), format!("probe 2 of sessions_db can't be prepared: {sql:?}: {why}"));
            assert!(error.hint().is_some_and(|hint| hint.contains("settings") && hint.contains("backup")), "{error:?}");
            assert_about_no_backup(&store);
            assert!(!Ledger::load(&store).unwrap().is_known_bad(id(NOW)) && !ran.get());
            assert_eq!(staged(&store), Vec::<String>::new());
        }
    }

    /// The ledger says that a drill ended badly, and nothing about the backup.
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
