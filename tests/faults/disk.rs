//! The states of a disk that POSIX allows after a power failure: what was synced is there; every other change may be
//! there or not, in any combination. A file's content is synced by its own `fsync`, its name by that of its folder. A
//! rename happens as a whole, and is synced with the folder of the new name. Writes are cut into blocks.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The unit of writes: of a longer write, each block may be there or not.
const BLOCK: usize = 4096;

/// A file, whatever its name.
type FileId = usize;

/// The target of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Folder,
    File(FileId),
}

/// A change of a file's content.
#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

/// A file's content: initial bytes, and the changes since.
#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Rc<Vec<u8>>,
    changes: Vec<Rc<Change>>,
    /// Two contents with other changes have other versions.
    version: u64,
}

/// A step that is on the disk as a whole or not at all.
#[derive(Debug, Clone)]
enum Step {
    Content { file: FileId, change: Rc<Change> },
    Names { folder: PathBuf, set: Option<(PathBuf, Node)>, remove: Option<(PathBuf, Node)> },
}

/// All names and contents at one moment.
#[derive(Debug, Clone, Default)]
pub struct State {
    names: BTreeMap<PathBuf, Node>,
    contents: BTreeMap<FileId, Content>,
}

/// A disk while a program changes it.
#[derive(Debug, Default)]
pub struct Disk {
    synced: State,
    /// The state that programs see.
    current: State,
    /// Steps that are not synced yet, each with its number.
    pending: Vec<(u64, Step)>,
    steps: u64,
    files: FileId,
}

impl Disk {
    /// A disk with these entries, all synced. Folders have no content.
    pub fn new(entries: impl IntoIterator<Item = (PathBuf, Option<Vec<u8>>)>) -> Self {
        let mut disk = Self::default();
        for (path, bytes) in entries {
            let node = bytes.map_or(Node::Folder, |bytes| {
                disk.files += 1;
                let content = Content { bytes: Rc::new(bytes), ..Content::default() };
                disk.current.contents.insert(disk.files, content);
                Node::File(disk.files)
            });
            disk.current.names.insert(path, node);
        }
        disk.synced = disk.current.clone();
        disk
    }

    pub fn current(&self) -> &State {
        &self.current
    }

    pub fn write(&mut self, path: &Path, at: usize, bytes: &[u8]) {
        let Some(file) = self.current.file(path) else { return };
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let (block, more) = rest.split_at(rest.len().min(BLOCK - at % BLOCK));
            let change = Rc::new(Change::Write { at, bytes: block.to_vec() });
            self.step(Step::Content { file, change });
            (at, rest) = (at + block.len(), more);
        }
    }

    pub fn truncate(&mut self, path: &Path, length: usize) {
        if let Some(file) = self.current.file(path).filter(|_| self.current.length(path) != Some(length)) {
            self.step(Step::Content { file, change: Rc::new(Change::Truncate(length)) });
        }
    }

    /// Makes an empty file, if there is none of that name.
    pub fn create(&mut self, path: &Path) {
        if !self.current.names.contains_key(path) {
            self.files += 1;
            self.set(path, Node::File(self.files));
        }
    }

    pub fn make_folder(&mut self, path: &Path) {
        self.set(path, Node::Folder);
    }

    fn set(&mut self, path: &Path, node: Node) {
        let folder = path.parent().unwrap().to_path_buf();
        self.step(Step::Names { folder, set: Some((path.to_path_buf(), node)), remove: None });
    }

    /// Removes the name of a file or of a folder.
    pub fn remove(&mut self, path: &Path) {
        let node = self.current.names[path];
        let folder = path.parent().unwrap().to_path_buf();
        self.step(Step::Names { folder, set: None, remove: Some((path.to_path_buf(), node)) });
    }

    pub fn rename(&mut self, from: &Path, to: &Path) {
        let node = self.current.names[from];
        assert_ne!(node, Node::Folder, "{}: this model renames files only", from.display());
        let folder = to.parent().unwrap().to_path_buf();
        self.step(Step::Names {
            folder,
            set: Some((to.to_path_buf(), node)),
            remove: Some((from.to_path_buf(), node)),
        });
    }

    /// The steps that a sync of `path` would make durable now.
    pub fn begin_sync(&self, path: &Path) -> Vec<u64> {
        let is_of_it = |step: &Step| match step {
            Step::Content { file, .. } => self.current.file(path) == Some(*file),
            Step::Names { folder, .. } => folder == path,
        };
        self.pending.iter().filter(|(_, step)| is_of_it(step)).map(|(number, _)| *number).collect()
    }

    /// Ends a sync: these steps are durable.
    pub fn end_sync(&mut self, begun: &[u64]) {
        let (synced, pending) = std::mem::take(&mut self.pending).into_iter().partition(|(it, _)| begun.contains(it));
        self.pending = pending;
        let synced: Vec<(u64, Step)> = synced;
        for (number, step) in &synced {
            self.synced.apply(*number, step);
        }
    }

    fn step(&mut self, step: Step) {
        self.steps += 1;
        self.current.apply(self.steps, &step);
        self.pending.push((self.steps, step));
    }

    /// The number of changes that may be there or not.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The state of the disk if only these changes are there.
    pub fn after_power_cut(&self, mut is_there: impl FnMut(usize) -> bool) -> State {
        let mut state = self.synced.clone();
        for (at, (number, step)) in self.pending.iter().enumerate() {
            if is_there(at) {
                state.apply(*number, step);
            }
        }
        state
    }
}

impl State {
    fn apply(&mut self, number: u64, step: &Step) {
        match step {
            Step::Content { file, change } => {
                let content = self.contents.entry(*file).or_default();
                content.changes.push(Rc::clone(change));
                let mut hasher = DefaultHasher::new();
                (content.version, number).hash(&mut hasher);
                content.version = hasher.finish();
            }
            Step::Names { set, remove, .. } => {
                if let Some((path, node)) = remove
                    && self.names.get(path) == Some(node)
                {
                    self.names.remove(path);
                }
                self.names.extend(set.clone());
            }
        }
    }

    fn file(&self, path: &Path) -> Option<FileId> {
        match self.names.get(path) {
            Some(Node::File(file)) => Some(*file),
            _ => None,
        }
    }

    /// Files and folders (without content) that can be found: nothing in a folder that isn't there.
    pub fn entries(&self) -> impl Iterator<Item = (&Path, Option<Vec<u8>>)> {
        let is_found = |path: &&PathBuf| {
            path.ancestors().skip(1).all(|folder| folder.as_os_str().is_empty() || self.names.contains_key(folder))
        };
        let content = |node: &Node| match node {
            Node::Folder => None,
            Node::File(file) => Some(self.contents.get(file).map(Content::bytes).unwrap_or_default()),
        };
        self.names
            .iter()
            .filter(move |(path, _)| is_found(path))
            .map(move |(path, node)| (path.as_path(), content(node)))
    }

    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let file = self.file(path)?;
        Some(self.contents.get(&file).map(Content::bytes).unwrap_or_default())
    }

    pub fn length(&self, path: &Path) -> Option<usize> {
        let file = self.file(path)?;
        Some(self.contents.get(&file).map_or(0, Content::length))
    }

    /// A key that is equal for two states if the files that `concerns` accepts are.
    pub fn key(&self, concerns: impl Fn(&Path) -> bool) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, node) in self.names.iter().filter(|(path, _)| concerns(path)) {
            let version = match node {
                Node::Folder => 0,
                Node::File(file) => self.contents.get(file).map_or(0, |content| content.version),
            };
            (path, node, version).hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        for change in &self.changes {
            match &**change {
                Change::Truncate(length) => bytes.resize(*length, 0),
                Change::Write { at, bytes: written } => {
                    let end = at + written.len();
                    bytes.resize(bytes.len().max(end), 0);
                    bytes[*at..end].copy_from_slice(written);
                }
            }
        }
        bytes
    }

    fn length(&self) -> usize {
        let after = |length: usize, change: &Rc<Change>| match &**change {
            Change::Truncate(length) => *length,
            Change::Write { at, bytes } => length.max(at + bytes.len()),
        };
        self.changes.iter().fold(self.bytes.len(), after)
    }
}
