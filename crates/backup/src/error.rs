//! One error type: what kind it is, what it concerns, and what to do about it.
//!
//! The [`ErrorKind`] decides what happens next (an exit code, a retry, a fallback); the text is for people only and
//! is never matched against.

use std::fmt;
use std::path::Path;

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a caller has to tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value given by the caller or found in the settings can't be used.
    InvalidInput,
    /// No backup answers to what was asked for.
    NoSuchBackup,
    /// A prefix that several backups share.
    AmbiguousId,
    /// Another run holds the store's lock.
    Locked,
    /// The store holds the backups of another project.
    ForeignStore,
    /// Stored bytes are not what the manifest says, or a database fails its checks.
    Damaged,
    /// A manifest that can't be used: not JSON, or one that names a file that can't be the backup's own.
    BadManifest,
    /// A manifest of a format that this version doesn't know.
    UnsupportedFormat,
    /// A database or a configuration file to be backed up isn't there.
    MissingSource,
    /// A file that should be an SQLite database isn't one (or is encrypted).
    NotADatabase,
    /// The database stayed locked past the deadline.
    Busy,
    /// A crash broke off a transaction of a database in rollback mode. Before it can be read, somebody who may write has
    /// to roll that back, as the application does when it is started again.
    HotJournal,
    /// A store has an object of that name already.
    AlreadyExists,
    /// The file system has no room.
    NoSpace,
    /// There is no room to keep what a restore would replace.
    NotKept,
    /// The operating system refused access.
    PermissionDenied,
    /// Something was done before it failed: a restore that had changed something, a run that the ledger doesn't know of.
    Partial,
    /// The run was asked to stop.
    Interrupted,
    /// Any other failure of the operating system.
    Io,
    /// Any other failure of SQLite.
    Sqlite,
}

/// What to do when nothing fits any more.
pub(crate) const NO_SPACE_HINT: &str = "free some space (df -h, df -i), or remove old backups: `rotate`";

/// What to do about a damaged database.
const DAMAGED_HINT: &str =
    "restore it from a backup: `restore --from latest`; to save it as it is before that: `backup --allow-damaged`";

/// What to do with a backup of a damaged database.
pub(crate) const SALVAGE_HINT: &str =
    "no restore puts it back; decode it by hand, and sqlite3's .dump gives what can be read of it";

/// A failure: its kind, one line that names the thing and its value, a hint on what to do, and what caused it.
#[derive(thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// A failed operation on a file or folder. The kind follows from what the operating system said.
    pub fn io(verb: &str, path: &Path, source: std::io::Error) -> Self {
        Self::io_named(verb, &path.display().to_string(), source)
    }

    /// As [`Error::io`], for something that isn't a path: an object of a store, a pipe.
    pub(crate) fn io_named(verb: &str, subject: &str, source: std::io::Error) -> Self {
        // An error of ours that travelled through a `Read` or `Write` keeps its own kind and words.
        let source = match source.downcast::<Error>() {
            Ok(own) => return own,
            Err(source) => source,
        };
        let kind = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::PermissionDenied
            }
            _ => ErrorKind::Io,
        };
        let hint = match kind {
            _ if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => Some(
                "is its disk mounted, and for writing? a scheduled run writes only where install-timer found its folders",
            ),
            ErrorKind::NoSpace => Some(NO_SPACE_HINT),
            ErrorKind::PermissionDenied => Some("check the owner and mode of that path and of the folders above it"),
            _ => None,
        };
        Self {
            kind,
            message: format!("can't {verb} {subject}"),
            hint: hint.map(Into::into),
            source: Some(source.into()),
        }
    }

    /// A failed SQLite call on the named database. The kind follows from SQLite's result code.
    pub(crate) fn sqlite(verb: &str, database: &Path, source: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let (kind, hint) = match source.sqlite_error_code() {
            _ if has_hot_journal(source) => (
                ErrorKind::HotJournal,
                Some(
                    "a crash broke off a transaction: the application's next start rolls it back, or a `backup` by who may write it",
                ),
            ),
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => {
                (ErrorKind::Busy, Some("another program holds it: wait for it, or allow more time with --busy-timeout"))
            }
            Some(Code::NotADatabase) => (
                ErrorKind::NotADatabase,
                Some("not an SQLite file, or an encrypted one: check the path in the settings"),
            ),
            Some(Code::DatabaseCorrupt) => (ErrorKind::Damaged, Some(DAMAGED_HINT)),
            Some(Code::DiskFull) => (ErrorKind::NoSpace, Some(NO_SPACE_HINT)),
            Some(Code::SystemIoFailure) if lacks_room(source) => (ErrorKind::NoSpace, Some(NO_SPACE_HINT)),
            Some(Code::PermissionDenied | Code::ReadOnly) => (
                ErrorKind::PermissionDenied,
                Some("check that this user can read the file and write its folder (SQLite needs that for -shm)"),
            ),
            // A number in the header that can't be.
            None if matches!(source, rusqlite::Error::IntegralValueOutOfRange(..)) => {
                (ErrorKind::Damaged, Some(DAMAGED_HINT))
            }
            // Which of the two, SQLite doesn't say.
            Some(Code::CannotOpen) => (
                ErrorKind::PermissionDenied,
                Some(
                    "check that this user can write its folder (SQLite needs that for -shm), and its disk (df -h, df -i)",
                ),
            ),
            Some(Code::OperationInterrupted) => return Self::interrupted(),
            Some(Code::OutOfMemory) => (
                ErrorKind::Sqlite,
                Some("SQLite may take 512 MiB here, and this database asks for more, or the machine has no more"),
            ),
            Some(Code::TooBig) => (
                ErrorKind::Sqlite,
                Some("something in its schema makes a value far larger than the database: who changed the schema?"),
            ),
            Some(Code::SystemIoFailure) => (ErrorKind::Io, None),
            _ => (ErrorKind::Sqlite, None),
        };
        Self {
            kind,
            message: format!("can't {verb} {}", database.display()),
            hint: hint.map(Into::into),
            // As text: rusqlite's own chain of causes says the same twice.
            source: Some(if lacks_room(source) { "no room for its -shm".into() } else { source.to_string().into() }),
        }
    }

    /// The same error, where all is `done` and only the ledger can't say so.
    pub(crate) fn unrecorded(self, done: &str) -> Self {
        let message = format!("{done}, but the ledger doesn't know: {}", self.one_line());
        Self { kind: ErrorKind::Partial, message, hint: self.hint, source: None }
    }

    /// Stored content that isn't what it should be: `what` is said of the stored file `file`.
    pub(crate) fn damaged(file: &str, what: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Damaged,
            message: format!("{file} is damaged"),
            hint: Some("restore another backup: `verify --all` shows which are sound".into()),
            source: Some(what.into().into()),
        }
    }

    /// A live database that fails its checks: `problem` is the first thing found.
    pub(crate) fn damaged_database(path: &Path, problem: &str) -> Self {
        let message = format!("database {} is damaged: {problem}", path.display());
        Self::new(ErrorKind::Damaged, message).with_hint(DAMAGED_HINT)
    }

    /// Whether it means that a database is damaged beyond what SQLite can read.
    pub(crate) fn means_damaged(&self) -> bool {
        matches!(self.kind, ErrorKind::NotADatabase | ErrorKind::Damaged)
    }

    /// Whether it means that SQLite can't make sense of a database: it is damaged, or it needs what only its application
    /// has, such as a function in an index.
    pub(crate) fn means_unreadable(&self) -> bool {
        self.means_damaged() || self.kind == ErrorKind::Sqlite
    }

    /// Whether the operating system said that there is no such file, nor the folder that it would be in.
    pub(crate) fn is_not_found(&self) -> bool {
        self.io_kind()
            .is_some_and(|kind| matches!(kind, std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory))
    }

    /// Whether something else is there than a plain file.
    pub(crate) fn is_not_plain(&self) -> bool {
        self.io_kind() == Some(std::io::ErrorKind::InvalidInput)
    }

    fn io_kind(&self) -> Option<std::io::ErrorKind> {
        Some(self.source.as_ref()?.downcast_ref::<std::io::Error>()?.kind())
    }

    /// The run was asked to stop and has done so.
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "interrupted")
    }

    /// The same error with another hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
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

    /// What caused it, without the message; the message if nothing did.
    pub(crate) fn detail(&self) -> String {
        self.source.as_ref().map_or_else(|| self.message.clone(), ToString::to_string)
    }

    /// What to do about it, in one line. Commands of the caller's stand in backquotes, as in "`restore --undo`": how the
    /// program is called, and with which flags, it has to put before them.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// <https://www.sqlite.org/rescode.html#readonly_rollback>.
fn has_hot_journal(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

/// Whether there is no room for a `-shm`, the one lack of room that SQLite calls an I/O error.
fn lacks_room(source: &rusqlite::Error) -> bool {
    source.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
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

/// Lets an error of this library travel through `Read` and `Write`; [`Error::io`] takes it out again.
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_travelled_through_io_keeps_its_kind() {
        let io: std::io::Error = Error::interrupted().into();
        assert_eq!(Error::io("read", Path::new("x"), io).kind(), ErrorKind::Interrupted);
    }

    #[test]
    fn a_full_disk_is_told_apart_and_says_what_to_do() {
        let full = std::io::Error::from_raw_os_error(28);
        let error = Error::io("write", Path::new("/backups/x"), full);
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert_eq!(error.to_string(), "can't write /backups/x");
        assert!(error.hint().is_some_and(|hint| hint.contains("df -h")));
    }
}
