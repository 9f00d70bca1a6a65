//! What a restore would do: read from the backup and from what is there now, changing nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::catalog::{Entry, StoredFile};
use crate::error::{Error, ErrorKind, Result, SALVAGE_HINT};
use crate::id::BackupId;
use crate::manifest::Content;
use crate::names::Kind;
use crate::relpath::RelPath;
use crate::run::Run;
use crate::source::{Sources, followed, sqlite};
use crate::verify::expected_facts;

/// Which kinds of things to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
            Kind::Database | Kind::Wal | Kind::Journal => self.databases,
            Kind::Files => self.files,
        }
    }
}

/// What a restore will write, and what is there now. Made by [`plan`], carried out by [`restore`](super::restore).
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The backup.
    pub id: BackupId,
    /// The folder that everything is below.
    #[serde(serialize_with = "crate::ospath::one::serialize")]
    pub target: PathBuf,
    /// What will be written, in this order.
    pub items: Vec<Item>,
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
pub(super) enum Planned {
    Database { file: StoredFile, path: RelPath, present: Present },
    Files { file: StoredFile, paths: Vec<(RelPath, RelPath)> },
}

impl Plan {
    /// Whether anything that is there now will be replaced or moved.
    pub fn replaces(&self) -> bool {
        self.items.iter().any(|item| item.present != Present::Absent)
    }
}

/// Says what restoring `entry` into `target` would do. Reads, changes nothing. `sources` says where the content of
/// backups belongs that other tools wrote, without saying so themselves.
///
/// # Errors
/// What [`Entry::require_usable`] says; [`ErrorKind::NoSuchBackup`] if the backup holds nothing of the selection;
/// [`ErrorKind::InvalidInput`] if it isn't known where something belongs; [`ErrorKind::Damaged`] if two things belong to
/// one place; [`ErrorKind::PermissionDenied`] if a link that can't be trusted leads there.
pub fn plan(run: &Run<'_>, entry: &Entry, target: &Path, selection: Selection, sources: &Sources) -> Result<Plan> {
    entry.require_usable()?;
    let mut plan = Plan {
        id: entry.id,
        target: target.to_path_buf(),
        items: vec![],
        warnings: vec![],
        artifacts: vec![],
        selection,
    };
    for file in entry.stored_files(run.store())?.iter().filter(|file| selection.takes(file.kind)) {
        match file.kind {
            Kind::Database => plan.add_database(run, file, sources)?,
            // They belong to a damaged database, which decides.
            Kind::Wal | Kind::Journal => {}
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
    plan.require_distinct()?;
    plan.warn_of_what_is_missing(entry, selection, sources);
    Ok(plan)
}

impl Plan {
    fn add_database(&mut self, run: &Run<'_>, file: &StoredFile, sources: &Sources) -> Result<()> {
        if let Some(problem) = file.damage() {
            let damaged = format!("{} holds a database that was damaged when it was saved: {problem}", file.file);
            return Err(Error::new(ErrorKind::Damaged, damaged).with_hint(SALVAGE_HINT));
        }
        let configured = || sources.databases.iter().find(|database| database.name == file.name);
        let path = match file.recorded.as_ref().map(|recorded| &recorded.content) {
            Some(Content::Database(database)) => database.source.clone(),
            _ => configured().ok_or_else(|| unknown_place(file))?.path.clone(),
        };
        let (present, encoding) = database_present(run, &followed(&self.target, &path)?)?;
        let will_be = expected_facts(file).map(|facts| &facts.encoding);
        if let (Some(is), Some(will_be)) = (encoding, will_be)
            && is != *will_be
        {
            // SQLite itself refuses to go on with another encoding.
            let warning = "a program that has it open has to open it again";
            self.warnings.push(format!("the text of {path} is {is} and will be {will_be}: {warning}"));
        }
        let bytes = file.recorded.as_ref().map(|recorded| recorded.plain_bytes);
        self.items.push(Item { path: path.clone(), bytes, present });
        self.artifacts.push(Planned::Database { file: file.clone(), path, present });
        Ok(())
    }

    /// Reads the archive once for its members, so that one which can't be read is found before anything changes.
    fn add_files(&mut self, run: &Run<'_>, file: &StoredFile, sources: &Sources) -> Result<()> {
        let mut members = Vec::new();
        run.reader().archive(file, |member| {
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
            let place = followed(&self.target, &path)?;
            let present = file_present(&place)?;
            if place.is_symlink() {
                self.warnings.push(format!("{path} is a link: a plain file takes its place"));
            }
            self.items.push(Item { path: path.clone(), bytes: Some(bytes), present });
            paths.push((member, path));
        }
        self.artifacts.push(Planned::Files { file: file.clone(), paths });
        Ok(())
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

/// What is in the place of a database, and the encoding of its text if it can be read.
fn database_present(run: &Run<'_>, path: &Path) -> Result<(Present, Option<String>)> {
    if file_present(path)? == Present::Absent {
        return Ok((Present::Absent, None));
    }
    match sqlite::open_stoppable(path, run.busy_timeout(), run.progress()) {
        Ok(connection) => Ok((Present::Replaced, sqlite::pragma(&connection, "encoding").ok())),
        Err(error) if error.means_damaged() => Ok((Present::Damaged, None)),
        // It is rolled back when it is opened to be replaced, not for a look.
        Err(error) if error.kind() == ErrorKind::HotJournal => Ok((Present::Replaced, None)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Setup;
    use crate::backup::tests::Stop;
    use crate::run::tests::{Site, id, publish};
    use crate::source::files::{ArchiveWriter, ConfigFile};
    use crate::source::{DatabaseSource, FilesSource};
    use crate::store::{MemoryStore, Store};

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
            DatabaseSource { name: "audit_db".into(), path: path("audit.db"), ..site.sources.databases[0].clone() };
        let mut sources = Sources {
            databases: vec![database],
            files: vec![FilesSource { name: "other".into(), paths: vec![path("other/.env")] }],
        };
        sources.databases.extend(site.sources.databases.clone());
        sources.files.push(FilesSource { name: "config".into(), paths: vec![path("data/station.json"), path(".env")] });
        sources
    }

    fn planned(site: &Site, store: &dyn Store, target: &Path, selection: Selection, sources: &Sources) -> Result<Plan> {
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
        let files = Selection { databases: false, files: true };
        let plan = planned(&site, &store, site.root(), files, &settings(&site)).unwrap();
        assert_eq!(paths(&plan), ["data/station.json"]);
        assert_eq!(plan.warnings, [format!("backup {ID} holds no other: what is there now stays")]);
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
    fn what_the_manifest_says_comes_before_the_settings() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, ID);
        let mut sources = site.sources.clone();
        (sources.databases[0].path, sources.files[0].paths[0]) = (path("moved.db"), path("moved.env"));
        let plan = planned(&site, &store, site.root(), Selection::ALL, &sources).unwrap();
        assert_eq!(paths(&plan), ["sessions.db", ".env"]);
        assert_eq!(plan.warnings, Vec::<String>::new());
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
        assert_eq!(plan.items[0].present, Present::Replaced);
        assert!(journal.exists());
    }
}
