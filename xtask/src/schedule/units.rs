//! The systemd units of the schedule, rendered from the templates in `ops/systemd`. Pure.
//!
//! A unit begins with two comments: that this program wrote it, and for which project and with which flags
//! ([`Origin`]). By these it is distinguished from other units, and can be rendered again for comparison.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backup::Result;
use serde::{Deserialize, Serialize};

use super::unit_text::{bound, fill, line, paths, quoted, unwritable};

/// The ending of a unit's name, and its template.
const TEMPLATES: [(&str, &str); 6] = [
    (".service", include_str!("../../../ops/systemd/backup.service")),
    (".timer", include_str!("../../../ops/systemd/backup.timer")),
    ("-drill.service", include_str!("../../../ops/systemd/backup-drill.service")),
    ("-drill.timer", include_str!("../../../ops/systemd/backup-drill.timer")),
    ("-failure@.service", include_str!("../../../ops/systemd/backup-failure@.service")),
    (FOLLOW, include_str!("../../../ops/systemd/backup-follow.service")),
];

/// How the name of the service ends that makes increments.
pub const FOLLOW: &str = "-follow.service";

/// Places that the backup and the drill can read and write: `{{sandbox}}` in their templates.
const SANDBOX: &str = include_str!("../../../ops/systemd/sandbox.conf");

/// Restrictions of every system service: `{{confined}}`.
const CONFINED: &str = include_str!("../../../ops/systemd/confined.conf");

/// The user who reports a failure: `{{nobody}}`, in a system service.
const NOBODY: &str = include_str!("../../../ops/systemd/nobody.conf");

/// The same in a user's own service. It must also work without user namespaces, which may be the cause of the failure.
const NOBODY_OF_USERS: &str = "# As the user whose service manager this is.\nNoNewPrivileges=yes";

/// Restrictions that work in a system service only.
const OF_SYSTEM_SERVICES: &str = "\
DevicePolicy=closed
IPAddressDeny=any
IPAddressAllow=localhost
ProcSubset=pid
ProtectControlGroups=yes
ProtectKernelTunables=yes
ProtectProc=invisible";

/// The oldest systemd that knows `PrivateIPC=` and, with libraries of its time, the calls of Landlock. An older one rejects
/// them.
const NEWER: u32 = 249;

/// The calls of Landlock.
const LANDLOCK: &str = "landlock_create_ruleset landlock_add_rule landlock_restrict_self";

/// Folders whose content is hidden from the services, except for what they need. The first ones have a line of their own in
/// [`SANDBOX`].
const HIDDEN: [&str; 8] = ["/home", "/root", "/run", "/tmp", "/var/tmp", "/media", "/mnt", "/srv"];

/// How many of [`HIDDEN`] have a line of their own.
const HIDDEN_ANYWAY: usize = 5;

/// Folders of the system. They are needed, so the neighbours of a project in one of them can't be hidden.
const SYSTEM: [&str; 10] = ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr"];

/// The first line of this program's units.
const MARK: &str =
    "# Written by `cargo xtask install-timer`, which overwrites it. For changes of your own: systemctl edit";

/// The input of the units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The project, the program and the flags.
    pub origin: Origin,
    /// The project's name.
    pub project: String,
    /// The version of systemd.
    pub systemd: u32,
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
    /// Places that must be mounted first.
    pub mounts: Vec<PathBuf>,
    /// The backup folder by all its paths: a backup writes to it.
    pub backups: Vec<PathBuf>,
    /// Files in it that a drill writes.
    pub records: Vec<PathBuf>,
    /// The folders of the databases: a backup writes to them.
    pub data: Vec<PathBuf>,
    /// Other places that must be readable even if they are in a hidden folder.
    pub readable: Vec<PathBuf>,
    /// Whether the drill runs a command of the settings.
    pub has_command: bool,
    /// Whether a service makes increments.
    pub follows: bool,
}

/// The second line of a unit: what it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What the units' names begin with.
    pub unit: String,
    /// The project's root, absolute.
    pub root: PathBuf,
    /// The installed copy of this program that they start.
    pub program: PathBuf,
    /// Flags that replace settings.
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
    /// These flags, and the `remembered` ones that were not given again.
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
    /// The user's name; none for the user who installs the schedule.
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

    /// The names of all units that there may be.
    pub fn files(&self) -> impl Iterator<Item = String> {
        TEMPLATES.iter().map(|(ending, _)| format!("{}{ending}", self.unit))
    }
}

impl Spec {
    /// Renders the units.
    ///
    /// # Errors
    /// [`backup::ErrorKind::InvalidInput`] for a name or a path that can't stand in a unit.
    pub fn render(&self) -> Result<Vec<Unit>> {
        let (words, parts) = (self.words()?, self.parts());
        let render = |(ending, template): (&str, &str)| {
            let file = format!("{}{ending}", self.origin.unit);
            // Only one unit remembers the flags: the others don't change with them.
            let flags = if ending == ".timer" { self.origin.flags.clone() } else { Flags::default() };
            let origin = Origin { flags, ..self.origin.clone() };
            let origin = serde_json::to_string(&origin).map_err(|_| unwritable(&self.origin.root.display()))?;
            let places = if ending == "-drill.service" { self.places_of_drill()? } else { self.places_of_backup()? };
            let body = fill(&fill(&fill(template, &parts), &words), &places);
            Ok(Unit { text: format!("{MARK} {file}\n# {origin}\n\n{body}"), file })
        };
        TEMPLATES.into_iter().filter(|(ending, _)| self.follows || *ending != FOLLOW).map(render).collect()
    }

    /// Values of the `{{word}}`s that contain further words.
    fn parts(&self) -> BTreeMap<&'static str, String> {
        let confined = BTreeMap::from([("confined", CONFINED.trim_end().to_string())]);
        let nobody = match self.identity {
            Identity::System { .. } => fill(NOBODY.trim_end(), &confined),
            Identity::User => NOBODY_OF_USERS.into(),
        };
        let nobody = fill(&nobody, &BTreeMap::from([("capabilities", String::new())]));
        BTreeMap::from([("sandbox", fill(SANDBOX.trim_end(), &confined)), ("nobody", nobody)])
    }

    /// Values of the other `{{word}}`s, except the places.
    fn words(&self) -> Result<BTreeMap<&'static str, String>> {
        let arguments = self.arguments.iter().map(|word| quoted(word)).collect::<Result<Vec<_>>>()?;
        let program = [paths("", &[&self.origin.program])?, arguments.join(" ")].join(" ");
        let mut words = self.words_of_identity();
        words.extend([
            ("unit", self.origin.unit.clone()),
            ("project", line(&self.project)?),
            ("landlock", if self.systemd >= NEWER { LANDLOCK } else { "" }.into()),
            // systemd replaces variables in a command line.
            ("program", program.replace('$', "$$")),
            ("on_calendar", line(&self.on_calendar)?),
            ("drill_on_calendar", line(&self.drill_on_calendar)?),
            ("randomized_delay", humantime::format_duration(self.randomized_delay).to_string()),
            ("mounts", paths("", &self.mounts)?),
            ("no_compiler", if self.has_command { "no" } else { "yes" }.into()),
        ]);
        Ok(words)
    }

    /// Those that depend on who the services run as.
    fn words_of_identity(&self) -> BTreeMap<&'static str, String> {
        let private_ipc = if self.systemd >= NEWER { "\nPrivateIPC=yes" } else { "" };
        let (identity, by_scope, journalctl, target) = match &self.identity {
            Identity::System { user, group } => (
                format!("User={user}\nGroup={group}"),
                format!("{OF_SYSTEM_SERVICES}{private_ipc}"),
                "journalctl -u",
                "multi-user.target",
            ),
            // By the identifier: there, the last lines of a process may come without the unit's name.
            Identity::User => (
                "# As the user whose service manager this is.".into(),
                "# That can make no sandbox but one that hides the other users.\nPrivateUsers=yes".into(),
                "journalctl --user -t",
                "default.target",
            ),
        };
        let as_root = matches!(&self.identity, Identity::System { user, .. } if user == "root");
        // Without these, root may read and write less than the owner of the files.
        let capabilities = if as_root { "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER" } else { "" };
        BTreeMap::from([
            ("identity", identity),
            ("by_scope", by_scope),
            ("capabilities", capabilities.into()),
            ("journalctl", journalctl.into()),
            ("target", target.into()),
        ])
    }

    fn places_of_backup(&self) -> Result<BTreeMap<&'static str, String>> {
        self.places(self.backups.iter().chain(&self.data).collect(), self.readable.iter().collect())
    }

    fn places_of_drill(&self) -> Result<BTreeMap<&'static str, String>> {
        self.places(self.records.iter().collect(), self.readable.iter().chain(&self.backups).collect())
    }

    fn places(&self, writable: Vec<&PathBuf>, readable: Vec<&PathBuf>) -> Result<BTreeMap<&'static str, String>> {
        let folders = self.hidden();
        let is_hidden = |path: &PathBuf| folders.iter().any(|folder| path.starts_with(folder));
        let (hidden_writable, writable) = writable.into_iter().partition::<Vec<_>, _>(|path| is_hidden(path));
        // A place that is bound twice stays read-only.
        let readable = readable.into_iter().filter(|path| is_hidden(path) && !hidden_writable.contains(path));
        let readable = outermost(&readable.collect::<Vec<_>>());
        let holds = |folder: &&PathBuf| readable.iter().chain(&hidden_writable).any(|path| path.starts_with(folder));
        let by_us =
            folders.iter().filter(|folder| !HIDDEN[..HIDDEN_ANYWAY].iter().any(|other| folder.starts_with(other)));
        let (emptied, closed) = by_us.partition::<Vec<_>, _>(holds);
        Ok(BTreeMap::from([
            ("emptied", bound("", ":ro", &emptied)?),
            // The program reports a missing one: it can say more about it than systemd.
            ("closed", paths("-", &closed)?),
            ("writable", paths("-", &writable)?),
            ("readable", bound("-", "", &readable)?),
            ("hidden_writable", bound("-", "", &hidden_writable)?),
        ]))
    }

    /// The folders whose content is hidden: other projects may be there. The folders around this project and its backups are
    /// among them.
    fn hidden(&self) -> Vec<PathBuf> {
        let needed: Vec<&PathBuf> = self.readable.iter().chain(&self.backups).chain(&self.data).collect();
        let own = [&self.origin.root].into_iter().chain(&self.backups).chain(&self.data);
        let beside = own.filter_map(|path| path.parent()).filter(|folder| {
            let is_needed = needed.iter().any(|path| folder.starts_with(path));
            let is_system = SYSTEM.iter().any(|system| folder.starts_with(system));
            !is_needed && !is_system && *folder != Path::new("/") && *folder != Path::new("/var")
        });
        let mut folders: Vec<PathBuf> = HIDDEN.iter().map(PathBuf::from).chain(beside.map(Path::to_path_buf)).collect();
        folders.sort();
        folders.dedup();
        outermost(&folders.iter().collect::<Vec<_>>()).into_iter().cloned().collect()
    }
}

/// The paths that are not inside another one.
fn outermost<'p>(paths: &[&'p PathBuf]) -> Vec<&'p PathBuf> {
    let inside = |path: &PathBuf| paths.iter().any(|other| *other != path && path.starts_with(other));
    paths.iter().filter(|path| !inside(path)).copied().collect()
}

/// Whether a unit of this name is started with the machine, and not by another unit.
pub fn starts_by_itself(file: &str) -> bool {
    file.ends_with(".timer") || file.ends_with(FOLLOW)
}

/// A project's name as a name for units: letters, digits and single dashes. Empty if it has no letter or digit.
pub fn slug(project: &str) -> String {
    let words = project.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use backup::ErrorKind;

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
            systemd: 252,
            identity: Identity::System { user: "charger".into(), group: "api".into() },
            arguments: ["--root", "/srv/charger"].map(Into::into).into(),
            on_calendar: "*-*-* 02:00:00".into(),
            drill_on_calendar: "Sun *-*-* 04:00:00".into(),
            randomized_delay: Duration::from_secs(300),
            mounts: vec![path("/srv/charger"), path("/srv/charger/backups")],
            backups: vec![path("/srv/charger/backups")],
            records: vec![path("/srv/charger/backups/.lock"), path("/srv/charger/backups/history.jsonl")],
            data: vec![path("/srv/charger/data")],
            readable: vec![path("/srv/charger"), path("/usr/local/lib/charger-api-ops/xtask")],
            has_command: false,
            follows: true,
        }
    }

    fn spec_in(root: &Path) -> Spec {
        let spec = spec();
        Spec { origin: Origin { root: root.into(), ..spec.origin }, ..spec }
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
            backups: vec![at_home("/backups")],
            data: vec![at_home("/data")],
            ..spec_in(&at_home(""))
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
        spec.data = vec!["/a b/100%".into(), "/$x".into()];
        let text = unit(&spec, "charger-api-backup.service");
        assert_eq!(
            line(&text, "ExecStart="),
            r#""/a b/xtask" --root "/srv/$$HOME/50%%/\"x\"/back\\slash" --lock-wait 15m backup"#
        );
        assert_eq!(line(&text, "ReadWritePaths="), r#""-/$x""#);
        assert_eq!(line(&text, "BindPaths="), r#"-/srv/charger/backups "-/a b/100%%""#);
    }

    #[test]
    fn what_can_not_stand_in_a_unit_is_refused() {
        use std::os::unix::ffi::OsStrExt as _;
        let not_utf8 = PathBuf::from(std::ffi::OsStr::from_bytes(b"/srv/\xff"));
        let root = Origin { root: not_utf8.clone(), ..spec().origin };
        for broken in [
            Spec { on_calendar: "daily\nUser=root".into(), ..spec() },
            Spec { project: "a\nb".into(), ..spec() },
            Spec { data: vec!["/srv/a\nb".into()], ..spec() },
            // This would bind the folder to another place.
            Spec { backups: vec!["/srv/b:/etc/systemd".into()], ..spec() },
            Spec { readable: vec!["/srv/b:/etc/systemd".into()], ..spec() },
            // The next line, RequiresMountsFor=, would be a part of this one.
            Spec { project: "charger\\".into(), ..spec() },
            Spec { on_calendar: "daily\\".into(), ..spec() },
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
    fn what_is_beside_a_project_its_backups_and_its_data_is_hidden() {
        let path = |text: &str| PathBuf::from(text);
        let hidden = |root: &str, backups: &str, data: &str| {
            let spec = Spec {
                backups: vec![path(backups)],
                data: vec![path(data)],
                readable: vec![path(root)],
                ..spec_in(Path::new(root))
            };
            let known = |folder: &PathBuf| HIDDEN.iter().any(|known| *folder == path(known));
            let hidden = spec.hidden().into_iter().filter(|folder| !known(folder));
            hidden.map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(hidden("/opt/charger", "/opt/charger/backups", "/opt/charger/data"), "/opt");
        assert_eq!(hidden("/opt/charger", "/disk/backups/charger", "/data/charger"), "/data /disk/backups /opt");
        assert_eq!(hidden("/data/apps/charger", "/data/backups", "/data/apps/charger"), "/data");
        // They are hidden already, or the system's, or what holds them is needed.
        assert_eq!(hidden("/home/ada/charger", "/srv/b/charger", "/home/ada/charger"), "");
        assert_eq!(hidden("/charger", "/var/charger", "/usr/lib/charger"), "");
        assert_eq!(hidden("/charger", "/data/db/backups", "/data/db"), "/data");
    }

    #[test]
    fn a_hidden_folder_is_empty_but_for_what_is_needed_and_closed_if_nothing_is() {
        let spec = Spec { backups: vec!["/mnt/disk/backups".into()], ..spec() };
        let text = unit(&spec, "charger-api-backup.service");
        assert_eq!(line(&text, "TemporaryFileSystem="), "/dev/shm:mode=1777 /run:ro /mnt:ro /srv:ro");
        assert_eq!(line(&text, "InaccessiblePaths="), "-/media");
        assert_eq!(line(&text, "BindReadOnlyPaths="), "-/srv/charger");
        assert_eq!(line(&text, "BindPaths="), "-/mnt/disk/backups -/srv/charger/data");
    }

    #[test]
    fn a_drill_writes_the_lock_and_the_ledger_alone() {
        let text = unit(&spec(), "charger-api-backup-drill.service");
        assert_eq!(line(&text, "BindPaths="), "-/srv/charger/backups/.lock -/srv/charger/backups/history.jsonl");
        assert_eq!((line(&text, "ReadWritePaths="), line(&text, "BindReadOnlyPaths=")), ("", "-/srv/charger"));
    }

    #[test]
    fn an_older_systemd_gets_no_line_that_it_does_not_know() {
        for unit in (Spec { systemd: 247, ..spec() }).render().unwrap() {
            assert!(!unit.text.contains("landlock") && !unit.text.contains("PrivateIPC"), "{}", unit.text);
            assert!(!unit.text.contains("{{"), "{}", unit.text);
        }
    }

    #[test]
    fn without_increments_there_is_no_service_for_them() {
        let files = |follows| {
            let units = Spec { follows, ..spec() }.render().unwrap();
            units.into_iter().map(|unit| unit.file).collect::<Vec<_>>()
        };
        assert_eq!(files(true), spec().origin.files().collect::<Vec<_>>());
        assert_eq!(files(false).len(), files(true).len() - 1);
        assert!(!files(false).iter().any(|file| file.ends_with(FOLLOW)));
        let user = Spec { identity: Identity::User, ..spec() };
        assert_eq!(line(&unit(&user, "charger-api-backup-follow.service"), "WantedBy="), "default.target");
    }

    #[test]
    fn only_the_command_of_a_drill_may_compile_as_it_runs() {
        let spec = Spec { has_command: true, ..spec() };
        let allowed = |file: &str| line(&unit(&spec, file), "MemoryDenyWriteExecute=").to_string();
        assert_eq!(allowed("charger-api-backup-drill.service"), "no");
        assert_eq!(allowed("charger-api-backup.service"), "yes");
        assert_eq!(line(&unit(&self::spec(), "charger-api-backup-drill.service"), "MemoryDenyWriteExecute="), "yes");
    }
}
