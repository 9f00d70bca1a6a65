//! A project and its store, for tests of all modules.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::artifact::codec::Encoding;
use crate::error::Result;
use crate::operation::backup::{BackupReport, BackupRequest, Integrity, backup};
use crate::operation::look::Setup;
use crate::operation::run::Run;
use crate::operation::session::Session;
use crate::progress::Silent;
use crate::record::codec::Codec;
use crate::record::id::BackupId;
use crate::record::ledger::{Ledger, Line};
use crate::record::manifest::{Snapshot, Trigger};
use crate::record::names;
use crate::record::relpath::RelPath;
use crate::source::{DatabaseSource, FilesSource, Sources};
use crate::store::lock::Lock;
use crate::store::{FolderStore, LocalStore, LockedStore};

/// A project in a temporary folder, with a database of three sessions and an `.env`.
pub(crate) struct Site {
    pub folder: TempDir,
    pub sources: Sources,
}

impl Site {
    pub fn new() -> Self {
        // In memory, a sync costs nothing, and a sweep over all faults syncs thousands of times.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let path = |text| RelPath::new(text).unwrap();
        let database = DatabaseSource {
            name: "sessions_db".into(),
            path: path("sessions.db"),
            snapshot: Snapshot::Vacuum,
            probes: Vec::new(),
        };
        let files = FilesSource { name: "config".into(), paths: vec![path(".env")] };
        let site = Self { folder, sources: Sources { databases: vec![database], files: vec![files] } };
        site.execute(
            "PRAGMA synchronous = off; PRAGMA journal_mode = wal;
             CREATE TABLE sessions(id INTEGER PRIMARY KEY, kwh REAL);
             INSERT INTO sessions VALUES (1, 1.5), (2, 2.5), (3, 3.5);",
        );
        fs::write(site.root().join(".env"), "PORT=8080\n").unwrap();
        site
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn open(&self) -> Connection {
        Connection::open(self.root().join("sessions.db")).unwrap()
    }

    pub fn execute(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap();
    }

    pub fn sessions(&self) -> i64 {
        self.open().query_row("SELECT count(*) FROM sessions", [], |row| row.get(0)).unwrap()
    }

    /// A new store in the project's folder.
    pub fn local(&self) -> FolderStore {
        FolderStore::new(self.root().join("backups"))
    }

    pub fn setup<'a>(&self, store: &'a dyn LocalStore, now: &str) -> Setup<'a> {
        Setup {
            store,
            from: None,
            progress: &Silent,
            now: id(now).time().fixed_offset(),
            project: "charger-api".into(),
            root: self.root().to_path_buf(),
            host: "box".into(),
            boot: "boot".into(),
            version: "1.0.0".into(),
            command: "test".into(),
            lock_wait: Duration::ZERO,
            busy_timeout: Duration::from_secs(10),
            max_foreign: 1 << 30,
            scratch: None,
            temp: self.root().to_path_buf(),
        }
    }

    pub fn begin<'a>(&self, store: &'a dyn LocalStore, now: &str) -> Run<'a> {
        Run::begin(self.setup(store, now), &mut |_| {}).unwrap()
    }

    pub fn session<'a>(&self, store: &'a dyn LocalStore, now: &str) -> Session<'a> {
        self.begin(store, now).into()
    }

    pub fn request(&self) -> BackupRequest<'_> {
        let encoding = Encoding::new(Codec::Zstd, 1).unwrap();
        let (root, sources, integrity) = (self.root(), &self.sources, Integrity::Required);
        BackupRequest { root, sources, encoding, trigger: Trigger::Timer, pinned: false, integrity, tracked: false }
    }

    pub fn back_up(&self, run: &Run<'_>) -> Result<BackupReport> {
        backup(run, &self.request())
    }

    /// Makes a complete backup with that id.
    pub fn backup(&self, store: &dyn LocalStore, now: &str) -> BackupId {
        let made = self.back_up(&self.begin(store, now)).unwrap();
        assert!(made.failures.is_empty(), "{:?}", made.failures);
        assert_eq!(made.manifest.id, id(now));
        made.manifest.id
    }

    /// Makes complete backups by pages from now on, and one with that id.
    pub fn base(&mut self, store: &dyn LocalStore, now: &str) -> BackupId {
        self.sources.databases[0].snapshot = Snapshot::Pages;
        self.backup(store, now)
    }
}

pub(crate) fn id(text: &str) -> BackupId {
    text.parse().unwrap()
}

pub(crate) fn stage(store: &dyn LocalStore, name: &str, content: &[u8]) {
    let mut staged = store.stage(name).unwrap();
    staged.write_all(content).unwrap();
    staged.finish().unwrap();
}

pub(crate) fn publish(store: &dyn LocalStore, name: &str, content: &[u8]) {
    stage(store, name, content);
    store.publish(&[name.into()]).unwrap();
}

/// Changes a bit in the middle of a published object.
pub(crate) fn flip(store: &dyn LocalStore, file: &str) {
    let mut bytes = Vec::new();
    store.read(file).unwrap().read_to_end(&mut bytes).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    publish(store, file, &bytes);
}

pub(crate) fn staged(store: &dyn LocalStore) -> Vec<String> {
    store.list_staged().unwrap().into_iter().map(|object| object.name).collect()
}

/// The published names that belong to backups.
pub(crate) fn published(store: &dyn LocalStore) -> Vec<String> {
    let names = store.list("").unwrap().into_iter().map(|object| object.name);
    names.filter(|name| ![names::LEDGER, names::OWNER].contains(&name.as_str())).collect()
}

/// Asks every run to stop at once.
pub(crate) struct Stop;

impl crate::Progress for Stop {
    fn event(&self, _: crate::Event<'_>) {}

    fn should_stop(&self) -> bool {
        true
    }
}

/// Adds a line to the ledger of a store.
pub(crate) fn append(store: &dyn LocalStore, line: &Line) {
    Ledger::append(&LockedStore::new(store, Lock::new(())), line).unwrap();
}
