//! Replacing a voter in one change, through a joint configuration (K14, K15, S7-S10, K4, K19).

use std::time::Duration;

use quorate_raft::{
    Answer, AppendOutcome, Body, Change, Configuration, Entry, Epoch, Event, Index, IndexedConfiguration,
    Input, Intent, InvalidChange, LogId, Membership, Payload, Refusal, Role, SnapshotMeta, StepDownReason,
    Suffrage, Term, Ticket,
};

use crate::cluster::{Cluster, End, add, address, configuration, founded, id, server};
use crate::disk::{Disk, State};
use crate::solo::{Solo, alive, log_id};

fn replace(cluster: &Cluster, old: &str, new: &str, old_has_left: bool) -> Change {
    let stable_in_term = cluster.status(cluster.leader().unwrap()).term;
    Change::Replace { old: id(old), new: id(new), stable_in_term, old_has_left }
}

fn refused(cluster: &Cluster, ticket: Ticket) -> &Refusal {
    match &cluster.ends[&ticket] {
        End::Refused(refusal) => refusal,
        end => panic!("{end:?}"),
    }
}

/// `b` goes, `n` comes; `a` and `c` are in both halves.
fn joint() -> Configuration {
    Configuration::new(vec![
        server("a", Suffrage::Voter),
        server("b", Suffrage::Outgoing),
        server("c", Suffrage::Voter),
        server("n", Suffrage::Incoming),
    ])
    .unwrap()
}

/// A leader of three with a level non-voter `n`, and the two that follow.
fn prepared(
    seed: u64,
    intent: impl Fn(&'static str) -> Intent,
) -> (Cluster, &'static str, [&'static str; 2]) {
    let mut cluster = Cluster::new(seed, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|name| *name != leader).collect();
    cluster.add("n", Disk::default());
    let intent = intent(others[0]);
    cluster.must_change(Change::AddNonVoter {
        id: id("n"),
        address: address("n"),
        intent,
        versions: quorate_raft::Versions::OURS,
    });
    cluster.until("all are level", Cluster::is_converged);
    (cluster, leader, [others[0], others[1]])
}

/// K14, K15: a dead voter is swapped for its replacement in one change. There are three voters before,
/// after, and in each half between; the answer names the entry without the old one.
#[test]
fn a_dead_voter_is_replaced_and_the_number_of_voters_never_changes() {
    let (mut cluster, leader, [old, _]) = prepared(1, |old| Intent::ReplacementFor(id(old)));
    cluster.crash(old);
    cluster.run_ms(1_500);
    let ticket = cluster.change(leader, replace(&cluster, old, "n", false));
    let entered = cluster.configuration(leader);
    assert!(entered.configuration.is_joint());
    assert!(entered.configuration.majorities().iter().all(|half| half.len() == 3));
    assert!(!cluster.ends.contains_key(&ticket), "the joint entry is not the end");
    cluster.until("it is answered", |cluster| cluster.ends.contains_key(&ticket));
    let left = cluster.configuration(leader);
    assert_eq!(left.index, entered.index.next());
    let answer = Answer::MembershipChanged { configuration_index: left.index };
    assert_eq!(cluster.ends[&ticket], End::Answered(answer));
    assert!(cluster.status(leader).commit >= left.index);
    let voters: Vec<&str> = ["a", "b", "c", "n"].into_iter().filter(|name| *name != old).collect();
    assert_eq!(left.configuration, configuration(&voters, &[]), "it replaces nobody any more");
    cluster.must_write("x");
    cluster.until("all are level", Cluster::is_converged);
}

/// K14: with only one of the two majorities nothing commits, whichever it is; afterwards the change is
/// finished or, if its leader fell, undone or finished by the next one.
#[test]
fn a_joint_configuration_commits_nothing_with_one_of_its_majorities() {
    for new_half_is_cut in [false, true] {
        let (mut cluster, leader, [old, other]) = prepared(2, |_| Intent::Voter);
        if !new_half_is_cut {
            // The old half is left with one of three, the new one with two.
            cluster.crash(old);
            cluster.run_ms(1_500);
        }
        cluster.isolate(other);
        if new_half_is_cut {
            // The old half keeps two of three, the new one only the leader.
            cluster.isolate("n");
        }
        cluster.change(leader, replace(&cluster, old, "n", true));
        let joint = cluster.configuration(leader).index;
        cluster.run_ms(800);
        assert!(cluster.status(leader).commit < joint, "{new_half_is_cut}");
        cluster.heal();
        cluster.until("it is not joint any more", |cluster| {
            cluster.leader().is_some_and(|leader| {
                let status = cluster.status(leader);
                status.is_ready && !status.is_changing()
            })
        });
        cluster.must_write("x");
    }
}

/// A member alone whose log ends with the joint configuration.
fn solo_in_joint() -> Solo {
    Solo::new(disk_in_joint())
}

fn disk_in_joint() -> Disk {
    let mut disk = founded(&["a", "b", "c"], &["n"], true);
    let payload = Payload::Configuration(joint());
    disk.entries.push(Entry { term: Term(1), index: Index(2), payload });
    disk
}

fn pre_vote(solo: &mut Solo, from: &str) -> Role {
    let (term, proposed) = (solo.status().term, solo.status().term.next());
    solo.hear(from, term.0, Body::PreVoteResponse { proposed, granted: true });
    solo.status().role
}

fn vote(solo: &mut Solo, from: &str) -> Role {
    let term = solo.status().term;
    solo.hear(from, term.0, Body::VoteResponse { granted: true });
    solo.status().role
}

fn acknowledge(solo: &mut Solo, from: &str) -> Index {
    let (term, last) = (solo.status().term, solo.status().last);
    let epoch = epoch_of(from);
    let outcome = AppendOutcome::Accepted { matched: last.index };
    solo.hear(from, term.0, Body::AppendResponse { epoch, outcome });
    solo.status().commit
}

/// Peers get their epochs in the order of their names.
fn epoch_of(name: &str) -> Epoch {
    Epoch(["b", "c", "n"].iter().position(|each| *each == name).unwrap() as u64 + 1)
}

/// K14, S3: pre-votes and votes need both majorities; `a` and `b` are one of the old half, `a` and `n`
/// one of the new.
#[test]
fn pre_vote_and_vote_need_both_majorities_while_joint() {
    for order in [["b", "n"], ["n", "b"]] {
        let mut solo = solo_in_joint();
        solo.tick();
        assert_eq!(pre_vote(&mut solo, order[0]), Role::PreCandidate);
        assert_eq!(pre_vote(&mut solo, order[1]), Role::Candidate);
        assert_eq!(vote(&mut solo, order[0]), Role::Candidate);
        assert_eq!(vote(&mut solo, order[1]), Role::Leader);
    }
}

/// K14, S6: a commit needs both; the leave entry follows in the very turn that commits the joint one
/// in the leader's own term, without anybody asking, and not before.
#[test]
fn a_commit_needs_both_majorities_while_joint_and_then_whoever_leads_leaves() {
    for order in [["b", "n"], ["n", "b"]] {
        let mut solo = solo_in_joint();
        solo.elect(&["b", "n"]);
        assert_eq!(solo.status().last.index, Index(3), "only its no-op");
        assert_eq!(acknowledge(&mut solo, order[0]), Index(1));
        assert!(solo.status().latest.unwrap().configuration.is_joint());
        assert_eq!(acknowledge(&mut solo, order[1]), Index(3));
        let latest = solo.status().latest.unwrap();
        assert_eq!(latest.index, Index(4));
        assert_eq!(latest.configuration, configuration(&["a", "c", "n"], &[]));
        // The new half decides from here on: the old voter counts no more.
        assert_eq!(acknowledge(&mut solo, "b"), Index(3));
        assert_eq!(acknowledge(&mut solo, "c"), Index(4));
    }
}

/// K14: that the joint entry is committed is not enough: a leader leaves once it has committed in its
/// own term, for before that it does not know what else is.
#[test]
fn a_new_leader_leaves_only_after_the_first_commit_of_its_term() {
    let mut solo = Solo::new(Disk { commit: Index(2), ..disk_in_joint() });
    solo.elect(&["b", "n"]);
    assert_eq!(solo.status().committed, solo.status().latest);
    assert_eq!(solo.status().last.index, Index(3), "its no-op and nothing else");
    // The replacement is under way all the while: who asks for another change is not kept waiting (K13).
    let (ticket, expected) = (Ticket(1), Index(2));
    solo.step(Input::ChangeMembership { ticket, expected, change: add("o") });
    let result = Err(Refusal::ConfigurationChanging { index: expected });
    assert_eq!(solo.others, [quorate_raft::Output::Answer { ticket, result }]);
    acknowledge(&mut solo, "b");
    assert_eq!(solo.status().last.index, Index(3));
    acknowledge(&mut solo, "n");
    assert_eq!(solo.status().last.index, Index(4));
    assert!(!solo.status().latest.unwrap().configuration.is_joint());
}

/// Elected, committed in its term, and then asked to replace `b` by `n`, all of whom answered.
fn solo_replacing() -> (Solo, u64) {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &["n"], true));
    solo.elect(&["b", "c"]);
    for name in ["b", "c", "n"] {
        acknowledge(&mut solo, name);
    }
    let (term, expected) = (solo.status().term, Index(1));
    let change = Change::Replace { old: id("b"), new: id("n"), stable_in_term: term, old_has_left: true };
    solo.step(Input::ChangeMembership { ticket: Ticket(1), expected, change });
    assert!(solo.status().latest.unwrap().configuration.is_joint(), "{:?}", solo.others);
    (solo, term.0)
}

/// K14, S29: a read needs both, from the joint entry's append on.
#[test]
fn a_read_needs_both_majorities_while_joint() {
    for order in [["b", "n"], ["n", "b"]] {
        let (mut solo, term) = solo_replacing();
        solo.others.clear();
        solo.step(Input::ReadIndex { ticket: Ticket(2) });
        for (name, is_answered) in [(order[0], false), (order[1], true)] {
            let epoch = epoch_of(name);
            solo.hear(name, term, alive(epoch, 1, 2));
            assert_eq!(!solo.others.is_empty(), is_answered, "{name}: {:?}", solo.others);
        }
    }
}

/// K14, S11: a leader that hears one majority only steps down.
#[test]
fn check_quorum_needs_both_majorities_while_joint() {
    for (heard, is_enough) in
        [(vec!["b"], false), (vec!["n"], false), (vec!["b", "n"], true), (vec!["c"], true)]
    {
        let (mut solo, term) = solo_replacing();
        for _ in 0..30 {
            solo.wait(100);
            for name in &heard {
                if solo.status().role == Role::Leader {
                    let epoch = epoch_of(name);
                    solo.hear(name, term, alive(epoch, 0, 2));
                }
            }
        }
        let stepped_down = Event::SteppedDown { term: Term(term), reason: StepDownReason::QuorumLost };
        assert_eq!(!solo.events.contains(&stepped_down), is_enough, "{heard:?}");
    }
}

/// K14: the leader that entered dies; the next one leaves, whether or not it held the joint entry as
/// committed. Nobody asks it to.
#[test]
fn the_next_leader_leaves_what_its_predecessor_entered() {
    let mut finished = 0;
    for seed in 0..40 {
        let (mut cluster, leader, [old, other]) = prepared(100 + seed, |_| Intent::Voter);
        if seed % 4 == 0 {
            // Nobody hears of it.
            cluster.isolate(leader);
        }
        cluster.change(leader, replace(&cluster, old, "n", true));
        cluster.run_ms(seed % 8);
        cluster.crash(leader);
        cluster.heal();
        cluster.until("another leads and is settled", |cluster| {
            cluster.leader().is_some_and(|leader| {
                let status = cluster.status(leader);
                status.is_ready && !status.is_changing()
            })
        });
        let now = cluster.configuration(cluster.leader().unwrap()).configuration;
        if now.contains(&id(old)) {
            assert!(!now.is_voter(&id("n")) && now.is_voter(&id(old)), "undone as a whole");
        } else {
            assert!(now.is_voter(&id("n")) && now.is_voter(&id(other)), "done as a whole");
            finished += 1;
        }
        cluster.must_write("x");
        cluster.start(leader);
        cluster.must_write("y");
        cluster.until("all are level", Cluster::is_converged);
    }
    assert!((1..40).contains(&finished), "{finished} of 40: both ends must be seen");
}

/// K14, K4: all members restart while joint, from log or state; the change is finished.
#[test]
fn a_joint_configuration_survives_a_restart_of_everybody() {
    for flushed in [false, true] {
        let (mut cluster, leader, [old, _]) = prepared(3, |_| Intent::Voter);
        cluster.change(leader, replace(&cluster, old, "n", true));
        let names: Vec<&'static str> = cluster.members.keys().copied().collect();
        cluster.until("all disks hold it", |cluster| {
            names.iter().all(|name| cluster.status(name).latest.unwrap().configuration.is_joint())
                && names.iter().all(|name| cluster.status(name).persisted == cluster.status(name).last.index)
        });
        for name in &names {
            if flushed {
                cluster.flush(name);
            }
        }
        for name in &names {
            cluster.crash(name);
        }
        for name in &names {
            cluster.start(name);
            assert!(cluster.configuration(name).configuration.is_joint());
        }
        cluster.until("it is finished", |cluster| {
            cluster.leader().is_some_and(|leader| {
                let status = cluster.status(leader);
                status.is_ready
                    && !status.is_changing()
                    && !status.latest.unwrap().configuration.contains(&id(old))
            })
        });
        cluster.must_write("x");
    }
}

/// S9: a joint configuration that is cut from the log is no longer in effect, as a whole.
#[test]
fn a_joint_configuration_that_is_truncated_is_rolled_back() {
    let (mut cluster, leader, [old, _]) = prepared(4, |_| Intent::Voter);
    let before = cluster.configuration(leader);
    cluster.isolate(leader);
    let ticket = cluster.change(leader, replace(&cluster, old, "n", true));
    assert!(cluster.configuration(leader).configuration.is_joint());
    cluster.until("another leads", |cluster| cluster.leader().is_some_and(|other| other != leader));
    cluster.must_write("x");
    cluster.heal();
    cluster.until("all are level", Cluster::is_converged);
    assert_eq!(cluster.configuration(leader), before);
    assert!(matches!(refused(&cluster, ticket), Refusal::LeadershipLost { .. }), "its outcome was unknown");
}

/// S9: a leave entry that is cut from the log puts the joint configuration back in effect.
#[test]
fn a_truncated_leave_entry_returns_to_the_joint_configuration() {
    let mut solo = solo_in_joint();
    let left = Payload::Configuration(configuration(&["a", "c", "n"], &[]));
    let append = |term, payload| Body::AppendRequest {
        epoch: Epoch(1),
        previous: log_id(1, 2),
        entries: vec![Entry { term: Term(term), index: Index(3), payload }],
        commit: Index(2),
    };
    solo.hear("c", 2, append(2, left));
    assert!(!solo.status().latest.unwrap().configuration.is_joint());
    solo.hear("n", 3, append(3, Payload::Noop));
    assert_eq!(solo.status().latest, Some(IndexedConfiguration { index: Index(2), configuration: joint() }));
    assert_eq!(solo.status().committed, solo.status().latest);
}

/// K4, K5: a snapshot holds both halves, and who installs it counts both.
#[test]
fn a_snapshot_taken_while_joint_holds_both_halves() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &["n"], true));
    let indexed = IndexedConfiguration { index: Index(8), configuration: joint() };
    let last = LogId::new(Term(2), Index(9));
    let state = State { applied: last, commands: Vec::new(), configuration: Some(indexed.clone()) };
    solo.snapshot = Some(state);
    let meta = SnapshotMeta { last, configuration: indexed.clone() };
    solo.step(Input::SnapshotReceived { from: id("c"), term: Term(2), epoch: Epoch(1), meta });
    assert_eq!(solo.status().latest, Some(indexed.clone()));
    let mut solo = Solo::new(solo.disk);
    assert_eq!(solo.status().latest, Some(indexed));
    solo.tick();
    assert_eq!(pre_vote(&mut solo, "b"), Role::PreCandidate);
    assert_eq!(pre_vote(&mut solo, "n"), Role::Candidate);
}

/// K13, K14: from enter to leave no other change is taken, though the joint entry may be committed.
#[test]
fn no_other_change_is_taken_until_the_joint_configuration_is_left() {
    let (mut cluster, leader, [old, _]) = prepared(5, |_| Intent::Voter);
    let ticket = cluster.change(leader, replace(&cluster, old, "n", true));
    while !cluster.ends.contains_key(&ticket) {
        let index = cluster.configuration(leader).index;
        let second = cluster.change(leader, add("o"));
        assert_eq!(refused(&cluster, second), &Refusal::ConfigurationChanging { index });
        let limit = cluster.now.plus(Duration::from_millis(1));
        cluster.turn(limit);
    }
    cluster.must_change(add("o"));
}

/// K15: who still does its work is replaced only if it was declared to go; the leader does its work.
#[test]
fn a_voter_that_answers_is_not_replaced_unless_it_was_declared_to_leave() {
    let (mut cluster, leader, [old, _]) = prepared(6, |_| Intent::Voter);
    for name in [old, leader] {
        let ticket = cluster.change(leader, replace(&cluster, name, "n", false));
        let Refusal::StillServes { id: named, ago } = refused(&cluster, ticket) else { panic!() };
        assert_eq!(*named, id(name));
        assert!(*ago < Duration::from_secs(1));
    }
    cluster.must_change(replace(&cluster, old, "n", true));
    assert!(cluster.configuration(leader).configuration.is_voter(&id("n")));
}

/// S7, K13, K15: what is not a replacement is refused with its reason, and nothing is changed.
#[test]
fn a_replacement_that_makes_no_sense_is_refused() {
    let (mut cluster, leader, [old, other]) = prepared(7, |old| Intent::ReplacementFor(id(old)));
    cluster.add("o", Disk::default());
    cluster.must_change(add("o"));
    let replica = Change::AddNonVoter {
        id: id("r"),
        address: address("r"),
        intent: Intent::ReadReplica,
        versions: quorate_raft::Versions::OURS,
    };
    cluster.must_change(replica);
    cluster.until("o is level", |cluster| cluster.status("o").last == cluster.status(leader).last);
    cluster.run_ms(200);
    let before = cluster.configuration(leader);
    let cases = [
        (old, old, InvalidChange::AlreadyVoter(id(old))),
        (old, other, InvalidChange::AlreadyVoter(id(other))),
        ("x", "n", InvalidChange::NotMember(id("x"))),
        (old, "x", InvalidChange::NotMember(id("x"))),
        ("n", "o", InvalidChange::NothingToReplace(id("n"))),
        (other, "r", InvalidChange::ReadReplica(id("r"))),
        (other, "n", InvalidChange::WaitsForReplaced { id: id("n"), old: id(old) }),
        (old, "o", InvalidChange::AlreadyReplaced { old: id(old), other: id("n") }),
    ];
    for (old, new, invalid) in cases {
        let ticket = cluster.change(leader, replace(&cluster, old, new, true));
        assert_eq!(refused(&cluster, ticket), &Refusal::InvalidChange(invalid));
    }
    let Change::Replace { old, new, stable_in_term, .. } = replace(&cluster, old, "n", true) else {
        panic!()
    };
    let earlier = Term(stable_in_term.0 - 1);
    let unstable = Change::Replace { old, new, stable_in_term: earlier, old_has_left: true };
    let ticket = cluster.change(leader, unstable);
    assert_eq!(refused(&cluster, ticket), &Refusal::NotStable { id: id("n") });
    assert_eq!(cluster.configuration(leader), before);
}

/// K13: the new voter has the log, and a quorum of each half answers, before the change is entered.
#[test]
fn a_replacement_needs_a_level_newcomer_and_a_quorum_of_each_half() {
    let (mut cluster, leader, [old, other]) = prepared(8, |_| Intent::Voter);
    cluster.must_change(add("o"));
    let ticket = cluster.change(leader, replace(&cluster, old, "o", true));
    assert!(matches!(refused(&cluster, ticket), Refusal::NotCaughtUp { .. }), "it was never heard");
    // The old half keeps its quorum by the very server that goes, the new one has the leader alone.
    cluster.crash(other);
    cluster.isolate("n");
    cluster.run_ms(1_500);
    let ticket = cluster.change(leader, replace(&cluster, old, "n", true));
    let lost = Refusal::WouldLoseQuorum { voters: 3, reachable: 1, needed: 2 };
    let found = refused(&cluster, ticket);
    assert!(*found == lost || matches!(found, Refusal::NotCaughtUp { .. }), "{found:?}");
}

/// S10, K14, K19: a leader that is replaced leads until that is done, hands over and is quiet.
#[test]
fn a_replaced_leader_hands_over_once_it_is_out() {
    let (mut cluster, leader, _) = prepared(9, |_| Intent::Voter);
    let ticket = cluster.change(leader, replace(&cluster, leader, "n", true));
    cluster.until("it is answered", |cluster| {
        assert!(cluster.ends.contains_key(&ticket) || cluster.status(leader).role == Role::Leader);
        cluster.ends.contains_key(&ticket)
    });
    assert!(matches!(cluster.ends[&ticket], End::Answered(_)));
    assert_eq!(cluster.status(leader).membership, Membership::Removed);
    let before = cluster.now;
    cluster.must_lead();
    assert!(cluster.now.since(before) < Duration::from_millis(300), "the furthest takes over at once");
    cluster.must_write("x");
    let refusal = cluster.propose(leader, "y");
    assert_eq!(refused(&cluster, refusal), &Refusal::Removed);
}

/// K14: even the only voter can be replaced: both it and the newcomer must agree.
#[test]
fn the_only_voter_is_replaced_with_both_agreeing() {
    let mut cluster = Cluster::new(10, &["a"]);
    cluster.must_lead();
    cluster.add("n", Disk::default());
    cluster.must_change(add("n"));
    cluster.until("it is level", Cluster::is_converged);
    cluster.must_change(replace(&cluster, "a", "n", true));
    cluster.until("it leads", |cluster| cluster.leader() == Some("n"));
    cluster.must_write("x");
    assert_eq!(cluster.configuration("n").configuration, configuration(&["n"], &[]));
}

/// S18, K14: leadership is not given to a voter on its way out.
#[test]
fn leadership_is_not_handed_to_a_voter_on_its_way_out() {
    let (mut solo, _) = solo_replacing();
    solo.others.clear();
    let target = Some(id("b").raft_id);
    solo.step(Input::TransferLeadership { ticket: Ticket(2), target: target.clone() });
    let refusal = Err(Refusal::NoTransferTarget { target });
    assert_eq!(solo.others, [quorate_raft::Output::Answer { ticket: Ticket(2), result: refusal }]);
    for name in ["b", "c", "n"] {
        assert_eq!(solo.status().peers.iter().filter(|peer| peer.id == id(name)).count(), 1);
    }
}

/// O5, K14: who left by a replacement may come back under the same directory, without a vote.
#[test]
fn a_replaced_server_may_be_added_again_as_a_non_voter() {
    let (mut cluster, _, [old, _]) = prepared(11, |_| Intent::Voter);
    cluster.must_change(replace(&cluster, old, "n", true));
    cluster.until("it knows", |cluster| cluster.status(old).membership == Membership::Removed);
    cluster.must_change(add(old));
    cluster.until("all are level", Cluster::is_converged);
    assert_eq!(cluster.status(old).membership, Membership::NonVoter);
}
