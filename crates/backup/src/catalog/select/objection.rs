//! Why a backup isn't fit for what is asked for.

use crate::catalog::entry::{Entry, Record};
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
    /// A stored file is missing or has another size than recorded.
    FileLost {
        /// The file.
        file: String,
    },
    /// A database in it was damaged when it was saved.
    SavedDamaged {
        /// The database.
        name: String,
    },
    /// It lacks a part of what was asked for.
    Lacks {
        /// What it lacks.
        names: Vec<String>,
    },
}

impl Entry {
    /// Why it isn't fit for `wanted`; `None` if it holds all of that and nothing is known against it. If nothing in
    /// particular is wanted, it has to hold something.
    pub(crate) fn unfit(&self, wanted: &[String], ledger: &Ledger) -> Option<Objection> {
        match &self.record {
            Record::Unreadable(_) => return Some(Objection::Unreadable),
            Record::Manifest(summary) if summary.status == Status::Failed => return Some(Objection::Failed),
            _ if ledger.is_known_bad(self.id) => return Some(Objection::FoundDamaged),
            _ => {}
        }
        let files = || self.files.iter().filter(|file| wanted.is_empty() || wanted.contains(&file.name));
        let against = files().find_map(|file| match &file.recorded {
            _ if !file.is_whole() => Some(Objection::FileLost { file: file.file.clone() }),
            Some(recorded) if recorded.is_damaged => Some(Objection::SavedDamaged { name: file.name.clone() }),
            _ => None,
        });
        against.or_else(|| {
            let names: Vec<String> = wanted.iter().filter(|name| !self.answers_for(name)).cloned().collect();
            (!names.is_empty() || self.files.is_empty()).then_some(Objection::Lacks { names })
        })
    }

    /// Whether it holds the whole of that database or set of files. A set without any file at that time counts as held,
    /// unless an earlier backup holds one: then the run failed to save it.
    pub(crate) fn answers_for(&self, name: &str) -> bool {
        let is_in = |names: &[String]| names.iter().any(|other| other == name);
        let (failed, absent) = self.manifest().map_or((&[][..], &[][..]), |it| (&it.failed, &it.absent));
        !is_in(failed) && (is_in(absent) || self.files.iter().any(|file| file.name == name))
    }
}
