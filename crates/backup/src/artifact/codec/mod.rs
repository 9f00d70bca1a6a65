//! Codecs: how an artifact's bytes are compressed on their way to the store, and decoded on the way back.
//!
//! A compressed artifact is a sequence of independently compressed members: any `gunzip` or `zstd -d` reads it, and all
//! cores can work on it at once.

mod decoder;
mod encoder;
mod encoding;
mod gzip;
mod member;
mod pool;
mod zstd;

pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;
pub use encoding::Encoding;
pub(crate) use member::Member;

#[cfg(test)]
mod tests {
    use std::io::{self, Write as _};

    use super::member::MEMBER_BYTES;
    use super::*;
    use crate::record::codec::Codec;

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

    /// Another program writes one long stream, perhaps after members of this program.
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
