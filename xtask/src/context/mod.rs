//! What a command needs, built once: the root, the settings, the store, the clock, the printer.

pub mod apart;
mod restores;
pub mod root;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use backup::owner::OtherProject;
use backup::restore::Selection;
use backup::status::{self, LastLook, Status, StatusInputs};
use backup::{
    Catalog, Entry, Error, ErrorKind, FolderStore, Ledger, LocalStore as _, Look, Progress, Run, Selector, Session,
    Setup, seconds_since, take_over,
};
use chrono::{DateTime, FixedOffset, Local};

use crate::bars::Bars;
use crate::cli::Global;
use crate::config::{Config, FILE};
use crate::exit::Signals;
use crate::output::Output;
use crate::step::Step;
use crate::text::age;
use crate::user::account;
use crate::user::writers::Writer;
use crate::words;

/// A bit more than two weeks: the schedule drills once a week, so two drills in a row have failed or are missing.
const MAX_DRILL_AGE: Duration = Duration::from_secs(15 * 24 * 60 * 60);

/// Changes with each start of the machine (man 5 proc).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The most skipped backups that are named, newest first.
const MOST_SKIPPED: usize = 3;

/// What a command needs.
pub struct Context<'a> {
    /// The application's folder, absolute.
    pub root: PathBuf,
    /// The settings, with the flags over them.
    pub config: Config,
    /// The file that they were read from, absolute; none if they are the defaults.
    pub settings: Option<PathBuf>,
    /// Flags that say where things are.
    pub flags: PlaceFlags,
    /// Where backups live.
    pub store: FolderStore,
    /// The time at which the command began, in local time.
    pub now: DateTime<FixedOffset>,
    /// The only printer.
    pub output: &'a Output,
    bars: Bars,
    scratch: Option<PathBuf>,
    global: &'a Global,
}

/// Flags that say where things are, absolute.
#[derive(Debug, Clone, Default)]
pub struct PlaceFlags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--backup-dir`.
    pub backup_dir: Option<PathBuf>,
}

impl PlaceFlags {
    /// A flag is relative to where it is typed, a setting to the root.
    fn new(global: &Global) -> anyhow::Result<Self> {
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        Ok(Self {
            config: absolute(&global.config).context("find the settings")?,
            backup_dir: absolute(&global.backup_dir).context("find the backup folder")?,
        })
    }
}

impl<'a> Context<'a> {
    /// Finds the root and the settings.
    pub fn new(global: &'a Global, output: &'a Output) -> anyhow::Result<Self> {
        let (context, broken) = Self::despite_settings(global, output)?;
        broken.map_or(Ok(context), |error| Err(error.into()))
    }

    /// The same for commands that work without settings. If those can't be used, it has the defaults and returns the
    /// error.
    pub fn despite_settings(global: &'a Global, output: &'a Output) -> anyhow::Result<(Self, Option<Error>)> {
        let root = root::find(global.root.as_deref())?;
        let (config, broken) = load(&root, global);
        let flags = PlaceFlags::new(global)?;
        require_scratch(global.scratch.as_deref())?;
        let settings = Config::path(&root, flags.config.as_deref());
        let folder = flags.backup_dir.clone().unwrap_or_else(|| root.join(&config.backup_dir));
        let broken = broken.or_else(|| apart::require(&folder, &root, &config, settings.as_deref()).err());
        warn_of_store(&folder, output);
        let context = Self {
            settings,
            store: FolderStore::new(folder),
            flags,
            root,
            config,
            now: Local::now().fixed_offset(),
            output,
            bars: output.bars(),
            scratch: global.scratch.clone(),
            global,
        };
        Ok((context, broken))
    }

    /// The same a while later: another time, and the settings as they are then.
    pub fn renewed(&self) -> anyhow::Result<Self> {
        Self::new(self.global, self.output)
    }

    /// The settings file, or where it would be.
    pub fn settings_file(&self) -> PathBuf {
        self.settings.clone().unwrap_or_else(|| self.root.join(FILE))
    }

    /// A command of this program for this project, as a person would type it.
    pub fn command(&self, words: &[&str]) -> Step {
        self.output.invocation().command(words)
    }

    /// Begins a run that writes to the store, which may not exist yet. Other runs that wait for the lock show
    /// `command`.
    pub fn begin(&self, command: &str) -> anyhow::Result<Run<'_>> {
        Signals::catch().context("catch signals")?;
        let run = Run::begin(self.setup(command), &mut |holder| self.waiting(holder))?;
        self.remove_leftovers(&run);
        Ok(run)
    }

    /// The same with another `progress`, for a command that makes many runs: it catches no signals, and doesn't say that
    /// it waits.
    pub fn begin_with<'c>(&'c self, command: &str, progress: &'c dyn Progress) -> backup::Result<Run<'c>> {
        let run = Run::begin(Setup { progress, ..self.setup(command) }, &mut |_| {})?;
        self.remove_leftovers(&run);
        Ok(run)
    }

    /// Begins a run on a store that must have backups.
    pub fn begin_on_existing(&self, command: &str) -> anyhow::Result<Run<'_>> {
        self.catalog()?.require_any()?;
        self.begin(command)
    }

    /// Begins a run that only checks backups, on a store that may be read-only.
    pub fn begin_session(&self, command: &str) -> anyhow::Result<Session<'_>> {
        self.catalog()?.require_any()?;
        Signals::catch().context("catch signals")?;
        let session = Session::begin(self.setup(command), &mut |holder| self.waiting(holder))?;
        match session.run() {
            Some(run) => self.remove_leftovers(run),
            None => self.output.warn("the backup folder can't be written: the ledger gets no line about this run"),
        }
        Ok(session)
    }

    /// Opens the store read-only.
    pub fn look(&self) -> anyhow::Result<Look<'_>> {
        Ok(Look::new(self.setup("look"))?)
    }

    /// Makes the backup folder of another project this one's. Returns that project; none if the folder is this one's
    /// already.
    pub fn take_over(&self) -> anyhow::Result<Option<OtherProject>> {
        Signals::catch().context("catch signals")?;
        Ok(take_over::take_over(self.setup("take-over"), &mut |holder| self.waiting(holder))?)
    }

    /// What the library needs from its caller, for a run of `command`.
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
            // Without it, every increment compares all pages.
            boot: fs::read_to_string(BOOT_ID).unwrap_or_default(),
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

    /// Shows progress, and tells the library to stop when a signal comes.
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

    /// The backup that `--from` means, or the newest. It holds everything that is configured and asked for. Warns of
    /// newer backups that were skipped.
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

    /// The newest backup that holds everything that is configured, or else the newest that holds anything. If all are
    /// known to be bad, it is the newest: another try may succeed.
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
            self.output.warn(&format!("can't tell which backups were found damaged: {}", error.one_line()));
            Arc::default()
        });
        let selected = catalog.select(&selector, names, &ledger)?;
        for other in selected.skipped.iter().take(MOST_SKIPPED) {
            self.output.warn(&format!("{}; using {}", words::skipped(other), selected.entry.id));
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
            max_age: self.config.increments.max_age().unwrap_or(self.config.status.max_age),
            last_look: LastLook::of(&self.store),
            max_drill_age: MAX_DRILL_AGE,
            // If the folder doesn't exist yet, this is the space of its parent. Unknown if it can't be read.
            free_bytes: self.store.free_bytes().ok().flatten(),
            locked_since: self.store.locked_since().ok().flatten(),
        })
    }

    /// How long ago a time was, in words.
    pub fn age_of(&self, at: DateTime<FixedOffset>) -> String {
        age(seconds_since(at, self.now))
    }

    /// Makes sure that a backup folder named by a flag exists. A typing error, or a disk that isn't mounted, must not
    /// look like an empty store.
    pub fn require_named_folder(&self) -> anyhow::Result<()> {
        let is_named = self.flags.backup_dir.is_some() || self.config.backup_dir != Config::default().backup_dir;
        if !is_named || self.store.folder().symlink_metadata().is_ok() {
            return Ok(());
        }
        let message = format!("the backup folder {} doesn't exist", self.store.folder().display());
        let hint = "check its name, and that its disk is mounted; the first `backup` creates it";
        Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint).into())
    }
}

/// The settings with the flags over them; if they can't be used, the defaults and the error.
fn load(root: &Path, global: &Global) -> (Config, Option<Error>) {
    let (config, broken) = match Config::load(root, global.config.as_deref()) {
        Ok(config) => (config, None),
        Err(error) => (Config::default(), Some(error)),
    };
    let lock_wait = global.lock_wait.unwrap_or(config.lock_wait);
    let busy_timeout = global.busy_timeout.unwrap_or(config.busy_timeout);
    (Config { lock_wait, busy_timeout, ..config }, broken)
}

fn require_scratch(folder: Option<&Path>) -> backup::Result<()> {
    let Some(missing) = folder.filter(|folder| !folder.is_dir()) else { return Ok(()) };
    let message = format!("the scratch folder {} doesn't exist", missing.display());
    Err(Error::new(ErrorKind::InvalidInput, message).with_hint("make it, or name another with --scratch"))
}

/// Warns if the store belongs neither to root nor to the user that this process has become.
fn warn_of_store(folder: &Path, output: &Output) {
    let Some(account) = account::became() else { return };
    let Ok(found) = folder.metadata() else { return };
    if found.uid() != 0 && found.uid() != account.uid {
        let owner = Writer { uid: found.uid(), gid: found.gid(), place: folder.into() }.name();
        output.warn(&format!(
            "the backup folder {} belongs to {owner}; this runs as {}, who owns {}",
            folder.display(),
            account.name,
            account.place.display()
        ));
    }
}

fn kind(error: &anyhow::Error) -> Option<ErrorKind> {
    error.downcast_ref::<Error>().map(Error::kind)
}
