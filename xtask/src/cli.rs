//! The command line: types for clap, and nothing else.

use std::path::PathBuf;
use std::time::Duration;

use crate::bench::peers;
use crate::config::parse_duration;
use crate::invocation;
use crate::schedule::unit_name::{UNIT_NAMES, is_any_unit, is_unit_name};
use backup::Codec;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

/// Backups of this project's databases and configuration that can be trusted: made from live databases, proved by
/// restoring them.
#[derive(Debug, Parser)]
#[command(name = invocation::NAME, version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses this process's arguments. Messages name the program as it was called.
    pub fn try_parse_as_called() -> Result<Self, clap::Error> {
        let mut command = Self::command().bin_name(invocation::program().join(" ")).display_name(invocation::title());
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
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

/// Commands that work on a project.
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// Back up databases and configuration, then rotate
    Backup(Backup),
    /// List all backups
    List,
    /// Put a backup's content back
    Restore(Restore),
    /// Check that backups are whole: hashes, integrity, row counts
    Verify(Verify),
    /// Rehearse a restore into a scratch folder, probe the result, measure the time
    Drill(Drill),
    /// Remove backups that the policy doesn't keep
    #[command(visible_alias = "prune")]
    Rotate(Rotate),
    /// Keep a backup from rotation
    Pin(PinArgs),
    /// Let rotation have a pinned backup again
    Unpin(PinArgs),
    /// Say that the collapse which a backup shows was meant: rotation may remove what is from before it
    Accept(AcceptArgs),
    /// Make the backup folder of another project this one's, or the backups of another host
    TakeOver(TakeOver),
    /// Say how things stand; exits with 1 if something has no sound copy that is young enough
    Status,
    /// Show which settings count, and where they come from
    #[command(subcommand)]
    Config(Config),
    /// Schedule a nightly backup and a weekly drill with systemd
    InstallTimer(InstallTimer),
    /// Schedule a nightly backup and a weekly drill with cron, on hosts without systemd
    InstallCron(InstallCron),
}

/// `config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// The settings with the defaults of all that they leave out, and which of them root follows
    Show,
}

/// Commands that work on an installed schedule.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Remove what install-timer installed; backups stay
    UninstallTimer(UninstallTimer),
    /// Remove what install-cron installed; backups stay
    UninstallCron(UninstallCron),
    /// Say how the schedule stands; exits with 1 if there is none or the last run failed
    Timer(Which),
    /// Start the scheduled backup now, follow its journal, and exit as it does
    RunNow(RunNow),
    /// Show the journal of the schedule
    Logs(Logs),
}

/// `backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// Databases only
    #[arg(long, conflicts_with = "config_only")]
    pub database_only: bool,
    /// Configuration only
    #[arg(long)]
    pub config_only: bool,
    /// Store plain files (the same as --codec none)
    #[arg(long, conflicts_with_all = ["codec", "level"])]
    pub no_compress: bool,
    /// How to encode: gzip, zstd or none [default: as in the settings, gzip]
    #[arg(long, value_name = "CODEC", value_parser = codec())]
    pub codec: Option<Codec>,
    /// How hard to compress: gzip 1 to 9, zstd 1 to 22 [default: as in the settings, 6 and 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub level: Option<i32>,
    /// Rotation never touches this backup
    #[arg(long)]
    pub pin: bool,
    /// Leave out SQLite's integrity check of what is saved: `verify`, `drill` and `restore` make it
    #[arg(long)]
    pub no_check: bool,
    /// Save a damaged database too, page by page as it is; the backup is partial, and no restore puts it back
    #[arg(long, conflicts_with = "no_check")]
    pub allow_damaged: bool,
    /// Leave out the rotation
    #[arg(long)]
    pub no_rotate: bool,
    /// Mark the backup as the schedule's and not a person's; under systemd that is known without it
    #[arg(long)]
    pub scheduled: bool,
}

fn codec() -> impl TypedValueParser<Value = Codec> {
    PossibleValuesParser::new(["gzip", "zstd", "none"]).try_map(|word| word.parse())
}

/// `restore`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["from", "undo"]))]
pub struct Restore {
    /// Which backup: latest, an id, the beginning of one, or the newest at or before a time ("2025-12-10 17:00", yesterday, "monday 10:00", "2 hours ago")
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// Put back what the last restore replaced; if that was one into another folder, name the folder again: --to DIR
    #[arg(long, conflicts_with_all = ["database_only", "config_only"])]
    pub undo: bool,
    /// Databases only
    #[arg(long, conflicts_with = "config_only")]
    pub database_only: bool,
    /// Configuration only
    #[arg(long)]
    pub config_only: bool,
    /// Restore into another folder (same relative paths below it)
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Restore paths too that the settings don't name; nothing ever goes below .git, .cargo or ops
    #[arg(long)]
    pub unlisted: bool,
    /// Say what would be written and what it would replace, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Don't ask before replacing anything
    #[arg(short, long)]
    pub yes: bool,
    /// Don't keep what is replaced, where there is no room for it: --undo can't put it back then. Asks for the project's
    /// name; without a terminal, say --no-keep=PROJECT
    #[arg(long, value_name = "PROJECT", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub no_keep: Option<String>,
    /// The application's unit, stopped while something is replaced [default: `stop_unit` in the settings; for root only in
    /// settings that nobody else can write]
    #[arg(long, value_name = "UNIT", value_parser = any_unit, conflicts_with = "no_stop")]
    pub stop: Option<String>,
    /// Let the application run on that the settings would stop (`stop_unit`)
    #[arg(long)]
    pub no_stop: bool,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Which backup, as for `restore` [default: the newest]
    #[arg(long, value_name = "WHEN", conflicts_with = "all", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
    /// Check databases whole, also those whose very bytes an earlier verify on this host checked
    #[arg(long)]
    pub full: bool,
}

/// `drill`.
#[derive(Debug, Args)]
pub struct Drill {
    /// Which backup, as for `restore` [default: the newest]
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    pub from: Option<String>,
}

/// A number of days or backups, up to a century of days.
fn count(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number <= 36_500);
    number.ok_or_else(|| "give a whole number from 0 to 36500".into())
}

/// `rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// Keep backups up to this age in days [default: as in the settings, 7]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub keep_days: Option<u32>,
    /// Keep the newest N
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub keep_last: Option<u32>,
    /// Keep the newest of each of N days
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub keep_daily: Option<u32>,
    /// Keep the newest of each of N weeks
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of each of N months
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub keep_monthly: Option<u32>,
    /// Keep the newest of each of N years
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub keep_yearly: Option<u32>,
    /// Say what would be removed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `pin` and `unpin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Which backup, as for `restore --from`
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `accept`.
#[derive(Debug, Args)]
pub struct AcceptArgs {
    /// The backup that shows it, as for `restore --from`
    #[arg(value_name = "ID")]
    pub id: String,
    /// Take that back
    #[arg(long)]
    pub undo: bool,
}

/// `take-over`.
#[derive(Debug, Args)]
pub struct TakeOver {
    /// Count the backups of that host, which this folder holds and doesn't count, as this project's
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Don't ask before
    #[arg(short, long)]
    pub yes: bool,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Check the integrity of the live databases too, which reads them whole
    #[arg(long)]
    pub deep: bool,
}

/// Which schedule, of what is installed for this project.
#[derive(Debug, Clone, Default, Args)]
pub struct Which {
    /// The one of your own service manager [default: the system's, if there is one]
    #[arg(long)]
    pub user: bool,
    /// The one whose units are called NAME
    #[arg(long, value_name = "NAME", value_parser = unit_name)]
    pub unit: Option<String>,
}

fn unit_name(text: &str) -> Result<String, String> {
    if is_unit_name(text) { Ok(text.into()) } else { Err(UNIT_NAMES.into()) }
}

fn any_unit(text: &str) -> Result<String, String> {
    let taken = is_any_unit(text).then(|| text.into());
    taken.ok_or_else(|| "write it as `systemctl stop` takes it: charger-api.service".into())
}

/// `install-timer`.
#[derive(Debug, Args)]
pub struct InstallTimer {
    /// Install for your own service manager, without root; it will run while you are not logged in too
    #[arg(long, conflicts_with = "run_as")]
    pub user: bool,
    /// When to back up, as systemd writes it [default: as in the settings, *-*-* 02:00:00]
    #[arg(long, value_name = "SPEC")]
    pub on_calendar: Option<String>,
    /// How much later it may begin, at random; 0s is on time [default: as in the settings, 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub randomized_delay: Option<Duration>,
    /// Who it runs as [default: as in the settings, the owner of the application's folder]
    #[arg(long, value_name = "USER")]
    pub run_as: Option<String>,
    /// Let it run as root
    #[arg(long)]
    pub allow_root: bool,
    /// What the units are called [default: as in the settings, PROJECT-backup]
    #[arg(long, value_name = "NAME", value_parser = unit_name)]
    pub unit: Option<String>,
    /// Show every step and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Don't start the timers before the machine does
    #[arg(long)]
    pub no_start: bool,
    /// Replace units of that name that this program did not write
    #[arg(long)]
    pub force: bool,
}

/// `uninstall-timer`.
#[derive(Debug, Args)]
pub struct UninstallTimer {
    /// Which one.
    #[command(flatten)]
    pub which: Which,
    /// Show every step and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `run-now`.
#[derive(Debug, Args)]
pub struct RunNow {
    /// Which one.
    #[command(flatten)]
    pub which: Which,
    /// Start the scheduled drill instead
    #[arg(long)]
    pub drill: bool,
}

/// `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Which one.
    #[command(flatten)]
    pub which: Which,
    /// Go on as new lines come, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// The last N lines, or with --since the first N [default: 50, or all since --since]
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    pub lines: Option<u32>,
    /// Since when, as journalctl takes it: yesterday, "2025-12-10 02:00", -2h
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    pub since: Option<String>,
}

/// `install-cron`.
#[derive(Debug, Args)]
pub struct InstallCron {
    /// When to back up: minute, hour, day, month, weekday [default: as in the settings, 0 2 * * *]
    #[arg(long, value_name = "FIELDS")]
    pub schedule: Option<String>,
    /// Let it run as root
    #[arg(long)]
    pub allow_root: bool,
    /// Show every step and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `uninstall-cron`.
#[derive(Debug, Args)]
pub struct UninstallCron {
    /// Show every step and change nothing
    #[arg(long)]
    pub dry_run: bool,
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
    #[arg(long, value_name = "LIST", default_value = "auto", value_delimiter = ',', value_parser = peers())]
    pub peers: Vec<String>,
    /// Where to work; it is removed at the end [default: target/bench of the Cargo workspace, or else backup-bench]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

fn peers() -> PossibleValuesParser {
    PossibleValuesParser::new(peers::choices())
}
