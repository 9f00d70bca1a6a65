//! `take-over`.

use std::path::PathBuf;

use backup::owner::{self, OtherProject};
use backup::{Error, ErrorKind, take_over};
use serde::Serialize;
use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;
use crate::report::Report;
use crate::text::count;

/// What now belongs to this project.
#[derive(Debug)]
pub enum TakeOverSummary {
    /// A person was asked, and said no.
    Refusal,
    /// The backup folder of another project.
    Folder {
        folder: PathBuf,
        project: String,
        /// The other project; `None` if the folder was no other's.
        from: Option<String>,
    },
    /// The backups of one more host.
    Host { host: String, project: String, admitted: usize },
}

pub fn run(context: &Context<'_>, args: &cli::TakeOver) -> anyhow::Result<TakeOverSummary> {
    match &args.host {
        Some(host) => admit(context, host, args.yes),
        None => take_over(context, args.yes),
    }
}

fn take_over(context: &Context<'_>, yes: bool) -> anyhow::Result<TakeOverSummary> {
    let other = take_over::other_project(&context.setup("take-over"))?;
    if let Some(other) = &other
        && !yes
        && !agrees(context, &question(context, other))?
    {
        return Ok(TakeOverSummary::Refusal);
    }
    let from = if other.is_some() { context.take_over()?.map(|other| other.name) } else { None };
    let folder = context.store.folder().to_path_buf();
    Ok(TakeOverSummary::Folder { folder, project: context.project(), from })
}

/// Makes the backups of one more host count.
fn admit(context: &Context<'_>, host: &str, yes: bool) -> anyhow::Result<TakeOverSummary> {
    let project = context.project();
    let question = format!(
        "count the backups of host {host} as those of {project}? They may be restored as the latest, and rotated away"
    );
    let catalog = context.catalog()?;
    let is_there = owner::of_other_hosts(&catalog).any(|other| other == host);
    if is_there && !yes && !agrees(context, &question)? {
        return Ok(TakeOverSummary::Refusal);
    }
    let admitted = take_over::admit(&context.begin("take-over")?, host)?;
    Ok(TakeOverSummary::Host { host: host.into(), project, admitted })
}

fn question(context: &Context<'_>, other: &OtherProject) -> String {
    let (folder, ours, theirs) = (context.store.folder().display(), context.project(), &other.name);
    let backups = if *theirs == ours {
        "Its backups become this one's".to_string()
    } else {
        format!("The backups of {theirs} stay, but they are chosen by their ids alone")
    };
    format!("make {folder} the backup folder of {ours}, and no longer of {theirs}? {backups}")
}

fn agrees(context: &Context<'_>, question: &str) -> backup::Result<bool> {
    context.output.agrees(question).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "there is no terminal to ask on; nothing was changed")
            .with_hint("if that is intended, add --yes")
    })
}

impl Report for TakeOverSummary {
    fn text(&self, output: &Output) {
        output.line(&match self {
            Self::Refusal => "nothing was changed".into(),
            Self::Folder { folder, project, from: Some(other) } => {
                format!("{} now belongs to project {project}; it belonged to {other}", folder.display())
            }
            Self::Folder { folder, .. } => {
                format!("{} doesn't belong to another project: there is nothing to take over", folder.display())
            }
            Self::Host { host, project, admitted } => {
                format!("{} of host {host} now count for {project}", count(*admitted, "backup"))
            }
        });
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        match self {
            // With --json, nobody is asked.
            Self::Refusal => None,
            Self::Folder { project, from, .. } => Some(json!({ "project": project, "from": from })),
            Self::Host { host, project, admitted } => {
                Some(json!({ "project": project, "host": host, "admitted": admitted }))
            }
        }
    }

    fn exit(&self) -> Exit {
        if matches!(self, Self::Refusal) { Exit::Failed } else { Exit::Done }
    }
}
