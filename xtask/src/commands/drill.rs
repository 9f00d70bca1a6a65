//! `drill`.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::Duration;

use backup::Probe;
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::{Exit, Signals};
use crate::text::{Tone, count, paint, took};

pub fn run(context: &Context<'_>, args: &cli::Drill) -> anyhow::Result<Exit> {
    let run = context.begin_reading("drill")?;
    let catalog = run.catalog()?;
    let entry = context.select(&catalog, args.from.as_deref())?;
    let probe = |folder: &Path| command_probe(context, folder);
    let drill = backup::drill(&run, entry, &context.config.sources(), &probe)?;
    for path in drill.restored.iter().filter(|_| context.output.is_verbose()) {
        context.output.line(&format!("  restored {path}"));
    }
    context.warn_of_unrecorded(drill.unrecorded.as_deref());
    drill.warnings.iter().for_each(|warning| context.output.warn(warning));
    for probe in &drill.probes {
        let verdict = if probe.failure.is_none() { paint(Tone::Good, "ok    ") } else { paint(Tone::Bad, "failed") };
        let text = probe.failure.as_ref().unwrap_or(&probe.text);
        context.output.line(&format!("  {verdict}  {text}"));
    }
    let restored = format!("{} in {}", count(drill.restored.len(), "file"), took(drill.restore_ms));
    let probes = match drill.probes.len() {
        0 => "no probes configured".into(),
        number => format!("{} passed", count(number, "probe")),
    };
    if drill.passed {
        let line = format!("drill of {} passed: restored {restored}, {probes}", drill.id);
        context.output.done(Tone::Good, &line);
    } else {
        context.output.done(Tone::Bad, &format!("drill of {} failed: restored {restored}, but see above", drill.id));
        context.output.hint("a probe asks about the content: compare with the live database, or try an older backup");
    }
    let exit = if drill.passed { Exit::Done } else { Exit::Damaged };
    context.output.json(&json!({ "drill": drill }))?;
    Ok(exit)
}

/// How often a running probe is looked after.
const TICK: Duration = Duration::from_millis(50);

/// Runs the configured command in the restored folder, for as long as it may take.
fn command_probe(context: &Context<'_>, folder: &Path) -> Option<Probe> {
    let (program, arguments) = context.config.drill.command.split_first()?;
    let text = context.config.drill.command.join(" ");
    let failure = run_command(context, program, arguments, folder).err();
    Some(Probe { failure: failure.map(|why| format!("{text}: {why}")), text })
}

fn run_command(context: &Context<'_>, program: &str, arguments: &[String], folder: &Path) -> Result<(), String> {
    let timeout = context.config.drill.timeout;
    // In a process group of its own, so that all that it starts can be stopped with it.
    let command = duct::cmd(program, arguments).dir(folder).env("DRILL_ROOT", folder).before_spawn(|command| {
        command.process_group(0);
        Ok(())
    });
    // Into a file: however much it says, none of it has to fit into memory.
    let said = tempfile::tempfile().map_err(|e| format!("its output can't be kept: {e}"))?;
    let copy = said.try_clone().map_err(|e| format!("its output can't be kept: {e}"))?;
    let command = command.stdin_null().stderr_to_stdout().stdout_file(copy).unchecked();
    let running = command.start().map_err(|e| format!("can't be started: {e}"))?;
    let begun = std::time::Instant::now();
    loop {
        match running.wait_timeout(TICK).map_err(|e| e.to_string())? {
            Some(output) if output.status.success() => return Ok(()),
            Some(output) => return Err(format!("{}{}", output.status, last_line(said))),
            None if begun.elapsed() >= timeout || Signals::received().is_some() => {
                stop(&running);
                return Err(format!("stopped after {} s", timeout.as_secs()));
            }
            None => {}
        }
    }
}

fn stop(running: &duct::Handle) {
    for pid in running.pids() {
        let group = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        // What has ended by itself needs no stopping.
        let _ = group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
    }
    let _ = running.wait();
}

/// The last line in the last few kilobytes.
fn last_line(mut said: File) -> String {
    let mut tail = Vec::new();
    let end = said.metadata().map_or(0, |found| found.len());
    let read = said.seek(SeekFrom::Start(end.saturating_sub(4096))).and_then(|_| said.read_to_end(&mut tail));
    let text = String::from_utf8_lossy(&tail);
    match text.trim().lines().last() {
        Some(line) if read.is_ok() => format!(", saying: {line}"),
        _ => String::new(),
    }
}
