//! The cost of each part of a backup and of a verification: `cargo bench --package backup`.
//!
//! The data is a database like a charger's: rows of JSON, counters and times, about as compressible. `cargo xtask
//! bench` measures whole commands beside other programs.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use backup::{Codec, Digest, Encoding, Manifest, benchmark};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};

const ROWS: u32 = 100_000;

const FILL: &str = "
PRAGMA synchronous = off; PRAGMA journal_mode = off;
CREATE TABLE messages(id INTEGER PRIMARY KEY, station INTEGER, at TEXT, message TEXT);
CREATE INDEX by_station ON messages(station, at);
WITH RECURSIVE n(id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM n WHERE id < ?1)
INSERT INTO messages SELECT id, id * 7919 % 48, datetime(1735689600 + id * 37, 'unixepoch'), json_object(
    'connectorId', id % 2 + 1, 'transactionId', id / 12,
    'meterValue', json_array(json_object('measurand', 'Energy.Active.Import.Register', 'value', id * 48271 % 2147483647),
                             json_object('measurand', 'Power.Active.Import', 'value', id * 16807 % 22000))) FROM n;";

fn make_database(path: &Path) {
    let database = rusqlite::Connection::open(path).expect("a new database");
    let (settings, fill) = FILL.split_once("WITH").expect("two parts");
    database.execute_batch(settings).expect("a schema");
    database.execute(&format!("WITH{fill}"), [ROWS]).expect("rows");
}

fn group<'a>(criterion: &'a mut Criterion, name: &str, bytes: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64)).sample_size(10).measurement_time(Duration::from_secs(3));
    group
}

fn parts(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let (database, copy) = (folder.path().join("sessions.db"), folder.path().join("copy.db"));
    make_database(&database);
    let plain = std::fs::read(&database).expect("the database");

    let mut snapshot = group(criterion, "snapshot", plain.len());
    snapshot.bench_function("vacuum", |bencher| bencher.iter(|| benchmark::vacuum(&database, &copy)));
    snapshot.bench_function("pages", |bencher| bencher.iter(|| benchmark::pages(&database)));
    snapshot.finish();

    for (codec, level) in [(Codec::Gzip, 6), (Codec::Zstd, 1), (Codec::Zstd, 3), (Codec::None, 0)] {
        let encoding = Encoding::new(codec, level).expect("a level of that codec");
        let stored = benchmark::encode(encoding, &plain).expect("an artifact");
        let mut group = group(criterion, &format!("codec {codec} {level}"), plain.len());
        group.bench_function("encode", |bencher| bencher.iter(|| benchmark::encode(encoding, &plain)));
        group.bench_function("decode", |bencher| bencher.iter(|| benchmark::decode(codec, &stored)));
        group.finish();
    }

    let mut hash = group(criterion, "hash", plain.len());
    hash.bench_function("sha256", |bencher| bencher.iter(|| Digest::of(black_box(&plain))));
    hash.finish();

    let mut check = group(criterion, "check", plain.len());
    check.bench_function("integrity and foreign keys", |bencher| bencher.iter(|| benchmark::check(&database)));
    check.finish();
}

fn manifest(criterion: &mut Criterion) {
    let json = include_bytes!("../tests/data/manifest_v1.json");
    let id = "20261124_034135".parse().expect("an id");
    let manifest = Manifest::parse(id, json).expect("a manifest");
    let mut group = group(criterion, "manifest", json.len());
    group.bench_function("parse", |bencher| bencher.iter(|| Manifest::parse(id, black_box(json))));
    group.bench_function("write", |bencher| bencher.iter(|| manifest.to_json()));
    group.finish();
}

criterion_group!(benches, parts, manifest);
criterion_main!(benches);
