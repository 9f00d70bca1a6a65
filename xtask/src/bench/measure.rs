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
use nix::time::{clock_getcpuclockid, clock_gettime};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::machine::{kilobytes, value};
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
    let (begun, cpu) = (Instant::now(), cpu_of_children()?);
    let process = start(script, dir, env)?;
    let peak_anon_bytes = watch(&process, script.starts_with("exec "))?;
    let seconds = begun.elapsed().as_secs_f64();
    let ended = process.wait().context("wait for sh")?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stdout);
        bail!("`{}` failed ({}): {}", one_line(script), ended.status, one_line(&said));
    }
    Ok(Measurement { seconds, cpu_seconds: cpu_of_children()? - cpu, peak_anon_bytes })
}

/// Starts a script, in a process group of its own, so that its children can be killed with it.
fn start(script: &str, dir: &Path, env: &[(&str, OsString)]) -> anyhow::Result<Handle> {
    let command = cmd("sh", ["-euc", script]).dir(dir).full_env(env.iter().cloned()).stdin_null();
    let command = command.before_spawn(|command| {
        command.process_group(0);
        Ok(())
    });
    command.stderr_to_stdout().stdout_capture().unchecked().start().context("start sh")
}

/// A program that stays until it is stopped. Dropped, it is killed.
pub struct Daemon {
    process: Handle,
    pid: i32,
}

impl Daemon {
    /// Starts a script that ends with `exec`.
    pub fn start(script: &str, dir: &Path, env: &[(&str, OsString)]) -> anyhow::Result<Self> {
        let process = start(script, dir, env)?;
        let pid = process.pids().first().context("find the process")?.cast_signed();
        Ok(Self { process, pid })
    }

    /// The processor's time that it has taken.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        self.require_alive()?;
        let time = clock_getcpuclockid(nix::unistd::Pid::from_raw(self.pid)).and_then(clock_gettime);
        Ok(time.context("read the processor's time")?.into())
    }

    /// Its anonymous memory.
    pub fn anonymous_bytes(&self) -> Option<u64> {
        anonymous(&self.process)
    }

    /// How much it has read, from the page cache too: `man 5 proc_pid_io`.
    pub fn read_bytes(&self) -> anyhow::Result<u64> {
        let read = value(&format!("/proc/{}/io", self.pid), "rchar").context("read /proc/PID/io")?;
        read.parse().context("understand /proc/PID/io")
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(self) -> anyhow::Result<()> {
        self.require_alive()?;
        let pid = Pid::from_raw(self.pid).context("find the process")?;
        kill_process(pid, Signal::TERM).context("stop it")?;
        watch(&self.process, false).map(drop)
    }

    fn require_alive(&self) -> anyhow::Result<()> {
        if let Some(ended) = self.process.try_wait().context("look at it")? {
            bail!("it ended ({}): {}", ended.status, one_line(&String::from_utf8_lossy(&ended.stdout)));
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        kill(&self.process);
    }
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
    fn a_daemon_is_measured_while_it_runs_and_stopped() {
        let env = [("PATH", std::env::var_os("PATH").unwrap())];
        let daemon = Daemon::start("exec sleep 1000", Path::new("/"), &env).unwrap();
        assert!(daemon.cpu().unwrap() < Duration::from_secs(60));
        daemon.stop().unwrap();
        let gone = Daemon::start("echo no; exit 3", Path::new("/"), &env).unwrap();
        gone.process.wait().unwrap();
        assert_eq!(gone.cpu().unwrap_err().to_string(), "it ended (exit status: 3): no");
    }

    #[test]
    fn memory_is_that_of_a_single_process() {
        let peak = run("exec sleep 0.05").unwrap().peak_anon_bytes.unwrap();
        assert!((1024..10_000_000).contains(&peak), "{peak}");
        assert!(run("sleep 0.05").unwrap().peak_anon_bytes.is_none());
    }
}
