//! The command line: types for clap, and nothing else.

mod project;
mod schedule;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::parse_duration;
pub use project::{
    AcceptArgs, Backup, Config, Drill, Follow, List, PinArgs, ProjectCommand, Restore, Rotate, TakeOver, Verify,
};
pub use schedule::{
    InstallCron, InstallTimer, Logs, RunNow, ScheduleChoice, ScheduleCommand, UninstallCron, UninstallTimer,
};

/// The name of this program in messages, and of the alias that runs it by cargo.
pub const NAME: &str = "xtask";

/// Backups of this project's databases and configuration that can be trusted: taken from live databases, proved by
/// restoring them.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  failed; status: a source has no recent sound copy;
       timer: not scheduled, or the last run failed; doctor: a failure
    2  wrong usage or settings, or another project's backup folder
    3  partly done
   10  no such backup
   11  locked by another run
   12  verification found damage
  130  interrupted (143: terminated)";

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The application's folder [default: the nearest one with ops/backup.toml, from the current folder up]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The settings file [default: ops/backup.toml in the application's folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The backup folder, relative to the current folder [default: from the settings]
    #[arg(long, global = true, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// Print one JSON document on stdout, even on failure; everything else goes to stderr
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more, such as every check and every removed file
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// How long to wait for another run to end [default: from the settings, else 10s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    pub lock_wait: Option<Duration>,
    /// How long to wait for a locked database [default: from the settings, else 30s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    pub busy_timeout: Option<Duration>,
    /// The folder for decoded databases while they are checked [default: one in the backup folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

/// The flags that say where things are.
pub const PLACES: [&str; 3] = ["--root", "--config", "--backup-dir"];

/// When to use colours. (The values have no help of their own: it would double the length of every help page.)
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
    /// Commands that work on a project.
    #[command(flatten)]
    Project(ProjectCommand),
    /// Commands that work on its schedule.
    #[command(flatten)]
    Schedule(ScheduleCommand),
    /// Find an application's databases and configuration files, and write settings for them
    Init(Init),
    /// Check everything that backups depend on; exits with 1 if a check fails
    Doctor(Doctor),
    /// Make a sample project, back it up, lose it and restore it
    Demo(Demo),
    /// Compare the speed of this program with that of similar tools
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
    /// Also check the integrity of the live databases, which reads all of them
    #[arg(long)]
    pub deep: bool,
}

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The application's folder [default: the current one]
    pub dir: Option<PathBuf>,
    /// Show what would be written, and change nothing; with -v, show the settings too
    #[arg(long)]
    pub dry_run: bool,
}

/// `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Size of the sample database in megabytes
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub size_mb: u64,
    /// The folder for the sample project [default: target/demo in the Cargo workspace, else backup-demo]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// The values of `--peers`: all that are installed, none, or these.
pub const PEERS: [&str; 10] =
    ["auto", "none", "python", "gzip", "pigz", "zstd", "restic", "borg", "rustic", "litestream"];

/// The values of `--jobs`.
pub const JOBS: [&str; 9] =
    ["backup", "restore", "verify", "small", "again", "again-scattered", "again-unchanged", "points", "follow"];

/// `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Size of the sample database in megabytes
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub size_mb: u64,
    /// How often to measure each job, after one warm-up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// The tools to compare with, separated by commas; auto: all that are installed
    #[arg(long, value_name = "LIST", default_value = "auto", value_delimiter = ',', value_parser = PossibleValuesParser::new(PEERS))]
    pub peers: Vec<String>,
    /// The jobs to measure, separated by commas [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = PossibleValuesParser::new(JOBS))]
    pub jobs: Vec<String>,
    /// For how many seconds to measure each that follows the database
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub follow_seconds: u64,
    /// The folder to work in, removed at the end [default: target/bench in the Cargo workspace, else backup-bench]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}
