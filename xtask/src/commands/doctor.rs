//! `doctor`.

use serde_json::json;

use crate::cli::{self, Global};
use crate::context::Context;
use crate::doctor::{Finding, Verdict, examine};
use crate::exit::Exit;
use crate::output::Output;
use crate::step;
use crate::text::{Tone, count, paint};

pub fn run(global: &Global, output: &Output, args: &cli::Doctor) -> anyhow::Result<Exit> {
    let (context, broken) = Context::despite_settings(global, output)?;
    let findings = examine(&context, &step::shell()?, args.deep, broken);
    for finding in &findings {
        show(output, finding);
    }
    let number = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (failures, warnings) = (number(Verdict::Failure), number(Verdict::Warning));
    let tone = match (failures, warnings) {
        (0, 0) => Tone::Good,
        (0, _) => Tone::Warning,
        _ => Tone::Bad,
    };
    let checks = count(findings.len(), "check");
    output.done(tone, &format!("{checks}: {}, {}", count(failures, "failure"), count(warnings, "warning")));
    output.json(&json!({ "ok": failures == 0, "checks": findings }))?;
    Ok(if failures == 0 { Exit::Done } else { Exit::Failed })
}

fn show(output: &Output, finding: &Finding) {
    if output.is_quiet() {
        return complain(output, finding);
    }
    let verdict = match finding.verdict {
        Verdict::Ok => paint(Tone::Good, "ok     "),
        Verdict::Warning => paint(Tone::Warning, "warning"),
        Verdict::Failure => paint(Tone::Bad, "failure"),
    };
    output.line(&format!("{verdict}  {}: {}", finding.check, finding.detail));
    if let Some(hint) = &finding.hint {
        output.line(&format!("         hint: {hint}"));
    }
}

/// Only what is wrong.
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
