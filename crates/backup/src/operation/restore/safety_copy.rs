//! The pre-restore backup: what a restore is about to replace, kept before anything changes.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::hold::Hold;
use super::plan::{Occupant, Plan, PlannedArchive, PlannedArtifact, PlannedDatabase};
use crate::artifact::codec::Encoding;
use crate::disk::paths;
use crate::error::{Error, ErrorKind, NO_SPACE_HINT, Result};
use crate::operation::backup::{self, BackupReport, BackupRequest, Integrity};
use crate::operation::run::Run;
use crate::operation::session::Session;
use crate::record::figures;
use crate::record::id::BackupId;
use crate::record::manifest::{Snapshot, Trigger};
use crate::record::relpath::RelPath;
use crate::source::sqlite::bytes::Descriptors;
use crate::source::{DatabaseSource, FilesSource, Sources};

/// What is kept of the files that will be replaced.
#[derive(Default)]
pub(super) struct SafetyCopy {
    /// The pre-restore backup; `None` if nothing is replaced.
    pub id: Option<BackupId>,
    /// Damaged databases, which are kept as their bytes.
    pub damaged: Vec<PathBuf>,
    /// What a person should know of them.
    pub warnings: Vec<String>,
}

/// Backs up what is about to be replaced. A damaged database is kept as its bytes.
///
/// # Errors
/// [`ErrorKind::NotKept`] if there is no room; any error of keeping a part of it.
pub(super) fn keep_what_is_replaced(
    session: &Session<'_>,
    plan: &Plan,
    holds: &[Option<Hold<'_>>],
    encoding: Encoding,
    descriptors: &Descriptors,
) -> Result<SafetyCopy> {
    let sources = replaced(plan, holds);
    if sources == Sources::default() {
        return Ok(SafetyCopy::default());
    }
    let run = session.run().ok_or_else(|| no_place_to_keep(&session.setup().store.location()))?;
    let request = BackupRequest {
        tracked: false,
        root: &plan.target,
        sources: &sources,
        encoding,
        trigger: Trigger::PreRestore,
        pinned: false,
        integrity: Integrity::Recorded,
    };
    let locked: Vec<(&Path, &Connection)> = holds.iter().flatten().filter_map(Hold::locked).collect();
    let copy = backup::backup_locked(run, &request, &locked, descriptors).and_then(|report| summary(plan, report));
    copy.map_err(|error| if error.kind() == ErrorKind::NoSpace { no_room(run, plan, &sources, error) } else { error })
}

/// What the backup kept.
///
/// # Errors
/// The first failure, unless it concerns a damaged database: that is kept as its bytes.
fn summary(plan: &Plan, report: BackupReport) -> Result<SafetyCopy> {
    let BackupReport { manifest, failures } = report;
    let mut copy = SafetyCopy { id: Some(manifest.id), ..SafetyCopy::default() };
    for (name, error) in failures {
        let database = plan.databases().find(|database| database.file.name == name);
        let artifact = manifest.artifacts.iter().find(|artifact| artifact.name == name);
        let problem = artifact.and_then(|artifact| artifact.damage().first());
        let (Some(PlannedDatabase { path, .. }), Some(problem)) = (database, problem) else { return Err(error) };
        copy.damaged.push(path.under(&plan.target));
        copy.warnings.push(format!("{path} was damaged ({problem}): its bytes are kept, and an undo puts them back"));
    }
    Ok(copy)
}

/// What is there now and will be replaced.
fn replaced(plan: &Plan, holds: &[Option<Hold<'_>>]) -> Sources {
    let mut sources = Sources::default();
    let mut holds = holds.iter();
    for artifact in &plan.artifacts {
        match artifact {
            PlannedArtifact::Database(database) => {
                let is_held = database.present == Occupant::Replaced && holds.next().is_some_and(Option::is_some);
                sources.databases.extend(replaced_database(database, is_held));
            }
            PlannedArtifact::Archive(archive) => sources.files.extend(replaced_files(plan, archive)),
        }
    }
    sources
}

/// A database that opens and isn't held is one that SQLite can't write to: it is kept as its bytes.
fn replaced_database(database: &PlannedDatabase, is_held: bool) -> Option<DatabaseSource> {
    let snapshot = match database.present {
        Occupant::Absent => return None,
        Occupant::Replaced if !is_held => Snapshot::Bytes,
        _ => Snapshot::Vacuum,
    };
    let (name, path) = (database.file.name.clone(), database.path.clone());
    Some(DatabaseSource { name, path, snapshot, probes: Vec::new() })
}

fn replaced_files(plan: &Plan, archive: &PlannedArchive) -> Option<FilesSource> {
    let exists =
        |path: &&RelPath| plan.items.iter().any(|item| item.path == **path && item.present != Occupant::Absent);
    let paths: Vec<RelPath> = archive.members.iter().map(|member| &member.path).filter(exists).cloned().collect();
    (!paths.is_empty()).then(|| FilesSource { name: archive.file.name.clone(), paths })
}

fn no_place_to_keep(store: &str) -> Error {
    let message = format!("what would be replaced can't be kept: {store} can't be written");
    Error::new(ErrorKind::PermissionDenied, message)
}

/// The error if there is no room: it concerns what is there now, not what is restored.
fn no_room(run: &Run<'_>, plan: &Plan, sources: &Sources, error: Error) -> Error {
    let (store, needed) = (run.locked_store(), bytes_to_keep(plan, sources));
    let free = store.free_bytes().ok().flatten();
    // The full disk may be that of the data: SQLite needs room for a `-shm` there.
    if free.is_some_and(|free| free >= needed) {
        return error;
    }
    let free = free.map_or_else(|| "too little".into(), figures::size);
    let (needed, place) = (figures::size(needed), store.location());
    let message = format!("no room to keep what would be replaced: that takes up to {needed}, {place} has {free} free");
    Error::new(ErrorKind::NotKept, message).with_hint(NO_SPACE_HINT)
}

/// The most bytes that the safety copy takes. A database is copied before it is encoded.
fn bytes_to_keep(plan: &Plan, sources: &Sources) -> u64 {
    let size = |path: &RelPath, suffix| {
        fs::metadata(paths::with_suffix(&path.under(&plan.target), suffix)).map_or(0, |found| found.len())
    };
    let databases = sources.databases.iter().map(|it| size(&it.path, "").saturating_mul(2) + size(&it.path, "-wal"));
    let files = sources.files.iter().flat_map(|files| &files.paths).map(|path| size(path, ""));
    databases.chain(files).fold(0, u64::saturating_add)
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
        let told = no_room(&run, &plan, &site.sources, error());
        assert_eq!((told.kind(), told.to_string()), (ErrorKind::NoSpace, error().to_string()));
    }
}
