//! `bench`: what it prints, which peers it refuses, and what it leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{CommandOutput, program, wait_for};

/// The smallest possible bench, in `dir`.
fn bench(dir: &Path, flags: &str) -> Command {
    let mut command = program();
    command.args(["bench", "--size-mb", "1", "--dir"]).arg(dir).args(flags.split_whitespace());
    command
}

/// A fake pigz, as [`fake`].
fn fake_pigz(command: &mut Command, script: &str) -> TempDir {
    fake("pigz", command, script)
}

/// A fake program that runs `script`. It is first in the command's PATH as long as the folder lives.
fn fake(name: &str, command: &mut Command, script: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n[ \"$1\" = --version ] && exit\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    command.env("PATH", format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap()));
    folder
}

#[test]
fn a_bench_without_peers_tells_every_time_of_every_job() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a place");
    let ran = CommandOutput::of(&mut bench(&dir, "--runs 2 --peers none --json --follow-seconds 1"));
    let report = ran.expect(0).json();
    let who = [&report["peers"], &report["not_installed"], &report["sqlite3"], &report["runs"]];
    assert_eq!(who, [&json!([]), &json!([]), &json!(null), &json!(2)]);
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0);
    let jobs = report["jobs"].as_array().unwrap();
    let names: Vec<&str> = jobs.iter().map(|job| job["job"].as_str().unwrap()).collect();
    let again = ["again", "again-scattered", "again-unchanged"];
    assert_eq!(names, [&["backup", "restore", "verify", "small"], &again[..], &["points"]].concat());
    for row in jobs.iter().flat_map(|job| job["contestants"].as_array().unwrap()) {
        let name = row["name"].as_str().unwrap();
        let own = ["xtask ", "unchecked ", "base", "100 increments"];
        assert!(own.iter().any(|own| name.starts_with(own)), "{row}");
        let seconds = |key: &str| row[key].as_f64().unwrap();
        assert_eq!(row["seconds"].as_array().unwrap().len(), 2, "{row}");
        assert!(0.0 < seconds("min_s") && seconds("min_s") <= seconds("median_s"), "{row}");
        assert!(seconds("median_s") <= seconds("max_s"), "{row}");
        assert!(seconds("cpu_s") > 0.0, "{row}");
        let is_own = |peer: &Value| peer["peer"].as_str().unwrap().starts_with("base");
        assert!(row["against"].as_array().unwrap().iter().all(|peer| peer["ratio"].is_null() != is_own(peer)), "{row}");
    }
    let stored = &jobs[0]["contestants"][0];
    assert!(stored["compression"].as_f64().unwrap() > 2.0, "{stored}");
    assert!(stored["peak_anon_bytes"].as_u64().unwrap() > 100_000, "{stored}");
    let added = |job: usize, row: usize| jobs[job]["contestants"][row]["added_bytes"].as_u64().unwrap();
    let full = stored["stored_bytes"].as_u64().unwrap();
    for job in [4, 5] {
        assert!((1..full / 4).contains(&added(job, 0)) && (1..full / 4).contains(&added(job, 1)), "{}", jobs[job]);
    }
    assert_eq!((added(6, 0), added(6, 1)), (0, 0), "{}", jobs[6]);
    assert_follow(report["follow"].as_array().unwrap());
    assert!(!dir.exists(), "the folder is removed");
}

fn assert_follow(loads: &[Value]) {
    assert_eq!(loads.iter().map(|load| &load["load"]).collect::<Vec<_>>(), ["calm", "busy", "endless"]);
    for load in loads {
        let followers = load["followers"].as_array().unwrap();
        let names: Vec<&Value> = followers.iter().map(|row| &row["name"]).collect();
        assert_eq!(names, ["nobody", "xtask follow", "nobody"]);
        assert!(followers.iter().all(|row| row["commits_per_s"].as_f64().unwrap() > 1.0), "{load}");
        assert!(followers.iter().all(|row| row["max_log_bytes"].as_u64().unwrap() > 4096), "{load}");
        let cost = &followers[1];
        assert!(cost["of_alone"].as_f64().unwrap() > 0.0 && cost["cpu_share"].as_f64().unwrap() > 0.0, "{load}");
        assert!(cost["peak_anon_bytes"].as_u64().unwrap() > 100_000, "{load}");
        assert!(followers[0].get("cpu_share").is_none(), "{load}");
    }
}

#[test]
fn a_follower_that_misses_the_last_commits_does_not_win() {
    let parent = tempfile::tempdir().unwrap();
    let mut command = bench(&parent.path().join("x"), "--runs 1 --peers litestream --jobs follow --follow-seconds 1");
    let _fake = fake(
        "litestream",
        &mut command,
        r#"
        case "$1 $2" in
            "replicate -once") cp "$DB" "$STORE/x.db" ;;
            restore*) cp "$STORE/x.db" "$OUT/sessions.db" ;;
            replicate*) exec sleep 1000 ;;
        esac"#,
    );
    let ran = CommandOutput::of(&mut command);
    assert!(ran.expect(1).stderr.contains("litestream can't follow: writer 0: commits "), "{}", ran.stderr);
}

#[test]
fn the_tables_fit_eighty_columns() {
    let parent = tempfile::tempdir().unwrap();
    let ran = CommandOutput::of(&mut bench(
        &parent.path().join("x"),
        "--runs 1 --peers python,zstd --jobs restore,again,follow --follow-seconds 1",
    ));
    assert!(!ran.expect(0).stdout.contains("== verify"), "it was not asked for");
    assert_eq!(ran.stdout.lines().find(|line| line.chars().count() > 80), None);
    for line in ["== backup (", "xtask zstd ", "python ", " zstd", "peers ", "xtask increment ", "xtask follow "] {
        assert!(ran.stdout.contains(line), "{line} in {}", ran.stdout);
    }
}

#[test]
fn peers_that_are_unknown_or_not_installed_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let ran = CommandOutput::of(&mut bench(&parent.path().join("x"), "--runs 1 --peers zstd,winzip"));
    assert!(ran.expect(2).stderr.contains("invalid value 'winzip' for '--peers <LIST>'"), "{}", ran.stderr);
    assert!(ran.stderr.contains("auto, none, python, gzip, pigz, zstd, restic, borg, rustic, litestream"));
    let empty = tempfile::tempdir().unwrap();
    let ran = CommandOutput::of(bench(&parent.path().join("x"), "--runs 1 --peers borg").env("PATH", empty.path()));
    insta::assert_snapshot!(ran.snapshot(), @"
    --
    error: the peer borg can't take part: sqlite3 is not installed
    hint: get it (apt-get install sqlite3 borgbackup), or leave it out
    => 2
    ");
    assert!(!parent.path().join("x").exists());
}

#[test]
fn a_folder_of_somebodys_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "").unwrap();
    let ran = CommandOutput::of(&mut bench(dir.path(), "--runs 1 --peers none"));
    assert!(ran.expect(2).stderr.contains("hint: give the bench a folder of its own: --dir DIR"), "{}", ran.stderr);
    assert!(dir.path().join("thesis.tex").exists());
}

#[test]
fn a_peer_that_fails_is_named_with_its_script_and_what_it_said() {
    let parent = tempfile::tempdir().unwrap();
    let mut command = bench(&parent.path().join("x"), "--runs 1 --peers pigz");
    let _pigz = fake_pigz(&mut command, "echo out of breath >&2; exit 7");
    insta::assert_snapshot!(CommandOutput::of(&mut command).snapshot(), @r#"
    --
    making a database of 1 MB
    backup: warm-up
    error: pigz can't do its job: backup: `sqlite3 "$DB" "VACUUM INTO 'sessions.db'"; pigz -6 -c -p "$CORES" sessions.db > "$STORE/sessions.db.gz"; rm sessions.db; sync "$STORE/sessions.db.gz" "$STORE"` failed (exit status: 7): out of breath
    => 1
    "#);
    assert!(!parent.path().join("x").exists());
}

#[test]
fn a_peer_that_does_nothing_does_not_win() {
    let parent = tempfile::tempdir().unwrap();
    let mut command = bench(&parent.path().join("x"), "--runs 1 --peers pigz");
    let _pigz = fake_pigz(&mut command, "true");
    let ran = CommandOutput::of(&mut command);
    assert!(ran.expect(1).stderr.contains("pigz can't do its job: backup: it stored 0 bytes of "), "{}", ran.stderr);
}

#[test]
fn a_peer_whose_second_backup_lacks_the_change_does_not_win() {
    let parent = tempfile::tempdir().unwrap();
    let mut command = bench(&parent.path().join("x"), "--runs 1 --peers restic --jobs again");
    let fake = fake(
        "restic",
        &mut command,
        r#"
        case $1 in
            backup) [ -e "$STORE/x.db" ] || cp sessions.db "$STORE/x.db" ;;
            restore) cp "$STORE/x.db" "$OUT/sessions.db" ;;
        esac"#,
    );
    let ran = CommandOutput::of(&mut command);
    drop(fake);
    assert!(ran.expect(1).stderr.contains("restic can't do its job: again: it restored Content"), "{}", ran.stderr);
}

#[test]
fn an_interrupted_bench_ends_what_it_started_and_removes_its_folder() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("x");
    let mut command = bench(&dir, "--runs 1 --peers pigz --quiet");
    let pigz = fake_pigz(&mut command, "echo $$ > \"$0.pid\"; sleep 1000");
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = pigz.path().join("pigz.pid");
    wait_for("pigz", || fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap()),
        (Some(130), "error: interrupted\n".into())
    );
    assert!(!dir.exists());
    let pid = fs::read_to_string(pid).unwrap();
    wait_for("its end", || !Path::new("/proc").join(pid.trim()).join("exe").exists());
}
