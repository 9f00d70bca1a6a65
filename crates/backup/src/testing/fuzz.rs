//! Functions for the fuzz targets (`fuzz/`), which can call only what is public. Each takes bytes that may be hostile,
//! returns whether they could be read, and panics if the result is not as it must be. Nobody else should use them.

use std::io::Read;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};

use crate::artifact::codec::Decoder;
use crate::catalog::Catalog;
use crate::catalog::retention::{self, Policy};
use crate::catalog::select::Selector;
use crate::error::{ErrorKind, Result};
use crate::operation::status::{self, StatusInputs};
use crate::record::codec::Codec;
use crate::record::id::BackupId;
use crate::record::ledger::Ledger;
use crate::record::manifest::Manifest;
use crate::record::names::{self, ArtifactName, LEDGER};
use crate::source::Sources;
use crate::source::files::{self, ArchiveWriter, ConfigFile, MAX_FILE_BYTES};
use crate::store::{MemoryStore, Store};

/// The id of the backup in the samples.
const ID: &str = "20261124_034135";

fn id() -> BackupId {
    ID.parse().expect("it is one")
}

fn publish(store: &MemoryStore, name: &str, content: &[u8]) {
    store.put(name, &mut &*content).expect("memory takes everything");
}

/// A manifest is refused, or reads back as it was and names only files of its own backup. A store with it can be
/// listed, judged and rotated.
pub fn manifest(json: &[u8]) -> bool {
    let parsed = Manifest::parse(id(), json);
    match &parsed {
        Ok(manifest) => {
            assert_eq!(Manifest::parse(id(), &manifest.to_json()).ok().as_ref(), Some(manifest));
            let is_own = |file: &str| ArtifactName::parse(file).is_some_and(|name| name.id == id());
            assert!(manifest.artifacts.iter().all(|artifact| is_own(&artifact.file)));
        }
        Err(error) => assert!(matches!(error.kind(), ErrorKind::BadManifest | ErrorKind::UnsupportedFormat)),
    }
    let store = MemoryStore::new();
    publish(&store, &names::manifest(id()), json);
    publish(&store, &format!("sessions_db_{ID}.db.gz"), b"");
    look(&store);
    parsed.is_ok()
}

/// A ledger can be read whatever is in it.
pub fn ledger(lines: &[u8]) -> bool {
    let store = MemoryStore::new();
    publish(&store, LEDGER, lines);
    publish(&store, &format!("sessions_db_{ID}.db.gz"), b"");
    look(&store).lines().len() > 1
}

/// Calls everything that reads a store's records.
fn look(store: &MemoryStore) -> Ledger {
    let (catalog, ledger) = load(store).expect("a store can be listed whatever is in it");
    assert!(catalog.get(id()).is_ok());
    let now = id().time();
    for now in [now, now + chrono::TimeDelta::days(3000), DateTime::<Utc>::UNIX_EPOCH] {
        let plan = retention::plan(&catalog.candidates(&ledger), &Policy::default(), now);
        assert!(plan.is_ok_and(|plan| plan.decisions.len() == catalog.entries().len()));
        let (max_age, max_drill_age) = (Duration::from_secs(1), Duration::from_secs(1));
        let (now, sources) = (now.fixed_offset(), &Sources::default());
        let (catalog, ledger, free_bytes, locked_since) = (&catalog, &ledger, Some(1), Some(now));
        let root = std::path::Path::new("/p");
        let look = StatusInputs {
            catalog,
            ledger,
            sources,
            root,
            now,
            max_age,
            last_look: None,
            max_drill_age,
            free_bytes,
            locked_since,
        };
        let judged = status::status(&look);
        assert!(!judged.fresh && judged.concerns.is_sorted_by(|a, b| a.severity() >= b.severity()));
    }
    let _ = (ledger.unfinished_restore(), ledger.last_proved(id()));
    ledger
}

fn load(store: &MemoryStore) -> Result<(Catalog, Ledger)> {
    Ok((Catalog::load(store)?, Ledger::load(store)?))
}

/// The text of `--from` is refused in one line, or means at most one backup.
pub fn from(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let store = MemoryStore::new();
    for id in [ID, "20261124_034136", "20251210_140000", "00000101_000000", "99991231_235959"] {
        publish(&store, &format!("sessions_db_{id}.db.gz"), b"");
    }
    let (catalog, ledger) = load(&store).expect("a store can be listed whatever is in it");
    for hours in [-12, 0, 14] {
        let zone = FixedOffset::east_opt(hours * 3600).expect("there are such zones");
        let selector = Selector::parse(text, &id().time().with_timezone(&zone));
        let selected = selector.and_then(|selector| catalog.select(&selector, &[], &ledger).map(|it| it.entry.id));
        if let Err(error) = selected {
            let kinds = [ErrorKind::InvalidInput, ErrorKind::NoSuchBackup, ErrorKind::AmbiguousId];
            assert!(kinds.contains(&error.kind()), "{error:?}");
        }
    }
    Selector::parse(text, &id().time()).is_ok()
}

/// An archive is refused as damaged, or its files read back the same from an archive that this program writes. If its
/// checksums are wrong, it is read again with the right ones.
pub fn archive(tar: &[u8]) -> bool {
    read_archive(tar) | read_archive(&with_checksums(tar))
}

fn read_archive(tar: &[u8]) -> bool {
    let mut files = Vec::new();
    let read = |tar: &[u8], files: &mut Vec<ConfigFile>| {
        files::read_archive("a.tar", &mut &*tar, |file| {
            assert!(file.content.len() as u64 <= MAX_FILE_BYTES);
            files.push(file);
            Ok(())
        })
    };
    if let Err(error) = read(tar, &mut files) {
        assert_eq!(error.kind(), ErrorKind::Damaged);
        return false;
    }
    let mut writer = ArchiveWriter::new(Vec::new());
    for file in &files {
        writer.add(file).expect("memory takes everything");
    }
    let mut again = Vec::new();
    read(&writer.finish().expect("memory takes everything"), &mut again).expect("it is one of ours");
    assert_eq!(again, files);
    true
}

/// The archive with the right checksum in each block that seems to be a header: few mutations have it by chance.
fn with_checksums(tar: &[u8]) -> Vec<u8> {
    let mut tar = tar.to_vec();
    for block in tar.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        let mut header = ::tar::Header::from_byte_slice(block).clone();
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
    tar
}

/// The most bytes that are decoded: a bomb has no end.
const ENOUGH: usize = 8 << 20;

/// Stored bytes of each codec decode to the same bytes as in another decoder, or fail in both.
pub fn stored(bytes: &[u8]) -> bool {
    let gzip = |plain: &mut Vec<u8>| flate2::read::MultiGzDecoder::new(bytes).take(ENOUGH as u64).read_to_end(plain);
    let zstd = |plain: &mut Vec<u8>| ::zstd::stream::read::Decoder::new(bytes)?.take(ENOUGH as u64).read_to_end(plain);
    compare(Codec::Gzip, bytes, gzip) | compare(Codec::Zstd, bytes, zstd)
}

fn compare(codec: Codec, bytes: &[u8], other: impl FnOnce(&mut Vec<u8>) -> std::io::Result<usize>) -> bool {
    let mut expected = Vec::new();
    let expected = other(&mut expected).map(|_| expected);
    match (decode(codec, bytes), expected) {
        (Ok(plain), Ok(expected)) => {
            assert!(plain == expected, "{codec}: {} and {}", plain.len(), expected.len());
            true
        }
        (Err(_), Err(_)) => false,
        (found, expected) => panic!("{codec}: {:?} and {:?}", found.map(|it| it.len()), expected.map(|it| it.len())),
    }
}

fn decode(codec: Codec, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut decoder, mut plain) = (Decoder::new(codec, bytes), Vec::new());
    while plain.len() < ENOUGH
        && let Some(member) = decoder.next_member()?
    {
        plain.extend_from_slice(&member);
    }
    plain.truncate(ENOUGH);
    Ok(plain)
}

#[cfg(test)]
#[path = "../../fuzz/mutate.rs"]
mod mutate;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::mutate::mutations;
    use super::*;
    use crate::artifact::codec::{Encoder, Encoding};
    use crate::record::relpath::RelPath;

    const MANIFEST: &[u8] = include_bytes!("../../tests/data/manifest_v1.json");

    #[test]
    fn mutated_manifests_are_refused_or_read_back() {
        let words = [
            "null",
            "true",
            "-1",
            "1e999",
            "18446744073709551616",
            "[",
            "{",
            "\"\\u0000\"",
            "\"../x\"",
            "\"name\":",
            "\"format\": 1,",
            "\"id\":",
            "9999-12-31T23:59:60Z",
            "0000-01-01T00:00:00+14:00",
            "\u{1b}[2J",
            "partial",
            "pre-restore",
        ];
        mutations(&[MANIFEST], &words, 4000, manifest);
    }

    #[test]
    fn mutated_ledgers_are_read() {
        let lines = concat!(
            r#"{"at":"2026-11-24T03:41:35+01:00","command":"verify","outcome":"ok","id":"20261124_034135","duration_ms":5}"#,
            "\n",
            r#"{"at":"2026-11-24T03:41:36+01:00","command":"restore","outcome":"begun","id":"20261124_034135","duration_ms":5,"#,
            r#""restore":{"target":"/x","kept":"20261124_034136","written":["a"],"moved_aside":[]}}"#,
            "\n",
        );
        let words =
            ["begun", "partial", "failed", "null", "-1", "9999-12-31T23:59:59-23:59", "\n", "18446744073709551615"];
        mutations(&[lines.as_bytes()], &words, 4000, ledger);
    }

    #[test]
    fn mutated_words_for_a_backup_mean_one_or_none() {
        let samples = [
            "latest",
            ID,
            "2026-11-24 04:41",
            "2026-11-24T04:41:35",
            "2026-11-24",
            "2026-11-24T04:41:35.5+01:00",
            "last monday 04:41",
            "2 hours 5min ago",
            "-2h",
            "yesterday",
        ];
        let samples = samples.map(str::as_bytes);
        let words = [
            "9999",
            "0000",
            "-",
            ":",
            "60",
            "T",
            "Z",
            "+24:00",
            " ",
            "\u{fe0f}",
            "_",
            "999999999999",
            "ago",
            "year",
            "mon",
        ];
        mutations(&samples, &words, 20_000, from);
    }

    /// Archives of each tar format, with long names.
    fn archives() -> Vec<Vec<u8>> {
        let config = |path: String, content: &str| ConfigFile {
            path: RelPath::new(path).unwrap(),
            mode: 0o640,
            uid: 1000,
            gid: 1000,
            mtime: 1_765_375_200,
            content: content.into(),
        };
        let files = [config(".env".into(), "A=1\n"), config(format!("data/{}.json", "x".repeat(150)), "{}")];
        let mut ours = ArchiveWriter::new(Vec::new());
        for file in &files {
            ours.add(file).unwrap();
        }
        let mut pax = ::tar::Builder::new(Vec::new());
        for file in &files {
            let mut header = ::tar::Header::new_ustar();
            header.set_size(file.content.len() as u64);
            header.set_mode(file.mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(file.mtime);
            let attributes =
                [("path", file.path.as_str().as_bytes()), ("size", b"3"), ("uid", b"7"), ("mtime", b"1.5")];
            pax.append_pax_extensions(attributes).unwrap();
            pax.append_data(&mut header, "short", file.content.as_slice()).unwrap();
        }
        vec![ours.finish().unwrap(), pax.into_inner().unwrap()]
    }

    #[test]
    fn mutated_archives_are_refused_or_read_back() {
        let archives = archives();
        let samples: Vec<&[u8]> = archives.iter().map(Vec::as_slice).collect();
        let words = [
            "77777777777\0",
            "\u{80}",
            "../",
            "/",
            "./",
            "ustar\0",
            "L",
            "S",
            "x",
            "5",
            "2",
            "30 path=a\n",
            "\n",
            "\0",
        ];
        mutations(&samples, &words, 4000, archive);
    }

    #[test]
    fn mutated_artifacts_decode_as_elsewhere_or_not_at_all() {
        let plain: Vec<u8> = (0..3_000_u32).flat_map(|n| (n * n / 977).to_le_bytes()).collect();
        let ours = [(Codec::Gzip, 6), (Codec::Zstd, 3)].map(|(codec, level)| {
            let mut encoder = Encoder::new(Encoding::new(codec, level).unwrap(), Vec::new());
            encoder.write_all(&plain).unwrap();
            encoder.finish().unwrap().0
        });
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let theirs = [gzip.finish().unwrap(), ::zstd::stream::encode_all(&plain[..], 1).unwrap()];
        let samples: Vec<Vec<u8>> = ours.into_iter().chain(theirs).flat_map(|it| [it.repeat(2), it]).collect();
        let samples: Vec<&[u8]> = samples.iter().map(Vec::as_slice).collect();
        mutations(&samples, &["\u{1f}", "\0\0\0\0", "IG\x04\0", "P*M\x18"], 1500, stored);
    }
}
