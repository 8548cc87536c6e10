//! Bytes from a network: no message and no input makes `step` panic (B6).

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use quorate_raft::{
    AppendOutcome, Body, Change, Entry, Epoch, Event, Incarnation, Index, IndexedConfiguration, Input,
    Intent, InvalidMessage, LogId, LogReader, Message, Mode, Payload, RaftId, RemoveReason, Round, Sequence,
    ServerId, Settings, SnapshotMeta, Term, Ticket, Version, Versions,
};

use crate::cluster::{CLUSTER, address, configuration, founded, id};
use crate::disk::{Disk, State};
use crate::solo::{Solo, alive, command, log_id};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0_u64..12, 1 => Just(u64::MAX), 1 => Just(1_u64 << 62), 1 => any::<u64>()]
}

fn name() -> impl Strategy<Value = ServerId> {
    let names = prop_oneof![Just("a"), Just("b"), Just("c"), Just("n"), Just("x")];
    (names, prop_oneof![9 => Just(1_u128), 1 => Just(2_u128)])
        .prop_map(|(name, incarnation)| ServerId::new(id(name).raft_id, Incarnation(incarnation)))
}

fn entry_name() -> impl Strategy<Value = LogId> {
    (number(), number()).prop_map(|(term, index)| LogId::new(Term(term), Index(index)))
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Noop),
        Just(Payload::Barrier),
        Just(Payload::Command(Bytes::from_static(b"x"))),
        Just(Payload::Configuration(configuration(&["a", "b", "c"], &["n"]))),
        Just(Payload::Configuration(configuration(&["b"], &[]))),
    ]
}

/// Mostly contiguous entries, sometimes not.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let contiguous = (number(), number(), proptest::collection::vec((0_u64..2, payload()), 0..5)).prop_map(
        |(term, first, list)| {
            let mut term = term;
            let each = |(at, (raise, payload)): (usize, (u64, Payload))| {
                term = term.saturating_add(raise);
                Entry { term: Term(term), index: Index(first.saturating_add(at as u64)), payload }
            };
            list.into_iter().enumerate().map(each).collect()
        },
    );
    let any_entry = (entry_name(), payload()).prop_map(|(name, payload)| Entry {
        term: name.term,
        index: name.index,
        payload,
    });
    prop_oneof![4 => contiguous, 1 => proptest::collection::vec(any_entry, 0..3)]
}

fn body() -> impl Strategy<Value = Body> {
    let outcome = prop_oneof![
        number().prop_map(|matched| AppendOutcome::Accepted { matched: Index(matched) }),
        (number(), entry_name())
            .prop_map(|(previous, hint)| AppendOutcome::Rejected { previous: Index(previous), hint }),
    ];
    prop_oneof![
        (number(), entry_name())
            .prop_map(|(proposed, last)| Body::PreVoteRequest { proposed: Term(proposed), last }),
        (number(), any::<bool>())
            .prop_map(|(proposed, granted)| Body::PreVoteResponse { proposed: Term(proposed), granted }),
        (entry_name(), any::<bool>()).prop_map(|(last, is_transfer)| Body::VoteRequest { last, is_transfer }),
        any::<bool>().prop_map(|granted| Body::VoteResponse { granted }),
        (number(), entry_name(), entries(), number()).prop_map(|(epoch, previous, entries, commit)| {
            Body::AppendRequest { epoch: Epoch(epoch), previous, entries, commit: Index(commit) }
        }),
        (number(), outcome)
            .prop_map(|(epoch, outcome)| Body::AppendResponse { epoch: Epoch(epoch), outcome }),
        (number(), number())
            .prop_map(|(epoch, round)| Body::HeartbeatRequest { epoch: Epoch(epoch), round: Round(round) }),
        [number(), number(), number(), number(), number()].prop_map(
            |[epoch, round, commit, applied, lacks]| {
                let (commit, applied, lacks) = (Index(commit), Index(applied), Index(lacks));
                Body::HeartbeatResponse { epoch: Epoch(epoch), round: Round(round), commit, applied, lacks }
            }
        ),
        Just(Body::TimeoutNow),
        name().prop_map(|recorded| Body::VolumeLost { recorded }),
    ]
}

fn message() -> impl Strategy<Value = Input> {
    let to = prop_oneof![9 => Just(id("a")), 1 => name()];
    (name(), to, number(), body())
        .prop_map(|(from, to, term, body)| Input::Receive(Message::new(from, to, Term(term), body)))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (name(), name()).prop_map(|(id, old)| Change::AddNonVoter {
            id,
            address: address("n"),
            intent: Intent::ReplacementFor(old),
            versions: Versions::OURS,
        }),
        (0..4_u32).prop_map(|to| Change::RaiseVersion { to: Version(to) }),
        (name(), number()).prop_map(|(id, term)| Change::Promote { id, stable_in_term: Term(term) }),
        name().prop_map(|id| Change::Demote { id }),
        name().prop_map(|id| Change::Remove { id, reason: RemoveReason::VolumeLost }),
        name().prop_map(|id| Change::SetAddress { id, address: address("n") }),
    ]
}

fn request() -> impl Strategy<Value = Input> {
    let ticket = || any::<u64>().prop_map(Ticket);
    prop_oneof![
        name().prop_map(Input::PeerUnreachable),
        (name(), 0..3_u32, 0..4_u32).prop_map(|(id, min, max)| Input::PeerVersions {
            id,
            versions: Some(Versions { min: Version(min), max: Version(max) }),
        }),
        ticket().prop_map(|ticket| Input::Propose { ticket, command: Bytes::from_static(b"x") }),
        ticket().prop_map(|ticket| Input::Barrier { ticket }),
        (ticket(), number(), change()).prop_map(|(ticket, expected, change)| Input::ChangeMembership {
            ticket,
            expected: Index(expected),
            change,
        }),
        ticket().prop_map(|ticket| Input::ReadIndex { ticket }),
        (ticket(), proptest::option::of(name())).prop_map(|(ticket, target)| Input::TransferLeadership {
            ticket,
            target: target.map(|target| target.raft_id),
        }),
        ticket().prop_map(|ticket| Input::Bootstrap {
            ticket,
            cluster_id: CLUSTER,
            server: id("a"),
            address: address("a"),
            mode: Mode::Log
        }),
        Just(Input::HandOver),
    ]
}

fn report() -> impl Strategy<Value = Input> {
    let reader = prop_oneof![
        Just(LogReader::Apply),
        (name(), number()).prop_map(|(id, epoch)| LogReader::Peer { id, epoch: Epoch(epoch) }),
    ];
    prop_oneof![
        number().prop_map(|sequence| Input::Persisted { sequence: Sequence(sequence) }),
        number().prop_map(|upto| Input::Applied { upto: Index(upto) }),
        (reader, entries()).prop_map(|(reader, entries)| Input::LogRead { reader, entries }),
        (name(), number(), number(), entry_name()).prop_map(|(from, term, epoch, last)| {
            Input::SnapshotReceived {
                from,
                term: Term(term),
                epoch: Epoch(epoch),
                meta: SnapshotMeta {
                    last,
                    configuration: IndexedConfiguration {
                        index: Index(1),
                        configuration: configuration(&["a", "b"], &[]),
                    },
                },
            }
        }),
        (name(), number(), entry_name()).prop_map(|(to, epoch, last)| Input::SnapshotProgress {
            to,
            epoch: Epoch(epoch),
            last
        }),
        (name(), number(), proptest::option::of(entry_name()))
            .prop_map(|(to, epoch, delivered)| Input::SnapshotSent { to, epoch: Epoch(epoch), delivered }),
        entry_name().prop_map(|applied| Input::DurableApplied { applied }),
        number().prop_map(|first| Input::Compacted { first: Index(first) }),
        number().prop_map(|at| Input::Restoring { at: Index(at) }),
        number().prop_map(|at| Input::ArchiveMissing { at: Index(at) }),
    ]
}

/// What the storage of a hostile run says: nothing is checked but the absence of panics.
fn member(voters: &[&str]) -> Solo {
    let mut disk: Disk = founded(voters, &["n"], true);
    disk.entries.extend((2..=5).map(|index| command(2, index, "x")));
    disk.hard_state.term = Term(2);
    disk.state = State {
        applied: log_id(1, 1),
        commands: Vec::new(),
        configuration: Some(IndexedConfiguration {
            index: Index(1),
            configuration: configuration(voters, &["n"]),
        }),
    };
    let mut solo = Solo::new(disk);
    solo.is_disk_stuck = true;
    solo
}

/// What the strategy makes of this seed, the same each time.
fn drawn<S: Strategy>(strategy: &S, seed: u64) -> S::Value {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let draws = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), draws);
    strategy.new_tree(&mut runner).unwrap().current()
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![6 => message(), 2 => request(), 2 => report(), 1 => Just(Input::Tick)]
}

/// B6; raft.md §7, 21: whatever peers, users and the driver say, in any order, a follower and a leader go on.
#[test]
fn steps_of_a_member_never_panic() {
    let story = (proptest::collection::vec(input(), 1..40), any::<bool>());
    quorate_fuzz::seeds("steps_of_a_member_never_panic", |seed| {
        let (inputs, is_single) = drawn(&story, seed);
        let mut solo = member(if is_single { &["a"] } else { &["a", "b", "c"] });
        for input in inputs {
            solo.now = solo.raft.next_deadline().max(solo.now);
            solo.step(input);
            let last = solo.writes.last().map(|persist| persist.sequence);
            if let Some(sequence) = last {
                solo.step(Input::Persisted { sequence });
            }
        }
    });
}

/// What a member may be when something hostile arrives.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Follower,
    FollowerOfB,
    InstallingSnapshot,
    PreCandidate,
    Candidate,
    NewLeader,
    Leader,
    LeaderWithReads,
    LeaderHandingOver,
    LeaderChangingMembership,
    LeaderBeingRemoved,
    LeaderWithCompactedLog,
}

fn any_state() -> impl Strategy<Value = Doing> {
    proptest::sample::select(vec![
        Doing::Follower,
        Doing::FollowerOfB,
        Doing::InstallingSnapshot,
        Doing::PreCandidate,
        Doing::Candidate,
        Doing::NewLeader,
        Doing::Leader,
        Doing::LeaderWithReads,
        Doing::LeaderHandingOver,
        Doing::LeaderChangingMembership,
        Doing::LeaderBeingRemoved,
        Doing::LeaderWithCompactedLog,
    ])
}

/// `a` in that state, in a term that the hostile numbers often name.
fn in_state(state: Doing) -> Solo {
    let mut solo = member(&["a", "b", "c"]);
    solo.is_disk_stuck = false;
    let lead = |solo: &mut Solo| {
        solo.elect(&["b"]);
        let (term, last) = (solo.status().term.0, solo.status().last.index);
        let outcome = AppendOutcome::Accepted { matched: last };
        solo.hear("b", term, Body::AppendResponse { epoch: Epoch(1), outcome });
        solo.hear("c", term, alive(Epoch(2), 0, 1));
        assert!(solo.status().is_ready);
    };
    let request = |change| Input::ChangeMembership { ticket: Ticket(1), expected: Index(1), change };
    match state {
        Doing::Follower => {}
        Doing::FollowerOfB => {
            solo.hear("b", 3, Body::HeartbeatRequest { epoch: Epoch(1), round: Round(0) });
        }
        Doing::InstallingSnapshot => {
            solo.is_disk_stuck = true;
            let configuration = configuration(&["a", "b"], &["c"]);
            let meta = SnapshotMeta {
                last: log_id(3, 8),
                configuration: IndexedConfiguration { index: Index(2), configuration },
            };
            solo.step(Input::SnapshotReceived { from: id("b"), term: Term(3), epoch: Epoch(1), meta });
        }
        Doing::PreCandidate => solo.tick(),
        Doing::Candidate => {
            solo.tick();
            solo.hear("b", 2, Body::PreVoteResponse { proposed: Term(3), granted: true });
        }
        Doing::NewLeader => solo.elect(&["b"]),
        Doing::Leader => lead(&mut solo),
        Doing::LeaderWithReads => {
            lead(&mut solo);
            solo.step(Input::ReadIndex { ticket: Ticket(1) });
            solo.step(Input::ReadIndex { ticket: Ticket(2) });
        }
        Doing::LeaderHandingOver => {
            lead(&mut solo);
            solo.step(Input::TransferLeadership { ticket: Ticket(1), target: Some(id("c").raft_id) });
        }
        Doing::LeaderChangingMembership => {
            lead(&mut solo);
            solo.step(request(crate::cluster::add("x")));
        }
        Doing::LeaderBeingRemoved => {
            lead(&mut solo);
            solo.step(request(crate::cluster::remove("a")));
        }
        Doing::LeaderWithCompactedLog => {
            let settings = Settings { retention_bytes: 0, retention_bytes_max: 0, ..Settings::default() };
            solo = Solo::with(solo.disk, settings);
            lead(&mut solo);
            let applied = solo.status().last;
            solo.step(Input::Applied { upto: applied.index });
            solo.step(Input::DurableApplied { applied });
            assert!(solo.status().first > applied.index);
        }
    }
    solo
}

/// B6; raft.md §7, 21: the same from every state a member can be in, with storage that answers at once, late, or
/// with numbers it was never given, and with time that stands still or jumps.
#[test]
fn steps_from_every_state_never_panic() {
    let pause = proptest::sample::select(vec![0_u64, 1, 100, 1_500, u64::MAX]);
    let story = (any_state(), proptest::collection::vec((input(), pause), 1..40), any::<bool>());
    quorate_fuzz::seeds("steps_from_every_state_never_panic", |seed| {
        let (state, inputs, is_disk_late) = drawn(&story, seed);
        let mut solo = in_state(state);
        // From here on what storage says is part of what is hostile.
        solo.is_disk_stuck = true;
        for (input, milliseconds) in inputs {
            solo.now = solo.now.plus(Duration::from_millis(milliseconds));
            solo.step(input);
            let last = solo.writes.last().map(|persist| persist.sequence);
            if let Some(sequence) = last.filter(|_| !is_disk_late) {
                solo.step(Input::Persisted { sequence });
            }
            let status = solo.status();
            assert!(status.applied <= status.commit && status.commit <= status.last.index);
        }
    });
}

/// B6: what breaks a rule is counted, and changes nothing.
#[test]
fn an_invalid_message_is_counted_and_changes_nothing() {
    let entries =
        |list: &[(u64, u64)]| list.iter().map(|(term, index)| command(*term, *index, "y")).collect();
    let append = |previous: LogId, entries: Vec<Entry>| Body::AppendRequest {
        epoch: Epoch(1),
        previous,
        entries,
        commit: Index(0),
    };
    let cases = [
        (3, append(log_id(2, 5), entries(&[(3, 7)])), InvalidMessage::BadEntries),
        (3, append(log_id(2, 5), entries(&[(3, 6), (2, 7)])), InvalidMessage::BadEntries),
        (3, append(log_id(2, 5), entries(&[(4, 6)])), InvalidMessage::BadEntries),
        (3, append(log_id(4, 5), entries(&[])), InvalidMessage::BadEntries),
        (
            u64::MAX,
            Body::VoteRequest { last: log_id(9, 9), is_transfer: false },
            InvalidMessage::NumberTooBig,
        ),
        (
            3,
            Body::PreVoteRequest { proposed: Term(u64::MAX), last: log_id(9, 9) },
            InvalidMessage::NumberTooBig,
        ),
    ];
    for (term, body, problem) in cases {
        let mut solo = member(&["a", "b", "c"]);
        assert!(solo.hear("b", term, body).is_empty());
        assert!(solo.events.contains(&Event::InvalidMessage { from: id("b"), problem }), "{problem:?}");
        assert_eq!((solo.status().term, solo.status().last), (Term(2), log_id(2, 5)));
    }
    let mut solo = member(&["a", "b", "c"]);
    let stranger = ServerId::new(RaftId::new("z").unwrap(), Incarnation(1));
    solo.step(Input::Receive(Message::new(id("b"), stranger, Term(9), Body::TimeoutNow)));
    solo.step(Input::Receive(Message::new(id("a"), id("a"), Term(9), Body::TimeoutNow)));
    assert_eq!(solo.status().term, Term(2));
    assert_eq!(solo.events.iter().filter(|event| matches!(event, Event::InvalidMessage { .. })).count(), 2);
}

/// A leader ignores acknowledgements of what it never sent.
#[test]
fn an_acknowledgement_of_more_than_was_sent_is_ignored() {
    let mut solo = member(&["a", "b", "c"]);
    solo.is_disk_stuck = false;
    solo.elect(&["b"]);
    let term = solo.status().term.0;
    let outcome = AppendOutcome::Accepted { matched: Index(99) };
    solo.hear("b", term, Body::AppendResponse { epoch: Epoch(1), outcome });
    solo.hear("b", term, alive(Epoch(1), 99, 0));
    let problem = InvalidMessage::AcknowledgesTooMuch;
    assert_eq!(
        solo.events
            .iter()
            .filter(|event| **event == Event::InvalidMessage { from: id("b"), problem })
            .count(),
        2
    );
    assert!(solo.status().peers.iter().all(|peer| peer.matched == Index(0)));
}
