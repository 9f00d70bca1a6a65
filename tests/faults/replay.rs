//! The power fails: what a run has changed but not synced may be on the disk or not. A run is recorded once, and each
//! state that POSIX allows after each of its changes is checked: each part of the live state is the old or the new one,
//! and every listed backup is whole. In some of these states the next run must do its work, too.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use backup::Digest;
use fastrand::Rng;
use serde_json::Value;

use crate::disk::{Disk, State};
use crate::outcome::{Live, require};
use crate::scenario::{DAMAGED_WITH_LOG, SCENARIOS, SMALLER, Scenario};
use crate::strace::{self, Call, Moment};
use crate::support::{Project, shell};
use crate::sweep::{self, Place};

/// Calls that change files, and those that decide where the next `write` goes.
const CALLS: &str = "open openat creat write pwrite64 writev pwritev pwritev2 ftruncate truncate rename renameat renameat2 \
                     link linkat symlink symlinkat unlink unlinkat mkdir mkdirat rmdir fsync fdatasync sync_file_range \
                     fallocate copy_file_range sendfile lseek read dup dup2 dup3 fcntl";

/// The number of random combinations after each change, besides all, none, and all but one.
const DRAWN: usize = 6;

/// The application's files, relative to the root.
const LIVE: [&str; 5] =
    ["data/sessions.db", "data/sessions.db-wal", "data/sessions.db-journal", ".env", "data/station_info.json"];

/// Files that needn't be on the disk: SQLite makes the first anew, and the second only tells who holds the lock.
fn is_of_no_account(path: &Path) -> bool {
    path.to_string_lossy().ends_with("-shm") || path.ends_with(".lock")
}

// From the log to the disk.

/// Text in hex, in quotes or angle brackets.
fn decoded(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|byte| u8::from_str_radix(&byte[..2], 16).unwrap()).collect()
}

fn path(text: &str) -> PathBuf {
    std::ffi::OsString::from_vec(decoded(text)).into()
}

/// A run's open files: the file behind each number, and where its next `write` goes.
struct Replay {
    root: PathBuf,
    disk: Disk,
    offsets: BTreeMap<String, Rc<Cell<usize>>>,
    appending: BTreeSet<String>,
    syncing: BTreeMap<usize, Vec<u64>>,
}

impl Replay {
    fn new(project: &Project) -> Self {
        let (root, disk) = (project.root().to_path_buf(), Disk::new(entries(project.root())));
        Self { root, disk, offsets: BTreeMap::new(), appending: BTreeSet::new(), syncing: BTreeMap::new() }
    }

    /// A path relative to the root; none if it isn't below the root, or is a file without a name.
    fn below_root(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(Path::to_path_buf)
    }

    /// The path of an open file, given as `3</its/path>`.
    fn opened(&self, argument: &str) -> Option<PathBuf> {
        if argument.ends_with("(deleted)") { None } else { self.below_root(&path(argument.split_once('<')?.1)) }
    }

    /// The path that `arguments` begin with, after a folder if the call's name ends in `at`.
    fn named<'a>(&self, call: &Call, arguments: &mut impl Iterator<Item = &'a String>) -> Option<PathBuf> {
        let has_folder = ["at", "at2"].iter().any(|end| call.name.ends_with(end));
        let folder =
            if has_folder { path(arguments.next()?.split_once('<').unwrap_or_default().1) } else { self.root.clone() };
        self.below_root(&folder.join(path(arguments.next()?)))
    }

    fn begin(&mut self, at: usize, call: &Call) {
        if ["fsync", "fdatasync"].contains(&call.name.as_str())
            && let Some(path) = self.opened(&call.arguments[0])
        {
            self.syncing.insert(at, self.disk.begin_sync(&path));
        }
    }

    fn end(&mut self, at: usize, call: &Call) {
        if call.result.starts_with('-') || call.result.starts_with('?') {
            return;
        }
        match call.name.as_str() {
            "fsync" | "fdatasync" => {
                let begun = self.syncing.remove(&at).unwrap_or_default();
                self.disk.end_sync(&begun);
            }
            "open" | "openat" => self.open(call),
            "write" | "pwrite64" => self.write(call),
            "lseek" | "read" | "dup" | "fcntl" => self.seek(call),
            _ => self.change(call),
        }
    }

    fn open(&mut self, call: &Call) {
        let number = call.result.split('<').next().unwrap().to_string();
        let flags = &call.arguments[call.arguments.len().min(3) - 1..].join("|");
        let flags = call.arguments.iter().find(|it| it.starts_with("O_")).unwrap_or(flags);
        self.offsets.insert(number.clone(), Rc::default());
        self.appending.remove(&number);
        if flags.contains("O_APPEND") {
            self.appending.insert(number);
        }
        let Some(path) = self.opened(&call.result) else { return };
        if flags.contains("O_CREAT") {
            self.disk.create(&path);
        }
        if flags.contains("O_TRUNC") {
            self.disk.truncate(&path, 0);
        }
    }

    fn write(&mut self, call: &Call) {
        let Some(path) = self.opened(&call.arguments[0]) else { return };
        let number = call.arguments[0].split('<').next().unwrap();
        let written = call.result.parse().unwrap();
        let at = match call.arguments.get(3) {
            Some(at) => at.parse().unwrap(),
            None if self.appending.contains(number) => self.disk.current().length(&path).unwrap(),
            None => self.offsets[number].replace(self.offsets[number].get() + written),
        };
        self.disk.write(&path, at, &decoded(&call.arguments[1])[..written]);
    }

    fn seek(&mut self, call: &Call) {
        let number = call.arguments[0].split('<').next().unwrap().to_string();
        let result = || call.result.split('<').next().unwrap().to_string();
        let Some(offset) = self.offsets.get(&number).map(Rc::clone) else { return };
        match call.name.as_str() {
            "lseek" => offset.set(result().parse().unwrap()),
            "read" => offset.set(offset.get() + result().parse::<usize>().unwrap()),
            "fcntl" if !call.arguments[1].starts_with("F_DUPFD") => {}
            _ => _ = self.offsets.insert(result(), offset),
        }
    }

    /// Replays a call that changes names or a length.
    fn change(&mut self, call: &Call) {
        let mut arguments = call.arguments.iter();
        if call.name == "ftruncate" {
            if let Some(path) = self.opened(&call.arguments[0]) {
                self.disk.truncate(&path, call.arguments[1].parse().unwrap());
            }
            return;
        }
        let Some(path) = self.named(call, &mut arguments) else { return };
        match call.name.as_str() {
            "unlink" | "unlinkat" | "rmdir" => self.disk.remove(&path),
            "mkdir" | "mkdirat" => self.disk.make_folder(&path),
            "rename" | "renameat" | "renameat2" => {
                let to = self.named(call, &mut arguments).unwrap();
                self.disk.rename(&path, &to);
            }
            name => panic!("this test doesn't know what {name} changes: {call:?}"),
        }
    }
}

/// All entries of a folder: paths relative to it, and the content of files.
fn entries(root: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let found = shell(root, "find . -mindepth 1 -printf '%P\\n'");
    let entry = |name: &str| (name.into(), root.join(name).is_file().then(|| fs::read(root.join(name)).unwrap()));
    // The root itself is there, too.
    std::iter::once((PathBuf::new(), None)).chain(found.lines().map(entry)).collect()
}

// What may be on the disk.

/// Calls `each` with the states that the disk may be in if the power fails now.
fn power_cuts(disk: &Disk, random: &mut Rng, mut each: impl FnMut(State)) {
    each(disk.after_power_cut(|_| true));
    each(disk.after_power_cut(|_| false));
    for one in 0..disk.pending() {
        each(disk.after_power_cut(|at| at != one));
        each(disk.after_power_cut(|at| at == one));
    }
    for _ in 0..DRAWN {
        each(disk.after_power_cut(|_| random.bool()));
    }
}

/// A project in this state, in a folder of its own.
fn project(state: &State, traced: &Path, concerns: impl Fn(&Path) -> bool) -> Project {
    let project = Project::empty();
    for (path, bytes) in state.entries().filter(|(path, _)| concerns(path)) {
        let place = project.root().join(path);
        let Some(bytes) = bytes else {
            fs::create_dir_all(&place).unwrap();
            continue;
        };
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        if path.ends_with("history.jsonl") {
            let ledger = String::from_utf8_lossy(&bytes);
            let here = ledger.replace(traced.to_str().unwrap(), project.root().to_str().unwrap());
            fs::write(place, here).unwrap();
        } else {
            fs::write(place, bytes).unwrap();
        }
    }
    project
}

/// Checks that every manifest names whole files, and that every backup that must be there has a manifest.
fn check_backups(state: &State, must_be: &BTreeSet<String>) -> Result<(), String> {
    for id in must_be {
        let manifest = state.bytes(Path::new(&format!("backups/manifest_{id}.json")));
        require(manifest.is_some(), || format!("backup {id} is gone"))?;
    }
    let is_manifest = |path: &Path| path.starts_with("backups/") && path.to_string_lossy().contains("/manifest_");
    for (path, bytes) in state.entries().filter(|(path, _)| is_manifest(path) && !path.starts_with("backups/.staging"))
    {
        let manifest: Value =
            serde_json::from_slice(&bytes.unwrap()).map_err(|e| format!("{} is no manifest: {e}", path.display()))?;
        for artifact in manifest["artifacts"].as_array().unwrap() {
            let file = Path::new("backups").join(artifact["file"].as_str().unwrap());
            let found = state.bytes(&file).map(|bytes| Digest::of(&bytes).to_string());
            require(found.as_deref() == artifact["sha256"].as_str(), || format!("{} is not whole", file.display()))?;
        }
    }
    Ok(())
}

/// Records a scenario's run, and checks every state that the disk may have. The next run is tried in at most `most` of
/// the different states.
fn replay(place: &Place, most: usize) -> Vec<String> {
    let traced = place.fixture.project();
    let mut replay = Replay::new(&traced);
    let (ran, calls, moments) = strace::record(&traced.command(place.fixture.command().split(' ')), CALLS);
    ran.expect(0);
    let mut random = Rng::with_seed(7);
    let mut look = Look::new(place, traced.root());
    for moment in moments {
        match moment {
            Moment::Begin(at) => replay.begin(at, &calls[at]),
            Moment::End(at) => {
                let steps = replay.disk.pending();
                replay.end(at, &calls[at]);
                if replay.disk.pending() > steps {
                    power_cuts(&replay.disk, &mut random, |state| look.at(state, most));
                }
            }
        }
    }
    // The record is right: its final state is that of the real folder.
    let found: Vec<_> = entries(traced.root()).into_iter().filter(|(path, _)| !is_of_no_account(path)).collect();
    let replayed = replay.disk.current().entries().map(|(path, bytes)| (path.to_path_buf(), bytes));
    let replayed: Vec<_> = replayed.filter(|(path, _)| !is_of_no_account(path)).collect();
    let names =
        |entries: &[(PathBuf, Option<Vec<u8>>)]| entries.iter().map(|(path, _)| path.clone()).collect::<BTreeSet<_>>();
    assert_eq!(names(&replayed), names(&found));
    assert!(found.iter().all(|entry| replayed.contains(entry)), "a file has another content");
    look.finish()
}

/// The states that were checked so far.
struct Look<'a> {
    place: &'a Place,
    traced: &'a Path,
    cuts: usize,
    states: BTreeSet<u64>,
    lives: BTreeSet<u64>,
    stores: BTreeSet<u64>,
    sample: Vec<State>,
    random: Rng,
    failures: Vec<String>,
}

impl<'a> Look<'a> {
    fn new(place: &'a Place, traced: &'a Path) -> Self {
        let (states, lives, stores) = Default::default();
        Self {
            place,
            traced,
            cuts: 0,
            states,
            lives,
            stores,
            sample: Vec::new(),
            random: Rng::with_seed(8),
            failures: Vec::new(),
        }
    }

    fn at(&mut self, state: State, most: usize) {
        self.cuts += 1;
        if !self.states.insert(state.key(|path| !is_of_no_account(path))) {
            return;
        }
        let is_live = |path: &Path| LIVE.iter().any(|live| path == Path::new(live));
        if self.lives.insert(state.key(is_live)) {
            let live = Live::of(&project(&state, self.traced, is_live));
            // A log and its database are put there one after the other, but neither may ever be beside that of another.
            let may_be = live.is_without_database() && self.place.fixture.scenario.name == DAMAGED_WITH_LOG.name;
            let checked = if may_be { Ok(()) } else { self.place.expected.check_live(&live) };
            self.failures.extend(checked.err());
        }
        if self.stores.insert(state.key(|path| path.starts_with("backups"))) {
            self.failures.extend(check_backups(&state, &self.place.expected.lasting()).err());
        }
        // Every state has the same chance to be in the sample.
        if self.sample.len() < most {
            self.sample.push(state);
        } else if let Some(place) = self.sample.get_mut(self.random.usize(..self.states.len())) {
            *place = state;
        }
    }

    /// Tries the next run in the sample. Returns what is wrong.
    fn finish(mut self) -> Vec<String> {
        for state in &self.sample {
            let project = project(state, self.traced, |_| true);
            self.failures.extend(self.place.expected.check_next(&self.place.fixture, &project).err());
        }
        let (lives, stores, sample) = (self.lives.len(), self.stores.len(), self.sample.len());
        let (name, cuts, states) = (self.place.fixture.scenario.name, self.cuts, self.states.len());
        println!(
            "{name}: {cuts} power cuts, {states} states, {lives} of what is live, {stores} of the store; {sample} went on"
        );
        self.failures.into_iter().map(|failure| format!("{name}: {failure}")).collect()
    }
}

/// All scenarios, on all cores.
fn replay_all(most: usize) {
    let scenarios: Vec<&'static Scenario> = SCENARIOS.iter().chain([&SMALLER, &DAMAGED_WITH_LOG]).collect();
    let places: Vec<Place> =
        scenarios.into_iter().flat_map(|scenario| sweep::places(std::slice::from_ref(scenario))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failures = Vec::new();
        while let Some(place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
            failures.extend(replay(place, most));
        }
        failures
    };
    let failures: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..thread::available_parallelism().map_or(1, usize::from)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    failures.iter().take(20).for_each(|failure| println!("{failure}"));
    assert_eq!(failures.len(), 0, "failures");
}

#[test]
fn whenever_the_power_fails_nothing_is_lost() {
    replay_all(6);
}

#[test]
#[ignore = "minutes: cargo test --package xtask --test faults -- --ignored"]
fn whenever_the_power_fails_the_next_run_does_its_work() {
    replay_all(usize::MAX);
}
