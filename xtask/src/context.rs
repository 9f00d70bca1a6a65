//! What a command needs, built once: the root, the settings, the store, the clock, the printer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use backup::owner::OtherProject;
use backup::restore::{self, RestoredPlace, Selection};
use backup::status::{self, Status, StatusInputs};
use backup::{
    BackupId, Catalog, Entry, Error, ErrorKind, FolderStore, Ledger, LocalStore as _, Look, Progress, RelPath,
    RestoreLine, Run, Selector, Session, Setup, seconds_since, take_over,
};
use chrono::{DateTime, FixedOffset, Local};

use crate::apart;
use crate::bars::Bars;
use crate::cli::Global;
use crate::config::{Config, FILE};
use crate::exit::Signals;
use crate::output::Output;
use crate::privilege;
use crate::root;
use crate::schedule::steps::Step;
use crate::text::{age, local, size};
use crate::words;

/// The schedule drills once a week: two of these in a row went wrong, or were not made.
const MAX_DRILL_AGE: Duration = Duration::from_secs(15 * 24 * 60 * 60);

/// Of more backups that were passed over, only the newest are named.
const MOST_PASSED_OVER: usize = 3;

/// What a command needs.
pub struct Context<'a> {
    /// The application's folder, absolute.
    pub root: PathBuf,
    /// The settings, with the flags over them.
    pub config: Config,
    /// The file they were read from, absolute; none if they are the defaults.
    pub settings: Option<PathBuf>,
    /// Flags that say where things are.
    pub given: Given,
    /// Where backups live.
    pub store: FolderStore,
    /// When the command was given, in local time.
    pub now: DateTime<FixedOffset>,
    /// The only printer.
    pub output: &'a Output,
    bars: Bars,
    scratch: Option<PathBuf>,
}

/// Flags that say where things are, absolute.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--backup-dir`.
    pub backup_dir: Option<PathBuf>,
}

impl<'a> Context<'a> {
    /// Finds the root and the settings.
    pub fn new(global: &Global, output: &'a Output) -> anyhow::Result<Self> {
        let (context, broken) = Self::despite_settings(global, output)?;
        broken.map_or(Ok(context), |error| Err(error.into()))
    }

    /// The same for commands that can do without the settings: with the defaults, and what is wrong with the settings.
    pub fn despite_settings(global: &Global, output: &'a Output) -> anyhow::Result<(Self, Option<Error>)> {
        let root = root::find(global.root.as_deref())?;
        let (mut config, broken) = match Config::load(&root, global.config.as_deref()) {
            Ok(config) => (config, None),
            Err(error) => (Config::default(), Some(error)),
        };
        config.lock_wait = global.lock_wait.unwrap_or(config.lock_wait);
        config.busy_timeout = global.busy_timeout.unwrap_or(config.busy_timeout);
        // A flag is relative to where it is typed, a setting to the root.
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        let given = Given {
            config: absolute(&global.config).context("find the settings")?,
            backup_dir: absolute(&global.backup_dir).context("find the backup folder")?,
        };
        if let Some(scratch) = global.scratch.as_deref().filter(|scratch| !scratch.is_dir()) {
            let message = format!("the scratch folder {} doesn't exist", scratch.display());
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("make it, or name another with --scratch")
                .into());
        }
        let settings = Config::path(&root, given.config.as_deref());
        let folder = given.backup_dir.clone().unwrap_or_else(|| root.join(&config.backup_dir));
        let broken = broken.or_else(|| apart::require(&folder, &root, &config, settings.as_deref()).err());
        let context = Self {
            settings,
            store: FolderStore::new(folder),
            given,
            root,
            config,
            now: Local::now().fixed_offset(),
            output,
            bars: output.bars(),
            scratch: global.scratch.clone(),
        };
        privilege::warn_of_store(context.store.folder(), output);
        Ok((context, broken))
    }

    /// The settings file, or where it would be.
    pub fn settings_file(&self) -> PathBuf {
        self.settings.clone().unwrap_or_else(|| self.root.join(FILE))
    }

    /// A command of this program's for this project, as a person would type it.
    pub fn command(&self, words: &[&str]) -> Step {
        self.output.invocation().command(words)
    }

    /// Begins a run that makes something, in a store that may not exist yet. `command` is what others who wait for the
    /// lock will read.
    pub fn begin(&self, command: &str) -> anyhow::Result<Run<'_>> {
        Signals::catch().context("catch signals")?;
        let run = Run::begin(self.setup(command), &mut |holder| self.waiting(holder))?;
        self.remove_leftovers(&run);
        Ok(run)
    }

    /// Begins a run on a store that has to hold something.
    pub fn begin_on_existing(&self, command: &str) -> anyhow::Result<Run<'_>> {
        self.catalog()?.require_any()?;
        self.begin(command)
    }

    /// Begins a run that only proves something, on a store that may be read-only.
    pub fn begin_session(&self, command: &str) -> anyhow::Result<Session<'_>> {
        self.catalog()?.require_any()?;
        Signals::catch().context("catch signals")?;
        let session = Session::begin(self.setup(command), &mut |holder| self.waiting(holder))?;
        match session.run() {
            Some(run) => self.remove_leftovers(run),
            None => self.output.warn("the backup folder can't be written: the ledger will not know of this run"),
        }
        Ok(session)
    }

    /// A run that only looks.
    pub fn look(&self) -> anyhow::Result<Look<'_>> {
        Ok(Look::new(self.setup("look"))?)
    }

    /// Makes the backup folder of another project this one's. Gives that project; none if it is this one's.
    pub fn take_over(&self) -> anyhow::Result<Option<OtherProject>> {
        Signals::catch().context("catch signals")?;
        Ok(take_over::take_over(self.setup("take-over"), &mut |holder| self.waiting(holder))?)
    }

    /// What the library takes from its caller.
    pub fn setup(&self, command: &str) -> Setup<'_> {
        Setup {
            store: &self.store,
            from: None,
            progress: &self.bars,
            now: self.now,
            project: self.project(),
            root: self.root.clone(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            version: env!("CARGO_PKG_VERSION").into(),
            command: command.into(),
            lock_wait: self.config.lock_wait,
            busy_timeout: self.config.busy_timeout,
            max_foreign: self.config.max_foreign_mb.saturating_mul(1_000_000),
            scratch: self.scratch.clone(),
            temp: std::env::temp_dir(),
        }
    }

    fn waiting(&self, holder: &str) {
        self.output.note(&format!("waiting for {holder}"));
    }

    /// The project's name.
    pub fn project(&self) -> String {
        match self.config.project.as_str() {
            "" => self.root.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            name => name.into(),
        }
    }

    /// What shows how long work goes on, and hears the wish to stop it.
    pub fn progress(&self) -> &dyn Progress {
        &self.bars
    }

    /// All backups.
    pub fn catalog(&self) -> anyhow::Result<Arc<Catalog>> {
        Ok(self.look()?.catalog()?)
    }

    /// The ledger.
    pub fn ledger(&self) -> anyhow::Result<Arc<Ledger>> {
        Ok(self.look()?.ledger()?)
    }

    /// The backup that `--from` means; the newest one without it. It holds everything that is configured and asked for.
    /// Warns of newer ones that don't do.
    pub fn select<'c>(
        &self,
        look: &Look<'_>,
        catalog: &'c Catalog,
        from: Option<&str>,
        asked: Selection,
    ) -> anyhow::Result<&'c Entry> {
        let sources = self.config.sources();
        let databases = sources.databases.iter().map(|database| &database.name).filter(|_| asked.databases);
        let files = sources.files.iter().map(|files| &files.name).filter(|_| asked.files);
        self.select_with(look, catalog, from, &databases.chain(files).cloned().collect::<Vec<_>>())
    }

    /// The newest backup that holds everything that is configured, or else the newest that holds anything. If all of them are
    /// known to be bad, the newest is worth another try.
    pub fn select_to_prove<'c>(&self, look: &Look<'_>, catalog: &'c Catalog) -> anyhow::Result<&'c Entry> {
        self.select(look, catalog, None, Selection::ALL).or_else(|error| match kind(&error) {
            Some(ErrorKind::NoSuchBackup) => {
                self.select_with(look, catalog, None, &[]).or_else(|_| catalog.newest().ok_or(error))
            }
            _ => Err(error),
        })
    }

    fn select_with<'c>(
        &self,
        look: &Look<'_>,
        catalog: &'c Catalog,
        from: Option<&str>,
        names: &[String],
    ) -> anyhow::Result<&'c Entry> {
        let now = self.now.with_timezone(&Local);
        let selector = from.map_or(Ok(Selector::Latest), |text| Selector::parse(text, &now))?;
        let ledger = look.ledger().unwrap_or_else(|error| {
            self.output.warn(&format!("which backups were found damaged is not known: {}", error.one_line()));
            Arc::default()
        });
        let selected = catalog.select(&selector, names, &ledger)?;
        for other in selected.passed_over.iter().take(MOST_PASSED_OVER) {
            self.output.warn(&format!("{}: this is about {}", words::passed_over(other), selected.entry.id));
        }
        Ok(selected.entry)
    }

    /// How things stand.
    pub fn status(&self, catalog: &Catalog, ledger: &Ledger) -> Status {
        status::status(&StatusInputs {
            catalog,
            ledger,
            sources: &self.config.sources(),
            root: &self.root,
            now: self.now,
            max_age: self.config.status.max_age,
            max_drill_age: MAX_DRILL_AGE,
            // A folder that doesn't exist yet has the space of the one it will be in; one that can't be asked has none
            // known.
            free_bytes: self.store.free_bytes().ok().flatten(),
            locked_since: self.store.locked_since().ok().flatten(),
        })
    }

    /// How long ago that was, as people say it.
    pub fn age_of(&self, at: DateTime<FixedOffset>) -> String {
        age(seconds_since(at, self.now))
    }

    /// Makes sure that a backup folder that was named is there: a slip of the hand, or a disk that isn't mounted, is no
    /// store without backups.
    pub fn require_named_folder(&self) -> anyhow::Result<()> {
        let is_named = self.given.backup_dir.is_some() || self.config.backup_dir != Config::default().backup_dir;
        if !is_named || self.store.folder().symlink_metadata().is_ok() {
            return Ok(());
        }
        let message = format!("the backup folder {} doesn't exist", self.store.folder().display());
        let hint = "check its name, and that its disk is mounted; the first `backup` makes it";
        Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint).into())
    }

    /// Files that a restore which was cut short has left in the root, in words. The next run that may write removes them.
    pub fn leftovers(&self, ledger: &Ledger) -> Option<String> {
        self.left_at(&self.places(ledger))
    }

    fn left_at(&self, places: &[RestoredPlace]) -> Option<String> {
        let left = restore::leftovers(places);
        // A run that goes on may be a restore, which still needs them.
        if left.is_empty() || self.store.lock_holder().is_ok_and(|holder| holder.is_some()) {
            return None;
        }
        let names: Vec<String> =
            left.iter().map(|(path, bytes)| format!("{} ({})", path.display(), size(*bytes))).collect();
        Some(format!("a restore was cut short and left {}", names.join(", ")))
    }

    /// A file that can't be removed doesn't keep the run from its work.
    fn remove_leftovers(&self, run: &Run<'_>) {
        let ledger = self.ledger().unwrap_or_default();
        if let Err(error) = restore::remove_leftovers(run, &self.places(&ledger)) {
            self.output.warn(&format!("what a restore left stays: {}", error.one_line()));
        }
    }

    /// Where a restore into the root may have left decoded files: beside everything that is configured, and beside what the
    /// last restore was to write.
    fn places(&self, ledger: &Ledger) -> Vec<RestoredPlace> {
        let databases = self.config.database.iter().map(|database| &database.path);
        let paths = databases.chain(self.config.files.iter().flat_map(|files| &files.paths));
        let mut places: Vec<RestoredPlace> = paths.map(|path| (self.root.clone(), path.clone())).collect();
        places.extend(unfinished_places(ledger).into_iter().filter(|(folder, _)| *folder == self.root));
        places.sort();
        places.dedup();
        places
    }

    /// Warns of a restore that was cut short, since the state may be half old and half new. Gives whether there is one. An
    /// unreadable ledger is for the command itself to complain about.
    pub fn warn_of_unfinished_restore(&self) -> bool {
        let ledger = self.ledger().unwrap_or_default();
        if let Some(left) = self.leftovers(&ledger) {
            self.output.warn(&left);
            self.output.hint("the next run that may write removes it: backup, verify, restore");
        }
        let elsewhere = unfinished_places(&ledger).into_iter().filter(|(folder, _)| *folder != self.root);
        if let Some(left) = self.left_at(&elsewhere.collect::<Vec<_>>()) {
            self.output.warn(&left);
            self.output.hint("a restore into that folder removes it, and nothing else does");
        }
        let unfinished = self.unfinished_restore(&ledger);
        if let Some((what, remedy)) = &unfinished {
            self.output.warn(what);
            self.output.hint(remedy);
        }
        unfinished.is_some()
    }

    /// A restore that was cut short, and what to do about it.
    pub fn unfinished_restore(&self, ledger: &Ledger) -> Option<(String, String)> {
        let unfinished = ledger.unfinished_restore()?;
        // If a run holds the lock, it is this restore, or it has said this itself. And the restore may have ended since the
        // ledger was loaded.
        let goes_on = self.store.lock_holder().is_ok_and(|holder| holder.is_some());
        if goes_on || self.ledger().ok()?.unfinished_restore() != Some(unfinished) {
            return None;
        }
        let (line, restore) = unfinished;
        let id = line.id?;
        let is_unlisted = restore.selection.is_some_and(|selection| selection.unlisted);
        let undo = || format!(", or take it back: {}", self.undo(&restore.target, is_unlisted));
        let undo = restore.kept.map(|_| undo()).unwrap_or_default();
        let what = format!("the restore of {id} begun {} did not finish", local(line.at));
        Some((what, format!("repeat it: {}{undo}", self.again(id, restore))))
    }

    /// The command that undoes a restore into `target`. Another folder than the root has to be named again.
    pub fn undo(&self, target: &Path, is_unlisted: bool) -> Step {
        let to = (target != self.root).then(|| ["--to".to_string(), target.display().to_string()]);
        let undo = self.command(&["restore", "--undo"]).and(to.into_iter().flatten());
        undo.and(is_unlisted.then_some("--unlisted"))
    }

    /// The command that repeats a restore.
    fn again(&self, id: BackupId, restore: &RestoreLine) -> Step {
        let only = match restore.selection {
            Some(Selection { databases: true, files: false, .. }) => Some("--database-only"),
            Some(Selection { databases: false, files: true, .. }) => Some("--config-only"),
            _ => None,
        };
        let elsewhere = restore.target != self.root;
        let to = elsewhere.then(|| ["--to".to_string(), restore.target.display().to_string()]);
        let unlisted = restore.selection.is_some_and(|selection| selection.unlisted).then_some("--unlisted");
        self.command(&["restore", "--from", &id.to_string()]).and(to.into_iter().flatten()).and(only).and(unlisted)
    }
}

/// Where the last restore was to write, if it was cut short. The ledger may be somebody else's: outside of the root,
/// nothing is removed because of what it says.
fn unfinished_places(ledger: &Ledger) -> Vec<RestoredPlace> {
    let Some((_, restore)) = ledger.unfinished_restore() else { return Vec::new() };
    let paths = restore.written.iter().filter_map(|path| RelPath::new(path).ok());
    let mut places: Vec<RestoredPlace> = paths.map(|path| (restore.target.clone(), path)).collect();
    places.sort();
    places
}

fn kind(error: &anyhow::Error) -> Option<ErrorKind> {
    error.downcast_ref::<Error>().map(Error::kind)
}
