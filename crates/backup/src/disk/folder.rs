//! A folder of a store, held open: nothing that is done in it can be led elsewhere.
//!
//! Whoever can write to a store can exchange a folder in it for a link at any moment. So a folder is opened once, and each
//! step takes its descriptor and a name without a `/`. A link in the place of that name is never followed.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat, fstat, fsync, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::at;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    descriptor: OwnedFd,
    /// For messages.
    path: PathBuf,
}

impl Folder {
    /// Opens the folder at `path`; links are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { descriptor: openat(CWD, path, flags, Mode::empty())?, path: path.to_path_buf() })
    }

    /// Opens a folder in this one; a link to one is an error.
    pub fn folder(&self, name: &str) -> io::Result<Self> {
        Ok(Self { descriptor: at::open_folder(&self.descriptor, single(name)?)?, path: self.path_of(name) })
    }

    /// Makes a private folder in this one, unless it exists.
    pub fn make_folder(&self, name: &str) -> io::Result<()> {
        match mkdirat(&self.descriptor, single(name)?, Mode::RWXU) {
            Err(Errno::EXIST) => Ok(()),
            made => Ok(made?),
        }
    }

    /// Its path, for messages.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a plain file for reading, as [`at::open_plain`].
    pub fn read(&self, name: &str) -> io::Result<File> {
        at::open_plain(&self.descriptor, single(name)?)
    }

    /// Opens a plain file with these flags, as [`at::open_file`].
    pub fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        at::open_file(&self.descriptor, single(name)?, flags)
    }

    /// What has this name: the link itself if it is one.
    pub fn stat(&self, name: &str) -> io::Result<Stat> {
        Ok(at::stat(&self.descriptor, single(name)?)?.ok_or(Errno::NOENT)?)
    }

    /// The user who owns it.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(fstat(&self.descriptor)?.st_uid)
    }

    /// All names in it that are UTF-8; a store has no others.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.descriptor)? {
            names.extend(entry?.file_name().to_str().map(str::to_string));
        }
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    /// Moves what has this name to another name or folder of the same disk, and replaces what has that name there.
    pub fn rename(&self, name: &str, to: &Self, new_name: &str) -> io::Result<()> {
        Ok(renameat(&self.descriptor, single(name)?, &to.descriptor, single(new_name)?)?)
    }

    /// Removes a file, or the link itself. It is no error if nothing has this name.
    pub fn remove_file(&self, name: &str) -> io::Result<()> {
        Ok(at::remove(&self.descriptor, single(name)?)?)
    }

    /// Removes what has this name, a folder with all that is in it. Folders in folders are moved up to this one first, so
    /// that no tree is too deep.
    pub fn remove_tree(&self, name: &str) -> io::Result<()> {
        match at::remove(&self.descriptor, single(name)?) {
            Ok(()) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(e) => return Err(e.into()),
        }
        let mut lifted = 0_u64;
        let mut left = vec![CString::new(name)?];
        while let Some(folder) = left.pop() {
            match unlinkat(&self.descriptor, &folder, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            let within = self.empty(&folder, &mut lifted)?;
            left.push(folder);
            left.extend(within);
        }
        Ok(())
    }

    /// Removes the files of a folder, and moves its folders to this one. Returns their new names.
    fn empty(&self, name: &CStr, lifted: &mut u64) -> io::Result<Vec<CString>> {
        let folder = at::open_folder(&self.descriptor, name)?;
        let mut folders = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if [c".", c".."].contains(&name) {
                continue;
            }
            match at::remove(&folder, name) {
                Ok(()) => {}
                Err(Errno::ISDIR | Errno::PERM) => folders.push(self.lift(&folder, name, lifted)?),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(folders)
    }

    /// Moves a folder to this one, under an unused name.
    fn lift(&self, from: &OwnedFd, name: &CStr, lifted: &mut u64) -> io::Result<CString> {
        loop {
            *lifted += 1;
            let to = CString::new(format!("scratch-{lifted}"))?;
            match renameat(from, name, &self.descriptor, &to) {
                Ok(()) => return Ok(to),
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Makes its entries durable: a rename or a new file counts only after this.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fsync(&self.descriptor)?)
    }

    /// Gives what root has just made under this name to the folder's owner.
    pub fn inherit_owner(&self, name: &str) {
        at::inherit_owner(&self.descriptor, name);
    }
}

/// Makes sure that a name is that of an entry of its folder.
fn single(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not the name of a file")));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn opened() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        (place, folder)
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let (_place, folder) = opened();
        for name in ["", ".", "..", "../x", "a/b", "/etc/passwd"] {
            assert_eq!(folder.read(name).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
            assert!(folder.remove_tree(name).is_err() && folder.remove_file(name).is_err(), "{name}");
            assert!(folder.folder(name).is_err() && folder.make_folder(name).is_err(), "{name}");
        }
    }

    #[test]
    fn no_link_is_followed() {
        let (place, folder) = opened();
        let (_elsewhere, other) = opened();
        other.open_file("mine", OFlags::WRONLY | OFlags::CREATE).unwrap();
        symlink(other.path_of("mine"), place.path().join("file")).unwrap();
        symlink(&other.path, place.path().join("folder")).unwrap();
        assert!(folder.read("file").unwrap_err().to_string().contains("link"));
        assert!(folder.open_file("file", OFlags::RDWR | OFlags::CREATE).unwrap_err().to_string().contains("link"));
        assert_eq!(folder.folder("folder").unwrap_err().kind(), io::ErrorKind::NotADirectory);
        folder.remove_tree("folder").unwrap();
        assert_eq!((folder.names().unwrap(), other.names().unwrap()), (vec!["file".into()], vec!["mine".into()]));
    }

    #[test]
    fn a_tree_of_any_depth_is_removed_and_what_links_in_it_lead_to_stays() {
        let (place, folder) = opened();
        let (_elsewhere, other) = opened();
        other.open_file("mine", OFlags::WRONLY | OFlags::CREATE).unwrap();
        folder.make_folder("deep").unwrap();
        // Far deeper than a path can be long.
        let mut within = folder.folder("deep").unwrap();
        for _ in 0..3000 {
            for name in ["a", "b"] {
                within.make_folder(name).unwrap();
            }
            within.open_file("file", OFlags::WRONLY | OFlags::CREATE).unwrap();
            within = Folder { path: PathBuf::new(), ..within.folder("a").unwrap() };
        }
        fs::create_dir_all(place.path().join("deep/b/links")).unwrap();
        symlink(&other.path, place.path().join("deep/b/links/out")).unwrap();
        folder.open_file("scratch-1", OFlags::WRONLY | OFlags::CREATE).unwrap();
        folder.remove_tree("deep").unwrap();
        assert_eq!((folder.names().unwrap(), other.names().unwrap()), (vec!["scratch-1".into()], vec!["mine".into()]));
    }

    #[test]
    fn a_folder_that_was_exchanged_for_a_link_is_still_the_one_that_was_opened() {
        let (place, folder) = opened();
        let (_elsewhere, other) = opened();
        fs::create_dir_all(other.path_of("tree/precious")).unwrap();
        folder.make_folder("staging").unwrap();
        let staging = folder.folder("staging").unwrap();
        staging.make_folder("tree").unwrap();
        fs::rename(place.path().join("staging"), place.path().join("moved")).unwrap();
        symlink(&other.path, place.path().join("staging")).unwrap();
        staging.remove_tree("tree").unwrap();
        assert!(other.path_of("tree/precious").exists());
        assert_eq!(staging.names().unwrap(), Vec::<String>::new());
    }
}
