//! `follow`: stays, and makes an increment at every interval.
//!
//! Each round is a run of its own, with the settings as they are then: it takes the lock and lets it go, so that other
//! runs come in between. An error of a round never ends it, unless no later round can do better.

mod clock;
mod round;
mod trouble;

use std::time::Duration;

use anyhow::Context as _;
use backup::{Error, ErrorKind};

use crate::cli;
use crate::context::Context;
use crate::exit::Signals;
use crate::systemd::notify::Notifier;
use crate::text::{local, printable};
use clock::{Clock, Wake};
use round::{Round, Rounds};
use trouble::Trouble;

pub fn run(context: &Context<'_>, args: &cli::Follow) -> anyhow::Result<()> {
    Signals::catch().context("catch signals")?;
    context.output.begin_lines();
    let every = interval(context, args)?;
    let mut clock = Clock::start(every).context("start a timer")?;
    let notifier = Notifier::from_env();
    let mut rounds = Rounds::new(&notifier);
    let mut trouble = Trouble::default();
    let (output, how_often) = (context.output, humantime::format_duration(every));
    output.line(&format!("saving what changes every {how_often}; a signal ends it after a last time"));
    let mut wake = Wake::Due;
    loop {
        let context = context.renewed()?;
        clock.set(interval(&context, args)?).context("set the timer")?;
        let round = rounds.make(&context)?;
        tell(&context, &round, &mut trouble);
        notifier.tell(&format!("READY=1\nSTATUS={}", status(&round, &trouble)));
        if wake == Wake::Last {
            break;
        }
        wake = clock.wait(&notifier).context("wait for the next round")?;
        if wake == Wake::Last {
            notifier.tell("STOPPING=1");
        }
    }
    output.line("ended after a last time");
    Ok(())
}

/// The flag, or else the setting.
fn interval(context: &Context<'_>, args: &cli::Follow) -> backup::Result<Duration> {
    args.every.or(context.config.increments.every).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "nothing says how often to save what changes")
            .with_hint("say it: --every 1m; or set `every` in the settings' [increments]")
    })
}

fn tell(context: &Context<'_>, round: &Round, trouble: &mut Trouble) {
    let output = context.output;
    round.show(output);
    trouble.tell(output, context.now, &round.errors());
    if let Some(document) = round.document(output).filter(|_| output.is_json()) {
        output.json(&document);
    }
}

/// How it stands, for the service manager.
fn status(round: &Round, trouble: &Trouble) -> String {
    let point = match round {
        Round::Saved(result) => Some(format!("newest point {}", result.point())),
        Round::Failed(_) => None,
    };
    let failure = trouble.since().zip(round.errors().first().map(|(_, error)| error.one_line()));
    let failure = failure.map(|(since, error)| format!("failing since {}: {}", local(since), printable(&error)));
    point.into_iter().chain(failure).collect::<Vec<_>>().join("; ")
}
