//! Folders that an installation makes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::identity::uid;
use super::steps::Steps;
use crate::step::word;

/// Makes a folder, and those above it, that everybody can read, like the other files of the manager.
pub fn make_public(steps: &mut Steps<'_>, folder: &Path) -> anyhow::Result<()> {
    let (manager, missing) = (steps.manager, missing(folder));
    if missing.is_empty() {
        return Ok(());
    }
    steps.run(&manager.change(&["install", "-d", "-m", "0755", word(folder)?]))?;
    let undo = missing.iter().map(|folder| Ok(manager.change(&["rmdir", word(folder)?])));
    steps.undo_by(undo.collect::<anyhow::Result<Vec<_>>>()?);
    Ok(())
}

/// Makes a folder that belongs to the `user` that the jobs run as; none is the current user. The jobs can't make it
/// themselves. `false` if it exists.
///
/// If its parent belongs to the user, the command runs as that user: root would follow a link that the user puts there in
/// the meantime.
pub fn make_private(steps: &mut Steps<'_>, user: Option<&str>, folder: &Path) -> anyhow::Result<bool> {
    let (manager, name) = (steps.manager, word(folder)?);
    let closed = fs::metadata(folder).is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
    if closed && manager.as_user(user, &["test", "-d", name])?.run(manager.shell).is_ok() {
        return Ok(false);
    }
    let missing = missing(folder);
    let Some(parent) = missing.last().and_then(|outermost| outermost.parent()) else { return Ok(false) };
    let theirs = user
        .map(|user| uid(manager.shell, user))
        .transpose()?
        .is_none_or(|uid| fs::metadata(parent).is_ok_and(|found| found.uid().to_string() == uid));
    let change = |words: &[&str]| if theirs { manager.as_user(user, words) } else { Ok(manager.change(words)) };
    let owner = user.filter(|_| !theirs).map(|user| ["-o", user]);
    steps.run(&change(&["install", "-d", "-m", "0700"])?.and(owner.into_iter().flatten()).and([name]))?;
    let undo = missing.iter().map(|folder| change(&["rmdir", word(folder)?]));
    steps.undo_by(undo.collect::<anyhow::Result<Vec<_>>>()?);
    Ok(true)
}

/// `folder` and those above it that don't exist, the innermost first.
fn missing(folder: &Path) -> Vec<PathBuf> {
    folder.ancestors().take_while(|folder| !folder.exists()).map(Path::to_path_buf).collect()
}
