//! Decoding what a restore will write beside its place, checked, before anything there changes.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use super::leftovers;
use super::plan::{Member, Occupant, Plan, Planned};
use super::temp::{Temp, TempRecord};
use crate::artifact::StoredFile;
use crate::disk::place::{Identity, Place};
use crate::disk::synced::SyncedFile;
use crate::disk::{paths, space};
use crate::error::{Error, Result};
use crate::operation::look::Look;
use crate::operation::verify::{plain_bytes, require_sound};
use crate::record::manifest::{self, Content};
use crate::record::names::Kind;
use crate::source::files::{ConfigFile, read_stored_archive};
use crate::source::sqlite::integrity::Scope;

/// A decoded and checked file beside its place. Dropped, it is gone.
pub(super) enum StagedFile {
    Database(Box<StagedDatabase>),
    Config(Box<StagedConfig>),
}

/// A configuration file beside its place, closed.
pub(super) struct StagedConfig {
    pub temp: Temp,
    pub place: Place,
    pub warning: Option<String>,
}

/// A decoded database beside its place.
pub(super) struct StagedDatabase {
    pub temp: Temp,
    /// What has to lie beside it, by suffix: of a damaged database, which SQLite must not touch.
    pub beside: Vec<(&'static str, Temp)>,
    pub path: PathBuf,
    pub place: Place,
    /// The folder that the database in its place really was in.
    pub real_folder: Option<Identity>,
    /// What is in its place now.
    pub present: Occupant,
    /// Whether it was damaged when it was saved, and is put back as it was.
    pub is_bytes: bool,
    pub recorded: Option<manifest::Database>,
}

impl StagedDatabase {
    /// All its files.
    pub fn temps(&self) -> impl Iterator<Item = &Temp> {
        std::iter::once(&self.temp).chain(self.beside.iter().map(|(_, temp)| temp))
    }
}

/// All that is staged. Dropped, it is gone, and so are the folders that were made for it.
#[derive(Default)]
pub(super) struct Staging {
    pub files: Vec<StagedFile>,
    pub folders: NewFolders,
    /// The first file, held open: others see by its lock that this restore goes on.
    marked: Option<File>,
}

impl Staging {
    /// Those databases that take the place of one.
    pub fn replaced(&self) -> impl Iterator<Item = &StagedDatabase> {
        self.files.iter().filter_map(|file| match file {
            StagedFile::Database(staged) if staged.present == Occupant::Replaced => Some(&**staged),
            _ => None,
        })
    }

    fn mark(&mut self, file: &File) -> Result<()> {
        if self.marked.is_none() {
            leftovers::mark(file);
            self.marked = Some(file.try_clone().map_err(|e| Error::io_named("hold open", "a decoded file", e))?);
        }
        Ok(())
    }
}

/// Folders that were made on the way. Dropped, those that are still empty are removed.
#[derive(Default)]
pub(super) struct NewFolders(Vec<Place>);

impl NewFolders {
    /// Makes them durable.
    pub fn sync(&self) -> Result<()> {
        self.0.iter().try_for_each(Place::sync)
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        // What has something in it, or can't be removed, may stay.
        self.0.iter().rev().for_each(|folder| drop(folder.remove_folder()));
    }
}

pub(super) fn stage(look: &Look<'_>, plan: &Plan) -> Result<Staging> {
    let mut staging = Staging::default();
    for planned in &plan.artifacts {
        match planned {
            Planned::Database { file, place, real_folder, present, beside, .. } => {
                let staged = stage_database(look, file, beside, place, *present, &mut staging)?;
                let staged = StagedDatabase { real_folder: *real_folder, ..staged };
                staging.files.push(StagedFile::Database(Box::new(staged)));
            }
            Planned::Files { file, members } => stage_files(look, file, members, &mut staging)?,
        }
    }
    look.check_stop()?;
    Ok(staging)
}

fn stage_database(
    look: &Look<'_>,
    file: &StoredFile,
    beside: &[StoredFile],
    place: &Place,
    present: Occupant,
    staging: &mut Staging,
) -> Result<StagedDatabase> {
    let (recorded, is_bytes) = (recorded_database(file), file.damage().is_some());
    place.make_folders(&mut staging.folders.0)?;
    let (path, temp) = (place.path(), Temp::beside(place)?);
    staging.mark(temp.file()?)?;
    let is_copied = present == Occupant::Replaced && !is_bytes;
    // Over a live database, its transaction needs as much again.
    let needed = plain_bytes(file).saturating_mul(if is_copied { 2 } else { 1 });
    space::require_space(&path, &paths::parent(&path).display().to_string(), needed)?;
    if is_copied {
        look.reader().copy(file, &mut temp.file()?)?;
    } else {
        decode_synced(look, file, &temp)?;
    }
    if !is_bytes {
        // Bytes that were found sound before they were stored, and have the same digest, are sound.
        require_sound(look, file, temp.path(), (!file.is_checked()).then_some(Scope::Damage))?;
    }
    let beside = beside.iter().map(|file| stage_beside(look, file, place)).collect::<Result<_>>()?;
    let place = place.clone();
    Ok(StagedDatabase { temp, beside, path, place, real_folder: None, present, is_bytes, recorded })
}

fn stage_beside(look: &Look<'_>, file: &StoredFile, place: &Place) -> Result<(&'static str, Temp)> {
    let suffix = if file.kind == Kind::Wal { "-wal" } else { "-journal" };
    let temp = Temp::beside_with(place, suffix)?;
    decode_synced(look, file, &temp)?;
    Ok((suffix, temp))
}

fn decode_synced(look: &Look<'_>, file: &StoredFile, temp: &Temp) -> Result<()> {
    let failed = |e| Error::io("sync", temp.path(), e);
    let mut synced = SyncedFile::new(temp.file()?.try_clone().map_err(failed)?, |_| ());
    look.reader().copy(file, &mut synced)?;
    synced.finish().map_err(failed)
}

/// What the manifest says of a stored database.
fn recorded_database(file: &StoredFile) -> Option<manifest::Database> {
    match &file.recorded.as_ref()?.content {
        Content::Database(database) => Some(database.clone()),
        Content::Wal | Content::Journal | Content::Files { .. } => None,
    }
}

fn stage_files(look: &Look<'_>, file: &StoredFile, members: &[Member], staging: &mut Staging) -> Result<()> {
    read_stored_archive(look.reader(), file, |member| {
        if let Some(Member { place, .. }) = members.iter().find(|it| it.name == member.path) {
            place.make_folders(&mut staging.folders.0)?;
            let temp = Temp::beside(place)?;
            staging.mark(temp.file()?)?;
            staging.files.push(stage_config(&member, temp, place)?);
        }
        Ok(())
    })
}

fn stage_config(member: &ConfigFile, mut temp: Temp, place: &Place) -> Result<StagedFile> {
    temp.file()?.write_all(&member.content).map_err(|e| Error::io("write", temp.path(), e))?;
    let warning = temp.fit(place, TempRecord { mode: member.mode, owner: Some((member.uid, member.gid)) })?;
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
