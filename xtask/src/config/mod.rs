//! Settings: `ops/backup.toml` below the project's root. Flags beat the file, the file beats the defaults.

mod file;
mod shape;
pub mod unit_name;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use backup::manifest::Snapshot;
use backup::retention::Policy;
use backup::{Codec, DatabaseSource, Encoding, Error, ErrorKind, FilesSource, RelPath, Result, Sources};
use chrono::TimeDelta;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

pub use file::{FILE, SHOWN};
use unit_name::{UNIT_NAMES, is_any_unit, is_unit_name};

/// All settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The project's name; empty for the name of the root's folder.
    pub project: String,
    /// The backup folder, relative to the root, or absolute.
    pub backup_dir: PathBuf,
    /// How long to wait for another run to end.
    #[serde(with = "duration")]
    pub lock_wait: Duration,
    /// How long to wait for a locked database.
    #[serde(with = "duration")]
    pub busy_timeout: Duration,
    /// How many megabytes a stored file may decode to if no manifest says how many they are.
    pub max_foreign_mb: u64,
    /// Whether a backup checks that its databases are sound.
    pub check: bool,
    /// Databases.
    pub database: Vec<Database>,
    /// Sets of configuration files.
    pub files: Vec<Files>,
    /// How artifacts are encoded.
    pub codec: CodecSettings,
    /// Points between two backups.
    pub increments: IncrementSettings,
    /// What rotation keeps. If the section is there, a rule that it leaves out is off.
    pub retention: Policy,
    /// When `status` is content.
    pub status: StatusSettings,
    /// What a restore does beside restoring.
    pub restore: RestoreSettings,
    /// What a drill does beside restoring.
    pub drill: DrillSettings,
    /// When the jobs run, and as whom.
    pub schedule: ScheduleSettings,
}

/// `[[database]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Database {
    /// Its name in artifact names.
    pub name: String,
    /// Where it is, relative to the root.
    pub path: RelPath,
    /// How its snapshot is taken.
    #[serde(default, deserialize_with = "snapshot")]
    pub snapshot: Snapshot,
    /// SQL that a drill runs on the restored copy.
    #[serde(default)]
    pub probes: Vec<String>,
}

/// `[[files]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Files {
    /// The set's name in artifact names.
    pub name: String,
    /// Where its files are, relative to the root.
    pub paths: Vec<RelPath>,
}

/// `[codec]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct CodecSettings {
    /// `gzip`, `zstd` or `none`.
    #[serde(deserialize_with = "codec")]
    pub name: Codec,
    /// 1 to 9.
    pub gzip_level: i32,
    /// 1 to 22.
    pub zstd_level: i32,
}

/// `[increments]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct IncrementSettings {
    /// How often an increment is made; `None` for never.
    #[serde(deserialize_with = "interval_or_off")]
    pub every: Option<Duration>,
    /// How old the newest point may be; `None` for a limit that follows from `every`.
    #[serde(deserialize_with = "interval_or_off")]
    pub max_age: Option<Duration>,
    /// How long each increment is kept; then those of an hour become one.
    #[serde(with = "duration")]
    pub every_minute_for: Duration,
    /// How long the increments of a chain are kept.
    #[serde(with = "duration")]
    pub every_hour_for: Duration,
}

impl IncrementSettings {
    /// Whether full backups are made so that increments can continue them.
    pub fn is_on(&self) -> bool {
        self.every.is_some()
    }

    /// How old the newest point may be; `None` if increments are off.
    pub fn max_age(&self) -> Option<Duration> {
        // While a full backup is made, increments wait.
        const FULL_BACKUP: Duration = Duration::from_secs(15 * 60);
        self.every.map(|every| self.max_age.unwrap_or(every * 3 + FULL_BACKUP))
    }
}

/// `[status]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct StatusSettings {
    /// How old the newest sound copy of anything may be.
    #[serde(with = "duration")]
    pub max_age: Duration,
}

/// `[restore]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RestoreSettings {
    /// The application's systemd unit, stopped while something is replaced; empty for none.
    pub stop_unit: String,
}

/// `[drill]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct DrillSettings {
    /// A program and its arguments, run in the restored folder; must exit with 0.
    pub command: Vec<String>,
    /// How long it may take.
    #[serde(with = "duration")]
    pub timeout: Duration,
}

/// `[schedule]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct ScheduleSettings {
    /// What the systemd units are called; empty for a name made of the project's.
    pub unit: String,
    /// Who the jobs run as; empty for the owner of the root's folder.
    pub run_as: String,
    /// When to back up, as systemd writes it.
    pub on_calendar: String,
    /// When to drill.
    pub drill_on_calendar: String,
    /// How much later than that, at random.
    #[serde(with = "duration")]
    pub randomized_delay: Duration,
    /// When to back up, as cron writes it.
    pub cron: String,
    /// When to drill.
    pub drill_cron: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            project: String::new(),
            backup_dir: "backups".into(),
            lock_wait: Duration::from_secs(10),
            busy_timeout: Duration::from_secs(30),
            max_foreign_mb: 20_000,
            check: true,
            database: vec![Database {
                name: "sessions_db".into(),
                path: rel("data/sessions.db"),
                snapshot: Snapshot::Vacuum,
                probes: Vec::new(),
            }],
            files: vec![Files { name: "config".into(), paths: vec![rel(".env"), rel("data/station_info.json")] }],
            codec: CodecSettings::default(),
            increments: IncrementSettings::default(),
            retention: Policy::default(),
            status: StatusSettings::default(),
            restore: RestoreSettings::default(),
            drill: DrillSettings::default(),
            schedule: ScheduleSettings::default(),
        }
    }
}

fn rel(path: &str) -> RelPath {
    RelPath::new(path).expect("the default paths are relative")
}

impl Default for CodecSettings {
    fn default() -> Self {
        Self { name: Codec::Gzip, gzip_level: 6, zstd_level: 1 }
    }
}

impl Default for IncrementSettings {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        Self { every: None, max_age: None, every_minute_for: hours(24), every_hour_for: hours(7 * 24) }
    }
}

impl Default for StatusSettings {
    fn default() -> Self {
        // A nightly backup, and two hours for it to be late.
        Self { max_age: Duration::from_secs(26 * 60 * 60) }
    }
}

impl Default for DrillSettings {
    fn default() -> Self {
        Self { command: Vec::new(), timeout: Duration::from_secs(60) }
    }
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        Self {
            unit: String::new(),
            run_as: String::new(),
            on_calendar: "*-*-* 02:00:00".into(),
            drill_on_calendar: "Sun *-*-* 04:00:00".into(),
            randomized_delay: Duration::from_secs(5 * 60),
            cron: "0 2 * * *".into(),
            drill_cron: "0 4 * * 0".into(),
        }
    }
}

/// Read limit for settings, 1 MiB.
const MAX_BYTES: u64 = 1 << 20;

/// The text of a plain file. A pipe or a device could block for ever, or never end.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    backup::open_plain(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

impl Config {
    /// Where the settings are read from: `file`, or `ops/backup.toml` below `root`, if it is there.
    pub fn path(root: &Path, file: Option<&Path>) -> Option<PathBuf> {
        let default = || Some(root.join(FILE)).filter(|path| path.exists());
        file.map(Path::to_path_buf).or_else(default)
    }

    /// Reads the settings: `file`, which must exist, or `ops/backup.toml` below `root`, or else the defaults.
    pub fn load(root: &Path, file: Option<&Path>) -> Result<Self> {
        let path = file.map_or_else(|| root.join(FILE), Path::to_path_buf);
        match read(&path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && file.is_none() => Ok(Self::default()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let message = format!("the settings {} don't exist", path.display());
                Err(Error::new(ErrorKind::InvalidInput, message).with_hint(format!("without --config it is {FILE}")))
            }
            Err(e) => Err(unreadable(&path, e)),
        }
    }

    /// Every setting: those of the `file`, and the defaults of the others.
    ///
    /// # Errors
    /// As [`Config::load`], which checks more.
    pub fn table(file: Option<&Path>) -> Result<Table> {
        let text = file.map_or(Ok(String::new()), |path| read(path).map_err(|e| unreadable(path, e)))?;
        let not_toml = |e: toml::de::Error| Error::new(ErrorKind::InvalidInput, e.message());
        let mut settings: Table = toml::from_str(SHOWN).map_err(not_toml)?;
        for (name, value) in toml::from_str::<Table>(&text).map_err(not_toml)? {
            match (settings.get_mut(&name), value) {
                (Some(Value::Table(section)), Value::Table(own)) => {
                    if name == "retention" {
                        // A section of the file names every rule, except the one about collapses.
                        section.retain(|_, rule| !rule.is_integer());
                    }
                    section.extend(own);
                }
                (_, value) => drop(settings.insert(name, value)),
            }
        }
        Ok(settings)
    }

    /// Reads settings from `text`; `name` is how messages call the file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], naming the key and the line.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        shape::check(text, name)?;
        let mut config: Self = toml::from_str(text).map_err(|e| shape::not_toml(text, name, &e))?;
        let IncrementSettings { every_minute_for, every_hour_for, .. } = config.increments;
        config.retention = Policy {
            every_minute_for: TimeDelta::from_std(every_minute_for).unwrap_or(TimeDelta::MAX),
            every_hour_for: TimeDelta::from_std(every_hour_for).unwrap_or(TimeDelta::MAX),
            ..config.retention
        };
        config.validate().map_err(|error| error.about(name))?;
        Ok(config)
    }

    fn validate(&self) -> Result<()> {
        self.sources().validate()?;
        if self.database.is_empty() && self.files.iter().all(|set| set.paths.is_empty()) {
            return Err(Error::new(ErrorKind::InvalidInput, "there is nothing to back up: no database and no files")
                .with_hint("name a [[database]] or [[files]]; without either line, the defaults are meant"));
        }
        if self.increments.every_hour_for < self.increments.every_minute_for {
            let message = "[increments] every_hour_for is shorter than every_minute_for";
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("increments are kept for every_hour_for in all, and not merged for every_minute_for"));
        }
        Encoding::new(Codec::Gzip, self.codec.gzip_level)?;
        Encoding::new(Codec::Zstd, self.codec.zstd_level)?;
        let unit = &self.schedule.unit;
        if !unit.is_empty() && !is_unit_name(unit) {
            return Err(
                Error::new(ErrorKind::InvalidInput, format!("no unit can be called {unit:?}")).with_hint(UNIT_NAMES)
            );
        }
        let unit = &self.restore.stop_unit;
        if !unit.is_empty() && !is_any_unit(unit) {
            return Err(Error::new(ErrorKind::InvalidInput, format!("no unit is called {unit:?}"))
                .with_hint("write it as `systemctl stop` takes it: charger-api.service"));
        }
        self.retention.validate()
    }

    /// What to back up.
    pub fn sources(&self) -> Sources {
        let databases = self.database.iter().cloned();
        let files = self.files.iter().cloned();
        Sources {
            databases: databases
                .map(|d| DatabaseSource { name: d.name, path: d.path, snapshot: d.snapshot, probes: d.probes })
                .collect(),
            files: files.map(|f| FilesSource { name: f.name, paths: f.paths }).collect(),
        }
    }

    /// How to encode: what the flags say, else what the settings say.
    pub fn encoding(&self, codec: Option<Codec>, level: Option<i32>) -> Result<Encoding> {
        let codec = codec.unwrap_or(self.codec.name);
        let set = match codec {
            Codec::Gzip => self.codec.gzip_level,
            Codec::Zstd => self.codec.zstd_level,
            Codec::None if level.is_some() => {
                return Err(Error::new(ErrorKind::InvalidInput, "codec none takes no level"));
            }
            Codec::None => 0,
        };
        Encoding::new(codec, level.unwrap_or(set))
    }
}

/// Why the settings can't be read. A file that isn't text is a mistake in the settings.
fn unreadable(path: &Path, error: std::io::Error) -> Error {
    const A_FILE: &str = "they have to be a file; one with every setting and its default: `init --dry-run -v`";
    let (what, hint) = match error.kind() {
        std::io::ErrorKind::InvalidInput if path.is_dir() => ("are a folder", A_FILE),
        std::io::ErrorKind::InvalidInput => ("are no plain file", A_FILE),
        std::io::ErrorKind::FileTooLarge => ("are longer than 1 MiB", "is it the file that was meant?"),
        std::io::ErrorKind::InvalidData => ("are not UTF-8 text", "save the file as UTF-8"),
        _ => return Error::io("read the settings", path, error),
    };
    Error::new(ErrorKind::InvalidInput, format!("the settings {} {what}", path.display())).with_hint(hint)
}

/// The longest duration allowed; SQLite's own timeouts end before a month.
const LONGEST: Duration = Duration::from_secs(24 * 24 * 60 * 60);

/// Reads a duration as people write it: `30s`, `10m`, `26h`, `1d 2h`; at most 24 days.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|_| "not a duration; write 30s, 10m, 26h or 7d")?;
    if duration <= LONGEST { Ok(duration) } else { Err("longer than 24 days".into()) }
}

/// Reads a time between increments: a duration of at least a second, since ids have no smaller step.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval >= Duration::from_secs(1) { Ok(interval) } else { Err("shorter than a second".into()) }
}

/// A time of at least a second, or nothing for "".
fn interval_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    parse_interval(&text).map(Some).map_err(|e| serde::de::Error::custom(format!("{text:?}: {e}")))
}

fn codec<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Codec, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom(format!("unknown codec {text:?}; write gzip, zstd or none")))
}

fn snapshot<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Snapshot, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "vacuum" => Ok(Snapshot::Vacuum),
        "pages" => Ok(Snapshot::Pages),
        other => Err(serde::de::Error::custom(format!("unknown snapshot method {other:?}; write vacuum or pages"))),
    }
}

/// Durations of the settings.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_duration(&text).map_err(|e| D::Error::custom(format!("{text:?}: {e}")))
    }
}

#[cfg(test)]
#[path = "../../../crates/backup/fuzz/mutate.rs"]
mod mutate;

#[cfg(test)]
#[path = "../../../crates/backup/fuzz/settings.rs"]
mod settings;

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let error = Config::parse(text, "backup.toml").unwrap_err();
        format!("{error}; {}", error.hint().unwrap_or_default())
    }

    #[test]
    fn the_file_that_shows_every_setting_holds_the_defaults() {
        assert_eq!(Config::parse(SHOWN, FILE).unwrap(), Config::default());
        assert_eq!(Config::parse("", FILE).unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        insta::assert_snapshot!(error("\n\n[retention]\nkeep_day = 3"), @"backup.toml, line 4: unknown key `keep_day`; did you mean `keep_days`? every setting with its default: `init --dry-run -v`");
        insta::assert_snapshot!(error("[[database]]\nname = 'a'\npth = 'x'"), @"backup.toml, line 3: unknown key `pth`; did you mean `path`? every setting with its default: `init --dry-run -v`");
        insta::assert_snapshot!(error("backupdir = 'x'"), @"backup.toml, line 1: unknown key `backupdir`; did you mean `backup_dir`? every setting with its default: `init --dry-run -v`");
    }

    #[test]
    fn values_that_make_no_sense_are_named_with_their_line() {
        for (text, said) in [
            ("lock_wait = 'soon'", "line 1: \"soon\": not a duration; write 30s, 10m, 26h or 7d"),
            ("project = 3", "line 1: `project` must be text in quotes: \"…\""),
            ("\ncheck = 'yes'", "line 2: `check` must be true or false"),
            ("max_foreign_mb = -1", "line 1: `max_foreign_mb` must be 0 or more"),
            ("max_foreign_mb = 1.5", "line 1: `max_foreign_mb` must be a whole number, such as 20000"),
            ("[codec]\nname = 'rar'", "line 2: unknown codec \"rar\"; write gzip, zstd or none"),
            ("[codec]\ngzip_level = 10", "gzip has no level 10: 1 to 9"),
            ("codec = 'zstd'", "line 1: `codec` is a section; write [codec]"),
            ("[[codec]]", "line 1: `codec` is a section; write [codec]"),
            ("[retention]", "the retention policy has no rule: it would keep nothing"),
            ("[retention]\nkeep_days = -1", "line 2: `keep_days` must be 0 or more"),
            ("[retention]\nkeep_days = 'x'", "line 2: `keep_days` must be a whole number, such as 7"),
            ("[retention]\nkeep_days = 1000000", "keep_days is too large: 1000000"),
            ("[retention]\nkeep_days = 99999999999", "line 2: `keep_days` is too large; the default is 7"),
            (
                "[retention]\nkeep_days = 7\nkeep_before_collapse = -1",
                "line 3: `keep_before_collapse` must be 0 or more",
            ),
            ("[retention]\nkeep_days = 7\nkeep_before_collapse = true", "line 3: `keep_before_collapse` must be text"),
            ("[retention]\nkeep_days = 7\nkeep_before_collapse = 'x'", "line 3: must be a number of days"),
            ("[database]\nname = 'a'", "line 1: there can be several sections `database`; write [[database]]"),
            ("database = 'a.db'", "line 1: there can be several sections `database`; write [[database]]"),
            ("database = ['a.db']", "line 1: `database` is made of sections; write [[database]]"),
            ("[[database]]\nname = 'a'\npath = '../x'", "line 3: not a path below the project's folder: \"../x\""),
            ("[[database]]\nname = 'a b'\npath = 'x'", "\"a b\" can't name a database or a set of files"),
            ("[[database]]\nname = 'config'\npath = 'x'", "\"config\" names two databases or sets of files"),
            ("[[database]]\npath = 'x'", "line 1: [[database]] lacks `name`"),
            ("[[database]]\nname = 'x'", "line 1: [[database]] lacks `path`"),
            ("[[files]]\nname = 'x'", "line 1: [[files]] lacks `paths`"),
            ("[[files]]\nname = 'x'\npaths = '.env'", "line 3: `paths` must be a list: [\"…\", \"…\"]"),
            ("[[files]]\nname = 'x'\npaths = ['.env', 3]", "line 3: each entry of `paths` must be text in quotes"),
            ("[[database]]\nname = 'a'\npath = 'x'\nsnapshot = 'copy'", "line 4: unknown snapshot method \"copy\""),
            ("database = []\nfiles = []", "there is nothing to back up"),
            ("[schedule]\nunit = 'a b'", "no unit can be called \"a b\""),
            ("[restore]\nstop_unit = 'a b'", "no unit is called \"a b\""),
            ("[restore]\nstop_unit = '--now'", "no unit is called \"--now\""),
            ("[schedule]\nrandomized_delay = 5", "line 2: `randomized_delay` must be text in quotes: \"5m\""),
            ("not toml", "line 1: "),
        ] {
            let error = error(text);
            assert!(error.starts_with("backup.toml") && error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn mutated_settings_are_refused_in_one_line_or_hold_together() {
        let words = [
            "[[database]]",
            "[files]",
            "[a.b]",
            "x.y.z = 1",
            "\"\"\"",
            "'''",
            "-1",
            "1e999",
            "inf",
            "1979-05-27",
            "99999999999999999999",
            "\"9999999d\"",
            "'1ns'",
            "../",
            "\\u0000",
            "\\u001b",
            "\n",
            " = ",
            "{",
            "[",
            "#",
        ];
        let text = "[[database]]\nname = 'a'\npath = 'a.db'\nprobes = ['SELECT 1']\n[retention]\nkeep_last = 3\n";
        mutate::mutations(&[SHOWN.as_bytes(), text.as_bytes()], &words, 4000, settings::settings);
    }

    #[test]
    fn the_settings_that_are_shown_mean_what_was_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in [
            "",
            "[retention]\nkeep_last = 3\n",
            "backup_dir = '/srv/b'\n[codec]\nname = 'zstd'\n[drill]\ncommand = ['a b', 'c']\n",
            "database = []\n[[files]]\nname = 'x'\npaths = ['y']\n[status]\nmax_age = '2d'\n",
        ] {
            std::fs::write(file.path(), text).unwrap();
            let shown = toml::to_string(&Config::table(Some(file.path())).unwrap()).unwrap();
            assert_eq!(Config::parse(&shown, "").unwrap(), Config::parse(text, "").unwrap(), "{text}: {shown}");
        }
    }

    #[test]
    fn several_databases_and_sets_work() {
        let text = "[[database]]\nname = 'a'\npath = 'a.db'\n[[database]]\nname = 'b'\npath = 'b.db'\n\
                    [[files]]\nname = 'c'\npaths = ['x', 'y']\n[[files]]\nname = 'd'\npaths = ['z']";
        let sources = Config::parse(text, "").unwrap().sources();
        assert_eq!(sources.names().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }
}
