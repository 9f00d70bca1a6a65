//! Exit codes. README and `--help` list them.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use backup::ErrorKind;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage or settings.
    Usage = 2,
    /// Partly done.
    Partly = 3,
    /// No such backup.
    NoSuchBackup = 10,
    /// Locked by another run.
    Locked = 11,
    /// Verification found damage.
    Damaged = 12,
    /// Stopped by SIGINT.
    Interrupted = 130,
    /// Stopped by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// The exit code for an error of the library's.
    pub fn of(error: &backup::Error) -> Self {
        of_kind(Some(error.kind()))
    }

    /// The meaning of another run's exit `status`; [`Exit::Failed`] if it is not one of these.
    pub fn of_status(status: u8) -> Self {
        const ALL: [Exit; 9] = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Partly,
            Exit::NoSuchBackup,
            Exit::Locked,
            Exit::Damaged,
            Exit::Interrupted,
            Exit::Terminated,
        ];
        ALL.into_iter().find(|exit| *exit as u8 == status).unwrap_or(Exit::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// The exit code for any error.
pub fn of_error(error: &anyhow::Error) -> Exit {
    of_kind(error.downcast_ref::<backup::Error>().map(backup::Error::kind))
}

/// The exit code for an error of the library of this kind; with none, for any other error.
fn of_kind(kind: Option<ErrorKind>) -> Exit {
    match kind {
        Some(ErrorKind::InvalidInput | ErrorKind::ForeignStore) => Exit::Usage,
        Some(ErrorKind::NoSuchBackup | ErrorKind::AmbiguousId) => Exit::NoSuchBackup,
        Some(ErrorKind::Locked) => Exit::Locked,
        Some(ErrorKind::Partial) => Exit::Partly,
        Some(ErrorKind::Damaged | ErrorKind::BadManifest) => Exit::Damaged,
        Some(ErrorKind::Interrupted) | None if Signals::received() == Some(SIGTERM) => Exit::Terminated,
        Some(ErrorKind::Interrupted) => Exit::Interrupted,
        // A child process was stopped by the same signal.
        None if Signals::received().is_some() => Exit::Interrupted,
        _ => Exit::Failed,
    }
}

/// The signals that ask a run to stop.
#[derive(Debug)]
pub struct Signals {
    received: Arc<AtomicUsize>,
    deadly: Vec<SigId>,
}

static SIGNALS: std::sync::OnceLock<Signals> = std::sync::OnceLock::new();

impl Signals {
    /// Catches SIGINT and SIGTERM from now on: the run ends at its next safe place. A second signal of the same kind ends
    /// the process at once. That is safe too, but leaves the cleaning up to the next run.
    pub fn catch() -> std::io::Result<&'static Self> {
        Self::catch_all(&[SIGINT, SIGTERM])
    }

    /// The same with SIGHUP, for commands that no later run cleans up after: the terminal may be closed in the middle.
    pub fn catch_hangup() -> std::io::Result<&'static Self> {
        Self::catch_all(&[SIGHUP, SIGINT, SIGTERM])
    }

    fn catch_all(signals: &[i32]) -> std::io::Result<&'static Self> {
        if let Some(signals) = SIGNALS.get() {
            return Ok(signals);
        }
        let received = Arc::new(AtomicUsize::new(0));
        let mut deadly = Vec::new();
        for signal in signals {
            let again = Arc::new(std::sync::atomic::AtomicBool::new(false));
            deadly.push(signal_hook::flag::register_conditional_default(*signal, Arc::clone(&again))?);
            signal_hook::flag::register(*signal, again)?;
            signal_hook::flag::register_usize(*signal, Arc::clone(&received), signal.unsigned_abs() as usize)?;
        }
        Ok(SIGNALS.get_or_init(|| Self { received, deadly }))
    }

    /// From now on, a second signal doesn't end the process either.
    pub fn hold() {
        for id in SIGNALS.get().iter().flat_map(|signals| &signals.deadly) {
            signal_hook::low_level::unregister(*id);
        }
    }

    /// The signal that was received, if any.
    pub fn received() -> Option<i32> {
        let number = SIGNALS.get()?.received.load(Ordering::Relaxed);
        i32::try_from(number).ok().filter(|number| *number != 0)
    }
}
