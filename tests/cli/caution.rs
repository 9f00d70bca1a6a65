//! A restore does no harm: what it says before it begins, what it keeps, where it doesn't write, what it leaves.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{CommandOutput, Project, WaitingRun, as_nobody, break_index, on_a_terminal, shell};

fn changed() -> (Project, String) {
    let project = Project::new();
    let id = project.backup();
    project.execute("INSERT INTO sessions VALUES (1001, 1, 0.5); INSERT INTO stations VALUES (3, 'west'), (4, 'east')");
    (project, id)
}

/// The project's default name.
fn name(project: &Project) -> String {
    project.root().file_name().unwrap().to_str().unwrap().to_string()
}

// What it says before it begins.

#[test]
fn a_plan_says_how_old_the_backup_is_and_what_has_happened_since() {
    let (project, id) = changed();
    project.redate(&id, "20251210_140000");
    project.write(".env", "PORT=1\n");
    let mut command = project.command("restore --from latest --dry-run".split(' '));
    let ran = CommandOutput::of(command.env("TZ", "Europe/Berlin"));
    let lines: Vec<&str> = ran.expect(0).stdout.lines().collect();
    assert!(lines[0].starts_with("restore 20251210_140000 (2025-12-10 15:00, "), "{}", lines[0]);
    assert!(lines[0].contains("d old) into "), "{}", lines[0]);
    assert_eq!(lines[2], "             rows since then: sessions +1, stations +2 (will be replaced)");
    assert_eq!(lines[3..5], ["  replaces   .env  30 B", "  unchanged  data/station_info.json  15 B"]);
}

#[test]
fn a_restore_names_files_of_the_settings_that_the_backup_lacks() {
    let project = Project::new();
    fs::remove_file(project.path(".env")).unwrap();
    let id = project.backup();
    project.write(".env", "API_KEY=new\n");
    let plan = project.run("restore --from latest --dry-run --json").expect(0).json()["plan"].clone();
    assert_eq!(plan["warnings"], json!([format!("backup {id} holds no .env: what is there now stays")]));
    project.run("restore --from latest --yes").expect(0);
    assert_eq!(project.read(".env"), "API_KEY=new\n");
    let undone = project.run("restore --undo --yes");
    assert_eq!(undone.expect(0).stderr, "", "what a restore kept is all that it replaced");
}

/// Moves a backup's files from one folder to another.
fn move_backup(project: &Project, id: &str, from: &str, to: &str) {
    shell(project.root(), &format!("mkdir -p {to}; mv {from}/*{id}* {to}/"));
}

#[test]
fn latest_is_the_newest_backup_once_the_lock_is_held() {
    let project = Project::new();
    let old = project.backup_with("--no-rotate");
    project.execute("DELETE FROM sessions WHERE id > 900");
    let new = project.backup_with("--no-rotate");
    move_backup(&project, &new, "backups", "elsewhere");
    project.execute("DELETE FROM sessions");
    let lock = project.lock();
    let waiting = WaitingRun::start(&mut project.command("restore --from latest --yes --lock-wait 60s".split(' ')));
    // As another run that ends with a rotation would.
    move_backup(&project, &new, "elsewhere", "backups");
    move_backup(&project, &old, "backups", "elsewhere");
    lock.unlock().unwrap();
    let ran = waiting.end();
    let meanwhile = format!("meanwhile, {new} has taken the place of {old}\n");
    assert!(ran.expect(0).stderr.contains(&meanwhile), "{}", ran.all());
    assert_eq!(project.sessions(), 900);
}

// What it keeps.

#[test]
fn to_keep_nothing_the_projects_name_has_to_be_said() {
    let (project, _) = changed();
    let before = project.tree();
    let name = name(&project);
    let _filters = project.filters();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&name.replace('.', "[.]"), "NAME");
    let _more = settings.bind_to_scope();
    insta::assert_snapshot!(project.run("restore --from latest --no-keep --yes").expect(2).stderr, @"
    error: with --no-keep nothing can be undone, and there is no terminal to ask on; nothing was changed
    hint: if that is intended, add --no-keep=NAME
    ");
    let hint = project.run("restore --from latest --no-keep").expect(2).stderr.clone();
    assert!(hint.ends_with(&format!("add --yes --no-keep={name}\n")), "{hint}");
    insta::assert_snapshot!(project.run("restore --from latest --no-keep=other --yes").expect(2).stderr, @r#"
    error: "other" is not this project's name; nothing was changed
    hint: it is NAME
    "#);
    project.run(&format!("restore --from latest --no-keep={name}")).expect(2);
    for answer in ["", "y", "yes"] {
        on_a_terminal(&project, answer, "restore --from latest --no-keep --yes").expect(2);
    }
    assert_eq!(project.tree(), before);
}

#[test]
fn who_says_the_name_restores_without_a_way_back() {
    for is_typed in [false, true] {
        let (project, id) = changed();
        let (stored, name) = (project.stored(), name(&project));
        if is_typed {
            on_a_terminal(&project, &name, "restore --from latest --no-keep").expect(0);
        } else {
            let ran = project.run(&format!("restore --from latest --no-keep={name} --yes --json"));
            assert_eq!(ran.expect(0).json()["restored"]["kept"], Value::Null);
        }
        assert_eq!((project.sessions(), project.stored()), (1000, stored), "{id}");
        let line = project.ledger().pop().unwrap();
        assert_eq!((&line["outcome"], &line["restore"]["unkept"]), (&json!("ok"), &json!(true)));
        let undo = project.run("restore --undo --yes");
        assert!(undo.expect(10).stderr.contains(" was told not to keep what it replaced\n"), "{}", undo.stderr);
    }
}

// Where it doesn't write.

#[test]
fn nothing_is_restored_into_the_backup_folder() {
    let project = Project::new();
    project.backup();
    symlink(project.path("backups"), project.path("link")).unwrap();
    let before = project.tree();
    for folder in ["backups", "backups/new/place", "link", "link/place", "backups/../backups"] {
        let ran = project.run(&format!("restore --from latest --to {}", project.path(folder).display()));
        let message = format!("would be written into the backup folder {}\n", project.path("backups").display());
        assert!(
            ran.expect(2).stderr.starts_with("error: data/sessions.db ") && ran.stderr.contains(&message),
            "{folder}: {}",
            ran.stderr
        );
    }
    assert_eq!(project.tree(), before);
    project.run(&format!("restore --from latest --to {}", project.path("backups-old").display())).expect(0);
}

#[test]
fn a_database_of_somebody_else_is_no_reason_to_move_it_aside() {
    let project = Project::new();
    project.execute("PRAGMA journal_mode = delete");
    project.backup();
    break_index(&project.path("data/sessions.db"));
    shell(project.root(), "chmod 0755 .; chmod -R a+rwX .env data backups; chmod 0444 data/sessions.db");
    let before = project.tree();
    let ran = as_nobody(&project, &std::env::temp_dir(), "restore --from latest --database-only --yes");
    let message = format!("error: can't restore into {}", project.path("data/sessions.db").display());
    assert!(ran.expect(1).stderr.starts_with(&message), "{}", ran.stderr);
    assert_eq!(project.tree(), before);
}

// What it leaves.

/// Leaves what a restore leaves if it is killed while it decodes.
fn leave(project: &Project, folder: &Path) {
    for file in ["data/.sessions.db.restoring", "..env.restoring"] {
        fs::write(folder.join(file), "half of it").unwrap();
    }
    assert!(project.root().exists());
}

#[test]
fn what_a_killed_restore_left_is_told_of_and_removed_by_the_next_run_that_may_write() {
    let (project, _) = changed();
    let left = || shell(project.root(), "find . -name '*.restoring*' | sort");
    leave(&project, project.root());
    let _filters = project.filters();
    insta::assert_snapshot!(project.run("list").expect(0).stderr, @"
    warning: a restore was cut short and left ROOT/..env.restoring (10 B), ROOT/data/.sessions.db.restoring (10 B)
    hint: the next run that may write removes it: backup, verify, restore
    ");
    let checks = project.run("doctor --json").json()["checks"].clone();
    let restore = checks.as_array().unwrap().iter().find(|check| check["check"] == "restore").unwrap();
    assert_eq!(restore["verdict"], "warning");
    assert_eq!(left(), "./..env.restoring\n./data/.sessions.db.restoring\n");
    for command in ["backup", "verify", "drill", "rotate"] {
        leave(&project, project.root());
        project.run(command).expect(0);
        assert_eq!(left(), "", "{command}");
    }
    assert_eq!(project.run("list").expect(0).stderr, "");
}

/// Removes the ledger's last line, which says that a restore ended.
fn forget_end(project: &Project) {
    let ledger = project.read("backups/history.jsonl");
    let (begun, _) = ledger.trim_end().rsplit_once('\n').unwrap();
    project.write("backups/history.jsonl", &format!("{begun}\n"));
}

#[test]
fn what_a_killed_restore_left_in_another_folder_is_told_of_and_removed_by_a_restore_there_alone() {
    let (project, other) = (Project::new(), Project::empty());
    project.backup();
    let restore = format!("restore --from latest --yes --to {}", other.root().display());
    project.run(&restore).expect(0);
    forget_end(&project);
    leave(&project, project.root());
    leave(&project, other.root());
    let left = || shell(other.root(), "find . -name '*.restoring*' | wc -l");
    let name = other.root().display();
    let said = project.run("list").expect(0).stderr.clone();
    let theirs = format!(
        "warning: a restore was cut short and left {name}/..env.restoring (10 B), {name}/data/.sessions.db.restoring (10 B)\n\
         hint: a restore into that folder removes it, and nothing else does\n"
    );
    assert!(said.contains(&theirs), "{said}");
    for command in ["backup", "verify", "rotate"] {
        project.run(command).expect(0);
        assert_eq!(left().trim(), "2", "{command}");
    }
    assert_eq!(shell(project.root(), "find . -name '*.restoring*'"), "");
    project.run(&restore).expect(0);
    assert_eq!(left().trim(), "0");
}

#[test]
fn what_many_killed_restores_left_is_removed_with_few_open_files() {
    let project = Project::new();
    let names: Vec<String> = (0..200).map(|n| format!("many/{n}")).collect();
    project.write("ops/backup.toml", &format!("[[files]]\nname = 'many'\npaths = {names:?}\n"));
    for name in &names {
        project.write(name, "");
    }
    project.backup();
    for n in 0..200 {
        project.write(&format!("many/.{n}.restoring"), "half");
    }
    let verify = project.command(["verify"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(verify.get_program()).args(verify.get_args());
    let ran = CommandOutput::of(&mut limited);
    assert_eq!(ran.expect(0).stderr.matches("warning: ").count(), 1, "{ran:?}");
    assert_eq!(shell(project.root(), "find . -name '*.restoring'"), "");
}
