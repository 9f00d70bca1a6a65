//! `rotate`, also called `prune`.

use backup::retention::{Decision, Plan, Policy, Reason};
use backup::rotate::{self, Rotation};
use backup::{Error, ErrorKind};
use serde::Serialize;
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;
use crate::report::Report;
use crate::text::{Tone, count, paint, size};

/// What the policy says about each backup, and what was removed.
#[derive(Debug)]
pub struct RotateSummary {
    plan: Plan,
    /// `None` for a dry run.
    rotation: Option<Rotation>,
}

pub fn run(context: &Context<'_>, args: &cli::Rotate) -> anyhow::Result<RotateSummary> {
    let policy = policy(context.config.retention, args);
    // A plan changes nothing, so it needs no lock and no right to write.
    let plan = rotate::plan(&context.look()?, &policy, None)?;
    if args.dry_run {
        return Ok(RotateSummary { plan, rotation: None });
    }
    // A store that doesn't exist is not made for this.
    if plan.decisions.is_empty() {
        return Ok(RotateSummary { plan, rotation: Some(Rotation::default()) });
    }
    let run = context.begin("rotate")?;
    let plan = rotate::plan(&run, &policy, None)?;
    // Shown before anything is removed: if that fails, the reasons are needed most.
    show_plan(context.output, &plan);
    let rotation = rotate::apply(&run, &plan)?;
    Ok(RotateSummary { plan, rotation: Some(rotation) })
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

impl Report for RotateSummary {
    fn text(&self, output: &Output) {
        if let Some(rotation) = &self.rotation {
            return show_rotation(output, rotation);
        }
        show_plan(output, &self.plan);
        let (merged, removed): (Vec<&Decision>, Vec<&Decision>) =
            self.plan.removals().partition(|decision| is_merged(decision));
        let merged = match merged.len() {
            0 => String::new(),
            number => format!(", {} merged into others", count(number, "increment")),
        };
        output.line(&format!("dry run: {} would be removed{merged}", count(removed.len(), "backup")));
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(match &self.rotation {
            Some(rotation) => json!({ "dry_run": false, "plan": self.plan, "pruned": rotation }),
            None => json!({ "dry_run": true, "plan": self.plan }),
        })
    }

    fn exit(&self) -> Exit {
        match &self.rotation {
            Some(rotation) if !rotation.unmerged.is_empty() => Exit::Partly,
            _ => Exit::Done,
        }
    }
}

fn is_merged(decision: &Decision) -> bool {
    !decision.keep && decision.reasons.iter().any(|reason| matches!(reason, Reason::MergedInto { .. }))
}

fn show_plan(output: &Output, plan: &Plan) {
    for decision in &plan.decisions {
        let verdict = match decision.keep {
            true => paint(Tone::Good, "keep  "),
            false if is_merged(decision) => paint(Tone::Warning, "merge "),
            false => paint(Tone::Warning, "remove"),
        };
        let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        output.line(&format!("{verdict}  {}  {}", decision.id, reasons.join(", ")));
    }
    if let Some(stale) = plan.stale.filter(|_| !plan.decisions.is_empty()) {
        output.warn(&stale.to_string());
    }
}

/// Prints what was merged and removed.
pub fn show_rotation(output: &Output, rotation: &Rotation) {
    for failed in &rotation.unmerged {
        output.problem(&Error::new(ErrorKind::Partial, failed.to_string()));
    }
    for id in rotation.removed.iter().filter(|_| output.is_verbose()) {
        output.line(&format!("  removed {id}"));
    }
    let (removed, freed) = (count(rotation.removed.len(), "backup"), size(rotation.freed_bytes));
    let merged = match rotation.merged.len() {
        0 => String::new(),
        hours => format!("the increments of {} merged, ", count(hours, "hour")),
    };
    output.line(&match rotation.removed.len() {
        0 if merged.is_empty() => "rotation: nothing to remove".into(),
        _ => format!("rotation: {merged}{removed} removed, {freed} freed"),
    });
}
