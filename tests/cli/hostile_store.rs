//! A store that somebody else can write to: whatever they put there, no file of ours is removed, skipped, taken for
//! checked, or written elsewhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use crate::hostile::{bounded, refused};
use crate::support::{CommandOutput, Project, as_nobody, break_index, forge, is_root, shell};

/// Copies the backup `id` to another id, with its manifest changed by `edit`.
fn copy(project: &Project, id: &str, other: &str, edit: impl FnOnce(&mut Value)) {
    for file in project.stored().into_iter().filter(|file| file.contains(id)) {
        let to = project.path(&format!("backups/{}", file.replace(id, other)));
        fs::copy(project.path(&format!("backups/{file}")), to).unwrap();
    }
    let text = project.read(&format!("backups/manifest_{other}.json")).replace(id, other);
    project.write(&format!("backups/manifest_{other}.json"), &text);
    project.edit_manifest(other, |manifest| {
        let time = chrono::NaiveDateTime::parse_from_str(other, "%Y%m%d_%H%M%S").unwrap().and_utc();
        manifest["created_at"] = time.to_rfc3339().into();
        edit(manifest);
    });
}

/// The id of this many minutes ago.
fn minutes_ago(minutes: i64) -> String {
    (chrono::Utc::now() - chrono::TimeDelta::minutes(minutes)).format("%Y%m%d_%H%M%S").to_string()
}

// What counts.

const LAST: &str = "99991231_235959";

#[test]
fn a_name_of_the_year_9999_keeps_no_backup_from_being_made() {
    let project = Project::new();
    project.write(&format!("backups/a_{LAST}.db"), "");
    let first = project.backup();
    let second = project.backup();
    assert!(first < second && second.starts_with("20"), "{first} {second}");
    // The same with a whole backup that claims to be this project's.
    copy(&project, &first, LAST, |_| {});
    let third = project.backup();
    assert!(![&first, &second, &LAST.to_string()].contains(&&third));
    bounded(&project, "verify --all").expect(0);
}

#[test]
fn a_file_of_a_later_date_is_not_verified_in_place_of_the_backup() {
    let project = Project::new();
    let id = project.backup();
    let artifact = format!("backups/sessions_db_{id}.db.gz");
    let half = fs::metadata(project.path(&artifact)).unwrap().len() / 2;
    shell(project.root(), &format!("printf damage | dd of={artifact} bs=1 seek={half} conv=notrunc status=none"));
    project.write(&format!("backups/zz_{}.db", minutes_ago(-1)), "");
    project.run("verify").expect(12);
}

#[test]
fn an_artifact_that_grew_keeps_no_backup_from_being_made() {
    let project = Project::new();
    let id = project.backup();
    shell(
        project.root(),
        &format!("truncate -s 200T backups/sessions_db_{id}.db.gz || truncate -s 15T backups/sessions_db_{id}.db.gz"),
    );
    project.run("backup").expect(0);
}

#[test]
fn a_staged_manifest_has_nothing_removed_that_this_program_did_not_write() {
    let project = Project::new();
    let id = project.backup();
    let (other, theirs) = ("20250101_000000", "backups/sessions_db_20250101_000000.db.gz");
    project.write(theirs, "another tool's");
    let manifest = project.read(&format!("backups/manifest_{id}.json")).replace(&id, other);
    for text in [manifest.as_str(), "{}", ""] {
        for command in ["backup --no-rotate", "verify", "drill", "rotate"] {
            project.write(&format!("backups/.staging/manifest_{other}.json"), text);
            bounded(&project, command).expect(0);
            assert_eq!(project.read(theirs), "another tool's", "{command}");
        }
    }
    assert_eq!(shell(project.root(), "ls -A backups/.staging"), "");
}

#[test]
fn what_another_host_made_has_nothing_rotated_away_and_is_never_the_latest() {
    let project = Project::new();
    project.write("ops/backup.toml", "[retention]\nkeep_last = 3\n");
    let id = project.backup();
    let genuine = minutes_ago(60);
    project.redate(&id, &genuine);
    for minutes in [3, 2, 1] {
        copy(&project, &genuine, &minutes_ago(minutes), |manifest| manifest["host"] = "elsewhere".into());
    }
    bounded(&project, "rotate").expect(0);
    let listed = bounded(&project, "list --json").expect(0).json();
    let rows = listed["backups"].as_array().unwrap();
    let status_of = |row: &Value| row["status"].as_str().unwrap().to_string();
    assert_eq!(
        rows.iter().map(status_of).collect::<Vec<_>>(),
        ["another host's", "another host's", "another host's", "complete"]
    );
    let plan = bounded(&project, "restore --dry-run --from latest --json").expect(0).json();
    assert_eq!(plan["plan"]["id"], json!(genuine));
    let status = bounded(&project, "status --json").json();
    assert!(status["sources"].as_array().unwrap().iter().all(|source| source["id"] == json!(genuine)), "{status}");
    // The same number of this host's own backups does take its place.
    for minutes in [8, 7, 6] {
        copy(&project, &genuine, &minutes_ago(minutes), |_| {});
    }
    bounded(&project, "rotate").expect(0);
    assert!(!project.path(&format!("backups/manifest_{genuine}.json")).exists());
}

// What is taken for checked.

#[test]
fn that_a_manifest_says_checked_is_not_taken_for_a_check() {
    let project = Project::new();
    let id = project.backup();
    assert_eq!(project.manifest(&id)["artifacts"][0]["checked"], json!(true));
    forge(&project, &id, "sessions_db", true, break_index);
    let before = project.hashes("data");
    for command in [format!("restore --yes --from {id}"), format!("restore --from {id} --to elsewhere")] {
        let said = refused(&project, 12, &command);
        assert!(said.contains("integrity_check"), "{said}");
    }
    assert_eq!(project.hashes("data"), before);
    // Neither is a line of another host about the same bytes.
    let digest = project.manifest(&id)["artifacts"][0]["plain_sha256"].clone();
    let checked = json!({ "plain_sha256": digest, "facts_sha256": digest });
    let mut line = project.ended().pop().unwrap();
    line["checked"] = json!({ "tool": project.manifest(&id)["tool"], "databases": [checked] });
    let ledger = project.read("backups/history.jsonl");
    for (host, code) in [(json!("elsewhere"), 12), (json!(""), 12)] {
        line["host"] = host;
        project.write("backups/history.jsonl", &format!("{ledger}{line}\n"));
        bounded(&project, &format!("restore --yes --from {id}")).expect(code);
    }
}

#[test]
fn a_backup_of_this_host_says_in_the_ledger_what_it_checked() {
    let project = Project::new();
    let id = project.backup();
    let line = project.ended().pop().unwrap();
    let database = &project.manifest(&id)["artifacts"][0];
    assert_eq!(line["checked"]["databases"][0]["plain_sha256"], database["plain_sha256"]);
    assert_eq!(line["checked"]["tool"], project.manifest(&id)["tool"]);
    bounded(&project, "verify").expect(0);
    assert_eq!(project.ended().pop().unwrap()["depth"], json!("whole"), "the first verification takes no such word");
}

// Memory.

/// Puts a long list into a manifest.
type Edit = fn(&mut Value, Value);

#[test]
fn a_manifest_takes_little_memory_whatever_it_holds() {
    let project = Project::new();
    let id = project.backup();
    let many = |element: Value| {
        let count = 13_000_000 / (element.to_string().len() + 1);
        Value::Array(vec![element; count])
    };
    let kinds: [(Value, Edit); 6] = [
        (json!("a"), |manifest, many| manifest["absent"] = many),
        (json!({"name": "a", "message": ""}), |manifest, many| manifest["errors"] = many),
        (json!({"name": "", "rows": 0}), |manifest, many| manifest["artifacts"][0]["tables"] = many),
        (json!(""), |manifest, many| manifest["artifacts"][0]["damage"] = many),
        (json!(0), |manifest, many| manifest["artifacts"][0]["later"] = many),
        (json!([]), |manifest, many| manifest["artifacts"] = many),
    ];
    for (element, edit) in kinds {
        for other in ["20250101_000000", "20250101_000001"] {
            copy(&project, &id, other, |manifest| edit(manifest, many(element.clone())));
        }
        let listed = bounded(&project, "list --json").expect(0).json();
        assert_eq!(listed["backups"].as_array().unwrap().len(), 3, "{element}");
    }
}

#[test]
fn a_ledger_takes_little_memory_however_many_lines_it_has() {
    let project = Project::new();
    let id = project.backup();
    bounded(&project, "verify").expect(0);
    let last = project.ledger().pop().unwrap();
    let line = json!({ "at": "2025-01-01T00:00:00Z", "command": "drill", "outcome": "ok", "id": "20250101_000000" });
    let ledger = format!("{line}\n").repeat(400_000);
    project.write("backups/history.jsonl", &format!("{ledger}{last}\n"));
    let status = bounded(&project, "status --json").json();
    assert_eq!(status["last_proved"]["id"], json!(id));
}

// Links.

#[test]
fn no_link_in_the_store_is_followed_though_it_leads_to_what_should_be_there() {
    let project = Project::new();
    let id = project.backup();
    let files = ["sessions_db", "config"].map(|name| project.artifact(&id, name));
    let manifest = format!("backups/manifest_{id}.json");
    for file in files.iter().chain([&manifest]) {
        shell(project.root(), &format!("mv {file} kept; ln -s ../kept {file}"));
        let ran = bounded(&project, &format!("verify --from {id}"));
        assert!(ran.code != 0 && ran.all().contains("link"), "{file}: {ran:?}");
        assert_ne!(bounded(&project, &format!("restore --yes --from {id}")).code, 0, "{file}");
        bounded(&project, "list").expect(0);
        shell(project.root(), &format!("mv kept {file}"));
    }
    for file in ["backups/store.json", "backups/history.jsonl", "backups/.lock", "backups/.staging"] {
        shell(project.root(), &format!("mv {file} kept; ln -s ../kept {file}"));
        let ran = bounded(&project, "backup");
        assert!(ran.all().contains("link"), "{file}: {ran:?}");
        shell(project.root(), &format!("rm {file}; mv kept {file}"));
    }
    // The owner may make the folder itself a link.
    shell(project.root(), "mv backups disk; ln -s disk backups");
    bounded(&project, "backup").expect(0);
    bounded(&project, "verify --all").expect(0);
}

#[test]
fn a_staging_area_that_is_exchanged_for_a_link_meanwhile_leads_to_nothing_that_is_removed() {
    let project = Project::new();
    project.backup();
    let (staging, link) = (project.path("backups/.staging"), project.path("link"));
    symlink(project.path("precious"), &link).unwrap();
    project.write("precious/tree/deep/file", "mine");
    project.write("precious/file", "mine");
    let before = project.hashes("precious");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for folder in [&staging, &link] {
                    let _ = fs::create_dir_all(folder.join("tree/deep"));
                    let _ = fs::write(folder.join("tree/deep/other"), "theirs");
                }
                let _ = fs::remove_file(project.path("precious/tree/deep/other"));
                let _ = renameat_with(CWD, &staging, CWD, &link, RenameFlags::EXCHANGE);
            }
        });
        for command in ["backup --config-only --no-rotate", "verify", "rotate"].repeat(10) {
            let ran = CommandOutput::of(&mut project.command(command.split(' ')));
            assert!((0..=12).contains(&ran.code), "{ran:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    let _ = fs::remove_file(project.path("precious/tree/deep/other"));
    assert_eq!(project.hashes("precious"), before);
}

#[test]
fn a_staging_area_of_another_users_is_not_written_to() {
    if !is_root() {
        return;
    }
    let project = Project::new();
    project.backup();
    shell(project.root(), "rmdir backups/.staging; chown -R 65534:65534 .; chmod 0777 backups");
    let backup = || as_nobody(&project, &std::env::temp_dir(), "backup --no-rotate");
    shell(project.root(), "mkdir -m 0777 backups/.staging; chown 4343 backups/.staging");
    let before = project.stored();
    let said = backup().expect(2).stderr.clone();
    assert!(
        said.contains(".staging belongs to uid 4343, who could change what is written there\nhint: remove it"),
        "{said}"
    );
    assert_eq!(project.stored(), before);
    // The owner of the backup folder can change everything in it anyway, and root everything.
    for owner in ["4343 backups backups/.staging", "0 backups/.staging", "65534 backups/.staging"] {
        shell(project.root(), &format!("chown {owner}"));
        backup().expect(0);
    }
}
