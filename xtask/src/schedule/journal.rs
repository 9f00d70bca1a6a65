//! Follows one run of a service in the journal, from its start to its last line.
//!
//! The user may not be allowed to read the journal, and it may lag behind; systemd may forget the service a moment after
//! its end. So both are asked, and either can tell that the run is over and how it went.

use std::io::{BufRead as _, BufReader};
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use backup::Error;
use chrono::{DateTime, FixedOffset};
use serde::Deserialize;
use serde_json::Value;

use crate::context::Context;
use crate::exit::Signals;
use crate::systemd::manager::Manager;
use crate::systemd::state::{ServiceRun, State};
use crate::text::{Tone, local, paint};

/// How often systemd is asked, if the journal says nothing.
const TICK: Duration = Duration::from_millis(100);

/// How long to wait for more lines after the end of a run: the service's last lines may come after systemd's.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// The same, if the journal has no entry of the end.
const PATIENCE: Duration = Duration::from_secs(3);

/// Starts the service `unit`, or joins its run if it is running; shows its journal, and gives the result.
///
/// # Errors
/// If it could not be started, or if this was interrupted; then the service keeps running.
pub fn run(context: &Context<'_>, manager: &Manager<'_>, unit: &String) -> anyhow::Result<ServiceRun> {
    let before = state(manager, unit)?;
    let cursor = cursor(manager)?;
    let start = manager.systemctl(&["start", "--no-block", unit]);
    context.output.line(&format!("$ {start}"));
    if let Some(run) = before.last_run().filter(|_| before.is_active()) {
        context.output.note(&format!("it is running already, since {}", local(run.at)));
    }
    start.run(manager.shell)?;
    let journal = Journal::follow(manager, unit, cursor)?;
    let end = journal.show(context, manager, unit, &before).inspect_err(|_| {
        let stop = manager.systemctl(&["stop", unit]);
        context.output.hint(&format!("{unit} keeps running; to stop it: {stop}"));
    })?;
    let after = state(manager, unit)?;
    let is_new = before.is_active() || after.get("InvocationID") != before.get("InvocationID");
    let known = after.last_run().filter(|_| is_new && !after.is_active());
    known.or_else(|| end.run(context.now)).with_context(|| format!("{unit} did not start: systemctl status {unit}"))
}

fn state(manager: &Manager<'_>, unit: &String) -> anyhow::Result<State> {
    manager.states(from_ref(unit))?.pop().context("ask systemd how the service stands")
}

/// The end of the journal, as far as it can be read; none if it is empty.
fn cursor(manager: &Manager<'_>) -> anyhow::Result<Option<String>> {
    let tail = manager.journalctl(&["--no-pager", "-n", "0", "--show-cursor"]);
    let tail = tail.run(manager.shell).context("read the end of the journal")?;
    Ok(tail.lines().find_map(|line| line.strip_prefix("-- cursor: ")).map(str::to_string))
}

/// A line of the journal.
#[derive(Default, Deserialize)]
#[serde(rename_all = "UPPERCASE", default)]
struct Entry {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    message: Value,
    priority: String,
    job_type: String,
    job_result: String,
    exit_status: String,
    invocation_id: String,
    user_invocation_id: String,
}

impl Entry {
    /// The result of the service's start: `done`, `failed`, `dependency`. For type `oneshot` that is the result of the run.
    fn result(&self) -> Option<String> {
        (self.job_type == "start" && !self.job_result.is_empty()).then(|| self.job_result.clone())
    }

    /// Whether it is a message of systemd about this run.
    fn is_of(&self, invocation: &str) -> bool {
        !invocation.is_empty() && [&self.invocation_id, &self.user_invocation_id].into_iter().any(|id| id == invocation)
    }

    fn show(&self, context: &Context<'_>) {
        // Binary data comes as numbers.
        let text = self.message.as_str().unwrap_or("(not text)");
        context.output.line(&match self.priority.as_str() {
            "0" | "1" | "2" | "3" => paint(Tone::Bad, text),
            "4" => paint(Tone::Warning, text),
            _ => text.into(),
        });
    }
}

/// The end of a run, by the journal.
#[derive(Default)]
struct Ending {
    result: Option<String>,
    exit_status: Option<u8>,
}

impl Ending {
    /// The run with this end; none if the journal has no entry of it.
    fn run(self, at: DateTime<FixedOffset>) -> Option<ServiceRun> {
        let result = self.result?;
        let result = if result == "done" { "success".into() } else { result };
        Some(ServiceRun { at, duration_ms: None, result, exit_status: self.exit_status })
    }
}

/// The state of following a run.
struct Watch {
    end: Ending,
    /// Whether systemd says that the run is over.
    is_over: bool,
    /// Whether the journal has said nothing at all.
    is_silent: bool,
    silent_since: Instant,
}

impl Watch {
    fn new() -> Self {
        Self { end: Ending::default(), is_over: false, is_silent: true, silent_since: Instant::now() }
    }

    /// Takes an entry. One of the `earlier` run says nothing about the end of this one.
    fn take(&mut self, entry: &Entry, earlier: &str) {
        (self.is_silent, self.silent_since) = (false, Instant::now());
        if !entry.is_of(earlier) {
            self.end.result = entry.result().or(self.end.result.take());
            self.end.exit_status = entry.exit_status.parse().ok().or(self.end.exit_status);
        }
    }

    /// Asks systemd whether the run is over, until it is.
    fn ask(&mut self, manager: &Manager<'_>, unit: &String) -> anyhow::Result<()> {
        if !self.is_over {
            let now = state(manager, unit)?;
            self.is_over = !now.is_active() && now.get("Job").is_empty();
            self.silent_since = Instant::now();
        }
        Ok(())
    }

    /// Whether no more entries are expected.
    fn is_done(&self) -> bool {
        let enough = if self.end.result.is_some() { LAST_WORDS } else { PATIENCE };
        self.is_over && self.silent_since.elapsed() > enough
    }
}

/// A `journalctl` that follows a unit.
struct Journal {
    process: Arc<duct::ReaderHandle>,
    entries: Receiver<Box<Entry>>,
}

impl Journal {
    /// Follows `unit` from `cursor` on.
    fn follow(manager: &Manager<'_>, unit: &String, cursor: Option<String>) -> anyhow::Result<Self> {
        // Not `--after-cursor`: among entries of one unit, that skips the first one as well.
        let from = cursor.clone().map_or(["-n".into(), "all".into()], |cursor| ["--cursor".to_string(), cursor]);
        let command = manager.journalctl(&["-f", "-o", "json"]).and(from).and(manager.entries_of(from_ref(unit)));
        let process = command.expression(manager.shell).reader().context("start journalctl")?;
        let process = Arc::new(process);
        Ok(Self { entries: read(Arc::clone(&process), cursor), process })
    }

    /// Shows the lines of the run that comes after the state `before` until it is over.
    fn show(
        &self,
        context: &Context<'_>,
        manager: &Manager<'_>,
        unit: &String,
        before: &State,
    ) -> anyhow::Result<Ending> {
        // The end of an earlier run may come late.
        let earlier = if before.is_active() { "" } else { before.get("InvocationID") };
        let mut watch = Watch::new();
        while !watch.is_done() {
            if Signals::received().is_some() {
                return Err(Error::interrupted().into());
            }
            match self.entries.recv_timeout(TICK) {
                Ok(entry) => {
                    entry.show(context);
                    watch.take(&entry, earlier);
                }
                Err(RecvTimeoutError::Timeout) => {}
                // It got the same signal, or can't be read: only systemd is left to ask.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
            }
            watch.ask(manager, unit)?;
        }
        if watch.is_silent {
            context.output.warn("its journal can't be read: be root, or in the group systemd-journal");
        }
        Ok(watch.end)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // This process can't kill one that `sudo` started; it ends when nobody reads its output.
        let _ = self.process.kill();
    }
}

/// Reads the journal's lines after `cursor` in a thread that ends with them.
fn read(journal: Arc<duct::ReaderHandle>, cursor: Option<String>) -> Receiver<Box<Entry>> {
    let (sender, entries) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(&*journal).lines().map_while(Result::ok);
        let entries = lines.filter_map(|line| serde_json::from_str(&line).ok());
        let mut entries = entries.filter(|entry: &Entry| cursor.as_ref() != Some(&entry.cursor));
        // An error means that the run has ended.
        let _ = entries.by_ref().map(Box::new).try_for_each(|entry| sender.send(entry));
    });
    entries
}
