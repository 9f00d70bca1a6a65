//! How the schedule stands: what is installed, when it runs next, how it last went, and what is wrong with it.

use std::path::PathBuf;

use backup::{Command, Outcome, Status, Trigger};
use chrono::{DateTime, FixedOffset};
use serde::Serialize;
use xshell::Shell;

use super::program::{self, Compared};
use super::systemd::{self, Manager, Scope, State};
use super::{Installed, cron, find};
use crate::cli::Which;
use crate::context::Context;
use crate::exit::Exit;
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
    /// Who the jobs run as, if it is not just whoever installed them.
    pub user: Option<String>,
    /// The installed copy of this program.
    pub program: Program,
    /// The nightly backup, the weekly drill.
    pub jobs: Vec<Job>,
    /// The command that installs it again.
    #[serde(skip)]
    pub again: String,
    /// What keeps all of its jobs from being started.
    #[serde(skip)]
    pub problem: Option<Problem>,
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
    pub state: Compared,
}

/// What is done regularly.
#[derive(Debug, Serialize)]
pub struct Job {
    /// `backup` or `drill`.
    pub name: &'static str,
    /// Its timer, or its times in the crontab.
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
    pub last: Option<Last>,
    /// What is wrong with it.
    #[serde(skip)]
    pub problem: Option<Problem>,
}

/// How a run went.
#[derive(Debug, Clone, Serialize)]
pub struct Last {
    /// When it began.
    pub at: DateTime<FixedOffset>,
    /// How long it took, in milliseconds; unknown while it runs.
    pub duration_ms: Option<u64>,
    /// Whether all went well, as far as is known.
    pub ok: bool,
    /// `success`, or why not: systemd's word for it, or the backup's status.
    pub result: String,
    /// What the program exited with, if it was it that ended the run.
    pub exit_status: Option<u8>,
}

/// Something that keeps backups from being made, and what to do about it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What is wrong, in a line.
    pub what: String,
    /// What to do, in a line.
    pub remedy: String,
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
        let missing = (self.program.state == Compared::Missing).then(|| Problem {
            what: format!("{}, which the schedule runs, is missing", self.program.path.display()),
            remedy: format!("install it again: {}", self.again),
        });
        let all = self.problem.iter().cloned().chain(missing);
        all.chain(self.jobs.iter().filter_map(|job| job.problem.clone())).collect()
    }
}

impl Last {
    /// How it went, for people.
    pub fn outcome(&self) -> String {
        match (self.ok, self.exit_status) {
            (true, _) => self.result.clone(),
            (false, Some(status)) => failure(status),
            (false, None) if self.result == PARTLY => PARTLY.into(),
            (false, None) => format!("failed ({})", self.result),
        }
    }
}

/// What a run that did a part of its work is called: by the manifest, and by the exit status.
const PARTLY: &str = "partly done";

/// What a run is called that ended with this exit status, which isn't 0.
pub fn failure(status: u8) -> String {
    let what = if Exit::of_status(status) == Exit::Partly { PARTLY } else { "failed" };
    format!("{what} (exit {status})")
}

/// How the schedule of this project stands; none if there is none to be seen from here.
pub fn read(context: &Context<'_>, shell: &Shell, which: &Which) -> anyhow::Result<Option<Schedule>> {
    let installed = if systemd::is_booted() { find(context, shell, which)? } else { None };
    match installed {
        Some(installed) => of_systemd(context, shell, &installed).map(Some),
        None if which.user || which.unit.is_some() => Ok(None),
        None => of_cron(context, shell),
    }
}

fn of_systemd(context: &Context<'_>, shell: &Shell, installed: &Installed) -> anyhow::Result<Schedule> {
    let Installed { scope, origin } = installed;
    let manager = Manager::new(*scope, shell);
    let jobs = [("backup", origin.unit.clone()), ("drill", format!("{}-verify", origin.unit))];
    let files: Vec<String> =
        jobs.iter().flat_map(|(_, unit)| [format!("{unit}.timer"), format!("{unit}.service")]).collect();
    let states = manager.states(&files)?;
    let jobs = jobs.into_iter().zip(states.chunks_exact(2));
    let jobs = jobs.map(|((name, unit), states)| {
        let job = job(context, name, &unit, &states[0], &states[1]);
        let problem = if manager.is_up() {
            problem(context, installed, &job, &states[0], &states[1])
        } else {
            Some(Problem {
                what: "your service manager doesn't run, and so no timer does".into(),
                remedy: "let it run while you are not logged in: loginctl enable-linger".into(),
            })
        };
        Job { problem, ..job }
    });
    Ok(Schedule {
        scheduler: Scheduler::Systemd,
        unit: Some(origin.unit.clone()),
        scope: Some(*scope),
        user: states.get(1).map(|service| service.get("User").to_string()).filter(|user| !user.is_empty()),
        program: Program { state: program::compare(&origin.program)?, path: origin.program.clone() },
        jobs: jobs.collect(),
        again: installed.again(context),
        problem: None,
    })
}

fn job(context: &Context<'_>, name: &'static str, unit: &str, timer: &State, service: &State) -> Job {
    let running = service.is_active();
    let last = service.ran().map(|ran| Last {
        at: ran.at,
        duration_ms: ran.duration_ms,
        ok: running || ran.result == "success",
        result: if running { "running".into() } else { ran.result },
        exit_status: ran.exit_status.filter(|_| !running),
    });
    Job {
        name,
        entry: format!("{unit}.timer"),
        enabled: timer.is_enabled(),
        active: timer.is_ticking(),
        running,
        next: timer.time("NextElapseUSecRealtime"),
        // systemd forgets with each start of the machine; that a drill was the schedule's, the ledger doesn't know.
        last: last.or_else(|| scheduled_backup(context).filter(|_| name == "backup")),
        problem: None,
    }
}

fn problem(context: &Context<'_>, installed: &Installed, job: &Job, timer: &State, service: &State) -> Option<Problem> {
    let Job { name, entry, .. } = job;
    let again = |what: String| Problem { what, remedy: format!("install it again: {}", installed.again(context)) };
    if service.get("LoadState") != "loaded" {
        return Some(again(format!("the service that {entry} starts is missing")));
    }
    if !job.enabled {
        return Some(again(format!("{entry} is not enabled")));
    }
    if !timer.is_active() {
        return Some(again(format!("{entry} is not started")));
    }
    if !job.active || (job.next.is_none() && !job.running) {
        return Some(again(format!("{entry} will not run again")));
    }
    let now = context.command(&["run-now"]).and((*name == "drill").then_some("--drill"));
    let remedy = format!("see why: {}; then try again: {now}", context.command(&["logs"]));
    if timer.missed(service, context.now) {
        let when = timer.time("LastTriggerUSec").map(local).unwrap_or_default();
        return Some(Problem { what: format!("the {name} of {when} did not start"), remedy });
    }
    let last = job.last.as_ref().filter(|last| !last.ok)?;
    Some(Problem { what: format!("the last {name}: {}", last.outcome()), remedy })
}

fn of_cron(context: &Context<'_>, shell: &Shell) -> anyhow::Result<Option<Schedule>> {
    let Some(cron) = cron::installed(context, shell) else { return Ok(None) };
    let last = [scheduled_backup(context), drill(context)];
    let jobs = ["backup", "drill"].into_iter().zip(cron.schedules).zip(last).map(|((name, entry), last)| {
        let age_s = last.as_ref().and_then(|last| u64::try_from((context.now - last.at).num_seconds()).ok());
        let too_old = age_s.filter(|age_s| name == "backup" && *age_s > context.config.status.max_age.as_secs());
        let what = match &last {
            Some(last) if !last.ok => Some(format!("the last {name}: {}", last.outcome())),
            // Nobody but the store tells of a run that cron started.
            _ => too_old.map(|age_s| format!("the last scheduled {name} is {} old", age(age_s))),
        };
        let remedy = format!("see why: {}", cron.log.display());
        let problem = what.map(|what| Problem { what, remedy });
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
        problem: cron::not_running(),
    }))
}

fn last(at: DateTime<FixedOffset>, duration_ms: u64, ok: bool, failure: &str) -> Last {
    let result = if ok { "success" } else { failure }.to_string();
    Last { at, duration_ms: Some(duration_ms), ok, result, exit_status: None }
}

/// The last scheduled backup that the store knows of. Where that can't be read, nothing is known.
fn scheduled_backup(context: &Context<'_>) -> Option<Last> {
    let catalog = context.catalog().ok()?;
    let mut manifests = catalog.entries().iter().rev().filter_map(|entry| entry.manifest());
    let backup = manifests.find(|manifest| manifest.trigger == Trigger::Timer)?;
    let failure = if backup.status == Status::Failed { "nothing saved" } else { PARTLY };
    Some(last(backup.created_at, backup.duration_ms, backup.status == Status::Complete, failure))
}

/// The last drill, whoever asked for it.
fn drill(context: &Context<'_>) -> Option<Last> {
    let ledger = context.ledger().ok()?;
    let drill =
        ledger.lines().iter().rev().find(|line| line.command == Command::Drill && line.outcome != Outcome::Begun)?;
    Some(last(drill.at, drill.duration_ms, drill.outcome == Outcome::Ok, "not passed"))
}
