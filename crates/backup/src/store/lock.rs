//! One run at a time.
//!
//! The hazard of a lock file is that it outlives a run that was killed. So the lock is the kernel's, `flock(2)` on
//! `.lock`: it ends with its process, however that ends. What stands in the file only says who holds it. The lock of a
//! file that somebody has removed keeps nobody out: whoever gets one looks whether the name still leads to it.

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

/// Who holds a lock: written into the lock file for others to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The host it runs on.
    pub host: String,
    /// The command it carries out.
    pub command: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// Is told, again and again, for whom a run waits. Its error ends the waiting.
pub type OnWait<'a> = dyn FnMut(&str) -> Result<()> + 'a;

/// The right to write to a store; given back when dropped.
pub struct Lock {
    _guard: Box<dyn Send>,
}

impl Lock {
    /// A lock that `guard` holds for as long as it lives.
    pub fn new(guard: impl Send + 'static) -> Self {
        Self { _guard: Box::new(guard) }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// Tries for a lock again and again, for at most `wait`: `attempt` gives who holds it, or `None` once it has the lock.
/// Calls `waiting` with the holder's description each time that it has to wait.
///
/// # Errors
/// [`ErrorKind::Locked`] when `wait` is over; what `attempt` and `waiting` fail with.
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
                // Somebody has removed the file that this waited for, and others may hold a new one.
                Ok(()) => file = open(folder, name)?,
                Err(TryLockError::WouldBlock) => {
                    return Ok(Some(CurrentHolder { holder: read_holder(&mut file) }.to_string()));
                }
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &folder.path_of(name), e)),
            }
        }
    })?;
    // The lock is held already; what is written is for others to read, and a full disk is no reason to stop.
    let _ = write_holder(&mut file, holder);
    Ok(Lock::new(file))
}

/// Who holds the lock `name` in `folder` just now; `None` if nobody does.
///
/// It asks for a shared lock for an instant, so a run that doesn't wait at all could be kept out by it.
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

/// A lock that is held.
#[derive(Debug)]
pub(crate) struct CurrentHolder {
    holder: Option<Holder>,
}

impl CurrentHolder {
    /// Since when, if the holder says so.
    pub fn since(&self) -> Option<DateTime<FixedOffset>> {
        DateTime::parse_from_rfc3339(&self.holder.as_ref()?.since).ok()
    }
}

/// Who holds it, as a person reads it.
impl fmt::Display for CurrentHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Some(Holder { pid, host, command, since }) => write!(f, "{command} (pid {pid} on {host}, since {since})"),
            None => f.write_str("one that has only just begun"),
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
    // In one piece, so that nobody reads half of it.
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
