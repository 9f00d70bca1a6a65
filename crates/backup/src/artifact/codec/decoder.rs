//! Reading: stored bytes are cut into members again and decoded on all cores, as long as the members say where they end.
//! The rest, written by another program, is decoded as one stream.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use super::member::{Boundary, MEMBER_BYTES, MOST_STORED, Member};
use super::pool::Pool;
use crate::record::codec::Codec;

/// Decodes what it reads from `R`: any sequence of members or frames, whichever program wrote them.
pub(crate) struct Decoder<R: Read> {
    codec: Codec,
    source: Source<R>,
    pool: Pool,
}

enum Source<R: Read> {
    Members(Stored<R>),
    Gzip(Box<MultiGzDecoder<Stored<R>>>),
    Zstd(Box<::zstd::stream::read::Decoder<'static, Stored<R>>>),
    /// Creating the stream's decoder failed.
    Lost,
}

impl<R: Read> Decoder<R> {
    pub fn new(codec: Codec, source: R) -> Self {
        let pool = Pool::new(move || codec.decompress());
        Self { codec, source: Source::Members(Stored::new(source)), pool }
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

    /// The oldest member under way, once the workers have as many as they can take.
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

    /// Returns the source. All of it has been read if [`Self::next_member`] has come to the end.
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

/// Stored bytes, some of them read ahead.
struct Stored<R> {
    source: R,
    buffer: Vec<u8>,
    at: usize,
    /// Whether the source is at its end.
    ended: bool,
    /// Whether a member has been found.
    begun: bool,
}

impl<R: Read> Stored<R> {
    fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), at: 0, ended: false, begun: false }
    }

    fn ahead(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Whether all members have been taken. Empty input is valid for [`Codec::None`] alone; for the others the stream's
    /// decoder reports the error.
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

/// How many bytes are read ahead: a few of the largest members.
const READ_AHEAD: usize = 4 * MOST_STORED;

impl<R: Read> BufRead for Stored<R> {
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

impl<R: Read> Read for Stored<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
