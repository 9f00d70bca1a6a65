//! Disks that fill up, at every page and every file, under every command.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::fs::{FallocateFlags, StatVfs, fallocate, statvfs};

use crate::follow::Following;
use crate::support::{CommandOutput, Project, WaitingRun, as_nobody, break_index, is_root, shell};

/// A project with one folder on a small disk of its own. Only one process and those that join it see that disk. The
/// project's own folder never changes, and each run begins with a copy of it.
struct Disk {
    project: Project,
    /// The folder on the disk, relative to the root.
    at: &'static str,
    /// The process that holds the mounts; they end with it.
    keeper: Child,
}

/// The room that is left on a disk.
#[derive(Debug, Clone, Copy)]
enum Room {
    Pages(u64),
    Files(u64),
}

impl Disk {
    /// A disk of this size, with the project on it.
    fn new(project: Project, at: &'static str, size: &str) -> Self {
        let script = format!(
            "mount -t tmpfs -o mode=0700 tmpfs \"$0\"; cd \"$0\"
             mkdir -p {at}; mount -t tmpfs -o size={size},nr_inodes=100,mode=0700 tmpfs {at}
             echo mounted; exec cat"
        );
        let mut command = Command::new("unshare");
        // A user without rights needs a user namespace to mount in.
        command.arg(if is_root() { "-m" } else { "-rm" }).args(["sh", "-euc", &script]).arg(project.root());
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n");
        let disk = Self { project, at, keeper };
        disk.reset();
        disk
    }

    /// A path of the project, as processes that joined see it.
    fn path(&self, relative: &str) -> PathBuf {
        format!("/proc/{}/root{}", self.keeper.id(), self.project.path(relative).display()).into()
    }

    /// The command in the namespace that has the disk mounted.
    fn join(&self, command: &Command) -> Command {
        let mut joined = Command::new("nsenter");
        joined.arg(format!("--target={}", self.keeper.id())).arg("--mount");
        joined.args(if is_root() { &[][..] } else { &["--user", "--preserve-credentials"] });
        joined.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => joined.env(name, value),
                None => joined.env_remove(name),
            };
        }
        joined
    }

    fn run(&self, arguments: &str) -> CommandOutput {
        CommandOutput::of(&mut self.join(&self.project.command(arguments.split_whitespace())))
    }

    fn shell(&self, script: &str) -> String {
        let script = format!("cd '{}'; {script}", self.project.root().display());
        let ran = CommandOutput::of(&mut self.join(Command::new("sh").args(["-euc", &script])));
        ran.expect(0);
        ran.stdout
    }

    /// Restores the first state of everything.
    fn reset(&self) {
        let (here, there) = (self.path(""), self.project.root().display());
        let script = format!("find . -mindepth 1 ! -path './{}' -delete; cp -a '{there}/.' .", self.at);
        shell(&here, &script);
    }

    fn space(&self) -> StatVfs {
        statvfs(self.path(self.at)).unwrap()
    }

    /// Fills the disk until exactly this room is left.
    fn leave(&self, room: Room) {
        let full = self.path(self.at).join(".full");
        fs::create_dir(&full).unwrap();
        let space = self.space();
        match room {
            Room::Pages(pages) => {
                let file = File::create(full.join("pages")).unwrap();
                let filling = (space.f_bfree - pages) * space.f_frsize;
                if filling > 0 {
                    fallocate(&file, FallocateFlags::empty(), 0, filling).unwrap();
                }
                assert_eq!(self.space().f_bfree, pages);
            }
            Room::Files(files) => {
                (files..space.f_ffree).for_each(|number| drop(File::create(full.join(number.to_string())).unwrap()));
                assert_eq!(self.space().f_ffree, files);
            }
        }
    }

    /// Frees the room again.
    fn clear(&self) {
        fs::remove_dir_all(self.path(self.at).join(".full")).unwrap();
    }

    /// Fills the ledger's last page with empty lines, so that the next line needs another page.
    fn fill_page_of_ledger(&self) {
        self.fill_page_of_ledger_but_for(0);
    }

    fn fill_page_of_ledger_but_for(&self, bytes: u64) {
        let (path, page) = (self.path("backups/history.jsonl"), self.space().f_frsize);
        let free = page - fs::metadata(&path).unwrap().len() % page;
        let fill = if free < bytes { free + page - bytes } else { free - bytes };
        let mut ledger = File::options().append(true).open(path).unwrap();
        ledger.write_all("\n".repeat(fill.try_into().unwrap()).as_bytes()).unwrap();
    }

    /// All data of the application, as it reads it itself.
    fn state(&self) -> String {
        self.shell(
            "for file in .env data/station_info.json; do cat $file || echo none; done 2>&1
             if [ -e data/sessions.db ]; then
                 sqlite3 data/sessions.db 'PRAGMA integrity_check' 'SELECT count(*), total(kwh) FROM sessions'
             fi",
        )
    }

    /// Files that runs left behind.
    fn leftovers(&self) -> String {
        self.shell("find . -path '*/.staging/*' -o -name '*.restoring*'")
    }

    /// Ids of all backups that should be whole.
    fn complete(&self) -> Vec<String> {
        let document = self.run("list --json").expect(0).json();
        let rows = document["backups"].as_array().unwrap().iter().filter(|row| row["status"] == "complete");
        rows.map(|row| row["id"].as_str().unwrap().to_string()).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

// Every amount of room.

/// A command on a disk that has too little room, or just enough.
struct Scenario {
    command: &'static str,
    /// The folder on that disk: the store, the application's data, or the whole project.
    at: &'static str,
    project: fn() -> Project,
}

const BACKUPS: [Scenario; 5] = [
    Scenario { command: "backup", at: "backups", project: backed_up },
    Scenario { command: "backup", at: "data", project: changed },
    Scenario { command: "backup", at: ".", project: backed_up },
    Scenario { command: "backup --codec none", at: "backups", project: large },
    Scenario { command: "backup --codec none", at: "backups", project: large_by_pages },
];

const RESTORES: [Scenario; 7] = [
    Scenario { command: "restore --from latest --yes", at: "data", project: deleted },
    Scenario { command: "restore --from latest --yes", at: "data", project: changed },
    Scenario { command: "restore --from latest --yes", at: "data", project: changed_in_rollback_mode },
    Scenario { command: "restore --from latest --yes", at: "backups", project: changed },
    Scenario { command: "restore --from latest --yes", at: ".", project: changed },
    Scenario { command: "restore --undo --yes", at: ".", project: restored },
    Scenario { command: "drill", at: "backups", project: backed_up },
];

const OTHERS: [Scenario; 3] = [
    Scenario { command: "rotate --keep-days 0", at: "backups", project: backed_up_twice },
    Scenario { command: "pin latest", at: "backups", project: backed_up },
    Scenario { command: "verify --all", at: "backups", project: backed_up_twice },
];

fn backed_up() -> Project {
    let project = Project::new();
    project.backup();
    project
}

fn backed_up_twice() -> Project {
    let project = Project::new();
    project.redate(&project.backup(), "20250101_000000");
    project.backup_with("--no-rotate");
    project
}

/// A database that takes long enough to store, without a backup that would tell its size.
fn large() -> Project {
    let project = Project::new();
    project.backup_with("--config-only");
    project.execute("CREATE TABLE large(x); INSERT INTO large VALUES (randomblob(400000))");
    project
}

fn large_by_pages() -> Project {
    let project = large();
    project.write(
        "ops/backup.toml",
        "[[database]]\nname = 'sessions_db'\npath = 'data/sessions.db'\nsnapshot = 'pages'\n
         [[files]]\nname = 'config'\npaths = ['.env']\n",
    );
    project
}

fn changed() -> Project {
    let project = backed_up();
    project.execute("DELETE FROM sessions WHERE id > 500");
    project.write(".env", "API_KEY=another\n");
    project
}

fn changed_in_rollback_mode() -> Project {
    let project = changed();
    project.execute("PRAGMA journal_mode = delete");
    project
}

fn restored() -> Project {
    let project = changed();
    project.run("restore --from latest --yes").expect(0);
    project
}

fn deleted() -> Project {
    let project = backed_up();
    shell(project.root(), "rm -r data/* .env");
    project
}

/// The state of a scenario that is being run.
struct Sweep<'a> {
    scenario: &'a Scenario,
    disk: Disk,
    before: String,
    after: String,
    complete: Vec<String>,
    /// The number of runs, and how many had enough room.
    runs: u32,
    done: u32,
}

impl<'a> Sweep<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let disk = Disk::new((scenario.project)(), scenario.at, "4m");
        let (before, complete) = (disk.state(), disk.complete());
        disk.reset();
        disk.run(scenario.command).expect(0);
        let after = disk.state();
        assert_eq!(before != after, scenario.command.starts_with("restore"), "{before} {after}");
        Self { scenario, disk, before, after, complete, runs: 0, done: 0 }
    }

    /// Runs the command with exactly this room. Either it does its work, or it says what is missing and changes
    /// nothing; with more room it works again. Returns whether it did its work.
    fn attempt(&mut self, room: Room) -> bool {
        let Self { scenario: Scenario { command, at, .. }, disk, .. } = &*self;
        let what = format!("{command} with {at} on a disk with {room:?}");
        disk.reset();
        disk.leave(room);
        let ran = disk.run(command);
        let done = ran.code == 0;
        assert!(done || lacks_room(&ran), "{what}: {ran:?}");
        let complete = disk.complete();
        let kept = self.complete.iter().filter(|id| complete.contains(id)).count();
        assert!(kept == self.complete.len() || command.starts_with("rotate"), "{what}: {complete:?}");

        disk.clear();
        let state = disk.state();
        assert_eq!(state, if done { &self.after } else { &self.before }.as_str(), "{what}: {ran:?}");
        assert_eq!(disk.leftovers(), "", "{what}");
        if !done {
            disk.run(command).expect(0);
            assert_eq!(disk.state(), self.after, "{what}, then with room");
            assert_eq!(disk.leftovers(), "", "{what}, then with room");
        }
        disk.run("verify --all").expect(0);
        self.runs += 1;
        self.done += u32::from(done);
        done
    }

    /// Bisects the room between too little and enough, down to the page.
    fn bisect(&mut self, room: fn(u64) -> Room, enough: u64) {
        let (mut too_little, mut enough) = (0, enough);
        assert!(self.attempt(room(enough)));
        if self.attempt(room(too_little)) {
            return;
        }
        while enough - too_little > 1 {
            let middle = u64::midpoint(too_little, enough);
            *if self.attempt(room(middle)) { &mut enough } else { &mut too_little } = middle;
        }
    }

    /// Runs it with every amount of room, up to the first that is enough.
    fn each(&mut self, room: fn(u64) -> Room) {
        let mut amount = 0;
        while !self.attempt(room(amount)) {
            amount += 1;
        }
    }

    fn report(&self) {
        let Self { scenario: Scenario { command, at, .. }, runs, done, .. } = self;
        println!("{command}, {at} on the disk: {runs} runs, {done} with enough room");
    }
}

/// Whether each line is an error, a hint or a warning, and the hint is to make room.
fn lacks_room(ran: &CommandOutput) -> bool {
    let known = |line: &str| ["error: ", "hint: ", "warning: "].iter().any(|word| line.starts_with(word));
    [1, 3].contains(&ran.code)
        && ran.stderr.starts_with("error: ")
        && ran.stderr.lines().all(known)
        && ran.stderr.contains("df -h, df -i")
}

fn sample(scenarios: &[Scenario]) {
    for scenario in scenarios {
        let mut sweep = Sweep::new(scenario);
        sweep.bisect(Room::Pages, 128);
        sweep.bisect(Room::Files, 8);
        sweep.report();
    }
}

fn whole(scenarios: &[Scenario]) {
    for scenario in scenarios {
        let mut sweep = Sweep::new(scenario);
        sweep.each(Room::Pages);
        sweep.each(Room::Files);
        sweep.report();
    }
}

#[test]
fn a_backup_on_a_full_disk_costs_nothing_and_says_what_it_lacks() {
    sample(&BACKUPS);
}

#[test]
fn a_restore_on_a_full_disk_costs_nothing_and_says_what_it_lacks() {
    sample(&RESTORES);
}

#[test]
fn the_other_commands_on_a_full_disk_cost_nothing_and_say_what_they_lack() {
    sample(&OTHERS);
}

#[test]
#[ignore = "takes a minute: cargo test --workspace -- --ignored"]
fn a_backup_with_any_room_at_all_costs_nothing_and_says_what_it_lacks() {
    whole(&BACKUPS);
}

#[test]
#[ignore = "takes a minute: cargo test --workspace -- --ignored"]
fn a_restore_with_any_room_at_all_costs_nothing_and_says_what_it_lacks() {
    whole(&RESTORES);
    whole(&OTHERS);
}

// What it says.

#[test]
fn a_full_backup_folder_keeps_what_it_has_and_works_again_once_there_is_room() {
    let disk = Disk::new(backed_up(), "backups", "4m");
    let _tidy = disk.project.tidy();
    disk.leave(Room::Pages(0));
    insta::assert_snapshot!(disk.run("backup").snapshot(), @"
    --
    error: can't write manifest_ID.json: No space left on device (os error 28)
    hint: free some space (df -h, df -i), or remove old backups: `rotate`
    => 1
    ");
    assert_eq!((disk.complete().len(), disk.leftovers().as_str()), (1, ""));
    disk.clear();
    insta::assert_snapshot!(disk.run("backup").snapshot(), @"
      sessions_db_ID.db.gz  SIZE (plain SIZE)
      config_ID.tar.gz  SIZE (plain SIZE)
    backup ID complete: SIZE, from SIZE, in TIME
    --
    => 0
    ");
}

#[test]
fn a_full_backup_folder_keeps_a_restore_from_keeping_what_it_replaces_and_can_be_done_without() {
    let disk = Disk::new(changed(), "backups", "4m");
    let _tidy = disk.project.tidy();
    let before = disk.state();
    disk.leave(Room::Pages(4));
    insta::assert_snapshot!(disk.run("restore --from latest --yes").expect(1).stderr, @"
    error: no room to keep what would be replaced: that takes up to SIZE, ROOT/backups has 8192 bytes free
    hint: free some space (df -h, df -i), or remove old backups: `rotate`; or restore without keeping what is replaced: --no-keep
    ");
    assert_eq!((disk.state(), disk.leftovers().as_str()), (before.clone(), ""));
    let name = disk.project.root().file_name().unwrap().to_str().unwrap().to_string();
    disk.run(&format!("restore --from latest --yes --no-keep={name}")).expect(0);
    assert_ne!(disk.state(), before);
}

#[test]
fn a_full_disk_is_no_reason_to_move_a_database_aside() {
    let project = changed_in_rollback_mode();
    break_index(&project.path("data/sessions.db"));
    let disk = Disk::new(project, "data", "4m");
    let (mut refused, mut done) = (0, 0);
    // Up to more room than its copy, its journal and its growth take.
    for pages in 0..60 {
        disk.reset();
        disk.leave(Room::Pages(pages));
        let ran = disk.run("restore --from latest --yes");
        assert_eq!(disk.shell("find . -name '*.aside*'"), "", "{pages} pages: {}", ran.all());
        assert!(ran.code == 0 || lacks_room(&ran), "{pages} pages: {}", ran.all());
        (refused, done) = (refused + u32::from(ran.code != 0), done + u32::from(ran.code == 0));
        disk.clear();
    }
    assert!(refused > 5 && done > 5, "{refused} {done}");
}

#[test]
fn a_database_that_doesnt_fit_leaves_nothing_but_the_record_of_it() {
    let disk = Disk::new(Project::new(), "backups", "32k");
    let _tidy = disk.project.tidy();
    insta::assert_snapshot!(disk.run("backup --database-only").snapshot(), @"
    --
    error: ROOT/backups has SIZE free, SIZE are needed
    hint: free some space (df -h, df -i), or remove old backups: `rotate`
    error: backup ID failed: nothing was saved
    hint: fix what failed above, then run `backup` again; older backups are untouched
    => 1
    ");
    assert_eq!(disk.shell("ls backups | sed 's/_.*//'"), "history.jsonl\nmanifest\nstore.json\n");
    insta::assert_snapshot!(disk.run("list").stderr, @"
    warning: ID: ROOT/backups has SIZE free, SIZE are needed
    warning: the last run, begun DATE, failed
    ");
}

#[test]
fn a_disk_that_fills_up_on_the_way_leaves_nothing_but_the_record_of_it() {
    let project = Project::new();
    // Longer than the buffers between reading the copy and writing to the store: the copy is removed after that.
    project.execute("CREATE TABLE large(x); INSERT INTO large VALUES (randomblob(40000000));");
    let disk = Disk::new(project, "backups", "50m");
    let _tidy = disk.project.tidy();
    insta::assert_snapshot!(disk.run("backup --database-only --codec none").snapshot(), @"
    --
    error: can't store sessions_db_ID.db: No space left on device (os error 28)
    hint: free some space (df -h, df -i), or remove old backups: `rotate`
    error: backup ID failed: nothing was saved
    hint: fix what failed above, then run `backup` again; older backups are untouched
    => 1
    ");
    assert_eq!(disk.shell("ls backups | sed 's/_.*//'"), "history.jsonl\nmanifest\nstore.json\n");
    assert_eq!(disk.leftovers(), "");
}

#[test]
fn without_room_for_as_much_as_the_last_backup_took_nothing_is_begun() {
    let project = large_by_pages();
    project.backup();
    let disk = Disk::new(project, "backups", "4m");
    let _tidy = disk.project.tidy();
    disk.leave(Room::Pages(90));
    insta::assert_snapshot!(disk.run("backup --database-only").snapshot(), @"
    --
    error: ROOT/backups has SIZE free, SIZE are needed
    hint: free some space (df -h, df -i), or remove old backups: `rotate`
    error: backup ID failed: nothing was saved
    hint: fix what failed above, then run `backup` again; older backups are untouched
    => 1
    ");
}

// The ledger, where there is no room for its line.

impl Disk {
    /// Gives every stored file another hard link, so that removing a file frees no room.
    fn keep_files_of_removed_backups(&self) {
        self.shell("mkdir backups/.kept; ln backups/*_* backups/.kept");
    }
}

#[test]
fn rotation_with_no_byte_free_frees_some_and_is_in_the_ledger() {
    let disk = Disk::new(backed_up_twice(), "backups", "4m");
    disk.fill_page_of_ledger();
    disk.leave(Room::Pages(0));
    disk.run("rotate --keep-days 0").expect(0);
    assert_eq!(disk.complete().len(), 1);
    assert!(disk.space().f_bfree > 0);
    assert!(disk.shell("tail -n 1 backups/history.jsonl").contains("\"command\":\"rotate\",\"outcome\":\"ok\""));
}

#[test]
fn rotation_that_frees_nothing_removes_all_the_same_and_says_that_the_ledger_doesnt_know() {
    let disk = Disk::new(backed_up_twice(), "backups", "4m");
    let _tidy = disk.project.tidy();
    disk.fill_page_of_ledger();
    disk.keep_files_of_removed_backups();
    disk.leave(Room::Pages(0));
    insta::assert_snapshot!(disk.run("rotate --keep-days 0").snapshot(), @"
    keep    ID  newest complete backup, newest with config, newest with sessions_db
    remove  ID  no rule keeps it
    --
    error: backups removed: 1, but the ledger doesn't know: can't append to ROOT/backups/history.jsonl: No space left on device (os error 28)
    hint: free some space (df -h, df -i), or remove old backups: `rotate`
    => 3
    ");
    assert_eq!((disk.complete().len(), disk.leftovers().as_str()), (1, ""));
    insta::assert_snapshot!(disk.run("rotate --keep-days 0").snapshot(), @"
    keep    ID  newest complete backup, newest with config, newest with sessions_db
    rotation: nothing to remove
    --
    => 0
    ");
}

#[test]
fn a_backup_that_the_ledger_has_no_room_for_is_published_and_rotates() {
    let project = backed_up_twice();
    project.write("ops/backup.toml", "[retention]\nkeep_last = 1\n");
    let disk = Disk::new(project, "backups", "4m");
    let _tidy = disk.project.tidy();
    // The line of the run's begin fits, but the longer one of its end doesn't.
    let begun = disk.shell("head -1 backups/history.jsonl").len() as u64;
    disk.fill_page_of_ledger_but_for(begun + 8);
    disk.keep_files_of_removed_backups();
    // One for the archive, one for the manifest.
    disk.leave(Room::Pages(2));
    insta::assert_snapshot!(disk.run("backup --config-only").snapshot(), @"
      config_ID.tar.gz  SIZE (plain SIZE)
    backup ID complete: SIZE, from SIZE, in TIME
    --
    error: backup ID is published, but the ledger doesn't know: can't append to ROOT/backups/history.jsonl: No space left on device (os error 28)
    hint: free some space (df -h, df -i), or remove old backups: `rotate`
    error: backups removed: 1, but the ledger doesn't know: can't append to ROOT/backups/history.jsonl: No space left on device (os error 28)
    hint: free some space (df -h, df -i), or remove old backups: `rotate`
    => 3
    ");
    assert_eq!((disk.complete().len(), disk.leftovers().as_str()), (2, ""));
}

#[test]
fn what_a_verification_found_is_told_even_if_the_ledger_has_no_room_for_it() {
    let project = backed_up();
    shell(project.root(), "mkdir scratch");
    let disk = Disk::new(project, "backups", "4m");
    let _tidy = disk.project.tidy();
    disk.fill_page_of_ledger();
    disk.leave(Room::Pages(0));
    let elsewhere =
        |command: &str| disk.run(&format!("{command} --scratch {}", disk.project.path("scratch").display()));
    insta::assert_snapshot!(elsewhere("verify").snapshot(), @"
    backup ID is sound: 8 checks in TIME
    --
    warning: the ledger doesn't know of this run: can't append to ROOT/backups/history.jsonl: No space left on device (os error 28)
    => 0
    ");
    insta::assert_snapshot!(elsewhere("drill").snapshot(), @"
    drill of ID passed: restored 3 files in TIME, no probes configured
    --
    warning: the ledger doesn't know of this run: can't append to ROOT/backups/history.jsonl: No space left on device (os error 28)
    => 0
    ");
    let document = elsewhere("verify --json").expect(0).json();
    assert_eq!(document["reports"][0]["recorded"], false);
    disk.shell("rm backups/config_*");
    let damaged = elsewhere("verify");
    assert!(damaged.expect(12).stdout.contains("is damaged"), "{damaged:?}");
}

#[test]
fn a_drill_without_room_says_nothing_against_the_backup() {
    let disk = Disk::new(backed_up(), "backups", "4m");
    disk.leave(Room::Pages(4));
    disk.run("drill").expect(1);
    assert_eq!(disk.run("list").expect(0).stderr, "");
    assert_eq!(disk.complete().len(), 1);
}

// Folders that aren't one's own, or aren't there.

#[test]
fn a_backup_folder_on_a_read_only_mount_is_left_alone_and_says_so() {
    let disk = Disk::new(backed_up(), "backups", "4m");
    let _tidy = disk.project.tidy();
    disk.shell("mount -o remount,bind,ro backups");
    for command in ["backup", "rotate --keep-days 0", "pin latest", "restore --from latest --yes"] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(disk.run(command).expect(1).stderr, @"
            error: can't open ROOT/backups/.lock: Read-only file system (os error 30)
            hint: is its disk mounted, and for writing? a scheduled run writes only where install-timer found its folders
            ");
        }
    }
    disk.run("list").expect(0);
}

#[test]
fn a_store_on_another_disk_than_the_application_does_all() {
    let project = Project::new();
    shell(project.root(), "mkdir disk; ln -s disk backups");
    let disk = Disk::new(project, "disk", "4m");
    let before = disk.state();
    for command in ["backup", "verify", "drill"] {
        disk.run(command).expect(0);
    }
    disk.shell("rm data/sessions.db* .env");
    disk.run("restore --from latest --yes").expect(0);
    assert_eq!(disk.state(), before);
    disk.shell("sqlite3 data/sessions.db 'DELETE FROM sessions'");
    let changed = disk.state();
    disk.run("restore --from latest --yes").expect(0);
    assert_eq!(disk.state(), before);
    disk.run("restore --undo --yes").expect(0);
    assert_eq!(disk.state(), changed);
    disk.run("rotate --keep-days 0").expect(0);
    assert_eq!(disk.leftovers(), "");
}

#[test]
fn a_backup_folder_that_is_removed_while_a_run_waits_for_it_is_not_written_to() {
    let project = backed_up();
    let _tidy = project.tidy();
    let lock = project.lock();
    let waiting = WaitingRun::start(&mut project.command(["backup", "--lock-wait", "10m"]));
    fs::remove_dir_all(project.path("backups")).unwrap();
    drop(lock);
    insta::assert_snapshot!(waiting.end().expect(1).stderr, @"error: can't open ROOT/backups/.lock: No such file or directory (os error 2)");
    assert!(!project.path("backups").exists());
    project.run("backup").expect(0);
}

#[test]
#[ignore = "needs root, to make what belongs to others: cargo test --workspace -- --ignored"]
fn a_backup_folder_of_somebody_elses_is_not_taken_for_an_empty_one() {
    let project = backed_up();
    let _tidy = project.tidy();
    shell(project.root(), "chmod 0755 .");
    let before = project.tree();
    let said = |command: &str| as_nobody(&project, &std::env::temp_dir(), command).expect(1).all();
    for command in
        ["list", "status", "verify", "drill", "rotate", "pin latest", "restore --from latest --yes", "backup"]
    {
        insta::allow_duplicates! {
            insta::assert_snapshot!(said(command), @"
            error: can't list ROOT/backups: Permission denied (os error 13)
            hint: check the owner and mode of that path and of the folders above it
            ");
        }
    }
    assert_eq!(project.tree(), before);
}

#[test]
fn an_application_folder_that_cant_be_written_is_left_alone_and_says_so() {
    let project = backed_up();
    let _tidy = project.tidy();
    shell(project.root(), "[ $(id -u) != 0 ] || chown -R 65534:65534 .; rm -f data/*-wal data/*-shm; chmod 0555 data");
    let state = || shell(project.root(), "sha256sum data/* .env; ls -A data");
    let before = state();
    let run = |command: &str| as_nobody(&project, &std::env::temp_dir(), command);
    insta::assert_snapshot!(run("backup").expect(3).stderr, @"
    error: can't read database ROOT/data/sessions.db: attempt to write a readonly database
    hint: check that this user can read the file and write its folder (SQLite needs that for -shm)
    hint: fix what failed above, then run `backup` again
    ");
    insta::assert_snapshot!(run("restore --from latest --yes --database-only").expect(1).stderr, @"
    warning: ID is newer, but does not hold all of sessions_db; using ID
    error: can't read database ROOT/data/sessions.db: attempt to write a readonly database
    hint: check that this user can read the file and write its folder (SQLite needs that for -shm)
    ");
    insta::assert_snapshot!(run("restore --from latest --yes --config-only").expect(1).stderr, @r#"
    error: can't create ROOT/data/.station_info.json.restoring: Permission denied (os error 13)
    hint: check the owner and mode of that path and of the folders above it
    "#);
    assert_eq!(state(), before);
    shell(project.root(), "chmod 0755 data");
    run("restore --from latest --yes").expect(0);
}

#[test]
fn a_disk_that_was_full_is_no_end_of_following() {
    let disk = Disk::new(Project::new(), "backups", "1M");
    let insert = || disk.shell("sqlite3 -cmd '.timeout 10000' data/sessions.db 'INSERT INTO sessions(kwh) VALUES (1)'");
    let mut following = Following::start(&mut disk.join(&disk.project.command(["follow", "--every", "1s"])));
    following.says(" complete: ");
    disk.leave(Room::Pages(0));
    insert();
    following.says("error: ");
    disk.clear();
    following.says("increment ");
    following.says("all is saved again since ");
    insert();
    following.says("increment ");
    let said = following.stop();
    assert_eq!(said.iter().filter(|line| line.starts_with("error: ")).count(), 1, "{said:#?}");
    assert_eq!((disk.complete().len(), disk.leftovers().as_str()), (3, ""));
}
