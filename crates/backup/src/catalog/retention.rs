//! Retention: what a policy keeps of a catalog, entry by entry with the reason.
//!
//! Deleting backups is the one thing here that can't be undone, and it runs unattended, on a clock that may be wrong.
//! So it is a pure function that plans and touches nothing, and it is safe for three reasons:
//!
//! 1. Rules only ever *keep*, and what goes is what no rule speaks for: another rule, or a larger number, keeps no
//!    less. There are two exceptions. A larger `keep_days` can end the state of point 3, in which nothing goes; and a
//!    `keep_days` below the default window shortens that window.
//! 2. Some rules ask neither the policy nor the age: pinned backups, the newest copies of each database, file set and
//!    configuration file, what is another project's or host's, and everything this program doesn't understand are kept. What is
//!    from before a collapse is kept for days of its own, that no other rule shortens.
//! 3. If even the newest complete backup is past the window, backups have stopped or the clock jumped ahead. Age then
//!    says nothing about what may go, so nothing goes: [`Staleness`]. Entries dated in the future are kept and take part
//!    in no rule, so a clock that went back can't let them stand for others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::record::id::BackupId;
use crate::record::manifest::{Collapse, Trigger};

/// The largest number a policy takes, in days (a hundred years) or backups. More is taken for a slip of the hand.
const MAX: u32 = 36_500;

/// The window in days if the policy has no `keep_days`.
const DEFAULT_WINDOW: u32 = 7;

/// For how many days a backup from before a collapse is kept, if the policy doesn't say.
const BEFORE_COLLAPSE: u32 = 30;

/// What to keep. A backup is kept if any rule keeps it.
///
/// The count rules are named as those of [restic's `forget`][restic], and go by the UTC calendar. They look at complete
/// backups only, and at each database and file set on its own: a later backup of the configuration alone doesn't take
/// the place of the day's only backup of the database. Unlike restic's they keep no oldest backup while there is room.
///
/// [restic]: https://restic.readthedocs.io/en/stable/060_forget.html
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Keep what is at most this many days old; 0 keeps nothing for its age. It is also the window (at least one day,
    /// seven if unset) for which failed runs and what a restore replaced are kept.
    pub keep_days: Option<u32>,
    /// Keep the last so many backups.
    #[serde(default)]
    pub keep_last: u32,
    /// Keep the newest backup of each of the last so many days that have one.
    #[serde(default)]
    pub keep_daily: u32,
    /// The same with ISO 8601 weeks.
    #[serde(default)]
    pub keep_weekly: u32,
    /// The same with months.
    #[serde(default)]
    pub keep_monthly: u32,
    /// The same with years.
    #[serde(default)]
    pub keep_yearly: u32,
    /// For how many days after a collapse was found the newest backup from before it is kept, whatever the other rules
    /// say; 0 is off. Settings write it as `"30d"`.
    #[serde(default = "before_collapse", deserialize_with = "days")]
    pub keep_before_collapse: u32,
}

/// One entry of the catalog, as far as retention looks at it. No two have the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub id: BackupId,
    /// When it was begun: what its age is.
    pub at: DateTime<Utc>,
    /// What is known of it.
    pub standing: Standing,
    /// What caused it.
    pub trigger: Trigger,
    /// Whether a person said to keep it.
    pub pinned: bool,
    /// Names of the databases and file sets in it, in any order.
    pub holds: Vec<String>,
    /// Paths of the configuration files in it, in any order.
    pub paths: Vec<String>,
    /// Databases that had collapsed when it was made.
    pub collapses: Vec<Collapse>,
    /// Whether a person said that these collapses were meant.
    pub accepted: bool,
}

/// What is known of an entry of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// All that was asked for is in it.
    Complete,
    /// Some of what was asked for is in it.
    Partial,
    /// The record of a run that saved nothing.
    Failed,
    /// Artifacts without a manifest: written by another tool, or by hand.
    NoManifest,
    /// A manifest that can't be read.
    Unreadable,
    /// A manifest that names another project.
    AnotherProject,
    /// A manifest that names a host which this project is not known to have been on.
    AnotherHost,
}

/// What a policy says about a catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// One for each candidate, newest first.
    pub decisions: Vec<Decision>,
    /// Why nothing at all is removed, if that is so.
    pub stale: Option<Staleness>,
}

/// What happens to one entry, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The entry.
    pub id: BackupId,
    /// Whether it stays.
    pub keep: bool,
    /// Every rule that keeps it, or the one reason why it goes; never empty.
    pub reasons: Vec<Reason>,
}

/// Why an entry is kept or removed. In JSON an object with a `code` and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// Kept: a person said so.
    Pinned,
    /// Kept: its id is later than now.
    Future,
    /// Kept: there is no manifest to judge it by.
    NoManifest,
    /// Kept: its manifest can't be read.
    Unreadable,
    /// Kept: its manifest names another project.
    AnotherProject,
    /// Kept: its manifest names a host which this project is not known to have been on.
    AnotherHost,
    /// Kept: it is at most so many days old.
    Within {
        /// What it is.
        what: Class,
        /// The limit.
        days: u32,
    },
    /// Kept: one of the last so many.
    Last {
        /// How many.
        count: u32,
    },
    /// Kept: the newest of its day.
    Daily {
        /// The day, UTC.
        date: NaiveDate,
    },
    /// Kept: the newest of its week.
    Weekly {
        /// The ISO 8601 year, which isn't always the calendar's.
        year: i32,
        /// The ISO 8601 week, 1 to 53.
        week: u32,
    },
    /// Kept: the newest of its month.
    Monthly {
        /// The year.
        year: i32,
        /// The month, 1 to 12.
        month: u32,
    },
    /// Kept: the newest of its year.
    Yearly {
        /// The year.
        year: i32,
    },
    /// Kept: the newest complete backup of all.
    Newest,
    /// Kept: the newest complete backup with this database or file set (or, without one, the best there is).
    NewestWith {
        /// The database or file set.
        name: String,
    },
    /// Kept: a partial backup that holds this database or file set, newer than any complete one.
    NewestPartialWith {
        /// The database or file set.
        name: String,
    },
    /// Kept: the newest one with this configuration file, where it isn't already the newest with its set.
    NewestWithFile {
        /// The file's path, relative to the project's root.
        path: String,
    },
    /// Kept: the newest one from before a database collapsed.
    BeforeCollapse {
        /// What the database lost.
        #[serde(flatten)]
        collapse: Collapse,
    },
    /// Kept: it shows the collapse that another one is kept for.
    ShowsCollapse {
        /// The database.
        name: String,
    },
    /// Kept: no rule keeps it, but the plan is [`Staleness`].
    NothingRemoved,
    /// Removed: it is more than so many days old, and only its age could have kept it.
    OlderThan {
        /// What it is.
        what: Class,
        /// The limit.
        days: u32,
    },
    /// Removed: neither its age nor a count keeps it.
    NoRule,
    /// Removed: it would be kept for a collapse, had nobody said that this was meant.
    CollapseAccepted {
        /// The database.
        name: String,
    },
}

/// What sort of entry an age limit was applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A backup, complete or partial.
    Backup,
    /// What a restore replaced: `restore --undo` needs it.
    PreRestore,
    /// The record of a run that saved nothing.
    FailedRun,
}

/// Why nothing is removed: backups have stopped, or the clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Staleness {
    /// The newest complete backup up to now that isn't of a restore; `None` if there is none.
    pub newest: Option<BackupId>,
    /// Its age in whole days, rounded down.
    pub age_days: Option<i64>,
    /// How many days old it may be.
    pub window_days: u32,
    /// Whether there are complete backups dated in the future.
    pub future: bool,
    /// The first complete backup after a gap in which time may not have passed, if that is why. `newest` is then the last
    /// one before the gap, and `age_days` its length.
    pub since: Option<BackupId>,
}

/// Plans what to keep of `candidates` (in any order) at the moment `now`.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the policy is not valid: [`Policy::validate`].
pub fn plan(candidates: &[Candidate], policy: &Policy, now: DateTime<Utc>) -> Result<Plan> {
    policy.validate()?;
    let mut newest_first: Vec<&Candidate> = candidates.iter().collect();
    newest_first.sort_by_key(|candidate| Reverse((candidate.at, candidate.id)));
    let (past, ahead): (Vec<&Candidate>, Vec<&Candidate>) =
        newest_first.iter().copied().partition(|candidate| candidate.at <= now);
    let stale = staleness(&past, policy, now, ahead.iter().any(|candidate| candidate.is_counted()));

    let mut keeps: BTreeMap<BackupId, Vec<Reason>> = BTreeMap::new();
    let mut seen = HashSet::new();
    let rules = [
        by_nature(&newest_first, now),
        by_age(&past, policy, now),
        by_count(&past, policy),
        newest(&past),
        around_collapses(&past, policy, now, false),
    ];
    for (id, reason) in rules.into_iter().flatten() {
        // Two series may keep a backup for the same reason.
        if seen.insert((id, reason.clone())) {
            keeps.entry(id).or_default().push(reason);
        }
    }
    let accepted = around_collapses(&past, policy, now, true);
    let why_removed = |candidate: &Candidate| {
        let would_keep = accepted.iter().find_map(|(id, reason)| match reason {
            Reason::BeforeCollapse { collapse } if *id == candidate.id => Some(collapse.name.clone()),
            _ => None,
        });
        would_keep.map_or_else(|| policy.why_removed(candidate), |name| Reason::CollapseAccepted { name })
    };
    let decide = |candidate: &&Candidate| match keeps.get(&candidate.id) {
        Some(reasons) => Decision { id: candidate.id, keep: true, reasons: reasons.clone() },
        None if stale.is_some() => Decision { id: candidate.id, keep: true, reasons: vec![Reason::NothingRemoved] },
        None => Decision { id: candidate.id, keep: false, reasons: vec![why_removed(candidate)] },
    };
    Ok(Plan { decisions: newest_first.iter().map(decide).collect(), stale })
}

impl Policy {
    /// Checks that the policy keeps something on purpose.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it has no rule at all, or a number above 36 500.
    pub fn validate(&self) -> Result<()> {
        let counts = self.counts();
        let days = self.keep_days.map(|days| ("keep_days", days));
        let before = ("keep_before_collapse", self.keep_before_collapse);
        let numbers = days.into_iter().chain(counts).chain([before]);
        if let Some((setting, value)) = numbers.into_iter().find(|(_, value)| *value > MAX) {
            return Err(Error::new(ErrorKind::InvalidInput, format!("{setting} is too large: {value}"))
                .with_hint(format!("the most is {MAX}; pin a backup to keep it for ever")));
        }
        if self.keep_days.is_none() && !self.has_counts() {
            return Err(Error::new(ErrorKind::InvalidInput, "the retention policy has no rule: it would keep nothing")
                .with_hint(format!("set keep_days, or one of {}", counts.map(|(setting, _)| setting).join(", "))));
        }
        Ok(())
    }

    fn counts(&self) -> [(&'static str, u32); 5] {
        [
            ("keep_last", self.keep_last),
            ("keep_daily", self.keep_daily),
            ("keep_weekly", self.keep_weekly),
            ("keep_monthly", self.keep_monthly),
            ("keep_yearly", self.keep_yearly),
        ]
    }

    fn has_counts(&self) -> bool {
        self.counts().iter().any(|(_, count)| *count > 0)
    }

    fn window(&self) -> u32 {
        self.keep_days.unwrap_or(DEFAULT_WINDOW).max(1)
    }

    /// What an entry is to the age rule, and for how many days its age keeps it; `None`: its age doesn't matter.
    fn age_limit(&self, candidate: &Candidate) -> Option<(Class, u32)> {
        let (class, days) = match (candidate.standing, candidate.trigger) {
            (Standing::NoManifest | Standing::Unreadable | Standing::AnotherProject | Standing::AnotherHost, _) => {
                return None;
            }
            (Standing::Failed, _) => (Class::FailedRun, self.window()),
            (_, Trigger::PreRestore) => (Class::PreRestore, self.window()),
            (Standing::Complete, _) => (Class::Backup, self.keep_days.unwrap_or(0)),
            // No count rule looks at a partial backup: without a default it would go as soon as it was made.
            (Standing::Partial, _) => (Class::Backup, self.keep_days.unwrap_or(DEFAULT_WINDOW)),
        };
        (days > 0).then_some((class, days))
    }

    fn why_removed(&self, candidate: &Candidate) -> Reason {
        match self.age_limit(candidate) {
            Some((what, days)) if !(candidate.is_counted() && self.has_counts()) => Reason::OlderThan { what, days },
            _ => Reason::NoRule,
        }
    }
}

impl Default for Policy {
    /// A week of backups.
    fn default() -> Self {
        Self {
            keep_days: Some(7),
            keep_last: 0,
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
            keep_yearly: 0,
            keep_before_collapse: BEFORE_COLLAPSE,
        }
    }
}

fn before_collapse() -> u32 {
    BEFORE_COLLAPSE
}

/// Reads days as settings write durations, `"30d"`; a bare number is one of days as well.
fn days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Days {
        Number(u32),
        Text(String),
    }
    let days = match Days::deserialize(deserializer) {
        Ok(Days::Number(days)) => Some(days),
        Ok(Days::Text(text)) => text.strip_suffix('d').unwrap_or(&text).trim_end().parse().ok(),
        Err(_) => None,
    };
    days.ok_or_else(|| serde::de::Error::custom("must be a number of days: \"30d\"; 0 is off"))
}

impl Plan {
    /// The same, where nothing goes.
    #[must_use]
    pub(crate) fn keeping_all(mut self, why: Staleness) -> Self {
        for decision in self.decisions.iter_mut().filter(|decision| !decision.keep) {
            (decision.keep, decision.reasons) = (true, vec![Reason::NothingRemoved]);
        }
        Self { stale: Some(why), ..self }
    }

    /// What goes, newest first.
    pub fn removals(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.decisions.iter().filter(|decision| !decision.keep)
    }

    /// What stays, newest first.
    pub fn kept(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.decisions.iter().filter(|decision| decision.keep)
    }
}

impl Candidate {
    /// Whether count rules and staleness look at it: a whole backup of the live state as an ordinary run saw it.
    fn is_counted(&self) -> bool {
        self.is_complete() && self.trigger != Trigger::PreRestore
    }

    fn is_complete(&self) -> bool {
        self.standing == Standing::Complete
    }

    fn is_partial(&self) -> bool {
        self.standing == Standing::Partial
    }
}

/// The period a day is in, as the reason to keep the newest backup of that period.
type PeriodOf = fn(NaiveDate) -> Reason;

/// What a rule keeps, and why.
type KeepReasons = Vec<(BackupId, Reason)>;

fn staleness(past: &[&Candidate], policy: &Policy, now: DateTime<Utc>, future: bool) -> Option<Staleness> {
    let window_days = policy.window();
    let Some(newest) = past.iter().find(|candidate| candidate.is_counted()) else {
        return Some(Staleness { newest: None, age_days: None, window_days, future, since: None });
    };
    // Count rules alone don't ask how old a backup is, so without `keep_days` there is nothing to distrust.
    let too_old = policy.keep_days.is_some() && !is_within(newest, window_days, now);
    let age_days = Some((now - newest.at).num_days());
    too_old.then_some(Staleness { newest: Some(newest.id), age_days, window_days, future, since: None })
}

/// A gap is at least this long, whatever the usual interval: a server may be off for a night.
const LEAST_GAP: TimeDelta = TimeDelta::days(2);

/// So many times the longest of the intervals before it.
const UNUSUAL: i32 = 3;

/// So many backups at regular intervals show that a slow schedule is meant.
const RHYTHM: usize = 8;

/// Why the age of backups says nothing yet about what may go: between successive complete ones there is a gap in which
/// backups had stopped, or over which the clock jumped, and backups have not filled the window again since. `now` is the
/// moment of the newest one if that has just been made.
pub(crate) fn gap_in_window(candidates: &[Candidate], policy: &Policy, now: DateTime<Utc>) -> Option<Staleness> {
    let window = TimeDelta::days(policy.keep_days?.max(1).into());
    let is_past = |candidate: &&Candidate| candidate.is_counted() && candidate.at <= now;
    let mut newest_first: Vec<&Candidate> = candidates.iter().filter(is_past).collect();
    newest_first.sort_by_key(|candidate| Reverse(candidate.at));
    let times: Vec<DateTime<Utc>> = newest_first.iter().map(|candidate| candidate.at).collect();
    if is_slow_rhythm(&times, window, now) {
        return None;
    }
    let mut later = now;
    for (at, time) in times.iter().enumerate() {
        if now - later >= window {
            return None;
        }
        let gap = later - time;
        if gap > longest_usual(&times[at..], window) {
            let since = at.checked_sub(1).map(|newer| newest_first[newer].id);
            let (newest, age_days) = (Some(newest_first[at].id), Some(gap.num_days()));
            return Some(Staleness { newest, age_days, window_days: policy.window(), future: false, since });
        }
        later = *time;
    }
    None
}

/// Whether the last backups, newest first, and now follow each other at regular intervals of half a window and more: so few
/// fall into a window that they never fill it, and they have filled several by themselves.
fn is_slow_rhythm(times: &[DateTime<Utc>], window: TimeDelta, now: DateTime<Utc>) -> bool {
    let Some(last) = times.get(..RHYTHM) else { return false };
    let intervals = || last.windows(2).map(|pair| pair[0] - pair[1]);
    let (Some(shortest), Some(longest)) = (intervals().min(), intervals().max()) else { return false };
    let is_regular = longest.max(now - last[0]) <= shortest * UNUSUAL;
    is_regular && shortest * 2 >= window
}

/// How long the interval after the first of `times`, newest first, may be without being a gap: by the intervals in the
/// window before it, if there are enough of them; never longer than the window.
fn longest_usual(times: &[DateTime<Utc>], window: TimeDelta) -> TimeDelta {
    let most = window.max(LEAST_GAP);
    let is_in_window = |pair: &&[DateTime<Utc>]| times[0] - pair[1] <= window;
    let intervals = times.windows(2).take_while(is_in_window).map(|pair| pair[0] - pair[1]);
    let intervals: Vec<TimeDelta> = intervals.collect();
    match intervals.iter().max() {
        Some(longest) if intervals.len() > 1 => (*longest * UNUSUAL).clamp(LEAST_GAP, most),
        _ => most,
    }
}

/// What is kept for what it is, at any age and under any policy.
fn by_nature(candidates: &[&Candidate], now: DateTime<Utc>) -> KeepReasons {
    let mut keeps = KeepReasons::new();
    for candidate in candidates {
        let natures = [
            (candidate.pinned, Reason::Pinned),
            (candidate.at > now, Reason::Future),
            (candidate.standing == Standing::NoManifest, Reason::NoManifest),
            (candidate.standing == Standing::Unreadable, Reason::Unreadable),
            (candidate.standing == Standing::AnotherProject, Reason::AnotherProject),
            (candidate.standing == Standing::AnotherHost, Reason::AnotherHost),
        ];
        keeps.extend(natures.into_iter().filter(|(is, _)| *is).map(|(_, reason)| (candidate.id, reason)));
    }
    keeps
}

fn by_age(past: &[&Candidate], policy: &Policy, now: DateTime<Utc>) -> KeepReasons {
    let reason = |candidate: &&Candidate| {
        let (what, days) = policy.age_limit(candidate)?;
        is_within(candidate, days, now).then_some((candidate.id, Reason::Within { what, days }))
    };
    past.iter().filter_map(reason).collect()
}

fn is_within(candidate: &Candidate, days: u32, now: DateTime<Utc>) -> bool {
    now - candidate.at <= TimeDelta::days(days.into())
}

fn by_count(past: &[&Candidate], policy: &Policy) -> KeepReasons {
    let periods: [(u32, PeriodOf); 4] = [
        (policy.keep_daily, |date| Reason::Daily { date }),
        (policy.keep_weekly, |date| Reason::Weekly { year: date.iso_week().year(), week: date.iso_week().week() }),
        (policy.keep_monthly, |date| Reason::Monthly { year: date.year(), month: date.month() }),
        (policy.keep_yearly, |date| Reason::Yearly { year: date.year() }),
    ];
    let count = policy.keep_last;
    let mut keeps = KeepReasons::new();
    for holders in series(past, |it| &it.holds).values() {
        let counted: Vec<_> = holders.iter().filter(|it| it.is_counted()).collect();
        keeps.extend(counted.iter().take(count as usize).map(|it| (it.id, Reason::Last { count })));
        for (count, period) in periods {
            // Backups of one period have equal reasons and are neighbours; the first of them is the newest.
            let mut newest: KeepReasons = counted.iter().map(|it| (it.id, period(it.at.date_naive()))).collect();
            newest.dedup_by(|older, newer| older.1 == newer.1);
            keeps.extend(newest.into_iter().take(count as usize));
        }
    }
    keeps
}

/// The last copies, of everything, of each series, and of each configuration file.
fn newest(past: &[&Candidate]) -> KeepReasons {
    let overall = past.iter().find(|it| it.is_counted()).or_else(|| past.iter().find(|it| it.is_complete()));
    let mut keeps: KeepReasons = overall.map(|it| (it.id, Reason::Newest)).into_iter().collect();
    for (name, holders) in series(past, |it| &it.holds) {
        let last = LastCopies::of(&holders);
        keeps.extend(last.best.map(|id| (id, Reason::NewestWith { name: name.into() })));
        keeps.extend(last.newer_partial.map(|id| (id, Reason::NewestPartialWith { name: name.into() })));
    }
    // A file that is in the newest copy of its set needs no reason of its own.
    let already: HashSet<BackupId> = keeps.iter().map(|(id, _)| *id).collect();
    for (path, holders) in series(past, |it| &it.paths) {
        let others = LastCopies::of(&holders).ids().filter(|id| !already.contains(id));
        keeps.extend(others.map(|id| (id, Reason::NewestWithFile { path: path.into() })));
    }
    keeps
}

/// The last copies of one thing.
struct LastCopies {
    /// The newest complete backup, or else the next best.
    best: Option<BackupId>,
    /// While one source fails, the copies of the others are in partial backups, newer than any complete one.
    newer_partial: Option<BackupId>,
}

impl LastCopies {
    /// `holders` are newest first.
    fn of(holders: &[&Candidate]) -> Self {
        let find = |wanted: fn(&Candidate) -> bool| holders.iter().find(|it| wanted(it)).map(|it| it.id);
        let best = find(Candidate::is_counted)
            .or_else(|| find(Candidate::is_complete))
            .or_else(|| find(Candidate::is_partial));
        let partial = find(|it| it.is_partial() && it.trigger != Trigger::PreRestore);
        Self { best, newer_partial: partial.filter(|id| Some(*id) > best) }
    }

    fn ids(&self) -> impl Iterator<Item = BackupId> + use<> {
        self.best.into_iter().chain(self.newer_partial)
    }
}

/// What is kept for a while because a database collapsed: the last copies from before that, and the backup that shows
/// it. Without the latter, nothing would say any more why to keep the former. Those that a person `accepted`, or the
/// others.
fn around_collapses(past: &[&Candidate], policy: &Policy, now: DateTime<Utc>, accepted: bool) -> KeepReasons {
    let days = policy.keep_before_collapse;
    let is_kept_for = |it: &&&Candidate| days > 0 && it.accepted == accepted && is_within(it, days, now);
    let mut keeps = KeepReasons::new();
    for shows in past.iter().filter(is_kept_for) {
        for collapse in &shows.collapses {
            let is_before = |it: &&Candidate| it.id <= collapse.since && it.holds.contains(&collapse.name);
            let holders: Vec<&Candidate> = past.iter().copied().filter(is_before).collect();
            let before: KeepReasons = LastCopies::of(&holders)
                .ids()
                .map(|id| (id, Reason::BeforeCollapse { collapse: collapse.clone() }))
                .collect();
            if !before.is_empty() {
                keeps.push((shows.id, Reason::ShowsCollapse { name: collapse.name.clone() }));
            }
            keeps.extend(before);
        }
    }
    keeps
}

/// All that is held of some sort, each with the backups that hold it, newest first: a series.
fn series<'a>(past: &[&'a Candidate], held: fn(&Candidate) -> &Vec<String>) -> BTreeMap<&'a str, Vec<&'a Candidate>> {
    let mut series: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
    for candidate in past {
        for name in held(candidate) {
            let holders = series.entry(name).or_default();
            // A name may be that of a database and of a set of files.
            if holders.last().is_none_or(|last| last.id != candidate.id) {
                holders.push(candidate);
            }
        }
    }
    series
}

/// The reason as a person reads it in a table.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => f.write_str("pinned"),
            Self::Future => f.write_str("dated in the future"),
            Self::NoManifest => f.write_str("no manifest"),
            Self::Unreadable => f.write_str("manifest can't be read"),
            Self::AnotherProject => f.write_str("another project's"),
            Self::AnotherHost => f.write_str("another host's"),
            Self::Within { what: Class::PreRestore, days } => write!(f, "kept for undo for {}", in_words(*days)),
            Self::Within { what, days } => write!(f, "{}within {}", what.prefix(), in_words(*days)),
            Self::OlderThan { what, days } => write!(f, "{}older than {}", what.prefix(), in_words(*days)),
            Self::Last { count } => write!(f, "last {count}"),
            Self::Daily { date } => write!(f, "daily {date}"),
            Self::Weekly { year, week } => write!(f, "weekly {year:04}-W{week:02}"),
            Self::Monthly { year, month } => write!(f, "monthly {year:04}-{month:02}"),
            Self::Yearly { year } => write!(f, "yearly {year:04}"),
            Self::Newest => f.write_str("newest complete backup"),
            Self::NewestWith { name } => write!(f, "newest with {name}"),
            Self::NewestPartialWith { name } => write!(f, "newest partial with {name}"),
            Self::NewestWithFile { path } => write!(f, "newest with {path}"),
            Self::BeforeCollapse { collapse } => write!(f, "before the collapse of {collapse}"),
            Self::ShowsCollapse { name } => write!(f, "shows the collapse of {name}"),
            Self::CollapseAccepted { name } => write!(f, "the collapse of {name} was accepted"),
            Self::NothingRemoved => f.write_str("no recent backup, so nothing is removed"),
            Self::NoRule => f.write_str("no rule keeps it"),
        }
    }
}

impl Class {
    fn prefix(self) -> &'static str {
        match self {
            Self::Backup => "",
            Self::PreRestore => "pre-restore, ",
            Self::FailedRun => "failed run, ",
        }
    }
}

/// The warning as a person reads it, in one line.
impl fmt::Display for Staleness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing is removed: ")?;
        let Some((id, age)) = self.newest.zip(self.age_days) else {
            return f.write_str(if self.future {
                "all complete backups are dated in the future; the clock went back, or was ahead"
            } else {
                "no run up to now has made a complete backup"
            });
        };
        let (age, window) = (in_words(age), in_words(self.window_days));
        if let Some(since) = self.since {
            write!(f, "between {id} and {since} there is no complete backup for {age}, and the {window} since then ")?;
            return f.write_str("are not filled yet; backups had stopped, or the clock jumped");
        }
        write!(f, "the newest complete backup, {id}, is more than {age} old and the window is {window}; ")?;
        f.write_str("backups have stopped, or the clock is wrong")
    }
}

fn in_words(days: impl Into<i64>) -> String {
    match days.into() {
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A Wednesday, in ISO week 50.
    const NOW: &str = "20251210_140000";
    const NO_RULE: Policy = Policy {
        keep_days: None,
        keep_last: 0,
        keep_daily: 0,
        keep_weekly: 0,
        keep_monthly: 0,
        keep_yearly: 0,
        keep_before_collapse: 30,
    };

    impl Candidate {
        fn holds(&self, name: &str) -> bool {
            self.holds.iter().any(|held| held == name)
        }
    }

    fn at(id: &str) -> DateTime<Utc> {
        id.parse::<BackupId>().unwrap().time()
    }

    fn days(days: u32) -> Policy {
        Policy { keep_days: Some(days), ..NO_RULE }
    }

    /// `ID [WORD…] [NAME…]`: complete and of the timer unless a word says otherwise; the names are what it holds, those
    /// with a `.` are configuration files, and `NAME<ID` is a collapse since another backup.
    fn candidate(text: &str) -> Candidate {
        let (id, words) = text.split_once(' ').unwrap();
        let id = id.parse().unwrap();
        let (mut standing, mut trigger) = (Standing::Complete, Trigger::Timer);
        let (mut pinned, mut accepted, mut holds, mut paths, mut collapses) = Default::default();
        for word in words.split_whitespace() {
            match word {
                "partial" => standing = Standing::Partial,
                "failed" => standing = Standing::Failed,
                "no-manifest" => standing = Standing::NoManifest,
                "unreadable" => standing = Standing::Unreadable,
                "pre-restore" => trigger = Trigger::PreRestore,
                "pinned" => pinned = true,
                "accepted" => accepted = true,
                "another" => standing = Standing::AnotherProject,
                "host" => standing = Standing::AnotherHost,
                collapse if collapse.contains('<') => Vec::push(&mut collapses, collapse_of(collapse)),
                path if path.contains('.') => Vec::push(&mut paths, path.to_owned()),
                name => Vec::push(&mut holds, name.to_owned()),
            }
        }
        Candidate { id, at: id.time(), standing, trigger, pinned, holds, paths, collapses, accepted }
    }

    fn collapse_of(text: &str) -> Collapse {
        let (name, since) = text.split_once('<').unwrap();
        let (name, since) = (name.into(), since.parse().unwrap());
        Collapse { name, since, table: Some("sessions".into()), was: 20_000, now: 12 }
    }

    fn plan_of(policy: Policy, candidates: &[&str]) -> Plan {
        let candidates: Vec<_> = candidates.iter().map(|text| candidate(text)).collect();
        plan(&candidates, &policy, at(NOW)).unwrap()
    }

    /// Rows, newest first, of a candidate and what becomes of it: `+` kept or `-` removed, and the reasons.
    #[track_caller]
    fn check(policy: Policy, rows: &[(&str, &str)]) {
        let plan = plan_of(policy, &rows.iter().map(|(candidate, _)| *candidate).collect::<Vec<_>>());
        let found: Vec<_> =
            rows.iter().zip(&plan.decisions).map(|((text, _), decision)| (*text, show(decision))).collect();
        let wanted: Vec<_> = rows.iter().map(|(text, outcome)| (*text, (*outcome).to_owned())).collect();
        assert_eq!(found, wanted);
    }

    fn show(decision: &Decision) -> String {
        let reasons: Vec<_> = decision.reasons.iter().map(ToString::to_string).collect();
        format!("{} {}", if decision.keep { '+' } else { '-' }, reasons.join(", "))
    }

    #[test]
    fn a_policy_without_a_rule_is_refused() {
        let error = plan(&[], &NO_RULE, at(NOW)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "the retention policy has no rule: it would keep nothing");
        let hint = "set keep_days, or one of keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly";
        assert_eq!(error.hint(), Some(hint));
    }

    #[test]
    fn zero_days_are_a_rule_and_so_is_any_count() {
        assert!(days(0).validate().is_ok());
        assert!(Policy { keep_yearly: 1, ..NO_RULE }.validate().is_ok());
        assert!(Policy::default().validate().is_ok());
    }

    #[test]
    fn an_absurd_number_is_refused_by_the_name_of_its_setting() {
        let too_many = 36_501;
        for (setting, policy) in [
            ("keep_days", days(too_many)),
            ("keep_last", Policy { keep_last: too_many, ..days(7) }),
            ("keep_daily", Policy { keep_daily: too_many, ..days(7) }),
            ("keep_weekly", Policy { keep_weekly: too_many, ..days(7) }),
            ("keep_monthly", Policy { keep_monthly: too_many, ..days(7) }),
            ("keep_yearly", Policy { keep_yearly: too_many, ..days(7) }),
        ] {
            let error = policy.validate().unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string()),
                (ErrorKind::InvalidInput, format!("{setting} is too large: 36501"))
            );
        }
        assert!(days(36_500).validate().is_ok());
    }

    #[test]
    fn keep_days_keeps_to_the_second() {
        check(
            days(7),
            &[
                ("20251210_130000 db", "+ within 7 days, newest complete backup, newest with db"),
                ("20251205_140000 partial db", "+ within 7 days"),
                ("20251203_140000 db", "+ within 7 days"),
                ("20251203_135959 db", "- older than 7 days"),
                ("20251203_135958 partial db", "- older than 7 days"),
            ],
        );
    }

    #[test]
    fn zero_days_leave_the_newest_alone() {
        check(
            days(0),
            &[
                ("20251210_140000 db", "+ newest complete backup, newest with db"),
                ("20251210_135959 db", "- no rule keeps it"),
                ("20251210_135958 partial db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn keep_last_counts_backups() {
        check(
            Policy { keep_last: 2, ..NO_RULE },
            &[
                ("20251210_130000 db", "+ last 2, newest complete backup, newest with db"),
                ("20251210_120000 db", "+ last 2"),
                ("20251210_110000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn keep_daily_keeps_the_newest_of_each_day_that_has_one() {
        check(
            Policy { keep_daily: 2, ..NO_RULE },
            &[
                ("20251210_000000 db", "+ daily 2025-12-10, newest complete backup, newest with db"),
                ("20251207_235959 db", "+ daily 2025-12-07"),
                ("20251207_000000 db", "- no rule keeps it"),
                ("20251206_120000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn keep_weekly_counts_iso_weeks_across_the_year() {
        check(
            Policy { keep_weekly: 3, ..NO_RULE },
            &[
                ("20250105_120000 db", "+ weekly 2025-W01, newest complete backup, newest with db"),
                ("20241230_000000 db", "- no rule keeps it"), // a Monday: the first day of 2025-W01
                ("20241229_235959 db", "+ weekly 2024-W52"),
                ("20210103_120000 db", "+ weekly 2020-W53"),
                ("20201228_120000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn keep_monthly_and_keep_yearly_follow_the_calendar() {
        check(
            Policy { keep_monthly: 3, keep_yearly: 2, ..NO_RULE },
            &[
                ("20251201_000000 db", "+ monthly 2025-12, yearly 2025, newest complete backup, newest with db"),
                ("20251130_235959 db", "+ monthly 2025-11"),
                ("20251101_000000 db", "- no rule keeps it"),
                ("20241231_235959 db", "+ monthly 2024-12, yearly 2024"),
                ("20231231_235959 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn rules_add_up_and_each_is_named() {
        check(
            Policy { keep_last: 1, keep_daily: 1, keep_weekly: 1, keep_monthly: 1, keep_yearly: 1, ..days(1) },
            &[
                (
                    "20251210_130000 db",
                    "+ within 1 day, last 1, daily 2025-12-10, weekly 2025-W50, monthly 2025-12, yearly 2025, \
                     newest complete backup, newest with db",
                ),
                ("20251209_120000 db", "- no rule keeps it"),
                ("20251209_110000 partial db", "- older than 1 day"),
            ],
        );
    }

    #[test]
    fn a_backup_of_the_configuration_alone_does_not_take_the_place_of_the_database() {
        check(
            Policy { keep_daily: 1, ..NO_RULE },
            &[
                ("20251210_130000 config", "+ daily 2025-12-10, newest complete backup, newest with config"),
                ("20251210_120000 config", "- no rule keeps it"),
                ("20251210_020000 config db", "+ daily 2025-12-10, newest with db"),
            ],
        );
    }

    #[test]
    fn the_newest_copy_of_a_database_that_is_no_longer_backed_up_stays() {
        check(
            days(7),
            &[
                ("20251210_130000 db", "+ within 7 days, newest complete backup, newest with db"),
                ("20200101_000000 db old", "+ newest with old"),
                ("20190101_000000 db old", "- older than 7 days"),
            ],
        );
    }

    #[test]
    fn while_one_source_fails_the_newest_partial_backup_of_the_others_stays() {
        check(
            Policy { keep_daily: 3, ..NO_RULE },
            &[
                ("20251202_020000 partial db", "+ newest partial with db"),
                ("20251201_020000 partial db", "- older than 7 days"),
                (
                    "20251101_020000 config db",
                    "+ daily 2025-11-01, newest complete backup, newest with config, newest with db",
                ),
            ],
        );
    }

    #[test]
    fn a_partial_backup_of_what_a_restore_replaced_is_no_last_copy() {
        check(
            Policy { keep_last: 1, ..NO_RULE },
            &[
                ("20251202_020000 partial pre-restore db", "- pre-restore, older than 7 days"),
                ("20251101_020000 db", "+ last 1, newest complete backup, newest with db"),
            ],
        );
    }

    #[test]
    fn partial_backups_have_the_window_under_counts_alone() {
        check(
            Policy { keep_last: 1, ..NO_RULE },
            &[
                ("20251210_130000 db", "+ last 1, newest complete backup, newest with db"),
                ("20251209_130000 partial db", "+ within 7 days"),
                ("20251203_130000 partial db", "- older than 7 days"),
            ],
        );
    }

    #[test]
    fn without_a_complete_backup_a_series_keeps_the_next_best() {
        check(
            days(7),
            &[
                ("20251210_130000 config", "+ within 7 days, newest complete backup, newest with config"),
                ("20251103_000000 partial db other", "+ newest partial with db, newest with other"),
                ("20251102_000000 pre-restore db", "+ newest with db"),
                ("20251101_130000 partial other", "- older than 7 days"),
                ("20251101_120000 pre-restore db", "- pre-restore, older than 7 days"),
            ],
        );
    }

    #[test]
    fn what_a_restore_replaced_is_kept_for_the_window_and_never_counted() {
        check(
            Policy { keep_last: 1, ..days(7) },
            &[
                ("20251210_130000 pre-restore db", "+ kept for undo for 7 days"),
                ("20251210_120000 db", "+ within 7 days, last 1, newest complete backup, newest with db"),
                ("20251203_120000 pre-restore db", "- pre-restore, older than 7 days"),
            ],
        );
    }

    #[test]
    fn what_is_from_before_a_collapse_stays_and_so_does_the_backup_that_shows_it() {
        check(
            days(0),
            &[
                ("20251210_130000 db", "+ newest complete backup, newest with db"),
                ("20251201_130000 db", "- no rule keeps it"),
                ("20251110_140000 db db<20251109_020000", "+ shows the collapse of db"),
                ("20251109_020000 db", "+ before the collapse of db (sessions: 20,000 → 12 rows)"),
                ("20251108_020000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn thirty_days_after_a_collapse_was_found_it_is_forgotten() {
        check(
            days(0),
            &[
                ("20251210_130000 db", "+ newest complete backup, newest with db"),
                ("20251110_135959 db db<20251109_020000", "- no rule keeps it"),
                ("20251109_020000 db", "- no rule keeps it"),
            ],
        );
        let off = Policy { keep_before_collapse: 0, ..days(0) };
        check(
            off,
            &[
                ("20251210_140000 db db<20251209_150000", "+ newest complete backup, newest with db"),
                ("20251209_150000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn a_collapse_that_was_meant_keeps_nothing_and_says_so() {
        check(
            days(0),
            &[
                ("20251210_130000 db", "+ newest complete backup, newest with db"),
                ("20251201_130000 accepted db db<20251130_130000", "- no rule keeps it"),
                ("20251130_130000 db", "- the collapse of db was accepted"),
                ("20251129_130000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn if_the_backup_from_before_a_collapse_is_gone_or_bad_the_one_before_it_stays() {
        let before = "+ before the collapse of db (sessions: 20,000 → 12 rows)";
        check(
            days(0),
            &[
                (
                    "20251210_130000 config db db<20251209_020000",
                    "+ newest complete backup, newest with config, newest with db, shows the collapse of db",
                ),
                ("20251209_020000 partial db", before),
                ("20251208_020000 config", "- no rule keeps it"),
                ("20251207_020000 db", before),
                ("20251206_020000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn the_newest_backup_with_each_configuration_file_stays() {
        check(
            days(0),
            &[
                ("20251210_130000 config a.env", "+ newest complete backup, newest with config"),
                ("20251209_130000 config a.env", "- no rule keeps it"),
                ("20251102_130000 partial config a.env b.env", "+ newest with b.env"),
                ("20251101_130000 config a.env b.env", "+ newest with b.env"),
                ("20251031_130000 config a.env b.env c.env", "+ newest with c.env"),
                ("20251030_130000 config a.env b.env c.env", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn what_is_another_projects_or_hosts_stays_and_stands_for_nothing_else() {
        check(
            Policy { keep_last: 1, ..days(0) },
            &[
                ("20251210_130000 another db a.env", "+ another project's"),
                ("20251209_150000 db a.env", "+ last 1, newest complete backup, newest with db"),
                ("20251201_130000 another db a.env", "+ another project's"),
                ("20251130_130000 host db a.env", "+ another host's"),
            ],
        );
    }

    #[test]
    fn days_are_read_as_settings_write_durations() {
        let read = |json: serde_json::Value| serde_json::from_value::<Policy>(json).map(|it| it.keep_before_collapse);
        let with = |value: serde_json::Value| serde_json::json!({ "keep_days": 7, "keep_before_collapse": value });
        assert_eq!(read(serde_json::json!({ "keep_days": 7 })).unwrap(), 30, "a section that leaves it out");
        for (value, days) in [("30d".into(), 30), ("0".into(), 0), ("0d".into(), 0), (14.into(), 14), (0.into(), 0)] {
            assert_eq!(read(with(value)).unwrap(), days);
        }
        for wrong in ["30h".into(), "".into(), "-1d".into(), (-1).into(), 1.5.into(), true.into()] {
            let error = read(with(wrong)).unwrap_err();
            assert_eq!(error.to_string(), "must be a number of days: \"30d\"; 0 is off");
        }
    }

    #[test]
    fn failed_runs_are_kept_for_the_window_and_never_counted() {
        check(
            Policy { keep_last: 1, ..days(7) },
            &[
                ("20251210_130000 failed", "+ failed run, within 7 days"),
                ("20251210_120000 db", "+ within 7 days, last 1, newest complete backup, newest with db"),
                ("20251203_120000 failed", "- failed run, older than 7 days"),
            ],
        );
    }

    #[test]
    fn the_window_is_a_day_at_least_and_a_week_by_default() {
        let backup = "20251210_130000 db";
        let (in_a_day, in_a_week, older) =
            ("20251209_140000 failed", "20251203_140000 failed", "20251203_135959 failed");
        let kept = |policy| plan_of(policy, &[backup, in_a_day, in_a_week, older]).kept().count();
        assert_eq!(kept(days(0)), 2);
        assert_eq!(kept(Policy { keep_last: 1, ..NO_RULE }), 3);
    }

    #[test]
    fn pinned_and_unknown_entries_stay_at_any_age() {
        check(
            days(7),
            &[
                ("20251210_133000 no-manifest db", "+ no manifest"),
                ("20251210_130000 db", "+ within 7 days, newest complete backup, newest with db"),
                ("20200104_000000 pinned db", "+ pinned"),
                ("20200103_000000 pinned failed", "+ pinned"),
                ("20200102_000000 no-manifest db", "+ no manifest"),
                ("20200101_000000 unreadable db", "+ manifest can't be read"),
            ],
        );
    }

    #[test]
    fn the_future_is_kept_and_stands_for_nothing_else() {
        check(
            Policy { keep_last: 1, ..NO_RULE },
            &[
                ("20990101_000000 db", "+ dated in the future"),
                ("20251210_140001 failed", "+ dated in the future"),
                ("20251210_140000 db", "+ last 1, newest complete backup, newest with db"),
            ],
        );
    }

    #[test]
    fn nothing_is_removed_when_backups_have_stopped() {
        let rows = [
            ("20990101_000000 db", "+ dated in the future"),
            ("20251210_130000 pre-restore db", "+ kept for undo for 7 days"),
            ("20251210_120000 partial db", "+ within 7 days, newest partial with db"),
            ("20251203_135959 db", "+ newest complete backup, newest with db"),
            ("20251202_000000 db", "+ no recent backup, so nothing is removed"),
            ("20200101_000000 failed", "+ no recent backup, so nothing is removed"),
        ];
        check(days(7), &rows);
        let stale = plan_of(days(7), &rows.map(|(candidate, _)| candidate)).stale.unwrap();
        assert_eq!((stale.age_days, stale.window_days), (Some(7), 7));
        assert_eq!(
            stale.to_string(),
            "nothing is removed: the newest complete backup, 20251203_135959, is more than 7 days old and the window \
             is 7 days; backups have stopped, or the clock is wrong"
        );
    }

    #[test]
    fn a_newest_backup_at_the_edge_of_the_window_is_not_stale() {
        assert_eq!(plan_of(days(7), &["20251203_140000 db", "20251203_135959 db"]).removals().count(), 1);
        assert_eq!(plan_of(days(0), &["20251209_140000 db", "20251209_135959 db"]).removals().count(), 1);
        assert!(plan_of(days(0), &["20251209_135959 db"]).stale.is_some());
    }

    /// Since which backup the plan after `now` waits for its window to be filled, if it does.
    fn gap(policy: Policy, now: &str, ids: &[&str]) -> Option<(String, Option<String>)> {
        let candidates: Vec<_> = ids.iter().map(|id| candidate(&format!("{id} db"))).collect();
        let stale = gap_in_window(&candidates, &policy, at(now))?;
        Some((stale.newest.unwrap().to_string(), stale.since.map(|id| id.to_string())))
    }

    #[test]
    fn a_gap_far_longer_than_usual_keeps_everything_until_the_window_is_filled_again() {
        let nights = ["20251206_020000", "20251207_020000", "20251208_020000", "20251209_020000"];
        let after = |late: &[&str]| {
            let ids = [&nights[..], late].concat();
            gap(days(7), late.last().unwrap_or(&nights[3]), &ids)
        };
        assert_eq!(after(&[]), None);
        assert_eq!(after(&["20251210_023000"]), None);
        assert_eq!(after(&["20251211_020000"]), None, "one night was left out");
        let waits = |since: &str| Some((nights[3].to_string(), Some(since.to_string())));
        assert_eq!(after(&["20251213_020000"]), waits("20251213_020000"), "three were");
        let jumped = ["20360101_020000", "20360102_020000", "20360107_020000", "20360108_020000"];
        assert_eq!(after(&jumped[..1]), waits(jumped[0]));
        assert_eq!(after(&jumped[..2]), waits(jumped[0]));
        assert_eq!(after(&["20360101_020000", "20400101_020000"]).unwrap().1.unwrap(), "20400101_020000");
        let filled: Vec<String> = (1..=8).map(|day| format!("203601{day:02}_020000")).collect();
        let filled: Vec<&str> = filled.iter().map(String::as_str).collect();
        assert_eq!(after(&filled[..7]), waits(filled[0]));
        assert_eq!(after(&filled), None, "seven days of backups every night");
        // The newest is dated in the future: nothing of the present shows that time has passed.
        assert_eq!(gap(days(7), "20251220_020000", &nights).unwrap(), (nights[3].to_string(), None));
        assert_eq!(gap(Policy { keep_last: 3, ..NO_RULE }, "20360101_020000", &nights), None);
    }

    #[test]
    fn backups_that_are_further_apart_than_the_window_are_rotated_once_they_are_regular() {
        let weeks: Vec<String> =
            (0..9).map(|week| BackupId::at(at("20251001_020000") + TimeDelta::days(7 * week)).to_string()).collect();
        let weeks: Vec<&str> = weeks.iter().map(String::as_str).collect();
        for keep in [0, 3, 7, 14] {
            assert_eq!(gap(days(keep), weeks[8], &weeks[1..]), None, "{keep}");
        }
        assert!(gap(days(3), weeks[6], &weeks[..7]).is_some(), "seven are too few");
        assert!(gap(days(3), "20360101_020000", &weeks).is_some(), "the clock has jumped");
        assert!(gap(days(30), weeks[8], &[&weeks[..6], &["20360101_020000"]].concat()).is_none(), "of the future");
    }

    #[test]
    fn a_rhythm_of_its_own_is_no_gap() {
        // Some on a Friday, for a month.
        let fridays = ["20251107", "20251114", "20251121", "20251128", "20251205"];
        let ids: Vec<String> =
            fridays.iter().flat_map(|day| [1, 2, 3].map(|hour| format!("{day}_{hour:02}0000"))).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(gap(days(21), "20251205_030000", &ids), None);
        // Every hour, and a night and a day off.
        let hours = ["20251208_100000", "20251208_110000", "20251208_120000", "20251210_080000"];
        assert_eq!(gap(days(7), hours[3], &hours), None);
        assert_eq!(gap(days(0), "20251209_100000", &["20251208_095000", "20251209_100000"]), None, "a little late");
    }

    #[test]
    fn counts_alone_never_go_stale_by_age() {
        let plan = plan_of(Policy { keep_last: 1, ..NO_RULE }, &["20200102_000000 db", "20200101_000000 db"]);
        assert_eq!((plan.stale, plan.removals().count()), (None, 1));
    }

    #[test]
    fn nothing_is_removed_before_there_is_a_complete_backup() {
        let none = ["20251210_130000 pre-restore db", "20200102_000000 partial db", "20200101_000000 failed"];
        for policy in [days(7), Policy { keep_last: 1, ..NO_RULE }] {
            let plan = plan_of(policy, &none);
            assert_eq!(plan.removals().count(), 0);
            assert!(plan.decisions[0].reasons.contains(&Reason::Newest));
            assert_eq!(
                plan.stale,
                Some(Staleness { newest: None, age_days: None, window_days: 7, future: false, since: None })
            );
        }
        let text = plan_of(days(7), &none).stale.unwrap().to_string();
        assert_eq!(text, "nothing is removed: no run up to now has made a complete backup");
    }

    #[test]
    fn that_all_complete_backups_are_dated_in_the_future_is_said() {
        let stale = |ahead| plan_of(days(7), &["20251209_000000 partial db", ahead]).stale.unwrap();
        assert!(!stale("20251210_140001 failed").future);
        assert_eq!(
            stale("20251210_140001 db").to_string(),
            "nothing is removed: all complete backups are dated in the future; the clock went back, or was ahead"
        );
    }

    #[test]
    fn as_json_a_reason_has_a_code_and_what_belongs_to_it() {
        let policy = Policy { keep_weekly: 1, ..NO_RULE };
        let plan = plan_of(policy, &["20251210_130000 db", "20251203_130000 failed", "20251202_130000 db"]);
        let json = serde_json::json!({
            "decisions": [
                { "id": "20251210_130000", "keep": true, "reasons": [
                    { "code": "weekly", "year": 2025, "week": 50 },
                    { "code": "newest" },
                    { "code": "newest_with", "name": "db" },
                ] },
                { "id": "20251203_130000", "keep": false, "reasons": [
                    { "code": "older_than", "what": "failed_run", "days": 7 },
                ] },
                { "id": "20251202_130000", "keep": false, "reasons": [{ "code": "no_rule" }] },
            ],
            "stale": null,
        });
        assert_eq!(serde_json::to_value(&plan).unwrap(), json);
    }

    /// Up to 40 entries from 40 days before [`NOW`] to 3 days after it.
    fn catalogs() -> impl Strategy<Value = Vec<Candidate>> {
        let standing = prop_oneof![
            6 => Just(Standing::Complete),
            2 => Just(Standing::Partial),
            1 => Just(Standing::Failed),
            1 => Just(Standing::NoManifest),
            1 => Just(Standing::Unreadable),
            1 => Just(Standing::AnotherProject),
            1 => Just(Standing::AnotherHost),
        ];
        let trigger =
            prop_oneof![4 => Just(Trigger::Timer), 1 => Just(Trigger::Manual), 1 => Just(Trigger::PreRestore)];
        let holds = proptest::sample::subsequence(vec!["config".to_owned(), "db".to_owned(), "logs".to_owned()], 0..=3);
        let paths = proptest::sample::subsequence(PATHS.map(str::to_owned).to_vec(), 0..=2);
        // One in four shows a collapse of what it holds, since some hours earlier.
        let collapse = proptest::option::weighted(0.25, (1..200_i64, any::<bool>()));
        let entry = (standing, trigger, proptest::bool::weighted(0.1), holds, paths, collapse);
        let hours = -40 * 24_i64..3 * 24;
        proptest::collection::btree_map(hours, entry, 0..40).prop_map(|entries| {
            let entries = entries.into_iter().map(|(hour, (standing, trigger, pinned, holds, paths, collapse))| {
                let id = |hour| BackupId::at(at(NOW) + TimeDelta::hours(hour));
                let since = collapse.map(|(hours, _)| id(hour - hours));
                let name = holds.first().filter(|_| !matches!(standing, Standing::NoManifest));
                let shown = name.zip(since).map(|(name, since)| collapse_of(&format!("{name}<{since}")));
                let accepted = collapse.is_some_and(|(_, accepted)| accepted);
                let (id, collapses) = (id(hour), shown.into_iter().collect());
                Candidate { id, at: id.time(), standing, trigger, pinned, holds, paths, collapses, accepted }
            });
            entries.collect()
        })
    }

    /// The configuration files of [`catalogs`].
    const PATHS: [&str; 2] = [".env", "data/a.json"];

    fn policies() -> impl Strategy<Value = Policy> {
        let keep_days = proptest::option::of(0..30_u32);
        let collapse = prop_oneof![Just(0), Just(30), 1..40_u32];
        (keep_days, proptest::array::uniform5(0..5_u32), collapse)
            .prop_map(|(keep_days, counts, keep_before_collapse)| {
                let [keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly] = counts;
                Policy {
                    keep_days,
                    keep_last,
                    keep_daily,
                    keep_weekly,
                    keep_monthly,
                    keep_yearly,
                    keep_before_collapse,
                }
            })
            .prop_filter("a valid policy", |policy| policy.validate().is_ok())
    }

    /// The same policy with counts that are no smaller.
    fn raised(policy: Policy, by: [u32; 5]) -> Policy {
        Policy {
            keep_last: policy.keep_last + by[0],
            keep_daily: policy.keep_daily + by[1],
            keep_weekly: policy.keep_weekly + by[2],
            keep_monthly: policy.keep_monthly + by[3],
            keep_yearly: policy.keep_yearly + by[4],
            ..policy
        }
    }

    /// Moments around [`NOW`], and far ahead of it.
    fn moments() -> impl Strategy<Value = DateTime<Utc>> {
        prop_oneof![4 => -45 * 24..10 * 24_i64, 1 => 0..100_000_i64].prop_map(|hours| at(NOW) + TimeDelta::hours(hours))
    }

    fn kept_ids(plan: &Plan) -> BTreeSet<BackupId> {
        plan.kept().map(|decision| decision.id).collect()
    }

    proptest! {
        #[test]
        fn a_larger_count_keeps_no_less(
            catalog in catalogs(), policy in policies(), by in proptest::array::uniform5(0..4_u32), now in moments(),
        ) {
            let (less, more) = (plan(&catalog, &policy, now)?, plan(&catalog, &raised(policy, by), now)?);
            prop_assert!(kept_ids(&less).is_subset(&kept_ids(&more)));
        }

        /// Not of a stale plan, which keeps everything: a larger `keep_days` may no longer find it stale.
        #[test]
        fn a_larger_keep_days_keeps_no_less_unless_the_smaller_is_stale(
            catalog in catalogs(), policy in policies(), from in 0..20_u32, by in 0..20_u32, now in moments(),
        ) {
            let less = plan(&catalog, &Policy { keep_days: Some(from), ..policy }, now)?;
            let more = plan(&catalog, &Policy { keep_days: Some(from + by), ..policy }, now)?;
            let no_less = more.stale.is_none() && kept_ids(&less).is_subset(&kept_ids(&more));
            prop_assert!(less.stale.is_some() || no_less);
        }

        /// Below the default window it can shorten what failed runs, partial and pre-restore backups are kept for, and
        /// nothing else.
        #[test]
        fn adding_keep_days_keeps_no_less_above_the_default_window(
            catalog in catalogs(), policy in policies(), last in 1..4_u32, days in 0..20_u32, now in moments(),
        ) {
            let policy = Policy { keep_last: last, keep_days: None, ..policy };
            let less = kept_ids(&plan(&catalog, &policy, now)?);
            let more = kept_ids(&plan(&catalog, &Policy { keep_days: Some(days), ..policy }, now)?);
            for candidate in catalog.iter().filter(|it| days >= DEFAULT_WINDOW || it.is_counted()) {
                prop_assert!(!less.contains(&candidate.id) || more.contains(&candidate.id), "{candidate:?}");
            }
        }

        #[test]
        fn the_last_copies_and_what_is_pinned_always_stay(
            catalog in catalogs(), policy in policies(), now in moments(),
        ) {
            let kept = kept_ids(&plan(&catalog, &policy, now)?);
            let newest = |wanted: &dyn Fn(&Candidate) -> bool| {
                catalog.iter().filter(|it| it.id.time() <= now && wanted(it)).map(|it| it.id).max()
            };
            let mut last = vec![newest(&Candidate::is_counted)];
            for name in ["config", "db", "logs"] {
                let best = newest(&|it| it.holds(name) && it.is_counted())
                    .or_else(|| newest(&|it| it.holds(name) && it.is_complete()))
                    .or_else(|| newest(&|it| it.holds(name) && it.is_partial()));
                let partial = newest(&|it| it.holds(name) && it.is_partial() && it.trigger != Trigger::PreRestore);
                last.extend([best, partial.filter(|id| Some(*id) > best)]);
            }
            let untouchable = |it: &&Candidate| {
                let unknown =
                    [Standing::NoManifest, Standing::Unreadable, Standing::AnotherProject, Standing::AnotherHost];
                it.pinned || it.id.time() > now || unknown.contains(&it.standing)
            };
            let untouchable = catalog.iter().filter(untouchable).map(|it| it.id);
            for id in last.into_iter().flatten().chain(untouchable) {
                prop_assert!(kept.contains(&id), "{id}");
            }
            // Some copy of everything outlives any plan.
            for name in ["config", "db", "logs"] {
                let copy = |it: &&Candidate| it.holds(name) && (it.is_complete() || it.is_partial());
                let left = catalog.iter().filter(copy).any(|it| kept.contains(&it.id));
                prop_assert_eq!(left, catalog.iter().any(|it| copy(&it)));
            }
            prop_assert_eq!(
                catalog.iter().any(Candidate::is_complete),
                catalog.iter().any(|it| it.is_complete() && kept.contains(&it.id))
            );
        }

        /// Of each collapse that nobody accepted.
        #[test]
        fn what_is_from_before_a_collapse_stays_for_the_days_set_whatever_the_other_rules_say(
            catalog in catalogs(), policy in policies(), now in moments(),
        ) {
            let kept = kept_ids(&plan(&catalog, &policy, now)?);
            let days = TimeDelta::days(policy.keep_before_collapse.into());
            let is_recent = |it: &&Candidate| it.id.time() <= now && now - it.id.time() <= days && !days.is_zero();
            for shows in catalog.iter().filter(|it| is_recent(it) && !it.accepted) {
                for collapse in &shows.collapses {
                    let holds = |it: &&Candidate| it.id <= collapse.since && it.holds(&collapse.name);
                    let newest = catalog.iter().filter(|it| holds(it) && it.is_counted()).map(|it| it.id).max();
                    if let Some(before) = newest {
                        prop_assert!(kept.contains(&before), "{before} is from before the collapse in {}", shows.id);
                        prop_assert!(kept.contains(&shows.id), "{} shows a collapse", shows.id);
                    }
                }
            }
        }

        #[test]
        fn a_larger_keep_before_collapse_keeps_no_less(
            catalog in catalogs(), policy in policies(), by in 0..40_u32, now in moments(),
        ) {
            let more = Policy { keep_before_collapse: policy.keep_before_collapse + by, ..policy };
            let (less, more) = (plan(&catalog, &policy, now)?, plan(&catalog, &more, now)?);
            prop_assert!(kept_ids(&less).is_subset(&kept_ids(&more)));
        }

        #[test]
        fn to_accept_a_collapse_keeps_no_more(catalog in catalogs(), policy in policies(), now in moments()) {
            let all_accepted = |accepted| {
                let catalog: Vec<_> = catalog.iter().cloned().map(|it| Candidate { accepted, ..it }).collect();
                plan(&catalog, &policy, now)
            };
            prop_assert!(kept_ids(&all_accepted(true)?).is_subset(&kept_ids(&all_accepted(false)?)));
        }

        #[test]
        fn some_copy_of_every_configuration_file_outlives_any_plan(
            catalog in catalogs(), policy in policies(), now in moments(),
        ) {
            let kept = kept_ids(&plan(&catalog, &policy, now)?);
            for path in PATHS {
                let is_copy = |it: &&Candidate| {
                    it.id.time() <= now && it.paths.iter().any(|held| held == path) && (it.is_complete() || it.is_partial())
                };
                let sound = catalog.iter().filter(is_copy).filter(|it| it.is_counted()).map(|it| it.id).max();
                let any = catalog.iter().filter(is_copy).map(|it| it.id);
                prop_assert!(sound.is_none_or(|id| kept.contains(&id)), "{path}");
                prop_assert!(any.clone().next().is_none() || any.clone().any(|id| kept.contains(&id)), "{path}");
            }
        }

        #[test]
        fn the_order_of_the_input_does_not_matter(
            (catalog, shuffled) in catalogs().prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle())),
            policy in policies(),
        ) {
            let now = at(NOW);
            prop_assert_eq!(plan(&catalog, &policy, now)?, plan(&shuffled, &policy, now)?);
        }

        #[test]
        fn a_second_plan_removes_nothing_more(catalog in catalogs(), policy in policies(), now in moments()) {
            let kept = kept_ids(&plan(&catalog, &policy, now)?);
            let left: Vec<_> = catalog.into_iter().filter(|it| kept.contains(&it.id)).collect();
            prop_assert_eq!(plan(&left, &policy, now)?.removals().count(), 0);
        }

        #[test]
        fn the_future_changes_nothing_for_the_others(catalog in catalogs(), policy in policies(), now in moments()) {
            let whole = plan(&catalog, &policy, now)?;
            let past: Vec<_> = catalog.into_iter().filter(|it| it.id.time() <= now).collect();
            let alone = plan(&past, &policy, now)?;
            let others: Vec<_> = whole.decisions.into_iter().filter(|it| it.id.time() <= now).collect();
            let judged = |plan: Option<Staleness>| plan.map(|stale| (stale.newest, stale.age_days));
            prop_assert_eq!((others, judged(whole.stale)), (alone.decisions, judged(alone.stale)));
        }

        /// However far ahead the clock is in however many nights, and however far apart those are.
        #[test]
        fn no_clock_that_is_ahead_removes_what_the_nights_since_have_not_replaced(
            jumps in proptest::collection::vec((4..20_000_i64, 1..4_usize), 1..4), keep in 5..30_u32, jitter in 0..240_i64,
        ) {
            let night = |day: i64| BackupId::at(at("20251201_020000") + TimeDelta::minutes(day * 1440 + day * 37 % (jitter + 1)));
            let complete = |id: BackupId| candidate(&format!("{id} db"));
            let genuine: Vec<BackupId> = (0..7).map(night).collect();
            let mut kept: Vec<Candidate> = genuine.iter().copied().map(complete).collect();
            let (mut day, mut nights) = (6, 0);
            for (ahead, more) in jumps {
                day += ahead * i64::from(keep);
                for _ in 0..more {
                    day += 1;
                    nights += 1;
                    let made = night(day);
                    kept.push(complete(made));
                    let whole = plan(&kept, &days(keep), made.time())?;
                    let whole = match gap_in_window(&kept, &days(keep), made.time()) {
                        Some(why) => whole.keeping_all(why),
                        None => whole,
                    };
                    let ids = kept_ids(&whole);
                    kept.retain(|candidate| ids.contains(&candidate.id));
                }
            }
            let left = genuine.iter().filter(|id| kept.iter().any(|candidate| candidate.id == **id)).count();
            prop_assert!(left == genuine.len(), "{left} of 7 after {nights} nights");
        }

        #[test]
        fn a_stale_plan_removes_nothing_and_every_decision_has_a_reason(
            catalog in catalogs(), policy in policies(), now in moments(),
        ) {
            let plan = plan(&catalog, &policy, now)?;
            prop_assert_eq!(plan.decisions.len(), catalog.len());
            prop_assert!(plan.stale.is_none() || plan.removals().count() == 0);
            prop_assert!(plan.decisions.iter().all(|decision| !decision.reasons.is_empty()));
            prop_assert!(plan.decisions.is_sorted_by(|newer, older| newer.id > older.id));
        }
    }
}
