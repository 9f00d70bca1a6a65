//! Manifests in their store.

use std::io::Read;

use super::traits::Store;
use crate::error::{Error, Result};
use crate::record::manifest;

/// A manifest's bytes, of which there should be so many: of one that is too large, as many as show that it is.
pub(crate) fn read_manifest(store: &dyn Store, name: &str, bytes: u64) -> Result<Vec<u8>> {
    let expected = usize::try_from(bytes.min(manifest::MAX_BYTES) + 1).unwrap_or(0);
    read_into(Vec::with_capacity(expected), store.read(name)?, name)
}

/// The same of one that is being read.
pub(crate) fn read_bounded(reader: impl Read, name: &str) -> Result<Vec<u8>> {
    read_into(Vec::new(), reader, name)
}

fn read_into(mut json: Vec<u8>, reader: impl Read, name: &str) -> Result<Vec<u8>> {
    let mut reader = reader.take(manifest::MAX_BYTES + 1);
    reader.read_to_end(&mut json).map_err(|e| Error::io_named("read", name, e))?;
    Ok(json)
}
