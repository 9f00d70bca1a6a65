//! A store in a local folder.
//!
//! The hazard is a crash, or a full disk, that leaves a file which looks whole. So no byte goes to its final name:
//! a file is written in `.staging`, synced, and only then renamed; a rename counts once its folder is synced too.
//! Folders are 0700 and files 0600 from their first byte, whatever the umask.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use rustix::fs::{Advice, fadvise};

use super::{Object, Staged, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::fsutil;
use crate::lock::{Holder, Lock, Waiting};
use crate::names::HISTORY;
use crate::synced::SyncedFile;

const STAGING: &str = ".staging";
const LOCK: &str = ".lock";

/// A folder of artifacts, manifests and the ledger.
#[derive(Debug, Clone)]
pub struct LocalStore {
    folder: PathBuf,
}

impl LocalStore {
    /// The store in `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files in `folder` that a run writes which only proves something: its lock and its line in the ledger.
    pub fn records(folder: impl AsRef<Path>) -> [PathBuf; 2] {
        [LOCK, HISTORY].map(|name| folder.as_ref().join(name))
    }

    /// Whether nobody but its owner can look into it. A folder that was there before keeps its mode: it may be one
    /// that other programs share.
    pub fn is_private(&self) -> bool {
        fs::metadata(&self.folder).is_ok_and(|found| found.mode() & 0o077 == 0)
    }

    /// Who holds the store's lock just now; `None` if nobody does. For somebody who only wants to know: it may change at
    /// once.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn lock_holder(&self) -> Result<Option<String>> {
        Ok(Lock::holder(&self.path(LOCK))?.map(|held| held.to_string()))
    }

    /// Since when the run that holds the lock has it, to the second; `None` if no run does, or it doesn't say.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn locked_since(&self) -> Result<Option<DateTime<FixedOffset>>> {
        Ok(Lock::holder(&self.path(LOCK))?.and_then(|held| held.since()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn staging(&self) -> PathBuf {
        self.folder.join(STAGING)
    }

    /// A link to a disk that isn't mounted is neither an empty store nor a place for a new one.
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

    /// What is unfinished is removed from the staging area, with all that is below it: a link there could lead anywhere.
    fn check_staging(&self) -> Result<()> {
        let staging = self.staging();
        let found = fs::symlink_metadata(&staging).map_err(|e| Error::io("stat", &staging, e))?;
        if found.is_dir() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidInput, format!("{} is not a folder but a link", staging.display()))
            .with_hint("remove the link; a folder is made in its place"))
    }

    fn not_a_folder(&self) -> Error {
        let message = format!("the backup folder {} is not a folder", self.folder.display());
        Error::new(ErrorKind::InvalidInput, message)
            .with_hint("move that file away, or name another place with --backup-dir")
    }

    /// Files and folders right below `folder`, sorted; none if it doesn't exist.
    fn list_files(&self, folder: &Path) -> Result<Vec<Object>> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Err(self.not_a_folder()),
            Err(e) => return Err(Error::io("list", folder, e)),
        };
        let mut objects = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Error::io("list", folder, e))?;
            // Names that aren't UTF-8 are none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            objects.extend(object(name, &entry.path(), entry.metadata())?);
        }
        objects.sort();
        Ok(objects)
    }
}

impl Store for LocalStore {
    fn location(&self) -> String {
        self.folder.display().to_string()
    }

    fn prepare(&self) -> Result<()> {
        self.check_link()?;
        if fs::metadata(&self.folder).is_ok_and(|found| !found.is_dir()) {
            return Err(self.not_a_folder());
        }
        let is_new = !self.folder.exists();
        let staging = self.staging();
        DirBuilder::new().recursive(true).mode(0o700).create(&staging).map_err(|e| Error::io("create", &staging, e))?;
        self.check_staging()?;
        if is_new {
            fsutil::inherit_owner(&self.folder);
            fsutil::sync_parent(&self.folder)?;
        }
        fsutil::inherit_owner(&staging);
        Ok(())
    }

    fn lock(&self, holder: &Holder, wait: Duration, waiting: &mut Waiting<'_>) -> Result<Lock> {
        let lock = Lock::acquire(&self.path(LOCK), holder, wait, waiting)?;
        fsutil::inherit_owner(&self.path(LOCK));
        Ok(lock)
    }

    fn list(&self) -> Result<Vec<Object>> {
        self.check_link()?;
        let mut objects = self.list_files(&self.folder)?;
        objects.retain(|object| !object.name.starts_with('.'));
        Ok(objects)
    }

    fn list_staged(&self) -> Result<Vec<Object>> {
        match self.list_files(&self.staging()) {
            // Who may look into the store but not into its staging area can still see what is published.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(Vec::new()),
            other => other,
        }
    }

    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        let path = self.path(name);
        let file = fsutil::open_plain(&path).map_err(|e| Error::io("open", &path, e))?;
        // So that the kernel reads further ahead.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        Ok(Box::new(file))
    }

    fn stage(&self, name: &str) -> Result<Box<dyn Staged>> {
        let path = self.staging().join(name);
        let file = fsutil::create_private(&path).map_err(|e| Error::io("create", &path, e))?;
        fsutil::inherit_owner(&path);
        Ok(Box::new(LocalStaged { file: SyncedFile::new(file, leave_cache), path, finished: false }))
    }

    fn publish(&self, names: &[String]) -> Result<()> {
        for name in names {
            rename(&self.staging().join(name), &self.path(name))?;
        }
        fsutil::sync_folder(&self.folder)
    }

    fn withdraw(&self, name: &str) -> Result<()> {
        rename(&self.path(name), &self.staging().join(name))?;
        fsutil::sync_folder(&self.staging())?;
        fsutil::sync_folder(&self.folder)
    }

    fn remove(&self, name: &str) -> Result<()> {
        fsutil::remove_file(&self.path(name))?;
        fsutil::sync_folder(&self.folder)
    }

    fn discard(&self, name: &str) -> Result<()> {
        let path = self.staging().join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path).map_err(|e| Error::io("remove", &path, e)),
            _ => fsutil::remove_file(&path),
        }
    }

    fn append(&self, name: &str, line: &str) -> Result<()> {
        let path = self.path(name);
        let is_new = !path.exists();
        append_line(&path, line).map_err(|e| Error::io("append to", &path, e))?;
        if is_new {
            fsutil::inherit_owner(&path);
            fsutil::sync_folder(&self.folder)?;
        }
        Ok(())
    }

    fn scratch(&self) -> Option<PathBuf> {
        Some(self.staging())
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        fsutil::free_bytes(&self.folder).map(Some)
    }
}

/// An entry of a listing. Removed since, it isn't there any more. But a listing must not lack what is there: what belongs
/// to no published manifest is removed.
fn object(name: String, path: &Path, found: io::Result<Metadata>) -> Result<Option<Object>> {
    match found {
        Ok(found) => Ok(Some(Object { name, bytes: found.len() })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("stat", path, e)),
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::io("rename", from, e))
}

fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let mut file = fsutil::open_own(path, OpenOptions::new().read(true).append(true).create(true))?;
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
    path: PathBuf,
    finished: bool,
}

/// Lets go of what the page cache has of a file that is on disk: on a small server, that room is the application's. It is
/// advice, and nothing depends on it.
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
        self.file.finish().map_err(|e| Error::io("sync", &self.path, e))?;
        fsutil::sync_parent(&self.path)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for LocalStaged {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: what stays is swept by the next run.
            let _ = fsutil::remove_file(&self.path);
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
        super::super::conformance::check(&LocalStore::new(folder.path().join("backups")));
    }

    #[test]
    fn everything_is_private_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path().join("backups"));
        store.prepare().unwrap();
        let mut staged = store.stage("a").unwrap();
        staged.write_all(b"x").unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(store.path(".staging/a")), 0o600);
        staged.finish().unwrap();
        store.publish(&["a".into()]).unwrap();
        store.append(crate::names::HISTORY, "{}").unwrap();
        assert_eq!(mode(store.path("a")), 0o600);
        assert_eq!(mode(store.path(crate::names::HISTORY)), 0o600);
        assert_eq!(mode(store.folder.clone()), 0o700);
        assert_eq!(mode(store.staging()), 0o700);
    }

    #[test]
    fn a_torn_last_line_stays_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        fs::write(store.path("h"), "{\"whole\":1}\n{\"to").unwrap();
        store.append("h", "{\"next\":1}").unwrap();
        assert_eq!(fs::read_to_string(store.path("h")).unwrap(), "{\"whole\":1}\n{\"to\n{\"next\":1}\n");
    }

    #[test]
    fn a_file_in_the_folders_place_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backups");
        fs::write(&path, "").unwrap();
        let error = LocalStore::new(&path).prepare().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(path.to_str().unwrap()));
        assert!(LocalStore::new(&path).list().is_err());
    }

    /// A prepared store in a folder of its own.
    fn prepared() -> (tempfile::TempDir, LocalStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path().join("backups"));
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
        assert!(!LocalStore::new(store.folder().join("missing")).is_private());
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
            fsutil::remove_file(&link).unwrap();
            std::os::unix::fs::symlink(target, &link).unwrap();
            LocalStore::new(link)
        };
        assert_eq!(link(store.folder()).list().unwrap(), []);
        link(store.folder()).prepare().unwrap();
        let nowhere = link(&folder.path().join("unmounted"));
        for error in [nowhere.list().unwrap_err(), nowhere.prepare().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("unmounted, which doesn't exist"), "{error}");
        }
    }

    #[test]
    fn only_a_folder_that_is_missing_is_empty() {
        let (_folder, store) = prepared();
        fs::remove_dir(store.staging()).unwrap();
        assert_eq!(store.list_staged().unwrap(), []);
        fs::write(store.staging(), "").unwrap();
        assert_eq!(store.list_staged().unwrap_err().kind(), ErrorKind::InvalidInput);
        // A link to itself is neither missing nor no folder.
        let circle = store.path("circle");
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        assert_eq!(store.list_files(&circle).unwrap_err().kind(), ErrorKind::Io);
    }

    #[test]
    fn a_link_in_the_staging_areas_place_is_refused() {
        let (folder, store) = prepared();
        fs::remove_dir(store.staging()).unwrap();
        std::os::unix::fs::symlink(folder.path(), store.staging()).unwrap();
        let error = store.prepare().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().ends_with(".staging is not a folder but a link"), "{error}");
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
        fs::write(store.path(".lock"), "").unwrap();
        fs::write(store.path("shown"), "x").unwrap();
        assert_eq!(store.list().unwrap(), [Object { name: "shown".into(), bytes: 1 }]);
    }

    #[test]
    fn free_space_is_that_of_the_disk() {
        let (_folder, store) = prepared();
        let free = store.free_bytes().unwrap().unwrap();
        assert!(free > 1 << 20, "{free}");
        assert_eq!(store.scratch(), Some(store.staging()));
    }

    #[test]
    fn a_folder_in_the_staging_area_is_discarded_with_what_is_in_it() {
        let (_folder, store) = prepared();
        fs::create_dir_all(store.staging().join("scratch/deep")).unwrap();
        store.discard("scratch").unwrap();
        assert_eq!(store.list_staged().unwrap(), []);
    }

    #[test]
    fn a_line_is_ended_before_the_next_only_if_it_was_torn() {
        let (_folder, store) = prepared();
        for content in ["", "x\n", "x"] {
            fs::write(store.path("h"), content).unwrap();
            store.append("h", "next").unwrap();
            let ended = if content == "x" { "x\n" } else { content };
            assert_eq!(fs::read_to_string(store.path("h")).unwrap(), format!("{ended}next\n"));
        }
    }
}
