//! The last copies of everything, which are kept at any age and under any policy.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};

use super::age::is_within;
use super::candidate::{Candidate, Standing};
use super::policy::Policy;
use super::reason::{KeepReasons, Reason};
use crate::record::id::BackupId;
use crate::record::manifest::{Collapse, Trigger};

/// Keeps entries that are pinned, dated in the future, or unknown.
pub(super) fn by_nature(candidates: &[&Candidate], now: DateTime<Utc>) -> KeepReasons {
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

/// Keeps the last copies: of all backups, of each series, and of each configuration file.
pub(super) fn newest(past: &[&Candidate]) -> KeepReasons {
    let overall = past.iter().find(|it| it.is_point()).or_else(|| past.iter().find(|it| it.is_complete()));
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

/// The last copies of one database, set or file.
struct LastCopies {
    /// The newest complete backup, or the next best if there is none.
    best: Option<BackupId>,
    /// A partial backup newer than that: while one source fails, the others have their newest copies in partial backups.
    newer_partial: Option<BackupId>,
}

impl LastCopies {
    /// `holders` are newest first.
    fn of(holders: &[&Candidate]) -> Self {
        let find = |wanted: fn(&Candidate) -> bool| holders.iter().find(|it| wanted(it)).map(|it| it.id);
        let best =
            find(Candidate::is_point).or_else(|| find(Candidate::is_complete)).or_else(|| find(Candidate::is_partial));
        let partial = find(|it| it.is_partial() && it.trigger != Trigger::PreRestore);
        Self { best, newer_partial: partial.filter(|id| Some(*id) > best) }
    }

    fn ids(&self) -> impl Iterator<Item = BackupId> + use<> {
        self.best.into_iter().chain(self.newer_partial)
    }
}

/// Keeps the last copies from before a database collapsed, for a number of days, and the backup that shows the collapse:
/// without that one, nothing would say why the others are kept. Only collapses that a person `accepted`, or only others.
pub(super) fn around_collapses(
    past: &[&Candidate],
    policy: &Policy,
    now: DateTime<Utc>,
    accepted: bool,
) -> KeepReasons {
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
            if let Some(point) = last_point(past, shows, collapse).filter(|_| !before.is_empty()) {
                keeps.push((point, Reason::UpToCollapse { name: collapse.name.clone() }));
            }
            if !before.is_empty() {
                keeps.push((shows.id, Reason::ShowsCollapse { name: collapse.name.clone() }));
            }
            keeps.extend(before);
        }
    }
    keeps
}

/// The newest increment between the newest backup from before a collapse and the one that `shows` it. Increments don't count
/// rows, so the loss can be anywhere among them.
fn last_point(past: &[&Candidate], shows: &Candidate, collapse: &Collapse) -> Option<BackupId> {
    let is_between = |it: &&&Candidate| (collapse.since..shows.id).contains(&it.id) && it.parent.is_some();
    past.iter().filter(is_between).find(|it| it.holds.contains(&collapse.name)).map(|it| it.id)
}

/// Each name that backups hold, with those backups, newest first.
pub(super) fn series<'a>(
    past: &[&'a Candidate],
    held: fn(&Candidate) -> &Vec<String>,
) -> BTreeMap<&'a str, Vec<&'a Candidate>> {
    let mut series: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
    for candidate in past {
        for name in held(candidate) {
            let holders = series.entry(name).or_default();
            // A database and a set of files can have had the same name.
            if holders.last().is_none_or(|last| last.id != candidate.id) {
                holders.push(candidate);
            }
        }
    }
    series
}
