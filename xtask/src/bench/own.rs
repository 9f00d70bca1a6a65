//! This program as a contestant: with its defaults, by pages, and with increments.

use super::peers::{Contestant, ELSE, Follow, NOBODY, Rivals};

const OWN_RESTORE: &str =
    r#"exec "$XTASK" --root "$PROJECT" --backup-dir "$STORE" restore --from latest --to "$OUT" --yes"#;
const OWN_VERIFY: &str = r#"exec "$XTASK" --root "$PROJECT" --backup-dir "$STORE" verify --from latest --full"#;

/// Verifies a backup once as a whole, if there is one.
const CHECK_WHOLE: &str =
    r#"[ ! -e "$STORE/history.jsonl" ] || "$XTASK" --root "$PROJECT" --backup-dir "$STORE" verify --from latest"#;

/// Settings for snapshots page by page.
const PAGES: &str = r#"cat > pages.toml <<'EOF'
project = "charger-api"

[[database]]
name = "sessions_db"
path = "data/sessions.db"
snapshot = "pages"

[codec]
name = "zstd"
EOF"#;

/// The same, for full backups that increments can continue.
const TRACKED: &str = r#"cat > tracked.toml <<'EOF'
project = "charger-api"

[[database]]
name = "sessions_db"
path = "data/sessions.db"

[[files]]
name = "config"
paths = [".env", "data/station_info.json"]

[codec]
name = "zstd"

[increments]
every = "10s"
EOF"#;

/// An increment; the first time, it is a full backup.
const INCREMENT: &str = r#"
    exec "$XTASK" --root "$PROJECT" --backup-dir "$STORE" --config tracked.toml backup --incremental --no-rotate"#;

/// Stays, and makes increments.
const FOLLOW: &str = r#"
    exec "$XTASK" --root "$PROJECT" --backup-dir "$STORE" --config tracked.toml --quiet follow --every "${EVERY}s""#;

/// Two full backups, the first one with a check and the second one without; the increments continue that.
const BASES: &str = r#"
    "$XTASK" --root "$PROJECT" --backup-dir "$STORE" --config tracked.toml backup --no-rotate
    "$XTASK" --root "$PROJECT" --backup-dir "$STORE" --config tracked.toml backup --no-rotate --no-check"#;

/// How a chain is made: what comes before each of the other scripts, the full backups, an increment.
pub const CHAIN: [&str; 3] = [TRACKED, BASES, INCREMENT];

/// Restores the first of the two full backups.
const OWN_POINT_1: &str = r#"
    exec "$XTASK" --root "$PROJECT" --backup-dir "$STORE" restore --to "$OUT" --yes \
        --from "$(ls "$STORE" | sed -n 's/^manifest_\(.*\)\.json$/\1/p' | sed -n 1p)""#;
const OWN_POINT_2: &str = r#"
    exec "$XTASK" --root "$PROJECT" --backup-dir "$STORE" restore --to "$OUT" --yes \
        --from "$(ls "$STORE" | sed -n 's/^manifest_\(.*\)\.json$/\1/p' | sed -n 2p)""#;

/// This program: with its defaults, and without a check of the database's integrity, which the others don't make.
pub const OWN: [Contestant; 11] = [
    Contestant {
        name: "xtask gzip",
        backup: r#"exec "$XTASK" --root "$PROJECT" --backup-dir "$STORE" backup"#,
        restore: OWN_RESTORE,
        verify: OWN_VERIFY,
        against: Rivals { backup: &["pigz", "python"], restore: &["pigz"], verify: &["restic"], ..NOBODY },
        ..ELSE
    },
    Contestant {
        name: "xtask zstd",
        backup: r#"exec "$XTASK" --root "$PROJECT" --backup-dir "$STORE" backup --codec zstd"#,
        restore: OWN_RESTORE,
        verify: OWN_VERIFY,
        against: Rivals { backup: &["zstd"], restore: &["zstd"], verify: &["restic"], ..NOBODY },
        ..ELSE
    },
    Contestant {
        name: "xtask pages",
        prepare: PAGES,
        backup: r#"exec "$XTASK" --root "$PROJECT" --backup-dir "$STORE" --config pages.toml backup"#,
        restore: OWN_RESTORE,
        verify: OWN_VERIFY,
        against: Rivals { backup: &["zstd"], restore: &["zstd"], verify: &["restic"], ..NOBODY },
        ..ELSE
    },
    Contestant {
        name: "xtask again",
        prepare: CHECK_WHOLE,
        backup: r#"exec "$XTASK" --root "$PROJECT" --backup-dir "$STORE" backup"#,
        verify: r#"exec "$XTASK" --root "$PROJECT" --backup-dir "$STORE" verify --from latest"#,
        against: Rivals { verify: &["restic"], ..NOBODY },
        ..ELSE
    },
    Contestant {
        name: "unchecked pages",
        prepare: PAGES,
        backup: r#"exec "$XTASK" --root "$PROJECT" --backup-dir "$STORE" --config pages.toml backup --no-check"#,
        against: Rivals { backup: &["zstd"], ..NOBODY },
        ..ELSE
    },
    Contestant {
        name: "xtask increment",
        prepare: TRACKED,
        restore: OWN_RESTORE,
        again: INCREMENT,
        against: Rivals { again: &["restic"], ..NOBODY },
        ..ELSE
    },
    Contestant {
        name: "xtask compare",
        prepare: TRACKED,
        restore: OWN_RESTORE,
        again: INCREMENT,
        restarts: true,
        against: Rivals { again: &["restic"], ..NOBODY },
        ..ELSE
    },
    Contestant {
        name: "xtask follow",
        prepare: TRACKED,
        restore: OWN_RESTORE,
        follow: Some(Follow { prepare: INCREMENT, stay: FOLLOW }),
        ..ELSE
    },
    Contestant { name: "base, checked before", point: OWN_POINT_1, is_base: true, ..ELSE },
    Contestant { name: "base", point: OWN_POINT_2, is_base: true, ..ELSE },
    Contestant {
        name: "100 increments",
        point: OWN_RESTORE,
        against: Rivals { point: &["base", "base, checked before"], ..NOBODY },
        ..ELSE
    },
];
