//! Where artifacts, manifests and the ledger live.
//!
//! A [`Store`] does what every store can, an object store included: it takes whole objects, which never change. A
//! [`LocalStore`] belongs to this host alone and does more. It first *stages* an object: writes and syncs it, out of
//! sight. Then it *publishes* the object under its final name, in one step that a crash can't cut in half.
//! [`LocalStore::withdraw`] is the way back: it takes an object out of sight without losing it. The commit protocol of
//! the catalog is built on these steps.

mod traits;

mod folder_store;
pub(crate) mod lock;
mod locked;
mod memory;
mod state;

mod ledger;
pub(crate) mod manifest;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;

pub use folder_store::FolderStore;
pub(crate) use locked::LockedStore;
pub use memory::MemoryStore;
pub use traits::{LocalStore, Object, Staged, Store};
