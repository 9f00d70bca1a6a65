//! What a killed restore left beside its places: decoded files, `.NAME.restoring`, which take room and hold what is in the
//! backup. A restore that is still running holds a lock on one of its files, whichever store it restores from: these files are
//! no leftovers.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use super::file_names::{self, DATABASE_FILES};
use crate::disk::place::{Base, Place};
use crate::error::Result;
use crate::operation::run::Run;
use crate::record::relpath::RelPath;

/// Where a restore may have decoded something: a path below a folder.
pub type RestoredPlace = (PathBuf, RelPath);

/// Files that a killed restore left beside `places`, with their sizes in bytes. None while a restore is running there.
pub fn leftovers(places: &[RestoredPlace]) -> Vec<(PathBuf, u64)> {
    find(places).into_iter().map(|(place, bytes)| (place.path(), bytes)).collect()
}

/// Removes them. The run shows that its caller may write.
///
/// # Errors
/// That of the first file that can't be removed.
pub fn remove_leftovers(_: &Run<'_>, places: &[RestoredPlace]) -> Result<()> {
    find(places).iter().try_for_each(|(place, _)| place.remove())
}

fn find(places: &[RestoredPlace]) -> Vec<(Place, u64)> {
    // Each folder is opened once: a process may not have that many files open.
    let mut bases: HashMap<&Path, Option<Arc<Base>>> = HashMap::new();
    let mut found = Vec::new();
    for (folder, path) in places {
        let base = bases.entry(folder).or_insert_with(|| Base::open(folder).ok());
        let Some(place) = base.as_ref().and_then(|base| Place::find(base, path).ok()) else { continue };
        let decoded = place.named(file_names::decoded(place.name()));
        let files = DATABASE_FILES.map(|suffix| decoded.with_suffix(suffix));
        found.extend(files.into_iter().filter_map(|place| bytes_of(&place).map(|bytes| (place, bytes))));
    }
    if found.iter().any(|(place, _)| is_in_use(place)) { Vec::new() } else { found }
}

/// The size of a plain file.
fn bytes_of(place: &Place) -> Option<u64> {
    let stat = place.stat().ok()??;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    is_file.then(|| u64::try_from(stat.st_size).unwrap_or(0))
}

/// Marks a decoded file as one of a running restore, until it is closed.
pub(super) fn mark(file: &File) {
    // On a file system without such locks, another run may take it for a leftover.
    let _ = file.try_lock();
}

fn is_in_use(place: &Place) -> bool {
    place.open().is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use crate::testing::fixtures::Site;

    const NOW: &str = "20251210_140000";

    #[test]
    fn leftovers_of_a_killed_restore_are_found_and_removed_by_a_run_that_may_write() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let path = |path| (site.root().to_path_buf(), RelPath::new(path).unwrap());
        let places = ["sessions.db", ".env", "missing/station.json"].map(path);
        assert_eq!(leftovers(&places), []);
        for (name, content) in
            [(".sessions.db.restoring", "half"), (".sessions.db.restoring-wal", ""), ("..env.restoring", "A")]
        {
            fs::write(site.root().join(name), content).unwrap();
        }
        let names = [(".sessions.db.restoring", 4), (".sessions.db.restoring-wal", 0), ("..env.restoring", 1)];
        let found = names.map(|(name, bytes)| (site.root().join(name), bytes));
        assert_eq!(leftovers(&places), found);
        remove_leftovers(&site.begin(&store, NOW), &places).unwrap();
        assert_eq!(leftovers(&places), []);
        assert!(site.root().join("sessions.db").exists() && site.root().join(".env").exists());
    }

    #[test]
    fn files_of_a_restore_that_goes_on_are_no_leftovers() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let places = ["sessions.db", ".env"].map(|path| (site.root().to_path_buf(), RelPath::new(path).unwrap()));
        fs::write(site.root().join(".sessions.db.restoring"), "half").unwrap();
        let staged = File::create(site.root().join("..env.restoring")).unwrap();
        mark(&staged);
        assert_eq!(leftovers(&places), []);
        remove_leftovers(&site.begin(&store, NOW), &places).unwrap();
        drop(staged);
        assert_eq!(leftovers(&places).len(), 2);
    }
}
