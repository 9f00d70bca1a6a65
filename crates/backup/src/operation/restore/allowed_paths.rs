//! Which paths a restore may write.
//!
//! The hazard: a backup says itself where its content belongs, and it may come from a disk that others can write to. So only
//! paths in the settings are written, which a person has chosen; others only if the caller asks for that. Files in `.git`,
//! `.cargo` and `ops` can make programs run, this one among them: they are never written.

use serde::Serialize;

use crate::record::id::BackupId;
use crate::record::relpath::RelPath;
use crate::source::Sources;

/// Folders that nothing is restored into, wherever they are.
const ANYWHERE: [&str; 2] = [".git", ".cargo"];

/// Folders in the project's root that nothing is restored into: this program's settings.
const IN_ROOT: [&str; 1] = ["ops"];

/// The most paths that a warning names.
const MOST_NAMED: usize = 3;

/// A file in a backup that is not restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkippedItem {
    /// Where it would belong, relative to the target.
    pub path: RelPath,
    /// The reason.
    pub why: SkipReason,
}

/// Why a file in a backup is not restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The settings don't name its path, and the caller didn't ask for such paths.
    Unlisted,
    /// It lies in a folder whose content can make programs run.
    Protected,
}

/// Whether the settings name this path for a database, or for a configuration file.
pub(super) fn is_listed(sources: &Sources, path: &RelPath, is_database: bool) -> bool {
    if is_database {
        return sources.databases.iter().any(|database| database.path == *path);
    }
    sources.files.iter().any(|set| set.paths.contains(path))
}

/// Whether this path is never written.
pub(super) fn is_protected(path: &RelPath) -> bool {
    path.as_str().split('/').enumerate().any(|(at, part)| {
        let part = folded(part);
        ANYWHERE.contains(&part.as_str()) || at == 0 && IN_ROOT.contains(&part.as_str())
    })
}

/// A name as a file system takes it that ignores case and invisible characters.
fn folded(name: &str) -> String {
    let upper = name.chars().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).filter(char::is_ascii).collect()
}

/// A warning for each reason that something of the backup is left out.
pub(super) fn warnings(id: BackupId, skipped: &[SkippedItem]) -> Vec<String> {
    let reasons = [
        (SkipReason::Unlisted, "the settings don't name, and which is left out"),
        (SkipReason::Protected, "lies in .git, .cargo or ops, and is never restored"),
    ];
    let warning = |(why, what)| {
        let paths: Vec<&str> = skipped.iter().filter(|it| it.why == why).map(|it| it.path.as_str()).collect();
        let (named, more) = paths.split_at(paths.len().min(MOST_NAMED));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        (!named.is_empty()).then(|| format!("backup {id} holds what {what}: {}{more}", named.join(", ")))
    };
    reasons.into_iter().filter_map(warning).collect()
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
