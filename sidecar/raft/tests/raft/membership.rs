//! Changes of membership (S7-S10, K13, K15, K19, K33, N5, N6, B5).

use std::time::Duration;

use quorate_raft::{
    Address, Answer, Change, Event, Incarnation, Index, Input, Intent, InvalidChange, Membership, Refusal,
    RemoveReason, Role, ServerId, StepDownReason, Suffrage, Term,
};

use crate::cluster::{Cluster, End, add, address, configuration, id, remove};
use crate::disk::Disk;

fn promote(cluster: &Cluster, name: &str) -> Change {
    let term = cluster.status(cluster.leader().unwrap()).term;
    Change::Promote { id: id(name), stable_in_term: term }
}

fn refused(cluster: &Cluster, ticket: quorate_raft::Ticket) -> &Refusal {
    match &cluster.ends[&ticket] {
        End::Refused(refusal) => refusal,
        end => panic!("{end:?}"),
    }
}

/// S7, S8, K15: from one voter to three and back, one server at a time.
#[test]
fn a_group_grows_from_one_to_three_and_shrinks_again() {
    let mut cluster = Cluster::new(1, &["a"]);
    for name in ["b", "c"] {
        cluster.must_lead();
        cluster.add(name, Disk::default());
        cluster.must_change(add(name));
        cluster.until("it has caught up", Cluster::is_converged);
        assert_eq!(cluster.status(name).membership, Membership::NonVoter);
        let change = promote(&cluster, name);
        cluster.must_change(change);
    }
    cluster.must_write("x");
    assert_eq!(cluster.configuration("a").configuration, configuration(&["a", "b", "c"], &[]));
    cluster.must_change(remove("c"));
    cluster.must_change(remove("b"));
    cluster.must_write("y");
    assert_eq!(cluster.leader(), Some("a"));
}

/// raft.md §7, 12; N5, S7: the index is that of the entry; a stale one is refused and names the right one.
#[test]
fn a_change_decided_on_an_old_configuration_is_refused() {
    let mut cluster = Cluster::new(2, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let before = cluster.configuration(leader).index;
    assert_eq!(before, Index(1));
    cluster.must_change(add("n"));
    let now = cluster.configuration(leader).index;
    assert!(now > before);
    let ticket = cluster.change_at(leader, before, remove("n"));
    assert_eq!(refused(&cluster, ticket), &Refusal::ConfigurationMismatch { expected: before, actual: now });
}

/// raft.md §7, 12; K13: while one change is not committed the next is refused at once, even with the right index.
#[test]
fn a_second_change_in_flight_is_refused_at_once() {
    let mut cluster = Cluster::new(3, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    cluster.change(leader, add("n"));
    let index = cluster.configuration(leader).index;
    let ticket = cluster.change(leader, add("o"));
    assert_eq!(refused(&cluster, ticket), &Refusal::ConfigurationChanging { index });
}

/// K13, S7: before the term's first commit a change waits, runs after it, and gives up at the deadline.
#[test]
fn a_change_waits_for_the_first_commit_of_the_term_and_no_longer_than_the_deadline() {
    let mut cluster = Cluster::new(4, &["a", "b", "c"]);
    cluster.until("somebody leads", |cluster| cluster.leader().is_some());
    let leader = cluster.leader().unwrap();
    assert!(!cluster.status(leader).is_ready);
    let ticket = cluster.change(leader, add("n"));
    assert!(!cluster.ends.contains_key(&ticket), "it waits");
    cluster.until("it is answered", |cluster| cluster.ends.contains_key(&ticket));
    // A quorum has not answered anything yet when the first commit arrives, or has: either is a
    // clear answer, and a commit needs a quorum's answers.
    assert!(matches!(cluster.ends[&ticket], End::Answered(Answer::MembershipChanged { .. })));

    let mut cluster = Cluster::new(5, &["a", "b", "c"]);
    for member in cluster.members.values_mut() {
        member.write_delay = Duration::from_millis(50);
    }
    cluster.until("somebody leads", |cluster| cluster.leader().is_some());
    let leader = cluster.leader().unwrap();
    for member in cluster.members.values_mut() {
        member.write_delay = Duration::from_secs(20);
    }
    let ticket = cluster.change(leader, add("n"));
    cluster.run_ms(1_100);
    assert_eq!(refused(&cluster, ticket), &Refusal::NotReady { waited: Duration::from_secs(1) });
}

/// K13: a removal that leaves too few answering voters is refused; nothing is changed.
#[test]
fn a_removal_that_would_lose_the_quorum_is_refused() {
    let mut cluster = Cluster::new(6, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|name| *name != leader).collect();
    cluster.crash(others[0]);
    cluster.run_ms(1_500);
    let before = cluster.configuration(leader);
    let ticket = cluster.change(leader, remove(others[1]));
    assert_eq!(refused(&cluster, ticket), &Refusal::WouldLoseQuorum { voters: 2, reachable: 1, needed: 2 });
    assert_eq!(cluster.configuration(leader), before);
    // The dead one may go: both that are left answer.
    cluster.must_change(remove(others[0]));
}

/// K13: a vote is for servers that are caught up and stable under this very leader.
#[test]
fn a_promotion_needs_a_caught_up_server_that_is_stable_in_this_term() {
    let mut cluster = Cluster::new(7, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    cluster.must_change(add("n"));
    let ticket = {
        let change = promote(&cluster, "n");
        cluster.change(leader, change)
    };
    assert!(matches!(refused(&cluster, ticket), Refusal::NotCaughtUp { .. }), "it was never heard");
    cluster.add("n", Disk::default());
    cluster.until("it has caught up", Cluster::is_converged);
    let old_term = Term(cluster.status(leader).term.0 - 1);
    let ticket = cluster.change(leader, Change::Promote { id: id("n"), stable_in_term: old_term });
    assert_eq!(refused(&cluster, ticket), &Refusal::NotStable { id: id("n") });
    let change = promote(&cluster, "n");
    cluster.must_change(change);
}

/// K33: a server that answered within ten seconds has not lost its volume.
#[test]
fn a_server_that_answers_is_not_removed_for_a_lost_volume() {
    let mut cluster = Cluster::new(8, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let other = if leader == "a" { "b" } else { "a" };
    let lost = || Change::Remove { id: id(other), reason: RemoveReason::VolumeLost };
    let ticket = cluster.change(leader, lost());
    assert!(matches!(refused(&cluster, ticket), Refusal::StillAlive { .. }));
    cluster.crash(other);
    cluster.run_for(Duration::from_secs(11));
    cluster.must_change(lost());
}

/// raft.md §7, 13; S10, N6, K19: a removed leader steps down when that commits, takes nothing more, and is quiet.
#[test]
fn a_removed_leader_steps_down_after_the_commit_and_stays_quiet() {
    let mut cluster = Cluster::new(9, &["a", "b", "c"]);
    let old = cluster.must_lead();
    cluster.run_ms(300);
    let ticket = cluster.change(old, remove(old));
    assert_eq!(cluster.status(old).role, Role::Leader, "it leads until that is committed");
    cluster.until("it is answered", |cluster| cluster.ends.contains_key(&ticket));
    assert!(matches!(cluster.ends[&ticket], End::Answered(_)));
    let term = cluster.status(old).term;
    assert!(
        cluster.members[old].events.contains(&Event::SteppedDown { term, reason: StepDownReason::NoVote })
    );
    assert_eq!(cluster.status(old).membership, Membership::Removed);
    let refusal = cluster.propose(old, "x");
    assert_eq!(refused(&cluster, refusal), &Refusal::Removed);
    let before = cluster.now;
    cluster.must_lead();
    assert!(cluster.now.since(before) < Duration::from_millis(300), "the furthest takes over at once");
    cluster.must_write("y");
    cluster.run_for(Duration::from_secs(20));
    assert_eq!(cluster.status(old).role, Role::Follower);
    assert!(cluster.status(old).term <= cluster.status(cluster.leader().unwrap()).term);
}

/// raft.md §7, 13; N6: a leader that is demoted follows, with everything it needs, and may be promoted again.
#[test]
fn a_demoted_leader_follows() {
    let mut cluster = Cluster::new(10, &["a", "b", "c"]);
    let old = cluster.must_lead();
    cluster.run_ms(300);
    let ticket = cluster.change(old, Change::Demote { id: id(old) });
    cluster.until("it is answered", |cluster| cluster.ends.contains_key(&ticket));
    cluster.must_write("x");
    cluster.until("it follows", Cluster::is_converged);
    assert_eq!(cluster.status(old).membership, Membership::NonVoter);
    assert_ne!(cluster.leader(), Some(old));
    let change = promote(&cluster, old);
    cluster.must_change(change);
}

/// K19, S8: a removed follower is told of its removal, says so, also after a restart, and never disturbs.
#[test]
fn a_removed_follower_knows_it_and_says_removed_even_after_a_restart() {
    let mut cluster = Cluster::new(11, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let gone = if leader == "a" { "b" } else { "a" };
    cluster.must_change(remove(gone));
    cluster.until("it knows", |cluster| cluster.status(gone).membership == Membership::Removed);
    assert!(cluster.members[gone].events.iter().any(|event| matches!(event, Event::Removed { .. })));
    cluster.run_for(Duration::from_secs(2));
    cluster.flush(gone);
    cluster.crash(gone);
    cluster.start(gone);
    assert_eq!(cluster.status(gone).membership, Membership::Removed);
    cluster.run_for(Duration::from_secs(10));
    assert!(
        !cluster.members[gone]
            .sent
            .iter()
            .any(|message| matches!(message.body, quorate_raft::Body::PreVoteRequest { .. }))
    );
}

/// K19: a newcomer that has not read so far is no removed member, even when it restarts in between.
#[test]
fn a_newcomer_that_lags_does_not_say_removed() {
    let mut cluster = Cluster::new(12, &["a", "b", "c"]);
    cluster.must_lead();
    for round in 0..50 {
        cluster.must_write(&format!("w{round}"));
    }
    cluster.add("n", Disk::default());
    cluster.members.get_mut("n").unwrap().write_delay = Duration::from_millis(200);
    let leader = cluster.must_lead();
    cluster.change(leader, add("n"));
    for _ in 0..20 {
        cluster.run_ms(30);
        assert_ne!(cluster.status("n").membership, Membership::Removed);
    }
    cluster.until("it is level", Cluster::is_converged);
    assert_eq!(cluster.status("n").membership, Membership::NonVoter);
}

/// S9: a configuration that is cut from the log is no longer in effect.
#[test]
fn a_configuration_that_is_truncated_is_rolled_back() {
    let mut cluster = Cluster::new(13, &["a", "b", "c"]);
    let old = cluster.must_lead();
    cluster.run_ms(300);
    let before = cluster.configuration(old);
    cluster.isolate(old);
    cluster.change(old, add("n"));
    assert_ne!(cluster.configuration(old), before);
    cluster.until("another leads", |cluster| cluster.leader().is_some_and(|leader| leader != old));
    cluster.must_write("x");
    cluster.heal();
    cluster.until("all are level", Cluster::is_converged);
    assert_eq!(cluster.configuration(old), before);
}

/// K15: one replacement for each old server; it waits for the old one's vote; read replicas never vote.
#[test]
fn intents_decide_who_may_be_promoted() {
    let mut cluster = Cluster::new(14, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let old = id(if leader == "a" { "b" } else { "a" });
    for name in ["n", "o", "r"] {
        cluster.add(name, Disk::default());
    }
    let with = |name: &str, intent: Intent| Change::AddNonVoter {
        id: id(name),
        address: address(name),
        intent,
        versions: quorate_raft::Versions::OURS,
    };
    cluster.must_change(with("n", Intent::ReplacementFor(old.clone())));
    let ticket = cluster.change(leader, with("o", Intent::ReplacementFor(old.clone())));
    let twice = InvalidChange::AlreadyReplaced { old: old.clone(), other: id("n") };
    assert_eq!(refused(&cluster, ticket), &Refusal::InvalidChange(twice));
    cluster.must_change(with("r", Intent::ReadReplica));
    cluster.until("they are level", Cluster::is_converged);
    let change = promote(&cluster, "r");
    let ticket = cluster.change(leader, change);
    assert_eq!(refused(&cluster, ticket), &Refusal::InvalidChange(InvalidChange::ReadReplica(id("r"))));
    let change = promote(&cluster, "n");
    let ticket = cluster.change(leader, change);
    let waits = InvalidChange::WaitsForReplaced { id: id("n"), old: old.clone() };
    assert_eq!(refused(&cluster, ticket), &Refusal::InvalidChange(waits));
    cluster.must_change(Change::Remove { id: old, reason: RemoveReason::Requested });
    let change = promote(&cluster, "n");
    cluster.must_change(change);
}

/// K1, S7: another directory under a known Raft ID is a duplicate, and cannot be removed in its stead.
#[test]
fn the_same_raft_id_with_another_directory_is_neither_added_nor_removed() {
    let mut cluster = Cluster::new(15, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let other = ServerId::new(id("b").raft_id, Incarnation(7));
    let change = Change::AddNonVoter {
        id: other.clone(),
        address: address("b"),
        intent: Intent::Voter,
        versions: quorate_raft::Versions::OURS,
    };
    let ticket = cluster.change(leader, change);
    assert_eq!(refused(&cluster, ticket), &Refusal::InvalidChange(InvalidChange::AlreadyMember(id("b"))));
    let change = Change::Remove { id: other.clone(), reason: RemoveReason::Requested };
    let ticket = cluster.change(leader, change);
    assert_eq!(refused(&cluster, ticket), &Refusal::InvalidChange(InvalidChange::NotMember(other)));
}

/// S7: the last voter can be neither removed nor demoted.
#[test]
fn the_last_voter_stays() {
    let mut cluster = Cluster::new(16, &["a"]);
    let leader = cluster.must_lead();
    for change in [remove("a"), Change::Demote { id: id("a") }] {
        let ticket = cluster.change(leader, change);
        assert_eq!(refused(&cluster, ticket), &Refusal::InvalidChange(InvalidChange::NoVoterLeft));
    }
}

/// B5, K16: an address moves by a change of its own and may repeat.
#[test]
fn an_address_moves_and_may_repeat() {
    let mut cluster = Cluster::new(17, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let to = Address::new("10.0.0.9:7400").unwrap();
    for name in ["b", "c"] {
        cluster.must_change(Change::SetAddress { id: id(name), address: to.clone() });
    }
    let moved = cluster.configuration(leader).configuration;
    assert_eq!(moved.get(&id("b")).unwrap().address, to);
    assert_eq!(moved.get(&id("c")).unwrap().address, to);
    assert_eq!(moved.get(&id("b")).unwrap().suffrage, Suffrage::Voter);
}

/// S17: followers refuse changes and say who leads.
#[test]
fn a_follower_refuses_a_change_and_names_the_leader() {
    let mut cluster = Cluster::new(18, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let other = if leader == "a" { "b" } else { "a" };
    let ticket = cluster.ticket();
    cluster.step(other, vec![Input::ChangeMembership { ticket, expected: Index(1), change: add("n") }]);
    assert_eq!(refused(&cluster, ticket), &Refusal::NotLeader { leader: Some(id(leader)) });
}
