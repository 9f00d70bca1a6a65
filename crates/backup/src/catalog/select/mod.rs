//! Which backup a person means by `--from`.
//!
//! Somebody who says `latest`, or a time, means a backup that holds what is asked for and has nothing against it. An id
//! finds the backup with that id, whatever its state.

mod objection;
mod search;
mod selector;

pub use objection::{Objection, Objections};
pub use search::{SelectedBackup, SkippedBackup};
pub use selector::Selector;

#[cfg(test)]
mod tests {
    use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Utc};

    use super::*;
    use crate::catalog::Catalog;
    use crate::error::{ErrorKind, Result};
    use crate::record::id::BackupId;
    use crate::record::ledger::{Command, Ledger, Line, Outcome};
    use crate::record::manifest::{Failure, Manifest, Status, Trigger};
    use crate::record::names;
    use crate::store::{MemoryStore, Store};
    use crate::testing::fixtures::{Site, append, id, publish};

    /// A Wednesday.
    const NOW: &str = "20251210_140000";

    /// Berlin in 2025: an hour skipped on March 30, an hour twice on October 26.
    #[derive(Clone)]
    struct Berlin;

    fn hours(hours: i32) -> FixedOffset {
        FixedOffset::east_opt(hours * 3600).unwrap()
    }

    fn local(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap()
    }

    impl TimeZone for Berlin {
        type Offset = FixedOffset;

        fn from_offset(_: &FixedOffset) -> Self {
            Self
        }

        fn offset_from_local_date(&self, date: &NaiveDate) -> MappedLocalTime<FixedOffset> {
            self.offset_from_local_datetime(&date.and_time(NaiveTime::MIN))
        }

        fn offset_from_local_datetime(&self, at: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
            let between = |from, to| (local(from)..local(to)).contains(at);
            if between("2025-03-30 02:00:00", "2025-03-30 03:00:00") {
                MappedLocalTime::None
            } else if between("2025-10-26 02:00:00", "2025-10-26 03:00:00") {
                MappedLocalTime::Ambiguous(hours(2), hours(1))
            } else if between("2025-03-30 03:00:00", "2025-10-26 02:00:00") {
                MappedLocalTime::Single(hours(2))
            } else {
                MappedLocalTime::Single(hours(1))
            }
        }

        fn offset_from_utc_date(&self, date: &NaiveDate) -> FixedOffset {
            self.offset_from_utc_datetime(&date.and_time(NaiveTime::MIN))
        }

        fn offset_from_utc_datetime(&self, at: &NaiveDateTime) -> FixedOffset {
            hours(if (local("2025-03-30 01:00:00")..local("2025-10-26 01:00:00")).contains(at) { 2 } else { 1 })
        }
    }

    /// The last moment that `text` means, as an id.
    fn moment(text: &str, tz: &impl TimeZone) -> String {
        moment_at(text, &id(NOW).time().with_timezone(tz))
    }

    fn moment_at(text: &str, now: &DateTime<impl TimeZone>) -> String {
        match Selector::parse(text, now).unwrap() {
            Selector::At { moment, text: kept } => {
                assert_eq!(kept, text.trim());
                BackupId::at(moment).to_string()
            }
            other => panic!("{text} is {other:?}"),
        }
    }

    /// Complete backups of those ids.
    fn store_of(ids: &[&str]) -> (Site, MemoryStore) {
        let (site, store) = (Site::new(), MemoryStore::new());
        for now in ids {
            site.backup(&store, now);
        }
        (site, store)
    }

    fn select(store: &MemoryStore, text: &str) -> Result<String> {
        let (catalog, ledger) = (Catalog::load(store)?, Ledger::load(store)?);
        let wanted = ["sessions_db", "config"].map(String::from);
        let selector = Selector::parse(text, &id(NOW).time())?;
        catalog.select(&selector, &wanted, &ledger).map(|selected| selected.entry.id.to_string())
    }

    fn edit(store: &MemoryStore, wanted: &str, edit: impl FnOnce(&mut Manifest)) {
        let mut manifest = Catalog::load(store).unwrap().get(id(wanted)).unwrap().read_manifest(store).unwrap();
        edit(&mut manifest);
        publish(store, &names::manifest(manifest.id), &manifest.to_json());
    }

    #[test]
    fn the_word_latest_and_the_beginnings_of_ids_are_told_apart_from_times() {
        let parse = |text| Selector::parse(text, &id(NOW).time()).unwrap();
        assert_eq!([parse("latest"), parse("  latest ")], [Selector::Latest, Selector::Latest]);
        for text in ["2", "2025", "20251210", "20251210_", "20251210_14", "20251210_140000"] {
            assert_eq!(parse(text), Selector::Prefix(text.into()));
        }
    }

    #[test]
    fn a_time_means_all_of_the_last_unit_that_it_names() {
        for (text, expected) in [
            ("2025-12-10 17:00:30", "20251210_160030"),
            ("2025-12-10 17:00", "20251210_160059"),
            ("2025-12-10T17:00", "20251210_160059"),
            ("2025-12-10T17:00:30", "20251210_160030"),
            (" 2025-12-10 17:00 ", "20251210_160059"),
            ("2025-12-10", "20251210_225959"),
            ("2025-07-01 12:00", "20250701_100059"),
            ("2025-12-10T17:00:00Z", "20251210_170000"),
            ("2025-12-10T17:00:00-05:00", "20251210_220000"),
        ] {
            assert_eq!(moment(text, &Berlin), expected, "{text}");
        }
        assert_eq!(moment("2025-12-10 17:00", &Utc), "20251210_170059");
        assert_eq!(moment("2025-12-10 17:00", &FixedOffset::west_opt(34_200).unwrap()), "20251211_023059");
    }

    #[test]
    fn an_hour_that_comes_twice_means_its_second_coming() {
        assert_eq!(moment("2025-10-26 02:30", &Berlin), "20251026_013059");
        assert_eq!(moment("2025-10-26 01:59:59", &Berlin), "20251025_235959");
        assert_eq!(moment("2025-10-26 03:00", &Berlin), "20251026_020059");
    }

    #[test]
    fn an_hour_that_the_clocks_skip_is_refused_with_that_reason() {
        let error = Selector::parse("2025-03-30 02:30", &id(NOW).time().with_timezone(&Berlin)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "there is no 2025-03-30 02:30 here: the clocks skipped it");
        assert_eq!(moment("2025-03-30 03:00", &Berlin), "20250330_010059");
    }

    #[test]
    fn what_is_neither_is_refused_and_named() {
        for text in [
            "",
            "  ",
            "tomorrow",
            "monday next",
            "ago",
            "2 ago",
            "-",
            "last",
            "last 2025-12-10",
            "yesterday yesterday",
            "next monday",
            "2 parsecs ago",
            "2025-13-01",
            "2025-02-30",
            "2025-12-10 25:00",
            "10.12.2025",
            "20251210-1400",
            "20251210_1400001",
            "2025-12-10 17",
            "Latest",
            "2025-12-10 17:00 CET",
            "../x",
        ] {
            let error = Selector::parse(text, &id(NOW).time()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
            assert_eq!(error.to_string(), format!("can't tell which backup {:?} means", text.trim()));
        }
    }

    #[test]
    fn a_time_selects_the_newest_backup_at_or_before_it_to_the_second() {
        let (_site, store) = store_of(&["20251208_140000", "20251209_140000", "20251210_140000"]);
        for (text, expected) in [
            ("2025-12-09 14:00:00", "20251209_140000"),
            ("2025-12-09 13:59:59", "20251208_140000"),
            ("2025-12-09 13:59", "20251208_140000"),
            ("2025-12-09 14:00", "20251209_140000"),
            ("2025-12-10 13:59:59", "20251209_140000"),
            ("2025-12-09", "20251209_140000"),
            ("2026-01-01", "20251210_140000"),
            ("2025-12-09T15:00:00+01:00", "20251209_140000"),
            ("2025-12-09T14:59:59+01:00", "20251208_140000"),
            ("latest", "20251210_140000"),
        ] {
            assert_eq!(select(&store, text).unwrap(), expected, "{text}");
        }
        let error = select(&store, "2025-12-08 13:59:59").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchBackup);
        assert_eq!(error.to_string(), "no backup at or before 2025-12-08 13:59:59 in memory");
        assert_eq!(error.hint(), Some("there are 20251208_140000 to 20251210_140000; `list` shows them all"));
    }

    #[test]
    fn a_prefix_selects_one_backup_or_lists_those_it_could_mean() {
        let (_site, store) = store_of(&["20251208_140000", "20251209_140000", "20251209_150000"]);
        assert_eq!(select(&store, "20251208").unwrap(), "20251208_140000");
        assert_eq!(select(&store, "20251209_15").unwrap(), "20251209_150000");
        assert_eq!(select(&store, "20251209_140000").unwrap(), "20251209_140000");
        let error = select(&store, "20251209").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AmbiguousId);
        assert_eq!(error.to_string(), "20251209 could be 2 backups: 20251209_140000, 20251209_150000");
        assert_eq!(select(&store, "2024").unwrap_err().to_string(), "no backup 2024 in memory");
        let error = Catalog::load(&store).unwrap().get(id("20251209_140001")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchBackup);
    }

    #[test]
    fn of_many_backups_that_a_prefix_could_mean_only_some_are_named() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let message = |count: usize| {
            site.backup(&store, &format!("20251209_14000{count}"));
            select(&store, "2025").unwrap_or_else(|error| error.to_string())
        };
        let messages: Vec<String> = (1..=7).map(message).collect();
        assert_eq!(
            messages[4],
            "2025 could be 5 backups: 20251209_140001, 20251209_140002, 20251209_140003, 20251209_140004, \
             20251209_140005"
        );
        assert_eq!(
            messages[6],
            "2025 could be 7 backups: 20251209_140001, …, 20251209_140004, 20251209_140005, 20251209_140006, \
             20251209_140007"
        );
    }

    #[test]
    fn an_empty_store_has_no_backup_whatever_is_asked_for() {
        let store = MemoryStore::new();
        for text in ["latest", "2", "2025-12-10"] {
            let error = select(&store, text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSuchBackup, "{text}");
            assert_eq!(error.advice(), Some(crate::error::Advice::MakeFirst));
        }
        let catalog = Catalog::load(&store).unwrap();
        assert!(catalog.newest().is_none());
        assert_eq!(catalog.require_any().unwrap_err().kind(), ErrorKind::NoSuchBackup);
    }

    const WEEK: [&str; 4] = ["20251208_140000", "20251209_140000", "20251210_140000", "20251211_140000"];

    fn note(store: &MemoryStore, command: Command, outcome: Outcome, of: &str) {
        let line = Line::new(id(NOW).time().fixed_offset(), command, outcome);
        append(store, &Line { id: Some(id(of)), ..line });
    }

    /// What is selected, and what was passed over for it.
    fn selected(store: &MemoryStore, text: &str, wanted: &[&str]) -> (String, Vec<(String, Objection)>) {
        let (catalog, ledger) = (Catalog::load(store).unwrap(), Ledger::load(store).unwrap());
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        let selector = Selector::parse(text, &id(NOW).time()).unwrap();
        let selected = catalog.select(&selector, &wanted, &ledger).unwrap();
        let skipped = selected.skipped.into_iter().map(|it| (it.id.to_string(), it.why)).collect();
        (selected.entry.id.to_string(), skipped)
    }

    /// Backups of the whole, and in place of the last one of the configuration alone.
    fn without_the_last_database() -> (Site, MemoryStore) {
        let (site, store) = store_of(&WEEK);
        store.remove("sessions_db_20251211_140000.db.zst").unwrap();
        edit(&store, WEEK[3], |manifest| drop(manifest.artifacts.remove(0)));
        (site, store)
    }

    #[test]
    fn latest_and_times_pass_over_what_holds_nothing_and_what_a_restore_kept() {
        let (_site, store) = store_of(&WEEK);
        edit(&store, "20251209_140000", |manifest| {
            manifest.status = Status::Partial;
            manifest.errors = vec![Failure { name: "config".into(), message: "no".into() }];
        });
        edit(&store, "20251210_140000", |manifest| {
            manifest.status = Status::Failed;
            manifest.artifacts.clear();
        });
        edit(&store, "20251211_140000", |manifest| manifest.trigger = Trigger::PreRestore);
        publish(&store, "manifest_20251212_140000.json", b"{\"format\": 1, no json");
        assert_eq!(select(&store, "latest").unwrap(), "20251208_140000");
        assert_eq!(select(&store, "2025-12-31").unwrap(), "20251208_140000");
        let (found, skipped) = selected(&store, "latest", &["sessions_db", "config"]);
        let lacks = Objection::Lacks { names: vec!["config".into()] };
        let expected = [("20251212_140000", Objection::Unreadable), (WEEK[2], Objection::Failed), (WEEK[1], lacks)];
        assert_eq!((found.as_str(), skipped), (WEEK[0], expected.map(|(id, why)| (id.to_string(), why)).to_vec()));
        assert_eq!(selected(&store, "latest", &["sessions_db"]).0, WEEK[1], "what failed was not asked for");
        for named in ["20251210", "20251211", "20251212"] {
            assert!(select(&store, named).unwrap().starts_with(named), "by its id anything is found");
        }
        let catalog = Catalog::load(&store).unwrap();
        let usable = |wanted: &str| catalog.get(id(wanted)).unwrap().require_usable().map_err(|error| error.kind());
        assert_eq!(usable("20251209_140000"), Ok(()));
        assert_eq!(usable("20251210_140000"), Err(ErrorKind::NoSuchBackup));
        assert_eq!(usable("20251212_140000"), Err(ErrorKind::BadManifest));
    }

    #[test]
    fn latest_holds_all_that_is_asked_for() {
        let (_site, store) = without_the_last_database();
        for (wanted, expected) in [
            (&["sessions_db", "config"][..], WEEK[2]),
            (&["sessions_db"], WEEK[2]),
            (&["config"], WEEK[3]),
            (&[], WEEK[3]),
        ] {
            assert_eq!(selected(&store, "latest", wanted).0, expected, "{wanted:?}");
            assert_eq!(selected(&store, "2025-12-11 23:00", wanted).0, expected, "{wanted:?}");
        }
        edit(&store, WEEK[3], |manifest| manifest.absent = vec!["sessions_db".into()]);
        assert_eq!(select(&store, "latest").unwrap(), WEEK[3], "there was none to be saved");
    }

    #[test]
    fn latest_and_times_pass_over_what_is_known_to_be_damaged_until_it_is_found_good() {
        let (_site, store) = store_of(&WEEK);
        note(&store, Command::Verify, Outcome::Failed, WEEK[3]);
        store.remove("config_20251210_140000.tar.zst").unwrap();
        let (found, skipped) = selected(&store, "latest", &["sessions_db", "config"]);
        assert_eq!(found, WEEK[1]);
        let lost = Objection::FileLost { file: "config_20251210_140000.tar.zst".into() };
        let expected = [(WEEK[3].to_string(), Objection::FoundDamaged), (WEEK[2].to_string(), lost)];
        assert_eq!(skipped, expected);
        assert_eq!(selected(&store, "2025-12-10 15:00", &["sessions_db", "config"]).1.len(), 1);
        assert_eq!(selected(&store, "latest", &["sessions_db"]).0, WEEK[2], "its database is whole");
        note(&store, Command::Drill, Outcome::Interrupted, WEEK[3]);
        assert_eq!(select(&store, "latest").unwrap(), WEEK[1], "that found nothing out");
        note(&store, Command::Verify, Outcome::Ok, WEEK[3]);
        assert_eq!(select(&store, "latest").unwrap(), WEEK[3]);
    }

    #[test]
    fn if_no_backup_holds_all_it_is_said_where_the_newest_of_each_is() {
        let (_site, store) = without_the_last_database();
        for day in &WEEK[..3] {
            store.remove(&format!("config_{day}.tar.zst")).unwrap();
        }
        let error = select(&store, "latest").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchBackup);
        assert_eq!(
            error.to_string(),
            "no sound backup in memory holds all of sessions_db, config; the newest of each: \
             sessions_db: 20251210_140000, config: 20251211_140000"
        );
        assert!(error.hint().unwrap().starts_with("any backup can be restored by its id, whole or in part"));
        let error = select(&store, "2025-12-09").unwrap_err();
        assert!(
            error.to_string().starts_with("no sound backup at or before 2025-12-09 in memory holds all"),
            "{error}"
        );
        assert!(error.to_string().ends_with("sessions_db: 20251209_140000, config: none"), "{error}");
    }

    #[test]
    fn if_only_what_a_restore_kept_holds_it_that_is_named() {
        let (_site, store) = store_of(&WEEK[..2]);
        edit(&store, WEEK[0], |manifest| manifest.trigger = Trigger::PreRestore);
        store.remove(&format!("sessions_db_{}.db.zst", WEEK[1])).unwrap();
        let error = |wanted: &[&str], text: &str| {
            let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            let selector = Selector::parse(text, &id(NOW).time()).unwrap();
            let (catalog, ledger) = (Catalog::load(&store).unwrap(), Ledger::load(&store).unwrap());
            catalog.select(&selector, &wanted, &ledger).unwrap_err().to_string()
        };
        let kept = format!("none but {}, which a restore kept", WEEK[0]);
        assert_eq!(
            error(&["sessions_db", "config"], "latest"),
            format!(
                "no sound backup in memory holds all of sessions_db, config; \
                 the newest of each: sessions_db: {kept}, config: {}",
                WEEK[1]
            )
        );
        assert_eq!(
            error(&["sessions_db"], "latest"),
            format!("no sound backup of sessions_db in memory but {}, which a restore kept", WEEK[0])
        );
        assert!(error(&["sessions_db", "config"], "2025-12-08").ends_with(&format!("{kept}, config: {kept}")));
        assert!(error(&["sessions_db"], "2025-12-07").starts_with("no backup at or before 2025-12-07"));
    }

    #[test]
    fn a_time_is_held_against_the_moment_at_which_a_backup_was_begun() {
        let (_site, store) = store_of(&WEEK);
        // The clock was four days ahead on the 8th; ids have run ahead since.
        let begun = |day: &str, at: &str| {
            edit(&store, day, |manifest| manifest.created_at = DateTime::parse_from_rfc3339(at).unwrap());
        };
        begun(WEEK[0], "2025-12-12T14:00:00.9Z");
        begun(WEEK[1], "2025-12-09T14:00:00.9Z");
        begun(WEEK[2], "2025-12-09T16:00:00Z");
        begun(WEEK[3], "2025-12-09T15:00:00Z");
        for (text, expected) in [
            ("2025-12-09 14:00:00", WEEK[1]),
            ("2025-12-09 15:30", WEEK[3]),
            ("2025-12-11", WEEK[2]),
            ("2025-12-12 14:00", WEEK[0]),
            ("latest", WEEK[3]),
        ] {
            assert_eq!(select(&store, text).unwrap(), expected, "{text}");
        }
        assert!(select(&store, "2025-12-09 13:59").is_err());
    }

    #[test]
    fn words_mean_a_time_in_the_past() {
        // A Wednesday; in Berlin it is 15:00.
        for (text, expected) in [
            ("now", "20251210_140000"),
            ("today", "20251210_225959"),
            ("yesterday", "20251209_225959"),
            ("Yesterday 17:00", "20251209_160059"),
            ("yesterday 17:00:30", "20251209_160030"),
            ("14:00", "20251210_130059"),
            ("monday", "20251208_225959"),
            ("Monday 10:00", "20251208_090059"),
            ("thu", "20251204_225959"),
            ("wednesday 10:00", "20251210_090059"),
            ("wednesday 16:00", "20251203_150059"),
            ("last wednesday", "20251203_225959"),
            ("last saturday 10:00", "20251206_090059"),
            ("1 hour ago", "20251210_130000"),
            ("2 hours ago", "20251210_120000"),
            ("90min ago", "20251210_123000"),
            ("-2h", "20251210_120000"),
            ("-1d 2h", "20251209_120000"),
            ("2 weeks ago", "20251126_140000"),
        ] {
            assert_eq!(moment(text, &Berlin), expected, "{text}");
        }
        // Through the night in which the clocks go back, an hour is an hour, and a day ends at midnight.
        let after = id("20251026_080000").time().with_timezone(&Berlin);
        assert_eq!(moment_at("10 hours ago", &after), "20251025_220000");
        assert_eq!(moment_at("yesterday", &after), "20251025_215959");
    }

    #[test]
    fn the_time_zone_of_these_tests_is_one() {
        let at = Berlin.from_utc_datetime(&local("2025-10-26 00:30:00"));
        assert_eq!((at.offset().fix(), at.naive_local()), (hours(2), local("2025-10-26 02:30:00")));
    }
}
