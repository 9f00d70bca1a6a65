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
use crate::schedule::timer::installation::Installation;
use crate::schedule::{choice, journal, timers};
use crate::step;
use crate::systemd::manager::Manager;
use crate::systemd::state::ServiceRun;
use crate::text::{Tone, took};

/// How a scheduled service ran.
#[derive(Debug)]
pub struct RunNowSummary {
    unit: String,
    run: ServiceRun,
}

pub fn run(context: &Context<'_>, args: &cli::RunNow) -> anyhow::Result<RunNowSummary> {
    let shell = step::shell()?;
    let Installation { scope, origin, drill, .. } = choice::require(context, &shell, &args.which)?;
    let manager = Manager::new(scope, &shell);
    let unit = format!("{}.service", if args.drill { drill } else { origin.unit });
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
            return output.done(Tone::Good, &format!("{unit} succeeded{time}"));
        }
        let failed = Error::new(ErrorKind::Io, format!("{unit} {}{time}", self.failure()));
        let logs = output.invocation().command(&["logs"]);
        output.problem(&failed.with_hint(format!("see its output: {logs}")));
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        let ServiceRun { at, duration_ms, result, exit_status } = &self.run;
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
