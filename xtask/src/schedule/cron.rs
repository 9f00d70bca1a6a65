//! Installing the schedule into a crontab, and removing it: for hosts without systemd.
//!
//! Run by root, it is the crontab of the user that the backup should run as; run by anybody else, their own.

use std::path::{Path, PathBuf};

use backup::{Error, ErrorKind};
use serde::Serialize;
use xshell::Shell;

use super::install::{allowed_user, make_folder, require_free, show_difference, temporary_folder};
use super::program::{self, Compared};
use super::steps::{Step, Steps, word};
use super::systemd::{self, Manager, Scope};
use super::units::Identity;
use super::{arguments, crontab, identity, slug};
use crate::cli;
use crate::context::Context;

/// What an installation did, or would do.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whose crontab it is; the own one, if it is not root's to choose.
    pub user: Option<String>,
    /// The installed copy of this program.
    pub program: PathBuf,
    /// The block's lines.
    pub lines: Vec<String>,
    /// Where the output goes.
    pub log: PathBuf,
    /// Whether nothing had to be done.
    pub unchanged: bool,
}

/// What is installed.
#[derive(Debug)]
pub struct Installed {
    /// Whose crontab it is in; none for the own one.
    pub user: Option<String>,
    /// When each job runs.
    pub schedules: Vec<String>,
    /// The installed copy of this program.
    pub program: PathBuf,
}

/// A crontab: whose, and what is in it; nothing if there is none.
struct Crontab {
    user: Option<String>,
    content: Option<Vec<u8>>,
}

/// Installs the block.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the schedule or what is there can't be used; a step that failed.
pub fn install(context: &Context<'_>, shell: &Shell, args: &cli::InstallCron) -> anyhow::Result<Report> {
    let who = who(context, shell)?;
    let user = allowed_user(context, shell, &who, args.allow_root)?;
    let manager = Manager::new(scope(), shell);
    let program = program::path(manager.scope, &slug(context)?)?;
    require_free(context, shell, &program, None)?;
    let log = context.root.join("logs/backup.log");
    let schedule = args.schedule.as_deref().unwrap_or(&context.config.schedule.cron);
    let lines = [
        line(context, schedule, &program, "backup --scheduled", &log)?,
        line(context, &context.config.schedule.drill_cron, &program, "drill", &log)?,
    ];
    let old = Crontab::read(shell, user)?;
    let content = old.content.clone().unwrap_or_default();
    let new = crontab::with_block(&content, &context.root, &lines)?;
    show_difference(context, "the crontab", &String::from_utf8_lossy(&content), &String::from_utf8_lossy(&new));

    let temporary = temporary_folder(&slug(context)?)?;
    let mut steps = Steps::new(shell, context.output, args.dry_run);
    let made_folder = make_folder(&manager, &who, &mut steps, log.parent().unwrap_or(&context.root))?;
    let copy = program::compare(&program)?;
    if copy != Compared::Current {
        program::install(&mut steps, &manager, &program, &temporary)?;
    }
    let unchanged = new == content;
    if !unchanged {
        steps.run(&old.replace(new))?;
    }
    steps.finish();
    Ok(Report {
        user: old.user,
        program,
        lines: lines.into(),
        log,
        unchanged: unchanged && copy == Compared::Current && !made_folder,
    })
}

/// Removes the block. `false` if there is none.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the block has no end; a step that failed.
pub fn uninstall(context: &Context<'_>, shell: &Shell, dry_run: bool) -> anyhow::Result<bool> {
    let old = Crontab::read(shell, who(context, shell)?.user())?;
    let content = old.content.clone().unwrap_or_default();
    let new = crontab::without_block(&content, &context.root)?;
    if new == content {
        return Ok(false);
    }
    let mut steps = Steps::new(shell, context.output, dry_run);
    steps.run(&if new.is_empty() { old.remove() } else { old.replace(new) })?;
    program::remove(&mut steps, &Manager::new(scope(), shell), &program::path(scope(), &slug(context)?)?)?;
    steps.finish();
    Ok(true)
}

/// The block of this project in the crontab that [`install`] would put it into. None where there is no cron, too.
pub fn installed(context: &Context<'_>, shell: &Shell) -> Option<Installed> {
    let user = who(context, shell).ok()?.user();
    let content = Crontab::read(shell, user.clone()).ok()?.content?;
    let lines = crontab::block(&content, &context.root).ok()??;
    Some(Installed {
        user,
        schedules: lines.iter().map(|line| crontab::schedule(line).to_string()).collect(),
        program: program::path(scope(), &slug(context).ok()?).ok()?,
    })
}

impl Crontab {
    fn read(shell: &Shell, user: Option<String>) -> anyhow::Result<Self> {
        let command = shell.cmd("crontab").args(of(user.as_deref())).arg("-l").quiet().ignore_status();
        let output = command.output().map_err(|_| {
            Error::new(ErrorKind::Io, "there is no cron here: no command `crontab`").with_hint("apt-get install cron")
        })?;
        if output.status.success() {
            return Ok(Self { user, content: Some(output.stdout) });
        }
        // Told apart from a refusal by its words only; the exit code is the same.
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        anyhow::ensure!(
            said.contains("no crontab for") || said.contains("No such file"),
            "`crontab -l` failed: {said}"
        );
        Ok(Self { user, content: None })
    }

    fn step(&self, last: &str) -> Step {
        Step::new(["crontab"].into_iter().chain(of(self.user.as_deref())).chain([last]))
    }

    fn replace(&self, content: Vec<u8>) -> Step {
        self.step("-").reading(content)
    }

    fn remove(&self) -> Step {
        self.step("-r")
    }
}

/// The flag for another user's crontab.
fn of(user: Option<&str>) -> impl Iterator<Item = &str> {
    user.into_iter().flat_map(|user| ["-u", user])
}

/// Who the jobs run as.
fn who(context: &Context<'_>, shell: &Shell) -> anyhow::Result<Identity> {
    if systemd::is_root() { identity(context, shell, None) } else { Ok(Identity::User) }
}

/// Whose the installed program is.
fn scope() -> Scope {
    if systemd::is_root() { Scope::System } else { Scope::User }
}

fn line(context: &Context<'_>, schedule: &str, program: &Path, job: &str, log: &Path) -> anyhow::Result<String> {
    let job = format!("--lock-wait 15m {job}");
    let words = [word(program)?.to_string()].into_iter().chain(arguments(context)?);
    let words: Vec<String> = words.chain(job.split(' ').map(str::to_string)).collect();
    Ok(crontab::line(schedule, &words, word(log)?)?)
}
