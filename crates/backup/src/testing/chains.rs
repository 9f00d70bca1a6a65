//! A chain of increments, and what each of its points holds.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _};

use super::fixtures::{Site, publish, published};
use crate::artifact::StoredFile;
use crate::artifact::read::Reader;
use crate::catalog::{Catalog, Entry};
use crate::operation::backup::{IncrementalReport, backup_incremental};
use crate::progress::Silent;
use crate::record::digest::Digest;
use crate::record::id::BackupId;
use crate::record::selection::Selection;
use crate::store::LocalStore;

pub(crate) const FULL: &str = "20251209_140000";
pub(crate) const FIRST: &str = "20251209_140100";
pub(crate) const SECOND: &str = "20251209_140200";
pub(crate) const THIRD: &str = "20251209_140300";
pub(crate) const NEWEST: &str = "20251209_140400";
pub(crate) const ALL: [&str; 5] = [FULL, FIRST, SECOND, THIRD, NEWEST];

/// A chain: the database changes in each increment, the configuration in the second.
pub(crate) fn chain(store: &dyn LocalStore) -> Site {
    let site = Site::new();
    site.execute(
        "WITH RECURSIVE n(x) AS (SELECT 10 UNION ALL SELECT x + 1 FROM n WHERE x < 1500)
         INSERT INTO sessions SELECT x, x FROM n",
    );
    for (number, now) in ALL.iter().enumerate() {
        site.execute(&format!("UPDATE sessions SET kwh = {number} WHERE id = 400 * {number} OR id = 1"));
        if *now == SECOND {
            fs::write(site.root().join(".env"), "PORT=9090\n").unwrap();
        }
        let report = backup_incremental(&site.begin(store, now), &site.request()).unwrap();
        assert_eq!(matches!(report, IncrementalReport::Increment(_)), number > 0, "{report:?}");
    }
    site
}

/// What a point holds: the digest of each database's image, and of each archive.
fn held(store: &dyn LocalStore, catalog: &Catalog, point: &Entry) -> BTreeMap<String, Digest> {
    let reader = Reader { store, progress: &Silent, max_foreign: 1 << 30 };
    let digest = |file: &StoredFile| {
        let (mut image, mut bytes) = (tempfile::tempfile().unwrap(), Vec::new());
        reader.copy_image(file, &mut &image, Some(&image)).unwrap();
        image.rewind().unwrap();
        image.read_to_end(&mut bytes).unwrap();
        Digest::of(&bytes)
    };
    let files = catalog.stored_files(point, store, Selection::ALL).unwrap();
    files.iter().map(|file| (file.name.clone(), digest(file))).collect()
}

/// All that a chain has stored.
pub(crate) fn objects(store: &dyn LocalStore) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let mut bytes = Vec::new();
        store.read(&name).unwrap().read_to_end(&mut bytes).unwrap();
        (name, bytes)
    };
    published(store).into_iter().map(read).collect()
}

pub(crate) fn fill(store: &dyn LocalStore, objects: &[(String, Vec<u8>)]) {
    store.prepare().unwrap();
    for (name, bytes) in objects {
        publish(store, name, bytes);
    }
}

/// What the points of a store hold.
pub(crate) type Holdings = BTreeMap<BackupId, BTreeMap<String, Digest>>;

pub(crate) fn all_held(store: &dyn LocalStore) -> Holdings {
    let catalog = Catalog::load(store).unwrap();
    catalog.entries().iter().map(|entry| (entry.id, held(store, &catalog, entry))).collect()
}
