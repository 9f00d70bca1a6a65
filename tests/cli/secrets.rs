//! No value of a row or of a file is printed or recorded, whatever goes wrong.

use std::fmt::Write as _;

use crate::support::{CommandOutput, Project, program, shell};

/// A secret in a row, in `.env` and in `station_info.json`, which the drill's command prints too.
const SECRET: &str = "hunter2-nobody-may-see";

/// A project full of secrets, with a fault in every file.
fn project() -> Project {
    let project = Project::new();
    project.execute(&format!(
        "CREATE TABLE secrets(text UNIQUE CHECK(length(text) > 3)); INSERT INTO secrets VALUES ('{SECRET}');
         CREATE TRIGGER told AFTER DELETE ON secrets BEGIN SELECT RAISE(ABORT, 'it was ' || old.text); END;
         CREATE TABLE lost(parent REFERENCES secrets(text));
         PRAGMA foreign_keys = off; INSERT INTO lost VALUES ('orphan-{SECRET}');"
    ));
    project.write(".env", &format!("API_KEY={SECRET}\n{SECRET}\n"));
    project.write("data/station_info.json", &format!("{{\"pin\": {SECRET}}}"));
    project.write(
        "ops/backup.toml",
        r#"
        [[database]]
        name = "sessions_db"
        path = "data/sessions.db"
        probes = [
            "SELECT count(*) FROM secrets",
            "SELECT text FROM secrets",
            "SELECT json(text) FROM secrets",
            "SELECT json_extract('{}', text) FROM secrets",
            "INSERT INTO secrets SELECT text FROM secrets RETURNING text",
            "DELETE FROM secrets RETURNING text",
        ]

        [drill]
        command = ["sh", "-c", "cat .env data/station_info.json; sqlite3 data/sessions.db 'SELECT * FROM secrets'; cat .env >&2; exit 7"]
        "#,
    );
    project
}

/// Runs the program on a terminal, and returns all that it printed.
fn on_terminal(project: &Project, arguments: &str) -> String {
    let program = program().get_program().to_str().unwrap().to_string();
    let command = format!("'{program}' --root '{}' {arguments}", project.root().display());
    let script = "unset INVOCATION_ID JOURNAL_STREAM; TERM=xterm script -qec \"$0\" /dev/null < /dev/null || true";
    shell(project.root(), &script.replace("$0", &command))
}

/// Everything in the backup folder that isn't an artifact: manifests, the ledger, the lock.
fn records(project: &Project) -> String {
    shell(&project.path("backups"), "find . -type f ! -name '*.gz' -exec cat {} +")
}

#[test]
fn no_value_is_printed_or_recorded_anywhere() {
    let project = project();
    let mut all = String::new();
    let commands =
        ["backup", "list", "verify --all", "drill", "status", "doctor --deep", "restore --from latest --dry-run"];
    for command in commands {
        for flags in ["", "-v", "--json", "-v --json"] {
            let ran = project.run(&format!("{command} {flags}"));
            assert!(![2, -1].contains(&ran.code), "{command} {flags}: {ran:?}");
            all += &ran.all();
        }
        let mut unit = project.command(command.split_whitespace().chain(["-v"]));
        all += &CommandOutput::of(unit.env("INVOCATION_ID", "x").env("JOURNAL_STREAM", "8:1")).all();
        all += &on_terminal(&project, command);
    }
    project.run("drill").expect(12);
    write!(all, "{}", records(&project)).unwrap();
    for said in ["returned text", "exit status: 7", "SQLite error", "not valid JSON", "sets nothing", "have no parent"]
    {
        assert!(all.contains(said), "{said:?} is not in {all}");
    }
    assert!(!all.contains(SECRET), "{all}");
}

#[test]
fn what_a_drills_command_prints_is_shown_to_whoever_asks_at_a_terminal() {
    let project = project();
    project.run("backup").expect(0);
    let shown = on_terminal(&project, "--color never drill -v").replace('\r', "");
    assert!(shown.contains(&format!("\n  | API_KEY={SECRET}\n")), "{shown}");
    assert!(!shown.contains(&format!("returned {SECRET}")) && !shown.contains(&format!("it was {SECRET}")), "{shown}");
    assert!(!records(&project).contains(SECRET));
}
