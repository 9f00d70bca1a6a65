//! The inputs of a judgement, and what the judges ask them.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta};
use serde::Serialize;

use crate::catalog::{Catalog, Entry, Record};
use crate::operation::backup::ChainState;
use crate::record::age::seconds_since;
use crate::record::id::BackupId;
use crate::record::ledger::{Ledger, Line};
use crate::record::manifest::Trigger;
use crate::source::Sources;
use crate::store::LocalStore;

/// How far ahead of now a backup can be dated, since backups of the same second are dated a second apart.
const TOLERANCE: TimeDelta = TimeDelta::minutes(1);

/// What is judged, and by which limits.
#[derive(Debug, Clone, Copy)]
pub struct StatusInputs<'a> {
    /// All backups.
    pub catalog: &'a Catalog,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// What should be in backups.
    pub sources: &'a Sources,
    /// The folder with the sources.
    pub root: &'a Path,
    /// The time of the judgement.
    pub now: DateTime<FixedOffset>,
    /// The greatest age of the newest copy of a source.
    pub max_age: Duration,
    /// When an increment last found that nothing had changed.
    pub last_look: Option<LastLook>,
    /// The greatest age of the last drill.
    pub max_drill_age: Duration,
    /// Free space of the store, in bytes; `None` if unknown.
    pub free_bytes: Option<u64>,
    /// If a run holds the store's lock, since when, to the second.
    pub locked_since: Option<DateTime<FixedOffset>>,
}

/// An increment that found nothing changed, and so wrote nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastLook {
    /// The point since which nothing had changed.
    pub point: BackupId,
    /// When it looked.
    pub at: DateTime<FixedOffset>,
}

impl LastLook {
    /// The last look that a store remembers; `None` if that can't be read, or there was none.
    pub fn of(store: &dyn LocalStore) -> Option<Self> {
        ChainState::load(store).map(|state| Self { point: state.point, at: state.looked_at })
    }
}

/// Something that happened, when, and how long ago.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtTime<T> {
    /// The backup that it is about.
    pub id: Option<BackupId>,
    /// When; RFC 3339 in JSON.
    pub at: DateTime<FixedOffset>,
    /// How long ago, in seconds; 0 if it is dated in the future.
    pub age_s: u64,
    /// What it was.
    pub what: T,
}

impl StatusInputs<'_> {
    /// Backups with a manifest, pre-restore backups excepted, oldest first.
    pub(super) fn regular(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        let is_regular =
            |entry: &&Entry| entry.manifest().is_some_and(|summary| summary.trigger != Trigger::PreRestore);
        self.catalog.entries().iter().filter(is_regular)
    }

    /// Regular backups that hold all sources, are fit for use and not dated in the future.
    pub(super) fn complete(&self) -> Vec<&Entry> {
        let names: Vec<String> = self.sources.names().map(Into::into).collect();
        let objections = self.catalog.objections(self.ledger);
        let is_complete =
            |entry: &&Entry| self.is_past(entry.created_at()) && objections.against(entry, &names).is_none();
        self.regular().filter(is_complete).collect()
    }

    /// Up to when a backup holds everything: its beginning, or the last look that found nothing changed since.
    pub(super) fn saved_at(&self, entry: &Entry) -> DateTime<FixedOffset> {
        let look = self.last_look.filter(|look| look.point == entry.id && self.is_past(look.at));
        look.map_or(entry.created_at(), |look| look.at.max(entry.created_at()))
    }

    /// Whether this time isn't in the future.
    pub(super) fn is_past(&self, at: DateTime<FixedOffset>) -> bool {
        at <= self.now + TOLERANCE
    }

    /// Lines of the ledger, oldest first, without those about backups of another project or host.
    pub(super) fn proofs(&self) -> impl DoubleEndedIterator<Item = &Line> {
        let is_anothers = |entry: &Entry| matches!(entry.record, Record::Another(..));
        self.ledger.lines().iter().filter(move |line| !self.entry_of(line).is_some_and(is_anothers))
    }

    /// The backup that a line is about, if it still exists.
    pub(super) fn entry_of(&self, line: &Line) -> Option<&Entry> {
        line.id.and_then(|id| self.catalog.get(id).ok())
    }

    /// Whether the run of this line holds the lock, and so is still running.
    pub(super) fn goes_on(&self, line: &Line) -> bool {
        self.locked_since.is_some_and(|since| since.timestamp() == line.at.timestamp())
    }

    /// The time of a backup, with `what` happened.
    pub(super) fn dated<T>(&self, entry: &Entry, what: T) -> AtTime<T> {
        let at = entry.created_at();
        AtTime { id: Some(entry.id), at, age_s: seconds_since(at, self.now), what }
    }

    /// The time of a run, with `what` happened.
    pub(super) fn dated_line<T>(&self, line: &Line, what: T) -> AtTime<T> {
        AtTime { id: line.id, at: line.at, age_s: seconds_since(line.at, self.now), what }
    }
}
