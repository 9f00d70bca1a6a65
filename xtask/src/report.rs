//! What a command returns, and the one place that renders it: as text, as the document of `--json`, as an exit code.
//!
//! A report holds data: ids, sizes, times, what the library returned. Whatever reads it later, an alert or a metric, needs
//! no sentence to take apart.

use serde::Serialize;

use crate::exit::Exit;
use crate::output::Output;

/// What a command returns.
pub trait Report {
    /// Prints the result for people: lines and tables on stdout, warnings and hints on stderr.
    fn text(&self, output: &Output);

    /// The document of `--json`; `None` for a command that has none.
    fn document(&self, _output: &Output) -> Option<impl Serialize> {
        None::<()>
    }

    /// How the program ends.
    fn exit(&self) -> Exit {
        Exit::Done
    }
}

/// The report of a command that printed everything while it ran.
impl Report for () {
    fn text(&self, _: &Output) {}
}

/// Renders the report of a command. With `--json` its lines are left out, but its warnings and hints are not.
///
/// # Errors
/// The command's own.
pub fn render(output: &Output, result: anyhow::Result<impl Report>) -> anyhow::Result<Exit> {
    let report = result?;
    report.text(output);
    if output.is_json()
        && let Some(document) = report.document(output)
    {
        output.json(&document);
    }
    Ok(report.exit())
}
