//! A backup as retention sees it.

use chrono::{DateTime, Utc};

use crate::record::id::BackupId;
use crate::record::manifest::{Collapse, Trigger};

/// One entry of the catalog, reduced to what retention needs. No two have the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: BackupId,
    /// The backup that it is an increment on; `None` of a full one.
    pub parent: Option<BackupId>,
    /// When it began, which is what its age counts from.
    pub at: DateTime<Utc>,
    /// What is known of it.
    pub standing: Standing,
    /// What caused it.
    pub trigger: Trigger,
    /// Whether a person pinned it.
    pub pinned: bool,
    /// Names of the databases and file sets in it, in any order.
    pub holds: Vec<String>,
    /// Paths of the configuration files in it, in any order.
    pub paths: Vec<String>,
    /// Databases that had collapsed when it was made.
    pub collapses: Vec<Collapse>,
    /// Whether a person accepted these collapses.
    pub accepted: bool,
    /// Whether it is an increment that can be merged with others: it has no whole database, and nothing is known against
    /// its own files.
    pub can_merge: bool,
}

/// What is known of an entry of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// All that was asked for is in it.
    Complete,
    /// Some of what was asked for is in it.
    Partial,
    /// The record of a run that saved nothing.
    Failed,
    /// Artifacts without a manifest: written by another tool, or by hand.
    NoManifest,
    /// A manifest that can't be read.
    Unreadable,
    /// A manifest that names another project.
    AnotherProject,
    /// A manifest that names a host which this project is not known to have been on.
    AnotherHost,
}

impl Candidate {
    /// Whether it can stand for others as the newest copy: a complete backup by an ordinary run, full or an increment.
    pub(super) fn is_point(&self) -> bool {
        self.is_complete() && self.trigger != Trigger::PreRestore
    }

    /// Whether count rules count it: a full one of these.
    pub(super) fn is_counted(&self) -> bool {
        self.is_point() && self.parent.is_none()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.standing == Standing::Complete
    }

    pub(super) fn is_partial(&self) -> bool {
        self.standing == Standing::Partial
    }
}
