//! The write path: source → codec → store → catalog.
//!
//! All artifacts are staged first, each by itself: what can't be saved doesn't keep the rest from being saved. Then the
//! manifest of what was staged is assembled, and the commit protocol makes the backup appear whole or not at all.

mod request;

mod assembly;
mod database;
mod files;
mod publication;
mod staging;

pub use publication::backup;
pub(crate) use publication::backup_locked;
pub use request::{BackupReport, BackupRequest, Integrity};
