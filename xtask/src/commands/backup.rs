//! `backup`: a backup, and the rotation that makes room for it.

use std::path::PathBuf;

use backup::manifest::{Content, Database};
use backup::retention::{Reason, Staleness};
use backup::rotate::Rotation;
use backup::{
    BackupId, BackupReport, BackupRequest, Error, ErrorKind, FullReason, IncrementalReport, Integrity, Run, Sources,
    Status, Trigger,
};
use serde::Serialize;
use serde_json::json;

use super::rotate;
use crate::cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;
use crate::report::Report;
use crate::step::Step;
use crate::text::{Tone, count, size, took};

/// What `backup` did.
#[derive(Debug)]
pub enum BackupResult {
    /// It made one.
    Made(Box<BackupSummary>),
    /// Nothing had changed since this backup, so it wrote nothing.
    Unchanged {
        since: BackupId,
        /// What that backup lacks.
        failures: Vec<(String, Error)>,
    },
}

/// What was saved, and what was removed after it.
#[derive(Debug)]
pub struct BackupSummary {
    backup: BackupReport,
    /// Why it is a full one although an increment was asked for.
    full_because: Option<FullReason>,
    /// How long the backup took, in milliseconds, without the rotation.
    duration_ms: u64,
    /// The backup folder, if others can read it.
    open_folder: Option<PathBuf>,
    /// For how many days a backup from before a collapse is kept.
    keep_before_collapse: u32,
    rotation: Option<RotationSummary>,
}

/// The rotation after a backup.
#[derive(Debug)]
struct RotationSummary {
    /// Why it was held back, if it was.
    stale: Option<Staleness>,
    result: backup::Result<Rotation>,
}

pub fn run(context: &Context<'_>, args: &cli::Backup) -> anyhow::Result<BackupResult> {
    let codec = if args.no_compress { Some(backup::Codec::None) } else { args.codec };
    let encoding = context.config.encoding(codec, args.level)?;
    let sources = selected(context.config.sources(), args);
    let run = context.begin("backup")?;
    let request = BackupRequest {
        encoding,
        pinned: args.pin,
        integrity: integrity(context, args),
        tracked: context.config.increments.is_on() && !args.database_only && !args.config_only,
        ..request(context, &sources, args.scheduled)?
    };
    let result = if args.incremental {
        BackupResult::of(context, &run, backup::backup_incremental(&run, &request)?)
    } else {
        BackupResult::made(context, &run, backup::backup(&run, &request)?, None)
    };
    let BackupResult::Made(mut summary) = result else { return Ok(result) };
    // Killed in its rotation, the run has still told of the backup.
    summary.show_backup(context.output);
    // A run that saved nothing has made no backup that older ones could make room for; nor has an increment.
    let manifest = &summary.backup.manifest;
    if !args.no_rotate && manifest.status != Status::Failed && manifest.parent.is_none() {
        summary.rotation = Some(rotation(context, &run, manifest.id));
    }
    Ok(BackupResult::Made(summary))
}

/// The request of a backup as the settings say.
pub fn request<'a>(
    context: &'a Context<'_>,
    sources: &'a Sources,
    scheduled: bool,
) -> backup::Result<BackupRequest<'a>> {
    Ok(BackupRequest {
        root: &context.root,
        sources,
        encoding: context.config.encoding(None, None)?,
        trigger: if scheduled || context.output.is_journal() { Trigger::Timer } else { Trigger::Manual },
        pinned: false,
        integrity: if context.config.check { Integrity::Required } else { Integrity::Unchecked },
        tracked: context.config.increments.is_on(),
    })
}

fn selected(sources: Sources, args: &cli::Backup) -> Sources {
    Sources {
        databases: if args.config_only { Vec::new() } else { sources.databases },
        files: if args.database_only { Vec::new() } else { sources.files },
    }
}

fn integrity(context: &Context<'_>, args: &cli::Backup) -> Integrity {
    match (args.allow_damaged, args.no_check || !context.config.check) {
        (true, _) => Integrity::Recorded,
        (false, true) => Integrity::Unchecked,
        (false, false) => Integrity::Required,
    }
}

fn rotation(context: &Context<'_>, run: &Run<'_>, id: BackupId) -> RotationSummary {
    let plan = match backup::rotate::plan(run, &context.config.retention, Some(id)) {
        Ok(plan) => plan,
        Err(error) => return RotationSummary { stale: None, result: Err(error) },
    };
    let is_held_back = plan.kept().any(|decision| decision.reasons.contains(&Reason::NothingRemoved));
    RotationSummary { stale: plan.stale.filter(|_| is_held_back), result: backup::rotate::apply(run, &plan) }
}

impl BackupResult {
    /// What the library reports of an increment.
    pub fn of(context: &Context<'_>, run: &Run<'_>, report: IncrementalReport) -> Self {
        match report {
            IncrementalReport::Unchanged { point, failures } => Self::Unchanged { since: point, failures },
            IncrementalReport::Increment(backup) => Self::made(context, run, backup, None),
            IncrementalReport::Full(backup, reason) => Self::made(context, run, backup, Some(reason)),
        }
    }

    fn made(context: &Context<'_>, run: &Run<'_>, backup: BackupReport, full_because: Option<FullReason>) -> Self {
        Self::Made(Box::new(BackupSummary {
            backup,
            full_because,
            duration_ms: run.elapsed_ms(),
            open_folder: (!context.store.is_private()).then(|| context.store.folder().to_path_buf()),
            keep_before_collapse: context.config.retention.keep_before_collapse,
            rotation: None,
        }))
    }

    /// The newest point after it.
    pub fn point(&self) -> BackupId {
        match self {
            Self::Made(summary) => summary.backup.manifest.id,
            Self::Unchanged { since, .. } => *since,
        }
    }

    /// What could not be saved, by the name of its source.
    pub fn failures(&self) -> &[(String, Error)] {
        match self {
            Self::Made(summary) => &summary.backup.failures,
            Self::Unchanged { failures, .. } => failures,
        }
    }
}

impl BackupSummary {
    /// Whether it is an increment, not a full backup.
    pub fn is_increment(&self) -> bool {
        self.backup.manifest.parent.is_some()
    }

    /// What went wrong, in the order of events.
    fn errors(&self) -> Vec<&Error> {
        let failures = self.backup.failures.iter().map(|(_, error)| error);
        failures.chain(self.rotation_error()).collect()
    }

    fn rotation_error(&self) -> Option<&Error> {
        self.rotation.as_ref()?.result.as_ref().err()
    }

    /// Whether the rotation could not merge all increments that it had to.
    fn has_unmerged(&self) -> bool {
        let result = self.rotation.as_ref().map(|rotation| &rotation.result);
        matches!(result, Some(Ok(rotation)) if !rotation.unmerged.is_empty())
    }

    fn nothing_saved(&self) -> Option<Error> {
        let manifest = &self.backup.manifest;
        (manifest.status == Status::Failed).then(|| {
            Error::new(ErrorKind::MissingSource, format!("backup {} failed: nothing was saved", manifest.id))
                .with_hint("fix what failed above, then run `backup` again; older backups are untouched")
        })
    }
}

impl Report for BackupResult {
    fn text(&self, output: &Output) {
        match self {
            Self::Made(summary) => summary.text(output),
            Self::Unchanged { since, failures } => {
                for (_, error) in failures {
                    output.problem(error);
                }
                let tone = if failures.is_empty() { Tone::Good } else { Tone::Warning };
                output.done(tone, &format!("nothing changed since {since}"));
            }
        }
    }

    fn document(&self, output: &Output) -> Option<impl Serialize> {
        match self {
            Self::Made(summary) => Some(summary.document(output)),
            Self::Unchanged { since, failures } => {
                let error = failures.first().map(|(_, error)| output.error_document(error));
                Some(json!({ "backup": null, "unchanged_since": since, "rotation": null, "error": error }))
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Made(summary) => summary.exit(),
            Self::Unchanged { failures, .. } if failures.is_empty() => Exit::Done,
            Self::Unchanged { .. } => Exit::Partly,
        }
    }
}

impl BackupSummary {
    /// The backup was shown before the rotation began.
    fn text(&self, output: &Output) {
        if let Some(rotation) = &self.rotation {
            rotation.show(output);
        }
    }

    pub fn document(&self, output: &Output) -> serde_json::Value {
        let nothing_saved = self.nothing_saved();
        let error = self.errors().into_iter().chain(&nothing_saved).next();
        let rotation = self.rotation.as_ref().and_then(|rotation| rotation.result.as_ref().ok());
        let error = error.map(|error| output.error_document(error));
        let mut document = json!({ "backup": self.backup.manifest, "rotation": rotation, "error": error });
        if let Some(reason) = &self.full_because {
            document["full_because"] = reason.to_string().into();
        }
        document
    }

    fn exit(&self) -> Exit {
        match (self.backup.manifest.status, self.rotation_error()) {
            (Status::Failed, _) => Exit::Failed,
            (_, Some(error)) if error.kind() == ErrorKind::Interrupted => Exit::of(error),
            _ if self.errors().is_empty() && !self.has_unmerged() => Exit::Done,
            _ => Exit::Partly,
        }
    }
}

impl BackupSummary {
    fn show_backup(&self, output: &Output) {
        self.show_warnings(output);
        for (_, error) in &self.backup.failures {
            output.problem(error);
        }
        self.show_artifacts(output);
        self.show_end(output);
    }

    /// Shows it without its failures.
    pub fn show_saved(&self, output: &Output) {
        self.show_warnings(output);
        self.show_artifacts(output);
        self.show_sum(output);
    }

    fn show_warnings(&self, output: &Output) {
        if let Some(folder) = &self.open_folder {
            let folder = folder.display();
            output.warn(&format!("{folder} can be read by others; its files can't"));
            output.hint(&Step::new(["chmod", "700", &folder.to_string()]).to_string());
        }
        if let Some(reason) = &self.full_because {
            output.line(&format!("a full backup: {reason}"));
        }
        let manifest = &self.backup.manifest;
        for warning in &manifest.warnings {
            output.warn(&warning.message);
        }
        if !manifest.collapses.is_empty() {
            let accept = output.invocation().command(&["accept", &manifest.id.to_string()]);
            let stays = match self.keep_before_collapse {
                0 => String::new(),
                days => format!("what is from before stays for {}; ", count(days as usize, "day")),
            };
            output.hint(&format!("{stays}if it was intended: {accept}"));
        }
    }

    fn show_artifacts(&self, output: &Output) {
        for artifact in &self.backup.manifest.artifacts {
            let (stored, plain) = (size(artifact.bytes), size(artifact.plain_bytes));
            output.line(&format!("  {}  {stored} (plain {plain})", artifact.file));
            if let Content::Database(Database { read_ms: Some(read_ms), .. }) = artifact.content
                && output.is_verbose()
            {
                output.line(&format!("    read in one transaction of {}", took(read_ms)));
            }
        }
    }

    fn show_end(&self, output: &Output) {
        if let Some(error) = self.nothing_saved() {
            return output.problem(&error);
        }
        self.show_sum(output);
        if self.backup.manifest.status != Status::Complete {
            output.hint("fix what failed above, then run `backup` again");
        }
    }

    /// Prints the line that sums it up.
    pub fn show_sum(&self, output: &Output) {
        let manifest = &self.backup.manifest;
        let sizes = format!("{}, from {}", size(manifest.stored_bytes()), size(manifest.plain_bytes()));
        let time = took(self.duration_ms);
        let what = match manifest.parent {
            Some(parent) => format!("increment {} on {parent}", manifest.id),
            None => format!("backup {}", manifest.id),
        };
        match manifest.status {
            Status::Complete => output.done(Tone::Good, &format!("{what} complete: {sizes}, in {time}")),
            Status::Partial => output.done(Tone::Warning, &format!("{what} is partial: {sizes}, in {time}")),
            Status::Failed => output.done(Tone::Bad, &format!("{what} failed: nothing was saved")),
        }
    }
}

impl RotationSummary {
    fn show(&self, output: &Output) {
        if let Some(stale) = self.stale {
            output.warn(&stale.to_string());
        }
        match &self.result {
            Ok(rotation) if *rotation == Rotation::default() => {}
            Ok(rotation) => rotate::show_rotation(output, rotation),
            Err(error) => output.problem(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use backup::Manifest;
    use serde_json::{Value, json};

    use super::*;

    fn summary(rotation: backup::Result<Rotation>) -> BackupSummary {
        let manifest = include_bytes!("../../../crates/backup/tests/data/manifest_v1.json");
        let manifest = Manifest::parse("20261124_034135".parse().unwrap(), manifest).unwrap();
        BackupSummary {
            backup: BackupReport { manifest, failures: Vec::new() },
            full_because: None,
            duration_ms: 0,
            open_folder: None,
            keep_before_collapse: 0,
            rotation: Some(RotationSummary { stale: None, result: rotation }),
        }
    }

    #[test]
    fn a_backup_is_told_of_whatever_became_of_its_rotation() {
        for (rotation, exit, kind) in [
            (Ok(Rotation::default()), Exit::Done, Value::Null),
            (Err(Error::new(ErrorKind::Io, "the disk is gone")), Exit::Partly, json!("io")),
            (Err(Error::interrupted()), Exit::Interrupted, json!("interrupted")),
        ] {
            let summary = summary(rotation);
            assert_eq!(summary.exit(), exit);
            let document = summary.document(&Output::silent());
            assert_eq!(document["backup"]["id"], "20261124_034135");
            assert_eq!(document["error"]["kind"], kind);
        }
    }
}
