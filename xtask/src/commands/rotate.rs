//! `rotate`, also called `prune`.

use backup::retention::{Plan, Policy};
use backup::rotate::{self, Rotation};
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::text::{Tone, count, paint, size};

pub fn run(context: &Context<'_>, args: &cli::Rotate) -> anyhow::Result<Exit> {
    let policy = policy(context.config.retention, args);
    // Looking changes nothing, so it needs no lock and no right to write.
    let plan = rotate::plan(&context.look()?, &policy, None)?;
    if args.dry_run {
        report(context, &plan);
        context.output.line(&format!("dry run: {} would be removed", count(plan.removals().count(), "backup")));
        context.output.json(&json!({ "dry_run": true, "plan": plan }))?;
        return Ok(Exit::Done);
    }
    // A store that isn't there is not made for this.
    if plan.decisions.is_empty() {
        let rotation = Rotation::default();
        report_removed(context, &rotation);
        context.output.json(&json!({ "dry_run": false, "plan": plan, "pruned": rotation }))?;
        return Ok(Exit::Done);
    }
    let run = context.begin("rotate")?;
    let plan = rotate::plan(&run, &policy, None)?;
    report(context, &plan);
    let rotation = rotate::apply(&run, &plan)?;
    report_removed(context, &rotation);
    context.output.json(&json!({ "dry_run": false, "plan": plan, "pruned": rotation }))?;
    Ok(Exit::Done)
}

fn policy(settings: Policy, args: &cli::Rotate) -> Policy {
    Policy {
        keep_days: args.keep_days.or(settings.keep_days),
        keep_last: args.keep_last.unwrap_or(settings.keep_last),
        keep_daily: args.keep_daily.unwrap_or(settings.keep_daily),
        keep_weekly: args.keep_weekly.unwrap_or(settings.keep_weekly),
        keep_monthly: args.keep_monthly.unwrap_or(settings.keep_monthly),
        keep_yearly: args.keep_yearly.unwrap_or(settings.keep_yearly),
        ..settings
    }
}

fn report(context: &Context<'_>, plan: &Plan) {
    for decision in &plan.decisions {
        let verdict = if decision.keep { paint(Tone::Good, "keep  ") } else { paint(Tone::Warning, "remove") };
        let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        context.output.line(&format!("{verdict}  {}  {}", decision.id, reasons.join(", ")));
    }
    report_stale(context, plan);
}

/// Says so if backups have stopped, and nothing is removed therefore.
pub fn report_stale(context: &Context<'_>, plan: &Plan) {
    if let Some(stale) = plan.stale.filter(|_| !plan.decisions.is_empty()) {
        context.output.warn(&stale.to_string());
    }
}

/// Says what was removed.
pub fn report_removed(context: &Context<'_>, rotation: &Rotation) {
    if context.output.is_verbose() {
        rotation.removed.iter().for_each(|id| context.output.line(&format!("  removed {id}")));
    }
    let (removed, freed) = (count(rotation.removed.len(), "backup"), size(rotation.freed_bytes));
    context.output.line(&match rotation.removed.len() {
        0 => "rotation: nothing to remove".into(),
        _ => format!("rotation: {removed} removed, {freed} freed"),
    });
}
