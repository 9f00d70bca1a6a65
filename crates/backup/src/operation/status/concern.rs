//! What is wrong, and how bad that is.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset};
use serde::Serialize;

use super::inputs::{AtTime, StatusInputs};
use super::run::{LastRuns, RunEnd};
use super::source::{SourceState, SourceStatus};
use crate::catalog::select::Objection;
use crate::catalog::{Entry, Record};
use crate::record::age::seconds_since;
use crate::record::id::BackupId;
use crate::record::ledger::{Line, Outcome, RestoreLine};
use crate::record::manifest::Collapse;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is as it should be.
    Ok,
    /// Something to look into.
    Warning,
    /// There is no backup to rely on, or soon won't be.
    Failure,
}

/// Something that is wrong. In JSON an object with a `code` and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Concern {
    /// The store has no backup.
    NoBackup,
    /// A source without a recent sound copy.
    Source {
        /// Its name.
        name: String,
        /// How it stands.
        state: SourceState,
        /// The backup with its newest copy.
        id: Option<BackupId>,
        /// How old that is, in seconds.
        age_s: Option<u64>,
    },
    /// The newest backup is dated in the future: the clock is wrong, or was.
    Ahead {
        /// The backup.
        id: BackupId,
        /// How far it is ahead of the clock, in seconds.
        ahead_s: u64,
    },
    /// The last run of `backup` did not save everything.
    LastRun {
        /// How it ended.
        end: RunEnd,
        /// When it began.
        at: DateTime<FixedOffset>,
    },
    /// The newest backup can't be used.
    NewestUnfit {
        /// The backup.
        id: BackupId,
        /// Why.
        why: Objection,
    },
    /// A database lost most of what earlier backups hold, and nobody has accepted that.
    Collapsed {
        /// The backup that shows it.
        id: BackupId,
        /// The database, and both figures.
        collapse: Collapse,
    },
    /// A restore changed something and did not finish.
    UnfinishedRestore {
        /// The backup.
        id: Option<BackupId>,
        /// When it began.
        at: DateTime<FixedOffset>,
    },
    /// The last verify found damage, or did not finish.
    Verify {
        /// How it ended; [`Outcome::Begun`] if it was killed.
        outcome: Outcome,
        /// The backup that it found damaged, the newest if there are several.
        id: Option<BackupId>,
        /// How long ago, in seconds.
        age_s: u64,
    },
    /// There was no drill yet.
    NeverDrilled,
    /// The last drill was too long ago.
    DrillTooOld {
        /// How long ago, in seconds.
        age_s: u64,
    },
    /// The last drill did not pass.
    Drill {
        /// How it ended; [`Outcome::Begun`] if it was killed.
        outcome: Outcome,
        /// The backup, if the drill got as far as to judge one.
        id: Option<BackupId>,
        /// How long ago, in seconds.
        age_s: u64,
    },
    /// There is no room for two more backups.
    NoRoom {
        /// Free space, in bytes.
        free_bytes: u64,
        /// Space in bytes that two more backups need, while they are made too.
        needed_bytes: u64,
    },
}

impl Concern {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::NoBackup
            | Self::Source { .. }
            | Self::Ahead { .. }
            | Self::UnfinishedRestore { .. }
            | Self::Drill { outcome: Outcome::Failed, id: Some(_), .. }
            | Self::NoRoom { .. } => Severity::Failure,
            Self::LastRun { .. }
            | Self::NewestUnfit { .. }
            | Self::Collapsed { .. }
            | Self::Verify { .. }
            | Self::NeverDrilled
            | Self::DrillTooOld { .. }
            | Self::Drill { .. } => Severity::Warning,
        }
    }
}

impl StatusInputs<'_> {
    /// All that is wrong, the worst first. The next backups need `needed_bytes`, if that is known.
    pub(super) fn concerns(
        &self,
        sources: &[SourceStatus],
        last: &LastRuns<'_>,
        needed_bytes: Option<u64>,
    ) -> Vec<Concern> {
        let newest = self.catalog.newest();
        let mut concerns = self.copies(sources);
        concerns.extend(newest.and_then(|entry| self.ahead(entry)));
        concerns.extend(newest.and_then(|entry| self.unfit(entry)));
        concerns.extend(last.backup.as_ref().and_then(last_run));
        concerns.extend(self.unfinished_restore());
        concerns.extend(self.collapsed());
        concerns.extend(last.verify.and_then(|line| self.verify(line)));
        concerns.extend(self.drill(last.drill));
        concerns.extend(needed_bytes.and_then(|needed| self.room(needed)));
        concerns.sort_by_key(|concern| Reverse(concern.severity()));
        concerns
    }

    /// No backup at all, or the sources without a fresh copy.
    fn copies(&self, sources: &[SourceStatus]) -> Vec<Concern> {
        if self.catalog.entries().iter().all(|entry| matches!(entry.record, Record::Another(..))) {
            return vec![Concern::NoBackup];
        }
        let stale = sources.iter().filter(|source| source.state != SourceState::Fresh);
        let concern = |SourceStatus { name, state, id, age_s, .. }: &SourceStatus| Concern::Source {
            name: name.clone(),
            state: *state,
            id: *id,
            age_s: *age_s,
        };
        stale.map(concern).collect()
    }

    fn ahead(&self, newest: &Entry) -> Option<Concern> {
        let at = newest.created_at();
        (!self.is_past(at)).then(|| Concern::Ahead { id: newest.id, ahead_s: seconds_since(self.now, at) })
    }

    fn unfit(&self, newest: &Entry) -> Option<Concern> {
        let objections = self.catalog.objections(self.ledger);
        objections.against(newest, &[]).map(|why| Concern::NewestUnfit { id: newest.id, why })
    }

    fn unfinished_restore(&self) -> Option<Concern> {
        let (line, _) = self.ledger.unfinished_restore()?;
        (!self.goes_on(line)).then_some(Concern::UnfinishedRestore { id: line.id, at: line.at })
    }

    /// The newest collapse of each database that nobody has accepted, unless a restore brought back what was lost.
    fn collapsed(&self) -> Vec<Concern> {
        let shown = self.regular().rev().filter(|entry| !self.ledger.is_accepted(entry.id));
        let shown = shown.flat_map(|entry| entry.manifest().into_iter().map(move |summary| (entry.id, summary)));
        let mut newest: BTreeMap<&str, (BackupId, &Collapse)> = BTreeMap::new();
        for (id, summary) in shown {
            for collapse in &summary.collapses {
                newest.entry(&collapse.name).or_insert((id, collapse));
            }
        }
        newest.retain(|_, (id, collapse)| !self.is_back(*id, collapse));
        let concern = |(id, collapse): (BackupId, &Collapse)| Concern::Collapsed { id, collapse: collapse.clone() };
        newest.into_values().map(concern).collect()
    }

    /// Whether a database was restored from before its collapse, after the backup `shows` recorded that.
    fn is_back(&self, shows: BackupId, collapse: &Collapse) -> bool {
        let Some(database) = self.sources.databases.iter().find(|database| database.name == collapse.name) else {
            return false;
        };
        let is_of_it = |restore: &RestoreLine| {
            restore.target == self.root && restore.written.iter().any(|path| path == database.path.as_str())
        };
        let last = self.ledger.restores().find(|(_, restore)| is_of_it(restore));
        last.is_some_and(|(line, _)| {
            line.outcome == Outcome::Ok
                && line.id.is_some_and(|id| id <= collapse.since)
                && self.catalog.get(shows).is_ok_and(|entry| entry.created_at() < line.at)
        })
    }

    fn verify(&self, last: &Line) -> Option<Concern> {
        let (outcome, id, age_s) = (last.outcome, last.id, seconds_since(last.at, self.now));
        match (outcome, id) {
            (Outcome::Ok | Outcome::Partial, _) => None,
            (Outcome::Begun, _) if self.goes_on(last) => None,
            (Outcome::Failed, Some(id)) if !self.is_there_and_bad(id) => None,
            _ => Some(Concern::Verify { outcome, id, age_s }),
        }
    }

    fn drill(&self, last: Option<&Line>) -> Option<Concern> {
        let Some(last) = last else { return Some(Concern::NeverDrilled) };
        let (outcome, id, age_s) = (last.outcome, last.id, seconds_since(last.at, self.now));
        match outcome {
            Outcome::Ok if age_s > self.max_drill_age.as_secs() => Some(Concern::DrillTooOld { age_s }),
            Outcome::Ok => None,
            Outcome::Begun if self.goes_on(last) => None,
            _ => Some(Concern::Drill { outcome, id, age_s }),
        }
    }

    fn room(&self, needed_bytes: u64) -> Option<Concern> {
        let free_bytes = self.free_bytes.filter(|free| *free < needed_bytes)?;
        Some(Concern::NoRoom { free_bytes, needed_bytes })
    }
}

fn last_run(run: &AtTime<RunEnd>) -> Option<Concern> {
    match run.what {
        RunEnd::Complete | RunEnd::Running => None,
        end => Some(Concern::LastRun { end, at: run.at }),
    }
}
