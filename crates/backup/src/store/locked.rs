//! A local store that may be written to.

use std::ops::Deref;

use super::lock::Lock;
use super::traits::LocalStore;

/// A local store with its lock. What writes takes this, and so can't be called without the lock.
pub(crate) struct LockedStore<'a> {
    store: &'a dyn LocalStore,
    _lock: Lock,
}

impl<'a> LockedStore<'a> {
    /// The store to which `lock` is the right to write.
    pub fn new(store: &'a dyn LocalStore, lock: Lock) -> Self {
        Self { store, _lock: lock }
    }
}

impl<'a> Deref for LockedStore<'a> {
    type Target = dyn LocalStore + 'a;

    fn deref(&self) -> &Self::Target {
        self.store
    }
}
