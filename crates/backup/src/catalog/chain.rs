//! Chains: a full backup and the increments on it, and what a point of one holds.
//!
//! A manifest names the artifacts that its own run stored. What an increment doesn't store whole, it holds as its parent
//! does: a database or set of files that didn't change, or a database whose delta it stores. So what a point holds is
//! found from the full backup onwards, one increment after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::{Entry, Inherited, ListedFile, LostPart, Record};
use super::list::Catalog;
use crate::artifact::StoredFile;
use crate::error::{Advice, Error, ErrorKind, Result};
use crate::record::id::BackupId;
use crate::record::ledger::Ledger;
use crate::record::manifest::Trigger;
use crate::record::names::Kind;
use crate::record::selection::Selection;
use crate::store::Store;

impl Catalog {
    /// Finds what each increment inherits. A parent is older than its increments, so one pass does it.
    pub(super) fn link(&mut self) {
        for at in 0..self.entries.len() {
            let (older, newer) = self.entries.split_at_mut(at);
            let entry = &mut newer[0];
            let Some(parent) = entry.parent() else { continue };
            let found = older.binary_search_by_key(&parent, |older| older.id).ok().map(|at| &older[at]);
            let found = found.filter(|parent| parent.any_manifest().is_some());
            let inherited = inherited(entry, parent, found);
            let same = found.map(|parent| &parent.inherited).filter(|of_parent| of_parent[..] == inherited[..]);
            entry.inherited = same.map_or_else(|| inherited.into(), Arc::clone);
            if let Some(parent) = found {
                inherit_absence(entry, parent);
            }
        }
    }

    /// The backups that a point is restored from: the full one first, itself last.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] if one of them is missing, or has a manifest that can't be read.
    pub fn chain<'c>(&'c self, entry: &'c Entry) -> Result<Vec<&'c Entry>> {
        self.chain_since(entry, None)
    }

    /// For each backup the first one of its chain: the full one, or the oldest increment whose parent can't be read.
    pub fn firsts(&self) -> BTreeMap<BackupId, BackupId> {
        let mut firsts = BTreeMap::new();
        for entry in &self.entries {
            let parent = entry.parent().filter(|parent| self.get(*parent).is_ok_and(|it| it.any_manifest().is_some()));
            let first = parent.and_then(|parent| firsts.get(&parent).copied()).unwrap_or(entry.id);
            firsts.insert(entry.id, first);
        }
        firsts
    }

    /// The part of a chain from the backup `first` on.
    fn chain_since<'c>(&'c self, entry: &'c Entry, first: Option<BackupId>) -> Result<Vec<&'c Entry>> {
        let mut chain = vec![entry];
        let mut oldest = entry;
        while let Some(parent) = oldest.parent().filter(|_| Some(oldest.id) > first) {
            let found = self.get(parent).ok().filter(|found| found.any_manifest().is_some());
            oldest = found.ok_or_else(|| missing(oldest.id, parent))?;
            chain.push(oldest);
        }
        chain.reverse();
        Ok(chain)
    }

    /// The newest backup before the backup `damaged` that holds all that `entry` does, with nothing known against it.
    pub(crate) fn sound_before(&self, entry: &Entry, damaged: BackupId, ledger: &Ledger) -> Option<BackupId> {
        let objections = self.objections(ledger);
        let wanted: Vec<String> = entry.held_names().map(str::to_string).collect();
        let is_ordinary = |it: &&Entry| it.manifest().is_some_and(|summary| summary.trigger != Trigger::PreRestore);
        let mut older = self.entries.iter().rev().filter(|older| older.id < damaged.min(entry.id)).filter(is_ordinary);
        older.find(|older| objections.against(older, &wanted).is_none()).map(|older| older.id)
    }

    /// The stored files that a backup is read from, with all that their manifests say about them: of an increment also
    /// those that it inherits, and with each database the deltas on it. Of those that it inherits, only the selected ones.
    ///
    /// # Errors
    /// As [`Entry::read_manifest`], and as [`Catalog::chain`].
    pub(crate) fn stored_files(
        &self,
        entry: &Entry,
        store: &dyn Store,
        selection: Selection,
    ) -> Result<Vec<StoredFile>> {
        let inherited = || entry.inherited.iter().filter(|inherited| is_selected(inherited, selection));
        let Some(first) = inherited().map(|inherited| inherited.from).min() else {
            let mut own = entry.own_stored_files(store)?;
            own.retain(|file| file.kind != Kind::Increment);
            return Ok(own);
        };
        let mut point = Vec::new();
        for part in self.chain_since(entry, Some(first))? {
            add_part(&mut point, part, store)?;
        }
        let is_own = |name: &str| entry.files.iter().any(|file| file.name == name && file.kind != Kind::Increment);
        point.retain(|file| is_own(&file.name) || inherited().any(|inherited| inherited.name == file.name));
        match inherited().find(|inherited| !point.iter().any(|file| file.name == inherited.name)) {
            Some(lost) => Err(never_there(entry.id, &lost.name)),
            None => Ok(point),
        }
    }
}

/// If its backup is missing, it isn't known what kind of thing it is.
fn is_selected(inherited: &Inherited, selection: Selection) -> bool {
    let is_unknown = inherited.kind == Kind::Files && matches!(inherited.lost, Some(LostPart::Backup(_)));
    is_unknown || selection.takes(inherited.kind)
}

/// Makes the files of a point those of the next point.
fn add_part(point: &mut Vec<StoredFile>, part: &Entry, store: &dyn Store) -> Result<()> {
    point.retain(|file| part.inherits(&file.name).is_some());
    for file in part.own_stored_files(store)? {
        if file.kind != Kind::Increment {
            point.push(file);
        } else if let Some(base) = point.iter_mut().find(|it| it.kind == Kind::Database && it.name == file.name) {
            base.increments.push(file);
        }
    }
    Ok(())
}

/// What an increment holds beside its own whole copies. Its parent may be missing.
fn inherited(entry: &Entry, parent_id: BackupId, parent: Option<&Entry>) -> Vec<Inherited> {
    let delta = |name: &str| entry.files.iter().find(|file| file.kind == Kind::Increment && file.name == name);
    let unchanged = entry.any_manifest().map_or(&[][..], |summary| &summary.unchanged);
    let deltas = entry.files.iter().filter(|file| file.kind == Kind::Increment).map(|file| &file.name);
    let names = deltas.chain(unchanged.iter().filter(|name| delta(name).is_none()));
    let inherit = |name: &String| {
        let held = parent.and_then(|parent| held(parent, name, delta(name).is_some()));
        let is_absent = parent.and_then(Entry::any_manifest).is_some_and(|summary| summary.absent.contains(name));
        if held.is_none() && is_absent {
            return None;
        }
        let mut inherited = held.unwrap_or_else(|| unknown(name, parent_id, parent.is_some()));
        if let Some(delta) = delta(name) {
            inherited.kind = Kind::Database;
            let lost = (!delta.is_whole()).then(|| LostPart::File(delta.file.clone()));
            inherited.lost = inherited.lost.or(lost);
        }
        Some(inherited)
    };
    let mut inherited: Vec<Inherited> = names.filter_map(inherit).collect();
    inherited.sort_by(|a, b| a.name.cmp(&b.name));
    inherited
}

/// What a backup holds of a database or set of files, as an increment on it inherits that.
fn held(parent: &Entry, name: &str, is_database: bool) -> Option<Inherited> {
    let is_it = |file: &&ListedFile| file.name == name && matches!(file.kind, Kind::Database | Kind::Files);
    let own = parent.files.iter().filter(is_it).find(|file| !is_database || file.kind == Kind::Database);
    let whole = own.map(|file| Inherited {
        name: file.name.clone(),
        kind: file.kind,
        from: parent.id,
        paths: Arc::clone(&file.paths),
        is_damaged: file.is_saved_damaged(),
        lost: (!file.is_whole()).then(|| LostPart::File(file.file.clone())),
    });
    whole.or_else(|| parent.inherits(name).cloned())
}

/// Something that an increment inherits from a backup that isn't there, or doesn't hold it.
fn unknown(name: &str, parent: BackupId, is_there: bool) -> Inherited {
    Inherited {
        name: name.to_string(),
        kind: Kind::Files,
        from: parent,
        paths: Arc::default(),
        is_damaged: false,
        lost: Some(if is_there { LostPart::NeverThere } else { LostPart::Backup(parent) }),
    }
}

/// Sets of files that had no file at the parent, and are unchanged, have none.
fn inherit_absence(entry: &mut Entry, parent: &Entry) {
    let absent = parent.any_manifest().map_or(&[][..], |summary| &summary.absent);
    if let Record::Manifest(summary) | Record::Another(summary, _) = &mut entry.record {
        let more = absent.iter().filter(|name| summary.unchanged.contains(name) && !summary.absent.contains(name));
        let more: Vec<String> = more.cloned().collect();
        summary.absent.extend(more);
    }
}

fn missing(increment: BackupId, parent: BackupId) -> Error {
    let message = format!("backup {increment} is an increment on {parent}, which is missing or can't be read");
    Error::new(ErrorKind::Damaged, message).with_advice(Advice::RestoreAnother)
}

fn never_there(increment: BackupId, name: &str) -> Error {
    let message = format!("backup {increment} is an increment, and no backup that it is based on holds {name}");
    Error::new(ErrorKind::Damaged, message).with_advice(Advice::RestoreAnother)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::select::{Objection, Selector};
    use crate::record::ledger::{Command, Line, Outcome};
    use crate::record::names;
    use crate::store::{LocalStore, MemoryStore};
    use crate::testing::fixtures::{Site, append, id, publish};

    const FULL: &str = "20251210_140000";
    const FIRST: &str = "20251210_140100";
    const SECOND: &str = "20251210_140200";
    const THIRD: &str = "20251210_140300";
    const FIRST_DELTA: &str = "sessions_db_20251210_140100.db.rdiff.zst";

    /// A full backup; an increment of the database, one of the configuration, one of the database.
    fn chain(store: &dyn LocalStore) -> Site {
        let mut site = Site::new();
        site.base(store, FULL);
        site.execute("INSERT INTO sessions(kwh) VALUES (4)");
        site.increment(store, FIRST);
        std::fs::write(site.root().join(".env"), "PORT=8081\n").unwrap();
        site.increment(store, SECOND);
        site.execute("INSERT INTO sessions(kwh) VALUES (5)");
        site.increment(store, THIRD);
        site
    }

    fn objection(store: &dyn LocalStore, at: &str, wanted: &[&str]) -> Option<Objection> {
        let (catalog, ledger) = (Catalog::load(store).unwrap(), Ledger::load(store).unwrap());
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        catalog.objections(&ledger).against(catalog.get(id(at)).unwrap(), &wanted)
    }

    /// The stored files of a backup, each with its increments.
    fn files(catalog: &Catalog, store: &dyn Store, at: &str) -> Vec<Vec<String>> {
        let files = catalog.stored_files(catalog.get(id(at)).unwrap(), store, Selection::ALL).unwrap();
        files.iter().map(|file| file.parts().map(|part| part.file.clone()).collect()).collect()
    }

    #[test]
    fn a_point_is_the_newest_whole_copy_of_each_thing_and_the_deltas_since() {
        let store = MemoryStore::new();
        chain(&store);
        let catalog = Catalog::load(&store).unwrap();
        let base = "sessions_db_20251210_140000.db.zst";
        let [old, new] = ["config_20251210_140000.tar.zst", "config_20251210_140200.tar.zst"];
        let third = "sessions_db_20251210_140300.db.rdiff.zst";
        assert_eq!(files(&catalog, &store, FULL), [vec![base], vec![old]]);
        assert_eq!(files(&catalog, &store, FIRST), [vec![base, FIRST_DELTA], vec![old]]);
        assert_eq!(files(&catalog, &store, SECOND), [vec![base, FIRST_DELTA], vec![new]]);
        assert_eq!(files(&catalog, &store, THIRD), [vec![base, FIRST_DELTA, third], vec![new]]);
        let ids = |at| catalog.chain(catalog.get(id(at)).unwrap()).unwrap().iter().map(|it| it.id).collect::<Vec<_>>();
        assert_eq!(ids(SECOND), [FULL, FIRST, SECOND].map(id));
        assert_eq!(ids(FULL), [id(FULL)]);
    }

    #[test]
    fn a_point_answers_for_what_it_inherits() {
        let store = MemoryStore::new();
        chain(&store);
        let catalog = Catalog::load(&store).unwrap();
        for at in [FULL, FIRST, SECOND, THIRD] {
            let entry = catalog.get(id(at)).unwrap();
            assert!(
                entry.answers_for("sessions_db") && entry.answers_for("config") && !entry.answers_for("logs"),
                "{at}"
            );
            assert!(entry.is_whole() && entry.paths().map(ToString::to_string).eq([".env"]), "{at}");
            let mut held = catalog.candidates(&Ledger::default()).into_iter().find(|it| it.id == id(at)).unwrap().holds;
            held.sort();
            assert_eq!(held, ["config", "sessions_db"], "{at}");
        }
        let newest = catalog.select(&Selector::Latest, &["sessions_db".into(), "config".into()], &Ledger::default());
        assert_eq!(newest.unwrap().entry.id, id(THIRD));
    }

    #[test]
    fn a_lost_part_speaks_against_the_points_that_need_it() {
        let store = MemoryStore::new();
        chain(&store);
        store.remove(FIRST_DELTA).unwrap();
        let lost = Some(Objection::FileLost { file: FIRST_DELTA.into() });
        assert_eq!(objection(&store, FULL, &[]), None);
        for at in [FIRST, SECOND, THIRD] {
            assert_eq!(objection(&store, at, &[]), lost, "{at}");
            assert_eq!(objection(&store, at, &["sessions_db"]), lost, "{at}");
            assert_eq!(objection(&store, at, &["config"]), None, "{at}");
        }
    }

    #[test]
    fn a_missing_backup_speaks_against_the_points_on_it_and_is_named() {
        for unreadable in [false, true] {
            let store = MemoryStore::new();
            chain(&store);
            let manifest = names::manifest(id(FIRST));
            if unreadable {
                publish(&store, &manifest, b"{");
            } else {
                store.remove(&manifest).unwrap();
                store.remove(FIRST_DELTA).unwrap();
            }
            let missing = Some(Objection::PartMissing { id: id(FIRST) });
            assert_eq!(objection(&store, FULL, &[]), None);
            assert_eq!(objection(&store, SECOND, &[]), missing);
            assert_eq!(objection(&store, THIRD, &["sessions_db"]), missing);
            assert_eq!(objection(&store, THIRD, &["config"]), None, "the second increment has all of it");
            let catalog = Catalog::load(&store).unwrap();
            let third = catalog.get(id(THIRD)).unwrap();
            let error = catalog.chain(third).unwrap_err();
            let message = format!("backup {SECOND} is an increment on {FIRST}, which is missing or can't be read");
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::Damaged, message.clone()));
            assert_eq!(catalog.stored_files(third, &store, Selection::ALL).unwrap_err().to_string(), message);
            let config = Selection { databases: false, ..Selection::ALL };
            assert_eq!(catalog.stored_files(third, &store, config).unwrap().len(), 1);
        }
    }

    #[test]
    fn a_delta_without_its_manifest_is_no_backup_of_anything() {
        let store = MemoryStore::new();
        chain(&store);
        store.remove(&names::manifest(id(THIRD))).unwrap();
        let lacks = Some(Objection::Lacks { names: vec!["sessions_db".into()] });
        assert_eq!(objection(&store, THIRD, &["sessions_db"]), lacks);
        assert_eq!(objection(&store, THIRD, &[]), lacks);
        let catalog = Catalog::load(&store).unwrap();
        assert_eq!(catalog.select(&Selector::Latest, &[], &Ledger::default()).unwrap().entry.id, id(SECOND));
    }

    #[test]
    fn chains_are_told_apart_by_their_first_backup() {
        let store = MemoryStore::new();
        let site = chain(&store);
        site.backup(&store, "20251210_150000");
        let firsts = |store| Catalog::load(store).unwrap().firsts().into_values().collect::<Vec<_>>();
        let newer = "20251210_150000";
        assert_eq!(firsts(&store), [FULL, FULL, FULL, FULL, newer].map(id));
        publish(&store, &names::manifest(id(FIRST)), b"{");
        assert_eq!(firsts(&store), [FULL, FIRST, SECOND, SECOND, newer].map(id));
    }

    /// A line that a proof of `of` found a file of `damaged` damaged, or nothing, this many minutes after all backups.
    fn proof(of: &str, damaged: Option<&str>, minute: i64) -> Line {
        let outcome = if damaged.is_some() { Outcome::Failed } else { Outcome::Ok };
        let at = id(THIRD).time().fixed_offset() + chrono::TimeDelta::minutes(minute);
        Line { id: Some(id(of)), damaged: damaged.map(id), ..Line::new(at, Command::Verify, outcome) }
    }

    #[test]
    fn damage_that_a_proof_found_speaks_against_the_points_on_it_until_a_later_proof() {
        let store = MemoryStore::new();
        chain(&store);
        append(&store, &proof(THIRD, Some(FIRST), 1));
        let part = Some(Objection::PartDamaged { id: id(FIRST) });
        assert_eq!(objection(&store, FULL, &[]), None);
        assert_eq!(objection(&store, FIRST, &[]), Some(Objection::FoundDamaged));
        assert_eq!(objection(&store, SECOND, &["sessions_db"]), part);
        assert_eq!(objection(&store, SECOND, &["config"]), None);
        assert_eq!(objection(&store, THIRD, &[]), Some(Objection::FoundDamaged));
        append(&store, &proof(SECOND, None, 2));
        append(&store, &proof(THIRD, None, 3));
        assert_eq!(objection(&store, SECOND, &[]), None);
        assert_eq!(objection(&store, THIRD, &[]), None);
        assert_eq!(objection(&store, FIRST, &[]), Some(Objection::FoundDamaged));
        append(&store, &proof(SECOND, Some(SECOND), 4));
        assert_eq!(objection(&store, THIRD, &[]), Some(Objection::PartDamaged { id: id(SECOND) }));
        append(&store, &proof(FIRST, None, 5));
        assert_eq!(objection(&store, FIRST, &[]), None);
    }
}
