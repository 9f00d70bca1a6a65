//! Where the application is: the folder that `--root` names, or the nearest one from the current folder up that has
//! settings. Where this program was built doesn't matter.
//!
//! The hazard: somebody else may put a settings file in or above the current folder, and `drill` would run the command
//! in it. So a settings file that is found must belong to root or to the current user. Root itself becomes the owner of
//! the settings ([`crate::privilege`]).

use std::env;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup::{Error, ErrorKind};

use crate::config::FILE;

/// The application's folder, absolute and without links.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if there is none, or if its settings can't be trusted.
pub fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    match given {
        Some(folder) => Ok(named(folder)?),
        None => Ok(search(&env::current_dir().context("find the current folder")?)?),
    }
}

/// The application's folder, as a flag names it.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it isn't one.
pub fn named(folder: &Path) -> backup::Result<PathBuf> {
    let refused = |message: String| Error::new(ErrorKind::InvalidInput, message).with_hint("name it with --root DIR");
    let found = folder
        .canonicalize()
        .map_err(|e| refused(Error::io("use as the application's folder:", folder, e).one_line()))?;
    if found.is_dir() {
        return Ok(found);
    }
    Err(refused(format!("the application's folder {} is not a folder", found.display())))
}

fn search(here: &Path) -> backup::Result<PathBuf> {
    if let Some(folder) = here.ancestors().find(|folder| folder.join(FILE).is_file()) {
        return require_trusted(folder).map(|()| folder.to_path_buf());
    }
    let message = format!("no {FILE} in {} or above it", here.display());
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with_hint("write one: `init`; or name the application's folder with --root DIR"))
}

/// Checks links too: somebody else's link could lead to trusted settings of another folder.
fn require_trusted(folder: &Path) -> backup::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let owner = |path: &Path, look: fn(&Path) -> std::io::Result<Metadata>| {
        look(path).map(|found| found.uid()).map_err(|e| Error::io("inspect", path, e))
    };
    let settings = folder.join(FILE);
    let ops = settings.parent().unwrap_or(folder);
    for owner in [
        owner(ops, |path| fs::symlink_metadata(path))?,
        owner(&settings, |path| fs::symlink_metadata(path))?,
        owner(&settings, |path| fs::metadata(path))?,
    ] {
        if own != 0 && owner != 0 && owner != own {
            let message = format!("{} belongs to another user (uid {owner})", settings.display());
            let hint = "if you trust it, name the application's folder with --root DIR";
            return Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_folder_with_settings_is_found_from_below() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().canonicalize().unwrap(), dir.path().canonicalize().unwrap().join("a/b"));
        fs::create_dir_all(inner.join("src/deep")).unwrap();
        for folder in [&outer, &inner] {
            fs::create_dir(folder.join("ops")).unwrap();
            fs::write(folder.join(FILE), "").unwrap();
        }
        assert_eq!(search(&inner.join("src/deep")).unwrap(), inner);
        assert_eq!(search(&inner).unwrap(), inner);
        assert_eq!(search(inner.parent().unwrap()).unwrap(), outer);
    }

    #[test]
    fn a_folder_of_that_name_is_no_settings_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(FILE)).unwrap();
        assert_eq!(search(dir.path()).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
