//! Carries out what retention has planned, and changes pins.
//!
//! Removing goes the way of writing backwards: the manifest is taken out of sight first, durably, so that a backup
//! stops existing before any of its files does; cut short after that, the next run goes on where this one stopped.

use serde::Serialize;

use crate::backup::stage_manifest;
use crate::catalog::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::history::{Command, Line, Outcome};
use crate::id::BackupId;
use crate::manifest::Manifest;
use crate::names;
use crate::retention::{self, Plan, Policy};
use crate::run::Run;

/// What a rotation removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The backups.
    pub removed: Vec<BackupId>,
    /// Bytes of their files.
    pub freed_bytes: u64,
}

/// What `policy` says about each backup of the store. Changes nothing.
///
/// `just_made` is the backup that this same run has made, if it has. It proves nothing about the schedule: a run under
/// a clock that jumped ahead would always find it fresh, and everything else too old. So whether backups have stopped
/// is judged without it.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the policy keeps nothing or has absurd numbers.
pub fn plan(run: &Run<'_>, policy: &Policy, just_made: Option<BackupId>) -> Result<Plan> {
    let now = run.now().to_utc();
    let mut candidates = run.catalog()?.candidates();
    let plan = retention::plan(&candidates, policy, now)?;
    candidates.retain(|candidate| Some(candidate.id) != just_made);
    let before = retention::plan(&candidates, policy, now)?;
    Ok(if before.stale.is_some_and(|stale| stale.newest.is_some()) { before } else { plan })
}

/// Removes what `plan` says is to be removed. The ledger gets a line, if that is anything.
///
/// # Errors
/// What kept a backup from being removed; those before it are gone, and the ledger says which.
pub fn prune(run: &Run<'_>, plan: &Plan) -> Result<Pruned> {
    let catalog = run.catalog()?;
    let mut pruned = Pruned { removed: Vec::new(), freed_bytes: 0 };
    let result = plan.removals().try_for_each(|decision| {
        run.check_stop()?;
        let entry = catalog.get(decision.id)?;
        remove(run, entry)?;
        pruned.removed.push(entry.id);
        pruned.freed_bytes += entry.files.iter().filter_map(|file| file.bytes).sum::<u64>();
        Ok(())
    });
    if result.is_ok() && pruned.removed.is_empty() {
        return Ok(pruned);
    }
    let outcome = if result.is_ok() { Outcome::Ok } else { Outcome::Partial };
    let error = result.as_ref().err().map(Error::one_line);
    let removed = pruned.removed.clone();
    let recorded = run.record(Line { error, removed, ..Line::new(run.now(), Command::Rotate, outcome) });
    result.and(recorded).map(|()| pruned)
}

fn remove(run: &Run<'_>, entry: &Entry) -> Result<()> {
    let manifest = names::manifest(entry.id);
    run.store().withdraw(&manifest)?;
    entry.files.iter().try_for_each(|file| run.store().remove(&file.file))?;
    run.store().discard(&manifest)
}

/// Pins or unpins a backup. `false` if it was so already.
///
/// # Errors
/// [`ErrorKind::NoSuchBackup`] if it has no manifest of this program's: rotation leaves it alone anyway.
pub fn set_pinned(run: &Run<'_>, entry: &Entry, pinned: bool) -> Result<bool> {
    let Some(manifest) = entry.manifest() else {
        entry.require_usable()?;
        let message = format!("backup {} has no manifest to write a pin into", entry.id);
        return Err(Error::new(ErrorKind::NoSuchBackup, message).with_hint("rotation never removes it anyway"));
    };
    if manifest.pinned == pinned {
        return Ok(false);
    }
    stage_manifest(run, &Manifest { pinned, ..manifest.clone() })?;
    run.store().publish(&[names::manifest(entry.id)])?;
    let command = if pinned { Command::Pin } else { Command::Unpin };
    run.record(Line { id: Some(entry.id), ..Line::new(run.now(), command, Outcome::Ok) })?;
    Ok(true)
}
