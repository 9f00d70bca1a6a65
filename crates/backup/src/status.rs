//! How things stand: what a catalog and a ledger say about the state of backups at a moment. Pure.

use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use serde::Serialize;

use crate::catalog::Catalog;
use crate::history::{Command, History};
use crate::id::BackupId;
use crate::manifest::{Manifest, Status as BackupStatus, Trigger};

/// How things stand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Whether the newest complete backup is young enough.
    pub fresh: bool,
    /// How old it may be, in seconds.
    pub max_age_s: u64,
    /// The newest run that left a manifest, however it went.
    pub last: Option<Dated<BackupStatus>>,
    /// The newest complete backup.
    pub last_success: Option<Dated<BackupStatus>>,
    /// The newest proof of any backup, by verify or drill.
    pub last_proved: Option<Dated<Command>>,
    /// How many backups can be restored.
    pub backups: usize,
    /// Bytes of all their files.
    pub stored_bytes: u64,
    /// Bytes of the newest complete backup's files.
    pub newest_bytes: Option<u64>,
    /// How much the plain content grows in a day, in bytes, from the oldest to the newest complete backup.
    pub growth_bytes_per_day: Option<i64>,
    /// Bytes that still fit into the store.
    pub free_bytes: Option<u64>,
    /// How many backups of the newest one's size that is.
    pub more_backups_fit: Option<u64>,
    /// Measured recovery point: the longest time, in seconds, between successive complete backups, or since the last.
    pub rpo_s: Option<u64>,
    /// Measured recovery time: how long the last drill or restore took, in milliseconds.
    pub rto_ms: Option<u64>,
}

/// Something that happened to a backup, and how long ago.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dated<T> {
    /// The backup.
    pub id: Option<BackupId>,
    /// When, RFC 3339.
    pub at: DateTime<FixedOffset>,
    /// How long before the report, in seconds; 0 if it is dated in the future.
    pub age_s: u64,
    /// What it was.
    pub what: T,
}

/// Computes how things stand at `now`.
pub fn status(
    catalog: &Catalog,
    history: &History,
    now: DateTime<FixedOffset>,
    max_age: Duration,
    free_bytes: Option<u64>,
) -> Status {
    let regular: Vec<&Manifest> =
        manifests(catalog).filter(|manifest| manifest.trigger != Trigger::PreRestore).collect();
    let complete: Vec<&Manifest> =
        regular.iter().copied().filter(|manifest| manifest.status == BackupStatus::Complete).collect();
    let dated = |manifest: &&Manifest| Dated {
        id: Some(manifest.id),
        at: manifest.created_at,
        age_s: seconds(manifest.created_at, now),
        what: manifest.status,
    };
    let last_success = complete.last().map(dated);
    let newest_bytes = complete.last().map(|manifest| manifest.stored_bytes());
    let restorable = catalog.entries().iter().filter(|entry| !entry.files.is_empty());
    Status {
        fresh: last_success.as_ref().is_some_and(|success| success.age_s <= max_age.as_secs()),
        max_age_s: max_age.as_secs(),
        last: regular.last().map(dated),
        last_success,
        last_proved: history.last_proof().map(|line| Dated {
            id: line.id,
            at: line.at,
            age_s: seconds(line.at, now),
            what: line.command,
        }),
        backups: restorable.clone().count(),
        stored_bytes: restorable.flat_map(|entry| &entry.files).filter_map(|file| file.bytes).sum(),
        newest_bytes,
        growth_bytes_per_day: growth(&complete),
        free_bytes,
        more_backups_fit: free_bytes.zip(newest_bytes).and_then(|(free, one)| free.checked_div(one)),
        rpo_s: longest_gap(&complete, now),
        rto_ms: [Command::Drill, Command::Restore]
            .into_iter()
            .filter_map(|command| history.last_success(command))
            .max_by_key(|line| line.at)
            .map(|line| line.duration_ms),
    }
}

fn manifests(catalog: &Catalog) -> impl Iterator<Item = &Manifest> {
    catalog.entries().iter().filter_map(|entry| entry.manifest())
}

fn seconds(from: DateTime<FixedOffset>, to: DateTime<FixedOffset>) -> u64 {
    u64::try_from((to - from).num_seconds()).unwrap_or(0)
}

fn growth(complete: &[&Manifest]) -> Option<i64> {
    // A backup of the configuration alone says nothing about growth: compare those that hold the same things.
    let names = |manifest: &Manifest| manifest.artifacts.iter().map(|a| a.name.clone()).collect::<Vec<_>>();
    let newest = complete.last()?;
    let oldest = complete.iter().find(|manifest| names(manifest) == names(newest))?;
    let elapsed = i128::from((newest.created_at - oldest.created_at).num_seconds());
    let grown = i128::from(newest.plain_bytes()) - i128::from(oldest.plain_bytes());
    // Less than an hour apart, the figure would be noise.
    (elapsed >= 3600).then(|| i64::try_from(grown * 86_400 / elapsed).unwrap_or(i64::MAX))
}

fn longest_gap(complete: &[&Manifest], now: DateTime<FixedOffset>) -> Option<u64> {
    let times = complete.iter().map(|manifest| manifest.created_at);
    let next = times.clone().skip(1).chain([now]);
    times.zip(next).map(|(earlier, later)| seconds(earlier, later)).max()
}
