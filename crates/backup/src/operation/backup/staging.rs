//! The context in which artifacts of a backup are staged.

use std::path::Path;

use rusqlite::Connection;

use super::request::BackupRequest;
use super::state::{ChainState, KeptSnapshots, TrackedDatabase};
use crate::artifact::write::ArtifactWriter;
use crate::catalog::{Catalog, ListedFile};
use crate::error::Result;
use crate::operation::run::Run;
use crate::record::id::BackupId;
use crate::record::manifest::{Artifact, Content, Manifest};
use crate::record::names::Kind;
use crate::source::sqlite::bytes::Descriptors;

/// A backup whose artifacts are being staged.
#[derive(Clone, Copy)]
pub(super) struct Staging<'a> {
    pub run: &'a Run<'a>,
    pub request: &'a BackupRequest<'a>,
    /// Databases that connections of this process have locked.
    pub locked: &'a [(&'a Path, &'a Connection)],
    pub descriptors: &'a Descriptors,
    /// All backups so far.
    pub catalog: &'a Catalog,
    pub id: BackupId,
    /// What the increments so far believe, if the backup is to be their next base.
    pub chain: Option<&'a ChainState>,
    /// The newest point, if the backup is an increment.
    pub parent: Option<&'a Parent>,
    /// Snapshots of the newest point that are still open.
    pub kept: &'a KeptSnapshots,
}

/// The newest point, which an increment continues.
pub(super) struct Parent {
    pub state: ChainState,
    pub manifest: Manifest,
}

/// A database whose artifacts are staged.
pub(super) struct StagedDatabase {
    pub artifacts: Vec<Artifact>,
    /// Its pages, if increments will continue it.
    pub tracked: Option<TrackedDatabase>,
    /// How many pages had changed without its log showing it, so that increments lack them.
    pub missed_pages: u64,
}

impl StagedDatabase {
    pub fn untracked(artifacts: Vec<Artifact>) -> Self {
        Self { artifacts, tracked: None, missed_pages: 0 }
    }
}

impl Staging<'_> {
    /// Stages one artifact. `fill` writes its plain bytes and returns its content; it gets a name for messages.
    pub fn stage(
        &self,
        name: &str,
        kind: Kind,
        fill: impl FnOnce(&mut ArtifactWriter, &str) -> Result<Content>,
    ) -> Result<Artifact> {
        let mut artifact = ArtifactWriter::begin(self.run.locked_store(), self.id, name, kind, self.request.encoding)?;
        let file = artifact.file();
        let content = fill(&mut artifact, &file)?;
        artifact.finish(content)
    }

    /// The size in bytes of the newest whole copy of that name that is as long as recorded; 0 if there is none.
    pub fn expected_bytes(&self, name: &str) -> u64 {
        let mut files = self.catalog.entries().iter().flat_map(|entry| &entry.files);
        let is_whole = |file: &ListedFile| file.recorded.is_some_and(|recorded| Some(recorded.bytes) == file.bytes);
        let is_it = |file: &&ListedFile| {
            file.name == name && is_whole(file) && matches!(file.kind, Kind::Database | Kind::Files)
        };
        files.rfind(is_it).and_then(|file| file.bytes).unwrap_or(0)
    }
}
