//! Scenarios: a project, a command, and the run that comes after it.

use rusqlite::config::DbConfig;

use crate::support::{Project, break_index, shell};

/// A command on a project.
pub struct Scenario {
    pub name: &'static str,
    /// Makes the project, and returns the backup that `FROM` means in the commands.
    prepare: fn() -> (Project, String),
    command: &'static str,
    /// The command of the next run, which must work in any case.
    next: &'static str,
}

/// All scenarios. The last differs from others in a few dozen calls, and takes as long as two of them.
pub static SCENARIOS: [Scenario; 10] = [
    Scenario { name: "backup", prepare: shelf, command: "backup", next: "backup" },
    Scenario { name: "increment", prepare: followed, command: INCREMENT, next: INCREMENT },
    Scenario { name: "restore into an empty place", prepare: deleted, command: RESTORE, next: RESTORE },
    Scenario { name: "restore into a WAL database", prepare: shelf, command: RESTORE, next: RESTORE },
    Scenario { name: "restore into a rollback database", prepare: in_rollback_mode, command: RESTORE, next: RESTORE },
    Scenario { name: "restore --undo", prepare: restored, command: UNDO, next: RESTORE },
    // Bytes take the place of a database, in one step.
    Scenario { name: "restore --undo to a damaged database", prepare: over_damaged, command: UNDO, next: RESTORE },
    Scenario { name: "rotate", prepare: shelf, command: "rotate", next: "rotate" },
    Scenario { name: "merge", prepare: long_followed, command: "rotate", next: "rotate" },
    Scenario { name: "restore into another page size", prepare: with_small_pages, command: RESTORE, next: RESTORE },
];

/// A restore that is large enough for all of its threads: they decode, hash, check, encode.
pub static LARGE: Scenario = Scenario { name: "restore of 20 MB", prepare: large, command: RESTORE, next: RESTORE };

/// A restore that makes the database smaller: the pages that SQLite cuts off are in no journal.
pub static SMALLER: Scenario =
    Scenario { name: "restore of a smaller database", prepare: grown, command: RESTORE, next: RESTORE };

/// A database is replaced by bytes and a log: for a moment, there is no database.
pub static DAMAGED_WITH_LOG: Scenario =
    Scenario { name: "restore --undo to one with a log", prepare: over_damaged_with_log, command: UNDO, next: RESTORE };

const INCREMENT: &str = "backup --incremental";

const UNDO: &str = "restore --undo --yes";

const RESTORE: &str = "restore --from FROM --yes";

/// Backups that rotation removes once there are two newer ones.
const OLD: [&str; 2] = ["20250101_030000", "20250102_030000"];

/// A project with two old backups and a new one. Since then every row and every file has changed, and the database's
/// log holds the last changes.
fn shelf() -> (Project, String) {
    let project = Project::new();
    // A copy of it is the same project, whatever its folder is called, and its first backup records that. Rotation goes
    // by numbers, since ages mean nothing so long after the last backups.
    project.write("ops/backup.toml", "project = \"charger\"\n[retention]\nkeep_last = 2\n");
    project.execute("DELETE FROM sessions WHERE id > 300; VACUUM");
    for old in OLD {
        let made = project.backup_with("--no-rotate");
        project.redate(&made, old);
    }
    let id = project.backup_with("--no-rotate");
    project.write(".env", "API_KEY=another-secret\nPORT=8081\n");
    project.write("data/station_info.json", "{\"id\": \"CP-2\"}\n");
    leave_in_log(&project, "UPDATE sessions SET kwh = kwh + 1000; INSERT INTO sessions VALUES (301, 1, 5)");
    (project, id)
}

/// A project with a full backup that increments can continue, and an increment. Since then a row and a file have changed. A
/// fault can make a full backup of the next one, and the rotation after that must find nothing to remove.
fn followed() -> (Project, String) {
    let (project, _) = shelf();
    project.write(
        "ops/backup.toml",
        "project = \"charger\"\n[increments]\nevery = \"1m\"\n[retention]\nkeep_days = 36500\n",
    );
    project.backup_with("--no-rotate");
    leave_in_log(&project, "UPDATE sessions SET kwh = 7 WHERE id = 7");
    let id = project.backup_with("--incremental");
    leave_in_log(&project, "UPDATE sessions SET kwh = 8 WHERE id = 7");
    project.write(".env", "API_KEY=a-third-secret\n");
    (project, id)
}

/// A project with a full backup and four increments of an hour two days ago, of which rotation merges three.
fn long_followed() -> (Project, String) {
    let (project, _) = followed();
    shell(project.root(), "rm -r backups");
    let day = shell(project.root(), "date -u -d '2 days ago' +%Y%m%d").trim().to_string();
    let mut made = Vec::new();
    for number in 0..5 {
        leave_in_log(&project, &format!("UPDATE sessions SET kwh = 9.5 WHERE id = 50 * {number}"));
        if number == 2 {
            project.write(".env", "API_KEY=a-fourth-secret\n");
        }
        made.push(project.backup_with("--incremental"));
    }
    for (number, id) in made.iter().enumerate().rev() {
        let at = |number: usize| format!("{day}_100{number}00");
        project.redate(id, &at(number));
        if number > 0 {
            project.edit_manifest(&at(number), |manifest| manifest["parent"] = at(number - 1).into());
        }
    }
    (project, format!("{day}_100400"))
}

fn large() -> (Project, String) {
    let (project, _) = shelf();
    let rows = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20)";
    project.execute(&format!("CREATE TABLE filling(x); {rows} INSERT INTO filling SELECT randomblob(1000000) FROM n"));
    let id = project.backup_with("--no-rotate");
    project.execute("UPDATE sessions SET kwh = kwh + 1000");
    (project, id)
}

fn deleted() -> (Project, String) {
    let (project, id) = shelf();
    shell(project.root(), "rm -r .env data");
    (project, id)
}

fn in_rollback_mode() -> (Project, String) {
    let (project, id) = shelf();
    project.execute("PRAGMA journal_mode = delete");
    (project, id)
}

fn grown() -> (Project, String) {
    let (project, id) = in_rollback_mode();
    let rows = "WITH RECURSIVE n(x) AS (SELECT 1000 UNION ALL SELECT x + 1 FROM n WHERE x < 2500)";
    project.execute(&format!("{rows} INSERT INTO sessions SELECT x, 1, 1 FROM n"));
    (project, id)
}

fn with_small_pages() -> (Project, String) {
    let (project, id) = in_rollback_mode();
    project.execute("PRAGMA page_size = 1024; VACUUM; PRAGMA journal_mode = wal");
    (project, id)
}

/// A project after a restore, and the id of its safety copy.
fn restored() -> (Project, String) {
    let (project, id) = shelf();
    restore(project, &id)
}

fn over_damaged() -> (Project, String) {
    let (project, id) = shelf();
    break_index(&project.path("data/sessions.db"));
    restore_and_go_on(project, &id)
}

fn over_damaged_with_log() -> (Project, String) {
    let (project, id) = shelf();
    break_index(&project.path("data/sessions.db"));
    leave_in_log(&project, "INSERT INTO stations VALUES (3, 'west')");
    restore_and_go_on(project, &id)
}

/// The log of the database that the undo replaces isn't empty.
fn restore_and_go_on(project: Project, id: &str) -> (Project, String) {
    let (project, kept) = restore(project, id);
    leave_in_log(&project, "UPDATE sessions SET kwh = kwh + 5000");
    (project, kept)
}

/// Leaves what an application leaves if it is killed after a commit.
fn leave_in_log(project: &Project, sql: &str) {
    let database = project.open();
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    database.execute_batch(sql).unwrap();
}

fn restore(project: Project, id: &str) -> (Project, String) {
    let ran = project.run(&format!("restore --from {id} --yes --json"));
    let kept = ran.expect(0).json()["restored"]["kept"].as_str().unwrap().to_string();
    (project, kept)
}

/// A scenario's project, made once and copied for each case.
pub struct Fixture {
    pub scenario: &'static Scenario,
    project: Project,
    from: String,
}

impl Scenario {
    pub fn fixture(&'static self) -> Fixture {
        let (project, from) = (self.prepare)();
        Fixture { scenario: self, project, from }
    }
}

impl Fixture {
    /// A copy of the project, with a ledger that names the copy's paths.
    pub fn project(&self) -> Project {
        let copy = Project::empty();
        shell(copy.root(), &format!("rmdir data; cp -a '{}/.' .", self.project.root().display()));
        let root = |project: &Project| project.root().to_str().unwrap().to_string();
        let history = copy.read("backups/history.jsonl").replace(&root(&self.project), &root(&copy));
        copy.write("backups/history.jsonl", &history);
        copy
    }

    pub fn command(&self) -> String {
        self.arguments(self.scenario.command)
    }

    pub fn next(&self) -> String {
        self.arguments(self.scenario.next)
    }

    /// Arguments with a short wait: a lock that could not be released is waited for.
    fn arguments(&self, command: &str) -> String {
        format!("{} --busy-timeout 1s", command.replace("FROM", &self.from))
    }
}
