//! The files of an application that should be backed up: SQLite databases, known by their first bytes, and small files that
//! look like its configuration. `init` proposes them; a person decides.
//!
//! Folders that can be made again (build output, caches, packages, environments) or hold no state of the application
//! (version control, tests) are skipped, and so are links.

use std::collections::VecDeque;
use std::fs::{self, DirEntry, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use backup::{Error, RelPath, Result};

/// The first bytes of every SQLite database: <https://www.sqlite.org/fileformat2.html#magic_header_string>.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Folders that are skipped. So are hidden ones.
const PASSED_OVER: [&str; 17] = [
    "target",
    "node_modules",
    "bower_components",
    "vendor",
    "venv",
    "virtualenv",
    "env",
    "__pycache__",
    "site-packages",
    "dist",
    "build",
    "backups",
    "logs",
    "test",
    "tests",
    "testdata",
    "fixtures",
];

/// The most folders and files that are searched; an application has fewer.
const MOST_ENTRIES: usize = 100_000;

/// The deepest folder that is searched, below the root.
const DEEPEST: usize = 8;

/// The largest file that is taken for configuration.
const LARGEST: u64 = 1 << 20;

/// Endings of example configurations, which belong to the source code.
const EXAMPLES: [&str; 5] = ["example", "sample", "template", "dist", "defaults"];

/// What was found, sorted by path.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Databases, with their sizes in bytes.
    pub databases: Vec<(RelPath, u64)>,
    /// Files of configuration.
    pub files: Vec<RelPath>,
    /// Whether there is more than was searched.
    pub is_cut: bool,
}

impl Survey {
    /// Looks through `root`.
    ///
    /// # Errors
    /// If `root` can't be read. A folder in it that can't be read is skipped.
    pub fn of(root: &Path) -> Result<Self> {
        let mut found = Self::default();
        let mut left = MOST_ENTRIES;
        let mut folders = VecDeque::from([(root.to_path_buf(), 0)]);
        while let Some((folder, depth)) = folders.pop_front() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if depth == 0 => return Err(Error::io("read", &folder, error)),
                Err(_) => continue,
                Ok(entries) => entries.flatten(),
            };
            for entry in entries {
                let Some(rest) = left.checked_sub(1) else {
                    found.is_cut = true;
                    break;
                };
                left = rest;
                let inner = found.look_at(root, &entry, depth);
                folders.extend(inner.map(|folder| (folder, depth + 1)));
            }
        }
        found.databases.sort();
        found.files.sort();
        Ok(found)
    }

    /// Adds a file; gives a folder that has to be searched.
    fn look_at(&mut self, root: &Path, entry: &DirEntry, depth: usize) -> Option<PathBuf> {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && is_looked_into(entry) => {
                self.is_cut |= depth == DEEPEST;
                return (depth < DEEPEST).then(|| entry.path());
            }
            Ok(kind) if kind.is_file() => self.add(root, entry),
            _ => {}
        }
        None
    }

    fn add(&mut self, root: &Path, entry: &DirEntry) {
        let (path, Ok(bytes)) = (entry.path(), entry.metadata().map(|found| found.len())) else { return };
        // The settings can't name it if it isn't UTF-8, say.
        let relative = path.strip_prefix(root).ok().and_then(Path::to_str);
        let Some(relative) = relative.and_then(|path| RelPath::new(path).ok()) else { return };
        if is_database(&path) {
            self.databases.push((relative, bytes));
        } else if bytes <= LARGEST && is_configuration(&relative) {
            self.files.push(relative);
        }
    }
}

/// `venv` under any name has a `pyvenv.cfg`, caches have a `CACHEDIR.TAG`.
fn is_looked_into(entry: &DirEntry) -> bool {
    let (name, path) = (entry.file_name(), entry.path());
    let name = name.to_string_lossy();
    let is_marked = || ["pyvenv.cfg", "CACHEDIR.TAG"].iter().any(|mark| path.join(mark).exists());
    !name.starts_with('.') && !PASSED_OVER.contains(&name.as_ref()) && !is_marked()
}

fn is_database(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *MAGIC
}

/// `.env` and the like anywhere, and JSON in the root's `data`. Files in a `config` folder usually belong to the source
/// code.
fn is_configuration(path: &RelPath) -> bool {
    let name = path.file_name();
    let is_env = name == ".env" || name.strip_prefix(".env.").is_some_and(|end| !EXAMPLES.contains(&end));
    let in_data = path.as_str().strip_prefix("data/").is_some_and(|rest| !rest.contains('/'));
    is_env || in_data && PathBuf::from(name).extension().is_some_and(|ending| ending == "json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let is_database = [".db", ".sqlite3", ".bin"].iter().any(|ending| file.ends_with(ending));
            fs::write(path, if is_database { [MAGIC.as_slice(), &[0; 84]].concat() } else { b"{}".to_vec() }).unwrap();
        }
    }

    fn found(root: &Path) -> (Vec<String>, Vec<String>) {
        let Survey { databases, files, .. } = Survey::of(root).unwrap();
        (databases.into_iter().map(|(path, _)| path.into()).collect(), files.into_iter().map(String::from).collect())
    }

    #[test]
    fn databases_are_known_by_how_they_begin_whatever_they_are_called() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &["data/app.db", "var/lib/deep/b.sqlite3", "store.bin", "data/app.db-wal", "notes.txt"]);
        fs::write(dir.path().join("data/empty.db"), "").unwrap();
        fs::write(dir.path().join("data/other.db"), "SQLite format 2").unwrap();
        assert_eq!(found(dir.path()).0, ["data/app.db", "store.bin", "var/lib/deep/b.sqlite3"]);
    }

    #[test]
    fn what_can_be_made_again_and_what_links_lead_to_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("app");
        make(
            &root,
            &[
                ".git/x.db",
                "target/x.db",
                "web/node_modules/p/x.db",
                "venv/x.db",
                "my-env/pyvenv.cfg",
                "my-env/x.db",
                "cache/CACHEDIR.TAG",
                "cache/x.db",
                "backups/x.db",
                "tests/x.db",
                ".cache/x.db",
            ],
        );
        make(dir.path(), &["outside/x.db"]);
        std::os::unix::fs::symlink(dir.path().join("outside"), root.join("linked")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside/x.db"), root.join("linked.db")).unwrap();
        std::os::unix::fs::symlink(&root, root.join("circle")).unwrap();
        assert_eq!(Survey::of(&root).unwrap(), Survey::default());
    }

    #[test]
    fn configuration_is_what_the_source_does_not_hold() {
        let dir = tempfile::tempdir().unwrap();
        make(
            dir.path(),
            &[
                ".env",
                ".env.production",
                ".env.example",
                "server/.env",
                ".envrc",
                "data/station_info.json",
                "data/x/y.json",
                "package.json",
                "config/default.toml",
                "data/readme.md",
            ],
        );
        fs::write(dir.path().join("data/large.json"), vec![b' '; 2 << 20]).unwrap();
        assert_eq!(found(dir.path()).1, [".env", ".env.production", "data/station_info.json", "server/.env"]);
    }

    #[test]
    fn a_folder_that_goes_on_and_on_ends_the_search() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &["1/2/3/4/5/6/7/8/a.db", "1/2/3/4/5/6/7/8/9/b.db"]);
        let survey = Survey::of(dir.path()).unwrap();
        assert_eq!((survey.databases.len(), survey.is_cut), (1, true));
    }
}
