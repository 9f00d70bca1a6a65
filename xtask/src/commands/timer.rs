//! `timer`.

use chrono::{DateTime, FixedOffset};
use serde::Serialize;
use serde_json::json;

use crate::cli::ScheduleChoice;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;
use crate::report::Report;
use crate::schedule::problem::Problem;
use crate::schedule::program::CopyState;
use crate::schedule::timer::installation::OlderUnit;
use crate::schedule::timers::{self, Job, Schedule};
use crate::step;
use crate::table::Layout;
use crate::text::{Tone, age, local, paint, took};

/// How the schedule stands.
#[derive(Debug)]
pub struct TimerSummary {
    /// `None` if nothing is scheduled.
    schedule: Option<Schedule>,
    problems: Vec<Problem>,
    now: DateTime<FixedOffset>,
}

pub fn run(context: &Context<'_>, which: &ScheduleChoice) -> anyhow::Result<TimerSummary> {
    let schedule = timers::read(context, &step::shell()?, which)?;
    let problems = schedule.as_ref().map_or_else(|| vec![nothing_scheduled(context)], Schedule::problems);
    Ok(TimerSummary { schedule, problems, now: context.now })
}

fn nothing_scheduled(context: &Context<'_>) -> Problem {
    let (timer, cron) = (context.command(&["install-timer"]), context.command(&["install-cron"]));
    Problem {
        what: "nothing is scheduled, as far as you can see".into(),
        remedy: format!("schedule it: {timer}; without systemd: {cron}"),
    }
}

impl Report for TimerSummary {
    fn text(&self, output: &Output) {
        if let Some(schedule) = &self.schedule {
            show(output, schedule, self.now);
        }
        for Problem { what, remedy } in &self.problems {
            output.done(Tone::Bad, what);
            output.hint(remedy);
        }
        if let Some(schedule) = self.schedule.as_ref().filter(|_| self.problems.is_empty()) {
            output.done(Tone::Good, &format!("scheduled by {}", schedule.name()));
        }
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        let problems: Vec<&str> = self.problems.iter().map(|problem| problem.what.as_str()).collect();
        Some(json!({ "ok": problems.is_empty(), "problems": problems, "schedule": self.schedule }))
    }

    fn exit(&self) -> Exit {
        if self.problems.is_empty() { Exit::Done } else { Exit::Failed }
    }
}

/// Prints how a schedule stands at the time `now`.
pub fn show(output: &Output, schedule: &Schedule, now: DateTime<FixedOffset>) {
    let layout = |wide: bool| Layout {
        header: vec!["JOB", "NEXT RUN", "LAST RUN", "RESULT", "TOOK"],
        figures: vec![4],
        rows: schedule.jobs.iter().map(|job| row(job, now, wide)).collect(),
    };
    output.table(&[&|| layout(true), &|| layout(false)]);
    for OlderUnit { file, now } in schedule.older.iter().filter(|unit| unit.file.ends_with(".timer")) {
        output.warn(&format!("{file} is from an older version: it is called {now} now"));
        output.hint(&format!("renew it: {}", schedule.again));
    }
    let program = &schedule.program;
    let than = match program.state {
        CopyState::Older => "older than",
        CopyState::Newer => "another build than",
        CopyState::Current | CopyState::Missing => return,
    };
    output.warn(&format!("{} is {than} this program", program.path.display()));
    output.hint(&format!("replace it: {}", schedule.again));
}

fn row(job: &Job, now: DateTime<FixedOffset>, wide: bool) -> Vec<String> {
    let distance = |at: DateTime<FixedOffset>| age((at - now).num_seconds().unsigned_abs());
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
