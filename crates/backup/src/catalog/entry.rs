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
    /// What an increment holds beside its own whole copies.
    pub inherited: Arc<[Inherited]>,
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
    /// The backup that it is an increment on; `None` of a full one.
    pub parent: Option<BackupId>,
    /// In an increment, databases and sets of files that are as in its parent.
    pub unchanged: Vec<String>,
    /// Whether all that was asked for is in it.
    pub status: Status,
    /// How long the run took until its manifest was written, in milliseconds.
    pub duration_ms: u64,
    /// Whether its manifest says that it is pinned; only format 1 can. See [`Entry::is_pinned`].
    pub pinned: bool,
    /// Sets of files that had no file.
    pub absent: Vec<String>,
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
    /// The configuration files in it, in their order.
    pub paths: Arc<[RelPath]>,
}

/// A database or set of files of which an increment has no whole copy of its own: it is as in the parent, or a delta on
/// that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// Its configured name.
    pub name: String,
    /// What the whole copy is.
    pub kind: Kind,
    /// The backup with the newest whole copy; that of the parent if there is no more to be known.
    pub from: BackupId,
    /// The configuration files in it.
    pub paths: Arc<[RelPath]>,
    /// Whether it is a database that was damaged when it was saved.
    pub is_damaged: bool,
    /// What it needs and the store lacks.
    pub lost: Option<LostPart>,
}

/// A part of a chain that the store lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LostPart {
    /// A backup that isn't there, or has no manifest that can be read.
    Backup(BackupId),
    /// A stored file that isn't there, or has another size than recorded.
    File(String),
    /// An older backup doesn't hold it.
    NeverThere,
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
        Self { files, ..Self::without_files(manifest.id, Record::Manifest(Summary::of(manifest))) }
    }

    pub(super) fn without_files(id: BackupId, record: Record) -> Self {
        Self { id, record, files: Vec::new(), has_pin: false, inherited: Arc::default() }
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

    /// The summary of its manifest, if that can be read, whoever's it is.
    pub(super) fn any_manifest(&self) -> Option<&Summary> {
        match &self.record {
            Record::Manifest(summary) | Record::Another(summary, _) => Some(summary),
            Record::Foreign | Record::Unreadable(_) => None,
        }
    }

    /// The backup that it is an increment on; `None` of a full one.
    pub fn parent(&self) -> Option<BackupId> {
        self.any_manifest()?.parent
    }

    /// Whether it holds that database or set of files, whole or not.
    pub fn holds(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name && !file.is_stray_delta()) || self.inherits(name).is_some()
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.inherited.is_empty()
    }

    /// That database or set of files, if it is inherited.
    pub(super) fn inherits(&self, name: &str) -> Option<&Inherited> {
        self.inherited.iter().find(|inherited| inherited.name == name)
    }

    /// The configuration files that it holds.
    pub fn paths(&self) -> impl Iterator<Item = &RelPath> {
        let own = self.files.iter().flat_map(|file| file.paths.iter());
        own.chain(self.inherited.iter().flat_map(|inherited| inherited.paths.iter()))
    }

    /// Reads its whole manifest.
    ///
    /// # Errors
    /// As [`Manifest::parse`]; any error of reading it, which includes that there is none.
    pub fn read_manifest(&self, store: &dyn Store) -> Result<Manifest> {
        Manifest::parse(self.id, &read_manifest(store, &names::manifest(self.id), 0)?)
    }

    /// Its own stored files, with all that its manifest says about them.
    ///
    /// # Errors
    /// As [`Entry::read_manifest`].
    pub(crate) fn own_stored_files(&self, store: &dyn Store) -> Result<Vec<StoredFile>> {
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

    /// Whether nothing is known to be missing: it is complete, and every file is there at its recorded size, in the
    /// backups that it is based on as well. It may be damaged all the same.
    pub fn is_whole(&self) -> bool {
        let complete = self.manifest().is_none_or(|summary| summary.status == Status::Complete);
        let lacks_nothing = self.inherited.iter().all(|inherited| inherited.lost.is_none());
        complete && !self.is_empty() && lacks_nothing && self.files.iter().all(ListedFile::is_whole)
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
            _ if self.is_empty() => {
                Err(Error::new(ErrorKind::NoSuchBackup, format!("backup {} failed and holds nothing", self.id))
                    .with_hint("`list` shows which ones are complete"))
            }
            _ => Ok(()),
        }
    }
}

impl Entry {
    /// Shares the memory of equal values: most backups of a project hold the same files.
    pub(super) fn share(&mut self, other: &Self) {
        if let (Record::Manifest(summary), Record::Manifest(other)) = (&mut self.record, &other.record) {
            share(&mut summary.project, &other.project);
            share(&mut summary.host, &other.host);
        }
        for (file, other) in self.files.iter_mut().zip(&other.files) {
            share(&mut file.paths, &other.paths);
        }
    }
}

fn share<T: ?Sized + PartialEq>(value: &mut Arc<T>, other: &Arc<T>) {
    if value == other {
        *value = Arc::clone(other);
    }
}

impl Summary {
    /// The most characters that are kept of a message, and bytes of a name.
    const LONGEST: usize = 500;

    fn of(manifest: &Manifest) -> Self {
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
            collapses: of_sets.map(collapse).collect(),
            created_at: manifest.created_at,
            trigger: manifest.trigger,
            parent: manifest.parent,
            unchanged: manifest.unchanged.iter().filter_map(|name| set_name(name)).collect(),
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
            paths: match &artifact.content {
                Content::Files { entries } => entries.iter().map(|entry| entry.path.clone()).collect(),
                _ => Arc::default(),
            },
        }
    }

    pub(super) fn foreign(file: &str, bytes: Option<u64>) -> Option<Self> {
        let ArtifactName { name, kind, codec, .. } = ArtifactName::parse(file)?;
        Some(Self { name, file: file.to_string(), kind, codec, bytes, recorded: None, paths: Arc::default() })
    }

    fn with(&self, recorded: Option<Artifact>) -> StoredFile {
        let Self { name, file, kind, codec, bytes, .. } = self.clone();
        StoredFile { name, file, kind, codec, bytes, recorded, increments: Vec::new() }
    }

    /// Whether it is there with the size that the manifest says. It may be damaged all the same.
    pub fn is_whole(&self) -> bool {
        self.bytes.is_some() && self.recorded.is_none_or(|recorded| Some(recorded.bytes) == self.bytes)
    }

    /// Whether it is a delta of which nobody knows what it is to be laid over.
    pub(super) fn is_stray_delta(&self) -> bool {
        self.kind == Kind::Increment && self.recorded.is_none()
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
