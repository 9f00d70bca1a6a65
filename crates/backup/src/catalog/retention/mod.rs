//! Retention: what a policy keeps of a catalog, entry by entry with the reason.
//!
//! Deleting backups can't be undone, and it runs unattended, on a clock that may be wrong. So it is planned by a pure
//! function, which is safe for three reasons:
//!
//! 1. Rules only *keep*; what no rule keeps is removed. So another rule, or a larger number, keeps no less, with two
//!    exceptions: a larger `keep_days` can end the state of point 4, in which nothing is removed; and a `keep_days` below
//!    the default window shortens that window.
//! 2. Some entries are kept whatever the policy and their age: pinned backups, the newest copies of each database, file set
//!    and configuration file, backups of another project or host, and everything that this program doesn't understand.
//!    Backups from before a collapse are kept for a number of days that no other rule shortens.
//! 3. What is kept keeps the older backups that it is an increment on. Increments have a rule of their own, by the age of the
//!    newest of their chain, and no count rule counts them; but the newest copy of something can be an increment.
//! 4. If even the newest complete backup is older than the window, backups have stopped or the clock jumped ahead. Then age
//!    says nothing about what can be removed, so nothing is: [`Staleness`]. Entries dated in the future are kept and take
//!    part in no rule, so after a clock went back they can't stand for others.

mod age;
mod candidate;
mod chains;
mod count;
mod gap;
mod last_copies;
mod merging;
mod plan;
mod policy;
mod reason;
mod staleness;

pub use candidate::{Candidate, Standing};
pub(crate) use gap::gap_in_window;
pub use merging::Merge;
pub use plan::{Decision, Plan, plan};
pub use policy::Policy;
pub use reason::{Class, Reason};
pub use staleness::Staleness;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use chrono::{DateTime, TimeDelta, Utc};
    use proptest::prelude::*;

    use super::policy::DEFAULT_WINDOW;
    use super::*;
    use crate::error::ErrorKind;
    use crate::record::id::BackupId;
    use crate::record::manifest::{Collapse, Trigger};

    /// A Wednesday, in ISO week 50.
    const NOW: &str = "20251210_140000";
    const NO_RULE: Policy = Policy {
        keep_days: None,
        keep_last: 0,
        keep_daily: 0,
        keep_weekly: 0,
        keep_monthly: 0,
        keep_yearly: 0,
        keep_before_collapse: 30,
        every_minute_for: TimeDelta::days(1),
        every_hour_for: TimeDelta::days(7),
    };

    impl Candidate {
        fn holds(&self, name: &str) -> bool {
            self.holds.iter().any(|held| held == name)
        }
    }

    fn at(id: &str) -> DateTime<Utc> {
        id.parse::<BackupId>().unwrap().time()
    }

    fn days(days: u32) -> Policy {
        Policy { keep_days: Some(days), ..NO_RULE }
    }

    /// `ID [WORD…] [NAME…]`: complete and of the timer unless a word says otherwise; the names are what it holds, those
    /// with a `.` are configuration files, and `NAME<ID` is a collapse since another backup. An increment, `on:ID`, can be
    /// merged unless it is `whole`.
    fn candidate(text: &str) -> Candidate {
        let (id, words) = text.split_once(' ').unwrap();
        let id: BackupId = id.parse().unwrap();
        let (mut standing, mut trigger) = (Standing::Complete, Trigger::Timer);
        let (mut parent, mut pinned, mut accepted, mut holds, mut paths, mut collapses) = Default::default();
        let mut is_whole = false;
        for word in words.split_whitespace() {
            match word {
                "partial" => standing = Standing::Partial,
                "failed" => standing = Standing::Failed,
                "no-manifest" => standing = Standing::NoManifest,
                "unreadable" => standing = Standing::Unreadable,
                "pre-restore" => trigger = Trigger::PreRestore,
                "pinned" => pinned = true,
                "accepted" => accepted = true,
                "whole" => is_whole = true,
                word if word.starts_with("on:") => parent = Some(word[3..].parse().unwrap()),
                "another" => standing = Standing::AnotherProject,
                "host" => standing = Standing::AnotherHost,
                collapse if collapse.contains('<') => Vec::push(&mut collapses, collapse_of(collapse)),
                path if path.contains('.') => Vec::push(&mut paths, path.to_owned()),
                name => Vec::push(&mut holds, name.to_owned()),
            }
        }
        let can_merge = parent.is_some() && !is_whole;
        let at = id.time();
        Candidate { id, parent, at, standing, trigger, pinned, holds, paths, collapses, accepted, can_merge }
    }

    fn collapse_of(text: &str) -> Collapse {
        let (name, since) = text.split_once('<').unwrap();
        let (name, since) = (name.into(), since.parse().unwrap());
        Collapse { name, since, table: Some("sessions".into()), was: 20_000, now: 12 }
    }

    fn plan_of(policy: Policy, candidates: &[&str]) -> Plan {
        let candidates: Vec<_> = candidates.iter().map(|text| candidate(text)).collect();
        plan(&candidates, &policy, at(NOW)).unwrap()
    }

    /// Rows, newest first, of a candidate and what becomes of it: `+` kept or `-` removed, and the reasons.
    #[track_caller]
    fn check(policy: Policy, rows: &[(&str, &str)]) {
        let plan = plan_of(policy, &rows.iter().map(|(candidate, _)| *candidate).collect::<Vec<_>>());
        let found: Vec<_> =
            rows.iter().zip(&plan.decisions).map(|((text, _), decision)| (*text, show(decision))).collect();
        let wanted: Vec<_> = rows.iter().map(|(text, outcome)| (*text, (*outcome).to_owned())).collect();
        assert_eq!(found, wanted);
    }

    fn show(decision: &Decision) -> String {
        let reasons: Vec<_> = decision.reasons.iter().map(ToString::to_string).collect();
        format!("{} {}", if decision.keep { '+' } else { '-' }, reasons.join(", "))
    }

    #[test]
    fn a_policy_without_a_rule_is_refused() {
        let error = plan(&[], &NO_RULE, at(NOW)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "the retention policy has no rule: it would keep nothing");
        let hint = "set keep_days, or one of keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly";
        assert_eq!(error.hint(), Some(hint));
    }

    #[test]
    fn zero_days_are_a_rule_and_so_is_any_count() {
        assert!(days(0).validate().is_ok());
        assert!(Policy { keep_yearly: 1, ..NO_RULE }.validate().is_ok());
        assert!(Policy::default().validate().is_ok());
    }

    #[test]
    fn an_absurd_number_is_refused_by_the_name_of_its_setting() {
        let too_many = 36_501;
        for (setting, policy) in [
            ("keep_days", days(too_many)),
            ("keep_last", Policy { keep_last: too_many, ..days(7) }),
            ("keep_daily", Policy { keep_daily: too_many, ..days(7) }),
            ("keep_weekly", Policy { keep_weekly: too_many, ..days(7) }),
            ("keep_monthly", Policy { keep_monthly: too_many, ..days(7) }),
            ("keep_yearly", Policy { keep_yearly: too_many, ..days(7) }),
        ] {
            let error = policy.validate().unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string()),
                (ErrorKind::InvalidInput, format!("{setting} is too large: 36501"))
            );
        }
        assert!(days(36_500).validate().is_ok());
    }

    #[test]
    fn keep_days_keeps_to_the_second() {
        check(
            days(7),
            &[
                ("20251210_130000 db", "+ within 7 days, newest complete backup, newest with db"),
                ("20251205_140000 partial db", "+ within 7 days"),
                ("20251203_140000 db", "+ within 7 days"),
                ("20251203_135959 db", "- older than 7 days"),
                ("20251203_135958 partial db", "- older than 7 days"),
            ],
        );
    }

    #[test]
    fn zero_days_leave_the_newest_alone() {
        check(
            days(0),
            &[
                ("20251210_140000 db", "+ newest complete backup, newest with db"),
                ("20251210_135959 db", "- no rule keeps it"),
                ("20251210_135958 partial db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn keep_last_counts_backups() {
        check(
            Policy { keep_last: 2, ..NO_RULE },
            &[
                ("20251210_130000 db", "+ last 2, newest complete backup, newest with db"),
                ("20251210_120000 db", "+ last 2"),
                ("20251210_110000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn keep_daily_keeps_the_newest_of_each_day_that_has_one() {
        check(
            Policy { keep_daily: 2, ..NO_RULE },
            &[
                ("20251210_000000 db", "+ daily 2025-12-10, newest complete backup, newest with db"),
                ("20251207_235959 db", "+ daily 2025-12-07"),
                ("20251207_000000 db", "- no rule keeps it"),
                ("20251206_120000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn keep_weekly_counts_iso_weeks_across_the_year() {
        check(
            Policy { keep_weekly: 3, ..NO_RULE },
            &[
                ("20250105_120000 db", "+ weekly 2025-W01, newest complete backup, newest with db"),
                ("20241230_000000 db", "- no rule keeps it"), // a Monday: the first day of 2025-W01
                ("20241229_235959 db", "+ weekly 2024-W52"),
                ("20210103_120000 db", "+ weekly 2020-W53"),
                ("20201228_120000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn keep_monthly_and_keep_yearly_follow_the_calendar() {
        check(
            Policy { keep_monthly: 3, keep_yearly: 2, ..NO_RULE },
            &[
                ("20251201_000000 db", "+ monthly 2025-12, yearly 2025, newest complete backup, newest with db"),
                ("20251130_235959 db", "+ monthly 2025-11"),
                ("20251101_000000 db", "- no rule keeps it"),
                ("20241231_235959 db", "+ monthly 2024-12, yearly 2024"),
                ("20231231_235959 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn rules_add_up_and_each_is_named() {
        check(
            Policy { keep_last: 1, keep_daily: 1, keep_weekly: 1, keep_monthly: 1, keep_yearly: 1, ..days(1) },
            &[
                (
                    "20251210_130000 db",
                    "+ within 1 day, last 1, daily 2025-12-10, weekly 2025-W50, monthly 2025-12, yearly 2025, \
                     newest complete backup, newest with db",
                ),
                ("20251209_120000 db", "- no rule keeps it"),
                ("20251209_110000 partial db", "- older than 1 day"),
            ],
        );
    }

    /// Checks increments on a full backup of the day before at 12:00, the newest of which is new.
    #[track_caller]
    fn check_chain(rows: &[(&str, &str)]) {
        let newest = rows[0].0.split(' ').next().unwrap();
        let base = format!("+ within 7 days, needed by {newest}");
        check(days(7), &[rows, &[("20251209_120000 db", &base)]].concat());
    }

    const NEWEST: &str = "+ increment, within 7 days, newest complete backup, newest with db";

    #[test]
    fn increments_of_an_hour_become_one_a_day_after_it() {
        check_chain(&[
            ("20251209_130200 on:20251209_130000 db", NEWEST),
            ("20251209_130000 on:20251209_125959 db", "+ hourly, for 7 days, needed by 20251209_130200"),
            ("20251209_125959 on:20251209_125500 db", "+ hourly, for 7 days, needed by 20251209_130200"),
            ("20251209_125500 on:20251209_120100 db", "- merged into 20251209_125959"),
            ("20251209_120100 on:20251209_120000 db", "- merged into 20251209_125959"),
        ]);
    }

    #[test]
    fn an_hour_is_merged_once_its_last_minute_is_no_longer_kept() {
        let chain = [
            "20251209_130400 on:20251209_130300 db",
            "20251209_130300 on:20251209_130200 db",
            "20251209_130200 on:20251209_120000 db",
            "20251209_120000 db",
        ];
        let candidates = chain.map(candidate);
        let merges = |now| plan(&candidates, &days(7), at(now)).unwrap().merges;
        let parts = ["20251209_130200", "20251209_130300"].map(|id| id.parse().unwrap());
        assert_eq!(merges("20251210_135959"), []);
        assert_eq!(merges("20251210_140000"), [Merge { into: parts[1], parts: parts.to_vec() }]);
        assert_eq!(merges("20251217_140000"), [], "nothing is merged that no rule keeps");
    }

    #[test]
    fn a_pinned_increment_stays_a_point() {
        check_chain(&[
            ("20251210_130000 on:20251209_120400 db", NEWEST),
            ("20251209_120400 on:20251209_120300 db", "+ hourly, for 7 days, needed by 20251210_130000"),
            ("20251209_120300 on:20251209_120200 db", "- merged into 20251209_120400"),
            ("20251209_120200 on:20251209_120100 db pinned", "+ pinned, hourly, for 7 days, needed by 20251210_130000"),
            ("20251209_120100 on:20251209_120000 db", "- merged into 20251209_120200"),
        ]);
    }

    #[test]
    fn what_the_last_one_lacks_is_not_merged_into_it() {
        let needed = "+ increment, within 7 days, needed by 20251210_130000";
        check_chain(&[
            ("20251210_130000 on:20251209_120500 db", NEWEST),
            ("20251209_120500 on:20251209_120400 db", needed),
            ("20251209_120400 on:20251209_120300 db whole", needed),
            ("20251209_120300 on:20251209_120200 db", needed),
            (
                "20251209_120200 on:20251209_120100 db config",
                "+ hourly, for 7 days, newest with config, needed by 20251210_130000",
            ),
            ("20251209_120100 on:20251209_120000 db config", "- merged into 20251209_120200"),
        ]);
    }

    #[test]
    fn what_a_merge_left_is_removed_unless_it_is_needed() {
        let needed = "+ increment, within 7 days, needed by 20251210_130000";
        check_chain(&[
            ("20251210_130000 on:20251210_120400 db", NEWEST),
            ("20251210_120400 on:20251209_120000 db", needed),
            ("20251210_120300 on:20251210_120200 db", "- merged into 20251210_120400"),
            ("20251210_120200 on:20251210_120100 db pinned", "+ pinned, increment, within 7 days"),
            ("20251210_120100 on:20251209_120000 db", "+ needed by 20251210_120200"),
        ]);
        for (into, part) in [("db whole", "db"), ("db", "db config")] {
            check_chain(&[
                ("20251210_130000 on:20251210_120300 db", NEWEST),
                (&format!("20251210_120300 on:20251209_120000 {into}"), needed),
                (
                    &format!("20251210_120100 on:20251209_120000 {part}"),
                    match part {
                        "db" => "+ increment, within 7 days",
                        _ => "+ increment, within 7 days, newest with config",
                    },
                ),
            ]);
        }
        check_chain(&[
            ("20251210_130000 on:20251210_120300 db", NEWEST),
            ("20251210_120300 on:20251209_120000 db", needed),
            ("20251210_115900 on:20251209_120000 db", "+ increment, within 7 days"),
        ]);
    }

    #[test]
    fn increments_are_kept_by_the_age_of_their_newest_and_counted_by_no_rule() {
        check(
            Policy { keep_last: 1, ..NO_RULE },
            &[
                (
                    "20251210_120000 on:20251210_110000 db",
                    "+ increment, within 7 days, newest complete backup, newest with db",
                ),
                ("20251210_110000 on:20251203_130000 db", "+ increment, within 7 days, needed by 20251210_120000"),
                ("20251203_150000 db", "+ last 1"),
                ("20251203_140000 on:20251201_020000 db", "+ increment, within 7 days"),
                ("20251203_130000 on:20251201_010000 db", "+ hourly, for 7 days, needed by 20251210_120000"),
                ("20251202_020000 on:20251201_020000 db", "+ increment, within 7 days"),
                ("20251201_030000 on:20251130_230000 db", "- increment, older than 7 days"),
                ("20251201_020000 db", "+ needed by 20251203_140000"),
                ("20251201_010000 db", "+ needed by 20251210_120000"),
                ("20251130_230000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn a_pinned_increment_keeps_its_chain_up_to_itself() {
        check(
            Policy { keep_last: 1, ..NO_RULE },
            &[
                ("20251210_120000 db", "+ last 1, newest complete backup, newest with db"),
                ("20251201_030000 on:20251201_020000 db", "- increment, older than 7 days"),
                ("20251201_020000 on:20251201_010000 db pinned", "+ pinned"),
                ("20251201_010000 on:20251201_000000 db", "+ needed by 20251201_020000"),
                ("20251201_000000 db", "+ needed by 20251201_020000"),
            ],
        );
    }

    #[test]
    fn an_increment_that_cannot_be_read_keeps_the_one_before_it() {
        check(
            Policy { keep_last: 1, ..NO_RULE },
            &[
                ("20251210_120000 db", "+ last 1, newest complete backup, newest with db"),
                ("20251209_020000 on:20251209_010000 db partial", "+ increment, within 7 days"),
                ("20251209_010000 unreadable", "+ manifest can't be read, needed by 20251209_020000"),
                ("20251209_000000 db", "+ needed by 20251209_020000"),
                ("20251208_000000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn an_increment_goes_before_its_parent_whatever_the_clock_said() {
        let mut chain =
            ["20251120_020000 db", "20251121_020000 on:20251120_020000 db", "20251210_120000 db"].map(candidate);
        chain[1].at = at("20251119_020000");
        let plan = plan(&chain, &Policy { keep_last: 1, ..NO_RULE }, at(NOW)).unwrap();
        let removed: Vec<BackupId> = plan.removals().map(|decision| decision.id).collect();
        assert_eq!(removed, [chain[1].id, chain[0].id]);
    }

    #[test]
    fn increments_show_that_backups_have_not_stopped() {
        let plan =
            plan_of(days(2), &["20251210_120000 on:20251201_000000 db", "20251201_000000 db", "20251130_000000 db"]);
        assert_eq!(plan.stale, None);
        assert_eq!(plan.removals().map(|it| it.id.to_string()).collect::<Vec<_>>(), ["20251130_000000"]);
    }

    #[test]
    fn a_broken_chain_stays_as_long_as_a_whole_one() {
        check(
            Policy { keep_last: 1, ..NO_RULE },
            &[
                ("20251210_120000 db", "+ last 1, newest complete backup, newest with db"),
                ("20251205_020000 on:20251205_010000 db partial", "+ increment, within 7 days"),
                ("20251201_020000 on:20251201_010000 db partial", "- increment, older than 7 days"),
            ],
        );
    }

    #[test]
    fn a_backup_of_the_configuration_alone_does_not_take_the_place_of_the_database() {
        check(
            Policy { keep_daily: 1, ..NO_RULE },
            &[
                ("20251210_130000 config", "+ daily 2025-12-10, newest complete backup, newest with config"),
                ("20251210_120000 config", "- no rule keeps it"),
                ("20251210_020000 config db", "+ daily 2025-12-10, newest with db"),
            ],
        );
    }

    #[test]
    fn the_newest_copy_of_a_database_that_is_no_longer_backed_up_stays() {
        check(
            days(7),
            &[
                ("20251210_130000 db", "+ within 7 days, newest complete backup, newest with db"),
                ("20200101_000000 db old", "+ newest with old"),
                ("20190101_000000 db old", "- older than 7 days"),
            ],
        );
    }

    #[test]
    fn while_one_source_fails_the_newest_partial_backup_of_the_others_stays() {
        check(
            Policy { keep_daily: 3, ..NO_RULE },
            &[
                ("20251202_020000 partial db", "+ newest partial with db"),
                ("20251201_020000 partial db", "- older than 7 days"),
                (
                    "20251101_020000 config db",
                    "+ daily 2025-11-01, newest complete backup, newest with config, newest with db",
                ),
            ],
        );
    }

    #[test]
    fn a_partial_backup_of_what_a_restore_replaced_is_no_last_copy() {
        check(
            Policy { keep_last: 1, ..NO_RULE },
            &[
                ("20251202_020000 partial pre-restore db", "- pre-restore, older than 7 days"),
                ("20251101_020000 db", "+ last 1, newest complete backup, newest with db"),
            ],
        );
    }

    #[test]
    fn partial_backups_have_the_window_under_counts_alone() {
        check(
            Policy { keep_last: 1, ..NO_RULE },
            &[
                ("20251210_130000 db", "+ last 1, newest complete backup, newest with db"),
                ("20251209_130000 partial db", "+ within 7 days"),
                ("20251203_130000 partial db", "- older than 7 days"),
            ],
        );
    }

    #[test]
    fn without_a_complete_backup_a_series_keeps_the_next_best() {
        check(
            days(7),
            &[
                ("20251210_130000 config", "+ within 7 days, newest complete backup, newest with config"),
                ("20251103_000000 partial db other", "+ newest partial with db, newest with other"),
                ("20251102_000000 pre-restore db", "+ newest with db"),
                ("20251101_130000 partial other", "- older than 7 days"),
                ("20251101_120000 pre-restore db", "- pre-restore, older than 7 days"),
            ],
        );
    }

    #[test]
    fn what_a_restore_replaced_is_kept_for_the_window_and_never_counted() {
        check(
            Policy { keep_last: 1, ..days(7) },
            &[
                ("20251210_130000 pre-restore db", "+ kept for undo for 7 days"),
                ("20251210_120000 db", "+ within 7 days, last 1, newest complete backup, newest with db"),
                ("20251203_120000 pre-restore db", "- pre-restore, older than 7 days"),
            ],
        );
    }

    #[test]
    fn what_is_from_before_a_collapse_stays_and_so_does_the_backup_that_shows_it() {
        check(
            days(0),
            &[
                ("20251210_130000 db", "+ newest complete backup, newest with db"),
                ("20251201_130000 db", "- no rule keeps it"),
                ("20251110_140000 db db<20251109_020000", "+ shows the collapse of db"),
                ("20251109_020000 db", "+ before the collapse of db (sessions: 20,000 → 12 rows)"),
                ("20251108_020000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn thirty_days_after_a_collapse_was_found_it_is_forgotten() {
        check(
            days(0),
            &[
                ("20251210_130000 db", "+ newest complete backup, newest with db"),
                ("20251110_135959 db db<20251109_020000", "- no rule keeps it"),
                ("20251109_020000 db", "- no rule keeps it"),
            ],
        );
        let off = Policy { keep_before_collapse: 0, ..days(0) };
        check(
            off,
            &[
                ("20251210_140000 db db<20251209_150000", "+ newest complete backup, newest with db"),
                ("20251209_150000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn a_collapse_that_was_meant_keeps_nothing_and_says_so() {
        check(
            days(0),
            &[
                ("20251210_130000 db", "+ newest complete backup, newest with db"),
                ("20251201_130000 accepted db db<20251130_130000", "- no rule keeps it"),
                ("20251130_130000 db", "- the collapse of db was accepted"),
                ("20251129_130000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn if_the_backup_from_before_a_collapse_is_gone_or_bad_the_one_before_it_stays() {
        let before = "+ before the collapse of db (sessions: 20,000 → 12 rows)";
        check(
            days(0),
            &[
                (
                    "20251210_130000 config db db<20251209_020000",
                    "+ newest complete backup, newest with config, newest with db, shows the collapse of db",
                ),
                ("20251209_020000 partial db", before),
                ("20251208_020000 config", "- no rule keeps it"),
                ("20251207_020000 db", before),
                ("20251206_020000 db", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn the_newest_backup_with_each_configuration_file_stays() {
        check(
            days(0),
            &[
                ("20251210_130000 config a.env", "+ newest complete backup, newest with config"),
                ("20251209_130000 config a.env", "- no rule keeps it"),
                ("20251102_130000 partial config a.env b.env", "+ newest with b.env"),
                ("20251101_130000 config a.env b.env", "+ newest with b.env"),
                ("20251031_130000 config a.env b.env c.env", "+ newest with c.env"),
                ("20251030_130000 config a.env b.env c.env", "- no rule keeps it"),
            ],
        );
    }

    #[test]
    fn what_is_another_projects_or_hosts_stays_and_stands_for_nothing_else() {
        check(
            Policy { keep_last: 1, ..days(0) },
            &[
                ("20251210_130000 another db a.env", "+ another project's"),
                ("20251209_150000 db a.env", "+ last 1, newest complete backup, newest with db"),
                ("20251201_130000 another db a.env", "+ another project's"),
                ("20251130_130000 host db a.env", "+ another host's"),
            ],
        );
    }

    #[test]
    fn days_are_read_as_settings_write_durations() {
        let read = |json: serde_json::Value| serde_json::from_value::<Policy>(json).map(|it| it.keep_before_collapse);
        let with = |value: serde_json::Value| serde_json::json!({ "keep_days": 7, "keep_before_collapse": value });
        assert_eq!(read(serde_json::json!({ "keep_days": 7 })).unwrap(), 30, "a section that leaves it out");
        for (value, days) in [("30d".into(), 30), ("0".into(), 0), ("0d".into(), 0), (14.into(), 14), (0.into(), 0)] {
            assert_eq!(read(with(value)).unwrap(), days);
        }
        for wrong in ["30h".into(), "".into(), "-1d".into(), (-1).into(), 1.5.into(), true.into()] {
            let error = read(with(wrong)).unwrap_err();
            assert_eq!(error.to_string(), "must be a number of days: \"30d\"; 0 is off");
        }
    }

    #[test]
    fn failed_runs_are_kept_for_the_window_and_never_counted() {
        check(
            Policy { keep_last: 1, ..days(7) },
            &[
                ("20251210_130000 failed", "+ failed run, within 7 days"),
                ("20251210_120000 db", "+ within 7 days, last 1, newest complete backup, newest with db"),
                ("20251203_120000 failed", "- failed run, older than 7 days"),
            ],
        );
    }

    #[test]
    fn the_window_is_a_day_at_least_and_a_week_by_default() {
        let backup = "20251210_130000 db";
        let (in_a_day, in_a_week, older) =
            ("20251209_140000 failed", "20251203_140000 failed", "20251203_135959 failed");
        let kept = |policy| plan_of(policy, &[backup, in_a_day, in_a_week, older]).kept().count();
        assert_eq!(kept(days(0)), 2);
        assert_eq!(kept(Policy { keep_last: 1, ..NO_RULE }), 3);
    }

    #[test]
    fn pinned_and_unknown_entries_stay_at_any_age() {
        check(
            days(7),
            &[
                ("20251210_133000 no-manifest db", "+ no manifest"),
                ("20251210_130000 db", "+ within 7 days, newest complete backup, newest with db"),
                ("20200104_000000 pinned db", "+ pinned"),
                ("20200103_000000 pinned failed", "+ pinned"),
                ("20200102_000000 no-manifest db", "+ no manifest"),
                ("20200101_000000 unreadable db", "+ manifest can't be read"),
            ],
        );
    }

    #[test]
    fn the_future_is_kept_and_stands_for_nothing_else() {
        check(
            Policy { keep_last: 1, ..NO_RULE },
            &[
                ("20990101_000000 db", "+ dated in the future"),
                ("20251210_140001 failed", "+ dated in the future"),
                ("20251210_140000 db", "+ last 1, newest complete backup, newest with db"),
            ],
        );
    }

    #[test]
    fn nothing_is_removed_when_backups_have_stopped() {
        let rows = [
            ("20990101_000000 db", "+ dated in the future"),
            ("20251210_130000 pre-restore db", "+ kept for undo for 7 days"),
            ("20251210_120000 partial db", "+ within 7 days, newest partial with db"),
            ("20251203_135959 db", "+ newest complete backup, newest with db"),
            ("20251202_000000 db", "+ no recent backup, so nothing is removed"),
            ("20200101_000000 failed", "+ no recent backup, so nothing is removed"),
        ];
        check(days(7), &rows);
        let stale = plan_of(days(7), &rows.map(|(candidate, _)| candidate)).stale.unwrap();
        assert_eq!((stale.age_days, stale.window_days), (Some(7), 7));
        assert_eq!(
            stale.to_string(),
            "nothing is removed: the newest complete backup, 20251203_135959, is more than 7 days old and the window \
             is 7 days; backups have stopped, or the clock is wrong"
        );
    }

    #[test]
    fn a_newest_backup_at_the_edge_of_the_window_is_not_stale() {
        assert_eq!(plan_of(days(7), &["20251203_140000 db", "20251203_135959 db"]).removals().count(), 1);
        assert_eq!(plan_of(days(0), &["20251209_140000 db", "20251209_135959 db"]).removals().count(), 1);
        assert!(plan_of(days(0), &["20251209_135959 db"]).stale.is_some());
    }

    /// Since which backup the plan after `now` waits for its window to be filled, if it does.
    fn gap(policy: Policy, now: &str, ids: &[&str]) -> Option<(String, Option<String>)> {
        let candidates: Vec<_> = ids.iter().map(|id| candidate(&format!("{id} db"))).collect();
        let stale = gap_in_window(&candidates, &policy, at(now))?;
        Some((stale.newest.unwrap().to_string(), stale.since.map(|id| id.to_string())))
    }

    #[test]
    fn a_gap_far_longer_than_usual_keeps_everything_until_the_window_is_filled_again() {
        let nights = ["20251206_020000", "20251207_020000", "20251208_020000", "20251209_020000"];
        let after = |late: &[&str]| {
            let ids = [&nights[..], late].concat();
            gap(days(7), late.last().unwrap_or(&nights[3]), &ids)
        };
        assert_eq!(after(&[]), None);
        assert_eq!(after(&["20251210_023000"]), None);
        assert_eq!(after(&["20251211_020000"]), None, "one night was left out");
        let waits = |since: &str| Some((nights[3].to_string(), Some(since.to_string())));
        assert_eq!(after(&["20251213_020000"]), waits("20251213_020000"), "three were");
        let jumped = ["20360101_020000", "20360102_020000", "20360107_020000", "20360108_020000"];
        assert_eq!(after(&jumped[..1]), waits(jumped[0]));
        assert_eq!(after(&jumped[..2]), waits(jumped[0]));
        assert_eq!(after(&["20360101_020000", "20400101_020000"]).unwrap().1.unwrap(), "20400101_020000");
        let filled: Vec<String> = (1..=8).map(|day| format!("203601{day:02}_020000")).collect();
        let filled: Vec<&str> = filled.iter().map(String::as_str).collect();
        assert_eq!(after(&filled[..7]), waits(filled[0]));
        assert_eq!(after(&filled), None, "seven days of backups every night");
        // The newest is dated in the future: nothing of the present shows that time has passed.
        assert_eq!(gap(days(7), "20251220_020000", &nights).unwrap(), (nights[3].to_string(), None));
        assert_eq!(gap(Policy { keep_last: 3, ..NO_RULE }, "20360101_020000", &nights), None);
    }

    #[test]
    fn backups_that_are_further_apart_than_the_window_are_rotated_once_they_are_regular() {
        let weeks: Vec<String> =
            (0..9).map(|week| BackupId::at(at("20251001_020000") + TimeDelta::days(7 * week)).to_string()).collect();
        let weeks: Vec<&str> = weeks.iter().map(String::as_str).collect();
        for keep in [0, 3, 7, 14] {
            assert_eq!(gap(days(keep), weeks[8], &weeks[1..]), None, "{keep}");
        }
        assert!(gap(days(3), weeks[6], &weeks[..7]).is_some(), "seven are too few");
        assert!(gap(days(3), "20360101_020000", &weeks).is_some(), "the clock has jumped");
        assert!(gap(days(30), weeks[8], &[&weeks[..6], &["20360101_020000"]].concat()).is_none(), "of the future");
    }

    #[test]
    fn a_rhythm_of_its_own_is_no_gap() {
        // Some on a Friday, for a month.
        let fridays = ["20251107", "20251114", "20251121", "20251128", "20251205"];
        let ids: Vec<String> =
            fridays.iter().flat_map(|day| [1, 2, 3].map(|hour| format!("{day}_{hour:02}0000"))).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(gap(days(21), "20251205_030000", &ids), None);
        // Every hour, and a night and a day off.
        let hours = ["20251208_100000", "20251208_110000", "20251208_120000", "20251210_080000"];
        assert_eq!(gap(days(7), hours[3], &hours), None);
        assert_eq!(gap(days(0), "20251209_100000", &["20251208_095000", "20251209_100000"]), None, "a little late");
    }

    #[test]
    fn counts_alone_never_go_stale_by_age() {
        let plan = plan_of(Policy { keep_last: 1, ..NO_RULE }, &["20200102_000000 db", "20200101_000000 db"]);
        assert_eq!((plan.stale, plan.removals().count()), (None, 1));
    }

    #[test]
    fn nothing_is_removed_before_there_is_a_complete_backup() {
        let none = ["20251210_130000 pre-restore db", "20200102_000000 partial db", "20200101_000000 failed"];
        for policy in [days(7), Policy { keep_last: 1, ..NO_RULE }] {
            let plan = plan_of(policy, &none);
            assert_eq!(plan.removals().count(), 0);
            assert!(plan.decisions[0].reasons.contains(&Reason::Newest));
            assert_eq!(
                plan.stale,
                Some(Staleness { newest: None, age_days: None, window_days: 7, future: false, since: None })
            );
        }
        let text = plan_of(days(7), &none).stale.unwrap().to_string();
        assert_eq!(text, "nothing is removed: no run up to now has made a complete backup");
    }

    #[test]
    fn that_all_complete_backups_are_dated_in_the_future_is_said() {
        let stale = |ahead| plan_of(days(7), &["20251209_000000 partial db", ahead]).stale.unwrap();
        assert!(!stale("20251210_140001 failed").future);
        assert_eq!(
            stale("20251210_140001 db").to_string(),
            "nothing is removed: all complete backups are dated in the future; the clock went back, or was ahead"
        );
    }

    #[test]
    fn as_json_a_reason_has_a_code_and_what_belongs_to_it() {
        let policy = Policy { keep_weekly: 1, ..NO_RULE };
        let plan = plan_of(policy, &["20251210_130000 db", "20251203_130000 failed", "20251202_130000 db"]);
        let json = serde_json::json!({
            "decisions": [
                { "id": "20251210_130000", "keep": true, "reasons": [
                    { "code": "weekly", "year": 2025, "week": 50 },
                    { "code": "newest" },
                    { "code": "newest_with", "name": "db" },
                ] },
                { "id": "20251203_130000", "keep": false, "reasons": [
                    { "code": "older_than", "what": "failed_run", "days": 7 },
                ] },
                { "id": "20251202_130000", "keep": false, "reasons": [{ "code": "no_rule" }] },
            ],
            "stale": null,
        });
        assert_eq!(serde_json::to_value(&plan).unwrap(), json);
    }

    /// Up to 40 entries from 40 days before [`NOW`] to 3 days after it.
    fn catalogs() -> impl Strategy<Value = Vec<Candidate>> {
        let standing = prop_oneof![
            6 => Just(Standing::Complete),
            2 => Just(Standing::Partial),
            1 => Just(Standing::Failed),
            1 => Just(Standing::NoManifest),
            1 => Just(Standing::Unreadable),
            1 => Just(Standing::AnotherProject),
            1 => Just(Standing::AnotherHost),
        ];
        let trigger =
            prop_oneof![4 => Just(Trigger::Timer), 1 => Just(Trigger::Manual), 1 => Just(Trigger::PreRestore)];
        let holds = proptest::sample::subsequence(vec!["config".to_owned(), "db".to_owned(), "logs".to_owned()], 0..=3);
        let paths = proptest::sample::subsequence(PATHS.map(str::to_owned).to_vec(), 0..=2);
        // One in four shows a collapse of what it holds, since some hours earlier.
        let collapse = proptest::option::weighted(0.25, (1..200_i64, any::<bool>()));
        let entry = (standing, trigger, proptest::bool::weighted(0.1), holds, paths, collapse);
        // Half of them are increments on one of those before.
        let entry = (entry, proptest::option::weighted(0.5, any::<proptest::sample::Index>()));
        let hours = -40 * 24_i64..3 * 24;
        proptest::collection::btree_map(hours, entry, 0..40).prop_map(|entries| {
            let hours: Vec<i64> = entries.keys().copied().collect();
            let entries = entries.into_iter().enumerate().map(|(number, (hour, (entry, parent)))| {
                let (standing, trigger, pinned, holds, paths, collapse) = entry;
                let id = |hour| BackupId::at(at(NOW) + TimeDelta::hours(hour));
                let since = collapse.map(|(hours, _)| id(hour - hours));
                let name = holds.first().filter(|_| !matches!(standing, Standing::NoManifest));
                let shown = name.zip(since).map(|(name, since)| collapse_of(&format!("{name}<{since}")));
                let accepted = collapse.is_some_and(|(_, accepted)| accepted);
                let parent = parent.filter(|_| number > 0).map(|parent| id(*parent.get(&hours[..number])));
                let (id, collapses) = (id(hour), shown.into_iter().collect());
                Candidate {
                    id,
                    parent,
                    at: id.time(),
                    standing,
                    trigger,
                    pinned,
                    holds,
                    paths,
                    collapses,
                    accepted,
                    can_merge: false,
                }
            });
            entries.collect()
        })
    }

    /// Full backups and the increments on each, up to [`NOW`].
    fn chains() -> impl Strategy<Value = Vec<Candidate>> {
        let holds = proptest::sample::subsequence(vec!["config".to_owned(), "db".to_owned()], 1..=2);
        let entry = (1..50_i64, 0..12_u8, proptest::bool::weighted(0.1), proptest::bool::weighted(0.9), holds);
        proptest::collection::vec(entry, 1..60).prop_map(|entries| {
            let (mut time, mut last, mut catalog) = (at(NOW), None, Vec::new());
            time -= TimeDelta::minutes(entries.iter().map(|(minutes, ..)| minutes).sum());
            for (minutes, kind, pinned, can_merge, holds) in entries {
                time += TimeDelta::minutes(minutes);
                let (id, parent) = (BackupId::at(time), last.filter(|_| kind > 0));
                let full = candidate(&format!("{id} db"));
                catalog.push(Candidate { parent, pinned, holds, can_merge: can_merge && parent.is_some(), ..full });
                last = Some(id);
            }
            catalog
        })
    }

    /// The configuration files of [`catalogs`].
    const PATHS: [&str; 2] = [".env", "data/a.json"];

    fn policies() -> impl Strategy<Value = Policy> {
        let keep_days = proptest::option::of(0..30_u32);
        let collapse = prop_oneof![Just(0), Just(30), 1..40_u32];
        (keep_days, proptest::array::uniform5(0..5_u32), collapse, 0..12_u32)
            .prop_map(|(keep_days, counts, keep_before_collapse, increments)| {
                let [keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly] = counts;
                Policy {
                    keep_days,
                    keep_last,
                    keep_daily,
                    keep_weekly,
                    keep_monthly,
                    keep_yearly,
                    keep_before_collapse,
                    every_hour_for: TimeDelta::days(increments.into()),
                    ..NO_RULE
                }
            })
            .prop_filter("a valid policy", |policy| policy.validate().is_ok())
    }

    /// The same policy with counts that are no smaller.
    fn raised(policy: Policy, by: [u32; 5]) -> Policy {
        Policy {
            keep_last: policy.keep_last + by[0],
            keep_daily: policy.keep_daily + by[1],
            keep_weekly: policy.keep_weekly + by[2],
            keep_monthly: policy.keep_monthly + by[3],
            keep_yearly: policy.keep_yearly + by[4],
            ..policy
        }
    }

    /// Moments around [`NOW`], and far ahead of it.
    fn moments() -> impl Strategy<Value = DateTime<Utc>> {
        prop_oneof![4 => -45 * 24..10 * 24_i64, 1 => 0..100_000_i64].prop_map(|hours| at(NOW) + TimeDelta::hours(hours))
    }

    fn kept_ids(plan: &Plan) -> BTreeSet<BackupId> {
        plan.kept().map(|decision| decision.id).collect()
    }

    proptest! {
        #[test]
        fn a_larger_count_keeps_no_less(
            catalog in catalogs(), policy in policies(), by in proptest::array::uniform5(0..4_u32), now in moments(),
        ) {
            let (less, more) = (plan(&catalog, &policy, now)?, plan(&catalog, &raised(policy, by), now)?);
            prop_assert!(kept_ids(&less).is_subset(&kept_ids(&more)));
        }

        /// Not of a stale plan, which keeps everything: a larger `keep_days` may no longer find it stale.
        #[test]
        fn a_larger_keep_days_keeps_no_less_unless_the_smaller_is_stale(
            catalog in catalogs(), policy in policies(), from in 0..20_u32, by in 0..20_u32, now in moments(),
        ) {
            let less = plan(&catalog, &Policy { keep_days: Some(from), ..policy }, now)?;
            let more = plan(&catalog, &Policy { keep_days: Some(from + by), ..policy }, now)?;
            let no_less = more.stale.is_none() && kept_ids(&less).is_subset(&kept_ids(&more));
            prop_assert!(less.stale.is_some() || no_less);
        }

        /// Below the default window it can shorten what failed runs, partial and pre-restore backups are kept for, and
        /// nothing else.
        #[test]
        fn adding_keep_days_keeps_no_less_above_the_default_window(
            catalog in catalogs(), policy in policies(), last in 1..4_u32, days in 0..20_u32, now in moments(),
        ) {
            let policy = Policy { keep_last: last, keep_days: None, ..policy };
            let less = kept_ids(&plan(&catalog, &policy, now)?);
            let more = kept_ids(&plan(&catalog, &Policy { keep_days: Some(days), ..policy }, now)?);
            for candidate in catalog.iter().filter(|it| days >= DEFAULT_WINDOW || it.is_counted()) {
                prop_assert!(!less.contains(&candidate.id) || more.contains(&candidate.id), "{candidate:?}");
            }
        }

        #[test]
        fn the_last_copies_and_what_is_pinned_always_stay(
            catalog in catalogs(), policy in policies(), now in moments(),
        ) {
            let kept = kept_ids(&plan(&catalog, &policy, now)?);
            let newest = |wanted: &dyn Fn(&Candidate) -> bool| {
                catalog.iter().filter(|it| it.id.time() <= now && wanted(it)).map(|it| it.id).max()
            };
            let mut last = vec![newest(&Candidate::is_point)];
            for name in ["config", "db", "logs"] {
                let best = newest(&|it| it.holds(name) && it.is_point())
                    .or_else(|| newest(&|it| it.holds(name) && it.is_complete()))
                    .or_else(|| newest(&|it| it.holds(name) && it.is_partial()));
                let partial = newest(&|it| it.holds(name) && it.is_partial() && it.trigger != Trigger::PreRestore);
                last.extend([best, partial.filter(|id| Some(*id) > best)]);
            }
            let untouchable = |it: &&Candidate| {
                let unknown =
                    [Standing::NoManifest, Standing::Unreadable, Standing::AnotherProject, Standing::AnotherHost];
                it.pinned || it.id.time() > now || unknown.contains(&it.standing)
            };
            let untouchable = catalog.iter().filter(untouchable).map(|it| it.id);
            for id in last.into_iter().flatten().chain(untouchable) {
                prop_assert!(kept.contains(&id), "{id}");
            }
            // Some copy of everything outlives any plan.
            for name in ["config", "db", "logs"] {
                let copy = |it: &&Candidate| it.holds(name) && (it.is_complete() || it.is_partial());
                let left = catalog.iter().filter(copy).any(|it| kept.contains(&it.id));
                prop_assert_eq!(left, catalog.iter().any(|it| copy(&it)));
            }
            prop_assert_eq!(
                catalog.iter().any(Candidate::is_complete),
                catalog.iter().any(|it| it.is_complete() && kept.contains(&it.id))
            );
        }

        /// For each collapse that nobody accepted.
        #[test]
        fn what_is_from_before_a_collapse_stays_for_the_days_set_whatever_the_other_rules_say(
            catalog in catalogs(), policy in policies(), now in moments(),
        ) {
            let kept = kept_ids(&plan(&catalog, &policy, now)?);
            let days = TimeDelta::days(policy.keep_before_collapse.into());
            let is_recent = |it: &&Candidate| it.id.time() <= now && now - it.id.time() <= days && !days.is_zero();
            for shows in catalog.iter().filter(|it| is_recent(it) && !it.accepted) {
                for collapse in &shows.collapses {
                    let holds = |it: &&Candidate| it.id <= collapse.since && it.holds(&collapse.name);
                    let newest = catalog.iter().filter(|it| holds(it) && it.is_point()).map(|it| it.id).max();
                    if let Some(before) = newest {
                        prop_assert!(kept.contains(&before), "{before} is from before the collapse in {}", shows.id);
                        prop_assert!(kept.contains(&shows.id), "{} shows a collapse", shows.id);
                    }
                }
            }
        }

        #[test]
        fn a_larger_keep_before_collapse_keeps_no_less(
            catalog in catalogs(), policy in policies(), by in 0..40_u32, now in moments(),
        ) {
            let more = Policy { keep_before_collapse: policy.keep_before_collapse + by, ..policy };
            let (less, more) = (plan(&catalog, &policy, now)?, plan(&catalog, &more, now)?);
            prop_assert!(kept_ids(&less).is_subset(&kept_ids(&more)));
        }

        #[test]
        fn to_accept_a_collapse_keeps_no_more(catalog in catalogs(), policy in policies(), now in moments()) {
            let all_accepted = |accepted| {
                let catalog: Vec<_> = catalog.iter().cloned().map(|it| Candidate { accepted, ..it }).collect();
                plan(&catalog, &policy, now)
            };
            prop_assert!(kept_ids(&all_accepted(true)?).is_subset(&kept_ids(&all_accepted(false)?)));
        }

        #[test]
        fn some_copy_of_every_configuration_file_outlives_any_plan(
            catalog in catalogs(), policy in policies(), now in moments(),
        ) {
            let kept = kept_ids(&plan(&catalog, &policy, now)?);
            for path in PATHS {
                let is_copy = |it: &&Candidate| {
                    it.id.time() <= now && it.paths.iter().any(|held| held == path) && (it.is_complete() || it.is_partial())
                };
                let sound = catalog.iter().filter(is_copy).filter(|it| it.is_point()).map(|it| it.id).max();
                let any = catalog.iter().filter(is_copy).map(|it| it.id);
                prop_assert!(sound.is_none_or(|id| kept.contains(&id)), "{path}");
                prop_assert!(any.clone().next().is_none() || any.clone().any(|id| kept.contains(&id)), "{path}");
            }
        }

        #[test]
        fn the_order_of_the_input_does_not_matter(
            (catalog, shuffled) in catalogs().prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle())),
            policy in policies(),
        ) {
            let now = at(NOW);
            prop_assert_eq!(plan(&catalog, &policy, now)?, plan(&shuffled, &policy, now)?);
        }

        /// Unless the last increment has gone: then one that can't be read needs no other any more.
        #[test]
        fn a_second_plan_removes_nothing_more(catalog in catalogs(), policy in policies(), now in moments()) {
            let catalog: Vec<_> = catalog.into_iter().filter(|it| it.standing != Standing::Unreadable).collect();
            let kept = kept_ids(&plan(&catalog, &policy, now)?);
            let left: Vec<_> = catalog.into_iter().filter(|it| kept.contains(&it.id)).collect();
            prop_assert_eq!(plan(&left, &policy, now)?.removals().count(), 0);
        }

        #[test]
        fn what_is_kept_has_all_that_it_needs(catalog in catalogs(), policy in policies(), now in moments()) {
            let kept = kept_ids(&plan(&catalog, &policy, now)?);
            let is_there = |id: &BackupId| catalog.iter().any(|it| it.id == *id);
            for parent in catalog.iter().filter(|it| kept.contains(&it.id)).filter_map(|it| it.parent).filter(is_there) {
                prop_assert!(kept.contains(&parent), "{parent}");
            }
        }

        #[test]
        fn no_count_rule_counts_an_increment(catalog in catalogs(), policy in policies(), now in moments()) {
            let full: Vec<_> = catalog.iter().filter(|it| it.parent.is_none()).cloned().collect();
            let counts = |plan: Plan| -> Vec<(BackupId, Reason)> {
                let is_count = |reason: &Reason| matches!(reason, Reason::Last { .. } | Reason::Daily { .. }
                    | Reason::Weekly { .. } | Reason::Monthly { .. } | Reason::Yearly { .. });
                let all = plan.decisions.into_iter().flat_map(|it| it.reasons.into_iter().map(move |why| (it.id, why)));
                all.filter(|(_, reason)| is_count(reason)).collect()
            };
            prop_assert_eq!(counts(plan(&catalog, &policy, now)?), counts(plan(&full, &policy, now)?));
        }

        #[test]
        fn a_larger_every_hour_for_keeps_no_less(
            catalog in catalogs(), policy in policies(), by in 0..40_u32, now in moments(),
        ) {
            let more = Policy { every_hour_for: policy.every_hour_for + TimeDelta::days(by.into()), ..policy };
            let (less, more) = (plan(&catalog, &policy, now)?, plan(&catalog, &more, now)?);
            prop_assert!(kept_ids(&less).is_subset(&kept_ids(&more)));
        }

        #[test]
        fn merges_leave_each_point_what_it_needs_and_are_done_once(catalog in chains(), now in moments()) {
            let plan = plan(&catalog, &Policy::default(), now)?;
            let kept = kept_ids(&plan);
            let merged: BTreeMap<BackupId, BackupId> =
                plan.merges.iter().map(|merge| (merge.into, merge.parts[0])).collect();
            let parent_of = |id: BackupId| catalog.iter().find(|it| it.id == id).unwrap().parent;
            let after = |it: &Candidate| Candidate {
                parent: merged.get(&it.id).map_or(it.parent, |first| parent_of(*first)),
                ..it.clone()
            };
            let left: Vec<Candidate> = catalog.iter().filter(|it| kept.contains(&it.id)).map(after).collect();
            for it in left.iter().filter(|it| it.parent.is_some()) {
                prop_assert!(left.iter().any(|other| Some(other.id) == it.parent), "{} has lost its parent", it.id);
            }
            for part in plan.merges.iter().flat_map(|merge| &merge.parts) {
                let part = catalog.iter().find(|it| it.id == *part).unwrap();
                prop_assert!(kept.contains(&part.id) || !part.pinned && now - part.at > TimeDelta::days(1));
            }
            let again = super::plan(&left, &Policy::default(), now)?;
            prop_assert_eq!((again.removals().count(), again.merges), (0, vec![]));
        }

        /// Except that those on which a future one is an increment are kept for it.
        #[test]
        fn the_future_changes_nothing_for_the_others(catalog in catalogs(), policy in policies(), now in moments()) {
            let is_past = |it: &Candidate| it.id.time() <= now;
            let catalog = catalog.into_iter().filter(|it| is_past(it) || it.standing != Standing::Unreadable);
            let full = |it: Candidate| Candidate { parent: it.parent.filter(|_| is_past(&it)), ..it };
            let catalog: Vec<Candidate> = catalog.map(full).collect();
            let whole = plan(&catalog, &policy, now)?;
            let past: Vec<_> = catalog.into_iter().filter(|it| it.id.time() <= now).collect();
            let alone = plan(&past, &policy, now)?;
            let others: Vec<_> = whole.decisions.into_iter().filter(|it| it.id.time() <= now).collect();
            let judged = |plan: Option<Staleness>| plan.map(|stale| (stale.newest, stale.age_days));
            prop_assert_eq!((others, judged(whole.stale)), (alone.decisions, judged(alone.stale)));
        }

        /// However far ahead the clock is in however many nights, and however far apart those are.
        #[test]
        fn no_clock_that_is_ahead_removes_what_the_nights_since_have_not_replaced(
            jumps in proptest::collection::vec((4..20_000_i64, 1..4_usize), 1..4), keep in 5..30_u32, jitter in 0..240_i64,
        ) {
            let night = |day: i64| BackupId::at(at("20251201_020000") + TimeDelta::minutes(day * 1440 + day * 37 % (jitter + 1)));
            let complete = |id: BackupId| candidate(&format!("{id} db"));
            let genuine: Vec<BackupId> = (0..7).map(night).collect();
            let mut kept: Vec<Candidate> = genuine.iter().copied().map(complete).collect();
            let (mut day, mut nights) = (6, 0);
            for (ahead, more) in jumps {
                day += ahead * i64::from(keep);
                for _ in 0..more {
                    day += 1;
                    nights += 1;
                    let made = night(day);
                    kept.push(complete(made));
                    let whole = plan(&kept, &days(keep), made.time())?;
                    let whole = match gap_in_window(&kept, &days(keep), made.time()) {
                        Some(why) => whole.keeping_all(why),
                        None => whole,
                    };
                    let ids = kept_ids(&whole);
                    kept.retain(|candidate| ids.contains(&candidate.id));
                }
            }
            let left = genuine.iter().filter(|id| kept.iter().any(|candidate| candidate.id == **id)).count();
            prop_assert!(left == genuine.len(), "{left} of 7 after {nights} nights");
        }

        #[test]
        fn a_stale_plan_removes_nothing_and_every_decision_has_a_reason(
            catalog in catalogs(), policy in policies(), now in moments(),
        ) {
            let plan = plan(&catalog, &policy, now)?;
            prop_assert_eq!(plan.decisions.len(), catalog.len());
            prop_assert!(plan.stale.is_none() || plan.removals().count() == 0);
            prop_assert!(plan.decisions.iter().all(|decision| !decision.reasons.is_empty()));
            prop_assert!(plan.decisions.is_sorted_by(|newer, older| newer.id > older.id));
        }
    }
}
