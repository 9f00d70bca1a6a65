//! Checks of where backups go, and of those that are there.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use backup::status::{self, Status};
use backup::{Catalog, Command, ErrorKind, History, Outcome, Store as _};
use chrono::TimeDelta;
use xshell::{Shell, cmd};

use super::{Finding, backup_folder};
use crate::context::Context;
use crate::schedule::steps::{Step, word};
use crate::schedule::timers::Schedule;
use crate::text::{age, count, printable, size};

/// The schedule drills once a week: two of these in a row went wrong, or were not made.
const DRILL_MAX_AGE_S: u64 = 15 * 24 * 60 * 60;

pub fn examine(context: &Context<'_>, shell: &Shell, schedule: Option<&Schedule>) -> Vec<Finding> {
    let folder = context.store.folder();
    let found = match fs::metadata(folder) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => return vec![folder_finding(folder, "is not a folder", "move it away, or set another `backup_dir`")],
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return vec![folder_finding(folder, "doesn't exist", "make a first backup: cargo xtask backup")];
        }
        Err(e) => {
            let why = format!("can't be looked at: {e}");
            return vec![folder_finding(folder, &why, "check the modes of the folders above it")];
        }
    };
    let mut findings = vec![
        backup_folder(context, shell, schedule.and_then(|schedule| schedule.user.as_deref())),
        disk(context, folder, &found),
        Finding::of("ignored by git", git(context, shell, folder)),
    ];
    match context.catalog().and_then(|catalog| Ok((catalog, context.history()?))) {
        Ok((catalog, history)) => findings.extend(inside(context, &catalog, &history)),
        // What is true of all that is in it needs to be said but once.
        Err(error) => findings.push(Finding::of("backups", closed(context, shell, schedule, error))),
    }
    findings
}

/// Why nothing can be said of what is in the folder.
fn closed(
    context: &Context<'_>,
    shell: &Shell,
    schedule: Option<&Schedule>,
    error: anyhow::Error,
) -> anyhow::Result<Finding> {
    match error.downcast_ref::<backup::Error>() {
        Some(own) if own.kind() == ErrorKind::PermissionDenied => {
            // The installed copy, which its owner can run.
            let this = std::env::current_exe().context("find this program's file")?;
            let program = schedule.map_or(this.as_path(), |schedule| &schedule.program.path);
            let owner = owner_name(shell, context.store.folder())?;
            let words = [vec!["sudo", "-u", &owner, word(program)?], vec!["--root", word(&context.root)?, "doctor"]];
            let hint = format!("ask as {owner}: {}", Step::new(words.concat()));
            Ok(Finding::failure("backups", own.one_line(), hint))
        }
        _ => Err(error),
    }
}

fn owner_name(shell: &Shell, folder: &Path) -> anyhow::Result<String> {
    cmd!(shell, "stat -c %U -- {folder}").quiet().read().context("look up the folder's owner")
}

fn inside(context: &Context<'_>, catalog: &Catalog, history: &History) -> [Finding; 6] {
    let free = context.store.free_bytes().ok().flatten();
    let status = status::status(catalog, history, context.now, context.config.status.max_age, free);
    [
        Finding::of("lock", lock(context)),
        Finding::of("staging", staging(context)),
        space(catalog, &status),
        newest(&status),
        drill(context, history),
        order(context, catalog),
    ]
}

fn folder_finding(folder: &Path, what: &str, hint: &str) -> Finding {
    Finding::failure("backup folder", format!("{} {what}", folder.display()), hint)
}

/// Whose the folder is, and who can look into it.
pub fn owner(context: &Context<'_>, shell: &Shell, user: Option<&str>) -> anyhow::Result<Finding> {
    let (check, folder) = ("backup folder", context.store.folder());
    let name = folder.display();
    let found = fs::metadata(folder).with_context(|| format!("look at {name}"))?;
    let (wanted, whose) = if let Some(user) = user {
        let uid = cmd!(shell, "id -u -- {user}").quiet().read().context("look up who makes the backups")?;
        (uid, format!("backups are made as {user}"))
    } else {
        let root = fs::metadata(&context.root).context("look at the project's folder")?;
        (root.uid().to_string(), "the project's folder does not".into())
    };
    if found.uid().to_string() != wanted {
        let detail = format!("{name} belongs to {}, but {whose}", owner_name(shell, folder)?);
        let user = user.map_or(wanted, str::to_string);
        return Ok(Finding::failure(check, detail, format!("chown -R {user}: {name}")));
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        let detail = format!("{name} can be read by others (mode {mode:04o}); its files can't");
        return Ok(Finding::warning(check, detail, format!("chmod 700 {name}")));
    }
    Ok(Finding::ok(check, format!("{name}, mode {mode:04o}")))
}

/// Whether the disk that breaks takes both.
fn disk(context: &Context<'_>, folder: &Path, found: &Metadata) -> Finding {
    let check = "file system";
    // Folders, since an overlay knows its files by the disks below it.
    let databases = context.config.database.iter().map(|database| database.path.under(&context.root));
    let folders = databases.filter_map(|path| fs::metadata(path.canonicalize().ok()?.parent()?).ok());
    let together = folders.map(|folder| folder.dev()).any(|device| device == found.dev());
    if !together {
        return Finding::ok(check, format!("{} is on another one than the databases", folder.display()));
    }
    Finding::warning(
        check,
        "backups and databases are on the same: what breaks it takes both",
        "set `backup_dir` to another disk, or copy the folder to another machine regularly",
    )
}

fn git(context: &Context<'_>, shell: &Shell, folder: &Path) -> anyhow::Result<Finding> {
    let (check, root) = ("ignored by git", &context.root);
    if !folder.starts_with(root) || !root.ancestors().any(|folder| folder.join(".git").exists()) {
        return Ok(Finding::ok(check, "it is in no git repository"));
    }
    let asked = cmd!(shell, "git -C {root} check-ignore --quiet -- {folder}").quiet().ignore_status();
    let output = asked.output().context("ask git")?;
    let name = folder.strip_prefix(root).unwrap_or(folder);
    Ok(match output.status.code() {
        Some(0) => Finding::ok(check, "yes"),
        Some(1) => Finding::failure(
            check,
            "no: backups, secrets and all, could be committed",
            format!("echo '/{}/' >> {}", name.display(), root.join(".gitignore").display()),
        ),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("git said nothing").to_string();
            Finding::warning(check, format!("not known: {said}"), "run doctor as the owner of the repository")
        }
    })
}

fn lock(context: &Context<'_>) -> anyhow::Result<Finding> {
    Ok(match context.store.lock_holder()? {
        None => Finding::ok("lock", "free"),
        Some(holder) => Finding::warning(
            "lock",
            printable(&format!("held by {holder}")),
            "it is given back when that run ends, however it ends",
        ),
    })
}

fn staging(context: &Context<'_>) -> anyhow::Result<Finding> {
    let staged = context.store.list_staged()?.len();
    let busy = context.store.lock_holder()?.is_some();
    Ok(match staged {
        0 => Finding::ok("staging", "empty"),
        _ if busy => Finding::ok("staging", format!("{} of the run that holds the lock", count(staged, "file"))),
        _ => Finding::warning(
            "staging",
            format!("{} left by a run that was cut short", count(staged, "file")),
            "the next run removes them by itself: cargo xtask backup",
        ),
    })
}

fn space(catalog: &Catalog, status: &Status) -> Finding {
    let check = "free space";
    let newest = status.last_success.as_ref().and_then(|last| catalog.get(last.id?).ok()?.manifest());
    let (free, newest) = match (status.free_bytes, newest) {
        (None, _) => return Finding::warning(check, "not known", "ask the system: df -h"),
        (Some(free), None) => {
            return Finding::ok(check, format!("{}; what a backup takes is not known yet", size(free)));
        }
        (Some(free), Some(newest)) => (free, newest),
    };
    // A snapshot is staged as it is before it is encoded.
    let needed = newest.stored_bytes().saturating_mul(2).saturating_add(newest.plain_bytes());
    let detail = format!("{}; two more backups, with room to make them, take {}", size(free), size(needed));
    if free >= needed {
        return Finding::ok(check, detail);
    }
    Finding::failure(check, detail, "make room (df -h), or remove old backups: cargo xtask rotate --keep-days 3")
}

fn newest(status: &Status) -> Finding {
    let check = "newest backup";
    let limit = age(status.max_age_s);
    let hint = "make one now: cargo xtask backup; then see why there was none: cargo xtask logs";
    match &status.last_success {
        None => Finding::failure(check, "there is no complete backup", hint),
        Some(last) if status.fresh => Finding::ok(check, format!("{} old, complete", age(last.age_s))),
        Some(last) => {
            Finding::failure(check, format!("{} old, and it should be younger than {limit}", age(last.age_s)), hint)
        }
    }
}

fn drill(context: &Context<'_>, history: &History) -> Finding {
    let (check, now) = ("last drill", "rehearse a restore now: cargo xtask drill");
    let Some(last) = history.lines().iter().rev().find(|line| line.command == Command::Drill) else {
        return Finding::warning(check, "never: nobody knows whether a restore works", now);
    };
    let age_s = u64::try_from((context.now - last.at).num_seconds()).unwrap_or(0);
    let ago = age(age_s);
    match last.outcome {
        Outcome::Ok if age_s <= DRILL_MAX_AGE_S => Finding::ok(check, format!("{ago} ago, passed")),
        Outcome::Ok => Finding::warning(check, format!("{ago} ago"), now),
        _ => Finding::failure(check, format!("{ago} ago, failed"), "see why: cargo xtask drill -v"),
    }
}

/// Whether time goes forward.
fn order(context: &Context<'_>, catalog: &Catalog) -> Finding {
    let check = "newest backup and clock";
    let ahead = catalog.last_id().map_or(TimeDelta::zero(), |last| last.time() - context.now.to_utc());
    // Backups of one second are dated a second apart.
    if ahead <= TimeDelta::minutes(1) {
        return Finding::ok(check, "in order");
    }
    let ahead = age(ahead.num_seconds().unsigned_abs());
    Finding::failure(check, format!("the backup is dated {ahead} ahead of the clock"), "set the clock: timedatectl")
}
