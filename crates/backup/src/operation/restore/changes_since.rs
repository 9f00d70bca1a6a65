//! How many rows live databases gained or lost since the backup that would replace them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::plan::{Occupant, Plan, PlannedDatabase};
use crate::error::Result;
use crate::operation::look::Look;
use crate::record::manifest::Table;
use crate::record::relpath::RelPath;
use crate::source::sqlite;

/// The most time for counting rows, which reads the whole database: a person is waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// A live database that a restore would replace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangesSince {
    /// Where it is, relative to the target.
    pub path: RelPath,
    /// Tables with more or fewer rows than in the backup, by name. `None` if that is unknown: the backup doesn't record its
    /// rows, the database can't be read, or counting takes too long.
    pub tables: Option<Vec<RowsSince>>,
}

/// A table with another number of rows than in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowsSince {
    /// The table's name.
    pub name: String,
    /// How many rows more it has than in the backup; negative if fewer.
    pub rows: i64,
}

/// Compares each live database that `plan` would replace with what the manifest says of its backup. Rows that were only
/// changed don't show.
pub fn since(look: &Look<'_>, plan: &Plan) -> Vec<ChangesSince> {
    let is_compared =
        |database: &&PlannedDatabase| database.present == Occupant::Replaced && database.file.damage().is_none();
    let compare = |database: &PlannedDatabase| {
        let tables = database.file.facts().and_then(|facts| {
            let live = rows(look, plan, &database.path).ok()?;
            Some(difference(&live, &facts.tables))
        });
        ChangesSince { path: database.path.clone(), tables }
    };
    plan.databases().filter(is_compared).map(compare).collect()
}

fn rows(look: &Look<'_>, plan: &Plan, path: &RelPath) -> Result<Vec<Table>> {
    let path = path.under(&plan.target);
    let connection = sqlite::open_stoppable(&path, Duration::ZERO, look.progress())?;
    let (begun, interrupt) = (Instant::now(), connection.get_interrupt_handle());
    let give_up = || {
        if begun.elapsed() >= PATIENCE {
            interrupt.interrupt();
        }
    };
    let counted = sqlite::stoppable(&connection, look.progress(), give_up, sqlite::tables);
    counted.map_err(|e| crate::Error::sqlite("read database", &path, &e))
}

fn difference(live: &[Table], backup: &[Table]) -> Vec<RowsSince> {
    let mut rows: BTreeMap<&str, i64> = BTreeMap::new();
    let signed = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
    for table in live {
        rows.insert(&table.name, signed(table.rows));
    }
    for table in backup {
        *rows.entry(&table.name).or_default() -= signed(table.rows);
    }
    let changed = rows.into_iter().filter(|(_, rows)| *rows != 0);
    changed.map(|(name, rows)| RowsSince { name: name.to_string(), rows }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::restore::{Selection, plan};
    use crate::store::MemoryStore;
    use crate::testing::fixtures::{Site, id};

    const ID: &str = "20251210_140000";

    fn since_backup(change: impl Fn(&Site)) -> Vec<ChangesSince> {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.backup(&store, ID);
        change(&site);
        let run = site.begin(&store, ID);
        let catalog = run.catalog().unwrap();
        let plan = plan(&run, catalog.get(id(ID)).unwrap(), site.root(), Selection::ALL, &site.sources).unwrap();
        since(&run, &plan)
    }

    #[test]
    fn tables_that_have_more_or_fewer_rows_than_in_the_backup_are_told() {
        let found = since_backup(|site| {
            site.execute(
                "DELETE FROM sessions WHERE id = 1; CREATE TABLE added(x); INSERT INTO added VALUES (1), (2);
                 CREATE TABLE empty(x)",
            );
        });
        let rows = |name: &str, rows| RowsSince { name: name.into(), rows };
        let path = RelPath::new("sessions.db").unwrap();
        assert_eq!(found, [ChangesSince { path, tables: Some(vec![rows("added", 2), rows("sessions", -1)]) }]);
    }

    #[test]
    fn a_row_that_only_changed_does_not_show_and_a_database_that_is_gone_is_not_compared() {
        let found = since_backup(|site| site.execute("UPDATE sessions SET kwh = 0"));
        assert_eq!(found[0].tables, Some(vec![]));
        let gone = since_backup(|site| {
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(site.root().join(format!("sessions.db{suffix}")));
            }
        });
        assert_eq!(gone, []);
    }
}
