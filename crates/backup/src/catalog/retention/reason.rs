//! Why an entry is kept or removed, for programs and for people.

use std::fmt;

use chrono::NaiveDate;
use serde::Serialize;

use crate::record::id::BackupId;
use crate::record::manifest::Collapse;

/// What a rule keeps, and why.
pub(super) type KeepReasons = Vec<(BackupId, Reason)>;

/// Why an entry is kept or removed. In JSON an object with a `code` and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// Kept: a person pinned it.
    Pinned,
    /// Kept: its id is later than now.
    Future,
    /// Kept: there is no manifest to judge it by.
    NoManifest,
    /// Kept: its manifest can't be read.
    Unreadable,
    /// Kept: its manifest names another project.
    AnotherProject,
    /// Kept: its manifest names a host which this project is not known to have been on.
    AnotherHost,
    /// Kept: it is at most this many days old.
    Within {
        /// What it is.
        what: Class,
        /// The limit, in days.
        days: u32,
    },
    /// Kept: one of this many last backups.
    Last {
        /// How many.
        count: u32,
    },
    /// Kept: the newest of its day.
    Daily {
        /// The day, UTC.
        date: NaiveDate,
    },
    /// Kept: the newest of its week.
    Weekly {
        /// The ISO 8601 year, which can differ from the calendar year.
        year: i32,
        /// The ISO 8601 week, 1 to 53.
        week: u32,
    },
    /// Kept: the newest of its month.
    Monthly {
        /// The year.
        year: i32,
        /// The month, 1 to 12.
        month: u32,
    },
    /// Kept: the newest of its year.
    Yearly {
        /// The year.
        year: i32,
    },
    /// Kept: the newest complete backup of all.
    Newest,
    /// Kept: the newest complete backup with this database or file set (or, without one, the best there is).
    NewestWith {
        /// The database or file set.
        name: String,
    },
    /// Kept: a partial backup that holds this database or file set, newer than any complete one.
    NewestPartialWith {
        /// The database or file set.
        name: String,
    },
    /// Kept: the newest one with this configuration file, unless it is already the newest with its set.
    NewestWithFile {
        /// The file's path, relative to the project's root.
        path: String,
    },
    /// Kept: the newest one from before a database collapsed.
    BeforeCollapse {
        /// What the database lost.
        #[serde(flatten)]
        collapse: Collapse,
    },
    /// Kept: an increment before a backup that shows a collapse. The loss can be before it or after it.
    UpToCollapse {
        /// The database.
        name: String,
    },
    /// Kept: it shows the collapse for which another one is kept.
    ShowsCollapse {
        /// The database.
        name: String,
    },
    /// Kept: it stands for the increments of an hour, which are merged into it.
    Hourly {
        /// How long, in days.
        days: u32,
    },
    /// Kept: an increment that is kept needs it.
    NeededBy {
        /// The newest of them.
        id: BackupId,
    },
    /// Kept: no rule keeps it, but the plan is stale ([`Staleness`](super::Staleness)).
    NothingRemoved,
    /// Removed: it is more than this many days old, and only its age could have kept it.
    OlderThan {
        /// What it is.
        what: Class,
        /// The limit, in days.
        days: u32,
    },
    /// Removed: another increment takes it in, or has done so.
    MergedInto {
        /// That one.
        id: BackupId,
    },
    /// Removed: neither its age nor a count keeps it.
    NoRule,
    /// Removed: it would be kept for a collapse, but a person accepted that.
    CollapseAccepted {
        /// The database.
        name: String,
    },
}

/// The kind of entry that an age limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A backup, complete or partial.
    Backup,
    /// An increment, complete or partial; what counts is the age of the newest one of its chain.
    Increment,
    /// A backup of what a restore replaced: undoing that needs it.
    PreRestore,
    /// The record of a run that saved nothing.
    FailedRun,
}

/// The reason in a few words, for a table.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => f.write_str("pinned"),
            Self::Future => f.write_str("dated in the future"),
            Self::NoManifest => f.write_str("no manifest"),
            Self::Unreadable => f.write_str("manifest can't be read"),
            Self::AnotherProject => f.write_str("another project's"),
            Self::AnotherHost => f.write_str("another host's"),
            Self::Within { what: Class::PreRestore, days } => write!(f, "kept for undo for {}", in_words(*days)),
            Self::Within { what, days } => write!(f, "{}within {}", what.prefix(), in_words(*days)),
            Self::OlderThan { what, days } => write!(f, "{}older than {}", what.prefix(), in_words(*days)),
            Self::Last { count } => write!(f, "last {count}"),
            Self::Daily { date } => write!(f, "daily {date}"),
            Self::Weekly { year, week } => write!(f, "weekly {year:04}-W{week:02}"),
            Self::Monthly { year, month } => write!(f, "monthly {year:04}-{month:02}"),
            Self::Yearly { year } => write!(f, "yearly {year:04}"),
            Self::Newest => f.write_str("newest complete backup"),
            Self::NewestWith { name } => write!(f, "newest with {name}"),
            Self::NewestPartialWith { name } => write!(f, "newest partial with {name}"),
            Self::NewestWithFile { path } => write!(f, "newest with {path}"),
            Self::BeforeCollapse { collapse } => write!(f, "before the collapse of {collapse}"),
            Self::UpToCollapse { name } => write!(f, "last point before the collapse of {name} was seen"),
            Self::ShowsCollapse { name } => write!(f, "shows the collapse of {name}"),
            Self::CollapseAccepted { name } => write!(f, "the collapse of {name} was accepted"),
            Self::Hourly { days } => write!(f, "hourly, for {}", in_words(*days)),
            Self::MergedInto { id } => write!(f, "merged into {id}"),
            Self::NeededBy { id } => write!(f, "needed by {id}"),
            Self::NothingRemoved => f.write_str("no recent backup, so nothing is removed"),
            Self::NoRule => f.write_str("no rule keeps it"),
        }
    }
}

impl Class {
    fn prefix(self) -> &'static str {
        match self {
            Self::Backup => "",
            Self::Increment => "increment, ",
            Self::PreRestore => "pre-restore, ",
            Self::FailedRun => "failed run, ",
        }
    }
}

/// A number of days in words.
pub(super) fn in_words(days: impl Into<i64>) -> String {
    match days.into() {
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}
