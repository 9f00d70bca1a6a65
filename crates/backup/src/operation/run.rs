//! A run: a look at a store with the right to write there.

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

/// A run. It holds the lock of this host's own store, so nobody else writes there. Functions that write take a run; for
/// functions that only read, it dereferences to a [`Look`].
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
    /// Prepares the store, takes its lock and removes what an earlier run left unfinished. While it has to wait for the
    /// lock, it calls `waiting` with the holder's description.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) if another run holds the lock for longer than [`Setup::lock_wait`],
    /// [`Interrupted`](crate::ErrorKind::Interrupted) if it is asked to stop while it waits,
    /// [`ForeignStore`](crate::ErrorKind::ForeignStore) if the store belongs to another project,
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) if this user may not write there,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if something else is in the store's place; any error of reading
    /// or writing the store.
    pub fn begin(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        let run = Self::begin_unrecovered(setup, waiting)?;
        run.recover()?;
        Ok(run)
    }

    /// The same, but leaves what an earlier run left unfinished.
    pub(super) fn begin_unrecovered(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        // Before it creates anything there, or waits.
        setup.require_own()?;
        let run = Self::begin_on_any(setup, waiting)?;
        // Another project may have claimed the store in the meantime.
        run.setup().require_own()?;
        Ok(run)
    }

    /// The same on any store, even another project's.
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

    /// Removes what earlier runs left unfinished.
    ///
    /// # Errors
    /// As [`commit::recover`].
    pub(crate) fn recover(&self) -> Result<()> {
        commit::recover(&self.store, || Ledger::load(&*self.store).unwrap_or_default())
    }

    /// This host's own store, with its lock.
    pub(crate) fn locked_store(&self) -> &LockedStore<'a> {
        &self.store
    }

    /// Publishes a backup whose artifacts are staged.
    ///
    /// # Errors
    /// As [`commit::publish`].
    pub(crate) fn publish(&self, manifest: &Manifest, pinned: bool) -> Result<()> {
        // The backup may be there in spite of an error, and its id must not be given again.
        commit::publish(&self.store, manifest, pinned).inspect_err(|_| self.forget_catalog())?;
        self.update_catalog(|catalog| catalog.add(manifest, pinned));
        Ok(())
    }

    /// Replaces a backup by another one of the same id, whose new artifacts are staged.
    ///
    /// # Errors
    /// As [`commit::replace_backup`].
    pub(crate) fn replace_backup(&self, old: &Manifest, new: &Manifest) -> Result<()> {
        self.forget_catalog();
        commit::replace_backup(&self.store, old, new)
    }

    /// Removes a backup.
    ///
    /// # Errors
    /// As [`commit::remove`].
    pub(crate) fn remove(&self, entry: &Entry) -> Result<()> {
        self.forget_catalog();
        commit::remove(&self.store, entry)
    }

    /// Puts the pin of a backup, or removes it.
    ///
    /// # Errors
    /// As [`commit::set_pin`].
    pub(crate) fn set_pin(&self, id: BackupId, pinned: bool) -> Result<()> {
        self.forget_catalog();
        commit::set_pin(&self.store, id, pinned)
    }

    /// Records that the store is this project's, with these other hosts.
    ///
    /// # Errors
    /// As [`owner::write`].
    pub(crate) fn write_owner(&self, hosts: Option<BTreeSet<String>>) -> Result<()> {
        self.forget_catalog();
        owner::write(&self.store, self.setup().project(), self.now(), hosts)
    }

    /// Makes sure that the store has room for `bytes`, if it knows its room.
    ///
    /// # Errors
    /// [`NoSpace`](crate::ErrorKind::NoSpace), with both figures.
    pub(crate) fn require_room(&self, bytes: u64) -> Result<()> {
        match self.store.free_bytes()? {
            Some(free) => space::require_free(free, &self.store.location(), bytes),
            None => Ok(()),
        }
    }

    /// Adds a line to the ledger, with the time that the run has taken so far.
    ///
    /// # Errors
    /// Any error of writing the ledger.
    pub(crate) fn record(&self, line: Line) -> Result<()> {
        self.record_since(0, line)
    }

    /// The same for one step of the run, which began `begun` milliseconds after the run did.
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

    /// Adds a line that `command` begins. If the run is killed, that line shows it.
    ///
    /// # Errors
    /// As [`Run::record`].
    pub(crate) fn record_begun(&self, command: Command) -> Result<()> {
        self.record(Line::new(self.now(), command, Outcome::Begun))
    }

    /// Adds a line that an error ended `command`. It has no id, so it says nothing about any backup. If the ledger
    /// can't be written, the caller's own error matters more.
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
