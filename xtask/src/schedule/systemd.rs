//! The service manager: where its units are, how they stand.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use chrono::{DateTime, FixedOffset, Local, NaiveDateTime};
use serde::Serialize;
use xshell::{Shell, cmd};

use super::steps::{RUNTIME_DIR, Step};
use super::units::{Flags, Origin};

/// Whose service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The system's.
    System,
    /// The user's own.
    User,
}

/// A service manager.
#[derive(Debug)]
pub struct Manager<'a> {
    /// Whose it is.
    pub scope: Scope,
    /// What runs its commands.
    pub shell: &'a Shell,
}

/// What is asked of `systemctl show`: of all units, of timers, of services.
const PROPERTIES: &str = "FragmentPath,UnitFileState,ActiveState,NeedDaemonReload,NextElapseUSecRealtime,\
                          User,Result,InvocationID,InactiveExitTimestamp,ExecMainCode,ExecMainStatus,\
                          ExecMainStartTimestamp,ExecMainStartTimestampMonotonic,ExecMainExitTimestampMonotonic";

/// How one unit stands: what `systemctl show` says, by property.
#[derive(Debug)]
pub struct State(BTreeMap<String, String>);

/// How the last run of a service went, as long as systemd remembers: since the machine was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// When it began.
    pub at: DateTime<FixedOffset>,
    /// How long it took, in milliseconds; unknown as long as it runs.
    pub duration_ms: Option<u64>,
    /// `success`, or what systemd calls the failure: `man 5 systemd.exec`, `$SERVICE_RESULT`.
    pub result: String,
    /// What the program exited with; none if a signal ended it.
    pub exit_status: Option<u8>,
}

/// Makes sure that systemd runs this host: `man 3 sd_booted`.
pub fn require() -> backup::Result<()> {
    if is_booted() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Io, "this host isn't run by systemd").with_hint("schedule it with cron: install-cron"))
}

/// Whether systemd runs this host.
pub fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Checks a calendar expression, which messages call `name`.
pub fn check_calendar(shell: &Shell, name: &str, spec: &str) -> anyhow::Result<()> {
    let step = Step::new(["systemd-analyze", "calendar", "--", spec]);
    step.run(shell).map(drop).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("{name}: {error:#}"))
            .with_hint("write it as systemd does, *-*-* 02:00:00 or Mon..Fri 22:30: man 7 systemd.time")
            .into()
    })
}

impl<'a> Manager<'a> {
    /// The service manager of that scope.
    pub fn new(scope: Scope, shell: &'a Shell) -> Self {
        if scope == Scope::User && shell.var_os(RUNTIME_DIR).is_none() {
            // Whoever came by `su` or `sudo` lacks it, and systemctl finds the manager by it.
            shell.set_var(RUNTIME_DIR, runtime_folder());
        }
        Self { scope, shell }
    }

    /// Where the units are that an administrator, or the user, adds: `man 5 systemd.unit`.
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

    /// A command that changes files where this manager's are.
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

    /// A `journalctl` command, for which the system's journal takes root where it is closed to this user.
    pub fn journalctl(&self, words: &[&str]) -> Step {
        let open = self.scope == Scope::User || can_read_journal() || !self.has_sudo();
        Step::new(["journalctl"].iter().chain(words).copied()).sudo_unless(open)
    }

    /// What `journalctl` has to be told to show what these units say, and what is said of them.
    ///
    /// In a user's journal, what a process says in its last moment comes without the unit's name: so there it is looked
    /// for by the identifier, which the units' templates set to their name.
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

    fn has_sudo(&self) -> bool {
        let path = self.shell.var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join("sudo").is_file())
    }

    /// Makes sure that the commands that need root can have it.
    pub fn require_sudo(&self) -> backup::Result<()> {
        if self.scope == Scope::User || is_root() || self.has_sudo() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::PermissionDenied, "this needs root, and there is no `sudo` to become it")
            .with_hint("run it as root, or install timers of your own with --user"))
    }

    /// Who this process belongs to.
    pub fn user(&self) -> anyhow::Result<String> {
        cmd!(self.shell, "id -un").quiet().read().context("find out who you are")
    }

    /// How the units stand, in their order.
    pub fn states(&self, units: &[String]) -> anyhow::Result<Vec<State>> {
        let scope = (self.scope == Scope::User).then_some("--user");
        // A template is asked for by way of an instance.
        let units = units.iter().map(|unit| unit.replace("@.", "@any."));
        // In UTC, so that there are no names of time zones to understand.
        let words = ["env", "TZ=UTC", "systemctl"].into_iter().chain(scope).chain(["show", "--no-pager"]);
        let shown = Step::new(words)
            .and(["-p", PROPERTIES, "--"])
            .and(units)
            .run(self.shell)
            .context("ask systemd how the schedule stands")?;
        Ok(shown.split("\n\n").map(State::parse).collect())
    }

    /// All that this program has installed for this manager.
    pub fn installed(&self) -> anyhow::Result<Vec<Origin>> {
        let Ok(entries) = fs::read_dir(self.unit_folder()?) else { return Ok(Vec::new()) };
        // What can't be read is not ours: units are for everybody to read.
        let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
        let mut found: Vec<Origin> = texts.filter_map(|text| Origin::read(&text)).collect();
        // Of those that belong together, the one with the flags comes first, and stays.
        let key = |origin: &Origin| (origin.unit.clone(), origin.root.clone());
        found.sort_by_key(|origin| (key(origin), origin.flags == Flags::default()));
        found.dedup_by_key(|origin| key(origin));
        Ok(found)
    }

    /// Waits until the user's manager, which lingering has just started, can be talked to.
    pub fn wait_until_up(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let private = Path::new(&self.shell.var_os(RUNTIME_DIR).unwrap_or_default()).join("systemd/private");
        while !private.exists() {
            anyhow::ensure!(begun.elapsed() < Duration::from_secs(30), "the user's service manager did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl State {
    fn parse(shown: &str) -> Self {
        let pairs = shown.lines().filter_map(|line| line.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    /// A property's value; empty if it has none.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A moment; none if it has not come, or is none.
    pub fn time(&self, name: &str) -> Option<DateTime<FixedOffset>> {
        let text = self.get(name).strip_suffix(" UTC")?;
        let time = NaiveDateTime::parse_from_str(text, "%a %Y-%m-%d %H:%M:%S").ok()?;
        Some(time.and_utc().with_timezone(&Local).fixed_offset())
    }

    /// Whether a timer or service is at work: a timer waits, a service runs.
    pub fn is_active(&self) -> bool {
        matches!(self.get("ActiveState"), "active" | "activating" | "reloading" | "deactivating")
    }

    /// Whether it will be started with the machine.
    pub fn is_enabled(&self) -> bool {
        self.get("UnitFileState") == "enabled"
    }

    /// The last run, of a service.
    pub fn ran(&self) -> Option<Ran> {
        // A service that could not even be started has no main process, but did fail.
        let at = self.time("ExecMainStartTimestamp").or_else(|| self.time("InactiveExitTimestamp"))?;
        let microseconds = |name: &str| self.get(name).parse::<u64>().ok().filter(|time| *time != 0);
        let (begun, ended) = ("ExecMainStartTimestampMonotonic", "ExecMainExitTimestampMonotonic");
        let took = microseconds(ended).zip(microseconds(begun)).and_then(|(ended, begun)| ended.checked_sub(begun));
        Some(Ran {
            at,
            duration_ms: took.filter(|_| !self.is_active()).map(|took| took / 1000),
            result: self.get("Result").into(),
            // CLD_EXITED: man 2 waitid.
            exit_status: (self.get("ExecMainCode") == "1").then(|| self.get("ExecMainStatus").parse().ok()).flatten(),
        })
    }
}

/// Whether the user's service manager runs while the user is not logged in: `man 1 loginctl`, `enable-linger`.
pub fn lingers(user: &str) -> bool {
    Path::new("/var/lib/systemd/linger").join(user).exists()
}

/// Whether the system's journal is open to this user: `man 8 systemd-journald.service`, "Access control".
fn can_read_journal() -> bool {
    let folders = ["/var/log/journal", "/run/log/journal"].into_iter().filter_map(|folder| fs::read_dir(folder).ok());
    folders.flatten().flatten().any(|machine| fs::File::open(machine.path().join("system.journal")).is_ok())
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user's home folder.
pub fn home() -> anyhow::Result<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute()).context("find the home folder: HOME is not set")
}

fn runtime_folder() -> PathBuf {
    format!("/run/user/{}", rustix::process::geteuid()).into()
}
