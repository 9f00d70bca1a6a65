//! `restore`.

use anyhow::Context as _;
use backup::restore::{self, Plan, Present, Restored, Selection};
use backup::{Error, ErrorKind, Run};
use serde_json::json;

use crate::cli;
use crate::context::{Context, select};
use crate::exit::Exit;
use crate::text::{Tone, count, paint, printable, size, took};

pub fn run(context: &Context<'_>, args: &cli::Restore) -> anyhow::Result<Exit> {
    // Planned without the lock: a question that waits for its answer must not keep tonight's backup waiting.
    let shown = plan(context, &context.look(), args)?;
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
    let run = context.begin_on_existing("restore")?;
    let plan = plan(context, &run, args)?;
    if (plan.id, &plan.items) != (shown.id, &shown.items) {
        return Err(Error::new(ErrorKind::Io, "what is there has changed since it was shown; nothing was restored")
            .with_hint("run the command again")
            .into());
    }
    let restored = restore::restore(&run, &plan, context.config.encoding(None, None)?)?;
    show(context, &restored);
    context.output.json(&json!({ "dry_run": false, "plan": plan, "restored": restored }))?;
    Ok(Exit::Done)
}

fn plan(context: &Context<'_>, run: &Run<'_>, args: &cli::Restore) -> anyhow::Result<Plan> {
    let catalog = run.catalog()?;
    let (entry, target) = if args.undo {
        let (kept, target) = restore::undo(&context.history()?)?;
        (catalog.get(kept)?, target)
    } else {
        let target = args.to.as_ref().map_or(Ok(context.root.clone()), std::path::absolute);
        (select(&catalog, args.from.as_deref())?, target.context("find the folder to restore to")?)
    };
    let selection = Selection { databases: !args.config_only, files: !args.database_only };
    Ok(restore::plan(run, entry, &target, selection, &context.config.sources())?)
}

fn agreed(context: &Context<'_>) -> anyhow::Result<bool> {
    context.output.agrees("replace what is there? It is kept, and `restore --undo` puts it back").ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "this restore replaces files, and there is no terminal to ask on")
            .with_hint("look at it with --dry-run, then say --yes")
            .into()
    })
}

fn show_plan(context: &Context<'_>, plan: &Plan) {
    context.output.line(&format!("restore {} into {}", plan.id, plan.target.display()));
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
        context.output.line(&format!("  moved aside: {}", path.display()));
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
