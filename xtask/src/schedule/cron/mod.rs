//! The schedule in a crontab, for hosts without systemd.

mod block;
pub mod install;
pub mod table;
