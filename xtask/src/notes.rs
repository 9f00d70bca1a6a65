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
    /// What a line begins with, if it is for the `journal`.
    pub fn prefix(self, journal: bool) -> String {
        if journal { format!("<{}>", self as u8) } else { String::new() }
    }
}

/// What is said on stderr, beside the result: for whoever outlives a borrow of the printer.
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
        // Where this can't be said, there is no place to say that either.
        let _ = write_line(&mut anstream::stderr(), format_args!("{prefix}{}", shown(text)));
    }
}

/// Whether systemd reads what is printed. A terminal may inherit its variables: that is a person still.
pub fn is_journal() -> bool {
    let under_systemd = ["JOURNAL_STREAM", "INVOCATION_ID"].iter().any(|name| std::env::var_os(name).is_some());
    under_systemd && !io::stderr().is_terminal()
}

/// Writes a line at once.
pub fn write_line(stream: &mut dyn io::Write, line: std::fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(stream, "{line}").and_then(|()| stream.flush())
}
