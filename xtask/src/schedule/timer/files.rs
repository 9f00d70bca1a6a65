//! The files of units: what is in their places now, and how they get there.
//!
//! systemd checks all of them, strictly, before the first is put in its place. Replaced files are kept until the end.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup::{Error, ErrorKind};

use super::installation::read_unit;
use crate::context::Context;
use crate::output::Output;
use crate::schedule::steps::Steps;
use crate::schedule::units::{Origin, Spec, Unit};
use crate::schedule::{difference, folders};
use crate::step::{Step, word};
use crate::systemd::manager::Manager;
use crate::systemd::state::State;

/// A unit, its place, and the file that is there.
pub struct UnitFile {
    /// The new unit.
    pub unit: Unit,
    /// Its place.
    pub path: PathBuf,
    /// The state of the unit of that name.
    pub state: State,
    exists: bool,
    /// The text that is there, if it is one.
    old: Option<String>,
}

impl UnitFile {
    fn new(folder: &Path, unit: Unit, state: State) -> Self {
        let path = folder.join(&unit.file);
        Self { exists: path.symlink_metadata().is_ok(), old: read_unit(&path).ok(), unit, path, state }
    }

    /// Whether the new unit differs from the file that is there.
    pub fn is_changed(&self) -> bool {
        self.old.as_ref() != Some(&self.unit.text)
    }

    /// Whether this program wrote it, for the project in `root` or for one that is gone.
    fn is_ours(&self, root: &Path) -> bool {
        let origin = self.old.as_deref().and_then(Origin::read);
        origin.is_some_and(|origin| origin.root == root || !origin.root.exists())
    }

    /// A file in the way: a unit in its place that this program did not write, or one of the distribution that it would
    /// cover.
    fn foreign(&self, root: &Path) -> Option<PathBuf> {
        let fragment = Some(self.state.get("FragmentPath")).filter(|fragment| !fragment.is_empty());
        match fragment.map(PathBuf::from) {
            _ if self.exists => (!self.is_ours(root)).then(|| self.path.clone()),
            fragment => fragment.filter(|fragment| *fragment != self.path),
        }
    }

    /// Shows the changes to a unit; in a dry run, with `-v`, also the whole of a new one.
    pub fn show(&self, output: &Output, dry_run: bool) {
        let name = self.path.display().to_string();
        match &self.old {
            Some(old) => difference::show(output, &name, old, &self.unit.text),
            None if self.exists => output.warn(&format!("{name} can't be read to show the difference")),
            None if dry_run && output.is_verbose() => difference::show(output, &name, "", &self.unit.text),
            None => {}
        }
    }
}

/// The units with their places. Files that are there must be this project's, unless `force` is set.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], naming the file in the way.
pub fn place(manager: &Manager<'_>, spec: &Spec, force: bool) -> anyhow::Result<Vec<UnitFile>> {
    let folder = manager.unit_folder()?;
    let units = spec.render()?;
    let names: Vec<String> = units.iter().map(|unit| unit.file.clone()).collect();
    let states = manager.states(&names)?;
    let files: Vec<UnitFile> =
        units.into_iter().zip(states).map(|(unit, state)| UnitFile::new(&folder, unit, state)).collect();
    match files.iter().find_map(|file| file.foreign(&spec.origin.root)).filter(|_| !force) {
        None => Ok(files),
        Some(foreign) => {
            let message = format!("{} is in the way: install-timer did not write it", foreign.display());
            Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("choose another name with --unit NAME, or replace it with --force")
                .into())
        }
    }
}

/// Checks the units and puts those that changed in their places: `false` if there are none and systemd has read all.
pub fn put(context: &Context<'_>, steps: &mut Steps<'_>, files: &[UnitFile]) -> anyhow::Result<bool> {
    let manager = steps.manager;
    let changed: Vec<&UnitFile> = files.iter().filter(|file| file.is_changed()).collect();
    let reload = manager.systemctl(&["daemon-reload"]);
    if changed.is_empty() {
        let stale = files.iter().any(|file| file.state.get("NeedDaemonReload") == "yes");
        return if stale { steps.run(&reload).map(|()| true) } else { Ok(false) };
    }
    let _there = steps.enter();
    check(steps, files)?;
    let folder = manager.unit_folder()?;
    folders::make_public(steps, &folder)?;
    let undo = changed.iter().map(|file| keep(context, steps, file)).collect::<anyhow::Result<Vec<_>>>()?;
    steps.undo_by(undo.into_iter().chain([reload.clone()]).collect::<Vec<_>>());
    let names = changed.iter().map(|file| file.unit.file.as_str());
    steps.run(&manager.change(&["install", "-m", "0644", "-t", word(&folder)?]).and(names))?;
    steps.run(&reload).map(|()| true)
}

/// Has systemd check all of them, since they name each other.
fn check(steps: &mut Steps<'_>, files: &[UnitFile]) -> anyhow::Result<()> {
    for UnitFile { unit, .. } in files {
        fs::write(steps.temporary().join(&unit.file), &unit.text).context("write a unit")?;
    }
    let names: Vec<String> = files.iter().map(|file| file.unit.file.clone()).collect();
    let check = steps.manager.verify(&names).refusing(word(steps.temporary())?);
    steps.run(&check)
}

/// Keeps the file in a unit's place until the end, and gives the step that puts it back. A file of somebody else is kept
/// for good.
fn keep(context: &Context<'_>, steps: &mut Steps<'_>, file: &UnitFile) -> anyhow::Result<Step> {
    let (manager, path) = (steps.manager, word(&file.path)?);
    if !file.exists {
        return Ok(manager.change(&["rm", "-f", path]));
    }
    let undo = steps.keep(&file.path)?;
    if !file.is_ours(&context.root) {
        let original = format!("{path}.orig");
        steps.run(&manager.change(&["cp", "-a", path, &original]))?;
        steps.undo_by([manager.change(&["rm", "-f", &original])]);
        context.output.note(&format!("what was there is kept as {original}"));
    }
    Ok(undo)
}
