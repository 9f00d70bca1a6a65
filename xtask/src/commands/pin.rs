//! `pin` and `unpin`.

use backup::marks;
use backup::restore::Selection;
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::Exit;

pub fn run(context: &Context<'_>, args: &cli::PinArgs, pinned: bool) -> anyhow::Result<Exit> {
    let run = context.begin_on_existing(if pinned { "pin" } else { "unpin" })?;
    let catalog = run.catalog()?;
    let entry = context.select(&catalog, Some(&args.id), Selection::ALL)?;
    let changed = marks::set_pinned(&run, entry, pinned)?;
    let state = if pinned { "pinned" } else { "not pinned" };
    let already = if changed { "now" } else { "already" };
    context.output.line(&format!("backup {} is {already} {state}", entry.id));
    context.output.json(&json!({ "id": entry.id, "pinned": pinned, "changed": changed }))?;
    Ok(Exit::Done)
}
