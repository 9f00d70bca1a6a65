//! The manifest of a backup: what was staged, and why the rest was not.

use super::change::{DatabaseChange, Stop};
use super::files::{StagedFiles, files_digest};
use super::staging::{Parent, StagedDatabase, Staging};
use super::state::{TrackedDatabase, TrackedSources};
use crate::catalog::collapse;
use crate::error::{Error, ErrorKind, Result, SALVAGE_HINT};
use crate::record::figures::thousands;
use crate::record::manifest::{
    Artifact, BackupType, Collapse, Content, FORMAT, Failure, FileEntry, Manifest, Status, Trigger, Warning,
};
use crate::source::FilesSource;

/// All that was staged for a backup, and the errors of the rest.
#[derive(Default)]
pub(super) struct Assembly {
    artifacts: Vec<Artifact>,
    warnings: Vec<Warning>,
    absent: Vec<String>,
    /// In an increment, what is as in its parent, with the failures of the parent.
    unchanged: Vec<String>,
    inherited: Vec<(String, Error)>,
    failures: Vec<(String, Error)>,
    tracked: TrackedSources,
}

impl Assembly {
    pub fn new(warnings: Vec<Warning>) -> Self {
        Self { warnings, ..Self::default() }
    }

    /// Stages everything that is asked for.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`]. Any other error becomes one of the failures.
    pub fn fill(mut self, staging: &Staging<'_>) -> Result<Self> {
        let sources = staging.request.sources;
        for database in &sources.databases {
            let staged = staging.stage_database(database).map(|StagedDatabase { artifacts, tracked, missed_pages }| {
                self.note_missed(&database.name, missed_pages, staging);
                (artifacts, tracked)
            });
            self.take(&database.name, staged)?;
        }
        for set in &sources.files {
            self.fill_set(set, staging)?;
        }
        Ok(self)
    }

    /// Stages everything that changed since the newest point.
    ///
    /// # Errors
    /// [`Stop::Full`] if no increment can be made; else as [`Assembly::fill`].
    pub fn fill_with_changes(mut self, staging: &Staging<'_>, parent: &Parent) -> Result<Self, Stop> {
        let sources = staging.request.sources;
        self.tracked.lost.extend(parent.state.names_besides(sources).map(str::to_string));
        for database in &sources.databases {
            match staging.stage_change(database, parent) {
                Ok(DatabaseChange::Unchanged(tracked)) => {
                    self.inherit(&database.name, parent);
                    self.tracked.databases.insert(database.name.clone(), tracked);
                }
                Ok(DatabaseChange::Staged(artifacts, tracked)) => {
                    self.take(&database.name, Ok((artifacts, tracked)))?;
                }
                Err(Stop::Error(error)) => self.take(&database.name, Err(error))?,
                Err(full) => return Err(full),
            }
        }
        for set in &sources.files {
            match staging.is_set_unchanged(set, parent) {
                true if staging.present_files(set).is_empty() => self.absent.push(set.name.clone()),
                true => self.inherit(&set.name, parent),
                false => self.fill_set(set, staging)?,
            }
        }
        Ok(self)
    }

    /// Stages a set of files. Errors of single files come last.
    fn fill_set(&mut self, set: &FilesSource, staging: &Staging<'_>) -> Result<()> {
        let StagedFiles { artifact, warnings, vanished } = staging.stage_files(set);
        self.warnings.extend(warnings);
        if let Ok(staged) = &artifact {
            let entries = staged.as_ref().map_or(&[][..], entries_of);
            self.tracked.files.insert(set.name.clone(), files_digest(entries));
            self.absent.extend(staged.is_none().then(|| set.name.clone()));
        }
        self.take(&set.name, artifact.map(|staged| (Vec::from_iter(staged), None)))?;
        self.failures.extend(vanished.into_iter().map(|error| (set.name.clone(), error)));
        Ok(())
    }

    fn take(&mut self, name: &str, staged: Result<(Vec<Artifact>, Option<TrackedDatabase>)>) -> Result<()> {
        match staged {
            Ok((artifacts, tracked)) => {
                let damage = artifacts.iter().find_map(damage_of);
                self.failures.extend(damage.map(|error| (name.to_string(), error)));
                self.artifacts.extend(artifacts);
                self.tracked.databases.extend(tracked.map(|tracked| (name.to_string(), tracked)));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                self.failures.push((name.to_string(), error));
                self.tracked.lost.insert(name.to_string());
            }
        }
        Ok(())
    }

    /// Takes a database or set as it is in the parent, with what was wrong there.
    fn inherit(&mut self, name: &str, parent: &Parent) {
        self.unchanged.push(name.to_string());
        let wrong = parent.manifest.errors.iter().filter(|failure| failure.name == name);
        let error = |failure: &Failure| Error::new(ErrorKind::Partial, failure.message.clone());
        self.inherited.extend(wrong.map(|failure| (name.to_string(), error(failure))));
    }

    /// Warns of pages that changed without the log showing it.
    fn note_missed(&mut self, name: &str, missed_pages: u64, staging: &Staging<'_>) {
        let Some(chain) = staging.chain.filter(|_| missed_pages > 0) else { return };
        let pages = if missed_pages == 1 { "a page".into() } else { format!("{} pages", thousands(missed_pages)) };
        let message = format!(
            "{pages} of {name} changed without its log showing it: increments up to {} may lack that",
            chain.point
        );
        self.warnings.push(Warning { code: "missed_pages".into(), message });
    }

    /// Whether there is nothing to publish.
    pub fn is_empty(&self) -> bool {
        self.artifacts.is_empty()
    }

    /// What the parent lacks, and what is known of all sources, if nothing changed.
    ///
    /// # Errors
    /// The first failure, if something couldn't be saved.
    pub fn into_unchanged(self) -> Result<(Vec<(String, Error)>, TrackedSources)> {
        match self.failures.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok((self.inherited, self.tracked)),
        }
    }

    /// The manifest of what was staged, one error for each database or set of files that wasn't, or is damaged, and what
    /// is known of the sources.
    pub fn finish(mut self, staging: &Staging<'_>) -> (Manifest, Vec<(String, Error)>, TrackedSources) {
        self.failures.append(&mut self.inherited);
        let Staging { run, request, id, .. } = *staging;
        let status = match (self.artifacts.is_empty(), self.failures.is_empty()) {
            (true, _) => Status::Failed,
            (false, false) => Status::Partial,
            (false, true) => Status::Complete,
        };
        let failure = |(name, error): &(String, Error)| Failure { name: name.clone(), message: error.one_line() };
        let collapses = self.collapses(staging);
        let manifest = Manifest {
            format: FORMAT,
            id,
            backup_type: if staging.parent.is_some() { BackupType::Increment } else { BackupType::Full },
            parent: staging.parent.map(|parent| parent.manifest.id),
            created_at: run.now(),
            project: run.setup().project.clone(),
            host: run.setup().host.clone(),
            trigger: request.trigger,
            status,
            tool: run.tool(),
            duration_ms: run.elapsed_ms(),
            pinned: false,
            warnings: self.warnings,
            collapses,
            errors: self.failures.iter().map(failure).collect(),
            absent: self.absent,
            unchanged: self.unchanged,
            artifacts: self.artifacts,
        };
        (manifest, self.failures, self.tracked)
    }

    /// Databases that have collapsed; the manifest warns of each. A safety copy is not compared: a restore replaces a
    /// state because something is wrong with it. Nor is an increment, which counts no rows.
    fn collapses(&mut self, staging: &Staging<'_>) -> Vec<Collapse> {
        if staging.request.trigger == Trigger::PreRestore || staging.parent.is_some() {
            return Vec::new();
        }
        let found =
            collapse::find(staging.catalog, &**staging.run.locked_store(), &self.artifacts, staging.run.now().to_utc());
        let (collapses, warnings): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        self.warnings.extend(warnings);
        collapses
    }
}

/// The error that an artifact is a damaged database; `None` if it isn't.
fn damage_of(artifact: &Artifact) -> Option<Error> {
    let problem = artifact.damage().first()?;
    let message = format!("database {} is damaged, and was saved as it is: {problem}", artifact.name);
    Some(Error::new(ErrorKind::Damaged, message).with_hint(SALVAGE_HINT))
}

/// The files in an archive.
fn entries_of(artifact: &Artifact) -> &[FileEntry] {
    match &artifact.content {
        Content::Files { entries } => entries,
        _ => &[],
    }
}
