//! Makes sure that the code keeps its structure: imports point down, files and functions stay short.
//!
//! It reads the `use` lines, and paths that begin with `crate` or `super`. A module's own tests may import anything. A
//! folder's `mod.rs` that only declares and re-exports doesn't import its files; an import of a re-exported name is one
//! of what it stands for.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use imports::{exports, imports};

/// The storeys of the library, the lowest first. A file imports from its own storey and those below.
const LIBRARY: [&[&str]; 10] = [
    &["error"],
    &["progress"],
    &["record"],
    &["disk"],
    &["store"],
    &["artifact"],
    &["source"],
    &["catalog"],
    &["operation"],
    &["testing"],
];

/// The storeys of `xtask`.
const XTASK: [&[&str]; 18] = [
    &["words", "hints", "text", "exit"],
    &["cli", "config"],
    &["survey", "template", "confine"],
    &["user"],
    &["step"],
    &["invocation"],
    &["output", "bars", "notes", "table", "json"],
    &["report"],
    &["context"],
    &["sample"],
    &["bench"],
    &["systemd"],
    &["application"],
    &["privilege"],
    &["schedule"],
    &["doctor"],
    &["completion"],
    &["commands"],
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Each file of a crate by its module path, without its tests, and without files that are tests alone.
fn modules(sources: &str) -> BTreeMap<String, String> {
    let (base, mut modules, mut tests) = (root().join(sources), BTreeMap::new(), Vec::new());
    let mut folders = vec![base.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&base).unwrap().with_extension("");
                let name = relative.to_str().unwrap().replace('/', "::");
                let name = name.strip_suffix("::mod").unwrap_or(&name);
                let text = fs::read_to_string(&path).unwrap();
                let declared = text.split("#[cfg(test)]\nmod ").skip(1).filter_map(|rest| rest.lines().next());
                let files = declared.filter_map(|line| line.strip_suffix(';'));
                tests.extend(files.map(|file| format!("{name}::{file}")));
                modules.insert(name.to_string(), without_tests(&text));
            }
        }
    }
    modules.retain(|name, _| !tests.iter().any(|test| format!("{name}::").starts_with(&format!("{test}::"))));
    assert!(modules.len() > 30, "{sources}: {}", modules.len());
    modules
}

fn without_tests(text: &str) -> String {
    let mut code = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let begins_tests = lines.peek().is_some_and(|next| next.ends_with("mod tests {"));
        if line == "#[cfg(test)]" && begins_tests {
            break;
        }
        code.push(line);
    }
    code.join("\n")
}

/// The modules of the same crate that each module imports.
fn graph(modules: &BTreeMap<String, String>) -> BTreeMap<String, BTreeSet<String>> {
    let is_root = |name: &str| matches!(name, "lib" | "main");
    let is_module = |path: &str| modules.contains_key(path);
    let exports =
        modules.iter().flat_map(|(name, text)| exports(if is_root(name) { "" } else { name }, text)).collect();
    modules
        .iter()
        .filter(|(name, _)| !is_root(name))
        .map(|(name, text)| (name.clone(), imports(name, text, &is_module, &exports)))
        .collect()
}

/// A path of imports from a module back to itself, if there is one.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    /// Follows imports depth first. `done` has the modules that lead into no circle.
    fn follow<'a>(
        graph: &'a BTreeMap<String, BTreeSet<String>>,
        at: &'a str,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(begin) = way.iter().position(|module| *module == at) {
            return Some(way[begin..].iter().map(ToString::to_string).collect());
        }
        if done.contains(at) {
            return None;
        }
        way.push(at);
        let found = graph.get(at).into_iter().flatten().find_map(|next| follow(graph, next, way, done));
        way.pop();
        done.insert(at);
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|module| follow(graph, module, &mut Vec::new(), &mut done))
}

#[test]
fn no_file_imports_from_a_storey_above_its_own() {
    for (sources, storeys) in [("crates/backup/src", LIBRARY.as_slice()), ("xtask/src", &XTASK)] {
        let storey = |module: &str| {
            let first = module.split("::").next().unwrap();
            let storey = storeys.iter().position(|storey| storey.contains(&first));
            storey.unwrap_or_else(|| panic!("{sources}: {module} is on no storey"))
        };
        for (module, imports) in graph(&modules(sources)) {
            for import in imports {
                assert!(storey(&import) <= storey(&module), "{module} imports {import}, which is above it");
            }
        }
    }
}

#[test]
fn no_imports_go_in_a_circle() {
    for sources in ["crates/backup/src", "xtask/src"] {
        assert_eq!(circle(&graph(&modules(sources))), None, "in {sources}");
    }
}

#[test]
fn a_circle_is_found_however_long_it_is() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = BTreeMap::<String, BTreeSet<String>>::new();
        for (from, to) in edges {
            graph.entry(from.to_string()).or_default().insert(to.to_string());
        }
        graph
    };
    assert_eq!(circle(&graph(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])), None);
    let found = circle(&graph(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")])).unwrap();
    assert_eq!(found, ["b", "c", "d"]);
}

/// The most lines of a file, without its tests.
const LONGEST_FILE: usize = 450;

/// The most lines of a function, from the first to the closing brace.
const LONGEST_FUNCTION: usize = 50;

/// In percent: this part of the functions is no longer than [`SHORT`].
const MOST: usize = 90;
const SHORT: usize = 20;

#[test]
fn files_are_short() {
    for sources in ["crates/backup/src", "xtask/src"] {
        for (module, text) in modules(sources) {
            let lines = text.lines().count();
            assert!(lines <= LONGEST_FILE, "{sources}: {module} has {lines} lines");
        }
    }
}

#[test]
fn functions_are_short() {
    for sources in ["crates/backup/src", "xtask/src"] {
        let mut lengths = Vec::new();
        for (module, text) in modules(sources) {
            for (name, length) in functions(&text) {
                assert!(length <= LONGEST_FUNCTION, "{sources}: {module}::{name} has {length} lines");
                lengths.push(length);
            }
        }
        lengths.sort_unstable();
        let length = lengths[lengths.len() * MOST / 100];
        assert!(length <= SHORT, "{sources}: a tenth of the functions have more than {length} lines");
    }
}

/// The names of all functions with a body, and their lengths in lines, as rustfmt formats them.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with("//")).collect();
        let Some(word) = words.iter().position(|word| *word == "fn") else { continue };
        let qualifiers = ["const", "async", "unsafe", "extern", "\"C\""];
        if !words[..word].iter().all(|word| word.starts_with("pub") || word.ends_with(')') || qualifiers.contains(word))
        {
            continue;
        }
        let name = words[word + 1].split(['(', '<']).next().unwrap().to_string();
        if line.ends_with('}') {
            functions.push((name, 1));
            continue;
        }
        // A declaration without a body ends in a semicolon.
        let has_body =
            lines[at..].iter().find(|line| line.ends_with(['{', ';'])).is_some_and(|line| line.ends_with('{'));
        let end = format!("{indent}}}");
        let length = lines[at..].iter().position(|line| *line == end).filter(|_| has_body);
        functions.extend(length.map(|length| (name, length + 1)));
    }
    functions
}

#[test]
fn functions_are_counted_with_their_braces() {
    let text = "pub fn one() {}\n\nimpl A {\n    fn three(\n        self,\n    ) -> B {\n        x;\n    }\n}\n\n\
                trait T {\n    fn none(&self) -> A;\n    fn also_none(\n        &self,\n    ) -> A;\n}\n";
    assert_eq!(functions(text), [("one".to_string(), 1), ("three".to_string(), 5)]);
    let text = "pub(in crate::a) async fn f() {\n    let sql = \"\nSELECT 1;\n\";\n    fn g() {\n    }\n}\n\n\
                extern \"C\" fn h() {\n}\n";
    assert_eq!(functions(text), [("f".to_string(), 7), ("g".to_string(), 2), ("h".to_string(), 2)]);
}

#[test]
fn the_library_names_no_flag() {
    for (module, text) in modules("crates/backup/src") {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let is_flag = |word: &str| word.len() > 2 && word.as_bytes()[2].is_ascii_lowercase();
            let flag = line.match_indices("--").map(|(at, _)| &line[at..]).find(|word| is_flag(word));
            assert_eq!(flag, None, "{module}");
        }
    }
}
