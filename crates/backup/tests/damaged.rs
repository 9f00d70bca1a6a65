//! Damaged databases, thousands of them from a fixed seed: none is published without saying so.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should say so")]
#![allow(clippy::disallowed_methods, reason = "tests make the damage that the library must not")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use backup::manifest::Snapshot;
use backup::{
    CheckedEarlier, Codec, DatabaseSource, Encoding, ErrorKind, Integrity, Made, MemoryStore, RelPath, Request, Run,
    Setup, Silent, Sources, Status, Store, Trigger, Verdict,
};
use fastrand::Rng;
use rusqlite::Connection;

/// A sound database of about 60 pages with a bit of everything that a page can be.
fn sound(page_size: usize, more: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.db");
    let connection = Connection::open(&path).unwrap();
    let fill = format!(
        "PRAGMA page_size = {page_size}; {more}; PRAGMA foreign_keys = off;
         CREATE TABLE stations(id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
         CREATE TABLE sessions(id INTEGER PRIMARY KEY, station REFERENCES stations, kwh REAL, note);
         CREATE TABLE tags(tag TEXT, session INTEGER, PRIMARY KEY (tag, session)) WITHOUT ROWID;
         CREATE INDEX by_station ON sessions(station, kwh); CREATE INDEX by_note ON sessions(upper(note));
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {page_size} / 4)
         INSERT INTO sessions SELECT x, x % 9, x / 10.0, printf('%.*c', x % 90, 'n') FROM n;
         INSERT INTO stations SELECT DISTINCT station, 'station ' || station FROM sessions;
         INSERT INTO tags SELECT 'tag ' || id % 7, id FROM sessions;
         INSERT INTO sessions VALUES (100000, 1, 1, randomblob({page_size} * 5));
         DELETE FROM sessions WHERE id % 5 = 0"
    );
    connection.execute_batch(&fill).unwrap();
    connection.close().unwrap();
    fs::read(&path).unwrap()
}

/// Damages `image` in one of the ways that disks, memory and people do.
fn damage(image: &mut Vec<u8>, page_size: usize, random: &mut Rng) {
    let pages = image.len() / page_size;
    if pages == 0 {
        return;
    }
    let page = |random: &mut Rng| random.usize(..pages) * page_size;
    match random.u8(..9) {
        0 => (0..random.usize(1..=8)).for_each(|_| *random.choice(&mut *image).unwrap() ^= 1 << random.u8(..8)),
        // The header of the file.
        1 => image[random.usize(..100)] = random.u8(..),
        2 => image[..random.usize(1..=100)].fill_with(|| random.u8(..)),
        // The header of a page, and the pointers after it.
        3 => {
            let at = page(random) + random.usize(..24);
            image[at] = random.u8(..);
        }
        // A range that was never written.
        4 => {
            let at = random.usize(..image.len());
            let end = image.len().min(at + random.usize(1..=3 * page_size));
            image[at..end].fill(0);
        }
        // Pages in each other's place.
        5 => {
            let (from, to) = (page(random), page(random));
            image.copy_within(from..from + page_size, to);
        }
        // Cut off: anywhere, at a page, at a sector, beside them.
        6 => image.truncate(random.usize(..image.len())),
        7 => image.truncate(page(random) + *random.choice(&[0, 1, page_size - 1, 512]).unwrap()),
        _ => image.extend(std::iter::repeat_n(random.u8(..), random.usize(1..=2 * page_size))),
    }
}

fn setup<'a>(store: &'a dyn Store, folder: &Path) -> Setup<'a> {
    Setup {
        store,
        progress: &Silent,
        now: "2025-12-10T14:00:00Z".parse().unwrap(),
        project: "charger-api".into(),
        root: folder.into(),
        host: "box".into(),
        version: "1.0.0".into(),
        command: "test".into(),
        lock_wait: Duration::ZERO,
        busy_timeout: Duration::ZERO,
        scratch: None,
        max_foreign: u64::MAX,
        temp: folder.into(),
    }
}

/// Backs up `sessions.db` in `folder` as it is, and gives what came of it.
fn back_up(run: &Run<'_>, folder: &Path, snapshot: Snapshot, integrity: Integrity) -> Made {
    let database = DatabaseSource {
        name: "sessions_db".into(),
        path: RelPath::new("sessions.db").unwrap(),
        snapshot,
        probes: Vec::new(),
    };
    let sources = Sources { databases: vec![database], files: Vec::new() };
    let encoding = Encoding::new(Codec::None, 0).unwrap();
    let trigger = Trigger::Manual;
    backup::backup(run, &Request { root: folder, sources: &sources, encoding, trigger, pinned: false, integrity })
        .unwrap()
}

fn verdict(run: &Run<'_>, made: &Made) -> Verdict {
    backup::verify(run, run.catalog().unwrap().get(made.manifest.id).unwrap(), &CheckedEarlier::none()).unwrap().verdict
}

/// What a backup made of a database that may be damaged, in a word; panics at what must not be.
fn outcome(folder: &Path, image: &[u8], snapshot: Snapshot) -> &'static str {
    fs::write(folder.join("sessions.db"), image).unwrap();
    let store = MemoryStore::new();
    let run = Run::begin(setup(&store, folder), &mut |_| {}).unwrap();
    let made = back_up(&run, folder, snapshot, Integrity::Required);
    let Some((_, error)) = made.failures.first() else {
        assert_eq!(verdict(&run, &made), Verdict::Ok, "published as sound");
        return "sound";
    };
    assert_eq!(made.manifest.status, Status::Failed);
    match error.kind() {
        ErrorKind::Damaged => "damaged",
        ErrorKind::NotADatabase => "no database",
        // A schema that reads well enough to ask for what isn't there.
        ErrorKind::Sqlite => "unusable",
        other => panic!("{other:?}: {}", error.one_line()),
    }
}

/// What `--allow-damaged` made of the same database: all of it as it is, and marked so.
fn salvage(folder: &Path, image: &[u8]) -> &'static str {
    let store = MemoryStore::new();
    let run = Run::begin(setup(&store, folder), &mut |_| {}).unwrap();
    let made = back_up(&run, folder, Snapshot::Pages, Integrity::Recorded);
    let artifact = made.manifest.artifacts.first().expect("whatever it is, it is saved");
    let mut saved = Vec::new();
    store.read(&artifact.file).unwrap().read_to_end(&mut saved).unwrap();
    if artifact.damage().is_empty() {
        assert_eq!(verdict(&run, &made), Verdict::Ok);
        return "saved as sound";
    }
    assert!(saved == image, "to the last byte, and no byte more");
    assert_eq!((made.manifest.status, verdict(&run, &made)), (Status::Partial, Verdict::Warning));
    "saved as damaged"
}

/// What this process had in memory at most (`man 5 proc`).
fn peak_memory_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Tries `cases` of them and prints what came of them.
fn sweep(cases: u64) {
    // Where writing costs nothing, if there is such a place.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let shapes = [
        (512, "PRAGMA auto_vacuum = incremental"),
        (1024, "PRAGMA encoding = 'UTF-16le'"),
        (4096, "PRAGMA auto_vacuum = full"),
    ];
    let images = shapes.map(|(page_size, more)| (page_size, sound(page_size, more)));
    let mut count = BTreeMap::new();
    for seed in 0..cases {
        let mut random = Rng::with_seed(seed);
        let (page_size, image) = &images[random.usize(..images.len())];
        let mut image = image.clone();
        (0..random.usize(1..=3)).for_each(|_| damage(&mut image, *page_size, &mut random));
        for snapshot in [Snapshot::Vacuum, Snapshot::Pages] {
            let found = outcome(folder.path(), &image, snapshot);
            *count.entry(format!("{snapshot:?}: {found}")).or_insert(0) += 1;
        }
        *count.entry(format!("allowed: {}", salvage(folder.path(), &image))).or_insert(0) += 1;
    }
    println!("{cases} databases: {count:?}");
    assert!(peak_memory_kb() < 200_000, "whatever their headers say: {} kB", peak_memory_kb());
    let of = |word: &str| count.iter().filter(|(key, _)| key.ends_with(word)).map(|(_, count)| count).sum::<u64>();
    assert!(of(": damaged") > cases / 4 && of(": sound") > 0 && of(": no database") > 0, "{count:?}");
}

#[test]
fn no_damaged_database_is_published_as_sound() {
    sweep(400);
}

#[test]
#[ignore = "the whole takes a minute or two"]
fn none_of_5_000_damaged_databases_is_published_as_sound() {
    sweep(5_000);
}
