//! What every store must do, as one suite that each implementation runs.

use std::io::{Read, Write};

use super::{Object, Store};

/// Runs the whole suite on an empty store.
pub(super) fn check(store: &dyn Store) {
    an_empty_store_lists_nothing(store);
    store.prepare().unwrap();
    what_is_staged_is_invisible_until_published(store);
    what_is_dropped_unfinished_is_gone(store);
    publishing_replaces_and_takes_many(store);
    withdrawing_is_the_way_back(store);
    removing_what_is_gone_is_no_error(store);
    lines_are_appended(store);
    missing_objects_are_errors(store);
    store.prepare().unwrap();
    assert_eq!(names(&store.list().unwrap()), ["a", "b", "lines"], "preparing again changes nothing");
}

fn an_empty_store_lists_nothing(store: &dyn Store) {
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(store.list_staged().unwrap(), []);
}

fn what_is_staged_is_invisible_until_published(store: &dyn Store) {
    put(store, "a", b"first");
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(names(&store.list_staged().unwrap()), ["a"]);
    let mut staged = String::new();
    store.read_staged("a").unwrap().read_to_string(&mut staged).unwrap();
    assert_eq!(staged, "first");
    store.publish(&["a".into()]).unwrap();
    assert!(store.read_staged("a").is_err());
    assert_eq!(store.list().unwrap(), [Object { name: "a".into(), bytes: 5 }]);
    assert_eq!(store.list_staged().unwrap(), []);
    assert_eq!(get(store, "a"), b"first");
}

fn what_is_dropped_unfinished_is_gone(store: &dyn Store) {
    let mut staged = store.stage("b").unwrap();
    staged.write_all(b"half").unwrap();
    drop(staged);
    assert_eq!(store.list_staged().unwrap(), []);
}

fn publishing_replaces_and_takes_many(store: &dyn Store) {
    put(store, "a", b"second");
    put(store, "b", &vec![7; 1 << 20]);
    store.publish(&["a".into(), "b".into()]).unwrap();
    assert_eq!(names(&store.list().unwrap()), ["a", "b"]);
    assert_eq!(get(store, "a"), b"second");
    assert_eq!(get(store, "b").len(), 1 << 20);
}

fn withdrawing_is_the_way_back(store: &dyn Store) {
    store.withdraw("a").unwrap();
    assert_eq!(names(&store.list().unwrap()), ["b"]);
    assert_eq!(names(&store.list_staged().unwrap()), ["a"]);
    store.publish(&["a".into()]).unwrap();
    assert_eq!(get(store, "a"), b"second");
}

fn removing_what_is_gone_is_no_error(store: &dyn Store) {
    put(store, "c", b"");
    store.publish(&["c".into()]).unwrap();
    store.remove("c").unwrap();
    store.remove("c").unwrap();
    put(store, "d", b"");
    store.discard("d").unwrap();
    store.discard("d").unwrap();
    assert_eq!(store.list_staged().unwrap(), []);
}

fn lines_are_appended(store: &dyn Store) {
    store.append("lines", "one").unwrap();
    store.append("lines", "two").unwrap();
    assert_eq!(get(store, "lines"), b"one\ntwo\n");
}

fn missing_objects_are_errors(store: &dyn Store) {
    assert!(store.read("missing").is_err());
    assert!(store.withdraw("missing").is_err());
    assert!(store.publish(&["missing".into()]).is_err());
}

fn put(store: &dyn Store, name: &str, content: &[u8]) {
    let mut staged = store.stage(name).unwrap();
    staged.write_all(content).unwrap();
    staged.finish().unwrap();
}

fn get(store: &dyn Store, name: &str) -> Vec<u8> {
    let mut content = Vec::new();
    store.read(name).unwrap().read_to_end(&mut content).unwrap();
    content
}

fn names(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(|object| object.name.as_str()).collect()
}
