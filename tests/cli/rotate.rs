//! `rotate` (`prune`), `pin`, `unpin`, and the rotation after a backup.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use insta::{allow_duplicates, assert_snapshot};
use serde_json::{Value, json};

use crate::support::{CommandOutput, Project, shell};

/// A project with backups of earlier days, all counted back from one moment.
struct Shelf {
    project: Project,
    now: DateTime<Utc>,
    known: Vec<(String, String)>,
}

impl Shelf {
    fn new() -> Self {
        Self { project: Project::new(), now: Utc::now(), known: Vec::new() }
    }

    /// A shelf with an ordinary backup of each of these days ago.
    fn of(days: &[i64]) -> Self {
        let mut shelf = Self::new();
        for days in days {
            shelf.add(*days);
        }
        shelf
    }

    /// Makes a backup of this many days and one hour ago.
    fn add(&mut self, days: i64) -> String {
        self.add_with(days, "")
    }

    fn add_with(&mut self, days: i64, flags: &str) -> String {
        let made = self.project.backup_with(&format!("--no-rotate {flags}"));
        self.age(&made, days)
    }

    /// Changes a backup to one of this many days and an hour ago.
    fn age(&mut self, made: &str, days: i64) -> String {
        let id = (self.now - Duration::days(days) - Duration::hours(1)).format("%Y%m%d_%H%M%S").to_string();
        self.project.redate(made, &id);
        self.name(&id, &format!("{days} days ago"));
        id
    }

    /// Sets the name of a backup in `told`.
    fn name(&mut self, id: &str, name: &str) {
        self.known.push((id.to_string(), name.to_string()));
    }

    fn id(&self, days: i64) -> &str {
        let name = format!("{days} days ago");
        &self.known.iter().find(|(_, known)| *known == name).unwrap().0
    }

    fn settings(&self, retention: &str) -> &Self {
        self.project.write("ops/backup.toml", &format!("[retention]\n{retention}\n"));
        self
    }

    /// The output of a rotation, with names for ids, and for the day, week, month and year of a line's id.
    fn told(&self, text: &str) -> String {
        let line = |line: &str| {
            let Some((id, name)) = self.known.iter().find(|(id, _)| line.contains(id)) else { return line.to_string() };
            let date = chrono::NaiveDate::parse_from_str(&id[..8], "%Y%m%d").unwrap();
            [("daily %Y-%m-%d", "DAY"), ("weekly %G-W%V", "WEEK"), ("monthly %Y-%m", "MONTH"), ("yearly %Y", "YEAR")]
                .iter()
                .fold(line.replace(id, name), |line, (format, word)| {
                    let rule = format.split(' ').next().unwrap();
                    line.replace(&date.format(format).to_string(), &format!("{rule} its {word}"))
                })
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The days that a dry run would keep, those that it would remove, and its output. Asserts that it changes nothing.
    #[track_caller]
    fn dry(&self, flags: &str) -> String {
        let before = self.project.stored();
        let ran = self.project.run(&format!("rotate --dry-run {flags}"));
        ran.expect(0);
        assert_eq!(self.project.stored(), before);
        self.told(&ran.stdout)
    }
}

/// The ids of the backups that have a manifest.
fn ids(project: &Project) -> BTreeSet<String> {
    let id = |name: &String| Some(name.strip_prefix("manifest_")?.strip_suffix(".json")?.to_string());
    project.stored().iter().filter_map(id).collect()
}

/// `text` without measured sizes.
fn sizeless(text: &str) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    for at in 1..words.len() {
        if matches!(words[at].trim_end(), "B" | "kB" | "MB") {
            words[at - 1] = "SIZE";
        }
    }
    words.join(" ")
}

/// Exit code and output of a command that must fail.
#[track_caller]
fn refused(ran: &CommandOutput, code: i32) -> String {
    ran.expect(code);
    assert_eq!(ran.stdout, "");
    ran.stderr.clone()
}

#[test]
fn rotation_says_keep_or_remove_with_the_reason_for_each_backup() {
    let shelf = Shelf::of(&[0, 6, 7, 30]);
    let ran = shelf.project.run("rotate");
    ran.expect(0);
    assert_snapshot!(sizeless(&shelf.told(&ran.stdout)), @"
    keep    0 days ago  within 7 days, newest complete backup, newest with config, newest with sessions_db
    keep    6 days ago  within 7 days
    remove  7 days ago  older than 7 days
    remove  30 days ago  older than 7 days
    rotation: 2 backups removed, SIZE kB freed
    ");
    assert_eq!(ran.stderr, "");
}

#[test]
fn files_of_removed_backups_are_gone_and_no_others() {
    let shelf = Shelf::of(&[0, 6, 7, 30]);
    let (old, older) = (shelf.id(7), shelf.id(30));
    let strangers = ["notes.txt".to_string(), format!("sessions_db_{old}.db.gz.bak"), format!("{older}.txt")];
    for name in &strangers {
        shelf.project.write(&format!("backups/{name}"), "mine");
    }
    let before = shelf.project.stored();
    let gone = |name: &&String| (name.contains(old) || name.contains(older)) && !strangers.contains(name);
    let bytes: u64 = before
        .iter()
        .filter(gone)
        .filter(|name| !name.starts_with("manifest"))
        .map(|name| shelf.project.path(&format!("backups/{name}")).metadata().unwrap().len())
        .sum();
    let ran = shelf.project.run("rotate --json");
    ran.expect(0);
    let left: Vec<String> = before.iter().filter(|name| !gone(name)).cloned().collect();
    assert_eq!(left.len(), before.len() - 6);
    assert_eq!(shelf.project.stored(), left);
    assert_eq!(shell(shelf.project.root(), "ls -A backups/.staging"), "");
    assert_eq!(ran.json()["pruned"], json!({ "removed": [old, older], "freed_bytes": bytes }));
    shelf.project.run("verify --all").expect(0);
}

#[test]
fn a_rotation_is_in_the_ledger_if_it_removed_something() {
    let shelf = Shelf::of(&[0, 30]);
    shelf.project.run("rotate").expect(0);
    shelf.project.run("rotate").expect(0);
    let lines = shelf.project.ledger();
    let rotations: Vec<&Value> = lines.iter().filter(|line| line["command"] == "rotate").collect();
    assert_eq!(rotations.len(), 1, "{rotations:?}");
    assert_eq!(rotations[0]["outcome"], "ok");
    assert_eq!(rotations[0]["removed"], json!([shelf.id(30)]));
}

#[test]
fn a_dry_run_says_the_same_and_removes_nothing() {
    let shelf = Shelf::of(&[0, 30]);
    assert_snapshot!(shelf.dry(""), @"
    keep    0 days ago  within 7 days, newest complete backup, newest with config, newest with sessions_db
    remove  30 days ago  older than 7 days
    dry run: 1 backup would be removed
    ");
    let json = shelf.project.run("rotate --dry-run --json").expect(0).json();
    assert_eq!(json["dry_run"], true);
    assert_eq!(ids(&shelf.project).len(), 2);
    let rotated = shelf.project.run("rotate --json").expect(0).json();
    assert_eq!(json["plan"], rotated["plan"]);
    assert_eq!(rotated["dry_run"], false);
}

#[test]
fn the_plan_is_there_as_json_with_a_code_for_each_reason() {
    let shelf = Shelf::of(&[0, 30]);
    let json = shelf.project.run("rotate --json --keep-daily 1").expect(0).json();
    let day = format!("{}", chrono::NaiveDate::parse_from_str(&shelf.id(0)[..8], "%Y%m%d").unwrap());
    let expected = json!({
        "stale": null,
        "decisions": [
            { "id": shelf.id(0), "keep": true, "reasons": [
                { "code": "within", "what": "backup", "days": 7 },
                { "code": "daily", "date": day },
                { "code": "newest" },
                { "code": "newest_with", "name": "config" },
                { "code": "newest_with", "name": "sessions_db" },
            ] },
            { "id": shelf.id(30), "keep": false, "reasons": [{ "code": "no_rule" }] },
        ]
    });
    assert_eq!(json["plan"], expected);
}

#[test]
fn prune_is_another_name_of_rotate() {
    let shelf = Shelf::of(&[0, 30]);
    let rotate = shelf.dry("");
    assert_eq!(shelf.told(&shelf.project.run("prune --dry-run").expect(0).stdout), rotate);
    shelf.project.run("prune").expect(0);
    assert_eq!(ids(&shelf.project), BTreeSet::from([shelf.id(0).to_string()]));
}

#[test]
fn an_empty_store_has_nothing_to_rotate() {
    let project = Project::new();
    for command in ["rotate", "rotate --dry-run"] {
        let ran = project.run(command);
        ran.expect(0);
        assert_eq!(ran.stderr, "", "{command}");
    }
    assert_snapshot!(project.run("rotate").stdout, @"rotation: nothing to remove");
}

#[test]
fn keep_days_on_the_command_line_beats_the_settings() {
    let shelf = Shelf::of(&[0, 6, 30]);
    shelf.settings("keep_days = 60");
    assert_snapshot!(shelf.dry(""), @"
    keep    0 days ago  within 60 days, newest complete backup, newest with config, newest with sessions_db
    keep    6 days ago  within 60 days
    keep    30 days ago  within 60 days
    dry run: 0 backups would be removed
    ");
    assert_snapshot!(shelf.dry("--keep-days 6"), @"
    keep    0 days ago  within 6 days, newest complete backup, newest with config, newest with sessions_db
    remove  6 days ago  older than 6 days
    remove  30 days ago  older than 6 days
    dry run: 2 backups would be removed
    ");
}

#[test]
fn keep_last_counts_backups() {
    let shelf = Shelf::of(&[0, 20, 40, 60]);
    let expected = "
    keep    0 days ago  last 3, newest complete backup, newest with config, newest with sessions_db
    keep    20 days ago  last 3
    keep    40 days ago  last 3
    remove  60 days ago  no rule keeps it
    dry run: 1 backup would be removed";
    let expected = expected.trim().replace("\n    ", "\n");
    assert_eq!(shelf.dry("--keep-days 0 --keep-last 3"), expected);
    assert_eq!(shelf.settings("keep_last = 3").dry(""), expected);
    assert_eq!(shelf.settings("keep_last = 1").dry("--keep-last 3"), expected);
}

#[test]
fn each_calendar_rule_keeps_the_newest_of_its_periods() {
    // At this distance, two backups are never in the same period.
    for (rule, period, word) in
        [("daily", 1, "DAY"), ("weekly", 7, "WEEK"), ("monthly", 31, "MONTH"), ("yearly", 366, "YEAR")]
    {
        let shelf = Shelf::of(&[0, period, 2 * period]);
        let expected = format!(
            "keep    0 days ago  {rule} its {word}, newest complete backup, newest with config, newest with sessions_db\n\
             keep    {period} days ago  {rule} its {word}\n\
             remove  {} days ago  no rule keeps it\n\
             dry run: 1 backup would be removed",
            2 * period
        );
        assert_eq!(shelf.dry(&format!("--keep-days 0 --keep-{rule} 2")), expected);
        assert_eq!(shelf.settings(&format!("keep_{rule} = 2")).dry(""), expected);
        assert_eq!(shelf.settings(&format!("keep_{rule} = 9")).dry(&format!("--keep-{rule} 2")), expected);
    }
}

#[test]
fn of_two_backups_of_a_day_the_later_one_is_kept() {
    let mut shelf = Shelf::of(&[0]);
    let day = (shelf.now - Duration::days(3)).format("%Y%m%d");
    for (clock, name) in [("060000", "morning"), ("180000", "evening")] {
        let made = shelf.project.backup_with("--no-rotate");
        let id = format!("{day}_{clock}");
        shelf.project.redate(&made, &id);
        shelf.name(&id, name);
    }
    assert_snapshot!(shelf.dry("--keep-days 0 --keep-daily 9"), @"
    keep    0 days ago  daily its DAY, newest complete backup, newest with config, newest with sessions_db
    keep    evening  daily its DAY
    remove  morning  no rule keeps it
    dry run: 1 backup would be removed
    ");
}

#[test]
fn keeping_no_days_keeps_the_newest_complete_one_and_what_is_pinned() {
    let mut shelf = Shelf::of(&[0, 3]);
    shelf.add_with(5, "--pin");
    let ran = shelf.project.run("rotate --keep-days 0");
    ran.expect(0);
    assert_snapshot!(sizeless(&shelf.told(&ran.stdout)), @"
    keep    0 days ago  newest complete backup, newest with config, newest with sessions_db
    remove  3 days ago  no rule keeps it
    keep    5 days ago  pinned
    rotation: 1 backup removed, SIZE kB freed
    ");
    assert_eq!(ids(&shelf.project), BTreeSet::from([shelf.id(0).to_string(), shelf.id(5).to_string()]));
}

#[test]
fn a_policy_that_keeps_nothing_is_refused() {
    let shelf = Shelf::of(&[0, 30]);
    let before = shelf.project.stored();
    for (settings, command) in
        [("", "rotate"), ("keep_last = 0\nkeep_daily = 0", "rotate"), ("", "backup"), ("", "rotate --dry-run")]
    {
        shelf.settings(settings);
        let said = refused(&shelf.project.run(command), 2);
        allow_duplicates! {
            assert_snapshot!(shelf.project.redact(&said), @"
            error: ROOT/ops/backup.toml: the retention policy has no rule: it would keep nothing
            hint: set keep_days, or one of keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly
            ");
        }
    }
    shelf.settings("keep_last = 3");
    assert_snapshot!(refused(&shelf.project.run("rotate --keep-last 0"), 2), @"
    error: the retention policy has no rule: it would keep nothing
    hint: set keep_days, or one of keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly
    ");
    let json = shelf.project.run("rotate --keep-last 0 --json").expect(2).json();
    assert_eq!(json["error"]["kind"], "invalid_input");
    assert_eq!(shelf.project.stored(), before);
}

#[test]
fn a_retention_section_says_all_of_the_policy() {
    let shelf = Shelf::of(&[0, 3, 5]);
    shelf.settings("keep_last = 2");
    assert!(shelf.dry("").contains("remove  5 days ago"), "keep_days must be off: {}", shelf.dry(""));
    shelf.project.write("ops/backup.toml", "");
    assert!(shelf.dry("").contains("keep    5 days ago  within 7 days"));
}

#[test]
fn if_backups_have_stopped_nothing_is_removed_and_it_says_so() {
    let shelf = Shelf::of(&[20, 30]);
    let before = shelf.project.stored();
    for command in ["rotate --dry-run", "rotate"] {
        let ran = shelf.project.run(command);
        ran.expect(0);
        allow_duplicates! {
            assert_snapshot!(shelf.told(ran.stdout.lines().take(2).collect::<Vec<_>>().join("\n").as_str()), @"
            keep    20 days ago  newest complete backup, newest with config, newest with sessions_db
            keep    30 days ago  no recent backup, so nothing is removed
            ");
            assert_snapshot!(shelf.told(&ran.stderr), @"warning: nothing is removed: the newest complete backup, 20 days ago, is more than 20 days old and the window is 7 days; backups have stopped, or the clock is wrong");
        }
    }
    let json = shelf.project.run("rotate --json").expect(0).json();
    assert_eq!(
        json["plan"]["stale"],
        json!({ "newest": shelf.id(20), "age_days": 20, "window_days": 7, "future": false, "since": null })
    );
    assert_eq!(json["pruned"], json!({ "removed": [], "freed_bytes": 0 }));
    assert_eq!(shelf.project.stored(), before);
}

#[test]
fn a_backup_of_the_future_is_kept_and_stands_for_no_other() {
    let mut shelf = Shelf::of(&[0, 2, 30]);
    shelf.add(-3);
    assert_snapshot!(shelf.dry("--keep-days 0 --keep-last 1"), @"
    keep    -3 days ago  dated in the future
    keep    0 days ago  last 1, newest complete backup, newest with config, newest with sessions_db
    remove  2 days ago  no rule keeps it
    remove  30 days ago  no rule keeps it
    dry run: 2 backups would be removed
    ");
}

#[test]
fn if_all_backups_are_of_the_future_it_says_that_the_clock_is_wrong() {
    let mut shelf = Shelf::new();
    shelf.add(-3);
    let ran = shelf.project.run("rotate");
    ran.expect(0);
    assert_snapshot!(ran.stderr, @"warning: nothing is removed: all complete backups are dated in the future; the clock went back, or was ahead");
    assert!(ids(&shelf.project).contains(shelf.id(-3)));
}

#[test]
fn a_backup_of_the_future_does_not_hide_that_backups_have_stopped() {
    let mut shelf = Shelf::of(&[20, 30]);
    shelf.add(-3);
    let before = shelf.project.stored();
    let ran = shelf.project.run("rotate");
    ran.expect(0);
    assert_snapshot!(shelf.told(&ran.stderr), @"warning: nothing is removed: the newest complete backup, 20 days ago, is more than 20 days old and the window is 7 days; backups have stopped, or the clock is wrong");
    assert_eq!(shelf.project.stored(), before);
}

#[test]
fn a_backup_of_the_configuration_never_takes_the_place_of_the_last_database() {
    let mut shelf = Shelf::of(&[2, 4]);
    shelf.add_with(0, "--config-only");
    let ran = shelf.project.run("rotate --keep-days 0 --keep-last 1");
    ran.expect(0);
    assert_snapshot!(sizeless(&shelf.told(&ran.stdout)), @"
    keep    0 days ago  last 1, newest complete backup, newest with config
    keep    2 days ago  last 1, newest with sessions_db
    remove  4 days ago  no rule keeps it
    rotation: 1 backup removed, SIZE kB freed
    ");
    shelf.project.run(&format!("restore --from {} --yes", shelf.id(2))).expect(0);
}

/// Makes the manifest of a run that saved nothing, this many days ago.
fn failed_run(shelf: &mut Shelf, days: i64) -> String {
    let sources = ["data/sessions.db", ".env", "data/station_info.json"];
    let aside = |from: &str, to: &str| {
        for source in sources {
            let path = |suffix: &str| shelf.project.path(&format!("{source}{suffix}"));
            std::fs::rename(path(from), path(to)).unwrap();
        }
    };
    aside("", ".aside");
    let ran = shelf.project.run("backup --json");
    aside(".aside", "");
    let made = ran.expect(1).json()["backup"]["id"].as_str().unwrap().to_string();
    shelf.age(&made, days)
}

#[test]
fn records_of_failed_runs_stay_for_the_window_and_protect_nothing() {
    let mut shelf = Shelf::of(&[3]);
    failed_run(&mut shelf, 1);
    failed_run(&mut shelf, 10);
    let ran = shelf.project.run("rotate");
    ran.expect(0);
    assert_snapshot!(shelf.told(&ran.stdout), @"
    keep    1 days ago  failed run, within 7 days
    keep    3 days ago  within 7 days, newest complete backup, newest with config, newest with sessions_db
    remove  10 days ago  failed run, older than 7 days
    rotation: 1 backup removed, 0 B freed
    ");
    assert_eq!(ids(&shelf.project), BTreeSet::from([shelf.id(1).to_string(), shelf.id(3).to_string()]));
}

#[test]
fn what_a_restore_replaced_stays_for_the_window() {
    let mut shelf = Shelf::of(&[0]);
    for days in [2, 10] {
        let restored = shelf.project.run(&format!("restore --from {} --yes --json", shelf.id(0))).expect(0).json();
        let kept = restored["restored"]["kept"].as_str().unwrap().to_string();
        shelf.age(&kept, days);
    }
    assert_snapshot!(shelf.dry(""), @"
    keep    0 days ago  within 7 days, newest complete backup, newest with config, newest with sessions_db
    keep    2 days ago  kept for undo for 7 days
    remove  10 days ago  pre-restore, older than 7 days
    dry run: 1 backup would be removed
    ");
    let zero = shelf.dry("--keep-days 0 --keep-last 1");
    assert!(zero.contains("remove  2 days ago  pre-restore, older than 1 day"), "{zero}");
}

#[test]
fn what_cannot_be_judged_is_kept_with_the_reason() {
    let mut shelf = Shelf::of(&[0, 30, 40, 50]);
    let lost = shelf.id(30).to_string();
    std::fs::remove_file(shelf.project.path(&format!("backups/manifest_{lost}.json"))).unwrap();
    let broken = shelf.id(40).to_string();
    shelf.project.write(&format!("backups/manifest_{broken}.json"), "{ \"format\": 1, no json");
    shelf.add_with(60, "--pin");
    assert_snapshot!(shelf.dry("--keep-days 0 --keep-last 1"), @"
    keep    0 days ago  last 1, newest complete backup, newest with config, newest with sessions_db
    keep    30 days ago  no manifest
    keep    40 days ago  manifest can't be read
    remove  50 days ago  no rule keeps it
    keep    60 days ago  pinned
    dry run: 1 backup would be removed
    ");
}

#[test]
fn rotation_follows_a_backup_by_the_configured_policy() {
    let shelf = Shelf::of(&[0, 1, 2]);
    shelf.settings("keep_last = 2");
    let ran = shelf.project.run("backup");
    ran.expect(0);
    assert!(ran.stdout.ends_with("freed\n"), "{}", ran.stdout);
    let last = ran.stdout.lines().last().unwrap();
    assert_snapshot!(sizeless(last), @"rotation: 2 backups removed, SIZE kB freed");
    let left = ids(&shelf.project);
    assert_eq!(left.len(), 2);
    assert!(left.contains(shelf.id(0)) && !left.contains(shelf.id(1)) && !left.contains(shelf.id(2)));
}

#[test]
fn the_json_of_a_backup_has_what_its_rotation_removed() {
    let shelf = Shelf::of(&[0, 2, 5, 9]);
    let json = shelf.project.run("backup --json").expect(0).json();
    assert_eq!(json["rotation"]["removed"], json!([shelf.id(9)]));
    assert!(json["rotation"]["freed_bytes"].as_u64().unwrap() > 1000);
    let json = shelf.project.run("backup --json --no-rotate").expect(0).json();
    assert_eq!(json["rotation"], Value::Null);
}

#[test]
fn a_backup_without_rotation_removes_nothing() {
    let shelf = Shelf::of(&[0, 30]);
    let before = shelf.project.stored();
    let ran = shelf.project.run("backup --no-rotate");
    ran.expect(0);
    assert!(!ran.stdout.contains("rotation"), "{}", ran.stdout);
    let after = shelf.project.stored();
    assert!(before.iter().all(|name| after.contains(name)));
    assert_eq!(after.len(), before.len() + 3);
}

#[test]
fn the_first_backup_after_a_long_pause_removes_nothing() {
    let shelf = Shelf::of(&[20, 30]);
    let before = shelf.project.stored();
    let ran = shelf.project.run("backup");
    ran.expect(0);
    let said = shelf.told(&ran.stderr);
    assert!(said.starts_with("warning: nothing is removed: between 20 days ago and "), "{said}");
    assert!(
        said.contains(" there is no complete backup for 20 days, and the 7 days since then are not filled"),
        "{said}"
    );
    let after = shelf.project.stored();
    assert!(before.iter().all(|name| after.contains(name)));
    assert_eq!(after.len(), before.len() + 3);
}

#[test]
fn a_partial_or_failed_backup_lets_no_complete_one_go() {
    let shelf = Shelf::of(&[3]);
    shelf.settings("keep_last = 1");
    std::fs::rename(shelf.project.path("data/sessions.db"), shelf.project.path("data/gone.db")).unwrap();
    shelf.project.run("backup").expect(3);
    assert!(ids(&shelf.project).contains(shelf.id(3)));
    shelf.project.run("backup --database-only").expect(1);
    assert!(ids(&shelf.project).contains(shelf.id(3)));
}

#[test]
fn a_pinned_backup_survives_every_rotation_until_it_is_unpinned() {
    let shelf = Shelf::of(&[0, 30]);
    let old = shelf.id(30);
    shelf.project.run(&format!("pin {old}")).expect(0);
    shelf.project.run("rotate --keep-days 0").expect(0);
    shelf.project.run("backup").expect(0);
    assert!(ids(&shelf.project).contains(old));
    shelf.project.run(&format!("verify --from {old}")).expect(0);
    shelf.project.run(&format!("unpin {old}")).expect(0);
    shelf.project.run("rotate --keep-days 0").expect(0);
    assert!(!ids(&shelf.project).contains(old));
}

#[test]
fn pins_are_set_and_taken_back_with_a_word_on_what_changed() {
    let project = Project::new();
    let id = project.backup();
    let said = |command: &str| {
        let ran = project.run(&format!("{command} {id}"));
        ran.expect(0);
        assert_eq!(ran.stderr, "");
        ran.stdout.replace(&id, "ID")
    };
    let before = project.manifest(&id);
    assert_snapshot!(said("pin"), @"backup ID is now pinned");
    assert_snapshot!(said("pin"), @"backup ID is already pinned");
    assert_eq!(project.manifest(&id), before, "a pin changes nothing of the backup");
    assert_eq!(shell(project.root(), &format!("stat -c '%a %s' backups/pin_{id}")), "600 0\n");
    assert_snapshot!(said("unpin"), @"backup ID is now not pinned");
    assert_snapshot!(said("unpin"), @"backup ID is already not pinned");
    assert!(!project.is_pinned(&id));
    assert_eq!(project.manifest(&id), before);
    let commands: Vec<Value> = project.ended().iter().map(|line| json!([line["command"], line["id"]])).collect();
    assert_eq!(commands, [json!(["backup", id]), json!(["pin", id]), json!(["unpin", id])]);
}

#[test]
fn a_pin_in_a_manifest_of_format_1_counts_until_a_person_takes_it_back() {
    let shelf = Shelf::of(&[0, 30]);
    let (project, old) = (&shelf.project, shelf.id(30));
    project.edit_manifest(old, |manifest| {
        (manifest["format"], manifest["pinned"]) = (1.into(), true.into());
    });
    let manifest = project.manifest(old);
    let is_pinned = || {
        let listed = project.run("list --json").expect(0).json();
        let row = listed["backups"].as_array().unwrap().iter().find(|row| row["id"] == old).unwrap()["pinned"].clone();
        project.run("rotate --keep-days 0").expect(0);
        assert_eq!(project.run("list --json").expect(0).json()["backups"].as_array().unwrap().len(), 2);
        row
    };
    assert_eq!(is_pinned(), true);
    assert_eq!(project.run(&format!("pin {old} --json")).expect(0).json()["changed"], false);
    let json = project.run(&format!("unpin {old} --json")).expect(0).json();
    assert_eq!(json, json!({ "id": old, "pinned": false, "changed": true }));
    assert_eq!(project.manifest(old), manifest, "it is not written again");
    // If the ledger is lost, more is kept.
    let ledger = project.read("backups/history.jsonl");
    project.write("backups/history.jsonl", "");
    assert_eq!(is_pinned(), true);
    project.write("backups/history.jsonl", &ledger);
    project.run(&format!("pin {old}")).expect(0);
    assert!(project.is_pinned(old) && is_pinned() == true);
    project.run(&format!("unpin {old}")).expect(0);
    project.run("rotate --keep-days 0").expect(0);
    assert!(!ids(project).contains(old));
}

#[test]
fn a_pin_takes_what_from_takes() {
    let shelf = Shelf::of(&[0, 30]);
    let (new, old) = (shelf.id(0), shelf.id(30));
    let pinned = |id: &str| shelf.project.is_pinned(id);
    shelf.project.run(&format!("pin {}", &old[..8])).expect(0);
    assert!(pinned(old) && !pinned(new));
    let json = shelf.project.run("pin latest --json").expect(0).json();
    assert_eq!(json, json!({ "id": new, "pinned": true, "changed": true }));
    assert!(pinned(new));
    let json = shelf.project.run("pin latest --json").expect(0).json();
    assert_eq!(json["changed"], false);
    let day = format!("{}-{}-{}", &old[..4], &old[4..6], &old[6..8]);
    let json = shelf.project.run(&format!("unpin {day} --json")).expect(0).json();
    assert_eq!(json, json!({ "id": old, "pinned": false, "changed": true }));
}

#[test]
fn pinning_what_is_not_there_names_it() {
    let shelf = Shelf::of(&[0, 30]);
    let mut said = refused(&shelf.project.run("pin 19990101_000000"), 10);
    said = said.replace(shelf.id(0), "NEW").replace(shelf.id(30), "OLD");
    assert_snapshot!(shelf.project.redact(&said), @"
    error: no backup 19990101_000000 in ROOT/backups
    hint: there are OLD to NEW; `list` shows them all
    ");
    let json = shelf.project.run("unpin 19990101_000000 --json").expect(10).json();
    assert_eq!(json["error"]["kind"], "no_such_backup");
    let said = refused(&shelf.project.run("pin 20"), 10).replace(shelf.id(0), "NEW").replace(shelf.id(30), "OLD");
    assert_snapshot!(said, @"
    error: 20 could be 2 backups: OLD, NEW
    hint: give more of the id, or a time: --from 2025-12-10 means the newest of that day
    ");
}

#[test]
fn a_backup_without_a_manifest_cannot_be_pinned_and_need_not() {
    let shelf = Shelf::of(&[0]);
    let id = shelf.id(0);
    std::fs::remove_file(shelf.project.path(&format!("backups/manifest_{id}.json"))).unwrap();
    let before = shelf.project.stored();
    for command in ["pin", "unpin"] {
        let said = refused(&shelf.project.run(&format!("{command} {id}")), 10);
        allow_duplicates! {
            assert_snapshot!(shelf.told(&said), @"
            error: backup 0 days ago has no manifest, so it can't be pinned
            hint: rotation never removes it anyway
            ");
        }
    }
    assert_eq!(shelf.project.stored(), before);
}

#[test]
fn a_backup_that_is_known_to_be_damaged_takes_no_ones_place() {
    for damage in ["printf x >> backups/sessions_db_ID.db.gz", "rm backups/sessions_db_ID.db.gz"] {
        let project = Project::new();
        let (sound, damaged) = (project.backup(), project.backup());
        shell(project.root(), &damage.replace("ID", &damaged));
        project.run("rotate --keep-days 0 --keep-last 1").expect(0);
        assert!(project.stored().contains(&format!("sessions_db_{sound}.db.gz")), "{damage}: {:?}", project.stored());
    }
}

#[test]
fn a_backup_that_did_not_pass_its_verification_takes_no_ones_place() {
    let project = Project::new();
    let (sound, damaged) = (project.backup_with("--no-compress"), project.backup_with("--no-compress"));
    let flip = format!("printf x | dd of=backups/sessions_db_{damaged}.db bs=1 seek=20000 conv=notrunc 2>/dev/null");
    shell(project.root(), &flip);
    project.run("verify").expect(12);
    assert!(
        project
            .run("list")
            .expect(0)
            .stdout
            .lines()
            .any(|line| line.starts_with(&damaged) && line.contains(" damaged "))
    );
    project.run("rotate --keep-days 0 --keep-last 1").expect(0);
    project.run(&format!("verify --from {sound}")).expect(0);
}

/// Deletes all but a few sessions.
fn lose_sessions(project: &Project) {
    project.execute("DELETE FROM sessions WHERE id > 12");
}

#[test]
fn what_is_from_before_a_collapse_stays_for_thirty_days_whatever_the_policy_says() {
    let mut shelf = Shelf::of(&[6, 5]);
    lose_sessions(&shelf.project);
    shelf.add(4);
    shelf.add(3);
    shelf.add(0);
    for flags in ["--keep-days 0", "--keep-days 0 --keep-last 1", "--keep-days 1"] {
        let plan = shelf.dry(flags);
        assert!(plan.contains("keep    5 days ago  before the collapse of sessions_db"), "{flags}: {plan}");
    }
    let ran = shelf.project.run("rotate --keep-days 0");
    ran.expect(0);
    assert_snapshot!(sizeless(&shelf.told(&ran.stdout)), @"
    keep    0 days ago  newest complete backup, newest with config, newest with sessions_db
    remove  3 days ago  no rule keeps it
    keep    4 days ago  shows the collapse of sessions_db
    keep    5 days ago  before the collapse of sessions_db (sessions: 1,000 → 12 rows)
    remove  6 days ago  no rule keeps it
    rotation: 2 backups removed, SIZE kB freed
    ");
    shelf.project.run(&format!("restore --yes --database-only --from {}", shelf.id(5))).expect(0);
    assert_eq!(shelf.project.sessions(), 1000);
}

#[test]
fn the_days_are_counted_from_the_backup_that_found_the_collapse() {
    let shelf_of = |found: i64| {
        let mut shelf = Shelf::of(&[60]);
        lose_sessions(&shelf.project);
        shelf.add(found);
        shelf.add(0);
        shelf
    };
    let kept = |shelf: &Shelf| shelf.dry("--keep-days 0").contains("keep    60 days ago");
    let (recent, long_ago) = (shelf_of(29), shelf_of(30));
    assert!(kept(&recent) && !kept(&long_ago));
    recent.settings("keep_days = 7\nkeep_before_collapse = \"10d\"");
    long_ago.settings("keep_days = 7\nkeep_before_collapse = \"31d\"");
    assert!(!kept(&recent) && kept(&long_ago));
    long_ago.settings("keep_days = 7\nkeep_before_collapse = 0");
    assert!(!kept(&long_ago));
    recent.settings("keep_days = 7");
    assert!(kept(&recent), "a section that leaves it out doesn't turn it off");
}

#[test]
fn a_collapse_that_was_meant_is_accepted_and_that_can_be_taken_back() {
    let mut shelf = Shelf::of(&[5]);
    lose_sessions(&shelf.project);
    let shows = shelf.add(4);
    shelf.add(0);
    let before = shelf.dry("--keep-days 0");
    let manifest = shelf.project.manifest(&shows);
    let doctor = shelf.project.run("doctor").stdout;
    assert!(doctor.contains(&format!(" accept {shows}`\n")), "{doctor}");
    let accept = shelf.project.run(&format!("accept {shows}"));
    assert_eq!(accept.expect(0).stdout, format!("the collapse that {shows} shows is now accepted\n"));
    assert_eq!(shelf.project.manifest(&shows), manifest, "it is written into the ledger alone");
    let line = shelf.project.ledger().pop().unwrap();
    assert_eq!((&line["command"], &line["id"], &line["outcome"]), (&json!("accept"), &json!(shows), &json!("ok")));
    assert_snapshot!(shelf.dry("--keep-days 0"), @"
    keep    0 days ago  newest complete backup, newest with config, newest with sessions_db
    remove  4 days ago  no rule keeps it
    remove  5 days ago  the collapse of sessions_db was accepted
    dry run: 2 backups would be removed
    ");
    assert!(shelf.project.run("list").stdout.contains(&format!("{shows} shows the collapse of sessions_db")));
    let row = |id: &str| {
        let rows = shelf.project.run("list --json").json()["backups"].clone();
        rows.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap()["accepted"].clone()
    };
    assert_eq!(row(&shows), true);
    let again = shelf.project.run(&format!("accept {shows} --json"));
    assert_eq!(again.expect(0).json(), json!({ "id": shows, "accepted": true, "changed": false }));

    shelf.project.run(&format!("accept --undo {shows}")).expect(0);
    assert_eq!(row(&shows), false);
    assert_eq!(shelf.dry("--keep-days 0"), before);
    shelf.project.run(&format!("accept {shows}")).expect(0);
    shelf.project.run("rotate --keep-days 0").expect(0);
    assert_eq!(ids(&shelf.project).len(), 1);
}

#[test]
fn a_collapse_whose_rows_a_restore_brought_back_is_no_concern_any_more() {
    let mut shelf = Shelf::of(&[5]);
    lose_sessions(&shelf.project);
    let shows = shelf.add(4);
    let warns =
        || ["status", "list", "doctor -q"].map(|command| shelf.project.run(command).stderr.contains("the collapse of"));
    assert_eq!(warns(), [true; 3]);
    shelf.project.run(&format!("restore --yes --config-only --from {}", shelf.id(5))).expect(0);
    assert_eq!(warns(), [true; 3], "of the configuration alone");
    shelf.project.run(&format!("restore --yes --database-only --from {}", shelf.id(5))).expect(0);
    assert_eq!(warns(), [false; 3]);
    assert!(shelf.project.run("list").stdout.contains(&format!("{shows} shows the collapse of sessions_db")));
    let backup = shelf.project.run("backup --no-rotate");
    assert_eq!(backup.expect(0).stderr, "");
    assert_eq!(warns(), [false; 3]);
    shelf.project.run("restore --undo --yes").expect(0);
    assert_eq!(warns(), [true; 3], "they are lost again");
}

#[test]
fn only_a_collapse_can_be_accepted() {
    let shelf = Shelf::of(&[0]);
    let said = refused(&shelf.project.run(&format!("accept {}", shelf.id(0))), 2);
    assert_snapshot!(shelf.told(&shelf.project.redact(&said)), @"
    error: backup 0 days ago shows no collapse
    hint: `list` names those that do
    ");
    shelf.project.run("accept 2099").expect(10);
}

#[test]
fn the_newest_backup_with_each_configuration_file_stays() {
    let mut shelf = Shelf::of(&[9, 8]);
    std::fs::remove_file(shelf.project.path(".env")).unwrap();
    let settings = "[[files]]\nname = \"config\"\npaths = [\"data/station_info.json\"]\n";
    shelf.project.write("ops/backup.toml", settings);
    shelf.add(1);
    shelf.add(0);
    let ran = shelf.project.run("rotate --keep-days 0");
    ran.expect(0);
    assert_snapshot!(sizeless(&shelf.told(&ran.stdout)), @"
    keep    0 days ago  newest complete backup, newest with config, newest with sessions_db
    remove  1 days ago  no rule keeps it
    keep    8 days ago  newest with .env
    remove  9 days ago  no rule keeps it
    rotation: 2 backups removed, SIZE kB freed
    ");
}
