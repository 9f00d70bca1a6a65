//! Manifests in their store.

use std::io::Read;

use super::traits::Store;
use crate::error::{Error, Result};
use crate::record::manifest;

/// Reads the bytes of a manifest; about `bytes` are expected. If it is too large, one byte more than the limit is read,
/// which shows that it is.
pub(crate) fn read_manifest(store: &dyn Store, name: &str, bytes: u64) -> Result<Vec<u8>> {
    let expected = usize::try_from(bytes.min(manifest::MAX_BYTES) + 1).unwrap_or(0);
    read_into(Vec::with_capacity(expected), store.read(name)?, name)
}

/// Reads the bytes of a manifest from `reader`, up to the same limit.
pub(crate) fn read_bounded(reader: impl Read, name: &str) -> Result<Vec<u8>> {
    read_into(Vec::new(), reader, name)
}

fn read_into(mut json: Vec<u8>, reader: impl Read, name: &str) -> Result<Vec<u8>> {
    let mut reader = reader.take(manifest::MAX_BYTES + 1);
    reader.read_to_end(&mut json).map_err(|e| Error::io_named("read", name, e))?;
    Ok(json)
}
