//! The jobs: what all contestants do in turn.

use super::peers::{Change, Task};

/// A job that all contestants do in turn, with the small project or the large one.
pub struct Job {
    pub name: &'static str,
    pub about: &'static str,
    pub task: Task,
    pub is_small: bool,
    /// What the application does before each run.
    pub change: Change,
}

const ELSE: Job = Job { name: "", about: "", task: Task::Backup, is_small: false, change: Change::Nothing };

/// In this order: restore and verify read the output of the backup, and the last ones change the database.
pub const JOBS: [Job; 8] = [
    Job {
        name: "backup",
        about: "the project into an empty store; xtask checks the database's integrity as well,\n\
                but for the row that says unchecked",
        ..ELSE
    },
    Job {
        name: "restore",
        about: "from the store into an empty folder; xtask checks hashes and row counts as well",
        task: Task::Restore,
        ..ELSE
    },
    Job {
        name: "verify",
        about: "xtask: hashes, and the database's integrity and rows; xtask again, which has\n\
                verified the same bytes before: hashes; restic, borg and rustic: hashes of\n\
                all that is stored; gzip, pigz and zstd: the checksum of a stream",
        task: Task::Verify,
        ..ELSE
    },
    Job { name: "small", about: "the same as backup, where starting counts", is_small: true, ..ELSE },
    Job {
        name: "again",
        about: "a second backup, after the application has recorded 0.1 % more rows and still\n\
                runs; for compare it was restarted before that, so that the log began anew",
        task: Task::Again,
        change: Change::Recorded,
        ..ELSE
    },
    Job {
        name: "again-scattered",
        about: "the same, after 0.1 % of the rows were changed, all over the largest tables",
        task: Task::Again,
        change: Change::Scattered,
        ..ELSE
    },
    Job {
        name: "again-unchanged",
        about: "the same, after nothing was changed; for compare, the application was restarted",
        task: Task::Again,
        ..ELSE
    },
    Job {
        name: "points",
        about: "restores from one store: a full backup alone, which was checked before it was\n\
                stored, or is checked now; and the newest of 100 increments on it, checked now",
        task: Task::Point,
        ..ELSE
    },
];
