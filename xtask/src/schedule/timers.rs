//! The state of the schedule: what is installed, its next and last runs, its problems.

use std::path::PathBuf;
use std::slice::from_ref;

use backup::{Command, Entry, Outcome, Status, Trigger};
use chrono::{DateTime, FixedOffset};
use serde::Serialize;
use xshell::Shell;

use super::choice::find;
use super::cron::table;
use super::problem::Problem;
use super::program::{self, CopyState};
use super::timer::installation::{Installation, OlderUnit};
use crate::cli::ScheduleChoice;
use crate::context::Context;
use crate::exit::Exit;
use crate::systemd::manager::Manager;
use crate::systemd::state::State;
use crate::systemd::{self, Scope};
use crate::text::{age, local};

/// The schedule of a project.
#[derive(Debug, Serialize)]
pub struct Schedule {
    /// What starts the jobs.
    pub scheduler: Scheduler,
    /// What the units' names begin with; none for cron.
    pub unit: Option<String>,
    /// Whose service manager has them; none for cron.
    pub scope: Option<Scope>,
    /// Who the jobs run as, if not the user who installed them.
    pub user: Option<String>,
    /// The installed copy of this program.
    pub program: Program,
    /// The nightly backup, the weekly drill, the increments if there are any.
    pub jobs: Vec<Job>,
    /// The command that installs it again.
    #[serde(skip)]
    pub again: String,
    /// A problem of all its jobs.
    #[serde(skip)]
    pub problem: Option<Problem>,
    /// Units of an older version, which `install-timer` replaces.
    #[serde(skip)]
    pub older: Vec<OlderUnit>,
}

/// What starts jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "named as they are called")]
pub enum Scheduler {
    Systemd,
    Cron,
}

/// The installed copy of this program.
#[derive(Debug, Serialize)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// How it compares to this one.
    pub state: CopyState,
}

/// A scheduled job.
#[derive(Debug, Serialize)]
pub struct Job {
    /// `backup`, `drill` or `increments`.
    pub name: &'static str,
    /// Its timer, or its service if that stays, or its times in the crontab.
    pub entry: String,
    /// Whether it starts with the machine.
    pub enabled: bool,
    /// Whether it waits for its time now.
    pub active: bool,
    /// Whether it runs just now.
    pub running: bool,
    /// When it will be started next; unknown for cron.
    pub next: Option<DateTime<FixedOffset>>,
    /// How the last run went, as far as is known.
    pub last: Option<LastRun>,
    /// What is wrong with it.
    #[serde(skip)]
    pub problem: Option<Problem>,
}

/// How a run went.
#[derive(Debug, Clone, Serialize)]
pub struct LastRun {
    /// When it began.
    pub at: DateTime<FixedOffset>,
    /// How long it took, in milliseconds; unknown while it runs.
    pub duration_ms: Option<u64>,
    /// Whether all went well, as far as is known.
    pub ok: bool,
    /// `success`, or the reason of the failure: systemd's word, or the backup's status.
    pub result: String,
    /// The exit status of the program, if it ended by itself.
    pub exit_status: Option<u8>,
}

impl Schedule {
    /// What people call it.
    pub fn name(&self) -> String {
        let user = self.user.as_ref().map_or(String::new(), |user| format!(", as user {user}"));
        match (&self.unit, self.scope) {
            (Some(unit), Some(Scope::User)) => format!("{unit}.timer of your own service manager"),
            (Some(unit), _) => format!("{unit}.timer{user}"),
            (None, _) => format!("cron{user}"),
        }
    }

    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<Problem> {
        let missing = (self.program.state == CopyState::Missing).then(|| Problem {
            what: format!("{}, which the schedule runs, is missing", self.program.path.display()),
            remedy: format!("install it again: {}", self.again),
        });
        let all = self.problem.iter().cloned().chain(missing);
        all.chain(self.jobs.iter().filter_map(|job| job.problem.clone())).collect()
    }
}

impl LastRun {
    /// How it went, in words.
    pub fn outcome(&self) -> String {
        match (self.ok, self.exit_status) {
            (true, _) => self.result.clone(),
            (false, Some(status)) => failure(status),
            (false, None) if self.result == PARTLY => PARTLY.into(),
            (false, None) => format!("failed ({})", self.result),
        }
    }
}

/// The result of a run that did only a part of its work.
const PARTLY: &str = "partly done";

/// The result of a run with this exit status, which isn't 0.
pub fn failure(status: u8) -> String {
    let what = if Exit::of_status(status) == Exit::Partly { PARTLY } else { "failed" };
    format!("{what} (exit {status})")
}

/// The schedule of this project; none if the current user can see none.
pub fn read(context: &Context<'_>, shell: &Shell, which: &ScheduleChoice) -> anyhow::Result<Option<Schedule>> {
    let installed = if systemd::is_booted() { find(context, shell, which)? } else { None };
    match installed {
        Some(installed) => of_systemd(context, shell, &installed).map(Some),
        None if which.user || which.unit.is_some() => Ok(None),
        None => of_cron(context, shell),
    }
}

fn of_systemd(context: &Context<'_>, shell: &Shell, installation: &Installation) -> anyhow::Result<Schedule> {
    let Installation { scope, origin, drill, .. } = installation;
    let manager = Manager::new(*scope, shell);
    let jobs = [("backup", &origin.unit), ("drill", drill)];
    let files: Vec<String> =
        jobs.iter().flat_map(|(_, unit)| [format!("{unit}.timer"), format!("{unit}.service")]).collect();
    let states = manager.states(&files)?;
    let jobs = jobs.into_iter().zip(states.chunks_exact(2));
    let jobs = jobs.map(|((name, unit), states)| {
        let job = job(context, name, unit, &states[0], &states[1]);
        let problem = not_up(&manager).or_else(|| problem(context, installation, &job, &states[0], &states[1]));
        Job { problem, ..job }
    });
    let jobs = jobs.chain(follow(context, &manager, installation)?);
    Ok(Schedule {
        scheduler: Scheduler::Systemd,
        unit: Some(origin.unit.clone()),
        scope: Some(*scope),
        user: states.get(1).map(|service| service.get("User").to_string()).filter(|user| !user.is_empty()),
        program: Program { state: program::compare(&origin.program)?, path: origin.program.clone() },
        jobs: jobs.collect(),
        again: installation.again(context),
        problem: None,
        older: installation.older.clone(),
    })
}

/// The problem that a user's service manager doesn't run.
fn not_up(manager: &Manager<'_>) -> Option<Problem> {
    (!manager.is_up()).then(|| Problem {
        what: "your service manager isn't running, so no timer is".into(),
        remedy: "let it run while you are not logged in: loginctl enable-linger".into(),
    })
}

fn job(context: &Context<'_>, name: &'static str, unit: &str, timer: &State, service: &State) -> Job {
    let running = service.is_active() && !service.is_waiting_to_restart();
    let last = service.last_run().map(|run| LastRun {
        at: run.at,
        duration_ms: run.duration_ms,
        ok: running || run.result == "success",
        result: if running { "running".into() } else { run.result },
        exit_status: run.exit_status.filter(|_| !running),
    });
    Job {
        name,
        entry: format!("{unit}.timer"),
        enabled: timer.is_enabled(),
        active: timer.is_ticking(),
        running,
        next: timer.time("NextElapseUSecRealtime"),
        // systemd forgets at each start of the machine. The ledger doesn't know which drills were scheduled.
        last: last.or_else(|| scheduled_backup(context).filter(|_| name == "backup")),
        problem: None,
    }
}

/// The service that makes increments, if it is installed.
fn follow(context: &Context<'_>, manager: &Manager<'_>, installation: &Installation) -> anyhow::Result<Option<Job>> {
    let Some(unit) = installation.follow.clone() else { return Ok(None) };
    let Some(state) = manager.states(from_ref(&unit))?.pop() else { return Ok(None) };
    let running = state.is_active() && !state.is_waiting_to_restart();
    let job = Job { running, entry: unit.clone(), ..job(context, "increments", "", &state, &state) };
    let problem = not_up(manager).or_else(|| {
        let what = if !state.is_enabled() {
            format!("{unit} is not enabled")
        } else if !state.is_active() {
            format!("{unit} is not running")
        } else {
            let last = job.last.as_ref().filter(|_| !running)?;
            return Some(Problem {
                what: format!("{unit} {}, and is started again every minute", last.outcome()),
                remedy: format!("see why: {}", context.command(&["logs"])),
            });
        };
        Some(Problem { what, remedy: format!("install it again: {}", installation.again(context)) })
    });
    Ok(Some(Job { problem, ..job }))
}

fn problem(
    context: &Context<'_>,
    installation: &Installation,
    job: &Job,
    timer: &State,
    service: &State,
) -> Option<Problem> {
    if let Some(what) = obstacle(job, timer, service) {
        return Some(Problem { what, remedy: format!("install it again: {}", installation.again(context)) });
    }
    let name = job.name;
    let what = if timer.missed(service, context.now) {
        let when = timer.time("LastTriggerUSec").map(local).unwrap_or_default();
        format!("the {name} of {when} did not start")
    } else {
        format!("the last {name}: {}", job.last.as_ref().filter(|last| !last.ok)?.outcome())
    };
    let now = context.command(&["run-now"]).and((name == "drill").then_some("--drill"));
    let logs = context.command(&["logs"]);
    Some(Problem { what, remedy: format!("see why: {logs}; then try again: {now}") })
}

/// The reason why a job will not run.
fn obstacle(job: &Job, timer: &State, service: &State) -> Option<String> {
    let entry = &job.entry;
    if service.get("LoadState") != "loaded" {
        return Some(format!("the service that {entry} starts is missing"));
    }
    if !job.enabled {
        return Some(format!("{entry} is not enabled"));
    }
    if !timer.is_active() {
        return Some(format!("{entry} is not started"));
    }
    let will_run = job.active && (job.next.is_some() || job.running);
    (!will_run).then(|| format!("{entry} will not run again"))
}

fn of_cron(context: &Context<'_>, shell: &Shell) -> anyhow::Result<Option<Schedule>> {
    let Some(cron) = table::installed(context, shell) else { return Ok(None) };
    let last = [scheduled_backup(context), drill(context), scheduled(context, true)];
    let jobs =
        ["backup", "drill", "increments"].into_iter().zip(cron.schedules).zip(last).map(|((name, entry), last)| {
            let remedy = || format!("see why: {}", cron.log.display());
            let problem = problem_of_cron(context, name, last.as_ref()).map(|what| Problem { what, remedy: remedy() });
            Job { name, entry, enabled: true, active: true, running: false, next: None, last, problem }
        });
    Ok(Some(Schedule {
        scheduler: Scheduler::Cron,
        unit: None,
        scope: None,
        jobs: jobs.collect(),
        user: cron.user,
        program: Program { state: program::compare(&cron.program)?, path: cron.program },
        again: context.command(&["install-cron"]).to_string(),
        problem: table::not_running(),
        older: Vec::new(),
    }))
}

/// The problem of a job in a crontab. Its runs are known from the store only.
fn problem_of_cron(context: &Context<'_>, name: &str, last: Option<&LastRun>) -> Option<String> {
    let last = last?;
    if !last.ok {
        return Some(format!("the last {name}: {}", last.outcome()));
    }
    let age_s = u64::try_from((context.now - last.at).num_seconds()).ok()?;
    let is_too_old = name == "backup" && age_s > context.config.status.max_age.as_secs();
    is_too_old.then(|| format!("the last scheduled {name} is {} old", age(age_s)))
}

fn last(at: DateTime<FixedOffset>, duration_ms: u64, ok: bool, failure: &str) -> LastRun {
    let result = if ok { "success" } else { failure }.to_string();
    LastRun { at, duration_ms: Some(duration_ms), ok, result, exit_status: None }
}

/// The last scheduled backup in the store that is no increment. None if the store can't be read.
fn scheduled_backup(context: &Context<'_>) -> Option<LastRun> {
    scheduled(context, false)
}

/// The last one in the store, or the last increment.
fn scheduled(context: &Context<'_>, increment: bool) -> Option<LastRun> {
    let catalog = context.catalog().ok()?;
    let is_increment = |entry: &&Entry| entry.parent().is_some() == increment;
    let mut manifests = catalog.entries().iter().rev().filter(is_increment).filter_map(|entry| entry.manifest());
    let backup = manifests.find(|manifest| manifest.trigger == Trigger::Timer)?;
    let failure = if backup.status == Status::Failed { "nothing saved" } else { PARTLY };
    Some(last(backup.created_at, backup.duration_ms, backup.status == Status::Complete, failure))
}

/// The last drill, scheduled or not.
fn drill(context: &Context<'_>) -> Option<LastRun> {
    let ledger = context.ledger().ok()?;
    let drill =
        ledger.lines().iter().rev().find(|line| line.command == Command::Drill && line.outcome != Outcome::Begun)?;
    Some(last(drill.at, drill.duration_ms, drill.outcome == Outcome::Ok, "not passed"))
}
