//! The project that a bench works on, and the application that changes its database between two backups.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta};
use fastrand::Rng;
use rusqlite::{Connection, OpenFlags};

use super::peers::Change;
use crate::sample::{self, DATABASE};

const SEED: u64 = 16;

/// The part of all rows that a change concerns.
const PART: u64 = 1000;

/// A project, and a folder for each contestant beside it.
pub struct Ground {
    /// Its folder.
    pub dir: PathBuf,
    /// The size of its database in bytes, when it was made.
    pub bytes: u64,
}

impl Ground {
    /// Makes a project with a database of `size_mb` · 10⁶ bytes.
    pub fn make(dir: PathBuf, size_mb: u64) -> anyhow::Result<Self> {
        let mut ground = Self { dir, bytes: 0 };
        sample::create(&ground.project(), size_mb, SEED)?;
        ground.bytes = fs::metadata(ground.database()).context("read the size of the database")?.len();
        Ok(ground)
    }

    /// The project's folder.
    pub fn project(&self) -> PathBuf {
        self.dir.join("project")
    }

    /// Its database.
    pub fn database(&self) -> PathBuf {
        self.project().join(DATABASE)
    }
}

/// Opens a sample's database for writing, so that no `-wal` stays beside it.
fn open(database: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// What tells one state of a sample's database from another: the sessions, and the power in all meter values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    sessions: u64,
    power: u64,
}

impl Content {
    /// The content of a database.
    pub fn of(database: &Path) -> anyhow::Result<Self> {
        let sql = "SELECT (SELECT count(*) FROM sessions), (SELECT sum(power_w) FROM meter_values)";
        let read = || open(database)?.query_row(sql, [], |row| Ok(Self { sessions: row.get(0)?, power: row.get(1)? }));
        read().with_context(|| format!("read the content of {}", database.display()))
    }
}

/// The application: it has the database open, so that the log is there as long as it runs.
pub struct Application {
    database: Connection,
    rng: Rng,
    time: DateTime<chrono::Utc>,
}

impl Application {
    /// Starts it. Nothing is changed.
    pub fn start(database: &Path) -> anyhow::Result<Self> {
        let opened = open(database).with_context(|| format!("open {}", database.display()))?;
        // Not a fixed seed, so that no message is recorded twice: what is the same is stored only once by some.
        let (rng, time) = (Rng::new(), DateTime::UNIX_EPOCH + TimeDelta::days(20_800));
        Ok(Self { database: opened, rng, time })
    }

    /// Changes the database, in one transaction.
    pub fn apply(&mut self, change: Change) -> anyhow::Result<()> {
        let apply = match change {
            Change::Nothing => Ok(()),
            Change::Session => self.record(1),
            Change::Little => self.rows().and_then(|rows| self.record(rows / PART / 10)),
            Change::Recorded => self.rows().and_then(|rows| self.record(rows / PART)),
            Change::Scattered => self.scatter(),
        };
        apply.context("change the database")
    }

    /// Records sessions until that many rows have changed, or one session.
    fn record(&mut self, rows: u64) -> rusqlite::Result<()> {
        let transaction = self.database.transaction()?;
        let changed = || transaction.query_row("SELECT total_changes()", [], |row| row.get::<_, u64>(0));
        let until = changed()? + rows.max(1);
        while changed()? < until {
            self.time += TimeDelta::minutes(5);
            let samples = self.rng.i64(4..20);
            sample::session(&transaction, &mut self.rng, self.time, samples)?;
        }
        transaction.commit()
    }

    /// Changes meter values at equal distances in the whole table.
    fn scatter(&mut self) -> rusqlite::Result<()> {
        let values: u64 = self.database.query_row("SELECT count(*) FROM meter_values", [], |row| row.get(0))?;
        let distance = (values * PART / self.rows()?).max(1);
        let first = self.rng.u64(..distance);
        let sql = "UPDATE meter_values SET power_w = power_w + 1 WHERE id % ? = ?";
        self.database.execute(sql, [distance, first]).map(drop)
    }

    /// All rows of the large tables.
    fn rows(&self) -> rusqlite::Result<u64> {
        let sql = "SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM meter_values)
                   + (SELECT count(*) FROM ocpp_messages)";
        self.database.query_row(sql, [], |row| row.get(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of a new sample, and how many of them `change` concerns.
    fn changed(change: Change) -> (u64, u64) {
        let dir = tempfile::tempdir().unwrap();
        let ground = Ground::make(dir.path().join("ground"), 2).unwrap();
        let mut application = Application::start(&ground.database()).unwrap();
        let rows = application.rows().unwrap();
        let before = Content::of(&ground.database()).unwrap();
        application.apply(change).unwrap();
        assert_eq!(Content::of(&ground.database()).unwrap() == before, change == Change::Nothing);
        (rows, application.database.query_row("SELECT total_changes()", [], |row| row.get(0)).unwrap())
    }

    #[test]
    fn a_thousandth_of_the_rows_changes_or_none() {
        assert_eq!(changed(Change::Nothing).1, 0);
        let (rows, scattered) = changed(Change::Scattered);
        assert!((rows / 1100..=rows / 900 + 1).contains(&scattered), "{scattered} of {rows}");
        let (rows, recorded) = changed(Change::Recorded);
        // A session has at most 45 rows.
        assert!((rows / 1000..rows / 1000 + 45).contains(&recorded), "{recorded} of {rows}");
    }
}
