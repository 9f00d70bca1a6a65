//! A run: what every operation on a store needs, and the right to write to it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset};
use tempfile::TempDir;

use crate::catalog::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::fsutil;
use crate::history::{History, Line};
use crate::lock::{Holder, Lock};
use crate::manifest::Tool;
use crate::names::{self, ArtifactName};
use crate::progress::Progress;
use crate::source::sqlite;
use crate::store::Store;

/// What the library takes from its caller, since it has no clock, environment or terminal of its own.
#[derive(Clone)]
pub struct Setup<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// Takes events, passes on the wish to stop.
    pub progress: &'a dyn Progress,
    /// When the run begins, with the offset of the host's local time.
    pub now: DateTime<FixedOffset>,
    /// Whose state this is.
    pub project: String,
    /// The host's name.
    pub host: String,
    /// The program's version.
    pub version: String,
    /// The command, as others who wait for the lock should read it.
    pub command: String,
    /// How long to wait for the lock.
    pub lock_wait: Duration,
    /// How long to wait for a locked database.
    pub busy_timeout: Duration,
    /// Where decoded databases go, if the caller wants a place of its own.
    pub scratch: Option<PathBuf>,
    /// Where they go if neither that nor the store has a place: the system's folder for temporary files.
    pub temp: PathBuf,
}

/// A run, with the store's lock unless it only looks.
pub struct Run<'a> {
    setup: Setup<'a>,
    begun: Instant,
    lock: Option<Lock>,
}

impl<'a> Run<'a> {
    /// Prepares the store, takes its lock and clears up what an earlier run left unfinished. `waiting` is told who
    /// holds the lock, if the run has to wait.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`], [`ErrorKind::PermissionDenied`], or [`ErrorKind::InvalidInput`] if something else is in
    /// the store's place.
    pub fn begin(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        sqlite::require_sound_library()?;
        setup.store.prepare()?;
        let holder = Holder {
            pid: std::process::id(),
            host: setup.host.clone(),
            command: setup.command.clone(),
            since: setup.now.to_rfc3339(),
        };
        let lock = setup.store.lock(&holder, setup.lock_wait, waiting)?;
        let run = Self { setup, begun: Instant::now(), lock: Some(lock) };
        run.sweep()?;
        Ok(run)
    }

    /// A run that only looks: without the lock, so that it waits for nobody and nobody for it.
    pub fn look(setup: Setup<'a>) -> Self {
        Self { setup, begun: Instant::now(), lock: None }
    }

    /// A run that proves something: with the lock and the ledger where the store can be written, else as
    /// [`Run::look`]. It doesn't make a store that isn't there.
    ///
    /// # Errors
    /// As [`Run::begin`], but for [`ErrorKind::PermissionDenied`].
    pub fn begin_reading(setup: Setup<'a>, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        if setup.store.list()?.is_empty() {
            return Ok(Self::look(setup));
        }
        match Self::begin(setup.clone(), waiting) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(Self::look(setup)),
            other => other,
        }
    }

    /// Whether the run may write, and so leaves a line in the ledger.
    pub fn is_recorded(&self) -> bool {
        self.lock.is_some()
    }

    /// Adds a line to the ledger, with the time the run has taken so far.
    pub(crate) fn record(&self, line: Line) -> Result<()> {
        if self.lock.is_none() {
            return Ok(());
        }
        History::append(self.store(), &Line { duration_ms: self.elapsed_ms(), ..line })
    }

    /// Removes what is staged, and the published files of backups that were being written or removed: their manifest
    /// is staged and not published. The manifest goes last, so that a sweep that is cut short is begun again.
    pub(crate) fn sweep(&self) -> Result<()> {
        let staged = self.store().list_staged()?;
        if staged.is_empty() {
            return Ok(());
        }
        let published = self.store().list()?;
        let is_published = |name: &str| published.iter().any(|object| object.name == name);
        let (manifests, others): (Vec<_>, Vec<_>) =
            staged.into_iter().partition(|object| names::parse_manifest(&object.name).is_some());
        others.iter().try_for_each(|object| self.store().discard(&object.name))?;
        for manifest in manifests.iter().map(|object| &object.name) {
            let id = names::parse_manifest(manifest);
            let of_it = |file: &str| ArtifactName::parse(file).is_some_and(|name| Some(name.id) == id);
            if !is_published(manifest) {
                for object in published.iter().filter(|object| of_it(&object.name)) {
                    self.store().remove(&object.name)?;
                }
            }
            self.store().discard(manifest)?;
        }
        Ok(())
    }

    /// A folder of its own for decoded files, removed when dropped, with room for `bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`], with both figures; else as the operating system says.
    pub(crate) fn scratch(&self, bytes: u64) -> Result<TempDir> {
        let in_store = self.lock.as_ref().and_then(|_| self.store().scratch());
        let place = self.setup.scratch.clone().or(in_store).unwrap_or_else(|| self.setup.temp.clone());
        fsutil::require_space(&place, bytes)?;
        tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(&place)
            .map_err(|e| Error::io("create a folder in", &place, e))
    }

    /// All backups of the store.
    pub fn catalog(&self) -> Result<Catalog> {
        Catalog::load(self.store())
    }

    /// The store.
    pub fn store(&self) -> &'a dyn Store {
        self.setup.store
    }

    /// Takes the run's events.
    pub(crate) fn progress(&self) -> &'a dyn Progress {
        self.setup.progress
    }

    /// What the caller gave.
    pub(crate) fn setup(&self) -> &Setup<'a> {
        &self.setup
    }

    /// When the run began.
    pub fn now(&self) -> DateTime<FixedOffset> {
        self.setup.now
    }

    pub(crate) fn busy_timeout(&self) -> Duration {
        self.setup.busy_timeout
    }

    pub(crate) fn tool(&self) -> Tool {
        Tool { version: self.setup.version.clone(), sqlite: rusqlite::version().to_string() }
    }

    /// Milliseconds since the run began.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends the run if it was asked to stop.
    pub(crate) fn check_stop(&self) -> Result<()> {
        if self.progress().should_stop() { Err(Error::interrupted()) } else { Ok(()) }
    }
}
