//! Snapshots: made once, resumed anywhere, checked whole, installed at one commit point.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use bytes::Bytes;
use fixture::{Member, append, commands, frozen, log_id, machine_at, persist, snapshot_meta};
use quorate_machine::{Base, Machine, Table};
use quorate_raft::{ClusterId, Index, LogId, Persist, Stored};
use quorate_store::{Directory, Disk, Opened, SnapshotReceiver, Snapshots, StoreError};

const CLUSTER: ClusterId = ClusterId(77);

/// The bytes of a snapshot of a member whose state stands at `last`, with large values so that it has many chunks.
fn snapshot(last: LogId) -> Bytes {
    let sender = Member::new();
    let opened = sender.open();
    let mut log = opened.log;
    log.commit(&[append(1, commands(last.term.0, 1, last.index.0))]).unwrap();
    let mut machine = machine_at(&opened.state, last.term.0, last.index.0);
    opened.state.flush(&frozen(&mut machine)).unwrap();
    let snapshots = Snapshots::new(&opened.directory);
    let file = snapshots.get(&opened.state, CLUSTER, last).unwrap().unwrap();
    file.read(0, usize::MAX).unwrap()
}

fn receive(opened: &Opened, last: LogId, bytes: &[u8]) -> Result<quorate_raft::SnapshotMeta, StoreError> {
    let mut receiver = SnapshotReceiver::begin(&opened.directory, last, bytes.len() as u64)?;
    for piece in bytes.chunks(10_000) {
        receiver.write(receiver.offset(), piece)?;
    }
    receiver.finish(&opened.directory)
}

fn install(sequence: u64, last: LogId) -> Persist {
    Persist {
        install: Some(snapshot_meta(last.term.0, last.index.0)),
        commit: last.index,
        ..persist(sequence)
    }
}

/// S23, K3, K4: a snapshot stands at the applied index of the transaction it is read from, with its
/// configuration; installed, it is the state, and the log begins after it.
#[test]
fn a_received_snapshot_becomes_the_state() {
    let last = log_id(2, 500);
    let bytes = snapshot(last);
    let member = Member::new();
    let mut opened = member.open();
    opened.log.commit(&[append(1, commands(1, 1, 20))]).unwrap();
    let meta = receive(&opened, last, &bytes).unwrap();
    assert_eq!(meta, snapshot_meta(2, 500));
    let committed = opened.log.commit(&[install(2, last)]).unwrap();
    assert_eq!(committed.installed, Some(last));
    let state = opened.directory.open_installed(last, &opened.state).unwrap();
    assert_eq!(state.durable_applied(), last);
    assert_eq!(Machine::open(state.clone()).unwrap().applied().index, 500);
    opened.log.commit(&[append(3, commands(2, 501, 510))]).unwrap();
    drop((opened, state));

    let reopened = member.crash_and_open(1);
    let Stored { previous, last: end, applied, configurations, .. } = reopened.stored;
    assert_eq!((previous, end, applied), (last, log_id(2, 510), last));
    assert_eq!(configurations.len(), 1);
    assert!(reopened.state.get(Table::Keys, b"k499").unwrap().is_some());
    assert_eq!(member.disk.names().unwrap(), ["log.redb", "state-500-2.redb"], "nothing is left over");
}

/// K17, K5: in place of a restore that cannot be made a snapshot becomes the state, and the log stays as it is. Power lost at any
/// call leaves the old state or the new one, and the new one once it was named.
#[test]
fn an_adopted_snapshot_becomes_the_state_and_the_log_stays() {
    let last = log_id(1, 30);
    let bytes = snapshot(last);
    for cut_at in 0..10_000 {
        let member = Member::new();
        let mut opened = member.open();
        opened.log.commit(&[append(1, commands(1, 1, 40))]).unwrap();
        member.disk.cut_power_after(cut_at);
        let named = receive(&opened, last, &bytes)
            .and_then(|_| opened.directory.adopt_snapshot(last))
            .and_then(|()| opened.log.name_restored(last));
        let name = named.ok().and_then(|committed| committed.named);
        let moved = name.as_ref().map(|name| opened.directory.open_named(name, &opened.state).is_ok());
        let is_alive = !member.disk.is_dead();
        drop(opened);

        let Stored { previous, last: end, applied, .. } = member.crash_and_open(cut_at).stored;
        assert_eq!((previous, end), (LogId::default(), log_id(1, 40)), "call {cut_at}: the log changed");
        let is_old = applied == LogId::default() && name.is_none();
        assert!(applied == last || is_old, "call {cut_at}: the state is at {applied}");
        if moved == Some(true) && is_alive {
            assert!(cut_at > 20, "power was never lost");
            let names = member.disk.names().unwrap();
            assert_eq!(names, ["log.redb", "state-30-1-restored.redb"], "nothing is left over");
            return;
        }
    }
    panic!("it never ended");
}

/// K5: a log that holds the snapshot's last entry keeps its tail, and a later configuration in it.
#[test]
fn a_log_that_holds_the_snapshots_entry_keeps_its_tail() {
    let last = log_id(2, 30);
    let bytes = snapshot(last);
    for (term, kept) in [(2, true), (1, false)] {
        let member = Member::new();
        let mut opened = member.open();
        let mut entries = commands(term, 1, 40);
        entries.push(fixture::configuration_entry(term, 41, &["a", "b", "c", "d"]));
        opened.log.commit(&[append(1, entries)]).unwrap();
        receive(&opened, last, &bytes).unwrap();
        opened.log.commit(&[install(2, last)]).unwrap();
        drop(opened);
        let stored = member.crash_and_open(term).stored;
        let configurations: Vec<_> = stored.configurations.iter().map(|found| found.index.0).collect();
        if kept {
            assert_eq!((stored.last, configurations), (log_id(2, 41), vec![1, 41]));
        } else {
            assert_eq!((stored.last, configurations), (last, vec![1]), "the whole log is dropped");
        }
    }
}

/// K7: one file serves all receivers; it is gone when the last is done, and a transfer resumes at any offset.
#[test]
fn a_snapshot_is_made_once_and_shared() {
    let sender = Member::new();
    let opened = sender.open();
    let mut log = opened.log;
    log.commit(&[append(1, commands(1, 1, 100))]).unwrap();
    let snapshots = Snapshots::new(&opened.directory);
    assert!(snapshots.get(&opened.state, CLUSTER, log_id(1, 50)).unwrap().is_none(), "nothing is flushed");
    let mut machine = machine_at(&opened.state, 1, 60);
    let flush = frozen(&mut machine);
    opened.state.flush(&flush).unwrap();
    machine.flushed(flush.applied());
    let one = snapshots.get(&opened.state, CLUSTER, log_id(1, 50)).unwrap().unwrap();
    fixture::put(&mut machine, 1, 61);
    opened.state.flush(&frozen(&mut machine)).unwrap();
    let two = snapshots.get(&opened.state, CLUSTER, log_id(1, 60)).unwrap().unwrap();
    assert_eq!(one.meta().last, log_id(1, 60), "the state went on, the snapshot did not");
    assert_eq!(two.meta().last, log_id(1, 60));
    assert_eq!(sender.disk.names().unwrap().len(), 3, "log, state and one snapshot");
    let newer = snapshots.get(&opened.state, CLUSTER, log_id(1, 61)).unwrap().unwrap();
    assert_eq!(newer.meta().last, log_id(1, 61));
    let whole = newer.read(0, usize::MAX).unwrap();
    assert_eq!(newer.read(100, 50).unwrap(), whole[100..150]);
    assert_eq!(newer.read(newer.bytes(), 50).unwrap(), Bytes::new());
    drop((one, two, newer));
    assert_eq!(sender.disk.names().unwrap(), ["log.redb", "state.redb"]);
}

/// K7: bytes that came twice are passed over, a gap is refused without harm, and the rest completes it.
#[test]
fn a_transfer_resumes_where_it_stopped() {
    let last = log_id(2, 400);
    let bytes = snapshot(last);
    let opened = Member::new().open();
    let mut receiver = SnapshotReceiver::begin(&opened.directory, last, bytes.len() as u64).unwrap();
    receiver.write(0, &bytes[..5_000]).unwrap();
    assert!(matches!(receiver.write(6_000, &bytes[6_000..]), Err(StoreError::SnapshotRefused { .. })));
    receiver.write(4_000, &bytes[4_000..7_000]).unwrap();
    receiver.write(0, &bytes[..100]).unwrap();
    assert_eq!(receiver.offset(), 7_000);
    assert!(!receiver.is_complete());
    receiver.write(7_000, &bytes[7_000..]).unwrap();
    assert!(matches!(receiver.write(bytes.len() as u64, b"more"), Err(StoreError::SnapshotRefused { .. })));
    receiver.finish(&opened.directory).unwrap();
}

/// K7: what came of one snapshot is no beginning of another, be it only of another length.
#[test]
fn an_interrupted_transfer_goes_on_only_for_the_same_snapshot() {
    let last = log_id(2, 400);
    let bytes = snapshot(last);
    let length = bytes.len() as u64;
    let opened = Member::new().open();
    let mut receiver = SnapshotReceiver::begin(&opened.directory, last, length).unwrap();
    receiver.write(0, &bytes[..5_000]).unwrap();
    assert!(receiver.is_of(last, length));
    for (other, length) in
        [(last, length + 1), (log_id(2, 401), length), (log_id(3, 400), length), (log_id(1, 400), length)]
    {
        assert!(!receiver.is_of(other, length), "{other} of {length} bytes");
    }
}

/// K5: whatever bit is wrong on the way, the snapshot is refused, nothing is left, and the member is unharmed.
#[test]
fn a_damaged_snapshot_is_refused_and_leaves_nothing() {
    let last = log_id(2, 50);
    let bytes = snapshot(last);
    let member = Member::new();
    let opened = member.open();
    let step = (bytes.len() / 60).max(1);
    for at in (0..bytes.len()).step_by(step) {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1;
        let error = receive(&opened, last, &damaged).unwrap_err();
        assert!(matches!(error, StoreError::SnapshotRefused { .. }), "byte {at}: {error}");
    }
    for len in (0..bytes.len()).step_by(step) {
        let error = receive(&opened, last, &bytes[..len]).unwrap_err();
        assert!(matches!(error, StoreError::SnapshotRefused { .. }), "{len} bytes: {error}");
    }
    assert!(receive(&opened, log_id(2, 51), &bytes).is_err(), "announced as another one");
    assert_eq!(member.disk.names().unwrap(), ["log.redb", "state.redb"]);
    receive(&opened, last, &bytes).unwrap();
}

#[test]
fn a_snapshot_of_another_cluster_or_of_the_past_is_refused() {
    let last = log_id(2, 50);
    let bytes = snapshot(last);
    let member = Member::new();
    let mut opened = member.open();
    opened
        .log
        .commit(&[Persist { cluster_id: Some(ClusterId(1)), ..append(1, commands(1, 1, 60)) }])
        .unwrap();
    let mut machine = machine_at(&opened.state, 1, 55);
    opened.state.flush(&frozen(&mut machine)).unwrap();
    assert!(receive(&opened, last, &bytes).unwrap_err().to_string().contains("our state is at 55"));
    drop((machine, opened));
    let opened = member.open();
    let later = log_id(2, 90);
    let error = receive(&opened, later, &snapshot(later)).unwrap_err();
    assert!(error.to_string().contains("is of cluster"), "{error}");
}

/// K8: a snapshot that would fill the volume is refused before the first byte.
#[test]
fn a_snapshot_without_room_is_refused_at_once() {
    let member = Member::new();
    let opened = member.open();
    member.disk.set_capacity(Some(20 * 1024 * 1024));
    let error = SnapshotReceiver::begin(&opened.directory, log_id(1, 9), 15 * 1024 * 1024).unwrap_err();
    assert!(error.is_refusal(), "{error}");
}

/// K5: a snapshot that comes again while the first is not named yet is the same state: discarding one does not take the
/// file from the other, and once it is the state nothing takes it.
#[test]
fn a_snapshot_that_came_twice_is_kept_while_one_of_them_may_be_wanted() {
    let last = log_id(2, 50);
    let member = Member::new();
    let mut opened = member.open();
    for _ in 0..3 {
        receive(&opened, last, &snapshot(last)).unwrap();
    }
    opened.directory.discard_snapshot(last).unwrap();
    opened.log.commit(&[install(1, last)]).unwrap();
    let state = opened.directory.open_installed(last, &opened.state).unwrap();
    opened.directory.discard_snapshot(last).unwrap();
    assert_eq!(member.disk.names().unwrap(), ["log.redb", "state-50-2.redb"]);
    assert_eq!(state.durable_applied(), last);
}

/// K5: of two snapshots that were named one after the other the first leaves nothing behind, even if it never became the
/// state.
#[test]
fn a_superseded_snapshot_is_removed() {
    let member = Member::new();
    let mut opened = member.open();
    for (sequence, last) in [(1, log_id(2, 50)), (2, log_id(2, 60))] {
        receive(&opened, last, &snapshot(last)).unwrap();
        opened.log.commit(&[install(sequence, last)]).unwrap();
    }
    opened.directory.open_installed(log_id(2, 60), &opened.state).unwrap();
    assert_eq!(member.disk.names().unwrap(), ["log.redb", "state-60-2.redb"]);
}

/// N3: what the core does not want is removed, and the state in use never is.
#[test]
fn an_unwanted_snapshot_is_removed() {
    let last = log_id(2, 50);
    let member = Member::new();
    let opened = member.open();
    receive(&opened, last, &snapshot(last)).unwrap();
    assert_eq!(member.disk.names().unwrap(), ["log.redb", "state-50-2.redb", "state.redb"]);
    opened.directory.discard_snapshot(last).unwrap();
    opened.directory.discard_snapshot(last).unwrap();
    assert_eq!(member.disk.names().unwrap(), ["log.redb", "state.redb"]);
}

/// K5: the log names only a state file that is there: otherwise the next start would find nothing.
#[test]
fn a_snapshot_that_was_never_received_is_not_installed() {
    let member = Member::new();
    let mut opened = member.open();
    let error = opened.log.commit(&[install(1, log_id(2, 50))]).unwrap_err();
    assert!(error.to_string().contains("state-50-2.redb was never received"), "{error}");
    drop(opened);
    member.open();
}

/// K5, N3: power is cut at every call from the first byte received to the removal of the old
/// state. After it, the member is wholly before or wholly after the install, nothing is left over, and an
/// acknowledged install is there.
#[test]
fn a_crash_at_any_call_of_an_install_leaves_the_old_or_the_new_state() {
    let last = log_id(2, 60);
    let bytes = snapshot(last);
    let mut found = std::collections::BTreeSet::new();
    for cut_at in 0..10_000 {
        for seed in 0..3 {
            let member = Member::new();
            let mut opened = member.open();
            opened.log.commit(&[append(1, commands(1, 1, 20))]).unwrap();
            let mut machine = machine_at(&opened.state, 1, 10);
            opened.state.flush(&frozen(&mut machine)).unwrap();
            member.disk.cut_power_after(cut_at);
            let is_received = receive(&opened, last, &bytes).is_ok();
            let is_installed = is_received && opened.log.commit(&[install(2, last)]).is_ok();
            let is_done = is_installed && opened.directory.open_installed(last, &opened.state).is_ok();
            drop((machine, opened));
            let reopened = member.crash_and_open(seed * 10_000 + cut_at);
            let Stored { applied, previous, last: end, .. } = reopened.stored;
            let old = (log_id(1, 10), log_id(0, 0), log_id(1, 20));
            let new = (last, last, last);
            let now = (applied, previous, end);
            assert!(now == old || now == new, "cut at {cut_at}, seed {seed}: {now:?}");
            assert!(
                !is_installed || now == new,
                "cut at {cut_at}, seed {seed}: an acknowledged install is lost"
            );
            let state_name = if now == new { "state-60-2.redb" } else { "state.redb" };
            assert_eq!(
                member.disk.names().unwrap(),
                ["log.redb", state_name],
                "cut at {cut_at}, seed {seed}"
            );
            found.insert((is_received, is_installed, now == new));
            if is_done && !member.disk.is_dead() && seed == 2 {
                assert!(found.contains(&(true, true, true)));
                assert!(found.contains(&(true, false, false)));
                assert!(cut_at > 20);
                return;
            }
        }
    }
    panic!("the install never ended");
}

/// K4, K5: after the swap, a flush that belonged to the old file goes nowhere.
#[test]
fn a_flush_of_the_replaced_state_is_refused() {
    let last = log_id(2, 60);
    let member = Member::new();
    let mut opened = member.open();
    opened.log.commit(&[append(1, commands(1, 1, 20))]).unwrap();
    let mut machine = machine_at(&opened.state, 1, 10);
    let flush = frozen(&mut machine);
    receive(&opened, last, &snapshot(last)).unwrap();
    opened.log.commit(&[install(2, last)]).unwrap();
    let state = opened.directory.open_installed(last, &opened.state).unwrap();
    assert!(matches!(opened.state.flush(&flush), Err(StoreError::Stopped)));
    assert!(
        matches!(state.flush(&flush), Err(StoreError::Refused { .. })),
        "and it is older than the new one"
    );
    assert_eq!(state.durable_applied().index, Index(60));
    let twice = Directory::open_on(&member.dynamic(), &fixture::raft_id());
    assert!(matches!(twice, Err(StoreError::Locked { .. })));
}
