//! Elections on evidence that the leader's process is gone (K12, K10, K43).

use std::time::Duration;

use quorate_raft::{Body, Epoch, Event, Input, Role, Round, Settings};

use crate::cluster::{Cluster, founded, id};
use crate::solo::Solo;

/// Tells the others what their links found out about the leader.
fn tell(cluster: &mut Cluster, leader: &str, others: &[&str]) {
    for name in others {
        cluster.step(name, vec![Input::ProcessGone(id(leader))]);
    }
}

fn led(seed: u64) -> (Cluster, &'static str, [&'static str; 2]) {
    let mut cluster = Cluster::new(seed, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|name| *name != leader).collect();
    (cluster, leader, [others[0], others[1]])
}

/// K12: a leader whose process is gone is replaced in a fraction of the election timeout.
#[test]
fn a_leader_whose_process_is_gone_is_replaced_in_moments() {
    let mut taken = Vec::new();
    for seed in 0..200 {
        let (mut cluster, leader, others) = led(seed);
        cluster.crash(leader);
        let before = cluster.now;
        // What the leader sent before arrives before the end of its stream.
        cluster.run_ms(3 + seed % 5);
        tell(&mut cluster, leader, &others);
        cluster.must_lead();
        taken.push(cluster.now.since(before));
        let next = cluster.leader().unwrap();
        let term = cluster.status(next).term;
        let event = Event::TookOverEarly { term, from: id(leader) };
        assert!(cluster.members[next].events.contains(&event));
    }
    taken.sort();
    assert!(taken[100] < Duration::from_millis(100), "median {:?}", taken[100]);
    assert!(taken[199] < Duration::from_millis(800), "worst {:?}", taken[199]);
}

/// K12, K10: one member's evidence deposes nobody: whoever hears the leader refuses, no term rises.
#[test]
fn a_single_member_that_cannot_reach_the_leader_deposes_nobody() {
    for seed in 0..20 {
        let (mut cluster, leader, others) = led(seed);
        let term = cluster.status(leader).term;
        for _ in 0..10 {
            tell(&mut cluster, leader, &others[..1]);
            assert_eq!(cluster.status(others[0]).leader, None);
            cluster.run_ms(250);
        }
        assert_eq!((cluster.leader(), cluster.status(leader).term), (Some(leader), term));
        assert_eq!(cluster.status(others[0]).leader.map(|leader| leader.id), Some(id(leader)));
        cluster.must_write("x");
    }
}

/// K12: a majority that cannot reach a living leader may depose it. That is safe, it costs one
/// election, and it is counted.
#[test]
fn a_majority_deposes_a_leader_whose_process_it_cannot_reach() {
    let mut deposed = 0;
    for seed in 0..50 {
        let (mut cluster, leader, others) = led(seed);
        let term = cluster.status(leader).term;
        cluster.propose(leader, "committed or not");
        cluster.run_ms(4);
        tell(&mut cluster, leader, &others);
        cluster.run_ms(2_500);
        let now = cluster.must_lead();
        let events = cluster.members.values().flat_map(|member| &member.events);
        let counted = events.filter(|event| matches!(event, Event::TookOverEarly { .. })).count();
        if now != leader {
            deposed += 1;
            assert_eq!(counted, 1);
            assert!(cluster.status(now).term > term);
        }
        cluster.must_write("x");
        cluster.until("all are level", Cluster::is_converged);
    }
    assert!(deposed > 0, "never, so it shows nothing");
}

/// K12: only news of the leader one follows means something; to a leader or candidate it means nothing.
#[test]
fn evidence_about_anybody_else_changes_nothing() {
    let (mut cluster, leader, [one, other]) = led(1);
    let deadline = |cluster: &Cluster| cluster.members[one].raft.as_ref().unwrap().next_deadline();
    let before = (cluster.status(one).leader, deadline(&cluster));
    cluster.step(one, vec![Input::ProcessGone(id(other)), Input::ProcessGone(id("x"))]);
    assert_eq!((cluster.status(one).leader, deadline(&cluster)), before);
    cluster.step(leader, vec![Input::ProcessGone(id(one)), Input::ProcessGone(id(leader))]);
    assert_eq!(cluster.status(leader).role, Role::Leader);
}

/// K12, K26: without the setting only the election timeout begins an election.
#[test]
fn without_the_setting_evidence_means_nothing() {
    let settings = Settings { early_pre_vote: false, ..Settings::default() };
    let mut cluster = Cluster::with(1, settings, &["a", "b", "c"], &[]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|name| *name != leader).collect();
    cluster.crash(leader);
    tell(&mut cluster, leader, &others);
    assert!(others.iter().all(|name| cluster.status(name).leader.is_some()));
    cluster.run_ms(800);
    assert_eq!(cluster.leader(), None);
    cluster.must_lead();
}

/// K43: a process that ends lets the others go first; it still grants what they ask.
#[test]
fn a_process_that_ends_does_not_compete_early() {
    for seed in 0..20 {
        let (mut cluster, leader, [one, other]) = led(seed);
        cluster.step(one, vec![Input::HandOver]);
        cluster.crash(leader);
        cluster.run_ms(5);
        let before = cluster.members[one].events.len();
        tell(&mut cluster, leader, &[one]);
        cluster.run_ms(300);
        let tried = |event: &Event| matches!(event, Event::Campaigning { .. });
        assert!(!cluster.members[one].events[before..].iter().any(tried));
        tell(&mut cluster, leader, &[other]);
        cluster.run_ms(300);
        assert_eq!(cluster.leader(), Some(other));
    }
}

fn attempts(solo: &Solo) -> usize {
    let is_attempt = |event: &&Event| matches!(event, Event::Campaigning { is_pre_vote: true, .. });
    solo.events.iter().filter(is_attempt).count()
}

/// K12: the first attempt within 50 ms, the next ones after 50 to 150 ms, and after an election timeout
/// at the usual pace.
#[test]
fn early_attempts_keep_their_pauses_and_end_after_an_election_timeout() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    solo.hear("b", 2, Body::HeartbeatRequest { epoch: Epoch(1), round: Round(1) });
    solo.events.clear();
    let told = solo.now;
    solo.step(Input::ProcessGone(id("b")));
    let mut pauses = Vec::new();
    let mut before = told;
    while solo.now.since(told) < Duration::from_secs(5) {
        solo.tick();
        if attempts(&solo) > pauses.len() {
            pauses.push(solo.now.since(before));
            before = solo.now;
        }
    }
    assert!(pauses[0] < Duration::from_millis(50), "{pauses:?}");
    let early = pauses.iter().scan(Duration::ZERO, |at, pause| {
        *at += *pause;
        Some(*at)
    });
    let early = early.take_while(|at| *at < Duration::from_millis(1_150)).count();
    assert!((8..25).contains(&early), "{pauses:?}");
    let quick = Duration::from_millis(50)..Duration::from_millis(150);
    assert!(pauses[1..early].iter().all(|pause| quick.contains(pause)), "{pauses:?}");
    assert!(pauses[early..].iter().all(|pause| *pause >= Duration::from_secs(1)), "{pauses:?}");
}

/// K12: whoever hears a leader again, the old one or the next, is patient again; what it wins later it
/// did not win by that evidence.
#[test]
fn a_sign_of_a_leader_ends_the_hurry() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    solo.hear("b", 2, Body::HeartbeatRequest { epoch: Epoch(1), round: Round(1) });
    solo.step(Input::ProcessGone(id("b")));
    solo.hear("b", 2, Body::HeartbeatRequest { epoch: Epoch(1), round: Round(2) });
    solo.events.clear();
    solo.wait(900);
    assert_eq!(attempts(&solo), 0);
    solo.hear("b", 2, Body::TimeoutNow);
    solo.elect(&["b", "c"]);
    assert!(!solo.events.iter().any(|event| matches!(event, Event::TookOverEarly { .. })));
}

/// S1, K12: a non-voter forgets the leader and still never campaigns.
#[test]
fn a_non_voter_never_campaigns_early() {
    let mut solo = Solo::new(founded(&["b", "c"], &["a"], true));
    solo.hear("b", 2, Body::HeartbeatRequest { epoch: Epoch(1), round: Round(1) });
    solo.step(Input::ProcessGone(id("b")));
    assert_eq!(solo.status().leader, None);
    solo.wait(3_000);
    assert_eq!((attempts(&solo), solo.status().role), (0, Role::Follower));
}
