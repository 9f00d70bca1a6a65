//! The library's judgements in words.

use backup::status::{Concern, RunEnd, SourceState, Status};
use backup::{BackupId, Objection, Outcome, SkippedBackup};

use crate::text::{age, count, local, size};

/// A concern in one line.
pub fn concern(concern: &Concern, status: &Status) -> String {
    match concern {
        Concern::NoBackup => "there is no backup yet".into(),
        Concern::Source { name, state, id, age_s } => source(name, *state, *id, age_s.unwrap_or(0), status.max_age_s),
        Concern::Ahead { id, ahead_s } => format!("backup {id} is dated {} ahead of the clock", age(*ahead_s)),
        Concern::LastRun { end, at } => format!("the last run, begun {}, {}", local(*at), run_end(*end)),
        Concern::NewestUnfit { id, why } => format!("the newest backup, {id}, {}", unfit(why)),
        Concern::Collapsed { id, collapse } => {
            format!("backup {id} shows the collapse of {collapse} since {}", collapse.since)
        }
        Concern::UnfinishedRestore { id, at } => {
            let of = id.map(|id| format!(" of {id}")).unwrap_or_default();
            format!("the restore{of} begun {} did not finish", local(*at))
        }
        Concern::Verify { outcome, id, age_s } => {
            let of = id.map(|id| format!(" in {id}")).unwrap_or_default();
            format!("the last verify, {} ago, {}{of}", age(*age_s), verify_end(*outcome, id.is_some()))
        }
        Concern::NeverDrilled => "never drilled: nobody knows whether a restore works".into(),
        Concern::DrillTooOld { age_s } => format!("the last drill was {} ago", age(*age_s)),
        Concern::Drill { outcome, id, age_s } => {
            format!("the last drill, {} ago, {}", age(*age_s), drill_end(*outcome, id.is_some()))
        }
        Concern::NoRoom { free_bytes: free, needed_bytes: needed } => {
            format!("{} are free; two more backups, with room to make them, take {}", size(*free), size(*needed))
        }
    }
}

/// The state of a source's copies, in one line.
fn source(name: &str, state: SourceState, id: Option<BackupId>, age_s: u64, max_age_s: u64) -> String {
    let id = id.map(|id| id.to_string()).unwrap_or_default();
    match state {
        SourceState::NeverSaved => format!("{name} was never saved"),
        SourceState::OnlyBad => format!("{name} has no sound copy: the newest one, in {id}, is damaged or not whole"),
        SourceState::Future => format!("{name}: its newest copy, in {id}, is dated in the future"),
        SourceState::TooOld | SourceState::Fresh => {
            let (old, limit) = (age(age_s), age(max_age_s));
            format!("{name}: its newest sound copy, in {id}, is {old} old, and it should be younger than {limit}")
        }
    }
}

/// What to do about it. Commands are in backquotes; the printer completes them.
pub fn remedy(concern: &Concern) -> String {
    let remedy = match concern {
        Concern::NoBackup => "make one now: `backup`",
        Concern::Source { .. } => "make one now: `backup`; then see why there was none: `timer`",
        Concern::Ahead { .. } => "set the clock: timedatectl",
        Concern::LastRun { .. } => "see why: `timer`, if it was a scheduled one; then: `backup`",
        Concern::NewestUnfit { .. } => "make a new one: `backup`",
        Concern::Collapsed { id, .. } => {
            return format!("see what happened to it; if that was intended: `accept {id}`");
        }
        Concern::UnfinishedRestore { .. } => "repeat it, or take it back: `restore --undo`",
        Concern::Verify { outcome: Outcome::Failed, id: Some(_), .. } => {
            "`list` shows which backups are damaged; make a new one: `backup`"
        }
        Concern::Verify { .. } => "repeat it: `verify --all`",
        Concern::NeverDrilled | Concern::DrillTooOld { .. } => "rehearse a restore now: `drill`",
        Concern::Drill { .. } => "see why: `drill -v`",
        Concern::NoRoom { .. } => "make room (df -h), or remove old backups: `rotate --keep-days 3`",
    };
    remedy.into()
}

/// How a run ended, to follow its name.
pub fn run_end(end: RunEnd) -> &'static str {
    match end {
        RunEnd::Complete => "saved all that was asked for",
        RunEnd::Partial => "saved only a part",
        RunEnd::Failed => "failed",
        RunEnd::Interrupted => "was interrupted",
        RunEnd::Killed => "was killed",
        RunEnd::Running => "is still running",
    }
}

/// How a verification ended, to follow its name. Without a backup's id it says nothing about any backup.
pub fn verify_end(outcome: Outcome, is_of_backup: bool) -> &'static str {
    match outcome {
        Outcome::Ok | Outcome::Partial => "passed",
        Outcome::Failed if is_of_backup => "found damage",
        Outcome::Failed => "could not be completed",
        Outcome::Interrupted => "was interrupted",
        Outcome::Begun => "was killed",
    }
}

/// How a drill ended, to follow its name. Without a backup's id it says nothing about any backup.
pub fn drill_end(outcome: Outcome, is_of_backup: bool) -> &'static str {
    match outcome {
        Outcome::Ok => "passed",
        Outcome::Partial => "covered only a part of what is configured",
        Outcome::Failed if is_of_backup => "failed",
        Outcome::Failed => "could not be made",
        Outcome::Interrupted => "was interrupted",
        Outcome::Begun => "was killed",
    }
}

/// A chain, from the full backup to a point; `None` of a full backup.
pub fn chain(chain: &[BackupId]) -> Option<String> {
    let [full, increments @ ..] = chain else { return None };
    let last = increments.last()?;
    Some(format!("{full} full, then {} to {last}", count(increments.len(), "increment")))
}

/// Why a newer backup was skipped.
pub fn skipped(other: &SkippedBackup) -> String {
    format!("{} is newer, but {}", other.id, unfit(&other.why))
}

/// Why a backup can't be used, to follow its name.
pub fn unfit(why: &Objection) -> String {
    match why {
        Objection::Failed => "saved nothing".into(),
        Objection::Unreadable => "has a manifest that can't be read".into(),
        Objection::FoundDamaged => "did not pass its last verify or drill".into(),
        Objection::FileLost { file } => format!("lacks {file}, or its size is not as recorded"),
        Objection::SavedDamaged { name } => format!("holds a damaged {name}"),
        Objection::PartMissing { id } => format!("is an increment on {id}, which is missing or can't be read"),
        Objection::PartDamaged { id } => format!("is an increment on {id}, which was found damaged"),
        Objection::Lacks { names } if names.is_empty() => "holds nothing".into(),
        Objection::Lacks { names } => format!("does not hold all of {}", names.join(", ")),
    }
}
