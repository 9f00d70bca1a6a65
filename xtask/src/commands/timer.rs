//! `timer`.

use anyhow::Context as _;
use chrono::{DateTime, FixedOffset};
use serde_json::json;
use xshell::Shell;

use crate::cli::Which;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Layout;
use crate::schedule::program::Compared;
use crate::schedule::timers::{self, Job, Schedule};
use crate::text::{Tone, age, local, paint, took};

pub fn run(context: &Context<'_>, which: &Which) -> anyhow::Result<Exit> {
    let schedule = timers::read(context, &Shell::new().context("find the current folder")?, which)?;
    let problems: Vec<String> = match &schedule {
        None => vec!["nothing is scheduled".into()],
        Some(schedule) => schedule.jobs.iter().filter_map(Job::problem).collect(),
    };
    if let Some(schedule) = &schedule {
        show(context, schedule);
    }
    for problem in &problems {
        context.output.done(Tone::Bad, problem);
    }
    match (&schedule, problems.is_empty()) {
        (None, _) => context.output.hint("schedule it: cargo xtask install-timer (without systemd: install-cron)"),
        (Some(_), false) => context.output.hint("see why: cargo xtask logs, cargo xtask doctor"),
        (Some(schedule), true) => context.output.done(Tone::Good, &format!("scheduled by {}", schedule.name())),
    }
    context.output.json(&json!({ "ok": problems.is_empty(), "problems": problems, "schedule": schedule }))?;
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Shows how a schedule stands.
pub fn show(context: &Context<'_>, schedule: &Schedule) {
    let rows = schedule.jobs.iter().map(|job| row(context, job)).collect();
    let header = vec!["JOB", "NEXT RUN", "LAST RUN", "RESULT", "TOOK"];
    context.output.table(&[Layout { header, figures: vec![4], rows }]);
    let program = &schedule.program;
    let path = program.path.display();
    match program.state {
        Compared::Current => {}
        Compared::Older => context.output.warn(&format!("{path} is older than this program")),
        Compared::Newer => context.output.warn(&format!("{path} is another build than this program")),
        Compared::Missing => context.output.warn(&format!("{path}, which the schedule runs, is missing")),
    }
    if program.state != Compared::Current {
        context.output.hint(&format!("replace it: {}", schedule.again));
    }
}

fn row(context: &Context<'_>, job: &Job) -> Vec<String> {
    let from_now = |at: DateTime<FixedOffset>| (at - context.now).num_seconds();
    let distance = |seconds: i64| age(seconds.unsigned_abs());
    let next = match job.next {
        Some(next) => format!("{} (in {})", local(next), distance(from_now(next).max(0))),
        None if job.entry.ends_with(".timer") => "none".into(),
        None => job.entry.clone(),
    };
    let Some(last) = &job.last else { return vec![job.name.into(), next, "none yet".into()] };
    let tone = if last.ok { Tone::Good } else { Tone::Bad };
    vec![
        job.name.into(),
        next,
        format!("{} ({} ago)", local(last.at), distance(from_now(last.at).min(0))),
        paint(tone, &last.outcome()),
        last.duration_ms.map(took).unwrap_or_default(),
    ]
}
