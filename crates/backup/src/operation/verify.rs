//! `verify`: reads a backup to its end and makes every check that its content allows, except those that the same bytes
//! have passed before.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use chrono::{DateTime, FixedOffset};
use serde::Serialize;

use super::look::Look;
use super::session::{Recording, Session};
use crate::artifact::StoredFile;
use crate::artifact::read::Level;
use crate::catalog::{Catalog, Entry};
use crate::disk::file;
use crate::error::{Error, ErrorKind, Result};
use crate::operation::check::{self, Aspect, Check, Checks, Expected, Verdict};
use crate::progress::Progress;
use crate::record::earlier_checks::EarlierChecks;
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Ledger, Line, Outcome};
use crate::record::manifest::{Content, FileEntry};
use crate::record::names::{self, Kind};
use crate::record::selection::Selection;
use crate::record::soundness::{DatabaseDigests, Depth, SoundDatabases};
use crate::source::files::{ConfigFile, read_stored_archive};
use crate::source::sqlite::integrity::Scope;
use crate::source::syntax;

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The backup.
    pub id: BackupId,
    /// The worst verdict.
    pub verdict: Verdict,
    /// Whether it read the content, or the stored bytes alone.
    pub depth: Depth,
    /// If SQLite's check was left out, since the same bytes had passed it before: when they did. The oldest time, if
    /// there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_whole_at: Option<DateTime<FixedOffset>>,
    /// All results, file by file.
    pub checks: Vec<Check>,
    /// The older backups that an increment was read from, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_from: Vec<BackupId>,
    /// If an increment is damaged, the newest older backup that isn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sound_before: Option<BackupId>,
    /// Whether the ledger got a line. It gets none if the store can't be written.
    pub recorded: bool,
    /// Why it got none, if that was an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Reads and checks all of a backup, as far as `level` says. A database that is among those checked `earlier` is read
/// and compared, but not checked by SQLite again. The ledger gets a line before and one after; the second names the
/// backup if the result says anything about it.
///
/// # Errors
/// [`ErrorKind::NoSuchBackup`] if the backup holds nothing, or is removed meanwhile, which can happen if the store is
/// only read and so not locked. [`ErrorKind::Interrupted`]. Errors that prevent a check, such as [`ErrorKind::NoSpace`]
/// for the decoded database. Damage is no error but a verdict.
pub fn verify(session: &Session<'_>, entry: &Entry, level: Level, earlier: &EarlierChecks) -> Result<VerifyReport> {
    verify_next(session, entry, level, earlier, &mut FilesRead::default())
}

/// The same in a run that verifies several backups: a stored file that another one was `read` from isn't read again, unless
/// its database is yet to be checked.
///
/// # Errors
/// As [`verify`].
pub fn verify_next(
    session: &Session<'_>,
    entry: &Entry,
    level: Level,
    earlier: &EarlierChecks,
    read: &mut FilesRead,
) -> Result<VerifyReport> {
    entry.require_usable()?;
    let begin = session.record_begun(Command::Verify);
    let begun = session.elapsed_ms();
    let found = Findings::of(session, entry, level, earlier, read);
    let is_sound = found.as_ref().is_ok_and(|found| found.damage().is_none());
    if !is_sound && !session.is_recorded() && session.catalog()?.get(entry.id).is_err() {
        let message = format!("backup {} was removed while it was read", entry.id);
        return Err(Error::new(ErrorKind::NoSuchBackup, message).with_hint("verify again: `list` shows what is there"));
    }
    let found = found.inspect_err(|error| session.record_error(Command::Verify, error));
    let found = found.map_err(|error| session.with_sound_before(entry, error))?;
    let sound_before = found.damaged_backup().and_then(|damaged| session.sound_before(entry, damaged));
    let Recording { recorded, unrecorded } = session.record(begin, begun, found.line(session, entry));
    let duration_ms = session.elapsed_ms() - begun;
    let Findings { verdict, depth, checked_whole_at, checks, read_from, .. } = found;
    let id = entry.id;
    Ok(VerifyReport {
        id,
        verdict,
        depth,
        checked_whole_at,
        checks,
        read_from,
        sound_before,
        recorded,
        unrecorded,
        duration_ms,
    })
}

/// Stored files that a run has read to their end, and that are as recorded.
#[derive(Debug, Default)]
pub struct FilesRead(BTreeSet<String>);

/// What to verify in order to have read every whole copy and every increment: of each chain its newest point, then its full
/// backup; all other backups; and those that were found damaged, which only a proof of their own makes good.
pub fn all_to_verify<'c>(catalog: &'c Catalog, ledger: &Ledger) -> Vec<&'c Entry> {
    let parents: BTreeSet<BackupId> = catalog.entries().iter().filter_map(Entry::parent).collect();
    let is_needed =
        |entry: &&Entry| entry.parent().is_none() || !parents.contains(&entry.id) || ledger.is_known_bad(entry.id);
    let mut entries: Vec<&Entry> = catalog.entries().iter().filter(is_needed).collect();
    // The points come before the full backup, whose files they read.
    let firsts = catalog.firsts();
    entries.sort_by_key(|entry| (firsts[&entry.id], Reverse(entry.id)));
    entries
}

/// The findings in a backup.
struct Findings {
    verdict: Verdict,
    depth: Depth,
    checked_whole_at: Option<DateTime<FixedOffset>>,
    checks: Vec<Check>,
    /// Databases that have now been checked whole, without a flaw.
    sound: Vec<DatabaseDigests>,
    /// The older backups that an increment was read from.
    read_from: Vec<BackupId>,
}

impl Findings {
    fn of(look: &Look<'_>, entry: &Entry, level: Level, earlier: &EarlierChecks, read: &mut FilesRead) -> Result<Self> {
        let (mut checks, mut sound, mut checked_whole_at) = (Vec::new(), Vec::new(), None);
        let files = look.stored_files(entry, Selection::ALL)?;
        for file in &files {
            let database = (level == Level::Content).then(|| digests(file)).flatten();
            let earlier = database.and_then(|database| earlier.when(entry.id, database));
            let found = verify_unread(look, file, level, earlier, read)?;
            if earlier.is_none() && found.iter().all(|check| check.verdict == Verdict::Ok) {
                sound.extend(database);
            }
            checked_whole_at = [checked_whole_at, earlier].into_iter().flatten().min();
            checks.extend(found);
        }
        let depth = match level {
            Level::Stored => Depth::Stored,
            Level::Content if checked_whole_at.is_some() => Depth::Content,
            Level::Content => Depth::Whole,
        };
        let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok);
        let parts = files.iter().flat_map(StoredFile::parts);
        let read_from: BTreeSet<BackupId> = parts.filter_map(|part| names::id_of(&part.file)).collect();
        let read_from = read_from.into_iter().filter(|id| entry.parent().is_some() && *id != entry.id).collect();
        Ok(Self { verdict, depth, checked_whole_at, checks, sound, read_from })
    }

    /// The backup with the damaged file.
    fn damaged_backup(&self) -> Option<BackupId> {
        self.damage().and_then(|check| names::id_of(&check.file))
    }

    fn damage(&self) -> Option<&Check> {
        self.checks.iter().find(|check| check.verdict == Verdict::Damaged)
    }

    /// The line of the ledger about them.
    fn line(&self, look: &Look<'_>, entry: &Entry) -> Line {
        let (damage, databases) = (self.damage(), self.sound.clone());
        let outcome = if damage.is_some() { Outcome::Failed } else { Outcome::Ok };
        Line {
            id: Some(entry.id),
            error: damage.map(|check| format!("{}: {}", check.file, check.detail)),
            depth: Some(self.depth),
            damaged: self.damaged_backup(),
            checked: (damage.is_none() && !databases.is_empty())
                .then(|| SoundDatabases { tool: look.tool(), databases }),
            ..Line::new(look.now(), Command::Verify, outcome)
        }
    }
}

fn digests(file: &StoredFile) -> Option<DatabaseDigests> {
    match file.image() {
        Some(image) => Some(DatabaseDigests::of_image(image)),
        None => file.recorded.as_ref().and_then(DatabaseDigests::of),
    }
}

/// Verifies a file, unless that would only read again what was read already.
fn verify_unread(
    look: &Look<'_>,
    file: &StoredFile,
    level: Level,
    earlier: Option<DateTime<FixedOffset>>,
    read: &mut FilesRead,
) -> Result<Vec<Check>> {
    let is_to_be_checked = file.kind == Kind::Database && (earlier.is_none() || !file.increments.is_empty());
    if level == Level::Content && !is_to_be_checked && read.0.contains(&file.file) {
        let mut checks = Checks::of(&file.file);
        checks.ok(Aspect::Content, "stored and decoded bytes as recorded; read for an increment on it");
        return Ok(checks.list);
    }
    let found = verify_file(look, file, level, earlier)?;
    if found.iter().all(|check| check.verdict != Verdict::Damaged) && level == Level::Content {
        read.0.extend(file.parts().map(|part| part.file.clone()));
    }
    Ok(found)
}

fn verify_file(
    look: &Look<'_>,
    file: &StoredFile,
    level: Level,
    earlier: Option<DateTime<FixedOffset>>,
) -> Result<Vec<Check>> {
    let mut checks = Checks::of(file.last_part());
    let read = match (file.kind, earlier) {
        _ if level == Level::Stored => verify_stored(look, file, &mut checks),
        (Kind::Database, _) if file.damage().is_some() => verify_bytes(look, file, &mut checks),
        (Kind::Increment | Kind::Wal | Kind::Journal, _) => verify_bytes(look, file, &mut checks),
        (Kind::Database, Some(at)) => verify_content(look, file, at, &mut checks),
        (Kind::Database, None) => verify_database(look, file, &mut checks),
        (Kind::Files, _) => verify_archive(look, file, &mut checks),
    };
    match read {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Damaged => checks.damaged_by(Aspect::Content, &error),
        Err(error) => return Err(error),
    }
    Ok(checks.list)
}

/// Reads the stored bytes alone. Without a record, damage can't be seen.
fn verify_stored(look: &Look<'_>, file: &StoredFile, checks: &mut Checks<'_>) -> Result<()> {
    let mut compared = true;
    for part in file.parts() {
        compared &= look.reader().read_stored(part)?;
    }
    if compared {
        checks.ok(Aspect::Stored, "stored bytes as recorded; the content was not read");
    } else {
        checks.warning(Aspect::Stored, "nothing is recorded to compare the stored bytes with");
    }
    Ok(())
}

/// Reads all of a database whose bytes passed a whole check at that time.
fn verify_content(
    look: &Look<'_>,
    file: &StoredFile,
    at: DateTime<FixedOffset>,
    checks: &mut Checks<'_>,
) -> Result<()> {
    look.reader().copy_image(file, &mut io::sink(), None)?;
    checks.ok(
        Aspect::Content,
        format!("{}; the same bytes were checked whole on {}", content_detail(file), at.format("%F %R")),
    );
    Ok(())
}

fn verify_database(look: &Look<'_>, file: &StoredFile, checks: &mut Checks<'_>) -> Result<()> {
    let scratch = look.scratch(file.most_bytes())?;
    let path = scratch.path().join(format!("{}.db", file.name));
    let decoded = file::create_private(&path).map_err(|e| Error::io("create", &path, e))?;
    look.reader().copy_image(file, &mut &decoded, Some(&decoded))?;
    checks.ok(Aspect::Content, content_detail(file));
    check::database(checks, &path, Expected::of(file), Some(Scope::Flaws), look.progress())
}

/// Reads a damaged database, or a file beside it. There is nothing else to check.
fn verify_bytes(look: &Look<'_>, file: &StoredFile, checks: &mut Checks<'_>) -> Result<()> {
    look.reader().copy_image(file, &mut io::sink(), None)?;
    checks.ok(Aspect::Content, content_detail(file));
    if let Some(problem) = file.damage() {
        checks.warning(Aspect::Integrity, format!("{problem} (in the source as well)"));
    }
    Ok(())
}

fn verify_archive(look: &Look<'_>, file: &StoredFile, checks: &mut Checks<'_>) -> Result<()> {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    read_stored_archive(look.reader(), file, |member| {
        warnings.extend(syntax::flaw(&member));
        found.push(ConfigFile::entry(&member));
        Ok(())
    })?;
    checks.ok(Aspect::Content, content_detail(file));
    compare_entries(checks, &found, expected_entries(file));
    for warning in warnings {
        checks.warning(Aspect::Entries, format!("{} (in the source as well)", warning.message));
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
            checks.damaged(Aspect::Entries, detail);
        }
        Some(_) => checks.ok(Aspect::Entries, format!("{} files as recorded", found.len())),
        None => checks.ok(Aspect::Entries, format!("{} files", found.len())),
    }
}

fn content_detail(file: &StoredFile) -> &'static str {
    match file.recorded {
        Some(_) if !file.increments.is_empty() => "all parts, and the pages that they lead to, as recorded",
        Some(_) => "stored and decoded bytes as recorded",
        None => "decodes; nothing is recorded to compare with",
    }
}

fn expected_entries(file: &StoredFile) -> Option<&[FileEntry]> {
    match &file.recorded.as_ref()?.content {
        Content::Files { entries } => Some(entries),
        Content::Database(_) | Content::Increment(_) | Content::Wal | Content::Journal => None,
    }
}

/// Makes sure that a decoded database is sound before it is used, as far as `scope` says, and as recorded.
///
/// # Errors
/// [`ErrorKind::Damaged`] with the first problem; and as [`check::database`].
pub(crate) fn require_sound(
    progress: &dyn Progress,
    file: &StoredFile,
    decoded: &Path,
    scope: Option<Scope>,
) -> Result<()> {
    let mut checks = Checks::of(file.last_part());
    check::database(&mut checks, decoded, Expected::of(file), scope, progress)?;
    match checks.list.iter().find(|check| check.verdict == Verdict::Damaged) {
        None => Ok(()),
        Some(check) => Err(Error::damaged(&check.file, check.detail.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::run::Run;
    use crate::record::digest::Digest;
    use crate::record::manifest::{Facts, Manifest, Table};
    use crate::store::{LocalStore as _, MemoryStore, Store as _};
    use crate::testing::fixtures::{Site, id, publish, staged};

    const NOW: &str = "20251210_140000";

    fn verify_content(run: Run<'_>) -> Result<VerifyReport> {
        let session = Session::from(run);
        verify(&session, session.catalog()?.get(id(NOW))?, Level::Content, &EarlierChecks::none())
    }

    /// The result of verifying a backup whose manifest was changed.
    fn found(change: impl FnOnce(&mut Manifest)) -> VerifyReport {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        let mut manifest = Catalog::load(&store).unwrap().entries()[0].read_manifest(&store).unwrap();
        change(&mut manifest);
        publish(&store, &names::manifest(id(NOW)), &manifest.to_json());
        let run = site.begin(&store, NOW);
        let report = verify_content(run).unwrap();
        let line = Ledger::load(&store).unwrap().lines().last().unwrap().clone();
        let is_damaged = report.verdict == Verdict::Damaged;
        assert_eq!((line.command, line.id), (Command::Verify, Some(id(NOW))));
        assert_eq!((line.outcome == Outcome::Failed, line.error.is_some()), (is_damaged, is_damaged));
        report
    }

    fn damage(change: impl FnOnce(&mut Manifest)) -> Vec<(Aspect, String)> {
        let damaged = found(change).checks.into_iter().filter(|check| check.verdict == Verdict::Damaged);
        damaged.map(|check| (check.what, check.detail)).collect()
    }

    fn facts(manifest: &mut Manifest) -> &mut Facts {
        let database = manifest.artifacts.iter_mut().find_map(|artifact| match &mut artifact.content {
            Content::Database(database) => Some(database),
            _ => None,
        });
        &mut database.unwrap().facts
    }

    fn entries(manifest: &mut Manifest) -> &mut Vec<FileEntry> {
        let entries = manifest.artifacts.iter_mut().find_map(|artifact| match &mut artifact.content {
            Content::Files { entries } => Some(entries),
            _ => None,
        });
        entries.unwrap()
    }

    #[test]
    fn a_sound_backup_passes_every_check() {
        let report = found(|_| {});
        assert_eq!(report.verdict, Verdict::Ok);
        let whats: Vec<Aspect> = report.checks.iter().map(|check| check.what).collect();
        let database =
            [Aspect::Content, Aspect::Integrity, Aspect::ForeignKeys, Aspect::Schema, Aspect::Header, Aspect::Rows];
        assert_eq!(whats, [&database[..], &[Aspect::Content, Aspect::Entries]].concat());
        assert!(report.recorded);
    }

    #[test]
    fn stored_bytes_alone_prove_nothing_of_their_content() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        let session = site.session(&store, NOW);
        let verify_at = |level| {
            let catalog = session.catalog().unwrap();
            let report = verify(&session, catalog.get(id(NOW)).unwrap(), level, &EarlierChecks::none()).unwrap();
            let ledger = Ledger::load(&store).unwrap();
            assert_eq!(ledger.lines().last().unwrap().depth, Some(report.depth));
            (report.verdict, ledger.is_known_bad(id(NOW)), ledger.last_proved(id(NOW)).is_some())
        };
        assert_eq!(verify_at(Level::Stored), (Verdict::Ok, false, false));
        assert_eq!(verify_at(Level::Content), (Verdict::Ok, false, true));
        // The manifest and the stored bytes agree, but these decode to something else than was saved.
        let mut manifest = Catalog::load(&store).unwrap().entries()[0].read_manifest(&store).unwrap();
        manifest.artifacts[0].plain_sha256 = Digest::of(b"");
        publish(&store, &names::manifest(id(NOW)), &manifest.to_json());
        assert_eq!(verify_at(Level::Content), (Verdict::Damaged, true, true));
        assert_eq!(verify_at(Level::Stored), (Verdict::Ok, true, true), "it takes nothing back");
        store.remove(&manifest.artifacts[0].file).unwrap();
        publish(&store, &manifest.artifacts[0].file, b"something else");
        assert_eq!(verify_at(Level::Stored).0, Verdict::Damaged);
    }

    #[test]
    fn stored_bytes_alone_rely_on_no_earlier_check() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        let session = site.session(&store, NOW);
        let verify_at = |level| {
            let (catalog, earlier) = (session.catalog().unwrap(), session.earlier_checks(&session.ledger().unwrap()));
            let report = verify(&session, catalog.get(id(NOW)).unwrap(), level, &earlier).unwrap();
            (report.depth, report.checked_whole_at)
        };
        let now = Some(id(NOW).time().fixed_offset());
        assert_eq!(verify_at(Level::Content), (Depth::Whole, None));
        assert_eq!(verify_at(Level::Content), (Depth::Content, now));
        assert_eq!(verify_at(Level::Stored), (Depth::Stored, None));
    }

    #[test]
    fn what_differs_from_the_manifest_is_damage_of_that_kind() {
        let whats = |change: fn(&mut Manifest)| damage(change).into_iter().map(|(what, _)| what).collect::<Vec<_>>();
        assert_eq!(whats(|manifest| facts(manifest).schema_sha256 = Digest::of(b"")), [Aspect::Schema]);
        assert_eq!(whats(|manifest| facts(manifest).user_version = 9), [Aspect::Header]);
        assert_eq!(whats(|manifest| facts(manifest).application_id = 9), [Aspect::Header]);
        assert_eq!(whats(|manifest| facts(manifest).tables[0].rows += 1), [Aspect::Rows]);
        assert_eq!(whats(|manifest| manifest.artifacts[0].sha256 = Digest::of(b"")), [Aspect::Content]);
        assert_eq!(whats(|manifest| manifest.artifacts[1].plain_bytes += 1), [Aspect::Content]);
    }

    #[test]
    fn a_table_that_is_missing_is_named() {
        let missing = |manifest: &mut Manifest| facts(manifest).tables.push(Table { name: "session".into(), rows: 0 });
        assert_eq!(damage(missing), [(Aspect::Rows, "table session is missing".into())]);
    }

    #[test]
    fn a_configuration_file_that_differs_is_named() {
        let named = |change: fn(&mut Vec<FileEntry>)| {
            let [(Aspect::Entries, detail)] = &damage(|manifest| change(entries(manifest)))[..] else {
                panic!("one check")
            };
            assert!(detail.starts_with(".env: "), "{detail}");
        };
        named(|entries| entries[0].sha256 = Digest::of(b""));
        named(|entries| entries[0].mode = 0o777);
        named(Vec::clear);
    }

    #[test]
    fn a_backup_that_holds_nothing_cannot_be_verified() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        publish(&store, &names::manifest(id(NOW)), b"{\"format\": 1}");
        let run = site.begin(&store, NOW);
        let lines = Ledger::load(&store).unwrap().lines().len();
        let error = verify_content(run).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadManifest);
        assert_eq!(Ledger::load(&store).unwrap().lines().len(), lines, "nothing was proved or disproved");
    }

    #[test]
    fn rows_without_a_parent_are_a_warning() {
        let site = Site::new();
        site.execute(
            "PRAGMA foreign_keys = off; CREATE TABLE visits(session REFERENCES sessions);
             INSERT INTO visits VALUES (99);",
        );
        let store = site.local();
        site.backup(&store, NOW);
        let run = site.begin(&store, NOW);
        let report = verify_content(run).unwrap();
        assert_eq!(report.verdict, Verdict::Warning);
        assert_eq!(staged(&store), Vec::<String>::new(), "nothing decoded is left");
        let line = Ledger::load(&store).unwrap().lines().last().unwrap().outcome;
        assert_eq!(line, Outcome::Ok, "a flaw of the source is no failure");
    }

    #[test]
    fn a_database_is_guessed_to_be_five_times_its_compressed_size_if_nothing_is_recorded() {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, NOW);
        let catalog = Catalog::load(&store).unwrap();
        let file = catalog.stored_files(&catalog.entries()[0], &store, Selection::ALL).unwrap().remove(0);
        assert_eq!(file.plain_bytes(), file.recorded.as_ref().unwrap().plain_bytes);
        assert_eq!(StoredFile { recorded: None, bytes: Some(7), ..file.clone() }.plain_bytes(), 35);
        assert_eq!(StoredFile { recorded: None, bytes: None, ..file.clone() }.plain_bytes(), 0);
        assert!(store.scratch().is_none() && file.facts().is_some());
    }
}
