//! What to do about an error: the one place where the hint of an error becomes text.
//!
//! The library knows neither flags nor the name of this program. Hints that need them are worded here. Commands of this
//! program stand in backquotes, and the printer completes them.

use backup::{Error, ErrorKind};

/// The other way out, where a restore can't keep what it would replace.
const WITHOUT_KEEPING: &str = "or restore without keeping what is replaced: --no-keep";

/// The hint of an error, if it has one.
pub fn of(error: &Error) -> Option<String> {
    match error.kind() {
        ErrorKind::NotKept => Some(joined(error.hint(), WITHOUT_KEEPING)),
        _ => error.hint().map(str::to_string),
    }
}

/// A hint with another way out.
pub fn joined(hint: Option<&str>, other: &str) -> String {
    hint.map_or_else(|| other.to_string(), |hint| format!("{hint}; {other}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_hint_of_its_kind_beside_its_own() {
        let hint = |kind| of(&Error::new(kind, "no room").with_hint("free some space"));
        assert_eq!(hint(ErrorKind::NoSpace).unwrap(), "free some space");
        assert_eq!(hint(ErrorKind::NotKept).unwrap(), format!("free some space; {WITHOUT_KEEPING}"));
        assert_eq!(of(&Error::new(ErrorKind::NotKept, "no room")).unwrap(), WITHOUT_KEEPING);
        assert_eq!(of(&Error::new(ErrorKind::NoSpace, "no room")), None);
    }
}
