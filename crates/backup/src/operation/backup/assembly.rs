//! The manifest of a backup: what was staged, and why the rest was not.

use super::files::StagedFiles;
use super::staging::Staging;
use crate::catalog::collapse;
use crate::error::{Error, ErrorKind, Result, SALVAGE_HINT};
use crate::record::manifest::{Artifact, BackupType, Collapse, FORMAT, Failure, Manifest, Status, Trigger, Warning};

/// All that was staged for a backup, and the errors of the rest.
#[derive(Default)]
pub(super) struct Assembly {
    artifacts: Vec<Artifact>,
    warnings: Vec<Warning>,
    absent: Vec<String>,
    failures: Vec<(String, Error)>,
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
            self.take(&database.name, staging.stage_database(database))?;
        }
        let mut vanished = Vec::new();
        for set in &sources.files {
            let StagedFiles { artifact, warnings, vanished: gone } = staging.stage_files(set);
            self.warnings.extend(warnings);
            vanished.extend(gone.into_iter().map(|error| (set.name.clone(), error)));
            self.absent.extend(matches!(artifact, Ok(None)).then(|| set.name.clone()));
            self.take(&set.name, artifact.map(Vec::from_iter))?;
        }
        self.failures.append(&mut vanished);
        Ok(self)
    }

    fn take(&mut self, name: &str, staged: Result<Vec<Artifact>>) -> Result<()> {
        match staged {
            Ok(staged) => {
                let damage = staged.iter().find_map(damage_of);
                self.failures.extend(damage.map(|error| (name.to_string(), error)));
                self.artifacts.extend(staged);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => self.failures.push((name.to_string(), error)),
        }
        Ok(())
    }

    /// The manifest of what was staged, and one error for each database or set of files that wasn't, or is damaged.
    pub fn finish(mut self, staging: &Staging<'_>) -> (Manifest, Vec<(String, Error)>) {
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
            backup_type: BackupType::Full,
            parent: None,
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
            unchanged: Vec::new(),
            artifacts: self.artifacts,
        };
        (manifest, self.failures)
    }

    /// Databases that have collapsed; the manifest warns of each. A safety copy is not compared: a restore replaces a
    /// state because something is wrong with it.
    fn collapses(&mut self, staging: &Staging<'_>) -> Vec<Collapse> {
        if staging.request.trigger == Trigger::PreRestore {
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
