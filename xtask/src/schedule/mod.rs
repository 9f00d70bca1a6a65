//! The schedule: what makes the nightly backup and the weekly drill happen, by systemd or by cron.
//!
//! What is installed is rendered from the settings, the flags and the project's place. It carries what it was made from,
//! so that it can be found by the project it is for, and held against what would be rendered today.

pub mod cron;
pub mod crontab;
pub mod install;
pub mod journal;
pub mod program;
pub mod steps;
pub mod systemd;
pub mod timers;
pub mod units;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use xshell::{Shell, cmd};

use crate::cli::Which;
use crate::config::parse_duration;
use crate::context::Context;
use steps::{Step, word};
use systemd::{Manager, Scope};
use units::{Flags, Identity, Origin, Spec};

/// A schedule that is installed.
#[derive(Debug)]
pub struct Installed {
    /// For whose service manager.
    pub scope: Scope,
    /// Its units.
    pub origin: Origin,
}

impl Installed {
    /// The command that installs it again, with the flags that it was installed with.
    pub fn again(&self) -> String {
        let Flags { on_calendar, randomized_delay, run_as } = self.origin.flags.clone();
        let flags = [("--on-calendar", on_calendar), ("--randomized-delay", randomized_delay), ("--run-as", run_as)];
        let flags = flags.into_iter().filter_map(|(flag, value)| Some([flag.to_string(), value?])).flatten();
        let user = (self.scope == Scope::User).then_some("--user");
        Step::new(["cargo", "xtask", "install-timer", "--unit", &self.origin.unit]).and(user).and(flags).to_string()
    }
}

/// The schedule of this project that `which` means: of what is installed the system's, if there is one. None if
/// nothing is installed.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it could be several.
pub fn find(context: &Context<'_>, shell: &Shell, which: &Which) -> anyhow::Result<Option<Installed>> {
    let scopes: &[Scope] = if which.user { &[Scope::User] } else { &[Scope::System, Scope::User] };
    for scope in scopes {
        let mut found = all(&Manager::new(*scope, shell), &context.root)?;
        found.retain(|origin| which.unit.as_ref().is_none_or(|unit| *unit == origin.unit));
        match found.as_slice() {
            [] => {}
            [_] => return Ok(found.pop().map(|origin| Installed { scope: *scope, origin })),
            several => {
                let names: Vec<&str> = several.iter().map(|origin| origin.unit.as_str()).collect();
                let message = format!("several schedules are installed for this project: {}", names.join(", "));
                return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("name one with --unit").into());
            }
        }
    }
    Ok(None)
}

/// The same, where there has to be one.
///
/// # Errors
/// As [`find`], or that nothing is installed.
pub fn require(context: &Context<'_>, shell: &Shell, which: &Which) -> anyhow::Result<Installed> {
    systemd::require()?;
    find(context, shell, which)?.ok_or_else(|| {
        let message = format!("no timer is installed for {}", context.root.display());
        Error::new(ErrorKind::Io, message).with_hint("install it: cargo xtask install-timer").into()
    })
}

/// Everything that is installed for the project in `root`.
pub fn all(manager: &Manager<'_>, root: &Path) -> anyhow::Result<Vec<Origin>> {
    Ok(manager.installed()?.into_iter().filter(|origin| origin.root == root).collect())
}

/// A name made of the project's, for files of the system.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if there is nothing to make it of.
pub fn slug(context: &Context<'_>) -> backup::Result<String> {
    let project = context.project();
    let slug = units::slug(&project);
    if slug.is_empty() {
        let message = format!("no unit can be named after the project {project:?}");
        return Err(Error::new(ErrorKind::InvalidInput, message)
            .with_hint("give it a name with letters or digits: `project` in the settings"));
    }
    Ok(slug)
}

/// The units called `unit`, as the settings and the project's place are now, and the `flags` over them.
pub fn spec(context: &Context<'_>, shell: &Shell, scope: Scope, unit: String, flags: Flags) -> anyhow::Result<Spec> {
    let config = &context.config.schedule;
    let program = program::path(scope, &slug(context)?)?;
    let delay = flags.randomized_delay.as_deref().map(parse_duration).transpose().map_err(anyhow::Error::msg)?;
    let identity = match scope {
        Scope::System => identity(context, shell, flags.run_as.as_deref())?,
        Scope::User => Identity::User,
    };
    let backups = ways_to(context.store.folder());
    let databases = context.config.database.iter().map(|database| database.path.under(&context.root));
    let databases: Vec<PathBuf> = databases.flat_map(|path| ways_to(&path)).collect();
    let folders = databases.iter().filter_map(|path| path.parent()).map(Path::to_path_buf);
    let writable = distinct(backups.iter().cloned().chain(folders));
    let settings = context.settings.iter().cloned();
    let needed = [context.root.clone(), program.clone()].into_iter().chain(sources(context)).chain(settings);
    let needed = needed.flat_map(|path| ways_to(&path));
    Ok(Spec {
        project: context.project(),
        identity,
        arguments: arguments(context)?,
        on_calendar: flags.on_calendar.clone().unwrap_or_else(|| config.on_calendar.clone()),
        drill_on_calendar: config.drill_on_calendar.clone(),
        randomized_delay: delay.unwrap_or(config.randomized_delay),
        mounts: distinct([context.root.clone()].into_iter().chain(backups)),
        writable,
        readable: distinct(needed),
        origin: Origin { unit, root: context.root.clone(), program, flags },
    })
}

/// Everything that is backed up.
fn sources(context: &Context<'_>) -> impl Iterator<Item = PathBuf> {
    let files = context.config.files.iter().flat_map(|set| &set.paths);
    context.config.database.iter().map(|database| &database.path).chain(files).map(|path| path.under(&context.root))
}

/// The flags that every scheduled command gets.
pub fn arguments(context: &Context<'_>) -> anyhow::Result<Vec<String>> {
    let mut words = vec!["--root".into(), context.root.clone()];
    if let Some(settings) = &context.settings {
        words.extend(["--config".into(), settings.clone()]);
    }
    if context.names_backup_dir {
        words.extend(["--backup-dir".into(), context.store.folder().to_path_buf()]);
    }
    words.iter().map(|path| Ok(word(path)?.to_string())).collect()
}

/// Who a system service runs as: `run_as`, or whom the settings name, or the owner of the project's folder.
fn identity(context: &Context<'_>, shell: &Shell, run_as: Option<&str>) -> anyhow::Result<Identity> {
    let named = run_as.or(Some(context.config.schedule.run_as.as_str()).filter(|user| !user.is_empty()));
    let folder = std::fs::metadata(&context.root).context("find the owner of the project's folder")?;
    let user = named.map_or_else(|| folder.uid().to_string(), str::to_string);
    // `id`, and no library: it asks every source of users that this host has.
    let ask = |what: &str| cmd!(shell, "id {what} -- {user}").quiet().ignore_stderr().read();
    let name = ask("-un").map_err(|_| {
        Error::new(ErrorKind::InvalidInput, format!("there is no user {user} to run the backup"))
            .with_hint("name one with --run-as USER")
    })?;
    // The folder's group, for one whose folder it is: its files may be open to that group alone.
    let group = if named.is_none() && folder.gid() != 0 {
        let gid = folder.gid().to_string();
        let known = cmd!(shell, "getent group {gid}").quiet().ignore_stderr().read().ok();
        known.and_then(|line| Some(line.split_once(':')?.0.to_string())).unwrap_or(gid)
    } else {
        ask("-gn")?
    };
    Ok(Identity::System { user: name, group })
}

/// A path as it is written, and where it leads.
fn ways_to(path: &Path) -> Vec<PathBuf> {
    distinct([Some(path.to_path_buf()), path.canonicalize().ok()].into_iter().flatten())
}

fn distinct(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut distinct = Vec::new();
    for path in paths {
        if !distinct.contains(&path) {
            distinct.push(path);
        }
    }
    distinct
}
