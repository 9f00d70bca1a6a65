//! The result of a check.

use backup::ErrorKind;
use serde::Serialize;

use crate::hints;

/// How severe a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// Something to look into, or unknown.
    Warning,
    /// There are no backups, there will be none, or they can't be relied on.
    Failure,
}

/// The result of a check.
#[derive(Debug)]
pub struct Finding {
    /// What was checked.
    pub check: String,
    /// How severe it is.
    pub verdict: Verdict,
    /// What was found, in one line.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether the current user lacked the permission to check it.
    pub denied: bool,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &str, detail: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Ok, detail: detail.into(), hint: None, denied: false }
    }

    /// Something to look into, and what to do about it.
    pub fn warning(check: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, hint: Some(hint.into()), ..Self::ok(check, detail) }
    }

    /// Something wrong, and what to do about it.
    pub fn failure(check: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failure, ..Self::warning(check, detail, hint) }
    }

    /// A check that failed with an error.
    pub fn error(check: &str, error: &anyhow::Error) -> Self {
        let own = error.downcast_ref::<backup::Error>();
        Self {
            verdict: Verdict::Failure,
            hint: own.and_then(hints::of),
            denied: own.is_some_and(|own| own.kind() == ErrorKind::PermissionDenied),
            ..Self::ok(check, own.map_or_else(|| format!("{error:#}"), backup::Error::one_line))
        }
    }

    /// Whether something is wrong. A check that lacked the permission says nothing.
    pub fn is_wrong(&self) -> bool {
        self.verdict != Verdict::Ok && !self.denied
    }

    /// The finding, or the error instead of one.
    pub fn of(check: &str, result: anyhow::Result<Self>) -> Self {
        result.unwrap_or_else(|error| Self::error(check, &error))
    }
}
