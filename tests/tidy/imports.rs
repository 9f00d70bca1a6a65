//! The imports of a file, read from its text.

use std::collections::BTreeSet;

/// The modules of the same crate that a file imports: for each path, the longest part that is a module.
pub fn imports(module: &str, text: &str, is_module: &dyn Fn(&str) -> bool) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    // A file names the modules that it declares without `crate` or `super`.
    let declared = code.split("mod ").skip(1).filter_map(|rest| rest.split(';').next());
    let declared: Vec<String> = declared.map(|name| format!("{name}::")).collect();
    let mut found = BTreeSet::new();
    for path in paths(&code, &declared) {
        let mut path = resolved(module, &path);
        while !path.is_empty() && !is_module(&path.join("::")) {
            path.pop();
        }
        let import = path.join("::");
        if !import.is_empty() && import != module {
            found.insert(import);
        }
    }
    found
}

/// All paths that begin with `crate`, `super` or a declared module, with braces expanded. `pub use` is left out: a
/// re-export only names what is below.
fn paths(code: &str, declared: &[String]) -> Vec<String> {
    let mut paths = Vec::new();
    let begins = ["crate::", "super::"].into_iter().chain(declared.iter().map(String::as_str));
    for (at, _) in begins.flat_map(|begin| code.match_indices(begin)) {
        let before = &code[..at];
        let is_inside = before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'));
        let statement = before.rsplit([';', '}']).next().unwrap_or_default().trim_start();
        let is_export = ["pub use", "pub(crate) use", "pub(super) use"].iter().any(|use_| statement.starts_with(use_));
        if !is_inside && !is_export {
            let end = end_of_path(&code[at..]);
            expand("", &code[at..at + end], &mut paths);
        }
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
        let path = tree.split(" as ").next().unwrap_or_default();
        paths.push(format!("{prefix}{path}"));
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
    let mut at: Vec<String> = module.split("::").map(str::to_string).collect();
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
    let found = imports("a::x", text, &is_module);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "a::b", "d", "e"]);
    let text = "mod b;\nmod c;\npub use c::Thing;\npub fn f() { b::g(::c::h()) }";
    assert_eq!(imports("a", text, &is_module).into_iter().collect::<Vec<_>>(), ["a::b"]);
}
