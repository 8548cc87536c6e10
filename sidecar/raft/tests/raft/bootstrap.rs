//! The first configuration: a call for exactly one empty directory (K2, B12, S26).

use quorate_raft::{
    Answer, Body, Change, ClusterId, Incarnation, Index, Input, Mode, Refusal, ServerId, Settings, Term,
};

use crate::cluster::{CLUSTER, Cluster, End, address, founded, id};
use crate::disk::Disk;
use crate::solo::{Solo, log_id};

fn bootstrap(cluster: &mut Cluster, cluster_id: ClusterId, server: ServerId) -> End {
    bootstrap_for(cluster, cluster_id, server, Mode::KeyValue)
}

fn bootstrap_for(cluster: &mut Cluster, cluster_id: ClusterId, server: ServerId, mode: Mode) -> End {
    let ticket = cluster.ticket();
    cluster.step("a", vec![Input::Bootstrap { ticket, cluster_id, server, address: address("a"), mode }]);
    cluster.until("the bootstrap is answered", |cluster| cluster.ends.contains_key(&ticket));
    cluster.ends[&ticket].clone()
}

fn founding(ticket: quorate_raft::Ticket) -> Input {
    let mode = Mode::KeyValue;
    Input::Bootstrap { ticket, cluster_id: CLUSTER, server: id("a"), address: address("a"), mode }
}

/// K22: what a cluster is for is part of its configuration from the first one on, and no later call changes it.
#[test]
fn a_cluster_keeps_the_mode_it_was_founded_in() {
    let mut cluster = Cluster::empty(1, Settings::default());
    cluster.add("a", Disk::default());
    let done = End::Answered(Answer::Bootstrapped { configuration_index: Index(1) });
    assert_eq!(bootstrap_for(&mut cluster, CLUSTER, id("a"), Mode::Log), done);
    assert_eq!(bootstrap_for(&mut cluster, CLUSTER, id("a"), Mode::Log), done);
    let other = bootstrap_for(&mut cluster, CLUSTER, id("a"), Mode::KeyValue);
    assert_eq!(other, End::Refused(Refusal::OtherMode { founded: Mode::Log, asked: Mode::KeyValue }));
    assert_eq!(cluster.must_lead(), "a");
    let change = Change::SetAddress { id: id("a"), address: address("moved") };
    let after = cluster.configuration("a").configuration.after(&change).unwrap();
    assert_eq!(after.mode(), Mode::Log, "a change keeps it");
}

/// K2, S26: the recorded triple, once or again, gives one cluster of one voter that serves.
#[test]
fn bootstrapping_an_empty_directory_makes_it_the_one_voter_and_the_same_call_again_is_fine() {
    let mut cluster = Cluster::empty(1, Settings::default());
    cluster.add("a", Disk::default());
    let done = End::Answered(Answer::Bootstrapped { configuration_index: Index(1) });
    assert_eq!(bootstrap(&mut cluster, CLUSTER, id("a")), done);
    assert_eq!(bootstrap(&mut cluster, CLUSTER, id("a")), done);
    assert_eq!(cluster.must_lead(), "a");
    cluster.must_write("x");
    cluster.crash("a");
    cluster.start("a");
    assert_eq!(bootstrap(&mut cluster, CLUSTER, id("a")), done);
    cluster.must_write("y");
    assert_eq!(cluster.members["a"].state.commands.len(), 2);
}

/// K2: the answer promises a cluster, so it waits for the disk.
#[test]
fn a_bootstrap_is_answered_only_once_it_is_on_disk() {
    let mut solo = Solo::new(Disk::default());
    solo.is_disk_stuck = true;
    let ticket = quorate_raft::Ticket(1);
    solo.step(founding(ticket));
    assert!(solo.others.is_empty());
    solo.sync();
    assert_eq!(solo.others.len(), 1);
    assert_eq!(solo.disk.cluster_id, Some(CLUSTER));
}

/// K2, S26, B12: another cluster, another directory, or a directory in use is refused.
#[test]
fn bootstrap_is_refused_for_any_other_identity_or_a_directory_in_use() {
    let mut cluster = Cluster::empty(1, Settings::default());
    cluster.add("a", Disk::default());
    let other = ServerId::new(id("a").raft_id, Incarnation(2));
    assert!(matches!(bootstrap(&mut cluster, CLUSTER, other), End::Refused(Refusal::WrongIdentity { .. })));
    assert!(matches!(
        bootstrap(&mut cluster, ClusterId(9), id("a")),
        End::Refused(Refusal::WrongIdentity { .. })
    ));

    let mut member = Solo::new(founded(&["b", "c"], &[], false));
    let ticket = quorate_raft::Ticket(1);
    member.step(founding(ticket));
    let refused =
        quorate_raft::Output::Answer { ticket, result: Err(Refusal::NotEmpty { cluster_id: Some(CLUSTER) }) };
    assert_eq!(member.others, [refused]);
}

/// K2: a member that has answered a vote is no longer empty, one that was only asked still is.
#[test]
fn a_pre_vote_leaves_a_directory_empty_and_a_vote_does_not() {
    let mut solo = Solo::new(Disk::default());
    solo.hear("b", 1, Body::PreVoteRequest { proposed: Term(2), last: log_id(1, 1) });
    assert_eq!(solo.disk.cluster_id, None);
    solo.hear("b", 2, Body::VoteRequest { last: log_id(1, 1), is_transfer: false });
    assert_eq!(solo.disk.cluster_id, Some(CLUSTER));
    let ticket = quorate_raft::Ticket(1);
    solo.step(founding(ticket));
    let refused =
        quorate_raft::Output::Answer { ticket, result: Err(Refusal::NotEmpty { cluster_id: Some(CLUSTER) }) };
    assert_eq!(solo.others, [refused]);
}
