//! `verify`: the read path into a sink, with every check that the content allows.

use serde::Serialize;

use crate::catalog::{Entry, StoredFile};
use crate::check::{self, Check, Checks, Verdict, What};
use crate::error::{Error, ErrorKind, Result};
use crate::fsutil;
use crate::history::{Command, Line, Outcome};
use crate::id::BackupId;
use crate::manifest::{Content, Facts, FileEntry};
use crate::names::Kind;
use crate::read;
use crate::run::Run;
use crate::source::files::ConfigFile;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The backup.
    pub id: BackupId,
    /// The worst verdict.
    pub verdict: Verdict,
    /// All checks, file by file.
    pub checks: Vec<Check>,
    /// Whether the ledger has a line of it: not if the store can't be written.
    pub recorded: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Reads all of a backup and checks what it decodes to. The ledger gets a line.
///
/// # Errors
/// What kept the checks from being made, such as [`ErrorKind::NoSpace`] for the decoded database. Damage is no error
/// here but a verdict.
pub fn verify(run: &Run<'_>, entry: &Entry) -> Result<Report> {
    entry.require_usable()?;
    let begun = run.elapsed_ms();
    let mut checks = Vec::new();
    for file in &entry.files {
        checks.extend(verify_file(run, file)?);
    }
    let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok);
    let damage = checks.iter().find(|check| check.verdict == Verdict::Damaged);
    let outcome = if damage.is_some() { Outcome::Failed } else { Outcome::Ok };
    let error = damage.map(|check| check.detail.clone());
    run.record(Line { id: Some(entry.id), error, ..Line::new(run.now(), Command::Verify, outcome) })?;
    let duration_ms = run.elapsed_ms() - begun;
    Ok(Report { id: entry.id, verdict, checks, recorded: run.is_recorded(), duration_ms })
}

fn verify_file(run: &Run<'_>, file: &StoredFile) -> Result<Vec<Check>> {
    let mut checks = Checks::of(&file.file);
    let read = match file.kind {
        Kind::Database => verify_database(run, file, &mut checks),
        Kind::Files => verify_archive(run, file, &mut checks),
    };
    match read {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Damaged => checks.damaged(What::Content, error.one_line()),
        Err(error) => return Err(error),
    }
    Ok(checks.list)
}

fn verify_database(run: &Run<'_>, file: &StoredFile, checks: &mut Checks<'_>) -> Result<()> {
    let scratch = run.scratch(plain_bytes(file))?;
    let path = scratch.path().join("decoded.db");
    let mut decoded = fsutil::create_private(&path).map_err(|e| Error::io("create", &path, e))?;
    read::copy(run.store(), file, run.progress(), &mut decoded)?;
    checks.ok(What::Content, content_detail(file));
    check::database(checks, &path, expected_facts(file), run)
}

fn verify_archive(run: &Run<'_>, file: &StoredFile, checks: &mut Checks<'_>) -> Result<()> {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    read::archive(run.store(), file, run.progress(), |member| {
        warnings.extend(check::config_file(&member));
        found.push(ConfigFile::entry(&member));
        Ok(())
    })?;
    checks.ok(What::Content, content_detail(file));
    compare_entries(checks, &found, expected_entries(file));
    for warning in warnings {
        checks.warning(What::Entries, format!("{} (in the source as well)", warning.message));
    }
    Ok(())
}

fn compare_entries(checks: &mut Checks<'_>, found: &[FileEntry], expected: Option<&[FileEntry]>) {
    match expected {
        Some(expected) if expected != found => {
            let same = |entry: &&FileEntry, other: &[FileEntry]| other.contains(entry);
            let detail = match (found.iter().find(|e| !same(e, expected)), expected.iter().find(|e| !same(e, found))) {
                (Some(extra), None) => format!("{}: not in the manifest", extra.path),
                (None, Some(missing)) => format!("{}: missing from the archive", missing.path),
                (_, Some(differs)) => format!("{}: not what the manifest says", differs.path),
                (None, None) => "the files are in another order than in the manifest".into(),
            };
            checks.damaged(What::Entries, detail);
        }
        Some(_) => checks.ok(What::Entries, format!("{} files as recorded", found.len())),
        None => checks.ok(What::Entries, format!("{} files", found.len())),
    }
}

fn content_detail(file: &StoredFile) -> &'static str {
    match file.recorded {
        Some(_) => "stored and decoded bytes as recorded",
        None => "decodes; nothing is recorded to compare with",
    }
}

/// Bytes that the decoded file will take: as recorded, or a guess from its stored size.
pub(crate) fn plain_bytes(file: &StoredFile) -> u64 {
    let guess = file.bytes.unwrap_or(0).saturating_mul(5);
    file.recorded.as_ref().map_or(guess, |recorded| recorded.plain_bytes)
}

/// What the manifest says of a database.
pub(crate) fn expected_facts(file: &StoredFile) -> Option<&Facts> {
    match &file.recorded.as_ref()?.content {
        Content::Database(database) => Some(&database.facts),
        Content::Files { .. } => None,
    }
}

fn expected_entries(file: &StoredFile) -> Option<&[FileEntry]> {
    match &file.recorded.as_ref()?.content {
        Content::Files { entries } => Some(entries),
        Content::Database(_) => None,
    }
}

/// A decoded file that must be sound before it is used.
///
/// # Errors
/// [`ErrorKind::Damaged`] with the first thing found.
pub(crate) fn require_sound(checks: &Checks<'_>) -> Result<()> {
    match checks.list.iter().find(|check| check.verdict == Verdict::Damaged) {
        None => Ok(()),
        Some(check) => Err(Error::new(ErrorKind::Damaged, format!("{} is damaged: {}", check.file, check.detail))
            .with_hint("restore another backup: `verify --all` shows which are sound")),
    }
}
