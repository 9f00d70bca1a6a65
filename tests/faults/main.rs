//! Every system call of a run fails once, and the run is killed at every one: nothing may be lost.
//!
//! And the power fails after every change: all that may be on the disk then is looked at.
//!
//! `strace` lets calls fail and sends signals. Cases that a plain `cargo test` runs are a sample, the same each time;
//! all of them run under `cargo test -- --ignored`.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should say so")]

mod disk;
mod errors;
mod kills;
mod outcome;
mod replay;
mod scenario;
mod strace;
#[path = "../cli/support.rs"]
#[allow(dead_code, reason = "shared with the other end-to-end tests")]
mod support;
mod sweep;
