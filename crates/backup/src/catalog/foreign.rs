//! Manifests that other tools wrote: how they are recognised, and which stored files they name.
//!
//! The hazard: if a damaged manifest of this program were taken for another tool's, its backup would be listed, but its
//! files would never be checked. So a manifest counts as another tool's only if nothing in it could be this program's.

use std::borrow::Cow;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::record::manifest::MAX_BYTES;
use crate::record::names::ArtifactName;

/// Keys of this program's manifests. Damage in one place leaves most of them.
const OWN_WORDS: [&str; 7] = [
    "\"format\"",
    "\"created_at\"",
    "\"trigger\"",
    "\"duration_ms\"",
    "\"pinned\"",
    "\"artifacts\"",
    "\"plain_sha256\"",
];

/// A text with this many of them is this program's.
const MANY: usize = 3;

/// How this program's manifests begin, without white space.
const BEGINNING: &str = "{\"format\"";

/// The most files that are taken from one manifest.
const MAX_NAMES: usize = 1000;

/// The names of artifacts in a manifest of another tool: the last part of any string in it that is a path. `None` if it
/// is, or could be, a manifest of this program, whatever its format or damage.
pub(crate) fn named_files(manifest: &[u8]) -> Option<Vec<String>> {
    if manifest.len() as u64 > MAX_BYTES {
        return None;
    }
    let text = decoded(manifest)?;
    let mut names = Vec::new();
    let mut json = serde_json::Deserializer::from_str(&text);
    let is_json = Names(&mut names).deserialize(&mut json).and_then(|()| json.end()).is_ok();
    if is_json { (!has_format(&text)).then_some(names) } else { (!resembles_ours(&text)).then(Vec::new) }
}

/// A piece of erased flash memory; no text has that many such bytes in a row.
const ERASED: [u8; 8] = [0xff; 8];

/// The text of UTF-8, of UTF-16 with a byte order mark, or of any 8-bit encoding. `None` if it is no text.
fn decoded(bytes: &[u8]) -> Option<Cow<'_, str>> {
    if bytes.windows(ERASED.len()).any(|window| window == ERASED) || bytes.ends_with(&ERASED[..1]) {
        return None;
    }
    let utf16 = |from: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|unit| from([unit[0], unit[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect::<String>()
    };
    let text = match bytes {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes).into(),
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes).into(),
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            // Names of artifacts are ASCII, which all 8-bit encodings share.
            std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(|byte| char::from(*byte)).collect(), Cow::from)
        }
    };
    let is_text = text.chars().all(|c| !c.is_ascii_control() || matches!(c, '\t' | '\n' | '\r'));
    is_text.then_some(text)
}

/// Whether JSON has a format number, or so many keys of this program that it must have had one.
fn has_format(json: &str) -> bool {
    #[derive(Deserialize)]
    struct Format {
        #[serde(rename = "format")]
        _format: f64,
    }
    serde_json::from_str::<Format>(json).is_ok() || own_words(json) >= MANY
}

/// Whether text that isn't JSON could be the rest of this program's manifest. An empty text could be.
fn resembles_ours(text: &str) -> bool {
    let mut beginning = text.chars().filter(|c| !c.is_whitespace()).take(BEGINNING.len());
    let is_cut_short = BEGINNING.starts_with(&beginning.by_ref().collect::<String>());
    is_cut_short || text.contains(OWN_WORDS[0]) || own_words(text) >= MANY
}

fn own_words(text: &str) -> usize {
    OWN_WORDS.iter().filter(|word| text.contains(**word)).count()
}

/// Collects the names of artifacts in JSON of any shape.
struct Names<'a>(&'a mut Vec<String>);

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let name = Path::new(text).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if self.0.len() < MAX_NAMES && ArtifactName::parse(name).is_some() && !self.0.iter().any(|known| known == name)
        {
            self.0.push(name.to_string());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Names(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Names(self.0))?;
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &[u8] = include_bytes!("../../tests/data/manifest_v1.json");

    fn named(text: &str) -> Option<Vec<String>> {
        named_files(text.as_bytes())
    }

    #[test]
    fn whatever_has_no_format_number_is_another_tools_and_names_its_files() {
        let db = "sessions_db_20251210_140000.db.gz";
        for text in [
            format!(r#"{{"timestamp": "2025-12-10", "files": ["/old/{db}"], "status": "ok"}}"#),
            format!(r#"{{"backups": {{"database": "/srv/{db}", "config": null, "size": 1.5, "ok": true}}}}"#),
            format!(r#"[[["{db}"]], "{db}", -1]"#),
            format!("\u{feff}{{\"files\": [\"{db}\"]}}"),
            format!(r#""C/{db}""#),
        ] {
            assert_eq!(named(&text), Some(vec![db.to_string()]), "{text}");
        }
        for text in
            ["{}", "[]", "null", "3", "{\"format\": \"tar\"}", "backup of monday: all well\n", "{no json", "\u{1f40d}"]
        {
            assert_eq!(named(text), Some(vec![]), "{text}");
        }
        // Turkish, in ISO 8859-9.
        assert_eq!(named_files(b"{\"not\": \"yede\xf0i\", \"f\": \"a_20251210_140000.db\"}").unwrap().len(), 1);
        let utf16 = |order: fn(u16) -> [u8; 2]| "\u{feff}{\"a\": 1}".encode_utf16().flat_map(order).collect::<Vec<_>>();
        assert_eq!(named_files(&utf16(u16::to_le_bytes)), Some(vec![]));
        assert_eq!(named_files(&utf16(u16::to_be_bytes)), Some(vec![]));
    }

    #[test]
    fn a_manifest_of_ours_is_never_taken_for_another_tools_wherever_it_is_cut_or_damaged() {
        for length in 0..=OURS.len() {
            assert_eq!(named_files(&OURS[..length]), None, "cut to {length} bytes");
        }
        for at in 0..OURS.len() {
            for damage in [b'\0', b'x', b'"', b'0', b' ', b'}', 0xff] {
                let mut damaged = OURS.to_vec();
                damaged[at] = damage;
                assert_eq!(named_files(&damaged), None, "{} at {at}", char::from(damage));
            }
            for lost in [b'\0', b' ', 0xff] {
                let mut damaged = OURS.to_vec();
                damaged[at..].fill(lost);
                assert_eq!(named_files(&damaged), None, "{lost:#x} from {at} on");
            }
        }
        for format in ["2", "1.5", "-1", "1e300"] {
            assert_eq!(named(&format!("{{\"format\": {format}}}")), None, "{format}");
        }
        assert_eq!(named_files(&vec![0; 4096]), None, "a page that a disk lost");
    }
}
