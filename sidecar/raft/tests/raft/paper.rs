//! The clauses of the Raft paper ("In search of an understandable consensus algorithm", extended
//! version), each as a test of that name; raft.md 3 and §7 (18).
//!
//! Where our protocol says more than the paper, the clause is tested in the form it has here: every
//! election asks first (K10), a known leader shields the term (K10), a vote counts once it is on a
//! disk (O4), and nobody commits beyond what a message carries (N2).

use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{
    AppendOutcome, Body, Change, Entry, Epoch, Event, Identity, Index, Input, InvalidMessage, LogId, Now,
    Output, Payload, Raft, RecoveryEpoch, Role, Round, Settings, Term, Ticket,
};

use crate::cluster::{CLUSTER, Cluster, founded, id};
use crate::disk::Disk;
use crate::solo::{Solo, alive, command, log_id};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A disk of a group of `count`: the first configuration, then entries of these terms.
fn disk(count: usize, terms: &[u64]) -> Disk {
    let mut disk = founded(&NAMES[..count], &[], true);
    for (at, term) in terms.iter().enumerate() {
        disk.entries.push(command(*term, at as u64 + 2, &format!("{term}.{at}")));
        disk.hard_state.term = Term(*term);
    }
    disk
}

fn follower(count: usize) -> Solo {
    Solo::new(disk(count, &[]))
}

/// `a` asks for votes, and nobody has answered that yet.
fn candidate(count: usize) -> Solo {
    let mut solo = follower(count);
    while solo.status().role == Role::Follower {
        solo.tick();
    }
    for name in &NAMES[1..count] {
        let (term, proposed) = (solo.status().term.0, solo.status().term.next());
        if solo.status().role == Role::PreCandidate {
            solo.hear(name, term, Body::PreVoteResponse { proposed, granted: true });
        }
    }
    solo
}

/// `a` leads, and has committed its no-op with everybody.
fn leader(disk: Disk, count: usize) -> Solo {
    let mut solo = Solo::new(disk);
    if count == 1 {
        // It needs nobody.
        solo.tick();
    } else {
        solo.elect(&NAMES[1..count]);
    }
    let last = solo.status().last.index.0;
    for name in &NAMES[1..count] {
        accept(&mut solo, name, last);
    }
    assert_eq!(solo.status().commit.0, last);
    solo.sent.clear();
    solo
}

/// A leader numbers its replications in the order of the servers.
fn epoch(name: &str) -> Epoch {
    Epoch(NAMES.iter().position(|each| *each == name).unwrap() as u64)
}

fn accept(solo: &mut Solo, name: &str, matched: u64) {
    let outcome = AppendOutcome::Accepted { matched: Index(matched) };
    let term = solo.status().term.0;
    solo.hear(name, term, Body::AppendResponse { epoch: epoch(name), outcome });
}

fn append(previous: LogId, entries: Vec<Entry>, commit: u64) -> Body {
    Body::AppendRequest { epoch: Epoch(1), previous, entries, commit: Index(commit) }
}

fn heartbeat() -> Body {
    Body::HeartbeatRequest { epoch: Epoch(1), round: Round(0) }
}

fn vote_request(last: LogId) -> Body {
    Body::VoteRequest { last, is_transfer: false }
}

fn propose(solo: &mut Solo, text: &'static str) {
    solo.step(Input::Propose { ticket: Ticket(1), command: Bytes::from_static(text.as_bytes()) });
}

fn outcome(bodies: &[Body]) -> Option<AppendOutcome> {
    bodies.iter().find_map(|body| match body {
        Body::AppendResponse { outcome, .. } => Some(*outcome),
        _ => None,
    })
}

fn vote(bodies: &[Body]) -> Option<bool> {
    bodies.iter().find_map(|body| match body {
        Body::VoteResponse { granted } => Some(*granted),
        _ => None,
    })
}

fn terms(disk: &Disk) -> Vec<u64> {
    disk.entries.iter().map(|entry| entry.term.0).collect()
}

/// What shows a higher term to anybody: every message of a leader, and every answer.
fn bodies_of_a_higher_term() -> Vec<Body> {
    let outcome = AppendOutcome::Accepted { matched: Index(1) };
    vec![
        append(log_id(1, 1), vec![], 1),
        heartbeat(),
        Body::VoteResponse { granted: false },
        Body::PreVoteResponse { proposed: Term(9), granted: false },
        Body::AppendResponse { epoch: Epoch(1), outcome },
        alive(Epoch(1), 0, 1),
    ]
}

// ---- 5.1 Terms

/// Paper 5.1: "if one server's current term is smaller than the other's, then it updates its current
/// term to the larger value", and stores it before it answers in it (O4).
#[test]
fn a_follower_updates_its_term_from_a_message() {
    for body in bodies_of_a_higher_term().into_iter().chain([vote_request(log_id(1, 1))]) {
        let mut solo = follower(3);
        solo.hear("b", 7, body.clone());
        assert_eq!((solo.status().term, solo.status().role), (Term(7), Role::Follower), "{}", body.name());
        assert_eq!(solo.disk.hard_state.term, Term(7), "{}", body.name());
    }
}

/// Paper 5.1: "if a candidate or leader discovers that its term is out of date, it immediately reverts
/// to follower state".
#[test]
fn a_candidate_that_sees_a_higher_term_becomes_follower() {
    for body in bodies_of_a_higher_term().into_iter().chain([vote_request(log_id(1, 1))]) {
        let mut solo = candidate(3);
        assert_eq!((solo.status().term, solo.status().role), (Term(2), Role::Candidate));
        solo.hear("b", 7, body.clone());
        assert_eq!((solo.status().term, solo.status().role), (Term(7), Role::Follower), "{}", body.name());
    }
}

/// Paper 5.1, S16: the same for a leader. A vote request is no discovery: whoever knows a leader,
/// and a leader knows itself, refuses it before it looks at the term (K10, paper 6); unless the
/// leader itself asked for it (S18).
#[test]
fn a_leader_that_sees_a_higher_term_becomes_follower() {
    let handed_over = Body::VoteRequest { last: log_id(2, 2), is_transfer: true };
    for body in bodies_of_a_higher_term().into_iter().chain([handed_over]) {
        let mut solo = leader(disk(3, &[]), 3);
        solo.hear("b", 7, body.clone());
        assert_eq!((solo.status().term, solo.status().role), (Term(7), Role::Follower), "{}", body.name());
        assert_eq!(solo.disk.hard_state.term, Term(7), "{}", body.name());
    }
    let mut solo = leader(disk(3, &[]), 3);
    assert_eq!(vote(&solo.hear("b", 7, vote_request(log_id(9, 9)))), Some(false));
    assert_eq!((solo.status().term, solo.status().role), (Term(2), Role::Leader));
}

/// Paper 5.1: "if a server receives a request with a stale term number, it rejects the request". It is
/// no contact either, and answers of a stale term are nothing at all.
#[test]
fn a_message_of_a_stale_term_is_rejected() {
    let mut solo = Solo::new(disk(3, &[5]));
    let said = solo.hear("b", 4, append(log_id(1, 1), vec![command(4, 2, "x")], 2));
    assert!(matches!(outcome(&said), Some(AppendOutcome::Rejected { .. })));
    solo.hear("b", 4, heartbeat());
    assert_eq!(vote(&solo.hear("b", 4, vote_request(log_id(9, 9)))), Some(false));
    assert_eq!(
        (solo.status().commit, solo.status().last, solo.status().leader),
        (Index(1), log_id(5, 2), None)
    );
    assert_eq!(solo.status().last_contact, None);
    assert_eq!(solo.disk.hard_state.vote, None);

    let mut asks = candidate(3);
    asks.hear("b", 1, Body::VoteResponse { granted: true });
    assert_eq!(asks.status().role, Role::Candidate);

    let mut leads = Solo::new(disk(3, &[]));
    leads.elect(&["b"]);
    let outcome = AppendOutcome::Accepted { matched: Index(2) };
    leads.hear("b", 1, Body::AppendResponse { epoch: Epoch(1), outcome });
    assert_eq!(leads.status().commit, Index(1));
    assert_eq!(leads.status().peers[0].last_ack, None);
}

// ---- 5.2 Leader election

/// Paper 5.2: "when servers start up, they begin as followers", after whatever they were before.
#[test]
fn a_server_starts_as_follower() {
    for (term, vote) in [(1, None), (7, Some(id("a")))] {
        let mut disk = disk(3, &[]);
        disk.hard_state.term = Term(term);
        disk.hard_state.vote = vote;
        let solo = Solo::new(disk);
        assert_eq!((solo.status().role, solo.status().term), (Role::Follower, Term(term)));
        assert!(solo.sent.is_empty() && solo.writes.is_empty());
    }
}

/// Paper 5.2: "leaders send periodic heartbeats to all followers in order to maintain their authority",
/// the first ones upon election. They carry no entries and no commit index (S12, O1).
#[test]
fn a_leader_sends_heartbeats_upon_election_and_at_each_interval() {
    let beats = |solo: &mut Solo| {
        let sent =
            solo.sent.drain(..).filter(|message| matches!(message.body, Body::HeartbeatRequest { .. }));
        sent.map(|message| message.to.raft_id.as_str().to_owned()).collect::<Vec<_>>()
    };
    let mut solo = candidate(3);
    solo.sent.clear();
    solo.step(Input::Receive(quorate_raft::Message::new(
        id("b"),
        id("a"),
        Term(2),
        Body::VoteResponse { granted: true },
    )));
    assert_eq!(solo.status().role, Role::Leader);
    assert_eq!(beats(&mut solo), ["b", "c"]);
    for _ in 0..5 {
        let before = solo.now;
        solo.tick();
        assert_eq!(solo.now.since(before), Settings::default().heartbeat_interval);
        assert_eq!(beats(&mut solo), ["b", "c"]);
    }
}

/// Paper 5.2: "if a follower receives no communication over a period of time called the election
/// timeout, then it assumes there is no viable leader and begins an election": it asks first (K10), then
/// "increments its current term, transitions to candidate state, votes for itself and issues
/// `RequestVote` RPCs in parallel to each of the other servers".
#[test]
fn a_follower_starts_an_election_after_the_timeout() {
    let mut solo = follower(3);
    solo.hear("b", 2, heartbeat());
    let heard = solo.now;
    solo.tick();
    while solo.status().role == Role::Follower {
        solo.tick();
    }
    let waited = solo.now.since(heard);
    let timeout = Settings::default().election_timeout;
    assert!((timeout..timeout * 2).contains(&waited), "{waited:?}");
    assert_eq!((solo.status().role, solo.status().term), (Role::PreCandidate, Term(2)));
    let proposed = Term(3);
    let said = solo.said();
    let asked = said.iter().filter(|body| **body == Body::PreVoteRequest { proposed, last: log_id(1, 1) });
    assert_eq!(asked.count(), 2);

    let said = solo.hear("c", 2, Body::PreVoteResponse { proposed, granted: true });
    assert_eq!((solo.status().role, solo.status().term), (Role::Candidate, Term(3)));
    assert_eq!((solo.disk.hard_state.term, solo.disk.hard_state.vote.clone()), (Term(3), Some(id("a"))));
    assert_eq!(said, [vote_request(log_id(1, 1)), vote_request(log_id(1, 1))]);
}

/// Paper 5.2: "a server remains in follower state as long as it receives valid RPCs from a leader or
/// candidate".
#[test]
fn a_follower_that_hears_its_leader_stays_follower() {
    let mut solo = follower(3);
    for _ in 0..100 {
        solo.hear("b", 2, heartbeat());
        solo.wait(900);
        assert_eq!((solo.status().role, solo.status().term), (Role::Follower, Term(2)));
    }
    assert!(!solo.events.iter().any(|event| matches!(event, Event::Campaigning { .. })));
}

/// Paper 5.2: "each candidate will time out and start a new election", in a new term; here after it has
/// asked anew, so that a candidate that can win nothing stops raising terms (K10, S3).
#[test]
fn a_candidate_starts_a_new_election_when_its_timer_fires() {
    let mut solo = candidate(3);
    assert_eq!(solo.status().term, Term(2));
    solo.tick();
    assert_eq!((solo.status().role, solo.status().term), (Role::PreCandidate, Term(2)));
    solo.hear("b", 2, Body::PreVoteResponse { proposed: Term(3), granted: true });
    assert_eq!((solo.status().role, solo.status().term), (Role::Candidate, Term(3)));
}

/// Paper 5.2: "a candidate wins an election if it receives votes from a majority of the servers in the
/// full cluster for the same term"; with a majority against it, it waits as a follower.
#[test]
fn a_candidate_with_votes_of_a_majority_leads_in_one_round() {
    use Role::{Candidate, Follower, Leader};
    // Group size, who says yes, who says no, what it becomes.
    let cases: [(usize, &str, &str, Role); 14] = [
        (1, "", "", Leader),
        (3, "bc", "", Leader),
        (3, "b", "", Leader),
        (3, "b", "c", Leader),
        (5, "bcde", "", Leader),
        (5, "bcd", "e", Leader),
        (5, "bc", "de", Leader),
        (3, "", "bc", Follower),
        (5, "", "bcde", Follower),
        (5, "b", "cde", Follower),
        (3, "", "", Candidate),
        (3, "", "b", Candidate),
        (5, "b", "", Candidate),
        (5, "b", "cd", Candidate),
    ];
    for (count, yes, no, expected) in cases {
        let mut solo = candidate(count);
        let answers = yes.chars().map(|name| (name, true)).chain(no.chars().map(|name| (name, false)));
        for (name, granted) in answers {
            solo.hear(&name.to_string(), 2, Body::VoteResponse { granted });
        }
        assert_eq!(solo.status().role, expected, "{count}: yes {yes}, no {no}");
        assert_eq!(solo.status().term, Term(2));
    }
}

/// Paper 5.2: a vote that comes twice is one vote.
#[test]
fn a_repeated_vote_counts_once() {
    let mut solo = candidate(5);
    for _ in 0..3 {
        solo.hear("b", 2, Body::VoteResponse { granted: true });
    }
    assert_eq!(solo.status().role, Role::Candidate);
}

/// Paper 5.2: "each server will vote for at most one candidate in a given term, on a
/// first-come-first-served basis", also after a restart: the vote is on its disk.
#[test]
fn a_follower_votes_first_come_first_served() {
    for (voted, asks, granted) in [
        (None, "b", true),
        (None, "c", true),
        (Some("b"), "b", true),
        (Some("b"), "c", false),
        (Some("c"), "b", false),
    ] {
        let mut disk = disk(3, &[]);
        disk.hard_state.vote = voted.map(id);
        let mut solo = Solo::new(disk);
        assert_eq!(vote(&solo.hear(asks, 1, vote_request(log_id(1, 1)))), Some(granted), "{voted:?}, {asks}");
        let other = if asks == "b" { "c" } else { "b" };
        let mut again = Solo::new(solo.disk.clone());
        let second = vote(&again.hear(other, 1, vote_request(log_id(1, 1))));
        assert_eq!(second, Some(!granted), "{voted:?}: then {other}");
    }
}

/// Paper 5.2: a candidate that hears from a leader whose term "is at least as large as the candidate's
/// current term" recognizes it as legitimate and returns to follower state; S5.
#[test]
fn a_candidate_returns_to_follower_when_another_leads() {
    for term in [2, 3] {
        for body in [append(log_id(1, 1), vec![], 1), heartbeat()] {
            let mut solo = candidate(3);
            solo.hear("b", term, body);
            assert_eq!((solo.status().role, solo.status().term), (Role::Follower, Term(term)));
            assert_eq!(solo.status().leader.map(|leader| leader.id), Some(id("b")));
        }
    }
}

/// Whether `draws`, each a part of one election timeout, reach all tenths of it.
fn fill_all_tenths(draws: &[Duration], least: Duration, width: Duration) -> bool {
    let tenth = |draw: &Duration| draw.saturating_sub(least).as_micros() * 10 / width.as_micros();
    assert!(draws.iter().all(|draw| *draw >= least && *draw < least + width), "{draws:?}");
    (0..10).all(|wanted| draws.iter().any(|draw| tenth(draw) == wanted))
}

/// Paper 5.2: "election timeouts are chosen randomly from a fixed interval": one to two timeouts.
#[test]
fn election_timeouts_of_followers_are_random() {
    let mut solo = follower(3);
    let mut draws = Vec::new();
    for _ in 0..300 {
        solo.hear("b", 2, heartbeat());
        draws.push(solo.raft.next_deadline().since(solo.now));
    }
    let timeout = Settings::default().election_timeout;
    assert!(fill_all_tenths(&draws, timeout, timeout));
}

/// Paper 5.2: "each candidate restarts its randomized election timeout at the start of an election".
#[test]
fn election_timeouts_of_candidates_are_random() {
    let mut solo = follower(3);
    let mut draws = Vec::new();
    for _ in 0..300 {
        solo.tick();
        let term = solo.status().term;
        solo.hear("b", term.0, Body::PreVoteResponse { proposed: term.next(), granted: true });
        assert_eq!(solo.status().role, Role::Candidate);
        draws.push(solo.raft.next_deadline().since(solo.now));
    }
    let timeout = Settings::default().election_timeout;
    assert!(fill_all_tenths(&draws, timeout, timeout));
}

/// The part of `rounds` in which the first two of five deadlines are closer than `gap`.
fn part_of_ties(rounds: u64, gap: Duration, mut deadline: impl FnMut(u64) -> Now) -> f64 {
    let mut ties = 0.0;
    for round in 0..rounds {
        let mut deadlines: Vec<Now> = (0..5).map(|member| deadline(round * 5 + member)).collect();
        deadlines.sort_unstable();
        if deadlines[1].since(deadlines[0]) < gap {
            ties += 1.0;
        }
    }
    ties / f64::from(u32::try_from(rounds).unwrap())
}

fn started(seed: u64) -> Raft {
    let identity = Identity {
        cluster_id: CLUSTER,
        recovery_epoch: RecoveryEpoch(0),
        server: id("a"),
        versions: quorate_raft::Versions::OURS,
    };
    Raft::new(identity, Settings::default(), disk(3, &[]).stored(10), seed, Now::default()).unwrap()
}

/// Paper 5.2: randomness "spreads out the servers so that in most cases only a single server will time
/// out": in 19 of 20 cases the first of five has 10 ms, a round trip and a disk, before the second.
#[test]
fn followers_rarely_time_out_together() {
    let ties = part_of_ties(1_000, Duration::from_millis(10), |seed| started(seed).next_deadline());
    assert!(ties < 0.07, "{ties}");
}

/// Paper 5.2: the same after a split vote, within the shorter pause that rivals make then.
#[test]
fn candidates_rarely_time_out_together_after_a_split_vote() {
    let settings = Settings::default();
    let ties = part_of_ties(1_000, Duration::from_millis(5), |seed| {
        let mut raft = started(seed);
        let mut now = Now::default();
        let mut out = Vec::new();
        let mut hear = |raft: &mut Raft, now: Now, term: u64, body: Body| {
            raft.step(
                now,
                Input::Receive(quorate_raft::Message::new(id("b"), id("a"), Term(term), body)),
                &mut out,
            );
        };
        while raft.role() == Role::Follower {
            now = raft.next_deadline();
            raft.step(now, Input::Tick, &mut Vec::new());
        }
        hear(&mut raft, now, 1, Body::PreVoteResponse { proposed: Term(2), granted: true });
        hear(&mut raft, now, 2, Body::VoteResponse { granted: false });
        let pause = raft.next_deadline().since(now);
        assert!(pause < settings.election_timeout / 2, "a rival costs less than a timeout: {pause:?}");
        Now(pause)
    });
    assert!(ties < 0.15, "{ties}");
}

// ---- 5.3 Log replication

/// Paper 5.3: "the leader appends the command to its log as a new entry, then issues `AppendEntries` RPCs
/// in parallel to each of the other servers", with the index and term of the entry before.
#[test]
fn a_leader_starts_replication_when_it_takes_a_command() {
    let mut solo = leader(disk(3, &[]), 3);
    propose(&mut solo, "x");
    let entry = command(2, 3, "x");
    assert_eq!(solo.disk.entries.last(), Some(&entry));
    for name in ["b", "c"] {
        let expected = Body::AppendRequest {
            epoch: epoch(name),
            previous: log_id(2, 2),
            entries: vec![entry.clone()],
            commit: Index(2),
        };
        assert!(solo.sent.iter().any(|message| message.to == id(name) && message.body == expected), "{name}");
    }
    assert_eq!((solo.status().commit, solo.status().last), (Index(2), log_id(2, 3)), "not yet committed");
}

/// Paper 5.3: "when the entry has been safely replicated, the leader applies the entry to its state
/// machine and returns the result"; followers hear of it with the next message.
#[test]
fn a_leader_applies_and_tells_what_is_safely_replicated() {
    let mut solo = leader(disk(3, &[]), 3);
    solo.applied.clear();
    propose(&mut solo, "x");
    assert!(solo.applied.is_empty());
    solo.sent.clear();
    solo.step(Input::Receive(quorate_raft::Message::new(
        id("b"),
        id("a"),
        Term(2),
        Body::AppendResponse { epoch: epoch("b"), outcome: AppendOutcome::Accepted { matched: Index(3) } },
    )));
    assert_eq!(solo.applied, [command(2, 3, "x")]);
    let told = |name: &str| {
        solo.sent.iter().any(|message| {
            message.to == id(name) && matches!(message.body, Body::AppendRequest { commit: Index(3), .. })
        })
    };
    assert!(told("b") && told("c"));
}

/// Paper 5.3: "a log entry is committed once the leader that created the entry has replicated it on a
/// majority of the servers".
#[test]
fn a_leader_commits_what_a_majority_holds() {
    for (count, holders, is_committed) in [
        (1, "", true),
        (3, "", false),
        (3, "b", true),
        (3, "bc", true),
        (5, "", false),
        (5, "b", false),
        (5, "bc", true),
        (5, "bcd", true),
        (5, "bcde", true),
    ] {
        let mut solo = leader(disk(count, &[]), count);
        propose(&mut solo, "x");
        for name in holders.chars() {
            accept(&mut solo, &name.to_string(), 3);
        }
        assert_eq!(solo.status().commit == Index(3), is_committed, "{count}: {holders}");
    }
}

/// Paper 5.3: "this also commits all preceding entries in the leader's log, including entries created by
/// previous leaders", which are applied in the order of the log.
#[test]
fn a_leader_commits_preceding_entries_of_other_terms_as_well() {
    for before in [&[][..], &[2], &[1, 2], &[1]] {
        let mut solo = Solo::new(disk(3, before));
        solo.elect(&["b"]);
        propose(&mut solo, "x");
        solo.applied.clear();
        let last = solo.status().last.index.0;
        accept(&mut solo, "b", last);
        let applied: Vec<u64> = solo.applied.iter().map(|entry| entry.index.0).collect();
        assert_eq!(applied, (2..=last).collect::<Vec<u64>>(), "{before:?}");
        assert_eq!(solo.applied.last().map(|entry| &entry.payload), Some(&Payload::Command("x".into())));
    }
}

/// Paper 5.3: "once a follower learns that a log entry is committed, it applies the entry to its local
/// state machine (in log order)".
#[test]
fn a_follower_applies_what_is_committed_in_log_order() {
    let both = || vec![command(2, 2, "x"), command(2, 3, "y")];
    for commit in 1..=3 {
        let mut solo = follower(3);
        solo.applied.clear();
        solo.hear("b", 2, append(log_id(1, 1), both(), commit));
        let expected: Vec<Entry> = both().into_iter().filter(|entry| entry.index.0 <= commit).collect();
        assert_eq!(solo.applied, expected, "{commit}");
        assert_eq!(solo.status().commit, Index(commit));
    }
}

/// Paper 5.3: "if the follower does not find an entry in its log with the same index and term, then it
/// refuses the new entries". The refusal says where the logs may match (S13).
#[test]
fn a_follower_checks_the_entry_before_the_new_ones() {
    // Its log: 1/1 2/2 3/3; the entry before the new ones, and the hint of a refusal.
    let cases = [
        (log_id(1, 1), None),
        (log_id(2, 2), None),
        (log_id(3, 3), None),
        (log_id(2, 3), Some(log_id(2, 2))),
        (log_id(1, 3), Some(log_id(1, 1))),
        (log_id(4, 3), Some(log_id(2, 2))),
        (log_id(3, 4), Some(log_id(3, 3))),
        (log_id(1, 4), Some(log_id(1, 1))),
    ];
    for (previous, hint) in cases {
        let mut solo = Solo::new(disk(3, &[2, 3]));
        let said = solo.hear("b", 4, append(previous, vec![], 1));
        let expected = match hint {
            None => AppendOutcome::Accepted { matched: previous.index },
            Some(hint) => AppendOutcome::Rejected { previous: previous.index, hint },
        };
        assert_eq!(outcome(&said), Some(expected), "{previous}");
        assert_eq!(terms(&solo.disk), [1, 2, 3], "a check changes nothing: {previous}");
    }
}

/// Paper 5.3: "find the latest log entry where the two logs agree, delete any entries in the follower's
/// log after that point, and send the follower all of the leader's entries after that point"; S22 keeps
/// what agrees, so that a late message cuts nothing.
#[test]
fn a_follower_deletes_what_conflicts_and_appends_the_rest() {
    // Its log: 1/1 2/2 3/3. The entry before, the terms sent, and its log afterwards.
    let cases: [(LogId, &[u64], &[u64]); 6] = [
        (log_id(3, 3), &[4], &[1, 2, 3, 4]),
        (log_id(2, 2), &[4, 4], &[1, 2, 4, 4]),
        (log_id(1, 1), &[3, 4], &[1, 3, 4]),
        (log_id(1, 1), &[2, 3], &[1, 2, 3]),
        (log_id(1, 1), &[2], &[1, 2, 3]),
        (log_id(1, 1), &[4], &[1, 4]),
    ];
    for (previous, sent, after) in cases {
        let mut solo = Solo::new(disk(3, &[2, 3]));
        let entries =
            sent.iter().zip(previous.index.0 + 1..).map(|(term, index)| command(*term, index, "n")).collect();
        let said = solo.hear("b", 4, append(previous, entries, 1));
        let matched = Index(previous.index.0 + sent.len() as u64);
        assert_eq!(outcome(&said), Some(AppendOutcome::Accepted { matched }));
        assert_eq!(terms(&solo.disk), after, "{sent:?} after {previous}");
    }
}

/// Paper 5.3, figure 7: "the leader handles inconsistencies by forcing the followers' logs to duplicate
/// its own", whatever the follower's log is.
#[test]
fn a_leader_makes_every_follower_log_of_figure_7_equal_to_its_own() {
    // One index beyond the figure's: the first configuration stands at 1.
    let followers: [&[u64]; 6] = [
        &[1, 1, 4, 4, 5, 5, 6, 6],
        &[1],
        &[1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 4, 4, 4, 4],
        &[1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    for (at, follower) in followers.iter().enumerate() {
        let mut cluster = Cluster::empty(at as u64, Settings::default());
        let mut leads = disk(3, &[1, 1, 4, 4, 5, 5, 6, 6, 6]);
        leads.hard_state.term = Term(7);
        cluster.add("a", leads);
        cluster.add("b", disk(3, &[]));
        cluster.must_lead();
        cluster.add("c", disk(3, follower));
        cluster.until("all are level", Cluster::is_converged);
        assert_eq!(cluster.leader(), Some("a"), "case {at}");
        assert_eq!(cluster.members["c"].disk.entries, cluster.members["a"].disk.entries, "case {at}");
        assert_eq!(terms(&cluster.members["c"].disk)[..10], [1, 1, 1, 4, 4, 5, 5, 6, 6, 6], "case {at}");
    }
}

/// Paper 5.3, figure 3 (leader append-only): "a leader never overwrites or deletes entries in its log",
/// not even when somebody claims to lead its term.
#[test]
fn a_leader_never_overwrites_its_own_log() {
    let mut solo = leader(disk(3, &[]), 3);
    propose(&mut solo, "x");
    let before = solo.disk.entries.clone();
    solo.hear("b", 2, append(log_id(1, 1), vec![command(2, 2, "other")], 2));
    assert_eq!((solo.status().role, &solo.disk.entries), (Role::Leader, &before));
    let problem = InvalidMessage::SecondLeader;
    assert!(solo.events.contains(&Event::InvalidMessage { from: id("b"), problem }));
}

// ---- 5.4 Safety

/// Paper 5.4.1: "the RPC includes information about the candidate's log": its last entry.
#[test]
fn a_vote_request_carries_the_last_entry() {
    for (log, last) in [(&[][..], log_id(1, 1)), (&[2][..], log_id(2, 2)), (&[2, 2, 5][..], log_id(5, 4))] {
        let mut solo = Solo::new(disk(3, log));
        let mut asked = Vec::new();
        while solo.status().role != Role::Candidate {
            solo.tick();
            asked.extend(solo.said());
            let (term, proposed) = (solo.status().term.0, solo.status().term.next());
            asked.extend(solo.hear("b", term, Body::PreVoteResponse { proposed, granted: true }));
        }
        let proposed = solo.status().term;
        assert_eq!(asked.iter().filter(|body| **body == Body::PreVoteRequest { proposed, last }).count(), 2);
        assert_eq!(asked.iter().filter(|body| **body == vote_request(last)).count(), 2);
    }
}

/// Paper 5.4.1: "the voter denies its vote if its own log is more up-to-date than that of the candidate":
/// by the term of the last entry, then by length.
#[test]
fn a_voter_denies_its_vote_to_a_log_that_is_behind() {
    let cases: [(&[u64], LogId, bool); 9] = [
        // The same last term.
        (&[2], log_id(2, 2), true),
        (&[2], log_id(2, 3), true),
        (&[2, 2], log_id(2, 2), false),
        // The candidate's is higher.
        (&[2], log_id(3, 2), true),
        (&[2], log_id(3, 3), true),
        (&[2, 2], log_id(3, 2), true),
        // The voter's is higher.
        (&[3], log_id(2, 2), false),
        (&[3], log_id(2, 3), false),
        (&[3, 3], log_id(2, 2), false),
    ];
    for (log, last, granted) in cases {
        let mut solo = Solo::new(disk(3, log));
        assert_eq!(vote(&solo.hear("b", 5, vote_request(last))), Some(granted), "{log:?}, {last}");
        // Denied or not, the term is taken.
        assert_eq!(solo.status().term, Term(5));
    }
}

/// Paper 5.4.2, figure 8: "only log entries from the leader's current term are committed by counting
/// replicas"; an entry of an earlier term, even on all, waits for one of them.
#[test]
fn a_leader_commits_only_entries_of_its_own_term_by_counting() {
    for (held, commit) in [(1, 1), (2, 1), (3, 1), (4, 4)] {
        let mut solo = Solo::new(disk(3, &[1, 2]));
        solo.elect(&["b", "c"]);
        assert_eq!(solo.status().last, log_id(3, 4));
        for name in ["b", "c"] {
            accept(&mut solo, name, held);
        }
        assert_eq!(solo.status().commit, Index(commit), "held up to {held}");
    }
}

// ---- 5.5 to 8

/// Paper 5.5: "Raft RPCs are idempotent": the same request twice is answered twice and done once.
#[test]
fn a_repeated_request_changes_nothing() {
    let mut solo = follower(3);
    let entries = || vec![command(2, 2, "x"), command(2, 3, "y")];
    let first = solo.hear("b", 2, append(log_id(1, 1), entries(), 3));
    let (log, applied) = (solo.disk.entries.clone(), solo.applied.len());
    assert_eq!(solo.hear("b", 2, append(log_id(1, 1), entries(), 3)), first);
    assert_eq!((&solo.disk.entries, solo.applied.len()), (&log, applied));

    let mut voter = follower(3);
    let first = voter.hear("b", 5, vote_request(log_id(1, 1)));
    assert_eq!(voter.hear("b", 5, vote_request(log_id(1, 1))), first);
    assert_eq!(vote(&first), Some(true));
}

/// Paper 6: "servers disregard `RequestVote` RPCs when they believe a current leader exists", for the
/// minimum election timeout (K10).
#[test]
fn a_vote_request_is_disregarded_while_a_leader_is_known() {
    let mut solo = follower(3);
    solo.hear("b", 2, heartbeat());
    assert_eq!(vote(&solo.hear("c", 9, vote_request(log_id(9, 9)))), Some(false));
    assert_eq!(solo.status().term, Term(2));
    solo.wait(999);
    assert_eq!(vote(&solo.hear("c", 9, vote_request(log_id(9, 9)))), Some(false));
    solo.wait(1);
    assert_eq!(vote(&solo.hear("c", 9, vote_request(log_id(9, 9)))), Some(true));
}

/// Paper 6: "a server always uses the latest configuration in its log, regardless of whether the entry is
/// committed" (S8).
#[test]
fn a_server_uses_the_latest_configuration_in_its_log() {
    let mut solo = leader(disk(5, &[]), 5);
    for name in &NAMES[1..] {
        // An acknowledgement of any kind is what K13 asks for.
        solo.hear(name, 2, alive(epoch(name), 0, 2));
    }
    let remove = |name| Change::Remove { id: id(name), reason: quorate_raft::RemoveReason::Requested };
    let change = |solo: &mut Solo, name, expected| {
        solo.step(Input::ChangeMembership {
            ticket: Ticket(1),
            expected: Index(expected),
            change: remove(name),
        });
    };
    change(&mut solo, "e", 1);
    // Of a, b, c, d three are needed, and e is none of them.
    accept(&mut solo, "e", 3);
    accept(&mut solo, "b", 3);
    assert_eq!(solo.status().commit, Index(2));
    accept(&mut solo, "c", 3);
    assert_eq!(solo.status().commit, Index(3));
    change(&mut solo, "d", 3);
    // Of a, b, c two.
    accept(&mut solo, "b", 4);
    assert_eq!(solo.status().commit, Index(4));
}

/// Paper 6: "the leader steps down once it has committed the C-new log entry", and "does not include
/// itself in majorities" until then (S10).
#[test]
fn a_leader_outside_the_new_configuration_steps_down_once_that_is_committed() {
    let mut solo = leader(disk(3, &[]), 3);
    let remove = Change::Remove { id: id("a"), reason: quorate_raft::RemoveReason::Requested };
    solo.step(Input::ChangeMembership { ticket: Ticket(1), expected: Index(1), change: remove });
    accept(&mut solo, "b", 3);
    assert_eq!((solo.status().role, solo.status().commit), (Role::Leader, Index(2)));
    accept(&mut solo, "c", 3);
    assert_eq!((solo.status().role, solo.status().commit), (Role::Follower, Index(3)));
}

/// Paper 8: "a leader must have the latest information on which entries are committed": it "commits a
/// blank no-op entry into the log at the start of its term", and checks that it was not deposed before it
/// answers a read (S29).
#[test]
fn a_leader_commits_a_no_op_at_the_start_of_its_term_before_it_answers_reads() {
    let mut solo = Solo::new(disk(3, &[2]));
    solo.elect(&["b"]);
    assert_eq!(
        solo.disk.entries.last(),
        Some(&Entry { term: Term(3), index: Index(3), payload: Payload::Noop })
    );
    solo.step(Input::ReadIndex { ticket: Ticket(9) });
    accept(&mut solo, "b", 3);
    let answered = |solo: &Solo| solo.others.iter().any(|output| matches!(output, Output::Answer { .. }));
    assert!(!answered(&solo), "no heartbeat was answered since");
    solo.hear("b", 3, alive(epoch("b"), 1, 1));
    assert!(answered(&solo));
}
