//! Progress of a run: events go out, and the request to stop comes in. The library never prints.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// SQLite writes a snapshot.
    Snapshot,
    /// Bytes are encoded into the store.
    Store,
    /// Bytes are read from the store and decoded.
    Read,
    /// A database is checked.
    Check,
    /// A live database is replaced.
    Write,
}

/// Something that happened in a run.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A step begins.
    Begin {
        /// What kind of step.
        phase: Phase,
        /// The file or database.
        subject: &'a str,
        /// How many bytes it will process; `None` if unknown.
        total: Option<u64>,
    },
    /// The step has processed more bytes.
    Advance {
        /// How many.
        bytes: u64,
    },
    /// The step has ended, well or not.
    End,
}

/// Receives the events of a run, and says whether it should stop.
pub trait Progress: Send + Sync {
    /// Called often, from one thread. Should return at once.
    fn event(&self, event: Event<'_>);

    /// Asked often. Once true, the run ends with [`crate::ErrorKind::Interrupted`] and leaves nothing half done.
    fn should_stop(&self) -> bool {
        false
    }
}

/// Ignores all events.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}

/// The progress of work in the background of a step: it passes on the request to stop, but no events. It can also be
/// stopped by itself, if its result is no longer needed.
pub(crate) struct Background<'a> {
    progress: &'a dyn Progress,
    is_useless: AtomicBool,
}

impl<'a> Background<'a> {
    pub fn beside(progress: &'a dyn Progress) -> Self {
        Self { progress, is_useless: AtomicBool::new(false) }
    }

    pub fn stop(&self) {
        self.is_useless.store(true, Ordering::Relaxed);
    }
}

impl Progress for Background<'_> {
    fn event(&self, _: Event<'_>) {}

    fn should_stop(&self) -> bool {
        self.is_useless.load(Ordering::Relaxed) || self.progress.should_stop()
    }
}

/// One step: it begins when it is created, and ends when it is dropped.
pub(crate) struct Step<'a> {
    progress: &'a dyn Progress,
}

impl<'a> Step<'a> {
    pub fn begin(progress: &'a dyn Progress, phase: Phase, subject: &str, total: Option<u64>) -> Self {
        progress.event(Event::Begin { phase, subject, total });
        Self { progress }
    }

    pub fn advance(&self, bytes: u64) {
        self.progress.event(Event::Advance { bytes });
    }

    /// Copies all of `source` into `sink`, with an event for each piece. Returns the number of bytes.
    pub fn copy(&self, source: &mut dyn Read, sink: &mut dyn Write) -> io::Result<u64> {
        let mut buffer = vec![0; 256 << 10];
        let mut copied = 0;
        loop {
            if self.progress.should_stop() {
                return Err(Error::interrupted().into());
            }
            let count = match source.read(&mut buffer) {
                Ok(0) => return Ok(copied),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            sink.write_all(&buffer[..count])?;
            copied += count as u64;
            self.advance(count as u64);
        }
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.progress.event(Event::End);
    }
}
