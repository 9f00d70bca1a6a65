//! What earlier verifications on this host checked whole, as the ledger tells it.
//!
//! SQLite's check of a database is a function of its bytes, and takes most of the time of a verification. So a
//! verification that finds the very same bytes again, by the SHA-256 of all that was stored and decoded, need not repeat
//! it: what can have changed since is the bytes, and those it has just read. It counts only what a run on this host, with
//! this version of the program and of SQLite, found without any flaw, and against the same facts in the manifest. A
//! backup whose last verification or drill failed is checked whole.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use crate::catalog::StoredFile;
use crate::digest::Digest;
use crate::history::{Command, History, Outcome};
use crate::id::BackupId;
use crate::manifest::{Content, Tool};
use crate::run::Run;

/// How far a verification looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// All bytes were read and are as recorded. SQLite's check of the same bytes was made earlier.
    Content,
    /// Every check was made.
    Whole,
}

/// What the ledger keeps of a verification that checked databases whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedWhole {
    /// The program that checked them.
    pub tool: Tool,
    /// The databases in which it found no flaw.
    pub databases: Vec<CheckedDatabase>,
}

/// The bytes of a database, and what was found in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CheckedDatabase {
    /// Of its bytes.
    pub plain_sha256: Digest,
    /// Of the facts that it was compared with: schema, versions, sizes and row counts, as this program writes them.
    pub facts_sha256: Digest,
}

impl CheckedDatabase {
    /// What a manifest says of a stored database; none if it isn't one, if nothing is recorded of it, or if it was saved
    /// damaged.
    pub(crate) fn of(file: &StoredFile) -> Option<Self> {
        let recorded = file.recorded.as_ref().filter(|recorded| recorded.damage().is_empty())?;
        let Content::Database(database) = &recorded.content else { return None };
        let facts = serde_json::to_vec(&database.facts).ok()?;
        Some(Self { plain_sha256: recorded.plain_sha256, facts_sha256: Digest::of(&facts) })
    }
}

/// Databases that earlier verifications checked whole, each with the last time.
#[derive(Debug, Default)]
pub struct CheckedEarlier {
    databases: HashMap<CheckedDatabase, DateTime<FixedOffset>>,
    failed: BTreeSet<BackupId>,
}

impl CheckedEarlier {
    /// None, so that everything is checked.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those that `history` tells of and that count for this `run`.
    pub fn of(history: &History, run: &Run<'_>) -> Self {
        let (tool, host) = (run.tool(), &run.setup().host);
        let mut earlier = Self::default();
        for line in history.lines().iter().filter(|line| matches!(line.command, Command::Verify | Command::Drill)) {
            match line.id {
                Some(id) if line.outcome == Outcome::Failed => drop(earlier.failed.insert(id)),
                Some(id) => drop(earlier.failed.remove(&id)),
                None => {}
            }
            let checked = line.checked.as_ref().filter(|checked| checked.tool == tool);
            if let Some(checked) = checked
                && line.outcome == Outcome::Ok
                && line.host == *host
            {
                earlier.databases.extend(checked.databases.iter().map(|database| (*database, line.at)));
            }
        }
        earlier
    }

    /// When a database of the backup `id` was last checked whole.
    pub(crate) fn when(&self, id: BackupId, database: CheckedDatabase) -> Option<DateTime<FixedOffset>> {
        self.databases.get(&database).filter(|_| !self.failed.contains(&id)).copied()
    }
}
