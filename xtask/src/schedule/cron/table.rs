//! The crontab of the user who makes the backups: the jobs of a project in it, and whether a daemon reads it.

use std::fs;
use std::path::{Path, PathBuf};

use backup::{Error, ErrorKind};
use xshell::Shell;

use super::block::{self, Block};
use crate::context::Context;
use crate::schedule::identity::identity;
use crate::schedule::problem::Problem;
use crate::step::Step;
use crate::systemd::manager::Manager;
use crate::systemd::{self, Scope};
use crate::user::account::is_root;

/// The jobs of a project in a crontab.
#[derive(Debug)]
pub struct CronJobs {
    /// The crontab's user; none for the current user.
    pub user: Option<String>,
    /// When each job runs.
    pub schedules: Vec<String>,
    /// The installed copy of this program.
    pub program: PathBuf,
    /// Where the output goes.
    pub log: PathBuf,
}

/// A crontab.
pub struct Crontab {
    user: Option<String>,
    sudo: bool,
    /// Its content; none if there is no crontab.
    pub content: Option<Vec<u8>>,
}

/// Names of programs that read crontabs.
const DAEMONS: [&str; 4] = ["cron", "crond", "fcron", "bcron-sched"];

/// systemd-cron turns crontabs into timers by this program.
const GENERATOR: &str = "/usr/lib/systemd/system-generators/systemd-crontab-generator";

/// Whether a daemon reads crontabs. None if unknown: `/proc` may show only the current user's processes.
pub fn is_running() -> Option<bool> {
    if systemd::is_booted() && Path::new(GENERATOR).exists() {
        return Some(true);
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut names = processes.filter_map(|process| fs::read_to_string(process.path().join("comm")).ok());
    let found = names.any(|name| DAEMONS.contains(&name.trim_end()));
    (found || Path::new("/proc/1/comm").exists()).then_some(found)
}

/// The problem that no daemon reads the crontab.
pub fn not_running() -> Option<Problem> {
    let start = if systemd::is_booted() { "systemctl enable --now cron" } else { "service cron start" };
    (is_running() == Some(false)).then(|| Problem {
        what: "no cron is running, and without one a crontab schedules nothing".into(),
        remedy: format!("start it: {start}"),
    })
}

/// The jobs in the crontab that an installation would use. None also without cron.
pub fn installed(context: &Context<'_>, shell: &Shell) -> Option<CronJobs> {
    installed_for(context, shell, whose(context, shell).as_deref(), false)
}

/// The same in the crontab of `user`, if it can be read: by `sudo`, if `ask_sudo` allows that.
pub fn installed_for(context: &Context<'_>, shell: &Shell, user: Option<&str>, ask_sudo: bool) -> Option<CronJobs> {
    let own = user.is_none_or(|user| Manager::new(Scope::User, shell).user().is_ok_and(|own| own == user));
    let sudo = !own && !is_root();
    if sudo && !ask_sudo {
        return None;
    }
    let user = user.filter(|_| !own).map(str::to_string);
    let content = Crontab::read(shell, user.clone(), sudo).ok()?.content?;
    let Block { origin, lines } = block::block(&content, &context.root).ok()??;
    Some(CronJobs {
        user,
        schedules: lines.iter().map(|line| block::schedule(line).to_string()).collect(),
        program: origin.program,
        log: log(context),
    })
}

impl Crontab {
    /// Reads it.
    pub fn read(shell: &Shell, user: Option<String>, sudo: bool) -> anyhow::Result<Self> {
        let mut crontab = Self { user, sudo, content: None };
        let command = crontab.step("-l").expression(shell).stdout_capture().stderr_capture();
        let output = command.run().map_err(|_| {
            Error::new(ErrorKind::Io, "there is no cron here: no command `crontab`").with_hint("apt-get install cron")
        })?;
        if output.status.success() {
            crontab.content = Some(output.stdout);
            return Ok(crontab);
        }
        // Only the message says whether there is none or it is refused: the exit code is the same.
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

    /// The step that gives it another content.
    pub fn replace(&self, content: Vec<u8>) -> Step {
        self.step("-").reading(content)
    }

    /// The step that removes it.
    pub fn remove(&self) -> Step {
        self.step("-r")
    }
}

/// The user whose crontab root uses; none is the current user.
pub fn whose(context: &Context<'_>, shell: &Shell) -> Option<String> {
    is_root().then(|| identity(context, shell, None).ok()?.user()).flatten()
}

/// Where the output goes.
pub fn log(context: &Context<'_>) -> PathBuf {
    context.root.join("logs/backup.log")
}
