//! Limits on what a database can make SQLite do.
//!
//! Somebody who can send data to the application, or write to a store, chooses what is read here, even the schema. In a file
//! of a few kilobytes, an index on `length(hex(zeroblob(x)))` takes gigabytes, and nested views can take minutes to expand.
//! So views and triggers are off where only tables are read, no value can be much longer than its file, and SQLite's memory
//! has a limit.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;

use crate::disk::paths::with_suffix;

/// The most memory of SQLite in this process: enough for a row of 100 MB with an index on it.
pub(crate) const HEAP: u64 = 512 << 20;

/// How many times longer than its files a value can be. Expressions in the schema, such as `hex(x)`, make long ones.
const TIMES: u64 = 4;

/// The longest value of an empty database, which can grow before it is read.
const SHORTEST: u64 = 4 << 20;

/// SQLite's default cache size, used whatever the header of a database suggests.
const CACHE: i64 = -2000;

/// Limits what the database at `path` can do through `connection`. Nothing in it is trusted: views and triggers are off, and
/// its schema can't call functions with side effects.
pub(super) fn limit(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    use DbConfig::{
        SQLITE_DBCONFIG_DEFENSIVE, SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_VIEW,
        SQLITE_DBCONFIG_TRUSTED_SCHEMA,
    };
    connection.set_db_config(SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, longest_value(path))?;
    // For the whole process, and it can't be raised again (https://www.sqlite.org/pragma.html#pragma_hard_heap_limit).
    connection.pragma_update(None, "hard_heap_limit", HEAP.cast_signed())
}

/// Turns views and triggers on, which the application's own queries need.
pub(super) fn allow_views_and_triggers(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
    Ok(())
}

/// Allows reading a damaged schema, which defensive mode forbids.
pub(super) fn allow_damaged_schema(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    connection.pragma_update(None, "writable_schema", true)
}

/// Limits the cache, after the header was read: it can suggest one as large as the database.
pub(super) fn limit_cache(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "cache_size", CACHE)
}

/// Bytes of the longest value that the database at `path` can need.
fn longest_value(path: &Path) -> i32 {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    let stored = bytes(path).saturating_add(bytes(&with_suffix(path, "-wal")));
    i32::try_from(stored.saturating_mul(TIMES).saturating_add(SHORTEST)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sqlite::{open_read_only, open_restored};
    use std::time::Duration;

    #[test]
    fn the_cache_that_a_header_suggests_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let suggest = "CREATE TABLE t(x); PRAGMA default_cache_size = 1000000";
        Connection::open(&path).unwrap().execute_batch(suggest).unwrap();
        let cache = |connection: Connection| -> i64 {
            connection.query_row("SELECT * FROM pragma_cache_size", [], |row| row.get(0)).unwrap()
        };
        assert_eq!(cache(Connection::open(&path).unwrap()), 1_000_000);
        assert_eq!(cache(open_read_only(&path, Duration::ZERO).unwrap()), CACHE);
    }

    #[test]
    fn views_and_triggers_are_for_probes_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let made = "CREATE TABLE t(x); CREATE VIEW v AS SELECT 1; CREATE TABLE log(x);
                    CREATE TRIGGER after AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.x); END";
        Connection::open(&path).unwrap().execute_batch(made).unwrap();
        let read = |connection: &Connection, sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let refused = read(&open_read_only(&path, Duration::ZERO).unwrap(), "SELECT * FROM v").unwrap_err();
        assert!(refused.to_string().contains("prohibited"), "{refused}");
        let restored = open_restored(&path, Duration::ZERO).unwrap();
        assert_eq!(read(&restored, "SELECT * FROM v"), Ok(1));
        restored.execute_batch("INSERT INTO t VALUES (7)").unwrap();
        assert_eq!(read(&restored, "SELECT x FROM log"), Ok(7));
    }

    #[test]
    fn the_memory_of_sqlite_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        let connection = open_read_only(&path, Duration::ZERO).unwrap();
        assert_eq!(crate::source::sqlite::pragma::<u64>(&connection, "hard_heap_limit"), Ok(HEAP));
    }

    #[test]
    fn no_value_is_much_longer_than_its_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        let connection = open_read_only(&path, Duration::ZERO).unwrap();
        let length = |bytes: u64| {
            let sql = format!("SELECT length(hex(zeroblob({bytes})))");
            connection.query_row(&sql, [], |row| row.get::<_, u64>(0))
        };
        assert_eq!(length(SHORTEST / 2), Ok(SHORTEST));
        assert!(length(SHORTEST).unwrap_err().to_string().contains("too big"));
    }
}
