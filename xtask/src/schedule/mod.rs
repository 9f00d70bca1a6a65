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
pub mod unit_name;
pub mod units;

use std::fs::{File, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use backup::{Error, ErrorKind, FolderStore};
use xshell::{Shell, cmd};

use crate::cli::Which;
use crate::config::parse_duration;
use crate::context::Context;
use crate::exit::Signals;
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
    /// The command that installs it again.
    pub fn again(&self, context: &Context<'_>) -> String {
        let default = slug(context).is_ok_and(|slug| self.origin.unit == default_unit(&slug));
        let unit = (!default).then_some(["--unit", &self.origin.unit]);
        let user = (self.scope == Scope::User).then_some("--user");
        // The other flags are remembered.
        let Flags { config, backup_dir, .. } = self.origin.flags.clone();
        let config = config.filter(|_| context.given.config.is_none());
        let backup_dir = backup_dir.filter(|_| context.given.backup_dir.is_none());
        let places = Flags { config, backup_dir, ..Flags::default() }.words();
        context.command(&["install-timer"]).and(user).and(unit.into_iter().flatten()).and(places).to_string()
    }
}

/// The schedule of this project that `which` means: of what is installed the system's, if there is one. None if
/// nothing is installed.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it could be several, or if it is called otherwise.
pub fn find(context: &Context<'_>, shell: &Shell, which: &Which) -> anyhow::Result<Option<Installed>> {
    let scopes: &[Scope] = if which.user { &[Scope::User] } else { &[Scope::System, Scope::User] };
    let wrong = |message: String| {
        anyhow::Error::from(Error::new(ErrorKind::InvalidInput, message).with_hint("name one with --unit"))
    };
    for scope in scopes {
        let installed = Manager::new(*scope, shell).installed()?.into_iter();
        // Those of a project that is gone can still be named.
        let named = |origin: &Origin| which.unit.as_ref().is_some_and(|unit| *unit == origin.unit);
        let mut found: Vec<Origin> =
            installed.filter(|origin| origin.root == context.root || named(origin) && !origin.root.exists()).collect();
        let names: Vec<String> = found.iter().map(|origin| origin.unit.clone()).collect();
        if which.unit.is_some() {
            found.retain(named);
        }
        match found.as_slice() {
            [] if names.is_empty() => {}
            [] => return Err(wrong(format!("the schedule of this project is called {}", names.join(", ")))),
            [_] => return Ok(found.pop().map(|origin| Installed { scope: *scope, origin })),
            _ => return Err(wrong(format!("several schedules are installed for this project: {}", names.join(", ")))),
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
    if let Some(installed) = find(context, shell, which)? {
        return Ok(installed);
    }
    let (message, hint) = match cron::installed(context, shell) {
        Some(cron) => (
            "this project is scheduled by cron, not by systemd".into(),
            format!("what it says is in {}", cron.log.display()),
        ),
        None => (
            format!("no timer is installed for {}", context.root.display()),
            format!("install it: {}", context.command(&["install-timer"])),
        ),
    };
    Err(Error::new(ErrorKind::Io, message).with_hint(hint).into())
}

/// Who makes the backups: whom an installed service names, or whom one would. None is whoever installs it, or nobody
/// that is known.
pub fn maker(context: &Context<'_>, shell: &Shell) -> Option<String> {
    let installed = find(context, shell, &Which::default()).ok().flatten();
    let run_as = match &installed {
        Some(Installed { scope: Scope::User, .. }) => return None,
        Some(installed) => installed.origin.flags.run_as.as_deref(),
        None => None,
    };
    identity(context, shell, run_as).ok()?.user()
}

/// The command that runs this program as the scheduled user, if that is another one than the caller.
pub fn as_maker(context: &Context<'_>, shell: &Shell) -> Option<Step> {
    let installed = find(context, shell, &Which::default()).ok().flatten()?;
    let maker = maker(context, shell)?;
    let uid = cmd!(shell, "id -u -- {maker}").quiet().ignore_stderr().read().ok()?;
    if systemd::is_root() || rustix::process::geteuid().to_string() == uid {
        return None;
    }
    // The installed copy, which its user can run.
    let program = word(&installed.origin.program).ok()?;
    Some(Step::new(["sudo", "-u", &maker, program, "--root", word(&context.root).ok()?]))
}

/// How often a waiting installation tries again.
const RETRY: Duration = Duration::from_millis(50);

/// Root's lock, in a folder where only root can make files.
const ROOTS_LOCK: &str = "/run/sqlite-ops.lock";

/// Keeps others from installing or removing a schedule of this project, as long as what it returns lives. The lock is
/// that of the project's folder itself, which needs no right to write to it. But anybody who may read the folder can
/// hold it for ever: root has one of its own, and waits for the other one no longer than `--lock-wait`.
///
/// # Errors
/// [`ErrorKind::Locked`] when `--lock-wait` is over.
pub fn lock(context: &Context<'_>) -> anyhow::Result<Vec<File>> {
    let open = |path: &Path| File::open(path).map_err(|e| Error::io("open", path, e));
    let folder = open(&context.root)?;
    if !systemd::is_root() {
        let hint = "wait for it to end, or run it as root, which goes on after --lock-wait";
        return if lock_within(context, &context.root, &folder)? { Ok(vec![folder]) } else { Err(locked(hint).into()) };
    }
    let path = Path::new(ROOTS_LOCK);
    let own = File::options().create(true).write(true).truncate(false).mode(0o600).open(path);
    let own = own.map_err(|e| Error::io("open", path, e))?;
    if !lock_within(context, path, &own)? {
        return Err(locked("wait for it to end").into());
    }
    if !lock_within(context, &context.root, &folder)? {
        context.output.warn(&format!("going on although somebody holds a lock on {}", context.root.display()));
    }
    Ok(vec![own, folder])
}

/// Waits for a lock: `false` if `--lock-wait` is over.
fn lock_within(context: &Context<'_>, path: &Path, file: &File) -> anyhow::Result<bool> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", path, e).into()),
            Err(TryLockError::WouldBlock) if Signals::received().is_some() => return Err(Error::interrupted().into()),
            Err(TryLockError::WouldBlock) if begun.elapsed() < context.config.lock_wait => std::thread::sleep(RETRY),
            Err(TryLockError::WouldBlock) => return Ok(false),
        }
    }
}

fn locked(hint: &str) -> Error {
    Error::new(ErrorKind::Locked, "locked: a schedule of this project is being installed or removed").with_hint(hint)
}

/// What units are called, if nobody says otherwise.
pub fn default_unit(slug: &str) -> String {
    format!("{slug}-backup")
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
    let data = databases.iter().filter_map(|path| path.parent()).map(Path::to_path_buf);
    let needed = [context.root.clone(), program.clone()].into_iter().chain(sources(context));
    let needed = needed.chain(context.settings.iter().cloned()).flat_map(|path| ways_to(&path));
    Ok(Spec {
        project: context.project(),
        systemd: systemd::version(shell)?,
        identity,
        arguments: arguments(context)?,
        on_calendar: flags.on_calendar.clone().unwrap_or_else(|| config.on_calendar.clone()),
        drill_on_calendar: config.drill_on_calendar.clone(),
        randomized_delay: delay.unwrap_or(config.randomized_delay),
        mounts: distinct([context.root.clone()].into_iter().chain(backups.iter().cloned())),
        records: backups.iter().flat_map(FolderStore::records).collect(),
        backups,
        data: distinct(data),
        readable: distinct(needed),
        has_command: !context.config.drill.command.is_empty(),
        origin: Origin { unit, root: context.root.clone(), program, flags },
    })
}

/// Everything that is backed up.
pub fn sources(context: &Context<'_>) -> impl Iterator<Item = PathBuf> {
    let files = context.config.files.iter().flat_map(|set| &set.paths);
    context.config.database.iter().map(|database| &database.path).chain(files).map(|path| path.under(&context.root))
}

/// The flags that every scheduled command gets.
pub fn arguments(context: &Context<'_>) -> anyhow::Result<Vec<String>> {
    let mut words = vec!["--root".into(), context.root.clone()];
    if let Some(settings) = &context.settings {
        words.extend(["--config".into(), settings.clone()]);
    }
    if let Some(folder) = &context.given.backup_dir {
        words.extend(["--backup-dir".into(), folder.clone()]);
    }
    words.iter().map(|path| Ok(word(path)?.to_string())).collect()
}

/// Who runs a system service, or cron's jobs: `run_as`, or whom the settings name, or the owner of the project's folder.
pub fn identity(context: &Context<'_>, shell: &Shell, run_as: Option<&str>) -> anyhow::Result<Identity> {
    let named = run_as.or(Some(context.config.schedule.run_as.as_str()).filter(|user| !user.is_empty()));
    let folder = std::fs::metadata(&context.root).context("find the owner of the project's folder")?;
    let user = named.map_or_else(|| folder.uid().to_string(), str::to_string);
    // `id`, and no library: it asks every source of users that this host has.
    let ask = |what: &str| cmd!(shell, "id {what} -- {user}").quiet().ignore_stderr().read();
    let name = ask("-un").map_err(|_| {
        Error::new(ErrorKind::InvalidInput, format!("there is no user {user} to run the backup"))
            .with_hint("name one with --run-as USER, or with `run_as` in the settings")
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
