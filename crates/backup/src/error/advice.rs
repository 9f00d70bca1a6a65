//! What to do about an error where the answer depends on the caller's own commands and flags.

/// What to do about an error, for the caller to put into its own words. [`Advice::text`] has words of the library's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Another run holds the lock: wait for it, for longer if need be.
    WaitForLock,
    /// Another program holds the database: wait for it, for longer if need be.
    WaitForDatabase,
    /// Another program holds the database in a transaction that doesn't end.
    EndTransaction,
    /// The database is damaged: restore it, and save it as it is before that.
    RestoreDamaged,
    /// The database is gone: correct the settings, or restore it.
    RestoreMissing,
    /// The backup is damaged: restore another one.
    RestoreAnother,
    /// A part of the backup can be restored.
    RestorePart,
    /// Something was restored: repeat it, or undo it.
    Undo,
    /// The beginning of an id is that of several backups.
    NameOneBackup,
    /// There is no backup yet, or not in this folder.
    MakeFirst,
    /// The backup folder can't be used.
    OtherFolder,
    /// A snapshot method can't be configured.
    OtherMethod,
    /// A probe can't be asked: correct it, or see whether the backup lacks what it asks for.
    FixProbes,
}

impl Advice {
    /// The advice, without any command or flag.
    pub fn text(self) -> &'static str {
        match self {
            Self::WaitForLock => "wait for it to end, or allow more time",
            Self::WaitForDatabase => "another program holds it: wait for it, or allow more time",
            Self::EndTransaction => "a program holds it in a transaction: stop that, or allow more time",
            Self::RestoreDamaged => "restore it from a backup; to keep it as it is, save it before that",
            Self::RestoreMissing => "check the path in the settings, or restore it from a backup",
            Self::RestoreAnother => "restore another backup: a verification shows which are sound",
            Self::RestorePart => "restore a part of it: the databases, or the files",
            Self::Undo => "or undo the restore",
            Self::NameOneBackup => "give more of the id, or a time: a day means its newest backup",
            Self::MakeFirst => "make a backup, or name another folder",
            Self::OtherFolder => "move that file away, or name another folder",
            Self::FixProbes => "fix `probes` in the settings, or compare the schemas with a restored backup",
            Self::OtherMethod => "use \"vacuum\" or \"pages\"; bytes are how a damaged database is kept",
        }
    }
}
