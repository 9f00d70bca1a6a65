//! What is backed up: databases and sets of configuration files.

pub(crate) mod files;
pub(crate) mod sqlite;
pub(crate) mod syntax;

use std::path::{Path, PathBuf};

use crate::disk::place::require_trusted;
use crate::error::{Advice, Error, ErrorKind, Result};
use crate::record::manifest::Snapshot;
use crate::record::names::is_set_name;
use crate::record::relpath::RelPath;
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
    /// Bytes can't be checked, so only a damaged database is kept that way.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if its snapshot method is [`Snapshot::Bytes`].
    pub(crate) fn validate(&self) -> Result<()> {
        match self.snapshot {
            Snapshot::Vacuum | Snapshot::Pages => Ok(()),
            Snapshot::Bytes => {
                let message = format!("database {:?} can't have the snapshot method \"bytes\"", self.name);
                Err(Error::new(ErrorKind::InvalidInput, message).with_advice(Advice::OtherMethod))
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

    /// Checks that every name is valid in file names and used once, that no path is listed twice, that no set has more files
    /// than an archive can hold, and that every snapshot method can be configured.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for the first that fails.
    pub fn validate(&self) -> Result<()> {
        self.validate_names()?;
        self.databases.iter().try_for_each(DatabaseSource::validate)?;
        if let Some(set) = self.files.iter().find(|set| set.paths.len() > MAX_FILES) {
            let message = format!("{:?} has {} files, more than {MAX_FILES}", set.name, set.paths.len());
            return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("make several sets of them"));
        }
        self.validate_paths()
    }

    fn validate_names(&self) -> Result<()> {
        let names: Vec<&str> = self.names().collect();
        for (at, name) in names.iter().enumerate() {
            if !is_set_name(name) {
                let message = format!("{name:?} can't name a database or a set of files");
                return Err(Error::new(ErrorKind::InvalidInput, message)
                    .with_hint("use 1 to 64 letters, digits, _ or -; `manifest` is taken"));
            }
            if names[..at].contains(name) {
                let message = format!("{name:?} names two databases or sets of files");
                return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("give each its own name"));
            }
        }
        Ok(())
    }

    fn validate_paths(&self) -> Result<()> {
        let databases = self.databases.iter().map(|database| &database.path);
        let paths: Vec<&RelPath> = databases.chain(self.files.iter().flat_map(|files| &files.paths)).collect();
        match paths.iter().enumerate().find(|(at, path)| paths[..*at].contains(path)) {
            Some((_, path)) => Err(Error::new(ErrorKind::InvalidInput, format!("{path} is listed twice"))
                .with_hint("list each file once; a database isn't a configuration file")),
            None => Ok(()),
        }
    }
}

/// The path below `root`, if every link on the way can be trusted: root made it, or the user who runs this, or the owner of
/// its target. Another user's link could lead to a file that they can't read, and a backup would show it to them, or a
/// restore replace it.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`] if a link can't be trusted.
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
        assert_eq!(twice.validate().unwrap_err().to_string(), "db0 is listed twice");
        let mut twice = sources(&[], &["b"]);
        twice.files[0].paths.push(RelPath::new("file0").unwrap());
        assert_eq!(twice.validate().unwrap_err().to_string(), "file0 is listed twice");
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
