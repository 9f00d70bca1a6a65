//! The few file-system steps that must be right everywhere: private files, synced folders, free space.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// Opens `path` for writing, empty, and readable by its owner alone.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes the entries of `folder` durable: a rename or a new file counts only after this.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::io("sync", folder, e))
}

/// [`sync_folder`] of the folder that `path` is in.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    sync_folder(parent(path))
}

/// The folder that `path` is in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Removes a file; one that isn't there is removed already.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// `path` with `suffix` added to its last part, as SQLite names the files beside a database.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

/// Bytes that this user can still write at `path`, or at the nearest folder above it that exists.
pub(crate) fn free_bytes(path: &Path) -> Result<u64> {
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let space = rustix::fs::statvfs(existing).map_err(|e| Error::io("stat", existing, e.into()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Makes sure that `bytes` fit at `path`.
///
/// # Errors
/// [`ErrorKind::NoSpace`], with both figures, if they don't.
pub(crate) fn require_space(path: &Path, bytes: u64) -> Result<()> {
    let free = free_bytes(path)?;
    if free >= bytes {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NoSpace, format!("{} has {free} bytes free, {bytes} are needed", path.display()))
        .with_hint("free some space (df -h), or remove old backups (rotate)"))
}
