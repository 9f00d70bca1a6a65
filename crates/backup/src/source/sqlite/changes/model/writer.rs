//! Writers that do at random what applications do to a database, and the worst of it more often.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fastrand::Rng;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{Connection, ErrorCode};

/// Rows that are changed all the time; those with higher ids come in bulk, and go again.
const ROWS: u32 = 150;

/// A connection that writes, or the next one.
pub(super) struct Writer {
    path: PathBuf,
    rng: Rng,
    connection: Option<Connection>,
}

impl Writer {
    pub fn new(path: &Path, seed: u64) -> Self {
        Self { path: path.to_path_buf(), rng: Rng::with_seed(seed), connection: None }
    }

    /// Does one thing. If others are in the way, it gives up.
    pub fn step(&mut self) {
        match self.act() {
            Err(e) if matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => {
                // The connection may have rolled back by itself.
                let _ = self.connection.as_ref().map(|connection| connection.execute_batch("ROLLBACK"));
            }
            done => done.unwrap(),
        }
    }

    pub fn close(&mut self) {
        self.connection = None;
    }

    fn act(&mut self) -> rusqlite::Result<()> {
        let Some(connection) = self.connection.take() else {
            self.connection = Some(self.open()?);
            return Ok(());
        };
        let sql = if connection.is_autocommit() { self.begin() } else { self.go_on() };
        let connection = self.connection.insert(connection);
        if let Some(sql) = sql {
            return run(connection, &sql);
        }
        self.connection = None;
        Ok(())
    }

    fn open(&mut self) -> rusqlite::Result<Connection> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(Duration::ZERO)?;
        let (cache, level) = (self.rng.choice([20, 20, 2000]).unwrap(), self.rng.u32(0..4));
        run(&connection, &format!("PRAGMA cache_size = {cache}; PRAGMA synchronous = {level}"))?;
        run(&connection, "PRAGMA journal_mode = wal")?;
        Ok(connection)
    }

    /// What to do outside of a transaction; `None` is to close the connection.
    fn begin(&mut self) -> Option<String> {
        let small = self.small();
        Some(match self.rng.u32(..1000) {
            0..400 => small,
            400..430 => format!("BEGIN; {small}; {}; ROLLBACK", self.bulk()),
            430..530 => format!("BEGIN; {}", self.bulk()),
            530..545 => self.bulk(),
            545..630 => format!("DELETE FROM t WHERE id > {ROWS}"),
            630..790 => format!("PRAGMA wal_checkpoint({})", self.one_of(&["passive", "full", "restart", "truncate"])),
            790..820 => format!("PRAGMA incremental_vacuum({})", self.rng.u32(1..50)),
            820..830 => "VACUUM".into(),
            830..860 => format!("PRAGMA user_version = {}", self.rng.u16(..)),
            860..900 => self.schema(),
            900..920 => format!("PRAGMA synchronous = {}", self.rng.u32(0..4)),
            920..940 => format!("PRAGMA wal_autocheckpoint = {}", self.one_of(&["0", "10", "100", "1000"])),
            940..943 => format!("PRAGMA journal_mode = {}", self.one_of(&["delete", "truncate", "persist"])),
            943..970 => "PRAGMA journal_mode = wal".into(),
            _ => return None,
        })
    }

    /// What to do in a transaction.
    fn go_on(&mut self) -> Option<String> {
        let small = self.small();
        Some(match self.rng.u32(..10) {
            0..2 => small,
            2 => format!("SAVEPOINT s; {}; {small}; ROLLBACK TO s", self.bulk()),
            3 => format!("SAVEPOINT s; {small}; RELEASE s"),
            4..7 => "COMMIT".into(),
            7..9 => "ROLLBACK".into(),
            _ => return None,
        })
    }

    fn small(&mut self) -> String {
        let (id, bytes) = (self.rng.u32(1..ROWS), self.rng.u32(1..1200));
        match self.rng.u32(..4) {
            0 => format!("DELETE FROM t WHERE id = {id}"),
            1 => format!("UPDATE t SET v = randomblob({bytes}) WHERE id BETWEEN {id} AND {id} + {}", self.rng.u32(..5)),
            _ => format!("INSERT OR REPLACE INTO t VALUES ({id}, randomblob({bytes}))"),
        }
    }

    /// Changes 1 to 5,000 pages, more often few.
    fn bulk(&mut self) -> String {
        let exponent = (0..3).map(|_| self.rng.u32(1..14)).min().unwrap();
        let most = 1 << exponent;
        let (count, first) = (self.rng.u32(1..=most).min(5000), ROWS + self.rng.u32(1..100));
        format!(
            "WITH RECURSIVE n(x) AS (SELECT {first} UNION ALL SELECT x + 1 FROM n WHERE x < {first} + {count})
             INSERT OR REPLACE INTO t SELECT x, randomblob(400) FROM n"
        )
    }

    fn schema(&mut self) -> String {
        let table = format!("extra{}", self.rng.u32(..5));
        match self.rng.u32(..3) {
            0 => format!("DROP TABLE IF EXISTS {table}"),
            1 => format!("CREATE TABLE IF NOT EXISTS {table} AS SELECT * FROM t WHERE id < 20"),
            _ => format!(
                "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS {table}(id, v);
                 CREATE INDEX IF NOT EXISTS i{table} ON {table}(v); COMMIT"
            ),
        }
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        self.rng.choice(words).unwrap()
    }
}

/// A new database with pages of this size.
pub(super) fn create(path: &Path, page_size: u32, auto_vacuum: u32) {
    let made = Connection::open(path).unwrap();
    let sql = format!(
        "PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum}; PRAGMA journal_mode = wal;
         CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)"
    );
    run(&made, &sql).unwrap();
}

/// Gives the database pages of this size, if nobody has it open.
pub(super) fn resize(path: &Path, page_size: u32) {
    let alone = Connection::open(path).unwrap();
    // It stays as it is if somebody has.
    let sql =
        format!("PRAGMA journal_mode = delete; PRAGMA page_size = {page_size}; VACUUM; PRAGMA journal_mode = wal");
    let _ = run(&alone, &sql);
}

/// Runs all statements to their end: a checkpoint or an incremental VACUUM works while it is stepped.
fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut batch = rusqlite::Batch::new(connection, sql);
    while let Some(mut statement) = batch.next()? {
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(())
}
