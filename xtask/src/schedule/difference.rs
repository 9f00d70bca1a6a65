//! The changes that an installation makes to a text.

use similar::TextDiff;

use crate::output::Output;
use crate::text::{Tone, paint};

/// Shows them.
pub fn show(output: &Output, name: &str, old: &str, new: &str) {
    let diff = TextDiff::from_lines(old, new).unified_diff().header(name, "as it will be").to_string();
    for line in diff.lines() {
        let tone = match line.as_bytes().first() {
            Some(b'+') => Tone::Good,
            Some(b'-') => Tone::Bad,
            _ => Tone::Faint,
        };
        output.line(&paint(tone, line));
    }
}
