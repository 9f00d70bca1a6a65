//! What following a database costs, while a writer is busy.
//!
//! The writer runs alone first and last, so that a machine that becomes slower meanwhile isn't taken for a cost. What is
//! measured begins two rounds after the start: a start is a job of its own.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use backup::Error;

use super::ground::Ground;
use super::measure::Daemon;
use super::peers::{Contestant, Follow, Task};
use super::report::{FollowCost, FollowRow, LoadReport};
use super::turn::{EVERY, Place};
use crate::exit::Signals;
use crate::sample::{Pace, Writers, check_commits};

/// The time between two readings of the memory, the log and signals.
const TICK: Duration = Duration::from_millis(100);

/// How a writer commits.
pub struct Load {
    name: &'static str,
    about: &'static str,
    pace: Pace,
}

pub const LOADS: [Load; 3] = [
    Load { name: "calm", about: "a writer commits 5 times a second", pace: Pace::Values(5) },
    Load { name: "busy", about: "a writer commits 500 times a second", pace: Pace::Values(500) },
    Load { name: "endless", about: "a writer commits as often as it can", pace: Pace::Endless },
];

/// Measures those of `contestants` that can follow.
pub struct Following<'a> {
    pub contestants: &'a [&'a Contestant],
    pub ground: &'a Ground,
    pub program: &'a Path,
    /// How long each is measured.
    pub time: Duration,
    pub say: &'a dyn Fn(&str),
}

impl Following<'_> {
    /// Measures them under a load.
    pub fn run(&self, load: &Load) -> anyhow::Result<LoadReport> {
        let mut followers = vec![self.alone(load)?];
        for contestant in self.contestants {
            let Some(follow) = &contestant.follow else { continue };
            (self.say)(&format!("follow, {}: {}", load.name, contestant.name));
            let row = self.followed(load, contestant, follow);
            followers.push(row.with_context(|| format!("{} can't follow", contestant.name))?);
        }
        followers.push(self.alone(load)?);
        let mut report = LoadReport {
            load: load.name,
            about: load.about,
            database_bytes: self.ground.bytes,
            seconds: self.time.as_secs(),
            every_s: self.every().as_secs(),
            followers,
        };
        report.compare();
        Ok(report)
    }

    fn every(&self) -> Duration {
        EVERY.min(self.time)
    }

    fn alone(&self, load: &Load) -> anyhow::Result<FollowRow> {
        (self.say)(&format!("follow, {}: nobody", load.name));
        let writers = Writers::start_at(&self.ground.database(), 1, load.pace)?;
        let window = self.watch(&writers, None)?;
        writers.stop()?;
        Ok(window.row("nobody", None))
    }

    fn followed(&self, load: &Load, contestant: &Contestant, follow: &Follow) -> anyhow::Result<FollowRow> {
        let place = Place::new(self.ground, contestant.name, self.every());
        place.empty_store()?;
        place.clear()?;
        place.run(contestant.prepare, self.program)?;
        place.run(follow.prepare, self.program)?;
        let writers = Writers::start_at(&self.ground.database(), 1, load.pace)?;
        let daemon = place.start(follow.stay, self.program)?;
        pass(self.every() * 2, || daemon.cpu().map(drop))?;
        let (cpu, read, stored) = (daemon.cpu()?, daemon.read_bytes()?, place.stored()?);
        let window = self.watch(&writers, Some(&daemon))?;
        let cost = FollowCost {
            cpu_share: daemon.cpu()?.saturating_sub(cpu).as_secs_f64() / window.seconds,
            peak_anon_bytes: window.peak_anon_bytes,
            read_bytes: daemon.read_bytes()? - read,
            added_bytes: place.stored()?.saturating_sub(stored),
        };
        let committed = writers.stop()?;
        daemon.stop()?;
        self.check(&place, contestant, &committed)?;
        Ok(window.row(contestant.name, Some(cost)))
    }

    /// Makes sure that what it saved when it was stopped holds every commit.
    fn check(&self, place: &Place<'_>, contestant: &Contestant, committed: &[u64]) -> anyhow::Result<()> {
        place.run(contestant.script(Task::Restore).unwrap_or_default(), self.program)?;
        let restored = check_commits(&place.restored()?, committed)?;
        ensure!(restored == committed, "it restored {restored:?} commits, not {committed:?}");
        place.empty_store()?;
        place.clear()
    }

    /// Watches a writer, and who follows it.
    fn watch(&self, writers: &Writers, daemon: Option<&Daemon>) -> anyhow::Result<Window> {
        let log = self.ground.database().with_extension("db-wal");
        let mut window = Window::default();
        let committed = writers.committed()[0];
        let begun = Instant::now();
        pass(self.time, || {
            let length = fs::metadata(&log).map_or(0, |log| log.len());
            window.max_log_bytes = window.max_log_bytes.max(length);
            window.peak_anon_bytes = window.peak_anon_bytes.max(daemon.and_then(Daemon::anonymous_bytes));
            Ok(())
        })?;
        window.commits = writers.committed()[0] - committed;
        window.seconds = begun.elapsed().as_secs_f64();
        Ok(window)
    }
}

/// What was seen in the time of a measurement.
#[derive(Default)]
struct Window {
    seconds: f64,
    commits: u64,
    max_log_bytes: u64,
    peak_anon_bytes: Option<u64>,
}

impl Window {
    #[allow(clippy::cast_precision_loss, reason = "nobody commits 2⁵³ times")]
    fn row(&self, name: &'static str, cost: Option<FollowCost>) -> FollowRow {
        let commits_per_s = self.commits as f64 / self.seconds;
        FollowRow { name, commits_per_s, of_alone: None, max_log_bytes: self.max_log_bytes, cost }
    }
}

/// Lets time pass, and calls `look` at each tick.
fn pass(time: Duration, mut look: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        ensure!(Signals::received().is_none(), Error::interrupted());
        look()?;
        thread::sleep(TICK.min(end.saturating_duration_since(Instant::now())));
    }
    Ok(())
}
