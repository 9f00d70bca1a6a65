//! Which paths a restore may write.
//!
//! A backup says itself where its content belongs, and it may come from a disk that others write to. A path that the
//! settings name is one that a person has chosen. Other paths need `--unlisted`. What lies in `.git`, `.cargo` or `ops` makes
//! programs look, this one among them, and is never written.

use serde::Serialize;

use crate::record::relpath::RelPath;
use crate::source::Sources;

/// Names of folders that nothing is restored into, wherever they are.
const ANYWHERE: [&str; 2] = [".git", ".cargo"];

/// Names of folders that nothing is restored into where they are in the project's root: this program's settings.
const IN_ROOT: [&str; 1] = ["ops"];

/// Something of a backup that is not restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkippedItem {
    /// Where it would belong, relative to the target.
    pub path: RelPath,
    /// Why it is left out.
    pub why: SkipReason,
}

/// Why something of a backup is not restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The settings don't name its path, and nobody said that such paths may be restored.
    Unlisted,
    /// It lies in a folder whose content makes programs look.
    Protected,
}

/// Whether the settings name this path for a database, or for a configuration file.
pub(super) fn is_listed(sources: &Sources, path: &RelPath, is_database: bool) -> bool {
    if is_database {
        return sources.databases.iter().any(|database| database.path == *path);
    }
    sources.files.iter().any(|set| set.paths.contains(path))
}

/// Whether nothing is ever restored to this path.
pub(super) fn is_protected(path: &RelPath) -> bool {
    path.as_str().split('/').enumerate().any(|(at, part)| {
        let part = folded(part);
        ANYWHERE.contains(&part.as_str()) || at == 0 && IN_ROOT.contains(&part.as_str())
    })
}

/// A name as a file system may take it that ignores case, and characters that nobody sees.
fn folded(name: &str) -> String {
    let upper = name.chars().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).filter(char::is_ascii).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_programs_run_is_protected_however_it_is_written() {
        for path in [
            ".git/hooks/pre-commit",
            ".git",
            "sub/.git/config",
            ".GIT/hooks/x",
            ".g\u{200c}it/config",
            ".cargo/config.toml",
            "xtask/.Cargo/config.toml",
            "ops/backup.toml",
            "OPS/backup.toml",
            "op\u{17f}/backup.toml",
        ] {
            assert!(is_protected(&RelPath::new(path).unwrap()), "{path:?}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for path in [".env", ".gitignore", "data/ops/a.json", "ops.toml", "git/x", "a.git/x", "cargo/config.toml"] {
            assert!(!is_protected(&RelPath::new(path).unwrap()), "{path:?}");
        }
    }
}
