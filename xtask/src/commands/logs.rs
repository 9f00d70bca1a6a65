//! `logs`.

use std::time::Duration;

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use xshell::Shell;

use crate::cli;
use crate::context::Context;
use crate::exit::{Exit, Signals};
use crate::schedule::systemd::Manager;
use crate::schedule::{self, Installed};

/// How often a signal is looked for.
const TICK: Duration = Duration::from_millis(50);

/// How many lines are enough for a start.
const LINES: u32 = 50;

pub fn run(context: &Context<'_>, args: &cli::Logs) -> anyhow::Result<Exit> {
    if context.output.is_json() {
        return Err(Error::new(ErrorKind::InvalidInput, "a journal is no single document, so there is no --json here")
            .with_hint("`cargo xtask -v logs` shows the command: add -o json to it")
            .into());
    }
    let shell = Shell::new().context("find the current folder")?;
    let installed = schedule::require(context, &shell, &args.which)?;
    let manager = Manager::new(installed.scope, &shell);
    let command = manager.journalctl(&["--no-pager"]).and(flags(args)).and(manager.entries_of(&units(&installed)));
    if context.output.is_verbose() {
        context.output.note(&format!("$ {command}"));
    }
    Signals::catch().context("catch signals")?;
    let journal = command.expression(&shell).start().context("start journalctl")?;
    loop {
        let ended = journal.wait_timeout(TICK).context("wait for journalctl")?;
        match ended {
            // Ctrl-C reaches it as well: there is no other end to following.
            _ if Signals::received().is_some() => {
                // One that `sudo` started is not ours to stop; the signal has reached it.
                let _ = journal.kill();
                return Ok(Exit::Done);
            }
            Some(output) if output.status.success() => return Ok(Exit::Done),
            Some(_) => return Ok(Exit::Failed),
            None => {}
        }
    }
}

/// All units of a schedule; of the one that reports failures, all instances.
fn units(installed: &Installed) -> Vec<String> {
    installed.origin.files().map(|file| file.replace("@.", "@*.")).collect()
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
