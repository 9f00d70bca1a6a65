//! What proves decoded content: that a database is whole and is the one that was saved, that configuration parses.
//!
//! A flaw that the source already had (a row without its parent, a line in `.env` that means nothing) is a warning:
//! the backup is a faithful copy of it, and a backup can't be blamed for that. Everything else is damage.

use std::path::Path;

use serde::Serialize;

use crate::error::Result;
use crate::progress::Progress;
use crate::record::manifest::{Facts, Table, Warning};
use crate::source::files::ConfigFile;
use crate::source::integrity::{self, Scope};

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The stored file it concerns.
    pub file: String,
    /// What was checked.
    pub what: Aspect,
    /// What was found.
    pub verdict: Verdict,
    /// In words, one line.
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
    /// Each configuration file against the manifest, and whether it parses.
    Entries,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// A flaw that the source had already.
    Warning,
    /// The backup is not what it should be.
    Damaged,
}

/// The checks of one stored file, as they are made.
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

/// Checks the decoded database at `path` by itself, for what is in `scope`, and against `expected` facts, if there are any.
///
/// # Errors
/// Only what keeps the checks from being made: [`crate::ErrorKind::Interrupted`], I/O. Damage is a verdict.
pub(crate) fn database(
    checks: &mut Checks<'_>,
    path: &Path,
    expected: Option<&Facts>,
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
    expected: Option<&Facts>,
    scope: Option<Scope>,
    progress: &dyn Progress,
) -> Result<()> {
    if let Some(scope) = scope {
        let found = integrity::check(path, expected, scope, integrity::all_cores(), progress)?;
        if let Some(first) = found.problems.first() {
            checks.damaged(Aspect::Integrity, format!("integrity_check: {first}"));
            // What SQLite finds broken may lead it in circles when it is read.
            return Ok(());
        }
        checks.ok(Aspect::Integrity, "integrity_check ok");
        if scope == Scope::Flaws && found.orphans.is_empty() {
            checks.ok(Aspect::ForeignKeys, "foreign_key_check ok");
        }
        for Table { name, rows } in found.orphans {
            checks
                .warning(Aspect::ForeignKeys, format!("{rows} rows of {name} have no parent (in the source as well)"));
        }
    }
    if let Some(expected) = expected {
        against_facts(checks, &integrity::facts(path, progress)?, expected);
    }
    Ok(())
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

/// What is wrong with the text of a configuration file, as far as its name says what it should be. Never says what
/// stands in it: it may be a secret.
pub(crate) fn config_file(file: &ConfigFile) -> Option<Warning> {
    let warning = |code: &str, message: String| Some(Warning { code: code.into(), message });
    let name = file.path.file_name();
    if name.ends_with(".json") {
        let error = serde_json::from_slice::<serde::de::IgnoredAny>(&file.content).err()?;
        return warning("invalid_json", format!("{} is not valid JSON (line {})", file.path, error.line()));
    }
    if name == ".env" || name.starts_with(".env.") || name.ends_with(".env") {
        let line = first_bad_env_line(&file.content)?;
        return warning("invalid_env", format!("{} has a line that sets nothing (line {line})", file.path));
    }
    None
}

/// The first line that is neither blank, nor a comment, nor `NAME=value` (with `export` before it, if need be), nor
/// inside a quoted value that began on an earlier line. Lines count from 1.
fn first_bad_env_line(content: &[u8]) -> Option<usize> {
    let Ok(text) = std::str::from_utf8(content) else { return Some(1) };
    let mut open_quote = None;
    for (at, line) in text.lines().enumerate() {
        if let Some(quote) = open_quote {
            open_quote = (!line.trim_end().ends_with(quote)).then_some(quote);
            continue;
        }
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.strip_prefix("export ").unwrap_or(line).split_once('=') else {
            return Some(at + 1);
        };
        if !is_env_name(name.trim()) {
            return Some(at + 1);
        }
        open_quote = unclosed_quote(value.trim());
    }
    open_quote.map(|_| text.lines().count())
}

fn is_env_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(plain)
}

fn unclosed_quote(value: &str) -> Option<char> {
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    (!value[1..].contains(quote)).then_some(quote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::relpath::RelPath;

    fn code(path: &str, content: &str) -> Option<String> {
        let path = RelPath::new(path).unwrap();
        let file = ConfigFile { path, mode: 0, uid: 0, gid: 0, mtime: 0, content: content.into() };
        config_file(&file).map(|warning| format!("{}: {}", warning.code, warning.message))
    }

    #[test]
    fn env_files_as_people_write_them_are_fine() {
        let env =
            "# comment\n\nA=1\nexport B = two\nC=\"with # and =\"\nKEY=\"-----BEGIN\nlines\n-----END\"\nD='x'\nE=";
        assert_eq!(code(".env", env), None);
        assert_eq!(code(".env", ""), None);
    }

    #[test]
    fn a_line_that_sets_nothing_is_named_by_its_number_alone() {
        let message = "invalid_env: .env has a line that sets nothing (line 2)";
        assert_eq!(code(".env", "A=1\nsecret-without-a-name\n").as_deref(), Some(message));
        assert_eq!(code(".env", "A=1\n=secret\n").as_deref(), Some(message));
        assert_eq!(code(".env", "A=1\nB=\"never closed").as_deref(), Some(message));
    }

    #[test]
    fn json_has_to_parse() {
        assert_eq!(code("data/station_info.json", "{\"id\": 1}"), None);
        let message = "invalid_json: data/station_info.json is not valid JSON (line 2)";
        assert_eq!(
            code("data/station_info.json", "{\n\"id\": 1,\n").as_deref().map(|m| &m[..30]),
            Some(&message[..30])
        );
        assert_eq!(code("notes.txt", "{"), None);
    }
}
