//! Connections to exactly the file that is meant.
//!
//! SQLite opens a path and follows links by itself. If somebody exchanges a folder on that path at the right moment, it opens
//! another database. So, before anything is written, the files that this process has open are compared with the one meant.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rusqlite::Connection;

use crate::disk::links::ResolvedFile;
use crate::disk::paths;
use crate::disk::place::{Identity, Place, identity};
use crate::error::{Error, ErrorKind, Result};
use crate::source::sqlite;

/// Opens the database at `place` with `open`, and makes sure that this is the file which was opened.
///
/// # Errors
/// That of `open`; [`ErrorKind::Io`] if another file was opened, or the log is elsewhere.
pub(super) fn open(place: &Place, open: impl FnOnce(&Path) -> Result<Connection>) -> Result<Connection> {
    let (path, real) = (place.path(), place.real()?);
    let stat = |suffix| real.stat(suffix).map_err(|e| Error::io("stat", &paths::with_suffix(&path, suffix), e.into()));
    // A missing file is reported by `open`.
    let Some(meant) = stat("")?.as_ref().map(identity) else { return open(&path) };
    let before = times_open(meant);
    let connection = open(&path)?;
    let is_meant = match (before, times_open(meant)) {
        (Some(before), Some(after)) => after > before,
        // Without /proc, the path has to suffice.
        _ => fs::metadata(&path).is_ok_and(|found| (found.dev(), found.ino()) == meant),
    };
    if is_meant && is_log_beside(&connection, &real) {
        return Ok(connection);
    }
    let message = format!("SQLite has opened another file than {}", path.display());
    Err(Error::new(ErrorKind::Io, message).with_hint("see who can write there, then run the command again"))
}

/// Whether the `-wal` and `-shm` of a database in WAL mode are the files beside it.
fn is_log_beside(connection: &Connection, real: &ResolvedFile) -> bool {
    match sqlite::pragma::<String>(connection, "journal_mode") {
        Ok(mode) if mode == "wal" => {}
        mode => return mode.is_ok(),
    }
    ["-wal", "-shm"].iter().all(|suffix| {
        let there = real.stat(suffix).ok().flatten();
        there.is_some_and(|stat| times_open(identity(&stat)).is_none_or(|times| times > 0))
    })
}

/// How often this process has that file open; `None` if unknown.
fn times_open(file: Identity) -> Option<usize> {
    let is_it = |entry: &fs::DirEntry| fs::metadata(entry.path()).is_ok_and(|it| (it.dev(), it.ino()) == file);
    let open = fs::read_dir("/proc/self/fd").ok()?;
    Some(open.flatten().filter(is_it).count())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A database in a folder by that name.
    fn database(root: &Path, folder: &str, mode: &str) {
        fs::create_dir(root.join(folder)).unwrap();
        let database = Connection::open(root.join(folder).join("a.db")).unwrap();
        database.execute_batch(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(x)")).unwrap();
    }

    #[test]
    fn a_folder_that_is_exchanged_for_a_link_at_the_last_moment_is_noticed() {
        for mode in ["delete", "wal"] {
            let root = tempfile::tempdir().unwrap();
            database(root.path(), "data", mode);
            database(root.path(), "other", mode);
            let place = Place::of(root.path(), "data/a.db");
            let open_it = |path: &Path| sqlite::open_read_write(path, Duration::ZERO);
            open(&place, open_it).unwrap();
            let exchanged = open(&place, |path| {
                fs::rename(root.path().join("data"), root.path().join("moved")).unwrap();
                std::os::unix::fs::symlink("other", root.path().join("data")).unwrap();
                let opened = open_it(path);
                // Put back, so that no later check of the path would show it.
                fs::remove_file(root.path().join("data")).unwrap();
                fs::rename(root.path().join("moved"), root.path().join("data")).unwrap();
                opened
            });
            assert!(exchanged.unwrap_err().to_string().starts_with("SQLite has opened another file than "), "{mode}");
        }
    }

    #[test]
    fn a_log_elsewhere_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        database(root.path(), "data", "wal");
        database(root.path(), "other", "wal");
        let place = Place::of(root.path(), "data/a.db");
        let opened = open(&place, |path| {
            // Opening is lazy: the log is opened by the first read.
            let connection = Connection::open(path).unwrap();
            fs::rename(root.path().join("data"), root.path().join("moved")).unwrap();
            std::os::unix::fs::symlink("other", root.path().join("data")).unwrap();
            let _ = connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
            Ok(connection)
        });
        assert!(opened.is_err());
    }
}
