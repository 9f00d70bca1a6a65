//! Backup folders that several projects share, or seem to.

use std::fs;
use std::path::{Path, PathBuf};

use insta::{allow_duplicates, assert_snapshot};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{CommandOutput, Project, program, shell};

/// A backup folder outside of all projects.
struct Shared {
    folder: TempDir,
}

impl Shared {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("backups")
    }

    fn run(&self, project: &Project, arguments: &str) -> CommandOutput {
        CommandOutput::of(project.command(["--backup-dir"]).arg(self.path()).args(arguments.split_whitespace()))
    }

    fn backup(&self, project: &Project) -> String {
        let ran = self.run(project, "backup --json");
        ran.expect(0).json()["backup"]["id"].as_str().unwrap().to_string()
    }

    fn record(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path().join("store.json")).unwrap()).unwrap()
    }

    /// Everything in it, except what a lock may change.
    fn tree(&self) -> String {
        shell(&self.path(), "find . ! -name .lock -printf '%p %m\n' | sort; sha256sum * | sort")
    }
}

/// A project with this name in its settings.
fn named(name: &str) -> Project {
    let project = Project::new();
    project.write("ops/backup.toml", &format!("project = {name:?}\n"));
    project
}

/// Runs the program in a project's folder, with this backup folder.
fn run_in(root: &Path, backups: &Path, arguments: &str) -> CommandOutput {
    let mut command = program();
    command.arg("--root").arg(root).arg("--backup-dir").arg(backups);
    CommandOutput::of(command.args(arguments.split_whitespace()))
}

#[test]
fn a_store_says_whose_it_is_once_a_backup_is_in_it() {
    let (shared, project) = (Shared::new(), named("charger"));
    shared.backup(&project);
    let record = shared.record();
    let host = shell(Path::new("/"), "uname -n");
    assert_eq!(
        (&record["format"], &record["project"], &record["host"]),
        (&json!(1), &json!("charger"), &json!(host.trim()))
    );
    assert_eq!(record["root"], project.root().to_str().unwrap());
    assert!(record["since"].as_str().unwrap().ends_with('Z') || record["since"].as_str().unwrap().contains('+'));
    assert_eq!(shell(&shared.path(), "stat -c %a store.json"), "600\n");
    shared.backup(&project);
    assert_eq!(shared.record(), record, "it is written once");
}

#[test]
fn every_command_of_another_project_refuses_and_changes_nothing() {
    let (shared, first, second) = (Shared::new(), named("charger"), named("shop"));
    first.write(".env", "OWNER=charger\n");
    let id = shared.backup(&first);
    let (before, live) = (shared.tree(), second.tree());
    for command in [
        "backup",
        "list",
        "status",
        "restore --from latest --yes",
        &format!("restore --from {id} --dry-run"),
        "restore --undo",
        "verify",
        "verify --all",
        "drill",
        "rotate",
        "rotate --dry-run",
        &format!("pin {id}"),
        &format!("unpin {id}"),
        &format!("accept {id}"),
    ] {
        let ran = shared.run(&second, command);
        ran.expect(2);
        assert_eq!(ran.stdout, "", "{command}");
        let said = ran.stderr.replace(shared.path().to_str().unwrap(), "SHARED");
        allow_duplicates! { assert_snapshot!(second.redact(&said), @r#"
        error: SHARED holds the backups of project charger, this is project shop
        hint: give each project a folder of its own (backup_dir = "SHARED/shop"); if this is charger, name it so (project = "charger"); or take it over: `--backup-dir SHARED take-over`
        "#); }
    }
    assert_eq!(shared.run(&second, "status --json").expect(2).json()["error"]["kind"], "foreign_store");
    assert_eq!((shared.tree(), second.tree()), (before, live));
    shared.run(&first, "verify --all").expect(0);
}

#[test]
fn doctor_finds_that_the_backup_folder_is_another_projects() {
    let (shared, first, second) = (Shared::new(), named("charger"), named("shop"));
    shared.backup(&first);
    let ran = shared.run(&second, "doctor");
    assert!(ran.expect(1).stdout.contains("failure  backups: "), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("holds the backups of project charger, this is project shop\n         hint: give each")
    );
    assert!(!shared.run(&first, "doctor").stdout.contains("failure  backups"));
}

#[test]
fn a_folder_of_its_own_below_is_the_way_on() {
    let (shared, first, second) = (Shared::new(), named("charger"), named("shop"));
    shared.backup(&first);
    let own = shared.path().join("shop");
    second.write("ops/backup.toml", &format!("project = \"shop\"\nbackup_dir = {own:?}\n"));
    second.run("backup").expect(0);
    for (project, list) in [(&first, shared.run(&first, "list --json")), (&second, second.run("list --json"))] {
        assert_eq!(list.expect(0).json()["backups"].as_array().unwrap().len(), 1, "{:?}", project.root());
    }
    shared.run(&first, "verify --all").expect(0);
}

#[test]
fn on_a_new_machine_the_name_is_enough() {
    let (shared, first) = (Shared::new(), named("charger"));
    shared.backup(&first);
    let mut record = shared.record();
    record["host"] = "the-old-machine".into();
    fs::write(shared.path().join("store.json"), record.to_string()).unwrap();
    let fresh = Project::empty();
    shared.run(&fresh, "restore --from latest").expect(2);
    fresh.write("ops/backup.toml", "project = \"charger\"\n");
    shared.run(&fresh, "restore --from latest").expect(0);
    assert_eq!(fresh.sessions(), 1000);
    shared.backup(&fresh);
    assert_eq!(shared.record()["root"], fresh.root().to_str().unwrap());
}

#[test]
fn two_folders_of_one_name_are_two_projects_as_long_as_both_are_there() {
    // On a file system that isn't a tmpfs, which could hide something.
    let (shared, host) = (Shared::new(), tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
    let roots = ["a/app", "b/app"].map(|folder| host.path().join(folder));
    for root in &roots {
        let project = Project::new();
        shell(host.path(), &format!("mkdir -p {0}; cp -r {1}/. {0}", root.display(), project.root().display()));
    }
    run_in(&roots[0], &shared.path(), "backup").expect(0);
    let ran = run_in(&roots[1], &shared.path(), "restore --from latest --yes");
    let said = ran.expect(2).stderr.replace(shared.path().to_str().unwrap(), "SHARED");
    assert_snapshot!(said.replace(host.path().to_str().unwrap(), "HOST"), @r#"
    error: SHARED holds the backups of project app in HOST/a/app, this is another app in HOST/b/app
    hint: give each project a folder of its own (backup_dir = "SHARED/app"), and a name of its own (project); or take it over: `cargo xtask --root HOST/b/app --backup-dir SHARED take-over`
    "#);
    // The project was moved.
    fs::remove_dir_all(&roots[0]).unwrap();
    run_in(&roots[1], &shared.path(), "restore --from latest --yes").expect(0);
    run_in(&roots[1], &shared.path(), "backup").expect(0);
}

#[test]
fn a_project_that_is_copied_with_its_backups_goes_on_with_the_copy() {
    let (project, elsewhere) = (named("charger"), tempfile::tempdir().unwrap());
    project.backup();
    shell(elsewhere.path(), &format!("cp -r {}/. .", project.root().display()));
    let root = elsewhere.path().canonicalize().unwrap();
    CommandOutput::of(program().arg("--root").arg(&root).arg("backup")).expect(0);
    project.run("backup").expect(0);
}

#[test]
fn a_store_from_before_such_records_is_its_manifests_projects() {
    let (shared, first, second) = (Shared::new(), named("charger"), named("shop"));
    shared.backup(&first);
    fs::remove_file(shared.path().join("store.json")).unwrap();
    shared.run(&second, "backup").expect(2);
    shared.run(&second, "restore --from latest --yes").expect(2);
    shared.run(&first, "list").expect(0);
    shared.backup(&first);
    assert_eq!(shared.record()["project"], "charger");
}

#[test]
fn a_store_that_two_projects_have_filled_is_the_ones_whose_runs_find_their_own() {
    let (shared, first, second) = (Shared::new(), named("charger"), named("shop"));
    first.write(".env", "OWNER=charger\n");
    second.write(".env", "OWNER=shop\n");
    let mine = shared.backup(&second);
    fs::remove_file(shared.path().join("store.json")).unwrap();
    let other = Shared::new();
    // A second backup in the same second has its own id.
    other.backup(&first);
    let theirs = other.backup(&first);
    shell(&shared.path(), &format!("cp {}/*{theirs}* .", other.path().display()));
    shared.run(&second, "restore --from latest --yes").expect(0);
    assert_eq!(second.read(".env"), "OWNER=shop\n");
    let rows = shared.run(&second, "list --json").expect(0).json()["backups"].clone();
    let status =
        |id: &str| rows.as_array().unwrap().iter().find(|row| row["id"] == id).map(|row| row["status"].clone());
    assert_eq!((status(&mine), status(&theirs)), (Some("complete".into()), Some("another project's".into())));
    let plan = shared.run(&second, "rotate --dry-run --keep-days 0").expect(0).stdout.clone();
    let kept = plan.lines().find(|line| line.starts_with(&format!("keep    {theirs}  ")));
    assert!(kept.is_some_and(|line| line.ends_with("another project's")), "{plan}");
}

#[test]
fn what_is_taken_over_knowingly_is_the_new_projects() {
    let (shared, first, second) = (Shared::new(), named("charger"), named("shop"));
    let theirs = shared.backup(&first);
    let refused = shared.run(&second, "take-over");
    refused.expect(2);
    assert_snapshot!(refused.stderr, @"
    error: there is no terminal to ask on; nothing was changed
    hint: if that is intended, add --yes
    ");
    assert_eq!(shared.record()["project"], "charger");
    let ran = shared.run(&second, "take-over --yes");
    assert_eq!(
        ran.expect(0).stdout,
        format!("{} now belongs to project shop; it belonged to charger\n", shared.path().display())
    );
    let ledger = fs::read_to_string(shared.path().join("history.jsonl")).unwrap();
    let line: Value = serde_json::from_str(ledger.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&line["command"], &line["from"], &line["outcome"]),
        (&json!("take_over"), &json!("charger"), &json!("ok"))
    );
    shared.run(&first, "backup").expect(2);
    // The other project's backups are never taken for its own.
    shared.run(&second, "restore --from latest").expect(10);
    assert!(!shared.run(&second, "status").expect(1).stdout.contains(&theirs));
    shared.backup(&second);
    shared.run(&second, "rotate --keep-days 0").expect(0);
    assert!(shared.path().join(format!("manifest_{theirs}.json")).exists());
    let again = shared.run(&second, "take-over --json");
    assert_eq!(again.expect(0).json(), json!({ "project": "shop", "from": null }));
}

#[test]
fn the_backups_of_another_host_count_once_a_person_says_so() {
    let project = Project::new();
    let id = project.backup();
    project.edit_manifest(&id, |manifest| manifest["host"] = "old box".into());
    let status = || project.run("list --json").expect(0).json()["backups"][0]["status"].clone();
    assert_eq!(status(), "another host's");
    let hint = project.run("list").expect(0).stderr.clone();
    let said = hint.lines().find(|line| line.starts_with("hint: backups of host 'old box' don't count")).unwrap();
    assert!(said.ends_with("take-over --host 'old box'`"), "{said}");
    project.run("restore --from latest --dry-run").expect(10);
    let take_over = |words: &[&str]| CommandOutput::of(project.command(["take-over", "--host"]).args(words));
    take_over(&["old box"]).expect(2);
    take_over(&["elsewhere", "--yes"]).expect(10);
    assert_eq!(status(), "another host's");
    let ran = take_over(&["old box", "--yes", "--json"]);
    let admitted = ran.expect(0).json();
    assert_eq!((&admitted["host"], &admitted["admitted"]), (&json!("old box"), &json!(1)));
    let line = project.ended().pop().unwrap();
    assert_eq!((&line["command"], &line["admitted"]), (&json!("take_over"), &json!("old box")));
    assert_eq!(status(), "complete");
    assert!(!project.run("list").expect(0).stderr.contains("take-over"));
    project.run("restore --from latest --dry-run").expect(0);
    // The next backup doesn't forget it.
    project.backup();
    let rows = project.run("list --json").expect(0).json()["backups"].clone();
    assert!(rows.as_array().unwrap().iter().all(|row| row["status"] == "complete"), "{rows}");
    take_over(&["old box", "--yes"]).expect(10);
}
