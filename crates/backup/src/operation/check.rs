//! Checks of decoded content: whether a database is sound, and whether it is the one that was saved.
//!
//! A flaw that the source had already, such as a row without its parent, is a warning: the backup is a faithful copy.
//! Everything else is damage.

use std::path::Path;

use serde::Serialize;

use crate::artifact::StoredFile;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::record::manifest::{Facts, Increment, Table};
use crate::source::sqlite::integrity::{self, Scope};

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The stored file that it concerns.
    pub file: String,
    /// What was checked.
    pub what: Aspect,
    /// What was found.
    pub verdict: Verdict,
    /// The finding in one line.
    pub detail: String,
}

/// What can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// Size and digest of the stored bytes.
    Stored,
    /// Sizes and digests of the stored and the decoded bytes.
    Content,
    /// `PRAGMA integrity_check`.
    Integrity,
    /// `PRAGMA foreign_key_check`.
    ForeignKeys,
    /// The schema.
    Schema,
    /// Each table's number of rows.
    Rows,
    /// `user_version`, `application_id`, page size and count, encoding.
    Header,
    /// Each configuration file: as recorded, and parses.
    Entries,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is as it should be.
    Ok,
    /// A flaw that the source had already.
    Warning,
    /// The backup is damaged.
    Damaged,
}

/// What is recorded of a database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected<'a> {
    Nothing,
    /// By the backup that stored it whole.
    Facts(&'a Facts),
    /// By an increment: less, since nobody counted its rows.
    Image(&'a Increment),
}

impl<'a> Expected<'a> {
    pub fn of(file: &'a StoredFile) -> Self {
        match (file.image(), file.facts()) {
            (Some(image), _) => Self::Image(image),
            (None, Some(facts)) => Self::Facts(facts),
            (None, None) => Self::Nothing,
        }
    }

    fn facts(self) -> Option<&'a Facts> {
        if let Self::Facts(facts) = self { Some(facts) } else { None }
    }
}

/// The results for one stored file so far.
pub(crate) struct Checks<'a> {
    file: &'a str,
    pub list: Vec<Check>,
}

impl<'a> Checks<'a> {
    pub fn of(file: &'a str) -> Self {
        Self { file, list: Vec::new() }
    }

    pub fn ok(&mut self, what: Aspect, detail: impl Into<String>) {
        self.push(what, Verdict::Ok, detail.into());
    }

    pub fn warning(&mut self, what: Aspect, detail: impl Into<String>) {
        self.push(what, Verdict::Warning, detail.into());
    }

    pub fn damaged(&mut self, what: Aspect, detail: impl Into<String>) {
        self.push(what, Verdict::Damaged, detail.into());
    }

    /// Damage, in the file that the error names if it names one.
    pub fn damaged_by(&mut self, what: Aspect, error: &Error) {
        let file = error.damaged_file().unwrap_or(self.file).to_string();
        self.list.push(Check { file, what, verdict: Verdict::Damaged, detail: error.detail() });
    }

    fn push(&mut self, what: Aspect, verdict: Verdict, detail: String) {
        self.list.push(Check { file: self.file.to_string(), what, verdict, detail });
    }

    fn equal<T: PartialEq + std::fmt::Display>(&mut self, what: Aspect, name: &str, found: &T, expected: &T) {
        if found != expected {
            self.damaged(what, format!("{name} is {found}, the manifest says {expected}"));
        }
    }

    fn ok_unless_damaged(&mut self, what: Aspect, detail: impl Into<String>) {
        if !self.list.iter().any(|check| check.what == what) {
            self.ok(what, detail);
        }
    }
}

/// Checks the decoded database at `path`: whether it is sound, as far as `scope` says, and whether it has the
/// facts that are `expected`.
///
/// # Errors
/// [`crate::ErrorKind::Interrupted`], or an I/O error. Damage is a verdict, not an error.
pub(crate) fn database(
    checks: &mut Checks<'_>,
    path: &Path,
    expected: Expected<'_>,
    scope: Option<Scope>,
    progress: &dyn Progress,
) -> Result<()> {
    match open_and_check(checks, path, expected, scope, progress) {
        Err(error) if error.means_unreadable() => {
            checks.damaged(Aspect::Integrity, format!("SQLite can't read it: {}", error.detail()));
            Ok(())
        }
        other => other,
    }
}

fn open_and_check(
    checks: &mut Checks<'_>,
    path: &Path,
    expected: Expected<'_>,
    scope: Option<Scope>,
    progress: &dyn Progress,
) -> Result<()> {
    if let Some(scope) = scope {
        let found = integrity::check(path, expected.facts(), scope, integrity::all_cores(), progress)?;
        if let Some(first) = found.problems.first() {
            checks.damaged(Aspect::Integrity, format!("integrity_check: {first}"));
            // SQLite can loop for ever when it reads a broken database.
            return Ok(());
        }
        checks.ok(Aspect::Integrity, "integrity_check ok");
        foreign_keys(checks, scope, found.orphans);
    }
    match expected {
        Expected::Nothing => {}
        Expected::Facts(expected) => against_facts(checks, &integrity::facts(path, progress)?, expected),
        Expected::Image(expected) => against_image(checks, integrity::size(path)?, expected),
    }
    Ok(())
}

fn foreign_keys(checks: &mut Checks<'_>, scope: Scope, orphans: Vec<Table>) {
    if scope == Scope::Flaws && orphans.is_empty() {
        checks.ok(Aspect::ForeignKeys, "foreign_key_check ok");
    }
    for Table { name, rows } in orphans {
        checks.warning(Aspect::ForeignKeys, format!("{rows} rows of {name} have no parent (in the source as well)"));
    }
}

fn against_image(checks: &mut Checks<'_>, (page_size, page_count): (u32, u64), expected: &Increment) {
    checks.equal(Aspect::Header, "page size", &page_size, &expected.page_size);
    checks.equal(Aspect::Header, "page count", &page_count, &expected.page_count);
    checks.ok_unless_damaged(Aspect::Header, "page size and count as recorded");
}

fn against_facts(checks: &mut Checks<'_>, found: &Facts, expected: &Facts) {
    checks.equal(Aspect::Schema, "schema digest", &found.schema_sha256, &expected.schema_sha256);
    checks.ok_unless_damaged(Aspect::Schema, "schema as recorded");

    checks.equal(Aspect::Header, "user_version", &found.user_version, &expected.user_version);
    checks.equal(Aspect::Header, "application_id", &found.application_id, &expected.application_id);
    checks.equal(Aspect::Header, "page size", &found.page_size, &expected.page_size);
    checks.equal(Aspect::Header, "page count", &found.page_count, &expected.page_count);
    checks.equal(Aspect::Header, "encoding", &found.encoding, &expected.encoding);
    checks.ok_unless_damaged(Aspect::Header, "versions and sizes as recorded");

    for table in &expected.tables {
        match found.tables.iter().find(|other| other.name == table.name) {
            Some(other) => {
                checks.equal(Aspect::Rows, &format!("row count of {}", table.name), &other.rows, &table.rows);
            }
            None => checks.damaged(Aspect::Rows, format!("table {} is missing", table.name)),
        }
    }
    let rows = expected.tables.iter().map(|table| table.rows).fold(0, u64::saturating_add);
    checks.ok_unless_damaged(Aspect::Rows, format!("row counts as recorded: {rows} in all"));
}
