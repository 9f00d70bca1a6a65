//! The command line of the backup library. It parses, makes one library call, and renders the result.

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
mod hints;
mod invocation;
mod json;
mod notes;
mod output;
mod privilege;
mod report;
mod sample;
mod schedule;
mod step;
mod survey;
mod systemd;
mod table;
mod template;
mod text;
mod user;
mod words;

use std::process::ExitCode;

use output::Output;

fn main() -> ExitCode {
    // All new files, SQLite's included, can be read by this user only.
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    if completion::answer() {
        return ExitCode::SUCCESS;
    }
    let cli = match invocation::parse() {
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
