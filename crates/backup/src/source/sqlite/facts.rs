//! What a database shows: its header, its schema and how many rows each table has.

use std::path::Path;

use rusqlite::Connection;

use super::query::{pragma, quoted, stoppable};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::record::digest::Digest;
use crate::record::manifest::{Facts, Table};

/// What the database shows.
///
/// # Errors
/// [`Damaged`](crate::ErrorKind::Damaged) or [`Sqlite`](crate::ErrorKind::Sqlite) if it can't be read,
/// [`Interrupted`](crate::ErrorKind::Interrupted).
pub(crate) fn facts(connection: &Connection, path: &Path, progress: &dyn Progress) -> Result<Facts> {
    let found = stoppable(connection, progress, || (), read_facts);
    found.map_err(|e| Error::sqlite("read database", path, &e))
}

pub(super) fn read_facts(connection: &Connection) -> rusqlite::Result<Facts> {
    Ok(Facts {
        page_size: pragma(connection, "page_size")?,
        page_count: pragma(connection, "page_count")?,
        encoding: pragma(connection, "encoding")?,
        user_version: pragma(connection, "user_version")?,
        application_id: pragma(connection, "application_id")?,
        schema_sha256: digest(connection, SCHEMA)?,
        tables: tables(connection)?,
    })
}

/// What a database and a compact copy of it have in common.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub schema: Digest,
    /// Tables with rows.
    pub tables: Vec<Table>,
}

impl Contents {
    /// The contents of a database with these `tables`.
    pub fn of(connection: &Connection, tables: &[Table]) -> rusqlite::Result<Self> {
        let tables = tables.iter().filter(|table| table.rows > 0).cloned().collect();
        Ok(Self { schema: digest(connection, VACUUMED_SCHEMA)?, tables })
    }
}

/// Tables that store rows, each with its row count.
pub(crate) fn tables(connection: &Connection) -> rusqlite::Result<Vec<Table>> {
    let count = |name: String| {
        let count = format!("SELECT count(*) FROM {}", quoted(&name));
        let rows = connection.query_row(&count, [], |row| row.get(0))?;
        Ok(Table { name, rows })
    };
    table_names(connection)?.into_iter().map(count).collect()
}

/// Tables that store rows. Virtual tables keep theirs in shadow tables, which are listed. `pragma_table_list` isn't used,
/// because it expands every view.
pub(super) fn table_names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// The schema digest is that of this query's output, one line for each row: `sqlite3` and `sha256sum` compute the same.
const SCHEMA: &str = "SELECT type || '|' || name || '|' || tbl_name || '|' || coalesce(sql, '') \
                      FROM sqlite_schema ORDER BY type, name, tbl_name";

/// The same without what a VACUUM may change: the first words of a statement that was edited by hand, and SQLite's own
/// tables that have become useless, such as `sqlite_sequence` without AUTOINCREMENT.
const VACUUMED_SCHEMA: &str = "SELECT type || '|' || name || '|' || tbl_name || '|' || substr(sql, instr(sql, '(')) \
                               FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name, tbl_name";

fn digest(connection: &Connection, query: &str) -> rusqlite::Result<Digest> {
    let mut text = Vec::new();
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        text.extend_from_slice(row.get_ref(0)?.as_bytes()?);
        text.push(b'\n');
    }
    Ok(Digest::of(&text))
}
