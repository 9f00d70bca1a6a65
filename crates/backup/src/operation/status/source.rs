//! How one source stands.

use chrono::{DateTime, FixedOffset};
use serde::Serialize;

use super::inputs::StatusInputs;
use crate::catalog::Entry;
use crate::record::age::seconds_since;
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Line, Outcome};

/// How one configured database or set of files stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: SourceState,
    /// The backup with the copy that `state` is about.
    pub id: Option<BackupId>,
    /// When that backup began.
    pub at: Option<DateTime<FixedOffset>>,
    /// Up to when everything is saved in it: that time, or later if it has been looked at since and had not changed.
    pub saved_at: Option<DateTime<FixedOffset>>,
    /// How long ago `saved_at` was, in seconds, so how much would be lost now; 0 if it is dated in the future.
    pub age_s: Option<u64>,
    /// When a copy of it last passed a verification, in a backup that still exists.
    pub verified: Option<DateTime<FixedOffset>>,
    /// When a drill last restored a copy of it, and its probes passed.
    pub drilled: Option<DateTime<FixedOffset>>,
}

/// How a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Its newest sound copy is recent enough.
    Fresh,
    /// Its newest sound copy is too old.
    TooOld,
    /// All of its sound copies are dated in the future.
    Future,
    /// It has copies, and all of them are damaged or incomplete.
    OnlyBad,
    /// It has no copy.
    NeverSaved,
}

impl StatusInputs<'_> {
    /// Judges a source by its newest sound copy that isn't dated in the future; if it has none, by the next best one.
    pub(super) fn source(&self, name: &str) -> SourceStatus {
        let wanted = [name.to_string()];
        let objections = self.catalog.objections(self.ledger);
        let is_sound = |entry: &&Entry| objections.against(entry, &wanted).is_none();
        let is_past = |entry: &&Entry| self.is_past(entry.created_at());
        let past = self.regular().rfind(|entry| is_past(entry) && is_sound(entry));
        let future = || self.regular().rfind(is_sound).map(|entry| (entry, SourceState::Future));
        let holds = |entry: &&Entry| entry.holds(name);
        let bad = || self.regular().rfind(holds).map(|entry| (entry, SourceState::OnlyBad));
        let found = past.map(|entry| (entry, self.freshness(entry))).or_else(future).or_else(bad);
        SourceStatus {
            name: name.to_string(),
            state: found.map_or(SourceState::NeverSaved, |(_, state)| state),
            id: found.map(|(entry, _)| entry.id),
            at: found.map(|(entry, _)| entry.created_at()),
            saved_at: found.map(|(entry, _)| self.saved_at(entry)),
            age_s: found.map(|(entry, _)| seconds_since(self.saved_at(entry), self.now)),
            verified: self.proved(name, Command::Verify),
            drilled: self.proved(name, Command::Drill),
        }
    }

    /// When `command` last found a copy of a source good. A drill's line names the sources that it restored, which can be
    /// fewer than the backup holds; lines of older versions don't.
    fn proved(&self, name: &str, command: Command) -> Option<DateTime<FixedOffset>> {
        let holds = |line: &Line| match self.entry_of(line) {
            Some(entry) if line.proved.is_empty() => entry.answers_for(name),
            _ => line.proved.iter().any(|proved| proved == name),
        };
        let is_good = |line: &Line| matches!(line.outcome, Outcome::Ok | Outcome::Partial) && holds(line);
        let mut lines = self.proofs().rev().filter(|line| line.command == command && line.has_read_content());
        lines.find(|line| is_good(line)).map(|line| line.at)
    }

    fn freshness(&self, entry: &Entry) -> SourceState {
        let is_young = seconds_since(self.saved_at(entry), self.now) <= self.max_age.as_secs();
        if is_young { SourceState::Fresh } else { SourceState::TooOld }
    }
}
