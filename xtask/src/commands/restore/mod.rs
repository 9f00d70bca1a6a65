//! `restore`.
//!
//! The plan is made twice. First without the lock: a question that waits for its answer must not keep tonight's backup
//! waiting. Then under the lock, since other runs may have changed what the first plan says.

mod consent;
mod plan;
mod preview;

use anyhow::Context as _;
use backup::Session;
use backup::restore::{self, Plan, RestoreReport};
use serde::Serialize;
use serde_json::json;
use xshell::Shell;

use self::consent::Consent;
use self::preview::Preview;
use crate::application::{Application, Outage, Switch};
use crate::cli;
use crate::context::Context;
use crate::exit::{Exit, Signals};
use crate::output::Output;
use crate::report::Report;
use crate::step::{self, Step};
use crate::text::{Tone, count, took};

/// What a restore did, or would do.
#[derive(Debug)]
pub enum RestoreSummary {
    /// What it would do.
    DryRun(Box<Preview>),
    /// A person was asked, and said no.
    Refusal,
    /// What it did.
    Restore(Box<RestoreEnd>),
}

/// How a restore ended.
#[derive(Debug)]
pub struct RestoreEnd {
    preview: Preview,
    report: RestoreReport,
    /// Whether the application could be started again, if it was stopped.
    start: backup::Result<()>,
}

pub fn run(context: &Context<'_>, args: &cli::Restore, switch: Option<Switch>) -> anyhow::Result<RestoreSummary> {
    let look = context.look()?;
    if args.undo && args.to.is_none() {
        plan::note_restore_elsewhere(context)?;
    }
    let plan = plan::without_lock(context, &look, args)?;
    let shell = step::shell()?;
    let application = application(context, args, &plan, &shell, switch)?;
    let since = restore::since(&look, &plan);
    let stops = application.as_ref().map(|application| application.unit.to_string());
    let preview = Preview { plan, since, stops };
    preview.show(context.output);
    plan::require_something(context, &preview.plan)?;
    if args.dry_run {
        return Ok(RestoreSummary::DryRun(preview.into()));
    }
    match consent::ask(context, args, &preview)? {
        Some(consent) => carry_out(context, args, preview, &consent, application.as_ref()),
        None => Ok(RestoreSummary::Refusal),
    }
}

/// The application that is to be stopped, if it runs.
fn application<'a>(
    context: &'a Context<'_>,
    args: &'a cli::Restore,
    plan: &Plan,
    shell: &'a Shell,
    switch: Option<Switch>,
) -> anyhow::Result<Option<Application<'a>>> {
    if args.no_stop || plan.target != context.root {
        return Ok(None);
    }
    let unit = args.stop.as_deref().unwrap_or(&context.config.restore.stop_unit);
    let application = Application::find(shell, unit, switch)?;
    if application.is_none() && !unit.is_empty() {
        context.output.warn(&format!("systemd knows no unit {unit}, so it is not stopped"));
    }
    let running = application.filter(Application::is_active);
    running.as_ref().map_or(Ok(()), |application| application.require_root(context))?;
    Ok(running)
}

/// Restores what the preview showed, if that is still what would be done.
fn carry_out(
    context: &Context<'_>,
    args: &cli::Restore,
    preview: Preview,
    consent: &Consent,
    application: Option<&Application<'_>>,
) -> anyhow::Result<RestoreSummary> {
    if application.is_some() {
        // The terminal may go away, and the application must not stay stopped.
        Signals::catch_hangup().context("catch signals")?;
    }
    let session = begin(context, args, &preview.plan)?;
    let plan = plan::under_lock(context, &session, args, &preview, consent)?;
    let keep = consent.keeps.then(|| context.config.encoding(None, None)).transpose()?;
    let mut stopped = None;
    let report = restore::restore(&session, &plan, keep, &mut || {
        stopped = application.map(|application| application.stop(context.output)).transpose()?;
        Ok(())
    })?;
    // Shown before the application is started, which may take a while.
    show_report(context.output, &report, &context.undo(&report.target, args.unlisted));
    let start = stopped.map_or(Ok(()), Outage::start);
    let preview = Preview { plan, ..preview };
    Ok(RestoreSummary::Restore(RestoreEnd { preview, report, start }.into()))
}

/// Begins the run. A restore that replaces nothing in another folder needs no right to write to the store: it may be a
/// rescue from a failing disk.
fn begin<'a>(context: &'a Context<'_>, args: &cli::Restore, plan: &Plan) -> anyhow::Result<Session<'a>> {
    if args.to.is_some() && !plan.replaces() {
        context.begin_session("restore")
    } else {
        Ok(context.begin_on_existing("restore")?.into())
    }
}

impl Report for RestoreSummary {
    fn text(&self, output: &Output) {
        match self {
            Self::DryRun(_) => output.line("dry run: nothing was changed"),
            Self::Refusal => output.line("nothing was changed"),
            Self::Restore(end) => end.start.as_ref().err().into_iter().for_each(|error| output.problem(error)),
        }
    }

    fn document(&self, output: &Output) -> Option<impl Serialize> {
        match self {
            Self::DryRun(preview) => {
                let Preview { plan, since, stops } = preview.as_ref();
                Some(json!({ "dry_run": true, "plan": plan, "since": since, "stops": stops }))
            }
            // With --json, nobody is asked.
            Self::Refusal => None,
            Self::Restore(end) => {
                let Preview { plan, since, stops } = &end.preview;
                let error = end.start.as_ref().err().map(|error| output.error_document(error));
                Some(json!({
                    "dry_run": false, "plan": plan, "since": since, "stops": stops, "restored": end.report, "error": error
                }))
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::DryRun(_) => Exit::Done,
            Self::Refusal => Exit::Failed,
            Self::Restore(end) if end.start.is_ok() => Exit::Done,
            Self::Restore(_) => Exit::Partly,
        }
    }
}

fn show_report(output: &Output, report: &RestoreReport, undo: &Step) {
    for path in &report.moved_aside {
        output.line(&format!("  moved aside: {}", path.display()));
    }
    for warning in &report.warnings {
        output.warn(warning);
    }
    let (id, files, time) = (report.id, count(report.written.len(), "file"), took(report.duration_ms));
    output.done(Tone::Good, &format!("restored {id}: {files}, checked, in {time}"));
    if let Some(kept) = report.kept {
        output.line(&format!("what was there is kept as {kept}; to put it back: {undo}"));
    }
}
