//! Files and folders as they have to be handled everywhere: private, durable, and where nobody can lead them elsewhere.

pub(crate) mod folder;
pub(crate) mod fsutil;
pub(crate) mod links;
pub(crate) mod place;
pub(crate) mod synced;
