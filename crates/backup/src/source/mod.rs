//! What is backed up: databases and sets of configuration files, by their configured names.

pub(crate) mod files;
pub(crate) mod sqlite;
pub(crate) mod syntax;

use std::path::{Path, PathBuf};

use crate::disk::place::require_trusted;
use crate::record::manifest::Snapshot;
use crate::record::names::is_set_name;
use crate::record::relpath::RelPath;
use crate::{Error, ErrorKind, Result};
use files::MAX_FILES;

/// A database to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSource {
    /// Its name in artifact names: letters, digits, `_`, `-`.
    pub name: String,
    /// Where it is, relative to the project's root.
    pub path: RelPath,
    /// How its snapshot is taken; not [`Snapshot::Bytes`].
    pub snapshot: Snapshot,
    /// SQL that a drill runs on the restored copy; each must give one true value.
    pub probes: Vec<String>,
}

impl DatabaseSource {
    /// Bytes prove nothing: only what is damaged is kept so.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if they are its snapshot method.
    pub(crate) fn validate(&self) -> Result<()> {
        match self.snapshot {
            Snapshot::Vacuum | Snapshot::Pages => Ok(()),
            Snapshot::Bytes => {
                let message = format!("database {:?} can't have the snapshot method \"bytes\"", self.name);
                Err(Error::new(ErrorKind::InvalidInput, message)
                    .with_hint("use \"vacuum\" or \"pages\"; bytes are how --allow-damaged keeps a damaged database"))
            }
        }
    }
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

    /// The paths of the database or set of this name.
    pub(crate) fn paths_of(&self, name: &str) -> impl Iterator<Item = &RelPath> {
        let databases = self.databases.iter().filter(move |it| it.name == name).map(|database| &database.path);
        databases.chain(self.files.iter().filter(move |it| it.name == name).flat_map(|files| &files.paths))
    }

    /// Checks that every name can stand in a file name and stands for one thing, that no path is there twice, that no set
    /// has more files than an archive may have members, and that every snapshot method can be configured.
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
        self.databases.iter().try_for_each(DatabaseSource::validate)?;
        if let Some(set) = self.files.iter().find(|set| set.paths.len() > MAX_FILES) {
            let message = format!("{:?} has {} files, more than {MAX_FILES}", set.name, set.paths.len());
            return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("make several sets of them"));
        }
        let databases = self.databases.iter().map(|database| &database.path);
        let paths: Vec<&RelPath> = databases.chain(self.files.iter().flat_map(|files| &files.paths)).collect();
        match paths.iter().enumerate().find(|(at, path)| paths[..*at].contains(path)) {
            Some((_, path)) => Err(Error::new(ErrorKind::InvalidInput, format!("{path} is to be backed up twice"))
                .with_hint("name each file once; a database is no configuration file")),
            None => Ok(()),
        }
    }
}

/// Where `path` is below `root`. A link on the way is followed if root made it, or who runs this, or the owner of what it
/// leads to. Anybody else's may lead to what is closed to them, which they would then find in a backup, or have replaced
/// by a restore.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`] if there is another one.
pub(crate) fn followed(root: &Path, path: &RelPath) -> Result<PathBuf> {
    require_trusted(root, path).map(|()| path.under(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each with a path of its own.
    fn sources(databases: &[&str], files: &[&str]) -> Sources {
        let path = |kind: &str, at: usize| RelPath::new(format!("{kind}{at}")).unwrap();
        let database = |(at, name): (usize, &&str)| DatabaseSource {
            name: (*name).into(),
            path: path("db", at),
            snapshot: Snapshot::Vacuum,
            probes: Vec::new(),
        };
        let set = |(at, name): (usize, &&str)| FilesSource { name: (*name).into(), paths: vec![path("file", at)] };
        Sources {
            databases: databases.iter().enumerate().map(database).collect(),
            files: files.iter().enumerate().map(set).collect(),
        }
    }

    #[test]
    fn a_path_is_backed_up_once() {
        let mut twice = sources(&["a"], &["b"]);
        twice.files[0].paths.push(RelPath::new("db0").unwrap());
        assert_eq!(twice.validate().unwrap_err().to_string(), "db0 is to be backed up twice");
        let mut twice = sources(&[], &["b"]);
        twice.files[0].paths.push(RelPath::new("file0").unwrap());
        assert_eq!(twice.validate().unwrap_err().to_string(), "file0 is to be backed up twice");
    }

    #[test]
    fn a_sound_database_is_never_kept_as_bytes() {
        let mut sources = sources(&["a"], &[]);
        sources.databases[0].snapshot = Snapshot::Bytes;
        let error = sources.validate().unwrap_err();
        assert_eq!(error.to_string(), "database \"a\" can't have the snapshot method \"bytes\"");
    }

    #[test]
    fn names_that_files_can_bear_and_that_differ_are_valid() {
        let sources = sources(&["sessions_db", "B-2"], &["config", "0"]);
        sources.validate().unwrap();
        assert_eq!(sources.names().collect::<Vec<_>>(), ["sessions_db", "B-2", "config", "0"]);
        Sources::default().validate().unwrap();
    }

    #[test]
    fn a_name_that_cannot_stand_in_a_file_name_is_refused_by_name() {
        for name in ["", "a b", "a/b", "..", "ä", "manifest", &"x".repeat(65)] {
            for sources in [sources(&["ok", name], &[]), sources(&["ok"], &[name])] {
                let error = sources.validate().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
            }
        }
    }

    #[test]
    fn a_name_stands_for_one_thing() {
        for sources in [sources(&["a", "a"], &[]), sources(&["a"], &["a"]), sources(&[], &["a", "a"])] {
            let error = sources.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), "\"a\" names two databases or sets of files");
        }
    }
}
