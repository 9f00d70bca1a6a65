//! The record of one backup. A backup exists once its manifest is in the store.
//!
//! `docs/format.md` describes each field for those who read manifests with other tools.

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use crate::codec::Codec;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::id::BackupId;
use crate::names::{ArtifactName, Kind};
use crate::relpath::RelPath;

/// The format this library writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// Manifests are small; one that claims to be larger than this is refused before it is read into memory.
pub const MAX_BYTES: u64 = 64 << 20;

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this record's layout: [`FORMAT`].
    pub format: u32,
    /// The backup's name.
    pub id: BackupId,
    /// When it was begun, with the offset of the host's local time.
    pub created_at: DateTime<FixedOffset>,
    /// Whose state this is.
    pub project: String,
    /// The host it was taken on.
    pub host: String,
    /// What caused it.
    pub trigger: Trigger,
    /// How much of what was asked for is in it.
    pub status: Status,
    /// What wrote it.
    pub tool: Tool,
    /// From the start of the run to the writing of this record, in milliseconds.
    pub duration_ms: u64,
    /// Whether rotation has to leave it alone.
    pub pinned: bool,
    /// What a person should know about it.
    pub warnings: Vec<Warning>,
    /// What could not be saved; empty if [`Status::Complete`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Failure>,
    /// What is stored; empty if [`Status::Failed`].
    pub artifacts: Vec<Artifact>,
}

/// What caused a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// A person.
    Manual,
    /// The schedule.
    Timer,
    /// A restore, to keep what it replaces.
    PreRestore,
}

/// How much of what was asked for is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All of it.
    Complete,
    /// Some of it.
    Partial,
    /// Nothing.
    Failed,
}

/// The program that wrote a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its version.
    pub version: String,
    /// The version of the SQLite library in it.
    pub sqlite: String,
}

/// Something that did not stop a backup but that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A word for programs: `missing_file`, `invalid_json`, `invalid_env`.
    pub code: String,
    /// A line for people.
    pub message: String,
}

/// Something that could not be saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The configured name of the database or set of files.
    pub name: String,
    /// Why, in one line.
    pub message: String,
}

/// One stored file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The configured name of the database or set of files.
    pub name: String,
    /// Its file in the store.
    pub file: String,
    /// Size of that file.
    pub bytes: u64,
    /// Digest of that file.
    pub sha256: Digest,
    /// Size of what it decodes to.
    pub plain_bytes: u64,
    /// Digest of what it decodes to.
    pub plain_sha256: Digest,
    /// How it is encoded.
    pub codec: Codec,
    /// What it decodes to.
    #[serde(flatten)]
    pub content: Content,
}

/// What an artifact decodes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// An SQLite database file.
    Database(Database),
    /// A tar archive of configuration files.
    Files {
        /// Its members, in the archive's order.
        entries: Vec<FileEntry>,
    },
}

/// A database's place and owner, and the facts that prove a copy of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Where it was, relative to the project's root.
    pub source: RelPath,
    /// Permission bits of the source, such as 0o640.
    pub mode: u32,
    /// Owner of the source.
    pub uid: u32,
    /// Group of the source.
    pub gid: u32,
    /// How the snapshot was taken.
    pub snapshot: Snapshot,
    /// The source's journal mode, `wal` or one of the rollback modes. A snapshot itself is never in WAL mode.
    pub journal_mode: String,
    /// What the snapshot must show when it is opened.
    #[serde(flatten)]
    pub facts: Facts,
}

/// How a snapshot was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Snapshot {
    /// `VACUUM INTO`: <https://www.sqlite.org/lang_vacuum.html>.
    Vacuum,
}

/// What a database file shows when it is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Bytes of a page: a power of two, 512 to 65536.
    pub page_size: u32,
    /// Pages in the file.
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

/// A table and how many rows it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The table's name.
    pub name: String,
    /// Its row count.
    pub rows: u64,
}

/// A member of an archive of configuration files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where it was, relative to the project's root.
    pub path: RelPath,
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Digest,
    /// Its permission bits.
    pub mode: u32,
}

impl Manifest {
    /// Reads a manifest that was stored under `id`.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedFormat`] if it has another format; [`ErrorKind::BadManifest`] if it isn't JSON of this
    /// format, belongs to another id, or names a file that can't be this backup's own.
    pub fn parse(id: BackupId, json: &[u8]) -> Result<Self> {
        let bad = |what: String| Error::new(ErrorKind::BadManifest, format!("manifest of {id} {what}"));
        let version: Version = serde_json::from_slice(json).map_err(|e| bad("can't be read".into()).with_source(e))?;
        if version.format != FORMAT {
            let message = format!("manifest of {id} has format {}, this program reads {FORMAT}", version.format);
            return Err(Error::new(ErrorKind::UnsupportedFormat, message)
                .with_hint("use the version of the program that wrote it, or a newer one"));
        }
        let manifest: Self = serde_json::from_slice(json).map_err(|e| bad("can't be read".into()).with_source(e))?;
        if manifest.id != id {
            return Err(bad(format!("says it is {}", manifest.id)));
        }
        match manifest.artifacts.iter().find(|artifact| !artifact.is_of(id)) {
            Some(artifact) => Err(bad(format!("names {:?}, which is no file of that backup", artifact.file))),
            None => Ok(manifest),
        }
    }

    /// The manifest as it is stored: indented JSON with a final newline.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a manifest has text for keys, so it is JSON");
        json.push(b'\n');
        json
    }

    /// Bytes of all artifacts as stored.
    pub fn stored_bytes(&self) -> u64 {
        self.artifacts.iter().map(|artifact| artifact.bytes).sum()
    }

    /// Bytes of all artifacts decoded.
    pub fn plain_bytes(&self) -> u64 {
        self.artifacts.iter().map(|artifact| artifact.plain_bytes).sum()
    }
}

/// The one field that every format has.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Artifact {
    /// What it decodes to.
    pub fn kind(&self) -> Kind {
        match self.content {
            Content::Database(_) => Kind::Database,
            Content::Files { .. } => Kind::Files,
        }
    }

    /// Whether the file's name is the one this artifact must have. It also keeps it inside the store.
    fn is_of(&self, id: BackupId) -> bool {
        let name = ArtifactName { name: self.name.clone(), id, kind: self.kind(), codec: self.codec };
        ArtifactName::parse(&self.file) == Some(name)
    }
}
