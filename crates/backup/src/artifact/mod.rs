//! A stored file and its content: how it is written, and read back.

pub(crate) mod codec;
pub(crate) mod read;
pub(crate) mod write;

use crate::record::codec::Codec;
use crate::record::digest::Digest;
use crate::record::manifest::{Artifact, Content};
use crate::record::names::Kind;

/// A stored file of a backup, with all that is known of it.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// The configured name of the database or set of files.
    pub name: String,
    /// Its name in the store.
    pub file: String,
    /// What it decodes to.
    pub kind: Kind,
    /// How it is encoded.
    pub codec: Codec,
    /// Its size as found in the store; `None` if it is missing there.
    pub bytes: Option<u64>,
    /// What the manifest says of it.
    pub recorded: Option<Artifact>,
}

impl StoredFile {
    /// The first thing that is wrong with the database in it, if that was damaged when it was saved.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.recorded.as_ref().and_then(|recorded| recorded.damage().first()).map(String::as_str)
    }

    /// Has a database checked again, unless the digest of its bytes is known to be that of a sound one.
    pub(crate) fn require_check_unless(&mut self, is_sound: impl Fn(Digest) -> bool) {
        if let Some(Artifact { plain_sha256, content: Content::Database(database), .. }) = &mut self.recorded {
            database.checked &= is_sound(*plain_sha256);
        }
    }

    /// Whether what it decodes to is known to be a sound database, if it is as recorded.
    pub(crate) fn is_checked(&self) -> bool {
        let content = self.recorded.as_ref().map(|recorded| &recorded.content);
        matches!(content, Some(Content::Database(database)) if database.checked)
    }
}
