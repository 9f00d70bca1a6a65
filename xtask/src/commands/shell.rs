//! `completions` and `man`: what makes the command line a good citizen of the shell.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::completion;
use crate::exit::Exit;
use crate::invocation;
use crate::output::Output;

/// For the name that this program was called by: a shell completes programs, and aliases of `cargo xtask`.
pub fn completions(output: &Output, shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let (name, mut script) = (invocation::name(), Vec::new());
    clap_complete::generate(shell, &mut Cli::command().bin_name(&name), &name, &mut script);
    let script = String::from_utf8(script).context("make the completions")?;
    output.raw(completion::script(shell, &name, &script).as_bytes());
    Ok(Exit::Done)
}

pub fn man(output: &Output, dir: &Path) -> anyhow::Result<Exit> {
    let shell = xshell::Shell::new().context("find the current folder")?;
    let dir = shell.create_dir(dir).context("create the folder for the man pages")?;
    let name = invocation::name();
    clap_mangen::generate_to(Cli::command().name(name.clone()), &dir).context("write the man pages")?;
    output.line(&format!("man pages are in {}: man -l {}/{name}.1", dir.display(), dir.display()));
    Ok(Exit::Done)
}
