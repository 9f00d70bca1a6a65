//! The write path: source → codec → store → catalog.
//!
//! The order of the steps is what makes a backup appear whole or not at all. All artifacts are staged and synced;
//! then the manifest is; then the artifacts get their names; then, last, the manifest gets its own. Cut short before
//! that, the staged manifest tells the next run which artifacts belong to nothing ([`Run::sweep`]).

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::check;
use crate::codec::{Encoder, Encoding};
use crate::digest::Hashing;
use crate::error::{Error, ErrorKind, Result};
use crate::history::{Command, Line, Outcome};
use crate::id::BackupId;
use crate::manifest::{Artifact, Content, Database, FORMAT, Failure, Manifest, Snapshot, Status, Trigger, Warning};
use crate::names::{self, ArtifactName, Kind};
use crate::progress::{Phase, Step};
use crate::run::Run;
use crate::source::files::{ArchiveWriter, ConfigFile};
use crate::source::{DatabaseSource, FilesSource, Sources, sqlite};
use crate::store::Staged;

/// What to back up, and how.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The folder that all sources are below.
    pub root: &'a Path,
    /// What to take.
    pub sources: &'a Sources,
    /// How to encode it.
    pub encoding: Encoding,
    /// What caused it.
    pub trigger: Trigger,
    /// Whether rotation has to leave it alone.
    pub pinned: bool,
}

/// A finished run: the manifest it published, and why what is not in it isn't.
#[derive(Debug)]
pub struct Made {
    /// The published manifest; [`Status::Failed`] if nothing could be saved.
    pub manifest: Manifest,
    /// One error for each database or set of files that could not be saved, with its name.
    pub failures: Vec<(String, Error)>,
}

/// Makes a backup. What can't be saved doesn't keep the rest from being saved: see [`Made`].
///
/// # Errors
/// [`ErrorKind::Interrupted`], with nothing published, if the run was asked to stop; whatever kept the manifest from
/// being published.
pub fn backup(run: &Run<'_>, request: &Request<'_>) -> Result<Made> {
    let result = Writer { run, request, id: next_id(run)?, warnings: Vec::new() }.write();
    if result.is_err() {
        // What was staged is of no use; if even this fails, the next run does it.
        let _ = run.sweep();
    }
    result
}

fn next_id(run: &Run<'_>) -> Result<BackupId> {
    Ok(BackupId::next(run.now().to_utc(), run.catalog()?.last_id()))
}

struct Writer<'a> {
    run: &'a Run<'a>,
    request: &'a Request<'a>,
    id: BackupId,
    warnings: Vec<Warning>,
}

impl Writer<'_> {
    fn write(mut self) -> Result<Made> {
        let sources = self.request.sources;
        let mut artifacts = Vec::new();
        let mut failures = Vec::new();
        let mut take = |name: &str, taken: Result<Option<Artifact>>| match taken {
            Ok(artifact) => {
                artifacts.extend(artifact);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                failures.push((name.to_string(), error));
                Ok(())
            }
        };
        for database in &sources.databases {
            take(&database.name, self.store_database(database).map(Some))?;
        }
        for files in &sources.files {
            take(&files.name, self.store_files(files))?;
        }
        self.run.check_stop()?;
        let manifest = self.manifest(artifacts, &failures);
        self.publish(&manifest, &failures)?;
        Ok(Made { manifest, failures })
    }

    fn store_database(&self, source: &DatabaseSource) -> Result<Artifact> {
        let path = source.path.under(self.request.root);
        let connection = sqlite::open_read_only(&path, self.run.busy_timeout())?;
        let owner = std::fs::metadata(&path).map_err(|e| Error::io("stat", &path, e))?;
        let journal_mode: String =
            sqlite::pragma(&connection, "journal_mode").map_err(|e| Error::sqlite("read database", &path, e))?;

        let scratch = self.run.scratch(owner.len())?;
        let copy = scratch.path().join("snapshot.db");
        sqlite::vacuum_into(&connection, &path, &copy, self.run.progress())?;
        drop(connection);

        let facts = sqlite::facts(&sqlite::open_read_only(&copy, self.run.busy_timeout())?, &copy)?;
        let content = Content::Database(Database {
            source: source.path.clone(),
            mode: owner.mode() & 0o7777,
            uid: owner.uid(),
            gid: owner.gid(),
            snapshot: Snapshot::Vacuum,
            journal_mode,
            facts,
        });
        let mut plain = File::open(&copy).map_err(|e| Error::io("open", &copy, e))?;
        let total = plain.metadata().map_err(|e| Error::io("stat", &copy, e))?.len();
        self.store(&source.name, Kind::Database, content, |artifact, file| {
            let step = Step::begin(self.run.progress(), Phase::Store, file, Some(total));
            step.copy(&mut plain, artifact).map_err(|e| Error::io_named("store", file, e))
        })
    }

    /// `None` if there is none of the files.
    fn store_files(&mut self, source: &FilesSource) -> Result<Option<Artifact>> {
        let mut files = Vec::new();
        for path in &source.paths {
            match ConfigFile::read(self.request.root, path)? {
                Some(file) => {
                    self.warnings.extend(check::config_file(&file));
                    files.push(file);
                }
                None => self.warnings.push(Warning {
                    code: "missing_file".into(),
                    message: format!("{path} doesn't exist, so it is not in this backup"),
                }),
            }
        }
        if files.is_empty() {
            return Ok(None);
        }
        let content = Content::Files { entries: files.iter().map(ConfigFile::entry).collect() };
        let stored = self.store(&source.name, Kind::Files, content, |artifact, name| {
            let mut archive = ArchiveWriter::new(artifact);
            let written = files.iter().try_for_each(|file| archive.add(file)).and_then(|()| archive.finish().map(drop));
            written.map_err(|e| Error::io_named("store", name, e))
        });
        stored.map(Some)
    }

    /// Stages one artifact, hashing it before and after the codec as `fill` writes its plain bytes.
    fn store(
        &self,
        name: &str,
        kind: Kind,
        content: Content,
        fill: impl FnOnce(&mut dyn Write, &str) -> Result<()>,
    ) -> Result<Artifact> {
        let codec = self.request.encoding.codec();
        let file = ArtifactName { name: name.to_string(), id: self.id, kind, codec }.to_string();
        let stored: Hashing<Box<dyn Staged>> = Hashing::new(self.run.store().stage(&file)?);
        let mut plain = Hashing::new(Encoder::new(self.request.encoding, stored));
        fill(&mut plain, &file)?;
        let (encoder, plain) = plain.finish();
        let (staged, stored) = encoder.finish().map_err(|e| Error::io_named("store", &file, e))?.finish();
        staged.finish()?;
        Ok(Artifact {
            name: name.to_string(),
            file,
            bytes: stored.bytes,
            sha256: stored.sha256,
            plain_bytes: plain.bytes,
            plain_sha256: plain.sha256,
            codec,
            content,
        })
    }

    fn manifest(&mut self, artifacts: Vec<Artifact>, failures: &[(String, Error)]) -> Manifest {
        let status = match (artifacts.is_empty(), failures.is_empty()) {
            (true, _) => Status::Failed,
            (false, false) => Status::Partial,
            (false, true) => Status::Complete,
        };
        let errors = failures.iter().map(|(name, error)| Failure { name: name.clone(), message: error.one_line() });
        Manifest {
            format: FORMAT,
            id: self.id,
            created_at: self.run.now(),
            project: self.run.setup().project.clone(),
            host: self.run.setup().host.clone(),
            trigger: self.request.trigger,
            status,
            tool: self.run.tool(),
            duration_ms: self.run.elapsed_ms(),
            pinned: self.request.pinned,
            warnings: std::mem::take(&mut self.warnings),
            errors: errors.collect(),
            artifacts,
        }
    }

    fn publish(&self, manifest: &Manifest, failures: &[(String, Error)]) -> Result<()> {
        let store = self.run.store();
        stage_manifest(self.run, manifest)?;
        let artifacts: Vec<String> = manifest.artifacts.iter().map(|artifact| artifact.file.clone()).collect();
        store.publish(&artifacts)?;
        store.publish(&[names::manifest(self.id)])?;
        let outcome = match manifest.status {
            Status::Complete => Outcome::Ok,
            Status::Partial => Outcome::Partial,
            Status::Failed => Outcome::Failed,
        };
        let error = failures.first().map(|(_, error)| error.one_line());
        self.run.record(Line { id: Some(self.id), error, ..Line::new(self.run.now(), Command::Backup, outcome) })
    }
}

/// Writes a manifest to the staging area.
pub(crate) fn stage_manifest(run: &Run<'_>, manifest: &Manifest) -> Result<()> {
    let name = names::manifest(manifest.id);
    let mut staged = run.store().stage(&name)?;
    staged.write_all(&manifest.to_json()).map_err(|e| Error::io_named("write", &name, e))?;
    staged.finish()
}
