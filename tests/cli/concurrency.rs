//! Backups beside writers; backups and restores beside other runs, and signals.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{CommandOutput, Project, shell, wait_for};

const WRITERS: usize = 4;

/// A writer's pause between two commits. SQLite's waiting isn't fair: a writer that never pauses keeps others out.
fn breathe() {
    thread::sleep(Duration::from_millis(1));
}

fn connect(project: &Project) -> Connection {
    let connection = project.open();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    connection.pragma_update(None, "synchronous", "off").unwrap();
    connection
}

/// Writers that commit until they are told to stop, and the last number of each.
struct Writers {
    committed: [AtomicI64; WRITERS],
    stop: AtomicBool,
}

impl Writers {
    fn committed(&self) -> Vec<i64> {
        self.committed.iter().map(|count| count.load(SeqCst)).collect()
    }

    fn write(&self, writer: usize, connection: &Connection) {
        let mut insert = connection.prepare("INSERT INTO sequence VALUES (?1, ?2, randomblob(200))").unwrap();
        let mut number = 0;
        while !self.stop.load(SeqCst) {
            number += 1;
            insert.execute((writer, number)).unwrap();
            self.committed[writer].store(number, SeqCst);
            breathe();
        }
    }
}

/// Runs `test` while four writers commit, each its own sequence through its own connection.
fn beside_writers(project: &Project, test: impl FnOnce(&Writers)) {
    let writers = Writers { committed: Default::default(), stop: AtomicBool::new(false) };
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (writers, connection) = (&writers, connect(project));
            scope.spawn(move || writers.write(writer, &connection));
        }
        let _stop = OnDrop(|| writers.stop.store(true, SeqCst));
        wait_for("every writer to commit", || writers.committed().iter().all(|count| *count >= 20));
        test(&writers);
    });
}

/// Does something at the end of a scope, even after a panic, which threads that never end would hide.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// For each writer: the number of its rows in the backup, its first and its last number.
fn sequences_in(project: &Project, id: &str) -> Vec<(i64, i64, i64)> {
    let script = format!(
        "gunzip -c {} > copy.db
         sqlite3 copy.db 'SELECT count(*), min(number), max(number) FROM sequence GROUP BY writer ORDER BY writer'
         sqlite3 copy.db 'PRAGMA integrity_check' | grep -qx ok; rm copy.db",
        project.artifact(id, "sessions_db")
    );
    let rows = shell(project.root(), &script);
    let row = |line: &str| {
        let numbers: Vec<i64> = line.split('|').map(|number| number.parse().unwrap()).collect();
        (numbers[0], numbers[1], numbers[2])
    };
    rows.lines().map(row).collect()
}

fn a_backup_beside_writers_holds_prefixes(journal_mode: &str) {
    let project = Project::new();
    project.execute(&format!("PRAGMA journal_mode = {journal_mode}; CREATE TABLE sequence(writer, number, filling)"));
    beside_writers(&project, |writers| {
        for _ in 0..3 {
            let before = writers.committed();
            let id = project.backup_with("--database-only --busy-timeout 60s");
            let after = writers.committed();
            let held = sequences_in(&project, &id);
            assert_eq!(held.len(), WRITERS);
            for (writer, (count, first, last)) in held.into_iter().enumerate() {
                assert_eq!((first, count), (1, last), "writer {writer} has a gap");
                assert!(last >= before[writer], "writer {writer}: {last} of {} committed before", before[writer]);
                assert!(last <= after[writer] + 1, "writer {writer}: {last}, though only {} were made", after[writer]);
            }
            let rows: i64 = sequences_in(&project, &id).iter().map(|(count, ..)| count).sum();
            let tables = project.manifest(&id)["artifacts"][0]["tables"].clone();
            let recorded = tables.as_array().unwrap().iter().find(|table| table["name"] == "sequence").unwrap();
            assert_eq!(recorded["rows"], rows);
            // They kept writing during the backup.
            wait_for("the writers to go on", || writers.committed().iter().zip(&after).all(|(now, then)| now > then));
        }
    });
    project.run("verify --all").expect(0);
}

#[test]
fn a_backup_of_a_wal_database_beside_four_writers_holds_a_prefix_of_each_ones_commits() {
    a_backup_beside_writers_holds_prefixes("wal");
}

#[test]
fn a_backup_of_a_rollback_database_beside_four_writers_holds_a_prefix_of_each_ones_commits() {
    a_backup_beside_writers_holds_prefixes("delete");
}

// Two runs.

/// Holds the store's lock as a run would.
fn hold_lock(project: &Project) -> File {
    let mut lock = File::options().write(true).open(project.path("backups/.lock")).unwrap();
    lock.lock().unwrap();
    lock.set_len(0).unwrap();
    let holder = json!({ "pid": 42, "host": "box", "command": "rotate", "since": "2025-12-10T14:00:00Z" });
    std::io::Write::write_all(&mut lock, holder.to_string().as_bytes()).unwrap();
    lock
}

#[test]
fn two_backups_started_at_once_both_succeed_one_after_the_other() {
    let project = Project::new();
    let first = project.backup();
    let lock = hold_lock(&project);
    let start = || {
        let mut command = project.command("backup --json --lock-wait 60s".split(' '));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "waiting for rotate (pid 42 on box, since 2025-12-10T14:00:00Z)\n");
        child
    };
    let children = [start(), start()];
    drop(lock);
    let mut ids = BTreeSet::from([first]);
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        ids.insert(document["backup"]["id"].as_str().unwrap().to_string());
    }
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert_eq!(project.stored().len(), 9);
    project.run("verify --all").expect(0);
}

#[test]
fn a_run_that_will_not_wait_says_who_holds_the_lock_and_changes_nothing() {
    let project = Project::new();
    project.backup();
    let lock = hold_lock(&project);
    let before = project.hashes(".");
    for arguments in ["backup", "restore --from latest --yes", "rotate", "verify", "drill", "pin 2"] {
        let ran = project.run(&format!("{arguments} --lock-wait 0s"));
        insta::allow_duplicates! {
            insta::assert_snapshot!(ran.expect(11).stderr, @r"
            error: locked by another run: rotate (pid 42 on box, since 2025-12-10T14:00:00Z)
            hint: wait for it to end, or allow more time with --lock-wait 10m
            ");
        }
    }
    let document = project.run("backup --lock-wait 0s --json").expect(11).json();
    assert_eq!(document["error"]["kind"], "locked");
    assert_eq!(project.hashes("."), before);
    // Commands that only read need no lock. And a lock whose holder is gone is free, whatever the file says.
    for arguments in ["list", "status", "restore --from latest --dry-run"] {
        project.run(&format!("{arguments} --lock-wait 0s")).expect(0);
    }
    drop(lock);
    project.run("backup --lock-wait 0s").expect(0);
}

// Signals.

/// A project with an incompressible database of this size.
fn large(megabytes: usize) -> Project {
    let project = Project::new();
    project.execute(&format!(
        "CREATE TABLE filling(x);
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {megabytes})
         INSERT INTO filling SELECT randomblob(1000000) FROM n;
         PRAGMA wal_checkpoint(truncate)"
    ));
    project
}

/// A point of a run that its staging area shows.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The snapshot is being written.
    Snapshot,
    /// The artifact is being written.
    Artifact,
}

impl Event {
    fn has_come(self, project: &Project) -> bool {
        let staged = fs::read_dir(project.path("backups/.staging")).unwrap().map(|entry| entry.unwrap().path());
        let mut files = staged.filter_map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            match self {
                Self::Snapshot => name.starts_with("scratch-").then(|| path.join("snapshot.db")),
                Self::Artifact => name.starts_with("sessions_db_").then_some(path),
            }
        });
        files.any(|file| fs::metadata(file).is_ok_and(|found| found.len() > 0))
    }
}

fn start_backup(project: &Project) -> Child {
    project.command(["backup"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Sends `signal` to a backup at `event`; repeats it with a larger database if the run was faster. Returns the project,
/// what was stored before, and how the run ended.
fn signalled(signal: Signal, event: Event) -> (Project, String, CommandOutput) {
    for megabytes in [60, 240, 960] {
        let project = large(megabytes);
        project.backup_with("--config-only");
        let before = stored(&project);
        let mut run = start_backup(&project);
        wait_for("the event", || event.has_come(&project) || run.try_wait().unwrap().is_some());
        // A run that has ended is a zombie until somebody waits for it, so the signal can't reach another process.
        if run.try_wait().unwrap().is_none() {
            kill_process(Pid::from_child(&run), signal).unwrap();
        }
        let output = run.wait_with_output().unwrap();
        if !output.status.success() {
            let code = output.status.code().or(output.status.signal().map(|number| 128 + number)).unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            return (project, before, CommandOutput { code, stdout: String::new(), stderr });
        }
    }
    panic!("every run was over before {signal:?} at {event:?}");
}

/// The published files, with digests.
fn stored(project: &Project) -> String {
    shell(&project.path("backups"), "sha256sum $(ls | grep -v history.jsonl)")
}

fn staged(project: &Project) -> String {
    shell(&project.path("backups/.staging"), "ls -A")
}

fn ids(project: &Project) -> Vec<String> {
    let document = project.run("list --json").expect(0).json();
    document["backups"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_string()).collect()
}

#[test]
fn an_interrupted_backup_leaves_nothing_behind() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for event in [Event::Snapshot, Event::Artifact] {
            let (project, before, ran) = signalled(signal, event);
            insta::allow_duplicates! {
                insta::assert_snapshot!(ran.expect(code).stderr, @"error: interrupted");
            }
            assert_eq!(stored(&project), before, "{signal:?} at {event:?}");
            assert_eq!(staged(&project), "", "{signal:?} at {event:?}");
            let id = project.backup();
            assert_eq!(ids(&project)[0], id);
            project.run("verify").expect(0);
        }
    }
}

#[test]
fn after_a_killed_backup_the_next_run_clears_up_and_works() {
    for event in [Event::Snapshot, Event::Artifact] {
        let (project, before, ran) = signalled(Signal::KILL, event);
        ran.expect(128 + 9);
        assert_eq!(stored(&project), before, "{event:?}");
        assert_ne!(staged(&project), "", "killed at {event:?}, it could not clear up");
        assert_eq!(ids(&project).len(), 1, "{event:?}");
        assert!(project.run("status").expect(1).stderr.contains(", was killed\n"));
        let id = project.backup_with("--lock-wait 0s");
        assert_eq!(staged(&project), "", "{event:?}");
        assert_eq!(ids(&project)[0], id);
        assert_eq!(project.stored().len(), 2 + 3, "{event:?}");
        project.run("verify --all").expect(0);
    }
}

/// Sends `signal` to a verification once the ledger says that it began.
fn signalled_verify(signal: Signal) -> (Project, Option<i32>) {
    for megabytes in [60, 240, 960] {
        let project = large(megabytes);
        project.backup_with("--no-compress");
        let mut run = project.command(["verify"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = || project.ledger().last().unwrap()["command"] == "verify";
        wait_for("the verification to begin", || begun() || run.try_wait().unwrap().is_some());
        if run.try_wait().unwrap().is_none() {
            kill_process(Pid::from_child(&run), signal).unwrap();
        }
        let status = run.wait().unwrap();
        if !status.success() {
            return (project, status.code());
        }
    }
    panic!("every verification was over before {signal:?}");
}

#[test]
fn a_verification_that_was_killed_or_stopped_shows_until_another_one_ends() {
    for (signal, code, what, said) in [
        (Signal::KILL, None, "begun", "the last verify, 0s ago, was killed"),
        (Signal::INT, Some(130), "interrupted", "the last verify, 0s ago, was interrupted"),
    ] {
        let (project, ended) = signalled_verify(signal);
        assert_eq!(ended, code);
        assert_eq!(project.run("status --json").expect(0).json()["last_verify"]["what"], what);
        let said = said.split("0s").collect::<Vec<_>>();
        for command in ["status", "list", "doctor -q"] {
            let stderr = project.run(command).stderr;
            assert!(said.iter().all(|part| stderr.contains(part)), "{command}: {stderr}");
        }
        project.run("verify").expect(0);
        for command in ["status", "list", "doctor -q"] {
            assert!(!project.run(command).stderr.contains("last verify"), "{command}");
        }
    }
}

/// Sends `signal` to a restore over a live database while it decodes the backup beside its place.
fn signalled_restore(signal: Signal) -> (Project, Option<i32>) {
    for megabytes in [60, 240, 960] {
        let project = large(megabytes);
        project.backup_with("--no-compress");
        project.execute("DELETE FROM sessions WHERE id = 1");
        let mut run = project.command("restore --from latest --yes --json".split(' '));
        let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let decoding = || fs::exists(project.path("data/.sessions.db.restoring")).unwrap();
        wait_for("the restore to begin", || decoding() || run.try_wait().unwrap().is_some());
        if run.try_wait().unwrap().is_none() {
            kill_process(Pid::from_child(&run), signal).unwrap();
        }
        let status = run.wait().unwrap();
        if !status.success() {
            return (project, status.code());
        }
    }
    panic!("every restore was over before {signal:?}");
}

#[test]
fn an_interrupted_restore_changes_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (project, ended) = signalled_restore(signal);
        assert_eq!(ended, Some(code));
        assert_eq!(shell(project.root(), "find . -name '*.restoring*'"), "");
        assert_eq!((project.sessions(), staged(&project).as_str()), (999, ""));
        assert!(project.ledger().iter().all(|line| line["command"] != "restore"));
        assert_eq!(project.run("list").expect(0).stderr, "");
        project.run("restore --from latest --yes").expect(0);
        assert_eq!(project.sessions(), 1000);
    }
}

#[test]
fn after_a_killed_restore_the_next_one_clears_up_and_works() {
    let (project, ended) = signalled_restore(Signal::KILL);
    assert_eq!(ended, None);
    assert_eq!(project.sessions(), 999);
    assert_ne!(shell(project.root(), "find . -name '*.restoring'"), "");
    project.run("restore --from latest --yes").expect(0);
    assert_eq!(project.sessions(), 1000);
    assert_eq!(shell(project.root(), "find . -name '*.restoring*'"), "");
    assert_eq!(staged(&project), "");
}

#[test]
fn an_unfinished_publication_is_taken_back_by_the_next_run() {
    let project = Project::new();
    let (good, cut) = (project.backup(), project.backup());
    // The state after a run that was killed between publishing its artifacts and its manifest.
    let name = format!("manifest_{cut}.json");
    fs::rename(project.path("backups").join(&name), project.path("backups/.staging").join(&name)).unwrap();
    assert_eq!(ids(&project), std::slice::from_ref(&good));
    project.run("verify --all").expect(0);
    assert_eq!(staged(&project), "");
    assert!(project.stored().iter().all(|file| file.contains(&good)), "{:?}", project.stored());
}

#[test]
fn a_list_never_shows_a_backup_before_it_is_complete() {
    let project = large(60);
    let first = project.backup_with("--config-only");
    let mut run = start_backup(&project);
    let mut listed = 0;
    loop {
        let ended = run.try_wait().unwrap();
        let document = project.run("list --json").expect(0).json();
        let rows = document["backups"].as_array().unwrap();
        for row in rows {
            assert_eq!(row["status"], "complete", "{row}");
            let artifacts = row["artifacts"].as_array().unwrap();
            assert_eq!(artifacts.len(), if row["id"] == first.as_str() { 1 } else { 2 }, "{row}");
            assert!(artifacts.iter().all(|artifact| artifact["bytes"].is_u64()), "{row}");
        }
        match ended {
            None => {
                listed += 1;
                assert!(rows.len() <= 2);
            }
            Some(status) => {
                assert!(status.success());
                assert_eq!(rows.len(), 2);
                break;
            }
        }
    }
    assert!(listed > 0, "it was listed while it ran");
}
