//! A plan: what a restore will write, and what is there now.

use std::path::PathBuf;

use chrono::{DateTime, FixedOffset};
use serde::Serialize;

use super::allowed_paths::SkippedItem;
use crate::artifact::StoredFile;
use crate::catalog::Entry;
use crate::disk::place::{Identity, Place};
use crate::error::{Error, ErrorKind, SALVAGE_HINT};
use crate::record::id::BackupId;
use crate::record::manifest::Trigger;
use crate::record::relpath::RelPath;
use crate::record::selection::Selection;
use crate::source::Sources;

/// What a restore will write, and what is there now. Made by [`plan`](super::plan()), carried out by
/// [`restore`](super::restore).
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The backup.
    pub id: BackupId,
    /// When the backup was made.
    pub created_at: DateTime<FixedOffset>,
    /// How old it is, in seconds.
    pub age_s: u64,
    /// If it is an increment, its chain: the full backup, and the increments on it up to this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<BackupId>,
    /// The folder that everything is below.
    #[serde(serialize_with = "crate::record::ospath::one::serialize")]
    pub target: PathBuf,
    /// What will be written, in this order.
    pub items: Vec<Item>,
    /// Files in the backup that are left out.
    pub skipped: Vec<SkippedItem>,
    /// Warnings to read before agreeing.
    pub warnings: Vec<String>,
    #[serde(skip)]
    pub(super) artifacts: Vec<PlannedArtifact>,
    #[serde(skip)]
    pub(super) selection: Selection,
}

/// One file to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Where, relative to the target.
    pub path: RelPath,
    /// Its size in bytes, if it is known.
    pub bytes: Option<u64>,
    /// What is there now.
    pub present: Occupant,
    /// Whether the settings don't name it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unlisted: bool,
}

/// What is in the place of a file to be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Occupant {
    /// Nothing.
    Absent,
    /// A file, or a database that opens: it is kept as a pre-restore backup, then replaced.
    Replaced,
    /// A configuration file with the same content and mode. It is treated as [`Occupant::Replaced`].
    Unchanged,
    /// A database that SQLite can't open: it will be moved aside.
    Damaged,
}

/// A stored file, and where its content goes.
#[derive(Debug)]
pub(super) enum PlannedArtifact {
    Database(PlannedDatabase),
    Archive(PlannedArchive),
}

#[derive(Debug)]
pub(super) struct PlannedDatabase {
    pub file: StoredFile,
    pub path: RelPath,
    pub place: Place,
    /// The folder that the existing file is in, which a link may lead to.
    pub real_folder: Option<Identity>,
    pub present: Occupant,
    /// The `-wal` or `-journal` of a database that was damaged and is restored as its bytes.
    pub beside: Vec<StoredFile>,
}

#[derive(Debug)]
pub(super) struct PlannedArchive {
    pub file: StoredFile,
    pub members: Vec<Member>,
}

/// A member of an archive, and where it goes.
#[derive(Debug)]
pub(super) struct Member {
    pub name: RelPath,
    pub path: RelPath,
    pub place: Place,
}

impl Plan {
    /// Whether anything that is there now will be replaced by something else, or moved.
    pub fn replaces(&self) -> bool {
        self.items.iter().any(|item| matches!(item.present, Occupant::Replaced | Occupant::Damaged))
    }

    /// Whether it does the same as the `shown` plan, to the same files in the same state.
    pub fn is_as_shown(&self, shown: &Self) -> bool {
        // The content of a configuration file may have changed since.
        let state = |item: &Item| {
            (item.path.clone(), item.bytes, item.present == Occupant::Absent, item.present == Occupant::Damaged)
        };
        self.id == shown.id
            && self.items.iter().map(state).eq(shown.items.iter().map(state))
            && self.places().iter().zip(shown.places()).all(|(now, then)| now.is_same(then))
    }

    /// The targets of the items, in their order.
    fn places(&self) -> Vec<&Place> {
        let mut places = Vec::new();
        for artifact in &self.artifacts {
            match artifact {
                PlannedArtifact::Database(database) => places.push(&database.place),
                PlannedArtifact::Archive(archive) => places.extend(archive.members.iter().map(|member| &member.place)),
            }
        }
        places
    }

    /// Its databases, in their order.
    pub(super) fn databases(&self) -> impl Iterator<Item = &PlannedDatabase> {
        self.artifacts.iter().filter_map(|artifact| match artifact {
            PlannedArtifact::Database(database) => Some(database),
            PlannedArtifact::Archive(_) => None,
        })
    }

    /// Whether it writes this path, or leaves it out.
    pub(super) fn names(&self, path: &str) -> bool {
        let written = self.items.iter().map(|item| &item.path);
        written.chain(self.skipped.iter().map(|skipped| &skipped.path)).any(|it| it.as_str() == path)
    }

    /// What is configured and selected, but missing in the backup: names of databases and of sets of files, and paths. A
    /// pre-restore backup misses nothing: it holds only what a restore has replaced.
    pub(crate) fn missing(&self, entry: &Entry, sources: &Sources) -> Vec<String> {
        if is_pre_restore(entry) {
            return Vec::new();
        }
        let holds = |name: &String| entry.holds(name);
        let is_written = |path: &RelPath| self.items.iter().any(|item| item.path == *path);
        let databases = sources.databases.iter().filter(|_| self.selection.databases).map(|database| &database.name);
        let sets = sources.files.iter().filter(|_| self.selection.files);
        let (held, lacking): (Vec<_>, Vec<_>) = sets.partition(|set| holds(&set.name));
        let names = databases.filter(|name| !holds(name)).chain(lacking.iter().map(|set| &set.name)).cloned();
        let paths = held.iter().flat_map(|set| &set.paths).filter(|path| !is_written(path)).map(ToString::to_string);
        names.chain(paths).collect()
    }
}

/// Whether a restore made this backup, of what it replaced.
pub(super) fn is_pre_restore(entry: &Entry) -> bool {
    entry.manifest().is_some_and(|manifest| manifest.trigger == Trigger::PreRestore)
}

/// The error if a database was damaged when it was backed up.
pub(super) fn saved_damaged(file: &StoredFile) -> Option<Error> {
    let problem = file.damage()?;
    let message = format!("{} holds a database that was damaged when it was saved: {problem}", file.file);
    Some(Error::new(ErrorKind::Damaged, message).with_hint(SALVAGE_HINT))
}
