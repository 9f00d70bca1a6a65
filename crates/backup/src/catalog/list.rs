//! The list of all backups of a store.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::entry::{Entry, Record, Stranger};
use crate::record::id::BackupId;
use crate::record::manifest::{Manifest, Status, Trigger};
use crate::record::relpath::RelPath;

/// All backups of a store, oldest first.
#[derive(Debug, Default)]
pub struct Catalog {
    pub(super) location: String,
    pub(super) entries: Vec<Entry>,
    /// All ids in names of files, whatever program wrote those.
    pub(super) ids: BTreeSet<BackupId>,
}

impl Catalog {
    /// The same catalog, with the backups marked that are not of this `project`, or not of these `hosts`, if those are
    /// known.
    pub(crate) fn of(mut self, project: &str, hosts: Option<&BTreeSet<String>>) -> Self {
        for entry in &mut self.entries {
            let Some(summary) = entry.manifest() else { continue };
            let whose = if *summary.project != *project {
                Stranger::Project
            } else if hosts.is_some_and(|hosts| !hosts.contains(&*summary.host)) {
                Stranger::Host
            } else {
                continue;
            };
            entry.record = match std::mem::replace(&mut entry.record, Record::Foreign) {
                Record::Manifest(summary) => Record::Another(summary, whose),
                other => other,
            };
        }
        self
    }

    /// All backups, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An id for a backup that begins at `now`: later than those of all backups of this project, and used by nothing in
    /// the store. `None` if no id is left.
    ///
    /// Only manifests of this project count for the order. Anybody may put a file there that is named for the year
    /// 9999; it must not prevent the next backup.
    pub(crate) fn next_id(&self, now: DateTime<Utc>, is_known: impl Fn(BackupId) -> bool) -> Option<BackupId> {
        let last = self.entries.iter().rfind(|entry| entry.manifest().is_some()).map(|entry| entry.id);
        let in_order = BackupId::next(now, last);
        // If no id can follow the last one, better lose the order than the backup.
        let first = if in_order.is_valid() { in_order } else { BackupId::at(now) };
        let mut ids = std::iter::successors(Some(first), |id| Some(id.successor())).take_while(|id| id.is_valid());
        ids.find(|id| !self.ids.contains(id) && !is_known(*id))
    }

    /// The newest backup that should be sound. Failed backups and safety copies don't count; a backup whose manifest
    /// can't be read does. Files without a manifest count only if there is nothing else, since anybody may have put
    /// them there.
    pub fn newest(&self) -> Option<&Entry> {
        let is_ours = |entry: &&Entry| match &entry.record {
            Record::Manifest(summary) => summary.status != Status::Failed && summary.trigger != Trigger::PreRestore,
            Record::Unreadable(_) => true,
            Record::Foreign | Record::Another(..) => false,
        };
        let is_foreign = |entry: &&Entry| matches!(entry.record, Record::Foreign);
        self.entries.iter().rfind(is_ours).or_else(|| self.entries.iter().rfind(is_foreign))
    }

    /// The newest backup whose manifest names this configuration file.
    pub fn newest_with_file(&self, path: &RelPath) -> Option<&Entry> {
        self.entries.iter().rfind(|entry| entry.manifest().is_some() && entry.paths().any(|held| held == path))
    }

    /// Adds a backup that has just been published.
    pub(crate) fn add(&mut self, manifest: &Manifest, pinned: bool) {
        let sizes = manifest.artifacts.iter().map(|artifact| (artifact.file.clone(), artifact.bytes)).collect();
        self.entries.push(Entry { has_pin: pinned, ..Entry::of(manifest, &sizes) });
        self.entries.sort_by_key(|entry| entry.id);
        self.link();
        self.ids.insert(manifest.id);
    }
}
