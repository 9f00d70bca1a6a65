//! The schedule of a project that a command means, and the user who makes its backups.

use backup::{Error, ErrorKind};
use xshell::Shell;

use super::cron::table;
use super::identity::{identity, uid};
use super::timer::installation::{Installation, origins};
use super::units::Origin;
use crate::cli::ScheduleChoice;
use crate::context::Context;
use crate::step::{Step, word};
use crate::systemd::manager::Manager;
use crate::systemd::{self, Scope};
use crate::user::account::is_root;

/// The schedule of this project that `which` names; without a name the system's, if there is one. None if nothing is
/// installed.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if there are several, or if it has another name.
pub fn find(context: &Context<'_>, shell: &Shell, which: &ScheduleChoice) -> anyhow::Result<Option<Installation>> {
    let scopes: &[Scope] = if which.user { &[Scope::User] } else { &[Scope::System, Scope::User] };
    let wrong = |message: String| {
        anyhow::Error::from(Error::new(ErrorKind::InvalidInput, message).with_hint("name one with --unit"))
    };
    for scope in scopes {
        let manager = Manager::new(*scope, shell);
        // A schedule of a project that is gone can be named.
        let named = |origin: &Origin| which.unit.as_ref().is_some_and(|unit| *unit == origin.unit);
        let mut found = origins(&manager)?;
        found.retain(|origin| origin.root == context.root || named(origin) && !origin.root.exists());
        let names: Vec<String> = found.iter().map(|origin| origin.unit.clone()).collect();
        if which.unit.is_some() {
            found.retain(named);
        }
        match (found.pop(), found.as_slice()) {
            (None, _) if names.is_empty() => {}
            (None, _) => return Err(wrong(format!("the schedule of this project is called {}", names.join(", ")))),
            (Some(origin), []) => return Installation::new(&manager, origin).map(Some),
            _ => return Err(wrong(format!("several schedules are installed for this project: {}", names.join(", ")))),
        }
    }
    Ok(None)
}

/// The same, if there must be one.
///
/// # Errors
/// As [`find`], or that nothing is installed.
pub fn require(context: &Context<'_>, shell: &Shell, which: &ScheduleChoice) -> anyhow::Result<Installation> {
    systemd::require()?;
    if let Some(installed) = find(context, shell, which)? {
        return Ok(installed);
    }
    let (message, hint) = match table::installed(context, shell) {
        Some(cron) => (
            "this project is scheduled by cron, not by systemd".into(),
            format!("its output is in {}", cron.log.display()),
        ),
        None => (
            format!("no timer is installed for {}", context.root.display()),
            format!("install it: {}", context.command(&["install-timer"])),
        ),
    };
    Err(Error::new(ErrorKind::Io, message).with_hint(hint).into())
}

/// The user who makes the backups: of the installed service, or of the one that would be installed. None if it is the user
/// who installs it, or unknown.
pub fn maker(context: &Context<'_>, shell: &Shell) -> Option<String> {
    let installed = find(context, shell, &ScheduleChoice::default()).ok().flatten();
    let run_as = match &installed {
        Some(Installation { scope: Scope::User, .. }) => return None,
        Some(installed) => installed.origin.flags.run_as.as_deref(),
        None => None,
    };
    identity(context, shell, run_as).ok()?.user()
}

/// The command that runs this program as the scheduled user, if that isn't the current user.
pub fn as_maker(context: &Context<'_>, shell: &Shell) -> Option<Step> {
    let installed = find(context, shell, &ScheduleChoice::default()).ok().flatten()?;
    let maker = maker(context, shell)?;
    let uid = uid(shell, &maker).ok()?;
    if is_root() || rustix::process::geteuid().to_string() == uid {
        return None;
    }
    // The installed copy: the user can run it.
    let program = word(&installed.origin.program).ok()?;
    Some(Step::new(["sudo", "-u", &maker, program, "--root", word(&context.root).ok()?]))
}
