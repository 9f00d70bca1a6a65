//! The ledger, `history.jsonl`: one line for each run of a command that changes or proves something.
//!
//! It records when a backup was last proved, how long a restore takes, and whether one was cut short. Lines are only added.
//! A line that can't be read, because a crash tore it or a later version wrote it, is skipped.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::record::id::BackupId;
use crate::record::manifest::Status;
use crate::record::selection::Selection;
use crate::record::soundness::{Depth, SoundDatabases};

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When the run began, RFC 3339 with the host's offset.
    pub at: DateTime<FixedOffset>,
    /// The command.
    pub command: Command,
    /// How it ended; [`Outcome::Begun`] in the first of the two lines of a backup, verification, drill or restore.
    pub outcome: Outcome,
    /// The backup that it made, proved, restored or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<BackupId>,
    /// How long it took, in milliseconds.
    #[serde(default)]
    pub duration_ms: u64,
    /// What went wrong, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// For a restore: what it writes, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreLine>,
    /// For a rotation: the backups that it removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<BackupId>,
    /// For a rotation: the increments into which others were merged. Their stored bytes are new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<BackupId>,
    /// The host that it ran on; empty in lines of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// For a verification: its depth; `None` in lines of older versions, which always checked whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<Depth>,
    /// For a verification or a backup: the databases that it checked whole and found sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<SoundDatabases>,
    /// For a verification, drill or restore that found damage: the backup with the damaged file, which can be one that
    /// the other is an increment on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<BackupId>,
    /// For a drill that found nothing wrong: the configured databases and sets of files in its backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proved: Vec<String>,
    /// For a take-over: the project that the store belonged to, if its name differs. All earlier lines are that project's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// For a take-over: the host whose backups count from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted: Option<String>,
}

/// The part of a line that only a restore has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreLine {
    /// The folder restored into.
    #[serde(with = "crate::record::ospath::one")]
    pub target: PathBuf,
    /// What it was asked to restore.
    #[serde(default)]
    pub selection: Option<Selection>,
    /// The pre-restore backup of what was replaced; `None` if nothing was.
    pub kept: Option<BackupId>,
    /// Whether something was replaced without being kept, as asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unkept: bool,
    /// Paths to write, relative to the target.
    pub written: Vec<String>,
    /// Where damaged or orphaned files were moved to.
    #[serde(with = "crate::record::ospath::many")]
    pub moved_aside: Vec<PathBuf>,
}

/// Commands with lines in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "named as the commands are")]
pub enum Command {
    Backup,
    Restore,
    Verify,
    Drill,
    Rotate,
    Pin,
    Unpin,
    Accept,
    Unaccept,
    TakeOver,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has begun. If no other line says how it ended, it was killed or is still running.
    Begun,
    /// Everything was done.
    Ok,
    /// Some was done.
    Partial,
    /// Nothing was done, or damage was found.
    Failed,
    /// It was stopped on request.
    Interrupted,
}

impl Outcome {
    /// Whether a verify or drill with this outcome says anything about the backup.
    fn is_verdict(self) -> bool {
        matches!(self, Self::Ok | Self::Partial | Self::Failed)
    }

    /// The outcome of a run that failed with this error.
    pub(crate) fn of(error: &Error) -> Self {
        if error.kind() == ErrorKind::Interrupted { Self::Interrupted } else { Self::Failed }
    }
}

impl From<Status> for Outcome {
    fn from(status: Status) -> Self {
        match status {
            Status::Complete => Self::Ok,
            Status::Partial => Self::Partial,
            Status::Failed => Self::Failed,
        }
    }
}

impl Line {
    /// A line with only the time, the command and the outcome.
    pub fn new(at: DateTime<FixedOffset>, command: Command, outcome: Outcome) -> Self {
        Self {
            at,
            command,
            outcome,
            id: None,
            duration_ms: 0,
            error: None,
            restore: None,
            removed: Vec::new(),
            merged: Vec::new(),
            host: String::new(),
            depth: None,
            checked: None,
            damaged: None,
            proved: Vec::new(),
            from: None,
            admitted: None,
        }
    }
}

/// Read limit for a line; this program's lines are shorter.
const MAX_LINE_BYTES: u64 = 8 << 20;

/// The most memory for lines, by an estimate; the oldest lines beyond it are dropped. It holds some 50,000 lines, which is
/// years of hourly backups.
const MAX_WEIGHT: usize = 32 << 20;

/// The most backups whose findings are kept: a decade of hourly backups.
const MAX_BACKUPS: usize = 100_000;

/// The ledger's lines, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    lines: Vec<Line>,
    /// Findings of all lines, even of dropped ones: retention and `latest` depend on them.
    backups: BTreeMap<BackupId, Findings>,
    /// The number of lines before this project's.
    own: usize,
}

/// What the ledger knows of one backup.
#[derive(Debug, Clone, Copy, Default)]
struct Findings {
    /// When a proof last succeeded.
    proved: Option<DateTime<FixedOffset>>,
    /// Whether the newest proof failed.
    failed: bool,
    /// When a proof found a file of it damaged, unless a later one found it good.
    damaged: Option<DateTime<FixedOffset>>,
    /// Whether a person accepted its collapse.
    accepted: bool,
    /// Whether a person removed its pin.
    unpinned: bool,
}

impl Ledger {
    /// Reads a ledger's lines to the end of `reader`.
    ///
    /// # Errors
    /// The errors of `reader`.
    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Self> {
        let (mut lines, mut all) = (VecDeque::<(Line, usize)>::new(), 0);
        let mut backups = BTreeMap::new();
        while let Some(bytes) = next_line(reader)? {
            let Ok(line) = serde_json::from_slice::<Line>(&bytes) else { continue };
            note(&mut backups, &line);
            if lines.back().is_some_and(|(last, _)| line.ends_proof(last))
                && let Some((_, weight)) = lines.pop_back()
            {
                all -= weight;
            }
            let weight = line.weight(bytes.len());
            all += weight;
            lines.push_back((line, weight));
            while all > MAX_WEIGHT
                && let Some((_, weight)) = lines.pop_front()
            {
                all -= weight;
            }
        }
        Ok(Self::of(lines.into_iter().map(|(line, _)| line).collect(), backups))
    }

    fn of(lines: Vec<Line>, backups: BTreeMap<BackupId, Findings>) -> Self {
        // If the line of the take-over was dropped, all others come after it.
        let own = lines.iter().rposition(|line| line.from.is_some()).unwrap_or(0);
        Self { lines, backups, own }
    }

    /// All lines of this project, oldest first: those since it took over its store from another project, if it did.
    pub fn lines(&self) -> &[Line] {
        &self.lines[self.own..]
    }

    /// Whether any line is about `id`.
    pub fn knows(&self, id: BackupId) -> bool {
        self.backups.contains_key(&id)
    }

    /// When `id` was last verified or drilled without finding damage.
    pub fn last_proved(&self, id: BackupId) -> Option<DateTime<FixedOffset>> {
        self.backups.get(&id)?.proved
    }

    /// The newest line of `command`; it can be the one that says that it has begun.
    pub fn last(&self, command: Command) -> Option<&Line> {
        self.lines().iter().rev().find(|line| line.command == command)
    }

    /// The newest line of `command` with success.
    pub fn last_success(&self, command: Command) -> Option<&Line> {
        self.lines().iter().rev().find(|line| line.command == command && line.outcome == Outcome::Ok)
    }

    /// Whether the newest proof of `id` failed.
    pub fn is_known_bad(&self, id: BackupId) -> bool {
        self.backups.get(&id).is_some_and(|findings| findings.failed)
    }

    /// When a file of `id` was found damaged, unless a later proof found it good. Increments on it need that file.
    pub(crate) fn damaged_at(&self, id: BackupId) -> Option<DateTime<FixedOffset>> {
        self.backups.get(&id)?.damaged
    }

    /// Whether a person accepted the collapse that `id` shows, and didn't take that back.
    pub fn is_accepted(&self, id: BackupId) -> bool {
        self.backups.get(&id).is_some_and(|findings| findings.accepted)
    }

    /// Whether a person removed the pin of `id`, and didn't pin it again.
    pub fn is_unpinned(&self, id: BackupId) -> bool {
        self.backups.get(&id).is_some_and(|findings| findings.unpinned)
    }

    /// Adds a line that was just written.
    pub(crate) fn push(&mut self, line: Line) {
        note(&mut self.backups, &line);
        if self.lines.last().is_some_and(|last| line.ends_proof(last)) {
            self.lines.pop();
        }
        if line.from.is_some() {
            self.own = self.lines.len();
        }
        self.lines.push(line);
    }

    /// The last line of each restore, newest first. Restores that failed before they changed anything are skipped.
    pub fn restores(&self) -> impl Iterator<Item = (&Line, &RestoreLine)> {
        let mut restores: Vec<(&Line, &RestoreLine)> = Vec::new();
        for line in self.lines().iter().filter(|line| line.command == Command::Restore) {
            let Some(restore) = &line.restore else { continue };
            if line.outcome != Outcome::Begun {
                restores.pop_if(|(begun, _)| begun.outcome == Outcome::Begun);
            }
            if line.outcome != Outcome::Failed {
                restores.push((line, restore));
            }
        }
        restores.into_iter().rev()
    }

    /// The last restore, if it was cut short, or failed after it had changed something.
    pub fn unfinished_restore(&self) -> Option<(&Line, &RestoreLine)> {
        self.restores().next().filter(|(line, _)| matches!(line.outcome, Outcome::Begun | Outcome::Partial))
    }
}

/// Adds what a line says about backups.
fn note(backups: &mut BTreeMap<BackupId, Findings>, line: &Line) {
    let kept = line.restore.as_ref().and_then(|restore| restore.kept);
    for id in line.removed.iter().copied().chain(kept) {
        backups.entry(id).or_default();
    }
    for id in &line.merged {
        // What was proved of it was about other bytes.
        backups.entry(*id).or_default().proved = None;
    }
    if let Some(id) = line.id {
        backups.entry(id).or_default().add(line);
    }
    if let Some(id) = line.damaged {
        let findings = backups.entry(id).or_default();
        (findings.failed, findings.damaged) = (true, Some(line.at));
    }
    while backups.len() > MAX_BACKUPS {
        backups.pop_first();
    }
}

impl Findings {
    fn add(&mut self, line: &Line) {
        match line.command {
            Command::Verify | Command::Drill if line.outcome.is_verdict() => {
                // A check of the stored bytes alone doesn't take back what was found in their content.
                self.failed = line.outcome == Outcome::Failed || self.failed && !line.has_read_content();
                self.damaged = self.damaged.filter(|_| self.failed);
                self.proved = if line.proves() { Some(line.at) } else { self.proved };
            }
            Command::Accept => self.accepted = true,
            Command::Unaccept => self.accepted = false,
            Command::Pin => self.unpinned = false,
            Command::Unpin => self.unpinned = true,
            _ => {}
        }
    }
}

/// The next line; if it is too long, an empty one.
fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let count = reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if count as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") {
        reader.skip_until(b'\n')?;
        line.clear();
    }
    Ok((count > 0).then_some(line))
}

impl Line {
    /// The memory that a line of this many `bytes` takes, about.
    fn weight(&self, bytes: usize) -> usize {
        let paths = self.restore.as_ref().map_or(0, |restore| restore.written.len() + restore.moved_aside.len());
        let lists = paths + self.removed.len() + self.checked.as_ref().map_or(0, |checked| checked.databases.len());
        // An element of a list takes this much even if its text is empty.
        size_of::<Self>() + bytes + lists * 32
    }

    fn is_proof(&self) -> bool {
        matches!(self.command, Command::Verify | Command::Drill)
    }

    /// Whether a verification or drill found nothing wrong in the content of a backup.
    pub(crate) fn proves(&self) -> bool {
        self.is_proof() && self.outcome == Outcome::Ok && self.has_read_content()
    }

    /// Whether it decoded the stored bytes.
    pub(crate) fn has_read_content(&self) -> bool {
        self.depth != Some(Depth::Stored)
    }

    /// Whether it ends the verification or drill that `begun` began. Then that line is dropped: `verify --all` writes both for
    /// each backup.
    fn ends_proof(&self, begun: &Self) -> bool {
        let is_same = (self.command, self.at, &self.host) == (begun.command, begun.at, &begun.host);
        is_same && self.is_proof() && begun.outcome == Outcome::Begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::names::LEDGER;
    use crate::store::{LocalStore as _, MemoryStore};
    use crate::testing::fixtures::append;

    fn line(command: Command, outcome: Outcome, id: &str) -> Line {
        let at = DateTime::parse_from_rfc3339("2025-12-10T15:00:00+01:00").unwrap();
        let restore = RestoreLine {
            target: "/p".into(),
            selection: None,
            kept: None,
            unkept: false,
            written: vec![],
            moved_aside: vec![],
        };
        let restore = (command == Command::Restore).then_some(restore);
        Line { id: Some(id.parse().unwrap()), restore, ..Line::new(at, command, outcome) }
    }

    fn ledger(lines: Vec<Line>) -> Ledger {
        let mut backups = BTreeMap::new();
        for line in &lines {
            note(&mut backups, line);
        }
        Ledger::of(lines, backups)
    }

    #[test]
    fn a_merged_increment_has_to_be_proved_again() {
        let at = DateTime::parse_from_rfc3339("2025-12-10T14:00:00Z").unwrap();
        let id: BackupId = "20251209_140000".parse().unwrap();
        let verified = Line { id: Some(id), ..Line::new(at, Command::Verify, Outcome::Ok) };
        let merged = Line { merged: vec![id], ..Line::new(at, Command::Rotate, Outcome::Ok) };
        let proved = |lines: &[&Line]| {
            let lines: Vec<String> = lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
            Ledger::read(&mut lines.join("\n").as_bytes()).unwrap().last_proved(id)
        };
        assert_eq!(proved(&[&verified]), Some(at));
        assert_eq!(proved(&[&verified, &merged]), None);
        assert_eq!(proved(&[&verified, &merged, &verified]), Some(at));
    }

    #[test]
    fn lines_read_back_and_unreadable_ones_are_passed_over() {
        let store = MemoryStore::new();
        let first = line(Command::Backup, Outcome::Ok, "20251210_140000");
        append(&store, &first);
        store.append(LEDGER, "{\"at\": torn").unwrap();
        store.append(LEDGER, "{\"command\": \"of a later version\"}").unwrap();
        let second = line(Command::Verify, Outcome::Ok, "20251210_140000");
        append(&store, &second);
        assert_eq!(Ledger::load(&store).unwrap().lines(), [first, second]);
    }

    #[test]
    fn of_a_ledger_that_is_too_long_the_newest_lines_count() {
        let store = MemoryStore::new();
        let first = line(Command::Verify, Outcome::Ok, "20251209_140000");
        let old = |command, outcome, id| append(&store, &line(command, outcome, id));
        let last = line(Command::Verify, Outcome::Ok, "20251210_140000");
        let long = Line { error: Some("x".repeat(1 << 20)), ..Line::new(last.at, Command::Rotate, Outcome::Ok) };
        append(&store, &first);
        old(Command::Drill, Outcome::Failed, "20251208_140000");
        old(Command::Accept, Outcome::Ok, "20251207_140000");
        old(Command::Accept, Outcome::Ok, "20251206_140000");
        old(Command::Unaccept, Outcome::Ok, "20251206_140000");
        for _ in 0..40 {
            append(&store, &long);
        }
        append(&store, &last);
        let ledger = Ledger::load(&store).unwrap();
        assert_eq!(ledger.lines().last(), Some(&last));
        assert!(ledger.lines().len() < 40 && !ledger.lines().contains(&first), "{}", ledger.lines().len());
        // What the older ones say of a backup counts still: otherwise, retention and `latest` would change with the length.
        let id = |text: &str| text.parse().unwrap();
        assert!(ledger.knows(first.id.unwrap()) && ledger.last_proved(first.id.unwrap()) == Some(first.at));
        assert!(ledger.is_known_bad(id("20251208_140000")) && ledger.is_accepted(id("20251207_140000")));
        assert!(!ledger.is_accepted(id("20251206_140000")));
    }

    #[test]
    fn that_a_proof_began_takes_no_place_once_its_end_is_there() {
        let store = MemoryStore::new();
        let ends = ["20251209_140000", "20251210_140000"].map(|id| line(Command::Verify, Outcome::Ok, id));
        let begun = Line::new(ends[0].at, Command::Verify, Outcome::Begun);
        for line in [&begun, &ends[0], &begun, &ends[1]] {
            append(&store, line);
        }
        assert_eq!(Ledger::load(&store).unwrap().lines(), ends);
        // The last one is what tells that a run was killed.
        append(&store, &begun);
        assert_eq!(Ledger::load(&store).unwrap().last(Command::Verify), Some(&begun));
    }

    #[test]
    fn what_is_kept_of_backups_has_a_limit() {
        let mut backups = BTreeMap::new();
        let first: BackupId = "20251210_140000".parse().unwrap();
        let ids = std::iter::successors(Some(first), |id| Some(id.successor()));
        let removed = ids.take(MAX_BACKUPS + 5).collect();
        let line = Line { removed, ..line(Command::Rotate, Outcome::Ok, "20251210_140000") };
        note(&mut backups, &Line { id: None, ..line });
        assert_eq!((backups.len(), backups.contains_key(&first)), (MAX_BACKUPS, false));
    }

    #[test]
    fn a_backup_is_proved_by_what_found_it_sound() {
        let id = "20251210_140000";
        let proved = |lines| ledger(lines).last_proved(id.parse().unwrap()).is_some();
        assert!(!proved(vec![line(Command::Backup, Outcome::Ok, id)]));
        assert!(!proved(vec![line(Command::Verify, Outcome::Failed, id)]));
        assert!(!proved(vec![line(Command::Verify, Outcome::Ok, "20251211_140000")]));
        assert!(proved(vec![line(Command::Verify, Outcome::Ok, id)]));
        assert!(proved(vec![line(Command::Drill, Outcome::Ok, id)]));
    }

    #[test]
    fn a_backup_is_known_bad_until_a_later_proof_finds_it_good() {
        let id = "20251210_140000";
        let bad = |lines| ledger(lines).is_known_bad(id.parse().unwrap());
        assert!(!bad(vec![line(Command::Backup, Outcome::Ok, id)]));
        assert!(bad(vec![line(Command::Verify, Outcome::Ok, id), line(Command::Drill, Outcome::Failed, id)]));
        assert!(!bad(vec![line(Command::Verify, Outcome::Failed, id), line(Command::Verify, Outcome::Ok, id)]));
    }

    #[test]
    fn what_another_project_did_before_its_store_was_taken_over_is_not_this_ones() {
        let id = "20251210_140000";
        let line = |command| line(command, Outcome::Ok, id);
        let taken_over = Line { id: None, from: Some("other".into()), ..line(Command::TakeOver) };
        let ledger = ledger(vec![line(Command::Restore), line(Command::Drill), taken_over.clone()]);
        assert_eq!(ledger.lines(), std::slice::from_ref(&taken_over));
        assert!(ledger.last(Command::Drill).is_none() && !ledger.lines().iter().any(Line::proves));
        assert!(ledger.restores().next().is_none());
        assert!(ledger.knows(id.parse().unwrap()), "no id is given twice");
    }

    #[test]
    fn a_restore_without_an_end_was_cut_short() {
        let id = "20251210_140000";
        let begun = line(Command::Restore, Outcome::Begun, id);
        let ended = line(Command::Restore, Outcome::Ok, id);
        let backup = line(Command::Backup, Outcome::Ok, id);
        assert!(ledger(vec![begun.clone(), ended, backup.clone()]).unfinished_restore().is_none());
        assert!(ledger(vec![begun.clone(), backup.clone()]).unfinished_restore().is_some());
        let half_done = line(Command::Restore, Outcome::Partial, id);
        assert!(ledger(vec![begun.clone(), half_done]).unfinished_restore().is_some());
        let failed = line(Command::Restore, Outcome::Failed, id);
        assert!(ledger(vec![begun.clone(), failed.clone()]).unfinished_restore().is_none(), "it changed nothing");
        let retried = vec![begun.clone(), begun, failed];
        assert!(ledger(retried).unfinished_restore().is_some(), "the first one is still unfinished");
    }
}
