//! Stored files: how they are written and read back.

pub(crate) mod codec;
pub(crate) mod delta;
pub(crate) mod merge;
pub(crate) mod read;
pub(crate) mod write;

use crate::record::codec::Codec;
use crate::record::digest::Digest;
use crate::record::manifest::{Artifact, Content};
use crate::record::names::Kind;

/// A stored file of a backup, with all that is known about it.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// The configured name of the database or set of files.
    pub name: String,
    /// Its name in the store.
    pub file: String,
    /// What its content is.
    pub kind: Kind,
    /// How it is encoded.
    pub codec: Codec,
    /// Its size in the store, in bytes; `None` if it is missing there.
    pub bytes: Option<u64>,
    /// What the manifest says about it; `None` if there is no manifest of this program.
    pub recorded: Option<Artifact>,
}

impl StoredFile {
    /// The first problem of the database in it, if that was damaged when it was saved.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.recorded.as_ref().and_then(|recorded| recorded.damage().first()).map(String::as_str)
    }

    /// Makes later reads check a database again, unless `is_sound` knows the digest of its decoded bytes.
    pub(crate) fn require_check_unless(&mut self, is_sound: impl Fn(Digest) -> bool) {
        if let Some(Artifact { plain_sha256, content: Content::Database(database), .. }) = &mut self.recorded {
            database.checked &= is_sound(*plain_sha256);
        }
    }

    /// Whether the decoded bytes are known to be a sound database, provided that they are as recorded.
    pub(crate) fn is_checked(&self) -> bool {
        let content = self.recorded.as_ref().map(|recorded| &recorded.content);
        matches!(content, Some(Content::Database(database)) if database.checked)
    }
}
