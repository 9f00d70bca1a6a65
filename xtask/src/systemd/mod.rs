//! systemd: whether it runs this host, its service managers, the states of units.

pub mod manager;
pub mod notify;
pub mod state;
pub mod sudo;

use std::path::Path;

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use serde::Serialize;
use xshell::{Shell, cmd};

use crate::step::Step;

/// Whose service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The system's.
    System,
    /// The user's own.
    User,
}

/// Makes sure that systemd runs this host: `man 3 sd_booted`.
pub fn require() -> backup::Result<()> {
    if is_booted() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Io, "this host isn't run by systemd").with_hint("schedule it with cron: `install-cron`"))
}

/// Whether systemd runs this host.
pub fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Its version.
pub fn version(shell: &Shell) -> anyhow::Result<u32> {
    let said = cmd!(shell, "systemctl --version").quiet().read().context("ask systemd for its version")?;
    let number = said.split_whitespace().nth(1).and_then(|word| word.split(['.', '~', '-']).next()?.parse().ok());
    number.with_context(|| format!("find systemd's version in {said:?}"))
}

/// Checks a calendar expression, which messages call `name`.
pub fn check_calendar(shell: &Shell, name: &str, spec: &str) -> anyhow::Result<()> {
    let wrong = |why: String| {
        Error::new(ErrorKind::InvalidInput, format!("{name}: {why}"))
            .with_hint("write it as systemd does, *-*-* 02:00:00 or Mon..Fri 22:30: man 7 systemd.time")
    };
    let step = Step::new(["systemd-analyze", "calendar", "--", spec]);
    let said = step.run(shell).map_err(|error| wrong(format!("{error:#}")))?;
    let never = said.lines().any(|line| line.trim() == "Next elapse: never");
    if never { Err(wrong(format!("{spec:?} never comes again")).into()) } else { Ok(()) }
}

/// Whether the user's service manager runs while the user is not logged in: `man 1 loginctl`, `enable-linger`.
pub fn lingers(user: &str) -> bool {
    Path::new("/var/lib/systemd/linger").join(user).exists()
}
