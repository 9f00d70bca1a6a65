//! `backup`.

use backup::manifest::{Content, Database};
use backup::retention::Reason;
use backup::rotate::Rotation;
use backup::{BackupReport, BackupRequest, Error, ErrorKind, Integrity, Manifest, Run, Sources, Status, Trigger};
use serde_json::json;

use super::rotate;
use crate::cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::schedule::steps::Step;
use crate::text::{Tone, count, size, took};

pub fn run(context: &Context<'_>, args: &cli::Backup) -> anyhow::Result<Exit> {
    let codec = if args.no_compress { Some(backup::Codec::None) } else { args.codec };
    let encoding = context.config.encoding(codec, args.level)?;
    let sources = selected(context.config.sources(), args);
    let scheduled = args.scheduled || context.output.is_journal();
    let trigger = if scheduled { Trigger::Timer } else { Trigger::Manual };

    let run = context.begin("backup")?;
    let integrity = match (args.allow_damaged, args.no_check || !context.config.check) {
        (true, _) => Integrity::Recorded,
        (false, true) => Integrity::Unchecked,
        (false, false) => Integrity::Required,
    };
    let (root, pinned) = (&context.root, args.pin);
    let request = BackupRequest { root, sources: &sources, encoding, trigger, pinned, integrity };
    let made = backup::backup(&run, &request)?;
    report(context, &run, &made);
    let BackupReport { manifest, mut failures } = made;
    // After a run that saved nothing there is no new backup that older ones could make room for.
    let rotate = !args.no_rotate && manifest.status != Status::Failed;
    let rotation = match rotate.then(|| rotate_after(context, &run, &manifest)).transpose() {
        Ok(rotation) => rotation,
        Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error.into()),
        Err(error) => {
            context.output.problem(&error);
            failures.push(("rotation".into(), error));
            None
        }
    };
    if manifest.status == Status::Failed {
        failures.push(("backup".into(), nothing_saved(&manifest)));
    }
    let error = failures.first().map(|(_, error)| context.output.error_document(error));
    context.output.json(&json!({ "backup": manifest, "rotation": rotation, "error": error }))?;
    Ok(match manifest.status {
        Status::Failed => Exit::Failed,
        _ if failures.is_empty() => Exit::Done,
        _ => Exit::Partly,
    })
}

fn selected(sources: Sources, args: &cli::Backup) -> Sources {
    Sources {
        databases: if args.config_only { Vec::new() } else { sources.databases },
        files: if args.database_only { Vec::new() } else { sources.files },
    }
}

fn rotate_after(context: &Context<'_>, run: &Run<'_>, made: &Manifest) -> backup::Result<Rotation> {
    let plan = backup::rotate::plan(run, &context.config.retention, Some(made.id))?;
    if plan.kept().any(|decision| decision.reasons.contains(&Reason::NothingRemoved)) {
        rotate::report_stale(context, &plan);
    }
    let rotation = backup::rotate::apply(run, &plan)?;
    if !rotation.removed.is_empty() {
        rotate::report_removed(context, &rotation);
    }
    Ok(rotation)
}

fn in_days(days: u32) -> String {
    count(days as usize, "day")
}

fn nothing_saved(manifest: &Manifest) -> Error {
    Error::new(ErrorKind::MissingSource, format!("backup {} failed: nothing was saved", manifest.id))
        .with_hint("fix what failed above, then run `backup` again; older backups are untouched")
}

fn report(context: &Context<'_>, run: &Run<'_>, made: &BackupReport) {
    let BackupReport { manifest, failures } = made;
    if !context.store.is_private() {
        let folder = context.store.folder().display();
        context.output.warn(&format!("{folder} can be read by others; its files can't"));
        context.output.hint(&Step::new(["chmod", "700", &folder.to_string()]).to_string());
    }
    for warning in &manifest.warnings {
        context.output.warn(&warning.message);
    }
    if !manifest.collapses.is_empty() {
        let accept = context.command(&["accept", &manifest.id.to_string()]);
        let days = context.config.retention.keep_before_collapse;
        let stays = if days > 0 { format!("what is from before stays for {}; ", in_days(days)) } else { String::new() };
        context.output.hint(&format!("{stays}if it was meant: {accept}"));
    }
    for (_, error) in failures {
        context.output.problem(error);
    }
    for artifact in &manifest.artifacts {
        let (stored, plain) = (size(artifact.bytes), size(artifact.plain_bytes));
        context.output.line(&format!("  {}  {stored} (plain {plain})", artifact.file));
        if let Content::Database(Database { read_ms: Some(read_ms), .. }) = artifact.content
            && context.output.is_verbose()
        {
            context.output.line(&format!("    read in one transaction of {}", took(read_ms)));
        }
    }
    let size = format!("{}, from {}", size(manifest.stored_bytes()), size(manifest.plain_bytes()));
    let (id, time) = (manifest.id, took(run.elapsed_ms()));
    match manifest.status {
        Status::Complete => context.output.done(Tone::Good, &format!("backup {id} complete: {size}, in {time}")),
        Status::Partial => {
            context.output.done(Tone::Warning, &format!("backup {id} is partial: {size}, in {time}"));
            context.output.hint("fix what failed above, then run `backup` again");
        }
        Status::Failed => context.output.problem(&nothing_saved(manifest)),
    }
}
