//! Compares the speed of this program with that of similar tools.
//!
//! The hazard is a table that flatters. So every contestant is a script that anybody can read ([`peers`]), and all do
//! the same job on the same data. They take turns, round by round, so that other load on the machine affects all of
//! them. Before each run, earlier output is removed, the disk has nothing left to write, and the input is in the page
//! cache. The output is checked, and no part of the time is left out.

pub mod machine;
pub mod measure;
pub mod peers;
pub mod report;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{env, io};

use anyhow::{Context as _, ensure};
use rusqlite::{Connection, OpenFlags};

use crate::exit::Signals;
use crate::sample::folder;
use crate::sample::{self, DATABASE};
use machine::Machine;
use measure::Measurement;
use peers::{Contestant, LineUp, Task};
use report::{JobReport, Report, Row, Tool};

const SEED: u64 = 16;
const SMALL_MB: u64 = 1;

/// What to measure, and where.
#[derive(Debug)]
pub struct Options<'a> {
    /// The folder to work in: new, empty, or left over from an earlier bench. It is removed at the end.
    pub dir: &'a Path,
    /// The size of the database in 10⁶ bytes.
    pub size_mb: u64,
    /// How often each job is measured.
    pub runs: u32,
    /// Peers, as `--peers` names them.
    pub peers: &'a [String],
}

/// A job that all contestants do in turn, with the small project or the large one.
struct Job {
    name: &'static str,
    about: &'static str,
    task: Task,
    is_small: bool,
}

/// In this order: the later ones read the output of the backup.
const JOBS: [Job; 4] = [
    Job {
        name: "backup",
        about: "the project into an empty store; xtask checks the database's integrity as well,\n\
                but for the row that says unchecked",
        task: Task::Backup,
        is_small: false,
    },
    Job {
        name: "restore",
        about: "from the store into an empty folder; xtask checks hashes and row counts as well",
        task: Task::Restore,
        is_small: false,
    },
    Job {
        name: "verify",
        about: "xtask: hashes, and the database's integrity and rows; xtask again, which has\n\
                verified the same bytes before: hashes; restic, borg and rustic: hashes of\n\
                all that is stored; gzip, pigz and zstd: the checksum of a stream",
        task: Task::Verify,
        is_small: false,
    },
    Job { name: "small", about: "the same as backup, where starting counts", task: Task::Backup, is_small: true },
];

/// Makes the projects, runs every job, and removes everything again. Calls `say` with each step.
///
/// # Errors
/// Names the contestant that failed, its script and its output.
pub fn run(options: &Options<'_>, say: &dyn Fn(&str)) -> anyhow::Result<Report> {
    let LineUp { peers, missing, sqlite3 } = LineUp::of(options.peers)?;
    folder::make(options.dir, "bench")?;
    let dir = options.dir.canonicalize().context("find the folder to work in")?;
    let machine = Machine::of(&dir);
    let contestants: Vec<&Contestant> = peers::OWN.iter().chain(peers.iter().map(|peer| peer.contestant)).collect();
    let jobs = run_jobs(options, &dir, &contestants, say);
    let removed = folder::remove(&dir);
    let jobs = jobs?;
    removed?;
    let optimized = !cfg!(debug_assertions);
    let tool = Tool { version: env!("CARGO_PKG_VERSION"), sqlite: rusqlite::version(), optimized };
    Ok(Report { tool, machine, peers, sqlite3, not_installed: missing, runs: options.runs, jobs })
}

fn run_jobs(
    options: &Options<'_>,
    dir: &Path,
    contestants: &[&Contestant],
    say: &dyn Fn(&str),
) -> anyhow::Result<Vec<JobReport>> {
    say(&format!("making a database of {} MB", options.size_mb));
    let (large, small) =
        (Ground::make(dir.join("large"), options.size_mb)?, Ground::make(dir.join("small"), SMALL_MB)?);
    // Only now: making the project doesn't check for signals, so the first signal must end it. The next bench removes
    // what is left.
    Signals::catch_hangup().context("catch signals")?;
    let bench = Bench { contestants, runs: options.runs, program: env::current_exe()?, say };
    JOBS.iter().map(|job| bench.run_job(job, if job.is_small { &small } else { &large })).collect()
}

/// A project, and a folder for each contestant beside it.
struct Ground {
    dir: PathBuf,
    bytes: u64,
    sessions: u64,
}

impl Ground {
    fn make(dir: PathBuf, size_mb: u64) -> anyhow::Result<Self> {
        let mut ground = Self { dir, bytes: 0, sessions: 0 };
        sample::create(&ground.project(), size_mb, SEED)?;
        let database = ground.project().join(DATABASE);
        ground.sessions = sessions(&database)?;
        ground.bytes = fs::metadata(database).context("read the size of the database")?.len();
        Ok(ground)
    }

    fn project(&self) -> PathBuf {
        self.dir.join("project")
    }
}

/// The number of sessions in a database. It is opened for writing, so that no `-wal` stays beside it.
fn sessions(database: &Path) -> anyhow::Result<u64> {
    let count = || {
        let database = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        database.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))
    };
    count().with_context(|| format!("count the sessions in {}", database.display()))
}

struct Bench<'a> {
    contestants: &'a [&'a Contestant],
    runs: u32,
    program: PathBuf,
    say: &'a dyn Fn(&str),
}

impl Bench<'_> {
    fn run_job(&self, job: &Job, ground: &Ground) -> anyhow::Result<JobReport> {
        let able = self.contestants.iter().filter(|contestant| contestant.script(job.task).is_some());
        let mut turns: Vec<Turn<'_>> = able.map(|contestant| Turn::new(contestant, job.task, ground)).collect();
        for round in 0..=self.runs {
            let name = if round == 0 { "warm-up".into() } else { format!("round {round} of {}", self.runs) };
            (self.say)(&format!("{}: {name}", job.name));
            for turn in &mut turns {
                let run = turn.run(&self.program);
                let run = run.with_context(|| format!("{} can't do its job: {}", turn.contestant.name, job.name))?;
                turn.runs.extend((round > 0).then_some(run));
            }
        }
        let mut rows: Vec<Row> = turns.iter().map(Turn::row).collect::<anyhow::Result<_>>()?;
        for (at, turn) in turns.iter().enumerate() {
            rows[at].against = rows[at].compare(turn.contestant.against(job.task), &rows);
        }
        Ok(JobReport { job: job.name, about: job.about, database_bytes: ground.bytes, contestants: rows })
    }
}

/// The runs of one contestant.
struct Turn<'a> {
    contestant: &'a Contestant,
    task: Task,
    ground: &'a Ground,
    /// Its home, an empty folder before each run.
    home: PathBuf,
    /// Its backups; they stay until the next run.
    store: PathBuf,
    /// Its target of a restore, empty before each run.
    out: PathBuf,
    /// Its measurements.
    runs: Vec<Measurement>,
}

impl<'a> Turn<'a> {
    fn new(contestant: &'a Contestant, task: Task, ground: &'a Ground) -> Self {
        let [home, store, out] = ["home", "store", "out"].map(|name| ground.dir.join(contestant.name).join(name));
        Self { contestant, task, ground, home, store, out, runs: Vec::new() }
    }

    /// Restores the starting state, and runs it.
    fn run(&self, program: &Path) -> anyhow::Result<Measurement> {
        let emptied = [Some(&self.home), Some(&self.out), Some(&self.store).filter(|_| self.task == Task::Backup)];
        for dir in emptied.into_iter().flatten() {
            folder::remove(dir)?;
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let env = self.environment(program);
        measure::script(self.contestant.prepare, &self.home, &env)?;
        let read = if self.task == Task::Backup { self.ground.project() } else { self.store.clone() };
        settle(&self.home, &read).context("bring the machine to rest")?;
        let measured = measure::script(self.contestant.script(self.task).unwrap_or_default(), &self.home, &env)?;
        self.check()?;
        // Removed at once: all of them together would need much room.
        folder::remove(&self.home)?;
        folder::remove(&self.out)?;
        Ok(measured)
    }

    /// The whole environment of its scripts: no setting of the user may help or hinder one of them.
    fn environment(&self, program: &Path) -> Vec<(&'static str, OsString)> {
        let project = self.ground.project();
        let mut env: Vec<(&str, OsString)> = vec![
            ("PATH", env::var_os("PATH").unwrap_or_default()),
            ("LC_ALL", "C.UTF-8".into()),
            ("CORES", machine::cores().to_string().into()),
            ("XTASK", program.into()),
            ("DB", project.join(DATABASE).into()),
            ("PROJECT", project.into()),
            ("OUT", self.out.clone().into()),
            ("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes".into()),
        ];
        env.extend(["HOME", "TMPDIR"].map(|name| (name, self.home.clone().into())));
        let stores = ["STORE", "RESTIC_REPOSITORY", "RUSTIC_REPOSITORY", "BORG_REPO"];
        env.extend(stores.map(|name| (name, self.store.clone().into())));
        env.extend(["RESTIC_PASSWORD", "RUSTIC_PASSWORD"].map(|name| (name, "bench".into())));
        env
    }

    /// Checks the output: a contestant that did nothing must not be the fastest.
    fn check(&self) -> anyhow::Result<()> {
        match self.task {
            Task::Backup => {
                let stored = total(&self.store).context("measure the store")?;
                ensure!(stored >= self.ground.bytes / 100, "it stored {stored} bytes of {}", self.ground.bytes);
            }
            Task::Restore => {
                let files = files(&self.out).context("list the restored files")?;
                let database = files.iter().find(|file| file.ends_with("sessions.db"));
                let restored = sessions(database.context("it restored no sessions.db")?)?;
                let sessions = self.ground.sessions;
                ensure!(restored == sessions, "it restored {restored} sessions of {sessions}");
            }
            Task::Verify => {}
        }
        Ok(())
    }

    fn row(&self) -> anyhow::Result<Row> {
        let stored = (self.task == Task::Backup).then(|| total(&self.store)).transpose();
        let stored = stored.context("measure the store")?;
        Ok(Row::of(self.contestant.name, &self.runs, stored, self.ground.bytes))
    }
}

/// Syncs the file system of `dir`, and reads `read` into the page cache.
fn settle(dir: &Path, read: &Path) -> io::Result<()> {
    rustix::fs::syncfs(File::open(dir)?)?;
    files(read)?.iter().try_for_each(|file| io::copy(&mut File::open(file)?, &mut io::sink()).map(drop))
}

fn total(dir: &Path) -> io::Result<u64> {
    files(dir)?.iter().map(|file| Ok(fs::metadata(file)?.len())).sum()
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
