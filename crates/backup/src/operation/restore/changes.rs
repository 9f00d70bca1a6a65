//! What a restore has changed so far. Each step writes it down as soon as it is done, so that an error doesn't lose it.

use std::path::PathBuf;

use crate::disk::place::Place;
use crate::record::manifest;

/// The changes of a restore.
#[derive(Default)]
pub(super) struct Changes {
    /// Whether anything is, or may be, no longer as it was.
    pub any: bool,
    /// Where files were moved to.
    pub moved_aside: Vec<PathBuf>,
    pub overwritten: Vec<OverwrittenDatabase>,
    /// Warnings about the result.
    pub warnings: Vec<String>,
}

/// A database that was overwritten through SQLite.
pub(super) struct OverwrittenDatabase {
    pub place: Place,
    /// What the manifest says of its new content.
    pub recorded: Option<manifest::Database>,
}
