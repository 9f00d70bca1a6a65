//! Gaps between backups, over which the clock may have jumped.

use std::cmp::Reverse;

use chrono::{DateTime, TimeDelta, Utc};

use super::candidate::Candidate;
use super::policy::Policy;
use super::staleness::Staleness;

/// The shortest gap, whatever the usual interval: a server may be off for a night.
const LEAST_GAP: TimeDelta = TimeDelta::days(2);

/// How many times longer a gap is than the longest of the intervals before it.
const UNUSUAL: i32 = 3;

/// This many backups at regular intervals show that a slow schedule is intended.
const RHYTHM: usize = 8;

/// Why nothing can be removed for its age yet: between successive complete backups there is a gap, in which backups had
/// stopped or the clock jumped, and they have not filled the window since. `now` is the time of the newest backup if it was
/// just made.
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

/// Whether the last backups, newest first, and now are at regular intervals of at least half a window. So few backups fall
/// into a window that they can't fill it, and they span several.
fn is_slow_rhythm(times: &[DateTime<Utc>], window: TimeDelta, now: DateTime<Utc>) -> bool {
    let Some(last) = times.get(..RHYTHM) else { return false };
    let intervals = || last.windows(2).map(|pair| pair[0] - pair[1]);
    let (Some(shortest), Some(longest)) = (intervals().min(), intervals().max()) else { return false };
    let is_regular = longest.max(now - last[0]) <= shortest * UNUSUAL;
    is_regular && shortest * 2 >= window
}

/// The longest interval after the first of `times`, newest first, that is no gap. It depends on the intervals in the window
/// before it, if there are enough of them, and is never longer than the window.
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
