//! Upgrade migration by adding newer servers and removing older ones (A29, A30, `autopilot.md` §4).

use quorate_autopilot::UpgradeStatus;
use quorate_raft::{Intent, Suffrage};

use super::group::{Group, blocked, group, id, reasons, stats};

/// Three old voters, stable.
fn old() -> Group {
    let mut group = group("a b c");
    group.versions("a b c", "1.0.0");
    group.round();
    group.live(20);
    group
}

fn join(group: &mut Group, names: &str, version: &str) {
    for name in names.split(' ') {
        group.add(name, Suffrage::NonVoter, Intent::Voter);
    }
    group.versions(names, version);
}

fn status(group: &mut Group) -> &'static str {
    group.round().state.upgrade.status.as_str()
}

/// What is done, and each new status as it is reached, until nothing happens for half a minute.
fn story(group: &mut Group) -> Vec<String> {
    let (mut told, mut quiet, mut last) = (Vec::new(), 0, "");
    while quiet < 30 {
        let status = status(group);
        if status != last {
            told.push(format!("({status})"));
            last = status;
        }
        let done = group.live(1);
        quiet = if done.is_empty() { quiet + 1 } else { 0 };
        told.extend(done);
        assert!(told.len() < 50, "it goes on and on: {told:?}");
    }
    told
}

/// A29: three old and three new servers: the statuses and steps of the whole upgrade, in order.
#[test]
fn an_upgrade_of_three_by_three_goes_through_its_statuses_in_order() {
    let mut group = old();
    assert_eq!(status(&mut group), "idle");
    join(&mut group, "x", "2.0.0");
    assert_eq!(story(&mut group), ["(await-new-voters)"]);
    join(&mut group, "y", "2.0.0");
    assert_eq!(story(&mut group), ["(await-new-voters)"]);
    join(&mut group, "z", "2.0.0");
    let told = story(&mut group);
    let expected = [
        "(promoting)",
        "promote x",
        "promote y",
        "promote z",
        "(demoting)",
        "demote b",
        "demote c",
        "(leader-transfer)",
        "lead x",
        "(demoting)",
        "demote a",
        "(await-server-removal)",
    ];
    // The new leader begins with only the old one left to demote.
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(told, expected);
    assert_eq!(group.voters(), ["x", "y", "z"]);
    let round = group.round();
    assert_eq!(
        blocked(&round, "a").unwrap(),
        "a gets no vote yet: servers of version 2.0.0 vote; it may be removed"
    );
    group.servers.retain(|server| !["a", "b", "c"].map(id).contains(&server.id));
    assert_eq!(status(&mut group), "idle");
}

/// A29: what waits for enough new servers is told so; an old one still gets its vote.
#[test]
fn new_servers_wait_for_enough_of_them_and_old_ones_do_not() {
    let mut group = old();
    join(&mut group, "x", "2.0.0");
    join(&mut group, "d", "1.0.0");
    group.round();
    assert_eq!(group.live(12), ["promote d"]);
    let round = group.round();
    assert_eq!(
        blocked(&round, "x").unwrap(),
        "x gets no vote yet: healthy servers of the new version that could vote: 1, needed: 4; add more"
    );
}

/// A29: unhealthy new servers are not counted on.
#[test]
fn unhealthy_new_servers_do_not_begin_an_upgrade() {
    let mut group = old();
    join(&mut group, "x y z", "2.0.0");
    group.never_heard("z");
    group.round();
    assert!(group.live(20).is_empty());
    assert_eq!(status(&mut group), "await-new-voters");
}

/// A29: fewer new servers than old ones when all votes have moved.
#[test]
fn fewer_new_servers_than_old_ones_are_waited_for() {
    let mut group = group("x");
    group.versions("x", "2.0.0");
    join(&mut group, "a b", "1.0.0");
    assert_eq!(story(&mut group), ["(await-new-servers)"]);
    join(&mut group, "y", "2.0.0");
    assert_eq!(story(&mut group), ["(await-server-removal)", "promote y"]);
}

/// A29, K13: leadership goes to a new voter that is well in this very round.
#[test]
fn leadership_goes_only_to_a_healthy_voter() {
    let mut group = group("a x");
    group.versions("a", "1.0.0");
    group.versions("x", "2.0.0");
    group.round();
    assert_eq!(status(&mut group), "leader-transfer");
    group.report("x", stats(group.settings.last_contact_threshold * 2, group.last));
    let round = group.after(super::group::SECOND);
    assert!(round.actions.is_empty());
    assert_eq!(
        blocked(&round, "x").unwrap(),
        "leadership does not go to x yet: not heard for 2.0 s, allowed are 1.0 s"
    );
    group.hear("x");
    assert_eq!(group.live(1), ["lead x"]);
}

/// A10, A29: an old voter keeps its vote while too many of the new ones are down.
#[test]
fn old_voters_stay_while_new_ones_are_down() {
    let mut group = old();
    join(&mut group, "x y z", "2.0.0");
    group.round();
    assert_eq!(group.live(12), ["promote x", "promote y", "promote z"]);
    group.mute("y z");
    group.is_changing = true;
    group.live(4);
    group.is_changing = false;
    assert_eq!(group.live(10), ["demote b"]);
    let round = group.after(super::group::SECOND);
    assert_eq!(
        blocked(&round, "c").unwrap(),
        "c keeps its vote for now: of the 4 voters left 2 would be healthy and a write needs 3; bring voters back or add one first"
    );
}

/// A30, vault #17019: while a voter's version is not known nobody is demoted, no leadership moves, and only servers of a
/// version that a voter runs get votes.
#[test]
fn an_unknown_version_of_any_voter_freezes_the_upgrade() {
    for unknown in ["", "v2", "2.0.0.0"] {
        let mut group = old();
        group.says("b").upgrade_version = Some(unknown.to_owned()).filter(|text| !text.is_empty());
        group.observer = quorate_autopilot::Observer::default();
        join(&mut group, "x y z", "2.0.0");
        join(&mut group, "d", "1.0.0");
        group.round();
        assert_eq!(group.live(30), ["promote d"], "{unknown:?}");
        let round = group.round();
        assert_eq!(round.state.upgrade.status, UpgradeStatus::Frozen { server: id("b") });
        assert_eq!(reasons(&round, "x"), [("Promote", "VersionUnknown")]);
    }
}

/// A30: a new server that does not say its version waits.
#[test]
fn a_server_without_a_version_gets_no_vote() {
    let mut group = old();
    group.add("x", Suffrage::NonVoter, Intent::Voter);
    group.round();
    assert!(group.live(20).is_empty());
    assert_eq!(
        blocked(&group.round(), "x").unwrap(),
        "x gets no vote yet: the upgrade version of x is not known, and an upgrade waits for it"
    );
}

/// §4: without a tag, or with migration disabled, versions change nothing: members upgraded in place keep their votes.
#[test]
fn without_a_tag_or_when_disabled_versions_change_nothing() {
    for tag in ["", "version"] {
        let mut group = old();
        group.versions("b c", "2.0.0");
        group.settings.upgrade_version_tag = tag.to_owned();
        group.settings.disable_upgrade_migration = !tag.is_empty();
        assert_eq!(status(&mut group), "disabled");
        assert!(group.live(30).is_empty());
    }
}

/// A30, golden A of Consul: three zones, each an old voter, an old stand-by and two new ones, and an old replica.
#[test]
fn golden_a_is_promoting() {
    let mut group = group("a1 b1 c1").with_non_voters("a2 b2 c2 a3 b3 c3 a4 b4 c4");
    group.add("replica", Suffrage::NonVoter, Intent::ReadReplica);
    let zone = |name: &str| format!("{name}:{}", &name[..1]);
    let names = "a1 b1 c1 a2 b2 c2 a3 b3 c3 a4 b4 c4";
    group.zones(&names.split(' ').map(zone).collect::<Vec<_>>().join(" "));
    group.versions("a1 b1 c1 a2 b2 c2 replica", "1.0.0");
    group.versions("a3 b3 c3 a4 b4 c4", "2.0.0");
    let state = group.round().state;
    let upgrade = &state.upgrade;
    assert_eq!((upgrade.status.as_str(), upgrade.target_version.as_deref()), ("promoting", Some("2.0.0")));
    assert_eq!(upgrade.other.voters, ["a1", "b1", "c1"].map(id));
    assert_eq!(upgrade.other.read_replicas, [id("replica")]);
    assert_eq!(upgrade.target.non_voters, ["a3", "a4", "b3", "b4", "c3", "c4"].map(id));
    let (target, other) = &upgrade.zones["b"];
    assert_eq!((&target.voters, &target.non_voters), (&vec![], &vec![id("b3"), id("b4")]));
    assert_eq!((&other.voters, &other.non_voters), (&vec![id("b1")], &vec![id("b2")]));
    assert_eq!(state.zones.values().map(|zone| zone.failure_tolerance).collect::<Vec<_>>(), [3, 3, 3]);
    let types: Vec<&str> = ["a1", "a2", "a3", "replica"]
        .map(|name| state.server(&id(name)).unwrap().node_type.as_str())
        .to_vec();
    assert_eq!(types, ["zone-voter", "zone-standby", "zone-standby", "read-replica"]);
    let told = story(&mut group);
    let expected = [
        "(promoting)",
        "promote a3",
        "promote b3",
        "promote c3",
        "(demoting)",
        "demote b1",
        "demote c1",
        "(leader-transfer)",
        "lead a3",
        "(demoting)",
        "demote a1",
        "(await-server-removal)",
    ];
    assert_eq!(told, expected);
}

/// A30, golden B of Vault: two zones, one of them without a new server: one potential voter of two.
#[test]
fn golden_b_awaits_new_voters() {
    let mut group = group("a1 b1").with_non_voters("a2 a3 b2");
    group.zones("a1:a a2:a a3:a b1:b b2:b");
    group.versions("a1 a2 b1 b2", "1.12.0");
    group.versions("a3", "1.17.5");
    let state = group.round().state;
    assert_eq!(state.upgrade.status, UpgradeStatus::AwaitNewVoters);
    assert_eq!(state.upgrade.target_version.as_deref(), Some("1.17.5"));
    assert!(group.live(30).is_empty());
}

/// §4: leadership waits until each zone has as many healthy new servers as old ones.
#[test]
fn leadership_waits_for_as_much_redundancy_in_every_zone() {
    let mut group = group("a1 b1 a3 b3").with_non_voters("a2 b2 a4");
    group.zones("a1:a a2:a a3:a a4:a b1:b b2:b b3:b");
    group.versions("a1 a2 b1 b2", "1.0.0");
    group.versions("a3 a4 b3", "2.0.0");
    group.round();
    assert_eq!(group.live(20), ["demote b1"]);
    assert_eq!(status(&mut group), "leader-transfer");
    let round = group.round();
    let entry = round.state.blocked.iter().find(|blocked| blocked.action.as_str() == "TransferLeadership");
    assert_eq!(
        entry.unwrap().message("a3"),
        "leadership does not go to a3 yet: healthy servers in zone b: 1 of the new version, 2 of older ones; add as many"
    );
    group.add("b4", Suffrage::NonVoter, Intent::Voter);
    group.zones("b4:b");
    group.versions("b4", "2.0.0");
    assert_eq!(group.live(3), ["lead a3", "demote a1"]);
}

/// A29, A27: an old voter that dies on the way stops nothing and costs no quorum.
#[test]
fn an_old_voter_that_dies_on_the_way_stops_nothing() {
    let mut group = old();
    join(&mut group, "x y z", "2.0.0");
    group.round();
    group.mute("c");
    let done = group.live(60);
    assert_eq!(group.voters(), ["x", "y", "z"], "{done:?}");
    let first_demotion = done.iter().find(|step| step.starts_with("demote"));
    assert_eq!(first_demotion.map(String::as_str), Some("demote c"), "the unhealthy one goes first");
}
