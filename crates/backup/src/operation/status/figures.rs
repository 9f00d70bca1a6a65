//! What can be measured: room, growth, and how far apart backups are.

use super::inputs::StatusInputs;
use crate::catalog::Entry;
use crate::record::age::seconds_since;
use crate::record::ledger::{Command, Ledger};

/// Space in bytes that two more backups like this one need. A snapshot is staged uncompressed before it is encoded.
pub(super) fn needed_bytes(newest: &Entry) -> u64 {
    newest.stored_bytes().saturating_mul(2).saturating_add(newest.plain_bytes())
}

/// How many backups like this one fit into the free bytes, with room for the snapshot that each is made from.
pub(super) fn more_backups_fit(newest: &Entry, free_bytes: u64) -> Option<u64> {
    free_bytes.saturating_sub(newest.plain_bytes()).checked_div(newest.stored_bytes())
}

/// How much the plain content grows in a day, in bytes, from the oldest to the newest of these backups.
pub(super) fn growth(complete: &[&Entry]) -> Option<i64> {
    // The settings may have changed: compare only backups that hold the same files.
    let holds_same =
        |a: &Entry, b: &Entry| a.files.iter().map(|file| &file.name).eq(b.files.iter().map(|file| &file.name));
    let newest = complete.last()?;
    let oldest = complete.iter().find(|entry| holds_same(entry, newest))?;
    let elapsed = i128::from((newest.created_at() - oldest.created_at()).num_seconds());
    let grown = i128::from(newest.plain_bytes()) - i128::from(oldest.plain_bytes());
    // Less than an hour apart, the figure would be noise.
    (elapsed >= 3600).then(|| i64::try_from(grown * 86_400 / elapsed).unwrap_or(i64::MAX))
}

/// The longest time between successive backups, or since the last, in seconds.
pub(super) fn longest_gap(complete: &[&Entry], inputs: &StatusInputs<'_>) -> Option<u64> {
    let times = complete.iter().map(|entry| inputs.saved_at(entry));
    let next = complete.iter().skip(1).map(|entry| entry.created_at()).chain([inputs.now]);
    times.zip(next).map(|(earlier, later)| seconds_since(earlier, later)).max()
}

/// How long the last drill or restore took, in milliseconds.
pub(super) fn recovery_ms(ledger: &Ledger) -> Option<u64> {
    let last = [Command::Drill, Command::Restore].into_iter().filter_map(|command| ledger.last_success(command));
    last.max_by_key(|line| line.at).map(|line| line.duration_ms)
}
