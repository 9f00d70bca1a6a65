//! Compares the speed of this program with that of similar tools.
//!
//! The hazard is a table that flatters. So every contestant is a script that anybody can read ([`peers`]), and all do
//! the same job on the same data. They take turns, round by round, so that other load on the machine affects all of
//! them. Before each run, earlier output is removed, the disk has nothing left to write, and the input is in the page
//! cache. The output is checked, and no part of the time is left out.

mod follow;
mod ground;
mod jobs;
pub mod machine;
pub mod measure;
mod own;
pub mod peers;
pub mod report;
mod turn;

use std::env;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::exit::Signals;
use crate::sample::folder;
use follow::{Following, LOADS};
use ground::{Content, Ground};
use jobs::{JOBS, Job};
use machine::Machine;
use own::OWN;
use peers::{Contestant, LineUp, Task};
use report::{JobReport, LoadReport, Report, Row, Tool};
use turn::{Turn, make_chain};

const SMALL_MB: u64 = 1;

/// The name of the last job, which isn't measured in rounds.
const FOLLOW: &str = "follow";

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
    /// Jobs, as `--jobs` names them; none for all.
    pub jobs: &'a [String],
    /// How long each that follows a database is measured.
    pub follow_time: Duration,
}

/// Makes the projects, runs every job, and removes everything again. Calls `say` with each step.
///
/// # Errors
/// Names the contestant that failed, its script and its output.
pub fn run(options: &Options<'_>, say: &dyn Fn(&str)) -> anyhow::Result<Report> {
    let LineUp { peers, missing, sqlite3 } = LineUp::of(options.peers)?;
    folder::make(options.dir, "bench")?;
    let dir = options.dir.canonicalize().context("find the folder to work in")?;
    let machine = Machine::of(&dir);
    let contestants: Vec<&Contestant> = OWN.iter().chain(peers.iter().map(|peer| peer.contestant)).collect();
    let jobs = run_jobs(options, &dir, &contestants, say);
    let removed = folder::remove(&dir);
    let (jobs, follow) = jobs?;
    removed?;
    let optimized = !cfg!(debug_assertions);
    let tool = Tool { version: env!("CARGO_PKG_VERSION"), sqlite: rusqlite::version(), optimized };
    Ok(Report { tool, machine, peers, sqlite3, not_installed: missing, runs: options.runs, jobs, follow })
}

fn run_jobs(
    options: &Options<'_>,
    dir: &Path,
    contestants: &[&Contestant],
    say: &dyn Fn(&str),
) -> anyhow::Result<(Vec<JobReport>, Vec<LoadReport>)> {
    say(&format!("making a database of {} MB", options.size_mb));
    let (large, small) =
        (Ground::make(dir.join("large"), options.size_mb)?, Ground::make(dir.join("small"), SMALL_MB)?);
    // Only now: making the project doesn't check for signals, so the first signal must end it. The next bench removes
    // what is left.
    Signals::catch_hangup().context("catch signals")?;
    let program = &env::current_exe()?;
    let bench = Bench { contestants, runs: options.runs, program, say };
    let jobs = chosen(options.jobs).map(|job| bench.run_job(job, if job.is_small { &small } else { &large }));
    let jobs = jobs.collect::<anyhow::Result<_>>()?;
    let following = Following { contestants, ground: &large, program, time: options.follow_time, say };
    let follows = options.jobs.is_empty() || options.jobs.iter().any(|job| job == FOLLOW);
    let loads = LOADS.iter().filter(|_| follows).map(|load| following.run(load));
    Ok((jobs, loads.collect::<anyhow::Result<_>>()?))
}

/// The jobs of these names, or all. What is read was written before, so a backup comes with it.
fn chosen(names: &[String]) -> impl Iterator<Item = &'static Job> {
    let is_named = |job: &Job| names.iter().any(|name| name == job.name);
    let reads = |job: &Job| matches!(job.task, Task::Restore | Task::Verify);
    let needs_backup = JOBS.iter().any(|job| reads(job) && is_named(job));
    JOBS.iter().filter(move |job| names.is_empty() || is_named(job) || (needs_backup && job.name == "backup"))
}

struct Bench<'a> {
    contestants: &'a [&'a Contestant],
    runs: u32,
    program: &'a Path,
    say: &'a dyn Fn(&str),
}

impl Bench<'_> {
    fn run_job(&self, job: &Job, ground: &Ground) -> anyhow::Result<JobReport> {
        let [base, newest] = self.contents(job, ground)?;
        let able = self.contestants.iter().filter(|contestant| contestant.takes_part(job.task));
        let expected = |contestant: &Contestant| if contestant.is_base { base } else { newest };
        let turns = able.map(|contestant| Turn::new(contestant, job, ground, expected(contestant)));
        let mut turns: Vec<Turn<'_>> = turns.collect::<anyhow::Result<_>>()?;
        for round in 0..=self.runs {
            let name = if round == 0 { "warm-up".into() } else { format!("round {round} of {}", self.runs) };
            (self.say)(&format!("{}: {name}", job.name));
            for turn in &mut turns {
                let run = turn.run(self.program, round == self.runs);
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

    /// What a restore of the base and of the newest point must lead to.
    fn contents(&self, job: &Job, ground: &Ground) -> anyhow::Result<[Content; 2]> {
        let base = Content::of(&ground.database())?;
        if job.task != Task::Point {
            return Ok([base, base]);
        }
        (self.say)(&format!("{}: making a chain", job.name));
        make_chain(ground, self.program)?;
        Ok([base, Content::of(&ground.database())?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_knows_every_job() {
        let names: Vec<&str> = JOBS.iter().map(|job| job.name).chain([FOLLOW]).collect();
        assert_eq!(names, crate::cli::JOBS);
    }

    #[test]
    fn what_is_restored_or_verified_is_backed_up_first() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            chosen(&names).map(|job| job.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&["verify"]), ["backup", "verify"]);
        assert_eq!(names(&["points", "again"]), ["again", "points"]);
        assert_eq!(names(&[]).len(), JOBS.len());
    }
}
