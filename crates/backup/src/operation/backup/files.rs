//! Configuration files on the write path.

use std::fs;
use std::io;

use super::staging::Staging;
use crate::error::{Error, ErrorKind, Result};
use crate::record::digest::Digest;
use crate::record::manifest::{Artifact, Content, FileEntry, Warning};
use crate::record::names::Kind;
use crate::record::relpath::RelPath;
use crate::source::FilesSource;
use crate::source::files::{ArchiveWriter, ConfigFile};
use crate::source::syntax;

/// A set of configuration files, as far as it was staged.
pub(super) struct StagedFiles {
    /// The archive; `None` if none of the files exists. An error of reading a file or writing the archive.
    pub artifact: Result<Option<Artifact>>,
    /// Warnings about them.
    pub warnings: Vec<Warning>,
    /// One error for each file that is gone, but that an earlier backup holds.
    pub vanished: Vec<Error>,
}

impl Staging<'_> {
    /// Stages an archive of the files that exist.
    pub fn stage_files(&self, source: &FilesSource) -> StagedFiles {
        let (missing, present): (Vec<_>, Vec<_>) = source.paths.iter().partition(|path| self.is_missing(path));
        let mut staged = StagedFiles { artifact: Ok(None), warnings: Vec::new(), vanished: Vec::new() };
        for path in missing {
            self.note_missing(path, &mut staged);
        }
        if !present.is_empty() {
            staged.artifact = self.stage_archive(source, &present).map(|(artifact, flaws)| {
                staged.warnings.extend(flaws);
                Some(artifact)
            });
        }
        staged
    }

    /// The files of a set that exist.
    pub fn present_files<'s>(&self, source: &'s FilesSource) -> Vec<&'s RelPath> {
        source.paths.iter().filter(|path| !self.is_missing(path)).collect()
    }

    fn is_missing(&self, path: &RelPath) -> bool {
        fs::metadata(path.under(self.request.root)).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    }

    /// Stages the archive, and gives the flaws of the files in it.
    fn stage_archive(&self, source: &FilesSource, present: &[&RelPath]) -> Result<(Artifact, Vec<Warning>)> {
        let mut flaws = Vec::new();
        let artifact = self.stage(&source.name, Kind::Files, |artifact, name| {
            let mut archive = ArchiveWriter::new(artifact);
            let mut entries = Vec::new();
            for path in present {
                // One at a time, so that only one is in memory.
                let file = ConfigFile::read(self.request.root, path)?;
                flaws.extend(syntax::flaw(&file));
                archive.add(&file).map_err(|e| Error::io_named("store", name, e))?;
                entries.push(file.entry());
            }
            archive.finish().map_err(|e| Error::io_named("store", name, e))?;
            Ok(Content::Files { entries })
        })?;
        Ok((artifact, flaws))
    }

    /// A missing file that no backup holds may never have existed. One that a backup holds has vanished: rotation would
    /// remove its backups one by one, so a run without it is not complete.
    fn note_missing(&self, path: &RelPath, staged: &mut StagedFiles) {
        match self.catalog.newest_with_file(path) {
            Some(entry) => {
                let message = format!("{path} doesn't exist, but backup {} holds it", entry.id);
                let hint = "restore it from that backup; if it was removed on purpose, remove it from the settings";
                staged.vanished.push(Error::new(ErrorKind::MissingSource, message).with_hint(hint));
            }
            None => staged.warnings.push(Warning {
                code: "missing_file".into(),
                message: format!("{path} doesn't exist, so it is not in this backup"),
            }),
        }
    }
}

/// The digest of the records of a set's files. It is the same if their content and modes are.
pub(super) fn files_digest(entries: &[FileEntry]) -> Digest {
    // A text for each key: it is JSON.
    Digest::of(&serde_json::to_vec(entries).unwrap_or_default())
}
