//! Backups of a small server's state, one or more live SQLite databases and their configuration files, that can be
//! trusted: nothing is listed before it is complete and on disk, and nothing is replaced before what replaces it is
//! checked.
//!
//! ```text
//! source ──► codec ──► store ──► catalog          backup
//!  (snapshot,  (gzip…)   (staged,   (manifest last)
//!   files)               then published)
//! catalog ──► store ──► codec ──► { live place | scratch place | nowhere }     restore | drill | verify
//! retention: (catalog, policy, now) ──► plan        pure; prune carries it out, backwards
//! ```
//!
//! There is one way to write and one way to read. Every operation takes a [`Run`]: it holds the store's lock and what
//! the library doesn't have itself, since it never prints, reads the environment, starts a process or asks the clock.
//!
//! ```no_run
//! use backup::{Codec, Encoding, Integrity, LocalStore, Run, Setup, Silent, Sources, Trigger};
//!
//! # fn main() -> backup::Result<()> {
//! # let now = chrono::DateTime::parse_from_rfc3339("2025-12-10T15:00:00+01:00").unwrap();
//! let store = LocalStore::new("backups");
//! let setup = Setup {
//!     store: &store,
//!     progress: &Silent,
//!     now,
//!     project: "charger-api".into(),
//!     root: "/srv/charger".into(),
//!     host: "box".into(),
//!     version: "1.0.0".into(),
//!     command: "backup".into(),
//!     lock_wait: std::time::Duration::from_secs(10),
//!     busy_timeout: std::time::Duration::from_secs(30),
//!     max_foreign: 20_000_000_000,
//!     scratch: None,
//!     temp: "/tmp".into(),
//! };
//! let run = Run::begin(setup, &mut |holder| eprintln!("waiting for {holder}"))?;
//! let made = backup::backup(&run, &backup::BackupRequest {
//!     root: ".".as_ref(),
//!     sources: &Sources::default(),
//!     encoding: Encoding::new(Codec::Gzip, 6)?,
//!     trigger: Trigger::Manual,
//!     pinned: false,
//!     integrity: Integrity::Required,
//! })?;
//! println!("{}", made.manifest.id);
//! # Ok(())
//! # }
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make the damage that the library must not"))]

mod age;
mod backup;
#[doc(hidden)]
pub mod benchmark;
mod catalog;
mod check;
mod checked;
mod codec;
mod collapse;
mod digest;
mod drill;
mod error;
mod folder;
mod foreign;
mod fsutil;
#[doc(hidden)]
pub mod fuzz;
mod id;
pub mod inspect;
mod ledger;
mod links;
mod lock;
pub mod manifest;
#[cfg(test)]
mod model;
mod names;
mod ospath;
pub mod owner;
mod progress;
pub mod prune;
mod read;
mod relpath;
pub mod restore;
pub mod retention;
mod run;
mod select;
mod source;
pub mod status;
mod store;
mod synced;
mod verify;

pub use age::seconds_since;
pub use backup::{BackupReport, BackupRequest, Integrity, backup};
pub use catalog::{ArtifactSummary, Catalog, Entry, ListedFile, Record, StoredFile, Stranger, Summary};
pub use check::{Aspect, Check, Verdict};
pub use checked::{DatabaseDigests, Depth, EarlierChecks, SoundDatabases};
pub use codec::{Codec, Encoding};
pub use digest::Digest;
pub use drill::{CallersProbe, DrillReport, Probe, drill};
pub use error::{Error, ErrorKind, Result};
pub use fsutil::open_plain;
pub use id::BackupId;
pub use ledger::{Command, Ledger, Line, Outcome, RestoreLine};
pub use lock::{Holder, Lock, OnWait};
pub use manifest::{Manifest, Status, Trigger};
pub use names::{Kind, is_set_name};
pub use progress::{Event, Phase, Progress, Silent};
pub use relpath::RelPath;
pub use run::{Run, Setup};
pub use select::{Objection, SelectedBackup, Selector, SkippedBackup};
pub use source::{DatabaseSource, FilesSource, Sources};
pub use store::{LocalStore, MemoryStore, Object, Staged, Store};
pub use verify::{VerifyReport, verify};
