//! Decoding what a restore will write, beside its place, and checking it, before anything there changes.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use super::leftovers;
use super::plan::{Occupant, Plan, PlannedArchive, PlannedArtifact, PlannedDatabase};
use super::temp::{RecordedAccess, Temp};
use crate::artifact::StoredFile;
use crate::artifact::read::Reader;
use crate::disk::place::{Identity, Place};
use crate::disk::synced::SyncedFile;
use crate::disk::{paths, space};
use crate::error::{Error, Result};
use crate::operation::verify::require_sound;
use crate::record::manifest::{self, Content, Increment};
use crate::record::names::Kind;
use crate::source::files::{ConfigFile, read_stored_archive};
use crate::source::sqlite::integrity::Scope;

/// All staged files. When it is dropped, they are removed, and so are the folders that were made for them.
#[derive(Default)]
pub(super) struct Staging {
    pub files: Vec<StagedFile>,
    pub folders: NewFolders,
    /// The first file, held open: its lock shows others that this restore is running.
    marked: Option<File>,
}

/// A decoded and checked file beside its place. It is removed when dropped.
pub(super) enum StagedFile {
    Database(Box<StagedDatabase>),
    Config(Box<StagedConfig>),
}

/// A decoded database beside its place.
pub(super) struct StagedDatabase {
    pub temp: Temp,
    /// The `-wal` or `-journal`, by suffix, of a damaged database that SQLite must not touch.
    pub beside: Vec<(&'static str, Temp)>,
    pub path: PathBuf,
    pub place: Place,
    /// The folder that the existing database is in, which a link may lead to.
    pub real_folder: Option<Identity>,
    /// What is in its place now.
    pub present: Occupant,
    /// Whether it was damaged when it was backed up, and is restored as its bytes.
    pub is_bytes: bool,
    pub recorded: Option<manifest::Database>,
}

/// A configuration file beside its place, closed.
pub(super) struct StagedConfig {
    pub temp: Temp,
    pub place: Place,
    pub warning: Option<String>,
}

/// Folders that were made on the way to a place. When they are dropped, the empty ones are removed.
#[derive(Default)]
pub(super) struct NewFolders(Vec<Place>);

/// Decodes and checks all that `plan` writes.
///
/// # Errors
/// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) if the backup isn't sound,
/// [`ErrorKind::NoSpace`](crate::ErrorKind::NoSpace) if it doesn't fit; else as the operating system says.
pub(super) fn stage(plan: &Plan, reader: Reader<'_>) -> Result<Staging> {
    let mut staging = Staging::default();
    for artifact in &plan.artifacts {
        match artifact {
            PlannedArtifact::Database(database) => staging.add_database(database, reader)?,
            PlannedArtifact::Archive(archive) => staging.add_files(archive, reader)?,
        }
    }
    Ok(staging)
}

impl Staging {
    /// Databases that replace an existing one.
    pub fn replaced(&self) -> impl Iterator<Item = &StagedDatabase> {
        self.files.iter().filter_map(|file| match file {
            StagedFile::Database(staged) if staged.present == Occupant::Replaced => Some(&**staged),
            _ => None,
        })
    }

    fn add_database(&mut self, planned: &PlannedDatabase, reader: Reader<'_>) -> Result<()> {
        let PlannedDatabase { file, place, real_folder, present, .. } = planned;
        let temp = self.temp(place)?;
        let is_bytes = file.damage().is_some();
        decode_database(file, &temp, place, *present == Occupant::Replaced && !is_bytes, reader)?;
        if !is_bytes {
            // Bytes that were found sound before they were stored, and have the same digest, are sound.
            require_sound(reader.progress, file, temp.path(), (!file.is_checked()).then_some(Scope::Damage))?;
        }
        let beside = planned.beside.iter().map(|file| stage_beside(file, place, reader)).collect::<Result<_>>()?;
        self.files.push(StagedFile::Database(Box::new(StagedDatabase {
            temp,
            beside,
            path: place.path(),
            place: place.clone(),
            real_folder: *real_folder,
            present: *present,
            is_bytes,
            recorded: recorded_database(file),
        })));
        Ok(())
    }

    fn add_files(&mut self, archive: &PlannedArchive, reader: Reader<'_>) -> Result<()> {
        read_stored_archive(reader, &archive.file, |content| {
            if let Some(member) = archive.members.iter().find(|member| member.name == content.path) {
                let temp = self.temp(&member.place)?;
                self.files.push(stage_config(&content, temp, &member.place)?);
            }
            Ok(())
        })
    }

    /// A file beside `place`, and the folders on the way.
    fn temp(&mut self, place: &Place) -> Result<Temp> {
        place.make_folders(&mut self.folders.0)?;
        let temp = Temp::beside(place)?;
        if self.marked.is_none() {
            let file = temp.file()?;
            leftovers::mark(file);
            self.marked = Some(file.try_clone().map_err(|e| Error::io_named("hold open", "a decoded file", e))?);
        }
        Ok(temp)
    }
}

impl StagedDatabase {
    /// All its files.
    pub fn temps(&self) -> impl Iterator<Item = &Temp> {
        std::iter::once(&self.temp).chain(self.beside.iter().map(|(_, temp)| temp))
    }
}

impl NewFolders {
    /// Makes them durable.
    pub fn sync(&self) -> Result<()> {
        self.0.iter().try_for_each(Place::sync)
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        // A folder may stay that isn't empty or can't be removed.
        self.0.iter().rev().for_each(|folder| drop(folder.remove_folder()));
    }
}

/// Decodes a database. One that SQLite will copy over a live one needs no sync, but the transaction needs as much room again.
fn decode_database(file: &StoredFile, temp: &Temp, place: &Place, is_copied: bool, reader: Reader<'_>) -> Result<()> {
    let (path, needed) = (place.path(), file.most_bytes().saturating_mul(if is_copied { 2 } else { 1 }));
    space::require_space(&path, &paths::parent(&path).display().to_string(), needed)?;
    if is_copied {
        let written = temp.file()?;
        reader.copy_image(file, &mut &*written, Some(written))
    } else {
        decode_synced(file, temp, reader)
    }
}

fn stage_beside(file: &StoredFile, place: &Place, reader: Reader<'_>) -> Result<(&'static str, Temp)> {
    let suffix = if file.kind == Kind::Wal { "-wal" } else { "-journal" };
    let temp = Temp::beside_with(place, suffix)?;
    decode_synced(file, &temp, reader)?;
    Ok((suffix, temp))
}

fn decode_synced(file: &StoredFile, temp: &Temp, reader: Reader<'_>) -> Result<()> {
    let failed = |e| Error::io("sync", temp.path(), e);
    let written = temp.file()?;
    let mut synced = SyncedFile::new(written.try_clone().map_err(failed)?, |_| ());
    reader.copy_image(file, &mut synced, Some(written))?;
    synced.finish().map_err(failed)
}

/// What the manifest says of a stored database: place, owner and journal mode as in the last increment on it.
fn recorded_database(file: &StoredFile) -> Option<manifest::Database> {
    let Content::Database(database) = &file.recorded.as_ref()?.content else { return None };
    Some(match file.image() {
        Some(Increment { source, mode, uid, gid, journal_mode, .. }) => manifest::Database {
            source: source.clone(),
            mode: *mode,
            uid: *uid,
            gid: *gid,
            journal_mode: journal_mode.clone(),
            ..database.clone()
        },
        None => database.clone(),
    })
}

fn stage_config(content: &ConfigFile, mut temp: Temp, place: &Place) -> Result<StagedFile> {
    temp.file()?.write_all(&content.content).map_err(|e| Error::io("write", temp.path(), e))?;
    let recorded = RecordedAccess { mode: content.mode, owner: Some((content.uid, content.gid)) };
    let warning = temp.fit(place, recorded)?;
    temp.sync()?;
    temp.close();
    Ok(StagedFile::Config(Box::new(StagedConfig { temp, place: place.clone(), warning })))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::error::ErrorKind;
    use crate::operation::restore::{Selection, plan, rehearse};
    use crate::store::MemoryStore;
    use crate::testing::fixtures::{Site, id, publish};

    const ID: &str = "20251210_140000";

    #[test]
    fn folders_made_for_a_restore_stay_if_it_succeeds_and_go_if_it_does_not() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, ID);
        let restore = |target: &Path| {
            let run = site.begin(&store, ID);
            let plan = plan(&run, run.catalog()?.get(id(ID))?, target, Selection::ALL, &site.sources)?;
            rehearse(&run, &plan)
        };
        restore(&site.root().join("new/deep")).unwrap();
        assert!(site.root().join("new/deep/sessions.db").exists());
        let database = format!("sessions_db_{ID}.db.zst");
        publish(&store, &database, b"something else");
        fs::create_dir(site.root().join("old")).unwrap();
        assert_eq!(restore(&site.root().join("old/deep/deeper")).unwrap_err().kind(), ErrorKind::Damaged);
        assert!(site.root().join("old").exists() && !site.root().join("old/deep").exists());
    }
}
