//! A snapshot page by page: the pages of one read transaction, in their order.

use std::borrow::Cow;
use std::path::Path;

use rusqlite::Transaction;

use super::facts::facts;
use super::header::WAL_FLAGS;
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress, Step};
use crate::record::manifest::Facts;

/// Calls `each` with the database's pages in their order, and returns what the database shows. Together the pages are a
/// complete database in rollback mode, whatever the mode of the source.
///
/// # Errors
/// As [`vacuum_into`](super::vacuum::vacuum_into), and the error of `each`.
pub(crate) fn pages(
    transaction: &Transaction<'_>,
    source: &Path,
    progress: &dyn Progress,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Facts> {
    let failed = |e| Error::sqlite("take a snapshot of", source, &e);
    let facts = facts(transaction, source, progress)?;
    let total = facts.page_count * u64::from(facts.page_size);
    let step = Step::begin(progress, Phase::Snapshot, &source.display().to_string(), Some(total));
    let mut statement = transaction.prepare("SELECT pgno, data FROM sqlite_dbpage ORDER BY pgno").map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let page = row.get_ref(1).and_then(|page| Ok(page.as_blob()?)).map_err(failed)?;
        let is_first = row.get::<_, i64>(0).map_err(failed)? == 1;
        each(&if is_first { in_rollback_mode(page) } else { page.into() })?;
        step.advance(page.len() as u64);
        if progress.should_stop() {
            return Err(Error::interrupted());
        }
    }
    Ok(facts)
}

/// The first page, with a header that says rollback mode.
pub(super) fn in_rollback_mode(page: &[u8]) -> Cow<'_, [u8]> {
    let mut page = page.to_vec();
    page[WAL_FLAGS].fill(1);
    page.into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use rusqlite::Connection;

    use super::*;
    use crate::error::ErrorKind;
    use crate::progress::Silent;
    use crate::record::manifest::Table;
    use crate::source::sqlite::{begin_reading, open_read_only, pragma};

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_copy_by_pages_is_the_database_in_rollback_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch(
                "PRAGMA page_size = 512; PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(x);
                 INSERT INTO t VALUES (randomblob(5000)), (randomblob(5000)); DELETE FROM t WHERE rowid = 1",
            )
            .unwrap();
        let reader = open_read_only(&path, PATIENCE).unwrap();
        let mut image = Vec::new();
        let facts = pages(&begin_reading(&reader, &path).unwrap(), &path, &Silent, |page| {
            image.extend_from_slice(page);
            // The snapshot is frozen: what is committed now is not in it.
            writer.execute_batch("INSERT INTO t VALUES (1)").unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(image.len() as u64, facts.page_count * u64::from(facts.page_size));
        let copy = folder.path().join("copy.db");
        fs::write(&copy, &image).unwrap();
        let copied = open_read_only(&copy, PATIENCE).unwrap();
        assert_eq!(pragma::<String>(&copied, "journal_mode").unwrap(), "delete");
        assert_eq!(super::facts(&copied, &copy, &Silent).unwrap(), facts);
        assert_eq!(facts.tables, [Table { name: "t".into(), rows: 1 }]);
    }

    #[test]
    fn a_copy_by_pages_stops_when_asked_to_and_when_nobody_takes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        let reader = open_read_only(&path, PATIENCE).unwrap();
        let reader = begin_reading(&reader, &path).unwrap();
        let stopped = pages(&reader, &path, &crate::testing::fixtures::Stop, |_| Ok(()));
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
        let refused = pages(&reader, &path, &Silent, |_| Err(Error::new(ErrorKind::NoSpace, "full")));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::NoSpace);
    }
}
