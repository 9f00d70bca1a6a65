//! `verify` and `drill`: that a sound backup is proved, and that each kind of damage is found.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{CommandOutput, Project, as_nobody, break_index, forge, is_root, shell};

/// Flips the bits of one byte in the middle of a file.
fn flip_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(path, bytes).unwrap();
}

/// Digests of everything outside the store, which verify and drill must never touch.
fn live(project: &Project) -> String {
    project.hashes("data") + &project.read(".env")
}

fn scratch(project: &Project) -> String {
    shell(project.root(), "ls -A backups/.staging")
}

/// Verifies the newest backup, which must be found damaged; returns the details of the damage.
#[track_caller]
fn damage(project: &Project) -> String {
    let report = project.run("verify --json").expect(12).json()["reports"][0].clone();
    assert_eq!(report["verdict"], "damaged");
    assert_eq!(scratch(project), "", "no scratch is left");
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] == "damaged");
    let details: Vec<&str> = checks.map(|check| check["detail"].as_str().unwrap()).collect();
    details.join("\n") + "\n"
}

#[test]
fn the_newest_is_verified_or_the_named_one_or_all() {
    let project = Project::new();
    let (old, new) = (project.backup(), project.backup());
    let said = |arguments: &str| {
        let ran = project.run(arguments);
        assert_eq!(ran.expect(0).stderr, "");
        ran.stdout.lines().map(|line| line.split(": ").next().unwrap().to_string()).collect::<Vec<_>>()
    };
    let sound = |id: &str| format!("backup {id} is sound");
    assert_eq!(said("verify"), [sound(&new)]);
    assert_eq!(said(&format!("verify --full --from {old}")), [sound(&old)]);
    assert_eq!(said("verify --all --full"), [sound(&old), sound(&new)]);
}

#[test]
fn every_check_is_listed_for_those_who_ask() {
    let project = Project::new();
    project.backup();
    let _filters = project.filters();
    insta::assert_snapshot!(project.run("verify -v").expect(0).all(), @r"
      ok       sessions_db_ID.db.gz: stored and decoded bytes as recorded
      ok       sessions_db_ID.db.gz: integrity_check ok
      ok       sessions_db_ID.db.gz: foreign_key_check ok
      ok       sessions_db_ID.db.gz: schema as recorded
      ok       sessions_db_ID.db.gz: versions and sizes as recorded
      ok       sessions_db_ID.db.gz: row counts as recorded: 1002 in all
      ok       config_ID.tar.gz: stored and decoded bytes as recorded
      ok       config_ID.tar.gz: 2 files as recorded
    backup ID is sound: 8 checks in TIME
    ");
    insta::assert_snapshot!(project.run("verify --full").expect(0).all(), @"backup ID is sound: 8 checks in TIME");
}

#[test]
fn an_empty_store_has_nothing_to_verify() {
    let project = Project::new();
    for command in ["verify", "verify --all", "drill"] {
        let _filters = project.filters();
        insta::allow_duplicates! {
            insta::assert_snapshot!(project.run(command).expect(10).all(), @r"
            error: no backup in ROOT/backups
            hint: make one with `backup`, or name another folder with --backup-dir
            ");
        }
    }
}

#[test]
fn the_json_report_has_every_check() {
    let project = Project::new();
    let id = project.backup();
    let ran = project.run("verify --json");
    let document = ran.expect(0).json();
    assert_eq!(ran.stderr, "");
    let report = &document["reports"][0];
    assert_eq!((&report["id"], &report["verdict"], &report["recorded"]), (&json!(id), &json!("ok"), &json!(true)));
    assert!(report["duration_ms"].is_u64());
    let checks = report["checks"].as_array().unwrap();
    let what: Vec<&str> = checks.iter().map(|check| check["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["content", "integrity", "foreign_keys", "schema", "header", "rows", "content", "entries"]);
    assert_eq!(
        checks[0],
        json!({
            "file": format!("sessions_db_{id}.db.gz"),
            "what": "content",
            "verdict": "ok",
            "detail": "stored and decoded bytes as recorded",
        })
    );
}

// Each thing that is checked can fail.

#[test]
fn a_flipped_byte_in_a_stored_file_is_found() {
    for name in ["sessions_db", "config"] {
        for codec in ["gzip", "zstd", "none"] {
            let project = Project::new();
            let id = project.backup_with(&format!("--codec {codec}"));
            let file = project.artifact(&id, name);
            flip_byte(&project.path(&file));
            let found = damage(&project);
            assert_eq!(found.lines().count(), 1, "{codec}: {found}");
            assert!(project.run("verify").stdout.contains(&file["backups/".len()..]), "{codec}");
        }
    }
}

#[test]
fn damage_is_shown_with_what_to_do_about_it() {
    let project = Project::new();
    let id = project.backup_with("--no-compress");
    flip_byte(&project.path(&project.artifact(&id, "sessions_db")));
    let _filters = project.filters();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("[0-9a-f]{64}", "SHA");
    let _more = settings.bind_to_scope();
    insta::assert_snapshot!(project.run("verify").expect(12).all(), @r"
      damaged  sessions_db_ID.db: its stored bytes are 49152 with SHA-256 SHA, the manifest says 49152 with SHA
    backup ID is damaged: 3 checks in TIME
    hint: restore another backup (`list` shows them) and make a new one: `backup`
    ");
}

#[test]
fn a_truncated_and_a_missing_file_are_found() {
    let project = Project::new();
    let id = project.backup();
    let file = project.artifact(&id, "sessions_db");
    let bytes = fs::metadata(project.path(&file)).unwrap().len();
    shell(project.root(), &format!("truncate -s -1 {file}"));
    let told = format!("it has {} bytes, the manifest says {bytes}\n", bytes - 1);
    assert_eq!(damage(&project), told);
    fs::remove_file(project.path(&file)).unwrap();
    assert_eq!(damage(&project), "it is missing from the store\n");
}

#[test]
fn other_content_in_a_well_stored_file_is_found_by_the_decoded_digest() {
    for name in ["sessions_db", "config"] {
        let project = Project::new();
        let id = project.backup();
        forge(&project, &id, name, false, flip_byte);
        let found = damage(&project);
        assert!(found.starts_with("its decoded bytes are "), "{found}");
    }
}

#[test]
fn whatever_the_manifest_says_is_held_against_the_content() {
    let other = "0".repeat(64);
    let database = |field: &str| format!("/artifacts/0/{field}");
    let entry = |field: &str| format!("/artifacts/1/entries/0/{field}");
    let lies: Vec<(String, Value, &str)> = vec![
        (database("tables/0/rows"), json!(999), "row count of sessions is 1000, the manifest says 999"),
        (database("tables/0/name"), json!("gone"), "table gone is missing"),
        (database("schema_sha256"), json!(other), "schema digest is "),
        (database("user_version"), json!(4), "user_version is 3, the manifest says 4"),
        (database("application_id"), json!(1), "application_id is 0, the manifest says 1"),
        (database("page_size"), json!(512), "page size is 4096, the manifest says 512"),
        (database("page_count"), json!(99), "page count is 12, the manifest says 99"),
        (database("encoding"), json!("UTF-16le"), "encoding is UTF-8, the manifest says UTF-16le"),
        (database("bytes"), json!(99), "the manifest says 99"),
        (database("sha256"), json!(other), "its stored bytes are "),
        (database("plain_bytes"), json!(99), "it decodes to more than the 99 bytes of the manifest"),
        (database("plain_bytes"), json!(999_999), "its decoded bytes are 49152 with"),
        (database("plain_sha256"), json!(other), "its decoded bytes are "),
        (entry("sha256"), json!(other), ".env: not what the manifest says"),
        (entry("bytes"), json!(99), ".env: not what the manifest says"),
        (entry("mode"), json!(0o777), ".env: not what the manifest says"),
        (entry("path"), json!("other.env"), "other.env: not what the manifest says"),
    ];
    let project = Project::new();
    let id = project.backup();
    let honest = project.manifest(&id);
    for (field, lie, told) in lies {
        project.edit_manifest(&id, |manifest| {
            *manifest = honest.clone();
            *manifest.pointer_mut(&field).unwrap() = lie;
        });
        let found = damage(&project);
        assert!(found.contains(told), "{field}: {found}");
        assert_eq!(found.lines().count(), 1, "{field}: {found}");
    }
    let mut ghost = honest["artifacts"][1]["entries"][0].clone();
    ghost["path"] = "ghost.env".into();
    for (list, one_more, told) in [
        ("/artifacts/0/tables", json!({ "name": "ghosts", "rows": 0 }), "table ghosts is missing\n"),
        ("/artifacts/1/entries", ghost, "ghost.env: missing from the archive\n"),
    ] {
        project.edit_manifest(&id, |manifest| {
            *manifest = honest.clone();
            manifest.pointer_mut(list).unwrap().as_array_mut().unwrap().push(one_more);
        });
        assert_eq!(damage(&project), told);
    }
}

#[test]
fn an_entry_that_the_manifest_lacks_is_found() {
    let project = Project::new();
    let id = project.backup();
    project.edit_manifest(&id, |manifest| {
        manifest["artifacts"][1]["entries"].as_array_mut().unwrap().pop();
    });
    assert_eq!(damage(&project), "data/station_info.json: not in the manifest\n");
}

#[test]
fn an_index_that_lacks_a_row_is_found_by_the_integrity_check() {
    let project = Project::new();
    let id = project.backup();
    forge(&project, &id, "sessions_db", true, |plain| {
        break_index(plain);
        let quick = rusqlite::Connection::open(plain).unwrap();
        let quick: String = quick.query_row("PRAGMA quick_check", [], |row| row.get(0)).unwrap();
        assert_eq!(quick, "ok", "a lesser check doesn't see it");
    });
    let found = damage(&project);
    assert!(found.starts_with("integrity_check: row 500 missing from index by_station\n"), "{found}");
}

/// A restore checks a database that was not checked before it was stored. If this host's ledger says that it was, only
/// `drill` and `verify` check it again.
#[test]
fn a_restore_checks_what_was_not_checked_before() {
    let project = Project::new();
    let id = project.backup();
    let was = project.manifest(&id)["artifacts"][0]["plain_sha256"].as_str().unwrap().to_string();
    forge(&project, &id, "sessions_db", true, break_index);
    let restore = format!("restore --from {id} --yes --to {}", project.path("elsewhere").display());
    let is_refused = || {
        let refused = project.run(&restore);
        assert!(
            refused.expect(12).stderr.contains("integrity_check: row 500 missing from index"),
            "{}",
            refused.stderr
        );
    };
    let (ledger, is) = (project.read("backups/history.jsonl"), project.manifest(&id));
    is_refused();
    let is = is["artifacts"][0]["plain_sha256"].as_str().unwrap();
    project.write("backups/history.jsonl", &ledger.replace(&was, is));
    project.run(&restore).expect(0);
    project.run("verify").expect(12);
    project.run("drill").expect(12);
    shell(project.root(), "rm -r elsewhere");
    // The ledger has their lines.
    is_refused();
    project.write("backups/history.jsonl", &ledger.replace(&was, is));
    project.edit_artifact(&id, "sessions_db", |artifact| drop(artifact.as_object_mut().unwrap().remove("checked")));
    is_refused();
}

#[test]
fn what_is_no_database_any_more_is_found() {
    let project = Project::new();
    let id = project.backup();
    forge(&project, &id, "sessions_db", true, |plain| fs::write(plain, "not a database. ".repeat(100)).unwrap());
    let found = damage(&project);
    insta::assert_snapshot!(found.replace(project.root().to_str().unwrap(), "ROOT"), @"SQLite can't read it: file is not a database");
    assert_eq!(project.run(&format!("restore --from {id} --yes")).expect(12).stdout.lines().count(), 5);
    assert_eq!(project.sessions(), 1000);
}

// What the source had already is no damage.

#[test]
fn rows_without_a_parent_in_the_source_are_a_warning() {
    let project = Project::new();
    project.execute("PRAGMA foreign_keys = off; UPDATE sessions SET station = 9 WHERE id <= 3");
    project.backup();
    let _filters = project.filters();
    insta::assert_snapshot!(project.run("verify").expect(0).all(), @r"
      warning  sessions_db_ID.db.gz: 3 rows of sessions have no parent (in the source as well)
    backup ID is sound, with warnings: 8 checks in TIME
    ");
    assert_eq!(project.run("verify --json").expect(0).json()["reports"][0]["verdict"], "warning");
    assert!(project.ended().iter().all(|line| line["outcome"] == "ok"));
    shell(project.root(), "rm -r data");
    project.run("restore --from latest --database-only").expect(0);
}

#[test]
fn settings_that_do_not_parse_are_a_warning_with_the_line_and_never_the_value() {
    let project = Project::new();
    project.write(".env", "PORT=1\nhunter2-without-a-name\n");
    project.write("data/station_info.json", "{\n\"id\": hunter2\n}\n");
    let made = project.run("backup");
    project.run("drill").expect(0);
    let _filters = project.filters();
    let verified = project.run("verify");
    insta::assert_snapshot!(verified.expect(0).all(), @r"
      warning  config_ID.tar.gz: .env has a line that sets nothing (line 2) (in the source as well)
      warning  config_ID.tar.gz: data/station_info.json is not valid JSON (line 2) (in the source as well)
    backup ID is sound, with warnings: 10 checks in TIME
    ");
    insta::assert_snapshot!(made.expect(0).stderr, @r"
    warning: .env has a line that sets nothing (line 2)
    warning: data/station_info.json is not valid JSON (line 2)
    ");
    let outputs = [made.all(), verified.all(), project.run("verify -v --json").all(), project.run("list").all()];
    let ledgers = shell(&project.path("backups"), "cat history.jsonl manifest_*.json");
    assert!(outputs.iter().chain([&ledgers]).all(|said| !said.contains("hunter2")));
}

// Several, and some of them bad.

#[test]
fn all_goes_on_after_a_damaged_one_and_an_unreadable_manifest() {
    let project = Project::new();
    let ids: Vec<String> = (0..4).map(|_| project.backup()).collect();
    flip_byte(&project.path(&project.artifact(&ids[0], "sessions_db")));
    project.write(&format!("backups/manifest_{}.json", ids[1]), "{\"format\": 1, not JSON");
    let missing = project.artifact(&ids[2], "config");
    fs::remove_file(project.path(&missing)).unwrap();
    let document = project.run("verify --all --json").expect(12).json();
    let reports = document["reports"].as_array().unwrap();
    let told: Vec<_> = reports.iter().map(|report| (&report["id"], &report["verdict"])).collect();
    let (damaged, ok) = (json!("damaged"), json!("ok"));
    let ids: Vec<Value> = ids.iter().map(|id| json!(id)).collect();
    assert_eq!(told, [(&ids[0], &damaged), (&ids[1], &damaged), (&ids[2], &damaged), (&ids[3], &ok)]);
    assert_eq!(scratch(&project), "");
    // Only the newest is sound.
    project.run("verify").expect(0);
    let _filters = project.filters();
    let one = project.run(&format!("verify --from {}", ids[1].as_str().unwrap()));
    insta::assert_snapshot!(one.expect(12).all(), @r#"
    error: manifest of ID can't be read: key must be a string at line 1 column 15
    hint: its files may still be good: see "break glass" in the README
    hint: restore another backup (`list` shows them) and make a new one: `backup`
    "#);
}

#[test]
fn damage_that_all_found_shows_whatever_was_verified_after_it() {
    let project = Project::new();
    let damaged = project.backup();
    flip_byte(&project.path(&project.artifact(&damaged, "sessions_db")));
    project.backup();
    project.run("verify --all").expect(12);
    let json = project.run("status --json").expect(0).json();
    assert_eq!([&json["last_verify"]["id"], &json["last_verify"]["what"]], [&json!(damaged), &json!("failed")]);
    let status = project.run("status");
    let line = status.stdout.lines().find(|line| line.starts_with("last verify ")).unwrap();
    assert!(line.contains(&damaged) && line.ends_with(" ago), found damage"), "{line}");
    for command in ["status", "doctor -q"] {
        let stderr = project.run(command).stderr;
        assert!(stderr.contains(&format!(" ago, found damage in {damaged}\n")), "{command}: {stderr}");
    }
    project.run(&format!("verify --from {damaged}")).expect(12);
    project.run("verify").expect(0);
    assert!(!project.run("status").stderr.contains("last verify"));
}

#[test]
fn a_backup_that_failed_is_nothing_to_verify() {
    let project = Project::new();
    let good = project.backup();
    shell(project.root(), "rm -r data .env");
    project.run("backup").expect(1);
    let reports = project.run("verify --all --json").expect(0).json()["reports"].clone();
    assert_eq!(reports.as_array().unwrap().len(), 1);
    assert_eq!(reports[0]["id"], good.as_str());
    project.run("drill").expect(0);
}

// Where it leaves traces.

#[test]
fn the_ledger_knows_of_it_and_list_shows_what_was_proved() {
    let project = Project::new();
    let (bad, good) = (project.backup(), project.backup());
    flip_byte(&project.path(&project.artifact(&bad, "sessions_db")));
    let proved = |id: &str| {
        let backups = project.run("list --json").expect(0).json()["backups"].clone();
        let row = backups.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap();
        row["last_proved"].is_string()
    };
    assert!(!proved(&good) && !proved(&bad));
    project.run("verify --all").expect(12);
    assert!(proved(&good) && !proved(&bad));
    let lines: Vec<Value> = project.ended().into_iter().filter(|line| line["command"] == "verify").collect();
    let told: Vec<_> = lines.iter().map(|line| (&line["id"], &line["outcome"])).collect();
    assert_eq!(told, [(&json!(bad), &json!("failed")), (&json!(good), &json!("ok"))]);
    let file = format!("sessions_db_{bad}.db.gz");
    assert!(lines[0]["error"].as_str().unwrap().contains(&file), "{} doesn't name {file}", lines[0]);
    assert_eq!(lines[1].get("error"), None);

    let table = project.run("list").expect(0).stdout.clone();
    let column = |id: &str| table.lines().find(|line| line.starts_with(id)).unwrap().to_string();
    assert!(column(&bad).ends_with(" never") && column(&good).ends_with(" ago"), "{table}");
    assert!(table.lines().next().unwrap().ends_with(" PROVED"), "{table}");
}

#[test]
fn a_store_that_can_only_be_read_is_verified_without_a_record() {
    let project = Project::new();
    let id = project.backup();
    shell(project.root(), "chmod 0444 backups/* backups/.lock; mkdir -m 0777 temp; chmod 0755 .; chmod 0555 backups");
    let before = project.hashes("backups");
    let _filters = project.filters();
    let run = |arguments: &str| as_nobody(&project, &project.path("temp"), arguments);
    insta::assert_snapshot!(run("verify").expect(0).all(), @r"
    backup ID is sound: 8 checks in TIME
    warning: the backup folder can't be written: the ledger gets no line about this run
    ");
    assert_eq!(run("verify --json").expect(0).json()["reports"][0]["recorded"], false);
    run("drill").expect(0);
    run("restore --from latest --dry-run --to /nowhere").expect(0);
    assert!(run("status").expect(0).stderr.starts_with("warning: never drilled"));
    let listed = run("list");
    assert!(listed.expect(0).stdout.contains(&id) && listed.stderr.is_empty(), "{listed:?}");
    assert_eq!(project.hashes("backups"), before);
    assert_eq!(shell(project.root(), "ls -A temp"), "");
    insta::assert_snapshot!(run("backup").expect(1).stderr.lines().next().unwrap(), @"error: can't open ROOT/backups/.lock: Permission denied (os error 13)");
}

#[test]
fn a_store_on_a_read_only_mount_is_verified_without_a_record() {
    let project = Project::new();
    project.backup();
    let program = env!("CARGO_BIN_EXE_xtask");
    let script = format!(
        "mount --bind backups backups; mount -o remount,bind,ro backups
         ! touch backups/x 2>/dev/null
         for command in list status verify drill; do TMPDIR=$PWD/temp {program} --root . $command 2>&1; done"
    );
    shell(project.root(), "mkdir temp");
    // A user without rights needs a user namespace to mount in.
    let namespaces = if is_root() { "-m" } else { "-rm" };
    let ran = CommandOutput::of(
        Command::new("unshare").args([namespaces, "sh", "-euc", &script]).current_dir(project.root()),
    );
    let said = ran.expect(0).all();
    let warnings = said.matches("warning: the backup folder can't be written: the ledger gets no line about this run");
    assert_eq!(warnings.count(), 2, "{said}");
    assert_eq!(project.ended().len(), 1);
    assert_eq!(shell(project.root(), "ls -A temp"), "");
}

/// Sets a folder's times to 1970.
fn age(path: &Path) {
    shell(path, "touch -d @0 .");
}

fn touched(path: &Path) -> bool {
    shell(path, "stat -c %Y .").trim() != "0"
}

#[test]
fn decoded_databases_go_to_the_scratch_folder_that_is_named() {
    let project = Project::new();
    project.backup();
    let (staging, scratch) = (project.path("backups/.staging"), project.path("scratch"));
    fs::create_dir(&scratch).unwrap();
    for command in ["verify", "drill"] {
        let full = (command == "verify").then_some("--full");
        age(&staging);
        age(&scratch);
        project.run(command).expect(0);
        assert!(touched(&staging) && !touched(&scratch), "{command}");
        age(&staging);
        let given = ["--scratch", scratch.to_str().unwrap()];
        CommandOutput::of(&mut project.command([command].into_iter().chain(full).chain(given))).expect(0);
        assert!(!touched(&staging) && touched(&scratch), "{command}");
        assert_eq!(shell(&scratch, "ls -A"), "", "{command}");
        let missing = project.path("nowhere");
        let ran = CommandOutput::of(&mut project.command([command, "--scratch", missing.to_str().unwrap()]));
        let _filters = project.filters();
        insta::allow_duplicates! {
            insta::assert_snapshot!(ran.expect(2).all(), @r"
            error: the scratch folder ROOT/nowhere doesn't exist
            hint: make it, or name another with --scratch
            ");
        }
    }
}

// Again.

/// Verifies the newest backup, which must be sound; returns the depth.
#[track_caller]
fn depth(project: &Project, flags: &str) -> String {
    let report = project.run(&format!("verify --json {flags}")).expect(0).json()["reports"][0].clone();
    let line = project.ledger().pop().unwrap();
    assert_eq!((&line["depth"], &report["verdict"]), (&report["depth"], &json!("ok")));
    report["depth"].as_str().unwrap().to_string()
}

/// Changes the ledger's last line.
fn edit_last_line(project: &Project, edit: impl FnOnce(&mut Value)) {
    let mut lines = project.ledger();
    edit(lines.last_mut().unwrap());
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    project.write("backups/history.jsonl", &(lines.join("\n") + "\n"));
}

#[test]
fn what_an_earlier_verify_checked_whole_is_read_and_hashed_alone() {
    let project = Project::new();
    project.backup();
    assert_eq!(depth(&project, ""), "whole");
    let first = project.ledger().pop().unwrap();
    age(&project.path("backups/.staging"));
    let again = project.run("verify --json").expect(0).json()["reports"][0].clone();
    assert_eq!(again["checked_whole_at"], first["at"]);
    let what = again["checks"].as_array().unwrap().iter().map(|check| check["what"].as_str().unwrap());
    assert_eq!(what.collect::<Vec<_>>(), ["content", "content", "entries"], "what was not checked isn't listed");
    assert!(!touched(&project.path("backups/.staging")), "nothing was decoded to a file");
    let line = project.ledger().pop().unwrap();
    assert_eq!((&line["depth"], &line["checked"]), (&json!("content"), &Value::Null));
    let _filters = project.tidy();
    insta::assert_snapshot!(project.run("verify -v").expect(0).all(), @r"
      ok       sessions_db_ID.db.gz: stored and decoded bytes as recorded; the same bytes were checked whole on DATE
      ok       config_ID.tar.gz: stored and decoded bytes as recorded
      ok       config_ID.tar.gz: 2 files as recorded
    backup ID is as recorded; its bytes were checked whole on DATE: 3 checks in TIME
    ");
    assert_eq!(depth(&project, "--full"), "whole");
    let status = project.run("status --json").expect(0).json();
    assert_eq!(status["last_proved"]["what"], "verify");
}

#[test]
fn another_backup_of_the_same_bytes_need_not_be_checked_whole() {
    let project = Project::new();
    let first = project.backup();
    assert_eq!(depth(&project, ""), "whole");
    let second = project.backup();
    let digest = |id: &str| project.manifest(id)["artifacts"][0]["plain_sha256"].clone();
    assert_eq!(digest(&first), digest(&second));
    assert_eq!(depth(&project, ""), "content");
    project.execute("INSERT INTO stations VALUES (3, 'west')");
    project.backup();
    assert_eq!(depth(&project, ""), "whole");
}

#[test]
fn bytes_that_changed_since_they_were_checked_whole_are_damage() {
    let project = Project::new();
    let id = project.backup();
    assert_eq!(depth(&project, ""), "whole");
    let artifact = project.path(&project.artifact(&id, "sessions_db"));
    let sound = fs::read(&artifact).unwrap();
    flip_byte(&artifact);
    assert!(damage(&project).contains("decode"), "it is read");
    fs::write(&artifact, sound).unwrap();
    assert_eq!(depth(&project, ""), "whole", "the last one failed");
    assert_eq!(depth(&project, ""), "content");
    project.edit_artifact(&id, "sessions_db", |artifact| artifact["tables"][0]["rows"] = json!(7));
    assert!(damage(&project).contains("row count of "), "another manifest was checked");
}

#[test]
fn a_check_of_another_host_or_version_is_repeated() {
    let project = Project::new();
    project.backup();
    for change in [
        |line: &mut Value| line["host"] = json!("elsewhere"),
        |line: &mut Value| drop(line.as_object_mut().unwrap().remove("host")),
        |line: &mut Value| line["checked"]["tool"]["sqlite"] = json!("3.0.0"),
        |line: &mut Value| line["checked"]["tool"]["version"] = json!("0.0.1"),
        |line: &mut Value| line["checked"]["databases"][0]["plain_sha256"] = json!("0".repeat(64)),
        |line: &mut Value| line["checked"] = Value::Null,
    ] {
        assert_eq!(depth(&project, "--full"), "whole");
        edit_last_line(&project, change);
        // The lines before it count, too.
        let newest = project.ledger().pop().unwrap();
        project.write("backups/history.jsonl", &format!("{newest}\n"));
        assert_eq!(depth(&project, ""), "whole", "{newest}");
    }
}

#[test]
fn a_database_with_a_flaw_is_checked_whole_each_time() {
    let project = Project::new();
    project.execute("PRAGMA foreign_keys = off; INSERT INTO sessions VALUES (2000, 99, 1)");
    project.backup();
    for _ in 0..2 {
        let report = project.run("verify --json").expect(0).json()["reports"][0].clone();
        assert_eq!((&report["verdict"], &report["depth"]), (&json!("warning"), &json!("whole")));
    }
}

// Drills.

/// A project with default settings, these probes of the database, and a command.
fn drilled(probes: &Value, command: &Value, timeout: &str) -> Project {
    let project = Project::new();
    let settings = format!(
        "[[database]]\nname = \"sessions_db\"\npath = \"data/sessions.db\"\nprobes = {probes}\n\
         [drill]\ncommand = {command}\ntimeout = \"{timeout}\"\n"
    );
    project.write("ops/backup.toml", &settings);
    project.backup();
    project
}

#[test]
fn a_drill_restores_opens_and_records_its_time() {
    let project = Project::new();
    let id = project.backup();
    let before = live(&project);
    let _filters = project.filters();
    insta::assert_snapshot!(project.run("drill").expect(0).all(), @"drill of ID passed: restored 3 files in TIME, no probes configured");
    insta::assert_snapshot!(project.run("drill -v").expect(0).all(), @r"
      restored data/sessions.db
      restored .env
      restored data/station_info.json
    drill of ID passed: restored 3 files in TIME, no probes configured
    ");
    let document = project.run("drill --json").expect(0).json();
    let drill = &document["drill"];
    assert_eq!(drill["restored"], json!(["data/sessions.db", ".env", "data/station_info.json"]));
    assert_eq!((&drill["id"], &drill["passed"], &drill["recorded"]), (&json!(id), &json!(true), &json!(true)));
    assert!(drill["restore_ms"].as_u64() <= drill["duration_ms"].as_u64());

    let line = project.ledger().pop().unwrap();
    assert_eq!((&line["command"], &line["outcome"], &line["id"]), (&json!("drill"), &json!("ok"), &json!(id)));
    assert_eq!(line["proved"], json!(["sessions_db", "config"]));
    let status = project.run("status --json").expect(0).json();
    assert_eq!(status["rto_ms"], line["duration_ms"]);
    assert_eq!(status["last_proved"]["what"], "drill");
    assert_eq!(live(&project), before);
    assert_eq!(scratch(&project), "");
}

#[test]
fn an_older_backup_is_drilled_by_name() {
    let project = Project::new();
    let (old, _) = (project.backup(), project.backup());
    let drill = project.run(&format!("drill --json --from {old}")).expect(0).json();
    assert_eq!(drill["drill"]["id"], old.as_str());
}

#[test]
fn probes_have_to_answer_with_a_true_value() {
    let probes = json!(["SELECT count(*) = 1000 FROM sessions", "SELECT count(*) FROM stations"]);
    let project = drilled(&probes, &json!([]), "60s");
    let _filters = project.filters();
    insta::assert_snapshot!(project.run("drill").expect(0).all(), @r"
      ok      SELECT count(*) = 1000 FROM sessions
      ok      SELECT count(*) FROM stations
    drill of ID passed: restored 3 files in TIME, 2 probes passed
    ");

    let probes = json!([
        "SELECT count(*) FROM sessions",
        "SELECT count(*) > 1000 FROM sessions",
        "SELECT NULL",
        "SELECT 1 WHERE 0",
        "SELECT 'yes'",
    ]);
    let project = drilled(&probes, &json!([]), "60s");
    let before = live(&project);
    let _filters = project.filters();
    let ran = project.run("drill");
    insta::assert_snapshot!(ran.expect(12).all(), @r"
      ok      SELECT count(*) FROM sessions
      failed  SELECT count(*) > 1000 FROM sessions: returned false (0)
      failed  SELECT NULL: returned NULL
      failed  SELECT 1 WHERE 0: returned no row
      failed  SELECT 'yes': returned text
    drill of ID failed: restored 3 files in TIME, but see above
    hint: a probe asks about the content: compare with the live database, or try an older backup
    ");
    let line = project.ledger().pop().unwrap();
    assert_eq!((&line["command"], &line["outcome"]), (&json!("drill"), &json!("failed")));
    assert_eq!(project.run("list --json").expect(0).json()["backups"][0]["last_proved"], Value::Null);
    assert_eq!(live(&project), before);
    assert_eq!(scratch(&project), "");
}

#[test]
fn what_is_wrong_with_the_settings_of_a_drill_says_nothing_about_the_backup() {
    for (probes, command, message) in [
        (json!(["SELECT 0", "SELECT count(*) FROM bookings"]), json!([]), "probe 2 of sessions_db can't be prepared"),
        (json!([""]), json!([]), "it has no SQL"),
        (
            json!(["SELECT 1"]),
            json!(["/no/such/program", "x"]),
            "the drill's command /no/such/program can't be started",
        ),
    ] {
        let project = drilled(&probes, &command, "60s");
        let before = project.ledger().len();
        let ran = project.run("drill");
        assert!(ran.expect(2).stderr.contains(message) && ran.stderr.contains("hint: fix"), "{ran:?}");
        assert_eq!(project.run("drill --json").expect(2).json()["error"]["kind"], "invalid_input");
        let told = project.ledger().split_off(before);
        assert_eq!(told.len(), 4, "that each began, and failed");
        assert!(told.iter().all(|line| line["id"].is_null()), "{told:?}");
        assert_eq!(project.run("list --json").expect(0).json()["backups"][0]["status"], "complete");
        assert_eq!(scratch(&project), "");
    }
}

#[test]
fn a_probe_that_writes_does_not_reach_the_live_database() {
    let project = drilled(&json!(["DELETE FROM sessions RETURNING 1"]), &json!(["rm", "-r", "data", ".env"]), "60s");
    let before = live(&project);
    project.run("drill").expect(0);
    assert_eq!(live(&project), before);
    project.run("verify").expect(0);
}

#[test]
fn a_command_runs_in_the_restored_folder_and_knows_it() {
    let script = r#"test "$(pwd -P)" = "$(cd "$DRILL_ROOT" && pwd -P)"; test "$(cat .env)" = "API_KEY=very-secret
PORT=8080"; test -f data/station_info.json; test "$(sqlite3 data/sessions.db 'SELECT count(*) FROM sessions')" = 1000
pwd -P > "$0"; echo said on the way"#;
    let place = Project::empty();
    let project = drilled(&json!([]), &json!(["sh", "-euc", script, place.path("seen")]), "60s");
    project.run("drill").expect(0);
    let seen = place.read("seen");
    assert!(seen.starts_with(project.path("backups/.staging").to_str().unwrap()), "{seen}");
    assert!(!fs::exists(seen.trim()).unwrap(), "it is gone afterwards");
}

#[test]
fn a_command_can_write_to_the_restored_folder_and_not_to_the_backups() {
    use landlock::{ABI, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
    let required = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if required.handle_access(AccessFs::from_write(ABI::V3)).is_err() {
        return eprintln!("left out: this kernel has no Landlock");
    }
    // The command may write to folders for temporary files, and this checkout may be in one of them.
    let home = std::env::var("HOME").unwrap();
    let is_temporary =
        |folder: &str| ["/tmp", "/var/tmp", "/dev/shm"].iter().any(|it| Path::new(folder).starts_with(it));
    let folder = [env!("CARGO_TARGET_TMPDIR"), home.as_str()].into_iter().find(|folder| !is_temporary(folder)).unwrap();
    let place = tempfile::tempdir_in(folder).unwrap();
    let store = place.path().join("backups");
    let script = "echo x > data/x; touch /tmp > /dev/null
        for file in \"$0\"/.lock \"$0\"/*.*; do
            if ( : >> \"$file\" ) 2> /dev/null || rm -f \"$file\" 2> /dev/null; then exit 7; fi
        done
        for fd in /proc/$PPID/fd/*; do if ( : >> \"$fd\" ) 2> /dev/null; then exit 8; fi; done
        if touch \"$0/new\" \"$0/.staging/new\" 2> /dev/null; then exit 9; fi";
    let project = drilled(&json!([]), &json!(["sh", "-euc", script, store]), "60s");
    let run =
        |command: &str| CommandOutput::of(&mut project.command([command, "--backup-dir", store.to_str().unwrap()]));
    run("backup").expect(0);
    run("drill").expect(0);
}

#[test]
fn a_command_that_fails_is_shown_with_its_exit_status() {
    let command = json!(["sh", "-c", "echo first; echo the port is taken >&2; exit 7"]);
    let project = drilled(&json!(["SELECT 1"]), &command, "60s");
    let _filters = project.filters();
    insta::assert_snapshot!(project.run("drill -v").expect(12).all(), @r"
      restored data/sessions.db
      restored .env
      restored data/station_info.json
      ok      SELECT 1
      failed  sh -c echo first; echo the port is taken >&2; exit 7: exit status: 7
    drill of ID failed: restored 3 files in TIME, but see above
    hint: run the command in a restored copy: cargo xtask --root ROOT restore --from ID --to DIR
    ");
    assert_eq!(scratch(&project), "");
}

#[test]
fn a_command_that_hangs_is_stopped_with_all_that_it_started() {
    // The second has a child that holds its output open, as a program started by `npm` or a shell has.
    for script in ["echo $$ > \"$0\"; exec sleep 600", "sleep 600 & echo $! > \"$0\"; wait"] {
        let place = Project::empty();
        let project = drilled(&json!([]), &json!(["sh", "-c", script, place.path("pid")]), "1s");
        let begun = std::time::Instant::now();
        let ran = project.run("drill");
        assert!(ran.expect(12).stdout.contains(": stopped after 1 s\n"), "{}", ran.stdout);
        assert!(begun.elapsed().as_secs() < 300, "it waited for the command's child");
        // A zombie has ended; it only waits for its parent.
        let state = "ps -o stat= -p $(cat pid) | grep -v '^Z' || echo gone; kill -9 $(cat pid) 2>/dev/null || true";
        assert_eq!(shell(place.root(), state), "gone\n", "{script}");
        assert_eq!(scratch(&project), "");
    }
}

#[test]
fn a_drill_of_a_damaged_backup_says_so() {
    let project = Project::new();
    let id = project.backup();
    forge(&project, &id, "sessions_db", true, break_index);
    let before = live(&project);
    let _filters = project.filters();
    insta::assert_snapshot!(project.run("drill").expect(12).all(), @r"
    error: sessions_db_ID.db.gz is damaged: integrity_check: row 500 missing from index by_station
    hint: restore another backup: `verify --all` shows which are sound
    ");
    let line = project.ledger().pop().unwrap();
    assert_eq!((&line["command"], &line["outcome"]), (&json!("drill"), &json!("failed")));
    assert_eq!(live(&project), before);
    assert_eq!(scratch(&project), "");
}
