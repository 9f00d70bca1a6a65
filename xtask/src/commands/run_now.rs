//! `run-now`.

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use serde::Serialize;
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::{Exit, Signals};
use crate::output::Output;
use crate::report::Report;
use crate::schedule::systemd::{Manager, Ran};
use crate::schedule::{self, Installed, journal, steps, timers};
use crate::text::{Tone, took};

/// How a scheduled service ran.
#[derive(Debug)]
pub struct RunNowSummary {
    unit: String,
    run: Ran,
}

pub fn run(context: &Context<'_>, args: &cli::RunNow) -> anyhow::Result<RunNowSummary> {
    let shell = steps::shell()?;
    let Installed { scope, origin } = schedule::require(context, &shell, &args.which)?;
    let manager = Manager::new(scope, &shell);
    let unit = format!("{}{}.service", origin.unit, if args.drill { "-verify" } else { "" });
    manager.require_root(context, &["systemctl", "start", "--no-block", &unit])?;
    Signals::catch().context("catch signals")?;
    let run = journal::run(context, &manager, &unit)?;
    Ok(RunNowSummary { unit, run })
}

impl RunNowSummary {
    fn is_ok(&self) -> bool {
        self.run.result == "success"
    }

    fn failure(&self) -> String {
        match self.run.exit_status {
            Some(status) if Exit::of_status(status) == Exit::Partly => format!("is {}", timers::failure(status)),
            Some(status) => timers::failure(status),
            None => format!("failed ({})", self.run.result),
        }
    }
}

impl Report for RunNowSummary {
    fn text(&self, output: &Output) {
        let unit = &self.unit;
        let time = self.run.duration_ms.map(|time| format!(", in {}", took(time))).unwrap_or_default();
        if self.is_ok() {
            return output.done(Tone::Good, &format!("{unit} went well{time}"));
        }
        let failed = Error::new(ErrorKind::Io, format!("{unit} {}{time}", self.failure()));
        let logs = output.invocation().command(&["logs"]);
        output.problem(&failed.with_hint(format!("what it said before: {logs}")));
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        let Ran { at, duration_ms, result, exit_status } = &self.run;
        Some(json!({ "unit": self.unit, "run": {
            "at": at,
            "duration_ms": duration_ms,
            "ok": self.is_ok(),
            "result": result,
            "exit_status": exit_status,
        } }))
    }

    fn exit(&self) -> Exit {
        match self.run.exit_status {
            _ if self.is_ok() => Exit::Done,
            Some(status) => Exit::of_status(status),
            None => Exit::Failed,
        }
    }
}
