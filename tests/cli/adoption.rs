//! Follows the lines of README's section on adoption, for a project of each kind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{CommandOutput, shell};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A block of the section: commands to type, or text for a file.
enum Block {
    Console(Vec<String>),
    File { name: String, below: Option<String>, text: String },
}

/// The blocks of README's section on adoption after `title`, up to the next title.
fn blocks(title: &str) -> Vec<Block> {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Adopt it in another project\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let (_, text) = section.split_once(title).unwrap_or_else(|| panic!("{title} in {section}"));
    let text = text.split("\n**").next().unwrap();
    let block = |block: &str| {
        let (kind, text) = block.split_once('\n').unwrap();
        if kind == "console" {
            return Block::Console(
                text.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_string).collect(),
            );
        }
        let (place, text) = text.split_once('\n').unwrap();
        let (name, below) = match place.trim_start_matches("# ").split_once(", below ") {
            Some((name, below)) => (name, Some(below.to_string())),
            None => (place.trim_start_matches("# "), None),
        };
        Block::File { name: name.into(), below, text: text.into() }
    };
    text.split("```").skip(1).step_by(2).map(block).collect()
}

/// Somebody's home, with a checkout of this repository.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        symlink(repository(), home.path("ops-toolkit")).unwrap();
        fs::create_dir_all(home.path(".cargo/bin")).unwrap();
        home
    }

    /// The same, with the program under test where `cargo install` would put it.
    fn with_program() -> Self {
        let home = Self::new();
        symlink(env!("CARGO_BIN_EXE_xtask"), home.path(".cargo/bin/xtask")).unwrap();
        home
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    fn write(&self, relative: &str, text: &str) {
        fs::create_dir_all(self.path(relative).parent().unwrap()).unwrap();
        fs::write(self.path(relative), text).unwrap();
    }

    /// Runs lines as somebody at a terminal would type them, without this test's environment.
    #[track_caller]
    fn run(&self, folder: &str, lines: &[String]) -> CommandOutput {
        let set = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
        let own = set("HOME", "/root");
        let mut command = Command::new("sh");
        command.args(["-euc", &lines.join("\n")]).current_dir(self.path(folder)).env_clear();
        command.env("HOME", self.folder.path()).env("CARGO_INSTALL_ROOT", self.path(".cargo"));
        command.env("PATH", format!("{}:{}", self.path(".cargo/bin").display(), set("PATH", "/usr/bin:/bin")));
        command.env("CARGO_HOME", set("CARGO_HOME", &format!("{own}/.cargo")));
        command.env("RUSTUP_HOME", set("RUSTUP_HOME", &format!("{own}/.rustup")));
        // The target folder is kept from run to run, beside this workspace's own.
        command.env("CARGO_TARGET_DIR", repository().join("target/adoption"));
        let ran = CommandOutput::of(&mut command);
        ran.expect(0);
        ran
    }

    /// Follows the section after `title`, beginning in `folder`. Returns the output.
    #[track_caller]
    fn follow(&self, title: &str, folder: &str) -> String {
        let mut said = String::new();
        for block in blocks(title) {
            match block {
                Block::Console(lines) => {
                    assert!(!lines.is_empty(), "{title}");
                    said += &self.run(folder, &lines).all();
                }
                Block::File { name, below, text } => {
                    let path = self.path(folder).join(name);
                    let old = fs::read_to_string(&path).unwrap_or_default();
                    let new = match below {
                        Some(line) => old.replacen(&format!("{line}\n"), &format!("{line}\n{text}"), 1),
                        None => old + &text,
                    };
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(&path, new).unwrap();
                }
            }
        }
        said
    }

    /// The names in the only backup of the project in `folder`, as `program` lists them.
    #[track_caller]
    fn backup(&self, folder: &str, program: &str) -> Vec<String> {
        let listed = self.run(folder, &[format!("{program} list --json")]).json();
        let [backup] = listed["backups"].as_array().unwrap().as_slice() else { panic!("{listed}") };
        assert_eq!(backup["status"], "complete");
        let names = backup["artifacts"].as_array().unwrap().iter().map(|artifact| &artifact["name"]);
        names.map(|name| Value::as_str(name).unwrap().to_string()).collect()
    }
}

/// A Python application that has written a database in WAL mode.
fn python_project(home: &Home) {
    home.write("heat-pump/.env", "TOKEN=very-secret\n");
    home.write("heat-pump/.gitignore", ".env\n*.db*\n");
    home.write(
        "heat-pump/app.py",
        "import sqlite3\n\
         database = sqlite3.connect('data/app.db')\n\
         database.execute('PRAGMA journal_mode = wal')\n\
         database.execute('CREATE TABLE readings(id INTEGER PRIMARY KEY, celsius REAL)')\n\
         database.executemany('INSERT INTO readings(celsius) VALUES (?)', [(x / 10,) for x in range(1000)])\n\
         database.commit()\n",
    );
    home.write("heat-pump/venv/pyvenv.cfg", "");
    shell(&home.path("heat-pump"), "mkdir data; python3 app.py; cp data/app.db venv/; git init -q");
}

#[test]
fn a_python_project_is_adopted_by_the_lines_of_the_readme() {
    let home = Home::with_program();
    python_project(&home);
    let said = home.follow("**A Python project.**", "heat-pump");
    assert!(said.contains("\n  xtask backup\n") && !said.contains("cargo"), "{said}");
    assert_eq!(home.backup("heat-pump", "xtask"), ["app_db", "config"]);
    let folder = home.path("heat-pump");
    assert_eq!(shell(&folder, "git diff --cached --name-only"), ".gitignore\nops/backup.toml\n");
    assert_eq!(shell(&folder, "git status --porcelain backups"), "");
    assert_eq!(
        shell(&folder, "gunzip -c backups/app_db_*.gz > x; sqlite3 x 'SELECT count(*) FROM readings'"),
        "1000\n"
    );
}

#[test]
fn a_node_project_is_adopted_by_the_lines_of_the_readme() {
    let home = Home::with_program();
    home.write("web-shop/package.json", "{\"name\": \"web-shop\", \"dependencies\": {\"better-sqlite3\": \"*\"}}\n");
    home.write("web-shop/.env", "STRIPE_KEY=very-secret\n");
    home.write("web-shop/.env.production", "STRIPE_KEY=more-secret\n");
    let make = "mkdir -p db node_modules/better-sqlite3/test; sqlite3 db/shop.sqlite 'CREATE TABLE orders(id)'
                cp db/shop.sqlite node_modules/better-sqlite3/test/x.db";
    shell(&home.path("web-shop"), make);
    let said = home.follow("**A Node project.**", "web-shop");
    assert!(said.contains("  path = \"db/shop.sqlite\"\n") && !said.contains("node_modules"), "{said}");
    assert_eq!(home.backup("web-shop", "xtask"), ["shop_db", "config"]);
    let members = shell(&home.path("web-shop"), "tar -tzf backups/config_*.tar.gz");
    assert_eq!(members, ".env\n.env.production\n");
}

#[test]
#[ignore = "compiles for minutes: cargo test --workspace -- --ignored"]
fn a_program_that_cargo_installs_works_by_the_lines_of_the_readme() {
    let home = Home::new();
    home.follow("Install the program once, for all projects:", "");
    assert!(home.path(".cargo/bin/xtask").exists());
    python_project(&home);
    home.follow("**A Python project.**", "heat-pump");
    // Only the configuration of the built workspace has the flag for it.
    let settings = home.path("heat-pump/ops/backup.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace("snapshot = \"vacuum\"", "snapshot = \"pages\"")).unwrap();
    home.run("heat-pump", &["xtask backup".into(), "xtask verify".into()]);
}

#[test]
#[ignore = "compiles for minutes: cargo test --workspace -- --ignored"]
fn a_rust_workspace_with_another_rusqlite_is_adopted_by_the_lines_of_the_readme() {
    let home = Home::new();
    home.write("station-api/Cargo.toml", "[workspace]\nmembers = [\"api\"]\nresolver = \"2\"\n");
    home.write(
        "station-api/api/Cargo.toml",
        "[package]\nname = \"api\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n\
         [dependencies]\nrusqlite = { version = \"0.32\", features = [\"bundled\"] }\n",
    );
    home.write(
        "station-api/api/src/main.rs",
        "fn main() {\n\
             let database = rusqlite::Connection::open(\"data/api.db\").unwrap();\n\
             database.execute_batch(\"CREATE TABLE IF NOT EXISTS t(x)\").unwrap();\n\
             let used = \"SELECT sqlite_compileoption_used('ENABLE_DBPAGE_VTAB')\";\n\
             print!(\"{}\", database.query_row(used, [], |row| row.get::<_, i64>(0)).unwrap());\n\
         }\n",
    );
    fs::create_dir(home.path("station-api/data")).unwrap();
    let run = ["cargo run --quiet".to_string()];
    assert_eq!(home.run("station-api", &run).stdout, "0");
    let said = home.follow("**A Rust workspace.**", "station-api");
    assert!(said.contains("\n  cargo xtask backup\n"), "{said}");
    assert_eq!(home.backup("station-api", "cargo xtask"), ["api_db"]);
    assert_eq!(home.run("station-api", &run).stdout, "0", "flags for the SQLite of the one reach the other");
    let locks = "grep -h -A1 '^name = \"rusqlite\"' Cargo.lock tools/backup/Cargo.lock | grep -c version";
    assert_eq!(shell(&home.path("station-api"), locks), "2\n", "each has its own");
}
