//! The ledger in its store. It is the only object that grows.

use std::io::BufReader;

use super::locked::LockedStore;
use super::traits::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::record::ledger::{Ledger, Line};
use crate::record::names::LEDGER;

impl Ledger {
    /// Reads the ledger of a store. If there is none, it is empty.
    ///
    /// # Errors
    /// Any error of reading it.
    pub fn load(store: &dyn Store) -> Result<Self> {
        match store.read(LEDGER) {
            Ok(reader) => Self::read(&mut BufReader::new(reader)).map_err(|e| Error::io_named("read", LEDGER, e)),
            Err(error) if error.is_not_found() => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Adds a line to the ledger of a store.
    ///
    /// # Errors
    /// Any error of writing it.
    pub(crate) fn append(store: &LockedStore<'_>, line: &Line) -> Result<()> {
        let json = serde_json::to_string(line)
            .map_err(|e| Error::new(ErrorKind::Io, "can't encode the line of the ledger").with_source(e))?;
        store.append(LEDGER, &json)
    }
}
