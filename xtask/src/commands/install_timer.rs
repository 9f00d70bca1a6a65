//! `install-timer` and `uninstall-timer`.

use anyhow::Context as _;
use serde_json::json;

use super::timer;
use crate::cli::{self, Which};
use crate::context::Context;
use crate::doctor;
use crate::exit::{Exit, Signals};
use crate::schedule::timer::install::{self, Report};
use crate::schedule::timer::uninstall::uninstall as uninstall_timer;
use crate::schedule::{timers, which};
use crate::step;
use crate::text::Tone;

pub fn install(context: &Context<'_>, args: &cli::InstallTimer) -> anyhow::Result<Exit> {
    let shell = step::shell()?;
    Signals::catch_hangup().context("catch signals")?;
    let report = install::install(context, &shell, args)?;
    if args.dry_run {
        let more = if context.output.is_verbose() { "" } else { "; -v shows the units" };
        context.output.line(&format!("dry run: nothing was changed{more}"));
        context.output.json(&json!({ "dry_run": true, "installed": report, "schedule": null }))?;
        return Ok(Exit::Done);
    }
    let which = Which { user: args.user, unit: Some(report.unit.clone()) };
    let schedule = timers::read(context, &shell, &which)?;
    if let Some(schedule) = &schedule {
        timer::show(context, schedule);
    }
    let folder = doctor::backup_folder(context, &shell, report.user.as_deref());
    if folder.is_wrong() {
        context.output.warn(&folder.detail);
        if let Some(hint) = &folder.hint {
            context.output.hint(hint);
        }
    }
    say(context, args, &report);
    context.output.json(&json!({ "dry_run": false, "installed": report, "schedule": schedule }))?;
    Ok(Exit::Done)
}

fn say(context: &Context<'_>, args: &cli::InstallTimer, report: &Report) {
    let Report { unit, user, unchanged, .. } = report;
    if *unchanged {
        context.output.done(Tone::Good, &format!("{unit}.timer is installed already: nothing was changed"));
        return;
    }
    let user = user.as_ref().map_or("you".into(), |user| format!("user {user}"));
    context.output.done(Tone::Good, &format!("{unit}.timer is installed and backs up as {user}"));
    let next = if args.no_start { "it starts with the machine; now" } else { "try it" };
    let now = context.command(&["run-now"]).and(args.user.then_some("--user"));
    context.output.hint(&format!("{next}: {now}"));
}

pub fn uninstall(context: &Context<'_>, args: &cli::UninstallTimer) -> anyhow::Result<Exit> {
    let shell = step::shell()?;
    Signals::catch_hangup().context("catch signals")?;
    let installed = which::find(context, &shell, &args.which)?;
    match &installed {
        None => context.output.line("no timer is installed for this project: there is nothing to remove"),
        Some(installed) => {
            let left = uninstall_timer(context, &shell, installed, args.dry_run)?;
            for left in left {
                context.output.note(&format!("left as it is: {left}"));
            }
            let unit = &installed.origin.unit;
            let done = format!("{unit}.timer is removed; the backups are where they were");
            let done = if args.dry_run { "dry run: nothing was changed" } else { &done };
            context.output.done(Tone::Good, done);
        }
    }
    let unit = installed.as_ref().map(|installed| &installed.origin.unit);
    context.output.json(&json!({ "dry_run": args.dry_run, "removed": unit }))?;
    Ok(Exit::Done)
}
