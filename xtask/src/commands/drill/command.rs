//! The command of the settings, run as a probe in the restored folder.
//!
//! The restored files may be hostile, and they hold secrets. So the command is [confined](crate::confine), all processes
//! that it starts end with it, and what it prints is shown only at the terminal of a person who asked for it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use backup::{Error, ErrorKind, Probe};

use crate::confine;
use crate::context::Context;
use crate::exit::Signals;
use crate::user::account;

/// How often the running command is checked on.
const TICK: Duration = Duration::from_millis(50);

/// How many bytes of the command's output are shown at most: the last ones.
const SHOWN: u64 = 64 << 10;

/// The command as people read it; empty if there is none.
pub fn name(context: &Context<'_>) -> String {
    context.config.drill.command.join(" ")
}

/// Runs the command of the settings in the restored folder. `None` if they name none.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the command can't be started.
pub fn probe(context: &Context<'_>, folder: &Path) -> backup::Result<Option<Probe>> {
    let Some((program, arguments)) = context.config.drill.command.split_first() else { return Ok(None) };
    let text = name(context);
    let failure = failure(context, program, arguments, folder)?;
    Ok(Some(Probe { failure: failure.map(|why| format!("{text}: {why}")), text }))
}

/// Why the command did not pass; `None` if it did.
fn failure(
    context: &Context<'_>,
    program: &str,
    arguments: &[String],
    folder: &Path,
) -> backup::Result<Option<String>> {
    let command = expression(program, arguments).dir(folder).env("DRILL_ROOT", folder);
    let command = command.stdin_null().stderr_to_stdout().unchecked();
    let (command, printed) = if context.output.is_verbose_terminal() {
        let (file, copy) = output_file(folder)?;
        (command.stdout_file(copy), Some(file))
    } else {
        (command.stdout_null(), None)
    };
    let running = confine::writing_below(folder, || command.start()).map_err(|e| cannot_start(program, e))?;
    let why = wait(&running, context.config.drill.timeout).map_err(|e| Error::io("wait for", Path::new(program), e))?;
    if let Some(printed) = printed {
        show(context, printed);
    }
    Ok(why)
}

fn expression(program: &str, arguments: &[String]) -> duct::Expression {
    match account::became() {
        // A session of its own: the terminal is root's, and a process that has it could type there.
        Some(account) => {
            duct::cmd("setsid", [&[program.to_string()], arguments].concat()).full_env(account.environment())
        }
        // A process group of its own: all processes that it starts can be stopped with it.
        None => duct::cmd(program, arguments).before_spawn(|command| {
            command.process_group(0);
            Ok(())
        }),
    }
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

/// Waits until the command ends, and says why that is a failure; `None` if it is a success.
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
        // A process that has ended by itself needs no stopping.
        let _ = group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
    }
    let _ = running.wait();
}

/// A file without a name for what the command prints, which may be more than fits into memory.
fn output_file(folder: &Path) -> backup::Result<(File, File)> {
    let file = tempfile::tempfile_in(folder).and_then(|file| Ok((file.try_clone()?, file)));
    file.map_err(|e| Error::io("keep the command's output in", folder, e))
}

/// Shows the end of what the command printed.
fn show(context: &Context<'_>, mut printed: File) {
    let mut tail = Vec::new();
    let end = printed.metadata().map_or(0, |found| found.len());
    let read = printed.seek(SeekFrom::Start(end.saturating_sub(SHOWN))).and_then(|_| printed.read_to_end(&mut tail));
    if let Err(error) = read {
        context.output.warn(&format!("what the command printed can't be read: {error}"));
    }
    for line in String::from_utf8_lossy(&tail).lines() {
        context.output.note(&format!("  | {line}"));
    }
}
