//! Restores that were cut short: their leftovers, and how to finish or undo them.

use std::path::Path;

use backup::restore::{self, RestoredPlace, Selection};
use backup::{BackupId, RelPath, RestoreLine, Run};

use super::Context;
use crate::step::Step;
use crate::text::{local, size};

impl Context<'_> {
    /// Leftovers of a restore that was cut short, in words; the next run that writes removes them. None while a run is going
    /// on: it may be a restore.
    pub fn leftovers(&self) -> Option<String> {
        self.left_at(&self.places())
    }

    fn left_at(&self, places: &[RestoredPlace]) -> Option<String> {
        let left = restore::leftovers(places);
        if left.is_empty() || self.store.lock_holder().is_ok_and(|holder| holder.is_some()) {
            return None;
        }
        let names: Vec<String> =
            left.iter().map(|(path, bytes)| format!("{} ({})", path.display(), size(*bytes))).collect();
        Some(format!("a restore was cut short and left {}", names.join(", ")))
    }

    /// Warns if they can't be removed; the run goes on.
    pub(super) fn remove_leftovers(&self, run: &Run<'_>) {
        if let Err(error) = restore::remove_leftovers(run, &self.places()) {
            self.output.warn(&format!("what a restore left stays: {}", error.one_line()));
        }
    }

    /// Places beside which a restore into the root may have decoded files: all configured paths, and the targets of the last
    /// restore.
    fn places(&self) -> Vec<RestoredPlace> {
        let databases = self.config.database.iter().map(|database| &database.path);
        let paths = databases.chain(self.config.files.iter().flat_map(|files| &files.paths));
        let mut places: Vec<RestoredPlace> = paths.map(|path| (self.root.clone(), path.clone())).collect();
        places.extend(self.unfinished_places().into_iter().filter(|(folder, _)| *folder == self.root));
        places.sort();
        places.dedup();
        places
    }

    /// Targets of the last restore, if it was cut short. Somebody else may have written the ledger: outside of the root,
    /// nothing is removed because of it.
    fn unfinished_places(&self) -> Vec<RestoredPlace> {
        let ledger = self.ledger().unwrap_or_default();
        let Some((_, restore)) = ledger.unfinished_restore() else { return Vec::new() };
        let paths = restore.written.iter().filter_map(|path| RelPath::new(path).ok());
        let mut places: Vec<RestoredPlace> = paths.map(|path| (restore.target.clone(), path)).collect();
        places.sort();
        places
    }

    /// Warns if a restore was cut short: the state may be half old and half new.
    pub fn warn_of_unfinished_restore(&self) {
        if let Some(left) = self.leftovers() {
            self.output.warn(&left);
            self.output.hint("the next run that may write removes it: backup, verify, restore");
        }
        let elsewhere = self.unfinished_places().into_iter().filter(|(folder, _)| *folder != self.root);
        if let Some(left) = self.left_at(&elsewhere.collect::<Vec<_>>()) {
            self.output.warn(&left);
            self.output.hint("a restore into that folder removes it, and nothing else does");
        }
        if let Some((what, remedy)) = self.unfinished_restore() {
            self.output.warn(&what);
            self.output.hint(&remedy);
        }
    }

    /// A restore that was cut short, and what to do about it. The command itself reports an unreadable ledger.
    pub fn unfinished_restore(&self) -> Option<(String, String)> {
        let ledger = self.ledger().ok()?;
        let unfinished = ledger.unfinished_restore()?;
        // A run that is going on may be that restore, or has warned about it. It may also have ended since the ledger was
        // read.
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

    /// The command that undoes a restore into `target`. It names the folder if that isn't the root.
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
