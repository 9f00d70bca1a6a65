//! Restores from a store, and into folders, that somebody else can write to: only files that the settings name are
//! written, inside the project, and with the owner that they had there.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use super::{bounded, refused};
use crate::support::{CommandOutput, Project, WaitingRun, as_nobody, forge, is_root, shell, wait_for};

/// Writes an archive to stdout: `.env`, then a member with each name, owned by another user and writable by everybody.
const TAR: &str = r#"
import io, sys, tarfile
tar = tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.GNU_FORMAT)
for name in [".env", *sys.argv[1:]]:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.uid, member.gid = 4, 0o666, 4343, 4343
    tar.addfile(member, io.BytesIO(b"A=1\n"))
tar.close()
"#;

/// A backup with an archive of `.env` and these members, which its manifest vouches for.
fn forged(project: &Project, members: &[&str]) -> String {
    let id = project.backup();
    forge(project, &id, "config", true, |plain| {
        let members = members.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(" ");
        shell(project.root(), &format!("python3 -c '{TAR}' {members} >{}", plain.display()));
    });
    id
}

/// Adds the line of a restore to the ledger, as somebody else may.
fn add_restore(project: &Project, id: &str, outcome: &str, target: &str, kept: Option<&str>) {
    let restore = json!({ "target": target, "kept": kept, "written": [".env"], "moved_aside": [] });
    let line = json!({ "at": "2026-01-01T00:00:00+00:00", "command": "restore", "outcome": outcome, "id": id, "restore": restore });
    let ledger = project.read("backups/history.jsonl");
    project.write("backups/history.jsonl", &format!("{ledger}{line}\n"));
}

// Where an undo writes.

#[test]
fn the_ledger_does_not_say_where_an_undo_writes() {
    let (project, elsewhere) = (Project::new(), Project::empty());
    let id = project.backup();
    project.edit_manifest(&id, |manifest| manifest["trigger"] = "pre-restore".into());
    let target = elsewhere.path("it's; here");
    add_restore(&project, &id, "ok", target.to_str().unwrap(), Some(&id));
    let said = refused(&project, 10, "restore --undo --yes");
    let undo = format!("restore --undo --to \"{}\"", target.display());
    assert!(
        said.contains(&format!("the last restore went into {}; to undo that", target.display()))
            && said.contains(&undo),
        "{said}"
    );
    refused(&project, 10, "restore --undo --yes --to /somewhere/else");
    assert!(!target.exists());
    // If a person names it, it is that person's decision.
    let undo = ["restore", "--undo", "--to", target.to_str().unwrap()];
    CommandOutput::of(&mut project.command(undo)).expect(0);
    assert!(target.join(".env").exists() && target.join("data/sessions.db").exists());
}

#[test]
fn a_restore_into_another_folder_says_how_it_is_undone() {
    let (project, other) = (Project::new(), Project::new());
    project.backup();
    other.write(".env", "MINE=1\n");
    let to = other.root().display();
    let ran = project.run(&format!("restore --from latest --yes --to {to}"));
    assert!(ran.expect(0).stdout.trim_end().ends_with(&format!(" restore --undo --to {to}")), "{ran:?}");
    project.run(&format!("restore --undo --yes --to {to}")).expect(0);
    assert_eq!(other.read(".env"), "MINE=1\n");
}

#[test]
fn a_restore_into_another_folder_leaves_the_roots_undo_as_it_was() {
    let (project, other) = (Project::new(), Project::new());
    project.backup();
    project.write(".env", "ROOT=1\n");
    project.run("restore --from latest --yes").expect(0);
    project.run(&format!("restore --from latest --yes --to {}", other.root().display())).expect(0);
    symlink(project.root(), other.path("link")).unwrap();
    for root in [project.root().to_path_buf(), other.path("link")] {
        let root = root.display();
        let ran = project.run(&format!("restore --undo --dry-run --to {root}"));
        assert!(ran.expect(0).stdout.contains("  replaces   .env  7 B\n") && ran.stderr.is_empty(), "{ran:?}");
    }
    let ran = project.run("restore --undo --yes");
    assert!(
        ran.expect(0).stderr.contains(&format!("the last restore went into {}; to undo that", other.root().display())),
        "{ran:?}"
    );
    assert_eq!(
        (project.read(".env").as_str(), other.read(".env").as_str()),
        ("ROOT=1\n", "API_KEY=very-secret\nPORT=8080\n")
    );
    assert_eq!(project.run("restore --undo --yes").expect(0).stderr, "", "the last one is the root's own again");
}

// What is written.

#[test]
fn only_what_the_settings_name_is_restored_and_the_rest_is_named() {
    let project = Project::new();
    let id = forged(&project, &["bin/run", ".envrc", ".git/hooks/pre-commit", "sub/.GIT/config", "ops/backup.toml"]);
    let ran = bounded(&project, &format!("restore --yes --from {id}"));
    for line in [
        "  left out   bin/run  (not in the settings)\n",
        "  left out   .envrc  (not in the settings)\n",
        "  left out   .git/hooks/pre-commit  (never restored)\n",
        "  left out   sub/.GIT/config  (never restored)\n",
        "  left out   ops/backup.toml  (never restored)\n",
    ] {
        assert!(ran.expect(0).stdout.contains(line), "{line}{ran:?}");
    }
    assert!(ran.stderr.contains("warning: backup ") && ran.stderr.contains("left out: bin/run, .envrc"), "{ran:?}");
    assert_eq!(project.read(".env"), "A=1\n");
    for path in ["bin", ".envrc", ".git", "sub", "ops"] {
        assert!(!project.path(path).exists(), "{path}");
    }

    let plan = bounded(&project, &format!("restore --yes --json --from {id}")).json()["plan"].clone();
    assert_eq!(plan["skipped"][0], json!({ "path": "bin/run", "why": "unlisted" }));
    assert_eq!(plan["skipped"][4], json!({ "path": "ops/backup.toml", "why": "protected" }));
}

#[test]
fn what_the_settings_do_not_name_is_restored_if_a_person_says_so_and_can_be_taken_back() {
    let project = Project::new();
    let id = forged(&project, &["bin/run", ".cargo/config.toml", "x/.git/config", "Ops/backup.toml"]);
    project.write("bin/run", "mine");
    let ran = bounded(&project, &format!("restore --yes --unlisted --from {id}"));
    assert!(ran.expect(0).stdout.contains("  replaces   bin/run  4 B  (not in the settings)\n"), "{ran:?}");
    assert!(ran.stdout.trim_end().ends_with(" restore --undo --unlisted"), "{ran:?}");
    assert_eq!(project.read("bin/run"), "A=1\n");
    for path in [".cargo", "x", "Ops"] {
        assert!(!project.path(path).exists(), "{path}");
    }
    bounded(&project, "restore --undo --yes --unlisted").expect(0);
    assert_eq!(project.read("bin/run"), "mine");
}

#[test]
fn a_path_that_the_settings_no_longer_name_is_restored_if_a_person_says_so() {
    let project = Project::new();
    let id = project.backup();
    project.write("ops/backup.toml", "[[database]]\nname = 'sessions_db'\npath = 'data/moved.db'\n");
    shell(project.root(), "rm data/sessions.db* data/station_info.json");
    let ran = bounded(&project, &format!("restore --yes --database-only --from {id}"));
    assert!(ran.expect(10).stdout.contains("  left out   data/sessions.db  (not in the settings)\n"), "{ran:?}");
    assert!(!project.path("data/sessions.db").exists());
    assert!(bounded(&project, "drill").expect(3).all().contains("sessions_db"));
    bounded(&project, &format!("restore --yes --database-only --unlisted --from {id}")).expect(0);
    assert_eq!(project.sessions(), 1000);
}

#[test]
fn a_database_is_not_restored_to_where_the_manifest_says_alone() {
    for place in ["data/other.db", ".git/index", ".env", "ops/backup.toml", "data/station_info.json"] {
        let project = Project::new();
        let id = project.backup();
        project.edit_artifact(&id, "sessions_db", |artifact| artifact["source"] = place.into());
        let before = project.hashes(".");
        bounded(&project, &format!("restore --yes --database-only --from {id}")).expect(10);
        assert_eq!(project.hashes(".").lines().count(), before.lines().count(), "{place}");
        assert_eq!(project.read(".env"), "API_KEY=very-secret\nPORT=8080\n");
    }
}

#[test]
fn a_drill_restores_nothing_that_the_settings_do_not_name() {
    let project = Project::new();
    project.write("ops/backup.toml", "[drill]\ncommand = ['test', '!', '-e', 'conftest.py']\n");
    forged(&project, &["conftest.py"]);
    let drilled = bounded(&project, "drill --json").expect(0).json()["drill"].clone();
    assert_eq!(drilled["restored"], json!(["data/sessions.db", ".env"]), "{drilled}");
}

// For whom it is written.

/// The mode and the owner of a file.
fn whose(path: &Path) -> (u32, u32, u32) {
    let found = fs::metadata(path).unwrap();
    (found.mode() & 0o7777, found.uid(), found.gid())
}

#[test]
fn owner_and_mode_are_those_of_the_place_and_not_of_the_store() {
    let project = Project::new();
    let id = forged(&project, &["data/station_info.json", "new/deep/file"]);
    project.edit_artifact(&id, "sessions_db", |artifact| {
        (artifact["mode"], artifact["uid"], artifact["gid"]) = (0o666.into(), 4343.into(), 4343.into());
    });
    // Root's project, so that root restores it, into a folder with several owners.
    let other = Project::new();
    let found = fs::metadata(other.root()).unwrap();
    let me = (found.uid(), found.gid());
    shell(other.root(), "chmod 600 .env; rm data/sessions.db* data/station_info.json");
    let (env, data) = if is_root() { ((4242, 4243), (4244, 4245)) } else { (me, me) };
    if is_root() {
        shell(other.root(), "chown 4242:4243 .env; chown 4244:4245 data");
    }
    bounded(&project, &format!("restore --yes --unlisted --from {id} --to {}", other.root().display())).expect(0);
    for (path, mode, owner) in [
        (".env", 0o600, env),
        ("data/station_info.json", 0o660, data),
        ("data/sessions.db", 0o660, data),
        ("new/deep/file", 0o660, me),
        ("new/deep", 0o700, me),
    ] {
        assert_eq!(whose(&other.path(path)), (mode, owner.0, owner.1), "{path}");
    }
}

#[test]
fn who_has_a_restored_file_where_nothing_was_is_said_if_somebody_else_had_it() {
    if !is_root() {
        return;
    }
    // Root's folder, and a file for a group, which only the backup says.
    let project = Project::new();
    shell(project.root(), "chown 0:4243 .env; chmod 640 .env");
    project.backup();
    shell(project.root(), "rm .env");
    let said = project.run("restore --from latest --config-only --yes").expect(0).stderr.clone();
    let now = "belonged to uid 0, gid 4243 and belongs to uid 0, gid 0 now";
    assert_eq!(said.matches(now).count(), 1, "{said}");
    assert_eq!(whose(&project.path(".env")), (0o640, 0, 0));

    // A folder of root's that a group shares: new files there belong to their creator and the group.
    shell(
        project.root(),
        "chown 65534:65534 . backups backups/.* backups/*; chmod 755 .; chown -R 0:65534 data; chmod 770 data",
    );
    shell(project.root(), "chown 65534:65534 data/*");
    let nobody = |arguments: &str| as_nobody(&project, &std::env::temp_dir(), arguments);
    shell(project.root(), "rm .env; echo A=1 >.env; chown 65534:65534 .env");
    nobody("backup").expect(0);
    shell(project.root(), "rm .env data/station_info.json");
    // Copied, since other users may not be allowed to read the folder where it was built.
    let program = project.command(["restore", "--from", "latest", "--config-only", "--yes"]);
    shell(project.root(), &format!("cp '{}' program; chmod 755 program", program.get_program().display()));
    let mut member = Command::new("setpriv");
    member.args(["--reuid=65534", "--regid=4242", "--groups=65534"]).arg(project.path("program"));
    assert_eq!(CommandOutput::of(member.args(program.get_args())).expect(0).stderr, "");
    assert_eq!(whose(&project.path("data/station_info.json")), (0o640, 65534, 65534));
}

// Folders that are exchanged meanwhile.

#[test]
fn a_folder_that_is_exchanged_for_a_link_while_a_restore_waits_is_not_written_to() {
    let (project, elsewhere) = (Project::new(), Project::new());
    project.backup();
    let before = elsewhere.tree();
    let lock = project.lock();
    let waiting = WaitingRun::start(&mut project.command(["restore", "--from", "latest", "--yes"]));
    fs::rename(project.path("data"), project.path("moved")).unwrap();
    symlink(elsewhere.path("data"), project.path("data")).unwrap();
    drop(lock);
    let ran = waiting.end();
    assert!(ran.code == 1 && ran.stderr.contains("what is there has changed since it was shown"), "{ran:?}");
    assert_eq!(elsewhere.tree(), before);
}

/// Exchanges two names again and again during `work`.
fn while_exchanging(one: &Path, other: &Path, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
            }
        });
        work();
        stop.store(true, Ordering::Relaxed);
    });
}

/// The number of attempts at a race.
const TRIES: usize = 10;

#[test]
fn a_folder_that_is_exchanged_for_a_link_all_the_time_leads_no_restore_elsewhere() {
    let (project, victim) = (Project::new(), Project::new());
    let id = forged(&project, &["data/station_info.json"]);
    let before = victim.tree();
    symlink(victim.path("data"), project.path("link")).unwrap();
    if is_root() {
        // Of a user that may not write there.
        shell(project.root(), "chown -h 4242:4242 link");
    }
    let (data, link) = (project.path("data"), project.path("link"));
    while_exchanging(&data, &link, || {
        for _ in 0..TRIES {
            let ran = project.run(&format!("restore --yes --config-only --no-keep={} --from {id}", name_of(&project)));
            assert!([0, 1, 3].contains(&ran.code), "{ran:?}");
        }
    });
    assert!(!is_root() || victim.tree() == before, "{}", victim.tree());
}

fn name_of(project: &Project) -> String {
    project.root().file_name().unwrap().to_str().unwrap().to_string()
}

#[test]
fn folders_that_a_restore_makes_give_nobody_a_folder_of_somebody_else() {
    if !is_root() {
        return;
    }
    let (project, victim) = (Project::new(), Project::new());
    let id = forged(&project, &["new/a/b/c/d/file"]);
    fs::create_dir_all(victim.path("a/b/c/d")).unwrap();
    let before = victim.tree();
    symlink(victim.root(), project.path("link")).unwrap();
    shell(project.root(), "chown -h 4242:4242 link");
    // Each change of an owner is delayed, so that somebody has time to replace the file.
    let delay = "inject=chown,lchown,fchown,fchownat:delay_enter=200000";
    let mut slow = Command::new("strace");
    slow.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=chown,lchown,fchown,fchownat", "-e", delay]);
    let plain = project.command(["restore", "--yes", "--unlisted", "--config-only", "--from", &id]);
    slow.arg(plain.get_program()).args(plain.get_args()).env("CARGO_PKG_NAME", "xtask");
    let (new, link) = (project.path("new"), project.path("link"));
    let ran = thread::scope(|scope| {
        scope.spawn(|| {
            wait_for("a folder to be made", || new.join("a").exists());
            renameat_with(CWD, &new, CWD, &link, RenameFlags::EXCHANGE).unwrap();
        });
        CommandOutput::of(&mut slow)
    });
    assert_eq!(victim.tree(), before, "{ran:?}");
    assert!(ran.code == 1 && ran.stderr.contains("has been exchanged for another"), "{ran:?}");
}

#[test]
fn a_decoded_file_that_is_exchanged_for_a_link_makes_no_file_anybodys() {
    let (project, victim) = (Project::new(), Project::new());
    let many: Vec<String> = (0..200).map(|n| format!("many/{n}")).collect();
    let id = forged(&project, &many.iter().map(String::as_str).collect::<Vec<_>>());
    fs::create_dir(project.path("many")).unwrap();
    shell(victim.root(), "chmod 600 .env");
    let before = victim.tree();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in (0..200).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                let (decoded, link) = (project.path(&format!("many/.{n}.restoring")), project.path("link"));
                let _ = symlink(victim.path(".env"), &link);
                let _ = renameat_with(CWD, &link, CWD, decoded, RenameFlags::EXCHANGE);
                let _ = fs::remove_file(link);
            }
        });
        for _ in 0..TRIES {
            let keep = format!("--no-keep={}", name_of(&project));
            let ran = project.run(&format!("restore --yes --unlisted --config-only {keep} --from {id}"));
            assert!([0, 1, 3].contains(&ran.code), "{ran:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(victim.tree(), before);
}

// What is offered for pasting.

#[test]
fn what_a_hint_offers_for_pasting_is_one_command_whatever_the_ledger_says() {
    for target in [
        "/tmp/x; touch PASTED #",
        "/tmp/x; touch PASTED #\0",
        "$(touch PASTED)",
        "it's; touch PASTED; '",
        "`touch PASTED`",
    ] {
        let project = Project::new();
        let id = project.backup();
        add_restore(&project, &id, "begun", target, Some(&id));
        let ran = bounded(&project, "list");
        let hint = ran.stderr.lines().find_map(|line| line.strip_prefix("hint: repeat it: ")).unwrap();
        for command in hint.split(", or take it back: ") {
            assert!(command.contains(" restore "), "{hint}");
            let pasted = format!("cargo() {{ printf '%s\\n' \"$@\"; }}\n{command}");
            let seen = Command::new("sh").args(["-c", &pasted]).current_dir(project.root()).output().unwrap();
            let seen = String::from_utf8(seen.stdout).unwrap();
            let words: Vec<&str> = seen.lines().collect();
            let to = words.iter().position(|word| *word == "--to").unwrap();
            assert!(words.len() == to + 2 && words[to + 1].contains("touch PASTED"), "{words:?}");
            assert!(!project.path("PASTED").exists(), "{command}");
        }
    }
}

#[test]
fn a_hint_to_trust_a_link_names_it_in_one_word() {
    if !is_root() {
        return;
    }
    let (project, elsewhere) = (Project::new(), Project::new());
    let name = "x; touch PASTED #";
    project.write("ops/backup.toml", &format!("[[files]]\nname = 'config'\npaths = [\"{name}\", '.env']\n"));
    symlink(elsewhere.path(".env"), project.path(name)).unwrap();
    // Root becomes the owner of the project, who did not make the link.
    shell(project.root(), &format!("chown -Rh 65534:65534 .; chmod 0755 .; chown -h 4242 '{name}'"));
    let said = bounded(&project, "backup");
    let quoted = format!("chown -h root '{}'\n", project.path(name).display());
    assert!(said.expect(3).stderr.contains(&quoted), "{said:?}");
}
