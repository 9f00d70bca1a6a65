//! Completion of backups: the ids that a shell offers for `restore --from`.
//!
//! The scripts that clap makes know commands and flags. For backups they run this program, with the words typed so far as
//! its arguments and [`VARIABLE`] in its environment. It answers in lines: an id, a tab, a description. On any error it
//! prints nothing: the terminal is in the middle of a command line.

use std::borrow::Cow;
use std::env;
use std::ffi::OsString;

use backup::{Entry, Status};
use clap::Parser as _;
use clap_complete::Shell;

use crate::cli::{Cli, NAME, PLACES};
use crate::context::Context;
use crate::invocation;
use crate::output::Output;
use crate::privilege;
use crate::text::local;

/// If it is set, this program answers a shell.
const VARIABLE: &str = "XTASK_COMPLETE";

/// The most backups that are offered.
const MOST: usize = 200;

/// Placeholders in the scripts: this program's name, the same as clap writes it in function names, the variable, and the
/// program's file, for a shell that finds no program of that name.
const NAMES: [&str; 4] = ["PROGRAM", "FUNCTION", "VARIABLE", "FILE"];

/// bash inserts what it shows. So ages are shown only where several backups are left.
const BASH: &str = r#"
_FUNCTION_backups() {
    local program line
    program=$(type -P -- "$1")
    COMPREPLY=()
    while IFS= read -r line; do
        [[ $line == "$2"* ]] && COMPREPLY+=("$line")
    done < <(VARIABLE=bash "${program:-FILE}" "${COMP_WORDS[@]:1}" 2> /dev/null)
    if ((${#COMPREPLY[@]} == 1)) || [[ $COMP_TYPE == 37 || $COMP_TYPE == 42 ]]; then
        COMPREPLY=("${COMPREPLY[@]%%$'\t'*}")
    else
        COMPREPLY=("${COMPREPLY[@]//$'\t'/   }")
    fi
    compopt +o bashdefault +o default -o nosort 2> /dev/null
}

_FUNCTION_all() {
    local before=$3 word=$2
    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD - 2]}
    if [[ $word == = ]]; then
        before=$3 word=
    fi
    case $before in
        --from | pin | unpin | accept) _FUNCTION_backups "$1" "$word" ;;
        *) _FUNCTION "$@" ;;
    esac
}

complete -F _FUNCTION_all -o bashdefault -o default PROGRAM
"#;

const ZSH: &str = r#"_PROGRAM_backups() {
    local -a backups
    backups=("${(@f)$(VARIABLE=zsh ${commands[$typed[1]]:-FILE} "${(@)typed[2,-1]}" 2> /dev/null)}")
    backups=("${(@)backups//:/\\:}")
    backups=("${(@)backups/$'\t'/:}")
    _describe -V backup backups
}

"#;

const FISH: &str = r#"
function __fish_FUNCTION_backups
    set -l words (commandline -opc)
    set -l program FILE
    command -q $words[1]; and set program $words[1]
    VARIABLE=fish command $program $words[2..] 2> /dev/null
end
for name in restore verify drill
    complete -c PROGRAM -n "__fish_FUNCTION_using_subcommand $name" -l from -x -k -a "(__fish_FUNCTION_backups)"
end
for name in pin unpin accept
    complete -c PROGRAM -n "__fish_FUNCTION_using_subcommand $name" -f -k -a "(__fish_FUNCTION_backups)"
end
"#;

/// clap's script for `shell`, with the completion of backups if the shell can do that.
pub fn script(shell: Shell, program: &str, clap: &str) -> String {
    // A program that was called by its bare name is found by it: a package's scripts must not name the build folder.
    let is_found = invocation::program() == [program];
    let file = env::current_exe().ok().filter(|_| !is_found).unwrap_or_else(|| program.into()).display().to_string();
    let file = shlex::try_quote(&file).map_or_else(|_| program.to_string(), Cow::into_owned);
    let name = |script: &str, dash: &str| {
        let values = [program, &program.replace('-', dash), VARIABLE, &file];
        NAMES.iter().zip(values).fold(script.to_string(), |text, (name, value)| text.replace(name, value))
    };
    match shell {
        Shell::Bash => clap.to_string() + &name(BASH, "__"),
        Shell::Zsh => zsh(program, clap, &name(ZSH, "-")),
        Shell::Fish => clap.to_string() + &name(FISH, "_"),
        _ => clap.to_string(),
    }
}

/// In zsh, the description of an argument names the function that completes it.
fn zsh(program: &str, clap: &str, functions: &str) -> String {
    let begin = format!("_{program}() {{\n");
    let asks = |line: &str| line.contains("--from=[") || line.starts_with("':id -- ");
    let line = |line: &str| {
        let line = if asks(line) { line.replace(":_default'", &format!(":_{program}_backups'")) } else { line.into() };
        line + "\n"
    };
    let script: String = clap.lines().map(line).collect();
    script.replacen(&begin, &format!("{functions}{begin}    local -a typed=(\"${{words[@]}}\")\n"), 1)
}

/// Answers a shell, if a shell has started this program for that.
pub fn answer() -> bool {
    let asked = env::var_os(VARIABLE).is_some();
    if asked {
        let _ = print_backups();
    }
    asked
}

fn print_backups() -> anyhow::Result<()> {
    let flags = places(env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()));
    let words = [NAME.to_string()].into_iter().chain(flags).chain(["list".into(), "--quiet".into()]);
    let cli = Cli::try_parse_from(words.map(OsString::from))?;
    let output = Output::new(&cli.global);
    privilege::give_up_silently(&cli)?;
    let context = Context::new(&cli.global, &output)?;
    let catalog = context.catalog()?;
    let is_empty = |entry: &&Entry| entry.manifest().is_some_and(|manifest| manifest.status == Status::Failed);
    let mut answer = String::new();
    for entry in catalog.entries().iter().rev().filter(|entry| !is_empty(entry)).take(MOST) {
        let at = entry.created_at();
        let ago = context.age_of(at);
        answer.extend([&entry.id.to_string(), "\t", &local(at), ", ", &ago, " ago\n"]);
    }
    if !answer.is_empty() {
        answer.insert_str(0, "latest\tthe newest sound one that holds all that is asked for\n");
    }
    output.raw(answer.as_bytes());
    Ok(())
}

/// The flags among the typed words that say where things are. A shell passes the words as they were typed, with quotes.
fn places(typed: impl Iterator<Item = String>) -> Vec<String> {
    let words: Vec<String> =
        typed.flat_map(|word| shlex::split(&word).unwrap_or_default()).map(|word| home(&word)).collect();
    let mut places = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let (flag, value) = word.split_once('=').unwrap_or((word, ""));
        if !PLACES.contains(&flag) {
            continue;
        }
        // bash takes `=` for a word of its own.
        let next = words[at + 1..].iter().find(|word| *word != "=").map(String::as_str);
        let value = if value.is_empty() { next.unwrap_or_default() } else { value };
        places.push(format!("{flag}={}", home(value)));
    }
    places
}

fn home(word: &str) -> String {
    let below = word.strip_prefix("~/").zip(env::var("HOME").ok());
    below.map_or(word.into(), |(rest, home)| format!("{home}/{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_what_was_typed() {
        let places = |line: &str| places(line.split(' ').map(str::to_string)).join(" ");
        assert_eq!(places("--root /srv/x restore --from "), "--root=/srv/x");
        assert_eq!(places("--root = /srv/x restore"), "--root=/srv/x");
        assert_eq!(places("restore --root=/srv/x --backup-dir 'b' --from"), "--root=/srv/x --backup-dir=b");
        assert_eq!(places("--root"), "--root=");
        assert_eq!(places("list --root=~/x"), format!("--root={}/x", env::var("HOME").unwrap()));
    }
}
