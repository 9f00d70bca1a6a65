//! The last runs of backup, verify and drill.

use serde::Serialize;

use super::inputs::{AtTime, StatusInputs};
use crate::catalog::Entry;
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Line, Outcome};
use crate::record::manifest::{Status as BackupStatus, Trigger};

/// How a run of `backup` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// All was saved.
    Complete,
    /// Some was saved.
    Partial,
    /// Nothing was saved.
    Failed,
    /// It was asked to stop.
    Interrupted,
    /// Nothing says how it ended: it was killed, or the power failed.
    Killed,
    /// It is still running.
    Running,
}

impl From<BackupStatus> for RunEnd {
    fn from(status: BackupStatus) -> Self {
        match status {
            BackupStatus::Complete => Self::Complete,
            BackupStatus::Partial => Self::Partial,
            BackupStatus::Failed => Self::Failed,
        }
    }
}

/// The last run of each command.
pub(super) struct LastRuns<'a> {
    pub backup: Option<AtTime<RunEnd>>,
    pub verify: Option<&'a Line>,
    pub drill: Option<&'a Line>,
}

impl StatusInputs<'_> {
    pub(super) fn last_runs(&self) -> LastRuns<'_> {
        LastRuns { backup: self.last_backup(), verify: self.last_verify(), drill: self.last_drill() }
    }

    /// The newest verification or drill that found nothing wrong.
    pub(super) fn last_proof(&self) -> Option<&Line> {
        self.proofs().rfind(|line| line.proves())
    }

    fn last_drill(&self) -> Option<&Line> {
        self.proofs().rfind(|line| line.command == Command::Drill)
    }

    /// The last run of `backup`, by the ledger or by its manifest. Either can be the later one: the ledger can't always be
    /// written, and not every run leaves a manifest.
    fn last_backup(&self) -> Option<AtTime<RunEnd>> {
        let is_kept = |line: &&Line| {
            self.entry_of(line).and_then(Entry::manifest).is_some_and(|summary| summary.trigger == Trigger::PreRestore)
        };
        let mut lines = self.ledger.lines().iter().rev().filter(|line| line.command == Command::Backup);
        let line = lines.find(|line| !is_kept(line));
        let entry = self.regular().next_back();
        let left = entry.and_then(|entry| Some(self.dated(entry, RunEnd::from(entry.manifest()?.status))));
        match (line, left) {
            (Some(line), Some(left)) if line.at <= left.at || line.id == left.id => Some(left),
            (Some(line), _) => Some(self.dated_line(line, self.end_of(line))),
            (None, left) => left,
        }
    }

    fn end_of(&self, line: &Line) -> RunEnd {
        match line.outcome {
            Outcome::Ok => RunEnd::Complete,
            Outcome::Partial => RunEnd::Partial,
            Outcome::Failed => RunEnd::Failed,
            Outcome::Interrupted => RunEnd::Interrupted,
            Outcome::Begun if self.goes_on(line) => RunEnd::Running,
            Outcome::Begun => RunEnd::Killed,
        }
    }

    /// The worst line of the last run of `verify`, which has one for each backup; the newest of several.
    fn last_verify(&self) -> Option<&Line> {
        let last = self.ledger.last(Command::Verify)?;
        let lines = self.ledger.lines().iter();
        let of_it = lines.filter(|line| (line.command, line.at) == (Command::Verify, last.at));
        of_it.max_by_key(|line| match (line.outcome, line.id) {
            (Outcome::Failed, Some(id)) if self.is_there_and_bad(id) => 3,
            (Outcome::Failed, Some(_)) => 2,
            (Outcome::Failed, None) => 1,
            _ => 0,
        })
    }

    /// Whether the backup still exists and failed its last proof.
    pub(super) fn is_there_and_bad(&self, id: BackupId) -> bool {
        self.catalog.get(id).is_ok() && self.ledger.is_known_bad(id)
    }
}
