//! A folder by its descriptor: nothing that is done in it can be led elsewhere.
//!
//! Whoever may write to a store may exchange a folder in it for a link at any moment, between a look at it and its use. So
//! a folder is opened once, and what is done in it goes by its descriptor and a name without a `/`. A link in the place of
//! that name is never followed.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::fs::{chownat, fstat, fsync, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::disk::fsutil;
use rustix::process::geteuid;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    descriptor: OwnedFd,
    /// For messages.
    path: PathBuf,
}

impl Folder {
    /// Opens the folder at `path`, wherever links lead there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { descriptor: openat(CWD, path, flags, Mode::empty())?, path: path.to_path_buf() })
    }

    /// Opens a folder in this one; a link is none.
    pub fn folder(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = openat(&self.descriptor, single(name)?, flags, Mode::empty())?;
        Ok(Self { descriptor, path: self.path_of(name) })
    }

    /// Makes a private folder in this one; one that is there stays.
    pub fn make_folder(&self, name: &str) -> io::Result<()> {
        match mkdirat(&self.descriptor, single(name)?, Mode::RWXU) {
            Err(Errno::EXIST) => Ok(()),
            made => Ok(made?),
        }
    }

    /// How messages call what has this name.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a plain file for reading. What else may be in its place is an error: a pipe would be waited for without end,
    /// and to open a device can do anything.
    pub fn read(&self, name: &str) -> io::Result<File> {
        require_plain(&self.stat(name)?)?;
        self.open_file(name, OFlags::RDONLY)
    }

    /// Opens a plain file with these flags, private if it is new.
    pub fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&self.descriptor, single(name)?, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => require_plain(&fstat(&file)?).map(|()| file.into()),
            Err(Errno::LOOP) => Err(is_a_link()),
            Err(e) => Err(e.into()),
        }
    }

    /// What has this name, itself and not what it may lead to.
    pub fn stat(&self, name: &str) -> io::Result<Stat> {
        Ok(statat(&self.descriptor, single(name)?, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The user it belongs to.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(fstat(&self.descriptor)?.st_uid)
    }

    /// All names in it that are UTF-8: no others are ours.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.descriptor)? {
            names.extend(entry?.file_name().to_str().map(str::to_string));
        }
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    /// Moves what has this name to another folder of the same disk, in place of what has that name there.
    pub fn rename(&self, name: &str, to: &Self) -> io::Result<()> {
        Ok(renameat(&self.descriptor, single(name)?, &to.descriptor, name)?)
    }

    /// Removes a file, or a link itself; one that isn't there is removed already.
    pub fn remove_file(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.descriptor, single(name)?, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Removes what has this name, a folder with all that is in it. Folders in folders are first moved up to here, so that
    /// no depth is too deep.
    pub fn remove_tree(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.descriptor, single(name)?, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
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

    /// Removes the files of a folder, and moves its folders here. Gives their new names.
    fn empty(&self, name: &CStr, lifted: &mut u64) -> io::Result<Vec<CString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(&self.descriptor, name, flags, Mode::empty())?;
        let mut folders = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if [c".", c".."].contains(&name) {
                continue;
            }
            match unlinkat(&folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => folders.push(self.lift(&folder, name, lifted)?),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(folders)
    }

    /// Moves a folder here, under a name that nothing else has.
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

    /// Gives what was made under this name to the folder's owner: what root makes by hand must not be closed to the user
    /// whose folder it is. Only root can, and only root needs to.
    pub fn inherit_owner(&self, name: &str) {
        if geteuid().is_root()
            && let (Ok(made), Ok(folder)) = (self.stat(name), fstat(&self.descriptor))
            && (made.st_uid, made.st_gid) != (folder.st_uid, folder.st_gid)
        {
            let (uid, gid) = (Uid::from_raw(folder.st_uid), Gid::from_raw(folder.st_gid));
            let _ = chownat(&self.descriptor, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        }
    }
}

/// Makes sure that a name leads nowhere but to an entry of its folder.
fn single(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not the name of a file")));
    }
    Ok(name)
}

fn require_plain(found: &Stat) -> io::Result<()> {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err(is_a_link()),
        _ => Err(fsutil::not_plain()),
    }
}

fn is_a_link() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is a link, which is not followed there")
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
        // Far deeper than a path can say.
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
