//! Links, followed one by one and only if they can be trusted (decision 16): root made it, or the user who runs this, or
//! the owner of the file that it leads to.
//!
//! Each part of a path is opened by itself, so that the link that was checked is the one that is followed.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::at;
use super::paths::{quoted, with_suffix};
use crate::error::{Error, ErrorKind};

/// The most links in a path; Linux follows as many.
const MAX_LINKS: usize = 40;

/// Opens a place without its content, which takes no right to read it.
pub(crate) const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a path could not be followed to its end.
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
    /// The error for somebody who asked for `path`.
    pub fn error(self, path: &Path) -> Error {
        match self {
            Self::Io(e) => Error::io("open", path, e.into()),
            Self::Untrusted(link) => {
                let message = format!("{} is a link to another user's file", link.display());
                Error::new(ErrorKind::PermissionDenied, message)
                    .with_hint(format!("if you trust it, say so as root: chown -h root {}", quoted(&link)))
            }
        }
    }
}

/// Where a file really is.
#[derive(Debug)]
pub(crate) struct ResolvedFile {
    pub folder: OwnedFd,
    pub name: OsString,
    /// Who has to own it, if a link leads there: an untrusted user's link may only lead to that user's files.
    pub owner: Option<u32>,
}

impl ResolvedFile {
    /// The file beside it with this suffix, or itself if the suffix is empty.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn stat(&self, suffix: &str) -> rustix::io::Result<Option<Stat>> {
        at::stat(&self.folder, &with_suffix(Path::new(&self.name), suffix))
    }
}

/// Opens `path` part by part, starting in the folder `at`, whose path is `shown`.
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

/// Finds the file that `path` leads to, without opening it.
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

/// Finds the file that `name` in the folder `at` leads to.
fn step(at: OwnedFd, name: &OsStr, shown: &Path, links: &mut usize) -> std::result::Result<ResolvedFile, WalkError> {
    let found = match openat(&at, name, PLACE, Mode::empty()) {
        // Nothing is there, so it is no link.
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
