//! The settings that `init` writes: `ops/backup.toml`, which shows every setting with its default, but with the databases
//! and files that were found. Pure.

use backup::{RelPath, is_set_name};

use crate::config::SHOWN;
use crate::survey::Survey;

/// The databases of `survey` with the names that they get, and the settings.
pub fn fill(survey: &Survey) -> (Vec<(String, &RelPath)>, String) {
    let names = names(survey.databases.iter().map(|(path, _)| path));
    let (before, database, between, files, after) = parts();
    let nothing = names.is_empty() && survey.files.is_empty();
    let mut text = before.to_string();
    if names.is_empty() && !nothing {
        text += "# No database was found. [[database]] sections would take the place of this line.\ndatabase = []\n\n";
    }
    if survey.files.is_empty() {
        text +=
            "# No configuration file was found. A [[files]] section would take the place of this line.\nfiles = []\n\n";
    }
    match names.split_first() {
        None if nothing => text.extend(["# No database was found: correct `path` below.\n", database]),
        None => text += &commented(database),
        Some((first, others)) => text += &sections(database, first, others),
    }
    text += between;
    text += &match survey.files.as_slice() {
        [] => commented(files),
        paths => set(files, "paths", &list(paths)),
    };
    (names, text + after)
}

/// A section for each database: for the first the one that explains its keys, for the others short ones.
fn sections(database: &str, first: &(String, &RelPath), others: &[(String, &RelPath)]) -> String {
    let (name, path) = first;
    let mut text = set(&set(database, "name", &quoted(name)), "path", &quoted(path.as_str()));
    for (name, path) in others {
        let (name, path) = (quoted(name), quoted(path.as_str()));
        text.extend(["\n[[database]]\nname = ", &name, "\npath = ", &path, "\n"]);
    }
    text
}

/// The parts of the file: before the databases, databases, between, files, after. Explanations belong to their section.
fn parts() -> (&'static str, &'static str, &'static str, &'static str, &'static str) {
    let at = |section: &str| SHOWN.find(section).unwrap_or(SHOWN.len());
    // An explanation begins after an empty line, and a section ends with one.
    let begin = |section: &str| SHOWN[..at(section)].rfind("\n\n").map_or(0, |end| end + 2);
    let end = |section: &str| SHOWN[at(section)..].find("\n\n").map_or(SHOWN.len(), |end| at(section) + end + 1);
    let (database, files) = ("\n[[database]]\n", "\n[[files]]\n");
    let (a, b, c, d) = (begin(database), end(database), begin(files), end(files));
    (&SHOWN[..a], &SHOWN[a..b], &SHOWN[b..c], &SHOWN[c..d], &SHOWN[d..])
}

/// `section` with another value for `key`.
fn set(section: &str, key: &str, value: &str) -> String {
    let begins = format!("{key} = ");
    let line = |line: &str| if line.starts_with(&begins) { format!("{begins}{value}\n") } else { format!("{line}\n") };
    section.lines().map(line).collect()
}

fn commented(section: &str) -> String {
    section
        .lines()
        .map(|line| if line.starts_with('#') { format!("{line}\n") } else { format!("# {line}\n") })
        .collect()
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(paths: &[RelPath]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| quoted(path.as_str())).collect();
    match quoted.as_slice() {
        [one] => format!("[{one}]"),
        several => format!("[\n    {},\n]", several.join(",\n    ")),
    }
}

/// A name for each database: its file's, with its folder's if two files have the same name.
fn names<'a>(paths: impl Iterator<Item = &'a RelPath>) -> Vec<(String, &'a RelPath)> {
    let mut names: Vec<(String, &RelPath)> = Vec::new();
    for path in paths {
        let (folder, file) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let is_free =
            |name: &String| is_set_name(name) && name != "config" && names.iter().all(|(taken, _)| taken != name);
        let short = word(stem);
        let candidates = [format!("{short}_db"), word(&format!("{folder}_{short}_db"))].into_iter();
        let numbered = (2..).map(|number| format!("{short:.40}_db{number}"));
        names.extend(candidates.chain(numbered).find(is_free).map(|name| (name, path)));
    }
    names
}

/// `text` in lower case, with `_` for everything but letters and digits.
fn word(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    text.chars().map(plain).collect::<String>().trim_matches('_').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, FILE};

    fn survey(databases: &[&str], files: &[&str]) -> Survey {
        let path = |path: &&str| RelPath::new(*path).unwrap();
        Survey {
            databases: databases.iter().map(|text| (path(text), 1)).collect(),
            files: files.iter().map(path).collect(),
            is_cut: false,
        }
    }

    #[test]
    fn the_settings_hold_what_was_found_and_every_default() {
        for (databases, files) in [
            (&["data/app.db"][..], &[".env", "data/x.json"][..]),
            (&["a.db", "b/a.db", "c/ä \"quoted\".db"], &[".env"]),
            (&["a.db"], &[]),
            (&[], &[".env"]),
        ] {
            let survey = survey(databases, files);
            let config = Config::parse(&fill(&survey).1, FILE).unwrap();
            let paths: Vec<&str> = config.database.iter().map(|database| database.path.as_str()).collect();
            assert_eq!(paths, databases);
            let paths: Vec<&str> = config.files.iter().flat_map(|set| &set.paths).map(RelPath::as_str).collect();
            assert_eq!(paths, files);
            let Config { database, files, .. } = Config::default();
            assert_eq!(Config { database, files, ..config }, Config::default());
        }
    }

    #[test]
    fn every_line_that_shows_a_setting_is_there() {
        let text = fill(&survey(&["a.db", "b.db"], &[".env", "c.json"])).1;
        let kept =
            |line: &&str| !["name = \"sessions_db\"", "path =", "paths ="].iter().any(|start| line.starts_with(start));
        for line in SHOWN.lines().filter(kept) {
            assert!(text.lines().any(|other| other == line), "{line}");
        }
        for explained in [fill(&survey(&[], &[".env"])).1, fill(&survey(&["a.db"], &[])).1] {
            for key in SHOWN
                .lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(|line| line.split_once(" = "))
                .map(|(key, _)| key)
            {
                assert!(explained.lines().any(|line| line.trim_start_matches("# ").starts_with(key)), "{key}");
            }
        }
    }

    #[test]
    fn where_nothing_was_found_the_defaults_are_there_to_be_corrected() {
        let text = fill(&survey(&[], &[])).1;
        let config = Config::parse(&text, FILE).unwrap();
        assert_eq!(config.database, Config::default().database);
        assert!(text.contains("# No database was found: correct `path` below."), "{text}");
    }

    #[test]
    fn names_are_valid_and_each_is_given_once() {
        let long = format!("{}.db", "x".repeat(200));
        let paths =
            ["app.db", "b/app.sqlite3", "b.app", "Ünï-Code.db", "manifest", "a-b.db", "a_b.db", "a b.db", ".db", &long];
        let paths: Vec<RelPath> = paths.iter().map(|path| RelPath::new(*path).unwrap()).collect();
        let names: Vec<String> = names(paths.iter()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), paths.len());
        assert!(names.iter().all(|name| is_set_name(name)), "{names:?}");
        assert_eq!(names[..4], ["app_db", "b_app_db", "b_db", "n__code_db"]);
        let mut distinct = names.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }
}
