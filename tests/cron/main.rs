//! End-to-end tests of the schedule in a crontab, with Debian's cron.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should say so")]

#[path = "../systemd/host.rs"]
#[allow(dead_code, reason = "shared with the tests on systemd")]
mod host;
#[path = "../systemd/machine.rs"]
#[allow(dead_code, reason = "shared with the tests on systemd")]
mod machine;
#[path = "../cli/support.rs"]
#[allow(dead_code, reason = "shared with the other end-to-end tests")]
mod support;

use std::process::Child;

use host::{BUILT, Host};
use support::{CommandOutput, wait_for};

const CRONTAB: &str = "/var/spool/cron/crontabs/charger";
const ROOT: &str = "/srv/charger";

/// A host with a program that everybody may run.
fn host() -> Host {
    let host = Host::new();
    host.machine.run("chmod 755 /home/deploy; rm -rf /var/spool/cron/crontabs/*");
    host
}

/// Runs the program as the owner of the project.
fn xtask(host: &Host, arguments: &str) -> CommandOutput {
    host.xtask_as("charger", BUILT, ROOT, arguments)
}

#[test]
#[ignore = "needs root and cron: cargo test --workspace -- --ignored"]
fn cron_runs_the_block_and_says_in_the_log_what_came_of_it() {
    let host = host();
    xtask(&host, "install-cron").expect(0);
    // Without the checkout, and at two o'clock.
    host.machine.run(&format!("rm {BUILT}"));
    let mut cron = start_cron(&host);
    let log = "/srv/charger/logs/backup.log";
    wait_for("cron to run the backup", || host.machine.exists(log) && host.machine.read(log).contains(" complete: "));
    let installed = "/home/charger/.local/lib/charger-ops/xtask";
    assert_eq!(host.manifests(ROOT)[0]["trigger"], "timer");
    host.xtask_as("charger", installed, ROOT, "verify").expect(0);
    let others = host.machine.run("find /srv/charger/backups /srv/charger/logs ! -user charger -o -perm /077");
    assert_eq!(others, "", "owner and mode of what it made");
    let timer = host.xtask_as("charger", installed, ROOT, "timer");
    assert!(timer.expect(0).stdout.contains("scheduled by cron") && timer.stdout.contains("success"), "{timer:?}");
    cron.kill().unwrap();
    cron.wait().unwrap();
}

/// Starts cron just before two at night, with a mail system that keeps all mail in `/tmp/mail`.
fn start_cron(host: &Host) -> Child {
    let sendmail = "#!/bin/sh\ncat > /tmp/mail.$$; mv /tmp/mail.$$ /tmp/mail\n";
    host.machine.write("/tmp/sendmail", sendmail);
    host.machine.run("rm -f /tmp/mail; install -m 755 /tmp/sendmail /usr/sbin/sendmail");
    host.machine.command("root", "exec faketime '2026-01-01 01:59:58' cron -f").spawn().unwrap()
}

#[test]
#[ignore = "needs root and cron: cargo test --workspace -- --ignored"]
fn a_crontab_that_nothing_reads_is_no_schedule() {
    let host = host();
    let nothing = "no cron is running, and without one a crontab schedules nothing";
    let installed = xtask(&host, "install-cron");
    assert!(installed.expect(0).stderr.contains(&format!("warning: {nothing}\nhint: start it: ")), "{installed:?}");
    let timer = xtask(&host, "timer");
    assert!(timer.expect(1).stdout.contains(nothing) && timer.stderr.contains("hint: start it: "), "{timer:?}");
    assert_eq!(xtask(&host, "timer --json").expect(1).json()["problems"][0], nothing);
    let doctor = |host: &Host| {
        let checks = xtask(host, "doctor --json").json()["checks"].clone();
        checks.as_array().unwrap().iter().find(|check| check["check"] == "cron").unwrap()["verdict"].clone()
    };
    assert_eq!(doctor(&host), "failure");
    host.machine.run("cron");
    xtask(&host, "timer").expect(0);
    assert_eq!(doctor(&host), "ok");
    // If /proc shows other users' processes only to root, the answer is unknown.
    host.machine.run("mount -o remount,hidepid=2 /proc");
    xtask(&host, "timer").expect(0);
    assert_eq!(doctor(&host), "warning");
}

#[test]
#[ignore = "needs root and cron: cargo test --workspace -- --ignored"]
fn a_failing_job_is_mailed_and_logged() {
    let host = host();
    xtask(&host, "install-cron").expect(0);
    host.machine.run("mv /srv/charger/data/sessions.db /srv/charger/data/gone");
    let mut cron = start_cron(&host);
    wait_for("cron to send a mail", || host.machine.exists("/tmp/mail"));
    cron.kill().unwrap();
    cron.wait().unwrap();
    let mail = host.machine.read("/tmp/mail");
    assert!(mail.ends_with("\n\na scheduled run failed, see /srv/charger/logs/backup.log\n"), "{mail}");
    assert!(mail.contains("To: charger"), "{mail}");
    assert!(host.machine.read("/srv/charger/logs/backup.log").contains("error: database"));
    let timer = xtask(&host, "timer");
    assert!(timer.expect(1).stderr.contains("hint: see why: /srv/charger/logs/backup.log"), "{timer:?}");
    for command in ["logs", "run-now"] {
        let no_timer = xtask(&host, command);
        assert!(no_timer.expect(1).stderr.contains("scheduled by cron, not by systemd"), "{no_timer:?}");
    }
}

#[test]
#[ignore = "needs root and cron: cargo test --workspace -- --ignored"]
fn a_log_that_can_not_be_written_costs_no_backup() {
    let host = host();
    xtask(&host, "install-cron").expect(0);
    host.machine.run("rm -r /srv/charger/logs; install -d -m 700 /srv/charger/logs");
    let mut cron = start_cron(&host);
    wait_for("cron to send a mail", || host.machine.exists("/tmp/mail"));
    cron.kill().unwrap();
    cron.wait().unwrap();
    let mail = host.machine.read("/tmp/mail");
    assert!(mail.contains("Permission denied") && mail.contains(" complete: "), "{mail}");
    assert_eq!(host.manifests(ROOT)[0]["status"], "complete");
}

#[test]
#[ignore = "needs root and cron: cargo test --workspace -- --ignored"]
fn everything_else_in_a_crontab_is_kept_byte_for_byte() {
    let host = host();
    let before = host.listing();
    let content = "printf 'MAILTO=ada\\n# caf\\351\\n\\n30 1 * * *  other\\t%%x\\n'";
    host.machine.try_run("charger", &format!("{content} | crontab -")).expect(0);
    let with_others = host.listing();
    let others = std::fs::read(host.machine.path(CRONTAB)).unwrap();

    let first = xtask(&host, "install-cron --schedule '15 3 * * *'");
    assert!(first.expect(0).stdout.contains("+15 3 * * * umask 077; "), "{first:?}");
    let installed = std::fs::read(host.machine.path(CRONTAB)).unwrap();
    let mine = others.iter().position(|byte| *byte == b'M').unwrap();
    assert!(installed.windows(others.len() - mine).any(|part| *part == others[mine..]), "the others' lines are there");
    let again = xtask(&host, "install-cron --schedule '15 3 * * *'");
    assert!(again.expect(0).stdout.contains("has the schedule already: nothing was changed"), "{again:?}");
    assert_eq!(std::fs::read(host.machine.path(CRONTAB)).unwrap(), installed);
    let remembered = xtask(&host, "install-cron");
    assert!(remembered.expect(0).stdout.contains("nothing was changed"), "{remembered:?}");
    let changed = xtask(&host, "install-cron --schedule '0 2 * * *'");
    let shown = &changed.expect(0).stdout;
    assert!(shown.contains("\n-15 3 * * * umask") && shown.contains("\n+0 2 * * * umask"), "{changed:?}");
    host.machine.run("cron");
    let shown = xtask(&host, "timer");
    assert!(shown.expect(0).stdout.contains("0 4 * * 0"), "{shown:?}");
    let doctor = xtask(&host, "doctor");
    assert!(doctor.stdout.contains("ok       schedule: backup: at 0 2 * * *; not run yet"), "{doctor:?}");

    xtask(&host, "uninstall-cron").expect(0);
    let left = std::fs::read(host.machine.path(CRONTAB)).unwrap();
    let of_ours = |content: &[u8]| content[content.iter().position(|byte| *byte == b'M').unwrap()..].to_vec();
    assert_eq!(of_ours(&left), of_ours(&others));
    let trace = |listing: &str| {
        let lines = listing.lines().filter(|line| line.split(' ').nth(1) != Some("d"));
        lines.map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(trace(&host.listing()), trace(&with_others));
    host.machine.try_run("charger", "crontab -r").expect(0);
    assert_eq!(trace(&host.listing()), trace(&before));
}

#[test]
#[ignore = "needs root and cron: cargo test --workspace -- --ignored"]
fn a_crontab_that_is_none_empty_or_cut_short_takes_the_block() {
    let host = host();
    let lines = || host.machine.try_run("charger", "crontab -l | grep -v '^# (\\|^# DO NOT'").stdout;
    xtask(&host, "install-cron").expect(0);
    let block = lines();
    assert_eq!(block.lines().count(), 5, "{block}");
    xtask(&host, "uninstall-cron").expect(0);
    assert!(!host.machine.exists(CRONTAB), "there was none");
    assert!(xtask(&host, "uninstall-cron").expect(0).stdout.contains("there is nothing to remove"));

    let write = |text: &str| {
        host.machine.write(CRONTAB, text);
        host.machine.run(&format!("chown charger:crontab {CRONTAB}; chmod 600 {CRONTAB}"));
    };
    write("");
    xtask(&host, "install-cron").expect(0);
    assert_eq!(lines(), block);
    write("5 5 * * * other");
    xtask(&host, "install-cron").expect(0);
    assert_eq!(lines(), format!("5 5 * * * other\n{block}"));
    xtask(&host, "uninstall-cron").expect(0);
    assert_eq!(lines(), "5 5 * * * other\n");
}

#[test]
#[ignore = "needs root and cron: cargo test --workspace -- --ignored"]
fn root_installs_it_for_whoever_it_should_run_as() {
    let host = host();
    let as_root = |arguments: &str| host.xtask_as("root", BUILT, ROOT, arguments);
    let installed = as_root("install-cron");
    assert!(installed.expect(0).stdout.contains("the crontab of charger has the schedule"), "{installed:?}");
    assert!(host.machine.read(CRONTAB).contains("/usr/local/lib/charger-ops/xtask --root /srv/charger"));
    assert_eq!(host.machine.run("stat -c '%U %a' /srv/charger/logs").trim(), "charger 700");
    host.machine.run("cron");
    as_root("timer").expect(0);
    // The owner of the crontab finds it, with its program.
    let seen = xtask(&host, "timer --json");
    assert_eq!(seen.expect(0).json()["schedule"]["program"]["path"], "/usr/local/lib/charger-ops/xtask");
    // Others can't see it. A user who may use sudo can, which prevents a second schedule.
    assert!(host.xtask("timer").expect(1).stdout.contains("nothing is scheduled, as far as you can see"));
    let second = host.xtask("install-timer");
    assert!(second.expect(2).stderr.contains("scheduled already, by cron"), "{second:?}");
    as_root("uninstall-cron").expect(0);
    assert!(!host.machine.exists("/usr/local/lib/charger-ops") && !host.machine.exists(CRONTAB));

    host.machine.run("chown root: /srv/charger");
    assert!(as_root("install-cron").expect(2).stderr.contains("would run as root"));
    host.machine.write("/srv/charger/ops/backup.toml", "[schedule]\nrun_as = 'charger'");
    as_root("install-cron").expect(0);
    assert!(host.machine.exists(CRONTAB));
}

#[test]
#[ignore = "needs root and cron: cargo test --workspace -- --ignored"]
fn what_cron_does_not_take_is_refused_and_nothing_stays() {
    let host = host();
    let before = host.listing();
    for wrong in ["0 2 * *", "0 2 * * * *", "daily", "0 2 * * *\n* * * * * evil"] {
        let refused = xtask(&host, &format!("install-cron --schedule '{wrong}'"));
        assert!(refused.expect(2).stderr.contains("no schedule for cron: "), "{wrong}: {refused:?}");
    }
    // It has five fields, but cron doesn't accept it.
    let refused = xtask(&host, "install-cron --schedule '99 2 * * *'");
    assert!(refused.expect(1).stderr.contains("error: `crontab -` failed"), "{refused:?}");
    assert!(refused.stderr.contains("bad minute") && refused.stderr.contains("undoing what was done"), "{refused:?}");
    let trace = |listing: &str| {
        let lines = listing.lines().filter(|line| !line.contains(".local"));
        lines.map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(trace(&host.listing()), trace(&before));
    host.machine.run("mv /usr/bin/crontab /usr/bin/no-crontab");
    let none = xtask(&host, "install-cron");
    assert!(none.expect(1).stderr.contains("there is no cron here") && none.stderr.contains("hint: "), "{none:?}");
}

#[test]
#[ignore = "needs root and cron: cargo test --workspace -- --ignored"]
fn a_program_is_one_projects_and_a_crontab_its_owners() {
    let host = host();
    xtask(&host, "install-cron").expect(0);
    host.machine.run("install -d -o charger -g charger /srv/other/charger");
    host.make_project("charger", "/srv/other/charger");
    let other = |arguments: &str| host.xtask_as("charger", BUILT, "/srv/other/charger", arguments);
    let taken = other("install-cron");
    assert!(taken.expect(2).stderr.contains("charger-ops/xtask is the program of /srv/charger"), "{taken:?}");
    host.machine.write("/srv/other/charger/ops/backup.toml", "project = 'other'");
    other("install-cron").expect(0);
    other("uninstall-cron").expect(0);
    assert!(host.machine.exists("/home/charger/.local/lib/charger-ops/xtask"));
    host.machine.run("cron");
    xtask(&host, "timer").expect(0);

    let refused = host.xtask("install-cron");
    assert!(refused.expect(2).stderr.contains("the jobs of /srv/charger are charger's, and you are deploy"));
    assert!(refused.stderr.contains("or as root: sudo "), "{refused:?}");
    host.machine.run("rm /home/charger/.local/lib/charger-ops/xtask");
    assert!(xtask(&host, "timer").expect(1).stdout.contains("which the schedule runs, is missing"));
}

#[test]
#[ignore = "needs root and cron: cargo test --workspace -- --ignored"]
fn increments_have_a_line_of_their_own_that_is_quiet_if_all_is_well() {
    let host = host();
    let set = |every: &str| {
        host.machine.write("/srv/charger/ops/backup.toml", &format!("[increments]\nevery = '{every}'\n"));
        xtask(&host, "install-cron")
    };
    let refused = set("90s");
    assert!(refused.expect(0).stderr.contains("cron can't make increments every 1m 30s"), "{refused:?}");
    assert!(!host.machine.read(CRONTAB).contains("--incremental"));
    let installed = set("15m");
    assert!(installed.expect(0).stdout.contains("\n+*/15 * * * * umask 077; "), "{installed:?}");
    host.machine.run("cron");
    let timer = xtask(&host, "timer");
    assert!(timer.expect(0).stdout.contains("increments */15 * * * *"), "{timer:?}");

    // As cron does.
    let line = || {
        let ran = host.machine.try_run("charger", "crontab -l | sed -n 's/^\\*\\/15 \\* \\* \\* \\* //p' | sh");
        assert_eq!(ran.all(), "", "this would be mailed");
    };
    let log = || host.machine.read("/srv/charger/logs/backup.log");
    line();
    host.machine
        .try_run("charger", "sqlite3 /srv/charger/data/sessions.db 'DELETE FROM sessions WHERE id = 1'")
        .expect(0);
    line();
    assert_eq!((host.manifests(ROOT)[1]["type"].as_str(), log().as_str()), (Some("increment"), ""));
    host.machine.run("mv /srv/charger/data/sessions.db /srv/charger/data/gone");
    line();
    assert!(log().contains("error: database") && log().contains("a scheduled run failed"), "{}", log());
}
