//! The command line of the backup library. It parses, makes one library call, and renders the result.

mod apart;
mod application;
mod bars;
mod bench;
mod cli;
mod commands;
mod completion;
mod config;
mod confine;
mod context;
mod doctor;
mod exit;
mod folder;
mod hints;
mod invocation;
mod json;
mod output;
mod privilege;
mod report;
mod root;
mod sample;
mod schedule;
mod survey;
mod table;
mod template;
mod text;
mod words;
mod writers;

use std::process::ExitCode;

use output::Output;

fn main() -> ExitCode {
    // Whatever is created from here on, SQLite's files included, is for this user alone.
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    if completion::answer() {
        return ExitCode::SUCCESS;
    }
    let cli = match cli::Cli::try_parse_as_called() {
        Ok(cli) => cli,
        Err(usage) => return output::usage(&usage),
    };
    let output = Output::new(&cli.global);
    match privilege::give_up(&cli, &output).and_then(|switch| commands::run(&cli, &output, switch)) {
        Ok(exit) => output.finish(exit, commands::changes(&cli.command)).into(),
        Err(error) => {
            output.error(&error);
            exit::of_error(&error).into()
        }
    }
}
