//! `list`.

use backup::{Entry, History, Kind, Record, Status, Trigger};
use chrono::{DateTime, FixedOffset};
use serde::Serialize;
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::text::{Tone, age, local, paint, printable, size};

/// A backup as `list` shows it.
#[derive(Debug, Serialize)]
struct Row {
    id: backup::BackupId,
    created_at: DateTime<FixedOffset>,
    age_s: u64,
    trigger: Option<Trigger>,
    /// `complete`, `partial`, `failed`, `no manifest` or `unreadable`.
    status: &'static str,
    artifacts: Vec<Artifact>,
    bytes: u64,
    plain_bytes: Option<u64>,
    pinned: bool,
    last_proved: Option<DateTime<FixedOffset>>,
    /// Why it can't be used, if it can't.
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Artifact {
    name: String,
    kind: &'static str,
    file: String,
    bytes: Option<u64>,
    plain_bytes: Option<u64>,
}

pub fn run(context: &Context<'_>) -> anyhow::Result<Exit> {
    let catalog = context.catalog()?;
    let history = context.history()?;
    let rows: Vec<Row> = catalog.entries().iter().rev().map(|entry| row(context, entry, &history)).collect();
    if rows.is_empty() {
        context.output.line(&format!("no backups in {}", context.store.folder().display()));
        context.output.hint("make one: cargo xtask backup");
    } else {
        let header =
            ["ID (UTC)", "LOCAL TIME", "AGE", "TRIGGER", "STATUS", "ARTIFACTS", "STORED", "PLAIN", "PIN", "PROVED"];
        context.output.table(&header, &[2, 6, 7], rows.iter().map(|row| cells(context, row)).collect());
    }
    for row in rows.iter().filter_map(|row| row.problem.as_ref()) {
        context.output.warn(&printable(row));
    }
    context.output.json(&json!({ "backups": rows }))?;
    Ok(Exit::Done)
}

fn row(context: &Context<'_>, entry: &Entry, history: &History) -> Row {
    let manifest = entry.manifest();
    let created_at =
        manifest.map_or_else(|| entry.id.time().with_timezone(context.now.offset()), |manifest| manifest.created_at);
    let (status, problem) = match &entry.record {
        Record::Manifest(manifest) => {
            let failure = manifest.errors.first().map(|failure| format!("{}: {}", entry.id, failure.message));
            (status(manifest.status), failure)
        }
        Record::Foreign => ("no manifest", None),
        Record::Unreadable(error) => ("unreadable", Some(error.one_line())),
    };
    Row {
        id: entry.id,
        created_at,
        age_s: u64::try_from((context.now - created_at).num_seconds()).unwrap_or(0),
        trigger: manifest.map(|manifest| manifest.trigger),
        status,
        artifacts: entry.files.iter().map(artifact).collect(),
        bytes: entry.files.iter().filter_map(|file| file.bytes).sum(),
        plain_bytes: manifest.map(backup::Manifest::plain_bytes),
        pinned: manifest.is_some_and(|manifest| manifest.pinned),
        last_proved: history.last_proved(entry.id),
        problem,
    }
}

fn artifact(file: &backup::StoredFile) -> Artifact {
    Artifact {
        name: file.name.clone(),
        kind: match file.kind {
            Kind::Database => "database",
            Kind::Files => "files",
        },
        file: file.file.clone(),
        bytes: file.bytes,
        plain_bytes: file.recorded.as_ref().map(|recorded| recorded.plain_bytes),
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Complete => "complete",
        Status::Partial => "partial",
        Status::Failed => "failed",
    }
}

fn cells(context: &Context<'_>, row: &Row) -> Vec<String> {
    let trigger = match row.trigger {
        Some(Trigger::Manual) => "manual",
        Some(Trigger::Timer) => "timer",
        Some(Trigger::PreRestore) => "pre-restore",
        None => "-",
    };
    let tone = match row.status {
        "complete" => Tone::Good,
        "failed" | "unreadable" => Tone::Bad,
        _ => Tone::Warning,
    };
    let names: Vec<&str> = row.artifacts.iter().map(|artifact| artifact.name.as_str()).collect();
    let since = |at: DateTime<FixedOffset>| age(u64::try_from((context.now - at).num_seconds()).unwrap_or(0)) + " ago";
    vec![
        row.id.to_string(),
        local(row.created_at),
        age(row.age_s),
        trigger.into(),
        paint(tone, row.status),
        names.join(", "),
        size(row.bytes).to_string(),
        row.plain_bytes.map_or("-".into(), |bytes| size(bytes).to_string()),
        if row.pinned { "yes" } else { "" }.into(),
        row.last_proved.map_or("never".into(), since),
    ]
}
