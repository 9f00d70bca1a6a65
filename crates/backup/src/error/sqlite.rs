//! Errors of SQLite: which kind they are, and what to do about them.

use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_IOERR_SHMSIZE, SQLITE_READONLY_ROLLBACK};

use super::{Advice, Error, ErrorKind, NO_SPACE_HINT};

const HOT_JOURNAL_HINT: &str = "a crash broke off a transaction: start the application, which rolls it back, or run `backup` \
                                as a user who can write the database";
const NOT_A_DATABASE_HINT: &str = "not an SQLite file, or an encrypted one: check the path in the settings";
const DENIED_HINT: &str = "check that this user can read the file and write its folder (SQLite needs that for -shm)";
const CANNOT_OPEN_HINT: &str =
    "check that this user can write its folder (SQLite needs that for -shm), and its disk (df -h, df -i)";
const OUT_OF_MEMORY_HINT: &str =
    "this database needs more than the 512 MiB that SQLite can use here, or the machine has no more memory";
const TOO_BIG_HINT: &str = "its schema computes a value far larger than the database; check who changed the schema";

impl Error {
    /// A failed SQLite call on this database. The kind follows from SQLite's result code.
    pub(crate) fn sqlite(verb: &str, database: &Path, source: &rusqlite::Error) -> Self {
        let (kind, hint) = classify(source);
        if kind == ErrorKind::Interrupted {
            return Self::interrupted();
        }
        Self {
            kind,
            message: format!("can't {verb} {}", database.display()),
            hint: hint.map(Into::into),
            advice: advice_of(kind),
            file: None,
            // As text: rusqlite's own chain of causes says the same twice.
            source: Some(if lacks_room(source) { "no room for its -shm".into() } else { source.to_string().into() }),
        }
    }
}

fn classify(source: &rusqlite::Error) -> (ErrorKind, Option<&'static str>) {
    match source.sqlite_error_code() {
        _ if has_hot_journal(source) => (ErrorKind::HotJournal, Some(HOT_JOURNAL_HINT)),
        _ if lacks_room(source) => (ErrorKind::NoSpace, Some(NO_SPACE_HINT)),
        Some(ErrorCode::DiskFull) => (ErrorKind::NoSpace, Some(NO_SPACE_HINT)),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (ErrorKind::Busy, None),
        Some(ErrorCode::NotADatabase) => (ErrorKind::NotADatabase, Some(NOT_A_DATABASE_HINT)),
        Some(ErrorCode::DatabaseCorrupt) => (ErrorKind::Damaged, None),
        // The header has an impossible number.
        None if matches!(source, rusqlite::Error::IntegralValueOutOfRange(..)) => (ErrorKind::Damaged, None),
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => (ErrorKind::PermissionDenied, Some(DENIED_HINT)),
        // SQLite doesn't say whether permission or room is missing.
        Some(ErrorCode::CannotOpen) => (ErrorKind::PermissionDenied, Some(CANNOT_OPEN_HINT)),
        Some(ErrorCode::OperationInterrupted) => (ErrorKind::Interrupted, None),
        Some(ErrorCode::OutOfMemory) => (ErrorKind::Sqlite, Some(OUT_OF_MEMORY_HINT)),
        Some(ErrorCode::TooBig) => (ErrorKind::Sqlite, Some(TOO_BIG_HINT)),
        Some(ErrorCode::SystemIoFailure) => (ErrorKind::Io, None),
        _ => (ErrorKind::Sqlite, None),
    }
}

fn advice_of(kind: ErrorKind) -> Option<Advice> {
    match kind {
        ErrorKind::Busy => Some(Advice::WaitForDatabase),
        ErrorKind::Damaged => Some(Advice::RestoreDamaged),
        _ => None,
    }
}

/// <https://www.sqlite.org/rescode.html#readonly_rollback>.
fn has_hot_journal(error: &rusqlite::Error) -> bool {
    has_code(error, SQLITE_READONLY_ROLLBACK)
}

/// Whether there is no room for a `-shm`, the only lack of room that SQLite reports as an I/O error.
fn lacks_room(error: &rusqlite::Error) -> bool {
    has_code(error, SQLITE_IOERR_SHMSIZE)
}

fn has_code(error: &rusqlite::Error, extended: i32) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == extended)
}
