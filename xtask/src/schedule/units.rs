//! The systemd units of the schedule, rendered from the templates in `ops/systemd`. Pure.
//!
//! A unit begins with two comments: that this program wrote it, and for which project and with which flags
//! ([`Origin`]). By these it is told from a unit of somebody else's, and can be rendered again for comparison.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backup::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// What a unit's name ends in, and its template.
const TEMPLATES: [(&str, &str); 5] = [
    (".service", include_str!("../../../ops/systemd/backup.service")),
    (".timer", include_str!("../../../ops/systemd/backup.timer")),
    ("-verify.service", include_str!("../../../ops/systemd/backup-verify.service")),
    ("-verify.timer", include_str!("../../../ops/systemd/backup-verify.timer")),
    ("-failure@.service", include_str!("../../../ops/systemd/backup-failure@.service")),
];

/// What both services are confined to: `{{sandbox}}` in their templates.
const SANDBOX: &str = include_str!("../../../ops/systemd/sandbox.conf");

/// What of the sandbox works in a system service only.
const OF_SYSTEM_SERVICES: &str = "ProtectControlGroups=yes\nProtectKernelTunables=yes\nProtectProc=invisible";

/// Folders that the sandbox shows empty, but for what is named.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// How a unit of this program's begins.
const MARK: &str =
    "# Written by `cargo xtask install-timer`, which overwrites it. For changes of your own: systemctl edit";

/// What the units are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Whose they are, and with which flags they were asked for.
    pub origin: Origin,
    /// The project, as people call it.
    pub project: String,
    /// Who they run as.
    pub identity: Identity,
    /// The flags that every command of the program gets.
    pub arguments: Vec<String>,
    /// When to back up: `man 7 systemd.time`.
    pub on_calendar: String,
    /// When to drill.
    pub drill_on_calendar: String,
    /// How much later it may begin, at random.
    pub randomized_delay: Duration,
    /// What has to be mounted first.
    pub mounts: Vec<PathBuf>,
    /// Folders that are written to.
    pub writable: Vec<PathBuf>,
    /// What else has to be seen, should it be in a hidden place ([`HIDDEN`]).
    pub readable: Vec<PathBuf>,
}

/// Whose a unit is: what its second line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What the units' names begin with.
    pub unit: String,
    /// The project's root, absolute.
    pub root: PathBuf,
    /// The installed copy of this program that they start.
    pub program: PathBuf,
    /// What the flags said in place of the settings.
    #[serde(flatten)]
    pub flags: Flags,
}

/// Flags that `install-timer` was given. One of the units remembers them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// `--config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// `--backup-dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_dir: Option<PathBuf>,
    /// `--on-calendar`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_calendar: Option<String>,
    /// `--randomized-delay`, as people write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub randomized_delay: Option<String>,
    /// `--run-as`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    /// `--allow-root`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_root: bool,
}

impl Flags {
    /// These flags, and of the `remembered` ones those that were not given again.
    #[must_use]
    pub fn over(self, remembered: Self) -> Self {
        Self {
            config: self.config.or(remembered.config),
            backup_dir: self.backup_dir.or(remembered.backup_dir),
            on_calendar: self.on_calendar.or(remembered.on_calendar),
            randomized_delay: self.randomized_delay.or(remembered.randomized_delay),
            run_as: self.run_as.or(remembered.run_as),
            allow_root: self.allow_root || remembered.allow_root,
        }
    }

    /// The words that give them again.
    pub fn words(&self) -> Vec<String> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let flags = [
            ("--config", path(&self.config)),
            ("--backup-dir", path(&self.backup_dir)),
            ("--on-calendar", self.on_calendar.clone()),
            ("--randomized-delay", self.randomized_delay.clone()),
            ("--run-as", self.run_as.clone()),
        ];
        let given = flags.into_iter().filter_map(|(flag, value)| Some([flag.to_string(), value?])).flatten();
        given.chain(self.allow_root.then(|| "--allow-root".to_string())).collect()
    }
}

/// Who a service runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A system service, as this user and group.
    System {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
    /// A service of the user's own service manager.
    User,
}

impl Identity {
    /// The user's name, if it is not just whoever installs the schedule.
    pub fn user(&self) -> Option<String> {
        match self {
            Self::System { user, .. } => Some(user.clone()),
            Self::User => None,
        }
    }
}

/// A unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub file: String,
    /// Its text.
    pub text: String,
}

impl Origin {
    /// Reads it from a unit's text; `None` if this program didn't write that.
    pub fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        lines.next().filter(|line| line.starts_with(MARK))?;
        serde_json::from_str(lines.next()?.strip_prefix("# ")?).ok()
    }

    /// The units' names, in the order of [`Spec::render`].
    pub fn files(&self) -> impl Iterator<Item = String> {
        TEMPLATES.iter().map(|(ending, _)| format!("{}{ending}", self.unit))
    }
}

impl Spec {
    /// Renders the units.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name or a path that can't stand in a unit.
    pub fn render(&self) -> Result<Vec<Unit>> {
        let words = self.words()?;
        let sandbox = BTreeMap::from([("sandbox", SANDBOX.trim_end().to_string())]);
        let render = |(file, (ending, template)): (String, (&str, &str))| {
            // One unit is enough to remember the flags, and then they make a difference in no other.
            let flags = if ending == ".timer" { self.origin.flags.clone() } else { Flags::default() };
            let origin = Origin { flags, ..self.origin.clone() };
            let origin = serde_json::to_string(&origin).map_err(|_| unwritable(&self.origin.root.display()))?;
            let body = fill(&fill(template, &sandbox), &words);
            Ok(Unit { text: format!("{MARK} {file}\n# {origin}\n\n{body}"), file })
        };
        self.origin.files().zip(TEMPLATES).map(render).collect()
    }

    /// What stands for each `{{word}}` of the templates.
    fn words(&self) -> Result<BTreeMap<&'static str, String>> {
        let (identity, nobody, by_scope, journalctl) = match &self.identity {
            Identity::System { user, group } => {
                (format!("User={user}\nGroup={group}"), "DynamicUser=yes", OF_SYSTEM_SERVICES, "journalctl -u")
            }
            Identity::User => {
                let identity = "# As the user whose service manager this is.";
                // By the identifier: what a process says last may come without its unit's name there.
                (identity.into(), identity, "PrivateUsers=yes", "journalctl --user -t")
            }
        };
        let as_root = matches!(&self.identity, Identity::System { user, .. } if user == "root");
        let (hidden_writable, writable) = self.writable.iter().partition::<Vec<&PathBuf>, _>(|path| is_hidden(path));
        // What is bound twice to the same place stays read-only.
        let hidden = self.readable.iter().filter(|path| is_hidden(path) && !hidden_writable.contains(path));
        let hidden: Vec<&PathBuf> = hidden.collect();
        let arguments = self.arguments.iter().map(|word| quoted(word)).collect::<Result<Vec<_>>>()?;
        let program = [paths("", &[&self.origin.program])?, arguments.join(" ")].join(" ");
        Ok(BTreeMap::from([
            ("unit", self.origin.unit.clone()),
            ("project", plain(&self.project)?),
            ("identity", identity),
            ("nobody", nobody.into()),
            ("by_scope", by_scope.into()),
            // Without these, root may read and write less than the owner of the files.
            ("capabilities", if as_root { "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER" } else { "" }.into()),
            ("journalctl", journalctl.into()),
            // A command line has variables in it.
            ("program", program.replace('$', "$$")),
            ("on_calendar", plain(&self.on_calendar)?),
            ("drill_on_calendar", plain(&self.drill_on_calendar)?),
            ("randomized_delay", humantime::format_duration(self.randomized_delay).to_string()),
            ("mounts", paths("", &self.mounts)?),
            // One that isn't there is left to the program to report: it can say more about it than systemd.
            ("writable", paths("-", &writable)?),
            ("hidden", paths("-", &outermost(&hidden))?),
            ("hidden_writable", paths("-", &hidden_writable)?),
        ]))
    }
}

fn is_hidden(path: &Path) -> bool {
    HIDDEN.iter().any(|folder| path.starts_with(folder))
}

/// The paths that are in none of the others.
fn outermost<'p>(paths: &[&'p PathBuf]) -> Vec<&'p PathBuf> {
    let inside = |path: &PathBuf| paths.iter().any(|other| *other != path && path.starts_with(other));
    paths.iter().filter(|path| !inside(path)).copied().collect()
}

/// A name for units made of a project's: letters, digits and single dashes. Empty if there is nothing to make it of.
pub fn slug(project: &str) -> String {
    let words = project.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// `template` with a value for each `{{word}}` that has one.
fn fill(template: &str, words: &BTreeMap<&str, String>) -> String {
    let mut parts = template.split("{{");
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let known = part.split_once("}}").and_then(|(word, rest)| Some((words.get(word)?, rest)));
        match known {
            Some((value, rest)) => text.extend([value, rest]),
            None => text.extend(["{{", part]),
        }
    }
    text
}

/// A list of paths, each with `prefix`.
fn paths<P: AsRef<Path>>(prefix: &str, paths: &[P]) -> Result<String> {
    let word = |path: &Path| {
        let text = path.to_str().ok_or_else(|| unwritable(&path.display()))?;
        quoted(&format!("{prefix}{text}"))
    };
    Ok(paths.iter().map(|path| word(path.as_ref())).collect::<Result<Vec<_>>>()?.join(" "))
}

/// A word of a list or a command line, quoted if it has to be: `man 7 systemd.syntax`.
fn quoted(word: &str) -> Result<String> {
    let plain = plain(word)?;
    let simple = |c: char| c.is_alphanumeric() || "/-_.,=@+%".contains(c);
    if !plain.is_empty() && plain.chars().all(simple) {
        return Ok(plain);
    }
    Ok(format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Text on one line in which systemd has nothing to replace.
fn plain(text: &str) -> Result<String> {
    if text.chars().any(char::is_control) { Err(unwritable(&text.escape_debug())) } else { Ok(text.replace('%', "%%")) }
}

fn unwritable(what: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{what} can't stand in a systemd unit"))
        .with_hint("it has a control character in it, or isn't UTF-8: rename it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        let path = |text: &str| PathBuf::from(text);
        Spec {
            origin: Origin {
                unit: "charger-api-backup".into(),
                root: path("/srv/charger"),
                program: path("/usr/local/lib/charger-api-ops/xtask"),
                flags: Flags::default(),
            },
            project: "Charger API".into(),
            identity: Identity::System { user: "charger".into(), group: "api".into() },
            arguments: ["--root", "/srv/charger"].map(Into::into).into(),
            on_calendar: "*-*-* 02:00:00".into(),
            drill_on_calendar: "Sun *-*-* 04:00:00".into(),
            randomized_delay: Duration::from_secs(300),
            mounts: vec![path("/srv/charger"), path("/srv/charger/backups")],
            writable: vec![path("/srv/charger/backups"), path("/srv/charger/data")],
            readable: vec![path("/srv/charger")],
        }
    }

    fn unit(spec: &Spec, file: &str) -> String {
        spec.render().unwrap().into_iter().find(|unit| unit.file == file).unwrap().text
    }

    fn line<'t>(text: &'t str, key: &str) -> &'t str {
        text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key} in {text}"))
    }

    #[test]
    fn the_units_of_a_system_service() {
        for (at, unit) in spec().render().unwrap().into_iter().enumerate() {
            insta::assert_snapshot!(format!("system-{at}"), format!("{}\n---\n{}", unit.file, unit.text));
        }
    }

    #[test]
    fn a_users_own_service_names_no_user_and_sees_its_part_of_the_home_folder() {
        let at_home = |text: &str| PathBuf::from(format!("/home/ada/charger{text}"));
        let spec = Spec {
            identity: Identity::User,
            readable: vec![at_home(""), at_home("/ops/backup.toml"), at_home("/data"), "/usr/lib/x".into()],
            writable: vec![at_home("/backups"), at_home("/data")],
            ..spec()
        };
        insta::assert_snapshot!("user", unit(&spec, "charger-api-backup.service"));
        let failure = unit(&spec, "charger-api-backup-failure@.service");
        assert!(failure.contains("journalctl --user -t %i") && !failure.contains("DynamicUser"), "{failure}");
    }

    #[test]
    fn nothing_in_a_template_is_left_open() {
        for unit in spec().render().unwrap() {
            assert!(!unit.text.contains("{{") && !unit.text.contains("}}"), "{}", unit.text);
        }
    }

    #[test]
    fn a_unit_says_whose_it_is() {
        let flags = Flags {
            config: Some("/srv/x.toml".into()),
            on_calendar: Some("*:0/15".into()),
            randomized_delay: Some("10m".into()),
            run_as: Some("ada".into()),
            allow_root: true,
            ..Flags::default()
        };
        let mut spec = spec();
        spec.origin = Origin { flags, root: "/srv/a \"b\" é".into(), ..spec.origin };
        for unit in spec.render().unwrap() {
            let flags =
                if unit.file == "charger-api-backup.timer" { spec.origin.flags.clone() } else { Flags::default() };
            assert_eq!(Origin::read(&unit.text), Some(Origin { flags, ..spec.origin.clone() }));
        }
    }

    #[test]
    fn flags_are_remembered_until_they_are_given_anew() {
        let remembered = Flags { on_calendar: Some("hourly".into()), run_as: Some("ada".into()), ..Flags::default() };
        let given = Flags { on_calendar: Some("a b".into()), allow_root: true, ..Flags::default() };
        let flags = given.over(remembered);
        assert_eq!(flags.words(), ["--on-calendar", "a b", "--run-as", "ada", "--allow-root"]);
        assert_eq!(Flags::default().words(), [""; 0]);
    }

    #[test]
    fn a_service_of_roots_may_read_what_its_files_owner_may() {
        let root = Identity::System { user: "root".into(), group: "root".into() };
        let text = unit(&Spec { identity: root, ..spec() }, "charger-api-backup.service");
        assert_eq!(line(&text, "CapabilityBoundingSet="), "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER");
        assert_eq!(line(&unit(&spec(), "charger-api-backup.service"), "CapabilityBoundingSet="), "");
    }

    #[test]
    fn other_units_are_nobodys() {
        for text in ["", "[Unit]\n", MARK, &format!("{MARK} a.service\n[Unit]\n"), &format!("{MARK} a\n# {{}}\n")] {
            assert_eq!(Origin::read(text), None, "{text}");
        }
    }

    #[test]
    fn paths_with_special_characters_are_quoted() {
        let mut spec = spec();
        spec.origin.program = "/a b/xtask".into();
        spec.arguments = ["--root", r#"/srv/$HOME/50%/"x"/back\slash"#].map(Into::into).into();
        spec.writable = vec!["/srv/a b/100%".into(), "/srv/$x".into()];
        let text = unit(&spec, "charger-api-backup.service");
        assert_eq!(
            line(&text, "ExecStart="),
            r#""/a b/xtask" --root "/srv/$$HOME/50%%/\"x\"/back\\slash" --lock-wait 15m backup"#
        );
        assert_eq!(line(&text, "ReadWritePaths="), r#""-/srv/a b/100%%" "-/srv/$x""#);
    }

    #[test]
    fn what_can_not_stand_in_a_unit_is_refused() {
        use std::os::unix::ffi::OsStrExt as _;
        let not_utf8 = PathBuf::from(std::ffi::OsStr::from_bytes(b"/srv/\xff"));
        let root = Origin { root: not_utf8.clone(), ..spec().origin };
        for broken in [
            Spec { on_calendar: "daily\nUser=root".into(), ..spec() },
            Spec { project: "a\nb".into(), ..spec() },
            Spec { writable: vec!["/srv/a\nb".into()], ..spec() },
            Spec { mounts: vec![not_utf8], ..spec() },
            Spec { origin: root, ..spec() },
        ] {
            assert_eq!(broken.render().unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_project_gives_its_units_their_name() {
        assert_eq!(
            ["Charger API", "charger_api", "a--b.", "Ünï", "日本"].map(slug),
            ["charger-api", "charger-api", "a-b", "n", ""]
        );
    }

    #[test]
    fn homes_and_temporary_folders_are_hidden() {
        for hidden in ["/home/ada/charger", "/root", "/tmp/x", "/var/tmp/x/y", "/run/user/1000/x"] {
            assert!(is_hidden(Path::new(hidden)), "{hidden}");
        }
        for seen in ["/srv/home", "/homes/ada", "/var/lib/charger", "/"] {
            assert!(!is_hidden(Path::new(seen)), "{seen}");
        }
    }
}
