//! What an artifact's bytes pass through on their way to the store and back.
//!
//! Compressed artifacts are sequences of independently compressed members: any `gunzip` or `zstd -d` reads them, and
//! all cores can work on them at once. Encryption will be a further stage here, after compression.

mod gzip;
mod members;
mod zstd;

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::str::FromStr;

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use members::MemberWriter;

/// How an artifact is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
    /// The plain bytes.
    None,
}

impl Codec {
    /// What it adds to a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::None => "",
        }
    }

    /// The levels it takes, least to most effort; `None` where there is nothing to choose.
    pub fn levels(self) -> Option<std::ops::RangeInclusive<i32>> {
        match self {
            Self::Gzip => Some(1..=9),
            Self::Zstd => Some(1..=22),
            Self::None => None,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::None => "none",
        })
    }
}

impl FromStr for Codec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Gzip, Self::Zstd, Self::None].into_iter().find(|codec| codec.to_string() == text).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("unknown codec {text:?}")).with_hint("gzip, zstd or none")
        })
    }
}

/// A codec and how hard it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    codec: Codec,
    level: i32,
}

impl Encoding {
    /// The codec at `level`, one of [`Codec::levels`]; `level` means nothing to [`Codec::None`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the codec has no such level.
    pub fn new(codec: Codec, level: i32) -> Result<Self, Error> {
        match codec.levels() {
            Some(levels) if !levels.contains(&level) => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{codec} has no level {level}: {} to {}", levels.start(), levels.end()),
            )),
            _ => Ok(Self { codec, level }),
        }
    }

    /// The codec.
    pub fn codec(self) -> Codec {
        self.codec
    }
}

/// Encodes what is written to it. Only [`Encoder::finish`] makes the result whole.
pub(crate) enum Encoder<W: Write> {
    Members(MemberWriter<W>),
    Plain(W),
}

impl<W: Write> Encoder<W> {
    pub fn new(encoding: Encoding, sink: W) -> Self {
        let level = encoding.level;
        match encoding.codec {
            Codec::Gzip => Self::Members(MemberWriter::new(sink, Box::new(move |plain| gzip::member(plain, level)))),
            Codec::Zstd => Self::Members(MemberWriter::new(sink, Box::new(move |plain| zstd::frame(plain, level)))),
            Codec::None => Self::Plain(sink),
        }
    }

    /// Writes what is still held back and gives the sink back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Members(members) => members.finish(),
            Self::Plain(sink) => Ok(sink),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        match self {
            Self::Members(members) => members.write(plain),
            Self::Plain(sink) => sink.write(plain),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes what it reads from `R`: any sequence of members or frames, ours or another program's.
pub(crate) enum Decoder<R: Read> {
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(::zstd::stream::read::Decoder<'static, BufReader<R>>),
    Plain(R),
}

/// Stored bytes are read in pieces of this size.
const READ_BUFFER: usize = 128 << 10;

impl<R: Read> Decoder<R> {
    pub fn new(codec: Codec, source: R) -> io::Result<Self> {
        let buffered = |source| BufReader::with_capacity(READ_BUFFER, source);
        Ok(match codec {
            Codec::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(buffered(source)))),
            Codec::Zstd => Self::Zstd(::zstd::stream::read::Decoder::with_buffer(buffered(source))?),
            Codec::None => Self::Plain(source),
        })
    }

    /// The source back, at wherever reading has come to (read ahead included).
    pub fn into_inner(self) -> R {
        match self {
            Self::Gzip(decoder) => decoder.into_inner().into_inner(),
            Self::Zstd(decoder) => decoder.finish().into_inner(),
            Self::Plain(source) => source,
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Plain(source) => source.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [(Codec, i32); 3] = [(Codec::Gzip, 6), (Codec::Zstd, 3), (Codec::None, 0)];

    fn encode(codec: Codec, level: i32, plain: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(Encoding::new(codec, level).unwrap(), Vec::new());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(codec: Codec, stored: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Decoder::new(codec, stored)?.read_to_end(&mut plain).map(|_| plain)
    }

    #[test]
    fn what_goes_in_comes_out_at_every_kind_of_length() {
        let bytes: Vec<u8> = (0..3 * members::MEMBER_BYTES + 7).map(|n| (n * n / 977).to_le_bytes()[0]).collect();
        let member = members::MEMBER_BYTES;
        for (codec, level) in CODECS {
            for length in [0, 1, member - 1, member, member + 1, bytes.len()] {
                let stored = encode(codec, level, &bytes[..length]);
                assert!(decode(codec, &stored).unwrap() == bytes[..length], "{codec} {length}");
            }
        }
    }

    #[test]
    fn a_truncated_artifact_is_an_error_not_a_short_file() {
        let bytes = vec![7; 2 * members::MEMBER_BYTES];
        for (codec, level) in &CODECS[..2] {
            let stored = encode(*codec, *level, &bytes);
            assert!(decode(*codec, &stored[..stored.len() - 3]).is_err(), "{codec}");
        }
    }

    #[test]
    fn levels_outside_the_codecs_range_are_refused() {
        assert!(Encoding::new(Codec::Gzip, 0).is_err());
        assert!(Encoding::new(Codec::Gzip, 10).is_err());
        assert!(Encoding::new(Codec::Zstd, 23).is_err());
        assert!(Encoding::new(Codec::None, 99).is_ok());
    }
}
