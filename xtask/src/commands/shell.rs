//! `completions` and `man`: files for the shell and for `man`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::completion;
use crate::invocation;
use crate::output::Output;
use crate::report::Report;

/// A script that completes commands in a shell.
#[derive(Debug)]
pub struct CompletionsSummary {
    script: String,
}

/// Makes the script for the name that this program was called by, which may be an alias of `cargo xtask`.
pub fn completions(shell: clap_complete::Shell) -> anyhow::Result<CompletionsSummary> {
    let (name, mut script) = (invocation::name(), Vec::new());
    clap_complete::generate(shell, &mut Cli::command().bin_name(&name), &name, &mut script);
    let script = String::from_utf8(script).context("make the completions")?;
    Ok(CompletionsSummary { script: completion::script(shell, &name, &script) })
}

impl Report for CompletionsSummary {
    fn text(&self, output: &Output) {
        output.raw(self.script.as_bytes());
    }
}

/// Man pages in a folder.
#[derive(Debug)]
pub struct ManSummary {
    folder: PathBuf,
    /// The name of the first page.
    name: String,
}

pub fn man(dir: &Path) -> anyhow::Result<ManSummary> {
    let shell = xshell::Shell::new().context("find the current folder")?;
    let folder = shell.create_dir(dir).context("create the folder for the man pages")?;
    let name = invocation::name();
    clap_mangen::generate_to(Cli::command().name(name.clone()), &folder).context("write the man pages")?;
    Ok(ManSummary { folder, name })
}

impl Report for ManSummary {
    fn text(&self, output: &Output) {
        let folder = self.folder.display();
        output.line(&format!("man pages are in {folder}: man -l {folder}/{}.1", self.name));
    }
}
