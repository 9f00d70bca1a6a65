//! Probes of restored databases: questions that must have a true answer.
//!
//! The hazard: a probe reads rows, and its result is printed, logged and recorded. So no value leaves this module: a failed
//! probe says which one it is and what kind of answer it gave. SQLite's own messages may quote values (a trigger's `RAISE`, a
//! JSON path), so an error at run time is reported only by its code.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, ffi};
use serde::Serialize;

use crate::error::{Advice, Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::source::{DatabaseSource, sqlite};

/// A question put to a restored copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// The SQL, or the command.
    pub text: String,
    /// Why it failed; `None` if it passed. It never holds a value of a row or of a file.
    pub failure: Option<String>,
}

/// A restored database, open as its application opens it: for writing.
pub(super) struct RestoredDatabase<'a> {
    source: &'a DatabaseSource,
    connection: Connection,
    progress: &'a dyn Progress,
}

impl<'a> RestoredDatabase<'a> {
    /// Opens the one that was restored below `folder`.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn open(
        source: &'a DatabaseSource,
        folder: &Path,
        busy_timeout: Duration,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let connection = sqlite::open_restored(&source.path.under(folder), busy_timeout)?;
        Ok(Self { source, connection, progress })
    }

    /// Makes sure that SQLite can prepare every probe.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for the first that it can't prepare: the settings are wrong, not the backup.
    pub fn require_prepared(&self) -> Result<()> {
        for (at, sql) in self.source.probes.iter().enumerate() {
            let Some(why) = self.why_not_prepared(sql)? else { continue };
            let message = format!("probe {} of {} can't be prepared: {sql:?}: {why}", at + 1, self.source.name);
            return Err(Error::new(ErrorKind::InvalidInput, message).with_advice(Advice::FixProbes));
        }
        Ok(())
    }

    /// What is wrong with the text of a probe.
    ///
    /// # Errors
    /// What isn't about its text: no memory, a failing disk, a damaged schema.
    fn why_not_prepared(&self, sql: &str) -> Result<Option<String>> {
        let shape = self.run(|connection| {
            let statement = connection.prepare(sql)?;
            Ok((statement.column_count(), statement.parameter_count()))
        })?;
        Ok(Some(match shape {
            Ok((0, _)) => "it is no question: it gives no row".into(),
            Ok((_, 0)) => return Ok(None),
            Ok(_) => "it has a parameter, and nothing to put there".into(),
            Err(rusqlite::Error::SqlInputError { msg, .. }) => msg,
            Err(rusqlite::Error::SqliteFailure(ffi::Error { code: ErrorCode::Unknown, .. }, Some(message))) => message,
            Err(error @ rusqlite::Error::SqliteFailure(..)) => return Err(self.failed(&error)),
            Err(rusqlite::Error::Empty) => "there is no SQL in it".into(),
            Err(other) => other.to_string(),
        }))
    }

    /// Runs all its probes.
    ///
    /// # Errors
    /// What keeps one from being answered and isn't about the database: the wish to stop, no room, a failing disk.
    pub fn probe(&self) -> Result<Vec<Probe>> {
        self.source.probes.iter().map(|sql| self.ask(sql)).collect()
    }

    fn ask(&self, sql: &str) -> Result<Probe> {
        let answer = self.run(|connection| connection.query_row(sql, [], |row| Ok(wrong_answer(row.get_ref(0)?))))?;
        let failure = match answer {
            Ok(wrong) => wrong.map(|wrong| format!("gave {wrong}")),
            Err(rusqlite::Error::QueryReturnedNoRows) => Some("gave no row".into()),
            Err(error) => Some(self.code_of(&error)?),
        };
        Ok(Probe { text: sql.into(), failure: failure.map(|failure| format!("{sql}: {failure}")) })
    }

    /// The code of the error that a probe ended in, without SQLite's message.
    fn code_of(&self, error: &rusqlite::Error) -> Result<String> {
        let (rusqlite::Error::SqliteFailure(code, _) | rusqlite::Error::SqlInputError { error: code, .. }) = error
        else {
            return Ok("can't be asked".into());
        };
        match code.code {
            ErrorCode::OperationInterrupted
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::CannotOpen => Err(self.failed(error)),
            _ => Ok(format!("SQLite error {}: {}", code.extended_code, ffi::code_to_str(code.extended_code))),
        }
    }

    /// Does what can be stopped. The outer error is the wish to stop.
    fn run<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<rusqlite::Result<T>> {
        if self.progress.should_stop() {
            return Err(Error::interrupted());
        }
        Ok(sqlite::stoppable(&self.connection, self.progress, || (), work))
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        Error::sqlite("probe the restored", Path::new(self.source.path.as_str()), error)
    }
}

/// What kind of answer it is, if it isn't a true one.
fn wrong_answer(value: ValueRef<'_>) -> Option<&'static str> {
    match value {
        ValueRef::Integer(0) => Some("false (0)"),
        ValueRef::Integer(_) => None,
        ValueRef::Null => Some("NULL"),
        ValueRef::Real(_) => Some("a real number"),
        ValueRef::Text(_) => Some("text"),
        ValueRef::Blob(_) => Some("a blob"),
    }
}
