//! How the schedule stands: what is installed, when it runs next, how it last went.

use std::path::PathBuf;

use backup::{Command, Outcome, Status, Trigger};
use chrono::{DateTime, FixedOffset};
use serde::Serialize;
use xshell::Shell;

use super::program::{self, Compared};
use super::steps::Step;
use super::systemd::{self, Manager, Scope, State};
use super::{Installed, cron, find};
use crate::cli::Which;
use crate::context::Context;

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
    /// The command that installs it again, flags and all.
    #[serde(skip)]
    pub again: String,
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
    /// Whether it will be started in time, after the next start of the machine too.
    pub enabled: bool,
    /// Whether it runs just now.
    pub running: bool,
    /// When it will be started next; unknown for cron.
    pub next: Option<DateTime<FixedOffset>>,
    /// How the last run went; none if there was none yet.
    pub last: Option<Last>,
}

/// How a run went.
#[derive(Debug, Serialize)]
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
}

impl Last {
    /// How it went, for people.
    pub fn outcome(&self) -> String {
        match (self.ok, self.exit_status) {
            (true, _) => self.result.clone(),
            (false, Some(status)) => format!("failed (exit {status})"),
            (false, None) => format!("failed ({})", self.result),
        }
    }
}

impl Job {
    /// What is wrong with it.
    pub fn problem(&self) -> Option<String> {
        match &self.last {
            _ if !self.enabled => Some(format!("{} is not enabled, or not started", self.entry)),
            Some(last) if !last.ok => Some(format!("the last {}: {}", self.name, last.outcome())),
            _ => None,
        }
    }
}

/// How the schedule of this project stands; none if there is none.
pub fn read(context: &Context<'_>, shell: &Shell, which: &Which) -> anyhow::Result<Option<Schedule>> {
    let installed = if systemd::is_booted() { find(context, shell, which)? } else { None };
    match installed {
        Some(installed) => of_systemd(context, shell, installed).map(Some),
        None if which.user || which.unit.is_some() => Ok(None),
        None => of_cron(context, shell),
    }
}

fn of_systemd(context: &Context<'_>, shell: &Shell, installed: Installed) -> anyhow::Result<Schedule> {
    let again = installed.again();
    let Installed { scope, origin } = installed;
    let jobs = [("backup", origin.unit.clone()), ("drill", format!("{}-verify", origin.unit))];
    let files: Vec<String> =
        jobs.iter().flat_map(|(_, unit)| [format!("{unit}.timer"), format!("{unit}.service")]).collect();
    let states = Manager::new(scope, shell).states(&files)?;
    let jobs = jobs.into_iter().zip(states.chunks_exact(2));
    Ok(Schedule {
        scheduler: Scheduler::Systemd,
        unit: Some(origin.unit.clone()),
        scope: Some(scope),
        user: states.get(1).map(|service| service.get("User").to_string()).filter(|user| !user.is_empty()),
        program: Program { state: program::compare(&origin.program)?, path: origin.program },
        jobs: jobs.map(|((name, unit), states)| job(context, name, &unit, &states[0], &states[1])).collect(),
        again,
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
        enabled: timer.is_enabled() && timer.is_active(),
        running,
        next: timer.time("NextElapseUSecRealtime"),
        // systemd forgets with each start of the machine.
        last: last.or_else(|| recorded(context, name)),
    }
}

fn of_cron(context: &Context<'_>, shell: &Shell) -> anyhow::Result<Option<Schedule>> {
    let Some(cron) = cron::installed(context, shell) else { return Ok(None) };
    let again =
        Step::new(["cargo", "xtask", "install-cron", "--schedule"]).and(cron.schedules.first().cloned()).to_string();
    let jobs = ["backup", "drill"].into_iter().zip(cron.schedules).map(|(name, entry)| Job {
        name,
        entry,
        enabled: true,
        running: false,
        next: None,
        last: recorded(context, name),
    });
    Ok(Some(Schedule {
        scheduler: Scheduler::Cron,
        unit: None,
        scope: None,
        user: cron.user,
        jobs: jobs.collect(),
        program: Program { state: program::compare(&cron.program)?, path: cron.program },
        again,
    }))
}

/// The last run that the store knows of: the newest scheduled backup, the last drill. Where the store can't be read,
/// nothing is known.
fn recorded(context: &Context<'_>, name: &str) -> Option<Last> {
    let last = |at, duration_ms, ok, result: &str| Last {
        at,
        duration_ms: Some(duration_ms),
        ok,
        result: result.into(),
        exit_status: None,
    };
    if name == "drill" {
        let history = context.history().ok()?;
        let drill = history.lines().iter().rev().find(|line| line.command == Command::Drill)?;
        let ok = drill.outcome == Outcome::Ok;
        return Some(last(drill.at, drill.duration_ms, ok, if ok { "success" } else { "not passed" }));
    }
    let catalog = context.catalog().ok()?;
    let manifests = catalog.entries().iter().rev().filter_map(|entry| entry.manifest());
    let backup = manifests.into_iter().find(|manifest| manifest.trigger == Trigger::Timer)?;
    let result = match backup.status {
        Status::Complete => "success",
        Status::Partial => "partial",
        Status::Failed => "nothing saved",
    };
    Some(last(backup.created_at, backup.duration_ms, backup.status == Status::Complete, result))
}
