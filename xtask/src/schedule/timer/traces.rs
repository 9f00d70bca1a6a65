//! Traces of units: files, and failures that systemd remembers.

use std::path::{Path, PathBuf};

use crate::schedule::steps::Steps;
use crate::schedule::units::starts_by_itself;
use crate::step::word;
use crate::systemd::manager::Manager;

/// The folders of the links that enable units which start by themselves.
const WANTS: [&str; 3] = ["timers.target.wants", "multi-user.target.wants", "default.target.wants"];

/// Existing files of the units: their own, the links that enable them, and the stamps of their last runs. A stamp would
/// make a later timer of the same name catch up on runs.
pub fn traces(manager: &Manager<'_>, folder: &Path, files: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut traces: Vec<PathBuf> = files.iter().map(|file| folder.join(file)).collect();
    for unit in files.iter().filter(|file| starts_by_itself(file)) {
        traces.extend(WANTS.map(|wants| folder.join(wants).join(unit)));
        traces.push(manager.stamp(unit)?);
    }
    traces.retain(|path| path.symlink_metadata().is_ok());
    Ok(traces)
}

/// Paths as words of a command.
pub fn words(paths: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    paths.iter().map(|path| Ok(word(path)?.to_string())).collect()
}

/// Lets systemd forget failures of these units of the schedule `unit`, and of the units that report them: the failure of a
/// unit that is gone can't be looked into.
pub fn forget_failures(steps: &mut Steps<'_>, unit: &str, units: &[String]) -> anyhow::Result<()> {
    let services = units.iter().filter_map(|unit| unit.strip_suffix(".service"));
    let reports = services.map(|service| format!("{unit}-failure@{service}.service"));
    let units: Vec<String> = units.iter().cloned().chain(reports).collect();
    let states = steps.manager.states(&units)?;
    let failed = units.iter().zip(&states).filter(|(_, state)| state.get("ActiveState") == "failed");
    let failed: Vec<&str> = failed.map(|(unit, _)| unit.as_str()).collect();
    if failed.is_empty() { Ok(()) } else { steps.run(&steps.manager.systemctl(&["reset-failed"]).and(failed)) }
}
