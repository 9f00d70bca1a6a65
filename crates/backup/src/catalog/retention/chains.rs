//! Chains: what is kept keeps the older backups that it is an increment on.

use std::collections::BTreeMap;

use super::candidate::{Candidate, Standing};
use super::merging::Merge;
use super::reason::Reason;
use crate::record::id::BackupId;

/// For each candidate the newest one of its chain that holds something. A chain whose full backup is missing is one all the same.
pub(super) fn newest_of_chains<'a>(candidates: &[&'a Candidate]) -> BTreeMap<BackupId, &'a Candidate> {
    let full = full_backups(candidates);
    let mut newest: BTreeMap<BackupId, &Candidate> = BTreeMap::new();
    for candidate in candidates.iter().filter(|it| it.is_complete() || it.is_partial()) {
        let newest = newest.entry(full[&candidate.id]).or_insert(candidate);
        if candidate.at > newest.at {
            *newest = candidate;
        }
    }
    full.iter().filter_map(|(id, full)| Some((*id, *newest.get(full)?))).collect()
}

/// For each candidate the one that it is an increment on. Where there are increments, one whose manifest can't be read may
/// be an increment on the one before it: it must not lose that for an error of reading.
fn parents(candidates: &[&Candidate]) -> BTreeMap<BackupId, Option<BackupId>> {
    let mut parents: BTreeMap<BackupId, Option<BackupId>> = candidates.iter().map(|it| (it.id, it.parent)).collect();
    if candidates.iter().any(|it| it.parent.is_some()) {
        for candidate in candidates.iter().filter(|it| it.standing == Standing::Unreadable && it.parent.is_none()) {
            let before = parents.range(..candidate.id).next_back().map(|(id, _)| *id);
            parents.insert(candidate.id, before);
        }
    }
    parents
}

/// For each candidate the full backup of its chain, or what stands in its place.
fn full_backups(candidates: &[&Candidate]) -> BTreeMap<BackupId, BackupId> {
    let parents = parents(candidates);
    let mut full = BTreeMap::new();
    // A parent has a lower id than its increments, so it comes before them.
    for (id, parent) in parents {
        let found = parent.map_or(id, |parent| full.get(&parent).copied().unwrap_or(parent));
        full.insert(id, found);
    }
    full
}

/// Adds what the kept ones need after the `merges`: the parent of each, that of the parent, and so on.
pub(super) fn add_needed(candidates: &[&Candidate], merges: &[Merge], keeps: &mut BTreeMap<BackupId, Vec<Reason>>) {
    let mut parents = parents(candidates);
    for merge in merges {
        let parent = merge.parts.first().and_then(|first| parents.get(first).copied().flatten());
        parents.insert(merge.into, parent);
    }
    let mut needed_by: BTreeMap<BackupId, BackupId> = BTreeMap::new();
    for (id, parent) in parents.iter().rev() {
        let newest = needed_by.get(id).copied().or_else(|| keeps.contains_key(id).then_some(*id));
        let parent = parent.filter(|parent| parents.contains_key(parent));
        if let Some((newest, parent)) = newest.zip(parent) {
            let known = needed_by.entry(parent).or_insert(newest);
            *known = newest.max(*known);
        }
    }
    for (id, newest) in needed_by {
        keeps.entry(id).or_default().push(Reason::NeededBy { id: newest });
    }
}
