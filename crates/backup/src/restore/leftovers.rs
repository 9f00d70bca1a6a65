//! What a restore that was killed left beside its places: decoded files, `.NAME.restoring`, that take room and hold what is
//! in the backup. As long as a restore goes on it holds a lock on one of its files, so that they are told apart, whichever
//! store it restores from.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::DATABASE_FILES;
use crate::error::Result;
use crate::fsutil;
use crate::run::Run;

/// Where the content of the file at `path` is decoded to.
pub(super) fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".restoring");
    fsutil::parent(path).join(hidden)
}

/// Files that a restore which was cut short left beside `places`, and how large each is. None while a restore goes on there.
pub fn leftovers(places: &[PathBuf]) -> Vec<(PathBuf, u64)> {
    let names = places.iter().map(|place| beside(place));
    let files = names.flat_map(|name| DATABASE_FILES.map(|suffix| fsutil::with_suffix(&name, suffix)));
    let found: Vec<(PathBuf, u64)> = files
        .filter_map(|file| {
            let found = fs::symlink_metadata(&file).ok()?;
            found.is_file().then_some((file, found.size()))
        })
        .collect();
    if found.iter().any(|(file, _)| is_in_use(file)) { Vec::new() } else { found }
}

/// Removes them, in a run that may write.
///
/// # Errors
/// As the operating system says, of the first that can't be removed.
pub fn remove_leftovers(run: &Run<'_>, places: &[PathBuf]) -> Result<()> {
    if !run.is_recorded() {
        return Ok(());
    }
    leftovers(places).iter().try_for_each(|(file, _)| fsutil::remove_file(file))
}

/// Marks a decoded file as one of a restore that goes on, until it is closed.
pub(super) fn mark(file: &File) {
    // On a file system without such locks, another run may take it for a leftover.
    let _ = file.try_lock();
}

fn is_in_use(file: &Path) -> bool {
    fsutil::open_plain(file).is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::Site;
    use crate::store::MemoryStore;

    const NOW: &str = "20251210_140000";

    #[test]
    fn leftovers_of_a_killed_restore_are_found_and_removed_by_a_run_that_may_write() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let places = ["sessions.db", ".env", "missing/station.json"].map(|path| site.root().join(path));
        assert_eq!(leftovers(&places), []);
        for (name, content) in
            [(".sessions.db.restoring", "half"), (".sessions.db.restoring-wal", ""), ("..env.restoring", "A")]
        {
            fs::write(site.root().join(name), content).unwrap();
        }
        let names = [(".sessions.db.restoring", 4), (".sessions.db.restoring-wal", 0), ("..env.restoring", 1)];
        let found = names.map(|(name, bytes)| (site.root().join(name), bytes));
        assert_eq!(leftovers(&places), found);
        remove_leftovers(&Run::look(site.setup(&store, NOW)).unwrap(), &places).unwrap();
        assert_eq!(leftovers(&places), found, "a run that only looks removes nothing");
        remove_leftovers(&site.begin(&store, NOW), &places).unwrap();
        assert_eq!(leftovers(&places), []);
        assert!(site.root().join("sessions.db").exists() && site.root().join(".env").exists());
    }

    #[test]
    fn files_of_a_restore_that_goes_on_are_no_leftovers() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let places = ["sessions.db", ".env"].map(|path| site.root().join(path));
        fs::write(site.root().join(".sessions.db.restoring"), "half").unwrap();
        let staged = File::create(site.root().join("..env.restoring")).unwrap();
        mark(&staged);
        assert_eq!(leftovers(&places), []);
        remove_leftovers(&site.begin(&store, NOW), &places).unwrap();
        drop(staged);
        assert_eq!(leftovers(&places).len(), 2);
    }
}
