//! Text in units: placeholders of the templates, quoting as systemd reads it. A path or a setting can neither add a line to a
//! unit nor join two.

use std::collections::BTreeMap;
use std::path::Path;

use backup::{Error, ErrorKind, Result};

/// `template` with a value for each `{{word}}` that has one.
pub fn fill(template: &str, words: &BTreeMap<&str, String>) -> String {
    let mut parts = template.split("{{");
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let known = part.split_once("}}").and_then(|(word, rest)| Some((words.get(word)?, rest)));
        match known {
            Some((value, rest)) => text.extend([value, rest]),
            None => text.extend(["{{", part]),
        }
    }
    text
}

/// A list of paths, each with `prefix`.
pub fn paths<P: AsRef<Path>>(prefix: &str, paths: &[P]) -> Result<String> {
    let word = |path: &Path| {
        let text = path.to_str().ok_or_else(|| unwritable(&path.display()))?;
        quoted(&format!("{prefix}{text}"))
    };
    Ok(paths.iter().map(|path| word(path.as_ref())).collect::<Result<Vec<_>>>()?.join(" "))
}

/// The same for lists in which `:` separates a path from its new place, or from mount options.
pub fn bound<P: AsRef<Path>>(prefix: &str, options: &str, paths: &[P]) -> Result<String> {
    let word = |path: &Path| {
        let text = path.to_str().filter(|text| !text.contains(':')).ok_or_else(|| unwritable(&path.display()))?;
        Ok(quoted(&format!("{prefix}{text}"))? + options)
    };
    Ok(paths.iter().map(|path| word(path.as_ref())).collect::<Result<Vec<_>>>()?.join(" "))
}

/// A word of a list or a command line, quoted if it has to be: `man 7 systemd.syntax`.
pub fn quoted(word: &str) -> Result<String> {
    let plain = plain(word)?;
    let simple = |c: char| c.is_alphanumeric() || "/-_.,=@+%".contains(c);
    if !plain.is_empty() && plain.chars().all(simple) {
        return Ok(plain);
    }
    Ok(format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Text at the end of a line. A backslash there would join the next line.
pub fn line(text: &str) -> Result<String> {
    if text.ends_with('\\') { Err(unwritable(&text)) } else { plain(text) }
}

/// Text on one line in which systemd replaces nothing.
fn plain(text: &str) -> Result<String> {
    if text.chars().any(char::is_control) { Err(unwritable(&text.escape_debug())) } else { Ok(text.replace('%', "%%")) }
}

pub fn unwritable(what: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{what} can't stand in a systemd unit")).with_hint(
        "it isn't UTF-8, has a control character or, as a path, a colon in it, or ends in a backslash: rename it",
    )
}
