//! `demo`: what it prints, and where it works.

use std::fs;
use std::path::Path;

use crate::support::{CommandOutput, program};

fn demo(folder: &Path, flags: &str) -> CommandOutput {
    let mut command = program();
    command.args(["demo", "--size-mb", "1"]).args(flags.split_whitespace());
    CommandOutput::of(command.current_dir(folder))
}

#[test]
fn a_demo_tells_in_one_document_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let report = demo(folder.path(), "--json --dir a").expect(0).json();
    let number = |field: &str| report[field].as_u64().unwrap();
    assert_eq!(report["folder"], "a");
    assert!(0 < number("before_backup") && number("before_backup") <= number("restored"), "{report}");
    assert!(number("restored") <= number("made") && number("after_restore") >= 10, "{report}");
    fs::write(folder.path().join("b"), "").unwrap();
    let failed = demo(folder.path(), "--json --dir b");
    assert!(failed.expect(1).json()["error"]["message"].as_str().unwrap().contains('b'), "{failed:?}");
}

#[test]
fn a_demo_needs_no_project_and_works_where_it_was_started() {
    let folder = tempfile::tempdir().unwrap();
    let ran = demo(folder.path(), "");
    assert!(ran.expect(0).stdout.contains("$ cargo xtask --root backup-demo backup\n"), "{ran:?}");
    assert!(folder.path().join("backup-demo/data/sessions.db").exists());
    // In a Cargo workspace that was built, it works in the folder that `cargo clean` removes.
    fs::create_dir_all(folder.path().join("app/src")).unwrap();
    fs::create_dir(folder.path().join("app/target")).unwrap();
    fs::write(folder.path().join("app/target/CACHEDIR.TAG"), "").unwrap();
    demo(&folder.path().join("app"), "").expect(0);
    assert!(folder.path().join("app/target/demo/data/sessions.db").exists());
}
