//! `backup`: what it stores and prints, and that standard tools agree with it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{CommandOutput, Project, as_nobody, program, shell};

/// The artifact `name` in a backup's manifest.
fn recorded(project: &Project, id: &str, name: &str) -> Value {
    let manifest = project.manifest(id);
    manifest["artifacts"].as_array().unwrap().iter().find(|artifact| artifact["name"] == name).unwrap().clone()
}

/// The digest of a script's output, by `sha256sum`.
fn sha256(folder: &Path, script: &str) -> String {
    shell(folder, &format!("{{ {script}; }} | sha256sum"))[..64].to_string()
}

/// Runs SQL on a database with `sqlite3`.
fn sqlite3(folder: &Path, database: &str, sql: &str) -> String {
    shell(folder, &format!("sqlite3 {database} \"{sql}\"")).trim_end().to_string()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The names in a folder of the project, sorted.
fn names(project: &Project, folder: &str) -> Vec<String> {
    shell(&project.path(folder), "ls -A").lines().map(String::from).collect()
}

/// The stored names of a backup, with ID for its id.
fn names_of(project: &Project, id: &str) -> Vec<String> {
    project.stored().iter().filter(|file| file.contains(id)).map(|file| file.replace(id, "ID")).collect()
}

/// Fills the live database with some MB of text that compresses.
fn grow(project: &Project) {
    project.execute(
        "CREATE TABLE log(id INTEGER PRIMARY KEY, line TEXT);
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 40000)
         INSERT INTO log SELECT x, printf('%d charger %d says %x and %x', x, x % 7, x * 2654435761, x * 40503) FROM n;",
    );
}

// What it says.

#[test]
fn the_last_line_says_what_was_made_and_how_big() {
    let project = Project::new();
    let _tidy = project.tidy();
    insta::assert_snapshot!(project.run("backup").snapshot(), @"
      sessions_db_ID.db.gz  SIZE (plain SIZE)
      config_ID.tar.gz  SIZE (plain SIZE)
    backup ID complete: SIZE, from SIZE, in TIME
    --
    => 0
    ");
}

#[test]
fn json_gives_the_manifest_as_it_is_stored() {
    let project = Project::new();
    let ran = project.run("backup --json");
    ran.expect(0);
    let document = ran.json();
    let id = document["backup"]["id"].as_str().unwrap();
    assert_eq!(document["backup"], project.manifest(id));
    assert_eq!(document["rotation"], json!({ "removed": [], "freed_bytes": 0 }));
    assert_eq!(ran.stderr, "");
}

#[test]
fn quiet_says_nothing_when_all_is_well() {
    let project = Project::new();
    assert_eq!(project.run("backup -q").expect(0).snapshot(), "--\n=> 0");
}

#[test]
fn quiet_still_prints_warnings_and_errors() {
    let project = Project::new();
    let _tidy = project.tidy();
    fs::remove_file(project.path(".env")).unwrap();
    insta::assert_snapshot!(project.run("backup -q").snapshot(), @"
    --
    warning: .env doesn't exist, so it is not in this backup
    => 0
    ");
    fs::remove_file(project.path("data/sessions.db")).unwrap();
    insta::assert_snapshot!(project.run("backup -q").snapshot(), @"
    --
    warning: .env doesn't exist, so it is not in this backup
    error: database ROOT/data/sessions.db doesn't exist
    hint: check the path in the settings, or bring it back: `restore --from latest --database-only`
    hint: fix what failed above, then run `backup` again
    => 3
    ");
}

// Flags.

#[test]
fn each_codec_has_its_ending() {
    let project = Project::new();
    for (flags, ending) in
        [("", ".gz"), ("--codec gzip", ".gz"), ("--codec zstd", ".zst"), ("--codec none", ""), ("--no-compress", "")]
    {
        let id = project.backup_with(flags);
        let expected =
            [format!("config_ID.tar{ending}"), "manifest_ID.json".into(), format!("sessions_db_ID.db{ending}")];
        assert_eq!(names_of(&project, &id), expected, "{flags}");
    }
}

#[test]
fn database_only_leaves_the_configuration_out() {
    let project = Project::new();
    let id = project.backup_with("--database-only");
    assert_eq!(names_of(&project, &id), ["manifest_ID.json", "sessions_db_ID.db.gz"]);
    assert_eq!(project.manifest(&id)["status"], "complete");
}

#[test]
fn config_only_leaves_the_database_out() {
    let project = Project::new();
    fs::remove_file(project.path("data/sessions.db")).unwrap();
    let id = project.backup_with("--config-only");
    assert_eq!(names_of(&project, &id), ["config_ID.tar.gz", "manifest_ID.json"]);
    assert_eq!(project.manifest(&id)["status"], "complete");
}

#[test]
fn a_higher_level_makes_smaller_artifacts_of_the_same_bytes() {
    let project = Project::new();
    grow(&project);
    for (fast, small) in
        [("--level 1", "--level 9"), ("--codec zstd --level 1", "--codec zstd --level 19"), ("--level 1", "")]
    {
        let [fast, small] = [fast, small].map(|flags| recorded(&project, &project.backup_with(flags), "sessions_db"));
        assert_eq!(fast["plain_sha256"], small["plain_sha256"]);
        assert!(small["bytes"].as_u64() < fast["bytes"].as_u64(), "{small} {fast}");
    }
}

#[test]
fn without_a_level_it_is_the_one_of_the_settings() {
    let project = Project::new();
    grow(&project);
    let bytes = |flags: &str| recorded(&project, &project.backup_with(flags), "sessions_db")["bytes"].clone();
    assert_eq!((bytes(""), bytes("--codec zstd")), (bytes("--level 6"), bytes("--codec zstd --level 1")));
    project.write("ops/backup.toml", "[codec]\ngzip_level = 1\nzstd_level = 9\n");
    assert_eq!((bytes(""), bytes("--codec zstd")), (bytes("--level 1"), bytes("--codec zstd --level 9")));
    assert_ne!(bytes("--level 6"), bytes(""));
}

#[test]
fn pin_is_recorded() {
    let project = Project::new();
    let [pinned, other] = [project.backup_with("--pin"), project.backup()];
    assert_eq!((project.is_pinned(&pinned), project.is_pinned(&other)), (true, false));
    assert_eq!(project.manifest(&pinned).get("pinned"), None, "a manifest never changes");
}

/// Makes a complete backup of each of these days ago; returns the ids.
fn of_days_ago(project: &Project, days: &[i64]) -> Vec<String> {
    let id = |days: &i64| (Utc::now() - TimeDelta::days(*days)).format("%Y%m%d_%H%M%S").to_string();
    let ids: Vec<String> = days.iter().map(id).collect();
    for id in &ids {
        project.redate(&project.backup_with("--no-rotate"), id);
    }
    ids
}

#[test]
fn a_backup_rotates_by_the_policy_and_says_so() {
    let project = Project::new();
    let _tidy = project.tidy();
    let ids = of_days_ago(&project, &[10, 9, 5, 2]);
    let [older, old] = [ids[0].as_str(), ids[1].as_str()];
    project.run(&format!("pin {older}")).expect(0);
    insta::assert_snapshot!(project.run("backup").snapshot(), @"
      sessions_db_ID.db.gz  SIZE (plain SIZE)
      config_ID.tar.gz  SIZE (plain SIZE)
    backup ID complete: SIZE, from SIZE, in TIME
    rotation: 1 backup removed, SIZE freed
    --
    => 0
    ");
    assert_eq!((names_of(&project, old).len(), names_of(&project, older).len()), (0, 4));

    project.run(&format!("unpin {older}")).expect(0);
    let document = project.run("backup --json").json();
    assert_eq!(document["rotation"]["removed"], json!([older]));
    assert!(document["rotation"]["freed_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn after_a_gap_nothing_is_removed_until_the_window_is_filled_again() {
    let project = Project::new();
    let _tidy = project.tidy();
    of_days_ago(&project, &[30, 29, 28, 0]);
    let ran = project.run("backup");
    insta::assert_snapshot!(ran.expect(0).stderr, @"warning: nothing is removed: between ID and ID there is no complete backup for 28 days, and the 7 days since then are not filled yet; backups had stopped, or the clock jumped");
    assert_eq!(
        project.run("rotate").expect(0).stdout.lines().last().unwrap().split(',').next(),
        Some("rotation: 3 backups removed")
    );
}

#[test]
fn no_rotate_leaves_every_older_backup() {
    let project = Project::new();
    project.redate(&project.backup(), "20200101_000000");
    let ran = project.run("backup --json --no-rotate");
    assert_eq!(ran.expect(0).json()["rotation"], Value::Null);
    assert_eq!(names_of(&project, "20200101_000000").len(), 3);
}

#[test]
fn a_backup_folder_flag_is_relative_to_where_it_is_typed() {
    let project = Project::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = project.command(["backup", "--backup-dir", "safe/place"]);
    CommandOutput::of(command.current_dir(elsewhere.path())).expect(0);
    assert_eq!(shell(elsewhere.path(), "ls safe/place | wc -l").trim(), "5");
    assert_eq!(names(&project, "."), [".env", "data"]);
}

#[test]
fn the_root_may_be_relative_too() {
    let project = Project::new();
    let mut command = program();
    CommandOutput::of(command.args(["--root", "../data/..", "backup"]).current_dir(project.path("data"))).expect(0);
    assert_eq!(project.stored().len(), 3);
}

#[test]
fn a_backup_folder_in_the_settings_is_relative_to_the_root() {
    let project = Project::new();
    let absolute = tempfile::tempdir().unwrap();
    for folder in ["../safe", absolute.path().join("b").to_str().unwrap()] {
        project.write("app/ops/backup.toml", &format!("backup_dir = '{folder}'\ndatabase = []\n"));
        project.write("app/.env", "A=1\n");
        let mut command = program();
        CommandOutput::of(command.arg("--root").arg(project.path("app")).arg("backup")).expect(0);
    }
    assert_eq!(names(&project, "safe").len(), 6);
    assert_eq!(shell(absolute.path(), "ls b | wc -l").trim(), "4");
}

#[test]
fn flags_beat_the_settings_and_those_beat_the_defaults() {
    let project = Project::new();
    project.write("ops/backup.toml", "project = 'charger'\nbackup_dir = 'set'\n[codec]\nname = 'zstd'\n");
    project.run("backup").expect(0);
    assert!(names(&project, "set").iter().any(|name| name.ends_with(".db.zst")));
    project.write("other.toml", "backup_dir = 'other'\n[codec]\nname = 'none'\n");
    let other = project.path("other.toml");
    let config = format!("--config {}", other.display());
    project.run(&format!("{config} backup")).expect(0);
    assert!(names(&project, "other").iter().any(|name| name.ends_with(".db")));
    let flagged = project.path("flagged");
    project.run(&format!("{config} backup --codec gzip --backup-dir {}", flagged.display())).expect(0);
    assert!(names(&project, "flagged").iter().any(|name| name.ends_with(".db.gz")));
    assert_eq!(names(&project, "other").len(), 7);
    let manifest = shell(&project.path("set"), "cat manifest_*");
    assert_eq!(serde_json::from_str::<Value>(&manifest).unwrap()["project"], "charger");
    assert!(!project.path("backups").exists());
}

#[test]
fn several_databases_and_sets_of_files_are_all_saved() {
    let project = Project::new();
    project.write("etc/a.conf", "a\n");
    project.write("etc/b.conf", "b\n");
    shell(project.root(), "sqlite3 data/users.db 'CREATE TABLE users(id); INSERT INTO users VALUES (1), (2)'");
    project.write(
        "ops/backup.toml",
        "[[database]]\nname = 'sessions'\npath = 'data/sessions.db'\n\
         [[database]]\nname = 'users'\npath = 'data/users.db'\n\
         [[files]]\nname = 'env'\npaths = ['.env']\n[[files]]\nname = 'etc'\npaths = ['etc/a.conf', 'etc/b.conf']\n",
    );
    let id = project.backup();
    let expected = ["env_ID.tar.gz", "etc_ID.tar.gz", "manifest_ID.json", "sessions_ID.db.gz", "users_ID.db.gz"];
    assert_eq!(names_of(&project, &id), expected);
    assert_eq!(recorded(&project, &id, "users")["tables"], json!([{ "name": "users", "rows": 2 }]));
    let listed = shell(&project.path("backups"), "tar -tzf etc_*.tar.gz");
    assert_eq!(listed, "etc/a.conf\netc/b.conf\n");
}

// Witnesses.

#[test]
fn gunzip_alone_gives_a_sound_database_with_rows_that_were_still_in_the_wal() {
    let project = Project::new();
    let writer = project.open();
    writer.execute_batch("PRAGMA wal_autocheckpoint = 0; INSERT INTO sessions VALUES (5000, 1, 7.5);").unwrap();
    assert!(fs::metadata(project.path("data/sessions.db-wal")).unwrap().len() > 0);
    let id = project.backup();
    let scratch = tempfile::tempdir().unwrap();
    let artifact = project.path(&project.artifact(&id, "sessions_db"));
    shell(scratch.path(), &format!("gunzip < {} > x.db", artifact.display()));
    let ask = |sql: &str| sqlite3(scratch.path(), "x.db", sql);
    assert_eq!(ask("PRAGMA integrity_check"), "ok");
    assert_eq!(ask("PRAGMA user_version"), "3");
    assert_eq!(ask("SELECT kwh FROM sessions WHERE id = 5000"), "7.5");
    let all = "SELECT * FROM sessions; SELECT * FROM stations";
    assert_eq!(ask(all), sqlite3(project.root(), "data/sessions.db", all));
}

#[test]
fn every_codec_decodes_with_its_own_tool_to_the_same_sound_database() {
    let project = Project::new();
    for (codec, tool) in [("gzip", "gunzip"), ("zstd", "zstd -d -q"), ("none", "cat")] {
        let id = project.backup_with(&format!("--codec {codec}"));
        let scratch = tempfile::tempdir().unwrap();
        let artifact = project.path(&project.artifact(&id, "sessions_db"));
        shell(scratch.path(), &format!("{tool} < {} > x.db", artifact.display()));
        assert_eq!(
            sqlite3(scratch.path(), "x.db", "PRAGMA integrity_check; SELECT sum(kwh) FROM sessions"),
            "ok\n50050.0"
        );
        let tar = project.path(&project.artifact(&id, "config"));
        shell(scratch.path(), &format!("{tool} < {} | tar -xf -", tar.display()));
        assert_eq!(fs::read_to_string(scratch.path().join(".env")).unwrap(), project.read(".env"));
    }
}

#[test]
fn tar_alone_restores_configuration_with_content_and_mode() {
    let project = Project::new();
    chmod(&project.path(".env"), 0o600);
    chmod(&project.path("data/station_info.json"), 0o640);
    let id = project.backup();
    let scratch = tempfile::tempdir().unwrap();
    let artifact = project.path(&project.artifact(&id, "config"));
    shell(scratch.path(), &format!("tar -xpzf {}", artifact.display()));
    for (file, expected) in [(".env", 0o600), ("data/station_info.json", 0o640)] {
        assert_eq!(fs::read_to_string(scratch.path().join(file)).unwrap(), project.read(file));
        assert_eq!(mode(&scratch.path().join(file)), expected, "{file}");
    }
    let listed = shell(project.root(), &format!("tar -tzf {}", artifact.display()));
    assert_eq!(listed, ".env\ndata/station_info.json\n");
}

#[test]
fn a_snapshot_by_pages_is_the_sources_file_and_restores_like_any_other() {
    let project = Project::new();
    project.write(
        "ops/backup.toml",
        "[[database]]\nname = \"sessions_db\"\npath = \"data/sessions.db\"\nsnapshot = \"pages\"\n",
    );
    project.execute("PRAGMA wal_checkpoint(truncate)");
    for (codec, tool) in [("gzip", "gunzip"), ("zstd", "zstd -d -q"), ("none", "cat")] {
        let id = project.backup_with(&format!("--codec {codec} --database-only"));
        let artifact = recorded(&project, &id, "sessions_db");
        assert_eq!((&artifact["snapshot"], artifact["read_ms"].is_u64()), (&"pages".into(), true));
        assert_eq!(artifact["checked"], true);
        let file = project.artifact(&id, "sessions_db");
        shell(project.root(), &format!("{tool} < {file} > copy.db"));
        // All is equal except the bytes 19 and 20 of the header: 2 is WAL mode, 1 is not.
        let differs = shell(project.root(), "cmp -l copy.db data/sessions.db || true");
        assert_eq!(differs.split_whitespace().collect::<Vec<_>>(), ["19", "1", "2", "20", "1", "2"], "{codec}");
        project.run("verify").expect(0);
    }
    project.execute("DELETE FROM sessions");
    project.run("restore --from latest --database-only --yes").expect(0);
    assert_eq!(project.sessions(), 1000);
    assert_eq!(sqlite3(project.root(), "data/sessions.db", "PRAGMA journal_mode; PRAGMA integrity_check"), "wal\nok");
}

#[test]
fn sha256sum_and_stat_agree_with_the_manifest_on_stored_and_decoded_bytes() {
    let project = Project::new();
    for (codec, tool) in [("gzip", "gunzip"), ("zstd", "zstd -d -q"), ("none", "cat")] {
        let id = project.backup_with(&format!("--codec {codec}"));
        for name in ["sessions_db", "config"] {
            let (artifact, file) = (recorded(&project, &id, name), project.artifact(&id, name));
            assert_eq!(artifact["file"], file.strip_prefix("backups/").unwrap());
            assert_eq!(artifact["codec"], codec);
            assert_eq!(artifact["sha256"], sha256(project.root(), &format!("cat {file}")));
            assert_eq!(artifact["plain_sha256"], sha256(project.root(), &format!("{tool} < {file}")));
            let count = |script: &str| shell(project.root(), script).trim().parse::<u64>().unwrap();
            assert_eq!(artifact["bytes"], count(&format!("wc -c < {file}")));
            assert_eq!(artifact["plain_bytes"], count(&format!("{tool} < {file} | wc -c")));
        }
    }
}

#[test]
fn the_schema_digest_is_what_sqlite3_and_sha256sum_give() {
    let project = Project::new();
    project.execute("CREATE VIEW \"odd name\" AS SELECT 'a|b' AS x; CREATE TABLE u(a UNIQUE, \n b);");
    let id = project.backup();
    let query = "SELECT type || '|' || name || '|' || tbl_name || '|' || coalesce(sql, '') \
                 FROM sqlite_schema ORDER BY type, name, tbl_name";
    let digest = sha256(project.root(), &format!("sqlite3 data/sessions.db \"{query}\""));
    assert_eq!(recorded(&project, &id, "sessions_db")["schema_sha256"], digest);
}

#[test]
fn large_artifacts_are_members_of_one_mebibyte_each() {
    let project = Project::new();
    grow(&project);
    let gzip = project.backup();
    let zstd = project.backup_with("--codec zstd");
    let members = recorded(&project, &gzip, "sessions_db")["plain_bytes"].as_u64().unwrap().div_ceil(1 << 20);
    assert!(members > 1);
    let stored = fs::read(project.path(&project.artifact(&gzip, "sessions_db"))).unwrap();
    // Every member begins with the same header, and no other ten bytes are like it.
    let header = stored[..10].to_vec();
    assert_eq!(header[..3], [0x1f, 0x8b, 8]);
    assert_eq!(stored.windows(10).filter(|bytes| *bytes == header).count() as u64, members);
    let frames = shell(project.root(), &format!("zstd -lv {} 2>&1", project.artifact(&zstd, "sessions_db")));
    assert!(frames.contains(&format!("Zstandard Frames: {members}\n")), "{members} in {frames}");
}

// The manifest.

#[test]
fn the_manifest_says_all_about_the_run() {
    let project = Project::new();
    let before = shell(project.root(), "date +%s").trim().parse::<u64>().unwrap();
    let ran = CommandOutput::of(project.command(["backup", "--json"]).env("TZ", "<+03>-3"));
    let mut manifest = ran.expect(0).json()["backup"].clone();
    let id = manifest["id"].as_str().unwrap().to_string();
    assert_eq!(manifest, project.manifest(&id));

    let created = manifest["created_at"].take();
    let created = created.as_str().unwrap();
    assert!(created.ends_with("+03:00"), "{created}");
    let seconds = |date: &str| shell(project.root(), &format!("date -d '{date}' +%s")).trim().parse::<u64>().unwrap();
    let after = shell(project.root(), "date +%s").trim().parse::<u64>().unwrap();
    assert!((before..=after).contains(&seconds(created)), "{created}");
    let utc = shell(project.root(), &format!("date -u -d '{created}' +%Y%m%d_%H%M%S"));
    assert_eq!(utc.trim(), id);

    assert!(manifest["duration_ms"].take().as_u64().unwrap() < 600_000);
    let sqlite = manifest["tool"]["sqlite"].take();
    let version: Vec<u32> = sqlite.as_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
    assert!(version >= vec![3, 51, 3], "{sqlite}");
    assert_eq!(manifest["artifacts"].take().as_array().unwrap().len(), 2);
    let project_name = project.root().file_name().unwrap().to_str().unwrap();
    let expected = json!({
        "format": 2, "id": id, "created_at": null, "project": project_name,
        "host": shell(project.root(), "uname -n").trim(), "trigger": "manual", "status": "complete",
        "tool": { "version": env!("CARGO_PKG_VERSION"), "sqlite": null }, "duration_ms": null,
        "warnings": [], "artifacts": null,
    });
    assert_eq!(manifest, expected);
}

#[test]
fn the_manifest_says_all_about_the_database() {
    let project = Project::empty();
    project.execute(
        "PRAGMA page_size = 8192; PRAGMA encoding = 'UTF-16le'; PRAGMA journal_mode = wal;
         PRAGMA user_version = 17; PRAGMA application_id = 4242;
         CREATE TABLE b(x); CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT);
         INSERT INTO b VALUES (1), (2), (3); INSERT INTO a DEFAULT VALUES; CREATE VIEW v AS SELECT * FROM a;",
    );
    let live = project.path("data/sessions.db");
    chmod(&live, 0o640);
    // Only root can give a file away; anybody else checks with their own ids.
    if shell(project.root(), "id -u").trim() == "0" {
        chown(&live, Some(1234), Some(2345)).unwrap();
    }
    let id = project.backup_with("--database-only");
    let mut artifact = recorded(&project, &id, "sessions_db");
    for digest in ["sha256", "plain_sha256", "schema_sha256", "bytes", "plain_bytes", "read_ms"] {
        assert!(!artifact[digest].take().is_null(), "{digest}");
    }
    let pages = sqlite3(project.root(), "data/sessions.db", "VACUUM; PRAGMA page_count");
    let owner = |what: &str| shell(project.root(), &format!("stat -c %{what} data/sessions.db")).trim().parse::<u32>();
    let expected = json!({
        "kind": "database", "name": "sessions_db", "source": "data/sessions.db",
        "file": format!("sessions_db_{id}.db.gz"), "bytes": null, "sha256": null, "plain_bytes": null,
        "plain_sha256": null, "codec": "gzip", "snapshot": "vacuum", "checked": true, "mode": 0o640,
        "uid": owner("u").unwrap(), "gid": owner("g").unwrap(),
        "page_size": 8192, "page_count": pages.parse::<u64>().unwrap(), "journal_mode": "wal",
        "encoding": "UTF-16le", "user_version": 17, "application_id": 4242, "schema_sha256": null, "read_ms": null,
        "tables": [
            { "name": "a", "rows": 1 }, { "name": "b", "rows": 3 }, { "name": "sqlite_sequence", "rows": 1 },
        ],
    });
    assert_eq!(artifact, expected);
}

#[test]
fn the_manifest_says_all_about_the_files() {
    let project = Project::new();
    chmod(&project.path(".env"), 0o600);
    chmod(&project.path("data/station_info.json"), 0o644);
    let id = project.backup();
    let entry = |path: &str, mode: u32| {
        json!({
            "path": path, "bytes": project.read(path).len(), "mode": mode,
            "sha256": sha256(project.root(), &format!("cat {path}")),
        })
    };
    let artifact = recorded(&project, &id, "config");
    assert_eq!(artifact["kind"], "files");
    assert_eq!(artifact["entries"], json!([entry(".env", 0o600), entry("data/station_info.json", 0o644)]));
}

#[test]
fn ids_increase_when_two_backups_are_made_in_a_second() {
    let project = Project::new();
    let ids: Vec<String> = (0..4).map(|_| project.backup()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    assert_eq!(project.stored().len(), 12);
}

#[test]
fn ids_increase_when_the_clock_went_back() {
    let project = Project::new();
    project.redate(&project.backup(), "20991231_235959");
    assert_eq!(project.backup(), "21000101_000000");
    assert_eq!(project.stored().len(), 6);
}

#[test]
fn a_complete_backup_is_not_denied_when_the_clock_went_back() {
    let project = Project::new();
    project.redate(&project.backup(), "20991231_235959");
    let ran = project.run("backup");
    assert!(ran.expect(0).stdout.contains(" complete: "));
    assert!(!ran.stderr.contains("no run up to now has made a complete backup"), "{}", ran.stderr);
}

#[test]
fn the_ledger_gets_a_line() {
    let project = Project::new();
    let id = project.backup();
    let begun = &project.ledger()[0];
    assert_eq!([&begun["command"], &begun["outcome"], &begun["id"]], [&json!("backup"), &json!("begun"), &json!(null)]);
    let lines = project.ended();
    assert_eq!(lines.len(), 1);
    assert_eq!(begun["at"], lines[0]["at"]);
    assert_eq!(
        (&lines[0]["command"], &lines[0]["outcome"], &lines[0]["id"]),
        (&json!("backup"), &json!("ok"), &json!(id))
    );
    assert_eq!(lines[0]["at"], project.manifest(&id)["created_at"]);
}

// Private.

#[test]
fn files_are_private_whatever_the_umask() {
    let project = Project::new();
    let backup = project.command(["backup", "--backup-dir"]);
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$@\"", "sh"]).arg(backup.get_program()).args(backup.get_args());
    CommandOutput::of(command.arg(project.path("deep/backups"))).expect(0);
    let found = shell(&project.path("deep"), "find . -printf '%y %m %p\\n' | sed 's/_[0-9]*_[0-9]*/_ID/' | sort -k3");
    insta::assert_snapshot!(found, @"
    d 700 .
    d 700 ./backups
    f 600 ./backups/.lock
    d 700 ./backups/.staging
    f 600 ./backups/config_ID.tar.gz
    f 600 ./backups/history.jsonl
    f 600 ./backups/manifest_ID.json
    f 600 ./backups/sessions_db_ID.db.gz
    f 600 ./backups/store.json
    ");
}

#[test]
fn no_secret_is_ever_printed() {
    let project = Project::new();
    let secrets = ["very-secret", "s3cr3t", "zq4711", "hunter2", "MIIEow", "corrupt-horse", "battery-staple"];
    project.write(
        ".env",
        "API_KEY=very-secret\nexport B='s3cr3t'\nPORT=zq4711\nhunter2\n\
         KEY=\"-----BEGIN\nMIIEow\n-----END\"\n=corrupt-horse\n",
    );
    project.write("data/station_info.json", "{\"token\": \"battery-staple\", }\n");
    let mut said = String::new();
    let mut note = |ran: CommandOutput| said.push_str(&ran.snapshot());
    let kept = project.backup();
    for command in [
        "backup",
        "backup --config-only",
        "list",
        "verify",
        "verify --all",
        "drill",
        "status",
        "rotate --dry-run",
        "rotate",
        "pin latest",
        "unpin latest",
        "restore --from latest --dry-run",
        "restore --from latest --yes",
        "restore --undo --yes",
    ] {
        project.write(".env", &project.read(".env").replace("PORT", "PORTS"));
        note(project.run(&format!("{command} -v")));
        note(project.run(&format!("{command} --json")));
    }
    // Messages about damage leak nothing either.
    let archive = project.path(&project.artifact(&kept, "config"));
    shell(project.root(), &format!("gunzip < {0} | tr 4711 4712 | gzip > x; cat x > {0}", archive.display()));
    for command in ["verify", "restore --yes", "drill"] {
        note(project.run(&format!("{command} --from {kept} -v")));
        note(project.run(&format!("{command} --from {kept} --json")));
    }
    // In a shifted archive, the content of one member is read as the name of another.
    let shifted = project.backup_with("--no-compress");
    let archive = project.artifact(&shifted, "config");
    shell(project.root(), &format!("dd if={archive} of=block skip=1 count=1; dd if=block of={archive} conv=notrunc"));
    for command in ["verify", "restore --yes", "drill"] {
        note(project.run(&format!("{command} --from {shifted} -v")));
        note(project.run(&format!("{command} --from {shifted} --json")));
    }
    said.push_str(&shell(project.root(), "cat backups/manifest_* backups/history.jsonl"));
    assert!(said.contains("warning") && said.contains("damaged") && said.contains("restored"), "{said}");
    for secret in secrets {
        let printed = said.lines().find(|line| line.contains(secret));
        assert_eq!(printed, None, "{secret}");
    }
}

// What can't be saved.

#[test]
fn a_missing_env_is_a_warning_and_the_rest_is_saved() {
    let project = Project::new();
    let _tidy = project.tidy();
    fs::remove_file(project.path(".env")).unwrap();
    let ran = project.run("backup");
    insta::assert_snapshot!(ran.snapshot(), @"
      sessions_db_ID.db.gz  SIZE (plain SIZE)
      config_ID.tar.gz  SIZE (plain SIZE)
    backup ID complete: SIZE, from SIZE, in TIME
    --
    warning: .env doesn't exist, so it is not in this backup
    => 0
    ");
    assert_eq!(shell(&project.path("backups"), "tar -tzf config_*.tar.gz"), "data/station_info.json\n");
    let manifest = project.manifest(&project.backup());
    assert_eq!(manifest["status"], "complete");
    let expected = json!([{ "code": "missing_file", "message": ".env doesn't exist, so it is not in this backup" }]);
    assert_eq!(manifest["warnings"], expected);
}

#[test]
fn broken_configuration_is_saved_with_a_warning_that_names_the_line_and_no_value() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.write(".env", "A=1\nhunter2\n");
    project.write("data/station_info.json", "{\n  \"token\": hunter2\n}\n");
    let ran = project.run("backup");
    insta::assert_snapshot!(ran.snapshot(), @"
      sessions_db_ID.db.gz  SIZE (plain SIZE)
      config_ID.tar.gz  SIZE (plain SIZE)
    backup ID complete: SIZE, from SIZE, in TIME
    --
    warning: .env has a line that sets nothing (line 2)
    warning: data/station_info.json is not valid JSON (line 2)
    => 0
    ");
    let saved = shell(&project.path("backups"), "tar -xOzf config_*.tar.gz .env");
    assert_eq!(saved, "A=1\nhunter2\n");
}

#[test]
fn without_any_configuration_file_a_configuration_backup_fails() {
    let project = Project::new();
    let _tidy = project.tidy();
    fs::remove_file(project.path(".env")).unwrap();
    fs::remove_file(project.path("data/station_info.json")).unwrap();
    insta::assert_snapshot!(project.run("backup --config-only").snapshot(), @"
    --
    warning: .env doesn't exist, so it is not in this backup
    warning: data/station_info.json doesn't exist, so it is not in this backup
    error: backup ID failed: nothing was saved
    hint: fix what failed above, then run `backup` again; older backups are untouched
    => 1
    ");
    let listed = project.run("list --json").json()["backups"][0].clone();
    assert_eq!((&listed["status"], &listed["artifacts"]), (&json!("failed"), &json!([])));
    assert!(project.run("list").stdout.contains(" failed "));
    let [manifest] = project.stored().try_into().unwrap();
    let manifest: Value = serde_json::from_str(&project.read(&format!("backups/{manifest}"))).unwrap();
    assert_eq!((&manifest["status"], &manifest["artifacts"]), (&json!("failed"), &json!([])));
}

#[test]
fn a_failed_backup_is_an_error_for_the_journal_and_in_quiet_mode() {
    let project = Project::empty();
    let unit = as_unit(&project, "backup --config-only");
    let lines = || unit.stdout.lines().chain(unit.stderr.lines());
    assert!(lines().any(|line| line.starts_with("<3>")), "{unit:?}");
    let quiet = project.run("backup --config-only -q");
    assert!(quiet.expect(1).stderr.contains("error: "), "{quiet:?}");
}

#[test]
fn without_any_configuration_file_the_database_is_saved() {
    let project = Project::new();
    fs::remove_file(project.path(".env")).unwrap();
    fs::remove_file(project.path("data/station_info.json")).unwrap();
    let ran = project.run("backup --json");
    let manifest = ran.expect(0).json()["backup"].clone();
    assert_eq!(manifest["warnings"].as_array().unwrap().len(), 2);
    assert_eq!(names_of(&project, manifest["id"].as_str().unwrap()), ["manifest_ID.json", "sessions_db_ID.db.gz"]);
}

#[test]
fn a_missing_database_leaves_a_partial_backup_and_no_new_database() {
    let project = Project::new();
    let _tidy = project.tidy();
    project.backup();
    shell(project.root(), "rm data/sessions.db*");
    insta::assert_snapshot!(project.run("backup").snapshot(), @"
      config_ID.tar.gz  SIZE (plain SIZE)
    backup ID is partial: SIZE, from SIZE, in TIME
    --
    error: database ROOT/data/sessions.db doesn't exist
    hint: check the path in the settings, or bring it back: `restore --from latest --database-only`
    hint: fix what failed above, then run `backup` again
    => 3
    ");
    assert_eq!(names(&project, "data"), ["station_info.json"]);
    let manifest = project.run("backup --json").expect(3).json()["backup"].clone();
    assert_eq!(manifest["status"], "partial");
    let message = format!("database {} doesn't exist", project.path("data/sessions.db").display());
    assert_eq!(manifest["errors"], json!([{ "name": "sessions_db", "message": message }]));
    assert_eq!(names_of(&project, manifest["id"].as_str().unwrap()), ["config_ID.tar.gz", "manifest_ID.json"]);
}

#[test]
fn a_missing_database_fails_a_database_backup() {
    let project = Project::new();
    let _tidy = project.tidy();
    shell(project.root(), "rm data/sessions.db*");
    insta::assert_snapshot!(project.run("backup --database-only").snapshot(), @"
    --
    error: database ROOT/data/sessions.db doesn't exist
    hint: check the path in the settings, or bring it back: `restore --from latest --database-only`
    error: backup ID failed: nothing was saved
    hint: fix what failed above, then run `backup` again; older backups are untouched
    => 1
    ");
    assert_eq!(project.ended()[0]["outcome"], "failed");
}

#[test]
fn one_missing_database_of_two_does_not_keep_the_other_from_being_saved() {
    let project = Project::new();
    project.write(
        "ops/backup.toml",
        "files = []\n[[database]]\nname = 'gone'\npath = 'data/gone.db'\n\
         [[database]]\nname = 'here'\npath = 'data/sessions.db'\n",
    );
    let manifest = project.run("backup --json").expect(3).json()["backup"].clone();
    assert_eq!(names_of(&project, manifest["id"].as_str().unwrap()), ["here_ID.db.gz", "manifest_ID.json"]);
    assert_eq!(manifest["errors"][0]["name"], "gone");
}

// Harmless.

#[test]
fn the_live_database_is_as_it_was() {
    let project = Project::new();
    let hash = || shell(project.root(), "sha256sum data/sessions.db data/sessions.db-wal");
    let writer = project.open();
    writer.execute_batch("PRAGMA wal_autocheckpoint = 0; INSERT INTO sessions VALUES (5000, 1, 7.5)").unwrap();
    let before = hash();
    project.backup();
    assert_eq!(hash(), before);
    drop(writer);
    assert_eq!(project.sessions(), 1001);
    assert_eq!(sqlite3(project.root(), "data/sessions.db", "PRAGMA journal_mode"), "wal");
}

#[test]
fn a_database_in_rollback_mode_stays_in_it() {
    let project = Project::new();
    project.execute("PRAGMA journal_mode = delete");
    let before = sha256(project.root(), "cat data/sessions.db");
    let id = project.backup();
    assert_eq!(recorded(&project, &id, "sessions_db")["journal_mode"], "delete");
    assert_eq!(names(&project, "data"), ["sessions.db", "station_info.json"]);
    assert_eq!(sha256(project.root(), "cat data/sessions.db"), before);
}

#[test]
fn nothing_stays_in_the_staging_area() {
    let project = Project::new();
    project.backup();
    assert_eq!(names(&project, "backups/.staging"), [""; 0]);
    fs::remove_file(project.path("data/sessions.db")).unwrap();
    project.run("backup").expect(3);
    assert_eq!(names(&project, "backups/.staging"), [""; 0]);
}

#[test]
fn what_a_killed_run_left_is_not_listed_and_the_next_run_clears_it_up() {
    let project = Project::new();
    let [good, cut] = [project.backup(), project.backup()];
    // Killed between the publication of its artifacts and that of its manifest.
    shell(&project.path("backups"), &format!("mv manifest_{cut}.json .staging"));
    project.write("backups/.staging/sessions_db_20250101_000000.db.gz", "half");
    project.write("backups/.staging/scratch-x/snapshot.db", "half");
    let ids = |ran: CommandOutput| -> Vec<String> {
        let document = ran.expect(0).json();
        document["backups"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(ids(project.run("list --json")), [good.as_str()]);
    assert_eq!(project.run("verify --json").expect(0).json()["reports"][0]["id"], good);
    let next = project.backup();
    assert_eq!(ids(project.run("list --json")), [next.as_str(), good.as_str()]);
    assert_eq!(names(&project, "backups/.staging"), [""; 0]);
    assert_eq!(project.stored().len(), 6, "{:?}", project.stored());
}

#[test]
fn a_manifest_that_was_being_rewritten_does_not_cost_the_backup() {
    let project = Project::new();
    let id = project.backup();
    shell(&project.path("backups"), "cp manifest_* .staging");
    assert_eq!(project.run("list --json").json()["backups"][0]["id"], id);
    project.backup();
    assert_eq!(names_of(&project, &id).len(), 3);
    assert_eq!(names(&project, "backups/.staging"), [""; 0]);
    project.run(&format!("verify --from {id}")).expect(0);
}

#[test]
#[ignore = "needs root, to be somebody else: cargo test --workspace -- --ignored"]
fn an_idle_wal_database_of_somebody_elses_is_not_closed_to_its_owner() {
    let project = Project::new();
    let elsewhere = tempfile::tempdir().unwrap();
    shell(project.root(), "chmod 755 .; chmod 777 data; chmod 644 data/sessions.db; ls data");
    shell(elsewhere.path(), "chmod 777 .");
    let flags = format!("--backup-dir {}/b --database-only", elsewhere.path().display());
    let ran = as_nobody(&project, elsewhere.path(), &format!("backup {flags}"));
    assert!(ran.expect(1).stderr.contains("is idle; reading it would create -wal and -shm files"), "{ran:?}");
    let doctor = as_nobody(&project, elsewhere.path(), "doctor");
    let says = |line: &str| line.starts_with("failure  database sessions_db: ") && line.contains(" is idle; ");
    assert!(doctor.stdout.lines().any(says), "{doctor:?}");
    assert_eq!(shell(project.root(), "ls data"), "sessions.db\nstation_info.json\n");

    // If folders hand their group on, the group may write; if the owner runs the backup, everything is complete.
    shell(project.root(), "chgrp 65534 data data/sessions.db; chmod 2777 data; chmod 664 data/sessions.db");
    as_nobody(&project, elsewhere.path(), &format!("backup {flags}")).expect(0);
    assert_eq!(shell(project.root(), "stat -c '%G %a' data/sessions.db-shm"), "nogroup 664\n");
    shell(
        project.root(),
        "rm data/*-shm data/*-wal; chmod 777 data; chgrp 0 data data/sessions.db; chmod 644 data/sessions.db",
    );
    let application = project.open();
    application.query_row("SELECT count(*) FROM sessions", [], |row| row.get::<_, i64>(0)).unwrap();
    as_nobody(&project, elsewhere.path(), &format!("backup {flags}")).expect(0);
    application.execute_batch("INSERT INTO sessions VALUES (5000, 1, 1)").unwrap();
}

// Under systemd, and colours.

/// Runs the program as a unit would.
fn as_unit(project: &Project, arguments: &str) -> CommandOutput {
    CommandOutput::of(project.command(arguments.split_whitespace()).env("INVOCATION_ID", "x"))
}

#[test]
fn under_systemd_every_line_has_its_priority_and_no_colour() {
    let project = Project::new();
    let _tidy = project.tidy();
    insta::assert_snapshot!(as_unit(&project, "--color always backup").snapshot(), @"
    <6>  sessions_db_ID.db.gz  SIZE (plain SIZE)
    <6>  config_ID.tar.gz  SIZE (plain SIZE)
    <6>backup ID complete: SIZE, from SIZE, in TIME
    --
    => 0
    ");
    fs::remove_file(project.path(".env")).unwrap();
    fs::remove_file(project.path("data/sessions.db")).unwrap();
    insta::assert_snapshot!(as_unit(&project, "--color always backup").snapshot(), @"
    <6>  config_ID.tar.gz  SIZE (plain SIZE)
    <6>backup ID is partial: SIZE, from SIZE, in TIME
    --
    <3>error: database ROOT/data/sessions.db doesn't exist
    <6>hint: check the path in the settings, or bring it back: `restore --from latest --database-only`
    <3>error: .env doesn't exist, but backup ID holds it
    <6>hint: restore it from that backup; if it was removed on purpose, remove it from the settings
    <6>hint: fix what failed above, then run `backup` again
    => 3
    ");
    for command in ["list", "verify -v", "status", "rotate", "restore --from 2099"] {
        assert_prefixed(&as_unit(&project, &format!("--color always {command}")));
    }
}

#[test]
fn under_systemd_usage_errors_have_their_priority_too() {
    let project = Project::new();
    for command in ["backup --codec rar", "no-such-command", "--root /nonsense list"] {
        assert_prefixed(&as_unit(&project, command));
    }
}

fn assert_prefixed(ran: &CommandOutput) {
    for line in ran.stdout.lines().chain(ran.stderr.lines()) {
        let prefixed = ["<3>", "<4>", "<6>"].iter().any(|prefix| line.starts_with(prefix));
        assert!(prefixed && !line.contains('\u{1b}'), "{line:?}");
    }
}

#[test]
fn a_journal_stream_alone_is_enough_for_priorities() {
    let project = Project::new();
    let ran = CommandOutput::of(project.command(["backup"]).env("JOURNAL_STREAM", "8:1"));
    assert!(ran.stdout.lines().all(|line| line.starts_with("<6>")), "{}", ran.stdout);
}

#[test]
fn a_scheduled_backup_has_the_trigger_timer() {
    let project = Project::new();
    let id = project.backup_with("--scheduled");
    assert_eq!(project.manifest(&id)["trigger"], "timer");
}

#[test]
fn a_unit_makes_backups_with_the_trigger_timer() {
    let project = Project::new();
    let ran = as_unit(&project, "backup --json");
    assert_eq!(ran.expect(0).json()["backup"]["trigger"], "timer");
}

/// Runs the program on a terminal of `script`, and returns all that it printed.
fn on_terminal(project: &Project, flags: &str, environment: &str) -> String {
    let command = format!(
        "{environment} '{}' --root '{}' {flags}",
        program().get_program().to_str().unwrap(),
        project.root().display()
    );
    shell(
        project.root(),
        &format!(
            "unset INVOCATION_ID JOURNAL_STREAM NO_COLOR
             TERM=xterm script -qec \"{command}\" /dev/null < /dev/null || true"
        ),
    )
}

#[test]
fn colour_is_on_where_it_is_asked_for_and_on_terminals() {
    let project = Project::new();
    let coloured = |text: &str| text.contains("\u{1b}[");
    assert!(coloured(&project.run("--color always backup").stdout));
    assert!(!coloured(&project.run("backup").stdout));
    assert!(coloured(&on_terminal(&project, "backup", "")));
    assert!(!coloured(&on_terminal(&project, "backup", "NO_COLOR=1")));
    assert!(!coloured(&on_terminal(&project, "backup --color never", "")));
}

#[test]
fn usage_errors_are_without_colour_too_if_that_is_asked_for() {
    let project = Project::new();
    let coloured = |text: &str| text.contains("\u{1b}[");
    assert!(coloured(&on_terminal(&project, "list --nonsense", "")));
    assert!(!coloured(&on_terminal(&project, "list --nonsense", "NO_COLOR=1")));
    assert!(!coloured(&on_terminal(&project, "list --nonsense --color never", "")));
}

#[test]
fn a_collapsed_database_is_saved_with_a_warning_that_has_both_figures() {
    let project = Project::new();
    let before = project.backup();
    project.execute("DELETE FROM sessions WHERE id > 12");
    let _tidy = project.tidy();
    let ran = project.run("backup");
    insta::assert_snapshot!(ran.snapshot(), @"
      sessions_db_ID.db.gz  SIZE (plain SIZE)
      config_ID.tar.gz  SIZE (plain SIZE)
    backup ID complete: SIZE, from SIZE, in TIME
    --
    warning: database sessions_db lost most rows of some tables since backup ID: sessions 1,000 → 12
    hint: what is from before stays for 30 days; if it was intended: cargo xtask --root ROOT accept ID
    => 0
    ");
    let shows = project.run("list --json").json()["backups"][0].clone();
    let collapse = json!({ "name": "sessions_db", "since": before, "table": "sessions", "was": 1000, "now": 12 });
    assert_eq!((&shows["status"], &shows["collapses"]), (&json!("complete"), &json!([collapse])));
    let manifest = project.manifest(shows["id"].as_str().unwrap());
    assert_eq!((&manifest["status"], &manifest["collapses"]), (&json!("complete"), &json!([collapse])));
    assert_eq!(manifest["warnings"][0]["code"], "collapsed");
    insta::assert_snapshot!(project.run("list").stderr, @"warning: ID shows the collapse of sessions_db (sessions: 1,000 → 12 rows) since ID");
    // Reported once.
    assert_eq!(project.run("backup -q").expect(0).snapshot(), "--\n=> 0");
}

#[test]
fn a_database_that_shrank_by_half_is_saved_with_a_warning() {
    let project = Project::new();
    project.execute("CREATE TABLE blobs(x); INSERT INTO blobs VALUES (zeroblob(31000000))");
    project.backup();
    project.execute("DROP TABLE blobs");
    let ran = project.run("backup -q");
    assert!(ran.expect(0).stderr.starts_with("warning: database sessions_db shrank since backup "), "{}", ran.stderr);
    assert!(ran.stderr.contains(": 31 MB → 49 kB\n"), "{}", ran.stderr);
}

#[test]
fn a_file_that_has_vanished_makes_every_run_partial_until_it_is_back_or_dropped() {
    let project = Project::new();
    let held = project.backup();
    fs::remove_file(project.path(".env")).unwrap();
    let _tidy = project.tidy();
    for _ in 0..2 {
        let ran = project.run("backup");
        insta::allow_duplicates! { insta::assert_snapshot!(ran.snapshot(), @"
          sessions_db_ID.db.gz  SIZE (plain SIZE)
          config_ID.tar.gz  SIZE (plain SIZE)
        backup ID is partial: SIZE, from SIZE, in TIME
        --
        error: .env doesn't exist, but backup ID holds it
        hint: restore it from that backup; if it was removed on purpose, remove it from the settings
        hint: fix what failed above, then run `backup` again
        => 3
        "); }
        assert!(ran.stderr.contains(&held), "{}", ran.stderr);
    }
    let json = project.run("backup --json").expect(3).json();
    assert_eq!((&json["backup"]["status"], &json["error"]["kind"]), (&json!("partial"), &json!("missing_source")));
    assert_eq!(json["backup"]["errors"][0]["name"], "config");
    project.run("backup --database-only").expect(0);

    let settings = "[[files]]\nname = \"config\"\npaths = [\"data/station_info.json\"]\n";
    project.write("ops/backup.toml", settings);
    project.run("backup").expect(0);
    fs::remove_file(project.path("ops/backup.toml")).unwrap();
    project.run(&format!("restore --yes --config-only --from {held}")).expect(0);
    project.run("backup").expect(0);
}

#[test]
fn a_set_of_which_all_files_have_vanished_makes_a_run_partial_too() {
    let project = Project::new();
    let held = project.backup();
    fs::remove_file(project.path(".env")).unwrap();
    fs::remove_file(project.path("data/station_info.json")).unwrap();
    let json = project.run("backup --json").expect(3).json();
    let errors = json["backup"]["errors"].as_array().unwrap();
    assert_eq!(errors.iter().filter(|error| error["name"] == "config").count(), 2, "{errors:?}");
    assert_eq!(json["backup"]["artifacts"].as_array().unwrap().len(), 1);
    let sources = project.run("status --json").json()["sources"].clone();
    assert_eq!(sources[1]["id"], held.as_str(), "the earlier copy, not one that holds none: {sources}");
    project.run("restore --from latest --config-only --yes").expect(0);
    fs::remove_file(project.path(".env")).unwrap();
    fs::remove_file(project.path("data/station_info.json")).unwrap();
    project.run("backup --config-only").expect(1);
}
