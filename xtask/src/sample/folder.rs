//! A folder for this program to work in. It is emptied and removed, so only a folder with this program's mark is used.

use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context as _;
use backup::{Error, ErrorKind};

/// The folder of `command` if none is given: in the `target` of the Cargo workspace around the current folder, or else in
/// the current folder. Not in the common folder for temporary files: others could prepare it there, and it may be in
/// memory, too small for a benchmark.
pub fn default(command: &str) -> anyhow::Result<PathBuf> {
    let here = env::current_dir().context("find the current folder")?;
    Ok(below(&here, command))
}

/// The same, as a short path relative to `here`.
fn below(here: &Path, command: &str) -> PathBuf {
    let is_target = |folder: &Path| folder.join("CACHEDIR.TAG").is_file();
    let targets = here.ancestors().map(|folder| folder.join("target"));
    match targets.into_iter().find(|target| is_target(target)) {
        Some(target) => target.strip_prefix(here).unwrap_or(&target).join(command),
        None => format!("backup-{command}").into(),
    }
}

/// Makes `dir` an empty folder of `command`. An earlier one of the same command is removed: then it returns true.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it contains anything else.
pub fn make(dir: &Path, command: &str) -> anyhow::Result<bool> {
    let marker = dir.join(format!(".{command}-project"));
    let empty = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == NotFound => true,
        Err(error) => return Err(Error::io("read", dir, error).into()),
    };
    if !empty && !marker.is_file() {
        let message = format!("{} has files in it that are not a {command}'s", dir.display());
        let error = Error::new(ErrorKind::InvalidInput, message);
        return Err(error.with_hint(format!("give the {command} a folder of its own: --dir DIR")).into());
    }
    if !empty {
        remove(dir)?;
    }
    let mark = format!("the {command} removes this folder\n");
    let make = || fs::create_dir_all(dir).and_then(|()| fs::write(marker, mark));
    make().map_err(|error| Error::io("create", dir, error))?;
    Ok(!empty)
}

/// Removes a folder that [`make`] made, or one in it.
pub fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != NotFound => Err(Error::io("remove", dir, error).into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_in_the_workspaces_target_or_else_in_the_current_folder() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("app/src");
        fs::create_dir_all(&inner).unwrap();
        assert_eq!(below(&inner, "demo"), Path::new("backup-demo"));
        fs::create_dir(dir.path().join("app/target")).unwrap();
        assert_eq!(below(&inner, "demo"), Path::new("backup-demo"), "a folder that is called target");
        fs::write(dir.path().join("app/target/CACHEDIR.TAG"), "").unwrap();
        assert_eq!(below(&inner, "demo"), dir.path().join("app/target/demo"));
        assert_eq!(below(&dir.path().join("app"), "demo"), Path::new("target/demo"));
    }

    #[test]
    fn a_folder_that_is_somebodys_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let error = make(dir.path(), "demo").unwrap_err();
        assert!(error.downcast_ref::<Error>().unwrap().hint().is_some());
        assert!(dir.path().join("thesis.tex").exists());
    }

    #[test]
    fn a_folder_of_the_same_command_is_emptied_and_no_other() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        assert!(!make(&dir, "demo").unwrap());
        fs::write(dir.join("old"), "").unwrap();
        assert!(make(&dir, "demo").unwrap());
        assert!(!dir.join("old").exists());
        assert!(make(&dir, "bench").is_err());
        remove(&dir).unwrap();
        remove(&dir).unwrap();
    }
}
