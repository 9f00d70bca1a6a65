//! What is remembered from one point of a chain to the next: the digests of all pages, and where each log ended.
//!
//! It is a cache. It can be torn, old, or of another store; so it is believed only if the newest point is still the one
//! that it was written for, and if each list of digests has the digest that is recorded with it. If not, the next backup
//! is a full one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::operation::run::Run;
use crate::record::digest::Digest;
use crate::record::id::BackupId;
use crate::record::names;
use crate::record::pages::{PageList, PagesDigest};
use crate::source::Sources;
use crate::source::sqlite::{KeptSnapshot, Position};
use crate::store::manifest::read_manifest;
use crate::store::{LocalStore, LockedStore, Store};

const CHAIN: &str = "chain.json";

/// What follows if the state can't be written.
const NOT_LEFT: &str = "until the folder .state beside the backups can be written, each increment is a full backup";

/// The newest point of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChainState {
    /// Its backup.
    pub point: BackupId,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The start of the machine that the positions are of.
    pub boot: String,
    /// When everything was last found to be as in it.
    pub looked_at: DateTime<FixedOffset>,
    /// Databases by name, as they are in it.
    pub databases: BTreeMap<String, DatabaseState>,
    /// Sets of files by name, with the digest of their records ([`files_digest`](super::files::files_digest)).
    pub files: BTreeMap<String, Digest>,
}

/// A database at the newest point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatabaseState {
    /// The file that it was read from, if no other took its place meanwhile.
    pub identity: Option<FileIdentity>,
    /// Size of a page, in bytes.
    pub page_size: u32,
    /// The digest of its pages.
    pub pages_digest: PagesDigest,
    /// Where its log ended; `None` without a log.
    pub position: Option<Position>,
}

/// Tells a file from another one that has taken its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl From<&Metadata> for FileIdentity {
    fn from(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// Calls `open`, and also tells which file has been opened; `None` if another one took its place meanwhile.
pub(super) fn identified<T>(path: &Path, open: impl FnOnce() -> Result<T>) -> Result<(T, Option<FileIdentity>)> {
    let identity = || fs::metadata(path).ok().as_ref().map(FileIdentity::from);
    let before = identity();
    let opened = open()?;
    Ok((opened, before.filter(|before| Some(*before) == identity())))
}

/// Snapshots that are kept open, by the name of the database.
pub(super) type KeptSnapshots = BTreeMap<String, KeptSnapshot>;

/// A database whose pages are known.
pub(super) struct TrackedDatabase {
    pub state: DatabaseState,
    pub pages: PageList,
    /// The snapshot that they are of, still open.
    pub kept: Option<KeptSnapshot>,
}

/// What the next increment will need of all sources.
#[derive(Default)]
pub(super) struct TrackedSources {
    /// Databases by name.
    pub databases: BTreeMap<String, TrackedDatabase>,
    /// Sets of files by name, as in [`ChainState::files`].
    pub files: BTreeMap<String, Digest>,
    /// Sources that could not be saved, or are in the settings no more. The point doesn't hold them, so the next increment
    /// that is asked for them takes them whole.
    pub lost: BTreeSet<String>,
}

impl ChainState {
    /// The state of a store; `None` if there is none that can be read.
    pub fn load(store: &dyn LocalStore) -> Option<Self> {
        serde_json::from_slice(&store.read_state(CHAIN).ok()??).ok()
    }

    /// The same, without the positions of another start of the machine: with `synchronous = off`, a power failure can take
    /// pages back that were in the database, and the log doesn't show it.
    pub(super) fn load_since(store: &dyn LocalStore, boot: &str) -> Option<Self> {
        let mut state = Self::load(store)?;
        if boot.is_empty() || state.boot != boot {
            state.databases.values_mut().for_each(|database| database.position = None);
        }
        Some(state)
    }

    /// A database with the digests of its pages; `None` if they aren't those of the newest point.
    pub(super) fn database(&self, store: &dyn LocalStore, name: &str) -> Option<TrackedDatabase> {
        let state = self.databases.get(name)?.clone();
        let pages = PageList::from_bytes(&store.read_state(&pages_name(name)).ok()??)?;
        (pages.digest() == state.pages_digest).then_some(TrackedDatabase { state, pages, kept: None })
    }

    /// Names of what is known of the newest point and isn't among these sources.
    pub(super) fn names_besides(&self, sources: &Sources) -> impl Iterator<Item = &str> {
        let databases = self.databases.keys().filter(|name| !sources.databases.iter().any(|it| it.name == **name));
        let files = self.files.keys().filter(|name| !sources.files.iter().any(|it| it.name == **name));
        databases.chain(files).map(String::as_str)
    }

    /// Whether the manifest of the newest point is still the one that it was.
    pub fn is_of(&self, store: &dyn Store) -> bool {
        manifest_digest(store, self.point).is_ok_and(|digest| digest == self.manifest)
    }

    /// Leaves the state for the next run: sources are `tracked` as they are at the newest point, others are as in the
    /// `earlier` state. If it can't be written, the next backup is a full one: that is one of the `failures`. Returns the
    /// snapshots that are still open.
    pub(super) fn leave(
        run: &Run<'_>,
        point: BackupId,
        mut tracked: TrackedSources,
        earlier: Option<&Self>,
        failures: &mut Vec<(String, Error)>,
    ) -> KeptSnapshots {
        let databases = tracked.databases.iter_mut();
        let kept = databases.filter_map(|(name, database)| Some((name.clone(), database.kept.take()?))).collect();
        let left = Self::at(run, point, &tracked, earlier).and_then(|state| state.write(run.locked_store(), tracked));
        failures.extend(left.err().map(|error| ("state".to_string(), error.with_hint(NOT_LEFT))));
        kept
    }

    /// The state at a point, without the databases that are tracked.
    fn at(run: &Run<'_>, point: BackupId, tracked: &TrackedSources, earlier: Option<&Self>) -> Result<Self> {
        let mut state = Self {
            point,
            manifest: manifest_digest(&**run.locked_store(), point)?,
            boot: run.setup().boot.clone(),
            looked_at: run.now(),
            databases: earlier.map(|earlier| earlier.databases.clone()).unwrap_or_default(),
            files: earlier.map(|earlier| earlier.files.clone()).unwrap_or_default(),
        };
        state.databases.retain(|name, _| !tracked.lost.contains(name));
        state.files.retain(|name, _| !tracked.lost.contains(name));
        state.files.extend(tracked.files.clone());
        Ok(state)
    }

    fn write(mut self, store: &LockedStore<'_>, tracked: TrackedSources) -> Result<()> {
        for (name, TrackedDatabase { state, pages, .. }) in tracked.databases {
            let is_same = self.databases.get(&name).is_some_and(|it| it.pages_digest == state.pages_digest);
            if !is_same {
                store.write_state(&pages_name(&name), pages.as_bytes())?;
            }
            self.databases.insert(name, state);
        }
        // A text for each key: it is JSON.
        store.write_state(CHAIN, &serde_json::to_vec(&self).unwrap_or_default())
    }
}

/// The digest of a backup's manifest, as it is stored.
pub(super) fn manifest_digest(store: &dyn Store, id: BackupId) -> Result<Digest> {
    read_manifest(store, &names::manifest(id), 0).map(|json| Digest::of(&json))
}

/// No set of files has a dot in its name, so this is no other state's.
fn pages_name(database: &str) -> String {
    format!("{database}.pages")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::backup::backup_incremental;
    use crate::store::MemoryStore;
    use crate::testing::fixtures::Site;

    #[test]
    fn where_a_log_ended_counts_until_the_machine_starts_again() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let application = site.open();
        application.execute_batch("INSERT INTO sessions(kwh) VALUES (1)").unwrap();
        backup_incremental(&site.begin(&store, "20251209_140000"), &site.request()).unwrap();
        let has_position =
            |boot: &str| ChainState::load_since(&store, boot).unwrap().databases["sessions_db"].position.is_some();
        assert_eq!(["boot", "another", ""].map(has_position), [true, false, false]);
    }
}
