//! `doctor`, without the schedule, which needs a systemd or a cron of its own (tests/systemd, tests/cron).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::{CommandOutput, Project, as_nobody, is_root, program, shell};

/// The finding of a check.
struct Finding {
    verdict: String,
    detail: String,
    hint: String,
}

/// The finding of one check. The exit code must match it; a host without a schedule fails anyway.
#[track_caller]
fn doctor(project: &Project, flags: &str, check: &str) -> Finding {
    let ran = project.run(&format!("doctor --json {flags}"));
    let document = ran.json();
    let checks = document["checks"].as_array().unwrap();
    let failed = checks.iter().any(|found| found["verdict"] == "failure");
    assert_eq!((ran.code, &document["ok"]), (i32::from(failed), &Value::from(!failed)), "{document:#}");
    let found = checks.iter().find(|found| found["check"] == check).unwrap_or_else(|| panic!("{check}: {document:#}"));
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_string();
    Finding { verdict: text("verdict"), detail: text("detail"), hint: text("hint") }
}

#[track_caller]
fn expect(found: &Finding, verdict: &str, detail: &str, hint: &str) {
    assert_eq!(found.verdict, verdict, "{}", found.detail);
    assert!(found.detail.contains(detail), "{}", found.detail);
    assert!(found.hint.contains(hint), "{}", found.hint);
}

#[test]
fn increments_are_advised_where_they_would_serve() {
    let advised = |project: &Project| {
        let document = project.run("doctor --json").json();
        let checks = document["checks"].as_array().unwrap();
        checks.iter().any(|found| found["check"] == "increments")
    };
    let project = Project::new();
    for change in ["", "UPDATE sessions SET kwh = kwh + 1"] {
        project.backup();
        project.execute(change);
        project.backup();
        assert_eq!(advised(&project), !change.is_empty());
    }
    let found = doctor(&project, "", "increments");
    expect(
        &found,
        "ok",
        "off, and sessions_db changes between backups",
        "increments would serve: set `every = \"1m\"`",
    );
    project.write("ops/backup.toml", "[increments]\nevery = '1m'\n");
    assert!(!advised(&project), "they are on");
    project.write("ops/backup.toml", "");
    project.execute("PRAGMA journal_mode = delete");
    assert!(!advised(&project));
}

#[test]
fn every_check_has_a_line_and_what_to_do_one_of_its_own() {
    let project = Project::new();
    project.backup();
    project.run("drill").expect(0);
    let ran = project.run("doctor");
    let _tidy = project.tidy();
    // What follows depends on the host: disks, schedule, clock.
    let own: Vec<&str> = ran.stdout.lines().take_while(|line| !line.contains("file system")).collect();
    let text = own.join("\n").replace(&rusqlite::version().to_string(), "VERSION");
    insta::assert_snapshot!(text, @"
    ok       settings: the defaults, there is no ops/backup.toml in ROOT
    ok       database sessions_db: opens: SIZE, wal mode, pages of 4096 bytes
    ok       database sessions_db: WAL: none, or empty
    ok       database sessions_db: SQLite: written last by SQLite VERSION
    ok       files config: 2 files to be read
    ok       backup folder: ROOT/backups, mode 0700
    ");
    let last = ran.stdout.lines().last().unwrap();
    assert!(last.contains(" checks: ") && last.contains("warning"), "{last}");
    assert_eq!(ran.stderr, "");
}

#[test]
fn settings_that_can_not_be_read_are_a_finding() {
    let project = Project::new();
    project.write("ops/backup.toml", "lock_wait = 'soon'");
    expect(&doctor(&project, "", "settings"), "failure", "ops/backup.toml, line 1: ", "every setting with its default");
    let ran = CommandOutput::of(program().args(["doctor", "--root", "/nonsense"]));
    assert!(ran.expect(2).stderr.contains("can't use as the application's folder: /nonsense"), "{ran:?}");
}

#[test]
fn a_database_is_looked_at_and_read_whole_on_request() {
    let project = Project::new();
    let check = |check: &str| doctor(&project, "", &format!("database sessions_db{check}"));
    expect(&check(""), "ok", "wal mode, pages of 4096 bytes", "");
    let deep = || doctor(&project, "--deep", "database sessions_db: integrity");
    expect(&deep(), "ok", "nothing wrong", "");
    assert!(!project.run("doctor").stdout.contains("integrity"), "it takes long, so only on request");

    // An index that lacks a row, which `quick_check` would not find. Each step uses a new connection, which reads the
    // schema anew.
    project.execute("PRAGMA journal_mode = delete; CREATE TABLE saved AS SELECT * FROM sqlite_schema");
    for step in [
        "DELETE FROM sqlite_schema WHERE name = 'by_station'",
        "INSERT INTO sessions VALUES (9999, 1, 1)",
        "INSERT INTO sqlite_schema SELECT * FROM saved WHERE name = 'by_station'",
    ] {
        let sqlite3 = "sqlite3 -cmd '.dbconfig defensive off' data/sessions.db 'PRAGMA writable_schema = on'";
        shell(project.root(), &format!("{sqlite3} \"{step}\""));
    }
    expect(&deep(), "failure", "integrity_check: ", "restore --from latest --dry-run");

    project.write("data/sessions.db", &"no database ".repeat(100));
    expect(&check(""), "failure", "can't read database", "not an SQLite file, or an encrypted one");
    fs::remove_file(project.path("data/sessions.db")).unwrap();
    expect(&check(""), "failure", "doesn't exist", "restore --from latest");
}

#[test]
fn an_application_with_the_wal_reset_bug_is_warned_of() {
    let project = Project::new();
    // The number that an older library leaves in the header, at offset 96.
    shell(project.root(), r"printf '\000\056\143\001' | dd of=data/sessions.db bs=1 seek=96 conv=notrunc status=none");
    let found = || doctor(&project, "", "database sessions_db: SQLite");
    expect(&found(), "warning", "SQLite 3.40.1, which has the WAL-reset bug", "3.51.3 or newer");
    shell(project.root(), "sqlite3 data/sessions.db 'PRAGMA journal_mode = delete' > /dev/null");
    assert_eq!(found().verdict, "ok", "only a WAL can be reset");
}

#[test]
fn a_wal_far_larger_than_its_database_is_warned_of() {
    let project = Project::new();
    let writer = project.open();
    writer
        .execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(100000))")
        .unwrap();
    let found = || doctor(&project, "", "database sessions_db: WAL");
    assert_eq!(found().verdict, "ok", "a small one is no trouble");
    writer.execute_batch("PRAGMA synchronous = off").unwrap();
    while fs::metadata(project.path("data/sessions.db-wal")).unwrap().len() < 70 << 20 {
        writer.execute_batch("UPDATE t SET x = randomblob(100000)").unwrap();
    }
    expect(&found(), "warning", "far larger than the database", "wal_checkpoint(TRUNCATE)");
}

#[test]
fn configuration_that_can_not_be_read_is_warned_of() {
    let project = Project::new();
    fs::remove_file(project.path(".env")).unwrap();
    expect(
        &doctor(&project, "", "files config"),
        "warning",
        ".env can't be read (No such file",
        "`paths` in the settings",
    );
}

#[test]
fn the_backup_folder_has_to_be_one_and_private() {
    let project = Project::new();
    let folder = || doctor(&project, "", "backup folder");
    expect(&folder(), "failure", "backups doesn't exist", " backup");
    project.write("backups", "");
    expect(&folder(), "failure", "backups is not a folder", "another `backup_dir`");
    fs::remove_file(project.path("backups")).unwrap();
    project.backup();
    assert_eq!(folder().verdict, "ok");
    fs::set_permissions(project.path("backups"), fs::Permissions::from_mode(0o755)).unwrap();
    expect(&folder(), "warning", "can be read by others (mode 0755)", "chmod 700 ");
    fs::set_permissions(project.path("backups"), fs::Permissions::from_mode(0o500)).unwrap();
    expect(&folder(), "failure", "denies access to its owner (mode 0500)", "chmod 700 ");
    fs::set_permissions(project.path("backups"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn backups_beside_their_databases_are_warned_of() {
    let project = Project::new();
    project.backup();
    let file_system = |flags: &str| doctor(&project, flags, "file system");
    expect(&file_system(""), "warning", "if it breaks, both are lost", "`backup_dir` to another disk");
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let flags = format!("--backup-dir {}", elsewhere.path().display());
    assert_eq!(file_system(&flags).verdict, "ok");
}

#[test]
fn backups_that_git_would_commit_are_a_failure() {
    let project = Project::new();
    project.backup();
    let ignored = || doctor(&project, "", "ignored by git");
    expect(&ignored(), "ok", "no git repository", "");
    shell(project.root(), "git init --quiet . 2> /dev/null");
    if is_root() {
        // Git runs what the repository's own settings name.
        shell(project.root(), "git config core.fsmonitor 'touch /tmp/fsmonitor; false'");
        expect(&ignored(), "warning", "root doesn't run git in it", "check as another user");
        // In a project of another user's, it runs as that user.
        shell(project.root(), "git config --unset core.fsmonitor; chown -R 65534:65534 .; chmod 0755 .");
    }
    expect(&ignored(), "failure", "with their secrets", "echo '/backups/' >> ");
    shell(project.root(), &ignored().hint);
    expect(&ignored(), "ok", "yes", "");
    // A folder outside the repository is not in it, even if a link in the repository leads there.
    let elsewhere = tempfile::tempdir().unwrap();
    shell(elsewhere.path(), "chmod 0755 .");
    shell(project.root(), &format!("mv backups {0}/b; ln -s {0}/b backups", elsewhere.path().display()));
    expect(&ignored(), "ok", "no git repository", "");
    let mut command = project.command(["doctor", "--json", "--backup-dir"]);
    fs::create_dir(project.path("data/backups")).unwrap();
    let without_git = CommandOutput::of(command.arg(project.path("data/backups")).env("PATH", "/nonsense"));
    assert!(without_git.stdout.contains("\"not known: "), "{without_git:?}");
}

#[test]
fn a_lock_that_is_held_and_leftovers_are_told_apart() {
    let project = Project::new();
    project.backup();
    assert_eq!(doctor(&project, "", "lock").detail, "free");
    assert_eq!(doctor(&project, "", "staging").detail, "empty");
    project.write("backups/.staging/left.db", "x");
    expect(
        &doctor(&project, "", "staging"),
        "warning",
        "1 file left by a run that was cut short",
        "the next run removes them",
    );
    let lock = fs::File::open(project.path("backups/.lock")).unwrap();
    lock.lock().unwrap();
    expect(&doctor(&project, "", "lock"), "warning", "held by backup (pid ", "released when that run ends");
    expect(&doctor(&project, "", "staging"), "ok", "of the run that holds the lock", "");
}

#[test]
fn the_newest_backup_its_drill_and_its_date_are_held_against_the_clock() {
    let project = Project::new();
    let id = project.backup();
    let check = |check: &str| doctor(&project, "", check);
    expect(&check("newest backup"), "ok", "s old, complete", "");
    expect(&check("last drill"), "warning", "never", " drill");
    project.run("drill").expect(0);
    expect(&check("last drill"), "ok", "passed", "");
    project.write(
        "ops/backup.toml",
        "[[database]]\nname = 'sessions_db'\npath = 'data/sessions.db'\nprobes = ['SELECT 0']",
    );
    project.run("drill").expect(12);
    expect(&check("last drill"), "failure", "failed", " drill -v");
    project.write(
        "backups/history.jsonl",
        &project.read("backups/history.jsonl").replace("\"at\":\"20", "\"at\":\"19").replace("failed", "ok"),
    );
    expect(&check("last drill"), "warning", "d ago", " drill");

    project.redate(&id, "20200101_120000");
    expect(&check("newest backup"), "failure", "it should be younger than 26h", " timer`");
    project.redate("20200101_120000", "20990101_120000");
    expect(&check("newest backup and clock"), "failure", "ahead of the clock", "timedatectl");
}

#[test]
fn room_for_two_more_backups_is_asked_for() {
    let project = Project::new();
    let id = project.backup();
    expect(&doctor(&project, "", "free space"), "ok", "two more backups, with room to make them, take ", "");
    project.edit_manifest(&id, |manifest| manifest["artifacts"][0]["plain_bytes"] = (1_u64 << 60).into());
    expect(&doctor(&project, "", "free space"), "failure", "take 1.15 EB", "rotate --keep-days 3");
}

#[test]
fn doctor_changes_nothing_and_needs_no_right_to() {
    let project = Project::new();
    project.backup();
    let before = project.tree();
    project.run("doctor --deep");
    assert_eq!(project.tree(), before);
    if is_root() {
        // A user who can't read the folder is told which user can.
        shell(project.root(), "chmod 755 .");
        let temp = tempfile::tempdir().unwrap();
        let ran = as_nobody(&project, temp.path(), "doctor");
        assert!(ran.expect(1).stdout.contains("failure  backups: can't list "), "{ran:?}");
        assert!(ran.stdout.contains("hint: check the owner and mode of that path"), "{ran:?}");
    }
}

#[test]
fn an_unfinished_restore_is_a_failure() {
    let project = Project::new();
    let id = project.backup();
    let line = format!(
        r#"{{"at":"2025-12-10T15:00:00+01:00","command":"restore","outcome":"begun","id":"{id}","restore":{{"target":"{}","kept":null,"written":[],"moved_aside":[]}}}}"#,
        project.root().display()
    );
    project.write("backups/history.jsonl", &(project.read("backups/history.jsonl") + &line + "\n"));
    let what = format!("the restore of {id} begun");
    expect(&doctor(&project, "", "restore"), "failure", &what, &format!("restore --from {id}"));
}
