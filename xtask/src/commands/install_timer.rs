//! `install-timer` and `uninstall-timer`.

use anyhow::Context as _;
use chrono::{DateTime, FixedOffset};
use serde::Serialize;
use serde_json::json;

use super::timer;
use crate::cli::{self, ScheduleChoice};
use crate::context::Context;
use crate::doctor::{self, Finding};
use crate::exit::Signals;
use crate::output::Output;
use crate::report::Report;
use crate::schedule::choice;
use crate::schedule::timer::{install, uninstall};
use crate::schedule::timers::{self, Schedule};
use crate::step;
use crate::text::Tone;

/// A timer that was installed, or would be.
#[derive(Debug)]
pub struct InstallTimerSummary {
    installed: install::Report,
    /// How it stands now; `None` after a dry run.
    state: Option<InstalledTimer>,
}

/// How a timer stands after it was installed.
#[derive(Debug)]
struct InstalledTimer {
    schedule: Option<Schedule>,
    now: DateTime<FixedOffset>,
    /// Whether the services can use the backup folder.
    backup_folder: Finding,
    /// Whether it waits for the next start of the machine.
    waits: bool,
    /// Whether it is in the user's own service manager.
    is_own: bool,
}

pub fn install(context: &Context<'_>, args: &cli::InstallTimer) -> anyhow::Result<InstallTimerSummary> {
    let shell = step::shell()?;
    Signals::catch_hangup().context("catch signals")?;
    let installed = install::install(context, &shell, args)?;
    if args.dry_run {
        return Ok(InstallTimerSummary { installed, state: None });
    }
    let which = ScheduleChoice { user: args.user, unit: Some(installed.unit.clone()) };
    let state = InstalledTimer {
        schedule: timers::read(context, &shell, &which)?,
        now: context.now,
        backup_folder: doctor::backup_folder(context, &shell, installed.user.as_deref()),
        waits: args.no_start,
        is_own: args.user,
    };
    Ok(InstallTimerSummary { installed, state: Some(state) })
}

impl Report for InstallTimerSummary {
    fn text(&self, output: &Output) {
        let Some(state) = &self.state else {
            let more = if output.is_verbose() { "" } else { "; -v shows the units" };
            return output.line(&format!("dry run: nothing was changed{more}"));
        };
        if let Some(schedule) = &state.schedule {
            timer::show(output, schedule, state.now);
        }
        let folder = &state.backup_folder;
        if folder.is_wrong() {
            output.warn(&folder.detail);
            folder.hint.iter().for_each(|hint| output.hint(hint));
        }
        show_end(output, &self.installed, state);
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        let schedule = self.state.as_ref().and_then(|state| state.schedule.as_ref());
        Some(json!({ "dry_run": self.state.is_none(), "installed": self.installed, "schedule": schedule }))
    }
}

fn show_end(output: &Output, installed: &install::Report, state: &InstalledTimer) {
    let install::Report { unit, user, unchanged, .. } = installed;
    if *unchanged {
        return output.done(Tone::Good, &format!("{unit}.timer is installed already: nothing was changed"));
    }
    let user = user.as_ref().map_or("you".into(), |user| format!("user {user}"));
    output.done(Tone::Good, &format!("{unit}.timer is installed and backs up as {user}"));
    let next = if state.waits { "it starts with the machine; now" } else { "try it" };
    let now = output.invocation().command(&["run-now"]).and(state.is_own.then_some("--user"));
    output.hint(&format!("{next}: {now}"));
}

/// A timer that was removed, or would be.
#[derive(Debug)]
pub struct UninstallTimerSummary {
    dry_run: bool,
    /// What its units' names begin with; `None` if there was no timer.
    unit: Option<String>,
    /// Files that were left as they are, in sentences.
    left: Vec<String>,
}

pub fn uninstall(context: &Context<'_>, args: &cli::UninstallTimer) -> anyhow::Result<UninstallTimerSummary> {
    let shell = step::shell()?;
    Signals::catch_hangup().context("catch signals")?;
    let installed = choice::find(context, &shell, &args.which)?;
    let left = match &installed {
        Some(installed) => uninstall::uninstall(context, &shell, installed, args.dry_run)?,
        None => Vec::new(),
    };
    let unit = installed.map(|installed| installed.origin.unit);
    Ok(UninstallTimerSummary { dry_run: args.dry_run, unit, left })
}

impl Report for UninstallTimerSummary {
    fn text(&self, output: &Output) {
        let Some(unit) = &self.unit else {
            return output.line("no timer is installed for this project: there is nothing to remove");
        };
        for left in &self.left {
            output.note(&format!("left as it is: {left}"));
        }
        let removed = format!("{unit}.timer is removed; the backups are where they were");
        output.done(Tone::Good, if self.dry_run { "dry run: nothing was changed" } else { &removed });
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(json!({ "dry_run": self.dry_run, "removed": self.unit }))
    }
}
