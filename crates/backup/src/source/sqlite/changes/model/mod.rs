//! Random histories of a database, and looks at it at random moments: no changed page is ever missed. Looks with one
//! step in the wrong place do miss pages, so this would notice.

mod mutants;
mod writer;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{Before, Changed, Found, Log, OpenSnapshot, Since, log, look_with};
use crate::disk::paths::with_suffix;
use crate::error::{ErrorKind, Result};
use crate::progress::Silent;
use crate::record::pages::{PageDigest, PageList};
use crate::source::sqlite::{Position, open_recovered, pages};
use writer::{Writer, create, resize};

const PATIENCE: Duration = Duration::from_secs(30);

/// A look, or a broken one.
type Look = for<'a> fn(&'a Connection, &'a Path, Since<'_>, &mut dyn FnMut()) -> Result<OpenSnapshot<'a>>;

/// A database and those who write to it.
struct World {
    folder: TempDir,
    rng: Rng,
    writers: Vec<Writer>,
    processes: Vec<Process>,
    /// For how long a look waits for a lock. Nobody releases one meanwhile if all is done by one thread.
    patience: Duration,
}

/// What is kept of a database from look to look, and what came of the looks.
#[derive(Default)]
struct Follower {
    list: PageList,
    page_size: u32,
    position: Option<Position>,
    image: Vec<u8>,
    looks: u32,
    /// Looks that took the log's hint; and those of them that changed something.
    hinted: u32,
    changed: u32,
    /// Looks that missed a page.
    missed: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let mut rng = Rng::with_seed(seed);
        let path = folder.path().join("a.db");
        create(&path, rng.choice([512, 1024, 4096]).unwrap(), rng.u32(0..3));
        let writers = (0..3).map(|_| Writer::new(&path, rng.u64(..))).collect();
        Self { folder, rng, writers, processes: Vec::new(), patience: Duration::ZERO }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.db")
    }

    /// Some writers do something.
    fn step(&mut self) {
        for _ in 0..self.rng.u32(..6) {
            if let Some(at) = self.one_of(self.writers.len()) {
                self.writers[at].step();
            }
        }
        if let Some(at) = self.one_of(self.processes.len()).filter(|_| self.rng.u32(..20) == 0) {
            self.processes[at] = Process::spawn(&self.path(), self.rng.u64(..));
        }
    }

    fn one_of(&mut self, count: usize) -> Option<usize> {
        (count > 0).then(|| self.rng.usize(..count))
    }

    /// All close the database, and sometimes its page size changes.
    fn stop_all(&mut self) {
        self.writers.iter_mut().for_each(Writer::close);
        if self.rng.u32(..4) == 0 {
            resize(&self.path(), self.rng.choice([512, 1024, 2048]).unwrap());
        }
    }

    /// Looks at the database this often. `is_kept`: as long as it is open, the snapshot before is kept for the next look.
    fn follow(&mut self, follower: &mut Follower, looks: u32, look: Look, is_kept: bool) {
        let path = self.path();
        while follower.looks < looks {
            if self.rng.u32(..10) == 0 {
                self.stop_all();
            }
            self.step();
            if let Err(error) = self.session(&path, follower, look, is_kept) {
                assert!(matches!(error.kind(), ErrorKind::Busy | ErrorKind::HotJournal), "{error:?}");
            }
        }
    }

    /// Opens the database, and looks at it a few times.
    fn session(&mut self, path: &Path, follower: &mut Follower, look: Look, is_kept: bool) -> Result<()> {
        let open = || open_recovered(path, self.patience, &Silent);
        let connections = [open()?, open()?];
        let mut before: Option<OpenSnapshot<'_>> = None;
        for round in 0..self.rng.usize(1..20) {
            self.step();
            before.take_if(|_| !is_kept);
            let position = follower.position.clone();
            let since = match (&before, &position) {
                (Some(OpenSnapshot { transaction, position: Some(position), .. }), _) => {
                    Since::Open(transaction, position)
                }
                (_, Some(position)) => Since::Position(position),
                (_, None) => Since::Unknown,
            };
            let snapshot = look(&connections[round % 2], path, since, &mut || {
                if self.rng.u32(..4) == 0 {
                    self.step();
                }
            })?;
            follower.check(&snapshot)?;
            before = Some(snapshot);
        }
        Ok(())
    }
}

impl Follower {
    /// Takes over what changed, and compares that with the whole snapshot.
    fn check(&mut self, snapshot: &OpenSnapshot<'_>) -> Result<()> {
        let (mut image, mut list, mut before) = (Vec::new(), PageList::default(), self.list.clone());
        pages(&snapshot.transaction, snapshot.path, &Silent, |page| {
            image.extend_from_slice(page);
            list.set(list.len() + 1, PageDigest::of(page));
            Ok(())
        })?;
        let found = snapshot.changed(&mut self.list, self.page_size, &Silent)?;
        if found.page_size != self.page_size {
            (before, self.image) = (PageList::default(), Vec::new());
        }
        self.apply(snapshot, &found)?;
        let is_complete = self.list == list && self.image == image && found.pages == differing(&before, &list);
        self.looks += 1;
        self.missed += u32::from(!is_complete);
        self.hinted += u32::from(found.by == Found::Log);
        self.changed += u32::from(found.by == Found::Log && !found.pages.is_empty());
        (self.list, self.image, self.page_size) = (list, image, found.page_size);
        self.position = snapshot.position().cloned();
        Ok(())
    }

    fn apply(&mut self, snapshot: &OpenSnapshot<'_>, found: &Changed) -> Result<()> {
        let page_size = found.page_size as usize;
        self.image.resize(usize::try_from(found.page_count).unwrap() * page_size, 0);
        snapshot.read_pages(found.pages.iter().copied(), |number, page| {
            self.image[(number as usize - 1) * page_size..][..page_size].copy_from_slice(page);
            Ok(())
        })
    }

    /// No page was missed, and the log told of a good part.
    fn assert_complete(&self) {
        let Self { looks, hinted, changed, missed, .. } = self;
        assert_eq!(*missed, 0, "of {looks} looks");
        assert!(hinted * 3 > *looks && changed * 4 > *looks, "{looks} looks: {hinted} hinted, {changed} with changes");
    }
}

fn differing(one: &PageList, other: &PageList) -> Vec<u32> {
    (1..=other.len()).filter(|&at| one.get(at) != other.get(at)).map(|at| u32::try_from(at).unwrap()).collect()
}

/// In turn with writers, which also write between all steps of a look.
fn interleaved(looks: u32, look: Look, is_kept: bool) -> Follower {
    let mut follower = Follower::default();
    World::new(looks.into()).follow(&mut follower, looks, look, is_kept);
    follower
}

/// While writers of other threads run freely.
fn beside_threads(looks: u32, look: Look, is_kept: bool) -> Follower {
    let (mut follower, mut world, stop) = (Follower::default(), World::new(looks.into()), AtomicBool::new(false));
    (world.patience, world.writers) = (PATIENCE, Vec::new());
    thread::scope(|scope| {
        for seed in 0..2 {
            let mut writer = Writer::new(&world.path(), seed);
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    writer.step();
                }
            });
        }
        let stop = StopAtEnd(&stop);
        world.follow(&mut follower, looks, look, is_kept);
        drop(stop);
    });
    follower
}

/// Also stops the writers if an assertion failed.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// While writers of other processes run freely, and are killed at any moment.
fn beside_processes(looks: u32, look: Look, is_kept: bool) -> Follower {
    let (mut follower, mut world) = (Follower::default(), World::new(looks.into()));
    (world.patience, world.writers) = (PATIENCE, Vec::new());
    world.processes = (0..2).map(|seed| Process::spawn(&world.path(), seed)).collect();
    world.follow(&mut follower, looks, look, is_kept);
    follower
}

/// Where a process finds its database, and its seed.
const DATABASE: &str = "TEST_DATABASE";
const SEED: &str = "TEST_SEED";

/// A process of this program that writes until it is dropped, which kills it.
struct Process(Child);

impl Process {
    fn spawn(path: &Path, seed: u64) -> Self {
        let mut program = Command::new(env::current_exe().unwrap());
        let name = format!("{}::a_process_that_writes", module_path!().split_once("::").unwrap().1);
        program.args(["--exact", &name, "--ignored"]).env(DATABASE, path).env(SEED, seed.to_string());
        Self(program.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
#[ignore = "it is another test's process"]
fn a_process_that_writes() {
    /// It ends by itself if nobody kills it.
    const STEPS: u32 = 20_000;
    let (Some(path), Ok(seed)) = (env::var_os(DATABASE), env::var(SEED)) else { return };
    let mut writer = Writer::new(Path::new(&path), seed.parse().unwrap());
    (0..STEPS).for_each(|_| writer.step());
}

#[test]
fn no_page_is_missed_whatever_happens_between_the_steps_of_a_look() {
    interleaved(800, look_with, false).assert_complete();
}

#[test]
fn no_page_is_missed_if_the_snapshot_before_is_kept_open() {
    interleaved(600, look_with, true).assert_complete();
}

#[test]
fn no_page_is_missed_beside_threads_that_write() {
    beside_threads(200, look_with, false).assert_complete();
    beside_threads(200, look_with, true).assert_complete();
}

#[test]
fn no_page_is_missed_beside_processes_that_are_killed_as_they_write() {
    beside_processes(100, look_with, false).assert_complete();
    beside_processes(100, look_with, true).assert_complete();
}

#[test]
#[ignore = "100,000 looks take minutes"]
fn no_page_is_missed_in_the_long_run() {
    let next = AtomicU32::new(2000);
    let run = || {
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|looks| *looks < 2025);
        while let Some(looks) = take() {
            interleaved(looks, look_with, looks % 2 == 0).assert_complete();
            beside_threads(looks / 2, look_with, looks % 2 == 0).assert_complete();
            beside_processes(looks / 2, look_with, looks % 2 == 0).assert_complete();
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(run))));
}

#[test]
fn a_look_with_a_step_in_the_wrong_place_misses_pages() {
    let finds = |look: Look, is_kept| (1000..1010).any(|looks| interleaved(looks, look, is_kept).missed > 0);
    for (name, look, is_kept) in mutants::ALL {
        assert!(finds(look, is_kept), "{name}");
    }
}

/// Whether looks miss a transaction that is in the log's file for a while before it is visible, as while its writer syncs
/// it: a copy of the database has made it before the database does.
fn misses_what_is_visible_later(look: Look) -> bool {
    let (world, mut follower) = (World::new(0), Follower::default());
    let (path, copy) = (world.path(), world.folder.path().join("copy.db"));
    let commit = |path: &Path, sql: &str| {
        let writer = Connection::open(path).unwrap();
        writer.execute_batch(&format!("PRAGMA wal_autocheckpoint = 0; {sql}")).unwrap();
        writer
    };
    let mut look_once = || {
        let connections = open_recovered(&path, PATIENCE, &Silent).unwrap();
        let position = follower.position.clone();
        let since = position.as_ref().map_or(Since::Unknown, Since::Position);
        follower.check(&look(&connections, &path, since, &mut || ()).unwrap()).unwrap();
        follower.hinted
    };
    let _writer = commit(&path, "INSERT INTO t VALUES (1, randomblob(5000))");
    look_once();
    let (log, copied_log) = (with_suffix(&path, "-wal"), with_suffix(&copy, "-wal"));
    // By another process: closing the database's file here would drop SQLite's locks on it.
    for (from, to) in [(&path, &copy), (&log, &copied_log)] {
        assert!(Command::new("cp").args([from, to]).status().unwrap().success());
    }
    let _first = commit(&copy, "INSERT INTO t VALUES (2, zeroblob(50000))");
    fs::copy(&copied_log, &log).unwrap();
    look_once();
    let _then = commit(&path, "INSERT INTO t VALUES (2, zeroblob(50000))");
    assert!(fs::read(&log).unwrap() == fs::read(&copied_log).unwrap(), "the same frames");
    assert_eq!(look_once(), 2, "the log told of it");
    follower.missed > 0
}

#[test]
fn a_commit_that_nobody_can_see_yet_is_not_taken_for_one() {
    assert!(!misses_what_is_visible_later(look_with));
    assert!(misses_what_is_visible_later(mutants::position_of_the_file));
}
