//! Who leads, and who must not disturb whoever does (S1-S6, S11, K1, K9, K10, B7-B9, B11, O8).

use std::time::Duration;

use quorate_raft::{
    Body, Epoch, Event, HardState, Incarnation, Index, Input, Message, Role, Round, ServerId, Settings,
    StepDownReason, Term,
};

use crate::cluster::{Cluster, configuration, founded, id, remove};
use crate::disk::Disk;
use crate::solo::{Solo, log_id};

fn granted(bodies: &[Body]) -> Option<bool> {
    bodies.iter().find_map(|body| match body {
        Body::VoteResponse { granted } | Body::PreVoteResponse { granted, .. } => Some(*granted),
        _ => None,
    })
}

fn vote(last: quorate_raft::LogId) -> Body {
    Body::VoteRequest { last, is_transfer: false }
}

/// S3, S6: one of three wins, and commits by its own no-op what was there before.
#[test]
fn three_voters_elect_one_leader_that_commits_in_its_term() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, &["a", "b", "c"]);
        let leader = cluster.must_lead();
        let term = cluster.status(leader).term;
        cluster.until("all follow it", |cluster| {
            ["a", "b", "c"].iter().all(|name| {
                let status = cluster.status(name);
                status.term == term && status.leader.as_ref().is_some_and(|known| known.id == id(leader))
            })
        });
    }
}

/// K10: a lost leader is replaced in one to two election timeouts, 1.2 s in the median.
#[test]
fn a_crashed_leader_is_replaced_within_two_and_a_half_seconds() {
    let mut taken = Vec::new();
    for seed in 0..200 {
        let mut cluster = Cluster::new(seed, &["a", "b", "c"]);
        let leader = cluster.must_lead();
        cluster.run_ms(300);
        let before = cluster.now;
        cluster.crash(leader);
        cluster.must_lead();
        taken.push(cluster.now.since(before));
    }
    taken.sort();
    assert!(taken[100] < Duration::from_millis(1_600), "median {:?}", taken[100]);
    assert!(taken[199] < Duration::from_millis(2_500), "worst {:?}", taken[199]);
}

/// K26: a leader of which nothing is heard for a little less than half an election timeout, as in a pause of its process,
/// is still the leader afterwards, in the same term.
#[test]
fn a_pause_of_less_than_half_an_election_timeout_costs_no_election() {
    for seed in 0..50 {
        let mut cluster = Cluster::new(seed, &["a", "b", "c"]);
        let leader = cluster.must_lead();
        let term = cluster.status(leader).term;
        for _ in 0..5 {
            cluster.run_ms(300);
            cluster.isolate(leader);
            cluster.run_ms(490);
            cluster.heal();
        }
        cluster.run_ms(3_000);
        assert_eq!((cluster.leader(), cluster.status(leader).term), (Some(leader), term), "seed {seed}");
    }
}

/// S5, B1: the same server elected again is another leadership, also for a follower that missed the election.
#[test]
fn a_leader_that_was_elected_again_is_announced_as_lost_and_gained() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    for term in [2, 2, 3, 3] {
        solo.hear("b", term, Body::HeartbeatRequest { epoch: Epoch(1), round: Round(1) });
    }
    let change =
        |term, leader: Option<&str>| Event::LeaderChanged { term: Term(term), leader: leader.map(id) };
    assert_eq!(solo.events, [change(2, Some("b")), change(3, None), change(3, Some("b"))]);
}

/// S4: one vote in a term, whoever asks later; the same candidate may ask again.
#[test]
fn a_member_votes_once_in_a_term() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    assert_eq!(granted(&solo.hear("b", 5, vote(log_id(1, 1)))), Some(true));
    assert_eq!(granted(&solo.hear("c", 5, vote(log_id(1, 1)))), Some(false));
    assert_eq!(granted(&solo.hear("b", 5, vote(log_id(1, 1)))), Some(true));
    assert_eq!(granted(&solo.hear("c", 4, vote(log_id(9, 9)))), Some(false));
    assert_eq!(solo.disk.hard_state.vote, Some(id("b")));
}

/// S4 over K1: a vote names the directory, so that an emptied disk under the same Raft ID is another candidate.
#[test]
fn a_vote_for_one_incarnation_is_none_for_another() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    assert_eq!(granted(&solo.hear("b", 5, vote(log_id(1, 1)))), Some(true));
    let other = ServerId::new(id("b").raft_id, Incarnation(2));
    assert_eq!(granted(&solo.hear_from(other, 5, vote(log_id(1, 1)))), Some(false));
}

/// O4: the vote leaves only when term and vote are in one write on the disk; a crash before forgets both.
#[test]
fn a_vote_is_on_disk_before_it_is_given() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    solo.is_disk_stuck = true;
    assert!(solo.hear("b", 5, vote(log_id(1, 1))).is_empty(), "nothing leaves before the write");
    let hard_state = solo.writes[0].hard_state.clone().unwrap();
    assert_eq!(hard_state, HardState { term: Term(5), vote: Some(id("b")), was_member: true });
    assert_eq!(solo.writes.len(), 1);
    solo.sync();
    assert_eq!(granted(&solo.said()), Some(true));
}

/// S3: a candidate's own vote counts only once it is on its disk, a single voter's too.
#[test]
fn a_single_voter_leads_only_after_its_vote_is_on_disk() {
    let mut solo = Solo::new(founded(&["a"], &[], true));
    solo.is_disk_stuck = true;
    solo.tick();
    assert_eq!(solo.status().role, Role::Candidate);
    solo.sync();
    assert_eq!(solo.status().role, Role::Leader);
    assert_eq!(solo.status().commit, solo.status().last.index);
}

/// S4: a log that ends in an older term, or shorter in the same, gets no vote.
#[test]
fn only_a_log_that_is_up_to_date_gets_a_vote() {
    let mut disk = founded(&["a", "b", "c"], &[], true);
    disk.entries.push(crate::solo::command(3, 2, "x"));
    disk.hard_state.term = Term(3);
    for (last, expected) in
        [(log_id(3, 1), false), (log_id(2, 9), false), (log_id(3, 2), true), (log_id(4, 1), true)]
    {
        let mut solo = Solo::new(disk.clone());
        assert_eq!(granted(&solo.hear("b", 5, vote(last))), Some(expected), "{last}");
        let asked = Body::PreVoteRequest { proposed: Term(6), last };
        let mut solo = Solo::new(disk.clone());
        assert_eq!(granted(&solo.hear("b", 5, asked)), Some(expected), "pre-vote {last}");
    }
}

/// K10: while a leader is known the request's term is not even looked at; the timeout itself is
/// the limit, not the longer random deadline.
#[test]
fn no_vote_is_given_and_no_term_raised_while_a_leader_is_known() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    solo.hear("b", 2, Body::HeartbeatRequest { epoch: Epoch(0), round: Round(0) });
    solo.now = solo.now.plus(Duration::from_millis(999));
    assert_eq!(granted(&solo.hear("c", 9, vote(log_id(9, 9)))), Some(false));
    assert_eq!(solo.status().term, Term(2));
    solo.now = solo.now.plus(Duration::from_millis(1));
    assert_eq!(granted(&solo.hear("c", 9, vote(log_id(9, 9)))), Some(true));
    assert_eq!(solo.status().term, Term(9));
}

/// K10: a pre-vote changes nothing on disk and lets the old leader come back (B17).
#[test]
fn a_pre_vote_changes_nothing_and_is_granted_to_the_known_leader_itself() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    solo.hear("b", 2, Body::HeartbeatRequest { epoch: Epoch(0), round: Round(0) });
    let disk = solo.disk.hard_state.clone();
    let ask = || Body::PreVoteRequest { proposed: Term(3), last: log_id(1, 1) };
    assert_eq!(granted(&solo.hear("c", 2, ask())), Some(false));
    assert_eq!(granted(&solo.hear("b", 2, ask())), Some(true));
    assert_eq!(solo.disk.hard_state, disk);
    assert!(solo.writes.is_empty());
}

/// K10: a pre-vote raises no term, so whoever grants it may still be in a lower one: it counts all
/// the same. (Found by seed 1724: a voter in term 3 waited for ever for the one in term 2.)
#[test]
fn a_pre_vote_granted_in_a_lower_term_counts() {
    let mut cluster = Cluster::empty(1, Settings::default());
    let mut disk = founded(&["a", "b"], &[], true);
    disk.hard_state.term = Term(9);
    disk.entries.push(crate::solo::command(2, 2, "only here"));
    cluster.add("a", disk);
    cluster.add("b", founded(&["a", "b"], &[], true));
    assert_eq!(cluster.must_lead(), "a");
}

/// B17: a member that was cut off for a minute returns without an election and without a new term.
#[test]
fn a_member_that_comes_back_from_a_partition_disturbs_nobody() {
    let mut cluster = Cluster::new(3, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    let term = cluster.status(leader).term;
    let cut = if leader == "a" { "b" } else { "a" };
    cluster.isolate(cut);
    cluster.run_for(Duration::from_mins(1));
    assert_eq!(cluster.status(cut).term, term, "pre-votes raise no term");
    cluster.heal();
    cluster.run_for(Duration::from_secs(5));
    assert_eq!((cluster.leader(), cluster.status(leader).term), (Some(leader), term));
    assert_eq!(cluster.status(cut).role, Role::Follower);
}

/// B11: after thirty seconds apart the healed member hears its leader before it can campaign.
#[test]
fn a_peer_healed_after_thirty_seconds_is_supplied_at_once() {
    let mut cluster = Cluster::new(4, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    let cut = if leader == "a" { "b" } else { "a" };
    cluster.isolate(cut);
    cluster.run_for(Duration::from_secs(30));
    let written = cluster.must_write("x");
    cluster.heal();
    let healed = cluster.now;
    cluster.until("it has the write", |cluster| cluster.status(cut).applied >= written);
    assert!(cluster.now.since(healed) < Duration::from_millis(500), "{:?}", cluster.now.since(healed));
}

/// S11: a leader cut off from the majority stops leading, and says so to those that wait.
#[test]
fn a_leader_without_a_quorum_steps_down_within_two_checks() {
    let mut cluster = Cluster::new(5, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    cluster.isolate(leader);
    let ticket = cluster.propose(leader, "lost");
    cluster.run_ms(2_100);
    assert_ne!(cluster.status(leader).role, Role::Leader);
    let lost = Event::SteppedDown { term: Term(2), reason: StepDownReason::QuorumLost };
    assert!(cluster.members[leader].events.contains(&lost));
    assert!(cluster.ends.contains_key(&ticket));
}

/// O8: nothing on the heartbeat's path waits for a disk: a stall of 400 ms changes no leader.
#[test]
fn a_disk_stall_does_not_cost_the_leadership() {
    let mut cluster = Cluster::new(6, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    let term = cluster.status(leader).term;
    for member in cluster.members.values_mut() {
        member.write_delay = Duration::from_millis(400);
    }
    for round in 0..5 {
        let ticket = cluster.propose(leader, &format!("w{round}"));
        cluster.until("it is applied", |cluster| cluster.ends.contains_key(&ticket));
    }
    assert_eq!((cluster.leader(), cluster.status(leader).term), (Some(leader), term));
}

/// B7, S1: neither a removed server nor a non-voter ever campaigns.
#[test]
fn a_removed_server_and_a_non_voter_never_campaign() {
    let mut cluster = Cluster::with(7, Settings::default(), &["a", "b", "c"], &["n"]);
    let leader = cluster.must_lead();
    let gone = if leader == "a" { "b" } else { "a" };
    cluster.must_change(remove(gone));
    cluster.run_ms(1_000);
    cluster.isolate(gone);
    cluster.isolate("n");
    cluster.run_for(Duration::from_secs(30));
    for quiet in [gone, "n"] {
        let campaigned = cluster.members[quiet]
            .events
            .iter()
            .filter(|event| matches!(event, Event::Campaigning { .. }))
            .count();
        let before = usize::from(false);
        assert_eq!(campaigned, before, "{quiet}");
    }
    assert_eq!(cluster.leader(), Some(leader));
}

/// B8, K9: {A,B} adds D; committed on A and D, A dies: B, which never heard of D, votes for D.
#[test]
fn a_voter_that_does_not_know_the_candidate_votes_for_it_all_the_same() {
    let both = founded(&["a", "b"], &[], true);
    let mut solo = Solo::new(both);
    assert_eq!(granted(&solo.hear("d", 5, vote(log_id(4, 7)))), Some(true));
    let mut quiet = Solo::new(founded(&["b"], &["a"], true));
    assert_eq!(granted(&quiet.hear("b", 5, vote(log_id(4, 7)))), Some(true), "a non-voter answers, too");
}

/// B8, K9, K1: the candidate counts only voters of its latest configuration under their incarnation.
#[test]
fn votes_of_strangers_non_voters_and_other_incarnations_count_for_nothing() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &["n"], true));
    let strangers = [id("x"), id("n"), ServerId::new(id("b").raft_id, Incarnation(2))];
    while solo.status().role != Role::PreCandidate {
        solo.tick();
    }
    for from in &strangers {
        solo.hear_from(from.clone(), 1, Body::PreVoteResponse { proposed: Term(2), granted: true });
    }
    assert_eq!(solo.status().role, Role::PreCandidate);
    solo.hear("b", 1, Body::PreVoteResponse { proposed: Term(2), granted: true });
    assert_eq!(solo.status().role, Role::Candidate);
    for from in &strangers {
        solo.hear_from(from.clone(), 2, Body::VoteResponse { granted: true });
    }
    assert_eq!(solo.status().role, Role::Candidate);
    solo.hear("c", 2, Body::VoteResponse { granted: true });
    assert_eq!(solo.status().role, Role::Leader);
}

/// B9, K9, S16: an ex-voter with a higher term costs one election and never freezes the group.
#[test]
fn a_non_voter_with_a_higher_term_costs_one_election() {
    let mut cluster = Cluster::empty(8, Settings::default());
    for name in ["a", "b", "c"] {
        cluster.add(name, founded(&["a", "b", "c"], &["n"], true));
    }
    let mut disk = founded(&["a", "b", "c"], &["n"], true);
    disk.hard_state.term = Term(40);
    cluster.must_lead();
    cluster.must_write("before");
    cluster.add("n", disk);
    cluster.run_for(Duration::from_secs(5));
    cluster.must_write("after");
    let leader = cluster.must_lead();
    assert_eq!(cluster.status(leader).term, Term(41));
    cluster.until("all are level", Cluster::is_converged);
}

/// K10: a message of a lower term is answered with ours, so that an old leader learns of it.
#[test]
fn an_old_leader_learns_the_higher_term() {
    let mut disk = founded(&["a", "b", "c"], &[], true);
    disk.hard_state.term = Term(7);
    let mut solo = Solo::new(disk);
    for body in [
        Body::HeartbeatRequest { epoch: Epoch(0), round: Round(0) },
        Body::AppendRequest { epoch: Epoch(0), previous: log_id(1, 1), entries: vec![], commit: Index(0) },
        Body::VoteRequest { last: log_id(1, 1), is_transfer: false },
        Body::PreVoteRequest { proposed: Term(6), last: log_id(1, 1) },
    ] {
        solo.sent.clear();
        solo.step(Input::Receive(Message::new(id("b"), id("a"), Term(5), body)));
        assert_eq!(solo.sent.len(), 1);
        assert_eq!(solo.sent[0].term, Term(7));
    }
    assert_eq!(solo.status().leader, None);
}

/// K1: a message for another directory under our Raft ID is not ours; its sender hears so.
#[test]
fn a_message_for_another_incarnation_is_answered_with_volume_lost() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    let meant = ServerId::new(id("a").raft_id, Incarnation(9));
    solo.step(Input::Receive(Message::new(id("b"), meant.clone(), Term(5), vote(log_id(1, 1)))));
    assert_eq!(solo.said(), [Body::VolumeLost { recorded: meant }]);
    assert_eq!(solo.status().term, Term(1), "nothing else came of it");
}

/// K1: a leader that committed in its term tells a caller that another directory is recorded, and
/// still answers it; one that has not committed says nothing.
#[test]
fn a_ready_leader_tells_a_caller_that_its_directory_is_not_the_recorded_one() {
    let mut cluster = Cluster::new(9, &["a", "b", "c"]);
    let leader = cluster.must_lead();
    let other = if leader == "a" { "b" } else { "a" };
    let stranger = ServerId::new(id(other).raft_id, Incarnation(2));
    let body = Body::PreVoteRequest { proposed: Term(9), last: log_id(0, 0) };
    cluster.members.get_mut(leader).unwrap().sent.clear();
    cluster.step(leader, vec![Input::Receive(Message::new(stranger.clone(), id(leader), Term(0), body))]);
    let sent = &cluster.members[leader].sent;
    assert!(sent.iter().any(|message| message.to == stranger && message.body == Body::VolumeLost { recorded: id(other) }));
    assert!(sent.iter().any(|message| matches!(message.body, Body::PreVoteResponse { granted: false, .. })));
    let told = Event::VolumeLost { recorded: id(other), found: stranger };
    assert!(cluster.members[leader].events.contains(&told));
}

/// S1: without a configuration there is nobody to ask.
#[test]
fn a_member_without_a_configuration_stays_quiet() {
    let mut solo = Solo::new(Disk::default());
    solo.wait(30_000);
    assert!(solo.sent.is_empty() && solo.writes.is_empty());
    assert_eq!(solo.status().role, Role::Follower);
}

/// S1, B7: whoever's removal is not committed may still lead; its own vote then does not count.
#[test]
fn a_server_whose_removal_is_uncommitted_may_campaign_but_does_not_count_itself() {
    let mut disk = founded(&["a", "b", "c"], &[], true);
    let payload = quorate_raft::Payload::Configuration(configuration(&["b", "c"], &[]));
    disk.entries.push(quorate_raft::Entry { term: Term(1), index: quorate_raft::Index(2), payload });
    let mut solo = Solo::new(disk);
    while solo.status().role != Role::PreCandidate {
        solo.tick();
    }
    solo.hear("b", 1, Body::PreVoteResponse { proposed: Term(2), granted: true });
    assert_eq!(solo.status().role, Role::PreCandidate, "one of two is no majority, and ours is none");
    solo.hear("c", 1, Body::PreVoteResponse { proposed: Term(2), granted: true });
    assert_eq!(solo.status().role, Role::Candidate);
}

/// K43: a process that hands over campaigns only after three election timeouts.
#[test]
fn a_process_that_hands_over_campaigns_late() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    solo.step(Input::HandOver);
    solo.wait(2_990);
    assert_eq!(solo.status().role, Role::Follower);
    solo.wait(1_100);
    assert_eq!(solo.status().role, Role::PreCandidate);
}
