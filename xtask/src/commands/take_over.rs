//! `take-over`.

use backup::owner::{self, OtherProject};
use backup::take_over;
use backup::{Error, ErrorKind};
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::text::count;

pub fn run(context: &Context<'_>, args: &cli::TakeOver) -> anyhow::Result<Exit> {
    match &args.host {
        Some(host) => admit(context, host, args.yes),
        None => take_over(context, args.yes),
    }
}

fn take_over(context: &Context<'_>, yes: bool) -> anyhow::Result<Exit> {
    let (folder, project) = (context.store.folder().display(), context.project());
    let other = take_over::other_project(&context.setup("take-over"))?;
    if let Some(other) = &other
        && !yes
        && !agrees(context, &question(context, other))?
    {
        return Ok(Exit::Failed);
    }
    let from = if other.is_some() { context.take_over()?.map(|other| other.name) } else { None };
    context.output.line(&match &from {
        Some(other) => format!("{folder} is now of project {project}; it was of {other}"),
        None => format!("{folder} is no other project's: there is nothing to take over"),
    });
    context.output.json(&json!({ "project": project, "from": from }))?;
    Ok(Exit::Done)
}

/// Makes the backups of one more host count.
fn admit(context: &Context<'_>, host: &str, yes: bool) -> anyhow::Result<Exit> {
    let project = context.project();
    let question = format!(
        "count the backups of host {host} as those of {project}? They may be restored as the latest, and rotated away"
    );
    let catalog = context.catalog()?;
    let is_there = owner::of_other_hosts(&catalog).any(|other| other == host);
    if is_there && !yes && !agrees(context, &question)? {
        return Ok(Exit::Failed);
    }
    let admitted = take_over::admit(&context.begin("take-over")?, host)?;
    context.output.line(&format!("{} of host {host} now count for {project}", count(admitted, "backup")));
    context.output.json(&json!({ "project": project, "host": host, "admitted": admitted }))?;
    Ok(Exit::Done)
}

fn question(context: &Context<'_>, other: &OtherProject) -> String {
    let (folder, ours, theirs) = (context.store.folder().display(), context.project(), &other.name);
    let backups = if *theirs == ours {
        "Its backups become this one's".to_string()
    } else {
        format!("The backups of {theirs} stay, and only their ids mean them")
    };
    format!("make {folder} the backup folder of {ours}, and no longer of {theirs}? {backups}")
}

fn agrees(context: &Context<'_>, question: &str) -> anyhow::Result<bool> {
    let agreed = context.output.agrees(question).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "there is no terminal to ask on; nothing was changed")
            .with_hint("say --yes if it is meant")
    })?;
    if !agreed {
        context.output.line("nothing was changed");
    }
    Ok(agreed)
}
