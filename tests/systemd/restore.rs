//! Restores stop the application's unit, and start it again whatever happens.

use std::process::Stdio;

use crate::host::{BUILT, Host};
use crate::support::{CommandOutput, wait_for};

const UNIT: &str = "charger-api.service";

/// The application keeps the database open while it runs, and writes what it found there to `seen`. It doesn't start if
/// `broken` exists.
const API: &str = "[Service]
User=charger
WorkingDirectory=/srv/charger
ExecStartPre=/usr/bin/test ! -e broken
ExecStart=/bin/sh -c '(echo \"SELECT count(*) FROM sessions;\"; exec sleep infinity) | exec sqlite3 data/sessions.db >> seen'
";

/// A host on which the application runs, with a third session since the backup, in a database with this page size.
fn host(page_size: u32) -> Host {
    let host = Host::new();
    host.machine.write(&format!("/etc/systemd/system/{UNIT}"), API);
    host.machine.write("/srv/charger/ops/backup.toml", &format!("[restore]\nstop_unit = \"{UNIT}\"\n"));
    host.xtask_as("charger", BUILT, "/srv/charger", "backup").expect(0);
    let change = format!(
        "sqlite3 /srv/charger/data/sessions.db 'PRAGMA journal_mode = delete; PRAGMA page_size = {page_size}; VACUUM;
         PRAGMA journal_mode = wal; INSERT INTO sessions VALUES (3, 4.5)' > /dev/null"
    );
    host.machine.try_run("charger", &change).expect(0);
    host.machine.run(&format!("systemctl daemon-reload; systemctl start {UNIT}"));
    wait_for("the application to read", || seen(&host) == "3\n");
    host
}

fn seen(host: &Host) -> String {
    host.machine.run("cat /srv/charger/seen 2> /dev/null || true")
}

fn restore(host: &Host, arguments: &str) -> CommandOutput {
    let stop = if arguments.contains("-stop") { String::new() } else { format!(" --stop {UNIT}") };
    host.xtask_as("root", BUILT, "/srv/charger", &format!("restore {arguments}{stop}"))
}

fn is_active(host: &Host) -> bool {
    host.property(UNIT, "ActiveState") == "active"
}

/// The id of the application's current run.
fn invocation(host: &Host) -> String {
    assert!(is_active(host), "the application doesn't run");
    host.property(UNIT, "InvocationID")
}

fn sessions(host: &Host) -> String {
    host.machine.run("sqlite3 /srv/charger/data/sessions.db 'SELECT count(*) FROM sessions'")
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_restore_stops_the_application_and_starts_it_again() {
    // With pages of another size, it can be replaced only while nobody has it open.
    let host = host(8192);
    let before = invocation(&host);
    let looked = restore(&host, "--from latest --dry-run");
    let stops = format!("  stops      {UNIT}  (and starts it again)\n");
    assert!(looked.expect(0).stdout.contains(&stops), "{looked:?}");
    assert_eq!(restore(&host, "--from latest --dry-run --json").expect(0).json()["stops"], UNIT);
    let mut asked =
        host.machine.at_terminal("root", &format!("{BUILT} --root /srv/charger restore --from latest --stop {UNIT}"));
    wait_for("the question", || asked.seen().contains(&format!("stop {UNIT} and replace what is there?")));
    asked.press("n\n");
    assert_eq!(asked.wait().0, 1);
    restore(&host, "--from latest --to /srv/charger/look").expect(0);
    assert_eq!(
        restore(&host, "--from latest --yes --no-stop --busy-timeout 1s").expect(1).stdout.matches('$').count(),
        0
    );
    assert_eq!(invocation(&host), before);

    let restored = restore(&host, "--from latest --yes");
    let (stop, start) = (format!("$ systemctl stop {UNIT}\n"), format!("$ systemctl start {UNIT}\n"));
    assert!(restored.expect(0).stdout.contains(&stop) && restored.stdout.contains(&start), "{restored:?}");
    wait_for("the application to read what was restored", || seen(&host) == "3\n2\n");
    assert_ne!(invocation(&host), before);

    // As its user, who may use sudo for that.
    host.machine.run("echo 'charger ALL=(ALL) NOPASSWD: /usr/bin/systemctl' > /etc/sudoers.d/charger");
    let undone = host.xtask_as("charger", BUILT, "/srv/charger", "restore --undo --yes");
    assert!(undone.expect(0).stdout.contains(&format!("$ sudo systemctl stop {UNIT}\n")), "{undone:?}");
    wait_for("the application to read what was there", || seen(&host) == "3\n2\n3\n");

    // An application that isn't running isn't started.
    host.machine.run(&format!("systemctl stop {UNIT}"));
    let restored = restore(&host, "--from latest --yes");
    assert!(!restored.expect(0).stdout.contains("systemctl"), "{restored:?}");
    assert_eq!((is_active(&host), sessions(&host).as_str()), (false, "2\n"));
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn the_application_is_started_again_when_the_restore_fails_or_is_interrupted() {
    let host = host(4096);
    let mut last = invocation(&host);
    let mut was_started_again = || {
        let now = invocation(&host);
        std::mem::replace(&mut last, now.clone()) != now
    };
    let hold = "(echo 'BEGIN IMMEDIATE;'; exec sleep infinity) | exec sqlite3 /srv/charger/data/sessions.db";
    let mut other = host.machine.command("charger", hold).spawn().unwrap();
    let lock = "sqlite3 /srv/charger/data/sessions.db 'BEGIN IMMEDIATE' 2> /dev/null";
    wait_for("the database to be locked", || host.machine.try_run("charger", lock).code != 0);
    let failed = restore(&host, "--from latest --yes --busy-timeout 1s");
    assert!(failed.expect(1).stderr.contains("stayed locked for 1 s"), "{failed:?}");
    assert!(was_started_again());

    for signal in ["INT", "HUP", "TERM"] {
        let command =
            format!("{BUILT} --root /srv/charger restore --from latest --yes --stop {UNIT} --busy-timeout 10m");
        let mut waiting = host.machine.command("root", &command);
        let mut waiting = waiting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the application to be stopped", || host.property(UNIT, "ActiveState") == "inactive");
        host.machine.run(&format!("pkill -{signal} -x xtask"));
        let code = waiting.wait().unwrap().code();
        assert_eq!(code, Some(if signal == "TERM" { 143 } else { 130 }), "{signal}");
        assert!(was_started_again(), "{signal}");
    }
    host.machine.run("pkill -x sleep");
    other.wait().unwrap();
    assert_eq!(sessions(&host), "3\n");
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn what_is_wrong_with_the_application_is_told_and_what_is_wrong_with_the_backup_does_not_stop_it() {
    let host = host(4096);
    let before = invocation(&host);
    let doctor = || host.xtask_as("charger", BUILT, "/srv/charger", "doctor").stdout;
    assert!(doctor().contains(&format!("{UNIT} runs; a restore stops it")), "{}", doctor());

    // A damaged backup is found before that.
    host.machine.run(
        "cd /srv/charger/backups; cp sessions_db_*.gz /srv/sound
         printf damage | dd of=$(echo sessions_db_*.gz) bs=1 seek=200 conv=notrunc status=none",
    );
    restore(&host, "--from latest --yes").expect(12);
    assert_eq!(invocation(&host), before);
    host.machine.run("cp /srv/sound /srv/charger/backups/sessions_db_*.gz");
    host.xtask_as("charger", BUILT, "/srv/charger", "verify").expect(0);

    let overrides = format!("/etc/systemd/system/{UNIT}.d");
    host.machine.run(&format!("mkdir {overrides}"));
    host.machine.write(&format!("{overrides}/refuse.conf"), "[Unit]\nRefuseManualStop=yes\n");
    host.machine.run("systemctl daemon-reload");
    let refused = restore(&host, "--from latest --yes");
    let told = format!("error: `systemctl stop {UNIT}` failed (exit status: ");
    assert!(refused.expect(1).stderr.contains(&told), "{refused:?}");
    assert!(refused.stderr.contains("; nothing was changed\nhint: fix that, or "), "{refused:?}");
    assert_eq!((invocation(&host), sessions(&host)), (before, "3\n".into()));

    host.machine.run(&format!("rm -r {overrides}; systemctl daemon-reload; touch /srv/charger/broken"));
    let restored = restore(&host, "--from latest --yes --json");
    assert_eq!(restored.expect(3).json()["restored"]["written"][0], "data/sessions.db");
    let error = restored.json()["error"].clone();
    let told = format!("{UNIT} was stopped and could not be started again: `systemctl start {UNIT}` failed");
    assert!(error["message"].as_str().unwrap().starts_with(&told), "{error}");
    assert_eq!(error["hint"], format!("see why (systemctl status), then: systemctl start {UNIT}"));
    assert_eq!(sessions(&host), "2\n");

    host.machine.write("/srv/charger/ops/backup.toml", "[restore]\nstop_unit = \"charger-ap.service\"\n");
    assert!(doctor().contains("systemd knows no unit charger-ap.service: a restore will not stop it"), "{}", doctor());
    let restored = host.xtask_as("root", BUILT, "/srv/charger", "restore --undo --yes");
    let told = "warning: systemd knows no unit charger-ap.service, so it is not stopped";
    assert!(restored.expect(0).stderr.contains(told), "{restored:?}");
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn root_stops_only_what_root_names_and_only_a_unit_of_the_owners() {
    let host = host(4096);
    let before = invocation(&host);
    let restore = |arguments: &str| {
        host.xtask_as("root", BUILT, "/srv/charger", &format!("restore --from latest --yes {arguments}"))
    };
    let refused = restore("");
    let told =
        "error: root doesn't stop a unit named in settings that charger can write\nhint: name it: --stop charger-api.";
    assert!(refused.expect(2).stderr.contains(told), "{refused:?}");
    host.machine.write("/etc/systemd/system/audit.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    host.machine.run("systemctl daemon-reload; systemctl start audit");
    host.machine.write("/srv/charger/ops/backup.toml", "[restore]\nstop_unit = 'audit.service'\n");
    restore("").expect(2);
    let refused = restore("--stop audit.service");
    let told = "error: audit.service runs as root, and not as charger, whose project this is\nhint: ";
    assert!(refused.expect(2).stderr.contains(told), "{refused:?}");
    assert_eq!(host.property("audit.service", "ActiveState"), "active");
    assert_eq!((invocation(&host), sessions(&host)), (before.clone(), "3\n".into()));

    // Settings that only root can write are root's decision.
    host.machine.write("/etc/charger.toml", &format!("[restore]\nstop_unit = '{UNIT}'\n"));
    restore("--config /etc/charger.toml").expect(0);
    assert_ne!(invocation(&host), before);
    assert_eq!(sessions(&host), "2\n");
}
