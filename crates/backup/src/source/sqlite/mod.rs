//! SQLite databases: how they are opened, what they show, whether they are sound, and how a snapshot is taken.
//!
//! The hazards, each seen in practice: a copy of the main file loses what is still in the `-wal`; opening with CREATE
//! turns a missing database into an empty one; an ordinary `open` and `close` of a file that this process also has open
//! in SQLite drops SQLite's locks. So a live database is opened by SQLite alone, read-only and without CREATE, and its
//! snapshot is taken by SQLite. Only a damaged one is read as a file ([`bytes`]).

pub(crate) mod bytes;
mod changes;
mod facts;
mod guard;
mod header;
pub(crate) mod integrity;
mod kept;
mod log;
mod open;
mod pages;
mod query;
mod transaction;
pub(crate) mod vacuum;
mod version;

pub(crate) use changes::{Changed, OpenSnapshot, Since, candidates_since, look, position};
pub(crate) use facts::{Contents, tables};
pub(crate) use header::{HEADER, Header};
pub(crate) use kept::KeptSnapshot;
pub(crate) use log::Position;
pub(crate) use open::{
    open_read_only, open_read_write, open_recovered, open_restored, open_stoppable, open_to_replace,
};
pub(crate) use pages::pages;
pub(crate) use query::{beside, bytes_in_use, pragma, stoppable};
pub(crate) use transaction::{begin_reading, begin_reading_with};
pub use version::SqliteVersion;
pub(crate) use version::require_sound_library;
