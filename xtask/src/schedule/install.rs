//! Installing the timers, and removing them.
//!
//! What can be checked is checked before anything is changed: the calendar, that no unit of somebody else's is in the
//! way, that the schedule isn't installed elsewhere already. The units themselves have to wait until the program that
//! they start is in its place. Whatever fails from then on, what was done is taken back.
//!
//! Removing goes the other way: the timers are stopped first, and the units, by which all of it is found, go last.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use serde::Serialize;
use similar::TextDiff;
use tempfile::TempDir;
use xshell::{Shell, cmd};

use super::program;
use super::steps::{Step, Steps, word};
use super::systemd::{self, Manager, Scope, State};
use super::units::{Flags, Identity, Origin, Spec, Unit};
use super::{Installed, cron, default_unit, lock, slug, sources, spec};
use crate::cli;
use crate::config::Config;
use crate::context::Context;
use crate::privilege;
use crate::text::{Tone, paint};

/// What an installation did, or would do.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the units' names begin with.
    pub unit: String,
    /// Whose service manager has them.
    pub scope: Scope,
    /// Who the services run as; none if they are a user's own.
    pub user: Option<String>,
    /// The installed copy of this program.
    pub program: PathBuf,
    /// The units that were made or replaced.
    pub changed: Vec<PathBuf>,
    /// Whether nothing had to be done.
    pub unchanged: bool,
}

/// A unit, its place, and what is there.
struct Placed {
    unit: Unit,
    path: PathBuf,
    exists: bool,
    /// Its text, if it is one.
    old: Option<String>,
    state: State,
}

impl Placed {
    fn is_changed(&self) -> bool {
        self.old.as_ref() != Some(&self.unit.text)
    }

    /// Whether this program wrote it, for the project in `root` or for one that is gone.
    fn is_ours(&self, root: &Path) -> bool {
        let origin = self.old.as_deref().and_then(Origin::read);
        origin.is_some_and(|origin| origin.root == root || !origin.root.exists())
    }

    /// What is in the way of it: a unit in its place that this program did not write, or the distribution's that it
    /// would cover.
    fn foreign(&self, root: &Path) -> Option<PathBuf> {
        let fragment = Some(self.state.get("FragmentPath")).filter(|fragment| !fragment.is_empty());
        match fragment.map(PathBuf::from) {
            _ if self.exists => (!self.is_ours(root)).then(|| self.path.clone()),
            fragment => fragment.filter(|fragment| *fragment != self.path),
        }
    }
}

/// Installs the timers.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if a flag or setting can't be used or something is in the way; [`ErrorKind::Locked`];
/// a step that failed.
pub fn install(context: &Context<'_>, shell: &Shell, args: &cli::InstallTimer) -> anyhow::Result<Report> {
    systemd::require()?;
    let manager = Manager::new(if args.user { Scope::User } else { Scope::System }, shell);
    if !args.dry_run {
        require_root(context, &manager)?;
    }
    let _lock = lock(context)?;
    let unit = unit_name(context, args.unit.as_deref())?;
    let flags = remembered(context, &manager, &unit, args)?;
    if manager.scope == Scope::System {
        require_choice_of_root(context, shell, flags.run_as.as_deref(), "say who: --run-as USER; or ")?;
    }
    let spec = spec(context, shell, manager.scope, unit.clone(), flags)?;
    let user = allowed_user(context, shell, &spec.identity, spec.origin.flags.allow_root)?;
    check_calendars(shell, &spec, args)?;
    require_only(context, &manager, &unit, user.as_deref(), args.dry_run)?;
    program::require_own(&spec.origin.program, &context.root)?;
    let units = place(&manager, &spec, args.force)?;
    for placed in units.iter().filter(|placed| placed.is_changed()) {
        show(context, placed, args.dry_run);
    }

    // It has what is needed to take steps back, so it has to outlive them.
    let temporary = temporary_folder(&unit)?;
    let mut steps = Steps::new(shell, context.output, args.dry_run);
    let lingers = manager.scope == Scope::System || linger(&manager, &mut steps, args.dry_run)?;
    let made = make_folder(&manager, user.as_deref(), &mut steps, context.store.folder())?;
    let copied = program::install(&mut steps, &manager, &spec.origin.program, &context.root, temporary.path())?;
    let put = put(context, &manager, &mut steps, &spec, &units, &temporary)?;
    let enabled = enable(&manager, &mut steps, &units, !args.no_start)?;
    steps.finish();
    warn_of_sources(context, manager.scope);
    Ok(Report {
        unit,
        scope: manager.scope,
        user,
        program: spec.origin.program,
        changed: units.iter().filter(|unit| unit.is_changed()).map(|unit| unit.path.clone()).collect(),
        unchanged: lingers && !made && !copied && !put && !enabled,
    })
}

/// Makes sure that the steps of an installation can have the root that they need.
fn require_root(context: &Context<'_>, manager: &Manager<'_>) -> backup::Result<()> {
    manager.require_root(context, &["systemctl", "daemon-reload"]).map_err(|error| {
        let hint = format!("{}; or install timers of your own with --user", error.hint().unwrap_or_default());
        error.with_hint(hint)
    })
}

/// Removes the timers. Backups are not touched. Gives what is left, in sentences.
///
/// # Errors
/// [`ErrorKind::Locked`]; a step that failed: those before it were done, and it can be repeated.
pub fn uninstall(
    context: &Context<'_>,
    shell: &Shell,
    installed: &Installed,
    dry_run: bool,
) -> anyhow::Result<Vec<String>> {
    let Installed { scope, origin } = installed;
    let manager = Manager::new(*scope, shell);
    if !dry_run {
        manager.require_root(context, &["systemctl", "daemon-reload"])?;
    }
    let _lock = lock(context)?;
    let folder = manager.unit_folder()?;
    let is_ours = |file: &String| match systemd::read_unit(&folder.join(file)) {
        Ok(text) => Origin::read(&text).is_some_and(|other| other.root == origin.root),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    };
    let files: Vec<String> = origin.files().filter(is_ours).collect();
    let failures = ["", "-verify"].map(|job| format!("{0}-failure@{0}{job}.service", origin.unit));
    let units: Vec<String> = files.iter().filter(|file| !file.contains('@')).cloned().chain(failures).collect();
    let states = manager.states(&units)?;
    let named = |wanted: &dyn Fn(&str, &State) -> bool| -> Vec<&str> {
        let units = units.iter().zip(&states).filter(|(unit, state)| wanted(unit, state));
        units.map(|(unit, _)| unit.as_str()).collect()
    };
    let enabled = named(&|_, state| state.is_enabled());
    let ticking = named(&|unit, state| unit.ends_with(".timer") && state.is_active());
    let running = named(&|unit, state| unit.ends_with(".service") && state.is_active());

    let mut steps = Steps::new(shell, context.output, dry_run);
    if !enabled.is_empty() {
        steps.run(&manager.systemctl(&["disable"]).and(enabled))?;
    }
    if !ticking.is_empty() {
        steps.run(&manager.systemctl(&["stop"]).and(ticking))?;
    }
    if cron::installed(context, shell).is_none_or(|cron| cron.program != origin.program) {
        program::remove(&mut steps, &manager, &origin.program, &origin.root)?;
    }
    steps.run(&manager.change(&["rm", "-f"]).and(traces(&manager, &folder, &files)?))?;
    if manager.is_up() {
        steps.run(&manager.systemctl(&["daemon-reload"]))?;
    }
    // A failure that nobody can look into any more is none of the system's.
    let states = manager.states(&units)?;
    let failed = units.iter().zip(&states).filter(|(_, state)| state.get("ActiveState") == "failed");
    let failed: Vec<&str> = failed.map(|(unit, _)| unit.as_str()).collect();
    if !failed.is_empty() {
        steps.run(&manager.systemctl(&["reset-failed"]).and(failed))?;
    }
    steps.finish();
    left(&manager, installed, &folder, &running)
}

/// Files of the units: their own, the links by which timers are enabled, and when they last ran, for which a timer of
/// that name that is installed later would make up.
fn traces(manager: &Manager<'_>, folder: &Path, files: &[String]) -> anyhow::Result<Vec<String>> {
    let mut traces: Vec<PathBuf> = files.iter().map(|file| folder.join(file)).collect();
    for timer in files.iter().filter(|file| file.ends_with(".timer")) {
        traces.extend([folder.join("timers.target.wants").join(timer), manager.stamp(timer)?]);
    }
    let existing = traces.iter().filter(|path| path.symlink_metadata().is_ok());
    existing.map(|path| Ok(word(path)?.to_string())).collect()
}

/// What an uninstallation leaves as it is.
fn left(manager: &Manager<'_>, installed: &Installed, folder: &Path, running: &[&str]) -> anyhow::Result<Vec<String>> {
    let changes = installed.origin.files().map(|file| folder.join(format!("{file}.d")));
    let mut left: Vec<String> = changes
        .filter(|path| path.exists())
        .map(|path| format!("{} has changes made with systemctl edit", path.display()))
        .collect();
    left.extend(running.iter().map(|service| format!("{service} runs, and goes on to its end")));
    if installed.scope == Scope::User && systemd::lingers(&manager.user()?) {
        let remedy = "if nothing else needs that: loginctl disable-linger";
        left.push(format!("your service manager goes on without you; {remedy}"));
    }
    Ok(left)
}

/// What the units are called: as given, or as set, or after the project.
fn unit_name(context: &Context<'_>, given: Option<&str>) -> anyhow::Result<String> {
    let set = Some(context.config.schedule.unit.as_str()).filter(|unit| !unit.is_empty());
    Ok(match given.or(set) {
        Some(unit) => unit.to_string(),
        None => default_unit(&slug(context)?),
    })
}

/// The flags that were given, over those of an earlier installation.
fn remembered(
    context: &Context<'_>,
    manager: &Manager<'_>,
    unit: &str,
    args: &cli::InstallTimer,
) -> anyhow::Result<Flags> {
    let given = Flags {
        config: context.given.config.clone(),
        backup_dir: context.given.backup_dir.clone(),
        on_calendar: args.on_calendar.clone(),
        randomized_delay: args.randomized_delay.map(|delay| humantime::format_duration(delay).to_string()),
        run_as: args.run_as.clone(),
        allow_root: args.allow_root,
    };
    let mut installed = manager.installed()?.into_iter();
    let Some(origin) = installed.find(|origin| origin.root == context.root && origin.unit == unit) else {
        return Ok(given);
    };
    let earlier = origin.flags.clone();
    // These decide what this very command looks at, so they can't be added afterwards.
    let forgotten = (earlier.config.is_some() && given.config.is_none())
        || (earlier.backup_dir.is_some() && given.backup_dir.is_none());
    if forgotten {
        let again = Installed { scope: manager.scope, origin }.again(context);
        return Err(Error::new(ErrorKind::InvalidInput, "it was installed with flags that are missing now")
            .with_hint(format!("{again}; or begin anew: `uninstall-timer`"))
            .into());
    }
    let flags = given.clone().over(earlier);
    if flags != given {
        let words = flags.words().join(" ");
        context.output.note(&format!("as it was installed before: {words} (uninstall-timer forgets that)"));
    }
    Ok(flags)
}

fn check_calendars(shell: &Shell, spec: &Spec, args: &cli::InstallTimer) -> anyhow::Result<()> {
    let name = if args.on_calendar.is_some() { "--on-calendar" } else { "`on_calendar` in the settings" };
    systemd::check_calendar(shell, name, &spec.on_calendar)?;
    systemd::check_calendar(shell, "`drill_on_calendar` in the settings", &spec.drill_on_calendar)
}

/// A folder for what is installed, and for what is needed to take that back.
pub fn temporary_folder(name: &str) -> anyhow::Result<TempDir> {
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir().context("make a folder for temporary files")
}

/// Makes sure that nothing which takes root's right is decided by settings that somebody else can write: who the jobs run
/// as, and which folder root makes, or tells to give away. The hint names another `way` first.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], with the flag that says it instead.
pub fn require_choice_of_root(
    context: &Context<'_>,
    shell: &Shell,
    run_as: Option<&str>,
    way: &str,
) -> anyhow::Result<()> {
    let Some(stranger) = privilege::stranger(context)? else { return Ok(()) };
    let refused = |what: &str, hint: String| {
        let message = format!("root doesn't follow {what} of settings that {} can write", stranger.name);
        anyhow::Error::from(Error::new(ErrorKind::InvalidInput, message).with_hint(hint))
    };
    let set = context.config.schedule.run_as.as_str();
    if run_as.is_none() && !set.is_empty() && Some(uid(shell, set)?) != stranger.uid.map(|uid| uid.to_string()) {
        return Err(refused("`run_as`", format!("{way}let only root write the settings")));
    }
    let folder = context.store.folder();
    let is_named = context.given.backup_dir.is_none() && context.config.backup_dir != Config::default().backup_dir;
    let existing = folder.ancestors().find_map(|folder| fs::metadata(folder).ok());
    if is_named && existing.is_none_or(|found| Some(found.uid()) != stranger.uid) {
        let hint = format!("if that is meant: --backup-dir {}", folder.display());
        return Err(refused(&format!("`backup_dir`, {},", folder.display()), hint));
    }
    Ok(())
}

fn uid(shell: &Shell, user: &str) -> anyhow::Result<String> {
    cmd!(shell, "id -u -- {user}").quiet().ignore_stderr().read().map_err(|_| {
        Error::new(ErrorKind::InvalidInput, format!("there is no user {user} to run the backup"))
            .with_hint("name one with --run-as USER, or with `run_as` in the settings")
            .into()
    })
}

/// The user that the jobs run as, unless it is root and nobody said that it may be. None for a user's own.
pub fn allowed_user(
    context: &Context<'_>,
    shell: &Shell,
    identity: &Identity,
    allow_root: bool,
) -> anyhow::Result<Option<String>> {
    let (user, is_root) = match identity {
        Identity::System { user, .. } => (Some(user.clone()), uid(shell, user)? == "0"),
        Identity::User => (None, systemd::is_root()),
    };
    if !is_root {
        return Ok(user);
    }
    if let Some(writer) = privilege::writer(context)? {
        let (root, name, place) = (context.root.display(), writer.name(), writer.place.display());
        let message = format!("the backup of {root} would run as root, and {name} can exchange {place}");
        let hint = format!("let {name} make the backups: --run-as {name}");
        return Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint).into());
    }
    if allow_root {
        return Ok(user);
    }
    let hint = match identity {
        Identity::System { .. } => "name a user who may read the databases: --run-as USER, or `run_as` in the settings",
        Identity::User => "become the user whose project it is, or install for the system, without --user",
    };
    let message = format!("the backup of {} would run as root, and it should not", context.root.display());
    Err(Error::new(ErrorKind::InvalidInput, message).with_hint(format!("{hint}; or insist: --allow-root")).into())
}

/// Makes sure that this project isn't scheduled otherwise, as far as that can be seen from here.
fn require_only(
    context: &Context<'_>,
    manager: &Manager<'_>,
    unit: &str,
    user: Option<&str>,
    dry_run: bool,
) -> anyhow::Result<()> {
    let shell = manager.shell;
    for scope in [Scope::System, Scope::User] {
        let mut installed = Manager::new(scope, shell).installed()?.into_iter();
        let other =
            |origin: &Origin| origin.root == context.root && (scope, origin.unit.as_str()) != (manager.scope, unit);
        if let Some(other) = installed.find(other) {
            let user = (scope == Scope::User).then_some("--user");
            let remedy = context.command(&["uninstall-timer"]).and(user).and(["--unit", &other.unit]);
            return Err(scheduled_already(&format!("{}.timer", other.unit), &remedy));
        }
    }
    let Some(user) = user else { return require_no_cron(context, shell, None, true) };
    let home = cmd!(shell, "getent passwd -- {user}").quiet().ignore_stderr().read().unwrap_or_default();
    let home = home.split(':').nth(5).map(|home| Path::new(home).join(".config/systemd/user"));
    let theirs = home.map(|folder| systemd::installed_in(&folder)).unwrap_or_default();
    if let Some(other) = theirs.iter().find(|origin| origin.root == context.root) {
        let remedy = format!("as {user}: {}", context.command(&["uninstall-timer", "--user"]));
        return Err(scheduled_already(&format!("{user}'s own {}.timer", other.unit), &remedy));
    }
    require_no_cron(context, shell, Some(user), !dry_run)
}

fn require_no_cron(context: &Context<'_>, shell: &Shell, user: Option<&str>, ask_sudo: bool) -> anyhow::Result<()> {
    match cron::installed_for(context, shell, user, ask_sudo) {
        None => Ok(()),
        Some(_) => Err(scheduled_already("cron", &context.command(&["uninstall-cron"]))),
    }
}

/// That something else schedules this project, and the command that removes it.
pub fn scheduled_already(by: &str, remedy: &impl Display) -> anyhow::Error {
    Error::new(ErrorKind::InvalidInput, format!("this project is scheduled already, by {by}"))
        .with_hint(format!("remove that first: {remedy}"))
        .into()
}

/// The units with their places. What is there has to be this project's, unless `force` says otherwise.
fn place(manager: &Manager<'_>, spec: &Spec, force: bool) -> anyhow::Result<Vec<Placed>> {
    let folder = manager.unit_folder()?;
    let units = spec.render()?;
    let files: Vec<String> = units.iter().map(|unit| unit.file.clone()).collect();
    let placed = units.into_iter().zip(manager.states(&files)?).map(|(unit, state)| {
        let path = folder.join(&unit.file);
        Placed { exists: path.symlink_metadata().is_ok(), old: systemd::read_unit(&path).ok(), unit, path, state }
    });
    let placed: Vec<Placed> = placed.collect();
    match placed.iter().find_map(|placed| placed.foreign(&spec.origin.root)).filter(|_| !force) {
        None => Ok(placed),
        Some(foreign) => {
            let message = format!("{} is in the way: install-timer did not write it", foreign.display());
            Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("choose another name with --unit NAME, or replace it with --force")
                .into())
        }
    }
}

/// Shows what will be different in a unit that is there; in a dry run, with `-v`, the whole of one that is not.
fn show(context: &Context<'_>, placed: &Placed, dry_run: bool) {
    let name = placed.path.display().to_string();
    match &placed.old {
        Some(old) => show_difference(context, &name, old, &placed.unit.text),
        None if placed.exists => context.output.warn(&format!("{name} can't be read to show the difference")),
        None if dry_run && context.output.is_verbose() => show_difference(context, &name, "", &placed.unit.text),
        None => {}
    }
}

/// Shows what will be different in a text.
pub fn show_difference(context: &Context<'_>, name: &str, old: &str, new: &str) {
    let diff = TextDiff::from_lines(old, new).unified_diff().header(name, "as it will be").to_string();
    for line in diff.lines() {
        let tone = match line.as_bytes().first() {
            Some(b'+') => Tone::Good,
            Some(b'-') => Tone::Bad,
            _ => Tone::Faint,
        };
        context.output.line(&paint(tone, line));
    }
}

/// Makes a folder of the `user` that the jobs run as, who could not make it from there; none is the one who asks.
/// `false` if it is there.
///
/// Where the folder it goes into is the user's, so is the making: root would follow a link that the user puts there in
/// the meantime.
pub fn make_folder(
    manager: &Manager<'_>,
    user: Option<&str>,
    steps: &mut Steps<'_>,
    folder: &Path,
) -> anyhow::Result<bool> {
    let name = word(folder)?;
    let closed = fs::metadata(folder).is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
    if closed && manager.as_user(user, &["test", "-d", name])?.run(manager.shell).is_ok() {
        return Ok(false);
    }
    let missing = program::missing(folder);
    let Some(parent) = missing.last().and_then(|outermost| outermost.parent()) else { return Ok(false) };
    let theirs = user
        .map(|user| uid(manager.shell, user))
        .transpose()?
        .is_none_or(|uid| fs::metadata(parent).is_ok_and(|found| found.uid().to_string() == uid));
    let change = |words: &[&str]| if theirs { manager.as_user(user, words) } else { Ok(manager.change(words)) };
    let owner = user.filter(|_| !theirs).map(|user| ["-o", user]);
    steps.run(&change(&["install", "-d", "-m", "0700"])?.and(owner.into_iter().flatten()).and([name]))?;
    let undo = missing.iter().map(|folder| change(&["rmdir", word(folder)?]));
    steps.undo_by(undo.collect::<anyhow::Result<Vec<_>>>()?);
    Ok(true)
}

/// Lets the user's service manager run while the user is not logged in: `true` if it does already.
fn linger(manager: &Manager<'_>, steps: &mut Steps<'_>, dry_run: bool) -> anyhow::Result<bool> {
    let user = manager.user()?;
    if systemd::lingers(&user) {
        return Ok(true);
    }
    let own = |verb: &str| Step::new(["loginctl", verb]);
    // Where the administrator doesn't let them do it for themselves, root has to.
    let as_root = |verb: &str| Step::new(["loginctl", verb, &user]).sudo_unless(systemd::is_root());
    if steps.run(&own("enable-linger")).is_ok() {
        steps.undo_by([own("disable-linger")]);
    } else {
        let refused = |why: String| {
            let message = format!("the timer would run only while you are logged in{why}");
            Error::new(ErrorKind::PermissionDenied, message)
                .with_hint(format!("have root run `loginctl enable-linger {user}`, then install again"))
        };
        if !dry_run && !manager.may_sudo(&["loginctl", "enable-linger", &user]) {
            return Err(refused(String::new()).into());
        }
        steps.run(&as_root("enable-linger")).map_err(|error| refused(format!(": {error:#}")))?;
        steps.undo_by([as_root("disable-linger")]);
    }
    if !dry_run {
        manager.wait_until_up()?;
    }
    Ok(false)
}

/// Checks the units, strictly, and puts those that changed in their places: `false` if systemd knows them already.
fn put(
    context: &Context<'_>,
    manager: &Manager<'_>,
    steps: &mut Steps<'_>,
    spec: &Spec,
    units: &[Placed],
    temporary: &TempDir,
) -> anyhow::Result<bool> {
    let changed: Vec<&Placed> = units.iter().filter(|unit| unit.is_changed()).collect();
    let reload = manager.systemctl(&["daemon-reload"]);
    if changed.is_empty() {
        let stale = units.iter().any(|unit| unit.state.get("NeedDaemonReload") == "yes");
        return if stale { steps.run(&reload).map(|()| true) } else { Ok(false) };
    }
    let _there = steps.enter(temporary.path());
    // All are checked, since they name each other.
    let mut files = Vec::new();
    for Placed { unit, .. } in units {
        fs::write(temporary.path().join(&unit.file), &unit.text).context("write a unit")?;
        files.push(unit.file.clone());
    }
    steps.run(&manager.verify(&files).refusing(word(temporary.path())?))?;
    let folder = manager.unit_folder()?;
    program::make_folder(steps, manager, &folder)?;
    let mut undo = Vec::new();
    for placed in &changed {
        undo.push(keep(context, manager, steps, placed, spec, temporary)?);
    }
    steps.undo_by(undo.into_iter().chain([reload.clone()]).collect::<Vec<_>>());
    let files = changed.iter().map(|placed| placed.unit.file.as_str());
    steps.run(&manager.change(&["install", "-m", "0644", "-t", word(&folder)?]).and(files))?;
    steps.run(&reload).map(|()| true)
}

/// Keeps what is in a unit's place until all is done, and gives the step that puts it back. What somebody else wrote is
/// kept for good.
fn keep(
    context: &Context<'_>,
    manager: &Manager<'_>,
    steps: &mut Steps<'_>,
    placed: &Placed,
    spec: &Spec,
    temporary: &TempDir,
) -> anyhow::Result<Step> {
    let (path, file) = (word(&placed.path)?, &placed.unit.file);
    if !placed.exists {
        return Ok(manager.change(&["rm", "-f", path]));
    }
    let kept = temporary.path().join(format!("old-{file}"));
    let kept = word(&kept)?;
    steps.run(&manager.change(&["cp", "-a", path, kept]))?;
    if !placed.is_ours(&spec.origin.root) {
        let original = format!("{path}.orig");
        steps.run(&manager.change(&["cp", "-a", path, &original]))?;
        steps.undo_by([manager.change(&["rm", "-f", &original])]);
        context.output.note(&format!("what was there is kept as {original}"));
    }
    Ok(manager.change(&["cp", "-a", "--remove-destination", kept, path]))
}

/// Lets the timers start with the machine, and, if `start` says so, now: `false` if they do already.
fn enable(manager: &Manager<'_>, steps: &mut Steps<'_>, units: &[Placed], start: bool) -> anyhow::Result<bool> {
    let timers: Vec<&Placed> = units.iter().filter(|placed| placed.unit.file.ends_with(".timer")).collect();
    let named = |wanted: &dyn Fn(&State) -> bool| -> Vec<&str> {
        let timers = timers.iter().filter(|timer| wanted(&timer.state));
        timers.map(|timer| timer.unit.file.as_str()).collect()
    };
    let off = named(&|state| !state.is_enabled());
    let still = named(&|state| start && !state.is_active());
    // One whose time will not come again doesn't look at its calendar by itself.
    let elapsed = named(&|state| start && state.is_active() && !state.is_ticking());
    if !off.is_empty() {
        steps.undo_by([manager.systemctl(&["disable"]).and(off.clone())]);
    }
    if !still.is_empty() {
        steps.undo_by([manager.systemctl(&["stop"]).and(still.clone())]);
    }
    let both = !off.is_empty() && off == still;
    if !off.is_empty() {
        let words: &[&str] = if both { &["enable", "--now"] } else { &["enable"] };
        steps.run(&manager.systemctl(words).and(off.clone()))?;
    }
    if !still.is_empty() && !both {
        steps.run(&manager.systemctl(&["start"]).and(still.clone()))?;
    }
    if !elapsed.is_empty() {
        steps.run(&manager.systemctl(&["restart"]).and(elapsed.clone()))?;
    }
    Ok(!(off.is_empty() && still.is_empty() && elapsed.is_empty()))
}

/// Warns of sources that a backup would lack, and of those whose owner or group a user's own service can't tell: in its
/// sandbox, all others are nobody.
fn warn_of_sources(context: &Context<'_>, scope: Scope) {
    let ours = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for path in sources(context) {
        let name = path.display();
        match fs::metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                context.output.warn(&format!("{name} doesn't exist"));
            }
            Ok(found) if scope == Scope::User && (found.uid(), found.gid()) != ours => {
                context
                    .output
                    .warn(&format!("{name} has another owner or group: backups made as you won't know which"));
            }
            _ => {}
        }
    }
}
