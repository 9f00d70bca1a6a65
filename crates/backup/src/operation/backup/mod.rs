//! The write path: source → codec → store → catalog.
//!
//! Artifacts are staged one by one, and an error of one doesn't stop the others. Then the manifest of what was staged
//! is assembled, and the commit protocol publishes the whole backup or nothing.

mod request;

mod assembly;
mod change;
mod database;
mod files;
mod follower;
mod increment;
mod publication;
mod staging;
mod state;
mod tracker;

pub use follower::Follower;
pub use increment::backup_incremental;
pub use publication::backup;
pub(crate) use publication::backup_locked;
pub use request::{BackupReport, BackupRequest, FullReason, IncrementalReport, Integrity};
pub(crate) use state::ChainState;
