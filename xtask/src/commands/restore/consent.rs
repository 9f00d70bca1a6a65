//! Whether a restore may go on: flags say so, or a person is asked.

use backup::{Error, ErrorKind};

use super::preview::Preview;
use crate::cli;
use crate::context::Context;

/// What may be done.
#[derive(Debug)]
pub struct Consent {
    /// Whether a person agreed to the preview, and so to nothing else.
    pub asked: bool,
    /// Whether what is replaced is kept.
    pub keeps: bool,
}

/// Asks for consent, unless the flags give it or nothing is replaced. `None` if a person said no.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if there is no terminal to ask on, or the project's name is wrong.
pub fn ask(context: &Context<'_>, args: &cli::Restore, preview: &Preview) -> anyhow::Result<Option<Consent>> {
    let keeps = args.no_keep.is_none();
    match args.no_keep.as_deref() {
        // Typing the name is more than a yes.
        Some("") => {
            confirm_not_to_keep(context, args.yes)?;
            return Ok(Some(Consent { asked: true, keeps }));
        }
        Some(name) => require_name(context, name)?,
        None => {}
    }
    if args.yes || !(preview.plan.replaces() || preview.stops.is_some()) {
        return Ok(Some(Consent { asked: false, keeps }));
    }
    Ok(agrees(context, preview.stops.as_deref(), keeps)?.then_some(Consent { asked: true, keeps }))
}

fn agrees(context: &Context<'_>, stops: Option<&str>, keeps: bool) -> backup::Result<bool> {
    let stop = stops.map(|unit| format!("stop {unit} and ")).unwrap_or_default();
    let kept =
        if keeps { "It is kept, and `restore --undo` puts it back" } else { "It is not kept: nothing puts it back" };
    context.output.agrees(&format!("{stop}replace what is there? {kept}")).ok_or_else(|| {
        let message = "this restore replaces files, and there is no terminal to ask on; nothing was changed";
        Error::new(ErrorKind::InvalidInput, message).with_hint("preview it with --dry-run, then repeat with --yes")
    })
}

fn confirm_not_to_keep(context: &Context<'_>, is_agreed: bool) -> backup::Result<()> {
    let project = context.project();
    let question = format!(
        "what is replaced is not kept, and nothing puts it back. To go on, type the project's name, {project}:"
    );
    if let Some(name) = context.output.ask(&question) {
        return require_name(context, &name);
    }
    let message = "with --no-keep nothing can be undone, and there is no terminal to ask on; nothing was changed";
    let yes = if is_agreed { "" } else { "--yes " };
    Err(Error::new(ErrorKind::InvalidInput, message)
        .with_hint(format!("if that is intended, add {yes}--no-keep={project}")))
}

fn require_name(context: &Context<'_>, name: &str) -> backup::Result<()> {
    let project = context.project();
    if name == project {
        return Ok(());
    }
    let message = format!("{name:?} is not this project's name; nothing was changed");
    Err(Error::new(ErrorKind::InvalidInput, message).with_hint(format!("it is {project}")))
}
