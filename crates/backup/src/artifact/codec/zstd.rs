//! Zstandard frames (RFC 8878) with their content size and checksum, so that `zstd -t` can test them alone.

use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use super::member::{Boundary, MEMBER_BYTES, MOST_STORED};
use super::pool::Transform;

/// Compresses frames at a level of 1 to 22.
pub(super) fn compress(level: i32) -> io::Result<Transform> {
    let mut compressor = Compressor::new(level)?;
    compressor.include_checksum(true)?;
    Ok(Box::new(move |plain| compressor.compress(plain)))
}

/// Where the frame ends that `stored` begins with. Its blocks say how long they are.
pub(super) fn cut(stored: &[u8]) -> Boundary {
    match zstd_safe::find_frame_compressed_size(stored) {
        Err(_) => Boundary::More,
        Ok(length) if length > MOST_STORED || plain_bytes(stored).is_none_or(|plain| plain > MEMBER_BYTES) => {
            Boundary::Foreign
        }
        Ok(length) => Boundary::Whole(length),
    }
}

/// Decompresses frames that [`cut`] found to be whole.
pub(super) fn decompress() -> io::Result<Transform> {
    let mut decompressor = Decompressor::new()?;
    Ok(Box::new(move |frame| decompressor.decompress(frame, plain_bytes(frame).unwrap_or_default())))
}

fn plain_bytes(frame: &[u8]) -> Option<usize> {
    zstd_safe::get_frame_content_size(frame).ok().flatten().and_then(|bytes| usize::try_from(bytes).ok())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_frame_says_where_it_ends() {
        let frame = compress(3).unwrap()(b"charger").unwrap();
        assert_eq!(cut(&[&frame[..], b"more"].concat()), Boundary::Whole(frame.len()));
        assert_eq!(decompress().unwrap()(&frame).unwrap(), b"charger");
        for end in 0..frame.len() {
            assert_eq!(cut(&frame[..end]), Boundary::More, "{end}");
        }
    }

    #[test]
    fn what_may_decode_to_too_much_is_left_to_the_stream() {
        let long = compress(1).unwrap()(&vec![0; MEMBER_BYTES + 1]).unwrap();
        assert_eq!(cut(&long), Boundary::Foreign);
        let mut unsized_ = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        unsized_.write_all(b"charger").unwrap();
        assert_eq!(cut(&unsized_.finish().unwrap()), Boundary::Foreign);
    }
}
