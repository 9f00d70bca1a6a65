//! Checks of the schedule and of the clock.

use xshell::{Shell, cmd};

use super::finding::Finding;
use crate::cli::ScheduleChoice;
use crate::context::Context;
use crate::schedule::choice::require;
use crate::schedule::cron::table;
use crate::schedule::problem::Problem;
use crate::schedule::program::CopyState;
use crate::schedule::spec::spec;
use crate::schedule::timer::installation::{Installation, read_unit, unwanted};
use crate::schedule::timers::{Job, Schedule, Scheduler};
use crate::schedule::units::Unit;
use crate::systemd::manager::Manager;
use crate::systemd::{self, Scope};
use crate::text::local;

/// Checks the schedule and the clock. With `broken` settings, the units can't be compared with what they should be.
pub fn examine(
    context: &Context<'_>,
    shell: &Shell,
    schedule: anyhow::Result<Option<Schedule>>,
    broken: bool,
) -> Vec<Finding> {
    let mut findings = match schedule {
        Err(error) => vec![Finding::error("schedule", &error)],
        Ok(None) => vec![Finding::failure(
            "schedule",
            "nothing is scheduled, as far as you can see",
            format!("schedule it: {}; without systemd: `install-cron`", context.command(&["install-timer"])),
        )],
        Ok(Some(schedule)) => installed(context, shell, &schedule, broken),
    };
    findings.push(clock(shell));
    findings
}

fn installed(context: &Context<'_>, shell: &Shell, schedule: &Schedule, broken: bool) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("schedule", schedule.name())];
    findings.extend(schedule.jobs.iter().map(job));
    findings.push(program(schedule));
    match schedule.scheduler {
        Scheduler::Cron => findings.push(cron(schedule)),
        Scheduler::Systemd if broken => {}
        Scheduler::Systemd => findings.push(Finding::of("units", units(context, shell, &schedule.again))),
    }
    findings
}

fn job(job: &Job) -> Finding {
    let check = format!("schedule: {}", job.name);
    if let Some(Problem { what, remedy }) = &job.problem {
        return Finding::failure(&check, what, remedy);
    }
    let last = match &job.last {
        None => "not run yet".to_string(),
        Some(last) => format!("last run {}: {}", local(last.at), last.outcome()),
    };
    match job.next {
        Some(next) => Finding::ok(&check, format!("next run {}; {last}", local(next))),
        None if job.running => Finding::ok(&check, "running now"),
        None => Finding::ok(&check, format!("at {}; {last}", job.entry)),
    }
}

fn program(schedule: &Schedule) -> Finding {
    let (check, path) = ("installed program", schedule.program.path.display());
    let again = format!("replace it: {}", schedule.again);
    match schedule.program.state {
        CopyState::Current => Finding::ok(check, format!("{path} is this program")),
        CopyState::Older => Finding::warning(check, format!("{path} is older than this program"), again),
        CopyState::Newer => Finding::warning(check, format!("{path} is another build than this program"), again),
        CopyState::Missing => Finding::failure(check, format!("{path} is missing"), again),
    }
}

/// Whether a cron daemon reads the crontab.
fn cron(schedule: &Schedule) -> Finding {
    let check = "cron";
    match (&schedule.problem, table::is_running()) {
        (Some(Problem { what, remedy }), _) => Finding::failure(check, what, remedy),
        (None, Some(_)) => Finding::ok(check, "runs"),
        (None, None) => Finding::warning(
            check,
            "can't see whether one is running: /proc shows only your own processes",
            "check as root: ps -C cron",
        ),
    }
}

/// Whether the units are as they would be installed now, and systemd has read them.
fn units(context: &Context<'_>, shell: &Shell, again: &str) -> anyhow::Result<Finding> {
    let (check, installation) = ("units", require(context, shell, &ScheduleChoice::default())?);
    let Installation { scope, origin, older, .. } = &installation;
    let manager = Manager::new(*scope, shell);
    if !older.is_empty() {
        let names: Vec<&str> = older.iter().map(|unit| unit.file.as_str()).collect();
        let detail = format!("from an older version: {}", names.join(", "));
        return Ok(Finding::warning(check, detail, format!("renew it: {again}")));
    }
    let differ = different(context, &manager, &installation)?;
    let files: Vec<String> = origin.files().filter(|file| !file.contains('@')).collect();
    let stale = manager.states(&files)?.iter().any(|state| state.get("NeedDaemonReload") == "yes");
    Ok(if !differ.is_empty() {
        let detail = format!("not as they would be installed now: {}", differ.join(", "));
        Finding::warning(check, detail, format!("see the difference: {again} --dry-run"))
    } else if stale {
        Finding::warning(check, "systemd has not reloaded them since they changed", format!("reload them: {again}"))
    } else if *scope == Scope::User && !systemd::lingers(&manager.user()?) {
        Finding::failure(check, "they run only while you are logged in", "loginctl enable-linger")
    } else {
        Finding::ok(check, "as they would be installed now")
    })
}

/// Names of the units that are not as they would be installed now.
fn different(context: &Context<'_>, manager: &Manager<'_>, installation: &Installation) -> anyhow::Result<Vec<String>> {
    let (folder, origin) = (manager.unit_folder()?, &installation.origin);
    let units = spec(context, manager.shell, manager.scope, origin.unit.clone(), origin.flags.clone())?.render()?;
    let differs = |unit: &&Unit| read_unit(&folder.join(&unit.file)).ok().as_ref() != Some(&unit.text);
    let differ = units.iter().filter(differs).map(|unit| unit.file.clone());
    let unwanted = unwanted(&folder, origin, |file| units.iter().any(|unit| unit.file == file));
    Ok(differ.chain(unwanted).collect())
}

fn clock(shell: &Shell) -> Finding {
    let check = "clock";
    let asked = cmd!(shell, "timedatectl show --property=NTPSynchronized --value").quiet().ignore_stderr().read();
    match asked.as_deref() {
        Ok("yes") => Finding::ok(check, "synchronised"),
        Ok("no") => Finding::warning(check, "not synchronised", "let the system set it: timedatectl set-ntp true"),
        _ => Finding::warning(
            check,
            "unknown whether it is synchronised: timedatectl doesn't say",
            "make sure that something sets the clock",
        ),
    }
}
