//! Names of files that belong together.

use std::ffi::{OsStr, OsString};

/// A database file and the files that SQLite may leave beside it, as suffixes of its name.
pub(super) const DATABASE_FILES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// The name of the file beside `name` that its new content is decoded to.
pub(super) fn decoded(name: &OsStr) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".restoring");
    hidden
}
