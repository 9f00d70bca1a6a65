//! The progress of a run, on stderr. On a terminal: bars with bytes, rate and time left, for steps that take longer than
//! half a second. In a journal or a log: lines, for steps that take longer than ten seconds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use backup::{Event, Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exit::Signals;
use crate::notes::Notes;
use crate::text::{printable, size, took};

/// A shorter step shows no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// The first line comes after this time, and each next one too: a short run has none.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The longest time between two lines.
const SILENCE: Duration = Duration::from_secs(60);

/// Shows the events of a run, and tells it to stop when a signal comes.
#[derive(Debug)]
pub struct Bars {
    style: Style,
    current: Mutex<Option<Step>>,
}

#[derive(Debug)]
enum Style {
    Nothing,
    Bars,
    Lines(Notes),
}

impl Bars {
    /// Nothing is shown.
    pub fn none() -> Self {
        Self::new(Style::Nothing)
    }

    /// Bars on a terminal.
    pub fn drawn() -> Self {
        Self::new(Style::Bars)
    }

    /// Lines among the `notes`.
    pub fn lines(notes: Notes) -> Self {
        Self::new(Style::Lines(notes))
    }

    fn new(style: Style) -> Self {
        Self { style, current: Mutex::new(None) }
    }
}

/// The current step of a run.
#[derive(Debug)]
struct Step {
    begun: Instant,
    view: StepView,
}

#[derive(Debug)]
enum StepView {
    Bar(Bar),
    Lines(Lines),
}

/// The lines of a step: one for each 10 % or minute.
#[derive(Debug)]
struct Lines {
    label: String,
    total: Option<u64>,
    done: u64,
    /// When the last line came, counted from the beginning of the step, and how many tenths were done.
    last: (Duration, u64),
}

impl Lines {
    fn new(label: String, total: Option<u64>) -> Self {
        Self { label, total: total.filter(|total| *total > 0), done: 0, last: (Duration::ZERO, 0) }
    }

    /// Counts bytes. Gives a line if one is due, `elapsed` after the beginning of the step.
    fn advance(&mut self, elapsed: Duration, bytes: u64) -> Option<String> {
        self.done = self.done.saturating_add(bytes);
        let percent = self.total.map(|total| self.done.min(total).saturating_mul(100) / total);
        let tenths = percent.unwrap_or(0) / 10;
        let (at, said) = self.last;
        if !is_due(elapsed.saturating_sub(at), tenths > said) {
            return None;
        }
        self.last = (elapsed, tenths);
        let time = took(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        Some(match self.total.zip(percent) {
            Some((total, percent)) => {
                format!("{}: {percent} %, {} of {}, after {time}", self.label, size(self.done), size(total))
            }
            None => format!("{}: still at it after {time}", self.label),
        })
    }
}

/// Whether a line is due after this `silence`; `is_further` if another tenth is done.
fn is_due(silence: Duration, is_further: bool) -> bool {
    silence >= SILENCE || (silence >= LINE_EVERY && is_further)
}

/// The bar of a step. It counts from the beginning, so that it knows the rate, and is drawn only if the step takes long.
#[derive(Debug)]
struct Bar {
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
        Self { drawn: false, line: bar.with_message(label) }
    }

    fn advance(&mut self, elapsed: Duration, bytes: u64) {
        self.line.inc(bytes);
        if !self.drawn && elapsed >= PATIENCE {
            self.line.set_draw_target(ProgressDrawTarget::stderr());
            self.drawn = true;
        }
        self.line.tick();
    }
}

impl Step {
    /// None if nothing is shown.
    fn new(style: &Style, label: String, total: Option<u64>) -> Option<Self> {
        let view = match style {
            Style::Nothing => return None,
            Style::Bars => StepView::Bar(Bar::new(label, total)),
            Style::Lines(_) => StepView::Lines(Lines::new(label, total)),
        };
        Some(Self { begun: Instant::now(), view })
    }

    /// Draws the bar, or gives a line to print.
    fn advance(&mut self, bytes: u64) -> Option<String> {
        let elapsed = self.begun.elapsed();
        match &mut self.view {
            StepView::Bar(bar) => bar.advance(elapsed, bytes),
            StepView::Lines(lines) => return lines.advance(elapsed, bytes),
        }
        None
    }

    fn end(self) {
        if let StepView::Bar(bar) = self.view {
            bar.line.finish_and_clear();
        }
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begin { phase, subject, total } => {
                let name = subject.rsplit('/').next().unwrap_or(subject);
                *current = Step::new(&self.style, format!("{} {}", verb(phase), printable(name)), total);
            }
            Event::Advance { bytes } => {
                let line = current.as_mut().and_then(|step| step.advance(bytes));
                if let (Some(line), Style::Lines(notes)) = (line, &self.style) {
                    notes.note(&line);
                }
            }
            Event::End => {
                if let Some(step) = current.take() {
                    step.end();
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

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    /// The lines of a step of `total` bytes that does so many each second, to its end, with the seconds they came at.
    fn lines(total: Option<u64>, each_second: u64, seconds: u64) -> Vec<(u64, String)> {
        let mut lines = Lines::new("store sessions.db".into(), total);
        let said = |second| Some((second, lines.advance(Duration::from_secs(second), each_second)?));
        (1..=seconds).filter_map(said).collect()
    }

    fn at(lines: &[(u64, String)]) -> Vec<u64> {
        lines.iter().map(|(second, _)| *second).collect()
    }

    #[test]
    fn a_short_step_has_no_line() {
        assert_eq!(lines(Some(9 * MB), MB, 9), []);
        assert_eq!(lines(None, 0, 59), []);
    }

    #[test]
    fn a_step_has_a_line_for_each_tenth_no_closer_than_ten_seconds() {
        // A tenth takes 30 seconds.
        assert_eq!(at(&lines(Some(300 * MB), MB, 300)), [30, 60, 90, 120, 150, 180, 210, 240, 270, 300]);
        // A tenth takes 2 seconds.
        assert_eq!(at(&lines(Some(20 * MB), MB, 20)), [10, 20]);
        let first = lines(Some(300 * MB), MB, 30).remove(0).1;
        assert_eq!(first, "store sessions.db: 10 %, 30.00 MB of 300.00 MB, after 30.0 s");
    }

    #[test]
    fn a_step_has_a_line_each_minute_however_slow_it_is_or_long_it_will_be() {
        // A tenth takes 1,000 seconds.
        assert_eq!(at(&lines(Some(10_000 * MB), MB, 200)), [60, 120, 180]);
        assert_eq!(at(&lines(None, 0, 200)), [60, 120, 180]);
        assert_eq!(lines(None, 0, 60).remove(0).1, "store sessions.db: still at it after 1 min 0 s");
    }

    #[test]
    fn more_than_was_expected_is_no_more_than_all() {
        let last = lines(Some(10 * MB), 9 * MB, 10).pop().unwrap().1;
        assert_eq!(last, "store sessions.db: 100 %, 90.00 MB of 10.00 MB, after 10.0 s");
        assert_eq!(lines(Some(0), 0, 10), []);
    }
}
