//! The table of backups: wide, or narrow for a terminal of 80 columns.

use backup::Trigger;

use super::row::{Row, Standing};
use crate::table::Layout;
use crate::text::{Tone, age, local, paint, size};

const WIDE: [&str; 10] =
    ["ID (UTC)", "LOCAL TIME", "AGE", "TRIGGER", "STATUS", "ARTIFACTS", "STORED", "PLAIN", "PIN", "PROVED"];

const NARROW: [&str; 8] =
    ["ID (UTC)\nLOCAL TIME", "AGE", "TRIGGER", "STATUS", "ARTIFACTS", "STORED", "PLAIN", "PROVED"];

/// One line for each backup.
pub fn wide(rows: &[Row]) -> Layout {
    let cells = |row: &Row| {
        vec![
            row.id.to_string(),
            local(row.created_at),
            age(row.age_s),
            trigger(row).into(),
            status(row),
            names(row).join(", "),
            size(row.bytes).to_string(),
            plain(row),
            if row.pinned { "yes" } else { "" }.into(),
            proved(row, " ago"),
        ]
    };
    Layout { header: WIDE.to_vec(), figures: vec![2, 6, 7], rows: rows.iter().map(cells).collect() }
}

/// Two lines for each backup.
pub fn narrow(rows: &[Row]) -> Layout {
    let cells = |row: &Row| {
        vec![
            format!("{}\n{}", row.id, local(row.created_at)),
            age(row.age_s),
            trigger(row).into(),
            status(row) + if row.pinned { "\npinned" } else { "" },
            names(row).join("\n"),
            size(row.bytes).to_string(),
            plain(row),
            proved(row, ""),
        ]
    };
    Layout { header: NARROW.to_vec(), figures: vec![1, 5, 6], rows: rows.iter().map(cells).collect() }
}

fn trigger(row: &Row) -> &'static str {
    match row.trigger {
        Some(Trigger::Manual) => "manual",
        Some(Trigger::Timer) => "timer",
        Some(Trigger::PreRestore) => "pre-restore",
        None => "-",
    }
}

fn status(row: &Row) -> String {
    let tone = match row.status {
        Standing::Complete => Tone::Good,
        Standing::Failed | Standing::Damaged | Standing::Unreadable => Tone::Bad,
        _ => Tone::Warning,
    };
    paint(tone, row.status.word())
}

/// What it holds. A database whose log is kept beside it is named once.
fn names(row: &Row) -> Vec<&str> {
    let mut names: Vec<&str> = row.artifacts.iter().map(|artifact| artifact.name.as_str()).collect();
    names.dedup();
    names
}

fn plain(row: &Row) -> String {
    row.plain_bytes.map_or("-".into(), |bytes| size(bytes).to_string())
}

fn proved(row: &Row, ago: &str) -> String {
    row.proved_age_s.map_or("never".into(), |seconds| age(seconds) + ago)
}
