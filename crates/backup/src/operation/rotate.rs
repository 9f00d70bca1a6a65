//! Rotation: first a plan of what stays, then the rest is removed.

use std::fmt;

use serde::Serialize;

use super::look::Look;
use super::merge::merge;
use super::run::Run;
use crate::catalog::retention::{self, Merge, Plan, Policy};
use crate::catalog::{Catalog, Entry};
use crate::error::{Error, ErrorKind, Result};
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Line, Outcome};

/// What a rotation merged and removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// The increments that took others in, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<BackupId>,
    /// The increments that could not take others in. Those are all still there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmerged: Vec<FailedMerge>,
    /// The removed backups, in the order of removal.
    pub removed: Vec<BackupId>,
    /// Size of their files, in bytes, without what the merged increments have grown by.
    pub freed_bytes: u64,
}

/// Increments that could not be merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedMerge {
    /// The last of them.
    pub into: BackupId,
    /// Why, in one line.
    pub error: String,
}

/// What `policy` says about each backup of this host's own store. It changes nothing.
///
/// `just_made` is the backup that this run has made, if any. Then nobody reviews the plan, and the clock may be wrong.
/// So nothing is removed after a gap, in which backups had stopped or the clock jumped, until backups fill the window
/// again.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the policy keeps nothing or a number is out of range; any error
/// of reading the store.
pub fn plan(look: &Look<'_>, policy: &Policy, just_made: Option<BackupId>) -> Result<Plan> {
    let now = look.now().to_utc();
    let candidates = look.own_catalog()?.candidates(&*look.ledger()?);
    let plan = retention::plan(&candidates, policy, now)?;
    let gap = just_made.and_then(|_| retention::gap_in_window(&candidates, policy, now));
    Ok(match gap {
        Some(why) => plan.keeping_all(why),
        None => plan,
    })
}

/// Merges increments as `plan` says, then removes the backups that it doesn't keep. The ledger gets a line, unless there is
/// nothing to do. Increments that can't be merged stay, which is no error: see [`Rotation::unmerged`].
///
/// # Errors
/// The first error of removing a backup; those before it are gone, and the ledger names them.
/// [`Partial`](crate::ErrorKind::Partial) if all are gone, but the ledger can't be written.
pub fn apply(run: &Run<'_>, plan: &Plan) -> Result<Rotation> {
    let mut rotation = Rotation::default();
    let result = merge_all(run, plan, &mut rotation).and_then(|grown_bytes| {
        remove_all(run, plan, &mut rotation)?;
        rotation.freed_bytes = rotation.freed_bytes.saturating_sub(grown_bytes);
        Ok(())
    });
    if result.is_ok() && rotation == Rotation::default() {
        return Ok(rotation);
    }
    let outcome = if result.is_ok() && rotation.unmerged.is_empty() { Outcome::Ok } else { Outcome::Partial };
    let unmerged = || rotation.unmerged.first().map(ToString::to_string);
    let error = result.as_ref().err().map(Error::one_line).or_else(unmerged);
    let (removed, merged) = (rotation.removed.clone(), rotation.merged.clone());
    let recorded = run.record(Line { error, removed, merged, ..Line::new(run.now(), Command::Rotate, outcome) });
    let number = rotation.removed.len();
    result.and(recorded.map_err(|e| e.unrecorded(&format!("backups removed: {number}"))))?;
    Ok(rotation)
}

/// Merges increments. Those that can't be merged don't stop the others. Returns how many bytes the merged ones have grown by.
///
/// # Errors
/// [`Interrupted`](ErrorKind::Interrupted); any error of reading the store.
fn merge_all(run: &Run<'_>, plan: &Plan, rotation: &mut Rotation) -> Result<u64> {
    let mut grown_bytes = 0;
    for planned in &plan.merges {
        run.check_stop()?;
        let catalog = run.own_catalog()?;
        let parts: Result<Vec<&Entry>> = planned.parts.iter().map(|id| catalog.get(*id)).collect();
        match parts.and_then(|parts| merge(run, &parts)) {
            Ok(grown_by) => {
                rotation.merged.push(planned.into);
                grown_bytes += grown_by;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => rotation.unmerged.push(FailedMerge { into: planned.into, error: error.one_line() }),
        }
    }
    Ok(grown_bytes)
}

fn remove_all(run: &Run<'_>, plan: &Plan, rotation: &mut Rotation) -> Result<()> {
    let catalog = run.own_catalog()?;
    let is_still_needed = |id: BackupId| {
        let is_unmerged = |merge: &Merge| rotation.unmerged.iter().any(|failed| failed.into == merge.into);
        plan.merges.iter().any(|merge| merge.parts.contains(&id) && is_unmerged(merge))
    };
    plan.removals().map(|decision| decision.id).filter(|id| !is_still_needed(*id)).try_for_each(|id| {
        run.check_stop()?;
        let entry = catalog.get(id)?;
        require_unneeded(&catalog, entry, &rotation.removed)?;
        if entry.manifest().is_none() {
            // A manifest that can't be read any more doesn't say which files are its own.
            return entry.require_usable();
        }
        run.remove(entry)?;
        rotation.removed.push(entry.id);
        rotation.freed_bytes += entry.files.iter().filter_map(|file| file.bytes).sum::<u64>();
        Ok(())
    })
}

/// The warning in one line.
impl fmt::Display for FailedMerge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the increments of the hour up to {} are not merged: {}", self.into, self.error)
    }
}

/// Makes sure that no increment needs a backup, except for those `removed` before. A plan may be older than the increment.
fn require_unneeded(catalog: &Catalog, entry: &Entry, removed: &[BackupId]) -> Result<()> {
    let is_on_it = |other: &&Entry| other.parent() == Some(entry.id) && !removed.contains(&other.id);
    // Those before it can't be increments on it.
    match catalog.entries().iter().rev().take_while(|other| other.id > entry.id).find(is_on_it) {
        None => Ok(()),
        Some(other) => {
            let message = format!("backup {} can't be removed: {} is an increment on it", entry.id, other.id);
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::error::ErrorKind;
    use crate::operation::backup::{IncrementalReport, backup_incremental};
    use crate::record::ledger::Ledger;
    use crate::record::names;
    use crate::store::{LocalStore, MemoryStore, Store};
    use crate::testing::chains::{self, FIRST, FULL, NEWEST, SECOND, THIRD, all_held, fill, objects};
    use crate::testing::faults::{WatchedStore, assert_clean, fault_sweep};
    use crate::testing::fixtures::{Site, flip, id, published};

    const OLD: [&str; 2] = ["20251110_140000", "20251120_140000"];
    const NEW: &str = "20251210_140000";
    const NOW: &str = "20251210_150000";

    fn shelf(site: &Site, store: &dyn LocalStore) {
        for day in [OLD[0], OLD[1], NEW] {
            site.backup(store, day);
        }
    }

    fn rotate(run: &Run<'_>) -> Result<Rotation> {
        apply(run, &plan(run, &Policy::default(), None)?)
    }

    #[test]
    fn a_backup_stops_existing_before_any_of_its_files_does() {
        let site = Site::new();
        let store = MemoryStore::new();
        shelf(&site, &store);
        let watched = WatchedStore::new(&store);
        rotate(&site.begin(&watched, NOW)).unwrap();
        let removal = |day: &str| {
            [
                format!("withdraw manifest_{day}.json"),
                format!("remove sessions_db_{day}.db.zst"),
                format!("remove config_{day}.tar.zst"),
                format!("discard manifest_{day}.json"),
            ]
        };
        let mut expected = [removal(OLD[1]), removal(OLD[0])].concat();
        expected.push(format!("append {}", names::LEDGER));
        assert_eq!(watched.changes(), expected);
    }

    #[test]
    fn what_was_removed_is_told_with_its_size() {
        let site = Site::new();
        let store = MemoryStore::new();
        shelf(&site, &store);
        let bytes = |store: &MemoryStore| -> u64 {
            let artifacts = store.list("").unwrap().into_iter().filter(|object| object.name.ends_with(".zst"));
            artifacts.map(|object| object.bytes).sum()
        };
        let before = bytes(&store);
        let rotation = rotate(&site.begin(&store, NOW)).unwrap();
        let removed = vec![id(OLD[1]), id(OLD[0])];
        assert_eq!(rotation, Rotation { removed, freed_bytes: before - bytes(&store), ..Rotation::default() });
        assert_eq!(published(&store).len(), 3);
        let again = rotate(&site.begin(&store, NOW)).unwrap();
        assert_eq!(again, Rotation::default());
    }

    #[test]
    fn the_ledger_knows_what_was_removed_and_what_kept_the_rest() {
        let (site, store) = (Site::new(), MemoryStore::new());
        shelf(&site, &store);
        let run = site.begin(&store, NOW);
        let plan = plan(&run, &Policy::default(), None).unwrap();
        for file in published(&store).iter().filter(|file| file.contains(OLD[0])) {
            store.remove(file).unwrap();
        }
        assert_eq!(apply(&run, &plan).unwrap_err().kind(), ErrorKind::NoSuchBackup);
        let line = Ledger::load(&store).unwrap().lines().last().unwrap().clone();
        assert_eq!((line.command, line.outcome, line.removed), (Command::Rotate, Outcome::Partial, vec![id(OLD[1])]));
        assert!(line.error.unwrap().starts_with(&format!("no backup {}", OLD[0])));
    }

    #[test]
    fn a_failing_store_lets_a_removal_stop_anywhere_and_the_next_run_go_on() {
        fault_sweep(
            shelf,
            |site, store| drop(Run::begin(site.setup(store, NOW), &mut |_| {}).and_then(|run| rotate(&run))),
            |site, store, fault| assert_clean(site, store, &[id(NEW)], fault),
        );
    }

    /// A chain of two increments on a full backup, and a newer full backup.
    fn chain(site: &Site, store: &dyn LocalStore) {
        site.backup(store, OLD[0]);
        for at in ["20251111_140000", OLD[1]] {
            site.execute("INSERT INTO sessions(kwh) VALUES (4)");
            site.increment(store, at);
        }
        site.backup(store, NEW);
    }

    #[test]
    fn a_chain_goes_from_its_newest_increment_on_however_it_is_cut_short() {
        fault_sweep(
            chain,
            |site, store| {
                let removed = Run::begin(site.setup(store, NOW), &mut |_| {}).and_then(|run| rotate(&run));
                let expected = [OLD[1], "20251111_140000", OLD[0]].map(id);
                // A manifest that can't be read keeps the one before it.
                if let Ok(rotation) = removed {
                    assert!(expected.starts_with(&rotation.removed), "{rotation:?}");
                }
            },
            |site, store, fault| assert_clean(site, store, &[id(NEW)], fault),
        );
    }

    #[test]
    fn a_plan_from_before_an_increment_does_not_remove_what_that_needs() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, OLD[0]);
        site.backup(&store, OLD[1]);
        let policy = Policy { keep_days: None, keep_last: 1, ..Policy::default() };
        let mut plan = plan(&site.begin(&store, NOW), &policy, None).unwrap();
        site.execute("INSERT INTO sessions(kwh) VALUES (4)");
        site.increment(&store, NEW);
        plan.decisions.iter_mut().for_each(|decision| decision.keep = false);
        let run = site.begin(&store, NOW);
        let error = apply(&run, &plan).unwrap_err();
        assert_eq!(error.to_string(), format!("backup {} can't be removed: {NEW} is an increment on it", OLD[1]));
        assert_eq!(run.catalog().unwrap().entries().len(), 3);
    }

    /// A day after [`chains::chain`].
    const DAY_AFTER: &str = "20251210_150000";

    #[test]
    fn increments_of_an_hour_become_one_and_the_points_that_stay_hold_what_they_did() {
        let store = MemoryStore::new();
        let site = chains::chain(&store);
        let mut left = all_held(&store);
        left.retain(|point, _| ![FIRST, SECOND].map(id).contains(point));
        let rotation = rotate(&site.begin(&store, DAY_AFTER)).unwrap();
        assert_eq!((rotation.merged, rotation.unmerged), (vec![id(THIRD)], vec![]));
        assert_eq!(rotation.removed, [SECOND, FIRST].map(id));
        assert_eq!(all_held(&store), left);
        let line = Ledger::load(&store).unwrap().lines().last().unwrap().clone();
        assert_eq!((line.command, line.outcome, line.removed), (Command::Rotate, Outcome::Ok, rotation.removed));
        assert_eq!(rotate(&site.begin(&store, DAY_AFTER)).unwrap(), Rotation::default());
    }

    #[test]
    fn an_increment_can_follow_a_merged_one() {
        let store = MemoryStore::new();
        let site = chains::chain(&store);
        rotate(&site.begin(&store, DAY_AFTER)).unwrap();
        site.execute("UPDATE sessions SET kwh = 99 WHERE id = 700");
        let report = backup_incremental(&site.begin(&store, DAY_AFTER), &site.request()).unwrap();
        assert!(matches!(report, IncrementalReport::Increment(_)), "{report:?}");
        let held = all_held(&store);
        assert_ne!(held[&id(DAY_AFTER)], held[&id(NEWEST)]);
    }

    #[test]
    fn increments_that_cannot_be_merged_stay_and_the_rest_goes_on() {
        let store = MemoryStore::new();
        let site = chains::chain(&store);
        let old = site.backup(&store, "20251209_150000");
        let name = format!("sessions_db_{SECOND}.db.rdiff.zst");
        flip(&store, &name);
        let before = published(&store);
        let run = site.begin(&store, DAY_AFTER);
        let mut plan = plan(&run, &Policy::default(), None).unwrap();
        plan.decisions.iter_mut().filter(|decision| decision.id == old).for_each(|decision| decision.keep = false);
        let rotation = apply(&run, &plan).unwrap();
        assert_eq!((rotation.merged, rotation.removed), (vec![], vec![old]));
        let [failed] = &rotation.unmerged[..] else { panic!("{:?}", rotation.unmerged) };
        assert!(failed.into == id(THIRD) && failed.error.contains(&name), "{failed}");
        let left: Vec<String> = before.into_iter().filter(|name| !name.contains("20251209_150000")).collect();
        assert_eq!(published(&store), left);
        let line = Ledger::load(&store).unwrap().lines().last().unwrap().clone();
        assert_eq!((line.outcome, line.error), (Outcome::Partial, Some(failed.to_string())));
    }

    #[test]
    fn a_rotation_that_merges_can_stop_anywhere_and_the_next_one_goes_on() {
        let memory = MemoryStore::new();
        let _site = chains::chain(&memory);
        let (objects, expected) = (objects(&memory), all_held(&memory));
        let kept = [FULL, THIRD, NEWEST].map(id);
        let is_whole = |store: &dyn LocalStore| {
            let held = all_held(store);
            let is_as_before = held.iter().all(|(point, held)| expected[point] == *held);
            is_as_before && kept.iter().all(|point| held.contains_key(point))
        };
        fault_sweep(
            |_, store| fill(store, &objects),
            |site, store| drop(Run::begin(site.setup(store, DAY_AFTER), &mut |_| {}).and_then(|run| rotate(&run))),
            |site, store, fault| {
                assert!(is_whole(store), "at once: {fault}");
                rotate(&site.begin(store, DAY_AFTER)).unwrap();
                assert!(is_whole(store), "after the next rotation: {fault}");
                assert_eq!(all_held(store).len(), kept.len(), "{fault}");
                assert_clean(site, store, &kept, fault);
            },
        );
    }

    #[test]
    fn whether_backups_have_stopped_is_judged_without_the_one_just_made() {
        let site = Site::new();
        let store = MemoryStore::new();
        shelf(&site, &store);
        let later = "20260120_140000";
        let made = site.backup(&store, later);
        let run = site.begin(&store, later);
        let after_backup = plan(&run, &Policy::default(), Some(made)).unwrap();
        assert_eq!(after_backup.removals().count(), 0);
        assert_eq!(after_backup.stale.unwrap().newest, Some(id(NEW)));
        let by_itself = plan(&run, &Policy::default(), None).unwrap();
        assert_eq!(by_itself.removals().count(), 3);
    }

    #[test]
    fn two_nights_with_a_clock_that_is_years_ahead_remove_no_genuine_backup() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let nights: Vec<String> = (3..10).map(|day| format!("202512{day:02}_020000")).collect();
        let back_up_and_rotate = |now: &str| {
            let made = site.backup(&store, now);
            let run = site.begin(&store, now);
            apply(&run, &plan(&run, &Policy::default(), Some(made)).unwrap()).unwrap().removed
        };
        for night in &nights {
            assert_eq!(back_up_and_rotate(night), []);
        }
        for night in ["20360101_020000", "20360102_020000"] {
            assert_eq!(back_up_and_rotate(night), []);
        }
        let catalog = Catalog::load(&store).unwrap();
        assert!(nights.iter().all(|night| catalog.get(id(night)).is_ok()));
        let later: Vec<usize> = (3..9).map(|day| back_up_and_rotate(&format!("203601{day:02}_020000")).len()).collect();
        assert_eq!(later, [0, 0, 0, 0, 0, 7], "once there is a week of others, they go");
    }

    #[test]
    fn a_first_backup_is_no_sign_that_backups_have_stopped() {
        let site = Site::new();
        let store = MemoryStore::new();
        let made = site.backup(&store, NEW);
        let plan = plan(&site.begin(&store, NOW), &Policy::default(), Some(made)).unwrap();
        assert_eq!((plan.stale, plan.removals().count()), (None, 0));
    }

    #[test]
    fn a_backup_is_as_old_as_it_was_begun_however_far_its_id_runs_ahead() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, "20991231_140000");
        let made = [NEW, NOW].map(|now| site.back_up(&site.begin(&store, now)).unwrap().manifest.id);
        assert!(made[0] > id("20991231_140000"), "{made:?}");
        let policy = Policy { keep_days: None, keep_last: 1, ..Policy::default() };
        let plan = plan(&site.begin(&store, NOW), &policy, Some(made[1])).unwrap();
        assert_eq!(plan.removals().map(|decision| decision.id).collect::<Vec<_>>(), [made[0]]);
    }
}
