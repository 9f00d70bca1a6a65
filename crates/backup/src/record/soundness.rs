//! What a run found sound, as the ledger records it.

use serde::{Deserialize, Serialize};

use crate::record::digest::Digest;
use crate::record::manifest::{Artifact, Content, Increment, Manifest, Tool};

/// How deep a verification went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// The stored bytes were read and are as recorded. They were not decoded.
    Stored,
    /// All bytes were read and are as recorded. SQLite checked the same bytes earlier.
    Content,
    /// Every check was made this time.
    Whole,
}

/// The databases that a verification or a backup checked whole and found sound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoundDatabases {
    /// The program that checked them.
    pub tool: Tool,
    /// Those without a flaw.
    pub databases: Vec<DatabaseDigests>,
}

/// Digests of a database: of its bytes, and of what was found in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DatabaseDigests {
    /// Digest of its bytes; of the image of an increment, the digest of the digest of its pages.
    pub plain_sha256: Digest,
    /// Digest of the facts that it was compared with: schema, versions, sizes and row counts, as this program writes them.
    pub facts_sha256: Digest,
}

impl DatabaseDigests {
    /// The digests of a stored database; `None` for other artifacts, and if it was damaged when it was saved.
    pub(crate) fn of(artifact: &Artifact) -> Option<Self> {
        let Content::Database(database) = &artifact.content else { return None };
        let facts = serde_json::to_vec(&database.facts).ok().filter(|_| database.damage.is_empty())?;
        Some(Self { plain_sha256: artifact.plain_sha256, facts_sha256: Digest::of(&facts) })
    }

    /// The digests of the image that an increment leads to.
    pub(crate) fn of_image(increment: &Increment) -> Self {
        let size = format!("{} pages of {} bytes", increment.page_count, increment.page_size);
        let pages = increment.pages_digest.to_string();
        Self { plain_sha256: Digest::of(pages.as_bytes()), facts_sha256: Digest::of(size.as_bytes()) }
    }
}

impl SoundDatabases {
    /// The databases that a backup checked in the state that it stored; `None` if there are none.
    pub(crate) fn by_backup(manifest: &Manifest) -> Option<Self> {
        let checked = manifest.artifacts.iter().filter_map(|artifact| match &artifact.content {
            Content::Database(database) if database.checked => DatabaseDigests::of(artifact),
            _ => None,
        });
        let databases: Vec<DatabaseDigests> = checked.collect();
        (!databases.is_empty()).then(|| Self { tool: manifest.tool.clone(), databases })
    }
}
