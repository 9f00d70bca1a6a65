//! The one read path: a stored file's bytes, decoded, and held against the manifest on the way.

use std::io::{self, Read, Write};

use crate::catalog::StoredFile;
use crate::codec::Decoder;
use crate::digest::{Hashing, Passed};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Phase, Progress, Step};
use crate::source::files::{self, ConfigFile};
use crate::store::Store;

type Stored = Hashing<Box<dyn Read + Send>>;

/// Decodes a stored file into `sink`. What has come out is good only if this returns `Ok`.
///
/// # Errors
/// [`ErrorKind::Damaged`] if the file is missing, can't be decoded, or isn't what the manifest says.
pub(crate) fn copy(store: &dyn Store, file: &StoredFile, progress: &dyn Progress, sink: &mut dyn Write) -> Result<()> {
    let mut reader = ArtifactReader::open(store, file, progress)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = reader.read(&mut buffer).map_err(|e| reader.cause(e))?;
        if count == 0 {
            return reader.finish();
        }
        sink.write_all(&buffer[..count]).map_err(|e| Error::io_named("write what is read from", &file.file, e))?;
    }
}

/// Reads a stored archive, calling `each` with its files. They are good only if this returns `Ok`.
///
/// # Errors
/// As [`copy`], as [`files::read_archive`], and what `each` says.
pub(crate) fn archive(
    store: &dyn Store,
    file: &StoredFile,
    progress: &dyn Progress,
    each: impl FnMut(ConfigFile) -> Result<()>,
) -> Result<()> {
    let mut reader = ArtifactReader::open(store, file, progress)?;
    let result = files::read_archive(&file.file, &mut reader, each);
    match reader.failed.take() {
        Some(cause) => Err(cause),
        None => result.and_then(|()| reader.finish()),
    }
}

/// Decoded bytes of a stored file.
struct ArtifactReader<'a> {
    file: &'a StoredFile,
    decoder: Hashing<Decoder<Stored>>,
    progress: &'a dyn Progress,
    step: Step<'a>,
    /// What went wrong, whole: on its way through `Read`, and through `tar`, an error loses its hint or more.
    failed: Option<Error>,
}

impl<'a> ArtifactReader<'a> {
    fn open(store: &dyn Store, file: &'a StoredFile, progress: &'a dyn Progress) -> Result<Self> {
        let bytes = file.bytes.ok_or_else(|| damaged(file, "it is missing from the store"))?;
        if let Some(recorded) = &file.recorded
            && recorded.bytes != bytes
        {
            let lengths = format!("it has {bytes} bytes, the manifest says {}", recorded.bytes);
            return Err(damaged(file, &lengths));
        }
        let stored = Hashing::new(store.read(&file.file)?);
        let decoder = Decoder::new(file.codec, stored).map_err(|e| Error::io_named("read", &file.file, e))?;
        let total = file.recorded.as_ref().map(|recorded| recorded.plain_bytes);
        let step = Step::begin(progress, Phase::Read, &file.file, total);
        Ok(Self { file, decoder: Hashing::new(decoder), progress, step, failed: None })
    }

    /// Reads on to the very end and holds sizes and digests against the manifest.
    fn finish(mut self) -> Result<()> {
        io::copy(&mut self, &mut io::sink()).map_err(|e| self.cause(e))?;
        let (decoder, plain) = self.decoder.finish();
        let mut stored = decoder.into_inner();
        io::copy(&mut stored, &mut io::sink()).map_err(|e| Error::io_named("read", &self.file.file, e))?;
        let (_, stored) = stored.finish();
        let Some(recorded) = &self.file.recorded else { return Ok(()) };
        compare(self.file, "stored", stored, Passed { bytes: recorded.bytes, sha256: recorded.sha256 })?;
        compare(self.file, "decoded", plain, Passed { bytes: recorded.plain_bytes, sha256: recorded.plain_sha256 })
    }

    fn cause(&mut self, error: io::Error) -> Error {
        self.failed.take().unwrap_or_else(|| Error::io_named("read", &self.file.file, error))
    }

    fn advance(&mut self, count: usize) -> Result<()> {
        self.step.advance(count as u64);
        let bound = self.file.recorded.as_ref().map_or(u64::MAX, |recorded| recorded.plain_bytes);
        if self.decoder.passed() > bound {
            return Err(damaged(self.file, &format!("it decodes to more than the {bound} bytes of the manifest")));
        }
        if self.progress.should_stop() { Err(Error::interrupted()) } else { Ok(()) }
    }
}

impl Read for ArtifactReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer).map_err(|e| decoding(self.file, e));
        match read.and_then(|count| self.advance(count).map(|()| count)) {
            Ok(count) => Ok(count),
            Err(error) => {
                let again = Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                Err(again.into())
            }
        }
    }
}

fn compare(file: &StoredFile, which: &str, found: Passed, expected: Passed) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let what = format!(
        "its {which} bytes are {} with SHA-256 {}, the manifest says {} with {}",
        found.bytes, found.sha256, expected.bytes, expected.sha256
    );
    Err(damaged(file, &what))
}

/// What the operating system says is an error of reading; what a decoder says means that the bytes are wrong.
fn decoding(file: &StoredFile, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(_) => Error::io_named("read", &file.file, error),
        None => damaged(file, &format!("it can't be decoded: {error}")),
    }
}

fn damaged(file: &StoredFile, what: &str) -> Error {
    Error::new(ErrorKind::Damaged, format!("{} is damaged: {what}", file.file))
        .with_hint("restore another backup: `verify --all` shows which are sound")
}
