//! `init`: settings for an application that has none.

use std::fs;

use serde_json::json;

use crate::support::{CommandOutput, Project, program, shell};

/// Runs the program in the project's folder, without `--root`.
fn run(project: &Project, arguments: &str) -> CommandOutput {
    CommandOutput::of(program().args(arguments.split_whitespace()).current_dir(project.root()))
}

#[test]
fn an_application_is_adopted_by_init_and_its_first_backup_holds_it() {
    let project = Project::new();
    shell(
        project.root(),
        "git init -q; mkdir var node_modules; cp data/sessions.db node_modules/x.db; printf '*.pyc' > .gitignore",
    );
    shell(project.root(), "sqlite3 var/queue.sqlite3 'CREATE TABLE jobs(id); INSERT INTO jobs VALUES (1)'");
    project.write(".env.example", "API_KEY=\n");
    let said = project.redact(&run(&project, "init").expect(0).all());
    insta::with_settings!({ filters => vec![(r"\d+([.]\d+)? [kM]B", "SIZE")] }, { insta::assert_snapshot!(said, @"
    in ROOT:
      database  data/sessions.db  SIZE, as sessions_db
      database  var/queue.sqlite3  SIZE, as queue_db
      file      .env
      file      data/station_info.json
    wrote ROOT/ops/backup.toml
    added to .gitignore: /backups/, /logs/
    read ops/backup.toml through, then:
      cargo xtask backup
      cargo xtask install-timer     # every night, with systemd; cargo xtask install-cron without
    with `every` set in [increments], at most a minute is lost, not a day
    "); });
    assert_eq!(project.read(".gitignore"), "*.pyc\n/backups/\n/logs/\n");
    let made = run(&project, "backup --json").expect(0).json();
    let sources = made["backup"]["artifacts"].as_array().unwrap().iter();
    assert_eq!(
        sources.map(|artifact| artifact["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["sessions_db", "queue_db", "config"]
    );
    assert_eq!(shell(project.root(), "git status --porcelain --untracked-files=all | grep -c backups/ || true"), "0\n");
    run(&project, "verify").expect(0);
    run(&project, "drill").expect(0);
}

#[test]
fn settings_that_are_there_are_left_as_they_are() {
    let project = Project::new();
    for (make, left) in [("echo mine > ops/backup.toml", "mine\n"), ("ln -sf nowhere ops/backup.toml", "nowhere\n")] {
        shell(project.root(), &format!("mkdir -p ops; {make}"));
        let ran = run(&project, "init");
        assert!(ran.expect(2).stderr.contains("ops/backup.toml is there already"), "{ran:?}");
        assert_eq!(shell(project.root(), "readlink ops/backup.toml || cat ops/backup.toml"), left);
        assert!(!project.path(".gitignore").exists());
    }
}

#[test]
fn a_gitignore_that_is_a_link_is_left_as_it_is() {
    let project = Project::new();
    project.write("elsewhere", "*.pyc\n");
    shell(project.root(), "git init -q; ln -s elsewhere .gitignore");
    let ran = run(&project, "init --json");
    assert_eq!(ran.expect(0).json()["ignored"], json!([]));
    assert!(ran.stderr.contains("warning: .gitignore is a link, which git doesn't follow: it is left as it is\n"));
    assert!(ran.stderr.contains("hint: add to a .gitignore of your own: /backups/, /logs/\n"), "{ran:?}");
    assert_eq!(project.read("elsewhere"), "*.pyc\n");
}

#[test]
fn a_dry_run_shows_the_settings_and_changes_nothing() {
    let project = Project::new();
    shell(project.root(), "git init -q");
    let before = project.tree();
    let ran = run(&project, "init --dry-run -v");
    assert!(ran.expect(0).stdout.contains("\n  [[database]]\n  name = \"sessions_db\"\n"), "{ran:?}");
    assert!(ran.stdout.contains("would add to .gitignore: /backups/, /logs/\n"), "{ran:?}");
    let document = run(&project, "init --dry-run --json").expect(0).json();
    let bytes = fs::metadata(project.path("data/sessions.db")).unwrap().len();
    let settings = project.path("ops/backup.toml");
    let expected = json!({
        "dry_run": true, "settings": settings, "ignored": ["/backups/", "/logs/"],
        "databases": [{ "name": "sessions_db", "path": "data/sessions.db", "bytes": bytes }],
        "files": [".env", "data/station_info.json"],
    });
    assert_eq!(document, expected);
    assert_eq!(project.tree(), before);
}

#[test]
fn init_takes_another_folder_and_says_how_to_go_on_from_here() {
    let (project, elsewhere) = (Project::new(), tempfile::tempdir().unwrap());
    let ran = CommandOutput::of(program().arg("init").arg(project.root()).current_dir(elsewhere.path()));
    let next = format!("\n  cargo xtask --root {} backup\n", project.root().display());
    assert!(ran.expect(0).stdout.contains(&next), "{ran:?}");
    assert!(!project.path(".gitignore").exists(), "git isn't used there");
    assert_eq!(shell(elsewhere.path(), "ls -A"), "");
    for (nonsense, why) in [("nowhere", "can't use as the application's folder"), ("/dev/null", "is not a folder")] {
        let ran = CommandOutput::of(program().args(["init", nonsense]).current_dir(elsewhere.path()));
        assert!(ran.expect(2).stderr.contains(why), "{ran:?}");
    }
}

#[test]
fn an_empty_folder_gets_settings_to_be_corrected() {
    let folder = tempfile::tempdir().unwrap();
    let ran = CommandOutput::of(program().arg("init").current_dir(folder.path()));
    assert!(
        ran.expect(0).stderr.contains("warning: no SQLite database was found\nhint: start the application once"),
        "{ran:?}"
    );
    let listed = CommandOutput::of(program().arg("list").current_dir(folder.path()));
    assert!(listed.expect(0).stdout.starts_with("no backups yet in "), "{listed:?}");
}

#[test]
fn settings_are_readable_by_all_and_belong_into_the_repository() {
    let project = Project::new();
    shell(project.root(), "git init -q");
    run(&project, "init").expect(0);
    assert_eq!(shell(project.root(), "stat -c '%a' ops ops/backup.toml .gitignore"), "755\n644\n644\n");
    let again = Project::new();
    again.write(".gitignore", "backups\nlogs/\n");
    run(&again, "init").expect(0);
    assert_eq!(again.read(".gitignore"), "backups\nlogs/\n", "it has them already");
}
