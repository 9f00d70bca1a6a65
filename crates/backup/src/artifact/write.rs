//! The one way to write an artifact: plain bytes pass through a row of stages into the store.
//!
//! ```text
//! plain bytes ─► digest ─► codec ─► digest ─► staged object
//! ```
//!
//! A new stage goes between the two digests, here and in [`super::read`].

use std::io::{self, Write};

use super::codec::{Encoder, Encoding};
use crate::error::{Error, Result};
use crate::record::digest::Hashing;
use crate::record::id::BackupId;
use crate::record::manifest::{Artifact, Content};
use crate::record::names::{ArtifactName, Kind};
use crate::store::{LockedStore, Staged};

/// An artifact that is being written. Dropped without [`ArtifactWriter::finish`], it leaves nothing.
pub(crate) struct ArtifactWriter {
    name: ArtifactName,
    file: String,
    encoder: Encoder<Hashing<Box<dyn Staged>>>,
}

impl ArtifactWriter {
    /// Begins the artifact of the database or set of files `name` in the backup `id`.
    ///
    /// # Errors
    /// Any error of staging an object.
    pub fn begin(store: &LockedStore<'_>, id: BackupId, name: &str, kind: Kind, encoding: Encoding) -> Result<Self> {
        Self::begin_as(
            store,
            ArtifactName { name: name.into(), id, kind, is_merged: false, codec: encoding.codec() },
            encoding,
        )
    }

    /// Begins the artifact with this name, whose codec is that of `encoding`.
    ///
    /// # Errors
    /// Any error of staging an object.
    pub fn begin_as(store: &LockedStore<'_>, name: ArtifactName, encoding: Encoding) -> Result<Self> {
        let file = name.to_string();
        let encoder = Encoder::new(encoding, Hashing::new(store.stage(&file)?));
        Ok(Self { name, file, encoder })
    }

    /// Its name in the store.
    pub fn file(&self) -> String {
        self.file.clone()
    }

    /// Makes the artifact durable, still unpublished. Returns what the manifest says about it: its `content`, sizes and
    /// digests.
    ///
    /// # Errors
    /// Any error of writing its last bytes.
    pub fn finish(self, content: Content) -> Result<Artifact> {
        let Self { name: ArtifactName { name, codec, .. }, file, encoder } = self;
        let (stored, plain) = encoder.finish().map_err(|e| Error::io_named("store", &file, e))?;
        let (staged, stored) = stored.finish();
        staged.finish()?;
        Ok(Artifact {
            name,
            file,
            bytes: stored.bytes,
            sha256: stored.sha256,
            plain_bytes: plain.bytes,
            plain_sha256: plain.sha256,
            codec,
            content,
        })
    }
}

impl Write for ArtifactWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encoder.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}
