//! Words for figures and colours for meanings, as people read them.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, FixedOffset, Local};
use indicatif::DecimalBytes;

const GOOD: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// What a piece of text means; its colour follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
    /// Of less interest.
    Faint,
}

/// `text` in the colour of what it means.
pub fn paint(tone: Tone, text: &str) -> String {
    let style = match tone {
        Tone::Good => GOOD,
        Tone::Warning => WARNING,
        Tone::Bad => BAD,
        Tone::Faint => FAINT,
    };
    format!("{style}{text}{style:#}")
}

/// `text` without anything that a terminal could take for a command.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A size as people say it: `1.07 GB`.
pub fn size(bytes: u64) -> impl Display {
    DecimalBytes(bytes)
}

/// An age or a duration as people say it, in its largest unit: `45s`, `12m`, `3h`, `5d`.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A measured time: `340 ms`, `2.4 s`, `3 min 10 s`.
pub fn took(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds % 60_000 / 1000),
    }
}

/// A number of things: `1 file`, `3 files`.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A moment in local time, as `list` shows it and `--from` reads it.
pub fn local(at: DateTime<FixedOffset>) -> String {
    at.with_timezone(&Local).format("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_say_them() {
        assert_eq!([0, 59, 60, 3599, 3600, 172_799, 172_800].map(age), ["0s", "59s", "1m", "59m", "1h", "47h", "2d"]);
        assert_eq!([340, 2_450, 190_000].map(took), ["340 ms", "2.4 s", "3 min 10 s"]);
        assert_eq!(size(1_066_000_000).to_string(), "1.07 GB");
    }

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!([0, 1, 2].map(|number| count(number, "file")), ["0 files", "1 file", "2 files"]);
    }

    #[test]
    fn terminal_escapes_are_made_visible() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }
}
