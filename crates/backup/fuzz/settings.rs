//! What must hold for any settings. The fuzz target uses it, and a test of `xtask`, which reads the settings.

use backup::ErrorKind;

use crate::config::Config;

/// Asserts that settings are refused in one line or are consistent; returns whether they were accepted.
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
