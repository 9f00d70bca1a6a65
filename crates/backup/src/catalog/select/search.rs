//! Finding the backup that a selector means.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};

use super::objection::{Objection, Objections};
use super::selector::Selector;
use crate::catalog::entry::{Entry, Record};
use crate::catalog::list::Catalog;
use crate::error::{Advice, Error, ErrorKind, Result};
use crate::record::id::BackupId;
use crate::record::ledger::Ledger;
use crate::record::manifest::Trigger;

/// The most ids that a message lists.
const MOST_LISTED: usize = 5;

/// The backup that a selector means.
#[derive(Debug)]
pub struct SelectedBackup<'c> {
    /// The backup.
    pub entry: &'c Entry,
    /// Newer backups that were skipped, newest first.
    pub skipped: Vec<SkippedBackup>,
}

/// A backup that `latest` or a time skips.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedBackup {
    /// The backup.
    pub id: BackupId,
    /// Why it was skipped.
    pub why: Objection,
}

impl Catalog {
    /// Makes sure that the store has a backup.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBackup`].
    pub fn require_any(&self) -> Result<()> {
        if self.entries.is_empty() { Err(self.no_candidate("")) } else { Ok(()) }
    }

    /// The backup with exactly this id.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBackup`].
    pub fn get(&self, id: BackupId) -> Result<&Entry> {
        match self.entries.binary_search_by_key(&id, |entry| entry.id) {
            Ok(at) => Ok(&self.entries[at]),
            Err(_) => Err(self.no_such_backup(format!("no backup {id} in {}", self.location))),
        }
    }

    /// The backup that `selector` means if the databases and sets of files in `wanted` are asked for.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBackup`] if none fits; if no backup holds everything, it names the newest one of each part.
    /// [`ErrorKind::AmbiguousId`] if several ids begin so.
    pub fn select(&self, selector: &Selector, wanted: &[String], ledger: &Ledger) -> Result<SelectedBackup<'_>> {
        let moment = match selector {
            Selector::Prefix(prefix) => {
                return self.by_prefix(prefix).map(|entry| SelectedBackup { entry, skipped: Vec::new() });
            }
            Selector::Latest => None,
            Selector::At { moment, .. } => Some(*moment),
        };
        let objections = self.objections(ledger);
        let mut skipped = Vec::new();
        for entry in self.newest_first(moment) {
            match objections.against(entry, wanted) {
                None => return Ok(SelectedBackup { entry, skipped }),
                Some(why) => skipped.push(SkippedBackup { id: entry.id, why }),
            }
        }
        Err(self.none_fits(selector, moment, wanted, &objections))
    }

    /// What `latest` and a time can mean, newest first. Pre-restore backups are for undoing alone. A time is compared with
    /// when a backup began, since ids run ahead after a clock was ahead.
    fn newest_first(&self, moment: Option<DateTime<Utc>>) -> Vec<&Entry> {
        self.of_this_project(moment, false)
    }

    /// Pre-restore backups, or all others, newest first.
    fn of_this_project(&self, moment: Option<DateTime<Utc>>, kept: bool) -> Vec<&Entry> {
        let is_kept = |entry: &Entry| entry.manifest().is_some_and(|summary| summary.trigger == Trigger::PreRestore);
        let is_asked_for = |entry: &&Entry| !matches!(entry.record, Record::Another(..)) && is_kept(entry) == kept;
        let mut entries: Vec<&Entry> = self.entries.iter().rev().filter(is_asked_for).collect();
        if let Some(moment) = moment {
            // People see ids, which have no fractions of a second.
            entries.retain(|entry| entry.created_at().timestamp() <= moment.timestamp());
            // The sort is stable: within a second, the later id stays first.
            entries.sort_by_key(|entry| Reverse(entry.created_at()));
        }
        entries
    }

    /// The error if no backup fits.
    fn none_fits(
        &self,
        selector: &Selector,
        moment: Option<DateTime<Utc>>,
        wanted: &[String],
        objections: &Objections<'_>,
    ) -> Error {
        let in_time = match selector {
            Selector::At { text, .. } => format!(" at or before {text}"),
            _ => String::new(),
        };
        let (regular, pre_restore) = (self.newest_first(moment), self.of_this_project(moment, true));
        let candidates = Candidates { regular, pre_restore, objections };
        if candidates.is_empty() {
            return self.no_candidate(&in_time);
        }
        let location = &self.location;
        let message = match wanted {
            [] => format!("no sound backup{in_time} in {location}"),
            [name] => format!("no sound backup of {name}{in_time} in {location}{}", candidates.but_pre_restore(name)),
            names => {
                let newest: Vec<String> = names.iter().map(|name| candidates.newest_with(name)).collect();
                let (names, newest) = (names.join(", "), newest.join(", "));
                format!("no sound backup{in_time} in {location} holds all of {names}; the newest of each: {newest}")
            }
        };
        Error::new(ErrorKind::NoSuchBackup, message).with_hint(
            "any backup can be restored by its id, whole or in part; `list` shows what each holds and what is wrong",
        )
    }

    /// The error if there is no backup of this project in that time.
    fn no_candidate(&self, in_time: &str) -> Error {
        if in_time.is_empty() && !self.entries.is_empty() {
            let message = format!("no usable backup of this project in {}", self.location);
            return Error::new(ErrorKind::NoSuchBackup, message).with_hint("`list` shows what is there, and why");
        }
        self.no_such_backup(format!("no backup{in_time} in {}", self.location))
    }

    fn by_prefix(&self, prefix: &str) -> Result<&Entry> {
        let found: Vec<&Entry> = self.entries.iter().filter(|entry| entry.id.to_string().starts_with(prefix)).collect();
        match found.as_slice() {
            [] => Err(self.no_such_backup(format!("no backup {prefix} in {}", self.location))),
            [one] => Ok(one),
            many => {
                let mut ids: Vec<String> = many.iter().map(|entry| entry.id.to_string()).collect();
                if ids.len() > MOST_LISTED {
                    ids.splice(1..=ids.len() - MOST_LISTED, ["…".to_string()]);
                }
                let message = format!("{prefix} could be {} backups: {}", many.len(), ids.join(", "));
                Err(Error::new(ErrorKind::AmbiguousId, message).with_advice(Advice::NameOneBackup))
            }
        }
    }

    fn no_such_backup(&self, message: String) -> Error {
        let error = Error::new(ErrorKind::NoSuchBackup, message);
        match self.entries.as_slice() {
            [] => error.with_advice(Advice::MakeFirst),
            [only] => error.with_hint(format!("there is one, {}", only.id)),
            [first, .., last] => {
                error.with_hint(format!("there are {} to {}; `list` shows them all", first.id, last.id))
            }
        }
    }
}

/// The backups of which no single one holds all that was asked for.
struct Candidates<'c> {
    regular: Vec<&'c Entry>,
    pre_restore: Vec<&'c Entry>,
    objections: &'c Objections<'c>,
}

impl Candidates<'_> {
    fn is_empty(&self) -> bool {
        self.regular.is_empty() && self.pre_restore.is_empty()
    }

    fn newest_with(&self, name: &String) -> String {
        match self.newest_of(&self.regular, name) {
            Some(id) => format!("{name}: {id}"),
            None => format!("{name}: none{}", self.but_pre_restore(name)),
        }
    }

    fn but_pre_restore(&self, name: &String) -> String {
        let kept = self.newest_of(&self.pre_restore, name);
        kept.map_or(String::new(), |id| format!(" but {id}, which a restore kept"))
    }

    fn newest_of(&self, entries: &[&Entry], name: &String) -> Option<BackupId> {
        let fits = |entry: &&&Entry| self.objections.against(entry, std::slice::from_ref(name)).is_none();
        entries.iter().find(fits).map(|entry| entry.id)
    }
}
