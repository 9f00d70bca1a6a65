//! Names of the files in a store: `<name>_<id>.db[.gz|.zst]`, `<name>_<id>.tar[.gz|.zst]`, `manifest_<id>.json`, `pin_<id>`.
//! An increment of a database is `<name>_<id>.db.rdiff[.gz|.zst]`, or `<name>_<id>.db.merged.rdiff[.gz|.zst]` if it was merged from
//! several and the one whose place it takes has the other name. A database that is kept as bytes can also have
//! `<name>_<id>.db-wal[.gz|.zst]` and `<name>_<id>.db-journal[.gz|.zst]`.

use std::fmt;

use crate::record::codec::Codec;
use crate::record::id::BackupId;

/// The ledger's name.
pub const LEDGER: &str = "history.jsonl";

/// The name of the record of a store's owner.
pub const OWNER: &str = "store.json";

/// What an artifact decodes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One SQLite database file.
    Database,
    /// The pages of a database that changed since the parent of the backup.
    Increment,
    /// The write-ahead log of a database that is kept as bytes.
    Wal,
    /// The rollback journal of a database that is kept as bytes.
    Journal,
    /// A tar archive of configuration files.
    Files,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Database, Self::Increment, Self::Wal, Self::Journal, Self::Files];

    /// Whether it is useless without the database of the same name.
    pub fn is_beside_database(self) -> bool {
        matches!(self, Self::Wal | Self::Journal)
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Database => ".db",
            Self::Increment => ".db.rdiff",
            Self::Wal => ".db-wal",
            Self::Journal => ".db-journal",
            Self::Files => ".tar",
        }
    }
}

/// The parts of an artifact's file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactName {
    /// The configured name of the database or set of files.
    pub name: String,
    /// Its backup.
    pub id: BackupId,
    /// What it decodes to.
    pub kind: Kind,
    /// Whether it has the other one of the two names of an increment.
    pub is_merged: bool,
    /// How it is encoded.
    pub codec: Codec,
}

/// Ends the other name of an increment.
const MERGED: &str = ".db.merged.rdiff";

impl ArtifactName {
    /// The parts of this file name; `None` if it isn't an artifact's.
    pub fn parse(file: &str) -> Option<Self> {
        let (stem, codec) = if let Some(stem) = file.strip_suffix(".gz") {
            (stem, Codec::Gzip)
        } else if let Some(stem) = file.strip_suffix(".zst") {
            (stem, Codec::Zstd)
        } else {
            (file, Codec::None)
        };
        let kind = |kind: Kind| Some((stem.strip_suffix(kind.extension())?, kind));
        let merged = stem.strip_suffix(MERGED).map(|stem| (stem, Kind::Increment));
        let (rest, kind) = merged.or_else(|| Kind::ALL.into_iter().find_map(kind))?;
        let (name, id) = split_id(rest)?;
        is_set_name(name).then(|| Self { name: name.to_string(), id, kind, is_merged: merged.is_some(), codec })
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extension = if self.is_merged { MERGED } else { self.kind.extension() };
        write!(f, "{}_{}{extension}{}", self.name, self.id, self.codec.extension())
    }
}

/// The name of a backup's manifest.
pub fn manifest(id: BackupId) -> String {
    format!("manifest_{id}.json")
}

/// The backup whose manifest has this file name; `None` for any other file.
pub fn parse_manifest(file: &str) -> Option<BackupId> {
    match split_id(file.strip_suffix(".json")?)? {
        ("manifest", id) => Some(id),
        _ => None,
    }
}

/// The name in the staging area of the manifest that a backup had before it was replaced.
pub fn replaced(id: BackupId) -> String {
    format!("replaced_{id}.json")
}

/// The backup whose replaced manifest has this name; `None` for any other object.
pub fn parse_replaced(file: &str) -> Option<BackupId> {
    match split_id(file.strip_suffix(".json")?)? {
        ("replaced", id) => Some(id),
        _ => None,
    }
}

/// The name of the object that pins a backup. It is empty: that it is there says all.
pub fn pin(id: BackupId) -> String {
    format!("pin_{id}")
}

/// The backup that an object of this name pins; `None` for any other object.
pub fn parse_pin(file: &str) -> Option<BackupId> {
    match split_id(file)? {
        ("pin", id) => Some(id),
        _ => None,
    }
}

/// The backup that a stored file belongs to, by its name.
pub(crate) fn id_of(file: &str) -> Option<BackupId> {
    parse_manifest(file).or_else(|| ArtifactName::parse(file).map(|name| name.id)).or_else(|| parse_pin(file))
}

/// Whether `name` can name a database or a set of files: 1 to 64 letters, digits, `_` or `-`, and not `manifest`.
pub fn is_set_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(plain) && name != "manifest"
}

fn split_id(stem: &str) -> Option<(&str, BackupId)> {
    let (name, id) = stem.split_at_checked(stem.len().checked_sub(BackupId::LEN)?)?;
    Some((name.strip_suffix('_')?, id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifact_names_read_back_as_they_were_written() {
        for file in [
            "sessions_db_20251210_140000.db.gz",
            "sessions_db_20251210_140000.db",
            "sessions_db_20251210_140000.db-wal",
            "sessions_db_20251210_140000.db-journal.gz",
            "sessions_db_20251210_140000.db.rdiff.zst",
            "sessions_db_20251210_140000.db.merged.rdiff.gz",
            "config_20251210_140000.tar.gz",
            "config_20251210_140000.tar.zst",
        ] {
            assert_eq!(ArtifactName::parse(file).unwrap().to_string(), file);
        }
    }

    #[test]
    fn other_files_are_no_artifacts() {
        for file in [
            "history.jsonl",
            "manifest_20251210_140000.json",
            "sessions_db_20251210_140000.db-shm",
            "sessions_db_20251210_140000.merged.rdiff.gz",
            "config_20251210_140000.merged.tar.gz",
            "sessions_db.db.gz",
            "_20251210_140000.db",
            "a b_20251210_140000.db",
            "20251210_140000.db",
            "ü_20251210_140000.db.gz",
            ".db",
        ] {
            assert_eq!(ArtifactName::parse(file), None, "{file}");
        }
    }

    #[test]
    fn manifest_names_carry_the_id() {
        let id = "20251210_140000".parse().unwrap();
        assert_eq!(parse_manifest(&manifest(id)), Some(id));
        assert_eq!(parse_manifest("other_20251210_140000.json"), None);
    }
}
