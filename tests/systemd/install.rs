//! Installing: what it refuses, what it takes back, what it leaves alone.

use crate::host::{BUILT, Host, INSTALLED};

const UNIT: &str = "/etc/systemd/system/charger-backup.service";

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_step_that_fails_is_named_and_those_before_it_are_taken_back() {
    let host = Host::new();
    let before = host.listing();
    // `enable` has to make a folder of this name.
    let in_the_way = "/etc/systemd/system/timers.target.wants";
    let fail = |flags: &str| {
        host.machine.run(&format!("touch {in_the_way}"));
        let failed = host.xtask(&format!("install-timer {flags}"));
        host.machine.run(&format!("rm {in_the_way}"));
        failed
    };
    let failed = fail("");
    assert!(
        failed.expect(1).stderr.contains("taking back what was done\n$ sudo systemctl disable --now"),
        "{failed:?}"
    );
    let error = failed.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(error.starts_with("error: `sudo systemctl enable --now charger-backup.timer"), "{error}");
    assert!(error.contains("failed (exit status: 1)") && error.contains(in_the_way), "{error}");
    assert_eq!(host.listing(), before);
    assert_eq!(host.property("charger-backup.service", "LoadState"), "not-found");
    assert!(!host.machine.exists("/srv/charger/backups"));

    // The same over an older installation, which then is as it was.
    host.xtask("install-timer --no-start").expect(0);
    host.machine.run(&format!("systemctl disable charger-backup-verify.timer; echo old > {INSTALLED}"));
    let before = host.listing() + &host.machine.run("cat /etc/systemd/system/charger-* /usr/local/lib/charger-ops/*");
    let enabled = host.machine.path(&format!("{in_the_way}/charger-backup.timer"));
    assert!(enabled.symlink_metadata().is_ok());
    host.machine.run(&format!("mv {in_the_way} /tmp/wants"));
    let failed = fail("--on-calendar hourly");
    host.machine.run(&format!("rm -rf {in_the_way}; mv /tmp/wants {in_the_way}"));
    failed.expect(1);
    let after = host.listing() + &host.machine.run("cat /etc/systemd/system/charger-* /usr/local/lib/charger-ops/*");
    assert_eq!(after, before);
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn units_of_others_are_left_alone() {
    let host = Host::new();
    let foreign = "[Service]\nExecStart=/bin/true\n";
    host.machine.write(UNIT, foreign);
    let before = host.listing();
    let refused = host.xtask("install-timer");
    assert!(refused.expect(2).stderr.contains(&format!("{UNIT} is in the way")), "{refused:?}");
    assert!(refused.stderr.contains("--unit NAME, or replace it with --force"), "{refused:?}");
    assert_eq!((host.listing(), host.machine.read(UNIT)), (before, foreign.to_string()));

    // A name of its own avoids it; nothing of the other is touched, in removing neither.
    host.xtask("install-timer --unit nightly").expect(0);
    assert!(host.xtask("timer").expect(0).stdout.contains("scheduled by nightly.timer"));
    host.xtask("uninstall-timer").expect(0);
    assert_eq!(host.machine.read(UNIT), foreign);

    let forced = host.xtask("install-timer --force");
    assert!(forced.expect(0).stdout.contains("\n-ExecStart=/bin/true\n"), "the difference is shown: {forced:?}");
    host.xtask("uninstall-timer").expect(0);
    assert!(!host.machine.exists(UNIT));

    // One of the distribution's, which ours would cover.
    host.machine.write("/usr/lib/systemd/system/charger-backup-verify.service", foreign);
    host.machine.run("systemctl daemon-reload");
    let refused = host.xtask("install-timer");
    assert!(refused.expect(2).stderr.contains("/systemd/system/charger-backup-verify.service is in the way"));
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_project_is_scheduled_once_and_its_program_is_its_own() {
    let host = Host::new();
    host.xtask("install-timer").expect(0);
    let twice = host.xtask("install-timer --unit other");
    assert!(twice.expect(2).stderr.contains("this project is scheduled already, by charger-backup.timer"), "{twice:?}");
    assert!(twice.stderr.contains("cargo xtask uninstall-timer --unit charger-backup"), "{twice:?}");
    let cron = host.xtask("install-cron");
    assert!(cron.expect(2).stderr.contains("this project is scheduled already"), "{cron:?}");

    // Another project of that name, elsewhere.
    host.machine.run("install -d -o charger -g charger /srv/other/charger");
    host.make_project("charger", "/srv/other/charger");
    let other = |arguments: &str| host.xtask_as("deploy", BUILT, "/srv/other/charger", arguments);
    let taken = other("install-timer --unit other");
    assert!(taken.expect(2).stderr.contains(&format!("{INSTALLED} belongs to /srv/charger")), "{taken:?}");
    other("install-timer").expect(2);
    other("timer").expect(1);
    host.machine.write("/srv/other/charger/ops/backup.toml", "project = 'other'");
    other("install-timer").expect(0);
    host.xtask("uninstall-timer").expect(0);
    assert!(host.machine.exists("/usr/local/lib/other-ops/xtask"));
    other("timer").expect(0);
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_service_does_not_run_as_root_unless_somebody_insists() {
    let host = Host::new();
    host.machine.run("chown root:root /srv/charger");
    let refused = host.xtask("install-timer");
    assert!(refused.expect(2).stderr.contains("the backup of /srv/charger would run as root"), "{refused:?}");
    assert!(refused.stderr.contains("--run-as USER") && refused.stderr.contains("--allow-root"), "{refused:?}");
    host.xtask("install-timer --run-as root").expect(2);
    let nobody = host.xtask("install-timer --run-as no-such-user");
    assert!(nobody.expect(2).stderr.contains("there is no user no-such-user"), "{nobody:?}");
    assert!(!host.machine.exists(UNIT) && !host.machine.exists(INSTALLED));

    host.machine.run("install -d -m 700 /srv/charger/backups");
    let theirs = host.xtask("install-timer --run-as charger");
    let warning = "warning: /srv/charger/backups belongs to root, but backups are made as charger\n\
                   hint: chown -R charger: /srv/charger/backups\n";
    assert!(theirs.expect(0).stderr.contains(warning), "{theirs:?}");
    host.machine.run("chown -R charger: /srv/charger/backups");
    assert_eq!(host.property("charger-backup.service", "User"), "charger");
    host.xtask("run-now").expect(0);
    host.xtask("uninstall-timer").expect(0);
    host.xtask("install-timer --allow-root").expect(0);
    assert_eq!(host.property("charger-backup.service", "User"), "root");
    host.xtask("uninstall-timer").expect(0);

    // The settings say it once and for all.
    host.machine.write("/srv/charger/ops/backup.toml", "[schedule]\nrun_as = 'charger'\nunit = 'nightly'");
    host.xtask("install-timer").expect(0);
    assert_eq!(host.property("nightly.service", "User"), "charger");
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn what_can_not_be_installed_is_refused_before_anything_changes() {
    let host = Host::new();
    let before = host.listing();
    let calendar = host.xtask("install-timer --on-calendar 'every other day'");
    assert!(calendar.expect(2).stderr.contains("Failed to parse calendar specification"), "{calendar:?}");
    assert!(calendar.stderr.contains("hint: write it as systemd does"), "{calendar:?}");
    host.xtask("install-timer --unit ../evil").expect(2);
    host.xtask("install-timer --user --run-as charger").expect(2);
    host.xtask("install-timer --randomized-delay soon").expect(2);

    host.machine.write("/srv/charger/ops/backup.toml", "[schedule]\ndrill_on_calendar = 'never'");
    let drill = host.xtask("install-timer");
    assert!(drill.expect(2).stderr.contains("`drill_on_calendar` in the settings"), "{drill:?}");
    host.machine.write("/srv/charger/ops/backup.toml", "project = '日本'");
    let name = host.xtask("install-timer");
    assert!(name.expect(2).stderr.contains("no unit can be named after the project"), "{name:?}");
    host.machine.run("rm /srv/charger/ops/backup.toml");

    // Whose sudo refuses finds out at the first step.
    host.machine.run("useradd --create-home eve");
    let eve = host.xtask_as("eve", "/tmp/xtask", "/srv/charger", "--version");
    assert_ne!(eve.code, 0);
    host.machine.run(&format!("install -m 755 {BUILT} /tmp/xtask"));
    let eve = host.xtask_as("eve", "/tmp/xtask", "/srv/charger", "install-timer");
    assert!(eve.expect(1).stderr.contains("`sudo install -d"), "{eve:?}");
    host.machine.run("rm -r /tmp/xtask /home/eve; userdel eve 2> /dev/null || true");
    host.machine.run("mv /usr/bin/sudo /usr/bin/no-sudo");
    let without = host.xtask("install-timer");
    assert!(without.expect(1).stderr.contains("hint: run it as root, or install timers of your own with --user"));
    host.machine.run("mv /usr/bin/no-sudo /usr/bin/sudo");
    let dry = host.xtask("install-timer --dry-run");
    assert!(dry.expect(0).stdout.ends_with("dry run: nothing was changed\n"), "{dry:?}");
    let nothing = host.xtask("uninstall-timer");
    assert!(nothing.expect(0).stdout.contains("there is nothing to remove"), "{nothing:?}");
    for command in ["timer", "run-now", "logs"] {
        let none = host.xtask(command);
        assert!(none.expect(1).stderr.contains("cargo xtask install-timer"), "{none:?}");
    }
    let after = host.listing();
    let trace = |listing: &str| {
        let lines = listing.lines().filter(|line| !line.starts_with("/etc/") || line.contains("systemd"));
        lines.map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(trace(&after), trace(&before));
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn json_tells_what_was_installed_and_how_it_stands() {
    let host = Host::new();
    let installed = host.xtask("install-timer --json --randomized-delay 0s");
    let document = installed.expect(0).json();
    assert_eq!(document["installed"]["unit"], "charger-backup");
    assert_eq!(document["installed"]["scope"], "system");
    assert_eq!(document["installed"]["changed"].as_array().unwrap().len(), 6);
    let backup = &document["schedule"]["jobs"][0];
    assert_eq!((&backup["name"], &backup["enabled"], &backup["last"]), (&"backup".into(), &true.into(), &().into()));
    assert!(backup["next"].as_str().unwrap().contains("T02:00:00"), "{backup}");
    assert_eq!(host.xtask("install-timer --json --randomized-delay 0s").json()["installed"]["unchanged"], true);

    let run = host.xtask("run-now --json");
    assert_eq!(run.expect(0).json()["run"]["exit_status"], 0);
    assert_eq!(host.xtask("timer --json").expect(0).json()["schedule"]["jobs"][0]["last"]["result"], "success");
    host.machine.run("systemctl stop charger-backup.timer");
    let stopped = host.xtask("timer --json");
    assert_eq!(stopped.expect(1).json()["problems"][0], "charger-backup.timer is not enabled, or not started");
    let none = host.xtask("uninstall-timer --json");
    assert_eq!(none.expect(0).json()["removed"], "charger-backup");
    assert_eq!(host.xtask("timer --json").expect(1).json()["schedule"], serde_json::Value::Null);
}
