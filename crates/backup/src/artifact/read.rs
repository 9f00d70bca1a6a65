//! The one way to read an artifact: the stages of [`super::write`] backwards, each compared with the manifest.
//!
//! There are two levels ([`Level`]): the stored bytes alone, or the decoded content as well.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use crate::artifact::StoredFile;
use crate::artifact::codec::{Decoder, Member};
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress, Step};
use crate::record::digest::{Hashing, MemberHash, StreamDigest};
use crate::record::manifest::Artifact;
use crate::store::Store;

type StoredBytes = Hashing<Box<dyn Read + Send>>;

/// How much of an artifact is read and compared with its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The stored bytes alone.
    Stored,
    /// The stored bytes and the decoded content.
    Content,
}

/// A reader of the stored files of one store.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub store: &'a dyn Store,
    pub progress: &'a dyn Progress,
    /// The most bytes that a file may decode to if no manifest says how many.
    pub max_foreign: u64,
}

impl Reader<'_> {
    /// Decodes a stored file into `sink`. The written bytes are good only if this returns `Ok`.
    ///
    /// # Errors
    /// [`Damaged`](crate::ErrorKind::Damaged) if the file is missing, can't be decoded, or isn't what the manifest says.
    pub fn copy(self, file: &StoredFile, sink: &mut dyn Write) -> Result<()> {
        let mut reader = ArtifactReader::open(self, file)?;
        while let Some(member) = reader.next_member()? {
            sink.write_all(&member).map_err(|e| Error::io_named("write the content of", &file.file, e))?;
        }
        reader.finish()
    }

    /// Reads the stored bytes alone and compares them with the manifest; `false` if there is no manifest of this
    /// program.
    ///
    /// # Errors
    /// [`Damaged`](crate::ErrorKind::Damaged) if the file is missing or isn't what the manifest says.
    pub fn read_stored(self, file: &StoredFile) -> Result<bool> {
        self.stored_to(file, &mut io::sink(), "read")
    }

    /// The same, and copies the stored bytes into `sink`. The written bytes are good only if this returns `Ok`.
    ///
    /// # Errors
    /// As [`Reader::read_stored`]; any error of writing.
    pub fn copy_stored(self, file: &StoredFile, sink: &mut dyn Write) -> Result<bool> {
        self.stored_to(file, sink, "copy")
    }

    fn stored_to(self, file: &StoredFile, sink: &mut dyn Write, verb: &str) -> Result<bool> {
        let stored = self.open_stored(file)?;
        let step = Step::begin(self.progress, Phase::Read, &file.file, file.bytes);
        let mut stored = Hashing::new(stored);
        step.copy(&mut stored, sink).map_err(|e| Error::io_named(verb, &file.file, e))?;
        let Some(recorded) = &file.recorded else { return Ok(false) };
        compare(file, "stored", stored.finish().1, stored_digest(recorded)).map(|()| true)
    }

    fn open_stored(self, file: &StoredFile) -> Result<Box<dyn Read + Send>> {
        let bytes = file.bytes.ok_or_else(|| damaged(file, "it is missing from the store"))?;
        let not_plain = |error: Error| if error.is_not_plain() { damaged(file, &error.detail()) } else { error };
        let stored = self.store.read(&file.file).map_err(not_plain)?;
        match &file.recorded {
            Some(recorded) if recorded.bytes != bytes => {
                let lengths = format!("it has {bytes} bytes, the manifest says {}", recorded.bytes);
                Err(damaged(file, &lengths))
            }
            _ => Ok(stored),
        }
    }
}

/// Whether the stored bytes are as recorded.
///
/// # Errors
/// Any error of reading them. Anything but a plain file in its place is no error but `false`.
pub(crate) fn is_stored(store: &dyn Store, artifact: &Artifact) -> Result<bool> {
    let mut stored = match store.read(&artifact.file) {
        Err(error) if error.is_not_plain() => return Ok(false),
        opened => Hashing::new(opened?),
    };
    io::copy(&mut stored, &mut io::sink()).map_err(|e| Error::io_named("read", &artifact.file, e))?;
    Ok(stored.finish().1 == stored_digest(artifact))
}

fn stored_digest(artifact: &Artifact) -> StreamDigest {
    StreamDigest { bytes: artifact.bytes, sha256: artifact.sha256 }
}

/// Reads the decoded bytes of a stored file. They are good only if [`ArtifactReader::finish`] returns `Ok`.
pub(crate) struct ArtifactReader<'a> {
    file: &'a StoredFile,
    decoder: Decoder<StoredBytes>,
    hash: MemberHash,
    decoded: u64,
    max_foreign: u64,
    /// The member that `Read` is at, and the offset in it.
    member: Member,
    at: usize,
    progress: &'a dyn Progress,
    step: Step<'a>,
    /// The whole error: on its way through `Read` and `tar` it loses its hint or more.
    failed: Option<Error>,
}

impl<'a> ArtifactReader<'a> {
    /// Begins to read a file.
    ///
    /// # Errors
    /// [`Damaged`](crate::ErrorKind::Damaged) if it is missing, or its size is not what the manifest says.
    pub fn open(reader: Reader<'a>, file: &'a StoredFile) -> Result<Self> {
        let stored = reader.open_stored(file)?;
        let Reader { progress, max_foreign, .. } = reader;
        let decoder = Decoder::new(file.codec, Hashing::new(stored));
        let total = file.recorded.as_ref().map(|recorded| recorded.plain_bytes);
        let step = Step::begin(progress, Phase::Read, &file.file, total);
        let (hash, member) = (MemberHash::default(), Arc::default());
        Ok(Self { file, decoder, hash, decoded: 0, max_foreign, member, at: 0, progress, step, failed: None })
    }

    /// The next decoded bytes; `None` after the last.
    pub(super) fn next_member(&mut self) -> Result<Option<Member>> {
        let Some(member) = self.decoder.next_member().map_err(|e| decoding(self.file, e))? else { return Ok(None) };
        self.step.advance(member.len() as u64);
        self.decoded += member.len() as u64;
        self.check_bound()?;
        if self.progress.should_stop() {
            return Err(Error::interrupted());
        }
        self.hash.add(&member).map_err(|e| Error::io_named("read", &self.file.file, e))?;
        Ok(Some(member))
    }

    /// Stops a few stored bytes from filling the disk.
    fn check_bound(&self) -> Result<()> {
        let recorded = self.file.recorded.as_ref().map(|recorded| recorded.plain_bytes);
        if self.decoded <= recorded.unwrap_or(self.max_foreign) {
            return Ok(());
        }
        if let Some(bytes) = recorded {
            return Err(damaged(self.file, &format!("it decodes to more than the {bytes} bytes of the manifest")));
        }
        let megabytes = self.max_foreign / 1_000_000;
        let what = format!("it decodes to more than {megabytes} MB, and no manifest says that it may");
        Err(damaged(self.file, &what).with_hint("if it may be that large, set `max_foreign_mb` in the settings"))
    }

    /// The error that reading ended with, if it did.
    pub fn take_error(&mut self) -> Option<Error> {
        self.failed.take()
    }

    /// Reads to the very end and compares sizes and digests with the manifest.
    ///
    /// # Errors
    /// As [`Reader::copy`].
    pub fn finish(mut self) -> Result<()> {
        while self.next_member()?.is_some() {}
        let Some(recorded) = &self.file.recorded else { return Ok(()) };
        let (_, stored) = self.decoder.into_inner().map_err(|e| decoding(self.file, e))?.finish();
        compare(self.file, "stored", stored, stored_digest(recorded))?;
        let plain = StreamDigest { bytes: recorded.plain_bytes, sha256: recorded.plain_sha256 };
        compare(self.file, "decoded", self.hash.finish(), plain)
    }
}

impl BufRead for ArtifactReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        // A member may be empty without being the last.
        while self.at == self.member.len() {
            match self.next_member() {
                Ok(Some(member)) => (self.member, self.at) = (member, 0),
                Ok(None) => break,
                Err(error) => {
                    let again = Error::new(error.kind(), error.to_string());
                    self.failed = Some(error);
                    return Err(again.into());
                }
            }
        }
        Ok(&self.member[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for ArtifactReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

fn compare(file: &StoredFile, which: &str, found: StreamDigest, expected: StreamDigest) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let what = format!(
        "its {which} bytes are {} with SHA-256 {}, the manifest says {} with {}",
        found.bytes, found.sha256, expected.bytes, expected.sha256
    );
    Err(damaged(file, &what))
}

/// An error of the operating system is an error of reading. An error of the decoder means that the bytes are wrong.
fn decoding(file: &StoredFile, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(_) => Error::io_named("read", &file.file, error),
        None => damaged(file, &format!("it can't be decoded: {error}")),
    }
}

pub(super) fn damaged(file: &StoredFile, what: &str) -> Error {
    Error::damaged(&file.file, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::error::ErrorKind;
    use crate::source::files::read_stored_archive;

    use crate::progress::Silent;
    use crate::record::codec::Codec;
    use crate::record::digest::Digest;
    use crate::record::manifest::Artifact;
    use crate::record::selection::Selection;
    use crate::store::MemoryStore;
    use crate::testing::fixtures::Stop;
    use crate::testing::fixtures::{Site, publish};

    const FILE: &str = "sessions_db_20251210_140000.db.zst";

    /// A store with one backup, and its database's file as the catalog knows it.
    fn stored() -> (MemoryStore, StoredFile) {
        let store = MemoryStore::new();
        Site::new().backup(&store, "20251210_140000");
        let file = find(&store);
        (store, file)
    }

    fn find(store: &MemoryStore) -> StoredFile {
        let catalog = Catalog::load(store).unwrap();
        catalog
            .stored_files(&catalog.entries()[0], store, Selection::ALL)
            .unwrap()
            .into_iter()
            .find(|file| file.file == FILE)
            .unwrap()
    }

    fn bytes(store: &MemoryStore) -> Vec<u8> {
        let mut bytes = Vec::new();
        store.read(FILE).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn reader<'a>(store: &'a MemoryStore, progress: &'a dyn Progress) -> Reader<'a> {
        Reader { store, progress, max_foreign: u64::MAX }
    }

    fn decoded(store: &MemoryStore, file: &StoredFile) -> Result<Vec<u8>> {
        let mut sink = Vec::new();
        reader(store, &Silent).copy(file, &mut sink).map(|()| sink)
    }

    /// Changes the file's bytes in the store, but not what is known about it.
    #[track_caller]
    fn assert_damaged(change: impl FnOnce(&mut Vec<u8>)) -> String {
        let (store, file) = stored();
        let mut content = bytes(&store);
        change(&mut content);
        publish(&store, FILE, &content);
        let error = decoded(&store, &StoredFile { bytes: Some(content.len() as u64), ..file }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
        assert_eq!(error.advice(), Some(crate::error::Advice::RestoreAnother));
        error.one_line()
    }

    fn with_record(file: &StoredFile, change: impl FnOnce(&mut Artifact)) -> StoredFile {
        let mut file = file.clone();
        change(file.recorded.as_mut().unwrap());
        file
    }

    #[test]
    fn what_comes_out_is_the_database_that_went_in() {
        let (store, file) = stored();
        let database = decoded(&store, &file).unwrap();
        assert!(database.starts_with(b"SQLite format 3\0"));
        assert_eq!(Digest::of(&database), file.recorded.unwrap().plain_sha256);
    }

    #[test]
    fn a_stored_file_that_is_shorter_or_longer_than_recorded_is_damaged() {
        let lengths = "sessions_db_20251210_140000.db.zst is damaged: it has ";
        assert!(assert_damaged(|content| content.truncate(100)).starts_with(lengths));
        assert!(assert_damaged(|content| content.push(0)).starts_with(lengths));
        assert!(assert_damaged(Vec::clear).starts_with(&format!("{lengths}0 bytes, the manifest says ")));
    }

    #[test]
    fn any_flipped_bit_is_damage() {
        let (store, _) = stored();
        let length = bytes(&store).len();
        for at in [0, 1, 5, length / 3, length / 2, length - 1] {
            let message = assert_damaged(|content| content[at] ^= 1);
            assert!(message.starts_with(&format!("{FILE} is damaged: ")), "{message}");
        }
    }

    #[test]
    fn another_database_of_the_same_size_is_damage() {
        let (store, file) = stored();
        for recorded in [
            with_record(&file, |artifact| artifact.plain_sha256 = Digest::of(b"other")),
            with_record(&file, |artifact| artifact.sha256 = Digest::of(b"other")),
            with_record(&file, |artifact| artifact.plain_bytes += 1),
        ] {
            let error = decoded(&store, &recorded).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(error.one_line().contains(", the manifest says "), "{error}");
        }
    }

    #[test]
    fn a_file_that_decodes_to_more_than_recorded_is_given_up_at_once() {
        let (store, file) = stored();
        let file = with_record(&file, |artifact| artifact.plain_bytes = 10);
        let mut sink = Vec::new();
        let error = reader(&store, &Silent).copy(&file, &mut sink).unwrap_err();
        let message =
            "sessions_db_20251210_140000.db.zst is damaged: it decodes to more than the 10 bytes of the manifest";
        assert_eq!(error.one_line(), message);
        assert!(sink.is_empty());
    }

    #[test]
    fn a_file_that_is_gone_is_damage() {
        let (store, _) = stored();
        store.remove(FILE).unwrap();
        let error = decoded(&store, &find(&store)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert_eq!(error.one_line(), format!("{FILE} is damaged: it is missing from the store"));
    }

    #[test]
    fn without_a_record_a_file_is_read_as_far_as_its_codec_vouches_for_it() {
        let (store, file) = stored();
        let foreign = StoredFile { recorded: None, ..file };
        assert!(decoded(&store, &foreign).unwrap().starts_with(b"SQLite format 3\0"));
        let mut half = bytes(&store);
        half.truncate(half.len() / 2);
        publish(&store, FILE, &half);
        assert_eq!(decoded(&store, &foreign).unwrap_err().kind(), ErrorKind::Damaged);
        let plain = StoredFile { codec: Codec::None, ..foreign };
        assert_eq!(decoded(&store, &plain).unwrap(), half);
    }

    #[test]
    fn without_a_record_a_file_decodes_to_no_more_than_is_allowed() {
        let (store, file) = stored();
        let foreign = StoredFile { recorded: None, ..file };
        let plain = decoded(&store, &foreign).unwrap().len() as u64;
        let bounded = |max_foreign| {
            Reader { max_foreign, ..reader(&store, &Silent) }.copy(&foreign, &mut io::sink()).map_err(|e| e.one_line())
        };
        assert_eq!(bounded(plain), Ok(()));
        let message = format!("{FILE} is damaged: it decodes to more than 0 MB, and no manifest says that it may");
        assert_eq!(bounded(plain - 1), Err(message));
    }

    #[test]
    fn an_empty_member_is_not_the_end() {
        let (store, _) = stored();
        let catalog = Catalog::load(&store).unwrap();
        let files = catalog.stored_files(&catalog.entries()[0], &store, Selection::ALL).unwrap();
        let config = files.iter().find(|file| file.name == "config").unwrap();
        let mut content = Vec::new();
        store.read(&config.file).unwrap().read_to_end(&mut content).unwrap();
        let content = [::zstd::bulk::compress(b"", 1).unwrap(), content].concat();
        publish(&store, &config.file, &content);
        let foreign = StoredFile { recorded: None, bytes: Some(content.len() as u64), ..config.clone() };
        let mut members = 0;
        let count = |_| {
            members += 1;
            Ok(())
        };
        read_stored_archive(reader(&store, &Silent), &foreign, count).unwrap();
        assert_eq!(members, 1);
    }

    #[test]
    fn reading_stops_when_asked_to() {
        let (store, file) = stored();
        let error = reader(&store, &Stop).copy(&file, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }

    #[test]
    fn what_the_reader_of_an_archive_says_is_the_cause() {
        let (store, _) = stored();
        let catalog = Catalog::load(&store).unwrap();
        let files = catalog.stored_files(&catalog.entries()[0], &store, Selection::ALL).unwrap();
        let config = files.iter().find(|file| file.name == "config").unwrap();
        let mut members = Vec::new();
        let mut read = |progress: &dyn Progress, file: &StoredFile| {
            read_stored_archive(reader(&store, progress), file, |member| {
                members.push(member.path.to_string());
                Ok(())
            })
        };
        read(&Silent, config).unwrap();
        assert_eq!(read(&Stop, config).unwrap_err().kind(), ErrorKind::Interrupted);
        let short = with_record(config, |artifact| artifact.plain_bytes = 10);
        assert!(read(&Silent, &short).unwrap_err().one_line().contains("more than the 10 bytes"));
        assert_eq!(members, [".env"]);
    }
}
