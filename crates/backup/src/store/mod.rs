//! Where artifacts, manifests and the ledger live.
//!
//! An object is first *staged*: written, synced and invisible. Then it is *published* under its final name, in one
//! step that a crash can't cut in half. [`Store::withdraw`] is the way back: it takes an object out of sight without
//! losing it. A manifest's way through the two is what makes backups appear and disappear whole:
//!
//! * writing: artifacts staged, manifest staged, artifacts published, manifest published;
//! * removing: manifest withdrawn, artifacts removed, manifest discarded.
//!
//! So a staged manifest without a published one marks a backup that is being written or removed, and whoever holds the
//! lock next can finish the clearing up from the names alone ([`crate::Run::begin`]).

#[cfg(test)]
mod conformance;
mod ledger;
mod local;
pub(crate) mod lock;
mod memory;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Result;
use crate::store::lock::{Holder, Lock, OnWait};

pub use local::LocalStore;
pub use memory::MemoryStore;

/// A stored object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its name: no `/`, not beginning with a dot.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// An object being written. Dropped without [`Staged::finish`], it is gone.
pub trait Staged: Write + Send {
    /// Makes the object durable, still unpublished.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoSpace`] or [`crate::ErrorKind::Io`]; the object is gone then.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A place for objects. Every implementation passes the same conformance suite.
pub trait Store: Send + Sync {
    /// Where it is, for people.
    fn location(&self) -> String;

    /// Makes the place ready to be written to.
    ///
    /// # Errors
    /// [`crate::ErrorKind::PermissionDenied`] if this user may not, [`crate::ErrorKind::InvalidInput`] if the place is
    /// taken by something else.
    fn prepare(&self) -> Result<()>;

    /// Waits for the store's lock, at most `wait`; calls `waiting` with the holder each time that it has to.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Locked`], naming the holder, once `wait` is over; what `waiting` fails with.
    fn lock(&self, holder: &Holder, wait: Duration, waiting: &mut OnWait<'_>) -> Result<Lock>;

    /// All published objects by name. A store that doesn't exist yet has none.
    fn list(&self) -> Result<Vec<Object>>;

    /// All staged objects by name.
    fn list_staged(&self) -> Result<Vec<Object>>;

    /// Reads a published object.
    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>>;

    /// Reads a staged object.
    fn read_staged(&self, name: &str) -> Result<Box<dyn Read + Send>>;

    /// Begins to write an object; a staged one of that name is replaced.
    fn stage(&self, name: &str) -> Result<Box<dyn Staged>>;

    /// Publishes staged objects, durably when it returns. A published object of that name is replaced.
    fn publish(&self, names: &[String]) -> Result<()>;

    /// Takes a published object back to the staged ones, durably when it returns.
    fn withdraw(&self, name: &str) -> Result<()>;

    /// Removes a published object, durably when it returns; one that isn't there is removed already.
    fn remove(&self, name: &str) -> Result<()>;

    /// Removes a staged object, or whatever else is in the staging area under that name.
    fn discard(&self, name: &str) -> Result<()>;

    /// Appends a line to a published object, durably, making it if need be. A torn last line stays on its own.
    fn append(&self, name: &str, line: &str) -> Result<()>;

    /// A folder inside the staging area for files that SQLite has to write or open. `None` if the store has none.
    fn scratch(&self) -> Option<PathBuf>;

    /// Bytes that still fit, if that can be known.
    fn free_bytes(&self) -> Result<Option<u64>>;
}
