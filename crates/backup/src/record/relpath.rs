//! Paths that can't lead out of the folder that they are joined to.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// A path below a project's root: relative, `/`-separated, without `.`, `..`, empty or control-character parts.
///
/// Others may have written the manifests and archives that are read, so every path in them is this type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RelPath(String);

impl RelPath {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it could lead out of the folder.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        let plain = !text.is_empty() && text.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let normal = Path::new(&text).components().all(|part| matches!(part, Component::Normal(_)));
        if plain && normal && !text.chars().any(char::is_control) {
            Ok(Self(text))
        } else {
            Err(Error::new(ErrorKind::InvalidInput, format!("not a path below the project's folder: {text:?}"))
                .with_hint("give it relative to the root, without . or .. (data/sessions.db)"))
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The path below `root`.
    pub fn under(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> Self {
        path.0
    }
}

impl TryFrom<String> for RelPath {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_the_root_are_taken() {
        for text in [".env", "data/station_info.json", "a/b/c", "with space/ü", "..hidden"] {
            assert_eq!(RelPath::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for text in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a/..",
            "./a",
            "a//b",
            "a/",
            "a\nb",
            "a\0b",
            "\u{1b}[2J",
        ] {
            assert!(RelPath::new(text).is_err(), "{text:?}");
        }
    }
}
