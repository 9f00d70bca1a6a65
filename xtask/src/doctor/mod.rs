//! What `doctor` looks at: everything that a backup, a restore and the schedule depend on. It changes nothing.

mod application;
mod schedule;
mod sources;
mod store;

use backup::ErrorKind;
use serde::Serialize;
use xshell::Shell;

use crate::cli::Which;
use crate::context::Context;
use crate::hints;
use crate::schedule::{as_maker, timers};

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
#[derive(Debug)]
pub struct Finding {
    /// What was checked.
    pub check: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, in one line.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether this user may not look.
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
            hint: own.and_then(hints::of),
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
        findings.extend(application::examine(context, shell));
    }
    if let Some(ask) = as_maker(context, shell) {
        for finding in findings.iter_mut().filter(|finding| finding.denied) {
            (finding.verdict, finding.hint) =
                (Verdict::Warning, Some(format!("run this as the backup user: {ask} doctor")));
        }
    }
    findings.extend(schedule::examine(context, shell, schedule, is_broken));
    findings
}

/// Whether the backup folder is one for `user`, who makes the backups.
pub fn backup_folder(context: &Context<'_>, shell: &Shell, user: Option<&str>) -> Finding {
    Finding::of("backup folder", store::owner(context, shell, user))
}

fn settings(context: &Context<'_>) -> Finding {
    let detail = match &context.settings {
        Some(path) => format!("read from {}", path.display()),
        None => format!("the defaults, there is no {} in {}", crate::config::FILE, context.root.display()),
    };
    Finding::ok("settings", detail)
}
