//! The syntax of configuration files, by their names: JSON and `.env`.

use super::files::ConfigFile;
use crate::record::manifest::Warning;

/// What is wrong with a configuration file's text, if its name says what it should be. The warning never quotes the text,
/// which may be a secret.
pub(crate) fn flaw(file: &ConfigFile) -> Option<Warning> {
    let warning = |code: &str, message: String| Some(Warning { code: code.into(), message });
    let name = file.path.file_name();
    if name.ends_with(".json") {
        let error = serde_json::from_slice::<serde::de::IgnoredAny>(&file.content).err()?;
        return warning("invalid_json", format!("{} is not valid JSON (line {})", file.path, error.line()));
    }
    if name == ".env" || name.starts_with(".env.") || name.ends_with(".env") {
        let line = first_bad_env_line(&file.content)?;
        return warning("invalid_env", format!("{} has a line that sets nothing (line {line})", file.path));
    }
    None
}

/// The first line, counted from 1, that is not blank, a comment, `NAME=value` (perhaps after `export`), or inside a quoted
/// value that began on an earlier line.
fn first_bad_env_line(content: &[u8]) -> Option<usize> {
    let Ok(text) = std::str::from_utf8(content) else { return Some(1) };
    let mut open_quote = None;
    for (at, line) in text.lines().enumerate() {
        if let Some(quote) = open_quote {
            open_quote = (!line.trim_end().ends_with(quote)).then_some(quote);
            continue;
        }
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.strip_prefix("export ").unwrap_or(line).split_once('=') else {
            return Some(at + 1);
        };
        if !is_env_name(name.trim()) {
            return Some(at + 1);
        }
        open_quote = unclosed_quote(value.trim());
    }
    open_quote.map(|_| text.lines().count())
}

fn is_env_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(plain)
}

fn unclosed_quote(value: &str) -> Option<char> {
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    (!value[1..].contains(quote)).then_some(quote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::relpath::RelPath;

    fn code(path: &str, content: &str) -> Option<String> {
        let path = RelPath::new(path).unwrap();
        let file = ConfigFile { path, mode: 0, uid: 0, gid: 0, mtime: 0, content: content.into() };
        flaw(&file).map(|warning| format!("{}: {}", warning.code, warning.message))
    }

    #[test]
    fn env_files_as_people_write_them_are_fine() {
        let env =
            "# comment\n\nA=1\nexport B = two\nC=\"with # and =\"\nKEY=\"-----BEGIN\nlines\n-----END\"\nD='x'\nE=";
        assert_eq!(code(".env", env), None);
        assert_eq!(code(".env", ""), None);
    }

    #[test]
    fn a_line_that_sets_nothing_is_named_by_its_number_alone() {
        let message = "invalid_env: .env has a line that sets nothing (line 2)";
        assert_eq!(code(".env", "A=1\nsecret-without-a-name\n").as_deref(), Some(message));
        assert_eq!(code(".env", "A=1\n=secret\n").as_deref(), Some(message));
        assert_eq!(code(".env", "A=1\nB=\"never closed").as_deref(), Some(message));
    }

    #[test]
    fn json_has_to_parse() {
        assert_eq!(code("data/station_info.json", "{\"id\": 1}"), None);
        let message = "invalid_json: data/station_info.json is not valid JSON (line 2)";
        assert_eq!(
            code("data/station_info.json", "{\n\"id\": 1,\n").as_deref().map(|m| &m[..30]),
            Some(&message[..30])
        );
        assert_eq!(code("notes.txt", "{"), None);
    }
}
