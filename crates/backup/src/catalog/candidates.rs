//! The candidates of a catalog: what retention has to know.

use std::collections::BTreeSet;

use super::entry::{Entry, ListedFile, Record, Stranger};
use super::list::Catalog;
use super::retention::{Candidate, Standing};
use super::select::Objections;
use crate::record::ledger::Ledger;
use crate::record::manifest::{Status, Trigger};
use crate::record::names::Kind;

impl Catalog {
    /// All backups as retention sees them. A backup doesn't count as holding a database that it saved damaged, unless
    /// no sound copy of it exists. A backup that lacks a file, or that failed its last verify or drill, counts as
    /// partial: it must not take the place of a sound one.
    pub fn candidates(&self, ledger: &Ledger) -> Vec<Candidate> {
        let objections = self.objections(ledger);
        let only_damaged = self.only_damaged(&objections);
        let candidate = |entry: &Entry| {
            let mut candidate = entry.candidate(ledger);
            candidate.holds.extend(saved_damaged(entry).filter(|name| only_damaged.contains(name)).map(Into::into));
            if candidate.standing == Standing::Complete && !objections.seems_sound(entry) {
                candidate.standing = Standing::Partial;
            }
            candidate
        };
        self.entries.iter().map(candidate).collect()
    }

    /// Databases whose copies are all damaged.
    fn only_damaged(&self, objections: &Objections<'_>) -> BTreeSet<&str> {
        let mut names: BTreeSet<&str> = self.entries.iter().flat_map(saved_damaged).collect();
        names.retain(|name| {
            let wanted = [(*name).to_string()];
            self.entries.iter().all(|entry| objections.against(entry, &wanted).is_some())
        });
        names
    }
}

/// Databases in it that were damaged when they were saved.
fn saved_damaged(entry: &Entry) -> impl Iterator<Item = &str> {
    entry.files.iter().filter(|file| file.is_saved_damaged()).map(|file| file.name.as_str())
}

impl Entry {
    fn candidate(&self, ledger: &Ledger) -> Candidate {
        let manifest = self.manifest();
        let standing = match (&self.record, manifest.map(|manifest| manifest.status)) {
            (Record::Unreadable(_), _) => Standing::Unreadable,
            (Record::Another(_, Stranger::Project), _) => Standing::AnotherProject,
            (Record::Another(_, Stranger::Host), _) => Standing::AnotherHost,
            (_, Some(Status::Complete)) => Standing::Complete,
            (_, Some(Status::Partial)) => Standing::Partial,
            (_, Some(Status::Failed)) => Standing::Failed,
            (_, None) => Standing::NoManifest,
        };
        Candidate {
            id: self.id,
            at: self.created_at().to_utc(),
            standing,
            trigger: manifest.map_or(Trigger::Manual, |manifest| manifest.trigger),
            pinned: self.is_pinned(ledger),
            parent: self.parent(),
            holds: self.held_names().map(str::to_string).collect(),
            paths: manifest.iter().flat_map(|_| self.paths()).map(|path| path.as_str().to_string()).collect(),
            collapses: manifest.map(|manifest| manifest.collapses.clone()).unwrap_or_default(),
            accepted: ledger.is_accepted(self.id),
            can_merge: self.can_merge(ledger),
        }
    }

    fn can_merge(&self, ledger: &Ledger) -> bool {
        let is_fit = |file: &ListedFile| file.is_whole() && matches!(file.kind, Kind::Increment | Kind::Files);
        let is_increment = self.manifest().is_some_and(|manifest| manifest.parent.is_some());
        is_increment && self.files.iter().all(is_fit) && ledger.damaged_at(self.id).is_none()
    }

    /// Names of the databases and sets of files in it, except for damaged databases.
    pub(super) fn held_names(&self) -> impl Iterator<Item = &str> {
        let is_one = |file: &&ListedFile| !file.kind.is_beside_database() && !file.is_saved_damaged();
        let is_own = |name: &str| self.files.iter().any(|file| file.name == name);
        let inherited = self.inherited.iter().filter(move |it| !it.is_damaged && !is_own(&it.name));
        let own = self.files.iter().filter(is_one).map(|file| file.name.as_str());
        own.chain(inherited.map(|inherited| inherited.name.as_str()))
    }
}
