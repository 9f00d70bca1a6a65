//! The installed copy of this program, which the schedule runs: neither `cargo clean` nor a broken checkout stops
//! tonight's backup, and nothing is compiled at night.
//!
//! A file beside it says which project it is for: two projects may have the same name, and neither may take the other's
//! program.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use serde::Serialize;

use super::folders;
use super::steps::Steps;
use crate::step::{Step, word};
use crate::systemd::Scope;
use crate::user::account::home;

/// The name of a copy until it is complete.
const NEW: &str = ".xtask.new";

/// The file that names the project.
const PROJECT: &str = "project";

/// How an installed copy compares to this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyState {
    /// The same, byte for byte.
    Current,
    /// Another one, built earlier.
    Older,
    /// Another one, built later.
    Newer,
    /// There is none.
    Missing,
}

/// Where the copy of the project called `slug` belongs.
pub fn path(scope: Scope, slug: &str) -> anyhow::Result<PathBuf> {
    let folder = match scope {
        Scope::System => "/usr/local/lib".into(),
        Scope::User => home()?.join(".local/lib"),
    };
    Ok(folder.join(format!("{slug}-ops/xtask")))
}

/// How the copy at `path` compares to this program.
pub fn compare(path: &Path) -> anyhow::Result<CopyState> {
    let this = this()?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    if !path.exists() {
        return Ok(CopyState::Missing);
    }
    if read(path)? == read(&this)? {
        return Ok(CopyState::Current);
    }
    // A copy keeps the time it was built at.
    let built = |path: &Path| fs::metadata(path).and_then(|found| found.modified());
    let older = built(path)? < built(&this)?;
    Ok(if older { CopyState::Older } else { CopyState::Newer })
}

/// Makes sure that the copy at `path` doesn't belong to another project that still exists.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], naming that project.
pub fn require_own(path: &Path, root: &Path) -> backup::Result<()> {
    let Some(other) = project(path).filter(|other| other != root && other.exists()) else { return Ok(()) };
    let message = format!("{} is the program of {}", path.display(), other.display());
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with_hint("give this project another name: `project` in the settings"))
}

/// Installs a copy of this program at `path`, for the project in `root`. It is written beside it and renamed, so that a
/// backup that starts in between finds the old one or the new one. `false` if it is there already.
pub fn install(steps: &mut Steps<'_>, path: &Path, root: &Path) -> anyhow::Result<bool> {
    let is_current = compare(path)? == CopyState::Current;
    if is_current && project(path).as_deref() == Some(root) {
        return Ok(false);
    }
    let folder = path.parent().context("find the folder of the installed program")?;
    folders::make_public(steps, folder)?;
    mark(steps, root, &folder.join(PROJECT))?;
    if !is_current {
        put(steps, path)?;
    }
    Ok(true)
}

/// Removes the copy at `path` and its folder, if it belongs to the project in `root`.
pub fn remove(steps: &mut Steps<'_>, path: &Path, root: &Path) -> anyhow::Result<()> {
    let manager = steps.manager;
    let folder = path.parent().context("find the folder of the installed program")?;
    if !folder.exists() || project(path).is_some_and(|project| project != root) {
        return Ok(());
    }
    let files = [path.to_path_buf(), folder.join(PROJECT), folder.join(NEW)];
    let files = files.iter().filter(|path| path.exists()).map(|path| Ok(word(path)?.to_string()));
    steps.run(&manager.change(&["rm", "-f"]).and(files.collect::<anyhow::Result<Vec<_>>>()?))?;
    steps.run(&manager.change(&["rmdir", "--ignore-fail-on-non-empty", word(folder)?]))
}

/// The project that the copy at `path` belongs to, if known.
fn project(path: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(path.parent()?.join(PROJECT)).ok()?;
    text.strip_suffix('\n').map(PathBuf::from)
}

/// Writes the project's name to `target`.
fn mark(steps: &mut Steps<'_>, root: &Path, target: &Path) -> anyhow::Result<()> {
    let manager = steps.manager;
    let (new, old) = (steps.temporary().join(PROJECT), steps.temporary().join("old-project"));
    fs::write(&new, format!("{}\n", word(root)?)).context("write whose program it is")?;
    let target_name = word(target)?;
    let put = |source: &str| manager.change(&["install", "-m", "0644", source, target_name]);
    let undo = match fs::copy(target, &old) {
        Ok(_) => put(word(&old)?),
        Err(_) => manager.change(&["rm", "-f", target_name]),
    };
    steps.undo_by([undo]);
    steps.run(&put(word(&new)?))
}

/// Puts a copy of this program at `target`, in place of what is there.
fn put(steps: &mut Steps<'_>, target: &Path) -> anyhow::Result<()> {
    let manager = steps.manager;
    let (new, old) = (target.with_file_name(NEW), steps.temporary().join("old-xtask"));
    let (new, name) = (word(&new)?, word(target)?);
    let put = |source: &Path| -> anyhow::Result<[Step; 3]> {
        Ok([
            manager.change(&["install", "-p", "-m", "0755", word(source)?, new]),
            manager.change(&["sync", new]),
            manager.change(&["mv", "-f", new, name]),
        ])
    };
    let undo = if target.exists() {
        keep(target, &old).with_context(|| format!("keep a copy of {name}"))?;
        put(&old)?.to_vec()
    } else {
        vec![manager.change(&["rm", "-f", name])]
    };
    let [copy, sync, rename] = put(&this()?)?;
    steps.undo_by([manager.change(&["rm", "-f", new])]);
    steps.run(&copy)?;
    steps.run(&sync)?;
    steps.run(&rename)?;
    steps.undo_by(undo);
    Ok(())
}

fn keep(path: &Path, copy: &Path) -> std::io::Result<()> {
    fs::copy(path, copy)?;
    File::options().write(true).open(copy)?.set_modified(fs::metadata(path)?.modified()?)
}

fn this() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("find this program's file")
}
