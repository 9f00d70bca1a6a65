//! Hostile databases and files: they can't use up the memory or the time of the machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;

use rusqlite::Connection;
use serde_json::json;

use crate::hostile::{bounded, bounded_by};
use crate::support::{CommandOutput, Project, forge, shell, wait_for};

/// Changes the text of a schema entry without SQLite executing it.
fn redefine(path: &Path, name: &str, column: &str, value: &str) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA writable_schema = on").unwrap();
    let sql = format!("UPDATE sqlite_schema SET {column} = ?1 WHERE name = ?2");
    assert_eq!(connection.execute(&sql, [value, name]).unwrap(), 1);
}

/// An index on a value of a gigabyte and a half, in a few kilobytes.
fn with_vast_index(path: &Path) {
    Connection::open(path)
        .unwrap()
        .execute_batch(
            "CREATE TABLE vast(a); INSERT INTO vast VALUES (500000000);
             CREATE INDEX by_length ON vast(length(hex(zeroblob(a % 10))))",
        )
        .unwrap();
    redefine(path, "by_length", "sql", "CREATE INDEX by_length ON vast(length(hex(zeroblob(a))))");
}

/// Views that each join the one before with itself, as deep as SQLite allows, and a thousand views of the last.
fn with_nest_of_views(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let views = (1..16).map(|n| format!("CREATE VIEW v{n} AS SELECT a.id FROM v{} a, v{} b;", n - 1, n - 1));
    let more = (0..1000).map(|n| format!("CREATE VIEW w{n} AS SELECT * FROM v15;"));
    let views: String = views.chain(more).collect();
    connection.execute_batch(&format!("BEGIN; CREATE VIEW v0 AS SELECT id FROM sessions; {views} COMMIT")).unwrap();
}

/// Changes the stored database, and makes its manifest vouch for that.
fn stored(change: impl FnOnce(&Path)) -> (Project, String) {
    let project = Project::new();
    let id = project.backup();
    forge(&project, &id, "sessions_db", true, change);
    (project, id)
}

#[test]
fn an_index_on_a_vast_value_takes_little_memory() {
    let (project, id) = stored(with_vast_index);
    for command in [format!("verify --from {id}"), format!("restore --yes --from {id}")] {
        // It is refused before it is computed, since there would be no memory for it.
        let ran = bounded(&project, &command);
        assert!(ran.expect(12).all().contains("too big"), "{command}: {ran:?}");
    }
    let live = Project::new();
    with_vast_index(&live.path("data/sessions.db"));
    for command in ["backup", "doctor --deep"] {
        let ran = bounded(&live, command);
        assert!(ran.code != 0 && ran.all().contains("too big"), "{command}: {ran:?}");
    }
}

#[test]
fn a_nest_of_views_is_never_expanded() {
    let project = Project::new();
    with_nest_of_views(&project.path("data/sessions.db"));
    let commands = [
        "backup",
        "backup --no-rotate",
        "verify --full",
        "drill",
        "status",
        "restore --dry-run --from latest",
        "restore --yes --from latest",
        "restore --yes --undo",
    ];
    for command in commands {
        bounded(&project, command).expect(0);
    }
    bounded(&project, "doctor --deep");
    project.write(
        "ops/backup.toml",
        "[[database]]\nname = 'sessions_db'\npath = 'data/sessions.db'\nsnapshot = 'pages'\n",
    );
    bounded(&project, "backup").expect(0);
    bounded(&project, "restore --yes --from latest").expect(0);
    assert_eq!(project.sessions(), 1000);
}

#[test]
fn a_table_that_has_the_name_of_a_view_does_not_have_it_expanded() {
    let (project, id) = stored(|path| {
        with_nest_of_views(path);
        redefine(path, "v15", "name", "other");
        redefine(path, "stations", "name", "v15");
    });
    for command in [format!("verify --from {id}"), format!("restore --yes --from {id}")] {
        bounded(&project, &command).expect(12);
    }
}

#[test]
fn a_probe_may_ask_views() {
    let project = Project::new();
    with_nest_of_views(&project.path("data/sessions.db"));
    let settings =
        "[[database]]\nname = 'sessions_db'\npath = 'data/sessions.db'\nprobes = ['SELECT count(*) = 1000 FROM v0']";
    project.write("ops/backup.toml", settings);
    project.backup();
    bounded(&project, "drill").expect(0);
    // Work that would take too long ends at a limit of SQLite, or at the memory limit.
    project.write("ops/backup.toml", &settings.replace("v0", "v15, v15"));
    let said = bounded(&project, "drill").stderr;
    assert!(said.contains("too many references") || said.contains("out of memory"), "{said}");
}

#[test]
fn what_applications_have_in_their_schemas_passes_all_that_is_limited() {
    let project = Project::new();
    project.execute(
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT CHECK (length(body) < 100000000),
           size AS (length(body)) STORED, upper TEXT AS (upper(body)));
         CREATE INDEX by_lower ON notes(lower(body), size);
         CREATE VIEW long AS SELECT * FROM notes WHERE size > 1000000;
         CREATE VIRTUAL TABLE search USING fts5(body);
         CREATE VIEW found AS SELECT n.id FROM notes n JOIN search s ON s.rowid = n.id;
         CREATE TRIGGER indexed AFTER INSERT ON notes BEGIN INSERT INTO search(rowid, body) VALUES (new.id, new.body); END;
         INSERT INTO notes(body) VALUES (replace(hex(zeroblob(1500000)), '00', 'A ')), ('short');",
    );
    project.write(
        "ops/backup.toml",
        "[[database]]\nname = 'sessions_db'\npath = 'data/sessions.db'\n\
         probes = ['SELECT count(*) = 1 FROM long', 'SELECT count(*) = 2 FROM found']\n",
    );
    for command in ["backup", "verify", "drill", "restore --yes --from latest", "doctor --deep"] {
        let ran = bounded_by(400, &project, command);
        assert!(ran.code == 0 || command.starts_with("doctor") && !ran.all().contains("integrity_check:"), "{ran:?}");
    }
}

// What is no file.

#[test]
fn a_pipe_beside_a_database_is_not_waited_for() {
    for suffix in ["-journal", "-wal"] {
        let project = Project::new();
        project.execute("PRAGMA journal_mode = delete");
        shell(project.root(), &format!("mkfifo data/sessions.db{suffix}"));
        for command in ["doctor --deep", "status", "restore --yes --from latest"] {
            bounded(&project, command);
        }
        let ran = bounded(&project, "backup");
        assert!(ran.expect(3).stderr.contains(&format!("sessions.db{suffix} is not a file")), "{ran:?}");
    }
}

#[test]
fn a_pipe_or_a_device_in_the_place_of_a_configuration_file_or_the_settings_is_not_waited_for() {
    let pipe = |project: &Project, path: &str| drop(shell(project.root(), &format!("rm -f {path}; mkfifo {path}")));
    let project = Project::new();
    pipe(&project, ".env");
    let ran = bounded(&project, "doctor");
    assert!(ran.all().contains(".env can't be read (it is not a plain file)"), "{ran:?}");
    fs::create_dir(project.path("ops")).unwrap();
    pipe(&project, "ops/backup.toml");
    let commands = ["list", "backup", "status", "doctor", "config show", "restore --yes --from latest"];
    for command in commands {
        let ran = bounded(&project, command);
        assert!(ran.code != 0 && ran.all().contains("/ops/backup.toml are no plain file"), "{command}: {ran:?}");
    }
    fs::remove_file(project.path("ops/backup.toml")).unwrap();
    symlink("/dev/zero", project.path("ops/backup.toml")).unwrap();
    for command in commands {
        assert_ne!(bounded(&project, command).code, 0, "{command}");
    }
    shell(project.root(), "rm ops/backup.toml; head -c 200M /dev/zero | tr '\\0' '#' >ops/backup.toml");
    let ran = bounded(&project, "list");
    assert!(ran.expect(2).stderr.contains("are longer than 1 MiB"), "{ran:?}");
    let adopted = Project::empty();
    pipe(&adopted, ".gitignore");
    assert!(bounded(&adopted, "init").all().contains("not a plain file"));
}

// What no program can help.

/// The signal that kills a process which reads a mapped file beyond its new end.
const SIGBUS: i32 = 7;

#[test]
fn a_run_that_dies_of_a_shared_memory_file_cut_off_meanwhile_leaves_all_as_it_was_and_shows() {
    let project = Project::new();
    let good = project.backup();
    let shm = project.path("data/sessions.db-shm");
    let mut killed = None;
    for _ in 0..200 {
        let mut run =
            project.command(["backup", "--no-rotate"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut ended = None;
        wait_for("the run to end", || {
            let _ = fs::File::options().write(true).open(&shm).and_then(|file| file.set_len(0));
            ended = run.try_wait().unwrap();
            ended.is_some()
        });
        if ended.and_then(|status| status.signal()) == Some(SIGBUS) {
            killed = ended;
            break;
        }
    }
    assert!(killed.is_some(), "no run died of it");
    let status = CommandOutput::of(&mut project.command(["status", "--json"])).json();
    assert_eq!(status["last"]["what"], json!("killed"), "{status}");
    bounded(&project, &format!("verify --from {good}")).expect(0);
    bounded(&project, "backup").expect(0);
    assert_eq!(shell(project.root(), "ls -A backups/.staging"), "");
}
