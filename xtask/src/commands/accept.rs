//! `accept`.

use backup::marks;
use backup::restore::Selection;
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::Exit;

pub fn run(context: &Context<'_>, args: &cli::AcceptArgs) -> anyhow::Result<Exit> {
    let run = context.begin_on_existing("accept")?;
    let catalog = run.catalog()?;
    let entry = context.select(&catalog, Some(&args.id), Selection::ALL)?;
    let accepted = !args.undo;
    let changed = marks::set_accepted(&run, entry, accepted)?;
    let state = if accepted { "accepted" } else { "not accepted" };
    let already = if changed { "now" } else { "already" };
    context.output.line(&format!("the collapse that {} shows is {already} {state}", entry.id));
    context.output.json(&json!({ "id": entry.id, "accepted": accepted, "changed": changed }))?;
    Ok(Exit::Done)
}
