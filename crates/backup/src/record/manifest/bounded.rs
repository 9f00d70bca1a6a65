//! Reading a manifest that may have been written to do harm: it takes no more memory than it is long.
//!
//! What serde does by itself for a flattened field, keeping all of it until its kind is known, takes twenty times as much;
//! and a list of a million empty texts is short in JSON and long in memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::{Artifact, Content, Database, Facts, FileEntry, Snapshot, Table};
use crate::record::codec::Codec;
use crate::record::digest::Digest;
use crate::record::relpath::RelPath;

/// Reads a list of at most `MOST` elements.
pub(super) fn list<'de, const MOST: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct List<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(element) = seq.next_element()? {
                if list.len() == MOST {
                    return Err(A::Error::custom(format_args!("a list has more than {MOST} elements")));
                }
                list.push(element);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(List::<T, MOST>(PhantomData))
}

/// An artifact with the fields of every kind.
#[derive(serde::Deserialize)]
pub(super) struct AnyArtifact {
    kind: Kind,
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
    #[serde(default, deserialize_with = "list::<1000, _, _>")]
    damage: Vec<String>,
    #[serde(default)]
    checked: bool,
    journal_mode: Option<String>,
    page_size: Option<u32>,
    page_count: Option<u64>,
    encoding: Option<String>,
    user_version: Option<i32>,
    application_id: Option<i32>,
    schema_sha256: Option<Digest>,
    tables: Option<Vec<Table>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Database,
    Wal,
    Journal,
    Files,
}

impl TryFrom<AnyArtifact> for Artifact {
    type Error = String;

    fn try_from(any: AnyArtifact) -> Result<Self, String> {
        let AnyArtifact { name, file, bytes, sha256, plain_bytes, plain_sha256, codec, .. } = any;
        let content = match any.kind {
            Kind::Wal => Content::Wal,
            Kind::Journal => Content::Journal,
            Kind::Files => Content::Files { entries: required("entries", any.entries)? },
            Kind::Database => Content::Database(Database {
                source: required("source", any.source)?,
                mode: required("mode", any.mode)?,
                uid: required("uid", any.uid)?,
                gid: required("gid", any.gid)?,
                snapshot: required("snapshot", any.snapshot)?,
                read_ms: any.read_ms,
                damage: any.damage,
                checked: any.checked,
                journal_mode: required("journal_mode", any.journal_mode)?,
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
