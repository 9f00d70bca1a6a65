//! A store in memory, for tests.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Cursor, Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lock::{self, Holder, Lock, OnWait};
use super::traits::{LocalStore, Object, Staged, Store, already_exists};
use crate::error::{Error, Result};

type Objects = BTreeMap<String, Vec<u8>>;

/// Objects in memory; clones share them. It has no scratch folder.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    published: Arc<Mutex<Objects>>,
    staged: Arc<Mutex<Objects>>,
    state: Arc<Mutex<Objects>>,
    locked: Arc<AtomicBool>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

fn locked(objects: &Mutex<Objects>) -> MutexGuard<'_, Objects> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}

fn list(objects: &Mutex<Objects>) -> Vec<Object> {
    locked(objects).iter().map(|(name, content)| Object { name: name.clone(), bytes: content.len() as u64 }).collect()
}

fn missing(name: &str) -> Error {
    Error::io_named("open", name, io::ErrorKind::NotFound.into())
}

fn read(objects: &Mutex<Objects>, name: &str) -> Result<Box<dyn Read + Send>> {
    let content = locked(objects).get(name).cloned().ok_or_else(|| missing(name))?;
    Ok(Box::new(Cursor::new(content)))
}

fn relocate(name: &str, from: &Mutex<Objects>, to: &Mutex<Objects>) -> Result<()> {
    let content = locked(from).remove(name).ok_or_else(|| missing(name))?;
    locked(to).insert(name.to_string(), content);
    Ok(())
}

impl Store for MemoryStore {
    fn location(&self) -> String {
        "memory".into()
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let mut objects = list(&self.published);
        objects.retain(|object| object.name.starts_with(prefix));
        Ok(objects)
    }

    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        read(&self.published, name)
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let published = locked(&self.published);
        let content = published.get(name).ok_or_else(|| missing(name))?;
        let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(content.len());
        Ok(content[at(range.start)..at(range.end).max(at(range.start))].to_vec())
    }

    fn put(&self, name: &str, content: &mut dyn Read) -> Result<()> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|e| Error::io_named("write", name, e))?;
        match locked(&self.published).entry(name.to_string()) {
            Entry::Occupied(_) => Err(already_exists(name, &self.location())),
            Entry::Vacant(place) => {
                place.insert(bytes);
                Ok(())
            }
        }
    }

    fn remove(&self, name: &str) -> Result<()> {
        locked(&self.published).remove(name);
        Ok(())
    }
}

impl LocalStore for MemoryStore {
    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Holder, wait: Duration, waiting: &mut OnWait<'_>) -> Result<Lock> {
        lock::wait_for(wait, waiting, || {
            let taken = self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
            Ok(taken.err().map(|_| "another run".to_string()))
        })?;
        Ok(Lock::new(Unlock(Arc::clone(&self.locked))))
    }

    fn list_staged(&self) -> Result<Vec<Object>> {
        Ok(list(&self.staged))
    }

    fn read_staged(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        read(&self.staged, name)
    }

    fn stage(&self, name: &str) -> Result<Box<dyn Staged>> {
        locked(&self.staged).remove(name);
        Ok(Box::new(StagedObject { name: name.to_string(), content: Vec::new(), staged: Arc::clone(&self.staged) }))
    }

    fn publish(&self, names: &[String]) -> Result<()> {
        names.iter().try_for_each(|name| relocate(name, &self.staged, &self.published))
    }

    fn withdraw(&self, name: &str) -> Result<()> {
        relocate(name, &self.published, &self.staged)
    }

    fn discard(&self, name: &str) -> Result<()> {
        locked(&self.staged).remove(name);
        Ok(())
    }

    fn append(&self, name: &str, line: &str) -> Result<()> {
        let mut published = locked(&self.published);
        let content = published.entry(name.to_string()).or_default();
        content.extend_from_slice(line.as_bytes());
        content.push(b'\n');
        Ok(())
    }

    fn scratch(&self) -> Option<PathBuf> {
        None
    }

    fn read_state(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        Ok(locked(&self.state).get(name).filter(|content| content.len() as u64 <= most).cloned())
    }

    fn write_state(&self, name: &str, content: &[u8]) -> Result<()> {
        locked(&self.state).insert(name.to_string(), content.to_vec());
        Ok(())
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// Releases the lock when dropped.
struct Unlock(Arc<AtomicBool>);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

struct StagedObject {
    name: String,
    content: Vec<u8>,
    staged: Arc<Mutex<Objects>>,
}

impl Write for StagedObject {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.content.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Staged for StagedObject {
    fn finish(self: Box<Self>) -> Result<()> {
        locked(&self.staged).insert(self.name, self.content);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_store_conforms() {
        super::super::conformance::local(&MemoryStore::new());
    }

    #[test]
    fn it_has_no_folder_and_no_bounds() {
        let store = MemoryStore::new();
        assert_eq!((store.location().as_str(), store.scratch(), store.free_bytes().unwrap()), ("memory", None, None));
    }
}
