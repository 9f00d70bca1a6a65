//! The pre-restore backup: what a restore is about to replace, kept before anything changes.

use std::fs;
use std::path::PathBuf;

use super::Planned;
use super::plan::{Member, Occupant, Plan};
use super::target::Hold;
use crate::artifact::codec::Encoding;
use crate::disk::paths;
use crate::error::{Error, ErrorKind, NO_SPACE_HINT, Result};
use crate::operation::backup::{self, BackupReport, Integrity};
use crate::operation::run::Run;
use crate::operation::session::Session;
use crate::record::figures;
use crate::record::id::BackupId;
use crate::record::manifest::{Snapshot, Trigger};
use crate::record::relpath::RelPath;
use crate::source::sqlite::bytes::Descriptors;
use crate::source::{DatabaseSource, FilesSource, Sources};

/// What is about to be replaced, as it is kept.
#[derive(Default)]
pub(super) struct SafetyCopy {
    /// The pre-restore backup; none if nothing is replaced.
    pub id: Option<BackupId>,
    /// Databases that are kept as their bytes.
    pub damaged: Vec<PathBuf>,
    /// What a person should know of them.
    pub warnings: Vec<String>,
}

/// Backs up what is about to be replaced. A damaged database is kept as its bytes.
///
/// # Errors
/// [`ErrorKind::NotKept`]; else what keeps any part of it from being kept.
pub(super) fn keep_what_is_replaced(
    session: &Session<'_>,
    plan: &Plan,
    held: &[Option<Hold<'_>>],
    encoding: Encoding,
    descriptors: &Descriptors,
) -> Result<SafetyCopy> {
    let sources = replaced(plan, held);
    let mut kept = SafetyCopy::default();
    if sources == Sources::default() {
        return Ok(kept);
    }
    let run = session.run().ok_or_else(|| no_place_to_keep(session))?;
    let (root, trigger, integrity) = (&plan.target, Trigger::PreRestore, Integrity::Recorded);
    let request = backup::BackupRequest { root, sources: &sources, encoding, trigger, pinned: false, integrity };
    let locked: Vec<_> = held.iter().flatten().filter_map(Hold::locked).collect();
    let no_room = |error| no_room_to_keep(run, plan, &sources, error);
    let BackupReport { manifest, failures } =
        backup::backup_locked(run, &request, &locked, descriptors).map_err(no_room)?;
    for (name, error) in failures {
        let saved = manifest.artifacts.iter().find(|artifact| artifact.name == name);
        let database = sources.databases.iter().find(|database| database.name == name);
        let (Some(database), Some(problem)) = (database, saved.and_then(|saved| saved.damage().first())) else {
            return Err(no_room(error));
        };
        kept.damaged.push(database.path.under(root));
        let path = &database.path;
        kept.warnings.push(format!("{path} was damaged ({problem}): its bytes are kept, and --undo puts them back"));
    }
    kept.id = Some(manifest.id);
    Ok(kept)
}

/// What is there now. A database that opens and isn't held is one that SQLite can't write to.
fn replaced(plan: &Plan, held: &[Option<Hold<'_>>]) -> Sources {
    let mut sources = Sources::default();
    let mut held = held.iter();
    for planned in &plan.artifacts {
        match planned {
            Planned::Database { present: Occupant::Absent, .. } => {}
            Planned::Database { file, path, present, .. } => {
                let is_writable = *present != Occupant::Replaced || held.next().is_some_and(Option::is_some);
                let snapshot = if is_writable { Snapshot::Vacuum } else { Snapshot::Bytes };
                let (name, path) = (file.name.clone(), path.clone());
                sources.databases.push(DatabaseSource { name, path, snapshot, probes: Vec::new() });
            }
            Planned::Files { file, members } => sources.files.extend(replaced_files(plan, &file.name, members)),
        }
    }
    sources
}

fn replaced_files(plan: &Plan, name: &str, members: &[Member]) -> Option<FilesSource> {
    let is_there =
        |path: &&RelPath| plan.items.iter().any(|item| item.path == **path && item.present != Occupant::Absent);
    let paths: Vec<RelPath> = members.iter().map(|member| &member.path).filter(is_there).cloned().collect();
    (!paths.is_empty()).then(|| FilesSource { name: name.to_string(), paths })
}

fn no_place_to_keep(session: &Session<'_>) -> Error {
    let message = format!("what would be replaced can't be kept: {} can't be written", session.store().location());
    Error::new(ErrorKind::PermissionDenied, message)
}

/// A lack of room here concerns what is there now, not what is restored.
fn no_room_to_keep(run: &Run<'_>, plan: &Plan, sources: &Sources, error: Error) -> Error {
    if error.kind() != ErrorKind::NoSpace {
        return error;
    }
    let size = |path: &RelPath, suffix| {
        fs::metadata(paths::with_suffix(&path.under(&plan.target), suffix)).map_or(0, |found| found.len())
    };
    // A database is copied before it is encoded.
    let databases = sources.databases.iter().map(|it| size(&it.path, "").saturating_mul(2) + size(&it.path, "-wal"));
    let files = sources.files.iter().flat_map(|files| &files.paths).map(|path| size(path, ""));
    let needed = databases.chain(files).fold(0, u64::saturating_add);
    let store = run.locked_store();
    let free = store.free_bytes().ok().flatten();
    // The disk of what is replaced may be the full one: SQLite needs room for a `-shm` there.
    if free.is_some_and(|free| free >= needed) {
        return error;
    }
    let free = free.map_or_else(|| "too little".into(), figures::size);
    let (needed, place) = (figures::size(needed), store.location());
    let message = format!("no room to keep what would be replaced: that takes up to {needed}, {place} has {free} free");
    Error::new(ErrorKind::NotKept, message).with_hint(NO_SPACE_HINT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::restore::{Selection, plan};
    use crate::testing::fixtures::{Site, id};

    #[test]
    fn a_full_disk_of_the_data_is_not_taken_for_that_of_the_backups() {
        let site = Site::new();
        let store = site.local();
        site.backup(&store, "20251209_140000");
        let run = site.begin(&store, "20251210_140000");
        let catalog = run.catalog().unwrap();
        let entry = catalog.get(id("20251209_140000")).unwrap();
        let plan = plan(&run, entry, site.root(), Selection::ALL, &site.sources).unwrap();
        let error = || Error::new(ErrorKind::NoSpace, "can't read database sessions.db: no room for its -shm");
        let told = no_room_to_keep(&run, &plan, &site.sources, error());
        assert_eq!((told.kind(), told.to_string()), (ErrorKind::NoSpace, error().to_string()));
    }
}
