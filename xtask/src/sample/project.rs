//! The sample project. The same seed makes the same project: nothing in it comes from the clock.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use chrono::{DateTime, TimeDelta};
use fastrand::Rng;
use rusqlite::Connection;

use super::session::session;

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

/// Makes the project in `dir`, with a database of `size_mb` · 10⁶ bytes. A file that exists stays and is an error.
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
}
