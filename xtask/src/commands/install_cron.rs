//! `install-cron` and `uninstall-cron`.

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::Signals;
use crate::output::Output;
use crate::report::Report;
use crate::schedule::cron::{install as cron, table};
use crate::schedule::problem::Problem;
use crate::step;
use crate::text::Tone;

/// A schedule that was written to a crontab, or would be.
#[derive(Debug)]
pub struct InstallCronSummary {
    dry_run: bool,
    installed: cron::Report,
    /// What keeps cron from starting it.
    problem: Option<Problem>,
}

pub fn install(context: &Context<'_>, args: &cli::InstallCron) -> anyhow::Result<InstallCronSummary> {
    let shell = step::shell()?;
    Signals::catch_hangup().context("catch signals")?;
    let installed = cron::install(context, &shell, args)?;
    Ok(InstallCronSummary { dry_run: args.dry_run, installed, problem: table::not_running() })
}

impl Report for InstallCronSummary {
    fn text(&self, output: &Output) {
        let cron::Report { user, log, unchanged, .. } = &self.installed;
        let whose = user.as_ref().map_or("your crontab".into(), |user| format!("the crontab of {user}"));
        let done = match (self.dry_run, unchanged) {
            (true, _) => "dry run: nothing was changed".into(),
            (_, true) => format!("{whose} has the schedule already: nothing was changed"),
            _ => format!("{whose} has the schedule; its output goes to {}", log.display()),
        };
        output.done(Tone::Good, &done);
        if let Some(every) = &self.installed.impossible {
            output.warn(&format!("cron can't make increments every {every}: none are scheduled"));
            output
                .hint("only systemd can: `install-timer`; cron can do whole minutes that divide an hour, such as 15m");
        }
        if let Some(problem) = &self.problem {
            output.warn(&problem.what);
            output.hint(&problem.remedy);
        }
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(json!({ "dry_run": self.dry_run, "installed": self.installed }))
    }
}

/// A schedule that was removed from a crontab, or would be.
#[derive(Debug, Serialize)]
pub struct UninstallCronSummary {
    dry_run: bool,
    removed: bool,
}

pub fn uninstall(context: &Context<'_>, args: &cli::UninstallCron) -> anyhow::Result<UninstallCronSummary> {
    let shell = step::shell()?;
    Signals::catch_hangup().context("catch signals")?;
    let removed = cron::uninstall(context, &shell, args.dry_run)?;
    Ok(UninstallCronSummary { dry_run: args.dry_run, removed })
}

impl Report for UninstallCronSummary {
    fn text(&self, output: &Output) {
        let done = match (self.removed, self.dry_run) {
            (false, _) => "no crontab has a schedule for this project: there is nothing to remove",
            (true, true) => "dry run: nothing was changed",
            (true, false) => "the schedule is removed from the crontab; the backups are where they were",
        };
        output.done(Tone::Good, done);
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(self)
    }
}
