//! A store in a local folder.
//!
//! The hazard: after a crash, or on a full disk, a half-written file could look whole. So no byte is written under its
//! final name: a file is written in `.staging`, synced, and only then renamed, and the rename is durable once its
//! folder is synced too. Folders are 0700 and files 0600 from their first byte, whatever the umask.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use rustix::fs::{Advice, FileType, OFlags, Stat, Uid, fadvise};
use rustix::process::geteuid;

use super::lock::{self, CurrentHolder, Holder, Lock, OnWait};
use super::state;
use super::traits::{LocalStore, Object, Staged, Store, already_exists};
use crate::disk::folder::Folder;
use crate::disk::synced::SyncedFile;
use crate::disk::{file, space};
use crate::error::{Error, ErrorKind, Result};
use crate::record::names::LEDGER;

const STAGING: &str = ".staging";
const LOCK: &str = ".lock";

const REMOVE_STAGING: &str = "remove it; the next run makes a folder in its place";

/// A folder of artifacts, manifests and the ledger. A link to the folder is followed; a link inside it never is.
#[derive(Debug, Clone)]
pub struct FolderStore {
    folder: PathBuf,
    opened: Arc<OnceLock<Folder>>,
}

impl FolderStore {
    /// The store in `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), opened: Arc::default() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The two files that `verify` and `drill` write: the lock and the ledger.
    pub fn records(folder: impl AsRef<Path>) -> [PathBuf; 2] {
        [LOCK, LEDGER].map(|name| folder.as_ref().join(name))
    }

    /// Whether nobody but the owner can read, write or search the folder. A folder that existed before keeps its mode,
    /// since other programs may share it.
    pub fn is_private(&self) -> bool {
        fs::metadata(&self.folder).is_ok_and(|found| found.mode() & 0o077 == 0)
    }

    /// Who holds the store's lock; `None` if nobody does. This is for display only: it may have changed already.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn lock_holder(&self) -> Result<Option<String>> {
        Ok(self.held()?.map(|held| held.to_string()))
    }

    /// Since when the lock has been held, to the second; `None` if nobody holds it, or the holder doesn't say.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn locked_since(&self) -> Result<Option<DateTime<FixedOffset>>> {
        Ok(self.held()?.and_then(|held| held.since()))
    }

    fn held(&self) -> Result<Option<CurrentHolder>> {
        match self.opened() {
            Ok(folder) => lock::current_holder(folder, LOCK),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("open", &self.folder.join(LOCK), e)),
        }
    }

    /// The folder, opened on the first call. Everything happens in that open folder, even if another takes its path
    /// later.
    fn opened(&self) -> io::Result<&Folder> {
        if let Some(folder) = self.opened.get() {
            return Ok(folder);
        }
        let folder = Folder::open(&self.folder)?;
        Ok(self.opened.get_or_init(|| folder))
    }

    /// The same; an error names the `verb` and the object.
    fn opened_to(&self, verb: &str, name: &str) -> Result<&Folder> {
        self.opened().map_err(|e| Error::io(verb, &self.folder.join(name), e))
    }

    /// The staging area, opened anew each time. A link in its place is an error.
    fn staging_to(&self, verb: &str, name: &str) -> Result<Folder> {
        let staging = self.opened().and_then(|folder| folder.folder(STAGING));
        let staging = staging.map_err(|e| self.not_staging(verb, name, e))?;
        self.require_trusted(staging.owner().map_err(|e| self.not_staging("stat", "", e))?)?;
        Ok(staging)
    }

    /// The owner of the staging area can replace what is written there, whatever its mode. So it must be this user,
    /// root, or the owner of the backup folder, who could do so anyway.
    fn require_trusted(&self, owner: u32) -> Result<()> {
        let of_folder = self.opened().and_then(Folder::owner).map_err(|e| Error::io("stat", &self.folder, e))?;
        if [geteuid().as_raw(), Uid::ROOT.as_raw(), of_folder].contains(&owner) {
            return Ok(());
        }
        let staging = self.folder.join(STAGING);
        let message = format!("{} belongs to uid {owner}, who could change what is written there", staging.display());
        Err(Error::new(ErrorKind::InvalidInput, message).with_hint(REMOVE_STAGING))
    }

    fn not_staging(&self, verb: &str, name: &str, e: io::Error) -> Error {
        let staging = self.folder.join(STAGING);
        if e.kind() == io::ErrorKind::NotADirectory {
            let message = format!("{} must be a folder, but is a link or a file", staging.display());
            return Error::new(ErrorKind::InvalidInput, message).with_hint(REMOVE_STAGING);
        }
        Error::io(verb, &staging.join(name), e)
    }

    /// A link to a disk that isn't mounted must not look like an empty store, nor be written to.
    fn check_link(&self) -> Result<()> {
        match fs::read_link(&self.folder) {
            Ok(target) if !self.folder.exists() => {
                let (folder, target) = (self.folder.display(), target.display());
                let message = format!("the backup folder {folder} is a link to {target}, which doesn't exist");
                Err(Error::new(ErrorKind::InvalidInput, message).with_hint("is the disk mounted?"))
            }
            _ => Ok(()),
        }
    }

    fn open(&self, name: &str) -> Result<File> {
        let file = self.opened().and_then(|folder| folder.read(name));
        file.map_err(|e| Error::io("open", &self.folder.join(name), e))
    }

    fn not_a_folder(&self) -> Error {
        let message = format!("the backup folder {} is not a folder", self.folder.display());
        Error::new(ErrorKind::InvalidInput, message).with_advice(crate::error::Advice::OtherFolder)
    }
}

/// Files and folders right below `folder` whose names are `wanted`, sorted.
fn objects(folder: &Folder, path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    let names = folder.names().map_err(|e| Error::io("list", path, e))?;
    for name in names.into_iter().filter(|name| wanted(name)) {
        let found = folder.stat(&name);
        objects.extend(object(name, path, found)?);
    }
    objects.sort();
    Ok(objects)
}

impl Store for FolderStore {
    fn location(&self) -> String {
        self.folder.display().to_string()
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        self.check_link()?;
        match self.opened() {
            Ok(folder) => objects(folder, &self.folder, |name| name.starts_with(prefix) && !name.starts_with('.')),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => Err(self.not_a_folder()),
            Err(e) => Err(Error::io("list", &self.folder, e)),
        }
    }

    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        let file = self.open(name)?;
        // The kernel then reads further ahead.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        Ok(Box::new(file))
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let failed = |e| Error::io("read", &self.folder.join(name), e);
        let mut file = self.open(name)?;
        file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn put(&self, name: &str, content: &mut dyn Read) -> Result<()> {
        // The caller holds the lock, so no other object of that name can appear in between.
        if self.opened().is_ok_and(|folder| folder.stat(name).is_ok()) {
            return Err(already_exists(name, &self.location()));
        }
        let mut staged = self.stage(name)?;
        io::copy(content, &mut staged).map_err(|e| Error::io("write", &self.folder.join(name), e))?;
        staged.finish()?;
        self.publish(&[name.to_string()])
    }

    fn remove(&self, name: &str) -> Result<()> {
        let folder = self.opened_to("remove", name)?;
        folder.remove_file(name).map_err(|e| Error::io("remove", &folder.path_of(name), e))?;
        sync(folder, &self.folder)
    }
}

impl LocalStore for FolderStore {
    fn prepare(&self) -> Result<()> {
        self.check_link()?;
        if fs::metadata(&self.folder).is_ok_and(|found| !found.is_dir()) {
            return Err(self.not_a_folder());
        }
        let is_new = !self.folder.exists();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|e| Error::io("create", &self.folder, e))?;
        let folder = self.opened_to("open", "")?;
        folder.make_folder(STAGING).map_err(|e| Error::io("create", &self.folder.join(STAGING), e))?;
        let staging = folder.stat(STAGING).map_err(|e| self.not_staging("stat", "", e))?;
        if FileType::from_raw_mode(staging.st_mode) != FileType::Directory {
            return Err(self.not_staging("open", "", io::ErrorKind::NotADirectory.into()));
        }
        self.require_trusted(staging.st_uid)?;
        if is_new {
            file::inherit_owner(&self.folder);
            file::sync_parent(&self.folder)?;
        }
        folder.inherit_owner(STAGING);
        Ok(())
    }

    fn lock(&self, holder: &Holder, wait: Duration, waiting: &mut OnWait<'_>) -> Result<Lock> {
        let folder = self.opened_to("open", LOCK)?;
        let lock = lock::acquire(folder, LOCK, holder, wait, waiting)?;
        folder.inherit_owner(LOCK);
        Ok(lock)
    }

    fn list_staged(&self) -> Result<Vec<Object>> {
        match self.opened().and_then(|folder| folder.folder(STAGING)) {
            Ok(staging) => objects(&staging, &self.folder.join(STAGING), |_| true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            // A user who may read the store but not its staging area still sees what is published.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(Vec::new()),
            Err(e) => Err(self.not_staging("list", "", e)),
        }
    }

    fn read_staged(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        let staging = self.staging_to("open", name)?;
        let file = staging.read(name).map_err(|e| Error::io("open", &staging.path_of(name), e))?;
        Ok(Box::new(file))
    }

    fn stage(&self, name: &str) -> Result<Box<dyn Staged>> {
        let staging = self.staging_to("create", name)?;
        // Always a new file: whoever created an existing one may have it open.
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = staging.remove_file(name).and_then(|()| staging.open_file(name, new));
        let file = file.map_err(|e| Error::io("create", &staging.path_of(name), e))?;
        staging.inherit_owner(name);
        let (file, name) = (SyncedFile::new(file, leave_cache), name.to_string());
        Ok(Box::new(LocalStaged { file, staging, name, finished: false }))
    }

    fn publish(&self, names: &[String]) -> Result<()> {
        let (staging, folder) = (self.staging_to("open", "")?, self.opened_to("open", "")?);
        names.iter().try_for_each(|name| rename(&staging, name, folder))?;
        sync(folder, &self.folder)
    }

    fn withdraw(&self, name: &str) -> Result<()> {
        let (staging, folder) = (self.staging_to("open", "")?, self.opened_to("rename", name)?);
        rename(folder, name, &staging)?;
        sync(&staging, &self.folder.join(STAGING))?;
        sync(folder, &self.folder)
    }

    fn discard(&self, name: &str) -> Result<()> {
        let staging = self.staging_to("remove", name)?;
        staging.remove_tree(name).map_err(|e| Error::io("remove", &staging.path_of(name), e))
    }

    fn append(&self, name: &str, line: &str) -> Result<()> {
        let folder = self.opened_to("append to", name)?;
        let is_new = folder.stat(name).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        append_line(folder, name, line).map_err(|e| Error::io("append to", &folder.path_of(name), e))?;
        if is_new {
            folder.inherit_owner(name);
            sync(folder, &self.folder)?;
        }
        Ok(())
    }

    fn scratch(&self) -> Option<PathBuf> {
        Some(self.folder.join(STAGING))
    }

    fn read_state(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        state::read(self.opened_to("read", name)?, name, most).map_err(|e| Error::io_named("read the state", name, e))
    }

    fn write_state(&self, name: &str, content: &[u8]) -> Result<()> {
        state::write(self.opened_to("write", name)?, name, content)
            .map_err(|e| Error::io_named("write the state", name, e))
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        space::free_bytes(&self.folder).map(Some)
    }
}

/// An entry of a listing; `None` if it was removed since. Any other error fails the listing: a manifest that is missing
/// from it would have its artifacts removed.
fn object(name: String, folder: &Path, found: io::Result<Stat>) -> Result<Option<Object>> {
    match found {
        Ok(found) => Ok(Some(Object { name, bytes: u64::try_from(found.st_size).unwrap_or(0) })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("stat", &folder.join(name), e)),
    }
}

fn rename(from: &Folder, name: &str, to: &Folder) -> Result<()> {
    from.rename(name, to, name).map_err(|e| Error::io("rename", &from.path_of(name), e))
}

fn sync(folder: &Folder, path: &Path) -> Result<()> {
    folder.sync().map_err(|e| Error::io("sync", path, e))
}

fn append_line(folder: &Folder, name: &str, line: &str) -> io::Result<()> {
    let mut file = folder.open_file(name, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)?;
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    // A crash may have cut the last line short: end it, so that only that one line is lost.
    let torn = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{torn}{line}\n").as_bytes())?;
    file.sync_data()
}

/// A file in the staging area, removed again when dropped unfinished.
struct LocalStaged {
    file: SyncedFile,
    staging: Folder,
    name: String,
    finished: bool,
}

/// Frees the page cache of a file that is on disk: a small server needs that memory for its application. The kernel may
/// ignore it.
fn leave_cache(file: &File) {
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}

impl Write for LocalStaged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Staged for LocalStaged {
    fn finish(mut self: Box<Self>) -> Result<()> {
        let synced = self.file.finish().and_then(|()| self.staging.sync());
        synced.map_err(|e| Error::io("sync", &self.staging.path_of(&self.name), e))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for LocalStaged {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: the next run removes what is left.
            let _ = self.staging.remove_file(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_local_store_conforms() {
        let folder = tempfile::tempdir().unwrap();
        super::super::conformance::local(&FolderStore::new(folder.path().join("backups")));
    }

    #[test]
    fn everything_is_private_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path().join("backups"));
        store.prepare().unwrap();
        let mut staged = store.stage("a").unwrap();
        staged.write_all(b"x").unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(store.folder.join(".staging/a")), 0o600);
        staged.finish().unwrap();
        store.publish(&["a".into()]).unwrap();
        store.append(crate::record::names::LEDGER, "{}").unwrap();
        assert_eq!(mode(store.folder.join("a")), 0o600);
        assert_eq!(mode(store.folder.join(crate::record::names::LEDGER)), 0o600);
        assert_eq!(mode(store.folder.clone()), 0o700);
        assert_eq!(mode(store.folder.join(STAGING)), 0o700);
    }

    #[test]
    fn a_torn_last_line_stays_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path());
        fs::write(store.folder.join("h"), "{\"whole\":1}\n{\"to").unwrap();
        store.append("h", "{\"next\":1}").unwrap();
        assert_eq!(fs::read_to_string(store.folder.join("h")).unwrap(), "{\"whole\":1}\n{\"to\n{\"next\":1}\n");
    }

    #[test]
    fn a_file_in_the_folders_place_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backups");
        fs::write(&path, "").unwrap();
        let error = FolderStore::new(&path).prepare().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(path.to_str().unwrap()));
        assert!(FolderStore::new(&path).list("").is_err());
    }

    /// A prepared store in a folder of its own.
    fn prepared() -> (tempfile::TempDir, FolderStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path().join("backups"));
        store.prepare().unwrap();
        (folder, store)
    }

    #[test]
    fn a_folder_that_others_can_look_into_is_not_private() {
        let (_folder, store) = prepared();
        for (mode, private) in [(0o700, true), (0o750, false), (0o701, false), (0o600, true)] {
            fs::set_permissions(store.folder(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(store.is_private(), private, "{mode:o}");
        }
        fs::set_permissions(store.folder(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(store.location(), store.folder().display().to_string());
        assert!(!FolderStore::new(store.folder().join("missing")).is_private());
    }

    #[test]
    fn who_holds_the_lock_can_be_asked() {
        let (_folder, store) = prepared();
        assert_eq!(store.lock_holder().unwrap(), None);
        let holder = Holder { pid: 7, host: "box".into(), command: "rotate".into(), since: "noon".into() };
        let lock = store.lock(&holder, Duration::ZERO, &mut |_| Ok(())).unwrap();
        assert!(store.lock_holder().unwrap().unwrap().contains("rotate"));
        drop(lock);
        assert_eq!(store.lock_holder().unwrap(), None);
    }

    #[test]
    fn a_link_counts_as_what_it_leads_to_and_one_to_nowhere_is_refused() {
        let (folder, store) = prepared();
        let link = |target: &Path| {
            let link = folder.path().join("link");
            file::remove_file(&link).unwrap();
            std::os::unix::fs::symlink(target, &link).unwrap();
            FolderStore::new(link)
        };
        assert_eq!(link(store.folder()).list("").unwrap(), []);
        link(store.folder()).prepare().unwrap();
        let nowhere = link(&folder.path().join("unmounted"));
        for error in [nowhere.list("").unwrap_err(), nowhere.prepare().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("unmounted, which doesn't exist"), "{error}");
        }
    }

    #[test]
    fn only_a_folder_that_is_missing_is_empty() {
        let (_folder, store) = prepared();
        fs::remove_dir(store.folder.join(STAGING)).unwrap();
        assert_eq!(store.list_staged().unwrap(), []);
        fs::write(store.folder.join(STAGING), "").unwrap();
        assert_eq!(store.list_staged().unwrap_err().kind(), ErrorKind::InvalidInput);
        // A link to itself is neither missing nor no folder.
        let circle = store.folder.join("circle");
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        let error = FolderStore::new(circle.join("backups")).list("").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
    }

    #[test]
    fn a_link_in_the_staging_areas_place_is_refused() {
        let (folder, store) = prepared();
        fs::remove_dir(store.folder.join(STAGING)).unwrap();
        std::os::unix::fs::symlink(folder.path(), store.folder.join(STAGING)).unwrap();
        let error = store.prepare().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().ends_with(".staging must be a folder, but is a link or a file"), "{error}");
        assert_eq!(store.list_staged().unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_file_that_somebody_keeps_open_where_one_is_staged_gets_nothing_of_it() {
        let (_folder, store) = prepared();
        let path = store.folder.join(STAGING).join("a");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let theirs = File::open(&path).unwrap();
        let mut staged = store.stage("a").unwrap();
        staged.write_all(b"secret").unwrap();
        staged.finish().unwrap();
        assert_eq!((theirs.metadata().unwrap().len(), theirs.metadata().unwrap().nlink()), (0, 0));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_staging_area_that_is_exchanged_for_somebody_elses_is_refused() {
        if !geteuid().is_root() {
            return;
        }
        let (_folder, store) = prepared();
        std::os::unix::fs::chown(store.folder.join(STAGING), Some(4343), None).unwrap();
        for refused in [store.prepare(), store.stage("a").map(drop), store.publish(&["a".into()])] {
            let error = refused.unwrap_err();
            assert!(error.to_string().contains("belongs to uid 4343"), "{error}");
        }
    }

    #[test]
    fn a_listing_lacks_only_what_was_removed_meanwhile() {
        let listed = |kind: io::ErrorKind| object("a".into(), Path::new("a"), Err(kind.into()));
        assert_eq!(listed(io::ErrorKind::NotFound).unwrap(), None);
        assert_eq!(listed(io::ErrorKind::PermissionDenied).unwrap_err().kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn names_that_begin_with_a_dot_are_not_listed() {
        let (_folder, store) = prepared();
        fs::write(store.folder.join(".lock"), "").unwrap();
        fs::write(store.folder.join("shown"), "x").unwrap();
        assert_eq!(store.list("").unwrap(), [Object { name: "shown".into(), bytes: 1 }]);
    }

    #[test]
    fn free_space_is_that_of_the_disk() {
        let (_folder, store) = prepared();
        let free = store.free_bytes().unwrap().unwrap();
        assert!(free > 1 << 20, "{free}");
        assert_eq!(store.scratch(), Some(store.folder.join(STAGING)));
    }

    #[test]
    fn a_folder_in_the_staging_area_is_discarded_with_what_is_in_it() {
        let (_folder, store) = prepared();
        fs::create_dir_all(store.folder.join(STAGING).join("scratch/deep")).unwrap();
        store.discard("scratch").unwrap();
        assert_eq!(store.list_staged().unwrap(), []);
    }

    #[test]
    fn a_line_is_ended_before_the_next_only_if_it_was_torn() {
        let (_folder, store) = prepared();
        for content in ["", "x\n", "x"] {
            fs::write(store.folder.join("h"), content).unwrap();
            store.append("h", "next").unwrap();
            let ended = if content == "x" { "x\n" } else { content };
            assert_eq!(fs::read_to_string(store.folder.join("h")).unwrap(), format!("{ended}next\n"));
        }
    }
}
