//! `init`: writes the first settings of an application, for the databases and files that are found.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup::{Error, ErrorKind, RelPath};
use rustix::fs::OFlags;
use serde::Serialize;
use serde_json::json;

use crate::cli::{self, Global};
use crate::config::FILE;
use crate::context::root;
use crate::output::Output;
use crate::report::Report;
use crate::survey::Survey;
use crate::template;
use crate::text::{Tone, size};

/// What git has to ignore: backups, and the logs of cron's runs.
const IGNORED: [&str; 2] = ["/backups/", "/logs/"];

/// Settings that were written, or would be.
#[derive(Debug)]
pub struct InitSummary {
    dry_run: bool,
    root: PathBuf,
    settings: PathBuf,
    text: String,
    databases: Vec<FoundDatabase>,
    files: Vec<RelPath>,
    /// Whether the folder holds more than was searched.
    is_cut: bool,
    /// What was added to `.gitignore`, or would be.
    ignored: Vec<&'static str>,
    /// Whether commands have to name the root, since the current folder isn't in it.
    elsewhere: bool,
}

/// A database that was found.
#[derive(Debug, Serialize)]
struct FoundDatabase {
    bytes: u64,
    name: String,
    path: RelPath,
}

pub fn run(global: &Global, output: &Output, args: &cli::Init) -> anyhow::Result<InitSummary> {
    let given = args.dir.as_deref().or(global.root.as_deref());
    let root = root::named(given.unwrap_or(Path::new(".")))?;
    let settings = root.join(FILE);
    match require_none(&settings) {
        Err(error) if args.dry_run => output.warn(&format!("{error}, and init would leave it as it is")),
        result => result?,
    }
    let survey = Survey::of(&root)?;
    let (names, text) = template::fill(&survey);
    let names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    let ignored = to_ignore(output, &root)?;
    let elsewhere = global.root.is_none() && !is_here(&root)?;
    if !args.dry_run {
        write(&settings, &text)?;
        ignore(&root, &ignored).map_err(|e| Error::io("extend", &root.join(".gitignore"), e))?;
    }
    let databases = names.into_iter().zip(survey.databases);
    let databases = databases.map(|(name, (path, bytes))| FoundDatabase { bytes, name, path }).collect();
    let (files, is_cut) = (survey.files, survey.is_cut);
    Ok(InitSummary { dry_run: args.dry_run, root, settings, text, databases, files, is_cut, ignored, elsewhere })
}

fn is_here(root: &Path) -> anyhow::Result<bool> {
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).context("find the current folder")?;
    Ok(here.starts_with(root))
}

fn require_none(settings: &Path) -> backup::Result<()> {
    match fs::symlink_metadata(settings) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("inspect", settings, error)),
        Ok(_) => Err(Error::new(ErrorKind::InvalidInput, format!("{} is there already", settings.display()))
            .with_hint("it is left as it is; to begin anew, move it away")),
    }
}

/// Writes the settings, readable by all like source code: they hold no secret.
fn write(settings: &Path, text: &str) -> backup::Result<()> {
    let folder = settings.parent().unwrap_or(settings);
    let make = |folder: &Path| {
        let is_new = !folder.exists();
        fs::create_dir_all(folder)?;
        if is_new { fs::set_permissions(folder, Permissions::from_mode(0o755)) } else { Ok(()) }
    };
    make(folder).map_err(|e| Error::io("create", folder, e))?;
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(settings)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| Error::io("create", settings, e))
}

/// What is to be added to `.gitignore`.
fn to_ignore(output: &Output, root: &Path) -> anyhow::Result<Vec<&'static str>> {
    let lacking = lacking(root).context("read .gitignore")?;
    if lacking.is_empty() || !root.join(".gitignore").is_symlink() {
        return Ok(lacking);
    }
    output.warn(".gitignore is a link, which git doesn't follow: it is left as it is");
    output.hint(&format!("add to a .gitignore of your own: {}", lacking.join(", ")));
    Ok(Vec::new())
}

/// What `.gitignore` lacks, if there is one or git is used.
fn lacking(root: &Path) -> io::Result<Vec<&'static str>> {
    let text = match backup::open_plain(&root.join(".gitignore")).and_then(io::read_to_string) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(e),
    };
    let is_used = !text.is_empty() || root.ancestors().any(|folder| folder.join(".git").exists());
    let has = |name: &str| text.lines().any(|line| line.trim().trim_matches('/') == name.trim_matches('/'));
    Ok(IGNORED.into_iter().filter(|name| is_used && !has(name)).collect())
}

fn ignore(root: &Path, names: &[&str]) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let path = root.join(".gitignore");
    // As root, this must not write wherever a link leads.
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().read(true).append(true).create(true).custom_flags(no_link).open(&path)?;
    let mut before = String::new();
    file.read_to_string(&mut before)?;
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    if before.is_empty() {
        file.set_permissions(Permissions::from_mode(0o644))?;
    }
    file.write_all(format!("{gap}{}\n", names.join("\n")).as_bytes())
}

impl Report for InitSummary {
    fn text(&self, output: &Output) {
        self.show_found(output);
        output.line(&format!("{} {}", if self.dry_run { "would write" } else { "wrote" }, self.settings.display()));
        if output.is_verbose() {
            self.text.lines().for_each(|line| output.line(&format!("  {line}")));
        }
        if !self.ignored.is_empty() {
            let verb = if self.dry_run { "would add" } else { "added" };
            output.line(&format!("{verb} to .gitignore: {}", self.ignored.join(", ")));
        }
        if self.dry_run {
            output.line("dry run: nothing was changed");
        } else {
            self.show_next(output);
        }
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(json!({
            "dry_run": self.dry_run,
            "settings": self.settings.display().to_string(),
            "databases": self.databases,
            "files": self.files,
            "ignored": self.ignored,
        }))
    }
}

impl InitSummary {
    fn show_found(&self, output: &Output) {
        output.line(&format!("in {}:", self.root.display()));
        for FoundDatabase { bytes, name, path } in &self.databases {
            output.line(&format!("  database  {path}  {}, as {name}", size(*bytes)));
        }
        for path in &self.files {
            output.line(&format!("  file      {path}"));
        }
        if self.databases.is_empty() {
            output.warn("no SQLite database was found");
            output.hint(&format!("start the application once, or write its path into {FILE}"));
        }
        if self.is_cut {
            output.warn("that folder holds more than was searched");
            output.hint(&format!("look for other databases, and add them to {FILE}"));
        }
    }

    fn show_next(&self, output: &Output) {
        let place = self.elsewhere.then(|| ["--root".to_string(), self.root.display().to_string()]);
        let next = |word: &str| output.invocation().command(&[]).and(place.iter().flatten().cloned()).and([word]);
        output.done(Tone::Good, &format!("read {FILE} through, then:"));
        output.line(&format!("  {}", next("backup")));
        let (timer, cron) = (next("install-timer"), next("install-cron"));
        output.line(&format!("  {timer}     # every night, with systemd; {cron} without"));
        if !self.databases.is_empty() {
            output.line("with `every` set in [increments], at most a minute is lost, not a day");
        }
    }
}
