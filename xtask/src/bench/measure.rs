//! The time and the memory of a process, and what it takes of the processor.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use backup::Error;
use duct::{Handle, cmd};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use rustix::process::{Pid, Signal, kill_process_group};

use super::machine::kilobytes;
use crate::exit::Signals;

/// The time between two readings of the memory and of signals: the first and the longest. It doubles in between, since
/// each reading slows the process down.
const TICKS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(100)];

/// Time and memory of a script.
#[derive(Debug, Clone, Copy)]
pub struct Measurement {
    /// From its start to its end.
    pub seconds: f64,
    /// The processor's time that it and its children took.
    pub cpu_seconds: f64,
    /// The peak of its anonymous memory, if it is a single process: a script that begins with `exec`.
    pub peak_anon_bytes: Option<u64>,
}

/// Runs a script in `dir`, with nothing in its environment but `env`.
///
/// # Errors
/// Names the script, how it ended and its output; or that it was interrupted. Then its processes are killed.
pub fn script(script: &str, dir: &Path, env: &[(&str, OsString)]) -> anyhow::Result<Measurement> {
    let command = cmd("sh", ["-euc", script]).dir(dir).full_env(env.iter().cloned()).stdin_null();
    // In a group of its own, so that its children can be killed with it.
    let command = command.before_spawn(|command| {
        command.process_group(0);
        Ok(())
    });
    let (begun, cpu) = (Instant::now(), cpu_of_children()?);
    let process = command.stderr_to_stdout().stdout_capture().unchecked().start().context("start sh")?;
    let peak_anon_bytes = watch(&process, script.starts_with("exec "))?;
    let seconds = begun.elapsed().as_secs_f64();
    let ended = process.wait().context("wait for sh")?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stdout);
        bail!("`{}` failed ({}): {}", one_line(script), ended.status, one_line(&said));
    }
    Ok(Measurement { seconds, cpu_seconds: cpu_of_children()? - cpu, peak_anon_bytes })
}

/// The processor's time of all children that have ended, and of theirs.
fn cpu_of_children() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("read the processor's time")?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()).as_secs_f64())
}

/// Waits for the end. Gives the peak of anonymous memory if it `is_single`, that is, one process.
fn watch(process: &Handle, is_single: bool) -> anyhow::Result<Option<u64>> {
    let (mut peak, [mut tick, longest]) = (None, TICKS);
    while process.wait_timeout(tick).context("wait for sh")?.is_none() {
        if Signals::received().is_some() {
            kill(process);
            return Err(Error::interrupted().into());
        }
        if is_single {
            peak = peak.max(anonymous(process));
        }
        tick = longest.min(tick * 2);
    }
    Ok(peak)
}

fn kill(process: &Handle) {
    let group = process.pids().first().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    // It may have ended by itself.
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    let _ = process.wait();
}

/// The memory of the process that isn't backed by a file: `man 5 proc_pid_status`.
fn anonymous(process: &Handle) -> Option<u64> {
    kilobytes(&format!("/proc/{}/status", process.pids().first()?), "RssAnon")
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> anyhow::Result<Measurement> {
        let env = [("PATH", std::env::var_os("PATH").unwrap()), ("GIVEN", "yes".into())];
        script(text, Path::new("/"), &env)
    }

    #[test]
    fn a_script_takes_its_time_and_only_what_it_is_given() {
        assert!(run("sleep 0.05").unwrap().seconds >= 0.05);
        run("[ $GIVEN = yes ]; [ -z \"${HOME-}\" ]; [ $PWD = / ]").unwrap();
    }

    #[test]
    fn a_script_takes_the_processor_s_time_of_its_children_too() {
        let cpu = run("sh -c 'i=0; while [ $i -lt 30000 ]; do i=$((i + 1)); done'").unwrap().cpu_seconds;
        assert!(cpu > 0.001, "{cpu}");
    }

    #[test]
    fn a_script_that_fails_anywhere_is_named_with_what_it_said() {
        let error = run("echo one\nls /nowhere\necho two").unwrap_err().to_string();
        assert!(error.starts_with("`echo one; ls /nowhere; echo two` failed (exit status: 2): one; ls: "), "{error}");
    }

    #[test]
    fn memory_is_that_of_a_single_process() {
        let peak = run("exec sleep 0.05").unwrap().peak_anon_bytes.unwrap();
        assert!((1024..10_000_000).contains(&peak), "{peak}");
        assert!(run("sleep 0.05").unwrap().peak_anon_bytes.is_none());
    }
}
