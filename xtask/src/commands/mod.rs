//! One file for each command: options in, one library call, a [`Report`] out.
//!
//! A command prints by itself only what can't wait for its end: the plan of a restore before the question, each backup
//! that `verify` has finished.
//!
//! [`Report`]: crate::report::Report

mod accept;
mod backup;
mod bench;
mod config;
mod demo;
mod doctor;
mod drill;
mod follow;
mod init;
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
mod take_over;
mod timer;
mod verify;

use ::backup::{Error, ErrorKind};

use crate::application::Switch;
use crate::cli::{self, Cli, Command, Global, ProjectCommand, ScheduleCommand};
use crate::context::Context;
use crate::exit::Exit;
use crate::hints;
use crate::output::Output;
use crate::privilege;
use crate::report::render;
use crate::schedule::choice::as_maker;
use crate::step::{self, Step};
use crate::user::account;

/// Runs a command and renders its report. Root has left `switch` to a restore, to stop the application with.
pub fn run(cli: &Cli, output: &Output, switch: Option<Switch>) -> anyhow::Result<Exit> {
    match &cli.command {
        Command::Project(command) => run_in_project(&Context::new(&cli.global, output)?, command, switch),
        Command::Schedule(command) => run_on_schedule(&cli.global, output, command),
        Command::Doctor(args) => render(output, doctor::run(&cli.global, output, args)),
        Command::Init(args) => render(output, init::run(&cli.global, output, args)),
        Command::Demo(args) => render(output, demo::run(output, args)),
        Command::Bench(args) => render(output, bench::run(output, args)),
        Command::Completions { shell } => render(output, shell::completions(*shell)),
        Command::Man { dir } => render(output, shell::man(dir)),
    }
}

/// Whether a command changes something.
pub fn changes(command: &Command) -> bool {
    match command {
        Command::Project(ProjectCommand::Restore(args)) => !args.dry_run,
        Command::Project(ProjectCommand::Rotate(args)) => !args.dry_run,
        Command::Project(ProjectCommand::InstallTimer(args)) => !args.dry_run,
        Command::Project(ProjectCommand::InstallCron(args)) => !args.dry_run,
        Command::Schedule(ScheduleCommand::UninstallTimer(args)) => !args.dry_run,
        Command::Schedule(ScheduleCommand::UninstallCron(args)) => !args.dry_run,
        Command::Init(args) => !args.dry_run,
        Command::Project(
            ProjectCommand::List(_)
            | ProjectCommand::Status
            | ProjectCommand::Config(_)
            | ProjectCommand::Verify(_)
            | ProjectCommand::Drill(_),
        )
        | Command::Schedule(ScheduleCommand::Timer(_) | ScheduleCommand::Logs(_))
        | Command::Doctor(_)
        | Command::Demo(_)
        | Command::Bench(_)
        | Command::Completions { .. } => false,
        _ => true,
    }
}

fn run_in_project(context: &Context<'_>, command: &ProjectCommand, switch: Option<Switch>) -> anyhow::Result<Exit> {
    let may_make_folder =
        matches!(command, ProjectCommand::Backup(_) | ProjectCommand::InstallTimer(_) | ProjectCommand::InstallCron(_));
    if !may_make_folder {
        context.require_named_folder()?;
    }
    let unfinished_said = warn_of_unfinished_restore(context);
    let output = context.output;
    let result = match command {
        ProjectCommand::Backup(args) => render(output, backup::run(context, args)),
        ProjectCommand::Follow(args) => render(output, follow::run(context, args)),
        ProjectCommand::List(args) => render(output, list::run(context, args)),
        ProjectCommand::Restore(args) => render(output, restore::run(context, args, switch)),
        ProjectCommand::Verify(args) => render(output, verify::run(context, args)),
        ProjectCommand::Drill(args) => render(output, drill::run(context, args)),
        ProjectCommand::Rotate(args) => render(output, rotate::run(context, args)),
        ProjectCommand::Pin(args) => render(output, pin::run(context, args, true)),
        ProjectCommand::Unpin(args) => render(output, pin::run(context, args, false)),
        ProjectCommand::Accept(args) => render(output, accept::run(context, args)),
        ProjectCommand::TakeOver(args) => render(output, take_over::run(context, args)),
        ProjectCommand::Status => render(output, status::run(context, unfinished_said)),
        ProjectCommand::Config(cli::Config::Show) => render(output, config::show(context)),
        ProjectCommand::InstallTimer(args) => render(output, install_timer::install(context, args)),
        ProjectCommand::InstallCron(args) => render(output, install_cron::install(context, args)),
    };
    result.map_err(|error| hint_at_user(context, error))
}

/// Warns of a restore that did not finish, and says whether there is one. While this process is root's, it opens nothing in
/// a store that another user can write.
fn warn_of_unfinished_restore(context: &Context<'_>) -> bool {
    let may_open = !account::is_root() || privilege::writer(context).is_ok_and(|writer| writer.is_none());
    may_open && context.warn_of_unfinished_restore()
}

/// Where permission is denied, says which user has it: the backup user, or, if root has become another user for this
/// command, whoever owns the file.
fn hint_at_user(context: &Context<'_>, error: anyhow::Error) -> anyhow::Error {
    let Some(own) = error.downcast_ref::<Error>().filter(|own| own.kind() == ErrorKind::PermissionDenied) else {
        return error;
    };
    let hint = match account::became() {
        Some(account) => Some(hints::joined(hints::of(own).as_deref(), &account.hint())),
        None => backup_user(context).map(|maker| format!("run this as the backup user: {maker} ...")),
    };
    match hint {
        Some(hint) => Error::new(ErrorKind::PermissionDenied, own.one_line()).with_hint(hint).into(),
        None => error,
    }
}

fn backup_user(context: &Context<'_>) -> Option<Step> {
    as_maker(context, &step::shell().ok()?)
}

/// Commands on the schedule work with broken settings too: it must always be possible to see it and to remove it.
fn run_on_schedule(global: &Global, output: &Output, command: &ScheduleCommand) -> anyhow::Result<Exit> {
    let (context, broken) = Context::despite_settings(global, output)?;
    if let Some(broken) = broken {
        output.warn(&broken.one_line());
    }
    warn_of_unfinished_restore(&context);
    match command {
        ScheduleCommand::UninstallTimer(args) => render(output, install_timer::uninstall(&context, args)),
        ScheduleCommand::Timer(which) => render(output, timer::run(&context, which)),
        ScheduleCommand::RunNow(args) => render(output, run_now::run(&context, args)),
        ScheduleCommand::Logs(args) => render(output, logs::run(&context, args)),
        ScheduleCommand::UninstallCron(args) => render(output, install_cron::uninstall(&context, args)),
    }
}
