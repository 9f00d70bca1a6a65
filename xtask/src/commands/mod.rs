//! One file for each command: options in, one library call, render.

mod backup;
mod demo;
mod drill;
mod list;
mod pin;
mod restore;
mod rotate;
mod shell;
mod status;
mod verify;

use crate::cli::Command;
use crate::context::Context;
use crate::exit::Exit;

/// Carries a command out.
pub fn run(context: &Context<'_>, command: &Command) -> anyhow::Result<Exit> {
    if !matches!(command, Command::Completions { .. } | Command::Man { .. } | Command::Demo(_)) {
        context.warn_of_unfinished_restore();
    }
    match command {
        Command::Backup(args) => backup::run(context, args),
        Command::List => list::run(context),
        Command::Restore(args) => restore::run(context, args),
        Command::Verify(args) => verify::run(context, args),
        Command::Drill(args) => drill::run(context, args),
        Command::Rotate(args) => rotate::run(context, args),
        Command::Pin(args) => pin::run(context, args, true),
        Command::Unpin(args) => pin::run(context, args, false),
        Command::Status => status::run(context),
        Command::Demo(args) => demo::run(context, args),
        Command::Completions { shell } => shell::completions(*shell),
        Command::Man { dir } => shell::man(context, dir),
    }
}
