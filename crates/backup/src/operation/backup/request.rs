//! What a backup is asked for, and what came of it.

use std::path::Path;

use crate::artifact::codec::Encoding;
use crate::error::Error;
use crate::record::manifest::{Manifest, Trigger};
use crate::source::Sources;

/// What to back up, and how.
#[derive(Debug, Clone)]
pub struct BackupRequest<'a> {
    /// The folder that all sources are below.
    pub root: &'a Path,
    /// What to take.
    pub sources: &'a Sources,
    /// How to encode it.
    pub encoding: Encoding,
    /// What caused it.
    pub trigger: Trigger,
    /// Whether rotation has to leave it alone.
    pub pinned: bool,
    /// What is asked about the integrity of databases.
    pub integrity: Integrity,
}

/// What a backup asks about the integrity of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// A damaged one is not saved.
    Required,
    /// A damaged one is saved all the same, as [`Snapshot::Bytes`](crate::record::manifest::Snapshot::Bytes), and marked so.
    Recorded,
    /// Nothing: it is left to whoever reads the backup.
    Unchecked,
}

/// A finished run: the manifest it published, and why what is not in it isn't.
#[derive(Debug)]
pub struct BackupReport {
    /// The published manifest; [`Failed`](crate::Status::Failed) if nothing could be saved.
    pub manifest: Manifest,
    /// One error for each database or set of files that could not be saved, or is damaged, with its name, and one for the
    /// `ledger` if it can't be written.
    pub failures: Vec<(String, Error)>,
}
