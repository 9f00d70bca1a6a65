//! Increments: what they hold, with `rdiff` as a witness, and what they can't continue.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;
use serde_json::Value;

use crate::support::{Project, program, shell};

/// A project whose database has pages of this size, some thousand of them.
fn project_of(page_size: u32) -> Project {
    let project = Project::empty();
    project.write(".env", "PORT=8080\n");
    project
        .write("ops/backup.toml", "[increments]\nevery = \"1m\"\n[[files]]\nname = \"config\"\npaths = [\".env\"]\n");
    let rows = 1_000_000 / page_size.max(1000);
    project.execute(&format!(
        "PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = incremental; PRAGMA journal_mode = wal;
         CREATE TABLE sessions(id INTEGER PRIMARY KEY, note BLOB);
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {rows})
         INSERT INTO sessions SELECT x, randomblob({page_size} * 2) FROM n"
    ));
    project
}

/// What `backup --incremental` made, if it must succeed.
fn increment(project: &Project) -> Value {
    project.run("backup --incremental --json").expect(0).json()
}

fn id_of(made: &Value) -> &str {
    made["backup"]["id"].as_str().unwrap_or_else(|| panic!("{made}"))
}

/// The bytes of the live database, all of it in its file, as one in rollback mode.
fn live_image(project: &Project) -> Vec<u8> {
    let connection = project.open();
    let _: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    drop(connection);
    let mut image = fs::read(project.path("data/sessions.db")).unwrap();
    image[18..20].fill(1);
    image
}

/// The image of a point, put together by the standard tools alone.
fn image_by_rdiff(project: &Project, point: &str) -> Vec<u8> {
    let mut parts = Vec::new();
    let mut id = point.to_string();
    loop {
        let manifest = project.manifest(&id);
        let artifacts = manifest["artifacts"].as_array().unwrap();
        let database = artifacts.iter().find(|artifact| artifact["name"] == "sessions_db");
        parts.extend(database.map(|database| database["file"].as_str().unwrap().to_string()));
        match manifest["parent"].as_str() {
            Some(parent) => id = parent.to_string(),
            None => break,
        }
    }
    let base = parts.pop().unwrap();
    let work = project.path("work");
    fs::create_dir_all(&work).unwrap();
    shell(&work, &format!("gunzip -c ../backups/{base} > image"));
    for part in parts.iter().rev() {
        shell(&work, &format!("gunzip -c ../backups/{part} | rdiff patch image - next && mv next image"));
    }
    fs::read(work.join("image")).unwrap()
}

/// Both the standard tools and `restore` make the live database of a point.
#[track_caller]
fn assert_point_is_live(project: &Project, point: &str, what: &str) {
    let live = live_image(project);
    let rebuilt = image_by_rdiff(project, point);
    assert!(rebuilt == live, "{what}: {} and {} bytes", rebuilt.len(), live.len());
    project.run(&format!("restore --from {point} --to {}/restored --yes", project.root().display())).expect(0);
    let mut restored = fs::read(project.path("restored/data/sessions.db")).unwrap();
    // A restore sets the journal mode, which counts as a change.
    for counter in [18..20, 24..28, 92..100] {
        restored[counter.clone()].copy_from_slice(&live[counter]);
    }
    assert!(restored == live, "{what}: {} and {} bytes", restored.len(), live.len());
    shell(project.root(), "rm -r restored work");
}

#[test]
fn rdiff_alone_restores_any_point() {
    for page_size in [512, 1024, 4096, 65_536] {
        let project = project_of(page_size);
        increment(&project);
        for change in [
            "UPDATE sessions SET note = zeroblob(9) WHERE id = 3",
            "INSERT INTO sessions SELECT id + 100000, note FROM sessions WHERE id < 5",
            "DELETE FROM sessions WHERE id > 100000; PRAGMA incremental_vacuum",
            "CREATE TABLE others(x); CREATE INDEX by_x ON others(x)",
            "PRAGMA user_version = 7",
            "INSERT INTO sessions(note) VALUES (randomblob(70000)); DROP TABLE others",
        ] {
            project.execute(change);
            let made = increment(&project);
            assert_eq!(made["backup"]["type"], "increment", "{page_size} {change}: {}", made["full_because"]);
            assert_point_is_live(&project, id_of(&made), change);
        }
        project.run("verify --all").expect(0);
        project.run("drill").expect(0);
    }
}

/// A chain of two days ago: a full backup and three increments, a minute apart. Returns their ids and images.
fn old_chain(project: &Project) -> (Vec<String>, Vec<Vec<u8>>) {
    let day = shell(project.root(), "date -u -d '2 days ago' +%Y%m%d").trim().to_string();
    let (mut ids, mut images): (Vec<String>, Vec<Vec<u8>>) = Default::default();
    for number in 0..4 {
        project.execute(&format!("UPDATE sessions SET note = zeroblob({number}) WHERE id IN (3, {number} * 40)"));
        let made = increment(project);
        images.push(live_image(project));
        ids.push(id_of(&made).to_string());
    }
    for (number, made) in ids.iter_mut().enumerate().rev() {
        let id = format!("{day}_100{number}00");
        project.redate(made, &id);
        if number > 0 {
            project.edit_manifest(&id, |manifest| manifest["parent"] = format!("{day}_100{}00", number - 1).into());
        }
        *made = id;
    }
    (ids, images)
}

#[test]
fn rotation_merges_the_increments_of_an_hour_and_rdiff_restores_what_is_left() {
    let project = project_of(4096);
    let (ids, images) = old_chain(&project);
    let ran = project.run("rotate --dry-run").expect(0).stdout.clone();
    assert!(ran.contains(&format!("merge   {}  merged into {}\n", ids[1], ids[2])), "{ran}");
    assert!(ran.contains(&format!("keep    {}  hourly, for 7 days, needed by {}\n", ids[2], ids[3])), "{ran}");
    assert!(ran.ends_with("dry run: 0 backups would be removed, 1 increment merged into others\n"), "{ran}");
    let ran = project.run("rotate").expect(0).stdout.clone();
    assert!(ran.contains("rotation: the increments of 1 hour merged, 1 backup removed"), "{ran}");
    for point in [0, 2, 3] {
        assert!(image_by_rdiff(&project, &ids[point]) == images[point], "{}", ids[point]);
    }
    assert_eq!(project.manifest(&ids[2])["parent"], ids[0].as_str());
    project.run("verify --all").expect(0);
    project.run(&format!("drill --from {}", ids[2])).expect(0);
    let ran = project.run("rotate").expect(0).stdout.clone();
    assert!(ran.ends_with("rotation: nothing to remove\n"), "{ran}");
}

#[test]
fn increments_that_cannot_be_merged_are_told_and_stay() {
    let project = project_of(4096);
    let (ids, _) = old_chain(&project);
    let file = project.artifact(&ids[1], "sessions_db");
    let mut bytes = fs::read(project.path(&file)).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 1;
    fs::write(project.path(&file), bytes).unwrap();
    let before = project.stored();
    let ran = project.run("rotate").expect(3).all();
    assert!(ran.contains(&format!("error: the increments of the hour up to {} are not merged: ", ids[2])), "{ran}");
    assert_eq!(project.stored(), before);
    assert_eq!(project.ledger().last().unwrap()["outcome"], "partial");
}

/// An application that dies in the middle: it never checkpointed, and copies of its files are in `old`. An increment was
/// made after the copies.
const CRASH: &str = "
import os, sqlite3, shutil, subprocess, sys
c = sqlite3.connect('sessions.db', isolation_level=None)
c.execute('PRAGMA wal_autocheckpoint = 0')
c.execute('UPDATE sessions SET note = 1 WHERE id = 7')
os.mkdir('old')
for name in ['sessions.db', 'sessions.db-wal']:
    shutil.copy(name, 'old')
c.execute('UPDATE sessions SET note = 2 WHERE id = 8')
subprocess.run([sys.argv[1], '--root', '..', 'backup', '--incremental'], check=True)
os.kill(os.getpid(), 9)
";

fn program_path() -> String {
    program().get_program().to_string_lossy().into_owned()
}

/// Whatever happened to the database, the next increment or the full backup in its place is the database.
#[test]
fn whatever_happened_to_the_database_the_next_point_is_what_it_is_now() {
    type Happened = fn(&Project);
    let happenings: [(&str, Happened); 8] = [
        ("a restore", |project| assert_eq!(project.run("restore --from latest --yes").code, 0)),
        ("a VACUUM", |project| project.execute("DELETE FROM sessions WHERE id % 2 = 0; VACUUM")),
        ("another journal mode", |project| {
            project.execute("PRAGMA journal_mode = delete; UPDATE sessions SET note = 'new' WHERE id = 4");
        }),
        ("another mode and back", |project| {
            project.execute("PRAGMA journal_mode = delete; UPDATE sessions SET note = 'new' WHERE id = 4");
            project.execute("PRAGMA journal_mode = wal; UPDATE sessions SET note = 'new' WHERE id = 5");
        }),
        ("another page size", |project| {
            project.execute("PRAGMA journal_mode = delete; PRAGMA page_size = 8192; VACUUM; PRAGMA journal_mode = wal");
        }),
        ("another file in its place", |project| {
            let data = project.path("data");
            shell(&data, "cp sessions.db other.db");
            let other = Connection::open(data.join("other.db")).unwrap();
            other.execute_batch("UPDATE sessions SET note = 'other' WHERE id = 6").unwrap();
            drop(other);
            shell(&data, "mv other.db sessions.db; rm -f sessions.db-wal sessions.db-shm");
        }),
        ("an older copy in its place, log and all", |project| {
            let data = project.path("data");
            shell(
                &data,
                &format!("python3 -c \"{CRASH}\" \"$XTASK\" || test $? = 137").replace("$XTASK", &program_path()),
            );
            shell(&data, "rm sessions.db-shm; cp old/sessions.db sessions.db; cp old/sessions.db-wal sessions.db-wal");
            project.execute("UPDATE sessions SET note = 3 WHERE id = 9");
        }),
        ("an older state of the store", |project| {
            shell(project.root(), "cp -a backups older");
            project.execute("UPDATE sessions SET note = 'a' WHERE id = 10");
            increment(project);
            shell(project.root(), "rm -r backups; mv older backups");
            project.execute("UPDATE sessions SET note = 'b' WHERE id = 11");
        }),
    ];
    for (what, happened) in happenings {
        let project = project_of(4096);
        increment(&project);
        let application = project.open();
        application.execute_batch("UPDATE sessions SET note = 'x' WHERE id = 2").unwrap();
        let before = id_of(&increment(&project)).to_string();
        drop(application);
        happened(&project);
        let made = increment(&project);
        let point = made["backup"]["id"].as_str().unwrap_or(&before).to_string();
        assert_point_is_live(&project, &point, what);
        project.execute("UPDATE sessions SET note = 'y' WHERE id = 3");
        let made = increment(&project);
        assert_eq!(made["backup"]["type"], "increment", "{what}: {made}");
        assert_point_is_live(&project, id_of(&made), what);
    }
}

/// Somebody writes to the file past SQLite, as a broken disk does.
#[test]
fn a_full_backup_tells_of_pages_that_changed_and_that_no_increment_was_told_of() {
    let project = project_of(4096);
    project.execute("INSERT INTO sessions(note) VALUES ('a note that stands in the file as it is')");
    increment(&project);
    let application = project.open();
    application.execute_batch("UPDATE sessions SET note = 'x' WHERE id = 2").unwrap();
    let point = id_of(&increment(&project)).to_string();
    let quiet = project.run("backup --no-rotate").expect(0).stderr.clone();
    assert!(!quiet.contains("log"), "{quiet}");
    application.execute_batch("UPDATE sessions SET note = 'y' WHERE id = 2").unwrap();
    let point = id_of(&increment(&project)).to_string().max(point);
    let path = project.path("data/sessions.db");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|window| window == b"a note").unwrap();
    bytes[at] = b'A';
    let file = fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes[at..=at], at as u64).unwrap();
    let said = project.run("backup --no-rotate").expect(0).stderr.clone();
    let expected = format!(
        "warning: a page of sessions_db changed without its log showing it: increments up to {point} may lack that\n"
    );
    assert_eq!(said, expected);
}

/// Offsets and lengths of 64 bits.
#[test]
#[ignore = "needs 10 GB for a minute: cargo test --package xtask --test cli -- --ignored"]
fn rdiff_restores_an_image_beyond_4_gigabytes() {
    let project = project_of(65_536);
    project.write(
        "ops/backup.toml",
        "[increments]\nevery = \"1m\"\n[codec]\nname = \"none\"\n[[files]]\nname = \"config\"\npaths = [\".env\"]\n",
    );
    // Free pages are a hole in the file.
    let path: PathBuf = project.path("data/sessions.db");
    project.execute("PRAGMA journal_mode = delete; CREATE TABLE filler(x)");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "PRAGMA synchronous = off; PRAGMA journal_mode = wal;
             WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 44)
             INSERT INTO filler SELECT zeroblob(100000000) FROM n; UPDATE sessions SET note = 'late'",
        )
        .unwrap();
    drop(connection);
    let full = increment(&project);
    project.execute("INSERT INTO sessions(note) VALUES (randomblob(700000)); UPDATE filler SET x = x WHERE rowid = 44");
    let made = increment(&project);
    assert_eq!(made["backup"]["type"], "increment", "{full} {made}");
    let [base, part] = [id_of(&full), id_of(&made)].map(|id| project.artifact(id, "sessions_db"));
    shell(project.root(), &format!("rdiff patch backups/{base} backups/{part} image"));
    let image = project.path("image");
    assert!(fs::metadata(&image).unwrap().len() > 4 << 30);
    let restored = Connection::open(image).unwrap();
    let sound: String = restored.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}
