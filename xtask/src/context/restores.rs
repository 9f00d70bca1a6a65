//! Restores that were cut short: what they left behind, and how to finish or undo them.

use std::path::Path;

use backup::restore::{self, RestoredPlace, Selection};
use backup::{BackupId, RelPath, RestoreLine, Run};

use super::Context;
use crate::step::Step;
use crate::text::{local, size};

impl Context<'_> {
    /// What a restore that was cut short has left to be removed by the next run that may write, in words. Nothing while a
    /// run goes on, which may be a restore.
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

    /// One that can't be removed keeps no run from its work.
    pub(super) fn remove_leftovers(&self, run: &Run<'_>) {
        if let Err(error) = restore::remove_leftovers(run, &self.places()) {
            self.output.warn(&format!("what a restore left stays: {}", error.one_line()));
        }
    }

    /// Where a restore into the root may have decoded something: beside all that is configured, and beside what the last one
    /// was to write.
    fn places(&self) -> Vec<RestoredPlace> {
        let databases = self.config.database.iter().map(|database| &database.path);
        let paths = databases.chain(self.config.files.iter().flat_map(|files| &files.paths));
        let mut places: Vec<RestoredPlace> = paths.map(|path| (self.root.clone(), path.clone())).collect();
        places.extend(self.unfinished_places().into_iter().filter(|(folder, _)| *folder == self.root));
        places.sort();
        places.dedup();
        places
    }

    /// Where the last restore was to write, if it was cut short. The ledger may be somebody else's: outside of the root,
    /// nothing is removed because of what it says.
    fn unfinished_places(&self) -> Vec<RestoredPlace> {
        let ledger = self.ledger().unwrap_or_default();
        let Some((_, restore)) = ledger.unfinished_restore() else { return Vec::new() };
        let paths = restore.written.iter().filter_map(|path| RelPath::new(path).ok());
        let mut places: Vec<RestoredPlace> = paths.map(|path| (restore.target.clone(), path)).collect();
        places.sort();
        places
    }

    /// Says so if a restore was cut short: the state may be half old and half new.
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

    /// A restore that was cut short, and what to do about it. An unreadable ledger is the command's own to complain
    /// about.
    pub fn unfinished_restore(&self) -> Option<(String, String)> {
        let ledger = self.ledger().ok()?;
        let unfinished = ledger.unfinished_restore()?;
        // One that goes on isn't cut short; if it is another run that holds the lock, that has said this itself. And it may
        // have ended since the ledger was read.
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
