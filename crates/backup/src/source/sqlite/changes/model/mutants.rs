//! Looks with one step in the wrong place. Each misses pages, and the model finds that out.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::super::{OpenSnapshot, Since, candidates, look_with};
use super::{Before, Log, Look, PATIENCE, log};
use crate::error::Result;
use crate::source::sqlite::{begin_reading, beside, open_read_only};

/// Those that random histories find out, and whether the snapshot before is kept then.
pub(super) const ALL: [(&str, Look, bool); 6] = [
    ("position too late", position_too_late, false),
    ("position too late, kept", position_too_late, true),
    ("candidates too early", candidates_too_early, false),
    ("candidates too early, kept", candidates_too_early, true),
    ("header read once", header_read_once, false),
    ("believed open", believed_open, false),
];

/// Reads the position when the transaction has begun: what is committed in between is before the position, but not read.
fn position_too_late<'a>(
    connection: &'a Connection,
    path: &'a Path,
    since: Since<'_>,
    between: &mut dyn FnMut(),
) -> Result<OpenSnapshot<'a>> {
    let mut snapshot = look_with(connection, path, since, between)?;
    between();
    let other = open_read_only(path, PATIENCE)?;
    snapshot.position = log::position(&other, &beside(path, "-wal")?)?;
    Ok(snapshot)
}

/// Reads the candidates before the transaction begins: what is committed in between is read, but no candidate.
fn candidates_too_early<'a>(
    connection: &'a Connection,
    path: &'a Path,
    since: Since<'_>,
    between: &mut dyn FnMut(),
) -> Result<OpenSnapshot<'a>> {
    let wal = beside(path, "-wal")?;
    let position = log::position(connection, &wal)?;
    let candidates = match since.position() {
        Some((since, before)) => candidates(&wal, since, position.as_ref(), before, between)?,
        None => None,
    };
    between();
    let transaction = begin_reading(connection, path)?;
    Ok(OpenSnapshot { transaction, path, position, candidates })
}

/// Doesn't read the header again after the candidates: the log begins anew meanwhile, and its first frames overwrite them.
fn header_read_once<'a>(
    connection: &'a Connection,
    path: &'a Path,
    since: Since<'_>,
    between: &mut dyn FnMut(),
) -> Result<OpenSnapshot<'a>> {
    let mut snapshot = look_with(connection, path, Since::Unknown, between)?;
    let (Some((since, before)), Some(log)) = (since.position(), Log::open(&beside(path, "-wal")?)?) else {
        return Ok(snapshot);
    };
    if let Some(first) = log.first_after(since, snapshot.position(), before)? {
        (0..5).for_each(|_| between());
        snapshot.candidates = Some(log.pages_from(first)?);
    }
    Ok(snapshot)
}

/// Takes a log that has begun anew for complete though the snapshot before isn't open any more.
fn believed_open<'a>(
    connection: &'a Connection,
    path: &'a Path,
    since: Since<'_>,
    between: &mut dyn FnMut(),
) -> Result<OpenSnapshot<'a>> {
    let mut snapshot = look_with(connection, path, Since::Unknown, between)?;
    if let Some((since, _)) = since.position() {
        let wal = beside(path, "-wal")?;
        snapshot.candidates = candidates(&wal, since, snapshot.position(), Before::Open, between)?;
    }
    Ok(snapshot)
}

/// Takes the last commit in the file for the position, visible or not. A writer must be in the middle of a commit.
pub(super) fn position_of_the_file<'a>(
    connection: &'a Connection,
    path: &'a Path,
    since: Since<'_>,
    between: &mut dyn FnMut(),
) -> Result<OpenSnapshot<'a>> {
    let wal = beside(path, "-wal")?;
    let position = match Log::open(&wal)? {
        Some(log) => log.position_of(last_commit(&fs::read(&wal).unwrap_or_default()))?,
        None => None,
    };
    let mut snapshot = look_with(connection, path, since, between)?;
    snapshot.position = position;
    Ok(snapshot)
}

/// The number of the last frame in a log that ends a transaction.
fn last_commit(log: &[u8]) -> u64 {
    let number = |at: usize| log.get(at..at + 4).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
    let begins = (0..).map(|frame| 32 + frame * (24 + number(8) as usize));
    let frames = begins.take_while(|at| log.get(at + 8..at + 16).is_some_and(|salts| *salts == log[16..24]));
    let commits = frames.zip(1..).filter(|(at, _)| number(at + 4) > 0);
    commits.last().map_or(0, |(_, frame)| frame)
}
