//! How a restore waits for locked databases.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::StepResult;
use rusqlite::{Connection, ErrorCode};

use crate::error::{Advice, Error, ErrorKind, Result};
use crate::operation::look::Look;
use crate::progress::Progress;

/// The pause between two attempts.
const RETRY: Duration = Duration::from_millis(20);

/// The longest wait for others where the restore doesn't depend on it, or where they may never give way: for readers,
/// before the log is emptied into the database; for a program that has the database open, to close it.
pub(super) const BRIEF: Duration = Duration::from_secs(1);

/// How long to wait for a locked database, and who can end the wait.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    pub busy_timeout: Duration,
    pub progress: &'a dyn Progress,
}

impl<'a> Patience<'a> {
    /// As the caller of the operation wants it.
    pub fn of(look: &Look<'a>) -> Self {
        Self { busy_timeout: look.busy_timeout(), progress: look.progress() }
    }

    /// The same, but no longer than [`BRIEF`].
    pub fn brief(self) -> Self {
        Self { busy_timeout: self.busy_timeout.min(BRIEF), ..self }
    }

    /// Runs SQL that locks the database at `path`, once nobody else has it locked.
    ///
    /// # Errors
    /// As [`Patience::until_free`].
    pub fn lock(self, connection: &Connection, path: &Path, sql: &str) -> Result<()> {
        self.until_free(path, || connection.execute_batch(sql).map(|()| StepResult::Done))
    }

    /// Repeats `attempt` until the database at `path` is no longer busy.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if it stays locked; [`ErrorKind::Interrupted`] on a wish to stop; else as SQLite says.
    pub fn until_free(self, path: &Path, mut attempt: impl FnMut() -> rusqlite::Result<StepResult>) -> Result<()> {
        let begun = Instant::now();
        loop {
            match attempt() {
                Ok(StepResult::Done | StepResult::More) => return Ok(()),
                Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => {
                    return Err(Error::sqlite("restore into", path, &error));
                }
                _ if begun.elapsed() >= self.busy_timeout => return Err(self.stayed_locked(path)),
                _ if self.progress.should_stop() => return Err(Error::interrupted()),
                _ => thread::sleep(RETRY),
            }
        }
    }

    /// The error if the database at `path` was locked for all that time.
    pub fn stayed_locked(self, path: &Path) -> Error {
        let seconds = self.busy_timeout.as_secs();
        Error::new(ErrorKind::Busy, format!("{} stayed locked for {seconds} s", path.display()))
            .with_advice(Advice::EndTransaction)
    }
}

/// The error if a program uses what has to be replaced.
pub(super) fn in_use(message: String) -> Error {
    Error::new(ErrorKind::Busy, message)
        .with_hint("stop the application, and a service that follows its database, then restore again")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::progress::Event;

    /// A wish to stop that comes after so many retries.
    struct Retries(AtomicUsize);

    impl Progress for Retries {
        fn event(&self, _: Event<'_>) {}

        fn should_stop(&self) -> bool {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
        }
    }

    #[test]
    fn a_busy_database_is_tried_until_it_is_free_or_its_time_or_the_run_is_over() {
        let outcome = |busy_timeout, retries: usize, results: &[i32]| {
            let mut results = results.iter();
            let attempt = || match results.next() {
                Some(&code) => Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)),
                None => Ok(StepResult::Done),
            };
            let patience = Patience { busy_timeout, progress: &Retries(retries.into()) };
            patience.until_free(Path::new("a.db"), attempt).map_err(|error| error.kind())
        };
        let (busy, full) = (rusqlite::ffi::SQLITE_BUSY, rusqlite::ffi::SQLITE_FULL);
        assert_eq!(outcome(Duration::MAX, 2, &[busy, busy]), Ok(()));
        assert_eq!(outcome(Duration::MAX, 1, &[busy, busy]), Err(ErrorKind::Interrupted));
        assert_eq!(outcome(Duration::MAX, 1, &[busy, full]), Err(ErrorKind::NoSpace));
        assert_eq!(outcome(Duration::ZERO, 1, &[busy]), Err(ErrorKind::Busy));
    }
}
