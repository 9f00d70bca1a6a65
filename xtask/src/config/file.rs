//! Where the settings are, and the file that shows every one of them.

/// Where the settings are, relative to the root.
pub const FILE: &str = "ops/backup.toml";

/// Every setting with its default.
pub const SHOWN: &str = include_str!("../../../ops/backup.toml");
