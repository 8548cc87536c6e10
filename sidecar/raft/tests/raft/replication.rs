//! Entries on their way: matching, conflicts, commit, pipelines (S5, S6, S12-S14, S20, S22, N2, O5, K25).

use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{
    AppendOutcome, Body, Entry, Epoch, Event, Index, Input, InvalidMessage, Output, Refusal,
    ReplicationState, Role, Round, Settings, Term, Ticket, limits,
};

use crate::cluster::{Cluster, End, founded, id};
use crate::solo::{Solo, command, log_id};

pub(crate) fn append(previous: quorate_raft::LogId, entries: Vec<Entry>, commit: u64) -> Body {
    Body::AppendRequest { epoch: Epoch(1), previous, entries, commit: Index(commit) }
}

fn outcome(bodies: &[Body]) -> AppendOutcome {
    bodies
        .iter()
        .find_map(|body| match body {
            Body::AppendResponse { outcome, .. } => Some(*outcome),
            _ => None,
        })
        .expect("an append is answered")
}

/// A log of the first configuration and these terms from index 2 on.
fn with_terms(terms: &[u64]) -> crate::disk::Disk {
    let mut disk = founded(&["a", "b", "c"], &[], true);
    for (at, term) in terms.iter().enumerate() {
        disk.entries.push(command(*term, at as u64 + 2, &format!("{term}-{at}")));
        disk.hard_state.term = Term(*term);
    }
    disk
}

/// S22: entries already held are skipped; at the first conflict the suffix goes, then the rest comes.
#[test]
fn a_conflicting_suffix_is_replaced_and_a_repeated_append_changes_nothing() {
    let mut solo = Solo::new(with_terms(&[2, 2, 3, 3]));
    let entries = vec![command(2, 3, "2-1"), command(4, 4, "x"), command(4, 5, "y")];
    let said = solo.hear("b", 4, append(log_id(2, 2), entries.clone(), 0));
    assert_eq!(outcome(&said), AppendOutcome::Accepted { matched: Index(5) });
    assert_eq!(solo.disk.last(), log_id(4, 5));
    let before = solo.disk.entries.clone();
    // A late, shorter copy must not cut what came after it.
    let said = solo.hear("b", 4, append(log_id(2, 2), entries[..1].to_vec(), 0));
    assert_eq!(outcome(&said), AppendOutcome::Accepted { matched: Index(3) });
    assert_eq!(solo.disk.entries, before);
}

/// raft.md §7, 7; N2: previous = 5, no entries, commit = 8, our 6..8 diverge: commit stops at 5.
#[test]
fn a_follower_commits_no_further_than_the_entries_of_the_message() {
    let mut solo = Solo::new(with_terms(&[2, 2, 2, 2, 3, 3, 3]));
    solo.hear("b", 4, append(log_id(2, 5), vec![], 8));
    assert_eq!(solo.status().commit, Index(5));
    assert_eq!(solo.applied.last().map(|entry| entry.index), Some(Index(5)));
    solo.hear("b", 4, append(log_id(2, 5), vec![command(4, 6, "x")], 8));
    assert_eq!(solo.status().commit, Index(6));
}

/// O4, O8: an append is acknowledged after the write that holds it, not before.
#[test]
fn an_append_is_acknowledged_only_once_it_is_on_disk() {
    let mut solo = Solo::new(with_terms(&[]));
    solo.hear("b", 2, Body::HeartbeatRequest { epoch: Epoch(1), round: Round(0) });
    solo.is_disk_stuck = true;
    assert!(solo.hear("b", 2, append(log_id(1, 1), vec![command(2, 2, "x")], 2)).is_empty());
    // A copy of it promises the same entry and waits as well.
    assert!(solo.hear("b", 2, append(log_id(1, 1), vec![command(2, 2, "x")], 2)).is_empty());
    // A heartbeat promises nothing new and is answered meanwhile (O8).
    let said = solo.hear("b", 2, Body::HeartbeatRequest { epoch: Epoch(1), round: Round(3) });
    assert!(matches!(said[..], [Body::HeartbeatResponse { round: Round(3), .. }]));
    solo.sync();
    assert_eq!(outcome(&solo.said()), AppendOutcome::Accepted { matched: Index(2) });
}

/// S20: what is committed and not yet on this disk is handed out from memory, and never asked of the disk, which could
/// only be asked again and again.
#[test]
fn only_what_is_on_this_disk_is_read_from_it() {
    let settings = Settings { cache_bytes_max: 1, ..Settings::default() };
    let mut solo = Solo::with(with_terms(&[2, 2]), settings);
    solo.is_disk_stuck = true;
    solo.hear("b", 2, append(log_id(2, 3), vec![command(2, 4, "z")], 4));
    while let Some(Output::ReadLog { reader, from, upto, bytes_max }) = solo.others.pop() {
        assert!(upto <= Index(3), "4 is on its way to the disk");
        let entries = solo.disk.read(from, upto, bytes_max);
        solo.step(Input::LogRead { reader, entries });
    }
    assert_eq!(solo.applied.last(), Some(&command(2, 4, "z")));
}

/// S6, paper figure 8: an entry of an earlier term on a majority is not committed by counting.
#[test]
fn a_leader_commits_only_by_entries_of_its_own_term() {
    let mut solo = Solo::new(with_terms(&[2, 2]));
    solo.elect(&["b"]);
    let term = solo.status().term;
    let accepted = |matched| Body::AppendResponse {
        epoch: Epoch(1),
        outcome: AppendOutcome::Accepted { matched: Index(matched) },
    };
    solo.hear("b", term.0, accepted(3));
    assert_eq!(solo.status().commit, Index(1), "index 3 is of term 2");
    solo.hear("b", term.0, accepted(4));
    assert_eq!(solo.status().commit, Index(4), "with the no-op all before it commits");
}

/// O4, O8: the leader sends beside its own write, and counts itself only after it.
#[test]
fn a_leader_sends_before_its_own_disk_and_counts_itself_after_it() {
    let mut solo = Solo::new(with_terms(&[]));
    solo.elect(&["b"]);
    let term = solo.status().term;
    let accepted = |matched| Body::AppendResponse {
        epoch: Epoch(1),
        outcome: AppendOutcome::Accepted { matched: Index(matched) },
    };
    solo.hear("b", term.0, accepted(2));
    solo.is_disk_stuck = true;
    solo.sent.clear();
    solo.step(Input::Propose { ticket: Ticket(1), command: Bytes::from_static(b"x") });
    assert!(
        solo.said()
            .iter()
            .any(|body| matches!(body, Body::AppendRequest { entries, .. } if entries.len() == 1))
    );
    solo.hear("b", term.0, accepted(3));
    assert_eq!(solo.status().commit, Index(2), "one disk of three");
    solo.sync();
    assert_eq!(solo.status().commit, Index(3));
}

/// N1 for commits: what non-voters hold does not count.
#[test]
fn non_voters_hold_entries_without_committing_them() {
    let mut disk = founded(&["a", "b", "c"], &["n", "o"], true);
    disk.hard_state.term = Term(1);
    let mut solo = Solo::new(disk);
    solo.elect(&["b"]);
    let term = solo.status().term;
    for (name, epoch) in [("n", 3), ("o", 4)] {
        let outcome = AppendOutcome::Accepted { matched: Index(2) };
        solo.hear(name, term.0, Body::AppendResponse { epoch: Epoch(epoch), outcome });
    }
    assert!(
        solo.status().peers.iter().filter(|peer| peer.matched == Index(2)).count() == 2,
        "they were heard"
    );
    assert_eq!(solo.status().commit, Index(1));
}

/// S13: one round trip for each diverging term, not for each entry.
#[test]
fn a_long_conflict_is_found_in_a_few_round_trips() {
    let mut cluster = Cluster::empty(1, Settings::default());
    let long = |term: u64, count: u64| {
        let mut disk = with_terms(&[]);
        disk.entries.extend((2..count + 2).map(|index| command(term, index, &format!("{term}-{index}"))));
        disk.hard_state.term = Term(term);
        disk
    };
    cluster.add("a", long(2, 2_000));
    cluster.add("b", long(3, 1_000));
    cluster.add("c", long(3, 1_000));
    cluster.until("all are level", Cluster::is_converged);
    let rejected = |member: &crate::cluster::Member| {
        let is_rejection = |body: &Body| {
            matches!(body, Body::AppendResponse { outcome: AppendOutcome::Rejected { .. }, .. })
        };
        member.sent.iter().filter(|message| is_rejection(&message.body)).count()
    };
    assert!(rejected(&cluster.members["a"]) <= 3, "{}", rejected(&cluster.members["a"]));
    assert_eq!(cluster.members["a"].state.commands[0].1, "3-2");
}

/// raft.md §7, 15; O5: a reply from before the peer was removed and added again says nothing about its new, empty self.
#[test]
fn a_late_reply_from_an_earlier_membership_changes_nothing() {
    let mut cluster = Cluster::with(2, Settings::default(), &["a", "b", "c"], &["n"]);
    let leader = cluster.must_lead();
    for round in 0..5 {
        cluster.must_write(&format!("w{round}"));
    }
    cluster.run_ms(500);
    let old = cluster.members["n"]
        .sent
        .iter()
        .rev()
        .find(|message| matches!(message.body, Body::AppendResponse { .. }))
        .cloned()
        .unwrap();
    cluster.must_change(crate::cluster::remove("n"));
    cluster.crash("n");
    cluster.isolate("n");
    cluster.must_change(crate::cluster::add("n"));
    cluster.step(leader, vec![Input::Receive(old)]);
    let status = cluster.status(leader);
    let peer = status.peers.iter().find(|peer| peer.id == id("n")).unwrap();
    assert_eq!((peer.matched, peer.last_ack), (Index(0), None));
}

/// S12: when writes stop, followers still learn at once what was committed, even if the news is lost.
#[test]
fn followers_learn_the_commit_index_when_writes_stop() {
    let mut cluster = Cluster::new(3, &["a", "b", "c"]);
    cluster.must_lead();
    cluster.loss = 0.3;
    let mut last = Index(0);
    for round in 0..20 {
        cluster.must_lead();
        let leader = cluster.leader().unwrap();
        let ticket = cluster.propose(leader, &format!("w{round}"));
        cluster.run_ms(200);
        if let Some(End::Applied(index)) = cluster.ends.get(&ticket) {
            last = *index;
        }
    }
    cluster.loss = 0.0;
    cluster.until("all have applied it", |cluster| {
        ["a", "b", "c"].iter().all(|name| cluster.status(name).applied >= last)
    });
}

/// S14, K25: with answers missing, at most 64 messages are in flight; the answers open the pipeline again.
#[test]
fn a_pipeline_stays_within_its_limits() {
    let mut cluster = Cluster::new(4, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let slow = if leader == "a" { "b" } else { "a" };
    cluster.members.get_mut(slow).unwrap().write_delay = Duration::from_millis(700);
    cluster.members.get_mut(leader).unwrap().sent.clear();
    for round in 0..200 {
        cluster.propose(leader, &format!("w{round}"));
    }
    let sent = cluster.members[leader].sent.iter().filter(|message| {
        message.to == id(slow)
            && matches!(&message.body, Body::AppendRequest { entries, .. } if !entries.is_empty())
    });
    assert_eq!(sent.count(), limits::APPENDS_IN_FLIGHT_MAX);
    cluster.until("the slow one has it all", Cluster::is_converged);
}

/// K25: a follower on a slow disk delays nobody else.
#[test]
fn a_slow_follower_does_not_delay_commits() {
    let mut cluster = Cluster::new(5, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    let slow = if leader == "a" { "b" } else { "a" };
    cluster.members.get_mut(slow).unwrap().write_delay = Duration::from_secs(5);
    let before = cluster.now;
    for round in 0..50 {
        cluster.must_write(&format!("w{round}"));
    }
    assert!(cluster.now.since(before) < Duration::from_millis(500), "{:?}", cluster.now.since(before));
}

/// K25: 64 MiB written and not committed, then `Busy`, until a quorum answers.
#[test]
fn a_leader_refuses_more_than_the_uncommitted_limit() {
    let mut solo = Solo::new(with_terms(&[]));
    solo.elect(&["b"]);
    let big = Bytes::from(vec![0_u8; 1 << 20]);
    for ticket in 0..66 {
        solo.step(Input::Propose { ticket: Ticket(ticket), command: big.clone() });
    }
    let refused = solo
        .others
        .iter()
        .filter(|output| matches!(output, Output::Answer { result: Err(Refusal::Busy { .. }), .. }))
        .count();
    assert!((2..=3).contains(&refused), "{refused}");
    let term = solo.status().term.0;
    let accepted = AppendOutcome::Accepted { matched: solo.status().last.index };
    solo.others.clear();
    solo.hear("b", term, Body::AppendResponse { epoch: Epoch(1), outcome: accepted });
    solo.step(Input::Propose { ticket: Ticket(99), command: big });
    assert!(solo.others.iter().all(|output| !matches!(output, Output::Answer { .. })));
}

/// K25: a command over 1 MiB never enters the log.
#[test]
fn a_command_over_the_limit_is_refused() {
    let mut solo = Solo::new(founded(&["a"], &[], true));
    solo.tick();
    let command = Bytes::from(vec![0_u8; (1 << 20) + 1]);
    solo.step(Input::Propose { ticket: Ticket(1), command });
    let bytes_max = limits::ENTRY_BYTES_MAX;
    let result = Err(Refusal::TooLarge { bytes: bytes_max + 1, bytes_max });
    assert_eq!(solo.others, [Output::Answer { ticket: Ticket(1), result }]);
}

/// S17: who waits when leadership ends hears that the outcome is unknown; followers refuse at once.
#[test]
fn requests_on_others_are_refused_and_lost_ones_end_as_unknown() {
    let mut cluster = Cluster::new(6, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(500);
    let follower = if leader == "a" { "b" } else { "a" };
    let ticket = cluster.propose(follower, "x");
    assert_eq!(cluster.ends[&ticket], End::Refused(Refusal::NotLeader { leader: Some(id(leader)) }));
    cluster.isolate(leader);
    let ticket = cluster.propose(leader, "y");
    cluster.until("it hears", |cluster| cluster.ends.contains_key(&ticket));
    assert!(matches!(cluster.ends[&ticket], End::Refused(Refusal::LeadershipLost { .. })));
}

/// S20: a barrier is answered after everything before it is applied, and is no command.
#[test]
fn a_barrier_is_answered_once_all_before_it_is_applied() {
    let mut cluster = Cluster::new(7, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    let write = cluster.propose(leader, "x");
    let ticket = cluster.ticket();
    cluster.step(leader, vec![Input::Barrier { ticket }]);
    cluster.until("it is answered", |cluster| cluster.ends.contains_key(&ticket));
    assert!(matches!(cluster.ends[&write], End::Applied(_)));
    assert_eq!(cluster.members[leader].state.commands.len(), 1);
}

/// S5: a leader's message of our term makes a candidate its follower.
#[test]
fn an_append_of_the_same_term_turns_a_candidate_into_a_follower() {
    let mut solo = Solo::new(with_terms(&[]));
    while solo.status().role != Role::PreCandidate {
        solo.tick();
    }
    solo.hear("b", 1, Body::PreVoteResponse { proposed: Term(2), granted: true });
    assert_eq!(solo.status().role, Role::Candidate);
    solo.hear("c", 2, append(log_id(1, 1), vec![], 1));
    assert_eq!(solo.status().role, Role::Follower);
    assert_eq!(solo.status().leader.map(|leader| leader.id), Some(id("c")));
}

/// A peer whose link broke is probed from what is known to match, and the pipeline goes on.
#[test]
fn a_broken_link_falls_back_to_probing() {
    let mut cluster = Cluster::new(8, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let other = if leader == "a" { "b" } else { "a" };
    cluster.cut_one_way(leader, other);
    for round in 0..10 {
        cluster.propose(leader, &format!("w{round}"));
    }
    cluster.step(leader, vec![Input::PeerUnreachable(id(other))]);
    let state = |cluster: &Cluster| {
        cluster.status(leader).peers.iter().find(|peer| peer.id == id(other)).unwrap().replication
    };
    assert_eq!(state(&cluster), ReplicationState::Probe);
    cluster.heal();
    cluster.until("it is level", Cluster::is_converged);
    cluster.until("the pipeline is back", |cluster| state(cluster) == ReplicationState::Replicate);
}

/// Many inputs in one batch become one write and one message for each follower.
#[test]
fn a_batch_of_proposals_is_one_write_and_one_append() {
    let mut solo = Solo::new(with_terms(&[]));
    solo.elect(&["b"]);
    let term = solo.status().term.0;
    let accepted = AppendOutcome::Accepted { matched: Index(2) };
    solo.hear("b", term, Body::AppendResponse { epoch: Epoch(1), outcome: accepted });
    let mut out = Vec::new();
    let inputs = (0..100).map(|n| Input::Propose { ticket: Ticket(n), command: Bytes::from_static(b"x") });
    solo.raft.step_batch(solo.now, inputs, &mut out);
    let writes = out.iter().filter(|output| matches!(output, Output::Persist(_))).count();
    let to_b =
        out.iter().filter(|output| matches!(output, Output::Send(message) if message.to == id("b"))).count();
    assert_eq!((writes, to_b), (1, 1));
}

/// K6: a commit index learned without a write is stored within a second.
#[test]
fn a_commit_index_is_stored_within_a_second() {
    let mut solo = Solo::new(with_terms(&[2]));
    solo.hear("b", 2, append(log_id(2, 2), vec![], 2));
    assert_eq!(solo.disk.commit, Index(1));
    for _ in 0..12 {
        solo.wait(100);
        solo.hear("b", 2, Body::HeartbeatRequest { epoch: Epoch(1), round: Round(0) });
    }
    assert_eq!(solo.disk.commit, Index(2));
}

/// N6's neighbour: two leaders in a term, or a message against what is committed, are counted and ignored.
#[test]
fn a_message_against_what_is_committed_is_ignored() {
    let mut solo = Solo::new(with_terms(&[2, 2]));
    solo.hear("b", 2, append(log_id(2, 3), vec![], 3));
    solo.hear("c", 2, append(log_id(2, 3), vec![], 3));
    assert!(
        solo.events.contains(&Event::InvalidMessage { from: id("c"), problem: InvalidMessage::SecondLeader })
    );
    solo.hear("b", 3, append(log_id(1, 1), vec![command(3, 2, "z")], 3));
    assert!(
        solo.events
            .contains(&Event::InvalidMessage { from: id("b"), problem: InvalidMessage::TouchesCommitted })
    );
    assert_eq!(solo.disk.last(), log_id(2, 3));
}
