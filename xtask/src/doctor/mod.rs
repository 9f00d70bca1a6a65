//! The checks of `doctor`: everything that a backup, a restore and the schedule depend on. They change nothing.

mod application;
mod finding;
mod increments;
mod schedule;
mod sources;
mod store;

use xshell::Shell;

use crate::cli::ScheduleChoice;
use crate::context::Context;
use crate::schedule::choice::as_maker;
use crate::schedule::timers;
pub use finding::{Finding, Verdict};

/// Makes every check, in the order in which data flows: settings, sources, store, schedule. `deep` reads whole databases.
/// With `broken` settings, checks that depend on them are left out.
pub fn examine(context: &Context<'_>, shell: &Shell, deep: bool, broken: Option<backup::Error>) -> Vec<Finding> {
    let schedule = timers::read(context, shell, &ScheduleChoice::default());
    let known = schedule.as_ref().ok().and_then(Option::as_ref);
    let mut findings = Vec::new();
    let is_broken = broken.is_some();
    if let Some(broken) = broken {
        findings.push(Finding::error("settings", &broken.into()));
    } else {
        findings.push(settings(context));
        findings.extend(sources::examine(context, deep));
        findings.extend(store::examine(context, shell, known));
        findings.extend(application::examine(context, shell));
    }
    if let Some(ask) = as_maker(context, shell) {
        for finding in findings.iter_mut().filter(|finding| finding.denied) {
            (finding.verdict, finding.hint) =
                (Verdict::Warning, Some(format!("run this as the backup user: {ask} doctor")));
        }
    }
    findings.extend(schedule::examine(context, shell, schedule, is_broken));
    findings
}

/// Checks that the backup folder suits `user`, who makes the backups.
pub fn backup_folder(context: &Context<'_>, shell: &Shell, user: Option<&str>) -> Finding {
    store::owner(context, shell, user)
}

fn settings(context: &Context<'_>) -> Finding {
    let detail = match &context.settings {
        Some(path) => format!("read from {}", path.display()),
        None => format!("the defaults, there is no {} in {}", crate::config::FILE, context.root.display()),
    };
    Finding::ok("settings", detail)
}
