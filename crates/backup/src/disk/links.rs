//! Following links one by one, as decision 16 says: if root made them, or who runs this, or the owner of what they lead to.
//! Each part of a path is opened by itself, so that what was looked at is what is followed.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::disk::fsutil;
use crate::error::{Error, ErrorKind};

/// As many as Linux itself follows.
const MAX_LINKS: usize = 40;

/// Opens no content, only the place: that needs no right to read it.
pub(crate) const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a path was not followed to its end.
pub(crate) enum WalkError {
    /// The operating system said so.
    Io(Errno),
    /// This link can't be trusted.
    Untrusted(PathBuf),
}

impl From<Errno> for WalkError {
    fn from(e: Errno) -> Self {
        Self::Io(e)
    }
}

impl WalkError {
    /// For whoever wanted to go to `path`.
    pub fn error(self, path: &Path) -> Error {
        match self {
            Self::Io(e) => Error::io("open", path, e.into()),
            Self::Untrusted(link) => {
                let message =
                    format!("{} is a link to what belongs to somebody else than the link itself", link.display());
                let word = fsutil::quoted(&link);
                Error::new(ErrorKind::PermissionDenied, message)
                    .with_hint(format!("if it is meant to be so, say so as root: chown -h root {word}"))
            }
        }
    }
}

/// Where a file really is.
#[derive(Debug)]
pub(crate) struct ResolvedFile {
    pub folder: OwnedFd,
    pub name: OsString,
    /// Whose it has to be: the maker of a link that leads there is trusted with no others.
    pub owner: Option<u32>,
}

impl ResolvedFile {
    /// What has this suffix beside it, or it itself.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn stat(&self, suffix: &str) -> rustix::io::Result<Option<Stat>> {
        stat_at(&self.folder, fsutil::with_suffix(Path::new(&self.name), suffix))
    }
}

/// Opens what is at `path`, one part after the other. `shown` is the path of `at`.
pub(crate) fn follow(
    at: &OwnedFd,
    path: &Path,
    shown: &Path,
    links: &mut usize,
) -> std::result::Result<OwnedFd, WalkError> {
    let mut at = openat(at, ".", PLACE, Mode::empty())?;
    let mut shown = shown.to_path_buf();
    for part in path.components() {
        at = match part {
            Component::RootDir => openat(CWD, "/", PLACE, Mode::empty())?,
            Component::ParentDir => openat(&at, "..", PLACE, Mode::empty())?,
            Component::Normal(name) => {
                let real = step(at, name, &shown, links)?;
                let led = openat(&real.folder, &real.name, PLACE, Mode::empty())?;
                if real.owner.is_some() && real.owner != Some(fstat(&led)?.st_uid) {
                    return Err(WalkError::Untrusted(shown.join(name)));
                }
                led
            }
            Component::CurDir | Component::Prefix(_) => continue,
        };
        shown.push(part);
    }
    Ok(at)
}

/// Finds where the last part of `path` really is.
pub(crate) fn locate(
    at: &OwnedFd,
    path: &Path,
    shown: &Path,
    links: &mut usize,
) -> std::result::Result<ResolvedFile, WalkError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(ResolvedFile { folder: follow(at, path, shown, links)?, name: ".".into(), owner: None });
    };
    step(follow(at, folder, shown, links)?, name, &shown.join(folder), links)
}

/// Finds where `name` in the folder `at` really is.
fn step(at: OwnedFd, name: &OsStr, shown: &Path, links: &mut usize) -> std::result::Result<ResolvedFile, WalkError> {
    let found = match openat(&at, name, PLACE, Mode::empty()) {
        // What isn't there is no link.
        Err(Errno::NOENT) => return Ok(ResolvedFile { folder: at, name: name.into(), owner: None }),
        found => found?,
    };
    let link = fstat(&found)?;
    if FileType::from_raw_mode(link.st_mode) != FileType::Symlink {
        return Ok(ResolvedFile { folder: at, name: name.into(), owner: None });
    }
    *links += 1;
    if *links > MAX_LINKS {
        return Err(Errno::LOOP.into());
    }
    let target = readlinkat(&found, "", Vec::new())?;
    let real = locate(&at, Path::new(OsStr::from_bytes(target.as_bytes())), shown, links)?;
    if [0, rustix::process::geteuid().as_raw()].contains(&link.st_uid) {
        return Ok(real);
    }
    match real.stat("")? {
        Some(led) if led.st_uid != link.st_uid => Err(WalkError::Untrusted(shown.join(name))),
        _ => Ok(ResolvedFile { owner: Some(link.st_uid), ..real }),
    }
}

/// What has that name in a folder, a link as such.
pub(crate) fn stat_at(folder: &OwnedFd, name: impl AsRef<Path>) -> rustix::io::Result<Option<Stat>> {
    match statat(folder, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}
