//! The way back: the backup that a restore made of what it replaced, and the plan that restores it.

use std::path::Path;

use super::plan::Plan;
use super::planner::plan;
use crate::catalog::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::operation::look::Look;
use crate::record::id::BackupId;
use crate::record::ledger::Ledger;
use crate::record::selection::Selection;
use crate::source::Sources;

/// The backup that undoes the last restore into `target`.
///
/// # Errors
/// [`ErrorKind::NoSuchBackup`] if there was no restore, or if it replaced or kept nothing.
pub fn undo(ledger: &Ledger, target: &Path) -> Result<BackupId> {
    let Some((line, restore)) = ledger.restores().find(|(_, it)| is_same_folder(&it.target, target)) else {
        return Err(nothing_to_undo(&format!("the ledger knows no restore into {}", target.display())));
    };
    let when = line.at.format("%Y-%m-%d %H:%M");
    let why = match (restore.kept, restore.moved_aside.first()) {
        (Some(kept), _) => return Ok(kept),
        (None, Some(aside)) => format!("what the restore of {when} found is kept as {}", aside.display()),
        (None, None) if restore.unkept => format!("the restore of {when} was told not to keep what it replaced"),
        (None, None) => format!("the restore of {when} replaced nothing"),
    };
    Err(nothing_to_undo(&why))
}

fn nothing_to_undo(why: &str) -> Error {
    Error::new(ErrorKind::NoSuchBackup, format!("nothing to undo: {why}"))
        .with_hint("`list` shows what restores kept, as pre-restore: each can be restored by its id")
}

/// Whether two paths lead to one folder.
fn is_same_folder(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// The plan that restores what a restore has `kept`, into the same folder. Files that were new with that restore stay, with
/// a warning.
///
/// # Errors
/// As [`plan()`].
pub fn plan_undo(
    look: &Look<'_>,
    kept: &Entry,
    target: &Path,
    selection: Selection,
    sources: &Sources,
) -> Result<Plan> {
    let ledger = look.ledger()?;
    let mut plan = plan(look, kept, target, selection, sources)?;
    let restores = ledger.restores().filter(|(_, restore)| restore.kept == Some(kept.id));
    let new = restores.flat_map(|(_, restore)| &restore.written).filter(|path| !plan.names(path));
    let warnings: Vec<String> = new.map(|path| format!("{path} was not there before that restore: it stays")).collect();
    plan.warnings.extend(warnings);
    Ok(plan)
}
