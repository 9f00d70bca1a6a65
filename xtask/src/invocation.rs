//! How this program was called. Commands in hints can be pasted: they have the program's name as it was called, and the
//! same flags.

use std::env;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::{Cli, Global, NAME, PLACES};
use crate::step::Step;

/// Parses this process's arguments. Messages name the program as it was called.
pub fn parse() -> Result<Cli, clap::Error> {
    let mut command = Cli::command().bin_name(program().join(" ")).display_name(title());
    let matches = command.try_get_matches_from_mut(env::args_os())?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The words that called this program: `cargo xtask`, or the name or path that it was started by.
pub fn program() -> Vec<String> {
    // Set by `cargo run` only.
    if env::var("CARGO_PKG_NAME").is_ok_and(|package| package == env!("CARGO_PKG_NAME")) {
        return ["cargo", NAME].map(str::to_string).to_vec();
    }
    vec![env::args_os().next().map_or_else(|| NAME.into(), |word| word.to_string_lossy().into_owned())]
}

/// The name that a shell knows this program by, without folders; [`NAME`] under cargo, for an alias of that name.
pub fn name() -> String {
    let word = program().pop().unwrap_or_default();
    Path::new(&word).file_name().map_or_else(|| NAME.into(), |name| name.to_string_lossy().into_owned())
}

/// What `--version` calls this program: `cargo xtask`, or its [`name`].
fn title() -> String {
    let program = program();
    if program.len() > 1 { program.join(" ") } else { name() }
}

/// The program and the flags that say which project it is about.
#[derive(Debug)]
pub struct Invocation {
    words: Vec<String>,
}

impl Default for Invocation {
    fn default() -> Self {
        Self { words: program() }
    }
}

impl Invocation {
    /// As this process was called.
    pub fn new(global: &Global) -> Self {
        let paths = [&global.root, &global.config, &global.backup_dir];
        let given =
            PLACES.into_iter().zip(paths).filter_map(|(flag, path)| Some([flag.to_string(), place(path.as_ref()?)]));
        Self { words: program().into_iter().chain(given.flatten()).collect() }
    }

    /// A command of this program for the same project, as a person would type it.
    pub fn command(&self, words: &[&str]) -> Step {
        Step::new(self.words.clone()).and(words.iter().copied())
    }

    /// Completes the commands in a hint: "`restore --undo`" gets the program's name and flags.
    pub fn complete(&self, hint: &str) -> String {
        let cli = Cli::command();
        let is_command = |text: &str| text.split(' ').next().is_some_and(|word| cli.find_subcommand(word).is_some());
        let complete = |(at, part): (usize, &str)| {
            if at % 2 == 1 && is_command(part) { format!("{} {part}", self.command(&[])) } else { part.to_string() }
        };
        hint.split('`').enumerate().map(complete).collect::<Vec<_>>().join("`")
    }
}

/// A path that means the same from every folder.
fn place(path: &Path) -> String {
    let absolute = || path.canonicalize().or_else(|_| std::path::absolute(path));
    absolute().unwrap_or_else(|_| PathBuf::from(path)).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_a_hint_are_made_complete_and_nothing_else_is() {
        let words = ["/opt/x/xtask", "--root", "/srv/a b"].map(str::to_string).to_vec();
        let invocation = Invocation { words };
        let complete = |hint| invocation.complete(hint);
        let program = "/opt/x/xtask --root '/srv/a b'";
        assert_eq!(complete("repeat it: `restore --undo`"), format!("repeat it: `{program} restore --undo`"));
        assert_eq!(complete("`list` or `prune`"), format!("`{program} list` or `{program} prune`"));
        for other in ["see `project` in the settings", "a backup", "`", "``", "`systemctl status`", ""] {
            assert_eq!(complete(other), other);
        }
    }
}
