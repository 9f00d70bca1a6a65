//! `verify`.

use backup::restore::Selection;
use backup::{Aspect, Check, EarlierChecks, Entry, ErrorKind, Level, Session, Verdict, VerifyReport};
use serde_json::{Value, json};

use crate::cli;
use crate::context::Context;
use crate::exit::{Exit, of_error};
use crate::text::{Tone, count, local, paint, took};

pub fn run(context: &Context<'_>, args: &cli::Verify) -> anyhow::Result<Exit> {
    let session = context.begin_session("verify")?;
    let catalog = session.catalog()?;
    let entries: Vec<&Entry> = if args.all {
        catalog.entries().iter().filter(|entry| holds_something(entry)).collect()
    } else {
        vec![match &args.from {
            Some(from) => context.select(&catalog, Some(from), Selection::ALL)?,
            // A manifest that can't be read is what a verification is to find, so it isn't passed over here.
            None => catalog.newest().map_or_else(|| context.select_to_prove(&catalog), Ok)?,
        }]
    };
    if entries.is_empty() {
        // The same words as for a single one.
        context.select_to_prove(&catalog)?;
    }
    let earlier = match context.ledger() {
        Ok(ledger) if !args.full => session.earlier_checks(&ledger),
        // A ledger that can't be read knows of nothing that was checked; that it takes no line is said afterwards.
        _ => EarlierChecks::none(),
    };
    let mut worst = Exit::Done;
    let mut documents = Vec::new();
    for entry in entries {
        let (exit, document) = verify(context, &session, entry, &earlier)?;
        worst = worst.max(exit);
        documents.extend(document);
    }
    if worst == Exit::Damaged {
        context.output.hint("restore another backup (`list` shows them) and make a new one: `backup`");
    }
    context.output.json(&json!({ "reports": documents }))?;
    Ok(worst)
}

/// A failed run left a record and nothing to verify.
fn holds_something(entry: &Entry) -> bool {
    entry.manifest().is_none_or(|manifest| manifest.status != backup::Status::Failed)
}

fn verify(
    context: &Context<'_>,
    session: &Session<'_>,
    entry: &Entry,
    earlier: &EarlierChecks,
) -> anyhow::Result<(Exit, Option<Value>)> {
    let is_json = context.output.is_json();
    match backup::verify(session, entry, Level::Content, earlier) {
        Ok(report) => {
            show(context, &report);
            let exit = if report.verdict == Verdict::Damaged { Exit::Damaged } else { Exit::Done };
            Ok((exit, is_json.then(|| serde_json::to_value(report)).transpose()?))
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => Err(error.into()),
        // One backup that can't be read doesn't keep the others from being verified.
        Err(error) => {
            context.output.problem(&error);
            let message = error.one_line();
            let exit = of_error(&error.into());
            let verdict = if exit == Exit::Damaged { "damaged" } else { "unreadable" };
            Ok((exit, is_json.then(|| json!({ "id": entry.id, "verdict": verdict, "error": message }))))
        }
    }
}

fn show(context: &Context<'_>, report: &VerifyReport) {
    let shown = |check: &&Check| check.verdict != Verdict::Ok || context.output.is_verbose();
    for check in report.checks.iter().filter(shown) {
        let verdict = match check.verdict {
            Verdict::Ok => paint(Tone::Good, "ok     "),
            Verdict::Warning => paint(Tone::Warning, "warning"),
            Verdict::Damaged => paint(Tone::Bad, "damaged"),
        };
        context.output.line(&format!("  {verdict}  {}: {}", check.file, check.detail));
    }
    let (tone, finding) = match report.verdict {
        Verdict::Ok => (Tone::Good, "is sound"),
        Verdict::Warning if is_saved_damaged(report) => (Tone::Warning, "is as it was saved, damage included"),
        Verdict::Warning => (Tone::Warning, "is sound, with warnings"),
        Verdict::Damaged => (Tone::Bad, "is damaged"),
    };
    let finding = match report.checked_whole_at {
        Some(at) if report.verdict != Verdict::Damaged => {
            format!("is as recorded; its bytes were checked whole on {}", local(at))
        }
        _ => finding.into(),
    };
    let (checks, time) = (count(report.checks.len(), "check"), took(report.duration_ms));
    context.warn_of_unrecorded(report.unrecorded.as_deref());
    context.output.done(tone, &format!("backup {} {finding}: {checks} in {time}", report.id));
}

/// Whether it holds a database that was damaged when it was saved.
fn is_saved_damaged(report: &VerifyReport) -> bool {
    report.checks.iter().any(|check| check.verdict == Verdict::Warning && check.what == Aspect::Integrity)
}
