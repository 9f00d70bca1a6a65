//! Whether increments would serve: advice, no fault.

use backup::manifest::{Artifact, Content};

use super::finding::Finding;
use crate::context::Context;

/// Advises increments if they are off and one of the `databases`, which are those in WAL mode, changed between the last two
/// backups.
pub fn examine(context: &Context<'_>, databases: &[String]) -> Option<Finding> {
    if context.config.increments.is_on() || databases.is_empty() {
        return None;
    }
    let mut changed = changed(context)?;
    changed.retain(|name| databases.contains(name));
    if changed.is_empty() {
        return None;
    }
    let detail = format!("off, and {} changes between backups", changed.join(", "));
    let hint = "increments would serve: set `every = \"1m\"` in the settings' [increments], then `install-timer`";
    Some(Finding { hint: Some(hint.into()), ..Finding::ok("increments", detail) })
}

/// Names of the databases whose content differs in the last two backups. None if there are no two that can be read.
fn changed(context: &Context<'_>) -> Option<Vec<String>> {
    let catalog = context.catalog().ok()?;
    let mut entries = catalog.entries().iter().rev().filter(|entry| entry.manifest().is_some());
    let mut next = || entries.next()?.read_manifest(&context.store).ok();
    let (newer, older) = (next()?, next()?);
    let is_other = |artifact: &&Artifact| {
        let mut before = older.artifacts.iter().filter(|other| other.name == artifact.name);
        let is_database = matches!(artifact.content, Content::Database(_));
        is_database && before.any(|other| other.plain_sha256 != artifact.plain_sha256)
    };
    Some(newer.artifacts.iter().filter(is_other).map(|artifact| artifact.name.clone()).collect())
}
