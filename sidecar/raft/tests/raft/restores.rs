//! Who carries a restore, and who lacks an archive (K17). What the machine and the driver do is played here.

use quorate_raft::{
    AppendOutcome, Body, Change, Entry, Epoch, Index, IndexedConfiguration, Input, LogId, Output, Refusal,
    RemoveReason, Role, Settings, SnapshotMeta, Term, Ticket,
};

use crate::cluster::{configuration, founded, id};
use crate::disk::Disk;
use crate::replication::append;
use crate::solo::{Solo, alive, command, log_id};

/// Where the restore of these tests stands.
const AT: u64 = 5;

/// The entries 2 to 8 of term 2, of which that at `AT` is a restore.
fn entries() -> Vec<Entry> {
    (2..=8).map(|index| command(2, index, "x")).collect()
}

fn disk(voters: &[&str], non_voters: &[&str]) -> Disk {
    let mut disk = founded(voters, non_voters, true);
    disk.entries.extend(entries());
    disk.hard_state.term = Term(2);
    disk
}

fn accepted(matched: u64) -> AppendOutcome {
    AppendOutcome::Accepted { matched: Index(matched) }
}

/// A heartbeat's answer of a member whose machine has applied up to `applied`, and lacks the archive of `lacks`.
fn waiting(epoch: u64, applied: u64, lacks: u64) -> Body {
    let (applied, lacks) = (Index(applied), Index(lacks));
    Body::HeartbeatResponse {
        epoch: Epoch(epoch),
        round: quorate_raft::Round(0),
        commit: Index(8),
        applied,
        lacks,
    }
}

/// `a`, leading, whose machine has come to the restore and, if `is_past`, went past it; all in its log is committed.
fn leader(voters: &[&str], non_voters: &[&str], is_past: bool) -> Solo {
    let mut solo = Solo::new(disk(voters, non_voters));
    solo.is_machine_stuck = true;
    let others: Vec<&str> = voters.iter().copied().filter(|name| *name != "a").collect();
    if others.is_empty() {
        while solo.status().role != Role::Leader {
            solo.tick();
        }
    } else {
        solo.elect(&others);
    }
    let term = solo.status().term.0;
    // Peers get their epochs in the order of their IDs.
    for epoch in 1..=(voters.len() + non_voters.len() - 1) as u64 {
        let mut names: Vec<&str> =
            voters.iter().chain(non_voters).copied().filter(|name| *name != "a").collect();
        names.sort_unstable();
        let name = names[usize::try_from(epoch).unwrap() - 1];
        solo.hear(name, term, Body::AppendResponse { epoch: Epoch(epoch), outcome: accepted(9) });
        solo.hear(name, term, waiting(epoch, AT - 1, 0));
    }
    assert!(solo.status().is_ready);
    solo.step(Input::Applied { upto: Index(AT - 1) });
    solo.step(Input::Restoring { at: Index(AT) });
    if is_past {
        solo.step(Input::Applied { upto: Index(9) });
    }
    solo
}

fn asked(solo: &mut Solo, change: Change) -> Option<Result<(), Refusal>> {
    solo.others.clear();
    let before = solo.status().last;
    solo.step(Input::ChangeMembership { ticket: Ticket(1), expected: Index(1), change });
    let refused = solo.others.iter().find_map(|output| match output {
        Output::Answer { result: Err(refusal), .. } => Some(Err(refusal.clone())),
        _ => None,
    });
    refused.or_else(|| (solo.status().last != before).then_some(Ok(())))
}

fn promote(solo: &Solo, name: &str) -> Change {
    Change::Promote { id: id(name), stable_in_term: solo.status().term }
}

/// K17, K13 (seed 9100177): a loss that leaves a majority must leave somebody who has what was restored, so a vote is
/// given, taken and handed on only while a quorum of the voters after it has that in its state. What leaves the voters
/// as they are waits for nobody.
#[test]
fn voters_change_only_while_a_quorum_of_the_new_ones_has_what_was_restored() {
    let not_restored =
        |voters, having, needed| Refusal::NotRestored { index: Index(AT), voters, having, needed };
    // One voter has it; a second one has the log, and waits.
    let mut solo = leader(&["a"], &["b"], true);
    let change = promote(&solo, "b");
    assert_eq!(asked(&mut solo, change.clone()), Some(Err(not_restored(2, 1, 2))));
    let term = solo.status().term.0;
    solo.hear("b", term, waiting(1, AT, 0));
    assert_eq!(asked(&mut solo, change), Some(Ok(())));
    // Of three voters one has it; another may not be removed, but replaced by who has it.
    let mut solo = leader(&["a", "b", "c"], &["n"], true);
    let term = solo.status().term.0;
    let remove = Change::Remove { id: id("b"), reason: RemoveReason::Requested };
    assert_eq!(asked(&mut solo, remove), Some(Err(not_restored(2, 1, 2))));
    let new = |solo: &Solo| Change::Replace {
        old: id("b"),
        new: id("n"),
        stable_in_term: solo.status().term,
        old_has_left: true,
    };
    let change = new(&solo);
    assert_eq!(asked(&mut solo, change.clone()), Some(Err(not_restored(3, 1, 2))));
    let moved =
        Change::SetAddress { id: id("b"), address: quorate_raft::Address::new("elsewhere:1").unwrap() };
    solo.hear("n", term, waiting(3, 9, 0));
    assert_eq!(asked(&mut solo, change), Some(Ok(())));
    let mut solo = leader(&["a", "b", "c"], &["n"], true);
    assert_eq!(asked(&mut solo, moved), Some(Ok(())));
}

/// K17: a leader that has not applied what was committed before its term does not know what there is to be carried.
#[test]
fn a_leader_that_waits_at_a_restore_changes_nothing() {
    let mut solo = leader(&["a", "b", "c"], &[], false);
    let remove = Change::Remove { id: id("b"), reason: RemoveReason::Requested };
    assert_eq!(asked(&mut solo, remove), None, "it is held");
    let term = solo.status().term.0;
    for (name, epoch) in [("b", 1), ("c", 2)] {
        solo.hear(name, term, waiting(epoch, 9, 0));
    }
    let before = solo.status().last;
    solo.step(Input::Applied { upto: Index(9) });
    assert!(solo.status().last > before, "and done once the leader is past it");
}

fn received(solo: &mut Solo, last: LogId) -> Vec<Output> {
    solo.others.clear();
    let configuration =
        IndexedConfiguration { index: Index(1), configuration: configuration(&["a", "b", "c"], &[]) };
    let meta = SnapshotMeta { last, configuration };
    solo.step(Input::SnapshotReceived { from: id("b"), term: Term(2), epoch: Epoch(1), meta });
    std::mem::take(&mut solo.others)
}

/// A follower of `b` that waits at the restore; all its log is committed.
fn follower() -> Solo {
    let mut solo = Solo::new(disk(&["a", "b", "c"], &[]));
    solo.is_machine_stuck = true;
    solo.hear("b", 2, append(log_id(2, 8), vec![], 8));
    solo.step(Input::Applied { upto: Index(AT - 1) });
    solo.step(Input::Restoring { at: Index(AT) });
    solo
}

/// K17, N3, K5 (seeds 7300029, 7300181, 7300210): all others have forgotten the archive with its entry. The snapshot of a
/// state past the restore becomes the machine's, though all of its log is here; the log stays, and what comes after it
/// is applied once.
#[test]
fn who_lacks_an_archive_moves_to_a_snapshot_and_its_log_stays() {
    let mut solo = follower();
    let beat = Body::HeartbeatRequest { epoch: Epoch(1), round: quorate_raft::Round(3) };
    let says = |solo: &mut Solo| match solo.hear("b", 2, beat.clone())[..] {
        [Body::HeartbeatResponse { applied, lacks, .. }] => (applied.0, lacks.0),
        ref other => panic!("{other:?}"),
    };
    assert_eq!(says(&mut solo), (AT - 1, 0), "it waits, and others may still have it");
    let discard = |index| vec![Output::DiscardSnapshot { last: log_id(2, index) }];
    assert_eq!(received(&mut solo, log_id(2, 7)), discard(7), "N3: it can make that state itself");
    solo.step(Input::ArchiveMissing { at: Index(AT) });
    assert_eq!(says(&mut solo), (AT - 1, AT));
    assert_eq!(received(&mut solo, log_id(2, AT - 1)), discard(AT - 1), "N3: it ends before the restore");
    let before = (solo.status().last, solo.status().commit, solo.status().term, solo.status().latest);
    assert_eq!(received(&mut solo, log_id(2, 7)), [Output::AdoptSnapshot { last: log_id(2, 7) }]);
    assert_eq!((solo.status().last, solo.status().commit, solo.status().term, solo.status().latest), before);
    assert_eq!(solo.disk.last(), log_id(2, 8), "the log stays");
    assert_eq!(solo.status().applied, Index(AT - 1), "the machine has not moved yet");
    solo.step(Input::Applied { upto: Index(7) });
    solo.step(Input::DurableApplied { applied: log_id(2, 7) });
    assert_eq!((solo.status().applied, solo.status().durable_applied), (Index(7), Index(7)));
    assert_eq!(says(&mut solo), (7, 0));
    assert_eq!(received(&mut solo, log_id(2, 8)), discard(8), "N3: it waits for nothing");
    let handed: Vec<u64> = solo.applied.iter().map(|entry| entry.index.0).collect();
    assert_eq!(handed, (1..=8).collect::<Vec<_>>(), "each once");
}

/// K17, K25: what was not handed out yet is in the snapshot and is not handed out any more.
#[test]
fn what_a_snapshot_of_the_machine_covers_is_not_handed_out() {
    let mut solo = follower();
    solo.step(Input::ArchiveMissing { at: Index(AT) });
    solo.hear("b", 2, append(log_id(2, 8), vec![command(2, 9, "y"), command(2, 10, "z")], 8));
    assert_eq!(received(&mut solo, log_id(2, 9)), [Output::AdoptSnapshot { last: log_id(2, 9) }]);
    assert_eq!(solo.status().commit, Index(9), "a leader's state is committed");
    solo.step(Input::Applied { upto: Index(9) });
    solo.hear("b", 2, append(log_id(2, 10), vec![], 10));
    assert_eq!(solo.applied.last().map(|entry| entry.index), Some(Index(10)));
    assert_eq!(solo.status().applied, Index(9));
}

/// K17: a leader whose synced state has the restore sends it, beside the log, and again only after a pause.
#[test]
fn a_leader_sends_a_snapshot_to_who_lacks_an_archive_beside_the_log() {
    let mut solo = leader(&["a", "b", "c"], &[], true);
    let term = solo.status().term;
    let sent = |solo: &mut Solo, body| {
        solo.others.clear();
        solo.hear("b", term.0, body);
        solo.others.iter().any(|output| matches!(output, Output::SendSnapshot { to, .. } if *to == id("b")))
    };
    assert!(!sent(&mut solo, waiting(1, AT - 1, AT)), "its own state is not synced so far");
    solo.step(Input::DurableApplied { applied: log_id(2, AT) });
    assert!(sent(&mut solo, waiting(1, AT - 1, AT)));
    let at_least = log_id(2, AT);
    assert!(solo.others.contains(&Output::SendSnapshot { to: id("b"), term, epoch: Epoch(1), at_least }));
    assert!(!sent(&mut solo, waiting(1, AT - 1, AT)), "one is on its way");
    solo.sent.clear();
    solo.step(Input::Propose { ticket: Ticket(2), command: "w".into() });
    let to_b = |solo: &Solo| solo.sent.iter().any(|message| message.to == id("b"));
    assert!(to_b(&solo), "the log goes on");
    solo.step(Input::SnapshotSent { to: id("b"), epoch: Epoch(1), delivered: None });
    assert!(!sent(&mut solo, waiting(1, AT - 1, AT)), "not at once");
    solo.now = solo.now.plus(Settings::default().election_timeout);
    assert!(sent(&mut solo, waiting(1, AT - 1, AT)));
    assert!(!sent(&mut solo, waiting(1, 9, 0)));
}

/// K17: a leader whose machine cannot go on answers nobody; a voter whose state has the restore takes over.
#[test]
fn a_leader_that_lacks_an_archive_hands_over_to_one_that_has_it() {
    let mut solo = leader(&["a", "b", "c"], &[], false);
    let term = solo.status().term.0;
    solo.step(Input::ArchiveMissing { at: Index(AT) });
    let asked = |solo: &mut Solo| {
        solo.sent.clear();
        solo.tick();
        let asks = solo.sent.iter().filter(|message| message.body == Body::TimeoutNow);
        asks.map(|message| message.to.clone()).collect::<Vec<_>>()
    };
    assert!(asked(&mut solo).is_empty(), "nobody has it");
    solo.hear("b", term, alive(Epoch(1), 0, AT - 1));
    solo.hear("c", term, alive(Epoch(2), 0, AT));
    assert_eq!(asked(&mut solo), [id("c")]);
    assert_eq!(solo.status().role, Role::Leader, "until that one leads");
}
