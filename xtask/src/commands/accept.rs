//! `accept`.

use backup::restore::Selection;
use backup::{BackupId, marks};
use serde::Serialize;

use crate::cli;
use crate::context::Context;
use crate::output::Output;
use crate::report::Report;

/// The backup whose collapses a person has accepted, or no longer accepts.
#[derive(Debug, Serialize)]
pub struct AcceptSummary {
    accepted: bool,
    changed: bool,
    id: BackupId,
}

pub fn run(context: &Context<'_>, args: &cli::AcceptArgs) -> anyhow::Result<AcceptSummary> {
    let run = context.begin_on_existing("accept")?;
    let catalog = run.catalog()?;
    let entry = context.select(&run, &catalog, Some(&args.id), Selection::ALL)?;
    let accepted = !args.undo;
    let changed = marks::set_accepted(&run, entry.id, accepted)?;
    Ok(AcceptSummary { accepted, changed, id: entry.id })
}

impl Report for AcceptSummary {
    fn text(&self, output: &Output) {
        let state = if self.accepted { "accepted" } else { "not accepted" };
        let already = if self.changed { "now" } else { "already" };
        output.line(&format!("the collapse that {} shows is {already} {state}", self.id));
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(self)
    }
}
