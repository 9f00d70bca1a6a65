//! `drill`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use backup::restore::Selection;
use backup::{Error, ErrorKind, Probe};
use serde_json::json;

use crate::cli;
use crate::confine;
use crate::context::Context;
use crate::exit::{Exit, Signals};
use crate::privilege;
use crate::text::{Tone, count, paint, took};

pub fn run(context: &Context<'_>, args: &cli::Drill) -> anyhow::Result<Exit> {
    let session = context.begin_session("drill")?;
    let catalog = session.catalog()?;
    let entry = match args.from.as_deref() {
        Some(from) => context.select(&catalog, Some(from), Selection::ALL)?,
        None => context.select_to_prove(&catalog)?,
    };
    let probe = |folder: &Path| command_probe(context, folder);
    let drill = backup::drill(&session, entry, &context.config.sources(), &probe)?;
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
    let failed: Vec<&Probe> = drill.probes.iter().filter(|probe| probe.failure.is_some()).collect();
    let has_failed = !failed.is_empty();
    if drill.passed {
        let line = format!("drill of {} passed: restored {restored}, {probes}", drill.id);
        context.output.done(Tone::Good, &line);
    } else if !has_failed {
        let lacks = drill.lacks.join(", ");
        let line = format!(
            "drill of {} covered only a part, there is no {lacks} in it: restored {restored}, {probes}",
            drill.id
        );
        context.output.done(Tone::Warning, &line);
        context.output.hint("make a backup of everything: `backup`");
    } else {
        context.output.done(Tone::Bad, &format!("drill of {} failed: restored {restored}, but see above", drill.id));
        let command = context.config.drill.command.join(" ");
        context.output.hint(&if failed.iter().all(|probe| probe.text == command) {
            let copy = context.command(&["restore", "--from", &drill.id.to_string(), "--to", "DIR"]);
            format!("run the command in a restored copy: {copy}")
        } else {
            "a probe asks about the content: compare with the live database, or try an older backup".into()
        });
    }
    let exit = match (drill.passed, has_failed) {
        (true, _) => Exit::Done,
        (false, false) => Exit::Partly,
        (false, true) => Exit::Damaged,
    };
    context.output.json(&json!({ "drill": drill }))?;
    Ok(exit)
}

/// How often a running probe is looked after.
const TICK: Duration = Duration::from_millis(50);

/// Runs the configured command in the restored folder, for as long as it may take.
fn command_probe(context: &Context<'_>, folder: &Path) -> backup::Result<Option<Probe>> {
    let Some((program, arguments)) = context.config.drill.command.split_first() else { return Ok(None) };
    let text = context.config.drill.command.join(" ");
    let failure = run_command(context, program, arguments, folder)?;
    Ok(Some(Probe { failure: failure.map(|why| format!("{text}: {why}")), text }))
}

/// Why the command did not pass. What it prints may be a secret that it read in the backup: it is shown to whoever
/// asked for it at a terminal, and goes nowhere else.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the settings name a program that can't be started.
fn run_command(
    context: &Context<'_>,
    program: &str,
    arguments: &[String],
    folder: &Path,
) -> backup::Result<Option<String>> {
    let command = match privilege::became() {
        // In a session of its own: the terminal is root's, and whoever has it can type there.
        Some(account) => {
            duct::cmd("setsid", [&[program.to_string()], arguments].concat()).full_env(account.environment())
        }
        // In a process group of its own, so that all that it starts can be stopped with it.
        None => duct::cmd(program, arguments).before_spawn(|command| {
            command.process_group(0);
            Ok(())
        }),
    };
    let command = command.dir(folder).env("DRILL_ROOT", folder);
    let command = command.stdin_null().stderr_to_stdout().unchecked();
    let (command, said) = if context.output.is_verbose_terminal() {
        let (file, copy) = output_file(folder)?;
        (command.stdout_file(copy), Some(file))
    } else {
        (command.stdout_null(), None)
    };
    let running = confine::writing_below(folder, || command.start()).map_err(|e| cannot_start(program, e))?;
    let why = wait(&running, context.config.drill.timeout).map_err(|e| Error::io("wait for", Path::new(program), e))?;
    if let Some(said) = said {
        show(context, said);
    }
    Ok(why)
}

fn cannot_start(program: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            let message = format!("the drill's command {program} can't be started: {error}");
            Error::new(ErrorKind::InvalidInput, message)
                .with_hint("fix `command` in the settings' [drill]; it is started in the restored folder")
        }
        _ => Error::io("start", Path::new(program), error),
    }
}

/// Waits for the command's end, and says why it is a bad one.
fn wait(running: &duct::Handle, timeout: Duration) -> io::Result<Option<String>> {
    let begun = Instant::now();
    loop {
        match running.wait_timeout(TICK)? {
            Some(output) if output.status.success() => return Ok(None),
            Some(output) => return Ok(Some(output.status.to_string())),
            None if begun.elapsed() >= timeout || Signals::received().is_some() => {
                stop(running);
                return Ok(Some(format!("stopped after {} s", timeout.as_secs())));
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

/// A file without a name for what the command prints: however much that is, none of it has to fit into memory.
fn output_file(folder: &Path) -> backup::Result<(File, File)> {
    let file = tempfile::tempfile_in(folder).and_then(|file| Ok((file.try_clone()?, file)));
    file.map_err(|e| Error::io("keep the command's output in", folder, e))
}

/// The last bytes of what a command printed that are shown.
const SHOWN: u64 = 64 << 10;

/// Shows the end of what the command printed.
fn show(context: &Context<'_>, mut said: File) {
    let mut tail = Vec::new();
    let end = said.metadata().map_or(0, |found| found.len());
    let read = said.seek(SeekFrom::Start(end.saturating_sub(SHOWN))).and_then(|_| said.read_to_end(&mut tail));
    if let Err(error) = read {
        context.output.warn(&format!("what the command printed can't be read: {error}"));
    }
    for line in String::from_utf8_lossy(&tail).lines() {
        context.output.note(&format!("  | {line}"));
    }
}
