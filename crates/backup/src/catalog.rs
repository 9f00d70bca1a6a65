//! All backups of a store, and which of them is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use serde::Deserialize;

use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Result};
use crate::id::BackupId;
use crate::manifest::{self, Artifact, Manifest, Status, Trigger};
use crate::names::{self, ArtifactName, Kind};
use crate::retention::{Candidate, Standing};
use crate::store::Store;

/// All backups of a store, oldest first.
#[derive(Debug, Default)]
pub struct Catalog {
    location: String,
    entries: Vec<Entry>,
}

/// One backup, or what is left of one.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: BackupId,
    /// What is known about it.
    pub record: Record,
    /// Its stored files.
    pub files: Vec<StoredFile>,
}

/// What is known about a backup.
#[derive(Debug)]
pub enum Record {
    /// It has a manifest.
    Manifest(Box<Manifest>),
    /// Another tool wrote it: its files are known by their names alone.
    Foreign,
    /// It has a manifest that can't be read.
    Unreadable(Error),
}

/// A stored file of a backup.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// The configured name of the database or set of files.
    pub name: String,
    /// Its name in the store.
    pub file: String,
    /// What it decodes to.
    pub kind: Kind,
    /// How it is encoded.
    pub codec: Codec,
    /// Its size as found in the store; `None` if it is missing there.
    pub bytes: Option<u64>,
    /// What the manifest says of it.
    pub recorded: Option<Artifact>,
}

impl Catalog {
    /// Reads all manifests of the store. A backup that is being written or removed, or whose writing or removal was
    /// cut short, is not in it.
    pub fn load(store: &dyn Store) -> Result<Self> {
        // A staged manifest is there before its artifacts are published, and until its own publication.
        let mut unfinished = unfinished(store)?;
        let sizes: BTreeMap<String, u64> =
            store.list()?.into_iter().map(|object| (object.name, object.bytes)).collect();
        unfinished.extend(self::unfinished(store)?);
        let mut entries = Vec::new();
        for id in sizes.keys().filter_map(|name| names::parse_manifest(name)) {
            // Gone since the listing: somebody removed it, so it isn't there.
            if let Some(json) = read_manifest(store, id)? {
                entries.push(Entry::read(id, &json, &sizes));
            }
        }
        entries.extend(without_manifest(&entries, &unfinished, &sizes));
        entries.sort_by_key(|entry| entry.id);
        Ok(Self { location: store.location(), entries })
    }

    /// All backups, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The newest id, of whatever standing.
    pub fn last_id(&self) -> Option<BackupId> {
        self.entries.last().map(|entry| entry.id)
    }

    /// Makes sure that there is any backup at all.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBackup`].
    pub fn require_any(&self) -> Result<()> {
        if self.entries.is_empty() { Err(self.none()) } else { Ok(()) }
    }

    /// The backup with exactly this id.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBackup`].
    pub fn get(&self, id: BackupId) -> Result<&Entry> {
        let found = self.entries.iter().find(|entry| entry.id == id);
        found.ok_or_else(|| self.no_such_backup(format!("no backup {id} in {}", self.location)))
    }

    /// The backup that `selector` means.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBackup`] or [`ErrorKind::AmbiguousId`].
    pub fn select(&self, selector: &Selector) -> Result<&Entry> {
        match selector {
            Selector::Latest => self.restorable().next_back().ok_or_else(|| self.none()),
            Selector::At { moment, text } => self
                .restorable()
                .rfind(|entry| entry.id.time() <= *moment)
                .ok_or_else(|| self.no_such_backup(format!("no backup at or before {text} in {}", self.location))),
            Selector::Prefix(prefix) => self.by_prefix(prefix),
        }
    }

    /// What `latest` and a time can mean: backups that hold something, and not what a restore put by for its undo.
    fn restorable(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().filter(|entry| match &entry.record {
            Record::Manifest(manifest) => manifest.status != Status::Failed && manifest.trigger != Trigger::PreRestore,
            Record::Foreign => true,
            Record::Unreadable(_) => false,
        })
    }

    fn by_prefix(&self, prefix: &str) -> Result<&Entry> {
        let found: Vec<&Entry> = self.entries.iter().filter(|entry| entry.id.to_string().starts_with(prefix)).collect();
        match found.as_slice() {
            [] => Err(self.no_such_backup(format!("no backup {prefix} in {}", self.location))),
            [one] => Ok(one),
            many => {
                let ids: Vec<String> = many.iter().map(|entry| entry.id.to_string()).collect();
                let message = format!("{prefix} could be {} backups: {}", many.len(), ids.join(", "));
                Err(Error::new(ErrorKind::AmbiguousId, message).with_hint("give more of the id"))
            }
        }
    }

    fn none(&self) -> Error {
        self.no_such_backup(format!("no backup in {}", self.location))
    }

    fn no_such_backup(&self, message: String) -> Error {
        let hint = match (self.entries.first(), self.entries.last()) {
            (Some(first), Some(last)) => format!("there are {} to {}; `list` shows them all", first.id, last.id),
            _ => "make one with `backup`, or name another folder with --backup-dir".into(),
        };
        Error::new(ErrorKind::NoSuchBackup, message).with_hint(hint)
    }

    /// What retention has to know.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.entries.iter().map(Entry::candidate).collect()
    }
}

impl Entry {
    fn read(id: BackupId, json: &[u8], sizes: &BTreeMap<String, u64>) -> Self {
        match Manifest::parse(id, json) {
            Ok(manifest) => {
                let files = manifest.artifacts.iter().map(|artifact| StoredFile::recorded(artifact, sizes)).collect();
                Self { id, record: Record::Manifest(Box::new(manifest)), files }
            }
            Err(error) => match ScriptManifest::parse(json) {
                Some(script) => Self { id, record: Record::Foreign, files: script.files(sizes) },
                None => Self { id, record: Record::Unreadable(error), files: Vec::new() },
            },
        }
    }

    /// The manifest, if it can be read.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.record {
            Record::Manifest(manifest) => Some(manifest),
            _ => None,
        }
    }

    /// Makes sure that there is something to read.
    ///
    /// # Errors
    /// Why its manifest can't be read, or [`ErrorKind::NoSuchBackup`] if the run failed and saved nothing.
    pub fn require_usable(&self) -> Result<()> {
        match &self.record {
            Record::Unreadable(error) => {
                let again = Error::new(error.kind(), error.to_string());
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

    fn candidate(&self) -> Candidate {
        let manifest = self.manifest();
        let standing = match (&self.record, manifest.map(|manifest| manifest.status)) {
            (Record::Unreadable(_), _) => Standing::Unreadable,
            (_, Some(Status::Complete)) => Standing::Complete,
            (_, Some(Status::Partial)) => Standing::Partial,
            (_, Some(Status::Failed)) => Standing::Failed,
            (_, None) => Standing::NoManifest,
        };
        Candidate {
            id: self.id,
            standing,
            trigger: manifest.map_or(Trigger::Manual, |manifest| manifest.trigger),
            pinned: manifest.is_some_and(|manifest| manifest.pinned),
            holds: self.files.iter().map(|file| file.name.clone()).collect(),
        }
    }
}

impl StoredFile {
    fn recorded(artifact: &Artifact, sizes: &BTreeMap<String, u64>) -> Self {
        Self {
            name: artifact.name.clone(),
            file: artifact.file.clone(),
            kind: artifact.kind(),
            codec: artifact.codec,
            bytes: sizes.get(&artifact.file).copied(),
            recorded: Some(artifact.clone()),
        }
    }

    fn foreign(file: &str, bytes: Option<u64>) -> Option<Self> {
        let ArtifactName { name, kind, codec, .. } = ArtifactName::parse(file)?;
        Some(Self { name, file: file.to_string(), kind, codec, bytes, recorded: None })
    }
}

/// The manifest that `backup_manager.py` wrote: no format, absolute paths, and file names whose time stamps differ
/// from each other and from the manifest's own by as long as the backup took.
#[derive(Deserialize)]
struct ScriptManifest {
    backups: BTreeMap<String, Option<String>>,
}

impl ScriptManifest {
    fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The files it names, looked for in this store by their last part: the folder may have moved.
    fn files(&self, sizes: &BTreeMap<String, u64>) -> Vec<StoredFile> {
        let named = self.backups.values().flatten().filter_map(|path| Path::new(path).file_name()?.to_str());
        named.filter_map(|file| StoredFile::foreign(file, sizes.get(file).copied())).collect()
    }
}

/// Backups that are being written or removed, or whose writing or removal was cut short.
fn unfinished(store: &dyn Store) -> Result<BTreeSet<BackupId>> {
    Ok(store.list_staged()?.iter().filter_map(|object| names::parse_manifest(&object.name)).collect())
}

fn read_manifest(store: &dyn Store, id: BackupId) -> Result<Option<Vec<u8>>> {
    let name = names::manifest(id);
    let mut json = Vec::new();
    match store.read(&name) {
        Ok(reader) => {
            reader.take(manifest::MAX_BYTES).read_to_end(&mut json).map_err(|e| Error::io_named("read", &name, e))?;
            Ok(Some(json))
        }
        Err(_) if !store.list()?.iter().any(|object| object.name == name) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Backups that are known by the names of their files alone, one for each id.
fn without_manifest(entries: &[Entry], unfinished: &BTreeSet<BackupId>, sizes: &BTreeMap<String, u64>) -> Vec<Entry> {
    let known: BTreeSet<BackupId> = entries.iter().map(|entry| entry.id).chain(unfinished.iter().copied()).collect();
    let claimed: BTreeSet<&str> =
        entries.iter().flat_map(|entry| &entry.files).map(|stored| stored.file.as_str()).collect();
    let mut groups: BTreeMap<BackupId, Vec<StoredFile>> = BTreeMap::new();
    for (file, bytes) in sizes {
        let Some(name) = ArtifactName::parse(file) else { continue };
        if known.contains(&name.id) || claimed.contains(file.as_str()) {
            continue;
        }
        let group = groups.entry(name.id).or_default();
        // A run that was cut short leaves `x.db` beside a half-written `x.db.gz`: the first, sorted, is the whole one.
        if !group.iter().any(|stored| stored.name == name.name && stored.kind == name.kind) {
            group.extend(StoredFile::foreign(file, Some(*bytes)));
        }
    }
    groups.into_iter().map(|(id, files)| Entry { id, record: Record::Foreign, files }).collect()
}

/// What `--from` can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest one.
    Latest,
    /// The newest one at or before a moment, given as `text`.
    At {
        /// The last moment that counts.
        moment: DateTime<Utc>,
        /// What was given.
        text: String,
    },
    /// The only one whose id begins so.
    Prefix(String),
}

impl Selector {
    /// Reads `latest`, an id, the beginning of one, or a time: `2025-12-10 17:00` (with or without seconds, with `T`),
    /// `2025-12-10` (the whole day), in the zone `tz`, or RFC 3339 with its own offset. A time without seconds means
    /// the whole minute: that is what `list` shows.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for anything else, and for a local time that a change of clocks skips.
    pub fn parse(text: &str, tz: &impl TimeZone) -> Result<Self> {
        let text = text.trim();
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let id_like = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
        if (1..=BackupId::LEN).contains(&text.len()) && id_like {
            return Ok(Self::Prefix(text.to_string()));
        }
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At { moment: moment.to_utc(), text: text.to_string() });
        }
        let unknown = || {
            Error::new(ErrorKind::InvalidInput, format!("can't tell which backup {text:?} means"))
                .with_hint("give `latest`, an id or the beginning of one, or a local time: \"2025-12-10 17:00\"")
        };
        let local = parse_local(text).ok_or_else(unknown)?;
        let moment = tz.from_local_datetime(&local).latest().ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("there is no {text} here: the clocks skipped it"))
        })?;
        Ok(Self::At { moment: moment.to_utc(), text: text.to_string() })
    }
}

/// The last second that `text` can mean.
fn parse_local(text: &str) -> Option<NaiveDateTime> {
    let text = text.replacen('T', " ", 1);
    let exact = || NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S").ok();
    let minute = || Some(NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M").ok()? + TimeDelta::seconds(59));
    let day = || {
        let date = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?;
        Some(date.and_time(NaiveTime::from_hms_opt(23, 59, 59)?))
    };
    exact().or_else(minute).or_else(day)
}
