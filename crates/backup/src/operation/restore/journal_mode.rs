//! The journal mode of a database, which its file holds.

use std::time::Duration;

use rusqlite::Connection;

use super::connection;
use crate::disk::place::Place;
use crate::error::{Error, Result};
use crate::source::sqlite;

/// Whether a database is in WAL mode.
pub(super) fn is_wal(connection: &Connection) -> rusqlite::Result<bool> {
    sqlite::pragma::<String>(connection, "journal_mode").map(|mode| mode == "wal")
}

/// Sets the journal mode or the locking mode, and returns the one that it is in then.
pub(super) fn set_mode(connection: &Connection, pragma: &str, mode: &str) -> rusqlite::Result<String> {
    connection.query_row(&format!("PRAGMA main.{pragma} = {mode}"), [], |row| row.get(0))
}

/// Puts a closed database into WAL mode. A snapshot never is: `VACUUM INTO` writes rollback mode.
pub(super) fn set_wal(place: &Place) -> Result<()> {
    let path = &place.path();
    let connection = connection::open(place, |path| sqlite::open_read_write(path, Duration::ZERO))?;
    set_mode(&connection, "journal_mode", "wal").map_err(|e| Error::sqlite("set the journal mode of", path, &e))?;
    connection.close().map_err(|(_, e)| Error::sqlite("close", path, &e))
}
