//! `demo`: the whole cycle on a sample project, as a person would go through it.
//!
//! Each command runs as a process of its own, while this process plays the application that writes. So everything that
//! is shown can be repeated at a terminal.

use std::env;
use std::fmt::Display;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use backup::Error;
use serde::Serialize;
use xshell::{Shell, cmd};

use crate::cli;
use crate::invocation;
use crate::output::Output;
use crate::report::Report;
use crate::sample::folder;
use crate::sample::{self, DATABASE, Writers};
use crate::step::Step;

const SEED: u64 = 16;

/// The folder of a demo, and how many commits were made, lost and restored.
#[derive(Debug, Serialize)]
pub struct DemoSummary {
    folder: String,
    /// Commits before the backup began. All of them must come back.
    before_backup: u64,
    /// Commits found after the restore.
    restored: u64,
    /// Commits made until the disaster.
    made: u64,
    /// Commits made on the restored database.
    after_restore: u64,
}

/// Runs the demo, in the workspace's target folder or the current one if none is given.
pub fn run(output: &Output, args: &cli::Demo) -> anyhow::Result<DemoSummary> {
    let dir = args.dir.clone().map_or_else(|| folder::default("demo"), Ok)?;
    cycle(output, &dir, args.size_mb, &env::current_exe()?)
}

impl Report for DemoSummary {
    /// Nothing is left to say: each step was shown when it was taken.
    fn text(&self, _: &Output) {}

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(self)
    }
}

/// Makes a sample project of `size_mb` megabytes in `dir`, in place of an earlier one, and takes it through backup,
/// loss and restore with the program `exe`. An error names the command that failed, or the commits that are missing.
fn cycle(output: &Output, dir: &Path, size_mb: u64, exe: &Path) -> anyhow::Result<DemoSummary> {
    let demo = Demo { output, dir, exe, shell: Shell::new()? };
    let (writers, env) = demo.make_project(size_mb)?;
    let before = demo.back_up(&writers)?;
    demo.look_at_it()?;
    let last = demo.lose_everything(writers)?;
    let summary = demo.restore(&before, &last, &env)?;
    demo.go_on()?;
    Ok(summary)
}

struct Demo<'a> {
    output: &'a Output,
    dir: &'a Path,
    exe: &'a Path,
    shell: Shell,
}

/// A file as it was: its bytes and its mode.
type Content = (Vec<u8>, u32);

impl Demo<'_> {
    fn make_project(&self, size_mb: u64) -> anyhow::Result<(Writers, Content)> {
        self.step("1. A charging back end, and four writers that never rest");
        if folder::make(self.dir, "demo")? {
            self.say("the project of an earlier demo is removed");
        }
        sample::create(self.dir, size_mb, SEED)?;
        self.say(format!("{}: {size_mb} MB of charging sessions and OCPP messages", self.path(DATABASE).display()));
        self.say(format!("{}: its secrets, invented", self.path(".env").display()));
        let writers = Writers::start(&self.path(DATABASE), 4)?;
        writers.wait_for_commits(25)?;
        Ok((writers, self.read_env()?))
    }

    fn back_up(&self, writers: &Writers) -> anyhow::Result<Vec<u64>> {
        self.step("2. Back up, while they commit");
        let before = writers.committed();
        self.say(format!("{} commits by now", total(&before)));
        self.xtask("backup")?;
        Ok(before)
    }

    fn look_at_it(&self) -> anyhow::Result<()> {
        self.step("3. What is there");
        self.xtask("list")?;
        self.step("4. Is it intact? Every byte, every table");
        self.xtask("verify")?;
        self.step("5. Would a restore work? Try it, in a scratch folder");
        self.xtask("drill")
    }

    fn lose_everything(&self, writers: Writers) -> anyhow::Result<Vec<u64>> {
        self.step("6. Disaster");
        let last = writers.stop()?;
        self.say(format!("the writers stop after {} commits, and then somebody types", total(&last)));
        let lost = [self.path(&format!("{DATABASE}*")), self.path(".env")];
        self.say(cmd!(self.shell, "$ rm -f {lost...}"));
        for file in [DATABASE, &format!("{DATABASE}-wal"), &format!("{DATABASE}-shm"), ".env"] {
            self.shell.remove_path(self.path(file))?;
        }
        Ok(last)
    }

    fn restore(&self, before: &[u64], last: &[u64], env: &Content) -> anyhow::Result<DemoSummary> {
        self.step("7. Restore");
        self.xtask("restore --from latest --yes")?;
        self.step("8. Is everything back?");
        let back = sample::check_commits(&self.path(DATABASE), before)?;
        let (before, found, made) = (total(before), total(&back), total(last));
        self.say(format!("every one of the {before} commits made before the backup is back"));
        self.say(format!("{} made while it ran came along, without a gap", found - before));
        self.say(format!("{} made after it are lost, as ever: back up as often as that matters", made - found));
        ensure!(self.read_env()? == *env, "{} is not what it was", self.path(".env").display());
        self.say(format!(".env is what it was, byte for byte, mode {:04o}", env.1));
        let writers = Writers::start(&self.path(DATABASE), 2)?;
        writers.wait_for_commits(10)?;
        writers.stop()?;
        let now = sample::check_commits(&self.path(DATABASE), &back)?;
        let after_restore = total(&now) - found;
        self.say(format!("the application writes again: {after_restore} new commits"));
        let folder = self.dir.display().to_string();
        Ok(DemoSummary { folder, before_backup: before, restored: found, made, after_restore })
    }

    fn go_on(&self) -> anyhow::Result<()> {
        self.step("9. How it stands");
        self.xtask("status")?;
        self.step("Done: a backup under load, a drill, a loss, a restore");
        self.say(format!("the project is in {}; to go on by hand:", self.dir.display()));
        for args in ["list", "verify --all", "rotate --dry-run", "restore --from latest --dry-run"] {
            self.say(format!("  {}", self.command_line(args)));
        }
        Ok(())
    }

    /// Shows a command and runs it.
    fn xtask(&self, args: &str) -> anyhow::Result<()> {
        let (Self { dir, exe, shell, .. }, words) = (self, args.split(' '));
        self.say(format!("$ {}", self.command_line(args)));
        let command = cmd!(shell, "{exe} --root {dir} {words...}").quiet();
        // The demo prints one document, and the commands' own would stand beside it.
        let done = if self.output.is_json() { command.ignore_stdout() } else { command }.run();
        done.with_context(|| format!("the demo ends here, this command failed: {}", self.command_line(args)))
    }

    /// A command as a person would type it.
    fn command_line(&self, args: &str) -> String {
        let place = ["--root".to_string(), self.dir.display().to_string()];
        Step::new(invocation::program()).and(place).and(args.split(' ')).to_string()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    fn read_env(&self) -> anyhow::Result<Content> {
        let path = self.path(".env");
        let read = || Ok((fs::read(&path)?, fs::metadata(&path)?.permissions().mode() & 0o7777));
        read().map_err(|error| Error::io("read", &path, error).into())
    }

    fn step(&self, title: &str) {
        self.say("");
        self.say(format!("== {title}"));
    }

    fn say(&self, line: impl Display) {
        self.output.line(&line.to_string());
    }
}

fn total(commits: &[u64]) -> u64 {
    commits.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_an_earlier_demo_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let error = cycle(&Output::silent(), dir.path(), 1, Path::new("false")).unwrap_err();
            let command = format!("{} --root {} backup", invocation::program().join(" "), dir.path().display());
            assert!(error.to_string().ends_with(&command), "{error}");
        }
    }
}
