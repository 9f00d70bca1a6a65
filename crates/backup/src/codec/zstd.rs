//! Zstandard frames (RFC 8878) with their content size and checksum, so that `zstd -t` can test them alone.

use std::io;

/// Compresses one frame. `level` is 1 to 22.
pub(super) fn frame(plain: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.include_checksum(true)?;
    compressor.compress(plain)
}
