//! `completions` and `man`: what makes the command line a good citizen of the shell.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::output::Output;

/// The name that completions are bound to: a shell completes programs, not `cargo`'s aliases.
const PROGRAM: &str = "xtask";

pub fn completions(output: &Output, shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command().bin_name(PROGRAM), PROGRAM, &mut script);
    output.raw(&script);
    Ok(Exit::Done)
}

pub fn man(output: &Output, dir: &Path) -> anyhow::Result<Exit> {
    let shell = xshell::Shell::new().context("find the current folder")?;
    let dir = shell.create_dir(dir).context("create the folder for the man pages")?;
    clap_mangen::generate_to(Cli::command().name(PROGRAM), &dir).context("write the man pages")?;
    output.line(&format!("man pages are in {}: man -l {}/{PROGRAM}.1", dir.display(), dir.display()));
    Ok(Exit::Done)
}
