//! The only printer: lines and tables for people, JSON for programs, lines with priorities for the journal, bars.
//!
//! Names and messages may come from files that somebody else wrote, with commands to the terminal in them. So every line
//! goes through [`shown`], which lets only this program's colours pass.
//!
//! Results go to stdout; warnings, errors, hints and bars go to stderr. With `--json`, stdout has the one document and
//! nothing else. The program fails if a result can't be written, but not if its reader went away (`| head`).

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use clap::ValueEnum as _;
use serde::Serialize;
use serde_json::{Value, json};

use crate::bars::Bars;
use crate::cli::{Color, Global};
use crate::exit::Exit;
use crate::hints;
use crate::invocation::Invocation;
use crate::json;
use crate::notes::{Notes, Priority, is_journal, write_line};
use crate::table::Layout;
use crate::text::{Tone, paint, shown};

/// The only printer.
#[derive(Debug, Default)]
pub struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
    journal: bool,
    invocation: Invocation,
    /// Why part of the result could not be written.
    lost: OnceLock<io::Error>,
    warned: Mutex<BTreeSet<String>>,
    /// Whether documents are lines.
    lines: AtomicBool,
}

impl Output {
    /// The printer that the flags and the environment ask for.
    pub fn new(global: &Global) -> Self {
        let journal = is_journal();
        choose_colors(global.color, journal);
        let invocation = Invocation::new(global);
        let Global { json, quiet, verbose, .. } = *global;
        Self { json, quiet, verbose, journal, invocation, ..Self::default() }
    }

    /// How this program was called.
    pub fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// A printer for tests that don't read its output.
    #[cfg(test)]
    pub fn silent() -> Self {
        Self { quiet: true, ..Self::default() }
    }

    /// Whether systemd runs this program, and no person.
    pub fn is_journal(&self) -> bool {
        self.journal
    }

    /// Whether a program wants one document.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether only warnings and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether more details are wanted.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether a person who wants more details sits at a terminal. What may be secret is shown only there: a journal would
    /// keep it.
    pub fn is_verbose_terminal(&self) -> bool {
        self.verbose && !self.journal && std::io::stderr().is_terminal()
    }

    /// Prints a line of the result.
    pub fn line(&self, text: &str) {
        self.result(&shown(text));
    }

    fn result(&self, shown: &str) {
        if !self.quiet && !self.json {
            let prefix = self.prefix(Priority::Info);
            self.keep(write_line(&mut anstream::stdout(), format_args!("{prefix}{shown}")));
        }
    }

    /// Prints part of the result as it is: a script, not lines for people.
    pub fn raw(&self, bytes: &[u8]) {
        let mut stdout = io::stdout();
        self.keep(stdout.write_all(bytes).and_then(|()| stdout.flush()));
    }

    fn keep(&self, written: io::Result<()>) {
        if let Err(error) = unless_closed(written) {
            let _ = self.lost.set(error);
        }
    }

    /// How the program ends after a command that ended with `exit`. It fails if the result could not be written; a command
    /// that `changes` something is then partly done.
    pub fn finish(&self, exit: Exit, changes: bool) -> Exit {
        let Some(error) = self.lost.get() else { return exit };
        let is_done = exit == Exit::Done;
        let done = if changes && is_done { "all is done, but " } else { "" };
        self.aside(
            Priority::Error,
            &format!("{} {done}the result could not be written: {error}", paint(Tone::Bad, "error:")),
        );
        match (is_done, changes) {
            (true, true) => Exit::Partly,
            (true, false) => Exit::Failed,
            (false, _) => exit,
        }
    }

    /// Prints the line that sums up the result, in the colour of how well it went.
    pub fn done(&self, tone: Tone, text: &str) {
        self.line(&paint(tone, text));
    }

    /// Prints a remark on stderr.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            Notes { journal: self.journal }.note(text);
        }
    }

    /// Warns of something, once, however often it is found.
    pub fn warn(&self, text: &str) {
        let is_new = self.warned.lock().map_or(true, |mut warned| warned.insert(text.to_string()));
        if is_new {
            self.aside(Priority::Warning, &format!("{} {text}", paint(Tone::Warning, "warning:")));
        }
    }

    /// Warns if the ledger should have a line of this run, and could not get one.
    pub fn warn_of_unrecorded(&self, why: Option<&str>) {
        if let Some(why) = why {
            self.warn(&format!("the ledger doesn't know of this run: {why}"));
        }
    }

    /// Prints a failure that `status` or `doctor` found.
    pub fn failure(&self, text: &str) {
        self.aside(Priority::Error, &format!("{} {text}", paint(Tone::Bad, "failure:")));
    }

    /// Prints what to do about it. Commands of this program, in backquotes, are completed.
    pub fn hint(&self, text: &str) {
        self.aside(Priority::Info, &format!("hint: {}", self.invocation.complete(text)));
    }

    fn aside(&self, priority: Priority, text: &str) {
        Notes { journal: self.journal }.print(priority, text);
    }

    /// Prints an error and its hint; the command continues.
    pub fn problem(&self, error: &backup::Error) {
        self.aside(Priority::Error, &format!("{} {}", paint(Tone::Bad, "error:"), error.one_line()));
        if let Some(hint) = hints::of(error) {
            self.hint(&hint);
        }
    }

    /// Prints why the command failed, with `--json` as the document too.
    pub fn error(&self, error: &anyhow::Error) {
        match error.downcast_ref::<backup::Error>() {
            Some(own) => self.explain(own),
            None => self.explain(&backup::Error::new(backup::ErrorKind::Io, format!("{error:#}"))),
        }
    }

    fn explain(&self, error: &backup::Error) {
        self.problem(error);
        if self.json {
            self.json(&json!({ "error": self.error_document(error) }));
        }
    }

    /// An error as part of the document of `--json`.
    pub fn error_document(&self, error: &backup::Error) -> Value {
        let hint = hints::of(error).map(|hint| self.invocation.complete(&hint));
        json!({ "kind": error.kind(), "message": error.one_line(), "hint": hint })
    }

    /// From now on, each document of `--json` is one of many, on a line of its own.
    pub fn begin_lines(&self) {
        self.lines.store(true, Ordering::Relaxed);
    }

    /// Prints the document of `--json`.
    pub fn json(&self, document: &impl Serialize) {
        self.keep(print_json(document, self.lines.load(Ordering::Relaxed)));
    }

    /// Prints a table in the first layout that fits the terminal, or else in the last one. Without a terminal, the first is
    /// used.
    pub fn table(&self, layouts: &[&dyn Fn() -> Layout]) {
        let terminal = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|_| io::stdout().is_terminal());
        let fits = |table: &Layout| terminal.is_none_or(|size| table.width() <= size.ws_col.into());
        let mut tables = layouts.iter().map(|layout| layout());
        let mut table = tables.next();
        while table.as_ref().is_some_and(|table| !fits(table)) {
            let Some(narrower) = tables.next() else { break };
            table = Some(narrower);
        }
        table.iter().flat_map(Layout::lines).for_each(|line| self.result(&line));
    }

    /// Asks a person to agree. `None` if there is nobody to ask.
    pub fn agrees(&self, question: &str) -> Option<bool> {
        let answer = self.ask(&format!("{question} [y/N]"))?;
        Some(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks a person for a line. `None` if there is nobody to ask.
    pub fn ask(&self, question: &str) -> Option<String> {
        if self.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        let mut answer = String::new();
        let mut stderr = anstream::stderr();
        let asked = write!(stderr, "{} ", shown(question)).and_then(|()| stderr.flush());
        let read = asked.and_then(|()| io::stdin().read_line(&mut answer));
        Some(read.map(|_| answer.trim().to_string()).unwrap_or_default())
    }

    /// What shows on stderr how far a run is: bars on a terminal, lines in a journal or a log.
    pub fn bars(&self) -> Bars {
        let is_terminal = io::stderr().is_terminal();
        match (self.quiet, is_terminal && !self.journal) {
            (true, _) => Bars::none(),
            (_, true) if self.json => Bars::none(),
            (_, true) => Bars::drawn(),
            (_, false) => Bars::lines(Notes { journal: self.journal }),
        }
    }

    fn prefix(&self, priority: Priority) -> String {
        priority.prefix(self.journal)
    }
}

fn choose_colors(color: Color, journal: bool) {
    match color {
        Color::Never => anstream::ColorChoice::Never.write_global(),
        _ if journal => anstream::ColorChoice::Never.write_global(),
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Auto => {}
    }
}

/// Prints clap's own message, help or error, and with `--json` the document of an error. The flags could not be parsed, so
/// the two that matter here are searched for by hand.
pub fn usage(error: &clap::Error) -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let color = arguments.iter().skip_while(|argument| *argument != "--color").nth(1);
    let color = color.and_then(|word| Color::from_str(word, false).ok()).unwrap_or(Color::Auto);
    let journal = is_journal();
    choose_colors(color, journal);
    let text = error.render().ansi().to_string();
    if !error.use_stderr() {
        let written = unless_closed(print(&mut anstream::stdout(), format_args!("{}", text.trim_end())));
        return if written.is_ok() { Exit::Done } else { Exit::Failed }.into();
    }
    let prefix = Priority::Error.prefix(journal);
    for line in text.trim_end().lines().filter(|line| !journal || !line.is_empty()) {
        let _ = print(&mut anstream::stderr(), format_args!("{prefix}{line}"));
    }
    if arguments.iter().any(|argument| argument == "--json") {
        let _ = print_json(&usage_document(error), false);
    }
    Exit::Usage.into()
}

fn usage_document(error: &clap::Error) -> Value {
    let text = error.to_string();
    let paragraph = text.trim_start_matches("error: ").lines().map(str::trim).take_while(|line| !line.is_empty());
    let message = paragraph.collect::<Vec<_>>().join(" ");
    json!({ "error": { "kind": "usage", "message": message, "hint": "--help shows how it is used" } })
}

/// Prints a document, as a line or indented.
fn print_json(document: &impl Serialize, is_line: bool) -> io::Result<()> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    let written = if is_line { json::write_line(document, &mut stdout) } else { json::write(document, &mut stdout) };
    written.and_then(|()| stdout.flush())
}

fn print(stream: &mut dyn io::Write, line: std::fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(stream, "{line}").and_then(|()| stream.flush())
}

/// No failure if the reader went away (`| head`).
fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}
