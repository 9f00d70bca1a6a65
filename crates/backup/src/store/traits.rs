//! What a store has to be able to do.

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

/// A place for objects. Every implementation passes `conformance::any`.
pub trait Store: Send + Sync {
    /// Where it is, for people.
    fn location(&self) -> String;

    /// All objects whose names begin with `prefix`, by name. A store that doesn't exist yet has none.
    ///
    /// # Errors
    /// What keeps the store from being read.
    fn list(&self, prefix: &str) -> Result<Vec<Object>>;

    /// Reads an object.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] if there is none, and what keeps it from being read.
    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>>;

    /// Reads a part of an object: the bytes of `range`, counted from 0, as far as there are any.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>>;

    /// Puts a new object, whole and durable when this returns; on an error there is none.
    ///
    /// # Errors
    /// [`crate::ErrorKind::AlreadyExists`] if there is one of that name: objects never change. What `content` says, and
    /// what keeps it from being written.
    fn put(&self, name: &str, content: &mut dyn Read) -> Result<()>;

    /// Removes an object, durably when this returns. One that isn't there is removed already.
    ///
    /// # Errors
    /// What keeps it from being removed.
    fn remove(&self, name: &str) -> Result<()>;
}

/// An object that is being written. Dropped without [`Staged::finish`], it is gone.
pub trait Staged: Write + Send {
    /// Makes the object durable, still unpublished.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoSpace`] or [`crate::ErrorKind::Io`]; the object is gone then.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A store of this host's own, with one writer at a time. Every implementation passes
/// `conformance::local`.
pub trait LocalStore: Store {
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

    /// All staged objects by name.
    ///
    /// # Errors
    /// What keeps the staging area from being read.
    fn list_staged(&self) -> Result<Vec<Object>>;

    /// Reads a staged object.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn read_staged(&self, name: &str) -> Result<Box<dyn Read + Send>>;

    /// Begins to write an object; a staged one of that name is replaced.
    ///
    /// # Errors
    /// What keeps it from being written.
    fn stage(&self, name: &str) -> Result<Box<dyn Staged>>;

    /// Publishes staged objects, durably when this returns. A published object of that name is replaced.
    ///
    /// # Errors
    /// What keeps one from being published; those before it are.
    fn publish(&self, names: &[String]) -> Result<()>;

    /// Takes a published object back to the staged ones, durably when this returns.
    ///
    /// # Errors
    /// What keeps it from being moved.
    fn withdraw(&self, name: &str) -> Result<()>;

    /// Removes a staged object, or whatever else is in the staging area under that name.
    ///
    /// # Errors
    /// What keeps it from being removed.
    fn discard(&self, name: &str) -> Result<()>;

    /// Appends a line to a published object, durably, making it if need be. A torn last line stays on its own.
    ///
    /// # Errors
    /// What keeps it from being written.
    fn append(&self, name: &str, line: &str) -> Result<()>;

    /// A folder in the staging area, for files that SQLite has to write or open. `None` if the store has none.
    fn scratch(&self) -> Option<PathBuf>;

    /// Bytes that still fit, if that can be known.
    ///
    /// # Errors
    /// What keeps it from being found out.
    fn free_bytes(&self) -> Result<Option<u64>>;
}

/// The error of an object that is to be put where there is one.
pub(super) fn already_exists(name: &str, location: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("{name} is already in {location}"))
}
