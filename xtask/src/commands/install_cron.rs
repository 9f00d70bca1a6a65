//! `install-cron` and `uninstall-cron`.

use anyhow::Context as _;
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::{Exit, Signals};
use crate::schedule::cron::{self, table};
use crate::step;
use crate::text::Tone;

pub fn install(context: &Context<'_>, args: &cli::InstallCron) -> anyhow::Result<Exit> {
    let shell = step::shell()?;
    Signals::catch_hangup().context("catch signals")?;
    let report = cron::install::install(context, &shell, args)?;
    let whose = report.user.as_ref().map_or("your crontab".into(), |user| format!("the crontab of {user}"));
    let done = match (args.dry_run, report.unchanged) {
        (true, _) => "dry run: nothing was changed".into(),
        (_, true) => format!("{whose} has the schedule already: nothing was changed"),
        _ => format!("{whose} has the schedule; what it says goes to {}", report.log.display()),
    };
    context.output.done(Tone::Good, &done);
    if let Some(problem) = table::not_running() {
        context.output.warn(&problem.what);
        context.output.hint(&problem.remedy);
    }
    context.output.json(&json!({ "dry_run": args.dry_run, "installed": report }))?;
    Ok(Exit::Done)
}

pub fn uninstall(context: &Context<'_>, args: &cli::UninstallCron) -> anyhow::Result<Exit> {
    let shell = step::shell()?;
    Signals::catch_hangup().context("catch signals")?;
    let removed = cron::install::uninstall(context, &shell, args.dry_run)?;
    context.output.done(
        Tone::Good,
        match (removed, args.dry_run) {
            (false, _) => "no crontab has a schedule for this project: there is nothing to remove",
            (true, true) => "dry run: nothing was changed",
            (true, false) => "the schedule is removed from the crontab; the backups are where they were",
        },
    );
    context.output.json(&json!({ "dry_run": args.dry_run, "removed": removed }))?;
    Ok(Exit::Done)
}
