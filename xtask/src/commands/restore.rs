//! `restore`.

use std::path::Path;

use anyhow::Context as _;
use backup::restore::{
    self, ChangesSince, Occupant, Plan, RestoreReport, RowsSince, Selection, SkipReason, SkippedItem,
};
use backup::{BackupId, Error, ErrorKind, Look, RestoreLine};
use serde_json::json;
use xshell::Shell;

use crate::application::{Application, Outage, Switch};
use crate::cli;
use crate::context::Context;
use crate::context::apart::resolved;
use crate::exit::{Exit, Signals};
use crate::step;
use crate::text::{Tone, age, count, local, paint, size, took};

/// How often a plan is made again whose backup was removed meanwhile.
const TRIES: usize = 10;

/// Of more tables than this, only some are named.
const MOST_TABLES: usize = 5;

/// Of more files that are left out, only some are named.
const MOST_SKIPPED: usize = 50;

pub fn run(context: &Context<'_>, args: &cli::Restore, switch: Option<Switch>) -> anyhow::Result<Exit> {
    // Planned without the lock: a question that waits for its answer must not keep tonight's backup waiting.
    let look = context.look()?;
    if args.undo && args.to.is_none() {
        note_restore_elsewhere(context)?;
    }
    let shown = plan_without_lock(context, &look, args)?;
    let shell = step::shell()?;
    let unit = args.stop.as_deref().unwrap_or(&context.config.restore.stop_unit);
    let stays = args.no_stop || shown.target != context.root;
    let application = if stays { None } else { to_be_stopped(context, &shell, unit, switch)? };
    let stops = application.as_ref().map(|application| application.unit);
    let since = restore::since(&look, &shown);
    show_plan(context, &shown, &since, stops);
    require_something(context, &shown)?;
    if args.dry_run {
        context.output.line("dry run: nothing was changed");
        context.output.json(&json!({ "dry_run": true, "plan": shown, "since": since, "stops": stops }))?;
        return Ok(Exit::Done);
    }
    let Some(consent) = consent(context, args, &shown, stops)? else {
        context.output.line("nothing was changed");
        return Ok(Exit::Failed);
    };
    carry_out(context, args, &Shown { plan: shown, since, consent }, application.as_ref())
}

/// What a person has seen before anything is done.
struct Shown {
    plan: Plan,
    since: Vec<ChangesSince>,
    consent: Consent,
}

/// What may be done.
struct Consent {
    /// Whether a person agreed to what was shown, and to nothing else.
    asked: bool,
    /// Whether what is replaced is kept.
    keeps: bool,
}

/// Restores what was shown, if it is still what would be done.
fn carry_out(
    context: &Context<'_>,
    args: &cli::Restore,
    shown: &Shown,
    application: Option<&Application<'_>>,
) -> anyhow::Result<Exit> {
    if application.is_some() {
        // The terminal may go away: the application must not stay stopped.
        Signals::catch_hangup().context("catch signals")?;
    }
    // Into another place, where it replaces nothing, it needs no right to write to the store: a rescue from a disk that
    // can only be read any more.
    let elsewhere = args.to.is_some() && !shown.plan.replaces();
    let session =
        if elsewhere { context.begin_session("restore")? } else { context.begin_on_existing("restore")?.into() };
    let plan = plan_again(context, &session, args, shown)?;
    let keep = shown.consent.keeps.then(|| context.config.encoding(None, None)).transpose()?;
    let mut stopped = None;
    let restored = restore::restore(&session, &plan, keep, &mut || {
        stopped = application.map(|application| application.stop(context.output)).transpose()?;
        Ok(())
    })
    .map_err(|error| hint_at_no_keep(error, args))?;
    show(context, args, &restored);
    let started = stopped.map_or(Ok(()), Outage::start).inspect_err(|error| context.output.problem(error));
    let error = started.as_ref().err().map(|error| context.output.error_document(error));
    let stops = application.map(|application| application.unit);
    context.output.json(&json!({
        "dry_run": false, "plan": plan, "since": shown.since, "stops": stops, "restored": restored, "error": error
    }))?;
    Ok(if started.is_ok() { Exit::Done } else { Exit::Partly })
}

/// The application that is to be stopped, if it runs.
fn to_be_stopped<'a>(
    context: &Context<'_>,
    shell: &'a Shell,
    unit: &'a str,
    switch: Option<Switch>,
) -> anyhow::Result<Option<Application<'a>>> {
    let found = Application::find(shell, unit, switch)?;
    if found.is_none() && !unit.is_empty() {
        context.output.warn(&format!("systemd knows no unit {unit}, so it is not stopped"));
    }
    let running = found.filter(Application::is_active);
    running.as_ref().map_or(Ok(()), |application| application.require_root(context))?;
    Ok(running)
}

// Which backup, and what it would do.

/// Without the lock, a backup may be removed between its listing and its reading: the next listing shows what is there.
fn plan_without_lock(context: &Context<'_>, look: &Look<'_>, args: &cli::Restore) -> anyhow::Result<Plan> {
    let mut listed = ids(look)?;
    for _ in 0..TRIES {
        let planned = plan(context, look, args, None);
        let is_gone = planned.as_ref().is_err_and(|error| {
            let kind = error.downcast_ref::<Error>().map(Error::kind);
            matches!(kind, Some(ErrorKind::NoSuchBackup | ErrorKind::Damaged))
        });
        let now = ids(look)?;
        if !is_gone || now == listed {
            return planned;
        }
        listed = now;
    }
    plan(context, look, args, None)
}

fn ids(look: &Look<'_>) -> backup::Result<Vec<BackupId>> {
    Ok(look.catalog()?.entries().iter().map(|entry| entry.id).collect())
}

/// The plan under the lock. Other runs may have made a newer backup since, or removed the one that was shown: another one
/// is restored only with `--yes`, or where it replaces nothing.
fn plan_again(context: &Context<'_>, look: &Look<'_>, args: &cli::Restore, shown: &Shown) -> anyhow::Result<Plan> {
    let Shown { plan: shown, since: _, consent } = shown;
    let plan = plan(context, look, args, consent.asked.then_some(shown.id))?;
    require_something(context, &plan)?;
    let may_be_another = args.yes || !(consent.asked || plan.replaces());
    if plan.id != shown.id && may_be_another {
        context.output.note(&format!("meanwhile, {} has taken the place of {}", plan.id, shown.id));
        show_plan(context, &plan, &[], None);
    } else if plan.id != shown.id || !plan.is_as_shown(shown) {
        return Err(Error::new(ErrorKind::Io, "what is there has changed since it was shown; nothing was restored")
            .with_hint("run the command again")
            .into());
    }
    Ok(plan)
}

/// What the arguments mean now; `agreed` is the backup that a person has agreed to.
fn plan(context: &Context<'_>, look: &Look<'_>, args: &cli::Restore, agreed: Option<BackupId>) -> anyhow::Result<Plan> {
    let (catalog, sources) = (look.catalog()?, context.config.sources());
    let target = args.to.as_ref().map_or(Ok(context.root.clone()), std::path::absolute);
    let target = target.context("find the folder to restore to")?;
    let plan = if args.undo {
        let id = restore::undo(&*context.ledger()?, &target)?;
        let selection = Selection { unlisted: args.unlisted, ..Selection::ALL };
        restore::plan_undo(look, catalog.get(id)?, &target, selection, &sources)?
    } else {
        let (databases, files) = (!args.config_only, !args.database_only);
        let selection = Selection { databases, files, unlisted: args.unlisted };
        let entry = match agreed {
            Some(id) => catalog.get(id)?,
            None => context.select(&catalog, args.from.as_deref(), selection)?,
        };
        restore::plan(look, entry, &target, selection, &sources)?
    };
    require_outside_store(&plan, context.store.folder())?;
    Ok(plan)
}

/// What the last restore replaced isn't put back by an undo without a folder, if that was in another one. The ledger may be
/// somebody else's: it doesn't say where to write.
fn note_restore_elsewhere(context: &Context<'_>) -> anyhow::Result<()> {
    let ledger = context.ledger()?;
    let is_here = |restore: &RestoreLine| resolved(&restore.target) == resolved(&context.root);
    let last = ledger.restores().find(|(_, restore)| restore.kept.is_some() || is_here(restore));
    if let Some((_, restore)) = last.filter(|(_, restore)| !is_here(restore)) {
        let is_unlisted = restore.selection.is_some_and(|selection| selection.unlisted);
        let undo = context.undo(&restore.target, is_unlisted);
        context.output.note(&format!("the last restore went into {}; to undo that: {undo}", restore.target.display()));
    }
    Ok(())
}

/// What is restored among the backups would be taken for some of them, or replace them.
fn require_outside_store(plan: &Plan, store: &Path) -> backup::Result<()> {
    let (store, target) = (resolved(store), resolved(&plan.target));
    match plan.items.iter().find(|item| resolved(&target.join(item.path.as_str())).starts_with(&store)) {
        None => Ok(()),
        Some(item) => {
            let message = format!("{} would be written into the backup folder {}", item.path, store.display());
            Err(Error::new(ErrorKind::InvalidInput, message).with_hint("name a folder outside of it: --to DIR"))
        }
    }
}

// Whether to do it.

/// `None` if a person was asked and said no.
fn consent(
    context: &Context<'_>,
    args: &cli::Restore,
    plan: &Plan,
    stops: Option<&str>,
) -> anyhow::Result<Option<Consent>> {
    let keeps = args.no_keep.is_none();
    match args.no_keep.as_deref() {
        // Typing the name is more than a yes.
        Some("") => {
            confirm_not_to_keep(context, args.yes)?;
            return Ok(Some(Consent { asked: true, keeps }));
        }
        Some(name) => require_name(context, name)?,
        None => {}
    }
    if args.yes || !(plan.replaces() || stops.is_some()) {
        return Ok(Some(Consent { asked: false, keeps }));
    }
    Ok(agreed(context, stops, keeps)?.then_some(Consent { asked: true, keeps }))
}

fn agreed(context: &Context<'_>, stops: Option<&str>, keeps: bool) -> anyhow::Result<bool> {
    let stop = stops.map(|unit| format!("stop {unit} and ")).unwrap_or_default();
    let kept =
        if keeps { "It is kept, and `restore --undo` puts it back" } else { "It is not kept: nothing puts it back" };
    context.output.agrees(&format!("{stop}replace what is there? {kept}")).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            "this restore replaces files, and there is no terminal to ask on; nothing was changed",
        )
        .with_hint("look at it with --dry-run, then say --yes")
        .into()
    })
}

fn confirm_not_to_keep(context: &Context<'_>, is_agreed: bool) -> backup::Result<()> {
    let project = context.project();
    let question = format!(
        "what is replaced is not kept, and nothing puts it back. To go on, type the project's name, {project}:"
    );
    if let Some(name) = context.output.ask(&question) {
        return require_name(context, &name);
    }
    let message = "with --no-keep nothing can be undone, and there is no terminal to ask on; nothing was changed";
    let yes = if is_agreed { "" } else { "--yes " };
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with_hint(format!("if that is meant, say {yes}--no-keep={project}")))
}

fn require_name(context: &Context<'_>, name: &str) -> backup::Result<()> {
    let project = context.project();
    if name == project {
        return Ok(());
    }
    let message = format!("{name:?} is not this project's name; nothing was changed");
    Err(Error::new(ErrorKind::InvalidInput, message).with_hint(format!("it is {project}")))
}

/// The library knows no flags.
fn hint_at_no_keep(error: Error, args: &cli::Restore) -> Error {
    if error.kind() != ErrorKind::NotKept || args.no_keep.is_some() {
        return error;
    }
    let without = "or restore without keeping what is replaced: --no-keep";
    let hint = error.hint().map_or_else(|| without.to_string(), |hint| format!("{hint}; {without}"));
    error.with_hint(hint)
}

// What is said of it.

fn show_plan(context: &Context<'_>, plan: &Plan, since: &[ChangesSince], stops: Option<&str>) {
    let (made, old) = (local(plan.created_at), age(plan.age_s));
    context.output.line(&format!("restore {} ({made}, {old} old) into {}", plan.id, plan.target.display()));
    for item in &plan.items {
        let action = match item.present {
            Occupant::Absent => paint(Tone::Good, "new      "),
            Occupant::Replaced => paint(Tone::Warning, "replaces "),
            Occupant::Unchanged => paint(Tone::Faint, "unchanged"),
            Occupant::Damaged => paint(Tone::Bad, "set aside"),
        };
        let bytes = item.bytes.map(|bytes| format!("  {}", size(bytes))).unwrap_or_default();
        let note = if item.present == Occupant::Damaged { "  (the damaged database there is kept)" } else { "" };
        let unlisted = if item.unlisted { "  (not in the settings)" } else { "" };
        context.output.line(&format!("  {action}  {}{bytes}{note}{unlisted}", item.path));
        if let Some(tables) = since.iter().find(|it| it.path == item.path).and_then(|it| it.tables.as_ref()) {
            context.output.line(&format!("             {}", rows_since(tables)));
        }
    }
    if let Some(unit) = stops {
        context.output.line(&format!("  {}  {unit}  (and starts it again)", paint(Tone::Warning, "stops    ")));
    }
    show_skipped(context, plan);
    plan.warnings.iter().for_each(|warning| context.output.warn(warning));
    if plan.skipped.iter().any(|skipped| skipped.why == SkipReason::Unlisted) {
        context.output.hint("to restore what the settings don't name as well, add --unlisted");
    }
}

fn show_skipped(context: &Context<'_>, plan: &Plan) {
    for SkippedItem { path, why } in plan.skipped.iter().take(MOST_SKIPPED) {
        let why = match why {
            SkipReason::Unlisted => "not in the settings",
            SkipReason::Protected => "never restored",
        };
        context.output.line(&format!("  {}  {path}  ({why})", paint(Tone::Faint, "left out ")));
    }
    if plan.skipped.len() > MOST_SKIPPED {
        let more = count(plan.skipped.len() - MOST_SKIPPED, "more file");
        context.output.line(&format!("  {}  {more}, which --json names", paint(Tone::Faint, "left out ")));
    }
}

/// A backup of nothing but what is left out would be restored without a change, and look well.
fn require_something(context: &Context<'_>, plan: &Plan) -> backup::Result<()> {
    if !plan.items.is_empty() {
        return Ok(());
    }
    let message = format!("backup {} holds nothing that may be restored here", plan.id);
    let list = context.command(&["list"]);
    Err(Error::new(ErrorKind::NoSuchBackup, message)
        .with_hint(format!("name its paths in the settings, or see {list}")))
}

fn rows_since(tables: &[RowsSince]) -> String {
    if tables.is_empty() {
        return "rows since then: as many in each table; what was changed in them will be replaced".into();
    }
    let named = tables.iter().take(MOST_TABLES).map(|table| format!("{} {:+}", table.name, table.rows));
    let mut named: Vec<String> = named.collect();
    if tables.len() > MOST_TABLES {
        named.push(count(tables.len() - MOST_TABLES, "more table"));
    }
    format!("rows since then: {} (will be replaced)", named.join(", "))
}

fn show(context: &Context<'_>, args: &cli::Restore, restored: &RestoreReport) {
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
        let undo = context.undo(&restored.target, args.unlisted);
        context.output.line(&format!("what was there is kept as {kept}; to put it back: {undo}"));
    }
}
