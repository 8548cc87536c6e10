//! Promotion: who, when, one at a time, and what everybody else is told (A6, A8, A9, A11, A12, A23, A31, P5, K15, K55).

use std::time::Duration;

use quorate_autopilot::{Action, BlockedReason, PodFact};
use quorate_raft::{Index, Intent, Suffrage, Term};

use super::group::{Group, SECOND, STABILIZATION, blocked, group, id, log_id, promoted, stats};

fn seconds(duration: Duration) -> u64 {
    duration.as_secs()
}

fn replacement_for(group: &mut Group, name: &str, old: &str) {
    group.add(name, Suffrage::NonVoter, Intent::ReplacementFor(id(old)));
}

/// P5, A6, D1: health counts only without a break; upstream promotes at the first healthy sample.
#[test]
fn a_new_member_gets_no_vote_before_unbroken_health_for_the_stabilization_time() {
    let mut group = group("a b c").with_non_voters("d");
    group.report("d", stats(Duration::ZERO, log_id(2, 5)));
    group.round();
    group.seconds(60);
    group.report("d", stats(Duration::ZERO, group.last));
    for second in 0..seconds(STABILIZATION) {
        let round = group.after(SECOND);
        assert!(promoted(&round).is_empty(), "promoted after {second} s of health");
    }
    assert_eq!(promoted(&group.after(SECOND)), ["d"]);
}

/// P5: a break just before the end starts the whole time again.
#[test]
fn a_break_in_health_starts_the_time_again() {
    let mut group = group("a b c").with_non_voters("d");
    group.round();
    group.seconds(seconds(STABILIZATION) - 1);
    group.report("d", stats(Duration::ZERO, log_id(2, 5)));
    group.after(SECOND);
    group.report("d", stats(Duration::ZERO, group.last));
    group.after(SECOND);
    assert!(promoted(&group.seconds(seconds(STABILIZATION) - 1)).is_empty());
    assert_eq!(promoted(&group.after(SECOND)), ["d"]);
}

/// A8, K55: the first leader after bootstrap spares those that join at the start, later leaders spare nobody.
#[test]
fn only_the_first_leader_after_bootstrap_promotes_at_once() {
    let mut first = group("a").with_non_voters("b");
    first.is_first_leadership = true;
    assert_eq!(promoted(&first.round()), ["b"]);

    let mut later = group("a").with_non_voters("b");
    assert!(promoted(&later.round()).is_empty());

    let mut late = group("a");
    late.is_first_leadership = true;
    late.round();
    late.seconds(seconds(STABILIZATION) + 1);
    late.add("b", Suffrage::NonVoter, Intent::Voter);
    assert!(promoted(&late.after(SECOND)).is_empty(), "the grace is over");
}

/// A8, K15: the grace is for members with intent Voter.
#[test]
fn a_replacement_gets_no_grace() {
    let mut group = group("a");
    group.is_first_leadership = true;
    replacement_for(&mut group, "b", "gone");
    assert!(promoted(&group.round()).is_empty());
    assert_eq!(promoted(&group.seconds(seconds(STABILIZATION))), ["b"]);
}

/// P5: two late samples in a row are no break, but in that moment nobody gets a vote.
#[test]
fn nobody_is_promoted_in_a_round_that_saw_it_late() {
    let mut group = group("a b c").with_non_voters("d");
    group.round();
    group.seconds(seconds(STABILIZATION) - 1);
    group.report("d", stats(Duration::from_secs(5), group.last));
    let round = group.after(SECOND);
    assert!(promoted(&round).is_empty());
    assert!(round.state.server(&id("d")).unwrap().health.is_healthy);
    assert_eq!(blocked(&round, "d").unwrap(), "d gets no vote yet: not heard for 5.0 s, allowed are 1.0 s");
    group.report("d", stats(Duration::ZERO, group.last));
    assert_eq!(promoted(&group.after(SECOND)), ["d"], "its time was not broken");
}

/// K15: beside an old one that does its work a replacement gets no vote; once that one is out it is like any other.
#[test]
fn a_replacement_waits_as_long_as_the_old_one_does_its_work() {
    let mut group = group("a b c");
    replacement_for(&mut group, "d", "c");
    group.round();
    let waiting = group.seconds(30);
    assert!(promoted(&waiting).is_empty());
    assert_eq!(
        blocked(&waiting, "d").unwrap(),
        "d votes once c, which it replaces, is gone, dead or leaving"
    );
    group.servers.retain(|server| server.id != id("c"));
    group.configuration_index += 1;
    assert_eq!(promoted(&group.after(SECOND)), ["d"], "its health counted all the time");
}

/// K15, K14: the vote of a voter that is leaving, gone or dead goes to its replacement in one change.
#[test]
fn a_replacement_takes_the_vote_of_a_voter_that_is_leaving_gone_or_dead() {
    for (pod, has_left) in [(PodFact::Ready, true), (PodFact::Gone, false), (PodFact::Unknown, false)] {
        let mut group = group("a b c");
        replacement_for(&mut group, "d", "c");
        group.round();
        group.seconds(30);
        let dead = group.settings.dead_server_last_contact_threshold;
        if !has_left {
            let silence = if pod == PodFact::Gone { SECOND * 5 } else { dead };
            group.report("c", stats(silence, group.last));
            assert!(promoted(&group.after(SECOND)).is_empty(), "silent, and not dead yet");
            group.report("c", stats(silence + SECOND, group.last));
        }
        group.now = group.now.plus(SECOND);
        group.fact("c", pod, has_left);
        let (expected, term) = (Index(group.configuration_index), Term(group.term));
        let replace =
            Action::Replace { old: id("c"), server: id("d"), old_has_left: has_left, expected, term };
        assert_eq!(group.round().actions, [replace]);
    }
}

/// K15, A15: a leader that never heard the old one calls it dead only after a whole threshold of its own.
#[test]
fn a_voter_never_heard_is_dead_only_after_the_threshold_of_this_leadership() {
    let mut group = group("a b c");
    group.silence("c");
    replacement_for(&mut group, "d", "c");
    group.round();
    let threshold = seconds(group.settings.dead_server_last_contact_threshold);
    assert!(promoted(&group.seconds(threshold)).is_empty());
    assert_eq!(promoted(&group.after(SECOND)), ["d"]);
}

/// K15, P5: being needed is no reason to be trusted: a replacement is stable first, like everybody.
#[test]
fn a_replacement_of_a_dead_voter_is_stable_first() {
    let mut group = group("a b c");
    group.fact("c", PodFact::Ready, true);
    replacement_for(&mut group, "d", "c");
    group.round();
    assert!(promoted(&group.seconds(seconds(STABILIZATION) - 1)).is_empty());
    assert_eq!(promoted(&group.after(SECOND)), ["d"]);
}

/// K15: a demoted server has no vote to hand over; its replacement waits until it is removed.
#[test]
fn a_replacement_of_a_non_voter_waits_for_its_removal() {
    let mut group = group("a b").with_non_voters("c");
    replacement_for(&mut group, "d", "c");
    group.round();
    for _ in 0..30 {
        group.fact("c", PodFact::Ready, true);
        group.after(SECOND);
    }
    let round = group.after(SECOND);
    assert!(promoted(&round).is_empty() && blocked(&round, "d").unwrap().contains("which it replaces"));
}

/// A31: read replicas never vote, and nobody is told that they should.
#[test]
fn a_read_replica_is_never_promoted() {
    let mut group = group("a");
    group.add("r", Suffrage::NonVoter, Intent::ReadReplica);
    group.is_first_leadership = true;
    group.round();
    let last = group.seconds(60);
    assert!(promoted(&last).is_empty());
    assert!(last.state.blocked.is_empty());
    assert_eq!(last.state.voters, [id("a")]);
}

/// A11: neither who votes already, nor who is unhealthy or leaving, nor anybody outside the configuration.
#[test]
fn voters_unhealthy_and_leaving_servers_are_not_promoted() {
    let mut group = group("a b c").with_non_voters("late leaving");
    group.report("late", stats(Duration::from_secs(9), group.last));
    group.report("stranger", stats(Duration::ZERO, group.last));
    group.round();
    for _ in 0..30 {
        group.fact("leaving", PodFact::Ready, true);
        assert!(promoted(&group.after(SECOND)).is_empty());
    }
    let last = group.round();
    assert_eq!(blocked(&last, "leaving").unwrap(), "leaving gets no vote: it is being removed");
    assert_eq!(
        blocked(&last, "late").unwrap(),
        "late gets no vote yet: not heard for 9.0 s, allowed are 1.0 s"
    );
    assert!(last.state.server(&id("stranger")).is_none());
}

/// A12: an action is a compare-and-set on the configuration and the term it was decided in.
#[test]
fn a_promotion_names_the_configuration_and_term_it_was_decided_on() {
    let mut group = group("a b c").with_non_voters("d");
    group.configuration_index = 77;
    group.round();
    let round = group.seconds(seconds(STABILIZATION));
    assert_eq!(round.actions, [Action::Promote { server: id("d"), expected: Index(77), term: Term(3) }]);
    assert_eq!((round.state.configuration_index, round.state.term), (Index(77), Term(3)));
}

/// A12: whoever does not lead computes a state and does nothing.
#[test]
fn only_the_leader_acts() {
    let mut group = group("a b c").with_non_voters("d");
    group.own_id = id("b");
    group.round();
    let last = group.seconds(60);
    assert!(last.actions.is_empty());
    assert!(last.state.blocked.is_empty(), "a follower holds nothing back either");
}

/// A new term's leader has seen nobody be stable yet (K13).
#[test]
fn stability_of_an_earlier_term_does_not_count() {
    let mut group = group("a b c").with_non_voters("d");
    group.round();
    group.seconds(seconds(STABILIZATION) - 1);
    group.term = 4;
    group.last = log_id(4, 1_001);
    assert!(promoted(&group.after(SECOND)).is_empty());
    assert_eq!(promoted(&group.seconds(seconds(STABILIZATION))), ["d"]);
}

/// One change at a time: of several the longest stable first; none while a change is in flight.
#[test]
fn servers_are_promoted_one_at_a_time_longest_stable_first() {
    let mut group = group("a b c").with_non_voters("z");
    group.round();
    group.after(SECOND);
    group.add("d", Suffrage::NonVoter, Intent::Voter);
    group.after(SECOND);
    let round = group.seconds(20);
    assert_eq!(promoted(&round), ["z"]);
    assert_eq!(blocked(&round, "d").unwrap(), "d votes after z: one server is promoted at a time");
    assert_eq!(blocked(&round, "z"), None);

    group.is_changing = true;
    let round = group.after(SECOND);
    assert!(promoted(&round).is_empty());
    assert_eq!(blocked(&round, "z").unwrap(), "z votes after the membership change in progress");
}

/// A23, K51: waits carry numbers, a machine-readable reason, and since when.
#[test]
fn what_is_held_back_says_why_in_numbers_and_since_when() {
    let mut group = group("a b c").with_non_voters("db-3");
    let joined = group.now;
    group.round();
    let round = group.seconds(3);
    assert_eq!(blocked(&round, "db-3").unwrap(), "db-3 needs 7 s more of health (10 s), then votes");
    let entry = &round.state.blocked[0];
    assert_eq!(
        (entry.action.as_str(), entry.reason.as_str(), entry.since),
        ("Promote", "Stabilizing", joined)
    );
    assert_eq!(
        entry.reason,
        BlockedReason::Stabilizing { missing: Duration::from_secs(7), needed: STABILIZATION }
    );

    group.report("db-3", stats(Duration::ZERO, log_id(2, 5)));
    let round = group.after(SECOND);
    let entry = &round.state.blocked[0];
    assert_eq!((entry.reason.as_str(), entry.since), ("Unhealthy", group.now), "a new reason starts anew");
    assert_eq!(
        entry.message("db-3"),
        "db-3 gets no vote yet: its log ends in term 2, the leader's in term 3"
    );

    group.report("db-3", stats(Duration::ZERO, group.last));
    group.after(SECOND);
    let round = group.after(Duration::from_millis(9_500));
    assert_eq!(blocked(&round, "db-3").unwrap(), "db-3 needs 1 s more of health (10 s), then votes");
    assert!(group.after(SECOND).state.blocked.is_empty());
}

/// P3: without a healthy quorum nothing can be committed, so nothing is tried, and the state says so.
#[test]
fn nothing_is_promoted_while_the_quorum_is_lost() {
    let mut group = group("a b c").with_non_voters("d");
    for name in ["b", "c"] {
        group.report(name, stats(Duration::ZERO, log_id(2, 5)));
    }
    group.round();
    let round = group.seconds(30);
    assert!(promoted(&round).is_empty());
    assert_eq!(
        blocked(&round, "d").unwrap(),
        "d gets no vote yet: healthy voters: 1 of 3, a change needs 2; bring voters back first"
    );
    assert!(round.state.is_quorum_lost);
}

/// A9: the leader, then voters by health and stability, then non-voters; ties by ID.
#[test]
fn lists_are_in_one_order() {
    let mut group = group("m b c d").with_non_voters("x a");
    group.round();
    for (name, second) in [("c", 1), ("b", 2)] {
        group.report(name, stats(Duration::ZERO, log_id(2, 5)));
        assert!(group.seconds(second).state.failure_tolerance <= 1);
    }
    group.add("e", Suffrage::Voter, Intent::Voter);
    let state = group.after(SECOND).state;
    let names: Vec<String> = state.servers.iter().map(|server| server.id.raft_id.to_string()).collect();
    // d is older than e; b fell after c, and of the unhealthy the latest comes first.
    assert_eq!(names, ["m", "d", "e", "b", "c", "a", "x"]);
    assert_eq!(state.voters, ["m", "d", "e", "b", "c"].map(id));
}
