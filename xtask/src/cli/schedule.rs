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
    /// Show the state of the schedule; exits with 1 if there is none or the last run failed
    Timer(ScheduleChoice),
    /// Start the scheduled backup now, follow its journal, and exit with its status
    RunNow(RunNow),
    /// Show the journal of the schedule
    Logs(Logs),
}

/// One of the schedules that are installed for this project.
#[derive(Debug, Clone, Default, Args)]
pub struct ScheduleChoice {
    /// The schedule of your own service manager [default: the system's, if there is one]
    #[arg(long)]
    pub user: bool,
    /// The schedule whose units have this name
    #[arg(long, value_name = "NAME", value_parser = unit_name)]
    pub unit: Option<String>,
}

fn unit_name(text: &str) -> Result<String, String> {
    if is_unit_name(text) { Ok(text.into()) } else { Err(UNIT_NAMES.into()) }
}

/// `install-timer`.
#[derive(Debug, Args)]
pub struct InstallTimer {
    /// Install for your own service manager, without root; it also runs while you are logged out
    #[arg(long, conflicts_with = "run_as")]
    pub user: bool,
    /// When to back up, as in `OnCalendar=` of systemd [default: from the settings, else *-*-* 02:00:00]
    #[arg(long, value_name = "SPEC")]
    pub on_calendar: Option<String>,
    /// Delay the start by a random time, up to this; 0s: none [default: from the settings, else 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub randomized_delay: Option<Duration>,
    /// The user that it runs as [default: from the settings, else the owner of the application's folder]
    #[arg(long, value_name = "USER")]
    pub run_as: Option<String>,
    /// Allow it to run as root
    #[arg(long)]
    pub allow_root: bool,
    /// The name of the units [default: from the settings, else PROJECT-backup]
    #[arg(long, value_name = "NAME", value_parser = unit_name)]
    pub unit: Option<String>,
    /// Show every step, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Don't start the timers now; they start at the next boot
    #[arg(long)]
    pub no_start: bool,
    /// Replace units of that name, even if this program did not write them
    #[arg(long)]
    pub force: bool,
}

/// `uninstall-timer`.
#[derive(Debug, Args)]
pub struct UninstallTimer {
    /// The schedule.
    #[command(flatten)]
    pub which: ScheduleChoice,
    /// Show every step, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `run-now`.
#[derive(Debug, Args)]
pub struct RunNow {
    /// The schedule.
    #[command(flatten)]
    pub which: ScheduleChoice,
    /// Start the scheduled drill instead
    #[arg(long)]
    pub drill: bool,
}

/// `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// The schedule.
    #[command(flatten)]
    pub which: ScheduleChoice,
    /// Show new lines as they come, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// The last N lines; with --since, the first N [default: 50; with --since, all]
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    pub lines: Option<u32>,
    /// Lines since this time, as journalctl takes it: yesterday, "2025-12-10 02:00", -2h
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    pub since: Option<String>,
}

/// `install-cron`.
#[derive(Debug, Args)]
pub struct InstallCron {
    /// When to back up: minute, hour, day, month, weekday [default: from the settings, else 0 2 * * *]
    #[arg(long, value_name = "FIELDS")]
    pub schedule: Option<String>,
    /// Allow it to run as root
    #[arg(long)]
    pub allow_root: bool,
    /// Show every step, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `uninstall-cron`.
#[derive(Debug, Args)]
pub struct UninstallCron {
    /// Show every step, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}
