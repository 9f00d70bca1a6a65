//! `status`.

use backup::status::{AtTime, Concern, Severity, SourceState, SourceStatus, Status};
use backup::{Outcome, seconds_since};
use chrono::{DateTime, FixedOffset};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;
use crate::report::Report;
use crate::text::{Tone, age, count, local, paint, size, took};
use crate::words;

/// How things stand.
#[derive(Debug)]
pub struct StatusSummary {
    status: Status,
    now: DateTime<FixedOffset>,
    /// Whether a restore that did not finish has been warned of already.
    unfinished_said: bool,
}

pub fn run(context: &Context<'_>, unfinished_said: bool) -> anyhow::Result<StatusSummary> {
    let status = context.status(&*context.catalog()?, &*context.ledger()?);
    Ok(StatusSummary { status, now: context.now, unfinished_said })
}

impl Report for StatusSummary {
    fn text(&self, output: &Output) {
        self.show_runs(output);
        self.show_sources(output);
        self.show_room(output);
        self.show_measures(output);
        self.show_concerns(output);
        self.show_verdict(output);
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(&self.status)
    }

    fn exit(&self) -> Exit {
        if self.status.verdict == Severity::Failure { Exit::Failed } else { Exit::Done }
    }
}

impl StatusSummary {
    fn show_runs(&self, output: &Output) {
        let status = &self.status;
        row(output, "last run", &dated(status.last.as_ref(), |what| format!(", {}", word(what))));
        row(output, "last success", &dated(status.last_success.as_ref(), |_| String::new()));
        row(output, "last verify", &proof(status.last_verify.as_ref(), words::verify_end));
        row(output, "last drill", &proof(status.last_drill.as_ref(), words::drill_end));
    }

    fn show_sources(&self, output: &Output) {
        for source in &self.status.sources {
            row(output, &source.name, &of_source(source, self.now));
        }
    }

    fn show_room(&self, output: &Output) {
        let status = &self.status;
        let bytes = |bytes: Option<u64>| bytes.map_or("unknown".into(), |bytes| size(bytes).to_string());
        row(output, "backups", &format!("{}, {} stored", status.backups, size(status.stored_bytes)));
        row(output, "newest", &bytes(status.newest_bytes));
        row(output, "growth", &status.growth_bytes_per_day.map_or("not known yet".into(), growth));
        let fit = status.more_backups_fit.map(|fit| usize::try_from(fit).unwrap_or(usize::MAX));
        let fit = fit.map_or(String::new(), |fit| format!(", room for {}", count(fit, "more backup")));
        row(output, "free space", &format!("{}{fit}", bytes(status.free_bytes)));
    }

    fn show_measures(&self, output: &Output) {
        let rpo = self.status.rpo_s.map(|rpo| format!("{} between backups at worst", age(rpo)));
        row(output, "measured RPO", &rpo.unwrap_or_else(|| "not known yet".into()));
        let rto = self.status.rto_ms.map(took);
        row(output, "measured RTO", &rto.unwrap_or_else(|| "not known yet: run a drill".into()));
    }

    /// Shows what is wrong, and what to do about the worst of it.
    fn show_concerns(&self, output: &Output) {
        let is_said = |concern: &&Concern| self.unfinished_said && matches!(concern, Concern::UnfinishedRestore { .. });
        let concerns: Vec<&Concern> = self.status.concerns.iter().filter(|concern| !is_said(concern)).collect();
        for concern in &concerns {
            let sentence = words::concern(concern, &self.status);
            match concern.severity() {
                Severity::Failure => output.failure(&sentence),
                _ => output.warn(&sentence),
            }
        }
        if let Some(worst) = concerns.first() {
            output.hint(&words::remedy(worst));
        }
    }

    fn show_verdict(&self, output: &Output) {
        let status = &self.status;
        let limit = age(status.max_age_s);
        let stale = status.sources.iter().filter(|source| source.state != SourceState::Fresh);
        let stale: Vec<&str> = stale.map(|source| source.name.as_str()).collect();
        let (tone, verdict) = match (status.fresh, status.verdict) {
            (true, Severity::Failure) => (Tone::Bad, "fresh, but see above".into()),
            (true, _) => (Tone::Good, format!("fresh: everything has a sound copy younger than {limit}")),
            (false, _) => (Tone::Bad, format!("not fresh: no sound copy younger than {limit} of {}", stale.join(", "))),
        };
        output.done(tone, &verdict);
    }
}

fn row(output: &Output, name: &str, value: &str) {
    output.line(&format!("{name:<16}{value}"));
}

fn of_source(source: &SourceStatus, now: DateTime<FixedOffset>) -> String {
    let tone = if source.state == SourceState::Fresh { Tone::Good } else { Tone::Bad };
    let state = paint(tone, &word(&source.state).replace('_', " "));
    let when = |at: Option<DateTime<FixedOffset>>| {
        at.map_or("never".into(), |at| format!("{} ago", age(seconds_since(at, now))))
    };
    let copy = source.id.zip(source.at);
    let copy =
        copy.map_or(String::new(), |(id, at)| format!(": {id}, {} ({} ago)", local(at), age(seconds_since(at, now))));
    let is_later = source.saved_at.zip(source.at).is_some_and(|(saved_at, at)| saved_at > at);
    let saved =
        source.saved_at.filter(|_| is_later).map(|at| format!(", unchanged up to {} ago", age(seconds_since(at, now))));
    let saved = saved.unwrap_or_default();
    format!("{state}{copy}{saved}; verified {}, drilled {}", when(source.verified), when(source.drilled))
}

fn dated<T>(event: Option<&AtTime<T>>, what: impl Fn(&T) -> String) -> String {
    let Some(event) = event else { return paint(Tone::Warning, "never") };
    let id = event.id.map(|id| format!("{id}, ")).unwrap_or_default();
    format!("{id}{} ({} ago){}", local(event.at), age(event.age_s), what(&event.what))
}

/// The last verify or drill, and in the words of `end` how it ended. It may still be running.
fn proof(event: Option<&AtTime<Outcome>>, end: impl Fn(Outcome, bool) -> &'static str) -> String {
    let is_of_backup = event.is_some_and(|event| event.id.is_some());
    dated(event, |what| match what {
        Outcome::Begun => ", begun".into(),
        ended => format!(", {}", end(*ended, is_of_backup)),
    })
}

/// The word that stands for a value in JSON.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_string)).unwrap_or_default()
}

fn growth(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "+" };
    format!("{sign}{} a day (decoded)", size(bytes.unsigned_abs()))
}
