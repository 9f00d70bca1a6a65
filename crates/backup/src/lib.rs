//! Backups that can be trusted, of a small server's state: live SQLite databases and configuration files. Nothing is
//! listed before it is complete and on disk, and nothing is replaced before its replacement is checked.
//!
//! ```text
//! source ──► codec ──► store ──► catalog                                          backup
//! catalog ──► store ──► codec ──► { live place | scratch place | nowhere }        restore | drill | verify
//! (catalog, policy, now) ──► plan ──► store                                       rotate: a pure plan, carried out
//! (catalog, ledger, now) ──► status                                               one judgement
//! ```
//!
//! # Where to begin
//!
//! | to | read |
//! |---|---|
//! | make a backup | [`Setup`], [`Run::begin`], [`backup()`], [`BackupReport`] |
//! | find one | [`Look`], [`Catalog`], [`Selector`] |
//! | restore it | [`restore`]: [`restore::plan()`], [`restore::restore()`], [`restore::undo()`] |
//! | prove it | [`Session`], [`verify()`], [`drill()`], [`Level`] |
//! | decide what stays | [`retention`], [`rotate`], [`marks`] |
//! | see how things stand | [`status`] |
//! | say where backups live | [`Store`], [`LocalStore`], [`FolderStore`] |
//! | read what is recorded | [`Manifest`], [`Ledger`], [`BackupId`] |
//! | handle an error | [`Error`], [`ErrorKind`], [`Advice`] |
//!
//! Functions that write take a [`Run`], which holds the store's lock. Functions that only read take a [`Look`]; a run
//! dereferences to one. Both begin with a [`Setup`]: the library never prints, reads the environment, starts a process
//! or asks the clock, so its caller provides the time, the host's name and a place for events.
//!
//! ```no_run
//! use backup::{Codec, Encoding, FolderStore, Integrity, Run, Setup, Silent, Sources, Trigger};
//!
//! # fn main() -> backup::Result<()> {
//! # let now = chrono::DateTime::parse_from_rfc3339("2025-12-10T15:00:00+01:00").unwrap();
//! let store = FolderStore::new("backups");
//! let setup = Setup {
//!     store: &store,
//!     from: None,
//!     progress: &Silent,
//!     now,
//!     project: "charger-api".into(),
//!     root: "/srv/charger".into(),
//!     host: "box".into(),
//!     boot: String::new(),
//!     version: "1.0.0".into(),
//!     command: "backup".into(),
//!     lock_wait: std::time::Duration::from_secs(10),
//!     busy_timeout: std::time::Duration::from_secs(30),
//!     max_foreign: 20_000_000_000,
//!     scratch: None,
//!     temp: "/tmp".into(),
//! };
//! let run = Run::begin(setup, &mut |holder| eprintln!("waiting for {holder}"))?;
//! let report = backup::backup(&run, &backup::BackupRequest {
//!     root: ".".as_ref(),
//!     sources: &Sources::default(),
//!     encoding: Encoding::new(Codec::Gzip, 6)?,
//!     trigger: Trigger::Manual,
//!     pinned: false,
//!     integrity: Integrity::Required,
//!     tracked: false,
//! })?;
//! println!("{}", report.manifest.id);
//! # Ok(())
//! # }
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make the damage that the library must not"))]

mod artifact;
mod catalog;
mod disk;
mod error;
mod operation;
mod progress;
mod record;
mod source;
mod store;
mod testing;

pub use artifact::StoredFile;
pub use artifact::codec::Encoding;
pub use artifact::read::Level;
pub use catalog::select::{Objection, Objections, SelectedBackup, Selector, SkippedBackup};
pub use catalog::{ArtifactSummary, Catalog, Entry, Inherited, ListedFile, LostPart, Record, Stranger, Summary};
pub use catalog::{owner, retention};
pub use disk::file::open_plain;
pub use error::{Advice, Error, ErrorKind, Result};
pub use operation::backup::{
    BackupReport, BackupRequest, Follower, FullReason, IncrementalReport, Integrity, backup, backup_incremental,
};
pub use operation::check::{Aspect, Check, Verdict};
pub use operation::drill::{CallersProbe, DrillReport, drill};
pub use operation::look::{Look, Setup};
pub use operation::probe::Probe;
pub use operation::run::Run;
pub use operation::session::Session;
pub use operation::verify::{FilesRead, VerifyReport, all_to_verify, verify, verify_next};
pub use operation::{inspect, marks, restore, rotate, status, take_over};
pub use progress::{Event, Phase, Progress, Silent};
pub use record::age::seconds_since;
pub use record::codec::Codec;
pub use record::digest::Digest;
pub use record::earlier_checks::EarlierChecks;
pub use record::id::BackupId;
pub use record::ledger::{Command, Ledger, Line, Outcome, RestoreLine};
pub use record::manifest::{self, Manifest, Status, Trigger};
pub use record::names::{Kind, is_set_name};
pub use record::relpath::RelPath;
pub use record::soundness::{DatabaseDigests, Depth, SoundDatabases};
pub use source::{DatabaseSource, FilesSource, Sources};
#[cfg(any(test, feature = "testing"))]
pub use store::conformance;
pub use store::lock::{Holder, Lock, OnWait};
pub use store::{FolderStore, LocalStore, MemoryStore, Object, Staged, Store};
#[doc(hidden)]
pub use testing::{benchmark, fuzz};
