//! How a catalog is read from a store.

use std::collections::{BTreeMap, BTreeSet};

use super::commit::unfinished;
use super::entry::{Entry, ListedFile, Record, Sizes};
use super::foreign;
use super::list::Catalog;
use crate::error::Result;
use crate::record::id::BackupId;
use crate::record::manifest::Manifest;
use crate::record::names::{self, ArtifactName};
use crate::store::manifest::read_manifest;
use crate::store::{LocalStore, Store};

/// How often a catalog is read again if the store changes meanwhile.
const TRIES: usize = 10;

impl Catalog {
    /// Reads all manifests of this host's own store. It leaves out a backup that is being published or removed, and one
    /// whose publication or removal was cut short.
    ///
    /// # Errors
    /// Any error of listing the store. A manifest that can't be read is no error but an entry: [`Record::Unreadable`].
    pub fn load(store: &dyn LocalStore) -> Result<Self> {
        let mut catalog = Self::load_once(store)?;
        // Other runs may add, replace and remove backups while this reads.
        for _ in 0..TRIES {
            if catalog.is_current(store)? {
                break;
            }
            catalog = Self::load_once(store)?;
        }
        Ok(catalog)
    }

    /// Whether the store still lacks what this catalog lacks. A backup that was replaced since the listing has files that
    /// weren't in it.
    fn is_current(&self, store: &dyn LocalStore) -> Result<bool> {
        if self.entries.is_empty() {
            return Ok(store.list("manifest_")?.is_empty());
        }
        let files = self.entries.iter().filter(|entry| entry.manifest().is_some()).flat_map(|entry| &entry.files);
        let missing: Vec<&str> = files.filter(|file| file.bytes.is_none()).map(|file| file.file.as_str()).collect();
        if missing.is_empty() {
            return Ok(true);
        }
        let now = sizes(store)?;
        Ok(!missing.iter().any(|file| now.contains_key(*file)))
    }

    fn load_once(store: &dyn LocalStore) -> Result<Self> {
        // A manifest is staged from before its artifacts are published until it is published itself.
        let mut unfinished = unfinished(store)?;
        let sizes = sizes(store)?;
        unfinished.extend(self::unfinished(store)?);
        unfinished.retain(|id| !sizes.contains_key(&names::manifest(*id)));
        Self::read(store, &sizes, &unfinished)
    }

    /// Reads all manifests of a store that can only be read, such as a copy.
    ///
    /// # Errors
    /// As [`Catalog::load`].
    pub fn load_copy(store: &dyn Store) -> Result<Self> {
        Self::read(store, &sizes(store)?, &BTreeSet::new())
    }

    fn read(store: &dyn Store, sizes: &Sizes, unfinished: &BTreeSet<BackupId>) -> Result<Self> {
        let mut named = BTreeMap::new();
        let mut entries = Vec::new();
        for (name, bytes) in sizes {
            let Some(id) = names::parse_manifest(name) else { continue };
            let mut entry = match read_manifest(store, name, *bytes) {
                Ok(json) => Entry::read(id, &json, sizes, &mut named),
                // A manifest that can't be read must not hide the others.
                Err(error) => Entry::without_files(id, Record::Unreadable(error)),
            };
            if let Some(last) = entries.last() {
                entry.share(last);
            }
            entries.push(entry);
        }
        add_foreign(&mut entries, named, unfinished, sizes);
        if entries.iter().any(|entry| entry.manifest().is_none()) {
            // A backup whose manifest was removed since the listing is gone. One that was published since is not
            // another tool's: the next listing has it.
            let now = self::sizes(store)?;
            let is_as_listed = |name: &str| now.contains_key(name) == sizes.contains_key(name);
            entries.retain(|entry| entry.manifest().is_some() || is_as_listed(&names::manifest(entry.id)));
        }
        entries.sort_by_key(|entry| entry.id);
        add_pins(&mut entries, sizes);
        let ids = sizes.keys().filter_map(|name| names::id_of(name)).filter(|id| !unfinished.contains(id)).collect();
        let mut catalog = Self { location: store.location(), ids, entries };
        catalog.link();
        Ok(catalog)
    }
}

fn sizes(store: &dyn Store) -> Result<Sizes> {
    Ok(store.list("")?.into_iter().map(|object| (object.name, object.bytes)).collect())
}

impl Entry {
    /// What a manifest says. If another tool wrote it, the files that it names go to `named`.
    fn read(id: BackupId, json: &[u8], sizes: &Sizes, named: &mut BTreeMap<BackupId, Vec<String>>) -> Self {
        let error = match Manifest::parse(id, json) {
            Ok(manifest) => return Self::of(&manifest, sizes),
            Err(error) => error,
        };
        let record = match foreign::named_files(json) {
            Some(names) => {
                named.insert(id, names);
                Record::Foreign
            }
            None => Record::Unreadable(error),
        };
        Self::without_files(id, record)
    }
}

/// Marks the entries with a manifest that an object pins. There are few pins, and `entries` are sorted.
fn add_pins(entries: &mut [Entry], sizes: &Sizes) {
    for id in sizes.keys().filter_map(|name| names::parse_pin(name)) {
        if let Ok(at) = entries.binary_search_by_key(&id, |entry| entry.id) {
            entries[at].has_pin = entries[at].manifest().is_some();
        }
    }
}

/// Assigns the files that none of our manifests names to the manifests of other tools that name them. The rest become
/// backups, one for each id.
fn add_foreign(
    entries: &mut Vec<Entry>,
    mut named: BTreeMap<BackupId, Vec<String>>,
    unfinished: &BTreeSet<BackupId>,
    sizes: &Sizes,
) {
    let claimed: BTreeSet<&str> = named.values().flatten().map(String::as_str).collect();
    let ours = entries.iter().filter(|entry| !matches!(entry.record, Record::Foreign));
    let known: BTreeSet<BackupId> = ours.map(|entry| entry.id).chain(unfinished.iter().copied()).collect();
    let mut groups: BTreeMap<BackupId, Vec<ListedFile>> = BTreeMap::new();
    for (file, bytes) in sizes {
        let Some(name) = ArtifactName::parse(file) else { continue };
        if known.contains(&name.id) || claimed.contains(file.as_str()) {
            continue;
        }
        let group = groups.entry(name.id).or_default();
        let Some(file) = ListedFile::foreign(file, Some(*bytes)) else { continue };
        // A run of another tool that was cut short leaves `x.db` beside a half-written `x.db.gz`. In sorted order the
        // whole one comes first, and no other name between them.
        if !group.last().is_some_and(|last| last.is_same_thing(&file)) {
            group.push(file);
        }
    }
    for entry in entries.iter_mut().filter(|entry| matches!(entry.record, Record::Foreign)) {
        let names = named.remove(&entry.id).unwrap_or_default();
        let own = groups.remove(&entry.id).unwrap_or_default();
        entry.files = files_of(&names, own, sizes);
    }
    // A manifest of another tool whose files are all gone is no backup.
    entries.retain(|entry| !matches!(entry.record, Record::Foreign) || !entry.files.is_empty());
    let foreign = |(id, files)| Entry { files, ..Entry::without_files(id, Record::Foreign) };
    entries.extend(groups.into_iter().map(foreign));
}

/// Files that a manifest of another tool names, and files with its id. They are found even if the folder was moved or
/// the files were compressed since.
fn files_of(named: &[String], own: Vec<ListedFile>, sizes: &Sizes) -> Vec<ListedFile> {
    let named = named.iter().filter_map(|file| ListedFile::foreign(file, sizes.get(file).copied()));
    let (mut files, missing): (Vec<_>, Vec<_>) = named.partition(|file| file.bytes.is_some());
    for file in own.into_iter().chain(missing) {
        if !files.iter().any(|known: &ListedFile| known.is_same_thing(&file)) {
            files.push(file);
        }
    }
    files.sort_by(|a, b| a.file.cmp(&b.file));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::retention::Standing;
    use crate::error::ErrorKind;
    use crate::record::ledger::{Command, Ledger, Line, Outcome};
    use crate::record::manifest::{self, Content, Status, Trigger};
    use crate::store::MemoryStore;
    use crate::testing::faults::{Fault, WatchedStore};
    use crate::testing::fixtures::{Site, append, id, publish, stage};

    /// A store with complete backups of those ids.
    fn store_of(ids: &[&str]) -> (Site, MemoryStore) {
        let (site, store) = (Site::new(), MemoryStore::new());
        for now in ids {
            site.backup(&store, now);
        }
        (site, store)
    }

    fn edit(store: &MemoryStore, wanted: &str, edit: impl FnOnce(&mut Manifest)) {
        let mut manifest = Catalog::load(store).unwrap().get(id(wanted)).unwrap().read_manifest(store).unwrap();
        edit(&mut manifest);
        publish(store, &names::manifest(manifest.id), &manifest.to_json());
    }

    #[test]
    fn the_newest_that_should_be_sound_holds_something_or_cannot_be_read() {
        let (_site, store) = store_of(&["20251208_140000", "20251210_140000"]);
        edit(&store, "20251210_140000", |manifest| manifest.trigger = Trigger::PreRestore);
        let newest = || Catalog::load(&store).unwrap().newest().map(|entry| entry.id);
        assert_eq!(newest(), Some(id("20251208_140000")));
        publish(&store, "manifest_20251209_140000.json", b"{\"format\": 1, no json");
        assert_eq!(newest(), Some(id("20251209_140000")));
        Catalog::load(&store).unwrap().require_any().unwrap();
    }

    #[test]
    fn a_backup_that_lacks_a_file_or_is_known_to_be_bad_stands_for_no_more_than_a_partial_one() {
        let days = ["20251207_140000", "20251208_140000", "20251209_140000", "20251210_140000"];
        let (_site, store) = store_of(&days);
        edit(&store, days[0], |manifest| manifest.status = Status::Failed);
        store.remove(&format!("sessions_db_{}.db.zst", days[1])).unwrap();
        let at = id(days[3]).time().fixed_offset();
        let bad = Line { id: Some(id(days[2])), ..Line::new(at, Command::Verify, Outcome::Failed) };
        append(&store, &bad);
        let candidates = Catalog::load(&store).unwrap().candidates(&Ledger::load(&store).unwrap());
        let standings: Vec<Standing> = candidates.iter().map(|candidate| candidate.standing).collect();
        assert_eq!(standings, [Standing::Failed, Standing::Partial, Standing::Partial, Standing::Complete]);
    }

    #[test]
    fn a_database_that_was_saved_damaged_is_held_only_if_there_is_no_sound_copy() {
        let days = ["20251208_140000", "20251209_140000"];
        let (_site, store) = store_of(&days);
        let damage = |day| {
            edit(&store, day, |manifest| {
                let Content::Database(database) = &mut manifest.artifacts[0].content else { panic!("{manifest:?}") };
                database.damage = vec!["page 2 is never used".into()];
            });
        };
        let held = || {
            let candidates = Catalog::load(&store).unwrap().candidates(&Ledger::load(&store).unwrap());
            candidates.iter().map(|it| it.holds.iter().any(|name| name == "sessions_db")).collect::<Vec<_>>()
        };
        assert_eq!(held(), [true, true]);
        damage(days[1]);
        assert_eq!(held(), [true, false]);
        damage(days[0]);
        assert_eq!(held(), [true, true]);
    }

    #[test]
    fn a_manifest_of_the_older_script_names_its_files_whether_they_are_there_or_not() {
        let store = MemoryStore::new();
        publish(
            &store,
            "manifest_20251210_140001.json",
            br#"{"backups": {"database": "/srv/backups/sessions_db_20251210_140000.db.gz",
                "config": "/srv/backups/config_20251210_140001.tar.gz", "stations": null}}"#,
        );
        publish(&store, "sessions_db_20251210_140000.db.gz", b"x");
        let catalog = Catalog::load(&store).unwrap();
        let [entry] = catalog.entries() else { panic!("one backup, that claims its files: {catalog:?}") };
        let files: Vec<_> = entry.files.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
        assert_eq!(files, [("config", None), ("sessions_db", Some(1))]);
        assert!(matches!(entry.record, Record::Foreign));
        assert_eq!(entry.files.iter().map(ListedFile::is_whole).collect::<Vec<_>>(), [false, true]);
        assert!(!entry.is_whole());
    }

    #[test]
    fn files_are_found_whatever_another_tools_manifest_says() {
        let (database, config) = ("sessions_db_20251210_140000.db.gz", "config_20251210_140000.tar.gz");
        for manifest in [
            r#"{"timestamp": "2025-12-10", "files": ["/old/sessions_db_20251210_140000.db.gz"], "status": "ok"}"#,
            r#"{"backups": {"database": "/gone/sessions_db_20251210_140000.db"}}"#,
            r#"{"backups": "/nowhere"}"#,
            "{}",
            "\u{feff}[]",
            "all well",
            "{\"cut\": sh",
        ] {
            let store = MemoryStore::new();
            publish(&store, "manifest_20251210_140000.json", manifest.as_bytes());
            publish(&store, database, b"x");
            publish(&store, config, b"x");
            let catalog = Catalog::load(&store).unwrap();
            let [entry] = catalog.entries() else { panic!("{manifest}: {catalog:?}") };
            let files: Vec<(&str, bool)> = entry.files.iter().map(|it| (it.file.as_str(), it.is_whole())).collect();
            assert_eq!(files, [(config, true), (database, true)], "{manifest}");
            assert!(matches!(entry.record, Record::Foreign), "{manifest}");
        }
    }

    #[test]
    fn another_tools_manifest_without_any_file_is_no_backup_but_its_id_is_taken() {
        let store = MemoryStore::new();
        publish(&store, "manifest_20251210_140000.json", b"{}");
        let catalog = Catalog::load(&store).unwrap();
        let next = catalog.next_id(id("20251210_140000").time(), |_| false);
        assert_eq!((catalog.entries().len(), next), (0, Some(id("20251210_140001"))));
    }

    #[test]
    fn what_is_left_of_our_own_manifest_stays_unreadable_beside_its_files() {
        let (_site, store) = store_of(&["20251210_140000"]);
        let name = "manifest_20251210_140000.json";
        let mut whole = Vec::new();
        store.read(name).unwrap().read_to_end(&mut whole).unwrap();
        for length in [0, 1, 9, 20, whole.len() / 2, whole.len() - 3] {
            publish(&store, name, &whole[..length]);
            let catalog = Catalog::load(&store).unwrap();
            assert!(matches!(catalog.entries()[0].record, Record::Unreadable(_)), "{length}: {catalog:?}");
            assert_eq!(catalog.entries().len(), 1);
        }
    }

    #[test]
    fn of_files_without_a_manifest_that_differ_in_their_encoding_alone_the_plain_one_is_taken() {
        let store = MemoryStore::new();
        for file in ["x_20251210_140000.db", "x_20251210_140000.db.gz", "x_20251210_140000.tar", "y_20251210_140000.db"]
        {
            publish(&store, file, b"x");
        }
        let catalog = Catalog::load(&store).unwrap();
        let files: Vec<&str> = catalog.entries()[0].files.iter().map(|file| file.file.as_str()).collect();
        assert_eq!(files, ["x_20251210_140000.db", "x_20251210_140000.tar", "y_20251210_140000.db"]);
    }

    #[test]
    fn of_a_manifest_beyond_the_largest_as_much_is_read_as_tells_so() {
        let store = MemoryStore::new();
        let bytes = usize::try_from(manifest::MAX_BYTES + 7).unwrap();
        publish(&store, "manifest_20251208_140000.json", &vec![b'x'; bytes]);
        let error = Catalog::load(&store).unwrap().entries()[0].require_usable().unwrap_err();
        assert!(error.to_string().contains("is larger than "), "{error}");
        assert_eq!(
            read_manifest(&store, "manifest_20251208_140000.json", 0).unwrap().len() as u64,
            manifest::MAX_BYTES + 1
        );
    }

    #[test]
    fn a_manifest_that_cannot_be_read_is_listed_as_such() {
        let (_site, store) = store_of(&["20251208_140000"]);
        // After three listings: of what is staged, of what is published, of what is staged.
        let catalog = Catalog::load(&WatchedStore::failing(&store, 3, Fault::Before)).unwrap();
        let [entry] = catalog.entries() else { panic!("{catalog:?}") };
        assert!(matches!(&entry.record, Record::Unreadable(error) if error.kind() == ErrorKind::Io), "{entry:?}");
    }

    #[test]
    fn entries_are_in_the_order_of_their_ids_with_what_is_known_of_each() {
        let (_site, store) = store_of(&["20251208_140000", "20251210_140000"]);
        publish(&store, "sessions_db_20251209_140000.db.gz", b"another tool's");
        publish(&store, "history.jsonl.bak", b"");
        let catalog = Catalog::load(&store).unwrap();
        let kinds: Vec<&str> = catalog
            .entries()
            .iter()
            .map(|entry| match entry.record {
                Record::Manifest(_) => "manifest",
                Record::Foreign => "foreign",
                Record::Unreadable(_) => "unreadable",
                Record::Another(..) => "another's",
            })
            .collect();
        assert_eq!(kinds, ["manifest", "foreign", "manifest"]);
        let standings: Vec<_> =
            catalog.candidates(&Ledger::default()).iter().map(|candidate| candidate.standing).collect();
        assert_eq!(standings, [Standing::Complete, Standing::NoManifest, Standing::Complete]);
        let mut held = catalog.candidates(&Ledger::default())[0].holds.clone();
        held.sort();
        assert_eq!(held, ["config", "sessions_db"]);
    }

    #[test]
    fn what_is_being_written_or_removed_is_not_listed() {
        let (_site, store) = store_of(&["20251208_140000"]);
        stage(&store, "sessions_db_20251209_140000.db.gz", b"staged");
        publish(&store, "sessions_db_20251210_140000.db.gz", b"published");
        stage(&store, "manifest_20251210_140000.json", b"staged");
        let catalog = Catalog::load(&store).unwrap();
        assert_eq!(catalog.entries().len(), 1);
        assert_eq!(catalog.next_id(id("20251208_130000").time(), |_| false), Some(id("20251208_140001")));
    }

    #[test]
    fn a_file_that_is_gone_has_no_size() {
        let (_site, store) = store_of(&["20251208_140000"]);
        store.remove("sessions_db_20251208_140000.db.zst").unwrap();
        let catalog = Catalog::load(&store).unwrap();
        let sizes: Vec<bool> = catalog.entries()[0].files.iter().map(|file| file.bytes.is_some()).collect();
        assert_eq!(sizes, [false, true]);
    }
}
