//! How things stand: the one judgement of catalog and ledger, for each source and for the store. Pure.
//!
//! `status`, `list`, `doctor` and `drill` render it, in words, JSON and exit codes. None of them has an opinion of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta};
use serde::Serialize;

use crate::catalog::select::Objection;
use crate::catalog::{Catalog, Entry, Record};
use crate::record::age::seconds_since;
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Ledger, Line, Outcome, RestoreLine};
use crate::record::manifest::{Collapse, Status as BackupStatus, Trigger};
use crate::source::Sources;

/// How far ahead of now something may be dated: backups of one second are dated a second apart.
const TOLERANCE: TimeDelta = TimeDelta::minutes(1);

/// What is judged, and by what.
#[derive(Debug, Clone, Copy)]
pub struct StatusInputs<'a> {
    /// All backups.
    pub catalog: &'a Catalog,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// What should be in backups.
    pub sources: &'a Sources,
    /// The folder that it is in.
    pub root: &'a Path,
    /// When it is judged.
    pub now: DateTime<FixedOffset>,
    /// How old the newest copy of a source may be.
    pub max_age: Duration,
    /// How long ago the last drill may be.
    pub max_drill_age: Duration,
    /// Bytes that still fit into the store, if that is known.
    pub free_bytes: Option<u64>,
    /// Since when a run holds the store's lock, if one does, to the second.
    pub locked_since: Option<DateTime<FixedOffset>>,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The worst of `concerns`.
    pub verdict: Severity,
    /// What is wrong, the worst first.
    pub concerns: Vec<Concern>,
    /// Whether every source has a copy that is young enough.
    pub fresh: bool,
    /// How old one may be, in seconds.
    pub max_age_s: u64,
    /// Each configured database and set of files, in the order of the settings.
    pub sources: Vec<SourceStatus>,
    /// The last run of `backup`, however it went.
    pub last: Option<AtTime<RunEnd>>,
    /// The newest backup that holds all sources and is not known to be bad.
    pub last_success: Option<AtTime<BackupStatus>>,
    /// The newest proof of any backup, by verify or drill.
    pub last_proved: Option<AtTime<Command>>,
    /// The last verify, and what it found: of all backups that it looked at, the worst.
    pub last_verify: Option<AtTime<Outcome>>,
    /// The last drill, and what it found.
    pub last_drill: Option<AtTime<Outcome>>,
    /// How many backups can be restored.
    pub backups: usize,
    /// Bytes of all their files.
    pub stored_bytes: u64,
    /// Bytes of the files of [`Status::last_success`].
    pub newest_bytes: Option<u64>,
    /// How much the plain content grows in a day, in bytes, from the oldest to the newest complete backup.
    pub growth_bytes_per_day: Option<i64>,
    /// Bytes that still fit into the store.
    pub free_bytes: Option<u64>,
    /// Bytes that two more backups take, with room to make them.
    pub needed_bytes: Option<u64>,
    /// How many backups of the newest one's size that is.
    pub more_backups_fit: Option<u64>,
    /// Measured recovery point: the longest time, in seconds, between successive complete backups, or since the last.
    pub rpo_s: Option<u64>,
    /// Measured recovery time: how long the last drill or restore took, in milliseconds.
    pub rto_ms: Option<u64>,
}

/// How one configured database or set of files stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: SourceState,
    /// The backup with the copy that `state` is about.
    pub id: Option<BackupId>,
    /// When that was begun.
    pub at: Option<DateTime<FixedOffset>>,
    /// How long ago that was, in seconds; 0 if it is dated in the future.
    pub age_s: Option<u64>,
    /// When a copy of it last passed a verification, of a backup that is still there.
    pub verified: Option<DateTime<FixedOffset>>,
    /// When a drill last restored a copy of it, and its probes passed.
    pub drilled: Option<DateTime<FixedOffset>>,
}

/// How a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Its newest sound copy is young enough.
    Fresh,
    /// That is too old.
    TooOld,
    /// All of its sound copies are dated in the future.
    Future,
    /// No copy of it is sound and whole: some are damaged, or lack a part.
    OnlyBad,
    /// There is no copy of it.
    NeverSaved,
}

/// Something that happened to a backup, and how long ago.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtTime<T> {
    /// The backup.
    pub id: Option<BackupId>,
    /// When, RFC 3339.
    pub at: DateTime<FixedOffset>,
    /// How long before the report, in seconds; 0 if it is dated in the future.
    pub age_s: u64,
    /// What it was.
    pub what: T,
}

/// How a run of `backup` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// All was saved.
    Complete,
    /// Some was saved.
    Partial,
    /// Nothing was saved.
    Failed,
    /// It was asked to stop.
    Interrupted,
    /// It ended without a word: killed, or by a loss of power.
    Killed,
    /// It goes on.
    Running,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is as it should be.
    Ok,
    /// Worth a look.
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
    /// A source that has no sound copy that is young enough.
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
        /// How far ahead, in seconds.
        ahead_s: u64,
    },
    /// The last run of `backup` did not save all.
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
    /// A restore has changed something and did not end well.
    UnfinishedRestore {
        /// The backup.
        id: Option<BackupId>,
        /// When it began.
        at: DateTime<FixedOffset>,
    },
    /// The last verify found damage, or did not end well.
    Verify {
        /// How it ended; [`Outcome::Begun`] if it was killed.
        outcome: Outcome,
        /// The backup that it found damaged, the newest if there are several.
        id: Option<BackupId>,
        /// How long ago, in seconds.
        age_s: u64,
    },
    /// No drill has been made.
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
        /// The backup, if anything was found out about one.
        id: Option<BackupId>,
        /// How long ago, in seconds.
        age_s: u64,
    },
    /// There is no room for two more backups.
    NoRoom {
        /// Bytes that are free.
        free_bytes: u64,
        /// Bytes that two more backups take, with what making them takes.
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

/// Judges how things stand.
pub fn status(look: &StatusInputs<'_>) -> Status {
    let complete = look.complete();
    let newest = complete.last();
    let last_success = newest.map(|entry| look.dated(entry, BackupStatus::Complete));
    let newest_bytes = newest.map(|entry| entry.stored_bytes());
    let restorable = look.catalog.entries().iter().filter(|entry| !entry.files.is_empty());
    let sources: Vec<SourceStatus> = look.sources.names().map(|name| look.source(name)).collect();
    let last = look.last_run();
    let (last_verify, last_drill) = (look.last_verify(), look.last_drill());
    let mut concerns = look.concerns(&sources, last.as_ref());
    concerns.extend(last_verify.and_then(|line| look.verify(line)));
    concerns.extend(look.drill(last_drill));
    // A snapshot is staged as it is before it is encoded.
    let needed = |entry: &&&Entry| entry.stored_bytes().saturating_mul(2).saturating_add(entry.plain_bytes());
    let needed_bytes = newest.as_ref().map(needed);
    concerns.extend(needed_bytes.and_then(|needed| look.room(needed)));
    concerns.sort_by_key(|concern| std::cmp::Reverse(concern.severity()));
    let free_bytes = look.free_bytes;
    Status {
        verdict: concerns.first().map_or(Severity::Ok, Concern::severity),
        concerns,
        fresh: !sources.is_empty() && sources.iter().all(|source| source.state == SourceState::Fresh),
        max_age_s: look.max_age.as_secs(),
        sources,
        last,
        last_success,
        last_proved: look.last_proof().map(|line| look.dated_line(line, line.command)),
        last_verify: last_verify.map(|line| look.dated_line(line, line.outcome)),
        last_drill: last_drill.map(|line| look.dated_line(line, line.outcome)),
        backups: restorable.clone().count(),
        stored_bytes: restorable.map(Entry::stored_bytes).fold(0, u64::saturating_add),
        newest_bytes,
        growth_bytes_per_day: growth(&complete),
        free_bytes,
        needed_bytes,
        more_backups_fit: free_bytes.zip(newest.as_ref()).and_then(|(free, entry)| {
            // With room for the snapshot that each of them is made from.
            free.saturating_sub(entry.plain_bytes()).checked_div(entry.stored_bytes())
        }),
        rpo_s: longest_gap(&complete, look.now),
        rto_ms: [Command::Drill, Command::Restore]
            .into_iter()
            .filter_map(|command| look.ledger.last_success(command))
            .max_by_key(|line| line.at)
            .map(|line| line.duration_ms),
    }
}

impl StatusInputs<'_> {
    /// Backups with a manifest that no restore made, oldest first.
    fn regular(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        let is_regular =
            |entry: &&Entry| entry.manifest().is_some_and(|summary| summary.trigger != Trigger::PreRestore);
        self.catalog.entries().iter().filter(is_regular)
    }

    /// Those that hold all sources, have nothing against them and are not dated in the future.
    fn complete(&self) -> Vec<&Entry> {
        let names: Vec<String> = self.sources.names().map(Into::into).collect();
        let is_complete =
            |entry: &&Entry| self.is_past(entry.created_at()) && entry.unfit(&names, self.ledger).is_none();
        self.regular().filter(is_complete).collect()
    }

    fn is_past(&self, at: DateTime<FixedOffset>) -> bool {
        at <= self.now + TOLERANCE
    }

    /// The newest sound copy that is not dated in the future decides; if there is none, whatever there is.
    fn source(&self, name: &str) -> SourceStatus {
        let wanted = [name.to_string()];
        let is_sound = |entry: &&Entry| entry.unfit(&wanted, self.ledger).is_none();
        let is_past = |entry: &&Entry| self.is_past(entry.created_at());
        let past = self.regular().rfind(|entry| is_past(entry) && is_sound(entry));
        let future = || self.regular().rfind(is_sound).map(|entry| (entry, SourceState::Future));
        let holds = |entry: &&Entry| entry.files.iter().any(|file| file.name == name);
        let bad = || self.regular().rfind(holds).map(|entry| (entry, SourceState::OnlyBad));
        let found = past.map(|entry| (entry, self.freshness(entry))).or_else(future).or_else(bad);
        SourceStatus {
            name: name.to_string(),
            state: found.map_or(SourceState::NeverSaved, |(_, state)| state),
            id: found.map(|(entry, _)| entry.id),
            at: found.map(|(entry, _)| entry.created_at()),
            age_s: found.map(|(entry, _)| seconds_since(entry.created_at(), self.now)),
            verified: self.proved(name, Command::Verify),
            drilled: self.proved(name, Command::Drill),
        }
    }

    /// When `command` last found a copy of a source good. A drill's line says of which it did, unless it is of an older
    /// version: a backup may hold what no settings restore.
    fn proved(&self, name: &str, command: Command) -> Option<DateTime<FixedOffset>> {
        let holds = |line: &Line| match self.entry_of(line) {
            Some(entry) if line.proved.is_empty() => entry.answers_for(name),
            _ => line.proved.iter().any(|proved| proved == name),
        };
        let is_good = |line: &Line| matches!(line.outcome, Outcome::Ok | Outcome::Partial) && holds(line);
        let mut lines = self.proofs().rev().filter(|line| line.command == command);
        lines.find(|line| is_good(line)).map(|line| line.at)
    }

    /// Lines of the ledger, oldest first, but for those about a backup that is another project's or host's.
    fn proofs(&self) -> impl DoubleEndedIterator<Item = &Line> {
        let is_anothers = |entry: &Entry| matches!(entry.record, Record::Another(..));
        self.ledger.lines().iter().filter(move |line| !self.entry_of(line).is_some_and(is_anothers))
    }

    fn entry_of(&self, line: &Line) -> Option<&Entry> {
        line.id.and_then(|id| self.catalog.get(id).ok())
    }

    fn last_proof(&self) -> Option<&Line> {
        self.proofs().rfind(|line| line.proves())
    }

    fn last_drill(&self) -> Option<&Line> {
        self.proofs().rfind(|line| line.command == Command::Drill)
    }

    fn freshness(&self, entry: &Entry) -> SourceState {
        let is_young = seconds_since(entry.created_at(), self.now) <= self.max_age.as_secs();
        if is_young { SourceState::Fresh } else { SourceState::TooOld }
    }

    /// The last run, by the ledger or by what it left: either may know of a later one, since the ledger can't always be
    /// written, and not every run leaves a manifest.
    fn last_run(&self) -> Option<AtTime<RunEnd>> {
        let is_kept = |line: &&Line| {
            self.entry_of(line).and_then(Entry::manifest).is_some_and(|summary| summary.trigger == Trigger::PreRestore)
        };
        let mut lines = self.ledger.lines().iter().rev().filter(|line| line.command == Command::Backup);
        let line = lines.find(|line| !is_kept(line));
        let entry = self.regular().next_back();
        let left = entry.and_then(|entry| Some(self.dated(entry, RunEnd::from(entry.manifest()?.status))));
        match (line, left) {
            (Some(line), Some(left)) if line.at <= left.at || line.id == left.id => Some(left),
            (Some(line), _) => Some(self.dated_line(line, self.end_of(line))),
            (None, left) => left,
        }
    }

    fn end_of(&self, line: &Line) -> RunEnd {
        match line.outcome {
            Outcome::Ok => RunEnd::Complete,
            Outcome::Partial => RunEnd::Partial,
            Outcome::Failed => RunEnd::Failed,
            Outcome::Interrupted => RunEnd::Interrupted,
            Outcome::Begun if self.goes_on(line) => RunEnd::Running,
            Outcome::Begun => RunEnd::Killed,
        }
    }

    /// Whether it is the run of this line that holds the lock.
    fn goes_on(&self, line: &Line) -> bool {
        self.locked_since.is_some_and(|since| since.timestamp() == line.at.timestamp())
    }

    /// Of the last run of verify, which has lines for each backup, the worst: newer ones first among equals.
    fn last_verify(&self) -> Option<&Line> {
        let last = self.ledger.last(Command::Verify)?;
        let lines = self.ledger.lines().iter();
        let of_it = lines.filter(|line| (line.command, line.at) == (Command::Verify, last.at));
        of_it.max_by_key(|line| match (line.outcome, line.id) {
            (Outcome::Failed, Some(id)) if self.is_there_and_bad(id) => 3,
            (Outcome::Failed, Some(_)) => 2,
            (Outcome::Failed, None) => 1,
            _ => 0,
        })
    }

    fn is_there_and_bad(&self, id: BackupId) -> bool {
        self.catalog.get(id).is_ok() && self.ledger.is_known_bad(id)
    }

    fn concerns(&self, sources: &[SourceStatus], last: Option<&AtTime<RunEnd>>) -> Vec<Concern> {
        let mut concerns = Vec::new();
        if self.catalog.entries().iter().all(|entry| matches!(entry.record, Record::Another(..))) {
            concerns.push(Concern::NoBackup);
        } else {
            let stale = sources.iter().filter(|source| source.state != SourceState::Fresh);
            concerns.extend(stale.map(|SourceStatus { name, state, id, age_s, .. }| Concern::Source {
                name: name.clone(),
                state: *state,
                id: *id,
                age_s: *age_s,
            }));
        }
        let newest = self.catalog.newest();
        concerns.extend(newest.and_then(|entry| self.ahead(entry)));
        concerns.extend(newest.and_then(|entry| {
            let why = entry.unfit(&[], self.ledger)?;
            Some(Concern::NewestUnfit { id: entry.id, why })
        }));
        concerns.extend(last.and_then(|run| match run.what {
            RunEnd::Complete | RunEnd::Running => None,
            end => Some(Concern::LastRun { end, at: run.at }),
        }));
        concerns.extend(self.ledger.unfinished_restore().and_then(|(line, _)| {
            (!self.goes_on(line)).then_some(Concern::UnfinishedRestore { id: line.id, at: line.at })
        }));
        concerns.extend(self.collapsed());
        concerns
    }

    /// Of each database the newest collapse that nobody has accepted, unless a restore brought back what was lost.
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

    /// Whether the last restore of a database, since a backup that shows its collapse, was of one from before that.
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

    fn ahead(&self, newest: &Entry) -> Option<Concern> {
        let at = newest.created_at();
        (!self.is_past(at)).then(|| Concern::Ahead { id: newest.id, ahead_s: seconds_since(self.now, at) })
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

    fn dated<T>(&self, entry: &Entry, what: T) -> AtTime<T> {
        let at = entry.created_at();
        AtTime { id: Some(entry.id), at, age_s: seconds_since(at, self.now), what }
    }

    fn dated_line<T>(&self, line: &Line, what: T) -> AtTime<T> {
        AtTime { id: line.id, at: line.at, age_s: seconds_since(line.at, self.now), what }
    }
}

impl From<BackupStatus> for RunEnd {
    fn from(status: BackupStatus) -> Self {
        match status {
            BackupStatus::Complete => Self::Complete,
            BackupStatus::Partial => Self::Partial,
            BackupStatus::Failed => Self::Failed,
        }
    }
}

fn growth(complete: &[&Entry]) -> Option<i64> {
    // What a backup holds may have changed with the settings: compare those that hold the same things.
    let holds_same =
        |a: &Entry, b: &Entry| a.files.iter().map(|file| &file.name).eq(b.files.iter().map(|file| &file.name));
    let newest = complete.last()?;
    let oldest = complete.iter().find(|entry| holds_same(entry, newest))?;
    let elapsed = i128::from((newest.created_at() - oldest.created_at()).num_seconds());
    let grown = i128::from(newest.plain_bytes()) - i128::from(oldest.plain_bytes());
    // Less than an hour apart, the figure would be noise.
    (elapsed >= 3600).then(|| i64::try_from(grown * 86_400 / elapsed).unwrap_or(i64::MAX))
}

fn longest_gap(complete: &[&Entry], now: DateTime<FixedOffset>) -> Option<u64> {
    let times = complete.iter().map(|entry| entry.created_at());
    let next = times.clone().skip(1).chain([now]);
    times.zip(next).map(|(earlier, later)| seconds_since(earlier, later)).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ledger::{Line, Outcome};
    use crate::record::manifest::{Failure, Manifest};
    use crate::record::names;
    use crate::source::{DatabaseSource, FilesSource};
    use crate::store::{MemoryStore, Store as _};
    use crate::testing::fixtures::{append, id, publish};

    const NOW: &str = "2025-12-10T14:00:00Z";
    const DAY: u64 = 86_400;

    /// Backups, one for each line: how many hours ago, whole content in bytes, and words: a status, a trigger, `config`
    /// for one that holds no database.
    fn store_of(backups: &[&str]) -> MemoryStore {
        let store = MemoryStore::new();
        for line in backups {
            let words: Vec<&str> = line.split(' ').collect();
            let (hours, bytes): (i64, u64) = (words[0].parse().unwrap(), words[1].parse().unwrap());
            let has = |word: &str| words.contains(&word);
            let id = BackupId::at((now() - chrono::TimeDelta::hours(hours)).to_utc());
            let sample = String::from_utf8(include_bytes!("../../tests/data/manifest_v1.json").to_vec()).unwrap();
            let mut manifest: Manifest =
                serde_json::from_str(&sample.replace("20261124_034135", &id.to_string())).unwrap();
            manifest.created_at = id.time().fixed_offset();
            manifest.status = if has("partial") { BackupStatus::Partial } else { BackupStatus::Complete };
            if has("partial") {
                manifest.errors = vec![Failure { name: "sessions_db".into(), message: "no".into() }];
            }
            if has("collapsed") {
                let (name, table) = ("sessions_db".into(), Some("sessions".into()));
                manifest.collapses = vec![Collapse { name, since: id, table, was: 20_000, now: 12 }];
            }
            manifest.trigger = if has("pre-restore") { Trigger::PreRestore } else { Trigger::Timer };
            manifest.artifacts.remove(usize::from(!has("config")));
            manifest.artifacts[0].plain_bytes = bytes;
            manifest.artifacts[0].bytes = bytes / 10;
            publish(&store, &manifest.artifacts[0].file, &vec![0; usize::try_from(bytes / 10).unwrap()]);
            if has("failed") {
                manifest.status = BackupStatus::Failed;
                manifest.artifacts.clear();
            }
            publish(&store, &names::manifest(id), &manifest.to_json());
        }
        store
    }

    fn now() -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(NOW).unwrap()
    }

    fn sources(databases: &[&str], files: &[&str]) -> Sources {
        let path = crate::record::relpath::RelPath::new("x").unwrap();
        let database = |name: &&str| DatabaseSource {
            name: (*name).into(),
            path: path.clone(),
            snapshot: crate::record::manifest::Snapshot::Vacuum,
            probes: Vec::new(),
        };
        let files = files.iter().map(|name| FilesSource { name: (*name).into(), paths: vec![path.clone()] });
        Sources { databases: databases.iter().map(database).collect(), files: files.collect() }
    }

    fn status_of(backups: &[&str]) -> Status {
        status_with(&store_of(backups), Some(1000))
    }

    fn status_with(store: &MemoryStore, free: Option<u64>) -> Status {
        judge(store, &sources(&["sessions_db"], &[]), free, None)
    }

    fn judge(
        store: &MemoryStore,
        sources: &Sources,
        free_bytes: Option<u64>,
        locked_since: Option<DateTime<FixedOffset>>,
    ) -> Status {
        judge_of(&Catalog::load(store).unwrap(), store, sources, free_bytes, locked_since)
    }

    fn judge_of(
        catalog: &Catalog,
        store: &MemoryStore,
        sources: &Sources,
        free_bytes: Option<u64>,
        locked_since: Option<DateTime<FixedOffset>>,
    ) -> Status {
        let ledger = &Ledger::load(store).unwrap();
        let max_age = Duration::from_secs(26 * 3600);
        let max_drill_age = Duration::from_secs(15 * DAY);
        let (now, root) = (now(), Path::new("/p"));
        status(&StatusInputs { catalog, ledger, sources, root, now, max_age, max_drill_age, free_bytes, locked_since })
    }

    #[test]
    fn nothing_is_known_of_an_empty_store() {
        let status = status_of(&[]);
        let nothing = Status {
            verdict: Severity::Failure,
            concerns: vec![Concern::NoBackup, Concern::NeverDrilled],
            fresh: false,
            max_age_s: 26 * 3600,
            sources: vec![SourceStatus {
                name: "sessions_db".into(),
                state: SourceState::NeverSaved,
                id: None,
                at: None,
                age_s: None,
                verified: None,
                drilled: None,
            }],
            last_verify: None,
            last_drill: None,
            last: None,
            last_success: None,
            last_proved: None,
            backups: 0,
            stored_bytes: 0,
            newest_bytes: None,
            growth_bytes_per_day: None,
            free_bytes: Some(1000),
            needed_bytes: None,
            more_backups_fit: None,
            rpo_s: None,
            rto_ms: None,
        };
        assert_eq!(status, nothing);
    }

    #[test]
    fn the_newest_complete_backup_is_fresh_up_to_the_limit() {
        assert!(status_of(&["26 1000"]).fresh);
        assert!(!status_of(&["27 1000"]).fresh);
        for newer in ["1 1000 failed", "1 1000 partial", "1 1000 pre-restore"] {
            let status = status_of(&["27 1000", newer]);
            assert!(!status.fresh, "{newer}");
            assert_eq!(status.last_success.unwrap().age_s, 27 * 3600);
        }
    }

    #[test]
    fn the_last_run_is_the_newest_that_no_restore_made() {
        let status = status_of(&["5 1000", "3 1000 failed", "1 1000 pre-restore"]);
        let last = status.last.unwrap();
        assert_eq!((last.what, last.age_s), (RunEnd::Failed, 3 * 3600));
        let success = status.last_success.unwrap();
        assert_eq!((success.what, success.age_s), (BackupStatus::Complete, 5 * 3600));
    }

    #[test]
    fn a_collapse_is_a_warning_until_it_is_accepted() {
        let store = store_of(&["9 1000", "5 10 collapsed", "1 10"]);
        let shown = || {
            let concerns = status_with(&store, None).concerns.into_iter();
            concerns.filter(|it| matches!(it, Concern::Collapsed { .. })).collect::<Vec<_>>()
        };
        let [concern] = &shown()[..] else { panic!("one collapse: {:?}", shown()) };
        let Concern::Collapsed { id, collapse } = concern else { unreachable!() };
        assert_eq!((concern.severity(), collapse.was, collapse.now), (Severity::Warning, 20_000, 12));
        append(&store, &Line { id: Some(*id), ..Line::new(now(), Command::Accept, Outcome::Ok) });
        assert_eq!(shown(), []);
    }

    #[test]
    fn sizes_are_of_what_is_stored() {
        let store = store_of(&["49 1000", "25 2000", "1 3000 partial"]);
        publish(&store, "sessions_db_20240101_000000.db.gz", &[0; 7]);
        let status = status_with(&store, Some(3000));
        assert_eq!((status.backups, status.stored_bytes, status.newest_bytes), (4, 607, Some(200)));
        assert_eq!((status.free_bytes, status.more_backups_fit), (Some(3000), Some(5)));
        let unknown = status_with(&store, None);
        assert_eq!((unknown.free_bytes, unknown.more_backups_fit), (None, None));
    }

    #[test]
    fn growth_is_a_days_share_of_what_was_gained() {
        assert_eq!(status_of(&["48 1000", "0 3000"]).growth_bytes_per_day, Some(1000));
        assert_eq!(status_of(&["12 3000", "0 1000"]).growth_bytes_per_day, Some(-4000));
        assert_eq!(status_of(&["48 1000", "24 9000", "0 3000"]).growth_bytes_per_day, Some(1000));
        assert_eq!(status_of(&["0 1000"]).growth_bytes_per_day, None);
        assert_eq!(status_of(&["48 1000 partial", "0 3000"]).growth_bytes_per_day, None);
    }

    #[test]
    fn growth_compares_backups_that_hold_the_same() {
        assert_eq!(status_of(&["72 50 config", "48 1000", "0 3000"]).growth_bytes_per_day, Some(1000));
    }

    #[test]
    fn the_recovery_point_is_the_longest_time_without_a_complete_backup() {
        assert_eq!(status_of(&["96 1000", "24 1000", "0 1000"]).rpo_s, Some(3 * DAY));
        assert_eq!(status_of(&["96 1000", "72 1000"]).rpo_s, Some(3 * DAY), "the last one is open");
        assert_eq!(status_of(&["96 1000", "48 1000 partial", "36 1 failed", "0 1000"]).rpo_s, Some(4 * DAY));
        assert_eq!(status_of(&["48 1000 partial"]).rpo_s, None);
    }

    #[test]
    fn the_recovery_time_is_that_of_the_last_drill_or_restore_that_went_well() {
        let store = store_of(&["1 1000"]);
        let rto = || status_with(&store, None).rto_ms;
        let add = |minutes, command, outcome, duration_ms| {
            let at = now() - chrono::TimeDelta::minutes(minutes);
            append(&store, &Line { duration_ms, ..Line::new(at, command, outcome) });
        };
        add(60, Command::Backup, Outcome::Ok, 1);
        add(50, Command::Verify, Outcome::Ok, 2);
        assert_eq!(rto(), None);
        add(40, Command::Drill, Outcome::Ok, 3);
        assert_eq!(rto(), Some(3));
        add(30, Command::Restore, Outcome::Begun, 4);
        assert_eq!(rto(), Some(3));
        add(30, Command::Restore, Outcome::Ok, 5);
        add(20, Command::Drill, Outcome::Failed, 6);
        assert_eq!(rto(), Some(5));
        let proved = status_with(&store, None).last_proved.unwrap();
        assert_eq!((proved.what, proved.age_s), (Command::Drill, 40 * 60));
    }

    fn add(store: &MemoryStore, minutes: i64, command: Command, outcome: Outcome, id: Option<&str>) {
        let at = now() - TimeDelta::minutes(minutes);
        let id = id.map(|id| id.parse().unwrap());
        let restore = (command == Command::Restore).then(|| crate::record::ledger::RestoreLine {
            target: "/p".into(),
            selection: None,
            kept: None,
            unkept: false,
            written: vec![],
            moved_aside: vec![],
        });
        append(store, &Line { id, restore, ..Line::new(at, command, outcome) });
    }

    /// How each source stands, with the hours since its newest copy.
    fn states(status: &Status) -> Vec<(SourceState, Option<u64>)> {
        status.sources.iter().map(|source| (source.state, source.age_s.map(|age| age / 3600))).collect()
    }

    #[test]
    fn each_source_is_judged_by_its_own_newest_copy() {
        use SourceState::{Fresh, NeverSaved, OnlyBad, TooOld};
        let both = sources(&["sessions_db"], &["config"]);
        let of = |backups: &[&str]| judge(&store_of(backups), &both, None, None);
        assert_eq!(states(&of(&["2 50 config"])), [(NeverSaved, None), (Fresh, Some(2))]);
        assert_eq!(states(&of(&["2 50"])), [(Fresh, Some(2)), (NeverSaved, None)]);
        assert_eq!(states(&of(&["30 50", "2 50 config"])), [(TooOld, Some(30)), (Fresh, Some(2))]);
        assert_eq!(states(&of(&["3 50 partial", "2 50 config"])), [(OnlyBad, Some(3)), (Fresh, Some(2))]);
        assert_eq!(states(&of(&["30 50", "3 50 partial"]))[0], (TooOld, Some(30)), "a bad copy stands for nothing");
        // The database of a run in which another source failed is a copy like any other.
        assert_eq!(states(&of(&["3 50 config partial"]))[1], (Fresh, Some(3)));
        let config_only = of(&["2 50 config"]);
        assert_eq!(
            (config_only.fresh, config_only.verdict, config_only.last_success),
            (false, Severity::Failure, None)
        );
        let other = judge(&store_of(&["2 50"]), &sources(&["another"], &[]), None, None);
        assert_eq!((states(&other), other.fresh), (vec![(NeverSaved, None)], false));
    }

    #[test]
    fn a_set_of_which_no_file_was_there_is_none_that_was_never_saved() {
        let store = store_of(&["2 50"]);
        let mut manifest = Catalog::load(&store).unwrap().entries()[0].read_manifest(&store).unwrap();
        manifest.absent = vec!["config".into()];
        publish(&store, &names::manifest(manifest.id), &manifest.to_json());
        assert!(judge(&store, &sources(&["sessions_db"], &["config"]), None, None).fresh);
    }

    #[test]
    fn what_is_dated_in_the_future_is_never_fresh() {
        let status = status_of(&["-5 1000"]);
        assert_eq!((status.fresh, states(&status)), (false, vec![(SourceState::Future, Some(0))]));
        let ahead = Concern::Ahead { id: id("20251210_190000"), ahead_s: 5 * 3600 };
        assert!(status.concerns.contains(&ahead), "{:?}", status.concerns);
        assert_eq!((status.last_success, status.rpo_s), (None, None));
        let older = status_of(&["27 1000", "-5 1000"]);
        assert_eq!((older.fresh, states(&older)), (false, vec![(SourceState::TooOld, Some(27))]));
        assert!(older.concerns.contains(&ahead));
        let younger = status_of(&["2 1000", "-5 1000"]);
        assert_eq!((younger.fresh, younger.verdict), (true, Severity::Failure), "the clock is wrong, or was");
        for (seconds, fresh) in [(60, true), (61, false)] {
            let store = store_of(&["0 1000"]);
            let mut manifest = Catalog::load(&store).unwrap().entries()[0].read_manifest(&store).unwrap();
            manifest.created_at += TimeDelta::seconds(seconds);
            publish(&store, &names::manifest(manifest.id), &manifest.to_json());
            assert_eq!(status_with(&store, None).fresh, fresh, "{seconds} s ahead");
        }
    }

    #[test]
    fn ids_that_run_ahead_after_a_clock_jump_are_no_concern() {
        let store = store_of(&["0 1000"]);
        let mut manifest = Catalog::load(&store).unwrap().entries()[0].read_manifest(&store).unwrap();
        manifest.created_at = now();
        let file = manifest.artifacts[0].file.clone();
        let json = String::from_utf8(manifest.to_json()).unwrap().replace("20251210_140000", "20301210_140000");
        publish(&store, &file.replace("20251210_140000", "20301210_140000"), &[0; 100]);
        publish(&store, &names::manifest(id("20301210_140000")), json.as_bytes());
        let status = status_with(&store, None);
        assert_eq!((status.fresh, status.last_success.unwrap().id), (true, Some(id("20301210_140000"))));
        assert_eq!(status.concerns, [Concern::NeverDrilled]);
    }

    #[test]
    fn the_last_run_is_told_however_it_ended() {
        let outcomes = [
            (Outcome::Begun, RunEnd::Killed),
            (Outcome::Interrupted, RunEnd::Interrupted),
            (Outcome::Failed, RunEnd::Failed),
        ];
        for (outcome, end) in outcomes {
            let store = store_of(&["5 1000"]);
            add(&store, 60, Command::Backup, Outcome::Begun, None);
            if outcome != Outcome::Begun {
                add(&store, 60, Command::Backup, outcome, None);
            }
            let status = status_with(&store, None);
            assert_eq!(status.last.as_ref().unwrap().what, end);
            let concern = Concern::LastRun { end, at: now() - TimeDelta::hours(1) };
            assert!(status.concerns.contains(&concern), "{:?}", status.concerns);
            assert!(status.fresh, "what there is is young enough");
        }
        let partial = status_of(&["5 1000", "1 1000 partial"]);
        let is_partial = |concern: &Concern| matches!(concern, Concern::LastRun { end: RunEnd::Partial, .. });
        assert!(partial.concerns.iter().any(is_partial), "{partial:?}");
    }

    #[test]
    fn a_run_that_holds_the_lock_goes_on_and_another_one_does_not_hide_that_it_was_killed() {
        let store = store_of(&["5 1000"]);
        add(&store, 60, Command::Backup, Outcome::Begun, None);
        let (begun, later) = (now() - TimeDelta::hours(1), now());
        for (since, end) in [(Some(begun), RunEnd::Running), (Some(later), RunEnd::Killed), (None, RunEnd::Killed)] {
            let status = judge(&store, &sources(&["sessions_db"], &[]), None, since);
            assert_eq!(status.last.unwrap().what, end, "locked since {since:?}");
        }
    }

    #[test]
    fn a_run_that_was_killed_after_its_backup_was_published_is_what_it_left() {
        let store = store_of(&["1 1000"]);
        add(&store, 60, Command::Backup, Outcome::Begun, None);
        assert_eq!(status_with(&store, None).last.unwrap().what, RunEnd::Complete);
        // And one that the ledger couldn't be told of is known by its manifest.
        add(&store, 90, Command::Backup, Outcome::Failed, None);
        assert_eq!(status_with(&store, None).last.unwrap().what, RunEnd::Complete);
    }

    #[test]
    fn verify_and_drill_are_two_facts_of_each_source() {
        let store = store_of(&["3 1000", "2 1000 config", "1 1000"]);
        let both = sources(&["sessions_db"], &["config"]);
        let (database, config) = (Some("20251210_110000"), Some("20251210_120000"));
        add(&store, 50, Command::Verify, Outcome::Ok, database);
        add(&store, 40, Command::Verify, Outcome::Ok, config);
        add(&store, 30, Command::Drill, Outcome::Partial, config);
        add(&store, 20, Command::Verify, Outcome::Failed, Some("20251210_130000"));
        let status = judge(&store, &both, None, None);
        let ago = |at: Option<DateTime<FixedOffset>>| at.map(|at| (now() - at).num_minutes());
        let facts: Vec<_> = status.sources.iter().map(|it| (ago(it.verified), ago(it.drilled))).collect();
        assert_eq!(facts, [(Some(50), None), (Some(40), Some(30))]);
        assert_eq!(status.last_verify.unwrap().what, Outcome::Failed);
        assert_eq!(status.last_drill.unwrap().what, Outcome::Partial);
        assert!(status.concerns.iter().any(|it| matches!(it, Concern::Drill { outcome: Outcome::Partial, .. })));
    }

    #[test]
    fn a_drill_whose_backup_is_gone_counts_for_what_the_ledger_says_that_it_proved() {
        let store = store_of(&["1 1000"]);
        let drilled = || {
            let status = judge(&store, &sources(&["sessions_db"], &["config"]), None, None);
            let ago = |source: &SourceStatus| source.drilled.map(|at| (now() - at).num_minutes());
            status.sources.iter().map(ago).collect::<Vec<_>>()
        };
        // As older versions wrote it.
        add(&store, 20, Command::Drill, Outcome::Ok, Some("20200101_000000"));
        assert_eq!(drilled(), [None, None]);
        let line = Line::new(now() - TimeDelta::minutes(10), Command::Drill, Outcome::Ok);
        let line = Line { id: Some(id("20200101_000000")), proved: vec!["sessions_db".into()], ..line };
        append(&store, &line);
        assert_eq!(drilled(), [Some(10), None]);
    }

    #[test]
    fn what_a_drill_left_out_it_has_not_proved_though_its_backup_holds_it() {
        let store = store_of(&["1 1000"]);
        let line = Line::new(now() - TimeDelta::minutes(10), Command::Drill, Outcome::Partial);
        let line = Line { id: Some(id("20251210_130000")), proved: vec!["config".into()], ..line };
        append(&store, &line);
        let status = judge(&store, &sources(&["sessions_db"], &[]), None, None);
        assert_eq!(status.sources[0].drilled, None);
    }

    #[test]
    fn a_proof_of_what_is_another_projects_counts_for_nothing() {
        let store = store_of(&["1 1000"]);
        for command in [Command::Verify, Command::Drill] {
            let line = Line::new(now() - TimeDelta::minutes(10), command, Outcome::Ok);
            append(&store, &Line { id: Some(id("20251210_130000")), proved: vec!["sessions_db".into()], ..line });
        }
        let catalog = Catalog::load(&store).unwrap().of("another", None);
        let status = judge_of(&catalog, &store, &sources(&["sessions_db"], &[]), None, None);
        let source = &status.sources[0];
        assert_eq!((source.verified, source.drilled, status.last_proved, status.last_drill), (None, None, None, None));
    }

    #[test]
    fn the_last_verify_is_told_by_the_worst_that_it_found() {
        let store = store_of(&["3 1000", "2 1000", "1 1000"]);
        let ids = ["20251210_110000", "20251210_120000", "20251210_130000"];
        for (id, outcome) in ids.into_iter().zip([Outcome::Failed, Outcome::Failed, Outcome::Ok]) {
            add(&store, 20, Command::Verify, Outcome::Begun, None);
            add(&store, 20, Command::Verify, outcome, Some(id));
        }
        let found = |store: &MemoryStore| {
            let status = status_with(store, None);
            let is_verify = |concern: &Concern| matches!(concern, Concern::Verify { .. });
            (status.last_verify.map(|it| (it.what, it.id)), status.concerns.into_iter().find(is_verify))
        };
        let damaged = |at: usize| Concern::Verify { outcome: Outcome::Failed, id: Some(id(ids[at])), age_s: 1200 };
        let failed = |at: usize| Some((Outcome::Failed, Some(id(ids[at]))));
        assert_eq!(found(&store), (failed(1), Some(damaged(1))));
        store.remove(&names::manifest(id(ids[1]))).unwrap();
        store.remove(&format!("sessions_db_{}.db.gz", ids[1])).unwrap();
        assert_eq!(found(&store), (failed(0), Some(damaged(0))));
        add(&store, 15, Command::Drill, Outcome::Ok, Some(ids[0]));
        assert_eq!(found(&store).1, None, "a drill has found it good since");
        add(&store, 10, Command::Verify, Outcome::Begun, None);
        let killed = Concern::Verify { outcome: Outcome::Begun, id: None, age_s: 600 };
        assert_eq!(found(&store), (Some((Outcome::Begun, None)), Some(killed)));
        let goes_on = judge(&store, &sources(&["sessions_db"], &[]), None, Some(now() - TimeDelta::minutes(10)));
        assert!(!goes_on.concerns.iter().any(|it| matches!(it, Concern::Verify { .. })), "{goes_on:?}");
    }

    #[test]
    fn a_drill_that_failed_is_a_failure_and_one_that_could_not_be_made_a_warning() {
        let drilled = |outcome, id: Option<&str>| {
            let store = store_of(&["2 1000", "1 1000"]);
            add(&store, 10, Command::Drill, outcome, id);
            status_with(&store, None).verdict
        };
        let made = Some("20251210_120000");
        assert_eq!(drilled(Outcome::Ok, made), Severity::Ok);
        assert_eq!(drilled(Outcome::Failed, made), Severity::Failure);
        for outcome in [Outcome::Failed, Outcome::Interrupted, Outcome::Begun] {
            assert_eq!(drilled(outcome, None), Severity::Warning, "{outcome:?}");
        }
        let store = store_of(&["1 1000"]);
        add(&store, 16 * 24 * 60, Command::Drill, Outcome::Ok, made);
        assert_eq!(status_with(&store, None).concerns, [Concern::DrillTooOld { age_s: 16 * DAY }]);
    }

    #[test]
    fn a_restore_that_did_not_finish_and_a_full_disk_are_failures() {
        let store = store_of(&["1 1000"]);
        add(&store, 30, Command::Drill, Outcome::Ok, None);
        assert_eq!(status_with(&store, Some(1200)).verdict, Severity::Ok);
        let needed = Concern::NoRoom { free_bytes: 1199, needed_bytes: 1200 };
        assert_eq!(status_with(&store, Some(1199)).concerns, [needed]);
        add(&store, 20, Command::Restore, Outcome::Begun, Some("20251210_130000"));
        let status = status_with(&store, None);
        assert!(matches!(status.concerns[..], [Concern::UnfinishedRestore { .. }]), "{status:?}");
        let goes_on = Some(now() - TimeDelta::minutes(20));
        assert_eq!(judge(&store, &sources(&["sessions_db"], &[]), None, goes_on).concerns, []);
    }

    #[test]
    fn the_newest_backup_is_a_concern_if_it_cannot_be_used() {
        let store = store_of(&["2 1000", "1 1000"]);
        add(&store, 20, Command::Verify, Outcome::Failed, Some("20251210_130000"));
        let status = status_with(&store, None);
        let concern = Concern::NewestUnfit { id: id("20251210_130000"), why: Objection::FoundDamaged };
        assert!(status.concerns.contains(&concern), "{status:?}");
        assert_eq!((status.fresh, status.last_success.unwrap().id), (true, Some(id("20251210_120000"))));
        publish(&store, "manifest_20251210_133000.json", b"{\"format\": 1, cut sh");
        let concern = Concern::NewestUnfit { id: id("20251210_133000"), why: Objection::Unreadable };
        assert!(status_with(&store, None).concerns.contains(&concern));
    }
}
