//! Collects the input of a project's schedule: its settings, its place, the flags.

use std::path::{Path, PathBuf};

use backup::{Error, ErrorKind, FolderStore};
use xshell::Shell;

use super::identity::identity;
use super::program;
use super::units::{self, Flags, Identity, Origin, Spec};
use crate::config::parse_duration;
use crate::context::Context;
use crate::step::word;
use crate::systemd::{self, Scope};

/// The default name of units.
pub fn default_unit(slug: &str) -> String {
    format!("{slug}-backup")
}

/// The project's name in a form for file names.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it has no letter or digit.
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

/// The units called `unit`, for the current settings and place of the project, with the `flags` over them.
pub fn spec(context: &Context<'_>, shell: &Shell, scope: Scope, unit: String, flags: Flags) -> anyhow::Result<Spec> {
    let config = &context.config.schedule;
    let program = program::path(scope, &slug(context)?)?;
    let delay = flags.randomized_delay.as_deref().map(parse_duration).transpose().map_err(anyhow::Error::msg)?;
    let identity = match scope {
        Scope::System => identity(context, shell, flags.run_as.as_deref())?,
        Scope::User => Identity::User,
    };
    let backups = ways_to(context.store.folder());
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
        data: data(context),
        readable: readable(context, &program),
        has_command: !context.config.drill.command.is_empty(),
        follows: context.config.increments.is_on(),
        origin: Origin { unit, root: context.root.clone(), program, flags },
    })
}

/// The folders of the databases.
fn data(context: &Context<'_>) -> Vec<PathBuf> {
    let databases = context.config.database.iter().map(|database| database.path.under(&context.root));
    let databases: Vec<PathBuf> = databases.flat_map(|path| ways_to(&path)).collect();
    distinct(databases.iter().filter_map(|path| path.parent()).map(Path::to_path_buf))
}

/// Paths that a job reads: the project, the program, the sources, the settings.
fn readable(context: &Context<'_>, program: &Path) -> Vec<PathBuf> {
    let needed = [context.root.clone(), program.to_path_buf()].into_iter().chain(sources(context));
    distinct(needed.chain(context.settings.iter().cloned()).flat_map(|path| ways_to(&path)))
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
    if let Some(folder) = &context.flags.backup_dir {
        words.extend(["--backup-dir".into(), folder.clone()]);
    }
    words.iter().map(|path| Ok(word(path)?.to_string())).collect()
}

/// A path as it is written, and without links.
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
