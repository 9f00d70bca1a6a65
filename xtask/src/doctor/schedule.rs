//! Checks of the schedule, and of the clock that it goes by.

use std::fs;

use xshell::{Shell, cmd};

use super::Finding;
use crate::cli::Which;
use crate::context::Context;
use crate::schedule::program::Compared;
use crate::schedule::systemd::{self, Manager, Scope};
use crate::schedule::timers::{Job, Schedule, Scheduler};
use crate::schedule::{Installed, find, spec};
use crate::text::local;

pub fn examine(context: &Context<'_>, shell: &Shell, schedule: anyhow::Result<Option<Schedule>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match schedule {
        Err(error) => findings.push(Finding::error("schedule", &error)),
        Ok(None) => findings.push(Finding::failure(
            "schedule",
            "nothing is scheduled",
            "schedule it: cargo xtask install-timer (without systemd: install-cron)",
        )),
        Ok(Some(schedule)) => {
            findings.push(Finding::ok("schedule", schedule.name()));
            findings.extend(schedule.jobs.iter().map(|job| self::job(context, &schedule, job)));
            findings.push(program(&schedule));
            if schedule.scheduler == Scheduler::Systemd {
                findings.extend(
                    units(context, shell, &schedule.again).transpose().map(|found| Finding::of("units", found)),
                );
            }
        }
    }
    findings.push(clock(shell));
    findings
}

fn job(context: &Context<'_>, schedule: &Schedule, job: &Job) -> Finding {
    let check = format!("schedule: {}", job.name);
    if let Some(problem) = job.problem() {
        return Finding::failure(&check, problem, "see why: cargo xtask logs; then try again: cargo xtask run-now");
    }
    let last = match &job.last {
        None => "not run yet".to_string(),
        Some(last) => format!("last run {}: {}", local(last.at), last.outcome()),
    };
    match job.next {
        Some(next) if next > context.now => Finding::ok(&check, format!("next run {}; {last}", local(next))),
        _ if job.running => Finding::ok(&check, "running now"),
        _ if schedule.scheduler == Scheduler::Cron => Finding::ok(&check, format!("at {}; {last}", job.entry)),
        _ => {
            let detail = format!("{} will not run again", job.entry);
            Finding::failure(&check, detail, format!("start it: {}", schedule.again))
        }
    }
}

fn program(schedule: &Schedule) -> Finding {
    let (check, path) = ("installed program", schedule.program.path.display());
    let again = format!("replace it: {}", schedule.again);
    match schedule.program.state {
        Compared::Current => Finding::ok(check, format!("{path} is this program")),
        Compared::Older => Finding::warning(check, format!("{path} is older than this program"), again),
        Compared::Newer => Finding::warning(check, format!("{path} is another build than this program"), again),
        Compared::Missing => Finding::failure(check, format!("{path} is missing"), again),
    }
}

/// Whether the units are what would be installed today, and systemd has read them.
fn units(context: &Context<'_>, shell: &Shell, again: &str) -> anyhow::Result<Option<Finding>> {
    let Some(Installed { scope, origin }) = find(context, shell, &Which::default())? else { return Ok(None) };
    let manager = Manager::new(scope, shell);
    let folder = manager.unit_folder()?;
    let rendered = spec(context, shell, scope, origin.unit.clone(), origin.flags.clone())?.render()?;
    let differ =
        rendered.iter().filter(|unit| fs::read_to_string(folder.join(&unit.file)).ok().as_ref() != Some(&unit.text));
    let differ: Vec<&str> = differ.map(|unit| unit.file.as_str()).collect();
    let files: Vec<String> = origin.files().filter(|file| !file.contains('@')).collect();
    let stale = manager.states(&files)?.iter().any(|state| state.get("NeedDaemonReload") == "yes");
    let check = "units";
    Ok(Some(if !differ.is_empty() {
        let detail = format!("not as they would be installed now: {}", differ.join(", "));
        Finding::warning(check, detail, format!("see the difference: {again} --dry-run"))
    } else if stale {
        Finding::warning(
            check,
            "systemd has not read them since they changed",
            manager.systemctl(&["daemon-reload"]).to_string(),
        )
    } else if scope == Scope::User && !systemd::lingers(&manager.user()?) {
        let detail = "they run only while you are logged in";
        Finding::failure(check, detail, "loginctl enable-linger")
    } else {
        Finding::ok(check, "as they would be installed now")
    }))
}

fn clock(shell: &Shell) -> Finding {
    let check = "clock";
    let asked = cmd!(shell, "timedatectl show --property=NTPSynchronized --value").quiet().ignore_stderr().read();
    match asked.as_deref() {
        Ok("yes") => Finding::ok(check, "synchronised"),
        Ok("no") => Finding::warning(check, "not synchronised", "let the system set it: timedatectl set-ntp true"),
        _ => Finding::warning(
            check,
            "whether it is synchronised is not known: timedatectl doesn't say",
            "see that something sets the clock",
        ),
    }
}
