//! Databases of every shape: each is backed up, verified and restored, and equals the original.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::support::{CommandOutput, Project, program};

/// The content of a database: the schema, and every row of every table that can be read.
fn content(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut lines = Vec::new();
    for pragma in ["page_size", "encoding", "auto_vacuum", "user_version", "application_id", "journal_mode"] {
        lines.extend(rows(&connection, &format!("PRAGMA {pragma}")).unwrap());
    }
    lines.extend(rows(&connection, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2, 3").unwrap());
    for table in rows(&connection, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1").unwrap() {
        let name = table.trim_start_matches("Text(\"").trim_end_matches("\")");
        match rows(&connection, &format!("SELECT * FROM \"{}\"", name.replace('"', "\"\""))) {
            Ok(found) => lines.extend(found),
            Err(error) => lines.push(format!("{name}: {error}")),
        }
    }
    lines
}

/// The rows of a query, one line each; a long value is shown by its length and its ends.
fn rows(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let value = |row: &rusqlite::Row<'_>, at| match row.get::<_, Value>(at)? {
        Value::Blob(bytes) => Ok(format!("Blob({}, {:x?}…)", bytes.len(), &bytes[..bytes.len().min(32)])),
        other => Ok(format!("{other:?}")),
    };
    let line = |row: &rusqlite::Row<'_>| {
        Ok((0..columns).map(|at| value(row, at)).collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
    };
    statement.query_map([], line)?.collect()
}

/// Backs up the project's database by both methods, verifies, restores over it and into an empty folder, and compares.
fn assert_round_trip(project: &Project, warning: Option<&str>) {
    let before = content(&project.path("data/sessions.db"));
    for snapshot in ["vacuum", "pages"] {
        let database = "[[database]]\nname = \"sessions_db\"\npath = \"data/sessions.db\"\n";
        project.write("ops/backup.toml", &format!("files = []\n{database}snapshot = \"{snapshot}\"\n"));
        let id = project.backup();
        let verified = project.run(&format!("verify --from {id} -v"));
        verified.expect(0);
        let verified = verified.all();
        assert!(warning.is_none_or(|warning| verified.contains(warning)), "{verified}");
        assert_eq!(verified.contains("warning"), warning.is_some(), "{verified}");
        let elsewhere = format!("elsewhere-{snapshot}");
        let target = project.path(&elsewhere);
        project.run(&format!("restore --from {id} --yes --to {}", target.display())).expect(0);
        assert_eq!(content(&target.join("data/sessions.db")), before, "{snapshot}, into an empty folder");
        project.run(&format!("restore --from {id} --yes")).expect(0);
        assert_eq!(content(&project.path("data/sessions.db")), before, "{snapshot}, in place");
    }
}

fn round_trip(sql: &str) {
    let project = Project::empty();
    project.execute(sql);
    assert_round_trip(&project, None);
}

#[test]
fn every_page_size() {
    for shift in 9..=16 {
        round_trip(&format!(
            "PRAGMA page_size = {}; CREATE TABLE t(x); CREATE INDEX i ON t(x);
             INSERT INTO t VALUES (1), ('two'), (randomblob(200000)), (NULL), (5.5)",
            1 << shift
        ));
    }
}

#[test]
fn every_encoding_and_way_to_vacuum() {
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
        for auto_vacuum in ["none", "full", "incremental"] {
            round_trip(&format!(
                "PRAGMA encoding = '{encoding}'; PRAGMA auto_vacuum = {auto_vacuum}; PRAGMA user_version = -7;
                 PRAGMA application_id = 77; PRAGMA journal_mode = wal; CREATE TABLE \"größe 🔌\"(\"naïve\" TEXT);
                 INSERT INTO \"größe 🔌\" VALUES ('Zürich 🔌'), (printf('%.*c', 30000, 'x')), ('gone');
                 DELETE FROM \"größe 🔌\" WHERE \"naïve\" = 'gone'"
            ));
        }
    }
}

#[test]
fn tables_of_every_kind() {
    round_trip(
        "CREATE TABLE plain(x); INSERT INTO plain(rowid, x) VALUES (-5, 'a'), (9223372036854775807, 'b');
         CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO counted VALUES (100, 'a');
         DELETE FROM counted;
         CREATE TABLE without(a TEXT, b BLOB, PRIMARY KEY (b, a)) WITHOUT ROWID;
         INSERT INTO without VALUES ('a', x'00'), ('b', x''), ('a', randomblob(9000));
         CREATE TABLE exact(i INTEGER, r REAL, t TEXT, b BLOB, a ANY) STRICT;
         INSERT INTO exact VALUES (1, 2, '3', x'04', 'any'), (NULL, 1e308, '', x'', 5);
         CREATE TABLE generated(a, b AS (a * 2), c AS (a || 'x') STORED); INSERT INTO generated VALUES (1), (2);
         CREATE TABLE checked(x CHECK (x > 0) NOT NULL UNIQUE ON CONFLICT REPLACE, y COLLATE nocase DEFAULT (1 + 1));
         INSERT INTO checked VALUES (1, 'A'), (2, 'a');
         CREATE TABLE nul(x); INSERT INTO nul VALUES (CAST(x'610062' AS TEXT)), (x'00'), (char(0) || 'z');
         CREATE TABLE \"select\"(\"from\", \"a \"\"quoted\"\" one\", [b c]); INSERT INTO \"select\" VALUES (1, 2, 3);
         CREATE TABLE empty(x)",
    );
}

#[test]
fn indexes_triggers_and_views() {
    round_trip(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b TEXT); CREATE TABLE log(x);
         CREATE INDEX expression ON t(lower(b), a + 1); CREATE INDEX partial ON t(a) WHERE a > 10;
         CREATE UNIQUE INDEX descending ON t(b COLLATE nocase DESC, a);
         CREATE TRIGGER tell AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.a); END;
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 500)
         INSERT INTO t SELECT x, x % 30, 'B' || x FROM n;
         CREATE VIEW fine AS SELECT a, count(*) FROM t GROUP BY a; ANALYZE;
         CREATE TABLE old(x); CREATE VIEW no_longer_compiles AS SELECT x FROM old;
         PRAGMA legacy_alter_table = on; DROP TABLE old",
    );
}

#[test]
fn virtual_tables_with_their_shadows() {
    round_trip(
        "CREATE VIRTUAL TABLE words USING fts5(title, body, prefix = '2 3');
         INSERT INTO words VALUES ('one', 'to be or not to be'), ('two', 'that is the question');
         DELETE FROM words WHERE title = 'one';
         CREATE VIRTUAL TABLE boxes USING rtree(id, left, right, low, high, +name);
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300)
         INSERT INTO boxes SELECT x, x, x + 1, -x, x, 'box ' || x FROM n",
    );
}

#[test]
fn a_virtual_table_whose_module_is_missing() {
    round_trip(
        "CREATE TABLE t(x); INSERT INTO t VALUES (1); PRAGMA writable_schema = on;
         INSERT INTO sqlite_schema VALUES ('table', 'lost', 'lost', 0, 'CREATE VIRTUAL TABLE lost USING vanished(a)');
         PRAGMA writable_schema = off",
    );
}

#[test]
fn rows_without_a_parent_are_warned_of() {
    let project = Project::empty();
    project.execute(
        "PRAGMA foreign_keys = off; CREATE TABLE parent(id INTEGER PRIMARY KEY);
         CREATE TABLE child(parent REFERENCES parent); INSERT INTO child VALUES (1), (2), (NULL)",
    );
    assert_round_trip(&project, Some("2 rows of child have no parent"));
}

#[test]
fn no_table_no_byte_and_two_thousand_tables() {
    round_trip("CREATE TABLE t(x); DROP TABLE t");
    let project = Project::empty();
    project.write("data/sessions.db", "");
    assert_round_trip(&project, None);
    let tables: Vec<_> = (0..2000).map(|n| format!("CREATE TABLE t{n}(x); INSERT INTO t{n} VALUES ({n});")).collect();
    round_trip(&format!("BEGIN; {} COMMIT", tables.concat()));
}

#[test]
fn a_database_behind_a_link() {
    let project = Project::empty();
    project.execute("PRAGMA journal_mode = wal; CREATE TABLE t(x); INSERT INTO t VALUES (1)");
    std::fs::rename(project.path("data/sessions.db"), project.path("real.db")).unwrap();
    symlink("../real.db", project.path("data/sessions.db")).unwrap();
    assert_round_trip(&project, None);
    assert!(project.path("data/sessions.db").is_symlink(), "the link stays a link");
}

#[test]
fn folders_with_blanks_quotes_newlines_and_bytes_that_are_no_text() {
    let names: [&[u8]; 5] = [b"a b", b"it's", b"\"quoted\" %41?#", b"two\nlines", b"no\xfftext"];
    for name in names {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join(OsStr::from_bytes(name));
        std::fs::create_dir_all(root.join("data")).unwrap();
        let database = root.join("data/sessions.db");
        let live = Connection::open(&database).unwrap();
        live.execute_batch("PRAGMA encoding = 'UTF-16'; CREATE TABLE t(x); INSERT INTO t VALUES ('ö')").unwrap();
        let before = content(&database);
        let run = |arguments: &str| {
            let ran = CommandOutput::of(program().arg("--root").arg(&root).args(arguments.split(' ')));
            ran.expect(0);
            ran
        };
        run("backup");
        run("backup --json --allow-damaged");
        run("verify --all");
        live.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        run("restore --from latest --yes --json");
        assert_eq!(content(&database), before, "{name:?}");
        run("restore --undo --yes");
        run("drill --json");
        run("list --json");
        run("status --json");
    }
}

#[test]
fn a_blob_of_100_mb() {
    let project = Project::empty();
    project.execute(
        "PRAGMA synchronous = off; PRAGMA journal_mode = off; CREATE TABLE t(x, y);
         INSERT INTO t VALUES (zeroblob(100000000), randomblob(1000000))",
    );
    assert_round_trip(&project, None);
}

#[test]
#[ignore = "writes four gigabytes"]
fn a_log_of_one_gigabyte() {
    let project = Project::empty();
    let application = project.open();
    let fill = "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = off; CREATE TABLE t(x);
                WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1100)
                INSERT INTO t SELECT randomblob(1000) || zeroblob(999000) FROM n";
    application.execute_batch(fill).unwrap();
    assert!(std::fs::metadata(project.path("data/sessions.db-wal")).unwrap().len() > 1 << 30);
    let count = |connection: &Connection| rows(connection, "SELECT count(*), sum(length(x)) FROM t").unwrap();
    project.run("backup --codec zstd --database-only").expect(0);
    project.run("verify").expect(0);
    project
        .run(&format!("restore --from latest --database-only --to {} --yes", project.path("elsewhere").display()))
        .expect(0);
    let restored = Connection::open(project.path("elsewhere/data/sessions.db")).unwrap();
    assert_eq!(count(&restored), count(&application));
    application.execute_batch("DELETE FROM t WHERE rowid % 2").unwrap();
    project.run("restore --from latest --database-only --yes").expect(0);
    assert_eq!(count(&restored), count(&application), "under the running application, over that log");
}
