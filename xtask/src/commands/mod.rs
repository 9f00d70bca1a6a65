//! One file for each command: options in, one library call, render.

mod backup;
mod demo;
mod doctor;
mod drill;
mod install_cron;
mod install_timer;
mod list;
mod logs;
mod pin;
mod restore;
mod rotate;
mod run_now;
mod shell;
mod status;
mod timer;
mod verify;

use crate::cli::{Cli, Command, ProjectCommand};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;

/// Carries a command out.
pub fn run(cli: &Cli, output: &Output) -> anyhow::Result<Exit> {
    match &cli.command {
        Command::Project(command) => run_in_project(&Context::new(&cli.global, output)?, command),
        // Settings that can't be read are a finding like any other.
        Command::Doctor(args) => doctor::run(&cli.global, output, args),
        Command::Demo(args) => demo::run(output, args),
        Command::Completions { shell } => shell::completions(*shell),
        Command::Man { dir } => shell::man(output, dir),
    }
}

fn run_in_project(context: &Context<'_>, command: &ProjectCommand) -> anyhow::Result<Exit> {
    context.warn_of_unfinished_restore();
    match command {
        ProjectCommand::Backup(args) => backup::run(context, args),
        ProjectCommand::List => list::run(context),
        ProjectCommand::Restore(args) => restore::run(context, args),
        ProjectCommand::Verify(args) => verify::run(context, args),
        ProjectCommand::Drill(args) => drill::run(context, args),
        ProjectCommand::Rotate(args) => rotate::run(context, args),
        ProjectCommand::Pin(args) => pin::run(context, args, true),
        ProjectCommand::Unpin(args) => pin::run(context, args, false),
        ProjectCommand::Status => status::run(context),
        ProjectCommand::InstallTimer(args) => install_timer::install(context, args),
        ProjectCommand::UninstallTimer(args) => install_timer::uninstall(context, args),
        ProjectCommand::Timer(which) => timer::run(context, which),
        ProjectCommand::RunNow(which) => run_now::run(context, which),
        ProjectCommand::Logs(args) => logs::run(context, args),
        ProjectCommand::InstallCron(args) => install_cron::install(context, args),
        ProjectCommand::UninstallCron(args) => install_cron::uninstall(context, args),
    }
}
