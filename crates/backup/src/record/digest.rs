//! SHA-256 (FIPS 180-4), computed while bytes are read or written, so that nothing is read twice.

use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::error::{Error, ErrorKind};

/// A SHA-256 digest; text form is 64 lower-case hex digits, as `sha256sum` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        unhex(&text).map(Self).ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a SHA-256 is 64 hex digits"))
    }
}

/// Bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that `text` writes as 64 hex digits; `None` for any other text.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// A reader or writer that hashes and counts the bytes that pass through it.
pub(crate) struct Hashing<T> {
    inner: T,
    sha256: sha2::Sha256,
    bytes: u64,
}

/// The bytes that passed through a [`Hashing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamDigest {
    pub bytes: u64,
    pub sha256: Digest,
}

impl<T> Hashing<T> {
    pub fn new(inner: T) -> Self {
        Self { inner, sha256: sha2::Sha256::new(), bytes: 0 }
    }

    /// The inner reader or writer, and what has passed so far.
    pub fn finish(self) -> (T, StreamDigest) {
        (self.inner, StreamDigest { bytes: self.bytes, sha256: Digest(self.sha256.finalize().into()) })
    }

    fn saw(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.saw(&buffer[..count]);
        Ok(count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.saw(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hashes members in their order. If there is more than one, a thread does it: a digest is a single stream, which only one
/// core can work on.
#[derive(Default)]
pub(crate) struct MemberHash {
    /// The first member, as long as it is the only one.
    first: Option<Arc<Vec<u8>>>,
    thread: Option<HashThread>,
}

struct HashThread {
    members: SyncSender<Arc<Vec<u8>>>,
    handle: JoinHandle<StreamDigest>,
}

/// The most members that wait to be hashed.
const QUEUE: usize = 4;

impl MemberHash {
    /// Adds the next member; waits if too many are waiting.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn add(&mut self, member: &Arc<Vec<u8>>) -> io::Result<()> {
        match (self.first.take(), &self.thread) {
            (None, None) => self.first = Some(Arc::clone(member)),
            (None, Some(thread)) => thread.hash(member),
            (Some(first), _) => {
                let thread = self.thread.insert(HashThread::start()?);
                thread.hash(&first);
                thread.hash(member);
            }
        }
        Ok(())
    }

    /// The digest of all members.
    pub fn finish(self) -> StreamDigest {
        match (self.first, self.thread) {
            (_, Some(thread)) => thread.finish(),
            (first, None) => StreamDigest::all_of(first.iter()),
        }
    }
}

impl StreamDigest {
    fn all_of<M: AsRef<Vec<u8>>>(members: impl Iterator<Item = M>) -> Self {
        let mut hashing = Hashing::new(());
        members.for_each(|member| hashing.saw(member.as_ref()));
        hashing.finish().1
    }
}

impl HashThread {
    fn start() -> io::Result<Self> {
        let (members, queue) = mpsc::sync_channel::<Arc<Vec<u8>>>(QUEUE);
        let handle = thread::Builder::new().spawn(|| StreamDigest::all_of(queue.into_iter()))?;
        Ok(Self { members, handle })
    }

    fn hash(&self, member: &Arc<Vec<u8>>) {
        // The thread takes members until the channel is closed. If it has died, `finish` says so.
        let _ = self.members.send(Arc::clone(member));
    }

    fn finish(self) -> StreamDigest {
        drop(self.members);
        self.handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standard() {
        // FIPS 180-4, the example "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), abc);
        assert_eq!(Digest::try_from(abc.to_string()).unwrap(), Digest::of(b"abc"));
        assert!(Digest::try_from("abc".to_string()).is_err());
    }

    #[test]
    fn what_passes_is_counted_and_hashed() {
        let mut hashing = Hashing::new(Vec::new());
        hashing.write_all(b"a").unwrap();
        hashing.write_all(b"bc").unwrap();
        let (inner, passed) = hashing.finish();
        assert_eq!(inner, b"abc");
        assert_eq!(passed, StreamDigest { bytes: 3, sha256: Digest::of(b"abc") });
    }

    #[test]
    fn members_are_hashed_in_their_order_however_many_there_are() {
        for count in [0, 1, 2, 100_u8] {
            let members: Vec<_> = (0..count).map(|n| Arc::new(vec![n; 1000])).collect();
            let mut hash = MemberHash::default();
            for member in &members {
                hash.add(member).unwrap();
            }
            let all: Vec<u8> = members.iter().flat_map(|member| member.to_vec()).collect();
            assert_eq!(hash.finish(), StreamDigest { bytes: all.len() as u64, sha256: Digest::of(&all) });
        }
    }
}
