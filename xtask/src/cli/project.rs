//! Commands that work on a project.

use std::path::PathBuf;
use std::time::Duration;

use backup::Codec;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::schedule::{InstallCron, InstallTimer};
use crate::config::parse_interval;
use crate::config::unit_name::is_any_unit;

/// Commands that work on a project.
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// Back up databases and configuration, then rotate
    Backup(Backup),
    /// Stay, and save what changed at every interval and on SIGHUP; SIGTERM or Ctrl-C ends it after a last time
    Follow(Follow),
    /// List all backups
    List(List),
    /// Restore databases and configuration from a backup
    Restore(Restore),
    /// Read backups back and check them: hashes, integrity, row counts
    Verify(Verify),
    /// Rehearse a restore into a scratch folder, probe the result, measure the time
    Drill(Drill),
    /// Remove backups that the policy doesn't keep
    #[command(visible_alias = "prune")]
    Rotate(Rotate),
    /// Pin a backup, so that rotation never removes it
    Pin(PinArgs),
    /// Unpin a backup, so that rotation may remove it
    Unpin(PinArgs),
    /// Confirm that the collapse in a backup was intended, so that rotation may remove older backups
    Accept(AcceptArgs),
    /// Take over the backup folder of another project, or count the backups of another host
    TakeOver(TakeOver),
    /// Show how things stand; exits with 1 if a source has no recent sound copy
    Status,
    /// Show the settings in effect, and where they come from
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
    /// Show all settings, defaults included, and which of them root follows
    Show,
}

/// `backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// Save only what changed since the newest backup; nothing if nothing changed. A full backup if there is nothing to continue
    #[arg(long, conflicts_with_all = ["full", "database_only", "config_only", "allow_damaged"])]
    pub incremental: bool,
    /// Save everything, as without this flag
    #[arg(long)]
    pub full: bool,
    /// Databases only
    #[arg(long, conflicts_with = "config_only")]
    pub database_only: bool,
    /// Configuration only
    #[arg(long)]
    pub config_only: bool,
    /// Don't compress (the same as --codec none)
    #[arg(long, conflicts_with_all = ["codec", "level"])]
    pub no_compress: bool,
    /// Compression: gzip, zstd or none [default: from the settings, else gzip]
    #[arg(long, value_name = "CODEC", value_parser = codec())]
    pub codec: Option<Codec>,
    /// Compression level: gzip 1 to 9, zstd 1 to 22 [default: from the settings, else 6 for gzip, 1 for zstd]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub level: Option<i32>,
    /// Pin this backup, so that rotation never removes it
    #[arg(long)]
    pub pin: bool,
    /// Skip SQLite's integrity check of the databases; `verify`, `drill` and `restore` make it then
    #[arg(long)]
    pub no_check: bool,
    /// Save a damaged database too, byte for byte; the backup is partial, and `restore` refuses that database
    #[arg(long, conflicts_with = "no_check")]
    pub allow_damaged: bool,
    /// Don't rotate afterwards
    #[arg(long)]
    pub no_rotate: bool,
    /// Mark the backup as scheduled, not manual; under systemd this is automatic
    #[arg(long)]
    pub scheduled: bool,
}

/// `follow`.
#[derive(Debug, Args)]
pub struct Follow {
    /// How often [default: `every` of the settings]
    #[arg(long, value_name = "DURATION", value_parser = parse_interval)]
    pub every: Option<Duration>,
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
    /// Undo the last restore: put back what it replaced; if it was into another folder, add --to DIR
    #[arg(long, conflicts_with_all = ["database_only", "config_only"])]
    pub undo: bool,
    /// Databases only
    #[arg(long, conflicts_with = "config_only")]
    pub database_only: bool,
    /// Configuration only
    #[arg(long)]
    pub config_only: bool,
    /// Restore into another folder, to the same relative paths
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Also restore paths that the settings don't name, but never below .git, .cargo or ops
    #[arg(long)]
    pub unlisted: bool,
    /// Show what would be written and replaced, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Don't ask before replacing anything
    #[arg(short, long)]
    pub yes: bool,
    /// Don't keep what is replaced, if there is no room for it; --undo can't put it back then. Asks for the project's
    /// name; without a terminal, give --no-keep=PROJECT
    #[arg(long, value_name = "PROJECT", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub no_keep: Option<String>,
    /// The application's unit, to stop during the restore [default: `stop_unit` in the settings; root uses that only if
    /// nobody else can write the settings]
    #[arg(long, value_name = "UNIT", value_parser = any_unit, conflicts_with = "no_stop")]
    pub stop: Option<String>,
    /// Keep the application running, whatever `stop_unit` in the settings says
    #[arg(long)]
    pub no_stop: bool,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Which backup, as for `restore` [default: the newest]
    #[arg(long, value_name = "WHEN", conflicts_with = "all", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// All backups
    #[arg(long)]
    pub all: bool,
    /// Check every database, even if an earlier verify on this host checked the same bytes
    #[arg(long)]
    pub full: bool,
}

/// `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Every point of each chain of increments
    #[arg(long)]
    pub points: bool,
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
    /// Keep backups up to this age in days [default: from the settings, else 7]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub keep_days: Option<u32>,
    /// Keep the newest N backups
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub keep_last: Option<u32>,
    /// Keep the newest backup of each of N days
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub keep_daily: Option<u32>,
    /// Keep the newest backup of each of N weeks
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub keep_weekly: Option<u32>,
    /// Keep the newest backup of each of N months
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub keep_monthly: Option<u32>,
    /// Keep the newest backup of each of N years
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub keep_yearly: Option<u32>,
    /// Show what would be removed, and change nothing
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
    /// The backup that shows the collapse, as for `restore --from`
    #[arg(value_name = "ID")]
    pub id: String,
    /// Take the confirmation back
    #[arg(long)]
    pub undo: bool,
}

/// `take-over`.
#[derive(Debug, Args)]
pub struct TakeOver {
    /// Count the backups of this host, which are in the folder but don't count yet
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Don't ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}

fn any_unit(text: &str) -> Result<String, String> {
    let taken = is_any_unit(text).then(|| text.into());
    taken.ok_or_else(|| "write it as `systemctl stop` takes it: charger-api.service".into())
}
