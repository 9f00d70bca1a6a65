//! Private files beside the places that they will take, in the folders that were looked up.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Gid, Mode, Stat, Uid, fchmod, fchown, fstat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::file_names::{self, DATABASE_FILES};
use crate::disk::place::Place;
use crate::error::{Error, Result};

/// Mode and owner of a file, as a backup records them.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordedAccess {
    pub mode: u32,
    /// User and group.
    pub owner: Option<(u32, u32)>,
}

/// The widest mode of a new file: not readable by others, and not executable.
const WIDEST: u32 = 0o660;

/// A temporary file. Removed when dropped, unless it was renamed.
pub(super) struct Temp {
    place: Place,
    path: PathBuf,
    /// None once it is closed.
    file: Option<File>,
    is_renamed: bool,
}

impl Temp {
    /// A private file in the folder of `place`. After a crash, the next restore finds it by its name and replaces it.
    ///
    /// # Errors
    /// As [`Place::create`].
    pub fn beside(place: &Place) -> Result<Self> {
        let own = place.named(file_names::decoded(place.name()));
        for suffix in DATABASE_FILES {
            own.with_suffix(suffix).remove()?;
        }
        Self::create(own)
    }

    /// The same for a file that belongs beside a database.
    ///
    /// # Errors
    /// As [`Place::create`].
    pub fn beside_with(place: &Place, suffix: &str) -> Result<Self> {
        Self::create(place.named(file_names::decoded(place.name())).with_suffix(suffix))
    }

    fn create(place: Place) -> Result<Self> {
        let file = Some(place.create()?);
        Ok(Self { path: place.path(), place, file, is_renamed: false })
    }

    /// Its path, for messages and for SQLite.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The open file.
    ///
    /// # Errors
    /// If it is closed already.
    pub fn file(&self) -> Result<&File> {
        self.file.as_ref().ok_or_else(|| Error::io("write", &self.path, Errno::BADF.into()))
    }

    /// Closes it: a process may not have that many files open.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Renames it to its place, over the file there.
    ///
    /// # Errors
    /// As [`Place::rename`].
    pub fn replace(mut self, to: &Place) -> Result<()> {
        self.place.rename(to)?;
        self.is_renamed = true;
        Ok(())
    }

    /// Renames it to its place, where no file may be.
    ///
    /// # Errors
    /// As [`Place::rename_new`].
    pub fn put(mut self, to: &Place) -> Result<()> {
        self.is_renamed = self.place.rename_new(to, "put a database at")?;
        if self.is_renamed { Ok(()) } else { Err(Error::io("put a database at", &to.path(), Errno::NOENT.into())) }
    }

    /// Sets its owner and mode. It gets the owner of the file at `place`, and of the `recorded` mode only the bits that this
    /// file has: a manifest must not make a file readable by everybody. If there is no file, it gets the group of its folder,
    /// and if root restores also the owner. Returns a warning if it belonged to another user or group before.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn fit(&self, place: &Place, recorded: RecordedAccess) -> Result<Option<String>> {
        let there = place.stat()?.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        let (uid, gid) = there.as_ref().map_or_else(|| place.owner(), |stat| Ok(owner_of(stat)))?;
        let may_be_given = there.is_some() || geteuid().is_root();
        let now = self.give(may_be_given.then_some(uid), gid)?;
        let widest = there.as_ref().map_or(WIDEST, |stat| stat.st_mode & 0o777);
        fchmod(self.file()?, Mode::from_raw_mode(recorded.mode & widest))
            .map_err(|e| Error::io("change the mode of", &self.path, e.into()))?;
        let before = there.as_ref().map(owner_of).or(recorded.owner);
        Ok(before.filter(|before| *before != now).map(|(uid, gid)| {
            let (path, now) = (place.path(), format!("uid {}, gid {}", now.0, now.1));
            let path = path.display();
            format!("{path} belonged to uid {uid}, gid {gid} and belongs to {now} now: can the application open it?")
        }))
    }

    /// Gives it to that user and group, or only to the group if only root may do the first. Returns the new owner.
    fn give(&self, uid: Option<u32>, gid: u32) -> Result<(u32, u32)> {
        let file = self.file()?;
        for uid in [uid, None] {
            match fchown(file, uid.map(Uid::from_raw), Some(Gid::from_raw(gid))) {
                Ok(()) => break,
                // EINVAL: the container doesn't know that user.
                Err(Errno::PERM | Errno::INVAL) => {}
                Err(e) => return Err(Error::io("change the owner of", &self.path, e.into())),
            }
        }
        fstat(file).map(|stat| owner_of(&stat)).map_err(|e| Error::io("stat", &self.path, e.into()))
    }

    /// Makes its content durable.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn sync(&self) -> Result<()> {
        self.file()?.sync_all().map_err(|e| Error::io("sync", &self.path, e))
    }
}

/// User and group.
fn owner_of(stat: &Stat) -> (u32, u32) {
    (stat.st_uid, stat.st_gid)
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.is_renamed {
            // If that fails, the next run that may write removes it.
            let _ = self.place.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_restored_is_named_after_its_place_until_then() {
        let root = tempfile::tempdir().unwrap();
        let leftover = root.path().join(".a.db.restoring-wal");
        fs::write(&leftover, "of a killed restore").unwrap();
        let temp = Temp::beside(&Place::of(root.path(), "a.db")).unwrap();
        assert_eq!(temp.path(), root.path().join(".a.db.restoring"));
        assert_eq!((mode(temp.path()), leftover.exists()), (0o600, false));
        drop(temp);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_mode_is_never_wider_than_the_one_that_is_there_nor_anybodys_where_nothing_is() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::of(root.path(), "a");
        let fitted = |recorded| {
            let temp = Temp::beside(&place).unwrap();
            assert_eq!(temp.fit(&place, RecordedAccess { mode: recorded, owner: None }).unwrap(), None);
            mode(temp.path())
        };
        assert_eq!([0o6777, 0o666, 0o644, 0o600, 0].map(fitted), [0o660, 0o660, 0o640, 0o600, 0]);
        fs::write(place.path(), "").unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!([0o6777, 0o666, 0o640, 0o600].map(fitted), [0o644, 0o644, 0o640, 0o600]);
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o4700)).unwrap();
        assert_eq!([0o6777, 0o666].map(fitted), [0o700, 0o600]);
    }

    #[test]
    fn a_link_in_the_place_has_no_mode_to_take_over() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("elsewhere"), "").unwrap();
        fs::set_permissions(root.path().join("elsewhere"), fs::Permissions::from_mode(0o666)).unwrap();
        symlink("elsewhere", root.path().join("a")).unwrap();
        let place = Place::of(root.path(), "a");
        let temp = Temp::beside(&place).unwrap();
        temp.fit(&place, RecordedAccess { mode: 0o777, owner: None }).unwrap();
        assert_eq!(mode(temp.path()), 0o660);
    }
}
