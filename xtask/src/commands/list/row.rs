//! A backup as `list` shows it.

use backup::manifest::{BackupType, Collapse};
use backup::{
    BackupId, Entry, Kind, Ledger, ListedFile, Objection, Objections, Record, Status, Stranger, Trigger, seconds_since,
};
use chrono::{DateTime, FixedOffset};
use serde::{Serialize, Serializer};

use crate::words;

/// A backup as `list` shows it.
#[derive(Debug, Serialize)]
pub struct Row {
    pub id: BackupId,
    #[serde(rename = "type")]
    pub kind: BackupType,
    /// The backup that it is an increment on.
    pub parent: Option<BackupId>,
    /// The first backup of its chain, usually the full one.
    #[serde(skip)]
    pub first: BackupId,
    /// What it inherits from older backups.
    pub inherited: Vec<Inherited>,
    pub created_at: DateTime<FixedOffset>,
    pub age_s: u64,
    pub trigger: Option<Trigger>,
    pub status: Standing,
    pub artifacts: Vec<Artifact>,
    pub bytes: u64,
    pub plain_bytes: Option<u64>,
    pub pinned: bool,
    pub last_proved: Option<DateTime<FixedOffset>>,
    /// How long ago that was, in seconds.
    #[serde(skip)]
    pub proved_age_s: Option<u64>,
    /// Why it can't be used, if it can't.
    pub problem: Option<String>,
    pub collapses: Vec<Collapse>,
    /// Whether a person said that the collapses were meant.
    pub accepted: bool,
}

/// A database or set of files of an increment that is as in an older backup, or a delta on that.
#[derive(Debug, Serialize)]
pub struct Inherited {
    pub name: String,
    /// The backup with the newest whole copy.
    pub from: BackupId,
}

/// How a backup stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Complete,
    Partial,
    Failed,
    Damaged,
    NoManifest,
    OtherProject,
    OtherHost,
    Unreadable,
}

/// A file of a backup.
#[derive(Debug, Serialize)]
pub struct Artifact {
    pub name: String,
    pub kind: &'static str,
    pub file: String,
    pub bytes: Option<u64>,
    pub plain_bytes: Option<u64>,
}

impl Row {
    /// The row of a backup at the time `now`. It is of the chain that begins with the backup `first`.
    pub fn of(
        entry: &Entry,
        first: BackupId,
        ledger: &Ledger,
        objections: &Objections<'_>,
        now: DateTime<FixedOffset>,
    ) -> Self {
        let manifest = entry.manifest();
        let from_id = || entry.id.time().with_timezone(now.offset());
        let created_at = manifest.map_or_else(from_id, |manifest| manifest.created_at);
        let last_proved = ledger.last_proved(entry.id);
        let (status, problem) = standing(entry, objections);
        let inherited = |it: &backup::Inherited| Inherited { name: it.name.clone(), from: it.from };
        Self {
            id: entry.id,
            kind: if entry.parent().is_some() { BackupType::Increment } else { BackupType::Full },
            parent: entry.parent(),
            first,
            inherited: entry.inherited.iter().map(inherited).collect(),
            created_at,
            age_s: seconds_since(created_at, now),
            trigger: manifest.map(|manifest| manifest.trigger),
            status,
            artifacts: entry.files.iter().map(Artifact::of).collect(),
            bytes: entry.stored_bytes(),
            plain_bytes: manifest.map(|_| entry.plain_bytes()),
            pinned: entry.is_pinned(ledger),
            last_proved,
            proved_age_s: last_proved.map(|at| seconds_since(at, now)),
            problem,
            collapses: manifest.map(|manifest| manifest.collapses.clone()).unwrap_or_default(),
            accepted: ledger.is_accepted(entry.id),
        }
    }
}

impl Standing {
    /// The word for it, in tables and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Damaged => "damaged",
            Self::NoManifest => "no manifest",
            Self::OtherProject => "another project's",
            Self::OtherHost => "another host's",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl From<Status> for Standing {
    fn from(status: Status) -> Self {
        match status {
            Status::Complete => Self::Complete,
            Status::Partial => Self::Partial,
            Status::Failed => Self::Failed,
        }
    }
}

/// How a backup stands, and why it can't be used.
fn standing(entry: &Entry, objections: &Objections<'_>) -> (Standing, Option<String>) {
    match &entry.record {
        Record::Manifest(manifest) => {
            if let Some(damage) = damage(entry, objections) {
                return (Standing::Damaged, Some(damage));
            }
            let failure = manifest.failure.as_ref().map(|failure| format!("{}: {failure}", entry.id));
            (manifest.status.into(), failure)
        }
        Record::Foreign => (Standing::NoManifest, None),
        Record::Another(_, Stranger::Project) => (Standing::OtherProject, None),
        Record::Another(_, Stranger::Host) => (Standing::OtherHost, None),
        Record::Unreadable(error) => (Standing::Unreadable, Some(error.one_line())),
    }
}

fn damage(entry: &Entry, objections: &Objections<'_>) -> Option<String> {
    let lost = |file: &str| format!("{file} is missing or has another size than recorded");
    if let Some(file) = entry.files.iter().find(|file| !file.is_whole()) {
        return Some(lost(&file.file));
    }
    let why = objections.against(entry, &[])?;
    match &why {
        Objection::FileLost { file } => Some(lost(file)),
        Objection::FoundDamaged | Objection::PartMissing { .. } | Objection::PartDamaged { .. } => {
            Some(format!("{} {}", entry.id, words::unfit(&why)))
        }
        Objection::Lacks { .. } if entry.parent().is_some() => Some(format!("{} {}", entry.id, words::unfit(&why))),
        _ => None,
    }
}

impl Artifact {
    fn of(file: &ListedFile) -> Self {
        Self {
            name: file.name.clone(),
            kind: match file.kind {
                Kind::Database => "database",
                Kind::Increment => "increment",
                Kind::Wal => "wal",
                Kind::Journal => "journal",
                Kind::Files => "files",
            },
            file: file.file.clone(),
            bytes: file.bytes,
            plain_bytes: file.recorded.as_ref().map(|recorded| recorded.plain_bytes),
        }
    }
}
