//! Who besides root can change the file at a path. Root must not act on a path that another user can change: that user
//! could replace a folder by a link after root has checked it and before root writes.
//!
//! The owner of a folder or link on the way can replace everything below it. A folder that only root can write to is
//! safe.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use backup::{Error, ErrorKind, Result};
use nix::unistd::{Uid, User};

use crate::text::quoted;

/// As many links as the kernel follows on the way to one file: `man 7 path_resolution`.
const MOST_LINKS: usize = 40;

/// In such a folder only the owner of a file can remove it: `man 1 chmod`, "restricted deletion flag".
const STICKY: u32 = 0o1000;

/// A user, not root, who can change the file at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// The user's number.
    pub uid: u32,
    /// The group of the place.
    pub gid: u32,
    /// What the user owns: the path itself, or a folder or link on the way to it.
    pub place: PathBuf,
}

impl Writer {
    /// The user's name, or number if it has none.
    pub fn name(&self) -> String {
        let user = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
        user.map_or_else(|| self.uid.to_string(), |user| user.name)
    }
}

/// The first user besides root who can change or create the file at `path`, which is absolute. None if only root can.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`] if a group, or everybody, can write to a folder or file of root's on the way, since
/// there is no single user then. Errors of the file system, such as too many links.
pub fn besides_root(path: &Path) -> Result<Option<Writer>> {
    walk(path, true)
}

/// The same for the way to a file. Who can write to the file itself doesn't matter.
///
/// # Errors
/// As [`besides_root`].
pub fn of_way_to(path: &Path) -> Result<Option<Writer>> {
    walk(path, false)
}

/// Walks the path. `counts`: whether its end counts too, if that isn't a folder.
fn walk(path: &Path, counts: bool) -> Result<Option<Writer>> {
    let mut walk = Walk { place: PathBuf::from("/"), rest: names(path), links: 0 };
    while let Some(name) = walk.rest.pop_front() {
        let next = walk.place.join(&name);
        let found = match fs::symlink_metadata(&next) {
            Ok(found) => found,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(Error::io("inspect", &next, e)),
        };
        if !counts && walk.rest.is_empty() && !found.is_symlink() && !found.is_dir() {
            return Ok(None);
        }
        if found.uid() != 0 {
            return Ok(Some(Writer { uid: found.uid(), gid: found.gid(), place: next }));
        }
        require_closed(&next, &found)?;
        if found.is_symlink() {
            walk.follow(&next)?;
        } else if name == ".." {
            walk.place.pop();
        } else {
            walk.place = next;
        }
    }
    Ok(None)
}

/// A walk along a path, name by name.
struct Walk {
    place: PathBuf,
    rest: VecDeque<OsString>,
    links: usize,
}

impl Walk {
    /// Continues where a link leads.
    fn follow(&mut self, link: &Path) -> Result<()> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Error::io("follow", link, rustix::io::Errno::LOOP.into()));
        }
        let target = fs::read_link(link).map_err(|e| Error::io("follow", link, e))?;
        if target.is_absolute() {
            self.place = PathBuf::from("/");
        }
        names(&target).into_iter().rev().for_each(|name| self.rest.push_front(name));
        Ok(())
    }
}

/// Somebody besides root who can write something.
#[derive(Debug)]
pub struct Outsider {
    /// How messages call them.
    pub name: String,
    /// The user's number, if it is one user.
    pub uid: Option<u32>,
}

/// Somebody besides root who can change the file at `path`; none if only root can.
///
/// # Errors
/// Errors of the file system.
pub fn outsider(path: &Path) -> Result<Option<Outsider>> {
    match besides_root(path) {
        Ok(writer) => Ok(writer.map(|writer| Outsider { name: writer.name(), uid: Some(writer.uid) })),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Ok(Some(Outsider { name: "a group, or everybody,".into(), uid: None }))
        }
        Err(error) => Err(error),
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_os_string()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().filter_map(name).collect()
}

/// Makes sure that nobody but root can write to a folder or file of root's.
fn require_closed(place: &Path, found: &Metadata) -> Result<()> {
    let is_shared = found.is_dir() && found.mode() & STICKY != 0;
    // With an access list (`man 5 acl`), the group's bits are the upper limit for all users and groups in it.
    let has_list = rustix::fs::lgetxattr_query(place, "system.posix_acl_access").is_ok();
    let group = found.mode() & 0o020 != 0 && (found.gid() != 0 || has_list);
    let all = found.mode() & 0o002 != 0;
    let is_content = found.is_dir() || found.is_file();
    if !is_content || is_shared || !(group || all) {
        return Ok(());
    }
    let who = match (all, has_list) {
        (true, _) => "everybody".into(),
        (false, true) => "a user or group of its access list".into(),
        (false, false) => format!("the group {}", found.gid()),
    };
    let message = format!("{who} can write to {}, so root doesn't act on it", place.display());
    let take = format!("chmod go-w {}", quoted(&place.display().to_string()));
    let hint = format!("run this as the application's user, or remove that right: {take}");
    Err(Error::new(ErrorKind::PermissionDenied, message).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn dots_and_roots_are_no_names_and_steps_up_are() {
        let names = |text: &str| names(Path::new(text)).into_iter().collect::<PathBuf>();
        assert_eq!(names("/srv/./a/../b/"), Path::new("srv/a/../b"));
        assert_eq!(names("/"), Path::new(""));
    }

    #[test]
    fn links_in_a_circle_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a");
        symlink(&place, &place).unwrap();
        // If this test doesn't run as root, its user owns the link.
        match besides_root(&place) {
            Ok(found) => assert_ne!(found.unwrap().uid, 0),
            Err(error) => assert!(error.to_string().contains("/a"), "{error}"),
        }
    }
}
