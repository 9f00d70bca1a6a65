//! What a restore would do: read from the backup and from what is there now, changing nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, FixedOffset};
use rustix::fs::{FileType, Stat};
use serde::Serialize;

use super::allowed::{SkipReason, SkippedItem, is_listed, is_protected};
use crate::artifact::StoredFile;
use crate::catalog::Entry;
use crate::disk::place::{Base, Identity, Place};
use crate::error::{Error, ErrorKind, Result, SALVAGE_HINT};
use crate::operation::look::Look;
use crate::operation::verify::expected_facts;
use crate::record::age::seconds_since;
use crate::record::id::BackupId;
use crate::record::manifest::{Content, Trigger};
use crate::record::names::Kind;
use crate::record::relpath::RelPath;
use crate::record::selection::Selection;
use crate::source::files::{ConfigFile, read_stored_archive};
use crate::source::{FilesSource, Sources, sqlite};

/// Of more paths that are left out, a warning names only some.
const MOST_NAMED: usize = 3;

/// What a restore will write, and what is there now. Made by [`plan`], carried out by [`restore`](super::restore).
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The backup.
    pub id: BackupId,
    /// When the backup was made.
    pub created_at: DateTime<FixedOffset>,
    /// How old it is, in seconds.
    pub age_s: u64,
    /// The folder that everything is below.
    #[serde(serialize_with = "crate::record::ospath::one::serialize")]
    pub target: PathBuf,
    /// What will be written, in this order.
    pub items: Vec<Item>,
    /// What the backup holds, and is left out.
    pub skipped: Vec<SkippedItem>,
    /// What a person should know before agreeing.
    pub warnings: Vec<String>,
    #[serde(skip)]
    pub(super) artifacts: Vec<Planned>,
    #[serde(skip)]
    pub(super) selection: Selection,
}

/// One file to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Where, relative to the target.
    pub path: RelPath,
    /// Its size, if the manifest says it.
    pub bytes: Option<u64>,
    /// What is there now.
    pub present: Occupant,
    /// Whether the settings don't name it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unlisted: bool,
}

/// What is in the place of a file to be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Occupant {
    /// Nothing.
    Absent,
    /// A file, or a database that opens: it is kept as a pre-restore backup, then replaced.
    Replaced,
    /// A configuration file with the same content and mode. It is handled as any other.
    Unchanged,
    /// A database that SQLite can't open: it will be moved aside.
    Damaged,
}

/// A stored file and where its content goes.
#[derive(Debug)]
pub(super) enum Planned {
    /// With what belongs `beside` it, if it was damaged and is put back as its bytes.
    Database {
        file: StoredFile,
        path: RelPath,
        place: Place,
        /// The folder that it really is in: a link there may lead into another.
        real_folder: Option<Identity>,
        present: Occupant,
        beside: Vec<StoredFile>,
    },
    Files {
        file: StoredFile,
        members: Vec<Member>,
    },
}

/// A member of an archive and where it goes.
#[derive(Debug)]
pub(super) struct Member {
    pub name: RelPath,
    pub path: RelPath,
    pub place: Place,
}

impl Plan {
    /// Whether it does what `shown` did: to the same files, which are as they were.
    pub fn is_as_shown(&self, shown: &Self) -> bool {
        // A configuration file may have been written to meanwhile.
        let what = |item: &Item| {
            (item.path.clone(), item.bytes, item.present == Occupant::Absent, item.present == Occupant::Damaged)
        };
        let places = |plan: &Self| plan.places().cloned().collect::<Vec<Place>>();
        self.id == shown.id
            && self.items.iter().map(what).eq(shown.items.iter().map(what))
            && places(self).iter().zip(&places(shown)).all(|(now, then)| now.is_same(then))
    }

    /// Where the items go, in their order.
    fn places(&self) -> impl Iterator<Item = &Place> {
        self.artifacts.iter().flat_map(|planned| -> Box<dyn Iterator<Item = &Place>> {
            match planned {
                Planned::Database { place, .. } => Box::new(std::iter::once(place)),
                Planned::Files { members, .. } => Box::new(members.iter().map(|member| &member.place)),
            }
        })
    }

    /// Whether anything that is there now will be replaced by something else, or moved.
    pub fn replaces(&self) -> bool {
        self.items.iter().any(|item| matches!(item.present, Occupant::Replaced | Occupant::Damaged))
    }
}

/// Says what restoring `entry` into `target` would do. Reads, changes nothing. `sources` says where the content of
/// backups belongs that other tools wrote, without saying so themselves.
///
/// # Errors
/// What [`Entry::require_usable`] says; [`ErrorKind::NoSuchBackup`] if the backup holds nothing of the selection (a plan
/// that only leaves things out is none);
/// [`ErrorKind::InvalidInput`] if it isn't known where something belongs; [`ErrorKind::Damaged`] if two things belong to
/// one place; [`ErrorKind::PermissionDenied`] if a link that can't be trusted leads there.
pub fn plan(look: &Look<'_>, entry: &Entry, target: &Path, selection: Selection, sources: &Sources) -> Result<Plan> {
    let mut plan = plan_for_nothing(look, entry, target, selection, sources)?;
    let warning = |name: String| format!("backup {} holds no {name}: what is there now stays", entry.id);
    plan.warnings.extend(plan.missing(entry, sources).into_iter().map(warning));
    Ok(plan)
}

/// The same for a folder in which there is nothing that could stay.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_for_nothing(
    look: &Look<'_>,
    entry: &Entry,
    target: &Path,
    selection: Selection,
    sources: &Sources,
) -> Result<Plan> {
    entry.require_usable()?;
    let base = Base::open(target)?;
    let (created_at, files) = (entry.created_at(), look.stored_files(entry)?);
    let mut plan = Plan {
        id: entry.id,
        created_at,
        age_s: seconds_since(created_at, look.now()),
        target: target.to_path_buf(),
        items: vec![],
        skipped: vec![],
        warnings: vec![],
        artifacts: vec![],
        selection,
    };
    for file in files.iter().filter(|file| selection.takes(file.kind)) {
        match file.kind {
            Kind::Database => plan.add_database(look, &base, file, beside(entry, &files, file)?, sources)?,
            // They belong to a damaged database, and go with it.
            Kind::Wal | Kind::Journal => {}
            Kind::Files => plan.add_files(look, &base, file, sources)?,
        }
    }
    if plan.items.is_empty() && plan.skipped.is_empty() {
        return Err(Error::new(
            ErrorKind::NoSuchBackup,
            format!("backup {} holds none of what is asked for", entry.id),
        )
        .with_hint("`list` shows which backup holds what"));
    }
    plan.require_distinct()?;
    plan.warn_of_what_is_skipped();
    Ok(plan)
}

impl Plan {
    fn add_database(
        &mut self,
        look: &Look<'_>,
        base: &Arc<Base>,
        file: &StoredFile,
        beside: Vec<StoredFile>,
        sources: &Sources,
    ) -> Result<()> {
        let configured = || sources.databases.iter().find(|database| database.name == file.name);
        let path = match file.recorded.as_ref().map(|recorded| &recorded.content) {
            Some(Content::Database(database)) => database.source.clone(),
            _ => configured().ok_or_else(|| unknown_place(file))?.path.clone(),
        };
        let Some(unlisted) = self.admit(&path, is_listed(sources, &path, true)) else { return Ok(()) };
        let place = Place::find(base, &path)?;
        let real_folder = if place.stat()?.is_some() { Some(place.real_folder()?) } else { None };
        let (present, encoding) = database_present(look, &place)?;
        let will_be = expected_facts(file).map(|facts| &facts.encoding);
        if let (Some(is), Some(will_be)) = (encoding, will_be)
            && is != *will_be
        {
            // SQLite itself refuses to go on with another encoding.
            let warning = "a program that has it open has to open it again";
            self.warnings.push(format!("the text of {path} is {is} and will be {will_be}: {warning}"));
        }
        let bytes = file.recorded.as_ref().map(|recorded| recorded.plain_bytes);
        if let Some(problem) = file.damage() {
            self.warnings.push(format!("{path} was damaged ({problem}), and will be as it was"));
        }
        self.items.push(Item { path: path.clone(), bytes, present, unlisted });
        self.artifacts.push(Planned::Database { file: file.clone(), path, place, real_folder, present, beside });
        Ok(())
    }

    /// Whether something goes to `path`: `None` if it is left out, else whether it is not in the settings.
    fn admit(&mut self, path: &RelPath, is_listed: bool) -> Option<bool> {
        let why = match (is_protected(path), is_listed) {
            (true, _) => SkipReason::Protected,
            (_, false) if !self.selection.unlisted => SkipReason::Unlisted,
            _ => return Some(!is_listed),
        };
        self.skipped.push(SkippedItem { path: path.clone(), why });
        None
    }

    /// Reads the archive once for its members, so that one which can't be read is found before anything changes.
    fn add_files(&mut self, look: &Look<'_>, base: &Arc<Base>, file: &StoredFile, sources: &Sources) -> Result<()> {
        let mut members = Vec::new();
        read_stored_archive(look.reader(), file, |member| {
            let is_ours = file.recorded.is_some();
            let path = if is_ours { Some(member.path.clone()) } else { place_of(&member.path, file, sources) };
            match path {
                Some(path) => members.extend(self.add_file(base, &member, path, sources)?),
                None => self
                    .warnings
                    .push(format!("{}: the settings don't say where it belongs, so it is left out", member.path)),
            }
            Ok(())
        })?;
        self.artifacts.push(Planned::Files { file: file.clone(), members });
        Ok(())
    }

    fn add_file(
        &mut self,
        base: &Arc<Base>,
        member: &ConfigFile,
        path: RelPath,
        sources: &Sources,
    ) -> Result<Option<Member>> {
        let Some(unlisted) = self.admit(&path, is_listed(sources, &path, false)) else { return Ok(None) };
        let place = Place::find(base, &path)?;
        let there = place.stat()?;
        if there.is_some() {
            place.real()?;
        }
        let mut present = file_present(&place.path(), there.as_ref())?;
        if there.is_some_and(|there| FileType::from_raw_mode(there.st_mode) == FileType::Symlink) {
            self.warnings.push(format!("{path} is a link: a plain file takes its place"));
        } else if present == Occupant::Replaced && is_same(&self.target, &path, member)? {
            present = Occupant::Unchanged;
        }
        self.items.push(Item { path: path.clone(), bytes: Some(member.content.len() as u64), present, unlisted });
        Ok(Some(Member { name: member.path.clone(), path, place }))
    }

    /// Makes sure that no two things go to one place, nor one of them to a folder by the name of another.
    fn require_distinct(&self) -> Result<()> {
        let mut places = BTreeSet::new();
        let twice = self.items.iter().find(|item| !places.insert(Path::new(item.path.as_str())));
        let is_below = |item: &&Item| Path::new(item.path.as_str()).ancestors().skip(1).any(|it| places.contains(it));
        match twice.or_else(|| self.items.iter().find(is_below)) {
            None => Ok(()),
            Some(Item { path, .. }) => {
                let message = format!("backup {} has two things that can't both be restored: {path}", self.id);
                Err(Error::new(ErrorKind::Damaged, message)
                    .with_hint("restore a part of it: --database-only or --config-only"))
            }
        }
    }

    fn warn_of_what_is_skipped(&mut self) {
        for (why, what) in [
            (SkipReason::Unlisted, "the settings don't name, and which is left out"),
            (SkipReason::Protected, "lies in .git, .cargo or ops, and is never restored"),
        ] {
            let paths: Vec<&RelPath> = self.skipped.iter().filter(|it| it.why == why).map(|it| &it.path).collect();
            if paths.is_empty() {
                continue;
            }
            let named: Vec<&str> = paths.iter().take(MOST_NAMED).map(|path| path.as_str()).collect();
            let more = match paths.len() - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            self.warnings.push(format!("backup {} holds what {what}: {}{more}", self.id, named.join(", ")));
        }
    }

    /// What is configured and asked for, and the backup doesn't hold. A pre-restore backup is not asked: it holds what a
    /// restore has replaced, and nothing else.
    pub(crate) fn missing(&self, entry: &Entry, sources: &Sources) -> Vec<String> {
        if is_pre_restore(entry) {
            return Vec::new();
        }
        let selection = self.selection;
        let databases = sources.databases.iter().filter(|_| selection.databases).map(|database| &database.name);
        let sets: Vec<&FilesSource> = sources.files.iter().filter(|_| selection.files).collect();
        let holds = |name: &&String| entry.files.iter().any(|file| file.name == **name);
        let (held, lacking): (Vec<_>, Vec<_>) = sets.into_iter().partition(|set| holds(&&set.name));
        let names = databases.filter(|name| !holds(name)).chain(lacking.iter().map(|set| &set.name));
        let mut missing: Vec<String> = names.cloned().collect();
        let is_written = |path: &&RelPath| self.items.iter().any(|item| item.path == **path);
        let paths = held.iter().flat_map(|set| &set.paths).filter(|path| !is_written(path));
        missing.extend(paths.map(ToString::to_string));
        missing
    }
}

/// Why a database is not restored that was damaged when it was saved.
pub(super) fn saved_damaged(file: &StoredFile) -> Option<Error> {
    let problem = file.damage()?;
    let damaged = format!("{} holds a database that was damaged when it was saved: {problem}", file.file);
    Some(Error::new(ErrorKind::Damaged, damaged).with_hint(SALVAGE_HINT))
}

/// What belongs beside a database. One that was damaged when it was saved is put back only as what a restore has kept.
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

fn is_pre_restore(entry: &Entry) -> bool {
    entry.manifest().is_some_and(|manifest| manifest.trigger == Trigger::PreRestore)
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

fn file_present(path: &Path, there: Option<&Stat>) -> Result<Occupant> {
    match there {
        Some(there) if FileType::from_raw_mode(there.st_mode) == FileType::Directory => {
            Err(Error::new(ErrorKind::InvalidInput, format!("{} is a folder, a file belongs there", path.display()))
                .with_hint("move it away first"))
        }
        Some(_) => Ok(Occupant::Replaced),
        None => Ok(Occupant::Absent),
    }
}

/// Whether the file there is what a restore would make of it: its owner stays, and its mode never gets wider.
fn is_same(target: &Path, path: &RelPath, member: &ConfigFile) -> Result<bool> {
    let there = match ConfigFile::read(target, path) {
        // No plain file, or one that is written to.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Busy) => return Ok(false),
        there => there?,
    };
    let is_narrowed = there.mode & 0o7777 & !member.mode != 0;
    Ok(!is_narrowed && there.content == member.content)
}

/// What is in the place of a database, and the encoding of its text if it can be read.
fn database_present(look: &Look<'_>, place: &Place) -> Result<(Occupant, Option<String>)> {
    let path = &place.path();
    if file_present(path, place.stat()?.as_ref())? == Occupant::Absent {
        return Ok((Occupant::Absent, None));
    }
    match sqlite::open_stoppable(path, look.busy_timeout(), look.progress()) {
        Ok(connection) => Ok((Occupant::Replaced, sqlite::pragma(&connection, "encoding").ok())),
        Err(error) if error.means_damaged() => Ok((Occupant::Damaged, None)),
        // It is rolled back when it is opened to be replaced, not for a look.
        Err(error) if error.kind() == ErrorKind::HotJournal => Ok((Occupant::Replaced, None)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use std::fs;

    use super::*;
    use crate::Setup;
    use crate::operation::run::Run;
    use crate::source::DatabaseSource;
    use crate::source::files::ArchiveWriter;
    use crate::store::{LocalStore, MemoryStore};
    use crate::testing::fixtures::Stop;
    use crate::testing::fixtures::{Site, id, publish};

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
