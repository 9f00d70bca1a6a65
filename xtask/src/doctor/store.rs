//! Checks of where backups go, and of those that are there.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use backup::status::{Concern, Severity, Status};
use backup::{Catalog, Ledger, LocalStore as _, Outcome};
use rustix::fs::StatVfsMountFlags;
use xshell::{Shell, cmd};

use super::{Finding, backup_folder};
use crate::context::Context;
use crate::schedule::steps::Step;
use crate::schedule::timers::Schedule;
use crate::schedule::{maker, systemd};
use crate::text::{age, count, size};
use crate::words;

pub fn examine(context: &Context<'_>, shell: &Shell, schedule: Option<&Schedule>) -> Vec<Finding> {
    let folder = context.store.folder();
    let failure =
        |what: &str, hint: &str| vec![Finding::failure("backup folder", format!("{} {what}", folder.display()), hint)];
    let found = match fs::metadata(folder) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => return failure("is not a folder", "move it away, or set another `backup_dir`"),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let make = match schedule {
                Some(schedule) => schedule.again.clone(),
                None => context.command(&["backup"]).to_string(),
            };
            return failure("doesn't exist", &format!("is its disk mounted? if it is to be made: {make}"));
        }
        Err(e) => return vec![Finding::error("backup folder", &backup::Error::io("look at", folder, e).into())],
    };
    let mut findings = vec![
        backup_folder(context, shell, maker(context, shell).as_deref()),
        disk(context, folder, &found),
        Finding::of("ignored by git", git(shell, folder)),
    ];
    match context.catalog().and_then(|catalog| Ok((catalog, context.ledger()?))) {
        Ok((catalog, ledger)) => findings.extend(inside(context, &catalog, &ledger)),
        // What is true of all that is in it needs to be said but once.
        Err(error) => findings.push(Finding::error("backups", &error)),
    }
    findings
}

fn inside(context: &Context<'_>, catalog: &Catalog, ledger: &Ledger) -> [Finding; 9] {
    let status = context.status(catalog, ledger);
    [
        Finding::of("lock", lock(context)),
        Finding::of("staging", staging(context)),
        space(&status),
        newest(&status),
        last_run(&status),
        verify(&status),
        drill(&status),
        order(&status),
        restore(context, ledger),
    ]
}

/// The finding that renders those concerns that are `about` something; else `ok`.
fn judged(status: &Status, check: &str, about: impl Fn(&Concern) -> bool, ok: impl FnOnce() -> String) -> Finding {
    let concerns: Vec<&Concern> = status.concerns.iter().filter(|concern| about(concern)).collect();
    let Some(worst) = concerns.first() else { return Finding::ok(check, ok()) };
    let sentences: Vec<String> = concerns.iter().map(|concern| words::concern(concern, status)).collect();
    let (detail, hint) = (sentences.join("; "), words::remedy(worst));
    match worst.severity() {
        Severity::Failure => Finding::failure(check, detail, hint),
        _ => Finding::warning(check, detail, hint),
    }
}

/// Whose the folder is, who can look into it, and whether it can be written.
pub fn owner(context: &Context<'_>, shell: &Shell, user: Option<&str>) -> anyhow::Result<Finding> {
    let (check, folder) = ("backup folder", context.store.folder());
    let name = folder.display();
    let found = fs::metadata(folder).map_err(|e| backup::Error::io("look at", folder, e))?;
    if let Some(user) = user {
        let uid = cmd!(shell, "id -u -- {user}").quiet().ignore_stderr().read();
        let uid = uid.with_context(|| format!("look up {user}, who makes the backups"))?;
        if found.uid().to_string() != uid {
            let owner = cmd!(shell, "stat -c %U -- {folder}").quiet().read().context("look up the folder's owner")?;
            let detail = format!("{name} belongs to {owner}, but backups are made as {user}");
            return Ok(Finding::failure(
                check,
                detail,
                Step::new(["chown", "-R", &format!("{user}:"), &name.to_string()]).to_string(),
            ));
        }
    }
    let mode = found.mode() & 0o777;
    let private = Step::new(["chmod", "700", &name.to_string()]).to_string();
    if mode & 0o700 != 0o700 {
        return Ok(Finding::failure(check, format!("{name} is closed to its owner (mode {mode:04o})"), private));
    }
    let space = rustix::fs::statvfs(folder).with_context(|| format!("look at the file system of {name}"))?;
    if space.f_flag.contains(StatVfsMountFlags::RDONLY) {
        let hint = "is its disk all right? dmesg says why; mount -o remount,rw";
        return Ok(Finding::failure(check, format!("{name} is on a file system that is mounted read-only"), hint));
    }
    if mode & 0o077 != 0 {
        let detail = format!("{name} can be read by others (mode {mode:04o}); its files can't");
        return Ok(Finding::warning(check, detail, private));
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

/// Whether git leaves it alone, if it is in the folder of a repository.
fn git(shell: &Shell, folder: &Path) -> anyhow::Result<Finding> {
    let check = "ignored by git";
    let place = folder.canonicalize().with_context(|| format!("find {}", folder.display()))?;
    let Some(top) = place.ancestors().skip(1).find(|folder| folder.join(".git").exists()) else {
        return Ok(Finding::ok(check, "it is in no git repository"));
    };
    if systemd::is_root() {
        // Git runs what a repository's own settings name.
        return Ok(Finding::warning(check, "not checked: root doesn't run git in it", "ask as another user"));
    }
    let asked = cmd!(shell, "git -C {top} check-ignore --quiet -- {place}").quiet().ignore_status().output();
    Ok(match asked.as_ref().map(|output| output.status.code()) {
        Ok(Some(0)) => Finding::ok(check, "yes"),
        Ok(Some(1)) => Finding::failure(
            check,
            "no: backups, secrets and all, could be committed",
            format!("echo '/{}/' >> {}", place.strip_prefix(top)?.display(), top.join(".gitignore").display()),
        ),
        _ => {
            let said = asked.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
            let said = said.unwrap_or_else(|error| error.to_string());
            let said = said.lines().next().unwrap_or("git said nothing").to_string();
            Finding::warning(check, format!("not known: {said}"), "ask as the owner of the repository, where git is")
        }
    })
}

fn lock(context: &Context<'_>) -> anyhow::Result<Finding> {
    Ok(match context.store.lock_holder()? {
        None => Finding::ok("lock", "free"),
        Some(holder) => Finding::warning(
            "lock",
            format!("held by {holder}"),
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
            "the next run removes them by itself",
        ),
    })
}

fn space(status: &Status) -> Finding {
    let check = "free space";
    let Some(free) = status.free_bytes.map(size) else {
        return Finding::warning(check, "not known", "ask the system: df -h");
    };
    judged(
        status,
        check,
        |it| matches!(it, Concern::NoRoom { .. }),
        || match status.needed_bytes {
            Some(needed) => format!("{free}; two more backups, with room to make them, take {}", size(needed)),
            None => format!("{free}; what a backup takes is not known yet"),
        },
    )
}

fn newest(status: &Status) -> Finding {
    let about = |it: &Concern| {
        use Concern::{Collapsed, NewestUnfit, NoBackup, Source};
        matches!(it, NoBackup | Source { .. } | NewestUnfit { .. } | Collapsed { .. })
    };
    judged(status, "newest backup", about, || match &status.last_success {
        Some(last) => format!("{} old, complete", age(last.age_s)),
        None => "of each source one, young enough".into(),
    })
}

fn last_run(status: &Status) -> Finding {
    judged(
        status,
        "last run",
        |it| matches!(it, Concern::LastRun { .. }),
        || match &status.last {
            Some(last) => format!("{} ago, {}", age(last.age_s), words::run_end(last.what)),
            None => "none yet".into(),
        },
    )
}

fn verify(status: &Status) -> Finding {
    let about = |it: &Concern| matches!(it, Concern::Verify { .. });
    judged(status, "last verify", about, || match &status.last_verify {
        Some(last) if last.what == Outcome::Begun => "it goes on".into(),
        Some(last) if last.what == Outcome::Failed => {
            format!("{} ago, found damage in a backup that is gone, or was found good since", age(last.age_s))
        }
        Some(last) => format!("{} ago, {}", age(last.age_s), words::verify_end(last.what, last.id.is_some())),
        None => "none yet".into(),
    })
}

fn drill(status: &Status) -> Finding {
    let about =
        |it: &Concern| matches!(it, Concern::NeverDrilled | Concern::DrillTooOld { .. } | Concern::Drill { .. });
    judged(status, "last drill", about, || match &status.last_drill {
        Some(last) if last.what == Outcome::Ok => format!("{} ago, passed", age(last.age_s)),
        _ => "it goes on".into(),
    })
}

/// Whether time goes forward.
fn order(status: &Status) -> Finding {
    let about = |it: &Concern| matches!(it, Concern::Ahead { .. });
    judged(status, "newest backup and clock", about, || "in order".into())
}

fn restore(context: &Context<'_>, ledger: &Ledger) -> Finding {
    let check = "restore";
    match (context.unfinished_restore(ledger), context.leftovers(ledger)) {
        (Some((what, remedy)), _) => Finding::failure(check, what, remedy),
        (None, Some(left)) => Finding::warning(check, left, "the next run removes it by itself"),
        (None, None) => Finding::ok(check, "none was cut short"),
    }
}
