//! The installed schedule: it runs, catches up, reports its failures, and stays in its sandbox.

use crate::host::{BUILT, Host, INSTALLED};
use crate::support::wait_for;

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_timer_is_installed_runs_catches_up_and_goes_without_a_trace() {
    let host = Host::new();
    let before = host.listing();

    let installed = host.xtask("install-timer --randomized-delay 0s");
    installed.expect(0);
    for step in ["$ sudo install -p -m 0755", "$ sudo systemctl daemon-reload", "$ sudo systemctl enable --now"] {
        assert!(installed.stdout.contains(step), "{step} in {}", installed.stdout);
    }
    let calendar = host.machine.run("systemd-analyze calendar '*-*-* 02:00:00' | grep 'Next elapse'");
    let next = host.property("charger-backup.timer", "NextElapseUSecRealtime");
    assert!(!next.is_empty() && calendar.contains(&next), "{next:?} is not {calendar:?}");
    let timers = host.machine.run("systemctl list-timers --no-legend 'charger-*'");
    assert_eq!(timers.lines().count(), 2, "{timers}");
    assert_eq!(host.machine.run("find /home/deploy -user root"), "", "root's files in the checkout");

    let again = host.xtask("install-timer --randomized-delay 0s");
    assert!(again.expect(0).stdout.contains("is installed already: nothing was changed"), "{again:?}");
    assert!(!again.stdout.contains('$'), "{again:?}");

    // From here on without the checkout.
    host.machine.run("rm -r /home/deploy/checkout");
    let xtask = |arguments: &str| host.xtask_as("deploy", INSTALLED, "/srv/charger", arguments);
    let changed = xtask("install-timer --randomized-delay 0s --on-calendar '*:*:0/1'");
    changed.expect(0);
    for line in ["-OnCalendar=*-*-* 02:00:00", "+OnCalendar=*:*:0/1"] {
        assert!(changed.stdout.lines().any(|shown| shown == line), "{line} in {}", changed.stdout);
    }
    wait_for("the timer to make a backup", || !host.machine.run("ls /srv/charger/backups").is_empty());
    wait_for("the backup to be complete", || !host.manifests("/srv/charger").is_empty());
    let back = xtask("install-timer --on-calendar '*-*-* 02:00:00'");
    assert!(back.expect(0).stdout.contains("+OnCalendar=*-*-* 02:00:00"), "{back:?}");
    wait_for("the last run to end", || host.property("charger-backup.service", "ActiveState") == "inactive");
    let manifests = host.manifests("/srv/charger");
    assert_eq!((&manifests[0]["trigger"], &manifests[0]["status"]), (&"timer".into(), &"complete".into()));
    let others =
        host.machine.run("find /srv/charger/backups ! -user charger -o -type f -perm /077 -o -type d -perm /077");
    assert_eq!(others, "", "owner and mode of what it made");
    host.xtask_as("charger", INSTALLED, "/srv/charger", "verify --all").expect(0);
    let journal = host.journal("charger-backup.service");
    assert!(journal.iter().any(|(priority, text)| *priority == 6 && text.contains(" complete: ")), "{journal:?}");
    xtask("timer").expect(0);
    // systemd forgets a run when nothing needs the service any more, as with the next start of the machine.
    let timers = "charger-backup.timer charger-backup-drill.timer";
    host.machine.run(&format!("systemctl disable --now {timers}"));
    wait_for("systemd to forget", || host.property("charger-backup.service", "ExecMainStartTimestamp").is_empty());
    host.machine.run(&format!("systemctl enable --now {timers}"));
    let remembered = host.xtask_as("charger", INSTALLED, "/srv/charger", "timer --json");
    let last = &remembered.expect(0).json()["schedule"]["jobs"][0]["last"];
    assert_eq!((&last["result"], &last["exit_status"]), (&"success".into(), &().into()), "what the manifest says");

    let made = host.manifests("/srv/charger").len();
    host.machine.run(
        "systemctl stop charger-backup.timer
         touch -d '3 days ago' /var/lib/systemd/timers/stamp-charger-backup.timer
         systemctl start charger-backup.timer",
    );
    wait_for("the missed run to be made up for", || host.manifests("/srv/charger").len() > made);
    wait_for("it to end", || host.property("charger-backup.service", "ActiveState") == "inactive");

    let kept = host.manifests("/srv/charger");
    let removed = xtask("uninstall-timer");
    assert!(removed.expect(0).stdout.contains("charger-backup.timer is removed"), "{removed:?}");
    let without_checkout = |listing: &str| {
        listing.lines().filter(|line| !line.contains("/home/deploy/checkout")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(host.listing().trim(), without_checkout(&before));
    assert_eq!(host.machine.run("systemctl list-unit-files --no-legend 'charger-*' || true"), "");
    assert_eq!(host.manifests("/srv/charger"), kept, "backups stay");
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_failing_run_is_reported_and_seen_until_one_goes_well() {
    let host = Host::new();
    host.xtask("install-timer").expect(0);
    host.machine.run("mv /srv/charger/data/sessions.db /srv/charger/data/gone; rm /srv/charger/.env");

    let ran = host.xtask("run-now");
    assert!(ran.expect(3).stdout.contains("error: database /srv/charger/data/sessions.db doesn't exist"), "{ran:?}");
    assert!(ran.stdout.contains("\nStarting charger-backup.service"), "from its first line on: {ran:?}");
    assert!(ran.stderr.contains("error: charger-backup.service is partly done (exit 3), in "), "{ran:?}");
    assert!(ran.stderr.contains(&format!("hint: see its output: {BUILT} --root /srv/charger logs")), "{ran:?}");
    let journal = host.journal("charger-backup.service");
    let said =
        |priority: u8, text: &str| journal.iter().any(|(number, line)| *number == priority && line.contains(text));
    assert!(said(3, "sessions.db doesn't exist") && said(4, ".env") && said(6, "hint: "), "{journal:?}");
    assert!(said(3, "charger-backup.service is partly done (exit 3)"), "{journal:?}");
    let all = host.machine.run("journalctl -u charger-backup.service; systemctl status charger-backup.service || true");
    assert!(!all.contains("NOTIMPLEMENTED"), "systemd's name for 3: {all}");
    assert!(host.machine.run("systemctl --failed").contains("charger-backup.service"));
    wait_for("the failure unit to report", || {
        let reported = host.journal("charger-backup-failure@*");
        reported.iter().any(|(priority, text)| {
            *priority == 3 && text == "charger-backup.service failed; what it said: journalctl -u charger-backup -n 50"
        })
    });
    let timer = host.xtask("timer");
    assert!(timer.expect(1).stdout.contains("the last backup: partly done (exit 3)"), "{timer:?}");
    let json = host.xtask("timer --json");
    let document = json.expect(1).json();
    assert_eq!((&document["ok"], &document["schedule"]["jobs"][0]["last"]["exit_status"]), (&false.into(), &3.into()));

    host.machine.run("mv /srv/charger/data/gone /srv/charger/data/sessions.db");
    host.xtask("run-now").expect(0);
    host.xtask("timer").expect(0);

    // A service that can't even be started is a failure as well.
    host.machine.run(&format!("rm {INSTALLED}"));
    host.xtask("run-now").expect(1);
    assert_eq!(host.property("charger-backup.service", "ExecMainStatus"), "203");
    let timer = host.xtask("timer");
    assert!(timer.expect(1).stdout.contains("charger-ops/xtask, which the schedule runs, is missing"), "{timer:?}");
    // It is reported even if the user is gone.
    host.xtask("install-timer").expect(0);
    host.machine
        .run("sed -i s/^User=.*/User=gone/ /etc/systemd/system/charger-backup.service; systemctl daemon-reload");
    host.xtask("run-now").expect(1);
    wait_for("the failure unit to report each", || {
        host.journal("charger-backup-failure@*").iter().filter(|(priority, _)| *priority == 3).count() >= 3
    });
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_project_in_any_place_works_in_the_sandbox() {
    let host = Host::new();
    // A home folder, a name that has to be quoted, a database and a backup folder behind links, a setting that says so.
    let root = r#"/home/charger/50% $HOME "x""#;
    host.machine.run("install -d -o charger -g charger /srv/disk /home/charger/links");
    host.machine.try_run("charger", &format!("mkdir '{root}'")).expect(0);
    host.make_project("charger", root);
    let link = format!(
        "cd '{root}'; mkdir -m 700 /srv/disk/backups; mv data/sessions.db .env /home/charger/links
         ln -s /home/charger/links/sessions.db data; ln -s /home/charger/links/.env .env
         ln -s /srv/disk/backups /home/charger/links/backups
         printf 'project = \"Any Place\"\\nbackup_dir = \"/home/charger/links/backups\"\\n' > ops/backup.toml"
    );
    host.machine.try_run("charger", &link).expect(0);
    host.machine.run("echo 'charger ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/charger; chmod 755 /home/deploy");
    host.xtask_as("charger", BUILT, root, "install-timer").expect(0);
    let ran = host.xtask_as("charger", BUILT, root, "run-now");
    assert!(!ran.expect(0).all().contains("warning"), "{ran:?}");
    host.machine.run("systemctl start any-place-backup-drill.service");
    let manifest = host.machine.run("cat /srv/disk/backups/manifest_*");
    assert!(manifest.contains("\"complete\"") && manifest.contains("\"Any Place\""), "{manifest}");
    host.xtask_as("charger", BUILT, root, "uninstall-timer").expect(0);
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn logs_show_the_units_journal_and_end_with_ctrl_c() {
    let host = Host::new();
    host.xtask("install-timer").expect(0);
    host.xtask("run-now").expect(0);
    let shown = |arguments: &str| host.xtask(&format!("logs {arguments}")).expect(0).stdout.clone();
    let all = shown("");
    for text in ["charger-backup.timer", "charger-backup-drill.timer", "charger-backup[", " complete: "] {
        assert!(all.contains(text), "{text} in {all}");
    }
    assert_eq!(shown("-n 1").lines().count(), 1);
    assert!(shown("--since -1h").contains(" complete: "));
    assert!(!shown("--since +1h").contains(" complete: "));
    let ran = host.xtask("logs --json");
    assert!(ran.expect(2).stdout.contains("\"invalid_input\""), "{ran:?}");

    let wrong = host.xtask("logs --since nonsense");
    assert!(wrong.expect(2).stderr.contains("hint: write it as journalctl takes it"), "{wrong:?}");

    // At a terminal, and by way of sudo, which may take the terminal for itself.
    let mut following = host.machine.at_terminal("deploy", &format!("{BUILT} --root /srv/charger logs -f -n 1"));
    wait_for("it to follow", || host.machine.try_run("root", "pgrep -x journalctl").code == 0);
    host.machine.run("systemctl start charger-backup.service");
    wait_for("it to show what comes", || following.seen().contains("charger-backup["));
    following.press("\x03");
    let (code, seen) = following.wait();
    assert_eq!(code, 0, "{seen}");
    wait_for("journalctl to end with it", || host.machine.try_run("root", "pgrep -x journalctl").code == 1);
    let mut quiet = host.machine.command("root", &format!("exec {BUILT} --root /srv/charger logs -f")).spawn().unwrap();
    wait_for("it to follow", || host.machine.try_run("root", "pgrep -x journalctl").code == 0);
    host.machine.run("pkill -TERM -x xtask");
    assert_eq!(quiet.wait().unwrap().code(), Some(0));
    wait_for("journalctl to end with it", || host.machine.try_run("root", "pgrep -x journalctl").code == 1);
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn run_now_that_is_interrupted_says_that_the_service_goes_on() {
    let host = Host::new();
    host.xtask("install-timer").expect(0);
    for (user, sudo) in [("root", ""), ("deploy", "sudo ")] {
        // Another run holds the lock, so the service waits.
        host.machine
            .try_run("charger", "mkdir -p -m 700 /srv/charger/backups; touch /srv/charger/backups/.lock")
            .expect(0);
        let lock = "exec flock /srv/charger/backups/.lock sleep infinity";
        let mut other = host.machine.command("root", lock).spawn().unwrap();
        wait_for("the lock to be held", || {
            host.machine.try_run("root", "flock -n /srv/charger/backups/.lock true").code == 1
        });
        let waited = || {
            let said = host.journal("charger-backup.service");
            said.iter().filter(|(_, text)| text.contains("waiting for")).count()
        };
        let before = waited();
        let mut terminal = host.machine.at_terminal(user, &format!("{BUILT} --root /srv/charger run-now"));
        wait_for("the service to wait", || waited() > before);
        let again = host.machine.at_terminal(user, &format!("{BUILT} --root /srv/charger run-now"));
        terminal.press("\x03");
        let (code, seen) = terminal.wait();
        assert_eq!(code, 130, "{seen}");
        let hint = format!("charger-backup.service keeps running; to stop it: {sudo}systemctl stop");
        assert!(seen.contains(&hint) && seen.contains("interrupted"), "{seen}");
        assert_eq!(host.property("charger-backup.service", "ActiveState"), "activating");
        host.machine.run("pkill -x sleep");
        other.wait().unwrap();
        let (code, seen) = again.wait();
        assert_eq!(code, 0, "{seen}");
        assert!(seen.contains("it is running already, since") && seen.contains("succeeded"), "{seen}");
    }

    // systemd has forgotten a service that nothing needs as soon as it ends.
    host.machine.run("systemctl disable --now charger-backup.timer charger-backup-drill.timer");
    host.xtask("run-now").expect(0);
    host.machine.run("mv /srv/charger/data/sessions.db /srv/charger/data/gone");
    host.xtask("run-now").expect(3);
    host.machine.run("mv /srv/charger/data/gone /srv/charger/data/sessions.db");
    host.xtask("run-now --drill").expect(0);
    assert!(host.journal("charger-backup-drill.service").iter().any(|(_, text)| text.contains("drill of ")));
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn whom_sudo_refuses_is_told_what_root_has_to_run() {
    let host = Host::new();
    host.xtask("install-timer").expect(0);
    // The backup user: no terminal, and no right except one that doesn't help here.
    host.machine.run("echo 'charger ALL=(ALL) NOPASSWD: /usr/bin/true' > /etc/sudoers.d/charger");
    let charger = |arguments: &str| {
        host.xtask_as("charger", &format!("exec setsid --wait {INSTALLED}"), "/srv/charger", arguments)
    };
    for command in ["run-now", "run-now --drill", "uninstall-timer", "install-timer"] {
        let refused = charger(command);
        let hint = format!("\nhint: have root run: {INSTALLED} --root /srv/charger {command}");
        assert!(refused.expect(1).stderr.starts_with("error: this needs root, and `sudo` doesn't"), "{refused:?}");
        assert!(refused.stderr.contains(&hint) && !refused.all().contains("sudo: "), "{refused:?}");
        let document = charger(&format!("{command} --json")).expect(1).json();
        assert_eq!(document["error"]["kind"], "permission_denied");
    }
    let logs = charger("logs");
    assert!(logs.expect(1).stderr.contains("the journal is open to root"), "{logs:?}");
    assert!(!logs.all().contains("sudo: "), "{logs:?}");
    for command in ["timer", "uninstall-timer --dry-run"] {
        charger(command).expect(0);
    }
    // What root runs then works.
    host.xtask_as("root", INSTALLED, "/srv/charger", "run-now").expect(0);
    let linger =
        host.xtask_as("charger", &format!("exec setsid --wait {INSTALLED}"), "/srv/charger", "install-timer --user");
    assert!(!linger.all().contains("sudo: "), "{linger:?}");
}
