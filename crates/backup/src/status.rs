//! How things stand: what a catalog and a ledger say about the state of backups at a moment. Pure.

use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use serde::Serialize;

use crate::catalog::Catalog;
use crate::history::{Command, History};
use crate::id::BackupId;
use crate::manifest::{Manifest, Status as BackupStatus, Trigger};

/// How things stand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Whether the newest complete backup is young enough.
    pub fresh: bool,
    /// How old it may be, in seconds.
    pub max_age_s: u64,
    /// The newest run that left a manifest, however it went.
    pub last: Option<Dated<BackupStatus>>,
    /// The newest complete backup that is not known to be bad.
    pub last_success: Option<Dated<BackupStatus>>,
    /// The newest proof of any backup, by verify or drill.
    pub last_proved: Option<Dated<Command>>,
    /// How many backups can be restored.
    pub backups: usize,
    /// Bytes of all their files.
    pub stored_bytes: u64,
    /// Bytes of the newest complete backup's files.
    pub newest_bytes: Option<u64>,
    /// How much the plain content grows in a day, in bytes, from the oldest to the newest complete backup.
    pub growth_bytes_per_day: Option<i64>,
    /// Bytes that still fit into the store.
    pub free_bytes: Option<u64>,
    /// How many backups of the newest one's size that is.
    pub more_backups_fit: Option<u64>,
    /// Measured recovery point: the longest time, in seconds, between successive complete backups, or since the last.
    pub rpo_s: Option<u64>,
    /// Measured recovery time: how long the last drill or restore took, in milliseconds.
    pub rto_ms: Option<u64>,
}

/// Something that happened to a backup, and how long ago.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dated<T> {
    /// The backup.
    pub id: Option<BackupId>,
    /// When, RFC 3339.
    pub at: DateTime<FixedOffset>,
    /// How long before the report, in seconds; 0 if it is dated in the future.
    pub age_s: u64,
    /// What it was.
    pub what: T,
}

/// Computes how things stand at `now`.
pub fn status(
    catalog: &Catalog,
    history: &History,
    now: DateTime<FixedOffset>,
    max_age: Duration,
    free_bytes: Option<u64>,
) -> Status {
    let regular: Vec<&Manifest> =
        manifests(catalog).filter(|manifest| manifest.trigger != Trigger::PreRestore).collect();
    let sound = catalog.entries().iter().filter(|entry| entry.seems_sound(history));
    let sound = sound.filter_map(|entry| entry.manifest());
    let complete: Vec<&Manifest> = sound.filter(|manifest| manifest.trigger != Trigger::PreRestore).collect();
    let dated = |manifest: &&Manifest| Dated {
        id: Some(manifest.id),
        at: manifest.created_at,
        age_s: seconds(manifest.created_at, now),
        what: manifest.status,
    };
    let last_success = complete.last().map(dated);
    let newest_bytes = complete.last().map(|manifest| manifest.stored_bytes());
    let restorable = catalog.entries().iter().filter(|entry| !entry.files.is_empty());
    Status {
        fresh: last_success.as_ref().is_some_and(|success| success.age_s <= max_age.as_secs()),
        max_age_s: max_age.as_secs(),
        last: regular.last().map(dated),
        last_success,
        last_proved: history.last_proof().map(|line| Dated {
            id: line.id,
            at: line.at,
            age_s: seconds(line.at, now),
            what: line.command,
        }),
        backups: restorable.clone().count(),
        stored_bytes: restorable.flat_map(|entry| &entry.files).filter_map(|file| file.bytes).sum(),
        newest_bytes,
        growth_bytes_per_day: growth(&complete),
        free_bytes,
        more_backups_fit: free_bytes.zip(newest_bytes).and_then(|(free, one)| free.checked_div(one)),
        rpo_s: longest_gap(&complete, now),
        rto_ms: [Command::Drill, Command::Restore]
            .into_iter()
            .filter_map(|command| history.last_success(command))
            .max_by_key(|line| line.at)
            .map(|line| line.duration_ms),
    }
}

fn manifests(catalog: &Catalog) -> impl Iterator<Item = &Manifest> {
    catalog.entries().iter().filter_map(|entry| entry.manifest())
}

fn seconds(from: DateTime<FixedOffset>, to: DateTime<FixedOffset>) -> u64 {
    u64::try_from((to - from).num_seconds()).unwrap_or(0)
}

fn growth(complete: &[&Manifest]) -> Option<i64> {
    // A backup of the configuration alone says nothing about growth: compare those that hold the same things.
    let names = |manifest: &Manifest| manifest.artifacts.iter().map(|a| a.name.clone()).collect::<Vec<_>>();
    let newest = complete.last()?;
    let oldest = complete.iter().find(|manifest| names(manifest) == names(newest))?;
    let elapsed = i128::from((newest.created_at - oldest.created_at).num_seconds());
    let grown = i128::from(newest.plain_bytes()) - i128::from(oldest.plain_bytes());
    // Less than an hour apart, the figure would be noise.
    (elapsed >= 3600).then(|| i64::try_from(grown * 86_400 / elapsed).unwrap_or(i64::MAX))
}

fn longest_gap(complete: &[&Manifest], now: DateTime<FixedOffset>) -> Option<u64> {
    let times = complete.iter().map(|manifest| manifest.created_at);
    let next = times.clone().skip(1).chain([now]);
    times.zip(next).map(|(earlier, later)| seconds(earlier, later)).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Line, Outcome};
    use crate::names;
    use crate::run::tests::publish;
    use crate::store::MemoryStore;

    const NOW: &str = "2025-12-10T14:00:00Z";
    const DAY: u64 = 86_400;

    /// Backups, one for each line: how many hours ago, whole content in bytes, and words: a status, a trigger, `config`
    /// for one that holds no database.
    fn store_of(backups: &[&str]) -> MemoryStore {
        let store = MemoryStore::new();
        for line in backups {
            let words: Vec<&str> = line.split(' ').collect();
            let (hours, bytes): (i64, u64) = (words[0].parse().unwrap(), words[1].parse().unwrap());
            let has = |word: &str| words.contains(&word);
            let id = BackupId::at((now() - chrono::TimeDelta::hours(hours)).to_utc());
            let sample = String::from_utf8(include_bytes!("../tests/data/manifest_v1.json").to_vec()).unwrap();
            let mut manifest: Manifest =
                serde_json::from_str(&sample.replace("20261124_034135", &id.to_string())).unwrap();
            manifest.created_at = id.time().fixed_offset();
            manifest.status = if has("partial") { BackupStatus::Partial } else { BackupStatus::Complete };
            manifest.trigger = if has("pre-restore") { Trigger::PreRestore } else { Trigger::Timer };
            manifest.artifacts.remove(usize::from(!has("config")));
            manifest.artifacts[0].plain_bytes = bytes;
            manifest.artifacts[0].bytes = bytes / 10;
            publish(&store, &manifest.artifacts[0].file, &vec![0; usize::try_from(bytes / 10).unwrap()]);
            if has("failed") {
                manifest.status = BackupStatus::Failed;
                manifest.artifacts.clear();
            }
            publish(&store, &names::manifest(id), &manifest.to_json());
        }
        store
    }

    fn now() -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(NOW).unwrap()
    }

    fn status_of(backups: &[&str]) -> Status {
        status_with(&store_of(backups), Some(1000))
    }

    fn status_with(store: &MemoryStore, free: Option<u64>) -> Status {
        let (catalog, history) = (Catalog::load(store).unwrap(), History::load(store).unwrap());
        status(&catalog, &history, now(), Duration::from_secs(26 * 3600), free)
    }

    #[test]
    fn nothing_is_known_of_an_empty_store() {
        let status = status_of(&[]);
        let nothing = Status {
            fresh: false,
            max_age_s: 26 * 3600,
            last: None,
            last_success: None,
            last_proved: None,
            backups: 0,
            stored_bytes: 0,
            newest_bytes: None,
            growth_bytes_per_day: None,
            free_bytes: Some(1000),
            more_backups_fit: None,
            rpo_s: None,
            rto_ms: None,
        };
        assert_eq!(status, nothing);
    }

    #[test]
    fn the_newest_complete_backup_is_fresh_up_to_the_limit() {
        assert!(status_of(&["26 1000"]).fresh);
        assert!(!status_of(&["27 1000"]).fresh);
        for newer in ["1 1000 failed", "1 1000 partial", "1 1000 pre-restore"] {
            let status = status_of(&["27 1000", newer]);
            assert!(!status.fresh, "{newer}");
            assert_eq!(status.last_success.unwrap().age_s, 27 * 3600);
        }
        assert!(status_of(&["-5 1000"]).fresh, "one of the future has no age");
    }

    #[test]
    fn the_last_run_is_the_newest_that_no_restore_made() {
        let status = status_of(&["5 1000", "3 1000 failed", "1 1000 pre-restore"]);
        let last = status.last.unwrap();
        assert_eq!((last.what, last.age_s), (BackupStatus::Failed, 3 * 3600));
        let success = status.last_success.unwrap();
        assert_eq!((success.what, success.age_s), (BackupStatus::Complete, 5 * 3600));
    }

    #[test]
    fn sizes_are_of_what_is_stored() {
        let store = store_of(&["49 1000", "25 2000", "1 3000 partial"]);
        publish(&store, "sessions_db_20240101_000000.db.gz", &[0; 7]);
        let status = status_with(&store, Some(1000));
        assert_eq!((status.backups, status.stored_bytes, status.newest_bytes), (4, 607, Some(200)));
        assert_eq!((status.free_bytes, status.more_backups_fit), (Some(1000), Some(5)));
        let unknown = status_with(&store, None);
        assert_eq!((unknown.free_bytes, unknown.more_backups_fit), (None, None));
    }

    #[test]
    fn growth_is_a_days_share_of_what_was_gained() {
        assert_eq!(status_of(&["48 1000", "0 3000"]).growth_bytes_per_day, Some(1000));
        assert_eq!(status_of(&["12 3000", "0 1000"]).growth_bytes_per_day, Some(-4000));
        assert_eq!(status_of(&["48 1000", "24 9000", "0 3000"]).growth_bytes_per_day, Some(1000));
        assert_eq!(status_of(&["0 1000"]).growth_bytes_per_day, None);
        assert_eq!(status_of(&["48 1000 partial", "0 3000"]).growth_bytes_per_day, None);
    }

    #[test]
    fn growth_compares_backups_that_hold_the_same() {
        assert_eq!(status_of(&["72 50 config", "48 1000", "0 3000"]).growth_bytes_per_day, Some(1000));
    }

    #[test]
    fn the_recovery_point_is_the_longest_time_without_a_complete_backup() {
        assert_eq!(status_of(&["96 1000", "24 1000", "0 1000"]).rpo_s, Some(3 * DAY));
        assert_eq!(status_of(&["96 1000", "72 1000"]).rpo_s, Some(3 * DAY), "the last one is open");
        assert_eq!(status_of(&["96 1000", "48 1000 partial", "36 1 failed", "0 1000"]).rpo_s, Some(4 * DAY));
        assert_eq!(status_of(&["48 1000 partial"]).rpo_s, None);
    }

    #[test]
    fn the_recovery_time_is_that_of_the_last_drill_or_restore_that_went_well() {
        let store = store_of(&["1 1000"]);
        let rto = || status_with(&store, None).rto_ms;
        let add = |minutes, command, outcome, duration_ms| {
            let at = now() - chrono::TimeDelta::minutes(minutes);
            History::append(&store, &Line { duration_ms, ..Line::new(at, command, outcome) }).unwrap();
        };
        add(60, Command::Backup, Outcome::Ok, 1);
        add(50, Command::Verify, Outcome::Ok, 2);
        assert_eq!(rto(), None);
        add(40, Command::Drill, Outcome::Ok, 3);
        assert_eq!(rto(), Some(3));
        add(30, Command::Restore, Outcome::Begun, 4);
        assert_eq!(rto(), Some(3));
        add(30, Command::Restore, Outcome::Ok, 5);
        add(20, Command::Drill, Outcome::Failed, 6);
        assert_eq!(rto(), Some(5));
        let proved = status_with(&store, None).last_proved.unwrap();
        assert_eq!((proved.what, proved.age_s), (Command::Drill, 40 * 60));
    }
}
