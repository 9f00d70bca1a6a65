//! What must come of any settings, for the fuzz target and for a test of `xtask`, where the settings are read.

use backup::ErrorKind;

use crate::config::Config;

/// Settings are refused in one line, or hold together; says which.
pub fn settings(toml: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(toml) else { return false };
    match Config::parse(text, "backup.toml") {
        Ok(config) => {
            assert!(config.sources().validate().is_ok() && config.encoding(None, None).is_ok());
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.one_line().starts_with("backup.toml"), "{error:?}");
            // The words of the library that reads them are not those of who writes settings.
            for word in
                ["invalid type", "invalid value", "unknown variant", "missing field", "expected a ", "u32", "i64"]
            {
                assert!(!error.one_line().contains(word), "{error:?}");
            }
            false
        }
    }
}
