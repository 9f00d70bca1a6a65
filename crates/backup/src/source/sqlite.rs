//! SQLite databases: snapshots of live ones, facts about any.
//!
//! The hazards, each seen in practice: a copy of the main file loses what is still in the `-wal`; opening with CREATE
//! turns a missing database into an empty one; an ordinary `open` and `close` of a file that this process also has open
//! in SQLite drops SQLite's locks. So a live database is opened by SQLite alone, read-only and without CREATE, and its
//! snapshot is taken by SQLite. Only a damaged one is read as a file ([`super::bytes`]).

use std::fs;
use std::io::Read as _;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction};

use super::guard;
use crate::disk::fsutil;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Phase, Progress, Silent, Step};
use crate::record::digest::Digest;
use crate::record::manifest::{Facts, Table};

/// The oldest SQLite that this program runs on: older ones have the WAL-reset bug (<https://www.sqlite.org/wal.html>).
pub(crate) const OLDEST_SQLITE: u32 = 3_051_003;

/// Refuses to go on with an SQLite library that is known to lose data.
pub(crate) fn require_sound_library() -> Result<()> {
    if rusqlite::version_number().unsigned_abs() >= OLDEST_SQLITE {
        return Ok(());
    }
    let message = format!("built with SQLite {}, which has the WAL-reset bug", rusqlite::version());
    Err(Error::new(ErrorKind::Sqlite, message).with_hint("build with the bundled library, 3.51.3 or newer"))
}

/// Opens an existing database for reading. It waits for locks up to `busy_timeout`.
///
/// # Errors
/// [`ErrorKind::MissingSource`], [`ErrorKind::NotADatabase`], [`ErrorKind::PermissionDenied`], [`ErrorKind::Busy`],
/// [`ErrorKind::HotJournal`].
pub(crate) fn open_read_only(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    open_stoppable(path, busy_timeout, &Silent)
}

/// The same; the wish to stop ends the waiting.
///
/// # Errors
/// As [`open_read_only`], and [`ErrorKind::Interrupted`].
pub(crate) fn open_stoppable(path: &Path, busy_timeout: Duration, progress: &dyn Progress) -> Result<Connection> {
    require_harmless(path)?;
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY, busy_timeout, progress)
}

/// The same, after a transaction that a crash broke off was rolled back, if there was one: what is committed can't be read
/// before.
pub(crate) fn open_recovered(path: &Path, busy_timeout: Duration, progress: &dyn Progress) -> Result<Connection> {
    match open_stoppable(path, busy_timeout, progress) {
        Err(error) if error.kind() == ErrorKind::HotJournal => {
            drop(open_read_write(path, busy_timeout)?);
            open_stoppable(path, busy_timeout, progress)
        }
        opened => opened,
    }
}

/// Opens an existing database that may be damaged, to read its pages as they are: neither a schema that can't be read
/// nor a header that says more pages than there are keeps it closed
/// (<https://www.sqlite.org/pragma.html#pragma_writable_schema>). Checks find nothing wrong with its schema then.
///
/// # Errors
/// As [`open_read_only`].
pub(crate) fn open_damaged(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    require_harmless(path)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, busy_timeout)?;
    guard::allow_damaged_schema(&connection).map_err(|e| Error::sqlite("open database", path, &e))?;
    Ok(connection)
}

/// Opens an existing database for writing; errors as [`open_read_only`].
pub(crate) fn open_read_write(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, busy_timeout, &Silent)
}

/// Opens a restored database as its application would: for writing, with its views and triggers.
///
/// # Errors
/// As [`open_read_only`].
pub(crate) fn open_restored(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    let connection = open_read_write(path, busy_timeout)?;
    guard::allow_views_and_triggers(&connection).map_err(|e| Error::sqlite("open database", path, &e))?;
    Ok(connection)
}

/// As [`open_read_write`], for one that will be replaced. Closing it leaves its log as it is: if it turns out damaged, it is kept and moved
/// aside with its log, which must not be emptied into it before.
pub(crate) fn open_to_replace(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, busy_timeout.min(TICK))?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|e| Error::sqlite("open database", path, &e))?;
    let connection = wait_for_first_read(connection, path, busy_timeout, &Silent)?;
    // SQLite opens for reading what it can't write to, and says so only when it has to write.
    let is_readonly = connection.is_readonly("main").map_err(|e| Error::sqlite("open database", path, &e))?;
    if is_readonly {
        let refused = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY), None);
        return Err(Error::sqlite("restore into", path, &refused));
    }
    Ok(connection)
}

/// Reading a WAL database that nobody has open makes its `-shm` and `-wal`, which stay. If another user than the
/// database's owner makes them, the owner can't write any more: so that is refused, unless the folder hands its group
/// on and the group may write. Root gives them to the owner.
fn require_harmless(path: &Path) -> Result<()> {
    let (Ok(place), Ok(found)) = (path.canonicalize(), fs::metadata(path)) else { return Ok(()) };
    if !found.is_file() {
        return Ok(());
    }
    let user = rustix::process::geteuid();
    let shared = fs::metadata(fsutil::parent(&place))
        .is_ok_and(|folder| folder.mode() & 0o2000 != 0 && folder.gid() == found.gid() && found.mode() & 0o020 != 0);
    let in_use = fsutil::with_suffix(&place, "-shm").exists();
    if user.is_root() || user.as_raw() == found.uid() || shared || in_use || !is_wal(&place) {
        return Ok(());
    }
    let message =
        format!("nobody has database {} open, and to read it now would close it to its owner", path.display());
    let hint = format!("SQLite makes files beside it: run this as their owner, uid {}", found.uid());
    Err(Error::new(ErrorKind::PermissionDenied, message).with_hint(hint))
}

/// Whether the header says that the database is in WAL mode (<https://www.sqlite.org/fileformat2.html>, section 1.3.3).
/// Only asked where nobody has it open in WAL mode, so that closing it again drops no lock of this process.
fn is_wal(path: &Path) -> bool {
    let mut header = [0; 20];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header[WAL_FLAGS] == [2, 2]
}

fn open(path: &Path, access: OpenFlags, busy_timeout: Duration, progress: &dyn Progress) -> Result<Connection> {
    // SQLite doesn't hear the wish to stop while it waits: so it waits for a short time, again and again.
    let connection = connect(path, access, busy_timeout.min(TICK))?;
    wait_for_first_read(connection, path, busy_timeout, progress)
}

fn wait_for_first_read(
    connection: Connection,
    path: &Path,
    busy_timeout: Duration,
    progress: &dyn Progress,
) -> Result<Connection> {
    let begun = Instant::now();
    while let Err(error) = first_read(&connection, path) {
        if error.kind() != ErrorKind::Busy || begun.elapsed() >= busy_timeout {
            return Err(error);
        }
        if progress.should_stop() {
            return Err(Error::interrupted());
        }
    }
    let ready = guard::limit_cache(&connection).and_then(|()| connection.busy_timeout(busy_timeout));
    ready.map_err(|e| Error::sqlite("open database", path, &e))?;
    Ok(connection)
}

/// Opening is lazy: only the first read finds out whether this is a database at all, and one whose schema parses.
fn first_read(connection: &Connection, path: &Path) -> Result<()> {
    match connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)) {
        Ok(_) => Ok(()),
        // Of all that SQLite has no other word for, this can only be a format number that it doesn't know.
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::Unknown) => {
            Err(Error::damaged_database(path, &e.to_string()))
        }
        Err(e) => Err(Error::sqlite("read database", path, &e)),
    }
}

fn connect(path: &Path, access: OpenFlags, busy_timeout: Duration) -> Result<Connection> {
    match fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::new(ErrorKind::MissingSource, format!("database {} doesn't exist", path.display()))
                .with_hint(
                    "check the path in the settings, or bring it back: `restore --from latest --database-only`",
                ));
        }
        Err(e) => return Err(Error::io("stat", path, e)),
        Ok(found) if !found.is_file() => {
            return Err(Error::new(ErrorKind::NotADatabase, format!("database {} is not a file", path.display())));
        }
        Ok(_) => require_plain_beside(path)?,
    }
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        guard::limit(&connection, path)?;
        connection.busy_timeout(busy_timeout)?;
        Ok(connection)
    });
    opened.map_err(|e| Error::sqlite("open database", path, &e))
}

/// SQLite opens what lies beside a database as well, and would wait at a pipe for ever.
fn require_plain_beside(path: &Path) -> Result<()> {
    // SQLite keeps it where a link leads.
    let place = path.canonicalize().map_err(|e| Error::io("find", path, e))?;
    for suffix in ["-journal", "-wal", "-shm"] {
        let beside = fsutil::with_suffix(&place, suffix);
        if fs::metadata(&beside).is_ok_and(|found| !found.is_file()) {
            let message = format!("database {} can't be opened: {} is not a file", path.display(), beside.display());
            return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("move it away: SQLite makes its own"));
        }
    }
    Ok(())
}

/// Bytes of the database's pages.
pub(super) fn bytes(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(pragma::<u64>(connection, "page_count")? * pragma::<u64>(connection, "page_size")?)
}

/// Bytes of the database's pages but for the free ones: what a compact copy takes.
pub(crate) fn bytes_in_use(connection: &Connection, path: &Path) -> Result<u64> {
    let number = |name| pragma::<u64>(connection, name).map_err(|e| Error::sqlite("read database", path, &e));
    Ok(number("page_count")?.saturating_sub(number("freelist_count")?).saturating_mul(number("page_size")?))
}

/// Where the header says how the file is written and read: 2 means WAL, 1 anything else
/// (<https://www.sqlite.org/fileformat2.html>, section 1.3.3).
pub(super) const WAL_FLAGS: Range<usize> = 18..20;

/// Begins a transaction that reads what is committed now, and lasts until the connection is closed.
///
/// # Errors
/// [`ErrorKind::Busy`], [`ErrorKind::Damaged`] and the like.
pub(super) fn begin(connection: &Connection, path: &Path) -> Result<()> {
    // It begins with the first statement that reads.
    connection.execute_batch("BEGIN; PRAGMA data_version").map_err(|e| Error::sqlite("read database", path, &e))
}

/// The same, until it is dropped.
///
/// # Errors
/// As [`begin`].
pub(crate) fn begin_reading<'a>(connection: &'a Connection, path: &Path) -> Result<Transaction<'a>> {
    let failed = |e| Error::sqlite("read database", path, &e);
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    // It begins with the first statement that reads.
    transaction.execute_batch("PRAGMA data_version").map_err(failed)?;
    Ok(transaction)
}

/// How often two connections are begun anew until they read the same state.
pub(super) const TRIES: u32 = 20;

/// The same, and on `other` as well, until that is closed; whether both read the same state. They do, unless there are
/// commits without a pause. Waits for locks up to `busy_timeout`, as both connections do.
///
/// # Errors
/// As [`begin_reading`].
pub(crate) fn begin_reading_with<'a>(
    other: &Connection,
    connection: &'a Connection,
    path: &Path,
    busy_timeout: Duration,
) -> Result<(Transaction<'a>, bool)> {
    let failed = |e| Error::sqlite("read database", path, &e);
    // Commits of others change it (https://www.sqlite.org/pragma.html#pragma_data_version).
    let version = |connection: &Connection| pragma::<i64>(connection, "data_version").map_err(failed);
    let (begun, mut tries) = (Instant::now(), TRIES);
    loop {
        let before = version(connection)?;
        other.execute_batch("BEGIN; PRAGMA data_version").map_err(failed)?;
        // In rollback mode, whoever is about to commit lets nobody begin and waits for `other`: so that one yields.
        connection.busy_timeout(Duration::ZERO).map_err(failed)?;
        let started = begin_reading(connection, path);
        connection.busy_timeout(busy_timeout).map_err(failed)?;
        match started {
            Ok(transaction) => {
                tries -= 1;
                let is_same = version(&transaction)? == before;
                if is_same || tries == 0 {
                    return Ok((transaction, is_same));
                }
            }
            Err(error) if error.kind() != ErrorKind::Busy || begun.elapsed() >= busy_timeout => return Err(error),
            Err(_) => {}
        }
        other.execute_batch("ROLLBACK").map_err(failed)?;
    }
}

/// Hands the database's pages to `each` in their order, and gives what it shows. Together the pages are a complete
/// database in rollback mode, whatever mode the source is in.
///
/// # Errors
/// As [`vacuum_into`](super::vacuum::vacuum_into), and what `each` says.
pub(crate) fn pages(
    transaction: &Transaction<'_>,
    source: &Path,
    progress: &dyn Progress,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Facts> {
    let failed = |e| Error::sqlite("take a snapshot of", source, &e);
    let facts = facts(transaction, source, progress)?;
    let step = Step::begin(
        progress,
        Phase::Snapshot,
        &source.display().to_string(),
        Some(facts.page_count * u64::from(facts.page_size)),
    );
    let mut statement = transaction.prepare("SELECT data FROM sqlite_dbpage ORDER BY pgno").map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut is_first = true;
    while let Some(row) = rows.next().map_err(failed)? {
        let page = row.get_ref(0).and_then(|page| Ok(page.as_blob()?)).map_err(failed)?;
        if std::mem::take(&mut is_first) {
            let mut page = page.to_vec();
            page[WAL_FLAGS].fill(1);
            each(&page)?;
        } else {
            each(page)?;
        }
        step.advance(page.len() as u64);
        if progress.should_stop() {
            return Err(Error::interrupted());
        }
    }
    Ok(facts)
}

/// What the database shows.
///
/// # Errors
/// [`ErrorKind::Damaged`] or [`ErrorKind::Sqlite`] if it can't be read, [`ErrorKind::Interrupted`].
pub(crate) fn facts(connection: &Connection, path: &Path, progress: &dyn Progress) -> Result<Facts> {
    let found = stoppable(connection, progress, || (), read_facts);
    found.map_err(|e| Error::sqlite("read database", path, &e))
}

pub(super) fn read_facts(connection: &Connection) -> rusqlite::Result<Facts> {
    Ok(Facts {
        page_size: pragma(connection, "page_size")?,
        page_count: pragma(connection, "page_count")?,
        encoding: pragma(connection, "encoding")?,
        user_version: pragma(connection, "user_version")?,
        application_id: pragma(connection, "application_id")?,
        schema_sha256: digest(connection, SCHEMA)?,
        tables: tables(connection)?,
    })
}

/// `PRAGMA name`'s value.
pub(crate) fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

/// The digest of what this query prints, a line each: whoever has `sqlite3` and `sha256sum` can compute it too.
const SCHEMA: &str = "SELECT type || '|' || name || '|' || tbl_name || '|' || coalesce(sql, '') \
                      FROM sqlite_schema ORDER BY type, name, tbl_name";

/// The same without what a VACUUM may change: the first words of a statement that was edited by hand, and tables of
/// SQLite's own that have become useless, such as `sqlite_sequence` without AUTOINCREMENT.
const VACUUMED_SCHEMA: &str = "SELECT type || '|' || name || '|' || tbl_name || '|' || substr(sql, instr(sql, '(')) \
                               FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name, tbl_name";

/// What a database and a compact copy of it have in common.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub schema: Digest,
    /// Tables with rows.
    pub tables: Vec<Table>,
}

impl Contents {
    /// The contents of a database with these `tables`.
    pub fn of(connection: &Connection, tables: &[Table]) -> rusqlite::Result<Self> {
        let tables = tables.iter().filter(|table| table.rows > 0).cloned().collect();
        Ok(Self { schema: digest(connection, VACUUMED_SCHEMA)?, tables })
    }
}

fn digest(connection: &Connection, query: &str) -> rusqlite::Result<Digest> {
    let mut text = Vec::new();
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        text.extend_from_slice(row.get_ref(0)?.as_bytes()?);
        text.push(b'\n');
    }
    Ok(Digest::of(&text))
}

/// The first column as text. SQLite doesn't make sure that it is UTF-8: what isn't is shown as U+FFFD.
pub(super) fn text(row: &Row<'_>) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned())
}

/// Tables that hold rows of their own: virtual tables keep theirs in shadow tables, which are listed. Not by
/// `pragma_table_list`, which expands every view.
pub(super) fn table_names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Tables that hold rows of their own, each with how many it has.
pub(crate) fn tables(connection: &Connection) -> rusqlite::Result<Vec<Table>> {
    let count = |name: String| {
        let count = format!("SELECT count(*) FROM {}", quoted(&name));
        let rows = connection.query_row(&count, [], |row| row.get(0))?;
        Ok(Table { name, rows })
    };
    table_names(connection)?.into_iter().map(count).collect()
}

/// A name as SQL takes it, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// How often a long SQLite call is looked after.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// Runs `work`, one long SQLite call, while another thread calls `tick` now and then and passes on the wish to stop. If
/// there is no other thread to be had, that wish waits until the work is done.
pub(crate) fn stoppable<T>(
    connection: &Connection,
    progress: &dyn Progress,
    mut tick: impl FnMut() + Send,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    thread::scope(|scope| {
        let (working, ended) = mpsc::channel::<()>();
        let interrupt = connection.get_interrupt_handle();
        let look_after = move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                tick();
                if progress.should_stop() {
                    interrupt.interrupt();
                }
            }
        };
        let _ = thread::Builder::new().spawn_scoped(scope, look_after);
        let result = work(connection);
        drop(working);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::super::vacuum::vacuum_into;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_missing_database_stays_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.db");
        assert_eq!(open_read_only(&path, PATIENCE).unwrap_err().kind(), ErrorKind::MissingSource);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_database_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.db");
        fs::write(&path, "plain text, longer than a header, and nothing that SQLite could open. ".repeat(20)).unwrap();
        assert_eq!(open_read_only(&path, PATIENCE).unwrap_err().kind(), ErrorKind::NotADatabase);
        assert_eq!(open_read_only(folder.path(), PATIENCE).unwrap_err().kind(), ErrorKind::NotADatabase);
    }

    #[test]
    fn a_locked_database_is_an_error_after_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("CREATE TABLE t(x); PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE").unwrap();
        let error = open_read_only(&path, Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        let stopped = open_stoppable(&path, Duration::from_secs(3600), &crate::testing::fixtures::Stop).unwrap_err();
        assert_eq!(stopped.kind(), ErrorKind::Interrupted);
    }

    #[test]
    fn a_copy_by_pages_is_the_database_in_rollback_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch(
                "PRAGMA page_size = 512; PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(x);
                 INSERT INTO t VALUES (randomblob(5000)), (randomblob(5000)); DELETE FROM t WHERE rowid = 1",
            )
            .unwrap();
        let reader = open_read_only(&path, PATIENCE).unwrap();
        let mut image = Vec::new();
        let facts = pages(&begin_reading(&reader, &path).unwrap(), &path, &Silent, |page| {
            image.extend_from_slice(page);
            // The snapshot is frozen: what is committed now is not in it.
            writer.execute_batch("INSERT INTO t VALUES (1)").unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(image.len() as u64, facts.page_count * u64::from(facts.page_size));
        let copy = folder.path().join("copy.db");
        fs::write(&copy, &image).unwrap();
        let copied = open_read_only(&copy, PATIENCE).unwrap();
        assert_eq!(pragma::<String>(&copied, "journal_mode").unwrap(), "delete");
        assert_eq!(super::facts(&copied, &copy, &Silent).unwrap(), facts);
        assert_eq!(facts.tables, [Table { name: "t".into(), rows: 1 }]);
    }

    #[test]
    fn two_that_begin_together_read_the_same_whatever_is_committed_meanwhile() {
        for (mode, rounds) in [("wal", 200), ("delete", 20)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.db");
            let writer = Connection::open(&path).unwrap();
            writer.busy_timeout(PATIENCE).unwrap();
            let setup = format!("PRAGMA journal_mode = {mode}; PRAGMA synchronous = off; CREATE TABLE t(x)");
            writer.execute_batch(&setup).unwrap();
            let (stop, stopped) = mpsc::channel::<()>();
            let commits = thread::spawn(move || {
                while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
                }
            });
            let rows = |connection: &Connection| -> u64 {
                connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
            };
            let one = open_read_only(&path, PATIENCE).unwrap();
            let mut same = 0;
            for _ in 0..rounds {
                let other = open_read_only(&path, PATIENCE).unwrap();
                let (transaction, is_same) = begin_reading_with(&other, &one, &path, PATIENCE).unwrap();
                assert!(!is_same || rows(&transaction) == rows(&other), "{mode}");
                same += u32::from(is_same);
            }
            drop(stop);
            commits.join().unwrap();
            assert!(same > 0, "{mode}");
        }
    }

    #[test]
    fn a_copy_by_pages_stops_when_asked_to_and_when_nobody_takes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        let reader = open_read_only(&path, PATIENCE).unwrap();
        let reader = begin_reading(&reader, &path).unwrap();
        let stopped = pages(&reader, &path, &crate::testing::fixtures::Stop, |_| Ok(()));
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
        let refused = pages(&reader, &path, &Silent, |_| Err(Error::new(ErrorKind::NoSpace, "full")));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::NoSpace);
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
