//! Folders by descriptor, so that a path is looked up once and what is done there can't be led elsewhere.
//!
//! The hazard: between two system calls that take a path, somebody exchanges a folder on it for a link, and the second
//! call works where the link leads. So a [`Place`] remembers which folder it was found in, and every step opens that folder
//! anew, makes sure that it is the same one, and works relative to its descriptor.

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

use crate::disk::fsutil;
use crate::disk::links::{PLACE, ResolvedFile, WalkError, follow, locate, stat_at};
use crate::error::{Error, ErrorKind, Result};
use crate::record::relpath::RelPath;

/// What tells a file or folder from any other: its device and number.
pub(crate) type Identity = (u64, u64);

/// Of an open file, or of what `stat` found.
pub(crate) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// The folder that paths are relative to, as its user named it: links on the way to it are followed.
#[derive(Debug)]
pub(crate) struct Base {
    /// The part of it that exists.
    folder: OwnedFd,
    path: PathBuf,
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
}

/// Where a file belongs. Its folder was looked up once: whatever takes that folder's place later is never written to.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    base: Arc<Base>,
    /// The part of the way that exists, relative to the base, and which folder it led to.
    found: PathBuf,
    folder: Identity,
    /// Folders on the way that are still to be made.
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
        let mut found = folder;
        let (folder_fd, found) = loop {
            match walk(base, found) {
                Ok(fd) => break (fd, found),
                Err(WalkError::Io(Errno::NOENT)) if !found.as_os_str().is_empty() => {
                    found = found.parent().unwrap_or(Path::new(""));
                }
                Err(stopped) => return Err(stopped.error(&base.path.join(found))),
            }
        };
        let missing = folder.strip_prefix(found).unwrap_or(folder).to_path_buf();
        let place = base.path.join(found);
        let stat = fstat(&folder_fd).map_err(|e| Error::io("stat", &place, e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Error::io("open", &place, Errno::NOTDIR.into()));
        }
        let (found, name) = (found.to_path_buf(), full.file_name().unwrap_or_default().to_os_string());
        Ok(Self { base: Arc::clone(base), found, folder: identity(&stat), missing, name })
    }

    /// A place that can be looked up.
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
        self.named(fsutil::with_suffix(Path::new(&self.name), suffix))
    }

    /// Its name in its folder.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Whether it leads into the same folder as it did for `other`.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.folder, &self.missing, &self.name) == (other.folder, &other.missing, &other.name)
    }

    /// Opens the folder that was found, if it is still that one.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it isn't; else as the operating system says.
    fn found(&self) -> Result<OwnedFd> {
        let path = self.base.path.join(&self.found);
        let folder = walk(&self.base, &self.found).map_err(|stopped| stopped.error(&path))?;
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

    /// Opens a folder that was made on the way, or is to be.
    fn enter(&self, at: &OwnedFd, part: &OsStr, access: OFlags) -> Result<OwnedFd> {
        openat(at, part, access | OFlags::DIRECTORY, Mode::empty()).map_err(|e| match e {
            // As Linux says of a link, too.
            Errno::NOTDIR => exchanged(&self.path()),
            e => self.failed("open the folder of", e),
        })
    }

    /// Makes the folders that are missing on the way, private, each as its parent's owner's. Gives their places.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn make_folders(&self, made: &mut Vec<Self>) -> Result<()> {
        let mut at = self.found()?;
        let mut before = PathBuf::new();
        for part in &self.missing {
            let place = Self { missing: before.clone(), name: part.to_os_string(), ..self.clone() };
            let is_new = match mkdirat(&at, part, Mode::RWXU) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(e) => return Err(place.failed("create", e)),
            };
            let access = if is_new { OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC } else { PLACE };
            let folder = place.enter(&at, part, access)?;
            if is_new {
                made.push(place);
                let owner = fstat(&at).map_err(|e| self.failed("stat the folder of", e))?;
                inherit(&folder, &owner);
            }
            at = folder;
            before.push(part);
        }
        Ok(())
    }

    /// What is there, a link as such.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn stat(&self) -> Result<Option<Stat>> {
        match self.folder() {
            Err(error) if error.is_not_found() && !self.missing.as_os_str().is_empty() => Ok(None),
            folder => stat_at(&folder?, &self.name).map_err(|e| self.failed("stat", e)),
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

    /// Makes a new file, private. What is there already is an error, a link too.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn create(&self) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(self.folder()?, &self.name, flags, Mode::RUSR | Mode::WUSR);
        file.map(File::from).map_err(|e| self.failed("create", e))
    }

    /// Opens the plain file that is there for reading; a link is none.
    ///
    /// # Errors
    /// As [`Place::folder`]; and if it is no plain file.
    pub fn open(&self) -> Result<File> {
        open_plain_at(&self.folder()?, &self.name).map_err(|e| Error::io("open", &self.path(), e))
    }

    /// Renames it, and replaces what is there.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn rename(&self, to: &Self) -> Result<()> {
        renameat(self.folder()?, &self.name, to.folder()?, &to.name).map_err(|e| to.failed("replace", e))
    }

    /// Renames it; `false` if there is nothing to be renamed.
    ///
    /// # Errors
    /// As [`Place::folder`]; and if there is something by that name.
    pub fn rename_new(&self, to: &Self, verb: &str) -> Result<bool> {
        match renameat_with(self.folder()?, &self.name, to.folder()?, &to.name, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(self.failed(verb, e)),
        }
    }

    /// Removes the file; one that isn't there is removed already.
    ///
    /// # Errors
    /// As [`Place::folder`].
    pub fn remove(&self) -> Result<()> {
        match unlinkat(self.folder()?, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(self.failed("remove", e)),
        }
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
        synced.map_err(|e| Error::io("sync", fsutil::parent(&self.path()), e))
    }

    /// Which folder the file is in that the last part leads to.
    ///
    /// # Errors
    /// As [`Place::real`].
    pub fn real_folder(&self) -> Result<Identity> {
        let stat = fstat(&self.real()?.folder).map_err(|e| self.failed("stat the folder of", e))?;
        Ok(identity(&stat))
    }

    /// The file that the last part leads to, if that is a link.
    ///
    /// # Errors
    /// As [`Place::find`].
    pub fn real(&self) -> Result<ResolvedFile> {
        let path = self.path();
        let real = locate(&self.folder()?, Path::new(&self.name), &self.base_path(), &mut 0);
        real.map_err(|stopped| stopped.error(&path))
    }

    fn base_path(&self) -> PathBuf {
        fsutil::parent(&self.path()).to_path_buf()
    }

    fn failed(&self, verb: &str, e: Errno) -> Error {
        match e {
            // A folder that had to be one of ours is a link now.
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
    let file = open_plain_at(&real.folder, &real.name).map_err(OpenError::Io)?;
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

/// Whether every link on the way to `path` below `root` can be trusted; what isn't there leads nowhere.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`] if there is another one.
pub(crate) fn require_trusted(root: &Path, path: &RelPath) -> Result<()> {
    let Ok(base) = Base::open(root) else { return Ok(()) };
    match locate(&base.folder, &base.missing.join(path.as_str()), root, &mut 0) {
        Err(stopped @ WalkError::Untrusted(_)) => Err(stopped.error(&path.under(root))),
        _ => Ok(()),
    }
}

/// Gives a new folder to its parent's owner. Only root can, and only root needs to.
fn inherit(made: &OwnedFd, folder: &Stat) {
    let me = rustix::process::geteuid();
    if fstat(made).is_ok_and(|stat| stat.st_uid == me.as_raw()) && me.is_root() {
        let (uid, gid) = (rustix::fs::Uid::from_raw(folder.st_uid), rustix::fs::Gid::from_raw(folder.st_gid));
        let _ = rustix::fs::fchown(made, Some(uid), Some(gid));
    }
}

fn open_plain_at(folder: &OwnedFd, name: &OsStr) -> io::Result<File> {
    // To open a device can do anything: so it is looked at before, and again when it is open.
    match stat_at(folder, name)? {
        Some(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => return Err(fsutil::not_plain()),
        _ => {}
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    fsutil::require_plain(File::from(openat(folder, name, flags, Mode::empty())?))
}

/// The error of a file or folder that is no longer the one that was looked up.
pub(crate) fn exchanged(path: &Path) -> Error {
    let message = format!("{} has been exchanged for another file or folder in the meantime", path.display());
    Error::new(ErrorKind::Io, message).with_hint("see who can write there, then run the command again")
}

/// Opens the folder at `path` below the base.
fn walk(base: &Base, path: &Path) -> std::result::Result<OwnedFd, WalkError> {
    if path.as_os_str().is_empty() {
        return Ok(openat(&base.folder, ".", PLACE, Mode::empty())?);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(&base.folder, path, folder, Mode::empty(), resolve) {
        // There is a link on the way, or this kernel or sandbox doesn't know the call.
        Err(Errno::LOOP | Errno::NOSYS | Errno::PERM) => follow(&base.folder, path, &base.path, &mut 0),
        opened => Ok(opened?),
    }
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
