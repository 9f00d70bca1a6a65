//! Which backup is restored, and what that would do.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup::restore::{self, Plan, Selection};
use backup::{BackupId, Catalog, Error, ErrorKind, Look, RestoreLine};

use super::consent::Consent;
use super::preview::{Preview, show_plan};
use crate::cli;
use crate::context::Context;
use crate::context::apart::resolved;

/// How often a plan is made again because its backup was removed meanwhile.
const TRIES: usize = 10;

/// The plan without the lock. A backup may be removed after the catalog was loaded: then a new catalog is used.
pub fn without_lock(context: &Context<'_>, look: &Look<'_>, args: &cli::Restore) -> anyhow::Result<Plan> {
    let mut catalog = look.catalog()?;
    for _ in 0..TRIES {
        let result = plan(context, look, &catalog, args, None);
        let Err(error) = &result else { return result };
        let kind = error.downcast_ref::<Error>().map(Error::kind);
        if !matches!(kind, Some(ErrorKind::NoSuchBackup | ErrorKind::Damaged)) {
            return result;
        }
        let now = look.catalog()?;
        if ids(&now).eq(ids(&catalog)) {
            return result;
        }
        catalog = now;
    }
    plan(context, look, &catalog, args, None)
}

fn ids(catalog: &Catalog) -> impl Iterator<Item = BackupId> {
    catalog.entries().iter().map(|entry| entry.id)
}

/// The plan under the lock. Other runs may have made a newer backup since, or removed the one in the preview. Another
/// backup is restored only with `--yes`, or where it replaces nothing.
///
/// # Errors
/// That something has changed.
pub fn under_lock(
    context: &Context<'_>,
    look: &Look<'_>,
    args: &cli::Restore,
    preview: &Preview,
    consent: &Consent,
) -> anyhow::Result<Plan> {
    let before = &preview.plan;
    let catalog = look.catalog()?;
    let plan = plan(context, look, &catalog, args, consent.asked.then_some(before.id))?;
    require_something(context, &plan)?;
    let may_be_another = args.yes || !(consent.asked || plan.replaces());
    if plan.id != before.id && may_be_another {
        context.output.note(&format!("meanwhile, {} has taken the place of {}", plan.id, before.id));
        show_plan(context.output, &plan, &[], None);
    } else if plan.id != before.id || !plan.is_as_shown(before) {
        return Err(Error::new(ErrorKind::Io, "what is there has changed since it was shown; nothing was restored")
            .with_hint("run the command again")
            .into());
    }
    Ok(plan)
}

/// What the arguments mean now. A person may have `agreed` to one backup.
fn plan(
    context: &Context<'_>,
    look: &Look<'_>,
    catalog: &Catalog,
    args: &cli::Restore,
    agreed: Option<BackupId>,
) -> anyhow::Result<Plan> {
    let (target, sources) = (target(context, args)?, context.config.sources());
    let plan = if args.undo {
        let id = restore::undo(&*look.ledger()?, &target)?;
        let selection = Selection { unlisted: args.unlisted, ..Selection::ALL };
        restore::plan_undo(look, catalog.get(id)?, &target, selection, &sources)?
    } else {
        let (databases, files) = (!args.config_only, !args.database_only);
        let selection = Selection { databases, files, unlisted: args.unlisted };
        let entry = match agreed {
            Some(id) => catalog.get(id)?,
            None => context.select(look, catalog, args.from.as_deref(), selection)?,
        };
        restore::plan(look, entry, &target, selection, &sources)?
    };
    require_outside_store(&plan, context.store.folder())?;
    Ok(plan)
}

fn target(context: &Context<'_>, args: &cli::Restore) -> anyhow::Result<PathBuf> {
    let target = args.to.as_ref().map_or(Ok(context.root.clone()), std::path::absolute);
    target.context("find the folder to restore to")
}

/// Notes that the last restore went into another folder, if it did: then an undo has to name that folder. The ledger
/// alone doesn't decide where to write, since somebody else may have written it.
pub fn note_restore_elsewhere(context: &Context<'_>) -> anyhow::Result<()> {
    let ledger = context.ledger()?;
    let is_here = |restore: &RestoreLine| resolved(&restore.target) == resolved(&context.root);
    let last = ledger.restores().find(|(_, restore)| restore.kept.is_some() || is_here(restore));
    if let Some((_, restore)) = last.filter(|(_, restore)| !is_here(restore)) {
        let is_unlisted = restore.selection.is_some_and(|selection| selection.unlisted);
        let undo = context.undo(&restore.target, is_unlisted);
        context.output.note(&format!("the last restore went into {}; to undo that: {undo}", restore.target.display()));
    }
    Ok(())
}

/// Refuses to restore into the backup folder: the files would be taken for backups, or replace some.
fn require_outside_store(plan: &Plan, store: &Path) -> backup::Result<()> {
    let (store, target) = (resolved(store), resolved(&plan.target));
    match plan.items.iter().find(|item| resolved(&target.join(item.path.as_str())).starts_with(&store)) {
        None => Ok(()),
        Some(item) => {
            let message = format!("{} would be written into the backup folder {}", item.path, store.display());
            Err(Error::new(ErrorKind::InvalidInput, message).with_hint("name a folder outside of it: --to DIR"))
        }
    }
}

/// Refuses a restore that leaves out everything: it would change nothing, and seem to have worked.
pub fn require_something(context: &Context<'_>, plan: &Plan) -> backup::Result<()> {
    if !plan.items.is_empty() {
        return Ok(());
    }
    let message = format!("backup {} holds nothing that may be restored here", plan.id);
    let list = context.command(&["list"]);
    Err(Error::new(ErrorKind::NoSuchBackup, message)
        .with_hint(format!("name its paths in the settings, or see {list}")))
}
