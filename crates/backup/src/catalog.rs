//! All backups of a store, and which of them is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use serde::Deserialize;

use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Result};
use crate::history::History;
use crate::id::BackupId;
use crate::manifest::{self, Artifact, Content, FileEntry, Manifest, Status, Trigger};
use crate::names::{self, ArtifactName, Kind};
use crate::relpath::RelPath;
use crate::retention::{Candidate, Standing};
use crate::store::Store;

/// Of more ids than this, a message names only some.
const MOST_LISTED: usize = 5;

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
    /// It has the manifest of another project.
    Another(Box<Manifest>),
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
            entries.push(match read_manifest(store, id) {
                Ok(json) => Entry::read(id, &json, &sizes),
                // One that can't be read says nothing against the others.
                Err(error) => Entry { id, record: Record::Unreadable(error), files: Vec::new() },
            });
        }
        entries.extend(without_manifest(&entries, &unfinished, &sizes));
        if entries.iter().any(|entry| entry.manifest().is_none()) {
            // One whose manifest was removed since the listing isn't there, and one that was published in the meantime is no
            // other tool's: the next listing has it.
            let now: BTreeSet<String> = store.list()?.into_iter().map(|object| object.name).collect();
            let is_as_listed = |name: &str| now.contains(name) == sizes.contains_key(name);
            entries.retain(|entry| entry.manifest().is_some() || is_as_listed(&names::manifest(entry.id)));
        }
        entries.sort_by_key(|entry| entry.id);
        Ok(Self { location: store.location(), entries })
    }

    /// The same, where backups of other projects than this one are told apart: nothing but their id ever means them.
    pub(crate) fn of(mut self, project: &str) -> Self {
        for entry in &mut self.entries {
            if entry.manifest().is_some_and(|manifest| manifest.project != project) {
                entry.record = match std::mem::replace(&mut entry.record, Record::Foreign) {
                    Record::Manifest(manifest) => Record::Another(manifest),
                    other => other,
                };
            }
        }
        self
    }

    /// All backups, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The newest id, of whatever standing, those in names of other tools' files included.
    pub fn last_id(&self) -> Option<BackupId> {
        let files = self.entries.iter().flat_map(|entry| &entry.files);
        let in_names = files.filter_map(|file| ArtifactName::parse(&file.file)).map(|name| name.id);
        in_names.chain(self.entries.iter().map(|entry| entry.id)).max()
    }

    /// The newest backup that should be sound: whatever holds something, or has a manifest that can't be read, and is
    /// not what a restore put by.
    pub fn newest(&self) -> Option<&Entry> {
        let unreadable = |entry: &&Entry| matches!(entry.record, Record::Unreadable(_));
        self.restorable().chain(self.entries.iter().filter(unreadable)).max_by_key(|entry| entry.id)
    }

    /// The newest backup whose manifest names this configuration file.
    pub fn newest_with_file(&self, path: &RelPath) -> Option<&Entry> {
        self.entries.iter().rfind(|entry| entry.config_files().any(|file| file.path == *path))
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
        match self.entries.binary_search_by_key(&id, |entry| entry.id) {
            Ok(at) => Ok(&self.entries[at]),
            Err(_) => Err(self.no_such_backup(format!("no backup {id} in {}", self.location))),
        }
    }

    /// The backup that `selector` means.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBackup`] or [`ErrorKind::AmbiguousId`].
    pub fn select(&self, selector: &Selector) -> Result<&Entry> {
        match selector {
            Selector::Latest => self.newest_up_to(None).ok_or_else(|| self.none()),
            Selector::At { moment, text } => self
                .newest_up_to(Some(*moment))
                .ok_or_else(|| self.no_such_backup(format!("no backup at or before {text} in {}", self.location))),
            Selector::Prefix(prefix) => self.by_prefix(prefix),
        }
    }

    /// What `latest` and a time can mean: backups that hold something, and not what a restore put by for its undo.
    fn restorable(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().filter(|entry| match &entry.record {
            Record::Manifest(manifest) => manifest.status != Status::Failed && manifest.trigger != Trigger::PreRestore,
            Record::Foreign => true,
            Record::Unreadable(_) | Record::Another(_) => false,
        })
    }

    /// The newest that is complete and has all its files, or else the newest that holds anything.
    fn newest_up_to(&self, moment: Option<DateTime<Utc>>) -> Option<&Entry> {
        let in_time = |entry: &&Entry| moment.is_none_or(|moment| entry.id.time() <= moment);
        let whole = self.restorable().filter(in_time).rfind(|entry| entry.is_whole());
        whole.or_else(|| self.restorable().rfind(in_time))
    }

    fn by_prefix(&self, prefix: &str) -> Result<&Entry> {
        let found: Vec<&Entry> = self.entries.iter().filter(|entry| entry.id.to_string().starts_with(prefix)).collect();
        match found.as_slice() {
            [] => Err(self.no_such_backup(format!("no backup {prefix} in {}", self.location))),
            [one] => Ok(one),
            many => {
                let mut ids: Vec<String> = many.iter().map(|entry| entry.id.to_string()).collect();
                if ids.len() > MOST_LISTED {
                    ids.splice(1..=ids.len() - MOST_LISTED, ["…".to_string()]);
                }
                let message = format!("{prefix} could be {} backups: {}", many.len(), ids.join(", "));
                Err(Error::new(ErrorKind::AmbiguousId, message)
                    .with_hint("give more of the id, or a time: --from 2025-12-10 means the newest of that day"))
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

    /// What retention has to know. A backup that lacks a file, or that the ledger knows to be bad, counts no more than
    /// a partial one: it must not take the place of a sound one.
    pub fn candidates(&self, history: &History) -> Vec<Candidate> {
        let candidate = |entry: &Entry| {
            let mut candidate = entry.candidate();
            if candidate.standing == Standing::Complete && !entry.seems_sound(history) {
                candidate.standing = Standing::Partial;
            }
            candidate.accepted = history.is_accepted(entry.id);
            candidate
        };
        self.entries.iter().map(candidate).collect()
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

    /// The manifest, if it can be read and is this project's.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.record {
            Record::Manifest(manifest) => Some(manifest),
            _ => None,
        }
    }

    /// The configuration files in it, as its manifest names them.
    fn config_files(&self) -> impl Iterator<Item = &FileEntry> {
        self.manifest().into_iter().flat_map(|manifest| &manifest.artifacts).flat_map(|artifact| {
            match &artifact.content {
                Content::Files { entries } => &entries[..],
                _ => &[],
            }
        })
    }

    /// Whether nothing of it is known to be missing: it is complete, and every file is there at its size.
    pub fn is_whole(&self) -> bool {
        let complete = self.manifest().is_none_or(|manifest| manifest.status == Status::Complete);
        complete && !self.files.is_empty() && self.files.iter().all(StoredFile::is_whole)
    }

    /// Whether nothing is known against it: it is whole, and its last verify or drill, if any, did not fail.
    pub fn seems_sound(&self, history: &History) -> bool {
        self.is_whole() && !history.is_known_bad(self.id)
    }

    /// Makes sure that there is something to read.
    ///
    /// # Errors
    /// Why its manifest can't be read, or [`ErrorKind::NoSuchBackup`] if the run failed and saved nothing.
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

    fn candidate(&self) -> Candidate {
        let manifest = self.manifest();
        let standing = match (&self.record, manifest.map(|manifest| manifest.status)) {
            (Record::Unreadable(_), _) => Standing::Unreadable,
            (Record::Another(_), _) => Standing::AnotherProject,
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
            holds: self
                .files
                .iter()
                .filter(|file| !file.kind.is_beside_database())
                .map(|file| file.name.clone())
                .collect(),
            paths: self.config_files().map(|file| file.path.as_str().to_string()).collect(),
            collapses: manifest.map(|manifest| manifest.collapses.clone()).unwrap_or_default(),
            accepted: false,
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

    /// Whether what it decodes to is known to be a sound database, if it is as recorded.
    pub(crate) fn is_checked(&self) -> bool {
        let content = self.recorded.as_ref().map(|recorded| &recorded.content);
        matches!(content, Some(Content::Database(database)) if database.checked)
    }

    /// The first thing that is wrong with the database in it, if that was damaged when it was saved.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.recorded.as_ref().and_then(|recorded| recorded.damage().first()).map(String::as_str)
    }

    /// Whether it is there and as long as the manifest says. It may be damaged all the same.
    pub fn is_whole(&self) -> bool {
        self.bytes.is_some() && self.recorded.as_ref().is_none_or(|recorded| Some(recorded.bytes) == self.bytes)
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

/// A manifest's bytes: of one that is too large, as many as show that it is.
pub(crate) fn read_manifest(store: &dyn Store, id: BackupId) -> Result<Vec<u8>> {
    let name = names::manifest(id);
    let mut json = Vec::new();
    let mut reader = store.read(&name)?.take(manifest::MAX_BYTES + 1);
    reader.read_to_end(&mut json).map_err(|e| Error::io_named("read", &name, e))?;
    Ok(json)
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
        // A run that was cut short leaves `x.db` beside a half-written `x.db.gz`: the first, sorted, is the whole one, and
        // no other name sorts between them.
        if !group.last().is_some_and(|stored| stored.name == name.name && stored.kind == name.kind) {
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
        let local = tz.from_local_datetime(&local);
        // When the clocks go back a local time comes twice: the second one has all backups that the first one has.
        let moment = local.clone().earliest().into_iter().chain(local.latest()).max().ok_or_else(|| {
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

#[cfg(test)]
mod tests {
    use chrono::{FixedOffset, MappedLocalTime, Offset};

    use super::*;
    use crate::backup::tests::{Fault, Watched};
    use crate::history::{Command, Line, Outcome};
    use crate::run::tests::{Site, id, publish, stage};
    use crate::store::MemoryStore;

    /// Berlin in 2025: an hour skipped on March 30, an hour twice on October 26.
    #[derive(Clone)]
    struct Berlin;

    fn hours(hours: i32) -> FixedOffset {
        FixedOffset::east_opt(hours * 3600).unwrap()
    }

    fn local(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap()
    }

    impl TimeZone for Berlin {
        type Offset = FixedOffset;

        fn from_offset(_: &FixedOffset) -> Self {
            Self
        }

        fn offset_from_local_date(&self, date: &NaiveDate) -> MappedLocalTime<FixedOffset> {
            self.offset_from_local_datetime(&date.and_time(NaiveTime::MIN))
        }

        fn offset_from_local_datetime(&self, at: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
            let between = |from, to| (local(from)..local(to)).contains(at);
            if between("2025-03-30 02:00:00", "2025-03-30 03:00:00") {
                MappedLocalTime::None
            } else if between("2025-10-26 02:00:00", "2025-10-26 03:00:00") {
                MappedLocalTime::Ambiguous(hours(2), hours(1))
            } else if between("2025-03-30 03:00:00", "2025-10-26 02:00:00") {
                MappedLocalTime::Single(hours(2))
            } else {
                MappedLocalTime::Single(hours(1))
            }
        }

        fn offset_from_utc_date(&self, date: &NaiveDate) -> FixedOffset {
            self.offset_from_utc_datetime(&date.and_time(NaiveTime::MIN))
        }

        fn offset_from_utc_datetime(&self, at: &NaiveDateTime) -> FixedOffset {
            hours(if (local("2025-03-30 01:00:00")..local("2025-10-26 01:00:00")).contains(at) { 2 } else { 1 })
        }
    }

    /// The last moment that `text` means, as an id.
    fn moment(text: &str, tz: &impl TimeZone) -> String {
        match Selector::parse(text, tz).unwrap() {
            Selector::At { moment, text: kept } => {
                assert_eq!(kept, text.trim());
                BackupId::at(moment).to_string()
            }
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn the_word_latest_and_the_beginnings_of_ids_are_told_apart_from_times() {
        let parse = |text| Selector::parse(text, &Utc).unwrap();
        assert_eq!([parse("latest"), parse("  latest ")], [Selector::Latest, Selector::Latest]);
        for text in ["2", "2025", "20251210", "20251210_", "20251210_14", "20251210_140000"] {
            assert_eq!(parse(text), Selector::Prefix(text.into()));
        }
    }

    #[test]
    fn a_time_means_all_of_the_last_unit_that_it_names() {
        for (text, expected) in [
            ("2025-12-10 17:00:30", "20251210_160030"),
            ("2025-12-10 17:00", "20251210_160059"),
            ("2025-12-10T17:00", "20251210_160059"),
            ("2025-12-10T17:00:30", "20251210_160030"),
            (" 2025-12-10 17:00 ", "20251210_160059"),
            ("2025-12-10", "20251210_225959"),
            ("2025-07-01 12:00", "20250701_100059"),
            ("2025-12-10T17:00:00Z", "20251210_170000"),
            ("2025-12-10T17:00:00-05:00", "20251210_220000"),
        ] {
            assert_eq!(moment(text, &Berlin), expected, "{text}");
        }
        assert_eq!(moment("2025-12-10 17:00", &Utc), "20251210_170059");
        assert_eq!(moment("2025-12-10 17:00", &FixedOffset::west_opt(34_200).unwrap()), "20251211_023059");
    }

    #[test]
    fn an_hour_that_comes_twice_means_its_second_coming() {
        assert_eq!(moment("2025-10-26 02:30", &Berlin), "20251026_013059");
        assert_eq!(moment("2025-10-26 01:59:59", &Berlin), "20251025_235959");
        assert_eq!(moment("2025-10-26 03:00", &Berlin), "20251026_020059");
    }

    #[test]
    fn an_hour_that_the_clocks_skip_is_refused_with_that_reason() {
        let error = Selector::parse("2025-03-30 02:30", &Berlin).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "there is no 2025-03-30 02:30 here: the clocks skipped it");
        assert_eq!(moment("2025-03-30 03:00", &Berlin), "20250330_010059");
    }

    #[test]
    fn what_is_neither_is_refused_and_named() {
        for text in [
            "",
            "  ",
            "yesterday",
            "2025-13-01",
            "2025-02-30",
            "2025-12-10 25:00",
            "10.12.2025",
            "20251210-1400",
            "20251210_1400001",
            "2025-12-10 17",
            "Latest",
            "2025-12-10 17:00 CET",
            "../x",
        ] {
            let error = Selector::parse(text, &Utc).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
            assert_eq!(error.to_string(), format!("can't tell which backup {:?} means", text.trim()));
        }
    }

    /// Complete backups of those ids.
    fn store_of(ids: &[&str]) -> (Site, MemoryStore) {
        let (site, store) = (Site::new(), MemoryStore::new());
        for now in ids {
            site.backup(&store, now);
        }
        (site, store)
    }

    fn select(store: &MemoryStore, text: &str) -> Result<String> {
        let catalog = Catalog::load(store)?;
        catalog.select(&Selector::parse(text, &Utc)?).map(|entry| entry.id.to_string())
    }

    fn edit(store: &MemoryStore, wanted: &str, edit: impl FnOnce(&mut Manifest)) {
        let mut manifest = Catalog::load(store).unwrap().get(id(wanted)).unwrap().manifest().unwrap().clone();
        edit(&mut manifest);
        publish(store, &names::manifest(manifest.id), &manifest.to_json());
    }

    #[test]
    fn a_time_selects_the_newest_backup_at_or_before_it_to_the_second() {
        let (_site, store) = store_of(&["20251208_140000", "20251209_140000", "20251210_140000"]);
        for (text, expected) in [
            ("2025-12-09 14:00:00", "20251209_140000"),
            ("2025-12-09 13:59:59", "20251208_140000"),
            ("2025-12-09 13:59", "20251208_140000"),
            ("2025-12-09 14:00", "20251209_140000"),
            ("2025-12-10 13:59:59", "20251209_140000"),
            ("2025-12-09", "20251209_140000"),
            ("2026-01-01", "20251210_140000"),
            ("2025-12-09T15:00:00+01:00", "20251209_140000"),
            ("2025-12-09T14:59:59+01:00", "20251208_140000"),
            ("latest", "20251210_140000"),
        ] {
            assert_eq!(select(&store, text).unwrap(), expected, "{text}");
        }
        let error = select(&store, "2025-12-08 13:59:59").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchBackup);
        assert_eq!(error.to_string(), "no backup at or before 2025-12-08 13:59:59 in memory");
        assert_eq!(error.hint(), Some("there are 20251208_140000 to 20251210_140000; `list` shows them all"));
    }

    #[test]
    fn a_prefix_selects_one_backup_or_lists_those_it_could_mean() {
        let (_site, store) = store_of(&["20251208_140000", "20251209_140000", "20251209_150000"]);
        assert_eq!(select(&store, "20251208").unwrap(), "20251208_140000");
        assert_eq!(select(&store, "20251209_15").unwrap(), "20251209_150000");
        assert_eq!(select(&store, "20251209_140000").unwrap(), "20251209_140000");
        let error = select(&store, "20251209").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AmbiguousId);
        assert_eq!(error.to_string(), "20251209 could be 2 backups: 20251209_140000, 20251209_150000");
        assert_eq!(select(&store, "2024").unwrap_err().to_string(), "no backup 2024 in memory");
        let error = Catalog::load(&store).unwrap().get(id("20251209_140001")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchBackup);
    }

    #[test]
    fn of_many_backups_that_a_prefix_could_mean_only_some_are_named() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let message = |count: usize| {
            site.backup(&store, &format!("20251209_14000{count}"));
            select(&store, "2025").unwrap_or_else(|error| error.to_string())
        };
        let messages: Vec<String> = (1..=7).map(message).collect();
        assert_eq!(
            messages[4],
            "2025 could be 5 backups: 20251209_140001, 20251209_140002, 20251209_140003, 20251209_140004, \
             20251209_140005"
        );
        assert_eq!(
            messages[6],
            "2025 could be 7 backups: 20251209_140001, …, 20251209_140004, 20251209_140005, 20251209_140006, \
             20251209_140007"
        );
    }

    #[test]
    fn an_empty_store_has_no_backup_whatever_is_asked_for() {
        let store = MemoryStore::new();
        for text in ["latest", "2", "2025-12-10"] {
            let error = select(&store, text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSuchBackup, "{text}");
            assert!(error.hint().unwrap().starts_with("make one with `backup`"));
        }
        let catalog = Catalog::load(&store).unwrap();
        assert_eq!((catalog.last_id(), catalog.newest().is_none()), (None, true));
        assert_eq!(catalog.require_any().unwrap_err().kind(), ErrorKind::NoSuchBackup);
    }

    #[test]
    fn the_newest_that_should_be_sound_holds_something_or_cannot_be_read() {
        let (_site, store) = store_of(&["20251208_140000", "20251210_140000"]);
        edit(&store, "20251210_140000", |manifest| manifest.trigger = Trigger::PreRestore);
        let newest = || Catalog::load(&store).unwrap().newest().map(|entry| entry.id);
        assert_eq!(newest(), Some(id("20251208_140000")));
        publish(&store, "manifest_20251209_140000.json", b"no json");
        assert_eq!(newest(), Some(id("20251209_140000")));
        Catalog::load(&store).unwrap().require_any().unwrap();
    }

    #[test]
    fn a_backup_that_lacks_a_file_or_is_known_to_be_bad_stands_for_no_more_than_a_partial_one() {
        let days = ["20251207_140000", "20251208_140000", "20251209_140000", "20251210_140000"];
        let (_site, store) = store_of(&days);
        edit(&store, days[0], |manifest| manifest.status = Status::Failed);
        store.remove(&format!("sessions_db_{}.db.zst", days[1])).unwrap();
        let at = id(days[3]).time().fixed_offset();
        let bad = Line { id: Some(id(days[2])), ..Line::new(at, Command::Verify, Outcome::Failed) };
        History::append(&store, &bad).unwrap();
        let candidates = Catalog::load(&store).unwrap().candidates(&History::load(&store).unwrap());
        let standings: Vec<Standing> = candidates.iter().map(|candidate| candidate.standing).collect();
        assert_eq!(standings, [Standing::Failed, Standing::Partial, Standing::Partial, Standing::Complete]);
    }

    #[test]
    fn a_manifest_of_the_older_script_names_its_files_whether_they_are_there_or_not() {
        let store = MemoryStore::new();
        publish(
            &store,
            "manifest_20251210_140001.json",
            br#"{"backups": {"database": "/srv/backups/sessions_db_20251210_140000.db.gz",
                "config": "/srv/backups/config_20251210_140001.tar.gz", "stations": null}}"#,
        );
        publish(&store, "sessions_db_20251210_140000.db.gz", b"x");
        let catalog = Catalog::load(&store).unwrap();
        let [entry] = catalog.entries() else { panic!("one backup, that claims its files: {catalog:?}") };
        let files: Vec<_> = entry.files.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
        assert_eq!(files, [("config", None), ("sessions_db", Some(1))]);
        assert!(matches!(entry.record, Record::Foreign));
        assert_eq!(entry.files.iter().map(StoredFile::is_whole).collect::<Vec<_>>(), [false, true]);
        assert!(!entry.is_whole());
    }

    #[test]
    fn of_files_without_a_manifest_that_differ_in_their_encoding_alone_the_plain_one_is_taken() {
        let store = MemoryStore::new();
        for file in ["x_20251210_140000.db", "x_20251210_140000.db.gz", "x_20251210_140000.tar", "y_20251210_140000.db"]
        {
            publish(&store, file, b"x");
        }
        let catalog = Catalog::load(&store).unwrap();
        let files: Vec<&str> = catalog.entries()[0].files.iter().map(|file| file.file.as_str()).collect();
        assert_eq!(files, ["x_20251210_140000.db", "x_20251210_140000.tar", "y_20251210_140000.db"]);
    }

    #[test]
    fn of_a_manifest_beyond_the_largest_as_much_is_read_as_tells_so() {
        let store = MemoryStore::new();
        let bytes = usize::try_from(manifest::MAX_BYTES + 7).unwrap();
        publish(&store, "manifest_20251208_140000.json", &vec![b'x'; bytes]);
        let error = Catalog::load(&store).unwrap().entries()[0].require_usable().unwrap_err();
        assert!(error.to_string().contains("is larger than "), "{error}");
        assert_eq!(read_manifest(&store, id("20251208_140000")).unwrap().len() as u64, manifest::MAX_BYTES + 1);
    }

    #[test]
    fn a_manifest_that_cannot_be_read_is_listed_as_such() {
        let (_site, store) = store_of(&["20251208_140000"]);
        // After the listings, of what is staged, published and staged.
        let catalog = Catalog::load(&Watched::failing(&store, 3, Fault::Before)).unwrap();
        let [entry] = catalog.entries() else { panic!("{catalog:?}") };
        assert!(matches!(&entry.record, Record::Unreadable(error) if error.kind() == ErrorKind::Io), "{entry:?}");
    }

    #[test]
    fn latest_and_times_pass_over_what_holds_nothing_and_what_a_restore_put_by() {
        let (_site, store) = store_of(&["20251208_140000", "20251209_140000", "20251210_140000", "20251211_140000"]);
        edit(&store, "20251209_140000", |manifest| manifest.status = Status::Partial);
        edit(&store, "20251210_140000", |manifest| {
            manifest.status = Status::Failed;
            manifest.artifacts.clear();
        });
        edit(&store, "20251211_140000", |manifest| manifest.trigger = Trigger::PreRestore);
        publish(&store, "manifest_20251212_140000.json", b"no json");
        assert_eq!(select(&store, "latest").unwrap(), "20251208_140000", "a complete one before a partial one");
        assert_eq!(select(&store, "2025-12-31").unwrap(), "20251208_140000");
        edit(&store, "20251208_140000", |manifest| manifest.status = Status::Partial);
        assert_eq!(select(&store, "latest").unwrap(), "20251209_140000", "a partial one before none");
        for named in ["20251210", "20251211", "20251212"] {
            assert!(select(&store, named).unwrap().starts_with(named), "by its id anything is found");
        }
        let catalog = Catalog::load(&store).unwrap();
        assert_eq!(catalog.last_id(), Some(id("20251212_140000")));
        let usable = |wanted: &str| catalog.get(id(wanted)).unwrap().require_usable().map_err(|error| error.kind());
        assert_eq!(usable("20251209_140000"), Ok(()));
        assert_eq!(usable("20251210_140000"), Err(ErrorKind::NoSuchBackup));
        assert_eq!(usable("20251212_140000"), Err(ErrorKind::BadManifest));
    }

    #[test]
    fn entries_are_in_the_order_of_their_ids_with_what_is_known_of_each() {
        let (_site, store) = store_of(&["20251208_140000", "20251210_140000"]);
        publish(&store, "sessions_db_20251209_140000.db.gz", b"another tool's");
        publish(&store, "history.jsonl.bak", b"");
        let catalog = Catalog::load(&store).unwrap();
        let kinds: Vec<&str> = catalog
            .entries()
            .iter()
            .map(|entry| match entry.record {
                Record::Manifest(_) => "manifest",
                Record::Foreign => "foreign",
                Record::Unreadable(_) => "unreadable",
                Record::Another(_) => "another project's",
            })
            .collect();
        assert_eq!(kinds, ["manifest", "foreign", "manifest"]);
        let standings: Vec<_> =
            catalog.candidates(&History::default()).iter().map(|candidate| candidate.standing).collect();
        assert_eq!(standings, [Standing::Complete, Standing::NoManifest, Standing::Complete]);
        let mut held = catalog.candidates(&History::default())[0].holds.clone();
        held.sort();
        assert_eq!(held, ["config", "sessions_db"]);
    }

    #[test]
    fn what_is_being_written_or_removed_is_not_listed() {
        let (_site, store) = store_of(&["20251208_140000"]);
        stage(&store, "sessions_db_20251209_140000.db.gz", b"staged");
        publish(&store, "sessions_db_20251210_140000.db.gz", b"published");
        stage(&store, "manifest_20251210_140000.json", b"staged");
        let catalog = Catalog::load(&store).unwrap();
        assert_eq!(catalog.entries().len(), 1);
        assert_eq!(catalog.last_id(), Some(id("20251208_140000")));
    }

    #[test]
    fn a_file_that_is_gone_has_no_size() {
        let (_site, store) = store_of(&["20251208_140000"]);
        store.remove("sessions_db_20251208_140000.db.zst").unwrap();
        let catalog = Catalog::load(&store).unwrap();
        let sizes: Vec<bool> = catalog.entries()[0].files.iter().map(|file| file.bytes.is_some()).collect();
        assert_eq!(sizes, [false, true]);
    }

    #[test]
    fn the_time_zone_of_these_tests_is_one() {
        let at = Berlin.from_utc_datetime(&local("2025-10-26 00:30:00"));
        assert_eq!((at.offset().fix(), at.naive_local()), (hours(2), local("2025-10-26 02:30:00")));
    }
}
