//! The age rule: which limit an entry has, and whether it is still within it.

use chrono::{DateTime, TimeDelta, Utc};

use super::candidate::{Candidate, Standing};
use super::chains::newest_of_chains;
use super::policy::{DEFAULT_WINDOW, Policy};
use super::reason::{Class, KeepReasons, Reason};
use crate::record::manifest::Trigger;

/// Keeps what is within its age limit.
pub(super) fn by_age(past: &[&Candidate], policy: &Policy, now: DateTime<Utc>) -> KeepReasons {
    let newest = newest_of_chains(past);
    let reason = |candidate: &&Candidate| {
        let (what, days) = policy.age_limit(candidate)?;
        let judged = if what == Class::Increment { newest.get(&candidate.id)? } else { *candidate };
        is_within(judged, days, now).then_some((candidate.id, Reason::Within { what, days }))
    };
    past.iter().filter_map(reason).collect()
}

/// Whether it is at most this many days old.
pub(super) fn is_within(candidate: &Candidate, days: u32, now: DateTime<Utc>) -> bool {
    now - candidate.at <= TimeDelta::days(days.into())
}

impl Policy {
    /// The class of an entry, and how many days its age keeps it; `None` if its age doesn't matter.
    fn age_limit(&self, candidate: &Candidate) -> Option<(Class, u32)> {
        let (class, days) = match (candidate.standing, candidate.trigger) {
            (Standing::NoManifest | Standing::Unreadable | Standing::AnotherProject | Standing::AnotherHost, _) => {
                return None;
            }
            (Standing::Complete | Standing::Partial, _) if candidate.parent.is_some() => {
                (Class::Increment, self.increment_days())
            }
            (Standing::Failed, _) => (Class::FailedRun, self.window()),
            (_, Trigger::PreRestore) => (Class::PreRestore, self.window()),
            (Standing::Complete, _) => (Class::Backup, self.keep_days.unwrap_or(0)),
            // No count rule keeps a partial backup: without a default it would be removed as soon as it was made.
            (Standing::Partial, _) => (Class::Backup, self.keep_days.unwrap_or(DEFAULT_WINDOW)),
        };
        (days > 0).then_some((class, days))
    }

    /// Why an entry is removed that no rule keeps.
    pub(super) fn why_removed(&self, candidate: &Candidate) -> Reason {
        match self.age_limit(candidate) {
            Some((what, days)) if !(candidate.is_counted() && self.has_counts()) => Reason::OlderThan { what, days },
            _ => Reason::NoRule,
        }
    }
}
