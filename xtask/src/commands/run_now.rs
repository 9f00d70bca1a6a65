//! `run-now`.

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::{Exit, Signals};
use crate::schedule::timer::installation::Installation;
use crate::schedule::{journal, timers, which};
use crate::step;
use crate::systemd::manager::Manager;
use crate::systemd::state::ServiceRun;
use crate::text::{Tone, took};

pub fn run(context: &Context<'_>, args: &cli::RunNow) -> anyhow::Result<Exit> {
    let shell = step::shell()?;
    let Installation { scope, origin, drill, .. } = which::require(context, &shell, &args.which)?;
    let manager = Manager::new(scope, &shell);
    let unit = format!("{}.service", if args.drill { drill } else { origin.unit });
    manager.require_root(context, &["systemctl", "start", "--no-block", &unit])?;
    Signals::catch().context("catch signals")?;
    let ran = journal::run(context, &manager, &unit)?;
    let ok = ran.result == "success";
    let ServiceRun { at, duration_ms, result, exit_status } = ran;
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
