//! How a backup appears, changes and goes: the one commit protocol.
//!
//! A backup exists if its manifest is published. Each step is durable before the next begins:
//!
//! * **appear** ([`publish`]): artifacts are staged, the manifest is staged; the pin is put, if there is to be one; the
//!   artifacts are published, then the manifest;
//! * **go** ([`remove`]): the manifest is withdrawn to the staging area; the artifacts and the pin are removed; the
//!   manifest is discarded;
//! * **give way** ([`replace_backup`]), the one exception to the rule that a backup never changes: artifacts are staged
//!   under names that the backup doesn't have yet; a copy of the old manifest is staged as the *replaced* one, then the new
//!   manifest; the artifacts are published, then the manifest in place of the old one, in one step; the artifacts that only
//!   the old one names are removed; the replaced manifest is discarded;
//! * **change** of any other object ([`replace`]): the new content is staged, then published in place of the old in one
//!   step.
//!
//! Why a cut at any instant does no harm:
//!
//! 1. A manifest is published after all that it names, and withdrawn or replaced before any of that is removed. So a
//!    published manifest names only objects that are whole and durable.
//! 2. A manifest is staged before any of its artifacts is published, and stays staged until all artifacts of a removed
//!    backup are gone. So the names alone tell what belongs to no backup: objects of an id whose manifest is staged and
//!    not published ([`unfinished`]), the pin included. The catalog doesn't list such a backup.
//! 3. While a backup gives way, one manifest is published, the old or the new, and it needs nothing of the other. The
//!    other one is staged, under its own name or as the replaced one, for as long as artifacts can be there that it alone
//!    names. So what belongs to no backup is what a staged manifest names and the published one doesn't.
//! 4. [`recover`] removes these objects, and each staged manifest after what it names. If it is cut short itself, it leaves
//!    a state of the same kind, and the next run that holds the lock repeats it. It never publishes anything, so a backup
//!    whose replacement was cut short stays as it was or as it is to be.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::entry::Entry;
use crate::artifact::read::is_stored;
use crate::error::{Error, ErrorKind, Result};
use crate::record::id::BackupId;
use crate::record::ledger::Ledger;
use crate::record::manifest::{self, Manifest};
use crate::record::names;
use crate::store::manifest::{read_bounded, read_manifest};
use crate::store::{LocalStore, LockedStore};

/// Publishes a backup whose artifacts are staged.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the manifest would be too large to be read; any error of publishing. Then [`recover`]
/// removes what is left.
pub(crate) fn publish(store: &LockedStore<'_>, manifest: &Manifest, pinned: bool) -> Result<()> {
    let name = names::manifest(manifest.id);
    stage(store, &name, &readable_json(manifest)?)?;
    if pinned {
        store.put(&names::pin(manifest.id), &mut io::empty())?;
    }
    let artifacts: Vec<String> = manifest.artifacts.iter().map(|artifact| artifact.file.clone()).collect();
    store.publish(&artifacts)?;
    store.publish(&[name])
}

/// The manifest as it is stored, if it can be read again.
fn readable_json(manifest: &Manifest) -> Result<Vec<u8>> {
    let json = manifest.to_json();
    if json.len() as u64 > manifest::MAX_BYTES || manifest.path_bytes() > manifest::MAX_PATHS {
        let message = format!("{} would be too large to be read", names::manifest(manifest.id));
        return Err(Error::new(ErrorKind::InvalidInput, message)
            .with_hint("it lists every table and configuration file: are there too many?"));
    }
    Ok(json)
}

/// Replaces the backup `old` by `new`, which has the same id. Artifacts of `new` that aren't those of `old` are staged, under
/// other names.
///
/// # Errors
/// As [`publish`], then [`recover`] leaves the old backup or the new one. [`ErrorKind::AlreadyExists`] if a new artifact has
/// the name of an old one.
pub(crate) fn replace_backup(store: &LockedStore<'_>, old: &Manifest, new: &Manifest) -> Result<()> {
    let (name, replaced) = (names::manifest(new.id), names::replaced(old.id));
    require_other_files(old, new)?;
    let json = readable_json(new)?;
    stage(store, &replaced, &old.to_json())?;
    stage(store, &name, &json)?;
    store.publish(&files_but_those_of(new, old))?;
    store.publish(&[name])?;
    files_but_those_of(old, new).iter().try_for_each(|file| store.remove(file))?;
    store.discard(&replaced)
}

/// Makes sure that publishing an artifact of `new` changes none of `old`.
fn require_other_files(old: &Manifest, new: &Manifest) -> Result<()> {
    for artifact in &new.artifacts {
        if old.artifacts.iter().any(|other| other.file == artifact.file && other != artifact) {
            let message = format!("{} is already an artifact of backup {}", artifact.file, old.id);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
    }
    Ok(())
}

/// Files that a manifest names and `other` doesn't.
fn files_but_those_of(manifest: &Manifest, other: &Manifest) -> Vec<String> {
    let others: BTreeSet<&str> = other.artifacts.iter().map(|artifact| artifact.file.as_str()).collect();
    let files = manifest.artifacts.iter().map(|artifact| &artifact.file);
    files.filter(|file| !others.contains(file.as_str())).cloned().collect()
}

/// Removes a backup.
///
/// # Errors
/// [`ErrorKind::NoSuchBackup`] if it is gone already; any error of removing. Then [`recover`] completes the removal.
pub(crate) fn remove(store: &LockedStore<'_>, entry: &Entry) -> Result<()> {
    let manifest = names::manifest(entry.id);
    store.withdraw(&manifest).map_err(|error| {
        let gone = || format!("no backup {} in {}", entry.id, store.location());
        if error.is_not_found() { Error::new(ErrorKind::NoSuchBackup, gone()) } else { error }
    })?;
    entry.files.iter().try_for_each(|file| store.remove(&file.file))?;
    if entry.has_pin {
        store.remove(&names::pin(entry.id))?;
    }
    store.discard(&manifest)
}

/// Puts the pin of a backup, or removes it.
///
/// # Errors
/// Any error of writing or removing it.
pub(crate) fn set_pin(store: &LockedStore<'_>, id: BackupId, pinned: bool) -> Result<()> {
    let pin = names::pin(id);
    if pinned { store.put(&pin, &mut io::empty()) } else { store.remove(&pin) }
}

/// Replaces the content of a published object, or puts a new one.
///
/// # Errors
/// Any error of writing it. Then the old content is still there.
pub(crate) fn replace(store: &LockedStore<'_>, name: &str, content: &[u8]) -> Result<()> {
    stage(store, name, content)?;
    store.publish(&[name.to_string()])
}

fn stage(store: &LockedStore<'_>, name: &str, content: &[u8]) -> Result<()> {
    let mut staged = store.stage(name)?;
    staged.write_all(content).map_err(|e| Error::io_named("write", name, e))?;
    staged.finish()
}

/// Backups that are being published or removed, or whose publication or removal was cut short. For a moment, this
/// includes one that is published already.
///
/// # Errors
/// Any error of reading the staging area.
pub(super) fn unfinished(store: &dyn LocalStore) -> Result<BTreeSet<BackupId>> {
    Ok(store.list_staged()?.iter().filter_map(|object| names::parse_manifest(&object.name)).collect())
}

/// Removes what earlier runs left: everything staged, and the published objects that belong to no backup but to a staged
/// manifest. `ledger` is called only if there are any.
///
/// # Errors
/// Any error of listing or removing.
pub(crate) fn recover(store: &LockedStore<'_>, ledger: impl Fn() -> Ledger) -> Result<()> {
    let staged = store.list_staged()?;
    if staged.is_empty() {
        return Ok(());
    }
    let published: BTreeMap<String, u64> =
        store.list("")?.into_iter().map(|object| (object.name, object.bytes)).collect();
    let (manifests, others): (Vec<_>, Vec<_>) = staged.into_iter().partition(|object| id_of(&object.name).is_some());
    others.iter().try_for_each(|object| store.discard(&object.name))?;
    for manifest in manifests.iter().map(|object| &object.name) {
        // A manifest that can't be read is left to a later run: it must not stop this one from beginning.
        let Ok(remains) = remains(store, manifest, &published, &ledger) else { continue };
        remains.iter().try_for_each(|name| store.remove(name))?;
        store.discard(manifest)?;
    }
    Ok(())
}

/// The backup whose manifest has this name in the staging area, its own or the replaced one.
fn id_of(staged: &str) -> Option<BackupId> {
    names::parse_manifest(staged).or_else(|| names::parse_replaced(staged))
}

/// Published objects that belong to a staged manifest and to no backup.
///
/// Anybody may have put that manifest there, to have another tool's files removed by their names. So an object is
/// removed only if its bytes are exactly as recorded, as in a backup that was being published or replaced; or if the ledger
/// knows the backup, which then was whole once, and it is not published any more.
fn remains(
    store: &LockedStore<'_>,
    staged: &str,
    published: &BTreeMap<String, u64>,
    ledger: impl Fn() -> Ledger,
) -> Result<Vec<String>> {
    let Some(id) = id_of(staged) else { return Ok(Vec::new()) };
    let json = match store.read_staged(staged) {
        Err(error) if error.is_not_plain() => return Ok(Vec::new()),
        read => read_bounded(read?, staged)?,
    };
    // We publish artifacts only once their staged manifest is whole, so a broken one has none.
    let Ok(recorded) = Manifest::parse(id, &json) else { return Ok(Vec::new()) };
    let name = names::manifest(id);
    let is_published = published.contains_key(&name);
    let kept = if is_published { Some(Manifest::parse(id, &read_manifest(&**store, &name, 0)?)?) } else { None };
    let is_known = !is_published && ledger().knows(id);
    let is_kept = |file: &str| kept.iter().flat_map(|kept| &kept.artifacts).any(|artifact| artifact.file == file);
    let mut remains = Vec::new();
    for artifact in recorded.artifacts.into_iter().filter(|artifact| !is_kept(&artifact.file)) {
        let Some(bytes) = published.get(&artifact.file) else { continue };
        if is_known || *bytes == artifact.bytes && is_stored(&**store, &artifact)? {
            remains.push(artifact.file);
        }
    }
    let pin = names::pin(id);
    remains.extend(Some(pin).filter(|pin| !is_published && published.contains_key(pin)));
    Ok(remains)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::read::Level;
    use crate::catalog::Catalog;
    use crate::operation::run::Run;
    use crate::operation::session::Session;
    use crate::operation::verify::verify;
    use crate::record::digest::Digest;
    use crate::record::earlier_checks::EarlierChecks;
    use crate::record::ledger::{Command, Line, Outcome};
    use crate::store::MemoryStore;

    use crate::testing::faults::{assert_clean, fault_sweep};
    use crate::testing::fixtures::{Site, append, id, publish, published, stage, staged};

    const EARLIER: &str = "20251209_140000";
    const DATABASE: &str = "sessions_db_20251210_140000.db.zst";
    const CONFIG: &str = "config_20251210_140000.tar.zst";
    const MANIFEST: &str = "manifest_20251210_140000.json";

    /// Calls `setting` on a store that holds a whole backup and files of other tools, then begins the next run. Returns
    /// what that left of the setting: staged and published names. Runs on both stores.
    fn swept(setting: impl Fn(&dyn LocalStore)) -> (Vec<String>, Vec<String>) {
        let site = Site::new();
        let mut results = [&site.local() as &dyn LocalStore, &MemoryStore::new()].map(|store| {
            let earlier = site.backup(store, EARLIER);
            publish(store, "sessions_db_20200101_000000.db.gz", b"another tool's");
            publish(store, "notes.txt", b"mine");
            let others = published(store);
            setting(store);
            let session = Session::from(site.begin(store, "20251211_140000"));
            let catalog = session.catalog().unwrap();
            let report =
                verify(&session, catalog.get(earlier).unwrap(), Level::Content, &EarlierChecks::none()).unwrap();
            assert_eq!(report.verdict, crate::Verdict::Ok);
            let mut left = published(store);
            assert!(others.iter().all(|other| left.contains(other)), "{left:?}");
            left.retain(|name| !others.contains(name));
            (staged(store), left)
        });
        assert_eq!(results[0], results[1], "both stores end up alike");
        std::mem::take(&mut results[0])
    }

    /// Stages files that contain an `x`, and a manifest that says so.
    fn stage_all(store: &dyn LocalStore, names: &[&str]) {
        for name in names {
            stage(store, name, if *name == MANIFEST { manifest(store) } else { b"x".into() }.as_slice());
        }
    }

    /// The manifest of a backup of [`DATABASE`] and [`CONFIG`].
    fn manifest(store: &dyn LocalStore) -> Vec<u8> {
        let catalog = Catalog::load(store).unwrap();
        let mut manifest = catalog.get(id(EARLIER)).unwrap().read_manifest(store).unwrap();
        manifest.id = id("20251210_140000");
        for artifact in &mut manifest.artifacts {
            artifact.file = artifact.file.replace(EARLIER, "20251210_140000");
            (artifact.bytes, artifact.sha256) = (1, Digest::of(b"x"));
        }
        manifest.to_json()
    }

    const NOTHING: (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());

    fn lists(store: &dyn LocalStore, wanted: &str) -> bool {
        Catalog::load(store).unwrap().entries().iter().any(|entry| entry.id == id(wanted))
    }

    #[test]
    fn staged_artifacts_alone_are_swept() {
        assert_eq!(swept(|store| stage_all(store, &[DATABASE, CONFIG])), NOTHING);
    }

    #[test]
    fn a_backup_cut_short_before_any_artifact_was_published_is_swept() {
        assert_eq!(swept(|store| stage_all(store, &[DATABASE, CONFIG, MANIFEST])), NOTHING);
    }

    #[test]
    fn a_backup_cut_short_between_its_artifacts_is_swept() {
        let cut = swept(|store| {
            stage_all(store, &[DATABASE, CONFIG, MANIFEST]);
            store.publish(&[DATABASE.into()]).unwrap();
            assert!(!lists(store, "20251210_140000"));
        });
        assert_eq!(cut, NOTHING);
    }

    #[test]
    fn a_backup_cut_short_before_its_manifest_was_published_is_swept() {
        let cut = swept(|store| {
            stage_all(store, &[DATABASE, CONFIG, MANIFEST]);
            store.publish(&[DATABASE.into(), CONFIG.into()]).unwrap();
            assert!(!lists(store, "20251210_140000"));
        });
        assert_eq!(cut, NOTHING);
    }

    #[test]
    fn a_removal_cut_short_is_finished() {
        for left in [&[DATABASE, CONFIG][..], &[CONFIG], &[]] {
            let cut = swept(|store| {
                stage_all(store, left);
                left.iter().try_for_each(|name| store.publish(&[(*name).into()])).unwrap();
                publish(store, MANIFEST, &manifest(store));
                store.withdraw(MANIFEST).unwrap();
                assert!(!lists(store, "20251210_140000"));
            });
            assert_eq!(cut, NOTHING, "{left:?}");
        }
    }

    #[test]
    fn what_a_staged_manifest_names_stays_unless_this_program_wrote_it() {
        let kept = swept(|store| {
            stage_all(store, &[MANIFEST]);
            publish(store, DATABASE, b"another tool's");
            publish(store, "logs_20251210_140000.tar.gz", b"another tool's");
        });
        assert_eq!(kept, (vec![], vec!["logs_20251210_140000.tar.gz".into(), DATABASE.into()]));
        // A backup that the ledger knows is removed, even if it was damaged before.
        let removed = swept(|store| {
            stage_all(store, &[MANIFEST]);
            publish(store, DATABASE, b"damaged");
            let line = Line::new(id(EARLIER).time().fixed_offset(), Command::Backup, Outcome::Ok);
            append(store, &Line { id: Some(id("20251210_140000")), ..line });
        });
        assert_eq!(removed, NOTHING);
        // So is one that the ledger knows as a safety copy.
        let removed = swept(|store| {
            stage_all(store, &[MANIFEST]);
            publish(store, DATABASE, b"damaged");
            let mut line = Line::new(id(EARLIER).time().fixed_offset(), Command::Restore, Outcome::Ok);
            line.restore = Some(crate::record::ledger::RestoreLine {
                target: "/p".into(),
                selection: None,
                kept: Some(id("20251210_140000")),
                unkept: false,
                written: vec![],
                moved_aside: vec![],
            });
            append(store, &line);
        });
        assert_eq!(removed, NOTHING);
        for torn in ["", "{", "{\"format\": 1}", "x"] {
            let kept = swept(|store| {
                stage(store, MANIFEST, torn.as_bytes());
                publish(store, DATABASE, b"x");
            });
            assert_eq!(kept, (vec![], vec![DATABASE.into()]), "{torn}");
        }
    }

    #[test]
    fn a_pin_cut_short_leaves_the_backup_as_it_was() {
        let cut = swept(|store| {
            stage_all(store, &[DATABASE, CONFIG, MANIFEST]);
            store.publish(&[DATABASE, CONFIG, MANIFEST].map(String::from)).unwrap();
            stage(store, MANIFEST, b"the new one");
            assert!(lists(store, "20251210_140000"));
        });
        assert_eq!(cut, (Vec::new(), [CONFIG, MANIFEST, DATABASE].map(String::from).to_vec()));
    }

    #[test]
    fn a_sweep_cut_short_is_begun_again() {
        let cut_short = |site: &Site, store: &dyn LocalStore| {
            site.backup(store, EARLIER);
            stage_all(store, &[DATABASE, CONFIG, MANIFEST]);
            store.publish(&[CONFIG.into()]).unwrap();
        };
        fault_sweep(
            cut_short,
            |site, store| {
                let error = Run::begin(site.setup(store, "20251211_140000"), &mut |_| {}).err();
                let message = error.map(|error| error.to_string()).unwrap_or_default();
                let left = [format!("read {CONFIG}"), format!("read staged {MANIFEST}")];
                assert!(!left.iter().any(|read| message.contains(read)), "it keeps the run from beginning: {message}");
            },
            |site, store, fault| assert_clean(site, store, &[id(EARLIER)], fault),
        );
    }
}
