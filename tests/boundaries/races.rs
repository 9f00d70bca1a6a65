//! An owner replaces folders by links, in a tight loop, while root works in them.

use std::process::{Child, Command, Stdio};

use crate::{Place, USER};

/// How often each race is run. Before root gave up its rights, the owner won within ten rounds.
const ROUNDS: usize = 20;

/// The owner's script, for as long as this lives.
struct Attack(Child);

impl Attack {
    fn new(place: &Place, script: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".into()]);
        command.args(["sh", "-c", &format!("while :; do {script}; done")]);
        command.current_dir(place.project.root()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Runs `commands` on a project whose owner runs `script` all the time, and asserts that root's folder doesn't change.
fn race(script: impl Fn(&Place) -> String, commands: &[&str]) {
    let place = Place::make();
    std::fs::create_dir(place.roots("tree")).unwrap();
    std::fs::write(place.roots("tree/left.db"), "x").unwrap();
    let before = place.listing();
    let attack = Attack::new(&place, &script(&place));
    for _ in 0..ROUNDS {
        for command in commands {
            place.project.run(command);
        }
    }
    drop(attack);
    assert_eq!(place.listing(), before);
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn staging_exchanged_for_a_link_makes_root_remove_nothing_elsewhere() {
    let script = |place: &Place| {
        let tree = place.roots("tree").display().to_string();
        format!(
            "mkdir -p backups/.staging; touch backups/.staging/x.db; rm -rf backups/.staging; ln -sfn {tree} backups/.staging; rm -f backups/.staging"
        )
    };
    race(script, &["backup", "verify", "drill", "rotate"]);
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn a_folder_exchanged_for_a_link_makes_a_restore_write_and_give_away_nothing_elsewhere() {
    let script = |place: &Place| {
        let tree = place.roots("tree").display().to_string();
        format!("mv data aside; ln -sfn {tree} data; rm -f data; mv aside data")
    };
    race(script, &["restore --from latest --yes --no-keep=x", "restore --from latest --config-only --yes"]);
}

#[test]
#[ignore = "needs root: cargo test --workspace -- --ignored"]
fn a_file_exchanged_for_a_link_while_it_is_read_shows_nothing_of_roots() {
    let place = Place::make();
    let secret = place.roots("secret").display().to_string();
    let attack = Attack::new(&place, &format!("mv .env aside; ln -sfn {secret} .env; mv -f aside .env"));
    for _ in 0..ROUNDS {
        place.project.run("backup --config-only --no-compress --no-rotate");
    }
    drop(attack);
    let stored = crate::support::shell(place.project.root(), "cat backups/config_*.tar");
    assert!(stored.contains("API_KEY") && !stored.contains("of root's"));
}
