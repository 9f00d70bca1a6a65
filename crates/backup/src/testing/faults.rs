//! Stores that fail, and what must hold after a run that met a fault.

use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fixtures::{Site, published, staged};
use crate::artifact::read::Level;
use crate::catalog::{Catalog, Record};
use crate::error::{Error, ErrorKind, Result};
use crate::operation::check::Verdict;
use crate::operation::session::Session;
use crate::operation::verify::verify;
use crate::record::earlier_checks::EarlierChecks;
use crate::record::id::BackupId;
use crate::record::manifest::Status;
use crate::record::names;
use crate::store::lock::{Holder, Lock, OnWait};
use crate::store::{LocalStore, MemoryStore, Object, Staged, Store};

/// How a call of a [`WatchedStore`] store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call does nothing; the next one works again.
    Before,
    /// The call does its work, then fails.
    After,
    /// The call does nothing, and no later one works: like a crash.
    Crash,
    /// The call does its work, and no later one works.
    CrashAfter,
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::Before, Self::After, Self::Crash, Self::CrashAfter];
}

/// A store that logs each call, and fails at one of them.
pub(crate) struct WatchedStore<'a> {
    store: &'a dyn LocalStore,
    log: Arc<Log>,
    before_reading: Mutex<Option<Happening<'a>>>,
}

type Happening<'a> = Box<dyn FnOnce() + Send + 'a>;

#[derive(Default)]
struct Log {
    calls: Mutex<Vec<String>>,
    fault: Option<(usize, Fault)>,
}

impl<'a> WatchedStore<'a> {
    pub fn new(store: &'a dyn LocalStore) -> Self {
        Self { store, log: Arc::default(), before_reading: Mutex::default() }
    }

    /// A store where something happens before the first object is read.
    pub fn meanwhile(store: &'a dyn LocalStore, happens: impl FnOnce() + Send + 'a) -> Self {
        Self { before_reading: Mutex::new(Some(Box::new(happens))), ..Self::new(store) }
    }

    /// Fails at the call with this number, counted from 0.
    pub fn failing(store: &'a dyn LocalStore, at: usize, fault: Fault) -> Self {
        let log = Arc::new(Log { calls: Mutex::default(), fault: Some((at, fault)) });
        Self { log, ..Self::new(store) }
    }

    /// All calls that change something, except single writes: a verb and a name.
    pub fn changes(&self) -> Vec<String> {
        let changing = ["finish", "put", "publish", "withdraw", "remove", "discard", "append"];
        let is_change = |call: &&String| changing.contains(&call.split(' ').next().unwrap());
        self.log.calls.lock().unwrap().iter().filter(is_change).cloned().collect()
    }

    /// The number of calls that begin with this text.
    pub fn count(&self, call: &str) -> usize {
        self.log.calls.lock().unwrap().iter().filter(|made| made.starts_with(call)).count()
    }

    /// The number of the first call that begins with this text.
    pub fn position(&self, call: &str) -> usize {
        self.log.calls.lock().unwrap().iter().position(|made| made.starts_with(call)).unwrap()
    }

    /// Whether the fault has occurred.
    pub fn has_failed(&self) -> bool {
        self.log.fault.is_some_and(|(at, _)| self.log.calls.lock().unwrap().len() > at)
    }
}

impl Log {
    fn call<T>(&self, verb: &str, name: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(format!("{verb} {name}"));
            calls.len() - 1
        };
        let failure = || Err(Error::new(ErrorKind::Io, format!("injected: {verb} {name}")));
        match self.fault {
            Some((at, Fault::Before | Fault::Crash)) if at == number => failure(),
            Some((at, Fault::After | Fault::CrashAfter)) if at == number => call().and_then(|_| failure()),
            Some((at, Fault::Crash | Fault::CrashAfter)) if at < number => failure(),
            _ => call(),
        }
    }
}

impl Store for WatchedStore<'_> {
    fn location(&self) -> String {
        self.store.location()
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        self.log.call("list", prefix, || self.store.list(prefix))
    }

    fn read(&self, name: &str) -> Result<Box<dyn io::Read + Send>> {
        if let Some(happens) = self.before_reading.lock().unwrap().take() {
            happens();
        }
        self.log.call("read", name, || self.store.read(name))
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>> {
        self.log.call("read range", name, || self.store.read_range(name, range))
    }

    fn put(&self, name: &str, content: &mut dyn io::Read) -> Result<()> {
        self.log.call("put", name, || self.store.put(name, content))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.log.call("remove", name, || self.store.remove(name))
    }
}

impl LocalStore for WatchedStore<'_> {
    fn prepare(&self) -> Result<()> {
        self.log.call("prepare", "", || self.store.prepare())
    }

    fn lock(&self, holder: &Holder, wait: Duration, waiting: &mut OnWait<'_>) -> Result<Lock> {
        self.log.call("lock", "", || self.store.lock(holder, wait, waiting))
    }

    fn list_staged(&self) -> Result<Vec<Object>> {
        self.log.call("list staged", "", || self.store.list_staged())
    }

    fn read_staged(&self, name: &str) -> Result<Box<dyn io::Read + Send>> {
        self.log.call("read staged", name, || self.store.read_staged(name))
    }

    fn stage(&self, name: &str) -> Result<Box<dyn Staged>> {
        let staged = self.log.call("stage", name, || self.store.stage(name))?;
        Ok(Box::new(WatchedObject { staged, name: name.into(), log: Arc::clone(&self.log) }))
    }

    /// One by one, so that a fault can occur between two.
    fn publish(&self, names: &[String]) -> Result<()> {
        names
            .iter()
            .try_for_each(|name| self.log.call("publish", name, || self.store.publish(std::slice::from_ref(name))))
    }

    fn withdraw(&self, name: &str) -> Result<()> {
        self.log.call("withdraw", name, || self.store.withdraw(name))
    }

    fn discard(&self, name: &str) -> Result<()> {
        self.log.call("discard", name, || self.store.discard(name))
    }

    fn append(&self, name: &str, line: &str) -> Result<()> {
        self.log.call("append", name, || self.store.append(name, line))
    }

    fn scratch(&self) -> Option<PathBuf> {
        self.store.scratch()
    }

    fn read_state(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        self.log.call("read state", name, || self.store.read_state(name, most))
    }

    fn write_state(&self, name: &str, content: &[u8]) -> Result<()> {
        self.log.call("write state", name, || self.store.write_state(name, content))
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        self.store.free_bytes()
    }
}

struct WatchedObject {
    staged: Box<dyn Staged>,
    name: String,
    log: Arc<Log>,
}

impl Write for WatchedObject {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.log.call("write", &self.name, || {
            self.staged.write(bytes).map_err(|e| Error::io_named("write", &self.name, e))
        });
        written.map_err(io::Error::from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.staged.flush()
    }
}

impl Staged for WatchedObject {
    fn finish(self: Box<Self>) -> Result<()> {
        let Self { staged, name, log } = *self;
        log.call("finish", &name, || staged.finish())
    }
}

/// For each call of `attempt` and each fault: prepares a store with `prepare`, runs `attempt` with that fault, and runs
/// `check` on what is left. On both stores.
pub(crate) fn fault_sweep(
    prepare: impl Fn(&Site, &dyn LocalStore),
    attempt: impl Fn(&Site, &dyn LocalStore),
    check: impl Fn(&Site, &dyn LocalStore, &str),
) {
    for fault in Fault::ALL {
        for local in [false, true] {
            let mut at = 0;
            loop {
                let site = Site::new();
                let store: &dyn LocalStore = if local { &site.local() } else { &MemoryStore::new() };
                prepare(&site, store);
                let watched = WatchedStore::failing(store, at, fault);
                attempt(&site, &watched);
                if !watched.has_failed() {
                    break;
                }
                let call = watched.log.calls.lock().unwrap()[at].clone();
                check(&site, store, &format!("{fault:?} at call {at}, {call}; local: {local}"));
                at += 1;
            }
            assert!(at > 5, "the sweep has seen {at} calls");
        }
    }
}

/// Asserts that all listed backups are whole, that `kept` are among them, and that nothing else is left: at once, and
/// after the next run has begun.
pub(crate) fn assert_clean(site: &Site, store: &dyn LocalStore, kept: &[BackupId], fault: &str) {
    let at_once = Catalog::load(store).unwrap();
    assert!(!at_once.entries().iter().any(|entry| matches!(entry.record, Record::Foreign)), "{fault}");
    let session = Session::from(site.begin(store, "20251231_000000"));
    assert_eq!(staged(store), Vec::<String>::new(), "{fault}");
    let catalog = session.catalog().unwrap();
    let mut files = Vec::new();
    for entry in catalog.entries() {
        let Record::Manifest(manifest) = &entry.record else { panic!("{fault}: {entry:?}") };
        files.push(names::manifest(entry.id));
        files.extend(entry.has_pin.then(|| names::pin(entry.id)));
        files.extend(entry.files.iter().map(|file| file.file.clone()));
        if manifest.status != Status::Failed {
            assert_eq!(
                verify(&session, entry, Level::Content, &EarlierChecks::none()).unwrap().verdict,
                Verdict::Ok,
                "{fault}"
            );
        }
    }
    files.sort();
    assert_eq!(published(store), files, "{fault}");
    for id in kept {
        catalog.get(*id).unwrap_or_else(|e| panic!("{fault}: {e}"));
    }
    drop(session);
    // The next backup works as if nothing had happened.
    site.backup(store, "20260101_000000");
}
