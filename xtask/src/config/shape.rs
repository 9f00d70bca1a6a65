//! Compares settings with the file that shows every one: known keys, values of the same kind. So messages name the key, the
//! kind and the line, and no list of keys is kept in the code.

use backup::{Error, ErrorKind, Result};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::file::{FILE, SHOWN};

/// Keys that must be in a section of which there can be several.
const REQUIRED: [(&str, &[&str]); 2] = [("database", &["name", "path"]), ("files", &["name", "paths"])];

/// The hint for a wrong value.
pub const EVERY_SETTING: &str = "every setting with its default: `init --dry-run -v`";

/// A mistake, and the byte where it is.
struct Mistake {
    at: usize,
    what: String,
    hint: String,
}

/// Compares settings with the file that shows every one; messages call the file `name`.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], naming the key and the line.
pub fn check(text: &str, name: &str) -> Result<()> {
    let shown = DeTable::parse(SHOWN).map_err(|e| not_toml(SHOWN, FILE, &e))?;
    let table = DeTable::parse(text).map_err(|e| not_toml(text, name, &e))?;
    let found = compare_tables(table.get_ref(), shown.get_ref());
    found.map_err(|Mistake { at, what, hint }| wrong_at(text, name, at, &what).with_hint(hint))
}

/// The error for a file that isn't TOML, or has a value that no setting can have.
pub fn not_toml(text: &str, name: &str, error: &toml::de::Error) -> Error {
    let at = error.span().map_or(0, |span| span.start);
    // The parser's hint about dates doesn't help: no setting is a date.
    let what = error.message().lines().map(|line| line.split(", expected a ").next().unwrap_or(line));
    let what = what.collect::<Vec<_>>().join("; ");
    wrong_at(text, name, at, &what).with_hint(EVERY_SETTING)
}

fn wrong_at(text: &str, name: &str, at: usize, what: &str) -> Error {
    let line = text[..at].matches('\n').count() + 1;
    Error::new(ErrorKind::InvalidInput, format!("{name}, line {line}: {what}"))
}

fn compare_tables(table: &DeTable<'_>, shown: &DeTable<'_>) -> Result<(), Mistake> {
    for (key, value) in table {
        let name: &str = key.get_ref();
        let Some(model) = shown.get(name) else { return Err(unknown(name, key.span().start, shown)) };
        let at = value.span().start;
        compare(name, value.get_ref(), model.get_ref(), at).map_err(|wrong| *wrong)?;
    }
    Ok(())
}

fn compare(name: &str, value: &DeValue<'_>, model: &DeValue<'_>, at: usize) -> Result<(), Box<Mistake>> {
    let wrong = |what: String, hint: &str| Err(Box::new(Mistake { at, what, hint: hint.into() }));
    match (model, value) {
        (DeValue::Table(shown), DeValue::Table(table)) => compare_tables(table, shown).map_err(Box::new),
        (DeValue::Table(_), _) => wrong(format!("`{name}` is a section"), &format!("write [{name}]")),
        (DeValue::Array(models), value) => compare_list(name, value, models.first().map(Spanned::get_ref), at),
        // Days have a unit of their own, so that a bare number can't be misread.
        (DeValue::String(example), DeValue::Integer(number)) if is_days(example) => {
            check_number(name, number, example, at)
        }
        (DeValue::String(example), value) if !value.is_str() => {
            let example = if example.is_empty() { "…" } else { example };
            wrong(format!("`{name}` must be text in quotes: \"{example}\""), EVERY_SETTING)
        }
        (DeValue::Boolean(_), value) if !value.is_bool() => {
            wrong(format!("`{name}` must be true or false"), EVERY_SETTING)
        }
        (DeValue::Integer(example), DeValue::Integer(number)) => check_number(name, number, example.as_str(), at),
        (DeValue::Integer(example), _) => {
            wrong(format!("`{name}` must be a whole number, such as {}", example.as_str()), EVERY_SETTING)
        }
        _ => Ok(()),
    }
}

fn compare_list(name: &str, value: &DeValue<'_>, model: Option<&DeValue<'_>>, at: usize) -> Result<(), Box<Mistake>> {
    let wrong = |what: String, hint: &str| Err(Box::new(Mistake { at, what, hint: hint.into() }));
    match value {
        DeValue::Array(values) => {
            values.iter().try_for_each(|value| compare_entry(name, value.get_ref(), model, value.span().start))
        }
        _ if model.is_some_and(DeValue::is_table) => wrong(
            format!("there can be several sections `{name}`"),
            &format!("write [[{name}]], or {name} = [] for none"),
        ),
        _ => wrong(format!("`{name}` must be a list: [\"…\", \"…\"]"), EVERY_SETTING),
    }
}

fn is_days(example: &str) -> bool {
    example.strip_suffix('d').is_some_and(|days| days.parse::<u32>().is_ok())
}

/// Refuses numbers that are too large for any setting. The setting itself checks its own limits.
fn check_number(name: &str, number: &DeInteger<'_>, example: &str, at: usize) -> Result<(), Box<Mistake>> {
    let wrong = |what: String| Err(Box::new(Mistake { at, what, hint: EVERY_SETTING.into() }));
    match i64::from_str_radix(number.as_str(), number.radix()) {
        Ok(..0) => wrong(format!("`{name}` must be 0 or more")),
        Ok(0..1_000_000_000) => Ok(()),
        _ => wrong(format!("`{name}` is too large; the default is {example}")),
    }
}

/// An entry of a list: text, or a section with all its required keys.
fn compare_entry(name: &str, value: &DeValue<'_>, model: Option<&DeValue<'_>>, at: usize) -> Result<(), Box<Mistake>> {
    let wrong = |what: String, hint: String| Err(Box::new(Mistake { at, what, hint }));
    match (model, value) {
        (Some(model @ DeValue::Table(_)), DeValue::Table(table)) => {
            compare(name, value, model, at)?;
            let required = REQUIRED.iter().filter(|(section, _)| *section == name).flat_map(|(_, keys)| *keys);
            match required.into_iter().find(|key| table.get(**key).is_none()) {
                Some(key) => wrong(format!("[[{name}]] lacks `{key}`"), EVERY_SETTING.into()),
                None => Ok(()),
            }
        }
        (Some(DeValue::Table(_)), _) => wrong(format!("`{name}` is made of sections"), format!("write [[{name}]]")),
        _ if value.is_str() => Ok(()),
        _ => wrong(format!("each entry of `{name}` must be text in quotes"), EVERY_SETTING.into()),
    }
}

fn unknown(name: &str, at: usize, shown: &DeTable<'_>) -> Mistake {
    let likeness = |key: &str| strsim::jaro_winkler(key, name);
    let keys = shown.keys().map(|key| key.get_ref().as_ref());
    let nearest = keys.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default();
    Mistake { at, what: format!("unknown key `{name}`"), hint: format!("did you mean `{nearest}`? {EVERY_SETTING}") }
}
