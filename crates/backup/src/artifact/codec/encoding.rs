//! The codecs, each with its way to cut, compress and decompress members.

use std::io;

use super::member::{Boundary, MEMBER_BYTES};
use super::pool::{self, Transform};
use super::{gzip, zstd};
use crate::error::{Error, ErrorKind};
use crate::record::codec::Codec;

/// A codec and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    codec: Codec,
    level: i32,
}

impl Encoding {
    /// The codec at `level`, one of [`Codec::levels`]. [`Codec::None`] ignores it.
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

    /// The codec at the level that it has where nobody chose one.
    pub(crate) fn usual(codec: Codec) -> Self {
        let level = match codec {
            Codec::Gzip => 6,
            Codec::Zstd => 1,
            Codec::None => 0,
        };
        Self { codec, level }
    }

    /// The codec.
    pub fn codec(self) -> Codec {
        self.codec
    }

    /// Compresses members.
    pub(super) fn compress(self) -> io::Result<Transform> {
        match self.codec {
            Codec::Gzip => gzip::compress(self.level),
            Codec::Zstd => zstd::compress(self.level),
            Codec::None => Ok(pool::unchanged()),
        }
    }
}

impl Codec {
    /// Where the member ends that `stored` begins with.
    pub(super) fn cut(self, stored: &[u8]) -> Boundary {
        match self {
            Self::Gzip => gzip::cut(stored),
            Self::Zstd => zstd::cut(stored),
            Self::None => Boundary::Whole(stored.len().min(MEMBER_BYTES)),
        }
    }

    /// Decompresses members that [`Self::cut`] found to be whole.
    pub(super) fn decompress(self) -> io::Result<Transform> {
        match self {
            Self::Gzip => gzip::decompress(),
            Self::Zstd => zstd::decompress(),
            Self::None => Ok(pool::unchanged()),
        }
    }
}
