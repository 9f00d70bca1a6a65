//! The lines of a restore in the ledger: one before its first change and one after its last.

use std::path::PathBuf;

use super::changes::Changes;
use super::plan::Plan;
use crate::error::{Advice, Error, ErrorKind, Result};
use crate::operation::session::Session;
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Line, Outcome, RestoreLine};
use crate::record::names;

/// A restore's lines in the ledger.
pub(super) struct RestoreRecord<'a> {
    pub session: &'a Session<'a>,
    pub plan: &'a Plan,
    /// The pre-restore backup.
    pub kept: Option<BackupId>,
    /// Whether something is replaced that is not kept.
    pub unkept: bool,
}

impl RestoreRecord<'_> {
    /// The line before the first change.
    ///
    /// # Errors
    /// Any error of writing the ledger.
    pub fn begin(&self) -> Result<()> {
        self.add(Outcome::Begun, &[], None)
    }

    /// The line after the last change.
    ///
    /// # Errors
    /// That of the `result`; any error of writing the ledger. After a first change it is [`ErrorKind::Partial`].
    pub fn end(&self, changes: &Changes, result: Result<()>) -> Result<()> {
        let outcome = match &result {
            Ok(()) => Outcome::Ok,
            Err(_) if changes.any => Outcome::Partial,
            Err(_) => Outcome::Failed,
        };
        let recorded = self.add(outcome, &changes.moved_aside, result.as_ref().err());
        let partial = |error: Error, so_far: &str| partial(&error, so_far, self.kept);
        result.map_err(|error| if changes.any { partial(error, "a part of it may be restored") } else { error })?;
        recorded.map_err(|error| partial(error, "all of it is restored, but the ledger doesn't say so"))
    }

    fn add(&self, outcome: Outcome, moved_aside: &[PathBuf], error: Option<&Error>) -> Result<()> {
        let restore = RestoreLine {
            target: self.plan.target.clone(),
            selection: Some(self.plan.selection),
            kept: self.kept,
            unkept: self.unkept,
            written: self.plan.items.iter().map(|item| item.path.to_string()).collect(),
            moved_aside: moved_aside.to_vec(),
        };
        self.session.note(Line {
            id: Some(self.plan.id),
            restore: Some(restore),
            error: error.map(Error::one_line),
            ..Line::new(self.session.now(), Command::Restore, outcome)
        })
    }
}

/// An error after a change, or after what may have been one.
pub(super) fn partial(error: &Error, so_far: &str, kept: Option<BackupId>) -> Error {
    let error = Error::new(ErrorKind::Partial, error.one_line()).with_hint(format!("{so_far}: repeat it"));
    if kept.is_some() { error.with_advice(Advice::Undo) } else { error }
}

/// Records that a restore found the backup damaged, unless the ledger says so already: `latest` skips it from then on. A
/// ledger that can't be written must not hide the damage.
pub(super) fn note_damage(session: &Session<'_>, id: BackupId, error: &Error) {
    let damaged = error.damaged_file().and_then(names::id_of).unwrap_or(id);
    let is_known =
        || session.ledger().is_ok_and(|ledger| ledger.is_known_bad(id) && ledger.damaged_at(damaged).is_some());
    if error.kind() == ErrorKind::Damaged && !is_known() {
        let line = Line::new(session.now(), Command::Verify, Outcome::Failed);
        let _ = session.note(Line { id: Some(id), error: Some(error.one_line()), damaged: Some(damaged), ..line });
    }
}
