//! Installing the timers, and removing them.
//!
//! What can be checked is checked before anything is changed: the calendar, that no unit of somebody else's is in the
//! way, that the schedule isn't installed elsewhere already. The units themselves have to wait until the program that
//! they start is in its place. Whatever fails from then on, what was done is taken back.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use serde::Serialize;
use similar::TextDiff;
use tempfile::TempDir;
use xshell::{Shell, cmd};

use super::program::{self, Compared};
use super::steps::{Step, Steps, word};
use super::systemd::{self, Manager, Scope, State};
use super::units::{Flags, Identity, Origin, Spec, Unit};
use super::{Installed, all, cron, slug, sources, spec};
use crate::cli;
use crate::context::Context;
use crate::text::{Tone, paint, printable};

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
    /// The files that were made or replaced.
    pub changed: Vec<PathBuf>,
    /// Whether nothing had to be done.
    pub unchanged: bool,
}

/// A unit, its place, and what is there.
struct Placed {
    unit: Unit,
    path: PathBuf,
    old: Option<String>,
    state: State,
}

impl Placed {
    fn is_changed(&self) -> bool {
        self.old.as_ref() != Some(&self.unit.text)
    }
}

/// Installs the timers.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if a flag or setting can't be used or something is in the way; a step that failed.
pub fn install(context: &Context<'_>, shell: &Shell, args: &cli::InstallTimer) -> anyhow::Result<Report> {
    systemd::require()?;
    let manager = Manager::new(if args.user { Scope::User } else { Scope::System }, shell);
    manager.require_sudo()?;
    let spec = spec(context, shell, manager.scope, unit_name(context, args.unit.as_deref())?, flags(args))?;
    let user = allowed_user(context, shell, &spec.identity, args.allow_root)?;
    let named = if args.on_calendar.is_some() { "--on-calendar" } else { "`on_calendar` in the settings" };
    systemd::check_calendar(shell, named, &spec.on_calendar)?;
    systemd::check_calendar(shell, "`drill_on_calendar` in the settings", &spec.drill_on_calendar)?;
    let Origin { unit, program, .. } = &spec.origin;
    require_free(context, shell, program, Some((manager.scope, unit)))?;
    if cron::installed(context, shell).is_some() {
        return Err(scheduled_already("cron", "uninstall-cron"));
    }

    // It has what is needed to take steps back, so it has to outlive them.
    let temporary = temporary_folder(unit)?;
    let mut steps = Steps::new(shell, context.output, args.dry_run);
    let lingered = manager.scope == Scope::System || linger(&manager, &mut steps, args.dry_run)?;
    let units = place(&manager, &spec, args.force)?;
    let changed: Vec<&Placed> = units.iter().filter(|unit| unit.is_changed()).collect();
    for Placed { unit, path, old, .. } in &changed {
        if let Some(old) = old {
            show_difference(context, &path.display().to_string(), old, &unit.text);
        }
    }
    let made_folder = make_folder(&manager, &spec.identity, &mut steps, context.store.folder())?;
    let copy = program::compare(program)?;
    if copy != Compared::Current {
        program::install(&mut steps, &manager, program, &temporary)?;
    }
    if !changed.is_empty() {
        put(&manager, &mut steps, &spec, &units, &temporary)?;
    }
    let was_on = enable(&manager, &mut steps, &units, !args.no_start)?;
    steps.finish();
    if manager.scope == Scope::User {
        warn_of_others(context);
    }
    let changed = changed.iter().map(|unit| unit.path.clone());
    let changed: Vec<PathBuf> = changed.chain((copy != Compared::Current).then(|| program.clone())).collect();
    Ok(Report {
        unit: unit.clone(),
        scope: manager.scope,
        user,
        program: program.clone(),
        unchanged: changed.is_empty() && lingered && !made_folder && was_on,
        changed,
    })
}

/// Removes the timers. Backups are not touched. Gives what is left, in sentences.
///
/// # Errors
/// A step that failed; those before it were done.
pub fn uninstall(
    context: &Context<'_>,
    shell: &Shell,
    installed: &Installed,
    dry_run: bool,
) -> anyhow::Result<Vec<String>> {
    let manager = Manager::new(installed.scope, shell);
    manager.require_sudo()?;
    let folder = manager.unit_folder()?;
    let is_ours = |file: &String| {
        let text = fs::read_to_string(folder.join(file)).ok();
        text.as_deref().and_then(Origin::read).is_some_and(|origin| origin.root == context.root)
    };
    let files: Vec<String> = installed.origin.files().filter(is_ours).collect();
    let states = manager.states(&files)?;
    let named = |wanted: &dyn Fn(&str, &State) -> bool| -> Vec<&str> {
        let files = files.iter().zip(&states).filter(|(file, state)| wanted(file, state));
        files.map(|(file, _)| file.as_str()).collect()
    };
    let timers = named(&|file, _| file.ends_with(".timer"));
    let failed = named(&|_, state| state.get("ActiveState") == "failed");

    let mut steps = Steps::new(shell, context.output, dry_run);
    if !timers.is_empty() {
        steps.run(&manager.systemctl(&["disable", "--now"]).and(timers.clone()))?;
        // When they last ran: a timer of that name that is installed later would make up for what it missed.
        steps.run(&manager.systemctl(&["clean", "--what", "state"]).and(timers))?;
    }
    if !failed.is_empty() {
        steps.run(&manager.systemctl(&["reset-failed"]).and(failed))?;
    }
    let paths = files.iter().map(|file| Ok(word(&folder.join(file))?.to_string()));
    steps.run(&manager.change(&["rm", "-f"]).and(paths.collect::<anyhow::Result<Vec<_>>>()?))?;
    steps.run(&manager.systemctl(&["daemon-reload"]))?;
    program::remove(&mut steps, &manager, &installed.origin.program)?;
    steps.finish();
    let dropins = installed.origin.files().map(|file| folder.join(format!("{file}.d"))).filter(|path| path.exists());
    let mut left: Vec<String> =
        dropins.map(|path| format!("{} has changes made with systemctl edit", path.display())).collect();
    if installed.scope == Scope::User && systemd::lingers(&manager.user()?) {
        left.push(
            "your service manager goes on without you; if nothing else needs that: loginctl disable-linger".into(),
        );
    }
    Ok(left)
}

/// Warns of sources whose owner or group a user's own service can't tell: in its sandbox, all others are nobody.
fn warn_of_others(context: &Context<'_>) {
    let ours = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for path in sources(context) {
        if fs::metadata(&path).is_ok_and(|found| (found.uid(), found.gid()) != ours) {
            let path = printable(&path.display().to_string());
            context.output.warn(&format!("{path} has another owner or group: backups made as you won't know which"));
        }
    }
}

/// What the units are called: as given, or as set, or after the project.
fn unit_name(context: &Context<'_>, given: Option<&str>) -> anyhow::Result<String> {
    let set = Some(context.config.schedule.unit.as_str()).filter(|unit| !unit.is_empty());
    Ok(match given.or(set) {
        Some(unit) => unit.to_string(),
        None => format!("{}-backup", slug(context)?),
    })
}

fn flags(args: &cli::InstallTimer) -> Flags {
    Flags {
        on_calendar: args.on_calendar.clone(),
        randomized_delay: args.randomized_delay.map(|delay| humantime::format_duration(delay).to_string()),
        run_as: args.run_as.clone(),
    }
}

/// A folder for what is installed, and for what is needed to take that back.
pub fn temporary_folder(name: &str) -> anyhow::Result<TempDir> {
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir().context("make a folder for temporary files")
}

/// The user that the jobs run as, unless it is root and nobody said that it may be. None for a user's own.
pub fn allowed_user(
    context: &Context<'_>,
    shell: &Shell,
    identity: &Identity,
    allow_root: bool,
) -> anyhow::Result<Option<String>> {
    let (user, is_root) = match identity {
        Identity::System { user, .. } => {
            let uid = cmd!(shell, "id -u -- {user}").quiet().read().context("look up the user's number")?;
            (Some(user.clone()), uid == "0")
        }
        Identity::User => (None, systemd::is_root()),
    };
    if !is_root || allow_root {
        return Ok(user);
    }
    let message = format!("the backup of {} would run as root, and it should not", context.root.display());
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with_hint(
            "name a user who may read the databases: --run-as USER, or `run_as` in the settings; or --allow-root",
        )
        .into())
}

/// Makes sure that this project has no other timer than `ours`, and that the place of the `program` is its own.
pub fn require_free(
    context: &Context<'_>,
    shell: &Shell,
    program: &Path,
    ours: Option<(Scope, &String)>,
) -> anyhow::Result<()> {
    for scope in [Scope::System, Scope::User] {
        let manager = Manager::new(scope, shell);
        let mut installed = all(&manager, &context.root)?.into_iter();
        if let Some(other) = installed.find(|origin| ours != Some((scope, &origin.unit))) {
            let flag = if scope == Scope::User { " --user" } else { "" };
            let remedy = format!("uninstall-timer{flag} --unit {}", other.unit);
            return Err(scheduled_already(&format!("{}.timer", other.unit), &remedy));
        }
        let mut others = manager.installed()?.into_iter();
        if let Some(other) = others.find(|origin| origin.program == program && origin.root != context.root) {
            let (program, root) = (program.display(), other.root.display());
            let message = format!("{program} belongs to {root}, which {}.timer backs up", other.unit);
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("give this project another name: `project` in the settings")
                .into());
        }
    }
    Ok(())
}

fn scheduled_already(by: &str, remedy: &str) -> anyhow::Error {
    Error::new(ErrorKind::InvalidInput, format!("this project is scheduled already, by {by}"))
        .with_hint(format!("remove that first: cargo xtask {remedy}"))
        .into()
}

/// The units with their places. What is there has to be this project's, unless `force` says otherwise.
fn place(manager: &Manager<'_>, spec: &Spec, force: bool) -> anyhow::Result<Vec<Placed>> {
    let folder = manager.unit_folder()?;
    let units = spec.render()?;
    let files: Vec<String> = units.iter().map(|unit| unit.file.clone()).collect();
    let states = manager.states(&files)?;
    let placed = units.into_iter().zip(states).map(|(unit, state)| {
        let path = folder.join(&unit.file);
        let old = path.symlink_metadata().is_ok().then(|| fs::read_to_string(&path).unwrap_or_default());
        Placed { unit, path, old, state }
    });
    let placed: Vec<Placed> = placed.collect();
    match placed.iter().find_map(|placed| foreign(placed, &spec.origin.root)).filter(|_| !force) {
        None => Ok(placed),
        Some(foreign) => {
            let message = format!("{foreign} is in the way: install-timer did not write it for this project");
            Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("choose another name with --unit NAME, or replace it with --force")
                .into())
        }
    }
}

/// The unit in the place of this one, or the distribution's that it would cover, if it isn't this project's.
fn foreign(placed: &Placed, root: &Path) -> Option<String> {
    if let Some(old) = &placed.old {
        let ours = Origin::read(old).is_some_and(|origin| origin.root == root);
        return (!ours).then(|| placed.path.display().to_string());
    }
    let covered = placed.state.get("FragmentPath");
    (!covered.is_empty()).then(|| covered.to_string())
}

/// Shows what will be different in a text that is there.
pub fn show_difference(context: &Context<'_>, name: &str, old: &str, new: &str) {
    let diff = TextDiff::from_lines(old, new).unified_diff().header(name, "as it will be").to_string();
    for line in diff.lines() {
        let tone = match line.as_bytes().first() {
            Some(b'+') => Tone::Good,
            Some(b'-') => Tone::Bad,
            _ => Tone::Faint,
        };
        context.output.line(&paint(tone, &printable(line)));
    }
}

/// Makes a folder for whoever the jobs run as, who could not make it: `false` if it is there.
pub fn make_folder(
    manager: &Manager<'_>,
    identity: &Identity,
    steps: &mut Steps<'_>,
    folder: &Path,
) -> anyhow::Result<bool> {
    if folder.exists() {
        return Ok(false);
    }
    let folder = word(folder)?;
    let owner = match identity {
        Identity::System { user, group } => vec!["-o", user, "-g", group],
        Identity::User => Vec::new(),
    };
    steps.run(&manager.change(&["install", "-d", "-m", "0700"]).and(owner).and([folder]))?;
    steps.undo_by([manager.change(&["rmdir", folder])]);
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
        steps.run(&as_root("enable-linger")).map_err(|error| {
            let message = format!("the timer would run only while you are logged in: {error:#}");
            Error::new(ErrorKind::PermissionDenied, message)
                .with_hint(format!("have root run `loginctl enable-linger {user}`, then install again"))
        })?;
        steps.undo_by([as_root("disable-linger")]);
    }
    if !dry_run {
        manager.wait_until_up()?;
    }
    Ok(false)
}

/// Checks the units, strictly, and puts those that changed in their places.
fn put(
    manager: &Manager<'_>,
    steps: &mut Steps<'_>,
    spec: &Spec,
    units: &[Placed],
    temporary: &TempDir,
) -> anyhow::Result<()> {
    let folder = manager.unit_folder()?;
    let folder_name = word(&folder)?;
    let old = temporary.path().join("old");
    fs::create_dir(&old).context("make a folder for the units that are replaced")?;
    let _there = steps.enter(temporary.path());
    let copy = manager.change(&["install", "-m", "0644", "-t", folder_name]);
    // All are checked, since they name each other.
    let (mut all, mut changed, mut undo) = (Vec::new(), Vec::new(), Vec::new());
    for placed in units {
        let Unit { file, text: new } = &placed.unit;
        fs::write(temporary.path().join(file), new).context("write a unit")?;
        all.push(file.clone());
        if !placed.is_changed() {
            continue;
        }
        changed.push(file.clone());
        undo.push(match &placed.old {
            Some(text) => {
                fs::write(old.join(file), text).context("keep a unit that is replaced")?;
                copy.clone().and([word(&old.join(file))?])
            }
            None => manager.change(&["rm", "-f", word(&placed.path)?]),
        });
    }
    undo.push(manager.systemctl(&["daemon-reload"]));
    steps.run(&manager.verify(&all).refusing(&spec.origin.unit))?;
    if !folder.exists() {
        steps.run(&manager.change(&["install", "-d", "-m", "0755", folder_name]))?;
        steps.undo_by([manager.change(&["rmdir", folder_name])]);
    }
    steps.undo_by(undo);
    steps.run(&copy.and(changed))?;
    steps.run(&manager.systemctl(&["daemon-reload"]))
}

/// Lets the timers start with the machine, and, if `start` says so, now: `true` if they do already.
fn enable(manager: &Manager<'_>, steps: &mut Steps<'_>, units: &[Placed], start: bool) -> anyhow::Result<bool> {
    let timers: Vec<&Placed> = units.iter().filter(|placed| placed.unit.file.ends_with(".timer")).collect();
    let is_on = |timer: &&Placed| timer.state.is_enabled() && (!start || timer.state.is_active());
    if timers.iter().all(is_on) {
        return Ok(true);
    }
    let files =
        |timers: &mut dyn Iterator<Item = &&Placed>| timers.map(|timer| timer.unit.file.clone()).collect::<Vec<_>>();
    let were_off = files(&mut timers.iter().filter(|timer| !timer.state.is_enabled()));
    if !were_off.is_empty() {
        steps.undo_by([manager.systemctl(&["disable", "--now"]).and(were_off)]);
    }
    let words: &[&str] = if start { &["enable", "--now"] } else { &["enable"] };
    steps.run(&manager.systemctl(words).and(files(&mut timers.iter())))?;
    Ok(false)
}
