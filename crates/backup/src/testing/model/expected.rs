//! The model: what a store must hold, which backups must be restorable, and what the live state and its undo must be.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::steps::Command;
use crate::catalog::retention::Policy;
use crate::error::ErrorKind;
use crate::record::id::BackupId;

/// The content of the live folder, or of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// The ids of all sessions in the database.
    pub database: Option<String>,
    /// The text of the configuration file.
    pub config: Option<String>,
}

impl Content {
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The content after `self` is restored over `live`.
    pub fn over(&self, live: &Self) -> Self {
        Self {
            database: self.database.clone().or_else(|| live.database.clone()),
            config: self.config.clone().or_else(|| live.config.clone()),
        }
    }

    /// The parts of `live` that a restore of `self` replaces.
    pub fn replaced_of(&self, live: &Self) -> Self {
        Self {
            database: live.database.clone().filter(|_| self.database.is_some()),
            config: live.config.clone().filter(|_| self.config.is_some()),
        }
    }

    /// The parts that differ from those of `other`.
    pub fn but_for(&self, other: &Self) -> Self {
        Self {
            database: self.database.clone().filter(|_| self.database != other.database),
            config: self.config.clone().filter(|_| self.config != other.config),
        }
    }

    /// Whether each part equals that of one of the `others`.
    pub fn is_made_of(&self, others: [&Self; 2]) -> bool {
        others.iter().any(|other| other.database == self.database)
            && others.iter().any(|other| other.config == self.config)
    }

    /// Whether `whole` has each of its parts.
    pub fn is_part_of(&self, whole: &Self) -> bool {
        self.over(whole) == *whole
    }
}

/// A backup that must exist.
#[derive(Debug, Clone)]
pub(super) struct Backup {
    /// When it began.
    pub at: DateTime<Utc>,
    pub holds: Content,
    /// Whether it lacks something that it should hold.
    pub partial: bool,
    pub pre_restore: bool,
    pub pinned: bool,
    /// Whether one of its files has changed.
    pub damaged: bool,
    /// Whether the damage, or a suspicion of it, shows without reading the file.
    pub doubted: bool,
}

impl Backup {
    /// Whether rotation may count on it: a whole backup of the live state without known damage.
    fn counts(&self) -> bool {
        !self.partial && !self.pre_restore && !self.doubted && !self.holds.is_nothing()
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    pub live: Content,
    pub backups: BTreeMap<BackupId, Backup>,
    /// The safety copy of the last restore, even if it is gone.
    pub undo: Option<BackupId>,
    /// Every id that a backup has had.
    pub used: BTreeSet<BackupId>,
}

impl Expected {
    /// How `command` must end if no fault occurs.
    pub fn outcome(&self, command: &Command) -> Result<(), ErrorKind> {
        match command {
            Command::Backup | Command::Pin(..) | Command::Rotate(_) => Ok(()),
            Command::Verify(id) | Command::Drill(id) | Command::Restore(id) => self.readable(Some(*id)),
            Command::Undo => self.readable(self.undo),
        }
    }

    fn readable(&self, id: Option<BackupId>) -> Result<(), ErrorKind> {
        match id.and_then(|id| self.backups.get(&id)) {
            Some(backup) if backup.holds.is_nothing() => Err(ErrorKind::NoSuchBackup),
            Some(backup) if backup.damaged => Err(ErrorKind::Damaged),
            Some(_) => Ok(()),
            None => Err(ErrorKind::NoSuchBackup),
        }
    }

    /// The live state after `command`.
    pub fn live_after(&self, command: &Command) -> Content {
        self.restored_by(command).map_or_else(|| self.live.clone(), |backup| backup.holds.over(&self.live))
    }

    /// The part of the live state that `command` replaces, and so must save first.
    pub fn replaced_by(&self, command: &Command) -> Content {
        self.restored_by(command).map(|backup| backup.holds.replaced_of(&self.live)).unwrap_or_default()
    }

    fn restored_by(&self, command: &Command) -> Option<&Backup> {
        self.outcome(command).ok()?;
        match command {
            Command::Restore(id) => self.backups.get(id),
            Command::Undo => self.backups.get(&self.undo?),
            _ => None,
        }
    }

    /// Backups that no rotation may remove, whatever the policy says.
    pub fn untouchable(&self, policy: &Policy, now: DateTime<Utc>) -> BTreeSet<BackupId> {
        let within = |backup: &Backup, days: u32| now - backup.at <= TimeDelta::days(days.into());
        let counted = |backup: &Backup| backup.at <= now && backup.counts();
        let mut newest_first: Vec<(&BackupId, &Backup)> = self.backups.iter().collect();
        newest_first.sort_by_key(|(id, backup)| Reverse((backup.at, **id)));
        let newest = newest_first.iter().find(|(_, backup)| counted(backup));
        let window = policy.keep_days.map(|days| days.max(1));
        if newest.is_none_or(|(_, backup)| window.is_some_and(|days| !within(backup, days))) {
            return self.backups.keys().copied().collect();
        }
        let mut stay: BTreeSet<BackupId> = newest.map(|(id, _)| **id).into_iter().collect();
        let has_part: [fn(&Content) -> bool; 2] = [|it| it.database.is_some(), |it| it.config.is_some()];
        for has_part in has_part {
            let series = newest_first.iter().filter(|(_, it)| counted(it) && has_part(&it.holds));
            stay.extend(series.map(|(id, _)| **id).take(policy.keep_last.max(1) as usize));
        }
        let by_itself = |(_, backup): &(&BackupId, &Backup)| {
            backup.pinned
                || backup.at > now
                || policy.keep_days.is_some_and(|days| days > 0 && within(backup, days))
                || backup.pre_restore && within(backup, window.unwrap_or(7))
        };
        stay.extend(self.backups.iter().filter(by_itself).map(|(id, _)| *id));
        stay
    }
}
