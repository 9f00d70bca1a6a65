//! What to do about an error: the one place where the hint of an error becomes text.
//!
//! The library knows neither flags nor the name of this program. Hints that need them are worded here. Commands of this
//! program stand in backquotes, and the printer completes them.

use backup::{Advice, Error, ErrorKind};

/// The alternative if a restore can't keep what it would replace.
const WITHOUT_KEEPING: &str = "or restore without keeping what is replaced: --no-keep";

/// The hint of an error, if it has one.
pub fn of(error: &Error) -> Option<String> {
    let other = match (error.advice(), error.kind()) {
        (Some(advice), _) => words(advice),
        (None, ErrorKind::NotKept) => WITHOUT_KEEPING,
        (None, _) => return error.hint().map(str::to_string),
    };
    Some(joined(error.hint(), other))
}

/// The library's advice, with the commands and flags of this program.
fn words(advice: Advice) -> &'static str {
    match advice {
        Advice::WaitForLock => "wait for it to end, or allow more time with --lock-wait 10m",
        Advice::WaitForDatabase => "another program holds it: wait for it, or allow more time with --busy-timeout",
        Advice::EndTransaction => {
            "a program holds it in a transaction: stop that, or allow more time with --busy-timeout"
        }
        Advice::RestoreDamaged => {
            "restore it from a backup: `restore --from latest`; to save it as it is before that: \
             `backup --allow-damaged`"
        }
        Advice::RestoreMissing => {
            "check the path in the settings, or bring it back: `restore --from latest --database-only`"
        }
        Advice::RestoreAnother => "restore another backup: `verify --all` shows which are sound",
        Advice::RestoreEarlier => "restore that one: `restore --from ID`",
        Advice::RestorePart => "restore a part of it: --database-only or --config-only",
        Advice::Undo => "or put back what was there: `restore --undo`",
        Advice::NameOneBackup => "give more of the id, or a time: --from 2025-12-10 means the newest of that day",
        Advice::MakeFirst => "make one with `backup`, or name another folder with --backup-dir",
        Advice::OtherFolder => "move that file away, or name another place with --backup-dir",
        Advice::FixProbes => {
            "fix `probes` in the settings; if the backup should have what it asks for, compare the schemas: \
             `restore --from latest --to DIR`"
        }
        Advice::OtherMethod => "use \"vacuum\" or \"pages\"; \"bytes\" is only for --allow-damaged",
    }
}

/// A hint with an alternative.
pub fn joined(hint: Option<&str>, other: &str) -> String {
    hint.map_or_else(|| other.to_string(), |hint| format!("{hint}; {other}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_hint_of_its_kind_beside_its_own() {
        let hint = |kind| of(&Error::new(kind, "no room").with_hint("free some space"));
        assert_eq!(hint(ErrorKind::NoSpace).unwrap(), "free some space");
        assert_eq!(hint(ErrorKind::NotKept).unwrap(), format!("free some space; {WITHOUT_KEEPING}"));
        assert_eq!(of(&Error::new(ErrorKind::NotKept, "no room")).unwrap(), WITHOUT_KEEPING);
        assert_eq!(of(&Error::new(ErrorKind::NoSpace, "no room")), None);
    }
}
