//! Installed timers. They are found by the second line of their units, which names the project.

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use crate::context::Context;
use crate::schedule::spec::{default_unit, slug};
use crate::schedule::units::{FOLLOW, Flags, Origin};
use crate::systemd::Scope;
use crate::systemd::manager::Manager;

/// How the names of the drill's units ended in an older version, and how they end now.
const RENAMED: [(&str, &str); 2] = [("-verify.service", "-drill.service"), ("-verify.timer", "-drill.timer")];

/// A unit of an older version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OlderUnit {
    /// Its name.
    pub file: String,
    /// What it is called now.
    pub now: String,
}

/// A schedule that is installed.
#[derive(Debug)]
pub struct Installation {
    /// For whose service manager.
    pub scope: Scope,
    /// What its units were made from.
    pub origin: Origin,
    /// Its units by their present and earlier names, without files of other projects.
    pub files: Vec<String>,
    /// Those of an older version that are still there.
    pub older: Vec<OlderUnit>,
    /// The name of the drill's units, without an ending.
    pub drill: String,
    /// The service that makes increments, if it is there.
    pub follow: Option<String>,
}

impl Installation {
    /// The schedule of this manager whose units were made from `origin`.
    pub fn new(manager: &Manager<'_>, origin: Origin) -> anyhow::Result<Self> {
        let folder = manager.unit_folder()?;
        let older = older(&folder, &origin);
        let is_ours = |file: &String| match read_unit(&folder.join(file)) {
            Ok(text) => Origin::read(&text).is_some_and(|other| other.root == origin.root),
            Err(e) => e.kind() == ErrorKind::NotFound,
        };
        let files = origin.files().chain(names(&origin.unit).map(|unit| unit.file)).filter(is_ours).collect();
        let is_older = older.iter().any(|unit| !belongs(&folder.join(&unit.now), &origin));
        let drill = format!("{}-{}", origin.unit, if is_older { "verify" } else { "drill" });
        let follow = Some(format!("{}{FOLLOW}", origin.unit)).filter(|file| belongs(&folder.join(file), &origin));
        Ok(Self { scope: manager.scope, origin, files, older, drill, follow })
    }

    /// The command that installs it again.
    pub fn again(&self, context: &Context<'_>) -> String {
        let default = slug(context).is_ok_and(|slug| self.origin.unit == default_unit(&slug));
        let unit = (!default).then_some(["--unit", &self.origin.unit]);
        let user = (self.scope == Scope::User).then_some("--user");
        // The other flags are remembered.
        let Flags { config, backup_dir, .. } = self.origin.flags.clone();
        let config = config.filter(|_| context.flags.config.is_none());
        let backup_dir = backup_dir.filter(|_| context.flags.backup_dir.is_none());
        let places = Flags { config, backup_dir, ..Flags::default() }.words();
        context.command(&["install-timer"]).and(user).and(unit.into_iter().flatten()).and(places).to_string()
    }
}

/// Units of an older version in `folder` that belong to a schedule.
pub fn older(folder: &Path, origin: &Origin) -> Vec<OlderUnit> {
    names(&origin.unit).filter(|unit| belongs(&folder.join(&unit.file), origin)).collect()
}

/// Names of a schedule's units in `folder` that the settings don't want any more.
pub fn unwanted(folder: &Path, origin: &Origin, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    origin.files().filter(|file| !is_wanted(file) && belongs(&folder.join(file), origin)).collect()
}

/// Whether the file is a unit of a schedule: for the same project, or for one that is gone.
fn belongs(path: &Path, origin: &Origin) -> bool {
    let other = read_unit(path).ok().and_then(|text| Origin::read(&text));
    other.is_some_and(|other| other.unit == origin.unit && (other.root == origin.root || !other.root.exists()))
}

/// All units of an older version that have another name now.
fn names(unit: &str) -> impl Iterator<Item = OlderUnit> {
    RENAMED.iter().map(move |(old, new)| OlderUnit { file: format!("{unit}{old}"), now: format!("{unit}{new}") })
}

/// The origins of all units of this program for this manager.
pub fn origins(manager: &Manager<'_>) -> anyhow::Result<Vec<Origin>> {
    Ok(origins_in(&manager.unit_folder()?))
}

/// The origins of all units of this program in a folder, as far as they can be read.
pub fn origins_in(folder: &Path) -> Vec<Origin> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| read_unit(&entry.path()).ok());
    let mut origins: Vec<Origin> = texts.filter_map(|text| Origin::read(&text)).collect();
    // Of the units of one schedule, the one with the flags comes first, and stays.
    let key = |origin: &Origin| (origin.unit.clone(), origin.root.clone());
    origins.sort_by_key(|origin| (key(origin), origin.flags == Flags::default()));
    origins.dedup_by_key(|origin| key(origin));
    origins
}

/// Read limit for a unit; ours are smaller.
const MAX_UNIT: u64 = 64 << 10;

/// Reads a unit's text. Root reads folders of other users, who may have put anything there: reading a pipe would block for
/// ever.
pub fn read_unit(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    backup::open_plain(path)?.take(MAX_UNIT).read_to_string(&mut text)?;
    Ok(text)
}
