//! Whether backups have stopped: then age says nothing about what can be removed.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::age::is_within;
use super::candidate::Candidate;
use super::policy::Policy;
use super::reason::in_words;
use crate::record::id::BackupId;

/// Why nothing is removed: backups have stopped, or the clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Staleness {
    /// The newest complete backup up to now, pre-restore backups excepted; `None` if there is none.
    pub newest: Option<BackupId>,
    /// Its age in whole days, rounded down.
    pub age_days: Option<i64>,
    /// How many days old it can be without being stale.
    pub window_days: u32,
    /// Whether there are complete backups dated in the future.
    pub future: bool,
    /// If the reason is a gap between backups, the first complete backup after it. Then `newest` is the last one before the
    /// gap, and `age_days` the length of the gap.
    pub since: Option<BackupId>,
}

/// Whether the newest complete backup of the `past`, newest first, is older than the window. `future` says whether there
/// are complete backups dated in the future.
pub(super) fn staleness(past: &[&Candidate], policy: &Policy, now: DateTime<Utc>, future: bool) -> Option<Staleness> {
    let window_days = policy.window();
    let Some(newest) = past.iter().find(|candidate| candidate.is_point()) else {
        return Some(Staleness { newest: None, age_days: None, window_days, future, since: None });
    };
    // Count rules alone don't depend on the clock, so without `keep_days` there is nothing to distrust.
    let too_old = policy.keep_days.is_some() && !is_within(newest, window_days, now);
    let age_days = Some((now - newest.at).num_days());
    too_old.then_some(Staleness { newest: Some(newest.id), age_days, window_days, future, since: None })
}

/// The warning in one line.
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
