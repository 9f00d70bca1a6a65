//! `status`.

use backup::status::{Dated, Status};
use backup::{Store as _, status};

use crate::context::Context;
use crate::exit::Exit;
use crate::text::{Tone, age, local, paint, size, took};

pub fn run(context: &Context<'_>) -> anyhow::Result<Exit> {
    // A folder that doesn't exist yet has the space of the one it will be in; one that can't be asked has none known.
    let free = context.store.free_bytes().ok().flatten();
    let max_age = context.config.status.max_age;
    let status = status::status(&context.catalog()?, &context.history()?, context.now, max_age, free);
    show(context, &status);
    context.output.json(&status)?;
    Ok(if status.fresh { Exit::Done } else { Exit::Failed })
}

fn show(context: &Context<'_>, status: &Status) {
    let say = |name: &str, value: String| context.output.line(&format!("{name:<16}{value}"));
    let bytes = |bytes: Option<u64>| bytes.map_or("unknown".into(), |bytes| size(bytes).to_string());
    say("last run", dated(status.last.as_ref(), |what| format!(", {}", word(what))));
    say("last success", dated(status.last_success.as_ref(), |_| String::new()));
    say("last proved", dated(status.last_proved.as_ref(), |what| format!(", by {}", word(what))));
    say("backups", format!("{}, {} stored", status.backups, size(status.stored_bytes)));
    say("newest", bytes(status.newest_bytes));
    say("growth", status.growth_bytes_per_day.map_or("not known yet".into(), growth));
    let fit = status.more_backups_fit.map_or(String::new(), |fit| format!(", room for {fit} more backups"));
    say("free space", format!("{}{fit}", bytes(status.free_bytes)));
    say(
        "measured RPO",
        status.rpo_s.map_or("not known yet".into(), |rpo| format!("{} between backups at worst", age(rpo))),
    );
    say("measured RTO", status.rto_ms.map_or("not known yet: run a drill".into(), took));
    let limit = age(status.max_age_s);
    match &status.last_success {
        Some(_) if status.fresh => {
            context.output.done(Tone::Good, &format!("fresh: the newest complete backup is younger than {limit}"));
        }
        Some(success) => {
            let old = age(success.age_s);
            context
                .output
                .done(Tone::Bad, &format!("too old: the newest complete backup is {old} old, the limit {limit}"));
            context.output.hint("make one now: `backup`");
        }
        None => {
            context.output.done(Tone::Bad, "there is no complete backup");
            context.output.hint("make one now: `backup`");
        }
    }
}

fn dated<T>(event: Option<&Dated<T>>, what: impl Fn(&T) -> String) -> String {
    let Some(event) = event else { return paint(Tone::Warning, "never") };
    let id = event.id.map(|id| id.to_string()).unwrap_or_default();
    format!("{id}, {} ({} ago){}", local(event.at), age(event.age_s), what(&event.what))
}

/// The word that stands for a value in JSON.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_string)).unwrap_or_default()
}

fn growth(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "+" };
    format!("{sign}{} a day (decoded)", size(bytes.unsigned_abs()))
}
