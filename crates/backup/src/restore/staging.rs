//! Decoding what a restore will write beside its place, checked, before anything there changes.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use super::plan::{Plan, Planned, Present};
use super::{DATABASE_FILES, leftovers};
use crate::catalog::StoredFile;
use crate::error::{Error, Result};
use crate::fsutil;
use crate::manifest::{self, Content};
use crate::names::Kind;
use crate::relpath::RelPath;
use crate::run::Run;
use crate::source::files::ConfigFile;
use crate::source::integrity::Scope;
use crate::synced::SyncedFile;
use crate::verify::{plain_bytes, require_sound};

/// A decoded and checked file beside its place. Dropped, it is gone.
pub(super) enum StagedFile {
    Database(Box<StagedDatabase>),
    /// Closed, since there may be more of them than files that a process may have open.
    Config {
        temp: TempPath,
        path: PathBuf,
        warning: Option<String>,
    },
}

/// A decoded database beside its place.
pub(super) struct StagedDatabase {
    pub temp: NamedTempFile,
    /// What has to lie beside it, by suffix: of a damaged database, which SQLite must not touch.
    pub beside: Vec<(&'static str, NamedTempFile)>,
    pub path: PathBuf,
    /// What is in its place now.
    pub present: Present,
    /// Whether it was damaged when it was saved, and is put back as it was.
    pub is_bytes: bool,
    pub recorded: Option<manifest::Database>,
}

impl StagedDatabase {
    /// All its files.
    pub fn temps(&self) -> impl Iterator<Item = &NamedTempFile> {
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
            StagedFile::Database(staged) if staged.present == Present::Replaced => Some(&**staged),
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
pub(super) struct NewFolders(Vec<PathBuf>);

impl NewFolders {
    /// Makes the folder that `path` belongs in, private to `owner`, whose file it will hold.
    fn make_for(&mut self, path: &Path, owner: Option<(u32, u32)>) -> Result<()> {
        let folder = fsutil::parent(path);
        let missing = folder.ancestors().take_while(|folder| !folder.exists() && !folder.as_os_str().is_empty());
        let missing: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
        fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        for made in missing.into_iter().rev() {
            if let Some((uid, gid)) = owner {
                // Only root can: for everybody else, the folder is theirs, and so is the file.
                let _ = lchown(&made, Some(uid), Some(gid));
            }
            self.0.push(made);
        }
        Ok(())
    }

    /// Makes them durable.
    pub fn sync(&self) -> Result<()> {
        self.0.iter().try_for_each(|folder| fsutil::sync_parent(folder))
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        // What has something in it, or can't be removed, may stay.
        self.0.iter().rev().for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

pub(super) fn stage(run: &Run<'_>, plan: &Plan) -> Result<Staging> {
    let mut staging = Staging::default();
    for planned in &plan.artifacts {
        match planned {
            Planned::Database { file, path, present, beside } => {
                let path = path.under(&plan.target);
                let staged = stage_database(run, file, beside, path, *present, &mut staging)?;
                staging.files.push(StagedFile::Database(Box::new(staged)));
            }
            Planned::Files { file, paths } => stage_files(run, file, paths, &plan.target, &mut staging)?,
        }
    }
    run.check_stop()?;
    Ok(staging)
}

fn stage_database(
    run: &Run<'_>,
    file: &StoredFile,
    beside: &[StoredFile],
    path: PathBuf,
    present: Present,
    staging: &mut Staging,
) -> Result<StagedDatabase> {
    let (recorded, is_bytes) = (recorded_database(file), file.damage().is_some());
    staging.folders.make_for(&path, recorded.as_ref().map(|recorded| (recorded.uid, recorded.gid)))?;
    let mut temp = temp_beside(&path)?;
    staging.mark(temp.as_file())?;
    let is_copied = present == Present::Replaced && !is_bytes;
    // Over a live database, its transaction needs as much again.
    let needed = plain_bytes(file).saturating_mul(if is_copied { 2 } else { 1 });
    fsutil::require_space(&path, &fsutil::parent(&path).display().to_string(), needed)?;
    if is_copied {
        run.reader().copy(file, temp.as_file_mut())?;
    } else {
        decode_synced(run, file, &temp)?;
    }
    if !is_bytes {
        // Bytes that were found sound before they were stored, and have the same digest, are sound.
        require_sound(run, file, temp.path(), (!file.is_checked()).then_some(Scope::Damage))?;
    }
    let beside = beside.iter().map(|file| stage_beside(run, file, &path)).collect::<Result<_>>()?;
    Ok(StagedDatabase { temp, beside, path, present, is_bytes, recorded })
}

fn stage_beside(run: &Run<'_>, file: &StoredFile, path: &Path) -> Result<(&'static str, NamedTempFile)> {
    let suffix = if file.kind == Kind::Wal { "-wal" } else { "-journal" };
    let temp = create(&fsutil::with_suffix(&leftovers::beside(path), suffix))?;
    decode_synced(run, file, &temp)?;
    Ok((suffix, temp))
}

fn decode_synced(run: &Run<'_>, file: &StoredFile, temp: &NamedTempFile) -> Result<()> {
    let failed = |e| Error::io("sync", temp.path(), e);
    let mut synced = SyncedFile::new(temp.as_file().try_clone().map_err(failed)?, |_| ());
    run.reader().copy(file, &mut synced)?;
    synced.finish().map_err(failed)
}

/// What the manifest says of a stored database.
fn recorded_database(file: &StoredFile) -> Option<manifest::Database> {
    match &file.recorded.as_ref()?.content {
        Content::Database(database) => Some(database.clone()),
        Content::Wal | Content::Journal | Content::Files { .. } => None,
    }
}

fn stage_files(
    run: &Run<'_>,
    file: &StoredFile,
    paths: &[(RelPath, RelPath)],
    target: &Path,
    staging: &mut Staging,
) -> Result<()> {
    run.reader().archive(file, |member| {
        if let Some((_, path)) = paths.iter().find(|(name, _)| *name == member.path) {
            let path = path.under(target);
            staging.folders.make_for(&path, Some((member.uid, member.gid)))?;
            let temp = temp_beside(&path)?;
            staging.mark(temp.as_file())?;
            staging.files.push(stage_config(&member, temp, path)?);
        }
        Ok(())
    })
}

fn stage_config(member: &ConfigFile, mut temp: NamedTempFile, path: PathBuf) -> Result<StagedFile> {
    temp.as_file_mut().write_all(&member.content).map_err(|e| Error::io("write", temp.path(), e))?;
    let warning = set_owner_and_mode(temp.path(), &path, member.mode, member.uid, member.gid)?;
    temp.as_file().sync_all().map_err(|e| Error::io("sync", temp.path(), e))?;
    Ok(StagedFile::Config { temp: temp.into_temp_path(), path, warning })
}

/// A private file in the folder of `path`, with a name that a restore after a crash finds and replaces.
fn temp_beside(path: &Path) -> Result<NamedTempFile> {
    let place = leftovers::beside(path);
    for suffix in DATABASE_FILES {
        fsutil::remove_file(&fsutil::with_suffix(&place, suffix))?;
    }
    create(&place)
}

fn create(place: &Path) -> Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(place.file_name().unwrap_or_default())
        .rand_bytes(0)
        .tempfile_in(fsutil::parent(place))
        .map_err(|e| Error::io("create", place, e))
}

/// Gives the file at `temp` its recorded owner and mode. A warning, if this user can't give it that owner. No file that is
/// backed up is a program: who could write to a store could have root make one that runs as root.
pub(super) fn set_owner_and_mode(temp: &Path, path: &Path, mode: u32, uid: u32, gid: u32) -> Result<Option<String>> {
    let refused = match lchown(temp, Some(uid), Some(gid)) {
        Ok(()) => None,
        // EINVAL: a container that doesn't know that user.
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) => {
            Some(format!("{} belonged to uid {uid}, gid {gid}; only root can give it back to them", path.display()))
        }
        Err(e) => return Err(Error::io("change the owner of", temp, e)),
    };
    fs::set_permissions(temp, Permissions::from_mode(mode & 0o777))
        .map_err(|e| Error::io("change the mode of", temp, e))?;
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::error::ErrorKind;
    use crate::restore::{Selection, plan, rehearse};
    use crate::run::tests::{Site, id, publish};
    use crate::store::MemoryStore;

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

    #[test]
    fn only_a_refused_owner_is_no_error() {
        let site = Site::new();
        let env = site.root().join(".env");
        let found = fs::metadata(&env).unwrap();
        assert_eq!(set_owner_and_mode(&env, &env, 0o640, found.uid(), found.gid()).unwrap(), None);
        assert_eq!(fs::metadata(&env).unwrap().permissions().mode() & 0o7777, 0o640);
        let error = set_owner_and_mode(&site.root().join("missing"), &env, 0o640, 0, 0).unwrap_err();
        assert!(error.to_string().starts_with("can't change the owner of "), "{error}");
    }

    #[test]
    fn what_is_restored_is_named_after_its_place_until_then() {
        let site = Site::new();
        let path = site.root().join("sessions.db");
        let leftover = site.root().join(".sessions.db.restoring-wal");
        fs::write(&leftover, "of a killed restore").unwrap();
        let temp = temp_beside(&path).unwrap();
        assert_eq!(temp.path(), site.root().join(".sessions.db.restoring"));
        assert!(!leftover.exists());
    }
}
