//! Why a backup isn't fit for what is asked for.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset};

use crate::catalog::entry::{Entry, Inherited, LostPart, Record};
use crate::catalog::list::Catalog;
use crate::record::id::BackupId;
use crate::record::ledger::Ledger;
use crate::record::manifest::Status;

/// Why a backup isn't fit for what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Objection {
    /// The run saved nothing.
    Failed,
    /// Its manifest can't be read.
    Unreadable,
    /// It did not pass its last verify or drill.
    FoundDamaged,
    /// A stored file, its own or one that it is based on, is missing or has another size than recorded.
    FileLost {
        /// The file.
        file: String,
    },
    /// A database in it was damaged when it was saved.
    SavedDamaged {
        /// The database.
        name: String,
    },
    /// It is an increment, and a backup that it is based on is missing or can't be read.
    PartMissing {
        /// That backup.
        id: BackupId,
    },
    /// It is an increment, and a backup that it is based on was found damaged.
    PartDamaged {
        /// That backup.
        id: BackupId,
    },
    /// It lacks a part of what was asked for.
    Lacks {
        /// What it lacks.
        names: Vec<String>,
    },
}

/// What is known against the backups of a catalog.
pub struct Objections<'a> {
    ledger: &'a Ledger,
    /// For each increment, the newest backup that it is based on with files that were found damaged.
    damaged: BTreeMap<BackupId, Damage>,
}

/// A backup with files that were found damaged, and when.
#[derive(Clone, Copy)]
struct Damage {
    id: BackupId,
    at: DateTime<FixedOffset>,
}

impl Catalog {
    /// What catalog and `ledger` have against its backups.
    pub fn objections<'a>(&self, ledger: &'a Ledger) -> Objections<'a> {
        let mut damaged = BTreeMap::new();
        for entry in &self.entries {
            let Some(parent) = entry.parent() else { continue };
            let own = ledger.damaged_at(parent).map(|at| Damage { id: parent, at });
            let Some(damage) = own.or_else(|| damaged.get(&parent).copied()) else { continue };
            // A later proof has read all that this one and those on it need of the older ones.
            if ledger.last_proved(entry.id).is_none_or(|at| at < damage.at) {
                damaged.insert(entry.id, damage);
            }
        }
        Objections { ledger, damaged }
    }
}

impl Objections<'_> {
    /// Whether a backup is whole, and its last verify or drill, if any, did not fail, nor that of a part that it is
    /// based on.
    pub fn seems_sound(&self, entry: &Entry) -> bool {
        let is_damaged = |inherited| self.damaged_part(entry, inherited).is_some();
        entry.is_whole() && !self.ledger.is_known_bad(entry.id) && !entry.inherited.iter().any(is_damaged)
    }

    /// Why a backup isn't fit for `wanted`; `None` if it holds all of that and nothing is known against it. If nothing
    /// in particular is wanted, it has to hold something.
    pub fn against(&self, entry: &Entry, wanted: &[String]) -> Option<Objection> {
        match &entry.record {
            Record::Unreadable(_) => return Some(Objection::Unreadable),
            Record::Manifest(summary) if summary.status == Status::Failed => return Some(Objection::Failed),
            _ if self.ledger.is_known_bad(entry.id) => return Some(Objection::FoundDamaged),
            _ => {}
        }
        let is_wanted = |name: &String| wanted.is_empty() || wanted.contains(name);
        let own = entry.files.iter().filter(|file| is_wanted(&file.name)).find_map(|file| match &file.recorded {
            _ if !file.is_whole() => Some(Objection::FileLost { file: file.file.clone() }),
            None if file.is_stray_delta() => Some(Objection::Lacks { names: vec![file.name.clone()] }),
            Some(recorded) if recorded.is_damaged => Some(Objection::SavedDamaged { name: file.name.clone() }),
            _ => None,
        });
        let mut inherited = entry.inherited.iter().filter(|inherited| is_wanted(&inherited.name));
        own.or_else(|| inherited.find_map(|inherited| self.against_inherited(entry, inherited))).or_else(|| {
            let names: Vec<String> = wanted.iter().filter(|name| !entry.answers_for(name)).cloned().collect();
            (!names.is_empty() || entry.is_empty()).then_some(Objection::Lacks { names })
        })
    }

    fn against_inherited(&self, entry: &Entry, inherited: &Inherited) -> Option<Objection> {
        match &inherited.lost {
            Some(LostPart::Backup(id)) => return Some(Objection::PartMissing { id: *id }),
            Some(LostPart::File(file)) => return Some(Objection::FileLost { file: file.clone() }),
            Some(LostPart::NeverThere) => return Some(Objection::Lacks { names: vec![inherited.name.clone()] }),
            None if inherited.is_damaged => return Some(Objection::SavedDamaged { name: inherited.name.clone() }),
            None => {}
        }
        self.damaged_part(entry, inherited).map(|id| Objection::PartDamaged { id })
    }

    /// The damaged backup that it is based on, if the increment needs something of that.
    fn damaged_part(&self, entry: &Entry, inherited: &Inherited) -> Option<BackupId> {
        self.damaged.get(&entry.id).map(|damage| damage.id).filter(|id| *id >= inherited.from)
    }
}

impl Entry {
    /// Whether it holds the whole of that database or set of files. A set without any file at that time counts as held,
    /// unless an earlier backup holds one: then the run failed to save it.
    pub(crate) fn answers_for(&self, name: &str) -> bool {
        let is_in = |names: &[String]| names.iter().any(|other| other == name);
        let (failed, absent) = self.manifest().map_or((&[][..], &[][..]), |it| (&it.failed, &it.absent));
        !is_in(failed) && (is_in(absent) || self.holds(name))
    }
}
