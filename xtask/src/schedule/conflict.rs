//! A project is scheduled once: by systemd or by cron, for the system or for a user. Two schedules would back up and rotate
//! twice, and removing one would remove the program of the other.

use std::fmt::Display;
use std::path::Path;

use backup::{Error, ErrorKind};
use xshell::{Shell, cmd};

use super::cron::table;
use super::timer::installation::{origins, origins_in};
use super::units::Origin;
use crate::context::Context;
use crate::systemd::Scope;
use crate::systemd::manager::Manager;

/// Makes sure that nothing else schedules this project, as far as the current user can see.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], naming what schedules it.
pub fn require_only(
    context: &Context<'_>,
    manager: &Manager<'_>,
    unit: &str,
    user: Option<&str>,
    dry_run: bool,
) -> anyhow::Result<()> {
    let shell = manager.shell;
    for scope in [Scope::System, Scope::User] {
        let is_other =
            |origin: &Origin| origin.root == context.root && (scope, origin.unit.as_str()) != (manager.scope, unit);
        if let Some(other) = origins(&Manager::new(scope, shell))?.into_iter().find(is_other) {
            let user = (scope == Scope::User).then_some("--user");
            let remedy = context.command(&["uninstall-timer"]).and(user).and(["--unit", &other.unit]);
            return Err(scheduled_already(&format!("{}.timer", other.unit), &remedy));
        }
    }
    let Some(user) = user else { return require_no_cron(context, shell, None, true) };
    require_no_timer_of(context, shell, user)?;
    require_no_cron(context, shell, Some(user), !dry_run)
}

/// The same for the own service manager of the `user` that the jobs run as.
fn require_no_timer_of(context: &Context<'_>, shell: &Shell, user: &str) -> anyhow::Result<()> {
    let entry = cmd!(shell, "getent passwd -- {user}").quiet().ignore_stderr().read().unwrap_or_default();
    let Some(home) = entry.split(':').nth(5) else { return Ok(()) };
    let theirs = origins_in(&Path::new(home).join(".config/systemd/user"));
    let Some(other) = theirs.iter().find(|origin| origin.root == context.root) else { return Ok(()) };
    let remedy = format!("as {user}: {}", context.command(&["uninstall-timer", "--user"]));
    Err(scheduled_already(&format!("{user}'s own {}.timer", other.unit), &remedy))
}

fn require_no_cron(context: &Context<'_>, shell: &Shell, user: Option<&str>, ask_sudo: bool) -> anyhow::Result<()> {
    match table::installed_for(context, shell, user, ask_sudo) {
        None => Ok(()),
        Some(_) => Err(scheduled_already("cron", &context.command(&["uninstall-cron"]))),
    }
}

/// The error: something else schedules this project; its hint is the command that removes it.
pub fn scheduled_already(by: &str, remedy: &impl Display) -> anyhow::Error {
    Error::new(ErrorKind::InvalidInput, format!("this project is scheduled already, by {by}"))
        .with_hint(format!("remove that first: {remedy}"))
        .into()
}
