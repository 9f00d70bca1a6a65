//! A run: a look at a store, with the right to write to it.

use std::collections::BTreeSet;
use std::ops::Deref;

use chrono::SecondsFormat;

use super::look::{Look, Setup};
use crate::catalog::{Entry, commit, owner};
use crate::disk::space;
use crate::error::{Error, Result};
use crate::record::id::BackupId;
use crate::record::ledger::{Command, Ledger, Line, Outcome};
use crate::record::manifest::Manifest;
use crate::source::sqlite;
use crate::store::LockedStore;
use crate::store::lock::Holder;

/// A run. It holds the lock of this host's own store, so that nobody else writes there. What writes takes a run; what
/// only reads takes the [`Look`] that it is as well.
pub struct Run<'a> {
    look: Look<'a>,
    store: LockedStore<'a>,
}

impl<'a> Deref for Run<'a> {
    type Target = Look<'a>;

    fn deref(&self) -> &Look<'a> {
        &self.look
    }
}

impl<'a> Run<'a> {
    /// Prepares the store, takes its lock and clears up what an earlier run left unfinished. `waiting` is told who
    /// holds the lock, if the run has to wait.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked), [`Interrupted`](crate::ErrorKind::Interrupted) if it is asked to stop while
    /// it waits, [`ForeignStore`](crate::ErrorKind::ForeignStore) if the store is another project's,
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied), or [`InvalidInput`](crate::ErrorKind::InvalidInput) if
    /// something else is in the store's place.
    pub fn begin(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        // Before anything is made there, or waited for.
        setup.require_own()?;
        let run = Self::begin_unrecovered(setup, waiting)?;
        run.recover()?;
        Ok(run)
    }

    /// The same, but for what an earlier run left unfinished.
    pub(super) fn begin_unrecovered(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        let run = Self::begin_on_any(setup, waiting)?;
        // Another project may have begun in the meantime.
        run.setup().require_own()?;
        Ok(run)
    }

    /// Takes the lock, whoever the store belongs to.
    pub(super) fn begin_on_any(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        sqlite::require_sound_library()?;
        setup.store.prepare()?;
        let holder = Holder {
            pid: std::process::id(),
            host: setup.host.clone(),
            command: setup.command.clone(),
            since: setup.now.to_rfc3339_opts(SecondsFormat::Secs, false),
        };
        let mut told = false;
        let lock = setup.store.lock(&holder, setup.lock_wait, &mut |who| {
            if !std::mem::replace(&mut told, true) {
                waiting(who);
            }
            if setup.progress.should_stop() { Err(Error::interrupted()) } else { Ok(()) }
        })?;
        Ok(Self { store: LockedStore::new(setup.store, lock), look: Look::locked(setup) })
    }

    /// Clears up what earlier runs left.
    ///
    /// # Errors
    /// As [`commit::recover`].
    pub(crate) fn recover(&self) -> Result<()> {
        commit::recover(&self.store, || Ledger::load(&*self.store).unwrap_or_default())
    }

    /// This host's own store, to be written to.
    pub(crate) fn locked_store(&self) -> &LockedStore<'a> {
        &self.store
    }

    /// Makes a backup appear whose artifacts are staged.
    ///
    /// # Errors
    /// As [`commit::publish`].
    pub(crate) fn publish(&self, manifest: &Manifest, pinned: bool) -> Result<()> {
        // The backup may be there in spite of an error, and its id must not be given again.
        commit::publish(&self.store, manifest, pinned).inspect_err(|_| self.forget_catalog())?;
        self.update_catalog(|catalog| catalog.add(manifest, pinned));
        Ok(())
    }

    /// Makes a backup go.
    ///
    /// # Errors
    /// As [`commit::remove`].
    pub(crate) fn remove(&self, entry: &Entry) -> Result<()> {
        self.forget_catalog();
        commit::remove(&self.store, entry)
    }

    /// Pins a backup, or takes its pin away.
    ///
    /// # Errors
    /// As [`commit::set_pin`].
    pub(crate) fn set_pin(&self, id: BackupId, pinned: bool) -> Result<()> {
        self.forget_catalog();
        commit::set_pin(&self.store, id, pinned)
    }

    /// Makes the store this project's, with these other hosts.
    ///
    /// # Errors
    /// As [`owner::write`].
    pub(crate) fn write_owner(&self, hosts: Option<BTreeSet<String>>) -> Result<()> {
        self.forget_catalog();
        owner::write(&self.store, self.setup().project(), self.now(), hosts)
    }

    /// Makes sure that the store has room for `bytes`, as far as it knows.
    ///
    /// # Errors
    /// [`NoSpace`](crate::ErrorKind::NoSpace), with both figures.
    pub(crate) fn require_room(&self, bytes: u64) -> Result<()> {
        match self.store.free_bytes()? {
            Some(free) => space::require_free(free, &self.store.location(), bytes),
            None => Ok(()),
        }
    }

    /// Adds a line to the ledger, with the time the run has taken so far.
    ///
    /// # Errors
    /// What keeps the ledger from being written.
    pub(crate) fn record(&self, line: Line) -> Result<()> {
        self.record_since(0, line)
    }

    /// The same of one step of the run, which began `begun` milliseconds after it.
    ///
    /// # Errors
    /// As [`Run::record`].
    pub(crate) fn record_since(&self, begun: u64, line: Line) -> Result<()> {
        let (host, duration_ms) = (self.setup().host.clone(), self.elapsed_ms() - begun);
        let line = Line { duration_ms, host, ..line };
        Ledger::append(&self.store, &line).inspect_err(|_| self.forget_ledger())?;
        self.update_ledger(|ledger| ledger.push(line));
        Ok(())
    }

    /// Writes down that `command` begins, so that others can tell if it is killed.
    ///
    /// # Errors
    /// As [`Run::record`].
    pub(crate) fn record_begun(&self, command: Command) -> Result<()> {
        self.record(Line::new(self.now(), command, Outcome::Begun))
    }

    /// Writes down that an error ended `command`, as far as the ledger takes it: the error says more. Without an id, it
    /// says nothing about any backup.
    pub(crate) fn record_error(&self, command: Command, error: &Error) {
        let line = Line::new(self.now(), command, Outcome::of(error));
        let _ = self.record(Line { error: Some(error.one_line()), ..line });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::ErrorKind;
    use crate::store::LocalStore as _;
    use crate::testing::fixtures::Site;

    const EARLIER: &str = "20251209_140000";

    #[test]
    fn scratch_folders_of_a_killed_run_are_swept() {
        let site = Site::new();
        let store = site.local();
        site.backup(&store, EARLIER);
        let scratch = store.scratch().unwrap().join("scratch-abc");
        fs::create_dir(&scratch).unwrap();
        fs::write(scratch.join("snapshot.db"), "half").unwrap();
        site.begin(&store, "20251211_140000");
        assert!(!scratch.exists());
    }

    #[test]
    fn a_second_run_on_the_same_store_is_locked_out_until_the_first_is_dropped() {
        let site = Site::new();
        let store = site.local();
        let first = site.begin(&store, EARLIER);
        let error = Run::begin(site.setup(&store, EARLIER), &mut |_| {}).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Locked);
        drop(first);
        site.begin(&store, EARLIER);
    }

    #[test]
    fn a_scratch_folder_is_in_the_store_or_where_the_caller_wants_it_and_goes_when_dropped() {
        let site = Site::new();
        let store = site.local();
        let run = site.begin(&store, EARLIER);
        let scratch = run.scratch(1).unwrap();
        let path = scratch.path().to_path_buf();
        assert!(path.starts_with(store.scratch().unwrap()));
        drop(scratch);
        assert!(!path.exists());
        assert_eq!(run.scratch(u64::MAX).unwrap_err().kind(), ErrorKind::NoSpace);
        drop(run);

        let elsewhere = tempfile::tempdir().unwrap();
        let setup = Setup { scratch: Some(elsewhere.path().into()), ..site.setup(&store, EARLIER) };
        let run = Run::begin(setup, &mut |_| {}).unwrap();
        assert!(run.scratch(1).unwrap().path().starts_with(elsewhere.path()));
    }
}
