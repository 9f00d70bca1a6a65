//! One run at a time.
//!
//! The hazard: a lock file outlives a run that was killed. So the lock is the kernel's, `flock(2)` on `.lock`: it ends
//! with its process, however that ends. The content of the file only tells who holds it. A lock on a file that somebody
//! has removed keeps nobody out, so after taking one we check that the name still leads to that file.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::disk::folder::Folder;
use crate::error::{Advice, Error, ErrorKind, Result};

/// How often a waiting run tries again.
const RETRY: Duration = Duration::from_millis(50);

/// Read limit; our lock files are smaller.
const MAX_BYTES: u64 = 4096;

/// Who holds a lock, as the lock file tells other runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holder {
    /// The process id of the run.
    pub pid: u32,
    /// The host that it runs on.
    pub host: String,
    /// The command that it runs.
    pub command: String,
    /// Since when it has held the lock, in RFC 3339.
    pub since: String,
}

/// Called with the holder's description before each new attempt to take the lock. Its error ends the wait.
pub type OnWait<'a> = dyn FnMut(&str) -> Result<()> + 'a;

/// The right to write to a store; released when dropped.
pub struct Lock {
    _guard: Box<dyn Send>,
}

impl Lock {
    /// A lock that is held for as long as `guard` lives.
    pub fn new(guard: impl Send + 'static) -> Self {
        Self { _guard: Box::new(guard) }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// Calls `attempt` until it has the lock, for at most `wait`. `attempt` returns the holder's description, or `None`
/// once it has the lock; `waiting` is called with the description before each new attempt.
///
/// # Errors
/// [`ErrorKind::Locked`] when `wait` is over; the errors of `attempt` and `waiting`.
pub(super) fn wait_for(
    wait: Duration,
    waiting: &mut OnWait<'_>,
    mut attempt: impl FnMut() -> Result<Option<String>>,
) -> Result<()> {
    let begun = Instant::now();
    while let Some(holder) = attempt()? {
        if begun.elapsed() >= wait {
            return Err(Error::new(ErrorKind::Locked, format!("locked by another run: {holder}"))
                .with_advice(Advice::WaitForLock));
        }
        waiting(&holder)?;
        thread::sleep(RETRY);
    }
    Ok(())
}

/// Takes the lock `name` in `folder`, waiting at most `wait`.
///
/// # Errors
/// As [`wait_for`], and as the operating system says.
pub(super) fn acquire(
    folder: &Folder,
    name: &str,
    holder: &Holder,
    wait: Duration,
    waiting: &mut OnWait<'_>,
) -> Result<Lock> {
    let mut file = open(folder, name)?;
    wait_for(wait, waiting, || {
        loop {
            match file.try_lock() {
                Ok(()) if is_at(&file, folder, name) => return Ok(None),
                // Somebody removed the file while this waited for it, and another run may hold a new one.
                Ok(()) => file = open(folder, name)?,
                Err(TryLockError::WouldBlock) => {
                    return Ok(Some(CurrentHolder { holder: read_holder(&mut file) }.to_string()));
                }
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &folder.path_of(name), e)),
            }
        }
    })?;
    // The lock is held already. The holder is written for display only, so a full disk is no reason to stop.
    let _ = write_holder(&mut file, holder);
    Ok(Lock::new(file))
}

/// Who holds the lock `name` in `folder`; `None` if nobody does.
///
/// It takes a shared lock for an instant, which can refuse a run that doesn't wait at all.
///
/// # Errors
/// As the operating system says.
pub(super) fn current_holder(folder: &Folder, name: &str) -> Result<Option<CurrentHolder>> {
    let mut file = match folder.read(name) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", &folder.path_of(name), e)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(CurrentHolder { holder: read_holder(&mut file) })),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", &folder.path_of(name), e)),
    }
}

/// Who holds a lock.
#[derive(Debug)]
pub(crate) struct CurrentHolder {
    holder: Option<Holder>,
}

impl CurrentHolder {
    /// Since when it has been held, if the holder says so.
    pub fn since(&self) -> Option<DateTime<FixedOffset>> {
        DateTime::parse_from_rfc3339(&self.holder.as_ref()?.since).ok()
    }
}

/// The holder, as messages name it.
impl fmt::Display for CurrentHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Some(Holder { pid, host, command, since }) => write!(f, "{command} (pid {pid} on {host}, since {since})"),
            None => f.write_str("a run that has just begun"),
        }
    }
}

fn open(folder: &Folder, name: &str) -> Result<File> {
    let file = folder.open_file(name, OFlags::RDWR | OFlags::CREATE);
    file.map_err(|e| Error::io("open", &folder.path_of(name), e))
}

/// Whether `name` still leads to this open file.
fn is_at(file: &File, folder: &Folder, name: &str) -> bool {
    matches!((file.metadata(), folder.stat(name)),
        (Ok(file), Ok(there)) if (file.dev(), file.ino()) == (there.st_dev, there.st_ino))
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    // In one write, so that nobody reads half of it.
    file.write_all(format!("{}\n", serde_json::to_string(holder)?).as_bytes())
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.take(MAX_BYTES).read_to_string(&mut text)).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(command: &str) -> Holder {
        Holder { pid: 42, host: "box".into(), command: command.into(), since: "2025-12-10T14:00:00Z".into() }
    }

    const LOCK: &str = ".lock";

    fn acquire(folder: &Folder, command: &str, wait: Duration) -> Result<Lock> {
        super::acquire(folder, LOCK, &holder(command), wait, &mut |_| Ok(()))
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        (place, folder)
    }

    #[test]
    fn a_second_run_is_told_who_holds_the_lock_and_since_when() {
        let (_place, folder) = folder();
        let _held = acquire(&folder, "backup", Duration::ZERO).unwrap();
        let error = acquire(&folder, "rotate", Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert_eq!(error.to_string(), "locked by another run: backup (pid 42 on box, since 2025-12-10T14:00:00Z)");
    }

    #[test]
    fn a_waiting_run_gets_the_lock_when_it_is_given_back() {
        let (_place, folder) = folder();
        let mut held = Some(acquire(&folder, "backup", Duration::ZERO).unwrap());
        let mut waited_for = String::new();
        super::acquire(&folder, LOCK, &holder("rotate"), Duration::from_secs(60), &mut |who| {
            waited_for = who.to_string();
            held = None;
            Ok(())
        })
        .unwrap();
        assert!(waited_for.starts_with("backup (pid 42"));
    }

    #[test]
    fn a_waiting_run_goes_after_a_lock_file_that_was_replaced() {
        let (_place, folder) = folder();
        let mut held = vec![acquire(&folder, "backup", Duration::ZERO).unwrap()];
        let mut waited_for = Vec::new();
        super::acquire(&folder, LOCK, &holder("rotate"), Duration::from_secs(60), &mut |who| {
            waited_for.push(who.split(' ').next().unwrap().to_string());
            match waited_for.len() {
                1 => {
                    folder.remove_file(LOCK).unwrap();
                    held.push(acquire(&folder, "verify", Duration::ZERO).unwrap());
                    drop(held.remove(0));
                }
                _ => held.clear(),
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(waited_for, ["backup", "verify"]);
    }

    #[test]
    fn the_lock_of_a_file_that_was_removed_is_none() {
        let (_place, folder) = folder();
        let _held = acquire(&folder, "backup", Duration::ZERO).unwrap();
        let file = open(&folder, LOCK).unwrap();
        assert!(is_at(&file, &folder, LOCK));
        folder.remove_file(LOCK).unwrap();
        assert!(!is_at(&file, &folder, LOCK));
        let _other = open(&folder, LOCK).unwrap();
        assert!(!is_at(&file, &folder, LOCK));
    }

    #[test]
    fn who_waits_can_be_told_to_stop() {
        let (_place, folder) = folder();
        let _held = acquire(&folder, "backup", Duration::ZERO).unwrap();
        let wait = Duration::from_secs(3600);
        let stopped = super::acquire(&folder, LOCK, &holder("rotate"), wait, &mut |_| Err(Error::interrupted()));
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    }

    #[test]
    fn who_only_asks_learns_the_holder_and_holds_nothing() {
        let (_place, folder) = folder();
        assert!(current_holder(&folder, LOCK).unwrap().is_none());
        assert!(folder.stat(LOCK).is_err());
        let held = acquire(&folder, "backup", Duration::ZERO).unwrap();
        let found = current_holder(&folder, LOCK).unwrap().unwrap();
        assert!(found.to_string().starts_with("backup (pid 42"));
        assert_eq!(found.since().unwrap().to_rfc3339(), "2025-12-10T14:00:00+00:00");
        drop(held);
        assert!(current_holder(&folder, LOCK).unwrap().is_none());
        acquire(&folder, "backup", Duration::ZERO).unwrap();
    }

    #[test]
    fn a_lock_file_without_a_holder_is_free_whatever_stands_in_it() {
        let (_place, folder) = folder();
        let text = b"{\"pid\": 1, long gone";
        folder.open_file(LOCK, OFlags::WRONLY | OFlags::CREATE).unwrap().write_all(text).unwrap();
        acquire(&folder, "backup", Duration::ZERO).unwrap();
    }
}
