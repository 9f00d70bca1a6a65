//! `run-now`.

use anyhow::Context as _;
use serde_json::json;
use xshell::Shell;

use crate::cli::Which;
use crate::context::Context;
use crate::exit::{Exit, Signals};
use crate::schedule::systemd::Manager;
use crate::schedule::{self, Installed, journal};
use crate::text::{Tone, took};

pub fn run(context: &Context<'_>, which: &Which) -> anyhow::Result<Exit> {
    let shell = Shell::new().context("find the current folder")?;
    let Installed { scope, origin } = schedule::require(context, &shell, which)?;
    let manager = Manager::new(scope, &shell);
    manager.require_sudo()?;
    Signals::catch().context("catch signals")?;
    let unit = format!("{}.service", origin.unit);
    let ran = journal::run(context, &manager, &unit)?;
    let ok = ran.result == "success";
    let exit = if ok { Exit::Done } else { ran.exit_status.map_or(Exit::Failed, Exit::of_status) };
    let time = ran.duration_ms.map(took).unwrap_or_default();
    let tone = if ok { Tone::Good } else { Tone::Bad };
    context.output.done(tone, &format!("{unit}: {}, in {time}", ran.result));
    context.output.json(&json!({ "unit": unit, "run": {
        "at": ran.at,
        "duration_ms": ran.duration_ms,
        "ok": ok,
        "result": ran.result,
        "exit_status": ran.exit_status,
    } }))?;
    Ok(exit)
}
