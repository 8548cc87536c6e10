//! The log: one transaction and one fdatasync per commit, truncation, compaction, reads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use fixture::{
    Member, append, command, commands, configuration_entry, frozen, log_id, machine_at, persist, vote,
};
use quorate_machine::{Machine, Position};
use quorate_raft::{Entry, HardState, Index, Payload, Persist, Sequence, Term};
use quorate_store::{Call, StoreError, limits};

fn range(first: u64, end: u64) -> std::ops::Range<Index> {
    Index(first)..Index(end)
}

/// raft.md §7, 5 and 23; O4, K6: whatever a commit holds (vote, truncation, entries, commit index, and however many
/// requests), the file is synced once. Only a commit that must grow the file syncs once more.
#[test]
fn a_commit_of_everything_costs_one_fdatasync() {
    let member = Member::new();
    let mut log = member.open().log;
    log.commit(&[append(1, commands(1, 1, 100))]).unwrap();
    let (syncs, growths) = (member.disk.count(Call::Sync), member.disk.count(Call::SetLen));
    let group = [
        vote(2, 2, "a"),
        append(3, commands(2, 101, 110)),
        Persist { truncate_from: Some(Index(50)), commit: Index(40), ..append(4, commands(3, 50, 60)) },
    ];
    let committed = log.commit(&group).unwrap();
    assert_eq!(committed.sequence, Some(Sequence(4)));
    assert_eq!(member.disk.count(Call::SetLen), growths, "the file did not have to grow");
    assert_eq!(member.disk.count(Call::Sync), syncs + 1);
}

/// Neighbouring pages are merged, so a commit is few writes, not one for each page.
#[test]
fn pages_are_merged_into_few_writes() {
    let member = Member::new();
    let mut log = member.open().log;
    log.commit(&[append(1, commands(1, 1, 10))]).unwrap();
    let writes = member.disk.count(Call::Write);
    let big = "x".repeat(4_000);
    let entries = (11..=74).map(|index| command(1, index, &big)).collect();
    log.commit(&[append(2, entries)]).unwrap();
    let writes = member.disk.count(Call::Write) - writes;
    assert!(writes <= 20, "256 KB in rows of 32 KB took {writes} writes");
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let member = Member::new();
    let mut log = member.open().log;
    let mut entries = commands(1, 1, 5);
    entries.push(configuration_entry(2, 6, &["a", "b"]));
    entries.push(Entry { term: Term(2), index: Index(7), payload: Payload::Noop });
    entries.push(Entry { term: Term(3), index: Index(8), payload: Payload::Barrier });
    log.commit(&[vote(1, 3, "b"), Persist { commit: Index(99), ..append(2, entries.clone()) }]).unwrap();
    drop(log);

    let opened = member.crash_and_open(1);
    let stored = opened.stored;
    let hard_state = HardState { term: Term(3), vote: Some(fixture::server("b")), was_member: true };
    assert_eq!(stored.hard_state, hard_state);
    assert_eq!(stored.commit, Index(8), "K6: min(commit, last)");
    assert_eq!((stored.previous, stored.last), (log_id(0, 0), log_id(3, 8)));
    assert_eq!(
        stored.terms.iter().map(|run| (run.first.0, run.term.0)).collect::<Vec<_>>(),
        [(1, 1), (6, 2), (8, 3)]
    );
    assert_eq!(stored.configurations.len(), 1);
    assert_eq!(stored.configurations[0].index, Index(6));
    assert_eq!(stored.tail, entries);
    assert_eq!(opened.log.reader().read(range(1, 9), u64::MAX).unwrap(), entries);
}

/// A conflict rewrites at most the row it falls into; rows before it keep their bytes.
#[test]
fn a_truncation_keeps_what_is_before_it() {
    let member = Member::new();
    let mut log = member.open().log;
    for first in [1, 11, 21] {
        log.commit(&[append(first, commands(1, first, first + 9))]).unwrap();
    }
    log.commit(&[Persist { truncate_from: Some(Index(15)), ..append(4, commands(2, 15, 16)) }]).unwrap();
    let mut expected = commands(1, 1, 14);
    expected.extend(commands(2, 15, 16));
    assert_eq!(log.reader().read(range(1, 100), u64::MAX).unwrap(), expected);
    assert_eq!(log.last(), log_id(2, 16));
    assert_eq!(log.term_at(Index(14)), Some(Term(1)));
    assert_eq!(log.term_at(Index(17)), None);
    let stored = member_after(&member, log);
    assert_eq!(stored.tail, expected);
}

fn member_after(member: &Member, log: quorate_store::Log) -> quorate_raft::Stored {
    drop(log);
    member.crash_and_open(2).stored
}

/// N5: a configuration that was truncated is forgotten with its entry.
#[test]
fn a_truncated_configuration_is_gone() {
    let member = Member::new();
    let mut log = member.open().log;
    log.commit(&[append(1, vec![configuration_entry(1, 1, &["a"]), configuration_entry(1, 2, &["a", "b"])])])
        .unwrap();
    log.commit(&[Persist { truncate_from: Some(Index(2)), ..append(2, commands(2, 2, 2)) }]).unwrap();
    let stored = member_after(&member, log);
    assert_eq!(stored.configurations.iter().map(|found| found.index.0).collect::<Vec<_>>(), [1]);
}

/// K6 and P1: what is committed is never cut, and a gap is never stored; both would be bugs of ours, and
/// stop the log before they reach the disk.
#[test]
fn contradictions_are_refused_and_stop_the_log() {
    let broken = [
        Persist { truncate_from: Some(Index(3)), ..persist(2) },
        append(2, commands(1, 7, 7)),
        append(2, commands(0, 6, 6)),
        Persist { cluster_id: Some(quorate_raft::ClusterId(2)), ..persist(2) },
        Persist { hard_state: Some(HardState::default()), ..persist(2) },
    ];
    for contradiction in broken {
        let member = Member::new();
        let mut log = member.open().log;
        let cluster_id = Some(quorate_raft::ClusterId(1));
        log.commit(&[
            vote(0, 1, "a"),
            Persist { commit: Index(3), cluster_id, ..append(1, commands(1, 1, 5)) },
        ])
        .unwrap();
        assert!(matches!(log.commit(&[contradiction]), Err(StoreError::Refused { .. })));
        assert!(matches!(log.commit(&[persist(3)]), Err(StoreError::Stopped)));
        assert_eq!(member_after(&member, log).tail, commands(1, 1, 5));
    }
}

#[test]
fn reads_are_bounded_by_bytes_and_give_at_least_one_entry() {
    let member = Member::new();
    let mut log = member.open().log;
    let entries: Vec<_> = (1..=50).map(|index| command(1, index, &"x".repeat(1_000))).collect();
    log.commit(&[append(1, entries.clone())]).unwrap();
    let reader = log.reader();
    assert_eq!(reader.read(range(3, 40), 1).unwrap(), entries[2..3]);
    let size = entries[0].bytes();
    assert_eq!(reader.read(range(3, 40), size * 2 - 1).unwrap(), entries[2..4]);
    assert_eq!(reader.read(range(3, 40), u64::MAX).unwrap(), entries[2..39]);
    assert_eq!(reader.read(range(51, 60), u64::MAX).unwrap(), []);
}

/// An entry of the largest size has a row of its own, and its neighbours are unharmed.
#[test]
fn the_largest_entry_fits() {
    let member = Member::new();
    let mut log = member.open().log;
    let big = "y".repeat(usize::try_from(quorate_raft::limits::ENTRY_BYTES_MAX).unwrap());
    let entries = vec![command(1, 1, "small"), command(1, 2, &big), command(1, 3, "small")];
    log.commit(&[append(1, entries.clone())]).unwrap();
    assert_eq!(log.reader().read(range(1, 4), u64::MAX).unwrap(), entries);
}

/// K3: the log forgets nothing that the synced state does not hold, whatever is asked; and what it forgets
/// moves `first`, `previous` and the bytes that retention counts (K7).
#[test]
fn compaction_stops_at_the_durable_state() {
    let member = Member::new();
    let opened = member.open();
    let mut log = opened.log;
    for first in [1, 11, 21, 31] {
        log.commit(&[append(first, commands(1, first, first + 9))]).unwrap();
    }
    let bytes = log.bytes();
    assert_eq!(log.compact(Index(40)).unwrap().compacted, Some(Index(1)), "nothing is durable in the state");
    let mut machine = machine_at(&opened.state, 1, 25);
    opened.state.flush(&frozen(&mut machine)).unwrap();
    assert_eq!(log.compact(Index(40)).unwrap().compacted, Some(Index(21)), "whole rows only");
    assert_eq!(log.first(), Index(21));
    assert!(log.bytes() < bytes);
    assert_eq!(log.reader().read(range(5, 40), u64::MAX).unwrap(), [], "compacted");
    drop((log, machine, opened.state, opened.directory));
    let stored = member.crash_and_open(3).stored;
    assert_eq!(stored.previous, log_id(1, 20));
    assert_eq!(stored.terms[0].first, Index(21));
}

/// K7: a step removes a bounded number of rows and says that more is left; repeated, it empties the log.
#[test]
fn compaction_is_done_in_bounded_steps() {
    let member = Member::new();
    let opened = member.open();
    let mut log = opened.log;
    let rows = limits::COMPACT_ROWS_MAX as u64 + 20;
    for index in 1..=rows {
        log.commit(&[append(index, commands(1, index, index))]).unwrap();
    }
    let mut machine = machine_at(&opened.state, 1, rows);
    opened.state.flush(&frozen(&mut machine)).unwrap();
    let first_step = log.compact(Index(rows)).unwrap();
    assert!(first_step.compaction_pending);
    assert_eq!(first_step.compacted, Some(Index(limits::COMPACT_ROWS_MAX as u64 + 1)));
    let second_step = log.compact(Index(rows)).unwrap();
    assert!(!second_step.compaction_pending);
    assert_eq!(log.first(), Index(rows + 1));
    assert_eq!((log.bytes(), log.last()), (0, log_id(1, rows)));
    log.commit(&[append(rows + 1, commands(2, rows + 1, rows + 1))]).unwrap();
    drop((log, machine, opened.state, opened.directory));
    let stored = member.crash_and_open(4).stored;
    assert_eq!((stored.previous, stored.last), (log_id(1, rows), log_id(2, rows + 1)));
}

/// K7: with a bounded log the file is bounded too. Twelve times the retained bytes go through it; compaction
/// rides on the appends, and the space it frees is used again.
#[test]
fn the_file_stays_bounded_while_the_log_is_compacted() {
    const KEPT_BYTES: u64 = 4 * 1024 * 1024;
    let member = Member::new();
    let opened = member.open();
    let mut log = opened.log;
    let mut machine = Machine::open(opened.state.clone()).unwrap();
    let text = "v".repeat(256);
    let mut written = 0;
    let mut index = 1;
    while written < 12 * KEPT_BYTES {
        let before = log.bytes();
        let entries = (index..index + 64).map(|index| command(1, index, &text)).collect();
        let compact_upto = (before > KEPT_BYTES).then(|| Index(index - 1).min(Index(log.first().0 + 64)));
        log.commit_and_compact(&[append(index, entries)], compact_upto).unwrap();
        index += 64;
        written += 64 * 256;
        if index % 4_096 < 64 {
            (machine.applied().index + 1..index)
                .for_each(|index| machine.apply_empty(Position { index, term: 1 }));
            let flush = frozen(&mut machine);
            opened.state.flush(&flush).unwrap();
            machine.flushed(flush.applied());
        }
    }
    assert!(log.bytes() < 2 * KEPT_BYTES, "{} bytes are kept", log.bytes());
    let file_bytes = member.disk.bytes("log.redb").unwrap().len() as u64;
    assert!(file_bytes <= 4 * KEPT_BYTES, "{file_bytes} bytes of file for {} of log", log.bytes());
}
