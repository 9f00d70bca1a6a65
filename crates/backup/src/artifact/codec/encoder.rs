//! Writing: plain bytes are cut into members, which are hashed, and encoded on all cores.

use std::io::{self, Write};
use std::sync::Arc;

use super::encoding::Encoding;
use super::member::MEMBER_BYTES;
use super::pool::Pool;
use crate::record::digest::{MemberHash, StreamDigest};

/// Encodes what is written to it into a sink. If it is dropped without [`Encoder::finish`], the sink has only a part.
pub(crate) struct Encoder<W: Write> {
    sink: W,
    plain: Vec<u8>,
    pool: Pool,
    hash: MemberHash,
    empty: bool,
}

impl<W: Write> Encoder<W> {
    pub fn new(encoding: Encoding, sink: W) -> Self {
        let pool = Pool::new(move || encoding.compress());
        Self { sink, plain: Vec::new(), pool, hash: MemberHash::default(), empty: true }
    }

    /// Encodes the rest. Returns the sink and the digest of the plain bytes. Empty input becomes one empty member.
    pub fn finish(mut self) -> io::Result<(W, StreamDigest)> {
        if self.empty || !self.plain.is_empty() {
            self.submit_member()?;
        }
        while self.store_oldest()? {}
        Ok((self.sink, self.hash.finish()))
    }

    fn submit_member(&mut self) -> io::Result<()> {
        if self.pool.is_full() {
            self.store_oldest()?;
        }
        let member = Arc::new(std::mem::replace(&mut self.plain, Vec::with_capacity(MEMBER_BYTES)));
        self.empty = false;
        self.hash.add(&member)?;
        self.pool.submit(member)
    }

    fn store_oldest(&mut self) -> io::Result<bool> {
        match self.pool.take_oldest() {
            Some(stored) => self.sink.write_all(&stored?).map(|()| true),
            None => Ok(false),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(MEMBER_BYTES - self.plain.len());
        self.plain.extend_from_slice(&bytes[..count]);
        if self.plain.len() == MEMBER_BYTES {
            self.submit_member()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::codec::Codec;
    use crate::record::digest::Digest;

    fn encoded(plain: &[u8]) -> (Vec<u8>, StreamDigest) {
        let mut encoder = Encoder::new(Encoding::new(Codec::None, 0).unwrap(), Vec::new());
        plain.chunks(1000).for_each(|piece| encoder.write_all(piece).unwrap());
        encoder.finish().unwrap()
    }

    #[test]
    fn what_passes_is_hashed_and_keeps_its_order() {
        let plain: Vec<u8> = (0..9 * MEMBER_BYTES + 7).map(|n| (n * n / 977).to_le_bytes()[0]).collect();
        for length in [0, 1, MEMBER_BYTES - 1, MEMBER_BYTES, MEMBER_BYTES + 1, plain.len()] {
            let (stored, passed) = encoded(&plain[..length]);
            assert!(stored == plain[..length], "{length}");
            assert_eq!(passed, StreamDigest { bytes: length as u64, sha256: Digest::of(&plain[..length]) });
        }
    }

    #[test]
    fn a_sink_that_fails_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut encoder = Encoder::new(Encoding::new(Codec::Gzip, 6).unwrap(), Full);
        let written = encoder.write_all(&vec![0; 20 * MEMBER_BYTES]).and_then(|()| encoder.finish().map(drop));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
