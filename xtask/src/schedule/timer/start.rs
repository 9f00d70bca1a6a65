//! Starts the timers: with the machine, and now.

use backup::{Error, ErrorKind};

use super::files::UnitFile;
use crate::schedule::steps::Steps;
use crate::schedule::units::FOLLOW;
use crate::step::Step;
use crate::systemd;
use crate::systemd::state::State;
use crate::systemd::sudo::may_sudo;
use crate::user::account::is_root;

/// Enables the timers, and, if `now` is set, starts them. `false` if nothing had to be done.
pub fn enable(steps: &mut Steps<'_>, files: &[UnitFile], now: bool) -> anyhow::Result<bool> {
    let manager = steps.manager;
    let off = timers(files, |state| !state.is_enabled());
    let idle = timers(files, |state| now && !state.is_active());
    // A timer that has elapsed doesn't read its new calendar by itself.
    let elapsed = timers(files, |state| now && state.is_active() && !state.is_ticking());
    for (verb, timers) in [("disable", &off), ("stop", &idle)] {
        steps.undo_by((!timers.is_empty()).then(|| manager.systemctl(&[verb]).and(timers.clone())));
    }
    let both = off == idle;
    systemctl(steps, if both { &["enable", "--now"] } else { &["enable"] }, &off)?;
    systemctl(steps, &["start"], if both { &[] } else { &idle })?;
    systemctl(steps, &["restart"], &elapsed)?;
    Ok(!(off.is_empty() && idle.is_empty() && elapsed.is_empty()))
}

fn systemctl(steps: &mut Steps<'_>, words: &[&str], timers: &[&str]) -> anyhow::Result<()> {
    if timers.is_empty() { Ok(()) } else { steps.run(&steps.manager.systemctl(words).and(timers.iter().copied())) }
}

/// Enables the service for increments, if there is one, and, if `now` is set, starts it. It is started anew if it is
/// another one now, or its `program` is. `false` if nothing had to be done.
///
/// This has to come last: what runs can't be put back. It doesn't wait, since the first round may be a full backup.
pub fn follow(steps: &mut Steps<'_>, files: &[UnitFile], now: bool, program: bool) -> anyhow::Result<bool> {
    let Some(file) = files.iter().find(|file| file.unit.file.ends_with(FOLLOW)) else { return Ok(false) };
    let (manager, name, state) = (steps.manager, file.unit.file.as_str(), &file.state);
    if !state.is_enabled() {
        steps.undo_by([manager.systemctl(&["disable", name])]);
        steps.run(&manager.systemctl(&["enable", name]))?;
    }
    let is_another = program || file.is_changed() || state.is_waiting_to_restart();
    let verb = match state.is_active() {
        true if is_another => "restart",
        false => "start",
        true => return Ok(!state.is_enabled()),
    };
    if !now {
        return Ok(!state.is_enabled());
    }
    steps.run(&manager.systemctl(&[verb, "--no-block", name]))?;
    Ok(true)
}

/// Names of timers in such a state.
fn timers(files: &[UnitFile], wanted: impl Fn(&State) -> bool) -> Vec<&str> {
    let timers = files.iter().filter(|file| file.unit.file.ends_with(".timer") && wanted(&file.state));
    timers.map(|timer| timer.unit.file.as_str()).collect()
}

/// Lets the user's service manager run while the user is not logged in. `false` if it does already.
pub fn linger(steps: &mut Steps<'_>, dry_run: bool) -> anyhow::Result<bool> {
    let manager = steps.manager;
    let user = manager.user()?;
    if systemd::lingers(&user) {
        return Ok(false);
    }
    let own = |verb: &str| Step::new(["loginctl", verb]);
    if steps.run(&own("enable-linger")).is_ok() {
        steps.undo_by([own("disable-linger")]);
    } else {
        linger_as_root(steps, &user, dry_run)?;
    }
    if !dry_run {
        manager.wait_until_up()?;
    }
    Ok(true)
}

/// The same as root, if users may not do it for themselves.
fn linger_as_root(steps: &mut Steps<'_>, user: &str, dry_run: bool) -> anyhow::Result<()> {
    let as_root = |verb: &str| Step::new(["loginctl", verb, user]).sudo_unless(is_root());
    let refused = |why: String| {
        let message = format!("the timer would run only while you are logged in{why}");
        Error::new(ErrorKind::PermissionDenied, message)
            .with_hint(format!("have root run `loginctl enable-linger {user}`, then install again"))
    };
    if !dry_run && !may_sudo(steps.manager.shell, &["loginctl", "enable-linger", user]) {
        return Err(refused(String::new()).into());
    }
    steps.run(&as_root("enable-linger")).map_err(|error| refused(format!(": {error:#}")))?;
    steps.undo_by([as_root("disable-linger")]);
    Ok(())
}
