//! `timer`.

use chrono::{DateTime, FixedOffset};
use serde_json::json;

use crate::cli::Which;
use crate::context::Context;
use crate::exit::Exit;
use crate::schedule::problem::Problem;
use crate::schedule::program::CopyState;
use crate::schedule::timer::installation::OlderUnit;
use crate::schedule::timers::{self, Job, Schedule};
use crate::step;
use crate::table::Layout;
use crate::text::{Tone, age, local, paint, took};

pub fn run(context: &Context<'_>, which: &Which) -> anyhow::Result<Exit> {
    let schedule = timers::read(context, &step::shell()?, which)?;
    let problems = schedule.as_ref().map_or_else(|| vec![nothing(context)], Schedule::problems);
    if let Some(schedule) = &schedule {
        show(context, schedule);
    }
    for Problem { what, remedy } in &problems {
        context.output.done(Tone::Bad, what);
        context.output.hint(remedy);
    }
    if let Some(schedule) = schedule.as_ref().filter(|_| problems.is_empty()) {
        context.output.done(Tone::Good, &format!("scheduled by {}", schedule.name()));
    }
    let sentences: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
    context.output.json(&json!({ "ok": problems.is_empty(), "problems": sentences, "schedule": schedule }))?;
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Failed })
}

fn nothing(context: &Context<'_>) -> Problem {
    let (timer, cron) = (context.command(&["install-timer"]), context.command(&["install-cron"]));
    Problem {
        what: "nothing is scheduled, as far as you can see".into(),
        remedy: format!("schedule it: {timer}; without systemd: {cron}"),
    }
}

/// Shows how a schedule stands.
pub fn show(context: &Context<'_>, schedule: &Schedule) {
    let layout = |wide: bool| Layout {
        header: vec!["JOB", "NEXT RUN", "LAST RUN", "RESULT", "TOOK"],
        figures: vec![4],
        rows: schedule.jobs.iter().map(|job| row(context, job, wide)).collect(),
    };
    context.output.table(&[&|| layout(true), &|| layout(false)]);
    for OlderUnit { file, now } in schedule.older.iter().filter(|unit| unit.file.ends_with(".timer")) {
        context.output.warn(&format!("{file} is from an older version: it is called {now} now"));
        context.output.hint(&format!("renew it: {}", schedule.again));
    }
    let program = &schedule.program;
    let than = match program.state {
        CopyState::Older => "older than",
        CopyState::Newer => "another build than",
        CopyState::Current | CopyState::Missing => return,
    };
    context.output.warn(&format!("{} is {than} this program", program.path.display()));
    context.output.hint(&format!("replace it: {}", schedule.again));
}

fn row(context: &Context<'_>, job: &Job, wide: bool) -> Vec<String> {
    let distance = |at: DateTime<FixedOffset>| age((at - context.now).num_seconds().unsigned_abs());
    let with = |at: DateTime<FixedOffset>, distance: String| {
        if wide { format!("{} ({distance})", local(at)) } else { local(at) }
    };
    let next = match job.next {
        Some(next) => with(next, format!("in {}", distance(next))),
        None if job.entry.ends_with(".timer") => "none".into(),
        None => job.entry.clone(),
    };
    let Some(last) = &job.last else { return vec![job.name.into(), next, "none known".into()] };
    vec![
        job.name.into(),
        next,
        with(last.at, format!("{} ago", distance(last.at))),
        paint(if last.ok { Tone::Good } else { Tone::Bad }, &last.outcome()),
        last.duration_ms.map(took).unwrap_or_default(),
    ]
}
