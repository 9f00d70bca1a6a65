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

    // Lingering takes root, and ada is nobody to sudo.
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
        command = ["sh", "-c", "touch /home/ada/escaped /home/ada/app/escaped; cat /home/ada/secret > /home/ada/app/backups/told; touch /home/ada/app/backups/written"]
        "#,
    );
    host.machine.run("echo secret > /home/ada/secret; chown ada: /home/ada/secret");
    xtask("install-timer --user --randomized-delay 0s --on-calendar '*:*:0/1'").expect(0);
    wait_for("the timer to make a backup", || !host.manifests(ROOT).is_empty());
    let again = xtask("install-timer --user --randomized-delay 0s");
    assert!(again.expect(0).stdout.contains("-OnCalendar=*:*:0/1"), "{again:?}");
    assert!(xtask("install-timer --user --randomized-delay 0s").expect(0).stdout.contains("nothing was changed"));
    assert_eq!(host.manifests(ROOT)[0]["trigger"], "timer");
    host.xtask_as("ada", INSTALLED, ROOT, "verify --all").expect(0);

    host.machine.run("chgrp deploy /home/ada/app/.env");
    let warned = xtask("install-timer --user --randomized-delay 0s");
    assert!(warned.expect(0).stderr.contains("warning: /home/ada/app/.env has another owner or group"), "{warned:?}");
    host.machine.run("chgrp ada /home/ada/app/.env");

    let ran = xtask("run-now");
    assert!(ran.expect(0).stdout.contains(" complete: "), "{ran:?}");
    let as_ada = |command: &str| {
        host.machine.try_run("ada", &format!("XDG_RUNTIME_DIR=/run/user/$(id -u) {command}")).expect(0).stdout.clone()
    };
    as_ada("systemctl --user start app-backup-verify.service");
    assert!(host.machine.exists("/home/ada/app/backups/written"));
    assert_eq!(host.machine.run("find /home -name escaped; cat /home/ada/app/backups/told"), "");
    assert!(xtask("timer").expect(0).stdout.contains("app-backup.timer of your own service manager"));
    let logs = xtask("logs");
    assert!(logs.expect(0).stdout.contains("app-backup-verify[") && logs.stdout.contains("drill of "), "{logs:?}");

    host.machine.run("mv /home/ada/app/data/sessions.db /home/ada/app/data/gone");
    xtask("run-now").expect(3);
    wait_for("the failure unit to report", || {
        let line = "app-backup.service failed; what it said: journalctl --user-unit app-backup.service -n 50";
        as_ada("journalctl --quiet --priority 3 --identifier app-backup-failure").contains(line)
    });
    host.machine.run("mv /home/ada/app/data/gone /home/ada/app/data/sessions.db");

    let removed = xtask("uninstall-timer");
    assert!(removed.expect(0).stderr.contains("loginctl disable-linger"), "{removed:?}");
    host.machine.run("rm /home/ada/secret /home/ada/app/ops/backup.toml; loginctl disable-linger ada");
    // Folders that are everybody's stay.
    let without_folders = |listing: &str| {
        let files = listing.lines().filter(|line| line.split(' ').nth(1) != Some("d"));
        files.map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(without_folders(&host.listing()), without_folders(&before));
}
