//! Lists, keys and pages (consul-http.md §4, vectors 14-18).

use bytes::Bytes;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::{apply, flush, generate, machine, put};
use crate::command::Command;
use crate::entry::KvEntry;
use crate::machine::Machine;
use crate::read::PageLimit;
use crate::tests::memory::Memory;

const WHOLE: PageLimit = PageLimit { rows_max: usize::MAX, bytes_max: usize::MAX };

fn with(keys: &[&'static str]) -> Machine<Memory> {
    let mut machine = machine();
    for key in keys {
        apply(&mut machine, put(key, "v"));
    }
    machine
}

fn keys(machine: &Machine<Memory>, prefix: &str, separator: Option<&str>) -> Vec<String> {
    let keys = machine.keys(prefix.as_bytes(), separator.map(str::as_bytes), None, usize::MAX).unwrap().keys;
    keys.into_iter().map(|key| String::from_utf8(key.into()).unwrap()).collect()
}

/// Vectors 14 and 15.
#[test]
fn keys_are_cut_after_the_separator_and_listed_once() {
    let machine = with(&["bar", "baz", "foo/sub1", "foo/sub2", "zip"]);
    assert_eq!(keys(&machine, "", Some("/")), ["bar", "baz", "foo/", "zip"]);
    assert_eq!(keys(&machine, "", None), ["bar", "baz", "foo/sub1", "foo/sub2", "zip"]);
    assert!(keys(&with(&[]), "", None).is_empty());
}

/// Vector 17.
#[test]
fn only_a_separator_beyond_the_prefix_cuts_and_it_may_be_long() {
    let machine = with(&["a/1", "a/b/2", "a/b/3"]);
    assert_eq!(keys(&machine, "a/", Some("/")), ["a/1", "a/b/"]);
    assert_eq!(keys(&machine, "a", Some("/")), ["a/"]);
    assert_eq!(keys(&machine, "a/", Some("b/")), ["a/1", "a/b/"]);
    assert_eq!(keys(&machine, "a/", Some("")), ["a/1", "a/b/2", "a/b/3"]);
}

/// Vector 18: a prefix is bytes, not a folder.
#[test]
fn deleting_a_prefix_takes_every_key_that_starts_with_it() {
    let mut machine = with(&["p", "pq", "p/r", "q"]);
    apply(&mut machine, Command::DeletePrefix { prefix: "p".into() });
    assert_eq!(keys(&machine, "", None), ["q"]);
}

/// Vectors 1-3: a key's index is its own, a missing key's that of all keys, and never 0.
#[test]
fn the_index_of_a_key_is_its_own_and_of_a_missing_key_that_of_all_keys() {
    assert_eq!(machine().get(b"none").unwrap().index.0, 1);
    let machine = with(&["a", "b", "c"]);
    let read = machine.get(b"b").unwrap();
    assert_eq!(read.index, read.entry.unwrap().modify_index);
    assert_eq!(read.index.0, 2);
    assert_eq!(machine.get(b"none").unwrap().index.0, 3);
}

/// A page always brings at least one row, or a reader would ask for ever.
#[test]
fn a_row_larger_than_the_page_is_a_page_of_its_own() {
    let mut machine = with(&["a", "c"]);
    apply(&mut machine, Command::Put { key: "b".into(), value: vec![1; 10_000].into(), flags: 0 });
    let limit = PageLimit { rows_max: 10, bytes_max: 200 };
    let second = machine.list(b"", Some(b"a"), limit).unwrap();
    assert_eq!(second.entries.iter().map(|entry| &entry.key[..]).collect::<Vec<_>>(), [b"b"]);
    assert!(second.is_cut);
}

/// What `keys` must list, written the slow way.
fn expected_keys(stored: impl Iterator<Item = Bytes>, prefix: &[u8], separator: Option<&[u8]>) -> Vec<Bytes> {
    let mut expected: Vec<Bytes> = Vec::new();
    for key in stored.filter(|key| key.starts_with(prefix)) {
        let beyond = &key[prefix.len()..];
        let cut = separator.and_then(|separator| {
            let at = (0..beyond.len()).find(|at| beyond[*at..].starts_with(separator));
            at.map(|at| at + separator.len())
        });
        let listed = key.slice(..prefix.len() + cut.unwrap_or(beyond.len()));
        if !expected.contains(&listed) {
            expected.push(listed);
        }
    }
    expected
}

proptest! {
    /// api.md: pages put together are the whole, with and without a separator, wherever the memtable was flushed.
    #[test]
    fn pages_together_are_the_whole(
        stored in btree_set(generate::key(), 0..12), flush_after in 0_usize..12, rows_max in 1_usize..4,
        prefix in generate::prefix(), separator in option::of(vec(Just(b'/'), 1..3)),
    ) {
        let mut machine = machine();
        for (at, key) in stored.iter().enumerate() {
            apply(&mut machine, Command::Put { key: key.clone(), value: "v".into(), flags: 0 });
            if at == flush_after {
                flush(&mut machine);
            }
        }
        let separator = separator.as_deref();
        let expected = expected_keys(stored.into_iter(), &prefix, separator);
        let mut paged: Vec<Bytes> = Vec::new();
        loop {
            let page = machine.keys(&prefix, separator, paged.last().map(|key| &key[..]), rows_max).unwrap();
            prop_assert!(page.keys.len() <= rows_max);
            paged.extend(page.keys);
            if !page.is_cut { break }
        }
        prop_assert_eq!(&paged, &expected);
        prop_assert_eq!(machine.keys(&prefix, separator, None, usize::MAX).unwrap().keys, expected);

        let whole = machine.list(&prefix, None, WHOLE).unwrap().entries;
        let mut entries: Vec<KvEntry> = Vec::new();
        loop {
            let after = entries.last().map(|entry| entry.key.clone());
            let page = machine.list(&prefix, after.as_deref(), PageLimit { rows_max, bytes_max: usize::MAX }).unwrap();
            prop_assert!(!page.is_cut || page.index == machine.meta().keys.index);
            entries.extend(page.entries);
            if !page.is_cut { break }
        }
        prop_assert_eq!(entries, whole);
    }
}
