//! `pin` and `unpin`.

use backup::restore::Selection;
use backup::{BackupId, marks};
use serde::Serialize;

use crate::cli;
use crate::context::Context;
use crate::output::Output;
use crate::report::Report;

/// The backup that rotation must keep, or may remove again.
#[derive(Debug, Serialize)]
pub struct PinSummary {
    changed: bool,
    id: BackupId,
    pinned: bool,
}

pub fn run(context: &Context<'_>, args: &cli::PinArgs, pinned: bool) -> anyhow::Result<PinSummary> {
    let run = context.begin_on_existing(if pinned { "pin" } else { "unpin" })?;
    let catalog = run.catalog()?;
    let entry = context.select(&run, &catalog, Some(&args.id), Selection::ALL)?;
    let changed = marks::set_pinned(&run, entry.id, pinned)?;
    Ok(PinSummary { changed, id: entry.id, pinned })
}

impl Report for PinSummary {
    fn text(&self, output: &Output) {
        let state = if self.pinned { "pinned" } else { "not pinned" };
        let already = if self.changed { "now" } else { "already" };
        output.line(&format!("backup {} is {already} {state}", self.id));
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(self)
    }
}
