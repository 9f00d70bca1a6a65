//! A command that a person would type: shown as a shell reads it, and run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, anyhow};
use backup::Error;
use xshell::Shell;

use crate::exit::Signals;
use crate::text::quoted;
use crate::user::account;

/// Where the user's service manager is to be found: `man 5 user@.service`.
pub const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";

/// The folder of this user's service manager. The environment lacks it after `su` or `sudo`.
pub fn runtime_folder() -> PathBuf {
    format!("/run/user/{}", rustix::process::geteuid()).into()
}

/// Runs steps in the root folder: this process may not be allowed to read the one that it was started in.
pub fn shell() -> anyhow::Result<Shell> {
    let shell = Shell::new().context("find the current folder")?;
    shell.change_dir("/");
    if let Some(account) = account::became() {
        account.environment().iter().for_each(|(name, value)| shell.set_var(name, value));
        for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            shell.set_var(name, "");
        }
        shell.set_var(RUNTIME_DIR, runtime_folder());
    }
    Ok(shell)
}

/// A command and its arguments: one word at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    words: Vec<String>,
    stdin: Option<Vec<u8>>,
    refused: Option<String>,
}

impl Step {
    /// A command of these words.
    pub fn new<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), stdin: None, refused: None }
    }

    /// The same with more words.
    pub fn and<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// The same as root, which takes `sudo` unless this process is root's.
    pub fn sudo_unless(mut self, is_root: bool) -> Self {
        if !is_root {
            self.words.insert(0, "sudo".into());
        }
        self
    }

    /// The same, with something to read.
    pub fn reading(self, stdin: Vec<u8>) -> Self {
        Self { stdin: Some(stdin), ..self }
    }

    /// The same, but it also fails if its output contains `text`: some commands only warn.
    pub fn refusing(self, text: &str) -> Self {
        Self { refused: Some(text.to_string()), ..self }
    }

    /// The same, for a caller that streams the output or works while it runs.
    pub fn expression(&self, shell: &Shell) -> duct::Expression {
        let (program, arguments) = self.words.split_first().expect("a step has words");
        let command = duct::cmd(program, arguments).dir(shell.current_dir()).unchecked();
        // The shell's variables are not in the environment of this process.
        match shell.var_os(RUNTIME_DIR) {
            Some(folder) => command.env(RUNTIME_DIR, folder),
            None => command,
        }
    }

    /// Runs it and gives its stdout.
    ///
    /// # Errors
    /// Names the command, how it ended and its output; or that it was interrupted together with this process.
    pub fn run(&self, shell: &Shell) -> anyhow::Result<String> {
        let ended = self.run_words(shell, &self.words)?;
        let said = [ended.stderr.as_slice(), &ended.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        let how = match &self.refused {
            // It got the same signal.
            _ if !ended.status.success() && Signals::received().is_some() => return Err(Error::interrupted().into()),
            _ if !ended.status.success() => format!("failed ({})", ended.status),
            Some(text) if said.contains(text) => "found fault".into(),
            _ => return Ok(String::from_utf8_lossy(&ended.stdout).into_owned()),
        };
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let said = if lines.is_empty() { "it said nothing".into() } else { lines.join("; ") };
        Err(anyhow!("`{self}` {how}: {said}"))
    }

    /// The same, and signals don't end it.
    pub fn run_unswerving(&self, shell: &Shell) -> anyhow::Result<()> {
        let deaf = ["sh", "-c", "trap '' HUP INT TERM; exec \"$@\"", "sh"].map(str::to_string);
        let ended = self.run_words(shell, &[deaf.as_slice(), &self.words].concat())?;
        let said = String::from_utf8_lossy(&ended.stderr).trim().replace('\n', "; ");
        anyhow::ensure!(ended.status.success(), "`{self}` failed ({}): {said}", ended.status);
        Ok(())
    }

    fn run_words(&self, shell: &Shell, words: &[String]) -> anyhow::Result<Output> {
        let (program, arguments) = words.split_first().expect("a step has words");
        let command = shell.cmd(program).args(arguments).quiet().ignore_status();
        let command = match &self.stdin {
            Some(text) => command.stdin(text),
            None => command,
        };
        command.output().with_context(|| format!("run `{self}`"))
    }
}

/// A path as a word of a command.
pub fn word(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("name {} in a command: it isn't UTF-8", path.display()))
}

/// As a person would type it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words.iter().map(|word| quoted(word));
        f.write_str(&words.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_shown_as_a_shell_reads_it() {
        let step = Step::new(["install", "-m", "0644", "/a b/it's", "$HOME"]).sudo_unless(false);
        let shown = Shell::new().unwrap().cmd("sh").args(["-c", &format!("printf '%s\\n' {step}")]).read().unwrap();
        assert_eq!(shown.lines().collect::<Vec<_>>(), ["sudo", "install", "-m", "0644", "/a b/it's", "$HOME"]);
        assert_eq!(Step::new(["rm"]).sudo_unless(true).to_string(), "rm");
    }

    #[test]
    fn a_word_that_no_shell_can_be_told_is_still_one_word() {
        let step = Step::new(["rm", "/tmp/x; touch y #\0", "a\u{1b}[2J\nb", "\u{202e}$(id)", "`restore x`", ""]);
        let expected =
            "rm '/tmp/x; touch y #\u{fffd}' 'a\u{fffd}[2J\u{fffd}b' '\u{fffd}$(id)' '\u{fffd}restore x\u{fffd}' ''";
        assert_eq!(step.to_string(), expected);
    }

    #[test]
    fn a_failing_step_is_named_with_what_it_said() {
        let shell = Shell::new().unwrap();
        let failed = Step::new(["sh", "-c", "echo one; echo two >&2; exit 3"]).run(&shell).unwrap_err();
        assert_eq!(failed.to_string(), "`sh -c 'echo one; echo two >&2; exit 3'` failed (exit status: 3): two; one");
        let silent = Step::new(["false"]).run(&shell).unwrap_err().to_string();
        assert_eq!(silent, "`false` failed (exit status: 1): it said nothing");
        let missing = Step::new(["no-such-program"]).run(&shell).unwrap_err();
        assert!(format!("{missing:#}").starts_with("run `no-such-program`: "), "{missing:#}");
    }

    #[test]
    fn what_is_taken_back_does_not_hear_signals() {
        let (folder, shell) = (tempfile::tempdir().unwrap(), Shell::new().unwrap());
        let done = folder.path().join("it's done");
        let script = format!("kill -INT $$; kill -TERM $$; kill -HUP $$; touch \"{}\"", done.display());
        Step::new(["sh", "-c", &script]).run_unswerving(&shell).unwrap();
        assert!(done.exists());
        let failed = Step::new(["sh", "-c", "echo no >&2; exit 1"]).run_unswerving(&shell).unwrap_err();
        assert_eq!(failed.to_string(), "`sh -c 'echo no >&2; exit 1'` failed (exit status: 1): no");
    }

    #[test]
    fn a_warning_can_be_refused() {
        let shell = Shell::new().unwrap();
        let warns = Step::new(["sh", "-c", "echo /tmp/x/a.service: odd >&2"]);
        warns.run(&shell).unwrap();
        warns.clone().refusing("/tmp/y/").run(&shell).unwrap();
        let refused = warns.refusing("/tmp/x/").run(&shell).unwrap_err().to_string();
        assert!(refused.ends_with("found fault: /tmp/x/a.service: odd"), "{refused}");
    }

    #[test]
    fn a_step_reads_what_it_is_given() {
        let shell = Shell::new().unwrap();
        assert_eq!(Step::new(["cat"]).reading(b"a\nb".into()).run(&shell).unwrap(), "a\nb");
    }
}
