//! gzip members (RFC 1952) that say how long they are.
//!
//! Each member's header carries an extra field `IG` with the member's whole length as a little-endian u32, as Mgzip
//! writes it (the idea is BGZF's, SAM specification 4.1): a reader can find the next member without decoding this one.
//! Other programs skip the field.

use std::io;

use libdeflater::{CompressionLvl, Compressor, Crc, Decompressor};

use super::member::{Boundary, MEMBER_BYTES, MOST_STORED};
use super::pool::Transform;

/// The header up to the length: magic, deflate, FEXTRA; no time, level or system; an extra field of 8 bytes, `IG` with 4
/// bytes of data.
const HEADER: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 8, 0, b'I', b'G', 4, 0];

/// Where the deflated bytes begin.
const BODY_AT: usize = HEADER.len() + 4;

/// The CRC and the plain length, both little-endian u32.
const TRAILER: usize = 8;

/// Compresses members at a level of 1 to 9.
pub(super) fn compress(level: i32) -> io::Result<Transform> {
    let level = CompressionLvl::new(level).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut compressor = Compressor::new(level);
    Ok(Box::new(move |plain| {
        let mut member = vec![0; BODY_AT + compressor.deflate_compress_bound(plain.len()) + TRAILER];
        let body = compressor.deflate_compress(plain, &mut member[BODY_AT..]).map_err(io::Error::other)?;
        member.truncate(BODY_AT + body);
        member.extend(crc(plain).to_le_bytes());
        member.extend(length_of(plain.len())?.to_le_bytes());
        let length = length_of(member.len())?;
        member[..HEADER.len()].copy_from_slice(&HEADER);
        member[HEADER.len()..BODY_AT].copy_from_slice(&length.to_le_bytes());
        Ok(member)
    }))
}

/// Where the member ends that `stored` begins with.
pub(super) fn cut(stored: &[u8]) -> Boundary {
    let Some((header, rest)) = stored.split_at_checked(HEADER.len()) else { return Boundary::More };
    let Some(length) = number(rest) else { return Boundary::More };
    if header != HEADER || !(BODY_AT + TRAILER..=MOST_STORED).contains(&length) {
        return Boundary::Foreign;
    }
    match stored.get(length - 4..length).and_then(number) {
        None => Boundary::More,
        Some(plain) if plain <= MEMBER_BYTES => Boundary::Whole(length),
        Some(_) => Boundary::Foreign,
    }
}

/// Decompresses members that [`cut`] found to be whole.
pub(super) fn decompress() -> io::Result<Transform> {
    let mut decompressor = Decompressor::new();
    Ok(Box::new(move |member| {
        let (body, trailer) = member.split_at(member.len() - TRAILER);
        let mut plain = vec![0; number(&trailer[4..]).unwrap_or_default()];
        let count = decompressor.deflate_decompress(&body[BODY_AT..], &mut plain).map_err(invalid)?;
        if count != plain.len() {
            return Err(invalid("a gzip member is shorter than it says"));
        }
        if crc(&plain).to_le_bytes() != trailer[..4] {
            return Err(invalid("a gzip member has another checksum than it says"));
        }
        Ok(plain)
    }))
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn number(bytes: &[u8]) -> Option<usize> {
    let number = u32::from_le_bytes(*bytes.first_chunk()?);
    usize::try_from(number).ok()
}

fn length_of(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(io::Error::other)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn member(plain: &[u8]) -> Vec<u8> {
        compress(6).unwrap()(plain).unwrap()
    }

    #[test]
    fn the_header_carries_the_members_length() {
        for plain in [&b""[..], b"charger", &vec![0; 100_000]] {
            let member = member(plain);
            assert_eq!(&member[..4], [0x1f, 0x8b, 8, 4], "magic, deflate, FEXTRA alone");
            assert_eq!(&member[10..16], [8, 0, b'I', b'G', 4, 0]);
            assert_eq!(member[16..20], u32::try_from(member.len()).unwrap().to_le_bytes());
            assert_eq!(cut(&[&member[..], b"more"].concat()), Boundary::Whole(member.len()));
        }
    }

    #[test]
    fn other_readers_read_it_at_every_level() {
        let plain: Vec<u8> = (0..65_000_u32).flat_map(|n| (n * n / 977).to_le_bytes()).collect();
        for level in 1..=9 {
            let member = compress(level).unwrap()(&plain).unwrap();
            let mut read = Vec::new();
            flate2::read::GzDecoder::new(&member[..]).read_to_end(&mut read).unwrap();
            assert!(read == plain && decompress().unwrap()(&member).unwrap() == plain, "level {level}");
        }
    }

    #[test]
    fn the_same_bytes_always_make_the_same_member() {
        assert_eq!(member(b"charger"), member(b"charger"));
    }

    #[test]
    fn bytes_that_cannot_compress_fit_where_the_reader_looks_for_them() {
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        });
        let plain: Vec<u8> = noise.take(MEMBER_BYTES).collect();
        for level in [1, 9] {
            let member = compress(level).unwrap()(&plain).unwrap();
            assert_eq!(cut(&member), Boundary::Whole(member.len()));
        }
    }

    #[test]
    fn what_says_nothing_of_its_end_or_lies_about_it_is_left_to_the_stream() {
        let whole = member(b"charger");
        for end in 0..whole.len() {
            assert_eq!(cut(&whole[..end]), Boundary::More, "{end}");
        }
        for (at, value) in [(0, 0), (3, 12), (12, b'X'), (16, 0), (18, 255)] {
            let mut changed = whole.clone();
            changed[at] = value;
            changed.resize(100, 0);
            assert_eq!(cut(&changed), Boundary::Foreign, "{at}");
        }
        let mut bomb = whole.clone();
        let end = bomb.len();
        bomb[end - 1] = 1;
        assert_eq!(cut(&bomb), Boundary::Foreign, "it would take 16 MiB");
    }

    #[test]
    fn any_flipped_bit_of_the_body_or_the_trailer_is_found() {
        let whole = member(b"charger, charger, charger");
        for at in BODY_AT..whole.len() - 4 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(decompress().unwrap()(&changed).is_err(), "{at}");
        }
    }
}
