//! What is wrong with a schedule.

/// Something that keeps backups from being made, and what to do about it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What is wrong, in a line.
    pub what: String,
    /// What to do, in a line.
    pub remedy: String,
}
