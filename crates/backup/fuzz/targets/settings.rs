#![no_main]
#![allow(dead_code, reason = "of what is included, a part is used")]

#[path = "../../../../xtask/src/config/mod.rs"]
mod config;
#[path = "../settings.rs"]
mod settings;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    settings::settings(bytes);
});
