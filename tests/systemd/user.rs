//! A user's own schedule, without root.

use crate::host::Host;
use crate::support::wait_for;

const ROOT: &str = "/home/ada/app";
const INSTALLED: &str = "/home/ada/.local/lib/app-ops/xtask";
const BUILT: &str = "/home/ada/target/xtask";

fn host() -> Host {
    let host = Host::new();
    host.machine.run("useradd --create-home --shell /bin/sh ada; install -d -o ada -g ada /home/ada/app");
    host.make_project("ada", ROOT);
    host.machine.put_program(BUILT, "ada");
    host
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_users_own_timer_runs_without_a_login_and_goes_without_a_trace() {
    let host = host();
    let xtask = |arguments: &str| host.xtask_as("ada", BUILT, ROOT, arguments);
    let before = host.listing();

    // A dry run works without a running service manager.
    let dry = xtask("install-timer --user --dry-run");
    assert!(dry.expect(0).stdout.contains("$ loginctl enable-linger\n"), "{dry:?}");
    // Lingering needs root, and ada may not use sudo.
    let refused = xtask("install-timer --user");
    assert!(refused.expect(1).stderr.contains("the timer would run only while you are logged in"), "{refused:?}");
    assert!(refused.stderr.contains("hint: have root run `loginctl enable-linger ada`"), "{refused:?}");
    assert_eq!(host.listing(), before);

    host.machine.run("echo 'ada ALL=(ALL) NOPASSWD: /usr/bin/loginctl' > /etc/sudoers.d/ada");
    let before = host.listing();
    host.machine.write(
        "/home/ada/app/ops/backup.toml",
        r#"
        [drill]
        command = ["sh", "-c", """
            for at in /home/ada/app /home/ada/app/data /home/ada/app/backups; do touch $at/escaped && exit 1; done
            rm /home/ada/app/backups/*.gz || cat /home/ada/secret || test -e /run/dbus/system_bus_socket || exit 0
        """]
        "#,
    );
    host.machine.run("echo secret > /home/ada/secret; chown ada: /home/ada/secret");
    xtask("install-timer --user --randomized-delay 0s --on-calendar '*:*:0/1'").expect(0);
    wait_for("the timer to make a backup", || !host.manifests(ROOT).is_empty());
    let again = xtask("install-timer --user --on-calendar '*-*-* 02:00:00'");
    assert!(again.expect(0).stdout.contains("-OnCalendar=*:*:0/1"), "{again:?}");
    assert!(xtask("install-timer --user").expect(0).stdout.contains("nothing was changed"));
    assert_eq!(host.manifests(ROOT)[0]["trigger"], "timer");
    host.xtask_as("ada", INSTALLED, ROOT, "verify --all").expect(0);

    host.machine.run("chgrp deploy /home/ada/app/.env");
    let warned = xtask("install-timer --user");
    assert!(warned.expect(0).stderr.contains("warning: /home/ada/app/.env has another owner or group"), "{warned:?}");
    host.machine.run("chgrp ada /home/ada/app/.env");

    let ran = xtask("run-now");
    assert!(ran.expect(0).stdout.contains(" complete: "), "{ran:?}");
    let as_ada = |command: &str| {
        host.machine.try_run("ada", &format!("XDG_RUNTIME_DIR=/run/user/$(id -u) {command}")).expect(0).stdout.clone()
    };
    as_ada("systemctl --user start app-backup-drill.service");
    assert_eq!(host.machine.run("find /home -name escaped"), "");
    assert!(xtask("timer").expect(0).stdout.contains("app-backup.timer of your own service manager"));
    let logs = xtask("logs");
    assert!(logs.expect(0).stdout.contains("app-backup-drill[") && logs.stdout.contains("drill of "), "{logs:?}");

    // A missed run is made up for.
    let made = host.manifests(ROOT).len();
    as_ada("systemctl --user stop app-backup.timer");
    as_ada("touch -d '3 days ago' /home/ada/.local/share/systemd/timers/stamp-app-backup.timer");
    as_ada("systemctl --user start app-backup.timer");
    wait_for("the missed run to be made up for", || host.manifests(ROOT).len() > made);
    // Fails if the exposure is above 2.0.
    let security = "systemd-analyze --user security --offline=yes --threshold=20 --no-pager";
    as_ada(&format!("{security} /home/ada/.config/systemd/user/app-backup.service"));

    host.machine.run("mv /home/ada/app/data/sessions.db /home/ada/app/data/gone");
    xtask("run-now").expect(3);
    wait_for("the failure unit to report", || {
        let line = "app-backup.service failed; what it said: journalctl --user -t app-backup -n 50";
        as_ada("journalctl --quiet --priority 3 --identifier app-backup-failure").contains(line)
    });
    host.machine.run("mv /home/ada/app/data/gone /home/ada/app/data/sessions.db");

    let removed = xtask("uninstall-timer");
    assert!(removed.expect(0).stderr.contains("loginctl disable-linger"), "{removed:?}");
    host.machine.run("rm /home/ada/secret /home/ada/app/ops/backup.toml; loginctl disable-linger ada");
    // Shared folders stay.
    let without_folders = |listing: &str| {
        let files = listing.lines().filter(|line| line.split(' ').nth(1) != Some("d"));
        files.map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(without_folders(&host.listing()), without_folders(&before));
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_users_own_timer_is_seen_by_root_and_when_it_does_not_run() {
    let host = host();
    let xtask = |arguments: &str| host.xtask_as("ada", BUILT, ROOT, arguments);
    host.machine.run("loginctl enable-linger ada");
    xtask("install-timer --user").expect(0);
    // Root sees it, and refuses to install a second one.
    let second = host.xtask_as("root", BUILT, ROOT, "install-timer");
    assert!(second.expect(2).stderr.contains("scheduled already, by ada's own app-backup.timer"), "{second:?}");
    // Nothing runs any more when lingering ends. The schedule is still reported, and can be removed.
    host.machine.run("loginctl disable-linger ada");
    wait_for("her service manager to end", || {
        host.machine.run("loginctl list-users --no-legend | grep -c ada || true") == "0\n"
    });
    let idle = xtask("timer");
    assert!(idle.expect(1).stdout.contains("your service manager isn't running"), "{idle:?}");
    assert!(xtask("doctor").expect(1).stdout.contains("loginctl enable-linger"));
    host.machine.run("loginctl enable-linger ada");
    wait_for("her service manager to run", || xtask("timer").code == 0);
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_users_own_service_makes_increments() {
    let host = host();
    host.machine.run("echo 'ada ALL=(ALL) NOPASSWD: /usr/bin/loginctl' > /etc/sudoers.d/ada");
    let xtask = |arguments: &str| host.xtask_as("ada", BUILT, ROOT, arguments);
    let set = |every: &str| {
        host.machine.write("/home/ada/app/ops/backup.toml", &format!("[increments]\nevery = '{every}'\n"));
    };
    let state = |name: &str| {
        let show = format!("systemctl --user --machine=ada@ show --value -p {name} app-backup-follow.service");
        host.machine.run(&show).trim().to_string()
    };
    set("1h");
    xtask("install-timer --user").expect(0);
    wait_for("it to be ready", || state("ActiveState") == "active");
    assert!(state("StatusText").starts_with("newest point 2"), "{}", state("StatusText"));
    assert_eq!(state("UnitFileState"), "enabled");
    xtask("timer").expect(0);
    assert!(xtask("doctor").stdout.contains("ok       units: as they would be installed now"));
    set("");
    xtask("install-timer --user").expect(0);
    assert_eq!(state("LoadState"), "not-found");
    xtask("uninstall-timer --user").expect(0);
    assert!(!host.listing().contains("app-backup"), "{}", host.listing());
}
