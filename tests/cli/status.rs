//! `list` and `status`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use chrono::{DateTime, Duration, Utc};
use insta::{allow_duplicates, assert_snapshot};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{CommandOutput, Project, shell, wait_for};

/// Changes a backup to one of this many hours before `now`.
fn age(project: &Project, made: &str, now: DateTime<Utc>, hours: i64) -> String {
    let id = (now - Duration::hours(hours)).format("%Y%m%d_%H%M%S").to_string();
    project.redate(made, &id);
    id
}

/// Makes a backup of this many hours ago.
fn aged(project: &Project, hours: i64) -> String {
    age(project, &project.backup_with("--no-rotate"), Utc::now(), hours)
}

fn max_age(project: &Project, limit: &str) {
    project.write("ops/backup.toml", &format!("[status]\nmax_age = \"{limit}\"\n"));
}

/// `text` with all digits made equal.
fn digitless(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect()
}

/// Runs the program on a terminal with this many columns; returns all that it shows, without colours.
fn on_terminal(project: &Project, columns: u32, command: &str) -> String {
    let (program, root) = (env!("CARGO_BIN_EXE_xtask"), project.root().display());
    let script = format!(
        "TZ=UTC TERM=xterm script -qec 'stty cols {columns}; exec {program} --root {root} {command}' /dev/null \
         </dev/null | sed 's/\\x1b\\[[0-9;]*m//g' | tr -d '\\r'"
    );
    shell(project.root(), &script)
}

/// Makes one backup for each status, all of today.
fn one_of_each(project: &Project) -> [String; 6] {
    let foreign = aged(project, 60);
    fs::remove_file(project.path(&format!("backups/manifest_{foreign}.json"))).unwrap();
    let unreadable = aged(project, 50);
    project.write(&format!("backups/manifest_{unreadable}.json"), "{\"format\": 1, no json");
    let pinned = age(project, &project.backup_with("--no-rotate --pin"), Utc::now(), 40);
    let proved = aged(project, 30);
    project.run(&format!("verify --from {proved}")).expect(0);
    let mut proof = project.ledger().pop().unwrap();
    proof["at"] = (Utc::now() - Duration::minutes(330)).to_rfc3339().into();
    project.write("backups/history.jsonl", &format!("{proof}\n"));
    fs::rename(project.path("data/sessions.db"), project.path("data/aside")).unwrap();
    let made = |ran: CommandOutput| ran.json()["backup"]["id"].as_str().unwrap().to_string();
    let partial = age(project, &made(project.run("backup --no-rotate --json")), Utc::now(), 20);
    let failed = age(project, &made(project.run("backup --no-rotate --json --database-only")), Utc::now(), 10);
    fs::rename(project.path("data/aside"), project.path("data/sessions.db")).unwrap();
    [failed, partial, proved, pinned, unreadable, foreign]
}

#[test]
fn a_list_is_a_table_with_the_newest_backup_first() {
    let project = Project::new();
    let ids = one_of_each(&project);
    let ran = project.run("list");
    ran.expect(0);
    assert_snapshot!(digitless(&ran.stdout), @"
    ID (UTC)        LOCAL TIME       AGE TRIGGER STATUS      ARTIFACTS             STORED    PLAIN PIN PROVED
    99999999_999999 9999-99-99 99:99 99h manual  failed                               9 B      9 B     never
    99999999_999999 9999-99-99 99:99 99h manual  partial     config                 999 B  9.99 kB     never
    99999999_999999 9999-99-99 99:99 99h manual  complete    sessions_db, config 99.99 kB 99.99 kB     9h ago
    99999999_999999 9999-99-99 99:99 99h manual  complete    sessions_db, config 99.99 kB 99.99 kB yes never
    99999999_999999 9999-99-99 99:99  9d -       unreadable                           9 B        -     never
    99999999_999999 9999-99-99 99:99  9d -       no manifest config, sessions_db 99.99 kB        -     never
    ");
    let first: Vec<&str> = ran.stdout.lines().skip(1).map(|line| &line[..15]).collect();
    assert_eq!(first, ids);
    let ages: Vec<&str> = ran.stdout.lines().skip(1).map(|line| line[32..37].trim()).collect();
    assert_eq!(ages, ["10h", "20h", "30h", "40h", "2d", "2d"]);
    let _filters = project.tidy();
    assert_snapshot!(ran.stderr, @"
    warning: ID: database ROOT/data/sessions.db doesn't exist
    warning: ID: database ROOT/data/sessions.db doesn't exist
    warning: manifest of ID can't be read: key must be a string at line 1 column 15
    warning: the last run, begun DATE, failed
    ");
}

#[test]
fn a_list_is_as_wide_as_it_needs_where_there_is_no_terminal() {
    let project = Project::new();
    let set = |n| format!("[[files]]\nname = 'set_of_files_{n}'\npaths = ['.env{n}']\n");
    (0..12).for_each(|n| project.write(&format!(".env{n}"), "A=1"));
    project.write("ops/backup.toml", &(0..12).map(set).collect::<Vec<_>>().concat());
    let id = project.backup();
    let ran = project.run("list");
    let lines: Vec<&str> = ran.expect(0).stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.stdout);
    assert!(lines[1].starts_with(&id) && lines[1].contains("set_of_files_0, ") && lines[1].contains("set_of_files_11"));
    assert!(lines[1].len() > 150, "{}", lines[1]);
}

#[test]
fn a_list_fits_a_terminal_of_80_columns() {
    let project = Project::new();
    let ids = one_of_each(&project);
    let shown = on_terminal(&project, 80, "list");
    for id in &ids {
        assert_eq!(shown.lines().filter(|line| line.starts_with(id)).count(), 1, "{id} in:\n{shown}");
    }
    let table = shown.lines().filter(|line| !line.starts_with("warning:"));
    assert_eq!(table.filter(|line| line.chars().count() > 80).collect::<Vec<_>>(), [""; 0], "{shown}");
    let wide = on_terminal(&project, 200, "list");
    let rows = wide.lines().filter(|line| !line.starts_with("warning:")).count();
    assert_eq!(rows, 1 + ids.len(), "a line for each backup where there is room:\n{wide}");
}

#[test]
fn local_time_stands_beside_the_id() {
    let project = Project::new();
    project.redate(&project.backup(), "20251210_233000");
    let ran = CommandOutput::of(project.command(["list"]).env("TZ", "XYZ-5:30"));
    assert!(ran.expect(0).stdout.contains("20251210_233000 2025-12-11 05:00"), "{}", ran.stdout);
    let made = CommandOutput::of(project.command(["backup", "--json"]).env("TZ", "XYZ-5:30")).json();
    let at = made["backup"]["created_at"].as_str().unwrap();
    assert!(at.ends_with("+05:30"), "{at}");
    assert_eq!(
        DateTime::parse_from_rfc3339(at).unwrap().to_utc().format("%Y%m%d_%H%M%S").to_string(),
        made["backup"]["id"]
    );
}

#[test]
fn a_store_without_backups_says_how_to_make_one() {
    let project = Project::new();
    for made in [false, true] {
        let ran = project.run("list");
        ran.expect(0);
        allow_duplicates! {
            assert_snapshot!(project.redact(&ran.all()), @"
            no backups yet in ROOT/backups
            hint: make one: `backup`
            ");
        }
        let json = project.run("list --json");
        assert_eq!(json.expect(0).json(), json!({ "backups": [], "last_run": null }));
        assert_eq!(project.path("backups").exists(), made, "looking makes nothing");
        fs::create_dir_all(project.path("backups")).unwrap();
    }
}

#[test]
fn a_backup_folder_that_was_named_has_to_be_there() {
    let project = Project::new();
    let nowhere = project.path("nowhere");
    for command in ["list", "status", "verify", "restore --from latest", "rotate", "drill", "pin 2"] {
        let ran = project.run(&format!("--backup-dir {} {command}", nowhere.display()));
        assert!(ran.expect(2).stderr.contains("/nowhere doesn't exist\nhint: check its name"), "{command}: {ran:?}");
    }
    project.write("ops/backup.toml", "backup_dir = 'nowhere'\n");
    project.run("list").expect(2);
    assert!(!nowhere.exists());
    project.run("backup").expect(0);
    project.run("list").expect(0);
}

/// The keys of an object.
fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[track_caller]
fn assert_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    assert!(DateTime::parse_from_rfc3339(text).is_ok(), "{text}");
}

#[test]
fn the_json_of_a_list_has_every_field_with_its_type() {
    let project = Project::new();
    let ids = one_of_each(&project);
    let json = project.run("list --json").expect(0).json();
    assert_eq!(keys(&json), BTreeSet::from(["backups", "last_run"]));
    assert_eq!(json["last_run"]["what"], "failed");
    let rows = json["backups"].as_array().unwrap();
    let listed: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(listed, ids);
    for row in rows {
        let expected = "id type parent inherited created_at age_s trigger status artifacts bytes plain_bytes pinned \
                        last_proved problem collapses accepted";
        assert_eq!(keys(row), expected.split(' ').collect());
        assert_time(&row["created_at"]);
        assert_eq!((&row["collapses"], &row["accepted"]), (&serde_json::json!([]), &false.into()));
        assert!(row["age_s"].is_u64() && row["bytes"].is_u64() && row["pinned"].is_boolean(), "{row}");
        for artifact in row["artifacts"].as_array().unwrap() {
            assert_eq!(keys(artifact), "name kind file bytes plain_bytes".split(' ').collect());
            let file = project.path(&format!("backups/{}", artifact["file"].as_str().unwrap()));
            assert_eq!(artifact["bytes"], file.metadata().unwrap().len());
        }
    }
    let of = |field: &str| rows.iter().map(|row| row[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("status"), ["failed", "partial", "complete", "complete", "unreadable", "no manifest"]);
    assert_eq!(of("pinned"), [false, false, false, true, false, false]);
    let manual = || json!("manual");
    assert_eq!(of("trigger"), [manual(), manual(), manual(), manual(), Value::Null, Value::Null]);
    assert_time(&rows[2]["last_proved"]);
    assert_eq!(rows.iter().filter(|row| row["last_proved"].is_null()).count(), 5);
    let plain = rows[3]["artifacts"].as_array().unwrap().iter().map(|a| a["plain_bytes"].as_u64().unwrap());
    assert_eq!(rows[3]["plain_bytes"], plain.sum::<u64>());
    assert_eq!([&rows[4]["plain_bytes"], &rows[5]["plain_bytes"]], [&Value::Null, &Value::Null]);
    assert!(rows[0]["problem"].as_str().unwrap().contains("doesn't exist"), "{}", rows[0]);
    assert!(rows[4]["problem"].as_str().unwrap().contains("can't be read"), "{}", rows[4]);
    assert_eq!(rows[3]["problem"], Value::Null);
    assert!((108_000..108_600).contains(&rows[2]["age_s"].as_u64().unwrap()), "{}", rows[2]);
}

#[test]
fn a_missing_file_of_a_backup_shows_as_no_bytes() {
    let project = Project::new();
    let id = project.backup();
    fs::remove_file(project.path(&project.artifact(&id, "sessions_db"))).unwrap();
    let row = &project.run("list --json").expect(0).json()["backups"][0];
    assert_eq!(row["artifacts"][0]["name"], "sessions_db");
    assert_eq!(row["artifacts"][0]["bytes"], Value::Null);
    assert_eq!(row["bytes"], row["artifacts"][1]["bytes"]);
}

#[test]
fn terminal_escapes_in_a_manifest_never_reach_the_terminal() {
    let project = Project::new();
    let evil = "\u{1b}[31mred\u{1b}]0;title\u{7}";
    let failing = project.backup();
    project.edit_manifest(&failing, |manifest| {
        manifest["project"] = evil.into();
        manifest["host"] = evil.into();
        manifest["status"] = "partial".into();
        manifest["errors"] = json!([{ "name": evil, "message": evil }]);
        manifest["warnings"] = json!([{ "code": evil, "message": evil }]);
        manifest["tool"]["version"] = evil.into();
    });
    let unreadable = project.backup();
    project.edit_manifest(&unreadable, |manifest| manifest["trigger"] = evil.into());
    let renamed = project.backup();
    project.edit_manifest(&renamed, |manifest| manifest["artifacts"][0]["file"] = evil.into());
    let commands = ["list", "status", "rotate --dry-run", "verify --all", "-v list"].map(String::from).into_iter();
    let single = [failing, unreadable, renamed].into_iter().flat_map(|id| {
        ["restore --dry-run --from", "verify -v --from", "drill --from", "pin"].map(|command| format!("{command} {id}"))
    });
    let mut said = String::new();
    for command in commands.chain(single) {
        // Without a terminal all escapes are removed; only with colours the test can see which ones pass.
        let ran = project.run(&format!("{command} --color always"));
        let passed = |text: &str| ran.all().contains(text);
        assert!(!passed("\u{1b}]") && !passed("\u{7}") && !passed("\u{1b}[31mred"), "{command}: {ran:?}");
        said += &ran.all();
    }
    assert!(said.contains("[31mred") && said.contains("\u{1b}["), "made visible, not hidden: {said}");
    for command in ["list --json", "status --json"] {
        let ran = project.run(command);
        assert!(!ran.all().contains(['\u{1b}', '\u{7}']), "{command}: {ran:?}");
        ran.json();
    }
}

#[test]
fn terminal_escapes_in_the_ledger_or_the_lock_never_reach_the_terminal() {
    let project = Project::new();
    let id = project.backup();
    let evil = "/tmp/\u{1b}[31mred\u{1b}]0;title\u{7}";
    let restore = json!({ "target": evil, "kept": id, "written": [], "moved_aside": [evil] });
    let line = json!({
        "at": Utc::now().to_rfc3339(), "command": "restore", "outcome": "begun", "id": id, "error": evil,
        "restore": restore,
    });
    let ledger = project.read("backups/history.jsonl");
    project.write("backups/history.jsonl", &format!("{ledger}{line}\n"));
    let lock = fs::File::open(project.path("backups/.lock")).unwrap();
    lock.lock().unwrap();
    let holder = json!({ "pid": 1, "host": evil, "command": evil, "since": evil });
    project.write("backups/.lock", &holder.to_string());
    let locked = project.run("verify --lock-wait 1ms --color always");
    locked.expect(11);
    drop(lock);
    let undo = project.run("restore --undo --dry-run --color always");
    let status = project.run("status --color always");
    for ran in [locked, undo, status] {
        let passed = |text: &str| ran.all().contains(text);
        assert!(!passed("\u{1b}]") && !passed("\u{7}") && !passed("\u{1b}[31mred"), "{ran:?}");
    }
}

#[test]
fn status_tells_how_things_stand() {
    let project = Project::new();
    let id = aged(&project, 3);
    project.run("drill").expect(0);
    let ran = project.run("status");
    ran.expect(0);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&id, "ID");
    settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d", "DATE");
    settings.add_filter(r"\b\d+s ago", "SOME s ago");
    settings.add_filter(r"\d+(\.\d+)? ([kMGT]?B)", "SIZE");
    settings.add_filter(r"room for \d+", "room for MANY");
    settings.add_filter(r"\d+ ms", "TIME");
    settings.bind(|| {
        assert_snapshot!(ran.all(), @"
        last run        ID, DATE (3h ago), complete
        last success    ID, DATE (3h ago)
        last verify     never
        last drill      ID, DATE (SOME s ago), passed
        sessions_db     fresh: ID, DATE (3h ago); verified never, drilled SOME s ago
        config          fresh: ID, DATE (3h ago); verified never, drilled SOME s ago
        backups         1, SIZE stored
        newest          SIZE
        growth          not known yet
        free space      SIZE, room for MANY more backups
        measured RPO    3h between backups at worst
        measured RTO    TIME
        fresh: everything has a sound copy younger than 26h
        ");
    });
}

#[test]
fn status_fails_if_the_newest_complete_backup_is_older_than_the_limit() {
    let project = Project::new();
    aged(&project, 27);
    let ran = project.run("status");
    ran.expect(1);
    assert_snapshot!(ran.stdout.lines().last().unwrap(), @"not fresh: no sound copy younger than 26h of sessions_db, config");
    let _tidy = project.tidy();
    assert_snapshot!(project.redact(&ran.stderr), @"
    failure: sessions_db: its newest sound copy, in ID, is 27h old, and it should be younger than 26h
    failure: config: its newest sound copy, in ID, is 27h old, and it should be younger than 26h
    warning: never drilled: nobody knows whether a restore works
    hint: make one now: `backup`; then see why there was none: `timer`
    ");
    max_age(&project, "28h");
    project.run("status").expect(0);
    max_age(&project, "90m");
    let json = project.run("status --json").expect(1).json();
    assert_eq!([&json["fresh"], &json["max_age_s"]], [&json!(false), &json!(5400)]);
    let quiet = project.run("status --quiet");
    assert_eq!(quiet.expect(1).stdout, "");
}

#[test]
fn status_fails_if_there_is_no_backup_at_all() {
    let project = Project::new();
    let ran = project.run("status");
    ran.expect(1);
    assert_snapshot!(ran.stdout.lines().filter(|line| !line.starts_with("free space")).collect::<Vec<_>>().join("\n"), @"
    last run        never
    last success    never
    last verify     never
    last drill      never
    sessions_db     never saved; verified never, drilled never
    config          never saved; verified never, drilled never
    backups         0, 0 B stored
    newest          unknown
    growth          not known yet
    measured RPO    not known yet
    measured RTO    not known yet: run a drill
    not fresh: no sound copy younger than 26h of sessions_db, config
    ");
    assert_snapshot!(project.redact(&ran.stderr), @"
    failure: there is no backup yet
    warning: never drilled: nobody knows whether a restore works
    hint: make one now: `backup`
    ");
    assert!(!project.path("backups").exists(), "looking makes nothing");
    let json = project.run("status --json").expect(1).json();
    for field in ["last", "last_success", "last_proved", "newest_bytes", "growth_bytes_per_day", "rpo_s", "rto_ms"] {
        assert_eq!(json[field], Value::Null, "{field}");
    }
    assert_eq!([&json["backups"], &json["stored_bytes"]], [&json!(0), &json!(0)]);
}

#[test]
fn a_newer_run_that_failed_does_not_make_it_fresh() {
    let project = Project::new();
    let old = aged(&project, 27);
    fs::rename(project.path("data/sessions.db"), project.path("data/aside")).unwrap();
    for (flags, code, what) in [("", 3, "partial"), ("--database-only", 1, "failed")] {
        let made = project.run(&format!("backup --json {flags}")).expect(code).json();
        let json = project.run("status --json").expect(1).json();
        assert_eq!(json["last"]["id"], made["backup"]["id"]);
        assert_eq!(json["last"]["what"], what);
        assert_eq!(json["last_success"]["id"], *old);
    }
    project.run("backup --config-only").expect(0);
}

#[test]
fn what_a_restore_kept_does_not_make_it_fresh() {
    let project = Project::new();
    let old = aged(&project, 27);
    project.run("restore --from latest --yes").expect(0);
    let json = project.run("status --json").expect(1).json();
    assert_eq!(json["last_success"]["id"], *old);
}

#[test]
fn the_measured_rpo_is_the_longest_gap_between_complete_backups() {
    let project = Project::new();
    let now = Utc::now();
    for hours in [100, 76, 5, 1] {
        age(&project, &project.backup_with("--no-rotate"), now, hours);
    }
    assert_eq!(project.run("status --json").expect(0).json()["rpo_s"], 71 * 3600);
    assert!(project.run("status").stdout.contains("measured RPO    2d between backups at worst"));
}

#[test]
fn the_time_since_the_newest_backup_counts_as_a_gap() {
    let project = Project::new();
    let now = Utc::now();
    for hours in [110, 100] {
        age(&project, &project.backup_with("--no-rotate"), now, hours);
    }
    let rpo = project.run("status --json").expect(1).json()["rpo_s"].as_u64().unwrap();
    assert!((100 * 3600..100 * 3600 + 600).contains(&rpo), "{rpo}");
}

#[test]
fn the_measured_rto_is_the_time_of_the_last_drill_or_restore() {
    let project = Project::new();
    project.backup();
    project.run("verify").expect(0);
    let rto = || project.run("status --json").expect(0).json()["rto_ms"].clone();
    assert_eq!(rto(), Value::Null, "a verification restores nothing");
    for command in ["drill", "restore --from latest --yes --to elsewhere", "drill"] {
        CommandOutput::of(project.command(command.split(' ')).current_dir(project.root())).expect(0);
        assert_eq!(rto(), project.ledger().last().unwrap()["duration_ms"], "{command}");
    }
    // The later of two different times counts.
    let mut line = project.ledger().pop().unwrap();
    line["duration_ms"] = 123_456.into();
    line["at"] = Utc::now().to_rfc3339().into();
    let ledger = project.read("backups/history.jsonl");
    project.write("backups/history.jsonl", &format!("{ledger}{line}\n"));
    assert_eq!(rto(), 123_456);
    assert!(project.run("status").stdout.contains("measured RTO    2 min 3 s"));
}

#[test]
fn growth_is_what_the_content_gains_in_a_day() {
    let project = Project::new();
    let now = Utc::now();
    let first = age(&project, &project.backup_with("--no-rotate"), now, 241);
    project.execute("CREATE TABLE notes AS SELECT x.id, hex(randomblob(500)) FROM sessions x;");
    let second = age(&project, &project.backup_with("--no-rotate"), now, 1);
    let plain = |id: &str| -> i64 {
        let manifest = project.manifest(id);
        manifest["artifacts"].as_array().unwrap().iter().map(|a| a["plain_bytes"].as_i64().unwrap()).sum()
    };
    let json = project.run("status --json").expect(0).json();
    let gained = plain(&second) - plain(&first);
    assert!(gained > 1_000_000, "{gained}");
    assert_eq!(json["growth_bytes_per_day"], gained / 10);
    assert!(project.run("status").stdout.contains("growth          +"), "{}", project.run("status").stdout);
}

#[test]
fn free_space_is_what_df_says_and_how_many_backups_fit_follows() {
    let project = Project::new();
    project.backup();
    let json = project.run("status --json").expect(0).json();
    let df: u64 = shell(&project.path("backups"), "df --output=avail -B1 . | tail -1").trim().parse().unwrap();
    let free = json["free_bytes"].as_u64().unwrap();
    // Other processes write to the same disk meanwhile.
    assert!(free.abs_diff(df) < df / 5, "{free}, df: {df}");
    // Each backup also needs room for the snapshot that it is made from.
    let plain = project.run("list --json").expect(0).json()["backups"][0]["plain_bytes"].as_u64().unwrap();
    assert_eq!(json["more_backups_fit"], (free - plain) / json["newest_bytes"].as_u64().unwrap());
}

#[test]
fn status_counts_the_bytes_that_are_there() {
    let project = Project::new();
    one_of_each(&project);
    let newest = project.backup_with("--no-rotate");
    let bytes = |pattern: &str| -> u64 {
        let names = project.stored().into_iter().filter(|name| name.contains(pattern) && !name.contains("manifest_"));
        names.map(|name| project.path(&format!("backups/{name}")).metadata().unwrap().len()).sum()
    };
    let json = project.run("status --json").expect(0).json();
    assert_eq!(json["newest_bytes"], bytes(&newest));
    let unreadable = project.run("list --json").json()["backups"][5]["id"].as_str().unwrap().to_string();
    assert_eq!(json["backups"], 5, "all but the failed and the unreadable one");
    assert_eq!(json["stored_bytes"], bytes("") - bytes(&unreadable));
}

#[test]
fn the_json_of_status_has_every_field_with_its_type() {
    let project = Project::new();
    let id = aged(&project, 2);
    project.run("verify").expect(0);
    project.run("drill").expect(0);
    let json = project.run("status --json").expect(0).json();
    let expected = "verdict concerns fresh max_age_s sources last last_success last_proved last_verify last_drill \
                    backups stored_bytes newest_bytes growth_bytes_per_day free_bytes needed_bytes \
                    more_backups_fit rpo_s rto_ms";
    assert_eq!(keys(&json), expected.split_whitespace().collect());
    for field in ["last", "last_success", "last_proved", "last_verify", "last_drill"] {
        assert_eq!(keys(&json[field]), "id at age_s what".split(' ').collect(), "{field}");
        assert_time(&json[field]["at"]);
        assert!(json[field]["age_s"].is_u64());
        assert_eq!(json[field]["id"], *id);
    }
    assert_eq!([&json["last"]["what"], &json["last_proved"]["what"]], ["complete", "drill"]);
    assert_eq!([&json["last_verify"]["what"], &json["last_drill"]["what"]], ["ok", "ok"]);
    assert_eq!((&json["verdict"], &json["concerns"]), (&json!("ok"), &json!([])));
    for (source, name) in json["sources"].as_array().unwrap().iter().zip(["sessions_db", "config"]) {
        assert_eq!(keys(source), "name state id at saved_at age_s verified drilled".split(' ').collect());
        assert_eq!([&source["name"], &source["state"], &source["id"]], [name, "fresh", &id]);
        for field in ["at", "saved_at", "verified", "drilled"] {
            assert_time(&source[field]);
        }
    }
    let figures = "max_age_s backups stored_bytes newest_bytes free_bytes more_backups_fit rpo_s rto_ms";
    for figure in figures.split(' ') {
        assert!(json[figure].is_u64(), "{figure}: {}", json[figure]);
    }
    assert_eq!(json["fresh"], true);
    assert_eq!(json["max_age_s"], 26 * 3600);
    assert_eq!(json["growth_bytes_per_day"], Value::Null, "one backup says nothing about growth");
}

#[test]
fn a_backup_that_is_known_to_be_damaged_is_no_success() {
    let project = Project::new();
    let id = project.backup();
    project.run("status").expect(0);
    shell(project.root(), "rm backups/sessions_db_*.db.gz");
    let status = project.run("status --json").expect(1).json();
    assert_eq!((&status["fresh"], &status["last_success"]), (&json!(false), &Value::Null));
    assert_eq!(status["last"]["id"], id.as_str());
}

/// A project with a backup of its configuration alone.
fn of_configuration_alone() -> Project {
    let project = Project::new();
    project.run("backup --config-only").expect(0);
    project
}

#[test]
fn a_database_that_was_never_saved_is_neither_fresh_nor_well_nor_drilled() {
    let project = of_configuration_alone();
    let status = project.run("status");
    assert!(status.expect(1).stderr.contains("failure: sessions_db was never saved\n"), "{status:?}");
    let json = project.run("status --json").expect(1).json();
    assert_eq!([&json["verdict"], &json["fresh"]], [&json!("failure"), &json!(false)]);
    let states: Vec<&Value> = json["sources"].as_array().unwrap().iter().map(|source| &source["state"]).collect();
    assert_eq!(states, ["never_saved", "fresh"]);
    let doctor = project.run("doctor --json");
    let checks = doctor.expect(1).json()["checks"].clone();
    let newest = checks.as_array().unwrap().iter().find(|check| check["check"] == "newest backup").unwrap();
    assert_eq!([&newest["verdict"], &newest["detail"]], ["failure", "sessions_db was never saved"]);

    let drill = project.run("drill");
    assert!(
        drill.stderr.starts_with("warning: backup ") && drill.stderr.contains(" holds no sessions_db\n"),
        "{drill:?}"
    );
    assert!(drill.expect(3).stdout.contains("it holds no sessions_db"), "{drill:?}");
    assert!(!drill.all().contains("passed"), "{drill:?}");
    let line = project.ledger().pop().unwrap();
    assert_eq!([&line["command"], &line["outcome"]], ["drill", "partial"]);
    assert_eq!((&line["error"], &line["proved"]), (&json!("it holds no sessions_db"), &json!(["config"])));
    let json = project.run("drill --json").expect(3).json();
    assert_eq!((&json["drill"]["passed"], &json["drill"]["lacks"]), (&json!(false), &json!(["sessions_db"])));
    project.run("restore --from latest --yes").expect(10);

    project.backup();
    project.run("status").expect(0);
    project.run("drill").expect(0);
}

/// What `status`, `list` and `doctor` say about the last run.
#[track_caller]
fn assert_last_run(project: &Project, what: &str, sentence: &str) {
    assert_eq!(project.run("status --json").json()["last"]["what"], what);
    assert_eq!(project.run("list --json").json()["last_run"]["what"], what);
    for command in ["status", "list", "doctor", "doctor -q"] {
        let ran = project.run(command);
        assert!(ran.all().contains(sentence), "{command}: {ran:?}");
    }
}

#[test]
fn a_run_that_was_killed_or_stopped_shows_until_another_one_ends_well() {
    let project = Project::new();
    project.backup();
    for (signal, what, sentence) in
        [(Signal::KILL, "killed", "was killed"), (Signal::INT, "interrupted", "was interrupted")]
    {
        // Locked, so that the run waits in the middle.
        let locked = project.open();
        locked.execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE").unwrap();
        let lines = project.ledger().len();
        let mut child = project.command(["backup"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the run to begin", || project.ledger().len() > lines);
        assert_eq!(project.run("status --json").json()["last"]["what"], "running");
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
        drop(locked);
        assert_last_run(&project, what, sentence);
    }
    fs::remove_file(project.path(".env")).unwrap();
    project.run("backup").expect(3);
    assert_last_run(&project, "partial", "saved only a part");
    project.write(".env", "A=1");
    project.backup();
    assert_eq!(project.run("status --json").expect(0).json()["last"]["what"], "complete");
    assert!(!project.run("list").expect(0).all().contains("the last run"));
}

#[test]
fn a_backup_dated_in_the_future_is_not_fresh() {
    let project = Project::new();
    age(&project, &project.backup(), Utc::now(), -5);
    let status = project.run("status");
    assert!(status.expect(1).stderr.contains("ahead of the clock"), "{status:?}");
    assert_eq!(project.run("status --json").expect(1).json()["sources"][0]["state"], "future");
}

#[test]
fn a_quiet_doctor_says_what_is_wrong_and_nothing_else() {
    let project = Project::new();
    let ran = project.run("doctor -q");
    assert_eq!(ran.expect(1).stdout, "");
    let failures = project.run("doctor --json").json()["checks"].clone();
    for check in failures.as_array().unwrap() {
        let (name, detail) = (check["check"].as_str().unwrap(), check["detail"].as_str().unwrap());
        let told = ran.stderr.contains(&format!(": {name}: {detail}\n"));
        assert_eq!(told, check["verdict"] != "ok", "{check}: {}", ran.stderr);
    }
    assert!(ran.stderr.contains("hint: "), "{ran:?}");
}

#[test]
fn one_more_backup_has_no_plural() {
    let project = Project::new();
    let id = project.backup();
    let free = project.run("status --json").expect(0).json()["free_bytes"].as_u64().unwrap();
    // A sparse file of such a size that one and a half of it still fit.
    let stored = project.artifact(&id, "sessions_db");
    fs::File::options().write(true).open(project.path(&stored)).unwrap().set_len(free / 3 * 2).unwrap();
    project.edit_artifact(&id, "sessions_db", |artifact| artifact["bytes"] = (free / 3 * 2).into());
    let ran = project.run("status");
    assert!(ran.expect(1).stdout.contains(", room for 1 more backup\n"), "{ran:?}");
}
