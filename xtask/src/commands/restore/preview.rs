//! What a person reads before a restore begins.

use backup::restore::{ChangesSince, Item, Occupant, Plan, RowsSince, SkipReason, SkippedItem};

use crate::output::Output;
use crate::text::{Tone, age, count, local, paint, size};
use crate::words;

/// The most tables that are named.
const MOST_TABLES: usize = 5;

/// The most files that are named as left out.
const MOST_SKIPPED: usize = 50;

/// What a restore would do.
#[derive(Debug)]
pub struct Preview {
    /// What would be written.
    pub plan: Plan,
    /// What has changed since the backup, and would be replaced.
    pub since: Vec<ChangesSince>,
    /// The application's unit, if it would be stopped.
    pub stops: Option<String>,
}

impl Preview {
    /// Prints it.
    pub fn show(&self, output: &Output) {
        show_plan(output, &self.plan, &self.since, self.stops.as_deref());
    }
}

/// Prints a plan.
pub fn show_plan(output: &Output, plan: &Plan, since: &[ChangesSince], stops: Option<&str>) {
    let (made, old) = (local(plan.created_at), age(plan.age_s));
    output.line(&format!("restore {} ({made}, {old} old) into {}", plan.id, plan.target.display()));
    if let Some(chain) = words::chain(&plan.chain) {
        output.line(&format!("  from {chain}"));
    }
    for item in &plan.items {
        show_item(output, item);
        if let Some(changes) = since.iter().find(|it| it.path == item.path) {
            let rows = changes.tables.as_deref().map_or_else(|| "rows since then: not known".into(), rows_since);
            output.line(&format!("             {rows}"));
        }
    }
    if let Some(unit) = stops {
        output.line(&format!("  {}  {unit}  (and starts it again)", paint(Tone::Warning, "stops    ")));
    }
    show_skipped(output, &plan.skipped);
    plan.warnings.iter().for_each(|warning| output.warn(warning));
    if plan.skipped.iter().any(|skipped| skipped.why == SkipReason::Unlisted) {
        output.hint("to restore what the settings don't name as well, add --unlisted");
    }
}

fn show_item(output: &Output, item: &Item) {
    let action = match item.present {
        Occupant::Absent => paint(Tone::Good, "new      "),
        Occupant::Replaced => paint(Tone::Warning, "replaces "),
        Occupant::Unchanged => paint(Tone::Faint, "unchanged"),
        Occupant::Damaged => paint(Tone::Bad, "set aside"),
    };
    let bytes = item.bytes.map(|bytes| format!("  {}", size(bytes))).unwrap_or_default();
    let note = if item.present == Occupant::Damaged { "  (the damaged database there is kept)" } else { "" };
    let unlisted = if item.unlisted { "  (not in the settings)" } else { "" };
    output.line(&format!("  {action}  {}{bytes}{note}{unlisted}", item.path));
}

fn show_skipped(output: &Output, skipped: &[SkippedItem]) {
    let left_out = paint(Tone::Faint, "left out ");
    for SkippedItem { path, why } in skipped.iter().take(MOST_SKIPPED) {
        let why = match why {
            SkipReason::Unlisted => "not in the settings",
            SkipReason::Protected => "never restored",
        };
        output.line(&format!("  {left_out}  {path}  ({why})"));
    }
    if skipped.len() > MOST_SKIPPED {
        let more = count(skipped.len() - MOST_SKIPPED, "more file");
        output.line(&format!("  {left_out}  {more}, which --json names"));
    }
}

fn rows_since(tables: &[RowsSince]) -> String {
    if tables.is_empty() {
        return "rows since then: as many in each table; changes in them will be replaced".into();
    }
    let named = tables.iter().take(MOST_TABLES).map(|table| format!("{} {:+}", table.name, table.rows));
    let mut named: Vec<String> = named.collect();
    if tables.len() > MOST_TABLES {
        named.push(count(tables.len() - MOST_TABLES, "more table"));
    }
    format!("rows since then: {} (will be replaced)", named.join(", "))
}
