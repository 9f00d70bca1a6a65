//! `list`.

mod chains;
mod row;
mod table;

use std::collections::BTreeSet;
use std::path::PathBuf;

use backup::status::{AtTime, Concern, RunEnd, Status};
use backup::{Catalog, Entry, Outcome, owner};
use serde::Serialize;

use self::chains::Line;
use self::row::Row;
use crate::cli;
use crate::context::Context;
use crate::output::Output;
use crate::report::Report;
use crate::text::quoted;
use crate::words;

/// The most hosts that are named. Manifests from elsewhere could name any number.
const MOST_HOSTS: usize = 3;

/// All backups of a store, newest first.
#[derive(Debug)]
pub struct ListSummary {
    folder: PathBuf,
    backups: Vec<Row>,
    /// Whether each point of a chain is shown.
    points: bool,
    /// Hosts whose backups don't count.
    other_hosts: Vec<String>,
    status: Status,
}

/// What `list` says as JSON.
#[derive(Serialize)]
struct Document<'a> {
    backups: &'a [Row],
    last_run: Option<&'a AtTime<RunEnd>>,
}

pub fn run(context: &Context<'_>, args: &cli::List) -> anyhow::Result<ListSummary> {
    let (catalog, ledger) = (context.catalog()?, context.ledger()?);
    let (objections, firsts) = (catalog.objections(&ledger), catalog.firsts());
    let row = |entry: &Entry| Row::of(entry, firsts[&entry.id], &ledger, &objections, context.now);
    Ok(ListSummary {
        folder: context.store.folder().to_path_buf(),
        backups: catalog.entries().iter().rev().map(row).collect(),
        points: args.points,
        other_hosts: other_hosts(&catalog),
        status: context.status(&catalog, &ledger),
    })
}

fn other_hosts(catalog: &Catalog) -> Vec<String> {
    let hosts: BTreeSet<&str> = owner::of_other_hosts(catalog).collect();
    hosts.into_iter().map(str::to_string).collect()
}

impl Report for ListSummary {
    fn text(&self, output: &Output) {
        let lines = chains::lines(&self.backups, self.points);
        if lines.is_empty() {
            output.line(&format!("no backups yet in {}", self.folder.display()));
            output.hint("make one: `backup`");
        } else {
            output.table(&[&|| table::wide(&lines), &|| table::narrow(&lines)]);
        }
        self.offer_hosts(output);
        for problem in lines.iter().filter_map(Line::problem) {
            output.warn(&problem);
        }
        for row in &self.backups {
            self.show_collapses(output, row);
        }
        for concern in self.status.concerns.iter().filter(|concern| is_about_a_run(concern)) {
            output.warn(&words::concern(concern, &self.status));
        }
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(Document { backups: &self.backups, last_run: self.status.last.as_ref() })
    }
}

impl ListSummary {
    /// Prints how the backups of other hosts can be made to count.
    fn offer_hosts(&self, output: &Output) {
        for host in self.other_hosts.iter().take(MOST_HOSTS) {
            let host = quoted(host);
            output.hint(&format!(
                "backups of host {host} don't count, since this project was never on it; if it was: `take-over --host {host}`"
            ));
        }
    }

    /// Shows collapses, and warns of those that nobody has accepted.
    fn show_collapses(&self, output: &Output, row: &Row) {
        for collapse in &row.collapses {
            let shows = format!("{} shows the collapse of {collapse} since {}", row.id, collapse.since);
            let concern = Concern::Collapsed { id: row.id, collapse: collapse.clone() };
            if self.status.concerns.contains(&concern) {
                output.warn(&shows);
            } else {
                let accepted = if row.accepted { "; accepted" } else { "" };
                output.line(&format!("{shows}{accepted}"));
            }
        }
    }
}

/// Whether a run did not do what it should. What it found out about a backup is shown beside that backup.
fn is_about_a_run(concern: &Concern) -> bool {
    match concern {
        Concern::LastRun { .. } => true,
        Concern::Verify { outcome, .. } | Concern::Drill { outcome, .. } => {
            matches!(outcome, Outcome::Begun | Outcome::Interrupted)
        }
        _ => false,
    }
}
