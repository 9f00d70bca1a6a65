//! A backup as `list` shows it.

use backup::manifest::Collapse;
use backup::{BackupId, Entry, Kind, Ledger, ListedFile, Record, Status, Stranger, Trigger, seconds_since};
use chrono::{DateTime, FixedOffset};
use serde::{Serialize, Serializer};

/// A backup as `list` shows it.
#[derive(Debug, Serialize)]
pub struct Row {
    pub id: BackupId,
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
    /// The row of a backup at the time `now`.
    pub fn of(entry: &Entry, ledger: &Ledger, now: DateTime<FixedOffset>) -> Self {
        let manifest = entry.manifest();
        let from_id = || entry.id.time().with_timezone(now.offset());
        let created_at = manifest.map_or_else(from_id, |manifest| manifest.created_at);
        let last_proved = ledger.last_proved(entry.id);
        let (status, problem) = standing(entry, ledger);
        Self {
            id: entry.id,
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
fn standing(entry: &Entry, ledger: &Ledger) -> (Standing, Option<String>) {
    match &entry.record {
        Record::Manifest(manifest) => {
            if let Some(damage) = damage(entry, ledger) {
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

fn damage(entry: &Entry, ledger: &Ledger) -> Option<String> {
    if let Some(lost) = entry.files.iter().find(|file| !file.is_whole()) {
        return Some(format!("{} is missing or has another size than recorded", lost.file));
    }
    ledger.is_known_bad(entry.id).then(|| format!("{} did not pass its last verify or drill", entry.id))
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
