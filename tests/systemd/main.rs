//! End-to-end tests of the schedule on a real systemd, each on a machine of its own.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should say so")]

mod host;
mod machine;
mod restore;
#[path = "../cli/support.rs"]
#[allow(dead_code, reason = "shared with the other end-to-end tests")]
mod support;

mod doctor;
mod follow;
mod install;
mod renewal;
mod run;
mod sandbox;
mod user;
