//! Where the program looks for a project, and how it calls itself.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use crate::support::{Project, Ran, is_root, program, shell};

/// Runs the program in `folder`, without `--root`.
fn run_in(folder: &Path, arguments: &str) -> Ran {
    Ran::of(program().args(arguments.split_whitespace()).current_dir(folder))
}

/// Runs it as somebody who has it installed, and calls it `name`.
fn run_as(name: &str, folder: &Path, arguments: &str) -> Ran {
    let mut command = program();
    command.env_remove("CARGO_PKG_NAME").arg0(name).args(arguments.split_whitespace());
    Ran::of(command.current_dir(folder))
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
fn settings_of_somebody_else_above_the_current_folder_are_not_used() {
    let project = Project::new();
    project.write("ops/backup.toml", "[drill]\ncommand = ['touch', '/tmp/planted']\n");
    fs::create_dir(project.path("below")).unwrap();
    if !is_root() {
        return;
    }
    shell(project.root(), "chown nobody ops/backup.toml");
    let ran = run_in(&project.path("below"), "drill");
    assert!(ran.expect(2).stderr.contains("belongs to another user"), "{ran:?}");
    // A link to settings that are mine is no better, if the link isn't mine.
    shell(project.root(), "cp ops/backup.toml mine; ln -sf ../mine ops/backup.toml; chown -h nobody ops/backup.toml");
    run_in(&project.path("below"), "list").expect(2);
    // The owner of the current folder could change what is in it anyway; and --root says that it is meant.
    shell(project.root(), "chown nobody below");
    run_in(&project.path("below"), "list").expect(0);
    project.run("list").expect(0);
}

#[test]
fn hints_name_the_program_as_it_was_called_with_the_flags_that_were_given() {
    let project = Project::new();
    let root = project.root().to_str().unwrap();
    let hint = |ran: Ran| ran.stderr.lines().find(|line| line.starts_with("hint: ")).unwrap().to_string();
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
    let cargo = Ran::of(project.command(["list"]).current_dir("/"));
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
