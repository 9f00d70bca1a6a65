//! `drill`.

mod command;

use std::path::Path;

use backup::restore::Selection;
use backup::{DrillReport, Probe};
use serde::Serialize;
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;
use crate::report::Report;
use crate::text::{Tone, count, paint, took};

/// What a rehearsed restore showed.
#[derive(Debug)]
pub struct DrillSummary {
    drill: DrillReport,
    /// The command of the settings, as its probe is called; empty if there is none.
    command: String,
}

pub fn run(context: &Context<'_>, args: &cli::Drill) -> anyhow::Result<DrillSummary> {
    let session = context.begin_session("drill")?;
    let catalog = session.catalog()?;
    let entry = match args.from.as_deref() {
        Some(from) => context.select(&session, &catalog, Some(from), Selection::ALL)?,
        None => context.select_to_prove(&session, &catalog)?,
    };
    let probe = |folder: &Path| command::probe(context, folder);
    let drill = backup::drill(&session, entry, &context.config.sources(), &probe)?;
    Ok(DrillSummary { drill, command: command::name(context) })
}

impl DrillSummary {
    fn failed(&self) -> impl Iterator<Item = &Probe> {
        self.drill.probes.iter().filter(|probe| probe.failure.is_some())
    }

    fn has_failed(&self) -> bool {
        self.failed().next().is_some()
    }
}

impl Report for DrillSummary {
    fn text(&self, output: &Output) {
        let drill = &self.drill;
        for path in drill.restored.iter().filter(|_| output.is_verbose()) {
            output.line(&format!("  restored {path}"));
        }
        output.warn_of_unrecorded(drill.unrecorded.as_deref());
        drill.warnings.iter().for_each(|warning| output.warn(warning));
        for probe in &drill.probes {
            let verdict =
                if probe.failure.is_none() { paint(Tone::Good, "ok    ") } else { paint(Tone::Bad, "failed") };
            output.line(&format!("  {verdict}  {}", probe.failure.as_ref().unwrap_or(&probe.text)));
        }
        self.show_end(output);
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(json!({ "drill": self.drill }))
    }

    fn exit(&self) -> Exit {
        match (self.drill.passed, self.has_failed()) {
            (true, _) => Exit::Done,
            (false, false) => Exit::Partly,
            (false, true) => Exit::Damaged,
        }
    }
}

impl DrillSummary {
    fn show_end(&self, output: &Output) {
        let drill = &self.drill;
        let restored = format!("{} in {}", count(drill.restored.len(), "file"), took(drill.restore_ms));
        let probes = match drill.probes.len() {
            0 => "no probes configured".into(),
            number => format!("{} passed", count(number, "probe")),
        };
        let of = format!("drill of {}", drill.id);
        if drill.passed {
            output.done(Tone::Good, &format!("{of} passed: restored {restored}, {probes}"));
        } else if self.has_failed() {
            output.done(Tone::Bad, &format!("{of} failed: restored {restored}, but see above"));
            output.hint(&self.remedy(output));
        } else {
            let part = format!("covered only a part, it holds no {}", drill.lacks.join(", "));
            output.done(Tone::Warning, &format!("{of} {part}: restored {restored}, {probes}"));
            output.hint("make a backup of everything: `backup`");
        }
    }

    fn remedy(&self, output: &Output) -> String {
        if self.failed().any(|probe| probe.text != self.command) {
            return "a probe asks about the content: compare with the live database, or try an older backup".into();
        }
        let copy = output.invocation().command(&["restore", "--from", &self.drill.id.to_string(), "--to", "DIR"]);
        format!("run the command in a restored copy: {copy}")
    }
}
