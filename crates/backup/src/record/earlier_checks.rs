//! Earlier checks that a run can rely on: those that this host recorded in the ledger.
//!
//! SQLite's check of a database takes most of the time of a verification, and its result depends on the bytes alone. So a
//! verification that reads the same bytes again, by the SHA-256 of what was stored and decoded, doesn't repeat it. It
//! relies only on runs on this host, with this version of the program and of SQLite, that found no flaw and compared with
//! the same facts. A backup whose last verification or drill failed is checked whole.
//!
//! A restore relies on the check of the backup, too. Whoever wrote the manifest can have claimed that check, so here as
//! well the ledger has to record it for this host. The version doesn't matter here, and only a failed proof of the same
//! backup counts against it, not one of another backup with the same bytes.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, FixedOffset};

use crate::record::digest::Digest;
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Ledger, Outcome};
use crate::record::manifest::Tool;
use crate::record::soundness::DatabaseDigests;

/// Digests of all databases that a run on `host` checked whole and found sound, by any version. The caller has to ask
/// whether a later proof of the backup failed.
pub(crate) fn on_host(ledger: &Ledger, host: &str) -> HashSet<Digest> {
    let on_host = ledger.lines().iter().filter(|line| line.host == host && line.outcome != Outcome::Failed);
    on_host.filter_map(|line| line.checked.as_ref()).flat_map(|it| &it.databases).map(|it| it.plain_sha256).collect()
}

/// Databases that earlier verifications checked whole, and when they last did.
#[derive(Debug, Default)]
pub struct EarlierChecks {
    databases: HashMap<DatabaseDigests, DateTime<FixedOffset>>,
    failed: BTreeSet<BackupId>,
}

impl EarlierChecks {
    /// No earlier checks, so that everything is checked.
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
