//! A sample of the Charger API's project, for the demo and for benchmarks.

pub mod folder;
mod project;
mod session;
mod writers;

pub use project::{DATABASE, create};
pub use session::session;
pub use writers::{Pace, Writers, check_commits};
