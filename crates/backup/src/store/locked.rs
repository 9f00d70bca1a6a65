//! A local store with its lock.

use std::ops::Deref;

use super::lock::Lock;
use super::traits::LocalStore;

/// A local store with its lock. Functions that write take this type, so they can't be called without the lock.
pub(crate) struct LockedStore<'a> {
    store: &'a dyn LocalStore,
    _lock: Lock,
}

impl<'a> LockedStore<'a> {
    /// The store that `lock` was taken on.
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
