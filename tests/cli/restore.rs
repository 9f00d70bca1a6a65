//! `restore`: into an empty place, over a live database, back again with `--undo`; and what it refuses.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{CommandOutput, Project, as_nobody, on_a_terminal, program, shell, wait_for};

/// The project's files as independent tools see them: mode, owner and digest of each, and the database's content.
fn witnesses(project: &Project) -> String {
    let script = "stat -c '%n %a %u:%g' .env data/sessions.db data/station_info.json
                  sha256sum .env data/station_info.json
                  sqlite3 data/sessions.db 'PRAGMA journal_mode' 'PRAGMA user_version' .schema 'SELECT * FROM sessions'
                  sqlite3 data/sessions.db 'PRAGMA integrity_check' 'PRAGMA foreign_key_check'";
    shell(project.root(), script)
}

/// A project whose files only their owner can read: a restore into an empty place keeps it so.
fn closed_to_others() -> Project {
    let project = Project::new();
    shell(project.root(), "chmod 0640 .env data/*");
    project
}

/// Commits a new session and writes another `.env`, as an application does after the last backup.
fn go_on(project: &Project) {
    project.execute("INSERT INTO sessions VALUES (1001, 1, 0.5)");
    project.write(".env", "API_KEY=another-secret\n");
}

fn count(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0)).unwrap()
}

fn names_in(project: &Project, folder: &str) -> String {
    shell(&project.path(folder), "ls -A")
}

/// Flips the bits of one byte of a file.
fn flip_byte(project: &Project, file: &str, at: usize) {
    let mut bytes = fs::read(project.path(file)).unwrap();
    bytes[at] ^= 0xff;
    fs::write(project.path(file), bytes).unwrap();
}

// Into an empty place.

#[test]
fn a_deleted_database_comes_back_without_a_question() {
    let project = closed_to_others();
    let before = witnesses(&project);
    project.backup();
    shell(project.root(), "rm data/sessions.db*");
    let _filters = project.filters();
    let ran = project.run("restore --from latest --database-only");
    insta::assert_snapshot!(ran.expect(0).all(), @r"
    restore ID (WHEN, AGE old) into ROOT
      new        data/sessions.db  49.15 kB
    restored ID: 1 file, checked, in TIME
    ");
    assert_eq!(names_in(&project, "data"), "sessions.db\nstation_info.json\n");
    assert_eq!(witnesses(&project), before);
}

#[test]
fn a_deleted_project_comes_back_with_its_modes_as_far_as_they_are_closed_to_others() {
    let project = Project::new();
    shell(project.root(), "chmod 0640 .env; chmod 0660 data/sessions.db; chmod 0604 data/station_info.json");
    let before = witnesses(&project).replace("station_info.json 604", "station_info.json 600");
    project.backup();
    shell(project.root(), "rm -r data .env");
    let _filters = project.filters();
    let ran = project.run("restore --from latest");
    insta::assert_snapshot!(ran.expect(0).all(), @r"
    restore ID (WHEN, AGE old) into ROOT
      new        data/sessions.db  49.15 kB
      new        .env  30 B
      new        data/station_info.json  15 B
    restored ID: 3 files, checked, in TIME
    ");
    assert_eq!(witnesses(&project), before);
    assert!(before.contains("\nwal\n"), "{before}");
}

#[test]
fn a_fresh_machine_takes_a_backup_from_elsewhere() {
    let (project, fresh) = (closed_to_others(), Project::empty());
    project.backup();
    fs::remove_dir(fresh.path("data")).unwrap();
    shell(fresh.root(), &format!("cp -r {} .", project.path("backups").display()));
    // Its folder has another name.
    let name = project.root().file_name().unwrap().to_str().unwrap();
    fresh.write("ops/backup.toml", &format!("project = {name:?}\n"));
    fresh.run("restore --from latest").expect(0);
    assert_eq!(witnesses(&fresh), witnesses(&project));
    assert_eq!(names_in(&fresh, "."), ".env\nbackups\ndata\nops\n");
}

#[test]
#[ignore = "needs root, to give files away: cargo test --workspace -- --ignored"]
fn the_owner_of_what_was_restored_can_reach_it() {
    let project = Project::new();
    shell(project.root(), "chmod 0755 . data; chmod 0640 .env data/*; chown -R 65534:65534 . .env data");
    project.backup();
    shell(project.root(), "rm -r data .env");
    project.run("restore --from latest").expect(0);
    let as_owner = "setpriv --reuid=65534 --regid=65534 --clear-groups sh -euc '
        cat .env data/station_info.json; sqlite3 data/sessions.db \"DELETE FROM sessions; SELECT changes()\"'";
    assert!(shell(project.root(), as_owner).ends_with("\n1000\n"));
}

#[test]
fn what_a_dead_database_left_is_moved_aside_and_named_and_touches_nothing() {
    let project = closed_to_others();
    let before = witnesses(&project);
    project.backup();
    let dead = project.open();
    dead.execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE sessions SET kwh = -1").unwrap();
    shell(&project.path("data"), "cp sessions.db-wal kept; cp sessions.db-shm kept-shm");
    drop(dead);
    let leave = "rm sessions.db; mv kept sessions.db-wal; mv kept-shm sessions.db-shm; echo old > sessions.db-journal";
    shell(&project.path("data"), leave);
    let wal = fs::read(project.path("data/sessions.db-wal")).unwrap();

    let _filters = project.filters();
    let ran = project.run("restore --from latest --database-only --yes");
    insta::assert_snapshot!(ran.expect(0).all(), @r"
    restore ID (WHEN, AGE old) into ROOT
      new        data/sessions.db  49.15 kB
      moved aside: ROOT/data/sessions.db.aside-ID-wal
      moved aside: ROOT/data/sessions.db.aside-ID-shm
      moved aside: ROOT/data/sessions.db.aside-ID-journal
    restored ID: 1 file, checked, in TIME
    ");
    assert_eq!(witnesses(&project), before);
    let aside = shell(&project.path("data"), "echo sessions.db.aside-*-wal");
    assert_eq!(fs::read(project.path("data").join(aside.trim())).unwrap(), wal, "moved, not changed");
}

#[test]
fn one_kind_alone_leaves_the_other_as_it_is() {
    let project = Project::new();
    project.backup();
    go_on(&project);
    project.run("restore --from latest --config-only --yes").expect(0);
    assert_eq!((project.sessions(), project.read(".env").as_str()), (1001, "API_KEY=very-secret\nPORT=8080\n"));
    go_on_env(&project);
    project.run("restore --from latest --database-only --yes").expect(0);
    assert_eq!((project.sessions(), project.read(".env").as_str()), (1000, "API_KEY=third\n"));
}

fn go_on_env(project: &Project) {
    project.write(".env", "API_KEY=third\n");
}

#[test]
fn another_folder_gets_the_same_relative_paths_and_the_project_stays() {
    let (project, other) = (Project::new(), Project::empty());
    project.backup();
    go_on(&project);
    let before = project.hashes("data") + &project.read(".env");
    let to = other.path("new/place");
    let run = |more: &[&str]| {
        let mut command = project.command(["restore", "--from", "latest", "--to", to.to_str().unwrap()]);
        CommandOutput::of(command.args(more))
    };
    run(&[]).expect(0);
    assert_eq!(shell(&to, "find . -type f | sort"), "./.env\n./data/sessions.db\n./data/station_info.json\n");
    assert_eq!(shell(&to, "sqlite3 data/sessions.db 'SELECT count(*) FROM sessions'; cat .env | head -1"), {
        "1000\nAPI_KEY=very-secret\n"
    });

    fs::write(to.join(".env"), "MINE=1\n").unwrap();
    run(&[]).expect(2);
    run(&["--yes"]).expect(0);
    assert!(fs::read_to_string(to.join(".env")).unwrap().starts_with("API_KEY=very-secret"));
    // The undo goes to the same folder, if that is named.
    project.run("restore --undo --yes").expect(10);
    project.run(&format!("restore --undo --yes --to {}", to.display())).expect(0);
    assert_eq!(fs::read_to_string(to.join(".env")).unwrap(), "MINE=1\n");
    assert_eq!(project.hashes("data") + &project.read(".env"), before);
}

#[test]
fn a_backup_of_databases_alone_says_what_it_does_not_hold() {
    let project = Project::new();
    let id = project.backup_with("--database-only");
    go_on(&project);
    let _filters = project.filters();
    insta::assert_snapshot!(project.run("restore --from latest --yes").expect(10).stderr, @"
    error: no sound backup in ROOT/backups holds all of sessions_db, config; the newest of each: sessions_db: ID, config: none
    hint: any backup can be restored by its id, whole or in part; `list` shows what each holds and what is wrong
    ");
    let ran = project.run(&format!("restore --from {id} --yes"));
    insta::assert_snapshot!(ran.expect(0).stderr, @"warning: backup ID holds no config: what is there now stays");
    assert_eq!((project.sessions(), project.read(".env").as_str()), (1000, "API_KEY=another-secret\n"));

    let ran = project.run(&format!("restore --from {id} --config-only --yes"));
    insta::assert_snapshot!(ran.expect(10).all(), @r"
    error: backup ID holds none of what is asked for
    hint: `list` shows which backup holds what
    ");
}

// Before anything is replaced.

#[test]
fn a_dry_run_says_what_would_be_written_and_replaced_and_changes_nothing() {
    let project = Project::new();
    project.backup();
    go_on(&project);
    fs::remove_file(project.path("data/station_info.json")).unwrap();
    let before = project.hashes(".");
    let _filters = project.filters();
    let ran = project.run("restore --from latest --dry-run");
    insta::assert_snapshot!(ran.expect(0).all(), @r"
    restore ID (WHEN, AGE old) into ROOT
      replaces   data/sessions.db  49.15 kB
                 rows since then: sessions +1 (will be replaced)
      replaces   .env  30 B
      new        data/station_info.json  15 B
    dry run: nothing was changed
    ");
    project.run("restore --from latest --dry-run --to /nowhere/at/all").expect(0);
    assert_eq!(project.hashes("."), before);
    assert!(!fs::exists("/nowhere").unwrap());
}

#[test]
fn without_a_terminal_it_wants_a_yes() {
    let project = Project::new();
    project.backup();
    go_on(&project);
    let before = project.hashes(".");
    let _filters = project.filters();
    let ran = project.run("restore --from latest");
    insta::assert_snapshot!(ran.expect(2).stderr, @r"
    error: this restore replaces files, and there is no terminal to ask on; nothing was changed
    hint: preview it with --dry-run, then repeat with --yes
    ");
    let ran = project.run("restore --from latest --json");
    assert_eq!(
        ran.expect(2).json(),
        json!({ "error": {
            "kind": "invalid_input",
            "message": "this restore replaces files, and there is no terminal to ask on; nothing was changed",
            "hint": "preview it with --dry-run, then repeat with --yes",
        }})
    );
    assert_eq!(project.hashes("."), before);
}

#[test]
fn on_a_terminal_it_asks_and_no_means_no() {
    let project = Project::new();
    project.backup();
    go_on(&project);
    let _filters = project.filters();
    for answer in ["n", "", "what?"] {
        let before = project.hashes(".");
        let ran = on_a_terminal(&project, answer, "--color never restore --from latest --database-only");
        insta::allow_duplicates! {
            insta::assert_snapshot!(ran.expect(1).all().replace('\r', ""), @r"
            restore ID (WHEN, AGE old) into ROOT
              replaces   data/sessions.db  49.15 kB
                         rows since then: sessions +1 (will be replaced)
            replace what is there? It is kept, and `restore --undo` puts it back [y/N] nothing was changed
            ");
        }
        assert_eq!(project.hashes("."), before, "{answer:?}");
    }
    for answer in ["y", "YES"] {
        on_a_terminal(&project, answer, "restore --from latest").expect(0);
        assert_eq!(project.sessions(), 1000, "{answer:?}");
        project.run("restore --undo --yes").expect(0);
    }
}

// Into a live database.

#[test]
fn a_reader_sees_the_old_state_to_its_end_and_then_the_restored_one_without_reopening() {
    let project = Project::new();
    project.backup();
    go_on(&project);
    let reader = project.open();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(&reader), 1001);
    project.run("restore --from latest --yes --busy-timeout 2s").expect(0);
    assert_eq!(count(&reader), 1001, "inside its transaction");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&reader), 1000);
    reader.execute_batch("INSERT INTO sessions VALUES (1001, 2, 0)").unwrap();
    assert_eq!(project.sessions(), 1001);
    assert!(witnesses(&project).contains("\nwal\n"));
}

#[test]
fn a_reader_of_a_rollback_database_is_waited_for() {
    let project = Project::new();
    project.execute("PRAGMA journal_mode = delete");
    project.backup();
    go_on(&project);
    let reader = project.open();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(&reader), 1001);

    let _filters = project.filters();
    let before = project.hashes("data") + &project.read(".env");
    let ran = project.run("restore --from latest --yes --busy-timeout 1s");
    insta::assert_snapshot!(ran.expect(1).stderr, @r"
    error: ROOT/data/sessions.db stayed locked for 1 s
    hint: a program holds it in a transaction: stop that, or allow more time with --busy-timeout
    ");
    assert_eq!(project.hashes("data") + &project.read(".env"), before);

    let begun = || project.ledger().iter().filter(|line| line["outcome"] == "begun").count();
    let mut restoring = project.command("restore --from latest --yes --busy-timeout 60s".split(' ')).spawn().unwrap();
    wait_for("the restore to begin", || begun() == 2);
    assert_eq!(count(&reader), 1001);
    reader.execute_batch("COMMIT").unwrap();
    assert!(restoring.wait().unwrap().success());
    assert_eq!(count(&reader), 1000);
    assert!(witnesses(&project).contains("\ndelete\n"));
}

#[test]
fn a_writer_in_a_transaction_is_not_broken_off() {
    let project = Project::new();
    project.backup();
    let writer = project.open();
    writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO sessions VALUES (1001, 1, 0.5)").unwrap();
    let _filters = project.filters();
    let ran = project.run("restore --from latest --yes --busy-timeout 1s");
    insta::assert_snapshot!(ran.expect(1).stderr, @r"
    error: ROOT/data/sessions.db stayed locked for 1 s
    hint: a program holds it in a transaction: stop that, or allow more time with --busy-timeout
    ");
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!(project.sessions(), 1001);
    // It failed before any change, so nothing is announced to repeat or undo.
    insta::assert_snapshot!(project.run("list").expect(0).stderr, @"");
}

/// Gives the live database pages of another size than the backup's.
fn change_page_size(project: &Project, mode: &str) {
    project.execute(&format!(
        "PRAGMA journal_mode = delete; PRAGMA page_size = 8192; VACUUM; PRAGMA journal_mode = {mode}"
    ));
    assert_eq!(project.query("PRAGMA page_size"), 8192);
}

#[test]
fn a_closed_database_with_pages_of_another_size_is_overwritten() {
    for mode in ["wal", "delete"] {
        let project = Project::new();
        let before = witnesses(&project);
        project.backup();
        change_page_size(&project, mode);
        go_on(&project);
        project.run("restore --from latest --yes").expect(0);
        assert_eq!(project.query("PRAGMA page_size"), 4096, "{mode}");
        assert_eq!(witnesses(&project), before, "{mode}");
    }
}

#[test]
fn a_wal_database_with_pages_of_another_size_that_is_in_use_is_left_alone() {
    let project = Project::new();
    project.backup();
    change_page_size(&project, "wal");
    go_on(&project);
    let application = project.open();
    assert_eq!(count(&application), 1001);
    let before = project.hashes("data") + &project.read(".env");
    let _filters = project.filters();
    let ran = project.run("restore --from latest --yes --busy-timeout 1s");
    insta::assert_snapshot!(ran.expect(1).stderr, @r"
    error: ROOT/data/sessions.db has another page size than the backup, and it is in use
    hint: stop the application, and a service that follows its database, then restore again
    ");
    assert_eq!(project.hashes("data") + &project.read(".env"), before);
    application
        .execute_batch("INSERT INTO sessions VALUES (1002, 1, 0.5); DELETE FROM sessions WHERE id = 1002")
        .unwrap();
    assert_eq!(count(&application), 1001);
    drop(application);
    assert_eq!(project.query("PRAGMA page_size"), 8192);
    project.run("restore --from latest --yes").expect(0);
    assert_eq!((project.sessions(), project.query("PRAGMA page_size")), (1000, 4096));
}

#[test]
fn a_damaged_database_is_moved_aside_whole_and_named() {
    let project = Project::new();
    let before = witnesses(&project);
    project.backup();
    shell(project.root(), "rm data/sessions.db*");
    project.write("data/sessions.db", "garbage where a database was");
    project.write("data/sessions.db-wal", "more of it");
    let _filters = project.filters();
    let ran = project.run("restore --from latest --database-only --yes");
    insta::assert_snapshot!(ran.expect(0).all(), @r"
    restore ID (WHEN, AGE old) into ROOT
      set aside  data/sessions.db  49.15 kB  (the damaged database there is kept)
      moved aside: ROOT/data/sessions.db.aside-ID
      moved aside: ROOT/data/sessions.db.aside-ID-wal
      moved aside: ROOT/data/sessions.db.aside-ID-shm
    restored ID: 1 file, checked, in TIME
    what was there is kept as ID; to put it back: cargo xtask --root ROOT restore --undo
    warning: data/sessions.db was damaged (file is not a database): its bytes are kept, and an undo puts them back
    ");
    assert_eq!(witnesses(&project), before);
    let aside = shell(&project.path("data"), "cat $(ls sessions.db.aside-* | grep -v shm)");
    assert_eq!(aside, "garbage where a database wasmore of it");
}

#[test]
fn a_database_that_turns_out_damaged_only_when_it_is_read_is_overwritten_and_its_undo_brings_back_every_byte() {
    let project = Project::new();
    let before = witnesses(&project);
    project.backup();
    let page = project.query("SELECT rootpage FROM sqlite_schema WHERE name = 'sessions'");
    let mut bytes = fs::read(project.path("data/sessions.db")).unwrap();
    bytes[usize::try_from(page - 1).unwrap() * 4096..][..4096].fill(0xa5);
    fs::write(project.path("data/sessions.db"), &bytes).unwrap();
    let application = project.open();
    project.run("restore --from latest --yes").expect(0);
    assert_eq!((witnesses(&project), count(&application)), (before, 1000), "the application lives on");
    drop(application);
    assert_eq!(names_in(&project, "data"), "sessions.db\nstation_info.json\n", "nothing was moved aside");
    project.run("restore --undo --yes").expect(0);
    assert!(fs::read(project.path("data/sessions.db")).unwrap() == bytes);
}

#[test]
fn a_damaged_backup_changes_nothing() {
    // In compressed bytes; in a row; in the archive's first name; in a file's content.
    for (kind, codec, at) in
        [("sessions_db", "gzip", 100), ("sessions_db", "none", 20_000), ("config", "none", 1), ("config", "none", 520)]
    {
        let project = Project::new();
        let id = project.backup_with(&format!("--codec {codec}"));
        go_on(&project);
        let file = project.artifact(&id, kind);
        flip_byte(&project, &file, at);
        let (before, stored) = (project.hashes("data") + &project.read(".env"), project.stored());
        let ran = project.run("restore --from latest --yes --json");
        let error = &ran.expect(12).json()["error"];
        assert_eq!(error["kind"], "damaged");
        let name = file.strip_prefix("backups/").unwrap();
        assert!(error["message"].as_str().unwrap().starts_with(&format!("{name} is ")), "{error}");
        assert_eq!(
            project.redact(error["hint"].as_str().unwrap()),
            "restore another backup: `verify --all` shows which are sound"
        );
        assert_eq!(project.hashes("data") + &project.read(".env"), before, "{kind}");
        assert_eq!(project.stored(), stored, "{kind}");
        assert_eq!(shell(project.root(), "find . -name '*.restoring*'"), "", "{kind}");
        assert_eq!(project.run("restore --undo --yes").expect(10).stdout, "", "{kind}");
    }
}

// The way back.

#[test]
fn what_was_there_is_kept_with_commits_after_the_last_backup_and_undo_brings_it_back() {
    let project = Project::new();
    let old = project.backup();
    go_on(&project);
    let live = witnesses(&project);
    let ran = project.run("restore --from latest --yes --json");
    let kept = ran.expect(0).json()["restored"]["kept"].as_str().unwrap().to_string();
    assert_ne!(kept, old);
    let manifest = project.manifest(&kept);
    assert_eq!((&manifest["trigger"], &manifest["status"]), (&json!("pre-restore"), &json!("complete")));
    let held = format!(
        "gunzip -c {} > x.db; sqlite3 x.db 'SELECT count(*) FROM sessions'; rm x.db; tar -xzOf {} .env",
        project.artifact(&kept, "sessions_db"),
        project.artifact(&kept, "config")
    );
    assert_eq!(shell(project.root(), &held), "1001\nAPI_KEY=another-secret\n");
    let restored = witnesses(&project);
    assert_ne!(restored, live);

    let _filters = project.filters();
    let ran = project.run("restore --undo --yes");
    insta::assert_snapshot!(ran.expect(0).all(), @r"
    restore ID (WHEN, AGE old) into ROOT
      replaces   data/sessions.db  49.15 kB
                 rows since then: sessions -1 (will be replaced)
      replaces   .env  23 B
      unchanged  data/station_info.json  15 B
    restored ID: 3 files, checked, in TIME
    what was there is kept as ID; to put it back: cargo xtask --root ROOT restore --undo
    ");
    assert!(ran.stdout.starts_with(&format!("restore {kept} (")), "{}", ran.stdout);
    assert_eq!(witnesses(&project), live);
    project.run("restore --undo --yes").expect(0);
    assert_eq!(witnesses(&project), restored);
}

#[test]
fn an_undo_says_what_stays_since_the_restore_made_it() {
    let project = Project::new();
    project.backup();
    shell(project.root(), "rm data/sessions.db*");
    project.write(".env", "API_KEY=changed\n");
    project.run("restore --from latest --yes").expect(0);
    let ran = project.run("restore --undo --yes");
    assert_eq!(ran.expect(0).stderr, "warning: data/sessions.db was not there before that restore: it stays\n");
    assert_eq!((project.read(".env").as_str(), project.sessions()), ("API_KEY=changed\n", 1000));
}

#[test]
fn undo_without_anything_to_undo_says_so() {
    let project = Project::new();
    project.backup();
    let _filters = project.filters();
    insta::assert_snapshot!(project.run("restore --undo --yes").expect(10).all(), @"
    error: nothing to undo: the ledger knows no restore into ROOT
    hint: `list` shows what restores kept, as pre-restore: each can be restored by its id
    ");
    shell(project.root(), "rm -r data .env");
    project.run("restore --from latest").expect(0);
    let ran = project.run("restore --undo --yes");
    assert!(ran.expect(10).stderr.starts_with("error: nothing to undo: the restore of 2"), "{}", ran.stderr);
    assert!(ran.stderr.contains(" replaced nothing\nhint: "), "{}", ran.stderr);
}

#[test]
fn the_ledger_has_a_line_before_the_first_change_and_one_after_the_last() {
    let project = Project::new();
    let id = project.backup();
    let kept = project.run("restore --from latest --yes --json").expect(0).json()["restored"]["kept"].clone();
    let lines: Vec<Value> = project.ledger().into_iter().filter(|line| line["command"] == "restore").collect();
    let outcomes: Vec<&Value> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["begun", "ok"]);
    for line in &lines {
        assert_eq!(line["id"], id.as_str());
        assert_eq!(
            line["restore"],
            json!({
                "target": project.root(),
                "selection": { "databases": true, "files": true },
                "kept": kept,
                "written": ["data/sessions.db", ".env", "data/station_info.json"],
                "moved_aside": [],
            })
        );
    }
}

/// Removes the end of the last restore from the ledger, as if the power had failed.
fn cut_short(project: &Project) {
    let ledger = project.read("backups/history.jsonl");
    let lines: Vec<&str> = ledger.lines().collect();
    let (last, rest) = lines.split_last().unwrap();
    assert!(last.contains(r#""command":"restore","outcome":"ok""#), "{last}");
    project.write("backups/history.jsonl", &format!("{}\n", rest.join("\n")));
}

#[test]
fn a_restore_that_was_cut_short_is_announced_by_every_command_until_it_is_repeated_or_taken_back() {
    let project = Project::new();
    let id = project.backup();
    let _filters = project.filters();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d", "WHEN");
    let _more = settings.bind_to_scope();
    for way_on in [format!("restore --from {id} --yes"), "restore --undo --yes".into()] {
        go_on(&project);
        project.run(&format!("restore --from {id} --yes")).expect(0);
        cut_short(&project);
        let pin = format!("pin {id}");
        let commands = ["list", "verify", "drill", "rotate --dry-run", "backup --no-rotate", &pin, "list --quiet"];
        let status = project.run("status");
        assert_eq!(status.expect(1).stderr.matches("did not finish").count(), 1, "{status:?}");
        for command in commands {
            insta::allow_duplicates! {
                insta::assert_snapshot!(project.run(command).expect(0).stderr, @r"
                warning: the restore of ID begun WHEN did not finish
                hint: repeat it: cargo xtask --root ROOT restore --from ID, or take it back: cargo xtask --root ROOT restore --undo
                ");
            }
        }
        project.run(&way_on).expect(0);
        assert_eq!(project.sessions(), if way_on.contains("undo") { 1001 } else { 1000 });
        assert_eq!(project.run("list").expect(0).stderr, "", "after {way_on}");
    }
}

#[test]
fn the_ways_on_name_the_folder_and_the_kind_that_were_asked_for_and_only_ways_that_lead_on() {
    let project = Project::new();
    let id = project.backup();
    let other = project.path("other").display().to_string();
    project.run(&format!("restore --from {id} --to {other} --database-only")).expect(0);
    cut_short(&project);
    // Repeating it without these flags would overwrite the project instead, and more of it.
    let told = project.run("list").expect(0).stderr.clone();
    assert!(told.contains(&format!("--to {other}")), "{told}");
    assert!(told.contains("--database-only"), "{told}");
    assert!(!told.contains("--undo"), "it replaced nothing, so there is nothing to take back: {told}");
}

#[test]
fn a_restore_that_fails_half_way_says_how_to_take_it_back() {
    let project = Project::new();
    let other = "\n[[database]]\nname = \"other\"\npath = \"data/other.db\"\n";
    let first = "[[database]]\nname = \"sessions_db\"\npath = \"data/sessions.db\"\n";
    project.write("ops/backup.toml", &format!("{first}{other}"));
    let busy = Connection::open(project.path("data/other.db")).unwrap();
    busy.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t(x)").unwrap();
    project.backup();
    go_on(&project);
    busy.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
    let ran = project.run("restore --from latest --yes --busy-timeout 1s");
    ran.expect(1);
    busy.execute_batch("COMMIT").unwrap();
    // Either nothing was replaced, or it says that something was.
    let untouched = project.sessions() == 1001;
    assert!(untouched || ran.stderr.contains("restore --undo"), "{}", ran.stderr);
    if !untouched {
        project.run("restore --undo --yes").expect(0);
        assert_eq!(project.sessions(), 1001);
    }
    assert_eq!(project.read(".env"), "API_KEY=another-secret\n");
}

// Which backup.

#[test]
fn latest_is_neither_a_failed_one_nor_what_a_restore_put_by() {
    let project = Project::new();
    let good = project.backup();
    go_on(&project);
    project.run("restore --from latest --yes").expect(0);
    shell(project.root(), "rm -r data .env");
    let failed =
        project.run("backup --json --database-only").expect(1).json()["backup"]["id"].as_str().unwrap().to_string();
    let plan = project.run("restore --from latest --dry-run --json").expect(0).json();
    assert_eq!(plan["plan"]["id"], good.as_str());
    let _filters = project.filters();
    insta::assert_snapshot!(project.run(&format!("restore --from {failed}")).expect(10).all(), @r"
    error: backup ID failed and holds nothing
    hint: `list` shows which ones are complete
    ");
}

#[test]
fn from_takes_an_id_a_prefix_a_local_time_a_date_and_an_rfc_3339_time() {
    let project = Project::new();
    let made: Vec<String> = (0..3).map(|_| project.backup_with("--config-only --no-rotate")).collect();
    // The first two are both 02:30 in Berlin, in the night when summer time ends.
    let dated = ["20251026_003000", "20251026_013000", "20251210_140000"];
    made.iter().zip(dated).for_each(|(id, other)| project.redate(id, other));
    let from = |when: &str| {
        let mut command = project.command(["restore", "--dry-run", "--json", "--config-only", "--from", when]);
        CommandOutput::of(command.env("TZ", "Europe/Berlin"))
    };
    for (when, which) in [
        ("latest", 2),
        ("20251210_140000", 2),
        ("202512", 2),
        ("20251026_00", 0),
        ("2025-12-10 15:00", 2),
        ("2025-12-10T15:00:00", 2),
        ("2025-12-10 14:59", 1),
        ("2025-12-10 14:59:59", 1),
        ("2025-12-10", 2),
        ("2025-12-09", 1),
        ("2025-10-26 02:30", 1),
        ("2025-10-26 02:29:59", 0),
        ("2025-12-10T14:00:00Z", 2),
        ("2025-12-10T14:00:00+01:00", 1),
        ("2025-10-26T02:30:00+02:00", 0),
    ] {
        assert_eq!(from(when).expect(0).json()["plan"]["id"], dated[which], "{when}");
    }
    let told = |when: &str| from(when).expect(10).json()["error"]["message"].as_str().unwrap().to_string();
    let place = project.path("backups").display().to_string();
    assert_eq!(told("20251026"), "20251026 could be 2 backups: 20251026_003000, 20251026_013000");
    assert_eq!(told("2025-10-25"), format!("no backup at or before 2025-10-25 in {place}"));
    assert_eq!(told("20251210_140001"), format!("no backup 20251210_140001 in {place}"));
    let skipped = from("2025-03-30 02:30").expect(2).json()["error"]["message"].clone();
    assert_eq!(skipped, "there is no 2025-03-30 02:30 here: the clocks skipped it");
}

// For programs.

#[test]
fn the_json_documents_say_what_would_be_and_what_was_done() {
    let project = Project::new();
    let id = project.backup();
    fs::remove_file(project.path("data/station_info.json")).unwrap();
    project.execute("DELETE FROM sessions WHERE id = 1000");
    let mut plan = json!({
        "id": id,
        "created_at": project.manifest(&id)["created_at"],
        "target": project.root(),
        "items": [
            { "path": "data/sessions.db", "bytes": project.manifest(&id)["artifacts"][0]["plain_bytes"], "present": "replaced" },
            { "path": ".env", "bytes": 30, "present": "unchanged" },
            { "path": "data/station_info.json", "bytes": 15, "present": "absent" },
        ],
        "skipped": [],
        "warnings": [],
    });
    let since = json!([{ "path": "data/sessions.db", "tables": [{ "name": "sessions", "rows": -1 }] }]);
    let ran = project.run("restore --from latest --dry-run --json");
    let shown = ran.expect(0).json();
    assert!(shown["plan"]["age_s"].as_u64().is_some_and(|age| age < 60), "{shown}");
    plan["age_s"] = shown["plan"]["age_s"].clone();
    assert_eq!(shown, json!({ "dry_run": true, "plan": plan, "since": since, "stops": null }));
    assert_eq!(ran.stderr, "");

    let mut done = project.run("restore --from latest --yes --json").expect(0).json();
    let duration = done["restored"].as_object_mut().unwrap().remove("duration_ms").unwrap();
    assert!(duration.is_u64(), "{duration}");
    plan["age_s"] = done["plan"]["age_s"].clone();
    let kept = done["restored"]["kept"].clone();
    assert_eq!(project.manifest(kept.as_str().unwrap())["trigger"], "pre-restore");
    assert_eq!(
        done,
        json!({ "dry_run": false, "plan": plan, "since": since, "stops": null, "error": null, "restored": {
            "id": id,
            "target": project.root(),
            "written": ["data/sessions.db", ".env", "data/station_info.json"],
            "kept": kept,
            "moved_aside": [],
            "warnings": [],
        }})
    );
}

#[test]
fn a_restore_that_waits_for_another_run_says_for_whom() {
    let project = Project::new();
    project.backup();
    let lock = fs::File::options().write(true).open(project.path("backups/.lock")).unwrap();
    lock.lock().unwrap();
    let mut command = program();
    command.arg("--root").arg(project.root()).args(["restore", "--from", "latest", "--yes", "--lock-wait", "60s"]);
    let mut waiting = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(waiting.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("waiting for backup (pid "), "{line}");
    lock.unlock().unwrap();
    assert!(waiting.wait().unwrap().success());
}

#[test]
fn latest_is_a_complete_backup_even_if_a_partial_one_is_newer() {
    let project = Project::new();
    let complete = project.backup();
    project.write("data/sessions.db", "no database any more, and long enough to say so. ".repeat(30).as_str());
    project.run("backup").expect(3);
    let ran = project.run("restore --from latest --yes");
    assert!(
        ran.expect(0).stderr.contains(&format!("does not hold all of sessions_db; using {complete}")),
        "{}",
        ran.stderr
    );
    assert_eq!(project.sessions(), 1000);
}

#[test]
fn a_look_at_an_old_state_elsewhere_does_not_cost_the_undo() {
    let project = Project::new();
    project.backup();
    go_on(&project);
    project.run("restore --from latest --yes").expect(0);
    project.run(&format!("restore --from latest --to {}", project.path("look").display())).expect(0);
    project.run("restore --undo --yes").expect(0);
    assert_eq!(project.sessions(), 1001);
}

#[test]
fn a_restore_that_failed_does_not_cost_the_undo_of_the_one_before() {
    let project = Project::new();
    let id = project.backup();
    go_on(&project);
    project.run("restore --from latest --yes").expect(0);
    project.execute("PRAGMA journal_mode = delete");
    let busy = project.open();
    busy.execute_batch("BEGIN IMMEDIATE").unwrap();
    project.run(&format!("restore --from {id} --yes --busy-timeout 200ms")).expect(1);
    drop(busy);
    project.run("restore --undo --yes").expect(0);
    assert_eq!(project.sessions(), 1001);
}

#[test]
fn a_store_that_can_only_be_read_is_good_for_a_rescue_into_another_place() {
    let project = Project::new();
    project.backup();
    shell(project.root(), "mkdir -m 0777 rescue; chmod 0444 backups/* backups/.lock; chmod 0755 .; chmod 0555 backups");
    let arguments = format!("restore --from latest --to {}", project.path("rescue").display());
    let ran = as_nobody(&project, &std::env::temp_dir(), &arguments);
    ran.expect(0);
    assert!(project.path("rescue/data/sessions.db").exists());
}

#[test]
fn ctrl_c_at_the_question_ends_it_at_once() {
    let project = Project::new();
    project.backup();
    // `script` gives a terminal and types its own input there: an ETX, as the key sends it. A shell that runs the tests
    // in the background may ignore SIGINT, so the default is restored first.
    let script = format!(
        "(while ! grep -q 'y/N' typescript 2>/dev/null; do :; done; printf '\\003'; cat) < /dev/null |
         script -qefc 'env --default-signal=INT {} --root . restore --from latest' typescript",
        program().get_program().display()
    );
    let status = Command::new("sh").args(["-c", &script]).current_dir(project.root()).status().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(project.ledger().iter().all(|line| line["command"] == "backup"), "nothing was begun");
}

#[test]
#[ignore = "needs root, to make what belongs to others: cargo test --workspace -- --ignored"]
fn what_root_makes_by_hand_is_not_closed_to_the_user_whose_folder_it_is() {
    let project = Project::new();
    shell(project.root(), "chown -R 65534:65534 .; chmod 0755 .");
    project.backup();
    as_nobody(&project, &std::env::temp_dir(), "backup").expect(0);
    as_nobody(&project, &std::env::temp_dir(), "verify --all").expect(0);
}

#[test]
fn a_backup_that_a_restore_found_damaged_is_passed_over_from_then_on() {
    let project = Project::new();
    let sound = project.backup();
    let damaged = project.backup();
    let file = project.path(&project.artifact(&damaged, "sessions_db"));
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0);
    fs::write(&file, bytes).unwrap();
    project.run("restore --from latest --yes").expect(12);
    assert_eq!(project.run("list --json").expect(0).json()["backups"][0]["status"], "damaged");
    let plan = project.run("restore --from latest --dry-run --json").expect(0).json()["plan"].clone();
    assert_eq!(plan["id"], sound.as_str());
}
