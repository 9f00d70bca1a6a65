//! The record of one backup. A backup exists once its manifest is in the store.
//!
//! `docs/format.md` describes each field for those who read manifests with other tools.

mod bounded;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::record::codec::Codec;
use crate::record::digest::Digest;
use crate::record::figures::{size, thousands};
use crate::record::id::BackupId;
use crate::record::names::{ArtifactName, Kind};
use crate::record::relpath::RelPath;

/// The format this library writes, and the newest it reads. Format 1 had pins in it; since format 2 a manifest never
/// changes, and a pin is an object of its own.
pub const FORMAT: u32 = 2;

/// The formats this library reads.
pub const READABLE: RangeInclusive<u32> = 1..=FORMAT;

/// Manifests are small: none is written that is larger than this, and no more of one is read into memory.
pub const MAX_BYTES: u64 = 16 << 20;

/// The most artifacts of a backup, and the most elements of what there is one of for each.
pub(crate) const FEW: usize = 2_000;

/// The most warnings and errors: there may be one for each configuration file.
pub(crate) const MANY: usize = 50_000;

/// The most bytes that the paths of a manifest's configuration files have together: each is kept in memory.
pub(crate) const MAX_PATHS: usize = 4 << 20;

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this record's layout, one of [`READABLE`].
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
    /// Whether rotation has to leave it alone, in format 1; never since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// What a person should know about it.
    #[serde(deserialize_with = "bounded::list::<MANY, _, _>")]
    pub warnings: Vec<Warning>,
    /// Databases that had collapsed since an earlier backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<FEW, _, _>")]
    pub collapses: Vec<Collapse>,
    /// What could not be saved; empty if [`Status::Complete`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<MANY, _, _>")]
    pub errors: Vec<Failure>,
    /// Sets of files of which none was there, so that there was nothing to save.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<FEW, _, _>")]
    pub absent: Vec<String>,
    /// What is stored; empty if [`Status::Failed`].
    #[serde(deserialize_with = "bounded::list::<FEW, _, _>")]
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
    /// A word for programs: `missing_file`, `invalid_json`, `invalid_env`, `collapsed`.
    pub code: String,
    /// A line for people.
    pub message: String,
}

/// What a database lost since an earlier backup: most of the rows of a table, or half of its size.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Collapse {
    /// The database's configured name.
    pub name: String,
    /// The newest backup from before it.
    pub since: BackupId,
    /// The table that lost most rows; `None` if it is the database that shrank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Rows of the table, or bytes of the database, in that backup.
    pub was: u64,
    /// The same in this one.
    pub now: u64,
}

/// Its name and both figures: `sessions_db (sessions: 20,000 → 12 rows)`.
impl fmt::Display for Collapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            Some(table) => {
                let (was, now) = (thousands(self.was), thousands(self.now));
                write!(f, "{} ({table}: {was} → {now} rows)", self.name)
            }
            None => write!(f, "{} ({} → {})", self.name, size(self.was), size(self.now)),
        }
    }
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
#[serde(try_from = "bounded::AnyArtifact")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// An SQLite database file.
    Database(Database),
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
    /// Owner of the source.
    pub uid: u32,
    /// Group of the source.
    pub gid: u32,
    /// How the snapshot was taken.
    pub snapshot: Snapshot,
    /// How long the source was read in one transaction, in milliseconds: in WAL mode its log could not be emptied then,
    /// in rollback mode nobody could commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_ms: Option<u64>,
    /// What is wrong with it, a line each, if it was saved although the source is damaged; empty if it is sound.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<String>,
    /// Whether `integrity_check` found nothing wrong with the very state that is stored: whoever decodes it to
    /// `plain_sha256` needs no check of their own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub checked: bool,
    /// The source's journal mode, `wal` or one of the rollback modes. A snapshot itself is never in WAL mode.
    pub journal_mode: String,
    /// What the snapshot must show when it is opened.
    #[serde(flatten)]
    pub facts: Facts,
}

/// How a snapshot is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Snapshot {
    /// `VACUUM INTO` (<https://www.sqlite.org/lang_vacuum.html>): compact, without what was deleted.
    #[default]
    Vacuum,
    /// Page by page as they are in the source (<https://www.sqlite.org/dbpage.html>), but for the two bytes that say
    /// WAL mode.
    Pages,
    /// The file's bytes to the last one, whatever its header says, with its `-wal` and `-journal` as artifacts of their
    /// own: how a damaged database is kept. No source can be configured so.
    Bytes,
}

/// What a database file shows when it is opened. Of one that is kept as [`Snapshot::Bytes`], what its header says: no
/// schema, no tables, pages by the length of the file, and a page size of 0 if the header has none that can be.
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
    /// format, is larger than [`MAX_BYTES`] or names more than is kept in memory, belongs to another id, or names a file
    /// that can't be this backup's own, or one twice.
    pub fn parse(id: BackupId, json: &[u8]) -> Result<Self> {
        let bad = |what: String| Error::new(ErrorKind::BadManifest, format!("manifest of {id} {what}"));
        if json.len() as u64 > MAX_BYTES {
            return Err(bad(format!("is larger than {} MiB", MAX_BYTES >> 20)));
        }
        let version: Version = serde_json::from_slice(json).map_err(|e| bad("can't be read".into()).with_source(e))?;
        if !READABLE.contains(&version.format) {
            let (format, oldest, newest) = (version.format, READABLE.start(), READABLE.end());
            let message = format!("manifest of {id} has format {format}, this program reads {oldest} to {newest}");
            return Err(Error::new(ErrorKind::UnsupportedFormat, message)
                .with_hint("use the version of the program that wrote it, or a newer one"));
        }
        let mut manifest: Self =
            serde_json::from_slice(json).map_err(|e| bad("can't be read".into()).with_source(e))?;
        if version.format == 1 && version.pinned.is_none() {
            return Err(bad("doesn't say whether it is pinned".into()));
        }
        manifest.pinned &= version.format == 1;
        if manifest.id != id {
            return Err(bad(format!("says it is {}", manifest.id)));
        }
        if manifest.path_bytes() > MAX_PATHS {
            return Err(bad(format!("names configuration files in more than {} MiB", MAX_PATHS >> 20)));
        }
        let mut files = BTreeSet::new();
        for artifact in &manifest.artifacts {
            if !artifact.is_of(id) {
                return Err(bad(format!("names {:?}, which is no file of that backup", artifact.file)));
            }
            if !files.insert(artifact.file.as_str()) {
                return Err(bad(format!("names {} twice", artifact.file)));
            }
        }
        Ok(manifest)
    }

    /// The manifest as it is stored: indented JSON with a final newline.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a manifest has text for keys, so it is JSON");
        json.push(b'\n');
        json
    }

    /// Bytes of the paths of all configuration files.
    pub(crate) fn path_bytes(&self) -> usize {
        let entries = self.artifacts.iter().flat_map(|artifact| match &artifact.content {
            Content::Files { entries } => &entries[..],
            Content::Database(_) | Content::Wal | Content::Journal => &[],
        });
        entries.map(|entry| entry.path.as_str().len()).sum()
    }

    /// Bytes of all artifacts as stored.
    pub fn stored_bytes(&self) -> u64 {
        self.artifacts.iter().map(|artifact| artifact.bytes).fold(0, u64::saturating_add)
    }

    /// Bytes of all artifacts decoded.
    pub fn plain_bytes(&self) -> u64 {
        self.artifacts.iter().map(|artifact| artifact.plain_bytes).fold(0, u64::saturating_add)
    }
}

/// The one field that every format has, and the one that only the first has.
#[derive(Deserialize)]
struct Version {
    format: u32,
    pinned: Option<bool>,
}

impl Artifact {
    /// What it decodes to.
    pub fn kind(&self) -> Kind {
        match self.content {
            Content::Database(_) => Kind::Database,
            Content::Wal => Kind::Wal,
            Content::Journal => Kind::Journal,
            Content::Files { .. } => Kind::Files,
        }
    }

    /// What is wrong with what was saved, if it was damaged then.
    pub fn damage(&self) -> &[String] {
        match &self.content {
            Content::Database(database) => &database.damage,
            Content::Wal | Content::Journal | Content::Files { .. } => &[],
        }
    }

    /// Whether the file's name is the one this artifact must have. It also keeps it inside the store.
    fn is_of(&self, id: BackupId) -> bool {
        let name = ArtifactName { name: self.name.clone(), id, kind: self.kind(), codec: self.codec };
        ArtifactName::parse(&self.file) == Some(name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What version 0.1.0 wrote. It stays as it is for ever: what it says must remain readable.
    const FROZEN: &[u8] = include_bytes!("../../tests/data/manifest_v1.json");

    fn frozen() -> Value {
        serde_json::from_slice(FROZEN).unwrap()
    }

    fn frozen_id() -> BackupId {
        "20261124_034135".parse().unwrap()
    }

    /// What becomes of the frozen manifest with this change.
    fn changed(change: impl FnOnce(&mut Value)) -> Result<Manifest> {
        let mut json = frozen();
        change(&mut json);
        Manifest::parse(frozen_id(), json.to_string().as_bytes())
    }

    #[track_caller]
    fn assert_bad(change: impl FnOnce(&mut Value)) -> Error {
        let error = changed(change).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadManifest, "{error:?}");
        assert!(error.to_string().starts_with("manifest of 20261124_034135 "), "{error}");
        error
    }

    #[test]
    fn format_1_is_written_as_it_always_was() {
        let manifest = Manifest::parse(frozen_id(), FROZEN).unwrap();
        let written: Value = serde_json::from_slice(&manifest.to_json()).unwrap();
        assert_eq!(written, frozen());
        assert_eq!(String::from_utf8(manifest.to_json()), String::from_utf8(FROZEN.to_vec()), "to the byte");
    }

    /// What a later version wrote, the first of this format.
    const FROZEN_2: &[u8] = include_bytes!("../../tests/data/manifest_v2.json");

    #[test]
    fn format_2_is_written_and_read_as_it_always_was() {
        let manifest = Manifest::parse("20261127_184116".parse().unwrap(), FROZEN_2).unwrap();
        assert_eq!(String::from_utf8(manifest.to_json()), String::from_utf8(FROZEN_2.to_vec()), "to the byte");
        assert_eq!((manifest.format, manifest.status, manifest.pinned), (2, Status::Partial, false));
        assert_eq!((manifest.absent.as_slice(), manifest.warnings.len()), (&["certificates".to_string()][..], 3));
        let collapse = &manifest.collapses[0];
        assert_eq!((collapse.table.as_deref(), collapse.was, collapse.now), (Some("sessions"), 400, 12));
        let [database, files] = &manifest.artifacts[..] else { panic!("{:?}", manifest.artifacts) };
        assert_eq!((database.codec, database.bytes, database.plain_bytes), (Codec::Zstd, 337, 12_288));
        let Content::Database(content) = &database.content else { panic!("{database:?}") };
        assert!(content.checked && content.read_ms.is_some() && content.snapshot == Snapshot::Vacuum);
        assert_eq!(content.facts.tables[0], Table { name: "sessions".into(), rows: 12 });
        assert_eq!(files.file, "config_20261127_184116.tar.zst");
    }

    #[test]
    fn a_manifest_of_format_2_says_nothing_of_pins() {
        let mut json: Value = serde_json::from_slice(FROZEN_2).unwrap();
        json["pinned"] = true.into();
        let manifest = Manifest::parse("20261127_184116".parse().unwrap(), json.to_string().as_bytes()).unwrap();
        assert!(!manifest.pinned);
        assert_bad(|json| drop(json.as_object_mut().unwrap().remove("pinned")));
    }

    #[test]
    fn format_1_is_read_as_it_always_was() {
        let manifest = Manifest::parse(frozen_id(), FROZEN).unwrap();
        assert_eq!(manifest.created_at.to_rfc3339(), "2026-11-24T04:41:35.719304769+01:00");
        assert_eq!((manifest.project.as_str(), manifest.host.as_str()), ("charger-api", "vm"));
        assert_eq!((manifest.trigger, manifest.status, manifest.pinned), (Trigger::Manual, Status::Partial, true));
        assert_eq!((manifest.tool.version.as_str(), manifest.duration_ms), ("0.1.0", 17));
        assert_eq!(manifest.warnings[0].code, "missing_file");
        assert_eq!(manifest.errors[0].name, "audit_db");
        assert_eq!((manifest.stored_bytes(), manifest.plain_bytes()), (508, 18_432));
        let [database, files] = &manifest.artifacts[..] else { panic!("{:?}", manifest.artifacts) };
        assert_eq!((database.kind(), database.codec), (Kind::Database, Codec::Gzip));
        assert!(database.sha256.to_string().starts_with("c57dfd13"));
        assert!(database.plain_sha256.to_string().starts_with("aa42ab5d"));
        let Content::Database(content) = &database.content else { panic!("{database:?}") };
        assert_eq!(
            (content.source.as_str(), content.mode, content.journal_mode.as_str()),
            ("data/sessions.db", 0o644, "wal")
        );
        assert_eq!((content.facts.page_size, content.facts.page_count, content.facts.user_version), (4096, 4, 3));
        assert_eq!(content.facts.tables[1], Table { name: "stations".into(), rows: 2 });
        let Content::Files { entries } = &files.content else { panic!("{files:?}") };
        assert_eq!((entries[0].path.as_str(), entries[0].bytes, entries[0].mode), (".env", 20, 0o600));
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let manifest = Manifest::parse(frozen_id(), FROZEN).unwrap();
        for trigger in [Trigger::Manual, Trigger::Timer, Trigger::PreRestore] {
            for status in [Status::Complete, Status::Partial, Status::Failed] {
                let manifest = Manifest { trigger, status, ..manifest.clone() };
                assert_eq!(Manifest::parse(manifest.id, &manifest.to_json()).unwrap(), manifest);
            }
        }
    }

    #[test]
    fn words_and_numbers_are_written_as_the_format_says() {
        let manifest = Manifest { trigger: Trigger::PreRestore, ..Manifest::parse(frozen_id(), FROZEN).unwrap() };
        let json: Value = serde_json::from_slice(&manifest.to_json()).unwrap();
        assert_eq!(json["trigger"], "pre-restore");
        let complete = Manifest { errors: Vec::new(), ..manifest };
        let json: Value = serde_json::from_slice(&complete.to_json()).unwrap();
        assert!(json.get("errors").is_none(), "a complete backup has no errors to tell");
    }

    #[test]
    fn fields_of_a_later_version_are_ignored() {
        let manifest = changed(|json| {
            json["later"] = json!({ "deep": [1] });
            json["tool"]["later"] = json!(1);
            json["artifacts"][0]["later"] = json!("x");
            json["artifacts"][0]["tables"][0]["later"] = json!(null);
            json["artifacts"][1]["entries"][0]["later"] = json!([]);
        });
        assert_eq!(manifest.unwrap(), Manifest::parse(frozen_id(), FROZEN).unwrap());
    }

    #[test]
    fn a_manifest_of_a_newer_format_is_refused() {
        for (json, format) in [(json!({ "format": 3 }), 3), (json!({ "format": 0, "id": 7 }), 0)] {
            let error = Manifest::parse(frozen_id(), json.to_string().as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
            let message = format!("manifest of 20261124_034135 has format {format}, this program reads 1 to 2");
            assert_eq!(error.to_string(), message);
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn what_is_no_manifest_is_told_as_such() {
        let half = &FROZEN[..FROZEN.len() / 2];
        for json in [&b""[..], b"null", b"[]", b"{}", b"\xff\xfe", b"{\"format\": \"1\"}", b"{\"format\": 1}", half] {
            let error = Manifest::parse(frozen_id(), json).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadManifest);
            assert_eq!(error.to_string(), "manifest of 20261124_034135 can't be read");
        }
    }

    #[test]
    fn a_manifest_beyond_the_largest_is_not_even_read() {
        let refused = |bytes: u64| {
            let error = Manifest::parse(frozen_id(), &vec![b'x'; usize::try_from(bytes).unwrap()]).unwrap_err();
            (error.kind(), error.to_string())
        };
        let said = |what: &str| (ErrorKind::BadManifest, format!("manifest of 20261124_034135 {what}"));
        assert_eq!(refused(MAX_BYTES), said("can't be read"));
        assert_eq!(refused(MAX_BYTES + 1), said("is larger than 16 MiB"));
    }

    #[test]
    fn what_was_damaged_when_it_was_saved_says_so() {
        let manifest = changed(|json| json["artifacts"][0]["damage"] = json!(["row 7 missing"])).unwrap();
        assert_eq!(manifest.artifacts[0].damage(), ["row 7 missing"]);
        assert_eq!(manifest.artifacts[1].damage(), [""; 0]);
    }

    #[test]
    fn every_field_but_errors_is_needed_and_has_its_type() {
        let document = frozen();
        let needed = document.as_object().unwrap().keys().filter(|key| *key != "errors" && *key != "format");
        for key in needed {
            assert_bad(|json| drop(json.as_object_mut().unwrap().remove(key)));
            assert_bad(|json| json[key] = json!({ "of": "another type" }));
        }
        for (at, artifact) in document["artifacts"].as_array().unwrap().iter().enumerate() {
            for key in artifact.as_object().unwrap().keys() {
                assert_bad(|json| drop(json["artifacts"][at].as_object_mut().unwrap().remove(key)));
                assert_bad(|json| json["artifacts"][at][key] = json!({ "of": "another type" }));
            }
        }
        changed(|json| drop(json.as_object_mut().unwrap().remove("errors"))).unwrap();
    }

    #[test]
    fn a_manifest_under_another_name_is_refused() {
        let other = "20261124_034136".parse().unwrap();
        let error = Manifest::parse(other, FROZEN).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadManifest);
        assert_eq!(error.to_string(), "manifest of 20261124_034136 says it is 20261124_034135");
    }

    #[test]
    fn a_file_that_cannot_be_the_backups_own_is_refused_by_name() {
        for file in [
            "../sessions_db_20261124_034135.db.gz",
            "/etc/passwd",
            "sessions_db_20261124_034136.db.gz",
            "other_20261124_034135.db.gz",
            "sessions_db_20261124_034135.db.zst",
            "sessions_db_20261124_034135.tar.gz",
            "manifest_20261124_034135.json",
            "history.jsonl",
            "",
        ] {
            let error = assert_bad(|json| json["artifacts"][0]["file"] = file.into());
            assert!(error.to_string().contains(&format!("{file:?}, which is no file of that backup")), "{error}");
        }
    }

    #[test]
    fn paths_that_lead_out_of_the_project_are_refused() {
        for path in ["../x", "/etc/passwd", "a/../../x", "", ".", "a\nb"] {
            assert_bad(|json| json["artifacts"][0]["source"] = path.into());
            assert_bad(|json| json["artifacts"][1]["entries"][0]["path"] = path.into());
        }
    }

    #[test]
    fn digests_that_are_none_are_refused() {
        for digest in ["", "abc", &"g".repeat(64), &"a".repeat(65)] {
            assert_bad(|json| json["artifacts"][0]["sha256"] = digest.into());
        }
    }
}
