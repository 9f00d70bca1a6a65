//! `doctor`.

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{self, Global};
use crate::context::Context;
use crate::doctor::{Finding, Verdict, examine};
use crate::exit::Exit;
use crate::output::Output;
use crate::report::Report;
use crate::step;
use crate::text::{Tone, count, paint};

/// What all checks found.
#[derive(Debug)]
pub struct DoctorSummary {
    findings: Vec<Finding>,
}

pub fn run(global: &Global, output: &Output, args: &cli::Doctor) -> anyhow::Result<DoctorSummary> {
    let (context, broken) = Context::despite_settings(global, output)?;
    Ok(DoctorSummary { findings: examine(&context, &step::shell()?, args.deep, broken) })
}

impl DoctorSummary {
    fn number(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }
}

impl Report for DoctorSummary {
    fn text(&self, output: &Output) {
        for finding in &self.findings {
            if output.is_quiet() { complain(output, finding) } else { show(output, finding) }
        }
        let (failures, warnings) = (self.number(Verdict::Failure), self.number(Verdict::Warning));
        let tone = match (failures, warnings) {
            (0, 0) => Tone::Good,
            (0, _) => Tone::Warning,
            _ => Tone::Bad,
        };
        let checks = count(self.findings.len(), "check");
        output.done(tone, &format!("{checks}: {}, {}", count(failures, "failure"), count(warnings, "warning")));
    }

    fn document(&self, output: &Output) -> Option<impl Serialize> {
        let checks: Vec<Value> = self.findings.iter().map(|finding| document(output, finding)).collect();
        Some(json!({ "ok": self.exit() == Exit::Done, "checks": checks }))
    }

    fn exit(&self) -> Exit {
        if self.number(Verdict::Failure) == 0 { Exit::Done } else { Exit::Failed }
    }
}

fn document(output: &Output, finding: &Finding) -> Value {
    let Finding { check, verdict, detail, .. } = finding;
    json!({ "check": check, "verdict": verdict, "detail": detail, "hint": hint(output, finding) })
}

fn hint(output: &Output, finding: &Finding) -> Option<String> {
    finding.hint.as_ref().map(|hint| output.invocation().complete(hint))
}

fn show(output: &Output, finding: &Finding) {
    let verdict = match finding.verdict {
        Verdict::Ok => paint(Tone::Good, "ok     "),
        Verdict::Warning => paint(Tone::Warning, "warning"),
        Verdict::Failure => paint(Tone::Bad, "failure"),
    };
    output.line(&format!("{verdict}  {}: {}", finding.check, finding.detail));
    if let Some(hint) = hint(output, finding) {
        output.line(&format!("         hint: {hint}"));
    }
}

/// Shows a finding only if something is wrong.
fn complain(output: &Output, finding: &Finding) {
    let text = format!("{}: {}", finding.check, finding.detail);
    match finding.verdict {
        Verdict::Ok => return,
        Verdict::Warning => output.warn(&text),
        Verdict::Failure => output.failure(&text),
    }
    if let Some(hint) = &finding.hint {
        output.hint(hint);
    }
}
