//! `follow`: rounds, signals, and what it says of errors. tests/systemd has it as a service, tests/cli/disk.rs a full disk.

use std::io::{BufRead as _, BufReader, pipe};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Project, shell, wait_for};

/// A running `follow`. It is killed when this is dropped.
pub struct Following {
    child: Child,
    lines: Receiver<String>,
    /// All lines that were read, of stdout and stderr.
    pub seen: Vec<String>,
}

impl Following {
    /// Starts the command.
    pub fn start(command: &mut Command) -> Self {
        let (reader, writer) = pipe().unwrap();
        command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = command.spawn().unwrap();
        // The command keeps its ends of the pipe, which would then never end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for the next line with this text in it.
    #[track_caller]
    pub fn says(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(Duration::from_secs(120)) else {
                panic!("waited in vain for {text:?}: {:#?}", self.seen)
            };
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        self.seen.extend(self.lines.iter());
        status
    }

    /// Ends it by SIGTERM, which must go well.
    #[track_caller]
    pub fn stop(mut self) -> Vec<String> {
        self.signal(Signal::TERM);
        assert_eq!(self.end().code(), Some(0), "{:#?}", self.seen);
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(project: &Project, arguments: &str) -> Following {
    let arguments = format!("follow {arguments}");
    Following::start(&mut project.command(arguments.split_whitespace()))
}

/// The same after its first round, which made a full backup.
fn following(project: &Project, arguments: &str) -> Following {
    let mut following = follow(project, arguments);
    following.says("a full backup: there is no backup yet");
    following.says(" complete: ");
    following
}

fn insert(project: &Project) {
    project.execute("PRAGMA busy_timeout = 10000; INSERT INTO sessions(kwh) VALUES (1)");
}

/// Waits for so many rounds: each writes into the lock file when it began.
fn wait_for_rounds(project: &Project, number: usize) {
    for _ in 0..number {
        // It is empty for a moment while it is written.
        let holder = || Some(project.read("backups/.lock")).filter(|holder| !holder.is_empty());
        let mut before = None;
        wait_for("a holder", || {
            before = holder();
            before.is_some()
        });
        wait_for("a round", || holder().is_some_and(|now| Some(now) != before));
    }
}

fn points(project: &Project) -> usize {
    project.stored().iter().filter(|file| file.starts_with("manifest_")).count()
}

fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

#[test]
fn a_round_comes_at_every_interval_and_writes_what_changed() {
    let project = Project::new();
    let mut following = following(&project, "--every 1s");
    for _ in 0..2 {
        insert(&project);
        following.says("increment ");
    }
    let (points_then, ledger) = (points(&project), project.ledger().len());
    wait_for_rounds(&project, 3);
    let said = following.stop();
    assert_eq!(said.first().unwrap(), "saving what changes every 1s; a signal ends it after a last time");
    assert_eq!(said.last().unwrap(), "ended after a last time");
    assert_eq!((points(&project), project.ledger().len()), (points_then, ledger), "nothing changed");
    assert_eq!((points_then, count(&said, "error") + count(&said, "warning")), (3, 0), "{said:#?}");
}

#[test]
fn a_signal_asks_for_a_round_or_for_the_last_one() {
    for last in [Signal::TERM, Signal::INT] {
        let project = Project::new();
        let mut following = following(&project, "--every 1h");
        insert(&project);
        following.signal(Signal::HUP);
        following.says("increment ");
        insert(&project);
        following.signal(last);
        following.says("increment ");
        following.says("ended after a last time");
        assert_eq!(following.end().code(), Some(0));
        assert_eq!(points(&project), 3);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let project = Project::new();
    project.backup();
    let _lock = project.lock();
    let mut following = follow(&project, "--every 1h --lock-wait 1h");
    following.says("saving what changes");
    let mut ended = None;
    wait_for("it to end", || {
        following.signal(Signal::TERM);
        ended = following.child.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().signal(), Some(Signal::TERM.as_raw()), "{:?}", following.seen);
}

#[test]
fn a_database_that_is_gone_and_comes_back_is_told_of_once() {
    let project = Project::new();
    let mut following = following(&project, "--every 1s");
    let (place, away) = (project.path("data/sessions.db"), project.path("away.db"));
    let ledger = project.ledger().len();
    for _ in 0..2 {
        fs::rename(&place, &away).unwrap();
        following.says("sessions.db doesn't exist");
        wait_for_rounds(&project, 2);
        fs::rename(&away, &place).unwrap();
        following.says("all is saved again since ");
    }
    insert(&project);
    following.says(" complete: ");
    let said = following.stop();
    assert_eq!((count(&said, "error: "), count(&said, "hint: "), count(&said, "again")), (2, 2, 2), "{said:#?}");
    assert!(project.ledger().len() <= ledger + 6, "{:#?}", project.ledger());
}

#[test]
fn rounds_that_can_save_nothing_are_quiet_and_leave_nothing() {
    let project = Project::new();
    project.write("ops/backup.toml", "files = []\n[[database]]\nname = 'sessions_db'\npath = 'data/sessions.db'\n");
    let (place, away) = (project.path("data/sessions.db"), project.path("away.db"));
    fs::rename(&place, &away).unwrap();
    let mut following = follow(&project, "--every 1s");
    following.says("sessions.db doesn't exist");
    following.signal(Signal::HUP);
    assert_eq!(points(&project), 0);
    fs::rename(&away, &place).unwrap();
    following.signal(Signal::HUP);
    following.says(" complete: ");
    following.says("all is saved again since ");
    let said = following.stop();
    assert_eq!(
        (count(&said, "error: "), count(&said, "a full backup: "), count(&said, "failed")),
        (1, 1, 0),
        "{said:#?}"
    );
}

#[test]
fn an_application_may_crash_and_switch_journal_modes() {
    let project = Project::new();
    let mut following = following(&project, "--every 1s");
    for mode in ["delete", "wal", "truncate", "wal"] {
        wait_for("the switch", || {
            // Another connection, such as that of a round, is in the way for a moment.
            let switched = project.open().pragma_update_and_check(None, "journal_mode", mode, |row| row.get(0));
            switched.is_ok_and(|now: String| now == mode)
        });
        insert(&project);
        following.says(" complete: ");
    }
    shell(
        project.root(),
        "sqlite3 data/sessions.db 'PRAGMA cache_size = 5; BEGIN; INSERT INTO sessions(kwh) VALUES (1); COMMIT; BEGIN;
         UPDATE sessions SET kwh = 0;' '.shell kill -9 $PPID' || true",
    );
    following.says(" complete: ");
    insert(&project);
    following.says(" complete: ");
    let said = following.stop();
    assert_eq!(count(&said, "error: "), 0, "{said:#?}");
}

#[test]
fn a_round_is_left_out_while_another_run_holds_the_lock() {
    let project = Project::new();
    project.backup();
    let lock = project.lock();
    let mut following = follow(&project, "--every 1s --lock-wait 0s --json");
    for _ in 0..3 {
        let line: Value = serde_json::from_str(&following.says("{\"error\":")).unwrap();
        assert_eq!(line["error"]["kind"], "locked");
    }
    drop(lock);
    let line: Value = serde_json::from_str(&following.says("{\"backup\":")).unwrap();
    assert_eq!((&line["backup"]["status"], &line["error"]), (&"complete".into(), &Value::Null));
    let said = following.stop();
    assert_eq!(
        (count(&said, "a round is left out: locked by another run"), count(&said, "error: ")),
        (1, 0),
        "{said:#?}"
    );
}

#[test]
fn other_runs_come_in_between() {
    let project = Project::new();
    project.write("ops/backup.toml", "[increments]\nevery = '1h'\n");
    let mut following = following(&project, "");
    let full = project.backup();
    insert(&project);
    following.signal(Signal::HUP);
    following.says(&format!(" on {full} complete: "));
    project.run(&format!("restore --from {full} --database-only --yes")).expect(0);
    insert(&project);
    following.signal(Signal::HUP);
    following.says(" complete: ");
    following.stop();
    assert_eq!(project.sessions(), 1001);
}

#[test]
fn settings_are_read_anew_for_each_round() {
    let project = Project::new();
    project.write("ops/backup.toml", "[increments]\nevery = '1h'\n");
    let mut following = following(&project, "");
    project.write("ops/backup.toml", "[increments]\nevery = '1s'\n");
    following.signal(Signal::HUP);
    insert(&project);
    following.says("increment ");
    insert(&project);
    following.says("increment ");
    project.write("ops/backup.toml", "[increments]\nevery = 1\n");
    following.says("error: ");
    assert_eq!(following.end().code(), Some(2), "{:#?}", following.seen);
}

#[test]
fn what_no_later_round_can_cure_ends_it() {
    let project = Project::new();
    let ran = project.run("follow");
    assert!(ran.expect(2).stderr.contains("hint: say it: --every 1m; or set `every`"), "{ran:?}");
    project.run("follow --every 999ms").expect(2);
    project.write("ops/backup.toml", "[increments]\nevery = '0s'\n");
    let ran = project.run("backup");
    assert!(ran.expect(2).stderr.contains("shorter than a second"), "{ran:?}");
    fs::remove_dir_all(project.path("ops")).unwrap();

    let mut following = following(&project, "--every 1h");
    let mut owner: Value = serde_json::from_str(&project.read("backups/store.json")).unwrap();
    owner["project"] = "another".into();
    project.write("backups/store.json", &owner.to_string());
    following.signal(Signal::HUP);
    following.says("error: ");
    assert_eq!(following.end().code(), Some(2), "{:#?}", following.seen);
}

#[test]
fn a_terminal_that_is_closed_ends_it_after_a_last_round() {
    let project = Project::new();
    let line = format!("exec {} --root {} follow --every 1h", env!("CARGO_BIN_EXE_xtask"), project.root().display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null());
    let mut terminal = command.stdout(Stdio::null()).spawn().unwrap();
    wait_for("the first round", || project.path("backups").exists() && points(&project) == 1);
    let holder: Value = serde_json::from_str(&project.read("backups/.lock")).unwrap();
    insert(&project);
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    wait_for("its end", || !fs::exists(format!("/proc/{}", holder["pid"])).unwrap());
    assert_eq!(points(&project), 2);
}

#[test]
fn a_service_manager_is_told_how_it_stands() {
    let project = Project::new();
    let socket = UnixDatagram::bind(project.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let heard = || {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let mut command = project.command(["follow", "--every", "1h"]);
    command.env("NOTIFY_SOCKET", project.path("notify")).env("WATCHDOG_USEC", "100000");
    let mut following = Following::start(&mut command);
    wait_for("it to be ready", || heard().starts_with("READY=1\nSTATUS=newest point 2"));
    for _ in 0..3 {
        assert_eq!(heard(), "WATCHDOG=1");
    }
    fs::rename(project.path("data/sessions.db"), project.path("away.db")).unwrap();
    following.signal(Signal::HUP);
    wait_for("the error", || heard().contains("STATUS=failing since "));
    following.signal(Signal::TERM);
    wait_for("it to stop", || heard() == "STOPPING=1");
    assert_eq!(following.end().code(), Some(0), "{:?}", following.seen);
}
