//! Lines on stderr, beside the result: for people, and with priorities for the journal.

use std::io::{self, IsTerminal as _};

use crate::text::{Tone, paint, shown};

/// Priorities that the journal reads from the beginning of a line: `man 3 sd-daemon`.
#[derive(Debug, Clone, Copy)]
pub enum Priority {
    /// An error.
    Error = 3,
    /// A warning.
    Warning = 4,
    /// Anything else.
    Info = 6,
}

impl Priority {
    /// The beginning of a line for the `journal`; empty elsewhere.
    pub fn prefix(self, journal: bool) -> String {
        if journal { format!("<{}>", self as u8) } else { String::new() }
    }
}

/// Prints lines on stderr, beside the result. It borrows nothing, so it can outlive the printer.
#[derive(Debug, Clone, Copy)]
pub struct Notes {
    /// Whether the journal reads them.
    pub journal: bool,
}

impl Notes {
    /// A remark on the way.
    pub fn note(self, text: &str) {
        self.print(Priority::Info, &paint(Tone::Faint, text));
    }

    /// A line of that priority.
    pub fn print(self, priority: Priority, text: &str) {
        let prefix = priority.prefix(self.journal);
        // If stderr is gone, there is no other place to report that.
        let _ = write_line(&mut anstream::stderr(), format_args!("{prefix}{}", shown(text)));
    }
}

/// Whether the output goes to systemd's journal. A terminal may inherit systemd's variables: that is a person still.
pub fn is_journal() -> bool {
    let under_systemd = ["JOURNAL_STREAM", "INVOCATION_ID"].iter().any(|name| std::env::var_os(name).is_some());
    under_systemd && !io::stderr().is_terminal()
}

/// Writes a line and flushes.
pub fn write_line(stream: &mut dyn io::Write, line: std::fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(stream, "{line}").and_then(|()| stream.flush())
}
