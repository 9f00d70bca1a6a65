//! A store in memory, for tests.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Object, Staged, Store};
use crate::error::{Error, Result};
use crate::store::lock::{Holder, Lock, OnWait};

type Objects = BTreeMap<String, Vec<u8>>;

/// Objects in memory; clones share them. It has no lock and no scratch folder: one process, one run.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    published: Arc<Mutex<Objects>>,
    staged: Arc<Mutex<Objects>>,
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

    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Holder, _: Duration, _: &mut OnWait<'_>) -> Result<Lock> {
        Ok(Lock::not_needed())
    }

    fn list(&self) -> Result<Vec<Object>> {
        Ok(list(&self.published))
    }

    fn list_staged(&self) -> Result<Vec<Object>> {
        Ok(list(&self.staged))
    }

    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        read(&self.published, name)
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

    fn remove(&self, name: &str) -> Result<()> {
        locked(&self.published).remove(name);
        Ok(())
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

    fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
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
        super::super::conformance::check(&MemoryStore::new());
    }

    #[test]
    fn it_has_no_folder_and_no_bounds() {
        let store = MemoryStore::new();
        assert_eq!((store.location().as_str(), store.scratch(), store.free_bytes().unwrap()), ("memory", None, None));
    }
}
