//! What a service tells the service manager that started it: `man 3 sd_notify`. Elsewhere, nothing is told to anybody.

use std::env;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The way to the service manager of this process.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// When the watchdog last got a sign of life.
    beat: Mutex<Instant>,
}

impl Notifier {
    /// As the environment says. A service works without a notifier, so a socket that can't be reached is none.
    pub fn from_env() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| connect(name.as_bytes()));
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|time| is_ours && *time != 0).map(Duration::from_micros);
        Self { socket, watchdog, beat: Mutex::new(Instant::now()) }
    }

    /// Sends assignments, one a line: `READY=1`, `STATUS=...`.
    pub fn tell(&self, assignments: &str) {
        let Some(socket) = &self.socket else { return };
        // A manager that doesn't listen notices by itself.
        let _ = socket.send(assignments.as_bytes());
    }

    /// How often the watchdog needs a sign of life; none if there is no watchdog.
    pub fn pause(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Gives the watchdog a sign of life, if the last one is a while ago.
    pub fn beat(&self) {
        let Some(limit) = self.watchdog else { return };
        let mut last = self.beat.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= limit / 4 {
            *last = Instant::now();
            self.tell("WATCHDOG=1");
        }
    }
}

/// A name that begins with `@` is an abstract one.
fn connect(name: &[u8]) -> Option<UnixDatagram> {
    let address = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(path))),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address.ok()?).ok().map(|()| socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reaches_a_socket_in_a_folder_and_an_abstract_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("notify-{}", std::process::id());
        let sockets = [
            (path.to_str().unwrap().to_string(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}"), UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap()),
        ];
        for (name, socket) in sockets {
            let notifier =
                Notifier { socket: connect(name.as_bytes()), watchdog: None, beat: Mutex::new(Instant::now()) };
            notifier.tell("READY=1");
            let mut message = [0; 64];
            let length = socket.recv(&mut message).unwrap();
            assert_eq!(&message[..length], b"READY=1", "{name}");
        }
        assert!(connect(b"/nowhere/notify").is_none());
    }

    #[test]
    fn a_watchdog_gets_signs_of_life_but_not_one_for_each_event() {
        let (here, there) = UnixDatagram::pair().unwrap();
        there.set_nonblocking(true).unwrap();
        let long = Duration::from_secs(3600);
        let long_ago = Instant::now().checked_sub(long / 4).unwrap();
        let notifier = Notifier { socket: Some(here), watchdog: Some(long), beat: Mutex::new(long_ago) };
        (0..1000).for_each(|_| notifier.beat());
        let mut message = [0; 64];
        assert_eq!(there.recv(&mut message).unwrap(), "WATCHDOG=1".len());
        assert!(there.recv(&mut message).is_err());
        assert_eq!(notifier.pause(), Some(long / 2));
    }
}
