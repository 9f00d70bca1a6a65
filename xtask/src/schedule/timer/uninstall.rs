//! Removes the timers. They are stopped first. The units go last: all of it is found by them, so an uninstallation that was
//! cut short can be repeated.

use std::path::Path;

use xshell::Shell;

use super::installation::Installation;
use super::traces::{forget_failures, traces, words};
use crate::context::Context;
use crate::schedule::cron::table;
use crate::schedule::lock::lock;
use crate::schedule::program;
use crate::schedule::steps::Steps;
use crate::schedule::units::starts_by_itself;
use crate::systemd::manager::Manager;
use crate::systemd::state::State;
use crate::systemd::{self, Scope};

/// Removes the timers. Backups are not touched. Gives sentences about what is left.
///
/// # Errors
/// [`backup::ErrorKind::Locked`]; a step that failed: those before it were done, and it can be repeated.
pub fn uninstall(
    context: &Context<'_>,
    shell: &Shell,
    installation: &Installation,
    dry_run: bool,
) -> anyhow::Result<Vec<String>> {
    let Installation { scope, origin, files, .. } = installation;
    let manager = Manager::new(*scope, shell);
    if !dry_run {
        manager.require_root(context, &["systemctl", "daemon-reload"])?;
    }
    let _lock = lock(context)?;
    let folder = manager.unit_folder()?;
    let units: Vec<String> = files.iter().filter(|file| !file.contains('@')).cloned().collect();
    let states = manager.states(&units)?;

    let mut steps = Steps::new(&manager, context.output, &origin.unit, dry_run)?;
    stop(&mut steps, &units, &states)?;
    if table::installed(context, shell).is_none_or(|cron| cron.program != origin.program) {
        program::remove(&mut steps, &origin.program, &origin.root)?;
    }
    steps.run(&manager.change(&["rm", "-f"]).and(words(&traces(&manager, &folder, files)?)?))?;
    if manager.is_up() {
        steps.run(&manager.systemctl(&["daemon-reload"]))?;
    }
    forget_failures(&mut steps, &origin.unit, &units)?;
    steps.finish();
    let running = named(&units, &states, |unit, state| !starts_by_itself(unit) && state.is_active());
    left(&manager, installation, &folder, &running)
}

/// Disables and stops what starts by itself.
fn stop(steps: &mut Steps<'_>, units: &[String], states: &[State]) -> anyhow::Result<()> {
    let enabled = named(units, states, |_, state| state.is_enabled());
    let active = named(units, states, |unit, state| starts_by_itself(unit) && state.is_active());
    for (verb, units) in [("disable", enabled), ("stop", active)] {
        if !units.is_empty() {
            steps.run(&steps.manager.systemctl(&[verb]).and(units))?;
        }
    }
    Ok(())
}

fn named<'u>(units: &'u [String], states: &[State], wanted: impl Fn(&str, &State) -> bool) -> Vec<&'u str> {
    let units = units.iter().zip(states).filter(|(unit, state)| wanted(unit, state));
    units.map(|(unit, _)| unit.as_str()).collect()
}

/// Sentences about what an uninstallation leaves.
fn left(
    manager: &Manager<'_>,
    installation: &Installation,
    folder: &Path,
    running: &[&str],
) -> anyhow::Result<Vec<String>> {
    let changes = installation.files.iter().map(|file| folder.join(format!("{file}.d")));
    let mut left: Vec<String> = changes
        .filter(|path| path.exists())
        .map(|path| format!("{} has changes made with systemctl edit", path.display()))
        .collect();
    left.extend(running.iter().map(|service| format!("{service} is running, and will run to its end")));
    if installation.scope == Scope::User && systemd::lingers(&manager.user()?) {
        let remedy = "if nothing else needs that: loginctl disable-linger";
        left.push(format!("your service manager keeps running while you are logged out; {remedy}"));
    }
    Ok(left)
}
