//! What was checked whole on this host, as the ledger tells it.
//!
//! SQLite's check of a database is a function of its bytes, and takes most of the time of a verification. So a
//! verification that finds the very same bytes again, by the SHA-256 of all that was stored and decoded, need not repeat
//! it: what can have changed since is the bytes, and those it has just read. It counts only what a run on this host, with
//! this version of the program and of SQLite, found without any flaw, and against the same facts in the manifest. A
//! backup whose last verification or drill failed is checked whole.
//!
//! A restore relies on the check of the backup, too. That a manifest says that there was one is the word of whoever wrote
//! it: here as well, the ledger has to say so of this host. Here, the version doesn't matter, and only a failed proof of
//! the very backup speaks against it, not one of another backup with the same bytes.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use crate::record::digest::Digest;
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Ledger, Outcome};
use crate::record::manifest::{Artifact, Content, Manifest, Tool};

/// How far a verification looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// The stored bytes were read and are as recorded. What they decode to was not looked at.
    Stored,
    /// All bytes were read and are as recorded. SQLite's check of the same bytes was made earlier.
    Content,
    /// Every check was made.
    Whole,
}

/// What the ledger keeps of a verification or a backup that checked databases whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoundDatabases {
    /// The program that checked them.
    pub tool: Tool,
    /// The databases in which it found no flaw.
    pub databases: Vec<DatabaseDigests>,
}

/// The bytes of a database, and what was found in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DatabaseDigests {
    /// Of its bytes.
    pub plain_sha256: Digest,
    /// Of the facts that it was compared with: schema, versions, sizes and row counts, as this program writes them.
    pub facts_sha256: Digest,
}

impl DatabaseDigests {
    /// Of a stored database; `None` if it isn't one, or if it was damaged when it was saved.
    pub(crate) fn of(artifact: &Artifact) -> Option<Self> {
        let Content::Database(database) = &artifact.content else { return None };
        let facts = serde_json::to_vec(&database.facts).ok().filter(|_| database.damage.is_empty())?;
        Some(Self { plain_sha256: artifact.plain_sha256, facts_sha256: Digest::of(&facts) })
    }
}

impl SoundDatabases {
    /// What a backup says of the databases that it checked in the state that it stored; none if there is none.
    pub(crate) fn by_backup(manifest: &Manifest) -> Option<Self> {
        let checked = manifest.artifacts.iter().filter_map(|artifact| match &artifact.content {
            Content::Database(database) if database.checked => DatabaseDigests::of(artifact),
            _ => None,
        });
        let databases: Vec<DatabaseDigests> = checked.collect();
        (!databases.is_empty()).then(|| Self { tool: manifest.tool.clone(), databases })
    }
}

/// Digests of all databases that a run on `host` checked whole and found sound, by any version. Whether a later proof of
/// the backup failed is for the caller to ask.
pub(crate) fn on_host(ledger: &Ledger, host: &str) -> HashSet<Digest> {
    let on_host = ledger.lines().iter().filter(|line| line.host == host && line.outcome != Outcome::Failed);
    on_host.filter_map(|line| line.checked.as_ref()).flat_map(|it| &it.databases).map(|it| it.plain_sha256).collect()
}

/// Databases that earlier verifications checked whole, each with the last time.
#[derive(Debug, Default)]
pub struct EarlierChecks {
    databases: HashMap<DatabaseDigests, DateTime<FixedOffset>>,
    failed: BTreeSet<BackupId>,
}

impl EarlierChecks {
    /// None, so that everything is checked.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those in the `ledger` that a run of this `tool` on this `host` may rely on.
    pub fn of(ledger: &Ledger, tool: &Tool, host: &str) -> Self {
        let mut earlier = Self::default();
        for line in ledger.lines().iter().filter(|line| matches!(line.command, Command::Verify | Command::Drill)) {
            match line.id {
                Some(id) if line.outcome == Outcome::Failed => drop(earlier.failed.insert(id)),
                Some(id) if line.has_read_content() => drop(earlier.failed.remove(&id)),
                _ => {}
            }
            let checked = line.checked.as_ref().filter(|checked| checked.tool == *tool);
            if let Some(checked) = checked
                && line.outcome == Outcome::Ok
                && line.host == host
            {
                earlier.databases.extend(checked.databases.iter().map(|database| (*database, line.at)));
            }
        }
        earlier
    }

    /// When a database of the backup `id` was last checked whole.
    pub(crate) fn when(&self, id: BackupId, database: DatabaseDigests) -> Option<DateTime<FixedOffset>> {
        self.databases.get(&database).filter(|_| !self.failed.contains(&id)).copied()
    }
}
