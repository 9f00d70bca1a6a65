//! One contestant doing one job, run by run.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, io};

use anyhow::{Context as _, ensure};

use super::ground::{Application, Content, Ground};
use super::jobs::Job;
use super::machine;
use super::measure::{self, Daemon, Measurement};
use super::own::CHAIN;
use super::peers::{Change, Contestant, Task};
use super::report::Row;
use crate::exit::Signals;
use crate::sample::folder;

const INCREMENTS: usize = 100;

/// How often those that stay save what changed, if nothing else is said.
pub const EVERY: Duration = Duration::from_secs(10);

/// A place for a contestant beside a project.
pub struct Place<'a> {
    ground: &'a Ground,
    /// Its home, an empty folder before each run.
    home: PathBuf,
    /// Its backups; they stay until the next run, or for the next one.
    store: PathBuf,
    /// Its target of a restore, empty before each run.
    out: PathBuf,
    /// How often those that stay save what changed.
    every: Duration,
}

impl<'a> Place<'a> {
    pub fn new(ground: &'a Ground, name: &str, every: Duration) -> Self {
        let [home, store, out] = ["home", "store", "out"].map(|part| ground.dir.join(name).join(part));
        Self { ground, home, store, out, every }
    }

    /// Empties its folders, but not the store.
    pub fn clear(&self) -> anyhow::Result<()> {
        [&self.home, &self.out].into_iter().try_for_each(|dir| empty(dir))?;
        fs::create_dir_all(&self.store).with_context(|| format!("create {}", self.store.display()))
    }

    /// Runs a script there.
    pub fn run(&self, script: &str, program: &Path) -> anyhow::Result<Measurement> {
        measure::script(script.trim(), &self.home, &self.environment(program))
    }

    /// Starts a script that stays.
    pub fn start(&self, script: &str, program: &Path) -> anyhow::Result<Daemon> {
        Daemon::start(script.trim(), &self.home, &self.environment(program))
    }

    /// The whole environment of its scripts: no setting of the user may help or hinder one of them.
    fn environment(&self, program: &Path) -> Vec<(&'static str, OsString)> {
        let mut env: Vec<(&str, OsString)> = vec![
            ("PATH", env::var_os("PATH").unwrap_or_default()),
            ("LC_ALL", "C.UTF-8".into()),
            ("EVERY", self.every.as_secs().to_string().into()),
            ("CORES", machine::cores().to_string().into()),
            ("XTASK", program.into()),
            ("DB", self.ground.database().into()),
            ("PROJECT", self.ground.project().into()),
            ("OUT", self.out.clone().into()),
            ("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes".into()),
        ];
        env.extend(["HOME", "TMPDIR"].map(|name| (name, self.home.clone().into())));
        let stores = ["STORE", "RESTIC_REPOSITORY", "RUSTIC_REPOSITORY", "BORG_REPO"];
        env.extend(stores.map(|name| (name, self.store.clone().into())));
        env.extend(["RESTIC_PASSWORD", "RUSTIC_PASSWORD"].map(|name| (name, "bench".into())));
        env
    }

    /// Checks what was restored: a contestant that did nothing must not be the fastest.
    fn check_restored(&self, expected: Content) -> anyhow::Result<()> {
        let restored = Content::of(&self.restored()?)?;
        ensure!(restored == expected, "it restored {restored:?}, not {expected:?}");
        Ok(())
    }

    /// The restored database.
    pub fn restored(&self) -> anyhow::Result<PathBuf> {
        let files = files(&self.out).context("list the restored files")?;
        files.into_iter().find(|file| file.ends_with("sessions.db")).context("it restored no sessions.db")
    }

    /// Empties its store.
    pub fn empty_store(&self) -> anyhow::Result<()> {
        empty(&self.store)
    }

    /// The size of its store.
    pub fn stored(&self) -> anyhow::Result<u64> {
        let sizes = files(&self.store).and_then(|files| files.iter().map(|file| Ok(fs::metadata(file)?.len())).sum());
        sizes.context("measure the store")
    }
}

/// The runs of one contestant.
pub struct Turn<'a> {
    pub contestant: &'a Contestant,
    job: &'a Job,
    place: Place<'a>,
    /// What a restore must lead to.
    expected: Content,
    /// Its measurements, without the warm-up.
    pub runs: Vec<Measurement>,
    /// What each run added to the store, with the warm-up.
    added: Vec<u64>,
}

impl<'a> Turn<'a> {
    pub fn new(
        contestant: &'a Contestant,
        job: &'a Job,
        ground: &'a Ground,
        expected: Content,
    ) -> anyhow::Result<Self> {
        let name = if job.task == Task::Point { "chain" } else { contestant.name };
        let place = Place::new(ground, name, EVERY);
        if job.task == Task::Again {
            place.empty_store()?;
        }
        Ok(Self { contestant, job, place, expected, runs: Vec::new(), added: Vec::new() })
    }

    /// Restores the starting state, and runs it.
    pub fn run(&mut self, program: &Path, is_last: bool) -> anyhow::Result<Measurement> {
        if self.job.task == Task::Backup {
            self.place.empty_store()?;
        }
        self.place.clear()?;
        self.place.run(self.contestant.prepare, program)?;
        // It runs until the backup has been made.
        let application = (self.job.task == Task::Again).then(|| self.change(program)).transpose()?;
        let is_read = if application.is_some() { Task::Backup } else { self.job.task } == Task::Backup;
        let read = if is_read { self.place.ground.project() } else { self.place.store.clone() };
        settle(&self.place.home, &read).context("bring the machine to rest")?;
        let before = self.place.stored()?;
        let measured = self.place.run(self.contestant.script(self.job.task).unwrap_or_default(), program)?;
        self.added.push(self.place.stored()?.saturating_sub(before));
        self.check(program, is_last)?;
        drop(application);
        // Removed at once: all of them together would need much room.
        folder::remove(&self.place.home)?;
        folder::remove(&self.place.out)?;
        Ok(measured)
    }

    /// Makes the earlier backup, and changes the database.
    fn change(&self, program: &Path) -> anyhow::Result<Application> {
        let database = self.place.ground.database();
        let mut application = Application::start(&database)?;
        application.apply(Change::Session)?;
        self.place.run(self.contestant.script(Task::Again).unwrap_or_default(), program)?;
        if self.contestant.restarts {
            drop(application);
            application = Application::start(&database)?;
        }
        application.apply(self.job.change)?;
        Ok(application)
    }

    /// Checks the output.
    fn check(&self, program: &Path, is_last: bool) -> anyhow::Result<()> {
        match self.job.task {
            Task::Backup => {
                let (stored, bytes) = (self.place.stored()?, self.place.ground.bytes);
                ensure!(stored >= bytes / 100, "it stored {stored} bytes of {bytes}");
            }
            Task::Restore | Task::Point => self.place.check_restored(self.expected)?,
            Task::Again if is_last => {
                self.place.run(self.contestant.prepare, program)?;
                self.place.run(self.contestant.script(Task::Restore).unwrap_or_default(), program)?;
                self.place.check_restored(Content::of(&self.place.ground.database())?)?;
            }
            Task::Again | Task::Verify => {}
        }
        Ok(())
    }

    pub fn row(&self) -> anyhow::Result<Row> {
        let row = Row::of(self.contestant.name, &self.runs);
        Ok(match self.job.task {
            Task::Backup => row.with_stored(self.place.stored()?, self.place.ground.bytes),
            Task::Again => row.with_added(self.added[1..].to_vec()),
            Task::Restore | Task::Verify | Task::Point => row,
        })
    }
}

/// Makes the chain whose points are restored.
pub fn make_chain(ground: &Ground, program: &Path) -> anyhow::Result<()> {
    let place = Place::new(ground, "chain", EVERY);
    let [prepare, bases, increment] = CHAIN;
    place.clear()?;
    place.run(prepare, program)?;
    place.run(bases, program)?;
    let mut application = Application::start(&ground.database())?;
    for _ in 0..INCREMENTS {
        ensure!(Signals::received().is_none(), backup::Error::interrupted());
        application.apply(Change::Little)?;
        place.run(increment, program)?;
    }
    Ok(())
}

fn empty(dir: &Path) -> anyhow::Result<()> {
    folder::remove(dir)?;
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))
}

/// Syncs the file system of `dir`, and reads `read` into the page cache.
fn settle(dir: &Path, read: &Path) -> io::Result<()> {
    rustix::fs::syncfs(File::open(dir)?)?;
    files(read)?.iter().try_for_each(|file| io::copy(&mut File::open(file)?, &mut io::sink()).map(drop))
}

/// All files below a folder.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}
