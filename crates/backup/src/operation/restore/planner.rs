//! Making a plan: reads the backup and what is there now, and changes nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Stat};

use super::allowed_paths::{self, SkipReason, SkippedItem, is_listed, is_protected};
use super::patience::Patience;
use super::plan::{Item, Member, Occupant, Plan, PlannedArchive, PlannedArtifact, PlannedDatabase};
use super::plan::{is_pre_restore, saved_damaged};
use crate::artifact::StoredFile;
use crate::artifact::read::Reader;
use crate::catalog::Entry;
use crate::disk::place::{Base, Place};
use crate::error::{Advice, Error, ErrorKind, Result};
use crate::operation::look::Look;
use crate::record::age::seconds_since;
use crate::record::names::Kind;
use crate::record::relpath::RelPath;
use crate::record::selection::Selection;
use crate::source::files::{ConfigFile, read_stored_archive};
use crate::source::{Sources, sqlite};

/// Plans to restore `entry` into `target`. A backup that another tool wrote doesn't say where its content belongs: `sources`
/// does.
///
/// # Errors
/// Those of [`Entry::require_usable`]; [`ErrorKind::NoSuchBackup`] if the backup holds nothing of the selection, not even
/// something to be left out; [`ErrorKind::InvalidInput`] if it is unknown where something belongs; [`ErrorKind::Damaged`] if
/// two things belong to one place; [`ErrorKind::PermissionDenied`] if an untrusted link leads there.
pub fn plan(look: &Look<'_>, entry: &Entry, target: &Path, selection: Selection, sources: &Sources) -> Result<Plan> {
    let mut plan = plan_for_empty_folder(look, entry, target, selection, sources)?;
    let warning = |name: String| format!("backup {} holds no {name}: what is there now stays", entry.id);
    plan.warnings.extend(plan.missing(entry, sources).into_iter().map(warning));
    Ok(plan)
}

/// The same for an empty folder, in which nothing could stay.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_for_empty_folder(
    look: &Look<'_>,
    entry: &Entry,
    target: &Path,
    selection: Selection,
    sources: &Sources,
) -> Result<Plan> {
    entry.require_usable()?;
    let plan = make_plan(look, entry, target, selection, sources);
    plan.map_err(|error| look.with_sound_before(entry, error))
}

fn make_plan(look: &Look<'_>, entry: &Entry, target: &Path, selection: Selection, sources: &Sources) -> Result<Plan> {
    let (created_at, base) = (entry.created_at(), Base::open(target)?);
    let plan = Plan {
        id: entry.id,
        created_at,
        age_s: seconds_since(created_at, look.now()),
        chain: look.chain(entry),
        target: target.to_path_buf(),
        items: vec![],
        skipped: vec![],
        warnings: vec![],
        artifacts: vec![],
        selection,
    };
    let files = look.files_to_restore(entry, selection)?;
    let mut planner = Planner { plan, base, sources, reader: look.reader(), patience: Patience::of(look) };
    planner.add_all(entry, &files)?;
    planner.finish()
}

/// A plan that is being made.
struct Planner<'a> {
    plan: Plan,
    /// The target.
    base: Arc<Base>,
    sources: &'a Sources,
    reader: Reader<'a>,
    patience: Patience<'a>,
}

impl Planner<'_> {
    fn add_all(&mut self, entry: &Entry, files: &[StoredFile]) -> Result<()> {
        let selection = self.plan.selection;
        for file in files.iter().filter(|file| selection.takes(file.kind)) {
            match file.kind {
                Kind::Database => self.add_database(file, beside(entry, files, file)?)?,
                // They go with the damaged database that they belong to.
                Kind::Increment | Kind::Wal | Kind::Journal => {}
                Kind::Files => self.add_files(file)?,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Plan> {
        let Plan { id, items, skipped, warnings, .. } = &mut self.plan;
        if items.is_empty() && skipped.is_empty() {
            let message = format!("backup {id} holds none of what is asked for");
            return Err(Error::new(ErrorKind::NoSuchBackup, message).with_hint("`list` shows which backup holds what"));
        }
        if let Some(path) = conflict(items) {
            let message = format!("backup {id} has two things that can't both be restored: {path}");
            return Err(Error::new(ErrorKind::Damaged, message).with_advice(Advice::RestorePart));
        }
        warnings.extend(allowed_paths::warnings(*id, skipped));
        Ok(self.plan)
    }

    fn add_database(&mut self, file: &StoredFile, beside: Vec<StoredFile>) -> Result<()> {
        let path = database_path(file, self.sources)?;
        let Some(unlisted) = self.admit(&path, is_listed(self.sources, &path, true)) else { return Ok(()) };
        let place = Place::find(&self.base, &path)?;
        let real_folder = if place.stat()?.is_some() { Some(place.real_folder()?) } else { None };
        let (present, encoding) = existing_database(&place, self.patience)?;
        self.plan.warnings.extend(encoding_warning(&path, encoding.as_deref(), file));
        if let Some(problem) = file.damage() {
            self.plan.warnings.push(format!("{path} was damaged ({problem}), and will be as it was"));
        }
        let bytes = file.recorded.as_ref().map(|_| file.plain_bytes());
        self.plan.items.push(Item { path: path.clone(), bytes, present, unlisted });
        let database = PlannedDatabase { file: file.clone(), path, place, real_folder, present, beside };
        self.plan.artifacts.push(PlannedArtifact::Database(database));
        Ok(())
    }

    /// Reads the archive once for its members, so that an unreadable one is found before anything changes.
    fn add_files(&mut self, file: &StoredFile) -> Result<()> {
        let mut members = Vec::new();
        read_stored_archive(self.reader, file, |member| {
            let Some(path) = member_path(&member.path, file, self.sources) else {
                let (path, warning) = (&member.path, "the settings don't say where it belongs, so it is left out");
                self.plan.warnings.push(format!("{path}: {warning}"));
                return Ok(());
            };
            members.extend(self.add_file(&member, path)?);
            Ok(())
        })?;
        self.plan.artifacts.push(PlannedArtifact::Archive(PlannedArchive { file: file.clone(), members }));
        Ok(())
    }

    fn add_file(&mut self, member: &ConfigFile, path: RelPath) -> Result<Option<Member>> {
        let Some(unlisted) = self.admit(&path, is_listed(self.sources, &path, false)) else { return Ok(None) };
        let place = Place::find(&self.base, &path)?;
        let existing = place.stat()?;
        if existing.is_some() {
            place.real()?;
        }
        let mut present = occupant(&place.path(), existing.as_ref())?;
        if existing.is_some_and(|existing| FileType::from_raw_mode(existing.st_mode) == FileType::Symlink) {
            self.plan.warnings.push(format!("{path} is a link: a plain file takes its place"));
        } else if present == Occupant::Replaced && is_same(&self.plan.target, &path, member)? {
            present = Occupant::Unchanged;
        }
        let bytes = Some(member.content.len() as u64);
        self.plan.items.push(Item { path: path.clone(), bytes, present, unlisted });
        Ok(Some(Member { name: member.path.clone(), path, place }))
    }

    /// Decides whether `path` is restored. `None` if it is left out; else whether the settings don't name it.
    fn admit(&mut self, path: &RelPath, is_listed: bool) -> Option<bool> {
        let why = match (is_protected(path), is_listed) {
            (true, _) => SkipReason::Protected,
            (_, false) if !self.plan.selection.unlisted => SkipReason::Unlisted,
            _ => return Some(!is_listed),
        };
        self.plan.skipped.push(SkippedItem { path: path.clone(), why });
        None
    }
}

/// A path that two items have, or that lies below another item.
fn conflict(items: &[Item]) -> Option<&RelPath> {
    let mut paths = BTreeSet::new();
    let twice = items.iter().find(|item| !paths.insert(Path::new(item.path.as_str())));
    let is_below = |item: &&Item| Path::new(item.path.as_str()).ancestors().skip(1).any(|it| paths.contains(it));
    twice.or_else(|| items.iter().find(is_below)).map(|item| &item.path)
}

/// What belongs beside a database that was damaged when it was backed up. Only a pre-restore backup is restored of such a
/// database.
fn beside(entry: &Entry, files: &[StoredFile], database: &StoredFile) -> Result<Vec<StoredFile>> {
    match saved_damaged(database) {
        Some(error) if !is_pre_restore(entry) => Err(error),
        Some(_) => {
            let is_beside = |it: &&StoredFile| it.kind.is_beside_database() && it.name == database.name;
            Ok(files.iter().filter(is_beside).cloned().collect())
        }
        None => Ok(Vec::new()),
    }
}

/// Where a database belongs: as its manifest says, else as the settings say.
fn database_path(file: &StoredFile, sources: &Sources) -> Result<RelPath> {
    if let Some(source) = file.source() {
        return Ok(source.clone());
    }
    match sources.databases.iter().find(|database| database.name == file.name) {
        Some(configured) => Ok(configured.path.clone()),
        None => Err(Error::new(ErrorKind::InvalidInput, format!("it isn't known where {} belongs", file.file))
            .with_hint(format!("add a [[database]] with the name {:?} to the settings", file.name))),
    }
}

/// Where a member of an archive belongs: at its own path; in another tool's archive, at the configured path that ends in it.
fn member_path(member: &RelPath, file: &StoredFile, sources: &Sources) -> Option<RelPath> {
    if file.recorded.is_some() {
        return Some(member.clone());
    }
    let set = sources.files.iter().find(|files| files.name == file.name)?;
    set.paths.iter().find(|path| *path == member || path.file_name() == member.as_str()).cloned()
}

fn occupant(path: &Path, existing: Option<&Stat>) -> Result<Occupant> {
    match existing {
        Some(existing) if FileType::from_raw_mode(existing.st_mode) == FileType::Directory => {
            Err(Error::new(ErrorKind::InvalidInput, format!("{} is a folder, a file belongs there", path.display()))
                .with_hint("move it away first"))
        }
        Some(_) => Ok(Occupant::Replaced),
        None => Ok(Occupant::Absent),
    }
}

/// Whether a restore would leave the file as it is: the owner stays, and the mode never gets wider.
fn is_same(target: &Path, path: &RelPath, member: &ConfigFile) -> Result<bool> {
    let existing = match ConfigFile::read(target, path) {
        // It is no plain file, or it is being written to.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Busy) => return Ok(false),
        existing => existing?,
    };
    let is_narrowed = existing.mode & 0o7777 & !member.mode != 0;
    Ok(!is_narrowed && existing.content == member.content)
}

/// What is in the place of a database, and the encoding of its text if it can be read.
fn existing_database(place: &Place, patience: Patience<'_>) -> Result<(Occupant, Option<String>)> {
    let path = &place.path();
    if occupant(path, place.stat()?.as_ref())? == Occupant::Absent {
        return Ok((Occupant::Absent, None));
    }
    match sqlite::open_stoppable(path, patience.busy_timeout, patience.progress) {
        Ok(connection) => Ok((Occupant::Replaced, sqlite::pragma(&connection, "encoding").ok())),
        Err(error) if error.means_damaged() => Ok((Occupant::Damaged, None)),
        // The restore rolls it back when it opens the database; a plan changes nothing.
        Err(error) if error.kind() == ErrorKind::HotJournal => Ok((Occupant::Replaced, None)),
        Err(error) => Err(error),
    }
}

/// SQLite refuses to go on with a database whose encoding has changed.
fn encoding_warning(path: &RelPath, is: Option<&str>, file: &StoredFile) -> Option<String> {
    let (is, will_be) = (is?, file.facts()?.encoding.as_str());
    let warning = "a program that has it open has to open it again";
    (is != will_be).then(|| format!("the text of {path} is {is} and will be {will_be}: {warning}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::Setup;
    use crate::operation::run::Run;
    use crate::source::files::ArchiveWriter;
    use crate::source::{DatabaseSource, FilesSource};
    use crate::store::{LocalStore, MemoryStore};
    use crate::testing::fixtures::{Site, Stop, id, publish};

    const ID: &str = "20251210_140000";

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    /// The site's database and a flat archive of these members, as another tool would have written them.
    fn foreign(site: &Site, members: &[&str]) -> MemoryStore {
        let store = MemoryStore::new();
        site.execute("PRAGMA journal_mode = delete");
        publish(&store, &format!("sessions_db_{ID}.db"), &fs::read(site.root().join("sessions.db")).unwrap());
        let mut archive = ArchiveWriter::new(Vec::new());
        for member in members {
            let content = b"{}".to_vec();
            let file = ConfigFile { path: path(member), mode: 0o600, uid: 0, gid: 0, mtime: 0, content };
            archive.add(&file).unwrap();
        }
        publish(&store, &format!("config_{ID}.tar"), &archive.finish().unwrap());
        store
    }

    /// The site's own sources, each behind another of its kind.
    fn settings(site: &Site) -> Sources {
        let database =
            DatabaseSource { name: "audit_db".into(), path: path("session.db"), ..site.sources.databases[0].clone() };
        let mut sources = Sources {
            databases: vec![database],
            files: vec![FilesSource { name: "other".into(), paths: vec![path("other/.env")] }],
        };
        sources.databases.extend(site.sources.databases.clone());
        sources.files.push(FilesSource { name: "config".into(), paths: vec![path("data/station.json"), path(".env")] });
        sources
    }

    fn planned(
        site: &Site,
        store: &dyn LocalStore,
        target: &Path,
        selection: Selection,
        sources: &Sources,
    ) -> Result<Plan> {
        let run = site.begin(store, ID);
        let catalog = run.catalog().unwrap();
        plan(&run, catalog.get(id(ID))?, target, selection, sources)
    }

    fn paths(plan: &Plan) -> Vec<&str> {
        plan.items.iter().map(|item| item.path.as_str()).collect()
    }

    #[test]
    fn what_another_tool_wrote_goes_where_the_settings_say() {
        let site = Site::new();
        let store = foreign(&site, &["station.json", ".env", "notes.txt"]);
        let plan = planned(&site, &store, site.root(), Selection::ALL, &settings(&site)).unwrap();
        assert_eq!(paths(&plan), ["data/station.json", ".env", "sessions.db"]);
        let warnings = [
            "notes.txt: the settings don't say where it belongs, so it is left out".to_string(),
            format!("backup {ID} holds no audit_db: what is there now stays"),
            format!("backup {ID} holds no other: what is there now stays"),
        ];
        assert_eq!(plan.warnings, warnings);
    }

    #[test]
    fn a_path_in_another_tools_archive_is_known_if_it_is_the_configured_one() {
        let site = Site::new();
        let store = foreign(&site, &["data/station.json"]);
        let files = Selection { databases: false, ..Selection::ALL };
        let plan = planned(&site, &store, site.root(), files, &settings(&site)).unwrap();
        assert_eq!(paths(&plan), ["data/station.json"]);
        let missing = |name| format!("backup {ID} holds no {name}: what is there now stays");
        assert_eq!(plan.warnings, ["other", ".env"].map(missing));
    }

    #[test]
    fn a_database_of_another_tool_that_the_settings_do_not_name_is_refused() {
        let site = Site::new();
        let error = planned(&site, &foreign(&site, &[]), site.root(), Selection::ALL, &Sources::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), format!("it isn't known where sessions_db_{ID}.db belongs"));
        assert_eq!(error.hint(), Some("add a [[database]] with the name \"sessions_db\" to the settings"));
    }

    #[test]
    fn what_the_manifest_says_comes_before_the_settings_if_that_is_allowed() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, ID);
        let mut sources = site.sources.clone();
        (sources.databases[0].path, sources.files[0].paths[0]) = (path("moved.db"), path("moved.env"));
        let missing = format!("backup {ID} holds no moved.env: what is there now stays");
        let plan = planned(&site, &store, site.root(), Selection::ALL, &sources).unwrap();
        let skipped = ["sessions.db", ".env"].map(|it| SkippedItem { path: path(it), why: SkipReason::Unlisted });
        assert_eq!((paths(&plan), &plan.skipped[..]), (vec![], &skipped[..]));
        let left_out = "the settings don't name, and which is left out: sessions.db, .env";
        assert_eq!(plan.warnings, [format!("backup {ID} holds what {left_out}"), missing.clone()]);
        let unlisted = Selection { unlisted: true, ..Selection::ALL };
        let plan = planned(&site, &store, site.root(), unlisted, &sources).unwrap();
        assert_eq!((paths(&plan), plan.items.iter().all(|item| item.unlisted)), (vec!["sessions.db", ".env"], true));
        assert_eq!((plan.skipped, plan.warnings), (vec![], vec![missing]));
    }

    #[test]
    fn a_database_goes_to_no_configuration_file_and_none_to_a_database() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, ID);
        let mut sources = site.sources.clone();
        std::mem::swap(&mut sources.databases[0].path, &mut sources.files[0].paths[0]);
        let plan = planned(&site, &store, site.root(), Selection::ALL, &sources).unwrap();
        assert_eq!((plan.items.len(), plan.skipped.len()), (0, 2));
    }

    #[test]
    fn a_configuration_file_that_is_the_same_is_said_to_be_unchanged() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, ID);
        let env = site.root().join(".env");
        let present = || {
            let plan = planned(&site, &store, site.root(), Selection::ALL, &site.sources).unwrap();
            plan.items[1].present
        };
        assert_eq!(present(), Occupant::Unchanged);
        fs::set_permissions(&env, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(present(), Occupant::Unchanged, "a restore makes no mode wider");
        fs::set_permissions(&env, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(present(), Occupant::Replaced);
        fs::write(&env, "PORT=9090\n").unwrap();
        assert_eq!(present(), Occupant::Replaced);
        fs::remove_file(&env).unwrap();
        std::os::unix::fs::symlink("elsewhere", &env).unwrap();
        fs::write(site.root().join("elsewhere"), "PORT=8080\n").unwrap();
        assert_eq!(present(), Occupant::Replaced, "a link is replaced, whatever it leads to");
    }

    #[test]
    fn a_plan_is_as_shown_as_long_as_the_same_files_are_there() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, ID);
        let plan = || planned(&site, &store, site.root(), Selection::ALL, &site.sources).unwrap();
        let shown = plan();
        fs::write(site.root().join(".env"), "PORT=9090\n").unwrap();
        assert!(plan().is_as_shown(&shown), "its content is kept, whatever it is");
        fs::remove_file(site.root().join(".env")).unwrap();
        assert!(!plan().is_as_shown(&shown));
    }

    #[test]
    fn a_place_that_cannot_be_looked_at_is_neither_empty_nor_damaged() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, ID);
        // Below a file there is no place for another.
        let target = site.root().join(".env");
        let error = planned(&site, &store, &target, Selection::ALL, &site.sources).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        let target = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", target.path().join("sessions.db")).unwrap();
        let error = planned(&site, &store, target.path(), Selection::ALL, &site.sources).unwrap_err();
        assert!(!error.means_damaged(), "{error:?}");
    }

    #[test]
    fn two_things_that_belong_to_one_place_or_below_each_other_are_refused() {
        let site = Site::new();
        let twice = foreign(&site, &["station.json", "data/station.json"]);
        let error = planned(&site, &twice, site.root(), Selection::ALL, &settings(&site)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().ends_with("can't both be restored: data/station.json"), "{error}");
        let mut below = settings(&site);
        below.databases[1].path = path("data");
        let error =
            planned(&site, &foreign(&site, &["station.json"]), site.root(), Selection::ALL, &below).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }

    #[test]
    fn who_waits_for_a_locked_database_hears_the_wish_to_stop() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.execute("PRAGMA journal_mode = delete");
        site.backup(&store, ID);
        let writer = site.open();
        writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let setup = Setup { busy_timeout: Duration::MAX, progress: &Stop, ..site.setup(&store, ID) };
        let run = Run::begin(setup, &mut |_| {}).unwrap();
        let catalog = run.catalog().unwrap();
        let planned = plan(&run, catalog.get(id(ID)).unwrap(), site.root(), Selection::ALL, &site.sources);
        assert_eq!(planned.unwrap_err().kind(), ErrorKind::Interrupted);
    }

    #[test]
    fn a_transaction_that_a_crash_broke_off_is_not_rolled_back_for_a_look() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.execute("PRAGMA journal_mode = delete");
        site.backup(&store, ID);
        let journal = site.root().join("sessions.db-journal");
        fs::write(&journal, "what was there before").unwrap();
        let plan = planned(&site, &store, site.root(), Selection::ALL, &site.sources).unwrap();
        assert_eq!(plan.items[0].present, Occupant::Replaced);
        assert!(journal.exists());
    }
}
