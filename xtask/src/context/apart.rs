//! Whether the backup folder is separate from the application. Otherwise backups would be lost together with their
//! source, rotation and `chmod` would touch files that aren't backups, and each backup would contain the earlier ones.

use std::path::{Component, Path, PathBuf};

use backup::{Error, ErrorKind, Result};

use crate::config::Config;

/// Makes sure that `folder` is not the application's folder or above it, and contains neither a source nor the
/// `settings`.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], naming the reason.
pub fn require(folder: &Path, root: &Path, config: &Config, settings: Option<&Path>) -> Result<()> {
    let Some(why) = objection(folder, root, config, settings) else { return Ok(()) };
    let message = format!("{} can't be the backup folder: {why}", folder.display());
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with_hint("give backups a folder of their own: `backup_dir` in the settings, or --backup-dir"))
}

/// Why a folder can't be the backup folder; none if it can.
fn objection(folder: &Path, root: &Path, config: &Config, settings: Option<&Path>) -> Option<String> {
    // A shell expands these in a flag; nothing expands them in the settings.
    let set = config.backup_dir.to_string_lossy();
    if (set == "~" || set.starts_with("~/") || set.starts_with('$')) && folder == root.join(&config.backup_dir) {
        return Some("~ and $ are not expanded in the settings".into());
    }
    let (place, root) = (resolved(folder), resolved(root));
    if root == place {
        return Some("it is the application's folder".into());
    }
    if root.starts_with(&place) {
        return Some("the application's folder is in it".into());
    }
    let files = config.files.iter().flat_map(|set| &set.paths);
    let mut sources = config.database.iter().map(|database| &database.path).chain(files);
    if let Some(source) = sources.find(|source| resolved(&source.under(&root)).starts_with(&place)) {
        return Some(format!("{source}, which is backed up, is in it"));
    }
    let holds_settings = settings.is_some_and(|settings| resolved(settings).starts_with(&place));
    holds_settings.then(|| "the settings are in it".into())
}

/// The path without links, even if its end doesn't exist yet.
pub fn resolved(path: &Path) -> PathBuf {
    let mut place = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(place.pop()),
            Component::CurDir => {}
            part => {
                place.push(part);
                place = place.canonicalize().unwrap_or(place);
            }
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn why(root: &Path, folder: &str) -> Option<String> {
        let config = Config { backup_dir: folder.into(), ..Config::default() };
        let result = require(&root.join(folder), root, &config, Some(&root.join("ops/backup.toml")));
        result.err().map(|error| error.to_string().split(": ").nth(1).unwrap().to_string())
    }

    #[test]
    fn a_folder_that_holds_what_is_not_a_backup_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("app");
        fs::create_dir_all(root.join("data")).unwrap();
        fs::create_dir(root.join("ops")).unwrap();
        std::os::unix::fs::symlink("data", root.join("linked")).unwrap();
        for own in ["", ".", "data/..", "nowhere/.."] {
            assert_eq!(why(&root, own).as_deref(), Some("it is the application's folder"), "{own:?}");
        }
        for above in ["..", "/", "../../"] {
            assert_eq!(why(&root, above).as_deref(), Some("the application's folder is in it"), "{above:?}");
        }
        for sources in ["data", "data/", "linked", "backups/../data", "data/sessions.db"] {
            let said = why(&root, sources);
            assert_eq!(said.as_deref(), Some("data/sessions.db, which is backed up, is in it"), "{sources:?}");
        }
        assert_eq!(why(&root, "ops").as_deref(), Some("the settings are in it"));
        for shell in ["~/backups", "~", "$HOME/backups"] {
            assert_eq!(why(&root, shell).as_deref(), Some("~ and $ are not expanded in the settings"));
        }
        for fine in ["backups", "data/backups", "../other", "/srv/b", "data-old", "~backups", "a/$b"] {
            assert_eq!(why(&root, fine), None, "{fine:?}");
        }
    }
}
