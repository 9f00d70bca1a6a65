//! Settings: `ops/backup.toml` below the project's root. Flags beat the file, the file beats the defaults.

use std::path::{Path, PathBuf};
use std::time::Duration;

use backup::manifest::Snapshot;
use backup::retention::Policy;
use backup::{Codec, DatabaseSource, Encoding, Error, ErrorKind, FilesSource, RelPath, Result, Sources};
use serde::Deserialize;
use toml::de::DeTable;

use crate::schedule::unit_name::{UNIT_NAMES, is_unit_name};

/// Where the settings are, relative to the root.
pub const FILE: &str = "ops/backup.toml";

/// All settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Whose state this is; empty for the name of the root's folder.
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
    /// Whether a backup makes sure that its databases are sound before it counts.
    pub check: bool,
    /// Databases.
    pub database: Vec<Database>,
    /// Sets of configuration files.
    pub files: Vec<Files>,
    /// How artifacts are encoded.
    pub codec: CodecSettings,
    /// What rotation keeps. A section that is there says it all, so what it leaves out is off.
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
    #[serde(default)]
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
    pub name: Codec,
    /// 1 to 9.
    pub gzip_level: i32,
    /// 1 to 22.
    pub zstd_level: i32,
}

/// `[status]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct StatusSettings {
    /// How old the newest complete backup may be.
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

impl Config {
    /// Where the settings are read from: `file`, or `ops/backup.toml` below `root`, if it is there.
    pub fn path(root: &Path, file: Option<&Path>) -> Option<PathBuf> {
        let default = || Some(root.join(FILE)).filter(|path| path.exists());
        file.map(Path::to_path_buf).or_else(default)
    }

    /// Reads the settings: `file`, which must exist, or `ops/backup.toml` below `root`, or else the defaults.
    pub fn load(root: &Path, file: Option<&Path>) -> Result<Self> {
        let path = file.map_or_else(|| root.join(FILE), Path::to_path_buf);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && file.is_none() => Ok(Self::default()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let message = format!("the settings {} don't exist", path.display());
                Err(Error::new(ErrorKind::InvalidInput, message).with_hint(format!("without --config it is {FILE}")))
            }
            Err(e) => Err(Error::io("read the settings", &path, e)),
        }
    }

    /// Reads settings from `text`; `name` is how messages call the file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], naming the key and the line.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let table = DeTable::parse(text).map_err(|e| invalid(text, name, &e))?;
        unknown_key(table.get_ref(), SECTIONS[0].1).map_or(Ok(()), |unknown| Err(unknown.error(text, name)))?;
        let config: Self = toml::from_str(text).map_err(|e| invalid(text, name, &e))?;
        config.validate().map_err(|e| {
            let error = Error::new(e.kind(), format!("{name}: {e}"));
            if let Some(hint) = e.hint() { error.with_hint(hint) } else { error }
        })?;
        Ok(config)
    }

    fn validate(&self) -> Result<()> {
        self.sources().validate()?;
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

/// Whether anybody's unit can be called so: `man 5 systemd.unit`.
fn is_any_unit(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@:\\".contains(c)) && !name.starts_with('-')
}

/// Every section and its keys, the top level first. A test holds it to `ops/backup.toml` and so to [`Config`].
const SECTIONS: [(&str, &[&str]); 9] = [
    (
        "",
        &[
            "project",
            "backup_dir",
            "lock_wait",
            "busy_timeout",
            "max_foreign_mb",
            "check",
            "database",
            "files",
            "codec",
            "retention",
            "status",
            "restore",
            "drill",
            "schedule",
        ],
    ),
    ("database", &["name", "path", "snapshot", "probes"]),
    ("files", &["name", "paths"]),
    ("codec", &["name", "gzip_level", "zstd_level"]),
    ("retention", &["keep_days", "keep_last", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly"]),
    ("status", &["max_age"]),
    ("restore", &["stop_unit"]),
    ("drill", &["command", "timeout"]),
    ("schedule", &["unit", "run_as", "on_calendar", "drill_on_calendar", "randomized_delay", "cron", "drill_cron"]),
];

/// A key that no setting has.
struct Unknown {
    key: String,
    at: usize,
    known: &'static [&'static str],
}

impl Unknown {
    fn error(&self, text: &str, name: &str) -> Error {
        let nearest = self
            .known
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a, &self.key).total_cmp(&strsim::jaro_winkler(b, &self.key)));
        let message = format!("{name}, line {}: unknown key `{}`", line_of(text, self.at), self.key);
        Error::new(ErrorKind::InvalidInput, message)
            .with_hint(format!("did you mean `{}`? {FILE} shows every setting", nearest.unwrap_or(&"")))
    }
}

fn unknown_key(table: &DeTable<'_>, known: &'static [&'static str]) -> Option<Unknown> {
    for (key, value) in table {
        let name: &str = key.get_ref();
        if !known.contains(&name) {
            return Some(Unknown { key: name.to_string(), at: key.span().start, known });
        }
        let Some((_, inner)) = SECTIONS.iter().find(|(section, _)| *section == name) else { continue };
        let tables = value.get_ref().as_array().into_iter().flatten().chain(std::iter::once(value));
        let unknown = tables.filter_map(|value| value.get_ref().as_table()).find_map(|table| unknown_key(table, inner));
        if unknown.is_some() {
            return unknown;
        }
    }
    None
}

fn invalid(text: &str, name: &str, error: &toml::de::Error) -> Error {
    let line = error.span().map_or(1, |span| line_of(text, span.start));
    let message = error.message().lines().collect::<Vec<_>>().join("; ");
    Error::new(ErrorKind::InvalidInput, format!("{name}, line {line}: {message}"))
        .with_hint(format!("{FILE} of the toolkit shows every setting with its default"))
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The longest duration that is taken; SQLite's own timeouts end before a month.
const LONGEST: Duration = Duration::from_secs(24 * 24 * 60 * 60);

/// Reads a duration as people write it: `30s`, `10m`, `26h`, `1d 2h`; at most 24 days.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|e| format!("no duration ({e}); write 30s, 10m or 26h"))?;
    if duration <= LONGEST { Ok(duration) } else { Err("longer than 24 days".into()) }
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
#[path = "../../crates/backup/fuzz/mutate.rs"]
mod mutate;

#[cfg(test)]
#[path = "../../crates/backup/fuzz/settings.rs"]
mod settings;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::SHOWN;

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
    fn the_file_shows_every_key_that_is_known() {
        for (section, keys) in SECTIONS {
            for key in keys {
                let shown = SHOWN
                    .lines()
                    .any(|line| line.starts_with(&format!("{key} =")) || line.trim_matches(['[', ']']) == *key);
                assert!(shown, "[{section}] {key}");
            }
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        insta::assert_snapshot!(error("\n\n[retention]\nkeep_day = 3"), @"backup.toml, line 4: unknown key `keep_day`; did you mean `keep_days`? ops/backup.toml shows every setting");
        insta::assert_snapshot!(error("[[database]]\nname = 'a'\npth = 'x'"), @"backup.toml, line 3: unknown key `pth`; did you mean `path`? ops/backup.toml shows every setting");
        insta::assert_snapshot!(error("backupdir = 'x'"), @"backup.toml, line 1: unknown key `backupdir`; did you mean `backup_dir`? ops/backup.toml shows every setting");
    }

    #[test]
    fn values_that_make_no_sense_are_named_with_their_line() {
        for text in [
            "lock_wait = 'soon'",
            "project = 3",
            "max_foreign_mb = -1",
            "[codec]\nname = 'rar'",
            "[codec]\ngzip_level = 10",
            "[retention]",
            "[retention]\nkeep_days = -1",
            "[retention]\nkeep_days = 1000000",
            "[[database]]\nname = 'a'\npath = '../x'",
            "[[database]]\nname = 'a b'\npath = 'x'",
            "[[database]]\nname = 'config'\npath = 'x'",
            "[[database]]\npath = 'x'",
            "[[database]]\nname = 'a'\npath = 'x'\nsnapshot = 'copy'",
            "[schedule]\nunit = 'a b'",
            "[restore]\nstop_unit = 'a b'",
            "[restore]\nstop_unit = '--now'",
            "[schedule]\nrandomized_delay = 5",
            "not toml",
        ] {
            assert!(error(text).starts_with("backup.toml"), "{text}: {}", error(text));
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
    fn several_databases_and_sets_work() {
        let text = "[[database]]\nname = 'a'\npath = 'a.db'\n[[database]]\nname = 'b'\npath = 'b.db'\n\
                    [[files]]\nname = 'c'\npaths = ['x', 'y']\n[[files]]\nname = 'd'\npaths = ['z']";
        let sources = Config::parse(text, "").unwrap().sources();
        assert_eq!(sources.names().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }
}
