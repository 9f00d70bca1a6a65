//! Stores of another crate: how to write one, and how to prove it.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::sync::Mutex;

use backup::{Error, ErrorKind, FolderStore, MemoryStore, Object, Result, Store, conformance};

/// A store that can do only what an object store can.
#[derive(Default)]
struct Shelf(Mutex<BTreeMap<String, Vec<u8>>>);

impl Shelf {
    fn content(&self, name: &str) -> Result<Vec<u8>> {
        let missing = || Error::new(ErrorKind::Io, format!("no object {name}"));
        self.0.lock().unwrap().get(name).cloned().ok_or_else(missing)
    }
}

impl Store for Shelf {
    fn location(&self) -> String {
        "a shelf".into()
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let objects = self.0.lock().unwrap();
        let named = objects.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(named.map(|(name, content)| Object { name: name.clone(), bytes: content.len() as u64 }).collect())
    }

    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.content(name)?)))
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let bytes = self.content(name)?.into_iter();
        let length = usize::try_from(range.end - range.start).unwrap();
        Ok(bytes.skip(usize::try_from(range.start).unwrap()).take(length).collect())
    }

    fn put(&self, name: &str, content: &mut dyn Read) -> Result<()> {
        if self.content(name).is_ok() {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("{name} is there")));
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|e| Error::io("read", name.as_ref(), e))?;
        self.0.lock().unwrap().insert(name.to_string(), bytes);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
}

#[test]
fn a_store_of_another_crate_can_be_proved() {
    conformance::any(&Shelf::default());
}

#[test]
fn the_librarys_own_stores_conform() {
    let folder = tempfile::tempdir().unwrap();
    conformance::local(&FolderStore::new(folder.path().join("backups")));
    conformance::local(&MemoryStore::new());
}

/// A shelf that fails to do one thing that it must do.
struct Forgetful(Shelf, &'static str);

impl Store for Forgetful {
    fn location(&self) -> String {
        self.0.location()
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        self.0.list(if self.1 == "prefix" { "" } else { prefix })
    }

    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        self.0.read(name)
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>> {
        self.0.read_range(name, if self.1 == "range" { 0..range.end } else { range })
    }

    fn put(&self, name: &str, content: &mut dyn Read) -> Result<()> {
        if self.1 == "immutability" {
            self.0.remove(name)?;
        }
        self.0.put(name, content)
    }

    fn remove(&self, name: &str) -> Result<()> {
        if self.1 == "removal" { Ok(()) } else { self.0.remove(name) }
    }
}

#[test]
fn a_store_that_forgets_anything_does_not_conform() {
    for forgotten in ["prefix", "range", "immutability", "removal"] {
        let store = Forgetful(Shelf::default(), forgotten);
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| conformance::any(&store)));
        assert!(found.is_err(), "{forgotten}");
    }
    conformance::any(&Forgetful(Shelf::default(), "nothing"));
}
