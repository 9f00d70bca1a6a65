//! Installing the timers.
//!
//! Everything that can be checked is checked before the first change: the calendar, that no foreign unit is in the way, that
//! nothing else schedules the project. systemd can check the units only when the program that they start is in its place.
//! If a step fails, all steps before it are undone ([`Steps`]).

use std::fs;
use std::io::ErrorKind::NotFound;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde::Serialize;
use xshell::Shell;

use super::files::{self, UnitFile};
use super::{flags, older, start};
use crate::cli;
use crate::context::Context;
use crate::hints;
use crate::schedule::conflict::require_only;
use crate::schedule::identity::{allowed_user, require_choice_of_root};
use crate::schedule::lock::lock;
use crate::schedule::spec::{default_unit, slug, sources, spec};
use crate::schedule::steps::Steps;
use crate::schedule::units::Spec;
use crate::schedule::{folders, program};
use crate::systemd::manager::Manager;
use crate::systemd::{self, Scope};

/// The changes of an installation, or of a dry run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the units' names begin with.
    pub unit: String,
    /// Whose service manager has them.
    pub scope: Scope,
    /// The user of the services; none if they are a user's own.
    pub user: Option<String>,
    /// The installed copy of this program.
    pub program: PathBuf,
    /// The units that were made or replaced.
    pub changed: Vec<PathBuf>,
    /// Whether nothing had to be done.
    pub unchanged: bool,
}

/// Installs the timers.
///
/// # Errors
/// [`backup::ErrorKind::InvalidInput`] if a flag or setting can't be used or a file is in the way;
/// [`backup::ErrorKind::Locked`]; a step that failed.
pub fn install(context: &Context<'_>, shell: &Shell, args: &cli::InstallTimer) -> anyhow::Result<Report> {
    systemd::require()?;
    let manager = Manager::new(if args.user { Scope::User } else { Scope::System }, shell);
    if !args.dry_run {
        require_root(context, &manager)?;
    }
    let _lock = lock(context)?;
    let plan = plan(context, &manager, args)?;
    let changed: Vec<&UnitFile> = plan.files.iter().filter(|file| file.is_changed()).collect();
    for file in &changed {
        file.show(context.output, args.dry_run);
    }
    let unchanged = !carry_out(context, &manager, &plan, args)?;
    warn_of_sources(context, manager.scope);
    let changed = changed.into_iter().map(|file| file.path.clone()).collect();
    let Plan { spec, user, .. } = plan;
    Ok(Report { unit: spec.origin.unit, scope: manager.scope, user, program: spec.origin.program, changed, unchanged })
}

/// Makes sure that the steps can run as root.
fn require_root(context: &Context<'_>, manager: &Manager<'_>) -> backup::Result<()> {
    manager.require_root(context, &["systemctl", "daemon-reload"]).map_err(|error| {
        let hint = hints::joined(hints::of(&error).as_deref(), "or install timers of your own with --user");
        error.with_hint(hint)
    })
}

/// An installation to be carried out.
struct Plan {
    spec: Spec,
    /// Who the services run as; none if they are a user's own.
    user: Option<String>,
    files: Vec<UnitFile>,
}

/// Checks all that can be checked before anything is changed.
fn plan(context: &Context<'_>, manager: &Manager<'_>, args: &cli::InstallTimer) -> anyhow::Result<Plan> {
    let shell = manager.shell;
    let unit = unit_name(context, args.unit.as_deref())?;
    let flags = flags::all(context, manager, &unit, args)?;
    if manager.scope == Scope::System {
        require_choice_of_root(context, shell, flags.run_as.as_deref(), "say who: --run-as USER; or ")?;
    }
    let spec = spec(context, shell, manager.scope, unit, flags)?;
    let user = allowed_user(context, shell, &spec.identity, spec.origin.flags.allow_root)?;
    check_calendars(shell, &spec, args)?;
    require_only(context, manager, &spec.origin.unit, user.as_deref(), args.dry_run)?;
    program::require_own(&spec.origin.program, &context.root)?;
    let files = files::place(manager, &spec, args.force)?;
    Ok(Plan { spec, user, files })
}

/// Carries it out. `false` if nothing had to be done.
fn carry_out(
    context: &Context<'_>,
    manager: &Manager<'_>,
    plan: &Plan,
    args: &cli::InstallTimer,
) -> anyhow::Result<bool> {
    let origin = &plan.spec.origin;
    let mut steps = Steps::new(manager, context.output, &origin.unit, args.dry_run)?;
    let lingers = manager.scope == Scope::User && start::linger(&mut steps, args.dry_run)?;
    let made = folders::make_private(&mut steps, plan.user.as_deref(), context.store.folder())?;
    let copied = program::install(&mut steps, &origin.program, &context.root)?;
    let put = files::put(context, &mut steps, &plan.files)?;
    let enabled = start::enable(&mut steps, &plan.files, !args.no_start)?;
    let removed = older::remove(context, &mut steps, origin, &plan.files)?;
    let follows = start::follow(&mut steps, &plan.files, !args.no_start, copied)?;
    steps.finish();
    Ok(lingers || made || copied || put || enabled || removed || follows)
}

fn check_calendars(shell: &Shell, spec: &Spec, args: &cli::InstallTimer) -> anyhow::Result<()> {
    let name = if args.on_calendar.is_some() { "--on-calendar" } else { "`on_calendar` in the settings" };
    systemd::check_calendar(shell, name, &spec.on_calendar)?;
    systemd::check_calendar(shell, "`drill_on_calendar` in the settings", &spec.drill_on_calendar)
}

/// The name of the units: the flag, or the setting, or the project's.
fn unit_name(context: &Context<'_>, given: Option<&str>) -> anyhow::Result<String> {
    let set = Some(context.config.schedule.unit.as_str()).filter(|unit| !unit.is_empty());
    Ok(match given.or(set) {
        Some(unit) => unit.to_string(),
        None => default_unit(&slug(context)?),
    })
}

/// Warns of missing sources, and of sources whose owner or group a user's own service can't see: in its sandbox, all other
/// users are nobody.
fn warn_of_sources(context: &Context<'_>, scope: Scope) {
    let ours = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for path in sources(context) {
        let name = path.display();
        match fs::metadata(&path) {
            Err(e) if e.kind() == NotFound => {
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
