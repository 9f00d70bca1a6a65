//! Whether a database is sound: `integrity_check` and `foreign_key_check`, on all cores for a decoded copy.
//!
//! `PRAGMA integrity_check` is one long computation, and most of the time of a restore or a verification. But it has parts
//! (<https://www.sqlite.org/pragma.html#pragma_integrity_check>). With a table's name it checks that table and its indexes,
//! but not the file as a whole, such as pages that are used twice or not at all. `quick_check` checks the file as a whole,
//! and everything but the content of indexes. So `quick_check` and an `integrity_check` of each table together find what a
//! single `integrity_check` finds.

use std::cmp::Reverse;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle};

use super::facts::{read_facts, table_names};
use super::open::open_read_only;
use super::query::{TICK, bytes, pragma, quoted, stoppable, text};
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress, Step};
use crate::record::manifest::{Facts, Table};

/// Bytes from which on a second thread helps.
const SMALL: u64 = 16 << 20;

/// The findings in a decoded database.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// What is wrong with its structure, at most ten lines a part; empty if nothing.
    pub problems: Vec<String>,
    /// How many rows have no parent, by table.
    pub orphans: Vec<Table>,
}

/// What `PRAGMA integrity_check` finds wrong, at most ten lines; empty if nothing.
pub(crate) fn integrity_check(connection: &Connection, path: &Path, progress: &dyn Progress) -> Result<Vec<String>> {
    let step = Step::begin(progress, Phase::Check, &path.display().to_string(), None);
    let found = stoppable(connection, progress, || step.advance(0), |connection| Part::Whole.run(connection));
    found.map(|found| found.problems).map_err(|e| Error::sqlite("check database", path, &e))
}

/// What a check looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Damage, which keeps a database from being used.
    Damage,
    /// Also rows without a parent, which the source had already.
    Flaws,
}

/// The number of threads that check a database if nothing else is running.
pub(crate) fn all_cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Checks a decoded database, which nobody else has open, with at most this many `threads`. The parts take a quarter more
/// work than the whole, so a single thread checks the whole.
///
/// # Errors
/// [`crate::ErrorKind::Damaged`] and the like if SQLite can't read it, [`crate::ErrorKind::Interrupted`].
pub(crate) fn check(
    path: &Path,
    expected: Option<&Facts>,
    scope: Scope,
    threads: usize,
    progress: &dyn Progress,
) -> Result<Findings> {
    let failed = |e| Error::sqlite("check database", path, &e);
    let first = open(path)?;
    let parts = parts(&first, expected, scope, threads).map_err(failed)?;
    let helpers = if matches!(parts[..], [Part::Whole, ..]) { 0 } else { threads.min(parts.len()) - 1 };
    let helpers = std::iter::repeat_with(|| open(path)).take(helpers);
    let connections = std::iter::once(Ok(first)).chain(helpers).collect::<Result<Vec<_>>>()?;
    let step = Step::begin(progress, Phase::Check, &path.display().to_string(), None);
    let mut findings = Findings::default();
    let results = run(&parts, connections, progress, &step).map_err(|e| Error::io("check database", path, e))?;
    for found in results {
        let found = found.ok_or_else(Error::interrupted)?.map_err(failed)?;
        findings.problems.extend(found.problems);
        findings.orphans.extend(found.orphans);
    }
    Ok(findings)
}

/// Opens a decoded database for reading and maps it into memory, which saves a copy. Never a live one: in mapped memory an
/// error of the disk is a signal, not an error. A database that was just decoded is still in memory.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let connection = open_read_only(path, Duration::ZERO)?;
    // SQLite maps no more than the file.
    connection.pragma_update(None, "mmap_size", i64::MAX).map_err(|e| Error::sqlite("open database", path, &e))?;
    Ok(connection)
}

/// The facts of a decoded database.
///
/// # Errors
/// As [`check`].
pub(crate) fn facts(path: &Path, progress: &dyn Progress) -> Result<Facts> {
    let found = stoppable(&open(path)?, progress, || (), read_facts);
    found.map_err(|e| Error::sqlite("read database", path, &e))
}

/// Page size and page count of a decoded database.
///
/// # Errors
/// As [`check`].
pub(crate) fn size(path: &Path) -> Result<(u32, u64)> {
    let connection = open(path)?;
    let read = || Ok((pragma(&connection, "page_size")?, pragma(&connection, "page_count")?));
    read().map_err(|e| Error::sqlite("read database", path, &e))
}

/// A part of the checks.
#[derive(Debug, Clone)]
enum Part {
    Whole,
    Quick,
    Table(String),
    ForeignKeys(String),
}

/// The parts to check, the longest first.
fn parts(
    connection: &Connection,
    expected: Option<&Facts>,
    scope: Scope,
    threads: usize,
) -> rusqlite::Result<Vec<Part>> {
    let rows = |name: &str| expected?.tables.iter().find(|table| table.name == name).map(|table| table.rows);
    let mut tables = table_names(connection)?;
    tables.sort_by_key(|name| Reverse(rows(name)));
    let is_whole = threads == 1 || bytes(connection)? < SMALL;
    let mut parts = if is_whole { vec![Part::Whole] } else { parts_of_structure(&tables) };
    if scope == Scope::Flaws {
        parts.extend(tables.into_iter().map(Part::ForeignKeys));
    }
    Ok(parts)
}

fn parts_of_structure(tables: &[String]) -> Vec<Part> {
    let mut parts: Vec<Part> = tables.iter().cloned().map(Part::Table).collect();
    parts.insert(parts.len().min(1), Part::Quick);
    parts
}

impl Part {
    fn run(&self, connection: &Connection) -> rusqlite::Result<Findings> {
        match self {
            Self::Whole => problems(connection, "integrity_check(10)"),
            Self::Quick => problems(connection, "quick_check(10)"),
            Self::Table(name) => problems(connection, &format!("integrity_check({})", quoted(name))),
            Self::ForeignKeys(name) => orphans(connection, name),
        }
    }
}

fn problems(connection: &Connection, pragma: &str) -> rusqlite::Result<Findings> {
    let mut statement = connection.prepare(&format!("PRAGMA {pragma}"))?;
    let rows = statement.query_map([], text)?.collect::<rusqlite::Result<Vec<_>>>()?;
    // Findings about pages are one text, with the name of the database on its first line.
    let lines = rows.iter().flat_map(|row| row.lines()).filter(|line| *line != "ok" && !line.starts_with("*** in "));
    Ok(Findings { problems: lines.take(10).map(str::to_string).collect(), orphans: Vec::new() })
}

fn orphans(connection: &Connection, table: &str) -> rusqlite::Result<Findings> {
    let count = "SELECT count(*) FROM pragma_foreign_key_check(?1)";
    let rows: u64 = connection.query_row(count, [table], |row| row.get(0))?;
    let orphans = if rows == 0 { Vec::new() } else { vec![Table { name: table.to_string(), rows }] };
    Ok(Findings { problems: Vec::new(), orphans })
}

type PartOutcome = Option<rusqlite::Result<Findings>>;

/// The index of a part, and its findings.
type PartResult = (usize, rusqlite::Result<Findings>);

/// Runs the parts, one at a time on each connection; `None` for those that were not begun before the run was stopped.
fn run(
    parts: &[Part],
    connections: Vec<Connection>,
    progress: &dyn Progress,
    step: &Step<'_>,
) -> io::Result<Vec<PartOutcome>> {
    let interrupts: Vec<InterruptHandle> = connections.iter().map(Connection::get_interrupt_handle).collect();
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for connection in connections {
            let (sender, next) = (sender.clone(), &next);
            let work = move || run_next_parts(parts, next, &connection, progress, &sender);
            thread::Builder::new().spawn_scoped(scope, work)?;
        }
        drop(sender);
        let mut found: Vec<PartOutcome> = parts.iter().map(|_| None).collect();
        collect(&results, &mut found, || {
            step.advance(0);
            if progress.should_stop() {
                interrupts.iter().for_each(InterruptHandle::interrupt);
            }
        });
        Ok(found)
    })
}

/// Takes the next part again and again, until there are no more or the run is stopped.
fn run_next_parts(
    parts: &[Part],
    next: &AtomicUsize,
    connection: &Connection,
    progress: &dyn Progress,
    results: &Sender<PartResult>,
) {
    while !progress.should_stop() {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(part) = parts.get(at) else { return };
        // The receiver lives until all threads have ended.
        let _ = results.send((at, part.run(connection)));
    }
}

/// Takes results until all threads have ended, and calls `tick` now and then.
fn collect(results: &Receiver<PartResult>, found: &mut [PartOutcome], mut tick: impl FnMut()) {
    loop {
        match results.recv_timeout(TICK) {
            Ok((at, result)) => found[at] = Some(result),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => tick(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::progress::Silent;
    use crate::testing::fixtures::Stop;

    /// A database of some `rows` in two tables and an index.
    fn database(rows: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = Connection::open(&path).unwrap();
        let fill = format!(
            "PRAGMA synchronous = off;
             CREATE TABLE p(id INTEGER PRIMARY KEY, x); CREATE TABLE \"c \"\" d\"(p REFERENCES p);
             CREATE INDEX by_x ON p(x);
             WITH RECURSIVE n(id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM n WHERE id < {rows})
             INSERT INTO p SELECT id, hex(randomblob(100)) || id FROM n"
        );
        writer.execute_batch(&fill).unwrap();
        (folder, path)
    }

    const BIG: u32 = 50_000;

    fn parts_of(path: &Path, threads: usize) -> usize {
        parts(&open(path).unwrap(), None, Scope::Flaws, threads).unwrap().len()
    }

    #[test]
    fn a_sound_database_is_found_so_in_one_go_or_in_parts() {
        for (rows, threads, parts) in [(10, 2, 3), (BIG, 1, 3), (BIG, 2, 5), (BIG, 100, 5)] {
            let (_folder, path) = database(rows);
            assert_eq!(parts_of(&path, threads), parts);
            assert_eq!(check(&path, None, Scope::Flaws, threads, &Silent).unwrap(), Findings::default());
            let live = open_read_only(&path, Duration::ZERO).unwrap();
            assert_eq!(integrity_check(&live, &path, &Silent).unwrap(), Vec::<String>::new());
        }
    }

    #[test]
    fn rows_without_a_parent_are_counted_by_table_if_asked_for() {
        for rows in [10, BIG] {
            let (_folder, path) = database(rows);
            let orphans = format!("PRAGMA foreign_keys = off; INSERT INTO \"c \"\" d\" VALUES ({}), (0)", rows + 1);
            Connection::open(&path).unwrap().execute_batch(&orphans).unwrap();
            let found = check(&path, None, Scope::Flaws, 2, &Silent).unwrap();
            assert_eq!(found.orphans, [Table { name: "c \" d".into(), rows: 2 }]);
            assert_eq!(check(&path, None, Scope::Damage, 2, &Silent).unwrap(), Findings::default());
        }
    }

    /// The parts must find whatever the whole finds: an entry that is missing in an index, which `quick_check` alone
    /// doesn't see, and a page that nothing refers to, which the tables' checks don't.
    #[test]
    fn the_parts_find_what_the_whole_finds() {
        let damages = [
            "CREATE TABLE t AS SELECT 1; PRAGMA writable_schema = on; DELETE FROM sqlite_schema WHERE name = 't'",
            "PRAGMA writable_schema = on;
             UPDATE sqlite_schema SET sql = 'CREATE INDEX by_x ON p(id)' WHERE name = 'by_x'",
        ];
        for damage in damages {
            let (_folder, path) = database(BIG);
            let writer = Connection::open(&path).unwrap();
            writer.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
            writer.execute_batch(damage).unwrap();
            drop(writer);
            let whole = integrity_check(&open(&path).unwrap(), &path, &Silent).unwrap();
            let parts = check(&path, None, Scope::Flaws, 2, &Silent).unwrap().problems;
            assert!(!whole.is_empty() && parts.iter().any(|line| whole.contains(line)), "{whole:?} {parts:?}");
        }
    }

    #[test]
    fn who_wants_to_stop_is_heard() {
        let (_folder, path) = database(BIG);
        assert_eq!(check(&path, None, Scope::Damage, 2, &Stop).unwrap_err().kind(), ErrorKind::Interrupted);
    }
}
