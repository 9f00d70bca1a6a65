//! Users of this host: who can change what is at a path, and which one this process runs as.

pub mod account;
pub mod writers;
