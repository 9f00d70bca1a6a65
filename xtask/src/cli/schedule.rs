//! Commands that work on a schedule.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::parse_duration;
use crate::config::unit_name::{UNIT_NAMES, is_unit_name};

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
