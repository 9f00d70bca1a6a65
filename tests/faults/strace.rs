//! Runs the program under `strace`, to count its system calls, to make one of them fail, or to send a signal at one.
//!
//! `strace` counts the calls of each name separately in each thread. So a fault at the third `openat` strikes the third
//! one of every thread: in a run with several threads it can strike more than one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::process::Command;

use crate::support::CommandOutput;

/// The numbers of a run's own calls of each name, counted from 1. The dynamic loader's calls come before.
pub type Calls = BTreeMap<String, BTreeSet<usize>>;

/// The first call of `main`: earlier calls are not this program's.
const MAIN: &str = "umask";

/// A fault at one call.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The call's name.
    pub call: String,
    /// The number of the call among those of its name, counted from 1.
    pub number: usize,
    /// The fault, as `strace` writes it: `error=EIO`, `signal=KILL`.
    pub what: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:when={}", self.call, self.what, self.number)
    }
}

/// In a debug build, std makes this call for each file that it closes, and accepts any answer.
const STD_CHECK: &str = "F_GETFD";

/// Makes sure that there is a `strace`.
pub fn require() {
    let found = Command::new("strace").arg("--version").output();
    assert!(found.is_ok(), "strace can't be run: {found:?} (apt-get install strace)");
}

/// Finds the calls of these names, separated by blanks, that `command` makes. Names that this machine doesn't know are
/// ignored.
pub fn calls(command: &Command, names: &str) -> Calls {
    let trace = names.split(' ').chain([MAIN]).map(|name| format!("?{name}")).collect::<Vec<_>>().join(",");
    let (ran, log) = run(command, &[format!("trace={trace}")]);
    assert!(log.contains(MAIN), "strace can't trace a process here: {}", ran.all());
    ran.expect(0);
    let (mut counts, mut loaders, mut own) = (BTreeMap::<_, usize>::new(), Calls::new(), Calls::new());
    for line in log.lines() {
        let Some((thread, name)) = begun(line) else { continue };
        let number = counts.entry((thread, name)).or_default();
        *number += 1;
        if name == MAIN {
            loaders = std::mem::take(&mut own);
        } else if !line.contains(STD_CHECK) {
            own.entry(name.to_string()).or_default().insert(*number);
        }
    }
    // Such a number would strike the loader instead of the thread.
    for (name, numbers) in loaders {
        own.entry(name).or_default().retain(|number| !numbers.contains(number));
    }
    own
}

/// Runs `command` with a fault. Also returns the calls that got the error, as `strace` shows them.
pub fn inject(command: &Command, fault: &Fault) -> (CommandOutput, Vec<String>) {
    let (ran, log) = run(command, &[format!("trace={}", fault.call), format!("inject={fault}")]);
    (ran, struck(&log))
}

/// A line's thread, and what follows. Blanks fill a number of less than five digits.
fn thread_and_text(line: &str) -> (&str, &str) {
    let (thread, text) = line.split_once(' ').unwrap_or_default();
    (thread, text.trim_start())
}

/// The thread and the name of the call that begins on this line.
fn begun(line: &str) -> Option<(&str, &str)> {
    let (thread, call) = thread_and_text(line);
    let (name, _) = call.split_once('(')?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some((thread, name))
}

/// The calls that got the error. If another thread's call came in between, the line with the error only ends the call.
fn struck(log: &str) -> Vec<String> {
    let mut unfinished = BTreeMap::new();
    let mut struck = Vec::new();
    for line in log.lines() {
        let (thread, call) = thread_and_text(line);
        if let Some(begin) = call.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, begin);
        } else if call.contains("(INJECTED)") {
            let begin =
                if call.contains("resumed>") { unfinished.get(thread).copied().unwrap_or_default() } else { "" };
            struck.push(format!("{begin}{call}"));
        } else if call.starts_with("--- ") && call.contains("si_code=SI_KERNEL") {
            struck.push(call.into());
        }
    }
    struck
}

/// A call, as `strace` shows it, with all strings in hex, so that no comma in them separates arguments.
#[derive(Debug)]
pub struct Call {
    pub name: String,
    pub arguments: Vec<String>,
    pub result: String,
}

/// The order in which the calls of all threads begin and end.
#[derive(Debug)]
pub enum Moment {
    Begin(usize),
    End(usize),
}

/// Runs `command`. Returns all its calls of these names, separated by blanks, with the bytes that they write.
pub fn record(command: &Command, names: &str) -> (CommandOutput, Vec<Call>, Vec<Moment>) {
    let trace = names.split(' ').map(|name| format!("?{name}")).collect::<Vec<_>>().join(",");
    let (ran, log) = run(command, &[format!("trace={trace}")]);
    let (mut calls, mut moments, mut unfinished) = (Vec::new(), Vec::new(), BTreeMap::<&str, (usize, &str)>::new());
    for line in log.lines() {
        let (thread, text) = thread_and_text(line);
        if let Some(begin) = text.strip_suffix("<unfinished ...>") {
            moments.push(Moment::Begin(calls.len()));
            unfinished.insert(thread, (calls.len(), begin));
            calls.push(None);
        } else if let Some((_, rest)) = text.split_once(" resumed>") {
            let (at, begin) = unfinished.remove(thread).unwrap();
            calls[at] = call(&format!("{begin}{rest}"));
            moments.push(Moment::End(at));
        } else if let Some(whole) = call(text) {
            moments.extend([Moment::Begin(calls.len()), Moment::End(calls.len())]);
            calls.push(Some(whole));
        }
    }
    (ran, calls.into_iter().map(|call| call.expect("a call without an end")).collect(), moments)
}

fn call(text: &str) -> Option<Call> {
    let (call, result) = text.rsplit_once(" = ")?;
    let (name, arguments) = call.split_once('(')?;
    let arguments = arguments.trim_end().strip_suffix(')')?.split(", ").map(str::to_string).collect();
    Some(Call { name: name.to_string(), arguments, result: result.to_string() })
}

fn run(command: &Command, options: &[String]) -> (CommandOutput, String) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut strace = Command::new("strace");
    strace.args(["--follow-forks", "--quiet=all", "--decode-fds=path", "--signal=INT,TERM"]);
    if !options.iter().any(|option| option.contains("inject=")) {
        strace.args(["--strings-in-hex=all", "--string-limit=100000000"]);
    }
    // Faster, but then strace 6.1 sends no signals.
    if !options.iter().any(|option| option.contains("signal=")) {
        strace.arg("--seccomp-bpf");
    }
    strace.arg("--output").arg(&log).args(options.iter().flat_map(|option| ["-e", option]));
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    // Cargo's library path, which the loader would search for each library. Its calls would take numbers of the run's
    // own calls.
    strace.env_remove("LD_LIBRARY_PATH").stdin(std::process::Stdio::null());
    let ran = CommandOutput::of(&mut strace);
    (ran, fs::read_to_string(&log).unwrap_or_default())
}

#[test]
fn a_thread_with_a_short_number_is_read_as_well() {
    let log = "812   openat(AT_FDCWD, \"a\" <unfinished ...>\n\
               10813 --- SIGTERM {si_signo=SIGTERM, si_code=SI_KERNEL} ---\n\
               812   <... openat resumed>) = -1 EIO (INJECTED)\n\
               7     --- SIGTERM {si_signo=SIGTERM, si_code=SI_KERNEL} ---\n";
    assert_eq!(struck(log).len(), 3);
    assert!(struck(log)[1].starts_with("openat(AT_FDCWD"), "{:?}", struck(log));
}
