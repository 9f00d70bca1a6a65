//! Root becomes the owner of the project, or of the store, before it opens anything there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::support::{CommandOutput, Project, program, shell};
use crate::{Place, USER, quoted};

fn owner(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().uid()
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn every_command_on_a_project_of_another_user_runs_as_that_user_and_says_so() {
    let place = Place::make();
    let project = &place.project;
    place.as_user("echo more >> .env");
    let said = format!("running as {USER}, who owns {}, instead of as root\n", project.root().display());
    for command in ["backup", "verify", "drill", "rotate", "list", "status", "restore --from latest --yes", "doctor"] {
        let ran = project.run(command);
        assert_eq!(ran.stderr.matches(&said).count(), 1, "{command}: {ran:?}");
        assert!(ran.code == 0 || command == "doctor" && ran.code == 1, "{command}: {ran:?}");
    }
    let others = shell(project.root(), &format!("find . ! -uid {USER} -o ! -gid {USER}"));
    assert_eq!(others, "", "what it made belongs to somebody else");
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn the_process_keeps_no_right_of_roots_and_no_way_back() {
    let place = Place::make();
    let status = place.project.path("status");
    let script = format!("cat /proc/self/status > {0}; env >> {0}", status.display());
    place.project.write("ops/backup.toml", &format!("[drill]\ncommand = ['sh', '-c', '{script}']\n"));
    place.give("");
    CommandOutput::of(place.project.command(["drill"]).env("SECRET_OF_ROOT", "x").env("LANG", "C")).expect(0);
    let status = fs::read_to_string(&status).unwrap();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{status}"));
    let ids = format!("{USER}\t{USER}\t{USER}\t{USER}");
    assert_eq!((line("Uid:"), line("Gid:")), (format!("Uid:\t{ids}").as_str(), format!("Gid:\t{ids}").as_str()));
    assert_eq!(line("Groups:").trim(), "Groups:");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(line(set).split_whitespace().nth(1), Some("0000000000000000"), "{status}");
    }
    assert!(status.contains("LANG=C"), "{status}");
    assert!(!status.contains("SECRET_OF_ROOT") && !status.contains("HOME=/root"), "{status}");
}

/// A user who has root's terminal can type commands that root's shell then runs.
#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn the_command_of_a_drill_does_not_get_roots_terminal() {
    let place = Place::make();
    let script = "if (: < /dev/tty); then echo yes > /tmp/has-terminal; fi";
    place.project.write("ops/backup.toml", &format!("[drill]\ncommand = ['sh', '-c', '{script}']\n"));
    place.give("");
    let _ = fs::remove_file("/tmp/has-terminal");
    let run = |words: &str| format!("script -qefc {} /dev/null < /dev/null", quoted(words));
    let drill = format!("{} --root {} drill", program().get_program().display(), place.project.root().display());
    shell(place.project.root(), &run(&drill));
    assert!(!Path::new("/tmp/has-terminal").exists());
    // A command that gets a terminal would have found this text there.
    shell(place.project.root(), &run(&format!("sh -c {}", quoted(script))));
    fs::remove_file("/tmp/has-terminal").unwrap();
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn the_owner_of_the_store_or_of_a_source_counts_where_the_rest_is_roots() {
    for relative in ["backups", "data", "ops"] {
        let project = Project::new();
        shell(project.root(), "mkdir ops; chmod 0755 . data; chmod 0644 .env data/*");
        project.backup();
        shell(project.root(), &format!("chown -R {USER}:{USER} {relative}"));
        let ran = project.run("list");
        let said = format!("running as {USER}, who owns {}, instead", project.path(relative).display());
        assert!(ran.stderr.contains(&said), "{relative}: {ran:?}");
        assert_ne!(ran.code, 101, "{relative}: {ran:?}");
    }
    // Sources that are not asked for don't count: root restores its own configuration.
    let project = Project::new();
    project.backup();
    shell(project.root(), &format!("chown -R {USER}:{USER} data; mv .env away"));
    project.write("ops/backup.toml", "[[files]]\nname = 'config'\npaths = ['.env']\n");
    let ran = project.run("restore --from latest --config-only --yes");
    assert!(!ran.expect(0).stderr.contains("running as") && owner(&project.path(".env")) == 0, "{ran:?}");
    let denied = project.run("backup");
    let told =
        format!("; this runs as {USER}, who owns {}: give {USER} access to it\n", project.path("data").display());
    assert!(denied.expect(1).stderr.contains(&told), "{denied:?}");

    let project = Project::new();
    assert!(!project.run("backup").expect(0).stderr.contains("running as"));
    assert_eq!(owner(&project.path("backups")), 0);
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn what_is_made_in_a_folder_of_another_users_is_made_as_that_user() {
    let place = Place::make();
    shell(place.project.root(), "rm -rf ops");
    let folder = place.project.root().display().to_string();
    for words in ["init DIR", "man DIR/pages", "demo --size-mb 1 --dir DIR/demo"] {
        let ran = CommandOutput::of(program().args(words.replace("DIR", &folder).split(' ')));
        assert!(ran.expect(0).stderr.contains(&format!("running as {USER}, who owns {folder}, ")), "{words}: {ran:?}");
    }
    assert_eq!(shell(place.project.root(), &format!("find . ! -uid {USER}")), "");
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn a_folder_that_somebody_prepared_in_a_shared_one_is_worked_in_as_that_user() {
    let shared = tempfile::tempdir().unwrap();
    shell(shared.path(), &format!("chmod 1777 .; mkdir backup-demo; chown {USER}:{USER} backup-demo"));
    let ran = CommandOutput::of(program().args(["demo", "--size-mb", "1"]).current_dir(shared.path()));
    assert!(ran.expect(0).stderr.contains(&format!("running as {USER}, who owns ")), "{ran:?}");
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn a_link_to_a_folder_of_another_users_counts_wherever_it_is_named() {
    let place = Place::make();
    let project = Project::new();
    project.backup();
    let theirs = place.project.path("data");
    let said = format!("running as {USER}, who owns {}", place.project.root().display());
    for flag in ["--scratch DIR verify", "restore --from latest --to DIR"] {
        let ran = project.run(&flag.replace("DIR", theirs.to_str().unwrap()));
        assert!(ran.stderr.contains(&said), "{flag}: {ran:?}");
    }
    shell(project.root(), &format!("rm data/sessions.db*; ln -s {}/sessions.db data/sessions.db", theirs.display()));
    let ran = project.run("backup");
    assert!(ran.stderr.contains(&said), "{ran:?}");
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn where_project_and_store_have_two_owners_the_projects_is_taken() {
    let place = Place::make();
    shell(place.project.root(), "chown -R 4343:4343 backups; chmod -R a+rX backups");
    let ran = place.project.run("list");
    assert!(ran.stderr.contains(&format!("running as {USER}, who owns ")), "{ran:?}");
    let told = format!("backups belongs to 4343; this runs as {USER}, who owns ");
    assert!(ran.expect(0).stderr.contains(&told), "{ran:?}");
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn a_link_of_another_users_on_the_way_to_a_project_of_roots_counts_too() {
    let place = Place::make();
    let own = Project::new();
    own.backup();
    place.as_user(&format!("ln -s {} link", own.root().display()));
    let link = place.project.path("link");
    let ran = CommandOutput::of(program().arg("--root").arg(&link).arg("list"));
    assert!(ran.stderr.contains(&format!("running as {USER}, who owns {}", place.project.root().display())), "{ran:?}");
    assert_ne!(ran.code, 0, "root's own project was opened by way of it: {ran:?}");
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn root_acts_on_nothing_that_a_group_or_everybody_can_write() {
    let project = Project::new();
    for (change, who) in [("chmod o+w data", "everybody"), ("chmod o-w,g+w data; chgrp 4242 data", "the group 4242")] {
        shell(project.root(), change);
        let ran = project.run("backup");
        let told =
            format!("error: {who} can write to {}, so root doesn't act on it\nhint: ", project.path("data").display());
        assert!(ran.expect(1).stderr.starts_with(&told), "{ran:?}");
    }
    shell(project.root(), "chgrp 0 data");
    project.run("backup").expect(0);
    // An access list gives the right to one more user. Its bytes are as in `linux/posix_acl_xattr.h`.
    let entry =
        |tag: u16, rights: u16, id: u32| [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat();
    let nobody = u32::MAX;
    let entries = [(1, 7, nobody), (2, 7, USER), (4, 5, nobody), (0x10, 7, nobody), (0x20, 5, nobody)];
    let list = entries.map(|(tag, rights, id)| entry(tag, rights, id)).concat();
    let list = [&2_u32.to_le_bytes()[..], &list].concat();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(project.path("data"), "system.posix_acl_access", &list, flags).unwrap();
    let ran = project.run("backup");
    assert!(ran.expect(1).stderr.starts_with("error: a user or group of its access list can write to "), "{ran:?}");
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn what_a_shell_completes_is_looked_up_as_the_owner() {
    let place = Place::make();
    // A store that root could read, but the owner can't.
    shell(place.project.root(), "chown -R 0:0 backups; chmod 0700 backups");
    let answer = CommandOutput::of(place.project.command(["restore", "--from"]).env("XTASK_COMPLETE", "bash"));
    assert_eq!((answer.code, answer.all().as_str()), (0, ""));
}
