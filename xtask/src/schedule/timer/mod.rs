//! The schedule as systemd's timers: what is installed, installing and removing it.

mod files;
mod flags;
pub mod install;
pub mod installation;
mod older;
mod start;
mod traces;
pub mod uninstall;
