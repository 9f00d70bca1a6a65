//! One round: an increment, as a run of its own.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use backup::{Error, ErrorKind, Event, Follower, Progress};
use serde_json::{Value, json};

use crate::commands::backup::{self as command, BackupResult};
use crate::context::Context;
use crate::exit::Signals;
use crate::output::Output;
use crate::report::Report as _;
use crate::systemd::notify::Notifier;

/// How long the rounds after a signal may take. The service manager kills after 90 seconds.
const LAST: Duration = Duration::from_secs(60);

/// What a round came to.
pub enum Round {
    /// It saved what had changed.
    Saved(BackupResult),
    /// It failed, and the next one may not.
    Failed(Error),
}

/// How long the log of a database may become.
const MAX_LOG: u64 = 64_000_000;

/// Makes rounds.
pub struct Rounds<'a> {
    follower: Follower,
    watch: Watch<'a>,
}

impl<'a> Rounds<'a> {
    pub fn new(notifier: &'a Notifier) -> Self {
        Self { follower: Follower::new(MAX_LOG), watch: Watch { notifier, stop_asked: OnceLock::new() } }
    }

    /// Makes a round.
    ///
    /// # Errors
    /// What no later round can do better: another project's store, a permission that is missing, a store that can't be
    /// one; or that a signal came too long ago.
    pub fn make(&mut self, context: &Context<'_>) -> anyhow::Result<Round> {
        // A disk that isn't mounted may be mounted later.
        if let Err(error) = context.require_named_folder() {
            return error.downcast().map(Round::Failed);
        }
        let progress = Watched { shown: context.progress(), watch: &self.watch };
        let run = match context.begin_with("follow", &progress) {
            Ok(run) => run,
            Err(error) if error.kind() == ErrorKind::InvalidInput || is_final(&error) => return Err(error.into()),
            Err(error) => return Ok(Round::Failed(error)),
        };
        let sources = context.config.sources();
        let request = command::request(context, &sources, false)?;
        match self.follower.back_up(&run, &request) {
            Ok(report) => Ok(Round::Saved(BackupResult::of(context, &run, report))),
            Err(error) if is_final(&error) => Err(error.into()),
            Err(error) => Ok(Round::Failed(error)),
        }
    }
}

/// Watches rounds: they show that they live, and a first signal lets them end.
struct Watch<'a> {
    notifier: &'a Notifier,
    /// Since when a signal asks for the end.
    stop_asked: OnceLock<Instant>,
}

impl Watch<'_> {
    /// Whether a signal came so long ago that the service manager would soon kill.
    fn is_overdue(&self) -> bool {
        Signals::received().is_some() && self.stop_asked.get_or_init(Instant::now).elapsed() >= LAST
    }
}

/// Whether no later round can do better.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ForeignStore | ErrorKind::PermissionDenied | ErrorKind::Interrupted)
}

/// The progress of a round: each sign of it is one of life for the watchdog.
struct Watched<'a> {
    shown: &'a dyn Progress,
    watch: &'a Watch<'a>,
}

impl Progress for Watched<'_> {
    fn event(&self, event: Event<'_>) {
        self.watch.notifier.beat();
        self.shown.event(event);
    }

    fn should_stop(&self) -> bool {
        self.watch.notifier.beat();
        self.watch.is_overdue()
    }
}

impl Round {
    /// What went wrong, each with the name of the source that it is about, if it is about one.
    pub fn errors(&self) -> Vec<(Option<&str>, &Error)> {
        match self {
            Self::Saved(result) => result.failures().iter().map(|(name, error)| (Some(name.as_str()), error)).collect(),
            Self::Failed(error) => vec![(None, error)],
        }
    }

    /// Shows what it wrote. A journal gets no line for an increment: there is one every minute.
    pub fn show(&self, output: &Output) {
        let Self::Saved(BackupResult::Made(made)) = self else { return };
        if !made.is_increment() {
            made.show_saved(output);
        } else if !output.is_journal() || output.is_verbose() {
            made.show_sum(output);
        }
    }

    /// Its line with `--json`; none if it wrote nothing.
    pub fn document(&self, output: &Output) -> Option<Value> {
        match self {
            Self::Saved(BackupResult::Made(made)) => Some(made.document(output)),
            Self::Saved(BackupResult::Unchanged { failures, .. }) if failures.is_empty() => None,
            Self::Saved(unchanged) => serde_json::to_value(unchanged.document(output)).ok(),
            Self::Failed(error) => Some(json!({ "error": output.error_document(error) })),
        }
    }
}
