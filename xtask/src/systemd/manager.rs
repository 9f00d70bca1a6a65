//! A service manager, the system's or a user's own: its commands, its files, its units.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use xshell::{Shell, cmd};

use super::Scope;
use super::state::State;
use super::sudo::{self, may_sudo};
use crate::context::Context;
use crate::step::{RUNTIME_DIR, Step, runtime_folder};
use crate::user::account::{home, is_root};

/// A service manager.
#[derive(Debug)]
pub struct Manager<'a> {
    /// Whose it is.
    pub scope: Scope,
    /// What runs its commands.
    pub shell: &'a Shell,
}

/// Properties for `systemctl show`: of all units, of timers, of services.
const PROPERTIES: &str = "LoadState,FragmentPath,UnitFileState,ActiveState,SubState,NeedDaemonReload,Job,\
                          NextElapseUSecRealtime,LastTriggerUSec,LastTriggerUSecMonotonic,\
                          User,Result,InvocationID,InactiveExitTimestamp,ExecMainCode,ExecMainStatus,\
                          ExecMainStartTimestamp,ExecMainStartTimestampMonotonic,ExecMainExitTimestampMonotonic";

impl<'a> Manager<'a> {
    /// The service manager of that scope.
    pub fn new(scope: Scope, shell: &'a Shell) -> Self {
        if scope == Scope::User && shell.var_os(RUNTIME_DIR).is_none() {
            // systemctl finds the manager by it, and it is missing after `su` or `sudo`.
            shell.set_var(RUNTIME_DIR, runtime_folder());
        }
        Self { scope, shell }
    }

    /// The folder for units of the administrator, or of the user: `man 5 systemd.unit`.
    pub fn unit_folder(&self) -> anyhow::Result<PathBuf> {
        match self.scope {
            Scope::System => Ok("/etc/systemd/system".into()),
            Scope::User => match self.shell.var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty()) {
                Some(folder) => Ok(PathBuf::from(folder).join("systemd/user")),
                None => Ok(home()?.join(".config/systemd/user")),
            },
        }
    }

    /// A `systemctl` command that changes something.
    pub fn systemctl(&self, words: &[&str]) -> Step {
        match self.scope {
            Scope::System => Step::new(["systemctl"].iter().chain(words).copied()).sudo_unless(is_root()),
            Scope::User => Step::new(["systemctl", "--user"].iter().chain(words).copied()),
        }
    }

    /// A command as `user`, by way of root; none is the current user.
    pub fn as_user(&self, user: Option<&str>, words: &[&str]) -> anyhow::Result<Step> {
        let own = self.user()?;
        Ok(match user.filter(|user| *user != own) {
            None => Step::new(words.iter().copied()),
            Some(user) => Step::new(["runuser", "-u", user, "--"].iter().chain(words).copied()).sudo_unless(is_root()),
        })
    }

    /// A command that changes files of this manager.
    pub fn change(&self, words: &[&str]) -> Step {
        let step = Step::new(words.iter().copied());
        if self.scope == Scope::System { step.sudo_unless(is_root()) } else { step }
    }

    /// The command that checks unit files.
    pub fn verify(&self, files: &[String]) -> Step {
        let scope = (self.scope == Scope::User).then_some("--user");
        let words = ["systemd-analyze"].into_iter().chain(scope).chain(["verify"]);
        Step::new(words.chain(files.iter().map(String::as_str)))
    }

    /// A `journalctl` command; as root if this user may not read the system's journal.
    pub fn journalctl(&self, words: &[&str]) -> Step {
        let open = self.scope == Scope::User || can_read_journal() || !may_sudo(self.shell, &["journalctl"]);
        // Without journalctl's hint that a user sees only a part.
        Step::new(["journalctl", "-q"].iter().chain(words).copied()).sudo_unless(open)
    }

    /// Arguments by which `journalctl` shows the output of these units, and systemd's messages about them.
    ///
    /// In a user's journal, the last lines of a process come without the unit's name. There they are found by the
    /// identifier, which the units' templates set to their name.
    pub fn entries_of(&self, units: &[String]) -> Vec<String> {
        if self.scope == Scope::System {
            return units.iter().flat_map(|unit| ["-u".to_string(), unit.clone()]).collect();
        }
        let uid = format!("_UID={}", rustix::process::geteuid());
        let by_unit = units.iter().map(|unit| format!("USER_UNIT={unit}"));
        let services = units.iter().filter_map(|unit| unit.strip_suffix(".service"));
        let names = services.map(|name| name.split('@').next().unwrap_or(name));
        let by_name = names.map(|name| format!("SYSLOG_IDENTIFIER={name}"));
        let alternatives = by_unit.chain(by_name).map(|entry| [uid.clone(), entry]);
        alternatives.collect::<Vec<_>>().join(&"+".to_string())
    }

    /// Makes sure that a command of this manager can run as root, if it has to.
    ///
    /// # Errors
    /// [`backup::ErrorKind::PermissionDenied`], with what an administrator would type instead of this command.
    pub fn require_root(&self, context: &Context<'_>, words: &[&str]) -> backup::Result<()> {
        if self.scope == Scope::User { Ok(()) } else { sudo::require(context, self.shell, words) }
    }

    /// The name of the current user.
    pub fn user(&self) -> anyhow::Result<String> {
        cmd!(self.shell, "id -un").quiet().read().context("find out who you are")
    }

    /// The states of the units, in their order. They are empty if a user's manager doesn't run.
    pub fn states(&self, units: &[String]) -> anyhow::Result<Vec<State>> {
        if !self.is_up() {
            return Ok(vec![State::default(); units.len()]);
        }
        let scope = (self.scope == Scope::User).then_some("--user");
        // A template has no state; its instances have.
        let units = units.iter().map(|unit| unit.replace("@.", "@any."));
        // In UTC, so that no names of time zones have to be parsed.
        let words = ["env", "TZ=UTC", "systemctl"].into_iter().chain(scope).chain(["show", "--no-pager"]);
        let shown = Step::new(words)
            .and(["-p", PROPERTIES, "--"])
            .and(units)
            .run(self.shell)
            .context("ask systemd how units stand")?;
        Ok(shown.split("\n\n").map(State::parse).collect())
    }

    /// The file in which a timer remembers its last run: `man 5 systemd.timer`, `Persistent=`.
    pub fn stamp(&self, timer: &str) -> anyhow::Result<PathBuf> {
        let folder = match self.scope {
            Scope::System => "/var/lib/systemd/timers".into(),
            Scope::User => match self.shell.var_os("XDG_DATA_HOME").filter(|folder| !folder.is_empty()) {
                Some(folder) => PathBuf::from(folder).join("systemd/timers"),
                None => home()?.join(".local/share/systemd/timers"),
            },
        };
        Ok(folder.join(format!("stamp-{timer}")))
    }

    /// Whether it runs. A user's own runs while the user is logged in, or lingers.
    pub fn is_up(&self) -> bool {
        let folder = self.shell.var_os(RUNTIME_DIR).unwrap_or_default();
        self.scope == Scope::System || Path::new(&folder).join("systemd/private").exists()
    }

    /// Waits until the user's manager runs; lingering has just started it.
    pub fn wait_until_up(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.is_up() {
            anyhow::ensure!(begun.elapsed() < Duration::from_secs(30), "the user's service manager did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Whether this user may read the system's journal: `man 8 systemd-journald.service`, "Access control".
fn can_read_journal() -> bool {
    let folders = ["/var/log/journal", "/run/log/journal"].into_iter().filter_map(|folder| fs::read_dir(folder).ok());
    folders.flatten().flatten().any(|machine| fs::File::open(machine.path().join("system.journal")).is_ok())
}
