//! Backups of other tools: of the old Python script, and of people with `sqlite3`, `gzip`, `zstd` and `tar`.

use std::fs;
use std::process::Command;

use insta::{allow_duplicates, assert_snapshot};
use serde_json::json;

use crate::support::{CommandOutput, Project, shell};

/// The work of `backup_manager.py`: its names, its calls and its three readings of the clock.
const SCRIPT: &str = r#"
import gzip, json, os, shutil, sqlite3, sys, tarfile
from datetime import datetime
from pathlib import Path

root, old, database_stamp, config_stamp, manifest_stamp, what = sys.argv[1:]
root, folder = Path(root), Path(root) / "backups"
folder.mkdir(exist_ok=True)
backups = {"database": None, "configuration": None}

if "database" in what:
    path = folder / f"sessions_db_{database_stamp}.db"
    connection = sqlite3.connect(root / "data" / "sessions.db")
    connection.execute(f"VACUUM INTO '{path}'")
    connection.close()
    if "plain" not in what:
        with open(path, "rb") as f_in, gzip.open(f"{path}.gz", "wb") as f_out:
            shutil.copyfileobj(f_in, f_out)
        path.unlink()
        path = Path(f"{path}.gz")
    backups["database"] = f"{old}/{path.name}"

if "config" in what:
    path = folder / f"config_{config_stamp}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for source in [root / ".env", root / "data" / "station_info.json"]:
            if source.exists():
                tar.add(source, arcname=source.name)
        if "more" in what:
            tar.add(root / "data" / "more.txt", arcname="more.txt")
    backups["configuration"] = f"{old}/{path.name}"

if "manifest" in what:
    timestamp = datetime.strptime(manifest_stamp, "%Y%m%d_%H%M%S").replace(microsecond=123456).isoformat()
    with open(folder / f"manifest_{manifest_stamp}.json", "w") as f:
        json.dump({"timestamp": timestamp, "backups": backups}, f, indent=2)
"#;

/// Its three readings of the clock, between which it saved the database and the configuration.
const STAMPS: [&str; 3] = ["20251209_235958", "20251210_000003", "20251210_000004"];
const ID: &str = STAMPS[2];

/// Backs the project up with the old script.
fn old_backup_at(project: &Project, stamps: [&str; 3], what: &str) {
    // The folder was moved since, or the backup comes from another machine.
    let old = "/home/pi/charger-api/backups";
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT]).arg(project.root()).arg(old).args(stamps).arg(what);
    CommandOutput::of(&mut python).expect(0);
}

fn old_backup(what: &str) -> Project {
    let project = Project::new();
    old_backup_at(&project, STAMPS, what);
    project
}

/// Deletes all that was backed up.
fn disaster(project: &Project) {
    fs::remove_dir_all(project.path("data")).unwrap();
    fs::remove_file(project.path(".env")).unwrap();
}

/// Asserts that everything is back.
#[track_caller]
fn assert_restored(project: &Project) {
    assert_eq!(project.sessions(), 1000);
    assert_eq!(project.query("PRAGMA user_version"), 3);
    assert_eq!(shell(project.root(), "sqlite3 data/sessions.db 'PRAGMA integrity_check'"), "ok\n");
    assert_eq!(project.read(".env"), "API_KEY=very-secret\nPORT=8080\n");
    assert_eq!(project.read("data/station_info.json"), "{\"id\": \"CP-1\"}\n");
}

/// Id, status and artifact names of all listed backups.
fn listed(project: &Project) -> Vec<String> {
    let json = project.run("list --json").expect(0).json();
    let row = |row: &serde_json::Value| {
        let files = row["artifacts"].as_array().unwrap().iter().map(|artifact| artifact["file"].as_str().unwrap());
        let files: Vec<&str> = files.collect();
        format!("{} {}: {}", row["id"].as_str().unwrap(), row["status"].as_str().unwrap(), files.join(" "))
    };
    json["backups"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn what_the_script_wrote_is_one_backup_named_by_its_manifest() {
    let project = old_backup("database config manifest");
    assert_eq!(
        listed(&project),
        ["20251210_000004 no manifest: config_20251210_000003.tar.gz sessions_db_20251209_235958.db.gz"]
    );
    let table = project.run("list");
    assert_eq!(table.expect(0).stderr, "");
    assert!(table.stdout.contains("no manifest config, sessions_db"), "{}", table.stdout);
}

#[test]
fn what_the_script_wrote_is_restored_by_its_id_and_by_time() {
    for from in
        [ID, "20251210", "latest", "2025-12-10 00:00", "2025-12-10 00:00:04", "2025-12-11", "2025-12-10T00:00:04Z"]
    {
        let project = old_backup("database config manifest");
        disaster(&project);
        CommandOutput::of(&mut project.command(["restore", "--from", from])).expect(0);
        assert_restored(&project);
    }
    let project = old_backup("database config manifest");
    CommandOutput::of(&mut project.command(["restore", "--yes", "--from", "2025-12-10 00:00:03"])).expect(10);
}

#[test]
fn restoring_what_the_script_wrote_can_be_undone() {
    let project = old_backup("database config manifest");
    project.execute("INSERT INTO sessions VALUES (1001, 1, 1.5)");
    project.write(".env", "PORT=9090\n");
    project.run(&format!("restore --yes --from {ID}")).expect(0);
    assert_restored(&project);
    project.run("restore --undo --yes").expect(0);
    assert_eq!(project.sessions(), 1001);
    assert_eq!(project.read(".env"), "PORT=9090\n");
}

#[test]
fn flat_names_go_to_the_configured_places_with_their_modes() {
    let project = Project::new();
    shell(project.root(), "chmod 600 .env; chmod 640 data/station_info.json");
    old_backup_at(&project, STAMPS, "config manifest");
    disaster(&project);
    let _filters = project.filters();
    assert_snapshot!(project.run(&format!("restore --from {ID}")).snapshot(), @"
    restore ID (WHEN, AGE old) into ROOT
      new        .env  30 B
      new        data/station_info.json  15 B
    restored ID: 2 files, checked, in TIME
    --
    warning: backup ID holds no sessions_db: what is there now stays
    => 0
    ");
    assert_eq!(shell(project.root(), "stat -c '%a %n' .env data/*"), "600 .env\n640 data/station_info.json\n");
    assert!(!project.path("station_info.json").exists());
}

#[test]
fn a_member_that_the_settings_do_not_know_is_left_out_with_a_warning() {
    let project = Project::new();
    project.write("data/more.txt", "more");
    old_backup_at(&project, STAMPS, "database config more manifest");
    disaster(&project);
    let ran = project.run(&format!("restore --from {ID}"));
    ran.expect(0);
    assert_snapshot!(ran.stderr, @"warning: more.txt: the settings don't say where it belongs, so it is left out");
    assert_restored(&project);
    assert_eq!(shell(project.root(), "find . -name more.txt"), "");
    project.write("ops/backup.toml", "[[files]]\nname = 'config'\npaths = ['notes/more.txt']\n");
    let ran = project.run(&format!("restore --from {ID} --config-only --yes"));
    ran.expect(0);
    assert_snapshot!(ran.stderr, @"
    warning: .env: the settings don't say where it belongs, so it is left out
    warning: station_info.json: the settings don't say where it belongs, so it is left out
    ");
    assert_eq!(project.read("notes/more.txt"), "more");
}

#[test]
fn what_the_script_wrote_is_verified_and_drilled() {
    for what in ["database config manifest", "database config plain manifest"] {
        let project = old_backup(what);
        project.write(
            "ops/backup.toml",
            "[[database]]\nname = 'sessions_db'\npath = 'data/sessions.db'\n\
                       probes = ['SELECT count(*) = 1000 FROM sessions']\n",
        );
        let _filters = project.filters();
        let verified = project.run(&format!("verify -v --from {ID}")).snapshot().replace("db.gz", "db");
        let drilled = project.run(&format!("drill -v --from {ID}")).snapshot();
        allow_duplicates! {
            assert_snapshot!(verified, @"
              ok       config_ID.tar.gz: decodes; nothing is recorded to compare with
              ok       config_ID.tar.gz: 2 files
              ok       sessions_db_ID.db: decodes; nothing is recorded to compare with
              ok       sessions_db_ID.db: integrity_check ok
              ok       sessions_db_ID.db: foreign_key_check ok
            backup ID is sound: 5 checks in TIME
            --
            => 0
            ");
            assert_snapshot!(drilled, @"
              restored .env
              restored data/station_info.json
              restored data/sessions.db
              ok      SELECT count(*) = 1000 FROM sessions
            drill of ID passed: restored 3 files in TIME, 1 probe passed
            --
            => 0
            ");
        }
        assert_eq!(shell(project.root(), "ls -A backups/.staging"), "");
        let proved = project.run("list --json").json();
        assert!(proved["backups"][0]["last_proved"].is_string(), "{proved}");
    }
}

#[test]
fn damage_to_what_the_script_wrote_is_found() {
    let project = old_backup("database config manifest");
    let stored = format!("backups/sessions_db_{}.db.gz", STAMPS[0]);
    shell(project.root(), &format!("truncate -s -100 {stored}"));
    project.run(&format!("verify --from {ID}")).expect(12);
    let before = project.tree();
    let ran = project.run(&format!("restore --yes --from {ID}"));
    ran.expect(12);
    assert!(ran.stderr.starts_with(&format!("error: sessions_db_{}.db.gz is damaged", STAMPS[0])), "{}", ran.stderr);
    assert_eq!(project.tree(), before);
}

#[test]
fn without_its_manifest_each_file_is_known_by_its_own_time() {
    let project = old_backup("database config");
    let expected = [
        "20251210_000003 no manifest: config_20251210_000003.tar.gz",
        "20251209_235958 no manifest: sessions_db_20251209_235958.db.gz",
    ];
    assert_eq!(listed(&project), expected);
    project.run("verify --all").expect(0);
    disaster(&project);
    let ran = project.run("restore --from 20251209");
    ran.expect(0);
    assert_snapshot!(ran.stderr, @"warning: backup 20251209_235958 holds no config: what is there now stays");
    let ran = project.run("restore --from 20251210");
    ran.expect(0);
    assert_snapshot!(ran.stderr, @"warning: backup 20251210_000003 holds no sessions_db: what is there now stays");
    assert_restored(&project);
}

#[test]
fn without_a_manifest_files_of_one_second_are_one_backup() {
    let project = Project::new();
    old_backup_at(&project, [ID; 3], "database config");
    let expected = [format!("{ID} no manifest: config_{ID}.tar.gz sessions_db_{ID}.db.gz")];
    assert_eq!(listed(&project), expected);
    disaster(&project);
    project.run(&format!("restore --from {ID}")).expect(0);
    assert_restored(&project);
}

#[test]
fn one_of_the_two_alone_is_restored() {
    for (what, flag) in [("database manifest", "--database-only"), ("config manifest", "--config-only")] {
        let project = old_backup(what);
        let live = project.read(".env");
        disaster(&project);
        project.run(&format!("restore {flag} --from {ID}")).expect(0);
        assert_eq!(project.path("data/sessions.db").exists(), flag == "--database-only");
        assert_eq!(fs::read_to_string(project.path(".env")).ok(), (flag == "--config-only").then_some(live));
        let other = if flag == "--config-only" { "--database-only" } else { "--config-only" };
        let ran = project.run(&format!("restore {other} --yes --from {ID}"));
        ran.expect(10);
        allow_duplicates! {
            assert_snapshot!(project.redact(&ran.stderr), @"
            error: backup 20251210_000004 holds none of what is asked for
            hint: `list` shows which backup holds what
            ");
        }
    }
}

#[test]
fn a_plain_database_beside_a_half_written_compressed_one_is_the_whole_one() {
    let project = Project::new();
    old_backup_at(&project, STAMPS, "database plain");
    let plain = format!("backups/sessions_db_{}.db", STAMPS[0]);
    shell(project.root(), &format!("gzip -c {plain} | head -c 3000 >{plain}.gz"));
    assert_eq!(listed(&project), ["20251209_235958 no manifest: sessions_db_20251209_235958.db"]);
    project.run("verify").expect(0);
    fs::remove_dir_all(project.path("data")).unwrap();
    project.run("restore --from latest").expect(10);
    project.run("restore --from latest --database-only").expect(0);
    assert_eq!(project.sessions(), 1000);
}

#[test]
fn a_file_that_the_scripts_manifest_names_and_that_is_gone_is_damage() {
    let project = old_backup("database config manifest");
    let file = format!("sessions_db_{}.db.gz", STAMPS[0]);
    fs::remove_file(project.path(&format!("backups/{file}"))).unwrap();
    assert!(listed(&project)[0].contains(&file));
    let ran = project.run(&format!("verify --from {ID}"));
    ran.expect(12);
    let found = "  damaged  sessions_db_20251209_235958.db.gz: it is missing from the store\n";
    assert!(ran.stdout.contains(found), "{}", ran.stdout);
    let before = project.tree();
    let ran = project.run(&format!("restore --from {ID} --yes"));
    ran.expect(12);
    let said = "error: sessions_db_20251209_235958.db.gz is damaged: it is missing from the store\n";
    assert!(ran.stderr.starts_with(said), "{}", ran.stderr);
    assert_eq!(project.tree(), before);
    project.run(&format!("restore --from {ID} --yes --config-only")).expect(0);
}

#[test]
fn what_the_script_wrote_does_not_count_as_a_complete_backup() {
    let project = old_backup("database config manifest");
    let ran = project.run("status");
    ran.expect(1);
    assert!(ran.stderr.contains("failure: sessions_db was never saved\n"), "{}", ran.stderr);
    assert_eq!(project.run("status --json").json()["backups"], 1);
}

#[test]
fn rotation_keeps_what_the_script_wrote_and_says_why() {
    let project = old_backup("database config manifest");
    old_backup_at(&project, ["20240101_000000"; 3], "database config");
    let before = project.stored();
    let id = project.backup();
    let ran = project.run("rotate --keep-days 0 --keep-last 1");
    ran.expect(0);
    assert_snapshot!(ran.stdout.replace(&id, "NEW"), @"
    keep    NEW  last 1, newest complete backup, newest with config, newest with sessions_db
    keep    20251210_000004  no manifest
    keep    20240101_000000  no manifest
    rotation: nothing to remove
    ");
    let after = project.stored();
    assert!(before.iter().all(|name| after.contains(name)), "{after:?}");
    let json = project.run("rotate --json").expect(0).json();
    assert_eq!(json["plan"]["decisions"][2]["reasons"], json!([{ "code": "no_manifest" }]));
}

#[test]
fn a_script_manifest_leads_nowhere_outside_the_store() {
    let project = Project::new();
    let backups = json!({ "database": "../../etc/passwd", "configuration": "/etc/config_20251210_000003.tar.gz" });
    project.write(&format!("backups/manifest_{ID}.json"), &json!({ "timestamp": "x", "backups": backups }).to_string());
    assert_eq!(listed(&project), ["20251210_000004 no manifest: config_20251210_000003.tar.gz"]);
    project.run(&format!("restore --yes --from {ID}")).expect(12);
}

/// Puts the output of a shell command into a file of the backup folder.
fn by_hand(project: &Project, file: &str, command: &str) {
    shell(project.root(), &format!("mkdir -p backups; {command} >backups/{file}"));
}

#[test]
fn databases_compressed_by_hand_are_read() {
    let snapshot = "sqlite3 data/sessions.db 'VACUUM INTO \"snapshot.db\"'; trap 'rm snapshot.db' EXIT";
    for (ending, encode) in [
        ("db", "cat snapshot.db"),
        ("db.gz", "gzip -9 -c snapshot.db"),
        ("db.gz", "split -b 10000 --filter 'gzip -c' snapshot.db"),
        ("db.zst", "zstd -q -19 -c snapshot.db"),
        ("db.zst", "zstd -q -19 --long=27 --no-check -c snapshot.db"),
        ("db.zst", "split -b 10000 --filter 'zstd -q -c' snapshot.db"),
    ] {
        let project = Project::new();
        by_hand(&project, &format!("sessions_db_{ID}.{ending}"), &format!("{snapshot}; {encode}"));
        project.run(&format!("verify --from {ID}")).expect(0);
        project.run("drill").expect(3);
        fs::remove_dir_all(project.path("data")).unwrap();
        project.run("restore --from latest --database-only").expect(0);
        assert_eq!(project.sessions(), 1000, "{encode}");
    }
}

#[test]
fn archives_made_by_hand_are_read() {
    for (ending, command) in [
        ("tar", "tar --format=gnu -c .env data/station_info.json"),
        ("tar.gz", "tar --format=gnu -cz .env data/station_info.json"),
        ("tar.gz", "tar --format=pax -c .env data/station_info.json | gzip -9"),
        ("tar.gz", "tar --format=ustar -c .env data/station_info.json | gzip -9"),
        ("tar.zst", "tar --format=pax -c .env data/station_info.json | zstd -q -19"),
        ("tar.gz", "tar --format=pax -cz .env -C data station_info.json"),
    ] {
        let project = Project::new();
        by_hand(&project, &format!("config_{ID}.{ending}"), command);
        project.run(&format!("verify --from {ID}")).expect(0);
        fs::remove_file(project.path(".env")).unwrap();
        fs::remove_file(project.path("data/station_info.json")).unwrap();
        let ran = project.run("restore --from latest --config-only");
        ran.expect(0);
        assert_restored(&project);
    }
}

#[test]
fn what_this_program_recorded_may_be_compressed_again_by_hand_only_with_its_manifest() {
    let project = Project::new();
    let id = project.backup();
    let stored = project.artifact(&id, "sessions_db");
    shell(project.root(), &format!("gunzip -c {stored} | gzip -9 >x; mv x {stored}"));
    project.run("verify").expect(12);
    fs::remove_file(project.path(&format!("backups/manifest_{id}.json"))).unwrap();
    project.run("verify").expect(0);
}

#[test]
fn manifests_of_any_shape_are_another_tools_and_its_files_are_found_by_their_names() {
    for manifest in [
        &br#"{"timestamp": "2025-12-10", "files": ["/old/sessions_db_20251210_000004.db.gz"], "status": "ok"}"#[..],
        br#"{"backups": {"database": "/gone/sessions_db_20251210_000004.db"}}"#,
        b"{}",
        b"\xef\xbb\xbf{}",
        b"all well\n",
        b"{\"not\": \"yede\xf0i\"",
    ] {
        let project = Project::new();
        old_backup_at(&project, [ID; 3], "database config");
        fs::write(project.path(&format!("backups/manifest_{ID}.json")), manifest).unwrap();
        let expected = [format!("{ID} no manifest: config_{ID}.tar.gz sessions_db_{ID}.db.gz")];
        assert_eq!(listed(&project), expected, "{}", String::from_utf8_lossy(manifest));
        project.run("verify --all").expect(0);
        disaster(&project);
        project.run("restore --from latest").expect(0);
        assert_restored(&project);
    }
}

#[test]
fn what_is_left_of_our_own_manifest_is_damage_and_never_another_tools() {
    let project = Project::new();
    let id = project.backup();
    let manifest = project.read(&format!("backups/manifest_{id}.json"));
    for left in [&manifest[..manifest.len() / 2], "", "{\n  \"for"] {
        project.write(&format!("backups/manifest_{id}.json"), left);
        assert_eq!(listed(&project), [format!("{id} unreadable: ")], "{left}");
        project.run("verify --all").expect(12);
        project.run("restore --from latest --yes").expect(10);
    }
}
