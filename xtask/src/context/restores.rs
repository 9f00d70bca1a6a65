//! Restores that were cut short: their leftovers, and how to finish or undo them.

use std::path::Path;

use backup::restore::{self, RestoredPlace, Selection};
use backup::{BackupId, Ledger, RelPath, RestoreLine, Run};

use super::Context;
use crate::step::Step;
use crate::text::{local, size};

impl Context<'_> {
    /// The files that an unfinished restore left in the root, in words. The next run that may write removes them.
    pub fn leftovers(&self, ledger: &Ledger) -> Option<String> {
        self.left_at(&self.places(ledger))
    }

    fn left_at(&self, places: &[RestoredPlace]) -> Option<String> {
        let left = restore::leftovers(places);
        // A run that holds the lock may be a restore, which still needs them.
        if left.is_empty() || self.store.lock_holder().is_ok_and(|holder| holder.is_some()) {
            return None;
        }
        let names: Vec<String> =
            left.iter().map(|(path, bytes)| format!("{} ({})", path.display(), size(*bytes))).collect();
        Some(format!("a restore was cut short and left {}", names.join(", ")))
    }

    /// Removes leftovers of a restore. A file that can't be removed must not stop the run.
    pub(super) fn remove_leftovers(&self, run: &Run<'_>) {
        let ledger = run.ledger().unwrap_or_default();
        if let Err(error) = restore::remove_leftovers(run, &self.places(&ledger)) {
            self.output.warn(&format!("can't remove what a restore left: {}", error.one_line()));
        }
    }

    /// Places where a restore into the root may have left decoded files: beside everything that is configured, and
    /// beside the targets of the last restore.
    fn places(&self, ledger: &Ledger) -> Vec<RestoredPlace> {
        let databases = self.config.database.iter().map(|database| &database.path);
        let paths = databases.chain(self.config.files.iter().flat_map(|files| &files.paths));
        let mut places: Vec<RestoredPlace> = paths.map(|path| (self.root.clone(), path.clone())).collect();
        places.extend(unfinished_places(ledger).into_iter().filter(|(folder, _)| *folder == self.root));
        places.sort();
        places.dedup();
        places
    }

    /// Warns of an unfinished restore, since the state may be half old and half new. Returns whether there is one. The
    /// command itself reports an unreadable ledger.
    pub fn warn_of_unfinished_restore(&self) -> bool {
        let ledger = self.ledger().unwrap_or_default();
        if let Some(left) = self.leftovers(&ledger) {
            self.output.warn(&left);
            self.output.hint("the next run that may write removes it: backup, verify, restore");
        }
        let elsewhere = unfinished_places(&ledger).into_iter().filter(|(folder, _)| *folder != self.root);
        if let Some(left) = self.left_at(&elsewhere.collect::<Vec<_>>()) {
            self.output.warn(&left);
            self.output.hint("a restore into that folder removes it, and nothing else does");
        }
        let unfinished = self.unfinished_restore(&ledger);
        if let Some((what, remedy)) = &unfinished {
            self.output.warn(what);
            self.output.hint(remedy);
        }
        unfinished.is_some()
    }

    /// An unfinished restore, and what to do about it.
    pub fn unfinished_restore(&self, ledger: &Ledger) -> Option<(String, String)> {
        let unfinished = ledger.unfinished_restore()?;
        // A run that holds the lock is this restore, or has warned of it itself. And the restore may have ended since
        // the ledger was loaded.
        let goes_on = self.store.lock_holder().is_ok_and(|holder| holder.is_some());
        if goes_on || self.ledger().ok()?.unfinished_restore() != Some(unfinished) {
            return None;
        }
        let (line, restore) = unfinished;
        let id = line.id?;
        let is_unlisted = restore.selection.is_some_and(|selection| selection.unlisted);
        let undo = || format!(", or take it back: {}", self.undo(&restore.target, is_unlisted));
        let undo = restore.kept.map(|_| undo()).unwrap_or_default();
        let what = format!("the restore of {id} begun {} did not finish", local(line.at));
        Some((what, format!("repeat it: {}{undo}", self.again(id, restore))))
    }

    /// The command that undoes a restore into `target`. Another folder than the root has to be named again.
    pub fn undo(&self, target: &Path, is_unlisted: bool) -> Step {
        let to = (target != self.root).then(|| ["--to".to_string(), target.display().to_string()]);
        let undo = self.command(&["restore", "--undo"]).and(to.into_iter().flatten());
        undo.and(is_unlisted.then_some("--unlisted"))
    }

    /// The command that repeats a restore.
    fn again(&self, id: BackupId, restore: &RestoreLine) -> Step {
        let only = match restore.selection {
            Some(Selection { databases: true, files: false, .. }) => Some("--database-only"),
            Some(Selection { databases: false, files: true, .. }) => Some("--config-only"),
            _ => None,
        };
        let elsewhere = restore.target != self.root;
        let to = elsewhere.then(|| ["--to".to_string(), restore.target.display().to_string()]);
        let unlisted = restore.selection.is_some_and(|selection| selection.unlisted).then_some("--unlisted");
        self.command(&["restore", "--from", &id.to_string()]).and(to.into_iter().flatten()).and(only).and(unlisted)
    }
}

/// The targets of the last restore, if it is unfinished. Somebody else may have written the ledger, so nothing outside
/// the root is removed because of it.
fn unfinished_places(ledger: &Ledger) -> Vec<RestoredPlace> {
    let Some((_, restore)) = ledger.unfinished_restore() else { return Vec::new() };
    let paths = restore.written.iter().filter_map(|path| RelPath::new(path).ok());
    let mut places: Vec<RestoredPlace> = paths.map(|path| (restore.target.clone(), path)).collect();
    places.sort();
    places
}
