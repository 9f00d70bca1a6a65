//! `logs`.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use signal_hook::consts::SIGINT;

use crate::cli;
use crate::context::Context;
use crate::exit::{Exit, Signals};
use crate::schedule::timer::installation::Installation;
use crate::schedule::which;
use crate::step::{self, Step};
use crate::systemd::manager::Manager;

/// How often a signal is looked for.
const TICK: Duration = Duration::from_millis(50);

/// How many lines are enough for a start.
const LINES: u32 = 50;

pub fn run(context: &Context<'_>, args: &cli::Logs) -> anyhow::Result<Exit> {
    if context.output.is_json() {
        return Err(Error::new(ErrorKind::InvalidInput, "a journal is no single document, so there is no --json here")
            .with_hint("`logs -v` shows the command: add -o json to it")
            .into());
    }
    let shell = step::shell()?;
    let installed = which::require(context, &shell, &args.which)?;
    if let Some(since) = &args.since {
        let known = Step::new(["systemd-analyze", "timestamp", "--", since]).run(&shell);
        known.map_err(|_| {
            Error::new(ErrorKind::InvalidInput, format!("--since: no time: {since:?}"))
                .with_hint("write it as journalctl takes it: yesterday, \"2025-12-10 02:00\", -2h")
        })?;
    }
    let manager = Manager::new(installed.scope, &shell);
    let command = manager.journalctl(&["--no-pager"]).and(flags(args)).and(manager.entries_of(&units(&installed)));
    if context.output.is_verbose() {
        context.output.note(&format!("$ {command}"));
    }
    Signals::catch().context("catch signals")?;
    let journal = command.expression(&shell).start().context("start journalctl")?;
    loop {
        match journal.wait_timeout(TICK).context("wait for journalctl")? {
            // There is no other end to following.
            _ if Signals::received().is_some() => {
                // One that `sudo` started is not ours to stop; the signal has reached it.
                let _ = journal.kill();
                return Ok(Exit::Done);
            }
            Some(ended) if ended.status.success() || was_interrupted(ended.status) => return Ok(Exit::Done),
            Some(ended) => {
                return Err(Error::new(ErrorKind::Io, format!("`{command}` failed ({})", ended.status))
                    .with_hint("the journal is open to root and to the group systemd-journal")
                    .into());
            }
            None => {}
        }
    }
}

/// Whether Ctrl-C ended it: `sudo` may have taken the terminal, and then it alone hears that.
fn was_interrupted(status: ExitStatus) -> bool {
    status.signal() == Some(SIGINT) || status.code() == Some(128 + SIGINT)
}

/// All units of a schedule; of the one that reports failures, all instances.
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
