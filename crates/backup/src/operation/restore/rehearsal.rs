//! A rehearsed restore, into an empty folder that nobody else knows: there is nothing to keep, to lock or to record.

use super::changes::Changes;
use super::commit::Commit;
use super::patience::Patience;
use super::plan::{Plan, saved_damaged};
use super::staging::stage;
use crate::error::{Error, Result};
use crate::operation::look::Look;
use crate::operation::verify::require_sound;
use crate::source::sqlite::integrity::Scope;

/// Carries out a plan for such a folder.
///
/// # Errors
/// As [`restore`](super::restore). A database that was damaged when it was backed up is
/// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged), too: no drill can prove it.
pub(crate) fn rehearse(look: &Look<'_>, plan: &Plan) -> Result<()> {
    plan.databases().find_map(|database| saved_damaged(&database.file)).map_or(Ok(()), Err::<(), Error>)?;
    let staging = stage(plan, look.reader())?;
    look.check_stop()?;
    let commit =
        Commit { patience: Patience::of(look), now: look.now(), damaged: &[], changes: &mut Changes::default() };
    commit.put_all(staging, Vec::new())
}

/// Checks the databases that [`rehearse`] restored unchecked, because they were checked before they were stored.
///
/// # Errors
/// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) if one isn't sound; any error that prevents its check.
pub(crate) fn check_databases(look: &Look<'_>, plan: &Plan) -> Result<()> {
    plan.databases().filter(|database| database.file.is_checked()).try_for_each(|database| {
        require_sound(look.progress(), &database.file, &database.path.under(&plan.target), Some(Scope::Damage))
    })
}
