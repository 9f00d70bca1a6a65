//! Hostile stores and sources: whatever they hold, a run ends soon, needs little memory, says in one line what is
//! wrong, and writes nothing to a wrong place.

mod restore;

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::{CommandOutput, Project, forge, is_root, program, shell};

/// The id of an old backup that this program didn't make.
const ID: &str = "20251210_140000";

/// Runs the program with these arguments, separated by blanks: for at most two minutes, with at most 100 MB of memory,
/// 100 MB in each file that it writes, and 1,024 open files. Asserts that it prints nothing that a terminal could take
/// for a command.
#[track_caller]
pub fn bounded(project: &Project, arguments: &str) -> CommandOutput {
    bounded_by(100, project, arguments)
}

/// The same, with this many megabytes of memory.
#[track_caller]
pub fn bounded_by(megabytes: usize, project: &Project, arguments: &str) -> CommandOutput {
    let arguments = format!("--color always {arguments}");
    let plain = project.command(arguments.split_whitespace());
    let mut command = Command::new("timeout");
    command.args(["120", "prlimit", &format!("--data={megabytes}000000"), "--fsize=100000000", "--nofile=1024"]);
    command.arg(plain.get_program()).args(plain.get_args()).env("TZ", "UTC").env_remove("INVOCATION_ID");
    let ran = CommandOutput::of(
        command.env_remove("JOURNAL_STREAM").env_remove("NO_COLOR").stdin(std::process::Stdio::null()),
    );
    let ran = CommandOutput { stdout: uncoloured(&ran.stdout), stderr: uncoloured(&ran.stderr), ..ran };
    let command = ran.all().chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
    assert_eq!(command, None, "{arguments}: {:?}", ran.all());
    assert!((0..=12).contains(&ran.code), "{arguments}: {ran:?}");
    ran
}

/// `text` without this program's colours.
fn uncoloured(text: &str) -> String {
    let colours = ["0", "1", "2", "31", "32", "33"].map(|number| format!("\u{1b}[{number}m"));
    colours.iter().fold(text.to_string(), |text, colour| text.replace(colour, ""))
}

/// Asserts that the command ends with this code and changes nothing but the ledger. Returns its stderr.
#[track_caller]
pub fn refused(project: &Project, code: i32, arguments: &str) -> String {
    let ledger = || fs::read(project.path("backups/history.jsonl")).unwrap_or_default();
    let (before, lines) = (project.tree(), ledger());
    let ran = bounded(project, arguments);
    ran.expect(code);
    if ledger() != lines {
        fs::write(project.path("backups/history.jsonl"), lines).unwrap();
    }
    let without_ledger = |tree: String| tree.lines().filter(|line| !line.contains("history.jsonl")).collect::<String>();
    assert_eq!(without_ledger(project.tree()), without_ledger(before), "{arguments}");
    assert!(ran.stderr.lines().filter(|line| line.starts_with("error: ")).count() <= 1, "{ran:?}");
    ran.stderr
}

/// Puts the output of a shell command into a file of the backup folder.
fn by_hand(project: &Project, file: &str, command: &str) {
    shell(project.root(), &format!("mkdir -p -m 700 backups; ({command}) >backups/{file}"));
}

// Archives.

/// Writes an archive to stdout: a good member, then one of the given kind.
const TAR: &str = r#"
import io, sys, tarfile

kind, out = sys.argv[1], io.BytesIO()
tar = tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT)
def add(name, content=b"A=1\n", **more):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in more.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content))
add(".env")
kinds = {"symlink": "SYMTYPE", "hard link": "LNKTYPE", "device": "CHRTYPE", "disk": "BLKTYPE", "pipe": "FIFOTYPE"}
if kind in kinds:
    add("x", b"", type=getattr(tarfile, kinds[kind]), linkname="/etc/passwd")
elif kind == "twice":
    add(".env")
elif kind == "many":
    for n in range(10_000):
        add(f"x{n}", b"")
elif kind == "setuid":
    add("run", mode=0o6755)
elif kind.startswith("name "):
    add(kind.removeprefix("name ").encode().decode("unicode_escape"))
tar.close()
out = out.getvalue()
if kind == "huge":
    member = tarfile.TarInfo("x")
    member.size = 1 << 60
    out = out[:1024] + member.tobuf(tarfile.GNU_FORMAT)
elif kind == "no end":
    out = out[:1024]
elif kind == "cut":
    out = out[:600]
elif kind == "garbage":
    out = out[:1024] + b"garbage " * 128
sys.stdout.buffer.write(out)
"#;

fn tar(kind: &str) -> String {
    format!("python3 -c '{TAR}' '{kind}'")
}

/// The message about an archive of this kind. Asserts that it is the same if a manifest vouches for the archive, and
/// that nothing changes.
#[track_caller]
fn refused_archive(kind: &str) -> String {
    let project = Project::new();
    by_hand(&project, &format!("config_{ID}.tar.gz"), &format!("{} | gzip", tar(kind)));
    let foreign = refused(&project, 12, &format!("restore --yes --from {ID}"));
    bounded(&project, &format!("verify --from {ID}")).expect(12);
    bounded(&project, "drill").expect(12);
    let id = project.backup();
    forge(&project, &id, "config", true, |plain| {
        drop(shell(project.root(), &format!("{} >{}", tar(kind), plain.display())));
    });
    let ours = refused(&project, 12, &format!("restore --yes --from {id}"));
    assert_eq!(ours.replace(&id, ID), foreign, "{kind}");
    foreign.lines().next().unwrap().split(": ").skip(2).collect::<Vec<_>>().join(": ")
}

#[test]
fn hostile_archives_are_refused_before_anything_is_written() {
    for (kind, why) in [
        ("symlink", "member 2 is not a plain file"),
        ("hard link", "member 2 is not a plain file"),
        ("device", "member 2 is not a plain file"),
        ("disk", "member 2 is not a plain file"),
        ("pipe", "member 2 is not a plain file"),
        ("name ../x", "member 2 leads out of the project"),
        ("name /etc/passwd", "member 2 leads out of the project"),
        ("name a/../../x", "member 2 leads out of the project"),
        (r"name \x1b[31mred", "member 2 leads out of the project"),
        ("twice", "member 2 is in it twice"),
        ("huge", "member 2 is too large for a configuration file"),
        ("many", "member 10001 is one too many"),
        ("cut", "it is no readable tar archive"),
        ("no end", "its end is missing"),
        ("garbage", "it is no readable tar archive"),
    ] {
        assert_eq!(refused_archive(kind), why, "{kind}");
    }
}

/// Writes the header of a long name, of attributes, or of a sparse file to stdout, then 300 MB of it: a name without an
/// end, or blocks of a sparse file that list nothing and announce another block.
const ENDLESS: &str = r#"
import sys, tarfile

member = tarfile.TarInfo("x")
member.type, member.size = sys.argv[1].encode(), 300_000_000
header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
if member.type == b"S":
    header[482:495] = b"\1" + b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
sys.stdout.buffer.write(header)
for block in range(600):
    sys.stdout.buffer.write((b"00000000000\0" * 42 + b"\1" * 8) * 1000)
"#;

#[test]
fn a_name_that_goes_on_and_on_is_not_taken_into_memory() {
    for kind in ["L", "K", "x", "S"] {
        let project = Project::new();
        by_hand(&project, &format!("config_{ID}.tar.zst"), &format!("python3 -c '{ENDLESS}' {kind} | zstd -q -1"));
        let said = refused(&project, 12, &format!("restore --yes --from {ID}"));
        assert!(said.contains(": member 1 has a name or attributes of more than 1 MiB\n"), "{kind}: {said}");
    }
}

#[test]
fn restored_configuration_is_no_program_that_runs_as_somebody_else() {
    let project = Project::empty();
    project.write("ops/backup.toml", "[[files]]\nname = 'config'\npaths = ['run', '.env']\n");
    by_hand(&project, &format!("config_{ID}.tar.gz"), &format!("{} | gzip", tar("setuid")));
    bounded(&project, &format!("restore --from {ID}")).expect(0);
    assert_eq!(shell(project.root(), "stat -c %a run"), "640\n");
}

// Bombs.

#[test]
fn a_bomb_decodes_to_no_more_than_its_manifest_says() {
    for (codec, encode) in [("gzip", "gzip -1"), ("zstd", "zstd -q -1")] {
        for name in ["sessions_db", "config"] {
            let project = Project::new();
            let id = project.backup_with(&format!("--codec {codec}"));
            let file = project.artifact(&id, name);
            shell(project.root(), &format!("head -c 200M /dev/zero | {encode} >{file}"));
            let stored = project.facts(&file);
            project.edit_artifact(&id, name, |artifact| (artifact["bytes"], artifact["sha256"]) = stored);
            let said = refused(&project, 12, &format!("restore --yes --from {id}"));
            assert!(said.contains("is damaged: it decodes to more than the "), "{said}");
            bounded(&project, &format!("verify --from {id}")).expect(12);
            assert_eq!(shell(project.root(), "ls -A backups/.staging"), "");
        }
    }
}

#[test]
fn a_bomb_without_a_manifest_decodes_to_no_more_than_the_settings_allow() {
    for (ending, encode) in [("db.gz", "gzip -1"), ("db.zst", "zstd -q -1"), ("db", "cat"), ("tar.zst", "zstd -q -1")] {
        let project = Project::new();
        let name = if ending.starts_with("db") { "sessions_db" } else { "config" };
        let file = format!("{name}_{ID}.{ending}");
        by_hand(&project, &file, &format!("head -c 90M /dev/zero | {encode}"));
        project.write("ops/backup.toml", "max_foreign_mb = 40\n");
        let said = refused(&project, 12, &format!("restore --yes --from {ID}"));
        let expected = format!(
            "error: {file} is damaged: it decodes to more than 40 MB, and no manifest says that it may\n\
             hint: if it may be that large, set `max_foreign_mb` in the settings\n"
        );
        assert!(said.ends_with(&expected), "{said}");
        bounded(&project, &format!("verify --from {ID}")).expect(12);
        bounded(&project, "drill").expect(12);
        assert_eq!(shell(project.root(), "ls -A backups/.staging"), "");
        project.write("ops/backup.toml", "max_foreign_mb = 100\n");
        // An archive that has only its end is valid.
        let code = if name == "config" { 10 } else { 12 };
        let said = refused(&project, code, &format!("restore --yes --from {ID}"));
        assert!(!said.contains("decodes to more than"), "{said}");
    }
}

#[test]
fn a_window_of_two_gigabytes_is_not_given_to_a_frame() {
    let project = Project::new();
    // RFC 8878: the magic number, a frame of unknown size, a window of 2^31 bytes, one block of no bytes.
    by_hand(&project, &format!("sessions_db_{ID}.db.zst"), r"printf '\050\265\057\375\000\250\001\000\000'");
    let said = refused(&project, 12, &format!("restore --yes --from {ID}"));
    assert!(said.contains("it can't be decoded: "), "{said}");
}

// Manifests.

/// The message about a manifest beside a good backup. Asserts that it is listed as unreadable, and that the good backup
/// works.
#[track_caller]
fn refused_manifest(manifest: &str) -> String {
    let project = Project::new();
    let good = project.backup();
    by_hand(&project, &format!("manifest_{ID}.json"), "true");
    fs::write(project.path(&format!("backups/manifest_{ID}.json")), manifest.replace("GOOD", &good)).unwrap();
    let listed = bounded(&project, "list");
    assert!(listed.expect(0).stdout.contains("unreadable"), "{listed:?}");
    bounded(&project, "list --json").expect(0).json();
    bounded(&project, "status").expect(0);
    bounded(&project, "rotate --dry-run --keep-days 0").expect(0);
    bounded(&project, "verify --all").expect(12);
    let said = refused(&project, 12, &format!("restore --yes --from {ID}"));
    bounded(&project, "restore --yes --from latest").expect(0);
    bounded(&project, "backup").expect(0);
    let line = said.lines().next().unwrap().to_string();
    // The end of a long message is cut off, and the two messages begin with words of different length.
    let warned = listed.stderr.strip_prefix("warning: ").unwrap();
    assert!(line.strip_prefix("error: ").unwrap().chars().zip(warned.chars()).take(1000).all(|(a, b)| a == b));
    line
}

/// A manifest of this program as text, with the id of the hostile one.
fn sample() -> String {
    let project = Project::new();
    let id = project.backup();
    project.redate(&id, ID);
    project.read(&format!("backups/manifest_{ID}.json"))
}

#[test]
fn hostile_manifests_say_nothing_against_other_backups() {
    let sample = sample();
    let with = |from: &str, to: &str| {
        assert!(sample.contains(from), "{from} in {sample}");
        sample.replacen(from, to, 1)
    };
    let deep = "[".repeat(1_000_000);
    for manifest in [
        String::new(),
        "\0".repeat(1000),
        format!("{{\"format\": {deep}"),
        with("{", &format!("{{\"later\": {deep}")),
        with("\"format\":2", "\"format\":2,\"format\":2"),
        with("\"format\":2", "\"format\":1"),
        with("\"format\":2", "\"format\":1e999"),
        with("\"format\":2", "\"format\":1,\"pinned\":false,\"pinned\":true"),
        with("\"name\":\"sessions_db\"", "\"name\":\"sessions_db\",\"name\":\"sessions_db\""),
        with("\"kind\":", "\"kind\":\"files\",\"kind\":"),
        with("\"page_size\":", "\"page_size\":512,\"page_size\":"),
        with("\"plain_bytes\":", "\"plain_bytes\":18446744073709551616,\"x\":"),
        with("\"plain_bytes\":", "\"plain_bytes\":-1,\"x\":"),
        with("\"trigger\":\"manual\"", "\"trigger\":\"\\u001b[31mred\\u202e\\u009b2J\""),
        with("sessions_db_", "\\u001b[31mred_"),
        with("sessions_db_", "a/../sessions_db_"),
        with("sessions_db_", "\\u0000sessions_db_"),
        with(ID, "GOOD"),
    ] {
        let said = refused_manifest(&manifest);
        assert!(said.starts_with(&format!("error: manifest of {ID} ")), "{said}");
    }
}

#[test]
fn a_manifest_of_twenty_megabytes_is_not_read() {
    let manifest = sample().replacen('{', &format!("{{\"later\": \"{}\", ", "x".repeat(20_000_000)), 1);
    assert_eq!(refused_manifest(&manifest), format!("error: manifest of {ID} is larger than 16 MiB"));
}

#[test]
fn an_endless_word_in_a_manifest_is_cut_where_it_is_said() {
    let manifest = sample().replacen("\"manual\"", &format!("\"{}\"", "x".repeat(10_000_000)), 1);
    assert!(refused_manifest(&manifest).ends_with("xxx…"));
}

#[test]
fn a_manifest_that_names_a_file_twice_is_refused() {
    let mut manifest: Value = serde_json::from_str(&sample()).unwrap();
    let again = manifest["artifacts"][0].clone();
    manifest["artifacts"].as_array_mut().unwrap().push(again);
    let said = refused_manifest(&manifest.to_string());
    assert_eq!(said, format!("error: manifest of {ID} names sessions_db_{ID}.db.gz twice"));
}

#[test]
fn the_largest_numbers_that_a_manifest_can_say_break_nothing() {
    let commands = [
        "list",
        "list --json",
        "status",
        "status --json",
        "rotate --dry-run",
        "verify",
        "drill",
        "doctor",
        "backup",
        "status",
    ];
    for (edit, value) in [
        ("/created_at", json!("9999-12-31T23:59:59.999999999-23:59")),
        ("/created_at", json!("0000-01-01T00:00:00+23:59")),
        ("/duration_ms", json!(u64::MAX)),
        ("/artifacts/0/bytes", json!(u64::MAX)),
        ("/artifacts/0/plain_bytes", json!(u64::MAX)),
        ("/artifacts/1/plain_bytes", json!(u64::MAX)),
        ("/artifacts/0/page_count", json!(u64::MAX)),
        ("/artifacts/0/tables", json!([{ "name": "a", "rows": u64::MAX }, { "name": "\u{1b}[31m", "rows": u64::MAX }])),
        ("/artifacts/0/mode", json!(u32::MAX)),
        ("/artifacts/0/journal_mode", json!("off; DROP TABLE sessions")),
        ("/artifacts/0/encoding", json!("\u{1b}[2J\u{9b}31m\u{202e}")),
        ("/artifacts/1/entries", json!([])),
    ] {
        let project = Project::new();
        let id = project.backup();
        project.edit_manifest(&id, |manifest| *manifest.pointer_mut(edit).unwrap() = value.clone());
        let restore = format!("restore --yes --from {id}");
        for command in commands.into_iter().chain([restore.as_str()]) {
            bounded(&project, command);
        }
        assert_eq!(project.sessions(), 1000, "{edit}");
    }
}

#[test]
fn two_manifests_may_name_one_artifact_and_neither_takes_it_from_the_other() {
    let project = Project::new();
    let id = project.backup();
    let file = format!("sessions_db_{id}.db.gz");
    let script = json!({ "timestamp": "x", "backups": { "database": format!("/old/{file}") } }).to_string();
    for other in [ID, "20251211_140000"] {
        project.write(&format!("backups/manifest_{other}.json"), &script);
    }
    bounded(&project, "verify --all").expect(0);
    for from in [ID, "20251211_140000", &id] {
        shell(project.root(), "rm data/sessions.db*");
        bounded(&project, &format!("restore --yes --database-only --from {from}")).expect(0);
        assert_eq!(project.sessions(), 1000);
    }
    let newer = project.backup();
    bounded(&project, "rotate --keep-days 0").expect(0);
    let listed = project.run("list --json").json()["backups"].to_string();
    assert!([ID, "20251211_140000", &newer].iter().all(|id| listed.contains(*id)), "{listed}");
    bounded(&project, &format!("verify --from {newer}")).expect(0);
}

#[test]
fn two_things_for_one_place_are_not_restored() {
    for (place, code) in [(".env", 12), (".env/sessions.db", 12), ("data", 12), ("data/other.db", 0)] {
        let project = Project::new();
        let id = project.backup();
        project.edit_artifact(&id, "sessions_db", |artifact| artifact["source"] = place.into());
        if code == 0 {
            bounded(&project, &format!("restore --yes --unlisted --from {id}")).expect(0);
            continue;
        }
        shell(project.root(), "rm -r data .env");
        let said = refused(&project, code, &format!("restore --yes --unlisted --from {id}"));
        assert!(said.contains(" has two things that can't both be restored: "), "{said}");
    }
}

// What is no file.

#[test]
fn pipes_devices_and_folders_in_the_store_are_neither_waited_for_nor_read() {
    for make in ["mkfifo", "mkdir", "ln -s /dev/zero", "ln -s /dev/stdin", "ln -s loop"] {
        let project = Project::new();
        let good = project.backup();
        let other = project.backup();
        for name in ["manifest", "sessions_db", "config"] {
            let file = if name == "manifest" {
                format!("backups/manifest_{other}.json")
            } else {
                project.artifact(&other, name)
            };
            shell(project.root(), &format!("mv {file} kept; {make} {file}"));
            bounded(&project, "list").expect(0);
            bounded(&project, "status");
            bounded(&project, "rotate --dry-run").expect(0);
            assert_ne!(bounded(&project, "verify --all").code, 0, "{make} {name}");
            assert_ne!(bounded(&project, &format!("restore --yes --from {other}")).code, 0, "{make} {name}");
            bounded(&project, &format!("verify --from {good}")).expect(0);
            bounded(&project, "backup --no-rotate").expect(0);
            shell(project.root(), &format!("rm -r {file}; mv kept {file}"));
        }
        shell(project.root(), &format!("cd backups; rm history.jsonl; {make} history.jsonl"));
        bounded(&project, "list");
        let verified = bounded(&project, "verify");
        assert!(verified.expect(0).stderr.contains("the ledger doesn't know of this run"), "{verified:?}");
        shell(project.root(), "cd backups; rm -r history.jsonl");
        shell(project.root(), &format!("cd backups; rm .lock; {make} .lock"));
        let locked = bounded(&project, "backup");
        assert!(locked.expect(1).stderr.contains("/backups/.lock: "), "{locked:?}");
    }
}

#[test]
fn no_link_in_the_store_leads_a_run_to_write_or_remove_anything_elsewhere() {
    for (link, to) in [(".staging", "precious"), (".lock", "precious/file"), ("history.jsonl", "precious/file")] {
        let project = Project::new();
        project.backup();
        project.write("precious/file", "mine");
        project.write("precious/folder/file", "mine");
        let before = project.hashes("precious");
        shell(project.root(), &format!("cd backups; rm -r {link}; ln -s ../{to} {link}"));
        for command in ["backup", "verify", "restore --yes --from latest"] {
            let ran = bounded(&project, command);
            assert!(ran.code != 0 || ran.stderr.contains("the ledger doesn't know of this run"), "{link}: {ran:?}");
        }
        bounded(&project, "rotate");
        assert_eq!(project.hashes("precious"), before, "{link}");
    }
}

#[test]
fn a_line_without_an_end_in_the_ledger_is_not_taken_into_memory() {
    let project = Project::new();
    let id = project.backup();
    bounded(&project, "verify").expect(0);
    shell(project.root(), "tr '\\0' x </dev/zero | head -c 90M >>backups/history.jsonl; echo >>backups/history.jsonl");
    bounded(&project, "drill").expect(0);
    let status = bounded(&project, "status --json").expect(0).json();
    assert_eq!((&status["last_proved"]["id"], &status["last_proved"]["what"]), (&json!(id), &json!("drill")));
}

// Sources.

#[test]
fn a_configuration_source_that_is_no_file_costs_only_its_set() {
    let kinds = ["mkfifo .env", "mkdir .env", "ln -s /dev/zero .env", "ln -s /dev/tty .env", "ln -s .env .env"];
    let socket = "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\".env\")'";
    for make in kinds.into_iter().chain([socket]) {
        let project = Project::new();
        shell(project.root(), &format!("rm .env; {make}"));
        let ran = bounded(&project, "backup");
        assert!(ran.expect(3).stderr.contains("/.env"), "{ran:?}");
        bounded(&project, "verify").expect(0);
        bounded(&project, "restore --yes --from latest --database-only").expect(0);
    }
}

#[test]
fn a_link_out_of_the_project_is_followed_if_who_made_it_could_follow_it() {
    let project = Project::new();
    let elsewhere = Project::empty();
    elsewhere.write("secret", "KEY=1\n");
    shell(elsewhere.root(), "chmod 600 secret");
    fs::remove_file(project.path(".env")).unwrap();
    symlink(elsewhere.path("secret"), project.path(".env")).unwrap();
    bounded(&project, "backup").expect(0);
    if is_root() {
        // A user who can't read the target would find its content in a backup. Root becomes the owner of both folders.
        let give = "chown -Rh 4242:4242 .; chmod 0755 .";
        for place in [&project, &elsewhere] {
            shell(place.root(), give);
        }
        shell(project.root(), "chown -h 65534 .env");
        let said = bounded(&project, "backup");
        assert!(said.expect(3).stderr.contains("/.env is a link to another user"), "{said:?}");
        shell(elsewhere.root(), "chown 65534 secret; chmod 0644 secret");
        bounded(&project, "backup").expect(0);
        // The same for a link on the way, and for a restore.
        shell(project.root(), "rm .env; echo A=1 >.env");
        let id = project.backup();
        fs::rename(project.path("data"), elsewhere.path("moved")).unwrap();
        symlink(elsewhere.path("moved"), project.path("data")).unwrap();
        bounded(&project, "backup").expect(0);
        shell(project.root(), "chown -h 65534 data");
        bounded(&project, "backup").expect(1);
        refused(&project, 1, &format!("restore --yes --from {id}"));
    }
}

/// The number of bytes in each write.
const PIECE: usize = 4096;

/// Whether the file had this content at one moment. It is written from its beginning again and again, each time with
/// the next letter.
fn was_at_one_moment(saved: &[u8]) -> bool {
    let letters: Vec<u8> = saved.chunks(PIECE).map(|piece| piece[0]).collect();
    let whole = saved.chunks(PIECE).all(|piece| piece.iter().all(|letter| *letter == piece[0]));
    let (new, old) = (letters[0], letters[letters.len() - 1]);
    let written = letters.iter().take_while(|letter| **letter == new).count();
    let is_next = new == old || new == old + 1 || (new, old) == (b'a', b'z');
    whole && is_next && letters[written..].iter().all(|letter| *letter == old)
}

#[test]
fn a_configuration_file_that_is_written_meanwhile_is_saved_as_it_was_at_one_moment_or_not_at_all() {
    let project = Project::new();
    let path = project.path(".env");
    let pieces = (b'a'..=b'z').map(|letter| [letter; PIECE]);
    fs::write(&path, [b'z'; PIECE].repeat(256)).unwrap();
    let stop = AtomicBool::new(false);
    let all = thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().write(true).open(&path).unwrap();
            for piece in pieces.cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                file.rewind().unwrap();
                (0..256).for_each(|_| file.write_all(&piece).unwrap());
            }
        });
        let backup = |_| CommandOutput::of(&mut project.command(["backup", "--config-only", "--json", "--no-rotate"]));
        let all: Vec<CommandOutput> = (0..10).map(backup).collect();
        stop.store(true, Ordering::Relaxed);
        all
    });
    for ran in all {
        let backup = &ran.json()["backup"];
        let files: Vec<&str> =
            backup["artifacts"].as_array().unwrap().iter().map(|it| it["file"].as_str().unwrap()).collect();
        for file in files.iter().filter(|file| file.starts_with("config")) {
            shell(&project.path("backups"), &format!("tar -xzOf {file} .env >../saved"));
            assert!(was_at_one_moment(&fs::read(project.path("saved")).unwrap()));
        }
        let changes = ran.stderr.contains("/.env changes while it is read");
        ran.expect(i32::from(changes));
    }
    bounded(&project, "backup").expect(0);
}

#[test]
fn a_set_of_two_thousand_files_is_backed_up_and_restored() {
    let project = Project::empty();
    let paths: Vec<String> = (0..2000).map(|n| format!("data/{n}.json")).collect();
    for path in &paths {
        project.write(path, "{}");
    }
    project.write("ops/backup.toml", &format!("database = []\n[[files]]\nname = 'config'\npaths = {}\n", json!(paths)));
    bounded(&project, "backup").expect(0);
    let before = project.hashes("data");
    fs::remove_dir_all(project.path("data")).unwrap();
    bounded(&project, "restore --from latest").expect(0);
    assert_eq!(project.hashes("data"), before);
    bounded(&project, "restore --from latest --yes").expect(0);
}

// Names.

#[test]
fn a_folder_whose_name_is_a_command_to_the_terminal_gives_none() {
    let project = Project::empty();
    let root = project.path("a\u{1b}[31mred\u{9b}2J\u{202e}\n<3>b");
    fs::create_dir_all(root.join("data")).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    rusqlite::Connection::open(root.join("data/sessions.db")).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    let commands = [
        "list",
        "list --json",
        "backup",
        "backup --json",
        "list",
        "verify -v",
        "status",
        "drill -v",
        "doctor",
        "doctor --json",
        "restore --yes --from latest",
        "restore --undo --dry-run",
        "verify --from 1",
        "timer",
        "backup --backup-dir data/sessions.db",
        "install-timer --dry-run -v",
        "install-cron --dry-run",
    ];
    for command in commands {
        let mut words = vec!["--color", "always"];
        words.extend(command.split(' '));
        let ran = CommandOutput::of(program().current_dir(&root).arg("--root").arg(&root).args(words));
        let said = uncoloured(&ran.all());
        assert!(!said.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'), "{command}: {said:?}");
        assert!(!said.lines().any(|line| line.starts_with("<3>")), "{command}: {said}");
        assert!(ran.code != -1 && ran.code != 101, "{command}: {ran:?}");
    }
}

// Many.

/// A store with this many backups, one a second, and a ledger that says that all are verified.
fn store_of(count: usize) -> Project {
    let project = Project::new();
    let id = project.backup();
    let (manifest, now) = (project.read(&format!("backups/manifest_{id}.json")), chrono::Utc::now());
    let files = ["sessions_db", "config"].map(|name| project.artifact(&id, name));
    let mut ledger = Vec::new();
    for ago in 1..i64::try_from(count).unwrap() {
        let at = now - chrono::TimeDelta::hours(ago);
        let other = at.format("%Y%m%d_%H%M%S").to_string();
        let created = json!(at.to_rfc3339());
        let text = manifest.replace(&id, &other);
        fs::write(project.path(&format!("backups/manifest_{other}.json")), text).unwrap();
        for file in &files {
            fs::hard_link(project.path(file), project.path(&file.replace(&id, &other))).unwrap();
        }
        let line = json!({ "at": created, "command": "verify", "outcome": "ok", "id": other });
        ledger.push(line.to_string());
    }
    fs::write(project.path("backups/history.jsonl"), ledger.join("\n") + "\n").unwrap();
    project
}

fn many(count: usize, megabytes: usize) {
    let project = store_of(count);
    let timed = |command: &str| {
        let begun = std::time::Instant::now();
        let ran = bounded_by(megabytes, &project, command);
        println!("{command}: {:.1} s", begun.elapsed().as_secs_f64());
        ran
    };
    let listed = timed("list --json").expect(0).json()["backups"].as_array().unwrap().clone();
    assert_eq!(listed.len(), count);
    assert_eq!(listed.iter().filter(|row| row["last_proved"].is_string()).count(), count - 1);
    assert_eq!(timed("list").expect(0).stdout.lines().count(), count + 1);
    assert_eq!(timed("status --json").expect(0).json()["backups"], count);
    assert_eq!(timed("rotate --dry-run").expect(0).stdout.lines().count(), count + 1);
    timed("backup --no-rotate").expect(0);
    timed("restore --yes --from latest").expect(0);
    timed("rotate --keep-days 36500").expect(0);
}

#[test]
fn a_store_with_a_thousand_backups_works_in_little_memory() {
    many(1000, 100);
}

#[test]
#[ignore = "takes a minute"]
fn a_store_with_ten_thousand_backups_works_in_little_memory() {
    many(10_000, 200);
}
