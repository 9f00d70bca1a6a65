//! A session: a run where the store can be written, else a look.

use std::ops::Deref;

use super::look::{Look, Setup};
use super::run::Run;
use crate::error::{Error, ErrorKind, Result};
use crate::record::ledger::{Command, Line};

/// What verifies, drills or restores. It has to work on a store that can't be written, too: there it has no lock, leaves
/// no line in the ledger, and says so.
pub enum Session<'a> {
    /// With the lock and the ledger.
    Recorded(Run<'a>),
    /// Without.
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

/// Whether the ledger has a line of what was found.
pub(super) struct Recording {
    pub recorded: bool,
    /// Why it has none, if it should.
    pub unrecorded: Option<String>,
}

impl<'a> Session<'a> {
    /// Begins a session. It doesn't make a store that isn't there, unless backups are read from another one: the ledger
    /// and what a restore replaces go into this host's own.
    ///
    /// # Errors
    /// As [`Run::begin`], but for [`ErrorKind::PermissionDenied`].
    pub fn begin(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        if setup.from.is_none() && setup.store.list("")?.is_empty() {
            return Look::new(setup).map(Self::Unrecorded);
        }
        setup.require_own()?;
        let run = match Run::begin_unrecovered(setup.clone(), waiting) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Look::new(setup).map(Self::Unrecorded),
            other => other?,
        };
        match run.recover() {
            // In the sandbox of a drill, the lock and the ledger can be written alone. The next backup clears up.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(Self::Recorded(run)),
            other => other.map(|()| Self::Recorded(run)),
        }
    }

    /// Whether it holds the lock and writes the ledger.
    pub fn is_recorded(&self) -> bool {
        matches!(self, Self::Recorded(_))
    }

    /// The run, if it may write.
    pub fn run(&self) -> Option<&Run<'a>> {
        match self {
            Self::Recorded(run) => Some(run),
            Self::Unrecorded(_) => None,
        }
    }

    /// Writes down that `command` begins.
    ///
    /// # Errors
    /// As [`Run::record_begun`].
    pub(super) fn record_begun(&self, command: Command) -> Result<()> {
        self.run().map_or(Ok(()), |run| run.record_begun(command))
    }

    /// Writes down that an error ended `command`.
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

    /// Writes down what was found since `begun`, in milliseconds after the session began. What was found has to be told,
    /// whatever the ledger takes; `begin` is what it said to the first line.
    pub(super) fn record(&self, begin: Result<()>, begun: u64, line: Line) -> Recording {
        let Some(run) = self.run() else { return Recording { recorded: false, unrecorded: None } };
        let unrecorded = begin.and(run.record_since(begun, line)).err().map(|error| error.one_line());
        Recording { recorded: unrecorded.is_none(), unrecorded }
    }
}
