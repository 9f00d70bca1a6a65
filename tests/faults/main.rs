//! Every system call of a run fails once, and the run is killed at every one: nothing may be lost.
//!
//! `strace` lets calls fail and sends signals. Cases that a plain `cargo test` runs are a sample, the same each time;
//! all of them run under `cargo test -- --ignored`.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should say so")]

mod errors;
mod kills;
mod outcome;
mod scenario;
mod strace;
#[path = "../cli/support.rs"]
#[allow(dead_code, reason = "shared with the other end-to-end tests")]
mod support;
mod sweep;
