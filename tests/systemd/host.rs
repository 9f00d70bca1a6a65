//! A machine with a project on it, and the program under test.

use serde_json::Value;

use crate::machine::Machine;
use crate::support::CommandOutput;

/// The place of the schedule's copy of the program, for the project `charger` as a system service.
pub const INSTALLED: &str = "/usr/local/lib/charger-ops/xtask";

/// The place where a checkout has built it.
pub const BUILT: &str = "/home/deploy/checkout/target/release/xtask";

/// A machine with the project `/srv/charger`, which belongs to `charger`, and a checkout of `deploy`, who may become
/// root by `sudo`.
pub struct Host {
    pub machine: Machine,
}

impl Host {
    pub fn new() -> Self {
        let machine = Machine::boot();
        machine.run(
            "for user in charger deploy; do useradd --create-home --shell /bin/sh $user; done
             echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/deploy
             install -d -o charger -g charger /srv/charger",
        );
        let host = Self { machine };
        host.make_project("charger", "/srv/charger");
        host.machine.put_program(BUILT, "deploy");
        host
    }

    /// Makes a project of `user` in the folder `root`, which exists.
    pub fn make_project(&self, user: &str, root: &str) {
        let make = format!(
            "cd '{root}'; mkdir data ops
             sqlite3 data/sessions.db 'PRAGMA journal_mode = wal; CREATE TABLE sessions(id INTEGER PRIMARY KEY, kwh);
                                       INSERT INTO sessions VALUES (1, 2.5), (2, 3.5)' > ops/log
             rm ops/log
             echo PORT=8080 > .env; echo '{{}}' > data/station_info.json"
        );
        self.machine.try_run(user, &make).expect(0);
    }

    /// Runs the program that `deploy` has built, on `/srv/charger`.
    pub fn xtask(&self, arguments: &str) -> CommandOutput {
        self.xtask_as("deploy", BUILT, "/srv/charger", arguments)
    }

    /// Runs a copy of the program as `user` on the project in `root`.
    pub fn xtask_as(&self, user: &str, program: &str, root: &str, arguments: &str) -> CommandOutput {
        self.machine.try_run(user, &format!("{program} --root '{root}' {arguments}"))
    }

    /// The manifests of the backups in the project's folder, oldest first.
    pub fn manifests(&self, root: &str) -> Vec<Value> {
        let list = format!("cd '{root}/backups' && find . -maxdepth 1 -name 'manifest_*' | sort");
        let names = self.machine.run(&list);
        let read = |name: &str| self.machine.read(&format!("{root}/backups/{name}"));
        names.lines().map(|name| serde_json::from_str(&read(name)).unwrap()).collect()
    }

    /// The journal of `unit`: priority and message of each line.
    pub fn journal(&self, unit: &str) -> Vec<(u8, String)> {
        let lines = self.machine.run(&format!("journalctl --quiet --output json --unit '{unit}'"));
        let entry = |line: &str| {
            let entry: Value = serde_json::from_str(line).unwrap();
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_string();
            (text("PRIORITY").parse().unwrap(), text("MESSAGE"))
        };
        lines.lines().map(entry).collect()
    }

    /// Every file, folder and link that an installation could leave, with mode, owner and target, and the content of
    /// units and programs. It leaves out what others make: backups, systemd's own state, the files beside a database.
    pub fn listing(&self) -> String {
        self.machine.run(
            "find /etc /usr/local /var/lib/systemd /var/spool /home /root /srv \
                  -path '*/backups' -prune -o -name '*.db-*' -o -type d -path '/var/lib/*' -o \
                  -printf '%p %y %m %U %G %l\n' | sort
             find /etc/systemd /home /srv $(ls -d /usr/local/lib/*-ops || true) \
                  -path '*/backups' -prune -o -name '*.db-*' -o -type f -exec sha256sum {} + | sort -k 2",
        )
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.machine.run(&format!("systemctl show --value --property {name} '{unit}'")).trim().to_string()
    }
}
