//! A session: a run if the store can be written, else a look.

use std::ops::Deref;

use super::look::{Look, Setup};
use super::run::Run;
use crate::error::{Error, ErrorKind, Result};
use crate::record::ledger::{Command, Line};

/// What verify, drill and restore work in. They must also work on a store that can't be written: there they have no
/// lock, add no line to the ledger, and say so.
pub enum Session<'a> {
    /// With the lock; the ledger gets its lines.
    Recorded(Run<'a>),
    /// Without either.
    Unrecorded(Look<'a>),
}

impl<'a> Deref for Session<'a> {
    type Target = Look<'a>;

    fn deref(&self) -> &Look<'a> {
        match self {
            Self::Recorded(run) => run,
            Self::Unrecorded(look) => look,
        }
    }
}

impl<'a> From<Run<'a>> for Session<'a> {
    fn from(run: Run<'a>) -> Self {
        Self::Recorded(run)
    }
}

/// Whether the ledger got the line of a result.
pub(super) struct Recording {
    pub recorded: bool,
    /// Why it didn't, if that was an error.
    pub unrecorded: Option<String>,
}

impl<'a> Session<'a> {
    /// Begins a session. It doesn't create a store, unless backups are read from another one: then the ledger and
    /// safety copies need this host's own.
    ///
    /// # Errors
    /// As [`Run::begin`], except for [`ErrorKind::PermissionDenied`]: then the session is a look.
    pub fn begin(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        if setup.from.is_none() && setup.store.list("")?.is_empty() {
            return Look::new(setup).map(Self::Unrecorded);
        }
        let run = match Run::begin_unrecovered(setup.clone(), waiting) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Look::new(setup).map(Self::Unrecorded),
            other => other?,
        };
        match run.recover() {
            // In the sandbox of a drill, only the lock and the ledger can be written. The next backup removes what is
            // left.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(Self::Recorded(run)),
            other => other.map(|()| Self::Recorded(run)),
        }
    }

    /// Whether it holds the lock and writes the ledger.
    pub fn is_recorded(&self) -> bool {
        matches!(self, Self::Recorded(_))
    }

    /// The run, if it has the lock.
    pub fn run(&self) -> Option<&Run<'a>> {
        match self {
            Self::Recorded(run) => Some(run),
            Self::Unrecorded(_) => None,
        }
    }

    /// Adds a line that `command` begins, if the ledger can be written.
    ///
    /// # Errors
    /// As [`Run::record_begun`].
    pub(super) fn record_begun(&self, command: Command) -> Result<()> {
        self.run().map_or(Ok(()), |run| run.record_begun(command))
    }

    /// Adds a line that an error ended `command`, if the ledger can be written.
    pub(super) fn record_error(&self, command: Command, error: &Error) {
        self.run().into_iter().for_each(|run| run.record_error(command, error));
    }

    /// Adds a line to the ledger, if that can be written.
    ///
    /// # Errors
    /// As [`Run::record`].
    pub(super) fn note(&self, line: Line) -> Result<()> {
        self.run().map_or(Ok(()), |run| run.record(line))
    }

    /// Adds the line of a result whose work began `begun` milliseconds after the session did. The caller must get the
    /// result even if the ledger can't be written, so such an error is returned as a text. `begin` is the outcome of
    /// the first line.
    pub(super) fn record(&self, begin: Result<()>, begun: u64, line: Line) -> Recording {
        let Some(run) = self.run() else { return Recording { recorded: false, unrecorded: None } };
        let unrecorded = begin.and(run.record_since(begun, line)).err().map(|error| error.one_line());
        Recording { recorded: unrecorded.is_none(), unrecorded }
    }
}
