#![no_main]
#![allow(dead_code, reason = "of what is included, a part is used")]

#[path = "../../../../xtask/src/config.rs"]
mod config;
#[path = "../settings.rs"]
mod settings;
#[path = "../../../../xtask/src/schedule/unit_name.rs"]
mod unit_name;

/// Where the settings look for it.
mod schedule {
    pub(crate) use super::unit_name;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    settings::settings(bytes);
});
