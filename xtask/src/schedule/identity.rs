//! The user that the jobs run as, and the settings that root doesn't follow.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use xshell::{Shell, cmd};

use super::units::Identity;
use crate::config::Config;
use crate::context::Context;
use crate::privilege;
use crate::user::account::is_root;

/// The user of a system service, or of cron's jobs: `run_as`, or the setting, or the owner of the project's folder.
pub fn identity(context: &Context<'_>, shell: &Shell, run_as: Option<&str>) -> anyhow::Result<Identity> {
    let named = run_as.or(Some(context.config.schedule.run_as.as_str()).filter(|user| !user.is_empty()));
    let folder = fs::metadata(&context.root).context("find the owner of the project's folder")?;
    let user = named.map_or_else(|| folder.uid().to_string(), str::to_string);
    let name = id(shell, "-un", &user)?;
    // The owner gets the folder's group: it may be needed to read the files.
    let is_folders = named.is_none() && folder.gid() != 0;
    let group = if is_folders { group_name(shell, folder.gid()) } else { id(shell, "-gn", &user)? };
    Ok(Identity::System { user: name, group })
}

/// A group's name, or number if it has none.
fn group_name(shell: &Shell, gid: u32) -> String {
    let gid = gid.to_string();
    let known = cmd!(shell, "getent group {gid}").quiet().ignore_stderr().read().ok();
    known.and_then(|line| Some(line.split_once(':')?.0.to_string())).unwrap_or(gid)
}

/// A user's number.
pub fn uid(shell: &Shell, user: &str) -> anyhow::Result<String> {
    id(shell, "-u", user)
}

/// Asks `id`: unlike a library, it knows every source of users on this host.
fn id(shell: &Shell, flag: &str, user: &str) -> anyhow::Result<String> {
    cmd!(shell, "id {flag} -- {user}").quiet().ignore_stderr().read().map_err(|_| {
        Error::new(ErrorKind::InvalidInput, format!("there is no user {user} to run the backup"))
            .with_hint("name one with --run-as USER, or with `run_as` in the settings")
            .into()
    })
}

/// Makes sure that root doesn't follow settings that somebody else can write, where they would decide who the jobs run as,
/// or which folder root makes. The hint names another `way` first.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], with the flag to use instead.
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
    let is_named = context.flags.backup_dir.is_none() && context.config.backup_dir != Config::default().backup_dir;
    let existing = folder.ancestors().find_map(|folder| fs::metadata(folder).ok());
    if is_named && existing.is_none_or(|found| Some(found.uid()) != stranger.uid) {
        let hint = format!("if that is intended: --backup-dir {}", folder.display());
        return Err(refused(&format!("`backup_dir`, {},", folder.display()), hint));
    }
    Ok(())
}

/// The user that the jobs run as; root only if `allow_root` is set. None for a user's own.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], with the flag that allows it.
pub fn allowed_user(
    context: &Context<'_>,
    shell: &Shell,
    identity: &Identity,
    allow_root: bool,
) -> anyhow::Result<Option<String>> {
    let (user, is_roots) = match identity {
        Identity::System { user, .. } => (Some(user.clone()), uid(shell, user)? == "0"),
        Identity::User => (None, is_root()),
    };
    if !is_roots {
        return Ok(user);
    }
    require_no_writer(context)?;
    if allow_root {
        return Ok(user);
    }
    let hint = match identity {
        Identity::System { .. } => "name a user who may read the databases: --run-as USER, or `run_as` in the settings",
        Identity::User => "become the user whose project it is, or install for the system, without --user",
    };
    let message = format!("the backup of {} would run as root, which it should not", context.root.display());
    Err(Error::new(ErrorKind::InvalidInput, message).with_hint(format!("{hint}; or insist: --allow-root")).into())
}

/// Makes sure that only root can change the files that a run as root acts on.
fn require_no_writer(context: &Context<'_>) -> backup::Result<()> {
    let Some(writer) = privilege::writer(context)? else { return Ok(()) };
    let (root, name, place) = (context.root.display(), writer.name(), writer.place.display());
    let message = format!("the backup of {root} would run as root, but {name} can replace {place}");
    let hint = format!("let {name} make the backups: --run-as {name}");
    Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint))
}
