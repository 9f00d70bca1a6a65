//! What root gives up. Started by root on a project or a store of another user's, this program becomes that user before it
//! opens settings, store or sources: for good, with that user's groups. So nothing that the user can write there decides
//! what root does, and nothing that a race could win is worth more than the user has anyway.
//!
//! Root's own are: installing and removing a schedule, starting one of its units, the system's journal; and, of a restore,
//! stopping and starting the application's unit, by way of a process that can do just that ([`crate::application`]).
//!
//! This process isn't started anew for it. So the kernel keeps the user from tracing it (`man 2 prctl`,
//! `PR_SET_DUMPABLE`), and with it from root's terminal.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsString};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use nix::unistd::{self, Gid, Uid, User};

use crate::application::Switch;
use crate::cli::{Cli, Command, ProjectCommand, Restore, ScheduleCommand};
use crate::config::{Config, FILE};
use crate::context::Context;
use crate::folder;
use crate::output::Output;
use crate::root;
use crate::writers::{self, Who, Writer};

/// The user that this process has become.
static BECAME: OnceLock<Account> = OnceLock::new();

/// A user, and why this process became that one.
#[derive(Debug)]
pub struct Account {
    /// The user's name, or number if it has none.
    pub name: String,
    uid: Uid,
    gid: Gid,
    /// The user's home folder; `/` if none is known.
    pub home: PathBuf,
    /// What belongs to the user.
    place: PathBuf,
}

/// The user that this process has become; none if it runs as whoever started it.
pub fn became() -> Option<&'static Account> {
    BECAME.get()
}

/// Becomes the user whose project or store this is about, if root started this process and it is another user's. Gives
/// what can stop and start the application's unit in a restore.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`] if a group or everybody can write where root would act, or if the system doesn't let
/// this process become that user; [`ErrorKind::InvalidInput`] if cargo builds a checkout of another user's as root, or if
/// the application's unit can't be stopped by root's right.
pub fn give_up(cli: &Cli, output: &Output) -> anyhow::Result<Option<Switch>> {
    if !unistd::geteuid().is_root() {
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
    output.note(&format!("running as {}, who owns {}, and not as root", account.name, account.place.display()));
    // No other thread runs yet, so nothing was set before.
    let _ = BECAME.set(account);
    Ok(switch)
}

/// As [`give_up`], to answer a shell, which wants to hear of nothing.
pub fn give_up_silently(cli: &Cli) -> anyhow::Result<()> {
    let writer = if unistd::geteuid().is_root() { owner(cli)? } else { None };
    writer.map_or(Ok(()), |(writer, _)| Account::of(writer).enter())
}

/// Cargo runs build scripts, and then this program, of whoever can write to the checkout. It is too late for the first,
/// but not for saying so.
fn refuse_cargo() -> anyhow::Result<()> {
    let Some(checkout) = env::var_os("CARGO_MANIFEST_DIR").filter(|_| env::var_os("CARGO").is_some()) else {
        return Ok(());
    };
    let Some(writer) = writers::besides_root(Path::new(&checkout))? else { return Ok(()) };
    let who = writer.name();
    let message = format!("cargo has just built and run as root what {who} can write: {}", checkout.display());
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with_hint(format!(
            "run cargo as {who}: steps that need root ask sudo for it; or, as root, run the installed program"
        ))
        .into())
}

/// Whether a command is root's own, or opens nothing of anybody's.
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

/// The folder that a command makes something in, if it is about no project yet.
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

/// Who but root can change what a run of this project's acts on; none if only root can.
pub fn writer(context: &Context<'_>) -> backup::Result<Option<Writer>> {
    match first_writer([context.root.clone(), context.settings_file()])? {
        None => writer_of(context.store.folder(), &context.root, &context.config, (true, true)),
        writer => Ok(writer),
    }
}

/// Who can write the settings, and has no right to decide what root does by them: neither root nor who asks root for it.
pub fn stranger(context: &Context<'_>) -> backup::Result<Option<Who>> {
    let own = unistd::geteuid();
    Ok(writers::who(&context.settings_file())?.filter(|who| own.is_root() || who.uid != Some(own.as_raw())))
}

/// Whose the project is, or else the store, or else the folders of the sources, if not root's; and the settings, if they
/// are root's. None if nobody but root can change any of it, or if it can't be found, which the command itself will say.
fn owner(cli: &Cli) -> anyhow::Result<Option<(Writer, Option<Config>)>> {
    let global = &cli.global;
    let absolute = |path: Option<&Path>| path.and_then(|path| std::path::absolute(path).ok());
    if let Some(folder) = workplace(cli)? {
        return Ok(writers::besides_root(&folder)?.map(|writer| (writer, None)));
    }
    let Some(root) = root::find(global.root.as_deref()).ok() else { return Ok(None) };
    // The path as it was given may lead there by way of links.
    let given = absolute(global.root.as_deref());
    let config = absolute(global.config.as_deref());
    let settings = config.clone().unwrap_or_else(|| root.join(FILE));
    let to = match &cli.command {
        Command::Project(ProjectCommand::Restore(args)) => absolute(args.to.as_deref()),
        _ => None,
    };
    let flags = [to, absolute(global.scratch.as_deref())].into_iter().flatten();
    if let Some(writer) = first_writer(given.into_iter().chain([root.clone(), settings]).chain(flags))? {
        let config = config.filter(|file| writers::besides_root(file).is_ok_and(|writer| writer.is_none()));
        return Ok(Some((writer, config.and_then(|file| Config::load(&root, Some(&file)).ok()))));
    }
    let config = match Config::load(&root, global.config.as_deref()) {
        // Those do without the settings.
        Err(_) if matches!(cli.command, Command::Doctor(_) | Command::Schedule(_)) => Config::default(),
        config => config?,
    };
    let store = absolute(global.backup_dir.as_deref()).unwrap_or_else(|| root.join(&config.backup_dir));
    let writer = writer_of(&store, &root, &config, concerned(&cli.command))?;
    Ok(writer.map(|writer| (writer, Some(config))))
}

/// Whether a command is about databases, and whether about files.
fn concerned(command: &Command) -> (bool, bool) {
    match command {
        Command::Project(ProjectCommand::Backup(args)) => (!args.config_only, !args.database_only),
        Command::Project(ProjectCommand::Restore(args)) => (!args.config_only, !args.database_only),
        _ => (true, true),
    }
}

/// Who can exchange the store, or where databases and files lead, if they are `concerned`. Their content doesn't matter.
fn writer_of(store: &Path, root: &Path, config: &Config, concerned: (bool, bool)) -> backup::Result<Option<Writer>> {
    if let Some(writer) = writers::besides_root(store)? {
        return Ok(Some(writer));
    }
    let files = config.files.iter().flat_map(|set| &set.paths).filter(|_| concerned.1);
    let databases = config.database.iter().map(|database| &database.path).filter(|_| concerned.0);
    for source in databases.chain(files) {
        match writers::of_way_to(&source.under(root)) {
            Ok(None) => {}
            // A source that leads nowhere costs no more than itself, which the command will say.
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

/// What stops the unit that root names, with `--stop` or in settings that only root can write.
fn switch(args: &Restore, config: Option<&Config>, account: &Account) -> anyhow::Result<Option<Switch>> {
    let set = config.map(|config| config.restore.stop_unit.as_str()).filter(|unit| !unit.is_empty());
    match args.stop.as_deref().or(set).filter(|_| !args.no_stop) {
        Some(unit) => Switch::new(unit, &account.name, account.uid.as_raw()),
        None => Ok(None),
    }
}

impl Account {
    /// Of whoever owns that. A number that no user has keeps the group of what it owns.
    fn of(writer: Writer) -> Self {
        let uid = Uid::from_raw(writer.uid);
        let place = writer.place;
        if let Some(user) = User::from_uid(uid).ok().flatten() {
            return Self { name: user.name, uid, gid: user.gid, home: user.dir, place };
        }
        Self { name: uid.to_string(), uid, gid: Gid::from_raw(writer.gid), home: PathBuf::from("/"), place }
    }

    /// Why something may be denied to the user, and what to do about it.
    pub fn hint(&self) -> String {
        format!("this runs as {0}, who owns {1}: give what it needs to {0}", self.name, self.place.display())
    }

    /// Becomes that user, and makes sure that there is no way back.
    fn enter(&self) -> anyhow::Result<()> {
        let name = CString::new(self.name.as_str()).context("read the user's name")?;
        let is_known = self.name != self.uid.to_string();
        let entered = if is_known { unistd::initgroups(&name, self.gid) } else { unistd::setgroups(&[]) }
            .and_then(|()| unistd::setresgid(self.gid, self.gid, self.gid))
            .and_then(|()| unistd::setresuid(self.uid, self.uid, self.uid));
        entered.map_err(|e| {
            let why = format!("{} owns {}, and root can't become {0} here: {e}", self.name, self.place.display());
            Error::new(ErrorKind::PermissionDenied, why).with_hint(format!("run this as {}", self.name))
        })?;
        let root = Uid::from_raw(0);
        let is_back = unistd::setresuid(root, root, root).is_ok() || unistd::getresuid()?.effective.is_root();
        anyhow::ensure!(!is_back, "this process could become root again");
        Ok(())
    }

    /// The environment for programs that the user's settings name: of root's, only what is no secret and leads nowhere.
    pub fn environment(&self) -> BTreeMap<OsString, OsString> {
        let passed = |name: &str| ["PATH", "LANG", "TERM", "TZ"].contains(&name) || name.starts_with("LC_");
        let own = [("HOME", self.home.clone().into()), ("USER", self.name.clone().into())];
        let own = own.into_iter().chain([("LOGNAME", self.name.clone().into())]);
        let inherited = env::vars_os().filter(|(name, _)| name.to_str().is_some_and(passed));
        inherited.chain(own.map(|(name, value)| (name.into(), value))).collect()
    }
}

/// Says so if the store is neither root's nor the user's that this process has become.
pub fn warn_of_store(folder: &Path, output: &Output) {
    let Some(account) = became() else { return };
    let Ok(found) = folder.metadata() else { return };
    if found.uid() != 0 && found.uid() != account.uid.as_raw() {
        let owner = Writer { uid: found.uid(), gid: found.gid(), place: folder.into() }.name();
        output.warn(&format!(
            "the backup folder {} belongs to {owner}; {} is used for it, who owns {}",
            folder.display(),
            account.name,
            account.place.display()
        ));
    }
}
