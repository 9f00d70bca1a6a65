//! Whether a database has collapsed, that is, lost most of what an earlier backup holds.
//!
//! The hazard: a database that somebody emptied by mistake is sound, and its backup complete. Night after night,
//! rotation would remove another backup that still holds everything. So each backup is compared with earlier ones, and
//! its manifest records what is lost; [`crate::catalog::retention`] then keeps the backups from before.
//!
//! It is compared with the newest earlier backup and with all of the last [`RECENT`] days, so that a database that
//! loses a third each night is also compared with its state before that began. The comparison stops at a backup that
//! shows a collapse itself, so that each collapse is reported once.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::entry::{Entry, ListedFile};
use super::list::Catalog;
use crate::record::figures::{size, thousands};
use crate::record::manifest::{Artifact, Collapse, Content, Database, Manifest, Trigger, Warning};
use crate::record::names::Kind;
use crate::store::Store;

/// The oldest backups that are compared, apart from the newest.
const RECENT: TimeDelta = TimeDelta::days(30);

/// A table that lost fewer rows than this has not collapsed: small tables come and go.
const LEAST_ROWS: u64 = 100;

/// The most tables that a warning names.
const MOST_NAMED: usize = 3;

/// What the databases in `artifacts`, which were just saved, have lost since earlier backups.
pub(crate) fn find(
    catalog: &Catalog,
    store: &dyn Store,
    artifacts: &[Artifact],
    now: DateTime<Utc>,
) -> Vec<(Collapse, Warning)> {
    let begin = |artifact| Some(Comparison { artifact, database: sound_database(artifact)?, has_compared: false });
    let mut open: Vec<Comparison<'_>> = artifacts.iter().filter_map(begin).collect();
    let mut found = Vec::new();
    for entry in catalog.entries().iter().rev().filter(|entry| is_comparable(entry)) {
        let is_recent = now - entry.id.time() <= RECENT;
        open.retain(|comparison| is_recent || !comparison.has_compared);
        // An increment records no rows.
        let holds = |comparison: &Comparison<'_>| {
            entry.files.iter().any(|it| it.kind == Kind::Database && it.name == comparison.artifact.name)
        };
        if open.is_empty() {
            break;
        }
        // A manifest that was damaged since is skipped.
        let Some(manifest) = open.iter().any(holds).then(|| entry.read_manifest(store).ok()).flatten() else {
            continue;
        };
        open.retain_mut(|comparison| comparison.goes_on_beyond(&manifest, &mut found));
    }
    found
}

/// A database that is being compared with earlier backups.
struct Comparison<'a> {
    artifact: &'a Artifact,
    database: &'a Database,
    has_compared: bool,
}

impl Comparison<'_> {
    /// Adds what was lost since a backup to `found`. Returns whether to compare with still earlier ones.
    fn goes_on_beyond(&mut self, manifest: &Manifest, found: &mut Vec<(Collapse, Warning)>) -> bool {
        let name = self.artifact.name.as_str();
        let earlier = manifest.artifacts.iter().filter(|earlier| earlier.name == name).find_map(sound_database);
        if let Some(earlier) = earlier {
            self.has_compared = true;
            let losses = losses(earlier, self.database);
            if !losses.is_empty() {
                found.push(report(name, manifest, &losses));
                return false;
            }
        }
        !manifest.collapses.iter().any(|collapse| collapse.name == name)
    }
}

/// Whether a new backup can be compared with it.
fn is_comparable(entry: &Entry) -> bool {
    let is_there = entry.files.iter().all(ListedFile::is_whole);
    is_there && entry.manifest().is_some_and(|summary| summary.trigger != Trigger::PreRestore)
}

/// The database in an artifact, unless it was damaged: then its contents aren't known.
fn sound_database(artifact: &Artifact) -> Option<&Database> {
    match &artifact.content {
        Content::Database(database) if database.damage.is_empty() => Some(database),
        _ => None,
    }
}

/// A figure that dropped too far.
struct Loss<'a> {
    /// The table that lost rows; `None` if the figures are bytes of the database.
    table: Option<&'a str>,
    was: u64,
    now: u64,
}

/// Tables that lost most of their rows, the greatest loss first. If there are none, the database itself, if it lost half of
/// its size.
fn losses<'a>(earlier: &'a Database, database: &Database) -> Vec<Loss<'a>> {
    let (was, now) = (rows(earlier), rows(database));
    let mut losses: Vec<Loss<'a>> = was
        .iter()
        .filter(|(table, _)| !is_upkeep(table, &was))
        .map(|(table, was)| Loss { table: Some(table), was: *was, now: now.get(table).copied().unwrap_or(0) })
        .filter(|loss| loss.rows_lost() >= LEAST_ROWS && loss.rows_lost() > loss.now)
        .collect();
    losses.sort_by_key(|loss| std::cmp::Reverse(loss.rows_lost()));
    if losses.is_empty() && earlier.snapshot == database.snapshot {
        let loss = Loss { table: None, was: bytes(earlier), now: bytes(database) };
        losses.extend(Some(loss).filter(|loss| loss.now.saturating_mul(2) <= loss.was));
    }
    losses
}

impl Loss<'_> {
    fn rows_lost(&self) -> u64 {
        self.was.saturating_sub(self.now)
    }
}

fn rows(database: &Database) -> BTreeMap<&str, u64> {
    database.facts.tables.iter().map(|table| (table.name.as_str(), table.rows)).collect()
}

fn bytes(database: &Database) -> u64 {
    database.facts.page_count.saturating_mul(database.facts.page_size.into())
}

/// Whether SQLite maintains this table: statistics, or the segments of a full-text index, which it merges.
fn is_upkeep(table: &str, tables: &BTreeMap<&str, u64>) -> bool {
    let has_all = |base: &str, endings: &[&str]| {
        endings.iter().all(|ending| tables.contains_key(format!("{base}{ending}").as_str()))
    };
    let families: [&[&str]; 2] = [&["_data", "_idx", "_config"], &["_segments", "_segdir"]];
    let is_segment = |family: &&[&str]| {
        family.iter().any(|ending| table.strip_suffix(ending).is_some_and(|base| has_all(base, family)))
    };
    table.starts_with("sqlite_") || families.iter().any(is_segment)
}

/// The losses as a collapse and as a warning.
fn report(name: &str, earlier: &Manifest, losses: &[Loss<'_>]) -> (Collapse, Warning) {
    let (since, worst) = (earlier.id, &losses[0]);
    let tables: Vec<String> = losses
        .iter()
        .filter_map(|loss| Some(format!("{} {} → {}", loss.table?, thousands(loss.was), thousands(loss.now))))
        .collect();
    let message = if tables.is_empty() {
        format!("database {name} shrank since backup {since}: {} → {}", size(worst.was), size(worst.now))
    } else {
        format!("database {name} lost most rows of some tables since backup {since}: {}", first_of(&tables))
    };
    let table = worst.table.map(str::to_string);
    let collapse = Collapse { name: name.to_string(), since, table, was: worst.was, now: worst.now };
    (collapse, Warning { code: "collapsed".into(), message })
}

fn first_of(tables: &[String]) -> String {
    let named = tables[..tables.len().min(MOST_NAMED)].join(", ");
    match tables.len().saturating_sub(MOST_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::id::BackupId;
    use crate::record::manifest::Snapshot;
    use crate::store::{LocalStore, MemoryStore};
    use crate::testing::fixtures::{Site, id};

    /// A project whose table `sessions` has that many rows.
    fn site_of(rows: u64) -> Site {
        let site = Site::new();
        set_rows(&site, "sessions", rows);
        site
    }

    fn set_rows(site: &Site, table: &str, rows: u64) {
        site.execute(&format!(
            "CREATE TABLE IF NOT EXISTS {table}(id INTEGER PRIMARY KEY, kwh REAL); DELETE FROM {table};
             WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {rows})
             INSERT INTO {table} SELECT x, 0.5 FROM n WHERE {rows} > 0;"
        ));
    }

    /// Makes a backup; returns its collapses and its warnings.
    fn backup(site: &Site, store: &dyn LocalStore, now: &str) -> (Vec<Collapse>, Vec<String>) {
        let manifest = site.back_up(&site.begin(store, now)).unwrap().manifest;
        assert_eq!(manifest.status, crate::Status::Complete, "{:?}", manifest.errors);
        assert!(manifest.warnings.iter().all(|warning| warning.code == "collapsed"));
        (manifest.collapses, manifest.warnings.into_iter().map(|warning| warning.message).collect())
    }

    fn day(day: u64) -> String {
        format!("202512{day:02}_140000")
    }

    /// Makes a backup a day, each with that many rows. Returns since which one the last shows a collapse.
    #[track_caller]
    fn collapsed_since(series: &[u64]) -> Option<BackupId> {
        let (site, store) = (site_of(0), MemoryStore::new());
        let mut shown = Vec::new();
        for (at, rows) in series.iter().enumerate() {
            set_rows(&site, "sessions", *rows);
            shown = backup(&site, &store, &day(at as u64 + 1)).0;
        }
        shown.first().map(|collapse| collapse.since)
    }

    #[test]
    fn a_table_that_lost_most_of_its_rows_is_told_with_both_figures() {
        let (site, store) = (site_of(20_000), MemoryStore::new());
        backup(&site, &store, &day(1));
        set_rows(&site, "sessions", 12);
        let (collapses, warnings) = backup(&site, &store, &day(2));
        let table = Some("sessions".to_string());
        let collapse = Collapse { name: "sessions_db".into(), since: id(&day(1)), table, was: 20_000, now: 12 };
        assert_eq!(collapses, std::slice::from_ref(&collapse));
        assert_eq!(collapse.to_string(), "sessions_db (sessions: 20,000 → 12 rows)");
        let message = "database sessions_db lost most rows of some tables since backup 20251201_140000: \
                       sessions 20,000 → 12";
        assert_eq!(warnings, [message]);
    }

    #[test]
    fn a_table_has_collapsed_if_it_lost_more_than_half_of_its_rows_and_a_hundred() {
        for (was, now, has_collapsed) in [
            (200, 100, false),
            (201, 100, true),
            (199, 99, true),
            (198, 99, false),
            (150, 51, false),
            (150, 50, true),
            (100, 0, true),
            (99, 0, false),
            (100, 10_000, false),
        ] {
            assert_eq!(collapsed_since(&[was, now]).is_some(), has_collapsed, "{was} → {now}");
        }
    }

    #[test]
    fn a_collapse_is_told_once_and_a_second_one_again() {
        assert_eq!(collapsed_since(&[1000, 10, 10]), None);
        assert_eq!(collapsed_since(&[1000, 10, 1000, 10]), Some(id(&day(3))));
        assert_eq!(collapsed_since(&[10_000, 1000, 100]), Some(id(&day(2))));
    }

    #[test]
    fn a_slide_is_told_once_it_has_lost_more_than_half() {
        assert_eq!(collapsed_since(&[1000, 600]), None);
        assert_eq!(collapsed_since(&[1000, 600, 360]), Some(id(&day(1))));
        assert_eq!(collapsed_since(&[1000, 900, 800, 700, 600, 500]), None);
        assert_eq!(collapsed_since(&[1000, 900, 800, 700, 600, 499]), Some(id(&day(1))));
    }

    #[test]
    fn an_old_backup_is_compared_with_only_if_it_is_the_newest() {
        let shown = |first: &str, rows: &[u64]| {
            let (site, store) = (site_of(1000), MemoryStore::new());
            backup(&site, &store, first);
            set_rows(&site, "sessions", rows[0]);
            let second = backup(&site, &store, &day(30)).0;
            set_rows(&site, "sessions", *rows.last().unwrap());
            (second.len(), backup(&site, &store, &day(31)).0.len())
        };
        assert_eq!(shown("20250101_140000", &[10]), (1, 0));
        assert_eq!(shown("20251201_140000", &[600, 360]), (0, 1));
        assert_eq!(shown("20251201_135959", &[600, 360]), (0, 0), "more than thirty days ago");
    }

    #[test]
    fn a_table_that_is_gone_has_lost_all_rows_and_of_many_the_worst_is_recorded() {
        let (site, store) = (site_of(500), MemoryStore::new());
        for table in ["a", "b", "c", "d"] {
            set_rows(&site, table, 300);
        }
        set_rows(&site, "small", 99);
        backup(&site, &store, &day(1));
        site.execute("DROP TABLE sessions; DROP TABLE small; DELETE FROM a; DELETE FROM b; DELETE FROM c;");
        let (collapses, warnings) = backup(&site, &store, &day(2));
        assert_eq!(collapses[0].table.as_deref(), Some("sessions"));
        assert_eq!((collapses[0].was, collapses[0].now, collapses.len()), (500, 0, 1));
        assert!(warnings[0].ends_with(": sessions 500 → 0, a 300 → 0, b 300 → 0 and 1 more"), "{}", warnings[0]);
    }

    #[test]
    fn a_database_that_lost_half_of_its_size_is_told_if_it_is_saved_as_before() {
        let shrunk = |method: Snapshot| {
            let (mut site, store) = (site_of(3), MemoryStore::new());
            site.execute("CREATE TABLE blobs(x); INSERT INTO blobs VALUES (zeroblob(10000000));");
            backup(&site, &store, &day(1));
            site.execute("DELETE FROM blobs; VACUUM;");
            site.sources.databases[0].snapshot = method;
            backup(&site, &store, &day(2))
        };
        let (collapses, warnings) = shrunk(Snapshot::Vacuum);
        assert_eq!((collapses[0].table.as_ref(), collapses[0].now), (None, 12_288));
        assert_eq!(collapses[0].to_string(), "sessions_db (10 MB → 12 kB)");
        assert_eq!(warnings, ["database sessions_db shrank since backup 20251201_140000: 10 MB → 12 kB"]);
        assert_eq!(shrunk(Snapshot::Pages), (vec![], vec![]), "by pages, what was freed is saved as well");
    }

    #[test]
    fn what_a_restore_keeps_is_not_compared() {
        let (site, store) = (site_of(1000), MemoryStore::new());
        let first = site.backup(&store, &day(1));
        set_rows(&site, "sessions", 10);
        let run = site.session(&store, &day(2));
        let catalog = run.catalog().unwrap();
        let selection = crate::record::selection::Selection::ALL;
        let plan =
            crate::operation::restore::plan(&run, catalog.get(first).unwrap(), site.root(), selection, &site.sources)
                .unwrap();
        let encoding = crate::Encoding::new(crate::Codec::None, 0).unwrap();
        let kept = crate::restore::restore(&run, &plan, Some(encoding), &mut || Ok(())).unwrap().kept.unwrap();
        assert_eq!(run.catalog().unwrap().get(kept).unwrap().manifest().unwrap().collapses, []);
    }

    #[test]
    fn what_sqlite_keeps_for_itself_may_shrink() {
        let (site, store) = (site_of(0), MemoryStore::new());
        // With the smallest pages, then merged into large ones.
        site.execute(
            "CREATE VIRTUAL TABLE notes USING fts5(text); INSERT INTO notes(notes, rank) VALUES ('pgsz', 32);
             WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000)
             INSERT INTO notes SELECT 'word' || (x * 7919 % 3000) FROM n;",
        );
        let rows = || {
            let count = "SELECT count(*) FROM notes_data";
            site.open().query_row(count, [], |row| row.get::<_, u64>(0)).unwrap()
        };
        let before = rows();
        backup(&site, &store, &day(1));
        site.execute(
            "INSERT INTO notes(notes, rank) VALUES ('pgsz', 4000); INSERT INTO notes VALUES ('more');
             INSERT INTO notes(notes) VALUES ('optimize')",
        );
        assert!(before > 2 * rows() + LEAST_ROWS, "{before} → {}", rows());
        assert_eq!(backup(&site, &store, &day(2)), (vec![], vec![]));

        let tables = BTreeMap::from([("app_data", 1), ("app_config", 1), ("x_segments", 1), ("x_segdir", 1)]);
        let upkeep = ["app_data", "x_segments", "sqlite_stat4", "sessions"].map(|table| is_upkeep(table, &tables));
        assert_eq!(upkeep, [false, true, true, false]);
    }
}
