//! The policy: what the settings say about retention.

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The largest number in a policy, in days (a hundred years) or backups. A larger one must be a typing error.
const MAX: u32 = 36_500;

/// The window in days if the policy has no `keep_days`.
pub(super) const DEFAULT_WINDOW: u32 = 7;

/// How many days a backup from before a collapse is kept, if the policy has no `keep_before_collapse`.
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
    /// Keep backups that are at most this many days old; 0 keeps none for its age. It is also the window (at least one day,
    /// seven if unset) for which failed runs and pre-restore backups are kept.
    pub keep_days: Option<u32>,
    /// Keep this many of the last backups.
    #[serde(default)]
    pub keep_last: u32,
    /// Keep the newest backup of each of this many last days that have one.
    #[serde(default)]
    pub keep_daily: u32,
    /// The same number for ISO 8601 weeks.
    #[serde(default)]
    pub keep_weekly: u32,
    /// The same for months.
    #[serde(default)]
    pub keep_monthly: u32,
    /// The same for years.
    #[serde(default)]
    pub keep_yearly: u32,
    /// How many days after a collapse was found the newest backup from before it is kept, whatever the other rules say; 0
    /// is off. Settings write it as `"30d"`.
    #[serde(default = "before_collapse", deserialize_with = "days")]
    pub keep_before_collapse: u32,
    /// How long each increment is kept as it is. Then those of an hour become one.
    #[serde(skip, default = "a_day")]
    pub every_minute_for: TimeDelta,
    /// How long the increments of a chain are kept after the newest of them, whatever the other rules say, rounded up to whole
    /// days. They count for no other rule.
    #[serde(skip, default = "a_week")]
    pub every_hour_for: TimeDelta,
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

    /// The count rules, each with the name of its setting.
    fn counts(&self) -> [(&'static str, u32); 5] {
        [
            ("keep_last", self.keep_last),
            ("keep_daily", self.keep_daily),
            ("keep_weekly", self.keep_weekly),
            ("keep_monthly", self.keep_monthly),
            ("keep_yearly", self.keep_yearly),
        ]
    }

    pub(super) fn has_counts(&self) -> bool {
        self.counts().iter().any(|(_, count)| *count > 0)
    }

    /// How many days the increments of a chain are kept.
    pub(super) fn increment_days(&self) -> u32 {
        let days = self.every_hour_for.num_seconds().max(0).unsigned_abs().div_ceil(86_400);
        u32::try_from(days).unwrap_or(u32::MAX)
    }

    /// The window in days.
    pub(super) fn window(&self) -> u32 {
        self.keep_days.unwrap_or(DEFAULT_WINDOW).max(1)
    }
}

impl Default for Policy {
    /// A week of backups.
    fn default() -> Self {
        Self {
            keep_days: Some(DEFAULT_WINDOW),
            keep_last: 0,
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
            keep_yearly: 0,
            keep_before_collapse: BEFORE_COLLAPSE,
            every_minute_for: a_day(),
            every_hour_for: a_week(),
        }
    }
}

fn before_collapse() -> u32 {
    BEFORE_COLLAPSE
}

fn a_day() -> TimeDelta {
    TimeDelta::days(1)
}

fn a_week() -> TimeDelta {
    TimeDelta::days(7)
}

/// Reads days as settings write durations, `"30d"`; a bare number means days as well.
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
