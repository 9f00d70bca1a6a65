//! What to do about an error, if the answer depends on the caller's own commands and flags.

/// What to do about an error. The caller puts it into words that name its own commands and flags; [`Advice::text`] has
/// words without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Another run holds the lock: wait for it, or allow more time.
    WaitForLock,
    /// Another program holds the database: wait for it, or allow more time.
    WaitForDatabase,
    /// Another program holds the database in a transaction that doesn't end: stop that program, or allow more time.
    EndTransaction,
    /// The database is damaged: save it as it is, then restore it.
    RestoreDamaged,
    /// The database is missing: correct the settings, or restore it.
    RestoreMissing,
    /// The backup is damaged: restore another one.
    RestoreAnother,
    /// A part of a chain is damaged or missing: restore the point before it that the hint names.
    RestoreEarlier,
    /// Only a part of the backup can be restored: restore that.
    RestorePart,
    /// A part was restored before the error: repeat the restore, or undo it.
    Undo,
    /// Several backups have an id that begins so: give more of it.
    NameOneBackup,
    /// There is no backup in this folder: make one, or name another folder.
    MakeFirst,
    /// The backup folder can't be used: name another one.
    OtherFolder,
    /// This snapshot method can't be configured: use another one.
    OtherMethod,
    /// SQLite can't prepare a probe: fix it, or see whether the backup lacks a table or column that it names.
    FixProbes,
}

impl Advice {
    /// The advice in words, without any command or flag.
    pub fn text(self) -> &'static str {
        match self {
            Self::WaitForLock => "wait for it to end, or allow more time",
            Self::WaitForDatabase => "another program holds it: wait for it, or allow more time",
            Self::EndTransaction => "a program holds it in a transaction: stop that, or allow more time",
            Self::RestoreDamaged => "restore it from a backup; to keep it as it is, save it before that",
            Self::RestoreMissing => "check the path in the settings, or restore it from a backup",
            Self::RestoreAnother => "restore another backup: a verification shows which are sound",
            Self::RestoreEarlier => "restore that one",
            Self::RestorePart => "restore a part of it: the databases, or the files",
            Self::Undo => "or undo the restore",
            Self::NameOneBackup => "give more of the id, or a time: a day means its newest backup",
            Self::MakeFirst => "make a backup, or name another folder",
            Self::OtherFolder => "move that file away, or name another folder",
            Self::FixProbes => "fix `probes` in the settings, or compare the schemas with a restored backup",
            Self::OtherMethod => "use \"vacuum\" or \"pages\"; \"bytes\" is only for damaged databases",
        }
    }
}
