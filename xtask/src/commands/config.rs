//! `config show`: which settings count, where they are read from, and who decides by them.

use anyhow::Context as _;
use backup::Error;
use serde_json::json;
use toml::{Table, Value};

use crate::config::{FILE, SHOWN};
use crate::context::Context;
use crate::exit::Exit;
use crate::writers;

pub fn show(context: &Context<'_>) -> anyhow::Result<Exit> {
    let text = match &context.settings {
        Some(path) => std::fs::read_to_string(path).map_err(|e| Error::io("read the settings", path, e))?,
        None => String::new(),
    };
    let settings = merged(&text)?;
    let followed = followed_by_root(context)?;
    let (root, folder) = (context.root.display().to_string(), context.store.folder().display().to_string());
    let file = context.settings.as_ref().map(|path| path.display().to_string());
    context.output.line(&format!("application     {root}"));
    context.output.line(&format!("settings        {}", file.as_deref().unwrap_or("none: the defaults")));
    context.output.line(&format!("backup folder   {folder}"));
    context.output.line(&format!(
        "root follows    {}",
        match &followed {
            None => "all of them: only root can write them".into(),
            Some(who) => format!("no run_as and no stop_unit of them: {who} can write them"),
        }
    ));
    context.output.line("");
    toml::to_string(&settings).context("show the settings")?.lines().for_each(|line| context.output.line(line));
    context.output.json(&json!({
        "root": root,
        "settings_file": file,
        "backup_folder": folder,
        "writer": followed,
        "settings": settings,
    }))?;
    Ok(Exit::Done)
}

/// Who but root can write the settings, or make them where there are none; none if nobody can.
fn followed_by_root(context: &Context<'_>) -> anyhow::Result<Option<String>> {
    let path = context.settings.clone().unwrap_or_else(|| context.root.join(FILE));
    Ok(match writers::besides_root(&path) {
        Ok(writer) => writer.map(|writer| writer.name()),
        Err(error) if error.kind() == backup::ErrorKind::PermissionDenied => Some("a group, or everybody,".into()),
        Err(error) => return Err(error.into()),
    })
}

/// What the settings file says, and the defaults of all that it leaves out.
fn merged(text: &str) -> anyhow::Result<Table> {
    let mut settings: Table = toml::from_str(SHOWN).context("read the defaults")?;
    let own: Table = toml::from_str(text).context("read the settings")?;
    for (name, value) in own {
        match (settings.get_mut(&name), value) {
            (Some(Value::Table(section)), Value::Table(own)) => {
                if name == "retention" {
                    // One that is there names every rule, but for what keeps a backup from before a collapse.
                    section.retain(|_, rule| !rule.is_integer());
                }
                section.extend(own);
            }
            (_, value) => drop(settings.insert(name, value)),
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_shown_means_what_was_read() {
        for text in [
            "",
            "[retention]\nkeep_last = 3\n",
            "backup_dir = '/srv/b'\n[codec]\nname = 'zstd'\n[drill]\ncommand = ['a b', 'c']\n",
            "database = []\n[[files]]\nname = 'x'\npaths = ['y']\n[status]\nmax_age = '2d'\n",
        ] {
            let shown = toml::to_string(&merged(text).unwrap()).unwrap();
            assert_eq!(Config::parse(&shown, "").unwrap(), Config::parse(text, "").unwrap(), "{text}: {shown}");
        }
    }
}
