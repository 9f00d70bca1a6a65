//! What a person decides about a backup: that it is to stay, or that its collapse was intended.

use super::run::Run;
use crate::error::{Error, ErrorKind, Result};
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Line, Outcome};

/// Pins or unpins a backup of this host's own store. Returns whether that changed anything.
///
/// # Errors
/// [`ErrorKind::NoSuchBackup`] if it isn't there, or has no manifest of this project: rotation never removes that
/// anyway. [`ErrorKind::Partial`] if it is pinned now, but the ledger can't be written.
pub fn set_pinned(run: &Run<'_>, id: BackupId, pinned: bool) -> Result<bool> {
    let catalog = run.own_catalog()?;
    let entry = catalog.get(id)?;
    if entry.manifest().is_none() {
        entry.require_usable()?;
        let message = format!("backup {} has no manifest, so it can't be pinned", entry.id);
        return Err(Error::new(ErrorKind::NoSuchBackup, message).with_hint("rotation never removes it anyway"));
    }
    if entry.is_pinned(&*run.ledger()?) == pinned {
        return Ok(false);
    }
    if pinned {
        run.set_pin(id, true)?;
        let done = format!("backup {} is pinned", entry.id);
        record(run, id, Command::Pin).map_err(|e| e.unrecorded(&done))?;
    } else {
        // This line cancels a pin in a manifest of format 1. If the run is cut short after it, the pin's object still
        // counts.
        record(run, id, Command::Unpin)?;
        run.set_pin(id, false)?;
    }
    Ok(true)
}

/// Records that the collapses of a backup were intended, or takes that back. Returns whether that changed anything.
/// Only the ledger knows it: if the ledger is lost, more is kept and not less.
///
/// # Errors
/// [`ErrorKind::NoSuchBackup`] if it isn't there; [`ErrorKind::InvalidInput`] if it shows no collapse; any error of
/// writing the ledger.
pub fn set_accepted(run: &Run<'_>, id: BackupId, accepted: bool) -> Result<bool> {
    let catalog = run.own_catalog()?;
    let entry = catalog.get(id)?;
    if entry.manifest().is_none_or(|manifest| manifest.collapses.is_empty()) {
        return Err(Error::new(ErrorKind::InvalidInput, format!("backup {} shows no collapse", entry.id))
            .with_hint("`list` names those that do"));
    }
    if run.ledger()?.is_accepted(entry.id) == accepted {
        return Ok(false);
    }
    record(run, id, if accepted { Command::Accept } else { Command::Unaccept })?;
    Ok(true)
}

fn record(run: &Run<'_>, id: BackupId, command: Command) -> Result<()> {
    run.record(Line { id: Some(id), ..Line::new(run.now(), command, Outcome::Ok) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::catalog::retention::Policy;
    use crate::operation::rotate;
    use crate::record::ledger::Ledger;
    use crate::record::names;
    use crate::store::{MemoryStore, Store as _};
    use crate::testing::faults::{WatchedStore, assert_clean, fault_sweep};
    use crate::testing::fixtures::{Site, id};

    const NEW: &str = "20251210_140000";
    const NOW: &str = "20251210_150000";

    #[test]
    fn a_failing_store_leaves_a_backup_pinned_or_not() {
        fault_sweep(
            |site, store| assert_eq!(site.backup(store, NEW), id(NEW)),
            |site, store| {
                let pin = |run: Run<'_>| set_pinned(&run, id(NEW), true);
                drop(Run::begin(site.setup(store, NOW), &mut |_| {}).and_then(pin));
            },
            |site, store, fault| assert_clean(site, store, &[id(NEW)], fault),
        );
    }

    #[test]
    fn a_failing_store_lets_a_backup_be_unpinned_later() {
        let pin = |run: &Run<'_>, pinned| set_pinned(run, id(NEW), pinned);
        fault_sweep(
            |site, store| {
                site.backup(store, NEW);
                assert!(pin(&site.begin(store, NOW), true).unwrap());
            },
            |site, store| {
                drop(Run::begin(site.setup(store, NOW), &mut |_| {}).and_then(|run| pin(&run, false)));
            },
            |site, store, fault| {
                let _ = pin(&site.begin(store, NOW), false).unwrap();
                assert!(!Catalog::load(store).unwrap().get(id(NEW)).unwrap().has_pin, "{fault}");
                assert_clean(site, store, &[id(NEW)], fault);
            },
        );
    }

    #[test]
    fn a_collapse_is_accepted_in_the_ledger_alone_and_that_can_be_taken_back() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.execute(
            "WITH RECURSIVE n(x) AS (SELECT 4 UNION ALL SELECT x + 1 FROM n WHERE x < 500)
                      INSERT INTO sessions SELECT x, 0.5 FROM n",
        );
        let before = site.backup(&store, "20251208_140000");
        site.execute("DELETE FROM sessions");
        let shows = site.backup(&store, "20251209_140000");
        site.backup(&store, NEW);
        let watched = WatchedStore::new(&store);
        let run = site.begin(&watched, NOW);
        let accept = |id, accepted| set_accepted(&run, id, accepted);
        let policy = Policy { keep_days: Some(0), ..Policy::default() };
        let removed = || -> Vec<BackupId> {
            rotate::plan(&run, &policy, None).unwrap().removals().map(|decision| decision.id).collect()
        };
        assert_eq!(removed(), []);
        assert_eq!([false, true, true].map(|accepted| accept(shows, accepted).unwrap()), [false, true, false]);
        assert_eq!(removed(), [shows, before]);
        assert!(accept(shows, false).unwrap());
        assert_eq!(removed(), []);
        assert_eq!(watched.changes(), [format!("append {}", names::LEDGER), format!("append {}", names::LEDGER)]);
        assert_eq!(accept(before, true).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_pin_is_put_once_and_only_beside_a_manifest() {
        let site = Site::new();
        let store = MemoryStore::new();
        let made = site.backup(&store, NEW);
        let watched = WatchedStore::new(&store);
        let run = site.begin(&watched, NOW);
        let pin = |pinned| set_pinned(&run, made, pinned).unwrap();
        assert_eq!([pin(false), pin(true), pin(true), pin(false)], [false, true, false, true]);
        let changed = |verb: &str| watched.changes().iter().filter(|call| call.starts_with(verb)).count();
        assert_eq!([changed("put"), changed("remove"), changed("append")], [1, 1, 2]);
        let line = Ledger::load(&store).unwrap().lines().last().unwrap().clone();
        assert_eq!((line.command, line.id), (Command::Unpin, Some(made)));
        drop(run);
        store.remove(&names::manifest(made)).unwrap();
        let error = set_pinned(&site.begin(&store, NOW), made, true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchBackup);
    }
}
