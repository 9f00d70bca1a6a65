//! Units that are not used any more: those of an older version with other names, and the service for increments if the
//! settings want none. An installation removes them.
//!
//! They are removed last, when the new timers are enabled: so there is a scheduled drill at every moment. After a
//! kill in between both exist, and the next installation removes the old ones. If a step fails, they are put back, and
//! enabled and started as they were.

use std::path::{Path, PathBuf};

use super::files::UnitFile;
use super::installation::{OlderUnit, older, unwanted};
use super::traces::{forget_failures, traces, words};
use crate::context::Context;
use crate::schedule::steps::Steps;
use crate::schedule::units::{Origin, starts_by_itself};
use crate::step::Step;
use crate::systemd::state::State;

/// Disables, stops and removes those of a schedule, all but the `new` ones. `false` if there are none.
pub fn remove(context: &Context<'_>, steps: &mut Steps<'_>, origin: &Origin, new: &[UnitFile]) -> anyhow::Result<bool> {
    let manager = steps.manager;
    let folder = manager.unit_folder()?;
    let units = older(&folder, origin);
    let is_new = |file: &str| new.iter().any(|new| new.unit.file == file);
    let mut files: Vec<String> = units.iter().map(|unit| unit.file.clone()).collect();
    files.extend(unwanted(&folder, origin, is_new));
    if files.is_empty() {
        return Ok(false);
    }
    let timers: Vec<String> = files.iter().filter(|file| starts_by_itself(file)).cloned().collect();
    let states = manager.states(&timers)?;
    // Disabling a unit removes its link.
    let mut traces = traces(manager, &folder, &files)?;
    traces.retain(|path| !path.is_symlink());

    let undo = undo(steps, &traces, &timers, &states)?;
    steps.undo_by(undo);
    if states.iter().any(|state| state.is_enabled() || state.is_active()) {
        steps.run(&manager.systemctl(&["disable", "--now"]).and(timers))?;
    }
    steps.run(&manager.change(&["rm", "-f"]).and(words(&traces)?))?;
    steps.run(&manager.systemctl(&["daemon-reload"]))?;
    forget_failures(steps, &origin.unit, &files)?;
    warn_of_changes(context, &folder, &units);
    Ok(true)
}

/// Keeps the files, and gives the steps that restore everything.
fn undo(steps: &mut Steps<'_>, traces: &[PathBuf], timers: &[String], states: &[State]) -> anyhow::Result<Vec<Step>> {
    let manager = steps.manager;
    let mut undo = traces.iter().map(|path| steps.keep(path)).collect::<anyhow::Result<Vec<_>>>()?;
    undo.push(manager.systemctl(&["daemon-reload"]));
    for (timer, state) in timers.iter().zip(states) {
        undo.extend(state.is_enabled().then(|| manager.systemctl(&["enable", timer])));
        undo.extend(state.is_active().then(|| manager.systemctl(&["start", "--no-block", timer])));
    }
    Ok(undo)
}

/// Changes by `systemctl edit` don't apply to the new units until they are moved.
fn warn_of_changes(context: &Context<'_>, folder: &Path, units: &[OlderUnit]) {
    for OlderUnit { file, now } in units {
        let changes = folder.join(format!("{file}.d"));
        if changes.exists() {
            let place = folder.join(format!("{now}.d"));
            let (changes, place) = (changes.display(), place.display());
            context.output.warn(&format!("{changes} has changes made with systemctl edit: move them to {place}"));
        }
    }
}
