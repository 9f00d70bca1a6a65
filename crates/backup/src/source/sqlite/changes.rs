//! Which pages of a live database changed since a snapshot.
//!
//! The hazard: a page that changed and isn't noticed makes every later increment wrong. SQLite delivers the content, and
//! the log only hints where to look. The order of steps makes the hint complete:
//!
//! 1. The position is read, the end of what is visible in the log.
//! 2. The read transaction begins. So it reads at least what is before the position, which the next look begins at.
//! 3. The candidates are read, the pages of all frames after the position of the look before. What the transaction reads
//!    was in the log before it began, so they are complete; frames that it doesn't read do no harm.
//! 4. The log's header is read once more. If the log has begun anew meanwhile, frames may have been overwritten.
//!
//! Whenever that can't be said of a log, every page is compared. A candidate that is as it was didn't change.

#[cfg(test)]
mod model;

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, DropBehavior, Statement, Transaction};

use super::log::{self, Before, Log, Position};
use super::pages::in_rollback_mode;
use super::query::{beside, pragma};
use super::transaction::begin_reading;
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress, Step};
use crate::record::pages::{PageDigest, PageList};

/// What a look compares with: the snapshot that was looked at before.
#[derive(Clone, Copy)]
pub(crate) enum Since<'a> {
    /// There was none, or it had no position.
    Unknown,
    /// It had this position.
    Position(&'a Position),
    /// This one, still open. Then the log may have begun anew since.
    Open(&'a Connection, &'a Position),
}

/// A snapshot of a live database that can be read, as long as this lives.
pub(crate) struct OpenSnapshot<'a> {
    transaction: Transaction<'a>,
    path: &'a Path,
    position: Option<Position>,
    /// All pages that may differ from the snapshot before; `None` if any may.
    candidates: Option<BTreeSet<u32>>,
}

/// How changed pages were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The log said where to look.
    Log,
    /// All pages were compared.
    Compare,
}

/// The pages of a snapshot that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changed {
    pub page_size: u32,
    pub page_count: u64,
    /// The numbers of pages that differ or are new, in order; pages count from 1.
    pub pages: Vec<u32>,
    pub by: Found,
}

/// Begins a snapshot of the database at `path`, opened as `connection`, and finds out where it can differ from the one
/// before. For [`Since::Open`] that must be a snapshot of another connection.
///
/// # Errors
/// [`Busy`](crate::ErrorKind::Busy), [`Damaged`](crate::ErrorKind::Damaged) and the like.
pub(crate) fn look<'a>(connection: &'a Connection, path: &'a Path, since: Since<'_>) -> Result<OpenSnapshot<'a>> {
    look_with(connection, path, since, &mut || ())
}

/// As [`look`]; calls `between` after each step, so that a test can let others write then.
fn look_with<'a>(
    connection: &'a Connection,
    path: &'a Path,
    since: Since<'_>,
    between: &mut dyn FnMut(),
) -> Result<OpenSnapshot<'a>> {
    let wal = beside(path, "-wal")?;
    let position = log::position(connection, &wal)?;
    between();
    let transaction = begin_reading(connection, path)?;
    between();
    let candidates = match since.position() {
        Some((since, before)) => candidates(&wal, since, position.as_ref(), before, between)?,
        None => None,
    };
    Ok(OpenSnapshot { transaction, path, position, candidates })
}

/// The position in the log of the database at `path`, opened as `connection`, which is in no transaction yet.
///
/// # Errors
/// As [`look`].
pub(crate) fn position(connection: &Connection, path: &Path) -> Result<Option<Position>> {
    log::position(connection, &beside(path, "-wal")?)
}

/// All pages that can have changed since a position, in a snapshot that has begun after the position `now`; `None` if
/// any can.
///
/// # Errors
/// As [`look`].
pub(crate) fn candidates_since(path: &Path, since: &Position, now: Option<&Position>) -> Result<Option<BTreeSet<u32>>> {
    candidates(&beside(path, "-wal")?, since, now, Before::Ended, &mut || ())
}

/// The pages of all frames after `since`; `None` if the log has begun anew.
fn candidates(
    wal: &Path,
    since: &Position,
    now: Option<&Position>,
    before: Before,
    between: &mut dyn FnMut(),
) -> Result<Option<BTreeSet<u32>>> {
    let Some(log) = Log::open(wal)? else { return Ok(None) };
    let Some(first) = log.first_after(since, now, before)? else { return Ok(None) };
    between();
    let pages = log.pages_from(first)?;
    between();
    Ok(log.is_unchanged()?.then_some(pages))
}

impl<'a> Since<'a> {
    fn position(self) -> Option<(&'a Position, Before)> {
        match self {
            Self::Unknown => None,
            Self::Position(position) => Some((position, Before::Ended)),
            Self::Open(connection, position) => {
                // SQLite itself ends a transaction after some errors.
                let before = if connection.is_autocommit() { Before::Ended } else { Before::Open };
                Some((position, before))
            }
        }
    }
}

impl OpenSnapshot<'_> {
    /// What to pass to the next look, once it is known what this one changed. `None` if there is no log.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Leaves the snapshot open on its connection, until that is closed. Returns its position.
    pub fn leave_open(mut self) -> Option<Position> {
        self.transaction.set_drop_behavior(DropBehavior::Ignore);
        self.position
    }

    /// The pages that differ from `list`, which must be that of the snapshot before, with pages of `page_size`. Makes it
    /// the list of this one; after an error it is that of none.
    ///
    /// # Errors
    /// [`Damaged`](crate::ErrorKind::Damaged) and the like, [`Interrupted`](crate::ErrorKind::Interrupted).
    pub fn changed(&self, list: &mut PageList, page_size: u32, progress: &dyn Progress) -> Result<Changed> {
        changed(&self.transaction, self.path, self.candidates.as_ref(), list, page_size, progress)
    }

    /// Calls `each` with these pages of the snapshot and their numbers. Page 1 says rollback mode, whatever the mode.
    ///
    /// # Errors
    /// [`Damaged`](crate::ErrorKind::Damaged) and the like, also if there is no such page; and the error of `each`.
    pub fn read_pages(
        &self,
        numbers: impl IntoIterator<Item = u32>,
        each: impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        read_pages(&self.transaction, self.path, numbers, each)
    }
}

/// As [`OpenSnapshot::changed`], with the candidates, or without them comparing all pages.
fn changed(
    transaction: &Transaction<'_>,
    path: &Path,
    candidates: Option<&BTreeSet<u32>>,
    list: &mut PageList,
    believed_page_size: u32,
    progress: &dyn Progress,
) -> Result<Changed> {
    let failed = |e| Error::sqlite("read", path, &e);
    let page_size: u32 = pragma(transaction, "page_size").map_err(failed)?;
    let page_count: u32 = pragma(transaction, "page_count").map_err(failed)?;
    if page_size != believed_page_size {
        *list = PageList::default();
    }
    list.truncate(page_count.into());
    let numbers = match candidates {
        Some(candidates) if list.len() > 0 => Some(to_compare(candidates, list.len(), page_count)),
        _ => None,
    };
    let by = if numbers.is_some() { Found::Log } else { Found::Compare };
    let count = numbers.as_ref().map_or(u64::from(page_count), |numbers| numbers.len() as u64);
    let total = Some(count * u64::from(page_size));
    let step = Step::begin(progress, Phase::Snapshot, &path.display().to_string(), total);
    let mut pages = Vec::new();
    let compare = |number: u32, page: &[u8]| {
        let digest = PageDigest::of(page);
        if list.get(number.into()) != Some(digest) {
            list.set(number.into(), digest);
            pages.push(number);
        }
        step.advance(page.len() as u64);
        if progress.should_stop() { Err(Error::interrupted()) } else { Ok(()) }
    };
    match numbers {
        Some(numbers) => read_pages(transaction, path, numbers, compare)?,
        None => read_pages(transaction, path, 1..=page_count, compare)?,
    }
    Ok(Changed { page_size, page_count: page_count.into(), pages, by })
}

/// The pages to compare if only candidates can have changed: also the first one, and those beyond the list's end.
fn to_compare(candidates: &BTreeSet<u32>, listed: u64, page_count: u32) -> BTreeSet<u32> {
    let first_new = u32::try_from(listed + 1).unwrap_or(u32::MAX);
    let listed = candidates.iter().copied().filter(|number| (1..=page_count).contains(number));
    listed.chain([1]).chain(first_new..=page_count).collect()
}

/// As [`OpenSnapshot::read_pages`].
fn read_pages(
    transaction: &Transaction<'_>,
    path: &Path,
    numbers: impl IntoIterator<Item = u32>,
    mut each: impl FnMut(u32, &[u8]) -> Result<()>,
) -> Result<()> {
    let failed = |e| Error::sqlite("read", path, &e);
    let mut statement = transaction.prepare("SELECT data FROM sqlite_dbpage WHERE pgno = ?1").map_err(failed)?;
    numbers.into_iter().try_for_each(|number| read_page(&mut statement, path, number, &mut each))
}

fn read_page(
    statement: &mut Statement<'_>,
    path: &Path,
    number: u32,
    each: &mut dyn FnMut(u32, &[u8]) -> Result<()>,
) -> Result<()> {
    let failed = |e| Error::sqlite("read", path, &e);
    let mut rows = statement.query([number]).map_err(failed)?;
    let row = rows.next().map_err(failed)?.ok_or_else(|| failed(rusqlite::Error::QueryReturnedNoRows))?;
    let page = row.get_ref(0).and_then(|page| Ok(page.as_blob()?)).map_err(failed)?;
    if number == 1 { each(number, &in_rollback_mode(page)) } else { each(number, page) }
}

#[cfg(test)]
mod tests {
    /// The snapshot before, which is still open.
    fn open<'a>(snapshot: &'a OpenSnapshot<'_>) -> Since<'a> {
        snapshot.position().map_or(Since::Unknown, |position| Since::Open(&snapshot.transaction, position))
    }

    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::path::PathBuf;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::error::ErrorKind;
    use crate::progress::Silent;
    use crate::source::sqlite::open_read_only;
    use crate::testing::fixtures::Stop;

    fn site(sql: &str) -> (TempDir, PathBuf, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch(&format!("PRAGMA synchronous = off; {sql}; CREATE TABLE t(id INTEGER PRIMARY KEY, v)"))
            .unwrap();
        (folder, path, writer)
    }

    fn reader(path: &Path) -> Connection {
        open_read_only(path, Duration::from_secs(30)).unwrap()
    }

    const WAL: &str = "PRAGMA page_size = 512; PRAGMA journal_mode = wal";

    #[test]
    fn a_look_finds_what_changed_and_by_the_log_if_it_can() {
        let (_folder, path, writer) = site(WAL);
        writer.execute_batch("INSERT INTO t VALUES (1, zeroblob(2000)), (2, zeroblob(2000))").unwrap();
        let (one, two, mut list) = (reader(&path), reader(&path), PageList::default());
        let first = look(&one, &path, Since::Unknown).unwrap();
        let all = first.changed(&mut list, 0, &Silent).unwrap();
        assert_eq!((all.by, all.page_size, all.pages.len() as u64), (Found::Compare, 512, all.page_count));
        assert_eq!(all.pages, (1..=u32::try_from(all.page_count).unwrap()).collect::<Vec<_>>());
        let position = first.position().cloned().unwrap();
        writer.execute_batch("UPDATE t SET v = zeroblob(2000) WHERE id = 1; PRAGMA user_version = 7").unwrap();
        for since in [open(&first), Since::Position(&position)] {
            let changed = look(&two, &path, since).unwrap().changed(&mut list.clone(), 512, &Silent).unwrap();
            assert_eq!(changed, Changed { pages: vec![1], by: Found::Log, ..all.clone() });
        }
        // Freed pages are no longer in the image; new ones are all there, changed or not.
        writer.execute_batch("DELETE FROM t; VACUUM").unwrap();
        let less = look(&two, &path, Since::Position(&position)).unwrap();
        let shrunk = less.changed(&mut list, 512, &Silent).unwrap();
        assert_eq!((shrunk.by, shrunk.page_count, list.len()), (Found::Log, 2, 2));
    }

    #[test]
    fn another_page_size_makes_all_pages_new() {
        let (_folder, path, writer) = site("PRAGMA page_size = 512");
        let (reader, mut list) = (reader(&path), PageList::default());
        look(&reader, &path, Since::Unknown).unwrap().changed(&mut list, 512, &Silent).unwrap();
        writer.execute_batch("PRAGMA page_size = 1024; VACUUM").unwrap();
        let changed = look(&reader, &path, Since::Unknown).unwrap().changed(&mut list, 512, &Silent).unwrap();
        assert_eq!((changed.page_size, changed.page_count, changed.pages), (1024, 2, vec![1, 2]));
    }

    #[test]
    fn a_log_that_began_anew_is_a_hint_only_while_the_snapshot_before_is_open() {
        let (_folder, path, writer) = site(WAL);
        let (one, two, mut list) = (reader(&path), reader(&path), PageList::default());
        writer.execute_batch("PRAGMA wal_checkpoint(full)").unwrap();
        let before = look(&one, &path, Since::Unknown).unwrap();
        before.changed(&mut list, 512, &Silent).unwrap();
        writer.execute_batch("INSERT INTO t VALUES (1, 1)").unwrap();
        let after = |since| look(&two, &path, since).unwrap().changed(&mut list.clone(), 512, &Silent).unwrap();
        let by_log = after(open(&before));
        assert_eq!((by_log.by, &by_log.pages[..]), (Found::Log, &[2][..]));
        before.transaction.execute_batch("ROLLBACK").unwrap();
        for since in [open(&before), Since::Position(before.position().unwrap())] {
            assert_eq!(after(since), Changed { by: Found::Compare, ..by_log.clone() });
        }
    }

    #[test]
    fn a_log_that_begins_anew_during_a_look_is_no_hint() {
        for step in 1..=4 {
            let (_folder, path, writer) = site(WAL);
            let (reader, mut list, mut whole) = (reader(&path), PageList::default(), PageList::default());
            let before = look(&reader, &path, Since::Unknown).unwrap();
            before.changed(&mut list, 512, &Silent).unwrap();
            let position = before.position().cloned().unwrap();
            drop(before);
            writer.execute_batch("INSERT INTO t VALUES (1, zeroblob(9000)); PRAGMA wal_checkpoint(full)").unwrap();
            let mut steps = 0;
            let snapshot = look_with(&reader, &path, Since::Position(&position), &mut || {
                steps += 1;
                if steps == step {
                    // Its frames overwrite those of the other transaction.
                    writer.execute_batch("UPDATE t SET v = zeroblob(8999)").unwrap();
                }
            });
            let snapshot = snapshot.unwrap();
            let found = snapshot.changed(&mut list, 512, &Silent).unwrap();
            changed(&snapshot.transaction, &path, None, &mut whole, 512, &Silent).unwrap();
            assert!(list == whole && found.by == Found::Compare, "{step}");
        }
    }

    #[test]
    fn an_empty_database_has_no_pages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        File::create(&path).unwrap();
        let (reader, mut list) = (reader(&path), PageList::default());
        list.set(1, PageDigest::of(b"of a page that was"));
        let changed = look(&reader, &path, Since::Unknown).unwrap().changed(&mut list, 4096, &Silent).unwrap();
        assert_eq!((changed.page_count, changed.pages, list.len()), (0, vec![], 0));
    }

    #[test]
    fn the_page_that_sqlite_locks_is_zeros_and_what_is_around_it_is_read() {
        // Page 16385, at 1 GiB (https://www.sqlite.org/fileformat2.html#the_lock_byte_page).
        const LOCK: u32 = (1 << 30) / 65_536 + 1;
        let (_folder, path, writer) = site("PRAGMA page_size = 65536");
        drop(writer);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(u64::from(LOCK + 1) * 65_536).unwrap();
        // As many pages as the file has; and what may be on a page that SQLite never reads.
        file.write_all_at(&(LOCK + 1).to_be_bytes(), 28).unwrap();
        file.write_all_at(&vec![7; 65_536], u64::from(LOCK - 1) * 65_536).unwrap();
        file.write_all_at(&vec![8; 65_536], u64::from(LOCK) * 65_536).unwrap();
        let reader = reader(&path);
        let (snapshot, mut first_bytes) = (look(&reader, &path, Since::Unknown).unwrap(), Vec::new());
        let pages = [LOCK - 1, LOCK, LOCK + 1];
        snapshot
            .read_pages(pages, |number, page| {
                assert_eq!(page.len(), 65_536);
                first_bytes.push((number, page[0]));
                Ok(())
            })
            .unwrap();
        assert_eq!(first_bytes, [(LOCK - 1, 0), (LOCK, 0), (LOCK + 1, 8)]);
        let none = snapshot.read_pages([LOCK + 2], |_, _| Ok(()));
        assert_eq!(none.unwrap_err().kind(), ErrorKind::Sqlite);
    }

    #[test]
    fn the_first_page_says_rollback_mode_and_a_comparison_stops_when_asked_to() {
        let (_folder, path, _writer) = site(WAL);
        let reader = reader(&path);
        let snapshot = look(&reader, &path, Since::Unknown).unwrap();
        let read = |_, page: &[u8]| {
            assert_eq!(page[18..20], [1, 1]);
            Ok(())
        };
        snapshot.read_pages([1], read).unwrap();
        let stopped = snapshot.changed(&mut PageList::default(), 512, &Stop);
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    }
}
