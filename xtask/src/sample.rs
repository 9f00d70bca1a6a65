//! A sample of the Charger API's project, and writers that keep its database busy: for the demo and for benchmarks.
//!
//! The same seed makes the same project: nothing in it comes from the clock. Writers do use the clock, and number
//! their commits without a gap, so that what a copy holds of them can be told afterwards ([`check_commits`]).

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use fastrand::Rng;
use rusqlite::{Connection, OpenFlags, Params, TransactionBehavior};
use serde_json::{Value, json};

type Time = DateTime<Utc>;

/// The path of the sample's database, below the project's folder.
pub const DATABASE: &str = "data/sessions.db";

/// The tables of the API, and 48 stations with two connectors each.
const SCHEMA: &str = "
PRAGMA application_id = 0x45564350; PRAGMA user_version = 7;
CREATE TABLE stations (id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, vendor TEXT NOT NULL, model TEXT);
CREATE TABLE connectors (id INTEGER PRIMARY KEY, station_id INTEGER NOT NULL REFERENCES stations,
    number INTEGER NOT NULL, max_power_w INTEGER NOT NULL, UNIQUE (station_id, number));
CREATE TABLE sessions (id INTEGER PRIMARY KEY, connector_id INTEGER NOT NULL REFERENCES connectors,
    id_tag TEXT NOT NULL, started_at TEXT NOT NULL, start_wh INTEGER NOT NULL, stopped_at TEXT, stop_wh INTEGER);
CREATE TABLE meter_values (id INTEGER PRIMARY KEY, session_id INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
    at TEXT NOT NULL, energy_wh INTEGER NOT NULL, power_w INTEGER NOT NULL, voltage_v REAL NOT NULL);
CREATE TABLE ocpp_messages (id INTEGER PRIMARY KEY, station_id INTEGER NOT NULL REFERENCES stations,
    at TEXT NOT NULL, message TEXT NOT NULL CHECK (json_valid(message)));
CREATE TABLE commits (writer INTEGER, seq INTEGER, at TEXT, PRIMARY KEY (writer, seq));
CREATE INDEX sessions_running ON sessions (connector_id) WHERE stopped_at IS NULL;
CREATE INDEX sessions_by_tag ON sessions (lower(id_tag), started_at); -- OCPP: an idTag is case-insensitive
CREATE INDEX meter_values_by_session ON meter_values (session_id, at);
CREATE INDEX ocpp_messages_by_station ON ocpp_messages (station_id, at);
CREATE VIEW energy_by_day AS SELECT date(started_at) AS day, sum(stop_wh - start_wh) / 1000.0 AS kwh
    FROM sessions WHERE stopped_at IS NOT NULL GROUP BY day;
WITH RECURSIVE n (id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM n WHERE id < 48)
    INSERT INTO stations SELECT id, format('DE*CHG*E%05d', id), 'Voltwerk', iif(id % 8, 'Duo 22', 'HPC 150') FROM n;
INSERT INTO connectors SELECT 2 * s.id + n.column1 - 2, s.id, n.column1, iif(s.id % 8, 22000, 150000)
    FROM stations s, (VALUES (1), (2)) n;";

const STATION_INFO: &str = "SELECT json_pretty(json_object('stations', json_group_array(json_object(
    'identity', identity, 'vendor', vendor, 'model', model, 'connectors', 2)))) FROM stations";

const SETTINGS: &str = r#"# What `cargo xtask` backs up in this project. What isn't set here has its default.
project = "charger-api"

[[database]]
name = "sessions_db"
path = "data/sessions.db"
# A drill restores a copy and asks it these: each must return true.
probes = ["SELECT count(*) > 0 FROM sessions", "SELECT sum(kwh) > 0 FROM energy_by_day"]

[[files]]
name = "config"
paths = [".env", "data/station_info.json"]
"#;

/// Makes the project in `dir`, with a database of `size_mb` · 10⁶ bytes. What is there already stays and is an error.
pub fn create(dir: &Path, size_mb: u64, seed: u64) -> anyhow::Result<()> {
    let mut rng = Rng::with_seed(seed);
    let secrets = format!("API_KEY=demo-{:032x}\nOCPP_PASSWORD=demo-{:016x}", rng.u128(..), rng.u64(..));
    let env = format!("# invented values\nDATABASE_PATH=data/sessions.db\nPORT=8080\n{secrets}\n");
    create_file(&dir.join(".env"), 0o600, &env)?;
    create_file(&dir.join("ops/backup.toml"), 0o644, SETTINGS)?;
    create_file(&dir.join(DATABASE), 0o640, "")?;
    let stations =
        fill(&dir.join(DATABASE), size_mb.saturating_mul(1_000_000), &mut rng).context("fill the database")?;
    create_file(&dir.join("data/station_info.json"), 0o644, &stations)
}

fn create_file(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let write = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(text.as_bytes())
    };
    write().with_context(|| format!("create {}", path.display()))
}

/// Records sessions up to that size, without a journal: half a sample is worth nothing. Returns its stations.
fn fill(path: &Path, bytes: u64, rng: &mut Rng) -> rusqlite::Result<String> {
    let mut db = Connection::open(path)?;
    db.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536")?;
    let tx = db.transaction()?;
    tx.execute_batch(SCHEMA)?;
    let mut at = DateTime::UNIX_EPOCH + TimeDelta::days(20_089); // 2025-01-01
    while tx.pragma_query_value(None, "page_count", |row| row.get::<_, u32>(0)).map(u64::from)? * 4096 < bytes {
        at += TimeDelta::seconds(rng.i64(60..600));
        let samples = rng.i64(4..20);
        session(&tx, rng, at, samples)?;
    }
    tx.commit()?;
    db.execute_batch("PRAGMA journal_mode = WAL")?;
    db.query_row(STATION_INFO, [], |row| row.get(0))
}

/// Records a session: the station says that it is there, a car comes, is measured every five minutes, and leaves.
fn session(db: &Connection, rng: &mut Rng, start: Time, samples: i64) -> rusqlite::Result<()> {
    let (connector, max_w) = (rng.i64(1..=96), rng.i64(7_000..22_000));
    let (station, number) = ((connector + 1) / 2, 2 - connector % 2);
    let tag = format!("DE-CHG-C{:05}", rng.u32(..4000));
    let mut wh = start.timestamp() / 30; // a meter only counts up
    let id =
        run(db, "INSERT INTO sessions VALUES (NULL, ?, ?, ?, ?, NULL, NULL)", (connector, &tag, stamp(start), wh))?;
    let status = |status| json!({"connectorId": number, "errorCode": "NoError", "status": status});
    let boot = json!({"chargePointVendor": "Voltwerk", "chargePointModel": "Duo 22"});
    let hello = if rng.u8(..) < 8 { ("BootNotification", boot) } else { ("Heartbeat", json!({})) };
    call(db, rng, station, start, hello.0, &hello.1)?;
    let begin = json!({"connectorId": number, "idTag": tag, "meterStart": wh, "timestamp": stamp(start)});
    call(db, rng, station, start, "StartTransaction", &begin)?;
    call(db, rng, station, start, "StatusNotification", &status("Charging"))?;
    let time = |sample| start + TimeDelta::minutes(5 * sample);
    for sample in 1..=samples {
        let at = time(sample) + TimeDelta::milliseconds(rng.i64(0..9_000));
        let (w, volts) = (max_w - rng.i64(0..2_000), f64::from(rng.u16(22_500..23_800)) / 100.0);
        wh += w / 12;
        run(db, "INSERT INTO meter_values VALUES (NULL, ?, ?, ?, ?, ?)", (id, stamp(at), wh, w, volts))?;
        let values = [("Energy.Active.Import.Register", "Wh", wh), ("Power.Active.Import", "W", w)]
            .map(|(measurand, unit, value)| json!({"measurand": measurand, "unit": unit, "value": value.to_string()}));
        let values = json!([{"timestamp": stamp(at), "sampledValue": values}]);
        let meter = json!({"connectorId": number, "transactionId": id, "meterValue": values});
        call(db, rng, station, at, "MeterValues", &meter)?;
    }
    if rng.u8(..) < 4 {
        return Ok(()); // The station lost its line.
    }
    let end = time(samples + 1);
    run(db, "UPDATE sessions SET stopped_at = ?, stop_wh = ? WHERE id = ?", (stamp(end), wh, id))?;
    let stop = json!({"transactionId": id, "meterStop": wh, "timestamp": stamp(end), "reason": "EVDisconnected"});
    call(db, rng, station, end, "StopTransaction", &stop)?;
    call(db, rng, station, end, "StatusNotification", &status("Available"))
}

/// An OCPP call is `[2, id, action, payload]` (OCPP-J 1.6, section 4.2.1).
fn call(db: &Connection, rng: &mut Rng, from: i64, at: Time, name: &str, args: &Value) -> rusqlite::Result<()> {
    let message = format!(r#"[2,"{:032x}","{name}",{args}]"#, rng.u128(..));
    let received = stamp(at + TimeDelta::milliseconds(rng.i64(40..4_000)));
    run(db, "INSERT INTO ocpp_messages VALUES (NULL, ?, ?, ?)", (from, received, message)).map(drop)
}

fn run(db: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<i64> {
    db.prepare_cached(sql)?.execute(params)?;
    Ok(db.last_insert_rowid())
}

fn stamp(at: Time) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Threads that commit small transactions all the while, each on its own connection. Dropped, they stop.
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
    /// Starts `count` writers, numbered from 0. Each goes on after the last commit of its number in the database,
    /// which must be one that [`create`] made.
    pub fn start(db: &Path, count: u32) -> anyhow::Result<Self> {
        let open = |writer| open(db, writer).with_context(|| format!("open {}", db.display()));
        let opened = (0..count).map(open).collect::<anyhow::Result<Vec<_>>>()?;
        let (connections, committed): (Vec<_>, _) = opened.into_iter().unzip();
        let shared = Arc::new(Shared::default());
        shared.update(|now| now.committed = committed);
        let spawn = |(writer, db)| {
            let shared = shared.clone();
            thread::spawn(move || shared.write(writer, db).inspect_err(|_| shared.update(|now| now.stop = true)))
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
        // Who wants to know how they ended calls `stop`.
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

    fn write(&self, writer: usize, mut db: Connection) -> anyhow::Result<()> {
        let mut rng = Rng::new();
        while !self.lock().stop {
            let seq = self.lock().committed[writer] + 1;
            commit(&mut db, &mut rng, writer, seq).with_context(|| format!("commit {seq} of writer {writer}"))?;
            self.update(|now| now.committed[writer] = seq);
            thread::sleep(Duration::from_millis(rng.u64(2..8)));
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

/// Checks that the database holds of each writer the commits from 1 to some k without a gap, and at least as many as
/// `at_least` says for it; returns the k of each. An error names a writer and what of it is missing.
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

    fn sample(size_mb: u64, seed: u64) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), size_mb, seed).unwrap();
        let db = dir.path().join(DATABASE);
        (dir, db)
    }

    fn ask(db: &Path, sql: &str) -> String {
        Connection::open(db).unwrap().query_row(&format!("SELECT ({sql}) || ''"), [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn the_same_seed_makes_the_same_project() {
        let (a, b, c) = (sample(2, 1).0, sample(2, 1).0, sample(2, 2).0);
        let read = |dir: &tempfile::TempDir, file| fs::read(dir.path().join(file)).unwrap();
        for file in [".env", "data/station_info.json", "ops/backup.toml", DATABASE] {
            assert!(read(&a, file) == read(&b, file), "{file}");
        }
        assert!(read(&a, DATABASE) != read(&c, DATABASE));
    }

    #[test]
    fn the_database_is_sound_and_as_large_as_asked_for() {
        let (dir, db) = sample(5, 3);
        assert!((4_500_000..5_500_000).contains(&fs::metadata(&db).unwrap().len()));
        assert_eq!(ask(&db, "SELECT * FROM pragma_integrity_check"), "ok");
        assert_eq!(ask(&db, "SELECT count(*) FROM pragma_foreign_key_check"), "0");
        assert_eq!(ask(&db, "SELECT * FROM pragma_journal_mode"), "wal");
        let unlike = "SELECT count(*) FROM sessions s
                      WHERE stop_wh <> (SELECT max(energy_wh) FROM meter_values WHERE session_id = s.id)";
        assert_eq!(ask(&db, unlike), "0");
        assert!(create(dir.path(), 1, 4).is_err(), "a project that is there is left alone");
    }

    #[test]
    fn writers_commit_without_gaps_and_go_on_where_they_stopped() {
        let (_dir, db) = sample(1, 5);
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
    fn what_is_missing_is_named_and_so_is_a_writer_that_failed() {
        let (_dir, db) = sample(1, 6);
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
