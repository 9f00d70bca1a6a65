//! Writers that keep the sample's database busy. They use the clock. They number their commits without a gap, so that a
//! copy can be checked for missing ones.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use chrono::{TimeDelta, Utc};
use fastrand::Rng;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::session::{run, session, stamp};

/// What writers commit, and how often.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// A whole session, some milliseconds after the last one.
    Sessions,
    /// A meter value, so often in a second.
    Values(u32),
    /// A meter value, as often as it can.
    Endless,
}

/// Threads that commit small transactions, each on its own connection. Dropped, they stop.
pub struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

#[derive(Default)]
struct Shared(Mutex<Progress>, Condvar);

#[derive(Default)]
struct Progress {
    committed: Vec<u64>,
    stop: bool,
}

impl Writers {
    /// Starts `count` writers, numbered from 0. Each continues after the last commit of its number in the database,
    /// which must be a sample's.
    pub fn start(db: &Path, count: u32) -> anyhow::Result<Self> {
        Self::start_at(db, count, Pace::Sessions)
    }

    /// The same, at a pace.
    pub fn start_at(db: &Path, count: u32, pace: Pace) -> anyhow::Result<Self> {
        let open = |writer| open(db, writer).with_context(|| format!("open {}", db.display()));
        let opened = (0..count).map(open).collect::<anyhow::Result<Vec<_>>>()?;
        let (connections, committed): (Vec<_>, _) = opened.into_iter().unzip();
        let shared = Arc::new(Shared::default());
        shared.update(|now| now.committed = committed);
        let spawn = |(writer, db)| {
            let shared = shared.clone();
            thread::spawn(move || shared.write(writer, db, pace).inspect_err(|_| shared.update(|now| now.stop = true)))
        };
        let threads = connections.into_iter().enumerate().map(spawn).collect();
        Ok(Self { shared, threads })
    }

    /// The number of the last commit of each writer that is known to be in the database.
    pub fn committed(&self) -> Vec<u64> {
        self.shared.lock().committed.clone()
    }

    /// Waits until each writer has committed `n` more. An error if one failed (then all stop): see `stop`.
    pub fn wait_for_commits(&self, n: u64) -> anyhow::Result<()> {
        let goal: Vec<u64> = self.committed().iter().map(|seq| seq + n).collect();
        let short = |now: &mut Progress| !now.stop && now.committed.iter().zip(&goal).any(|(seq, goal)| seq < goal);
        let now = self.shared.1.wait_while(self.shared.lock(), short).unwrap_or_else(PoisonError::into_inner);
        ensure!(!now.stop, "a writer failed");
        Ok(())
    }

    /// Ends the writers: the number of the last commit of each, or the first failure.
    pub fn stop(mut self) -> anyhow::Result<Vec<u64>> {
        self.join().map(|()| self.committed())
    }

    fn join(&mut self) -> anyhow::Result<()> {
        self.shared.update(|now| now.stop = true);
        let ends: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        ends.into_iter().try_for_each(|end| end.map_err(|_| anyhow!("a writer panicked"))?)
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        // Errors are reported by `stop`.
        let _ = self.join();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lock());
        self.1.notify_all();
    }

    fn write(&self, writer: usize, mut db: Connection, pace: Pace) -> anyhow::Result<()> {
        let mut rng = Rng::new();
        let mut next = Instant::now();
        while !self.lock().stop {
            let seq = self.lock().committed[writer] + 1;
            let committed = match pace {
                Pace::Sessions => commit(&mut db, &mut rng, writer, seq),
                Pace::Values(_) | Pace::Endless => commit_value(&mut db, &mut rng, writer, seq),
            };
            committed.with_context(|| format!("commit {seq} of writer {writer}"))?;
            self.update(|now| now.committed[writer] = seq);
            match pace {
                Pace::Sessions => thread::sleep(Duration::from_millis(rng.u64(2..8))),
                Pace::Endless => {}
                Pace::Values(in_a_second) => {
                    next += Duration::from_secs(1) / in_a_second;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            }
        }
        Ok(())
    }
}

/// A writer's connection and its last commit. Without CREATE: a missing database is an error, not a new one.
fn open(path: &Path, writer: u32) -> rusqlite::Result<(Connection, u64)> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.busy_timeout(Duration::from_secs(30))?;
    db.execute_batch("PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL")?;
    let sql = "SELECT ifnull(max(seq), 0) FROM commits WHERE writer = ?";
    let last: u32 = db.query_row(sql, [writer], |row| row.get(0))?;
    Ok((db, last.into()))
}

fn commit(db: &mut Connection, rng: &mut Rng, writer: usize, seq: u64) -> rusqlite::Result<()> {
    let (tx, now) = (db.transaction_with_behavior(TransactionBehavior::Immediate)?, Utc::now());
    session(&tx, rng, now - TimeDelta::minutes(20), 3)?;
    run(&tx, "INSERT INTO commits VALUES (?, ?, ?)", (writer, seq, stamp(now)))?;
    tx.commit()
}

/// A meter value of the newest session, and the count of another one.
fn commit_value(db: &mut Connection, rng: &mut Rng, writer: usize, seq: u64) -> rusqlite::Result<()> {
    let (tx, now) = (db.transaction_with_behavior(TransactionBehavior::Immediate)?, stamp(Utc::now()));
    let newest: i64 = tx.query_row("SELECT max(id) FROM sessions", [], |row| row.get(0))?;
    run(&tx, "INSERT INTO meter_values VALUES (NULL, ?, ?, ?, 11000, 230.0)", (newest, &now, seq))?;
    run(&tx, "UPDATE sessions SET start_wh = start_wh + 1 WHERE id = ?", [rng.i64(1..=newest)])?;
    run(&tx, "INSERT INTO commits VALUES (?, ?, ?)", (writer, seq, &now))?;
    tx.commit()
}

/// Checks that the database contains the commits of each writer from 1 to some k without a gap, and that k is not below
/// `at_least`. Returns the k of each. An error names a writer and the missing commits.
pub fn check_commits(db: &Path, at_least: &[u64]) -> anyhow::Result<Vec<u64>> {
    let file = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_ONLY).context("open the database")?;
    let mut commits = file.prepare("SELECT writer, seq FROM commits ORDER BY writer, seq")?;
    let mut commits = commits.query([])?;
    let mut last = vec![0; at_least.len()];
    while let Some(row) = commits.next()? {
        let (writer, seq) = (row.get::<_, u32>(0)? as usize, u64::from(row.get::<_, u32>(1)?));
        last.resize(last.len().max(writer + 1), 0);
        last[writer] += 1;
        ensure!(seq == last[writer], "writer {writer}: commit {} is missing, {seq} is there", last[writer]);
    }
    for (writer, (last, least)) in last.iter().zip(at_least).enumerate() {
        ensure!(last >= least, "writer {writer}: commits {} to {least} are missing", last + 1);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::project::{DATABASE, create};

    fn sample(seed: u64) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), 1, seed).unwrap();
        let db = dir.path().join(DATABASE);
        (dir, db)
    }

    #[test]
    fn writers_commit_without_gaps_and_go_on_where_they_stopped() {
        let (_dir, db) = sample(5);
        let writers = Writers::start(&db, 4).unwrap();
        writers.wait_for_commits(10).unwrap();
        let early = writers.committed();
        let last = writers.stop().unwrap();
        assert!(early.iter().all(|&seq| seq >= 10));
        assert_eq!(check_commits(&db, &early).unwrap(), last);
        let writers = Writers::start(&db, 2).unwrap();
        writers.wait_for_commits(1).unwrap();
        let later = writers.stop().unwrap();
        assert_eq!(check_commits(&db, &last).unwrap(), [&later[..], &last[2..]].concat());
    }

    #[test]
    fn writers_at_any_pace_commit_without_gaps() {
        let (_dir, db) = sample(7);
        let mut last = vec![0];
        for pace in [Pace::Values(500), Pace::Endless, Pace::Sessions] {
            let writers = Writers::start_at(&db, 1, pace).unwrap();
            writers.wait_for_commits(5).unwrap();
            let now = writers.stop().unwrap();
            assert!(now[0] >= last[0] + 5, "{pace:?}");
            last = now;
        }
        assert_eq!(check_commits(&db, &last).unwrap(), last);
    }

    #[test]
    fn what_is_missing_is_named_and_so_is_a_writer_that_failed() {
        let (_dir, db) = sample(6);
        let run = |sql| Connection::open(&db).unwrap().execute_batch(sql).unwrap();
        let check = |at_least: &[u64]| check_commits(&db, at_least).map_err(|error| error.to_string());
        run("INSERT INTO commits VALUES (0, 1, ''), (1, 1, ''), (1, 2, ''), (1, 4, '')");
        assert_eq!(check(&[]).unwrap_err(), "writer 1: commit 3 is missing, 4 is there");
        run("DELETE FROM commits WHERE seq = 4");
        assert_eq!(check(&[1, 5]).unwrap_err(), "writer 1: commits 3 to 5 are missing");
        let writers = Writers::start(&db, 1).unwrap();
        run("DROP TABLE commits");
        assert!(writers.wait_for_commits(u64::MAX / 2).is_err());
        assert!(format!("{:#}", writers.stop().unwrap_err()).contains("of writer 0: no such table: commits"));
    }
}
