//! A marked block of lines in a crontab, of which everything else is kept byte for byte. Pure.

use std::ops::Range;
use std::path::Path;

use backup::{Error, ErrorKind, Result};

/// What a line's command begins with: the log is for nobody else to read.
const UMASK: &str = "umask 077";

/// `crontab` with the block for the project in `root` made of `lines`: in the place of the old one, or at the end.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the block that is there has no end.
pub fn with_block(crontab: &[u8], root: &Path, lines: &[String]) -> Result<Vec<u8>> {
    let (begin, end) = marks(root);
    let block = format!("{begin}\n{}\n{end}\n", lines.join("\n"));
    let Some(place) = find(crontab, root)? else {
        let newline: &[u8] = if crontab.is_empty() || crontab.ends_with(b"\n") { b"" } else { b"\n" };
        return Ok([crontab, newline, block.as_bytes()].concat());
    };
    Ok([&crontab[..place.start], block.as_bytes(), &crontab[place.end..]].concat())
}

/// `crontab` without the block for the project in `root`.
///
/// # Errors
/// As [`with_block`].
pub fn without_block(crontab: &[u8], root: &Path) -> Result<Vec<u8>> {
    let place = find(crontab, root)?.unwrap_or(0..0);
    Ok([&crontab[..place.start], &crontab[place.end..]].concat())
}

/// The lines of the block for the project in `root`, if there is one.
///
/// # Errors
/// As [`with_block`].
pub fn block(crontab: &[u8], root: &Path) -> Result<Option<Vec<String>>> {
    let Some(place) = find(crontab, root)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&crontab[place]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines.get(1..lines.len() - 1).map(|lines| lines.iter().map(ToString::to_string).collect()))
}

/// A line that runs `command` at the times of `schedule` and appends what it says to `log`. If it fails, the line says
/// so itself, which cron sends by mail. Nothing is to be quoted beforehand.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if they can't stand on a line.
pub fn line(schedule: &str, command: &[String], log: &str) -> Result<String> {
    check_schedule(schedule)?;
    let words = command.iter().map(String::as_str);
    let failed = format!("a scheduled run failed, see {log}");
    let (Ok(command), Ok(log), Ok(failed)) = (shlex::try_join(words), shlex::try_quote(log), shlex::try_quote(&failed))
    else {
        return Err(Error::new(ErrorKind::InvalidInput, "a path with a NUL in it can't stand in a crontab"));
    };
    let line = format!("{UMASK}; {{ date; {command}; }} >> {log} 2>&1 || echo {failed}");
    if line.chars().any(char::is_control) {
        let message = format!("{} can't stand in a crontab", line.escape_debug());
        return Err(
            Error::new(ErrorKind::InvalidInput, message).with_hint("a path has a control character in it: rename it")
        );
    }
    // To cron, a percent sign ends the command.
    Ok(format!("{schedule} {}", line.replace('%', "\\%")))
}

/// The schedule of a line that [`line`] made.
pub fn schedule(line: &str) -> &str {
    line.split_once(UMASK).map_or(line, |(schedule, _)| schedule).trim_end()
}

/// Five fields, or a word such as `@daily`: `man 5 crontab`. What is in the fields is left to `crontab` to check.
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
            .with_hint("mend it by hand: crontab -e")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "/srv/charger";

    fn root() -> &'static Path {
        Path::new(ROOT)
    }

    fn lines() -> Vec<String> {
        vec!["0 2 * * * backup".into(), "0 4 * * 0 drill".into()]
    }

    #[test]
    fn a_block_is_added_once_and_removed_without_a_trace() {
        for other in ["", "MAILTO=ada\n", "# é\r\n\n0 1 * * *  x\t%y\n", "a\n\n\n"] {
            let with = with_block(other.as_bytes(), root(), &lines()).unwrap();
            assert_eq!(with_block(&with, root(), &lines()).unwrap(), with, "twice is once");
            assert_eq!(without_block(&with, root()).unwrap(), other.as_bytes());
            assert_eq!(block(&with, root()).unwrap(), Some(lines()));
            assert_eq!(without_block(other.as_bytes(), root()).unwrap(), other.as_bytes());
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let other = b"# caf\xe9\n\xff\xfe\n";
        let with = with_block(other, root(), &lines()).unwrap();
        assert!(with.starts_with(other));
        assert_eq!(without_block(&with, root()).unwrap(), other);
    }

    #[test]
    fn a_last_line_without_a_newline_gets_one() {
        let with = with_block(b"0 1 * * * x", root(), &lines()).unwrap();
        assert!(with.starts_with(b"0 1 * * * x\n# BEGIN"));
        assert_eq!(without_block(&with, root()).unwrap(), b"0 1 * * * x\n");
    }

    #[test]
    fn a_block_is_replaced_where_it_is() {
        let old = with_block(b"before\n", root(), &lines()).unwrap();
        let old = [old.as_slice(), b"after\n"].concat();
        let new = with_block(&old, root(), &["other".into()]).unwrap();
        let text = String::from_utf8(new).unwrap();
        assert!(
            text.starts_with("before\n# BEGIN") && text.ends_with("# END backups of /srv/charger\nafter\n"),
            "{text}"
        );
        assert!(text.contains("\nother\n") && !text.contains("drill"), "{text}");
    }

    #[test]
    fn each_project_has_its_own_block() {
        let both =
            with_block(&with_block(b"", root(), &lines()).unwrap(), Path::new("/srv/charger2"), &lines()).unwrap();
        let one = without_block(&both, root()).unwrap();
        assert_eq!(block(&one, root()).unwrap(), None);
        assert_eq!(block(&one, Path::new("/srv/charger2")).unwrap(), Some(lines()));
    }

    #[test]
    fn a_block_without_an_end_is_left_to_a_person() {
        let broken = format!("{}\n0 2 * * * x\n", marks(root()).0);
        let error = with_block(broken.as_bytes(), root(), &lines()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(without_block(broken.as_bytes(), root()).is_err());
    }

    #[test]
    fn a_line_is_quoted_for_the_shell_and_for_cron() {
        let command = ["/a b/xtask", "--root", "/srv/50%/it's", "backup"].map(str::to_string);
        let line = line("0 2 * * *", &command, "/srv/x y/backup.log").unwrap();
        assert_eq!(schedule(&line), "0 2 * * *");
        insta::assert_snapshot!(line, @r#"0 2 * * * umask 077; { date; '/a b/xtask' --root "/srv/50\%/it's" backup; } >> '/srv/x y/backup.log' 2>&1 || echo 'a scheduled run failed, see /srv/x y/backup.log'"#);
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
