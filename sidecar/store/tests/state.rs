//! The state file: a flush is one transaction at one index, never ahead of the log.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::ops::ControlFlow;

use bytes::Bytes;
use fixture::{Member, append, commands, configuration, frozen, log_id, machine_at, put};
use quorate_machine::{Base, Command, KeyRange, Machine, Position, Table, Tagged};
use quorate_raft::Index;
use quorate_store::{Call, StateFile, StoreError};

fn keys(state: &StateFile, range: &KeyRange) -> Vec<Bytes> {
    let mut keys = Vec::new();
    state
        .scan(Table::Keys, range, &mut |key, _| {
            keys.push(Bytes::copy_from_slice(key));
            ControlFlow::Continue(())
        })
        .unwrap();
    keys
}

/// K4: keys, applied index and configuration come back together, as of one index.
#[test]
fn a_flush_brings_everything_of_one_index() {
    let member = Member::new();
    let opened = member.open();
    let mut log = opened.log;
    log.commit(&[append(1, commands(3, 1, 10))]).unwrap();
    let mut machine = machine_at(&opened.state, 3, 8);
    let flush = frozen(&mut machine);
    assert_eq!(opened.state.flush(&flush).unwrap(), log_id(3, 8));
    machine.flushed(flush.applied());
    drop((log, machine, opened.state, opened.directory));

    let opened = member.crash_and_open(1);
    assert_eq!(opened.stored.applied, log_id(3, 8));
    assert_eq!(opened.stored.configurations.len(), 1);
    assert_eq!(opened.stored.configurations[0].index, Index(1));
    assert_eq!(opened.stored.configurations[0].configuration, configuration(&["a", "b", "c"]));
    let machine = Machine::open(opened.state.clone()).unwrap();
    assert_eq!(machine.applied(), Position { index: 8, term: 3 });
    assert_eq!(keys(&opened.state, &KeyRange::prefix(b"k")), ["k2", "k3", "k4", "k5", "k6", "k7", "k8"]);
    assert_eq!(keys(&opened.state, &KeyRange::prefix(b"k9")), Vec::<Bytes>::new());
}

/// K4: a memtable is flushed only when its entries are durable in the log: otherwise a crash could leave a state
/// with entries that no log holds.
#[test]
fn a_flush_ahead_of_the_log_is_refused_and_can_be_retried() {
    let member = Member::new();
    let opened = member.open();
    let mut log = opened.log;
    log.commit(&[append(1, commands(1, 1, 5))]).unwrap();
    let mut machine = machine_at(&opened.state, 1, 6);
    let flush = frozen(&mut machine);
    let error = opened.state.flush(&flush).unwrap_err();
    assert!(
        matches!(error, StoreError::FlushAheadOfLog { applied: Index(6), persisted: Index(5) }),
        "{error}"
    );
    assert!(error.is_refusal());
    log.commit(&[append(2, commands(1, 6, 6))]).unwrap();
    assert_eq!(opened.state.flush(&flush).unwrap(), log_id(1, 6));
}

/// K4: power cut at every call of a flush leaves the flush before it or this one, whole; and the log is replayed
/// from exactly there.
#[test]
fn a_crash_at_any_call_of_a_flush_leaves_one_of_two_states() {
    let mut found_both = std::collections::BTreeSet::new();
    for cut_at in 0..10_000 {
        let member = Member::new();
        let opened = member.open();
        let mut log = opened.log;
        log.commit(&[append(1, commands(1, 1, 300))]).unwrap();
        let mut machine = machine_at(&opened.state, 1, 100);
        let flush = frozen(&mut machine);
        opened.state.flush(&flush).unwrap();
        machine.flushed(flush.applied());
        for index in 101..=300 {
            put(&mut machine, 1, index);
        }
        let delete = Command::DeletePrefix { prefix: Bytes::from_static(b"k1") };
        let delete = Tagged { tag: None, command: delete }.encode();
        // The prefix goes within the same flush: cleared ranges and rows are one transaction.
        machine.apply(Position { index: 301, term: 1 }, &delete).unwrap();
        log.commit(&[append(2, commands(1, 301, 301))]).unwrap();
        let flush = frozen(&mut machine);
        member.disk.cut_power_after(cut_at);
        let is_flushed = opened.state.flush(&flush).is_ok();
        drop((log, machine, opened.state, opened.directory));
        let state = member.crash_and_open(cut_at).state;
        let applied = state.durable_applied();
        let count = keys(&state, &KeyRange::all()).len();
        let before = (log_id(1, 100), 99);
        let after = (log_id(1, 301), 299 - 10 - 100);
        assert!(
            (applied, count) == before || (applied, count) == after,
            "cut at {cut_at}: {applied}, {count} keys"
        );
        assert!(!is_flushed || applied == after.0, "cut at {cut_at}: an acknowledged flush is lost");
        found_both.insert(applied);
        if is_flushed {
            break;
        }
    }
    assert_eq!(found_both.len(), 2);
}

/// A flush of many rows reaches the file in few merged writes and two syncs (quick repair).
#[test]
fn a_flush_is_few_writes_and_two_syncs() {
    let member = Member::new();
    let opened = member.open();
    let mut log = opened.log;
    log.commit(&[append(1, commands(1, 1, 1_000))]).unwrap();
    let mut machine = machine_at(&opened.state, 1, 1_000);
    let flush = frozen(&mut machine);
    let (syncs, growths) = (member.disk.count(Call::Sync), member.disk.count(Call::SetLen));
    opened.state.flush(&flush).unwrap();
    let growths = member.disk.count(Call::SetLen) - growths;
    assert_eq!(member.disk.count(Call::Sync) - syncs, 2 + growths);
}
