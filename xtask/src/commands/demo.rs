use crate::{cli, context::Context, exit::Exit};
pub fn run(_: &Context<'_>, _: &cli::Demo) -> anyhow::Result<Exit> {
    Ok(Exit::Done)
}
