//! The table of backups: wide, or narrow for a terminal of 80 columns.

use backup::Trigger;
use chrono::{DateTime, FixedOffset};

use super::chains::Line;
use super::row::{Row, Standing};
use crate::table::Layout;
use crate::text::{Tone, age, count, local, paint, size};

const WIDE: [&str; 10] =
    ["ID (UTC)", "LOCAL TIME", "AGE", "TRIGGER", "STATUS", "ARTIFACTS", "STORED", "PLAIN", "PIN", "PROVED"];

const NARROW: [&str; 8] =
    ["ID (UTC)\nLOCAL TIME", "AGE", "TRIGGER", "STATUS", "ARTIFACTS", "STORED", "PLAIN", "PROVED"];

/// One line for each backup or chain.
pub fn wide(lines: &[Line<'_>]) -> Layout {
    let cells = |line: &Line<'_>| {
        let id = format!("{}{}", indent(line), line.row.id);
        vec![
            points(line).map_or(id.clone(), |points| format!("{id} {}{points}", full(line.row))),
            local(line.row.created_at),
            age(line.row.age_s),
            trigger(line.row).into(),
            status(line),
            names(line).join(", "),
            stored(line),
            plain(line.row),
            if is_pinned(line) { "yes" } else { "" }.into(),
            proved(line, " ago"),
        ]
    };
    Layout { header: WIDE.to_vec(), figures: vec![2, 6, 7], rows: lines.iter().map(cells).collect() }
}

/// Two lines for each backup, four for a chain.
pub fn narrow(lines: &[Line<'_>]) -> Layout {
    let cells = |line: &Line<'_>| {
        let (indent, row) = (indent(line), line.row);
        let points = points(line).map_or(String::new(), |points| format!("\n{}", points.replace(" to ", " to\n")));
        vec![
            format!("{indent}{}\n{indent}{}{points}", row.id, local(row.created_at)),
            age(row.age_s),
            trigger(row).into(),
            status(line) + if is_pinned(line) { "\npinned" } else { "" },
            names(line).join("\n"),
            stored(line),
            plain(row),
            proved(line, ""),
        ]
    };
    Layout { header: NARROW.to_vec(), figures: vec![1, 5, 6], rows: lines.iter().map(cells).collect() }
}

fn full(row: &Row) -> &'static str {
    if row.parent.is_none() { "full, " } else { "" }
}

fn indent(line: &Line<'_>) -> &'static str {
    if line.is_point { "  " } else { "" }
}

/// How many points a chain has, and the time of the newest; `None` if it is no chain.
fn points(line: &Line<'_>) -> Option<String> {
    let newest = line.increments.first()?;
    let points = count(line.increments.len() + 1, "point");
    Some(format!("{points} to {}", clock(newest.created_at, line.row.created_at)))
}

/// The local time; the date as well, if it is another day than that of the full backup.
fn clock(at: DateTime<FixedOffset>, full: DateTime<FixedOffset>) -> String {
    let (at, full) = (local(at), local(full));
    match (at.split_once(' '), full.split_once(' ')) {
        (Some((date, time)), Some((same, _))) if date == same => time.to_string(),
        _ => at,
    }
}

fn trigger(row: &Row) -> &'static str {
    match row.trigger {
        Some(Trigger::Manual) => "manual",
        Some(Trigger::Timer) => "timer",
        Some(Trigger::PreRestore) => "pre-restore",
        None => "-",
    }
}

/// How a backup stands, of a chain the newest point.
fn status(line: &Line<'_>) -> String {
    let status = line.newest().status;
    let tone = match status {
        Standing::Complete => Tone::Good,
        Standing::Failed | Standing::Damaged | Standing::Unreadable => Tone::Bad,
        _ => Tone::Warning,
    };
    paint(tone, status.word())
}

/// What it holds, an increment what it has stored itself. A database whose log is kept beside it is named once.
fn names<'a>(line: &Line<'a>) -> Vec<&'a str> {
    let mut names: Vec<&str> = line.row.artifacts.iter().map(|artifact| artifact.name.as_str()).collect();
    names.dedup();
    names
}

/// The size of all files that the line stands for.
fn stored(line: &Line<'_>) -> String {
    size(line.rows().map(|row| row.bytes).fold(0, u64::saturating_add)).to_string()
}

fn plain(row: &Row) -> String {
    row.plain_bytes.map_or("-".into(), |bytes| size(bytes).to_string())
}

fn is_pinned(line: &Line<'_>) -> bool {
    line.rows().any(|row| row.pinned)
}

/// How long ago it was proved, of a chain the point that was proved last.
fn proved(line: &Line<'_>, ago: &str) -> String {
    let last = line.rows().filter_map(|row| row.proved_age_s).min();
    last.map_or("never".into(), |seconds| age(seconds) + ago)
}
