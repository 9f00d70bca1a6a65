//! Whose backups a store holds.
//!
//! Two projects that share a backup folder would restore each other's files, and count each other's backups as their own:
//! one that was never saved would look fresh. So the store says in `store.json` whose it is, and every run and every look
//! begins with `require`.
//!
//! A project is the same if its name is. A name alone may be that of two: clones of a repository, or folders that are
//! called alike. So on the same host it also has to be in the same folder, unless the recorded one is known to be gone (the
//! project has moved) or the store is in this one (it was copied with it). On another host the name is enough: that is how a
//! project is set up again from its backups.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use super::commit;
use super::entry::{Entry, Record, Stranger};
use super::list::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::record::manifest::Manifest;
use crate::record::names::{self, OWNER};
use crate::store::manifest::read_manifest;
use crate::store::{LockedStore, Store};

/// The format this library writes, and the newest it reads.
const FORMAT: u32 = 1;

/// Read limit; the record is far smaller.
const MAX_BYTES: u64 = 64 << 10;

/// When something happens, with the offset of the host's local time.
type Moment = DateTime<FixedOffset>;

/// With more hosts than these, names tell nothing: a container that isn't given one has another in each run. Then every
/// host counts. If the oldest were dropped instead, rotation would keep their backups for ever.
const MAX_HOSTS: usize = 100;

/// The record of whose a store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    format: u32,
    project: String,
    host: String,
    /// The project's folder on that host.
    #[serde(with = "crate::record::ospath::one")]
    root: PathBuf,
    /// Other hosts that the project was on, as far as backups of it are there; not known to older versions, nor if there
    /// are too many. Then every host counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hosts: Option<BTreeSet<String>>,
    /// When this was written.
    since: DateTime<FixedOffset>,
}

impl Owner {
    /// All hosts whose backups count, but for one that does anyway; `None` if every host does.
    fn hosts_but(self, ours: &str) -> Option<BTreeSet<String>> {
        let mut hosts = self.hosts?;
        hosts.insert(self.host);
        hosts.remove(ours);
        Some(hosts)
    }
}

/// The project that asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Project<'a> {
    pub name: &'a str,
    /// Its folder, absolute.
    pub root: &'a Path,
    /// The host that it is on.
    pub host: &'a str,
}

/// Another project, which a store belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherProject {
    /// Its name.
    pub name: String,
    /// Its folder, if its name is the same.
    root: Option<PathBuf>,
}

impl OtherProject {
    /// Whether it is called as this one.
    pub(crate) fn has_same_name(&self) -> bool {
        self.root.is_some()
    }
}

/// Makes sure that the store is not another project's.
///
/// # Errors
/// [`ErrorKind::ForeignStore`], naming both; [`ErrorKind::UnsupportedFormat`] if a newer version wrote whose it is; what
/// keeps the store from being read.
pub(crate) fn require(store: &dyn Store, project: Project<'_>) -> Result<()> {
    match other_project(store, project)? {
        Some(other) => Err(refusal(store, project, &other)),
        None => Ok(()),
    }
}

/// The other project that the store belongs to; `None` if it is this one's, or nobody's yet.
///
/// # Errors
/// As for every run, but for [`ErrorKind::ForeignStore`].
pub(crate) fn other_project(store: &dyn Store, project: Project<'_>) -> Result<Option<OtherProject>> {
    let Some(owner) = read(store)? else {
        let name = named_by_manifests(store, project.name)?;
        return Ok(name.map(|name| OtherProject { name, root: None }));
    };
    let same_name = owner.project == project.name;
    if same_name && (owner.host != project.host || is_same_place(&owner.root, store, project.root)) {
        return Ok(None);
    }
    Ok(Some(OtherProject { name: owner.project, root: same_name.then_some(owner.root) }))
}

/// The hosts whose backups count as this project's, this one among them; `None` if the store doesn't say.
///
/// Another host may have put its own there, or somebody may have forged them: they would have those of this host rotated
/// away. It takes a backup made there to be known, or a person who says so: `take-over --host`.
///
/// # Errors
/// As for every run.
pub(crate) fn hosts(store: &dyn Store, project: Project<'_>) -> Result<Option<BTreeSet<String>>> {
    let others = other_hosts(store, project)?;
    Ok(others.map(|others| others.into_iter().chain([project.host.to_string()]).collect()))
}

/// Writes down that the store is this project's, and on which hosts it was, if it doesn't say so already. The run has
/// the lock, and the store this `catalog`.
pub(crate) fn claim(store: &LockedStore<'_>, project: Project<'_>, now: Moment, catalog: &Catalog) -> Result<()> {
    let owner = read(&**store)?;
    let hosts = hosts_of(catalog, owner.clone(), project.host);
    let is_written = |owner: Owner| {
        (owner.project.as_str(), owner.host.as_str(), owner.root.as_path(), &owner.hosts)
            == (project.name, project.host, project.root, &hosts)
    };
    if owner.is_some_and(is_written) { Ok(()) } else { write(store, project, now, hosts) }
}

/// Hosts other than `ours` of which backups are in the catalog; `None` if every host is to count.
fn hosts_of(catalog: &Catalog, earlier: Option<Owner>, ours: &str) -> Option<BTreeSet<String>> {
    // Those that don't count are in it as another's.
    let named = catalog.entries().iter().filter_map(Entry::manifest).map(|summary| summary.host.to_string());
    let mut hosts: BTreeSet<String> = named.filter(|host| host != ours).collect();
    if catalog.entries().iter().any(|entry| matches!(entry.record, Record::Unreadable(_))) {
        // It may be readable again tomorrow, and of any host that has counted so far.
        hosts.extend(earlier?.hosts_but(ours)?);
    }
    Some(hosts).filter(|hosts| hosts.len() <= MAX_HOSTS)
}

/// Of each backup that doesn't count because of its host, that host.
pub fn of_other_hosts(catalog: &Catalog) -> impl Iterator<Item = &str> {
    catalog.entries().iter().filter_map(|entry| match &entry.record {
        Record::Another(summary, Stranger::Host) => Some(&*summary.host),
        _ => None,
    })
}

/// All hosts but the project's own whose backups count; `None` if every host does. A store of another project has none.
pub(crate) fn other_hosts(store: &dyn Store, project: Project<'_>) -> Result<Option<BTreeSet<String>>> {
    let owner = read(store)?.filter(|owner| owner.project == project.name);
    Ok(owner.and_then(|owner| owner.hosts_but(project.host)))
}

/// Makes the store the project's, with these other hosts.
///
/// # Errors
/// What keeps it from being written.
pub(crate) fn write(
    store: &LockedStore<'_>,
    project: Project<'_>,
    now: Moment,
    hosts: Option<BTreeSet<String>>,
) -> Result<()> {
    let owner = Owner {
        format: FORMAT,
        project: project.name.into(),
        host: project.host.into(),
        root: project.root.into(),
        hosts: hosts.filter(|hosts| hosts.len() <= MAX_HOSTS),
        since: now,
    };
    let mut json = serde_json::to_vec_pretty(&owner)
        .map_err(|e| Error::new(ErrorKind::Io, format!("can't write {OWNER}")).with_source(e))?;
    json.push(b'\n');
    commit::replace(store, OWNER, &json)
}

/// The record; `None` if there is none, or it isn't one: whose the store is then follows from its manifests, and the
/// next backup writes it anew.
fn read(store: &dyn Store) -> Result<Option<Owner>> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let reader = match store.read(OWNER) {
        Ok(reader) => reader,
        Err(error) if error.is_not_found() => return Ok(None),
        // If it is the whole folder that can't be looked into, that is what has to be said.
        Err(error) => return store.list("").and(Err(error)),
    };
    let mut json = Vec::new();
    reader.take(MAX_BYTES).read_to_end(&mut json).map_err(|e| Error::io_named("read", OWNER, e))?;
    match serde_json::from_slice(&json) {
        Ok(Version { format: FORMAT }) => Ok(serde_json::from_slice(&json).ok()),
        Ok(Version { format }) => {
            let message = format!("{OWNER} has format {format}, this program reads {FORMAT}");
            Err(Error::new(ErrorKind::UnsupportedFormat, message)
                .with_hint("use the version of the program that wrote it, or a newer one"))
        }
        Err(_) => Ok(None),
    }
}

/// The project of the newest manifest, if none is of the project `ours`.
fn named_by_manifests(store: &dyn Store, ours: &str) -> Result<Option<String>> {
    let mut newest = None;
    let mut ids: Vec<_> = store.list("")?.iter().filter_map(|object| names::parse_manifest(&object.name)).collect();
    ids.sort_unstable();
    for id in ids.into_iter().rev() {
        let Ok(manifest) = read_manifest(store, &names::manifest(id), 0).and_then(|json| Manifest::parse(id, &json))
        else {
            continue;
        };
        if manifest.project == ours {
            return Ok(None);
        }
        newest.get_or_insert(manifest.project);
    }
    Ok(newest)
}

/// Whether a project of the same name in `recorded` is this one.
fn is_same_place(recorded: &Path, store: &dyn Store, root: &Path) -> bool {
    if recorded == root || is_inside(Path::new(&store.location()), root) {
        return true;
    }
    match (fs::metadata(recorded), fs::metadata(root)) {
        (Ok(recorded), Ok(root)) => (recorded.dev(), recorded.ino()) == (root.dev(), root.ino()) || !recorded.is_dir(),
        (Err(error), _) => error.kind() == std::io::ErrorKind::NotFound && !may_be_hidden(recorded),
        _ => false,
    }
}

/// Whether `path`, which can't be seen, may be there all the same: the sandbox of a scheduled run lays an empty file
/// system in memory over home folders.
fn may_be_hidden(path: &Path) -> bool {
    /// <https://man7.org/linux/man-pages/man2/statfs.2.html>
    const TMPFS_MAGIC: i128 = 0x0102_1994;
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    rustix::fs::statfs(existing).is_ok_and(|found| i128::from(found.f_type) == TMPFS_MAGIC)
}

/// Whether `folder` really is below `root`, whatever links lead there.
fn is_inside(folder: &Path, root: &Path) -> bool {
    match (folder.canonicalize(), root.canonicalize()) {
        (Ok(folder), Ok(root)) => folder.starts_with(root),
        _ => false,
    }
}

fn refusal(store: &dyn Store, project: Project<'_>, other: &OtherProject) -> Error {
    let (place, ours) = (store.location(), project.name);
    let theirs = &other.name;
    let folder = format!("give each project a folder of its own (backup_dir = \"{place}/{ours}\")");
    let (message, hint) = match &other.root {
        None => (
            format!("{place} holds the backups of project {theirs}, this is project {ours}"),
            format!("{folder}; if this is {theirs}, name it so (project = \"{theirs}\"); or take it over: `take-over`"),
        ),
        Some(root) => (
            format!(
                "{place} holds the backups of project {theirs} in {}, this is another {ours} in {}",
                root.display(),
                project.root.display()
            ),
            format!("{folder}, and a name of its own (project); or take it over: `take-over`"),
        ),
    };
    Error::new(ErrorKind::ForeignStore, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::select::Selector;
    use crate::operation::look::{Look, Setup};
    use crate::operation::run::Run;
    use crate::operation::session::Session;
    use crate::operation::take_over::{admit, take_over};
    use crate::record::ledger::Command;
    use crate::record::ledger::Ledger;
    use crate::store::LocalStore;
    use crate::store::MemoryStore;
    use crate::testing::faults::fault_sweep;
    use crate::testing::fixtures::{Site, id, publish};

    const NOW: &str = "20251210_140000";

    /// A run of another project, or of one of the same name in another folder.
    fn setup_of<'a>(site: &Site, store: &'a dyn LocalStore, project: &str, root: &Path) -> Setup<'a> {
        Setup { project: project.into(), root: root.into(), ..site.setup(store, NOW) }
    }

    /// How each kind of run begins.
    fn begun(setup: &Setup<'_>) -> [Result<(), ErrorKind>; 3] {
        let kind = |run: Result<Run<'_>>| run.map(drop).map_err(|error| error.kind());
        [
            kind(Run::begin(setup.clone(), &mut |_| {})),
            Session::begin(setup.clone(), &mut |_| {}).map(drop).map_err(|error| error.kind()),
            Look::new(setup.clone()).map(drop).map_err(|error| error.kind()),
        ]
    }

    fn selected(catalog: &crate::Catalog, selector: &Selector) -> Result<crate::BackupId> {
        catalog.select(selector, &[], &Ledger::default()).map(|selected| selected.entry.id)
    }

    const REFUSED: [Result<(), ErrorKind>; 3] = [Err(ErrorKind::ForeignStore); 3];
    const WELCOME: [Result<(), ErrorKind>; 3] = [Ok(()); 3];

    fn put(store: &dyn LocalStore, record: &str) {
        publish(store, OWNER, record.as_bytes());
    }

    #[test]
    fn the_first_backup_says_whose_the_store_is() {
        let (site, store) = (Site::new(), MemoryStore::new());
        drop(site.begin(&store, NOW));
        assert_eq!(read(&store).unwrap(), None, "a run that makes no backup claims nothing");
        site.backup(&store, NOW);
        let owner = read(&store).unwrap().unwrap();
        assert_eq!((owner.format, owner.project.as_str(), owner.host.as_str()), (1, "charger-api", "box"));
        assert_eq!((owner.root.as_path(), owner.since), (site.root(), id(NOW).time().fixed_offset()));
        site.backup(&store, "20251211_140000");
        assert_eq!(read(&store).unwrap().unwrap(), owner, "it is written once");
    }

    #[test]
    fn no_run_of_another_project_begins() {
        let (site, store) = (Site::new(), MemoryStore::new());
        assert_eq!(begun(&setup_of(&site, &store, "other", Path::new("/srv/other"))), WELCOME, "it is nobody's yet");
        site.backup(&store, NOW);
        let other = setup_of(&site, &store, "other", Path::new("/srv/other"));
        assert_eq!(begun(&other), REFUSED);
        assert_eq!(begun(&site.setup(&store, NOW)), WELCOME);
        let error = require(other.store, other.project()).unwrap_err();
        assert_eq!(error.to_string(), "memory holds the backups of project charger-api, this is project other");
        let hint = "give each project a folder of its own (backup_dir = \"memory/other\"); if this is charger-api, name \
                    it so (project = \"charger-api\"); or take it over: `take-over`";
        assert_eq!(error.hint(), Some(hint));
    }

    #[test]
    fn a_run_of_another_project_waits_for_no_lock() {
        let (site, elsewhere) = (Site::new(), tempfile::tempdir().unwrap());
        let store = crate::FolderStore::new(elsewhere.path());
        site.backup(&store, NOW);
        let _running = site.begin(&store, NOW);
        assert_eq!(begun(&setup_of(&site, &store, "other", Path::new("/srv/other"))), REFUSED);
    }

    #[test]
    fn what_a_run_of_another_project_finds_unfinished_it_leaves() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        store.stage("x").unwrap().write_all(b"half").unwrap();
        crate::testing::fixtures::stage(&store, "sessions_db_20251211_140000.db.zst", b"half");
        assert_eq!(begun(&setup_of(&site, &store, "other", Path::new("/srv/other"))), REFUSED);
        assert_eq!(crate::testing::fixtures::staged(&store).len(), 1);
    }

    #[test]
    fn a_folder_of_the_same_name_is_another_project_as_long_as_the_first_is_there() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        let elsewhere = tempfile::tempdir().unwrap();
        let other = setup_of(&site, &store, "charger-api", elsewhere.path());
        assert_eq!(begun(&other), REFUSED);
        let message = require(other.store, other.project()).unwrap_err().to_string();
        assert!(message.contains(&site.root().display().to_string()), "{message}");
        assert!(message.contains(&elsewhere.path().display().to_string()), "{message}");
        // On another host, or by way of a link, it is the same.
        assert_eq!(begun(&Setup { host: "spare".into(), ..other.clone() }), WELCOME);
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(site.root(), &link).unwrap();
        assert_eq!(begun(&setup_of(&site, &store, "charger-api", &link)), WELCOME);
    }

    #[test]
    fn a_folder_that_is_gone_has_moved_but_one_that_a_sandbox_may_hide_has_not() {
        let begun_after = |root: &str| {
            let (site, store) = (Site::new(), MemoryStore::new());
            let first = setup_of(&site, &store, "charger-api", Path::new(root));
            site.back_up(&Run::begin(first, &mut |_| {}).unwrap()).unwrap();
            begun(&setup_of(&site, &store, "charger-api", site.root()))
        };
        assert_eq!(begun_after("/no such folder/app"), WELCOME);
        if Path::new("/dev/shm").is_dir() {
            assert_eq!(begun_after("/dev/shm/no such folder/app"), REFUSED);
        }
    }

    #[test]
    fn a_run_that_waited_while_another_project_made_the_first_backup_is_refused() {
        let (site, elsewhere) = (Site::new(), tempfile::tempdir().unwrap());
        let store = crate::FolderStore::new(elsewhere.path());
        let mut first = Some(site.begin(&store, NOW));
        let lock_wait = std::time::Duration::from_secs(60);
        let other = Setup { lock_wait, ..setup_of(&site, &store, "other", Path::new("/srv/other")) };
        let begun = Run::begin(other, &mut |_| drop(first.take().map(|run| site.back_up(&run).unwrap())));
        assert_eq!(begun.err().unwrap().kind(), ErrorKind::ForeignStore);
    }

    #[test]
    fn a_store_that_was_copied_with_its_project_is_the_copys() {
        let (site, elsewhere) = (Site::new(), tempfile::tempdir().unwrap());
        let shared = site.local();
        site.backup(&shared, NOW);
        let copy = crate::FolderStore::new(elsewhere.path().join("backups"));
        copy.prepare().unwrap();
        fs::copy(shared.folder().join(OWNER), copy.folder().join(OWNER)).unwrap();
        assert_eq!(begun(&setup_of(&site, &copy, "charger-api", elsewhere.path())), WELCOME);
        // A link to the first one's store is no copy.
        let linked = elsewhere.path().join("linked");
        std::os::unix::fs::symlink(shared.folder(), &linked).unwrap();
        assert_eq!(begun(&setup_of(&site, &crate::FolderStore::new(linked), "charger-api", elsewhere.path())), REFUSED);
    }

    #[test]
    fn a_project_that_moved_is_written_down_by_its_next_backup() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        let setup = Setup { host: "spare".into(), ..site.setup(&store, "20251211_140000") };
        site.back_up(&Run::begin(setup, &mut |_| {}).unwrap()).unwrap();
        assert_eq!(read(&store).unwrap().unwrap().host, "spare");
    }

    #[test]
    fn what_a_host_made_on_which_the_project_never_was_counts_for_nothing() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let on = |host: &str, now: &str| Setup { host: host.into(), ..site.setup(&store, now) };
        let back_up =
            |host: &str, now: &str| site.back_up(&Run::begin(on(host, now), &mut |_| {}).unwrap()).unwrap().manifest.id;
        let latest = |host: &str| selected(&Look::new(on(host, NOW)).unwrap().catalog().unwrap(), &Selector::Latest);
        let first = back_up("box", "20251208_140000");
        let forged = id("20251209_140000");
        let mut manifest = Catalog::load(&store).unwrap().get(first).unwrap().read_manifest(&store).unwrap();
        (manifest.id, manifest.host) = (forged, "elsewhere".into());
        for artifact in &mut manifest.artifacts {
            let mut content = Vec::new();
            store.read(&artifact.file).unwrap().read_to_end(&mut content).unwrap();
            artifact.file = artifact.file.replace(&first.to_string(), &forged.to_string());
            publish(&store, &artifact.file, &content);
        }
        publish(&store, &names::manifest(forged), &manifest.to_json());
        assert_eq!(latest("box").unwrap(), first);
        let run = Run::begin(on("box", NOW), &mut |_| {}).unwrap();
        let policy = crate::catalog::retention::Policy { keep_days: None, keep_last: 1, ..Default::default() };
        let plan = crate::operation::rotate::plan(&run, &policy, None).unwrap();
        assert_eq!(plan.removals().count(), 0, "{plan:?}");
        assert!(
            plan.decisions
                .iter()
                .any(|it| it.id == forged && it.reasons == [crate::catalog::retention::Reason::AnotherHost])
        );
        drop(run);
        // A new machine restores what the old one saved, and goes on from there.
        assert_eq!(latest("spare").unwrap(), first);
        let moved = back_up("spare", NOW);
        assert_eq!(read(&store).unwrap().unwrap().hosts, Some(["box".to_string()].into()));
        assert_eq!(latest("spare").unwrap(), moved);
        let catalog = Look::new(on("spare", NOW)).unwrap().catalog().unwrap();
        assert!(catalog.get(first).unwrap().manifest().is_some(), "it counts still");
        assert!(matches!(catalog.get(forged).unwrap().record, Record::Another(_, Stranger::Host)));
    }

    /// Whether each backup counts.
    fn counts(setup: &Setup<'_>) -> Vec<bool> {
        let catalog = Look::new(setup.clone()).unwrap().catalog().unwrap();
        catalog.entries().iter().map(|entry| entry.manifest().is_some()).collect()
    }

    fn back_up_on(site: &Site, store: &dyn LocalStore, host: &str, now: &str) {
        let setup = Setup { host: host.into(), ..site.setup(store, now) };
        site.back_up(&Run::begin(setup, &mut |_| {}).unwrap()).unwrap();
    }

    #[test]
    fn a_store_that_is_taken_over_by_a_folder_of_the_same_name_knows_its_hosts_still() {
        for knows in [true, false] {
            let (site, store) = (Site::new(), MemoryStore::new());
            back_up_on(&site, &store, "older", "20251208_140000");
            back_up_on(&site, &store, "old", "20251209_140000");
            back_up_on(&site, &store, "box", NOW);
            if !knows {
                let json = serde_json::to_value(read(&store).unwrap().unwrap()).unwrap();
                let mut fields = json.as_object().unwrap().clone();
                fields.remove("hosts").unwrap();
                put(&store, &serde_json::to_string(&fields).unwrap());
            }
            let elsewhere = tempfile::tempdir().unwrap();
            let clone = setup_of(&site, &store, "charger-api", elsewhere.path());
            assert!(take_over(clone.clone(), &mut |_| {}).unwrap().is_some());
            assert_eq!(counts(&clone), [true; 3], "knows: {knows}");
            assert_eq!(read(&store).unwrap().unwrap().hosts.is_some(), knows);
        }
    }

    #[test]
    fn a_host_counts_still_once_its_manifests_can_be_read_again() {
        let (site, store) = (Site::new(), MemoryStore::new());
        back_up_on(&site, &store, "older", "20251208_140000");
        back_up_on(&site, &store, "old", "20251209_140000");
        let names = ["20251208_140000", "20251209_140000"].map(|old| names::manifest(id(old)));
        let manifests = names.clone().map(|name| {
            let mut json = Vec::new();
            store.read(&name).unwrap().read_to_end(&mut json).unwrap();
            publish(&store, &name, b"{");
            json
        });
        back_up_on(&site, &store, "box", NOW);
        let setup = site.setup(&store, NOW);
        assert_eq!(counts(&setup), [false, false, true]);
        names.iter().zip(manifests).for_each(|(name, json)| publish(&store, name, &json));
        assert_eq!(counts(&setup), [true; 3]);
    }

    #[test]
    fn where_each_run_has_another_host_every_host_counts() {
        let (site, store) = (Site::new(), MemoryStore::new());
        for at in 0..=MAX_HOSTS + 1 {
            let now = format!("20251210_{:02}{:02}00", at / 60, at % 60);
            back_up_on(&site, &store, &format!("container-{at}"), &now);
            let hosts = read(&store).unwrap().unwrap().hosts.map(|hosts| hosts.len());
            assert_eq!(hosts, Some(at).filter(|at| *at <= MAX_HOSTS));
        }
        assert_eq!(counts(&site.setup(&store, NOW)), [true; MAX_HOSTS + 2]);
    }

    #[test]
    fn the_backups_of_a_host_count_once_it_is_admitted() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        let record = read(&store).unwrap().unwrap();
        for host in ["box", "old"] {
            put(&store, &serde_json::to_string(&Owner { host: "new".into(), ..record.clone() }).unwrap());
            let on_new = |now| Setup { host: "new".into(), ..site.setup(&store, now) };
            let run = Run::begin(on_new(NOW), &mut |_| {}).unwrap();
            assert_eq!(counts(&on_new(NOW)), [false]);
            let admitted = admit(&run, host).map_err(|error| error.kind());
            assert_eq!(admitted, if host == "box" { Ok(1) } else { Err(ErrorKind::NoSuchBackup) });
            drop(run);
            if host == "box" {
                assert_eq!(counts(&on_new(NOW)), [true]);
                assert_eq!(read(&store).unwrap().unwrap().hosts, Some(["box".to_string()].into()));
                let line = Ledger::load(&store).unwrap().lines().last().unwrap().clone();
                assert_eq!((line.command, line.admitted.as_deref()), (Command::TakeOver, Some("box")));
            }
        }
    }

    #[test]
    fn without_a_record_the_manifests_say_whose_it_is() {
        let (site, store) = (Site::new(), MemoryStore::new());
        publish(&store, "sessions_db_20240101_000000.db.gz", b"another tool's");
        let other = || setup_of(&site, &store, "other", Path::new("/srv/other"));
        assert_eq!(begun(&other()), WELCOME);
        site.backup(&store, NOW);
        for record in [None, Some(""), Some("{"), Some("{}"), Some("{\"format\": 1}"), Some("\u{feff}[]")] {
            store.remove(OWNER).unwrap();
            if let Some(record) = record {
                put(&store, record);
            }
            assert_eq!(begun(&other()), REFUSED, "{record:?}");
            assert_eq!(begun(&site.setup(&store, NOW)), WELCOME, "{record:?}");
        }
    }

    #[test]
    fn a_record_of_a_newer_format_is_refused() {
        let (site, store) = (Site::new(), MemoryStore::new());
        put(&store, "{\"format\": 2, \"projects\": []}");
        assert_eq!(begun(&site.setup(&store, NOW)), [Err(ErrorKind::UnsupportedFormat); 3]);
        let error = site.setup(&store, NOW).require_own().unwrap_err();
        assert_eq!(error.to_string(), "store.json has format 2, this program reads 1");
    }

    #[test]
    fn backups_of_another_project_are_meant_by_their_ids_alone_and_always_kept() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let theirs = site.backup(&store, "20251110_140000");
        let other = setup_of(&site, &store, "other", site.root());
        take_over(other.clone(), &mut |_| {}).unwrap();
        let run = Run::begin(other, &mut |_| {}).unwrap();
        let catalog = run.catalog().unwrap();
        assert!(matches!(catalog.get(theirs).unwrap().record, Record::Another(_, Stranger::Project)));
        assert_eq!(selected(&catalog, &Selector::Latest).unwrap_err().kind(), ErrorKind::NoSuchBackup);
        assert_eq!(selected(&catalog, &Selector::Prefix("20251110".into())).unwrap(), theirs);
        let ours = site.back_up(&run).unwrap().manifest.id;
        let policy = crate::catalog::retention::Policy { keep_days: Some(0), ..Default::default() };
        let plan = crate::operation::rotate::plan(&run, &policy, None).unwrap();
        assert_eq!(plan.kept().map(|decision| decision.id).collect::<Vec<_>>(), [ours, theirs]);
        assert_eq!(plan.decisions[1].reasons, [crate::catalog::retention::Reason::AnotherProject]);
        assert_eq!(selected(&run.catalog().unwrap(), &Selector::Latest).unwrap(), ours);
    }

    #[test]
    fn a_store_that_was_taken_over_is_the_new_projects_and_the_ledger_says_so() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        let other = setup_of(&site, &store, "other", Path::new("/srv/other"));
        let from = take_over(other.clone(), &mut |_| {}).unwrap().unwrap();
        assert_eq!(from.name, "charger-api");
        assert_eq!(begun(&other), WELCOME);
        assert_eq!(begun(&site.setup(&store, NOW)), REFUSED);
        let line = Ledger::load(&store).unwrap().lines().last().unwrap().clone();
        assert_eq!((line.command, line.from.as_deref()), (Command::TakeOver, Some("charger-api")));
        assert_eq!(take_over(other, &mut |_| {}).unwrap(), None, "it is done already");
    }

    #[test]
    fn a_failing_store_is_the_one_projects_or_the_others() {
        fault_sweep(
            |site, store| assert_eq!(site.backup(store, NOW), id(NOW)),
            |site, store| drop(take_over(setup_of(site, store, "other", Path::new("/srv/other")), &mut |_| {})),
            |site, store, fault| {
                let owner = read(store).unwrap().unwrap_or_else(|| panic!("{fault}: nobody's"));
                assert!(["charger-api", "other"].contains(&owner.project.as_str()), "{fault}");
                let setup = setup_of(site, store, &owner.project, &owner.root);
                drop(Run::begin(setup, &mut |_| {}).unwrap());
                assert_eq!(crate::testing::fixtures::staged(store), Vec::<String>::new(), "{fault}");
            },
        );
    }
}
