//! Free space on disk.

use std::path::Path;

use crate::error::{Error, ErrorKind, NO_SPACE_HINT, Result};
use crate::record::figures::size;

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

/// As [`require_space`], where `free` is known.
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
    fn a_lack_of_space_is_said_in_figures_that_people_read() {
        assert_eq!([0, 9_999, 49_152, 1_066_000_000].map(size), ["0 bytes", "9999 bytes", "49 kB", "1066 MB"]);
        let error = require_space(Path::new("/"), "the disk", u64::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(error.to_string().ends_with(" free, 18446744073 GB are needed"), "{error}");
    }
}
