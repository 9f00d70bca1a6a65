//! `verify`.

use backup::restore::Selection;
use backup::{
    Aspect, BackupId, Catalog, Check, EarlierChecks, Entry, Error, ErrorKind, FilesRead, Level, Session, Verdict,
    VerifyReport, all_to_verify, verify_next,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;
use crate::report::Report;
use crate::text::{Tone, count, local, paint, took};

/// What was found in each backup that was verified.
#[derive(Debug)]
pub struct VerifySummary {
    backups: Vec<Verification>,
}

/// What was found in one backup.
#[derive(Debug)]
enum Verification {
    Report(VerifyReport),
    /// Why the backup could not be verified.
    Error(BackupId, Error),
}

pub fn run(context: &Context<'_>, args: &cli::Verify) -> anyhow::Result<VerifySummary> {
    let session = context.begin_session("verify")?;
    let catalog = session.catalog()?;
    let entries = entries(context, &session, &catalog, args)?;
    let earlier = match session.ledger() {
        Ok(ledger) if !args.full => session.earlier_checks(&ledger),
        // An unreadable ledger proves nothing. Each report says that it takes no line.
        _ => EarlierChecks::none(),
    };
    let (mut backups, mut read) = (Vec::new(), FilesRead::default());
    for entry in entries {
        let verification = Verification::of(&session, entry, &earlier, &mut read)?;
        // Shown at once: the next backup may take an hour.
        verification.show(context.output);
        backups.push(verification);
    }
    Ok(VerifySummary { backups })
}

fn entries<'c>(
    context: &Context<'_>,
    session: &Session<'_>,
    catalog: &'c Catalog,
    args: &cli::Verify,
) -> anyhow::Result<Vec<&'c Entry>> {
    let entries: Vec<&Entry> = if args.all {
        // A ledger that can't be read names no backup as damaged.
        let ledger = session.ledger().unwrap_or_default();
        all_to_verify(catalog, &ledger).into_iter().filter(|entry| holds_something(entry)).collect()
    } else {
        vec![match &args.from {
            Some(from) => context.select(session, catalog, Some(from), Selection::ALL)?,
            // Finding an unreadable manifest is what a verification is for, so it isn't passed over here.
            None => catalog.newest().map_or_else(|| context.select_to_prove(session, catalog), Ok)?,
        }]
    };
    if entries.is_empty() {
        // Fails with the same message as for a single backup.
        context.select_to_prove(session, catalog)?;
    }
    Ok(entries)
}

/// A failed run left a manifest and nothing to verify.
fn holds_something(entry: &Entry) -> bool {
    entry.manifest().is_none_or(|manifest| manifest.status != backup::Status::Failed)
}

impl Report for VerifySummary {
    fn text(&self, output: &Output) {
        if self.exit() == Exit::Damaged {
            output.hint("restore another backup (`list` shows them) and make a new one: `backup`");
        }
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        let reports: Vec<Value> = self.backups.iter().map(Verification::document).collect();
        Some(json!({ "reports": reports }))
    }

    fn exit(&self) -> Exit {
        self.backups.iter().map(Verification::exit).max().unwrap_or(Exit::Done)
    }
}

impl Verification {
    /// Verifies a backup. If it can't be read, the others are verified all the same.
    fn of(session: &Session<'_>, entry: &Entry, earlier: &EarlierChecks, read: &mut FilesRead) -> backup::Result<Self> {
        match verify_next(session, entry, Level::Content, earlier, read) {
            Ok(report) => Ok(Self::Report(report)),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => Ok(Self::Error(entry.id, error)),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Report(report) if report.verdict == Verdict::Damaged => Exit::Damaged,
            Self::Report(_) => Exit::Done,
            Self::Error(_, error) => Exit::of(error),
        }
    }

    fn document(&self) -> Value {
        match self {
            Self::Report(report) => json!(report),
            Self::Error(id, error) => {
                let verdict = if self.exit() == Exit::Damaged { "damaged" } else { "unreadable" };
                json!({ "id": id, "verdict": verdict, "error": error.one_line() })
            }
        }
    }

    fn show(&self, output: &Output) {
        match self {
            Self::Report(report) => show_report(output, report),
            Self::Error(_, error) => output.problem(error),
        }
    }
}

fn show_report(output: &Output, report: &VerifyReport) {
    let is_shown = |check: &&Check| check.verdict != Verdict::Ok || output.is_verbose();
    for check in report.checks.iter().filter(is_shown) {
        let verdict = match check.verdict {
            Verdict::Ok => paint(Tone::Good, "ok     "),
            Verdict::Warning => paint(Tone::Warning, "warning"),
            Verdict::Damaged => paint(Tone::Bad, "damaged"),
        };
        output.line(&format!("  {verdict}  {}: {}", check.file, check.detail));
    }
    output.warn_of_unrecorded(report.unrecorded.as_deref());
    let (tone, finding) = finding(report);
    let (checks, time) = (count(report.checks.len(), "check"), took(report.duration_ms));
    output.done(tone, &format!("backup {} {finding}{}: {checks} in {time}", report.id, read_from(report)));
    if let Some(before) = report.sound_before {
        output.line(&format!("  points before it stay restorable, the newest is {before}"));
    }
}

/// What an increment was read from, to follow the finding.
fn read_from(report: &VerifyReport) -> String {
    match report.read_from.as_slice() {
        [] => String::new(),
        [oldest, others @ ..] => format!(", read with {} since {oldest}", count(others.len() + 1, "increment")),
    }
}

fn finding(report: &VerifyReport) -> (Tone, String) {
    let (tone, finding) = match report.verdict {
        Verdict::Ok => (Tone::Good, "is sound"),
        Verdict::Warning if is_saved_damaged(report) => (Tone::Warning, "is as it was saved, damage included"),
        Verdict::Warning => (Tone::Warning, "is sound, with warnings"),
        Verdict::Damaged => (Tone::Bad, "is damaged"),
    };
    match report.checked_whole_at.filter(|_| report.verdict != Verdict::Damaged) {
        Some(at) => (tone, format!("is as recorded; its bytes were checked whole on {}", local(at))),
        None => (tone, finding.into()),
    }
}

/// Whether it holds a database that was damaged when it was saved.
fn is_saved_damaged(report: &VerifyReport) -> bool {
    report.checks.iter().any(|check| check.verdict == Verdict::Warning && check.what == Aspect::Integrity)
}
