//! What changed in one database or set of files since the newest point.

use std::io::Write as _;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Instant;

use rusqlite::Connection;

use super::database::{metadata, millis};
use super::files::files_digest;
use super::request::FullReason;
use super::staging::{Parent, Staging};
use super::state::{DatabaseState, FileIdentity, TrackedDatabase, identified};
use crate::artifact::delta::DeltaWriter;
use crate::artifact::write::ArtifactWriter;
use crate::error::{Error, Result};
use crate::record::manifest::{Artifact, Content, Increment};
use crate::record::names::Kind;
use crate::source::files::ConfigFile;
use crate::source::sqlite::{self, Changed, KeptSnapshot, OpenSnapshot, Since};
use crate::source::{DatabaseSource, FilesSource, trusted_path};

/// Why no increment is made.
pub(super) enum Stop {
    /// A full backup has to be made.
    Full(FullReason),
    /// An error, after which nothing is made.
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A database since the newest point.
pub(super) enum DatabaseChange {
    /// It is as it was.
    Unchanged(TrackedDatabase),
    /// Its changes are staged, or all of it if the newest point doesn't hold it.
    Staged(Vec<Artifact>, Option<TrackedDatabase>),
}

/// A live database that is compared with the newest point.
struct Compared {
    path: PathBuf,
    identity: Option<FileIdentity>,
    connection: Connection,
    begun: Instant,
}

impl Compared {
    /// What the log counts from. Another file in the database's place has another log, whatever its salts say.
    fn since<'a>(&self, believed: &'a DatabaseState, kept: Option<&'a KeptSnapshot>) -> Since<'a> {
        let is_same = self.identity.is_some() && self.identity == believed.identity;
        let Some(position) = believed.position.as_ref().filter(|_| is_same) else { return Since::Unknown };
        kept.and_then(|kept| kept.since(position)).unwrap_or(Since::Position(position))
    }
}

impl Staging<'_> {
    /// Stages what changed in a database.
    pub fn stage_change(&self, source: &DatabaseSource, parent: &Parent) -> Result<DatabaseChange, Stop> {
        if !parent.state.databases.contains_key(&source.name) {
            let staged = self.stage_database(source)?;
            return Ok(DatabaseChange::Staged(staged.artifacts, staged.tracked));
        }
        let believed = parent.state.database(&**self.run.locked_store(), &source.name);
        let Some(TrackedDatabase { state: believed, mut pages, .. }) = believed else {
            return Err(Stop::Full(FullReason::InDoubt(source.name.clone())));
        };
        let compared = self.open_to_compare(source)?;
        let kept = self.kept.get(&source.name);
        let snapshot = sqlite::look(&compared.connection, &compared.path, compared.since(&believed, kept))?;
        let changed = snapshot.changed(&mut pages, believed.page_size, self.run.progress())?;
        require_few(&source.name, &changed, &believed, self.all_bytes())?;
        let state = DatabaseState {
            identity: compared.identity,
            page_size: changed.page_size,
            pages_digest: pages.digest(),
            position: snapshot.position().cloned(),
        };
        let artifact = if state.pages_digest == believed.pages_digest {
            None
        } else {
            Some(self.stage_pages(source, &compared, &snapshot, &changed, &state)?)
        };
        let position = snapshot.leave_open();
        let Compared { connection, path, .. } = compared;
        let kept = position.map(|position| KeptSnapshot::new(connection, path, position, changed.page_size));
        let tracked = TrackedDatabase { state, pages, kept };
        Ok(match artifact {
            None => DatabaseChange::Unchanged(tracked),
            Some(artifact) => DatabaseChange::Staged(vec![artifact], Some(tracked)),
        })
    }

    fn open_to_compare(&self, source: &DatabaseSource) -> Result<Compared> {
        let path = trusted_path(self.request.root, &source.path)?;
        let begun = Instant::now();
        let (connection, identity) =
            identified(&path, || sqlite::open_recovered(&path, self.run.busy_timeout(), self.run.progress()))?;
        Ok(Compared { path, identity, connection, begun })
    }

    /// Size of all databases, in bytes, without those that can't be found.
    fn all_bytes(&self) -> u64 {
        let sizes = self.request.sources.databases.iter().filter_map(|source| {
            let path = trusted_path(self.request.root, &source.path).ok()?;
            Some(metadata(&path).ok()?.len())
        });
        sizes.sum()
    }

    /// Stages the changed pages of a snapshot.
    fn stage_pages(
        &self,
        source: &DatabaseSource,
        compared: &Compared,
        snapshot: &OpenSnapshot<'_>,
        changed: &Changed,
        state: &DatabaseState,
    ) -> Result<Artifact> {
        let owner = metadata(&compared.path)?;
        let journal_mode = sqlite::pragma(&compared.connection, "journal_mode");
        let journal_mode = journal_mode.map_err(|e| Error::sqlite("read database", &compared.path, &e))?;
        let changed_pages = changed.pages.len() as u64;
        self.run.require_room(changed_pages * u64::from(changed.page_size))?;
        self.stage(&source.name, Kind::Increment, |artifact, file| {
            write_pages(artifact, file, snapshot, changed)?;
            Ok(Content::Increment(Increment {
                source: source.path.clone(),
                mode: owner.mode() & 0o7777,
                uid: owner.uid(),
                gid: owner.gid(),
                read_ms: Some(millis(compared.begun.elapsed())),
                journal_mode,
                page_size: changed.page_size,
                page_count: changed.page_count,
                changed_pages,
                pages_digest: state.pages_digest,
            }))
        })
    }

    /// Whether the files of a set are as at the newest point. If one can't be read, they aren't: staging them tells why.
    pub fn is_set_unchanged(&self, set: &FilesSource, parent: &Parent) -> bool {
        let present = self.present_files(set);
        let entries = present.iter().map(|path| Ok(ConfigFile::read(self.request.root, path)?.entry()));
        let digest = entries.collect::<Result<Vec<_>>>().map(|entries| files_digest(&entries));
        digest.is_ok_and(|digest| parent.state.files.get(&set.name) == Some(&digest))
    }
}

/// So many changed bytes are worth an increment, however small the databases are: a full backup a minute would never be
/// merged.
const FEW_BYTES: u64 = 1 << 20;

/// Makes sure that the base can be continued, and that an increment is worth it. A full backup takes all databases, so it is
/// their size that counts, `all_bytes`.
fn require_few(name: &str, changed: &Changed, believed: &DatabaseState, all_bytes: u64) -> Result<(), Stop> {
    if changed.page_size != believed.page_size {
        return Err(Stop::Full(FullReason::PageSize(name.into())));
    }
    let count = changed.pages.len() as u64;
    let (bytes, is_most) = (count * u64::from(changed.page_size), count * 2 > changed.page_count);
    if is_most && bytes > FEW_BYTES && bytes * 2 > all_bytes {
        return Err(Stop::Full(FullReason::MuchChanged { name: name.into(), changed: count, of: changed.page_count }));
    }
    Ok(())
}

/// Writes a delta with the changed pages.
fn write_pages(
    artifact: &mut ArtifactWriter,
    file: &str,
    snapshot: &OpenSnapshot<'_>,
    changed: &Changed,
) -> Result<()> {
    let failed = |e| Error::io_named("store", file, e);
    let mut delta = DeltaWriter::begin(artifact, changed.page_size).map_err(failed)?;
    for run in runs(&changed.pages) {
        delta.begin_pages(u64::from(*run.start())..=u64::from(*run.end())).map_err(failed)?;
        snapshot.read_pages(run, |_, page| delta.write_all(page).map_err(failed))?;
    }
    delta.finish(changed.page_count).map_err(failed)
}

/// Runs of successive numbers among these, which are in order.
fn runs(numbers: &[u32]) -> impl Iterator<Item = RangeInclusive<u32>> {
    numbers.chunk_by(|one, next| one + 1 == *next).map(|run| run[0]..=run[run.len() - 1])
}
