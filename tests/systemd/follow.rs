//! The service that makes increments: it says that it is ready and alive, is started again, and goes with its setting.

use serde_json::Value;

use crate::host::{BUILT, Host};
use crate::support::wait_for;

const FOLLOW: &str = "charger-backup-follow.service";

/// A host whose settings want increments, with a schedule that has them.
fn host(every: &str) -> Host {
    let host = Host::new();
    set(&host, every);
    host.xtask("install-timer").expect(0);
    ready(&host);
    host
}

fn set(host: &Host, every: &str) {
    host.machine.write("/srv/charger/ops/backup.toml", &format!("[increments]\nevery = '{every}'\n"));
}

fn ready(host: &Host) {
    wait_for("it to be ready", || host.property(FOLLOW, "ActiveState") == "active");
}

/// Starts it again at once, and gives its watchdog two seconds.
fn be_quick(host: &Host) {
    host.machine.run(&format!("mkdir /etc/systemd/system/{FOLLOW}.d"));
    let quick = "[Service]\nRestartSec=100ms\nWatchdogSec=2s\n";
    host.machine.write(&format!("/etc/systemd/system/{FOLLOW}.d/quick.conf"), quick);
    host.machine.run(&format!("systemctl daemon-reload; systemctl restart {FOLLOW}"));
}

fn insert(host: &Host) {
    let insert = "sqlite3 -cmd '.timeout 10000' /srv/charger/data/sessions.db 'INSERT INTO sessions(kwh) VALUES (1)'";
    host.machine.try_run("charger", insert).expect(0);
}

fn points(host: &Host) -> usize {
    host.manifests("/srv/charger").len()
}

/// Changes the database, and waits until `what` has saved that.
fn saved_by(host: &Host, what: &str, act: impl FnOnce()) {
    let before = points(host);
    insert(host);
    act();
    wait_for(what, || points(host) > before);
}

fn systemctl(host: &Host, verb: &str) {
    host.machine.run(&format!("systemctl {verb} {FOLLOW}"));
}

fn restarts(host: &Host) -> u32 {
    host.property(FOLLOW, "NRestarts").parse().unwrap()
}

fn job(host: &Host) -> Value {
    host.xtask("timer --json").json()["schedule"]["jobs"][2].clone()
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_service_makes_increments_and_is_asked_for_one_by_a_reload() {
    let host = host("1h");
    let full = &host.manifests("/srv/charger")[0];
    assert_eq!(
        (&full["parent"], &full["trigger"], &full["status"]),
        (&Value::Null, &"timer".into(), &"complete".into())
    );
    saved_by(&host, "the reload to make an increment", || systemctl(&host, "reload"));
    let increment = host.manifests("/srv/charger")[1].clone();
    assert_eq!((&increment["type"], &increment["parent"]), (&"increment".into(), &full["id"]));
    let newest = increment["id"].as_str().unwrap();
    wait_for("it to say so", || host.property(FOLLOW, "StatusText") == format!("newest point {newest}"));

    // The journal has no line for an increment.
    let lines: Vec<String> = host.journal(FOLLOW).into_iter().map(|(_, text)| text).collect();
    let says = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(says("saving what changes every 1h") && says("a full backup: there is no backup yet"), "{lines:?}");
    assert!(!says("increment 2"), "{lines:?}");

    let timer = host.xtask("timer");
    assert!(timer.expect(0).stdout.lines().any(|line| line.starts_with("increments ") && line.ends_with(" running")));
    let job = job(&host);
    assert_eq!((&job["name"], &job["entry"], &job["running"]), (&"increments".into(), &FOLLOW.into(), &true.into()));
    let doctor = host.xtask("doctor").stdout;
    for line in ["ok       schedule: increments: running now", "ok       units: as they would be installed now"] {
        assert!(doctor.contains(line), "{doctor}");
    }
    assert!(host.xtask("logs").expect(0).stdout.contains("charger-backup-follow["));
    let again = host.xtask("install-timer");
    assert!(again.expect(0).stdout.contains("nothing was changed") && !again.stdout.contains('$'), "{again:?}");
    let security = "systemd-analyze security --offline=yes --threshold=8 --no-pager";
    host.machine.run(&format!("{security} /etc/systemd/system/{FOLLOW}"));

    // Other runs come in between.
    host.xtask("run-now").expect(0);
    host.xtask_as("charger", BUILT, "/srv/charger", "restore --from latest --yes").expect(0);
    saved_by(&host, "a last increment", || systemctl(&host, "stop"));
    assert_eq!(host.property(FOLLOW, "Result"), "success");
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_service_that_ends_or_hangs_is_started_again() {
    let host = host("1h");
    be_quick(&host);
    ready(&host);
    // It is quiet for longer than the watchdog waits, and lives.
    let began = host.property(FOLLOW, "ActiveEnterTimestampMonotonic").parse::<u64>().unwrap();
    let beat = || host.property(FOLLOW, "WatchdogTimestampMonotonic").parse::<u64>().unwrap();
    wait_for("signs of life for longer than the watchdog waits", || beat() > began + 5_000_000);
    assert_eq!(restarts(&host), 0, "{:?}", host.journal(FOLLOW));

    for signal in ["KILL", "STOP"] {
        let before = restarts(&host);
        host.machine.run(&format!("systemctl kill --kill-whom=main --signal={signal} {FOLLOW}"));
        wait_for("it to be started again", || restarts(&host) > before);
        ready(&host);
    }
    let lines = host.journal(FOLLOW);
    assert!(lines.iter().any(|(_, text)| text.contains("Watchdog timeout")), "{lines:?}");
    assert!(lines.iter().any(|(priority, text)| *priority == 3 && text.contains("failed (watchdog)")), "{lines:?}");
    host.xtask("timer").expect(0);

    // Settings that can't be read end it, until they can.
    host.machine.write("/srv/charger/ops/backup.toml", "every = nonsense");
    // It may end before the reload does.
    host.machine.try_run("root", &format!("systemctl reload {FOLLOW}"));
    wait_for("it to end", || restarts(&host) > 3);
    let lines = host.journal(FOLLOW);
    assert!(lines.iter().any(|(priority, text)| *priority == 3 && text.contains("/ops/backup.toml")), "{lines:?}");
    set(&host, "1h");
    ready(&host);
    saved_by(&host, "an increment after all", || systemctl(&host, "reload"));
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn a_folder_that_was_replaced_is_seen() {
    let host = host("1s");
    be_quick(&host);
    ready(&host);
    host.machine.run("cd /srv/charger; mv data old; cp -a old data");
    saved_by(&host, "the new folder's database to be saved", || {});
    assert!(restarts(&host) > 0, "only a new sandbox can write to the new folder");
}

#[test]
#[ignore = "needs root and systemd: cargo test --workspace -- --ignored"]
fn the_service_comes_and_goes_with_the_setting() {
    let host = Host::new();
    let before = host.listing();
    let without_settings = |listing: &str| {
        listing.lines().filter(|line| !line.contains("/ops/backup.toml")).collect::<Vec<_>>().join("\n")
    };
    set(&host, "");
    host.xtask("install-timer").expect(0);
    assert_eq!(host.property(FOLLOW, "LoadState"), "not-found");
    assert_eq!(job(&host), Value::Null);

    set(&host, "1h");
    let doctor = host.xtask("doctor").stdout;
    assert!(doctor.contains(&format!("warning  units: not as they would be installed now: {FOLLOW}")), "{doctor}");
    let dry = host.xtask("install-timer --dry-run");
    assert!(dry.expect(0).stdout.contains(&format!("$ sudo systemctl start --no-block {FOLLOW}\n")), "{dry:?}");
    assert_eq!(host.property(FOLLOW, "LoadState"), "not-found");
    host.xtask("install-timer").expect(0);
    ready(&host);
    assert_eq!(host.property(FOLLOW, "UnitFileState"), "enabled");

    // One that was stopped is a problem, and the next installation starts it.
    systemctl(&host, "stop");
    let timer = host.xtask("timer");
    assert!(timer.expect(1).stdout.contains(&format!("{FOLLOW} is not running")), "{timer:?}");
    host.xtask("install-timer").expect(0);
    ready(&host);

    set(&host, "");
    let doctor = host.xtask("doctor").stdout;
    assert!(doctor.contains(&format!("warning  units: not as they would be installed now: {FOLLOW}")), "{doctor}");
    let gone = host.xtask("install-timer");
    assert!(gone.expect(0).stdout.contains(&format!("$ sudo systemctl disable --now {FOLLOW}\n")), "{gone:?}");
    assert_eq!(host.property(FOLLOW, "LoadState"), "not-found");
    assert!(!host.listing().contains("-follow"), "{}", host.listing());
    host.xtask("timer").expect(0);

    set(&host, "1h");
    host.xtask("install-timer").expect(0);
    ready(&host);
    host.xtask("uninstall-timer").expect(0);
    assert_eq!(without_settings(&host.listing()), without_settings(&before));
    assert_eq!(host.machine.run("systemctl list-units --all --no-legend 'charger-*'"), "");
}
