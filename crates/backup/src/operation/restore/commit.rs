//! Putting staged files into their places, one after the other.

use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset};

use super::changes::{Changes, OverwrittenDatabase};
use super::fault;
use super::hold::Hold;
use super::live::Overwrite;
use super::patience::Patience;
use super::placement::{place, place_over};
use super::plan::Occupant;
use super::staging::{StagedConfig, StagedDatabase, StagedFile, Staging};
use crate::error::{Error, ErrorKind, Result};

/// A commit, and what it has changed so far.
pub(super) struct Commit<'a> {
    pub patience: Patience<'a>,
    /// When the restore began, for the names of files that are moved aside.
    pub now: DateTime<FixedOffset>,
    /// Existing databases that are known to be damaged.
    pub damaged: &'a [PathBuf],
    pub changes: &'a mut Changes,
}

impl Commit<'_> {
    /// Puts everything into its place, databases over those that are held. It doesn't stop for a wish to stop.
    ///
    /// # Errors
    /// Any error of putting one there. Those before it have changed then.
    pub fn put_all(mut self, mut staging: Staging, holds: Vec<Option<Hold<'_>>>) -> Result<()> {
        staging.folders.sync()?;
        let mut holds = holds.into_iter();
        for file in staging.files.drain(..) {
            match file {
                StagedFile::Config(staged) => self.put_config(*staged)?,
                StagedFile::Database(staged) if staged.present == Occupant::Replaced => {
                    self.replace(*staged, holds.next().flatten())?;
                }
                StagedFile::Database(staged) => place(*staged, self.now, self.changes)?,
            }
        }
        Ok(())
    }

    fn put_config(&mut self, staged: StagedConfig) -> Result<()> {
        self.changes.warnings.extend(staged.warning);
        staged.temp.replace(&staged.place)?;
        self.changes.any = true;
        staged.place.sync()
    }

    fn replace(&mut self, staged: StagedDatabase, hold: Option<Hold<'_>>) -> Result<()> {
        match hold {
            Some(Hold::Overwrite(overwrite)) => self.overwrite(staged, overwrite),
            Some(Hold::Swap(swap)) => {
                swap.make_single_file()?;
                place_over(staged, self.now, self.changes)
            }
            None => self.place_instead(staged),
        }
    }

    fn overwrite(&mut self, staged: StagedDatabase, overwrite: Overwrite<'_>) -> Result<()> {
        let Err(error) = overwrite.finish(self.patience) else {
            self.changes.any = true;
            let StagedDatabase { place, recorded, .. } = staged;
            self.changes.overwritten.push(OverwrittenDatabase { place, recorded });
            return Ok(());
        };
        let is_damaged = self.damaged.contains(&staged.path);
        if fault::is_the_databases(&error, &staged, is_damaged, self.patience) {
            return self.place_instead(staged);
        }
        // SQLite may have committed before this error.
        self.changes.any |= is_uncertain(&error);
        Err(error)
    }

    /// Moves the existing database aside, which SQLite can't overwrite.
    fn place_instead(&mut self, staged: StagedDatabase) -> Result<()> {
        self.changes.warnings.push(could_not_overwrite(&staged.path));
        place(staged, self.now, self.changes)
    }
}

fn could_not_overwrite(path: &Path) -> String {
    let path = path.display();
    format!("SQLite can't overwrite {path}, so it is moved aside: a program that has it open has to open it again")
}

/// Whether the transaction may have been committed in spite of the error. It is rolled back for lack of room or permission.
fn is_uncertain(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Sqlite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_transaction_ended_is_open_after_an_error_of_the_disk_alone() {
        let uncertain = |kind| is_uncertain(&Error::new(kind, ""));
        assert!(uncertain(ErrorKind::Io) && uncertain(ErrorKind::Sqlite));
        assert!(!uncertain(ErrorKind::Busy) && !uncertain(ErrorKind::NoSpace));
    }
}
