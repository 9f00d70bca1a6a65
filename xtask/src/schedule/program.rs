//! The installed copy of this program, which the schedule runs: neither `cargo clean` nor a broken checkout stops
//! tonight's backup, and nothing is compiled at night.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use tempfile::TempDir;

use super::steps::{Step, Steps, word};
use super::systemd::{Manager, Scope, home};

/// What a copy is called until it is complete.
const NEW: &str = ".xtask.new";

/// How an installed copy compares to this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compared {
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
pub fn compare(path: &Path) -> anyhow::Result<Compared> {
    let this = this()?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    if !path.exists() {
        return Ok(Compared::Missing);
    }
    if read(path)? == read(&this)? {
        return Ok(Compared::Current);
    }
    // A copy keeps the time it was built at.
    let built = |path: &Path| fs::metadata(path).and_then(|found| found.modified());
    let older = built(path)? < built(&this)?;
    Ok(if older { Compared::Older } else { Compared::Newer })
}

/// Installs a copy of this program at `path`: written beside it and renamed, so that a backup that starts in between
/// finds the old one or the new one. What has to be kept to take that back goes to `kept`.
pub fn install(steps: &mut Steps<'_>, manager: &Manager<'_>, path: &Path, kept: &TempDir) -> anyhow::Result<()> {
    let folder = path.parent().context("find the folder of the installed program")?;
    let (this, new) = (this()?, folder.join(NEW));
    let (this, new, target, folder_name) = (word(&this)?, word(&new)?, word(path)?, word(folder)?);
    if !folder.exists() {
        steps.run(&manager.change(&["install", "-d", "-m", "0755", folder_name]))?;
        steps.undo_by([manager.change(&["rmdir", folder_name])]);
    }
    let undo = if path.exists() {
        let old = kept.path().join("xtask");
        keep(path, &old)?;
        put(manager, word(&old)?, new, target).to_vec()
    } else {
        vec![manager.change(&["rm", "-f", target])]
    };
    let [copy, sync, rename] = put(manager, this, new, target);
    steps.undo_by([manager.change(&["rm", "-f", new])]);
    steps.run(&copy)?;
    steps.run(&sync)?;
    steps.run(&rename)?;
    steps.undo_by(undo);
    Ok(())
}

/// Removes the copy at `path` and its folder.
pub fn remove(steps: &mut Steps<'_>, manager: &Manager<'_>, path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().context("find the folder of the installed program")?;
    if folder.exists() {
        steps.run(&manager.change(&["rm", "-f", word(path)?, word(&folder.join(NEW))?]))?;
        steps.run(&manager.change(&["rmdir", "--ignore-fail-on-non-empty", word(folder)?]))?;
    }
    Ok(())
}

fn put(manager: &Manager<'_>, source: &str, new: &str, target: &str) -> [Step; 3] {
    [
        manager.change(&["install", "-p", "-m", "0755", source, new]),
        manager.change(&["sync", new]),
        manager.change(&["mv", "-f", new, target]),
    ]
}

fn keep(path: &Path, copy: &Path) -> anyhow::Result<()> {
    let keep = || {
        fs::copy(path, copy)?;
        File::options().write(true).open(copy)?.set_modified(fs::metadata(path)?.modified()?)
    };
    keep().with_context(|| format!("keep a copy of {}", path.display()))
}

fn this() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("find this program's file")
}
