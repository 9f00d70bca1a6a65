//! Following one run of a service in the journal, from its start to its last words.

use std::io::{BufRead as _, BufReader};
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use backup::Error;
use serde::Deserialize;
use serde_json::Value;

use super::systemd::{Manager, Ran, State};
use crate::context::Context;
use crate::exit::Signals;
use crate::text::{Tone, paint, printable};

/// How often a run is looked after.
const TICK: Duration = Duration::from_millis(50);

/// How long the journal has to be silent after the end of a run.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// The same, if the end was not seen: who may not read all of the journal never does.
const PATIENCE: Duration = Duration::from_secs(3);

/// Starts the service `unit`, or joins its run if there is one, shows what the journal says of it, and gives how it
/// went.
///
/// # Errors
/// That it could not be started, or that this was interrupted: then the service goes on.
pub fn run(context: &Context<'_>, manager: &Manager<'_>, unit: &String) -> anyhow::Result<Ran> {
    let before = state(manager, unit)?;
    let journal = Journal::follow(manager, unit)?;
    let start = manager.systemctl(&["start", unit]);
    context.output.line(&format!("$ {start}"));
    let starting = start.expression(manager.shell).stdout_null().stderr_capture();
    let starting = starting.start().context("start systemctl")?;
    let invocation = invocation(manager, unit, &before, &starting)?;
    let heard = journal.show(context, &invocation, &starting).inspect_err(|_| {
        let stop = manager.systemctl(&["stop", unit]);
        context.output.hint(&format!("{unit} goes on without being watched; to stop it: {stop}"));
    })?;
    if !heard {
        context.output.warn("you may not read its journal; members of the group systemd-journal may");
    }
    starting.wait().context("wait for systemctl")?;
    state(manager, unit)?.ran().with_context(|| format!("{unit} did not run"))
}

fn state(manager: &Manager<'_>, unit: &String) -> anyhow::Result<State> {
    manager.states(from_ref(unit))?.pop().context("ask systemd how the service stands")
}

/// The run that was just started, or that was under way already, as the journal calls it.
fn invocation(manager: &Manager<'_>, unit: &String, before: &State, starting: &duct::Handle) -> anyhow::Result<String> {
    loop {
        let ended = starting.try_wait().context("wait for systemctl")?;
        let now = state(manager, unit)?;
        let id = now.get("InvocationID");
        if !id.is_empty() && (before.is_active() || id != before.get("InvocationID")) {
            return Ok(id.to_string());
        }
        if let Some(ended) = ended {
            bail!("{unit} did not start: {}", String::from_utf8_lossy(&ended.stderr).trim().replace('\n', "; "));
        }
        if Signals::received().is_some() {
            return Err(Error::interrupted().into());
        }
        std::thread::sleep(TICK);
    }
}

/// A line of the journal.
#[derive(Default, Deserialize)]
#[serde(rename_all = "UPPERCASE", default)]
struct Entry {
    message: Value,
    priority: String,
    message_id: String,
    invocation_id: String,
    user_invocation_id: String,
}

impl Entry {
    /// Whether the service manager says that this run is over: that the service has been started, which for one of type
    /// `oneshot` means that it is done, or could not be. `SD_MESSAGE_UNIT_STARTED` and `SD_MESSAGE_UNIT_FAILED` of
    /// systemd's sd-messages.h.
    fn is_end_of(&self, invocation: &str) -> bool {
        let over = ["39f53479d3a045ac8e11786248231fbf", "be02cf6855d2428ba40df7e9d022f03d"];
        over.contains(&self.message_id.as_str())
            && [&self.invocation_id, &self.user_invocation_id].into_iter().any(|id| id == invocation)
    }

    fn show(&self, context: &Context<'_>) {
        // What isn't text comes as numbers: not for people.
        let text = printable(self.message.as_str().unwrap_or("(not text)"));
        context.output.line(&match self.priority.as_str() {
            "0" | "1" | "2" | "3" => paint(Tone::Bad, &text),
            "4" => paint(Tone::Warning, &text),
            _ => text,
        });
    }
}

/// A journal that is followed.
struct Journal {
    process: Arc<duct::ReaderHandle>,
    entries: Receiver<Box<Entry>>,
}

impl Journal {
    /// Follows what `unit` says from now on. It can't go by the run: the last lines of a process that ends soon after
    /// them come without the run's id.
    fn follow(manager: &Manager<'_>, unit: &String) -> anyhow::Result<Self> {
        let tail = manager.journalctl(&["-q", "--no-pager", "-n", "0", "--show-cursor"]);
        let tail = tail.run(manager.shell).context("look at the end of the journal")?;
        // Without one there is nothing in the journal yet.
        let cursor = tail.lines().find_map(|line| line.strip_prefix("-- cursor: "));
        let after = cursor.map_or(["-n", "all"], |cursor| ["--after-cursor", cursor]);
        let command =
            manager.journalctl(&["-q", "-f", "-o", "json"]).and(after).and(manager.entries_of(from_ref(unit)));
        let process = command.expression(manager.shell).reader().context("start journalctl")?;
        let process = Arc::new(process);
        Ok(Self { entries: read(Arc::clone(&process)), process })
    }

    /// Shows the lines of one run until it is over. `false` if there were none.
    fn show(&self, context: &Context<'_>, invocation: &str, starting: &duct::Handle) -> anyhow::Result<bool> {
        let (mut heard, mut over) = (false, false);
        let mut silent_since = Instant::now();
        loop {
            match self.entries.recv_timeout(TICK) {
                Ok(entry) => {
                    entry.show(context);
                    over |= entry.is_end_of(invocation);
                    (heard, silent_since) = (true, Instant::now());
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(heard),
                Err(RecvTimeoutError::Timeout) if starting.try_wait().context("wait for systemctl")?.is_none() => {
                    silent_since = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {
                    // The service's own last lines may come after the manager's.
                    if silent_since.elapsed() > if over { LAST_WORDS } else { PATIENCE } {
                        return Ok(heard);
                    }
                }
            }
            if Signals::received().is_some() {
                return Err(Error::interrupted().into());
            }
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // One that `sudo` started is not ours to stop; it ends when it finds nobody to read it.
        let _ = self.process.kill();
    }
}

/// Reads the journal's lines in a thread that ends with them.
fn read(journal: Arc<duct::ReaderHandle>) -> Receiver<Box<Entry>> {
    let (sender, entries) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(&*journal).lines().map_while(Result::ok);
        let mut entries = lines.filter_map(|line| serde_json::from_str(&line).ok());
        // Nobody listens any more: the run has ended.
        let _ = entries.by_ref().map(Box::new).try_for_each(|entry| sender.send(entry));
    });
    entries
}
