//! The plan: all rules applied to a catalog.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::age::by_age;
use super::candidate::Candidate;
use super::chains::add_needed;
use super::count::by_count;
use super::last_copies::{around_collapses, by_nature, newest};
use super::merging::{Kept, Merge, Merging};
use super::policy::Policy;
use super::reason::{Class, KeepReasons, Reason};
use super::staleness::{Staleness, staleness};
use crate::error::Result;
use crate::record::id::BackupId;

/// What a policy says about a catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// One for each candidate, newest first.
    pub decisions: Vec<Decision>,
    /// Increments that are merged before anything is removed, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub merges: Vec<Merge>,
    /// Why nothing is removed, if backups have stopped or the clock is wrong.
    pub stale: Option<Staleness>,
}

/// What happens to one entry, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The entry.
    pub id: BackupId,
    /// Whether it stays.
    pub keep: bool,
    /// Every rule that keeps it, or the one reason why it is removed; never empty.
    pub reasons: Vec<Reason>,
}

/// Plans what to keep of `candidates` (in any order) at the moment `now`.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the policy is not valid: [`Policy::validate`].
pub fn plan(candidates: &[Candidate], policy: &Policy, now: DateTime<Utc>) -> Result<Plan> {
    policy.validate()?;
    let mut newest_first: Vec<&Candidate> = candidates.iter().collect();
    newest_first.sort_by_key(|candidate| Reverse((candidate.at, candidate.id)));
    let (past, ahead): (Vec<&Candidate>, Vec<&Candidate>) =
        newest_first.iter().copied().partition(|candidate| candidate.at <= now);
    let stale = staleness(&past, policy, now, ahead.iter().any(|candidate| candidate.is_point()));

    let mut keeps = reasons_to_keep(&newest_first, &past, policy, now);
    let merging = if stale.is_some() { Merging::default() } else { merge(&past, policy, now, &mut keeps) };
    add_needed(&newest_first, &merging.merges, &mut keeps);
    let accepted = around_collapses(&past, policy, now, true);
    let decide = |candidate: &&Candidate| match keeps.get(&candidate.id) {
        Some(reasons) => Decision { id: candidate.id, keep: true, reasons: reasons.clone() },
        None if stale.is_some() => Decision { id: candidate.id, keep: true, reasons: vec![Reason::NothingRemoved] },
        None => {
            let merged = merging.merged_into.get(&candidate.id).map(|into| Reason::MergedInto { id: *into });
            let accepted = || accepted_collapse(candidate, &accepted);
            let reason = merged.or_else(accepted).unwrap_or_else(|| policy.why_removed(candidate));
            Decision { id: candidate.id, keep: false, reasons: vec![reason] }
        }
    };
    Ok(Plan { decisions: newest_first.iter().map(decide).collect(), merges: merging.merges, stale })
}

/// Finds what is merged. Age doesn't keep what another increment takes in, and keeps that one for its hour.
fn merge(
    past: &[&Candidate],
    policy: &Policy,
    now: DateTime<Utc>,
    keeps: &mut BTreeMap<BackupId, Vec<Reason>>,
) -> Merging {
    let is_age = |reason: &Reason| matches!(reason, Reason::Within { what: Class::Increment, .. });
    let kept = Kept {
        is_kept: |id| keeps.contains_key(&id),
        is_needed: |id| keeps.get(&id).is_some_and(|reasons| !reasons.iter().all(is_age)),
    };
    let merging = Merging::find(past, policy, now, &kept);
    keeps.retain(|id, _| !merging.merged_into.contains_key(id));
    for id in &merging.hourly {
        for reason in keeps.get_mut(id).into_iter().flatten() {
            if let Reason::Within { days, .. } = *reason {
                *reason = Reason::Hourly { days };
            }
        }
    }
    merging
}

/// What the rules keep, each with all reasons.
fn reasons_to_keep(
    all: &[&Candidate],
    past: &[&Candidate],
    policy: &Policy,
    now: DateTime<Utc>,
) -> BTreeMap<BackupId, Vec<Reason>> {
    let rules = [
        by_nature(all, now),
        by_age(past, policy, now),
        by_count(past, policy),
        newest(past),
        around_collapses(past, policy, now, false),
    ];
    let mut keeps: BTreeMap<BackupId, Vec<Reason>> = BTreeMap::new();
    let mut seen = HashSet::new();
    for (id, reason) in rules.into_iter().flatten() {
        // Two series can keep a backup for the same reason.
        if seen.insert((id, reason.clone())) {
            keeps.entry(id).or_default().push(reason);
        }
    }
    keeps
}

/// Why it is removed, if it would be kept for a collapse that a person accepted.
fn accepted_collapse(candidate: &Candidate, accepted: &KeepReasons) -> Option<Reason> {
    accepted.iter().find_map(|(id, reason)| match reason {
        Reason::BeforeCollapse { collapse } if *id == candidate.id => {
            Some(Reason::CollapseAccepted { name: collapse.name.clone() })
        }
        _ => None,
    })
}

impl Plan {
    /// The same plan, with nothing removed.
    #[must_use]
    pub(crate) fn keeping_all(mut self, why: Staleness) -> Self {
        for decision in self.decisions.iter_mut().filter(|decision| !decision.keep) {
            (decision.keep, decision.reasons) = (true, vec![Reason::NothingRemoved]);
        }
        Self { stale: Some(why), merges: Vec::new(), ..self }
    }

    /// What is removed, in the order of removal: the highest id first. An increment has a higher id than its parent, so
    /// however a removal is cut short, none is left without its parent.
    pub fn removals(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        let mut removals: Vec<&Decision> = self.decisions.iter().filter(|decision| !decision.keep).collect();
        removals.sort_unstable_by_key(|decision| Reverse(decision.id));
        removals.into_iter()
    }

    /// What is kept, newest first.
    pub fn kept(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.decisions.iter().filter(|decision| decision.keep)
    }
}
