//! Whether this process may become root by `sudo`, and a hint for users who may not.

use std::fs;

use backup::{Error, ErrorKind};
use xshell::Shell;

use crate::cli::PLACES;
use crate::context::Context;
use crate::step::Step;
use crate::user::account::is_root;

/// Whether this process may run a command as root: because it runs as root, or by `sudo`, which may ask for a password at
/// a terminal.
pub fn may_sudo(shell: &Shell, words: &[&str]) -> bool {
    let listed = || Step::new(["sudo", "-n", "-l", "--"].iter().chain(words).copied()).run(shell).is_ok();
    is_root() || (has_sudo(shell) && (has_terminal() || listed()))
}

/// Makes sure that a command can run as root.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`], with what an administrator would type instead of this command.
pub fn require(context: &Context<'_>, shell: &Shell, words: &[&str]) -> backup::Result<()> {
    if may_sudo(shell, words) {
        return Ok(());
    }
    let why = if has_sudo(shell) {
        "`sudo` doesn't give you that without a password, and there is no terminal to ask for it"
    } else {
        "there is no `sudo` to become it"
    };
    Err(Error::new(ErrorKind::PermissionDenied, format!("this needs root, and {why}"))
        .with_hint(format!("have root run: {}", this_command(context))))
}

fn has_sudo(shell: &Shell) -> bool {
    let path = shell.var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join("sudo").is_file())
}

/// Whether `sudo` can ask for a password.
fn has_terminal() -> bool {
    fs::File::options().read(true).write(true).open("/dev/tty").is_ok()
}

/// The current command in a form that works for another user and in any folder.
pub fn this_command(context: &Context<'_>) -> Step {
    let program = std::env::current_exe().unwrap_or_else(|_| "xtask".into()).display().to_string();
    let places = [Some(&context.root), context.flags.config.as_ref(), context.flags.backup_dir.as_ref()];
    let places = PLACES.into_iter().zip(places);
    let places = places.filter_map(|(flag, path)| Some([flag.to_string(), path?.display().to_string()]));
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    Step::new([program]).and(places.flatten()).and(without_places(words))
}

/// A command's words without those flags.
fn without_places(mut words: impl Iterator<Item = String>) -> Vec<String> {
    let mut others = Vec::new();
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some((flag, _)) if PLACES.contains(&flag) => {}
            None if PLACES.contains(&word.as_str()) => drop(words.next()),
            _ => others.push(word),
        }
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_say_where_things_are_are_left_out() {
        let words = |text: &str| without_places(text.split(' ').map(str::to_string)).join(" ");
        assert_eq!(words("--root . run-now --drill --config=x --backup-dir y"), "run-now --drill");
        assert_eq!(words("install-timer --on-calendar=daily --root"), "install-timer --on-calendar=daily");
    }
}
