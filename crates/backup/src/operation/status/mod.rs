//! How things stand: one judgement of catalog and ledger, for each source and for the store. Pure.
//!
//! `status`, `list`, `doctor` and `drill` render it in words, JSON and exit codes. None of them has a judgement of its
//! own.

mod concern;
mod figures;
mod inputs;
mod judgement;
mod run;
mod source;

pub use concern::{Concern, Severity};
pub use inputs::{AtTime, LastLook, StatusInputs};
pub use judgement::{Status, status};
pub use run::RunEnd;
pub use source::{SourceState, SourceStatus};

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use chrono::{DateTime, FixedOffset, TimeDelta};

    use super::*;
    use crate::catalog::Catalog;
    use crate::catalog::select::Objection;
    use crate::record::id::BackupId;
    use crate::record::ledger::{Command, Ledger, Line, Outcome};
    use crate::record::manifest::{Collapse, Failure, Manifest, Status as BackupStatus, Trigger};
    use crate::record::names;
    use crate::record::soundness::Depth;
    use crate::source::{DatabaseSource, FilesSource, Sources};
    use crate::store::{MemoryStore, Store as _};
    use crate::testing::fixtures::{append, id, publish};

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
            let sample = String::from_utf8(include_bytes!("../../../tests/data/manifest_v1.json").to_vec()).unwrap();
            let mut manifest: Manifest =
                serde_json::from_str(&sample.replace("20261124_034135", &id.to_string())).unwrap();
            manifest.created_at = id.time().fixed_offset();
            manifest.status = if has("partial") { BackupStatus::Partial } else { BackupStatus::Complete };
            if has("partial") {
                manifest.errors = vec![Failure { name: "sessions_db".into(), message: "no".into() }];
            }
            if has("collapsed") {
                let (name, table) = ("sessions_db".into(), Some("sessions".into()));
                manifest.collapses = vec![Collapse { name, since: id, table, was: 20_000, now: 12 }];
            }
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

    fn sources(databases: &[&str], files: &[&str]) -> Sources {
        let path = crate::record::relpath::RelPath::new("x").unwrap();
        let database = |name: &&str| DatabaseSource {
            name: (*name).into(),
            path: path.clone(),
            snapshot: crate::record::manifest::Snapshot::Vacuum,
            probes: Vec::new(),
        };
        let files = files.iter().map(|name| FilesSource { name: (*name).into(), paths: vec![path.clone()] });
        Sources { databases: databases.iter().map(database).collect(), files: files.collect() }
    }

    fn status_of(backups: &[&str]) -> Status {
        status_with(&store_of(backups), Some(1000))
    }

    fn status_with(store: &MemoryStore, free: Option<u64>) -> Status {
        judge(store, &sources(&["sessions_db"], &[]), free, None)
    }

    fn judge(
        store: &MemoryStore,
        sources: &Sources,
        free_bytes: Option<u64>,
        locked_since: Option<DateTime<FixedOffset>>,
    ) -> Status {
        judge_of(&Catalog::load(store).unwrap(), store, sources, free_bytes, locked_since)
    }

    fn judge_of(
        catalog: &Catalog,
        store: &MemoryStore,
        sources: &Sources,
        free_bytes: Option<u64>,
        locked_since: Option<DateTime<FixedOffset>>,
    ) -> Status {
        let ledger = &Ledger::load(store).unwrap();
        status(&StatusInputs { free_bytes, locked_since, ..inputs(catalog, ledger, sources) })
    }

    fn inputs<'a>(catalog: &'a Catalog, ledger: &'a Ledger, sources: &'a Sources) -> StatusInputs<'a> {
        StatusInputs {
            catalog,
            ledger,
            sources,
            root: Path::new("/p"),
            now: now(),
            max_age: Duration::from_secs(26 * 3600),
            last_look: None,
            max_drill_age: Duration::from_secs(15 * DAY),
            free_bytes: None,
            locked_since: None,
        }
    }

    #[test]
    fn nothing_is_known_of_an_empty_store() {
        let status = status_of(&[]);
        let nothing = Status {
            verdict: Severity::Failure,
            concerns: vec![Concern::NoBackup, Concern::NeverDrilled],
            fresh: false,
            max_age_s: 26 * 3600,
            sources: vec![SourceStatus {
                name: "sessions_db".into(),
                state: SourceState::NeverSaved,
                id: None,
                at: None,
                saved_at: None,
                age_s: None,
                verified: None,
                drilled: None,
            }],
            last_verify: None,
            last_drill: None,
            last: None,
            last_success: None,
            last_proved: None,
            backups: 0,
            stored_bytes: 0,
            newest_bytes: None,
            growth_bytes_per_day: None,
            free_bytes: Some(1000),
            needed_bytes: None,
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
    }

    #[test]
    fn the_last_run_is_the_newest_that_no_restore_made() {
        let status = status_of(&["5 1000", "3 1000 failed", "1 1000 pre-restore"]);
        let last = status.last.unwrap();
        assert_eq!((last.what, last.age_s), (RunEnd::Failed, 3 * 3600));
        let success = status.last_success.unwrap();
        assert_eq!((success.what, success.age_s), (BackupStatus::Complete, 5 * 3600));
    }

    #[test]
    fn a_collapse_is_a_warning_until_it_is_accepted() {
        let store = store_of(&["9 1000", "5 10 collapsed", "1 10"]);
        let shown = || {
            let concerns = status_with(&store, None).concerns.into_iter();
            concerns.filter(|it| matches!(it, Concern::Collapsed { .. })).collect::<Vec<_>>()
        };
        let [concern] = &shown()[..] else { panic!("one collapse: {:?}", shown()) };
        let Concern::Collapsed { id, collapse } = concern else { unreachable!() };
        assert_eq!((concern.severity(), collapse.was, collapse.now), (Severity::Warning, 20_000, 12));
        append(&store, &Line { id: Some(*id), ..Line::new(now(), Command::Accept, Outcome::Ok) });
        assert_eq!(shown(), []);
    }

    #[test]
    fn sizes_are_of_what_is_stored() {
        let store = store_of(&["49 1000", "25 2000", "1 3000 partial"]);
        publish(&store, "sessions_db_20240101_000000.db.gz", &[0; 7]);
        let status = status_with(&store, Some(3000));
        assert_eq!((status.backups, status.stored_bytes, status.newest_bytes), (4, 607, Some(200)));
        assert_eq!((status.free_bytes, status.more_backups_fit), (Some(3000), Some(5)));
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
    fn what_was_looked_at_and_had_not_changed_is_as_young_as_the_look() {
        let store = store_of(&["60 1000", "30 1000"]);
        let (catalog, ledger) = (Catalog::load(&store).unwrap(), Ledger::load(&store).unwrap());
        let sources = sources(&["sessions_db"], &[]);
        let of = |point, hours| {
            let last_look = Some(LastLook { point, at: now() - TimeDelta::hours(hours) });
            let status = status(&StatusInputs { last_look, ..inputs(&catalog, &ledger, &sources) });
            (status.fresh, status.sources[0].age_s, status.rpo_s)
        };
        let [older, newest] = [catalog.entries()[0].id, catalog.entries()[1].id];
        assert_eq!(of(newest, 2), (true, Some(2 * 3600), Some(30 * 3600)));
        assert_eq!(of(newest, 40), (false, Some(30 * 3600), Some(30 * 3600)), "it was begun later");
        assert_eq!(of(older, 2), (false, Some(30 * 3600), Some(30 * 3600)), "a newer one is there");
        assert_eq!(of(newest, -2), (false, Some(30 * 3600), Some(30 * 3600)), "nobody has looked in the future");
    }

    #[test]
    fn the_recovery_time_is_that_of_the_last_drill_or_restore_that_went_well() {
        let store = store_of(&["1 1000"]);
        let rto = || status_with(&store, None).rto_ms;
        let add = |minutes, command, outcome, duration_ms| {
            let at = now() - chrono::TimeDelta::minutes(minutes);
            append(&store, &Line { duration_ms, ..Line::new(at, command, outcome) });
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

    fn add(store: &MemoryStore, minutes: i64, command: Command, outcome: Outcome, id: Option<&str>) {
        let at = now() - TimeDelta::minutes(minutes);
        let id = id.map(|id| id.parse().unwrap());
        let restore = (command == Command::Restore).then(|| crate::record::ledger::RestoreLine {
            target: "/p".into(),
            selection: None,
            kept: None,
            unkept: false,
            written: vec![],
            moved_aside: vec![],
        });
        append(store, &Line { id, restore, ..Line::new(at, command, outcome) });
    }

    /// How each source stands, with the hours since its newest copy.
    fn states(status: &Status) -> Vec<(SourceState, Option<u64>)> {
        status.sources.iter().map(|source| (source.state, source.age_s.map(|age| age / 3600))).collect()
    }

    #[test]
    fn each_source_is_judged_by_its_own_newest_copy() {
        use SourceState::{Fresh, NeverSaved, OnlyBad, TooOld};
        let both = sources(&["sessions_db"], &["config"]);
        let of = |backups: &[&str]| judge(&store_of(backups), &both, None, None);
        assert_eq!(states(&of(&["2 50 config"])), [(NeverSaved, None), (Fresh, Some(2))]);
        assert_eq!(states(&of(&["2 50"])), [(Fresh, Some(2)), (NeverSaved, None)]);
        assert_eq!(states(&of(&["30 50", "2 50 config"])), [(TooOld, Some(30)), (Fresh, Some(2))]);
        assert_eq!(states(&of(&["3 50 partial", "2 50 config"])), [(OnlyBad, Some(3)), (Fresh, Some(2))]);
        assert_eq!(states(&of(&["30 50", "3 50 partial"]))[0], (TooOld, Some(30)), "a bad copy stands for nothing");
        // The database of a run in which another source failed is a copy like any other.
        assert_eq!(states(&of(&["3 50 config partial"]))[1], (Fresh, Some(3)));
        let config_only = of(&["2 50 config"]);
        assert_eq!(
            (config_only.fresh, config_only.verdict, config_only.last_success),
            (false, Severity::Failure, None)
        );
        let other = judge(&store_of(&["2 50"]), &sources(&["another"], &[]), None, None);
        assert_eq!((states(&other), other.fresh), (vec![(NeverSaved, None)], false));
    }

    #[test]
    fn a_set_of_which_no_file_was_there_is_none_that_was_never_saved() {
        let store = store_of(&["2 50"]);
        let mut manifest = Catalog::load(&store).unwrap().entries()[0].read_manifest(&store).unwrap();
        manifest.absent = vec!["config".into()];
        publish(&store, &names::manifest(manifest.id), &manifest.to_json());
        assert!(judge(&store, &sources(&["sessions_db"], &["config"]), None, None).fresh);
    }

    #[test]
    fn what_is_dated_in_the_future_is_never_fresh() {
        let status = status_of(&["-5 1000"]);
        assert_eq!((status.fresh, states(&status)), (false, vec![(SourceState::Future, Some(0))]));
        let ahead = Concern::Ahead { id: id("20251210_190000"), ahead_s: 5 * 3600 };
        assert!(status.concerns.contains(&ahead), "{:?}", status.concerns);
        assert_eq!((status.last_success, status.rpo_s), (None, None));
        let older = status_of(&["27 1000", "-5 1000"]);
        assert_eq!((older.fresh, states(&older)), (false, vec![(SourceState::TooOld, Some(27))]));
        assert!(older.concerns.contains(&ahead));
        let younger = status_of(&["2 1000", "-5 1000"]);
        assert_eq!((younger.fresh, younger.verdict), (true, Severity::Failure), "the clock is wrong, or was");
        for (seconds, fresh) in [(60, true), (61, false)] {
            let store = store_of(&["0 1000"]);
            let mut manifest = Catalog::load(&store).unwrap().entries()[0].read_manifest(&store).unwrap();
            manifest.created_at += TimeDelta::seconds(seconds);
            publish(&store, &names::manifest(manifest.id), &manifest.to_json());
            assert_eq!(status_with(&store, None).fresh, fresh, "{seconds} s ahead");
        }
    }

    #[test]
    fn ids_that_run_ahead_after_a_clock_jump_are_no_concern() {
        let store = store_of(&["0 1000"]);
        let mut manifest = Catalog::load(&store).unwrap().entries()[0].read_manifest(&store).unwrap();
        manifest.created_at = now();
        let file = manifest.artifacts[0].file.clone();
        let json = String::from_utf8(manifest.to_json()).unwrap().replace("20251210_140000", "20301210_140000");
        publish(&store, &file.replace("20251210_140000", "20301210_140000"), &[0; 100]);
        publish(&store, &names::manifest(id("20301210_140000")), json.as_bytes());
        let status = status_with(&store, None);
        assert_eq!((status.fresh, status.last_success.unwrap().id), (true, Some(id("20301210_140000"))));
        assert_eq!(status.concerns, [Concern::NeverDrilled]);
    }

    #[test]
    fn the_last_run_is_told_however_it_ended() {
        let outcomes = [
            (Outcome::Begun, RunEnd::Killed),
            (Outcome::Interrupted, RunEnd::Interrupted),
            (Outcome::Failed, RunEnd::Failed),
        ];
        for (outcome, end) in outcomes {
            let store = store_of(&["5 1000"]);
            add(&store, 60, Command::Backup, Outcome::Begun, None);
            if outcome != Outcome::Begun {
                add(&store, 60, Command::Backup, outcome, None);
            }
            let status = status_with(&store, None);
            assert_eq!(status.last.as_ref().unwrap().what, end);
            let concern = Concern::LastRun { end, at: now() - TimeDelta::hours(1) };
            assert!(status.concerns.contains(&concern), "{:?}", status.concerns);
            assert!(status.fresh, "what there is is young enough");
        }
        let partial = status_of(&["5 1000", "1 1000 partial"]);
        let is_partial = |concern: &Concern| matches!(concern, Concern::LastRun { end: RunEnd::Partial, .. });
        assert!(partial.concerns.iter().any(is_partial), "{partial:?}");
    }

    #[test]
    fn a_run_that_holds_the_lock_goes_on_and_another_one_does_not_hide_that_it_was_killed() {
        let store = store_of(&["5 1000"]);
        add(&store, 60, Command::Backup, Outcome::Begun, None);
        let (begun, later) = (now() - TimeDelta::hours(1), now());
        for (since, end) in [(Some(begun), RunEnd::Running), (Some(later), RunEnd::Killed), (None, RunEnd::Killed)] {
            let status = judge(&store, &sources(&["sessions_db"], &[]), None, since);
            assert_eq!(status.last.unwrap().what, end, "locked since {since:?}");
        }
    }

    #[test]
    fn a_run_that_was_killed_after_its_backup_was_published_is_what_it_left() {
        let store = store_of(&["1 1000"]);
        add(&store, 60, Command::Backup, Outcome::Begun, None);
        assert_eq!(status_with(&store, None).last.unwrap().what, RunEnd::Complete);
        // And one that the ledger couldn't be told of is known by its manifest.
        add(&store, 90, Command::Backup, Outcome::Failed, None);
        assert_eq!(status_with(&store, None).last.unwrap().what, RunEnd::Complete);
    }

    #[test]
    fn verify_and_drill_are_two_facts_of_each_source() {
        let store = store_of(&["3 1000", "2 1000 config", "1 1000"]);
        let both = sources(&["sessions_db"], &["config"]);
        let (database, config) = (Some("20251210_110000"), Some("20251210_120000"));
        add(&store, 50, Command::Verify, Outcome::Ok, database);
        add(&store, 40, Command::Verify, Outcome::Ok, config);
        add(&store, 30, Command::Drill, Outcome::Partial, config);
        add(&store, 20, Command::Verify, Outcome::Failed, Some("20251210_130000"));
        let status = judge(&store, &both, None, None);
        let ago = |at: Option<DateTime<FixedOffset>>| at.map(|at| (now() - at).num_minutes());
        let facts: Vec<_> = status.sources.iter().map(|it| (ago(it.verified), ago(it.drilled))).collect();
        assert_eq!(facts, [(Some(50), None), (Some(40), Some(30))]);
        assert_eq!(status.last_verify.unwrap().what, Outcome::Failed);
        assert_eq!(status.last_drill.unwrap().what, Outcome::Partial);
        assert!(status.concerns.iter().any(|it| matches!(it, Concern::Drill { outcome: Outcome::Partial, .. })));
    }

    #[test]
    fn a_drill_whose_backup_is_gone_counts_for_what_the_ledger_says_that_it_proved() {
        let store = store_of(&["1 1000"]);
        let drilled = || {
            let status = judge(&store, &sources(&["sessions_db"], &["config"]), None, None);
            let ago = |source: &SourceStatus| source.drilled.map(|at| (now() - at).num_minutes());
            status.sources.iter().map(ago).collect::<Vec<_>>()
        };
        // As older versions wrote it.
        add(&store, 20, Command::Drill, Outcome::Ok, Some("20200101_000000"));
        assert_eq!(drilled(), [None, None]);
        let line = Line::new(now() - TimeDelta::minutes(10), Command::Drill, Outcome::Ok);
        let line = Line { id: Some(id("20200101_000000")), proved: vec!["sessions_db".into()], ..line };
        append(&store, &line);
        assert_eq!(drilled(), [Some(10), None]);
    }

    #[test]
    fn what_a_drill_left_out_it_has_not_proved_though_its_backup_holds_it() {
        let store = store_of(&["1 1000"]);
        let line = Line::new(now() - TimeDelta::minutes(10), Command::Drill, Outcome::Partial);
        let line = Line { id: Some(id("20251210_130000")), proved: vec!["config".into()], ..line };
        append(&store, &line);
        let status = judge(&store, &sources(&["sessions_db"], &[]), None, None);
        assert_eq!(status.sources[0].drilled, None);
    }

    #[test]
    fn a_proof_of_what_is_another_projects_counts_for_nothing() {
        let store = store_of(&["1 1000"]);
        for command in [Command::Verify, Command::Drill] {
            let line = Line::new(now() - TimeDelta::minutes(10), command, Outcome::Ok);
            append(&store, &Line { id: Some(id("20251210_130000")), proved: vec!["sessions_db".into()], ..line });
        }
        let catalog = Catalog::load(&store).unwrap().of("another", None);
        let status = judge_of(&catalog, &store, &sources(&["sessions_db"], &[]), None, None);
        let source = &status.sources[0];
        assert_eq!((source.verified, source.drilled, status.last_proved, status.last_drill), (None, None, None, None));
    }

    #[test]
    fn stored_bytes_that_were_read_are_no_verified_copy() {
        let store = store_of(&["1 1000"]);
        for depth in [None, Some(Depth::Stored)] {
            let at = now() - TimeDelta::minutes(if depth.is_none() { 50 } else { 10 });
            let line = Line::new(at, Command::Verify, Outcome::Ok);
            append(&store, &Line { id: Some(id("20251210_130000")), depth, ..line });
        }
        let status = judge(&store, &sources(&["sessions_db"], &[]), None, None);
        let age = |at: chrono::DateTime<chrono::FixedOffset>| (now() - at).num_minutes();
        assert_eq!((status.sources[0].verified.map(age), status.last_proved.unwrap().age_s), (Some(50), 50 * 60));
    }

    #[test]
    fn the_last_verify_is_told_by_the_worst_that_it_found() {
        let store = store_of(&["3 1000", "2 1000", "1 1000"]);
        let ids = ["20251210_110000", "20251210_120000", "20251210_130000"];
        for (id, outcome) in ids.into_iter().zip([Outcome::Failed, Outcome::Failed, Outcome::Ok]) {
            add(&store, 20, Command::Verify, Outcome::Begun, None);
            add(&store, 20, Command::Verify, outcome, Some(id));
        }
        let found = |store: &MemoryStore| {
            let status = status_with(store, None);
            let is_verify = |concern: &Concern| matches!(concern, Concern::Verify { .. });
            (status.last_verify.map(|it| (it.what, it.id)), status.concerns.into_iter().find(is_verify))
        };
        let damaged = |at: usize| Concern::Verify { outcome: Outcome::Failed, id: Some(id(ids[at])), age_s: 1200 };
        let failed = |at: usize| Some((Outcome::Failed, Some(id(ids[at]))));
        assert_eq!(found(&store), (failed(1), Some(damaged(1))));
        store.remove(&names::manifest(id(ids[1]))).unwrap();
        store.remove(&format!("sessions_db_{}.db.gz", ids[1])).unwrap();
        assert_eq!(found(&store), (failed(0), Some(damaged(0))));
        add(&store, 15, Command::Drill, Outcome::Ok, Some(ids[0]));
        assert_eq!(found(&store).1, None, "a drill has found it good since");
        add(&store, 10, Command::Verify, Outcome::Begun, None);
        let killed = Concern::Verify { outcome: Outcome::Begun, id: None, age_s: 600 };
        assert_eq!(found(&store), (Some((Outcome::Begun, None)), Some(killed)));
        let goes_on = judge(&store, &sources(&["sessions_db"], &[]), None, Some(now() - TimeDelta::minutes(10)));
        assert!(!goes_on.concerns.iter().any(|it| matches!(it, Concern::Verify { .. })), "{goes_on:?}");
    }

    #[test]
    fn a_drill_that_failed_is_a_failure_and_one_that_could_not_be_made_a_warning() {
        let drilled = |outcome, id: Option<&str>| {
            let store = store_of(&["2 1000", "1 1000"]);
            add(&store, 10, Command::Drill, outcome, id);
            status_with(&store, None).verdict
        };
        let made = Some("20251210_120000");
        assert_eq!(drilled(Outcome::Ok, made), Severity::Ok);
        assert_eq!(drilled(Outcome::Failed, made), Severity::Failure);
        for outcome in [Outcome::Failed, Outcome::Interrupted, Outcome::Begun] {
            assert_eq!(drilled(outcome, None), Severity::Warning, "{outcome:?}");
        }
        let store = store_of(&["1 1000"]);
        add(&store, 16 * 24 * 60, Command::Drill, Outcome::Ok, made);
        assert_eq!(status_with(&store, None).concerns, [Concern::DrillTooOld { age_s: 16 * DAY }]);
    }

    #[test]
    fn a_restore_that_did_not_finish_and_a_full_disk_are_failures() {
        let store = store_of(&["1 1000"]);
        add(&store, 30, Command::Drill, Outcome::Ok, None);
        assert_eq!(status_with(&store, Some(1200)).verdict, Severity::Ok);
        let needed = Concern::NoRoom { free_bytes: 1199, needed_bytes: 1200 };
        assert_eq!(status_with(&store, Some(1199)).concerns, [needed]);
        add(&store, 20, Command::Restore, Outcome::Begun, Some("20251210_130000"));
        let status = status_with(&store, None);
        assert!(matches!(status.concerns[..], [Concern::UnfinishedRestore { .. }]), "{status:?}");
        let goes_on = Some(now() - TimeDelta::minutes(20));
        assert_eq!(judge(&store, &sources(&["sessions_db"], &[]), None, goes_on).concerns, []);
    }

    #[test]
    fn the_newest_backup_is_a_concern_if_it_cannot_be_used() {
        let store = store_of(&["2 1000", "1 1000"]);
        add(&store, 20, Command::Verify, Outcome::Failed, Some("20251210_130000"));
        let status = status_with(&store, None);
        let concern = Concern::NewestUnfit { id: id("20251210_130000"), why: Objection::FoundDamaged };
        assert!(status.concerns.contains(&concern), "{status:?}");
        assert_eq!((status.fresh, status.last_success.unwrap().id), (true, Some(id("20251210_120000"))));
        publish(&store, "manifest_20251210_133000.json", b"{\"format\": 1, cut sh");
        let concern = Concern::NewestUnfit { id: id("20251210_133000"), why: Objection::Unreadable };
        assert!(status_with(&store, None).concerns.contains(&concern));
    }
}
