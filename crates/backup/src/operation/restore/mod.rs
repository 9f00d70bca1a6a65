//! Restore: check what will be written, keep what it replaces, write it, prove it; and the way back.
//!
//! The hazards, each seen in practice: a restored file beside a leftover `-wal` is corrupt, or loses rows unnoticed;
//! a file that replaces the one under a running application leaves that writing into a deleted one. So:
//!
//! * everything is decoded and checked beside its place before anything there changes;
//! * what will be replaced is backed up first (trigger `pre-restore`), which is what [`undo`] restores, and writers are
//!   held off from then on;
//! * a database that is there is overwritten *through SQLite*, by its backup API, as one transaction: readers see the
//!   old or the new state, a crash rolls back, and nobody has to reopen it;
//! * where none is, the decoded file is renamed into place, after files that a dead database left there (`-wal`, `-shm`,
//!   `-journal`) were moved aside; one that SQLite can't open or overwrite any more is moved aside as well. Nothing is
//!   deleted;
//! * a damaged database is kept as its bytes, and its undo puts exactly these back;
//! * the ledger has a line before the first change and one after the last: a restore that was cut short shows.

mod allowed;
mod fault;
mod keep;
mod leftovers;
mod live;
mod place;
mod plan;
mod same;
mod since;
mod staging;
mod target;
mod temp;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::artifact::codec::Encoding;
use crate::catalog::Entry;
use crate::disk::place::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::operation::look::Look;
use crate::operation::session::Session;
use crate::operation::verify::require_sound;
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Ledger, Line, Outcome, RestoreLine};
use crate::record::manifest;
use crate::record::relpath::RelPath;
pub use crate::record::selection::Selection;
use crate::source::Sources;
use crate::source::sqlite::bytes::Descriptors;
use crate::source::sqlite::integrity::Scope;
pub use allowed::{SkipReason, SkippedItem};
use keep::{SafetyCopy, keep_what_is_replaced};
pub use leftovers::{RestoredPlace, leftovers, remove_leftovers};
use place::{place, place_over};
use plan::Planned;
pub(crate) use plan::plan_for_nothing;
pub use plan::{Item, Occupant, Plan, plan};
pub use since::{ChangesSince, RowsSince, since};
use staging::{StagedConfig, StagedDatabase, StagedFile, Staging, stage};
use target::{Hold, hold_all, open_targets};

/// A database file and what SQLite may leave beside it, as suffixes of its name.
const DATABASE_FILES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// What a restore did.
#[derive(Debug, Serialize)]
pub struct RestoreReport {
    /// The backup.
    pub id: BackupId,
    /// The folder that everything is below.
    #[serde(serialize_with = "crate::record::ospath::one::serialize")]
    pub target: PathBuf,
    /// What was written, relative to the target.
    pub written: Vec<RelPath>,
    /// The pre-restore backup of what was replaced.
    pub kept: Option<BackupId>,
    /// Where damaged or orphaned files were moved to.
    #[serde(serialize_with = "crate::record::ospath::many::serialize")]
    pub moved_aside: Vec<PathBuf>,
    /// What a person should know of how it went; the plan has warnings of its own.
    pub warnings: Vec<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Carries out a plan. What it replaces is kept as a backup encoded with `keep`, or not at all if that is `None`; the ledger
/// says so, in two lines. `ready` is called when everything is decoded and checked, and nothing is locked yet: the moment to
/// stop an application.
///
/// # Errors
/// [`ErrorKind::Damaged`] if the backup isn't sound, [`ErrorKind::NoSpace`] if it doesn't fit, [`ErrorKind::NotKept`]
/// if what it replaces doesn't fit, [`ErrorKind::Busy`] if a live database stays locked, and what `ready` says: nothing has
/// changed then. [`ErrorKind::Partial`] if an error comes after a first change; the ledger says [`Outcome::Partial`] then,
/// or lacks its second line if that is all that can't be written.
pub fn restore(
    session: &Session<'_>,
    plan: &Plan,
    keep: Option<Encoding>,
    ready: &mut dyn FnMut() -> Result<()>,
) -> Result<RestoreReport> {
    let begun = session.elapsed_ms();
    let staging = stage(session, plan).inspect_err(|error| note_damage(session, plan.id, error))?;
    ready()?;
    // Closed after all connections to what is overwritten.
    let descriptors = Descriptors::default();
    let mut targets = open_targets(session, &staging)?;
    let held = hold_all(session, &staging, &mut targets)?;
    let SafetyCopy { id: kept, damaged, warnings } = match keep {
        Some(encoding) => keep_what_is_replaced(session, plan, &held, encoding, &descriptors)?,
        None => SafetyCopy::default(),
    };
    let ledger = RestoreRecord { session, plan, kept, unkept: keep.is_none() && plan.replaces() };
    ledger.record(Outcome::Begun, &[], None)?;

    let mut done = Changes { damaged, warnings, ..Changes::default() };
    let committed = commit(session, staging, held, &mut done);
    drop(targets);
    let settled = committed.and_then(|()| done.settle(session));
    let outcome = match settled {
        Ok(()) => Outcome::Ok,
        Err(_) if done.changed => Outcome::Partial,
        Err(_) => Outcome::Failed,
    };
    let recorded = ledger.record(outcome, &done.moved_aside, settled.as_ref().err());
    settled
        .map_err(|error| if done.changed { partial(&error, "a part of it may be restored", kept) } else { error })?;
    recorded.map_err(|error| partial(&error, "all of it is restored, but the ledger doesn't say so", kept))?;
    Ok(RestoreReport {
        id: plan.id,
        target: plan.target.clone(),
        written: plan.items.iter().map(|item| item.path.clone()).collect(),
        kept,
        moved_aside: done.moved_aside,
        warnings: done.warnings,
        duration_ms: session.elapsed_ms() - begun,
    })
}

/// Lets the ledger know of a backup that a restore found damaged, as a verification would, unless it knows: `latest` passes
/// over it then. A ledger that can't be written is no reason to say anything else than what was found.
fn note_damage(session: &Session<'_>, id: BackupId, error: &Error) {
    let is_known = || session.ledger().is_ok_and(|ledger| ledger.is_known_bad(id));
    if error.kind() == ErrorKind::Damaged && !is_known() {
        let line = Line::new(session.now(), Command::Verify, Outcome::Failed);
        let _ = session.note(Line { id: Some(id), error: Some(error.one_line()), ..line });
    }
}

/// An error after a first change, or what may have been one.
fn partial(error: &Error, so_far: &str, kept: Option<BackupId>) -> Error {
    let undo = kept.map_or("", |_| ", or put back what was there: `restore --undo`");
    Error::new(ErrorKind::Partial, error.one_line()).with_hint(format!("{so_far}: repeat it{undo}"))
}

/// A restore's lines in the ledger.
struct RestoreRecord<'a> {
    session: &'a Session<'a>,
    plan: &'a Plan,
    kept: Option<BackupId>,
    unkept: bool,
}

impl RestoreRecord<'_> {
    fn record(&self, outcome: Outcome, moved_aside: &[PathBuf], error: Option<&Error>) -> Result<()> {
        let restore = RestoreLine {
            target: self.plan.target.clone(),
            selection: Some(self.plan.selection),
            kept: self.kept,
            unkept: self.unkept,
            written: self.plan.items.iter().map(|item| item.path.to_string()).collect(),
            moved_aside: moved_aside.to_vec(),
        };
        self.session.note(Line {
            id: Some(self.plan.id),
            restore: Some(restore),
            error: error.map(Error::one_line),
            ..Line::new(self.session.now(), Command::Restore, outcome)
        })
    }
}

/// Carries out a plan for an empty folder that nobody else knows, without the ledger: what a drill does.
///
/// # Errors
/// As [`restore`]; and [`ErrorKind::Damaged`] for a database that was damaged when it was saved, which no drill can prove.
pub(crate) fn rehearse(look: &Look<'_>, plan: &Plan) -> Result<()> {
    let damaged = plan.artifacts.iter().find_map(|planned| match planned {
        Planned::Database { file, .. } => plan::saved_damaged(file),
        Planned::Files { .. } => None,
    });
    damaged.map_or(Ok(()), Err)?;
    commit(look, stage(look, plan)?, Vec::new(), &mut Changes::default())
}

/// Checks what [`rehearse`] restored and a restore takes for checked.
pub(crate) fn prove(look: &Look<'_>, plan: &Plan) -> Result<()> {
    plan.artifacts.iter().try_for_each(|planned| match planned {
        Planned::Database { file, path, .. } if file.is_checked() => {
            require_sound(look, file, &path.under(&plan.target), Some(Scope::Damage))
        }
        _ => Ok(()),
    })
}

/// The backup that undoes the last restore into `target`.
///
/// # Errors
/// [`ErrorKind::NoSuchBackup`] if there was none, or it replaced nothing, or kept nothing.
pub fn undo(ledger: &Ledger, target: &Path) -> Result<BackupId> {
    let nothing = |message: &str| {
        Err(Error::new(ErrorKind::NoSuchBackup, format!("nothing to undo: {message}"))
            .with_hint("`list` shows what restores kept, as pre-restore: each can be restored by its id"))
    };
    let Some((line, restore)) = ledger.restores().find(|(_, it)| is_same_folder(&it.target, target)) else {
        return nothing(&format!("the ledger knows no restore into {}", target.display()));
    };
    let when = line.at.format("%Y-%m-%d %H:%M");
    match (restore.kept, restore.moved_aside.first()) {
        (Some(kept), _) => Ok(kept),
        (None, Some(aside)) => nothing(&format!("what the restore of {when} found is kept as {}", aside.display())),
        (None, None) if restore.unkept => {
            nothing(&format!("the restore of {when} was told not to keep what it replaced"))
        }
        (None, None) => nothing(&format!("the restore of {when} replaced nothing")),
    }
}

/// Whether two paths lead to one folder.
fn is_same_folder(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// The plan that puts back what a restore has `kept`, into the folder that it was in. What that restore made where nothing
/// was is left, with a warning.
///
/// # Errors
/// As [`plan()`].
pub fn plan_undo(
    look: &Look<'_>,
    kept: &Entry,
    target: &Path,
    selection: Selection,
    sources: &Sources,
) -> Result<Plan> {
    let ledger = look.ledger()?;
    let mut plan = plan(look, kept, target, selection, sources)?;
    let written = ledger.restores().filter(|(_, it)| it.kept == Some(kept.id)).flat_map(|(_, it)| &it.written);
    let is_in_it = |path: &str| {
        let left_out = plan.skipped.iter().map(|skipped| &skipped.path);
        plan.items.iter().map(|item| &item.path).chain(left_out).any(|it| it.as_str() == path)
    };
    let made = written.filter(|path| !is_in_it(path));
    let stays = |path| format!("{path} was not there before that restore: it stays");
    let stays: Vec<String> = made.map(stays).collect();
    plan.warnings.extend(stays);
    Ok(plan)
}

/// What a restore has done so far.
#[derive(Default)]
struct Changes {
    /// Whether anything is no longer as it was.
    changed: bool,
    /// Databases that are known to be damaged, as they were.
    damaged: Vec<PathBuf>,
    moved_aside: Vec<PathBuf>,
    overwritten: Vec<(Place, Option<manifest::Database>)>,
    warnings: Vec<String>,
}

impl Changes {
    /// Looks after the databases that were overwritten, once nothing of ours has them open.
    fn settle(&mut self, look: &Look<'_>) -> Result<()> {
        let settled: Vec<Result<Option<String>>> =
            self.overwritten.iter().map(|(place, recorded)| live::settle(look, place, recorded.as_ref())).collect();
        for warning in settled {
            self.warnings.extend(warning?);
        }
        Ok(())
    }
}

/// Puts everything into its place. From here on a wish to stop has to wait: what is begun is finished.
fn commit(look: &Look<'_>, mut staging: Staging, held: Vec<Option<Hold<'_>>>, done: &mut Changes) -> Result<()> {
    staging.folders.sync()?;
    let mut held = held.into_iter();
    for file in staging.files.drain(..) {
        match file {
            StagedFile::Database(staged) => {
                let hold = if staged.present == Occupant::Replaced { held.next().flatten() } else { None };
                put_database(look, *staged, hold, done)?;
            }
            StagedFile::Config(staged) => {
                let StagedConfig { temp, place, warning } = *staged;
                done.warnings.extend(warning);
                temp.replace(&place)?;
                done.changed = true;
                place.sync()?;
            }
        }
    }
    Ok(())
}

/// Overwrites the database that is there, or puts the decoded file into its place.
fn put_database(look: &Look<'_>, staged: StagedDatabase, hold: Option<Hold<'_>>, done: &mut Changes) -> Result<()> {
    let overwrite = match hold {
        None => {
            if staged.present == Occupant::Replaced {
                done.warnings.push(could_not_overwrite(&staged.path));
            }
            return place(look, staged, done);
        }
        Some(Hold::Swap(swap)) => {
            swap.make_single_file()?;
            return place_over(staged, BackupId::at(look.now().to_utc()), done);
        }
        Some(Hold::Overwrite(overwrite)) => overwrite,
    };
    match overwrite.finish(look) {
        Ok(()) => {
            done.changed = true;
            done.overwritten.push((staged.place, staged.recorded));
            Ok(())
        }
        Err(error) if fault::is_the_databases(look, &staged, done.damaged.contains(&staged.path), &error) => {
            done.warnings.push(could_not_overwrite(&staged.path));
            place(look, staged, done)
        }
        Err(error) => {
            // SQLite may have committed before it came upon such an error.
            done.changed |= is_uncertain(&error);
            Err(error)
        }
    }
}

fn could_not_overwrite(path: &Path) -> String {
    let path = path.display();
    format!("SQLite can't overwrite {path}, so it is moved aside: a program that has it open has to open it again")
}

/// Whether the error of a transaction leaves open how that ended. One that finds no room or no right is rolled back.
fn is_uncertain(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Sqlite)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::catalog::Catalog;
    use crate::disk::{file, paths};
    use crate::operation::run::Run;
    use crate::record::codec::Codec;
    use crate::record::manifest::Trigger;
    use crate::source::sqlite;
    use crate::store::{LocalStore, MemoryStore, Store};
    use crate::testing::faults::{Watched, assert_clean, fault_sweep};
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
        assert!(error.hint().unwrap().contains("restore --undo"));
        let line = Ledger::load(&store).unwrap().lines().last().unwrap().clone();
        assert_eq!((line.id, line.error), (Some(id(BACKUP)), Some(error.to_string())));
        assert_eq!(site.sessions(), 3);
        assert_eq!(partial(&error, "a part", None).hint(), Some("a part: repeat it"), "nothing was kept");
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
    fn how_a_transaction_ended_is_open_after_an_error_of_the_disk_alone() {
        let uncertain = |kind| is_uncertain(&Error::new(kind, ""));
        assert!(uncertain(ErrorKind::Io) && uncertain(ErrorKind::Sqlite));
        assert!(!uncertain(ErrorKind::Busy) && !uncertain(ErrorKind::NoSpace));
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
        assert!(warning.starts_with("sessions.db was damaged (") && warning.ends_with("--undo puts them back"));
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
                (ErrorKind::Busy, Some("stop the application, then restore again"))
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
        let watched = Watched::new(&store);
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
