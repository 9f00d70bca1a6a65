//! The state of a project after a run, and what must be true of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;
use serde_json::Value;

use crate::scenario::Fixture;
use crate::support::{CommandOutput, Project};

/// The live state. A restore replaces one part after another, each as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    database: Option<String>,
    files: [Option<String>; 2],
}

impl Live {
    pub fn of(project: &Project) -> Self {
        let read = |path| fs::read_to_string(project.path(path)).ok();
        Self { database: database(project), files: [".env", "data/station_info.json"].map(read) }
    }

    /// Whether there is no database.
    pub fn is_without_database(&self) -> bool {
        self.database.is_none()
    }

    /// Whether each part equals that of one of the two.
    fn is_either(&self, old: &Self, new: &Self) -> bool {
        let parts = |it: &Self| [it.database.clone(), it.files[0].clone(), it.files[1].clone()];
        parts(self).iter().zip(parts(old)).zip(parts(new)).all(|((own, old), new)| *own == old || *own == new)
    }
}

/// What the application would find in its database, and whether that is sound. A copy is read, since the next run must
/// meet what was left.
fn database(project: &Project) -> Option<String> {
    let copy = tempfile::tempdir().unwrap();
    let place = |suffix: &str| copy.path().join(format!("sessions.db{suffix}"));
    for suffix in ["", "-wal", "-journal"] {
        let _ = fs::copy(project.path(&format!("data/sessions.db{suffix}")), place(suffix));
    }
    let content = "SELECT (SELECT group_concat(integrity_check) FROM pragma_integrity_check)
        || (SELECT ' sessions: ' || count(*) || ': ' || group_concat(id || ' ' || station || ' ' || kwh) FROM sessions)
        || (SELECT ' stations: ' || count(*) || ': ' || group_concat(id || ' ' || name) FROM stations)";
    place("").exists().then(|| {
        let read = Connection::open(place("")).and_then(|it| it.query_row(content, [], |row| row.get(0)));
        read.unwrap_or_else(|e| format!("unreadable: {e}"))
    })
}

/// The ids of the backups that exist.
fn backups(project: &Project) -> BTreeSet<String> {
    manifests(project).iter().map(|manifest| manifest["id"].as_str().unwrap().to_string()).collect()
}

fn manifests(project: &Project) -> Vec<Value> {
    let names = project.stored().into_iter().filter(|name| name.starts_with("manifest_"));
    names.map(|name| serde_json::from_str(&project.read(&format!("backups/{name}"))).unwrap()).collect()
}

/// Stored files that no manifest names.
fn orphans(project: &Project) -> BTreeSet<String> {
    let mut files: BTreeSet<String> = project.stored().into_iter().collect();
    for manifest in manifests(project) {
        files.remove(&format!("manifest_{}.json", manifest["id"].as_str().unwrap()));
        for artifact in manifest["artifacts"].as_array().unwrap() {
            files.remove(artifact["file"].as_str().unwrap());
        }
    }
    files
}

/// What a run has left: everything in the staging area, and files decoded beside their targets.
pub fn leftovers(project: &Project) -> Vec<PathBuf> {
    let names = |folder| fs::read_dir(project.path(folder)).into_iter().flatten().map(|entry| entry.unwrap().path());
    let beside = names(".").chain(names("data")).filter(|path| path.to_string_lossy().contains(".restoring"));
    names("backups/.staging").chain(beside).collect()
}

/// The expected state after a fixture's run, taken from a run without a fault.
pub struct Expected {
    old: Live,
    new: Live,
    /// The live state after the next run.
    settled: Live,
    before: BTreeSet<String>,
    after: BTreeSet<String>,
}

impl Expected {
    pub fn of(fixture: &Fixture) -> Self {
        let project = fixture.project();
        let (old, before) = (Live::of(&project), backups(&project));
        project.run(&fixture.command()).expect(0);
        let (new, after) = (Live::of(&project), backups(&project));
        project.run(&fixture.next()).expect(0);
        Self { old, new, settled: Live::of(&project), before, after }
    }

    /// Whether the run has changed nothing.
    pub fn is_untouched(&self, project: &Project) -> bool {
        Live::of(project) == self.old && backups(project) == self.before
    }

    /// Whether the live state is as it was.
    pub fn is_old(&self, project: &Project) -> bool {
        Live::of(project) == self.old
    }

    /// Whether the run has done everything; new backups have other ids than expected.
    pub fn is_done(&self, project: &Project) -> bool {
        let (found, earlier) = (backups(project), self.lasting());
        Live::of(project) == self.new && found.is_superset(&earlier) && found.len() == self.after.len()
    }

    /// The ids of backups that must always be there.
    pub fn lasting(&self) -> BTreeSet<String> {
        &self.before & &self.after
    }

    /// Whether each part of the live state is the old or the new one.
    pub fn check_live(&self, live: &Live) -> Result<(), String> {
        require(live.is_either(&self.old, &self.new), || format!("the live state is neither old nor new: {live:?}"))
    }

    /// Checks the state after a run that may have been cut short anywhere: nothing is lost, and the next run does all
    /// the work.
    pub fn check(&self, fixture: &Fixture, project: &Project) -> Result<(), String> {
        self.check_live(&Live::of(project))?;
        self.check_next(fixture, project)
    }

    /// Checks that no backup is lost, and that the next run does all the work.
    pub fn check_next(&self, fixture: &Fixture, project: &Project) -> Result<(), String> {
        let found = backups(project);
        require(found.is_superset(&self.lasting()), || format!("backups are gone: {found:?} are left"))?;
        let next = project.run(&fixture.next());
        require(next.code == 0, || format!("the next run failed: {}", next.all()))?;
        let live = Live::of(project);
        require(live == self.settled, || format!("the live state after the next run: {live:?}"))?;
        let (left, orphans) = (leftovers(project), orphans(project));
        require(left.is_empty(), || format!("the next run leaves {left:?}"))?;
        require(orphans.is_empty(), || format!("no manifest names {orphans:?}"))?;
        let verify = project.run("verify --all");
        require(verify.code == 0, || format!("verify --all: {}", verify.all()))?;
        if fixture.next().starts_with("backup --incremental") { self.check_newest(project) } else { Ok(()) }
    }

    /// Checks that the newest backup holds the live state.
    fn check_newest(&self, project: &Project) -> Result<(), String> {
        let copy = Project::empty();
        let restored = project.run(&format!("restore --from latest --to {} --yes", copy.root().display()));
        require(restored.code == 0, || format!("restore --from latest: {}", restored.all()))?;
        let found = Live::of(&copy);
        require(found == self.settled, || format!("the newest backup holds {found:?}"))
    }
}

/// Checks that people can read the output: each line says what it is, and one says why the run failed. A fault strikes
/// each thread once, and a backup rotates even if a database could not be saved, so there may be that many errors.
pub fn check_messages(ran: &CommandOutput, faults: usize) -> Result<(), String> {
    let is_labelled = |line: &str| ["error: ", "warning: ", "hint: "].iter().any(|label| line.starts_with(label));
    require(ran.stderr.lines().all(is_labelled), || "a line that doesn't say what it is".into())?;
    let errors = ran.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    let expected = if ran.code == 0 { 0..=0 } else { 1..=faults };
    require(expected.contains(&errors), || format!("{errors} errors"))
}

pub fn require(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
