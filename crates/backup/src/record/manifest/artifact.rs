//! One artifact in a manifest.
//!
//! A manifest may have been written to do harm. What serde does for a flattened enum, keeping all fields until the kind is
//! known, takes twenty times the memory of the text; so an artifact is read with the fields of every kind ([`AnyArtifact`]).

use serde::{Deserialize, Serialize};

use super::list;
use crate::record::codec::Codec;
use crate::record::digest::Digest;
use crate::record::id::BackupId;
use crate::record::names::{ArtifactName, Kind};
use crate::record::pages::PagesDigest;
use crate::record::relpath::RelPath;

/// One stored file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AnyArtifact")]
pub struct Artifact {
    /// The configured name of the database or set of files.
    pub name: String,
    /// Its file in the store.
    pub file: String,
    /// Size of that file, in bytes.
    pub bytes: u64,
    /// Digest of that file.
    pub sha256: Digest,
    /// Size of the decoded content, in bytes.
    pub plain_bytes: u64,
    /// Digest of the decoded content.
    pub plain_sha256: Digest,
    /// How it is encoded.
    pub codec: Codec,
    /// What its content is, and the facts that prove it.
    #[serde(flatten)]
    pub content: Content,
}

/// What an artifact decodes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// An SQLite database file.
    Database(Database),
    /// The pages of an SQLite database that changed since the parent of the backup, as a delta that `rdiff patch` applies.
    Increment(Increment),
    /// The `-wal` of the database of the same name, which is kept as [`Snapshot::Bytes`].
    Wal,
    /// The `-journal` of the database of the same name, which is kept as [`Snapshot::Bytes`].
    Journal,
    /// A tar archive of configuration files.
    Files {
        /// Its members, in the archive's order.
        entries: Vec<FileEntry>,
    },
}

/// A database's place and owner, and the facts that prove a copy of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Database {
    /// Where it was, relative to the project's root.
    pub source: RelPath,
    /// Permission bits of the source, such as 0o640.
    pub mode: u32,
    /// User id of the source's owner.
    pub uid: u32,
    /// Group id of the source.
    pub gid: u32,
    /// How the snapshot was taken.
    pub snapshot: Snapshot,
    /// How long one transaction read the source, in milliseconds. Meanwhile its log could not be emptied in WAL mode, and
    /// nobody could commit in rollback mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_ms: Option<u64>,
    /// Its problems, one line each, if it was damaged when it was saved; empty if it is sound.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<String>,
    /// Whether `integrity_check` found nothing wrong with the state that is stored. If it decodes to `plain_sha256`, it needs
    /// no other check.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub checked: bool,
    /// The source's journal mode, `wal` or one of the rollback modes. The snapshot itself is never in WAL mode.
    pub journal_mode: String,
    /// The digest of all its pages, if it can be the base of increments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages_digest: Option<PagesDigest>,
    /// What the snapshot must show when it is opened.
    #[serde(flatten)]
    pub facts: Facts,
}

/// A database's place and owner, and what proves the image that an increment leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Increment {
    /// Where it was, relative to the project's root.
    pub source: RelPath,
    /// Permission bits of the source, such as 0o640.
    pub mode: u32,
    /// User id of the source's owner.
    pub uid: u32,
    /// Group id of the source.
    pub gid: u32,
    /// How long one transaction read the source, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_ms: Option<u64>,
    /// The source's journal mode, `wal` or one of the rollback modes. The image itself is never in WAL mode.
    pub journal_mode: String,
    /// Size of a page in bytes, that of its base.
    pub page_size: u32,
    /// Number of pages of the image.
    pub page_count: u64,
    /// Number of pages in the delta.
    pub changed_pages: u64,
    /// The digest of all pages of the image.
    pub pages_digest: PagesDigest,
}

impl Increment {
    /// Size of the image, in bytes.
    pub fn image_bytes(&self) -> u64 {
        self.page_count.saturating_mul(self.page_size.into())
    }
}

/// How a snapshot is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Snapshot {
    /// `VACUUM INTO` (<https://www.sqlite.org/lang_vacuum.html>): compact, without what was deleted.
    #[default]
    Vacuum,
    /// Page by page as in the source (<https://www.sqlite.org/dbpage.html>), except for the two bytes that say WAL mode.
    Pages,
    /// All bytes of the file, whatever its header says, with its `-wal` and `-journal` as artifacts of their own. Damaged
    /// databases are kept so; no source can be configured so.
    Bytes,
}

/// What a database file shows when it is opened. For [`Snapshot::Bytes`] it is what the header says: no schema, no tables,
/// the number of pages by the length of the file, and a page size of 0 if the header has none that is possible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Size of a page in bytes: a power of two from 512 to 65536.
    pub page_size: u32,
    /// Number of pages in the file.
    pub page_count: u64,
    /// Text encoding, as `PRAGMA encoding` says it.
    pub encoding: String,
    /// `PRAGMA user_version`.
    pub user_version: i32,
    /// `PRAGMA application_id`.
    pub application_id: i32,
    /// Digest of the schema: one line `type|name|tbl_name|sql` for each row of `sqlite_schema`, sorted.
    pub schema_sha256: Digest,
    /// Every table that holds rows, by name.
    pub tables: Vec<Table>,
}

/// A table and its number of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The table's name.
    pub name: String,
    /// Its number of rows.
    pub rows: u64,
}

/// A member of an archive of configuration files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where it was, relative to the project's root.
    pub path: RelPath,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Digest,
    /// Its permission bits.
    pub mode: u32,
}

impl Artifact {
    /// What it decodes to.
    pub fn kind(&self) -> Kind {
        match self.content {
            Content::Database(_) => Kind::Database,
            Content::Increment(_) => Kind::Increment,
            Content::Wal => Kind::Wal,
            Content::Journal => Kind::Journal,
            Content::Files { .. } => Kind::Files,
        }
    }

    /// The problems of the database when it was saved; empty if it was sound.
    pub fn damage(&self) -> &[String] {
        match &self.content {
            Content::Database(database) => &database.damage,
            Content::Increment(_) | Content::Wal | Content::Journal | Content::Files { .. } => &[],
        }
    }

    /// Whether its file has the name that this artifact must have. No such name leads out of the store.
    pub(super) fn is_of(&self, id: BackupId) -> bool {
        ArtifactName::parse(&self.file).is_some_and(|found| {
            (&found.name, found.id, found.kind, found.codec) == (&self.name, id, self.kind(), self.codec)
        })
    }
}

/// An artifact with the fields of every kind.
#[derive(Deserialize)]
struct AnyArtifact {
    kind: KindName,
    name: String,
    file: String,
    bytes: u64,
    sha256: Digest,
    plain_bytes: u64,
    plain_sha256: Digest,
    codec: Codec,
    entries: Option<Vec<FileEntry>>,
    source: Option<RelPath>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    snapshot: Option<Snapshot>,
    read_ms: Option<u64>,
    #[serde(default, deserialize_with = "list::bounded::<1000, _, _>")]
    damage: Vec<String>,
    #[serde(default)]
    checked: bool,
    journal_mode: Option<String>,
    pages_digest: Option<PagesDigest>,
    changed_pages: Option<u64>,
    page_size: Option<u32>,
    page_count: Option<u64>,
    encoding: Option<String>,
    user_version: Option<i32>,
    application_id: Option<i32>,
    schema_sha256: Option<Digest>,
    tables: Option<Vec<Table>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindName {
    Database,
    Increment,
    Wal,
    Journal,
    Files,
}

impl TryFrom<AnyArtifact> for Artifact {
    type Error = String;

    fn try_from(any: AnyArtifact) -> Result<Self, String> {
        let AnyArtifact { name, file, bytes, sha256, plain_bytes, plain_sha256, codec, .. } = any;
        let content = match any.kind {
            KindName::Wal => Content::Wal,
            KindName::Journal => Content::Journal,
            KindName::Files => Content::Files { entries: required("entries", any.entries)? },
            KindName::Increment => Content::Increment(Increment {
                source: required("source", any.source)?,
                mode: required("mode", any.mode)?,
                uid: required("uid", any.uid)?,
                gid: required("gid", any.gid)?,
                read_ms: any.read_ms,
                journal_mode: required("journal_mode", any.journal_mode)?,
                page_size: required("page_size", any.page_size)?,
                page_count: required("page_count", any.page_count)?,
                changed_pages: required("changed_pages", any.changed_pages)?,
                pages_digest: required("pages_digest", any.pages_digest)?,
            }),
            KindName::Database => Content::Database(Database {
                source: required("source", any.source)?,
                mode: required("mode", any.mode)?,
                uid: required("uid", any.uid)?,
                gid: required("gid", any.gid)?,
                snapshot: required("snapshot", any.snapshot)?,
                read_ms: any.read_ms,
                damage: any.damage,
                checked: any.checked,
                journal_mode: required("journal_mode", any.journal_mode)?,
                pages_digest: any.pages_digest,
                facts: Facts {
                    page_size: required("page_size", any.page_size)?,
                    page_count: required("page_count", any.page_count)?,
                    encoding: required("encoding", any.encoding)?,
                    user_version: required("user_version", any.user_version)?,
                    application_id: required("application_id", any.application_id)?,
                    schema_sha256: required("schema_sha256", any.schema_sha256)?,
                    tables: required("tables", any.tables)?,
                },
            }),
        };
        Ok(Self { name, file, bytes, sha256, plain_bytes, plain_sha256, codec, content })
    }
}

fn required<T>(name: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("missing field `{name}`"))
}
