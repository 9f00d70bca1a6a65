//! One installation or removal of a project's schedule at a time.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use backup::{Error, ErrorKind};

use crate::context::Context;
use crate::exit::Signals;
use crate::user::account::is_root;

/// How often a waiting installation tries again.
const RETRY: Duration = Duration::from_millis(50);

/// Root's lock, in a folder where only root can make files.
const ROOTS_LOCK: &str = "/run/sqlite-ops.lock";

/// Keeps others from installing or removing a schedule of this project until the result is dropped. It locks the
/// project's folder, which needs no permission to write. But anybody who may read the folder can hold that lock for
/// ever. So root has a lock of its own, and proceeds without the other one after `--lock-wait`.
///
/// # Errors
/// [`ErrorKind::Locked`] when `--lock-wait` is over.
pub fn lock(context: &Context<'_>) -> anyhow::Result<Vec<File>> {
    let open = |path: &Path| File::open(path).map_err(|e| Error::io("open", path, e));
    let folder = open(&context.root)?;
    if !is_root() {
        let hint = "wait for it to end, or run this as root, which proceeds after --lock-wait";
        return if lock_within(context, &context.root, &folder)? { Ok(vec![folder]) } else { Err(locked(hint).into()) };
    }
    let path = Path::new(ROOTS_LOCK);
    let own = File::options().create(true).write(true).truncate(false).mode(0o600).open(path);
    let own = own.map_err(|e| Error::io("open", path, e))?;
    if !lock_within(context, path, &own)? {
        return Err(locked("wait for it to end").into());
    }
    if !lock_within(context, &context.root, &folder)? {
        context.output.warn(&format!("proceeding although somebody holds a lock on {}", context.root.display()));
    }
    Ok(vec![own, folder])
}

/// Waits for a lock: `false` if `--lock-wait` is over.
fn lock_within(context: &Context<'_>, path: &Path, file: &File) -> anyhow::Result<bool> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", path, e).into()),
            Err(TryLockError::WouldBlock) if Signals::received().is_some() => return Err(Error::interrupted().into()),
            Err(TryLockError::WouldBlock) if begun.elapsed() < context.config.lock_wait => std::thread::sleep(RETRY),
            Err(TryLockError::WouldBlock) => return Ok(false),
        }
    }
}

fn locked(hint: &str) -> Error {
    Error::new(ErrorKind::Locked, "locked: a schedule of this project is being installed or removed").with_hint(hint)
}
