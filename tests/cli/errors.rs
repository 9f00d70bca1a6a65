//! Bad input: each case has a message that names the thing, an exit code and one JSON document, and changes nothing.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{CommandOutput, Project, as_nobody, program, shell, wait_for};

/// Runs a command that must be refused with `code`, once as text and once with `--json`. Asserts that both say the same
/// and that nothing was changed. Returns the error's kind and the text.
#[track_caller]
fn refused(project: &Project, code: i32, arguments: &str) -> String {
    let before = project.tree();
    let people = project.run(arguments);
    people.expect(code);
    let kind = refused_in_json(project, code, arguments);
    assert_eq!(project.tree(), before, "{arguments}");
    format!("{kind}\n{}", people.snapshot())
}

/// The error's kind of a run with `--json`. Asserts that its only document says what stderr says.
#[track_caller]
fn refused_in_json(project: &Project, code: i32, arguments: &str) -> String {
    let programs = project.run(&format!("--json {arguments}"));
    let document = programs.expect(code).json();
    let members: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(members, ["error"], "{document}");
    let error = document["error"].as_object().unwrap();
    let mut members: Vec<&str> = error.keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["hint", "kind", "message"]);
    assert!(error["hint"].is_null() || error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{document}");
    let message = error["message"].as_str().unwrap();
    assert!(!message.contains('\n') && !message.ends_with([':', '.']), "{message:?}");
    assert!(programs.stderr.contains("error: "), "{}", programs.stderr);
    if error["kind"] != "usage" {
        assert!(programs.stderr.contains(&format!("error: {message}\n")), "{}", programs.stderr);
    }
    error["kind"].as_str().unwrap().to_string()
}

/// `text` with N for every larger number that stands alone: such sizes depend on versions of libraries.
fn numberless(text: &str) -> String {
    let word = |word: &str| match word.trim_end().parse::<u64>() {
        Ok(1000..) => word.replace(word.trim_end(), "N"),
        _ => word.to_string(),
    };
    text.split_inclusive([' ', '\n']).map(word).collect()
}

/// Overwrites one byte in the middle of a stored file.
fn flip(project: &Project, file: &str) {
    let mut bytes = fs::read(project.path(file)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(project.path(file), bytes).unwrap();
}

// Which backup.

#[test]
fn no_such_id() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.backup();
    insta::assert_snapshot!(refused(&project, 10, "restore --from 20990101_000000 --yes"), @"
    no_such_backup
    --
    error: no backup ID in ROOT/backups
    hint: there is one, ID
    => 10
    ");
    for command in ["verify --from", "drill --from", "pin", "unpin"] {
        let said = refused(&project, 10, &format!("{command} 20990101_000000"));
        assert!(said.contains("error: no backup 20990101_000000 in "), "{said}");
    }
}

#[test]
fn a_prefix_that_several_share_lists_them() {
    let project = Project::new();
    let [first, second] = [project.backup(), project.backup()];
    project.redate(&first, "20250101_000000");
    project.redate(&second, "20250101_120000");
    insta::assert_snapshot!(refused(&project, 10, "restore --from 20250101 --yes"), @"
    ambiguous_id
    --
    error: 20250101 could be 2 backups: 20250101_000000, 20250101_120000
    hint: give more of the id, or a time: --from 2025-12-10 means the newest of that day
    => 10
    ");
    insta::assert_snapshot!(refused(&project, 10, "pin 2025"), @"
    ambiguous_id
    --
    error: 2025 could be 2 backups: 20250101_000000, 20250101_120000
    hint: give more of the id, or a time: --from 2025-12-10 means the newest of that day
    => 10
    ");
}

#[test]
fn a_time_before_the_first_backup() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.backup();
    insta::assert_snapshot!(refused(&project, 10, "restore --from 2001-02-03 --yes"), @"
    no_such_backup
    --
    error: no backup at or before 2001-02-03 in ROOT/backups
    hint: there is one, ID
    => 10
    ");
    refused(&project, 10, "restore --from 2001-02-03T17:00 --yes");
    refused(&project, 10, "verify --from 2001-02-03T17:00:59Z");
}

#[test]
fn a_from_that_means_nothing() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.backup();
    insta::assert_snapshot!(refused(&project, 2, "restore --from tomorrow --yes"), @r#"
    invalid_input
    --
    error: can't tell which backup "tomorrow" means
    hint: give `latest`, an id or the beginning of one, or a time: "DATE", yesterday, "2 hours ago"
    => 2
    "#);
    for nonsense in ["2025-13-40", "20251210_140000_1", "../x", "2025-12-10T25:00", "*"] {
        let said = refused(&project, 2, &format!("verify --from {nonsense}"));
        assert!(said.contains(&format!("{nonsense:?}")), "{said}");
    }
    CommandOutput::of(&mut project.command(["verify", "--from", ""])).expect(2);
}

#[test]
fn without_any_backup_nothing_is_found_and_nothing_is_made() {
    let project = Project::new();
    let _tidy = project.tidy();
    insta::assert_snapshot!(refused(&project, 10, "restore --from latest --yes"), @"
    no_such_backup
    --
    error: no backup in ROOT/backups
    hint: make one with `backup`, or name another folder with --backup-dir
    => 10
    ");
    for command in ["verify", "verify --all", "drill", "pin latest"] {
        assert!(refused(&project, 10, command).contains("error: no backup in "), "{command}");
    }
    assert!(!project.path("backups").exists());
}

// The backup folder.

#[test]
fn a_backup_folder_that_is_a_file() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.write("backups", "not a folder\n");
    insta::assert_snapshot!(refused(&project, 2, "backup"), @"
    invalid_input
    --
    error: the backup folder ROOT/backups is not a folder
    hint: move that file away, or name another place with --backup-dir
    => 2
    ");
    for command in ["list", "verify", "restore --from latest --yes", "drill", "rotate", "rotate --dry-run", "status"] {
        let said = refused(&project, 2, command);
        assert!(said.contains(&format!("{}/backups is not a folder\n", project.root().display())), "{command}: {said}");
    }
}

#[test]
fn a_backup_folder_that_cant_be_written() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.redate(&project.backup(), "20200101_000000");
    project.backup_with("--no-rotate");
    shell(project.root(), "chmod -R a+rwX . && chmod -R a=rX backups");
    let before = project.tree();
    insta::assert_snapshot!(as_nobody(&project, &std::env::temp_dir(), "backup").snapshot(), @"
    --
    error: can't open ROOT/backups/.lock: Permission denied (os error 13)
    hint: check the owner and mode of that path and of the folders above it
    => 1
    ");
    for command in ["backup --config-only", "rotate --keep-last 1", "pin latest"] {
        let ran = as_nobody(&project, &std::env::temp_dir(), &format!("{command} --json"));
        assert_eq!(ran.expect(1).json()["error"]["kind"], "permission_denied", "{command}");
    }
    // Commands that read still work.
    assert_eq!(
        as_nobody(&project, &std::env::temp_dir(), "list --json").expect(0).json()["backups"].as_array().unwrap().len(),
        2
    );
    let verify = as_nobody(&project, &std::env::temp_dir(), "verify");
    assert!(verify.expect(0).stderr.starts_with("warning: the backup folder can't be written: "), "{verify:?}");
    assert_eq!(project.tree(), before);
    shell(project.root(), "chmod -R u+rwX backups");
}

#[test]
fn a_backup_folder_that_cant_be_made() {
    let project = Project::new();
    let _tidy = project.tidy();
    shell(project.root(), "chmod -R a+rX . && chmod 555 .");
    let before = project.tree();
    insta::assert_snapshot!(as_nobody(&project, &std::env::temp_dir(), "backup").snapshot(), @"
    --
    error: can't create ROOT/backups: Permission denied (os error 13)
    hint: check the owner and mode of that path and of the folders above it
    => 1
    ");
    assert_eq!(project.tree(), before);
    shell(project.root(), "chmod 755 .");
}

// The database.

/// Runs backups whose database can't be saved: partial with the configuration, failed without. Asserts that both say
/// the same, and returns that.
#[track_caller]
fn unsaved(project: &Project, flags: &str) -> String {
    let live = || shell(project.root(), "sha256sum data/* .env; stat -c '%n %a' data/*");
    let before = live();
    let ran = project.run(&format!("backup --database-only {flags}"));
    ran.expect(1);
    let partial = project.run(&format!("backup {flags}"));
    partial.expect(3);
    assert!(partial.stderr.contains(ran.stderr.lines().next().unwrap()), "{}", partial.stderr);
    assert_eq!(live(), before);
    assert_eq!(shell(project.root(), "ls -A backups/.staging"), "");
    let stored: Vec<String> = project.stored();
    assert!(!stored.iter().any(|file| file.starts_with("sessions_db")), "{stored:?}");
    ran.snapshot()
}

#[test]
fn a_database_that_isnt_one() {
    let project = Project::new();
    let _tidy = project.tidy();
    shell(project.root(), "rm data/sessions.db*");
    project.write("data/sessions.db", &"plain text, nothing that SQLite could open\n".repeat(200));
    insta::assert_snapshot!(unsaved(&project, ""), @"
    --
    error: can't read database ROOT/data/sessions.db: file is not a database
    hint: not an SQLite file, or an encrypted one: check the path in the settings
    error: backup ID failed: nothing was saved
    hint: fix what failed above, then run `backup` again; older backups are untouched
    => 1
    ");
}

#[test]
fn a_folder_in_the_databases_place() {
    let project = Project::new();
    let _tidy = project.tidy();
    shell(project.root(), "rm data/sessions.db*; mkdir data/sessions.db");
    insta::assert_snapshot!(project.run("backup --database-only").snapshot(), @"
    --
    error: database ROOT/data/sessions.db is not a file
    error: backup ID failed: nothing was saved
    hint: fix what failed above, then run `backup` again; older backups are untouched
    => 1
    ");
}

#[test]
fn a_damaged_database() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.execute("PRAGMA journal_mode = delete");
    // The second half of the file: the pages of tables, not the header.
    let mut bytes = fs::read(project.path("data/sessions.db")).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xff);
    fs::write(project.path("data/sessions.db"), bytes).unwrap();
    insta::assert_snapshot!(unsaved(&project, ""), @"
    --
    error: can't check database ROOT/data/sessions.db: database disk image is malformed
    hint: restore it from a backup: `restore --from latest`; to save it as it is before that: `backup --allow-damaged`
    error: backup ID failed: nothing was saved
    hint: fix what failed above, then run `backup` again; older backups are untouched
    => 1
    ");
}

#[test]
fn a_database_that_stays_locked() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.execute("PRAGMA journal_mode = delete");
    let application = project.open();
    application.execute_batch("BEGIN EXCLUSIVE").unwrap();
    insta::assert_snapshot!(unsaved(&project, "--busy-timeout 100ms"), @"
    --
    error: can't read database ROOT/data/sessions.db: database is locked
    hint: another program holds it: wait for it, or allow more time with --busy-timeout
    error: backup ID failed: nothing was saved
    hint: fix what failed above, then run `backup` again; older backups are untouched
    => 1
    ");
    project.write("ops/backup.toml", "busy_timeout = '100ms'");
    project.run("backup").expect(3);
    application.execute_batch("ROLLBACK").unwrap();
    project.run("backup").expect(0);
}

/// Whether a process has a file of that name open.
fn has_open(process: &Child, name: &str) -> bool {
    let opened = fs::read_dir(format!("/proc/{}/fd", process.id())).into_iter().flatten();
    opened.filter_map(|file| fs::read_link(file.ok()?.path()).ok()).any(|path| path.ends_with(name))
}

#[test]
fn a_database_lock_that_ends_in_time_is_waited_for() {
    let project = Project::new();
    project.execute("PRAGMA journal_mode = delete");
    let application = project.open();
    application.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut child = project.command(["backup", "--busy-timeout", "10m"]).stdout(Stdio::piped()).spawn().unwrap();
    wait_for("the run to open the database", || has_open(&child, "sessions.db"));
    assert!(child.try_wait().unwrap().is_none(), "it ended although the database was locked");
    application.execute_batch("COMMIT").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_backup_that_waits_for_a_database_can_be_interrupted() {
    let project = Project::new();
    project.execute("PRAGMA journal_mode = delete");
    let application = project.open();
    application.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut command = project.command(["backup", "--busy-timeout", "1h"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the run to open the database", || has_open(&child, "sessions.db"));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    wait_for("the run to end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(project.stored().is_empty());
    application.execute_batch("COMMIT").unwrap();
    project.run("backup").expect(0);
}

#[test]
fn a_failed_backup_says_why_in_json_too() {
    let project = Project::new();
    shell(project.root(), "rm data/sessions.db*");
    let ran = project.run("backup --database-only --json");
    let document = ran.expect(1).json();
    assert_eq!(document["error"]["kind"], "missing_source", "{document}");
    assert_eq!(document["backup"]["status"], "failed");
}

// Damaged artifacts.

/// Damages the file `name` of the only backup, and returns what `restore` says about it. Asserts that `verify` and
/// `drill` find the damage too, all with exit code 12, and that `restore` changes nothing.
#[track_caller]
fn damaged(codec: &str, name: &str, damage: impl Fn(&Project, &str)) -> String {
    let project = Project::new();
    let id = project.backup_with(&format!("--codec {codec}"));
    damage(&project, &project.artifact(&id, name));
    project.execute("DELETE FROM sessions WHERE id = 1000");
    project.write(".env", "API_KEY=changed\n");
    let verify = project.run("verify");
    let file =
        project.manifest(&id)["artifacts"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap()["file"]
            .clone();
    let line = format!("  damaged  {}: ", file.as_str().unwrap());
    assert!(verify.expect(12).stdout.starts_with(&line), "{}", verify.stdout);
    let document = project.run("verify --json").expect(12).json();
    assert_eq!(document["reports"][0]["verdict"], "damaged");
    project.run("verify --all").expect(12);
    assert_eq!(project.ledger().last().unwrap()["outcome"], "failed");
    let before = project.tree();
    project.run("restore --from latest --yes").expect(10);
    let restore = project.run(&format!("restore --from {id} --yes"));
    restore.expect(12);
    assert_eq!(restore.stderr.lines().count(), 2, "an error and a hint: {}", restore.stderr);
    assert_eq!(project.tree(), before);
    project.run("drill").expect(12);
    assert_eq!(project.sessions(), 999);
    numberless(&restore.stderr.replace(&id, "ID"))
}

#[test]
fn a_damaged_artifact() {
    // The decoder's message depends on the damaged byte.
    let said = damaged("gzip", "sessions_db", flip);
    assert!(said.starts_with("error: sessions_db_ID.db.gz is damaged: it can't be decoded: "), "{said}");
    let said = damaged("gzip", "config", flip);
    assert!(said.starts_with("error: config_ID.tar.gz is "), "{said}");
    let said = damaged("none", "config", |project, file| {
        let length = fs::metadata(project.path(file)).unwrap().len();
        fs::write(project.path(file), vec![b'x'; length.try_into().unwrap()]).unwrap();
    });
    assert!(said.starts_with("error: config_ID.tar is damaged: its stored bytes are "), "{said}");
    let said = damaged("none", "sessions_db", flip);
    assert!(said.starts_with("error: sessions_db_ID.db is damaged: its stored bytes are "), "{said}");
    for codec in ["zstd", "none"] {
        damaged(codec, "sessions_db", flip);
        damaged(codec, "config", flip);
    }
}

#[test]
fn verify_names_a_damaged_file_once() {
    let project = Project::new();
    let id = project.backup();
    let file = project.artifact(&id, "sessions_db");
    fs::remove_file(project.path(&file)).unwrap();
    let said = project.run("verify").stdout;
    let line = said.lines().next().unwrap();
    assert_eq!(line.matches("sessions_db").count(), 1, "{line}");
}

#[test]
fn a_truncated_artifact() {
    let project = Project::new();
    let _tidy = project.tidy();
    let cut = |project: &Project, file: &str| drop(shell(project.root(), &format!("truncate -s -1 {file}")));
    insta::assert_snapshot!(damaged("gzip", "sessions_db", cut), @"
    error: sessions_db_ID.db.gz is damaged: it has N bytes, the manifest says N
    hint: restore another backup: `verify --all` shows which are sound
    ");
    for codec in ["zstd", "none"] {
        damaged(codec, "sessions_db", cut);
        damaged(codec, "config", cut);
    }
    damaged("gzip", "config", |project, file| drop(shell(project.root(), &format!("truncate -s 0 {file}"))));
}

#[test]
fn damage_makes_no_folder_either_where_a_restore_would_go() {
    let project = Project::new();
    let id = project.backup();
    flip(&project, &project.artifact(&id, "sessions_db"));
    project.run("verify").expect(12);
    let before = project.tree();
    let mut command = project.command(["restore", "--from", &id, "--to", "elsewhere"]);
    CommandOutput::of(command.current_dir(project.root())).expect(12);
    assert_eq!(project.tree(), before);
}

#[test]
fn an_artifact_with_something_added() {
    damaged("gzip", "sessions_db", |project, file| drop(shell(project.root(), &format!("echo x >> {file}"))));
}

#[test]
fn a_missing_artifact() {
    let project = Project::new();
    let _tidy = project.tidy();
    let remove = |project: &Project, file: &str| fs::remove_file(project.path(file)).unwrap();
    insta::assert_snapshot!(damaged("gzip", "sessions_db", remove), @"
    error: sessions_db_ID.db.gz is damaged: it is missing from the store
    hint: restore another backup: `verify --all` shows which are sound
    ");
    damaged("zstd", "config", remove);
}

#[test]
fn an_artifact_of_another_backup_in_its_place() {
    let other = Project::new();
    other.execute("UPDATE stations SET name = 'earth' WHERE id = 1");
    let id = other.backup();
    let source = other.path(&other.artifact(&id, "sessions_db"));
    damaged("gzip", "sessions_db", |project, file| {
        fs::copy(&source, project.path(file)).unwrap();
    });
}

// Manifests.

/// A project with a good backup and a newer one whose manifest is `text` (with ID for its id). Asserts that the newer
/// one is listed as unreadable, can't be restored, and doesn't hinder the good one. Returns what `verify` says.
#[track_caller]
fn unreadable(code: i32, edit: impl Fn(&Project, &str)) -> String {
    let project = Project::new();
    let good = "20250101_000000";
    project.redate(&project.backup(), good);
    let bad = project.backup();
    edit(&project, &bad);
    let listed = project.run("list --json").expect(0).json();
    assert_eq!(listed["backups"][0]["status"], "unreadable");
    assert!(project.run("list").stderr.contains(&bad));
    let said = refused(&project, code, &format!("restore --from {bad} --yes"));
    refused(&project, code, &format!("restore --from {bad} --dry-run"));
    project.run(&format!("pin {bad}")).expect(code);
    project.run(&format!("verify --from {bad}")).expect(code);
    project.run("verify --all").expect(code);
    project.run(&format!("verify --from {good}")).expect(0);
    project.run("rotate --keep-last 1").expect(0);
    assert!(project.path(&format!("backups/manifest_{bad}.json")).exists());
    said.replace(project.root().to_str().unwrap(), "ROOT").replace(&bad, "ID")
}

#[test]
fn a_manifest_that_isnt_json() {
    let text = |text: &'static str| {
        move |project: &Project, id: &str| project.write(&format!("backups/manifest_{id}.json"), text)
    };
    insta::assert_snapshot!(unreadable(12, text("{\"format\": 1, not json\n")), @r#"
    bad_manifest
    --
    error: manifest of ID can't be read: key must be a string at line 1 column 15
    hint: its files may still be good: see "break glass" in the README
    => 12
    "#);
    for broken in ["", "{", "{\"format\": 1", "{\"format\": 1}", "\u{0}\u{0}\u{0}"] {
        unreadable(12, text(broken));
    }
}

#[test]
fn a_manifest_of_a_newer_format() {
    let newer = |project: &Project, id: &str| project.edit_manifest(id, |manifest| manifest["format"] = 3.into());
    insta::assert_snapshot!(unreadable(1, newer), @"
    unsupported_format
    --
    error: manifest of ID has format 3, this program reads 1 to 2
    hint: use the version of the program that wrote it, or a newer one
    => 1
    ");
}

#[test]
fn a_manifest_of_another_backup() {
    let other = |project: &Project, id: &str| {
        project.edit_manifest(id, |manifest| manifest["id"] = "20250606_060606".into());
    };
    insta::assert_snapshot!(unreadable(12, other), @r#"
    bad_manifest
    --
    error: manifest of ID says it is 20250606_060606
    hint: its files may still be good: see "break glass" in the README
    => 12
    "#);
}

/// Sets a value in the manifest.
fn set(pointer: &'static str, value: &'static str) -> impl Fn(&Project, &str) {
    move |project, id| project.edit_manifest(id, |manifest| *manifest.pointer_mut(pointer).unwrap() = value.into())
}

#[test]
fn a_manifest_that_names_a_file_outside_the_store() {
    insta::assert_snapshot!(unreadable(12, set("/artifacts/0/file", "../x")), @r#"
    bad_manifest
    --
    error: manifest of ID names "../x", which is no file of that backup
    hint: its files may still be good: see "break glass" in the README
    => 12
    "#);
    insta::assert_snapshot!(unreadable(12, set("/artifacts/0/file", "/etc/passwd")), @r#"
    bad_manifest
    --
    error: manifest of ID names "/etc/passwd", which is no file of that backup
    hint: its files may still be good: see "break glass" in the README
    => 12
    "#);
    unreadable(12, set("/artifacts/0/file", "sessions_db_20250101_000000.db.gz"));
    unreadable(12, set("/artifacts/1/file", ".lock"));
}

#[test]
fn a_manifest_that_would_restore_outside_the_project() {
    let said = unreadable(12, set("/artifacts/0/source", "../../etc/passwd"));
    assert!(said.contains("../../etc/passwd"), "{said}");
    let said = unreadable(12, set("/artifacts/1/entries/0/path", "/etc/passwd"));
    assert!(said.contains("/etc/passwd"), "{said}");
}

// Flags and settings.

#[test]
fn flags_that_exclude_each_other() {
    let project = Project::new();
    project.backup();
    for (command, one, other) in [
        ("backup", "--database-only", "--config-only"),
        ("backup", "--no-compress", "--codec gzip"),
        ("backup", "--no-compress", "--level 3"),
        ("backup", "--quiet", "--verbose"),
        ("restore", "--from latest", "--undo"),
        ("restore --from latest", "--database-only", "--config-only"),
        ("restore", "--undo", "--database-only"),
        ("restore", "--undo", "--config-only"),
        ("verify", "--from latest", "--all"),
    ] {
        for arguments in [format!("{command} {one} {other}"), format!("{command} {other} {one}")] {
            let said = refused(&project, 2, &arguments);
            let error = said.lines().find(|line| line.starts_with("error: ")).unwrap();
            for flag in [one, other] {
                assert!(error.contains(flag.split(' ').next().unwrap()), "{arguments}: {said}");
            }
        }
    }
}

#[test]
fn a_level_for_no_codec_is_refused_however_it_is_said() {
    let project = Project::new();
    refused(&project, 2, "backup --no-compress --level 3");
    let said = refused(&project, 2, "backup --codec none --level 3");
    assert!(said.contains("none") && said.contains("level"), "{said}");
}

#[test]
fn flags_that_need_each_other() {
    let project = Project::new();
    let said = project.run("restore").expect(2).stderr.clone();
    assert!(said.contains("--from <WHEN>|--undo"), "{said}");
    let message = project.run("restore --json").json()["error"]["message"].clone();
    assert!(message.as_str().unwrap().contains("--from"), "{message}");
}

#[test]
fn days_that_are_negative_or_absurd() {
    let project = Project::new();
    project.redate(&project.backup(), "20250101_000000");
    insta::assert_snapshot!(refused(&project, 2, "rotate --keep-days -1"), @"
    usage
    --
    error: invalid value '-1' for '--keep-days <N>': give a whole number from 0 to 36500

    For more information, try '--help'.
    => 2
    ");
    insta::assert_snapshot!(refused(&project, 2, "rotate --keep-days 1000000000"), @"
    usage
    --
    error: invalid value '1000000000' for '--keep-days <N>': give a whole number from 0 to 36500

    For more information, try '--help'.
    => 2
    ");
    insta::assert_snapshot!(refused(&project, 2, "rotate --keep-days abc"), @"
    usage
    --
    error: invalid value 'abc' for '--keep-days <N>': give a whole number from 0 to 36500

    For more information, try '--help'.
    => 2
    ");
    for rule in ["days", "last", "daily", "weekly", "monthly", "yearly"] {
        for number in ["-1", "99999999999999999999", "1.5", "x"] {
            let said = refused(&project, 2, &format!("rotate --keep-{rule} {number}"));
            assert!(said.contains(&format!("--keep-{rule}")) && said.contains(number), "{said}");
        }
    }
}

#[test]
fn a_level_or_codec_that_doesnt_exist() {
    let project = Project::new();
    insta::assert_snapshot!(refused(&project, 2, "backup --level 99"), @"
    invalid_input
    --
    error: gzip has no level 99: 1 to 9
    => 2
    ");
    insta::assert_snapshot!(refused(&project, 2, "backup --codec zstd --level 0"), @"
    invalid_input
    --
    error: zstd has no level 0: 1 to 22
    => 2
    ");
    for level in ["-1", "0", "10", "x", "99999999999"] {
        refused(&project, 2, &format!("backup --level {level}"));
    }
    project.write("ops/backup.toml", "[codec]\nname = 'zstd'\n");
    let said = refused(&project, 2, "backup --level 23");
    assert!(said.contains("zstd has no level 23: 1 to 22"), "{said}");
}

#[test]
fn an_unknown_codec_is_told_the_known_ones() {
    let project = Project::new();
    let said = refused(&project, 2, "backup --codec rar");
    assert!(said.contains("rar") && said.contains("gzip") && said.contains("zstd") && said.contains("none"), "{said}");
}

#[test]
fn durations_that_mean_nothing() {
    let project = Project::new();
    for flag in ["--lock-wait", "--busy-timeout"] {
        let said = refused(&project, 2, &format!("{flag} soon list"));
        assert!(said.contains(flag) && said.contains("soon"), "{said}");
    }
}

#[test]
fn an_unknown_setting_is_named_with_its_line_and_the_nearest_one() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.write("ops/backup.toml", "# settings\n\n[retention]\nkeep_day = 3\n");
    insta::assert_snapshot!(refused(&project, 2, "backup"), @"
    invalid_input
    --
    error: ROOT/ops/backup.toml, line 4: unknown key `keep_day`
    hint: did you mean `keep_days`? every setting with its default: `init --dry-run -v`
    => 2
    ");
    for command in ["list", "verify", "restore --from latest", "drill", "rotate", "status", "pin x"] {
        assert!(refused(&project, 2, command).contains("line 4: unknown key `keep_day`"), "{command}");
    }
}

#[test]
fn settings_that_make_no_sense() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.write("ops/backup.toml", "lock_wait = 'soon'\n");
    insta::assert_snapshot!(refused(&project, 2, "backup"), @r#"
    invalid_input
    --
    error: ROOT/ops/backup.toml, line 1: "soon": not a duration; write 30s, 10m, 26h or 7d
    hint: every setting with its default: `init --dry-run -v`
    => 2
    "#);
    project.write("ops/backup.toml", "[[database]]\nname = 'a'\npath = '../x.db'\n");
    insta::assert_snapshot!(refused(&project, 2, "backup"), @r#"
    invalid_input
    --
    error: ROOT/ops/backup.toml, line 3: not a path below the project's folder: "../x.db"
    hint: every setting with its default: `init --dry-run -v`
    => 2
    "#);
    project.write("ops/backup.toml", "[[database\n");
    insta::assert_snapshot!(refused(&project, 2, "backup"), @"
    invalid_input
    --
    error: ROOT/ops/backup.toml, line 1: unclosed array table, expected `]]`
    hint: every setting with its default: `init --dry-run -v`
    => 2
    ");
    project.write("ops/backup.toml", "[codec]\ngzip_level = 12\n");
    insta::assert_snapshot!(refused(&project, 2, "backup"), @"
    invalid_input
    --
    error: ROOT/ops/backup.toml: gzip has no level 12: 1 to 9
    => 2
    ");
    project.write("ops/backup.toml", "[[files]]\nname = 'sessions_db'\npaths = ['.env']\n");
    insta::assert_snapshot!(refused(&project, 2, "backup"), @r#"
    invalid_input
    --
    error: ROOT/ops/backup.toml: "sessions_db" names two databases or sets of files
    hint: give each its own name
    => 2
    "#);
}

#[test]
fn a_configuration_file_that_is_a_folder() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.write("ops/backup.toml", "[[files]]\nname = 'config'\npaths = ['data']\n");
    insta::assert_snapshot!(project.run("backup --config-only").snapshot(), @"
    --
    error: ROOT/data is not a plain file
    hint: list each configuration file separately in the settings
    error: backup ID failed: nothing was saved
    hint: fix what failed above, then run `backup` again; older backups are untouched
    => 1
    ");
    project.run("backup").expect(3);
}

#[test]
fn settings_that_dont_exist() {
    let project = Project::new();
    insta::assert_snapshot!(refused(&project, 2, "--config /nonsense/backup.toml backup"), @"
    invalid_input
    --
    error: the settings /nonsense/backup.toml don't exist
    hint: without --config it is ops/backup.toml
    => 2
    ");
}

#[test]
fn settings_that_are_no_text() {
    let project = Project::new();
    let _tidy = project.tidy();
    fs::create_dir_all(project.path("ops/backup.toml")).unwrap();
    insta::assert_snapshot!(refused(&project, 2, "backup"), @"
    invalid_input
    --
    error: the settings ROOT/ops/backup.toml are a folder
    hint: they have to be a file; one with every setting and its default: `init --dry-run -v`
    => 2
    ");
    fs::remove_dir(project.path("ops/backup.toml")).unwrap();
    let latin: &[u8] = b"project = 'caf\xe9'\n";
    let utf16: &[u8] = b"\xff\xfep\0r\0o\0";
    for text in [latin, utf16] {
        fs::write(project.path("ops/backup.toml"), text).unwrap();
        insta::allow_duplicates! {
            insta::assert_snapshot!(refused(&project, 2, "backup"), @"
            invalid_input
            --
            error: the settings ROOT/ops/backup.toml are not UTF-8 text
            hint: save the file as UTF-8
            => 2
            ");
        }
    }
}

#[test]
fn a_root_that_doesnt_exist() {
    let project = Project::new();
    let ran = |arguments: &[&str]| CommandOutput::of(program().args(arguments).current_dir(project.root()));
    insta::assert_snapshot!(ran(&["--root", "nonsense", "backup"]).snapshot(), @"
    --
    error: can't use as the application's folder: nonsense: No such file or directory (os error 2)
    hint: name it with --root DIR
    => 2
    ");
    let document = ran(&["--root", "nonsense", "backup", "--json"]).expect(2).json();
    assert_eq!(document["error"]["kind"], "invalid_input");
    assert!(ran(&["--root", ".env", "backup"]).expect(2).stderr.contains(".env is not a folder"));
    assert!(!project.path("nonsense").exists());
}

#[test]
fn usage_errors_are_one_document_in_json_too() {
    let project = Project::new();
    for arguments in
        ["", "no-such-command", "list --no-such-flag", "pin", "completions csh", "demo --size-mb 0", "bench --runs 0"]
    {
        assert_eq!(refused_in_json(&project, 2, arguments), "usage", "{arguments}");
    }
    insta::assert_snapshot!(project.run("lst --json").stdout, @r#"
    {
      "error": {
        "hint": "--help shows how it is used",
        "kind": "usage",
        "message": "unrecognized subcommand 'lst'"
      }
    }
    "#);
}

// The lock.

/// Holds the lock of the project's store, as another run would.
fn hold(project: &Project) -> File {
    fs::create_dir_all(project.path("backups/.staging")).unwrap();
    let mut file = File::create(project.path("backups/.lock")).unwrap();
    file.try_lock().unwrap();
    let holder = json!({ "pid": 4242, "host": "box", "command": "rotate", "since": "2025-12-10T14:00:00+01:00" });
    writeln!(file, "{holder}").unwrap();
    file
}

#[test]
fn a_lock_held_by_another_run_says_who_and_since_when() {
    let project = Project::new();
    project.backup();
    let _held = hold(&project);
    insta::assert_snapshot!(refused(&project, 11, "backup --lock-wait 0s"), @"
    locked
    --
    error: locked by another run: rotate (pid 4242 on box, since 2025-12-10T14:00:00+01:00)
    hint: wait for it to end, or allow more time with --lock-wait 10m
    => 11
    ");
    for command in ["rotate", "restore --from latest --yes", "pin latest", "verify", "drill"] {
        let said = refused(&project, 11, &format!("{command} --lock-wait 0s"));
        assert!(said.contains("rotate (pid 4242 on box, since 2025-12-10T14:00:00+01:00)"), "{said}");
    }
    project.write("ops/backup.toml", "lock_wait = '0s'\n");
    project.run("backup").expect(11);
}

#[test]
fn looking_needs_no_lock() {
    let project = Project::new();
    project.backup();
    let _held = hold(&project);
    for command in ["list", "status", "rotate --dry-run"] {
        project.run(&format!("{command} --lock-wait 0s")).expect(0);
    }
}

#[test]
fn a_lock_that_flock_holds_counts_too() {
    let project = Project::new();
    project.backup();
    let said = shell(
        project.root(),
        &format!(
            "flock backups/.lock '{}' --root . backup --lock-wait 0s 2>&1 || echo \"=> $?\"",
            program().get_program().to_str().unwrap()
        ),
    );
    assert!(said.starts_with("error: locked by another run: ") && said.ends_with("=> 11\n"), "{said}");
}

#[test]
fn lock_wait_waits_and_says_for_whom() {
    let project = Project::new();
    let held = hold(&project);
    let mut command = project.command(["backup", "--lock-wait", "10m"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "waiting for rotate (pid 4242 on box, since 2025-12-10T14:00:00+01:00)\n");
    assert!(project.stored().is_empty());
    drop(held);
    assert!(child.wait().unwrap().success());
    assert_eq!(project.stored().len(), 3);
}

#[test]
fn a_lock_whose_holder_is_gone_is_free() {
    let project = Project::new();
    drop(hold(&project));
    assert!(project.read("backups/.lock").contains("4242"));
    project.run("backup --lock-wait 0s").expect(0);
}

#[test]
fn a_refused_restore_says_how_to_agree() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.backup();
    insta::assert_snapshot!(refused(&project, 2, "restore --from latest"), @"
    invalid_input
    restore ID (WHEN, AGE old) into ROOT
      replaces   data/sessions.db  SIZE
                 rows since then: as many in each table; changes in them will be replaced
      unchanged  .env  SIZE
      unchanged  data/station_info.json  SIZE
    --
    error: this restore replaces files, and there is no terminal to ask on; nothing was changed
    hint: preview it with --dry-run, then repeat with --yes
    => 2
    ");
}

#[test]
fn a_backup_folder_on_a_disk_that_isnt_mounted() {
    let project = Project::new();
    let _tidy = project.tidy();
    std::os::unix::fs::symlink("/nowhere/backups", project.path("backups")).unwrap();
    for command in ["backup", "list", "status", "restore --from latest"] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(refused(&project, 2, command), @"
            invalid_input
            --
            error: the backup folder ROOT/backups is a link to /nowhere/backups, which doesn't exist
            hint: is the disk mounted?
            => 2
            ");
        }
    }
}

#[test]
fn durations_that_are_absurd() {
    let project = Project::new();
    for flag in ["--lock-wait 500000000000y", "--busy-timeout 100d", "--lock-wait soon"] {
        assert!(refused(&project, 2, &format!("{flag} backup")).contains("invalid value"), "{flag}");
    }
}

#[test]
fn a_manifest_that_cant_be_read_says_nothing_against_the_others() {
    let project = Project::new();
    project.backup();
    fs::create_dir(project.path("backups/manifest_20200101_000000.json")).unwrap();
    assert!(project.run("list").expect(0).stdout.contains(" unreadable "));
    project.run("backup").expect(0);
    project.run("restore --from latest --yes").expect(0);
}

#[test]
fn a_backup_folder_that_is_not_one_of_its_own() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.write("ops/backup.toml", "backup_dir = 'data'\n");
    insta::assert_snapshot!(refused(&project, 2, "backup"), @"
    invalid_input
    --
    error: ROOT/data can't be the backup folder: data/sessions.db, which is backed up, is in it
    hint: give backups a folder of their own: `backup_dir` in the settings, or --backup-dir
    => 2
    ");
    for folder in ["", ".", "..", "/"] {
        project.write("ops/backup.toml", &format!("backup_dir = '{folder}'\n"));
        for command in ["backup", "list", "rotate", "restore --from latest"] {
            assert!(refused(&project, 2, command).contains("can't be the backup folder"), "{folder} {command}");
        }
    }
    project.write("ops/backup.toml", "");
    assert!(refused(&project, 2, &format!("backup --backup-dir {}", project.root().display())).contains("it is the"));
    assert_eq!(shell(project.root(), "ls -A"), ".env\ndata\nops\n", "nothing was made");
    assert!(project.run("doctor").stdout.contains("ok       settings"), "these are fine");
    project.write("ops/backup.toml", "backup_dir = '.'\n");
    assert!(project.run("doctor").expect(1).stdout.contains("failure  settings: "), "doctor says it too");
}

#[test]
fn settings_by_which_nothing_is_backed_up() {
    let project = Project::new();
    project.write("ops/backup.toml", "database = []\nfiles = []\n");
    assert!(refused(&project, 2, "backup").contains("there is nothing to back up"));
}
