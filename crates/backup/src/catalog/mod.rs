//! All backups of a store.
//!
//! A store may hold ten thousand of them. So what is kept in memory of each is little; its whole manifest is read again
//! when it is needed ([`Entry::read_manifest`], [`Entry::stored_files`]).

pub(crate) mod collapse;
mod foreign;
pub mod owner;
pub mod retention;
pub(crate) mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use chrono::{DateTime, FixedOffset, Utc};

use crate::artifact::StoredFile;
use crate::error::{Error, ErrorKind, Result};
use crate::record::codec::Codec;
use crate::record::id::BackupId;
use crate::record::ledger::Ledger;
use crate::record::manifest::{self, Artifact, Collapse, Content, Manifest, Status, Trigger};
use crate::record::names::{self, ArtifactName, Kind, is_set_name};
use crate::record::relpath::RelPath;
use crate::store::Store;
use retention::{Candidate, Standing};

/// All backups of a store, oldest first.
#[derive(Debug, Default)]
pub struct Catalog {
    pub(crate) location: String,
    pub(crate) entries: Vec<Entry>,
    /// All ids in names of files, whoever wrote them.
    ids: BTreeSet<BackupId>,
}

/// One backup, or what is left of one.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: BackupId,
    /// What is known about it.
    pub record: Record,
    /// Its stored files.
    pub files: Vec<ListedFile>,
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
    /// It has the manifest of somebody else: nothing but its id ever means it.
    Another(Summary, Stranger),
}

/// Whose a backup is that isn't this project's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// Another project's.
    Project,
    /// That of a host of which the store doesn't know that this project was ever on it.
    Host,
}

/// What the catalog keeps of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Whose state it is.
    pub project: Arc<str>,
    /// The host that it was taken on.
    pub host: Arc<str>,
    /// When the backup was begun.
    pub created_at: DateTime<FixedOffset>,
    /// What caused it.
    pub trigger: Trigger,
    /// How much of what was asked for is in it.
    pub status: Status,
    /// How long the run took up to its manifest, in milliseconds.
    pub duration_ms: u64,
    /// Whether rotation has to leave it alone.
    pub pinned: bool,
    /// Sets of which no file was there.
    pub absent: Vec<String>,
    /// Configuration files in it, in the order of the archives.
    pub paths: Arc<[RelPath]>,
    /// Databases that have lost most of what an earlier backup holds.
    pub collapses: Vec<Collapse>,
    /// Databases and sets of files that could not be saved, not wholly, or not sound.
    pub failed: Vec<String>,
    /// The first thing that could not be saved, in one line.
    pub failure: Option<String>,
}

/// What the catalog keeps of a stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
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
    pub recorded: Option<ArtifactSummary>,
}

/// What the catalog keeps of a manifest's artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactSummary {
    /// Size of the stored file.
    pub bytes: u64,
    /// Size of what it decodes to.
    pub plain_bytes: u64,
    /// Whether it is a database that was damaged when it was saved.
    pub is_damaged: bool,
}

/// Sizes of a store's files, by name.
type Sizes = BTreeMap<String, u64>;

impl Catalog {
    /// Reads all manifests of the store. A backup that is being written or removed, or whose writing or removal was
    /// cut short, is not in it.
    pub fn load(store: &dyn Store) -> Result<Self> {
        // A staged manifest is there before its artifacts are published, and until its own publication.
        let mut unfinished = unfinished(store)?;
        let sizes: Sizes = store.list()?.into_iter().map(|object| (object.name, object.bytes)).collect();
        unfinished.extend(self::unfinished(store)?);
        unfinished.retain(|id| !sizes.contains_key(&names::manifest(*id)));
        let mut named = BTreeMap::new();
        let mut entries = Vec::new();
        for (name, bytes) in &sizes {
            let Some(id) = names::parse_manifest(name) else { continue };
            let mut entry = match read_manifest(store, name, *bytes) {
                Ok(json) => Entry::read(id, &json, &sizes, &mut named),
                // One that can't be read says nothing against the others.
                Err(error) => Entry { id, record: Record::Unreadable(error), files: Vec::new() },
            };
            if let (Record::Manifest(summary), Some(last)) =
                (&mut entry.record, entries.last().and_then(Entry::manifest))
            {
                summary.share(last);
            }
            entries.push(entry);
        }
        add_foreign(&mut entries, named, &unfinished, &sizes);
        if entries.iter().any(|entry| entry.manifest().is_none()) {
            // One whose manifest was removed since the listing isn't there, and one that was published in the meantime is no
            // other tool's: the next listing has it.
            let now: BTreeSet<String> = store.list()?.into_iter().map(|object| object.name).collect();
            let is_as_listed = |name: &str| now.contains(name) == sizes.contains_key(name);
            entries.retain(|entry| entry.manifest().is_some() || is_as_listed(&names::manifest(entry.id)));
        }
        entries.sort_by_key(|entry| entry.id);
        let ids = sizes.keys().filter_map(|name| names::id_of(name)).filter(|id| !unfinished.contains(id)).collect();
        Ok(Self { location: store.location(), ids, entries })
    }

    /// The same, where backups are told apart that are another `project`'s, or of none of the `hosts`, if those are known.
    pub(crate) fn of(mut self, project: &str, hosts: Option<&BTreeSet<String>>) -> Self {
        for entry in &mut self.entries {
            let Some(summary) = entry.manifest() else { continue };
            let whose = if *summary.project != *project {
                Stranger::Project
            } else if hosts.is_some_and(|hosts| !hosts.contains(&*summary.host)) {
                Stranger::Host
            } else {
                continue;
            };
            entry.record = match std::mem::replace(&mut entry.record, Record::Foreign) {
                Record::Manifest(summary) => Record::Another(summary, whose),
                other => other,
            };
        }
        self
    }

    /// All backups, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An id for a backup begun at `now`: later than that of every backup of this project, and one that nothing in the
    /// store has. `None` if none can follow.
    ///
    /// Only what has a manifest of this project counts for the order: a file with a name of the year 9999, which anybody
    /// may have put there, keeps no backup from being made.
    pub(crate) fn next_id(&self, now: DateTime<Utc>, is_known: impl Fn(BackupId) -> bool) -> Option<BackupId> {
        let last = self.entries.iter().rfind(|entry| entry.manifest().is_some()).map(|entry| entry.id);
        let in_order = BackupId::next(now, last);
        // Where nothing can follow the last one, the order is lost, and not the backup.
        let first = if in_order.is_valid() { in_order } else { BackupId::at(now) };
        let mut ids = std::iter::successors(Some(first), |id| Some(id.successor())).take_while(|id| id.is_valid());
        ids.find(|id| !self.ids.contains(id) && !is_known(*id))
    }

    /// The newest backup that should be sound: whatever holds something, or has a manifest that can't be read, and is
    /// not what a restore kept. Files without a manifest, which anybody may have put there, count if there is nothing else.
    pub fn newest(&self) -> Option<&Entry> {
        let is_ours = |entry: &&Entry| match &entry.record {
            Record::Manifest(summary) => summary.status != Status::Failed && summary.trigger != Trigger::PreRestore,
            Record::Unreadable(_) => true,
            Record::Foreign | Record::Another(..) => false,
        };
        let is_foreign = |entry: &&Entry| matches!(entry.record, Record::Foreign);
        self.entries.iter().rfind(is_ours).or_else(|| self.entries.iter().rfind(is_foreign))
    }

    /// The newest backup whose manifest names this configuration file.
    pub fn newest_with_file(&self, path: &RelPath) -> Option<&Entry> {
        self.entries.iter().rfind(|entry| entry.manifest().is_some_and(|summary| summary.paths.contains(path)))
    }

    /// Adds a backup that has just been published.
    pub(crate) fn add(&mut self, manifest: &Manifest) {
        let sizes = manifest.artifacts.iter().map(|artifact| (artifact.file.clone(), artifact.bytes)).collect();
        self.entries.push(Entry::of(manifest, &sizes));
        self.entries.sort_by_key(|entry| entry.id);
        self.ids.insert(manifest.id);
    }

    /// What retention has to know. A database that was saved damaged is held by no backup, unless there is no sound copy of
    /// it: the damaged ones are all there is then. A backup that lacks a file, or that the ledger knows to be bad, counts no more than
    /// a partial one: it must not take the place of a sound one.
    pub fn candidates(&self, ledger: &Ledger) -> Vec<Candidate> {
        let only_damaged = self.only_damaged(ledger);
        let candidate = |entry: &Entry| {
            let mut candidate = entry.candidate();
            candidate.holds.extend(saved_damaged(entry).filter(|name| only_damaged.contains(name)).map(Into::into));
            if candidate.standing == Standing::Complete && !entry.seems_sound(ledger) {
                candidate.standing = Standing::Partial;
            }
            candidate.accepted = ledger.is_accepted(entry.id);
            candidate
        };
        self.entries.iter().map(candidate).collect()
    }

    /// Databases of which all copies are damaged.
    fn only_damaged(&self, ledger: &Ledger) -> BTreeSet<&str> {
        let mut names: BTreeSet<&str> = self.entries.iter().flat_map(saved_damaged).collect();
        names.retain(|name| {
            let wanted = [(*name).to_string()];
            self.entries.iter().all(|entry| entry.unfit(&wanted, ledger).is_some())
        });
        names
    }
}

/// Databases in it that were damaged when they were saved.
fn saved_damaged(entry: &Entry) -> impl Iterator<Item = &str> {
    entry.files.iter().filter(|file| file.is_saved_damaged()).map(|file| file.name.as_str())
}

impl Entry {
    fn of(manifest: &Manifest, sizes: &Sizes) -> Self {
        let files = manifest.artifacts.iter().map(|artifact| ListedFile::of(artifact, sizes)).collect();
        Self { id: manifest.id, record: Record::Manifest(Summary::of(manifest)), files }
    }

    /// What a manifest says. One of another tool's names files, which go to `named`.
    fn read(id: BackupId, json: &[u8], sizes: &Sizes, named: &mut BTreeMap<BackupId, Vec<String>>) -> Self {
        let error = match Manifest::parse(id, json) {
            Ok(manifest) => return Self::of(&manifest, sizes),
            Err(error) => error,
        };
        let record = match foreign::named_files(json) {
            Some(names) => {
                named.insert(id, names);
                Record::Foreign
            }
            None => Record::Unreadable(error),
        };
        Self { id, record, files: Vec::new() }
    }

    /// What is known of its manifest, if that can be read and is this project's.
    pub fn manifest(&self) -> Option<&Summary> {
        match &self.record {
            Record::Manifest(summary) => Some(summary),
            _ => None,
        }
    }

    /// Reads the whole manifest of one that has a manifest.
    ///
    /// # Errors
    /// As [`Manifest::parse`], and what keeps it from being read.
    pub fn read_manifest(&self, store: &dyn Store) -> Result<Manifest> {
        Manifest::parse(self.id, &read_manifest(store, &names::manifest(self.id), 0)?)
    }

    /// Its stored files, with all that its manifest says of them.
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

    /// Bytes of its files, as found in the store.
    pub fn stored_bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    /// Bytes that its files decode to, as its manifest says.
    pub fn plain_bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| Some(file.recorded?.plain_bytes)).fold(0, u64::saturating_add)
    }

    /// When it was begun: as its manifest says, else as its id does.
    pub fn created_at(&self) -> DateTime<FixedOffset> {
        self.manifest().map_or_else(|| self.id.time().fixed_offset(), |summary| summary.created_at)
    }

    /// Whether nothing of it is known to be missing: it is complete, and every file is there at its size.
    pub fn is_whole(&self) -> bool {
        let complete = self.manifest().is_none_or(|summary| summary.status == Status::Complete);
        complete && !self.files.is_empty() && self.files.iter().all(ListedFile::is_whole)
    }

    /// Whether nothing is known against it: it is whole, and its last verify or drill, if any, did not fail.
    pub fn seems_sound(&self, ledger: &Ledger) -> bool {
        self.is_whole() && !ledger.is_known_bad(self.id)
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
            (Record::Another(_, Stranger::Project), _) => Standing::AnotherProject,
            (Record::Another(_, Stranger::Host), _) => Standing::AnotherHost,
            (_, Some(Status::Complete)) => Standing::Complete,
            (_, Some(Status::Partial)) => Standing::Partial,
            (_, Some(Status::Failed)) => Standing::Failed,
            (_, None) => Standing::NoManifest,
        };
        Candidate {
            id: self.id,
            at: self.created_at().to_utc(),
            standing,
            trigger: manifest.map_or(Trigger::Manual, |manifest| manifest.trigger),
            pinned: manifest.is_some_and(|manifest| manifest.pinned),
            holds: self
                .files
                .iter()
                .filter(|file| !file.kind.is_beside_database() && !file.is_saved_damaged())
                .map(|file| file.name.clone())
                .collect(),
            paths: manifest.iter().flat_map(|it| it.paths.iter()).map(|path| path.as_str().to_string()).collect(),
            collapses: manifest.map(|manifest| manifest.collapses.clone()).unwrap_or_default(),
            accepted: false,
        }
    }
}

impl Summary {
    /// Shares what is equal in two of them: most backups of a project hold the same files.
    fn share(&mut self, other: &Self) {
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

    /// No more than this is kept of a message.
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

/// What is kept of a name: a longer one is nobody's.
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

    fn foreign(file: &str, bytes: Option<u64>) -> Option<Self> {
        let ArtifactName { name, kind, codec, .. } = ArtifactName::parse(file)?;
        Some(Self { name, file: file.to_string(), kind, codec, bytes, recorded: None })
    }

    fn with(&self, recorded: Option<Artifact>) -> StoredFile {
        let Self { name, file, kind, codec, bytes, .. } = self.clone();
        StoredFile { name, file, kind, codec, bytes, recorded }
    }

    /// Whether it is there and as long as the manifest says. It may be damaged all the same.
    pub fn is_whole(&self) -> bool {
        self.bytes.is_some() && self.recorded.is_none_or(|recorded| Some(recorded.bytes) == self.bytes)
    }

    /// Whether it is a database that was damaged when it was saved.
    fn is_saved_damaged(&self) -> bool {
        self.recorded.is_some_and(|recorded| recorded.is_damaged)
    }

    /// Whether it is of the same thing as another one, however each is encoded.
    fn is_same_thing(&self, other: &Self) -> bool {
        (&self.name, self.kind) == (&other.name, other.kind)
    }
}

/// Backups that are being written or removed, or whose writing or removal was cut short.
fn unfinished(store: &dyn Store) -> Result<BTreeSet<BackupId>> {
    Ok(store.list_staged()?.iter().filter_map(|object| names::parse_manifest(&object.name)).collect())
}

/// A manifest's bytes, of which there should be so many: of one that is too large, as many as show that it is.
pub(crate) fn read_manifest(store: &dyn Store, name: &str, bytes: u64) -> Result<Vec<u8>> {
    let expected = usize::try_from(bytes.min(manifest::MAX_BYTES) + 1).unwrap_or(0);
    read_into(Vec::with_capacity(expected), store.read(name)?, name)
}

/// The same of one that is being read.
pub(crate) fn read_bounded(reader: impl Read, name: &str) -> Result<Vec<u8>> {
    read_into(Vec::new(), reader, name)
}

fn read_into(mut json: Vec<u8>, reader: impl Read, name: &str) -> Result<Vec<u8>> {
    let mut reader = reader.take(manifest::MAX_BYTES + 1);
    reader.read_to_end(&mut json).map_err(|e| Error::io_named("read", name, e))?;
    Ok(json)
}

/// Gives the files that no manifest of ours claims to the manifests of other tools, by their names, and makes backups of
/// what is left, one for each id.
fn add_foreign(
    entries: &mut Vec<Entry>,
    mut named: BTreeMap<BackupId, Vec<String>>,
    unfinished: &BTreeSet<BackupId>,
    sizes: &Sizes,
) {
    let claimed: BTreeSet<&str> = named.values().flatten().map(String::as_str).collect();
    let ours = entries.iter().filter(|entry| !matches!(entry.record, Record::Foreign));
    let known: BTreeSet<BackupId> = ours.map(|entry| entry.id).chain(unfinished.iter().copied()).collect();
    let mut groups: BTreeMap<BackupId, Vec<ListedFile>> = BTreeMap::new();
    for (file, bytes) in sizes {
        let Some(name) = ArtifactName::parse(file) else { continue };
        if known.contains(&name.id) || claimed.contains(file.as_str()) {
            continue;
        }
        let group = groups.entry(name.id).or_default();
        let Some(file) = ListedFile::foreign(file, Some(*bytes)) else { continue };
        // A run that was cut short leaves `x.db` beside a half-written `x.db.gz`: the first, sorted, is the whole one, and
        // no other name sorts between them.
        if !group.last().is_some_and(|last| last.is_same_thing(&file)) {
            group.push(file);
        }
    }
    for entry in entries.iter_mut().filter(|entry| matches!(entry.record, Record::Foreign)) {
        let names = named.remove(&entry.id).unwrap_or_default();
        let own = groups.remove(&entry.id).unwrap_or_default();
        entry.files = files_of(&names, own, sizes);
    }
    // Whatever such a manifest says, it is no backup if there is nothing of it.
    entries.retain(|entry| !matches!(entry.record, Record::Foreign) || !entry.files.is_empty());
    entries.extend(groups.into_iter().map(|(id, files)| Entry { id, record: Record::Foreign, files }));
}

/// Files that a manifest of another tool names, and those that have its id. The folder may have moved, and files may have
/// been compressed since.
fn files_of(named: &[String], own: Vec<ListedFile>, sizes: &Sizes) -> Vec<ListedFile> {
    let named = named.iter().filter_map(|file| ListedFile::foreign(file, sizes.get(file).copied()));
    let (mut files, missing): (Vec<_>, Vec<_>) = named.partition(|file| file.bytes.is_some());
    for file in own.into_iter().chain(missing) {
        if !files.iter().any(|known: &ListedFile| known.is_same_thing(&file)) {
            files.push(file);
        }
    }
    files.sort_by(|a, b| a.file.cmp(&b.file));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ledger::{Command, Line, Outcome};
    use crate::store::MemoryStore;
    use crate::testing::faults::{Fault, Watched};
    use crate::testing::fixtures::{Site, id, publish, stage};

    /// Complete backups of those ids.
    fn store_of(ids: &[&str]) -> (Site, MemoryStore) {
        let (site, store) = (Site::new(), MemoryStore::new());
        for now in ids {
            site.backup(&store, now);
        }
        (site, store)
    }

    fn edit(store: &MemoryStore, wanted: &str, edit: impl FnOnce(&mut Manifest)) {
        let mut manifest = Catalog::load(store).unwrap().get(id(wanted)).unwrap().read_manifest(store).unwrap();
        edit(&mut manifest);
        publish(store, &names::manifest(manifest.id), &manifest.to_json());
    }

    #[test]
    fn the_newest_that_should_be_sound_holds_something_or_cannot_be_read() {
        let (_site, store) = store_of(&["20251208_140000", "20251210_140000"]);
        edit(&store, "20251210_140000", |manifest| manifest.trigger = Trigger::PreRestore);
        let newest = || Catalog::load(&store).unwrap().newest().map(|entry| entry.id);
        assert_eq!(newest(), Some(id("20251208_140000")));
        publish(&store, "manifest_20251209_140000.json", b"{\"format\": 1, no json");
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
        Ledger::append(&store, &bad).unwrap();
        let candidates = Catalog::load(&store).unwrap().candidates(&Ledger::load(&store).unwrap());
        let standings: Vec<Standing> = candidates.iter().map(|candidate| candidate.standing).collect();
        assert_eq!(standings, [Standing::Failed, Standing::Partial, Standing::Partial, Standing::Complete]);
    }

    #[test]
    fn a_database_that_was_saved_damaged_is_held_only_if_there_is_no_sound_copy() {
        let days = ["20251208_140000", "20251209_140000"];
        let (_site, store) = store_of(&days);
        let damage = |day| {
            edit(&store, day, |manifest| {
                let Content::Database(database) = &mut manifest.artifacts[0].content else { panic!("{manifest:?}") };
                database.damage = vec!["page 2 is never used".into()];
            });
        };
        let held = || {
            let candidates = Catalog::load(&store).unwrap().candidates(&Ledger::load(&store).unwrap());
            candidates.iter().map(|it| it.holds.iter().any(|name| name == "sessions_db")).collect::<Vec<_>>()
        };
        assert_eq!(held(), [true, true]);
        damage(days[1]);
        assert_eq!(held(), [true, false]);
        damage(days[0]);
        assert_eq!(held(), [true, true]);
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
        assert_eq!(entry.files.iter().map(ListedFile::is_whole).collect::<Vec<_>>(), [false, true]);
        assert!(!entry.is_whole());
    }

    #[test]
    fn files_are_found_whatever_another_tools_manifest_says() {
        let (database, config) = ("sessions_db_20251210_140000.db.gz", "config_20251210_140000.tar.gz");
        for manifest in [
            r#"{"timestamp": "2025-12-10", "files": ["/old/sessions_db_20251210_140000.db.gz"], "status": "ok"}"#,
            r#"{"backups": {"database": "/gone/sessions_db_20251210_140000.db"}}"#,
            r#"{"backups": "/nowhere"}"#,
            "{}",
            "\u{feff}[]",
            "all well",
            "{\"cut\": sh",
        ] {
            let store = MemoryStore::new();
            publish(&store, "manifest_20251210_140000.json", manifest.as_bytes());
            publish(&store, database, b"x");
            publish(&store, config, b"x");
            let catalog = Catalog::load(&store).unwrap();
            let [entry] = catalog.entries() else { panic!("{manifest}: {catalog:?}") };
            let files: Vec<(&str, bool)> = entry.files.iter().map(|it| (it.file.as_str(), it.is_whole())).collect();
            assert_eq!(files, [(config, true), (database, true)], "{manifest}");
            assert!(matches!(entry.record, Record::Foreign), "{manifest}");
        }
    }

    #[test]
    fn another_tools_manifest_without_any_file_is_no_backup_but_its_id_is_taken() {
        let store = MemoryStore::new();
        publish(&store, "manifest_20251210_140000.json", b"{}");
        let catalog = Catalog::load(&store).unwrap();
        let next = catalog.next_id(id("20251210_140000").time(), |_| false);
        assert_eq!((catalog.entries().len(), next), (0, Some(id("20251210_140001"))));
    }

    #[test]
    fn what_is_left_of_our_own_manifest_stays_unreadable_beside_its_files() {
        let (_site, store) = store_of(&["20251210_140000"]);
        let name = "manifest_20251210_140000.json";
        let mut whole = Vec::new();
        store.read(name).unwrap().read_to_end(&mut whole).unwrap();
        for length in [0, 1, 9, 20, whole.len() / 2, whole.len() - 3] {
            publish(&store, name, &whole[..length]);
            let catalog = Catalog::load(&store).unwrap();
            assert!(matches!(catalog.entries()[0].record, Record::Unreadable(_)), "{length}: {catalog:?}");
            assert_eq!(catalog.entries().len(), 1);
        }
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
        assert_eq!(
            read_manifest(&store, "manifest_20251208_140000.json", 0).unwrap().len() as u64,
            manifest::MAX_BYTES + 1
        );
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
                Record::Another(..) => "another's",
            })
            .collect();
        assert_eq!(kinds, ["manifest", "foreign", "manifest"]);
        let standings: Vec<_> =
            catalog.candidates(&Ledger::default()).iter().map(|candidate| candidate.standing).collect();
        assert_eq!(standings, [Standing::Complete, Standing::NoManifest, Standing::Complete]);
        let mut held = catalog.candidates(&Ledger::default())[0].holds.clone();
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
        assert_eq!(catalog.next_id(id("20251208_130000").time(), |_| false), Some(id("20251208_140001")));
    }

    #[test]
    fn a_file_that_is_gone_has_no_size() {
        let (_site, store) = store_of(&["20251208_140000"]);
        store.remove("sessions_db_20251208_140000.db.zst").unwrap();
        let catalog = Catalog::load(&store).unwrap();
        let sizes: Vec<bool> = catalog.entries()[0].files.iter().map(|file| file.bytes.is_some()).collect();
        assert_eq!(sizes, [false, true]);
    }
}
