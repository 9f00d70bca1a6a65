//! Merging: several increments, each on the one before it, become one. It takes the place of the last of them, and leads
//! to the same state from the parent of the first.
//!
//! The others stay. Each of them is still a point of its own until it is removed, but nothing is based on them any more.

use std::collections::BTreeMap;
use std::fs::File;

use tempfile::TempDir;

use super::run::Run;
use crate::artifact::StoredFile;
use crate::artifact::codec::Encoding;
use crate::artifact::merge::{Merge, facts};
use crate::artifact::read::Reader;
use crate::artifact::write::ArtifactWriter;
use crate::catalog::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::record::id::BackupId;
use crate::record::manifest::{Artifact, BackupType, Content, Increment, Manifest};
use crate::record::names::{ArtifactName, Kind};

/// Merges increments, oldest first, into the last of them. Returns how many bytes that one has grown by.
///
/// # Errors
/// [`Damaged`](crate::ErrorKind::Damaged) if a part can't be read or isn't as recorded;
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if these can't be merged: one isn't an increment on the one before, or
/// has a whole database; any error of writing. Then all parts are as they were, or [`Run::recover`] will see to it.
pub(super) fn merge(run: &Run<'_>, parts: &[&Entry]) -> Result<u64> {
    let replace = |(old, new): (Manifest, Manifest)| {
        run.replace_backup(&old, &new)?;
        Ok(new.stored_bytes().saturating_sub(old.stored_bytes()))
    };
    let merged = stage(run, parts).and_then(replace);
    if merged.is_err() {
        // Removes what was staged. If even that fails, the next run does it.
        let _ = run.recover();
    }
    merged
}

/// Stages the artifacts of the merged increment. Returns the manifest of the last part, and the new one.
fn stage(run: &Run<'_>, parts: &[&Entry]) -> Result<(Manifest, Manifest)> {
    let Parts { old, parent, mut unchanged, deltas, sets } = Parts::read(run, parts)?;
    let mut new = Manifest { parent: Some(parent), artifacts: Vec::new(), ..old.clone() };
    for (name, deltas) in &deltas {
        new.artifacts.push(match &deltas[..] {
            [(id, only)] if *id == old.id => recorded(only)?.clone(),
            _ => stage_delta(run, &old, name, deltas)?,
        });
    }
    for (name, set) in sets {
        match set {
            Some((id, archive)) if id == old.id => new.artifacts.push(recorded(&archive)?.clone()),
            Some((_, archive)) => new.artifacts.push(stage_archive(run, old.id, &archive)?),
            None if new.absent.contains(&name) => {}
            None => new.absent.push(name),
        }
    }
    unchanged.retain(|name| !new.artifacts.iter().any(|artifact| artifact.name == *name) && !new.absent.contains(name));
    new.unchanged = unchanged;
    Ok((old, new))
}

/// A stored file, and the part that it is of.
type Part = (BackupId, StoredFile);

/// What the parts of a merge hold together.
struct Parts {
    /// The manifest of the last one.
    old: Manifest,
    /// The parent of the first one.
    parent: BackupId,
    /// What didn't change in any.
    unchanged: Vec<String>,
    /// The deltas of each database, oldest first.
    deltas: BTreeMap<String, Vec<Part>>,
    /// The newest archive of each set of files; `None` if there were no files then.
    sets: BTreeMap<String, Option<Part>>,
}

impl Parts {
    fn read(run: &Run<'_>, parts: &[&Entry]) -> Result<Self> {
        let store = &**run.locked_store();
        let mut union: Option<Self> = None;
        for part in parts {
            run.check_stop()?;
            if part.manifest().is_none() {
                return Err(unmergeable(part.id, "its manifest can't be read, or is another's"));
            }
            let (manifest, files) = (part.read_manifest(store)?, part.own_stored_files(store)?);
            let mut so_far = Self::after(union, manifest)?;
            so_far.add(files)?;
            union = Some(so_far);
        }
        union.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "there is nothing to merge"))
    }

    /// The same with another increment as the last one, whose files are yet to be added.
    fn after(before: Option<Self>, manifest: Manifest) -> Result<Self> {
        let last = before.as_ref().map(|before| before.old.id);
        let parent = manifest.parent.filter(|parent| last.is_none_or(|last| last == *parent));
        let Some(parent) = parent.filter(|_| manifest.backup_type == BackupType::Increment) else {
            return Err(unmergeable(manifest.id, "it isn't an increment on the one before"));
        };
        let Some(mut union) = before else {
            let (unchanged, deltas, mut sets) = (manifest.unchanged.clone(), BTreeMap::new(), BTreeMap::new());
            sets.extend(manifest.absent.iter().map(|name| (name.clone(), None)));
            return Ok(Self { old: manifest, parent, unchanged, deltas, sets });
        };
        union.unchanged.retain(|name| manifest.unchanged.contains(name));
        union.sets.extend(manifest.absent.iter().map(|name| (name.clone(), None)));
        Ok(Self { old: manifest, ..union })
    }

    /// Adds the files of the last part.
    fn add(&mut self, files: Vec<StoredFile>) -> Result<()> {
        let id = self.old.id;
        for file in files {
            match file.kind {
                Kind::Increment => self.deltas.entry(file.name.clone()).or_default().push((id, file)),
                Kind::Files => drop(self.sets.insert(file.name.clone(), Some((id, file)))),
                Kind::Database | Kind::Wal | Kind::Journal => {
                    return Err(unmergeable(id, &format!("it has all of {}", file.name)));
                }
            }
        }
        Ok(())
    }
}

fn unmergeable(id: BackupId, why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("backup {id} can't be merged: {why}"))
}

fn recorded(file: &StoredFile) -> Result<&Artifact> {
    file.recorded.as_ref().ok_or_else(|| Error::damaged(&file.file, "no manifest says what it is"))
}

fn reader<'a>(run: &'a Run<'_>) -> Reader<'a> {
    Reader { store: &**run.locked_store(), ..run.reader() }
}

/// Stages what several deltas of one database do together, as an artifact of the backup `old`.
fn stage_delta(run: &Run<'_>, old: &Manifest, name: &str, deltas: &[Part]) -> Result<Artifact> {
    let (_, newest) = deltas.last().ok_or_else(|| unmergeable(old.id, &format!("it has no delta of {name}")))?;
    let mut file =
        ArtifactName { name: name.into(), id: old.id, kind: Kind::Increment, is_merged: true, codec: newest.codec };
    // The artifacts are published before the manifest is, so none may have the name of one that the old manifest needs.
    file.is_merged = !old.artifacts.iter().any(|artifact| artifact.file == file.to_string());
    let facts = facts(newest)?.clone();
    let (_scratch, pages) = scratch_file(run, deltas)?;
    let mut merge = Merge::begin(pages, facts.page_size);
    deltas.iter().try_for_each(|(_, delta)| merge.add(reader(run), delta))?;
    let changed_pages = merge.changed_pages();
    run.require_room(changed_pages.saturating_mul(facts.page_size.into()))?;
    let encoding = Encoding::usual(file.codec);
    let mut artifact = ArtifactWriter::begin_as(run.locked_store(), file, encoding)?;
    let file = artifact.file();
    merge.write(&mut artifact).map_err(|e| Error::io_named("store", &file, e))?;
    artifact.finish(Content::Increment(Increment { changed_pages, ..facts }))
}

/// A new file in a folder for decoded files, where the pages of these deltas have room.
fn scratch_file(run: &Run<'_>, deltas: &[Part]) -> Result<(TempDir, File)> {
    let bytes = deltas.iter().filter_map(|(_, delta)| Some(delta.recorded.as_ref()?.plain_bytes));
    let scratch = run.scratch(bytes.fold(0, u64::saturating_add))?;
    let path = scratch.path().join("pages");
    let file = File::options().read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(|e| Error::io("create", &path, e))?;
    Ok((scratch, file))
}

/// Stages a copy of an archive as one of the backup `id`.
fn stage_archive(run: &Run<'_>, id: BackupId, archive: &StoredFile) -> Result<Artifact> {
    let recorded = recorded(archive)?;
    let name =
        ArtifactName { name: archive.name.clone(), id, kind: Kind::Files, is_merged: false, codec: archive.codec };
    let file = name.to_string();
    run.require_room(recorded.bytes)?;
    let mut staged = run.locked_store().stage(&file)?;
    reader(run).copy_stored(archive, &mut staged)?;
    staged.finish()?;
    Ok(Artifact { file, ..recorded.clone() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::catalog::Catalog;
    use crate::operation::backup::backup_incremental;
    use crate::store::{LocalStore, MemoryStore};
    use crate::testing::chains::{ALL, FIRST, FULL, Holdings, NEWEST, SECOND, THIRD, all_held, chain, fill, objects};
    use crate::testing::faults::{Fault, WatchedStore, assert_clean, fault_sweep};
    use crate::testing::fixtures::{Site, flip, id, published, staged};

    const NOW: &str = "20251210_150000";

    fn merge_ids(run: &Run<'_>, parts: &[&str]) -> Result<()> {
        let catalog = run.own_catalog()?;
        let parts: Vec<&Entry> = parts.iter().map(|part| catalog.get(id(part))).collect::<Result<_>>()?;
        merge(run, &parts).map(drop)
    }

    fn merge_three(site: &Site, store: &dyn LocalStore) {
        let run = Run::begin(site.setup(store, NOW), &mut |_| {});
        drop(run.and_then(|run| merge_ids(&run, &[FIRST, SECOND, THIRD])));
    }

    fn manifest(store: &dyn LocalStore, point: &str) -> Manifest {
        Catalog::load(store).unwrap().get(id(point)).unwrap().read_manifest(store).unwrap()
    }

    #[test]
    fn a_merged_increment_leads_to_the_state_of_the_last_part() {
        let store = MemoryStore::new();
        let site = chain(&store);
        let (before, old) = (all_held(&store), manifest(&store, THIRD));
        merge_ids(&site.begin(&store, NOW), &[FIRST, SECOND, THIRD]).unwrap();
        assert_eq!(all_held(&store), before);
        let new = manifest(&store, THIRD);
        let files: Vec<&str> = new.artifacts.iter().map(|artifact| artifact.file.as_str()).collect();
        assert_eq!(files, [format!("sessions_db_{THIRD}.db.merged.rdiff.zst"), format!("config_{THIRD}.tar.zst")]);
        let Content::Increment(increment) = &new.artifacts[0].content else { panic!("{new:?}") };
        let Content::Increment(last) = &old.artifacts[0].content else { panic!("{old:?}") };
        assert!((3..=5).contains(&increment.changed_pages), "{increment:?}");
        assert_eq!(*increment, Increment { changed_pages: increment.changed_pages, ..last.clone() });
        assert_eq!((old.parent, old.unchanged.as_slice()), (Some(id(SECOND)), &["config".to_string()][..]));
        let expected = Manifest { parent: Some(id(FULL)), unchanged: vec![], artifacts: new.artifacts.clone(), ..old };
        assert_eq!(new, expected);
        assert!(!published(&store).contains(&format!("sessions_db_{THIRD}.db.rdiff.zst")));
        let run = site.begin(&store, NOW);
        let catalog = run.own_catalog().unwrap();
        for part in [SECOND, FIRST] {
            run.remove(catalog.get(id(part)).unwrap()).unwrap();
        }
        let mut left = before;
        left.retain(|point, _| ![FIRST, SECOND].map(id).contains(point));
        assert_eq!(all_held(&store), left);
    }

    #[test]
    fn what_no_part_changed_is_unchanged_and_what_only_the_last_has_stays() {
        let store = MemoryStore::new();
        let site = chain(&store);
        let last = manifest(&store, SECOND).artifacts.into_iter().find(|it| it.name == "config").unwrap();
        merge_ids(&site.begin(&store, NOW), &[FIRST, SECOND]).unwrap();
        assert!(manifest(&store, SECOND).artifacts.contains(&last));
        merge_ids(&site.begin(&store, NOW), &[THIRD, NEWEST]).unwrap();
        assert_eq!(manifest(&store, NEWEST).unchanged, ["config"]);
    }

    #[test]
    fn files_that_are_gone_at_the_last_part_are_not_brought_back() {
        let store = MemoryStore::new();
        let site = chain(&store);
        fs::remove_file(site.root().join(".env")).unwrap();
        for now in ["20251209_140500", "20251209_140600"] {
            site.execute("UPDATE sessions SET kwh = kwh + 1 WHERE id = 10");
            backup_incremental(&site.begin(&store, now), &site.request()).unwrap();
        }
        merge_ids(&site.begin(&store, NOW), &[FIRST, SECOND, THIRD, NEWEST, "20251209_140500"]).unwrap();
        let merged = manifest(&store, "20251209_140500");
        assert_eq!((merged.absent.as_slice(), merged.artifacts.len()), (&["config".to_string()][..], 1));
        assert_eq!(merged.unchanged, Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_merged_is_refused_and_stays_as_it_was() {
        let store = MemoryStore::new();
        let site = chain(&store);
        let refused = |parts: &[&str], message: &str| {
            let before = (published(&store), all_held(&store));
            let error = merge_ids(&site.begin(&store, NOW), parts).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert_eq!((published(&store), all_held(&store)), before);
            assert_eq!(staged(&store), Vec::<String>::new());
        };
        refused(&[], "there is nothing to merge");
        refused(&[FULL, FIRST], &format!("backup {FULL} can't be merged: it isn't an increment on the one before"));
        refused(&[FIRST, THIRD], &format!("backup {THIRD} can't be merged: it isn't an increment on the one before"));
        merge_ids(&site.begin(&store, NOW), &[FIRST, SECOND]).unwrap();
        merge_ids(&site.begin(&store, NOW), &[SECOND, THIRD]).unwrap();
        let run = site.begin(&store, NOW);
        run.remove(run.own_catalog().unwrap().get(id(FIRST)).unwrap()).unwrap();
        run.remove(run.own_catalog().unwrap().get(id(SECOND)).unwrap()).unwrap();
    }

    #[test]
    fn a_damaged_part_leaves_all_as_they_were() {
        let store = MemoryStore::new();
        let site = chain(&store);
        let name = format!("sessions_db_{SECOND}.db.rdiff.zst");
        flip(&store, &name);
        let before = published(&store);
        let error = merge_ids(&site.begin(&store, NOW), &[FIRST, SECOND, THIRD]).unwrap_err();
        assert!(error.kind() == ErrorKind::Damaged && error.to_string().contains(&name), "{error}");
        assert_eq!((published(&store), staged(&store)), (before, vec![]));
    }

    #[test]
    fn an_increment_that_was_merged_before_takes_in_more() {
        let store = MemoryStore::new();
        let site = chain(&store);
        let mut expected = all_held(&store);
        for (part, name) in [(SECOND, "merged.rdiff"), (FIRST, "rdiff")] {
            merge_ids(&site.begin(&store, NOW), &[part, THIRD]).unwrap();
            assert_eq!(manifest(&store, THIRD).artifacts[0].file, format!("sessions_db_{THIRD}.db.{name}.zst"));
            assert_eq!(all_held(&store), expected);
            let run = site.begin(&store, NOW);
            run.remove(run.own_catalog().unwrap().get(id(part)).unwrap()).unwrap();
            expected.remove(&id(part));
        }
        assert_eq!(all_held(&store), expected);
        assert_clean(&site, &store, &[FULL, THIRD, NEWEST].map(id), "");
    }

    #[test]
    fn who_looks_meanwhile_sees_every_point_whole() {
        let store = MemoryStore::new();
        let site = chain(&store);
        let merging = WatchedStore::meanwhile(&store, || {
            let run = site.begin(&store, NOW);
            merge_ids(&run, &[FIRST, SECOND, THIRD]).unwrap();
            run.remove(run.own_catalog().unwrap().get(id(SECOND)).unwrap()).unwrap();
        });
        let catalog = Catalog::load(&merging).unwrap();
        assert_eq!(catalog.get(id(THIRD)).unwrap().parent(), Some(id(FULL)));
        assert!(catalog.entries().iter().all(Entry::is_whole), "{catalog:?}");
    }

    /// Asserts that each point holds what it did, and that no object is left over.
    fn assert_whole(site: &Site, store: &dyn LocalStore, expected: &Holdings, fault: &str) {
        assert_eq!(all_held(store), *expected, "at once: {fault}");
        drop(site.begin(store, NOW));
        assert_eq!(all_held(store), *expected, "after the next run: {fault}");
        assert_clean(site, store, &ALL.map(id), fault);
    }

    #[test]
    fn a_merge_cut_short_leaves_every_point_restorable() {
        let memory = MemoryStore::new();
        let _site = chain(&memory);
        let (objects, expected) = (objects(&memory), all_held(&memory));
        fault_sweep(
            |_, store| fill(store, &objects),
            merge_three,
            |site, store, fault| assert_whole(site, store, &expected, fault),
        );
    }

    #[test]
    fn a_recovery_from_a_merge_that_is_cut_short_is_begun_again() {
        let memory = MemoryStore::new();
        let site = chain(&memory);
        let (objects, expected) = (objects(&memory), all_held(&memory));
        let same = MemoryStore::new();
        fill(&same, &objects);
        let watched = WatchedStore::new(&same);
        merge_three(&site, &watched);
        for cut in ["publish config_", "publish manifest_"] {
            let at = watched.position(cut);
            fault_sweep(
                |site, store| {
                    fill(store, &objects);
                    let watched = WatchedStore::failing(store, at, Fault::CrashAfter);
                    merge_three(site, &watched);
                    assert_eq!(watched.position(cut), at);
                },
                |site, store| drop(Run::begin(site.setup(store, NOW), &mut |_| {})),
                |site, store, fault| assert_whole(site, store, &expected, &format!("{cut}: {fault}")),
            );
        }
    }
}
