//! Progress bars, on stderr: bytes, rate and time left of anything that takes longer than half a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use backup::{Event, Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exit::Signals;
use crate::text::printable;

/// A step that is over sooner than this shows no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// Shows a run's events as bars, and passes the wish to stop on to it.
#[derive(Debug)]
pub struct Bars {
    shown: bool,
    current: Mutex<Option<Bar>>,
}

impl Bars {
    /// Bars on stderr, or none at all.
    pub fn new(shown: bool) -> Self {
        Self { shown, current: Mutex::new(None) }
    }
}

/// A step's bar: fed from the beginning, so that it knows the rate, and drawn once the step takes long.
#[derive(Debug)]
struct Bar {
    begun: Instant,
    drawn: bool,
    line: ProgressBar,
}

impl Bar {
    fn new(label: String, total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{msg:39!} {bar:10} {decimal_bytes:>9} {decimal_bytes_per_sec:>11} {eta:>4}",
            None => "{msg:39!} {spinner} {elapsed}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()).with_style(style);
        Self { begun: Instant::now(), drawn: false, line: bar.with_message(label) }
    }

    fn advance(&mut self, bytes: u64) {
        self.line.inc(bytes);
        if !self.drawn && self.begun.elapsed() >= PATIENCE {
            self.line.set_draw_target(ProgressDrawTarget::stderr());
            self.drawn = true;
        }
        self.line.tick();
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        if !self.shown {
            return;
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begin { phase, subject, total } => {
                let name = subject.rsplit('/').next().unwrap_or(subject);
                let label = format!("{} {}", verb(phase), printable(name));
                *current = Some(Bar::new(label, total));
            }
            Event::Advance { bytes } => {
                if let Some(bar) = current.as_mut() {
                    bar.advance(bytes);
                }
            }
            Event::End => {
                if let Some(step) = current.take() {
                    step.line.finish_and_clear();
                }
            }
        }
    }

    fn should_stop(&self) -> bool {
        Signals::received().is_some()
    }
}

fn verb(phase: Phase) -> &'static str {
    match phase {
        Phase::Snapshot => "snapshot",
        Phase::Store => "store",
        Phase::Read => "read",
        Phase::Check => "check",
        Phase::Write => "write",
    }
}
