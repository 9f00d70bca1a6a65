//! The record of one backup. A backup exists once its manifest is in the store.
//!
//! `docs/format.md` describes each field for those who read manifests with other tools.

mod artifact;
mod list;
mod parse;

use std::fmt;
use std::ops::RangeInclusive;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use crate::record::figures::{size, thousands};
use crate::record::id::BackupId;

pub use artifact::{Artifact, Content, Database, Facts, FileEntry, Increment, Snapshot, Table};

/// The format that this library writes, and the newest that it reads. Format 1 had the pin in it. Since format 2 a manifest
/// never changes, and a pin is an object of its own.
pub const FORMAT: u32 = 2;

/// The formats that this library reads.
pub const READABLE: RangeInclusive<u32> = 1..=FORMAT;

/// The most bytes of a manifest, written or read into memory.
pub const MAX_BYTES: u64 = 16 << 20;

/// The most artifacts of a backup, and the most elements of a list with one for each artifact.
const FEW: usize = 2_000;

/// The most warnings, and the most errors: there can be one for each configuration file.
const MANY: usize = 50_000;

/// The most bytes of all paths of configuration files in a manifest, which are kept in memory.
pub(crate) const MAX_PATHS: usize = 4 << 20;

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this record's layout, one of [`READABLE`].
    pub format: u32,
    /// The backup's name.
    pub id: BackupId,
    /// Whether it holds all by itself.
    #[serde(rename = "type", default, skip_serializing_if = "BackupType::is_full")]
    pub backup_type: BackupType,
    /// The backup that an increment continues; none of a full one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<BackupId>,
    /// When it began, with the offset of the host's local time.
    pub created_at: DateTime<FixedOffset>,
    /// The project that was backed up.
    pub project: String,
    /// The host that it was taken on.
    pub host: String,
    /// What caused it.
    pub trigger: Trigger,
    /// Whether all that was asked for is in it.
    pub status: Status,
    /// What wrote it.
    pub tool: Tool,
    /// From the start of the run to the writing of this record, in milliseconds.
    pub duration_ms: u64,
    /// In format 1, whether rotation has to keep it; never true since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// Warnings about it: flaws that don't make it incomplete.
    #[serde(deserialize_with = "list::bounded::<MANY, _, _>")]
    pub warnings: Vec<Warning>,
    /// Databases that had collapsed since an earlier backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list::bounded::<FEW, _, _>")]
    pub collapses: Vec<Collapse>,
    /// What could not be saved; empty if [`Status::Complete`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list::bounded::<MANY, _, _>")]
    pub errors: Vec<Failure>,
    /// Sets of files that had no file, so that there was nothing to save.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list::bounded::<FEW, _, _>")]
    pub absent: Vec<String>,
    /// In an increment, databases and sets of files that are as in its parent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list::bounded::<FEW, _, _>")]
    pub unchanged: Vec<String>,
    /// What is stored; empty if [`Status::Failed`].
    #[serde(deserialize_with = "list::bounded::<FEW, _, _>")]
    pub artifacts: Vec<Artifact>,
}

/// Whether a backup holds all by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupType {
    /// It does.
    #[default]
    Full,
    /// It holds what changed since its parent.
    Increment,
}

impl BackupType {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_full(&self) -> bool {
        *self == Self::Full
    }
}

/// What caused a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// A person.
    Manual,
    /// The schedule.
    Timer,
    /// A restore, to keep what it replaces.
    PreRestore,
}

/// Whether all that was asked for is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All of it.
    Complete,
    /// Some of it.
    Partial,
    /// Nothing.
    Failed,
}

/// The program that wrote a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its version.
    pub version: String,
    /// The version of the SQLite library in it.
    pub sqlite: String,
}

/// A warning: something that a person should know, but that did not stop the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A word for programs: `missing_file`, `invalid_json`, `invalid_env`, `collapsed`.
    pub code: String,
    /// A line for people.
    pub message: String,
}

/// What a database lost since an earlier backup: most of the rows of a table, or half of its size.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Collapse {
    /// The database's configured name.
    pub name: String,
    /// The newest backup from before it.
    pub since: BackupId,
    /// The table that lost most rows; `None` if it is the database that shrank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Rows of the table, or bytes of the database, in that backup.
    pub was: u64,
    /// Rows of the table, or bytes of the database, in this backup.
    pub now: u64,
}

/// Shows its name and both figures: `sessions_db (sessions: 20,000 → 12 rows)`.
impl fmt::Display for Collapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            Some(table) => {
                let (was, now) = (thousands(self.was), thousands(self.now));
                write!(f, "{} ({table}: {was} → {now} rows)", self.name)
            }
            None => write!(f, "{} ({} → {})", self.name, size(self.was), size(self.now)),
        }
    }
}

/// Something that could not be saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The configured name of the database or set of files.
    pub name: String,
    /// Why, in one line.
    pub message: String,
}

impl Manifest {
    /// Bytes of the paths of all configuration files.
    pub(crate) fn path_bytes(&self) -> usize {
        let entries = self.artifacts.iter().flat_map(|artifact| match &artifact.content {
            Content::Files { entries } => &entries[..],
            Content::Database(_) | Content::Increment(_) | Content::Wal | Content::Journal => &[],
        });
        entries.map(|entry| entry.path.as_str().len()).sum()
    }

    /// Size of all stored artifacts, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.artifacts.iter().map(|artifact| artifact.bytes).fold(0, u64::saturating_add)
    }

    /// Size of all decoded artifacts, in bytes.
    pub fn plain_bytes(&self) -> u64 {
        self.artifacts.iter().map(|artifact| artifact.plain_bytes).fold(0, u64::saturating_add)
    }
}
