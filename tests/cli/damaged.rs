//! Backups of a damaged database: refused, or saved on demand and marked.

use std::fs;

use serde_json::json;

use crate::support::{Project, break_index, shell};

/// A project whose database was sound when it was backed up, but is damaged now. Returns that backup's id.
fn damaged() -> (Project, String) {
    let project = Project::new();
    project.execute("PRAGMA journal_mode = delete");
    let id = project.backup();
    break_index(&project.path("data/sessions.db"));
    (project, id)
}

#[test]
fn a_flaw_that_can_be_copied_is_found_before_it_is_published() {
    for snapshot in ["vacuum", "pages"] {
        let (project, sound) = damaged();
        let database = "[[database]]\nname = \"sessions_db\"\npath = \"data/sessions.db\"\n";
        project.write("ops/backup.toml", &format!("{database}snapshot = \"{snapshot}\"\n"));
        let _tidy = project.tidy();
        insta::allow_duplicates! {
            insta::assert_snapshot!(project.run("backup").snapshot(), @r"
              config_ID.tar.gz  SIZE (plain SIZE)
            backup ID is partial: SIZE, from SIZE, in TIME
            --
            error: database ROOT/data/sessions.db is damaged: row 500 missing from index by_station
            hint: restore it from a backup: `restore --from latest`; to save it as it is before that: `backup --allow-damaged`
            hint: fix what failed above, then run `backup` again
            => 3
            ");
        }
        let databases = project.stored().into_iter().filter(|file| file.starts_with("sessions_db"));
        assert_eq!(databases.collect::<Vec<_>>(), [format!("sessions_db_{sound}.db.gz")]);
        project.run("verify --all").expect(0);
        project.run("restore --from latest --yes").expect(0);
        assert_eq!(project.query("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"), 1);
    }
}

#[test]
fn a_backup_without_the_check_is_checked_by_whoever_reads_it() {
    for (settings, flags) in [("check = true\n", "--no-check"), ("check = false\n", "")] {
        for snapshot in ["vacuum", "pages"] {
            let (project, sound) = damaged();
            let database = "[[database]]\nname = \"sessions_db\"\npath = \"data/sessions.db\"\n";
            project.write("ops/backup.toml", &format!("{settings}{database}snapshot = \"{snapshot}\"\n"));
            let id = project.run(&format!("backup {flags} --json")).expect(0).json()["backup"]["id"].clone();
            let id = id.as_str().unwrap();
            assert_ne!(id, sound);
            assert!(project.manifest(id)["artifacts"][0]["checked"].is_null());
            for command in ["verify", "drill --from", "restore --yes --from"] {
                let from = if command == "verify" { "" } else { id };
                let found = project.run(&format!("{command} {from}")).expect(12).all();
                assert!(found.contains("integrity_check: row 500 missing from index by_station"), "{command}: {found}");
            }
            assert!(
                project.run("backup --allow-damaged").expect(3).stderr.contains("is damaged, and was saved as it is")
            );
        }
    }
}

#[test]
fn a_damaged_database_can_be_saved_as_it_is_and_is_marked() {
    let (project, sound) = damaged();
    let _tidy = project.tidy();
    let ran = project.run("backup --allow-damaged --database-only");
    insta::assert_snapshot!(ran.snapshot(), @r"
      sessions_db_ID.db.gz  SIZE (plain SIZE)
    backup ID is partial: SIZE, from SIZE, in TIME
    --
    error: database sessions_db is damaged, and was saved as it is: row 500 missing from index by_station
    hint: no restore puts it back; decode it by hand, and save what sqlite3's .dump can still read
    hint: fix what failed above, then run `backup` again
    => 3
    ");
    let newest = project.run("list --json").json()["backups"][0].clone();
    assert_eq!(newest["status"], "partial");
    let id = newest["id"].as_str().unwrap();
    assert_eq!(project.manifest(id)["artifacts"][0]["damage"][0], "row 500 missing from index by_station");
    let script = format!(
        "gunzip -c {} > copy.db; cmp copy.db data/sessions.db
         sqlite3 copy.db .dump | sqlite3 recovered.db; sqlite3 recovered.db 'SELECT count(*) FROM sessions'",
        project.artifact(id, "sessions_db")
    );
    assert_eq!(shell(project.root(), &script), "1000\n");

    // It differs from a backup that became damaged, and doesn't take the place of the sound one.
    insta::assert_snapshot!(project.run(&format!("verify --from {id} -v")).snapshot(), @r"
      ok       sessions_db_ID.db.gz: stored and decoded bytes as recorded
      warning  sessions_db_ID.db.gz: row 500 missing from index by_station (in the source as well)
    backup ID is as it was saved, damage included: 2 checks in TIME
    --
    => 0
    ");
    for command in ["restore --yes", "drill"] {
        let ran = project.run(&format!("{command} --from {id}"));
        insta::allow_duplicates! {
            insta::assert_snapshot!(ran.snapshot(), @r"
            --
            error: sessions_db_ID.db.gz holds a database that was damaged when it was saved: row 500 missing from index by_station
            hint: no restore puts it back; decode it by hand, and save what sqlite3's .dump can still read
            => 12
            ");
        }
    }
    assert!(project.run("restore --from latest --yes").expect(0).stdout.contains(&format!("restored {sound}")));
}

#[test]
fn what_sqlite_cannot_read_at_all_is_saved_to_the_last_byte() {
    let project = Project::new();
    project.execute("PRAGMA journal_mode = delete");
    let file = project.path("data/sessions.db");
    let mut bytes = fs::read(&file).unwrap();
    // The schema, and the end of the file.
    bytes[100..4096].fill(0xff);
    bytes.truncate(6 * 4096 + 100);
    fs::write(&file, &bytes).unwrap();
    project.run("backup --database-only").expect(1);
    let artifact = kept(&project);
    assert_eq!((&artifact["tables"], &artifact["page_count"]), (&json!([]), &json!(7)));
    assert!(fs::read(project.path(&format!("backups/{}", artifact["file"].as_str().unwrap()))).unwrap() == bytes);
    // It needn't even be a database.
    fs::write(&file, "no database, and nothing like it").unwrap();
    let artifact = kept(&project);
    assert_eq!((&artifact["plain_bytes"], &artifact["page_size"]), (&json!(32), &json!(0)));
}

/// Saves the damaged database uncompressed, and returns the first artifact.
fn kept(project: &Project) -> serde_json::Value {
    let saved = project.run("backup --database-only --allow-damaged --no-compress --json");
    let manifest = saved.expect(3).json()["backup"].clone();
    let artifact = manifest["artifacts"][0].clone();
    assert_eq!((&manifest["status"], &artifact["snapshot"]), (&json!("partial"), &json!("bytes")));
    assert!(artifact["checked"].is_null() && !artifact["damage"][0].is_null(), "{artifact}");
    project.run("verify").expect(0);
    artifact
}

#[test]
fn a_header_that_claims_fewer_pages_costs_none() {
    let project = Project::new();
    project.execute("PRAGMA journal_mode = delete; CREATE TABLE big AS SELECT zeroblob(400000)");
    let file = project.path("data/sessions.db");
    let mut bytes = fs::read(&file).unwrap();
    assert!(bytes.len() > 80 * 4096);
    bytes[28..32].copy_from_slice(&3_u32.to_be_bytes());
    fs::write(&file, &bytes).unwrap();
    let artifact = kept(&project);
    assert_eq!(artifact["plain_bytes"], bytes.len());
    assert!(fs::read(project.path(&format!("backups/{}", artifact["file"].as_str().unwrap()))).unwrap() == bytes);
}

#[test]
fn what_lies_beside_a_damaged_database_is_kept_as_well() {
    let project = Project::new();
    project.execute("PRAGMA journal_mode = wal");
    break_index(&project.path("data/sessions.db"));
    let application = project.open();
    application
        .execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE late(x); INSERT INTO late VALUES (7)")
        .unwrap();
    let files = ["data/sessions.db", "data/sessions.db-wal"];
    let before = files.map(|file| fs::read(project.path(file)).unwrap());
    let saved = project.run("backup --allow-damaged --json").expect(3).json()["backup"].clone();
    let id = saved["id"].as_str().unwrap();
    let names: Vec<_> = saved["artifacts"].as_array().unwrap().iter().map(|it| it["file"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["db.gz", "db-wal.gz", "tar.gz"].map(|end| match end {
            "tar.gz" => format!("config_{id}.tar.gz"),
            end => format!("sessions_db_{id}.{end}"),
        })
    );
    assert_eq!(files.map(|file| fs::read(project.path(file)).unwrap()), before, "nothing of it was changed");
    let script = format!(
        "cd backups; gunzip -c sessions_db_{id}.db.gz >../copy.db; gunzip -c sessions_db_{id}.db-wal.gz >../copy.db-wal
         cd ..; cmp copy.db data/sessions.db; cmp copy.db-wal data/sessions.db-wal; sqlite3 copy.db 'SELECT x FROM late'"
    );
    assert_eq!(shell(project.root(), &script), "7\n");
    // `list`, `verify` and `rotate` treat it as one database.
    let newest = project.run("list --json").json()["backups"][0].clone();
    assert_eq!(newest["artifacts"][1]["kind"], "wal");
    assert!(project.run("list").expect(0).stdout.contains("sessions_db, config"), "named once");
    assert!(
        project.run("verify -v").expect(0).stdout.contains(&format!("sessions_db_{id}.db-wal.gz: stored and decoded"))
    );
    project.run("backup").expect(3);
    project.run(&format!("restore --from {id} --yes")).expect(12);
}

#[test]
fn a_flawed_database_that_a_restore_replaces_is_kept_as_it_is() {
    let (project, sound) = damaged();
    let bytes = fs::read(project.path("data/sessions.db")).unwrap();
    let application = project.open();
    let ran = project.run(&format!("restore --from {sound} --database-only --yes --json"));
    let restored = ran.expect(0).json()["restored"].clone();
    let sound_again: String = application.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound_again, "ok", "in place: the application didn't have to reopen it");
    let kept = restored["kept"].as_str().unwrap();
    assert_eq!(project.manifest(kept)["artifacts"][0]["damage"][0], "row 500 missing from index by_station");
    let warning = "data/sessions.db was damaged (row 500 missing from index by_station): its bytes are kept, and an \
                   undo puts them back";
    assert_eq!(restored["warnings"], json!([warning]));
    drop(application);
    let undone = project.run("restore --undo --yes");
    let warning =
        "warning: data/sessions.db was damaged (row 500 missing from index by_station), and will be as it was\n";
    assert_eq!(undone.expect(0).stderr, warning);
    assert!(fs::read(project.path("data/sessions.db")).unwrap() == bytes);
}

#[test]
fn rows_that_a_vacuum_passes_over_are_found_missing() {
    for snapshot in ["vacuum", "pages"] {
        let project = Project::empty();
        let fill = "create table t(id integer primary key, v text, n int);
                    with recursive c(x) as (select 1 union all select x + 1 from c where x < 20000)
                    insert into t select x, 'row ' || x, x * 7 from c";
        project.execute(fill);
        let file = project.path("data/sessions.db");
        let mut bytes = fs::read(&file).unwrap();
        // The cell count of the table's root page.
        let cells = u16::from_be_bytes([bytes[4099], bytes[4100]]);
        bytes[4099..4101].copy_from_slice(&(cells / 2).to_be_bytes());
        fs::write(&file, &bytes).unwrap();
        project.write(
            "ops/backup.toml",
            &format!("[[database]]\nname = \"t\"\npath = \"data/sessions.db\"\nsnapshot = \"{snapshot}\"\n"),
        );
        let failed = project.run("backup --json").expect(1).json();
        assert_eq!((&failed["backup"]["status"], &failed["error"]["kind"]), (&json!("failed"), &json!("damaged")));
        let saved = project.run("backup --allow-damaged --json").expect(3).json()["backup"].clone();
        assert_eq!((&saved["status"], &saved["artifacts"][0]["snapshot"]), (&json!("partial"), &json!("bytes")));
        assert_eq!(saved["artifacts"][0]["damage"].as_array().unwrap().len(), 10);
        // Before a restore replaces it, it is saved as it is, too.
        fs::rename(&file, project.path("damaged")).unwrap();
        project.execute(fill);
        let sound = project.backup();
        fs::rename(project.path("damaged"), &file).unwrap();
        let restored =
            project.run(&format!("restore --from {sound} --yes --json")).expect(0).json()["restored"].clone();
        let kept = project.manifest(restored["kept"].as_str().unwrap());
        assert_eq!(
            (&kept["artifacts"][0]["snapshot"], &kept["artifacts"][0]["plain_bytes"]),
            (&json!("bytes"), &json!(bytes.len()))
        );
        assert_eq!(project.query("SELECT count(*) FROM t"), 20_000);
        // Without the check it is saved page by page, so that the damage is found later.
        fs::write(&file, &bytes).unwrap();
        let unchecked = project.run("backup --no-check --json").expect(0).json()["backup"].clone();
        assert_eq!(unchecked["artifacts"][0]["snapshot"], "pages");
        project.run("verify").expect(12);
    }
}
