//! `restore`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup::restore::{self, Plan, Present, Restored, Selection};
use backup::{BackupId, Error, ErrorKind, Run};
use serde_json::json;
use xshell::Shell;

use crate::application::{Application, Stopped};
use crate::cli;
use crate::context::Context;
use crate::exit::{Exit, Signals};
use crate::schedule::steps;
use crate::text::{Tone, count, paint, size, took};

pub fn run(context: &Context<'_>, args: &cli::Restore) -> anyhow::Result<Exit> {
    // Planned without the lock: a question that waits for its answer must not keep tonight's backup waiting.
    let look = context.look()?;
    let (id, target) = what(context, &look, args)?;
    let shown = plan(context, &look, args, id, &target)?;
    let shell = steps::shell()?;
    let application = if args.no_stop || target != context.root { None } else { to_be_stopped(context, &shell)? };
    let stops = application.as_ref().map(|application| application.unit);
    show_plan(context, &shown, stops);
    if args.dry_run {
        context.output.line("dry run: nothing was changed");
        context.output.json(&json!({ "dry_run": true, "plan": shown, "stops": stops }))?;
        return Ok(Exit::Done);
    }
    if (shown.replaces() || stops.is_some()) && !args.yes && !agreed(context, stops)? {
        context.output.line("nothing was changed");
        return Ok(Exit::Failed);
    }
    carry_out(context, args, &shown, application.as_ref())
}

/// Restores what was shown, if it is still what would be done.
fn carry_out(
    context: &Context<'_>,
    args: &cli::Restore,
    shown: &Plan,
    application: Option<&Application<'_>>,
) -> anyhow::Result<Exit> {
    if application.is_some() {
        // The terminal may go away: the application must not stay stopped.
        Signals::catch_hangup().context("catch signals")?;
    }
    // Into another place, where it replaces nothing, it needs no right to write to the store: a rescue from a disk that
    // can only be read any more.
    let elsewhere = args.to.is_some() && !shown.replaces();
    let run = if elsewhere { context.begin_reading("restore")? } else { context.begin_on_existing("restore")? };
    let plan = plan(context, &run, args, shown.id, &shown.target)?;
    if plan.items != shown.items {
        return Err(Error::new(ErrorKind::Io, "what is there has changed since it was shown; nothing was restored")
            .with_hint("run the command again")
            .into());
    }
    let mut stopped = None;
    let restored = restore::restore(&run, &plan, context.config.encoding(None, None)?, &mut || {
        stopped = application.map(|application| application.stop(context.output)).transpose()?;
        Ok(())
    })?;
    show(context, &restored);
    let started = stopped.map_or(Ok(()), Stopped::start).inspect_err(|error| context.output.problem(error));
    let error = started.as_ref().err().map(|error| context.output.error_document(error));
    let stops = application.map(|application| application.unit);
    let document = json!({ "dry_run": false, "plan": plan, "stops": stops, "restored": restored, "error": error });
    context.output.json(&document)?;
    Ok(if started.is_ok() { Exit::Done } else { Exit::Partly })
}

/// The application that the settings want stopped, if it runs.
fn to_be_stopped<'a>(context: &'a Context<'_>, shell: &'a Shell) -> anyhow::Result<Option<Application<'a>>> {
    let unit = &context.config.restore.stop_unit;
    let found = Application::find(context, shell)?;
    if found.is_none() && !unit.is_empty() {
        context.output.warn(&format!("systemd knows no unit {unit}, so it is not stopped"));
    }
    let running = found.filter(Application::is_active);
    running.as_ref().map_or(Ok(()), |application| application.require_root(context))?;
    Ok(running)
}

/// Which backup, and where to.
fn what(context: &Context<'_>, look: &Run<'_>, args: &cli::Restore) -> anyhow::Result<(BackupId, PathBuf)> {
    if args.undo {
        return Ok(restore::undo(&context.history()?, &context.root)?);
    }
    let target = args.to.as_ref().map_or(Ok(context.root.clone()), std::path::absolute);
    let id = context.select(&look.catalog()?, args.from.as_deref(), selection(args))?.id;
    Ok((id, target.context("find the folder to restore to")?))
}

fn plan(
    context: &Context<'_>,
    run: &Run<'_>,
    args: &cli::Restore,
    id: BackupId,
    target: &Path,
) -> backup::Result<Plan> {
    restore::plan(run, run.catalog()?.get(id)?, target, selection(args), &context.config.sources())
}

fn selection(args: &cli::Restore) -> Selection {
    Selection { databases: !args.config_only, files: !args.database_only }
}

fn agreed(context: &Context<'_>, stops: Option<&str>) -> anyhow::Result<bool> {
    let stop = stops.map(|unit| format!("stop {unit} and ")).unwrap_or_default();
    let question = format!("{stop}replace what is there? It is kept, and `restore --undo` puts it back");
    context.output.agrees(&question).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            "this restore replaces files, and there is no terminal to ask on; nothing was changed",
        )
        .with_hint("look at it with --dry-run, then say --yes")
        .into()
    })
}

fn show_plan(context: &Context<'_>, plan: &Plan, stops: Option<&str>) {
    let target = plan.target.display();
    context.output.line(&format!("restore {} into {target}", plan.id));
    for item in &plan.items {
        let action = match item.present {
            Present::Absent => paint(Tone::Good, "new      "),
            Present::Replaced => paint(Tone::Warning, "replaces "),
            Present::Damaged => paint(Tone::Bad, "set aside"),
        };
        let bytes = item.bytes.map(|bytes| format!("  {}", size(bytes))).unwrap_or_default();
        let note = if item.present == Present::Damaged { "  (the damaged database there is kept)" } else { "" };
        context.output.line(&format!("  {action}  {}{bytes}{note}", item.path));
    }
    if let Some(unit) = stops {
        context.output.line(&format!("  {}  {unit}  (and starts it again)", paint(Tone::Warning, "stops    ")));
    }
    plan.warnings.iter().for_each(|warning| context.output.warn(warning));
}

fn show(context: &Context<'_>, restored: &Restored) {
    for path in &restored.moved_aside {
        context.output.line(&format!("  moved aside: {}", path.display()));
    }
    for warning in &restored.warnings {
        context.output.warn(warning);
    }
    let (id, files) = (restored.id, count(restored.written.len(), "file"));
    let time = took(restored.duration_ms);
    context.output.done(Tone::Good, &format!("restored {id}: {files}, checked, in {time}"));
    if let Some(kept) = restored.kept {
        let undo = context.command(&["restore", "--undo"]);
        context.output.line(&format!("what was there is kept as {kept}; to put it back: {undo}"));
    }
}
