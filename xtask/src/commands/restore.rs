//! `restore`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup::restore::{self, Plan, Present, Restored, Selection};
use backup::{BackupId, Error, ErrorKind, Run};
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::text::{Tone, count, paint, printable, size, took};

pub fn run(context: &Context<'_>, args: &cli::Restore) -> anyhow::Result<Exit> {
    // Planned without the lock: a question that waits for its answer must not keep tonight's backup waiting.
    let look = context.look();
    let (id, target) = what(context, &look, args)?;
    let shown = plan(context, &look, args, id, &target)?;
    show_plan(context, &shown);
    if args.dry_run {
        context.output.line("dry run: nothing was changed");
        context.output.json(&json!({ "dry_run": true, "plan": shown }))?;
        return Ok(Exit::Done);
    }
    if shown.replaces() && !args.yes && !agreed(context)? {
        context.output.line("nothing was changed");
        return Ok(Exit::Failed);
    }
    // Into another place, where it replaces nothing, it needs no right to write to the store: a rescue from a disk that
    // can only be read any more.
    let elsewhere = args.to.is_some() && !shown.replaces();
    let run = if elsewhere { context.begin_reading("restore")? } else { context.begin_on_existing("restore")? };
    let plan = plan(context, &run, args, id, &target)?;
    if plan.items != shown.items {
        return Err(Error::new(ErrorKind::Io, "what is there has changed since it was shown; nothing was restored")
            .with_hint("run the command again")
            .into());
    }
    let restored = restore::restore(&run, &plan, context.config.encoding(None, None)?)?;
    show(context, &restored);
    context.output.json(&json!({ "dry_run": false, "plan": plan, "restored": restored }))?;
    Ok(Exit::Done)
}

/// Which backup, and where to.
fn what(context: &Context<'_>, look: &Run<'_>, args: &cli::Restore) -> anyhow::Result<(BackupId, PathBuf)> {
    if args.undo {
        return Ok(restore::undo(&context.history()?, &context.root)?);
    }
    let target = args.to.as_ref().map_or(Ok(context.root.clone()), std::path::absolute);
    let id = context.select(&look.catalog()?, args.from.as_deref())?.id;
    Ok((id, target.context("find the folder to restore to")?))
}

fn plan(
    context: &Context<'_>,
    run: &Run<'_>,
    args: &cli::Restore,
    id: BackupId,
    target: &Path,
) -> backup::Result<Plan> {
    let selection = Selection { databases: !args.config_only, files: !args.database_only };
    restore::plan(run, run.catalog()?.get(id)?, target, selection, &context.config.sources())
}

fn agreed(context: &Context<'_>) -> anyhow::Result<bool> {
    context.output.agrees("replace what is there? It is kept, and `restore --undo` puts it back").ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            "this restore replaces files, and there is no terminal to ask on; nothing was changed",
        )
        .with_hint("look at it with --dry-run, then say --yes")
        .into()
    })
}

fn show_plan(context: &Context<'_>, plan: &Plan) {
    let target = printable(&plan.target.display().to_string());
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
    plan.warnings.iter().for_each(|warning| context.output.warn(&printable(warning)));
}

fn show(context: &Context<'_>, restored: &Restored) {
    for path in &restored.moved_aside {
        context.output.line(&format!("  moved aside: {}", printable(&path.display().to_string())));
    }
    for warning in &restored.warnings {
        context.output.warn(&printable(warning));
    }
    let (id, files) = (restored.id, count(restored.written.len(), "file"));
    let time = took(restored.duration_ms);
    context.output.done(Tone::Good, &format!("restored {id}: {files}, checked, in {time}"));
    if let Some(kept) = restored.kept {
        context.output.line(&format!("what was there is kept as {kept}; to put it back: restore --undo"));
    }
}
