//! One error type: what kind it is, what it concerns, and what to do about it.
//!
//! The [`ErrorKind`] decides what happens next: an exit code, a retry, a fallback. The text is for people alone, and no
//! code compares it.

mod advice;
mod sqlite;

use std::fmt;
use std::io;
use std::path::Path;

pub use advice::Advice;

/// The result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the cases that callers treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value given by the caller or found in the settings can't be used.
    InvalidInput,
    /// No backup fits what was asked for.
    NoSuchBackup,
    /// A prefix that several backups share.
    AmbiguousId,
    /// Another run holds the store's lock.
    Locked,
    /// The store holds the backups of another project.
    ForeignStore,
    /// Stored bytes differ from the manifest, or a database fails its checks.
    Damaged,
    /// A manifest can't be used: it isn't JSON, or names a file that can't be its backup's own.
    BadManifest,
    /// A manifest has a format that this version doesn't know.
    UnsupportedFormat,
    /// A database or configuration file to back up doesn't exist.
    MissingSource,
    /// A file that should be an SQLite database isn't one (or is encrypted).
    NotADatabase,
    /// The database stayed locked past the deadline.
    Busy,
    /// A crash broke off a transaction of a database in rollback mode. Before the database can be read, a process that can
    /// write has to roll it back, as the application does at its next start.
    HotJournal,
    /// A store has an object of that name already.
    AlreadyExists,
    /// The file system has no room.
    NoSpace,
    /// There is no room to keep what a restore would replace.
    NotKept,
    /// The operating system refused access.
    PermissionDenied,
    /// Something was done before it failed: a restore had changed something, or a run isn't in the ledger.
    Partial,
    /// The run was asked to stop.
    Interrupted,
    /// Any other failure of the operating system.
    Io,
    /// Any other failure of SQLite.
    Sqlite,
}

/// What to do about a full disk.
pub(crate) const NO_SPACE_HINT: &str = "free some space (df -h, df -i), or remove old backups: `rotate`";

/// What to do about a missing permission.
const DENIED_HINT: &str = "check the owner and mode of that path and of the folders above it";

/// What to do about a file system that is mounted for reading.
const READ_ONLY_HINT: &str =
    "is its disk mounted, and for writing? a scheduled run writes only where install-timer found its folders";

/// What to do with a backup of a damaged database.
pub(crate) const SALVAGE_HINT: &str =
    "no restore puts it back; decode it by hand, and save what sqlite3's .dump can still read";

/// A failure: its kind, one line that names the thing and its value, a hint on what to do, and what caused it.
#[derive(thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    advice: Option<Advice>,
    /// The stored file that is damaged.
    file: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, advice: None, file: None, source: None }
    }

    /// A failed operation on a file or folder. The kind follows from what the operating system said.
    pub fn io(verb: &str, path: &Path, source: io::Error) -> Self {
        Self::io_named(verb, &path.display().to_string(), source)
    }

    /// As [`Error::io`], for something that isn't a path: an object of a store, a pipe.
    pub(crate) fn io_named(verb: &str, subject: &str, source: io::Error) -> Self {
        // An error of this library that came through a `Read` or `Write` stays as it was.
        let source = match source.downcast::<Error>() {
            Ok(own) => return own,
            Err(source) => source,
        };
        let (kind, hint) = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (ErrorKind::NoSpace, Some(NO_SPACE_HINT)),
            io::ErrorKind::PermissionDenied => (ErrorKind::PermissionDenied, Some(DENIED_HINT)),
            io::ErrorKind::ReadOnlyFilesystem => (ErrorKind::PermissionDenied, Some(READ_ONLY_HINT)),
            _ => (ErrorKind::Io, None),
        };
        Self {
            kind,
            message: format!("can't {verb} {subject}"),
            hint: hint.map(Into::into),
            advice: None,
            file: None,
            source: Some(source.into()),
        }
    }

    /// The same error, if everything is `done` and only the line in the ledger is missing.
    pub(crate) fn unrecorded(self, done: &str) -> Self {
        let message = format!("{done}, but the ledger doesn't know: {}", self.one_line());
        Self { kind: ErrorKind::Partial, message, hint: self.hint, advice: self.advice, file: None, source: None }
    }

    /// Stored content is damaged: `what` is wrong with the file `file`.
    pub(crate) fn damaged(file: &str, what: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Damaged,
            message: format!("{file} is damaged"),
            hint: None,
            advice: Some(Advice::RestoreAnother),
            file: Some(file.to_string()),
            source: Some(what.into().into()),
        }
    }

    /// A live database fails its checks: `problem` is the first finding.
    pub(crate) fn damaged_database(path: &Path, problem: &str) -> Self {
        let message = format!("database {} is damaged: {problem}", path.display());
        Self::new(ErrorKind::Damaged, message).with_advice(Advice::RestoreDamaged)
    }

    /// The stored file that is damaged, if it is one of a store.
    pub(crate) fn damaged_file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Whether a database is too damaged for SQLite to read.
    pub(crate) fn means_damaged(&self) -> bool {
        matches!(self.kind, ErrorKind::NotADatabase | ErrorKind::Damaged)
    }

    /// Whether SQLite can't read a database: it is damaged, or it needs something that only its application has, such as a
    /// function in an index.
    pub(crate) fn means_unreadable(&self) -> bool {
        self.means_damaged() || self.kind == ErrorKind::Sqlite
    }

    /// Whether the file, or the folder that should hold it, doesn't exist.
    pub(crate) fn is_not_found(&self) -> bool {
        self.io_kind().is_some_and(|kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }

    /// Whether it isn't a plain file.
    pub(crate) fn is_not_plain(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::InvalidInput)
    }

    fn io_kind(&self) -> Option<io::ErrorKind> {
        Some(self.source.as_ref()?.downcast_ref::<io::Error>()?.kind())
    }

    /// The run was asked to stop and has done so.
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "interrupted")
    }

    /// The same error, its message with `subject: ` before it.
    #[must_use]
    pub fn about(mut self, subject: &str) -> Self {
        self.message = format!("{subject}: {}", self.message);
        self
    }

    /// The same error with another hint, and no advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        (self.hint, self.advice) = (Some(hint.into()), None);
        self
    }

    /// The same error with advice beside its hint, if it has one.
    #[must_use]
    pub(crate) fn with_advice(mut self, advice: Advice) -> Self {
        self.advice = Some(advice);
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message with all its causes, in one line.
    pub fn one_line(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// Its cause without the message; the message if it has no cause.
    pub(crate) fn detail(&self) -> String {
        self.source.as_ref().map_or_else(|| self.message.clone(), ToString::to_string)
    }

    /// What to do about it, in one line. Commands are in backquotes, as in "`list`": the caller has to put the program's
    /// name before them. Flags are never named: see [`Error::advice`].
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What else to do about it, for the caller to put into its own commands and flags.
    pub fn advice(&self) -> Option<Advice> {
        self.advice
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

/// Carries an error of this library through `Read` and `Write`; [`Error::io`] takes it out again.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_travelled_through_io_keeps_its_kind() {
        let io: io::Error = Error::interrupted().into();
        assert_eq!(Error::io("read", Path::new("x"), io).kind(), ErrorKind::Interrupted);
    }

    #[test]
    fn a_full_disk_is_told_apart_and_says_what_to_do() {
        let full = io::Error::from_raw_os_error(28);
        let error = Error::io("write", Path::new("/backups/x"), full);
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert_eq!(error.to_string(), "can't write /backups/x");
        assert!(error.hint().is_some_and(|hint| hint.contains("df -h")));
    }
}
