//! Ids: when a backup began, in UTC, to the second.
//!
//! Local time repeats an hour each year and moves with the host, so ids are UTC. The ids of a store strictly increase: they
//! sort by age even after the clock stood still or went back.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

const FORMAT: &str = "%Y%m%d_%H%M%S";

/// The name of one backup: `YYYYMMDD_HHMMSS`, UTC, years 0000 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BackupId(NaiveDateTime);

impl BackupId {
    /// Characters of an id.
    pub const LEN: usize = 15;

    /// The id of a backup that began at `now`; fractions of a second are dropped.
    pub fn at(now: DateTime<Utc>) -> Self {
        let whole = now.naive_utc();
        Self(whole.with_nanosecond(0).unwrap_or(whole))
    }

    /// The id of a new backup: that of `now`, or one second after `last` if the clock stood still or went back.
    pub fn next(now: DateTime<Utc>, last: Option<Self>) -> Self {
        let wanted = Self::at(now);
        match last {
            Some(last) if wanted <= last => last.successor(),
            _ => wanted,
        }
    }

    /// The id one second later.
    #[must_use]
    pub fn successor(self) -> Self {
        Self(self.0 + TimeDelta::seconds(1))
    }

    /// Whether it can be written: the year has at most four digits.
    pub(crate) fn is_valid(self) -> bool {
        self.0.year() <= 9999
    }

    /// The time that it names.
    pub fn time(self) -> DateTime<Utc> {
        self.0.and_utc()
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format(FORMAT))
    }
}

impl FromStr for BackupId {
    type Err = Error;

    /// Accepts only what `Display` writes; anything else is [`ErrorKind::InvalidInput`].
    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text.as_bytes()).map(Self).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("not a backup id: {text:?}"))
                .with_hint("ids look like 20251210_140000; `list` shows them")
        })
    }
}

/// Written by hand for speed: a listing of ten thousand backups has thirty thousand names with ids.
fn parse(text: &[u8]) -> Option<NaiveDateTime> {
    let has_shape = text.len() == BackupId::LEN
        && text.iter().enumerate().all(|(at, byte)| if at == 8 { *byte == b'_' } else { byte.is_ascii_digit() });
    let number = |from: usize, to: usize| text[from..to].iter().fold(0, |sum, byte| sum * 10 + u32::from(byte - b'0'));
    let date = |year: u32| NaiveDate::from_ymd_opt(year.cast_signed(), number(4, 6), number(6, 8));
    has_shape.then(|| date(number(0, 4))?.and_hms_opt(number(9, 11), number(11, 13), number(13, 15))).flatten()
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for BackupId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> BackupId {
        text.parse().unwrap()
    }

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        assert_eq!(id("20251210_140000").to_string(), "20251210_140000");
        assert_eq!(id("20251210_140000").time().to_rfc3339(), "2025-12-10T14:00:00+00:00");
    }

    #[test]
    fn what_only_resembles_an_id_is_refused() {
        for text in [
            "",
            "20251210",
            "20251210_1400",
            "20251310_140000",
            "20251210_240000",
            "2025121_0140000",
            " 20251210_140000",
            "20251210-140000",
            "20251210_140060",
        ] {
            assert!(text.parse::<BackupId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn ids_increase_when_the_clock_stands_or_goes_back() {
        let last = id("20251210_140000");
        assert_eq!(BackupId::next(last.time(), Some(last)), id("20251210_140001"));
        assert_eq!(BackupId::next(id("20200101_000000").time(), Some(last)), id("20251210_140001"));
        assert_eq!(BackupId::next(id("20251211_000000").time(), Some(last)), id("20251211_000000"));
        assert_eq!(BackupId::next(last.time(), None), last);
    }

    #[test]
    fn the_successor_carries_over_the_end_of_a_year() {
        assert_eq!(id("20251231_235959").successor(), id("20260101_000000"));
    }
}
