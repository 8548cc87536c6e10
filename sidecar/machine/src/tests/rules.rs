//! Single rules of keys, transactions, indexes and settings, each as a story.

use bytes::Bytes;
use quorate_autopilot::SettingsChange;

use super::{apply, flush, machine, next, put};
use crate::base::{KeyRange, Table, prefix_end};
use crate::command::{ApiIndex, Command, Owner, SettingsMode, TxnOp};
use crate::limits::{TOMBSTONES_DROPPED_PER_COMMAND, TOMBSTONES_MAX, TXN_RESULT_BYTES_MAX, VALUE_BYTES_MAX};
use crate::machine::Machine;
use crate::outcome::{Outcome, TxnFailureReason};
use crate::servers::RememberedServer;
use crate::tests::memory::Memory;

fn index_of(machine: &Machine<Memory>, key: &str) -> ApiIndex {
    machine.get(key.as_bytes()).unwrap().entry.unwrap().modify_index
}

fn value_of(machine: &Machine<Memory>, key: &str) -> Option<Bytes> {
    machine.get(key.as_bytes()).unwrap().entry.map(|entry| entry.value)
}

/// Vector 5: equal writes keep the index, others raise it and keep the create index.
#[test]
fn a_write_that_changes_nothing_keeps_the_index() {
    let mut machine = machine();
    apply(&mut machine, put("a", "x"));
    let first = index_of(&machine, "a");
    assert_eq!(apply(&mut machine, put("a", "x")), Outcome::Written { modify_index: first });
    assert_eq!(index_of(&machine, "a"), first);
    apply(&mut machine, put("a", "y"));
    let entry = machine.get(b"a").unwrap().entry.unwrap();
    assert_eq!(entry.create_index, first);
    assert!(entry.modify_index > first);
    apply(&mut machine, Command::Put { key: "a".into(), value: "y".into(), flags: 1 });
    assert!(index_of(&machine, "a") > entry.modify_index, "flags count as a change");
}

/// Vectors 9 and 10.
#[test]
fn conditions_compare_the_modify_index_and_zero_means_missing() {
    let mut machine = machine();
    let set = |value: &'static str, expected| Command::CompareAndSet {
        key: "c".into(),
        value: value.into(),
        flags: 0,
        expected: ApiIndex(expected),
    };
    apply(&mut machine, put("other", "x"));
    assert!(matches!(apply(&mut machine, set("1", 0)), Outcome::Written { .. }));
    let index = index_of(&machine, "c");
    assert_eq!(apply(&mut machine, set("2", 0)), Outcome::Mismatch { modify_index: Some(index) });
    assert_eq!(apply(&mut machine, set("2", 1)), Outcome::Mismatch { modify_index: Some(index) });
    assert!(matches!(apply(&mut machine, set("2", index.0)), Outcome::Written { .. }));
    let missing =
        Command::CompareAndSet { key: "zz".into(), value: "".into(), flags: 0, expected: ApiIndex(9) };
    assert_eq!(apply(&mut machine, missing), Outcome::Mismatch { modify_index: None });

    let index = index_of(&machine, "c");
    let delete = |expected| Command::Delete { key: "c".into(), expected: Some(ApiIndex(expected)) };
    assert_eq!(apply(&mut machine, delete(index.0 - 1)), Outcome::Mismatch { modify_index: Some(index) });
    assert_eq!(apply(&mut machine, delete(0)), Outcome::Mismatch { modify_index: Some(index) });
    assert_eq!(apply(&mut machine, delete(index.0)), Outcome::Deleted { existed: true });
    assert_eq!(apply(&mut machine, delete(7)), Outcome::Deleted { existed: false });
}

/// Vector 62: every failing operation is named; nothing of the transaction remains.
#[test]
fn a_failed_transaction_names_every_failure_and_leaves_nothing() {
    let mut machine = machine();
    apply(&mut machine, put("b", "old"));
    let keys = machine.meta().keys;
    let outcome = apply(
        &mut machine,
        Command::Txn(vec![
            TxnOp::Set { key: "a".into(), value: "1".into(), flags: 0 },
            TxnOp::Cas { key: "b".into(), value: "2".into(), flags: 0, expected: ApiIndex(999) },
            TxnOp::DeleteTree { prefix: "".into() },
            TxnOp::Get { key: "missing".into() },
            TxnOp::CheckNotExists { key: "b".into() },
        ]),
    );
    let Outcome::TxnFailed(failures) = outcome else { panic!("applied: {outcome:?}") };
    let texts: Vec<(u32, String)> =
        failures.iter().map(|failure| (failure.op_index, failure.reason.to_string())).collect();
    assert_eq!(
        texts,
        [
            (1, "failed to set key \"b\", index is stale".to_owned()),
            (3, "key \"missing\" doesn't exist".to_owned()),
        ],
        "the last operation sees the deletion before it"
    );
    assert_eq!(value_of(&machine, "a"), None);
    assert_eq!(value_of(&machine, "b"), Some("old".into()));
    assert_eq!(machine.meta().keys, keys, "no index moved and no tombstone stayed");
}

/// Vectors 60, 64-66, 68.
#[test]
fn a_transaction_sees_its_own_effects_and_answers_in_order() {
    let mut machine = machine();
    let outcome = apply(
        &mut machine,
        Command::Txn(vec![
            TxnOp::Set { key: "p/a".into(), value: "1".into(), flags: 3 },
            TxnOp::Get { key: "p/a".into() },
            TxnOp::GetOrEmpty { key: "none".into() },
            TxnOp::GetTree { prefix: "p/".into() },
            TxnOp::Delete { key: "p/a".into() },
            TxnOp::CheckNotExists { key: "p/a".into() },
            TxnOp::GetTree { prefix: "p/".into() },
        ]),
    );
    let Outcome::Txn(results) = outcome else { panic!("not applied: {outcome:?}") };
    let shown: Vec<(&[u8], &[u8], u64)> =
        results.iter().map(|entry| (&entry.key[..], &entry.value[..], entry.modify_index.0)).collect();
    assert_eq!(
        shown,
        [(&b"p/a"[..], &b""[..], 1), (b"p/a", b"1", 1), (b"none", b"", 0), (b"p/a", b"1", 1)],
        "set without its value, get, get-or-empty, get-tree; deletions give none"
    );
    assert_eq!(value_of(&machine, "p/a"), None);
}

/// K25: what a transaction may answer is bounded, and beyond it nothing is applied.
#[test]
fn a_transaction_with_too_large_results_is_not_applied() {
    let mut machine = machine();
    for at in 0..=TXN_RESULT_BYTES_MAX / VALUE_BYTES_MAX {
        let key = Bytes::from(format!("big/{at}"));
        apply(&mut machine, Command::Put { key, value: vec![0; VALUE_BYTES_MAX].into(), flags: 0 });
    }
    let set = TxnOp::Set { key: "a".into(), value: "1".into(), flags: 0 };
    let outcome = apply(&mut machine, Command::Txn(vec![set, TxnOp::GetTree { prefix: "big/".into() }]));
    let Outcome::TxnFailed(failures) = outcome else { panic!("applied") };
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].reason, TxnFailureReason::ResultTooLarge { limit: TXN_RESULT_BYTES_MAX });
    assert_eq!(value_of(&machine, "a"), None);
}

/// A transaction that only reads is answered without an entry, and leaves the state alone.
#[test]
fn a_transaction_that_only_reads_needs_no_entry() {
    let mut machine = machine();
    apply(&mut machine, put("a", "1"));
    let applied = machine.applied();
    let get = |key: &'static str| TxnOp::Get { key: key.into() };
    let Outcome::Txn(results) = machine.read_txn(&[get("a")]).unwrap() else { panic!("failed") };
    assert_eq!(results[0].value, "1");
    assert!(matches!(machine.read_txn(&[get("a"), get("b")]).unwrap(), Outcome::TxnFailed(_)));
    assert_eq!(machine.applied(), applied);
}

/// consul-http.md §3, vector 37: a longer prefix hears of a tree deletion although a tombstone lay under it before.
#[test]
fn deleting_a_tree_raises_the_index_of_prefixes_above_and_below_it() {
    let mut machine = machine();
    apply(&mut machine, put("a/b/1", "x"));
    apply(&mut machine, put("a/b/2", "x"));
    apply(&mut machine, Command::Delete { key: "a/b/1".into(), expected: None });
    let before = machine.prefix_index(b"a/b/").unwrap();
    apply(&mut machine, put("z", "x"));
    assert_eq!(machine.prefix_index(b"a/b/").unwrap(), before, "an unrelated write wakes nobody");
    apply(&mut machine, Command::DeletePrefix { prefix: "a/".into() });
    for prefix in ["a", "a/", "a/b/", "a/b/2"] {
        assert!(machine.prefix_index(prefix.as_bytes()).unwrap() > before, "{prefix}");
    }
}

/// Tombstones are bounded, and dropping the oldest lets no index fall.
#[test]
fn dropped_tombstones_become_a_floor_under_every_prefix() {
    let mut machine = machine();
    let key = |at: u64| Bytes::from(format!("k/{at:07}"));
    apply(&mut machine, put("k/", "stays"));
    let count = TOMBSTONES_MAX + 2 * TOMBSTONES_DROPPED_PER_COMMAND as u64;
    let mut last = machine.prefix_index(b"k/").unwrap();
    for at in 0..count {
        apply(&mut machine, Command::Put { key: key(at), value: "v".into(), flags: 0 });
        apply(&mut machine, Command::Delete { key: key(at), expected: None });
        if at % 20_000 == 0 {
            flush(&mut machine);
        }
        if at % 10_000 == 0 || at + 3 > count {
            let index = machine.prefix_index(b"k/").unwrap();
            assert!(index > last, "{index} after {last}");
            last = index;
        }
    }
    assert!(machine.meta().keys.tombstones <= TOMBSTONES_MAX);
    let floor = machine.meta().keys.tombstone_floor;
    assert!(floor > ApiIndex(0));
    assert!(machine.prefix_index(&key(0)).unwrap() >= floor, "its tombstone was dropped long ago");
    apply(&mut machine, Command::Put { key: key(0), value: "back".into(), flags: 0 });
    assert_eq!(machine.prefix_index(&key(0)).unwrap(), machine.meta().keys.index);
    flush(&mut machine);
    let rows = machine.base().rows()[&Table::TombstoneOrder].len() as u64;
    assert_eq!(rows, machine.meta().keys.tombstones, "the count is the number of rows");
}

/// A20: partial updates keep the other fields, a replacement does not, a stale condition changes nothing.
#[test]
fn settings_merge_replace_and_compare() {
    let mut machine = machine();
    let set = |trailing, quorum, mode, expected| Command::SetAutopilot {
        change: SettingsChange {
            max_trailing_logs: trailing,
            min_quorum: quorum,
            ..SettingsChange::default()
        },
        mode,
        expected,
    };
    let never = Some(ApiIndex::MISSING);
    let first = apply(&mut machine, set(Some(1), None, SettingsMode::Merge, never));
    assert!(matches!(first, Outcome::Written { .. }), "{first:?}");
    let first = machine.meta().autopilot.modify_index;
    let stale = apply(&mut machine, set(Some(2), None, SettingsMode::Merge, never));
    assert_eq!(stale, Outcome::Mismatch { modify_index: Some(first) });
    apply(&mut machine, set(None, Some(3), SettingsMode::Merge, Some(first)));
    let settings = &machine.meta().autopilot.settings;
    assert_eq!((settings.max_trailing_logs, settings.min_quorum), (Some(1), Some(3)));
    apply(&mut machine, set(None, Some(5), SettingsMode::Replace, None));
    let record = &machine.meta().autopilot;
    assert_eq!((record.settings.max_trailing_logs, record.settings.min_quorum), (None, Some(5)));
    assert_eq!(record.create_index, first);
}

/// A28: what a server said last is remembered while it is a member, whoever leads; strangers are not.
#[test]
fn what_members_said_is_remembered_until_they_leave() {
    let mut machine = machine();
    let owners = |names: &[&str]| names.iter().map(|name| Owner((*name).to_owned())).collect::<Vec<_>>();
    let server = |name: &str, zone: &str| RememberedServer {
        owner: Owner(name.to_owned()),
        zone: zone.to_owned(),
        ..RememberedServer::default()
    };
    let era = crate::meta::Era::default();
    machine.apply_configuration(next(&machine), era, owners(&["b", "a"]), bytes::Bytes::new());
    apply(&mut machine, Command::RememberServers(vec![server("b", "z2"), server("stranger", "z9")]));
    apply(&mut machine, Command::RememberServers(vec![server("a", "z1")]));
    assert_eq!(machine.meta().servers, [server("a", "z1"), server("b", "z2")]);
    apply(&mut machine, Command::RememberServers(vec![server("b", "z3")]));
    assert_eq!(machine.meta().servers, [server("a", "z1"), server("b", "z3")]);
    machine.apply_configuration(next(&machine), era, owners(&["b", "c"]), bytes::Bytes::new());
    assert_eq!(machine.meta().servers, [server("b", "z3")]);
}

/// The limits of what autopilot keeps are checked before it is an entry (P10).
#[test]
fn long_texts_of_autopilot_are_refused() {
    let long = "x".repeat(crate::limits::AUTOPILOT_TEXT_BYTES_MAX + 1);
    let server = RememberedServer { zone: long.clone(), ..RememberedServer::default() };
    let change = SettingsChange { redundancy_zone_tag: Some(long.clone()), ..SettingsChange::default() };
    let set = Command::SetAutopilot { change, mode: SettingsMode::Merge, expected: None };
    for (command, what) in
        [(Command::RememberServers(vec![server]), "the zone"), (set, "redundancy_zone_tag")]
    {
        let expected = crate::Invalid::AutopilotTextTooLong { what, bytes: long.len() };
        assert_eq!(command.validate(), Err(expected));
    }
    let many = vec![RememberedServer::default(); crate::limits::SERVERS_REMEMBERED_MAX + 1];
    let servers = many.len();
    assert_eq!(Command::RememberServers(many).validate(), Err(crate::Invalid::TooManyServers { servers }));
}

/// The range of a prefix is exact at the edges of the byte order.
#[test]
fn a_prefix_of_the_highest_bytes_has_no_end() {
    assert_eq!(prefix_end(b"a"), Some("b".into()));
    assert_eq!(prefix_end(b"a\xff\xff"), Some("b".into()));
    assert_eq!(prefix_end(b"\xff"), None);
    assert_eq!(prefix_end(b""), None);
    assert!(!KeyRange::prefix(b"").is_empty());
    assert!(KeyRange { start: "b".into(), end: Some("a".into()) }.is_empty());
}
