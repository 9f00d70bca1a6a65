//! The request for a backup, and the report about it.

use std::path::Path;

use crate::artifact::codec::Encoding;
use crate::error::Error;
use crate::record::manifest::{Manifest, Trigger};
use crate::source::Sources;

/// What to back up, and how.
#[derive(Debug, Clone)]
pub struct BackupRequest<'a> {
    /// The project's folder; all sources are below it.
    pub root: &'a Path,
    /// The databases and sets of files to save.
    pub sources: &'a Sources,
    /// Codec and level of the artifacts.
    pub encoding: Encoding,
    /// What caused it.
    pub trigger: Trigger,
    /// Whether to pin the backup, so that rotation never removes it.
    pub pinned: bool,
    /// What to do about damaged databases.
    pub integrity: Integrity,
}

/// What a backup does about a damaged database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// Checks each database, and doesn't save a damaged one.
    Required,
    /// Checks each database, and saves a damaged one as [`Snapshot::Bytes`](crate::record::manifest::Snapshot::Bytes),
    /// marked as damaged.
    Recorded,
    /// Doesn't check: whoever reads the backup has to.
    Unchecked,
}

/// The result of a backup: its published manifest, and the errors of what is not in it.
#[derive(Debug)]
pub struct BackupReport {
    /// The published manifest. Its status is [`Failed`](crate::Status::Failed) if nothing could be saved.
    pub manifest: Manifest,
    /// Names and errors: one for each database or set of files that could not be saved or is damaged, and one named
    /// `ledger` if the ledger could not be written.
    pub failures: Vec<(String, Error)>,
}
