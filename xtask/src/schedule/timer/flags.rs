//! Flags of `install-timer`: the given ones, and those of an earlier installation that are not given again.

use backup::{Error, ErrorKind};

use super::installation::{Installation, origins};
use crate::cli;
use crate::context::Context;
use crate::schedule::units::{Flags, Origin};
use crate::systemd::manager::Manager;

/// All flags, given and remembered.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if a flag is missing that says where settings or backups are.
pub fn all(
    context: &Context<'_>,
    manager: &Manager<'_>,
    unit: &str,
    args: &cli::InstallTimer,
) -> anyhow::Result<Flags> {
    let given = given(context, args);
    let is_same = |origin: &Origin| origin.root == context.root && origin.unit == unit;
    let Some(origin) = origins(manager)?.into_iter().find(is_same) else { return Ok(given) };
    let earlier = origin.flags.clone();
    // This command has already used these, so they can't be added now.
    let forgotten = (earlier.config.is_some() && given.config.is_none())
        || (earlier.backup_dir.is_some() && given.backup_dir.is_none());
    if forgotten {
        let again = Installation::new(manager, origin)?.again(context);
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

fn given(context: &Context<'_>, args: &cli::InstallTimer) -> Flags {
    Flags {
        config: context.flags.config.clone(),
        backup_dir: context.flags.backup_dir.clone(),
        on_calendar: args.on_calendar.clone(),
        randomized_delay: args.randomized_delay.map(|delay| humantime::format_duration(delay).to_string()),
        run_as: args.run_as.clone(),
        allow_root: args.allow_root,
    }
}
