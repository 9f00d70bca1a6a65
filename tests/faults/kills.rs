//! A run is killed, or asked to stop, at every system call that changes something: nothing is lost or left half done.

use crate::outcome::{leftovers, require};
use crate::scenario::SCENARIOS;
use crate::sweep::{self, Case, NOT_STRUCK};

/// Calls that change what others can see. `strace` kills before the call, and all moments between two such calls are
/// equal. A file that an `open` creates is there at the next of them.
const CHANGES: &str = "write pwrite64 writev fsync fdatasync rename renameat renameat2 link linkat symlink unlink \
                       unlinkat rmdir mkdir mkdirat ftruncate fallocate flock fcntl chmod fchmod fchmodat chown fchown \
                       fchownat utimensat exit_group";

/// Calls at which a run is asked to stop.
const MOMENTS: &str = "openat read write pwrite64 fsync getdents64 unlink";

const STOPS: [&str; 2] = ["signal=INT", "signal=TERM"];

fn check_killed(case: &Case<'_>) -> Result<&'static str, String> {
    let (project, ran, _) = case.run();
    require([0, -1].contains(&ran.code), || format!("=> {}\n{}", ran.code, ran.stderr))?;
    case.place.expected.check(&case.place.fixture, &project)?;
    Ok(if ran.code == 0 { NOT_STRUCK } else { "killed" })
}

fn check_stopped(case: &Case<'_>) -> Result<&'static str, String> {
    let (project, ran, struck) = case.run();
    let told = |why: &str| format!("{why}\n=> {}\n{}", ran.code, ran.stderr);
    let expected = &case.place.expected;
    let code = if case.fault.what == STOPS[0] { 130 } else { 143 };
    // If two threads reach that number, the run gets two signals and ends at once; the next run removes what is left.
    if ran.code == -1 && struck.len() > 1 {
        return expected.check(&case.place.fixture, &project).map(|()| "asked twice").map_err(|why| told(&why));
    }
    let end = match ran.code {
        0 => {
            require(expected.is_done(&project), || told("it didn't do its work"))?;
            "done"
        }
        // The signal came before `main` could install a handler.
        -1 => {
            require(expected.is_untouched(&project), || told("it was killed, though it had begun"))?;
            "before it began"
        }
        other => {
            require(other == code, || told("another exit code"))?;
            let said = ran.stderr.lines().filter(|line| !line.starts_with("warning: "));
            require(said.eq(["error: interrupted"]), || told("another message"))?;
            "stopped"
        }
    };
    let left = leftovers(&project);
    require(left.is_empty(), || told(&format!("it leaves {left:?}")))?;
    expected.check(&case.place.fixture, &project).map_err(|why| told(&why))?;
    Ok(end)
}

#[test]
fn a_run_that_is_killed_loses_nothing() {
    let places = sweep::places(&SCENARIOS);
    sweep::run(&sweep::sample(sweep::cases(&places, CHANGES, &["signal=KILL"]), 60), check_killed);
}

#[test]
#[ignore = "minutes: cargo test --package xtask --test faults -- --ignored"]
fn a_run_that_is_killed_at_any_change_loses_nothing() {
    let places = sweep::places(&SCENARIOS);
    sweep::run(&sweep::cases(&places, CHANGES, &["signal=KILL"]), check_killed);
}

#[test]
fn a_run_that_is_asked_to_stop_clears_up_and_says_so() {
    let places = sweep::places(&SCENARIOS);
    sweep::run(&sweep::sample(sweep::cases(&places, MOMENTS, &STOPS), 60), check_stopped);
}

#[test]
#[ignore = "minutes: cargo test --package xtask --test faults -- --ignored"]
fn a_run_that_is_asked_to_stop_at_any_moment_clears_up_and_says_so() {
    let places = sweep::places(&SCENARIOS);
    sweep::run(&sweep::sample(sweep::cases(&places, MOMENTS, &STOPS), 300), check_stopped);
}
