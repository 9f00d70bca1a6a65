//! gzip members (RFC 1952) that say how long they are.
//!
//! Each member's header carries an extra field `IG` with the member's whole length as a little-endian u32, as Mgzip
//! writes it (the idea is BGZF's, SAM specification 4.1): a reader can find the next member without decoding this one.
//! Other programs skip the field.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};

/// Where RFC 1952 puts the extra field's data: after 10 bytes of header, XLEN, the field's id and its length.
const LENGTH_AT: usize = 10 + 2 + 2 + 2;

/// Compresses one member. `level` is 1 to 9.
pub(super) fn member(plain: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let level = Compression::new(level.unsigned_abs());
    let extra = [b'I', b'G', 4, 0, 0, 0, 0, 0];
    let mut encoder = GzBuilder::new().extra(extra).write(Vec::with_capacity(plain.len() / 3), level);
    encoder.write_all(plain)?;
    let mut member = encoder.finish()?;
    let length = u32::try_from(member.len()).map_err(io::Error::other)?;
    member[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_le_bytes());
    Ok(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_carries_the_members_length() {
        for plain in [&b""[..], b"charger", &vec![0; 100_000]] {
            let member = member(plain, 6).unwrap();
            assert_eq!(&member[..4], [0x1f, 0x8b, 8, 4], "magic, deflate, FEXTRA alone");
            assert_eq!(&member[10..16], [8, 0, b'I', b'G', 4, 0]);
            assert_eq!(member[16..20], u32::try_from(member.len()).unwrap().to_le_bytes());
        }
    }

    #[test]
    fn the_same_bytes_always_make_the_same_member() {
        assert_eq!(member(b"charger", 6).unwrap(), member(b"charger", 6).unwrap());
    }
}
