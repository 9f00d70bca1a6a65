//! The program in a shell: help, version, completions, man pages, closed pipes.

use std::process::{Command, Stdio};

use crate::support::{CommandOutput, program, shell};

const COMMANDS: [&str; 26] = [
    "backup",
    "config",
    "list",
    "restore",
    "verify",
    "drill",
    "follow",
    "rotate",
    "pin",
    "unpin",
    "accept",
    "take-over",
    "status",
    "doctor",
    "init",
    "install-timer",
    "uninstall-timer",
    "timer",
    "run-now",
    "logs",
    "install-cron",
    "uninstall-cron",
    "demo",
    "bench",
    "completions",
    "man",
];

const GLOBAL_FLAGS: [&str; 9] = [
    "--root",
    "--config",
    "--backup-dir",
    "--json",
    "--quiet",
    "--verbose",
    "--color",
    "--lock-wait",
    "--busy-timeout",
];

/// Runs the program outside of any project.
fn run(arguments: &str) -> CommandOutput {
    CommandOutput::of(program().args(arguments.split_whitespace()).current_dir("/"))
}

#[test]
fn help_lists_every_command_and_every_exit_code() {
    for arguments in ["--help", "-h", "help"] {
        let ran = run(arguments);
        let help = &ran.expect(0).stdout;
        assert_eq!(ran.stderr, "");
        for command in COMMANDS {
            let described = help.lines().any(|line| line.trim_start().starts_with(&format!("{command}  ")));
            assert!(described, "{command} in {help}");
        }
        assert!(help.contains("prune"), "{help}");
        let (_, codes) = help.split_once("Exit codes:\n").unwrap();
        insta::allow_duplicates! { insta::assert_snapshot!(codes, @"
          0  done
          1  failed; status: a source has no recent sound copy;
             timer: not scheduled, or the last run failed; doctor: a failure
          2  wrong usage or settings, or another project's backup folder
          3  partly done
         10  no such backup
         11  locked by another run
         12  verification found damage
        130  interrupted (143: terminated)
        "); }
    }
}

#[test]
fn every_command_has_help_with_all_that_it_takes() {
    for (command, own) in [
        ("backup", "--database-only --config-only --no-compress --codec --level --pin --no-rotate --scheduled"),
        ("list", ""),
        ("restore", "--from --undo --database-only --config-only --to --dry-run --yes"),
        ("verify", "--from --all"),
        ("drill", "--from"),
        ("rotate", "--keep-days --keep-last --keep-daily --keep-weekly --keep-monthly --keep-yearly --dry-run"),
        ("prune", "--keep-days --dry-run"),
        ("pin", "<ID>"),
        ("unpin", "<ID>"),
        ("status", ""),
        ("doctor", "--deep"),
        ("init", "[DIR] --dry-run"),
        (
            "install-timer",
            "--user --on-calendar --randomized-delay --run-as --allow-root --unit --dry-run --no-start --force",
        ),
        ("uninstall-timer", "--user --unit --dry-run"),
        ("timer", "--user --unit"),
        ("run-now", "--user --unit"),
        ("logs", "--user --unit --follow --lines --since"),
        ("install-cron", "--schedule --allow-root --dry-run"),
        ("uninstall-cron", "--dry-run"),
        ("demo", "--size-mb --dir"),
        ("bench", "--size-mb --runs --peers --jobs --follow-seconds --dir"),
        ("completions", "<SHELL>"),
        ("man", "<DIR>"),
    ] {
        for ran in [run(&format!("{command} --help")), run(&format!("help {command}"))] {
            let help = &ran.expect(0).stdout;
            assert!(help.lines().next().unwrap().len() > 10, "{command} says what it does: {help}");
            for flag in own.split_whitespace().chain(GLOBAL_FLAGS) {
                assert!(help.contains(flag), "{command} {flag}: {help}");
            }
        }
    }
}

#[test]
fn help_fits_a_terminal_of_a_hundred_columns() {
    for command in COMMANDS {
        let help = run(&format!("{command} --help")).stdout;
        assert_eq!(help.lines().find(|line| line.chars().count() > 100), None, "{command}");
    }
}

#[test]
fn version_is_one_line() {
    for arguments in ["--version", "-V"] {
        assert_eq!(run(arguments).expect(0).stdout, format!("cargo xtask {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn no_arguments_are_a_usage_error_that_shows_the_help() {
    let ran = run("");
    ran.expect(2);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("Usage: cargo xtask [OPTIONS] <COMMAND>"), "{}", ran.stderr);
    assert!(COMMANDS.iter().all(|command| ran.stderr.contains(command)), "{}", ran.stderr);
}

#[test]
fn a_mistyped_command_or_flag_gets_a_suggestion() {
    insta::assert_snapshot!(run("lst").snapshot(), @"
    --
    error: unrecognized subcommand 'lst'

      tip: a similar subcommand exists: 'list'

    Usage: cargo xtask [OPTIONS] <COMMAND>

    For more information, try '--help'.
    => 2
    ");
    insta::assert_snapshot!(run("backup --database").snapshot(), @"
    --
    error: unexpected argument '--database' found

      tip: a similar argument exists: '--database-only'

    Usage: cargo xtask backup --database-only

    For more information, try '--help'.
    => 2
    ");
}

#[test]
fn completions_name_every_command_in_every_shell() {
    for (name, begins) in [
        ("bash", "_xtask() {"),
        ("zsh", "#compdef xtask"),
        ("fish", "#"),
        ("elvish", "\nuse builtin;"),
        ("powershell", "\nusing namespace System.Management.Automation"),
    ] {
        let ran = run(&format!("completions {name}"));
        let script = &ran.expect(0).stdout;
        assert!(script.starts_with(begins), "{name}: {script}");
        for word in COMMANDS.into_iter().chain(["no-rotate", "keep-monthly", "lock-wait"]) {
            assert!(script.contains(word), "{word} in {name}");
        }
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn bash_takes_its_completions_and_completes_with_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("xtask.bash"), run("completions bash").stdout).unwrap();
    shell(folder.path(), "bash -n xtask.bash");
    let script = "source ./xtask.bash; COMP_WORDS=(xtask ver); COMP_CWORD=1; _xtask xtask ver xtask; \
                  echo ${COMPREPLY[*]}; complete -p xtask";
    let said = CommandOutput::of(Command::new("bash").args(["-c", script]).current_dir(folder.path()));
    assert!(said.stdout.starts_with("verify\ncomplete ") && said.stdout.contains("-F _xtask"), "{said:?}");
}

#[test]
fn an_unknown_shell_lists_the_known_ones() {
    let ran = run("completions csh");
    assert!(ran.expect(2).stderr.contains("[possible values: bash, elvish, fish, powershell, zsh]"), "{}", ran.stderr);
}

#[test]
fn man_pages_are_written_for_every_command_and_render() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program();
    let ran = CommandOutput::of(command.args(["man", "pages/new"]).current_dir(folder.path()));
    ran.expect(0);
    let pages = shell(folder.path(), "ls pages/new");
    // One for the program, and one for a command of a command.
    assert_eq!(pages.lines().count(), COMMANDS.len() + 2, "{pages}");
    assert!(pages.contains("xtask-config-show.1"), "{pages}");
    for page in COMMANDS.map(|command| format!("xtask-{command}.1")).into_iter().chain(["xtask.1".into()]) {
        let text = std::fs::read_to_string(folder.path().join("pages/new").join(&page)).unwrap();
        assert!(text.lines().any(|line| line.starts_with(".TH ")), "{page} is no roff: {text}");
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
    }
    // Not every machine has groff; if it is there, it must not complain.
    if Command::new("groff").arg("--version").output().is_ok() {
        let render = "for page in pages/new/*; do groff -ww -man -Tascii -P-cbou $page; done 2> complaints";
        let rendered = shell(folder.path(), render);
        assert!(rendered.contains("restore") && rendered.contains("--keep-monthly"), "{rendered}");
        assert_eq!(shell(folder.path(), "cat complaints"), "");
    }
    let said = ran.stdout.replace(folder.path().to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!(said, @"
    man pages are in FOLDER/pages/new: man -l FOLDER/pages/new/xtask.1
    ");
}

#[test]
fn the_main_man_page_lists_the_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    CommandOutput::of(program().args(["man", "."]).current_dir(folder.path())).expect(0);
    let page = std::fs::read_to_string(folder.path().join("xtask.1")).unwrap();
    assert!(page.contains("locked by another run"), "{page}");
}

#[test]
fn completions_and_man_need_no_project() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program();
    let ran =
        CommandOutput::of(command.args(["--root", "/nonsense", "completions", "bash"]).current_dir(folder.path()));
    ran.expect(0);
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let project = crate::support::Project::new();
    (0..3).for_each(|_| drop(project.backup()));
    for arguments in ["--help", "completions bash", "completions zsh", "list", "list --json", "verify -v", "backup"] {
        let mut command = project.command(arguments.split_whitespace());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed before anything is read, so that every write fails.
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{arguments}: {stderr}");
        assert!(ended.status.code().is_some_and(|code| code != 101), "{arguments}: {:?}", ended.status);
    }
}

#[test]
fn a_result_that_cant_be_written_is_a_failure() {
    let project = crate::support::Project::new();
    let run = |arguments: &str| {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output =
            project.command(arguments.split_whitespace()).stdout(full).stderr(Stdio::piped()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let lost = "the result could not be written: No space left on device (os error 28)\n";
    // The work is done, as if only the ledger had no room for its line.
    let (code, said) = run("backup");
    assert_eq!((code, said), (3, format!("error: all is done, but {lost}")));
    assert_eq!(project.run("list --json").json()["backups"].as_array().unwrap().len(), 1);
    for arguments in
        ["list", "list --json", "status", "verify", "drill --json", "rotate --dry-run", "completions bash", "doctor"]
    {
        let (code, said) = run(arguments);
        assert_eq!(code, 1, "{arguments}: {said}");
        assert!(said.ends_with(&format!("error: {lost}")), "{arguments}: {said}");
    }
    assert_eq!(run("--help").0, 1);
    assert_eq!(run("list -q"), (0, String::new()), "nothing was to be written");
}

/// The completions that bash offers in `folder` for a typed line, with the script for `xtask`, which is not in PATH.
fn bash_offers(folder: &std::path::Path, typed: &str) -> Vec<String> {
    let script = run("completions bash").stdout
        + "words=($TYPED); COMP_WORDS=(\"${words[@]}\" ''); COMP_CWORD=${#words[@]}; COMP_TYPE=9
           _xtask_all xtask '' \"${words[-1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut command = Command::new("bash");
    command.args(["-c", &script]).env("TYPED", typed).env("TZ", "UTC").current_dir(folder);
    let ran = CommandOutput::of(&mut command);
    assert_eq!(ran.stderr, "", "silent whatever happens");
    ran.stdout.lines().map(str::to_string).collect()
}

#[test]
fn backups_are_completed_with_their_age_newest_first() {
    let project = crate::support::Project::new();
    project.write("ops/backup.toml", "");
    let (older, newer) = (project.backup(), project.backup());
    project.redate(&older, "20250102_030405");
    let root = project.root().to_str().unwrap();
    for (folder, typed) in [
        (root, "xtask restore --from".to_string()),
        (root, "xtask pin".into()),
        (root, "xtask accept".into()),
        ("/", format!("xtask --root {root} verify --from")),
        ("/", format!("xtask --root={root} drill --from")),
    ] {
        let offered = bash_offers(folder.as_ref(), &typed);
        assert_eq!(offered.len(), 3, "{typed}: {offered:?}");
        assert_eq!(offered[0], "latest   the newest sound one that holds all that is asked for");
        assert!(offered[1].starts_with(&format!("{newer}   ")) && offered[1].ends_with("s ago"), "{offered:?}");
        assert!(offered[2].starts_with("20250102_030405   2025-01-02 03:04, ") && offered[2].ends_with("d ago"));
    }
    for (folder, typed) in [("/", "xtask restore --from"), (root, "xtask --root /nonsense restore --from")] {
        assert_eq!(bash_offers(folder.as_ref(), typed), [""], "{typed}");
    }
    assert_eq!(project.ended().len(), 2, "looking leaves no line");
}

#[test]
fn fish_and_zsh_take_their_completions() {
    let project = crate::support::Project::new();
    project.write("ops/backup.toml", "");
    let id = project.backup();
    let folder = project.root();
    for name in ["fish", "zsh"] {
        std::fs::write(folder.join(name), run(&format!("completions {name}")).stdout).unwrap();
    }
    // Not every machine has them.
    let has = |name: &str| Command::new(name).arg("--version").output().is_ok();
    if has("fish") {
        let offered = shell(folder, "fish -c 'source fish; complete -C \"xtask restore --from \"'");
        assert!(
            offered.starts_with("latest\tthe newest sound one that holds all that is asked for\n")
                && offered.contains(&format!("\n{id}\t")),
            "{offered}"
        );
    }
    if has("zsh") {
        shell(folder, "zsh -n zsh");
    }
    let script = std::fs::read_to_string(folder.join("zsh")).unwrap();
    assert_eq!(script.matches(":_xtask_backups'").count(), 6, "restore, verify, drill, pin, unpin, accept");
}
