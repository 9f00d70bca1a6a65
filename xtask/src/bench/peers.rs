//! The contestants, in a table that anybody can check for fairness: each script is what a person would type.
//!
//! Scripts are for `sh`. They run in an empty folder, which is also their `HOME`, with these variables:
//!
//! | variable | what it is |
//! |---|---|
//! | `XTASK` | this program |
//! | `PROJECT`, `DB` | the project's folder, the database in it |
//! | `STORE` | where a backup goes, empty before each but `again`, and where `restore` and `verify` find it |
//! | `OUT` | an empty folder to restore to |
//! | `CORES` | how many cores there are |
//! | `EVERY` | the seconds between two rounds of those that stay |
//!
//! When a script ends, its output is on disk. restic, borg, rustic, litestream and this program sync by themselves when
//! they write to a local repository; the others, and every restore, end with `sync` of the written files and folders.
//! Temporary copies are removed within the measured time, but not synced.
//!
//! Tools that know no projects store only the database, without the configuration. That favours them.

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use serde::Serialize;
use xshell::cmd;

use crate::step;

/// The task of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// From the project to the store.
    Backup,
    /// From the store to an empty folder.
    Restore,
    /// From the store to nowhere, to check that all of it is intact.
    Verify,
    /// From the project to a store with an earlier backup of it.
    Again,
    /// From a store of this program with a chain to an empty folder.
    Point,
}

/// What the application does to the database between two backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// It records a session.
    Session,
    /// It records 0.01 % more rows.
    Little,
    /// It records 0.1 % more rows.
    Recorded,
    /// It changes 0.1 % of the rows, all over the tables.
    Scattered,
}

/// A contestant. It takes no part in a task for which it has no script.
#[derive(Debug)]
pub struct Contestant {
    /// Its name.
    pub name: &'static str,
    /// Programs that have to be installed.
    pub(super) needs: &'static [&'static str],
    /// How to install them.
    pub(super) install: &'static str,
    /// The command that prints its version.
    pub(super) version: &'static str,
    /// The script that runs before each of the others, outside the measured time.
    pub prepare: &'static str,
    pub(super) backup: &'static str,
    pub(super) restore: &'static str,
    pub(super) verify: &'static str,
    pub(super) again: &'static str,
    pub(super) point: &'static str,
    /// The script that stays, and saves what changes every `EVERY` seconds; and what comes before it.
    pub follow: Option<Follow>,
    /// Whether the application is restarted before each further backup.
    pub restarts: bool,
    /// Whether it restores the base, not the newest point.
    pub is_base: bool,
    /// Who its times are compared with.
    pub(super) against: Rivals,
}

/// How a contestant follows a database.
#[derive(Debug)]
pub struct Follow {
    /// The settings, and a first backup.
    pub prepare: &'static str,
    /// The script that stays. It ends with `exec`.
    pub stay: &'static str,
}

/// Names of other contestants, task by task.
#[derive(Debug)]
pub(super) struct Rivals {
    pub(super) backup: &'static [&'static str],
    pub(super) restore: &'static [&'static str],
    pub(super) verify: &'static [&'static str],
    pub(super) again: &'static [&'static str],
    pub(super) point: &'static [&'static str],
}

pub(super) const NOBODY: Rivals = Rivals { backup: &[], restore: &[], verify: &[], again: &[], point: &[] };

/// The defaults of an entry.
pub(super) const ELSE: Contestant = Contestant {
    name: "",
    needs: &[],
    install: "",
    version: "",
    prepare: "",
    backup: "",
    restore: "",
    verify: "",
    again: "",
    point: "",
    follow: None,
    restarts: false,
    is_base: false,
    against: NOBODY,
};

const RESTIC_BACKUP: &str = r#"
    sqlite3 "$DB" ".backup sessions.db"
    restic backup sessions.db
    rm sessions.db"#;

/// Its default, lz4, stores much more.
const BORG_BACKUP: &str = r#"
    sqlite3 "$DB" ".backup sessions.db"
    borg create --compression zstd,3 "::$(date +%s%N)" sessions.db
    rm sessions.db"#;

const RUSTIC_BACKUP: &str = r#"
    sqlite3 "$DB" ".backup sessions.db"
    rustic backup sessions.db
    rm sessions.db"#;

/// Tools that people use for the same purpose.
pub const PEERS: [Contestant; 8] = [
    Contestant {
        name: "python",
        needs: &["python3"],
        install: "apt-get install python3",
        version: "python3 --version",
        // The interpreter itself, not a wrapper that chooses among several.
        prepare: concat!(
            "python3 -c 'import os, sys; os.symlink(sys.executable, \"python\")'\n",
            "cat > backup_manager.py <<'EOF'\n",
            include_str!("backup_manager.py"),
            "EOF\n"
        ),
        backup: r#"exec ./python backup_manager.py backup "$PROJECT" "$STORE""#,
        restore: r#"exec ./python backup_manager.py restore "$STORE" "$OUT""#,
        ..ELSE
    },
    Contestant {
        name: "gzip",
        needs: &["sqlite3", "gzip"],
        install: "apt-get install sqlite3 gzip",
        version: "gzip --version",
        backup: r#"
            sqlite3 "$DB" "VACUUM INTO 'sessions.db'"
            gzip -6 -c sessions.db > "$STORE/sessions.db.gz"
            rm sessions.db
            sync "$STORE/sessions.db.gz" "$STORE""#,
        restore: r#"
            gzip -dc "$STORE/sessions.db.gz" > "$OUT/sessions.db"
            sync "$OUT/sessions.db" "$OUT""#,
        verify: r#"exec gzip -t "$STORE/sessions.db.gz""#,
        ..ELSE
    },
    Contestant {
        name: "pigz",
        needs: &["sqlite3", "pigz"],
        install: "apt-get install sqlite3 pigz",
        version: "pigz --version",
        backup: r#"
            sqlite3 "$DB" "VACUUM INTO 'sessions.db'"
            pigz -6 -c -p "$CORES" sessions.db > "$STORE/sessions.db.gz"
            rm sessions.db
            sync "$STORE/sessions.db.gz" "$STORE""#,
        restore: r#"
            pigz -dc "$STORE/sessions.db.gz" > "$OUT/sessions.db"
            sync "$OUT/sessions.db" "$OUT""#,
        verify: r#"exec pigz -t "$STORE/sessions.db.gz""#,
        ..ELSE
    },
    Contestant {
        name: "zstd",
        needs: &["sqlite3", "zstd"],
        install: "apt-get install sqlite3 zstd",
        version: "zstd --version",
        backup: r#"
            sqlite3 "$DB" ".backup sessions.db"
            zstd -q -3 -T"$CORES" sessions.db -o "$STORE/sessions.db.zst"
            rm sessions.db
            sync "$STORE/sessions.db.zst" "$STORE""#,
        restore: r#"
            zstd -q -dc "$STORE/sessions.db.zst" > "$OUT/sessions.db"
            sync "$OUT/sessions.db" "$OUT""#,
        verify: r#"exec zstd -q -t "$STORE/sessions.db.zst""#,
        ..ELSE
    },
    Contestant {
        name: "restic",
        needs: &["sqlite3", "restic"],
        install: "apt-get install sqlite3 restic",
        version: "restic version",
        prepare: r#"[ -e "$STORE/config" ] || restic init"#,
        backup: RESTIC_BACKUP,
        again: RESTIC_BACKUP,
        restore: r#"
            restic restore latest --target "$OUT"
            find "$OUT" -exec sync {} +"#,
        verify: "exec restic check --read-data",
        ..ELSE
    },
    Contestant {
        name: "borg",
        needs: &["sqlite3", "borg"],
        install: "apt-get install sqlite3 borgbackup",
        version: "borg --version",
        prepare: r#"
            [ -e "$STORE/config" ] || borg init --encryption none
            borg list --last 1 --short > newest"#,
        backup: BORG_BACKUP,
        restore: r#"
            cd "$OUT"
            borg extract "::$(cat "$HOME/newest")"
            sync sessions.db ."#,
        verify: "exec borg check --verify-data",
        again: BORG_BACKUP,
        ..ELSE
    },
    Contestant {
        name: "rustic",
        needs: &["sqlite3", "rustic"],
        install: "cargo install rustic-rs, or https://rustic.cli.rs/docs/installation.html",
        version: "rustic --version",
        prepare: r#"[ -e "$STORE/config" ] || rustic init"#,
        backup: RUSTIC_BACKUP,
        again: RUSTIC_BACKUP,
        restore: r#"
            rustic restore latest "$OUT"
            find "$OUT" -exec sync {} +"#,
        verify: "exec rustic check --read-data",
        ..ELSE
    },
    Contestant {
        name: "litestream",
        needs: &["sqlite3", "litestream"],
        install: "https://litestream.io/install/",
        version: "litestream version",
        // It writes to the database that it replicates, so it gets a copy of its own, but for following.
        prepare: r#"sqlite3 "$DB" ".backup sessions.db""#,
        backup: r#"exec litestream replicate -once sessions.db "file://$STORE""#,
        restore: r#"
            litestream restore -o "$OUT/sessions.db" "file://$STORE"
            sync "$OUT/sessions.db" "$OUT""#,
        follow: Some(Follow {
            // What it keeps beside the database knows the store that was emptied.
            prepare: r#"
                rm -rf "$(dirname "$DB")/.sessions.db-litestream"
                litestream replicate -once "$DB" "file://$STORE""#,
            stay: r#"
                printf 'dbs:\n- path: "%s"\n  replica:\n    url: "file://%s"\n    sync-interval: %ss\n' \
                    "$DB" "$STORE" "$EVERY" > litestream.yml
                exec litestream replicate -config litestream.yml"#,
        }),
        ..ELSE
    },
];

impl Contestant {
    /// Whether it does a task. What is restored or verified was backed up whole.
    pub fn takes_part(&self, task: Task) -> bool {
        let reads = matches!(task, Task::Restore | Task::Verify);
        self.script(task).is_some() && (!reads || self.script(Task::Backup).is_some())
    }

    /// Its script for a task; none if it can't do that.
    pub fn script(&self, task: Task) -> Option<&'static str> {
        let script = match task {
            Task::Backup => self.backup,
            Task::Restore => self.restore,
            Task::Verify => self.verify,
            Task::Again => self.again,
            Task::Point => self.point,
        };
        Some(script.trim()).filter(|script| !script.is_empty())
    }

    /// Who its times are compared with.
    pub fn against(&self, task: Task) -> &'static [&'static str] {
        match task {
            Task::Backup => self.against.backup,
            Task::Restore => self.against.restore,
            Task::Verify => self.against.verify,
            Task::Again => self.against.again,
            Task::Point => self.against.point,
        }
    }

    /// The first of its programs that is not installed, if any.
    fn lacks(&self) -> Option<&'static str> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
        self.needs.iter().find(|program| !installed(program)).copied()
    }
}

/// A peer that takes part.
#[derive(Debug, Serialize)]
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: String,
    /// What it does.
    #[serde(skip)]
    pub contestant: &'static Contestant,
}

/// The peers of a bench.
#[derive(Debug)]
pub struct LineUp {
    /// What this program is compared with.
    pub peers: Vec<Peer>,
    /// Requested peers that are not installed.
    pub missing: Vec<&'static str>,
    /// The version of the `sqlite3` that some of them use.
    pub sqlite3: Option<String>,
}

impl LineUp {
    /// The requested peers; the command line has checked their names.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if one that was named is not installed.
    pub fn of(asked: &[String]) -> anyhow::Result<Self> {
        let is_asked = |name: &str| asked.iter().any(|asked| asked == name);
        let (mut peers, mut missing) = (Vec::<Peer>::new(), Vec::new());
        for peer in PEERS.iter().filter(|peer| is_asked(peer.name) || is_asked("auto")) {
            match peer.lacks() {
                None => peers.push(Peer { name: peer.name, version: version(peer.version)?, contestant: peer }),
                Some(program) if is_asked(peer.name) => return Err(not_installed(peer, program).into()),
                Some(_) => missing.push(peer.name),
            }
        }
        let use_sqlite3 = peers.iter().any(|peer| peer.contestant.needs.contains(&"sqlite3"));
        let sqlite3 = use_sqlite3.then(|| version("sqlite3 --version")).transpose()?;
        Ok(Self { peers, missing, sqlite3 })
    }
}

fn not_installed(peer: &Contestant, program: &str) -> Error {
    let message = format!("the peer {} can't take part: {program} is not installed", peer.name);
    Error::new(ErrorKind::InvalidInput, message).with_hint(format!("get it ({}), or leave it out", peer.install))
}

/// The version that a command prints.
fn version(command: &str) -> anyhow::Result<String> {
    let shell = step::shell()?;
    let said =
        cmd!(shell, "sh -c {command}").quiet().ignore_status().output().with_context(|| format!("run `{command}`"))?;
    let said = [said.stdout, said.stderr].concat();
    Ok(version_in(&String::from_utf8_lossy(&said)).unwrap_or("unknown").to_string())
}

/// The first number in a text that contains a point.
fn version_in(text: &str) -> Option<&str> {
    let words = text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_ascii_digit()));
    words.into_iter().find(|word| word.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::own::OWN;

    #[test]
    fn a_version_is_found_in_whatever_is_around_it() {
        for (text, version) in [
            ("Python 3.11.7\n", Some("3.11.7")),
            ("*** Zstandard CLI (64-bit) v1.5.4, by Yann Collet ***", Some("1.5.4")),
            ("restic 0.14.0 compiled with go1.19.8 on linux/amd64", Some("0.14.0")),
            ("v0.5.2", Some("0.5.2")),
            ("no idea.", None),
        ] {
            assert_eq!(version_in(text), version, "{text}");
        }
    }

    #[test]
    fn whoever_is_compared_with_takes_part_in_that_task() {
        for task in [Task::Backup, Task::Restore, Task::Verify, Task::Again, Task::Point] {
            for name in OWN.iter().flat_map(|own| own.against(task)) {
                let peer = OWN.iter().chain(&PEERS).find(|peer| peer.name == *name).unwrap();
                assert!(peer.takes_part(task), "{name} {task:?}");
            }
        }
    }

    #[test]
    fn the_command_line_knows_every_peer() {
        let names: Vec<&str> = ["auto", "none"].into_iter().chain(PEERS.iter().map(|peer| peer.name)).collect();
        assert_eq!(names, crate::cli::PEERS);
    }

    #[test]
    fn names_are_used_once_and_what_is_backed_up_again_can_be_restored() {
        let all: Vec<&Contestant> = OWN.iter().chain(&PEERS).collect();
        let mut names: Vec<&str> = all.iter().map(|one| one.name).chain(["auto", "none"]).collect();
        let number = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), number);
        let may_restore = |one: &&Contestant| one.script(Task::Restore).is_some();
        assert!(all.iter().filter(|one| one.script(Task::Again).is_some()).all(may_restore));
    }
}
