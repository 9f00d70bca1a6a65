//! Restores over a database that other processes have open, each with its own SQLite.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::RangeInclusive;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::{Project, shell, wait_for};
use rusqlite::Connection;

const WRITERS: usize = 8;
const READERS: usize = 8;

/// A process that has the database open; see the script.
struct Application {
    process: Child,
    stdin: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Application {
    fn start(project: &Project, role: &str, number: usize, timeout: &str) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", include_str!("live.py"), role]).arg(project.path("data/sessions.db"));
        command.args([&number.to_string(), timeout]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take().unwrap());
        Self { process, stdin, answers: BufReader::new(stdout) }
    }

    fn ask(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Its report of the first transaction that succeeded since it was asked.
    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("it died of what is above, and said {line:?}"))
    }

    /// Lets it end. Returns its last report.
    fn end(mut self) -> Value {
        self.stdin = None;
        self.answer()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The reports of all applications about their next transaction.
fn ask_all(applications: &mut [Application]) -> Vec<Value> {
    applications.iter_mut().for_each(Application::ask);
    applications.iter_mut().map(Application::answer).collect()
}

#[track_caller]
fn assert_all_in_epoch(applications: &mut [Application], epoch: i64) {
    let answers = ask_all(applications);
    assert!(answers.iter().all(|answer| answer["epoch"] == epoch), "{epoch}: {answers:?}");
}

/// A project whose database has the applications' tables, in the epoch 0, and a backup of it.
fn project(pragmas: &str) -> (Project, String) {
    let project = Project::empty();
    project.execute(&format!(
        "{pragmas};
         CREATE TABLE state(epoch); INSERT INTO state VALUES (0);
         CREATE TABLE sequence(writer, number);
         CREATE TABLE left_hand(id INTEGER PRIMARY KEY, generation, epoch, filling);
         CREATE TABLE right_hand(id INTEGER PRIMARY KEY, generation, epoch, filling);
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 200)
         INSERT INTO left_hand SELECT x, 'none', 0, randomblob(1000) FROM n;
         INSERT INTO right_hand SELECT * FROM left_hand"
    ));
    let id = project.backup_with("--database-only");
    (project, id)
}

/// Changes to another epoch, with another schema, in one transaction.
fn go_on_to(project: &Project, epoch: i64) {
    let connection = project.open();
    connection.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    let sql = format!(
        "BEGIN IMMEDIATE; CREATE TABLE made_after_the_backup(x); UPDATE state SET epoch = {epoch};
         UPDATE left_hand SET generation = 'none', epoch = {epoch};
         UPDATE right_hand SET generation = 'none', epoch = {epoch}; COMMIT"
    );
    connection.execute_batch(&sql).unwrap();
}

/// Restores while the database is in use; returns the id of the safety copy.
fn restore(project: &Project, arguments: &str) -> String {
    let ran = project.run(&format!("restore {arguments} --yes --json --busy-timeout 60s"));
    ran.expect(0).json()["restored"]["kept"].as_str().unwrap().to_string()
}

/// The numbers of each writer in a database file. Asserts that none is missing in between.
fn numbers(project: &Project, file: &str) -> BTreeMap<usize, RangeInclusive<i64>> {
    let query = "SELECT writer, count(*), min(number), max(number) FROM sequence GROUP BY writer";
    let rows = shell(project.root(), &format!("sqlite3 {file} 'PRAGMA integrity_check' '{query}'"));
    let rows = rows.strip_prefix("ok\n").unwrap_or_else(|| panic!("{file}: {rows}"));
    let row = |line: &str| {
        let row: Vec<i64> = line.split('|').map(|number| number.parse().unwrap()).collect();
        assert_eq!(row[1], row[3] - row[2] + 1, "{file}: writer {} has gaps", row[0]);
        (usize::try_from(row[0]).unwrap(), row[2]..=row[3])
    };
    rows.lines().map(row).collect()
}

/// The same of a backup.
fn numbers_in(project: &Project, id: &str) -> BTreeMap<usize, RangeInclusive<i64>> {
    shell(project.root(), &format!("gunzip -c {} > kept.db", project.artifact(id, "sessions_db")));
    numbers(project, "kept.db")
}

/// Restores again and again while processes write and read. Asserts that each acknowledged commit is in the next safety
/// copy, or in the database at the end.
fn a_restore_beside_other_processes(before: &str, change: &str, reader_timeout: &str, rounds: i64) -> Vec<Value> {
    let (project, id) = project(before);
    project.execute(change);
    // Somebody has read before: the first connection that begins a log locks others out for a moment.
    let first = project.open();
    first.query_row("SELECT epoch FROM state", [], |row| row.get::<_, i64>(0)).unwrap();
    let mut applications: Vec<Application> = Vec::new();
    applications.extend((0..WRITERS).map(|number| Application::start(&project, "writer", number, "0.1")));
    applications.extend((0..READERS).map(|number| Application::start(&project, "reader", number, reader_timeout)));
    let mut last = vec![0; WRITERS];
    for epoch in 1..=rounds {
        go_on_to(&project, epoch);
        assert_all_in_epoch(&mut applications, epoch);
        let kept = restore(&project, &format!("--from {id}"));
        // All read the restored state and write to it, through their first connection.
        assert_all_in_epoch(&mut applications, 0);
        let kept = numbers_in(&project, &kept);
        for (writer, last) in last.iter_mut().enumerate() {
            assert_eq!(*kept[&writer].start(), *last + 1, "commits of writer {writer} are nowhere");
            *last = *kept[&writer].end();
        }
    }
    // And back: the earlier state returns, and the changes since the restore are kept in turn.
    let after = numbers_in(&project, &restore(&project, "--undo"));
    assert_all_in_epoch(&mut applications, rounds);
    let ended: Vec<Value> = applications.into_iter().map(Application::end).collect();
    let known = last.iter().enumerate().map(|(writer, last)| format!("writer = {writer} AND number <= {last}"));
    let known = known.collect::<Vec<_>>().join(" OR ");
    shell(project.root(), &format!("sqlite3 data/sessions.db 'DELETE FROM sequence WHERE {known}'"));
    let late = numbers(&project, "data/sessions.db");
    for (writer, last) in last.into_iter().enumerate() {
        let committed = ended[writer]["number"].as_i64().unwrap();
        let (first, middle) = (&after[&writer], &late[&writer]);
        assert_eq!([*first.start(), *middle.start()], [last + 1, first.end() + 1], "commits of writer {writer}");
        assert_eq!(*middle.end(), committed, "commits of writer {writer}");
    }
    let sum = |of: &[Value], what: &str| of.iter().map(|ended| ended[what].as_i64().unwrap()).sum::<i64>();
    let (writers, readers) = ended.split_at(WRITERS);
    let (commits, out) = (sum(writers, "number"), sum(writers, "busy"));
    let (reads, readers_out) = (sum(readers, "number"), sum(readers, "busy"));
    println!("{before}: {rounds} restores and an undo beside {commits} commits ({out} times locked out)");
    println!("and {reads} reads ({readers_out} times locked out)");
    ended
}

#[test]
fn nothing_is_lost_or_mixed_when_a_wal_database_is_restored_beside_sixteen_processes() {
    let ended = a_restore_beside_other_processes("PRAGMA journal_mode = wal", "", "0", 1);
    // Readers don't wait at all here, and were never locked out.
    assert!(ended[WRITERS..].iter().all(|reader| reader["busy"] == 0), "{ended:?}");
}

#[test]
fn nothing_is_lost_or_mixed_when_a_rollback_database_is_restored_beside_sixteen_processes() {
    a_restore_beside_other_processes("PRAGMA journal_mode = delete", "", "0.1", 1);
}

#[test]
fn nothing_is_lost_or_mixed_when_its_pages_change_their_size_beside_sixteen_processes() {
    a_restore_beside_other_processes("PRAGMA journal_mode = delete", "PRAGMA page_size = 1024; VACUUM", "0.1", 1);
}

#[test]
#[ignore = "takes half a minute: cargo test --workspace -- --ignored"]
fn nothing_is_lost_or_mixed_in_thirty_restores_beside_sixteen_processes() {
    a_restore_beside_other_processes("PRAGMA journal_mode = wal", "", "0", 10);
    a_restore_beside_other_processes("PRAGMA journal_mode = delete", "", "0.1", 10);
    a_restore_beside_other_processes("PRAGMA journal_mode = delete", "PRAGMA page_size = 1024; VACUUM", "0.1", 10);
}

#[test]
fn nothing_is_lost_when_a_wal_database_whose_pages_change_their_size_is_restored_between_short_visits() {
    let (project, id) = project("PRAGMA journal_mode = wal");
    project.execute("PRAGMA journal_mode = delete; PRAGMA page_size = 1024; VACUUM; PRAGMA journal_mode = wal");
    go_on_to(&project, 1);
    let mut visitors: Vec<Application> =
        (0..2).map(|number| Application::start(&project, "visitor", number, "0.1")).collect();
    assert_all_in_epoch(&mut visitors, 1);
    let mut kept = None;
    // It can be restored only while nobody has it open, and the message says so.
    wait_for("a moment without a visitor", || {
        let ran = project.run(&format!("restore --from {id} --yes --json --busy-timeout 1s"));
        let document = ran.json();
        assert!(ran.code == 0 || document["error"]["kind"] == "busy", "{document}");
        kept = document["restored"]["kept"].as_str().map(str::to_string);
        ran.code == 0
    });
    assert_all_in_epoch(&mut visitors, 0);
    let ended: Vec<Value> = visitors.into_iter().map(Application::end).collect();
    let (kept, late) = (numbers_in(&project, &kept.unwrap()), numbers(&project, "data/sessions.db"));
    for (visitor, ended) in ended.iter().enumerate() {
        let numbers = [*kept[&visitor].start(), *kept[&visitor].end() + 1, *late[&visitor].end()];
        let committed = ended["number"].as_i64().unwrap();
        assert_eq!(numbers, [1, *late[&visitor].start(), committed], "commits of visitor {visitor}");
    }
    let modes = "sqlite3 data/sessions.db 'PRAGMA journal_mode' 'PRAGMA page_size'";
    assert_eq!(shell(project.root(), modes), "wal\n4096\n");
}

#[test]
fn no_wal_of_the_old_state_survives_a_restore_over_connections_that_stay_open() {
    let (project, id) = project("PRAGMA journal_mode = wal");
    let connections: Vec<Connection> = (0..8).map(|_| project.open()).collect();
    for (connection, epoch) in connections.iter().zip(1..) {
        connection.execute_batch(&format!("UPDATE state SET epoch = {epoch}")).unwrap();
    }
    restore(&project, &format!("--from {id}"));
    let alone =
        "cp data/sessions.db alone.db; wc -c < data/sessions.db-wal; sqlite3 alone.db 'SELECT epoch FROM state'";
    assert_eq!(shell(project.root(), alone), "0\n0\n");
    for connection in connections {
        assert_eq!(connection.query_row("SELECT epoch FROM state", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
        connection.execute_batch("UPDATE state SET epoch = 0").unwrap();
    }
    assert_eq!(shell(&project.path("data"), "ls"), "sessions.db\n");
}

/// Content and structure of a database file, as the standard tools see it.
fn content(project: &Project) -> String {
    let script = "for name in integrity_check page_size encoding auto_vacuum journal_mode user_version; do
                      sqlite3 data/sessions.db \"PRAGMA $name\"
                  done
                  sqlite3 data/sessions.db .dump";
    shell(project.root(), script)
}

/// Makes a database with this journal mode and shape.
fn build(project: &Project, journal_mode: &str, shape: &str) {
    project.execute(&format!(
        "{shape}; PRAGMA journal_mode = {journal_mode}; PRAGMA user_version = 7; CREATE TABLE state(epoch);
         INSERT INTO state VALUES ('{shape}'); CREATE TABLE filling(x); INSERT INTO filling VALUES (randomblob(100000));
         CREATE INDEX by_epoch ON state(epoch); INSERT INTO filling VALUES ('ä\u{1f50c}')"
    ));
}

#[test]
fn a_restore_takes_a_database_for_one_of_another_shape_and_its_undo_gives_it_back() {
    let shapes = [
        "PRAGMA page_size = 512",
        "PRAGMA page_size = 65536",
        "PRAGMA encoding = \"UTF-16le\"",
        "PRAGMA encoding = \"UTF-16be\"; PRAGMA page_size = 1024",
        "PRAGMA auto_vacuum = full",
        "PRAGMA auto_vacuum = incremental; PRAGMA page_size = 8192",
    ];
    let modes = [("wal", "wal"), ("wal", "delete"), ("delete", "wal"), ("delete", "delete")];
    for at in 0..12 {
        let (before, after) = modes[at % modes.len()];
        let project = Project::empty();
        build(&project, before, shapes[at % shapes.len()]);
        let then = content(&project);
        project.backup_with("--database-only");
        shell(project.root(), "rm data/sessions.db*");
        build(&project, after, shapes[(at + 1) % shapes.len()]);
        let now = content(&project);
        assert_ne!(then, now);
        restore(&project, "--from latest --database-only");
        assert_eq!(content(&project), then);
        restore(&project, "--undo");
        assert_eq!(content(&project), now);
    }
}

#[test]
fn another_encoding_is_warned_of_since_no_connection_goes_on_with_it() {
    let project = Project::empty();
    build(&project, "wal", "PRAGMA encoding = \"UTF-16le\"");
    project.backup_with("--database-only");
    shell(project.root(), "rm data/sessions.db*");
    build(&project, "wal", "PRAGMA encoding = \"UTF-8\"");
    let application = project.open();
    let epoch =
        |connection: &Connection| connection.query_row("SELECT epoch FROM state", [], |row| row.get::<_, String>(0));
    epoch(&application).unwrap();
    let ran = project.run("restore --from latest --yes --database-only");
    let warning = "the text of data/sessions.db is UTF-8 and will be UTF-16le: \
                   a program that has it open has to open it again";
    assert!(ran.expect(0).stderr.contains(warning), "{}", ran.stderr);
    epoch(&application).unwrap_err();
    assert_eq!(epoch(&project.open()).unwrap(), "PRAGMA encoding = \"UTF-16le\"");
}

/// Runs a script of the sqlite3 shell, and kills the shell after it, perhaps in the middle of a transaction.
fn die_after(project: &Project, sql: &str) {
    let mut sqlite3 = Command::new("sqlite3");
    let sqlite3 = sqlite3.arg(project.path("data/sessions.db")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut dying = sqlite3.spawn().unwrap();
    dying.stdin.as_mut().unwrap().write_all(format!("{sql};\n.print done\n").as_bytes()).unwrap();
    let mut said = String::new();
    BufReader::new(dying.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "done\n");
    dying.kill().unwrap();
    dying.wait().unwrap();
}

/// A project with a backup, committed changes, and a transaction that a crash broke off after it had changed the file.
fn with_a_hot_journal() -> (Project, String) {
    let (project, id) = project("PRAGMA journal_mode = delete");
    go_on_to(&project, 1);
    die_after(&project, "PRAGMA cache_size = 5; BEGIN; UPDATE state SET epoch = 2; DELETE FROM left_hand");
    assert!(project.path("data/sessions.db-journal").metadata().unwrap().len() > 0);
    (project, id)
}

fn epoch(project: &Project) -> i64 {
    project.query("SELECT max(epoch) FROM (SELECT epoch FROM state UNION SELECT epoch FROM left_hand)")
}

#[test]
fn a_database_with_a_hot_journal_is_rolled_back_kept_and_restored() {
    let (project, id) = with_a_hot_journal();
    let before = project.hashes("data");
    project.run(&format!("restore --from {id} --dry-run")).expect(0);
    assert_eq!(project.hashes("data"), before, "a look changes nothing");
    restore(&project, &format!("--from {id}"));
    assert_eq!((epoch(&project), shell(&project.path("data"), "ls").as_str()), (0, "sessions.db\n"));
    restore(&project, "--undo");
    assert_eq!((epoch(&project), project.query("SELECT count(*) FROM left_hand")), (1, 200), "what was committed");
}

#[test]
fn a_database_with_a_hot_journal_is_backed_up_as_it_was_committed() {
    let (project, _) = with_a_hot_journal();
    let _filters = project.filters();
    let ran = project.run("doctor");
    assert!(ran.stdout.contains("a crash broke off a transaction"), "{}", ran.all());
    let kept = project.backup_with("--database-only");
    shell(project.root(), "rm data/sessions.db*");
    project.run(&format!("restore --from {kept}")).expect(0);
    assert_eq!((epoch(&project), project.query("SELECT count(*) FROM left_hand")), (1, 200));
}

#[test]
fn what_a_dead_application_left_in_its_wal_is_kept_and_not_mixed_into_what_is_restored() {
    let (project, id) = project("PRAGMA journal_mode = wal");
    die_after(
        &project,
        "UPDATE state SET epoch = 1; UPDATE left_hand SET epoch = 1; BEGIN; UPDATE state SET epoch = 2",
    );
    assert!(project.path("data/sessions.db-wal").metadata().unwrap().len() > 0);
    restore(&project, &format!("--from {id}"));
    assert_eq!((epoch(&project), shell(&project.path("data"), "ls").as_str()), (0, "sessions.db\n"));
    restore(&project, "--undo");
    assert_eq!((epoch(&project), project.query("SELECT min(epoch) FROM left_hand")), (1, 1), "what was committed");
}
