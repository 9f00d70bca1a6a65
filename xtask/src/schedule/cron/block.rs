//! A marked block of lines in a crontab. The rest of the crontab is kept byte for byte. Pure.
//!
//! Its second line says what the block was made from, as in units.

use std::ops::Range;
use std::path::{Path, PathBuf};

use backup::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The beginning of each command: nobody else may read the log.
const UMASK: &str = "umask 077";

/// The lines of one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What they were made from.
    pub origin: Origin,
    /// The lines.
    pub lines: Vec<String>,
}

/// What a block was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The project's root, absolute.
    pub root: PathBuf,
    /// The installed copy of this program that the lines start.
    pub program: PathBuf,
    /// `--schedule`, if it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
}

/// `crontab` with this block: in the place of the project's old one, or at the end.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the block that is there has no end.
pub fn with_block(crontab: &[u8], block: &Block) -> Result<Vec<u8>> {
    let root = &block.origin.root;
    let (begin, end) = marks(root);
    let origin = serde_json::to_string(&block.origin)
        .map_err(|_| Error::new(ErrorKind::InvalidInput, format!("{} can't stand in a crontab", root.display())))?;
    let text = format!("{begin}\n# {origin}\n{}\n{end}\n", block.lines.join("\n"));
    let Some(place) = find(crontab, root)? else {
        let newline: &[u8] = if crontab.is_empty() || crontab.ends_with(b"\n") { b"" } else { b"\n" };
        return Ok([crontab, newline, text.as_bytes()].concat());
    };
    Ok([&crontab[..place.start], text.as_bytes(), &crontab[place.end..]].concat())
}

/// `crontab` without the block for the project in `root`.
///
/// # Errors
/// As [`with_block`].
pub fn without_block(crontab: &[u8], root: &Path) -> Result<Vec<u8>> {
    let place = find(crontab, root)?.unwrap_or(0..0);
    Ok([&crontab[..place.start], &crontab[place.end..]].concat())
}

/// The block for the project in `root`, if there is one that can be read.
///
/// # Errors
/// As [`with_block`].
pub fn block(crontab: &[u8], root: &Path) -> Result<Option<Block>> {
    let Some(place) = find(crontab, root)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&crontab[place]);
    let lines: Vec<&str> = text.lines().collect();
    let [_, origin, lines @ .., _] = lines.as_slice() else { return Ok(None) };
    let origin = origin.strip_prefix("# ").and_then(|json| serde_json::from_str(json).ok());
    Ok(origin.map(|origin| Block { origin, lines: lines.iter().map(ToString::to_string).collect() }))
}

/// A line that runs `command` at the times of `schedule` and appends its output to `log`. If the command fails, the line
/// prints a message, which cron sends by mail. If the log can't be written, cron mails the whole output. The arguments are
/// not quoted.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if they can't stand on a line.
pub fn line(schedule: &str, command: &[String], log: &str) -> Result<String> {
    line_of(schedule, command, log, |command, failed| format!("date; {command} || echo {failed} >&3"))
}

/// The same for a command that runs every few minutes and prints nothing if all is well: the log has its errors only, and
/// cron sends no mail about them. The backup that fails as well does.
///
/// # Errors
/// As [`line()`].
pub fn frequent_line(schedule: &str, command: &[String], log: &str) -> Result<String> {
    line_of(schedule, command, log, |command, failed| format!("{command} || {{ date; echo {failed}; }}"))
}

/// A line that runs the `job` of a command and the message of its failure.
fn line_of(schedule: &str, command: &[String], log: &str, job: impl Fn(&str, &str) -> String) -> Result<String> {
    check_schedule(schedule)?;
    let words = command.iter().map(String::as_str);
    let failed = format!("a scheduled run failed, see {log}");
    let (Ok(command), Ok(log), Ok(failed)) = (shlex::try_join(words), shlex::try_quote(log), shlex::try_quote(&failed))
    else {
        return Err(Error::new(ErrorKind::InvalidInput, "a path with a NUL in it can't stand in a crontab"));
    };
    let to_log = format!("exec 3>&1; (: >> {log}) && exec >> {log} 2>&1");
    let line = format!("{UMASK}; {to_log}; {}", job(&command, &failed));
    if line.chars().any(char::is_control) {
        let message = format!("{} can't stand in a crontab", line.escape_debug());
        return Err(
            Error::new(ErrorKind::InvalidInput, message).with_hint("a path has a control character in it: rename it")
        );
    }
    // To cron, a percent sign ends the command.
    Ok(format!("{schedule} {}", line.replace('%', "\\%")))
}

/// The schedule of a line that [`line()`] made.
pub fn schedule(line: &str) -> &str {
    line.split_once(UMASK).map_or(line, |(schedule, _)| schedule).trim_end()
}

/// Five fields, or a word such as `@daily`: `man 5 crontab`. `crontab` checks the content of the fields.
fn check_schedule(schedule: &str) -> Result<()> {
    let fields = schedule.split([' ', '\t']).filter(|field| !field.is_empty()).count();
    let plain = |c: char| c.is_ascii_alphanumeric() || " \t*,-/@~".contains(c);
    let is_word = schedule.starts_with('@') && fields == 1;
    if (fields == 5 || is_word) && schedule.chars().all(plain) && schedule.trim() == schedule {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, format!("no schedule for cron: {schedule:?}"))
        .with_hint("write minute, hour, day, month and weekday, as in \"0 2 * * *\": man 5 crontab"))
}

fn marks(root: &Path) -> (String, String) {
    let root = root.display();
    (format!("# BEGIN backups of {root}, by `cargo xtask install-cron`"), format!("# END backups of {root}"))
}

/// Where the block is, from its first byte to its last newline.
fn find(crontab: &[u8], root: &Path) -> Result<Option<Range<usize>>> {
    let (begin, end) = marks(root);
    let mut place = None;
    let mut at = 0;
    for line in crontab.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if text == begin.as_bytes() {
            place = Some(at);
        }
        at += line.len();
        if let (true, Some(start)) = (text == end.as_bytes(), place) {
            return Ok(Some(start..at));
        }
    }
    match place {
        None => Ok(None),
        Some(_) => Err(Error::new(ErrorKind::InvalidInput, format!("the crontab has `{begin}`, but no `{end}`"))
            .with_hint("fix it by hand: crontab -e")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "/srv/charger";

    fn block_of(root: &str) -> Block {
        let origin = Origin { root: root.into(), program: "/usr/local/lib/x-ops/xtask".into(), schedule: None };
        Block { origin, lines: vec!["0 2 * * * backup".into(), "0 4 * * 0 drill".into()] }
    }

    fn mine() -> Block {
        block_of(ROOT)
    }

    fn without(crontab: &[u8]) -> Vec<u8> {
        without_block(crontab, Path::new(ROOT)).unwrap()
    }

    #[test]
    fn a_block_is_added_once_and_removed_without_a_trace() {
        for other in ["", "MAILTO=ada\n", "# é\r\n\n0 1 * * *  x\t%y\n", "a\n\n\n"] {
            let with = with_block(other.as_bytes(), &mine()).unwrap();
            assert_eq!(with_block(&with, &mine()).unwrap(), with, "twice is once");
            assert_eq!(without(&with), other.as_bytes());
            assert_eq!(block(&with, Path::new(ROOT)).unwrap(), Some(mine()));
            assert_eq!(without(other.as_bytes()), other.as_bytes());
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let other = b"# caf\xe9\n\xff\xfe\n";
        let with = with_block(other, &mine()).unwrap();
        assert!(with.starts_with(other));
        assert_eq!(without(&with), other);
    }

    #[test]
    fn a_last_line_without_a_newline_gets_one() {
        let with = with_block(b"0 1 * * * x", &mine()).unwrap();
        assert!(with.starts_with(b"0 1 * * * x\n# BEGIN"));
        assert_eq!(without(&with), b"0 1 * * * x\n");
    }

    #[test]
    fn a_block_is_replaced_where_it_is() {
        let old = [with_block(b"before\n", &mine()).unwrap().as_slice(), b"after\n"].concat();
        let new = with_block(&old, &Block { lines: vec!["other".into()], ..mine() }).unwrap();
        let text = String::from_utf8(new).unwrap();
        let end = "# END backups of /srv/charger\nafter\n";
        assert!(text.starts_with("before\n# BEGIN") && text.ends_with(end), "{text}");
        assert!(text.contains("\nother\n") && !text.contains("drill"), "{text}");
    }

    #[test]
    fn each_project_has_its_own_block() {
        let both = with_block(&with_block(b"", &mine()).unwrap(), &block_of("/srv/charger2")).unwrap();
        let one = without(&both);
        assert_eq!(block(&one, Path::new(ROOT)).unwrap(), None);
        assert_eq!(block(&one, Path::new("/srv/charger2")).unwrap(), Some(block_of("/srv/charger2")));
    }

    #[test]
    fn a_block_without_an_end_is_left_to_a_person() {
        let broken = format!("{}\n0 2 * * * x\n", marks(Path::new(ROOT)).0);
        let error = with_block(broken.as_bytes(), &mine()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(without_block(broken.as_bytes(), Path::new(ROOT)).is_err());
    }

    #[test]
    fn a_line_is_quoted_for_the_shell_and_for_cron() {
        let command = ["/a b/xtask", "--root", "/srv/50%/it's", "backup"].map(str::to_string);
        let line = line("0 2 * * *", &command, "/srv/x y/backup.log").unwrap();
        assert_eq!(schedule(&line), "0 2 * * *");
        insta::assert_snapshot!(line, @r#"0 2 * * * umask 077; exec 3>&1; (: >> '/srv/x y/backup.log') && exec >> '/srv/x y/backup.log' 2>&1; date; '/a b/xtask' --root "/srv/50\%/it's" backup || echo 'a scheduled run failed, see /srv/x y/backup.log' >&3"#);
    }

    #[test]
    fn a_schedule_has_five_fields_or_a_word() {
        for good in ["0 2 * * *", "*/15 0-6,22 1 jan Mon-Fri", "@daily", "0\t2 * * *", "0~59 2 * * *"] {
            assert!(check_schedule(good).is_ok(), "{good}");
        }
        for bad in
            ["", "0 2 * *", "0 2 * * * *", "0 2 * * * root", "@daily x", "0 2 * * *\nx", "a;b c d e f", " 0 2 * * *"]
        {
            assert!(check_schedule(bad).is_err(), "{bad}");
        }
        assert!(line("0 2 * * *", &["/a\nb".into()], "log").is_err());
    }
}
