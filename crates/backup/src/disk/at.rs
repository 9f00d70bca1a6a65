//! Steps on a name in an open folder. A link in the place of that name is never followed.
//!
//! Each system call looks a path up again, and between two calls somebody can exchange a folder on the way. An open folder
//! stays the same folder.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchown, fstat, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::path::Arg;
use rustix::process::geteuid;

/// What has this name: the link itself if it is one. `None` if nothing has it.
pub(crate) fn stat(folder: impl AsFd, name: impl Arg + Copy) -> rustix::io::Result<Option<Stat>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Opens a plain file for reading. Anything else is an error, found before it is opened: opening a pipe can wait for
/// ever, and opening a device can do anything.
pub(crate) fn open_plain(folder: impl AsFd, name: impl Arg + Copy) -> io::Result<File> {
    let found = stat(&folder, name)?.ok_or(Errno::NOENT)?;
    require_plain(&found)?;
    open_file(folder, name, OFlags::RDONLY)
}

/// Opens a plain file with these flags. A new file is private.
pub(crate) fn open_file(folder: impl AsFd, name: impl Arg + Copy, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(folder, name, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => require_plain(&fstat(&file)?).map(|()| file.into()),
        Err(Errno::LOOP) => Err(is_a_link()),
        Err(e) => Err(e.into()),
    }
}

/// Opens a folder; a link to one is an error.
pub(crate) fn open_folder(folder: impl AsFd, name: impl Arg + Copy) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

/// Removes a file, or the link itself. It is no error if nothing has this name.
pub(crate) fn remove(folder: impl AsFd, name: impl Arg + Copy) -> rustix::io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

/// Gives what root has just made under this name to the folder's owner, who could not use it otherwise. Other users
/// can't give files away, and don't need to.
pub(crate) fn inherit_owner(folder: impl AsFd, name: impl Arg + Copy) {
    if let (Ok(Some(made)), Ok(parent)) = (stat(&folder, name), fstat(&folder))
        && let Some((uid, gid)) = new_owner(&made, &parent)
    {
        let _ = chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
    }
}

/// Gives the open folder `made`, which is new in `parent`, to the owner of `parent`. A folder that root doesn't own has
/// taken the place of the new one, and stays as it is.
pub(crate) fn inherit_owner_of(made: &OwnedFd, parent: &OwnedFd) -> rustix::io::Result<()> {
    let (found, parent) = (fstat(made)?, fstat(parent)?);
    if found.st_uid == geteuid().as_raw()
        && let Some((uid, gid)) = new_owner(&found, &parent)
    {
        let _ = fchown(made, Some(uid), Some(gid));
    }
    Ok(())
}

/// Who gets what root made in `parent`; `None` if it stays whose it is.
fn new_owner(made: &Stat, parent: &Stat) -> Option<(Uid, Gid)> {
    let is_given = geteuid().is_root() && (made.st_uid, made.st_gid) != (parent.st_uid, parent.st_gid);
    is_given.then(|| (Uid::from_raw(parent.st_uid), Gid::from_raw(parent.st_gid)))
}

/// Whether this is a plain file.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if not.
pub(crate) fn require_plain(found: &Stat) -> io::Result<()> {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err(is_a_link()),
        _ => Err(not_plain()),
    }
}

/// The error for anything but a plain file.
pub(crate) fn not_plain() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file")
}

fn is_a_link() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is a link, and links are not followed here")
}
