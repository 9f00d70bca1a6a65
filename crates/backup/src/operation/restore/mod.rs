//! Restore: check what will be written, keep what it replaces, write it, check it again; and the way back.
//!
//! Two hazards, both seen in practice: a restored file beside a leftover `-wal` is corrupt or silently loses rows, and an
//! application goes on writing into the deleted file that was replaced under it. So:
//!
//! * everything is decoded and checked beside its place before anything there changes;
//! * what will be replaced is backed up first (trigger `pre-restore`), and writers are held off from then on; [`undo()`]
//!   restores that backup;
//! * an existing database is overwritten *through SQLite*, by its backup API, as one transaction: readers see the old or
//!   the new state, a crash rolls back, and no program has to reopen it;
//! * where there is no database, the decoded file is renamed into place, after files that a dead database left there
//!   (`-wal`, `-shm`, `-journal`) are moved aside. A database that SQLite can't open or overwrite is moved aside, too.
//!   Nothing is deleted;
//! * a damaged database is kept as its bytes, and its undo puts back exactly these;
//! * the ledger gets a line before the first change and one after the last, so that a restore which was cut short shows.
//!
//! The steps, each in a file of its own: plan, staging, hold, safety copy, commit, final check, record.

mod execution;
mod rehearsal;
mod undo;

// The plan.
mod allowed_paths;
mod changes_since;
mod plan;
mod planner;

// Decoded files beside their places.
mod file_names;
mod leftovers;
mod staging;
mod temp;

// Existing databases, opened and held.
mod connection;
mod fault;
mod hold;
mod journal_mode;
mod live;
mod patience;
mod swap;

// The change itself.
mod changes;
mod commit;
mod final_check;
mod placement;
mod record;
mod safety_copy;

pub use crate::record::selection::Selection;
pub use allowed_paths::{SkipReason, SkippedItem};
pub use changes_since::{ChangesSince, RowsSince, since};
pub use execution::{RestoreReport, restore};
pub use leftovers::{RestoredPlace, leftovers, remove_leftovers};
pub use plan::{Item, Occupant, Plan};
pub use planner::plan;
pub(crate) use planner::plan_for_empty_folder;
pub(crate) use rehearsal::{check_databases, rehearse};
pub use undo::{plan_undo, undo};
