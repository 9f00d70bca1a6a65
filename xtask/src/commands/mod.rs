//! One file for each command: options in, one library call, render.

mod accept;
mod backup;
mod bench;
mod config;
mod demo;
mod doctor;
mod drill;
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
use crate::output::Output;
use crate::privilege;
use crate::schedule::which::as_maker;
use crate::step;
use crate::user::account;

/// Carries a command out. `switch` is what root has left a restore to stop the application with.
pub fn run(cli: &Cli, output: &Output, switch: Option<Switch>) -> anyhow::Result<Exit> {
    match &cli.command {
        Command::Project(command) => run_in_project(&Context::new(&cli.global, output)?, command, switch),
        Command::Schedule(command) => run_on_schedule(&cli.global, output, command),
        Command::Doctor(args) => doctor::run(&cli.global, output, args),
        Command::Init(args) => init::run(&cli.global, output, args),
        Command::Demo(args) => demo::run(output, args),
        Command::Bench(args) => bench::run(output, args),
        Command::Completions { shell } => shell::completions(output, *shell),
        Command::Man { dir } => shell::man(output, dir),
    }
}

/// Whether a command is asked to change something, and not only to tell.
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
            ProjectCommand::List
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
    warn_of_unfinished_restore(context);
    let result = match command {
        ProjectCommand::Backup(args) => backup::run(context, args),
        ProjectCommand::List => list::run(context),
        ProjectCommand::Restore(args) => restore::run(context, args, switch),
        ProjectCommand::Verify(args) => verify::run(context, args),
        ProjectCommand::Drill(args) => drill::run(context, args),
        ProjectCommand::Rotate(args) => rotate::run(context, args),
        ProjectCommand::Pin(args) => pin::run(context, args, true),
        ProjectCommand::Unpin(args) => pin::run(context, args, false),
        ProjectCommand::Accept(args) => accept::run(context, args),
        ProjectCommand::TakeOver(args) => take_over::run(context, args),
        ProjectCommand::Status => status::run(context),
        ProjectCommand::Config(cli::Config::Show) => config::show(context),
        ProjectCommand::InstallTimer(args) => install_timer::install(context, args),
        ProjectCommand::InstallCron(args) => install_cron::install(context, args),
    };
    result.map_err(|error| hint_at_user(context, error))
}

/// A command that stays root's opens nothing in a store of another user's.
fn warn_of_unfinished_restore(context: &Context<'_>) {
    if !account::is_root() || privilege::writer(context).is_ok_and(|writer| writer.is_none()) {
        context.warn_of_unfinished_restore();
    }
}

/// Says who may do what this user may not: the backup user, or whoever owns what this process, once root's, can't open.
fn hint_at_user(context: &Context<'_>, error: anyhow::Error) -> anyhow::Error {
    let Some(own) = error.downcast_ref::<Error>().filter(|own| own.kind() == ErrorKind::PermissionDenied) else {
        return error;
    };
    let hint = match account::became() {
        Some(account) => Some([own.hint(), Some(&account.hint())].into_iter().flatten().collect::<Vec<_>>().join("; ")),
        None => step::shell()
            .ok()
            .and_then(|shell| as_maker(context, &shell))
            .map(|maker| format!("run this as the backup user: {maker} ...")),
    };
    match hint {
        Some(hint) => Error::new(ErrorKind::PermissionDenied, own.one_line()).with_hint(hint).into(),
        None => error,
    }
}

/// Settings that can't be read must not keep anybody from looking at the schedule, or from removing it.
fn run_on_schedule(global: &Global, output: &Output, command: &ScheduleCommand) -> anyhow::Result<Exit> {
    let (context, broken) = Context::despite_settings(global, output)?;
    if let Some(broken) = broken {
        output.warn(&broken.one_line());
    }
    warn_of_unfinished_restore(&context);
    match command {
        ScheduleCommand::UninstallTimer(args) => install_timer::uninstall(&context, args),
        ScheduleCommand::Timer(which) => timer::run(&context, which),
        ScheduleCommand::RunNow(args) => run_now::run(&context, args),
        ScheduleCommand::Logs(args) => logs::run(&context, args),
        ScheduleCommand::UninstallCron(args) => install_cron::uninstall(&context, args),
    }
}
