//! What `doctor` looks at: everything that a backup, a restore and the schedule depend on. It changes nothing.

mod schedule;
mod sources;
mod store;

use anyhow::Context as _;
use backup::ErrorKind;
use serde::Serialize;
use xshell::{Shell, cmd};

use crate::cli::Which;
use crate::context::Context;
use crate::schedule::identity;
use crate::schedule::steps::{Step, word};
use crate::schedule::timers::{self, Schedule};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// Worth a look, or not to be found out.
    Warning,
    /// Backups are not made, can't be made, or can't be relied on.
    Failure,
}

/// What a check found.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, in one line.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether it could not be looked at by who asks.
    #[serde(skip)]
    denied: bool,
}

impl Finding {
    fn ok(check: &str, detail: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Ok, detail: detail.into(), hint: None, denied: false }
    }

    fn warning(check: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, hint: Some(hint.into()), ..Self::ok(check, detail) }
    }

    fn failure(check: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failure, ..Self::warning(check, detail, hint) }
    }

    /// A check that could not be made, because of this.
    fn error(check: &str, error: &anyhow::Error) -> Self {
        let own = error.downcast_ref::<backup::Error>();
        Self {
            verdict: Verdict::Failure,
            hint: own.and_then(backup::Error::hint).map(str::to_string),
            denied: own.is_some_and(|own| own.kind() == ErrorKind::PermissionDenied),
            ..Self::ok(check, own.map_or_else(|| format!("{error:#}"), backup::Error::one_line))
        }
    }

    /// Whether something is wrong that who asks could see.
    pub fn is_wrong(&self) -> bool {
        self.verdict != Verdict::Ok && !self.denied
    }

    fn of(check: &str, result: anyhow::Result<Self>) -> Self {
        result.unwrap_or_else(|error| Self::error(check, &error))
    }
}

/// Makes every check, in the order in which data flows: settings, sources, store, schedule. A `deep` one reads the
/// databases whole. With `broken` settings, those who depend on them can't be made.
pub fn examine(context: &Context<'_>, shell: &Shell, deep: bool, broken: Option<backup::Error>) -> Vec<Finding> {
    let schedule = timers::read(context, shell, &Which::default());
    let known = schedule.as_ref().ok().and_then(Option::as_ref);
    let mut findings = Vec::new();
    let is_broken = broken.is_some();
    if let Some(broken) = broken {
        findings.push(Finding::error("settings", &broken.into()));
    } else {
        findings.push(settings(context));
        findings.extend(sources::examine(context, deep));
        findings.extend(store::examine(context, shell, known));
    }
    if let Some(ask) = elsewhere(context, shell, known) {
        for finding in findings.iter_mut().filter(|finding| finding.denied) {
            (finding.verdict, finding.hint) = (Verdict::Warning, Some(ask.clone()));
        }
    }
    findings.extend(schedule::examine(context, shell, schedule, is_broken));
    findings
}

/// Whether the backup folder is one for `user`, who makes the backups.
pub fn backup_folder(context: &Context<'_>, shell: &Shell, user: Option<&str>) -> Finding {
    Finding::of("backup folder", store::owner(context, shell, user))
}

/// Who makes the backups: whom the schedule names, or would.
fn maker(context: &Context<'_>, shell: &Shell, schedule: Option<&Schedule>) -> Option<String> {
    let scheduled = schedule.map(|schedule| schedule.user.clone());
    // A user's own schedule names nobody.
    scheduled.unwrap_or_else(|| identity(context, shell, None).ok()?.user())
}

/// Where to ask about what is closed to who asks: as the one who makes the backups, if that is somebody else.
fn elsewhere(context: &Context<'_>, shell: &Shell, schedule: Option<&Schedule>) -> Option<String> {
    let maker = maker(context, shell, schedule)?;
    let uid = cmd!(shell, "id -u -- {maker}").quiet().ignore_stderr().read().ok()?;
    let own = rustix::process::geteuid();
    if own.is_root() || own.to_string() == uid {
        return None;
    }
    // The installed copy, which its owner can run.
    let this = std::env::current_exe().context("find this program's file").ok()?;
    let program = schedule.map_or(this.as_path(), |schedule| &schedule.program.path);
    let words = ["sudo", "-u", &maker, word(program).ok()?, "--root", word(&context.root).ok()?, "doctor"];
    Some(format!("it is closed to you; ask as {maker}: {}", Step::new(words)))
}

fn settings(context: &Context<'_>) -> Finding {
    let detail = match &context.settings {
        Some(path) => format!("read from {}", path.display()),
        None => format!("the defaults, there is no {} in {}", crate::config::FILE, context.root.display()),
    };
    Finding::ok("settings", detail)
}
