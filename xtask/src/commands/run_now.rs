//! `run-now`.

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::{Exit, Signals};
use crate::schedule::systemd::{Manager, Ran};
use crate::schedule::{self, Installed, journal, steps, timers};
use crate::text::{Tone, took};

pub fn run(context: &Context<'_>, args: &cli::RunNow) -> anyhow::Result<Exit> {
    let shell = steps::shell()?;
    let Installed { scope, origin } = schedule::require(context, &shell, &args.which)?;
    let manager = Manager::new(scope, &shell);
    let unit = format!("{}{}.service", origin.unit, if args.drill { "-verify" } else { "" });
    manager.require_root(context, &["systemctl", "start", "--no-block", &unit])?;
    Signals::catch().context("catch signals")?;
    let ran = journal::run(context, &manager, &unit)?;
    let ok = ran.result == "success";
    let Ran { at, duration_ms, result, exit_status } = ran;
    let time = duration_ms.map(|time| format!(", in {}", took(time))).unwrap_or_default();
    if ok {
        context.output.done(Tone::Good, &format!("{unit} went well{time}"));
    } else {
        let how = match exit_status {
            Some(status) if Exit::of_status(status) == Exit::Partly => format!("is {}", timers::failure(status)),
            Some(status) => timers::failure(status),
            None => format!("failed ({result})"),
        };
        let logs = context.command(&["logs"]);
        let failed = Error::new(ErrorKind::Io, format!("{unit} {how}{time}"));
        context.output.problem(&failed.with_hint(format!("what it said before: {logs}")));
    }
    context.output.json(&json!({ "unit": unit, "run": {
        "at": at,
        "duration_ms": duration_ms,
        "ok": ok,
        "result": result,
        "exit_status": exit_status,
    } }))?;
    Ok(if ok { Exit::Done } else { exit_status.map_or(Exit::Failed, Exit::of_status) })
}
