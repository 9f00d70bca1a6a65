//! Root works in another user's folders: whatever that user puts there, no file of root's is read, written, removed or
//! run. Each test is an attack that once succeeded.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should say so")]

#[path = "../cli/support.rs"]
#[allow(dead_code, reason = "shared with the other end-to-end tests")]
mod support;

mod decide;
mod owner;
mod races;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;

use support::{Project, shell};
use tempfile::TempDir;

/// The application's user: a number that has no name here.
pub const USER: u32 = 4242;

/// A project of [`USER`]'s with a backup, and a folder of root's that only root may read.
pub struct Place {
    /// The project.
    pub project: Project,
    roots: TempDir,
}

impl Place {
    /// A place as it should be.
    pub fn make() -> Self {
        let place = Self { project: Project::new(), roots: tempfile::tempdir().unwrap() };
        fs::write(place.roots("secret"), "of root's\n").unwrap();
        for (name, mode) in [("secret", 0o600), ("", 0o700)] {
            fs::set_permissions(place.roots(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        place.project.run("backup").expect(0);
        place.give("");
        place
    }

    /// A path in root's folder.
    pub fn roots(&self, name: &str) -> PathBuf {
        self.roots.path().join(name)
    }

    /// Gives the user everything below `relative`.
    pub fn give(&self, relative: &str) {
        shell(self.project.root(), &format!("chown -Rh {USER}:{USER} './{relative}'; chmod u+rwX ."));
    }

    /// A listing of root's folder: names, owners, modes, content.
    pub fn listing(&self) -> String {
        shell(self.roots.path(), "find . -printf '%p %y %m %U %G %s\n' | sort; cat secret")
    }

    /// Runs a script as the user.
    pub fn as_user(&self, script: &str) -> String {
        let run = format!("setpriv --reuid {USER} --regid {USER} --clear-groups sh -c {}", quoted(script));
        shell(self.project.root(), &run)
    }
}

/// Quotes a word for a shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Gives a path to root, and lets nobody else write to it.
pub fn root_owned(path: &std::path::Path) {
    chown(path, Some(0), Some(0)).unwrap();
}
