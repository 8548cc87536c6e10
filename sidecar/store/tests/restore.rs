//! Restores on one member (K17): staged, built, named; after a crash at any call the old state or the new one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use fixture::{Member, append, commands, frozen, log_id, machine_at, put};
use quorate_machine::{ApiIndex, Base, Command, KeyRange, Machine, Position, Table, Tagged};
use quorate_raft::{ClusterId, Index, LogId, Stored, Term};
use quorate_store::{Disk, Opened, Snapshots, StagedFile, Stages, StateFile, StoreError};

/// The state in an archive of another cluster, at `last`, with keys k2 to k<last>.
fn archived(last: LogId) -> Bytes {
    let sender = Member::new();
    let opened = sender.open();
    let mut log = opened.log;
    log.commit(&[append(1, commands(last.term.0, 1, last.index.0))]).unwrap();
    let mut machine = machine_at(&opened.state, last.term.0, last.index.0);
    opened.state.flush(&frozen(&mut machine)).unwrap();
    let file = Snapshots::new(&opened.directory).get(&opened.state, ClusterId(77), last).unwrap().unwrap();
    file.read(0, usize::MAX).unwrap()
}

fn stage(stages: &Stages, bytes: &[u8], term: u64) -> Result<Arc<StagedFile>, StoreError> {
    let mut incoming = stages.begin(bytes.len() as u64)?;
    for piece in bytes.chunks(10_000) {
        incoming.write(piece)?;
    }
    incoming.finish(None, Term(term))
}

/// Entries 1 to 25 are in the log, the state is flushed up to 10 and applied up to 19; the restore is entry 20.
fn member_before() -> (Member, Opened, Machine<StateFile>) {
    let member = Member::new();
    let mut opened = member.open();
    opened.log.commit(&[append(1, commands(1, 1, 25))]).unwrap();
    let mut machine = machine_at(&opened.state, 1, 10);
    let flush = frozen(&mut machine);
    opened.state.flush(&flush).unwrap();
    machine.flushed(flush.applied());
    for index in 11..20 {
        put(&mut machine, 1, index);
    }
    (member, opened, machine)
}

const AT: LogId = LogId { term: Term(1), index: Index(20) };

fn restore(
    opened: &mut Opened,
    staged: &StagedFile,
    machine: &Machine<StateFile>,
) -> Result<StateFile, StoreError> {
    staged.build(&opened.directory, AT, &machine.here().unwrap())?;
    let named = opened.log.name_restored(AT)?.named.unwrap();
    opened.directory.open_named(&named, &opened.state)
}

/// All rows of the state.
fn rows(state: &StateFile) -> BTreeMap<(Table, Vec<u8>), Vec<u8>> {
    let mut rows = BTreeMap::new();
    for table in Table::ALL {
        state
            .scan(table, &KeyRange::all(), &mut |key, value| {
                rows.insert((table, key.to_vec()), value.to_vec());
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    rows
}

/// K17, B14: the keys are the archive's; cluster, configuration and log are ours; indexes only grow; appended to and
/// restarted, there is no gap.
#[test]
fn after_a_restore_the_log_goes_on_without_a_gap() {
    let bytes = archived(log_id(7, 500));
    let (member, mut opened, machine) = member_before();
    let stages = Stages::open(&opened.directory, Term(1)).unwrap();
    let staged = stage(&stages, &bytes, 1).unwrap();
    let before = machine.meta().clone();
    let state = restore(&mut opened, &staged, &machine).unwrap();
    assert_eq!(state.durable_applied(), AT);
    opened.log.commit(&[append(2, commands(1, 26, 30))]).unwrap();
    drop((machine, staged, stages, opened, state));

    let reopened = member.crash_and_open(1);
    let Stored { applied, previous, last, configurations, .. } = reopened.stored;
    assert_eq!((applied, previous, last), (AT, log_id(0, 0), log_id(1, 30)));
    assert_eq!(
        configurations.first().map(|found| found.index),
        Some(Index(1)),
        "the cluster's, not the archive's"
    );
    let mut machine = Machine::open(reopened.state.clone()).unwrap();
    assert_eq!(machine.meta().restore_epoch, before.restore_epoch + 1);
    assert_eq!(machine.meta().configuration, before.configuration);
    let restored = machine.get(b"k400").unwrap();
    assert_eq!(restored.index, ApiIndex(501), "above the archive's 500 and our 20");
    assert_eq!(machine.get(b"missing").unwrap().index, restored.index);
    // Not in the archive: a write that changes nothing would keep the index.
    let command = Command::Put { key: "own".into(), value: "v".into(), flags: 0 };
    machine.apply(Position { index: 21, term: 1 }, &Tagged { tag: None, command }.encode()).unwrap();
    assert_eq!(machine.get(b"own").unwrap().index, ApiIndex(502));
}

/// S25, K5, K17: power is cut at every call from the first byte staged to the removal of the old state. After it, the
/// member is wholly before or wholly after the restore, its log is whole, what was said to be staged is there, and going on
/// from there leads to the same state.
#[test]
fn a_crash_at_any_call_of_a_restore_leaves_the_old_or_the_new_state() {
    let bytes = archived(log_id(7, 60));
    let (order, expected) = {
        let (_member, mut opened, machine) = member_before();
        let stages = Stages::open(&opened.directory, Term(1)).unwrap();
        let staged = stage(&stages, &bytes, 1).unwrap();
        (staged.order(), rows(&restore(&mut opened, &staged, &machine).unwrap()))
    };
    let mut found = std::collections::BTreeSet::new();
    for cut_at in 0..10_000 {
        for seed in 0..3 {
            let (member, mut opened, machine) = member_before();
            let stages = Stages::open(&opened.directory, Term(1)).unwrap();
            member.disk.cut_power_after(cut_at);
            let staged = stage(&stages, &bytes, 1);
            let is_staged = staged.is_ok();
            let named = staged.and_then(|staged| {
                staged.build(&opened.directory, AT, &machine.here().unwrap())?;
                opened.log.name_restored(AT)
            });
            let is_named = named.is_ok();
            let is_done = named.is_ok_and(|committed| {
                opened.directory.open_named(&committed.named.unwrap(), &opened.state).is_ok()
            });
            let is_alive = !member.disk.is_dead();
            drop((machine, stages, opened));

            let mut reopened = member.crash_and_open(seed * 10_000 + cut_at);
            let Stored { applied, previous, last, .. } = reopened.stored.clone();
            let context = format!("cut at {cut_at}, seed {seed}");
            assert!(applied == log_id(1, 10) || applied == AT, "{context}: {applied}");
            assert_eq!((previous, last), (log_id(0, 0), log_id(1, 25)), "{context}: the log is whole");
            assert!(!is_named || applied == AT, "{context}: a restore that was said to be named is lost");
            let stages = Stages::open(&reopened.directory, Term(1)).unwrap();
            let again = stages.get(order, Term(1));
            assert!(
                !is_staged || again.is_some(),
                "{context}: an archive that was said to be staged is lost"
            );
            if applied == AT {
                assert_eq!(rows(&reopened.state), expected, "{context}: a mix");
            } else if let Some(staged) = again {
                let mut machine = Machine::open(reopened.state.clone()).unwrap();
                for index in 11..20 {
                    put(&mut machine, 1, index);
                }
                let state = restore(&mut reopened, &staged, &machine).unwrap();
                assert_eq!(rows(&state), expected, "{context}: replayed to another state");
            }
            found.insert((is_staged, is_named, applied == AT));
            if is_done && is_alive && seed == 2 {
                assert!(found.contains(&(true, true, true)));
                assert!(found.contains(&(true, false, false)));
                assert!(found.contains(&(false, false, false)));
                assert!(cut_at > 20);
                return;
            }
        }
    }
    panic!("the restore never ended");
}

/// K17: it stays while the log of this member has its entry, whoever else may need it; without an entry, until one of a
/// later term is applied. A restart remembers.
#[test]
fn a_staged_archive_stays_while_an_entry_may_name_it() {
    let member = Member::new();
    let opened = member.open();
    let stages = Stages::open(&opened.directory, Term(1)).unwrap();
    let named = stage(&stages, &archived(log_id(2, 40)), 1).unwrap().order();
    let forgotten = stage(&stages, &archived(log_id(2, 41)), 1).unwrap().order();
    let is_held = |stages: &Stages| [named, forgotten].map(|order| stages.get(order, Term(0)).is_some());
    stages.sweep(log_id(1, 90), Index(80)).unwrap();
    assert_eq!(is_held(&stages), [true, true], "proposed in term 1, either may stand in a log of term 1");
    stages.named_by(named, Index(95)).unwrap();
    stages.sweep(log_id(1, 90), Index(96)).unwrap();
    assert_eq!(is_held(&stages), [true, true], "not applied and synced yet");
    stages.sweep(log_id(2, 100), Index(95)).unwrap();
    assert_eq!(
        is_held(&stages),
        [true, false],
        "the other was never proposed; this one a member may still have to get"
    );
    drop((stages, opened));
    let opened = member.crash_and_open(3);
    let stages = Stages::open(&opened.directory, Term(2)).unwrap();
    stages.sweep(log_id(9, 100), Index(95)).unwrap();
    assert_eq!(is_held(&stages), [true, false], "a restart and later terms change nothing");
    stages.sweep(log_id(2, 100), Index(96)).unwrap();
    assert_eq!(is_held(&stages), [false, false]);
    assert_eq!(member.disk.names().unwrap(), ["log.redb", "state.redb"]);
}

/// S25: whatever a restore could fail for is found before it is proposed, and leaves nothing.
#[test]
fn a_damaged_state_is_not_staged_and_leaves_nothing() {
    let bytes = archived(log_id(2, 50));
    let member = Member::new();
    let opened = member.open();
    let stages = Stages::open(&opened.directory, Term(1)).unwrap();
    let step = (bytes.len() / 60).max(1);
    for at in (0..bytes.len()).step_by(step) {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1;
        let error = stage(&stages, &damaged, 1).unwrap_err();
        assert!(error.is_refusal(), "byte {at}: {error}");
    }
    let mut incoming = stages.begin(10).unwrap();
    assert!(incoming.write(&bytes[..11]).unwrap_err().is_refusal());
    drop(incoming);
    let order = stage(&stages, &bytes, 1).unwrap().order();
    let other = archived(log_id(2, 51));
    let mut incoming = stages.begin(other.len() as u64).unwrap();
    incoming.write(&other).unwrap();
    let error = incoming.finish(Some(order), Term(1)).unwrap_err();
    assert!(error.to_string().contains("another one than was asked for"), "{error}");
    assert_eq!(member.disk.names().unwrap().len(), 3, "log, state and the one that was staged");
}

/// K8: an archive that would fill the volume is refused before the first byte.
#[test]
fn an_archive_without_room_is_refused_at_once() {
    let member = Member::new();
    let opened = member.open();
    let stages = Stages::open(&opened.directory, Term(1)).unwrap();
    member.disk.set_capacity(Some(600 * 1024 * 1024));
    let error = stages.begin(200 * 1024 * 1024).unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("grow the volume claim"), "{error}");
}

/// K5: the log names only a file that is there, for an entry it has, and never goes back to an earlier state.
#[test]
fn only_a_state_that_was_built_for_an_entry_of_the_log_is_named() {
    let (_member, mut opened, machine) = member_before();
    let error = opened.log.name_restored(log_id(1, 26)).unwrap_err();
    assert!(error.to_string().contains("the log ends at"), "{error}");
    let error = opened.log.name_restored(AT).unwrap_err();
    assert!(error.to_string().contains("never received"), "{error}");
    let stages = Stages::open(&opened.directory, Term(1)).unwrap();
    let staged = stage(&stages, &archived(log_id(7, 60)), 1).unwrap();
    restore(&mut opened, &staged, &machine).unwrap();
    assert_eq!(opened.log.name_restored(AT).unwrap().installed, None, "it is the state already");
    assert_eq!(opened.log.name_restored(log_id(1, 5)).unwrap().installed, None, "the state is later");
}
