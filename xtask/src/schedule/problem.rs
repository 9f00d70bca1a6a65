//! Problems of a schedule.

/// A reason why no backups are made, and what to do about it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What is wrong, in a line.
    pub what: String,
    /// What to do, in a line.
    pub remedy: String,
}
