//! Follows the pages of a full backup, so that increments can continue it, and checks what the increments before it
//! believed.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;

use super::state::{DatabaseState, FileIdentity, Origin, TrackedDatabase};
use crate::error::Result;
use crate::record::pages::{PageDigest, PageList};
use crate::source::sqlite::{self, Position};

/// The pages of a snapshot that is being read.
pub(super) struct Tracker {
    origin: Origin,
    identity: Option<FileIdentity>,
    position: Option<Position>,
    pages: PageList,
    believed: Option<Believed>,
}

/// What increments believe of the pages.
struct Believed {
    since: Position,
    pages: PageList,
    /// Pages that can have changed since, as the log says.
    candidates: Option<BTreeSet<u32>>,
    missed: u64,
}

impl Tracker {
    /// Begins before the snapshot does. `believed` is the database at the newest point.
    pub fn begin(
        connection: &Connection,
        path: &Path,
        (identity, origin): (Option<FileIdentity>, Origin),
        believed: Option<TrackedDatabase>,
    ) -> Result<Self> {
        let is_same = |it: &TrackedDatabase| identity.is_some() && it.state.identity == identity;
        let believed = believed.filter(is_same).and_then(|TrackedDatabase { state, pages, .. }| {
            Some(Believed { since: state.position?, pages, candidates: None, missed: 0 })
        });
        let position = sqlite::position(connection, path)?;
        Ok(Self { origin, identity, position, pages: PageList::default(), believed })
    }

    /// The snapshot has begun.
    pub fn snapshot_begun(&mut self, path: &Path) -> Result<()> {
        if let Some(believed) = &mut self.believed {
            believed.candidates = sqlite::candidates_since(path, &believed.since, self.position.as_ref())?;
        }
        Ok(())
    }

    /// Takes the next page.
    pub fn add(&mut self, page: &[u8]) {
        let (number, digest) = (self.pages.len() + 1, PageDigest::of(page));
        self.pages.set(number, digest);
        if let Some(believed) = &mut self.believed {
            believed.compare(number, digest);
        }
    }

    /// What is known after the last page, and how many pages had changed without the log showing it.
    pub fn finish(self, page_size: u32) -> (TrackedDatabase, u64) {
        let Self { origin, identity, position, pages, believed } = self;
        let state = DatabaseState { origin, identity, page_size, pages_digest: pages.digest(), position };
        (TrackedDatabase { state, pages, kept: None }, believed.map_or(0, |believed| believed.missed))
    }
}

impl Believed {
    /// Page 1 is always compared, and new pages are always taken.
    fn compare(&mut self, number: u64, digest: PageDigest) {
        let Some(candidates) = &self.candidates else { return };
        let is_known = u32::try_from(number).is_ok_and(|number| number == 1 || candidates.contains(&number));
        if !is_known && self.pages.get(number).is_some_and(|believed| believed != digest) {
            self.missed += 1;
        }
    }
}
