//! What `doctor` says about the schedule.

use serde_json::Value;

use crate::host::{Host, INSTALLED};

/// The finding of a check: its verdict and its detail.
fn finding(document: &Value, check: &str) -> (String, String) {
    let checks = document["checks"].as_array().unwrap();
    let found =
        checks.iter().find(|found| found["check"] == check).unwrap_or_else(|| panic!("{check} in {document:#}"));
    let text = |name: &str| found[name].as_str().unwrap().to_string();
    (text("verdict"), text("detail"))
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn doctor_sees_what_is_wrong_with_a_schedule() {
    let host = Host::new();
    // As the owner of the backups.
    host.machine.run("chmod 755 /home/deploy");
    let doctor =
        || host.xtask_as("charger", "/home/deploy/checkout/target/release/xtask", "/srv/charger", "doctor --json");
    let verdict = |check: &str| finding(&doctor().json(), check).0;
    let unscheduled = doctor();
    assert_eq!(
        finding(&unscheduled.expect(1).json(), "schedule"),
        ("failure".into(), "nothing is scheduled, as far as you can see".into())
    );

    host.xtask("install-timer --on-calendar 'Mon 03:00'").expect(0);
    host.xtask("run-now").expect(0);
    host.machine.run("systemctl start charger-backup-drill.service");
    let healthy = doctor().expect(0).json();
    for check in ["schedule", "schedule: backup", "schedule: drill", "installed program", "units", "last drill"] {
        assert_eq!(finding(&healthy, check).0, "ok", "{check}: {healthy:#}");
    }

    host.machine.run("sed -i s/Nice=10/Nice=0/ /etc/systemd/system/charger-backup.service");
    let (verdict_of_units, detail) = finding(&doctor().expect(0).json(), "units");
    assert_eq!(
        (verdict_of_units.as_str(), detail.as_str()),
        ("warning", "not as they would be installed now: charger-backup.service")
    );
    host.machine.run("sed -i s/Nice=0/Nice=10/ /etc/systemd/system/charger-backup.service");
    host.machine.run("touch /etc/systemd/system/charger-backup.service");
    let (_, detail) = finding(&doctor().json(), "units");
    assert_eq!(detail, "systemd has not reloaded them since they changed");
    host.machine.run("systemctl daemon-reload");
    assert_eq!(verdict("units"), "ok");

    host.machine.run(&format!("echo >> {INSTALLED}; touch -d '1 year ago' {INSTALLED}"));
    let (verdict_of_program, detail) = finding(&doctor().json(), "installed program");
    assert_eq!(verdict_of_program, "warning");
    assert!(detail.ends_with("is older than this program"), "{detail}");
    host.xtask("install-timer --on-calendar 'Mon 03:00'").expect(0);

    host.machine.run("systemctl disable --now charger-backup-drill.timer");
    assert_eq!(finding(&doctor().expect(1).json(), "schedule: drill").0, "failure");
    host.machine.run("systemctl enable --now charger-backup-drill.timer; chown root: /srv/charger/backups");
    assert_eq!(finding(&doctor().expect(1).json(), "backup folder").0, "failure");

    host.machine.run("chown charger: /srv/charger/backups; chmod 500 /srv/charger/backups");
    assert_eq!(finding(&doctor().expect(1).json(), "backup folder").0, "failure");

    // A user without permission is told which user has it, whatever the current folder.
    host.machine.run("chmod 700 /srv/charger/backups; chmod 600 /srv/charger/.env; chmod 700 /home/deploy");
    let closed = host.xtask("doctor");
    let ask = "hint: run this as the backup user: sudo -u charger /usr/local/lib/charger-ops/xtask";
    assert_eq!(closed.expect(0).stdout.matches(ask).count(), 2, "{closed:?}");
    let list = host.xtask("list");
    let ask =
        "hint: run this as the backup user: sudo -u charger /usr/local/lib/charger-ops/xtask --root /srv/charger ";
    assert!(list.expect(1).stderr.contains(ask), "{list:?}");
    let asked = host
        .machine
        .try_run("deploy", "cd; sudo -u charger /usr/local/lib/charger-ops/xtask --root /srv/charger doctor");
    assert!(asked.expect(0).stdout.contains(" 0 failures"), "{asked:?}");
}
