//! How long ago something was.

use chrono::{DateTime, FixedOffset};

/// Whole seconds from `at` to `now`; 0 if it is later.
pub fn seconds_since(at: DateTime<FixedOffset>, now: DateTime<FixedOffset>) -> u64 {
    u64::try_from((now - at).num_seconds()).unwrap_or(0)
}
