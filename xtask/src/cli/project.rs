//! Commands that work on a project.

use std::path::PathBuf;

use backup::Codec;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::schedule::{InstallCron, InstallTimer};
use crate::config::unit_name::is_any_unit;

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

fn any_unit(text: &str) -> Result<String, String> {
    let taken = is_any_unit(text).then(|| text.into());
    taken.ok_or_else(|| "write it as `systemctl stop` takes it: charger-api.service".into())
}
