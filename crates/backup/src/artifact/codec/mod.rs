//! What an artifact's bytes pass through on their way to the store and back.
//!
//! Compressed artifacts are sequences of independently compressed members: any `gunzip` or `zstd -d` reads them, and
//! all cores can work on them at once. Encryption will be a further stage here, after compression.

mod decoder;
mod encoder;
mod gzip;
mod pool;
mod zstd;

use std::io;

use crate::error::{Error, ErrorKind};
use crate::record::codec::Codec;
use decoder::Boundary;
use pool::Transform;

pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;
pub(crate) use pool::Member;

/// Plain bytes in each member but the last.
const MEMBER_BYTES: usize = 1 << 20;

/// Stored bytes that a member of ours may have: no codec here adds more to what it can't compress.
const MOST_STORED: usize = MEMBER_BYTES + (16 << 10);

impl Codec {
    fn cut(self, stored: &[u8]) -> Boundary {
        match self {
            Self::Gzip => gzip::cut(stored),
            Self::Zstd => zstd::cut(stored),
            Self::None => Boundary::Whole(stored.len().min(MEMBER_BYTES)),
        }
    }

    fn decompress(self) -> io::Result<Transform> {
        match self {
            Self::Gzip => gzip::decompress(),
            Self::Zstd => zstd::decompress(),
            Self::None => Ok(pool::unchanged()),
        }
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

    fn compress(self) -> io::Result<Transform> {
        match self.codec {
            Codec::Gzip => gzip::compress(self.level),
            Codec::Zstd => zstd::compress(self.level),
            Codec::None => Ok(pool::unchanged()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const CODECS: [(Codec, i32); 3] = [(Codec::Gzip, 6), (Codec::Zstd, 3), (Codec::None, 0)];

    fn encode(codec: Codec, level: i32, plain: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(Encoding::new(codec, level).unwrap(), Vec::new());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap().0
    }

    fn decode(codec: Codec, stored: &[u8]) -> io::Result<Vec<u8>> {
        let mut decoder = Decoder::new(codec, stored);
        let mut plain = Vec::new();
        while let Some(member) = decoder.next_member()? {
            plain.extend_from_slice(&member);
        }
        assert!(decoder.into_inner().unwrap().is_empty(), "all of it is read");
        Ok(plain)
    }

    #[test]
    fn what_goes_in_comes_out_at_every_kind_of_length() {
        let bytes: Vec<u8> = (0..3 * MEMBER_BYTES + 7).map(|n| (n * n / 977).to_le_bytes()[0]).collect();
        let member = MEMBER_BYTES;
        for (codec, level) in CODECS {
            for length in [0, 1, member - 1, member, member + 1, bytes.len()] {
                let stored = encode(codec, level, &bytes[..length]);
                assert!(decode(codec, &stored).unwrap() == bytes[..length], "{codec} {length}");
            }
        }
    }

    #[test]
    fn a_truncated_artifact_is_an_error_not_a_short_file() {
        let bytes = vec![7; 2 * MEMBER_BYTES];
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

    /// What another program writes: one long stream, and one after members of ours.
    #[test]
    fn streams_of_other_programs_are_decoded_as_well() {
        let bytes: Vec<u8> = (0..2 * MEMBER_BYTES + 7).map(|n| (n * n / 977).to_le_bytes()[0]).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&bytes).unwrap();
        let zstd = ::zstd::stream::encode_all(&bytes[..], 1).unwrap();
        for (codec, foreign) in [(Codec::Gzip, gzip.finish().unwrap()), (Codec::Zstd, zstd)] {
            assert!(decode(codec, &foreign).unwrap() == bytes, "{codec}");
            let mixed = [encode(codec, 1, b"charger"), foreign, encode(codec, 1, b"charger")].concat();
            assert!(decode(codec, &mixed).unwrap() == [b"charger", &bytes[..], b"charger"].concat(), "{codec}");
        }
    }

    #[test]
    fn what_follows_the_last_member_is_an_error() {
        for codec in [Codec::Gzip, Codec::Zstd] {
            let stored = encode(codec, 1, &vec![7; 2 * MEMBER_BYTES]);
            assert!(decode(codec, &[&stored[..], b"more"].concat()).is_err(), "{codec}");
        }
    }

    #[test]
    fn nothing_at_all_is_not_an_artifact_unless_its_bytes_are_plain() {
        assert!(decode(Codec::Gzip, b"").is_err());
        assert_eq!(decode(Codec::None, b"").unwrap(), b"");
    }
}
