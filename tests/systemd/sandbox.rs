//! What the services can't reach, tried from within.

use crate::host::{BUILT, Host};
use crate::support::wait_for;

const BACKUP: &str = "charger-backup.service";
const DRILL: &str = "charger-backup-drill.service";

/// Makes the drill's command try each of `attempts`, which are shell commands; none may succeed. The command runs in
/// the sandbox of the program, so it can do what the program could.
#[track_caller]
fn assert_all_fail(host: &Host, attempts: &[&str]) {
    let lines = attempts.iter().enumerate();
    let lines = lines.map(|(at, line)| format!("if ( {line} ) > /dev/null 2>&1; then exit {}; fi\n", 100 + at));
    host.machine.write("/srv/charger/ops/attempts", &lines.collect::<String>());
    host.machine.try_run("root", &format!("systemctl start {DRILL}"));
    let journal = host.journal(DRILL);
    let first = (0..attempts.len()).find(|at| {
        let status = format!("exit status: {}", 100 + at);
        journal.iter().any(|(_, text)| text.ends_with(&status))
    });
    assert_eq!(first.map(|at| attempts[at]), None, "this succeeded");
    assert_eq!(host.property(DRILL, "ExecMainStatus"), "0", "{journal:?}");
}

/// A host whose drill runs `/srv/charger/ops/attempts`, with a backup, and another project of the same user.
fn host(flags: &str) -> Host {
    let host = Host::new();
    host.machine.run("install -d -o charger -g charger /srv/other; echo secret > /home/deploy/secret");
    host.machine.run("chmod 644 /home/deploy/secret; chmod 755 /home/deploy");
    host.make_project("charger", "/srv/other");
    host.machine.write("/srv/charger/ops/backup.toml", "[drill]\ncommand = ['sh', '/srv/charger/ops/attempts']");
    host.xtask(&format!("install-timer {flags}")).expect(0);
    host.xtask("run-now").expect(0);
    host
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_drills_command_can_change_nothing_and_see_nothing_of_others() {
    let host = host("");
    let before = host.machine.run("cd /srv/charger; find backups data -type f -exec sha256sum {} + | sort -k 2");
    let places = "for at in / /srv /srv/charger /srv/charger/ops /srv/charger/data /srv/charger/backups \
                  /srv/charger/backups/.staging /srv/other /etc /usr/local/lib/charger-ops /home/charger /var/lib \
                  /run /media; do touch $at/escaped && exit 0; done; exit 1";
    assert_all_fail(
        &host,
        &[
            places,
            "rm /srv/charger/backups/manifest_*",
            "rm /srv/charger/backups/*.gz",
            "rm /srv/charger/backups/.lock",
            "mv /srv/charger/backups/history.jsonl /srv/charger/backups/h",
            "mv /srv/charger/backups /srv/charger/b",
            // With Landlock: the ledger and the lock are writable in this sandbox, for the program alone.
            ": >> /srv/charger/backups/history.jsonl",
            "chmod 666 /srv/charger/backups/manifest_*",
            "for at in /srv/charger/backups/*_*; do : >> $at && exit 0; done; exit 1",
            "cat /home/deploy/secret",
            "cat /srv/other/.env",
            "cat /proc/1/cmdline",
            "grep -v lo: /proc/net/dev | grep :",
            "test -e /run/dbus/system_bus_socket -o -e /run/systemd/private",
            "systemctl start charger-backup.service",
            "exec 3<>/dev/tcp/192.0.2.1/80",
            "unshare --user true",
            "test $(ulimit -c) != 0",
        ],
    );
    // Its own places are writable, and may be on another disk.
    host.machine.run(&format!("mkdir /etc/systemd/system/{DRILL}.d; install -d -o charger /srv/disk"));
    let disk = "[Service]\nBindPaths=/srv/disk:/var/tmp\n";
    host.machine.write(&format!("/etc/systemd/system/{DRILL}.d/disk.conf"), disk);
    host.machine.write(
        "/srv/charger/ops/attempts",
        "touch here /tmp/here /dev/shm/here /var/tmp/kept && test -r data/sessions.db && test -w data/sessions.db",
    );
    host.machine.run(&format!("systemctl daemon-reload; systemctl start {DRILL}"));
    assert_eq!(host.machine.run("ls -A /srv/disk"), "kept\n");
    let after = host.machine.run("cd /srv/charger; find backups data -type f -exec sha256sum {} + | sort -k 2");
    let but_for_records = |listing: &str| {
        let kept = listing.lines().filter(|line| !line.ends_with("/.lock") && !line.ends_with("/history.jsonl"));
        kept.map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(but_for_records(&after), but_for_records(&before));
    let status = host.xtask_as("charger", BUILT, "/srv/charger", "status --json").json();
    assert_ne!(status["sources"][0]["drilled"], serde_json::Value::Null, "the ledger has its line: {status}");
    assert_eq!(
        host.machine.run("find /srv /etc /usr/local /home /var /run /media /tmp -name escaped -o -name here"),
        ""
    );
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_backup_sees_nothing_of_other_projects_and_has_no_network() {
    let host = host("");
    // The commands before it run in its sandbox.
    host.machine.run(&format!("mkdir /etc/systemd/system/{BACKUP}.d"));
    for attempt in [
        "cat /srv/other/.env",
        "cat /home/deploy/secret",
        "touch /srv/charger/escaped",
        "test -e /run/systemd/private",
        "grep -v lo: /proc/net/dev | grep :",
    ] {
        let line = format!("[Service]\nExecStartPre=/bin/sh -c '! ( {attempt} )'\n");
        host.machine.write(&format!("/etc/systemd/system/{BACKUP}.d/attempt.conf"), &line);
        host.machine.run(&format!("systemctl daemon-reload; systemctl start {BACKUP}"));
    }
    assert!(host.manifests("/srv/charger").len() > 5);
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_drill_by_root_does_not_reach_the_service_manager() {
    let host = Host::new();
    // The folders belong to root, so nobody else can replace them.
    host.machine.run("cd /srv/charger; chown root: . data ops; chmod 600 .env data/sessions.db");
    host.machine.write("/srv/charger/ops/backup.toml", "[drill]\ncommand = ['sh', '/srv/charger/ops/attempts']");
    host.xtask("install-timer --allow-root").expect(0);
    // It reads files that only their owner may read.
    let ran = host.xtask("run-now");
    assert!(!ran.expect(0).all().contains("warning"), "{ran:?}");
    assert_all_fail(
        &host,
        &[
            "systemd-run --wait touch /etc/escaped",
            "systemctl --no-block start machine.target",
            "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager ListUnits",
            "mount --bind /srv/charger /etc",
            "mknod /tmp/disk b 8 0",
            "chroot /proc/1/root true",
            "touch /etc/escaped /srv/charger/backups/escaped",
        ],
    );
    wait_for("the drill to end", || host.property(DRILL, "ActiveState") != "activating");
    assert_eq!(host.machine.run("find /etc /srv -name escaped"), "");
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn every_service_is_confined() {
    let host = host("");
    for unit in [BACKUP, DRILL, "charger-backup-failure@.service"] {
        // Fails if the exposure is above 0.8.
        let security = "systemd-analyze security --offline=yes --threshold=8 --no-pager";
        host.machine.run(&format!("{security} /etc/systemd/system/{unit}"));
        let memory = host.property(&unit.replace('@', "@any"), "MemoryMax");
        assert!(memory.parse::<u64>().is_ok(), "{unit}: {memory}");
    }
    assert_eq!(host.property(DRILL, "User"), "charger");
}
