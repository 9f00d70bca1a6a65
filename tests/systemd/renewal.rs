//! Installations by older versions, whose drill units have other names: they are found, used, and replaced by
//! `install-timer`.

use std::fs;
use std::path::Path;

use crate::host::{BUILT, Host};

const UNITS: &str = "/etc/systemd/system";

/// Replaces the installed units by those of an older version, from `tests/systemd/older`.
fn make_older(host: &Host) {
    host.machine.run(&format!(
        "systemctl disable --now charger-backup.timer charger-backup-drill.timer; rm -r {UNITS}/charger-*"
    ));
    put_older(host);
}

fn put_older(host: &Host) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/systemd/older");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        host.machine.write(&format!("{UNITS}/{name}"), &fs::read_to_string(&path).unwrap());
    }
    host.machine.run(&format!(
        "chmod 644 {UNITS}/charger-*; systemctl daemon-reload
         systemctl enable --now charger-backup.timer charger-backup-verify.timer"
    ));
}

/// The state of the timers: whether they are enabled, and whether they are waiting.
fn timers(host: &Host) -> String {
    let words = "charger-backup.timer charger-backup-verify.timer charger-backup-drill.timer";
    host.machine.run(&format!("systemctl is-enabled {words} 2>&1 || true; systemctl is-active {words} || true"))
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn an_older_installation_works_until_it_is_replaced() {
    let host = Host::new();
    let before = host.listing();
    host.xtask("install-timer").expect(0);
    make_older(&host);

    let renew = format!("hint: renew it: {BUILT} --root /srv/charger install-timer\n");
    let timer = host.xtask("timer");
    let warning = "warning: charger-backup-verify.timer is from an older version: it is called \
                   charger-backup-drill.timer now\n";
    assert!(timer.expect(0).stderr.ends_with(&format!("{warning}{renew}")), "{timer:?}");
    assert_eq!(host.xtask("timer --json").json()["schedule"]["jobs"][1]["entry"], "charger-backup-verify.timer");
    host.xtask("run-now").expect(0);
    host.xtask("run-now --drill").expect(0);
    assert!(host.journal("charger-backup-verify.service").iter().any(|(_, text)| text.contains("drill of ")));
    assert!(host.xtask("logs").expect(0).stdout.contains("charger-backup-verify["));
    let doctor = host.xtask("doctor").stdout;
    assert!(doctor.contains("ok       schedule: drill: next run "), "{doctor}");
    assert!(doctor.contains("warning  units: from an older version: charger-backup-verify.service"), "{doctor}");
    assert!(doctor.contains("hint: renew it: "), "{doctor}");

    let changes = format!("{UNITS}/charger-backup-verify.service.d");
    host.machine.run(&format!("mkdir {changes}; echo '[Service]' > {changes}/override.conf; systemctl daemon-reload"));
    let older = host.listing() + &timers(&host);
    let dry = host.xtask("install-timer --dry-run");
    assert!(dry.expect(0).stdout.contains("$ sudo systemctl disable --now charger-backup-verify.timer\n"), "{dry:?}");
    assert_eq!(host.listing() + &timers(&host), older);

    let renewed = host.xtask("install-timer");
    assert!(renewed.expect(0).stdout.contains("charger-backup.timer is installed"), "{renewed:?}");
    let note = format!(
        "{changes} has changes made with systemctl edit: move them to {UNITS}/charger-backup-drill.service.d\n"
    );
    assert!(renewed.stderr.contains(&note), "{renewed:?}");
    assert_eq!(host.property("charger-backup-drill.timer", "ActiveState"), "active");
    assert_eq!(host.property("charger-backup-drill.timer", "UnitFileState"), "enabled");
    host.machine.run(&format!("rm -r {changes}; systemctl daemon-reload"));
    assert_eq!(host.property("charger-backup-verify.timer", "LoadState"), "not-found");
    assert_eq!(host.machine.run("systemctl list-timers --all --no-legend 'charger-*'").lines().count(), 2);
    assert!(!host.listing().contains("backup-verify"), "{}", host.listing());
    assert!(!host.xtask("timer").expect(0).stderr.contains("older"));
    // The output of the drills can still be read.
    assert!(host.xtask("logs").expect(0).stdout.contains("charger-backup-verify["));
    assert!(host.xtask("install-timer").expect(0).stdout.contains("nothing was changed"));

    // Killed between writing the new units and removing the old ones: both are there. Another installation removes the
    // old ones.
    put_older(&host);
    assert!(host.xtask("timer").expect(0).stderr.ends_with(&renew));
    host.machine.run("systemctl start charger-backup-drill.service");
    host.xtask("install-timer").expect(0);
    assert!(!host.listing().contains("backup-verify"), "{}", host.listing());
    host.xtask("uninstall-timer").expect(0);
    assert_eq!(host.listing(), before);
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn an_older_installation_is_as_it_was_if_a_step_of_its_replacement_fails() {
    let host = Host::new();
    host.xtask("install-timer").expect(0);
    make_older(&host);
    let older = host.listing() + &timers(&host);
    // The last step but one fails: the old timer is disabled and stopped by then.
    host.machine
        .write("/tmp/rm", "#!/bin/sh\ncase \"$*\" in *-verify.timer*) exit 1; esac\nexec /usr/bin/rm-too \"$@\"\n");
    host.machine.run("cp /usr/bin/rm /usr/bin/rm-too; install -m 755 /tmp/rm /usr/bin/rm");
    let failed = host.xtask("install-timer");
    assert!(
        failed.expect(1).stdout.contains("$ sudo systemctl disable --now charger-backup-verify.timer"),
        "{failed:?}"
    );
    assert!(failed.stderr.contains("undoing what was done"), "{failed:?}");
    host.machine.run("mv /usr/bin/rm-too /usr/bin/rm");
    assert_eq!(host.listing() + &timers(&host), older);
    host.xtask("timer").expect(0);
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn an_older_installation_is_removed_without_a_trace() {
    let host = Host::new();
    let before = host.listing();
    host.xtask("install-timer").expect(0);
    make_older(&host);
    host.xtask("uninstall-timer").expect(0);
    assert_eq!(host.listing(), before);
    assert_eq!(host.machine.run("systemctl list-unit-files --no-legend 'charger-*' || true"), "");
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn units_of_another_project_that_are_called_verify_stay() {
    let host = Host::new();
    host.machine.run("install -d -o charger -g charger /srv/other");
    host.make_project("charger", "/srv/other");
    let other = |arguments: &str| host.xtask_as("deploy", BUILT, "/srv/other", arguments);
    other("install-timer --unit charger-backup-verify").expect(0);
    for command in ["install-timer", "timer", "uninstall-timer"] {
        let ran = host.xtask(command);
        assert!(!ran.expect(0).all().contains("charger-backup-verify"), "{ran:?}");
        other("timer").expect(0);
    }
    host.xtask("install-timer").expect(0);
    // They don't become this project's when the other project is gone.
    host.machine.run("mv /srv/other /srv/gone");
    host.xtask("install-timer").expect(0);
    assert!(host.machine.exists(&format!("{UNITS}/charger-backup-verify.timer")));
}
