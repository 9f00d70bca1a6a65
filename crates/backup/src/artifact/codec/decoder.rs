//! The reading half: stored bytes are cut into members again and decoded on all cores, as long as the members say where
//! they end. What doesn't, as other programs write it, is decoded as one stream.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use super::pool::{Member, Pool};
use super::{Codec, MEMBER_BYTES, MOST_STORED};

/// What the bytes at the beginning of a member say of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Boundary {
    /// It has so many stored bytes, at most [`MOST_STORED`], and decodes to at most [`MEMBER_BYTES`].
    Whole(usize),
    /// More of them are needed to tell.
    More,
    /// It doesn't say where it ends, or it is too long to be decoded at once.
    Foreign,
}

/// Decodes what it reads from `R`: any sequence of members or frames, ours or another program's.
pub(crate) struct Decoder<R: Read> {
    codec: Codec,
    source: Source<R>,
    pool: Pool,
}

enum Source<R: Read> {
    Members(Unpacked<R>),
    Gzip(Box<MultiGzDecoder<Unpacked<R>>>),
    Zstd(Box<::zstd::stream::read::Decoder<'static, Unpacked<R>>>),
    /// The stream's decoder could not be made.
    Lost,
}

impl<R: Read> Decoder<R> {
    pub fn new(codec: Codec, source: R) -> Self {
        let pool = Pool::new(move || codec.decompress());
        Self { codec, source: Source::Members(Unpacked::new(source)), pool }
    }

    /// The next plain bytes; `None` after the last.
    pub fn next_member(&mut self) -> io::Result<Option<Member>> {
        if let Some(decoded) = self.next_decoded()? {
            return Ok(Some(Arc::new(decoded)));
        }
        let mut piece = Vec::with_capacity(MEMBER_BYTES);
        let limit = MEMBER_BYTES as u64;
        match &mut self.source {
            Source::Members(_) => {}
            Source::Gzip(stream) => drop(stream.take(limit).read_to_end(&mut piece)?),
            Source::Zstd(stream) => drop(stream.take(limit).read_to_end(&mut piece)?),
            Source::Lost => return Err(lost()),
        }
        Ok((!piece.is_empty()).then(|| Arc::new(piece)))
    }

    /// The oldest member that the workers are at, once they have as many as they can take.
    fn next_decoded(&mut self) -> io::Result<Option<Vec<u8>>> {
        while !self.pool.is_full()
            && let Source::Members(stored) = &mut self.source
        {
            match stored.next_member(self.codec)? {
                Some(member) => self.pool.submit(member)?,
                None if stored.is_at_end(self.codec) => break,
                None => self.go_on_as_stream()?,
            }
        }
        self.pool.take_oldest().transpose()
    }

    fn go_on_as_stream(&mut self) -> io::Result<()> {
        let Source::Members(stored) = std::mem::replace(&mut self.source, Source::Lost) else { return Ok(()) };
        self.source = match self.codec {
            Codec::Gzip => Source::Gzip(Box::new(MultiGzDecoder::new(stored))),
            Codec::Zstd => Source::Zstd(Box::new(::zstd::stream::read::Decoder::with_buffer(stored)?)),
            Codec::None => Source::Members(stored),
        };
        Ok(())
    }

    /// The source back. All of it has been read if [`Self::next_member`] has come to the end.
    pub fn into_inner(self) -> io::Result<R> {
        match self.source {
            Source::Members(stored) => Ok(stored.source),
            Source::Gzip(stream) => Ok(stream.into_inner().source),
            Source::Zstd(stream) => Ok(stream.finish().source),
            Source::Lost => Err(lost()),
        }
    }
}

fn lost() -> io::Error {
    io::Error::other("reading has failed before")
}

/// Unpacked bytes, with some of them read ahead.
struct Unpacked<R> {
    source: R,
    buffer: Vec<u8>,
    at: usize,
    /// Whether the source has no more.
    ended: bool,
    /// Whether a member has been found.
    begun: bool,
}

impl<R: Read> Unpacked<R> {
    fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), at: 0, ended: false, begun: false }
    }

    fn ahead(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Whether all members have been taken. Nothing at all is no artifact but for [`Codec::None`]: that is for the
    /// stream's decoder to say.
    fn is_at_end(&self, codec: Codec) -> bool {
        self.ended && self.ahead().is_empty() && (self.begun || codec == Codec::None)
    }

    /// The next member, if it says where it ends.
    fn next_member(&mut self, codec: Codec) -> io::Result<Option<Member>> {
        if self.ahead().len() < MOST_STORED {
            self.read_ahead()?;
        }
        if self.ahead().is_empty() {
            return Ok(None);
        }
        let Boundary::Whole(length) = codec.cut(self.ahead()) else { return Ok(None) };
        let member = self.ahead()[..length].to_vec();
        self.at += length;
        self.begun = true;
        Ok(Some(Arc::new(member)))
    }

    fn read_ahead(&mut self) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let missing = READ_AHEAD - self.buffer.len();
        let count = (&mut self.source).take(missing as u64).read_to_end(&mut self.buffer)?;
        self.ended = count < missing;
        Ok(())
    }
}

/// How far the stored bytes are read ahead: a few of the largest members.
const READ_AHEAD: usize = 4 * MOST_STORED;

impl<R: Read> BufRead for Unpacked<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.ahead().is_empty() {
            self.read_ahead()?;
        }
        Ok(self.ahead())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
