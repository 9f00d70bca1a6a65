//! The state of a unit, and how the last run of a service went.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, Local, NaiveDateTime, TimeDelta};

/// The state of one unit: the properties that `systemctl show` prints.
#[derive(Debug, Default, Clone)]
pub struct State(BTreeMap<String, String>);

/// The last run of a service since the machine was started; systemd remembers no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRun {
    /// When it began.
    pub at: DateTime<FixedOffset>,
    /// How long it took, in milliseconds; unknown as long as it runs.
    pub duration_ms: Option<u64>,
    /// `success`, or systemd's word for the failure: `man 5 systemd.exec`, `$SERVICE_RESULT`.
    pub result: String,
    /// The exit status of the program; none if a signal ended it.
    pub exit_status: Option<u8>,
}

impl State {
    /// Reads what `systemctl show` says of one unit.
    pub fn parse(shown: &str) -> Self {
        let pairs = shown.lines().filter_map(|line| line.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    /// A property's value; empty if it has none.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A time; none if the property has none.
    pub fn time(&self, name: &str) -> Option<DateTime<FixedOffset>> {
        let text = self.get(name).strip_suffix(" UTC")?;
        let time = NaiveDateTime::parse_from_str(text, "%a %Y-%m-%d %H:%M:%S").ok()?;
        Some(time.and_utc().with_timezone(&Local).fixed_offset())
    }

    /// Whether a timer or service is active: a timer waits, a service runs.
    pub fn is_active(&self) -> bool {
        matches!(self.get("ActiveState"), "active" | "activating" | "reloading" | "deactivating")
    }

    /// Whether a timer waits for its time, or for the end of its service.
    pub fn is_ticking(&self) -> bool {
        self.is_active() && self.get("SubState") != "elapsed"
    }

    /// Whether the service did not run although its timer started it, in this uptime and more than a minute before `now`.
    pub fn missed(&self, service: &Self, now: DateTime<FixedOffset>) -> bool {
        let number = |state: &Self, name: &str| state.get(name).parse::<u64>().unwrap_or(0);
        let (triggered, began) =
            (number(self, "LastTriggerUSecMonotonic"), number(service, "ExecMainStartTimestampMonotonic"));
        let a_while_ago = self.time("LastTriggerUSec").is_some_and(|time| now - time > TimeDelta::minutes(1));
        triggered > began && a_while_ago && !service.is_active()
    }

    /// Whether a service has failed, and systemd is about to start it again.
    pub fn is_waiting_to_restart(&self) -> bool {
        self.get("SubState") == "auto-restart"
    }

    /// Whether it starts with the machine.
    pub fn is_enabled(&self) -> bool {
        self.get("UnitFileState") == "enabled"
    }

    /// The last run of a service.
    pub fn last_run(&self) -> Option<ServiceRun> {
        // A service that could not even be started has no main process, but did fail.
        let at = self.time("ExecMainStartTimestamp").or_else(|| self.time("InactiveExitTimestamp"))?;
        let microseconds = |name: &str| self.get(name).parse::<u64>().ok().filter(|time| *time != 0);
        let (begun, ended) = ("ExecMainStartTimestampMonotonic", "ExecMainExitTimestampMonotonic");
        let took = microseconds(ended).zip(microseconds(begun)).and_then(|(ended, begun)| ended.checked_sub(begun));
        Some(ServiceRun {
            at,
            duration_ms: took.filter(|_| !self.is_active()).map(|took| took / 1000),
            result: self.get("Result").into(),
            // CLD_EXITED: man 2 waitid.
            exit_status: (self.get("ExecMainCode") == "1").then(|| self.get("ExecMainStatus").parse().ok()).flatten(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-26T02:05:00Z";

    fn now() -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(NOW).unwrap()
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
        assert!(State::default().last_run().is_none() && !State::default().is_active());
    }

    #[test]
    fn a_run_has_its_time_and_its_result() {
        let shown = "ActiveState=failed\nResult=exit-code\nExecMainCode=1\nExecMainStatus=3\n\
                     ExecMainStartTimestamp=Thu 2026-11-26 02:05:00 UTC\n\
                     ExecMainStartTimestampMonotonic=1000000\nExecMainExitTimestampMonotonic=3500000";
        let run = State::parse(shown).last_run().unwrap();
        assert_eq!((run.at, run.duration_ms, run.exit_status), (now(), Some(2500), Some(3)));
        let running = shown.replace("failed", "activating");
        assert_eq!(State::parse(&running).last_run().unwrap().duration_ms, None);
        let killed = shown.replace("ExecMainCode=1", "ExecMainCode=2");
        assert_eq!(State::parse(&killed).last_run().unwrap().exit_status, None);
        let never_begun =
            "Result=resources\nInactiveExitTimestamp=Thu 2026-11-26 02:05:00 UTC\nExecMainStartTimestamp=";
        assert_eq!(State::parse(never_begun).last_run().unwrap().at, now());
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
