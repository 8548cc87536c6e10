//! Statements and bug rows of raft.md that belong to no other file's subject, one test for each.

use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{
    Answer, AppendOutcome, Body, Change, Configuration, Entry, Epoch, Event, HardState, Index,
    IndexedConfiguration, Input, LogId, Message, Output, Payload, Refusal, Role, Round, Sequence, Settings,
    SnapshotMeta, StepDownReason, Term, Ticket, limits,
};

use crate::cluster::{Cluster, End, add, configuration, founded, id, remove};
use crate::disk::{Disk, State};
use crate::solo::{Solo, alive, command, log_id};

fn follower() -> Solo {
    Solo::new(founded(&["a", "b", "c"], &[], true))
}

fn append(previous: LogId, entries: Vec<Entry>, commit: u64) -> Body {
    Body::AppendRequest { epoch: Epoch(1), previous, entries, commit: Index(commit) }
}

fn heartbeat() -> Body {
    Body::HeartbeatRequest { epoch: Epoch(1), round: Round(0) }
}

fn accepted(matched: u64) -> Body {
    Body::AppendResponse { epoch: Epoch(1), outcome: AppendOutcome::Accepted { matched: Index(matched) } }
}

fn other_than(leader: &str) -> &'static str {
    if leader == "a" { "b" } else { "a" }
}

// ---- elections

/// S2: contact is a successful append, a granted vote, an installed snapshot, and the end of one's own
/// leadership. Whatever was refused is none: it would keep a member from campaigning for nothing.
#[test]
fn only_what_was_accepted_counts_as_contact() {
    let contact = |term: u64, body: Body| {
        let mut disk = founded(&["a", "b", "c"], &[], true);
        disk.entries.push(command(2, 2, "x"));
        disk.hard_state.term = Term(2);
        let mut solo = Solo::new(disk);
        solo.hear("b", term, body);
        solo.status().last_contact
    };
    let vote = |last| Body::VoteRequest { last, is_transfer: false };
    assert_eq!(contact(3, append(log_id(2, 2), vec![], 1)), Some(Duration::ZERO));
    assert_eq!(contact(3, append(log_id(3, 2), vec![], 1)), None, "a refused append");
    assert_eq!(contact(1, append(log_id(1, 1), vec![], 1)), None, "a stale append");
    assert_eq!(contact(1, heartbeat()), None, "a stale heartbeat");
    assert_eq!(contact(3, vote(log_id(2, 2))), Some(Duration::ZERO));
    assert_eq!(contact(3, vote(log_id(1, 9))), None, "a refused vote");
    assert_eq!(contact(3, Body::PreVoteRequest { proposed: Term(4), last: log_id(2, 2) }), None);

    let mut installs = follower();
    let configuration =
        IndexedConfiguration { index: Index(1), configuration: configuration(&["a", "b", "c"], &[]) };
    let meta = SnapshotMeta { last: log_id(2, 9), configuration: configuration.clone() };
    installs.snapshot =
        Some(State { applied: meta.last, commands: Vec::new(), configuration: Some(configuration) });
    installs.step(Input::SnapshotReceived { from: id("b"), term: Term(2), epoch: Epoch(1), meta });
    assert_eq!(installs.status().last_contact, Some(Duration::ZERO));

    let mut led = follower();
    led.elect(&["b"]);
    led.wait(2_000);
    assert_eq!(led.status().role, Role::Follower);
    assert!(led.events.contains(&Event::SteppedDown { term: Term(2), reason: StepDownReason::QuorumLost }));
    assert!(led.status().last_contact.is_some_and(|age| age < Duration::from_secs(1)));
}

/// S3, S18: a campaign that the leader asked for skips the pre-vote and says so to the voters; what
/// comes after it fails does neither.
#[test]
fn a_campaign_asked_for_by_the_leader_that_fails_asks_first_the_next_time() {
    let mut solo = follower();
    solo.hear("b", 2, heartbeat());
    let said = solo.hear("b", 2, Body::TimeoutNow);
    let ask = |is_transfer| Body::VoteRequest { last: log_id(1, 1), is_transfer };
    assert_eq!(said, [ask(true), ask(true)]);
    solo.tick();
    assert_eq!(solo.status().role, Role::PreCandidate);
    let said = solo.hear("c", 3, Body::PreVoteResponse { proposed: Term(4), granted: true });
    assert_eq!(said, [ask(false), ask(false)]);
}

/// O1: a heartbeat of a higher term at every point of a follower's work for the old leader. Nothing of
/// the old leader is taken after it, and what is acknowledged was taken before it, under the old term.
#[test]
fn a_heartbeat_of_a_higher_term_at_any_point_of_an_append_leaves_the_old_leader_nothing() {
    // Whether the disk is done with all that was written so far, or an append of the old leader.
    let script = [Some(3), None, Some(4), Some(5), None, Some(6), None];
    for at in 0..=script.len() {
        let mut disk = founded(&["a", "b", "c"], &[], true);
        disk.entries.push(command(2, 2, "first"));
        disk.hard_state = HardState { term: Term(2), vote: None, was_member: true };
        let mut solo = Solo::new(disk);
        solo.is_disk_stuck = true;
        let mut taken_before = Index(2);
        for (now, step) in script.iter().enumerate() {
            if now == at {
                solo.step(Input::Receive(Message::new(id("c"), id("a"), Term(3), heartbeat())));
                taken_before = solo.status().last.index;
            }
            match step {
                None => solo.sync(),
                Some(index) => {
                    let previous = log_id(2, index - 1);
                    let body = append(previous, vec![command(2, *index, "old")], 2);
                    solo.step(Input::Receive(Message::new(id("b"), id("a"), Term(2), body)));
                }
            }
        }
        solo.sync();
        if at == script.len() {
            continue;
        }
        assert_eq!((solo.status().term, solo.status().last), (Term(3), log_id(2, taken_before.0)), "at {at}");
        for message in solo.sent.iter().filter(|message| message.to == id("b")) {
            match message.body {
                Body::AppendResponse { outcome: AppendOutcome::Accepted { matched }, .. } => {
                    assert!(matched <= taken_before && message.term == Term(2), "at {at}: {message:?}");
                }
                Body::AppendResponse { outcome: AppendOutcome::Rejected { .. }, .. } => {
                    assert_eq!(message.term, Term(3), "at {at}");
                }
                ref other => panic!("at {at}: {other:?}"),
            }
        }
    }
}

/// O1: the same for a leader: from the heartbeat on it commits nothing, whatever was acknowledged in its
/// term, and everybody who waits hears that the outcome is unknown, once.
#[test]
fn a_heartbeat_of_a_higher_term_at_any_point_of_a_commit_ends_the_leader_at_once() {
    for at in 0..4 {
        let mut solo = follower();
        solo.elect(&["b"]);
        solo.hear("b", 2, accepted(2));
        solo.is_disk_stuck = true;
        let mut commit = Index(0);
        for now in 0..5 {
            if now == at {
                commit = solo.status().commit;
                solo.step(Input::Receive(Message::new(id("c"), id("a"), Term(3), heartbeat())));
                assert_eq!(solo.status().role, Role::Follower);
            }
            match now {
                0 => solo.step(Input::Propose { ticket: Ticket(1), command: Bytes::from_static(b"x") }),
                1 | 3 => {
                    solo.hear("b", 2, accepted(3));
                }
                _ => solo.sync(),
            }
        }
        assert_eq!(solo.status().commit, commit, "at {at}");
        let answers = solo.others.iter().filter(|output| matches!(output, Output::Answer { .. })).count();
        let is_applied = commit >= Index(3);
        assert_eq!(answers, usize::from(!is_applied), "at {at}: answered by the machine or by us, once");
    }
}

/// O7, K16: addresses decide nothing. All members restart, every recorded address is wrong, and a leader is
/// there within ten seconds; then the addresses are corrected by changes.
#[test]
fn a_group_whose_addresses_have_all_changed_elects_a_leader_within_ten_seconds() {
    let names = ["a", "b", "c"];
    let mut cluster = Cluster::new(1, &names);
    let nobody = quorate_raft::Address::new("10.0.0.1:7400").unwrap();
    for name in names {
        cluster.must_change(Change::SetAddress { id: id(name), address: nobody.clone() });
    }
    cluster.must_write("before");
    cluster.run_ms(1_500);
    for name in names {
        cluster.crash(name);
    }
    for name in names {
        cluster.start(name);
    }
    let restarted = cluster.now;
    let leader = cluster.must_lead();
    assert!(cluster.now.since(restarted) < Duration::from_secs(10));
    let servers = cluster.configuration(leader).configuration.servers().to_vec();
    assert!(servers.iter().all(|server| server.address == nobody), "all at the same wrong address");
    cluster.run_ms(300);
    for name in names {
        cluster.must_change(Change::SetAddress { id: id(name), address: crate::cluster::address(name) });
    }
    cluster.must_write("after");
}

/// B16: the leader's ID and its address are told together and move together.
#[test]
fn the_leader_s_id_and_address_move_together() {
    let mut cluster = Cluster::new(2, &["a", "b", "c"]);
    let first = cluster.must_lead();
    cluster.run_ms(300);
    let second = other_than(first);
    cluster.transfer(first, Some(second));
    cluster.until("it took over", |cluster| cluster.leader() == Some(second));
    cluster.must_lead();
    let moved = quorate_raft::Address::new("10.0.0.7:7400").unwrap();
    for address in [crate::cluster::address(second), moved.clone()] {
        if address == moved {
            cluster.run_ms(300);
            cluster.must_change(Change::SetAddress { id: id(second), address: moved.clone() });
        }
        cluster.until("all have heard", Cluster::is_converged);
        for name in ["a", "b", "c"] {
            let known = cluster.status(name).leader.unwrap();
            assert_eq!((known.id, known.address), (id(second), Some(address.clone())), "{name}");
        }
    }
}

// ---- leading

/// S11, N1: answers of non-voters keep no leader in office.
#[test]
fn a_leader_that_only_non_voters_answer_steps_down() {
    let mut cluster = Cluster::with(3, Settings::default(), &["a", "b", "c"], &["n", "o", "p"]);
    let leader = cluster.must_lead();
    for name in ["a", "b", "c"] {
        if name != leader {
            cluster.crash(name);
        }
    }
    cluster.run_ms(2_100);
    assert_eq!(cluster.status(leader).role, Role::Follower);
    let term = cluster.status(leader).term;
    let lost = Event::SteppedDown { term, reason: StepDownReason::QuorumLost };
    assert!(cluster.members[leader].events.contains(&lost));
}

/// S8, S11: a voter that is new has an election timeout of grace, so that its own addition deposes nobody;
/// K13 counts only what it really said.
#[test]
fn a_new_server_has_a_grace_in_check_quorum_and_none_in_the_checks_of_a_change() {
    let mut cluster = Cluster::new(4, &["a"]);
    let leader = cluster.must_lead();
    cluster.add("b", Disk::default());
    cluster.must_change(add("b"));
    cluster.until("it has caught up", Cluster::is_converged);
    let term = cluster.status(leader).term;
    cluster.must_change(Change::Promote { id: id("b"), stable_in_term: term });
    cluster.run_ms(300);
    // A new leadership: b has not answered in it, and is counted as heard when it begins.
    assert_eq!((cluster.leader().is_some(), cluster.status(leader).term), (true, term));

    let mut solo = follower();
    solo.elect(&["b"]);
    solo.hear("b", 2, accepted(2));
    solo.wait(900);
    assert_eq!(solo.status().role, Role::Leader, "c was never heard, b for 900 ms not");
    solo.others.clear();
    solo.step(Input::ChangeMembership { ticket: Ticket(1), expected: Index(1), change: remove("b") });
    let refused = Refusal::WouldLoseQuorum { voters: 2, reachable: 1, needed: 2 };
    assert_eq!(solo.others, [Output::Answer { ticket: Ticket(1), result: Err(refused) }]);
}

/// S8: a removed server is told of its removal, and once it knows it is left alone. One that cannot be
/// reached is left alone after ten election timeouts.
#[test]
fn a_removed_server_is_told_of_it_and_then_left_alone() {
    for is_reachable in [true, false] {
        let mut cluster = Cluster::new(5, &["a", "b", "c"]);
        let leader = cluster.must_lead();
        cluster.run_ms(300);
        let gone = other_than(leader);
        if !is_reachable {
            cluster.isolate(gone);
        }
        cluster.must_change(remove(gone));
        let timeouts = if is_reachable { 1 } else { limits::DEPARTING_ELECTION_TIMEOUTS };
        cluster.run_for(cluster.settings.election_timeout * timeouts + Duration::from_millis(500));
        cluster.members.get_mut(leader).unwrap().sent.clear();
        cluster.heal();
        cluster.must_write("x");
        cluster.run_for(Duration::from_secs(3));
        // An answer to whatever it asks is none of that: it is answered like anybody (K9).
        let supplies =
            |body: &Body| matches!(body, Body::AppendRequest { .. } | Body::HeartbeatRequest { .. });
        let sent = cluster.members[leader].sent.iter();
        let to_it = sent.filter(|message| message.to == id(gone) && supplies(&message.body)).count();
        assert_eq!(to_it, 0, "reachable: {is_reachable}");
        let knows = cluster.status(gone).membership == quorate_raft::Membership::Removed;
        assert_eq!(knows, is_reachable);
    }
}

/// S12, O1: a heartbeat can neither truncate nor commit; it only says who leads.
#[test]
fn a_heartbeat_neither_truncates_nor_commits() {
    let mut disk = founded(&["a", "b", "c"], &[], true);
    disk.entries.extend((2..=5).map(|index| command(2, index, "x")));
    disk.hard_state.term = Term(2);
    let mut solo = Solo::new(disk);
    for round in 0..20 {
        let beat = Body::HeartbeatRequest { epoch: Epoch(1), round: Round(round) };
        assert_eq!(solo.hear("b", 3, beat), [alive(Epoch(1), round, 1)]);
    }
    assert_eq!((solo.status().commit, solo.status().last), (Index(1), log_id(2, 5)));
    assert_eq!(solo.status().leader.map(|leader| leader.id), Some(id("b")));
}

/// S17, S18: while leadership is being handed over nothing enters the log, whoever asks; reads go on.
#[test]
fn while_leadership_is_handed_over_nothing_enters_the_log() {
    let mut cluster = Cluster::new(6, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let target = other_than(leader);
    cluster.members.get_mut(target).unwrap().write_delay = Duration::from_millis(400);
    cluster.propose(leader, "x");
    cluster.transfer(leader, Some(target));
    let last = cluster.status(leader).last;
    let barrier = cluster.ticket();
    cluster.step(leader, vec![Input::Barrier { ticket: barrier }]);
    let tickets = [
        cluster.propose(leader, "y"),
        barrier,
        cluster.change(leader, add("n")),
        cluster.transfer(leader, None),
    ];
    for ticket in tickets {
        assert_eq!(cluster.ends[&ticket], End::Refused(Refusal::TransferInProgress));
    }
    assert_eq!(cluster.status(leader).last, last);
    let read = cluster.read(leader);
    cluster.run_ms(50);
    assert!(matches!(cluster.ends[&read], End::Answered(Answer::ReadIndex { .. })));
}

/// S16, S19: an answer with a higher term ends the leadership; who waits for a read hears `NotLeader`, who
/// waits for a write that its outcome is unknown.
#[test]
fn an_answer_of_a_higher_term_ends_reads_as_not_leader_and_writes_as_unknown() {
    let mut solo = follower();
    solo.elect(&["b"]);
    solo.hear("b", 2, accepted(2));
    solo.step(Input::ReadIndex { ticket: Ticket(1) });
    solo.step(Input::Propose { ticket: Ticket(2), command: Bytes::from_static(b"x") });
    solo.others.clear();
    solo.hear("c", 9, alive(Epoch(2), 1, 1));
    let answer = |ticket, refusal| Output::Answer { ticket: Ticket(ticket), result: Err(refusal) };
    assert_eq!(
        solo.others,
        [
            answer(2, Refusal::LeadershipLost { index: Index(3) }),
            answer(1, Refusal::NotLeader { leader: None })
        ]
    );
    assert_eq!((solo.status().term, solo.status().role), (Term(9), Role::Follower));
}

// ---- applying and snapshots

/// S21, K25: what is committed is handed to the machine in order, each entry once, and no more than the
/// machine can hold: the rest waits until it says how far it is.
#[test]
fn committed_entries_are_handed_out_in_order_once_and_within_the_limits() {
    let mut solo = follower();
    solo.is_machine_stuck = true;
    solo.applied.clear();
    let count = 20;
    let body = || Payload::Command(Bytes::from(vec![0_u8; 1 << 20]));
    let entries =
        (2..count + 2).map(|index| Entry { term: Term(2), index: Index(index), payload: body() }).collect();
    solo.raft.step(solo.now, Input::Applied { upto: Index(1) }, &mut Vec::new());
    solo.hear("b", 2, append(log_id(1, 1), entries, count + 1));
    assert_eq!(solo.status().commit, Index(count + 1));
    let most = usize::try_from(limits::APPLY_BYTES_IN_FLIGHT_MAX / limits::APPLY_BYTES_MAX).unwrap();
    let mut done = 1;
    while done < count + 1 {
        let handed: Vec<u64> = solo.applied.drain(..).map(|entry| entry.index.0).collect();
        assert!((1..=most).contains(&handed.len()), "{handed:?}");
        assert_eq!(handed, (done + 1..=done + handed.len() as u64).collect::<Vec<u64>>());
        done += handed.len() as u64;
        // What it was not given it cannot have applied.
        solo.step(Input::Applied { upto: Index(u64::MAX) });
        assert_eq!(solo.status().applied, Index(done));
    }
    solo.step(Input::Applied { upto: Index(3) });
    assert!(solo.applied.is_empty());
    assert_eq!(solo.status().applied, Index(count + 1), "it never falls");
}

/// B18, S24: what is told of an installed snapshot are its own numbers, and the machine goes on from there.
#[test]
fn an_installed_snapshot_is_told_with_its_own_numbers() {
    let mut solo = follower();
    let newer: Configuration = configuration(&["a", "b"], &["c"]);
    let known = IndexedConfiguration { index: Index(7), configuration: newer };
    let meta = SnapshotMeta { last: log_id(2, 9), configuration: known.clone() };
    solo.snapshot =
        Some(State { applied: meta.last, commands: Vec::new(), configuration: Some(known.clone()) });
    solo.events.clear();
    solo.step(Input::SnapshotReceived { from: id("b"), term: Term(2), epoch: Epoch(1), meta });
    for event in [
        Event::SnapshotInstalled { last: log_id(2, 9) },
        Event::ConfigurationChanged { index: Index(7) },
        Event::ConfigurationCommitted { index: Index(7) },
    ] {
        assert!(solo.events.contains(&event), "{event:?}");
    }
    let status = solo.status();
    assert_eq!((status.latest, status.committed), (Some(known.clone()), Some(known)));
    assert_eq!((status.commit, status.applied, status.first), (Index(9), Index(9), Index(10)));
}

/// S9, K5: a snapshot in place of a log whose tail held a configuration: that one is gone with the tail, for
/// latest and committed alike.
#[test]
fn a_configuration_in_a_tail_that_a_snapshot_replaces_is_gone() {
    let mut disk = founded(&["a", "b", "c"], &[], true);
    disk.entries.push(command(2, 2, "x"));
    let payload = Payload::Configuration(configuration(&["a", "b", "c"], &["n"]));
    disk.entries.push(Entry { term: Term(2), index: Index(3), payload });
    disk.hard_state.term = Term(2);
    let mut solo = Solo::new(disk);
    assert_eq!(solo.status().latest.map(|latest| latest.index), Some(Index(3)));
    let known = IndexedConfiguration { index: Index(1), configuration: configuration(&["a", "b", "c"], &[]) };
    let meta = SnapshotMeta { last: log_id(3, 2), configuration: known.clone() };
    solo.snapshot =
        Some(State { applied: meta.last, commands: Vec::new(), configuration: Some(known.clone()) });
    solo.step(Input::SnapshotReceived { from: id("b"), term: Term(3), epoch: Epoch(1), meta });
    assert_eq!((solo.status().latest, solo.status().committed), (Some(known.clone()), Some(known)));
    assert_eq!(solo.disk.entries.len(), 0);
}

/// O4: reports of storage that it never gave, or gave before, let nothing leave.
#[test]
fn a_confirmation_that_storage_never_gave_lets_nothing_leave() {
    let mut solo = follower();
    solo.is_disk_stuck = true;
    solo.step(Input::Persisted { sequence: Sequence(99) });
    let said = solo.hear("b", 5, Body::VoteRequest { last: log_id(1, 1), is_transfer: false });
    assert!(said.is_empty());
    solo.step(Input::Persisted { sequence: Sequence(0) });
    assert!(solo.said().is_empty());
    solo.sync();
    assert_eq!(solo.said(), [Body::VoteResponse { granted: true }]);
}

/// S23, K3: a report of a flush that holds more than the machine was given, or another entry, is none of ours:
/// the log forgets nothing for it.
#[test]
fn a_flush_of_what_was_never_applied_lets_the_log_forget_nothing() {
    let mut disk = founded(&["a", "b", "c"], &[], true);
    disk.entries.extend((2..=5).map(|index| command(2, index, "x")));
    disk.hard_state.term = Term(2);
    let settings = Settings { retention_bytes: 0, retention_bytes_max: 0, ..Settings::default() };
    let mut solo = Solo::with(disk, settings);
    solo.hear("b", 2, append(log_id(2, 5), vec![], 3));
    solo.step(Input::Applied { upto: Index(3) });
    for applied in [log_id(2, 5), log_id(2, 4), log_id(1, 3), log_id(2, 99)] {
        solo.step(Input::DurableApplied { applied });
        assert_eq!((solo.status().first, solo.status().durable_applied), (Index(1), Index(0)), "{applied}");
    }
    solo.step(Input::DurableApplied { applied: log_id(2, 3) });
    assert_eq!((solo.status().first, solo.status().durable_applied), (Index(4), Index(3)));
}
