//! The image of a database at a point of a chain: the whole copy, and the deltas on it laid over it in place.
//!
//! Each artifact is compared with its manifest as it is read. The digests of all pages are kept as the pages are written,
//! and at the end compared with what the last delta records. So nothing is read back, and an image that passes is the one
//! that the database had, even if the deltas were taken from another base.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use super::codec::Member;
use super::delta::{Sizes, lay};
use super::read::{ArtifactReader, Reader, damaged};
use crate::artifact::StoredFile;
use crate::error::{Error, Result};
use crate::record::manifest::{Content, Increment};
use crate::record::pages::{PageDigest, PageList};

/// Bytes of adjacent pages that are written at once.
const PIECE: usize = 1 << 20;

/// The most members that wait to be hashed.
const QUEUE: usize = 4;

impl Reader<'_> {
    /// Decodes a database into `sink`, and lays the increments on it over what was written: `written` is the same file.
    /// Without it, the image is only read and compared. What was written is good only if this returns `Ok`.
    ///
    /// # Errors
    /// [`Damaged`](crate::ErrorKind::Damaged) as for [`Reader::copy`], which names the artifact; also if an increment isn't
    /// one on what is before it, or the image isn't as recorded. Any error of writing.
    pub fn copy_image(self, file: &StoredFile, sink: &mut dyn Write, written: Option<&File>) -> Result<()> {
        if file.increments.is_empty() {
            return self.copy(file, sink);
        }
        let page_size = page_size(file)?;
        let pages = decode_base(self, file, sink, page_size)?;
        let mut image = Image { bytes: pages.len() * u64::from(page_size), pages, written };
        file.increments.iter().try_for_each(|delta| image.lay(self, delta))?;
        image.finish(file)
    }
}

/// The size of a page of all images of a chain.
fn page_size(file: &StoredFile) -> Result<u32> {
    let base = file.recorded.as_ref().map(|recorded| (&recorded.content, recorded.plain_bytes));
    let Some((Content::Database(database), bytes)) = base else {
        return Err(damaged(file, "it is no base of increments"));
    };
    let size = database.facts.page_size;
    if !(512..=65_536).contains(&size) || bytes % u64::from(size) != 0 || !database.damage.is_empty() {
        return Err(damaged(file, "it is no base of increments: it isn't a database of whole pages"));
    }
    for delta in &file.increments {
        if increment(delta)?.page_size != size {
            return Err(damaged(delta, "its pages have another size than those of its base"));
        }
    }
    Ok(size)
}

/// What is recorded of the image that a delta leads to.
pub(super) fn increment(delta: &StoredFile) -> Result<&Increment> {
    match delta.recorded.as_ref().map(|recorded| &recorded.content) {
        Some(Content::Increment(increment)) => Ok(increment),
        _ => Err(damaged(delta, "nothing is recorded of the image that it leads to")),
    }
}

/// Decodes the base into `sink`. Returns the digests of its pages.
fn decode_base(reader: Reader<'_>, file: &StoredFile, sink: &mut dyn Write, page_size: u32) -> Result<PageList> {
    let mut base = ArtifactReader::open(reader, file)?;
    let hashes = PageHashes::start(page_size).map_err(|e| Error::io_named("read", &file.file, e))?;
    while let Some(member) = base.next_member()? {
        hashes.add(&member);
        sink.write_all(&member).map_err(|e| Error::io_named("write the content of", &file.file, e))?;
    }
    base.finish()?;
    Ok(hashes.finish())
}

/// An image that is being written.
struct Image<'a> {
    pages: PageList,
    /// Its size.
    bytes: u64,
    written: Option<&'a File>,
}

impl Image<'_> {
    /// Makes it the image that a delta leads to.
    fn lay(&mut self, reader: Reader<'_>, delta: &StoredFile) -> Result<()> {
        let increment = increment(delta)?;
        let sizes = Sizes { page: increment.page_size, base: self.bytes, image: increment.image_bytes() };
        let mut decoded = ArtifactReader::open(reader, delta)?;
        let mut piece = Piece { written: self.written, offset: 0, bytes: Vec::new() };
        let laid = lay(&mut decoded, sizes, |number, page| {
            self.pages.set(number, PageDigest::of(page));
            piece.add((number - 1) * u64::from(sizes.page), page)
        });
        if let Err(error) = laid.and_then(|()| piece.write()) {
            return Err(decoded.take_error().unwrap_or_else(|| laying(delta, error)));
        }
        decoded.finish()?;
        self.pages.truncate(increment.page_count);
        self.bytes = sizes.image;
        Ok(())
    }

    /// Compares it with what the last increment records, and cuts off what earlier images had more.
    fn finish(self, file: &StoredFile) -> Result<()> {
        let Some(last) = file.increments.last() else { return Ok(()) };
        let (found, recorded) = (self.pages.digest(), increment(last)?.pages_digest);
        if found != recorded {
            let what = format!("the digest of its image's pages is {found}, the manifest says {recorded}");
            return Err(damaged(last, &what));
        }
        let cut = self.written.map_or(Ok(()), |file| file.set_len(self.bytes));
        cut.map_err(|e| Error::io_named("write the content of", &last.file, e))
    }
}

/// What is wrong with a delta, or with the file that is written.
pub(super) fn laying(delta: &StoredFile, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData => damaged(delta, &format!("it is no increment on its parent: {error}")),
        io::ErrorKind::UnexpectedEof => damaged(delta, "it is no increment on its parent: it is cut short"),
        _ => Error::io_named("write the content of", &delta.file, error),
    }
}

/// Adjacent pages that are yet to be written.
struct Piece<'a> {
    written: Option<&'a File>,
    offset: u64,
    bytes: Vec<u8>,
}

impl Piece<'_> {
    fn add(&mut self, offset: u64, page: &[u8]) -> io::Result<()> {
        if self.written.is_none() {
            return Ok(());
        }
        if offset != self.offset + self.bytes.len() as u64 || self.bytes.len() >= PIECE {
            self.write()?;
            self.offset = offset;
        }
        self.bytes.extend_from_slice(page);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.written.map_or(Ok(()), |file| file.write_all_at(&self.bytes, self.offset))?;
        self.bytes.clear();
        Ok(())
    }
}

/// Hashes the pages of an image on a thread of its own, while the next ones are decoded.
struct PageHashes {
    members: SyncSender<Member>,
    handle: JoinHandle<PageList>,
}

impl PageHashes {
    fn start(page_size: u32) -> io::Result<Self> {
        let (members, queue) = mpsc::sync_channel(QUEUE);
        let handle = thread::Builder::new().spawn(move || hash_pages(&queue, page_size as usize))?;
        Ok(Self { members, handle })
    }

    fn add(&self, member: &Member) {
        // The thread takes members until the channel is closed. If it has died, `finish` says so.
        let _ = self.members.send(Arc::clone(member));
    }

    fn finish(self) -> PageList {
        drop(self.members);
        self.handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The digests of all whole pages.
fn hash_pages(members: &Receiver<Member>, page_size: usize) -> PageList {
    let (mut pages, mut part) = (PageList::default(), Vec::new());
    let mut add = |page: &[u8]| pages.set(pages.len() + 1, PageDigest::of(page));
    for member in members {
        // Members of our own consist of whole pages. Others may not.
        let missing = if part.is_empty() { 0 } else { (page_size - part.len()).min(member.len()) };
        let (begin, rest) = member.split_at(missing);
        part.extend_from_slice(begin);
        if part.len() == page_size {
            add(&part);
            part.clear();
        }
        let whole = rest.chunks_exact(page_size);
        part.extend_from_slice(whole.remainder());
        whole.for_each(&mut add);
    }
    pages
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::catalog::{Catalog, Entry};
    use crate::error::ErrorKind;
    use crate::operation::run::Run;
    use crate::record::names;
    use crate::record::selection::Selection;
    use crate::store::{LocalStore, MemoryStore, Store};
    use crate::testing::fixtures::{Site, id, publish};
    use crate::testing::increments::image;

    const GROW: &str =
        "INSERT INTO sessions(kwh) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000)
                        SELECT hex(randomblob(20)) FROM n";

    /// The times of a chain: the first is of the full backup.
    const CHAIN: [&str; 5] =
        ["20251210_140000", "20251210_140100", "20251210_140200", "20251210_140300", "20251210_140400"];

    /// A chain of a database that grows, shrinks and grows again; and the database as the copy of each moment.
    fn chain(store: &dyn LocalStore) -> (Site, Vec<Vec<u8>>) {
        let (mut site, mut images) = (Site::new(), Vec::new());
        site.execute("CREATE TABLE more(id); INSERT INTO more VALUES (1)");
        site.base(store, CHAIN[0]);
        let changes = ["UPDATE more SET id = 2", GROW, "DELETE FROM sessions WHERE id > 3; VACUUM", GROW];
        for at in 0..CHAIN.len() {
            if at > 0 {
                site.execute(changes[at - 1]);
                site.increment(store, CHAIN[at]);
            }
            images.push(bytes_of(&site));
        }
        (site, images)
    }

    /// The database as a snapshot by pages has it.
    fn bytes_of(site: &Site) -> Vec<u8> {
        site.execute("PRAGMA wal_checkpoint(truncate)");
        let mut bytes = fs::read(site.root().join("sessions.db")).unwrap();
        bytes[18..20].fill(1);
        bytes
    }

    fn entry<'c>(catalog: &'c Catalog, at: &str) -> &'c Entry {
        catalog.get(id(at)).unwrap()
    }

    /// Reads the image of a point, without writing it.
    fn read(run: &Run<'_>, at: &str) -> Result<()> {
        let catalog = run.catalog().unwrap();
        let files = catalog.stored_files(entry(&catalog, at), run.store(), Selection::ALL)?;
        let database = files.iter().find(|file| file.name == "sessions_db").unwrap();
        run.reader().copy_image(database, &mut io::sink(), None)
    }

    #[test]
    fn every_point_of_a_chain_has_the_database_of_its_moment() {
        let store = MemoryStore::new();
        let (site, images) = chain(&store);
        let sizes: Vec<usize> = images.iter().map(Vec::len).collect();
        assert!(sizes[2] > sizes[1] && sizes[3] < sizes[2] && sizes[4] > sizes[3], "{sizes:?}");
        let run = site.begin(&store, "20251210_150000");
        let catalog = run.catalog().unwrap();
        for (at, expected) in CHAIN.iter().zip(&images) {
            assert!(image(&run, entry(&catalog, at)) == *expected, "{at}");
            read(&run, at).unwrap();
        }
    }

    #[test]
    fn a_damaged_delta_is_named_and_spoils_only_the_points_from_it_on() {
        let store = MemoryStore::new();
        let (site, _) = chain(&store);
        let name = format!("sessions_db_{}.db.rdiff.zst", CHAIN[2]);
        let mut bytes = Vec::new();
        store.read(&name).unwrap().read_to_end(&mut bytes).unwrap();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            publish(&store, &name, &bytes);
            let run = site.begin(&store, "20251210_150000");
            read(&run, CHAIN[1]).unwrap();
            for point in &CHAIN[2..] {
                let error = read(&run, point).unwrap_err();
                assert_eq!((error.kind(), error.damaged_file()), (ErrorKind::Damaged, Some(name.as_str())), "{at}");
            }
        }
    }

    /// What an artifact's own digests can't show: it is whole, but was taken from something else.
    #[test]
    fn a_delta_from_another_base_is_damaged() {
        let store = MemoryStore::new();
        let (site, _) = chain(&store);
        let manifest = names::manifest(id(CHAIN[1]));
        let mut json = String::new();
        store.read(&manifest).unwrap().read_to_string(&mut json).unwrap();
        // As if nothing had changed at the first increment.
        let mut fields: serde_json::Value = serde_json::from_str(&json).unwrap();
        (fields["artifacts"], fields["unchanged"]) =
            (serde_json::json!([]), serde_json::json!(["sessions_db", "config"]));
        publish(&store, &manifest, fields.to_string().as_bytes());
        let run = site.begin(&store, "20251210_150000");
        read(&run, CHAIN[0]).unwrap();
        read(&run, CHAIN[1]).unwrap();
        let error = read(&run, CHAIN[2]).unwrap_err();
        assert!(error.one_line().contains("the digest of its image's pages is "), "{error:?}");
        assert_eq!(error.damaged_file(), Some(format!("sessions_db_{}.db.rdiff.zst", CHAIN[2]).as_str()));
    }

    #[test]
    fn pages_are_hashed_however_the_members_are_cut() {
        let bytes: Vec<u8> = (0..4096_u32 * 9).map(|at| (at / 100).to_le_bytes()[0]).collect();
        let list_of = |cut: usize| {
            let (sender, members) = mpsc::channel();
            for member in bytes.chunks(cut) {
                sender.send(Arc::new(member.to_vec())).unwrap();
            }
            drop(sender);
            hash_pages(&members, 4096)
        };
        let whole = list_of(4096);
        assert_eq!(whole.len(), 9);
        assert_eq!(whole.get(9), Some(PageDigest::of(&bytes[4096 * 8..])));
        for cut in [1, 100, 4095, 4097, 8192, 10_000, 4096 * 9] {
            assert!(list_of(cut) == whole, "{cut}");
        }
    }
}
