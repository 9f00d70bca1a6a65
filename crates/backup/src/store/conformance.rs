//! What every store must do, as two suites that each implementation runs in its tests: [`any`] for every [`Store`],
//! [`local`] for every [`LocalStore`]. They panic at the first failed assertion.

#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::io::{self, Read};
use std::time::Duration;

use super::lock::Holder;
use super::traits::{LocalStore, Object, Store};
use crate::error::{Error, ErrorKind};

/// Runs the suite of [`Store`] on a store without objects, and leaves the objects `a` and `b` in it.
pub fn any(store: &dyn Store) {
    assert_eq!(store.list("").unwrap(), []);
    what_is_put_can_be_read_whole_and_in_part(store);
    what_was_put_never_changes(store);
    half_an_object_is_none(store);
    a_list_has_a_prefix_and_an_order(store);
    removing_what_is_gone_is_no_error(store);
    missing_objects_are_errors(store);
    assert_eq!(names(&store.list("").unwrap()), ["a", "b"]);
}

/// Runs both suites on a local store that doesn't exist yet.
pub fn local(store: &dyn LocalStore) {
    assert_eq!((store.list("").unwrap(), store.list_staged().unwrap()), (vec![], vec![]));
    store.prepare().unwrap();
    any(store);
    what_is_staged_is_invisible_until_published(store);
    what_is_dropped_unfinished_is_gone(store);
    publishing_replaces_and_takes_many(store);
    withdrawing_is_the_way_back(store);
    discarding_what_is_gone_is_no_error(store);
    lines_are_appended(store);
    a_state_is_kept_beside_the_objects(store);
    missing_staged_objects_are_errors(store);
    one_at_a_time_has_the_lock(store);
    store.prepare().unwrap();
    assert_eq!(names(&store.list("").unwrap()), ["a", "b", "lines"], "preparing again changes nothing");
}

fn what_is_put_can_be_read_whole_and_in_part(store: &dyn Store) {
    store.put("a", &mut &b"first"[..]).unwrap();
    assert_eq!(store.list("").unwrap(), [Object { name: "a".into(), bytes: 5 }]);
    assert_eq!(get(store, "a"), b"first");
    for (range, expected) in [(0..5, &b"first"[..]), (1..3, b"ir"), (3..99, b"st"), (5..9, b""), (99..100, b"")] {
        assert_eq!(store.read_range("a", range.clone()).unwrap(), expected, "{range:?}");
    }
}

fn what_was_put_never_changes(store: &dyn Store) {
    let error = store.put("a", &mut &b"second"[..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(get(store, "a"), b"first");
}

fn half_an_object_is_none(store: &dyn Store) {
    let mut half = b"half".chain(Broken);
    assert!(store.put("half", &mut half).is_err());
    assert!(store.read("half").is_err());
    assert_eq!(names(&store.list("").unwrap()), ["a"]);
}

/// A source that fails.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the source is broken"))
    }
}

fn a_list_has_a_prefix_and_an_order(store: &dyn Store) {
    for name in ["manifest_2.json", "b", "manifest_1.json", "manifest"] {
        store.put(name, &mut io::repeat(7).take(1 << 20)).unwrap();
    }
    assert_eq!(names(&store.list("").unwrap()), ["a", "b", "manifest", "manifest_1.json", "manifest_2.json"]);
    assert_eq!(names(&store.list("manifest_").unwrap()), ["manifest_1.json", "manifest_2.json"]);
    assert_eq!(store.list("c").unwrap(), []);
    assert_eq!(get(store, "b"), vec![7; 1 << 20]);
}

fn removing_what_is_gone_is_no_error(store: &dyn Store) {
    for name in ["manifest", "manifest_1.json", "manifest_2.json", "manifest", "never"] {
        store.remove(name).unwrap();
    }
    store.put("manifest", &mut io::empty()).unwrap();
    assert_eq!(get(store, "manifest"), b"", "a name is free again");
    store.remove("manifest").unwrap();
}

fn missing_objects_are_errors(store: &dyn Store) {
    assert!(store.read("missing").is_err());
    assert!(store.read_range("missing", 0..1).is_err());
}

fn what_is_staged_is_invisible_until_published(store: &dyn LocalStore) {
    stage(store, "c", b"first");
    assert_eq!(names(&store.list("").unwrap()), ["a", "b"]);
    assert_eq!(names(&store.list_staged().unwrap()), ["c"]);
    let mut staged = String::new();
    store.read_staged("c").unwrap().read_to_string(&mut staged).unwrap();
    assert_eq!(staged, "first");
    store.publish(&["c".into()]).unwrap();
    assert!(store.read_staged("c").is_err());
    assert_eq!(names(&store.list("").unwrap()), ["a", "b", "c"]);
    assert_eq!(store.list_staged().unwrap(), []);
    assert_eq!(get(store, "c"), b"first");
    store.remove("c").unwrap();
}

fn what_is_dropped_unfinished_is_gone(store: &dyn LocalStore) {
    let mut staged = store.stage("b").unwrap();
    staged.write_all(b"half").unwrap();
    drop(staged);
    assert_eq!(store.list_staged().unwrap(), []);
}

fn publishing_replaces_and_takes_many(store: &dyn LocalStore) {
    stage(store, "a", b"second");
    stage(store, "b", &vec![8; 1 << 20]);
    store.publish(&["a".into(), "b".into()]).unwrap();
    assert_eq!(names(&store.list("").unwrap()), ["a", "b"]);
    assert_eq!(get(store, "a"), b"second");
    assert_eq!(get(store, "b"), vec![8; 1 << 20]);
}

fn withdrawing_is_the_way_back(store: &dyn LocalStore) {
    store.withdraw("a").unwrap();
    assert_eq!(names(&store.list("").unwrap()), ["b"]);
    assert_eq!(names(&store.list_staged().unwrap()), ["a"]);
    store.publish(&["a".into()]).unwrap();
    assert_eq!(get(store, "a"), b"second");
}

fn discarding_what_is_gone_is_no_error(store: &dyn LocalStore) {
    stage(store, "d", b"");
    store.discard("d").unwrap();
    store.discard("d").unwrap();
    assert_eq!(store.list_staged().unwrap(), []);
}

fn lines_are_appended(store: &dyn LocalStore) {
    store.append("lines", "one").unwrap();
    store.append("lines", "two").unwrap();
    assert_eq!(get(store, "lines"), b"one\ntwo\n");
}

fn a_state_is_kept_beside_the_objects(store: &dyn LocalStore) {
    assert_eq!(store.read_state("notes", 5).unwrap(), None);
    for content in [&b"first"[..], b""] {
        store.write_state("notes", content).unwrap();
        assert_eq!(store.read_state("notes", 5).unwrap(), Some(content.to_vec()));
    }
    store.write_state("notes", b"longer").unwrap();
    assert_eq!(store.read_state("notes", 5).unwrap(), None, "whoever can write there fills no memory");
    assert!(!names(&store.list("").unwrap()).contains(&"notes"));
}

fn missing_staged_objects_are_errors(store: &dyn LocalStore) {
    assert!(store.withdraw("missing").is_err());
    assert!(store.publish(&["missing".into()]).is_err());
}

fn one_at_a_time_has_the_lock(store: &dyn LocalStore) {
    let holder = |command: &str| Holder { pid: 1, host: "box".into(), command: command.into(), since: "noon".into() };
    let mut first = Some(store.lock(&holder("backup"), Duration::ZERO, &mut |_| Ok(())).unwrap());
    let second = store.lock(&holder("rotate"), Duration::ZERO, &mut |_| Ok(()));
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Locked);
    let told_to_stop = store.lock(&holder("rotate"), Duration::from_secs(60), &mut |_| Err(Error::interrupted()));
    assert_eq!(told_to_stop.unwrap_err().kind(), ErrorKind::Interrupted);
    store
        .lock(&holder("rotate"), Duration::from_secs(60), &mut |_| {
            first = None;
            Ok(())
        })
        .unwrap();
}

fn stage(store: &dyn LocalStore, name: &str, content: &[u8]) {
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
