//! Files and folders on disk: private, durable, and never behind a link that can't be trusted.

pub(crate) mod at;
pub(crate) mod file;
pub(crate) mod folder;
pub(crate) mod links;
pub(crate) mod paths;
pub(crate) mod place;
pub(crate) mod space;
pub(crate) mod synced;
