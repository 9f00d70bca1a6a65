//! `logs`: the journal of a schedule. `journalctl` prints it; this command has nothing to add.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use signal_hook::consts::SIGINT;
use xshell::Shell;

use crate::cli;
use crate::context::Context;
use crate::exit::Signals;
use crate::schedule::choice;
use crate::schedule::timer::installation::Installation;
use crate::step::{self, Step};
use crate::systemd::manager::Manager;

/// How often signals are checked for.
const TICK: Duration = Duration::from_millis(50);

/// How many lines are shown by default.
const LINES: u32 = 50;

pub fn run(context: &Context<'_>, args: &cli::Logs) -> anyhow::Result<()> {
    if context.output.is_json() {
        return Err(Error::new(ErrorKind::InvalidInput, "a journal is no single document, so there is no --json here")
            .with_hint("`logs -v` shows the command: add -o json to it")
            .into());
    }
    let shell = step::shell()?;
    let installed = choice::require(context, &shell, &args.which)?;
    if let Some(since) = &args.since {
        require_time(&shell, since)?;
    }
    let manager = Manager::new(installed.scope, &shell);
    let command = manager.journalctl(&["--no-pager"]).and(flags(args)).and(manager.entries_of(&units(&installed)));
    if context.output.is_verbose() {
        context.output.note(&format!("$ {command}"));
    }
    show(&shell, &command)
}

fn require_time(shell: &Shell, since: &str) -> backup::Result<()> {
    let known = Step::new(["systemd-analyze", "timestamp", "--", since]).run(shell);
    known.map(drop).map_err(|_| {
        Error::new(ErrorKind::InvalidInput, format!("--since: no time: {since:?}"))
            .with_hint("write it as journalctl takes it: yesterday, \"2025-12-10 02:00\", -2h")
    })
}

/// Runs `journalctl` until it ends, or a signal ends this program.
fn show(shell: &Shell, command: &Step) -> anyhow::Result<()> {
    Signals::catch().context("catch signals")?;
    let journal = command.expression(shell).start().context("start journalctl")?;
    loop {
        match journal.wait_timeout(TICK).context("wait for journalctl")? {
            // With --follow, a signal is the only end.
            _ if Signals::received().is_some() => {
                // One that `sudo` started can't be stopped from here, but the signal has reached it.
                let _ = journal.kill();
                return Ok(());
            }
            Some(ended) if ended.status.success() || was_interrupted(ended.status) => return Ok(()),
            Some(ended) => {
                return Err(Error::new(ErrorKind::Io, format!("`{command}` failed ({})", ended.status))
                    .with_hint("the journal is open to root and to the group systemd-journal")
                    .into());
            }
            None => {}
        }
    }
}

/// Whether Ctrl-C ended it. If `sudo` has taken the terminal, only that command gets the signal.
fn was_interrupted(status: ExitStatus) -> bool {
    status.signal() == Some(SIGINT) || status.code() == Some(128 + SIGINT)
}

/// All units of a schedule, with all instances of the one that reports failures.
fn units(installed: &Installation) -> Vec<String> {
    installed.files.iter().map(|file| file.replace("@.", "@*.")).collect()
}

fn flags(args: &cli::Logs) -> Vec<String> {
    let mut words = Vec::new();
    if args.follow {
        words.push("-f".into());
    }
    if let Some(lines) = args.lines.or_else(|| args.since.is_none().then_some(LINES)) {
        words.extend(["-n".into(), lines.to_string()]);
    }
    if let Some(since) = &args.since {
        words.extend(["--since".into(), since.clone()]);
    }
    words
}
