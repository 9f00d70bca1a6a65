//! Manifests as JSON: writing, and reading what may be damaged or written to do harm.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{BackupType, Content, MAX_BYTES, MAX_PATHS, Manifest, READABLE};
use crate::error::{Error, ErrorKind, Result};
use crate::record::id::BackupId;

impl Manifest {
    /// Reads a manifest that was stored under `id`.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedFormat`] if it has another format. [`ErrorKind::BadManifest`] if it isn't JSON of this
    /// format, is larger than [`MAX_BYTES`] or names more than is kept in memory, has another id, or names a file twice or
    /// one that isn't this backup's own.
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
        manifest.require_lineage().and_then(|()| manifest.require_own_files()).map_err(bad)?;
        Ok(manifest)
    }

    /// The manifest as it is stored: indented JSON with a final newline.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a manifest has text for keys, so it is JSON");
        json.push(b'\n');
        json
    }

    /// Makes sure that an increment has an older parent, and that nothing else has increments in it.
    fn require_lineage(&self) -> Result<(), String> {
        match (self.backup_type, self.parent) {
            (BackupType::Increment, None) => Err("is an increment without a parent".into()),
            (BackupType::Increment, Some(parent)) if parent >= self.id => {
                Err(format!("is an increment on {parent}, which isn't older"))
            }
            (BackupType::Full, Some(_)) => Err("is a full backup with a parent".into()),
            (BackupType::Full, None) if self.artifacts.iter().any(|it| matches!(it.content, Content::Increment(_))) => {
                Err("is a full backup with increments in it".into())
            }
            _ => Ok(()),
        }
    }

    /// Makes sure that each file is this backup's own, and named once.
    fn require_own_files(&self) -> Result<(), String> {
        let mut files = BTreeSet::new();
        for artifact in &self.artifacts {
            if !artifact.is_of(self.id) {
                return Err(format!("names {:?}, which is no file of that backup", artifact.file));
            }
            if !files.insert(artifact.file.as_str()) {
                return Err(format!("names {} twice", artifact.file));
            }
        }
        Ok(())
    }
}

/// The field that every format has, and the one that only the first has.
#[derive(Deserialize)]
struct Version {
    format: u32,
    pinned: Option<bool>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::record::codec::Codec;
    use crate::record::manifest::{Snapshot, Status, Table, Trigger};
    use crate::record::names::Kind;

    /// What version 0.1.0 wrote. It stays as it is for ever: what it says must remain readable.
    const FROZEN: &[u8] = include_bytes!("../../../tests/data/manifest_v1.json");

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
    const FROZEN_2: &[u8] = include_bytes!("../../../tests/data/manifest_v2.json");

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
