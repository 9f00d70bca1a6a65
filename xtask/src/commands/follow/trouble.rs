//! Errors of rounds, each told once when it begins, and once when all of them have ended.
//!
//! An error is the same as before if it is of the same kind and about the same source. Its text is not compared: it may
//! have the id of the round in it, or how much room is left.

use backup::{Error, ErrorKind};
use chrono::{DateTime, FixedOffset};

use crate::output::Output;
use crate::text::{Tone, local};

/// The errors since the last round without any.
#[derive(Debug, Default)]
pub struct Trouble {
    began: Option<DateTime<FixedOffset>>,
    /// Those that were told of.
    told: Vec<(Option<String>, ErrorKind)>,
}

impl Trouble {
    /// When it began; none if all is well.
    pub fn since(&self) -> Option<DateTime<FixedOffset>> {
        self.began
    }

    /// Tells of the errors of a round that are new, or that there is none any more.
    pub fn tell(&mut self, output: &Output, now: DateTime<FixedOffset>, errors: &[(Option<&str>, &Error)]) {
        if errors.is_empty() {
            if let Some(began) = self.end() {
                let (now, began) = (local(now), local(began));
                output.done(Tone::Good, &format!("all is saved again since {now}, after failures since {began}"));
            }
            return;
        }
        for error in self.add(now, errors) {
            match error.kind() {
                ErrorKind::Locked => output.note(&format!("a round is left out: {}", error.one_line())),
                _ => output.problem(error),
            }
        }
    }

    /// Ends it. Gives when it began.
    fn end(&mut self) -> Option<DateTime<FixedOffset>> {
        std::mem::take(self).began
    }

    /// Adds errors. Gives those that are new.
    fn add<'e>(&mut self, now: DateTime<FixedOffset>, errors: &[(Option<&str>, &'e Error)]) -> Vec<&'e Error> {
        self.began.get_or_insert(now);
        let mut news = Vec::new();
        for (source, error) in errors {
            if !self.is_known(*source, error.kind()) {
                self.told.push((source.map(str::to_string), error.kind()));
                news.push(*error);
            }
        }
        news
    }

    /// Whether such an error was told of. If a round saves nothing else, the error of a source is that of the round.
    fn is_known(&self, source: Option<&str>, kind: ErrorKind) -> bool {
        let is_same = |other: Option<&str>| other == source || other.is_none() || source.is_none();
        self.told.iter().any(|(other, told)| *told == kind && is_same(other.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: u32) -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(&format!("2025-12-10T14:{minute:02}:00Z")).unwrap()
    }

    fn error(kind: ErrorKind, message: &str) -> Error {
        Error::new(kind, message)
    }

    #[test]
    fn an_error_is_news_once_whatever_its_figures_and_again_after_its_end() {
        let mut trouble = Trouble::default();
        let full = |figure: u32| error(ErrorKind::NoSpace, &format!("{figure} bytes are free"));
        assert_eq!(trouble.add(at(1), &[(None, &full(5))]).len(), 1);
        assert_eq!(trouble.add(at(2), &[(None, &full(4))]).len(), 0);
        assert_eq!(trouble.add(at(3), &[(None, &error(ErrorKind::Busy, "locked"))]).len(), 1, "another kind");
        assert_eq!(trouble.add(at(4), &[(None, &full(3))]).len(), 0, "in the same trouble");
        assert_eq!((trouble.since(), trouble.end(), trouble.end()), (Some(at(1)), Some(at(1)), None));
        assert_eq!(trouble.add(at(5), &[(None, &full(2))]).len(), 1);
    }

    #[test]
    fn each_source_has_errors_of_its_own() {
        let mut trouble = Trouble::default();
        let gone = error(ErrorKind::MissingSource, "x doesn't exist");
        assert_eq!(trouble.add(at(1), &[(Some("a"), &gone), (Some("b"), &gone)]).len(), 2);
        assert_eq!(trouble.add(at(2), &[(Some("b"), &gone), (None, &gone)]).len(), 0);
    }
}
