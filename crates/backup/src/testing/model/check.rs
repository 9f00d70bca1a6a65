//! Comparing a world with the model after each step.

use std::collections::BTreeSet;
use std::fs;

use super::expected::{Backup, Content};
use super::steps::Command;
use super::world::{SOME_DAY, World, content};
use crate::catalog::{Catalog, Entry};
use crate::operation::look::Look;
use crate::operation::restore;
use crate::operation::session::Session;
use crate::record::digest::Digest;
use crate::record::id::BackupId;
use crate::record::ledger::Ledger;
use crate::record::manifest::{Status, Trigger};
use crate::record::names;
use crate::testing::fixtures::{published, staged};

impl World {
    /// Checks what a command has done, and takes it over into the model. That must be exactly what the command had to
    /// do, or anything between that and nothing if it `was_cut` short.
    pub fn take_over(&mut self, command: &Command, was_cut: bool) {
        let catalog = Catalog::load(&self.store).unwrap();
        if !was_cut {
            self.assert_tidy(command, &catalog);
        }
        self.take_over_removals(command, &catalog);
        let added = self.take_over_added(command, was_cut, &catalog);
        self.take_over_live(command, was_cut, added);
        let ledger = Ledger::load(&self.store).unwrap();
        match command {
            Command::Pin(id, pinned) => {
                let found = catalog.get(*id).unwrap().is_pinned(&ledger);
                assert!(was_cut || found == *pinned);
                self.expected.backups.get_mut(id).unwrap().pinned = found;
            }
            Command::Verify(id) | Command::Drill(id) => {
                let doubted = !catalog.objections(&ledger).seems_sound(catalog.get(*id).unwrap());
                let backup = self.expected.backups.get_mut(id).unwrap();
                backup.doubted = if was_cut { doubted } else { backup.damaged };
            }
            // It reports the damage that it reads. It doesn't read the other parts.
            Command::Restore(_) | Command::Undo => {
                for (id, backup) in self.expected.backups.iter_mut().filter(|(_, backup)| backup.damaged) {
                    let objections = catalog.objections(&ledger);
                    backup.doubted |= catalog.get(*id).is_ok_and(|entry| !objections.seems_sound(entry));
                }
            }
            _ => {}
        }
    }

    /// Asserts that the store holds nothing that belongs to no backup.
    fn assert_tidy(&self, command: &Command, catalog: &Catalog) {
        assert_eq!(staged(&self.store), Vec::<String>::new());
        let files = |entry: &Entry| {
            entry.files.iter().filter(|file| file.bytes.is_some()).map(|file| file.file.clone()).collect::<Vec<_>>()
        };
        let mut names: Vec<String> = catalog.entries().iter().flat_map(files).collect();
        names.extend(catalog.entries().iter().map(|entry| names::manifest(entry.id)));
        names.extend(catalog.entries().iter().filter(|entry| entry.has_pin).map(|entry| names::pin(entry.id)));
        names.sort();
        assert_eq!(published(&self.store), names);
        // A restore of the configuration alone doesn't touch the database.
        if self.expected.live_after(command).database != self.expected.live.database {
            assert!(!self.site.root().join(".sessions.db.restoring").exists());
        }
    }

    fn take_over_removals(&mut self, command: &Command, catalog: &Catalog) {
        let untouchable = match command {
            Command::Rotate(policy) => self.expected.untouchable(policy, self.now),
            _ => self.expected.backups.keys().copied().collect(),
        };
        let gone: Vec<BackupId> =
            self.expected.backups.keys().copied().filter(|id| catalog.get(*id).is_err()).collect();
        for id in gone {
            assert!(!untouchable.contains(&id), "{id} is gone");
            self.expected.backups.remove(&id);
        }
    }

    fn take_over_added(&mut self, command: &Command, was_cut: bool, catalog: &Catalog) -> Option<BackupId> {
        let expected = &mut self.expected;
        let is_new = |entry: &&Entry| !expected.backups.contains_key(&entry.id);
        let added: Vec<&Entry> = catalog.entries().iter().filter(is_new).collect();
        let makes = match command {
            Command::Backup => Some(expected.live.clone()),
            _ => Some(expected.replaced_by(command)).filter(|replaced| !replaced.is_nothing()),
        };
        assert!(added.len() == usize::from(makes.is_some()) || was_cut && added.is_empty(), "{added:?}");
        let entry = added.first()?;
        let manifest = entry.manifest().unwrap();
        let has = |name: &str| entry.files.iter().any(|file| file.name == name);
        let holds = Content {
            database: expected.live.database.clone().filter(|_| has("sessions_db")),
            config: expected.live.config.clone().filter(|_| has("config")),
        };
        assert!(was_cut || Some(&holds) == makes.as_ref());
        assert_eq!(manifest.status == Status::Failed, holds.is_nothing());
        assert!(expected.used.insert(entry.id), "{} was another backup's id", entry.id);
        assert!(expected.backups.keys().all(|id| *id < entry.id), "{} comes before others", entry.id);
        let backup = Backup {
            at: entry.created_at().to_utc(),
            holds,
            partial: manifest.status != Status::Complete,
            pre_restore: manifest.trigger == Trigger::PreRestore,
            pinned: entry.has_pin,
            damaged: false,
            doubted: false,
        };
        assert_eq!(backup.pre_restore, !matches!(command, Command::Backup));
        expected.backups.insert(entry.id, backup);
        Some(entry.id)
    }

    fn take_over_live(&mut self, command: &Command, was_cut: bool, added: Option<BackupId>) {
        let wanted = self.expected.live_after(command);
        let found = content(self.site.root());
        if was_cut {
            assert!(found.is_made_of([&self.expected.live, &wanted]), "{found:?}");
            self.take_over_undo(&found, added);
        } else {
            assert_eq!(found, wanted);
            if matches!(command, Command::Restore(_) | Command::Undo) && self.expected.outcome(command).is_ok() {
                self.expected.undo = added;
            }
        }
        self.expected.live = found;
    }

    /// After a restore that may have been cut short, the undo must bring back all that has changed.
    fn take_over_undo(&mut self, found: &Content, added: Option<BackupId>) {
        let ledger = Ledger::load(&self.store).unwrap();
        let undo = restore::undo(&ledger, self.site.root()).ok();
        let lost = self.expected.live.but_for(found);
        if !lost.is_nothing() {
            let kept = &self.expected.backups[&undo.expect("an undo")];
            assert!(undo == added && lost.is_part_of(&kept.holds), "{lost:?} is lost");
        }
        assert!(undo == added || undo == self.expected.undo);
        self.expected.undo = undo;
    }

    /// Asserts what must always hold.
    pub fn check(&mut self) {
        assert_eq!(content(self.site.root()), self.expected.live);
        let catalog = Catalog::load(&self.store).unwrap();
        let ledger = Ledger::load(&self.store).unwrap();
        let listed: BTreeSet<BackupId> = catalog.entries().iter().map(|entry| entry.id).collect();
        assert_eq!(listed, self.expected.backups.keys().copied().collect());
        for entry in catalog.entries() {
            assert!(entry.manifest().is_some(), "{entry:?}");
            let backup = &self.expected.backups[&entry.id];
            assert_eq!(entry.is_pinned(&ledger), backup.pinned);
            assert_eq!(catalog.objections(&ledger).seems_sound(entry), !backup.doubted && !backup.partial);
        }
        let whole: Vec<&Entry> = catalog.entries().iter().filter(|entry| self.is_restorable(entry.id)).collect();
        for entry in whole {
            self.prove(entry);
        }
    }

    fn is_restorable(&self, id: BackupId) -> bool {
        let backup = &self.expected.backups[&id];
        !backup.damaged && !backup.holds.is_nothing()
    }

    /// Restores a backup into a scratch folder, unless its files haven't changed since the last time.
    fn prove(&mut self, entry: &Entry) {
        let mut bytes = Vec::new();
        for name in entry.files.iter().map(|file| file.file.clone()).chain([names::manifest(entry.id)]) {
            bytes.extend(fs::read(self.store.folder().join(name)).unwrap());
        }
        let found = Digest::of(&bytes);
        if self.proved.get(&entry.id) != Some(&found) {
            let look = Look::new(self.site.setup(&self.store, SOME_DAY)).unwrap();
            self.drill(&Session::Unrecorded(look), entry).unwrap();
            self.proved.insert(entry.id, found);
        }
    }
}
