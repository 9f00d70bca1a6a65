//! The few file-system steps that must be right everywhere: private files, synced folders, free space.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, NO_SPACE_HINT, Result};
use crate::record::figures::size;

/// Opens `path` for writing, empty, and private if it is new. A link in its place is not followed: whoever could put it
/// there would choose what is written to, and this may be root.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    match OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).custom_flags(flags).open(path) {
        Ok(file) => require_plain(file),
        Err(e) if e.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            Err(io::Error::other("it is a link, which is not followed there"))
        }
        Err(e) => Err(e),
    }
}

/// Opens a plain file for reading. What else may be in its place is an error: a pipe would be waited for without end, and
/// to open a device can do anything.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for what is no plain file; else as the operating system says.
pub fn open_plain(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(not_plain());
    }
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    require_plain(OpenOptions::new().read(true).custom_flags(flags).open(path)?)
}

/// Makes sure that what was opened is a plain file: what was there a moment ago may have been replaced.
pub(crate) fn require_plain(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_plain()) }
}

/// The error of what isn't one.
pub(crate) fn not_plain() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file")
}

/// Makes the entries of the folder that `path` is in durable: a rename or a new file counts only after this.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let folder = parent(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::io("sync", folder, e))
}

/// The folder that `path` is in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Gives what was made at `path` to the owner of the folder it is in: what root makes by hand must not be closed to the
/// user whose folder it is. Only root can give it to another user.
pub(crate) fn inherit_owner(path: &Path) {
    if let (Ok(made), Ok(folder)) = (fs::symlink_metadata(path), fs::metadata(parent(path)))
        && (made.uid(), made.gid()) != (folder.uid(), folder.gid())
    {
        // Of what is there now, not of what a link that was put there a moment ago leads to.
        let _ = lchown(path, Some(folder.uid()), Some(folder.gid()));
    }
}

/// Removes a file; one that isn't there is removed already.
#[cfg(test)]
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

/// A path as a word of a shell command, which can do nothing but name that path.
pub(crate) fn quoted(path: &Path) -> String {
    let word = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Bytes that this user can still write at `path`, or at the nearest folder above it that exists.
pub(crate) fn free_bytes(path: &Path) -> Result<u64> {
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let space = rustix::fs::statvfs(existing).map_err(|e| Error::io("stat", existing, e.into()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Makes sure that `bytes` fit at `path`, which messages call `name`.
///
/// # Errors
/// [`ErrorKind::NoSpace`], with both figures, if they don't.
pub(crate) fn require_space(path: &Path, name: &str, bytes: u64) -> Result<()> {
    require_free(free_bytes(path)?, name, bytes)
}

/// [`require_space`], where it is known how much is `free`.
pub(crate) fn require_free(free: u64, name: &str, bytes: u64) -> Result<()> {
    if free >= bytes {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NoSpace, format!("{name} has {} free, {} are needed", size(free), size(bytes)))
        .with_hint(NO_SPACE_HINT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_command_is_one_word_whatever_is_in_it() {
        let quoted = |path| quoted(Path::new(path));
        assert_eq!(quoted("/srv/app/a-b_1.db"), "/srv/app/a-b_1.db");
        assert_eq!(quoted("/tmp/x; curl a|sh #"), "'/tmp/x; curl a|sh #'");
        assert_eq!(quoted("it's $(id)"), r"'it'\''s $(id)'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_lack_of_space_is_said_in_figures_that_people_read() {
        assert_eq!([0, 9_999, 49_152, 1_066_000_000].map(size), ["0 bytes", "9999 bytes", "49 kB", "1066 MB"]);
        let error = require_space(Path::new("/"), "the disk", u64::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(error.to_string().ends_with(" free, 18446744073 GB are needed"), "{error}");
    }
}
