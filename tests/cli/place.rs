//! Where the program searches for a project, and which name it gives itself.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{CommandOutput, Project, as_nobody_in, program, shell};

/// Runs the program in `folder`, without `--root`.
fn run_in(folder: &Path, arguments: &str) -> CommandOutput {
    CommandOutput::of(program().args(arguments.split_whitespace()).current_dir(folder))
}

/// Runs it as somebody who has installed it as `name`.
fn run_as(name: &str, folder: &Path, arguments: &str) -> CommandOutput {
    let mut command = program();
    command.env_remove("CARGO_PKG_NAME").arg0(name).args(arguments.split_whitespace());
    CommandOutput::of(command.current_dir(folder))
}

#[test]
fn the_project_is_found_from_any_folder_below_it() {
    let project = Project::new();
    project.write("ops/backup.toml", "project = 'found'\n");
    fs::create_dir_all(project.path("src/deep")).unwrap();
    for (at, folder) in ["", "src/deep", "data", "ops"].into_iter().enumerate() {
        run_in(&project.path(folder), "backup").expect(0);
        let listed = run_in(&project.path(folder), "list --json").expect(0).json();
        assert_eq!(listed["backups"].as_array().unwrap().len(), at + 1, "{folder}");
    }
    assert!(!project.path("src/deep/backups").exists());
}

#[test]
fn without_a_project_nothing_is_done_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let before = shell(built, "ls -a");
    for command in ["backup", "list", "status", "verify", "drill", "rotate", "doctor", "timer", "restore --from latest"]
    {
        let ran = run_in(folder.path(), command);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{command}: {ran:?}");
        let said = ran.stderr.replace(folder.path().to_str().unwrap(), "FOLDER");
        insta::allow_duplicates! { insta::assert_snapshot!(said, @"
        error: no ops/backup.toml in FOLDER or above it
        hint: write one: `cargo xtask init`; or name the application's folder with --root DIR
        "); }
    }
    assert_eq!(shell(folder.path(), "ls -A"), "");
    assert_eq!(shell(built, "ls -a"), before);
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn settings_of_somebody_else_are_not_used_unless_they_are_named() {
    let project = Project::new();
    project.write("ops/backup.toml", "[drill]\ncommand = ['touch', '/tmp/planted']\n");
    fs::create_dir(project.path("below")).unwrap();
    let run = |place: &str, arguments: &str| as_nobody_in(&project.path(place), arguments);
    shell(project.root(), "chown -R 4242 .; chmod -R a+rX .");
    for place in ["below", "."] {
        let ran = run(place, "drill");
        assert!(ran.expect(2).stderr.contains("belongs to another user"), "{place}: {ran:?}");
    }
    // A link to one's own settings isn't trusted either if it belongs to somebody else.
    shell(
        project.root(),
        "cp ops/backup.toml own; chown 65534 own ops; ln -sf ../own ops/backup.toml; chown -h 4242 ops/backup.toml",
    );
    run("below", "list").expect(2);
    shell(project.root(), "chown -h 65534 ops/backup.toml");
    run("below", "list").expect(0);
    shell(project.root(), "chown -Rh 4242 .");
    run("below", &format!("--root {} list", project.root().display())).expect(0);
}

#[test]
fn the_settings_that_count_are_shown_with_their_file_and_their_writer() {
    let project = Project::new();
    let shown = project.run("config show --json").expect(0).json();
    assert_eq!((&shown["settings_file"], &shown["settings"]["codec"]["name"]), (&Value::Null, &json!("gzip")));
    project.write("ops/backup.toml", "[codec]\nname = 'zstd'\n");
    let shown = project.run("config show").expect(0).stdout.clone();
    let file = format!("settings        {}\n", project.path("ops/backup.toml").display());
    assert!(shown.contains(&file) && shown.contains("name = \"zstd\"") && shown.contains("gzip_level = 6"), "{shown}");
    let writer = project.run("config show --json").json()["writer"].clone();
    assert_eq!(writer.is_null(), crate::support::is_root(), "{writer}");
    project.write("ops/backup.toml", "[codec]\nname = 'rar'\n");
    project.run("config show").expect(2);
}

#[test]
fn hints_name_the_program_as_it_was_called_with_the_flags_that_were_given() {
    let project = Project::new();
    let root = project.root().to_str().unwrap();
    let hint = |ran: CommandOutput| ran.stderr.lines().find(|line| line.starts_with("hint: ")).unwrap().to_string();
    for name in ["xtask", "sqlite-ops", "/usr/local/lib/charger-ops/xtask"] {
        let ran = run_as(name, project.root(), "--root . list");
        assert_eq!(hint(ran), format!("hint: make one: `{name} --root {root} backup`"));
        let help = run_as(name, project.root(), "help list").stdout;
        assert!(help.contains(&format!("\nUsage: {name} list [OPTIONS]\n")), "{help}");
        let wrong = run_as(name, project.root(), "lst").stderr;
        assert!(wrong.contains(&format!("\nUsage: {name} [OPTIONS] <COMMAND>\n")), "{wrong}");
        let version = run_as(name, project.root(), "--version").stdout;
        let short = name.rsplit('/').next().unwrap();
        assert_eq!(version, format!("{short} {}\n", env!("CARGO_PKG_VERSION")));
    }
    project.write("ops/backup.toml", "");
    assert_eq!(hint(run_as("xtask", project.root(), "list")), "hint: make one: `xtask backup`");
    std::fs::create_dir(project.path("b")).unwrap();
    let given = run_as("xtask", project.root(), "--config ops/backup.toml --backup-dir b list");
    let flags = format!("--config {root}/ops/backup.toml --backup-dir {root}/b");
    assert_eq!(hint(given), format!("hint: make one: `xtask {flags} backup`"));
    let cargo = CommandOutput::of(project.command(["list"]).current_dir("/"));
    assert_eq!(hint(cargo), format!("hint: make one: `cargo xtask --root {root} backup`"));
}

#[test]
fn a_hint_in_json_can_be_pasted_too() {
    let project = Project::new();
    project.execute("DROP TABLE sessions");
    fs::write(project.path("data/sessions.db"), "not a database, and longer than a header has to be").unwrap();
    let ran = run_as("xtask", project.root(), &format!("--root {} verify --json", project.root().display()));
    let hint = ran.expect(10).json()["error"]["hint"].as_str().unwrap().to_string();
    let backup = format!("`xtask --root {} backup`", project.root().display());
    assert!(hint.contains(&backup), "{hint}");
}
