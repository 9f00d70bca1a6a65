//! Whether a database has collapsed: lost most of what an earlier backup holds.
//!
//! A database that somebody emptied by mistake is sound, and a backup of it complete. Night after night rotation would
//! remove one of those that still hold everything. So each backup is compared with earlier ones, and its manifest says
//! what is lost; [`crate::retention`] then keeps what is from before.
//!
//! Earlier ones are the newest, and all of the last [`RECENT`], newest first: a database that loses a third each night
//! is compared with what it was before it began to. Beyond one that shows a collapse itself nothing is compared, so a
//! collapse is told once.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::catalog::{Catalog, Entry};
use crate::fsutil::size;
use crate::manifest::{Artifact, Collapse, Content, Database, Manifest, Trigger, Warning, thousands};

/// How old a backup may be to be compared with, if it isn't the newest.
const RECENT: TimeDelta = TimeDelta::days(30);

/// Small tables come and go: one that lost fewer rows than this has not collapsed.
const LEAST_ROWS: u64 = 100;

/// Of more tables than this, a warning names only some.
const MOST_NAMED: usize = 3;

/// What the databases among `artifacts`, just saved, have lost since earlier backups, each with its warning.
pub(crate) fn find(catalog: &Catalog, artifacts: &[Artifact], now: DateTime<Utc>) -> Vec<(Collapse, Warning)> {
    artifacts.iter().filter_map(|artifact| collapse_of(catalog, artifact, now)).collect()
}

fn collapse_of(catalog: &Catalog, artifact: &Artifact, now: DateTime<Utc>) -> Option<(Collapse, Warning)> {
    let name = artifact.name.as_str();
    let database = sound_database(artifact)?;
    let mut has_compared = false;
    for manifest in catalog.entries().iter().rev().filter_map(comparable) {
        if has_compared && now - manifest.id.time() > RECENT {
            return None;
        }
        let earlier = manifest.artifacts.iter().find(|earlier| earlier.name == name).and_then(sound_database);
        if let Some(earlier) = earlier {
            has_compared = true;
            let losses = losses(earlier, database);
            if !losses.is_empty() {
                return Some(told(name, manifest, losses));
            }
        }
        if manifest.collapses.iter().any(|collapse| collapse.name == name) {
            return None;
        }
    }
    None
}

/// The manifest of a backup that others can be compared with.
fn comparable(entry: &Entry) -> Option<&Manifest> {
    let is_there = entry.files.iter().all(|file| file.is_whole());
    entry.manifest().filter(|manifest| is_there && manifest.trigger != Trigger::PreRestore)
}

/// Of a damaged database nobody knows what was in it.
fn sound_database(artifact: &Artifact) -> Option<&Database> {
    match &artifact.content {
        Content::Database(database) if database.damage.is_empty() => Some(database),
        _ => None,
    }
}

/// A figure that is too small now.
struct Loss<'a> {
    /// The table whose rows these are; `None`: bytes of the database.
    table: Option<&'a str>,
    was: u64,
    now: u64,
}

/// Tables that lost most of their rows, the greatest loss first; if there are none, the database itself if it lost half
/// of its size.
fn losses<'a>(earlier: &'a Database, database: &Database) -> Vec<Loss<'a>> {
    let rows = |database: &'a Database| -> BTreeMap<&'a str, u64> {
        database.facts.tables.iter().map(|table| (table.name.as_str(), table.rows)).collect()
    };
    let was = rows(earlier);
    let now: BTreeMap<&str, u64> =
        database.facts.tables.iter().map(|table| (table.name.as_str(), table.rows)).collect();
    let mut losses: Vec<Loss<'a>> = was
        .iter()
        .filter(|(table, _)| !is_upkeep(table, &was))
        .map(|(table, was)| Loss { table: Some(table), was: *was, now: now.get(table).copied().unwrap_or(0) })
        .filter(|loss| loss.rows_lost() >= LEAST_ROWS && loss.rows_lost() > loss.now)
        .collect();
    losses.sort_by_key(|loss| std::cmp::Reverse(loss.rows_lost()));
    if losses.is_empty() && earlier.snapshot == database.snapshot {
        let loss = Loss { table: None, was: bytes(earlier), now: bytes(database) };
        losses.extend(Some(loss).filter(|loss| loss.now.saturating_mul(2) <= loss.was));
    }
    losses
}

impl Loss<'_> {
    fn rows_lost(&self) -> u64 {
        self.was.saturating_sub(self.now)
    }
}

fn bytes(database: &Database) -> u64 {
    database.facts.page_count.saturating_mul(database.facts.page_size.into())
}

/// Whether SQLite keeps a table for itself: statistics, or the segments of a full-text index, which it merges.
fn is_upkeep(table: &str, tables: &BTreeMap<&str, u64>) -> bool {
    let has_all = |base: &str, endings: &[&str]| {
        endings.iter().all(|ending| tables.contains_key(format!("{base}{ending}").as_str()))
    };
    let families: [&[&str]; 2] = [&["_data", "_idx", "_config"], &["_segments", "_segdir"]];
    let is_segment = |family: &&[&str]| {
        family.iter().any(|ending| table.strip_suffix(ending).is_some_and(|base| has_all(base, family)))
    };
    table.starts_with("sqlite_") || families.iter().any(is_segment)
}

fn told(name: &str, earlier: &Manifest, losses: Vec<Loss<'_>>) -> (Collapse, Warning) {
    let since = earlier.id;
    let tables: Vec<String> = losses
        .iter()
        .filter_map(|loss| Some(format!("{} {} → {}", loss.table?, thousands(loss.was), thousands(loss.now))))
        .collect();
    let worst = &losses[0];
    let message = if tables.is_empty() {
        format!("database {name} shrank since backup {since}: {} → {}", size(worst.was), size(worst.now))
    } else {
        let more = match tables.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = tables[..tables.len().min(MOST_NAMED)].join(", ");
        format!("database {name} lost most rows of some tables since backup {since}: {named}{more}")
    };
    let collapse = Collapse {
        name: name.to_string(),
        since,
        table: worst.table.map(str::to_string),
        was: worst.was,
        now: worst.now,
    };
    (collapse, Warning { code: "collapsed".into(), message })
}
