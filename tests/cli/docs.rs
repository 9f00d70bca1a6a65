//! Makes sure that the documents agree with the code.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{CommandOutput, program};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn read(relative: &str) -> String {
    fs::read_to_string(root().join(relative)).unwrap()
}

/// All source text of the workspace.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// The program's help for a command, or for itself.
fn help(command: &str) -> String {
    let ran = CommandOutput::of(program().args(command.split_whitespace()).arg("--help"));
    ran.expect(0);
    ran.stdout
}

/// The names of all commands, as the help lists them.
fn commands() -> Vec<String> {
    let help = help("");
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_string()).filter(|name| name != "help").collect()
}

/// All texts in single backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_test_that_the_format_names_exists() {
    let code = ["crates", "xtask", "tests"].map(|folder| sources(&root().join(folder))).concat();
    let format = read("docs/format.md");
    let named: Vec<&str> =
        quoted(&format).into_iter().filter(|word| word.matches('_').count() >= 3 && !word.contains(' ')).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named.into_iter().filter(|name| *name != "growth_bytes_per_day") {
        assert!(code.contains(&format!("fn {name}()")), "{name}");
    }
}

#[test]
fn the_readme_names_every_command_and_every_flag() {
    let readme = read("README.md");
    assert!(commands().len() >= 12, "{:?}", commands());
    for command in commands() {
        assert!(readme.contains(&format!("`{command}")), "{command}");
        let help = help(&command);
        let words = help.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']'));
        for flag in words.filter(|word| word.starts_with("--") && word.len() > 2 && *word != "--help") {
            assert!(readme.contains(flag), "{command} {flag}");
        }
    }
}

#[test]
fn the_readme_and_the_help_agree_on_exit_codes() {
    let (readme, help) = (read("README.md"), help(""));
    for code in ["0", "1", "2", "3", "10", "11", "12"] {
        assert!(readme.contains(&format!("\n| {code} | ")), "{code} in the README");
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))), "{code} in the help");
    }
    assert!(readme.contains("\n| 130, 143 | ") && help.contains("130  interrupted (143: terminated)"));
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in ["README.md", "docs/architecture.md", "docs/contributing.md", "docs/format.md", "CHANGELOG.md"] {
        let text = read(document);
        let folder = root().join(document).parent().unwrap().to_path_buf();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(folder.join(file).exists(), "{document}: {link}");
            }
        }
    }
}

#[test]
fn every_module_is_on_the_map() {
    let map = read("docs/architecture.md");
    for entry in fs::read_dir(root().join("crates/backup/src")).unwrap() {
        let module = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        let is_named = [format!("`{module}`"), format!("`{module}/`")].iter().any(|name| map.contains(name));
        assert!(module == "lib" || is_named, "{module}");
    }
}
