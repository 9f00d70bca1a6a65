//! A project in a temporary folder, the program under test, and the standard tools.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A project in a temporary folder: a WAL database with 1,000 sessions, `.env` and `station_info.json`.
pub struct Project {
    folder: TempDir,
}

impl Project {
    /// An empty project.
    pub fn empty() -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(project.path("data")).unwrap();
        project
    }

    pub fn new() -> Self {
        let project = Self::empty();
        let database = project.open();
        database
            .execute_batch(
                "PRAGMA journal_mode = wal; PRAGMA user_version = 3;
                 CREATE TABLE stations(id INTEGER PRIMARY KEY, name TEXT NOT NULL);
                 CREATE TABLE sessions(id INTEGER PRIMARY KEY, station REFERENCES stations, kwh REAL);
                 CREATE INDEX by_station ON sessions(station);
                 INSERT INTO stations VALUES (1, 'north'), (2, 'south');
                 WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000)
                 INSERT INTO sessions SELECT x, x % 2 + 1, x / 10.0 FROM n;",
            )
            .unwrap();
        drop(database);
        project.write(".env", "API_KEY=very-secret\nPORT=8080\n");
        project.write("data/station_info.json", "{\"id\": \"CP-1\"}\n");
        project
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root().join(relative)
    }

    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).unwrap()
    }

    /// Opens the live database, and creates it if there is none.
    pub fn open(&self) -> Connection {
        Connection::open(self.path("data/sessions.db")).unwrap()
    }

    /// The number of sessions in the live database.
    pub fn sessions(&self) -> i64 {
        self.query("SELECT count(*) FROM sessions")
    }

    pub fn query(&self, sql: &str) -> i64 {
        self.open().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub fn execute(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap();
    }

    /// The program with `--root` and these arguments, ready to run: no terminal, no colour, UTC.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = program();
        command.arg("--root").arg(self.root()).args(arguments);
        command
    }

    /// Runs the program with these arguments, separated by blanks.
    pub fn run(&self, arguments: &str) -> CommandOutput {
        CommandOutput::of(&mut self.command(arguments.split_whitespace()))
    }

    /// Makes a backup, which must succeed; returns its id.
    pub fn backup(&self) -> String {
        self.backup_with("")
    }

    /// Makes a backup with more flags; returns its id.
    pub fn backup_with(&self, flags: &str) -> String {
        let ran = self.run(&format!("backup --json {flags}"));
        ran.expect(0);
        ran.json()["backup"]["id"].as_str().unwrap().to_string()
    }

    /// The manifest of a backup.
    pub fn manifest(&self, id: &str) -> Value {
        serde_json::from_str(&self.read(&format!("backups/manifest_{id}.json"))).unwrap()
    }

    /// Whether an object pins a backup.
    pub fn is_pinned(&self, id: &str) -> bool {
        self.path(&format!("backups/pin_{id}")).exists()
    }

    /// Changes the manifest of a backup.
    pub fn edit_manifest(&self, id: &str, edit: impl FnOnce(&mut Value)) {
        let mut manifest = self.manifest(id);
        edit(&mut manifest);
        self.write(&format!("backups/manifest_{id}.json"), &manifest.to_string());
    }

    /// Changes what the manifest of a backup says about one database or set of files.
    pub fn edit_artifact(&self, id: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        self.edit_manifest(id, |manifest| {
            let artifacts = manifest["artifacts"].as_array_mut().unwrap();
            edit(artifacts.iter_mut().find(|artifact| artifact["name"] == name).unwrap());
        });
    }

    /// Size and digest of a file, as manifests have them.
    pub fn facts(&self, file: &str) -> (Value, Value) {
        let text = shell(self.root(), &format!("stat -c %s {file}; sha256sum {file} | cut -c -64"));
        let (bytes, sha256) = text.trim().split_once('\n').unwrap();
        (json!(bytes.parse::<u64>().unwrap()), json!(sha256))
    }

    /// Changes the backup `id` to one of another time: names, manifest and ledger.
    pub fn redate(&self, id: &str, other: &str) {
        self.edit_manifest(id, |manifest| {
            let text = manifest.to_string().replace(id, other);
            *manifest = serde_json::from_str(&text).unwrap();
            let (day, time) = other.split_once('_').unwrap();
            let (date, clock) =
                ([&day[..4], &day[4..6], &day[6..]].join("-"), [&time[..2], &time[2..4], &time[4..]].join(":"));
            manifest["created_at"] = format!("{date}T{clock}+00:00").into();
        });
        for file in self.stored() {
            if file.contains(id) {
                fs::rename(
                    self.path(&format!("backups/{file}")),
                    self.path(&format!("backups/{}", file.replace(id, other))),
                )
                .unwrap();
            }
        }
        self.write("backups/history.jsonl", &self.read("backups/history.jsonl").replace(id, other));
    }

    /// Holds the store's lock, as a run would.
    pub fn lock(&self) -> File {
        let file = File::open(self.path("backups/.lock")).unwrap();
        file.lock().unwrap();
        file
    }

    /// Names in the backup folder, sorted, without the ledger, the record of its owner, and names that begin with a
    /// dot.
    pub fn stored(&self) -> Vec<String> {
        let names =
            fs::read_dir(self.path("backups")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let others = ["history.jsonl", "store.json"];
        let is_of_a_backup = |name: &String| !name.starts_with('.') && !others.contains(&name.as_str());
        let mut names: Vec<String> = names.filter(is_of_a_backup).collect();
        names.sort();
        names
    }

    /// The backup's file whose name begins with `name`, relative to the root.
    pub fn artifact(&self, id: &str, name: &str) -> String {
        let found = self.stored().into_iter().find(|file| file.starts_with(&format!("{name}_{id}")));
        format!("backups/{}", found.unwrap())
    }

    /// The ledger's lines.
    pub fn ledger(&self) -> Vec<Value> {
        self.read("backups/history.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The ledger's lines that say how a run ended.
    pub fn ended(&self) -> Vec<Value> {
        self.ledger().into_iter().filter(|line| line["outcome"] != "begun").collect()
    }

    /// While the guard lives, snapshots leave out what differs from run to run: the root, ids, durations.
    pub fn filters(&self) -> insta::internals::SettingsBindDropGuard {
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(self.root().to_str().unwrap(), "ROOT");
        settings.add_filter(r"\d{8}_\d{6}", "ID");
        settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d, \d+[smhd] old", "WHEN, AGE old");
        settings.add_filter(r"\bin (\d+ ms|\d+\.\d s|\d+ min \d+ s)", "in TIME");
        shorten_hints(&mut settings);
        settings.bind_to_scope()
    }

    /// Every file below `folder` with its digest, except the store's lock and what SQLite's readers leave.
    pub fn hashes(&self, folder: &str) -> String {
        let find = "find . -type f ! -name .lock ! -name '*-shm' ! \\( -name '*-wal' -empty \\) -print0 \
                    | sort -z | xargs -0r sha256sum";
        shell(&self.path(folder), find)
    }

    /// `text` without what differs from run to run: the root, ids, times, hashes, sizes of compressed files.
    pub fn redact(&self, text: &str) -> String {
        text.replace(self.root().to_str().unwrap(), "ROOT").replace("`cargo xtask --root ROOT ", "`")
    }

    /// While the guard lives, snapshots show ROOT, ID, SIZE, TIME and DATE for what differs from run to run.
    pub fn tidy(&self) -> insta::internals::SettingsBindDropGuard {
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(&self.root().to_str().unwrap().replace('.', "[.]"), "ROOT");
        settings.add_filter(r"\d{8}_\d{6}", "ID");
        settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d, \d+[smhd] old", "WHEN, AGE old");
        settings.add_filter(r"\b\d+([.]\d+)? [kMG]?B\b", "SIZE");
        settings.add_filter(r"\bin \d+([.]\d+)? m?s\b", "in TIME");
        shorten_hints(&mut settings);
        settings.add_filter(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d[.0-9]*(Z|[+-]\d\d:\d\d))?", "DATE");
        settings.bind_to_scope()
    }

    /// Every file and folder with its mode and content, except the lock, the staging area and what SQLite makes for
    /// readers. If two are equal, nothing was changed.
    pub fn tree(&self) -> String {
        let skip = "-name .lock -o -name .staging -o -name '*-shm' -o -name '*-wal' -size 0";
        shell(
            self.root(),
            &format!(
                "find . \\( {skip} \\) -prune -o -printf '%p %y %m %U %G\\n' | sort
                 find . \\( {skip} \\) -prune -o -type f -exec sha256sum {{}} + | sort"
            ),
        )
    }
}

/// The program under test: no terminal, no colour, UTC, and not as systemd would start it.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.env("TZ", "UTC").env_remove("INVOCATION_ID").env_remove("JOURNAL_STREAM").env_remove("NO_COLOR");
    // As `cargo run` would start it, however the tests are run.
    command.env("CARGO_PKG_NAME", env!("CARGO_PKG_NAME")).stdin(Stdio::null());
    command
}

/// In snapshots, commands in a hint have no program name and no global flags, as in the source.
fn shorten_hints(settings: &mut insta::Settings) {
    settings.add_filter("`cargo xtask (--(root|backup-dir|config) [^ ]+ )*", "`");
}

/// The output and the exit code of a run of the program.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl CommandOutput {
    pub fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        Self {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Asserts that the run ended with this exit code.
    #[track_caller]
    pub fn expect(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Output and exit code, for a snapshot.
    pub fn snapshot(&self) -> String {
        format!("{}--\n{}=> {}", self.stdout, self.stderr, self.code)
    }

    /// All output: stdout, then stderr.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The only document on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e} in {:?}\nstderr: {}", self.stdout, self.stderr))
    }
}

/// A run that waits for the store's lock and has said so.
pub struct WaitingRun {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl WaitingRun {
    /// Starts the command, and returns once it waits for the lock.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.starts_with("waiting for "), "{line}");
        Self { child, stderr }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; returns its exit code, and its output since it waited.
    pub fn end(mut self) -> CommandOutput {
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).unwrap();
        let Output { status, stdout, .. } = self.child.wait_with_output().unwrap();
        CommandOutput { code: status.code().unwrap_or(-1), stdout: String::from_utf8(stdout).unwrap(), stderr }
    }
}

/// Runs the program on a terminal of its own, with this line typed.
pub fn on_a_terminal(project: &Project, answer: &str, arguments: &str) -> CommandOutput {
    let line = format!("exec {} --root {} {arguments}", env!("CARGO_BIN_EXE_xtask"), project.root().display());
    let script = r#"printf '%s\n' "$0" | script --quiet --return --echo never --command "$1" /dev/null"#;
    let mut command = Command::new("sh");
    for variable in ["INVOCATION_ID", "JOURNAL_STREAM", "NO_COLOR"] {
        command.env_remove(variable);
    }
    CommandOutput::of(command.args(["-c", script, answer, &line]).env("TZ", "UTC").env("TERM", "xterm"))
}

/// Runs a shell script with standard tools in `folder`, which must succeed. Returns its stdout.
#[track_caller]
pub fn shell(folder: &Path, script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).current_dir(folder).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Changes a row without changing the index on `station` that covers it.
pub fn break_index(path: &Path) {
    // A new connection each time, which reads the schema anew.
    let open = || {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("PRAGMA writable_schema = on").unwrap();
        connection
    };
    let (root, sql): (i64, String) = open()
        .query_row("DELETE FROM sqlite_schema WHERE name = 'by_station' RETURNING rootpage, sql", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let change = "UPDATE sessions SET station = 3 - station WHERE id = (SELECT max(id) FROM sessions WHERE id <= 500)";
    open().execute(change, []).unwrap();
    let show = "INSERT INTO sqlite_schema VALUES ('index', 'by_station', 'sessions', ?1, ?2)";
    open().execute(show, (root, sql)).unwrap();
}

/// Decodes the backup's database or archive, lets `damage` change the plain file, and stores it again so that the
/// stored bytes, and with `all` the decoded ones, are as the manifest says.
pub fn forge(project: &Project, id: &str, name: &str, all: bool, damage: impl FnOnce(&Path)) {
    let (file, plain) = (project.artifact(id, name), project.path("plain"));
    shell(project.root(), &format!("gunzip -c {file} > plain"));
    damage(&plain);
    shell(project.root(), &format!("gzip -c plain > {file}"));
    project.edit_artifact(id, name, |artifact| {
        (artifact["bytes"], artifact["sha256"]) = project.facts(&file);
        if all {
            (artifact["plain_bytes"], artifact["plain_sha256"]) = project.facts("plain");
        }
    });
    fs::remove_file(plain).unwrap();
}

/// Waits until `happened`; panics if it doesn't in two minutes.
#[track_caller]
pub fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while !happened() {
        assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Whether the tests run as root, who can read every file.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs the program as a user without rights, with `temp` for temporary files.
pub fn as_nobody(project: &Project, temp: &Path, arguments: &str) -> CommandOutput {
    if !is_root() {
        return CommandOutput::of(project.command(arguments.split_whitespace()).env("TMPDIR", temp));
    }
    let root = project.root().to_str().unwrap();
    as_user(65534, Path::new("/"), temp, ["--root", root].into_iter().chain(arguments.split_whitespace()))
}

/// The same in the folder `here`, which decides the project.
pub fn as_nobody_in(here: &Path, arguments: &str) -> CommandOutput {
    as_user(65534, here, Path::new("/tmp"), arguments.split_whitespace())
}

/// Runs the program as the user with this number; needs root.
fn as_user<'a>(uid: u32, here: &Path, temp: &Path, arguments: impl IntoIterator<Item = &'a str>) -> CommandOutput {
    // Other users may not be allowed to read the folder where it was built.
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("xtask");
    // Copied by another process: a file that this one holds open for writing, in any thread's child, can't be run.
    shell(place.path(), &format!("cp '{}' xtask; chmod -R a+rX .", program().get_program().display()));
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".into()]).arg(copy);
    command.env("TZ", "UTC").env("TMPDIR", temp).env_remove("INVOCATION_ID").env_remove("JOURNAL_STREAM");
    CommandOutput::of(command.args(arguments).current_dir(here).stdin(Stdio::null()))
}
