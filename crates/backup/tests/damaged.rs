//! Damaged databases, thousands of them from a fixed seed: none is published without a warning.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should say so")]
#![allow(clippy::disallowed_methods, reason = "tests make the damage that the library must not")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use backup::manifest::Snapshot;
use backup::restore::{self, RestoreReport, Selection};
use backup::{
    BackupId, BackupReport, BackupRequest, Codec, DatabaseSource, EarlierChecks, Encoding, ErrorKind, Integrity,
    Ledger, Level, LocalStore, MemoryStore, RelPath, Run, Session, Setup, Silent, Sources, Status, Store as _, Trigger,
    Verdict,
};
use fastrand::Rng;
use rusqlite::Connection;

/// A sound database of about 60 pages, with every kind of page.
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

/// Damages `image` in one of the ways of disks, memory and people.
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

fn setup<'a>(store: &'a dyn LocalStore, folder: &Path) -> Setup<'a> {
    Setup {
        store,
        from: None,
        progress: &Silent,
        now: "2025-12-10T14:00:00Z".parse().unwrap(),
        project: "charger-api".into(),
        root: folder.into(),
        host: "box".into(),
        boot: String::new(),
        version: "1.0.0".into(),
        command: "test".into(),
        lock_wait: Duration::ZERO,
        busy_timeout: Duration::ZERO,
        scratch: None,
        max_foreign: u64::MAX,
        temp: folder.into(),
    }
}

/// The only database, `sessions.db`.
fn sources(snapshot: Snapshot) -> Sources {
    let (name, path) = ("sessions_db".into(), RelPath::new("sessions.db").unwrap());
    Sources { databases: vec![DatabaseSource { name, path, snapshot, probes: Vec::new() }], files: Vec::new() }
}

/// Backs up `sessions.db` in `folder`, and returns the report.
fn back_up(run: &Run<'_>, folder: &Path, snapshot: Snapshot, integrity: Integrity) -> BackupReport {
    let sources = sources(snapshot);
    let encoding = Encoding::new(Codec::None, 0).unwrap();
    let trigger = Trigger::Manual;
    backup::backup(
        run,
        &BackupRequest { root: folder, sources: &sources, encoding, trigger, pinned: false, integrity, tracked: false },
    )
    .unwrap()
}

fn verdict(run: Run<'_>, made: &BackupReport) -> Verdict {
    let (session, earlier) = (Session::from(run), EarlierChecks::none());
    let catalog = session.catalog().unwrap();
    backup::verify(&session, catalog.get(made.manifest.id).unwrap(), Level::Content, &earlier).unwrap().verdict
}

/// The outcome of a backup of a perhaps damaged database, in a word; panics at what must never be.
fn outcome(folder: &Path, image: &[u8], snapshot: Snapshot) -> &'static str {
    fs::write(folder.join("sessions.db"), image).unwrap();
    let store = MemoryStore::new();
    let run = Run::begin(setup(&store, folder), &mut |_| {}).unwrap();
    let made = back_up(&run, folder, snapshot, Integrity::Required);
    let Some((_, error)) = made.failures.first() else {
        assert_eq!(verdict(run, &made), Verdict::Ok, "published as sound");
        return "sound";
    };
    assert_eq!(made.manifest.status, Status::Failed);
    match error.kind() {
        ErrorKind::Damaged => "damaged",
        ErrorKind::NotADatabase => "no database",
        // A schema that can be read, but names tables that don't exist.
        ErrorKind::Sqlite => "unusable",
        other => panic!("{other:?}: {}", error.one_line()),
    }
}

/// The outcome with `--allow-damaged`: all bytes of the database are saved, and it is marked as damaged.
fn salvage(folder: &Path, image: &[u8]) -> &'static str {
    let store = MemoryStore::new();
    let run = Run::begin(setup(&store, folder), &mut |_| {}).unwrap();
    let made = back_up(&run, folder, Snapshot::Pages, Integrity::Recorded);
    let artifact = made.manifest.artifacts.first().expect("whatever it is, it is saved");
    let mut saved = Vec::new();
    store.read(&artifact.file).unwrap().read_to_end(&mut saved).unwrap();
    if artifact.damage().is_empty() {
        assert_eq!(verdict(run, &made), Verdict::Ok);
        return "saved as sound";
    }
    assert!(saved == image, "to the last byte, and no byte more");
    assert_eq!((made.manifest.status, verdict(run, &made)), (Status::Partial, Verdict::Warning));
    "saved as damaged"
}

/// The peak memory of this process, in kB (`man 5 proc`).
fn peak_memory_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Tries this many damaged databases, and prints the outcomes.
fn sweep(cases: u64) {
    // In memory, if there is such a folder: writing costs nothing there.
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

/// A database file and its log, and its rows.
struct Whole {
    page_size: usize,
    image: Vec<u8>,
    wal: Option<Vec<u8>>,
    rows: Vec<String>,
}

impl Whole {
    /// Tables with and without indexes, WITHOUT ROWID, and with overflow pages.
    fn new(page_size: usize, journal_mode: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole.db");
        let connection = Connection::open(&path).unwrap();
        let fill = format!(
            "PRAGMA page_size = {page_size}; PRAGMA journal_mode = {journal_mode}; PRAGMA synchronous = off;
             CREATE TABLE plain(id INTEGER PRIMARY KEY, v TEXT, n INT);
             CREATE TABLE keyless(v);
             CREATE TABLE indexed(id INTEGER PRIMARY KEY, v TEXT UNIQUE, n INT); CREATE INDEX by_n ON indexed(n, v);
             CREATE TABLE clustered(a TEXT, b INT, c, PRIMARY KEY (a, b)) WITHOUT ROWID;
             CREATE TABLE long(id INTEGER PRIMARY KEY, v BLOB);
             WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {page_size} / 4)
             INSERT INTO plain SELECT x, 'row ' || x, x * 7 FROM n;
             INSERT INTO keyless SELECT v FROM plain; INSERT INTO indexed SELECT id, v, n % 5 FROM plain;
             INSERT INTO clustered SELECT 'a' || id % 9, id, v FROM plain;
             INSERT INTO long SELECT id, hex(zeroblob({page_size})) || id FROM plain WHERE id % 30 = 0;"
        );
        connection.execute_batch(&fill).unwrap();
        if journal_mode == "wal" {
            let late = "PRAGMA wal_checkpoint(truncate); PRAGMA wal_autocheckpoint = 0;
                        INSERT INTO plain VALUES (-1, 'late', 0); INSERT INTO clustered VALUES ('late', 1, 1)";
            connection.execute_batch(late).unwrap();
        }
        let wal = fs::read(folder.path().join("whole.db-wal")).ok();
        let (image, rows) = (fs::read(&path).unwrap(), rows(&connection).unwrap());
        Self { page_size, image, wal, rows }
    }

    /// Its file with a wrong number in the header of a page or in the pointers after it: a type, a number of cells, a
    /// freeblock, the start of the content, fragments, the right-most child, a cell.
    fn with_a_wrong_header(&self, random: &mut Rng) -> Vec<u8> {
        let mut image = self.image.clone();
        let pages =
            (0..image.len() / self.page_size).map(|page| page * self.page_size + if page == 0 { 100 } else { 0 });
        let headers: Vec<usize> = pages.filter(|header| [2, 5, 10, 13].contains(&image[*header])).collect();
        let header = *random.choice(&headers).unwrap();
        // Interior pages have a pointer of four bytes before those to the cells.
        let pointers = header + if image[header] < 10 { 12 } else { 8 };
        let cells = usize::from(number(&image, header + 3));
        let of_pointer = |random: &mut Rng| pointers + 2 * random.usize(..cells.max(1));
        let at = match random.u8(..7) {
            0 => random.usize(header..pointers - 1),
            1..=3 => header + 3,
            4 => pointers - 4,
            _ => of_pointer(random),
        };
        let was = number(&image, at);
        let (another, any) = (number(&image, of_pointer(random)), random.u16(..));
        let numbers = [0, was / 2, was.wrapping_sub(1), was.wrapping_add(1), another, any];
        let wrong = *random.choice(&numbers).unwrap();
        image[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
        image
    }
}

fn number(image: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([image[at], image[at + 1]])
}

/// All rows of all tables, read without this library.
fn rows(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut all = Vec::new();
    for table in ["plain", "keyless", "indexed", "clustered", "long"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} NOT INDEXED"))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let values = (0..columns).map(|at| row.get_ref(at).map(|value| format!("{value:?}")));
            all.push(format!("{table} {}", values.collect::<rusqlite::Result<Vec<_>>>()?.join("|")));
        }
    }
    all.sort();
    Ok(all)
}

/// The rows of a database in its backup, if that is complete.
fn backed_up_rows(folder: &Path, snapshot: Snapshot, integrity: Integrity) -> Option<Vec<String>> {
    let store = MemoryStore::new();
    let run = Run::begin(setup(&store, folder), &mut |_| {}).unwrap();
    let made = back_up(&run, folder, snapshot, integrity);
    if made.manifest.status != Status::Complete {
        return None;
    }
    if integrity == Integrity::Required {
        assert_eq!(verdict(run, &made), Verdict::Ok, "complete");
    }
    let copy = folder.join("copy.db");
    let mut stored = Vec::new();
    store.read(&made.manifest.artifacts[0].file).unwrap().read_to_end(&mut stored).unwrap();
    fs::write(&copy, stored).unwrap();
    rows(&Connection::open(&copy).unwrap()).ok()
}

/// Backs up databases with a damaged page header. Prints for how many of them VACUUM INTO would have made a sound copy
/// that lacks rows.
fn sweep_page_headers(cases: u64) {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let folder = folder.path();
    let modes = [(512, "delete"), (1024, "wal"), (4096, "delete"), (512, "wal")];
    let wholes = modes.map(|(page_size, mode)| Whole::new(page_size, mode));
    let (mut hidden, mut complete) = (0, 0);
    for seed in 0..cases {
        let mut random = Rng::with_seed(seed);
        let whole = random.choice(&wholes).unwrap();
        let image = whole.with_a_wrong_header(&mut random);
        let put = || {
            let path = folder.join("sessions.db");
            let _ = fs::remove_file(folder.join("sessions.db-shm"));
            let _ = fs::remove_file(folder.join("sessions.db-wal"));
            fs::write(path, &image).unwrap();
            whole.wal.iter().for_each(|wal| fs::write(folder.join("sessions.db-wal"), wal).unwrap());
        };
        for snapshot in [Snapshot::Vacuum, Snapshot::Pages] {
            put();
            let found = backed_up_rows(folder, snapshot, Integrity::Required);
            assert!(
                found.as_ref().is_none_or(|found| *found == whole.rows),
                "seed {seed}, {snapshot:?}: rows are missing"
            );
            complete += u32::from(found.is_some());
        }
        put();
        let unchecked = backed_up_rows(folder, Snapshot::Vacuum, Integrity::Unchecked);
        hidden += u32::from(unchecked.is_some_and(|rows| rows != whole.rows));
    }
    println!("{cases} databases: {complete} of {} backups complete, {hidden} would have lacked rows", 2 * cases);
    assert!(complete > 0 && u64::from(hidden) > cases / 50, "{complete} {hidden}");
}

#[test]
fn no_backup_is_complete_that_lacks_a_row() {
    sweep_page_headers(300);
}

#[test]
#[ignore = "the whole takes a minute or two"]
fn none_of_10_000_backups_is_complete_that_lacks_a_row() {
    sweep_page_headers(5_000);
}

/// Restores `id` into `folder`, and returns the report.
fn restore(store: &MemoryStore, folder: &Path, id: BackupId, now: &str) -> RestoreReport {
    let setup = Setup { now: now.parse().unwrap(), ..setup(store, folder) };
    let run: Session<'_> = Run::begin(setup, &mut |_| {}).unwrap().into();
    let catalog = run.catalog().unwrap();
    let plan =
        restore::plan(&run, catalog.get(id).unwrap(), folder, Selection::ALL, &sources(Snapshot::Vacuum)).unwrap();
    let keep = Some(Encoding::new(Codec::None, 0).unwrap());
    restore::restore(&run, &plan, keep, &mut || Ok(())).unwrap_or_else(|error| panic!("{error:?}"))
}

fn sound_sessions(path: &Path) -> i64 {
    let rows = "SELECT count(*) FROM sessions WHERE (SELECT integrity_check FROM pragma_integrity_check) = 'ok'";
    Connection::open(path).and_then(|it| it.query_row(rows, [], |row| row.get(0))).unwrap()
}

/// Restores a sound database over a damaged one, and undoes that. Returns in a word what became of the damaged one.
fn over(folder: &Path, sound: &[u8], image: &[u8]) -> &'static str {
    let path = folder.join("sessions.db");
    let clear = || fs::read_dir(folder).unwrap().for_each(|entry| _ = fs::remove_file(entry.unwrap().path()));
    clear();
    fs::write(&path, sound).unwrap();
    let (store, all) = (MemoryStore::new(), sound_sessions(&path));
    let run = Run::begin(setup(&store, folder), &mut |_| {}).unwrap();
    let id = back_up(&run, folder, Snapshot::Vacuum, Integrity::Required).manifest.id;
    drop(run);
    fs::write(&path, image).unwrap();
    let restored = restore(&store, folder, id, "2025-12-11T14:00:00Z");
    assert_eq!(sound_sessions(&path), all);
    let is_aside = !restored.moved_aside.is_empty();
    assert!(!is_aside || fs::read(&restored.moved_aside[0]).unwrap() == image, "moved aside whole");
    let kept = restore::undo(&Ledger::load(&store).unwrap(), folder).unwrap();
    restore(&store, folder, kept, "2025-12-12T14:00:00Z");
    let is_same = fs::read(&path).unwrap() == image;
    clear();
    match (is_aside, is_same) {
        (false, true) => "overwritten, and back to the byte",
        (true, true) => "moved aside, and back to the byte",
        (false, false) => "sound",
        (true, false) => "sound, and moved aside",
    }
}

/// Tries this many damaged databases, half of them damaged in the header or the schema.
fn sweep_over(cases: u64) {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let sound = sound(1024, "PRAGMA auto_vacuum = full");
    let mut count = BTreeMap::new();
    for seed in 0..cases {
        let (mut random, mut image) = (Rng::with_seed(seed), sound.clone());
        if random.bool() {
            damage(&mut image, 1024, &mut random);
        } else {
            let at = if random.bool() { random.usize(..100) } else { random.usize(..3 * 1024) };
            image[at] = random.u8(..);
        }
        *count.entry(over(folder.path(), &sound, &image)).or_insert(0) += 1;
    }
    println!("{cases} databases: {count:?}");
    assert!(
        ["overwritten, and back to the byte", "moved aside, and back to the byte", "sound"]
            .iter()
            .all(|it| count.contains_key(it))
    );
}

#[test]
fn every_damaged_database_can_be_restored_over_and_brought_back() {
    sweep_over(300);
}

#[test]
#[ignore = "the whole takes a few minutes"]
fn each_of_3_000_damaged_databases_can_be_restored_over_and_brought_back() {
    sweep_over(3_000);
}
