//! Checks of the backup folder, and of the backups in it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use backup::status::{Concern, Severity, Status};
use backup::{Catalog, Ledger, LocalStore as _, Outcome};
use rustix::fs::StatVfsMountFlags;
use xshell::{Shell, cmd};

use super::finding::Finding;
use crate::context::Context;
use crate::schedule::choice::maker;
use crate::schedule::identity::uid;
use crate::schedule::timers::Schedule;
use crate::step::Step;
use crate::text::{age, count, size};
use crate::user::account::is_root;
use crate::words;

/// The check of the folder itself.
const FOLDER: &str = "backup folder";

/// Checks the folder and the backups in it.
pub fn examine(context: &Context<'_>, shell: &Shell, schedule: Option<&Schedule>) -> Vec<Finding> {
    let folder = context.store.folder();
    let found = match exists(context, folder, schedule) {
        Ok(found) => found,
        Err(missing) => return vec![missing],
    };
    let mut findings = vec![
        owner(context, shell, maker(context, shell).as_deref()),
        disk(context, folder, &found),
        Finding::of("ignored by git", git(shell, folder)),
    ];
    match context.catalog().and_then(|catalog| Ok((catalog, context.ledger()?))) {
        Ok((catalog, ledger)) => findings.extend(inside(context, &catalog, &ledger)),
        // One finding for all checks that need them.
        Err(error) => findings.push(Finding::error("backups", &error)),
    }
    findings
}

fn exists(context: &Context<'_>, folder: &Path, schedule: Option<&Schedule>) -> Result<Metadata, Finding> {
    let failure = |what: &str, hint: &str| Finding::failure(FOLDER, format!("{} {what}", folder.display()), hint);
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(found),
        Ok(_) => Err(failure("is not a folder", "move it away, or set another `backup_dir`")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let make =
                schedule.map_or_else(|| context.command(&["backup"]).to_string(), |schedule| schedule.again.clone());
            Err(failure("doesn't exist", &format!("is its disk mounted? if it is to be made: {make}")))
        }
        Err(e) => Err(Finding::error(FOLDER, &backup::Error::io("inspect", folder, e).into())),
    }
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

/// A finding for the concerns that `about` selects; `ok` if there are none.
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

/// Checks who owns the folder, who can read it, and whether it can be written.
pub fn owner(context: &Context<'_>, shell: &Shell, user: Option<&str>) -> Finding {
    let found = check_owner(context.store.folder(), shell, user);
    Finding::of(FOLDER, found.and_then(|other| other.map_or_else(|| check_mode(context.store.folder()), Ok)))
}

/// A failure if the folder doesn't belong to `user`, who makes the backups.
fn check_owner(folder: &Path, shell: &Shell, user: Option<&str>) -> anyhow::Result<Option<Finding>> {
    let Some(user) = user else { return Ok(None) };
    if metadata(folder)?.uid().to_string() == uid(shell, user)? {
        return Ok(None);
    }
    let owner = cmd!(shell, "stat -c %U -- {folder}").quiet().read().context("look up the folder's owner")?;
    let name = folder.display().to_string();
    let detail = format!("{name} belongs to {owner}, but backups are made as {user}");
    let give = Step::new(["chown", "-R", &format!("{user}:"), &name]);
    Ok(Some(Finding::failure(FOLDER, detail, give.to_string())))
}

fn check_mode(folder: &Path) -> anyhow::Result<Finding> {
    let (name, mode) = (folder.display().to_string(), metadata(folder)?.mode() & 0o777);
    let private = Step::new(["chmod", "700", &name]).to_string();
    if mode & 0o700 != 0o700 {
        return Ok(Finding::failure(FOLDER, format!("{name} denies access to its owner (mode {mode:04o})"), private));
    }
    let space = rustix::fs::statvfs(folder).with_context(|| format!("inspect the file system of {name}"))?;
    if space.f_flag.contains(StatVfsMountFlags::RDONLY) {
        let hint = "is its disk all right? dmesg says why; mount -o remount,rw";
        return Ok(Finding::failure(FOLDER, format!("{name} is on a file system that is mounted read-only"), hint));
    }
    if mode & 0o077 != 0 {
        let detail = format!("{name} can be read by others (mode {mode:04o}); its files can't");
        return Ok(Finding::warning(FOLDER, detail, private));
    }
    Ok(Finding::ok(FOLDER, format!("{name}, mode {mode:04o}")))
}

fn metadata(folder: &Path) -> backup::Result<Metadata> {
    fs::metadata(folder).map_err(|e| backup::Error::io("inspect", folder, e))
}

/// Whether backups and databases are on the same file system: a broken disk would take both.
fn disk(context: &Context<'_>, folder: &Path, found: &Metadata) -> Finding {
    let check = "file system";
    // Folders are compared: on an overlay, files have the device number of the disk below.
    let databases = context.config.database.iter().map(|database| database.path.under(&context.root));
    let folders = databases.filter_map(|path| fs::metadata(path.canonicalize().ok()?.parent()?).ok());
    let together = folders.map(|folder| folder.dev()).any(|device| device == found.dev());
    if !together {
        return Finding::ok(check, format!("{} is not on that of the databases", folder.display()));
    }
    Finding::warning(
        check,
        "backups and databases are on the same one: if it breaks, both are lost",
        "set `backup_dir` to another disk, or copy the folder to another machine regularly",
    )
}

/// Whether git ignores the folder, if it is in a repository.
fn git(shell: &Shell, folder: &Path) -> anyhow::Result<Finding> {
    let check = "ignored by git";
    let place = folder.canonicalize().with_context(|| format!("find {}", folder.display()))?;
    let Some(top) = place.ancestors().skip(1).find(|folder| folder.join(".git").exists()) else {
        return Ok(Finding::ok(check, "it is in no git repository"));
    };
    if is_root() {
        // Git runs commands that the settings of a repository name.
        return Ok(Finding::warning(check, "not checked: root doesn't run git in it", "check as another user"));
    }
    let asked = cmd!(shell, "git -C {top} check-ignore --quiet -- {place}").quiet().ignore_status().output();
    Ok(match asked.as_ref().map(|output| output.status.code()) {
        Ok(Some(0)) => Finding::ok(check, "yes"),
        Ok(Some(1)) => Finding::failure(
            check,
            "no: backups could be committed, with their secrets",
            format!("echo '/{}/' >> {}", place.strip_prefix(top)?.display(), top.join(".gitignore").display()),
        ),
        _ => {
            let why = asked.map_or_else(|error| error.to_string(), |output| first_line(&output.stderr));
            Finding::warning(
                check,
                format!("not known: {why}"),
                "check as the owner of the repository, with git installed",
            )
        }
    })
}

fn first_line(said: &[u8]) -> String {
    String::from_utf8_lossy(said).lines().next().unwrap_or("git said nothing").to_string()
}

fn lock(context: &Context<'_>) -> anyhow::Result<Finding> {
    Ok(match context.store.lock_holder()? {
        None => Finding::ok("lock", "free"),
        Some(holder) => Finding::warning("lock", format!("held by {holder}"), "it is released when that run ends"),
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
            "the next run removes them",
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
            None => format!("{free}; the size of a backup is not known yet"),
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
        None => "every source has one that is recent enough".into(),
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
        Some(last) if last.what == Outcome::Begun => "running now".into(),
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
        _ => "running now".into(),
    })
}

/// Whether the newest backup is dated ahead of the clock.
fn order(status: &Status) -> Finding {
    let about = |it: &Concern| matches!(it, Concern::Ahead { .. });
    judged(status, "newest backup and clock", about, || "in order".into())
}

fn restore(context: &Context<'_>, ledger: &Ledger) -> Finding {
    let check = "restore";
    match (context.unfinished_restore(ledger), context.leftovers(ledger)) {
        (Some((what, remedy)), _) => Finding::failure(check, what, remedy),
        (None, Some(left)) => Finding::warning(check, left, "the next run removes it"),
        (None, None) => Finding::ok(check, "none was cut short"),
    }
}
