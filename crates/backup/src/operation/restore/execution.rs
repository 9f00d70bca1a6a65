//! Carrying out a plan.

use std::path::PathBuf;

use serde::Serialize;

use super::changes::Changes;
use super::commit::Commit;
use super::final_check::settle_all;
use super::hold::{hold_all, open_targets};
use super::patience::Patience;
use super::plan::Plan;
use super::record::{RestoreRecord, note_damage};
use super::safety_copy::{SafetyCopy, keep_what_is_replaced};
use super::staging::{Staging, stage};
use crate::artifact::codec::Encoding;
use crate::error::{Error, Result};
use crate::operation::session::Session;
use crate::record::id::BackupId;
use crate::record::relpath::RelPath;
use crate::source::sqlite::bytes::Descriptors;

/// The result of a restore.
#[derive(Debug, Serialize)]
pub struct RestoreReport {
    /// The backup.
    pub id: BackupId,
    /// The folder that everything is below.
    #[serde(serialize_with = "crate::record::ospath::one::serialize")]
    pub target: PathBuf,
    /// The written files, relative to the target.
    pub written: Vec<RelPath>,
    /// The pre-restore backup of what was replaced; `None` if nothing was replaced or kept.
    pub kept: Option<BackupId>,
    /// The paths that damaged and leftover files were moved to.
    #[serde(serialize_with = "crate::record::ospath::many::serialize")]
    pub moved_aside: Vec<PathBuf>,
    /// Warnings about the result. The plan has warnings of its own.
    pub warnings: Vec<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Carries out a plan. What it replaces is kept as a backup encoded with `keep`, or is not kept if that is `None`. `ready` is
/// called when everything is decoded and checked, and nothing is locked yet: the moment to stop an application.
///
/// # Errors
/// Before the first change: [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) if the backup isn't sound,
/// [`ErrorKind::NoSpace`](crate::ErrorKind::NoSpace) if it doesn't fit, [`ErrorKind::NotKept`](crate::ErrorKind::NotKept) if
/// there is no room to keep what it replaces, [`ErrorKind::Busy`](crate::ErrorKind::Busy) if a live database stays locked,
/// and an error of `ready`. After it: [`ErrorKind::Partial`](crate::ErrorKind::Partial). The ledger says
/// [`Outcome::Partial`](crate::Outcome::Partial) then, or lacks its second line if only that can't be written.
pub fn restore(
    session: &Session<'_>,
    plan: &Plan,
    keep: Option<Encoding>,
    ready: &mut dyn FnMut() -> Result<()>,
) -> Result<RestoreReport> {
    let begun = session.elapsed_ms();
    let staging = stage(plan, session.reader()).inspect_err(|error| note_damage(session, plan.id, error));
    let staging = staging.map_err(|error| with_sound_before(session, plan, error))?;
    session.check_stop()?;
    ready()?;
    let (kept, changes) = replace(session, plan, keep, staging)?;
    Ok(RestoreReport {
        id: plan.id,
        target: plan.target.clone(),
        written: plan.items.iter().map(|item| item.path.clone()).collect(),
        kept,
        moved_aside: changes.moved_aside,
        warnings: changes.warnings,
        duration_ms: session.elapsed_ms() - begun,
    })
}

/// The error of a damaged backup, with the points that can be restored instead.
fn with_sound_before(session: &Session<'_>, plan: &Plan, error: Error) -> Error {
    match session.catalog() {
        Ok(catalog) => match catalog.get(plan.id) {
            Ok(entry) => session.with_sound_before(entry, error),
            Err(_) => error,
        },
        Err(_) => error,
    }
}

/// Replaces what is there by what is staged. Returns the pre-restore backup, and what has changed.
fn replace(
    session: &Session<'_>,
    plan: &Plan,
    keep: Option<Encoding>,
    staging: Staging,
) -> Result<(Option<BackupId>, Changes)> {
    let patience = Patience::of(session);
    // Closed after all connections to what is overwritten.
    let descriptors = Descriptors::default();
    let mut targets = open_targets(&staging, patience)?;
    let holds = hold_all(&mut targets, &staging, patience)?;
    let SafetyCopy { id: kept, damaged, warnings } = match keep {
        Some(encoding) => keep_what_is_replaced(session, plan, &holds, encoding, &descriptors)?,
        None => SafetyCopy::default(),
    };
    let record = RestoreRecord { session, plan, kept, unkept: keep.is_none() && plan.replaces() };
    record.begin()?;
    let mut changes = Changes { warnings, ..Changes::default() };
    let commit = Commit { patience, now: session.now(), damaged: &damaged, changes: &mut changes };
    let committed = commit.put_all(staging, holds);
    drop(targets);
    let checked = committed.and_then(|()| settle_all(&changes.overwritten, patience.busy_timeout));
    let result = checked.map(|warnings| changes.warnings.extend(warnings));
    record.end(&changes, result)?;
    Ok((kept, changes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    use super::*;
    use crate::catalog::Catalog;
    use crate::disk::{file, paths};
    use crate::error::ErrorKind;
    use crate::operation::restore::file_names::DATABASE_FILES;
    use crate::operation::restore::record::partial;
    use crate::operation::restore::{Occupant, Selection, plan, undo};
    use crate::operation::run::Run;
    use crate::record::codec::Codec;
    use crate::record::ledger::{Ledger, Outcome};
    use crate::record::manifest::Trigger;
    use crate::source::sqlite;
    use crate::store::{LocalStore, MemoryStore, Store};
    use crate::testing::faults::{WatchedStore, assert_clean, fault_sweep};
    use crate::testing::fixtures::{Site, id, publish, published};

    const BACKUP: &str = "20251209_140000";
    const NOW: &str = "20251210_140000";

    fn encoding() -> Encoding {
        Encoding::new(Codec::None, 0).unwrap()
    }

    fn restore_all(run: &Session<'_>, site: &Site) -> Result<RestoreReport> {
        let catalog = run.catalog()?;
        let plan = plan(run, catalog.get(id(BACKUP))?, site.root(), Selection::ALL, &site.sources)?;
        restore(run, &plan, Some(encoding()), &mut || Ok(()))
    }

    /// A backup, and changes after it.
    fn changed_since(site: &Site, store: &dyn LocalStore) {
        site.backup(store, BACKUP);
        site.execute("INSERT INTO sessions VALUES (4, 4.5)");
        fs::write(site.root().join(".env"), "PORT=9090\n").unwrap();
    }

    fn env(site: &Site) -> String {
        fs::read_to_string(site.root().join(".env")).unwrap()
    }

    #[test]
    fn a_restore_keeps_what_it_replaces_and_its_undo_puts_that_back() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        let restored = restore_all(&site.session(&store, NOW), &site).unwrap();
        assert_eq!((site.sessions(), env(&site).as_str()), (3, "PORT=8080\n"));
        let kept = undo(&Ledger::load(&store).unwrap(), site.root()).unwrap();
        assert_eq!(Some(kept), restored.kept);
        let run = site.session(&store, "20251211_140000");
        let catalog = run.catalog().unwrap();
        let kept = catalog.get(kept).unwrap();
        assert_eq!(kept.manifest().unwrap().trigger, Trigger::PreRestore);
        let plan = plan(&run, kept, site.root(), Selection::ALL, &site.sources).unwrap();
        restore(&run, &plan, Some(encoding()), &mut || Ok(())).unwrap();
        assert_eq!((site.sessions(), env(&site).as_str()), (4, "PORT=9090\n"));
    }

    fn last_outcome(store: &dyn LocalStore) -> Outcome {
        Ledger::load(store).unwrap().lines().last().unwrap().outcome
    }

    #[test]
    fn a_restore_that_fails_before_it_changes_anything_has_failed() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        site.execute("PRAGMA journal_mode = delete");
        let reader = site.open();
        reader.execute_batch("BEGIN; SELECT * FROM sessions").unwrap();
        let setup = crate::Setup { busy_timeout: std::time::Duration::from_millis(30), ..site.setup(&store, NOW) };
        let error = restore_all(&Run::begin(setup, &mut |_| {}).unwrap().into(), &site).unwrap_err();
        assert_eq!((error.kind(), last_outcome(&store)), (ErrorKind::Busy, Outcome::Failed));
        assert_eq!((site.sessions(), env(&site).as_str()), (4, "PORT=9090\n"));
    }

    #[test]
    fn a_restore_that_fails_after_its_first_change_says_so() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        fs::remove_file(site.root().join(".env")).unwrap();
        let run = site.session(&store, NOW);
        let catalog = run.catalog().unwrap();
        let plan = plan(&run, catalog.get(id(BACKUP)).unwrap(), site.root(), Selection::ALL, &site.sources).unwrap();
        fs::create_dir(site.root().join(".env")).unwrap();
        let error = restore(&run, &plan, Some(encoding()), &mut || Ok(())).unwrap_err();
        assert_eq!((error.kind(), last_outcome(&store)), (ErrorKind::Partial, Outcome::Partial));
        assert_eq!(error.advice(), Some(crate::Advice::Undo));
        let line = Ledger::load(&store).unwrap().lines().last().unwrap().clone();
        assert_eq!((line.id, line.error), (Some(id(BACKUP)), Some(error.to_string())));
        assert_eq!(site.sessions(), 3);
        let nothing_kept = partial(&error, "a part", None);
        assert_eq!((nothing_kept.hint(), nothing_kept.advice()), (Some("a part: repeat it"), None));
    }

    #[test]
    fn moving_leftovers_aside_is_a_change() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        let path = site.root().join("sessions.db");
        fs::remove_file(&path).unwrap();
        fs::write(site.root().join("sessions.db-wal"), "of a dead application").unwrap();
        let run = site.session(&store, NOW);
        let catalog = run.catalog().unwrap();
        let plan = plan(&run, catalog.get(id(BACKUP)).unwrap(), site.root(), Selection::ALL, &site.sources).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        let error = restore(&run, &plan, Some(encoding()), &mut || Ok(())).unwrap_err();
        assert_eq!((error.kind(), last_outcome(&store)), (ErrorKind::Partial, Outcome::Partial));
        assert!(site.root().join(format!("sessions.db.aside-{NOW}-wal")).exists());
    }

    #[test]
    fn where_a_leftover_cannot_be_moved_aside_no_database_is_put() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        fs::remove_file(site.root().join("sessions.db")).unwrap();
        fs::write(site.root().join("sessions.db-wal"), "of a dead application").unwrap();
        fs::create_dir(site.root().join(format!("sessions.db.aside-{NOW}-wal"))).unwrap();
        let error = restore_all(&site.session(&store, NOW), &site).unwrap_err();
        assert!(error.one_line().starts_with("can't move aside "), "{error:?}");
        assert!(!site.root().join("sessions.db").exists() && last_outcome(&store) == Outcome::Failed);
    }

    #[test]
    fn a_database_in_an_empty_place_has_the_recorded_journal_mode_and_permissions() {
        for recorded in ["wal", "delete"] {
            let (site, store) = (Site::new(), MemoryStore::new());
            site.execute(&format!("PRAGMA journal_mode = {recorded}"));
            let path = site.root().join("sessions.db");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            site.backup(&store, BACKUP);
            for suffix in DATABASE_FILES {
                file::remove_file(&paths::with_suffix(&path, suffix)).unwrap();
            }
            assert_eq!(restore_all(&site.session(&store, NOW), &site).unwrap().warnings, Vec::<String>::new());
            let mode: String = site.open().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
            assert_eq!((mode.as_str(), fs::metadata(&path).unwrap().mode() & 0o7777), (recorded, 0o640));
        }
    }

    #[test]
    fn an_overwritten_database_has_the_recorded_journal_mode() {
        let modes = ["wal", "delete"];
        for (recorded, live) in modes.into_iter().flat_map(|recorded| modes.map(|live| (recorded, live))) {
            let (site, store) = (Site::new(), MemoryStore::new());
            site.execute(&format!("PRAGMA journal_mode = {recorded}"));
            changed_since(&site, &store);
            site.execute(&format!("PRAGMA journal_mode = {live}"));
            assert_eq!(restore_all(&site.session(&store, NOW), &site).unwrap().warnings, Vec::<String>::new());
            let mode: String = site.open().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
            assert_eq!(mode, recorded, "over {live}");
        }
    }

    #[test]
    fn a_database_that_turns_out_damaged_when_it_is_to_be_kept_is_kept_as_bytes() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        // In rollback mode there is no log that could still make it whole.
        site.execute("PRAGMA journal_mode = delete");
        let path = site.root().join("sessions.db");
        let mut bytes = fs::read(&path).unwrap();
        bytes[4096..].fill(0xff);
        fs::write(&path, &bytes).unwrap();
        let restored = restore_all(&site.session(&store, NOW), &site).unwrap();
        assert_eq!((site.sessions(), env(&site).as_str()), (3, "PORT=8080\n"));
        assert_eq!(kept_bytes(&store, &restored), bytes);
    }

    /// What the pre-restore backup, which isn't compressed, has of the database.
    fn kept_bytes(store: &MemoryStore, restored: &RestoreReport) -> Vec<u8> {
        let kept = restored.kept.unwrap();
        let mut bytes = Vec::new();
        store.read(&format!("sessions_db_{kept}.db")).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_database_that_is_damaged_but_readable_is_kept_as_it_is_and_overwritten() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, BACKUP);
        site.execute(
            "CREATE INDEX by_kwh ON sessions(kwh); PRAGMA writable_schema = on;
             UPDATE sqlite_schema SET sql = 'CREATE INDEX by_kwh ON sessions(-kwh)' WHERE name = 'by_kwh';",
        );
        let restored = restore_all(&site.session(&store, NOW), &site).unwrap();
        let [warning] = &restored.warnings[..] else { panic!("{restored:?}") };
        assert!(warning.starts_with("sessions.db was damaged (") && warning.ends_with("an undo puts them back"));
        assert_eq!((restored.moved_aside, site.sessions()), (vec![], 3));
    }

    #[test]
    fn a_database_that_needs_what_only_its_application_has_is_kept_as_bytes() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        site.execute(
            "PRAGMA journal_mode = delete; CREATE INDEX by_kwh ON sessions(kwh); PRAGMA writable_schema = on;
             UPDATE sqlite_schema SET sql = 'CREATE INDEX by_kwh ON sessions(kwh COLLATE app)' WHERE name = 'by_kwh';",
        );
        let bytes = fs::read(site.root().join("sessions.db")).unwrap();
        let restored = restore_all(&site.session(&store, NOW), &site).unwrap();
        assert_eq!((site.sessions(), env(&site).as_str()), (3, "PORT=8080\n"));
        assert_eq!(kept_bytes(&store, &restored), bytes);
    }

    /// An index that says what is in no row.
    const BREAK: &str = "CREATE INDEX by_kwh ON sessions(kwh); PRAGMA writable_schema = on;
                         UPDATE sqlite_schema SET sql = 'CREATE INDEX by_kwh ON sessions(-kwh)' WHERE name = 'by_kwh'";

    /// The database's file, and those beside it that hold something of it.
    fn database_files(site: &Site) -> [Option<Vec<u8>>; 3] {
        ["", "-wal", "-journal"].map(|suffix| fs::read(site.root().join(format!("sessions.db{suffix}"))).ok())
    }

    fn undo_all(store: &dyn LocalStore, site: &Site, now: &str) -> RestoreReport {
        let run = site.session(store, now);
        let kept = undo(&Ledger::load(store).unwrap(), site.root()).unwrap();
        let catalog = run.catalog().unwrap();
        let plan = plan(&run, catalog.get(kept).unwrap(), site.root(), Selection::ALL, &site.sources).unwrap();
        restore(&run, &plan, Some(encoding()), &mut || Ok(())).unwrap()
    }

    /// Restores over a database that `damage` has damaged, and back, and back again.
    #[track_caller]
    fn assert_undone_to_the_byte(recorded: &str, damage: impl Fn(&Site, &Path)) -> RestoreReport {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.execute(&format!("PRAGMA journal_mode = {recorded}"));
        changed_since(&site, &store);
        damage(&site, &site.root().join("sessions.db"));
        let damaged = database_files(&site);
        let restored = restore_all(&site.session(&store, NOW), &site).unwrap();
        assert_eq!((site.sessions(), env(&site).as_str()), (3, "PORT=8080\n"));

        let undone = undo_all(&store, &site, "20251211_140000");
        assert!(database_files(&site) == damaged, "{undone:?}");
        assert_eq!(env(&site), "PORT=9090\n");
        undo_all(&store, &site, "20251212_140000");
        assert_eq!((site.sessions(), env(&site).as_str()), (3, "PORT=8080\n"));
        undo_all(&store, &site, "20251213_140000");
        assert!(database_files(&site) == damaged, "once more");
        restored
    }

    #[test]
    fn an_undo_brings_back_a_damaged_database_that_was_overwritten_to_the_byte() {
        for (recorded, live) in [("wal", "wal"), ("delete", "wal"), ("wal", "delete"), ("delete", "delete")] {
            let restored = assert_undone_to_the_byte(recorded, |site, _| {
                site.execute(&format!("PRAGMA journal_mode = {live}"));
                site.execute(BREAK);
            });
            assert_eq!(restored.moved_aside, Vec::<PathBuf>::new());
        }
    }

    #[test]
    fn an_undo_brings_back_a_damaged_database_with_its_log_to_the_byte() {
        for recorded in ["wal", "delete"] {
            assert_undone_to_the_byte(recorded, |site, path| {
                site.execute("PRAGMA journal_mode = wal");
                site.execute(BREAK);
                let killed = sqlite::open_to_replace(path, std::time::Duration::ZERO).unwrap();
                killed.execute_batch("PRAGMA writable_schema = off; CREATE TABLE late(x)").unwrap();
                drop(killed);
                assert!(database_files(site)[1].as_ref().is_some_and(|log| !log.is_empty()));
            });
        }
    }

    #[test]
    fn an_undo_brings_back_bytes_behind_the_last_page() {
        assert_undone_to_the_byte("delete", |site, path| {
            site.execute("PRAGMA journal_mode = delete");
            site.execute(BREAK);
            let file = fs::File::options().append(true).open(path).unwrap();
            std::io::Write::write_all(&mut &file, b"what somebody has written there").unwrap();
        });
    }

    #[test]
    fn an_undo_brings_back_what_is_no_database_with_what_lies_beside_it() {
        let restored = assert_undone_to_the_byte("wal", |_, path| {
            fs::write(path, "no database, and nothing like it").unwrap();
            fs::write(paths::with_suffix(path, "-wal"), "garbage").unwrap();
        });
        assert_eq!(restored.moved_aside.len(), 3, "with the -shm of who looked: {restored:?}");
    }

    /// Replaces bytes of the header.
    fn edit_header(path: &Path, at: usize, bytes: &[u8]) {
        let mut image = fs::read(path).unwrap();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(path, image).unwrap();
    }

    #[test]
    fn a_database_that_sqlite_cannot_write_to_is_moved_aside_whole() {
        // A format for writing that SQLite doesn't know.
        for format in [[3, 1], [3, 2]] {
            let restored = assert_undone_to_the_byte("delete", |_, path| edit_header(path, 18, &format));
            let aside = restored.moved_aside.first().unwrap();
            assert!(aside.to_string_lossy().ends_with(&format!("sessions.db.aside-{NOW}")));
            assert!(restored.warnings.iter().any(|warning| warning.starts_with("SQLite can't overwrite ")));
        }
    }

    #[test]
    fn a_database_that_sqlite_cannot_copy_is_kept_as_bytes_and_overwritten() {
        for schema in [
            "UPDATE sqlite_schema SET sql = 'CREATE TABLE sessions(id INTEGER PRIMARY KEY, kwh REAL DEFAULT (kwh))'",
            "UPDATE sqlite_schema SET name = 'others'",
            "CREATE INDEX by_kwh ON sessions(kwh); UPDATE sqlite_schema SET tbl_name = 'none' WHERE name = 'by_kwh'",
            "CREATE INDEX by_kwh ON sessions(kwh); DELETE FROM sqlite_schema WHERE name = 'sessions'",
        ] {
            assert_undone_to_the_byte("delete", |site, _| {
                let connection = site.open();
                connection.execute_batch("PRAGMA writable_schema = on").unwrap();
                connection.execute_batch(schema).unwrap_or_else(|e| panic!("{schema}: {e}"));
            });
        }
    }

    #[test]
    fn a_database_of_an_encoding_that_there_is_not_is_moved_aside() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.execute("PRAGMA journal_mode = delete");
        changed_since(&site, &store);
        edit_header(&site.root().join("sessions.db"), 56, &[0, 0, 0, 248]);
        let restored = restore_all(&site.session(&store, NOW), &site).unwrap();
        assert_eq!((restored.moved_aside.len(), site.sessions()), (1, 3), "{restored:?}");
    }

    #[test]
    fn a_database_that_is_in_use_is_not_swapped_for_bytes() {
        for mode in ["wal", "delete"] {
            let (site, store) = (Site::new(), MemoryStore::new());
            site.execute(&format!("PRAGMA journal_mode = {mode}"));
            changed_since(&site, &store);
            site.execute(BREAK);
            restore_all(&site.session(&store, NOW), &site).unwrap();
            let application = site.open();
            application.execute_batch("BEGIN; SELECT * FROM sessions").unwrap();
            let setup = crate::Setup {
                busy_timeout: std::time::Duration::from_millis(50),
                ..site.setup(&store, "20251211_140000")
            };
            let run: Session<'_> = Run::begin(setup, &mut |_| {}).unwrap().into();
            let kept = undo(&Ledger::load(&store).unwrap(), site.root()).unwrap();
            let catalog = run.catalog().unwrap();
            let plan = plan(&run, catalog.get(kept).unwrap(), site.root(), Selection::ALL, &site.sources).unwrap();
            let error = restore(&run, &plan, Some(encoding()), &mut || Ok(())).unwrap_err();
            assert_eq!(
                (error.kind(), error.hint()),
                (
                    ErrorKind::Busy,
                    Some("stop the application, and a service that follows its database, then restore again")
                )
            );
            drop(application);
            assert_eq!((site.sessions(), env(&site).as_str()), (3, "PORT=8080\n"));
        }
    }

    #[test]
    fn a_restore_that_keeps_nothing_says_so_and_has_no_undo() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        let run = site.session(&store, NOW);
        let catalog = run.catalog().unwrap();
        let plan = plan(&run, catalog.get(id(BACKUP)).unwrap(), site.root(), Selection::ALL, &site.sources).unwrap();
        let before = published(&store);
        assert_eq!(restore(&run, &plan, None, &mut || Ok(())).unwrap().kept, None);
        assert_eq!((site.sessions(), env(&site).as_str(), published(&store)), (3, "PORT=8080\n", before));
        let ledger = Ledger::load(&store).unwrap();
        assert!(ledger.lines().last().unwrap().restore.as_ref().unwrap().unkept);
        let message = "nothing to undo: the restore of 2025-12-10 14:00 was told not to keep what it replaced";
        assert_eq!(undo(&ledger, site.root()).unwrap_err().to_string(), message);
    }

    #[test]
    fn only_what_is_there_is_kept() {
        let (mut site, store) = (Site::new(), MemoryStore::new());
        site.sources.files[0].paths.push(RelPath::new("station.json").unwrap());
        fs::write(site.root().join("station.json"), "{}").unwrap();
        site.backup(&store, BACKUP);
        fs::remove_file(site.root().join("station.json")).unwrap();
        let kept = restore_all(&site.session(&store, NOW), &site).unwrap().kept.unwrap();
        let catalog = Catalog::load(&store).unwrap();
        assert_eq!(
            catalog.get(kept).unwrap().read_manifest(&store).unwrap().warnings,
            [],
            "nothing else was looked for"
        );
    }

    #[test]
    fn what_is_replaced_is_kept_and_the_ledger_told_before_anything_changes() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        let watched = WatchedStore::new(&store);
        restore_all(&site.session(&watched, NOW), &site).unwrap();
        let changes = watched.changes();
        let manifest = format!("publish manifest_{NOW}.json");
        let kept = changes.iter().position(|call| *call == manifest).unwrap();
        let appends: Vec<usize> = (0..changes.len()).filter(|at| changes[*at].starts_with("append")).collect();
        assert_eq!(
            appends,
            [kept + 1, kept + 2, kept + 3],
            "the kept backup's line, then begun, then done: {changes:?}"
        );
        let outcomes: Vec<Outcome> = Ledger::load(&store).unwrap().lines().iter().map(|line| line.outcome).collect();
        assert_eq!(outcomes, [Outcome::Begun, Outcome::Ok, Outcome::Ok, Outcome::Begun, Outcome::Ok]);
    }

    #[test]
    fn a_failing_store_leaves_the_live_state_wholly_old_or_wholly_new_and_what_was_there_kept() {
        fault_sweep(
            changed_since,
            |site, store| {
                drop(Run::begin(site.setup(store, NOW), &mut |_| {}).and_then(|run| restore_all(&run.into(), site)));
            },
            |site, store, fault| {
                let live = (site.sessions(), env(site));
                let is_new = live == (3, "PORT=8080\n".into());
                assert!(is_new || live == (4, "PORT=9090\n".into()), "{fault}: {live:?}");
                let ledger = Ledger::load(store).unwrap();
                if is_new {
                    let kept = undo(&ledger, site.root()).unwrap_or_else(|e| panic!("{fault}: {e}"));
                    assert_eq!(Catalog::load(store).unwrap().get(kept).unwrap().files.len(), 2, "{fault}");
                }
                let left = fs::read_dir(site.root()).unwrap().map(|entry| entry.unwrap().file_name());
                let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains(".restoring")).collect();
                assert_eq!(left, Vec::<std::ffi::OsString>::new(), "{fault}");
                assert_clean(site, store, &[id(BACKUP)], fault);
            },
        );
    }

    /// A project with all that is backed up below `data`, and another one as much like it as can be.
    fn two_in_folders(store: &dyn LocalStore) -> (Site, PathBuf) {
        let mut site = Site::new();
        let path = |path: &str| RelPath::new(format!("data/{path}")).unwrap();
        (site.sources.databases[0].path, site.sources.files[0].paths[0]) = (path("sessions.db"), path(".env"));
        site.execute("PRAGMA journal_mode = delete");
        let other = site.root().join("other");
        for folder in [site.root().join("data"), other.clone()] {
            fs::create_dir(&folder).unwrap();
            for name in ["sessions.db", ".env"] {
                fs::copy(site.root().join(name), folder.join(name)).unwrap();
            }
        }
        site.backup(store, BACKUP);
        (site, other)
    }

    #[test]
    fn a_folder_that_is_exchanged_after_the_plan_is_not_written_to() {
        for (moment, selection) in ["planned", "staged"].into_iter().flat_map(|moment| {
            [Selection::ALL, Selection { databases: false, ..Selection::ALL }].map(|selection| (moment, selection))
        }) {
            let store = MemoryStore::new();
            let (site, other) = two_in_folders(&store);
            let data = site.root().join("data");
            let exchange = || {
                // What is decoded already is there as well, for a rename by path to find.
                fs::rename(&data, site.root().join("moved")).unwrap();
                for name in [".sessions.db.restoring", "..env.restoring"] {
                    let _ = fs::copy(site.root().join("moved").join(name), other.join(name));
                }
                std::os::unix::fs::symlink(&other, &data).unwrap();
            };
            fs::write(data.join(".env"), "CHANGED=1\n").unwrap();
            fs::write(other.join(".env"), "THEIRS=1\n").unwrap();
            let before =
                |name: &str| fs::metadata(other.join(name)).map(|found| (found.ino(), found.mtime_nsec())).ok();
            let inodes = ["sessions.db", ".env"].map(before);
            let run = site.session(&store, NOW);
            let catalog = run.catalog().unwrap();
            let plan = plan(&run, catalog.get(id(BACKUP)).unwrap(), site.root(), selection, &site.sources).unwrap();
            if moment == "planned" {
                exchange();
            }
            let mut ready = || {
                if moment == "staged" {
                    exchange();
                }
                Ok(())
            };
            let error = restore(&run, &plan, None, &mut ready).unwrap_err();
            assert!(error.one_line().contains("has been exchanged for another"), "{moment}: {error:?}");
            assert_eq!(["sessions.db", ".env"].map(before), inodes, "{moment}");
            assert_eq!(fs::read_to_string(other.join(".env")).unwrap(), "THEIRS=1\n", "{moment}");
        }
    }

    #[test]
    fn a_database_that_is_exchanged_for_a_link_to_another_one_is_not_written_to() {
        let store = MemoryStore::new();
        let (site, other) = two_in_folders(&store);
        let before = fs::metadata(other.join("sessions.db")).unwrap();
        let run = site.session(&store, NOW);
        let catalog = run.catalog().unwrap();
        let plan = plan(&run, catalog.get(id(BACKUP)).unwrap(), site.root(), Selection::ALL, &site.sources).unwrap();
        let live = site.root().join("data/sessions.db");
        fs::remove_file(&live).unwrap();
        std::os::unix::fs::symlink(other.join("sessions.db"), &live).unwrap();
        let error = restore(&run, &plan, None, &mut || Ok(())).unwrap_err();
        assert!(error.one_line().contains("has been exchanged for another"), "{error:?}");
        let after = fs::metadata(other.join("sessions.db")).unwrap();
        assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
    }

    #[test]
    fn damage_is_found_before_anything_changes() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        let before = published(&store);
        for file in ["config_20251209_140000.tar.zst", "sessions_db_20251209_140000.db.zst"] {
            publish(&store, file, b"something else");
            let error = restore_all(&site.session(&store, NOW), &site).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert_eq!((site.sessions(), env(&site).as_str()), (4, "PORT=9090\n"));
        }
        assert_eq!(published(&store), before, "nothing had to be kept");
        assert_eq!(undo(&Ledger::load(&store).unwrap(), site.root()).unwrap_err().kind(), ErrorKind::NoSuchBackup);
    }

    #[test]
    fn a_plan_says_what_is_there_and_changes_nothing() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        let run = site.session(&store, NOW);
        let catalog = run.catalog().unwrap();
        let entry = catalog.get(id(BACKUP)).unwrap();
        let present = |target: &Path, selection| {
            let plan = plan(&run, entry, target, selection, &site.sources).unwrap();
            let items: Vec<(String, Occupant)> =
                plan.items.iter().map(|item| (item.path.to_string(), item.present)).collect();
            (items, plan.replaces())
        };
        let item = |path: &str, present| (path.to_string(), present);
        let both = vec![item("sessions.db", Occupant::Replaced), item(".env", Occupant::Replaced)];
        assert_eq!(present(site.root(), Selection::ALL), (both, true));
        let files = Selection { databases: false, ..Selection::ALL };
        assert_eq!(present(site.root(), files), (vec![item(".env", Occupant::Replaced)], true));
        let elsewhere = site.root().join("elsewhere");
        let absent = vec![item("sessions.db", Occupant::Absent), item(".env", Occupant::Absent)];
        assert_eq!(present(&elsewhere, Selection::ALL), (absent, false));
        assert!(!elsewhere.exists());
        for suffix in ["-wal", "-shm"] {
            file::remove_file(&site.root().join(format!("sessions.db{suffix}"))).unwrap();
        }
        fs::write(site.root().join("sessions.db"), "this is no database, whatever its name says").unwrap();
        let databases = Selection { files: false, ..Selection::ALL };
        assert_eq!(present(site.root(), databases), (vec![item("sessions.db", Occupant::Damaged)], true));
        fs::remove_file(site.root().join("sessions.db")).unwrap();
        fs::create_dir(site.root().join("sessions.db")).unwrap();
        let error = plan(&run, entry, site.root(), databases, &site.sources).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn there_is_nothing_to_undo_without_a_restore_or_after_one_that_replaced_nothing() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, BACKUP);
        let error = undo(&Ledger::load(&store).unwrap(), site.root()).unwrap_err();
        let nothing = format!("nothing to undo: the ledger knows no restore into {}", site.root().display());
        assert_eq!(error.to_string(), nothing);
        let run = site.session(&store, NOW);
        let catalog = run.catalog().unwrap();
        let elsewhere = site.root().join("elsewhere");
        let plan = plan(&run, catalog.get(id(BACKUP)).unwrap(), &elsewhere, Selection::ALL, &site.sources).unwrap();
        assert_eq!(restore(&run, &plan, Some(encoding()), &mut || Ok(())).unwrap().kept, None);
        let error = undo(&Ledger::load(&store).unwrap(), site.root()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchBackup);
        assert_eq!(error.to_string(), nothing);
        for suffix in DATABASE_FILES {
            file::remove_file(&site.root().join(format!("sessions.db{suffix}"))).unwrap();
        }
        fs::remove_file(site.root().join(".env")).unwrap();
        restore_all(&run, &site).unwrap();
        let error = undo(&Ledger::load(&store).unwrap(), site.root()).unwrap_err();
        assert_eq!(error.to_string(), "nothing to undo: the restore of 2025-12-10 14:00 replaced nothing");
    }
}
