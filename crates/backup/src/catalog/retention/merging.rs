//! Merging: after a while the increments of an hour become one, which takes the place of the last of them.
//!
//! The others lose their place in the chain at that moment, and are removed after it. If that is cut short, they are still
//! there; they are known by their parents, which the newest point of their chain doesn't need.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::candidate::Candidate;
use super::policy::Policy;
use crate::record::id::BackupId;

/// Increments that become one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Merge {
    /// The last of them, whose place the merged one takes.
    pub into: BackupId,
    /// All of them, oldest first.
    pub parts: Vec<BackupId>,
}

/// What is merged, and what that makes superfluous.
#[derive(Debug, Default)]
pub(super) struct Merging {
    /// Oldest first.
    pub merges: Vec<Merge>,
    /// Increments that stand for their hour.
    pub hourly: Vec<BackupId>,
    /// Increments that another one has taken in, or will.
    pub merged_into: BTreeMap<BackupId, BackupId>,
}

/// What is known of rules that keep a candidate.
pub(super) struct Kept<F, G> {
    /// Whether any rule keeps it.
    pub is_kept: F,
    /// Whether a rule keeps it that isn't about its age.
    pub is_needed: G,
}

impl Merging {
    /// Finds what to merge at the moment `now`.
    pub fn find(
        candidates: &[&Candidate],
        policy: &Policy,
        now: DateTime<Utc>,
        kept: &Kept<impl Fn(BackupId) -> bool, impl Fn(BackupId) -> bool>,
    ) -> Self {
        let mut merging = Self::default();
        let chains = Chains::of(candidates);
        for path in chains.newest.values().map(|newest| chains.path(newest)) {
            merging.find_groups(&path, policy, now, kept);
        }
        merging.merges.sort_by_key(|merge| merge.into);
        for (id, into) in chains.superseded() {
            if !(kept.is_needed)(id) {
                merging.merged_into.insert(id, into);
            }
        }
        merging
    }

    /// Finds groups on the path to the newest point of a chain. That one itself stays as it is: the next increment
    /// continues it.
    fn find_groups(
        &mut self,
        path: &[&Candidate],
        policy: &Policy,
        now: DateTime<Utc>,
        kept: &Kept<impl Fn(BackupId) -> bool, impl Fn(BackupId) -> bool>,
    ) {
        let [earlier @ .., _] = path else { return };
        for in_hour in earlier.chunk_by(|a, b| hour(a) == hour(b)).filter(|it| is_over(it[0], policy, now)) {
            let together = in_hour.chunk_by(|a, b| a.can_merge && b.can_merge);
            let groups: Vec<&[&Candidate]> = together.flat_map(|it| groups(it, &kept.is_needed)).collect();
            let is_alone = groups.len() == 1;
            for group in groups {
                let parts: Vec<BackupId> = group.iter().map(|part| part.id).collect();
                let [others @ .., into] = &parts[..] else { continue };
                if is_alone || !others.is_empty() {
                    self.hourly.push(*into);
                }
                if !others.is_empty() && (kept.is_kept)(*into) {
                    self.merged_into.extend(others.iter().map(|part| (*part, *into)));
                    self.merges.push(Merge { into: *into, parts });
                }
            }
        }
    }
}

/// Hours since 1970, UTC.
fn hour(candidate: &Candidate) -> i64 {
    candidate.at.timestamp().div_euclid(3600)
}

/// Whether the minutes of its hour are no longer kept.
fn is_over(candidate: &Candidate, policy: &Policy, now: DateTime<Utc>) -> bool {
    let end = DateTime::from_timestamp((hour(candidate) + 1) * 3600, 0);
    end.is_some_and(|end| now - end >= policy.every_minute_for.max(TimeDelta::zero()))
}

/// The longest groups of neighbours that can become one, some of one alone. One that is needed as it is can only be the last
/// of a group.
fn groups<'a>(together: &'a [&'a Candidate], is_needed: &impl Fn(BackupId) -> bool) -> Vec<&'a [&'a Candidate]> {
    let (mut groups, mut rest) = (Vec::new(), together);
    while !rest.is_empty() {
        let most = rest.iter().position(|part| is_needed(part.id)).map_or(rest.len(), |at| at + 1);
        let length = (2..=most).rfind(|length| can_be_one(&rest[..*length])).unwrap_or(1);
        let (group, others) = rest.split_at(length);
        groups.push(group);
        rest = others;
    }
    groups
}

/// Whether the last of them can take in the others: it lacks nothing that is in one of those.
fn can_be_one(group: &[&Candidate]) -> bool {
    let Some((last, others)) = group.split_last() else { return false };
    let mut names = others.iter().flat_map(|part| &part.holds);
    names.all(|name| last.holds.contains(name))
}

/// Whether one can have been merged into the other, and nothing is lost with it.
fn has_taken_in(into: &Candidate, part: &Candidate) -> bool {
    into.can_merge && hour(into) == hour(part) && can_be_one(&[part, into])
}

/// All chains of a catalog.
struct Chains<'a> {
    by_id: BTreeMap<BackupId, &'a Candidate>,
    /// The newest increment of each chain, by the full backup, or by what stands in its place if that is missing.
    newest: BTreeMap<BackupId, &'a Candidate>,
}

impl<'a> Chains<'a> {
    fn of(candidates: &[&'a Candidate]) -> Self {
        let by_id: BTreeMap<BackupId, &Candidate> =
            candidates.iter().map(|candidate| (candidate.id, *candidate)).collect();
        let (mut full, mut newest) = (BTreeMap::new(), BTreeMap::new());
        // A parent has a lower id than its increments, so it comes before them.
        for (id, candidate) in &by_id {
            let Some(parent) = candidate.parent else { continue };
            let first = full.get(&parent).copied().unwrap_or(parent);
            full.insert(*id, first);
            newest.insert(first, *candidate);
        }
        Self { by_id, newest }
    }

    /// The increments that lead to a point, oldest first, with itself.
    fn path(&self, point: &'a Candidate) -> Vec<&'a Candidate> {
        let parent = |candidate: &&'a Candidate| self.by_id.get(&candidate.parent?).copied();
        let mut path: Vec<&Candidate> =
            std::iter::successors(Some(point), parent).take_while(|it| it.parent.is_some()).collect();
        path.reverse();
        path
    }

    /// Increments that the newest point of their chain doesn't need, since one that it needs has taken them in: that one
    /// follows them, and is an increment on what they are increments on.
    fn superseded(&self) -> Vec<(BackupId, BackupId)> {
        let on_path: BTreeMap<BackupId, &Candidate> = self
            .newest
            .values()
            .flat_map(|newest| self.path(newest))
            .map(|candidate| (candidate.id, candidate))
            .collect();
        let by_parent: BTreeMap<BackupId, &Candidate> =
            on_path.values().filter_map(|candidate| Some((candidate.parent?, *candidate))).collect();
        let mut based_on: BTreeMap<BackupId, BackupId> = BTreeMap::new();
        let mut superseded = Vec::new();
        for (id, candidate) in &self.by_id {
            let Some(parent) = candidate.parent.filter(|_| !on_path.contains_key(id)) else { continue };
            let base = based_on.get(&parent).copied().unwrap_or(parent);
            based_on.insert(*id, base);
            let into = by_parent.get(&base).filter(|into| into.id > *id && has_taken_in(into, candidate));
            superseded.extend(into.map(|into| (*id, into.id)));
        }
        superseded
    }
}
