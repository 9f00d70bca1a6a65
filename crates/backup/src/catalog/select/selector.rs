//! What a person can say to name a backup: `latest`, an id, or a time.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc, Weekday};

use crate::error::{Error, ErrorKind, Result};
use crate::record::id::BackupId;

/// A way to name a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest one.
    Latest,
    /// The newest one that began at or before a moment, given as `text`.
    At {
        /// The last moment that counts.
        moment: DateTime<Utc>,
        /// What was given.
        text: String,
    },
    /// The only one whose id begins with this.
    Prefix(String),
}

impl Selector {
    /// Reads `latest`, an id, the beginning of one, or a time: `2025-12-10 17:00` (with or without seconds, with `T`),
    /// `2025-12-10`, `yesterday`, `monday` or `last monday` (the whole day), `yesterday 17:00`, `17:00` (today), `now`,
    /// `2 hours ago`, `-2h`, in the zone of `now`, or RFC 3339 with its own offset. A weekday is the last one before
    /// `now`. A time without seconds means the whole minute: that is what `list` shows.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for anything else, and for a local time that a change of clocks skips.
    pub fn parse<Tz: TimeZone>(text: &str, now: &DateTime<Tz>) -> Result<Self> {
        let text = text.trim();
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let id_like = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
        if (1..=BackupId::LEN).contains(&text.len()) && id_like {
            return Ok(Self::Prefix(text.to_string()));
        }
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At { moment: moment.to_utc(), text: text.to_string() });
        }
        let words = text.to_ascii_lowercase();
        if let Some(moment) = elapsed(&words, &now.to_utc()) {
            return Ok(Self::At { moment, text: text.to_string() });
        }
        let moment = local_moment(text, &words, now)?;
        Ok(Self::At { moment, text: text.to_string() })
    }
}

/// A time on the clock of `now`'s zone.
fn local_moment<Tz: TimeZone>(text: &str, words: &str, now: &DateTime<Tz>) -> Result<DateTime<Utc>> {
    let local = local(words, now.naive_local()).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, format!("can't tell which backup {text:?} means")).with_hint(
            "give `latest`, an id or the beginning of one, or a time: \"2025-12-10 17:00\", yesterday, \"2 hours ago\"",
        )
    })?;
    let local = now.timezone().from_local_datetime(&local);
    // When the clocks go back, a local time comes twice. The later one includes all backups of the earlier one.
    let moment = local.clone().earliest().into_iter().chain(local.latest()).max().ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, format!("there is no {text} here: the clocks skipped it"))
    })?;
    Ok(moment.to_utc())
}

/// `now`, `2 hours ago` or `-2h`: elapsed time, whether or not clocks were changed in it.
fn elapsed(text: &str, now: &DateTime<Utc>) -> Option<DateTime<Utc>> {
    if text == "now" {
        return Some(*now);
    }
    let span = text.strip_suffix(" ago").or_else(|| text.strip_prefix('-'))?;
    let span = TimeDelta::from_std(humantime::parse_duration(span.trim()).ok()?).ok()?;
    now.checked_sub_signed(span)
}

/// The last second of the local day, minute or second that `text` names.
fn local(text: &str, now: NaiveDateTime) -> Option<NaiveDateTime> {
    let whole_day = NaiveTime::from_hms_opt(23, 59, 59)?;
    if let Some(date) = day(text, now.date()) {
        return Some(date.and_time(whole_day));
    }
    // A space separates date and time, or the `t` of an ISO date.
    let (date, clock) = text.rsplit_once([' ', 't']).unwrap_or(("today", text));
    let at = day(date.trim(), now.date())?.and_time(clock_time(clock)?);
    let is_weekday = weekday(date.trim()).is_some();
    // That time is still to come today, so the weekday a week ago is meant.
    if is_weekday && at > now { at.checked_sub_days(Days::new(7)) } else { Some(at) }
}

fn clock_time(text: &str) -> Option<NaiveTime> {
    let minute = || Some(NaiveTime::parse_from_str(text, "%H:%M").ok()? + TimeDelta::seconds(59));
    NaiveTime::parse_from_str(text, "%H:%M:%S").ok().or_else(minute)
}

/// A named day: today, or one before it.
fn day(text: &str, today: NaiveDate) -> Option<NaiveDate> {
    let back = match (text, weekday(text)) {
        ("today", _) => 0,
        ("yesterday", _) => 1,
        (_, Some(weekday)) => {
            let back = u64::from(today.weekday().days_since(weekday));
            if back == 0 && text.starts_with("last ") { 7 } else { back }
        }
        _ => return NaiveDate::parse_from_str(text, "%Y-%m-%d").ok(),
    };
    today.checked_sub_days(Days::new(back))
}

/// `monday`, `mon` or `last monday`.
fn weekday(text: &str) -> Option<Weekday> {
    text.strip_prefix("last ").unwrap_or(text).trim().parse().ok()
}
