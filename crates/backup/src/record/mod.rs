//! What is written down: names, digests, manifests, the ledger. It reads and writes bytes, never files.

pub(crate) mod age;
pub(crate) mod codec;
pub(crate) mod digest;
pub(crate) mod earlier_checks;
pub(crate) mod figures;
pub(crate) mod id;
pub(crate) mod ledger;
pub mod manifest;
pub(crate) mod names;
pub(crate) mod ospath;
pub(crate) mod pages;
pub(crate) mod relpath;
pub(crate) mod selection;
pub(crate) mod soundness;
