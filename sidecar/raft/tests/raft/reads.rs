//! Linearizable reads by rounds of heartbeats (S19, S29, K11, N1).

use std::time::Duration;

use quorate_raft::{
    Answer, AppendOutcome, Body, Epoch, Index, Input, LogId, Output, Refusal, Round, Settings, Term, Ticket,
};

use crate::cluster::{Cluster, End, founded, id};
use crate::solo::{Solo, alive};

/// S29: a read's index is at least every write acknowledged before it.
#[test]
fn a_read_index_covers_every_write_acknowledged_before() {
    let mut cluster = Cluster::new(1, &["a", "b", "c"]);
    for round in 0..20 {
        let written = cluster.must_write(&format!("w{round}"));
        let leader = cluster.must_lead();
        let ticket = cluster.read(leader);
        cluster.until("the read is answered", |cluster| cluster.ends.contains_key(&ticket));
        match cluster.ends[&ticket] {
            End::Answered(Answer::ReadIndex { index }) => assert!(index >= written),
            ref end => panic!("{end:?}"),
        }
    }
}

/// raft.md §7, 8; N1: one voter of three with two non-voters beside it confirms nothing.
#[test]
fn non_voters_confirm_no_read() {
    let mut cluster = Cluster::with(2, Settings::default(), &["a", "b", "c"], &["n", "o"]);
    let leader = cluster.must_lead();
    for other in ["a", "b", "c"] {
        if other != leader {
            cluster.isolate(other);
        }
    }
    let ticket = cluster.read(leader);
    cluster.until("it hears", |cluster| cluster.ends.contains_key(&ticket));
    assert_eq!(cluster.ends[&ticket], End::Refused(Refusal::NotLeader { leader: None }));
}

/// S29: an answer to a heartbeat sent before the read does not count for it.
#[test]
fn only_answers_to_a_round_begun_after_the_read_count() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    solo.elect(&["b"]);
    let term = solo.status().term.0;
    let accepted = AppendOutcome::Accepted { matched: Index(2) };
    solo.hear("b", term, Body::AppendResponse { epoch: Epoch(1), outcome: accepted });
    let answer = |round| alive(Epoch(1), round, 1);
    solo.step(Input::ReadIndex { ticket: Ticket(1) });
    assert!(
        solo.said().contains(&Body::HeartbeatRequest { epoch: Epoch(1), round: Round(1) }),
        "a round begins at once"
    );
    solo.hear("b", term, answer(0));
    assert!(solo.others.is_empty());
    // It arrives during round 1, so it joins round 2.
    solo.step(Input::ReadIndex { ticket: Ticket(2) });
    solo.hear("b", term, answer(1));
    let read =
        |ticket| Output::Answer { ticket: Ticket(ticket), result: Ok(Answer::ReadIndex { index: Index(2) }) };
    assert_eq!(solo.others, [read(1)]);
    solo.hear("b", term, answer(2));
    assert_eq!(solo.others, [read(1), read(2)]);
}

/// K11: before the term's first commit nothing is answered; then the index covers the no-op.
#[test]
fn a_new_leader_answers_no_read_before_it_commits_in_its_term() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    solo.elect(&["b"]);
    let term = solo.status().term.0;
    solo.step(Input::ReadIndex { ticket: Ticket(1) });
    solo.hear("b", term, alive(Epoch(1), 0, 1));
    assert!(solo.others.is_empty());
    let accepted = AppendOutcome::Accepted { matched: Index(2) };
    solo.hear("b", term, Body::AppendResponse { epoch: Epoch(1), outcome: accepted });
    solo.hear("b", term, alive(Epoch(1), 1, 1));
    let result = Ok(Answer::ReadIndex { index: Index(2) });
    assert_eq!(solo.others, [Output::Answer { ticket: Ticket(1), result }]);
}

/// S19: a single voter is its own majority.
#[test]
fn a_single_voter_answers_reads_at_once() {
    let mut cluster = Cluster::new(3, &["a"]);
    let leader = cluster.must_lead();
    let ticket = cluster.read(leader);
    assert!(matches!(cluster.ends[&ticket], End::Answered(Answer::ReadIndex { .. })));
}

/// S29: a read on a leader that is deposed meanwhile ends as `NotLeader`, never as unknown.
#[test]
fn a_read_on_a_deposed_leader_is_refused() {
    let mut cluster = Cluster::new(4, &["a", "b", "c"]);
    let old = cluster.must_lead();
    cluster.isolate(old);
    let ticket = cluster.read(old);
    cluster.until("another leads", |cluster| cluster.leader().is_some_and(|leader| leader != old));
    cluster.heal();
    cluster.run_for(Duration::from_secs(2));
    assert_eq!(cluster.ends[&ticket], End::Refused(Refusal::NotLeader { leader: None }));
    assert_eq!(cluster.status(old).leader.map(|leader| leader.id), Some(id(cluster.leader().unwrap())));
}

/// K11: epochs and rounds begin anew in each term. A voter that hears an old heartbeat of the very server that leads
/// its own term by now must not answer as if it had been asked in this one: `a` led term 1, was deposed, and leads
/// term 3 when its heartbeats of term 1, held back by a clogged link, arrive at last. (Simulator: acknowledgements
/// of rounds that term 3 had not begun; of one that it had, they would have confirmed a read by the past.)
#[test]
fn an_answer_to_a_heartbeat_of_an_earlier_term_belongs_to_no_replication() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    let heartbeat = |round| Body::HeartbeatRequest { epoch: Epoch(1), round: Round(round) };
    let answer = |epoch, round| alive(Epoch(epoch), round, 1);
    assert_eq!(solo.hear("b", 3, heartbeat(2)), [answer(1, 2)]);
    assert_eq!(solo.hear("b", 1, heartbeat(3)), [answer(0, 0)]);
    let previous = LogId::new(Term(1), Index(1));
    let append = Body::AppendRequest { epoch: Epoch(1), previous, entries: vec![], commit: Index(1) };
    let outcome = AppendOutcome::Rejected { previous: Index(1), hint: LogId::default() };
    assert_eq!(solo.hear("b", 1, append), [Body::AppendResponse { epoch: Epoch(0), outcome }]);
}
