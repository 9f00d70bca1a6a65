//! What is backed up: databases and sets of configuration files, by their configured names.

pub(crate) mod files;
pub(crate) mod sqlite;

use crate::names::is_set_name;
use crate::relpath::RelPath;
use crate::{Error, ErrorKind, Result};

/// A database to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSource {
    /// Its name in artifact names: letters, digits, `_`, `-`.
    pub name: String,
    /// Where it is, relative to the project's root.
    pub path: RelPath,
    /// SQL that a drill runs on the restored copy; each must give one true value.
    pub probes: Vec<String>,
}

/// Configuration files to back up together, in one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesSource {
    /// The set's name in artifact names: letters, digits, `_`, `-`.
    pub name: String,
    /// Where the files are, relative to the project's root.
    pub paths: Vec<RelPath>,
}

/// All that belongs to a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Its databases.
    pub databases: Vec<DatabaseSource>,
    /// Its sets of configuration files.
    pub files: Vec<FilesSource>,
}

impl Sources {
    /// Names of all databases and sets, databases first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let databases = self.databases.iter().map(|database| database.name.as_str());
        databases.chain(self.files.iter().map(|files| files.name.as_str()))
    }

    /// Checks that every name can stand in a file name and stands for one thing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], naming the first that can't or doesn't.
    pub fn validate(&self) -> Result<()> {
        let names: Vec<&str> = self.names().collect();
        for (at, name) in names.iter().enumerate() {
            if !is_set_name(name) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("{name:?} can't name a database or a set of files"),
                )
                .with_hint("use 1 to 64 letters, digits, _ or -; `manifest` is taken"));
            }
            if names[..at].contains(name) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("{name:?} names two databases or sets of files"),
                )
                .with_hint("give each its own name"));
            }
        }
        Ok(())
    }
}
