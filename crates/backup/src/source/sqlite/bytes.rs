//! A damaged database as bytes: the whole file, its `-wal` and its `-journal`. SQLite would leave out what it can't
//! read, and that may be what somebody wants back.
//!
//! Two hazards. First, if a log is reset or a transaction committed after one file is read and before the next, the files
//! are of two states. So the database is read before its log, and in a read transaction if SQLite can open it: then nobody
//! can reset the log or, in rollback mode, commit. Second, closing a file drops all locks that SQLite has on it in this
//! process. So the file stays open longer than SQLite's connections to it ([`Descriptors`]).

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rusqlite::Connection;

use super::open::open_damaged;
use super::query;
use super::transaction::begin;
use crate::disk::file;
use crate::error::{Error, ErrorKind, Result};
use crate::record::names::Kind;

/// Open files of databases. Drop it after all connections of this process to them: closing any descriptor of a file drops
/// the locks that SQLite has on it (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).
#[derive(Default)]
pub(crate) struct Descriptors(RefCell<Vec<Rc<File>>>);

impl Descriptors {
    /// Opens a database for reading.
    ///
    /// # Errors
    /// As the operating system says; and if it is no plain file.
    pub fn open(&self, path: &Path) -> Result<Rc<File>> {
        let file = Rc::new(file::open_plain(path).map_err(|e| Error::io("open", path, e))?);
        self.0.borrow_mut().push(Rc::clone(&file));
        Ok(file)
    }
}

/// A connection in a read transaction, which keeps the database's files in one state; `None` if SQLite can't read it.
///
/// # Errors
/// [`ErrorKind::Busy`], [`ErrorKind::PermissionDenied`] and others that say nothing about the database itself.
pub(crate) fn hold(path: &Path, busy_timeout: Duration) -> Result<Option<Connection>> {
    let held = open_damaged(path, busy_timeout).and_then(|connection| begin(&connection, path).map(|()| connection));
    match held {
        Err(error) if error.means_unreadable() || error.kind() == ErrorKind::HotJournal => Ok(None),
        held => held.map(Some),
    }
}

/// The file of this kind beside the database at `path`, if SQLite needs it: its log, or a journal that can be rolled back.
///
/// # Errors
/// As [`Descriptors::open`].
pub(crate) fn beside(path: &Path, kind: Kind) -> Result<Option<File>> {
    let suffix = if kind == Kind::Wal { "-wal" } else { "-journal" };
    let place = query::beside(path, suffix)?;
    let opened = file::open_plain(&place).and_then(|file| {
        // A journal that is no longer needed is empty or begins with zeros
        // (https://www.sqlite.org/fileformat2.html, section 3).
        let mut first = [0];
        let is_used = file.read_at(&mut first, 0)? == 1 && (kind == Kind::Wal || first != [0]);
        Ok(is_used.then_some(file))
    });
    match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map_err(|e| Error::io("open", &place, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::paths::with_suffix;

    #[test]
    fn a_log_is_kept_and_a_journal_that_could_be_rolled_back() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a.db"), folder.path().join("link.db"));
        std::fs::write(&path, "").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let is_kept = |kind: Kind, content: &[u8]| {
            let suffix = if kind == Kind::Wal { "-wal" } else { "-journal" };
            std::fs::write(with_suffix(&path, suffix), content).unwrap();
            beside(&link, kind).unwrap().is_some()
        };
        assert!(beside(&link, Kind::Wal).unwrap().is_none() && beside(&link, Kind::Journal).unwrap().is_none());
        assert!(!is_kept(Kind::Wal, b"") && is_kept(Kind::Wal, b"\0log"));
        assert!(!is_kept(Kind::Journal, b"") && !is_kept(Kind::Journal, b"\0done") && is_kept(Kind::Journal, b"hot"));
    }

    #[test]
    fn a_file_that_is_read_beside_sqlite_drops_none_of_its_locks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        let others = |sql: &str| {
            // Another process: locks of one process don't exclude each other.
            let sqlite3 = std::process::Command::new("sqlite3").arg(&path).arg(sql).output().unwrap();
            sqlite3.status.success()
        };
        let descriptors = Descriptors::default();
        let held = hold(&path, Duration::ZERO).unwrap().unwrap();
        drop(descriptors.open(&path).unwrap());
        assert!(!others("INSERT INTO t VALUES (1)"), "kept out by the read transaction");
        drop(held);
        assert!(others("INSERT INTO t VALUES (1)"));
    }
}
