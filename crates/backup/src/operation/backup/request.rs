//! The request for a backup, and the report about it.

use std::fmt;
use std::path::Path;

use crate::artifact::codec::Encoding;
use crate::error::Error;
use crate::record::figures::thousands;
use crate::record::id::BackupId;
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
    /// Whether increments will continue it. Then databases are saved by pages, and the digests of all pages are kept for
    /// the next increment.
    pub tracked: bool,
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
    /// Names and errors: one for each database or set of files that could not be saved or is damaged, one named
    /// `ledger` if the ledger could not be written, and one named `state` if the next increment can't continue this.
    pub failures: Vec<(String, Error)>,
}

/// The result of [`backup_incremental`](super::backup_incremental).
#[derive(Debug)]
pub enum IncrementalReport {
    /// Nothing changed since this point, and nothing was written.
    Unchanged {
        /// The newest point.
        point: BackupId,
        /// What the newest point lacks, as in [`BackupReport::failures`].
        failures: Vec<(String, Error)>,
    },
    /// An increment.
    Increment(BackupReport),
    /// A full backup, and why it is no increment.
    Full(BackupReport, FullReason),
}

/// Why a full backup was made instead of an increment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FullReason {
    /// No run has left a state to go on from.
    NoState,
    /// The newest point that the state knows is gone.
    PointGone(BackupId),
    /// The newest point isn't the one that the state was written for.
    AnotherStore(BackupId),
    /// The newest point, or a part of its chain, is damaged or incomplete.
    Unsound(BackupId),
    /// A newer backup is there that the state doesn't know.
    Newer(BackupId),
    /// The state of this database isn't that of the newest point.
    InDoubt(String),
    /// This database has pages of another size now.
    PageSize(String),
    /// More than half of a database changed, and more than half of what all databases have.
    MuchChanged {
        /// The database.
        name: String,
        /// How many pages changed.
        changed: u64,
        /// How many pages it has.
        of: u64,
    },
}

impl fmt::Display for FullReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoState => f.write_str("there is no backup yet that an increment could continue"),
            Self::PointGone(id) => write!(f, "the newest point, {id}, is gone"),
            Self::AnotherStore(id) => write!(f, "backup {id} isn't the one that was remembered"),
            Self::Unsound(id) => write!(f, "point {id} can't be continued, since a part of its chain is not sound"),
            Self::Newer(id) => write!(f, "the newest backup, {id}, isn't one that an increment can continue"),
            Self::InDoubt(name) => write!(f, "what is remembered of {name} isn't as in the newest point"),
            Self::PageSize(name) => write!(f, "{name} has pages of another size now"),
            Self::MuchChanged { name, changed, of } => {
                write!(f, "{} of {} pages of {name} changed", thousands(*changed), thousands(*of))
            }
        }
    }
}
