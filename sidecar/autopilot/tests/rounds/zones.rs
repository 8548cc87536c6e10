//! Redundancy zones and read replicas (A24-A28, A31, `autopilot.md` §4).

use quorate_autopilot::{DesiredSuffrage, NodeType, PodFact, Report};
use quorate_raft::{Intent, Suffrage};

use super::group::{Group, SECOND, blocked, group, id, promoted};

/// Three zones of two: voters a1 b1 c1, stand-bys a2 b2 c2, all stable.
fn three_by_two() -> Group {
    let mut group = group("a1 b1 c1").with_non_voters("a2 b2 c2");
    group.zones("a1:a b1:b c1:c a2:a b2:b c2:c");
    group.round();
    let done = group.live(30);
    assert!(done.is_empty(), "a settled group stays as it is: {done:?}");
    group
}

fn node_type(group: &mut Group, name: &str) -> NodeType {
    group.round().state.server(&id(name)).unwrap().node_type
}

/// A24: one voter in each zone; before a zone has one, any of its servers may become it.
#[test]
fn each_zone_gets_one_voter() {
    let mut group = group("a1").with_non_voters("a2 b1 b2 c1 c2");
    group.zones("a1:a b1:b c1:c a2:a b2:b c2:c");
    group.round();
    assert_eq!(node_type(&mut group, "b2"), NodeType::ZoneVoter);
    assert_eq!(group.live(30), ["promote b1", "promote c1"]);
    assert_eq!(node_type(&mut group, "b2"), NodeType::ZoneStandby);
    assert_eq!(node_type(&mut group, "b1"), NodeType::ZoneVoter);
}

/// A24: a zone whose voter fails has its stand-by vote within the promised time, over at most four voters.
#[test]
fn a_stand_by_takes_over_for_the_voter_of_its_zone() {
    let mut group = three_by_two();
    group.mute("b1");
    let allowed = group.settings.last_contact_threshold + SECOND * (3 + 2);
    let mut done = Vec::new();
    for _ in 0..allowed.as_secs() {
        done.extend(group.live(1));
        assert!(group.voters().len() <= 4);
    }
    assert_eq!(done, ["demote b1", "promote b2"]);
    assert_eq!(group.voters(), ["a1", "b2", "c1"]);
    assert_eq!(node_type(&mut group, "b1"), NodeType::ZoneStandby);
    group.hear("b1");
    assert!(group.live(30).is_empty(), "whoever comes back stands by");
}

/// A24: while no stand-by could take over, taking the failed voter's vote would win nothing.
#[test]
fn a_failed_voter_keeps_its_vote_while_nobody_can_take_it() {
    let mut group = group("a1 b1 c1");
    group.zones("a1:a b1:b c1:c");
    group.round();
    group.live(20);
    group.mute("b1");
    assert!(group.live(30).is_empty());
    group.add("b2", Suffrage::NonVoter, Intent::Voter);
    group.zones("b2:b");
    assert!(group.live(10).is_empty(), "not stable yet");
    assert_eq!(group.live(5), ["demote b1", "promote b2"]);
}

/// A25: for a zone that is down as a whole another one gets an extra voter, and loses it when the zone is back.
#[test]
fn a_zone_that_is_down_is_made_up_for_elsewhere_and_taken_back() {
    let mut group = three_by_two();
    group.mute("c1 c2");
    assert_eq!(group.live(10), ["demote c1", "promote a2"]);
    assert_eq!(group.voters(), ["a1", "a2", "b1"]);
    assert_eq!(node_type(&mut group, "a2"), NodeType::ZoneExtraVoter);
    group.hear("c2");
    assert!(group.live(9).is_empty(), "healthy and not yet stable");
    let done = group.live(60);
    assert_eq!(done, ["promote c2", "demote a2"]);
    assert_eq!(group.voters(), ["a1", "b1", "c2"]);
    group.hear("c1");
    assert!(group.live(30).is_empty());
}

/// A25: the servers of a zone that is down are removed as dead, and it is no zone any more. Its vote stays elsewhere: two voters
/// would bear no failure, and four servers are well. It goes back once somebody of the zone is there again.
#[test]
fn an_extra_voter_stays_when_the_servers_of_the_lost_zone_are_removed() {
    let mut group = three_by_two();
    group.mute("c1 c2");
    let done = group.live_past_the_dead_threshold();
    assert_eq!(done, ["demote c1", "promote a2", "remove c1", "remove c2"]);
    assert!(group.live(60).is_empty());
    assert_eq!(group.voters(), ["a1", "a2", "b1"]);
    group.add("c3", Suffrage::NonVoter, Intent::Voter);
    group.zones("c3:c");
    assert_eq!(group.live(60), ["promote c3", "demote a2"]);
}

/// A25: an extra voter stays until the zone's own one is stable, under a new leader too.
#[test]
fn an_extra_voter_stays_until_the_recovered_voter_is_stable() {
    let mut group = three_by_two();
    group.mute("c1 c2");
    group.live(10);
    group.hear("c1");
    group.hear("c2");
    let done = group.live(11);
    assert_eq!(done.first().map(String::as_str), Some("promote c1"));
    group.lead(id("b1"));
    group.round();
    assert!(
        !group.live(9).iter().any(|step| step.starts_with("demote")),
        "this leader has seen nobody be stable"
    );
    group.live(5);
    assert_eq!(group.voters(), ["a1", "b1", "c1"]);
}

/// A26: the published numbers: three zones of four, two zones of three and two, three zones of two.
#[test]
fn tolerances_are_the_published_ones() {
    let cases = [
        ("a1 b1 c1", "a2 a3 a4 b2 b3 b4 c2 c3 c4", 1, 10, vec![3, 3, 3]),
        ("a1 b1", "a2 a3 b2", 0, 3, vec![2, 1]),
        ("a1 b1 c1", "a2 b2 c2", 1, 4, vec![1, 1, 1]),
    ];
    for (voters, standbys, tolerance, optimistic, zones) in cases {
        let mut group = group(voters).with_non_voters(standbys);
        let all: Vec<String> =
            format!("{voters} {standbys}").split(' ').map(|name| format!("{name}:{}", &name[..1])).collect();
        group.zones(&all.join(" "));
        group.add("replica", Suffrage::NonVoter, Intent::ReadReplica);
        group.zones("replica:a");
        let state = group.round().state;
        assert_eq!((state.failure_tolerance, state.optimistic_failure_tolerance), (tolerance, optimistic));
        let actual: Vec<usize> = state.zones.values().map(|zone| zone.failure_tolerance).collect();
        assert_eq!(actual, zones, "{voters} and {standbys}");
    }
}

/// A26: an unhealthy stand-by makes up for nothing, and nobody does once the quorum is lost.
#[test]
fn only_healthy_stand_bys_and_a_quorum_are_counted_on() {
    let mut group = three_by_two();
    group.mute("a2");
    let state = group.seconds(4).state;
    assert_eq!((state.failure_tolerance, state.optimistic_failure_tolerance), (1, 3));
    assert_eq!(state.zones["a"].failure_tolerance, 0, "a zero is said");
    group.mute("b1 c1");
    let state = group.seconds(4).state;
    assert!(state.is_quorum_lost);
    assert_eq!(state.optimistic_failure_tolerance, 0);
}

/// A27, raft-autopilot PR #55: a zone's voter and then its stand-by die; demoting first keeps the quorum at two.
#[test]
fn a_voter_and_then_its_stand_by_may_die() {
    for gap in 0..8 {
        let mut group = three_by_two();
        group.mute("b1");
        group.live(gap);
        group.mute("b2");
        for _ in 0..30 {
            group.live(1);
            let alive = group.voters().iter().filter(|name| !name.starts_with('b')).count();
            let voters = group.voters().len();
            assert!(alive > voters / 2, "{alive} of {voters} voters are left after a gap of {gap} s");
        }
    }
}

/// A28: a dead leader stays in its zone, so that it counts for nothing once its stand-by votes; a server that nobody ever
/// heard of is in no zone yet and gets no vote.
#[test]
fn a_dead_leader_keeps_its_zone() {
    let mut group = three_by_two();
    group.mute("a1");
    group.lead(id("b1"));
    group.never_heard("a1");
    group.round();
    assert_eq!(group.live(15), ["demote a1", "promote a2"]);
    assert_eq!(group.voters(), ["a2", "b1", "c1"]);
    group.hear("a1");
    assert!(group.live(30).is_empty(), "it is a stand-by of its zone now");

    let mut strangers = three_by_two();
    strangers.add("x", Suffrage::NonVoter, Intent::Voter);
    let round = strangers.seconds(30);
    assert!(promoted(&round).is_empty());
    assert_eq!(
        blocked(&round, "x").unwrap(),
        "x gets no vote yet: its zone is not known: it has not reported yet"
    );
    strangers.reports.insert(id("x"), Report::default());
    assert!(promoted(&strangers.after(SECOND)).is_empty(), "nothing is remembered of it, which says nothing");
    strangers.reports.insert(id("x"), Report { received: Some(strangers.now), ..Report::default() });
    assert_eq!(promoted(&strangers.after(SECOND)), ["x"], "it says that it is in none: an ordinary voter");
}

/// A28: a report that fails to come does not take a server out of its zone.
#[test]
fn a_missing_report_changes_no_zone() {
    let mut group = three_by_two();
    for report in group.reports.values_mut() {
        *report = Report::default();
    }
    assert!(group.live(30).is_empty());
    group.reports.clear();
    assert!(group.live(30).is_empty());
    assert_eq!(group.round().state.zones.len(), 3);
}

/// K15, A24: a leaving zone voter hands its vote to its stand-by in one change.
#[test]
fn a_leaving_zone_voter_is_swapped_for_its_stand_by() {
    let mut group = three_by_two();
    group.fact("b1", PodFact::Ready, true);
    assert_eq!(group.live(1), ["replace b1 by b2"]);

    let mut alone = group;
    alone.fact("b2", PodFact::Ready, true);
    assert!(alone.live(1).is_empty(), "nobody is there to take it");
}

/// K15: who was added as a replacement takes the vote over, whatever zone it is in.
#[test]
fn a_replacement_is_served_before_the_stand_by() {
    let mut group = three_by_two();
    group.add("new", Suffrage::NonVoter, Intent::ReplacementFor(id("b1")));
    group.zones("new:b");
    assert!(group.live(20).is_empty());
    group.fact("b1", PodFact::Ready, true);
    assert_eq!(group.live(1), ["replace b1 by new"]);
}

/// A31: read replicas, by intent or by their own word, never vote and count nowhere; a voter's word takes no vote.
#[test]
fn read_replicas_count_nowhere() {
    let mut group = three_by_two();
    group.add("r1", Suffrage::NonVoter, Intent::ReadReplica);
    group.add("r2", Suffrage::NonVoter, Intent::Voter);
    group.zones("r1:b r2:b");
    group.says("r2").desired_suffrage = Some(DesiredSuffrage::NonVoter);
    group.says("c1").desired_suffrage = Some(DesiredSuffrage::NonVoter);
    assert!(group.live(30).is_empty());
    let state = group.round().state;
    assert_eq!(state.read_replicas, [id("r1"), id("r2")]);
    assert_eq!(state.zones["b"].servers, [id("b1"), id("b2")]);
    assert_eq!((state.failure_tolerance, state.optimistic_failure_tolerance), (1, 4));
    group.mute("b1 b2");
    assert_eq!(group.live(10), ["demote b1", "promote a2"], "a replica is no stand-by");
}

/// Without a zone tag what servers say of zones is shown and changes nothing.
#[test]
fn without_a_tag_zones_are_only_shown() {
    let mut group = group("a1").with_non_voters("a2");
    group.zones("a1:a a2:a");
    group.settings.redundancy_zone_tag.clear();
    group.round();
    assert_eq!(group.live(11), ["promote a2"]);
    let state = group.round().state;
    assert!(state.zones.is_empty());
    let server = state.server(&id("a2")).unwrap();
    assert_eq!((server.zone.as_deref(), server.node_type), (Some("a"), NodeType::Voter));
}

/// A10: a second healthy voter of a zone is extra; it loses its vote only if those left have a healthy majority.
#[test]
fn a_second_voter_of_a_zone_is_demoted_and_never_the_leader() {
    let mut group = group("b a1 a2 c");
    group.zones("a1:a a2:a b:b c:c");
    group.round();
    assert_eq!(group.live(12), ["demote a2"]);

    let mut leading = super::group::group("a2 a1 b c");
    leading.zones("a1:a a2:a b:b c:c");
    leading.round();
    assert_eq!(leading.live(12), ["demote a1"], "the leader is its zone's own voter");
}
