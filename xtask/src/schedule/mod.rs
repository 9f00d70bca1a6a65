//! The schedule: what makes the nightly backup and the weekly drill happen, by systemd or by cron.
//!
//! What is installed is rendered from the settings, the flags and the project's place. It carries what it was made from,
//! so that it can be found by the project it is for, and held against what would be rendered today.

pub mod conflict;
pub mod cron;
mod difference;
mod folders;
mod identity;
pub mod journal;
mod lock;
pub mod problem;
pub mod program;
pub mod spec;
mod steps;
pub mod timer;
pub mod timers;
pub mod units;
pub mod which;
