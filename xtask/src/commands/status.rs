//! `status`.

use backup::Outcome;
use backup::status::{AtTime, Concern, Severity, SourceState, SourceStatus, Status};
use chrono::{DateTime, FixedOffset};

use crate::context::Context;
use crate::exit::Exit;
use crate::text::{Tone, age, count, local, paint, size, took};
use crate::words;

pub fn run(context: &Context<'_>) -> anyhow::Result<Exit> {
    let status = context.status(&*context.catalog()?, &*context.ledger()?);
    show(context, &status);
    context.output.json(&status)?;
    Ok(if status.verdict == Severity::Failure { Exit::Failed } else { Exit::Done })
}

fn show(context: &Context<'_>, status: &Status) {
    let say = |name: &str, value: String| context.output.line(&format!("{name:<16}{value}"));
    let bytes = |bytes: Option<u64>| bytes.map_or("unknown".into(), |bytes| size(bytes).to_string());
    say("last run", dated(status.last.as_ref(), |what| format!(", {}", word(what))));
    say("last success", dated(status.last_success.as_ref(), |_| String::new()));
    say("last verify", proof(status.last_verify.as_ref(), words::verify_end));
    say("last drill", proof(status.last_drill.as_ref(), words::drill_end));
    for source in &status.sources {
        say(&source.name, of_source(context, source));
    }
    say("backups", format!("{}, {} stored", status.backups, size(status.stored_bytes)));
    say("newest", bytes(status.newest_bytes));
    say("growth", status.growth_bytes_per_day.map_or("not known yet".into(), growth));
    let fit = status.more_backups_fit.map(|fit| usize::try_from(fit).unwrap_or(usize::MAX));
    let fit = fit.map_or(String::new(), |fit| format!(", room for {}", count(fit, "more backup")));
    say("free space", format!("{}{fit}", bytes(status.free_bytes)));
    say(
        "measured RPO",
        status.rpo_s.map_or("not known yet".into(), |rpo| format!("{} between backups at worst", age(rpo))),
    );
    say("measured RTO", status.rto_ms.map_or("not known yet: run a drill".into(), took));
    conclude(context, status);
}

/// What is wrong, what to do about the worst of it, and the verdict.
fn conclude(context: &Context<'_>, status: &Status) {
    // Every command says so of a restore that did not finish.
    let has_said = context.unfinished_restore().is_some();
    let is_said = |concern: &&Concern| has_said && matches!(concern, Concern::UnfinishedRestore { .. });
    for concern in status.concerns.iter().filter(|concern| !is_said(concern)) {
        let sentence = words::concern(concern, status);
        match concern.severity() {
            Severity::Failure => context.output.failure(&sentence),
            _ => context.output.warn(&sentence),
        }
    }
    if let Some(worst) = status.concerns.iter().find(|concern| !is_said(concern)) {
        context.output.hint(&words::remedy(worst));
    }
    let limit = age(status.max_age_s);
    let stale = status.sources.iter().filter(|source| source.state != SourceState::Fresh);
    let stale: Vec<&str> = stale.map(|source| source.name.as_str()).collect();
    let (tone, verdict) = match (status.fresh, status.verdict) {
        (true, Severity::Failure) => (Tone::Bad, "fresh, but see above".into()),
        (true, _) => (Tone::Good, format!("fresh: everything has a sound copy younger than {limit}")),
        (false, _) => (Tone::Bad, format!("not fresh: no sound copy younger than {limit} of {}", stale.join(", "))),
    };
    context.output.done(tone, &verdict);
}

fn of_source(context: &Context<'_>, source: &SourceStatus) -> String {
    let tone = if source.state == SourceState::Fresh { Tone::Good } else { Tone::Bad };
    let state = paint(tone, &word(&source.state).replace('_', " "));
    let ago = |at: Option<DateTime<FixedOffset>>| at.map_or("never".into(), |at| format!("{} ago", context.age_of(at)));
    let copy = source.id.zip(source.at).zip(source.age_s);
    let copy = copy.map_or(String::new(), |((id, at), old)| format!(": {id}, {} ({} ago)", local(at), age(old)));
    format!("{state}{copy}; verified {}, drilled {}", ago(source.verified), ago(source.drilled))
}

fn dated<T>(event: Option<&AtTime<T>>, what: impl Fn(&T) -> String) -> String {
    let Some(event) = event else { return paint(Tone::Warning, "never") };
    let id = event.id.map(|id| format!("{id}, ")).unwrap_or_default();
    format!("{id}{} ({} ago){}", local(event.at), age(event.age_s), what(&event.what))
}

/// The last verify or drill, and how it ended in the words of `end`. One that has no end may go on.
fn proof(event: Option<&AtTime<Outcome>>, end: impl Fn(Outcome, bool) -> &'static str) -> String {
    let is_of_backup = event.is_some_and(|event| event.id.is_some());
    dated(event, |what| match what {
        Outcome::Begun => ", begun".into(),
        ended => format!(", {}", end(*ended, is_of_backup)),
    })
}

/// The word that stands for a value in JSON.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_string)).unwrap_or_default()
}

fn growth(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "+" };
    format!("{sign}{} a day (decoded)", size(bytes.unsigned_abs()))
}
