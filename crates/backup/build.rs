//! Fails a build whose SQLite would lack `sqlite_dbpage`, which snapshots by pages read from. The flag for it is in
//! `.cargo/config.toml`, which cargo searches for from the current folder up, not from the package.

#![allow(clippy::disallowed_methods, reason = "the library itself reads no environment")]

fn main() {
    println!("cargo::rerun-if-env-changed=LIBSQLITE3_FLAGS");
    let flags = std::env::var("LIBSQLITE3_FLAGS").unwrap_or_default();
    if !flags.contains("-DSQLITE_ENABLE_DBPAGE_VTAB") {
        let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let workspace = std::fs::canonicalize(workspace).unwrap_or_else(|_| workspace.into());
        let config = workspace.join(".cargo/config.toml");
        println!(
            "cargo::error=SQLite would lack sqlite_dbpage: build in {}, or from elsewhere with --config {}",
            workspace.display(),
            config.display()
        );
    }
}
