//! What people ask for: each command of the program makes one call into this module.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod drill;
pub mod inspect;
pub(crate) mod look;
pub mod marks;
pub(crate) mod merge;
pub(crate) mod probe;
pub mod restore;
pub mod rotate;
pub(crate) mod run;
pub(crate) mod session;
pub mod status;
pub mod take_over;
pub(crate) mod verify;
