//! When the next round is due. Waiting for it costs nothing: the kernel wakes this process.
//!
//! The timer is periodic, so rounds don't drift. It goes on while the machine is suspended, so that a round is due at once
//! when the machine wakes up.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::exit::Signals;
use crate::systemd::notify::Notifier;

/// Why to make a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// It is due.
    Due,
    /// SIGHUP asks for it.
    Asked,
    /// A signal asks for the end.
    Last,
}

/// Wakes up for rounds.
pub struct Clock {
    every: Duration,
    timer: OwnedFd,
    /// Gets a byte for each signal.
    signals: UnixStream,
    has_terminal: bool,
}

impl Clock {
    /// The first interval begins now. Catch SIGINT and SIGTERM before.
    pub fn start(every: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        let (signals, sender) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            pipe::register(signal, sender.try_clone()?)?;
        }
        set(&timer, every)?;
        Ok(Self { every, timer, signals, has_terminal: has_terminal() })
    }

    /// Begins another interval, if that has another length.
    pub fn set(&mut self, every: Duration) -> io::Result<()> {
        if every != self.every {
            set(&self.timer, every)?;
            self.every = every;
        }
        Ok(())
    }

    /// Waits. A round that was due during the last one is not made up for; a signal that came then counts.
    pub fn wait(&mut self, notifier: &Notifier) -> io::Result<Wake> {
        self.has_elapsed()?;
        loop {
            if Signals::received().is_some() {
                return Ok(Wake::Last);
            }
            if self.was_signalled()? {
                return Ok(if self.lost_terminal() { Wake::Last } else { Wake::Asked });
            }
            if self.has_elapsed()? {
                return Ok(Wake::Due);
            }
            notifier.beat();
            self.sleep(notifier.pause())?;
        }
    }

    /// Sleeps until the timer elapses, a signal comes, or `most` is over.
    fn sleep(&self, most: Option<Duration>) -> io::Result<()> {
        let most = most.map(timespec).transpose()?;
        let mut wakers = [PollFd::new(&self.timer, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        match poll(&mut wakers, most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the timer has elapsed since this was asked last, no matter how often.
    fn has_elapsed(&self) -> io::Result<bool> {
        match rustix::io::read(&self.timer, &mut [0; 8]) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether signals came since this was asked last.
    fn was_signalled(&mut self) -> io::Result<bool> {
        match self.signals.read(&mut [0; 4096]) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the terminal was closed. That sends SIGHUP too, and means the end.
    fn lost_terminal(&self) -> bool {
        self.has_terminal && !has_terminal()
    }
}

fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

fn set(timer: &OwnedFd, every: Duration) -> io::Result<()> {
    let every = timespec(every)?;
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: every, it_value: every })?;
    Ok(())
}

fn timespec(duration: Duration) -> io::Result<Timespec> {
    Timespec::try_from(duration).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn rounds_don_t_drift_and_missed_ones_are_one() {
        let every = Duration::from_millis(50);
        let begun = Instant::now();
        let (mut clock, notifier) = (Clock::start(every).unwrap(), Notifier::from_env());
        for _ in 0..3 {
            assert_eq!(clock.wait(&notifier).unwrap(), Wake::Due);
        }
        assert!(begun.elapsed() >= 3 * every);
        // A long round: the timer elapses meanwhile, and that is no reason for another one.
        clock.sleep(None).unwrap();
        assert_eq!(clock.wait(&notifier).unwrap(), Wake::Due);
        assert!(begun.elapsed() >= 5 * every);
    }
}
