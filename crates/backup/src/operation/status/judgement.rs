//! The judgement as a whole.

use serde::Serialize;

use super::concern::{Concern, Severity};
use super::figures::{growth, longest_gap, more_backups_fit, needed_bytes, recovery_ms};
use super::inputs::{AtTime, StatusInputs};
use super::run::RunEnd;
use super::source::{SourceState, SourceStatus};
use crate::catalog::Entry;
use crate::record::ledger::{Command, Outcome};
use crate::record::manifest::Status as BackupStatus;

/// How things stand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The worst of `concerns`.
    pub verdict: Severity,
    /// What is wrong, the worst first.
    pub concerns: Vec<Concern>,
    /// Whether every source has a recent sound copy.
    pub fresh: bool,
    /// How old a copy can be, in seconds.
    pub max_age_s: u64,
    /// Each configured database and set of files, in the order of the settings.
    pub sources: Vec<SourceStatus>,
    /// The last run of `backup`, however it ended.
    pub last: Option<AtTime<RunEnd>>,
    /// The newest backup that holds all sources and isn't known to be bad.
    pub last_success: Option<AtTime<BackupStatus>>,
    /// The newest proof of any backup, by verify or drill.
    pub last_proved: Option<AtTime<Command>>,
    /// The last verify, and the worst that it found.
    pub last_verify: Option<AtTime<Outcome>>,
    /// The last drill, and what it found.
    pub last_drill: Option<AtTime<Outcome>>,
    /// How many backups can be restored.
    pub backups: usize,
    /// Size of all their files, in bytes.
    pub stored_bytes: u64,
    /// Size of the files of the newest full backup that holds all sources, in bytes.
    pub newest_bytes: Option<u64>,
    /// How much the plain content grows in a day, in bytes, from the oldest to the newest full backup that is
    /// complete.
    pub growth_bytes_per_day: Option<i64>,
    /// Free space of the store, in bytes; `None` if unknown.
    pub free_bytes: Option<u64>,
    /// Space in bytes that two more backups need, while they are made too; `None` if unknown.
    pub needed_bytes: Option<u64>,
    /// How many full backups of the newest one's size fit.
    pub more_backups_fit: Option<u64>,
    /// Measured recovery point: the longest time, in seconds, between successive complete backups, or since the last.
    pub rpo_s: Option<u64>,
    /// Measured recovery time: how long the last drill or restore took, in milliseconds.
    pub rto_ms: Option<u64>,
}

/// Judges how things stand.
pub fn status(inputs: &StatusInputs<'_>) -> Status {
    let complete = inputs.complete();
    let newest = complete.last().copied();
    // An increment says nothing about the size of a whole copy.
    let full: Vec<&Entry> = complete.iter().copied().filter(|entry| entry.parent().is_none()).collect();
    let newest_full = full.last().copied();
    let restorable = inputs.catalog.entries().iter().filter(|entry| !entry.is_empty());
    let sources: Vec<SourceStatus> = inputs.sources.names().map(|name| inputs.source(name)).collect();
    let last = inputs.last_runs();
    let needed_bytes = newest_full.map(needed_bytes);
    let concerns = inputs.concerns(&sources, &last, needed_bytes);
    let free_bytes = inputs.free_bytes;
    Status {
        verdict: concerns.first().map_or(Severity::Ok, Concern::severity),
        concerns,
        fresh: !sources.is_empty() && sources.iter().all(|source| source.state == SourceState::Fresh),
        max_age_s: inputs.max_age.as_secs(),
        sources,
        last: last.backup,
        last_success: newest.map(|entry| inputs.dated(entry, BackupStatus::Complete)),
        last_proved: inputs.last_proof().map(|line| inputs.dated_line(line, line.command)),
        last_verify: last.verify.map(|line| inputs.dated_line(line, line.outcome)),
        last_drill: last.drill.map(|line| inputs.dated_line(line, line.outcome)),
        backups: restorable.clone().count(),
        stored_bytes: restorable.map(Entry::stored_bytes).fold(0, u64::saturating_add),
        newest_bytes: newest_full.map(Entry::stored_bytes),
        growth_bytes_per_day: growth(&full),
        free_bytes,
        needed_bytes,
        more_backups_fit: newest_full.zip(free_bytes).and_then(|(entry, free)| more_backups_fit(entry, free)),
        rpo_s: longest_gap(&complete, inputs),
        rto_ms: recovery_ms(inputs.ledger),
    }
}
