//! What a store must be able to do.

use std::io::{Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::lock::{Holder, Lock, OnWait};
use crate::error::{Error, ErrorKind, Result};

/// A stored object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its name: no `/`, not beginning with a dot.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A place for objects. Every implementation passes the suite `conformance::any` (feature `testing`).
pub trait Store: Send + Sync {
    /// Where the store is, as messages name it.
    fn location(&self) -> String;

    /// All objects whose names begin with `prefix`, sorted by name. A store that doesn't exist yet has none.
    ///
    /// # Errors
    /// Any error of reading the store.
    fn list(&self, prefix: &str) -> Result<Vec<Object>>;

    /// Reads an object.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] if there is no such object; any error of reading it.
    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>>;

    /// Reads a part of an object: the bytes of `range`, counted from 0. A range beyond the end is cut short there.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>>;

    /// Puts a new object. It is whole and durable when this returns; after an error there is no such object.
    ///
    /// # Errors
    /// [`crate::ErrorKind::AlreadyExists`] if there is one of that name: objects never change. Any error of reading
    /// `content` or of writing.
    fn put(&self, name: &str, content: &mut dyn Read) -> Result<()>;

    /// Removes an object, durably when this returns. It is no error if there is none.
    ///
    /// # Errors
    /// Any error of removing it.
    fn remove(&self, name: &str) -> Result<()>;
}

/// An object that is being written. Dropped without [`Staged::finish`], it is discarded.
pub trait Staged: Write + Send {
    /// Makes the object durable, still unpublished.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoSpace`] or [`crate::ErrorKind::Io`]; then the object is discarded.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A store that belongs to this host alone and has one writer at a time. Every implementation passes the suite
/// `conformance::local` (feature `testing`).
pub trait LocalStore: Store {
    /// Makes the store ready to be written to.
    ///
    /// # Errors
    /// [`crate::ErrorKind::PermissionDenied`] if this user may not write there, [`crate::ErrorKind::InvalidInput`] if
    /// something else is in its place.
    fn prepare(&self) -> Result<()>;

    /// Takes the store's lock, and waits for it at most `wait`. While it waits, it calls `waiting` with the holder's
    /// description before each new attempt.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Locked`], naming the holder, once `wait` is over; the error of `waiting`, which ends the
    /// wait.
    fn lock(&self, holder: &Holder, wait: Duration, waiting: &mut OnWait<'_>) -> Result<Lock>;

    /// All staged objects, sorted by name.
    ///
    /// # Errors
    /// Any error of reading the staging area.
    fn list_staged(&self) -> Result<Vec<Object>>;

    /// Reads a staged object.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn read_staged(&self, name: &str) -> Result<Box<dyn Read + Send>>;

    /// Begins to write an object. A staged one of that name is replaced.
    ///
    /// # Errors
    /// Any error of creating it.
    fn stage(&self, name: &str) -> Result<Box<dyn Staged>>;

    /// Publishes staged objects one after another, durably when this returns. A published object of that name is
    /// replaced.
    ///
    /// # Errors
    /// The first error. The objects before that one are published.
    fn publish(&self, names: &[String]) -> Result<()>;

    /// Moves a published object back to the staged ones, durably when this returns.
    ///
    /// # Errors
    /// Any error of moving it.
    fn withdraw(&self, name: &str) -> Result<()>;

    /// Removes a staged object, or anything else of that name in the staging area. It is no error if there is none.
    ///
    /// # Errors
    /// Any error of removing it.
    fn discard(&self, name: &str) -> Result<()>;

    /// Appends a line to a published object, durably when this returns. The object is created if there is none. If a
    /// crash cut its last line short, the new one still begins on a line of its own.
    ///
    /// # Errors
    /// Any error of writing it.
    fn append(&self, name: &str, line: &str) -> Result<()>;

    /// A folder in the staging area for files that SQLite has to write or open. `None` if the store has no folder.
    fn scratch(&self) -> Option<PathBuf>;

    /// Reads what a run left for the next one under this name; `None` if there is nothing, or more than `most` bytes.
    ///
    /// # Errors
    /// Any error of reading it.
    fn read_state(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>>;

    /// Leaves something for the next run, in place of what was there. It is no object of the store, and not durable: after
    /// a crash the old content or nothing can be there, but never a part.
    ///
    /// # Errors
    /// Any error of writing it.
    fn write_state(&self, name: &str, content: &[u8]) -> Result<()>;

    /// Bytes that this user can still write there; `None` if the store can't know.
    ///
    /// # Errors
    /// Any error of asking.
    fn free_bytes(&self) -> Result<Option<u64>>;
}

/// The error of putting an object that is there already.
pub(super) fn already_exists(name: &str, location: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("{name} is already in {location}"))
}
