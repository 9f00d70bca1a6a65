//! Increments, for tests of what reads them.

use std::io::{Seek, Write};

use super::fixtures::{Site, id};
use crate::artifact::delta::DeltaWriter;
use crate::artifact::write::ArtifactWriter;
use crate::catalog::Entry;
use crate::operation::run::Run;
use crate::progress::Silent;
use crate::record::digest::Digest;
use crate::record::id::BackupId;
use crate::record::manifest::{Artifact, BackupType, Content, Increment, Manifest};
use crate::record::names::Kind;
use crate::record::pages::{PageDigest, PageList};
use crate::record::selection::Selection;
use crate::source::files::{ArchiveWriter, ConfigFile};
use crate::source::sqlite;
use crate::store::LocalStore;

const DATABASE: &str = "sessions_db";

impl Site {
    /// Makes an increment with that id on the newest backup.
    pub fn increment(&self, store: &dyn LocalStore, now: &str) -> BackupId {
        let made = add(self, &self.begin(store, now));
        assert_eq!(made, id(now));
        made
    }
}

fn add(site: &Site, run: &Run<'_>) -> BackupId {
    let catalog = run.catalog().unwrap();
    let parent = catalog.newest().unwrap();
    let id = catalog.next_id(run.now().to_utc(), |_| false).unwrap();
    let artifacts: Vec<Artifact> =
        [delta(site, run, parent, id), archive(site, run, parent, id)].into_iter().flatten().collect();
    let is_stored = |name: &str| artifacts.iter().any(|artifact| artifact.name == name);
    let unchanged = [DATABASE, "config"].into_iter().filter(|name| !is_stored(name)).map(Into::into).collect();
    let manifest = Manifest {
        id,
        backup_type: BackupType::Increment,
        parent: Some(parent.id),
        created_at: run.now(),
        collapses: Vec::new(),
        unchanged,
        artifacts,
        ..parent.read_manifest(run.store()).unwrap()
    };
    run.publish(&manifest, false).unwrap();
    id
}

/// The delta of the database, if it has changed.
fn delta(site: &Site, run: &Run<'_>, parent: &Entry, id: BackupId) -> Option<Artifact> {
    let base = image(run, parent);
    let (connection, path) = (site.open(), site.root().join("sessions.db"));
    let mut image = Vec::new();
    let transaction = sqlite::begin_reading(&connection, &path).unwrap();
    let facts = sqlite::pages(&transaction, &path, &Silent, |page| {
        image.extend_from_slice(page);
        Ok(())
    });
    let facts = facts.unwrap();
    if image == base {
        return None;
    }
    let page_size = facts.page_size as usize;
    let encoding = site.request().encoding;
    let mut artifact = ArtifactWriter::begin(run.locked_store(), id, DATABASE, Kind::Increment, encoding).unwrap();
    let mut writer = DeltaWriter::begin(&mut artifact, facts.page_size).unwrap();
    let (mut list, mut changed_pages) = (PageList::default(), 0);
    let mut before = base.chunks(page_size);
    for (number, page) in (1..).zip(image.chunks(page_size)) {
        list.set(number, PageDigest::of(page));
        if before.next() != Some(page) {
            writer.begin_pages(number..=number).unwrap();
            writer.write_all(page).unwrap();
            changed_pages += 1;
        }
    }
    writer.finish(facts.page_count).unwrap();
    let increment = Increment {
        source: site.sources.databases[0].path.clone(),
        mode: 0o600,
        uid: 0,
        gid: 0,
        read_ms: None,
        journal_mode: "wal".into(),
        page_size: facts.page_size,
        page_count: facts.page_count,
        changed_pages,
        pages_digest: list.digest(),
    };
    Some(artifact.finish(Content::Increment(increment)).unwrap())
}

/// The database as a backup holds it.
pub(crate) fn image(run: &Run<'_>, entry: &Entry) -> Vec<u8> {
    let files = run.stored_files(entry, Selection::ALL).unwrap();
    let database = files.iter().find(|file| file.name == DATABASE).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    run.reader().copy_image(database, &mut &file, Some(&file)).unwrap();
    let mut image = Vec::new();
    file.rewind().unwrap();
    std::io::Read::read_to_end(&mut file, &mut image).unwrap();
    image
}

/// The archive of the configuration files, if they have changed.
fn archive(site: &Site, run: &Run<'_>, parent: &Entry, id: BackupId) -> Option<Artifact> {
    let file = ConfigFile::read(site.root(), &site.sources.files[0].paths[0]).unwrap();
    let files = run.stored_files(parent, Selection::ALL).unwrap();
    let before = files.iter().find(|file| file.name == "config").and_then(|file| file.recorded.as_ref()).unwrap();
    let Content::Files { entries } = &before.content else { panic!("{before:?}") };
    if entries[0].sha256 == Digest::of(&file.content) {
        return None;
    }
    let encoding = site.request().encoding;
    let mut artifact = ArtifactWriter::begin(run.locked_store(), id, "config", Kind::Files, encoding).unwrap();
    let mut archive = ArchiveWriter::new(&mut artifact);
    archive.add(&file).unwrap();
    archive.finish().unwrap();
    Some(artifact.finish(Content::Files { entries: vec![file.entry()] }).unwrap())
}
