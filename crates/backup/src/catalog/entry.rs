//! One backup of a store, as the catalog keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, FixedOffset};

use crate::artifact::StoredFile;
use crate::error::{Error, ErrorKind, Result};
use crate::record::codec::Codec;
use crate::record::id::BackupId;
use crate::record::ledger::Ledger;
use crate::record::manifest::{Artifact, Collapse, Content, Manifest, Status, Trigger};
use crate::record::names::{self, ArtifactName, Kind, is_set_name};
use crate::record::relpath::RelPath;
use crate::store::Store;
use crate::store::manifest::read_manifest;

/// A backup, or what is left of one.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: BackupId,
    /// What is known about it.
    pub record: Record,
    /// Its stored files.
    pub files: Vec<ListedFile>,
    /// Whether the store has a pin of it.
    pub has_pin: bool,
}

/// What is known about a backup.
#[derive(Debug)]
pub enum Record {
    /// It has a manifest.
    Manifest(Summary),
    /// Another tool wrote it: its files are known by their names alone.
    Foreign,
    /// It has a manifest that can't be read.
    Unreadable(Error),
    /// Its manifest is another project's or another host's. Such a backup is chosen by its id alone.
    Another(Summary, Stranger),
}

/// Whose a backup is, if it isn't this project's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// Another project's.
    Project,
    /// Taken on a host that isn't known as one of this project's.
    Host,
}

/// What the catalog keeps of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The project that was backed up.
    pub project: Arc<str>,
    /// The host that it was taken on.
    pub host: Arc<str>,
    /// When the backup began.
    pub created_at: DateTime<FixedOffset>,
    /// What caused it.
    pub trigger: Trigger,
    /// Whether all that was asked for is in it.
    pub status: Status,
    /// How long the run took until its manifest was written, in milliseconds.
    pub duration_ms: u64,
    /// Whether its manifest says that it is pinned; only format 1 can. See [`Entry::is_pinned`].
    pub pinned: bool,
    /// Sets of files that had no file.
    pub absent: Vec<String>,
    /// Its configuration files, in the order of the archives.
    pub paths: Arc<[RelPath]>,
    /// Databases that lost most of what an earlier backup holds.
    pub collapses: Vec<Collapse>,
    /// Databases and sets of files that could not be saved, or only in part, or were damaged.
    pub failed: Vec<String>,
    /// Why the first of them could not be saved, in one line; at most 500 characters.
    pub failure: Option<String>,
}

/// What the catalog keeps of a stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// The configured name of the database or set of files.
    pub name: String,
    /// Its name in the store.
    pub file: String,
    /// What its content is.
    pub kind: Kind,
    /// How it is encoded.
    pub codec: Codec,
    /// Its size in the store, in bytes; `None` if it is missing there.
    pub bytes: Option<u64>,
    /// What the manifest says of it.
    pub recorded: Option<ArtifactSummary>,
}

/// What the catalog keeps of a manifest's artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactSummary {
    /// Size of the stored file, in bytes.
    pub bytes: u64,
    /// Size of the decoded content, in bytes.
    pub plain_bytes: u64,
    /// Whether it is a database that was damaged when it was saved.
    pub is_damaged: bool,
}

/// Sizes of a store's files, by name.
pub(super) type Sizes = BTreeMap<String, u64>;

impl Entry {
    pub(super) fn of(manifest: &Manifest, sizes: &Sizes) -> Self {
        let files = manifest.artifacts.iter().map(|artifact| ListedFile::of(artifact, sizes)).collect();
        Self { id: manifest.id, record: Record::Manifest(Summary::of(manifest)), files, has_pin: false }
    }

    /// Whether it is pinned, so that rotation never removes it. A pin in a manifest of format 1 counts until the ledger
    /// says that somebody removed it: if the ledger is lost, more is kept and not less.
    pub fn is_pinned(&self, ledger: &Ledger) -> bool {
        let in_manifest = self.manifest().is_some_and(|summary| summary.pinned);
        self.has_pin || in_manifest && !ledger.is_unpinned(self.id)
    }

    /// The summary of its manifest, if that can be read and is this project's.
    pub fn manifest(&self) -> Option<&Summary> {
        match &self.record {
            Record::Manifest(summary) => Some(summary),
            _ => None,
        }
    }

    /// Reads its whole manifest.
    ///
    /// # Errors
    /// As [`Manifest::parse`]; any error of reading it, which includes that there is none.
    pub fn read_manifest(&self, store: &dyn Store) -> Result<Manifest> {
        Manifest::parse(self.id, &read_manifest(store, &names::manifest(self.id), 0)?)
    }

    /// Its stored files, with all that its manifest says about them.
    ///
    /// # Errors
    /// As [`Entry::read_manifest`].
    pub(crate) fn stored_files(&self, store: &dyn Store) -> Result<Vec<StoredFile>> {
        if matches!(self.record, Record::Foreign | Record::Unreadable(_)) {
            return Ok(self.files.iter().map(|file| file.with(None)).collect());
        }
        let manifest = self.read_manifest(store)?;
        let found = |file: &str| self.files.iter().find(|listed| listed.file == file).and_then(|listed| listed.bytes);
        let stored = |artifact: Artifact| {
            let mut file = ListedFile::of(&artifact, &Sizes::new());
            file.bytes = found(&artifact.file);
            file.with(Some(artifact))
        };
        Ok(manifest.artifacts.into_iter().map(stored).collect())
    }

    /// Size of its files in the store, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    /// Size of its decoded files in bytes, as its manifest says.
    pub fn plain_bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| Some(file.recorded?.plain_bytes)).fold(0, u64::saturating_add)
    }

    /// When it began, as its manifest says. Without a manifest, the time of its id, in UTC.
    pub fn created_at(&self) -> DateTime<FixedOffset> {
        self.manifest().map_or_else(|| self.id.time().fixed_offset(), |summary| summary.created_at)
    }

    /// Whether nothing is known to be missing: it is complete, and every file is there at its recorded size. It may be
    /// damaged all the same.
    pub fn is_whole(&self) -> bool {
        let complete = self.manifest().is_none_or(|summary| summary.status == Status::Complete);
        complete && !self.files.is_empty() && self.files.iter().all(ListedFile::is_whole)
    }

    /// Whether it is whole, and its last verify or drill, if any, did not fail.
    pub fn seems_sound(&self, ledger: &Ledger) -> bool {
        self.is_whole() && !ledger.is_known_bad(self.id)
    }

    /// Makes sure that the backup holds something that can be read.
    ///
    /// # Errors
    /// The error of its manifest, if that can't be read; [`ErrorKind::NoSuchBackup`] if the run failed and saved
    /// nothing.
    pub fn require_usable(&self) -> Result<()> {
        match &self.record {
            Record::Unreadable(error) => {
                let again = Error::new(error.kind(), error.one_line());
                Err(match error.hint() {
                    Some(hint) => again.with_hint(hint),
                    None => again.with_hint("its files may still be good: see \"break glass\" in the README"),
                })
            }
            _ if self.files.is_empty() => {
                Err(Error::new(ErrorKind::NoSuchBackup, format!("backup {} failed and holds nothing", self.id))
                    .with_hint("`list` shows which ones are complete"))
            }
            _ => Ok(()),
        }
    }
}

impl Summary {
    /// Shares the memory of equal values: most backups of a project hold the same files.
    pub(super) fn share(&mut self, other: &Self) {
        if self.project == other.project {
            self.project = Arc::clone(&other.project);
        }
        if self.host == other.host {
            self.host = Arc::clone(&other.host);
        }
        if self.paths == other.paths {
            self.paths = Arc::clone(&other.paths);
        }
    }

    /// The most characters that are kept of a message, and bytes of a name.
    const LONGEST: usize = 500;

    fn of(manifest: &Manifest) -> Self {
        let files = manifest.artifacts.iter().flat_map(|artifact| match &artifact.content {
            Content::Files { entries } => &entries[..],
            _ => &[],
        });
        let failure = manifest.errors.first().map(|failure| failure.message.chars().take(Self::LONGEST).collect());
        let set_name = |name: &str| is_set_name(name).then(|| name.to_string());
        let collapse = |collapse: &Collapse| Collapse {
            table: collapse.table.as_ref().map(|table| table.chars().take(Self::LONGEST).collect()),
            ..collapse.clone()
        };
        let of_sets = manifest.collapses.iter().filter(|collapse| is_set_name(&collapse.name));
        Self {
            project: kept(&manifest.project),
            host: kept(&manifest.host),
            paths: files.map(|file| file.path.clone()).collect(),
            collapses: of_sets.map(collapse).collect(),
            created_at: manifest.created_at,
            trigger: manifest.trigger,
            status: manifest.status,
            duration_ms: manifest.duration_ms,
            pinned: manifest.pinned,
            absent: manifest.absent.iter().filter_map(|name| set_name(name)).collect(),
            failed: manifest.errors.iter().filter_map(|failure| set_name(&failure.name)).collect(),
            failure,
        }
    }
}

/// The part of a name that is kept. No real name is longer.
fn kept(name: &str) -> Arc<str> {
    name.get(..Summary::LONGEST).unwrap_or(name).into()
}

impl ListedFile {
    fn of(artifact: &Artifact, sizes: &Sizes) -> Self {
        Self {
            name: artifact.name.clone(),
            file: artifact.file.clone(),
            kind: artifact.kind(),
            codec: artifact.codec,
            bytes: sizes.get(&artifact.file).copied(),
            recorded: Some(ArtifactSummary {
                bytes: artifact.bytes,
                plain_bytes: artifact.plain_bytes,
                is_damaged: !artifact.damage().is_empty(),
            }),
        }
    }

    pub(super) fn foreign(file: &str, bytes: Option<u64>) -> Option<Self> {
        let ArtifactName { name, kind, codec, .. } = ArtifactName::parse(file)?;
        Some(Self { name, file: file.to_string(), kind, codec, bytes, recorded: None })
    }

    fn with(&self, recorded: Option<Artifact>) -> StoredFile {
        let Self { name, file, kind, codec, bytes, .. } = self.clone();
        StoredFile { name, file, kind, codec, bytes, recorded }
    }

    /// Whether it is there with the size that the manifest says. It may be damaged all the same.
    pub fn is_whole(&self) -> bool {
        self.bytes.is_some() && self.recorded.is_none_or(|recorded| Some(recorded.bytes) == self.bytes)
    }

    /// Whether it is a database that was damaged when it was saved.
    pub(super) fn is_saved_damaged(&self) -> bool {
        self.recorded.is_some_and(|recorded| recorded.is_damaged)
    }

    /// Whether both hold the same database or set of files, however each is encoded.
    pub(super) fn is_same_thing(&self, other: &Self) -> bool {
        (&self.name, self.kind) == (&other.name, other.kind)
    }
}
