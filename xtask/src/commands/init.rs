//! `init`: settings for an application that has none yet, made of what is there.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use rustix::fs::OFlags;
use serde_json::json;

use crate::cli::{self, Global};
use crate::config::FILE;
use crate::context::root;
use crate::exit::Exit;
use crate::output::Output;
use crate::step::Step;
use crate::survey::Survey;
use crate::template;
use crate::text::{Tone, size};

/// What git is to ignore: backups, and the logs of a schedule by cron.
const IGNORED: [&str; 2] = ["/backups/", "/logs/"];

pub fn run(global: &Global, output: &Output, args: &cli::Init) -> anyhow::Result<Exit> {
    let given = args.dir.as_deref().or(global.root.as_deref());
    let root = root::named(given.unwrap_or(Path::new(".")))?;
    let settings = root.join(FILE);
    match require_none(&settings) {
        Err(error) if args.dry_run => output.warn(&format!("{error}, and init would leave it as it is")),
        result => result?,
    }
    let survey = Survey::of(&root)?;
    let (databases, text) = template::fill(&survey);
    let mut ignored = to_ignore(&root).context("read .gitignore")?;
    if root.join(".gitignore").is_symlink() && !ignored.is_empty() {
        output.warn(".gitignore is a link, which git doesn't follow: it is left as it is");
        output.hint(&format!("add to a .gitignore of your own: {}", ignored.join(", ")));
        ignored.clear();
    }
    if !args.dry_run {
        write(&settings, &text)?;
        ignore(&root, &ignored).map_err(|e| Error::io("extend", &root.join(".gitignore"), e))?;
    }
    show_found(output, &root, &survey, &databases);
    output.line(&format!("{} {}", if args.dry_run { "would write" } else { "wrote" }, settings.display()));
    if output.is_verbose() {
        text.lines().for_each(|line| output.line(&format!("  {line}")));
    }
    if !ignored.is_empty() {
        let verb = if args.dry_run { "would add" } else { "added" };
        output.line(&format!("{verb} to .gitignore: {}", ignored.join(", ")));
    }
    show_next(output, global, &root, args.dry_run)?;
    let databases = databases.iter().zip(&survey.databases);
    let databases = databases.map(|((name, path), (_, bytes))| json!({ "name": name, "path": path, "bytes": bytes }));
    output.json(&json!({
        "dry_run": args.dry_run,
        "settings": settings.display().to_string(),
        "databases": databases.collect::<Vec<_>>(),
        "files": survey.files,
        "ignored": ignored,
    }))?;
    Ok(Exit::Done)
}

fn require_none(settings: &Path) -> backup::Result<()> {
    match fs::symlink_metadata(settings) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("look at", settings, error)),
        Ok(_) => Err(Error::new(ErrorKind::InvalidInput, format!("{} is there already", settings.display()))
            .with_hint("it is left as it is; to begin anew, move it away")),
    }
}

/// Readable by all, as source is: it holds no secret.
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

/// What `.gitignore` lacks, where there is one or git is used.
fn to_ignore(root: &Path) -> io::Result<Vec<&'static str>> {
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
    // Root would write wherever a link leads.
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

fn show_found(output: &Output, root: &Path, survey: &Survey, databases: &[(String, &backup::RelPath)]) {
    output.line(&format!("in {}:", root.display()));
    for ((name, path), (_, bytes)) in databases.iter().zip(&survey.databases) {
        output.line(&format!("  database  {path}  {}, as {name}", size(*bytes)));
    }
    for path in &survey.files {
        output.line(&format!("  file      {path}"));
    }
    if databases.is_empty() {
        output.warn("no SQLite database was found");
        output.hint(&format!("start the application once, or write its path into {FILE}"));
    }
    if survey.is_cut {
        output.warn("there is more in that folder than was looked at");
        output.hint(&format!("look for other databases, and add them to {FILE}"));
    }
}

fn show_next(output: &Output, global: &Global, root: &Path, dry_run: bool) -> anyhow::Result<()> {
    if dry_run {
        output.line("dry run: nothing was changed");
        return Ok(());
    }
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).context("find the current folder")?;
    let elsewhere = global.root.is_none() && !here.starts_with(root);
    let place: Option<[PathBuf; 2]> = elsewhere.then(|| ["--root".into(), root.to_path_buf()]);
    let place: Vec<String> = place.iter().flatten().map(|word| word.display().to_string()).collect();
    let next = |word: &str| -> Step { output.invocation().command(&[]).and(place.clone()).and([word]) };
    output.done(Tone::Good, &format!("read {FILE} through, then:"));
    output.line(&format!("  {}", next("backup")));
    output.line(&format!(
        "  {}     # every night, with systemd; {} without",
        next("install-timer"),
        next("install-cron")
    ));
    Ok(())
}
