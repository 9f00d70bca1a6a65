//! Giving up root. If root starts this program on a project or a store of another user, the program becomes that user
//! before it opens settings, store or sources: for good, with that user's groups. So no file of that user decides what root
//! does, and winning a race gains no right that the user doesn't have.
//!
//! Root stays root to install and remove a schedule, to start one of its units, and to read the system's journal. In a
//! restore, a process of its own stays root to stop and start the application's unit ([`crate::application`]).
//!
//! The process is not started anew. So the kernel keeps the user from tracing it (`man 2 prctl`, `PR_SET_DUMPABLE`), and
//! from getting at root's terminal.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup::{Error, ErrorKind};

use crate::application::Switch;
use crate::cli::{Cli, Command, ProjectCommand, Restore, ScheduleCommand};
use crate::config::{Config, FILE};
use crate::context::{Context, root};
use crate::output::Output;
use crate::sample::folder;
use crate::user::account::{self, Account};
use crate::user::writers::{self, Outsider, Writer};

/// Becomes the owner of the project or store, if root started this process and the owner is another user. Returns the
/// switch of the application's unit for a restore.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`] if a group or everybody can write where root would act, or if the system doesn't let
/// this process become that user; [`ErrorKind::InvalidInput`] if cargo runs as root in another user's checkout, or if
/// root can't stop the application's unit.
pub fn give_up(cli: &Cli, output: &Output) -> anyhow::Result<Option<Switch>> {
    if !account::is_root() {
        return Ok(None);
    }
    refuse_cargo()?;
    if stays_root(&cli.command) {
        return Ok(None);
    }
    let Some((writer, config)) = owner(cli)? else { return Ok(None) };
    let account = Account::of(writer);
    let switch = match &cli.command {
        Command::Project(ProjectCommand::Restore(args)) => switch(args, config.as_ref(), &account)?,
        _ => None,
    };
    account.enter()?;
    output.note(&format!("running as {}, who owns {}, instead of as root", account.name, account.place.display()));
    account.remember();
    Ok(switch)
}

/// As [`give_up`], without a message, since a shell reads the output.
pub fn give_up_silently(cli: &Cli) -> anyhow::Result<()> {
    let writer = if account::is_root() { owner(cli)? } else { None };
    writer.map_or(Ok(()), |(writer, _)| Account::of(writer).enter())
}

/// Refuses to run under cargo as root in a checkout that others can write. By now cargo has run their build scripts,
/// but root should know.
fn refuse_cargo() -> anyhow::Result<()> {
    let Some(checkout) = env::var_os("CARGO_MANIFEST_DIR").filter(|_| env::var_os("CARGO").is_some()) else {
        return Ok(());
    };
    let Some(writer) = writers::besides_root(Path::new(&checkout))? else { return Ok(()) };
    let who = writer.name();
    let message = format!("cargo has just built and run, as root, code that {who} can write: {}", checkout.display());
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with_hint(format!(
            "run cargo as {who}: steps that need root ask sudo for it; or, as root, run the installed program"
        ))
        .into())
}

/// Whether a command stays root, since it needs to, or opens no file of another user.
fn stays_root(command: &Command) -> bool {
    match command {
        Command::Project(command) => {
            matches!(command, ProjectCommand::InstallTimer(_) | ProjectCommand::InstallCron(_))
        }
        Command::Schedule(command) => !matches!(command, ScheduleCommand::Timer(_)),
        Command::Init(_) | Command::Doctor(_) | Command::Demo(_) | Command::Bench(_) | Command::Man { .. } => false,
        Command::Completions { .. } => true,
    }
}

/// The folder in which a command makes a new project; none for other commands.
fn workplace(cli: &Cli) -> anyhow::Result<Option<PathBuf>> {
    let folder = match &cli.command {
        Command::Init(args) => args.dir.clone().or(cli.global.root.clone()).unwrap_or_else(|| ".".into()),
        Command::Demo(args) => args.dir.clone().map_or_else(|| folder::default("demo"), Ok)?,
        Command::Bench(args) => args.dir.clone().map_or_else(|| folder::default("bench"), Ok)?,
        Command::Man { dir } => dir.clone(),
        _ => return Ok(None),
    };
    Ok(Some(std::path::absolute(folder).context("find the current folder")?))
}

/// The first user besides root who can change the files that a run of this project acts on; none if only root can.
pub fn writer(context: &Context<'_>) -> backup::Result<Option<Writer>> {
    match first_writer([context.root.clone(), context.settings_file()])? {
        None => writer_of(context.store.folder(), &context.root, &context.config, (true, true)),
        writer => Ok(writer),
    }
}

/// Somebody who can write the settings, but is neither root nor the user who runs this: they must not decide what root
/// does.
pub fn stranger(context: &Context<'_>) -> backup::Result<Option<Outsider>> {
    let own = rustix::process::geteuid();
    let outsider = writers::outsider(&context.settings_file())?;
    Ok(outsider.filter(|outsider| own.is_root() || outsider.uid != Some(own.as_raw())))
}

/// The user, not root, who owns the project, or else the store, or else the folders of the sources. It comes with the
/// settings if only root can write them. None if only root can change all of it, or if there is no project; then the
/// command reports that.
fn owner(cli: &Cli) -> anyhow::Result<Option<(Writer, Option<Config>)>> {
    let global = &cli.global;
    if let Some(folder) = workplace(cli)? {
        return Ok(writers::besides_root(&folder)?.map(|writer| (writer, None)));
    }
    let Some(root) = root::find(global.root.as_deref()).ok() else { return Ok(None) };
    if let Some(writer) = first_writer(named_places(cli, &root))? {
        let file = absolute(global.config.as_deref());
        let file = file.filter(|file| writers::besides_root(file).is_ok_and(|writer| writer.is_none()));
        return Ok(Some((writer, file.and_then(|file| Config::load(&root, Some(&file)).ok()))));
    }
    let config = match Config::load(&root, global.config.as_deref()) {
        // These commands work without settings.
        Err(_) if matches!(cli.command, Command::Doctor(_) | Command::Schedule(_)) => Config::default(),
        config => config?,
    };
    let store = absolute(global.backup_dir.as_deref()).unwrap_or_else(|| root.join(&config.backup_dir));
    let writer = writer_of(&store, &root, &config, concerned(&cli.command))?;
    Ok(writer.map(|writer| (writer, Some(config))))
}

/// The root, the settings, and other places that flags name. The root is listed as typed too, since links may lead to
/// it.
fn named_places(cli: &Cli, root: &Path) -> impl Iterator<Item = PathBuf> {
    let global = &cli.global;
    let settings = absolute(global.config.as_deref()).unwrap_or_else(|| root.join(FILE));
    let to = match &cli.command {
        Command::Project(ProjectCommand::Restore(args)) => absolute(args.to.as_deref()),
        _ => None,
    };
    let flags = [to, absolute(global.scratch.as_deref())].into_iter().flatten();
    absolute(global.root.as_deref()).into_iter().chain([root.to_path_buf(), settings]).chain(flags)
}

fn absolute(path: Option<&Path>) -> Option<PathBuf> {
    path.and_then(|path| std::path::absolute(path).ok())
}

/// Whether a command is about databases, and whether about files.
fn concerned(command: &Command) -> (bool, bool) {
    match command {
        Command::Project(ProjectCommand::Backup(args)) => (!args.config_only, !args.database_only),
        Command::Project(ProjectCommand::Restore(args)) => (!args.config_only, !args.database_only),
        _ => (true, true),
    }
}

/// The first user who can replace the store, or the places of databases and files if they are `concerned`. Who can
/// change a file's content doesn't matter.
fn writer_of(store: &Path, root: &Path, config: &Config, concerned: (bool, bool)) -> backup::Result<Option<Writer>> {
    if let Some(writer) = writers::besides_root(store)? {
        return Ok(Some(writer));
    }
    let files = config.files.iter().flat_map(|set| &set.paths).filter(|_| concerned.1);
    let databases = config.database.iter().map(|database| &database.path).filter(|_| concerned.0);
    for source in databases.chain(files) {
        match writers::of_way_to(&source.under(root)) {
            Ok(None) => {}
            // A broken source doesn't stop the others; the command will report it.
            Err(error) if error.kind() != ErrorKind::PermissionDenied => {}
            other => return other,
        }
    }
    Ok(None)
}

fn first_writer(places: impl IntoIterator<Item = PathBuf>) -> backup::Result<Option<Writer>> {
    for place in places {
        if let Some(writer) = writers::besides_root(&place)? {
            return Ok(Some(writer));
        }
    }
    Ok(None)
}

/// The switch for the unit that root names, with `--stop` or in settings that only root can write.
fn switch(args: &Restore, config: Option<&Config>, account: &Account) -> anyhow::Result<Option<Switch>> {
    let set = config.map(|config| config.restore.stop_unit.as_str()).filter(|unit| !unit.is_empty());
    match args.stop.as_deref().or(set).filter(|_| !args.no_stop) {
        Some(unit) => Switch::new(unit, &account.name, account.uid),
        None => Ok(None),
    }
}
