//! Functions for this crate's own benchmarks (`benches/`), which can call only what is public. Nobody else should use
//! them.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::artifact::codec::{Decoder, Encoder, Encoding};
use crate::error::{Error, Result};
use crate::progress::Silent;
use crate::record::codec::Codec;
use crate::source::sqlite::integrity::{self, Scope};
use crate::source::sqlite::{self, vacuum};

/// Encodes `plain`.
pub fn encode(encoding: Encoding, plain: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = Encoder::new(encoding, Vec::new());
    let encoded = encoder.write_all(plain).and_then(|()| encoder.finish());
    encoded.map(|(stored, _)| stored).map_err(|e| Error::io_named("encode", "a benchmark", e))
}

/// The number of bytes that `stored` decodes to.
pub fn decode(codec: Codec, stored: &[u8]) -> Result<usize> {
    let mut decoder = Decoder::new(codec, stored);
    let mut bytes = 0;
    while let Some(member) = decoder.next_member().map_err(|e| Error::io_named("decode", "a benchmark", e))? {
        bytes += member.len();
    }
    Ok(bytes)
}

/// A compact copy of a database.
pub fn vacuum(database: &Path, copy: &Path) -> Result<()> {
    vacuum::vacuum_into(&sqlite::open_read_only(database, Duration::ZERO)?, database, copy, &Silent)
}

/// The number of bytes in all pages of a database.
pub fn pages(database: &Path) -> Result<usize> {
    let mut bytes = 0;
    let connection = sqlite::open_read_only(database, Duration::ZERO)?;
    sqlite::pages(&sqlite::begin_reading(&connection, database)?, database, &Silent, |page| {
        bytes += page.len();
        Ok(())
    })?;
    Ok(bytes)
}

/// The number of problems that the check of a database finds.
pub fn check(database: &Path) -> Result<usize> {
    integrity::check(database, None, Scope::Flaws, integrity::all_cores(), &Silent)
        .map(|found| found.problems.len() + found.orphans.len())
}
