//! Installing the schedule into a crontab, and removing it: for hosts without systemd.
//!
//! The jobs are those of the user that the backup should run as. Who that is installs them for themselves; root does it
//! for others.

use std::fs;
use std::path::{Path, PathBuf};

use backup::{Error, ErrorKind};
use serde::Serialize;
use xshell::Shell;

use super::crontab::{self, Block, Origin};
use super::install::{
    allowed_user, make_folder, require_choice_of_root, scheduled_already, show_difference, temporary_folder,
};
use super::program;
use super::steps::{Step, Steps, word};
use super::systemd::{self, Manager, Scope};
use super::timers::Problem;
use super::units::Identity;
use super::{arguments, find, identity, lock, slug};
use crate::cli::{self, Which};
use crate::context::Context;

/// What an installation did, or would do.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whose crontab it is, if it is not the own one.
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
    /// Where the output goes.
    pub log: PathBuf,
}

/// A crontab: whose, and what is in it; nothing if there is none.
struct Crontab {
    user: Option<String>,
    sudo: bool,
    content: Option<Vec<u8>>,
}

/// Installs the block.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the schedule or what is there can't be used; [`ErrorKind::Locked`]; a step that
/// failed.
pub fn install(context: &Context<'_>, shell: &Shell, args: &cli::InstallCron) -> anyhow::Result<Report> {
    let _lock = lock(context)?;
    let scope = if systemd::is_root() { Scope::System } else { Scope::User };
    let manager = Manager::new(scope, shell);
    if systemd::is_root() {
        require_choice_of_root(context, shell, None, "")?;
    }
    let user = user(context, &manager, args.allow_root)?;
    if let Some(timer) = find(context, shell, &Which::default())? {
        let by = format!("{}.timer", timer.origin.unit);
        return Err(scheduled_already(&by, &context.command(&["uninstall-timer"])));
    }
    let program = program::path(scope, &slug(context)?)?;
    program::require_own(&program, &context.root)?;
    let old = Crontab::read(shell, user.clone(), false)?;
    let content = old.content.clone().unwrap_or_default();
    let block = block(context, &program, args.schedule.clone(), &content)?;
    let new = crontab::with_block(&content, &block)?;
    show_difference(context, "the crontab", &String::from_utf8_lossy(&content), &String::from_utf8_lossy(&new));

    let temporary = temporary_folder(&slug(context)?)?;
    let mut steps = Steps::new(shell, context.output, args.dry_run);
    let log = log(context);
    let made = make_folder(&manager, user.as_deref(), &mut steps, log.parent().unwrap_or(&context.root))?;
    let copied = program::install(&mut steps, &manager, &program, &context.root, temporary.path())?;
    let unchanged = new == content;
    if !unchanged {
        steps.run(&old.replace(new))?;
    }
    steps.finish();
    Ok(Report { user, program, lines: block.lines, log, unchanged: unchanged && !copied && !made })
}

/// Removes the block. `false` if there is none.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the block has no end; [`ErrorKind::Locked`]; a step that failed.
pub fn uninstall(context: &Context<'_>, shell: &Shell, dry_run: bool) -> anyhow::Result<bool> {
    let _lock = lock(context)?;
    let old = Crontab::read(shell, whose(context, shell), false)?;
    let content = old.content.clone().unwrap_or_default();
    let new = crontab::without_block(&content, &context.root)?;
    if new == content {
        return Ok(false);
    }
    let program = crontab::block(&content, &context.root)?.map(|block| block.origin.program);
    let mut steps = Steps::new(shell, context.output, dry_run);
    if let Some(program) = program {
        // Root's own work takes root to remove.
        let scope = if program.starts_with("/usr/local") { Scope::System } else { Scope::User };
        program::remove(&mut steps, &Manager::new(scope, shell), &program, &context.root)?;
    }
    steps.run(&if new.is_empty() { old.remove() } else { old.replace(new) })?;
    steps.finish();
    Ok(true)
}

/// Names of programs that read crontabs.
const DAEMONS: [&str; 4] = ["cron", "crond", "fcron", "bcron-sched"];

/// What turns crontabs into timers, where that is systemd-cron's part.
const GENERATOR: &str = "/usr/lib/systemd/system-generators/systemd-crontab-generator";

/// Whether there is something that reads crontabs. None if that can't be seen: `/proc` may show own processes only.
pub fn is_running() -> Option<bool> {
    if systemd::is_booted() && Path::new(GENERATOR).exists() {
        return Some(true);
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut names = processes.filter_map(|process| fs::read_to_string(process.path().join("comm")).ok());
    let found = names.any(|name| DAEMONS.contains(&name.trim_end()));
    (found || Path::new("/proc/1/comm").exists()).then_some(found)
}

/// That nothing reads the crontab, if so.
pub fn not_running() -> Option<Problem> {
    let start = if systemd::is_booted() { "systemctl enable --now cron" } else { "service cron start" };
    (is_running() == Some(false)).then(|| Problem {
        what: "no cron is running, and without one a crontab schedules nothing".into(),
        remedy: format!("start it: {start}"),
    })
}

/// What is installed in the crontab that [`install`] would put it into. None where there is no cron, too.
pub fn installed(context: &Context<'_>, shell: &Shell) -> Option<Installed> {
    installed_for(context, shell, whose(context, shell).as_deref(), false)
}

/// The same in the crontab of `user`, as far as it can be seen: with `sudo`, if it may ask for that.
pub fn installed_for(context: &Context<'_>, shell: &Shell, user: Option<&str>, ask_sudo: bool) -> Option<Installed> {
    let own = user.is_none_or(|user| Manager::new(Scope::User, shell).user().is_ok_and(|own| own == user));
    let sudo = !own && !systemd::is_root();
    if sudo && !ask_sudo {
        return None;
    }
    let user = user.filter(|_| !own).map(str::to_string);
    let content = Crontab::read(shell, user.clone(), sudo).ok()?.content?;
    let Block { origin, lines } = crontab::block(&content, &context.root).ok()??;
    Some(Installed {
        user,
        schedules: lines.iter().map(|line| crontab::schedule(line).to_string()).collect(),
        program: origin.program,
        log: log(context),
    })
}

impl Crontab {
    fn read(shell: &Shell, user: Option<String>, sudo: bool) -> anyhow::Result<Self> {
        let mut crontab = Self { user, sudo, content: None };
        let command = crontab.step("-l").expression(shell).stdout_capture().stderr_capture();
        let output = command.run().map_err(|_| {
            Error::new(ErrorKind::Io, "there is no cron here: no command `crontab`").with_hint("apt-get install cron")
        })?;
        if output.status.success() {
            crontab.content = Some(output.stdout);
            return Ok(crontab);
        }
        // Told apart from a refusal by its words only; the exit code is the same.
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        anyhow::ensure!(
            said.contains("no crontab for") || said.contains("No such file"),
            "`crontab -l` failed: {said}"
        );
        Ok(crontab)
    }

    fn step(&self, last: &str) -> Step {
        let user = self.user.iter().flat_map(|user| ["-u", user]);
        Step::new(["crontab"].into_iter().chain(user).chain([last])).sudo_unless(!self.sudo)
    }

    fn replace(&self, content: Vec<u8>) -> Step {
        self.step("-").reading(content)
    }

    fn remove(&self) -> Step {
        self.step("-r")
    }
}

/// Whose crontab root chooses; none is the own one.
fn whose(context: &Context<'_>, shell: &Shell) -> Option<String> {
    systemd::is_root().then(|| identity(context, shell, None).ok()?.user()).flatten()
}

/// Whose crontab it goes into; none is the own one.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if that is root and nobody said that it may be, or somebody else, whose crontab only root
/// can change.
fn user(context: &Context<'_>, manager: &Manager<'_>, allow_root: bool) -> anyhow::Result<Option<String>> {
    let shell = manager.shell;
    let identity = identity(context, shell, None)?;
    if systemd::is_root() {
        return allowed_user(context, shell, &identity, allow_root);
    }
    let (wanted, own) = (identity.user(), manager.user()?);
    if wanted.as_ref().is_some_and(|wanted| *wanted != own) {
        let wanted = wanted.unwrap_or_default();
        let message = format!("the jobs of {} are {wanted}'s, and you are {own}", context.root.display());
        let program = std::env::current_exe().unwrap_or_else(|_| "xtask".into());
        let words = ["sudo", word(&program)?, "--root", word(&context.root)?, "install-cron"];
        return Err(Error::new(ErrorKind::InvalidInput, message)
            .with_hint(format!("install them as {wanted}, or as root: {}", Step::new(words)))
            .into());
    }
    allowed_user(context, shell, &Identity::User, allow_root)
}

fn log(context: &Context<'_>) -> PathBuf {
    context.root.join("logs/backup.log")
}

/// The block, with the schedule that was given, or remembered, or set.
fn block(context: &Context<'_>, program: &Path, given: Option<String>, crontab: &[u8]) -> anyhow::Result<Block> {
    let earlier = crontab::block(crontab, &context.root)?.and_then(|block| block.origin.schedule);
    let schedule = given.or(earlier);
    let config = &context.config.schedule;
    let times = schedule.as_deref().unwrap_or(&config.cron);
    let lines = vec![
        line(context, times, program, "backup --scheduled")?,
        line(context, &config.drill_cron, program, "drill")?,
    ];
    let origin = Origin { root: context.root.clone(), program: program.to_path_buf(), schedule };
    Ok(Block { origin, lines })
}

fn line(context: &Context<'_>, schedule: &str, program: &Path, job: &str) -> anyhow::Result<String> {
    let job = format!("--lock-wait 15m {job}");
    let words = [word(program)?.to_string()].into_iter().chain(arguments(context)?);
    let words: Vec<String> = words.chain(job.split(' ').map(str::to_string)).collect();
    Ok(crontab::line(schedule, &words, word(&log(context))?)?)
}
