//! The schedule of the nightly backup and the weekly drill, by systemd or by cron.
//!
//! Units and crontab lines are rendered from the settings, the flags and the project's place. They contain a line that says
//! what they were made from. By it they are found, and compared with what would be rendered now.

pub mod choice;
pub mod conflict;
pub mod cron;
mod difference;
mod folders;
pub mod identity;
pub mod journal;
mod lock;
pub mod problem;
pub mod program;
pub mod spec;
mod steps;
pub mod timer;
pub mod timers;
mod unit_text;
pub mod units;
