//! Where artifacts, manifests and the ledger live.
//!
//! A [`Store`] is what any store can be, an object store included: objects that are put whole and never change. A
//! [`LocalStore`] is a folder of this host's own as well: there an object is first *staged*: written, synced and
//! invisible. Then it is *published* under its final name, in one step that a crash can't cut in half.
//! [`LocalStore::withdraw`] is the way back: it takes an object out of sight without losing it. What is made of these
//! steps is the commit protocol of the catalog.

mod traits;

mod folder_store;
pub(crate) mod lock;
mod locked;
mod memory;

mod ledger;
pub(crate) mod manifest;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;

pub use folder_store::FolderStore;
pub(crate) use locked::LockedStore;
pub use memory::MemoryStore;
pub use traits::{LocalStore, Object, Staged, Store};
