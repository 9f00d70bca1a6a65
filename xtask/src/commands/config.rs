//! `config show`: which settings count, where they are read from, and who decides by them.

use anyhow::Context as _;
use serde_json::json;

use crate::config::Config;
use crate::context::Context;
use crate::exit::Exit;
use crate::user::writers;

pub fn show(context: &Context<'_>) -> anyhow::Result<Exit> {
    let settings = Config::table(context.settings.as_deref())?;
    let writer = writers::outsider(&context.settings_file())?.map(|outsider| outsider.name);
    let (root, folder) = (context.root.display().to_string(), context.store.folder().display().to_string());
    let file = context.settings.as_ref().map(|path| path.display().to_string());
    let followed = match &writer {
        None => "all of them: only root can write them".into(),
        Some(who) => format!("no run_as and no stop_unit of them: {who} can write them"),
    };
    context.output.line(&format!("application     {root}"));
    context.output.line(&format!("settings        {}", file.as_deref().unwrap_or("none: the defaults")));
    context.output.line(&format!("backup folder   {folder}"));
    context.output.line(&format!("root follows    {followed}"));
    context.output.line("");
    toml::to_string(&settings).context("show the settings")?.lines().for_each(|line| context.output.line(line));
    context.output.json(&json!({
        "root": root,
        "settings_file": file,
        "backup_folder": folder,
        "writer": writer,
        "settings": settings,
    }))?;
    Ok(Exit::Done)
}
