//! What to do about an error: the one place where the hint of an error becomes text.
//!
//! The library knows neither flags nor the name of this program. Hints that need them are worded here; commands of this
//! program stand in backquotes, and the printer completes them.

use std::borrow::Cow;

use backup::{Error, ErrorKind};

/// A restore could not keep what it would replace.
const WITHOUT_KEEPING: &str = "or restore without keeping what is replaced: --no-keep";

/// The hint of an error, if it has one.
pub fn of(error: &Error) -> Option<Cow<'_, str>> {
    let hint = error.hint().map(Cow::from);
    match error.kind() {
        ErrorKind::NotKept => Some(joined(hint, WITHOUT_KEEPING).into()),
        _ => hint,
    }
}

/// A hint, and another way out.
pub fn joined(hint: Option<Cow<'_, str>>, other: &str) -> String {
    hint.map_or_else(|| other.to_string(), |hint| format!("{hint}; {other}"))
}
