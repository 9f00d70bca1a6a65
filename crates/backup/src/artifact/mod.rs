//! Stored files: how they are written and read back.

pub(crate) mod codec;
pub(crate) mod delta;
mod image;
pub(crate) mod merge;
pub(crate) mod read;
pub(crate) mod write;

use crate::record::codec::Codec;
use crate::record::digest::Digest;
use crate::record::manifest::{Artifact, Content, Facts, Increment};
use crate::record::names::Kind;
use crate::record::relpath::RelPath;

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
    /// Deltas on it, oldest first, if it is the database of an increment; they lead to its image.
    pub increments: Vec<StoredFile>,
}

impl StoredFile {
    /// The first problem of the database in it, if that was damaged when it was saved.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.recorded.as_ref().and_then(|recorded| recorded.damage().first()).map(String::as_str)
    }

    /// What a database shows if it is opened, as the backup recorded that stored it whole. Nothing is known of an image
    /// that increments lead to.
    pub(crate) fn facts(&self) -> Option<&Facts> {
        match &self.recorded.as_ref()?.content {
            Content::Database(database) if self.increments.is_empty() => Some(&database.facts),
            _ => None,
        }
    }

    /// Where the database or image was, relative to the project's root.
    pub(crate) fn source(&self) -> Option<&RelPath> {
        match &self.recorded.as_ref()?.content {
            Content::Database(database) => Some(self.image().map_or(&database.source, |image| &image.source)),
            _ => None,
        }
    }

    /// What the manifest says of the image that its increments lead to, if it has any.
    pub(crate) fn image(&self) -> Option<&Increment> {
        match &self.increments.last()?.recorded.as_ref()?.content {
            Content::Increment(increment) => Some(increment),
            _ => None,
        }
    }

    /// Size of what it decodes to, in bytes, with its increments laid over it. Without a record, a guess from its stored
    /// size.
    pub(crate) fn plain_bytes(&self) -> u64 {
        let guess = self.bytes.unwrap_or(0).saturating_mul(5);
        let own = self.recorded.as_ref().map_or(guess, |recorded| recorded.plain_bytes);
        self.image().map_or(own, Increment::image_bytes)
    }

    /// The most bytes that decoding it takes meanwhile: an image may be smaller than its base.
    pub(crate) fn most_bytes(&self) -> u64 {
        let images = self.increments.iter().filter_map(|it| match &it.recorded.as_ref()?.content {
            Content::Increment(increment) => Some(increment.image_bytes()),
            _ => None,
        });
        let base = self.recorded.as_ref().map(|recorded| recorded.plain_bytes);
        images.chain(base).max().unwrap_or_else(|| self.plain_bytes())
    }

    /// It and all increments on it, in the order in which they are read.
    pub(crate) fn parts(&self) -> impl DoubleEndedIterator<Item = &Self> {
        std::iter::once(self).chain(&self.increments)
    }

    /// The name of the last of them, which completes it.
    pub(crate) fn last_part(&self) -> &str {
        &self.increments.last().unwrap_or(self).file
    }

    /// Makes later reads check a database again, unless `is_sound` knows the digest of its decoded bytes.
    pub(crate) fn require_check_unless(&mut self, is_sound: impl Fn(Digest) -> bool) {
        if let Some(Artifact { plain_sha256, content: Content::Database(database), .. }) = &mut self.recorded {
            database.checked &= is_sound(*plain_sha256);
        }
    }

    /// Whether the decoded bytes are known to be a sound database, provided that they are as recorded. That the base was
    /// checked says nothing about an image that increments lead to.
    pub(crate) fn is_checked(&self) -> bool {
        if !self.increments.is_empty() {
            return false;
        }
        let content = self.recorded.as_ref().map(|recorded| &recorded.content);
        matches!(content, Some(Content::Database(database)) if database.checked)
    }
}
