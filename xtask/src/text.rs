//! Words for figures and colours for meanings, as people read them.

use std::borrow::Cow;
use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, FixedOffset, Local};
use indicatif::DecimalBytes;

/// Marks of the tones in a text until it is shown: noncharacters, which are for a program's own use (Unicode 23.7). So no
/// text from elsewhere can contain a command to the terminal.
const MARKS: [(Tone, char, Style); 4] = [
    (Tone::Good, '\u{fdd0}', AnsiColor::Green.on_default()),
    (Tone::Warning, '\u{fdd1}', AnsiColor::Yellow.on_default()),
    (Tone::Bad, '\u{fdd2}', AnsiColor::Red.on_default().bold()),
    (Tone::Faint, '\u{fdd3}', Style::new().dimmed()),
];

/// The end of a tone.
const END: char = '\u{fdd4}';

/// The most characters of a line that are shown: somebody else's file may have millions.
const LONGEST: usize = 10_000;

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

/// `text` in the colour of what it means, once it is [`shown`].
pub fn paint(tone: Tone, text: &str) -> String {
    let mark = MARKS.iter().find(|(of, ..)| *of == tone).map_or(END, |(_, mark, _)| *mark);
    format!("{mark}{text}{END}")
}

/// A line for a terminal: with its colours, and without other commands to the terminal.
pub fn shown(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars().take(LONGEST) {
        match MARKS.iter().find(|(_, mark, _)| *mark == c) {
            Some((.., style)) => shown += &style.to_string(),
            None if c == END => shown += RESET,
            None => shown.push(if is_printable(c) { c } else { char::REPLACEMENT_CHARACTER }),
        }
    }
    if line.chars().nth(LONGEST).is_some() {
        shown += RESET;
        shown.push('…');
    }
    shown
}

/// The width of a line in columns of a terminal once it is [`shown`]: colours take none.
pub fn width(line: &str) -> usize {
    let is_mark = |c: &char| *c == END || MARKS.iter().any(|(_, mark, _)| mark == c);
    line.chars().filter(|c| !is_mark(c)).take(LONGEST).count()
}

/// Ends all colours.
const RESET: &str = "\u{1b}[0m";

/// `text` without colours and other commands to the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_printable(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Whether a terminal shows a character in its place. Control characters, those between DEL and U+00A0 included, are
/// commands; others begin a line or change its direction.
pub fn is_printable(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns && !matches!(c, '\u{2028}' | '\u{2029}')
}

/// A word, quoted for a shell. Control characters, NUL and backquotes (a hint marks its commands by them) are replaced:
/// the command may then name another thing, but it never does another.
pub fn quoted(word: &str) -> String {
    let word = printable(word).replace('`', "\u{fffd}");
    shlex::try_quote(&word).map_or_else(|_| "''".into(), Cow::into_owned)
}

/// A size: `1.07 GB`.
pub fn size(bytes: u64) -> impl Display {
    DecimalBytes(bytes)
}

/// An age or a duration in its largest unit: `45s`, `12m`, `3h`, `5d`.
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
        for text in [printable("a\u{1b}[2Jb\nc\u{9b}1md"), shown("a\u{1b}[2Jb\nc\u{9b}1md")] {
            assert_eq!(text, "a\u{fffd}[2Jb\u{fffd}c\u{fffd}1md");
        }
        let all: String = (char::MIN..=char::MAX).filter(|c| !is_printable(*c)).collect();
        assert!(['\0', '\r', '\u{7f}', '\u{85}', '\u{9f}', '\u{202e}', '\u{2028}'].iter().all(|c| all.contains(*c)));
        assert!(shown(&all).chars().all(|c| c == char::REPLACEMENT_CHARACTER));
    }

    #[test]
    fn colours_come_from_this_program_alone() {
        for (tone, expected) in [
            (Tone::Good, "\u{1b}[32m"),
            (Tone::Warning, "\u{1b}[33m"),
            (Tone::Bad, "\u{1b}[1m\u{1b}[31m"),
            (Tone::Faint, "\u{1b}[2m"),
        ] {
            assert_eq!(shown(&paint(tone, "x")), format!("{expected}x\u{1b}[0m"));
            assert!(!shown(&format!("{expected}x\u{1b}[0m")).contains('\u{1b}'));
        }
    }

    #[test]
    fn a_line_that_goes_on_and_on_is_cut() {
        let line = shown(&paint(Tone::Bad, &"x".repeat(LONGEST * 2)));
        assert!(line.len() < LONGEST + 20 && line.ends_with("x\u{1b}[0m…"));
        assert_eq!(shown(&"x".repeat(LONGEST)).len(), LONGEST);
    }
}
