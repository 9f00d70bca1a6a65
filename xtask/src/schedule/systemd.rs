//! The service manager: where its units are, how they stand.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use chrono::{DateTime, FixedOffset, Local, NaiveDateTime, TimeDelta};
use serde::Serialize;
use xshell::{Shell, cmd};

use super::steps::{RUNTIME_DIR, Step, runtime_folder};
use super::units::{Flags, Origin};
use crate::context::Context;
use crate::privilege;

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
const PROPERTIES: &str = "LoadState,FragmentPath,UnitFileState,ActiveState,SubState,NeedDaemonReload,Job,\
                          NextElapseUSecRealtime,LastTriggerUSec,LastTriggerUSecMonotonic,\
                          User,Result,InvocationID,InactiveExitTimestamp,ExecMainCode,ExecMainStatus,\
                          ExecMainStartTimestamp,ExecMainStartTimestampMonotonic,ExecMainExitTimestampMonotonic";

/// How one unit stands: what `systemctl show` says, by property.
#[derive(Debug, Default, Clone)]
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
    Err(Error::new(ErrorKind::Io, "this host isn't run by systemd").with_hint("schedule it with cron: `install-cron`"))
}

/// Whether systemd runs this host.
pub fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Its version.
pub fn version(shell: &Shell) -> anyhow::Result<u32> {
    let said = cmd!(shell, "systemctl --version").quiet().read().context("ask systemd for its version")?;
    let number = said.split_whitespace().nth(1).and_then(|word| word.split(['.', '~', '-']).next()?.parse().ok());
    number.with_context(|| format!("find systemd's version in {said:?}"))
}

/// Checks a calendar expression, which messages call `name`.
pub fn check_calendar(shell: &Shell, name: &str, spec: &str) -> anyhow::Result<()> {
    let wrong = |why: String| {
        Error::new(ErrorKind::InvalidInput, format!("{name}: {why}"))
            .with_hint("write it as systemd does, *-*-* 02:00:00 or Mon..Fri 22:30: man 7 systemd.time")
    };
    let step = Step::new(["systemd-analyze", "calendar", "--", spec]);
    let said = step.run(shell).map_err(|error| wrong(format!("{error:#}")))?;
    let never = said.lines().any(|line| line.trim() == "Next elapse: never");
    if never { Err(wrong(format!("{spec:?} never comes again")).into()) } else { Ok(()) }
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

    /// A command as `user`, by way of root; none is the one who asks.
    pub fn as_user(&self, user: Option<&str>, words: &[&str]) -> anyhow::Result<Step> {
        let own = self.user()?;
        Ok(match user.filter(|user| *user != own) {
            None => Step::new(words.iter().copied()),
            Some(user) => Step::new(["runuser", "-u", user, "--"].iter().chain(words).copied()).sudo_unless(is_root()),
        })
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
        let open = self.scope == Scope::User || can_read_journal() || !self.may_sudo(&["journalctl"]);
        // Without the hint that there is more than a user's own journal.
        Step::new(["journalctl", "-q"].iter().chain(words).copied()).sudo_unless(open)
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

    /// Whether this process may run a command as root: because it is root's, or by `sudo`, which may have to ask for a
    /// password at a terminal.
    pub fn may_sudo(&self, words: &[&str]) -> bool {
        let listed = || Step::new(["sudo", "-n", "-l", "--"].iter().chain(words).copied()).run(self.shell).is_ok();
        is_root() || (self.has_sudo() && (has_terminal() || listed()))
    }

    /// Makes sure that a command of this manager's can have the root that it needs.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], with what an administrator would type instead of this command.
    pub fn require_root(&self, context: &Context<'_>, words: &[&str]) -> backup::Result<()> {
        if self.scope == Scope::User || self.may_sudo(words) {
            return Ok(());
        }
        let why = if self.has_sudo() {
            "`sudo` doesn't give you that without a password, and there is no terminal to ask for it"
        } else {
            "there is no `sudo` to become it"
        };
        Err(Error::new(ErrorKind::PermissionDenied, format!("this needs root, and {why}"))
            .with_hint(format!("have root run: {}", this_command(context))))
    }

    /// Who this process belongs to.
    pub fn user(&self) -> anyhow::Result<String> {
        cmd!(self.shell, "id -un").quiet().read().context("find out who you are")
    }

    /// How the units stand, in their order. To a user's manager that doesn't run, none is known.
    pub fn states(&self, units: &[String]) -> anyhow::Result<Vec<State>> {
        if !self.is_up() {
            return Ok(vec![State::default(); units.len()]);
        }
        let scope = (self.scope == Scope::User).then_some("--user");
        // A template is asked for by way of an instance.
        let units = units.iter().map(|unit| unit.replace("@.", "@any."));
        // In UTC, so that there are no names of time zones to understand.
        let words = ["env", "TZ=UTC", "systemctl"].into_iter().chain(scope).chain(["show", "--no-pager"]);
        let shown = Step::new(words)
            .and(["-p", PROPERTIES, "--"])
            .and(units)
            .run(self.shell)
            .context("ask systemd how units stand")?;
        Ok(shown.split("\n\n").map(State::parse).collect())
    }

    /// All that this program has installed for this manager.
    pub fn installed(&self) -> anyhow::Result<Vec<Origin>> {
        Ok(installed_in(&self.unit_folder()?))
    }

    /// Where timers remember when they last ran: `man 5 systemd.timer`, `Persistent=`.
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

    /// Whether it can be talked to. A user's own runs while the user is logged in, or lingers.
    pub fn is_up(&self) -> bool {
        let folder = self.shell.var_os(RUNTIME_DIR).unwrap_or_default();
        self.scope == Scope::System || Path::new(&folder).join("systemd/private").exists()
    }

    /// Waits until the user's manager, which lingering has just started, can be talked to.
    pub fn wait_until_up(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.is_up() {
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

    /// Whether a timer waits for its time, or for what it started to end.
    pub fn is_ticking(&self) -> bool {
        self.is_active() && self.get("SubState") != "elapsed"
    }

    /// Whether a timer started something in this uptime, more than a minute before `now`, which then did not run.
    pub fn missed(&self, service: &Self, now: DateTime<FixedOffset>) -> bool {
        let number = |state: &Self, name: &str| state.get(name).parse::<u64>().unwrap_or(0);
        let (triggered, began) =
            (number(self, "LastTriggerUSecMonotonic"), number(service, "ExecMainStartTimestampMonotonic"));
        let a_while_ago = self.time("LastTriggerUSec").is_some_and(|time| now - time > TimeDelta::minutes(1));
        triggered > began && a_while_ago && !service.is_active()
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

/// All that this program has installed in a folder of units. What can't be read is not there.
pub fn installed_in(folder: &Path) -> Vec<Origin> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| read_unit(&entry.path()).ok());
    let mut found: Vec<Origin> = texts.filter_map(|text| Origin::read(&text)).collect();
    // Of those that belong together, the one with the flags comes first, and stays.
    let key = |origin: &Origin| (origin.unit.clone(), origin.root.clone());
    found.sort_by_key(|origin| (key(origin), origin.flags == Flags::default()));
    found.dedup_by_key(|origin| key(origin));
    found
}

/// More of a unit's file is not read; ours are smaller.
const MAX_UNIT: u64 = 64 << 10;

/// Reads a unit's text. Root looks into folders of other users, who may have put anything there: a pipe would be waited
/// for without end.
pub fn read_unit(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    backup::open_plain(path)?.take(MAX_UNIT).read_to_string(&mut text)?;
    Ok(text)
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

/// Whether `sudo` can ask this user something.
fn has_terminal() -> bool {
    fs::File::options().read(true).write(true).open("/dev/tty").is_ok()
}

/// This very command, as it works for another user and in any folder.
fn this_command(context: &Context<'_>) -> Step {
    let program = std::env::current_exe().unwrap_or_else(|_| "xtask".into()).display().to_string();
    let places = [Some(&context.root), context.given.config.as_ref(), context.given.backup_dir.as_ref()];
    let places = PLACES.into_iter().zip(places);
    let places = places.filter_map(|(flag, path)| Some([flag.to_string(), path?.display().to_string()]));
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    Step::new([program]).and(places.flatten()).and(without_places(words))
}

/// Flags that say where things are.
const PLACES: [&str; 3] = ["--root", "--config", "--backup-dir"];

/// A command's words without those flags.
fn without_places(mut words: impl Iterator<Item = String>) -> Vec<String> {
    let mut others = Vec::new();
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some((flag, _)) if PLACES.contains(&flag) => {}
            None if PLACES.contains(&word.as_str()) => drop(words.next()),
            _ => others.push(word),
        }
    }
    others
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user's home folder.
pub fn home() -> anyhow::Result<PathBuf> {
    let home = privilege::became().map_or_else(std::env::home_dir, |account| Some(account.home.clone()));
    home.filter(|home| home.is_absolute()).context("find the home folder: HOME is not set")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-26T02:05:00Z";

    fn now() -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(NOW).unwrap()
    }

    #[test]
    fn flags_that_say_where_things_are_are_left_out() {
        let words = |text: &str| without_places(text.split(' ').map(str::to_string)).join(" ");
        assert_eq!(words("--root . run-now --drill --config=x --backup-dir y"), "run-now --drill");
        assert_eq!(words("install-timer --on-calendar=daily --root"), "install-timer --on-calendar=daily");
    }

    #[test]
    fn what_systemctl_shows_is_read() {
        let timer = State::parse(
            "NextElapseUSecRealtime=Fri 2026-11-27 02:00:00 UTC\nActiveState=active\nSubState=waiting\nUnitFileState=enabled",
        );
        assert_eq!(timer.time("NextElapseUSecRealtime").unwrap(), now() + TimeDelta::minutes(24 * 60 - 5));
        assert!(timer.is_enabled() && timer.is_active() && timer.is_ticking());
        assert_eq!(State::parse("NextElapseUSecRealtime=").time("NextElapseUSecRealtime"), None);
        assert!(!State::parse("ActiveState=active\nSubState=elapsed").is_ticking());
        assert!(State::default().ran().is_none() && !State::default().is_active());
    }

    #[test]
    fn a_run_has_its_time_and_its_result() {
        let shown = "ActiveState=failed\nResult=exit-code\nExecMainCode=1\nExecMainStatus=3\n\
                     ExecMainStartTimestamp=Thu 2026-11-26 02:05:00 UTC\n\
                     ExecMainStartTimestampMonotonic=1000000\nExecMainExitTimestampMonotonic=3500000";
        let ran = State::parse(shown).ran().unwrap();
        assert_eq!((ran.at, ran.duration_ms, ran.exit_status), (now(), Some(2500), Some(3)));
        let running = shown.replace("failed", "activating");
        assert_eq!(State::parse(&running).ran().unwrap().duration_ms, None);
        let killed = shown.replace("ExecMainCode=1", "ExecMainCode=2");
        assert_eq!(State::parse(&killed).ran().unwrap().exit_status, None);
        let never_begun =
            "Result=resources\nInactiveExitTimestamp=Thu 2026-11-26 02:05:00 UTC\nExecMainStartTimestamp=";
        assert_eq!(State::parse(never_begun).ran().unwrap().at, now());
    }

    #[test]
    fn a_run_that_its_timer_started_in_vain_is_missed() {
        let timer = |monotonic: u64, time: &str| {
            State::parse(&format!("LastTriggerUSecMonotonic={monotonic}\nLastTriggerUSec=Thu 2026-11-26 {time} UTC"))
        };
        let service = |began: u64, state: &str| {
            State::parse(&format!("ExecMainStartTimestampMonotonic={began}\nActiveState={state}"))
        };
        assert!(timer(500, "02:00:00").missed(&service(0, "inactive"), now()));
        assert!(timer(500, "02:00:00").missed(&service(400, "inactive"), now()), "it ran the time before");
        assert!(!timer(500, "02:00:00").missed(&service(501, "inactive"), now()));
        assert!(!timer(500, "02:00:00").missed(&service(0, "activating"), now()));
        assert!(!timer(500, "02:04:30").missed(&service(0, "inactive"), now()), "it may still be about to start");
        assert!(!timer(0, "02:00:00").missed(&service(0, "inactive"), now()), "of an earlier uptime");
    }
}
