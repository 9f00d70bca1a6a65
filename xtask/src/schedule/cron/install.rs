//! Installing the schedule into a crontab, and removing it: for hosts without systemd.
//!
//! The jobs go into the crontab of the user that the backup runs as. That user can install them, or root.

use std::path::{Path, PathBuf};
use std::time::Duration;

use backup::{Error, ErrorKind};
use serde::Serialize;
use xshell::Shell;

use super::block::{self, Block, Origin};
use super::table::{Crontab, log, whose};
use crate::cli::{self, ScheduleChoice};
use crate::context::Context;
use crate::schedule::choice::find;
use crate::schedule::conflict::scheduled_already;
use crate::schedule::identity::{allowed_user, identity, require_choice_of_root};
use crate::schedule::lock::lock;
use crate::schedule::spec::{arguments, slug};
use crate::schedule::steps::Steps;
use crate::schedule::units::Identity;
use crate::schedule::{difference, folders, program};
use crate::step::word;
use crate::systemd::Scope;
use crate::systemd::manager::Manager;
use crate::systemd::sudo::this_command;
use crate::user::account::is_root;

/// The changes of an installation, or of a dry run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The crontab's user, if not the current user.
    pub user: Option<String>,
    /// The installed copy of this program.
    pub program: PathBuf,
    /// The block's lines.
    pub lines: Vec<String>,
    /// Where the output goes.
    pub log: PathBuf,
    /// How often increments should be made, if cron can't do that.
    pub impossible: Option<String>,
    /// Whether nothing had to be done.
    pub unchanged: bool,
}

/// Installs the block.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the schedule or what is there can't be used; [`ErrorKind::Locked`]; a step that
/// failed.
pub fn install(context: &Context<'_>, shell: &Shell, args: &cli::InstallCron) -> anyhow::Result<Report> {
    let _lock = lock(context)?;
    let scope = if is_root() { Scope::System } else { Scope::User };
    let manager = Manager::new(scope, shell);
    let user = allowed(context, &manager, args)?;
    let program = program::path(scope, &slug(context)?)?;
    program::require_own(&program, &context.root)?;
    let old = Crontab::read(shell, user.clone(), false)?;
    let content = old.content.clone().unwrap_or_default();
    let block = block(context, &program, args.schedule.clone(), &content)?;
    let new = block::with_block(&content, &block)?;
    difference::show(context.output, "the crontab", &String::from_utf8_lossy(&content), &String::from_utf8_lossy(&new));

    let mut steps = Steps::new(&manager, context.output, &slug(context)?, args.dry_run)?;
    let log = log(context);
    let made = folders::make_private(&mut steps, user.as_deref(), log.parent().unwrap_or(&context.root))?;
    let copied = program::install(&mut steps, &program, &context.root)?;
    let unchanged = new == content;
    if !unchanged {
        steps.run(&old.replace(new))?;
    }
    steps.finish();
    let every = context.config.increments.every.filter(|every| minutes(*every).is_none());
    let impossible = every.map(|every| humantime::format_duration(every).to_string());
    Ok(Report { user, program, lines: block.lines, log, impossible, unchanged: unchanged && !copied && !made })
}

/// The user whose crontab it may go into; none is the current user.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it would be root's without `--allow-root`, or if systemd schedules the project.
fn allowed(context: &Context<'_>, manager: &Manager<'_>, args: &cli::InstallCron) -> anyhow::Result<Option<String>> {
    if is_root() {
        require_choice_of_root(context, manager.shell, None, "")?;
    }
    let user = user(context, manager, args.allow_root)?;
    let Some(timer) = find(context, manager.shell, &ScheduleChoice::default())? else { return Ok(user) };
    let by = format!("{}.timer", timer.origin.unit);
    Err(scheduled_already(&by, &context.command(&["uninstall-timer"])))
}

/// Removes the block. `false` if there is none.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the block has no end; [`ErrorKind::Locked`]; a step that failed.
pub fn uninstall(context: &Context<'_>, shell: &Shell, dry_run: bool) -> anyhow::Result<bool> {
    let _lock = lock(context)?;
    let old = Crontab::read(shell, whose(context, shell), false)?;
    let content = old.content.clone().unwrap_or_default();
    let new = block::without_block(&content, &context.root)?;
    if new == content {
        return Ok(false);
    }
    let program = block::block(&content, &context.root)?.map(|block| block.origin.program);
    // Only root can remove root's files.
    let is_roots = program.as_ref().is_some_and(|program| program.starts_with("/usr/local"));
    let manager = Manager::new(if is_roots { Scope::System } else { Scope::User }, shell);
    let mut steps = Steps::new(&manager, context.output, "uninstall-cron", dry_run)?;
    if let Some(program) = program {
        program::remove(&mut steps, &program, &context.root)?;
    }
    steps.run(&if new.is_empty() { old.remove() } else { old.replace(new) })?;
    steps.finish();
    Ok(true)
}

/// The user whose crontab it goes into; none is the current user.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if that is root without `--allow-root`, or another user: only root can change that crontab.
fn user(context: &Context<'_>, manager: &Manager<'_>, allow_root: bool) -> anyhow::Result<Option<String>> {
    let shell = manager.shell;
    let identity = identity(context, shell, None)?;
    if is_root() {
        return allowed_user(context, shell, &identity, allow_root);
    }
    let (wanted, own) = (identity.user(), manager.user()?);
    if wanted.as_ref().is_some_and(|wanted| *wanted != own) {
        let wanted = wanted.unwrap_or_default();
        let message = format!("the jobs of {} are {wanted}'s, and you are {own}", context.root.display());
        return Err(Error::new(ErrorKind::InvalidInput, message)
            .with_hint(format!("install them as {wanted}, or as root: {}", this_command(context).sudo_unless(false)))
            .into());
    }
    allowed_user(context, shell, &Identity::User, allow_root)
}

/// The block, with the schedule that was given, or remembered, or set.
fn block(context: &Context<'_>, program: &Path, given: Option<String>, crontab: &[u8]) -> anyhow::Result<Block> {
    let earlier = block::block(crontab, &context.root)?.and_then(|block| block.origin.schedule);
    let schedule = given.or(earlier);
    let config = &context.config.schedule;
    let times = schedule.as_deref().unwrap_or(&config.cron);
    let mut lines = vec![
        line(context, times, program, "backup --scheduled")?,
        line(context, &config.drill_cron, program, "drill")?,
    ];
    if let Some(times) = context.config.increments.every.and_then(minutes) {
        lines.push(line_of_increments(context, &times, program)?);
    }
    let origin = Origin { root: context.root.clone(), program: program.to_path_buf(), schedule };
    Ok(Block { origin, lines })
}

fn line(context: &Context<'_>, schedule: &str, program: &Path, job: &str) -> anyhow::Result<String> {
    let words = words(context, program, &format!("--lock-wait 15m {job}"))?;
    Ok(block::line(schedule, &words, word(&log(context))?)?)
}

/// It doesn't wait long for another run: the next one comes soon.
fn line_of_increments(context: &Context<'_>, schedule: &str, program: &Path) -> anyhow::Result<String> {
    let words = words(context, program, "--quiet backup --incremental --scheduled")?;
    Ok(block::frequent_line(schedule, &words, word(&log(context))?)?)
}

fn words(context: &Context<'_>, program: &Path, job: &str) -> anyhow::Result<Vec<String>> {
    let words = [word(program)?.to_string()].into_iter().chain(arguments(context)?);
    Ok(words.chain(job.split(' ').map(str::to_string)).collect())
}

/// The times in a crontab that come so often: for whole minutes that divide an hour.
fn minutes(every: Duration) -> Option<String> {
    const HOUR: u64 = 60 * 60;
    let minutes = Some(every.as_secs() / 60).filter(|minutes| Duration::from_secs(minutes * 60) == every)?;
    match minutes {
        1 => Some("* * * * *".into()),
        60 => Some("0 * * * *".into()),
        _ => HOUR.is_multiple_of(minutes * 60).then(|| format!("*/{minutes} * * * *")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cron_can_do_whole_minutes_that_divide_an_hour() {
        for (seconds, times) in [(60, "* * * * *"), (15 * 60, "*/15 * * * *"), (60 * 60, "0 * * * *")] {
            assert_eq!(minutes(Duration::from_secs(seconds)).as_deref(), Some(times));
        }
        for seconds in [1, 59, 90, 7 * 60, 120 * 60] {
            assert_eq!(minutes(Duration::from_secs(seconds)), None, "{seconds}");
        }
        assert_eq!(minutes(Duration::from_millis(60_500)), None);
    }
}
