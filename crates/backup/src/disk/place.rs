//! Where a restore puts files: the path is looked up once, and no step can be led elsewhere.
//!
//! The hazard: between two system calls that take a path, somebody exchanges a folder on it for a link, and the second
//! call works where the link leads. So a [`Place`] remembers which folder it was found in. Every step opens that folder
//! again, makes sure that it is the same one, and works relative to its descriptor.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, fstat, mkdirat, openat, openat2, renameat,
    renameat_with, unlinkat,
};
use rustix::io::Errno;

use super::at;
use super::links::{PLACE, ResolvedFile, WalkError, follow, locate};
use super::paths::{parent, with_suffix};
use crate::error::{Error, ErrorKind, Result};
use crate::record::relpath::RelPath;

/// What identifies a file or folder: its device and inode number.
pub(crate) type Identity = (u64, u64);

/// The identity of what `stat` found.
pub(crate) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// The folder that paths are relative to, as its user named it: links on the way to it are followed.
#[derive(Debug)]
pub(crate) struct Base {
    /// The part of it that exists, open.
    folder: OwnedFd,
    path: PathBuf,
    /// The rest of it.
    missing: PathBuf,
}

impl Base {
    /// Opens it, or the nearest folder above it that exists.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        for existing in path.ancestors() {
            let shown = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
            match openat(CWD, shown, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(folder) => {
                    let missing = path.strip_prefix(existing).unwrap_or(path).to_path_buf();
                    return Ok(Arc::new(Self { folder, path: existing.to_path_buf(), missing }));
                }
                Err(Errno::NOENT) => {}
                Err(e) => return Err(Error::io("open", shown, e.into())),
            }
        }
        Err(Error::io("open", path, Errno::NOENT.into()))
    }

    /// Opens the folder `path` in it, or the nearest one above that exists. Returns its path as well.
    fn nearest_existing<'p>(&self, path: &'p Path) -> Result<(&'p Path, OwnedFd)> {
        let mut existing = path;
        loop {
            match self.walk(existing) {
                Ok(folder) => return Ok((existing, folder)),
                Err(WalkError::Io(Errno::NOENT)) if !existing.as_os_str().is_empty() => {
                    existing = existing.parent().unwrap_or(Path::new(""));
                }
                Err(stopped) => return Err(stopped.error(&self.path.join(existing))),
            }
        }
    }

    /// Opens the folder `path` in it.
    fn walk(&self, path: &Path) -> std::result::Result<OwnedFd, WalkError> {
        if path.as_os_str().is_empty() {
            return Ok(openat(&self.folder, ".", PLACE, Mode::empty())?);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat2(&self.folder, path, flags, Mode::empty(), resolve) {
            // There is a link on the way, or this kernel or sandbox doesn't know the call.
            Err(Errno::LOOP | Errno::NOSYS | Errno::PERM) => follow(&self.folder, path, &self.path, &mut 0),
            opened => Ok(opened?),
        }
    }
}

/// Where a file belongs. Its folder was looked up once; another folder that takes its place is never written to.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    base: Arc<Base>,
    /// The folders of its path that exist, relative to the base.
    found: PathBuf,
    /// Which folder they led to.
    folder: Identity,
    /// The folders of its path that are still to be made.
    missing: PathBuf,
    name: OsString,
}

impl Place {
    /// Looks up the folder of `path`.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] if a link on the way can't be trusted; else as the operating system says.
    pub fn find(base: &Arc<Base>, path: &RelPath) -> Result<Self> {
        let full = base.missing.join(path.as_str());
        let folder = full.parent().unwrap_or(Path::new(""));
        let (found, descriptor) = base.nearest_existing(folder)?;
        let shown = base.path.join(found);
        let stat = fstat(&descriptor).map_err(|e| Error::io("stat", &shown, e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Error::io("open", &shown, Errno::NOTDIR.into()));
        }
        Ok(Self {
            base: Arc::clone(base),
            found: found.to_path_buf(),
            folder: identity(&stat),
            missing: folder.strip_prefix(found).unwrap_or(folder).to_path_buf(),
            name: full.file_name().unwrap_or_default().to_os_string(),
        })
    }

    /// As [`Place::find`], for tests.
    #[cfg(test)]
    pub fn of(root: &Path, path: &str) -> Self {
        Self::find(&Base::open(root).unwrap(), &RelPath::new(path).unwrap()).unwrap()
    }

    /// Its path, for messages and for what can only work by path.
    pub fn path(&self) -> PathBuf {
        self.base.path.join(&self.found).join(&self.missing).join(&self.name)
    }

    /// Another name in the same folder.
    pub fn named(&self, name: impl Into<OsString>) -> Self {
        Self { name: name.into(), ..self.clone() }
    }

    /// The same with `suffix` added to its name.
    pub fn with_suffix(&self, suffix: &str) -> Self {
        self.named(with_suffix(Path::new(&self.name), suffix))
    }

    /// Its name in its folder.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Whether it is the same name in the same folder as `other`.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.folder, &self.missing, &self.name) == (other.folder, &other.missing, &other.name)
    }

    /// Opens the folder that was found, if it is still the same one.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it isn't; else as the operating system says.
    fn found(&self) -> Result<OwnedFd> {
        let path = self.base.path.join(&self.found);
        let folder = self.base.walk(&self.found).map_err(|stopped| stopped.error(&path))?;
        let stat = fstat(&folder).map_err(|e| Error::io("stat", &path, e.into()))?;
        if identity(&stat) == self.folder { Ok(folder) } else { Err(exchanged(&path)) }
    }

    /// Opens its folder.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if another one, or a link, has taken its place; else as the operating system says.
    pub fn folder(&self) -> Result<OwnedFd> {
        let mut at = self.found()?;
        for part in &self.missing {
            at = self.enter(&at, part, PLACE)?;
        }
        Ok(at)
    }

    /// Opens a folder on the way that has been made.
    fn enter(&self, at: &OwnedFd, part: &OsStr, access: OFlags) -> Result<OwnedFd> {
        openat(at, part, access | OFlags::DIRECTORY, Mode::empty()).map_err(|e| match e {
            // Linux says this about a link, too.
            Errno::NOTDIR => exchanged(&self.path()),
            e => self.failed("open the folder of", e),
        })
    }

    /// Makes the folders that are missing on the way, private, and each owned by its parent's owner. Adds their places to
    /// `made`.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn make_folders(&self, made: &mut Vec<Self>) -> Result<()> {
        let mut parent = self.found()?;
        let mut before = PathBuf::new();
        for part in &self.missing {
            let place = Self { missing: before.clone(), name: part.to_os_string(), ..self.clone() };
            let is_new = match mkdirat(&parent, part, Mode::RWXU) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(e) => return Err(place.failed("create", e)),
            };
            let access = if is_new { OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC } else { PLACE };
            let folder = place.enter(&parent, part, access)?;
            if is_new {
                made.push(place);
                at::inherit_owner_of(&folder, &parent).map_err(|e| self.failed("stat the folder of", e))?;
            }
            parent = folder;
            before.push(part);
        }
        Ok(())
    }

    /// What is there: the link itself if it is one.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn stat(&self) -> Result<Option<Stat>> {
        match self.folder() {
            Err(error) if error.is_not_found() && !self.missing.as_os_str().is_empty() => Ok(None),
            folder => at::stat(&folder?, &self.name).map_err(|e| self.failed("stat", e)),
        }
    }

    /// Who owns its folder.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn owner(&self) -> Result<(u32, u32)> {
        let stat = fstat(&self.folder()?).map_err(|e| self.failed("stat the folder of", e))?;
        Ok((stat.st_uid, stat.st_gid))
    }

    /// Makes a new file, private. It is an error if anything is there already, even a link.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn create(&self) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(self.folder()?, &self.name, flags, Mode::RUSR | Mode::WUSR);
        file.map(File::from).map_err(|e| self.failed("create", e))
    }

    /// Opens the plain file that is there for reading.
    ///
    /// # Errors
    /// As [`Place::folder`]; and if it is no plain file, such as a link.
    pub fn open(&self) -> Result<File> {
        at::open_plain(&self.folder()?, &self.name).map_err(|e| Error::io("open", &self.path(), e))
    }

    /// Renames it, and replaces what is there.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn rename(&self, to: &Self) -> Result<()> {
        renameat(self.folder()?, &self.name, to.folder()?, &to.name).map_err(|e| to.failed("replace", e))
    }

    /// Renames it, and replaces nothing; `false` if there is nothing to rename.
    ///
    /// # Errors
    /// As [`Place::folder`]; and if something is at `to`.
    pub fn rename_new(&self, to: &Self, verb: &str) -> Result<bool> {
        match renameat_with(self.folder()?, &self.name, to.folder()?, &to.name, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(self.failed(verb, e)),
        }
    }

    /// Removes the file. It is no error if there is none.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn remove(&self) -> Result<()> {
        at::remove(self.folder()?, &self.name).map_err(|e| self.failed("remove", e))
    }

    /// Removes the folder, if it is empty.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn remove_folder(&self) -> Result<()> {
        unlinkat(self.folder()?, &self.name, AtFlags::REMOVEDIR).map_err(|e| self.failed("remove", e))
    }

    /// Makes the entries of its folder durable.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn sync(&self) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let synced = openat(self.folder()?, ".", flags, Mode::empty()).map(File::from);
        let synced = synced.map_err(io::Error::from).and_then(|folder| folder.sync_all());
        synced.map_err(|e| Error::io("sync", parent(&self.path()), e))
    }

    /// The folder of the file that [`Place::real`] finds.
    ///
    /// # Errors
    /// As [`Place::real`].
    pub fn real_folder(&self) -> Result<Identity> {
        let stat = fstat(&self.real()?.folder).map_err(|e| self.failed("stat the folder of", e))?;
        Ok(identity(&stat))
    }

    /// The file itself, or the one that it leads to if it is a link.
    ///
    /// # Errors
    /// As [`Place::find`].
    pub fn real(&self) -> Result<ResolvedFile> {
        let path = self.path();
        let real = locate(&self.folder()?, Path::new(&self.name), &self.base_path(), &mut 0);
        real.map_err(|stopped| stopped.error(&path))
    }

    fn base_path(&self) -> PathBuf {
        parent(&self.path()).to_path_buf()
    }

    fn failed(&self, verb: &str, e: Errno) -> Error {
        match e {
            // A link has taken the place of a folder that was there before.
            Errno::LOOP => exchanged(&self.path()),
            e => Error::io(verb, &self.path(), e.into()),
        }
    }
}

/// Opens a plain file below `root` for reading. Links on the way are followed, if they can be trusted.
///
/// # Errors
/// As [`Place::find`]; an I/O error of the kind `InvalidInput` if it is no plain file.
pub(crate) fn open_below(root: &Path, path: &RelPath) -> std::result::Result<File, OpenError> {
    let base = Base::open(root).map_err(OpenError::Refused)?;
    let full = path.under(root);
    if !base.missing.as_os_str().is_empty() {
        return Err(OpenError::Io(io::ErrorKind::NotFound.into()));
    }
    let stopped = |stopped: WalkError| match stopped {
        WalkError::Io(e) => OpenError::Io(e.into()),
        WalkError::Untrusted(_) => OpenError::Refused(stopped.error(&full)),
    };
    let real = locate(&base.folder, Path::new(path.as_str()), root, &mut 0).map_err(stopped)?;
    let file = at::open_plain(&real.folder, &real.name).map_err(OpenError::Io)?;
    let found = fstat(&file).map_err(|e| OpenError::Io(e.into()))?;
    if real.owner.is_some_and(|owner| owner != found.st_uid) {
        return Err(OpenError::Refused(exchanged(&full)));
    }
    Ok(file)
}

/// Why a file was not opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The operating system said so.
    Io(io::Error),
    /// A link on the way can't be trusted.
    Refused(Error),
}

/// Makes sure that every link on the way to `path` below `root` can be trusted. A path that doesn't exist passes.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`] if one can't.
pub(crate) fn require_trusted(root: &Path, path: &RelPath) -> Result<()> {
    let Ok(base) = Base::open(root) else { return Ok(()) };
    match locate(&base.folder, &base.missing.join(path.as_str()), root, &mut 0) {
        Err(stopped @ WalkError::Untrusted(_)) => Err(stopped.error(&path.under(root))),
        _ => Ok(()),
    }
}

/// The error for a file or folder that is no longer the one that was looked up.
pub(crate) fn exchanged(path: &Path) -> Error {
    let message = format!("{} has been exchanged for another file or folder in the meantime", path.display());
    Error::new(ErrorKind::Io, message).with_hint("check who can write there, then run the command again")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn read(root: &Path, path: &str) -> Option<String> {
        let mut text = String::new();
        open_below(root, &RelPath::new(path).unwrap()).ok()?.read_to_string(&mut text).unwrap();
        Some(text)
    }

    /// A folder with `data/file`, a link to that folder, and one that leads nowhere.
    fn site() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("data/deep")).unwrap();
        fs::write(root.path().join("data/file"), "mine").unwrap();
        symlink("data", root.path().join("linked")).unwrap();
        symlink("nowhere", root.path().join("lost")).unwrap();
        root
    }

    #[test]
    fn a_file_is_found_by_its_path_and_by_every_kind_of_link() {
        let root = site();
        let path = root.path();
        symlink(path.join("data"), path.join("absolute")).unwrap();
        symlink("linked/../data/./deep/../file", path.join("chain")).unwrap();
        symlink("data/deep/..", path.join("up")).unwrap();
        symlink("loop", path.join("loop")).unwrap();
        for name in ["data/file", "linked/file", "absolute/file", "chain", "up/file"] {
            assert_eq!(read(path, name).as_deref(), Some("mine"), "{name}");
        }
        for name in ["lost", "lost/file", "loop", "loop/file", "data", "data/none", "data/file/x"] {
            assert_eq!(read(path, name), None, "{name}");
        }
    }

    #[test]
    fn a_folder_that_another_one_or_a_link_has_taken_the_place_of_is_not_written_to() {
        for by_link in [false, true] {
            let root = site();
            let (data, place) = (root.path().join("data"), Place::of(root.path(), "data/new"));
            drop(place.create().unwrap());
            fs::rename(&data, root.path().join("moved")).unwrap();
            fs::create_dir(root.path().join("other")).unwrap();
            if by_link {
                symlink("other", &data).unwrap();
            } else {
                fs::create_dir(&data).unwrap();
            }
            fs::write(data.join("new"), "theirs").unwrap();
            let error = place.create().unwrap_err();
            assert!(error.to_string().ends_with("exchanged for another file or folder in the meantime"), "{error}");
            assert!(place.remove().is_err() && place.rename(&place.with_suffix("2")).is_err() && place.sync().is_err());
            assert_eq!(fs::read_to_string(data.join("new")).unwrap(), "theirs");
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_that_is_to_be_made_is_not_followed() {
        let root = site();
        let place = Place::of(root.path(), "new/deep/file");
        assert!(place.stat().unwrap().is_none());
        symlink("data", root.path().join("new")).unwrap();
        assert!(place.make_folders(&mut Vec::new()).is_err() && place.create().is_err());
        assert!(Place::of(root.path(), "lost/file").make_folders(&mut Vec::new()).is_err());
        assert_eq!(fs::read_dir(root.path().join("data")).unwrap().count(), 2);
    }

    #[test]
    fn folders_that_are_missing_are_made_private_and_can_be_removed_again() {
        let root = site();
        let place = Place::of(&root.path().join("to/there"), "new/file");
        let mut made = Vec::new();
        place.make_folders(&mut made).unwrap();
        drop(place.create().unwrap());
        let folder = fs::metadata(root.path().join("to/there/new")).unwrap();
        assert_eq!((made.len(), folder.mode() & 0o777), (3, 0o700));
        place.remove().unwrap();
        made.iter().rev().for_each(|folder| folder.remove_folder().unwrap());
        assert!(!root.path().join("to").exists());
    }

    #[test]
    fn what_is_there_is_never_opened_as_a_new_file() {
        let root = site();
        for name in ["data/file", "lost", "linked"] {
            assert!(Place::of(root.path(), name).create().is_err(), "{name}");
        }
        assert!(!root.path().join("nowhere").exists());
    }
}
