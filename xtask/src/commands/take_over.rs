//! `take-over`.

use backup::owner::{self, OtherProject};
use backup::{Error, ErrorKind};
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::Exit;

pub fn run(context: &Context<'_>, args: &cli::TakeOver) -> anyhow::Result<Exit> {
    let (folder, project) = (context.store.folder().display(), context.project());
    let other = owner::other_project(&context.setup("take-over"))?;
    if let Some(other) = &other
        && !args.yes
        && !agreed(context, other)?
    {
        context.output.line("nothing was changed");
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

fn agreed(context: &Context<'_>, other: &OtherProject) -> anyhow::Result<bool> {
    let (folder, ours, theirs) = (context.store.folder().display(), context.project(), &other.name);
    let backups = if *theirs == ours {
        "Its backups become this one's".to_string()
    } else {
        format!("The backups of {theirs} stay, and only their ids mean them")
    };
    let question = format!("make {folder} the backup folder of {ours}, and no longer of {theirs}? {backups}");
    context.output.agrees(&question).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "there is no terminal to ask on; nothing was changed")
            .with_hint("say --yes if it is meant")
            .into()
    })
}
