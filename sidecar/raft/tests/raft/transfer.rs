//! Leadership given away (S18, B3, B4, B10, O2, N4, K43).

use std::time::Duration;

use quorate_raft::{Answer, Body, Epoch, Event, Input, RaftId, Refusal, Role, Round, Settings, Term};

use crate::cluster::{Cluster, End, founded, id};
use crate::solo::Solo;

/// S18: the target takes over within moments, and writes go on.
#[test]
fn a_transfer_ends_with_the_target_leading() {
    let mut cluster = Cluster::new(1, &["a", "b", "c"]);
    let old = cluster.must_lead();
    cluster.run_ms(300);
    let target = if old == "a" { "b" } else { "a" };
    let before = cluster.now;
    let ticket = cluster.transfer(old, Some(target));
    cluster.until("the target leads", |cluster| cluster.leader() == Some(target));
    assert!(cluster.now.since(before) < Duration::from_millis(100), "{:?}", cluster.now.since(before));
    assert_eq!(cluster.ends[&ticket], End::Answered(Answer::Transferred));
    cluster.must_write("x");
}

/// raft.md §7, 10; B10: under write load, a hundred times: the target leads or an error comes within two election
/// timeouts; no write is half taken; and the cluster writes on in both cases.
#[test]
fn transfers_under_write_load_end_in_the_target_or_an_error() {
    let mut moved = 0;
    for seed in 0..100 {
        let mut cluster = Cluster::new(seed, &["a", "b", "c"]);
        cluster.latency = 1..20;
        let old = cluster.must_lead();
        cluster.run_ms(200);
        let target = if old == "a" { "b" } else { "a" };
        for round in 0..20 {
            cluster.propose(old, &format!("before{round}"));
        }
        let started = cluster.now;
        let ticket = cluster.transfer(old, Some(target));
        let mut round = 0;
        while !cluster.ends.contains_key(&ticket) {
            if let Some(leader) = cluster.leader() {
                round += 1;
                let write = cluster.propose(leader, &format!("during{round}"));
                if leader == old
                    && cluster.status(old).role == Role::Leader
                    && cluster.status(old).is_transferring
                {
                    assert_eq!(cluster.ends[&write], End::Refused(Refusal::TransferInProgress));
                }
            }
            cluster.run_ms(5);
        }
        assert!(cluster.now.since(started) <= Duration::from_secs(2));
        match &cluster.ends[&ticket] {
            End::Answered(Answer::Transferred) => moved += 1,
            End::Refused(Refusal::TransferTimedOut) => {}
            end => panic!("seed {seed}: {end:?}"),
        }
        cluster.must_write("after");
    }
    assert!(moved >= 95, "{moved} of 100");
}

/// S18, O2, B10: when the target cannot take over, the leader gives up after an election timeout
/// and takes writes again.
#[test]
fn a_transfer_to_an_unreachable_target_gives_up_and_writes_go_on() {
    let mut cluster = Cluster::new(2, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let target = if leader == "a" { "b" } else { "a" };
    cluster.isolate(target);
    cluster.must_write("it misses this");
    let ticket = cluster.transfer(leader, Some(target));
    let second = cluster.transfer(leader, None);
    assert_eq!(cluster.ends[&second], End::Refused(Refusal::TransferInProgress));
    cluster.run_ms(1_050);
    assert_eq!(cluster.ends[&ticket], End::Refused(Refusal::TransferTimedOut));
    assert!(
        !cluster.members[leader].sent.iter().any(|message| message.body == Body::TimeoutNow),
        "it never matched"
    );
    assert_eq!(cluster.leader(), Some(leader));
    cluster.must_write("x");
}

/// O2: a leader deposed in the middle of a transfer that leads again later has no flag left.
#[test]
fn a_leader_deposed_during_a_transfer_takes_writes_when_it_leads_again() {
    let mut cluster = Cluster::new(3, &["a", "b", "c"]);
    let first = cluster.must_lead();
    cluster.run_ms(300);
    let target = if first == "a" { "b" } else { "a" };
    cluster.cut_one_way(first, target);
    let missed = cluster.propose(first, "the target misses this");
    cluster.until("it is applied", |cluster| cluster.ends.contains_key(&missed));
    let ticket = cluster.transfer(first, Some(target));
    cluster.isolate(first);
    cluster.until("another leads", |cluster| cluster.leader().is_some_and(|leader| leader != first));
    cluster.heal();
    cluster.until("it follows", |cluster| cluster.status(first).role == Role::Follower);
    cluster.run_ms(500);
    assert!(cluster.ends.contains_key(&ticket));
    let second = cluster.must_lead();
    let back = cluster.transfer(second, Some(first));
    cluster.until("it leads again", |cluster| {
        cluster.leader() == Some(first) && cluster.ends.contains_key(&back)
    });
    assert!(!cluster.status(first).is_transferring);
    cluster.must_write("x");
    let ticket = cluster.transfer(first, Some(second));
    cluster.until("that works as well", |cluster| cluster.ends.contains_key(&ticket));
    assert_eq!(cluster.ends[&ticket], End::Answered(Answer::Transferred));
}

/// B3: never to a non-voter, to a stranger, or to itself.
#[test]
fn a_transfer_goes_only_to_another_voter() {
    let mut cluster = Cluster::with(4, Settings::default(), &["a"], &["n", "o"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    for target in [None, Some("n"), Some("x"), Some("a")] {
        let ticket = cluster.transfer(leader, target);
        let named = target.map(|name| RaftId::new(name).unwrap());
        assert_eq!(cluster.ends[&ticket], End::Refused(Refusal::NoTransferTarget { target: named }));
    }
    cluster.must_write("x");
}

/// B4: a candidate refuses at once.
#[test]
fn a_transfer_on_a_candidate_is_refused_at_once() {
    let mut cluster = Cluster::new(5, &["a", "b", "c"]);
    cluster.isolate("a");
    cluster.until("it campaigns", |cluster| cluster.status("a").role == Role::PreCandidate);
    let ticket = cluster.transfer("a", None);
    assert_eq!(cluster.ends[&ticket], End::Refused(Refusal::NotLeader { leader: None }));
}

/// N4: a `TimeoutNow` of an old term, of somebody who does not lead, or to a non-voter does nothing.
#[test]
fn a_timeout_now_counts_only_from_the_current_leader_and_only_for_a_voter() {
    let beat = || Body::HeartbeatRequest { epoch: Epoch(1), round: Round(0) };
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    solo.hear("b", 5, beat());
    for (from, term) in [("b", 4), ("c", 5), ("c", 6), ("b", 6)] {
        solo.hear(from, term, Body::TimeoutNow);
        assert_eq!((solo.status().role, solo.status().term), (Role::Follower, Term(5)), "{from} in {term}");
    }
    solo.hear("b", 5, Body::TimeoutNow);
    assert_eq!((solo.status().role, solo.status().term), (Role::Candidate, Term(6)));
    assert!(solo.events.contains(&Event::Campaigning { term: Term(6), is_pre_vote: false }));

    let mut non_voter = Solo::new(founded(&["b", "c"], &["a"], true));
    non_voter.hear("b", 5, beat());
    non_voter.hear("b", 5, Body::TimeoutNow);
    assert_eq!((non_voter.status().role, non_voter.status().term), (Role::Follower, Term(5)));
}

/// raft.md §7, 11; S18: `TimeoutNow` waits for the acknowledged match, not for what was sent.
#[test]
fn timeout_now_is_sent_only_when_the_target_has_acknowledged_everything() {
    let mut cluster = Cluster::new(6, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let target = if leader == "a" { "b" } else { "a" };
    cluster.members.get_mut(target).unwrap().write_delay = Duration::from_millis(200);
    cluster.propose(leader, "x");
    cluster.transfer(leader, Some(target));
    cluster.run_ms(150);
    let asked = |cluster: &Cluster| {
        cluster.members[leader].sent.iter().any(|message| message.body == Body::TimeoutNow)
    };
    assert!(!asked(&cluster));
    cluster.until("it is asked", asked);
    let peer = cluster.status(leader);
    assert_eq!(peer.peers.iter().find(|peer| peer.id == id(target)).unwrap().matched, peer.last.index);
}

/// K43: a leader whose process ends hands over at once, and does not take leadership back soon.
#[test]
fn a_process_that_ends_hands_over_at_once() {
    let mut cluster = Cluster::new(7, &["a", "b", "c"]);
    let old = cluster.must_lead();
    cluster.run_ms(300);
    let before = cluster.now;
    cluster.step(old, vec![Input::HandOver]);
    cluster.until("another leads", |cluster| cluster.leader().is_some_and(|leader| leader != old));
    assert!(cluster.now.since(before) < Duration::from_millis(100));
    cluster.must_write("x");
}

/// K43: with nobody level it stays leader and hands over as soon as somebody is.
#[test]
fn a_process_that_ends_waits_for_another_to_be_level() {
    let mut cluster = Cluster::new(8, &["a", "b", "c"]);
    let old = cluster.must_lead();
    cluster.run_ms(300);
    for member in cluster.members.values_mut() {
        if member.id != id(old) {
            member.write_delay = Duration::from_millis(1_500);
        }
    }
    cluster.propose(old, "x");
    cluster.step(old, vec![Input::HandOver]);
    cluster.run_ms(1_300);
    assert_eq!(cluster.leader(), Some(old));
    for member in cluster.members.values_mut() {
        member.write_delay = Duration::from_millis(1);
    }
    cluster.until("another leads", |cluster| cluster.leader().is_some_and(|leader| leader != old));
}

/// S17, S18: without another voter a process that ends simply goes on.
#[test]
fn a_single_voter_that_hands_over_keeps_serving() {
    let mut cluster = Cluster::new(9, &["a"]);
    cluster.must_lead();
    cluster.step("a", vec![Input::HandOver]);
    cluster.must_write("x");
}
