//! Files by path.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fstat, open, stat};

use super::at;
use super::paths::parent;
use crate::error::{Error, Result};

/// Opens `path` for writing, empty, and private if it is new. A link in its place is not followed: somebody who put it
/// there would choose which file is overwritten, perhaps by root.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    at::open_file(CWD, path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)
}

/// Opens a plain file for reading; links to it are followed. Anything else is an error, found before it is opened:
/// opening a pipe can wait for ever, and opening a device can do anything.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if it is no plain file; else as the operating system says.
pub fn open_plain(path: &Path) -> io::Result<File> {
    at::require_plain(&stat(path)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty())?;
    at::require_plain(&fstat(&file)?).map(|()| file.into())
}

/// Makes the entries of the folder that holds `path` durable: a rename or a new file counts only after this.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let folder = parent(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::io("sync", folder, e))
}

/// Gives what root has just made at `path` to the owner of its folder.
pub(crate) fn inherit_owner(path: &Path) {
    if let (Ok(folder), Some(name)) = (File::open(parent(path)), path.file_name()) {
        at::inherit_owner(folder, name);
    }
}

/// Removes a file. It is no error if there is none.
#[cfg(test)]
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    at::remove(CWD, path).map_err(|e| Error::io("remove", path, e.into()))
}
