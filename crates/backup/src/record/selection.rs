//! Which parts of a backup to restore.

use serde::{Deserialize, Serialize};

use crate::record::names::Kind;

/// Which kinds of things to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Databases.
    pub databases: bool,
    /// Configuration files.
    pub files: bool,
    /// Also paths that the settings don't name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlisted: bool,
}

impl Selection {
    /// Everything that the settings name.
    pub const ALL: Self = Self { databases: true, files: true, unlisted: false };

    pub(crate) fn takes(self, kind: Kind) -> bool {
        match kind {
            Kind::Database | Kind::Increment | Kind::Wal | Kind::Journal => self.databases,
            Kind::Files => self.files,
        }
    }
}
