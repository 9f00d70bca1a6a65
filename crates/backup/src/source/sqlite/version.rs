//! Versions of SQLite, and which of them can lose data.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// A version of the SQLite library, in SQLite's own numbers: 3051003 is 3.51.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SqliteVersion(pub(crate) u32);

/// The first version with WAL mode.
const FIRST_WITH_WAL: SqliteVersion = SqliteVersion(3_007_000);

/// The first version without the WAL-reset bug (<https://www.sqlite.org/wal.html>).
const FIRST_SOUND: SqliteVersion = SqliteVersion(3_051_003);

impl SqliteVersion {
    /// Whether it can lose data when two connections checkpoint a WAL at the same time: versions from 3.7.0, which
    /// brought WAL mode, to before 3.51.3 (<https://www.sqlite.org/wal.html>).
    pub fn has_wal_reset_bug(self) -> bool {
        (FIRST_WITH_WAL..FIRST_SOUND).contains(&self)
    }
}

impl fmt::Display for SqliteVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0 / 1_000_000, self.0 / 1000 % 1000, self.0 % 1000)
    }
}

/// Makes sure that this program isn't built with a library that can lose data.
///
/// # Errors
/// [`ErrorKind::Sqlite`].
pub(crate) fn require_sound_library() -> Result<()> {
    if SqliteVersion(rusqlite::version_number().unsigned_abs()) >= FIRST_SOUND {
        return Ok(());
    }
    let message = format!("built with SQLite {}, which has the WAL-reset bug", rusqlite::version());
    Err(Error::new(ErrorKind::Sqlite, message).with_hint("build with the bundled library, 3.51.3 or newer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_the_bug_are_told_from_those_without() {
        let has_bug = |number| SqliteVersion(number).has_wal_reset_bug();
        assert_eq!([3_006_023, 3_007_000, 3_040_001, 3_051_002].map(has_bug), [false, true, true, true]);
        assert_eq!([3_051_003, 3_053_004].map(has_bug), [false, false]);
    }
}
