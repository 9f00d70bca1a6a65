//! `list`.

use std::collections::BTreeSet;

use backup::manifest::Collapse;
use backup::owner;
use backup::status::{AtTime, Concern, RunEnd, Status as Judged};
use backup::{Catalog, Entry, Kind, Ledger, Outcome, Record, Status, Stranger, Trigger, seconds_since};
use chrono::{DateTime, FixedOffset};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::table::Layout;
use crate::text::quoted;
use crate::text::{Tone, age, local, paint, size};
use crate::words;

/// Of so many hosts `list` says how their backups can be made to count.
const MOST_HOSTS: usize = 3;

/// A backup as `list` shows it.
#[derive(Debug, Serialize)]
struct Row {
    id: backup::BackupId,
    created_at: DateTime<FixedOffset>,
    age_s: u64,
    trigger: Option<Trigger>,
    /// `complete`, `partial`, `failed`, `damaged`, `no manifest`, `another project's`, `another host's` or
    /// `unreadable`.
    status: &'static str,
    artifacts: Vec<Artifact>,
    bytes: u64,
    plain_bytes: Option<u64>,
    pinned: bool,
    last_proved: Option<DateTime<FixedOffset>>,
    /// Why it can't be used, if it can't.
    problem: Option<String>,
    collapses: Vec<Collapse>,
    /// Whether a person said that these were meant.
    accepted: bool,
}

/// What `list` says as JSON.
#[derive(Serialize)]
struct Document<'a> {
    backups: &'a [Row],
    last_run: Option<&'a AtTime<RunEnd>>,
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
    let ledger = context.ledger()?;
    let rows: Vec<Row> = catalog.entries().iter().rev().map(|entry| row(context, entry, &ledger)).collect();
    if rows.is_empty() {
        context.output.line(&format!("no backups yet in {}", context.store.folder().display()));
        context.output.hint("make one: `backup`");
    } else {
        context.output.table(&[&|| wide(context, &rows), &|| narrow(context, &rows)]);
    }
    offer_hosts(context, &catalog);
    for row in rows.iter().filter_map(|row| row.problem.as_ref()) {
        context.output.warn(row);
    }
    let status = context.status(&catalog, &ledger);
    for row in &rows {
        show_collapses(context, row, &status);
    }
    for concern in status.concerns.iter().filter(|concern| is_about_a_run(concern)) {
        context.output.warn(&words::concern(concern, &status));
    }
    context.output.json(&Document { backups: &rows, last_run: status.last.as_ref() })?;
    Ok(Exit::Done)
}

/// How backups of other hosts can be made to count. Anybody may have put there what names many.
fn offer_hosts(context: &Context<'_>, catalog: &Catalog) {
    let hosts: BTreeSet<&str> = owner::of_other_hosts(catalog).collect();
    for host in hosts.into_iter().take(MOST_HOSTS) {
        let host = quoted(host);
        context.output.hint(&format!(
            "backups of host {host} don't count, since this project was never on it; if it was: `take-over --host {host}`"
        ));
    }
}

/// Whether a run did not do what it should. What it found out about a backup stands beside that.
fn is_about_a_run(concern: &Concern) -> bool {
    match concern {
        Concern::LastRun { .. } => true,
        Concern::Verify { outcome, .. } | Concern::Drill { outcome, .. } => {
            matches!(outcome, Outcome::Begun | Outcome::Interrupted)
        }
        _ => false,
    }
}

fn row(context: &Context<'_>, entry: &Entry, ledger: &Ledger) -> Row {
    let manifest = entry.manifest();
    let created_at =
        manifest.map_or_else(|| entry.id.time().with_timezone(context.now.offset()), |manifest| manifest.created_at);
    let (status, problem) = match &entry.record {
        Record::Manifest(manifest) => {
            let failure = manifest.failure.as_ref().map(|failure| format!("{}: {failure}", entry.id));
            let lost = entry.files.iter().find(|file| !file.is_whole());
            let lost = lost.map(|file| format!("{} is missing or has another size than recorded", file.file));
            let bad = ledger.is_known_bad(entry.id);
            let bad = bad.then(|| format!("{} did not pass its last verify or drill", entry.id));
            let problem = lost.or(bad);
            (if problem.is_some() { "damaged" } else { status(manifest.status) }, problem.or(failure))
        }
        Record::Foreign => ("no manifest", None),
        Record::Another(_, Stranger::Project) => ("another project's", None),
        Record::Another(_, Stranger::Host) => ("another host's", None),
        Record::Unreadable(error) => ("unreadable", Some(error.one_line())),
    };
    Row {
        id: entry.id,
        created_at,
        age_s: seconds_since(created_at, context.now),
        trigger: manifest.map(|manifest| manifest.trigger),
        status,
        artifacts: entry.files.iter().map(artifact).collect(),
        bytes: entry.stored_bytes(),
        plain_bytes: manifest.map(|_| entry.plain_bytes()),
        pinned: entry.is_pinned(ledger),
        last_proved: ledger.last_proved(entry.id),
        problem,
        collapses: manifest.map(|manifest| manifest.collapses.clone()).unwrap_or_default(),
        accepted: ledger.is_accepted(entry.id),
    }
}

/// Warns of those that are a concern.
fn show_collapses(context: &Context<'_>, row: &Row, status: &Judged) {
    for collapse in &row.collapses {
        let shows = format!("{} shows the collapse of {collapse} since {}", row.id, collapse.since);
        let concern = Concern::Collapsed { id: row.id, collapse: collapse.clone() };
        if status.concerns.contains(&concern) {
            context.output.warn(&shows);
        } else {
            let accepted = if row.accepted { "; accepted" } else { "" };
            context.output.line(&format!("{shows}{accepted}"));
        }
    }
}

fn artifact(file: &backup::ListedFile) -> Artifact {
    Artifact {
        name: file.name.clone(),
        kind: match file.kind {
            Kind::Database => "database",
            Kind::Wal => "wal",
            Kind::Journal => "journal",
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

/// One line for each backup.
fn wide(context: &Context<'_>, rows: &[Row]) -> Layout {
    let cells = |row: &Row| {
        vec![
            row.id.to_string(),
            local(row.created_at),
            age(row.age_s),
            trigger(row).into(),
            paint(tone(row), row.status),
            names(row).join(", "),
            size(row.bytes).to_string(),
            plain(row),
            if row.pinned { "yes" } else { "" }.into(),
            proved(context, row, " ago"),
        ]
    };
    Layout {
        header: vec![
            "ID (UTC)",
            "LOCAL TIME",
            "AGE",
            "TRIGGER",
            "STATUS",
            "ARTIFACTS",
            "STORED",
            "PLAIN",
            "PIN",
            "PROVED",
        ],
        figures: vec![2, 6, 7],
        rows: rows.iter().map(cells).collect(),
    }
}

/// The same on two lines, for a terminal of 80 columns.
fn narrow(context: &Context<'_>, rows: &[Row]) -> Layout {
    let cells = |row: &Row| {
        vec![
            format!("{}\n{}", row.id, local(row.created_at)),
            age(row.age_s),
            trigger(row).into(),
            paint(tone(row), row.status) + if row.pinned { "\npinned" } else { "" },
            names(row).join("\n"),
            size(row.bytes).to_string(),
            plain(row),
            proved(context, row, ""),
        ]
    };
    Layout {
        header: vec!["ID (UTC)\nLOCAL TIME", "AGE", "TRIGGER", "STATUS", "ARTIFACTS", "STORED", "PLAIN", "PROVED"],
        figures: vec![1, 5, 6],
        rows: rows.iter().map(cells).collect(),
    }
}

/// What it holds; a database whose log is kept beside it is named once.
fn names(row: &Row) -> Vec<&str> {
    let mut names: Vec<&str> = row.artifacts.iter().map(|artifact| artifact.name.as_str()).collect();
    names.dedup();
    names
}

fn trigger(row: &Row) -> &'static str {
    match row.trigger {
        Some(Trigger::Manual) => "manual",
        Some(Trigger::Timer) => "timer",
        Some(Trigger::PreRestore) => "pre-restore",
        None => "-",
    }
}

fn tone(row: &Row) -> Tone {
    match row.status {
        "complete" => Tone::Good,
        "failed" | "damaged" | "unreadable" => Tone::Bad,
        _ => Tone::Warning,
    }
}

fn plain(row: &Row) -> String {
    row.plain_bytes.map_or("-".into(), |bytes| size(bytes).to_string())
}

fn proved(context: &Context<'_>, row: &Row, ago: &str) -> String {
    let ago = |at: DateTime<FixedOffset>| context.age_of(at) + ago;
    row.last_proved.map_or("never".into(), ago)
}
