//! Many runs at once on one store.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use rustix::process::Signal;

use crate::support::{CommandOutput, Project, WaitingRun, is_root, shell};

/// A project with a backup of today, and two that a rotation removes.
fn shelf() -> Project {
    let project = Project::new();
    for old in ["20250101_000000", "20250102_000000"] {
        project.redate(&project.backup_with("--no-rotate"), old);
    }
    project.backup_with("--no-rotate");
    project
}

fn staged(project: &Project) -> String {
    shell(&project.path("backups/.staging"), "ls -A")
}

/// The commands to run, some more often than others.
const COMMANDS: [&str; 10] = [
    "backup",
    "backup",
    "backup --config-only",
    "rotate",
    "rotate --keep-last 9",
    "restore --from latest --yes",
    "restore --from latest --yes",
    "verify --all",
    "drill",
    "pin latest",
];

/// The number of concurrent runs: half of them wait for the lock, half don't.
const CROWD: usize = 20;

/// Runs of a crowd, and how each ended.
struct Crowd {
    project: Project,
    ended: Vec<(&'static str, CommandOutput)>,
}

impl Crowd {
    fn run(seed: u64) -> Self {
        let project = shelf();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut commands: Vec<&str> = COMMANDS.iter().copied().cycle().take(CROWD).collect();
        random.shuffle(&mut commands);
        let (patient, impatient) = commands.split_at(CROWD / 2);
        let command = |text: &str, wait| project.command(text.split(' ').chain(["--lock-wait", wait]));
        let lock = project.lock();
        let waiting: Vec<WaitingRun> =
            patient.iter().map(|text| WaitingRun::start(&mut command(text, "10m"))).collect();
        drop(lock);
        let started: Vec<Child> = impatient.iter().map(|text| start(&mut command(text, "0s"))).collect();
        let ended = waiting.into_iter().map(WaitingRun::end).chain(started.into_iter().map(end));
        let ended = commands.iter().copied().zip(ended).collect();
        Self { project, ended }
    }

    /// The number of runs that did their work and whose command begins so.
    fn done(&self, command: &str) -> usize {
        self.ended.iter().filter(|(text, ran)| text.starts_with(command) && ran.code == 0).count()
    }

    /// Asserts that each run did its work, or found the lock taken and would not wait.
    fn check_ends(&self) {
        for (at, (command, ran)) in self.ended.iter().enumerate() {
            let refused = ran.code == 11 && ran.stderr.contains("error: locked by another run: ");
            assert!(ran.code == 0 || refused && at >= CROWD / 2, "{command}: {ran:?}");
            assert!(
                !ran.stderr.contains("did not finish"),
                "that restore is still running in the crowd: {command}: {ran:?}"
            );
        }
    }

    /// Asserts that the result of each run exists once, whole, and in the ledger.
    fn check_store(&self) {
        let project = &self.project;
        let (backups, restores) = (self.done("backup"), self.done("restore"));
        let rows = project.run("list --json").expect(0).json()["backups"].as_array().unwrap().clone();
        // Only a `rotate` that somebody types removes the two old backups: the rotation after a backup waits for more.
        let (old, rows): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row["id"].as_str().unwrap().starts_with("2025"));
        let [of_runs, of_restores] =
            ["manual", "pre-restore"].map(|trigger| rows.iter().filter(|row| row["trigger"] == trigger).count());
        assert_eq!((of_runs, of_restores), (1 + backups, restores), "{rows:?}");
        assert!(rows.iter().all(|row| row["status"] == "complete"), "{rows:?}");
        let ledger = project.ended();
        let lines = |command: &str| ledger.iter().filter(|line| line["command"] == command).count();
        assert_eq!((lines("backup"), lines("restore")), (3 + backups + restores, restores));
        assert_eq!((lines("drill"), lines("rotate") > 0), (self.done("drill"), old.len() < 2));
        assert!(ledger.iter().all(|line| line["outcome"] != "failed" && line["outcome"] != "partial"), "{ledger:?}");
        assert_eq!((project.sessions(), staged(project).as_str()), (1000, ""));
        project.run("verify --all").expect(0);
    }
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> CommandOutput {
    let output = child.wait_with_output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    CommandOutput { code: output.status.code().unwrap_or(-1), stdout, stderr }
}

fn crowds(seeds: std::ops::Range<u64>) {
    let (mut runs, mut done) = (0, 0);
    for seed in seeds {
        let crowd = Crowd::run(seed);
        crowd.check_ends();
        crowd.check_store();
        runs += crowd.ended.len();
        done += crowd.done("");
    }
    println!("{runs} runs, {CROWD} at once: {done} worked, {} found the store locked", runs - done);
}

#[test]
fn of_twenty_runs_at_once_each_works_or_finds_the_store_locked_and_it_is_sound_after_them() {
    crowds(0..2);
}

#[test]
#[ignore = "takes half a minute: cargo test --workspace -- --ignored"]
fn crowd_after_crowd_leaves_the_store_sound() {
    crowds(2..22);
}

#[test]
fn a_lock_whose_holder_is_killed_is_free_for_who_waits() {
    let project = shelf();
    let mut holder = Command::new("flock");
    holder.args(["--no-fork", "backups/.lock", "sh", "-c", "echo held; exec cat"]).current_dir(project.root());
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    let waiting = WaitingRun::start(&mut project.command(["backup", "--lock-wait", "10m"]));
    holder.kill().unwrap();
    waiting.end().expect(0);
    holder.wait().unwrap();
}

#[test]
fn who_waits_for_the_lock_can_be_interrupted_and_has_changed_nothing() {
    let project = shelf();
    let lock = project.lock();
    let before = project.hashes(".");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for command in ["backup", "rotate", "restore --from latest --yes", "verify", "drill", "pin latest"] {
            let waiting = WaitingRun::start(&mut project.command(command.split(' ').chain(["--lock-wait", "10m"])));
            waiting.signal(signal);
            assert_eq!(waiting.end().expect(code).stderr, "error: interrupted\n", "{command}");
        }
    }
    assert_eq!(project.hashes("."), before);
    drop(lock);
    project.run("backup --lock-wait 0s").expect(0);
}

/// Runs the program with the store mounted read-only.
fn as_reader(project: &Project, command: &str) -> CommandOutput {
    let script = "mount --bind backups backups; mount -o remount,bind,ro backups; exec \"$@\"";
    let program = project.command(command.split(' '));
    // A user without rights needs a user namespace to mount in.
    let mut reader = Command::new("unshare");
    reader.arg(if is_root() { "-m" } else { "-rm" }).args(["sh", "-euc", script, "sh"]);
    reader.arg(program.get_program()).args(program.get_args()).current_dir(project.root());
    CommandOutput::of(
        reader.env("TZ", "UTC").env_remove("INVOCATION_ID").env_remove("JOURNAL_STREAM").stdin(Stdio::null()),
    )
}

#[test]
fn who_can_only_read_a_store_is_not_misled_by_those_who_write_to_it() {
    let project = shelf();
    project.write("ops/backup.toml", "[retention]\nkeep_last = 1\n");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0;
            while !stop.load(SeqCst) || looks == 0 {
                for command in ["list", "status", "verify", "verify --all"] {
                    let ran = as_reader(&project, command);
                    let gone = ran.code == 10 && ran.stderr.contains(" was removed while it was read");
                    assert!(ran.code == 0 || gone, "{command}: {ran:?}");
                    assert!(!ran.all().contains("damaged"), "{command}: {ran:?}");
                    looks += 1;
                }
            }
        });
        for _ in 0..20 {
            project.backup();
            if reader.is_finished() {
                break;
            }
        }
        stop.store(true, SeqCst);
    });
}
