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

#[derive(Debug)]
struct Bar {
    begun: Instant,
    bytes: u64,
    drawn: Option<ProgressBar>,
    label: String,
    total: Option<u64>,
}

impl Bar {
    fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.begun.elapsed() >= PATIENCE {
            let bar = self.drawn.get_or_insert_with(|| new_bar(&self.label, self.total, self.begun));
            bar.set_position(self.bytes.min(self.total.unwrap_or(u64::MAX)));
            bar.tick();
        }
    }
}

fn new_bar(label: &str, total: Option<u64>, begun: Instant) -> ProgressBar {
    let template = match total {
        Some(_) => "{msg:34!} {bar:14} {decimal_bytes:>9} {decimal_bytes_per_sec:>11} {eta:>4}",
        None => "{msg:34!} {spinner} {elapsed}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr())
        .with_style(style)
        .with_message(label.to_string())
        .with_elapsed(begun.elapsed())
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
                *current = Some(Bar { begun: Instant::now(), bytes: 0, drawn: None, label, total });
            }
            Event::Advance { bytes } => {
                if let Some(bar) = current.as_mut() {
                    bar.advance(bytes);
                }
            }
            Event::End => {
                if let Some(bar) = current.take().and_then(|bar| bar.drawn) {
                    bar.finish_and_clear();
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
