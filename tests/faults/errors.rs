//! Every system call fails once: the run reports it or does its work, and nothing is lost.

use crate::outcome::{check_messages, require};
use crate::scenario::{LARGE, SCENARIOS};
use crate::sweep::{self, Case, NOT_STRUCK, Place};

/// Calls that can fail. Some are the names of the same call on other machines.
const CALLS: &str = "open openat write pwrite64 fsync fdatasync rename renameat renameat2 link linkat unlink unlinkat \
                     rmdir mkdir mkdirat ftruncate flock fcntl mmap getdents64 clone3";

const ERRORS: [&str; 4] = ["error=ENOSPC", "error=EIO", "error=EACCES", "error=EINTR"];

/// Calls whose error a run may ignore and still do its work: the name, a part of what `strace` shows, and why.
const IGNORED: [(&str, &str, &str); 35] = [
    ("", "EINTR", "std and SQLite call again"),
    ("write", "/backups/.lock>", "who holds the lock stands in it for others to read"),
    ("ftruncate", "/backups/.lock>", "the same"),
    ("fcntl", "F_GETFD", "std asks so in a debug build, and is content with any answer"),
    ("fcntl", "F_GETLK", "SQLite takes it for a lock of somebody else's, and waits"),
    ("fcntl", "F_SETLK", "the same; what it can't unlock is unlocked when the file is closed"),
    (
        "",
        "/data/sessions.db",
        "what is committed is in the log still: the next who opens the database sees to the rest",
    ),
    ("openat", "/data\"", "SQLite opens it to sync it after a transaction, and doesn't depend on that"),
    ("fsync", "/data>", "the same"),
    (
        "",
        "/data/.sessions.db.restoring",
        "SQLite can read it otherwise, or is done with it; the next restore clears up",
    ),
    ("unlinkat", "/data>, \".sessions.db.restoring", "the same"),
    ("unlinkat", "AT_REMOVEDIR", "a folder with something in it is to stay"),
    (
        "openat",
        "O_PATH",
        "where nothing can be looked up, nothing is cleared up; a restore that can't look up a place fails",
    ),
    ("openat", "/proc/", "which file SQLite has opened is known by its path then"),
    ("getdents64", "/proc/", "the same"),
    ("", "/backups/.staging/scratch-", "the next run clears up"),
    ("", "/backups/.state", "the next backup is a full one, and says why"),
    ("mkdirat", "\".state\"", "the same"),
    ("openat", "\".state\"", "the same"),
    ("openat", "boot_id", "all pages are compared then"),
    ("openat", "\".env\", O_RDONLY", "whether it changed is not known then, so it is read again to be stored"),
    ("openat", "\"station_info.json\", O_RDONLY", "the same"),
    ("openat", "/backups>, \".staging\"", "who may not look into it sees what is published; the next run clears up"),
    ("getdents64", "/backups/.staging>", "the same"),
    (
        "openat",
        "/backups>, \"manifest_",
        "a manifest that can't be read says nothing against the others, and its backup stays",
    ),
    ("openat", "/backups\"", "whether an earlier restore is unfinished is not said then"),
    ("getdents64", "/backups>", "the same"),
    ("openat", "/backups>, \"history.jsonl\", O_RDONLY", "the same"),
    ("openat", "/backups>, \"store.json\", O_RDONLY", "the same"),
    ("write", "(2<", "who reads warnings may be gone"),
    ("openat", "/dev/urandom", "names of temporary files need not be hard to guess"),
    ("openat", "cgroup", "how many cores there are"),
    ("openat", "zoneinfo", "without a time zone, times are in UTC"),
    ("mmap", "", "malloc, SQLite and std have other ways; or it was for a thread, which comes next"),
    ("clone3", "", "without that thread, its work is done later, or nobody shows how far it is"),
];

fn may_be_ignored(call: &str) -> bool {
    IGNORED.iter().any(|(name, part, _)| call.starts_with(name) && call.contains(part))
}

/// All cases. A lock can't fail for lack of room, and SQLite and `flock` treat an interrupted one like a refused one.
fn cases(places: &[Place]) -> Vec<Case<'_>> {
    let mut cases = sweep::cases(places, CALLS, &ERRORS);
    let is_lock = |case: &Case<'_>| ["fcntl", "flock"].contains(&case.fault.call.as_str());
    cases.retain(|case| !is_lock(case) || ["error=EIO", "error=EACCES"].contains(&case.fault.what));
    cases
}

fn check(case: &Case<'_>) -> Result<&'static str, String> {
    let (project, ran, struck) = case.run();
    let told = |why: String| format!("{why}\n{struck:#?}\n=> {}\n{}", ran.code, ran.stderr);
    if struck.is_empty() {
        return require(ran.code == 0, || told("it failed without a fault".into())).map(|()| NOT_STRUCK);
    }
    require((0..128).contains(&ran.code), || told("it died".into()))?;
    // If the message itself could not be written, there is none.
    if !struck.iter().any(|call| call.starts_with("write(2<")) {
        check_messages(&ran, struck.len()).map_err(told)?;
    }
    let is_partly_done = ran.code == 3;
    require(ran.code == 0 || is_partly_done || case.place.expected.is_old(&project), || {
        told("it doesn't say that it has changed something".into())
    })?;
    if ran.code == 0 {
        let is_done = case.place.expected.is_done(&project) || struck.iter().all(|call| call.contains("manifest_"));
        require(is_done, || told("it didn't do its work".into()))?;
        // A backup is made even if the line of its begin can't be written, but the line of its end must be.
        let is_warned = ran.stderr.contains("warning: can't record in the ledger that this run began: ");
        require(is_warned || struck.iter().all(|call| may_be_ignored(call)), || {
            told("it went on as if nothing was".into())
        })?;
    }
    case.place.expected.check(&case.place.fixture, &project).map_err(told)?;
    Ok(if ran.code == 0 { "done" } else { "failed" })
}

#[test]
fn a_call_that_fails_is_told_of_and_loses_nothing() {
    let places = sweep::places(&SCENARIOS);
    sweep::run(&sweep::sample(cases(&places), 150), check);
}

#[test]
#[ignore = "minutes: cargo test --package xtask --test faults -- --ignored"]
fn every_call_that_fails_is_told_of_and_loses_nothing() {
    let places = sweep::places(SCENARIOS.split_last().unwrap().1);
    sweep::run(&cases(&places), check);
}

#[test]
#[ignore = "seconds: cargo test --package xtask --test faults -- --ignored"]
fn a_run_that_gets_no_thread_does_without_or_says_so() {
    let places = sweep::places(std::slice::from_ref(&LARGE));
    sweep::run(&sweep::cases(&places, "clone3", &["error=EAGAIN"]), check);
}
