//! Another user's settings and folders don't decide what root does.

use std::fs;

use crate::support::{CommandOutput, program, shell};
use crate::{Place, USER, root_owned};

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn a_drills_command_a_probe_and_a_backup_folder_of_the_owners_get_nothing_of_roots() {
    let place = Place::make();
    let before = place.listing();
    let (secret, planted) = (place.roots("secret"), place.roots("planted"));
    let steal = format!("cp {} stolen; touch {}", secret.display(), planted.display());
    for settings in [
        format!("[drill]\ncommand = ['sh', '-c', '{steal}']\n"),
        format!(
            "[[database]]\nname = 'a'\npath = 'data/sessions.db'\nprobes = [\"ATTACH '{}' AS x\"]\n",
            planted.display()
        ),
        format!("backup_dir = '{}'\n", place.roots("backups").display()),
    ] {
        place.project.write("ops/backup.toml", &settings);
        place.give("");
        for command in ["backup", "drill", "verify --all", "rotate"] {
            place.project.run(command);
        }
        assert_eq!(place.listing(), before, "{settings}");
        assert_eq!(shell(place.project.root(), "find . -name stolen"), "", "{settings}");
    }
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn a_link_to_what_only_root_may_read_gets_into_no_backup() {
    let place = Place::make();
    for relative in [".env", "data/station_info.json", "data/sessions.db"] {
        place.as_user(&format!("mv {relative} away; ln -s {} {relative}", place.roots("secret").display()));
        assert_ne!(place.project.run("backup").code, 0, "{relative}");
        place.as_user(&format!("mv -f away {relative}"));
    }
    let stored = shell(place.project.root(), "gunzip -c backups/*.gz | grep -aoe API_KEY -e 'of root' | sort -u");
    assert_eq!(stored, "API_KEY\n");
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn cargo_as_root_is_refused_in_a_checkout_of_another_users() {
    let place = Place::make();
    let run = |checkout: &std::path::Path| {
        let mut command = program();
        command.args(["--root", "/nowhere", "list"]).env("CARGO", "/usr/bin/cargo").env("CARGO_MANIFEST_DIR", checkout);
        CommandOutput::of(&mut command)
    };
    let ran = run(place.project.root());
    let told = format!("error: cargo has just built and run, as root, code that {USER} can write: ");
    assert!(
        ran.expect(2).stderr.starts_with(&told) && ran.stderr.contains(&format!("hint: run cargo as {USER}: ")),
        "{ran:?}"
    );
    let own = tempfile::tempdir().unwrap();
    assert!(run(own.path()).stderr.contains("/nowhere"), "root's own checkout");
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn settings_of_roots_count_for_a_project_of_another_users() {
    let place = Place::make();
    let settings = place.roots("backup.toml");
    fs::write(&settings, "[status]\nmax_age = '1s'\n").unwrap();
    root_owned(&settings);
    // Only root may read them. Root becomes the owner, who may not.
    let ran = CommandOutput::of(place.project.command(["status", "--config"]).arg(&settings));
    assert!(ran.expect(1).stderr.contains("read the settings"), "{ran:?}");
    shell(place.roots("").as_path(), "chmod 0711 .; chmod 0644 backup.toml");
    let ran = CommandOutput::of(place.project.command(["status", "--config"]).arg(&settings));
    assert!(ran.stderr.contains(&format!("running as {USER}")), "{ran:?}");
}
