//! Installation: what it refuses, what it undoes, what it leaves alone.

use crate::host::{BUILT, Host, INSTALLED};
use crate::support::wait_for;

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
    assert!(failed.expect(1).stderr.contains("undoing what was done\n$ sudo systemctl stop charger-"), "{failed:?}");
    let error = failed.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(error.starts_with("error: `sudo systemctl enable --now charger-backup.timer"), "{error}");
    assert!(error.contains("failed (exit status: 1)") && error.contains(in_the_way), "{error}");
    assert_eq!(host.listing(), before);
    assert_eq!(host.property("charger-backup.service", "LoadState"), "not-found");
    assert!(!host.machine.exists("/srv/charger/backups"));

    // The same over an older installation, which is restored then.
    host.xtask("install-timer --no-start").expect(0);
    host.machine.run(&format!("systemctl disable charger-backup-drill.timer; echo old > {INSTALLED}"));
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
    assert!(refused.expect(2).stderr.contains(&format!("{UNIT} is in the way: ")), "{refused:?}");
    assert!(refused.stderr.contains("--unit NAME, or replace it with --force"), "{refused:?}");
    assert_eq!((host.listing(), host.machine.read(UNIT)), (before, foreign.to_string()));

    // Another name avoids the conflict. The other schedule isn't touched, not even by a removal.
    host.xtask("install-timer --unit nightly").expect(0);
    assert!(host.xtask("timer").expect(0).stdout.contains("scheduled by nightly.timer"));
    host.xtask("uninstall-timer").expect(0);
    assert_eq!(host.machine.read(UNIT), foreign);

    let forced = host.xtask("install-timer --force");
    assert!(forced.expect(0).stdout.contains("\n-ExecStart=/bin/true\n"), "the difference is shown: {forced:?}");
    assert_eq!(host.machine.read(&format!("{UNIT}.orig")), foreign);
    host.xtask("uninstall-timer").expect(0);
    assert!(!host.machine.exists(UNIT));

    // Something that can't be read, or is no file, is put back as it was if a step fails.
    host.machine.run(&format!(
        "echo '[Service]' > {UNIT}; chmod 600 {UNIT}; ln -s /dev/null /etc/systemd/system/charger-backup.timer
         rm {UNIT}.orig; rm -rf /etc/systemd/system/timers.target.wants; touch /etc/systemd/system/timers.target.wants"
    ));
    let before = host.listing();
    host.xtask("install-timer --force").expect(1);
    assert_eq!(host.listing(), before);
    host.machine
        .run(&format!("rm {UNIT} /etc/systemd/system/charger-backup.timer /etc/systemd/system/timers.target.wants"));

    // A unit of the distribution, which ours would hide.
    host.machine.write("/usr/lib/systemd/system/charger-backup-drill.service", foreign);
    host.machine.run("systemctl daemon-reload");
    let refused = host.xtask("install-timer");
    assert!(refused.expect(2).stderr.contains("/systemd/system/charger-backup-drill.service is in the way"));
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_project_is_scheduled_once_and_its_program_is_its_own() {
    let host = Host::new();
    host.xtask("install-timer").expect(0);
    let twice = host.xtask("install-timer --unit other");
    assert!(twice.expect(2).stderr.contains("this project is scheduled already, by charger-backup.timer"), "{twice:?}");
    let hint = format!("{BUILT} --root /srv/charger uninstall-timer --unit charger-backup");
    assert!(twice.stderr.contains(&hint), "{twice:?}");
    let cron = host.xtask_as("charger", INSTALLED, "/srv/charger", "install-cron");
    assert!(cron.expect(2).stderr.contains("this project is scheduled already"), "{cron:?}");
    let wrong = host.xtask("uninstall-timer --unit other");
    assert!(wrong.expect(2).stderr.contains("the schedule of this project is called charger-backup"), "{wrong:?}");

    // Another project of that name, elsewhere.
    host.machine.run("install -d -o charger -g charger /srv/other/charger");
    host.make_project("charger", "/srv/other/charger");
    let other = |arguments: &str| host.xtask_as("deploy", BUILT, "/srv/other/charger", arguments);
    let taken = other("install-timer --unit other");
    assert!(taken.expect(2).stderr.contains(&format!("{INSTALLED} is the program of /srv/charger")), "{taken:?}");
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
    assert!(refused.stderr.contains("charger can replace /srv/charger/ops\n"), "{refused:?}");
    assert!(refused.stderr.ends_with("hint: let charger make the backups: --run-as charger\n"), "{refused:?}");
    for insisting in ["--run-as root", "--allow-root", "--run-as root --allow-root"] {
        host.xtask(&format!("install-timer {insisting}")).expect(2);
    }
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
    host.machine.run("chown -R root: /srv/charger");
    let refused = host.xtask("install-timer");
    assert!(
        refused.expect(2).stderr.contains("--run-as USER") && refused.stderr.contains("--allow-root"),
        "{refused:?}"
    );
    host.xtask("install-timer --allow-root").expect(0);
    assert_eq!(host.property("charger-backup.service", "User"), "root");
    assert!(host.xtask("install-timer").expect(0).stderr.contains("as it was installed before: --allow-root"));
    host.xtask("uninstall-timer").expect(0);

    // Root's own settings decide it for good.
    host.machine.write("/srv/charger/ops/backup.toml", "[schedule]\nrun_as = 'charger'\nunit = 'nightly'");
    host.xtask("install-timer").expect(0);
    assert_eq!(host.property("nightly.service", "User"), "charger");
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn root_follows_no_settings_of_the_owners_that_need_roots_right() {
    let host = Host::new();
    let before = host.listing();
    let settings = "/srv/charger/ops/backup.toml";
    for (text, told) in [
        (
            "backup_dir = '/root/new'\n",
            "root doesn't follow `backup_dir`, /root/new, of settings that charger can write",
        ),
        ("backup_dir = '/etc'\n", "root doesn't follow `backup_dir`, /etc, of settings that charger can write"),
        ("[schedule]\nrun_as = 'deploy'\n", "root doesn't follow `run_as` of settings that charger can write\nhint: "),
    ] {
        host.machine.write(settings, text);
        for user in ["root", "deploy"] {
            let ran = host.xtask_as(user, BUILT, "/srv/charger", "install-timer");
            assert!(ran.expect(2).stderr.contains(told), "{user}: {ran:?}");
        }
        let cron = host.xtask_as("root", BUILT, "/srv/charger", "install-cron");
        assert!(cron.expect(2).stderr.contains(told), "{cron:?}");
    }
    host.machine.run(&format!("rm {settings}"));
    assert_eq!(host.listing(), before);
    // Settings about the owner's own files are followed.
    host.machine.write(settings, "[schedule]\nrun_as = 'charger'\n");
    host.xtask_as("root", BUILT, "/srv/charger", "install-timer").expect(0);
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn what_can_not_be_installed_is_refused_before_anything_changes() {
    let host = Host::new();
    let before = host.listing();
    let calendar = host.xtask("install-timer --on-calendar 'every other day'");
    assert!(calendar.expect(2).stderr.contains("Failed to parse calendar specification"), "{calendar:?}");
    assert!(calendar.stderr.contains("hint: write it as systemd does"), "{calendar:?}");
    let never = host.xtask("install-timer --on-calendar 2020-01-01");
    assert!(never.expect(2).stderr.contains("--on-calendar: \"2020-01-01\" never comes again"), "{never:?}");
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

    // A user whom sudo refuses is told so before the first step.
    host.machine.run("useradd --create-home eve");
    let eve = host.xtask_as("eve", "/tmp/xtask", "/srv/charger", "--version");
    assert_ne!(eve.code, 0);
    host.machine.run(&format!("install -m 755 {BUILT} /tmp/xtask"));
    let eve = host.xtask_as("eve", "exec setsid --wait /tmp/xtask", "/srv/charger", "install-timer");
    let refused = "error: this needs root, and `sudo` doesn't give you that without a password, and there is no \
                   terminal to ask for it\nhint: have root run: /tmp/xtask --root /srv/charger install-timer; or \
                   install timers of your own with --user\n";
    assert_eq!(eve.expect(1).all(), refused, "nothing was done, nothing is taken back");
    host.xtask_as("eve", "exec setsid --wait /tmp/xtask", "/srv/charger", "install-timer --dry-run").expect(0);
    host.machine.run("rm -r /tmp/xtask /home/eve; userdel eve 2> /dev/null || true");
    host.machine.run("mv /usr/bin/sudo /usr/bin/no-sudo");
    let without = host.xtask("install-timer");
    assert!(without.expect(1).stderr.contains("there is no `sudo` to become it\nhint: have root run: "), "{without:?}");
    assert!(without.stderr.contains("or install timers of your own with --user"), "{without:?}");
    host.machine.run("mv /usr/bin/no-sudo /usr/bin/sudo");
    let dry = host.xtask("install-timer --dry-run");
    assert!(dry.expect(0).stdout.ends_with("dry run: nothing was changed; -v shows the units\n"), "{dry:?}");
    let units = host.xtask("install-timer --dry-run -v");
    assert!(units.expect(0).stdout.contains("\n+OnCalendar=*-*-* 02:00:00\n"), "{units:?}");
    let nothing = host.xtask("uninstall-timer");
    assert!(nothing.expect(0).stdout.contains("there is nothing to remove"), "{nothing:?}");
    for command in ["timer", "run-now", "logs"] {
        let none = host.xtask(command);
        let hint = format!("{BUILT} --root /srv/charger install-timer");
        assert!(none.expect(1).stderr.contains(&hint), "{none:?}");
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
    assert_eq!(document["installed"]["changed"].as_array().unwrap().len(), 5);
    let backup = &document["schedule"]["jobs"][0];
    assert_eq!((&backup["name"], &backup["enabled"], &backup["last"]), (&"backup".into(), &true.into(), &().into()));
    assert!(backup["next"].as_str().unwrap().contains("T02:00:00"), "{backup}");
    assert_eq!(host.xtask("install-timer --json --randomized-delay 0s").json()["installed"]["unchanged"], true);

    let run = host.xtask("run-now --json");
    assert_eq!(run.expect(0).json()["run"]["exit_status"], 0);
    assert_eq!(host.xtask("timer --json").expect(0).json()["schedule"]["jobs"][0]["last"]["result"], "success");
    host.machine.run("systemctl stop charger-backup.timer");
    let stopped = host.xtask("timer --json");
    assert_eq!(stopped.expect(1).json()["problems"][0], "charger-backup.timer is not started");
    let none = host.xtask("uninstall-timer --json");
    assert_eq!(none.expect(0).json()["removed"], "charger-backup");
    assert_eq!(host.xtask("timer --json").expect(1).json()["schedule"], serde_json::Value::Null);
}

/// Replaces `systemd-analyze` by a program that waits when it should check units, so that it can be interrupted.
fn make_verification_wait(host: &Host) {
    host.machine.write(
        "/tmp/analyze",
        "#!/bin/sh\ncase \"$*\" in *verify*) touch /tmp/verifying; exec sleep 1000;; esac\nexec /usr/bin/analyze \"$@\"\n",
    );
    host.machine
        .run("cp /usr/bin/systemd-analyze /usr/bin/analyze; install -m 755 /tmp/analyze /usr/bin/systemd-analyze");
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn an_installation_that_is_interrupted_is_taken_back() {
    let host = Host::new();
    make_verification_wait(&host);
    let before = host.listing();
    let verifying = || wait_for("it to check the units", || host.machine.exists("/tmp/verifying"));
    let gone = || {
        wait_for("it to end", || host.machine.try_run("root", "pgrep -x xtask").code == 1);
        host.machine.run("rm /tmp/verifying");
        assert_eq!(host.listing(), before);
        assert_eq!(host.machine.run("ls /tmp | grep charger || true"), "");
    };
    // Once, and several times, as an impatient person would.
    for keys in ["\x03", "\x03\x03\x03"] {
        let mut terminal = host.machine.at_terminal("deploy", &format!("{BUILT} --root /srv/charger install-timer"));
        verifying();
        terminal.press(keys);
        let (code, seen) = terminal.wait();
        assert_eq!(code, 130, "{seen}");
        assert!(seen.contains("undoing what was done") && seen.contains("error: interrupted"), "{seen}");
        gone();
    }
    // The connection is lost.
    let script = format!("exec {BUILT} --root /srv/charger install-timer");
    let mut dropped = host.machine.command("deploy", &script).spawn().unwrap();
    verifying();
    host.machine.run("pkill -HUP -x xtask; pkill -x sleep");
    dropped.wait().unwrap();
    gone();
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn two_installations_at_once_take_turns() {
    let host = Host::new();
    make_verification_wait(&host);
    let first = host.machine.at_terminal("deploy", &format!("{BUILT} --root /srv/charger install-timer"));
    wait_for("it to check the units", || host.machine.exists("/tmp/verifying"));
    let refused = host.xtask("install-timer --lock-wait 0s");
    assert!(refused.expect(11).stderr.contains("is being installed or removed"), "{refused:?}");
    let second =
        host.machine.at_terminal("deploy", &format!("{BUILT} --root /srv/charger --lock-wait 5m install-timer"));
    // The first continues as if all was well.
    host.machine.run("mv /usr/bin/analyze /usr/bin/systemd-analyze; pkill -x sleep || true");
    let ((first, seen), (second, then)) = (first.wait(), second.wait());
    // `sleep` was killed, and with that the check failed; the second found the place empty.
    assert_eq!((first, second), (1, 0), "{seen}\n{then}");
    host.xtask("timer").expect(0);
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn what_was_cut_short_or_damaged_is_fixed_by_repeating_it() {
    let host = Host::new();
    let before = host.listing();
    host.xtask("install-timer --randomized-delay 0s --on-calendar 'Mon 06:00'").expect(0);
    // Killed after the units were copied and before systemd read them.
    host.machine.run("cp -p /etc/systemd/system/charger-backup.timer /tmp/new");
    host.xtask("install-timer --on-calendar 'Mon 05:00'").expect(0);
    host.machine
        .run("cp -p /tmp/new /etc/systemd/system/charger-backup.timer; touch /etc/systemd/system/charger-backup.timer");
    let fixed = host.xtask("install-timer --on-calendar 'Mon 06:00'");
    assert!(fixed.expect(0).stdout.contains("$ sudo systemctl daemon-reload\n"), "{fixed:?}");
    let next = host.property("charger-backup.timer", "NextElapseUSecRealtime");
    assert!(next.contains("06:00:00"), "{next}");

    // A timer that exists but will not run again.
    host.machine.run(
        "sed -i 's/^OnCalendar=.*/OnCalendar=2020-01-01/' /etc/systemd/system/charger-backup.timer
         systemctl daemon-reload; systemctl restart charger-backup.timer",
    );
    let timer = host.xtask("timer");
    assert!(timer.expect(1).stdout.contains("charger-backup.timer will not run again"), "{timer:?}");
    host.xtask("install-timer").expect(0);
    host.xtask("timer").expect(0);
    host.machine.run("rm /etc/systemd/system/charger-backup.service; systemctl daemon-reload");
    let timer = host.xtask("timer");
    assert!(timer.expect(1).stdout.contains("the service that charger-backup.timer starts is missing"), "{timer:?}");

    // The schedule can be shown and removed even if the settings can't be read.
    host.machine.write("/srv/charger/ops/backup.toml", "[schedule");
    host.xtask("install-timer").expect(2);
    assert!(host.xtask("timer").expect(1).stderr.contains("ops/backup.toml, line 1"));
    // A unit that somebody removed by hand leaves nothing behind either.
    host.machine.run("rm /etc/systemd/system/charger-backup.timer");
    host.xtask("uninstall-timer").expect(0);
    host.machine.run("rm /srv/charger/ops/backup.toml");
    assert_eq!(host.listing(), before);
    let loaded = host.machine.run("systemctl list-units --all --no-legend 'charger-*'; systemctl --failed --no-legend");
    assert_eq!(loaded, "");
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn flags_are_remembered_and_a_project_may_move() {
    let host = Host::new();
    host.machine.run("install -d -o charger -m 700 /srv/disk");
    host.xtask("--backup-dir /srv/disk/b install-timer --on-calendar 'Mon 05:00' --randomized-delay 0s").expect(0);
    host.xtask("--backup-dir /srv/disk/b run-now").expect(0);
    assert!(host.machine.exists("/srv/disk/b"));
    let again = host.xtask("--backup-dir /srv/disk/b install-timer");
    assert!(again.expect(0).stdout.contains("nothing was changed"), "{again:?}");
    assert!(again.stderr.contains("as it was installed before: "), "{again:?}");
    let forgotten = host.xtask("install-timer");
    let hint = format!("hint: {BUILT} --root /srv/charger install-timer --backup-dir /srv/disk/b; or begin anew");
    assert!(forgotten.expect(2).stderr.contains(&hint), "{forgotten:?}");

    // The project moves, and takes its name along.
    host.machine.run("mkdir /srv/new; mv /srv/charger /srv/new/charger");
    let moved = |arguments: &str| host.xtask_as("deploy", BUILT, "/srv/new/charger", arguments);
    moved("timer").expect(1);
    moved("install-timer").expect(0);
    assert!(host.machine.read(UNIT).contains("--root /srv/new/charger "));
    moved("run-now").expect(0);
    // A schedule whose project is gone can be removed by its name.
    host.machine.run("mv /srv/new/charger /srv/charger");
    let left = host.xtask("uninstall-timer");
    assert!(left.expect(0).stdout.contains("there is nothing to remove"), "{left:?}");
    host.xtask("uninstall-timer --unit charger-backup").expect(0);
    assert!(!host.machine.exists(UNIT) && !host.machine.exists(INSTALLED));
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn no_other_user_keeps_root_from_installing() {
    let host = Host::new();
    host.machine.run("chmod 755 /srv/charger; install -d -o charger -g charger /home/charger/.config/systemd/user");
    // Root looks there for a schedule of charger's own.
    host.machine.try_run("charger", "mkfifo /home/charger/.config/systemd/user/a.timer").expect(0);
    let mut flock = host.machine.command("deploy", "exec flock /srv/charger sleep infinity").spawn().unwrap();
    wait_for("the lock to be held", || host.machine.try_run("root", "flock -n /srv/charger true").code == 1);
    let install = "--lock-wait 0s install-timer";
    let refused = host.xtask(install);
    assert!(refused.expect(11).stderr.contains("hint: wait for it to end, or run this as root"), "{refused:?}");
    let installed = host.xtask_as("root", BUILT, "/srv/charger", &format!("{install} --no-start"));
    let warning = "warning: proceeding although somebody holds a lock on /srv/charger";
    assert!(installed.expect(0).stderr.contains(warning), "{installed:?}");
    // If root installs twice at once, one waits.
    let mut own = host.machine.command("root", "exec flock /run/sqlite-ops.lock sleep infinity").spawn().unwrap();
    wait_for("the lock to be held", || host.machine.try_run("root", "flock -n /run/sqlite-ops.lock true").code == 1);
    host.xtask_as("root", BUILT, "/srv/charger", "--lock-wait 0s uninstall-timer").expect(11);
    assert_eq!(host.machine.run("stat -c '%a %U' /run/sqlite-ops.lock"), "600 root\n");
    host.machine.run("pkill -x sleep");
    flock.wait().unwrap();
    own.wait().unwrap();
}
