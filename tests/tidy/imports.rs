//! The imports of a file, read from its text.

use std::collections::{BTreeMap, BTreeSet};

/// Re-exported names, each with the path that it stands for.
pub type Exports = BTreeMap<String, String>;

const EXPORTS: [&str; 3] = ["pub use ", "pub(crate) use ", "pub(super) use "];

/// The modules of the same crate that a file imports: for each path, the longest part that is a module. A re-exported
/// name counts as what it stands for.
pub fn imports(module: &str, text: &str, is_module: &dyn Fn(&str) -> bool, exports: &Exports) -> BTreeSet<String> {
    let code = code(text);
    // A file names the modules that it declares without `crate` or `super`.
    let declared = code.split("mod ").skip(1).filter_map(|rest| rest.split(';').next());
    let declared: Vec<String> = declared.map(|name| format!("{name}::")).collect();
    let mut found = BTreeSet::new();
    for (path, is_export) in paths(&code, &declared) {
        let path = resolved(module, &path).join("::");
        // A re-export gives a name to what is below.
        if is_export && path.starts_with(&format!("{module}::")) {
            continue;
        }
        let import = module_of(&target(path, exports), is_module);
        if !import.is_empty() && import != module {
            found.insert(import);
        }
    }
    found
}

/// The re-exports of a module; `module` is empty for the crate's root.
pub fn exports(module: &str, text: &str) -> Exports {
    let (code, mut exports) = (code(text), Exports::new());
    for (at, keyword) in EXPORTS.iter().flat_map(|keyword| code.match_indices(keyword)) {
        let mut paths = Vec::new();
        expand("", code[at + keyword.len()..].split(';').next().unwrap_or_default(), &mut paths);
        for path in paths {
            let (path, name) = path.split_once(" as ").unwrap_or((&path, ""));
            let target = resolved(module, path);
            let name = if name.is_empty() { target.last().map_or("", String::as_str) } else { name };
            let name = if module.is_empty() { name.to_string() } else { format!("{module}::{name}") };
            exports.insert(name, target.join("::"));
        }
    }
    exports
}

fn code(text: &str) -> String {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    code.join("\n")
}

/// The path that a path with re-exported names stands for.
fn target(mut path: String, exports: &Exports) -> String {
    /// No name is re-exported this often; a name that stands for itself would never end.
    const MOST: usize = 10;
    for _ in 0..MOST {
        let mut ends = path.match_indices("::").map(|(at, _)| at).chain([path.len()]);
        let named = ends.find_map(|end| Some((end, exports.get(&path[..end])?)));
        let Some((end, target)) = named else { break };
        path = format!("{target}{}", &path[end..]);
    }
    path
}

fn module_of(path: &str, is_module: &dyn Fn(&str) -> bool) -> String {
    let mut path = path;
    while !path.is_empty() && !is_module(path) {
        path = path.rsplit_once("::").map_or("", |(before, _)| before);
    }
    path.to_string()
}

/// All paths that begin with `crate`, `super`, `self` or a declared module, with braces expanded, and whether each is
/// re-exported.
fn paths(code: &str, declared: &[String]) -> Vec<(String, bool)> {
    let mut paths = Vec::new();
    let begins = ["crate::", "super::", "self::"].into_iter().chain(declared.iter().map(String::as_str));
    for (at, _) in begins.flat_map(|begin| code.match_indices(begin)) {
        let before = &code[..at];
        if before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':')) {
            continue;
        }
        let statement = before.rsplit([';', '}']).next().unwrap_or_default().trim_start();
        let is_export = EXPORTS.iter().any(|keyword| format!("{statement} ").starts_with(keyword));
        let (end, mut found) = (end_of_path(&code[at..]), Vec::new());
        expand("", &code[at..at + end], &mut found);
        let without_name = |path: String| path.split(" as ").next().unwrap_or_default().to_string();
        paths.extend(found.into_iter().map(|path| (without_name(path), is_export)));
    }
    paths
}

/// The end of a path that may have braces.
fn end_of_path(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' if code[..at].ends_with("::") || depth > 0 => depth += 1,
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ if depth > 0 || c.is_alphanumeric() || matches!(c, '_' | ':') => {}
            _ => return at,
        }
    }
    code.len()
}

/// `a::{b, c::{d}}` as `a::b` and `a::c::d`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        paths.push(format!("{prefix}{tree}"));
        return;
    };
    let (head, body) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())]);
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in body.char_indices().chain([(body.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !body[begin..at].trim().is_empty() {
                    expand(&format!("{prefix}{head}"), &body[begin..at], paths);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

/// The path from the crate's root. `super` means the folder of a file.
fn resolved(module: &str, path: &str) -> Vec<String> {
    let mut at: Vec<String> = module.split("::").filter(|part| !part.is_empty()).map(str::to_string).collect();
    for (place, word) in path.split("::").enumerate() {
        match word {
            "crate" if place == 0 => at.clear(),
            "super" => drop(at.pop()),
            "self" => {}
            word => at.push(word.to_string()),
        }
    }
    at
}

#[test]
fn imports_are_found_wherever_they_stand() {
    let is_module = |path: &str| ["a", "a::b", "a::c", "d", "e", "a::x"].contains(&path);
    let text = "
        //! See [`crate::e`].
        use std::crate_like::X;
        pub use super::c::Thing;
        use crate::{d::{self, Y}, a::b};
        use super::{b::Z, w};
        fn f() { crate::e::g(1) }
    ";
    let found = imports("a::x", text, &is_module, &Exports::new());
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "a::b", "a::c", "d", "e"]);
    let text = "mod b;\nmod c;\npub use c::Thing;\npub fn f() { b::g(::c::h()) }";
    assert_eq!(imports("a", text, &is_module, &Exports::new()).into_iter().collect::<Vec<_>>(), ["a::b"]);
    for text in ["use self::b::X;", "pub(crate) use crate::d::X;", "pub use super::d::X;"] {
        assert_eq!(imports("a", text, &is_module, &Exports::new()).len(), 1, "{text}");
    }
}

#[test]
fn what_is_imported_by_a_re_exported_name_is_what_that_stands_for() {
    let is_module = |path: &str| ["a", "a::b", "a::c", "d"].contains(&path);
    let mut names = exports("", "mod a;\n#[doc(hidden)]\npub use a::{B, b};\npub use d::{self as e, D as E};");
    names.extend(exports("a", "mod b;\nmod c;\npub(crate) use b::B;\npub use self::c::{C as Other, deep::{self, F}};"));
    let found = |text: &str| imports("x", text, &is_module, &names).into_iter().collect::<Vec<_>>();
    for (text, expected) in [
        ("use crate::B;", "a::b"),
        ("use crate::b::f;", "a::b"),
        ("use crate::{E};", "d"),
        ("use crate::e::x;", "d"),
        ("use crate::a::B;", "a::b"),
        ("fn f() { super::a::Other::new() }", "a::c"),
        ("use crate::a::deep::g;", "a::c"),
        ("use crate::a::F;", "a::c"),
        ("use crate::a::C;", "a"),
    ] {
        assert_eq!(found(text), [expected], "{text}");
    }
    // A circle of two files of a folder is one, though each imports from the folder.
    names.extend(exports("a", "pub use b::B; pub use c::C;"));
    assert!(imports("a::b", "use super::C;", &is_module, &names).contains("a::c"));
    assert!(imports("a::c", "use crate::a::B;", &is_module, &names).contains("a::b"));
}
