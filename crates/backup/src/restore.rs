//! Restore: check what will be written, keep what it replaces, write it, prove it; and the way back.
//!
//! The hazards, each seen in practice: a restored file beside a leftover `-wal` is corrupt, or loses rows unnoticed;
//! a file that replaces the one under a running application leaves that writing into a deleted one. So:
//!
//! * everything is decoded and checked beside its place before anything there changes;
//! * what will be replaced is backed up first (trigger `pre-restore`), which is what [`undo`] restores;
//! * a database that is there is overwritten *through SQLite*, by its backup API, as one transaction: readers see the
//!   old or the new state, a crash rolls back, and nobody has to reopen it;
//! * where none is, the decoded file is renamed into place, after files that a dead database left there (`-wal`, `-shm`,
//!   `-journal`) were moved aside; one that SQLite can't open any more is moved aside as well. Nothing is deleted;
//! * the ledger has a line before the first change and one after the last: a restore that was cut short shows.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::backup::{self, Made};
use crate::catalog::{Entry, StoredFile};
use crate::check::{self, Checks};
use crate::codec::Encoding;
use crate::error::{Error, ErrorKind, Result};
use crate::fsutil;
use crate::history::{Command, History, Line, Outcome, RestoreLine};
use crate::id::BackupId;
use crate::manifest::{self, Content, Trigger};
use crate::names::Kind;
use crate::progress::{Phase, Step};
use crate::read;
use crate::relpath::RelPath;
use crate::run::Run;
use crate::source::files::ConfigFile;
use crate::source::{DatabaseSource, FilesSource, Sources, sqlite};
use crate::verify::{expected_facts, plain_bytes, require_sound};

/// A database file and what SQLite may leave beside it, as suffixes of its name.
const DATABASE_FILES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// How often a busy database is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Which kinds of things to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Databases.
    pub databases: bool,
    /// Configuration files.
    pub files: bool,
}

impl Selection {
    /// Everything.
    pub const ALL: Self = Self { databases: true, files: true };

    fn takes(self, kind: Kind) -> bool {
        match kind {
            Kind::Database => self.databases,
            Kind::Files => self.files,
        }
    }
}

/// What a restore will write, and what is there now. Made by [`plan`], carried out by [`restore`].
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The backup.
    pub id: BackupId,
    /// The folder that everything is below.
    pub target: PathBuf,
    /// What will be written, in this order.
    pub items: Vec<Item>,
    /// What a person should know before agreeing.
    pub warnings: Vec<String>,
    #[serde(skip)]
    artifacts: Vec<Planned>,
}

/// One file to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Where, relative to the target.
    pub path: RelPath,
    /// Its size, if the manifest says it.
    pub bytes: Option<u64>,
    /// What is there now.
    pub present: Present,
}

/// What is in the place of a file to be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Present {
    /// Nothing.
    Absent,
    /// A file, or a database that opens: it is kept as a pre-restore backup, then replaced.
    Replaced,
    /// A database that SQLite can't open: it will be moved aside.
    Damaged,
}

/// A stored file and where its content goes.
#[derive(Debug)]
enum Planned {
    Database { file: StoredFile, path: RelPath, present: Present },
    Files { file: StoredFile, paths: Vec<(RelPath, RelPath)> },
}

impl Plan {
    /// Whether anything that is there now will be replaced or moved.
    pub fn replaces(&self) -> bool {
        self.items.iter().any(|item| item.present != Present::Absent)
    }
}

/// What a restore did.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// The backup.
    pub id: BackupId,
    /// The folder that everything is below.
    pub target: PathBuf,
    /// What was written, relative to the target.
    pub written: Vec<RelPath>,
    /// The pre-restore backup of what was replaced.
    pub kept: Option<BackupId>,
    /// Where damaged or orphaned files were moved to.
    pub moved_aside: Vec<PathBuf>,
    /// What a person should know of how it went; the plan has warnings of its own.
    pub warnings: Vec<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Says what restoring `entry` into `target` would do. Reads, changes nothing. `sources` says where the content of
/// backups belongs that other tools wrote, without saying so themselves.
///
/// # Errors
/// What [`Entry::require_usable`] says; [`ErrorKind::NoSuchBackup`] if the backup holds nothing of the selection;
/// [`ErrorKind::InvalidInput`] if it isn't known where something belongs.
pub fn plan(run: &Run<'_>, entry: &Entry, target: &Path, selection: Selection, sources: &Sources) -> Result<Plan> {
    entry.require_usable()?;
    let mut plan =
        Plan { id: entry.id, target: target.to_path_buf(), items: vec![], warnings: vec![], artifacts: vec![] };
    for file in entry.files.iter().filter(|file| selection.takes(file.kind)) {
        match file.kind {
            Kind::Database => plan.add_database(run, file, sources)?,
            Kind::Files => plan.add_files(run, file, sources)?,
        }
    }
    if plan.items.is_empty() {
        return Err(Error::new(
            ErrorKind::NoSuchBackup,
            format!("backup {} holds none of what is asked for", entry.id),
        )
        .with_hint("`list` shows which backup holds what"));
    }
    plan.warn_of_what_is_missing(entry, selection, sources);
    Ok(plan)
}

impl Plan {
    fn add_database(&mut self, run: &Run<'_>, file: &StoredFile, sources: &Sources) -> Result<()> {
        let configured = || sources.databases.iter().find(|database| database.name == file.name);
        let path = match file.recorded.as_ref().map(|recorded| &recorded.content) {
            Some(Content::Database(database)) => database.source.clone(),
            _ => configured().ok_or_else(|| unknown_place(file))?.path.clone(),
        };
        let present = database_present(&path.under(&self.target), run.busy_timeout())?;
        let bytes = file.recorded.as_ref().map(|recorded| recorded.plain_bytes);
        self.items.push(Item { path: path.clone(), bytes, present });
        self.artifacts.push(Planned::Database { file: file.clone(), path, present });
        Ok(())
    }

    /// Reads the archive once for its members, so that one which can't be read is found before anything changes.
    fn add_files(&mut self, run: &Run<'_>, file: &StoredFile, sources: &Sources) -> Result<()> {
        let mut members = Vec::new();
        read::archive(run.store(), file, run.progress(), |member| {
            members.push((member.path, member.content.len() as u64));
            Ok(())
        })?;
        let mut paths = Vec::new();
        for (member, bytes) in members {
            let path = if file.recorded.is_some() { Some(member.clone()) } else { place_of(&member, file, sources) };
            let Some(path) = path else {
                self.warnings.push(format!("{member}: the settings don't say where it belongs, so it is left out"));
                continue;
            };
            let present = file_present(&path.under(&self.target))?;
            self.items.push(Item { path: path.clone(), bytes: Some(bytes), present });
            paths.push((member, path));
        }
        self.artifacts.push(Planned::Files { file: file.clone(), paths });
        Ok(())
    }

    fn warn_of_what_is_missing(&mut self, entry: &Entry, selection: Selection, sources: &Sources) {
        let databases = sources.databases.iter().filter(|_| selection.databases).map(|database| &database.name);
        let files = sources.files.iter().filter(|_| selection.files).map(|files| &files.name);
        for name in databases.chain(files).filter(|name| !entry.files.iter().any(|file| file.name == **name)) {
            self.warnings.push(format!("backup {} holds no {name}: what is there now stays", entry.id));
        }
    }
}

/// Where a flat member name of another tool's archive belongs: the configured path that ends in it.
fn place_of(member: &RelPath, file: &StoredFile, sources: &Sources) -> Option<RelPath> {
    let set = sources.files.iter().find(|files| files.name == file.name)?;
    set.paths.iter().find(|path| *path == member || path.file_name() == member.as_str()).cloned()
}

fn unknown_place(file: &StoredFile) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("it isn't known where {} belongs", file.file))
        .with_hint(format!("add a [[database]] with the name {:?} to the settings", file.name))
}

fn file_present(path: &Path) -> Result<Present> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(Error::new(ErrorKind::InvalidInput, format!("{} is a folder, a file belongs there", path.display()))
                .with_hint("move it away first"))
        }
        Ok(_) => Ok(Present::Replaced),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Present::Absent),
        Err(e) => Err(Error::io("stat", path, e)),
    }
}

fn database_present(path: &Path, busy_timeout: Duration) -> Result<Present> {
    if file_present(path)? == Present::Absent {
        return Ok(Present::Absent);
    }
    match sqlite::open_read_only(path, busy_timeout) {
        Ok(_) => Ok(Present::Replaced),
        Err(error) if means_damaged(&error) => Ok(Present::Damaged),
        Err(error) => Err(error),
    }
}

fn means_damaged(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotADatabase | ErrorKind::Damaged)
}

/// Carries out a plan. What it replaces is kept as a backup encoded with `encoding`; the ledger gets its two lines.
///
/// # Errors
/// [`ErrorKind::Damaged`] if the backup isn't sound, [`ErrorKind::NoSpace`] if it doesn't fit: nothing has changed then.
/// [`ErrorKind::Busy`] if the live database stays locked: it is as it was.
pub fn restore(run: &Run<'_>, plan: &Plan, encoding: Encoding) -> Result<Restored> {
    let begun = run.elapsed_ms();
    let staged = stage(run, plan)?;
    let (kept, damaged) = keep_what_is_replaced(run, plan, encoding)?;
    let mut line = RestoreLine {
        target: plan.target.clone(),
        kept,
        written: plan.items.iter().map(|item| item.path.to_string()).collect(),
        moved_aside: Vec::new(),
    };
    let record = |outcome, restore, error: Option<String>| {
        let line = Line::new(run.now(), Command::Restore, outcome);
        run.record(Line { id: Some(plan.id), restore: Some(restore), error, ..line })
    };
    record(Outcome::Begun, line.clone(), None)?;
    let committed = commit(run, staged, &damaged, &mut line.moved_aside);
    let error = committed.as_ref().err().map(Error::one_line);
    let outcome = if committed.is_ok() { Outcome::Ok } else { Outcome::Failed };
    record(outcome, line.clone(), error)?;
    let warnings = committed.map_err(|e| match e.hint() {
        Some(_) => e,
        None => e.with_hint("repeat it, or put back what was there: restore --undo"),
    })?;
    Ok(Restored {
        id: plan.id,
        target: plan.target.clone(),
        written: plan.items.iter().map(|item| item.path.clone()).collect(),
        kept,
        moved_aside: line.moved_aside,
        warnings,
        duration_ms: run.elapsed_ms() - begun,
    })
}

/// Carries out a plan for an empty folder that nobody else knows, without the ledger: what a drill does.
pub(crate) fn rehearse(run: &Run<'_>, plan: &Plan) -> Result<()> {
    let staged = stage(run, plan)?;
    commit(run, staged, &[], &mut Vec::new()).map(drop)
}

/// The backup that undoes the last restore, and the folder it belongs in.
///
/// # Errors
/// [`ErrorKind::NoSuchBackup`] if there was no restore, or it replaced nothing.
pub fn undo(history: &History) -> Result<(BackupId, PathBuf)> {
    let nothing = |message: &str| Err(Error::new(ErrorKind::NoSuchBackup, message));
    let Some(Line { at, restore: Some(restore), .. }) = history.last_restore() else {
        return nothing("nothing to undo: the ledger knows no restore");
    };
    match restore.kept {
        Some(kept) => Ok((kept, restore.target.clone())),
        None => nothing(&format!("nothing to undo: the restore of {} replaced nothing", at.format("%Y-%m-%d %H:%M"))),
    }
}

/// A decoded and checked file beside its place. Dropped, it is gone.
enum StagedFile {
    Database { temp: NamedTempFile, path: PathBuf, live: bool, recorded: Option<manifest::Database> },
    Config { temp: NamedTempFile, path: PathBuf, warning: Option<String> },
}

/// All that is staged. Dropped, it is gone, and so are the folders that were made for it.
#[derive(Default)]
struct Staging {
    files: Vec<StagedFile>,
    folders: NewFolders,
}

/// Folders that were made on the way. Dropped, those that are still empty are removed.
#[derive(Default)]
struct NewFolders(Vec<PathBuf>);

impl NewFolders {
    fn make(&mut self, folder: &Path) -> Result<()> {
        let missing: Vec<_> = folder.ancestors().take_while(|folder| !folder.exists()).map(Path::to_path_buf).collect();
        self.0.extend(missing.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty()));
        fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))
    }

    /// Makes them durable.
    fn sync(&self) -> Result<()> {
        self.0.iter().try_for_each(|folder| fsutil::sync_parent(folder))
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        // What has something in it, or can't be removed, may stay.
        self.0.iter().rev().for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

fn stage(run: &Run<'_>, plan: &Plan) -> Result<Staging> {
    let mut staging = Staging::default();
    for planned in &plan.artifacts {
        match planned {
            Planned::Database { file, path, present } => {
                let path = path.under(&plan.target);
                staging.folders.make(fsutil::parent(&path))?;
                staging.files.push(stage_database(run, file, path, *present == Present::Replaced)?);
            }
            Planned::Files { file, paths } => stage_files(run, file, paths, &plan.target, &mut staging)?,
        }
    }
    run.check_stop()?;
    Ok(staging)
}

fn stage_database(run: &Run<'_>, file: &StoredFile, path: PathBuf, live: bool) -> Result<StagedFile> {
    let mut temp = temp_beside(&path)?;
    // Over a live database, its transaction needs as much again.
    fsutil::require_space(&path, plain_bytes(file).saturating_mul(if live { 2 } else { 1 }))?;
    read::copy(run.store(), file, run.progress(), temp.as_file_mut())?;
    let mut checks = Checks::of(&file.file);
    check::database(&mut checks, temp.path(), expected_facts(file), run)?;
    require_sound(&checks)?;
    let recorded = match file.recorded.as_ref().map(|recorded| &recorded.content) {
        Some(Content::Database(database)) => Some(database.clone()),
        _ => None,
    };
    Ok(StagedFile::Database { temp, path, live, recorded })
}

fn stage_files(
    run: &Run<'_>,
    file: &StoredFile,
    paths: &[(RelPath, RelPath)],
    target: &Path,
    staging: &mut Staging,
) -> Result<()> {
    read::archive(run.store(), file, run.progress(), |member| {
        if let Some((_, path)) = paths.iter().find(|(name, _)| *name == member.path) {
            let path = path.under(target);
            staging.folders.make(fsutil::parent(&path))?;
            staging.files.push(stage_config(&member, path)?);
        }
        Ok(())
    })
}

fn stage_config(member: &ConfigFile, path: PathBuf) -> Result<StagedFile> {
    let mut temp = temp_beside(&path)?;
    temp.write_all(&member.content).map_err(|e| Error::io("write", temp.path(), e))?;
    let warning = set_owner_and_mode(temp.path(), &path, member.mode, member.uid, member.gid)?;
    temp.as_file().sync_all().map_err(|e| Error::io("sync", temp.path(), e))?;
    Ok(StagedFile::Config { temp, path, warning })
}

/// A private file in the folder of `path`, with a name that a restore after a crash finds and replaces.
fn temp_beside(path: &Path) -> Result<NamedTempFile> {
    let folder = fsutil::parent(path);
    let name = format!(".{}.restoring", path.file_name().unwrap_or_default().to_string_lossy());
    let leftover = folder.join(&name);
    for suffix in DATABASE_FILES {
        fsutil::remove_file(&fsutil::with_suffix(&leftover, suffix))?;
    }
    tempfile::Builder::new()
        .prefix(&name)
        .rand_bytes(0)
        .tempfile_in(folder)
        .map_err(|e| Error::io("create", &leftover, e))
}

/// Gives the file at `temp` its recorded owner and mode. A warning, if this user can't give it that owner.
fn set_owner_and_mode(temp: &Path, path: &Path, mode: u32, uid: u32, gid: u32) -> Result<Option<String>> {
    let refused = match std::os::unix::fs::chown(temp, Some(uid), Some(gid)) {
        Ok(()) => None,
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            Some(format!("{} belonged to uid {uid}, gid {gid}; only root can give it back to them", path.display()))
        }
        Err(e) => return Err(Error::io("change the owner of", temp, e)),
    };
    fs::set_permissions(temp, Permissions::from_mode(mode)).map_err(|e| Error::io("change the mode of", temp, e))?;
    Ok(refused)
}

/// Backs up what is about to be replaced. Says which databases turned out to be too damaged for that.
fn keep_what_is_replaced(run: &Run<'_>, plan: &Plan, encoding: Encoding) -> Result<(Option<BackupId>, Vec<PathBuf>)> {
    let mut sources = Sources::default();
    let mut damaged = Vec::new();
    for planned in &plan.artifacts {
        match planned {
            Planned::Database { path, present: Present::Damaged, .. } => damaged.push(path.under(&plan.target)),
            Planned::Database { file, path, present: Present::Replaced } => sources.databases.push(DatabaseSource {
                name: file.name.clone(),
                path: path.clone(),
                probes: Vec::new(),
            }),
            Planned::Database { .. } => {}
            Planned::Files { file, paths } => sources.files.extend(replaced_files(plan, &file.name, paths)),
        }
    }
    if sources == Sources::default() {
        return Ok((None, damaged));
    }
    let trigger = Trigger::PreRestore;
    let request = backup::Request { root: &plan.target, sources: &sources, encoding, trigger, pinned: false };
    let Made { manifest, failures } = backup::backup(run, &request)?;
    for (name, error) in failures {
        match sources.databases.iter().find(|database| database.name == name) {
            Some(database) if means_damaged(&error) => damaged.push(database.path.under(&plan.target)),
            _ => return Err(error),
        }
    }
    let kept = (!manifest.artifacts.is_empty()).then_some(manifest.id);
    Ok((kept, damaged))
}

fn replaced_files(plan: &Plan, name: &str, paths: &[(RelPath, RelPath)]) -> Option<FilesSource> {
    let is_replaced =
        |path: &&RelPath| plan.items.iter().any(|item| item.path == **path && item.present == Present::Replaced);
    let paths: Vec<RelPath> = paths.iter().map(|(_, path)| path).filter(is_replaced).cloned().collect();
    (!paths.is_empty()).then(|| FilesSource { name: name.to_string(), paths })
}

/// Puts everything into its place. From here on a wish to stop has to wait: what is begun is finished.
fn commit(
    run: &Run<'_>,
    mut staging: Staging,
    damaged: &[PathBuf],
    moved_aside: &mut Vec<PathBuf>,
) -> Result<Vec<String>> {
    staging.folders.sync()?;
    let mut warnings = Vec::new();
    for file in staging.files.drain(..) {
        match file {
            StagedFile::Database { temp, path, live, recorded } if live && !damaged.contains(&path) => {
                warnings.extend(overwrite_live(run, temp.path(), &path, recorded.as_ref())?);
            }
            StagedFile::Database { temp, path, recorded, .. } => {
                move_aside(&path, BackupId::at(run.now().to_utc()), moved_aside)?;
                warnings.extend(put_into_place(temp, &path, recorded.as_ref())?);
            }
            StagedFile::Config { temp, path, warning } => {
                warnings.extend(warning);
                temp.persist(&path).map_err(|e| Error::io("replace", &path, e.error))?;
                fsutil::sync_parent(&path)?;
            }
        }
    }
    Ok(warnings)
}

/// Renames the database at `path` and what lies beside it, as far as they exist, so that SQLite still finds them to
/// belong together.
fn move_aside(path: &Path, now: BackupId, moved: &mut Vec<PathBuf>) -> Result<()> {
    let aside = fsutil::with_suffix(path, &format!(".aside-{now}"));
    for suffix in DATABASE_FILES {
        let (from, to) = (fsutil::with_suffix(path, suffix), fsutil::with_suffix(&aside, suffix));
        match fs::rename(&from, &to) {
            Ok(()) => moved.push(to),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("move aside", &from, e)),
        }
    }
    fsutil::sync_parent(path)
}

/// Makes the decoded file the database at `path`, where nothing is.
fn put_into_place(temp: NamedTempFile, path: &Path, recorded: Option<&manifest::Database>) -> Result<Option<String>> {
    let mut warning = None;
    if let Some(recorded) = recorded {
        if recorded.journal_mode == "wal" {
            set_wal(temp.path())?;
        }
        warning = set_owner_and_mode(temp.path(), path, recorded.mode, recorded.uid, recorded.gid)?;
    }
    temp.as_file().sync_all().map_err(|e| Error::io("sync", temp.path(), e))?;
    // An application that has just made a database of its own here must not lose it.
    temp.persist_noclobber(path).map_err(|e| Error::io("put a database at", path, e.error))?;
    fsutil::sync_parent(path)?;
    Ok(warning)
}

/// Puts a closed database into WAL mode. A snapshot never is: `VACUUM INTO` writes rollback mode.
fn set_wal(path: &Path) -> Result<()> {
    let connection = sqlite::open_read_write(path, Duration::ZERO)?;
    journal_mode(&connection, "wal").map_err(|e| Error::sqlite("set the journal mode of", path, e))?;
    connection.close().map_err(|(_, e)| Error::sqlite("close", path, e))
}

fn journal_mode(connection: &rusqlite::Connection, mode: &str) -> rusqlite::Result<String> {
    connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get(0))
}

/// Overwrites the database at `path` with the one at `temp`, as one transaction of SQLite's, whoever has it open.
fn overwrite_live(
    run: &Run<'_>,
    temp: &Path,
    path: &Path,
    recorded: Option<&manifest::Database>,
) -> Result<Option<String>> {
    let failed = |e| Error::sqlite("restore into", path, e);
    let source = sqlite::open_read_only(temp, Duration::ZERO)?;
    let mut live = sqlite::open_read_write(path, run.busy_timeout())?;
    live.pragma_update(None, "synchronous", "full").map_err(failed)?;
    let mode_before: String = sqlite::pragma(&live, "journal_mode").map_err(failed)?;
    match_page_size(&source, &live, path, &mode_before)?;

    let step = Step::begin(run.progress(), Phase::Write, &path.display().to_string(), None);
    copy_as_one_transaction(&source, &mut live, path, run.busy_timeout())?;
    drop(step);

    let wanted =
        if recorded.map_or(mode_before == "wal", |recorded| recorded.journal_mode == "wal") { "wal" } else { "delete" };
    let warning = settle_journal(&live, path, wanted);
    let problems = sqlite::integrity_check(&live, path, run.progress())?;
    match problems.first() {
        None => Ok(warning),
        Some(first) => Err(Error::new(ErrorKind::Damaged, format!("{} after the restore: {first}", path.display()))
            .with_hint("put back what was there: restore --undo")),
    }
}

/// A WAL database can't change its page size: it has to leave WAL mode first, which needs it for itself alone.
fn match_page_size(source: &rusqlite::Connection, live: &rusqlite::Connection, path: &Path, mode: &str) -> Result<()> {
    let failed = |e| Error::sqlite("restore into", path, e);
    let wanted: u32 = sqlite::pragma(source, "page_size").map_err(failed)?;
    let found: u32 = sqlite::pragma(live, "page_size").map_err(failed)?;
    if mode != "wal" || wanted == found {
        return Ok(());
    }
    match journal_mode(live, "delete") {
        Ok(mode) if mode == "delete" => Ok(()),
        _ => {
            let message =
                format!("{} has pages of {found} bytes, the backup {wanted}, and it is in use", path.display());
            Err(Error::new(ErrorKind::Busy, message).with_hint("stop the application, then restore again"))
        }
    }
}

fn copy_as_one_transaction(
    source: &rusqlite::Connection,
    live: &mut rusqlite::Connection,
    path: &Path,
    busy_timeout: Duration,
) -> Result<()> {
    let failed = |e| Error::sqlite("restore into", path, e);
    let deadline = Instant::now() + busy_timeout;
    let backup = Backup::new(source, live).map_err(failed)?;
    loop {
        // All pages in one step: SQLite makes one transaction of it.
        match backup.step(-1).map_err(failed)? {
            StepResult::Done => return Ok(()),
            _ if Instant::now() < deadline => thread::sleep(RETRY),
            _ => {
                let waited = format!("{} stayed locked for {} s", path.display(), busy_timeout.as_secs());
                return Err(Error::new(ErrorKind::Busy, waited)
                    .with_hint("a program holds it in a transaction: stop that, or allow more with --busy-timeout"));
            }
        }
    }
}

/// Leaves the restored database in the journal mode that was recorded, and its log emptied into it. Readers can keep
/// either from happening now; the restored state is safe all the same.
fn settle_journal(live: &rusqlite::Connection, path: &Path, wanted: &str) -> Option<String> {
    let checkpoint = "PRAGMA wal_checkpoint(truncate)";
    let _ = live.query_row(checkpoint, [], |row| row.get::<_, i64>(0));
    match journal_mode(live, wanted) {
        Ok(mode) if mode == wanted => None,
        _ => Some(format!("{} could not be put into journal mode {wanted} while it is in use", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::tests::{Watched, assert_clean, fault_sweep};
    use crate::catalog::Catalog;
    use crate::codec::Codec;
    use crate::run::tests::{Site, id, publish, published};
    use crate::store::{MemoryStore, Store};

    const BACKUP: &str = "20251209_140000";
    const NOW: &str = "20251210_140000";

    fn encoding() -> Encoding {
        Encoding::new(Codec::None, 0).unwrap()
    }

    fn restore_all(run: &Run<'_>, site: &Site) -> Result<Restored> {
        let catalog = run.catalog()?;
        let plan = plan(run, catalog.get(id(BACKUP))?, site.root(), Selection::ALL, &site.sources)?;
        restore(run, &plan, encoding())
    }

    /// A backup, and changes after it.
    fn changed_since(site: &Site, store: &dyn Store) {
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
        let restored = restore_all(&site.begin(&store, NOW), &site).unwrap();
        assert_eq!((site.sessions(), env(&site).as_str()), (3, "PORT=8080\n"));
        let (kept, target) = undo(&History::load(&store).unwrap()).unwrap();
        assert_eq!((Some(kept), target.as_path()), (restored.kept, site.root()));
        let run = site.begin(&store, "20251211_140000");
        let catalog = run.catalog().unwrap();
        let kept = catalog.get(kept).unwrap();
        assert_eq!(kept.manifest().unwrap().trigger, Trigger::PreRestore);
        let plan = plan(&run, kept, &target, Selection::ALL, &site.sources).unwrap();
        restore(&run, &plan, encoding()).unwrap();
        assert_eq!((site.sessions(), env(&site).as_str()), (4, "PORT=9090\n"));
    }

    #[test]
    fn what_is_replaced_is_kept_and_the_ledger_told_before_anything_changes() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        let watched = Watched::new(&store);
        restore_all(&site.begin(&watched, NOW), &site).unwrap();
        let changes = watched.changes();
        let manifest = format!("publish manifest_{NOW}.json");
        let kept = changes.iter().position(|call| *call == manifest).unwrap();
        let appends: Vec<usize> = (0..changes.len()).filter(|at| changes[*at].starts_with("append")).collect();
        assert_eq!(
            appends,
            [kept + 1, kept + 2, kept + 3],
            "the kept backup's line, then begun, then done: {changes:?}"
        );
        let outcomes: Vec<Outcome> = History::load(&store).unwrap().lines().iter().map(|line| line.outcome).collect();
        assert_eq!(outcomes, [Outcome::Ok, Outcome::Ok, Outcome::Begun, Outcome::Ok]);
    }

    #[test]
    fn a_failing_store_leaves_the_live_state_wholly_old_or_wholly_new_and_what_was_there_kept() {
        fault_sweep(
            changed_since,
            |site, store| {
                drop(Run::begin(site.setup(store, NOW), &mut |_| {}).and_then(|run| restore_all(&run, site)));
            },
            |site, store, fault| {
                let live = (site.sessions(), env(site));
                let is_new = live == (3, "PORT=8080\n".into());
                assert!(is_new || live == (4, "PORT=9090\n".into()), "{fault}: {live:?}");
                let history = History::load(store).unwrap();
                if is_new {
                    let (kept, _) = undo(&history).unwrap_or_else(|e| panic!("{fault}: {e}"));
                    assert_eq!(Catalog::load(store).unwrap().get(kept).unwrap().files.len(), 2, "{fault}");
                }
                let left = fs::read_dir(site.root()).unwrap().map(|entry| entry.unwrap().file_name());
                let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains(".restoring")).collect();
                assert_eq!(left, Vec::<std::ffi::OsString>::new(), "{fault}");
                assert_clean(site, store, &[id(BACKUP)], fault);
            },
        );
    }

    #[test]
    fn damage_is_found_before_anything_changes() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        let before = published(&store);
        for file in ["config_20251209_140000.tar.zst", "sessions_db_20251209_140000.db.zst"] {
            publish(&store, file, b"something else");
            let error = restore_all(&site.begin(&store, NOW), &site).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert_eq!((site.sessions(), env(&site).as_str()), (4, "PORT=9090\n"));
        }
        assert_eq!(published(&store), before, "nothing had to be kept");
        assert_eq!(undo(&History::load(&store).unwrap()).unwrap_err().kind(), ErrorKind::NoSuchBackup);
    }

    #[test]
    fn a_plan_says_what_is_there_and_changes_nothing() {
        let (site, store) = (Site::new(), MemoryStore::new());
        changed_since(&site, &store);
        let run = site.begin(&store, NOW);
        let catalog = run.catalog().unwrap();
        let entry = catalog.get(id(BACKUP)).unwrap();
        let present = |target: &Path, selection| {
            let plan = plan(&run, entry, target, selection, &site.sources).unwrap();
            let items: Vec<(String, Present)> =
                plan.items.iter().map(|item| (item.path.to_string(), item.present)).collect();
            (items, plan.replaces())
        };
        let item = |path: &str, present| (path.to_string(), present);
        let both = vec![item("sessions.db", Present::Replaced), item(".env", Present::Replaced)];
        assert_eq!(present(site.root(), Selection::ALL), (both, true));
        let files = Selection { databases: false, files: true };
        assert_eq!(present(site.root(), files), (vec![item(".env", Present::Replaced)], true));
        let elsewhere = site.root().join("elsewhere");
        let absent = vec![item("sessions.db", Present::Absent), item(".env", Present::Absent)];
        assert_eq!(present(&elsewhere, Selection::ALL), (absent, false));
        assert!(!elsewhere.exists());
        for suffix in ["-wal", "-shm"] {
            fsutil::remove_file(&site.root().join(format!("sessions.db{suffix}"))).unwrap();
        }
        fs::write(site.root().join("sessions.db"), "this is no database, whatever its name says").unwrap();
        let databases = Selection { databases: true, files: false };
        assert_eq!(present(site.root(), databases), (vec![item("sessions.db", Present::Damaged)], true));
        fs::remove_file(site.root().join("sessions.db")).unwrap();
        fs::create_dir(site.root().join("sessions.db")).unwrap();
        let error = plan(&run, entry, site.root(), databases, &site.sources).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn there_is_nothing_to_undo_without_a_restore_or_after_one_that_replaced_nothing() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, BACKUP);
        let error = undo(&History::load(&store).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "nothing to undo: the ledger knows no restore");
        let run = site.begin(&store, NOW);
        let catalog = run.catalog().unwrap();
        let elsewhere = site.root().join("elsewhere");
        let plan = plan(&run, catalog.get(id(BACKUP)).unwrap(), &elsewhere, Selection::ALL, &site.sources).unwrap();
        assert_eq!(restore(&run, &plan, encoding()).unwrap().kept, None);
        let error = undo(&History::load(&store).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchBackup);
        assert!(error.to_string().contains("replaced nothing"), "{error}");
    }
}
