//! Every system call of a run fails once, and the run is killed at every one: nothing may be lost.
//!
//! And the power fails after every change: every state that the disk may have then is checked.
//!
//! `strace` makes calls fail and sends signals. A plain `cargo test` runs a sample of the cases, the same each time;
//! `cargo test -- --ignored` runs all of them.

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
