//! Which backup is meant: what `--from` can say, and what it finds.
//!
//! A person who says `latest`, or a time, means a backup that holds what is asked for and that nothing speaks against. An
//! id finds whatever has it.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc, Weekday};

use super::entry::{Entry, Record};
use super::list::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::record::id::BackupId;
use crate::record::ledger::Ledger;
use crate::record::manifest::{Status, Trigger};

/// Of more ids than this, a message names only some.
const MOST_LISTED: usize = 5;

/// What `--from` can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest one.
    Latest,
    /// The newest one that was begun at or before a moment, given as `text`.
    At {
        /// The last moment that counts.
        moment: DateTime<Utc>,
        /// What was given.
        text: String,
    },
    /// The only one whose id begins so.
    Prefix(String),
}

/// A backup that was meant.
#[derive(Debug)]
pub struct SelectedBackup<'c> {
    /// The backup.
    pub entry: &'c Entry,
    /// Newer ones that could have been meant, newest first, and why they were not.
    pub passed_over: Vec<SkippedBackup>,
}

/// A backup that `latest` or a time doesn't mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedBackup {
    /// The backup.
    pub id: BackupId,
    /// Why not.
    pub why: Objection,
}

/// Why a backup doesn't do for what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Objection {
    /// The run saved nothing.
    Failed,
    /// Its manifest can't be read.
    Unreadable,
    /// It did not pass its last verify or drill.
    FoundDamaged,
    /// A stored file is missing or has another size than recorded.
    FileLost {
        /// The file.
        file: String,
    },
    /// A database in it was damaged when it was saved.
    SavedDamaged {
        /// The database.
        name: String,
    },
    /// It doesn't hold all that is asked for.
    Lacks {
        /// What it lacks.
        names: Vec<String>,
    },
}

impl Catalog {
    /// Makes sure that there is any backup at all.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBackup`].
    pub fn require_any(&self) -> Result<()> {
        if self.entries.is_empty() { Err(self.no_such_backup(self.none())) } else { Ok(()) }
    }

    /// The backup with exactly this id.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBackup`].
    pub fn get(&self, id: BackupId) -> Result<&Entry> {
        match self.entries.binary_search_by_key(&id, |entry| entry.id) {
            Ok(at) => Ok(&self.entries[at]),
            Err(_) => Err(self.no_such_backup(format!("no backup {id} in {}", self.location))),
        }
    }

    /// The backup that `selector` means, if `wanted` are the databases and sets of files that are asked for.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBackup`], which says where the newest of each is if no backup holds all; or
    /// [`ErrorKind::AmbiguousId`].
    pub fn select(&self, selector: &Selector, wanted: &[String], ledger: &Ledger) -> Result<SelectedBackup<'_>> {
        let moment = match selector {
            Selector::Prefix(prefix) => {
                return self.by_prefix(prefix).map(|entry| SelectedBackup { entry, passed_over: Vec::new() });
            }
            Selector::Latest => None,
            Selector::At { moment, .. } => Some(*moment),
        };
        let mut passed_over = Vec::new();
        for entry in self.newest_first(moment) {
            match entry.unfit(wanted, ledger) {
                None => return Ok(SelectedBackup { entry, passed_over }),
                Some(why) => passed_over.push(SkippedBackup { id: entry.id, why }),
            }
        }
        Err(self.none_fits(selector, moment, wanted, ledger))
    }

    /// What `latest` and a time can mean, newest first: what a restore kept for its undo is left to that. After a clock
    /// that was ahead, ids run ahead too, so a time is held against the moment at which a backup was begun.
    fn newest_first(&self, moment: Option<DateTime<Utc>>) -> Vec<&Entry> {
        self.of_this_project(moment, false)
    }

    /// Those that a restore kept, or all others, newest first.
    fn of_this_project(&self, moment: Option<DateTime<Utc>>, kept: bool) -> Vec<&Entry> {
        let is_kept = |entry: &Entry| entry.manifest().is_some_and(|summary| summary.trigger == Trigger::PreRestore);
        let is_asked_for = |entry: &&Entry| !matches!(entry.record, Record::Another(..)) && is_kept(entry) == kept;
        let mut entries: Vec<&Entry> = self.entries.iter().rev().filter(is_asked_for).collect();
        if let Some(moment) = moment {
            // An id, which is what people see, has no fractions of a second.
            entries.retain(|entry| entry.created_at().timestamp() <= moment.timestamp());
            // A stable sort: of one moment, the later id stays first.
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.created_at()));
        }
        entries
    }

    fn none_fits(
        &self,
        selector: &Selector,
        moment: Option<DateTime<Utc>>,
        wanted: &[String],
        ledger: &Ledger,
    ) -> Error {
        let in_time = match selector {
            Selector::At { text, .. } => format!(" at or before {text}"),
            _ => String::new(),
        };
        let (candidates, kept) = (self.newest_first(moment), self.of_this_project(moment, true));
        let is_none = candidates.is_empty() && kept.is_empty();
        if is_none && in_time.is_empty() && !self.entries.is_empty() {
            let message = format!("no usable backup of this project in {}", self.location);
            return Error::new(ErrorKind::NoSuchBackup, message).with_hint("`list` shows what is there, and why");
        }
        if is_none {
            let message =
                if in_time.is_empty() { self.none() } else { format!("no backup{in_time} in {}", self.location) };
            return self.no_such_backup(message);
        }
        let newest_of = |entries: &[&Entry], name: &String| {
            let fits = |entry: &&&Entry| entry.unfit(std::slice::from_ref(name), ledger).is_none();
            entries.iter().find(fits).map(|entry| entry.id)
        };
        let but_kept = |name: &String| {
            let kept = newest_of(&kept, name);
            kept.map_or(String::new(), |id| format!(" but {id}, which a restore kept"))
        };
        let newest = |name: &String| match newest_of(&candidates, name) {
            Some(id) => format!("{name}: {id}"),
            None => format!("{name}: none{}", but_kept(name)),
        };
        let message = match wanted {
            [] => format!("no sound backup{in_time} in {}", self.location),
            [name] => format!("no sound backup of {name}{in_time} in {}{}", self.location, but_kept(name)),
            names => format!(
                "no sound backup{in_time} in {} holds all of {}; the newest of each: {}",
                self.location,
                names.join(", "),
                names.iter().map(newest).collect::<Vec<_>>().join(", ")
            ),
        };
        Error::new(ErrorKind::NoSuchBackup, message).with_hint(
            "by its id any backup can be restored, whole or in part; `list` shows what each holds and what is wrong",
        )
    }

    fn by_prefix(&self, prefix: &str) -> Result<&Entry> {
        let found: Vec<&Entry> = self.entries.iter().filter(|entry| entry.id.to_string().starts_with(prefix)).collect();
        match found.as_slice() {
            [] => Err(self.no_such_backup(format!("no backup {prefix} in {}", self.location))),
            [one] => Ok(one),
            many => {
                let mut ids: Vec<String> = many.iter().map(|entry| entry.id.to_string()).collect();
                if ids.len() > MOST_LISTED {
                    ids.splice(1..=ids.len() - MOST_LISTED, ["…".to_string()]);
                }
                let message = format!("{prefix} could be {} backups: {}", many.len(), ids.join(", "));
                Err(Error::new(ErrorKind::AmbiguousId, message)
                    .with_hint("give more of the id, or a time: --from 2025-12-10 means the newest of that day"))
            }
        }
    }

    fn none(&self) -> String {
        format!("no backup in {}", self.location)
    }

    fn no_such_backup(&self, message: String) -> Error {
        let hint = match self.entries.as_slice() {
            [] => "make one with `backup`, or name another folder with --backup-dir".into(),
            [only] => format!("there is one, {}", only.id),
            [first, .., last] => format!("there are {} to {}; `list` shows them all", first.id, last.id),
        };
        Error::new(ErrorKind::NoSuchBackup, message).with_hint(hint)
    }
}

impl Entry {
    /// Why it doesn't do for `wanted`; `None` if it holds all of it and nothing is known against it. Of nothing in
    /// particular it has to hold something.
    pub(crate) fn unfit(&self, wanted: &[String], ledger: &Ledger) -> Option<Objection> {
        match &self.record {
            Record::Unreadable(_) => return Some(Objection::Unreadable),
            Record::Manifest(summary) if summary.status == Status::Failed => return Some(Objection::Failed),
            _ if ledger.is_known_bad(self.id) => return Some(Objection::FoundDamaged),
            _ => {}
        }
        let files = || self.files.iter().filter(|file| wanted.is_empty() || wanted.contains(&file.name));
        let against = files().find_map(|file| match &file.recorded {
            _ if !file.is_whole() => Some(Objection::FileLost { file: file.file.clone() }),
            Some(recorded) if recorded.is_damaged => Some(Objection::SavedDamaged { name: file.name.clone() }),
            _ => None,
        });
        against.or_else(|| {
            let names: Vec<String> = wanted.iter().filter(|name| !self.answers_for(name)).cloned().collect();
            (!names.is_empty() || self.files.is_empty()).then_some(Objection::Lacks { names })
        })
    }

    /// Whether it holds the whole of that database or set of files. A set counts as held of which no file was there, unless
    /// an earlier backup holds one: then the run could not save it.
    pub(crate) fn answers_for(&self, name: &str) -> bool {
        let is_in = |names: &[String]| names.iter().any(|other| other == name);
        let (failed, absent) = self.manifest().map_or((&[][..], &[][..]), |it| (&it.failed, &it.absent));
        !is_in(failed) && (is_in(absent) || self.files.iter().any(|file| file.name == name))
    }
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
        let unknown = || {
            Error::new(ErrorKind::InvalidInput, format!("can't tell which backup {text:?} means")).with_hint(
                "give `latest`, an id or the beginning of one, or a time: \"2025-12-10 17:00\", yesterday, \"2 hours ago\"",
            )
        };
        let local = local(&words, now.naive_local()).ok_or_else(unknown)?;
        let local = now.timezone().from_local_datetime(&local);
        // When the clocks go back a local time comes twice: the second one has all backups that the first one has.
        let moment = local.clone().earliest().into_iter().chain(local.latest()).max().ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("there is no {text} here: the clocks skipped it"))
        })?;
        Ok(Self::At { moment: moment.to_utc(), text: text.to_string() })
    }
}

/// `now`, `2 hours ago` or `-2h`: so much time before now, whatever clocks were changed in it.
fn elapsed(text: &str, now: &DateTime<Utc>) -> Option<DateTime<Utc>> {
    if text == "now" {
        return Some(*now);
    }
    let span = text.strip_suffix(" ago").or_else(|| text.strip_prefix('-'))?;
    let span = TimeDelta::from_std(humantime::parse_duration(span.trim()).ok()?).ok()?;
    now.checked_sub_signed(span)
}

/// The last second of a local day, minute or second that `text` can mean.
fn local(text: &str, now: NaiveDateTime) -> Option<NaiveDateTime> {
    let whole_day = NaiveTime::from_hms_opt(23, 59, 59)?;
    if let Some(date) = day(text, now.date()) {
        return Some(date.and_time(whole_day));
    }
    // A weekday has no `t` before a digit, an ISO date has.
    let (date, clock) = text.rsplit_once([' ', 't']).unwrap_or(("today", text));
    let at = day(date.trim(), now.date())?.and_time(clock_time(clock)?);
    let is_weekday = weekday(date.trim()).is_some();
    // This hour of that weekday is still to come: the one a week ago is meant.
    if is_weekday && at > now { at.checked_sub_days(Days::new(7)) } else { Some(at) }
}

fn clock_time(text: &str) -> Option<NaiveTime> {
    let minute = || Some(NaiveTime::parse_from_str(text, "%H:%M").ok()? + TimeDelta::seconds(59));
    NaiveTime::parse_from_str(text, "%H:%M:%S").ok().or_else(minute)
}

/// A day that is named: today, or one before it.
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

#[cfg(test)]
mod tests {
    use chrono::{FixedOffset, MappedLocalTime, Offset};

    use super::*;
    use crate::record::ledger::{Command, Line, Outcome};
    use crate::record::manifest::{Failure, Manifest};
    use crate::record::names;
    use crate::store::{MemoryStore, Store};
    use crate::testing::fixtures::{Site, append, id, publish};

    /// A Wednesday.
    const NOW: &str = "20251210_140000";

    /// Berlin in 2025: an hour skipped on March 30, an hour twice on October 26.
    #[derive(Clone)]
    struct Berlin;

    fn hours(hours: i32) -> FixedOffset {
        FixedOffset::east_opt(hours * 3600).unwrap()
    }

    fn local(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap()
    }

    impl TimeZone for Berlin {
        type Offset = FixedOffset;

        fn from_offset(_: &FixedOffset) -> Self {
            Self
        }

        fn offset_from_local_date(&self, date: &NaiveDate) -> MappedLocalTime<FixedOffset> {
            self.offset_from_local_datetime(&date.and_time(NaiveTime::MIN))
        }

        fn offset_from_local_datetime(&self, at: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
            let between = |from, to| (local(from)..local(to)).contains(at);
            if between("2025-03-30 02:00:00", "2025-03-30 03:00:00") {
                MappedLocalTime::None
            } else if between("2025-10-26 02:00:00", "2025-10-26 03:00:00") {
                MappedLocalTime::Ambiguous(hours(2), hours(1))
            } else if between("2025-03-30 03:00:00", "2025-10-26 02:00:00") {
                MappedLocalTime::Single(hours(2))
            } else {
                MappedLocalTime::Single(hours(1))
            }
        }

        fn offset_from_utc_date(&self, date: &NaiveDate) -> FixedOffset {
            self.offset_from_utc_datetime(&date.and_time(NaiveTime::MIN))
        }

        fn offset_from_utc_datetime(&self, at: &NaiveDateTime) -> FixedOffset {
            hours(if (local("2025-03-30 01:00:00")..local("2025-10-26 01:00:00")).contains(at) { 2 } else { 1 })
        }
    }

    /// The last moment that `text` means, as an id.
    fn moment(text: &str, tz: &impl TimeZone) -> String {
        moment_at(text, &id(NOW).time().with_timezone(tz))
    }

    fn moment_at(text: &str, now: &DateTime<impl TimeZone>) -> String {
        match Selector::parse(text, now).unwrap() {
            Selector::At { moment, text: kept } => {
                assert_eq!(kept, text.trim());
                BackupId::at(moment).to_string()
            }
            other => panic!("{text} is {other:?}"),
        }
    }

    /// Complete backups of those ids.
    fn store_of(ids: &[&str]) -> (Site, MemoryStore) {
        let (site, store) = (Site::new(), MemoryStore::new());
        for now in ids {
            site.backup(&store, now);
        }
        (site, store)
    }

    fn select(store: &MemoryStore, text: &str) -> Result<String> {
        let (catalog, ledger) = (Catalog::load(store)?, Ledger::load(store)?);
        let wanted = ["sessions_db", "config"].map(String::from);
        let selector = Selector::parse(text, &id(NOW).time())?;
        catalog.select(&selector, &wanted, &ledger).map(|selected| selected.entry.id.to_string())
    }

    fn edit(store: &MemoryStore, wanted: &str, edit: impl FnOnce(&mut Manifest)) {
        let mut manifest = Catalog::load(store).unwrap().get(id(wanted)).unwrap().read_manifest(store).unwrap();
        edit(&mut manifest);
        publish(store, &names::manifest(manifest.id), &manifest.to_json());
    }

    #[test]
    fn the_word_latest_and_the_beginnings_of_ids_are_told_apart_from_times() {
        let parse = |text| Selector::parse(text, &id(NOW).time()).unwrap();
        assert_eq!([parse("latest"), parse("  latest ")], [Selector::Latest, Selector::Latest]);
        for text in ["2", "2025", "20251210", "20251210_", "20251210_14", "20251210_140000"] {
            assert_eq!(parse(text), Selector::Prefix(text.into()));
        }
    }

    #[test]
    fn a_time_means_all_of_the_last_unit_that_it_names() {
        for (text, expected) in [
            ("2025-12-10 17:00:30", "20251210_160030"),
            ("2025-12-10 17:00", "20251210_160059"),
            ("2025-12-10T17:00", "20251210_160059"),
            ("2025-12-10T17:00:30", "20251210_160030"),
            (" 2025-12-10 17:00 ", "20251210_160059"),
            ("2025-12-10", "20251210_225959"),
            ("2025-07-01 12:00", "20250701_100059"),
            ("2025-12-10T17:00:00Z", "20251210_170000"),
            ("2025-12-10T17:00:00-05:00", "20251210_220000"),
        ] {
            assert_eq!(moment(text, &Berlin), expected, "{text}");
        }
        assert_eq!(moment("2025-12-10 17:00", &Utc), "20251210_170059");
        assert_eq!(moment("2025-12-10 17:00", &FixedOffset::west_opt(34_200).unwrap()), "20251211_023059");
    }

    #[test]
    fn an_hour_that_comes_twice_means_its_second_coming() {
        assert_eq!(moment("2025-10-26 02:30", &Berlin), "20251026_013059");
        assert_eq!(moment("2025-10-26 01:59:59", &Berlin), "20251025_235959");
        assert_eq!(moment("2025-10-26 03:00", &Berlin), "20251026_020059");
    }

    #[test]
    fn an_hour_that_the_clocks_skip_is_refused_with_that_reason() {
        let error = Selector::parse("2025-03-30 02:30", &id(NOW).time().with_timezone(&Berlin)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "there is no 2025-03-30 02:30 here: the clocks skipped it");
        assert_eq!(moment("2025-03-30 03:00", &Berlin), "20250330_010059");
    }

    #[test]
    fn what_is_neither_is_refused_and_named() {
        for text in [
            "",
            "  ",
            "tomorrow",
            "monday next",
            "ago",
            "2 ago",
            "-",
            "last",
            "last 2025-12-10",
            "yesterday yesterday",
            "next monday",
            "2 parsecs ago",
            "2025-13-01",
            "2025-02-30",
            "2025-12-10 25:00",
            "10.12.2025",
            "20251210-1400",
            "20251210_1400001",
            "2025-12-10 17",
            "Latest",
            "2025-12-10 17:00 CET",
            "../x",
        ] {
            let error = Selector::parse(text, &id(NOW).time()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
            assert_eq!(error.to_string(), format!("can't tell which backup {:?} means", text.trim()));
        }
    }

    #[test]
    fn a_time_selects_the_newest_backup_at_or_before_it_to_the_second() {
        let (_site, store) = store_of(&["20251208_140000", "20251209_140000", "20251210_140000"]);
        for (text, expected) in [
            ("2025-12-09 14:00:00", "20251209_140000"),
            ("2025-12-09 13:59:59", "20251208_140000"),
            ("2025-12-09 13:59", "20251208_140000"),
            ("2025-12-09 14:00", "20251209_140000"),
            ("2025-12-10 13:59:59", "20251209_140000"),
            ("2025-12-09", "20251209_140000"),
            ("2026-01-01", "20251210_140000"),
            ("2025-12-09T15:00:00+01:00", "20251209_140000"),
            ("2025-12-09T14:59:59+01:00", "20251208_140000"),
            ("latest", "20251210_140000"),
        ] {
            assert_eq!(select(&store, text).unwrap(), expected, "{text}");
        }
        let error = select(&store, "2025-12-08 13:59:59").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchBackup);
        assert_eq!(error.to_string(), "no backup at or before 2025-12-08 13:59:59 in memory");
        assert_eq!(error.hint(), Some("there are 20251208_140000 to 20251210_140000; `list` shows them all"));
    }

    #[test]
    fn a_prefix_selects_one_backup_or_lists_those_it_could_mean() {
        let (_site, store) = store_of(&["20251208_140000", "20251209_140000", "20251209_150000"]);
        assert_eq!(select(&store, "20251208").unwrap(), "20251208_140000");
        assert_eq!(select(&store, "20251209_15").unwrap(), "20251209_150000");
        assert_eq!(select(&store, "20251209_140000").unwrap(), "20251209_140000");
        let error = select(&store, "20251209").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AmbiguousId);
        assert_eq!(error.to_string(), "20251209 could be 2 backups: 20251209_140000, 20251209_150000");
        assert_eq!(select(&store, "2024").unwrap_err().to_string(), "no backup 2024 in memory");
        let error = Catalog::load(&store).unwrap().get(id("20251209_140001")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchBackup);
    }

    #[test]
    fn of_many_backups_that_a_prefix_could_mean_only_some_are_named() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let message = |count: usize| {
            site.backup(&store, &format!("20251209_14000{count}"));
            select(&store, "2025").unwrap_or_else(|error| error.to_string())
        };
        let messages: Vec<String> = (1..=7).map(message).collect();
        assert_eq!(
            messages[4],
            "2025 could be 5 backups: 20251209_140001, 20251209_140002, 20251209_140003, 20251209_140004, \
             20251209_140005"
        );
        assert_eq!(
            messages[6],
            "2025 could be 7 backups: 20251209_140001, …, 20251209_140004, 20251209_140005, 20251209_140006, \
             20251209_140007"
        );
    }

    #[test]
    fn an_empty_store_has_no_backup_whatever_is_asked_for() {
        let store = MemoryStore::new();
        for text in ["latest", "2", "2025-12-10"] {
            let error = select(&store, text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSuchBackup, "{text}");
            assert!(error.hint().unwrap().starts_with("make one with `backup`"));
        }
        let catalog = Catalog::load(&store).unwrap();
        assert!(catalog.newest().is_none());
        assert_eq!(catalog.require_any().unwrap_err().kind(), ErrorKind::NoSuchBackup);
    }

    const WEEK: [&str; 4] = ["20251208_140000", "20251209_140000", "20251210_140000", "20251211_140000"];

    fn note(store: &MemoryStore, command: Command, outcome: Outcome, of: &str) {
        let line = Line::new(id(NOW).time().fixed_offset(), command, outcome);
        append(store, &Line { id: Some(id(of)), ..line });
    }

    /// What is selected, and what was passed over for it.
    fn selected(store: &MemoryStore, text: &str, wanted: &[&str]) -> (String, Vec<(String, Objection)>) {
        let (catalog, ledger) = (Catalog::load(store).unwrap(), Ledger::load(store).unwrap());
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        let selector = Selector::parse(text, &id(NOW).time()).unwrap();
        let selected = catalog.select(&selector, &wanted, &ledger).unwrap();
        let passed_over = selected.passed_over.into_iter().map(|it| (it.id.to_string(), it.why)).collect();
        (selected.entry.id.to_string(), passed_over)
    }

    /// Backups of the whole, and in place of the last one of the configuration alone.
    fn without_the_last_database() -> (Site, MemoryStore) {
        let (site, store) = store_of(&WEEK);
        store.remove("sessions_db_20251211_140000.db.zst").unwrap();
        edit(&store, WEEK[3], |manifest| drop(manifest.artifacts.remove(0)));
        (site, store)
    }

    #[test]
    fn latest_and_times_pass_over_what_holds_nothing_and_what_a_restore_kept() {
        let (_site, store) = store_of(&WEEK);
        edit(&store, "20251209_140000", |manifest| {
            manifest.status = Status::Partial;
            manifest.errors = vec![Failure { name: "config".into(), message: "no".into() }];
        });
        edit(&store, "20251210_140000", |manifest| {
            manifest.status = Status::Failed;
            manifest.artifacts.clear();
        });
        edit(&store, "20251211_140000", |manifest| manifest.trigger = Trigger::PreRestore);
        publish(&store, "manifest_20251212_140000.json", b"{\"format\": 1, no json");
        assert_eq!(select(&store, "latest").unwrap(), "20251208_140000");
        assert_eq!(select(&store, "2025-12-31").unwrap(), "20251208_140000");
        let (found, passed_over) = selected(&store, "latest", &["sessions_db", "config"]);
        let lacks = Objection::Lacks { names: vec!["config".into()] };
        let expected = [("20251212_140000", Objection::Unreadable), (WEEK[2], Objection::Failed), (WEEK[1], lacks)];
        assert_eq!((found.as_str(), passed_over), (WEEK[0], expected.map(|(id, why)| (id.to_string(), why)).to_vec()));
        assert_eq!(selected(&store, "latest", &["sessions_db"]).0, WEEK[1], "what failed was not asked for");
        for named in ["20251210", "20251211", "20251212"] {
            assert!(select(&store, named).unwrap().starts_with(named), "by its id anything is found");
        }
        let catalog = Catalog::load(&store).unwrap();
        let usable = |wanted: &str| catalog.get(id(wanted)).unwrap().require_usable().map_err(|error| error.kind());
        assert_eq!(usable("20251209_140000"), Ok(()));
        assert_eq!(usable("20251210_140000"), Err(ErrorKind::NoSuchBackup));
        assert_eq!(usable("20251212_140000"), Err(ErrorKind::BadManifest));
    }

    #[test]
    fn latest_holds_all_that_is_asked_for() {
        let (_site, store) = without_the_last_database();
        for (wanted, expected) in [
            (&["sessions_db", "config"][..], WEEK[2]),
            (&["sessions_db"], WEEK[2]),
            (&["config"], WEEK[3]),
            (&[], WEEK[3]),
        ] {
            assert_eq!(selected(&store, "latest", wanted).0, expected, "{wanted:?}");
            assert_eq!(selected(&store, "2025-12-11 23:00", wanted).0, expected, "{wanted:?}");
        }
        edit(&store, WEEK[3], |manifest| manifest.absent = vec!["sessions_db".into()]);
        assert_eq!(select(&store, "latest").unwrap(), WEEK[3], "there was none to be saved");
    }

    #[test]
    fn latest_and_times_pass_over_what_is_known_to_be_damaged_until_it_is_found_good() {
        let (_site, store) = store_of(&WEEK);
        note(&store, Command::Verify, Outcome::Failed, WEEK[3]);
        store.remove("config_20251210_140000.tar.zst").unwrap();
        let (found, passed_over) = selected(&store, "latest", &["sessions_db", "config"]);
        assert_eq!(found, WEEK[1]);
        let lost = Objection::FileLost { file: "config_20251210_140000.tar.zst".into() };
        let expected = [(WEEK[3].to_string(), Objection::FoundDamaged), (WEEK[2].to_string(), lost)];
        assert_eq!(passed_over, expected);
        assert_eq!(selected(&store, "2025-12-10 15:00", &["sessions_db", "config"]).1.len(), 1);
        assert_eq!(selected(&store, "latest", &["sessions_db"]).0, WEEK[2], "its database is whole");
        note(&store, Command::Drill, Outcome::Interrupted, WEEK[3]);
        assert_eq!(select(&store, "latest").unwrap(), WEEK[1], "that found nothing out");
        note(&store, Command::Verify, Outcome::Ok, WEEK[3]);
        assert_eq!(select(&store, "latest").unwrap(), WEEK[3]);
    }

    #[test]
    fn if_no_backup_holds_all_it_is_said_where_the_newest_of_each_is() {
        let (_site, store) = without_the_last_database();
        for day in &WEEK[..3] {
            store.remove(&format!("config_{day}.tar.zst")).unwrap();
        }
        let error = select(&store, "latest").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchBackup);
        assert_eq!(
            error.to_string(),
            "no sound backup in memory holds all of sessions_db, config; the newest of each: \
             sessions_db: 20251210_140000, config: 20251211_140000"
        );
        assert!(error.hint().unwrap().starts_with("by its id any backup can be restored, whole or in part"));
        let error = select(&store, "2025-12-09").unwrap_err();
        assert!(
            error.to_string().starts_with("no sound backup at or before 2025-12-09 in memory holds all"),
            "{error}"
        );
        assert!(error.to_string().ends_with("sessions_db: 20251209_140000, config: none"), "{error}");
    }

    #[test]
    fn if_only_what_a_restore_kept_holds_it_that_is_named() {
        let (_site, store) = store_of(&WEEK[..2]);
        edit(&store, WEEK[0], |manifest| manifest.trigger = Trigger::PreRestore);
        store.remove(&format!("sessions_db_{}.db.zst", WEEK[1])).unwrap();
        let error = |wanted: &[&str], text: &str| {
            let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            let selector = Selector::parse(text, &id(NOW).time()).unwrap();
            let (catalog, ledger) = (Catalog::load(&store).unwrap(), Ledger::load(&store).unwrap());
            catalog.select(&selector, &wanted, &ledger).unwrap_err().to_string()
        };
        let kept = format!("none but {}, which a restore kept", WEEK[0]);
        assert_eq!(
            error(&["sessions_db", "config"], "latest"),
            format!(
                "no sound backup in memory holds all of sessions_db, config; \
                 the newest of each: sessions_db: {kept}, config: {}",
                WEEK[1]
            )
        );
        assert_eq!(
            error(&["sessions_db"], "latest"),
            format!("no sound backup of sessions_db in memory but {}, which a restore kept", WEEK[0])
        );
        assert!(error(&["sessions_db", "config"], "2025-12-08").ends_with(&format!("{kept}, config: {kept}")));
        assert!(error(&["sessions_db"], "2025-12-07").starts_with("no backup at or before 2025-12-07"));
    }

    #[test]
    fn a_time_is_held_against_the_moment_at_which_a_backup_was_begun() {
        let (_site, store) = store_of(&WEEK);
        // The clock was four days ahead on the 8th; ids have run ahead since.
        let begun = |day: &str, at: &str| {
            edit(&store, day, |manifest| manifest.created_at = DateTime::parse_from_rfc3339(at).unwrap());
        };
        begun(WEEK[0], "2025-12-12T14:00:00.9Z");
        begun(WEEK[1], "2025-12-09T14:00:00.9Z");
        begun(WEEK[2], "2025-12-09T16:00:00Z");
        begun(WEEK[3], "2025-12-09T15:00:00Z");
        for (text, expected) in [
            ("2025-12-09 14:00:00", WEEK[1]),
            ("2025-12-09 15:30", WEEK[3]),
            ("2025-12-11", WEEK[2]),
            ("2025-12-12 14:00", WEEK[0]),
            ("latest", WEEK[3]),
        ] {
            assert_eq!(select(&store, text).unwrap(), expected, "{text}");
        }
        assert!(select(&store, "2025-12-09 13:59").is_err());
    }

    #[test]
    fn words_mean_a_time_in_the_past() {
        // A Wednesday; in Berlin it is 15:00.
        for (text, expected) in [
            ("now", "20251210_140000"),
            ("today", "20251210_225959"),
            ("yesterday", "20251209_225959"),
            ("Yesterday 17:00", "20251209_160059"),
            ("yesterday 17:00:30", "20251209_160030"),
            ("14:00", "20251210_130059"),
            ("monday", "20251208_225959"),
            ("Monday 10:00", "20251208_090059"),
            ("thu", "20251204_225959"),
            ("wednesday 10:00", "20251210_090059"),
            ("wednesday 16:00", "20251203_150059"),
            ("last wednesday", "20251203_225959"),
            ("last saturday 10:00", "20251206_090059"),
            ("1 hour ago", "20251210_130000"),
            ("2 hours ago", "20251210_120000"),
            ("90min ago", "20251210_123000"),
            ("-2h", "20251210_120000"),
            ("-1d 2h", "20251209_120000"),
            ("2 weeks ago", "20251126_140000"),
        ] {
            assert_eq!(moment(text, &Berlin), expected, "{text}");
        }
        // Through the night in which the clocks go back, an hour is an hour, and a day ends at midnight.
        let after = id("20251026_080000").time().with_timezone(&Berlin);
        assert_eq!(moment_at("10 hours ago", &after), "20251025_220000");
        assert_eq!(moment_at("yesterday", &after), "20251025_215959");
    }

    #[test]
    fn the_time_zone_of_these_tests_is_one() {
        let at = Berlin.from_utc_datetime(&local("2025-10-26 00:30:00"));
        assert_eq!((at.offset().fix(), at.naive_local()), (hours(2), local("2025-10-26 02:30:00")));
    }
}
