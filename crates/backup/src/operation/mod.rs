//! What people ask for: each command of the program is one call into here.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod drill;
pub mod inspect;
pub mod marks;
pub mod restore;
pub mod rotate;
pub(crate) mod run;
pub mod status;
pub(crate) mod verify;
