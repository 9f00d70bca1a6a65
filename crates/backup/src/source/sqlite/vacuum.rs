//! A compact copy of a live database by VACUUM INTO, and the check of its source.
//!
//! The hazard: VACUUM INTO skips rows that it can't reach, such as those behind a damaged page header, and the copy is
//! sound. So a second connection checks the source while the first one copies it, and then both are compared.
//!
//! Both connections have to read the same state, and the order of steps shows whether they do. The second connection reads
//! `data_version`. The VACUUM begins, and has begun to read once the copy has its first byte. Only then the second
//! connection begins its transaction and reads the version again. If it is the same, nobody has committed since before the
//! VACUUM began (<https://www.sqlite.org/pragma.html#pragma_data_version>). Otherwise both begin again, a few times.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::facts::{Contents, read_facts, tables};
use super::integrity;
use super::open::open_stoppable;
use super::query::{bytes, pragma, stoppable};
use super::transaction::{self, TRIES};
use crate::disk::file;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Phase, Progress, Step};
use crate::record::manifest::{Facts, Table};

/// Instructions of SQLite's virtual machine after which it is seen whether the copy has begun: some 50 µs.
const INSTRUCTIONS: i32 = 1000;

/// Takes a snapshot of the database `source`, opened as `connection`, into the file `destination`, which is replaced. The
/// snapshot is a complete database in rollback mode. It isn't synced, for only the artifact made from it has to be.
///
/// # Errors
/// [`ErrorKind::Busy`], [`ErrorKind::NoSpace`], [`ErrorKind::Damaged`], [`ErrorKind::Interrupted`]. The caller removes the
/// file.
pub(crate) fn vacuum_into(
    connection: &Connection,
    source: &Path,
    destination: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let failed = |e| Error::sqlite("take a snapshot of", source, &e);
    // VACUUM INTO accepts an empty file: created here, nobody else can ever read it.
    file::create_private(destination).map_err(|e| Error::io("create", destination, e))?;
    connection.pragma_update(None, "synchronous", "off").map_err(failed)?;
    let expected = bytes(connection).map_err(failed)?;
    let step = Step::begin(progress, Phase::Snapshot, &source.display().to_string(), Some(expected));
    let mut seen = 0;
    let grown = || {
        let size = fs::metadata(destination).map_or(seen, |found| found.len());
        step.advance(size.saturating_sub(seen));
        seen = size.max(seen);
    };
    let vacuum = |connection: &Connection| connection.execute("VACUUM INTO ?1", [uri(destination)]);
    match stoppable(connection, progress, grown, vacuum) {
        Ok(_) => Ok(()),
        // The source is open already, so it is a file beside the copy that can't be created.
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
            Err(Error::sqlite("write the snapshot", destination, &e))
        }
        Err(e) => Err(failed(e)),
    }
}

/// A path as a URI (<https://www.sqlite.org/uri.html>): in SQL it has to be text, whatever its bytes.
fn uri(path: &Path) -> String {
    let literal = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let each = path.as_os_str().as_bytes().iter();
    let each = each.map(|byte| if literal(byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") });
    std::iter::once("file:".to_string()).chain(each).collect()
}

/// A live database, and how to read it.
#[derive(Clone, Copy)]
pub(crate) struct Live<'a> {
    pub path: &'a Path,
    pub busy_timeout: Duration,
    pub progress: &'a dyn Progress,
}

/// What the check of a source found.
#[derive(Debug)]
pub(crate) struct SourceCheck {
    /// What `integrity_check` finds wrong, at most ten lines; empty if nothing.
    pub problems: Vec<String>,
    /// When the check had ended.
    pub ended: Instant,
    /// `None` if anything is wrong with it.
    contents: Option<Contents>,
    seen: StateMatch,
}

/// Whether a copy and the checked source are of the same state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StateMatch {
    /// Nobody committed between the two.
    Same,
    /// Somebody committed, but didn't change the schema.
    SameSchema,
    /// The schema may have changed.
    Another,
}

impl SourceCheck {
    /// Whether the checked state is that of the copy.
    pub fn is_same(&self) -> bool {
        self.seen == StateMatch::Same
    }

    /// Compares the copy of the database at `path` with it.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] if they differ, unless a commit explains that.
    pub fn compare(&self, copy: &Contents, path: &Path) -> Result<()> {
        let Some(source) = &self.contents else { return Ok(()) };
        let difference = match self.seen {
            StateMatch::SameSchema | StateMatch::Same if source.schema != copy.schema => {
                Some("its schema differs".to_string())
            }
            StateMatch::SameSchema | StateMatch::Another => None,
            StateMatch::Same => first_difference(&source.tables, &copy.tables),
        };
        difference.map_or(Ok(()), |difference| {
            let message = format!("the copy of database {} isn't what was read: {difference}", path.display());
            Err(Error::new(ErrorKind::Damaged, message)
                .with_hint("try again; if it happens again, check the disk and memory, or set snapshot = \"pages\""))
        })
    }
}

fn first_difference(source: &[Table], copy: &[Table]) -> Option<String> {
    let rows =
        |tables: &[Table], name: &str| tables.iter().find(|table| table.name == name).map_or(0, |table| table.rows);
    let names = source.iter().chain(copy).map(|table| table.name.as_str());
    let mut counts = names.map(|name| (name, rows(source, name), rows(copy, name)));
    let (name, was, is) = counts.find(|(_, was, is)| was != is)?;
    Some(format!("table {name} has {was} rows, its copy {is}"))
}

/// Checks the state that `connection` reads. `seen` says whether it is that of the copy.
fn check(connection: &Connection, path: &Path, seen: StateMatch, progress: &dyn Progress) -> Result<SourceCheck> {
    let problems = integrity::integrity_check(connection, path, progress)?;
    let contents = || {
        let contents = |connection: &Connection| Contents::of(connection, &tables(connection)?);
        stoppable(connection, progress, || (), contents).map_err(|e| Error::sqlite("read database", path, &e))
    };
    let contents = problems.is_empty().then(contents).transpose()?;
    Ok(SourceCheck { problems, ended: Instant::now(), contents, seen })
}

/// Checks a database that `connection` has locked, so that nobody can commit before it is copied.
///
/// # Errors
/// [`ErrorKind::Damaged`] and the like if SQLite can't read it, [`ErrorKind::Interrupted`].
pub(crate) fn check_locked(connection: &Connection, path: &Path, progress: &dyn Progress) -> Result<SourceCheck> {
    check(connection, path, StateMatch::Same, progress)
}

/// Facts and contents of the compact copy at `path`.
///
/// # Errors
/// As [`check_locked`].
pub(crate) fn describe(path: &Path, progress: &dyn Progress) -> Result<(Facts, Contents)> {
    let describe = |connection: &Connection| {
        let facts = read_facts(connection)?;
        let contents = Contents::of(connection, &facts.tables)?;
        Ok((facts, contents))
    };
    stoppable(&integrity::open(path)?, progress, || (), describe).map_err(|e| Error::sqlite("read database", path, &e))
}

/// A check in a thread of its own.
pub(crate) type RunningCheck<'scope> = ScopedJoinHandle<'scope, Result<SourceCheck>>;

/// Makes a compact copy at `destination` through `connection`, while a thread of `scope` checks the source. The check can
/// take longer; `unseen` can stop it. Returns how the copying ended, and the check.
///
/// # Errors
/// What prevents the check, such as [`ErrorKind::Busy`].
pub(crate) fn copy_and_check<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    mut connection: Connection,
    live: Live<'env>,
    destination: &'env Path,
    unseen: &'env dyn Progress,
) -> Result<(Result<()>, RunningCheck<'scope>)> {
    let path = live.path;
    let checker = open_stoppable(path, live.busy_timeout, live.progress)?;
    for _ in 1..TRIES {
        let before = Version::of(&checker, path)?;
        let (begun, stop) = watch(&mut connection, destination).map_err(|e| Error::sqlite("watch", path, &e))?;
        let copying = spawn(scope, path, move || copy(connection, live, destination))?;
        // The copy has begun when the sender is dropped.
        let _ = begun.recv();
        let seen = begin(&checker, &before, path, Duration::ZERO);
        if let Ok(StateMatch::Same) = seen {
            let checking = spawn(scope, path, move || check(&checker, path, StateMatch::Same, unseen))?;
            return Ok((join(copying).1, checking));
        }
        stop.store(true, Ordering::Relaxed);
        connection = join(copying).0;
        match seen {
            Err(error) if error.kind() != ErrorKind::Busy => return Err(error),
            _ if live.progress.should_stop() => return Err(Error::interrupted()),
            // In rollback mode a writer that waits to commit blocks new readers and waits for the others: so both end.
            _ => end(&checker, path, live.busy_timeout)?,
        }
    }
    // Others commit without a pause, so the check comes after the copy.
    let before = Version::of(&checker, path)?;
    let copied = copy(connection, live, destination).1;
    let seen = begin(&checker, &before, path, live.busy_timeout)?;
    Ok((copied, spawn(scope, path, move || check(&checker, path, seen, unseen))?))
}

/// Makes `connection` drop the sender of a channel when the copy has its first byte, and give up when the flag is set.
fn watch(connection: &mut Connection, copy: &Path) -> rusqlite::Result<(Receiver<()>, Arc<AtomicBool>)> {
    let (sender, begun) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let (mut sender, is_stopped, copy) = (Some(sender), Arc::clone(&stop), copy.to_path_buf());
    let look = move || {
        if sender.is_some() && fs::metadata(&copy).is_ok_and(|found| found.len() > 0) {
            sender = None;
        }
        is_stopped.load(Ordering::Relaxed)
    };
    connection.progress_handler(INSTRUCTIONS, Some(look))?;
    Ok((begun, stop))
}

/// Copies. Returns the connection, which is no longer watched.
fn copy(mut connection: Connection, live: Live<'_>, destination: &Path) -> (Connection, Result<()>) {
    let copied = vacuum_into(&connection, live.path, destination, live.progress);
    let forgotten = connection.progress_handler(0, None::<fn() -> bool>);
    let copied = copied.and_then(|()| forgotten.map_err(|e| Error::sqlite("read database", live.path, &e)));
    (connection, copied)
}

/// Numbers that tell states of a database apart.
struct Version {
    schema: i64,
    data: i64,
}

impl Version {
    fn of(connection: &Connection, path: &Path) -> Result<Self> {
        let number = |name| pragma(connection, name).map_err(|e| Error::sqlite("read database", path, &e));
        // The schema first: a commit between the two then counts as a change of the schema.
        Ok(Self { schema: number("schema_version")?, data: number("data_version")? })
    }
}

/// Begins to read, and says what changed since `before`. Waits for locks up to `busy_timeout`.
fn begin(connection: &Connection, before: &Version, path: &Path, busy_timeout: Duration) -> Result<StateMatch> {
    connection.busy_timeout(busy_timeout).map_err(|e| Error::sqlite("open database", path, &e))?;
    transaction::begin(connection, path)?;
    let now = Version::of(connection, path)?;
    Ok(match (now.data == before.data, now.schema == before.schema) {
        (true, _) => StateMatch::Same,
        (false, true) => StateMatch::SameSchema,
        (false, false) => StateMatch::Another,
    })
}

/// Ends the transaction of [`begin`], if there is one.
fn end(connection: &Connection, path: &Path, busy_timeout: Duration) -> Result<()> {
    let end = if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("ROLLBACK") };
    end.and_then(|()| connection.busy_timeout(busy_timeout)).map_err(|e| Error::sqlite("read database", path, &e))
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    path: &Path,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    thread::Builder::new().spawn_scoped(scope, work).map_err(|e| Error::io("check database", path, e))
}

/// The result of a thread.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::paths;
    use crate::progress::{Background, Silent};
    use crate::source::sqlite::facts::facts;
    use crate::source::sqlite::open_read_only;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A database of that many rows of a page each.
    fn database(mode: &str, rows: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let fill = format!(
            "PRAGMA journal_mode = {mode}; PRAGMA synchronous = off; CREATE TABLE t(x);
             WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {rows})
             INSERT INTO t SELECT zeroblob(4000) FROM n; CREATE TABLE c(x)"
        );
        Connection::open(&path).unwrap().execute_batch(&fill).unwrap();
        (folder, path)
    }

    /// Copies and checks, and gives what the check found, and the copy's path.
    fn checked(path: &Path, patience: Duration) -> Result<(SourceCheck, std::path::PathBuf)> {
        let copy = paths::with_suffix(path, "-copy");
        let (live, unseen) = (Live { path, busy_timeout: patience, progress: &Silent }, Background::beside(&Silent));
        let checked = thread::scope(|scope| {
            let connection = open_read_only(path, patience)?;
            let (copied, checking) = copy_and_check(scope, connection, live, &copy, &unseen)?;
            copied?;
            join(checking)
        });
        checked.map(|checked| (checked, copy))
    }

    #[test]
    fn what_nobody_writes_to_is_checked_in_the_state_that_is_copied() {
        for (mode, rows) in [("wal", 1), ("delete", 1), ("wal", 5000), ("delete", 5000)] {
            let (_folder, path) = database(mode, rows);
            let (checked, copy) = checked(&path, PATIENCE).unwrap();
            assert!(checked.is_same() && checked.problems.is_empty(), "{mode} {rows}: {checked:?}");
            let (facts, contents) = describe(&copy, &Silent).unwrap();
            checked.compare(&contents, &path).unwrap();
            assert_eq!(facts.tables[1].rows, u64::from(rows));
        }
    }

    /// The rows of a copy that is called the same must be those of the source at that time, whatever others commit.
    #[test]
    fn whoever_commits_meanwhile_the_copy_is_compared_with_its_own_state() {
        for (mode, rows) in [("wal", 1), ("delete", 1), ("wal", 5000), ("delete", 5000)] {
            let (_folder, path) = database(mode, rows);
            let (stop, stopped) = mpsc::channel::<()>();
            let writer = Connection::open(&path).unwrap();
            writer.busy_timeout(PATIENCE).unwrap();
            let commits = thread::spawn(move || {
                writer.execute_batch("PRAGMA synchronous = off").unwrap();
                while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    writer.execute("INSERT INTO c VALUES (1)", []).unwrap();
                }
            });
            for _ in 0..5 {
                let (checked, copy) = checked(&path, PATIENCE).unwrap();
                assert_eq!(checked.problems, Vec::<String>::new());
                checked.compare(&describe(&copy, &Silent).unwrap().1, &path).unwrap();
            }
            drop(stop);
            commits.join().unwrap();
        }
    }

    #[test]
    fn what_the_copy_lacks_is_said() {
        let (_folder, path) = database("wal", 3);
        let (checked, copy) = checked(&path, PATIENCE).unwrap();
        let garble = |sql: &str| {
            Connection::open(&copy).unwrap().execute_batch(sql).unwrap();
            checked.compare(&describe(&copy, &Silent).unwrap().1, &path).unwrap_err()
        };
        let error = garble("DELETE FROM t WHERE rowid = 2");
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().ends_with("isn't what was read: table t has 3 rows, its copy 2"), "{error}");
        assert!(garble("DROP TABLE c").to_string().ends_with("its schema differs"));
    }

    #[test]
    fn what_somebody_commits_in_between_is_no_damage() {
        let (_folder, path) = database("wal", 3);
        let copy = checked(&path, PATIENCE).unwrap().1;
        let compared = |seen, change: &str| {
            Connection::open(&copy).unwrap().execute_batch(change).unwrap();
            let contents = |path| describe(path, &Silent).unwrap().1;
            let ended = Instant::now();
            let checked = SourceCheck { problems: Vec::new(), ended, contents: Some(contents(&path)), seen };
            checked.compare(&contents(&copy), &path).is_ok()
        };
        assert!(compared(StateMatch::Same, ""));
        assert!(!compared(StateMatch::Same, "INSERT INTO t VALUES (1)") && compared(StateMatch::SameSchema, ""));
        assert!(!compared(StateMatch::SameSchema, "DROP TABLE c") && compared(StateMatch::Another, ""));
    }

    /// What VACUUM leaves out for good reason, and what it leaves out without a word.
    #[test]
    fn a_vacuum_may_drop_what_is_useless_and_no_more() {
        let (_folder, path) = database("wal", 3);
        let edit = |sql: &str| {
            let connection = Connection::open(&path).unwrap();
            connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
            connection.execute_batch(sql).unwrap();
        };
        let compared = || {
            let (checked, copy) = checked(&path, PATIENCE).unwrap();
            checked.compare(&describe(&copy, &Silent).unwrap().1, &path)
        };
        edit("CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT); DROP TABLE a; ANALYZE");
        edit("PRAGMA writable_schema = on; UPDATE sqlite_schema SET sql = 'CREATE  table t ( x )' WHERE name = 't'");
        compared().unwrap();
        edit("PRAGMA writable_schema = on; UPDATE sqlite_schema SET sql = 'create table t(x)' WHERE name = 't'");
        assert!(compared().unwrap_err().to_string().ends_with("its schema differs"));
    }

    #[test]
    fn a_snapshot_holds_what_is_still_in_the_wal_and_keeps_its_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch(
                "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; PRAGMA user_version = 7; \
                 PRAGMA application_id = 42; CREATE TABLE \"a \"\" b\"(x); CREATE VIEW v AS SELECT 1; \
                 INSERT INTO \"a \"\" b\" VALUES (1), (2), (3)",
            )
            .unwrap();
        let copy = folder.path().join("copy.db");
        let reader = open_read_only(&path, PATIENCE).unwrap();
        vacuum_into(&reader, &path, &copy, &Silent).unwrap();
        let copied = facts(&open_read_only(&copy, PATIENCE).unwrap(), &copy, &Silent).unwrap();
        assert_eq!((copied.user_version, copied.application_id), (7, 42));
        assert_eq!(copied.tables, [Table { name: "a \" b".into(), rows: 3 }]);
        assert_eq!(copied.schema_sha256, facts(&reader, &path, &Silent).unwrap().schema_sha256);
    }
}
