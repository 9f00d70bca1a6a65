//! `config show`: which settings count, where they are read from, and who decides by them.

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;

use crate::config::Config;
use crate::context::Context;
use crate::output::Output;
use crate::report::Report;
use crate::user::writers;

/// The settings that count.
#[derive(Debug)]
pub struct ConfigSummary {
    root: String,
    /// Where they are read from; none if they are the defaults.
    file: Option<String>,
    backup_folder: String,
    /// Who besides root can write the settings file.
    writer: Option<String>,
    settings: toml::Table,
    /// The same as TOML.
    text: String,
}

pub fn show(context: &Context<'_>) -> anyhow::Result<ConfigSummary> {
    let settings = Config::table(context.settings.as_deref())?;
    Ok(ConfigSummary {
        root: context.root.display().to_string(),
        file: context.settings.as_ref().map(|path| path.display().to_string()),
        backup_folder: context.store.folder().display().to_string(),
        writer: writers::outsider(&context.settings_file())?.map(|outsider| outsider.name),
        text: toml::to_string(&settings).context("show the settings")?,
        settings,
    })
}

impl Report for ConfigSummary {
    fn text(&self, output: &Output) {
        let followed = match &self.writer {
            None => "all of them: only root can write them".into(),
            Some(who) => format!("all but run_as and stop_unit, since {who} can write them"),
        };
        output.line(&format!("application     {}", self.root));
        output.line(&format!("settings        {}", self.file.as_deref().unwrap_or("none: the defaults")));
        output.line(&format!("backup folder   {}", self.backup_folder));
        output.line(&format!("root follows    {followed}"));
        output.line("");
        self.text.lines().for_each(|line| output.line(line));
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(json!({
            "root": self.root,
            "settings_file": self.file,
            "backup_folder": self.backup_folder,
            "writer": self.writer,
            "settings": self.settings,
        }))
    }
}
