//! All backups of a store.
//!
//! A store may hold ten thousand of them. So only a summary of each is kept in memory; its whole manifest is read again
//! when it is needed ([`Entry::read_manifest`]).

mod candidates;
mod chain;
pub(crate) mod collapse;
pub(crate) mod commit;
mod entry;
mod foreign;
mod list;
mod load;
pub mod owner;
pub mod retention;
pub(crate) mod select;

pub use entry::{ArtifactSummary, Entry, Inherited, ListedFile, LostPart, Record, Stranger, Summary};
pub use list::Catalog;
