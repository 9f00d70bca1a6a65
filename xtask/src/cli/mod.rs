//! The command line: types for clap, and nothing else.

mod project;
mod schedule;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::parse_duration;
pub use project::{AcceptArgs, Backup, Config, Drill, PinArgs, ProjectCommand, Restore, Rotate, TakeOver, Verify};
pub use schedule::{InstallCron, InstallTimer, Logs, RunNow, ScheduleCommand, UninstallCron, UninstallTimer, Which};

/// The name of this program where nobody says how it was called, and of the alias that runs it by cargo.
pub const NAME: &str = "xtask";

/// Backups of this project's databases and configuration that can be trusted: made from live databases, proved by
/// restoring them.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  failed; status: something has no sound copy that is young enough;
       timer: not scheduled, or the last run failed; doctor: a failure
    2  wrong usage or settings, or another project's backup folder
    3  partly done
   10  no such backup
   11  locked by another run
   12  verification found damage
  130  interrupted (143: terminated)";

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// The application's folder [default: the nearest one from here up that has ops/backup.toml]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The settings [default: ops/backup.toml below the root]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The backup folder, from where you are (in the settings: from the root) [default: as in the settings]
    #[arg(long, global = true, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// Print one JSON document on stdout, on failure too; all else goes to stderr
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more: every check, every removed file
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Colours: auto is on a terminal only, and not with NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// How long to wait for another run to end [default: as in the settings, 10s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    pub lock_wait: Option<Duration>,
    /// How long to wait for a locked database [default: as in the settings, 30s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    pub busy_timeout: Option<Duration>,
    /// Where to put decoded databases to check them [default: in the backup folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

/// Those flags that say where things are.
pub const PLACES: [&str; 3] = ["--root", "--config", "--backup-dir"];

/// When to use colours. (Its words speak for themselves: with help of their own, every help page doubles in length.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "see above")]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Those that work on a project.
    #[command(flatten)]
    Project(ProjectCommand),
    /// Those that work on its schedule.
    #[command(flatten)]
    Schedule(ScheduleCommand),
    /// Write settings for an application, after looking what is there
    Init(Init),
    /// Check all that backups depend on; exits with 1 on any failure
    Doctor(Doctor),
    /// Make a sample project and take it through the whole cycle
    Demo(Demo),
    /// Measure this program beside the tools that people use for the same
    Bench(Bench),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder
    Man {
        /// The folder
        dir: PathBuf,
    },
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Check the integrity of the live databases too, which reads them whole
    #[arg(long)]
    pub deep: bool,
}

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The application's folder [default: the current one]
    pub dir: Option<PathBuf>,
    /// Say what would be written, with -v the settings too, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Size of the sample database in megabytes
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub size_mb: u64,
    /// Where to make the sample project [default: target/demo of the Cargo workspace, or else backup-demo]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// What `--peers` takes: all that are installed, nobody, or these.
pub const PEERS: [&str; 10] =
    ["auto", "none", "python", "gzip", "pigz", "zstd", "restic", "borg", "rustic", "litestream"];

/// `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Size of the sample database in megabytes
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub size_mb: u64,
    /// How often each job is measured, after a first time that isn't
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// What to compare with, separated by commas; auto: all that are installed
    #[arg(long, value_name = "LIST", default_value = "auto", value_delimiter = ',', value_parser = PossibleValuesParser::new(PEERS))]
    pub peers: Vec<String>,
    /// Where to work; it is removed at the end [default: target/bench of the Cargo workspace, or else backup-bench]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}
