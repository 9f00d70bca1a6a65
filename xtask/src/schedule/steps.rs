//! Steps of an installation: they are shown and run one after the other, and undone if one of them fails.
//!
//! The undo of a step is registered before it runs, or right after it if the step is atomic. So an installation that fails
//! or is interrupted at any step leaves everything as it was. Only a kill leaves a part, which the next one completes.

use std::path::Path;

use anyhow::Context as _;
use backup::Error;
use tempfile::TempDir;
use xshell::PushDir;

use crate::exit::Signals;
use crate::output::Output;
use crate::step::{Step, word};
use crate::systemd::manager::Manager;

/// Work done in steps. Dropped before [`Steps::finish`], it undoes them.
pub struct Steps<'a> {
    /// The service manager whose files are changed.
    pub manager: &'a Manager<'a>,
    output: &'a Output,
    dry_run: bool,
    /// The undo needs its files, so it is removed after that.
    temporary: TempDir,
    undo: Vec<Step>,
}

impl<'a> Steps<'a> {
    /// No steps yet. A dry run only shows them. `name` is for the temporary folder.
    pub fn new(manager: &'a Manager<'a>, output: &'a Output, name: &str, dry_run: bool) -> anyhow::Result<Self> {
        let temporary = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir();
        let temporary = temporary.context("make a folder for temporary files")?;
        Ok(Self { manager, output, dry_run, temporary, undo: Vec::new() })
    }

    /// A folder for files to be installed, and for files that the undo needs.
    pub fn temporary(&self) -> &Path {
        self.temporary.path()
    }

    /// Enters the temporary folder until the result is dropped: names of files are relative to it.
    pub fn enter(&self) -> PushDir<'a> {
        let step = Step::new(["cd".into(), self.temporary().display().to_string()]);
        self.output.line(&format!("$ {step}"));
        self.manager.shell.push_dir(self.temporary())
    }

    /// Keeps a copy of a file until the end. Gives the step that puts it back.
    pub fn keep(&mut self, path: &Path) -> anyhow::Result<Step> {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let (copy, path) = (self.temporary().join(format!("old-{file}")), word(path)?);
        let copy = word(&copy)?;
        self.run(&self.manager.change(&["cp", "-a", path, copy]))?;
        Ok(self.manager.change(&["cp", "-a", "--remove-destination", copy, path]))
    }

    /// Shows a step and runs it.
    ///
    /// # Errors
    /// As [`Step::run`], or that a signal came.
    pub fn run(&mut self, step: &Step) -> anyhow::Result<()> {
        self.output.line(&format!("$ {step}"));
        if self.dry_run {
            return Ok(());
        }
        if Signals::received().is_some() {
            return Err(Error::interrupted().into());
        }
        step.run(self.manager.shell).map(drop)
    }

    /// Registers the undo of the next steps, in this order. It also works if they were done only in part.
    pub fn undo_by(&mut self, undo: impl IntoIterator<Item = Step, IntoIter: DoubleEndedIterator>) {
        if !self.dry_run {
            self.undo.extend(undo.into_iter().rev());
        }
    }

    /// Ends the work; nothing is undone.
    pub fn finish(mut self) {
        self.undo.clear();
    }
}

impl Drop for Steps<'_> {
    fn drop(&mut self) {
        if !self.undo.is_empty() {
            self.output.note("undoing what was done");
            // A half undone installation would be worse than a finished one.
            Signals::hold();
        }
        while let Some(step) = self.undo.pop() {
            self.output.note(&format!("$ {step}"));
            if let Err(error) = step.run_unswerving(self.manager.shell) {
                self.output.warn(&format!("this could not be undone: {error:#}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use xshell::Shell;

    use super::*;
    use crate::systemd::Scope;

    fn steps<'a>(manager: &'a Manager<'a>, output: &'a Output, dry_run: bool) -> Steps<'a> {
        Steps::new(manager, output, "test", dry_run).unwrap()
    }

    fn touch(path: &std::path::Path) -> (Step, [Step; 1]) {
        let path = path.to_str().unwrap();
        (Step::new(["touch", path]), [Step::new(["rm", "-f", path])])
    }

    #[test]
    fn what_was_done_before_a_failure_is_taken_back() {
        let (folder, shell, output) = (tempfile::tempdir().unwrap(), Shell::new().unwrap(), Output::silent());
        let manager = Manager::new(Scope::User, &shell);
        let (kept, gone) = (folder.path().join("kept"), folder.path().join("gone"));
        let mut steps = self::steps(&manager, &output, false);
        let (step, undo) = touch(&kept);
        steps.undo_by(undo);
        steps.run(&step).unwrap();
        steps.finish();
        let mut steps = self::steps(&manager, &output, false);
        let (step, undo) = touch(&gone);
        steps.undo_by(undo);
        steps.run(&step).unwrap();
        assert!(gone.exists());
        steps.run(&Step::new(["false"])).unwrap_err();
        drop(steps);
        assert!(!gone.exists() && kept.exists());
    }

    #[test]
    fn a_dry_run_does_nothing() {
        let (folder, shell, output) = (tempfile::tempdir().unwrap(), Shell::new().unwrap(), Output::silent());
        let manager = Manager::new(Scope::User, &shell);
        let (step, undo) = touch(&folder.path().join("x"));
        let mut steps = self::steps(&manager, &output, true);
        steps.undo_by(undo);
        steps.run(&step).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
