//! Checks of the sources: databases and configuration files.

use std::path::Path;

use backup::inspect::{self, Inspection};

use super::finding::Finding;
use super::increments;
use crate::config::Files;
use crate::context::Context;
use crate::text::{count, size};

/// A smaller WAL is no problem, however small its database is.
const LARGE_WAL: u64 = 64 << 20;

pub fn examine(context: &Context<'_>, deep: bool) -> Vec<Finding> {
    let (mut findings, mut in_wal_mode) = (Vec::new(), Vec::new());
    for database in &context.config.database {
        let path = database.path.under(&context.root);
        let name = format!("database {}", database.name);
        match inspect::inspect(&path, context.config.busy_timeout) {
            Err(error) => findings.push(Finding::error(&name, &error.into())),
            Ok(found) => {
                findings.extend([opens(&name, &found), wal(&name, &found), library(&name, &found)]);
                findings.extend(deep.then(|| integrity(context, &name, &path)));
                in_wal_mode.extend((found.journal_mode == "wal").then(|| database.name.clone()));
            }
        }
    }
    findings.extend(context.config.files.iter().map(|set| files(context, set)));
    findings.extend(increments::examine(context, &in_wal_mode));
    findings
}

fn opens(name: &str, found: &Inspection) -> Finding {
    let Inspection { journal_mode, page_size, bytes, .. } = found;
    Finding::ok(name, format!("opens: {}, {journal_mode} mode, pages of {page_size} bytes", size(*bytes)))
}

fn wal(name: &str, found: &Inspection) -> Finding {
    let check = format!("{name}: WAL");
    let detail = if found.wal_bytes == 0 { "none, or empty".into() } else { size(found.wal_bytes).to_string() };
    if found.wal_bytes < LARGE_WAL || found.wal_bytes < found.bytes.saturating_mul(2) {
        return Finding::ok(&check, detail);
    }
    let detail = format!("{detail}, far larger than the database ({})", size(found.bytes));
    Finding::warning(
        &check,
        detail,
        "something prevents checkpoints, such as a reader that never ends; end it, then: PRAGMA wal_checkpoint(TRUNCATE)",
    )
}

fn library(name: &str, found: &Inspection) -> Finding {
    let check = format!("{name}: SQLite");
    match found.written_by {
        None => Finding::ok(&check, "unknown which version wrote it last"),
        Some(version) if version.has_wal_reset_bug() && found.journal_mode == "wal" => Finding::warning(
            &check,
            format!("written last by SQLite {version}, which has the WAL-reset bug and can lose data"),
            "update the application's SQLite to 3.51.3 or newer: https://www.sqlite.org/wal.html",
        ),
        Some(version) => Finding::ok(&check, format!("written last by SQLite {version}")),
    }
}

fn integrity(context: &Context<'_>, name: &str, path: &Path) -> Finding {
    let check = format!("{name}: integrity");
    match inspect::check_integrity(path, context.config.busy_timeout, context.progress()) {
        Err(error) => Finding::error(&check, &error.into()),
        Ok(found) if found.is_empty() => Finding::ok(&check, "integrity_check finds nothing wrong"),
        Ok(found) => Finding::failure(
            &check,
            format!("integrity_check: {}", found.join("; ")),
            "stop the application; `restore --from latest --dry-run` shows what would come back",
        ),
    }
}

fn files(context: &Context<'_>, set: &Files) -> Finding {
    let check = format!("files {}", set.name);
    let opened = set.paths.iter().map(|path| (path, backup::open_plain(&path.under(&context.root))));
    let failed: Vec<(String, std::io::Error)> =
        opened.filter_map(|(path, file)| Some((path.to_string(), file.err()?))).collect();
    if failed.is_empty() {
        return Finding::ok(&check, format!("{} to be read", count(set.paths.len(), "file")));
    }
    let denied = failed.iter().all(|(_, error)| error.kind() == std::io::ErrorKind::PermissionDenied);
    let failed: Vec<String> = failed.iter().map(|(path, error)| format!("{path} can't be read ({error})")).collect();
    let hint = "put them back, or take them out of `paths` in the settings: without one that an earlier backup holds, a \
                backup is partial";
    Finding { denied, ..Finding::warning(&check, failed.join("; "), hint) }
}
